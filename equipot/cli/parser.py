"""What all verbs share on the command line: strict parsing in one sentence, KEY=VALUE options, logging."""

from __future__ import annotations

import argparse
import difflib
import logging
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

from equipot.errors import UsageError


def nearest(word: str, words: Iterable[str]) -> str:
    """``" (did you mean 'x'?)"`` for the most similar known word, or nothing."""
    close = difflib.get_close_matches(word, list(words), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is one sentence and an exception, and that allows no abbreviations."""

    def __init__(self, prog: str, **settings) -> None:
        super().__init__(
            prog=prog, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **settings
        )
        self.add_argument("--verbose", action="store_true", help="say more about what is being done")

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the whole usage."""
        sentence = message[:1].upper() + message[1:].rstrip(".")
        raise UsageError(f"{sentence}. `{self.prog} --help` shows what can be said.")

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse words in any order of positions and options; name the nearest option for an unknown one."""
        known = [option for action in self._actions for option in action.option_strings]
        for word in arguments:
            name = word.split("=", 1)[0]
            if word == "--":
                break
            if name.startswith("--") and name not in known:
                self.error(f"there is no option {name}{nearest(name, known)}")
        return self.parse_intermixed_args(list(arguments))


def positive_integer(text: str) -> int:
    """A whole number above zero (underscores as in 10_000 are fine)."""
    return _number(text, int, "a whole number above zero", lambda value: value > 0)


def positive_integers(text: str) -> list[int]:
    """Whole numbers above zero with commas between them."""
    return [positive_integer(word) for word in text.split(",")]


def positive(text: str) -> float:
    """A finite number above zero."""
    return _number(text, float, "a number above zero", lambda value: math.isfinite(value) and value > 0)


def not_negative(text: str) -> float:
    """A finite number, zero or above."""
    return _number(text, float, "a number, zero or above", lambda value: math.isfinite(value) and value >= 0)


def finite(text: str) -> float:
    """A finite number."""
    return _number(text, float, "a finite number", math.isfinite)


def _number(text: str, kind: type, expected: str, is_valid: Callable[[float], bool]):
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not is_valid(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not {expected}")
    return value


def pairs(words: Sequence[str], option: str, keys: Sequence[str]) -> dict[str, str]:
    """Read ``KEY=VALUE`` words into a dictionary.

    Args:
        words: what stood after the option.
        option: its name, for messages.
        keys: the keys that have a meaning.

    Raises:
        UsageError: a word without ``=``, an unknown key, or a key given twice.
    """
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not value:
            raise UsageError(f"{option} takes KEY=VALUE words, not {word!r}; put file names before {option}.")
        if key not in keys:
            raise UsageError(f"{option} has no key {key!r}{nearest(key, keys)}; it takes {', '.join(keys)}.")
        if key in found:
            raise UsageError(f"{option} was given {key} twice.")
        found[key] = value
    return found


def add_label_options(parser: Parser) -> None:
    """Add ``--keys`` and ``--units``, for verbs that read labels."""
    parser.add_argument(
        "--keys",
        nargs="+",
        default=[],
        metavar="LABEL=NAME",
        help="names of the labels in the file, e.g. energy=dft_energy forces=dft_forces stress=null "
        "(labels: energy, forces, stress, virial; default: searched for)",
    )
    parser.add_argument(
        "--units",
        nargs="+",
        default=[],
        metavar="LABEL=UNIT",
        help="units of the labels in the file, e.g. energy=Ha forces=Ha/Bohr stress=GPa "
        "stress_sign=compression_positive (default: eV, eV/A, eV/A^3, tension positive)",
    )


def label_configs(arguments: argparse.Namespace):
    """Turn ``--keys`` and ``--units`` into a ``KeysConfig`` and a ``UnitsConfig``."""
    from equipot.config import build
    from equipot.config.schema import KeysConfig, UnitsConfig

    keys = pairs(arguments.keys, "--keys", ("energy", "forces", "stress", "virial"))
    units = pairs(arguments.units, "--units", ("energy", "forces", "stress", "stress_sign"))
    return (
        build(KeysConfig, {key: None if value == "null" else value for key, value in keys.items()}, where="--keys"),
        build(UnitsConfig, units, where="--units"),
    )


def add_head_option(parser: Parser) -> None:
    """Add ``--head``, for verbs that load a model."""
    parser.add_argument("--head", metavar="NAME", help="which level of theory, where the model file holds several")


def add_occupation_options(parser: Parser, supercell: str) -> None:
    """Add ``--occupation`` and ``--occupation-seed``; ``supercell`` is the option that gives the supercell."""
    parser.add_argument(
        "--occupation",
        choices=("random",),
        help=f"fill partly occupied sites (CIF) at random in the supercell of {supercell}; without it they are refused",
    )
    parser.add_argument(
        "--occupation-seed", type=_seed, metavar="N", help="another seed fills the sites otherwise (default 0)"
    )


def _seed(text: str) -> int:
    return _number(text, int, "a whole number, zero or above", lambda value: value >= 0)


def occupation_of(arguments: argparse.Namespace, supercell: Sequence[int] | None):
    """Turn the options into an ``Occupation``, or None where sites are not to be filled."""
    from equipot.data.occupancy import Occupation

    if arguments.occupation is None:
        if arguments.occupation_seed is not None:
            raise UsageError("--occupation-seed is the seed of --occupation: give --occupation random with it.")
        return None
    return Occupation(arguments.occupation, arguments.occupation_seed or 0, tuple(supercell or (1, 1, 1)))


def add_threads_option(parser: Parser) -> None:
    """Add ``--threads``, for verbs that compute."""
    parser.add_argument(
        "--threads",
        type=positive_integer,
        metavar="N",
        help="threads to compute with on the CPU (default: EQUIPOT_THREADS or OMP_NUM_THREADS of the "
        "environment, else the cores this process may use)",
    )


class _ConsoleHandler(logging.StreamHandler):
    """Writes to whatever standard error is at the moment (a progress bar may stand in for it)."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(logging.Formatter("equipot: %(levelname)s: %(message)s"))
        self.addFilter(self._is_news)

    @property
    def stream(self):
        return sys.stderr

    @stream.setter
    def stream(self, value) -> None:
        """Python's constructor sets a stream; there is nothing to keep."""

    @staticmethod
    def _is_news(record: logging.LogRecord) -> bool:
        # Lines of a run below a warning are on the screen already, from its progress and its tables.
        return record.levelno >= logging.WARNING or not record.name.startswith(("equipot.training", "equipot.workflow"))


def set_up_logging(*, verbose: bool) -> None:
    """Send the package's log messages to standard error: warnings, or also information when verbose."""
    logger = logging.getLogger("equipot")
    for handler in [handler for handler in logger.handlers if isinstance(handler, _ConsoleHandler)]:
        logger.removeHandler(handler)
    handler = _ConsoleHandler()
    handler.setLevel(logging.INFO if verbose else logging.WARNING)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO if verbose else logging.WARNING)
