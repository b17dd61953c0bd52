"""Keep a potential compiled as long as its weights and the elements asked for allow."""

from __future__ import annotations

import logging

import numpy as np

from equipot.elements import symbol
from equipot.engine.compile import CompiledPotential, NotCompiled, compile_potential
from equipot.models import Potential

logger = logging.getLogger(__name__)


class CompilationCache:
    """The compiled form of one potential, made anew where its weights have changed or other elements come.

    Args:
        potential: its elements stay, its weights may change in place.
    """

    def __init__(self, potential: Potential) -> None:
        self._potential = potential
        self._tensors = [*potential.parameters(), *potential.buffers()]
        self._versions: list[int] | None = None
        self._compiled: CompiledPotential | None = None
        self._numbers: bytes | None = None

    def get(self, atomic_numbers: np.ndarray) -> CompiledPotential | None:
        """The potential compiled for a structure of these elements (all known to it); None: it cannot be compiled."""
        versions = [tensor._version for tensor in self._tensors]
        if versions != self._versions:
            self._versions, self._compiled, self._numbers = versions, None, None
        numbers = atomic_numbers.tobytes()
        if self._numbers == numbers:
            return self._compiled
        compiled, known = self._compiled, () if self._compiled is None else self._compiled.elements
        if compiled is None or (compiled.species(atomic_numbers) < 0).any():
            present = {symbol(int(number)) for number in np.unique(atomic_numbers)}.union(known)
            # Fewer elements are faster; none at all are as good as one.
            chosen = tuple(element for element in self._potential.elements if element in present)
            self._compiled = self._compile(chosen or self._potential.elements[:1])
        self._numbers = numbers
        return self._compiled

    def _compile(self, elements: tuple[str, ...]) -> CompiledPotential | None:
        try:
            return compile_potential(self._potential, elements)
        except NotCompiled as reason:
            logger.info("The calculator runs the potential through torch, which is slower. %s", reason)
            return None
