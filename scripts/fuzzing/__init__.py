"""Mutated files by the thousand, each read with bounded time and memory, and what became of it."""

from __future__ import annotations

import sys
from pathlib import Path

# The makers of VASP's files are the tests'.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
