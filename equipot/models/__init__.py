"""Architectures and the potential that turns their energies into eV, forces and stress."""

from equipot.models import ace, behler_parrinello, mace, nequip, painn  # registers them
from equipot.models.architecture import Architecture, Edges
from equipot.models.build import build_potential, example_potential
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
    "ace",
    "behler_parrinello",
    "build_options",
    "build_potential",
    "example_potential",
    "mace",
    "names",
    "nequip",
    "painn",
    "register",
    "resolve_options",
]
