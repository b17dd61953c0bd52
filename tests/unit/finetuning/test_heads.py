"""Two heads: equal before the first step, each trained on its own frames, both in one file."""

from __future__ import annotations

import pytest
import torch

import equipot
from equipot.checkpoint import head_names, load_heads, load_model, read_model_document, save_model
from equipot.config import FinetuneConfig, from_dict
from equipot.errors import ConfigError, UsageError
from equipot.finetuning import start_from
from equipot.finetuning.base import Base
from equipot.training import build_optimizer
from equipot.workflow import training
from tests.unit.finetuning.systems import (
    ATOMIC_ENERGIES,
    OFFSETS,
    crystals,
    graphs_of,
    job,
    labelled,
    tiny_base,
    write_case,
)
from tests.unit.training.systems import config

NEW = {element: energy + OFFSETS[element] for element, energy in ATOMIC_ENERGIES.items()}


def begin(**keys):
    potential = tiny_base()
    graphs = graphs_of(labelled(crystals(3), potential))
    settings = FinetuneConfig(**{"head": "new", **keys})
    return start_from(Base(potential, "base.eqp", "0"), settings, NEW, graphs), potential


def test_heads_are_equal_at_first_and_then_their_own():
    start, base = begin()
    assert start.equality.energy == 0 and start.equality.forces == 0
    readout = start.potential.architecture.readout.weights.parametrizations["0"][0]
    with torch.no_grad():
        readout.of_new.mul_(2.0)
    new, heads = start.export(start.potential)
    assert torch.equal(new.architecture.readout.weights[0], 2 * base.architecture.readout.weights[0])
    assert list(heads) == ["base"]
    for name, tensor in base.state_dict().items():
        assert torch.equal(heads["base"].state_dict()[name], tensor), name
    assert new.atomic_energies.tolist() == list(NEW.values())


def test_a_head_that_is_not_the_base_at_first_is_seen(monkeypatch):
    from equipot.errors import NumericalError
    from equipot.finetuning import start as start_module

    def wrong(potential, names):
        switch = split(potential, names)
        with torch.no_grad():
            potential.architecture.readout.weights.parametrizations["0"][0].of_base.mul_(1.001)
        return switch

    split = start_module.split_heads
    monkeypatch.setattr(start_module, "split_heads", wrong)
    with pytest.raises(NumericalError, match="differs from its base"):
        begin()


@pytest.mark.parametrize("mode", ["full", "lora", "frozen"])
def test_what_trains_and_how_fast(mode):
    keys = {"lora": {"rank": 1}} if mode == "lora" else {}
    start, _ = begin(mode=mode, **keys)
    optimizer = build_optimizer(start.potential, config().optimizer)
    rates = {name: group["base_lr"] for group in optimizer.param_groups for name in group["names"]}
    names = "architecture.readout.weights.parametrizations.0.0"
    assert rates[f"{names}.of_new"] == rates[f"{names}.of_base"] == pytest.approx(0.03 * 6**-0.5)
    assert "architecture.readout.weights.parametrizations.0.original" not in rates
    assert (mode == "frozen") == (len(rates) == 2)


def test_the_name_of_the_base_head_is_taken():
    with pytest.raises(ConfigError, match="the name of the base's own head"):
        begin(head="Base")
    with pytest.raises(ConfigError, match=r"finetune\.head_parameters: 'none' matches no parameter"):
        begin(head_parameters=("none",))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads")
    base, teacher = tiny_base(), tiny_base()
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.mul_(1.1)
    model, data = write_case(folder, base, labelled(crystals(15), teacher, OFFSETS))
    settings = job(
        data,
        folder / "run",
        finetune={
            "head": "new",
            "level_of_theory": "better",
            "head_parameters": ["readout", "last_layer"],
            "replay": {"structures": [data.name]},
        },
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "write_report", lambda *_: None)
        patch.setattr(training, "_compare_with_base", lambda *_: None)
        return equipot.finetune(model, settings, quiet=True), base, model


def test_one_file_holds_both(done):
    result, base, _ = done
    with pytest.raises(UsageError, match=r"several heads \(levels of theory\): new, base\. Choose one with --head"):
        equipot.load(result.model_path)
    with pytest.raises(UsageError, match="there is no head 'pbe'; its heads are new, base"):
        equipot.load(result.model_path, head="pbe")
    new, kept = equipot.load(result.model_path, head="NEW"), equipot.load(result.model_path, head="base")
    assert new.metadata["head"] == "new" and new.metadata["level_of_theory"] == "better"
    assert kept.metadata["head"] == "base" and kept.metadata["name"] == "tiny"
    assert kept.atomic_energies.tolist() == base.atomic_energies.tolist() != new.atomic_energies.tolist()
    for name, tensor in result.potential.state_dict().items():
        assert torch.equal(tensor, new.state_dict()[name]), name
    shared = "architecture.layers.0.linear.weight_0"
    assert torch.equal(new.state_dict()[shared], kept.state_dict()[shared])
    assert not torch.equal(new.state_dict()[shared], base.state_dict()[shared])
    own = "architecture.layers.1.linear.weight_0"
    assert not torch.equal(new.state_dict()[own], kept.state_dict()[own])
    assert not torch.equal(base.state_dict()[own], kept.state_dict()[own])


def test_every_consumer_takes_a_head(done):
    result, base, _ = done
    atoms = crystals(3)[2]
    energies = []
    for head in ("new", "base"):
        atoms.calc = equipot.Calculator(result.model_path, head=head)
        potential = equipot.load(result.model_path, head=head)
        energies.append(atoms.get_potential_energy())
        assert energies[-1] == pytest.approx(float(potential(graphs_of(labelled([atoms], base))[0]).energy), abs=1e-9)
    assert abs(energies[0] - energies[1]) > 0.1
    with pytest.raises(UsageError, match="several heads"):
        equipot.Calculator(result.model_path)
    with pytest.raises(UsageError, match="chosen when a model file is loaded"):
        equipot.Calculator(result.potential, head="new")


def test_a_head_of_several_is_a_base_again(done, tmp_path, capsys):
    result, _, model = done
    settings = job(model.parent / "frames.xyz", tmp_path / "run", training={"epochs": 1})
    with pytest.raises(UsageError, match="several heads"):
        equipot.finetune(result.model_path, settings, quiet=True, dry_run=True)
    settings["finetune"] = {"base_head": "base", "mode": "frozen", "train": ["readout"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "write_report", lambda *_: None)
        patch.setattr(training, "_compare_with_base", lambda *_: None)
        again = equipot.finetune(result.model_path, settings)
    assert "Heads of the base that the new file does not have: new" in capsys.readouterr().out
    assert load_model(again.model_path).metadata["finetuned_from"]["head"] == "base"


def test_a_head_without_parameters_of_its_own_is_refused():
    with pytest.raises(ConfigError, match=r"finetune\.head_parameters is empty"):
        from_dict({"finetune": {"head": "new", "head_parameters": []}})


def test_heads_in_a_file_come_back_to_the_bit(tmp_path):
    one, two = tiny_base(), tiny_base(seed=1)
    two.architecture.load_state_dict({**two.architecture.state_dict(), "embedding": one.architecture.embedding})
    path = tmp_path / "two.eqp"
    with pytest.raises(UsageError, match="needs a name of its own"):
        save_model(path, one, heads={"two": two})
    with pytest.raises(UsageError, match="different architecture, elements or precision"):
        save_model(path, one, metadata={"head": "one"}, heads={"two": tiny_base(elements=("Cu",))})
    save_model(path, one, metadata={"head": "one"}, heads={"two": two})
    assert head_names(read_model_document(path)) == ["one", "two"]
    loaded = load_heads(path)
    for name, potential in (("one", one), ("two", two)):
        for key, tensor in potential.state_dict().items():
            assert torch.equal(loaded[name].state_dict()[key], tensor)
    # What they share is there once.
    document = read_model_document(path)
    assert "architecture.embedding" not in document["heads"]["two"]["tensors"]
    assert "architecture.readout.weights.0" in document["heads"]["two"]["tensors"]
