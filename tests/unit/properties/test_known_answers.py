"""Measured properties of a nearest-neighbour pair crystal against what counting bonds and springs gives."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from equipot.properties.distribution import radial_distribution
from equipot.properties.elasticity import averages, symmetrize
from equipot.properties.melting import layer_order
from equipot.properties.stacking_faults import is_translation
from equipot.properties.structures import cartesian_rotations, find_symmetry, parse_structure, supercell_for
from tests.unit.properties.pair import NearestNeighbours, measure

#: eV in J and Angstrom^2 in m^2, once more and independent of the package.
J_PER_M2 = 16.02176634


@pytest.fixture(scope="module")
def fcc():
    return measure("elastic", "phonons", "vacancy", "surfaces", "stacking_faults")


def _pair_curvature(distance: float) -> float:
    """Second derivative of the pair energy (eV/A^2) by differences of a dimer's energy."""
    step, energies = 1e-3, []
    for shift in (-1, 0, 1):
        dimer = Atoms("Cu2", [[0, 0, 0], [distance + shift * step, 0, 0]])
        dimer.calc = NearestNeighbours()
        energies.append(dimer.get_potential_energy())
    return (energies[0] - 2 * energies[1] + energies[2]) / step**2


def test_the_crystal_rests_where_the_pair_does(fcc):
    assert fcc.space_group == "Fm-3m (225)"
    distance = fcc.values["lattice_constant"] / np.sqrt(2)
    dimer = Atoms("Cu2", [[0, 0, 0], [distance, 0, 0]])
    dimer.calc = NearestNeighbours()
    assert np.abs(dimer.get_forces()).max() < 1e-5
    assert fcc.values["energy"] == pytest.approx(6 * dimer.get_potential_energy(), abs=1e-8)


def test_elastic_constants_of_springs_between_nearest_neighbours(fcc):
    """C11 = 2 k / a, C12 = C44 = k / a for springs k (Born and Huang), a the cube's edge; Cauchy's C12 = C44."""
    a = fcc.values["lattice_constant"]
    spring = _pair_curvature(a / np.sqrt(2)) / a * 160.2176634
    assert fcc.values["C11"] == pytest.approx(2 * spring, rel=2e-3)
    assert fcc.values["C12"] == pytest.approx(spring, rel=2e-3)
    assert fcc.values["C44"] == pytest.approx(fcc.values["C12"], rel=1e-3)
    assert fcc.results["elastic"].status == "done"


def test_phonons_at_x_of_springs_between_nearest_neighbours(fcc):
    """At X of fcc: longitudinal 8 k / m, transverse 4 k / m; the acoustic sum rule holds before it is imposed."""
    mass = bulk("Cu").get_masses()[0]
    spring = _pair_curvature(fcc.values["lattice_constant"] / np.sqrt(2))
    thz = np.sqrt(spring / mass) * 15.633302  # sqrt(eV/amu)/A in THz
    assert fcc.values["frequency_X_3"] == pytest.approx(np.sqrt(8) * thz, rel=2e-3)
    assert fcc.values["frequency_X_1"] == pytest.approx(2 * thz, rel=2e-3)
    assert fcc.results["phonons"].curves["sum_rule_violation"] < 1e-10
    assert fcc.values["frequency_min"] == 0.0
    gas_constant = 8.314462618
    assert 0.8 * 3 * gas_constant < fcc.values["heat_capacity_300K"] < 3 * gas_constant
    states = fcc.results["phonons"].curves["density"]
    assert np.trapezoid(states["states"], states["frequencies"]) == pytest.approx(3.0, rel=0.02)


def test_a_vacancy_of_a_pair_potential_costs_the_cohesive_energy(fcc):
    assert fcc.values["vacancy_formation_energy_unrelaxed"] == pytest.approx(-fcc.values["energy"], abs=1e-6)
    assert fcc.values["vacancy_formation_energy"] <= fcc.values["vacancy_formation_energy_unrelaxed"] + 1e-4


def test_surfaces_count_the_bonds_they_cut(fcc):
    """An atom of (111) loses 3 of 12 bonds, of (100) 4, of (110) 5 and its second layer 1: half a bond each side."""
    a, bond = fcc.values["lattice_constant"], -fcc.values["energy"] / 6
    areas = {"111": np.sqrt(3) / 4 * a**2, "100": a**2 / 2, "110": a**2 / np.sqrt(2)}
    for plane, cut in (("111", 3), ("100", 4), ("110", 6)):
        expected = 0.5 * cut * bond / areas[plane] * J_PER_M2
        assert fcc.values[f"surface_energy_{plane}_unrelaxed"] == pytest.approx(expected, rel=1e-4), plane
        assert fcc.values[f"surface_energy_{plane}"] <= fcc.values[f"surface_energy_{plane}_unrelaxed"] + 1e-6


def test_a_fault_that_keeps_all_nearest_neighbours_costs_nothing(fcc):
    line = fcc.results["stacking_faults"].curves["lines"][0]
    assert line["slip_angstrom"] == pytest.approx(fcc.values["lattice_constant"] / np.sqrt(6))
    assert fcc.values["stacking_fault_energy_111"] == pytest.approx(0.0, abs=1e-4)
    assert fcc.values["unstable_stacking_fault_energy_111"] > 0.05
    assert max(np.array(line["relaxed"]) - np.array(line["unrelaxed"])) < 1e-6


def test_an_unstable_crystal_is_called_so():
    """A short-ranged pair potential does not hold bcc: C11 < C12 (Born), and the transverse mode at N is imaginary."""
    report = measure("elastic", "phonons", lattice="bcc")
    assert report.results["relaxation"].status == "done" and report.space_group == "Im-3m (229)"
    elastic, phonons = report.results["elastic"], report.results["phonons"]
    assert elastic.status == "doubtful" and "Not stable (Born)" in " ".join(elastic.notes)
    assert "shear_modulus_hill" not in elastic.values and elastic.values["smallest_eigenvalue"].value < -10
    assert phonons.status == "doubtful" and "THz at N (q = 0 0 0.5)" in " ".join(phonons.notes)
    assert phonons.values["frequency_min"].value < -1


def test_averages_are_hills_and_symmetry_is_imposed():
    c11, c12, c44 = 250.0, 140.0, 80.0
    matrix = np.diag([c11] * 3 + [c44] * 3)
    matrix[:3, :3] += c12 * (1 - np.eye(3))
    found = averages(matrix)
    voigt, reuss = (c11 - c12 + 3 * c44) / 5, 5 * (c11 - c12) * c44 / (4 * c44 + 3 * (c11 - c12))
    assert found["shear_modulus_voigt"] == pytest.approx(voigt) and found["shear_modulus_reuss"] == pytest.approx(reuss)
    assert found["bulk_modulus_hill"] == pytest.approx((c11 + 2 * c12) / 3)
    assert found["universal_anisotropy"] == pytest.approx(5 * voigt / reuss - 5)
    noisy = matrix + np.random.default_rng(0).normal(scale=3.0, size=(6, 6))
    rotations = cartesian_rotations(bulk("Cu", cubic=True), 1e-3)
    assert len(rotations) == 192 or len(rotations) == 48
    cleaned = symmetrize(noisy, rotations)
    assert np.allclose(cleaned[:3, 3:], 0.0, atol=1e-9) and np.ptp(np.diag(cleaned)[:3]) < 1e-9
    hexagonal = symmetrize(noisy, cartesian_rotations(bulk("Ti", "hcp", a=2.95), 1e-3))
    assert hexagonal[5, 5] == pytest.approx((hexagonal[0, 0] - hexagonal[0, 1]) / 2)


def test_radial_distribution_counts_neighbours():
    crystal = bulk("Cu", a=3.6, cubic=True).repeat(4)
    distances, functions = radial_distribution([crystal], 6.0, 0.02)
    density = len(crystal) / crystal.get_volume()
    shell = distances < 3.0
    count = np.sum(functions["all"][shell] * 4 * np.pi * distances[shell] ** 2 * 0.02) * density
    assert count == pytest.approx(12.0, rel=1e-3)
    gas = Atoms("CuAu" * 500, positions=np.random.default_rng(0).uniform(0, 20, (1000, 3)), cell=[20] * 3, pbc=True)
    distances, functions = radial_distribution([gas], 8.0, 0.1)
    for name in ("all", "Au-Au", "Au-Cu", "Cu-Cu"):
        assert np.mean(functions[name][distances > 4.0]) == pytest.approx(1.0, abs=0.03), name


def test_layers_tell_crystal_from_liquid():
    from types import SimpleNamespace

    unit = bulk("Cu", a=3.6, cubic=True)
    perfect = unit.repeat((4, 4, 10))
    half = perfect.copy()
    half.positions[:, 2] += 0.9  # no plane of atoms lies on the border of a layer
    molten = half.get_scaled_positions()[:, 2] >= 0.5
    rng = np.random.default_rng(0)
    half.positions[molten, :2] += rng.uniform(-2.0, 2.0, (molten.sum(), 2))
    half.positions[~molten] += rng.normal(scale=0.15, size=((~molten).sum(), 3))
    order = layer_order(SimpleNamespace(crystal=unit), perfect, half)
    assert order[:5].min() > 0.6 and order[5:].max() < 0.3


def test_slips_that_are_lattice_vectors():
    assert is_translation(bulk("Ta", a=3.3, cubic=True), np.array([0.5, 0.5, 0.5]))
    assert not is_translation(bulk("Cu", a=3.6, cubic=True), np.array([1, 1, -2]) / 6)
    ordered = parse_structure("l12:Cu3Au").atoms
    assert not is_translation(ordered, np.array([0.5, 0.5, 0.0])) and is_translation(ordered, np.array([1, 0, 0]))


def test_structures_by_name():
    assert parse_structure("bcc:Ta").atoms.cell.lengths()[0] == pytest.approx(3.31)
    assert parse_structure("fcc:Cu:3.7").atoms.cell.lengths()[0] == pytest.approx(3.7)
    assert str(find_symmetry(parse_structure("l12:Cu3Au").atoms, 0.01)) == "Pm-3m (221)"
    assert parse_structure("bcc:Ta").folder_name == "bcc_Ta"
    assert supercell_for(bulk("Cu", a=3.6, cubic=True), 10.0) == (3, 3, 3)


@pytest.mark.slow
def test_expansion_by_both_methods_and_a_simulated_distribution(tmp_path):
    from equipot.properties import PropertySettings

    common = {"distribution": {"length": 7.0, "equilibration": 50, "steps": 200}}
    report = measure(
        "expansion",
        "distribution",
        folder=tmp_path / "a",
        settings=PropertySettings(expansion={"length": 7.0, "max_temperature": 400.0}, **common),
    )
    assert report.results["expansion"].status == "done", report.results["expansion"].notes
    quasi = report.values["linear_expansion_300K"]
    assert report.values["rdf_first_peak"] == pytest.approx(report.values["lattice_constant"] / np.sqrt(2), abs=0.1)
    report = measure(
        "expansion",
        folder=tmp_path / "b",
        settings=PropertySettings(
            expansion={"method": "dynamics", "length": 7.0, "temperatures": [200, 400], "steps": 3000}
        ),
    )
    assert quasi > 0 and report.values["linear_expansion"] == pytest.approx(quasi, rel=0.5)
