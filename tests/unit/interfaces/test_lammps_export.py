"""Models exported for LAMMPS: read without Python, bit for bit what the model file gives, and every damage is named."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from equipot import checkpoint
from equipot.cli.main import main
from equipot.engine.compile import lower_potential
from equipot.interfaces.lammps import plugin
from equipot.interfaces.lammps.doctor import program
from equipot.interfaces.lammps.exported import FORMAT_VERSION, export_model, packed
from equipot.interfaces.lammps.inputs import data_file
from tests.systems import ELEMENTS, make_potential
from tests.unit.interfaces.test_lammps_pair import HEAD, crystal, elements_of, potential, pytestmark  # noqa: F401

FACTS = {"elements": "Cu Au", "cutoff": "4", "units": "eV Angstrom", "dtype": "float64", "architecture": "nequip"}


class Machine:
    """A machine with LAMMPS, its MPI, the plugin's folder, and no Python."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plugin = plugin.gather(folder / "plugin")
        (folder / "cell.data").write_text(data_file(crystal()))
        checkpoint.save_model(
            folder / "model.eqp", potential(), metadata={"licence": "CC0\n1.0", "training_data": {"a": 1}}
        )

    def run(self, pair: str, ranks: int = 1, load: str = "", **environment: str) -> tuple[int, str]:
        """The exit code and what LAMMPS said; energies and forces go to ``out``."""
        (self.folder / "in.test").write_text(
            HEAD.format(boundary="p p p").replace("clear\n", load)
            + f"read_data cell.data\npair_style equipot\npair_coeff * * {pair}\nneighbor 1.0 bin\n"
            + "thermo_modify norm no\nrun 0 post no\nwrite_dump all custom out id fx fy fz "
            + 'modify sort id format float %.17g\nprint "$(pe:%.17g)" append out\n'
        )
        (self.folder / "out").unlink(missing_ok=True)
        command = [str(plugin.find_wheel().folder / "lmp"), "-in", "in.test", "-log", "none"]
        if ranks > 1:
            command = [str(program("mpirun")), "-np", str(ranks), *command]
        nowhere = str(self.folder / "nowhere")
        libraries = str(plugin._mpi_headers().parent / "lib")
        done = subprocess.run(
            command,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={
                "PATH": nowhere,
                "HOME": nowhere,
                "LD_LIBRARY_PATH": libraries,
                "EQUIPOT_PYTHON": f"{nowhere}/python",
                **({} if load else {"LAMMPS_PLUGIN_PATH": str(self.plugin.parent)}),
                **environment,
            },
        )
        return done.returncode, done.stdout + done.stderr

    def results(self) -> str:
        return (self.folder / "out").read_text()


@pytest.fixture(scope="module")
def machine(tmp_path_factory) -> Machine:
    return Machine(tmp_path_factory.mktemp("machine"))


def test_without_python_it_gives_the_same_bits(machine: Machine) -> None:
    names = elements_of(crystal())
    output = machine.folder / "model.eqd"
    assert main(["lammps", "export", str(machine.folder / "model.eqp"), *names.split(), "-o", str(output)]) == 0
    code, said = machine.run(f"model.eqp {names}")
    assert code != 0 and "nowhere/python" in said  # there is no Python to read a model file
    package = str(Path(checkpoint.__file__).parents[2])
    code, said = machine.run(
        f"model.eqp {names}", 2, EQUIPOT_PYTHON=sys.executable, PATH=os.environ["PATH"], PYTHONPATH=package
    )
    assert code == 0, said
    expected = machine.results()
    for load in ("", f"plugin load {machine.plugin}\n"):
        code, said = machine.run(f"model.eqd {names}", 2, load)
        assert code == 0 and "model.eqd: nequip, float64, cutoff 4 Angstrom" in said, said
        assert machine.results() == expected


def test_elements_in_any_order_and_fewer(machine: Machine) -> None:
    names = elements_of(crystal())
    found = {}
    for key, elements in {"a": ("Cu", "Au"), "b": ("Au", "O", "Cu")}.items():
        export_model(machine.folder / "model.eqp", elements, machine.folder / f"{key}.eqd")
        code, said = machine.run(f"{key}.eqd {names}")
        assert code == 0, said
        found[key] = [[float(word) for word in line.split()] for line in machine.results().splitlines()[9:]]
    for one, other in zip(found["a"], found["b"], strict=True):
        assert one == pytest.approx(other, abs=1e-9)


DAMAGE = {
    "truncated": (lambda content: content[:-100], "the file is truncated: it should hold"),
    "header only": (lambda content: content[:30], "the file is truncated within its header"),
    "longer": (lambda content: content + b"x", "the file is altered: it should hold"),
    "altered": (lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:], "altered or is damaged"),
    "elements altered": (
        lambda content: content.replace(b"elements Cu Au", b"elements Au Cu"),
        "altered or is damaged",
    ),
    "version": (
        lambda content: content.replace(b"equipot document 1", b"equipot document 2", 1),
        "has format version 2, this equipot reads version 1",
    ),
    "no size": (lambda content: content.replace(b"\nbytes ", b"\nsize ", 1), "its header has no bytes"),
    "empty": (lambda content: b"", "is not a file that `equipot lammps export` wrote"),
    "other": (lambda content: b"\0" * 1000, "is not a file that `equipot lammps export` wrote"),
    "document": (lambda _: packed(b"equipot1engine", FACTS), "it ends within a record"),
    "units": (lambda _: packed(b"", {**FACTS, "units": "kcal"}), "in units of kcal, expected eV Angstrom"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_files_stop_all_ranks_with_a_sentence(machine: Machine, name: str) -> None:
    change, sentence = DAMAGE[name]
    content = packed(lower_potential(potential(), ("Cu", "Au"), runs_everywhere=True), FACTS)
    (machine.folder / "damaged.eqd").write_bytes(change(content))
    code, said = machine.run("damaged.eqd Cu Au", 2)
    errors = [line for line in said.splitlines() if "ERROR" in line]
    assert code != 0 and len(errors) == 1 and "damaged.eqd" in errors[0] and sentence in errors[0], said


@pytest.mark.parametrize(
    ("pair", "sentence"),
    [
        ("one.eqd Cu Au", "one.eqd: it was exported for the elements Cu and not for Au"),
        ("absent.eqd Cu Au", "absent.eqd cannot be read: No such file or directory"),
    ],
)
def test_what_does_not_fit_stops_all_ranks_with_a_sentence(machine: Machine, pair: str, sentence: str) -> None:
    export_model(machine.folder / "model.eqp", ["Cu"], machine.folder / "one.eqd")
    code, said = machine.run(pair, 2)
    assert code != 0 and sentence in said, said


def test_another_precision_is_said(machine: Machine) -> None:
    export_model(machine.folder / "model.eqp", ["Cu", "Au"], machine.folder / "single.eqd", dtype="float32")
    (machine.folder / "cell.data").write_text(data_file(crystal()))
    code, said = machine.run("single.eqd Cu Au\npair_style equipot dtype float64\npair_coeff * * single.eqd Cu Au")
    assert code != 0 and "exported in float32; for another precision export it again with --dtype float64" in said
    assert "single.eqd: nequip, float32" in said


def test_missing_kernels_are_named(machine: Machine, tmp_path: Path) -> None:
    """Those beside the plugin serve, and those a variable names go before."""
    export_model(machine.folder / "model.eqp", ["Cu", "Au"], machine.folder / "kernels.eqd")
    code, _ = machine.run("kernels.eqd Cu Au", EQUIPOT_KERNELS_FOLDER=str(tmp_path))
    assert code == 0  # nothing is there: the next place is looked at
    (tmp_path / "libequipot_plain.so").write_text("no library")
    code, said = machine.run("kernels.eqd Cu Au", EQUIPOT_KERNELS_FOLDER=str(tmp_path))
    assert code != 0 and "equipot's native kernels cannot be loaded" in said and str(tmp_path) in said


def test_the_file_says_where_it_comes_from(machine: Machine) -> None:
    path = machine.folder / "origin.eqd"
    export_model(machine.folder / "model.eqp", ["Au", "Cu"], path)
    first, *lines = path.read_bytes().split(b"\n\n", 1)[0].decode().splitlines()
    facts = dict(line.split(" ", 1) for line in lines)
    assert first == f"equipot document {FORMAT_VERSION}"
    content = path.read_bytes().split(b"\n", 3)[3]
    assert facts["sha256"] == hashlib.sha256(content).hexdigest() and int(facts["bytes"]) == len(content)
    assert (facts["elements"], facts["cutoff"], facts["units"]) == ("Au Cu", "4", "eV Angstrom")
    assert facts["model_sha256"] == hashlib.sha256((machine.folder / "model.eqp").read_bytes()).hexdigest()
    assert facts["licence"] == "CC0 1.0" and facts["training_data"] == '{"a": 1}'


def test_the_command_refuses_what_it_cannot_do(machine: Machine, capsys) -> None:
    model, output = str(machine.folder / "model.eqp"), str(machine.folder / "command.eqd")
    assert main(["lammps", "export", model, "Cu", "Cu", "-o", output]) != 0
    assert "Cu is given twice" in capsys.readouterr().err
    assert main(["lammps", "export", model, "Cu", "W", "-o", output]) != 0
    assert f"does not know the element W; it knows {', '.join(ELEMENTS)}" in capsys.readouterr().err
    assert not Path(output).exists()
    assert main(["lammps", "export", model, "Cu", "-o", output]) == 0
    before = Path(output).read_bytes()
    assert main(["lammps", "export", model, "Au", "-o", output]) == 2
    assert "exists already" in capsys.readouterr().err and Path(output).read_bytes() == before
    checkpoint.save_model(machine.folder / "mlp.eqp", make_potential("nequip"))
    assert main(["lammps", "export", str(machine.folder / "mlp.eqp"), "Cu", "-o", output, "--overwrite"]) != 0
    assert "radial: spline" in capsys.readouterr().err and Path(output).read_bytes() == before
