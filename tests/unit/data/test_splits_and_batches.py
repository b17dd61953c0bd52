"""Splits and batches: repeatable, complete, stratified, without leaks, a pure function of seed and epoch (D7, D11)."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from ase import Atoms

from equipot.config.schema import SplitConfig
from equipot.data import BatchSampler, edge_batches
from equipot.data.copies import elements_of, find_copies, take_prints
from equipot.data.frames import Frame
from equipot.data.geometry_hash import find_duplicates, geometry_hash, hash_frames
from equipot.data.splits import record_split, split_frames
from equipot.errors import DataError, UsageError


def _frames(groups: dict[str, int]) -> list[Frame]:
    frames = []
    for name, count in groups.items():
        for number in range(count):
            index = len(frames)
            atoms = Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 2.0 + 0.2 * index]])
            frames.append(
                Frame(
                    atoms, -1.0, config_type=name, index=index, source=f"a.xyz frame {index}", info={"run": number % 5}
                )
            )
    return frames


def _split(frames, config=SplitConfig(), **wanted):  # noqa: B008
    return split_frames(frames, _copies(frames), config, **wanted)


def _copies(frames):
    return find_copies(frames, take_prints(frames, elements_of(frames)))


GROUPS = {"bulk": 70, "surface": 20, "liquid": 2, "one": 1, "few": 7}


def test_every_frame_is_in_one_part_and_the_seed_decides():
    frames = _frames(GROUPS)
    first = _split(frames)
    assert sorted(first.train + first.validation + first.test) == list(range(100))
    assert first == _split(frames) and first != _split(frames, SplitConfig(seed=1))
    assert len(first.validation) == len(first.test) == 10


def test_fractions_hold_within_each_config_type():
    frames = _frames(GROUPS)
    for seed in range(5):
        split = _split(frames, SplitConfig(seed=seed))
        counts = Counter(frames[place].config_type for place in split.test)
        assert counts["bulk"] in (7, 8) and counts["surface"] in (1, 2, 3)
        assert {frames[place].config_type for place in split.train} == set(GROUPS)  # nothing loses its last frame


def test_many_small_groups_still_give_their_share():
    split = _split(_frames({f"g{number}": 4 for number in range(50)}))
    assert abs(len(split.validation) - 20) <= 1 and abs(len(split.test) - 20) <= 1


@pytest.mark.parametrize(("count", "validation", "test"), [(1, 0, 0), (2, 1, 0), (3, 1, 1), (5, 1, 1)])
def test_tiny_sets(count, validation, test):
    split = _split(_frames({"a": count}))
    assert (len(split.validation), len(split.test)) == (validation, test)


def test_training_keeps_a_frame_of_every_config_type():
    frames = _frames({f"g{number}": 1 + 2 * (number % 2) for number in range(12)})
    split = _split(frames, SplitConfig(validation=0.4, test=0.4))
    assert len({frames[place].config_type for place in split.train}) == 12 and split.validation and split.test
    few = _frames({"a": 1, "b": 1, "c": 6})  # rounding gives the test none: it takes one of the group with most
    split = _split(few, SplitConfig(validation=0.5, test=0.01))
    assert len({few[place].config_type for place in split.train}) == 3 and len(split.test) == 1


def test_parts_that_are_not_wanted():
    split = _split(_frames(GROUPS), test=False)
    assert split.test == [] and len(split.validation) == 10
    assert _split(_frames(GROUPS), SplitConfig(validation=0.0, test=0.0)).train == list(range(100))


def test_equal_structures_stay_together():
    frames = _frames({"a": 20}) * 3
    hashes = hash_frames(frames)
    split = _split(frames, SplitConfig(validation=0.3, test=0.2))
    parts = [{hashes[place] for place in part} for part in (split.train, split.validation, split.test)]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    assert len(split.validation) == 18


def test_groups_stay_together():
    frames = _frames({"a": 50})
    config = SplitConfig(method="group", group_key="run", validation=0.2, test=0.2)
    split = _split(frames, config)
    runs = [{frames[place].info["run"] for place in part} for part in (split.train, split.validation, split.test)]
    assert [len(part) for part in runs] == [3, 1, 1] and len(set.union(*runs)) == 5
    by_type = _split(_frames({"a": 9, "b": 1, "c": 1}), SplitConfig(method="group", group_key="config_type"))
    assert len(by_type.validation) == len(by_type.test) == 1


def test_wrong_settings():
    frames = _frames({"a": 10})
    with pytest.raises(DataError, match=r"a\.xyz frame 0 has no key 'batch'.*It has run"):
        _split(frames, SplitConfig(method="group", group_key="batch"))
    with pytest.raises(DataError, match="nothing to divide"):
        _split(frames[:1], SplitConfig(method="group", group_key="run"))


def test_record():
    frames = _frames({"a": 3})
    record = record_split({"train": frames}, {"train": hash_frames(frames)}, method="fraction", seed=4)
    assert json.loads(json.dumps(record)) == record and record["seed"] == 4
    assert record["train"][2] == {"file": "a.xyz", "frame": 2, "hash": geometry_hash(frames[2].atoms)}


def test_hash_sees_through_shifts_and_wrapping_only():
    generator = np.random.default_rng(0)
    atoms = Atoms("Cu3Au", positions=generator.uniform(0, 4, (4, 3)), cell=[[4, 0, 0], [1, 4, 0], [0, 1, 4]], pbc=True)
    value = geometry_hash(atoms)
    moved = atoms.copy()
    moved.positions += [13.7, -2.2, 0.4]
    wrapped = atoms.copy()
    wrapped.positions += generator.integers(-3, 4, (4, 3)) @ atoms.cell.array
    assert geometry_hash(moved) == geometry_hash(wrapped) == value
    for change in ("positions", "cell", "numbers", "pbc"):
        other = atoms.copy()
        if change == "positions":
            other.positions[1, 0] += 1e-3
        elif change == "cell":
            other.cell[2, 2] += 1e-3
        elif change == "numbers":
            other.numbers[0] = 79
        else:
            other.pbc = [True, True, False]
        assert geometry_hash(other) != value, change


def test_duplicates():
    assert find_duplicates(["a", "b", "a", "c", "b", "a"]) == [[0, 2, 5], [1, 4]]


SIZES = [5, 50, 7, 300, 12, 90, 1, 0, 44, 61]


@pytest.mark.parametrize("options", [{"batch_size": 3}, {"batch_edges": 100}, {"batch_size": 1}, {"batch_size": 999}])
def test_batches_are_a_pure_function_of_seed_and_epoch(options):
    sampler = BatchSampler(SIZES, seed=5, **options)
    third = sampler.batches(3)
    for epoch in (7, 0, 3):
        sampler.batches(epoch)
    assert sampler.batches(3) == third == BatchSampler(SIZES, seed=5, **options).batches(3)
    assert sampler.order(3) != sampler.order(4) and sampler.order(3) != BatchSampler(SIZES, seed=6, **options).order(3)
    assert sorted(place for batch in third for place in batch) == list(range(len(SIZES)))
    assert all(isinstance(place, int) for batch in third for place in batch)


def test_the_sequence_itself_never_changes():
    """A run resumed under a later version must see the same batches: these numbers are part of the format."""
    assert BatchSampler(SIZES, batch_size=4, seed=0).batches(0) == [[4, 6, 2, 7], [3, 5, 9, 0], [8, 1]]
    assert BatchSampler(SIZES, batch_edges=100, seed=3).batches(11) == [[5], [8], [9, 2, 6, 7], [3], [1, 0, 4]]


def test_batch_larger_than_the_set():
    (batch,) = BatchSampler(SIZES, batch_size=64, seed=0).batches(0)
    assert sorted(batch) == list(range(10))


def test_edge_budget_is_kept():
    for epoch in range(20):
        for batch in BatchSampler(SIZES, batch_edges=100, seed=1).batches(epoch):
            assert len(batch) == 1 or sum(SIZES[place] for place in batch) <= 100
    assert edge_batches([3, 3, 3, 9, 1], 6) == [[0, 1], [2], [3], [4]]
    assert edge_batches([], 6) == []


def test_wrong_batch_settings():
    for options in ({}, {"batch_size": 2, "batch_edges": 2}, {"batch_size": 0}, {"batch_edges": -1}):
        with pytest.raises(UsageError):
            BatchSampler(SIZES, **options)
    with pytest.raises(UsageError, match="no graphs"):
        BatchSampler([], batch_size=1)
    with pytest.raises(UsageError):
        edge_batches(SIZES, 0)
