"""What is replayed: the base's interaction with the atomic energies of the fine-tuning, and only where it is sound."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from equipot.config import FinetuneConfig, from_dict
from equipot.data.writing import write_frames
from equipot.errors import DataError, ElementError
from equipot.finetuning.pseudo_labels import REPLAY, replay_graphs
from equipot.graph import collate
from tests.unit.finetuning.systems import OFFSETS, crystals, labelled, tiny_base

BASE = tiny_base()


def graphs(replay, known=BASE.elements, base=BASE, folder=".", change=None):
    config = from_dict({"seed": 5, "data": {"train": ["x.xyz"]}, "finetune": {"replay": replay}})
    return replay_graphs(base, config, Path(folder), known=known, present=["Cu", "Au"], change=change or {})


def test_labels_are_the_bases_with_other_atomic_energies():
    found = graphs({"number": 12, "elements": "data"}, change=OFFSETS)
    batch = collate(found)
    output = BASE(batch)
    shifts = torch.tensor([OFFSETS[element] for element in BASE.elements], dtype=torch.float64)
    moved = shifts[BASE.species(batch.atomic_numbers)]
    assert float(batch.energy.sum()) == pytest.approx(float(output.energy.sum() + moved.sum()), abs=1e-8)
    assert float(moved.sum().abs()) > 0.1
    assert torch.allclose(batch.forces, output.forces, atol=1e-12)
    assert torch.allclose(batch.stress, output.stress, atol=1e-12)
    assert set(batch.config_type) == {REPLAY}
    assert {number for graph in found for number in graph.atomic_numbers.tolist()} <= {29, 79}


def test_made_crystals_are_of_the_elements_wanted_and_the_same_again():
    first, second = graphs({"number": 8}), graphs({"number": 8})
    assert all(torch.equal(a.positions, b.positions) for a, b in zip(first, second)) and len(first) == 8
    nickel = graphs({"number": 4, "elements": ["Ni"]})
    assert {number for graph in nickel for number in graph.atomic_numbers.tolist()} == {28}


def test_structures_of_a_file(tmp_path):
    write_frames(tmp_path / "given.xyz", labelled(crystals(3), BASE, OFFSETS))
    found = graphs({"structures": ["given.xyz"]}, folder=tmp_path)
    assert len(found) == 3
    for graph in found:  # the file's own labels, which are those of another level, are not read
        assert float(graph.energy) == pytest.approx(float(BASE(graph).energy), abs=1e-9)
    with pytest.raises(ElementError, match=r"given\.xyz frame 1 \(finetune\.replay\) contains Au"):
        graphs({"structures": ["given.xyz"]}, folder=tmp_path, known=("Ni", "Cu"))


def test_where_the_base_is_absurd_nothing_is_replayed():
    wild = tiny_base()
    wild.scale.mul_(1e6)
    with pytest.raises(DataError, match="forces above 30 eV/Å in every structure"):
        graphs({"number": 4}, base=wild)


def test_replay_is_the_default_where_the_base_shall_stay_general():
    assert FinetuneConfig().replay is None
    assert FinetuneConfig(keep_base_general=True).replay.number == 256
    assert FinetuneConfig(keep_base_general=True, replay={"number": 3}).replay.number == 3
    assert FinetuneConfig(head="new").replay is not None
    assert FinetuneConfig(head="new", mode="frozen").replay is None
