"""Atomic energies: isolated, given, least squares with rank report, singular compositions (D10)."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from equipot.data import fit_atomic_energies
from equipot.data.frames import Frame
from equipot.data.isolated import is_isolated_atom
from equipot.errors import ConfigError, DataError

TRUE = {"H": -13.6, "C": -1027.0, "O": -2041.5}


def _frame(formula: str, *, noise: float = 0.0, config_type: str = "default") -> Frame:
    atoms = Atoms(formula)
    atoms.positions[:, 0] = 1.1 * np.arange(len(atoms))
    return Frame(
        atoms,
        sum(TRUE[symbol] for symbol in atoms.get_chemical_symbols()) + noise * len(atoms),
        config_type=config_type,
    )


def test_least_squares_recovers_the_values():
    formulas = ["CH4", "CO2", "H2O", "C2H6O", "CH2O", "O2"]
    fit = fit_atomic_energies([_frame(formula) for formula in formulas], ["H", "C", "O"])
    assert fit.origin == "least_squares" and fit.rank == fit.num_elements == 3 and not fit.warnings
    for symbol, value in TRUE.items():
        assert fit.values[symbol] == pytest.approx(value, abs=1e-9)
    assert fit.residual_rms_mev_per_atom == pytest.approx(0.0, abs=1e-6)
    assert 1.0 < fit.condition < 100.0
    assert list(fit.values) == ["H", "C", "O"]
    noisy = fit_atomic_energies([_frame(f, noise=0.01 * (-1) ** i) for i, f in enumerate(formulas)], ["H", "C", "O"])
    assert 1.0 < noisy.residual_rms_mev_per_atom < 10.0
    assert any("rank 3 of 3" in line for line in noisy.lines())


@pytest.mark.parametrize("formulas", [["H2O"] * 3, ["H2O", "H4O2"], ["CH2O", "C2H4O2"]])
def test_fixed_ratio_is_finite_even_and_reported(formulas):
    symbols = [symbol for symbol in ("H", "C", "O") if symbol in "".join(formulas)]
    fit = fit_atomic_energies([_frame(formula) for formula in formulas], symbols)
    assert fit.rank == 1 < fit.num_elements
    assert np.isfinite(list(fit.values.values())).all()
    assert np.ptp(list(fit.values.values())) < 1e-6  # nearest to equal, not shared out by composition
    assert any(f"only 1 of {len(symbols)}" in warning for warning in fit.warnings)
    assert fit.residual_rms_mev_per_atom == pytest.approx(0.0, abs=1e-3)


def test_nearly_fixed_ratio_is_reported():
    frames = [_frame("H1000O500"), _frame("H1001O500", noise=1e-3)]
    assert any("badly determined" in warning for warning in fit_atomic_energies(frames, ["H", "O"]).warnings)


def test_elements_without_frames():
    fit = fit_atomic_energies([_frame("H2O"), _frame("O2")], ["H", "C", "O"])
    assert np.isfinite(fit.values["C"]) and any("contains C" in warning for warning in fit.warnings)
    assert fit.values["O"] == pytest.approx(TRUE["O"])
    none = fit_atomic_energies([Frame(Atoms("H2", positions=[[0, 0, 0], [0, 0, 1]]))], ["H"])
    assert none.values == {"H": 0.0} and none.warnings


ISOLATED = [_frame("H", config_type="IsolatedAtom"), _frame("O", config_type="isolated_atom")]


def test_isolated_atoms_are_used_where_they_cover_all():
    frames = [_frame("H2O", noise=-3.0), *ISOLATED]
    fit = fit_atomic_energies(frames, ["H", "O"])
    assert fit.origin == "isolated" and fit.values == {"H": TRUE["H"], "O": TRUE["O"]}
    assert fit.residual_rms_mev_per_atom == pytest.approx(3000.0)
    assert fit_atomic_energies(frames, ["H", "O"], method="least_squares").origin == "least_squares"


def test_isolated_atoms_that_do_not_cover_all():
    frames = [_frame("CH4"), _frame("CO2"), _frame("H2O"), *ISOLATED]
    fit = fit_atomic_energies(frames, ["H", "C", "O"])
    assert fit.origin == "least_squares" and any("not for C" in warning for warning in fit.warnings)
    with pytest.raises(DataError, match=r"no isolated-atom frame with an energy for C\b"):
        fit_atomic_energies(frames, ["H", "C", "O"], method="isolated")


def test_disagreeing_isolated_atoms():
    twice = [*ISOLATED, Frame(Atoms("H"), -12.5, config_type="IsolatedAtom")]
    fit = fit_atomic_energies(twice, ["H", "O"])
    assert fit.values["H"] == TRUE["H"] and any("disagree" in warning for warning in fit.warnings)


def test_given_values():
    fit = fit_atomic_energies([_frame("H2O"), *ISOLATED], ["H", "O"], method={"H": -13.0, "O": -2041.5, "C": -1.0})
    assert fit.origin == "given" and fit.values == {"H": -13.0, "O": -2041.5}
    assert any("given atomic energy of H" in warning for warning in fit.warnings)
    for wrong, part in (
        ({"H": 1.0}, "no value for O"),
        ({"H": 1.0, "O": float("nan")}, "finite number"),
        ({"H": 1.0, "O": True}, "finite number"),
        ({"H": 1.0, "O": 1.0, "Qq": 1.0}, "'Qq'"),
    ):
        with pytest.raises(ConfigError, match=part):
            fit_atomic_energies([_frame("H2O")], ["H", "O"], method=wrong)


def test_energies_of_two_kinds_are_noticed():
    fit = fit_atomic_energies([_frame("H2O")], ["H", "O"], method={"H": 0.0, "O": 0.0})
    assert any("of one calculation" in warning for warning in fit.warnings)


def test_what_is_an_isolated_atom():
    def single(cell: float, pbc=True, config_type="default") -> bool:
        return is_isolated_atom(Frame(Atoms("Cu", cell=[cell] * 3, pbc=pbc), config_type=config_type))

    assert single(0.0, False) and single(12.0)
    assert single(2.5, True, "IsolatedAtom") and single(2.5, True, "isolated atom")
    assert not single(2.5) and not single(8.0)
    assert not is_isolated_atom(_frame("H2", config_type="IsolatedAtom"))
    sheared = Atoms("Cu", cell=[[20, 0, 0], [19, 3, 0], [0, 0, 20]], pbc=True)  # images 3.2 A away
    assert not is_isolated_atom(Frame(sheared))
    assert is_isolated_atom(Frame(Atoms("Cu", cell=[[20, 0, 0], [0, 3, 0], [0, 0, 20]], pbc=[True, False, True])))
