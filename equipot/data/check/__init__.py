"""The data doctor: what is suspicious about labelled frames, by file, frame, atom and key."""

from __future__ import annotations

from equipot.data.check.fix import FixedFrames, fix_frames
from equipot.data.check.result import CheckResult, DataReport, Finding, Fix, Place
from equipot.data.check.run import check_frames

__all__ = ["CheckResult", "DataReport", "Finding", "Fix", "FixedFrames", "Place", "check_frames",
           "fix_frames"]
