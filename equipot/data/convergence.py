"""Flags of a frame that say its electronic structure did not converge, as files of many origins carry them.

A relaxation that has not come to its end is no fault: its steps are as good labels as any.
"""

from __future__ import annotations

from typing import Any

#: Keys that speak of the electronic structure.
_ELECTRONIC = frozenset(
    {
        "scf_converged",
        "is_scf_converged",
        "scf_convergence",
        "electronic_converged",
        "converged_electronic",
        "electronically_converged",
        "elec_converged",
        "dft_converged",
    }
)
#: A key that may speak of the electronic structure or of a relaxation.
_UNCLEAR = "converged"
_FALSE = {"f", "false", "no", "0"}


def _is_false(value: Any) -> bool:
    return str(value).strip().lower() in _FALSE


def electronic_fault(info: dict[str, Any]) -> str | None:
    """Why a frame's labels cannot be used, where a key says that the electronic structure did not converge."""
    for key, value in info.items():
        if key.lower() in _ELECTRONIC and _is_false(value):
            return f"its electronic structure did not converge ('{key}' is {value})"
    return None


def unclear_flag(info: dict[str, Any]) -> bool:
    """Whether the frame says ``converged=F`` without saying what."""
    return any(key.lower() == _UNCLEAR and _is_false(value) for key, value in info.items())
