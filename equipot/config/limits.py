"""What a field accepts beyond its type, written beside the type: ``epochs: Annotated[int, Limit(at_least=1)]``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from ase.data import chemical_symbols

ELEMENTS = tuple(chemical_symbols[1:])


@dataclass(frozen=True)
class Limit:
    """Bounds of a number."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def __post_init__(self):
        words = {"of at least": self.at_least, "above": self.above, "at most": self.at_most, "below": self.below}
        object.__setattr__(
            self,
            "text",
            " and ".join(
                f"{word} {bound:g}" if isinstance(bound, float) else f"{word} {bound}"
                for word, bound in words.items()
                if bound is not None
            ),
        )

    def accepts(self, value: float) -> bool:
        """Whether ``value`` lies within the bounds."""
        return not (
            (self.at_least is not None and value < self.at_least)
            or (self.above is not None and value <= self.above)
            or (self.at_most is not None and value > self.at_most)
            or (self.below is not None and value >= self.below)
        )


@dataclass(frozen=True)
class Rule:
    """A condition on a value that is not a bound.

    Args:
        accepts: whether a value of the right type is good.
        text: what is expected, in words that stand after "expected".
        names: valid values to suggest the nearest of.
    """

    accepts: Callable[[Any], bool]
    text: str
    names: tuple[str, ...] = ()


def _is_regular_expression(text: str) -> bool:
    if len(text) > 200:
        return False
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError):
        return False
    return True


PositiveInt = Annotated[int, Limit(at_least=1)]
Count = Annotated[int, Limit(at_least=0)]
Seed = Annotated[int, Limit(at_least=0, at_most=2**32 - 1)]
Positive = Annotated[float, Limit(above=0)]
NonNegative = Annotated[float, Limit(at_least=0)]
#: 0 <= x <= 1, 0 <= x < 1 and 0 < x < 1.
Fraction = Annotated[float, Limit(at_least=0, at_most=1)]
FractionBelowOne = Annotated[float, Limit(at_least=0, below=1)]
OpenFraction = Annotated[float, Limit(above=0, below=1)]
Element = Annotated[str, Rule(lambda text: text in ELEMENTS, "the symbol of a chemical element", ELEMENTS)]
Expression = Annotated[str, Rule(_is_regular_expression, "a regular expression of at most 200 characters")]
#: A name that may become part of a file name.
PlainName = Annotated[
    str,
    Rule(
        lambda text: re.fullmatch(r"[A-Za-z0-9][\w .+-]{0,99}", text) is not None,
        "a name of letters, digits, '_', '-', '+', '.' and spaces that begins with a letter or digit",
    ),
]
#: The name of something registered: a word, never a path into a module.
Identifier = Annotated[
    str,
    Rule(
        lambda text: re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,63}", text) is not None,
        "a word of letters, digits, '_' and '-'",
    ),
]
NotEmpty = Annotated[str, Rule(lambda text: text.strip() != "" and "\0" not in text, "text that is not empty")]
