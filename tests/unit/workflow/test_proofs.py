"""What energies prove before a training: free energies, energies of one atom, units and signs of stress and forces."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from equipot.checks.data import check_frames
from equipot.checks.data.fix import fix_frames
from equipot.config.schema import DataConfig, KeysConfig, UnitsConfig
from equipot.data import load_datasets, read_frames, write_frames
from equipot.errors import DataError
from equipot.workflow.proofs import load_proven

CUTOFF = 4.0


def _structure(seed: int, repeat: int = 1, strained: bool = True) -> Atoms:
    random = np.random.default_rng(seed)
    atoms = bulk("Cu", cubic=True) * (repeat, 1, 1)
    atoms.positions += random.normal(scale=0.03, size=atoms.positions.shape)
    strain = random.normal(scale=0.012 if strained else 0.0, size=(3, 3))
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.5 * (strain + strain.T)), scale_atoms=True)
    return atoms


def _write(path, change, *, number: int = 30, repeats=(1,), first: int = 0, strained: bool = True) -> None:
    """EMT frames; ``change(atoms, energy, forces, stress)`` gives info and results."""
    frames = []
    for seed in range(first, first + number):
        atoms = _structure(seed, repeats[seed % len(repeats)], strained)
        atoms.calc = EMT()
        info, results = change(atoms, atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress())
        atoms.calc = SinglePointCalculator(atoms, **results)
        atoms.info.update(info)
        frames.append(atoms)
    write(path, frames)


def _right(atoms, energy, forces, stress):
    return {}, {"energy": energy, "forces": forces, "stress": stress}


def _entropy(atoms, energy, forces, stress):
    """An energy without entropy: the free energy, to which the forces belong, and more of it in larger cells."""
    gap = 0.35 * (atoms.get_volume() / len(atoms) - 11.0) * len(atoms)
    return {"free_energy": energy}, {"energy": energy + gap, "forces": forces, "stress": stress}


def _per_atom(atoms, energy, forces, stress):
    return {}, {"energy": energy / len(atoms), "forces": forces, "stress": stress}


def _compressive(atoms, energy, forces, stress):
    return {}, {"energy": energy, "forces": forces, "stress": -stress}


def _gpa(atoms, energy, forces, stress):
    return {}, {"energy": energy, "forces": forces, "stress": 160.21766208 * stress}


def _turned(atoms, energy, forces, stress):
    return {}, {"energy": energy, "forces": -forces, "stress": stress}


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.delenv("EQUIPOT_DATA", raising=False)

    def load(**options):
        data = DataConfig(**{"train": ("a.xyz",), **options})
        return load_proven(
            data, CUTOFF, lambda swap: load_datasets(data, CUTOFF, config_directory=tmp_path, swap_energy=swap)
        )

    return load


def _energies(datasets) -> dict[int, float]:
    return {frame.index: frame.energy for part in datasets.frames.values() for frame in part}


def test_sound_frames_pass_without_a_word(tmp_path, load):
    _write(tmp_path / "a.xyz", _right, repeats=(1, 2))
    assert not load().warnings


def test_the_free_energy_is_taken_where_the_forces_belong_to_it(tmp_path, load):
    _write(tmp_path / "a.xyz", _entropy)
    datasets = load()
    assert datasets.energy_keys[0].startswith("free_energy")
    assert any("read from 'free_energy'" in warning for warning in datasets.warnings)
    for seed, energy in _energies(datasets).items():
        atoms = _structure(seed)
        atoms.calc = EMT()
        assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-6)


def test_a_key_that_was_asked_for_is_kept_with_a_warning(tmp_path, load):
    _write(tmp_path / "a.xyz", _entropy)
    datasets = load(keys=KeysConfig(energy="energy"))
    assert datasets.energy_keys[0] == "energy"
    assert any("belong to 'free_energy' and not to 'energy'" in warning for warning in datasets.warnings)


def test_what_cannot_be_proven_is_said_to_be_assumed(tmp_path, load):
    _write(tmp_path / "a.xyz", _entropy, number=3)
    assert any("is assumed" in warning for warning in load().warnings)


def test_the_doctor_tries_the_free_energy_before_it_names_a_pulay_stress(tmp_path):
    _write(tmp_path / "a.xyz", _entropy)
    report = check_frames(read_frames(tmp_path / "a.xyz"))
    assert report.get("energy-key").status == "fail" and report.get("pulay").status == "skip"
    chosen = check_frames(read_frames(tmp_path / "a.xyz", keys=KeysConfig(energy="free_energy")))
    assert chosen.get("energy-key").status == "note" and chosen.get("pulay").status == "pass"


@pytest.mark.parametrize(
    ("change", "words", "units"),
    [
        (_per_atom, "energies are those of one atom", {"energy": "eV/atom"}),
        (_compressive, "data.units.stress_sign=compression_positive", {"stress_sign": "compression_positive"}),
        (_gpa, "data.units.stress=GPa", {"stress": "GPa"}),
        (_turned, "the forces are of the opposite sign", None),
    ],
)
def test_training_stops_where_the_doctor_fails(tmp_path, load, change, words, units):
    _write(tmp_path / "a.xyz", change, strained=change is not _turned)  # forces are proven within one cell
    assert any(result.status == "fail" for result in check_frames(read_frames(tmp_path / "a.xyz")).results)
    with pytest.raises(DataError, match=words) as caught:
        load()
    assert "data.on_contradiction=warn" in str(caught.value)
    assert any(words.split("=")[0] in warning for warning in load(on_contradiction="warn").warnings)
    if units is not None:
        assert not load(units=UnitsConfig(**units)).warnings


def test_validation_files_are_held_against_their_own_energies(tmp_path, load):
    _write(tmp_path / "a.xyz", _right)
    _write(tmp_path / "v.xyz", _compressive, first=100)
    with pytest.raises(DataError, match="validation frames contradict"):
        load(validation=("v.xyz",))


def test_energies_of_one_atom_show_in_sizes_alone(tmp_path, load):
    def no_forces(atoms, energy, forces, stress):
        return {}, {"energy": energy / len(atoms) - 3.0}

    _write(tmp_path / "a.xyz", no_forces, number=12, repeats=(1, 2, 3))
    with pytest.raises(DataError, match="do not grow with the number of atoms"):
        load(keys=KeysConfig(forces=None))
    file = read_frames(tmp_path / "a.xyz")
    fixed = fix_frames([file], check_frames(file))
    assert [frame.energy for frame in fixed.frames] == pytest.approx(
        [frame.energy * len(frame.atoms) for frame in file.frames]
    )
    write_frames(tmp_path / "a.xyz", fixed.frames)
    load(keys=KeysConfig(forces=None))
