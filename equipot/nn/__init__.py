"""Building blocks of the architectures: plain torch modules on channel-last features, no ASE, no graphs, no files.

Weights are stored folded: a matrix of fan-in n starts with standard deviation n^-1/2 and is applied as it is. Under
Adam-like optimisers it must then learn at learning_rate / sqrt(n); blocks say so in ``fan_in``, a mapping from their
own parameter names to n.
"""

from equipot.nn.gate import Gate
from equipot.nn.invariants import Invariants
from equipot.nn.linear import IrrepsLinear, SpeciesLinear
from equipot.nn.message import Message
from equipot.nn.mlp import FixedRadial, MultiLayerPerceptron
from equipot.nn.product import SymmetricProduct, highest_order, natural_layout
from equipot.nn.radial import (
    AgnesiTransform,
    AnyRadialEmbedding,
    BesselBasis,
    ChebyshevEmbedding,
    EdgeEmbedding,
    EdgeFeatures,
    PolynomialEnvelope,
    RadialEmbedding,
    XPLOREnvelope,
)
from equipot.nn.zbl import RepulsionConstants, ZBLRepulsion

__all__ = [
    "AgnesiTransform",
    "AnyRadialEmbedding",
    "BesselBasis",
    "ChebyshevEmbedding",
    "EdgeEmbedding",
    "EdgeFeatures",
    "FixedRadial",
    "Gate",
    "Invariants",
    "IrrepsLinear",
    "Message",
    "MultiLayerPerceptron",
    "PolynomialEnvelope",
    "RadialEmbedding",
    "RepulsionConstants",
    "SpeciesLinear",
    "SymmetricProduct",
    "XPLOREnvelope",
    "ZBLRepulsion",
    "highest_order",
    "natural_layout",
]
