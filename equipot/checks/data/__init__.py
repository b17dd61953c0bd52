"""The data doctor: what is suspicious about labelled frames, by file, frame, atom and key."""

from __future__ import annotations

from equipot.checks.data.fix import FixedFrames, fix_frames
from equipot.checks.data.result import CheckResult, DataReport, Finding, Fix, Place
from equipot.checks.data.run import check_frames

__all__ = ["CheckResult", "DataReport", "Finding", "Fix", "FixedFrames", "Place", "check_frames", "fix_frames"]
