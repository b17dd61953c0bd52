"""Label keys, units, stress forms and signs, weights and partial labels (D2-D5)."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from equipot.config.schema import KeysConfig, UnitsConfig
from equipot.data import read_frames
from equipot.errors import DataError
from equipot.units import GPA_PER_EV_A3, matrix_to_voigt
from tests.unit.data.frames_text import frame

STRESS = np.array([[0.011, 0.004, -0.002], [0.004, 0.022, 0.003], [-0.002, 0.003, 0.033]])
VOLUME = 64.0


def _text(numbers) -> str:
    return " ".join(repr(float(number)) for number in np.ravel(numbers))


def _read(tmp_path, content: str, name: str = "a.xyz", **options):
    path = tmp_path / name
    path.write_text(content)
    return read_frames(path, **options)


def _renamed(forces: str, energy: str = "REF_energy") -> str:
    return frame().replace("REF_forces", forces).replace("REF_energy", energy)


@pytest.mark.parametrize(
    "energy",
    [
        "REF_energy",
        "energy",
        "dft_energy",
        "DFT_energy",
        "Energy",
        "ref_energy",
        "energy_dft",
        "total_energy",
        "free_energy",
    ],
)
@pytest.mark.parametrize("forces", ["REF_forces", "forces", "force", "dft_forces", "REF_force", "DFT_force", "Forces"])
def test_documented_names_are_found(energy, forces, tmp_path):
    result = _read(tmp_path, _renamed(forces, energy))
    assert result.frames[0].energy == -3.5
    np.testing.assert_array_equal(result.frames[0].forces[0], [0.01, -0.02, 0.03])
    assert result.report.keys["energy"] == energy and result.report.keys["forces"] == forces
    assert result.report.coverage["forces"] == (1, 1)
    assert any(energy in line and "1/1" in line for line in result.report.lines())


@pytest.mark.parametrize("name", ["EQUIPOT_energy", "MACE_energy", "energies", "my_energy"])
def test_other_names_are_not_taken_for_energies(name, tmp_path):
    result = _read(tmp_path, _renamed("REF_forces", name))
    assert result.report.keys["energy"] is None and np.isnan(result.frames[0].energy)
    assert name in result.report.available["info"]


def test_a_key_that_was_asked_for_and_is_nowhere(tmp_path):
    with pytest.raises(DataError) as caught:
        _read(tmp_path, _renamed("my_forces", "dft_enrgy"), keys=KeysConfig(energy="dft_energy"))
    for part in ("a.xyz", "'dft_energy'", "data.keys.energy", "Did you mean 'dft_enrgy'", "my_forces"):
        assert part in str(caught.value)
    with pytest.raises(DataError, match=r"data\.keys\.forces"):
        _read(tmp_path, frame(), keys=KeysConfig(forces="f"))


def test_named_and_ignored_keys(tmp_path):
    content = frame(extra=" other_energy=-9.0")
    assert _read(tmp_path, content, keys=KeysConfig(energy="other_energy")).frames[0].energy == -9.0
    ignored = _read(tmp_path, content, keys=KeysConfig(energy=None, forces=None))
    assert np.isnan(ignored.frames[0].energy) and ignored.frames[0].forces is None
    assert ignored.report.keys["energy"] is None


def test_reference_names_win_and_rivals_are_reported(tmp_path):
    result = _read(tmp_path, frame(extra=" energy=-7.0") + frame(extra=" energy=-3.5"))
    assert [kept.energy for kept in result.frames] == [-3.5, -3.5]
    (warning,) = result.report.warnings
    assert "'REF_energy'" in warning and "'energy'" in warning and "1 of 2" in warning and "frame 0" in warning


def test_plain_rivals_that_disagree_are_an_error(tmp_path):
    content = _renamed("forces", "energy").replace("energy=-3.5", "energy=-3.5 dft_energy=-4.5")
    with pytest.raises(DataError, match=r"says something else in 1 of 1 .*data\.keys\.energy"):
        _read(tmp_path, content)
    assert _read(tmp_path, content, keys=KeysConfig(energy="dft_energy")).frames[0].energy == -4.5
    same = _read(tmp_path, content.replace("-4.5", "-3.5"))
    assert same.frames[0].energy == -3.5 and not same.report.warnings


def test_frames_without_the_key_are_masked_not_filled_from_another(tmp_path):
    result = _read(tmp_path, frame() + frame(None, extra=" energy=-8.0") + frame(None))
    assert result.frames[0].energy == -3.5
    assert np.isnan(result.frames[1].energy) and np.isnan(result.frames[2].energy)
    assert result.report.coverage["energy"] == (1, 3)
    assert any("1 frames have 'energy' but not 'REF_energy'" in warning for warning in result.report.warnings)


FORMS = {
    "nine": _text(STRESS),
    "six": _text(matrix_to_voigt(STRESS)),
    "json": f"_JSON {STRESS.tolist()}",
    "brackets": str(STRESS.tolist()),
}


@pytest.mark.parametrize("key", ["REF_stress", "stress", "dft_stress"])
@pytest.mark.parametrize("form", FORMS)
def test_stress_in_every_form(form, key, tmp_path):
    value = FORMS[form] if form == "brackets" else f'"{FORMS[form]}"'
    result = _read(tmp_path, frame(extra=f" {key}={value}"))
    np.testing.assert_allclose(result.frames[0].stress, STRESS, rtol=1e-15)
    assert result.report.keys["stress"] == key


@pytest.mark.parametrize("key", ["REF_virial", "REF_virials", "virial", "dft_virial"])
@pytest.mark.parametrize("form", ["nine", "six"])
def test_virial_is_minus_volume_times_stress(form, key, tmp_path):
    virial = -VOLUME * STRESS
    text = _text(virial if form == "nine" else matrix_to_voigt(virial))
    result = _read(tmp_path, frame(extra=f' {key}="{text}"'))
    np.testing.assert_allclose(result.frames[0].stress, STRESS, rtol=1e-12)


def test_stress_and_virial_together(tmp_path):
    agree = f' stress="{_text(STRESS)}" virial="{_text(-VOLUME * STRESS)}"'
    assert not _read(tmp_path, frame(extra=agree)).report.warnings
    rival = f' stress="{_text(STRESS)}" virial="{_text(VOLUME * STRESS)}"'
    with pytest.raises(DataError, match=r"'virial' says something else"):
        _read(tmp_path, frame(extra=rival))
    named = _read(tmp_path, frame(extra=rival), keys=KeysConfig(stress=None, virial="virial"))
    np.testing.assert_allclose(named.frames[0].stress, -STRESS)
    reference = _read(tmp_path, frame(extra=rival.replace("virial", "REF_virials")))
    np.testing.assert_allclose(reference.frames[0].stress, -STRESS)  # the reference name beats the plain one
    assert reference.report.keys["stress"] == "REF_virials" and reference.report.warnings


def test_units(tmp_path):
    extra = f' REF_stress="{_text(STRESS)}"'
    units = UnitsConfig(energy="meV", forces="meV/A", stress="GPa", stress_sign="compression_positive")
    result = _read(tmp_path, frame(extra=extra), units=units).frames[0]
    assert result.energy == pytest.approx(-3.5e-3)
    np.testing.assert_allclose(result.forces[0], [1e-5, -2e-5, 3e-5])
    np.testing.assert_allclose(result.stress, -STRESS / GPA_PER_EV_A3)
    kbar = _read(tmp_path, frame(extra=extra), units=UnitsConfig(stress="kbar")).frames[0]
    np.testing.assert_allclose(kbar.stress, STRESS / GPA_PER_EV_A3 / 10.0)
    virial = _read(tmp_path, frame(extra=extra.replace("stress", "virial")), units=UnitsConfig(energy="meV")).frames[0]
    np.testing.assert_allclose(virial.stress, -STRESS / VOLUME * 1e-3)  # a virial is an energy


def test_tiny_asymmetry_is_evened_out(tmp_path):
    almost = STRESS.copy()
    almost[0, 1] += 5e-9
    result = _read(tmp_path, frame(extra=f' REF_stress="{_text(almost)}"')).frames[0].stress
    assert (result == result.T).all()


def test_stress_of_a_molecule_is_not_used(tmp_path):
    header = "Properties=species:S:1:pos:R:3:REF_forces:R:3"
    result = _read(tmp_path, frame(header=header, extra=' REF_stress="0 0 0 0 0 0"'))
    assert result.frames[0].stress is None
    assert any("no volume" in warning for warning in result.report.warnings)


def test_large_stress_without_compression_warns_but_stands(tmp_path):
    result = _read(tmp_path, frame(extra=' REF_stress="3 3 3 0 0 0"'))
    assert result.frames[0].stress[0, 0] == 3.0
    assert any("GPa" in warning and "data.units.stress" in warning for warning in result.report.warnings)
    small = frame(
        0.0,
        header='Lattice="3.3 0 0 0 3.3 0 0 0 3.3" Properties=species:S:1:pos:R:3:REF_forces:R:3',
        extra=' REF_stress="-3 -3 -3 0 0 0"',
    )
    assert not _read(tmp_path, frame(extra=' REF_stress="0 0 0 0 0 0"') + small).report.warnings


def test_weights_and_config_type(tmp_path):
    content = (
        frame(extra=" config_type=bulk config_weight=2 config_energy_weight=3 stress_weight=0.5")
        + frame(extra=" config_type=17 force_weight=4 config_virials_weight=0")
        + frame()
    )
    first, second, third = _read(tmp_path, content).frames
    assert (first.energy_weight, first.forces_weight, first.stress_weight) == (6.0, 2.0, 1.0)
    assert (second.energy_weight, second.forces_weight, second.stress_weight) == (1.0, 4.0, 0.0)
    assert (third.energy_weight, third.forces_weight, third.stress_weight) == (1.0, 1.0, 1.0)
    assert [first.config_type, second.config_type, third.config_type] == ["bulk", "17", "default"]


def test_what_ase_writes_is_read_back(tmp_path):
    """ASE moves energy, forces and stress into a calculator; they come out the same, under the plain names."""
    atoms = Atoms("CuAu", positions=[[0, 0, 0], [1.5, 1.5, 1.5]], cell=[[4, 0, 0], [0.5, 4, 0], [0, 0.3, 4]], pbc=True)
    forces = np.array([[0.25, -0.5, 0.125], [-0.25, 0.5, -0.125]])
    atoms.calc = SinglePointCalculator(atoms, energy=-1.25, forces=forces, stress=matrix_to_voigt(STRESS))
    atoms.info["note"] = "two words"
    for name in ("ase.xyz", "ase.extxyz", "ase.traj", "ase.db", "ase.xyz.gz", "ase.traj.gz"):
        write(tmp_path / name, [atoms] if "db" not in name else atoms, **({"append": False} if "db" in name else {}))
        result = read_frames(tmp_path / name)
        (found,) = result.frames
        assert found.energy == -1.25, name
        np.testing.assert_allclose(found.forces, forces, atol=1e-8)
        np.testing.assert_allclose(found.stress, STRESS, rtol=1e-12)
        np.testing.assert_allclose(found.atoms.cell.array, atoms.cell.array)  # not transposed
        assert found.atoms.calc is None and found.atoms.get_chemical_symbols() == ["Cu", "Au"]
        assert result.report.keys == {"energy": "energy", "forces": "forces", "stress": "stress"}
    assert atoms.calc is not None


def test_comment_forms_agree_with_ase(tmp_path):
    from ase.io import read

    content = frame(
        extra=' a=1 b="2.5 3.5" c=T d="T F" e=text f="two words" g={1 2 3} h = 4 flag i=x=y k="_JSON {\\"z\\": 1}"'
    )
    path = tmp_path / "a.xyz"
    path.write_text(content)
    expected = read(path).info
    found = read_frames(path).frames[0].info
    for key in "abcdefghik":
        np.testing.assert_array_equal(found[key], expected[key], err_msg=key)
    assert found["flag"] is True and expected["flag"]


def test_plain_xyz_with_a_free_comment(tmp_path):
    result = _read(tmp_path, "2\nit's a \"plain xyz file\nH 0 0 0\nH 0 0 0.74\n")
    assert not result.frames[0].atoms.pbc.any()
    assert result.report.keys == {"energy": None, "forces": None, "stress": None}
