"""Where a run computes: ``auto``, ``cpu`` or ``cuda`` to a torch device."""

from __future__ import annotations

import torch

from equipot.errors import UsageError


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """Turn ``auto`` (a GPU where torch sees one, else the CPU), ``cpu``, ``cuda`` or ``cuda:1`` into a device.

    Raises:
        UsageError: the device is not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        result = torch.device(device)
    except RuntimeError:
        raise UsageError(f"device is {device!r}; auto, cpu or cuda is expected.") from None
    if result.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"device is {device!r} but torch {torch.__version__} sees no CUDA GPU here: say cpu or auto.")
    return result
