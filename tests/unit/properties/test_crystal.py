"""build_crystal: the right atoms on the right sites, and clear refusals."""

from __future__ import annotations

import numpy as np
import pytest
from ase.geometry import get_distances

from equipot.config.schema import PropertyConfig
from equipot.errors import ConfigError
from equipot.properties import build_crystal


@pytest.mark.parametrize(
    ("name", "lattice", "num_atoms", "nearest", "coordination"),
    [
        ("Po", "sc", 1, 1.0, 6),
        ("Cu", "fcc", 4, np.sqrt(0.5), 12),
        ("Ta", "bcc", 2, np.sqrt(0.75), 8),
        ("Si", "diamond", 8, np.sqrt(3) / 4, 4),
        ("NaCl", "rocksalt", 8, 0.5, 6),
        ("CsCl", "cesiumchloride", 2, np.sqrt(0.75), 8),
        ("ZnS", "zincblende", 8, np.sqrt(3) / 4, 4),
        ("Cu3Au", "l12", 4, np.sqrt(0.5), 12),
        ("Mg", "hcp", 2, 1.0, 12),
    ],
)
def test_lattices_have_their_number_of_atoms_and_coordination(name, lattice, num_atoms, nearest, coordination):
    crystal = build_crystal(PropertyConfig(name=name, lattice=lattice, lattice_constant=4.0))
    assert len(crystal) == num_atoms and crystal.pbc.all()
    block = crystal.repeat(3)
    center = len(block) // 2
    distances = np.delete(get_distances(block.positions[center], block.positions, block.cell, block.pbc)[1][0], center)
    assert distances.min() == pytest.approx(4.0 * nearest)
    assert np.sum(distances < 4.0 * nearest * 1.01) == coordination


def test_l12_puts_the_minority_element_on_the_corner_whatever_the_order():
    for formula in ("Cu3Au", "AuCu3"):
        crystal = build_crystal(PropertyConfig(name="x", formula=formula, lattice="l12", lattice_constant=3.75))
        gold = [atom.index for atom in crystal if atom.symbol == "Au"]
        assert len(gold) == 1 and np.allclose(crystal.positions[gold[0]], 0.0)
        distances = crystal.get_distances(gold[0], [1, 2, 3], mic=True)
        assert np.allclose(distances, 3.75 / np.sqrt(2))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"formula": "Cu3"}, "one element"),
        ({"lattice": "l12"}, "A3B"),
        ({"lattice": "rocksalt"}, "two elements"),
        ({"lattice": "l12", "formula": "CuAu"}, "A3B"),
    ],
)
def test_a_formula_that_does_not_fit_the_lattice_is_refused_by_name(change, words):
    config = PropertyConfig(**({"name": "Cu", "lattice": "fcc", "lattice_constant": 3.6} | change))
    with pytest.raises(ConfigError, match="properties entry 'Cu'") as error:
        build_crystal(config)
    assert words in str(error.value)
