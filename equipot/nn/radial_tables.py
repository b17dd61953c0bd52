"""Radial functions of a frozen network as spline tables, and the few functions a first layer's are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import solve_banded

from equipot.kernels.spline import control_points, knots
from equipot.nn import AnyRadialEmbedding, Message

#: One-sided first difference of fourth order.
_FIRST_SLOPE = (-25 / 12, 4.0, -3.0, 4 / 3, -1 / 4)


@dataclass(frozen=True)
class TableForm:
    """How the engine's radial tables are made up.

    Attributes:
        num_intervals: of the splines from 0 to the cutoff.
        break_interval: first interval of the second piece, where the curvature jumps; None: one piece.
        pairs: (num_tables, 2) species for which tables follow each other; None: one table serves all pairs.
        table_of_pair: (num_species, num_species) int32, or None.
    """

    num_intervals: int
    break_interval: int | None = None
    pairs: torch.Tensor | None = None
    table_of_pair: np.ndarray | None = None


def table_form(radial: AnyRadialEmbedding, num_intervals: int, species: torch.Tensor) -> TableForm | None:
    """The form for a radial embedding: at least so many intervals, tables for pairs of these species.

    None where the splines would have to break between two knots.
    """
    pairs = table_of_pair = None
    if radial.transform is not None:
        count = len(species)
        first, second = torch.triu_indices(count, count)
        pairs = torch.stack([species[first], species[second]], dim=1)
        table_of_pair = np.empty((count, count), dtype=np.int32)
        places = first.numpy(), second.numpy()
        table_of_pair[places] = table_of_pair[places[::-1]] = np.arange(len(first))
    if radial.onset is None:
        return TableForm(num_intervals, None, pairs, table_of_pair)
    for intervals in range(num_intervals, 2 * num_intervals):
        at = intervals * radial.onset / radial.cutoff
        if abs(at - round(at)) < 1e-9 and 4 < at < intervals - 4:
            return TableForm(intervals, round(at), pairs, table_of_pair)
    return None


class RadialTables:
    """Control points of the radial functions of messages, float64, (rows, ...).

    Args:
        radial: the embedding all messages share, float64.
        cutoff: Angstrom.
        form: of the tables.
        solid: whether harmonics are times r^l, which the tables then hold.
    """

    def __init__(self, radial: AnyRadialEmbedding, cutoff: float, form: TableForm, *, solid: bool = False) -> None:
        self._form, self._cutoff, self._solid = form, cutoff, solid
        distance = knots(cutoff, form.num_intervals, dtype=torch.float64)
        self._num_tables = 1
        pair: tuple[torch.Tensor, ...] = ()
        if form.pairs is not None:
            self._num_tables = len(form.pairs)
            pair = tuple(form.pairs[:, k].repeat_interleave(len(distance)) for k in range(2))
            distance = distance.repeat(self._num_tables)
        self._distance = distance
        self._embedded, self._envelope = radial(distance, *pair)

    def weights(self, message: Message) -> torch.Tensor:
        """(rows, num_weights): the weights of each path and channel, over the norm where it is a number."""
        values = message.radial_network(self._embedded)
        if self._envelope is not None:
            values = values * self._envelope
        if self._solid:
            plan = message.convolution.plan
            orders = [path.l2 for path, n in zip(plan.paths, plan.path_channels) for _ in range(n)]
            values = values * self._distance.unsqueeze(1) ** torch.tensor(orders)
        return self._table(values if message.density_network is not None else values / message.norm)

    def density(self, message: Message) -> torch.Tensor | None:
        """(rows, 1): what a neighbour counts for in the density, None without density normalisation."""
        if message.density_network is None:
            return None
        return self._table(message.density(self._embedded, self._envelope))

    def _table(self, values: torch.Tensor) -> torch.Tensor:
        split = self._form.break_interval
        step = self._cutoff / self._form.num_intervals
        tables = []
        for one in values.chunk(self._num_tables):
            if split is None:
                tables.append(control_points(one))
            else:
                tables += [free_spline(one[: split + 1], step), free_spline(one[split:], step)]
        return torch.cat(tables)


def free_spline(values: torch.Tensor, step: float) -> torch.Tensor:
    """Function values at equal steps (n + 1, D) -> control points (n + 3, D) of the cubic spline through them.

    Nothing is assumed beyond the ends; the slopes there are one-sided differences.
    """
    count = len(values) - 1
    slopes = torch.tensor(_FIRST_SLOPE, dtype=values.dtype) / step
    first = (slopes.unsqueeze(1) * values[:5]).sum(0)
    last = -(slopes.unsqueeze(1) * values.flip(0)[:5]).sum(0)
    # Unknown c_-1 .. c_n+1: slope (c_1 - c_-1) / 2h, then (c_k-1 + 4 c_k + c_k+1) / 6 = f_k, then the other slope.
    bands = np.zeros((5, count + 3))
    bands[1, 2:] = bands[3, : count + 1] = 1 / 6
    bands[2, 1 : count + 2] = 4 / 6
    bands[2, 0], bands[1, 1], bands[0, 2] = -0.5 / step, 0.0, 0.5 / step
    bands[2, count + 2], bands[3, count + 1], bands[4, count] = 0.5 / step, 0.0, -0.5 / step
    right = torch.cat([first.unsqueeze(0), values, last.unsqueeze(0)])
    return torch.from_numpy(solve_banded((2, 2), bands, right.numpy()))


def compress(table: torch.Tensor, tolerance: float, multiple: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Few functions that all columns of a table are sums of.

    A network of one distance has many outputs, but they are all smooth, and no more than its last hidden layer is wide:
    a singular value decomposition finds a few functions that span them.

    Args:
        table: (rows, columns).
        tolerance: singular values below this part of the largest are left out. Rows at short distances, where radial
            functions are large, count no more than the largest row in the outer half.
        multiple: the number of functions is rounded up to this, with zeros.

    Returns:
        functions (rows, num_functions) and mixing (num_functions, columns), with table = functions @ mixing.
    """
    size = table.norm(dim=1)
    weight = (size[len(size) // 2 :].max() / size.clamp(min=torch.finfo(table.dtype).tiny)).clamp(max=1.0)
    _, singular, right = torch.linalg.svd(table * weight.unsqueeze(1), full_matrices=False)
    rank = max(1, int((singular > tolerance * singular[0]).sum()))
    mixing = table.new_zeros(-(-rank // multiple) * multiple, table.shape[1])
    mixing[:rank] = right[:rank]
    return table @ mixing.T, mixing
