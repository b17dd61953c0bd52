"""Claims on outputs: two writers of one file meet a sentence, whatever the verb, and nothing is left of the lock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.io import read

from equipot.cli.main import main
from equipot.errors import UsageError
from equipot.simulation.md import run_md
from equipot.simulation.md_config import MDConfig
from equipot.system.claims import claim

HOLDER = """
import sys, time
from equipot.system.claims import claim
with claim(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_file_is_held_by_one_process_until_it_ends_however_it_ends(tmp_path):
    path = tmp_path / "out.xyz"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(UsageError, match=rf"out\.xyz is being written by process {holder.pid} on .*; wait"),
            claim(path),
        ):
            pass
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait(10)
        with claim(path):  # what the killed one left behind is no lock
            pass
    finally:
        holder.kill()
        holder.stdout.close()
    assert list(tmp_path.iterdir()) == []


def test_names_of_one_file_are_one_and_devices_are_not_held(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with claim(tmp_path / "file"), pytest.raises(UsageError), claim(tmp_path / "link"):
        pass
    with claim("/dev/null", None, ""), claim("/dev/null"):
        pass
    with claim(tmp_path / "nowhere" / "file"):  # its writer says that there is no folder
        assert not (tmp_path / "nowhere").exists()


def test_folders_made_for_a_claim_go_unless_they_were_used(tmp_path):
    with claim(tmp_path / "a" / "b" / "file", make_folders=True):
        assert (tmp_path / "a" / "b").is_dir()
    assert list(tmp_path.iterdir()) == []
    with claim(tmp_path / "a" / "b" / "file", make_folders=True):
        (tmp_path / "a" / "b" / "file").write_text("")
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["file"]


#: Words of every verb that writes what it is told to, and the file that is claimed for it.
VERBS = [
    ("predict model.eqp s.xyz --output {0}/out.xyz", "out.xyz"),
    ("eval model.eqp s.xyz --output {0}/out.xyz", "out.xyz"),
    ("eval model.eqp s.xyz --json {0}/out.json", "out.json"),
    ("check model.eqp --output {0}", "check.html"),
    ("check model.eqp --json {0}/out.json", "out.json"),
    ("convert mace model.pt --output {0}/out.eqp", "out.eqp"),
    ("data check s.xyz --fix {0}/out.xyz", "out.xyz"),
    ("data check s.xyz --html {0}/out.html", "out.html"),
    ("data make cu_au_emt {0}/out.xyz", "out.xyz"),
    ("lammps input model.eqp s.xyz --output {0}", "in.lammps"),
    ("bench model.eqp --output {0}", "bench.json"),
    ("report model.eqp --output {0}/out.html", "out.html"),
    ("report {0}", "report.html"),
    ("md model.eqp s.xyz --trajectory {0}/md.extxyz", "md.extxyz"),
    ("md model.eqp s.xyz --trajectory {0}/other.extxyz --log {0}/md.log", "md.log"),
    ("md model.eqp s.xyz --trajectory {0}/other.traj --restart {0}/md.restart --resume", "md.restart"),
]


@pytest.mark.parametrize(("words", "name"), VERBS, ids=[words.split(" {0}")[0] for words, _ in VERBS])
def test_every_verb_leaves_a_file_alone_that_another_is_writing(words, name, tmp_path, capsys, monkeypatch):
    import equipot.workflow.evaluation as evaluation

    monkeypatch.setattr(evaluation, "choose_model", lambda *_: None)
    with claim(tmp_path / name):
        assert main(words.format(tmp_path).split()) == 2
    assert f"{name} is being written by process {os.getpid()}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


WAITS = """
import pathlib, time
from ase.build import bulk
from ase.calculators.lj import LennardJones
from equipot.simulation.md import run_md
from equipot.simulation.md_config import MDConfig

class Waits(LennardJones):
    def calculate(self, *arguments, **more):
        while pathlib.Path("md.log").exists() and not pathlib.Path("go").exists():
            time.sleep(0.05)
        super().calculate(*arguments, **more)

config = MDConfig(ensemble="nve", steps=20, trajectory_every=1)
run_md(Waits(sigma=2.3, epsilon=0.2, rc=3.0), bulk("Ar", a=3.6), config, report=lambda line: print(line, flush=True))
"""


def test_two_programs_at_once_end_with_one_whole_trajectory(tmp_path):
    """Both ran, both said all was well, and the trajectory could not be read."""
    first = subprocess.Popen([sys.executable, "-c", WAITS], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout.readline().startswith("#")
        config = MDConfig(ensemble="nve", steps=20)
        with pytest.raises(UsageError, match=f"is being written by process {first.pid}"):
            run_md(LennardJones(), bulk("Ar", a=3.6), config, trajectory=tmp_path / "md.extxyz", overwrite=True)
        (tmp_path / "go").touch()
        first.communicate(timeout=60)
    finally:
        first.kill()
    assert first.returncode == 0
    assert [frame.info["step"] for frame in read(tmp_path / "md.extxyz", ":")] == list(range(21))
