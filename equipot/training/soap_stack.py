"""The parameters of one shape that SOAP treats together: their moments, Shampoo's matrices and eigenbases, stacked."""

from __future__ import annotations

import math
from collections.abc import MutableMapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Parameter


class Hyperparameters(NamedTuple):
    """What all members of a stack share."""

    beta1: float
    beta2: float
    eps: float
    frequency: int


def stacked_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Shape of a parameter in its stack: without axes of length one, a matrix with its shorter side first."""
    squeezed = tuple(size for size in shape if size != 1)
    return tuple(sorted(squeezed)) if len(squeezed) == 2 else squeezed


def axes_of(num_axes: int, shape: Sequence[int], largest: int) -> tuple[int, ...]:
    """Axes of the stacked shape that get an eigenbasis: none of a vector or scalar, else those that are not longer."""
    return () if num_axes < 2 else tuple(axis for axis, size in enumerate(shape) if size <= largest)


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
        return Moments(self.first[rows], self.second[rows], {k: each[rows] for k, each in self.matrices.items()},
                       {k: each[rows] for k, each in self.bases.items()})

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

    def direction(self, gradient: Tensor, settings: Hyperparameters) -> Tensor:
        """Take a gradient into the moments; Adam's step (without bias correction and learning rate), turned back."""
        turned = gradient
        for axis, basis in self.bases.items():
            turned = _multiply(turned, axis, basis)
        self.first.lerp_(turned, 1.0 - settings.beta1)
        self.second.mul_(settings.beta2).addcmul_(turned, turned, value=1.0 - settings.beta2)
        result = torch.div(self.first, self.second.sqrt().add_(settings.eps))
        return self._turn_back(result)

    def accumulate(self, gradient: Tensor, beta: float) -> None:
        """Take a gradient into the matrices."""
        for axis, matrix in self.matrices.items():
            rows, columns = _unfold(gradient, axis)
            matrix.baddbmm_(rows, columns, beta=beta, alpha=1.0 - beta)

    def refresh(self) -> None:
        """Bring the eigenbases up to date by one power iteration, and the moments into the new ones."""
        first = self._turn_back(self.first)
        for axis, basis in self.bases.items():
            product = torch.bmm(self.matrices[axis], basis)
            order = torch.argsort((basis * product).sum(dim=1), dim=1, descending=True)
            self.second.copy_(_sort(self.second, axis + 1, order))
            basis.copy_(torch.linalg.qr(_sort(product, 2, order)).Q)
            first = _multiply(first, axis, basis)
        self.first.copy_(first)

    def _turn_back(self, tensor: Tensor) -> Tensor:
        for axis, basis in self.bases.items():
            tensor = _multiply(tensor, axis, basis.mT)
        return tensor


class Stack:
    """Parameters of one shape with their state; each row of the state is what ``optimizer.state`` shows of one.

    Args:
        members: parameters, each with the group that holds its learning rate, decay and step counter.
        shape, axes: see :func:`stacked_shape`, :func:`axes_of`.
        settings: shared by the members.
        state: state of the optimiser; what it holds of the members is taken over.
    """

    def __init__(self, members: Sequence[tuple[Parameter, dict[str, Any]]], shape: tuple[int, ...],
                 axes: tuple[int, ...], settings: Hyperparameters, state: MutableMapping[Parameter, Any]) -> None:
        self._parameters, self._groups = [each for each, _ in members], [group for _, group in members]
        self._shape, self._settings = shape, settings
        self._moments = Moments.zeros(len(members), shape, axes, self._parameters[0].detach())
        self._entries: list[dict[str, Any] | None] = [None] * len(members)
        for row, parameter in enumerate(self._parameters):
            if state.get(parameter):
                saved, entry = state[parameter], self._entry(row)
                for name in entry:
                    for mine, its in zip(_listed(entry[name]), _listed(saved[name]), strict=True):
                        mine.copy_(its)
                state[parameter] = self._entries[row] = entry

    def holds(self, state: MutableMapping[Parameter, Any]) -> bool:
        """Whether the optimiser's state still is what this stack put there."""
        return all(state.get(parameter) is entry for parameter, entry in zip(self._parameters, self._entries))

    def step(self, state: MutableMapping[Parameter, Any]) -> None:
        """Move the members that have a gradient; the groups have counted this step already."""
        rows = [row for row, parameter in enumerate(self._parameters) if parameter.grad is not None]
        if not rows:
            return
        gradient = torch.stack([self._stacked(self._parameters[row].grad) for row in rows])
        fresh = [row for row in rows if self._entries[row] is None]
        if fresh:
            places = [rows.index(row) for row in fresh]
            with _Rows(self._moments, fresh) as moments:
                moments.start(gradient[places], self._settings.beta2)
            for row in fresh:
                state[self._parameters[row]] = self._entries[row] = self._entry(row)
        count = self._groups[0]["step"] - 1
        if count > 0:
            with _Rows(self._moments, rows) as moments:
                self._move(rows, moments, gradient, count)

    def _move(self, rows: list[int], moments: Moments, gradient: Tensor, count: int) -> None:
        settings, groups = self._settings, [self._groups[row] for row in rows]
        direction = moments.direction(gradient, settings)
        correction = math.sqrt(1.0 - settings.beta2**count) / (1.0 - settings.beta1**count)
        rates = [-correction * group["lr"] for group in groups]
        if len(set(rates)) == 1:
            direction.mul_(rates[0])
        else:
            direction.mul_(direction.new_tensor(rates).view(-1, *[1] * len(self._shape)))
        targets = [self._stacked(self._parameters[row]) for row in rows]
        torch._foreach_add_(targets, direction.unbind())
        for target, group in zip(targets, groups):
            if group["weight_decay"]:
                target.mul_(1.0 - group["lr"] * group["weight_decay"])
        moments.accumulate(gradient, settings.beta2)
        if count % settings.frequency == 0:
            moments.refresh()

    def _stacked(self, tensor: Tensor) -> Tensor:
        """A parameter or gradient seen in the shape of the stack."""
        if tensor.shape == self._shape:
            return tensor
        tensor = tensor.squeeze()
        return tensor if tensor.shape == self._shape else tensor.T

    def _entry(self, row: int) -> dict[str, Any]:
        moments = self._moments
        return {"exp_avg": moments.first[row], "exp_avg_sq": moments.second[row],
                "GG": [each[row] for each in moments.matrices.values()],
                "Q": [each[row] for each in moments.bases.values()]}


class _Rows:
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
        return torch.linalg.eigh(matrices).eigenvectors.flip(-1)
    except torch.linalg.LinAlgError:  # single precision may not converge
        return torch.linalg.eigh(matrices.to(torch.float64)).eigenvectors.flip(-1).to(matrices.dtype)


def _listed(value: Any) -> list[Tensor]:
    return list(value) if isinstance(value, list | tuple) else [value]
