"""Structures that a finished potential has labelled, mixed into the steps of a fine-tuning so that it forgets less."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from equipot.graph import AtomicGraph


@dataclass(frozen=True)
class Replay:
    """What is replayed, and how much.

    Attributes:
        graphs: labelled by the base.
        batch_size: graphs a step; None: as many as the step has of the user's own.
        weight: factor on their part of the loss, which is divided by their own number of labels.
        seed: fixes which are drawn.
        scope: entered around every prediction of them (their level of theory may have parameters of its own).
    """

    graphs: Sequence[AtomicGraph]
    batch_size: int | None = None
    weight: float = 1.0
    seed: int = 0
    scope: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext

    def draw(self, epoch: int, sizes: Sequence[int]) -> list[list[int]]:
        """Which graphs each step of an epoch replays, a pure function of the seed and the epoch.

        Every graph comes up before one comes up twice.

        Args:
            epoch: counted from 0.
            sizes: of each step, how many graphs of the user's own it has.

        Returns:
            Places in ``graphs``.
        """
        wanted = [min(self.batch_size or size, len(self.graphs)) for size in sizes]
        generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([abs(self.seed), int(epoch), 1])))
        order: list[int] = []
        while len(order) < sum(wanted):
            order += generator.permutation(len(self.graphs)).tolist()
        ends = np.cumsum(wanted).tolist()
        return [order[end - size : end] for end, size in zip(ends, wanted)]
