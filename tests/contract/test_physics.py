"""Every registered architecture passes the contract groups of the physics check: the code of `equipot check` itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from equipot.checks.model import CHECKS, CheckReport, check_model
from equipot.graph import from_ase
from equipot.report.check_plots import result_line
from tests.systems import ARCHITECTURES, CUTOFF, STRUCTURES, force_scale, make_potential

#: What any weights must pass; behaviour in simulations (V) and the user's labels (L) take training, and random weights
#: of some eV may attract more strongly than the core repels (C6).
CODES = [code for code in CHECKS if code[0] in "PGCXNA" and code != "C6"]
EVERY = pytest.mark.parametrize("name", ARCHITECTURES)


@pytest.fixture(
    scope="module", params=[(name, dtype) for name in ARCHITECTURES for dtype in ("float64", "float32")], ids=str
)
def case(request: pytest.FixtureRequest) -> tuple[CheckReport, str, str]:
    name, dtype = request.param
    return check_model(make_potential(name, dtype), only=CODES, form="short"), name, dtype


@pytest.mark.parametrize("code", CODES)
def test_check(case: tuple[CheckReport, str, str], code: str) -> None:
    report, name, dtype = case
    result = report.get(code)
    skipped = {"C8", *(["G9"] if dtype == "float64" else []), *(["P2"] if name == "nequip rotations only" else [])}
    assert result.status == ("skip" if code in skipped else "pass"), result_line(result)
    assert code in skipped or result.measures


@EVERY
def test_core_repulsion_is_a_wall(name: str) -> None:
    result = check_model(make_potential(name, scale=0.0), only=["C6"]).get("C6")
    assert result.status == "pass", result_line(result)


@EVERY
@pytest.mark.parametrize("structure", STRUCTURES)
def test_results_are_of_the_size_tolerances_assume(name: str, structure: str) -> None:
    """Guards the guards: a potential that returns next to nothing would pass every check."""
    output = make_potential(name)(from_ase(STRUCTURES[structure](), CUTOFF))
    assert force_scale(output.forces) > 0.1 and float(output.node_energy.std()) > 1e-3
    assert bool(output.stress.isnan().all()) == (STRUCTURES[structure]().cell.rank < 3)


def test_only_the_rotation_group_model_tells_left_from_right() -> None:
    atoms = STRUCTURES["alloy"]()
    mirrored = atoms.copy()
    mirrored.set_cell(atoms.cell.array * [1, 1, -1])
    mirrored.positions[:, 2] *= -1
    for name in ARCHITECTURES:
        potential = make_potential(name)
        one, two = (float(potential(from_ase(each, CUTOFF), forces=False).energy) for each in (atoms, mirrored))
        assert (abs(one - two) > 1e-8) == (name == "nequip rotations only"), (name, one - two)


@EVERY
def test_a_call_changes_neither_the_graph_nor_torch(name: str) -> None:
    potential, graph = make_potential(name), from_ase(STRUCTURES["skewed cell"](), CUTOFF)
    copies = {key: value.clone() for key, value in graph.to_dict().items() if isinstance(value, torch.Tensor)}
    default, threads, grad = torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()
    with torch.no_grad():
        one = potential(graph)
    two = potential(graph)
    assert torch.equal(one.forces, two.forces) and torch.equal(one.energy, two.energy)
    assert not two.forces.requires_grad
    assert (default, threads, grad) == (torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled())
    for key, value in copies.items():
        assert torch.equal(value, graph[key]) or (value.isnan().all() and graph[key].isnan().all()), key


def test_zbl_against_the_published_formula() -> None:
    """Cu-Au at 0.5 Angstrom, where the switch is 1 to the digits shown, by hand."""
    from equipot.checks.model.cutoff import dimer

    potential = make_potential("mace", scale=0.0)
    with torch.no_grad():
        potential.shift.zero_()
    distance, a = 0.5, 0.8854 * 0.529177210903 / (29**0.23 + 79**0.23)
    terms = ((0.18175, 3.19980), (0.50986, 0.94229), (0.28022, 0.40290), (0.02817, 0.20162))
    expected = 14.3996454784255 * 29 * 79 / distance * sum(c * np.exp(-d * distance / a) for c, d in terms)
    found = float(potential(from_ase(dimer(("Cu", "Au"), distance), CUTOFF)).energy)
    found -= float(potential.atomic_energies[[3, 4]].sum())
    assert abs(found / expected - 1) < 1e-3
