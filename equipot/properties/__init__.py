"""Properties of crystals computed with any ASE calculator, and their comparison with a reference."""

from equipot.properties.comparison import PropertyComparison, PropertyRow, compare
from equipot.properties.crystal import build_crystal
from equipot.properties.elastic import ElasticConstants, elastic_constants
from equipot.properties.equation_of_state import EquationOfState, equation_of_state

__all__ = ["ElasticConstants", "EquationOfState", "PropertyComparison", "PropertyRow", "build_crystal", "compare",
           "elastic_constants", "equation_of_state"]
