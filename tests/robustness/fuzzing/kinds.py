"""Every kind of file there is to mutate."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from unittest import mock

from tests.robustness.fuzzing import config_files, foreign_files, model_files, structure_files
from tests.robustness.fuzzing.group import Group

ALL: list[Group] = [*structure_files.GROUPS, *config_files.GROUPS, *model_files.GROUPS, *foreign_files.GROUPS]


def prepare(groups: Iterable[Group], folder: Path) -> None:
    """Make the seeds of each group in a folder of its own."""
    with mock.patch.object(os, "fsync"):  # nothing here has to outlive a loss of power
        for group in groups:
            own = folder / group.name.replace(" ", "_")
            own.mkdir(parents=True, exist_ok=True)
            group.prepare(own)
