"""Files of structures: mutated, read, and compared with what a second, naive reading of the same bytes says."""

from __future__ import annotations

import gzip
import lzma
import re
import sqlite3
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers
from ase.db import connect
from ase.io.trajectory import TrajectoryWriter
from ase.io.ulm import ulmopen

from equipot.checks.data import check_frames
from equipot.data import read_frames, write_frames
from tests.robustness.fuzzing.frames import small_frames
from tests.robustness.fuzzing.group import AS_WRITTEN, NOT_COMPARED, SAME, Group, Wrong
from tests.robustness.fuzzing.mutations import mutate_bytes
from tests.unit.data.vasp_text import outcar, vasprun


@dataclass(frozen=True)
class Content:
    """What a frame must hold: elements, positions (Angstrom), cell (Angstrom, None: not looked at), energy (eV)."""

    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray | None = None
    energy: float | None = None


class StructureFile(Group):
    """A format of structures.

    Args:
        name, number: of the group.
        file: name of the mutated file.
        write: writes a seed with the given frames.
        naive: content -> what it holds by a reading of our own, None where this one gives up.
        pack: compresses; mutations are then before it half of the time.
    """

    def __init__(
        self,
        name: str,
        number: int,
        file: str,
        write: Callable[[Path, list], None],
        naive: Callable[[Path], list[Content] | None],
        pack: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self.name, self.number, self.file = name, number, file
        self._write, self._naive, self._pack = write, naive, pack
        self._seeds: list[bytes] = []
        self._contents: list[list[Content]] = []

    def prepare(self, folder: Path) -> None:
        by_element = sorted(small_frames(), key=lambda frame: frame.config_type)
        for number, chosen in enumerate((by_element[:3], by_element[-40::13])):
            path = folder / f"{number}-{self.file.removesuffix('.gz').removesuffix('.xz')}"
            path.unlink(missing_ok=True)
            self._write(path, chosen)
            self._contents.append([_content(frame) for frame in read_frames(path).frames])
            self._seeds.append(path.read_bytes())

    def make(self, rng: np.random.Generator, folder: Path) -> Path:
        content = self._seeds[int(rng.integers(len(self._seeds)))]
        path = folder / self.file
        if self._pack is not None and rng.random() < 0.5:
            path.write_bytes(mutate_bytes(self._pack(content), rng))
        else:
            mutated = mutate_bytes(content, rng)
            path.write_bytes(mutated if self._pack is None else self._pack(mutated))
        return path

    def read(self, path: Path) -> str:
        is_skipping = path.stat().st_size % 2 == 0
        found = read_frames(path, on_bad="skip" if is_skipping else "error")
        check_frames(found).lines()
        if len(found.frames) + len(found.report.skipped) != found.report.num_frames:
            raise Wrong(
                f"{len(found.frames)} frames and {len(found.report.skipped)} skipped of {found.report.num_frames}"
            )
        contents = [_content(frame) for frame in found.frames]
        if any(len(contents) == len(seed) and all(map(_are_equal, contents, seed)) for seed in self._contents):
            return SAME
        expected = self._naive(path)
        if expected is None:
            return NOT_COMPARED
        if len(expected) != found.report.num_frames:
            raise Wrong(f"{found.report.num_frames} frames were read, the file has {len(expected)}")
        for frame, content in zip(found.frames, contents):
            if not _are_equal(content, expected[frame.index]):
                raise Wrong(f"frame {frame.index} is not what the file says")
        return AS_WRITTEN


def _content(frame) -> Content:
    return Content(
        frame.atoms.numbers,
        frame.atoms.positions,
        frame.atoms.cell.array,
        frame.energy if frame.has("energy") else None,
    )


def _are_equal(found: Content, expected: Content) -> bool:
    if found.numbers.shape != expected.numbers.shape or (found.numbers != expected.numbers).any():
        return False
    size = max(1.0, float(np.abs(expected.positions).max(initial=0.0)))
    if np.abs(found.positions - expected.positions).max(initial=0.0) > 1e-9 * size:
        return False
    if expected.cell is not None:
        allowed = 1e-9 * max(1.0, float(np.abs(expected.cell).max()))
        if np.abs(found.cell - expected.cell).max() > allowed:
            return False
    if expected.energy is None or found.energy is None:
        return expected.energy is None or (found.energy is None and not np.isfinite(expected.energy))
    return abs(found.energy - expected.energy) <= 1e-9 * max(1.0, abs(expected.energy))


def _text(path: Path) -> str:
    opened = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)
    with opened(path, "rb") as file:
        return file.read().decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")


def naive_extxyz(path: Path) -> list[Content] | None:
    """Counts, rows and columns, nothing else."""
    lines = _text(path).split("\n")
    frames, place = [], 0
    while place < len(lines) and lines[place].strip():
        count, comment = int(lines[place]), lines[place + 1]
        rows = [line.split() for line in lines[place + 2 : place + 2 + count]]
        place += 2 + count
        described = re.search(r'Properties="?([^\s"]+)', comment)
        columns = (described[1] if described else "species:S:1:pos:R:3").split(":")
        starts = dict(zip(columns[::3], np.cumsum([0, *map(int, columns[2::3])])))
        lattice, energy = re.search(r'Lattice="([^"]*)"', comment), re.search(r"(?:^| )REF_energy=(\S+)", comment)
        symbol, at = starts.get("species", starts.get("symbols")), starts.get("pos", starts.get("positions"))
        if symbol is None or at is None:
            return None
        try:
            cell = np.array(lattice[1].replace(",", " ").split(), dtype=float).reshape(3, 3) if lattice else None
            value = float(energy[1]) if energy else None
        except ValueError:
            cell = value = None
        frames.append(
            Content(
                np.array([atomic_numbers[row[symbol].capitalize()] for row in rows]),
                np.array([row[at : at + 3] for row in rows], dtype=float),
                cell,
                value,
            )
        )
    return frames


def naive_database(path: Path) -> list[Content] | None:
    """The blobs of the table, by SQL."""
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    try:
        rows = connection.execute("SELECT numbers, positions, cell FROM systems ORDER BY id").fetchall()
    finally:
        connection.close()
    return [
        Content(
            np.frombuffer(numbers, "<i4"),
            np.frombuffer(positions, "<f8").reshape(-1, 3),
            np.frombuffer(cell, "<f8").reshape(3, 3),
        )
        for numbers, positions, cell in rows
    ]


def naive_trajectory(path: Path) -> list[Content] | None:
    """The arrays of the container; cell and elements that are only in the first frame are those of all."""
    with ulmopen(str(path), "r") as file:
        frames = []
        for index in range(len(file)):
            frame = file[index]
            first = frame if "numbers" in frame else file[0]
            frames.append(
                Content(
                    np.asarray(first.numbers),
                    np.asarray(frame.positions),
                    np.asarray((frame if "cell" in frame else file[0]).cell).reshape(3, 3)
                    if "cell" in frame or "cell" in file[0]
                    else None,
                )
            )
        return frames


def naive_vasprun(path: Path) -> list[Content] | None:
    """Every calculation's basis and positions, by a tree of the XML."""
    tree = ElementTree.fromstring(path.read_bytes())
    symbols = [row[0].text.strip() for row in tree.findall("atominfo/array[@name='atoms']/set/rc")]
    frames = []
    for step in tree.iter("calculation"):
        basis, positions = (
            np.array([row.text.split() for row in step.find(where).iter("v")], dtype=float)
            for where in ("structure/crystal/varray[@name='basis']", "structure/varray[@name='positions']")
        )
        frames.append(Content(np.array([atomic_numbers[symbol] for symbol in symbols]), positions @ basis, basis))
    return frames


def naive_outcar(path: Path) -> list[Content] | None:
    """The tables of positions, one a step."""
    names = re.findall(r"POTCAR: +\S+ (\w+)", _text(path))
    counts = re.search(r"ions per type = +([\d ]+)", _text(path))
    if not counts or len(names) % 2:
        return None
    counted = list(map(int, counts[1].split()))
    if len(counted) != len(names) // 2:
        return None
    numbers = np.repeat([atomic_numbers.get(name, 0) for name in names[: len(counted)]], counted)
    lines = _text(path).split("\n")
    starts = [place + 2 for place, line in enumerate(lines) if re.match(r" *POSITION +TOTAL-FORCE", line)]
    return [
        Content(numbers, np.array([line.split()[:3] for line in lines[start : start + len(numbers)]], dtype=float))
        for start in starts
    ]


def write_trajectory(path: Path, frames: list) -> None:
    with TrajectoryWriter(str(path)) as writer:
        for frame in frames:
            atoms = frame.atoms.copy()
            atoms.calc = SinglePointCalculator(atoms, energy=frame.energy, forces=frame.forces)
            writer.write(atoms)


def write_database(path: Path, frames: list) -> None:
    with connect(str(path), use_lock_file=False) as database:
        for frame in frames:
            database.write(frame.atoms, dft_energy=frame.energy, data={"forces": frame.forces})


def _sorted(frames: list) -> list:
    """Frames of one composition, its atoms by element, as VASP has them."""
    from dataclasses import replace

    first = max(frames, key=lambda frame: len(set(frame.atoms.symbols)))
    order = np.argsort(first.atoms.numbers, kind="stable")
    one = replace(first, atoms=first.atoms[order], forces=first.forces[order])
    two = replace(one, atoms=one.atoms.copy(), energy=one.energy - 0.25)
    two.atoms.positions += 0.01 * np.arange(3 * len(two.atoms)).reshape(-1, 3)
    return [one, two]


GROUPS: list[Group] = [
    StructureFile("extended XYZ", 2600, "frames.xyz", write_frames, naive_extxyz),
    StructureFile("extended XYZ, gzip", 300, "frames.xyz.gz", write_frames, naive_extxyz, gzip.compress),
    StructureFile("extended XYZ, xz", 300, "frames.xyz.xz", write_frames, naive_extxyz, lzma.compress),
    StructureFile("ASE database", 700, "frames.db", write_database, naive_database),
    StructureFile("ASE trajectory", 900, "frames.traj", write_trajectory, naive_trajectory),
    StructureFile(
        "vasprun.xml", 900, "vasprun.xml", lambda path, frames: path.write_text(vasprun(_sorted(frames))), naive_vasprun
    ),
    StructureFile("OUTCAR", 700, "OUTCAR", lambda path, frames: path.write_text(outcar(_sorted(frames))), naive_outcar),
]
