"""The operations that cost the time, behind one small interface.

An architecture asks :func:`operations` for the three operations it needs and never sees how they are computed:

- ``spherical_harmonics(l_max)``: edge vectors -> harmonics,
- ``convolution(plan)``: gather, tensor product with the harmonics, reduce,
- ``product_basis(plan)``: symmetric products of node features.

Each returns a module without parameters. ``reference`` is pure torch on e3nn's tables; fused backends build the same
operations from the same plans and must agree with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import nn

from equipot.kernels import reference
from equipot.kernels.layout import Block, FeatureLayout
from equipot.kernels.plans import ConvolutionPlan, ProductBasisPlan, symmetric_basis, wigner_3j, wigner_3j_fingerprint

__all__ = [
    "Block",
    "ConvolutionPlan",
    "FeatureLayout",
    "Operations",
    "ProductBasisPlan",
    "operations",
    "symmetric_basis",
    "wigner_3j",
    "wigner_3j_fingerprint",
]


class Operations(Protocol):
    """What a backend provides; see :mod:`equipot.kernels.reference` for shapes."""

    def spherical_harmonics(self, l_max: int) -> nn.Module: ...

    def convolution(self, plan: ConvolutionPlan) -> nn.Module: ...

    def product_basis(self, plan: ProductBasisPlan) -> nn.Module: ...


@dataclass(frozen=True)
class ReferenceOperations:
    """Pure torch."""

    def spherical_harmonics(self, l_max: int) -> nn.Module:
        return reference.SphericalHarmonics(l_max)

    def convolution(self, plan: ConvolutionPlan) -> nn.Module:
        return reference.Convolution(plan)

    def product_basis(self, plan: ProductBasisPlan) -> nn.Module:
        return reference.ProductBasis(plan)


def operations() -> Operations:
    """The operations architectures are built from."""
    return ReferenceOperations()
