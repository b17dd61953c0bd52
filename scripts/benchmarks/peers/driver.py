"""The driver's side: starts a worker process a package and asks them in turn, so that load and clock hit all alike."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from peers.protocol import ANSWER

SCRIPTS = Path(__file__).resolve().parents[1]
#: Uncounted calls before a case is timed: graphs are compiled, buffers allocated, lists built.
WARM_UP = 3


class PeerError(Exception):
    """A worker failed; the message says how."""


class Worker:
    """A long-lived worker process, spoken to in JSON lines."""

    def __init__(
        self, name: str, command: Sequence[str], threads: int, log: Path, environment: dict[str, str] | None = None
    ) -> None:
        self.name, self._log = name, log
        count = str(threads)
        variables = {
            **os.environ,
            "OMP_NUM_THREADS": count,
            "MKL_NUM_THREADS": count,
            "OPENBLAS_NUM_THREADS": count,
            "PYTHONUNBUFFERED": "1",
            **(environment or {}),
        }
        variables.pop("PYTHONPATH", None)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                command, cwd=SCRIPTS, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
            )
        os.set_blocking(self._process.stdout.fileno(), False)
        self._buffer = b""

    def ask(self, request: dict[str, Any], timeout: float) -> dict[str, Any]:
        """Send a request and wait for the answer.

        Raises:
            PeerError: it answered with an error, died, or took longer than ``timeout`` seconds (it is then killed).
        """
        if self._process.stdin.closed:
            raise PeerError("it was ended after it gave no answer in an earlier case")
        try:
            self._process.stdin.write((json.dumps(request) + "\n").encode())
            self._process.stdin.flush()
        except OSError:
            raise PeerError(self._last_words()) from None
        limit = time.monotonic() + timeout
        while not (line := self._read_line(limit, timeout)).startswith(ANSWER.encode()):
            pass
        answer = json.loads(line.removeprefix(ANSWER.encode()))
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer

    def _read_line(self, limit: float, timeout: float) -> bytes:
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(max(0.0, limit - time.monotonic())):
                    self.stop()
                    raise PeerError(f"no answer within {timeout:.0f} s")
                chunk = self._process.stdout.read()
                if chunk == b"":
                    raise PeerError(self._last_words())
                self._buffer += chunk or b""
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _last_words(self) -> str:
        code = self._process.wait()
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return f"stopped with code {code}: {lines[-1] if lines else 'nothing was said'}"

    def stop(self) -> None:
        """End the process."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):  # what was still to be written to a process that is gone
                pipe.close()


@dataclass
class Measurement:
    """All timed calls of one package in one case (seconds)."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    memory_mb: float = 0.0
    first_call_s: float = 0.0
    error: str | None = None

    def add(self, answer: dict[str, Any]) -> None:
        """Take in the answer of a worker."""
        self.wall += answer["wall"]
        self.cpu += answer["cpu"]
        self.memory_mb = max(self.memory_mb, answer["memory_mb"])


def calls_per_turn(seconds_per_call: float, seconds: float) -> int:
    """How many calls fill a turn: at least one, at most fifty."""
    return int(np.clip(round(seconds / max(seconds_per_call, 1e-9)), 1, 50))


def run_case(
    workers: Iterable[Worker], case: str, *, turns: int, seconds: float, timeout: float, say: Callable[[str], None]
) -> dict[str, Measurement]:
    """Warm every worker up, then give each a turn after the other, ``turns`` times over.

    Args:
        workers: with their models built.
        case: name of a structure or of a training batch.
        turns: rounds.
        seconds: length of a turn.
        timeout: after which a worker counts as hung, seconds.
        say: told what is being measured.

    Returns:
        A measurement for every worker; one that failed has its error and no times.
    """
    results, ready = {}, []
    for worker in workers:
        say(f"{case}: {worker.name} warms up")
        results[worker.name] = measurement = Measurement()
        try:
            # With compile modes the first call compiles; the second shows how long a call takes.
            for calls in (1, WARM_UP - 1):
                answer = worker.ask({"command": "run", "case": case, "calls": calls}, timeout)
                measurement.first_call_s = measurement.first_call_s or answer["wall"][0]
            ready.append((worker, calls_per_turn(float(np.median(answer["wall"])), seconds)))
            measurement.memory_mb = answer["memory_mb"]
        except PeerError as error:
            measurement.error = str(error)
    for turn in range(turns):
        for worker, calls in list(ready):
            say(f"{case}: turn {turn + 1} of {turns}, {worker.name}")
            try:
                results[worker.name].add(worker.ask({"command": "run", "case": case, "calls": calls}, timeout))
            except PeerError as error:
                results[worker.name] = Measurement(error=str(error))
                ready = [pair for pair in ready if pair[0] is not worker]
    return results
