"""Output that knows no Unicode: every verb says what it has to say, without a traceback."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from ase import Atoms
from ase.io import write

from equipot import checkpoint
from equipot.cli.main import VERBS, main
from tests.systems import make_potential


@contextlib.contextmanager
def ascii_streams() -> Iterator[Callable[[], str]]:
    """Standard output and error in ASCII, strict; gives what was written to both."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True) for _ in range(2)]
    with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
        yield lambda: "".join(stream.buffer.getvalue().decode("ascii") for stream in streams)


@pytest.mark.parametrize("verb", VERBS)
def test_help(verb):
    with ascii_streams() as written:
        assert main([verb, "--help"]) == 0
        assert "usage" in written() and "Traceback" not in written()


def test_tables_facts_and_errors(tmp_path):
    model, file, labelled = tmp_path / "model.eqp", tmp_path / "s.xyz", tmp_path / "labelled.xyz"
    checkpoint.save_model(model, make_potential("nequip spline"), metadata={"citation": "Å. Ångström, 10⁻³ µm → ☃"})
    write(file, Atoms("CuAu", [[0, 0, 0], [0, 0, 2.6]], cell=[8, 8, 8], pbc=True))
    with ascii_streams() as written:
        for words, code in (
            (f"info {model}", 0),
            (f"predict {model} {file} --output {labelled}", 0),
            (f"eval {model} {labelled} --keys energy=EQUIPOT_energy forces=EQUIPOT_forces", 0),
            (f"md {model} {file} --steps 2 --trajectory {tmp_path}/md.traj", 0),
            (f"lammps input {model} {file} -o {tmp_path}/lammps", 0),
            (f"check {model} --short --only G1 P1", None),
            (f"data check {labelled}", None),
            (f"info {tmp_path}/Å.eqp", 2),
        ):
            found = main(words.split())
            assert (found == code or code is None) and found in (0, 1, 2), words
        text = written()
        assert "Traceback" not in text and "bug in equipot" not in text
        assert "A. Angstrom, 10-3 um -> ?" in text and "meV/A" in text and "cutoff:               4 A" in text


@pytest.mark.slow
@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_in_a_process_of_its_own(environment, tmp_path):
    checkpoint.save_model(tmp_path / "model.eqp", make_potential("nequip spline"), metadata={"citation": "Å"})
    done = subprocess.run(
        [sys.executable, "-m", "equipot", "info", "model.eqp"],
        cwd=tmp_path,
        env=os.environ | environment,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0 and b"citation" in done.stdout and b"Traceback" not in done.stderr
