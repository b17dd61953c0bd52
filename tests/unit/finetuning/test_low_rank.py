"""LoRA: nothing at first, the same merged or not, only the corrections train."""

from __future__ import annotations

import pytest
import torch

from equipot.config import FinetuneConfig
from equipot.errors import ConfigError
from equipot.finetuning import start_from
from equipot.finetuning.base import Base, plain_copy
from equipot.graph import collate
from equipot.kernels.selection import use
from equipot.training import build_optimizer
from tests.unit.finetuning.systems import ATOMIC_ENERGIES, crystals, graphs_of, labelled, tiny_base
from tests.unit.training.systems import config


def begin(architecture="nequip", **lora):
    potential = tiny_base(architecture, num_channels=12)
    graphs = graphs_of(labelled(crystals(3), potential))
    settings = FinetuneConfig(mode="lora", train=lora.pop("train", ()), lora={"rank": 2, **lora})
    return start_from(Base(potential, "base.eqp", "0"), settings, ATOMIC_ENERGIES, graphs, seed=3), graphs, potential


def disturb(potential):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in potential.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)


@pytest.mark.parametrize("kernels", ["native", "reference"])
@pytest.mark.parametrize("architecture", ["nequip", "mace"])
def test_merged_equals_unmerged(architecture, kernels):
    start, graphs, base = begin(architecture, alpha=5.0)
    assert start.equality.energy == 0 and start.equality.forces == 0
    disturb(start.potential)
    (merged, heads), graph = start.export(start.potential), collate(graphs)
    with use(kernels):
        ours, theirs, before = start.potential(graph), merged(graph), base(graph)
    assert not heads
    assert float((ours.node_energy - theirs.node_energy).abs().max()) < 1e-12
    assert float((ours.forces - theirs.forces).abs().max()) < 1e-12
    assert float((ours.forces - before.forces).abs().max()) > 1e-3
    assert type(merged.architecture) is type(base.architecture)
    assert merged.state_dict().keys() == base.state_dict().keys()
    assert merged.num_parameters() == plain_copy(base).num_parameters()


def test_only_the_corrections_and_what_is_listed_train():
    start, _, base = begin(train=("embedding",))
    trained = {name: parameter for name, parameter in start.potential.named_parameters() if parameter.requires_grad}
    in_full = {name for name in trained if "parametrizations" not in name}
    # The rest are small: a pair of rank 2 would hold as many numbers as the matrix.
    assert {"architecture.embedding", "architecture.readout.weights.0"} <= in_full
    pairs = [name for name in trained if name.endswith((".a", ".b"))]
    assert len(pairs) == len(trained) - len(in_full) > 8
    assert sum(parameter.numel() for parameter in trained.values()) < base.num_parameters()
    weight = dict(base.named_parameters())["architecture.layers.1.linear.weight_0"]
    names = "architecture.layers.1.linear.parametrizations.weight_0"
    assert trained[f"{names}.0.a"].shape == (len(weight), 2) and trained[f"{names}.0.b"].shape == (2, weight.shape[1])
    species = "architecture.layers.1.self_connection.parametrizations.weight_0.0.a"
    assert trained[species].shape == (3, 12, 2)


def test_the_scale_is_alpha_over_rank():
    start, _, _ = begin(alpha=6.0)
    module = start.potential.architecture.layers[1].linear
    pair = module.parametrizations.weight_0[0]
    with torch.no_grad():
        pair.b.fill_(1.0)
    expected = module.parametrizations.weight_0.original + 3.0 * pair.a.sum(dim=1, keepdim=True)
    assert torch.allclose(module.weight_0, expected, atol=1e-14)


def test_the_corrections_learn_at_their_rates():
    start, _, _ = begin()
    optimizer = build_optimizer(start.potential, config().optimizer)
    rates = {name: group["base_lr"] for group in optimizer.param_groups for name in group["names"]}
    names = "architecture.layers.1.linear.parametrizations.weight_0.0"
    fan_in = start.potential.get_parameter(f"{names}.a").shape[0]
    assert rates[f"{names}.a"] == pytest.approx(0.03 * fan_in**-0.5)
    assert rates[f"{names}.b"] == pytest.approx(0.03 * 2**-0.5)


def test_a_rank_that_is_too_large_is_refused():
    with pytest.raises(ConfigError, match="large enough for a correction of rank 500"):
        begin(rank=500)
