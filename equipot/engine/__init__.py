"""The inference engine: a frozen potential run by C++ without torch's graph, on the CPU.

:func:`compile_potential` lowers a potential to a program of the engine, or says why it cannot;
:class:`~equipot.engine.compile.CompiledPotential` evaluates structures. The calculator does all of this by itself.
"""

from __future__ import annotations

from equipot.engine.cache import CompilationCache
from equipot.engine.compile import CompiledPotential, Evaluation, NotCompiled, compile_potential

__all__ = ["CompilationCache", "CompiledPotential", "Evaluation", "NotCompiled", "compile_potential"]
