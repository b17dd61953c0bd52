"""Surfaces and slips are cut where the fewest bonds break, which counting bonds and springs predicts."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk, surface
from ase.calculators.lj import LennardJones
from ase.spacegroup import crystal
from matscipy.calculators.manybody import Manybody
from matscipy.calculators.manybody.explicit_forms import StillingerWeber
from matscipy.calculators.manybody.explicit_forms.stillinger_weber import Stillinger_Weber_PRB_31_5262_Si

from equipot.properties import PropertySettings, compute
from equipot.properties.settings import FaultLine
from equipot.properties.structures import Structure, parse_structure
from equipot.properties.surfaces import layer_changes, plane_cuts
from equipot.properties.terminations import find_cuts
from equipot.report.property_report import value_table

J_PER_M2 = 16.02176634
LINES = [FaultLine((1, 1, 1), (1, 1, -2), 1 / 6), FaultLine((1, 1, 1), (1, -1, 0), 0.5)]
#: eV: a bond of Stillinger and Weber's silicon at its minimum.
BOND = 2.1682


def perovskite():
    sites = [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)]
    return crystal(["Sr", "Ti", "O"], sites, spacegroup=221, cellpar=[3.9, 3.9, 3.9, 90, 90, 90])


@pytest.fixture(scope="module")
def silicon():
    settings = PropertySettings(
        surfaces={"thickness": 12.0, "planes": [[1, 1, 1], [1, 1, 0], [1, 0, 0]]},
        stacking_faults={"thickness": 9.0, "points": 3, "lines": LINES},
    )
    calculator = Manybody(**StillingerWeber(Stillinger_Weber_PRB_31_5262_Si))
    return compute(
        calculator, parse_structure("diamond:Si:5.431"), settings=settings, only=("surfaces", "stacking_faults")
    )


@pytest.mark.parametrize(("plane", "bonds", "area"), [("111", 1, np.sqrt(3) / 4), ("110", 2, np.sqrt(0.5))])
def test_a_surface_of_silicon_costs_half_of_each_bond_it_breaks(silicon, plane, bonds, area):
    """Relaxation and the angular terms cost nothing: what is left keeps its tetrahedra. (111) was 4.08, three bonds."""
    a = silicon.values["lattice_constant"]
    expected = 0.5 * bonds * BOND / (area * a**2) * J_PER_M2
    assert silicon.values[f"surface_energy_{plane}_unrelaxed"] == pytest.approx(expected, rel=1e-3)
    if plane == "111":
        assert expected == pytest.approx(1.3599, abs=1e-3)
        assert silicon.values["surface_energy_111"] == pytest.approx(expected, rel=1e-3)


def test_the_termination_is_named_and_the_others_told(silicon):
    slab = silicon.results["surfaces"].curves["slabs"][0]
    assert slab["termination"] == "between Si and Si 2.35 A apart"
    other = slab["terminations"]["between Si and Si 0.78 A apart"]
    assert other["unrelaxed"] == pytest.approx(3 * slab["unrelaxed"], rel=1e-3)
    rows = value_table(silicon).rows
    assert any(row[1] == "surface_energy_111" and "cut between Si and Si 2.35" in row[-1] for row in rows)
    notes = " ".join(silicon.results["surfaces"].notes)
    assert "(111) is cut between Si and Si 2.35 A apart, the lowest of 2" in notes


def test_a_slip_is_taken_in_the_gap_where_the_crystal_would_slip(silicon):
    """Partial slips end in a fault in the narrow gap (glide set), whole ones are easiest in the wide one (shuffle)."""
    partial, whole = silicon.results["stacking_faults"].curves["lines"]
    assert partial["gap"] == "between Si and Si 0.78 A apart" and whole["gap"] == "between Si and Si 2.35 A apart"
    notes = " ".join(silicon.results["stacking_faults"].notes)
    assert "the gap with the lowest fault of 2" in notes and "the gap with the lowest barrier of 2" in notes
    # this potential ends before the third neighbours that a fault moves
    assert abs(partial["relaxed"][-1]) < 0.01 and partial["relaxed"][1] > whole["relaxed"][1]


@pytest.mark.parametrize(
    ("atoms", "plane", "names"),
    [
        (bulk("Cu", cubic=True), (1, 1, 1), ["Cu and Cu 2.08"]),
        (bulk("Ti", "hcp", a=2.95, c=4.68), (1, 0, 0), ["Ti and Ti 0.85", "Ti and Ti 1.70"]),
        (bulk("Ti", "hcp", a=2.95, c=4.68), (0, 0, 1), ["Ti and Ti 2.34"]),
        (bulk("NaCl", "rocksalt", a=5.6, cubic=True), (1, 0, 0), ["NaCl and NaCl 2.80"]),
        (bulk("NaCl", "rocksalt", a=5.6, cubic=True), (1, 1, 1), ["Na and Cl 1.62"]),
        (bulk("ZnS", "zincblende", a=5.4, cubic=True), (1, 1, 1), ["S and Zn 0.78", "Zn and S 2.34"]),
        (bulk("ZnS", "zincblende", a=5.4, cubic=True), (1, 1, 0), ["ZnS and ZnS 1.91"]),
        (perovskite(), (1, 0, 0), ["SrO and TiO2 1.95"]),
    ],
)
def test_every_distinct_cut_is_found_once(atoms, plane, names):
    assert sorted(cut.name[len("between ") : -len(" A apart")] for cut in plane_cuts(atoms, plane)) == names


def test_cuts_do_not_depend_on_where_the_cell_begins():
    layered = surface(perovskite(), (1, 1, 0), 2, vacuum=None, periodic=True)
    expected = {(cut.below, cut.above, round(cut.gap, 6)) for cut in find_cuts(layered)}
    for shift in np.linspace(0.0, layered.cell.array[2, 2], 23):
        moved = layered.copy()
        moved.positions[:, 2] += shift
        moved.wrap()
        found = find_cuts(moved)
        assert len(found) == len(expected) == 1
        assert {found[0].below, found[0].above} == {"SrTiO", "O"}


def test_faces_that_differ_and_polar_planes_are_said():
    lattice = Structure("ZnS", bulk("ZnS", "zincblende", a=4.4, cubic=True))
    settings = PropertySettings(surfaces={"thickness": 8.0, "planes": [[1, 1, 1], [1, 1, 0]], "steps": 2})
    potential = LennardJones(sigma=1.7, epsilon=0.4, rc=2.6, ro=2.3, smooth=True)
    result = compute(potential, lattice, settings=settings, only=("surfaces",)).results["surfaces"]
    notes = " ".join(result.notes)
    assert "(111) has two different faces, ending in Zn and in S" in notes and "polar" in notes
    assert "(110) has two" not in notes


def test_layer_changes_compare_each_gap_with_itself():
    """Gaps of a diamond (111) slab alternate; against the middle gap an unrelaxed slab seemed relaxed by 200 %."""
    before = np.sort(np.concatenate([np.arange(4) * 3.13, np.arange(4) * 3.13 + 0.78]))
    assert layer_changes(before, before) == (0.0, 0.0, 0.0)
    after = before.copy()
    after[-1] += 0.078
    assert layer_changes(before, after) == pytest.approx((10.0, 0.0, 0.0))
