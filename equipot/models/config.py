"""Everything that defines a potential besides its tensors, as plain values that go into the model file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch

from equipot.config import FieldError, Limit, Section, build
from equipot.elements import atomic_number, sorted_symbols
from equipot.errors import ElementError
from equipot.nn import RepulsionConstants

DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class PotentialConfig(Section):
    """The architecture with its resolved options, and what the potential wraps around it."""

    architecture: str
    #: Symbols by ascending atomic number.
    elements: tuple[str, ...]
    #: Angstrom.
    cutoff: Annotated[float, Limit(above=0, at_most=50)]
    avg_num_neighbors: Annotated[float, Limit(at_least=0)]
    #: dtype of the network; geometry and energy sums are float64.
    dtype: Literal["float32", "float64"] = "float32"
    zbl: bool = False
    #: Constants of the repulsion; None: the universal ones.
    zbl_constants: RepulsionConstants | None = None
    #: Angstrom, for each element: where the repulsion of a pair ends is the sum; None: Cordero's covalent radii.
    zbl_radii: tuple[Annotated[float, Limit(above=0, at_most=10)], ...] | None = None
    trainable_scale_shift: bool = False
    #: An atom without neighbours has exactly its atomic energy.
    exact_isolated_atoms: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        if self.zbl_radii is not None and len(self.zbl_radii) != len(self.elements):
            raise FieldError(
                "zbl_radii", f"has {len(self.zbl_radii)} numbers, expected {len(self.elements)}, one for each element"
            )
        if not self.elements:
            raise FieldError("elements", "is empty, expected at least one element symbol")
        for symbol in self.elements:
            try:
                atomic_number(symbol)
            except ElementError as error:
                raise FieldError("elements", str(error)) from None
        if tuple(self.elements) != sorted_symbols(self.elements):
            raise FieldError("elements", "must be distinct and sorted by atomic number")

    @property
    def torch_dtype(self) -> torch.dtype:
        """The network's torch dtype."""
        return DTYPES[self.dtype]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PotentialConfig:
        """The inverse of :meth:`to_dict`; ConfigError for anything unknown or out of range."""
        return build(cls, values, where="potential")
