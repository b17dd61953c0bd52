"""Charge, spin and level of theory of frames: where they vary, energies differ for a reason no potential sees."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from equipot.data.frames import Frame
from equipot.data.isolated import is_isolated_atom

_CHARGE = ("total_charge", "charge", "net_charge", "tot_charge", "molecular_charge")
_SPIN = ("total_spin", "spin", "multiplicity", "spin_multiplicity", "mult")
_THEORY = ("head", "level_of_theory", "theory", "functional", "xc", "xc_functional", "method", "dft_functional")


def varying_states(frames: Sequence[Frame]) -> list[str]:
    """One sentence for each key of charge, spin or level of theory whose values differ among frames trained as one.

    A charge that is not given counts as 0. A spin is compared among frames of one composition only, since different
    compositions have different ground states; isolated atoms are left out of both.
    """
    bound = [frame for frame in frames if not is_isolated_atom(frame)]
    sentences = []
    for key in _CHARGE:
        if any(key in frame.info for frame in bound):
            counts = Counter(_value(frame.info.get(key, 0)) for frame in bound)
            if len(counts) > 1:
                sentences.append(
                    _sentence(key, counts, "a potential knows nothing of charge, and one structure has one energy")
                )
    for key in _SPIN:
        by_formula: dict[str, Counter] = defaultdict(Counter)
        for frame in bound:
            if key in frame.info:
                by_formula[frame.atoms.symbols.formula.format("hill")][_value(frame.info[key])] += 1
        mixed = {formula: counts for formula, counts in by_formula.items() if len(counts) > 1}
        if mixed:
            formula, counts = next(iter(mixed.items()))
            reason = (
                f"a potential knows nothing of spin; {len(mixed)} compositions have several, {formula} is the first"
            )
            sentences.append(_sentence(key, counts, reason))
    for key in _THEORY:
        if any(key in frame.info for frame in frames):
            counts = Counter(_value(frame.info.get(key, "not given")) for frame in frames)
            if len(counts) > 1:
                sentences.append(_sentence(key, counts, "labels of different levels of theory contradict each other"))
    return sentences


def _value(value: Any) -> str:
    if isinstance(value, str):
        return value
    array = np.asarray(value)
    if array.dtype.kind in "fiu" and array.size == 1:
        return f"{float(array.reshape(-1)[0]):g}"
    return " ".join(str(value).split())


def _sentence(key: str, counts: Counter, reason: str) -> str:
    listed = ", ".join(f"{value[:30]} in {count} frames" for value, count in counts.most_common(6))
    more = f" and {len(counts) - 6} further values" if len(counts) > 6 else ""
    return f"'{key}' varies ({listed}{more}): {reason}. Train on the frames of one value"
