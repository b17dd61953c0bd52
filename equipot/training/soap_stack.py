"""The parameters of one shape that SOAP treats together: their moments, Shampoo's matrices and eigenbases, stacked."""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Parameter

from equipot.kernels.native.soap import MAX_SIDE, orthonormal, soap_step, turn
from equipot.kernels.selection import uses_native


class Hyperparameters(NamedTuple):
    """What all members of a stack share."""

    beta1: float
    beta2: float
    eps: float
    frequency: int
    largest: int


class Member:
    """A parameter as one matrix (or tensor) of its stack, or several: the blocks it is cut into.

    Args:
        parameter: axes of length one are left out.
        group: holds its learning rate, decay and step counter.
        block_size: sides are cut into equal blocks of at most this length where they can be.

    Attributes:
        shape: of a block; the shorter side of a matrix comes first.
        num_blocks: how many there are.
    """

    def __init__(self, parameter: Parameter, group: dict[str, Any], block_size: int) -> None:
        self.parameter, self.group = parameter, group
        self._sides = [size for size in parameter.shape if size != 1]
        counts = [_num_blocks(size, block_size) if parameter.ndim > 1 else 1 for size in self._sides]
        self.shape = tuple(size // count for size, count in zip(self._sides, counts))
        self._is_turned = len(self.shape) == 2 and self.shape[0] > self.shape[1]
        if self._is_turned:
            self._sides, counts, self.shape = self._sides[::-1], counts[::-1], self.shape[::-1]
        self.num_blocks = math.prod(counts)
        self._cut = [size for pair in zip(counts, self.shape) for size in pair]
        self._target: Tensor | None = None

    def target(self) -> Tensor:
        """The parameter itself, seen as its blocks; made once for each memory it lives in."""
        if self._target is None or self._target.data_ptr() != self.parameter.data_ptr():
            self._target = self.blocks(self.parameter.detach())
        return self._target

    def blocks(self, tensor: Tensor) -> Tensor:
        """The parameter or its gradient as (..., *shape), the blocks counted by one or more leading axes.

        A view, also where the layout of a tensor that is not cut is not the usual one of a parameter.
        """
        if self.num_blocks == 1 and not self._is_turned:
            return tensor.view(1, *self.shape) if tensor.is_contiguous() else tensor.squeeze().unsqueeze(0)
        if tensor.ndim != len(self._sides):
            tensor = tensor.squeeze()
        if self._is_turned:
            tensor = tensor.T
        if self.num_blocks == 1:
            return tensor.unsqueeze(0)
        return tensor.view(self._cut).permute(*range(0, len(self._cut), 2), *range(1, len(self._cut), 2))

    def stacked(self, tensor: Tensor) -> Tensor:
        """The gradient as (num_blocks, *shape)."""
        blocks = self.blocks(tensor)
        return blocks if self.num_blocks == 1 else blocks.reshape(self.num_blocks, *self.shape)


def _num_blocks(size: int, largest: int) -> int:
    """Into how many equal blocks of at most ``largest`` (and not much less) a side can be cut; else 1."""
    least = -(-size // largest)
    return next((count for count in range(least, min(2 * least, size) + 1) if size % count == 0), 1)


class Moments:
    """State of B tensors of one shape.

    Attributes:
        first, second: (B, *shape) Adam's moments in the eigenbasis.
        matrices, bases: axis -> (B, n, n): means of the gradients' products with themselves along that axis; their
            eigenvectors in columns, the largest eigenvalue first.
    """

    def __init__(self, first: Tensor, second: Tensor, matrices: dict[int, Tensor], bases: dict[int, Tensor]) -> None:
        self.first, self.second, self.matrices, self.bases = first, second, matrices, bases

    @classmethod
    def zeros(cls, count: int, shape: Sequence[int], axes: Sequence[int], like: Tensor) -> Moments:
        """State before the first gradient."""
        squares = [{axis: like.new_zeros(count, shape[axis], shape[axis]) for axis in axes} for _ in range(2)]
        return cls(like.new_zeros(count, *shape), like.new_zeros(count, *shape), *squares)

    def tensors(self) -> list[Tensor]:
        """All tensors, in a fixed order."""
        return [self.first, self.second, *self.matrices.values(), *self.bases.values()]

    def take(self, rows: Tensor) -> Moments:
        """A copy of some rows."""
        return Moments(
            self.first[rows],
            self.second[rows],
            {k: each[rows] for k, each in self.matrices.items()},
            {k: each[rows] for k, each in self.bases.items()},
        )

    def put(self, rows: Tensor, other: Moments) -> None:
        """Replace some rows."""
        for mine, its in zip(self.tensors(), other.tensors()):
            mine[rows] = its

    # --- the algorithm

    def start(self, gradient: Tensor, beta: float) -> None:
        """Begin with a first gradient: its products with itself, and their eigenbases."""
        self.accumulate(gradient, beta)
        for axis, matrix in self.matrices.items():
            self.bases[axis].copy_(_eigenvectors(matrix))

    def advance(self, gradient: Tensor, settings: Hyperparameters) -> Tensor:
        """Take a gradient in; Adam's step, without bias correction and learning rate, turned back from the basis."""
        if self.bases and gradient.ndim <= 3 and _is_small(gradient):
            return soap_step(
                gradient,
                self.first,
                self.second,
                self.matrices,
                self.bases,
                beta1=settings.beta1,
                beta2=settings.beta2,
                eps=settings.eps,
            )
        turned = _turn(gradient, self.bases)
        self.first.lerp_(turned, 1.0 - settings.beta1)
        self.second.mul_(settings.beta2).addcmul_(turned, turned, value=1.0 - settings.beta2)
        self.accumulate(gradient, settings.beta2)
        return _turn(torch.div(self.first, self.second.sqrt().add_(settings.eps)), self.bases, back=True)

    def accumulate(self, gradient: Tensor, beta: float) -> None:
        """Take a gradient into the matrices."""
        for axis, matrix in self.matrices.items():
            rows, columns = _unfold(gradient, axis)
            matrix.baddbmm_(rows, columns, beta=beta, alpha=1.0 - beta)

    def refresh(self) -> None:
        """Bring the eigenbases up to date by one power iteration, and the moments into the new ones."""
        first = _turn(self.first, self.bases, back=True)
        for axis, basis in self.bases.items():
            product = _turn(self.matrices[axis], {1: basis})
            order = torch.argsort((basis * product).sum(dim=1), dim=1, descending=True)
            self.second.copy_(_sort(self.second, axis + 1, order))
            power = _sort(product, 2, order)
            basis.copy_(orthonormal(power) if _is_small(power) else torch.linalg.qr(power).Q)
        self.first.copy_(_turn(first, self.bases))


class Stack:
    """Parameters of one shape with their state; a few rows of it are what ``optimizer.state`` shows of each.

    Args:
        members: parameters with blocks of the same shape.
        settings: shared by the members.
        state: state of the optimiser; what it holds of the members is taken over.
    """

    def __init__(
        self, members: Sequence[Member], settings: Hyperparameters, state: MutableMapping[Parameter, Any]
    ) -> None:
        self._members, self._settings = members, settings
        ends = list(accumulate(member.num_blocks for member in members))
        self._rows = [range(end - member.num_blocks, end) for end, member in zip(ends, members)]
        shape, like = members[0].shape, members[0].parameter.detach()
        axes = [axis for axis, size in enumerate(shape) if like.ndim > 1 and size <= settings.largest]
        self._moments = Moments.zeros(ends[-1], shape, axes, like)
        self._entries: list[dict[str, Any] | None] = [None] * len(members)
        for k, member in enumerate(members):
            saved = state.get(member.parameter)
            if saved:
                state[member.parameter] = self._entries[k] = entry = self._entry(k)
                for name, value in entry.items():
                    for mine, its in zip(_listed(value), _listed(saved[name]), strict=True):
                        mine.copy_(its)

    def holds(self, state: MutableMapping[Parameter, Any]) -> bool:
        """Whether the optimiser's state still is what this stack put there."""
        return all(state.get(member.parameter) is entry for member, entry in zip(self._members, self._entries))

    def step(self, state: MutableMapping[Parameter, Any]) -> None:
        """Move the members that have a gradient; the groups have counted this step already."""
        moving = [k for k, member in enumerate(self._members) if member.parameter.grad is not None]
        if not moving:
            return
        gradient = self._gradient(moving)
        fresh = [k for k in moving if self._entries[k] is None]
        if fresh:
            with _Part(self._moments, [row for k in fresh for row in self._rows[k]]) as moments:
                moments.start(gradient if fresh == moving else self._gradient(fresh), self._settings.beta2)
            for k in fresh:
                state[self._members[k].parameter] = self._entries[k] = self._entry(k)
        count = self._members[0].group["step"] - 1
        if count > 0:
            with _Part(self._moments, [row for k in moving for row in self._rows[k]]) as moments:
                self._move([self._members[k] for k in moving], moments, gradient, count)

    def _gradient(self, which: Sequence[int]) -> Tensor:
        members = [self._members[k] for k in which]
        return torch.cat([member.stacked(member.parameter.grad) for member in members])

    def _move(self, members: Sequence[Member], moments: Moments, gradient: Tensor, count: int) -> None:
        settings = self._settings
        direction = moments.advance(gradient, settings)
        correction = math.sqrt(1.0 - settings.beta2**count) / (1.0 - settings.beta1**count)
        rates = [-correction * member.group["lr"] for member in members for _ in range(member.num_blocks)]
        direction *= direction.new_tensor(rates).view(-1, *[1] * (direction.ndim - 1))
        targets = [member.target() for member in members]
        steps = direction.split([member.num_blocks for member in members])
        torch._foreach_add_(
            targets, [step if len(step) == 1 else step.view(target.shape) for step, target in zip(steps, targets)]
        )
        for member, target in zip(members, targets):
            if member.group["weight_decay"]:
                target.mul_(1.0 - member.group["lr"] * member.group["weight_decay"])
        if count % settings.frequency == 0:
            moments.refresh()

    def _entry(self, k: int) -> dict[str, Any]:
        """What the optimiser's state shows of a member: its rows, as views."""
        moments, rows = self._moments, slice(self._rows[k].start, self._rows[k].stop)
        return {
            "exp_avg": moments.first[rows],
            "exp_avg_sq": moments.second[rows],
            "GG": [each[rows] for each in moments.matrices.values()],
            "Q": [each[rows] for each in moments.bases.values()],
        }


class _Part:
    """Some rows of moments as moments, written back at the end of a ``with`` block; all of them: the moments."""

    def __init__(self, moments: Moments, rows: list[int]) -> None:
        self._whole = moments
        self._rows = None if len(rows) == len(moments.first) else torch.tensor(rows, device=moments.first.device)

    def __enter__(self) -> Moments:
        self._part = self._whole if self._rows is None else self._whole.take(self._rows)
        return self._part

    def __exit__(self, *_: object) -> None:
        if self._rows is not None:
            self._whole.put(self._rows, self._part)


def _is_small(stack: Tensor) -> bool:
    """Whether the native kernels take a stack of tensors: they are made for small matrices."""
    return uses_native(stack) and max(stack.shape[1:]) <= MAX_SIDE


def _turn(tensor: Tensor, bases: Mapping[int, Tensor], *, back: bool = False) -> Tensor:
    """Into the bases (axis -> (B, n, n)) along every axis that has one, or back."""
    if bases and tensor.ndim <= 3 and _is_small(tensor):
        return turn(tensor.contiguous(), bases, back=back)
    for axis, basis in bases.items():
        tensor = _multiply(tensor, axis, basis.mT if back else basis)
    return tensor


def _multiply(tensor: Tensor, axis: int, matrix: Tensor) -> Tensor:
    """Contract axis ``axis`` (of each tensor of a stack) with the first axis of each (B, n, n) matrix."""
    count, size = tensor.shape[0], matrix.shape[1]
    if axis == tensor.ndim - 2:
        return torch.bmm(tensor.reshape(count, -1, size), matrix).view(tensor.shape)
    if axis == 0:
        return torch.bmm(matrix.mT, tensor.reshape(count, size, -1)).view(tensor.shape)
    moved = tensor.movedim(axis + 1, -1)
    return torch.bmm(moved.reshape(count, -1, size), matrix).view(moved.shape).movedim(-1, axis + 1).contiguous()


def _unfold(tensor: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Matrices (B, n, m) and (B, m, n) whose product sums over all axes but one."""
    count, size = tensor.shape[0], tensor.shape[axis + 1]
    if axis == tensor.ndim - 2:
        columns = tensor.reshape(count, -1, size)
        return columns.mT, columns
    rows = tensor.movedim(axis + 1, 1).reshape(count, size, -1)
    return rows, rows.mT


def _sort(tensor: Tensor, dim: int, order: Tensor) -> Tensor:
    """Reorder one axis of each tensor of a stack; ``order`` is (B, n)."""
    shape = [1] * tensor.ndim
    shape[0], shape[dim] = order.shape
    return tensor.gather(dim, order.view(shape).expand(tensor.shape))


def _eigenvectors(matrices: Tensor) -> Tensor:
    """Eigenvectors in columns, the largest eigenvalue first."""
    try:
        vectors = torch.linalg.eigh(matrices).eigenvectors
    except torch.linalg.LinAlgError:
        vectors = None
    # Single precision may not converge; of entries below its smallest normal number it can make NaN without an error.
    if vectors is None or not vectors.isfinite().all():
        vectors = torch.linalg.eigh(matrices.to(torch.float64)).eigenvectors.to(matrices.dtype)
    return vectors.flip(-1)


def _listed(value: Any) -> list[Tensor]:
    return list(value) if isinstance(value, list | tuple) else [value]
