"""The operations that cost the time, behind one small interface.

Architectures are built from these modules, none of which has parameters, and never see how they are computed:

- :class:`EdgeGeometry`: edge vectors -> harmonics and the spline basis of their lengths,
- :class:`EdgeIndex`: the edges of a structure, in the orders the kernels walk them,
- :class:`Convolution`, :class:`SplineConvolution`: gather, tensor product with the harmonics, reduce,
- :class:`ProductBasis`: symmetric products of node features,
- :class:`ChannelMixing`, :class:`GatedActivation`: linear maps and the nonlinearity of node features,
- :class:`Coordination`, :func:`assemble_forces`: what the potential sums over edges itself.

At every call they choose (:mod:`equipot.kernels.selection`) between the native kernels and ``reference``, pure torch on
e3nn's tables, which defines what the native kernels compute.
"""

from __future__ import annotations

from equipot.kernels.convolution import Convolution, SplineConvolution
from equipot.kernels.edge_index import EdgeIndex
from equipot.kernels.edge_sums import Coordination, assemble_forces, polynomial_envelope
from equipot.kernels.geometry import EdgeGeometry
from equipot.kernels.layout import Block, FeatureLayout
from equipot.kernels.native.operator import is_eager
from equipot.kernels.node_operations import ChannelMixing, GatedActivation, scaled_silu
from equipot.kernels.plans import ConvolutionPlan, ProductBasisPlan, symmetric_basis, wigner_3j, wigner_3j_fingerprint
from equipot.kernels.product_basis import ProductBasis
from equipot.kernels.selection import gradients_of, instruction_set, use, uses_native

__all__ = [
    "Block",
    "ChannelMixing",
    "Convolution",
    "ConvolutionPlan",
    "Coordination",
    "EdgeGeometry",
    "EdgeIndex",
    "FeatureLayout",
    "GatedActivation",
    "ProductBasis",
    "ProductBasisPlan",
    "SplineConvolution",
    "assemble_forces",
    "gradients_of",
    "instruction_set",
    "is_eager",
    "polynomial_envelope",
    "scaled_silu",
    "symmetric_basis",
    "use",
    "uses_native",
    "wigner_3j",
    "wigner_3j_fingerprint",
]
