"""SOAP: Adam in the eigenbasis of Shampoo's matrices, for the many small matrices a potential is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from equipot.training.soap_stack import Hyperparameters, Member, Stack


class SOAP(torch.optim.Optimizer):
    """SOAP (Vyas et al., arXiv:2409.11321), all matrices of one size at a time.

    A potential has dozens of matrices of a few sizes. Those of one size (also transposed, and with axes of length one
    left out) are stacked, so that a step is a few batched matrix products and not hundreds of small calls. Long sides
    are cut into equal blocks first, each a matrix of its own to the algorithm (the blocking of Shi et al.,
    arXiv:2309.06497): the cost of a basis grows with the cube of its size, and the loss falls as fast or faster.

    Without blocks the numbers are those of ``pytorch_optimizer.SOAP`` up to rounding, with these differences in what
    is stored: the first moment is kept in the eigenbasis, which saves a third of the projections, and is carried along
    when the basis changes; the eigenbases are refreshed in the parameters' own precision; its options to merge
    dimensions, to precondition vectors and to normalise gradients, all off by default there, are not offered.

    As there, the first step only starts the statistics: it moves nothing.

    Args:
        params: parameters or groups; ``lr`` and ``weight_decay`` may differ between groups.
        lr: learning rate.
        betas: decay of the first and second moments; the second is also that of Shampoo's matrices.
        eps: added to the root of the second moment.
        weight_decay: decoupled from the gradient, as in AdamW.
        precondition_frequency: steps between refreshes of the eigenbases.
        block_size: sides are cut into blocks of at most this length, where they can be cut into equal ones.
        max_precondition_dim: a side (that could not be cut) longer than this keeps the identity as its basis.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 3e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        precondition_frequency: int = 10,
        block_size: int = 64,
        max_precondition_dim: int = 1024,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "precondition_frequency": precondition_frequency,
                "block_size": block_size,
                "max_precondition_dim": max_precondition_dim,
                "step": 0,
            },
        )
        self._stacks: list[Stack] | None = None

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """Move the parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self._stacks is None or not all(stack.holds(self.state) for stack in self._stacks):
            self._stacks = self._build()  # the first step, or the state was loaded from somewhere
        for group in self.param_groups:
            group["step"] += 1
        for stack in self._stacks:
            stack.step(self.state)
        return loss

    def _build(self) -> list[Stack]:
        """Stack parameters that are treated alike, with the state they have."""
        stacks: dict[tuple, list[Member]] = {}
        for group in self.param_groups:
            settings = Hyperparameters(
                *group["betas"], group["eps"], group["precondition_frequency"], group["max_precondition_dim"]
            )
            for parameter in group["params"]:
                member = Member(parameter, group, group["block_size"])
                key = (member.shape, parameter.ndim > 1, parameter.dtype, parameter.device, settings)
                stacks.setdefault(key, []).append(member)
        return [Stack(members, settings, self.state) for (*_, settings), members in stacks.items()]
