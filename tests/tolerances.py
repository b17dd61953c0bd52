"""The tolerances of the physics tests are those of ``equipot check``: one definition, in equipot/check/tolerances.py."""

from __future__ import annotations

from equipot.check.tolerances import (
    BATCHING,
    CUTOFF_FORCE,
    FORCE_DIFFERENCE,
    INVARIANCE,
    NET_FORCE,
    PATHS,
    STRESS_DIFFERENCE,
    TWIN,
    Tolerance,
)

__all__ = ["BATCHING", "CUTOFF_FORCE", "FORCE_DIFFERENCE", "INVARIANCE", "NET_FORCE", "PATHS", "STRESS_DIFFERENCE",
           "TWIN", "Tolerance"]
