"""Which graphs the errors at the end of a run are told of."""

from __future__ import annotations

from types import SimpleNamespace

from equipot.config import from_dict
from equipot.workflow.training import evaluated_graphs


def _config(**training):
    return from_dict({"data": {"train": ["a.xyz"]}, "training": training})


def test_a_sample_of_many_training_frames_is_evaluated_and_said():
    sets = SimpleNamespace(train=list(range(50)), validation=[1, 2], test=[])
    graphs, said = evaluated_graphs(sets, _config(evaluated_training_frames=20))
    assert (
        len(set(graphs["train"])) == 20
        and graphs["train"] == sorted(graphs["train"])
        and graphs["validation"] == [1, 2]
    )
    assert "sample of 20 of 50" in said[0] and "test" not in graphs
    assert evaluated_graphs(sets, _config(evaluated_training_frames=20))[0] == graphs
    for training in ({"evaluated_training_frames": None}, {"evaluated_training_frames": 50}, {}):
        graphs, said = evaluated_graphs(sets, _config(**training))
        assert graphs["train"] == list(range(50)) and not said
