"""Elements dropped and added: to the bit nothing changes for the others."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from equipot.errors import ConfigError
from equipot.finetuning.elements import choose_elements, nearest_element, with_elements
from equipot.graph import from_ase
from equipot.models import Potential, PotentialConfig, register
from tests.systems import ARCHITECTURES, ELEMENTS, STRUCTURES, make_potential
from tests.unit.finetuning.systems import crystals, tiny_base


def predictions(potential, atoms):
    output = potential(from_ase(atoms, potential.cutoff))
    return output.node_energy, output.forces, output.stress


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_adding_an_element_leaves_old_predictions_as_they_are(name):
    """Also in the middle of the order of elements; the new one begins as its neighbour."""
    potential = make_potential(name)
    larger = with_elements(potential, [*ELEMENTS, "Ag", "N"], {"Ag": "Au", "N": "C"})
    assert larger.elements == ("H", "C", "N", "O", "Cu", "Ag", "Au")
    for kind in ("molecule", "alloy"):
        for old, new in zip(predictions(potential, STRUCTURES[kind]()), predictions(larger, STRUCTURES[kind]())):
            assert torch.equal(old, new) or bool((old.isnan() & new.isnan()).all())


def test_a_new_element_begins_as_its_neighbor():
    potential = tiny_base("mace")
    larger = with_elements(potential, [*potential.elements, "Ag"], {"Ag": "Au"})
    gold, silver = crystals(3)[2], crystals(3)[2]
    silver.symbols = ["Ag" if symbol == "Au" else symbol for symbol in silver.symbols]
    for old, new in zip(predictions(potential, gold), predictions(larger, silver)):
        assert torch.equal(old, new)


@pytest.mark.parametrize("architecture", ["nequip", "mace"])
def test_dropping_elements_leaves_the_others_as_they_are(architecture):
    potential = tiny_base(architecture)
    smaller = with_elements(potential, ["Au", "Cu"], {})
    assert smaller.elements == ("Cu", "Au") and len(smaller.architecture.embedding) == 2
    for old, new in zip(predictions(potential, crystals(3)[2]), predictions(smaller, crystals(3)[2])):
        assert torch.equal(old, new)


def test_dropping_and_adding_as_many_moves_the_right_rows():
    """No shape changes; that the rows are found all the same is what this is for."""
    potential = tiny_base("mace")
    other = with_elements(potential, ["Ni", "Cu", "Ag"], {"Ag": "Cu"})
    assert torch.equal(other.architecture.embedding[2], potential.architecture.embedding[1])
    assert other.atomic_energies.tolist() == [-3.0, -2.0, -2.0]
    assert torch.equal(
        other.architecture.layers[0].product.weights[0][2], potential.architecture.layers[0].product.weights[0][1]
    )


def test_radii_follow_the_elements():
    base = tiny_base("mace", radial="mlp", agnesi=(1.0, 4.0, 2.0), agnesi_radii=(1.1, 1.2, 1.3))
    config = dataclasses.replace(base.config, zbl=True, zbl_radii=(0.7, 0.8, 0.9))
    potential = Potential(config)
    larger = with_elements(potential, ["Au", "Ag", "Ni", "Cu"], {"Ag": "Au"})
    assert larger.config.options["agnesi_radii"] == pytest.approx((1.1, 1.2, 1.45, 1.3))
    assert larger.config.zbl_radii == pytest.approx((0.7, 0.8, 1.45, 0.9))
    for old, new in zip(predictions(potential, crystals(3)[2]), predictions(larger, crystals(3)[2])):
        assert torch.equal(old, new)


@pytest.mark.parametrize(
    "element, known, nearest",
    [
        ("Hf", ["Ti", "Zr", "Ta", "W"], "Zr"),
        ("Ag", ["Cu", "Pd", "Cd"], "Cu"),
        ("Cl", ["F", "S", "Br"], "Br"),
        ("Zr", ["Ti", "Hf", "Nb"], "Hf"),
        ("Yb", ["Tm", "Sr", "Zr"], "Tm"),
        ("He", ["H", "Ne"], "Ne"),
        ("La", ["Y", "Hf", "Ba"], "Y"),
        ("Po", ["Te", "Bi", "Pb"], "Te"),
        ("Lu", ["Y", "Hf"], "Y"),
    ],
)
def test_nearest_in_the_periodic_table(element, known, nearest):
    assert nearest_element(element, known) == nearest


def test_choosing_elements():
    base = tiny_base()
    assert choose_elements(base, "keep", {}, ["Cu"]) == (("Ni", "Cu", "Au"), {})
    assert choose_elements(base, "data", {"Ag": "auto"}, ["Cu", "Ag"]) == (("Cu", "Ag"), {"Ag": "Au"})
    assert choose_elements(base, ("Au", "Cu"), {}, ["Cu"])[0] == ("Cu", "Au")
    for policy, new, message in (
        ("keep", {"Cu": "auto"}, "which the base knows already"),
        ("keep", {"Pd": "auto"}, "which no frame contains"),
        ("keep", {"Ag": "Pt"}, "new_elements.Ag is Pt, which the base does not know"),
        (("Cu", "Pt"), {}, "lists Pt, which the base does not know"),
        (("Au",), {}, "does not list Cu, which the frames contain"),
        ("data", {"Pd": "auto"}, "none of the base would be left"),
    ):
        present = {"Ag": ["Cu", "Ag"], "Pd": ["Pd"]}.get(next(iter(new), ""), ["Cu"])
        with pytest.raises(ConfigError, match=message):
            choose_elements(base, policy, new, present if policy == "data" or "Pd" not in new else ["Cu"])


def test_an_architecture_of_ones_own():
    """Where its elements stand is found, not known."""

    @dataclasses.dataclass(frozen=True)
    class Options:
        width: int = 3

    class Columns(torch.nn.Module):
        def __init__(self, options, *, num_species, cutoff, avg_num_neighbors):
            super().__init__()
            self.table = torch.nn.Parameter(torch.randn(options.width, num_species))

        def forward(self, species, edges):
            return self.table[:, species].sum(dim=0)

    register("columns", Options, Columns)
    config = PotentialConfig("columns", ("Cu", "Au"), 4.0, 12.0, options={"width": 2})
    potential = Potential(config)
    larger = with_elements(potential, ["Ag", "Au", "Cu"], {"Ag": "Au"})
    assert torch.equal(larger.architecture.table, potential.architecture.table[:, [0, 1, 1]])
