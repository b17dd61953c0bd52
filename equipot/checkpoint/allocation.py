"""A limit on what building a model may allocate, so that a file that describes a monster is refused, not obeyed."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from equipot.errors import CheckpointError

#: Allocations below this many bytes are not counted: temporary tables of building.
_SMALL = 1_000_000


class AllocationLimit(TorchDispatchMode):
    """Raises CheckpointError before torch creates tensors of more than ``max_bytes`` in all.

    Args:
        max_bytes: sum over all tensors of at least 1 MB that torch is asked to create by size.
        where: the file, for the message.
    """

    def __init__(self, max_bytes: int, where: str):
        super().__init__()
        self.max_bytes, self.where, self.total = max_bytes, where, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        given = dict(zip((argument.name for argument in func._schema.arguments), args)) | kwargs
        sizes = [given[name] for name in ("size", "n", "m", "steps", "end") if name in given]
        numbers = [
            number
            for size in sizes
            for number in (size if isinstance(size, list | tuple) else [size])
            if isinstance(number, int) and number > 0
        ]
        if numbers and not isinstance(given.get("self"), torch.Tensor):
            dtype = given.get("dtype") or torch.float64
            self._count(prod(numbers) * dtype.itemsize)
        elif numbers and "size" in given and func._schema.name.startswith("aten::new_"):
            self._count(prod(numbers) * (given.get("dtype") or given["self"].dtype).itemsize)
        return func(*args, **kwargs)

    def _count(self, num_bytes: int) -> None:
        self.total += num_bytes if num_bytes >= _SMALL else 0
        if self.total > self.max_bytes:
            raise CheckpointError(
                f"{self.where}: the configuration in the file asks for tensors of more than "
                f"{self.max_bytes / 1e6:.0f} MB, far more than the file holds; it is damaged or made "
                "to do harm."
            )
