"""The ASE calculator: equal to ASE's own numbers, honest caching, refusals by name, copies (checks A1-A7, N10)."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import threading
import warnings

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk, fcc111, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import FiniteDifferenceCalculator
from ase.filters import FrechetCellFilter
from ase.md.velocitydistribution import Stationary
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS, FIRE

import equipot
from equipot.checkpoint import save_model
from equipot.errors import CheckpointError, ElementError, NumericalError, StructureError, UsageError
from equipot.interfaces.ase import Calculator
from equipot.models import PotentialConfig, build_potential
from tests.unit.interfaces.pair_potential import pair_potential, reference_calculator

ENERGY_TOLERANCE, FORCES_TOLERANCE = 1e-12, 1e-12  # eV/atom, eV/A in float64 (A1)
FLOAT32_TOLERANCE = 1e-6  # relative to the largest value (A1)


def crystal(repeat=(2, 2, 2), rattle=0.1) -> Atoms:
    atoms = bulk("Ar", "fcc", a=3.55, cubic=True).repeat(repeat)
    atoms.rattle(rattle, seed=0)
    return atoms


def strained() -> Atoms:
    atoms = crystal()
    shear = np.array([[1.02, 0.03, 0.0], [0.0, 0.97, 0.05], [0.04, 0.0, 1.0]])
    atoms.set_cell(atoms.cell @ shear, scale_atoms=True)
    return atoms


def slab() -> Atoms:
    atoms = fcc111("Ar", (2, 2, 3), a=3.55, vacuum=8.0)
    atoms.rattle(0.05, seed=1)
    return atoms


def small_network(seed=0, dtype="float64", elements=("Cu", "Au")):
    config = PotentialConfig(
        "nequip",
        elements,
        4.5,
        avg_num_neighbors=20.0,
        dtype=dtype,
        options={"num_layers": 2, "num_channels": 4, "l_max": 1, "feature_l_max": 1},
    )
    return build_potential(config, atomic_energies=dict.fromkeys(elements, -1.0), scale=0.5, seed=seed)


class Counted:
    """A calculator that notes what its potential was asked for."""

    def __init__(self, **arguments):
        self.calculator = Calculator(pair_potential(), **arguments)
        self.calls = []
        self.calculator.potential.register_forward_pre_hook(
            lambda module, args, kwargs: self.calls.append({key for key, value in kwargs.items() if value}),
            with_kwargs=True,
        )


@pytest.mark.parametrize("build", [crystal, strained, slab, lambda: bulk("Ar", a=3.5), lambda: crystal((1, 1, 2))])
@pytest.mark.parametrize("smooth", [True, False])
def test_lennard_jones_through_the_whole_path_equals_ase(build, smooth):
    ours, theirs = build(), build()
    ours.calc, theirs.calc = Calculator(pair_potential(smooth=smooth)), reference_calculator(smooth)
    assert abs(ours.get_potential_energy() - theirs.get_potential_energy()) < ENERGY_TOLERANCE * len(ours)
    assert np.abs(ours.get_forces() - theirs.get_forces()).max() < FORCES_TOLERANCE
    assert np.abs(ours.get_stress() - theirs.get_stress()).max() < FORCES_TOLERANCE
    assert np.abs(ours.get_stresses() - theirs.get_stresses()).max() < FORCES_TOLERANCE
    assert np.abs(ours.get_potential_energies() - theirs.get_potential_energies()).max() < ENERGY_TOLERANCE
    # the six Voigt entries are all different where they are compared, so that no order or sign can hide
    if build is strained:
        stress = ours.get_stress()
        assert np.abs(np.subtract.outer(np.abs(stress), np.abs(stress)) + np.eye(6)).min() > 1e-5


def test_float32_network_agrees_to_single_precision():
    double, single = strained(), strained()
    double.calc, single.calc = Calculator(pair_potential()), Calculator(pair_potential(dtype="float32"))
    assert abs(double.get_potential_energy() / single.get_potential_energy() - 1) < FLOAT32_TOLERANCE
    forces = double.get_forces()
    assert np.abs(forces - single.get_forces()).max() < FLOAT32_TOLERANCE * np.abs(forces).max() * 10
    assert single.get_forces().dtype == np.float64


@pytest.mark.parametrize("build", [strained, slab])
def test_finite_differences_agree_for_a_network(build):
    atoms = build()
    atoms.symbols[:] = "Cu"
    atoms.symbols[::3] = "Au"
    atoms.calc = Calculator(small_network())
    numerical = FiniteDifferenceCalculator(atoms.calc, eps_disp=1e-4, eps_strain=1e-5)
    forces, stress = atoms.get_forces(), atoms.get_stress()
    assert np.abs(forces).max() > 1e-3
    assert np.abs(forces[:5] - numerical.get_forces(atoms)[:5]).max() < 1e-6
    assert np.abs(stress - numerical.get_stress(atoms)).max() < 1e-8
    assert atoms.calc.get_property("free_energy", atoms) == atoms.get_potential_energy()
    assert np.allclose(atoms.get_stresses().sum(axis=0), stress, atol=1e-14)


def test_results_are_the_callers_own_float64_arrays():
    atoms = crystal()
    atoms.calc = Calculator(pair_potential())
    for name, shape in (("forces", (32, 3)), ("stress", (6,)), ("energies", (32,)), ("stresses", (32, 6))):
        first = atoms.calc.get_property(name, atoms)
        assert first.dtype == np.float64 and first.shape == shape and first.flags.owndata and first.flags.writeable
        first[:] = 7.0
        assert not np.any(atoms.calc.get_property(name, atoms) == 7.0)
        assert atoms.calc.results[name].base is None
    assert isinstance(atoms.get_potential_energy(), float)


def test_the_structure_is_not_changed():
    atoms = crystal()
    atoms.info["note"] = [1, 2]
    atoms.positions += 100.0  # outside the cell: must not be wrapped
    before = copy.deepcopy(atoms)
    atoms.calc = Calculator(pair_potential())
    atoms.get_forces(), atoms.get_stress()
    assert atoms == before and np.array_equal(atoms.positions, before.positions) and atoms.info == before.info


def test_same_structure_is_not_computed_again_and_a_changed_one_is():
    counted = Counted()
    atoms = crystal()
    atoms.calc = counted.calculator
    energy = atoms.get_potential_energy()
    atoms.get_potential_energy(), atoms.copy(), atoms.calc.get_property("energies", atoms)
    twin = atoms.copy()
    twin.calc = atoms.calc
    assert twin.get_potential_energy() == energy and len(counted.calls) == 1
    changes = (
        lambda: atoms.positions.__setitem__((0, 0), np.nextafter(atoms.positions[0, 0], 9.0)),
        lambda: atoms.set_cell(atoms.cell * 1.001),
        lambda: atoms.set_pbc((True, True, False)),
        lambda: atoms.pop(),
        lambda: atoms.rattle(0.01),
    )
    for number, change in enumerate(changes, start=2):
        change()
        atoms.get_potential_energy()
        assert len(counted.calls) == number
    atoms.set_initial_charges(np.zeros(len(atoms)))
    atoms.info["note"] = "nothing to do with energies"
    atoms.get_potential_energy()
    assert len(counted.calls) == number


def test_numbers_change_the_result():
    atoms = crystal()
    atoms.symbols[:] = "Cu"
    atoms.calc = Calculator(small_network())
    before = atoms.get_potential_energy()
    atoms.symbols[0] = "Au"
    assert atoms.get_potential_energy() != before


def test_only_what_is_needed_is_computed_and_a_pattern_is_learnt():
    counted = Counted()
    atoms = crystal()
    atoms.calc = counted.calculator
    atoms.get_potential_energy()
    assert counted.calls[-1] == set()
    atoms.get_forces()
    assert counted.calls[-1] == {"forces"}
    atoms.get_stress()
    assert "stress" in counted.calls[-1] and len(counted.calls) == 3
    for seed in range(3):  # energy, forces, stress of one structure again: now one evaluation
        atoms.rattle(0.01, seed=seed)
        atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
    assert len(counted.calls) == 6 and counted.calls[-1] == {"forces", "stress"}
    for seed in range(2):
        atoms.rattle(0.01, seed=seed)
        atoms.get_potential_energy()
    assert counted.calls[-1] == set()


def test_missing_properties_are_refused_by_name():
    atoms = crystal()
    atoms.calc = Calculator(pair_potential())
    for name in ("dipole", "magmoms", "nonsense"):
        with pytest.raises(PropertyNotImplementedError, match=name):
            atoms.calc.get_property(name, atoms)
    with pytest.raises(PropertyNotImplementedError, match="dipole"):
        atoms.get_dipole_moment()


def test_stress_without_volume_or_periodicity_is_refused_not_zero():
    cluster = molecule("CH4")
    cluster.symbols[:] = "Ar"
    cluster.positions *= 2.5
    box = crystal()
    box.pbc = False
    flat = Atoms("Ar2", [[0, 0, 0], [2.5, 0, 0]], cell=[[5, 0, 0], [0, 5, 0], [0, 0, 0]], pbc=(True, True, False))
    for atoms in (cluster, box, flat):
        atoms.calc = Calculator(pair_potential())
        atoms.get_forces()
        for name in ("stress", "stresses"):
            with pytest.raises(PropertyNotImplementedError, match="force per area"):
                atoms.calc.get_property(name, atoms)
        assert np.isfinite(atoms.get_potential_energy())
    assert slab_stress_scales_with_the_vacuum()


def slab_stress_scales_with_the_vacuum() -> bool:
    thin, thick = slab(), slab()
    thick.cell[2, 2] *= 2.0
    thin.calc, thick.calc = Calculator(pair_potential()), Calculator(pair_potential())
    return np.allclose(thin.get_stress()[:2], 2.0 * thick.get_stress()[:2], rtol=1e-10)


def test_unknown_element_is_named_before_anything_is_computed():
    counted = Counted()
    atoms = crystal()
    atoms.symbols[5] = "Kr"
    atoms.positions[0] = np.nan  # would be a StructureError later
    atoms.calc = counted.calculator
    with pytest.raises(ElementError, match=r"Atom 5 is Kr.*Ar"):
        atoms.get_forces()
    assert counted.calls == []
    atoms.symbols[5] = "X"
    with pytest.raises(ElementError, match="atom 5 has atomic number 0"):
        atoms.get_forces()


def test_structures_without_meaning_are_errors_not_nan():
    for place in (np.nan, np.inf):
        atoms = crystal()
        atoms.positions[3, 1] = place
        atoms.calc = Calculator(pair_potential())
        for _ in range(2):  # also the second time: nothing of a failed calculation is kept
            with pytest.raises(StructureError, match="atom 3"):
                atoms.get_forces()
    atoms = crystal()
    atoms.calc = Calculator(pair_potential())
    atoms.get_forces()  # the list exists, the next step brings two atoms together
    atoms.positions[3] = atoms.positions[2]
    with pytest.raises(StructureError, match="atoms 2 and 3"):
        atoms.get_forces()
    atoms.positions[3] += 2.0
    assert np.isfinite(atoms.get_forces()).all()
    atoms.cell[2] = atoms.cell[1]
    with pytest.raises(StructureError):
        atoms.get_forces()


def test_a_damaged_potential_is_an_error_not_nan():
    potential = pair_potential()
    with torch.no_grad():
        potential.architecture.epsilon.fill_(float("nan"))
    atoms = crystal()
    atoms.calc = Calculator(potential)
    with pytest.raises(NumericalError, match="not finite"):
        atoms.get_forces()
    assert atoms.calc.results == {}


def test_charges_are_ignored_loudly_once():
    atoms = crystal()
    atoms.info.update(charge=1, spin=1)
    atoms.calc = Calculator(pair_potential())
    with pytest.warns(UserWarning, match=r"ignores info\['charge'\]"):
        atoms.get_potential_energy()
    atoms.rattle(0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        atoms.get_potential_energy()
        neutral = crystal()
        neutral.info.update(charge=0, spin=1)
        neutral.set_initial_magnetic_moments(np.zeros(len(neutral)))
        neutral.calc = Calculator(pair_potential())
        neutral.get_potential_energy()


def _forces_in_a_child(atoms):
    return atoms.get_forces()


def test_copies_and_pickles_give_equal_results():
    atoms = crystal()
    atoms.calc = Calculator(small_network(elements=("Ar",)))
    forces = atoms.get_forces()
    for twin in (copy.copy(atoms.calc), copy.deepcopy(atoms.calc), pickle.loads(pickle.dumps(atoms.calc))):
        assert np.array_equal(twin.results["forces"], forces)
        moved = atoms.copy()
        moved.rattle(0.1, seed=5)
        moved.calc = twin
        moved.get_forces()
        assert np.array_equal(atoms.get_forces(), forces)  # the original is not disturbed
        moved.positions[:] = atoms.positions
        assert np.array_equal(moved.get_forces(), forces)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert np.array_equal(pool.apply(_forces_in_a_child, (atoms,)), forces)


def test_threads_that_share_a_calculator_do_not_mix_results():
    calculator = Calculator(pair_potential())
    structures = [crystal((2, 2, 2), 0.02 * (n + 1)) for n in range(6)]
    expected = []
    for atoms in structures:
        atoms.calc = Calculator(pair_potential())
        expected.append(atoms.get_forces())
        atoms.calc = calculator
    found = [None] * len(structures)

    def work(index):
        for _ in range(5):
            found[index] = structures[index].get_forces()
            if not np.array_equal(found[index], expected[index]):
                return

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(structures))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(a, b) for a, b in zip(found, expected))


def test_two_precisions_in_one_process_and_no_global_state():
    before = torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads()
    potential = small_network(dtype="float32", elements=("Ar",))
    training = potential.training, [p.requires_grad for p in potential.parameters()]
    single, double = Calculator(potential), Calculator(potential, dtype="float64")
    atoms = crystal()
    results = []
    for calculator in (single, double, single, double):
        atoms.calc = calculator
        with torch.no_grad():
            results.append(atoms.get_forces())
    assert np.array_equal(results[0], results[2]) and np.array_equal(results[1], results[3])
    difference = np.abs(results[0] - results[1]).max()
    assert 0.0 < difference < 1e-4 * np.abs(results[1]).max() + 1e-6
    assert before == (torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads())
    assert training == (potential.training, [p.requires_grad for p in potential.parameters()])
    assert double.potential.dtype == torch.float64 and potential.dtype == torch.float32


def test_the_calculator_does_not_follow_later_training():
    potential = pair_potential()
    atoms = crystal()
    atoms.calc = Calculator(potential)
    before = atoms.get_potential_energy()
    with torch.no_grad():
        potential.architecture.epsilon.mul_(2.0)
    atoms.rattle(0.0)
    atoms.calc.reset()
    assert atoms.get_potential_energy() == before
    assert atoms.calc.fingerprint() != Calculator(potential).fingerprint()
    assert atoms.calc.fingerprint() == copy.deepcopy(atoms.calc).fingerprint()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model": 5}, "model file or a Potential"),
        ({"skin": -1.0}, "skin"),
        ({"skin": float("nan")}, "skin"),
        ({"dtype": "float16"}, "float32 or float64"),
        ({"device": "abacus"}, "abacus"),
    ],
)
def test_arguments_without_meaning_are_refused(arguments, words):
    with pytest.raises(UsageError, match=words):
        Calculator(**({"model": pair_potential()} | arguments))


def test_nothing_to_calculate_on():
    atoms = Atoms(cell=[3, 3, 3], pbc=True)
    atoms.calc = Calculator(pair_potential())
    assert atoms.get_potential_energy() == 0.0 and atoms.get_forces().shape == (0, 3)
    assert np.array_equal(atoms.get_stress(), np.zeros(6))
    lone = Atoms("Ar")
    lone.calc = Calculator(pair_potential())
    assert lone.get_potential_energy() == 0.0 and not lone.get_forces().any()


def _trajectory(skin: float, steps: int):
    atoms = crystal(rattle=0.0)
    widths = np.sqrt(atoms.get_masses() * 300 * units.kB)
    atoms.set_momenta(np.random.default_rng(0).normal(size=(len(atoms), 3)) * widths[:, None])
    Stationary(atoms)
    atoms.calc = Calculator(pair_potential(), skin=skin)
    dynamics = VelocityVerlet(atoms, 4 * units.fs)
    forces = []
    dynamics.attach(lambda: forces.append(atoms.get_forces()), interval=1)
    dynamics.run(steps)
    return atoms, np.array(forces)


def test_skin_gives_the_same_numbers_over_a_thousand_steps_and_rebuilds_rarely():
    with_skin, forces = _trajectory(0.5, 1000)
    without, reference = _trajectory(0.0, 1000)
    assert np.abs(forces - reference).max() < FORCES_TOLERANCE
    assert np.abs(with_skin.positions - without.positions).max() < FORCES_TOLERANCE
    assert with_skin.calc._neighbors.num_builds < 150 and without.calc._neighbors.num_builds > 900


def test_skin_survives_wrapping_and_a_changing_cell():
    atoms = crystal((3, 3, 3))
    atoms.calc = Calculator(pair_potential(), skin=1.0)
    rng = np.random.default_rng(0)
    for step in range(40):
        atoms.positions += 0.05 * rng.normal(size=atoms.positions.shape)
        if step % 3 == 0:
            atoms.set_cell(atoms.cell @ (np.eye(3) + 0.004 * rng.normal(size=(3, 3))), scale_atoms=True)
        if step % 7 == 0:
            atoms.wrap()
        fresh = atoms.copy()
        fresh.calc = Calculator(pair_potential(), skin=0.0)
        assert np.abs(atoms.get_forces() - fresh.get_forces()).max() < FORCES_TOLERANCE


@pytest.mark.parametrize("optimizer", [BFGS, FIRE])
def test_optimizers_converge_on_cell_and_positions(optimizer):
    atoms = strained()
    atoms.calc = Calculator(pair_potential())
    assert optimizer(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-4, steps=500)
    assert np.abs(atoms.get_stress()).max() < 1e-4
    single = crystal(rattle=0.05)
    single.calc = Calculator(pair_potential(dtype="float32"))
    assert optimizer(single, logfile=None).run(fmax=5e-3, steps=300)


def test_a_model_file_gives_the_numbers_of_its_potential(tmp_path):
    potential = small_network(dtype="float32")
    save_model(tmp_path / "model.eqp", potential)
    atoms, twin = bulk("Cu", cubic=True).repeat(2), bulk("Cu", cubic=True).repeat(2)
    for structure in (atoms, twin):
        structure.rattle(0.1, seed=3)
    atoms.calc, twin.calc = equipot.Calculator(str(tmp_path / "model.eqp"), device="auto"), Calculator(potential)
    assert np.array_equal(atoms.get_forces(), twin.get_forces())
    assert atoms.calc.fingerprint() == twin.calc.fingerprint() and atoms.calc.name == "equipot"
    twin.calc = Calculator(tmp_path / "model.eqp", dtype="float64")
    assert twin.calc.potential.dtype == torch.float64
    with pytest.raises(CheckpointError):
        Calculator(tmp_path / "nothing.eqp")
