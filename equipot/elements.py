"""Chemical elements: symbols, atomic numbers and covalent radii, from ASE's tables."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from ase.data import atomic_numbers as _numbers
from ase.data import chemical_symbols as _symbols
from ase.data import covalent_radii as _radii

from equipot.errors import ElementError

MAX_ATOMIC_NUMBER = len(_symbols) - 1


def atomic_number(symbol: str) -> int:
    """Atomic number of an element symbol; raises ElementError for anything else (also for ``X``)."""
    number = _numbers.get(symbol, 0) if isinstance(symbol, str) else 0
    if number < 1:
        raise ElementError(f"{repr(symbol)[:60]} is not the symbol of a chemical element.")
    return number


def symbol(number: int) -> str:
    """Element symbol of an atomic number; raises ElementError outside 1..118."""
    if not 1 <= int(number) <= MAX_ATOMIC_NUMBER:
        raise ElementError(f"{number} is not the atomic number of a chemical element (1 to {MAX_ATOMIC_NUMBER}).")
    return _symbols[int(number)]


def require_elements(numbers: np.ndarray, where: str) -> None:
    """Make sure that atomic numbers (N,) are those of chemical elements.

    Raises:
        ElementError: naming ``where`` and the first atom that is none.
    """
    wrong = (numbers < 1) | (numbers > MAX_ATOMIC_NUMBER)
    if wrong.any():
        atom = int(np.argmax(wrong))
        dummy = " (the dummy 'X')" if numbers[atom] == 0 else ""
        raise ElementError(
            f"{where}: atom {atom} has atomic number {numbers[atom]}{dummy}, which is not a chemical "
            f"element (1 to {MAX_ATOMIC_NUMBER}); remove the atom or give its element."
        )


def covalent_radius(symbol: str) -> float:
    """Covalent radius in Angstrom (Cordero et al., Dalton Trans. 2008, 2832)."""
    return float(_radii[atomic_number(symbol)])


def sorted_symbols(symbols: Iterable[str]) -> tuple[str, ...]:
    """Distinct symbols by ascending atomic number."""
    return tuple(sorted(set(symbols), key=atomic_number))
