"""The steps models are made of: each kind with its reference, its passes for training and its place in the engine."""

from equipot.models.steps.base import Batch, Lowering, Step, TapedBatch, TapedEdges, Value
from equipot.models.steps.convolve import Convolve
from equipot.models.steps.gate import Activate
from equipot.models.steps.invariants import Square
from equipot.models.steps.mix import Mix, Sum
from equipot.models.steps.product import Multiply
from equipot.models.steps.readout import Readout
from equipot.models.steps.species import Rows, SpeciesTable

__all__ = [
    "Activate",
    "Batch",
    "Convolve",
    "Lowering",
    "Mix",
    "Multiply",
    "Readout",
    "Rows",
    "SpeciesTable",
    "Square",
    "Step",
    "Sum",
    "TapedBatch",
    "TapedEdges",
    "Value",
]
