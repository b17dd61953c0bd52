"""The physics check-up: is a model's energy invariant, smooth, extensive, the source of its forces, fit to run?

    from equipot.checks.model import check_model
    report = check_model("model.eqp", "frames.xyz")
    print(report.worst, report.failed())

One function a check, registered under its code by the file of its group; thresholds in ``tolerances``.
"""

from __future__ import annotations

from equipot.checks.model.registry import CHECKS, Settings
from equipot.checks.model.result import CheckReport, CheckResult, Measure
from equipot.checks.model.run import check_model

__all__ = ["CHECKS", "CheckReport", "CheckResult", "Measure", "Settings", "check_model"]
