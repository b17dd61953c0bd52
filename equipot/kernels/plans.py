"""What the operations compute, as tables: tensor-product paths with e3nn's Wigner 3j, and symmetric product bases.

A plan holds no weights and no device: every backend builds its kernels from the same plan.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from dataclasses import dataclass
from functools import cache, cached_property

import torch
from e3nn import o3

from equipot.kernels.layout import Block, FeatureLayout


@cache
def wigner_3j(l1: int, l2: int, l3: int) -> torch.Tensor:
    """e3nn's real Wigner 3j symbols, float64, (2 l1+1, 2 l2+1, 2 l3+1)."""
    return o3.wigner_3j(l1, l2, l3, dtype=torch.float64)


def wigner_3j_fingerprint(l_max: int) -> str:
    """Hash of the signs of all Wigner 3j tables up to ``l_max``.

    e3nn releases have changed the sign of tables with odd l1+l2+l3; weights trained with one sign are wrong with the
    other, so model files carry this fingerprint.
    """
    digest = hashlib.sha256()
    for l1, l2, l3 in itertools.product(range(l_max + 1), repeat=3):
        if abs(l1 - l2) <= l3 <= l1 + l2:
            table = wigner_3j(l1, l2, l3)
            signs = torch.where(table.abs() < 1e-6, torch.zeros_like(table), table.sign()).to(torch.int8)
            digest.update(bytes((l1, l2, l3)) + signs.flatten().numpy().tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Path:
    """One coupling (l1, l2 -> l3): input block, order of the harmonic, output block, first channel in that block."""

    input: int
    l2: int
    output: int
    channel_offset: int


@dataclass(frozen=True)
class ConvolutionPlan:
    """The gather-tensor-product-reduce convolution ``out_i = sum_j w_ij (x_j (x) Y(r_ij))``, path by path ("uvu").

    Path (l1, l2 -> l3) couples each channel of an input block with the harmonic of order l2 by
    ``sqrt(2 l3 + 1) * wigner_3j(l1, l2, l3)`` (e3nn's component normalisation) and its own weight a channel. Outputs
    of equal irrep are concatenated along the channels, paths ordered by (l1, parity, l2).

    Attributes:
        input: layout of the features x, (N, input.dim).
        l_max: highest order of the edge harmonics Y, stored (E, (l_max+1)^2).
        harmonic_parity: True if Y_l has parity (-1)^l; False treats everything as even (SO(3) only).
        output: layout of the result, (N, output.dim).
        paths: ordered by output block, then input block, then l2.
    """

    input: FeatureLayout
    l_max: int
    harmonic_parity: bool
    output: FeatureLayout
    paths: tuple[Path, ...]

    @classmethod
    def build(
        cls, features: FeatureLayout, l_max: int, irreps_out: set[tuple[int, int]], *, harmonic_parity: bool = True
    ) -> ConvolutionPlan:
        """All allowed paths from ``features`` (x) Y_0..l_max into the irreps (l, p) of ``irreps_out``."""
        found: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for k, block in enumerate(features.blocks):
            for l2 in range(l_max + 1):
                parity = block.p * ((-1) ** l2 if harmonic_parity else 1)
                for l3 in range(abs(block.l - l2), block.l + l2 + 1):
                    if (l3, parity) in irreps_out:
                        found.setdefault((l3, parity), []).append((k, l2))
        blocks, paths = [], []
        # Ascending l, natural parity first: 0e, 0o, 1o, 1e, 2e, ...
        for output, (l3, parity) in enumerate(sorted(found, key=lambda lp: (lp[0], -lp[1] * (-1) ** lp[0]))):
            offset = 0
            for k, l2 in sorted(found[l3, parity]):
                paths.append(Path(k, l2, output, offset))
                offset += features.blocks[k].channels
            blocks.append(Block(offset, l3, parity))
        return cls(features, l_max, harmonic_parity, FeatureLayout(tuple(blocks)), tuple(paths))

    @cached_property
    def path_channels(self) -> tuple[int, ...]:
        """Channels of each path (those of its input block)."""
        return tuple(self.input.blocks[path.input].channels for path in self.paths)

    @cached_property
    def num_weights(self) -> int:
        """Weights an edge: one a path and channel, in the order of ``paths``."""
        return sum(self.path_channels)

    @cached_property
    def weight_offsets(self) -> tuple[int, ...]:
        """Where each path's weights start."""
        return tuple(itertools.accumulate(self.path_channels, initial=0))[:-1]

    def coefficients(self, path: Path) -> torch.Tensor:
        """sqrt(2 l3 + 1) * wigner_3j(l1, l2, l3), float64, (2 l1+1, 2 l2+1, 2 l3+1)."""
        l1, l3 = self.input.blocks[path.input].l, self.output.blocks[path.output].l
        return math.sqrt(2 * l3 + 1) * wigner_3j(l1, path.l2, l3)


@cache
def symmetric_basis(l_max: int, order: int, l_out: int) -> torch.Tensor:
    """Orthonormal basis of the symmetric equivariant maps from ``order`` copies of V = (+)_{l<=l_max} l to l_out.

    Coupled by e3nn's Wigner 3j (natural parity: l1 + l2 + l3 even), symmetrised and orthogonalised by a singular value
    decomposition with fixed signs. This spans the same space as the generalised Clebsch-Gordan coefficients of MACE
    (Batatia et al., NeurIPS 2022, eq. 10) without their redundancy.

    Returns:
        float64 (2 l_out + 1, S, ..., S, num_paths) with S = (l_max + 1)^2 repeated ``order`` times.
    """
    size = (l_max + 1) ** 2
    single = []
    for l in range(l_max + 1):
        projector = torch.zeros(2 * l + 1, size, dtype=torch.float64)
        projector[torch.arange(2 * l + 1), torch.arange(l * l, (l + 1) ** 2)] = 1.0
        single.append((l, projector))
    coupled = list(single)
    for remaining in range(order - 2, -1, -1):
        following = []
        for (la, a), (lb, b) in itertools.product(coupled, single):
            # An intermediate order further than `remaining` couplings from l_out can never reach it.
            for lc in range(abs(la - lb), la + lb + 1):
                if (la + lb + lc) % 2 == 0 and abs(lc - l_out) <= remaining * l_max:
                    product = torch.einsum("abc,ax,by->cxy", wigner_3j(la, lb, lc), a.flatten(1), b)
                    following.append((lc, product.reshape(2 * lc + 1, *a.shape[1:], size)))
        coupled = following
    tensors = [_symmetrise(tensor, order) for l, tensor in coupled if l == l_out]
    stacked = torch.stack(tensors, dim=-1)
    matrix = stacked.reshape(-1, stacked.shape[-1])
    left, singular, _ = torch.linalg.svd(matrix, full_matrices=False)
    rank = int((singular > 1e-9 * singular.max()).sum())
    return _canonical(left[:, :rank]).reshape(*stacked.shape[:-1], rank)


def _symmetrise(tensor: torch.Tensor, order: int) -> torch.Tensor:
    permutations = list(itertools.permutations(range(1, order + 1)))
    return sum(tensor.permute(0, *permutation) for permutation in permutations) / len(permutations)


def _canonical(basis: torch.Tensor) -> torch.Tensor:
    """The orthonormal basis of the same space that depends on the space alone, not on a library's SVD.

    Reduced row echelon form of the projector's rows is unique; Gram-Schmidt on it fixes order and signs.
    """
    echelon = basis.T.clone()
    row = 0
    for column in range(echelon.shape[1]):
        if row == echelon.shape[0]:
            break
        pivot = row + int(echelon[row:, column].abs().argmax())
        if echelon[pivot, column].abs() < 1e-8:
            continue
        echelon[[row, pivot]] = echelon[[pivot, row]]
        echelon[row] = echelon[row] / echelon[row, column]
        others = torch.arange(echelon.shape[0]) != row
        echelon[others] -= echelon[others][:, column : column + 1] * echelon[row]
        row += 1
    orthonormal, triangular = torch.linalg.qr(echelon.T)
    orthonormal = orthonormal * triangular.diagonal().sign()
    return torch.where(orthonormal.abs() < 1e-13, torch.zeros_like(orthonormal), orthonormal)


@dataclass(frozen=True)
class ProductBasisPlan:
    """The node-wise product basis ``y_LM = sum_nu sum_k W_nu,k (U_nu,k . A^nu)_LM`` (symmetric contraction).

    Features A are (N, (l_max+1)^2, C) with natural parity; products of up to ``correlation`` of them are taken channel
    by channel and contracted to the orders ``l_out``, with one weight for each species, path and channel.
    """

    l_max: int
    correlation: int
    l_out: tuple[int, ...]

    def num_paths(self, l: int, order: int) -> int:
        """Number of independent invariant (equivariant) products of ``order`` features with output l."""
        return symmetric_basis(self.l_max, order, l).shape[-1]

    @cached_property
    def terms(self) -> tuple[tuple[int, int], ...]:
        """(l, order) of every weight tensor, in the order the weights are given."""
        return tuple((l, order) for l in self.l_out for order in range(1, self.correlation + 1))

    @cached_property
    def monomials(self) -> tuple[tuple[tuple[int, ...], ...], ...]:
        """For each order, the index multisets s1 <= ... <= s_nu that occur in any output."""
        size, result = (self.l_max + 1) ** 2, []
        for order in range(1, self.correlation + 1):
            bases = [symmetric_basis(self.l_max, order, l) for l in self.l_out]
            result.append(
                tuple(
                    index
                    for index in itertools.combinations_with_replacement(range(size), order)
                    if any(bool((basis[(slice(None), *index)].abs() > 1e-12).any()) for basis in bases)
                )
            )
        return tuple(result)

    def coefficients(self, l: int, order: int) -> torch.Tensor:
        """Coefficients of the monomials of ``order``, float64, (2l+1, num_paths, num_monomials).

        The factor counts the orderings of each multiset, so that sum over monomials = sum over all index tuples.
        """
        basis, columns = symmetric_basis(self.l_max, order, l), []
        for index in self.monomials[order - 1]:
            repeats = math.prod(math.factorial(index.count(value)) for value in set(index))
            columns.append(basis[(slice(None), *index)] * (math.factorial(order) / repeats))
        return torch.stack(columns, dim=-1)
