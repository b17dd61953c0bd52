"""Cells that stand elsewhere than in Lattice, and states that vary among frames."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase.geometry import cellpar_to_cell
from ase.units import Bohr

from equipot.cli.main import main
from equipot.config.schema import DataConfig
from equipot.data import load_datasets, read_frames
from equipot.data.structures import read_structure
from equipot.errors import DataError
from tests.unit.data.frames_text import HEADER, frame

ROWS = "Cu 0 0 0\nCu 1.5 1.5 1.5\n"
CELL = "4.00000 5.00000 6.00000 80.00000 85.00000 90.00000"


@pytest.mark.parametrize(
    ("comment", "scale"),
    [
        (f"# CELL(abcABC):  {CELL}  Traj: positions{{angstrom}} Step: 0 Bead: 0  cell{{angstrom}}", 1.0),
        (f"# CELL(abcABC):  {CELL}  Step: 67  Bead: 0 positions{{angstrom}}  cell{{atomic_unit}}", Bohr),
        (f"# CELL(abcABC):  {CELL}  Step: 67  Bead: 0 positions{{angstrom}}", Bohr),
    ],
)
def test_the_cell_of_i_pi_is_read(comment, scale, tmp_path):
    path = tmp_path / "a.xyz"
    path.write_text(f"2\n{comment}\n{ROWS}" * 2)
    expected = cellpar_to_cell([4 * scale, 5 * scale, 6 * scale, 80, 85, 90])
    for found in (read_frames(path).frames[1].atoms, read_structure(path)):
        np.testing.assert_allclose(found.cell.array, expected, atol=1e-9)
        assert found.pbc.all() and found.positions[1].tolist() == [1.5] * 3


@pytest.mark.parametrize(
    ("comment", "part"),
    [
        (f"# CELL(abcABC): {CELL} Step: 0 Bead: 0", "names no unit"),
        (f"# CELL(abcABC): {CELL} positions{{atomic_unit}} cell{{angstrom}}", "atomic_unit"),
        (f"# CELL(abcABC): {CELL} forces{{ev}}", "the rows are forces"),
        (f"# CELL(abcABC): {CELL} forces{{atomic_unit}} cell{{angstrom}}", "the rows are forces"),
        ("# CELL(GENH): 4 0 0 0 4 0 0 0 4 positions{angstrom} cell{angstrom}", "'GENH'"),
        ("# CELL(abcABC): 4 5 6 positions{angstrom} cell{angstrom}", "cannot be read"),
        ("4.0 4.0 4.0", "look like a cell"),
        ("4.0 4.0 4.0 90 90 90", "look like a cell"),
        ("4 0 0 0 4 0 0 0 4", "look like a cell"),
        ("cell 4.0 4.0 4.0", "'cell 4.0 4.0 4.0'"),
        ("unit cell: a b c 4.0, 4.0, 4.0", "seems to carry a cell"),
        ('jmolscript: load "" {1 1 1} unitcell [ 4.0 4.0 4.0 90 90 90 ]', "seems to carry a cell"),
        ('cell="4 0 0 0 4 0 0 0 4" energy=-1', "the key 'cell'"),
        ('Unit_Cell="4 4 4" Properties=species:S:1:pos:R:3', "the key 'Unit_Cell'"),
        ('box="4 4 4 90 90 90" energy=-1', "the key 'box'"),
    ],
)
def test_other_cells_are_refused_and_not_ignored(comment, part, tmp_path):
    path = tmp_path / "a.xyz"
    path.write_text(f"2\n{comment}\n{ROWS}")
    for read in (read_frames, read_structure):
        with pytest.raises(DataError) as caught:
            read(path)
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "comment",
    [
        "",
        "water dimer, b3lyp",
        "-76.4",
        "i =        1, time =        0.500, E =       -17.1646",
        "energy: -5.07 gnorm: 0.0 xtb: 6.4.0",
        "cell line 3 of plate 12",
        "name=box box=small energy=-1",
        "step 1 2 3 4",
    ],
)
def test_comments_without_a_cell_pass(comment, tmp_path):
    path = tmp_path / "a.xyz"
    path.write_text(f"2\n{comment}\n{ROWS}")
    assert not read_frames(path).frames[0].atoms.pbc.any()


def _states(tmp_path, key, values):
    path = tmp_path / "a.xyz"
    text = ""
    for number, value in enumerate(values):
        header = HEADER if value is None else f"{HEADER} {key}={value}"
        text += frame(
            -1.0 - 0.1 * number, header=header, lines=["Cu 0 0 0 0.1 0 0", f"Cu 1 1 {1.2 + 0.1 * number} -0.1 0 0"]
        )
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("key", "values", "said"),
    [
        ("head", ["pbe", "r2scan"] * 6, "pbe in 6 frames"),
        ("total_charge", [0, 1, 0] * 4, "0 in 8 frames, 1 in 4 frames"),
        ("charge", [None, 1, None] * 4, "0 in 8 frames, 1 in 4 frames"),
        ("spin", [1, 3] * 6, "1 in 6 frames"),
        ("total_charge", [1] * 12, None),
        ("spin", [None, 1] * 6, None),
        ("head", ["pbe"] * 12, None),
    ],
)
def test_train_says_of_varying_states_what_data_check_says(key, values, said, tmp_path, capsys):
    path = _states(tmp_path, key, values)
    warnings = [text for text in load_datasets(DataConfig(train=(str(path),)), 4.0).warnings if "varies" in text]
    main(["data", "check", str(path), "--only", "reading", "--json"])
    (check,) = [check for check in json.loads(capsys.readouterr().out)["checks"] if check["code"] == "reading"]
    findings = [finding["message"] for finding in check["findings"] if "varies" in finding["message"]]
    assert findings == warnings
    assert (len(warnings) == 1 and f"'{key}' varies" in warnings[0] and said in warnings[0]) if said else not warnings
