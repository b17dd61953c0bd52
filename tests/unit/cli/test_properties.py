"""``equipot properties`` from end to end with ASE's EMT: files, tables, resume, exit codes, processes, Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest

from equipot.cli.main import main
from equipot.cli.properties import NAMES
from equipot.properties import PROPERTIES

QUICK = ["--only", "equation_of_state", "elastic", "surfaces"]


def test_names_in_the_help_are_those_of_the_registry():
    assert tuple(PROPERTIES) == NAMES


def test_measure_compare_and_go_on(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reference.yaml").write_text(
        "references:\n  - {name: DFT, values: {C11: 170}}\n  - {name: old, structures: [bcc:Fe], values: {C11: 1}}\n"
    )
    assert main(["properties", "emt", "fcc:Cu", *QUICK, "--output", "out", "--reference", "reference.yaml"]) == 0
    captured = capsys.readouterr()
    assert "Fm-3m (225)" in captured.out and "surface_energy_111" in captured.out
    assert "fcc:Cu against DFT" in captured.out and "+1.5" in captured.out
    assert "'bcc:Fe', which is not among" in captured.err
    document = json.loads((tmp_path / "out" / "properties.json").read_text())
    assert document["model"] == "EMT" and document["structures"][0]["comparison"][0]["name"] == "C11"
    assert (tmp_path / "out" / "fcc_Cu" / "plots" / "elastic.png").stat().st_size > 5000
    assert "done in" in (tmp_path / "out" / "properties.log").read_text()
    assert "<html" in (tmp_path / "out" / "properties.html").read_text()
    assert main(["properties", "emt", "fcc:Cu", *QUICK, "--output", "out"]) == 0
    assert capsys.readouterr().out.count("as stored") == 4
    assert main(["properties", "emt", "fcc:Cu", *QUICK, "--output", "out", "--set", "elastic.strain=0.01"]) == 2
    assert "another settings" in capsys.readouterr().err
    assert main(["properties", "emt", "bcc:W", "--output", "other"]) == 1
    assert "W, which this potential does not know" in capsys.readouterr().err


@pytest.mark.slow
def test_processes_give_what_one_process_gives(tmp_path):
    for jobs in ("1", "2"):
        assert (
            main(
                [
                    "properties",
                    "emt",
                    "fcc:Cu",
                    "fcc:Au",
                    *QUICK,
                    "--output",
                    str(tmp_path / jobs),
                    "--jobs",
                    jobs,
                    "--threads",
                    "1",
                ]
            )
            == 0
        )
    one, two = (json.loads((tmp_path / jobs / "properties.json").read_text())["structures"] for jobs in ("1", "2"))
    for first, second in zip(one, two):
        assert [result["values"] for result in first["results"].values()] == [
            result["values"] for result in second["results"].values()
        ]


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_signal_stops_and_the_same_command_goes_on(tmp_path, jobs):
    command = [
        sys.executable,
        "-m",
        "equipot",
        "properties",
        "emt",
        "fcc:Cu",
        "fcc:Au",
        "--skip",
        "expansion",
        "distribution",
        "--output",
        str(tmp_path / "out"),
        "--jobs",
        jobs,
        "--threads",
        "1",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("out/*/elastic.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=180)
    assert process.returncode == 75 and "the same command goes on" in errors, errors
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "elastic: as stored" in done.stdout, done.stderr
