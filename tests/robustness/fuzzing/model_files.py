"""Model files, checkpoints and restart files of this package: damaged, or changed and signed again (a right hash)."""

from __future__ import annotations

import copy
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk

from equipot.checkpoint import RunDirectory, load_model, save_model, tensor_file
from equipot.config import from_dict
from equipot.data import load_datasets, write_frames
from equipot.graph import from_ase
from equipot.models import Potential, PotentialConfig, build_potential, resolve_options
from equipot.simulation.md import run_md
from equipot.simulation.md_config import MDConfig
from equipot.training import NoProgress, fit
from equipot.workflow.resolved import potential_config, resolve
from tests.robustness.fuzzing.frames import small_frames
from tests.robustness.fuzzing.group import AS_WRITTEN, SAME, Group, Wrong
from tests.robustness.fuzzing.mutations import mutate_bytes, mutate_nest

_OPTIONS = {"num_layers": 2, "num_channels": 3, "radial_hidden": (4,), "l_max": 1, "feature_l_max": 1}
#: Keys of a model's document that are only read by people.
_FOR_PEOPLE = {"metadata", "created", "created_with", "equipot_version", "units"}


def small_potential(architecture: str) -> Potential:
    """A tiny potential of copper and gold with random weights."""
    options = _OPTIONS if architecture == "nequip" else {**_OPTIONS, "correlation": 2, "readout_hidden": (3,)}
    config = PotentialConfig(
        architecture=architecture,
        elements=("Cu", "Au"),
        cutoff=3.4,
        avg_num_neighbors=12.0,
        zbl=True,
        options=resolve_options(architecture, "small", options),
    )
    return build_potential(config, atomic_energies={"Cu": -3.0, "Au": -4.0}, scale=0.5, shift=-1.0)


def crystal() -> Atoms:
    atoms = bulk("Cu", cubic=True, a=3.7)
    atoms.symbols[::3] = "Au"
    atoms.rattle(0.05, seed=0)
    return atoms


def evaluate(potential: Potential) -> np.ndarray:
    """Energy, forces and stress of one crystal in one row; raises Wrong where they are not finite."""
    atoms = crystal()
    if potential.elements != ("Cu", "Au"):
        atoms.symbols = [potential.elements[k % len(potential.elements)] for k in range(len(atoms))]
    output = potential(from_ase(atoms, potential.cutoff))
    values = np.concatenate(
        [part.detach().double().numpy().ravel() for part in (output.energy, output.forces, output.stress)]
    )
    if not np.isfinite(values).all():
        raise Wrong("the model was read and its results are not finite")
    return values


class ModelFile(Group):
    """Bytes of a model file changed anywhere, in the header or among the weights."""

    name, number = "model file", 800

    def prepare(self, folder: Path) -> None:
        self._seeds, self._values = [], []
        for architecture in ("nequip", "mace"):
            path = folder / f"{architecture}.eqp"
            save_model(path, small_potential(architecture), metadata={"licence": "MIT"})
            self._seeds.append(path.read_bytes())
            self._values.append(evaluate(load_model(path)))

    def make(self, rng: np.random.Generator, folder: Path) -> Path:
        content = self._seeds[int(rng.integers(len(self._seeds)))]
        length = 8 + int.from_bytes(content[:8], "little")
        path, part = folder / "model.eqp", int(rng.integers(3))
        if part == 0:
            content = mutate_bytes(content[:length], rng) + content[length:]
        elif part == 1:
            content = content[:length] + mutate_bytes(content[length:], rng)
        else:
            content = mutate_bytes(content, rng)
        path.write_bytes(content)
        return path

    def read(self, path: Path) -> str:
        found = evaluate(load_model(path))
        if any(np.array_equal(found, values) for values in self._values):
            return SAME
        raise Wrong("a damaged model file was read and gives other numbers")


class SignedModelFile(ModelFile):
    """A model file whose document or tensors were changed and which has the right hash for them."""

    name, number = "model file, signed again", 700

    def make(self, rng: np.random.Generator, folder: Path) -> Path:
        path = folder / "model.eqp"
        path.write_bytes(self._seeds[int(rng.integers(len(self._seeds)))])
        tensors, document = tensor_file.read(path)
        if rng.random() < 0.7:
            document = mutate_nest(document, rng)
        else:
            tensors = mutate_tensors(tensors, rng)
        _sign(path, tensors, document)
        return path

    def read(self, path: Path) -> str:
        potential = load_model(path)
        found = evaluate(potential)
        save_model(path.parent.parent / f"{path.parent.name}.eqp", potential, metadata=potential.metadata)
        return SAME if any(np.array_equal(found, values) for values in self._values) else AS_WRITTEN


def _sign(path: Path, tensors: dict[str, torch.Tensor], document: Any) -> None:
    """Write what the writer takes; a document that it refuses (no mapping, lone surrogates) stays the seed's."""
    if isinstance(document, dict):
        tensor_file.write(path, tensors, json.loads(json.dumps(document)))


def mutate_tensors(tensors: dict[str, torch.Tensor], rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """A copy with one tensor of other values, shape, type or name, or without it."""
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    name = list(tensors)[int(rng.integers(len(tensors)))]
    tensor, kind = tensors[name], int(rng.integers(9))
    if kind == 0:
        del tensors[name]
    elif kind == 1:
        tensors[f"{name}.more"] = tensor
    elif kind == 2:
        tensors[name] = tensor.reshape(-1)[: tensor.numel() // 2]
    elif kind == 3:
        tensors[name] = tensor.to([torch.float16, torch.int64, torch.bool, torch.complex64][int(rng.integers(4))])
    elif kind == 4:
        tensors[name] = tensor[None]
    elif tensor.numel() and tensor.dtype != torch.bool:
        place = int(rng.integers(tensor.numel()))
        values = [float("nan"), float("inf"), 1e300, -1e30, 0.0, 1e6, 2**40]
        value = torch.tensor(values[int(rng.integers(len(values)))], dtype=torch.float64)
        flat = tensor.reshape(-1)
        flat[place] = value.to(tensor.dtype)
        tensors[name] = flat.reshape(tensor.shape)
    return tensors


class Checkpoint(Group):
    """A run folder with two checkpoints, something in it damaged: the newest that verifies is taken, to the bit."""

    name, number = "checkpoint folder", 500

    def prepare(self, folder: Path) -> None:
        logging.getLogger("equipot").setLevel(logging.ERROR)  # warnings of checkpoints that are passed over
        self._run = folder / "run"
        shutil.rmtree(self._run, ignore_errors=True)
        frames = [frame for frame in small_frames() if len(frame.atoms) >= 4][:10]
        write_frames(folder / "frames.xyz", frames)
        config = from_dict(
            {
                "run_directory": str(self._run),
                "data": {"train": ["frames.xyz"], "elements": ["Cu", "Au"]},
                "model": {"architecture": "nequip", "preset": None, "cutoff": 3.4, **_plain(_OPTIONS)},
                "training": {"epochs": 2, "batch_size": 4, "checkpoint_minutes": 1e-9},
                "properties": [],
            }
        )
        self._datasets = load_datasets(config.data, config.model.cutoff, config_directory=folder)
        self._config = resolve(config, self._datasets, folder)
        with RunDirectory(self._run).create() as run:
            self._fit(run, resume=False)
        run = RunDirectory(self._run)
        self._states = [run.checkpoints.load(checkpoint) for checkpoint in run.checkpoints.complete()]
        self._weights = load_model(run.model_path).state_dict()

    def _fit(self, run: RunDirectory, *, resume: bool) -> Potential:
        numbers = self._config.model
        potential = build_potential(
            potential_config(self._config),
            scale=numbers.scale,
            shift=numbers.shift,
            atomic_energies=self._config.data.atomic_energies,
        )
        return fit(potential, self._datasets, self._config, run, resume=resume, progress=NoProgress()).potential

    def make(self, rng: np.random.Generator, folder: Path) -> Path:
        path = folder / "run"
        shutil.copytree(self._run, path)
        files = sorted(file for file in path.rglob("*") if file.is_file() and file.name not in ("model.eqp", ".lock"))
        for _ in range(int(rng.integers(1, 3))):
            file = files[int(rng.integers(len(files)))]
            file.write_bytes(mutate_bytes(file.read_bytes(), rng))
        return path

    def read(self, path: Path) -> str:
        run = RunDirectory(path)
        run.read_metrics()
        tensors, document = run.latest()
        for number, (others, other) in enumerate(self._states):
            if (
                document == other
                and tensors.keys() == others.keys()
                and all(torch.equal(tensor, others[name]) for name, tensor in tensors.items())
            ):
                return SAME if number == 0 else AS_WRITTEN
        raise Wrong("a checkpoint was read that was never written")


class SignedCheckpoint(Checkpoint):
    """A checkpoint of another content with right hashes: training goes on from it, or says what does not fit."""

    name, number = "checkpoint, signed again", 400

    def make(self, rng: np.random.Generator, folder: Path) -> Path:
        path = folder / "run"
        shutil.copytree(self._run, path)
        tensors, document = copy.deepcopy(self._states[-1])  # the last but one: there is something left to do
        step, kind = document["step"], rng.random()
        document = mutate_nest(document, rng) if kind < 0.6 else document
        tensors = tensors if kind < 0.5 else mutate_tensors(tensors, rng)
        checkpoints = RunDirectory(path).checkpoints
        checkpoints.remove_all()
        checkpoints.save(tensors, json.loads(json.dumps(document)) if isinstance(document, dict) else {}, step)
        return path

    def read(self, path: Path) -> str:
        copied = path.parent.parent / f"{path.parent.name}-resumed" / path.name
        shutil.rmtree(copied, ignore_errors=True)
        shutil.copytree(path, copied)
        with RunDirectory(copied).resume() as run:
            potential = self._fit(run, resume=True)
        evaluate(potential)
        same = all(torch.equal(tensor, self._weights[name]) for name, tensor in potential.state_dict().items())
        return SAME if same else AS_WRITTEN


class Restart(Group):
    """A restart file of molecular dynamics, damaged or signed again: the run goes on or says why not."""

    name, number = "restart of dynamics", 400

    def prepare(self, folder: Path) -> None:
        self._model, self._run = folder / "model.eqp", folder / "run"
        save_model(self._model, small_potential("nequip"))
        shutil.rmtree(self._run, ignore_errors=True)
        self._run.mkdir()
        self._settings = {
            "ensemble": "npt",
            "temperature": 300.0,
            "log_every": 1,
            "trajectory_every": 2,
            "restart_every": 2,
        }
        self._do(self._run, 4, resume=False)
        self._end = self._do(shutil.copytree(self._run, folder / "whole", dirs_exist_ok=True), 6, resume=True)

    def _do(self, folder: Path, steps: int, *, resume: bool) -> np.ndarray:
        result = run_md(
            self._model,
            crystal(),
            MDConfig(steps=steps, **self._settings),
            trajectory=folder / "md.extxyz",
            resume=resume,
        )
        try:
            return np.loadtxt(result.log, ndmin=2)[:, :9]
        except (ValueError, UnicodeError):  # rows that were there before are the user's, however they look
            return np.zeros((0, 9))

    def make(self, rng: np.random.Generator, folder: Path) -> Path:
        path = folder / "md"
        shutil.copytree(self._run, path)
        restart = path / "md.restart"
        kind = rng.random()
        if kind < 0.4:
            file = sorted(path.iterdir())[int(rng.integers(3))]
            file.write_bytes(mutate_bytes(file.read_bytes(), rng))
        else:
            tensors, document = tensor_file.read(restart)
            if kind < 0.8:
                document = mutate_nest(document, rng)
            else:
                tensors = mutate_tensors(tensors, rng)
            _sign(restart, tensors, document)
        return path

    def read(self, path: Path) -> str:
        copied = path.parent.parent / f"{path.parent.name}-md"
        shutil.rmtree(copied, ignore_errors=True)
        shutil.copytree(path, copied)
        rows = self._do(copied, 6, resume=True)
        if not np.isfinite(rows[:, 2:5]).all():
            raise Wrong("the run went on with numbers that are not finite")
        same = rows.shape == self._end.shape and np.array_equal(rows, self._end)
        return SAME if same else AS_WRITTEN


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}


GROUPS: list[Group] = [ModelFile(), SignedModelFile(), Checkpoint(), SignedCheckpoint(), Restart()]
