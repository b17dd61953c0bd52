"""What energies prove of the labels before a training: which energies are meant, and what contradicts them.

The checks are those of the data doctor, so that training stops where ``equipot data check`` fails.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from equipot.checks.data.energy_kind import OTHER
from equipot.checks.data.registry import Context, run_check
from equipot.checks.data.result import Finding
from equipot.checks.data.run import CHECKS
from equipot.config import DataConfig
from equipot.data.datasets import SPLITS, DataSets
from equipot.data.frames import LABELS, Frame, FrameFile, ReadReport
from equipot.errors import DataError

#: Checks whose failure means that numbers are wrong by a factor.
CONTRADICTIONS = ("energy-per-atom", "stress-unit", "forces-unit")
#: Frames that are looked at, in stretches of so many that follow each other: near ones are often neighbours.
_MOST_FRAMES, _STRETCH = 2000, 50


def load_proven(data: DataConfig, cutoff: float, load: Callable[[bool], DataSets]) -> DataSets:
    """Load data, choose the energies that the forces belong to, and hold the labels against each other.

    Args:
        data: What is loaded.
        cutoff: Angstrom, of the potential.
        load: Loads it; with True, the energies under the other key (``free_energy``) where a file has both.

    Returns:
        The data, with what was found among their report and warnings.

    Raises:
        DataError: Energies prove that stress or forces have another unit or sign than declared, or that they are those
            of one atom, and ``data.on_contradiction`` is ``stop``.
    """
    datasets = load(False)
    if data.generate is not None:
        return datasets
    found: list[Finding] = []
    if datasets.energy_keys is not None:
        context = _context(datasets, _parts(data, datasets)["train"], cutoff)
        found += run_check(CHECKS["energy-key"], context).findings
        if context.energy_kind.kind == OTHER and data.keys.energy == "auto":
            (used, other), kind = datasets.energy_keys, context.energy_kind
            datasets = load(True)
            datasets.warnings.append(
                f"the energies are read from '{other}' and not from '{used}': forces and stress belong to it, by "
                f"{kind.num_steps} steps between near frames (data.keys.energy={used} goes against that)"
            )
            found = []
    for finding in found:
        line = finding.message if finding.status == "note" else f"{finding.message}; {finding.advice}".rstrip("; ")
        (datasets.report if finding.status == "note" else datasets.warnings).append(line)
    for name, frames in _parts(data, datasets).items():
        _hold_against(data, name, _context(datasets, frames, cutoff), datasets)
    return datasets


def _hold_against(data: DataConfig, name: str, context: Context, datasets: DataSets) -> None:
    """Stop, or warn where that was asked for, at what the energies of some frames prove wrong."""
    wrong = [
        f"{code}: {finding.message}. {finding.advice}".rstrip(". ")
        for code in CONTRADICTIONS
        for finding in run_check(CHECKS[code], context).findings
        if finding.status == "fail"
    ]
    if not wrong:
        return
    if data.on_contradiction == "warn":
        datasets.warnings += [f"{name} frames: {sentence}" for sentence in wrong]
        return
    raise DataError(
        f"The {name} frames contradict themselves: {'; '.join(wrong)}. To train on them as they are, set "
        f"data.on_contradiction=warn."
    )


def _parts(data: DataConfig, datasets: DataSets) -> dict[str, list[Frame]]:
    """Frames by the files they come from: those of a split with files of its own stand alone."""
    parts = {"train": list(datasets.frames["train"])}
    for name in SPLITS[1:]:
        parts.setdefault(name if getattr(data, name) else "train", []).extend(datasets.frames[name])
    return parts


def _context(datasets: DataSets, frames: Sequence[Frame], cutoff: float) -> Context:
    frames = sorted(frames, key=lambda frame: (frame.source.rsplit(" frame ", 1)[0], frame.index))
    step = max(1, round(len(frames) / _MOST_FRAMES))
    frames = [frame for place, frame in enumerate(frames) if (place // _STRETCH) % step == 0]
    used, other = datasets.energy_keys or ("energy", None)
    keys = {**dict.fromkeys(LABELS), "energy": used}
    report = ReadReport("training frames", "as read", len(frames), keys=keys, other_energy_key=other)
    return Context([FrameFile(frames, report)], [], cutoff, lambda what, done, total: None)
