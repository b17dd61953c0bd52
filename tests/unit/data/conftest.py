"""The Cu-Au frames, made once for all data tests (copy what you change)."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from equipot.data import cu_au_emt


@pytest.fixture(scope="session")
def cu_au():
    return cu_au_emt()


@pytest.fixture(scope="module")
def frames(cu_au):
    """Three frames of one cell, atoms sorted by element."""
    chosen = [copy.deepcopy(frame) for frame in cu_au if frame.config_type == "rattled" and len(frame.atoms) == 8][5:8]
    for frame in chosen:
        order = np.argsort(frame.atoms.numbers, kind="stable")
        frame.atoms, frame.forces = frame.atoms[order], frame.forces[order]
    assert {len(set(frame.atoms.numbers)) for frame in chosen} == {2}
    return chosen
