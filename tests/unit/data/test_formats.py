"""The formats other than extended XYZ: ASE database and trajectory, vasprun.xml and OUTCAR (D1, S7)."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import sqlite3

import numpy as np
import pytest
from ase.db import connect
from ase.io.trajectory import Trajectory

from equipot.config.schema import KeysConfig, UnitsConfig
from equipot.data import read_frames
from equipot.errors import DataError
from tests.unit.data.vasp_text import outcar, vasprun


def _check(found, frames, tolerance=1e-7):
    assert [frame.index for frame in found] == list(range(len(frames)))
    for one, other in zip(found, frames):
        assert one.atoms.get_chemical_symbols() == other.atoms.get_chemical_symbols()
        assert one.energy == pytest.approx(other.energy, abs=tolerance)
        np.testing.assert_allclose(one.forces, other.forces, atol=tolerance)
        np.testing.assert_allclose(one.stress, other.stress, atol=tolerance)
        np.testing.assert_allclose(one.atoms.cell.array, other.atoms.cell.array, atol=tolerance)
        assert one.atoms.pbc.all() and one.atoms.calc is None


def _row(text: str, table: str, row: str) -> str:
    """The last table of this kind with another first row."""
    head, tail = text.rsplit(table, 1)
    return head + table + row + tail[tail.index("</v>") + len("</v>") :]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("vasprun.xml", vasprun),
        ("run_3.xml", vasprun),
        ("OUTCAR", outcar),
        ("relax.OUTCAR", outcar),
        ("OUTCAR_2", outcar),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
def test_vasp_files(name, text, suffix, frames, tmp_path):
    content = text(frames).encode()
    path = tmp_path / (name + suffix)
    path.write_bytes({"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[suffix](content))
    result = read_frames(path)
    _check(result.frames, frames)
    assert result.report.format == ("outcar" if "OUTCAR" in name else "vasprun")
    assert read_frames(path, keys=KeysConfig(energy="free_energy")).frames[0].energy == pytest.approx(
        frames[0].energy - 0.1
    )


def test_vasp_files_bring_their_own_units(frames, tmp_path):
    path = tmp_path / "vasprun.xml"
    path.write_text(vasprun(frames))
    result = read_frames(path, units=UnitsConfig(stress="kbar", stress_sign="compression_positive"))
    _check(result.frames, frames)
    assert any("not applied" in warning for warning in result.report.warnings)


def test_an_unreadable_poscar_beside_the_outcar_is_left_alone(frames, tmp_path):
    (tmp_path / "POSCAR").write_text("garbage")
    (tmp_path / "OUTCAR").write_text(outcar(frames))
    _check(read_frames(tmp_path / "OUTCAR").frames, frames)


def _cut(text: str, mark: str, after: bool = False) -> str:
    return text[: text.rindex(mark) + (len(mark) if after else 0)]


@pytest.mark.parametrize(
    ("name", "change", "parts"),
    [
        ("vasprun.xml", lambda t: _cut(t, "</modeling>"), ["cut off after 3"]),
        ("vasprun.xml", lambda t: _cut(t, '<varray name="forces">'), ["cut off after 2"]),
        ("vasprun.xml", lambda t: t.replace("<calculation>", "<calculations>", 1), ["line", "mismatched tag"]),
        ("vasprun.xml", lambda t: t.replace("calculation", "calculus"), ["no ionic steps"]),
        ("vasprun.xml", lambda t: "<html></html>\n", ["no <modeling>"]),
        ("vasprun.xml", lambda t: t.replace("<modeling>", '<!DOCTYPE x [<!ENTITY a "aa">]><modeling>'), ["entities"]),
        ("vasprun.xml", lambda t: t.replace('e_fr_energy"> ', 'e_fr_energy"> **'), ["e_fr_energy", "no number"]),
        ("vasprun.xml", lambda t: "2\nplain\nH 0 0 0\nH 0 0 1\n", ["no <modeling>"]),
        # Every one of the next five was read once with wrong numbers: found by tests/robustness/fuzz_inputs.py.
        (
            "vasprun.xml",
            lambda t: t.replace("</calculation>", "</c9lculation>", 2).replace("</c9", "</ca", 1),
            ["line", "mismatched tag", "after 1 complete"],
        ),
        ("vasprun.xml", lambda t: t + ">\n", ["line", "junk after document element"]),
        (
            "vasprun.xml",
            lambda t: _row(t, '<varray name="positions">', "<v> 0.25 </v>"),
            ["line", "'positions'", "'0.25'"],
        ),
        (
            "vasprun.xml",
            lambda t: _row(t, '<varray name="positions">', "<v> 0.25\n0.5 0.5 5 </v>"),
            ["found '0.25 0.5 0.5 5'"],
        ),
        ("vasprun.xml", lambda t: _row(t, '<varray name="forces">', ""), ["'forces' must have 8 rows, found 7"]),
        (
            "OUTCAR",
            lambda t: t.replace(" ------------\n", " ------------\n0.000000-000 ", 1),
            ["line", "atom 0", "0.000000-000"],
        ),
        ("OUTCAR", lambda t: _cut(t, "FREE ENERGIE"), ["3 sets of forces", "2 total", "cut off"]),
        ("OUTCAR", lambda t: _cut(t, "FREE ENERGIE", after=True), ["cut off"]),
        ("OUTCAR", lambda t: t[:-4], ["cut off"]),  # within the last digits of the energy
        ("OUTCAR", lambda t: t.replace("FREE ENERGIE", "x").replace("TOTAL-FORCE", "x"), ["no ionic steps"]),
        ("OUTCAR", lambda t: t.replace(" POTCAR:", " x"), ["cannot be read"]),
        ("OUTCAR", lambda t: t.replace("PAW_PBE Cu", "PAW_PBE Qq"), ["cannot be read"]),
    ],
)
def test_damaged_vasp_files(name, change, parts, frames, tmp_path):
    path = tmp_path / name
    path.write_text(change(vasprun(frames) if "xml" in name else outcar(frames)))
    with pytest.raises(DataError) as caught:
        read_frames(path)
    for part in [name, *parts]:
        assert part in str(caught.value)


def test_database_with_keys_and_arrays_of_its_own(frames, tmp_path):
    path = tmp_path / "frames.db"
    with connect(str(path)) as database:
        for frame in frames:
            database.write(
                frame.atoms,
                dft_energy=frame.energy,
                config_type="bulk",
                data={"forces": frame.forces, "stress": frame.stress},
            )
    result = read_frames(path)
    _check(result.frames, frames)
    assert result.report.keys == {"energy": "dft_energy", "forces": "forces", "stress": "stress"}
    assert result.frames[0].config_type == "bulk"


def test_a_database_is_not_written_to(frames, tmp_path):
    foreign = tmp_path / "foreign.db"
    connection = sqlite3.connect(foreign)
    connection.execute("CREATE TABLE letters (text TEXT)")
    connection.commit()
    connection.close()
    before = hashlib.sha256(foreign.read_bytes()).digest()
    with pytest.raises(DataError, match="not an ASE database"):
        read_frames(foreign)  # ASE would create its tables in it
    assert hashlib.sha256(foreign.read_bytes()).digest() == before
    own = tmp_path / "own.db"
    with connect(str(own)) as database:
        database.write(frames[0].atoms, energy_dft=1.0)
    before = own.read_bytes()
    read_frames(own)
    assert own.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["foreign.db", "own.db"]


def test_bad_databases(tmp_path):
    (tmp_path / "text.db").write_text("not a database at all " * 100)
    with pytest.raises(DataError, match="not an ASE database"):
        read_frames(tmp_path / "text.db")
    with connect(str(tmp_path / "empty.db")):
        pass
    with pytest.raises(DataError, match=r"empty\.db"):
        read_frames(tmp_path / "empty.db")


def test_trajectory(frames, tmp_path):
    path = tmp_path / "frames.traj"
    with Trajectory(path, "w") as trajectory:
        for frame in frames:
            trajectory.write(frame.atoms, energy=frame.energy, forces=frame.forces)
    found = read_frames(path).frames
    assert [frame.energy for frame in found] == [frame.energy for frame in frames]
    np.testing.assert_array_equal(found[2].forces, frames[2].forces)
    content = path.read_bytes()
    for broken, part in (
        (b"no" * 100, "not an ASE trajectory"),
        (content[:200], "frames.traj"),
        (content[:32] + (2**40).to_bytes(8, "little") + content[40:], "more than fit"),
        (content[:32] + bytes(8) + content[40:], "holds no frames"),
    ):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=part):
            read_frames(path)


def test_an_element_beyond_the_table_is_named(frames, tmp_path):
    """Found by tests/robustness/fuzz_inputs.py: the check of the data ran into an IndexError."""
    atoms = frames[0].atoms.copy()
    atoms.numbers[1] = 119
    with Trajectory(str(tmp_path / "a.traj"), "w") as writer:
        writer.write(atoms, energy=-1.0)
    with pytest.raises(DataError, match=r"a\.traj, frame 0: atom 1 has no element \(atomic number 119\)"):
        read_frames(tmp_path / "a.traj")
