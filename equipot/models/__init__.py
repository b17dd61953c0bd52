"""Architectures and the potential that turns their energies into eV, forces and stress."""

from equipot.models import mace, nequip  # registers them
from equipot.models.architecture import Architecture, Edges
from equipot.models.build import build_potential
from equipot.models.config import PotentialConfig
from equipot.models.output import ModelOutput
from equipot.models.potential import Potential
from equipot.models.registry import build_options, names, register, resolve_options

__all__ = [
    "Architecture",
    "Edges",
    "ModelOutput",
    "Potential",
    "PotentialConfig",
    "build_options",
    "build_potential",
    "mace",
    "names",
    "nequip",
    "register",
    "resolve_options",
]
