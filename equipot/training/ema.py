"""Exponential moving average of the trained weights: the weights that are evaluated, saved and used."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from equipot.errors import CheckpointError


class ExponentialMovingAverage:
    """Average of the trainable parameters over the steps.

    After n updates the decay is min(decay, (1 + n) / (10 + n)), so that the untrained weights are forgotten quickly.

    Args:
        module: its parameters with ``requires_grad`` are averaged (the others do not change).
        decay: in [0, 1); None keeps no average: the weights themselves are then what is evaluated.
    """

    def __init__(self, module: torch.nn.Module, decay: float | None = 0.99) -> None:
        self.decay, self.num_updates = decay, 0
        trained = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
        self._names, self._parameters = list(trained), list(trained.values())
        self._average = None if decay is None else [parameter.detach().clone() for parameter in self._parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Take the present weights into the average."""
        self.num_updates += 1
        if self._average is not None:
            decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
            torch._foreach_lerp_(self._average, self._parameters, 1.0 - decay)

    @contextlib.contextmanager
    def replaced(self, weights: Mapping[str, Tensor]) -> Iterator[None]:
        """Put weights (as :meth:`weights` gives them) into the module for the time of the ``with`` block."""
        kept = [parameter.detach().clone() for parameter in self._parameters]
        self.load_weights(weights)
        try:
            yield
        finally:
            self._write(kept)

    def swapped(self) -> contextlib.AbstractContextManager[None]:
        """Put the averaged weights into the module for the time of the ``with`` block."""
        if self._average is None:
            return contextlib.nullcontext()
        return self.replaced(dict(zip(self._names, self._average)))

    def weights(self) -> dict[str, Tensor]:
        """A copy of the averaged weights by parameter name."""
        source = self._parameters if self._average is None else self._average
        return {name: tensor.detach().clone() for name, tensor in zip(self._names, source)}

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Put weights (as :meth:`weights` gives them) into the module for good."""
        self._write([weights[name] for name in self._names])

    def state_dict(self) -> dict[str, Any]:
        """The average and the number of updates."""
        average = None if self._average is None else dict(zip(self._names, self._average))
        return {"num_updates": self.num_updates, "average": average}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what :meth:`state_dict` gave.

        Raises:
            CheckpointError: the average is there and not asked for, or the other way round, or of other parameters.
        """
        saved = state["average"]
        if (saved is None) != (self._average is None) or (saved is not None and set(saved) != set(self._names)):
            raise CheckpointError(
                "The averaged weights in the checkpoint do not fit this run: training.ema_decay or "
                "optimizer.parameter_groups were changed. Start a new run."
            )
        self.num_updates = int(state["num_updates"])
        for name, average in zip(self._names, self._average or ()):
            require_fit(name, saved[name], average)
            average.copy_(saved[name])

    def require_fitting(self, weights: Mapping[str, Tensor]) -> None:
        """Make sure that weights are of the parameters that are averaged; raises CheckpointError."""
        if set(weights) != set(self._names):
            raise CheckpointError("The best weights in the checkpoint are not of the parameters of this run.")
        for name, parameter in zip(self._names, self._parameters):
            require_fit(name, weights[name], parameter)

    @torch.no_grad()
    def _write(self, tensors: list[Tensor]) -> None:
        # copy_, not a swap of storage: whoever caches something made of the weights sees their version change.
        torch._foreach_copy_(self._parameters, tensors)


def require_fit(name: str, found: Any, expected: Tensor) -> None:
    """Raise CheckpointError where a saved value is no finite tensor of the shape and type of a parameter."""
    if not isinstance(found, Tensor) or found.shape != expected.shape or found.dtype != expected.dtype:
        shape = f"{found.dtype} {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise CheckpointError(
            f"The checkpoint has {shape} for {name[:80]}, expected a tensor {expected.dtype} {tuple(expected.shape)}."
        )
    if not torch.isfinite(found).all():
        raise CheckpointError(f"The checkpoint has NaN or infinity among the averaged weights of {name[:80]}.")
