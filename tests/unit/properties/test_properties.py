"""Equation of state, elastic constants and comparison against independent calculations and exact relations."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.optimize import BFGS
from ase.units import GPa
from matscipy.calculators.manybody import Manybody
from matscipy.calculators.manybody.explicit_forms import StillingerWeber
from matscipy.calculators.manybody.explicit_forms.stillinger_weber import Stillinger_Weber_PRB_31_5262_Si
from matscipy.elasticity import Voigt_6x6_to_cubic, fit_elastic_constants

from equipot.config.schema import PropertyConfig
from equipot.errors import ConfigError, NumericalError, UsageError
from equipot.properties import build_crystal, compare, elastic_constants, equation_of_state

EMT_CRYSTALS = [("Cu", "fcc", 3.65), ("Au", "fcc", 4.0), ("Cu3Au", "l12", 3.8)]


def _config(name, lattice, lattice_constant, **more):
    return PropertyConfig(name=name, lattice=lattice, lattice_constant=lattice_constant, **more)


class _WithoutStress(Calculator):
    """EMT that gives energies and forces only."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        twin = atoms.copy()
        twin.calc = EMT()
        self.results = {"energy": twin.get_potential_energy(), "forces": twin.get_forces()}


class _Repulsive(Calculator):
    """A crystal that only flies apart; the energy falls with volume."""

    implemented_properties = ["energy"]  # noqa: RUF012

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 100.0 / atoms.get_volume()}


def _cubic(elastic):
    return elastic.C11, elastic.C12, elastic.C44


def _independent_minimum(crystal: Atoms) -> tuple[float, float]:
    """Return lattice constant (A) and bulk modulus (GPa) from the zero and slope of the pressure alone."""
    twin, cell = crystal.copy(), crystal.cell.array.copy()
    twin.calc = EMT()

    def pressure(scale):
        twin.set_cell(cell * scale, scale_atoms=True)
        return -np.trace(twin.get_stress(voigt=False)) / 3

    low, high = 0.9, 1.1
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if pressure(middle) > 0 else (low, middle)
    # B = -V dp/dV = -(s/3) dp/ds
    slope = (pressure(low + 1e-5) - pressure(low - 1e-5)) / 2e-5
    return low * np.linalg.norm(cell[0]), -low * slope / 3 / GPa


@pytest.mark.parametrize(("name", "lattice", "guess"), EMT_CRYSTALS)
def test_equation_of_state_of_emt_agrees_with_its_pressure(name, lattice, guess):
    crystal = build_crystal(_config(name, lattice, guess))
    before = crystal.copy()
    state = equation_of_state(crystal, EMT())
    lattice_constant, modulus = _independent_minimum(crystal)
    assert state.lattice_constant == pytest.approx(lattice_constant, abs=2e-4)
    assert state.bulk_modulus_gpa == pytest.approx(modulus, rel=2e-3)
    assert state.fit_rms_mev_per_atom < 0.01 and state.pressure_mismatch_gpa < 0.05
    assert crystal == before and crystal.calc is None
    fitted = state.energy_at(state.volumes)
    assert np.allclose(fitted, state.energies, atol=1e-4)


def test_known_emt_numbers():
    """Lattice constants and bulk moduli ASE's documentation and tests know of EMT."""
    copper = equation_of_state(bulk("Cu", a=3.6), EMT())
    assert copper.volume == pytest.approx(11.565, abs=0.005)  # primitive cell
    assert copper.bulk_modulus_gpa == pytest.approx(134.4, abs=0.3)
    assert equation_of_state(bulk("Al", a=4.05), EMT()).bulk_modulus_gpa == pytest.approx(39.6, abs=0.5)


def test_a_far_first_guess_still_finds_the_minimum():
    near = equation_of_state(bulk("Cu", a=3.6, cubic=True), EMT())
    for guess in (3.15, 4.05):
        far = equation_of_state(bulk("Cu", a=guess, cubic=True), EMT())
        assert far.lattice_constant == pytest.approx(near.lattice_constant, abs=1e-5)


def test_no_minimum_and_no_crystal_are_errors():
    with pytest.raises(NumericalError, match="no minimum within 20%"):
        equation_of_state(bulk("Cu", cubic=True), _Repulsive())
    with pytest.raises(UsageError, match="periodic in three dimensions"):
        equation_of_state(molecule("H2O"), EMT())
    with pytest.raises(UsageError, match="periodic in three dimensions"):
        elastic_constants(molecule("H2O"), EMT())


def test_without_stress_the_equation_of_state_stands_and_elastic_constants_refuse():
    state = equation_of_state(bulk("Cu", cubic=True), _WithoutStress())
    assert np.isnan(state.pressure_mismatch_gpa) and np.isnan(state.pressures_gpa).all()
    json.dumps(state.to_dict(), allow_nan=False)
    with pytest.raises(UsageError, match="stress"):
        elastic_constants(bulk("Cu", cubic=True), _WithoutStress())


@pytest.mark.parametrize(("name", "lattice", "guess"), EMT_CRYSTALS)
def test_elastic_constants_of_emt_agree_with_matscipy(name, lattice, guess):
    crystal = build_crystal(_config(name, lattice, guess))
    state = equation_of_state(crystal, EMT())
    crystal.set_cell(crystal.cell * (state.lattice_constant / guess), scale_atoms=True)
    ours = elastic_constants(crystal, EMT())
    crystal.calc = EMT()
    theirs, _ = fit_elastic_constants(crystal, symmetry="triclinic", N_steps=5, delta=1e-4, verbose=False)
    # matscipy fits a line where ours is a fourth-order difference; EMT's cutoff is a little rough
    assert np.allclose(ours.matrix, theirs / GPa, atol=0.15)
    assert np.allclose(_cubic(ours), Voigt_6x6_to_cubic(theirs / GPa), atol=0.15)
    assert np.array_equal(ours.matrix, ours.matrix.T)
    assert ours.asymmetry_gpa < 1e-6 and ours.cubic_deviation_gpa < 1e-6 and ours.is_stable
    assert ours.bulk_modulus_gpa == pytest.approx(state.bulk_modulus_gpa, rel=5e-3)


def test_a_pair_potential_obeys_the_cauchy_relation_at_zero_pressure_only():
    """C12 = C44 holds for central pair forces at zero stress; at pressure p, C12 - C44 = 2 p (stress-strain)."""
    calculator = LennardJones(sigma=2.3, epsilon=0.2, rc=6.0, ro=4.0, smooth=True)
    crystal = bulk("Cu", "fcc", a=3.55, cubic=True).repeat(1)
    state = equation_of_state(crystal, calculator)
    crystal.set_cell(crystal.cell * (state.lattice_constant / 3.55), scale_atoms=True)
    relaxed = elastic_constants(crystal, calculator)
    assert np.isclose(relaxed.C12, relaxed.C44, rtol=2e-4)
    crystal.set_cell(crystal.cell * 0.97, scale_atoms=True)
    pressed = elastic_constants(crystal, calculator)
    pressure = pressed.residual_stress_gpa
    assert pressure > 1.0
    assert np.isclose(pressed.C12 - pressed.C44, 2 * pressure, rtol=0.02)


def test_atoms_relax_inside_the_strained_cell():
    """Published for Stillinger-Weber silicon: 151.4, 76.4, 56.4 GPa (Balamane et al., PRB 46, 2250 (1992)).

    Clamped C44 is 117.2 GPa at the older energy scale whose relaxed C44 is 60.3 (Kluge et al., PRB 34, 2756 (1986)).
    """
    calculator = Manybody(**StillingerWeber(Stillinger_Weber_PRB_31_5262_Si))
    crystal = bulk("Si", "diamond", a=5.431, cubic=True)
    relaxed, clamped = (elastic_constants(crystal, calculator, relax=relax) for relax in (True, False))
    assert np.allclose(_cubic(relaxed), (151.4, 76.4, 56.4), atol=1.0)
    assert np.isclose(clamped.C44, 117.2 * 56.4 / 60.3, atol=1.0)


def test_unrelaxed_atoms_come_to_rest_first():
    crystal = bulk("Cu", cubic=True, a=3.59).repeat((2, 1, 1))
    crystal.rattle(0.05, seed=1)
    resting = crystal.copy()
    resting.calc = EMT()
    BFGS(resting, logfile=None).run(fmax=1e-4)
    before = crystal.copy()
    assert np.allclose(elastic_constants(crystal, EMT()).matrix, elastic_constants(resting, EMT()).matrix, atol=0.1)
    assert crystal == before


def test_comparison_with_emt_itself_deviates_nowhere_and_prints():
    comparison = compare(_config("Cu3Au", "l12", 3.75, reference="emt"), EMT())
    assert [row.name for row in comparison.rows] == ["lattice_constant", "bulk_modulus", "C11", "C12", "C44"]
    assert comparison.max_deviation_percent == 0.0 and comparison.notes == ()
    text = str(comparison)
    assert "lattice_constant (A)" in text and "EMT" in text and "+0.00 %" in text and "GPa" in text
    document = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert document["rows"][0]["unit"] == "A" and document["reference_equation_of_state"]["num_atoms"] == 4


def test_comparison_with_given_numbers_and_a_wrong_potential():
    reference = {"lattice_constant": 3.322, "C11": 264, "C12": 159, "C44": 73}
    calculator = LennardJones(sigma=2.6, epsilon=0.5, rc=7.0, ro=5.0, smooth=True)  # bcc is unstable under LJ
    comparison = compare(_config("Ta", "bcc", 3.3, reference=reference), calculator)
    rows = {row.name: row for row in comparison.rows}
    assert rows["C11"].reference == 264.0 and rows["bulk_modulus"].reference is None
    assert rows["bulk_modulus"].deviation_percent is None
    expected = 100 * (rows["lattice_constant"].value - 3.322) / 3.322
    assert rows["lattice_constant"].deviation_percent == pytest.approx(expected)
    assert any("not positive definite" in note for note in comparison.notes)


def test_what_cannot_be_computed_is_a_note_not_a_crash():
    comparison = compare(_config("Cu", "fcc", 3.6, reference="emt"), _Repulsive())
    assert comparison.rows[0].value is None and comparison.rows[0].reference is not None
    assert "no minimum" in comparison.notes[0] and "note:" in str(comparison)
    comparison = compare(_config("Cu", "fcc", 3.6), _WithoutStress())
    assert comparison.rows[1].value is not None and comparison.rows[2].value is None


def test_hcp_has_an_equation_of_state_and_no_cubic_constants():
    comparison = compare(_config("Cu", "hcp", 2.55, reference="emt"), EMT())
    assert [row.name for row in comparison.rows] == ["lattice_constant", "bulk_modulus"]


def test_a_reference_nobody_knows_is_refused():
    with pytest.raises(ConfigError, match="does not know Ta"):
        compare(_config("Ta", "bcc", 3.3, reference="emt"), EMT())
    with pytest.raises(ConfigError, match="c11"):
        compare(_config("Cu", "fcc", 3.6, reference={"c11": 170.0}), EMT())
