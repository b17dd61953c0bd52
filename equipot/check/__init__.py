"""The physics check-up: is a model's energy invariant, smooth, extensive, the source of its forces, fit to run?

    from equipot.check import check_model
    report = check_model("model.eqp", "frames.xyz")
    print(report.worst, report.failed())

One function a check, registered under its code by the file of its group; thresholds in ``tolerances``.
"""

from __future__ import annotations

from equipot.check.registry import CHECKS, Settings
from equipot.check.result import CheckReport, CheckResult, Measure
from equipot.check.run import check_model

__all__ = ["CHECKS", "CheckReport", "CheckResult", "Measure", "Settings", "check_model"]
