"""equipot: from DFT calculations to a validated interatomic potential you can run.

    import equipot
    potential = equipot.load("model.eqp")
    atoms.calc = equipot.Calculator("model.eqp")
    result = equipot.train("run.yaml")
    result = equipot.finetune("model.eqp", "mine.yaml")

Importing equipot loads nothing heavy and changes no global state (dtype, seeds, threads): names are resolved on
first use.
"""

from __future__ import annotations

from importlib import import_module

from equipot.version import __version__

_EXPORTS = {
    "AtomicGraph": "equipot.graph",
    "Calculator": "equipot.interfaces.ase",
    "Potential": "equipot.models",
    "load": "equipot.checkpoint",
    "train": "equipot.workflow",
    "finetune": "equipot.workflow",
    "evaluate": "equipot.workflow",
    "check_model": "equipot.checks.model",
}

_SUBPACKAGES = (
    "checks",
    "checkpoint",
    "config",
    "data",
    "graph",
    "interfaces",
    "kernels",
    "models",
    "nn",
    "properties",
    "report",
    "training",
)

__all__ = [*_EXPORTS, *_SUBPACKAGES, "__version__"]


def __getattr__(name: str):
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    if name in _SUBPACKAGES:
        return import_module(f"equipot.{name}")
    raise AttributeError(f"module 'equipot' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
