"""Activations scaled to keep the second moment of a standard normal input (e3nn's ``normalize2mom``)."""

from __future__ import annotations

import torch

#: 1 / sqrt(E[silu(z)^2]) and 1 / sqrt(E[tanh(z)^2]), z standard normal, as e3nn's Monte Carlo estimate gives them:
#: weights trained elsewhere carry these digits.
SILU_SCALE = 1.6791767923989418
TANH_SCALE = 1.5937334472592695


def scaled_silu(x: torch.Tensor) -> torch.Tensor:
    """silu with unit second moment."""
    return SILU_SCALE * torch.nn.functional.silu(x)


def scaled_tanh(x: torch.Tensor) -> torch.Tensor:
    """tanh with unit second moment; odd, so that it keeps pseudo-scalars pseudo-scalar."""
    return TANH_SCALE * torch.tanh(x)
