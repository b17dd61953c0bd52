"""The data doctor on the set made on the spot: quiet where it is sound, and every planted fault found where it is."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.calculators.emt import EMT
from ase.io import write
from scipy.spatial.transform import Rotation

from equipot.checks.data import check_frames, fix_frames
from equipot.checks.data.registry import CHECKS
from equipot.checks.data.result import GROUPS
from equipot.checks.data.step_fits import reorder_shear
from equipot.data import read_frames, write_frames
from equipot.data.equivalence import find_isometry
from equipot.data.frames import Frame, FrameFile, ReadReport
from equipot.errors import UsageError
from equipot.units import GPA_PER_EV_A3

KEYS = {label: f"REF_{label}" for label in ("energy", "forces", "stress")}


def as_file(frames: list[Frame], name: str = "a.xyz") -> FrameFile:
    frames = [copy.deepcopy(frame) for frame in frames]
    for index, frame in enumerate(frames):
        frame.index, frame.source = index, f"{name} frame {index}"
    return FrameFile(frames, ReadReport(f"folder/{name}", "extxyz", len(frames), keys=KEYS))


@pytest.fixture(scope="module")
def small(cu_au) -> list[Frame]:
    """All volumes and strains, a few of the others, the isolated atoms."""
    return [*cu_au[:115], *cu_au[115:-2:9], *cu_au[-2:]]


def spoilt(frames: list[Frame], spoil: Callable[[list[Frame]], None] = lambda frames: None, **options):
    file = as_file(frames)
    spoil(file.frames)
    return check_frames(file, **options)


def of_groups(frames: list[Frame], *names: str) -> list[Frame]:
    return [frame for frame in frames if frame.config_type in names]


def scale_stress(frames: list[Frame], factor: float) -> None:
    for frame in frames:
        if frame.stress is not None:
            frame.stress = frame.stress * factor


def turned(atoms: Atoms, seed: int = 0, mirror: bool = True) -> tuple[Atoms, np.ndarray, np.ndarray]:
    """The same structure turned, mirrored, shifted, renumbered and wrapped, with the rotation and the order."""
    generator = np.random.default_rng(seed)
    rotation = Rotation.random(random_state=seed).as_matrix() * (-1.0 if mirror else 1.0)
    order = generator.permutation(len(atoms))
    result = atoms[order]
    result.set_cell(atoms.cell.array @ rotation, scale_atoms=False)
    result.positions = atoms.positions[order] @ rotation + generator.normal(size=3)
    if result.pbc.any():
        result.wrap()
    return result, rotation, order


def turned_frame(frame: Frame, seed: int = 0) -> Frame:
    atoms, rotation, order = turned(frame.atoms, seed)
    return Frame(
        atoms,
        frame.energy,
        frame.forces[order] @ rotation,
        None if frame.stress is None else rotation.T @ frame.stress @ rotation,
        frame.config_type,
    )


def test_quiet_on_a_sound_set(cu_au):
    report = spoilt(cu_au)
    assert report.worst == "pass" and not report.flagged(), "\n".join(report.lines())
    assert [result.code for result in report.results] == list(CHECKS) and not report.fixes()
    assert "proven eV/A^3, tension positive" in report.get("stress-unit").findings[0].message
    assert "elastic Cu4" in report.get("shear-order").findings[0].message
    assert {entry.group for entry in CHECKS.values()} == set(GROUPS)


@pytest.mark.parametrize(
    ("factor", "words", "units"),
    [
        (-1.0, "opposite sign", "stress_sign=compression_positive"),
        (GPA_PER_EV_A3, "in GPa", "stress=GPa"),
        (10 * GPA_PER_EV_A3, "in kbar", "stress=kbar"),
        (-10 * GPA_PER_EV_A3, "opposite sign (compression positive) and in kbar", "stress=kbar stress_sign"),
    ],
)
def test_wrong_sign_and_unit_of_the_stress(factor, words, units, small):
    file = as_file(small)
    scale_stress(file.frames, factor)
    report = check_frames(file)
    (finding,) = [one for one in report.get("stress-unit").findings if one.status == "fail"]
    assert words in finding.message and units in finding.advice
    having = [k for k, frame in enumerate(file.frames) if frame.stress is not None]
    assert list(finding.frames) == having and finding.places[0].key == "REF_stress"
    assert report.get("pulay").status == "pass"
    fixed = fix_frames([file], report)
    for one, other in zip(fixed.frames, small, strict=True):
        if other.stress is not None:
            np.testing.assert_allclose(one.stress, other.stress, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(file.frames[0].stress, small[0].stress * factor)  # its input is not changed
    assert f"0-{having[-1]}: stress times" in "\n".join(fixed.lines())


def test_one_group_in_another_sign_is_told_from_the_others(small):
    file = as_file(small)
    scale_stress(of_groups(file.frames, "elastic"), -1.0)
    report = check_frames(file)
    (finding,) = [one for one in report.get("stress-unit").findings if one.status == "fail"]
    assert {file.frames[k].config_type for k in finding.frames} == {"elastic"} and len(finding.frames) == 60
    assert "correct these groups" in finding.advice


def test_a_virial_read_as_stress(small):
    file = as_file(small)
    for frame in file.frames:
        if frame.stress is not None:
            frame.stress = -frame.stress * frame.volume
    report = check_frames(file)
    assert "a virial" in report.get("stress-unit").findings[0].message
    np.testing.assert_allclose(fix_frames([file], report).frames[3].stress, small[3].stress, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("offset", [-1.1, 2.5])
def test_a_pulay_stress_is_no_wrong_sign(offset, small):
    """A constant beside the right stress, which turns the sign of dE / stress work near the minimum."""
    file = as_file(small)
    for frame in of_groups(file.frames, "elastic", "volume"):
        frame.stress = frame.stress - offset / GPA_PER_EV_A3 * np.eye(3)
    report = check_frames(file)
    assert report.flagged() == ["pulay"]
    for finding in report.get("pulay").findings:
        assert finding.figure == pytest.approx(abs(offset), abs=0.2) and f"were {offset:+.0f}"[:6] in finding.message
    elastic = [one for one in report.get("pulay").findings if "elastic" in one.message]
    assert len(elastic) == 5 and report.get("stress-unit").status == "note"


@pytest.mark.parametrize(
    ("order", "words"), [((2, 0, 1), "xy, yz, xz"), ((2, 1, 0), "xy, xz, yz"), ((1, 0, 2), "xz, yz, xy")]
)
def test_shuffled_shear_components(order, words, small):
    """``order`` is where the file took yz, xz, xy from: VASP's is xy, yz, zx."""
    file = as_file(small)
    for frame in file.frames:
        if frame.stress is not None:
            frame.stress = reorder_shear(frame.stress, order)
    report = check_frames(file)
    result = report.get("shear-order")
    assert result.status == "fail" and len(result.findings) >= 5
    assert all(f"stored as {words}," in one.message for one in result.findings if one.status == "fail")
    fixed = fix_frames([file], report)
    for one, other in zip(fixed.frames, small, strict=True):
        if other.config_type == "elastic":
            np.testing.assert_allclose(one.stress, other.stress, atol=1e-15)
    again = check_frames(FrameFile(fixed.frames, file.report), only=["shear-order", "stress-unit"])
    assert again.worst == "pass"


def in_one_cell(small: list[Frame]) -> list[Frame]:
    """Copper with atoms displaced by little, labelled: what forces are proven by."""
    from equipot.data.synthetic import _label

    generator = np.random.default_rng(1)
    atoms = small[5].atoms.repeat((1, 1, 2))
    atoms.positions += generator.normal(scale=0.1, size=atoms.positions.shape)
    frames = []
    for _ in range(12):
        atoms = atoms.copy()
        atoms.positions += generator.normal(scale=0.01, size=atoms.positions.shape)
        frames.append(_label(atoms, "md"))
    return frames


@pytest.mark.parametrize(("factor", "words"), [(-1.0, "opposite sign"), (1.0 / 51.422, "Ha/Bohr"), (1000.0, "meV/A")])
def test_wrong_sign_and_unit_of_the_forces(factor, words, small):
    frames = in_one_cell(small)
    assert spoilt(frames).get("forces-unit").status == "note"
    file = as_file(frames)
    for frame in file.frames:
        frame.forces = frame.forces * factor
    report = check_frames(file)
    (finding,) = report.get("forces-unit").findings
    assert finding.status == "fail" and words in finding.message and len(finding.frames) == 12
    np.testing.assert_allclose(fix_frames([file], report).frames[4].forces, frames[4].forces, rtol=1e-4)


def test_net_force_names_the_frame_and_is_taken_off_on_request(small):
    file = as_file(small)
    file.frames[7].forces = file.frames[7].forces + np.array([0.0, 0.01, 0.0])
    report = check_frames(file)
    assert report.flagged() == ["net-force"]
    (finding,) = report.get("net-force").findings
    assert finding.frames == (7,) and finding.figure == pytest.approx(10.0) and finding.places[0].key == "REF_forces"
    assert np.abs(fix_frames([file], report).frames[7].forces.sum(axis=0)).max() > 0.03
    fixed = fix_frames([file], report, also=["net-force"])
    np.testing.assert_allclose(fixed.frames[7].forces, small[7].forces, atol=1e-12)
    assert fixed.by_frame == {("a.xyz", 7): ["mean force of 10 meV/A taken off"]}


@pytest.mark.parametrize(("factor", "words"), [(0.5, "half of it"), (2.0, "twice it"), (-1.0, "its negative")])
def test_an_energy_that_is_a_multiple(factor, words, cu_au):
    frames = [copy.deepcopy(frame) for frame in cu_au]
    for frame in frames:  # as large as DFT's
        frame.energy -= 3.5 * len(frame.atoms)
    frames[140].energy *= factor
    report = spoilt(frames)
    (finding,) = report.get("energy-outliers").findings
    assert finding.status == "fail" and finding.frames == (140,) and words in finding.places[0].text
    assert finding.places[0].key == "REF_energy"


def test_no_multiples_of_energies_measured_from_the_crystal(tmp_path):
    """Rattled copper, one frame with two atoms pressed together: by chance at four times what its like have."""
    frames = []
    for seed in range(12):
        atoms = bulk("Cu", cubic=True) * (1, 1, 1 + seed % 2)
        atoms.rattle(0.1, seed=seed)
        atoms.calc = EMT()
        atoms.get_forces()
        frames.append(atoms)
    write(tmp_path / "rattled.xyz", frames)
    file = read_frames(tmp_path / "rattled.xyz")
    others = [frame.energy / len(frame.atoms) for frame in file.frames]
    assert max(others) == others[8] > 4.0 * np.median(others)
    assert check_frames(file).get("energy-outliers").status == "pass"


def test_an_energy_off_by_little_is_found_by_steps(small):
    """20 meV/atom among strained cells, whose energies differ by more."""
    report = spoilt(small, lambda frames: setattr(frames[60], "energy", frames[60].energy + 0.02 * 4))
    (finding,) = report.get("energy-outliers").findings
    assert finding.frames == (60,) and finding.figure == pytest.approx(20.0, abs=3.0)


def test_two_levels_of_theory(small):
    def shift(frames):
        for frame in of_groups(frames, "elastic")[::3]:
            frame.energy += 0.05 * len(frame.atoms)

    result = spoilt(small, shift).get("theory")
    assert result.status in ("fail", "warn")
    named = {k for finding in result.findings for k in finding.frames}
    wrong = set([k for k, frame in enumerate(small) if frame.config_type == "elastic"][::3])
    assert len(named & wrong) >= 15 and not named - wrong


def test_total_energies_beside_atoms_of_interaction(small):
    def shift(frames):
        for frame in frames[:-2]:
            frame.energy -= 1000.0 * len(frame.atoms)

    (finding,) = [one for one in spoilt(small, shift).get("energy-reference").findings if one.status == "fail"]
    assert "binding" in finding.message and finding.figure == pytest.approx(-1003.6, abs=1.0)


def test_copies_and_structures_up_to_symmetry(small):
    shifted = copy.deepcopy(small[4])
    shifted.energy += 0.5
    file = as_file([*small, small[4], turned_frame(small[120]), shifted])
    report = check_frames(file, only=["duplicates", "contradictions"])
    count = len(small)
    copies, same = report.get("duplicates").findings
    assert copies.status == "warn" and copies.frames == (count, count + 2) and same.frames == (count + 1,)
    assert "frame 120 up to symmetry" in same.places[0].text and same.status == "note"
    (contradiction,) = report.get("contradictions").findings
    assert contradiction.frames == (count + 2,) and contradiction.figure == pytest.approx(125.0)
    fixed = fix_frames([file], report)
    assert len(fixed.frames) == count + 2 and fixed.dropped == 1  # not the one with another energy: which is right?


def test_a_leaked_test_frame(small):
    bulk = next(frame for frame in small if frame.config_type == "volume")
    supercell = Frame(make_supercell(turned(bulk.atoms, 3)[0], [[1, 1, 0], [0, 1, 0], [0, 0, 2]]), 2 * bulk.energy)
    other = [small[3], turned_frame(small[118], 5), supercell]
    moved = [copy.deepcopy(small[130])]
    moved[0].atoms.positions[0] += 0.05
    file, test = as_file(small), as_file([*moved, *other], "test.xyz")
    report = check_frames(file, against=[test])
    (finding,) = report.get("leaks").findings
    assert finding.status == "fail" and finding.frames == (1, 2, 3) and finding.places[0].file == "test.xyz"
    assert "frame 3 (same energy)" in finding.places[0].text and "frame 118 up to symmetry" in finding.places[1].text
    assert "(1 as they are, 2 up to symmetry)" in finding.message
    fixed = fix_frames([file], report, also=["leaks"])
    assert len(fixed.frames) == len(small) - 3
    alone = check_frames(file, against=[as_file([Frame(Atoms("Ag2", positions=[[0, 0, 0], [0, 0, 2.5]]))], "test.xyz")])
    assert "Ag" in alone.get("leaks").findings[0].message and alone.get("leaks").status == "fail"


@pytest.mark.parametrize("place", [0, 60, 118, 200, 300, 310, 322])
def test_isometries(place, cu_au):
    atoms = cu_au[place].atoms
    other, rotation, _ = turned(atoms, place)
    found = find_isometry(atoms, other).rotation
    np.testing.assert_allclose(found @ found.T, np.eye(3), atol=1e-9)
    strain = found.T @ (atoms.cell.array.T @ atoms.cell.array) @ found  # another symmetry of the crystal will do too
    assert np.trace(strain) == pytest.approx(np.trace(rotation.T @ atoms.cell.array.T @ atoms.cell.array @ rotation))
    other.positions[1] += [0.0, 0.02, 0.0]
    assert find_isometry(atoms, other) is None
    other = turned(atoms, place)[0]
    other.numbers[0] += 1
    assert find_isometry(atoms, other) is None
    places = [[0, 0, 0], [0, 0, 1.1], [1.3, 0, -0.4], [-0.8, 1.5, -0.5], [-0.9, -1.6, -0.5]]
    molecule = Atoms("CHFClBr", positions=places)
    assert find_isometry(molecule, turned(molecule, place)[0]) is not None  # the mirror image has the same energy


def test_overlapping_and_coincident_atoms_are_named(small):
    def spoil(frames):
        frames[5].atoms.positions[1] = frames[5].atoms.positions[0] + [0.9, 0, 0]
        frames[8].atoms.positions[2] = frames[8].atoms.positions[0]

    fail, warn = spoilt(small, spoil).get("overlaps").findings
    assert fail.frames == (8,) and fail.places[0].atom == 0 and "atom 2" in fail.places[0].text
    assert warn.status == "warn" and warn.frames == (5,) and "0.900 A from atom 1 (Cu-Cu" in warn.places[0].text


def test_broken_periodicity_vacuum_and_lonely_atoms(small):
    def spoil(frames):
        frames[120].atoms.pbc = False
        frames[120].stress = None
        lonely = frames[60]
        lonely.atoms = Atoms("Cu2", positions=[[0, 0, 0], [9.0, 0, 0]])
        lonely.forces, lonely.stress = np.zeros((2, 3)), None

    report = spoilt(small, spoil)
    assert report.get("periodicity").status == "warn"
    assert any(
        120 in finding.frames and "fill the cell" in finding.message for finding in report.get("periodicity").findings
    )
    (finding,) = report.get("cutoff").findings
    assert finding.frames == (60,) and finding.places[0].atom == 0
    assert "along c" in report.get("vacuum").findings[0].message


def test_coverage_and_placeholders(small):
    def spoil(frames):
        frames[3].energy, frames[4].forces = float("nan"), None
        for frame in frames[:2]:
            frame.stress = np.zeros((3, 3))

    report = spoilt(small, spoil)
    energy, forces = report.get("coverage").findings
    assert energy.frames == (3,) and forces.frames == (4,) and "volume 1" in energy.message
    assert report.get("placeholders").findings[0].frames == (0, 1)
    nothing = spoilt(small, lambda frames: [setattr(frame, "forces", None) for frame in frames])
    assert nothing.get("coverage").status == "fail" and nothing.get("net-force").status == "skip"


def test_a_check_that_raises_does_not_hide_the_others(small, monkeypatch):
    def fail(_):
        raise ZeroDivisionError("planted")

    monkeypatch.setitem(CHECKS, "vacuum", type(CHECKS["vacuum"])("vacuum", "t", "G", fail))
    report = spoilt(small[:60])
    assert report.get("vacuum").status == "warn" and "ZeroDivisionError: planted" in report.get("vacuum").note
    assert report.get("cutoff").status == "pass"


def test_report_as_json_and_lines(small, tmp_path):
    report = spoilt(small, lambda frames: frames[7].forces.__iadd__(0.01))
    document = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert document["worst"] == "warn" and document["counts"]["warn"] == 1
    (found,) = [check for check in document["checks"] if check["status"] == "warn"]
    assert found["findings"][0]["places"][0] == {
        "file": "a.xyz",
        "frame": 7,
        "atom": None,
        "key": "REF_forces",
        "text": "sum 0.0693 eV/A over 4 atoms",
    }
    text = "\n".join(report.lines())
    for part in ("warn  net-force", "a.xyz frame 7 (REF_forces): sum 0.0693", "-> force errors", "limit 0.5 meV/A"):
        assert part in text
    with pytest.raises(UsageError, match="no check nonsense"):
        check_frames(as_file(small[:3]), only=["nonsense"])
    write_frames(tmp_path / "a.xyz", small[:8])
    only = check_frames(read_frames(tmp_path / "a.xyz"), only=["net-force"])
    assert [result.code for result in only.results] == ["net-force"]


def test_frames_read_from_files(small, tmp_path):
    """What reading says is part of the report: bad frames, keys, sign."""
    frames = [copy.deepcopy(frame) for frame in [*small[:60], *small[-2:]]]
    frames[2].atoms.positions[:] = np.nan
    write_frames(tmp_path / "a.xyz", frames)
    report = check_frames(read_frames(tmp_path / "a.xyz", on_bad="skip"))
    (finding,) = report.get("reading").findings
    assert finding.status == "fail" and finding.frames == (2,) and "finite" in finding.places[0].text
    assert report.files[0].keys["stress"] == "REF_stress" and report.flagged() == ["reading"]
    fixed = fix_frames([read_frames(tmp_path / "a.xyz", on_bad="skip")], report)
    assert fixed.dropped == 1 and len(fixed.frames) == len(frames) - 1 and ("a.xyz", 2) in fixed.by_frame


def test_a_file_without_any_label(tmp_path):
    (tmp_path / "plain.xyz").write_text("2\n\nH 0 0 0\nH 0 0 0.74\n")
    report = check_frames(read_frames(tmp_path / "plain.xyz"))
    assert report.flagged() == ["coverage"] and "none" in report.get("coverage").findings[0].message
    assert "frames: 1" in "\n".join(report.lines())


def test_labels_under_other_names_are_unified(small, tmp_path):
    write_frames(tmp_path / "a.xyz", small[:12], prefix="dft_")
    file = read_frames(tmp_path / "a.xyz")
    assert file.report.keys["energy"] == "dft_energy"
    fixed = fix_frames([file], check_frames(file))
    assert "energy from dft_energy to REF_energy" in fixed.done[0]
    write_frames(tmp_path / "b.xyz", fixed.frames)
    again = read_frames(tmp_path / "b.xyz")
    assert again.report.keys == KEYS
    np.testing.assert_allclose(again.frames[4].stress, small[4].stress, atol=1e-15)
