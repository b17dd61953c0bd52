"""Files with mutated bytes: only equipot's errors come out, and what is read is all that is there (D9)."""

from __future__ import annotations

import io
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from ase.io.trajectory import TrajectoryWriter

from equipot.data import check_frames, read_frames, write_frames
from equipot.data.extxyz import count_frames
from equipot.errors import EquipotError
from tests.unit.data.frames_text import frame, good

_SECONDS = 5
_INTERESTING = b'\n\n\r\t  "\'{}[]=:,.-+eE_\\\0\xff\xc3019999TFnN#'


def _mutate(content: bytes, generator: np.random.Generator) -> bytes:
    """Change, insert, delete, repeat or move a few bytes, as broken disks and careless scripts do."""
    data = bytearray(content)
    for _ in range(int(generator.integers(1, 5))):
        if not data:
            break
        place, kind = int(generator.integers(len(data))), int(generator.integers(12))
        length = int(generator.integers(1, 40))
        if kind == 0:
            data[place] = int(generator.integers(256))
        elif kind == 1:
            data[place] = _INTERESTING[int(generator.integers(len(_INTERESTING)))]
        elif kind == 2:
            data[place:place] = bytes([_INTERESTING[int(generator.integers(len(_INTERESTING)))]])
        elif kind == 3:
            del data[place:place + length]
        elif kind == 4:
            data[place:place] = data[place:place + length]
        elif kind == 5:
            del data[place:]
        elif kind < 11:  # what silently changes meaning: one digit for another
            places = [position for position, byte in enumerate(data) if 48 <= byte <= 57]
            data[places[int(generator.integers(len(places)))] if places else 0] = 48 + int(generator.integers(10))
        else:
            lines = bytes(data).split(b"\n")
            a, b = (int(generator.integers(len(lines))) for _ in range(2))
            lines[a], lines[b] = lines[b], lines[a]
            data = bytearray(b"\n".join(lines))
    return bytes(data)


class _Deadline:
    """Fail a test that hangs instead of waiting for it."""

    def __enter__(self):
        def stop(*_):
            raise AssertionError(f"still reading after {_SECONDS} s")

        self.previous = signal.signal(signal.SIGALRM, stop)
        signal.alarm(_SECONDS)

    def __exit__(self, *_):
        signal.alarm(0)
        signal.signal(signal.SIGALRM, self.previous)


def _read(path: Path, on_bad: str) -> int | None:
    """Number of frames accounted for, or None where the file was refused in words."""
    with _Deadline():
        try:
            result = read_frames(path, on_bad=on_bad)
            check_frames(result).lines()
        except EquipotError as error:
            assert path.name in str(error) or "frame" in str(error)
            assert "\n" not in str(error)
            return None
    assert len(result) + len(result.report.skipped) == result.report.num_frames
    return result.report.num_frames


def _seeds() -> list[bytes]:
    rich = frame(extra=' REF_stress="0.01 0 0 0 0.01 0 0 0 0.01" config_type=bulk config_weight=2.0 note="a b"')
    return [good(3).encode(), (rich + frame(-1.0, rows=1) + rich).encode()]


def _fuzz_extxyz(folder: Path, count: int) -> tuple[int, int]:
    generator = np.random.Generator(np.random.PCG64(20150315))
    path = folder / "fuzzed.xyz"
    read = refused = 0
    for number in range(count):
        path.write_bytes(_mutate(_seeds()[number % 2], generator))
        found = _read(path, "skip" if number % 3 == 0 else "error")
        if found is None:
            refused += 1
        else:
            assert found == count_frames(path) > 0
            read += 1
    return read, refused


def test_mutated_extxyz(tmp_path):
    read, refused = _fuzz_extxyz(tmp_path, 600)
    assert read > 60 and refused > 200  # both ways are really taken


@pytest.mark.slow
def test_ten_thousand_mutated_extxyz(tmp_path):
    started = time.monotonic()
    assert sum(_fuzz_extxyz(tmp_path, 10_000)) == 10_000
    assert time.monotonic() - started < 900


def _trajectory_bytes(frames) -> bytes:
    stream = io.BytesIO()
    writer = TrajectoryWriter(stream)
    for labelled in frames:
        writer.write(labelled.atoms, energy=labelled.energy, forces=labelled.forces)
    return stream.getvalue()


@pytest.mark.parametrize("suffix", [".traj", ".db", ".xyz.gz", ".xyz.xz"])
def test_mutated_binary_files(suffix, cu_au, tmp_path):
    frames = cu_au[:3]
    generator = np.random.Generator(np.random.PCG64(7))
    seed = tmp_path / f"seed{suffix}"
    if suffix == ".traj":
        seed.write_bytes(_trajectory_bytes(frames))
    elif suffix == ".db":
        from ase.db import connect

        with connect(str(seed), use_lock_file=False) as database:
            for labelled in frames:
                database.write(labelled.atoms, dft_energy=labelled.energy, data={"forces": labelled.forces})
    else:
        write_frames(seed, frames)
    content, path = seed.read_bytes(), tmp_path / f"fuzzed{suffix}"
    assert _read(seed, "error") == 3
    for number in range(60):
        path.write_bytes(_mutate(content, generator))
        _read(path, "skip" if number % 2 else "error")
