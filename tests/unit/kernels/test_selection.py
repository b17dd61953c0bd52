"""The choice between native and reference kernels, and of the gradients wanted."""

from __future__ import annotations

import threading
import timeit
import warnings
from pathlib import Path

import pytest
import torch

from equipot.errors import UsageError
from equipot.kernels import selection
from equipot.kernels.native import library

TENSOR = torch.zeros(3)
ABSENT = "The native kernels were not built."


@pytest.fixture
def kernels(monkeypatch):
    """Pretend that the native kernels are there (an instruction set) or not (a reason), with EQUIPOT_KERNELS set."""

    def set_up(found: str, variable: str | None = None) -> None:
        is_there = found in library.INSTRUCTION_SETS
        loaded = library.NativeLibrary(None, found, Path("library.so")) if is_there else found
        monkeypatch.setattr(library, "load", lambda: loaded)
        if variable is None:
            monkeypatch.delenv(selection.VARIABLE, raising=False)
        else:
            monkeypatch.setenv(selection.VARIABLE, variable)
        selection._is_native.cache_clear()
        selection._warn_of_reference.cache_clear()

    yield set_up
    selection._is_native.cache_clear()
    selection._warn_of_reference.cache_clear()


@pytest.mark.parametrize(
    ("variable", "native"), [(None, True), ("", True), ("auto", True), ("native", True), ("reference", False)]
)
def test_environment_chooses(kernels, variable, native):
    kernels("avx2", variable)
    assert selection.uses_native(TENSOR) is native
    assert selection.instruction_set() == ("avx2" if native else None)


def test_environment_with_no_meaning_is_an_error(kernels):
    kernels("avx2", "fast")
    with pytest.raises(UsageError, match=r"EQUIPOT_KERNELS is 'fast', expected one of auto, native, reference"):
        selection.uses_native(TENSOR)


def test_use_is_stronger_than_the_environment_and_nests(kernels):
    kernels("avx2", "reference")
    assert not selection.uses_native(TENSOR)
    with selection.use("native"):
        assert selection.uses_native(TENSOR)
        with selection.use("reference"):
            assert not selection.uses_native(TENSOR)
            with selection.use(None):
                assert not selection.uses_native(TENSOR)
        assert selection.uses_native(TENSOR)
    assert not selection.uses_native(TENSOR)


def test_use_ends_with_an_exception(kernels):
    kernels("avx2")
    with pytest.raises(ZeroDivisionError), selection.use("reference"):
        _ = 1 / 0
    assert selection.uses_native(TENSOR)


def test_use_is_of_one_thread(kernels):
    kernels("avx2")
    seen = []
    with selection.use("reference"):
        thread = threading.Thread(target=lambda: seen.append(selection.uses_native(TENSOR)))
        thread.start()
        thread.join()
    assert seen == [True]


@pytest.mark.parametrize("kind", ["fast", "", "Native"])
def test_use_of_something_else_is_an_error(kind):
    with pytest.raises(UsageError, match="expected one of auto, native, reference"), selection.use(kind):
        pass


def test_absent_kernels_warn_once_and_fall_back(kernels):
    kernels(ABSENT)
    with pytest.warns(UserWarning, match=rf"slower\. {ABSENT}") as record:
        assert not selection.uses_native(TENSOR)
    assert len(record) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not selection.uses_native(TENSOR)
        with selection.use("auto"):
            assert not selection.uses_native(TENSOR)
        assert selection.instruction_set() is None


def test_absent_kernels_are_an_error_where_native_was_asked_for(kernels):
    kernels(ABSENT, "native")
    with pytest.raises(UsageError, match=ABSENT):
        selection.uses_native(TENSOR)
    with pytest.raises(UsageError, match=ABSENT), selection.use("native"):
        pass
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with selection.use("reference"):
            assert not selection.uses_native(TENSOR)


def test_other_tensors_take_the_reference(kernels):
    kernels("avx512", "native")
    assert selection.uses_native(TENSOR.double())
    for other in (TENSOR.half(), TENSOR.bfloat16(), TENSOR.long(), TENSOR.to("meta")):
        assert not selection.uses_native(other)


def test_asking_is_cheap(kernels):
    kernels("avx2")
    assert min(timeit.repeat(lambda: selection.uses_native(TENSOR), number=1000, repeat=5)) / 1000 < 5e-6


def test_gradients_wanted():
    assert selection.wanted_gradients() == "all"
    assert selection.wants_parameters() and selection.wants_geometry()
    with selection.gradients_of("inputs"):
        assert selection.wanted_gradients() == "inputs"
        assert not selection.wants_parameters() and selection.wants_geometry()
        with selection.gradients_of("parameters"):
            assert selection.wants_parameters() and not selection.wants_geometry()
        with selection.gradients_of("all"):
            assert selection.wants_parameters() and selection.wants_geometry()
        assert not selection.wants_parameters()
    assert selection.wanted_gradients() == "all"


def test_gradients_of_something_else_is_an_error():
    with pytest.raises(UsageError, match="all, inputs, parameters, not 'weights'"), selection.gradients_of("weights"):
        pass


def test_a_backward_pass_sees_what_is_wanted():
    seen = []

    class Probe(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            seen.append(selection.wanted_gradients())
            return g

    x = torch.zeros(3, requires_grad=True)
    y = Probe.apply(x).sum()
    with selection.gradients_of("inputs"):
        torch.autograd.grad(y, x)
    assert seen == ["inputs"]
