"""The verbs that write files: how each is started, what it must leave, and when two ends are the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.build import bulk
from ase.io import read

from equipot.checkpoint import RunDirectory, load_model, save_model, tensor_file
from equipot.config import load_config
from equipot.data import write_frames
from equipot.errors import EquipotError
from tests.robustness.fuzzing.frames import small_frames
from tests.robustness.fuzzing.model_files import small_potential

_CONFIG = """\
name: run
run_directory: run
data: {train: [frames.xyz], elements: [Cu, Au], split: {validation: 0.3, test: 0.2}}
model: {architecture: nequip, preset: null, cutoff: 3.4, num_layers: 2, num_channels: 3, l_max: 1, feature_l_max: 1,
        radial_hidden: [4]}
training: {epochs: 5, batch_size: 4, checkpoint_minutes: 1.0e-9}
properties: []
"""
#: Files of each kind that must be whole under their final names, whenever somebody looks.
_READERS: dict[str, Callable[[Path], Any]] = {
    ".eqp": load_model,
    ".json": lambda path: json.loads(path.read_text()),
    ".yaml": load_config,
    ".restart": tensor_file.read,
    ".png": lambda path: _require(path.read_bytes()[-8:-4] == b"IEND", "is no whole PNG"),
    ".html": lambda path: _require("</html>" in path.read_text()[-20:], "has no end"),
}


def _require(is_good: bool, what: str) -> None:
    if not is_good:
        raise ValueError(what)


@dataclass
class Job:
    """A verb.

    Attributes:
        name: of it.
        words: the command line.
        again: what is added to go on or begin again after it was stopped.
        output: what it writes, relative to its folder.
        is_resumable: whether it goes on where it was, and a request to stop ends with exit code 75.
    """

    name: str
    words: list[str]
    again: list[str]
    output: str
    is_resumable: bool

    def half_written(self, folder: Path) -> list[str]:
        """Files under their final names that are not whole."""
        found = []
        for path in sorted(folder.rglob("*")):
            is_temporary = path.name.startswith(".") or "tmp" in path.name
            is_output = path.relative_to(folder).parts[0].startswith(self.output.split(".")[0])
            if is_temporary or path.is_dir() or not is_output:
                continue
            reader = _READERS.get(path.suffix)
            try:
                if reader is not None:
                    reader(path)
                elif path.suffix == ".xyz" and not self.is_resumable:
                    read(path, ":")
            except (EquipotError, ValueError, OSError, IndexError) as error:
                found.append(f"{path.relative_to(folder)}: {error}")
        if self.name == "train" and (folder / "run" / "checkpoints").is_dir():
            checkpoints = RunDirectory(folder / "run").checkpoints
            for checkpoint in checkpoints.complete():
                try:
                    checkpoints.load(checkpoint)
                except EquipotError as error:
                    found.append(str(error))
        return found

    def sizes(self, folder: Path, seeds: Path) -> tuple[int, ...]:
        """Bytes of the files a run left in ``folder`` beside the seeds."""
        return tuple(
            path.stat().st_size
            for path in folder.rglob("*")
            if path.is_file() and not (seeds / path.relative_to(folder)).exists()
        )

    def left_over(self, folder: Path) -> list[str]:
        """Temporary files that are still there after a run that ended well."""
        return [
            str(path.relative_to(folder))
            for path in folder.rglob("*")
            if "tmp" in path.name or (path.name.startswith(".") and path.name not in (".lock",))
        ]

    def result(self, folder: Path) -> Any:
        """What must be equal after an interruption; times and dates left out."""
        if self.name == "train":
            rows = [
                {name: value for name, value in row.items() if not _is_time(name)}
                for row in map(json.loads, (folder / "run" / "metrics.jsonl").read_text().splitlines())
            ]
            return rows, _weights(folder / "run/model.eqp")
        if self.name.startswith("md"):
            restart = {name: tensor.numpy() for name, tensor in tensor_file.read(folder / "md.restart")[0].items()}
            frames = [
                (atoms.positions, atoms.get_momenta(), atoms.get_potential_energy(), atoms.get_forces())
                for atoms in read(folder / self.output, ":")
            ]
            return restart, np.loadtxt(folder / "md.log")[:, :9], frames
        if self.name == "check":
            return [
                (check["code"], check["status"], check["measures"])
                for check in json.loads((folder / "checked/check.json").read_text())["checks"]
            ]
        if self.name == "convert":
            return _weights(folder / self.output)
        return (folder / self.output).read_bytes()


def _weights(path: Path) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in load_model(path).state_dict().items()}


def _is_time(name: str) -> bool:
    return "seconds" in name or "time" in name or "per_second" in name


def are_equal(one: Any, two: Any) -> bool:
    """To the bit, through nests and arrays; NaN equals NaN."""
    if isinstance(one, np.ndarray):
        return (
            isinstance(two, np.ndarray)
            and one.dtype == two.dtype
            and np.array_equal(one, two, equal_nan=one.dtype.kind == "f")
        )
    if isinstance(one, dict):
        return (
            isinstance(two, dict)
            and one.keys() == two.keys()
            and all(_is_time(str(key)) or are_equal(value, two[key]) for key, value in one.items())
        )
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(are_equal, one, two))
    return one == two


def make_jobs(folder: Path) -> tuple[list[Job], Path]:
    """The jobs, and a folder with everything they read, to be copied for each run."""
    seeds = folder / "seeds"
    shutil.rmtree(seeds, ignore_errors=True)
    seeds.mkdir(parents=True)
    frames = [frame for frame in small_frames() if frame.config_type == "rattled"][:16]
    write_frames(seeds / "frames.xyz", frames)
    (seeds / "run.yaml").write_text(_CONFIG)
    torch.manual_seed(0)
    save_model(seeds / "model.eqp", small_potential("nequip"))
    cell = bulk("Cu", cubic=True, a=3.7) * 2
    cell.write(seeds / "cell.xyz")
    foreign = Path(__file__).resolve().parents[2] / "data" / "foreign" / "mace_plain.model"
    shutil.copy(foreign, seeds / "mace.model")
    md = [
        "--steps",
        "60",
        "--temperature",
        "50",
        "--timestep",
        "1",
        "--log-every",
        "1",
        "--trajectory-every",
        "1",
        "--restart-every",
        "5",
    ]
    return [
        Job("train", ["train", "run.yaml"], ["--resume"], "run", True),
        Job("md", ["md", "model.eqp", "cell.xyz", *md, "--trajectory", "md.extxyz"], ["--resume"], "md.extxyz", True),
        Job(
            "md, binary", ["md", "model.eqp", "cell.xyz", *md, "--trajectory", "md.traj"], ["--resume"], "md.traj", True
        ),
        Job(
            "check",
            ["check", "model.eqp", "--only", "P1", "G1", "X3", "C7", "--output", "checked"],
            ["--overwrite"],
            "checked",
            False,
        ),
        Job(
            "convert", ["convert", "mace", "mace.model", "-o", "converted.eqp"], ["--overwrite"], "converted.eqp", False
        ),
        Job(
            "predict",
            ["predict", "model.eqp", "frames.xyz", "-o", "predicted.xyz"],
            ["--overwrite"],
            "predicted.xyz",
            False,
        ),
    ], seeds
