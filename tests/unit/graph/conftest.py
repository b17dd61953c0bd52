"""Neighbour lists are tested on both of their searches: in C++, and in Python."""

from __future__ import annotations

from pathlib import Path

import pytest

from equipot.kernels import selection
from equipot.kernels.native import library

_BOTH = ("test_neighbors", "test_extremes")


def pytest_generate_tests(metafunc):
    if Path(metafunc.module.__file__).stem in _BOTH:
        metafunc.parametrize("kernels", ("native", "reference"), indirect=True)


@pytest.fixture(autouse=True)
def kernels(request, monkeypatch):
    """Choose the kernels, in this process and in those it starts; elsewhere the choice is left alone."""
    if not hasattr(request, "param"):
        yield None
        return
    if request.param == "native" and isinstance(library.load(), str):
        pytest.skip(library.load())
    monkeypatch.setenv(selection.VARIABLE, request.param)
    with selection.use(request.param):
        yield request.param
