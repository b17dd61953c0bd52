"""The potential's own promises: elements, registry, options, dtype, seeds."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from ase import Atoms
from ase.build import bulk

import equipot.models
from equipot.errors import ConfigError, ElementError, NumericalError
from equipot.graph import collate, from_ase
from equipot.models import Edges, PotentialConfig, build_potential, resolve_options
from tests.systems import ELEMENTS, STRUCTURES, make_potential


def config(**changes) -> PotentialConfig:
    values = {"architecture": "nequip", "elements": ("Cu",), "cutoff": 4.0, "avg_num_neighbors": 10.0, **changes}
    return PotentialConfig(options=resolve_options(values["architecture"], "small", {}), **values)


def test_unknown_element_is_named_with_its_atom() -> None:
    potential = build_potential(config(), atomic_energies={"Cu": 0.0})
    wrong = from_ase(Atoms("CuSi", [[0, 0, 0], [2, 0, 0]]), 4.0, source="a.xyz frame 7")
    with pytest.raises(ElementError, match=r"a.xyz frame 7: atom 1 is Si.*Cu"):
        potential(wrong)
    with pytest.raises(ElementError, match=r"a.xyz frame 7: atom 1 is Si.*Cu"):
        potential(collate([from_ase(Atoms("Cu"), 4.0), wrong]))
    with pytest.raises(ElementError, match=r"Atom 0 is Si"):
        potential(from_ase(Atoms("Si"), 4.0))


@pytest.mark.parametrize(
    ("elements", "message"),
    [((), "empty"), (("Xx",), "Xx"), (("Au", "Cu"), "sorted"), (("Cu", "Cu"), "distinct")],
)
def test_wrong_elements_are_refused(elements: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(elements=elements)


@pytest.mark.parametrize(
    ("architecture", "preset", "options", "message"),
    [
        ("nequipp", None, {}, "nequip"),
        ("os.system", None, {}, "expected one of"),
        ("mace", "tiny", {}, "small"),
        ("mace", "small", {"num_chanels": 3}, "num_channels"),
        ("mace", "small", {"num_channels": 10**9}, "num_channels"),
        ("mace", "small", {"l_max": -1}, "l_max"),
        ("mace", "small", {"l_max": 1, "feature_l_max": 2}, "feature_l_max"),
        ("nequip", "small", {"num_channels": [4, 4, 4]}, "num_channels"),
        ("nequip", "small", {"correlation": 3}, "correlation"),
        ("nequip", "small", {"__class__": 3}, "__class__"),
    ],
)
def test_wrong_options_are_refused_by_name(architecture, preset, options, message) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve_options(architecture, preset, options)


@pytest.mark.parametrize("preset", ["small", "medium", "large"])
@pytest.mark.parametrize("architecture", ["nequip", "mace"])
def test_presets_build_and_grow(architecture: str, preset: str) -> None:
    options = resolve_options(architecture, preset, {})
    potential = build_potential(
        PotentialConfig(architecture, ("Cu",), 3.0, 10.0, options=options), atomic_energies={"Cu": 0.0}
    )
    assert torch.isfinite(potential(from_ase(bulk("Cu"), 3.0)).energy).all()
    order = ["small", "medium", "large"]
    if preset != "small":
        smaller = resolve_options(architecture, order[order.index(preset) - 1], {})
        other = build_potential(
            PotentialConfig(architecture, ("Cu",), 3.0, 10.0, options=smaller), atomic_energies={"Cu": 0.0}
        )
        assert potential.num_parameters() > 2 * other.num_parameters()


def test_seed_decides_the_weights_and_the_global_generator_is_left_alone() -> None:
    state = torch.random.get_rng_state()
    one, two, other = (build_potential(config(), atomic_energies={"Cu": 0.0}, seed=seed) for seed in (1, 1, 2))
    one.to_dtype("float64")
    assert torch.equal(state, torch.random.get_rng_state())
    pairs = list(zip(one.parameters(), two.parameters(), other.parameters()))
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert not all(torch.equal(a, c) for a, _, c in pairs)


def test_config_round_trips_through_plain_values() -> None:
    for name in ("nequip both parities", "mace density residual"):
        original = make_potential(name).config
        assert PotentialConfig.from_dict(original.to_dict()) == original
    with pytest.raises(ConfigError, match="cutof"):
        PotentialConfig.from_dict({**original.to_dict(), "cutof": 3.0})


def test_atomic_energies_must_be_complete_and_finite() -> None:
    wrong = (({}, "no value for Cu"), ({"Cu": 1.0, "H": 1.0}, "names H"), ({"Cu": float("nan")}, "finite"))
    for energies, message in wrong:
        with pytest.raises(ConfigError, match=message):
            build_potential(config(), atomic_energies=energies)


def test_large_atomic_energies_keep_small_differences() -> None:
    """-2000 eV an atom must not cost digits of the energy differences of a float32 network."""
    small, large = make_potential("mace", "float32"), make_potential("mace", "float32")
    with torch.no_grad():
        large.atomic_energies -= 2000.0
    one, two = (from_ase(STRUCTURES[name](), 4.0) for name in ("alloy", "cell below the cutoff"))
    differences = []
    for potential in (small, large):
        per_atom = [
            potential(graph).node_energy - potential.atomic_energies[potential.species(graph.atomic_numbers)]
            for graph in (one, two)
        ]
        differences.append(float(per_atom[0].mean() - per_atom[1].mean()))
    assert abs(differences[0] - differences[1]) < 1e-6


def test_hessian_of_one_atom_in_a_crystal_vanishes() -> None:
    hessian = make_potential("nequip").hessian(from_ase(bulk("Cu", a=3.7), 4.0))
    assert float(hessian.abs().max()) < 1e-9


def test_non_finite_weights_are_found() -> None:
    potential = make_potential("mace")
    potential.check_finite()
    with torch.no_grad():
        next(potential.architecture.parameters()).view(-1)[0] = float("nan")
    with pytest.raises(NumericalError, match="architecture"):
        potential.check_finite()


def test_trainable_scale_and_shift_are_parameters() -> None:
    names = {name for name, _ in make_potential("mace", trainable_scale_shift=True).named_parameters()}
    assert {"scale", "shift"} <= names
    assert not {"scale", "shift"} & {name for name, _ in make_potential("mace").named_parameters()}


def test_without_exact_isolated_atoms_the_network_and_shift_stay() -> None:
    potential = make_potential("mace", exact_isolated_atoms=False)
    energy = float(potential(from_ase(Atoms("Cu"), 4.0)).energy)
    assert abs(energy - float(potential.atomic_energies[ELEMENTS.index("Cu")])) > 0.1


@dataclass(frozen=True)
class PairOptions:
    """Options of an architecture registered from outside the package."""

    width: int = 4


class PairModel(torch.nn.Module):
    """Smooth pair energies with one weight."""

    def __init__(self, options: PairOptions, *, num_species: int, cutoff: float, avg_num_neighbors: float) -> None:
        super().__init__()
        self.cutoff, self.weight = cutoff, torch.nn.Parameter(torch.ones(options.width))

    def forward(self, species: torch.Tensor, edges: Edges) -> torch.Tensor:
        pair = ((1 - edges.length / self.cutoff).clamp(min=0) ** 3) * self.weight.sum()
        return torch.zeros(len(species), dtype=pair.dtype).index_add(0, edges.center, pair)


def test_architecture_from_outside_the_package() -> None:
    equipot.models.register("pair for a test", PairOptions, PairModel, presets={"small": {"width": 2}})
    options = resolve_options("pair for a test", "small", {})
    assert options == {"width": 2}
    potential = build_potential(
        PotentialConfig("pair for a test", ("Cu",), 4.0, 10.0, options=options), atomic_energies={"Cu": -1.0}
    )
    output = potential(from_ase(Atoms("Cu2", [[0, 0, 0], [0, 0, 2.0]]), 4.0))
    assert float(output.energy) == pytest.approx(-2 + 2 * 2 * 0.5**3)
    with pytest.raises(ConfigError, match="already registered"):
        equipot.models.register("mace", PairOptions, PairModel)
