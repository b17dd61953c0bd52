"""Files that last: models, checkpoints and run folders, without pickle, verified on reading, atomic on writing."""

from __future__ import annotations

from equipot.checkpoint.model_file import head_names, load, load_heads, load_model, read_model_document, save_model
from equipot.checkpoint.run_directory import RunDirectory
from equipot.checkpoint.state import flatten_state, unflatten_state

__all__ = [
    "RunDirectory",
    "flatten_state",
    "head_names",
    "load",
    "load_heads",
    "load_model",
    "read_model_document",
    "save_model",
    "unflatten_state",
]
