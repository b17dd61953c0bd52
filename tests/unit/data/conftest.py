"""The Cu-Au frames, made once for all data tests (copy what you change)."""

from __future__ import annotations

import pytest

from equipot.data import cu_au_emt


@pytest.fixture(scope="session")
def cu_au():
    return cu_au_emt()
