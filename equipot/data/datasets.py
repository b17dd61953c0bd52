"""From a configuration to training, validation and test graphs, with everything found on the way recorded."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ase.data import atomic_numbers

from equipot.config.schema import DataConfig
from equipot.data.atomic_energies import AtomicEnergies, fit_atomic_energies
from equipot.data.copies import Prints, elements_of, find_copies, find_copies_across, take_prints
from equipot.data.frames import LABELS, Frame, FrameFile
from equipot.data.geometry_hash import find_duplicates, hash_frames
from equipot.data.isolated import is_isolated_atom
from equipot.data.label_keys import LabelKey, nothing_found_message, refuse_missing_keys
from equipot.data.leaks import Leak
from equipot.data.paths import expand_files, file_sha256, resolve_file
from equipot.data.reading import flip_stress, read_declared, stress_warnings
from equipot.data.splits import record_split, split_frames, stored_split
from equipot.data.states import varying_states
from equipot.data.statistics import Statistics, compute_statistics
from equipot.data.stress_sign import prove_sign
from equipot.errors import ConfigError, DataError, ElementError, StructureError
from equipot.graph import AtomicGraph, from_ase

SPLITS = ("train", "validation", "test")
Progress = Callable[[str, int, int], None]


@dataclass
class DataSets:
    """Graphs ready for training, and what is known about them.

    Attributes:
        train, validation, test: Graphs; isolated atoms are not among the training graphs.
        frames: Split name -> the frames behind the graphs, in the same order.
        elements: Symbols in ascending order of atomic number.
        atomic_energies: E0 and its origin.
        statistics: Numbers the model and loss are scaled by, from the training graphs.
        report: Printable lines.
        warnings: The warnings among them, alone.
        split_record: JSON-able: which frame of which file went where.
        hashes: File name -> SHA-256 (for generated frames, of their contents).
        isolated: Isolated-atom frames, which are in no split.
        leaks: Structures that are on both sides of the split.
    """

    train: list[AtomicGraph]
    validation: list[AtomicGraph]
    test: list[AtomicGraph]
    frames: dict[str, list[Frame]]
    elements: tuple[str, ...]
    atomic_energies: AtomicEnergies
    statistics: Statistics
    report: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    split_record: dict[str, Any] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    isolated: list[Frame] = field(default_factory=list)
    leaks: list[Leak] = field(default_factory=list)


def load_datasets(
    config: DataConfig,
    cutoff: float,
    *,
    config_directory: str | Path = ".",
    required: Sequence[str] = ("energy", "forces"),
    not_known: str | None = None,
    progress: Progress | None = None,
    stored_split: Mapping[str, Any] | None = None,
) -> DataSets:
    """Read, check, split and convert everything a training job needs.

    Args:
        config: The data section of a configuration.
        cutoff: Radius of the neighbour lists (Angstrom).
        config_directory: Folder of the configuration file.
        required: Labels at least one training frame must have, unless their key is null.
        not_known: Why an element outside ``config.elements`` cannot be used, for messages.
        progress: Called with (what, done, total).
        stored_split: ``split_record`` of an earlier run on the same files, whose split is taken over.

    Raises:
        DataError: A file, frame or label that cannot be used; a required label that is in no training frame.
        ElementError: A frame with an element the potential will not know.
        StructureError: A structure no potential can be evaluated on.
        ConfigError: Settings that contradict each other or the data.
    """
    config, lines = expand_files(config, config_directory)
    loader = _Loader(config, Path(config_directory), progress or (lambda what, done, total: None))
    loader.report += lines
    loader.stored_split = stored_split
    parts = loader.read_parts()
    loader.check_required(parts["train"], required)
    isolated = [frame for frame in parts["train"] if is_isolated_atom(frame)]
    bound = [frame for frame in parts["train"] if not is_isolated_atom(frame)]
    if not bound:
        raise DataError(
            "There is nothing to train on: data.train holds "
            + (f"only isolated atoms ({len(isolated)})." if isolated else "no frames.")
        )
    parts["train"] = bound
    if isolated:
        loader.say(
            f"{len(isolated)} isolated-atom frames are used for atomic energies only, not as training graphs "
            f"(they carry nothing else)"
        )
    parts, record = loader.split(parts)
    elements = _elements(config, parts["train"])
    listed = "data.elements does not list" if config.elements != "auto" else "no training frame contains"
    _check_elements(parts, elements, not_known or listed)
    energies = fit_atomic_energies(parts["train"] + isolated, elements, method=config.atomic_energies)
    loader.apply_config_weights(parts)
    graphs, frames = {}, {}
    for name in SPLITS:
        graphs[name], frames[name] = loader.build_graphs(name, parts[name], cutoff)
    if not graphs["train"]:
        raise DataError("There is nothing to train on: every training frame was left out.")
    statistics = compute_statistics(graphs["train"], energies.values)
    loader.finish(graphs, energies, statistics)
    return DataSets(
        **graphs,
        frames=frames,
        elements=elements,
        atomic_energies=energies,
        statistics=statistics,
        report=loader.report,
        warnings=loader.warnings,
        split_record=record,
        hashes=loader.hashes,
        isolated=isolated,
        leaks=loader.leaks,
    )


class _Loader:
    """The steps of :func:`load_datasets` and the lines they write."""

    def __init__(self, config: DataConfig, directory: Path, progress: Progress):
        self.config, self.directory, self.progress = config, directory, progress
        self.report: list[str] = []
        self.warnings: list[str] = []
        self.hashes: dict[str, str] = {}
        self.available: dict[str, dict[str, list[str]]] = {}
        self.leaks: list[Leak] = []
        self.stored_split: Mapping[str, Any] | None = None

    def say(self, line: str) -> None:
        self.report.append(line)

    def warn(self, sentence: str) -> None:
        self.warnings.append(sentence)
        self.report.append(f"warning: {sentence}")

    def read_parts(self) -> dict[str, list[Frame]]:
        config = self.config
        named = {"train": config.train, "validation": config.validation, "test": config.test}
        if config.generate is not None:
            return {"train": self._generate(), "validation": [], "test": []}
        if not config.train:
            raise ConfigError("data.train names no file. List at least one, or set data.generate=cu_au_emt.")
        names = [name for part in SPLITS for name in named[part]]
        paths = {name: resolve_file(name, config, self.directory) for name in names}
        files: dict[str, FrameFile] = {}
        for done, name in enumerate(paths):
            self.progress("reading files", done, len(paths))
            files[name] = read_declared(paths[name], keys=config.keys, units=config.units, on_bad=config.on_bad)
            for frame in files[name].frames:
                frame.source = f"{name} frame {frame.index}"
            self.hashes[name] = file_sha256(paths[name])
            self.available[name] = files[name].report.available
        self.progress("reading files", len(paths), len(paths))
        refuse_missing_keys(self.available, config.keys)
        self._settle_stress_sign(files)
        for frame_file in files.values():
            self.report += frame_file.report.lines()
            self.warnings += [f"{frame_file.report.path}: {warning}" for warning in frame_file.report.warnings]
        for sentence in varying_states([frame for frame_file in files.values() for frame in frame_file.frames]):
            self.warn(sentence)
        return {part: [frame for name in members for frame in files[name].frames] for part, members in named.items()}

    def _generate(self) -> list[Frame]:
        from equipot.data.synthetic import cu_au_emt

        frames = cu_au_emt()
        digest = hashlib.sha256()
        for value in hash_frames(frames):
            digest.update(value.encode())
        self.hashes["cu_au_emt"] = digest.hexdigest()
        self.say(f"cu_au_emt: {len(frames)} frames of Cu-Au labelled with ASE's EMT potential")
        return frames

    def _settle_stress_sign(self, files: dict[str, FrameFile]) -> None:
        """Prove the sign over all files that share a key: small files cannot prove it alone."""
        by_key: dict[str, list[FrameFile]] = {}
        for frame_file in files.values():
            key = frame_file.report.keys["stress"]
            if key is not None and frame_file.report.format not in ("vasprun", "outcar"):
                by_key.setdefault(key, []).append(frame_file)
        for key, members in by_key.items():
            proof = prove_sign([frame for member in members for frame in member.frames])
            declared = self.config.units.stress_sign
            self.say(f"{key}: {proof.sentence()}")
            if declared == "proven":
                if proof.sign == 0:
                    raise DataError(
                        f"{key}: {proof.sentence()}. Declare data.units.stress_sign as tension_positive or "
                        f"compression_positive."
                    )
                if proof.sign < 0:
                    for member in members:
                        flip_stress(member.frames)
            elif len(members) > 1 and not any(member.report.stress_sign.sign for member in members):
                quantity = "virial" if "virial" in key.lower() else "stress"
                for warning in stress_warnings(proof, LabelKey(quantity, key), declared):
                    self.warn(warning)

    def check_required(self, frames: Sequence[Frame], required: Sequence[str]) -> None:
        for label in required:
            wanted = getattr(self.config.keys, label)
            if label == "stress" and self.config.keys.virial is not None:
                wanted = wanted or self.config.keys.virial
            if wanted is None or any(frame.has(label) for frame in frames):
                continue
            merged = {
                place: sorted(
                    {key for name in self.config.train for key in self.available.get(name, {}).get(place, [])}
                )
                for place in ("info", "arrays")
            }
            raise DataError(nothing_found_message(", ".join(self.config.train), label, merged))
        if not any(frame.has(label) for frame in frames for label in LABELS):
            raise DataError("There is nothing to train on: no training frame has an energy, forces or a stress.")

    def split(self, parts: dict[str, list[Frame]]):
        config = self.config
        settings: dict[str, Any] = {"method": "files"}
        elements = elements_of(*parts.values())
        prints = {name: take_prints(parts[name], elements, progress=self.progress) for name in SPLITS}
        made = [name for name in ("validation", "test") if not getattr(config, name)]
        if made:
            settings = {
                "method": config.split.method,
                "seed": config.split.seed,
                "group_key": config.split.group_key,
                "set_aside": made,
            }
            frames, taken = parts["train"], prints["train"]
            if self._has_stored_split():
                split = stored_split(frames, self.stored_split, made)
            else:
                copies = find_copies(frames, taken)
                chosen = {name: name in made for name in ("validation", "test")}
                split = split_frames(frames, copies, config.split, **chosen)
            for name in ("train", *made):
                places = getattr(split, name)
                parts[name], prints[name] = [frames[i] for i in places], taken.at(places)
            self.say(
                "set aside of the training frames: " + ", ".join(f"{len(parts[name])} for {name}" for name in made)
            )
            self.report += split.notes
        self._warn_duplicates(parts, prints)
        hashes = {name: prints[name].hashes for name in SPLITS}
        record = record_split(parts, hashes, **settings, file_sha256=dict(self.hashes))
        return parts, record

    def _has_stored_split(self) -> bool:
        """Whether a split was stored of these very files; what was stored of others is for others to refuse."""
        stored = (self.stored_split or {}).get("file_sha256", {})
        return self.stored_split is not None and all(stored.get(name) == value for name, value in self.hashes.items())

    def _warn_duplicates(self, parts: dict[str, list[Frame]], prints: dict[str, Prints]) -> None:
        for name in SPLITS:
            groups = find_duplicates(prints[name].hashes)
            if groups:
                first = " and ".join(parts[name][place].source for place in groups[0][:2])
                self.warn(
                    f"{sum(map(len, groups)) - len(groups)} {name} frames repeat a structure that is there "
                    f"already (first: {first})"
                )
        for earlier, later in (("train", "validation"), ("train", "test"), ("validation", "test")):
            copies = find_copies_across(parts[earlier], prints[earlier], parts[later], prints[later])
            if copies:
                leak = Leak.of(earlier, later, parts, copies)
                self.leaks.append(leak)
                self.warn(leak.sentence())

    def apply_config_weights(self, parts: dict[str, list[Frame]]) -> None:
        known = sorted({frame.config_type for name in SPLITS for frame in parts[name]})
        for name in self.config.config_weights:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f" Did you mean '{close[0]}'?" if close else ""
                raise ConfigError(
                    f"data.config_weights: no frame has config_type '{name}'.{hint} There are {', '.join(known[:30])}."
                )
        for name in SPLITS:
            for frame in parts[name]:
                factor = self.config.config_weights.get(frame.config_type, 1.0)
                for label in LABELS:
                    setattr(frame, f"{label}_weight", getattr(frame, f"{label}_weight") * factor)

    def build_graphs(self, name: str, frames: list[Frame], cutoff: float) -> tuple[list[AtomicGraph], list[Frame]]:
        """The graphs of the usable frames, and those frames."""
        graphs: list[AtomicGraph] = []
        kept: list[Frame] = []
        for done, frame in enumerate(frames):
            self.progress(f"building {name} graphs", done, len(frames))
            try:
                graph = frame_to_graph(frame, cutoff, frame_id=len(kept), min_distance=self.config.min_distance)
            except StructureError as error:
                if self.config.on_bad != "skip":
                    raise
                self.warn(f"left out of {name}: {error}")
            else:
                graphs.append(graph)
                kept.append(frame)
        if frames:
            self.progress(f"building {name} graphs", len(frames), len(frames))
        return graphs, kept

    def finish(self, graphs: dict[str, list[AtomicGraph]], energies: AtomicEnergies, statistics: Statistics) -> None:
        for label in LABELS:
            counts = ", ".join(
                f"{name} {sum(_has(graph, label) for graph in graphs[name])}/{len(graphs[name])}"
                for name in SPLITS
                if graphs[name]
            )
            self.say(f"{label} labels: {counts}")
        if not graphs["validation"]:
            self.warn("there is no validation frame: the best epoch is the last")
        self.report += energies.lines() + statistics.lines()
        self.warnings += energies.warnings + statistics.warnings


def _has(graph: AtomicGraph, label: str) -> bool:
    return bool(getattr(graph, label).isfinite().all())


def frame_to_graph(frame: Frame, cutoff: float, *, frame_id: int = 0, min_distance: float | None = 0.05) -> AtomicGraph:
    """The graph of a frame with its labels and weights.

    Raises:
        StructureError: Not a structure a potential can be evaluated on; names the frame.
    """
    return from_ase(
        frame.atoms,
        cutoff,
        energy=frame.energy,
        forces=frame.forces,
        stress=frame.stress,
        energy_weight=frame.energy_weight,
        forces_weight=frame.forces_weight,
        stress_weight=frame.stress_weight,
        config_type=frame.config_type,
        source=frame.source,
        frame_id=frame_id,
        min_distance=min_distance,
    )


def _elements(config: DataConfig, frames: Sequence[Frame]) -> tuple[str, ...]:
    if config.elements == "auto":
        return tuple(
            sorted(
                {symbol for frame in frames for symbol in set(frame.atoms.get_chemical_symbols())},
                key=atomic_numbers.get,
            )
        )
    return tuple(sorted(set(config.elements), key=atomic_numbers.get))


def _check_elements(parts: dict[str, list[Frame]], elements: tuple[str, ...], reason: str) -> None:
    known = set(elements)
    for name in SPLITS:
        for frame in parts[name]:
            unknown = sorted(set(frame.atoms.get_chemical_symbols()) - known)
            if unknown:
                raise ElementError(
                    f"{frame.source} ({name}) contains {', '.join(unknown)}, which {reason}; the "
                    f"potential would know {', '.join(elements)}."
                )
