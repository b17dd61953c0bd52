"""What a training begins with: a new potential with random weights, or a finished one that is tuned further."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from equipot.checkpoint import RunDirectory, save_model
from equipot.config import Config, DataConfig
from equipot.data.datasets import DataSets, load_datasets
from equipot.data.paths import file_sha256
from equipot.data.statistics import compute_statistics
from equipot.elements import sorted_symbols
from equipot.errors import DataError
from equipot.finetuning import Base, Start, load_base, start_from
from equipot.finetuning.atomic_energies import choose_atomic_energies
from equipot.finetuning.base import plain_copy
from equipot.finetuning.elements import choose_elements, with_elements
from equipot.finetuning.freezing import trained_table
from equipot.finetuning.heads import shares_what_trains
from equipot.finetuning.pseudo_labels import replay_files, replay_graphs
from equipot.models import Potential, build_potential, resolve_options
from equipot.report.tables import Column, Table
from equipot.training import Replay
from equipot.workflow.finetune_report import Given, read_given
from equipot.workflow.resolved import potential_config, resolve, resolve_finetune


class FromScratch:
    """A potential as the configuration describes it.

    Raises:
        ConfigError: an unknown architecture, preset or option.
    """

    def __init__(self, config: Config, directory: Path) -> None:
        self.config, self.directory = config, directory
        resolve_options(config.model.architecture, config.model.preset, config.model.options)

    def load(self, stored_split: Mapping[str, Any] | None = None) -> DataSets:
        """Read the data, with the split of the run that is resumed."""
        return load_datasets(
            self.config.data, self.config.model.cutoff, config_directory=self.directory, stored_split=stored_split
        )

    def resolve(self, datasets: DataSets) -> Config:
        """The configuration with numbers."""
        return resolve(self.config, datasets, self.directory)

    def begin(self, config: Config, datasets: DataSets) -> Prepared:
        """The potential of a resolved configuration."""
        potential = build_potential(
            potential_config(config),
            atomic_energies=config.data.atomic_energies,
            scale=config.model.scale,
            shift=config.model.shift,
            seed=config.seed,
        )
        return Prepared(potential)


@dataclass(frozen=True)
class Prepared:
    """A potential before its first step.

    Attributes:
        potential: trains.
        export: what trains -> an ordinary potential, and other heads by name; None: it is one.
        tables: on what trains.
        lines: to be printed.
        models: file in the run folder -> a potential to keep there, and its metadata.
        metadata: goes into ``model.eqp`` besides that of every run.
        replay: structures mixed into the steps.
    """

    potential: Potential
    export: Callable[[Potential], tuple[Potential, dict[str, Potential]]] | None = None
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
    """A finished potential, see :mod:`equipot.finetuning`.

    Raises:
        UsageError: there is no base, or a file that ``finetune.report`` names is not there.
        CheckpointError, DataError: the base or such a file cannot be read.
    """

    def __init__(self, config: Config, directory: Path) -> None:
        self.config, self.directory = config, directory
        self.base: Base = load_base(config.finetune, directory)
        self.given: Given = read_given(config, directory)  # what is wrong with it is said before the training

    def load(self, stored_split: Mapping[str, Any] | None = None) -> DataSets:
        """Read the data, with the split of the run that is resumed, and find the atomic energies."""
        base, settings = self.base.potential, self.config.finetune
        readable = (*base.elements, *(element for element in settings.new_elements if element not in base.elements))
        data: DataConfig = replace(self.config.data, elements=readable, atomic_energies=dict.fromkeys(readable, 0.0))
        datasets = load_datasets(
            data,
            base.cutoff,
            config_directory=self.directory,
            not_known=f"the base model {self.base.path.name} does not know (finetune.new_elements adds elements)",
            stored_split=stored_split,
        )
        present = sorted_symbols(
            symbol for frames in datasets.frames.values() for frame in frames for symbol in frame.atoms.symbols
        )
        elements, self.neighbors = choose_elements(base, settings.elements, settings.new_elements, present)
        self.own = with_elements(base, elements, self.neighbors)
        self._check_known(elements)
        energies = choose_atomic_energies(self.own, settings.atomic_energies, datasets.train, datasets.isolated)
        # What was said of the base's atomic energies beside these labels no longer matters.
        stale = set(datasets.atomic_energies.warnings)
        warnings = [text for text in datasets.warnings if text not in stale] + energies.warnings
        hashes = {**datasets.hashes, self.base.path.name: self.base.sha256}
        if self.config.finetune.replay is not None:
            hashes |= {name: file_sha256(path) for name, path in replay_files(self.config, self.directory).items()}
        record = {**datasets.split_record, "file_sha256": hashes}
        statistics = compute_statistics(datasets.train, energies.values)
        old_lines = set(datasets.statistics.lines())
        report = [line for line in datasets.report if line not in old_lines] + statistics.lines()
        return replace(
            datasets,
            elements=elements,
            atomic_energies=energies,
            statistics=statistics,
            report=report,
            warnings=warnings,
            hashes=hashes,
            split_record=record,
        )

    def _check_known(self, elements: Sequence[str]) -> None:
        shared = [element for element in self.base.potential.elements if element in elements]
        for name, frames in self.given.known.items():
            if not any(set(frame.atoms.symbols) <= set(shared) for frame in frames):
                raise DataError(
                    f"finetune.report.known: no frame of {name} is of elements that both the base and the "
                    f"fine-tuned potential know ({', '.join(shared) or 'none'})."
                )

    def resolve(self, datasets: DataSets) -> Config:
        """The configuration with numbers."""
        return resolve_finetune(self.config, datasets, self.directory, self.base.path)

    def begin(self, config: Config, datasets: DataSets) -> Prepared:
        """The potential that trains, and the models it is compared with at the end."""
        start: Start = start_from(
            self.base,
            config.finetune,
            config.finetune.atomic_energies,
            [*datasets.validation, *datasets.train],
            seed=config.seed,
            own=self.own,
        )
        replay, lines = self._replay(config, datasets, start), [*self._elements(), start.equality.line()]
        if self.base.other_heads:
            lines.append(f"Heads of the base that the new file does not have: {', '.join(self.base.other_heads)}")
        if replay is not None:
            lines.append(describe_replay(replay, config))
        if start.switch is not None:
            lines.append(
                f"Heads: {config.finetune.head} trains on the frames, {self.base.head} is that of the base; "
                f"each has {', '.join(config.finetune.head_parameters)} for itself"
            )
            if self.neighbors:
                datasets.warnings.append(
                    f"the head {self.base.head} of the new file takes {', '.join(self.neighbors)} "
                    f"too, of which the base knew nothing: only the head {config.finetune.head} "
                    "is trained on them"
                )
            if replay is None and shares_what_trains(start.potential):
                datasets.warnings.append(
                    f"the heads {config.finetune.head} and {self.base.head} share parameters that "
                    "train on the frames alone, so that what the base's head predicts changes; "
                    "finetune.replay keeps it"
                )
        facts = self.base.facts()
        described = {
            "name": config.name,
            "finetuned_from": facts,
            **{key: facts[key] for key in ("licence", "citation") if key in facts},
            "level_of_theory": config.finetune.level_of_theory,
            "head": config.finetune.head,
        }
        zero_shot = {
            **described,
            "name": f"{config.name}, before the first step",
            "atomic_energies_origin": datasets.atomic_energies.origin,
        }
        return Prepared(
            start.potential,
            start.export,
            (_trained(start.potential),),
            (
                f"Base: {facts.get('name') or facts['file']} ({facts['file']}), licence "
                f"{facts.get('licence') or 'not stated'}",
                *lines,
            ),
            {
                RunDirectory.BASE: (plain_copy(self.base.potential), self.base.potential.metadata),
                RunDirectory.ZERO_SHOT: (start.zero_shot, zero_shot),
            },
            described,
            replay,
        )

    def _replay(self, config: Config, datasets: DataSets, start: Start) -> Replay | None:
        settings = config.finetune.replay
        if settings is None:
            return None
        # With the elements of the fine-tuning: what it has dropped cannot be replayed.
        before = dict(zip(self.own.elements, self.own.atomic_energies.tolist()))
        change = {element: energy - before[element] for element, energy in config.finetune.atomic_energies.items()}
        known = [element for element in self.own.elements if element in self.base.potential.elements]
        graphs = replay_graphs(
            self.own, config, self.directory, known=known, present=sorted_symbols(elements_in(datasets)), change=change
        )
        scope = nullcontext if start.switch is None else start.switch.base
        return Replay(graphs, settings.batch_size, settings.weight, config.seed, scope)

    def _elements(self) -> list[str]:
        """What is said of elements that are not those of the base."""
        base, own = self.base.potential.elements, self.own.elements
        dropped = len(set(base) - set(own))
        lines = [f"{dropped} elements of the base are dropped; {len(own)} are left"] if dropped else []
        if self.neighbors:
            lines.append("New elements: " + ", ".join(f"{new} begins as {old}" for new, old in self.neighbors.items()))
        return lines


def elements_in(datasets: DataSets) -> set[str]:
    """Elements of the training frames."""
    return {symbol for frame in datasets.frames["train"] for symbol in frame.atoms.symbols}


def describe_replay(replay: Replay, config: Config) -> str:
    """One line: what is replayed, and how much of it."""
    graphs, settings = replay.graphs, config.finetune.replay
    kind = f"from {', '.join(settings.structures)}" if settings.structures else f"of {settings.number} crystals made"
    elements = {number for graph in graphs for number in graph.atomic_numbers.tolist()}
    share = f"{settings.batch_size} a step" if settings.batch_size else "as many a step as frames"
    return (
        f"Replay: {len(graphs)} structures {kind}, {sum(graph.num_nodes for graph in graphs)} atoms of "
        f"{len(elements)} elements, labelled by the base; {share}, weight {settings.weight:g}"
    )


def _trained(potential: Potential) -> Table:
    columns = (Column("block", is_number=False), Column("trains"), Column("frozen"))
    return Table("What trains, numbers by block", columns, tuple(trained_table(potential)))
