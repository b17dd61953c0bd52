"""The calculator on the engine: the same numbers as on torch, and torch where the engine does not know the model."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from equipot.engine import compile_potential
from equipot.errors import UsageError
from equipot.interfaces.ase import Calculator
from equipot.kernels.native import library
from tests.systems import STRUCTURES, make_potential

pytestmark = pytest.mark.skipif(isinstance(library.load(), str), reason="the native kernels were not built")

PROPERTIES = ("energy", "energies", "forces", "stress", "stresses")


def properties(calculator: Calculator, structure: str = "alloy") -> dict[str, np.ndarray]:
    atoms = STRUCTURES[structure]()
    return {name: calculator.get_property(name, atoms) for name in PROPERTIES}


def assert_equal(found: dict, expected: dict, tolerance: float) -> None:
    for name in PROPERTIES:
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("name", ["nequip spline", "mace spline"])
@pytest.mark.parametrize("structure", ["alloy", "skewed cell", "cell below the cutoff"])
def test_native_equals_reference(name: str, structure: str) -> None:
    potential = make_potential(name)
    native, reference = (Calculator(potential, kernels=kernels) for kernels in ("native", "reference"))
    assert_equal(properties(native, structure), properties(reference, structure), 1e-10)


def test_the_engine_is_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    calculator = Calculator(make_potential("nequip spline"))
    monkeypatch.setattr(calculator, "_run_torch", lambda wanted: pytest.fail("ran through torch"))
    properties(calculator)


def test_an_unknown_architecture_runs_through_torch(caplog: pytest.LogCaptureFixture) -> None:
    class Other(torch.nn.Module):
        """An architecture that says nothing of what it computes."""

        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, *arguments: object) -> torch.Tensor:
            return self.inner(*arguments)

    potential = make_potential("nequip spline")
    expected = properties(Calculator(potential))
    potential.architecture = Other(potential.architecture)
    calculator = Calculator.__new__(Calculator)
    Calculator.__init__(calculator, potential)
    with caplog.at_level(logging.INFO, "equipot"):
        assert_equal(properties(calculator), expected, 1e-10)
        properties(calculator, "skewed cell")
    said = [record for record in caplog.records if "does not know the architecture Other" in record.message]
    assert len(said) == 1 and said[0].levelno == logging.INFO


def test_weights_changed_in_place_are_noticed() -> None:
    calculator = Calculator(make_potential("nequip spline"))
    before = properties(calculator)["forces"]
    with torch.no_grad():
        calculator.potential.scale.mul_(2.0)
    calculator.reset()
    assert np.abs(properties(calculator)["forces"] - before).max() > 1e-3


def test_one_calculator_for_structures_of_other_elements() -> None:
    calculator, reference = (
        Calculator(make_potential("mace spline"), kernels=kernels) for kernels in ("native", "reference")
    )
    for structure in ("alloy", "molecule", "slab", "alloy"):
        atoms = STRUCTURES[structure]()
        np.testing.assert_allclose(
            calculator.get_property("forces", atoms), reference.get_property("forces", atoms), rtol=0, atol=1e-10
        )


def test_it_is_compiled_once_for_a_trajectory(monkeypatch: pytest.MonkeyPatch) -> None:
    count = []
    monkeypatch.setattr(
        "equipot.engine.cache.compile_potential", lambda *arguments: count.append(1) or compile_potential(*arguments)
    )
    atoms = STRUCTURES["alloy"]()
    atoms.calc = Calculator(make_potential("nequip spline"))
    for step in range(4):
        atoms.rattle(0.02, seed=step)
        atoms.get_forces()
    assert len(count) == 1


def test_kernels_that_have_no_meaning_are_refused() -> None:
    with pytest.raises(UsageError, match="expected one of auto, native, reference"):
        Calculator(make_potential("nequip spline"), kernels="fast")
