"""What a training begins with: a new potential with random weights, or a finished one that is tuned further."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from equipot.checkpoint import RunDirectory, save_model
from equipot.config import Config, DataConfig
from equipot.data.datasets import DataSets, load_datasets
from equipot.data.paths import file_sha256
from equipot.elements import sorted_symbols
from equipot.models import Potential, build_potential, resolve_options
from equipot.report.tables import Column, Table
from equipot.training import Replay
from equipot.tuning import Base, Start, load_base, start_from
from equipot.tuning.atomic_energies import choose_atomic_energies
from equipot.tuning.freezing import trained_table
from equipot.tuning.pseudo_labels import replay_files, replay_graphs
from equipot.workflow.resolved import potential_config, resolve, resolve_finetune


class FromScratch:
    """A potential as the configuration describes it.

    Raises:
        ConfigError: an unknown architecture, preset or option.
    """

    def __init__(self, config: Config, directory: Path) -> None:
        self.config, self.directory = config, directory
        resolve_options(config.model.architecture, config.model.preset, config.model.options)

    def load(self) -> DataSets:
        """Read the data."""
        return load_datasets(self.config.data, self.config.model.cutoff, config_directory=self.directory)

    def resolve(self, datasets: DataSets) -> Config:
        """The configuration with numbers."""
        return resolve(self.config, datasets, self.directory)

    def begin(self, config: Config, datasets: DataSets) -> Prepared:
        """The potential of a resolved configuration."""
        potential = build_potential(potential_config(config), atomic_energies=config.data.atomic_energies,
                                    scale=config.model.scale, shift=config.model.shift, seed=config.seed)
        return Prepared(potential)


@dataclass(frozen=True)
class Prepared:
    """A potential before its first step.

    Attributes:
        potential: trains.
        export: what trains -> an ordinary potential; None: it is one.
        tables: on what trains.
        lines: to be printed.
        models: file in the run folder -> a potential to keep there, and its metadata.
        metadata: goes into ``model.eqp`` besides that of every run.
        replay: structures mixed into the steps.
    """

    potential: Potential
    export: Callable[[Potential], Potential] | None = None
    tables: tuple[Table, ...] = ()
    lines: tuple[str, ...] = ()
    models: dict[str, tuple[Potential, dict[str, Any]]] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    replay: Replay | None = None

    def save_models(self, run: RunDirectory) -> None:
        """Write the models that are kept beside the one that trains, where they are not there yet."""
        for name, (potential, metadata) in self.models.items():
            if not (run.path / name).exists():
                save_model(run.path / name, potential, metadata=metadata)


class FromBase:
    """A finished potential, see :mod:`equipot.tuning`.

    Raises:
        UsageError: there is no base.
        CheckpointError: it cannot be read.
    """

    def __init__(self, config: Config, directory: Path) -> None:
        self.config, self.directory = config, directory
        self.base: Base = load_base(config.finetune, directory)

    def load(self) -> DataSets:
        """Read the data, and find the atomic energies."""
        base = self.base.potential
        data: DataConfig = replace(self.config.data, elements=base.elements,
                                   atomic_energies=dict(zip(base.elements, base.atomic_energies.tolist())))
        datasets = load_datasets(data, base.cutoff, config_directory=self.directory,
                                 not_known=f"the base model {self.base.path.name} does not know")
        energies = choose_atomic_energies(base, self.config.finetune.atomic_energies, datasets.train,
                                          datasets.isolated)
        # What was said of the base's atomic energies beside these labels no longer matters.
        stale = set(datasets.atomic_energies.warnings)
        warnings = [text for text in datasets.warnings if text not in stale] + energies.warnings
        hashes = {**datasets.hashes, self.base.path.name: self.base.sha256}
        if self.config.finetune.replay is not None:
            hashes |= {name: file_sha256(path) for name, path in replay_files(self.config, self.directory).items()}
        record = {**datasets.split_record, "file_sha256": hashes}
        return replace(datasets, atomic_energies=energies, warnings=warnings, hashes=hashes, split_record=record)

    def resolve(self, datasets: DataSets) -> Config:
        """The configuration with numbers."""
        return resolve_finetune(self.config, datasets, self.directory, self.base.path)

    def begin(self, config: Config, datasets: DataSets) -> Prepared:
        """The potential that trains, and the models it is compared with at the end."""
        start: Start = start_from(self.base, config.finetune, config.finetune.atomic_energies,
                                  [*datasets.validation, *datasets.train], seed=config.seed)
        replay, lines = self._replay(config, datasets), [start.equality.line()]
        if replay is not None:
            lines.append(describe_replay(replay, config))
        facts = self.base.facts()
        described = {"name": config.name, "finetuned_from": facts,
                     **{key: facts[key] for key in ("licence", "citation") if key in facts}}
        zero_shot = {**described, "name": f"{config.name}, before the first step",
                     "atomic_energies_origin": datasets.atomic_energies.origin}
        return Prepared(
            start.potential, start.export, (_trained(start.potential),),
            (f"Base: {facts.get('name') or facts['file']} ({facts['file']}), licence "
             f"{facts.get('licence') or 'not stated'}", *lines),
            {RunDirectory.BASE: (plain(self.base), self.base.potential.metadata),
             RunDirectory.ZERO_SHOT: (start.zero_shot, zero_shot)}, described, replay)

    def _replay(self, config: Config, datasets: DataSets) -> Replay | None:
        settings, base = config.finetune.replay, self.base.potential
        if settings is None:
            return None
        own = dict(zip(base.elements, base.atomic_energies.tolist()))
        change = {element: energy - own[element] for element, energy in config.finetune.atomic_energies.items()}
        graphs = replay_graphs(base, config, self.directory, present=sorted_symbols(elements_in(datasets)),
                               change=change)
        return Replay(graphs, settings.batch_size, settings.weight, config.seed)


def elements_in(datasets: DataSets) -> set[str]:
    """Elements of the training frames."""
    return {symbol for frame in datasets.frames["train"] for symbol in frame.atoms.symbols}


def describe_replay(replay: Replay, config: Config) -> str:
    """One line: what is replayed, and how much of it."""
    graphs, settings = replay.graphs, config.finetune.replay
    kind = f"from {', '.join(settings.structures)}" if settings.structures else "made"
    elements = {number for graph in graphs for number in graph.atomic_numbers.tolist()}
    share = f"{settings.batch_size} a step" if settings.batch_size else "as many a step as frames"
    return (f"Replay: {len(graphs)} structures {kind}, {sum(graph.num_nodes for graph in graphs)} atoms of "
            f"{len(elements)} elements, labelled by the base; {share}, weight {settings.weight:g}")


def plain(base: Base) -> Potential:
    """The base as a file holds it."""
    from equipot.tuning.base import plain_copy

    return plain_copy(base.potential)


def _trained(potential: Potential) -> Table:
    columns = (Column("block", is_number=False), Column("trains"), Column("frozen"))
    return Table("What trains, numbers by block", columns, tuple(trained_table(potential)))
