"""Weights of e3nn modules, folded and in equipot's order: linear maps, radial networks, tensor-product paths."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from equipot.errors import CheckpointError
from equipot.kernels.plans import ConvolutionPlan, wigner_3j
from equipot.nn import IrrepsLinear, Message, MultiLayerPerceptron, SpeciesLinear

Irrep = tuple[int, int]
#: (multiplicity, (l, parity)) of each block, in e3nn's order.
Irreps = Sequence[tuple[int, Irrep]]


#: Modules and tensors of one checkpoint; the largest seen has a thousand.
MAX_PARTS = 100_000


class Tensors:
    """The tensors of a checkpoint, in float64, each to be taken once; what is left over at the end is an error.

    Args:
        tensors: by name.
        where: the file, for messages.
    """

    def __init__(self, tensors: Mapping[str, Tensor], where: str) -> None:
        self._tensors = dict(tensors)
        self.where, self._taken = where, set()

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    @property
    def num_numbers(self) -> int:
        """How many numbers all of them hold."""
        return sum(tensor.numel() for tensor in self._tensors.values())

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._tensors:
            raise CheckpointError(f"{self.where}: its tensors have no {name}; it is not a whole model of this kind.")
        self._taken.add(name)
        tensor = self._tensors[name]
        if tensor.is_floating_point():
            tensor = tensor.to(torch.float64)
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{self.where}: the tensor {name} is not finite.")
        return tensor

    def shaped(self, name: str, *shape: int) -> Tensor:
        """A tensor of so many numbers in this shape (-1: any)."""
        tensor = self[name]
        known = [n for n in shape if n >= 0]
        if (len(known) == len(shape) and tensor.numel() != math.prod(shape)) or (
            len(known) < len(shape) and (tensor.numel() % max(math.prod(known), 1) or not tensor.numel())
        ):
            raise CheckpointError(
                f"{self.where}: the tensor {name} has {tensor.numel()} numbers, expected "
                f"{' x '.join(str(n) if n >= 0 else 'any' for n in shape)}."
            )
        return tensor.reshape(shape)

    def names(self, prefix: str) -> list[str]:
        """Names that begin with ``prefix``."""
        return [name for name in self._tensors if name.startswith(prefix)]

    def left_over(self, is_constant: Callable[[str], bool]) -> list[str]:
        """Names of non-empty tensors that were not taken and are no constants of the code."""
        return [
            name
            for name, tensor in self._tensors.items()
            if name not in self._taken and tensor.numel() and not is_constant(name)
        ]

    def refuse_left_over(self, is_constant: Callable[[str], bool]) -> None:
        """Raise CheckpointError where :meth:`left_over` finds any: a part of the model that would be lost."""
        names = self.left_over(is_constant)
        if names:
            raise CheckpointError(
                f"{self.where}: the model has parts that equipot does not take in: "
                f"{', '.join(names[:6])}{' and more' if len(names) > 6 else ''}."
            )


def split_linear(flat: Tensor, irreps_in: Irreps, irreps_out: Irreps, where: str) -> dict[tuple[int, int], Tensor]:
    """The flat weights of e3nn's ``o3.Linear`` as folded matrices, by (block of the input, block of the output).

    They stand by input block, then output block, each (channels in, channels out); the factor is 1/sqrt(the total
    fan-in of the output block).
    """
    fan_in = [sum(n for n, other in irreps_in if other == irrep) for _, irrep in irreps_out]
    parts, position = {}, 0
    for i, (n_in, irrep) in enumerate(irreps_in):
        for k, (n_out, other) in enumerate(irreps_out):
            if irrep == other:
                part = flat.flatten()[position : position + n_in * n_out]
                position += n_in * n_out
                if len(part) == n_in * n_out:
                    parts[i, k] = part.reshape(n_in, n_out) / math.sqrt(fan_in[k])
    if position != flat.numel():
        raise CheckpointError(f"{where}: a linear map has {flat.numel()} weights, expected {position}.")
    return parts


def set_linear(linear: IrrepsLinear, matrices: Mapping[Irrep, Tensor], where: str) -> None:
    """Copy a matrix for each irrep that both sides have."""
    for name, k in _weights(linear):
        irrep = linear.layout_out.blocks[k].irrep
        if irrep not in matrices:
            raise CheckpointError(f"{where}: a linear map has no weights for l = {irrep[0]}.")
        _copy(getattr(linear, name), matrices[irrep], where)


def set_species_linear(linear: SpeciesLinear, matrices: Mapping[Irrep, Tensor], where: str) -> None:
    """Copy (num_species, channels in, channels out) for each irrep that both sides have."""
    set_linear(linear, matrices, where)


def set_network(network: MultiLayerPerceptron, matrices: Iterable[Tensor], where: str) -> None:
    """Copy the folded matrices of a perceptron."""
    matrices = list(matrices)
    if len(matrices) != len(network.weights):
        raise CheckpointError(f"{where}: a network has {len(matrices)} matrices, expected {len(network.weights)}.")
    for parameter, matrix in zip(network.weights, matrices):
        _copy(parameter, matrix, where)


def _weights(linear: IrrepsLinear | SpeciesLinear) -> list[tuple[str, int]]:
    return [(name, int(name.removeprefix("weight_"))) for name in linear.fan_in]


def _copy(parameter: Tensor, value: Tensor, where: str) -> None:
    if parameter.shape != value.shape:
        raise CheckpointError(f"{where}: weights of shape {tuple(value.shape)}, expected {tuple(parameter.shape)}.")
    with torch.no_grad():
        parameter.copy_(value)


@dataclass(frozen=True)
class FilePath:
    """A path of a tensor product in a file: which irreps it couples, its channels, and a factor for its weights."""

    source: Irrep
    l2: int
    result: Irrep
    channels: int
    factor: float = 1.0


def set_radial_network(message: Message, matrices: Sequence[Tensor], paths: Sequence[FilePath], where: str) -> None:
    """Copy a radial network whose last matrix has columns in the order of ``paths``.

    Args:
        message: takes the network.
        matrices: folded, the last one with every constant of the message but its norm.
        paths: of the file, in the order of the columns.
        where: the file, for messages.
    """
    plan: ConvolutionPlan = message.convolution.plan
    columns, position = {}, 0
    for path in paths:
        columns[path.source, path.l2, path.result] = path.factor * matrices[-1][:, position : position + path.channels]
        position += path.channels
    wanted = [
        (plan.input.blocks[path.input].irrep, path.l2, plan.output.blocks[path.output].irrep) for path in plan.paths
    ]
    if position != matrices[-1].shape[1] or set(wanted) != set(columns):
        raise CheckpointError(
            f"{where}: a radial network has {matrices[-1].shape[1]} weights in {len(columns)} paths, "
            f"expected {plan.num_weights} in {len(plan.paths)}."
        )
    set_network(message.radial_network, [*matrices[:-1], torch.cat([columns[key] for key in wanted], dim=1)], where)


class CouplingSigns:
    """The signs of the Clebsch-Gordan tables that the weights of a file were trained with.

    Releases of e3nn differ in the sign of tables with odd l1 + l2 + l3; a file that keeps its tables says which.

    Args:
        tables: ``(l1, l2, l3)`` -> table of the file.
        where: the file, for messages.
    """

    def __init__(self, tables: Mapping[tuple[int, int, int], Tensor], where: str) -> None:
        self._tables, self._where = tables, where
        #: The tables whose sign is not that of the installed e3nn.
        self.flipped: set[tuple[int, int, int]] = set()

    def __call__(self, l1: int, l2: int, l3: int) -> float:
        """1 or -1: the sign of the file's table relative to the installed e3nn's."""
        here = wigner_3j(l1, l2, l3)
        table = self._tables.get((l1, l2, l3))
        if table is None:
            if (l1 + l2 + l3) % 2 and 0 not in (l1, l2, l3):
                raise CheckpointError(
                    f"{self._where}: has no Clebsch-Gordan table ({l1}, {l2}, {l3}), whose "
                    "sign differs between releases of e3nn, so that its weights cannot be read "
                    "with certainty."
                )
            return 1.0
        for sign in (1.0, -1.0):
            if table.shape == here.shape and torch.allclose(table.to(torch.float64), sign * here, atol=1e-5):
                if sign < 0:
                    self.flipped.add((l1, l2, l3))
                return sign
        raise CheckpointError(f"{self._where}: its Clebsch-Gordan table ({l1}, {l2}, {l3}) is not e3nn's.")


def coupling_tables(tensors: Tensors, prefix: str) -> dict[tuple[int, int, int], Tensor]:
    """The tables ``..._w3j_l1_l2_l3`` of a tensor product that e3nn compiled, under ``prefix``."""
    found = {}
    for name in tensors.names(prefix):
        _, marker, orders = name.rpartition("_w3j_")
        numbers = orders.split("_")
        if marker and len(numbers) == 3 and all(number.isdigit() for number in numbers):
            found[tuple(map(int, numbers))] = tensors[name]
    return found
