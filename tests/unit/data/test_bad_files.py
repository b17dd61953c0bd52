"""A corpus of bad extended XYZ files: each is refused with file, frame, line and reason, none is read short (D1-D6)."""

from __future__ import annotations

import gzip
import lzma
import os

import pytest

from equipot.data import read_frames
from equipot.data.extxyz import count_frames
from equipot.errors import DataError, ElementError, EquipotError, StructureError
from tests.unit.data.frames_text import HEADER, frame, good

NO_FORCES = 'Lattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3 pbc="T T T"'
PLAIN_ROWS = ["Cu 0 0 0", "Cu 1 1 1"]


def _header(text: str) -> str:
    return frame(header=text, lines=PLAIN_ROWS)


def _props(properties: str, rows: list[str]) -> str:
    return frame(header=f'Lattice="4 0 0 0 4 0 0 0 4" Properties={properties} pbc="T T T"', lines=rows)


#: name -> (file content, parts of the message)
LAYOUT = {
    # Every one of these was read once, with a wrong number: found by tests/robustness/fuzz_inputs.py.
    "digit_glued_to_a_quote": (frame(header=HEADER.replace('4"', '4"9', 1)), ["frame 0", "line 2", "closing quote"]),
    "quote_inside_a_number": (frame(extra=' charge=1"5"'), ["frame 0", "line 2", "quote"]),
    "blank_line_between": (frame() + "\n" + frame(), ["frame 1", "line 5", "blank line"]),
    "blank_line_with_blanks_between": (frame() + "  \t \n" + frame(), ["frame 1", "line 5", "blank line"]),
    "blank_lines_then_frame": (good(2) + "\n\n\n" + frame(), ["frame 2", "line 9", "blank line"]),
    "blank_line_first": ("\n" + good(), ["line 1", "frame 0", "blank line"]),
    "blank_line_inside": (frame(lines=["Cu 0 0 0 0 0 0", ""]), ["line 4", "atom 1 of frame 0", "blank line"]),
    "truncated_rows": (good(3)[: good(3).rindex("Cu")], ["frame 2", "line 9", "ends after 1 rows"]),
    "truncated_in_row": (good(2)[:-12], ["frame 1", "line 8", "atom 1"]),
    "truncated_after_comment": (frame() + "2\n" + HEADER + "\n", ["frame 1", "line 5", "ends after 0 rows"]),
    "truncated_after_count": (frame() + "2\n", ["frame 1", "line 5", "cut off"]),
    "count_only": ("2", ["frame 0", "cut off"]),
    "extra_row": (frame(rows=3, count="2") + frame(), ["line 5", "number of atoms of frame 1", "more rows"]),
    "missing_row": (frame(rows=2, count="3") + frame(), ["line 5", "atom 2 of frame 0", "next frame"]),
    "missing_row_at_end": (frame(rows=2, count="3"), ["frame 0", "3 atoms", "2 rows"]),
    "absurd_count": (frame(count="99999999999"), ["frame 0", "99999999999", "2 rows"]),
    "too_many_digits": (frame(count="9" * 40), ["line 1", "number of atoms"]),
    "negative_count": (frame(count="-2"), ["line 1", "number of atoms", "-2"]),
    "zero_count": (frame(rows=0), ["frame 0", "no atoms"]),
    "float_count": (frame(count="2.0"), ["line 1", "2.0"]),
    "count_with_comment": (frame(count="2 atoms"), ["line 1", "2 atoms"]),
    "underscored_count": (frame(count="0_2"), ["line 1", "0_2"]),
    "no_count": (HEADER + "\nCu 0 0 0 0 0 0\n", ["line 1", "number of atoms"]),
    "words": ("this is not a structure file\nat all\n", ["line 1", "this is not"]),
    "only_blank": ("\n\n  \n", ["no frames"]),
    "short_row": (frame(lines=["Cu 0 0 0 0 0 0", "Cu 1 1 1 0 0"]), ["line 4", "atom 1 of frame 0", "6 columns", "7"]),
    "long_row": (frame(lines=["Cu 0 0 0 0 0 0", "Cu 1 1 1 0 0 0 9"]), ["line 4", "8 columns", "7"]),
    "undescribed_columns": (frame(header='Lattice="4 0 0 0 4 0 0 0 4"'), ["line 3", "7 columns", "without Properties"]),
    "vec_lines": (frame(header="comment", lines=PLAIN_ROWS) + "VEC1 1 0 0\n", ["line 5", "VEC1"]),
    "text_position": (frame(lines=["Cu 0 0 0 0 0 0", "Cu 1 x 1 0 0 0"]), ["line 4", "atom 1", "'pos'", "'x'"]),
    "text_force": (frame(lines=["Cu 0 0 0 0 0 0", "Cu 1 1 1 0 ** 0"]), ["line 4", "'REF_forces'", "'**'"]),
    "fortran_exponent": (frame(lines=["Cu 0 0 0 0 0 0", "Cu 1 1 1 0 1.0D+00 0"]), ["line 4", "1.0D+00"]),
    "underscored_number": (frame(lines=["Cu 0 0 0 0 0 0", "Cu 1_0 1 1 0 0 0"]), ["line 4", "'1_0'"]),
    "decimal_comma": (frame(lines=["Cu 0 0 0 0 0 0", "Cu 1,5 1 1 0 0 0"]), ["line 4", "'1,5'"]),
    "shifted_columns": (frame(lines=["0 0 0 0 0 0 Cu", "1 1 1 0 0 0 Cu"]), ["line 3", "'0'", "element"]),
    "unknown_element": (good(1) + frame(lines=["Cu 0 0 0 0 0 0", "Qq 1 1 1 0 0 0"]), ["line 8", "frame 1", "'Qq'"]),
    "dummy_element": (frame(lines=["X 0 0 0 0 0 0", "Cu 1 1 1 0 0 0"]), ["line 3", "'X'"]),
    "site_label": (frame(lines=["Cu1 0 0 0 0 0 0", "Cu 1 1 1 0 0 0"]), ["line 3", "'Cu1'"]),
    "number_zero": (_props("Z:I:1:pos:R:3", ["0 0 0 0", "29 1 1 1"]), ["line 3", "'0'"]),
    "number_too_large": (_props("Z:I:1:pos:R:3", ["29 0 0 0", "200 1 1 1"]), ["line 4", "'200'"]),
    "species_and_number_disagree": (_props("species:S:1:Z:I:1:pos:R:3", ["Cu 29 0 0 0", "Cu 79 1 1 1"]), ["disagree"]),
    "integer_column": (_props("species:S:1:pos:R:3:tags:I:1", ["Cu 0 0 0 1", "Cu 1 1 1 1.5"]), ["'tags'", "whole"]),
    "logical_column": (_props("species:S:1:pos:R:3:fix:L:1", ["Cu 0 0 0 T", "Cu 1 1 1 yes"]), ["'fix'", "T or F"]),
    "properties_not_triples": (_props("species:S:1:pos:R", PLAIN_ROWS), ["line 2", "Properties"]),
    "properties_type": (_props("species:S:1:pos:Q:3", PLAIN_ROWS), ["line 2", "pos:Q:3"]),
    "properties_zero_columns": (_props("species:S:1:pos:R:3:f:R:0", PLAIN_ROWS), ["line 2", "f:R:0"]),
    "properties_huge": (_props("species:S:1:pos:R:3:f:R:99999", PLAIN_ROWS), ["line 2", "at most"]),
    "properties_absurd": (_props("species:S:1:pos:R:3:f:R:999999999999", PLAIN_ROWS), ["line 2", "f:R:9999"]),
    "properties_twice": (_props("species:S:1:pos:R:3:f:R:1:f:R:1", PLAIN_ROWS), ["line 2", "'f' twice"]),
    "properties_no_name": (_props("species:S:1:pos:R:3::R:1", PLAIN_ROWS), ["line 2", "without a name"]),
    "no_positions": (_props("species:S:1:xyz:R:3", PLAIN_ROWS), ["line 2", "pos:R:3"]),
    "two_positions": (_props("species:S:1:pos:R:2", ["Cu 0 0", "Cu 1 1"]), ["line 2", "pos:R:3"]),
    "no_species": (_props("pos:R:3", ["0 0 0", "1 1 1"]), ["line 2", "species:S:1"]),
    "lowercase_lattice": (_header('lattice="4 0 0 0 4 0 0 0 4" pbc="T T T"'), ["frame 0", "line 2", "'Lattice'"]),
    "lowercase_properties": (_header("properties=species:S:1:pos:R:3"), ["'Properties'"]),
    "uppercase_pbc": (_header(NO_FORCES.replace("pbc", "PBC")), ["'pbc'"]),
    "lattice_eight": (_header('Lattice="4 0 0 0 4 0 0 0"'), ["Lattice", "nine numbers"]),
    "lattice_text": (_header('Lattice="4 0 0 0 4 0 0 0 x"'), ["Lattice", "nine numbers"]),
    "lattice_twice": (_header(NO_FORCES + ' Lattice="5 0 0 0 5 0 0 0 5"'), ["'Lattice' is there twice"]),
    "pbc_two": (_header('Lattice="4 0 0 0 4 0 0 0 4" pbc="T T"'), ["pbc"]),
    "pbc_text": (_header('Lattice="4 0 0 0 4 0 0 0 4" pbc="yes yes yes"'), ["pbc"]),
    "pbc_number": (_header('Lattice="4 0 0 0 4 0 0 0 4" pbc="2 0 0"'), ["pbc"]),
    "energy_twice": (good(1) + frame(-1.0, extra=" REF_energy=-2.0"), ["frame 1", "line 6", "'REF_energy'", "twice"]),
    "open_quote": (frame(extra=' note="never closed'), ["line 2", "never closed"]),
    "open_bracket": (frame(extra=" note=[1 2 3"), ["line 2", "never closed"]),
    "no_key": (frame(header=f"=5 {HEADER}"), ["line 2", "no key"]),
    "bad_json": (frame(extra=' other="_JSON [1, 2"'), ["'other'", "JSON"]),
    "ragged_json": (frame(extra=' REF_stress="_JSON [[1, 2], [3]]"'), ["'REF_stress'", "JSON"]),
    "deep_json": (frame(extra=f' other="_JSON {"[" * 5000}{"]" * 5000}"'), ["'other'", "deeper"]),
}

#: Layout is sound, one frame is not: refused by default, left out with on_bad="skip".
CONTENT = {
    "nan_energy": (frame("nan"), ["'REF_energy'", "not finite"]),
    "inf_energy": (frame("inf"), ["'REF_energy'", "not finite"]),
    "overflow_energy": (frame("1e999"), ["'REF_energy'", "not finite"]),
    "absurd_energy": (frame("-1e200"), ["'REF_energy'", "absurdly large", "-1e+200"]),
    "absurd_force": (frame(lines=["Cu 0 0 0 0 0 0", "Cu 1 1 1 0 1e30 0"]), ["'REF_forces'", "row 1", "1e+30"]),
    "text_energy": (frame("abc"), ["'REF_energy'", "'abc'"]),
    "true_energy": (frame("T"), ["'REF_energy'", "'True'"]),
    "flag_energy": (frame(None, extra=" REF_energy"), ["'REF_energy'", "'True'"]),
    "empty_energy": (frame("", extra=" x=1"), ["'REF_energy'"]),
    "two_energies": (frame('"-1 -2"'), ["'REF_energy'", "one number"]),
    "underscored_energy": (frame("-3_5.0"), ["'REF_energy'", "'-3_5.0'"]),
    "nan_force": (frame(lines=["Cu 0 0 0 0 0 0", "Cu 1 1 1 0 nan 0"]), ["'REF_forces'", "not finite", "row 1"]),
    "inf_force": (frame(lines=["Cu 0 0 0 0 0 -inf", "Cu 1 1 1 0 0 0"]), ["'REF_forces'", "row 0"]),
    "one_force_column": (_props("species:S:1:pos:R:3:REF_forces:R:1", ["Cu 0 0 0 0", "Cu 1 1 1 0"]), ["2 x 3 numbers"]),
    "nan_position": (frame(lines=["Cu 0 0 0 0 0 0", "Cu nan 1 1 0 0 0"]), ["atom 1", "not finite"]),
    "inf_position": (frame(lines=["Cu inf 0 0 0 0 0", "Cu 1 1 1 0 0 0"]), ["atom 0", "not finite"]),
    "nan_lattice": (frame(header=HEADER.replace("4 0 0", "nan 0 0", 1)), ["lattice vector 0"]),
    "zero_lattice": (frame(header=HEADER.replace("4", "0")), ["lattice vector"]),
    "flat_lattice": (frame(header=HEADER.replace('0 0 4"', '4 4 0"')), ["linearly dependent"]),
    "periodic_without_lattice": (_header('Properties=species:S:1:pos:R:3 pbc="T T T"'), ["lattice vector 0"]),
    "nan_stress": (frame(extra=' REF_stress="nan 0 0 0 0 0"'), ["'REF_stress'", "not finite"]),
    "text_stress": (frame(extra=' REF_stress="a b c"'), ["'REF_stress'"]),
    "five_stresses": (frame(extra=' REF_stress="1 2 3 4 5"'), ["'REF_stress'", "6, 9 or 3 x 3"]),
    "asymmetric_stress": (frame(extra=' REF_stress="0.1 0.02 0 0.03 0.1 0 0 0 0.1"'), ["not symmetric", "0.01"]),
    "asymmetric_virial": (frame(extra=' REF_virial="0.1 0.02 0 0.03 0.1 0 0 0 0.1"'), ["virial", "not symmetric"]),
    "negative_weight": (frame(extra=" config_weight=-1"), ["'config_weight'", "-1"]),
    "text_weight": (frame(extra=" config_energy_weight=high"), ["'config_energy_weight'", "'high'"]),
    "nan_weight": (frame(extra=" config_forces_weight=nan"), ["'config_forces_weight'"]),
    "two_weights": (frame(extra=" energy_weight=2 config_energy_weight=3"), ["energy_weight", "different"]),
}


def test_the_corpus_is_large():
    assert len(LAYOUT) + len(CONTENT) >= 80


def _write(folder, content: str):
    path = folder / "bad.xyz"
    path.write_text(content, newline="")
    return path


@pytest.mark.parametrize("name", LAYOUT)
def test_broken_layout_is_refused_with_its_place(name, tmp_path):
    content, parts = LAYOUT[name]
    path = _write(tmp_path, content)
    for on_bad in ("error", "skip"):  # a broken layout cannot be skipped: what follows could be anything
        with pytest.raises(DataError) as caught:
            read_frames(path, on_bad=on_bad)
        message = str(caught.value)
        assert "bad.xyz" in message
        for part in parts:
            assert part in message, message
        assert "Traceback" not in message and len(message) < 600


@pytest.mark.parametrize("name", CONTENT)
def test_bad_frame_is_refused_or_left_out_by_count(name, tmp_path):
    content, parts = CONTENT[name]
    path = _write(tmp_path, good(2) + content + good(1))
    with pytest.raises(DataError) as caught:
        read_frames(path)
    message = str(caught.value)
    for part in ["bad.xyz, frame 2 (line 9)", "data.on_bad=skip", *parts]:
        assert part in message, message
    result = read_frames(path, on_bad="skip")
    assert [kept.index for kept in result.frames] == [0, 1, 3]
    assert result.report.num_frames == 4
    assert [bad.index for bad in result.report.skipped] == [2]
    assert any("frame 2 (line 9)" in line for line in result.report.lines())


def test_all_frames_bad_is_an_error_even_when_skipping(tmp_path):
    with pytest.raises(DataError, match=r"every one of the 2 frames.*not finite"):
        read_frames(_write(tmp_path, frame("nan") * 2), on_bad="skip")


def test_the_right_class_of_error(tmp_path):
    with pytest.raises(ElementError):
        read_frames(_write(tmp_path, LAYOUT["unknown_element"][0]))
    with pytest.raises(StructureError):
        read_frames(_write(tmp_path, CONTENT["nan_position"][0]))


#: Odd but sound: read whole.
FINE = {
    "byte_order_mark": "\ufeff" + good(3),
    "crlf": good(3).replace("\n", "\r\n"),
    "cr": good(3).replace("\n", "\r"),
    "no_last_newline": good(3).rstrip("\n"),
    "blank_lines_at_end": good(3) + "\n  \n\n",
    "tabs": good(3).replace(" 0.10", "\t0.10"),
    "padded_count": good(3).replace("2\nLatt", "    2  \nLatt"),
    "uppercase_symbols": good(3).replace("Cu ", "CU "),
    "exponents": good(3).replace("0.20", "2.0E-1"),
}


@pytest.mark.parametrize("name", FINE)
def test_odd_but_sound_files_are_read_whole(name, tmp_path):
    path = _write(tmp_path, FINE[name])
    result = read_frames(path)
    assert len(result) == count_frames(path) == 3
    reference = read_frames(_write(tmp_path, good(3)))
    for one, other in zip(result.frames, reference.frames):
        assert one.energy == other.energy
        assert (one.forces == other.forces).all() and (one.atoms.positions == other.atoms.positions).all()
        assert list(one.atoms.numbers) == [29, 29]


def test_a_last_number_that_may_be_cut_is_reported(tmp_path):
    """0.03 cut to 0.0 has the right number of columns: nothing shows it but the missing line end."""
    result = read_frames(_write(tmp_path, good(2)[:-2]))
    (warning,) = result.report.warnings
    assert "line end" in warning and "frame 1" in warning and "'-0.0'" in warning
    assert not read_frames(_write(tmp_path, good(2))).report.warnings


def test_not_files(tmp_path):
    (tmp_path / "folder.xyz").mkdir()
    (tmp_path / "empty.xyz").write_bytes(b"")
    (tmp_path / "binary.xyz").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "zeros.xyz").write_bytes(b"\0" * 5000)
    (tmp_path / "utf16.xyz").write_bytes(good().encode("utf-16"))
    (tmp_path / "one_line.xyz").write_bytes(b"a" * 5_000_000)
    for name, part in (
        ("folder", "is a folder"),
        ("empty", "is empty"),
        ("binary", "not text"),
        ("zeros", "zero byte"),
        ("utf16", "not text"),
        ("missing", "does not exist"),
        ("one_line", "longer than"),
    ):
        with pytest.raises(DataError, match=part) as caught:
            read_frames(tmp_path / f"{name}.xyz")
        assert f"{name}.xyz" in str(caught.value)
    with pytest.raises(DataError):
        read_frames("nul\0byte.xyz")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_no_permission(tmp_path):
    path = _write(tmp_path, good())
    path.chmod(0)
    with pytest.raises(DataError, match="cannot be opened"):
        read_frames(path)


@pytest.mark.parametrize("name", ["POSCAR", "data.cif", "a.json", "frames.pckl", "run.pkl", "data", "a.db.gz", "x.h5"])
def test_other_kinds_of_file_are_refused_by_name_never_looked_into(name, tmp_path):
    path = tmp_path / name
    path.write_text(good())  # would be readable if anything looked inside
    with pytest.raises(DataError) as caught:
        read_frames(path)
    for part in (name, "extended XYZ", "vasprun.xml", "OUTCAR", ".traj", ".db"):
        assert part in str(caught.value)


@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".xz", lzma.compress)])
def test_compressed_files(suffix, compress, tmp_path):
    content = compress(good(5).encode())
    path = tmp_path / f"frames.xyz{suffix}"
    path.write_bytes(content)
    assert len(read_frames(path)) == 5
    for broken in (
        content[: len(content) // 2],
        content[:-1],
        b"\x1f\x8b" + b"z" * 40,
        good(5).encode(),
        content[:30] + b"\xff\xff\xff" + content[33:],
    ):
        path.write_bytes(broken)
        with pytest.raises(EquipotError, match=r"frames\.xyz"):
            read_frames(path)
