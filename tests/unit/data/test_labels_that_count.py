"""Labels that are none: weight 0, forces a constraint set to zero, placeholders, isolated atoms held out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixCartesian, FixCom, FixScaled
from ase.io import write

from equipot.checks.data import check_frames
from equipot.checks.data.fix import fix_frames
from equipot.config.schema import DataConfig, KeysConfig
from equipot.data import load_datasets, read_frames, write_frames
from equipot.data.frames import Frame
from equipot.data.label_masks import label_masks
from equipot.data.stress_sign import prove_sign
from equipot.errors import DataError

CUTOFF = 4.0


def _alloy(seed: int) -> Atoms:
    random = np.random.default_rng(seed)
    atoms = bulk("Cu", cubic=True)
    atoms.symbols[: seed % 4] = "Au"
    atoms.positions += random.normal(scale=0.08, size=atoms.positions.shape)
    return atoms


def _frame(seed: int, **changes) -> Frame:
    atoms = _alloy(seed)
    atoms.calc = EMT()
    labels = {
        "energy": atoms.get_potential_energy(),
        "forces": atoms.get_forces(),
        "stress": atoms.get_stress(voigt=False),
    }
    atoms.calc = None
    return Frame(atoms, **{**labels, **changes}, index=seed)


def _load(folder, **options):
    options = {"train": ("train.xyz",), "validation": ("val.xyz",), "test": ("test.xyz",), **options}
    return load_datasets(DataConfig(**options), CUTOFF, config_directory=folder)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("EQUIPOT_DATA", raising=False)
    write_frames(tmp_path / "train.xyz", [_frame(seed) for seed in range(12)])
    write_frames(tmp_path / "val.xyz", [_frame(seed) for seed in range(20, 23)])
    write_frames(tmp_path / "test.xyz", [_frame(seed) for seed in range(30, 33)])
    return tmp_path


def _numbers(datasets) -> list[float]:
    statistics = datasets.statistics
    return [
        *datasets.atomic_energies.values.values(),
        datasets.atomic_energies.residual_rms_mev_per_atom,
        statistics.forces_rms,
        statistics.energy_mean_per_atom_after_e0,
    ]


def _wrong(seed: int, **weights) -> Frame:
    frame = _frame(seed)
    return _frame(seed, energy=frame.energy - 3000.0, forces=frame.forces + 70.0, stress=frame.stress - 9.0, **weights)


@pytest.mark.parametrize("way", ["frame", "config_type"])
def test_labels_of_weight_zero_set_nothing(folder, way):
    missing = {"energy": float("nan"), "forces": None, "stress": None}
    write_frames(folder / "without.xyz", [_frame(seed, **missing) for seed in range(12, 16)])
    weights = {f"{label}_weight": 0.0 for label in ("energy", "forces", "stress")} if way == "frame" else {}
    write_frames(folder / "wrong.xyz", [_wrong(seed, config_type="bad", **weights) for seed in range(12, 16)])
    options = {} if way == "frame" else {"config_weights": {"bad": 0.0}}
    expected = _load(folder, train=("train.xyz", "without.xyz"))
    found = _load(folder, train=("train.xyz", "wrong.xyz"), **options)
    assert _numbers(found) == pytest.approx(_numbers(expected), abs=1e-12)
    assert (
        found.statistics.coverage == expected.statistics.coverage == dict.fromkeys(found.statistics.coverage, (12, 16))
    )
    assert any(line.startswith("4 energy labels of train have weight 0") for line in found.report)
    assert not any("eV/atom" in warning for warning in found.warnings)


def test_one_label_of_weight_zero_leaves_the_others(folder):
    write_frames(folder / "wrong.xyz", [_frame(seed, energy=1e4, energy_weight=0.0) for seed in range(12, 16)])
    found = _load(folder, train=("train.xyz", "wrong.xyz"))
    assert found.statistics.coverage == {"energy": (12, 16), "forces": (16, 16), "stress": (16, 16)}
    assert found.atomic_energies.values == pytest.approx(_load(folder).atomic_energies.values)


def test_isolated_atoms_of_weight_zero_set_no_atomic_energy(folder):
    lone = [
        Frame(Atoms(symbol, cell=[12] * 3, pbc=True), energy=-900.0, energy_weight=0.0, config_type="IsolatedAtom")
        for symbol in ("Cu", "Au")
    ]
    write_frames(folder / "lone.xyz", lone)
    found = _load(folder, train=("train.xyz", "lone.xyz"))
    assert found.atomic_energies.origin == "least_squares"
    assert found.atomic_energies.values == pytest.approx(_load(folder).atomic_energies.values)


def test_weights_are_applied_once_to_a_file_in_two_splits(folder):
    found = _load(folder, validation=("train.xyz",), config_weights={"default": 3.0})
    assert {graph.energy_weight.item() for graph in (*found.train, *found.validation)} == {3.0}


def test_stresses_of_weight_zero_prove_no_sign():
    frames = []
    for seed, scale in enumerate((0.96, 0.98, 1.0, 1.02, 1.04)):
        atoms = bulk("Cu", a=3.6 * scale, cubic=True)
        atoms.calc = EMT()
        frames.append(Frame(atoms, atoms.get_potential_energy(), atoms.get_forces(), -atoms.get_stress(voigt=False)))
        frames[-1].index = seed
        atoms.calc = None
    assert prove_sign(frames).sign == -1
    for frame in frames:
        frame.stress_weight = 0.0
    assert prove_sign(frames).num_pairs == 0


def _slab(seed: int) -> tuple[Atoms, float, np.ndarray]:
    atoms = fcc111("Cu", (2, 2, 3), vacuum=6.0)
    atoms.pbc = True
    atoms.positions += np.random.default_rng(seed).normal(scale=0.08, size=atoms.positions.shape)
    atoms.calc = EMT()
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    atoms.calc = None
    return atoms, energy, forces


def _write_slabs(path, constrain, *, zeroed: bool = True, keep: bool = True, number: int = 6) -> np.ndarray:
    """Slabs whose lowest layer is held; ``zeroed`` as ``get_forces`` hands them over, ``keep`` the constraint too."""
    frames = []
    for seed in range(number):
        atoms, energy, forces = _slab(seed)
        atoms.set_constraint(constrain(np.flatnonzero(atoms.get_tags() == 3)))
        if zeroed:
            forces = forces.copy()
            for constraint in atoms.constraints:
                constraint.adjust_forces(atoms, forces)
        if not keep:
            atoms.set_constraint()
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        frames.append(atoms)
    write(path, frames)
    return frames[0].get_tags() == 3


def _cartesian(index) -> list:
    return [FixCartesian(int(atom), (False, False, True)) for atom in index]


def _scaled(index) -> list:
    return [FixScaled(int(atom), (True, True, False)) for atom in index]


@pytest.mark.parametrize(
    ("name", "constrain"),
    [
        ("slab.xyz", FixAtoms),
        ("slab.traj", FixAtoms),
        ("slab.db", FixAtoms),
        ("slab.xyz", _cartesian),
        ("slab.traj", _scaled),
    ],
)
def test_forces_a_constraint_set_to_zero_are_no_labels(tmp_path, name, constrain):
    bottom = _write_slabs(tmp_path / name, constrain)
    file = read_frames(tmp_path / name)
    for frame in file.frames:
        assert frame.held.tolist() == bottom.tolist()
        assert np.isnan(frame.counting().forces[bottom]).all() and np.isfinite(frame.counting().forces[~bottom]).all()
    assert any("24 of 72 atoms" in warning for warning in file.report.warnings)


@pytest.mark.parametrize("constrain", [FixAtoms, lambda index: FixCom()], ids=["atoms", "centre of mass"])
def test_whole_forces_beside_a_constraint_are_labels(tmp_path, constrain):
    """VASP writes them so; and a held centre of mass sets no force to zero."""
    _write_slabs(tmp_path / "slab.traj", constrain, zeroed=constrain is not FixAtoms)
    file = read_frames(tmp_path / "slab.traj")
    assert all(frame.held is None for frame in file.frames) and not file.report.warnings


def test_zeros_without_a_constraint_are_found(tmp_path):
    bottom = _write_slabs(tmp_path / "slab.xyz", FixAtoms, keep=False)
    file = read_frames(tmp_path / "slab.xyz")
    assert all(frame.held.tolist() == bottom.tolist() for frame in file.frames)
    assert any("a constraint has set them to zero" in warning for warning in file.report.warnings)


def test_a_held_atom_enters_neither_statistics_nor_loss(tmp_path, monkeypatch):
    monkeypatch.delenv("EQUIPOT_DATA", raising=False)
    _write_slabs(tmp_path / "train.xyz", FixAtoms)
    datasets = load_datasets(DataConfig(train=("train.xyz",)), CUTOFF, config_directory=tmp_path)
    free = np.concatenate([_slab(seed)[2][_slab(seed)[0].get_tags() != 3] for seed in range(6)])
    assert sum(int(label_masks(graph).forces.sum()) for part in _parts(datasets) for graph in part) == len(free)
    kept = torch.cat([graph.forces[label_masks(graph).forces] for graph in datasets.train])
    assert datasets.statistics.forces_rms == pytest.approx(float(kept.square().mean().sqrt()))
    assert float(kept.square().mean().sqrt()) == pytest.approx(np.sqrt(np.mean(free**2)), rel=0.2)
    assert datasets.statistics.coverage["forces"] == (len(datasets.train),) * 2


def _parts(datasets):
    return datasets.train, datasets.validation, datasets.test


def test_written_frames_keep_their_constraint(tmp_path):
    bottom = _write_slabs(tmp_path / "slab.xyz", FixAtoms)
    write_frames(tmp_path / "again.xyz", read_frames(tmp_path / "slab.xyz").frames)
    again = read_frames(tmp_path / "again.xyz")
    assert again.frames[0].held.tolist() == bottom.tolist() and not again.frames[0].forces[bottom].any()


def test_placeholders_among_displaced_frames_do_not_count(folder):
    frames = [_frame(seed, forces=np.zeros((4, 3)), stress=np.zeros((3, 3))) for seed in range(12, 16)]
    frames[0].energy += 3.0  # not the lowest of its atoms
    for frame in frames:
        frame.energy += 5.0
    write_frames(folder / "mixed.xyz", [*(_frame(seed) for seed in range(12)), *frames])
    found = _load(folder, train=("mixed.xyz",))
    assert found.statistics.coverage == {"energy": (16, 16), "forces": (12, 16), "stress": (12, 16)}
    assert found.statistics.forces_rms == pytest.approx(_load(folder).statistics.forces_rms)
    assert any("forces of 4 frames are exactly zero" in warning for warning in found.warnings)
    assert any("stress of 4 frames is exactly zero" in warning for warning in found.warnings)


def test_only_placeholders_stop_with_what_to_do(folder):
    write_frames(folder / "zero.xyz", [_frame(seed, forces=np.zeros((4, 3))) for seed in range(12)])
    with pytest.raises(DataError, match=r"forces .*do not count.*data\.keys\.forces=null"):
        _load(folder, train=("zero.xyz",))
    _load(folder, train=("zero.xyz",), keys=KeysConfig(forces=None))


def test_zeros_that_symmetry_makes_are_labels(tmp_path):
    perfect = []
    for scale in (0.96, 1.0, 1.04):
        atoms = bulk("NaCl", "rocksalt", a=5.6 * scale, cubic=True)
        perfect.append(Frame(atoms, energy=-30.0 - scale, forces=np.zeros((8, 3)), stress=0.01 * np.eye(3)))
    pair = Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 8.0]], cell=[20] * 3, pbc=False)  # too far apart to pull
    write_frames(tmp_path / "a.xyz", [*perfect, Frame(pair, energy=-1.0, forces=np.zeros((2, 3))), _frame(1)])
    file = read_frames(tmp_path / "a.xyz")
    assert not file.report.warnings and all(frame.counting().has("forces") for frame in file.frames)


def test_zeros_of_few_decimals_and_of_the_minimum_are_labels(tmp_path):
    rounded = [_frame(seed) for seed in range(6)]
    for frame in rounded:
        frame.forces = np.round(frame.forces, 2)
    rounded[0].forces[:2] = 0.0
    write_frames(tmp_path / "a.xyz", rounded)
    assert all(frame.held is None for frame in read_frames(tmp_path / "a.xyz").frames)
    lowest = _frame(4, forces=np.zeros((4, 3)))
    lowest.energy -= 1.0
    write_frames(tmp_path / "b.xyz", [lowest, _frame(8), _frame(12)])
    assert read_frames(tmp_path / "b.xyz").frames[0].counting().has("forces")


def test_isolated_atoms_held_out_are_no_errors(folder):
    lone = Frame(Atoms("Cu", cell=[12] * 3, pbc=True), energy=-7.0, config_type="IsolatedAtom")
    for name in ("val", "test"):
        write_frames(folder / f"{name}_lone.xyz", [*read_frames(folder / f"{name}.xyz").frames, lone])
    found = _load(folder, validation=("val_lone.xyz",), test=("test_lone.xyz",))
    assert [len(part) for part in _parts(found)] == [12, 3, 3] == [len(found.frames[name]) for name in found.frames]
    assert len(found.isolated_held_out) == 2 and not found.isolated
    assert found.atomic_energies.values == _load(folder).atomic_energies.values  # what is held out sets nothing
    assert any("1 isolated-atom frames of test are not counted as errors" in line for line in found.report)


def test_the_doctor_names_what_is_no_label_and_leaves_good_forces_alone(tmp_path):
    bottom = _write_slabs(tmp_path / "slab.xyz", FixAtoms)
    file = read_frames(tmp_path / "slab.xyz")
    report = check_frames(file)
    found = {result.code: result for result in report.results}
    assert found["placeholders"].status == "warn" and len(found["placeholders"].findings[0].places) == 6
    assert found["net-force"].status == "skip"
    fixed = fix_frames([file], report, also=("net-force",))
    for seed, frame in enumerate(fixed.frames):
        assert frame.forces[~bottom] == pytest.approx(_slab(seed)[2][~bottom], abs=1e-7)
    write_frames(tmp_path / "fixed.xyz", fixed.frames)
    assert read_frames(tmp_path / "fixed.xyz").frames[0].held.tolist() == bottom.tolist()


def test_the_doctor_looks_at_labels_that_count_only(tmp_path):
    write_frames(tmp_path / "a.xyz", [_frame(seed) for seed in range(16)])
    weights = {f"{label}_weight": 0.0 for label in ("energy", "forces", "stress")}
    write_frames(tmp_path / "b.xyz", [_wrong(seed, **weights) for seed in range(16, 20)])
    files = [read_frames(tmp_path / name) for name in ("a.xyz", "b.xyz")]
    report = check_frames(files)
    alone = check_frames(files[:1])
    assert report.summary["atomic energies (eV)"] == pytest.approx(alone.summary["atomic energies (eV)"])
    assert report.summary["forces rms (eV/A)"] == pytest.approx(alone.summary["forces rms (eV/A)"])
    assert {"energy-reference", "energy-outliers", "theory", "net-force", "force-outliers"}.isdisjoint(report.flagged())
