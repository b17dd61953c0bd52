"""What must not be separated: copies up to symmetry, near steps of a trajectory, and how leaks are told."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell, molecule
from scipy.spatial.transform import Rotation

from equipot.config.schema import DataConfig, SplitConfig
from equipot.data import load_datasets, write_frames
from equipot.data.copies import elements_of, find_copies, find_copies_across, take_prints
from equipot.data.frames import Frame
from equipot.data.splits import split_frames
from equipot.data.trajectories import trajectory_runs


def _as_frames(structures, config_type="all"):
    return [
        Frame(atoms, -1.0, np.full((len(atoms), 3), 0.1), config_type=config_type, index=k, source=f"a.xyz frame {k}")
        for k, atoms in enumerate(structures)
    ]


def _turned(atoms: Atoms, generator: np.random.Generator) -> Atoms:
    """Turned, mirrored, shifted, renumbered; a crystal now and then in another cell."""
    rotation = Rotation.random(random_state=int(generator.integers(1000))).as_matrix() * generator.choice([-1.0, 1.0])
    if atoms.pbc.all() and generator.random() < 0.5:
        atoms = make_supercell(
            atoms, [[1, 1, 0], [0, 1, 0], [0, 0, 1]] if generator.random() < 0.5 else np.diag([1, 1, 2])
        )
    result = atoms[generator.permutation(len(atoms))]
    result.set_cell(result.cell.array @ rotation, scale_atoms=False)
    result.positions = result.positions @ rotation + generator.normal(size=3)
    if result.pbc.all():
        result.wrap()
    return result


def _crystals(generator):
    for _ in range(40):
        atoms = bulk("Cu", a=3.6, cubic=True)
        atoms.rattle(0.1, rng=generator)
        yield atoms


def _alloys(generator):
    for _ in range(40):
        atoms = bulk("NaCl", "rocksalt", a=5.6 + 0.5 * generator.random(), cubic=True)
        atoms.rattle(0.1, rng=generator)
        yield atoms


def _molecules(generator):
    for _ in range(40):
        atoms = molecule("CH3OH")
        atoms.rattle(0.1, rng=generator)
        yield atoms


def _split(frames, seed=0, **fractions):
    copies = find_copies(frames, take_prints(frames, elements_of(frames)))
    return split_frames(frames, copies, SplitConfig(seed=seed, **{"validation": 0.2, "test": 0.2, **fractions}))


@pytest.mark.parametrize("make", [_crystals, _alloys, _molecules])
def test_planted_copies_never_straddle(make):
    generator = np.random.default_rng(3)
    structures = list(make(generator))
    number = [*range(40), *generator.integers(40, size=40).tolist()]
    frames = _as_frames([*structures, *(_turned(structures[k], generator) for k in number[40:])])
    for seed in range(3):
        split = _split(frames, seed)
        parts = [{number[place] for place in part} for part in (split.train, split.validation, split.test)]
        assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
        assert abs(len(split.validation) - 16) <= 2 and abs(len(split.test) - 16) <= 2
        assert len(split.train) + len(split.validation) + len(split.test) == 80
    assert "40 copies of" in split.notes[0] and _split(frames, 2).test == split.test


def test_a_trajectory_is_not_torn_apart():
    """Four short trajectories of small steps stay whole; a long one is cut into blocks."""
    generator = np.random.default_rng(0)
    structures = []
    for _ in range(4):
        atoms = bulk("Cu", a=3.6, cubic=True) * (2, 1, 1)
        atoms.rattle(0.3, rng=generator)
        for _ in range(5):
            atoms = atoms.copy()
            atoms.rattle(0.01, rng=generator)
            structures.append(atoms)
    frames = _as_frames(structures)
    assert [len(run) for run in trajectory_runs(frames)] == [5] * 4
    split = _split(frames, validation=0.25, test=0.25)
    assert all(
        len({place // 5 for place in part}) == len(part) / 5 for part in (split.train, split.validation, split.test)
    )
    assert len(split.validation) == len(split.test) == 5
    atoms, long = structures[0], []
    for _ in range(200):
        atoms = atoms.copy()
        atoms.rattle(0.01, rng=generator)
        long.append(atoms)
    split = _split(_as_frames(long), validation=0.1, test=0.1)
    assert len(split.validation) == len(split.test) == 20
    for part in (split.validation, split.test):
        assert np.sum(np.diff(part) > 1) <= 1  # two blocks of ten
    assert "1 longer ones were cut into contiguous blocks" in split.notes[0]


def test_independent_frames_are_no_trajectory():
    frames = _as_frames(_crystals(np.random.default_rng(1)))
    assert all(len(run) == 1 for run in trajectory_runs(frames)) and _split(frames).notes == []


def test_dense_scans_are_not_one_structure():
    """Each frame within the tolerance of the next: copies of copies do not add up, and the work stays small."""
    lengths = np.random.default_rng(0).permutation(np.linspace(0.9, 1.1, 600))
    frames = _as_frames([Atoms("H2", positions=[[0, 0, 0], [0, 0, length]]) for length in lengths])
    copies = find_copies(frames, take_prints(frames, ("H",)))
    assert len(copies) > 200
    assert max(abs(lengths[place] - lengths[copy.of]) for place, copy in copies.items()) < 1.1e-3
    assert all(copy.misfit < 1.1e-3 and copy.of not in copies for copy in copies.values())
    split = _split(frames, validation=0.1, test=0.1)
    assert abs(len(split.validation) - 60) <= 15  # half a block


def test_many_copies_of_one_structure_have_one_first_frame():
    generator = np.random.default_rng(5)
    atoms = next(_crystals(generator))
    frames = _as_frames([atoms, *(_turned(atoms, generator) for _ in range(60))])
    copies = find_copies(frames, take_prints(frames, ("Cu",)))
    assert {copy.of for copy in copies.values()} == {0} and len(copies) == 60
    there = _as_frames([_turned(atoms, generator), bulk("Cu", a=3.7)])
    across = find_copies_across(frames, take_prints(frames, ("Cu",)), there, take_prints(there, ("Cu",)))
    assert list(across) == [0] and across[0].misfit < 1e-6


def test_the_only_carriers_of_an_element_stay_in_training():
    structures = list(_crystals(np.random.default_rng(2)))
    for place, symbol in ((3, "Au"), (17, "Ag"), (30, "Ag"), (33, "Pd")):
        structures[place].symbols[0] = symbol
    frames = _as_frames(structures)
    for seed in range(20):
        split = _split(frames, seed, validation=0.4, test=0.4)
        trained = {symbol for place in split.train for symbol in frames[place].atoms.symbols}
        assert trained == {"Cu", "Au", "Ag", "Pd"} and len(split.validation) >= 14 and len(split.test) >= 14
        (note,) = split.notes
        assert "the only ones with" in note and "Pd" in note and "Au" in note and "a.xyz frame 3" in note


def test_a_sole_carrier_in_the_training_file_does_not_stop_loading(tmp_path, monkeypatch):
    monkeypatch.delenv("EQUIPOT_DATA", raising=False)
    structures = list(_crystals(np.random.default_rng(2)))
    structures[7].symbols[1] = "Au"
    write_frames(tmp_path / "train.xyz", _as_frames(structures))
    for seed in range(6):
        config = DataConfig(train=("train.xyz",), split=SplitConfig(seed=seed, validation=0.4, test=0.4))
        sets = load_datasets(config, 4.0, config_directory=tmp_path)
        assert sets.elements == ("Cu", "Au") and any("the only ones with Au" in line for line in sets.report)


def test_leaks_between_files_are_counted_up_to_symmetry_and_left(tmp_path, monkeypatch):
    monkeypatch.delenv("EQUIPOT_DATA", raising=False)
    generator = np.random.default_rng(4)
    structures = list(_crystals(generator))
    write_frames(tmp_path / "train.xyz", _as_frames(structures[:30]))
    write_frames(tmp_path / "val.xyz", _as_frames(structures[30:35]))
    test = [*structures[35:], structures[4].copy(), _turned(structures[9], generator)]
    write_frames(tmp_path / "test.xyz", _as_frames(test))
    config = DataConfig(train=("train.xyz",), validation=("val.xyz",), test=("test.xyz",))
    sets = load_datasets(config, 4.0, config_directory=tmp_path)
    (leak,) = sets.leaks
    assert (leak.part, leak.source, leak.num_frames, leak.num_exact, leak.total) == ("test", "train", 2, 1, 7)
    assert leak.sentence() in sets.warnings and len(sets.test) == 7
    assert json.loads(json.dumps(leak.to_dict()))["up_to_symmetry"] == 1


def test_a_stored_split_is_taken_over(tmp_path, monkeypatch):
    """Runs of versions that divided frames in another way go on with their split."""
    monkeypatch.delenv("EQUIPOT_DATA", raising=False)
    write_frames(tmp_path / "train.xyz", _as_frames(_crystals(np.random.default_rng(2))))
    config = DataConfig(train=("train.xyz",))
    record = load_datasets(config, 4.0, config_directory=tmp_path).split_record
    moved = {
        **record,
        "train": record["train"][1:] + record["test"][:1],
        "test": record["test"][1:] + record["train"][:1],
    }
    sets = load_datasets(config, 4.0, config_directory=tmp_path, stored_split=moved)
    for part in ("train", "validation", "test"):
        key = lambda entry: entry["frame"]  # noqa: E731
        assert sorted(sets.split_record[part], key=key) == sorted(moved[part], key=key)
    other = load_datasets(config, 4.0, config_directory=tmp_path, stored_split={**moved, "file_sha256": {}})
    assert other.split_record["test"] == record["test"]  # of other files: not taken over
