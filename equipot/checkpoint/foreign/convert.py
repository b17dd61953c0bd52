"""``convert``: a checkpoint of another package to a potential of equipot, with where it came from in its metadata."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from equipot.checkpoint.foreign.facts import PUBLISHED, Facts
from equipot.checkpoint.foreign.imported import FIRST, Imported
from equipot.checkpoint.foreign.mace import read_mace
from equipot.checkpoint.foreign.nequip import read_nequip
from equipot.checkpoint.foreign.sevennet import read_sevennet
from equipot.checkpoint.foreign.torch_archive import Archive, read_archive
from equipot.errors import CheckpointError, ConfigError, ElementError, NumericalError, UsageError
from equipot.models import Potential

#: Family -> its importer.
FAMILIES: dict[str, Callable[[Archive, str | None, str], Imported]] = {
    "sevennet": read_sevennet,
    "mace": read_mace,
    "nequip": read_nequip,
}
DTYPES = ("float32", "float64")


def convert(family: str, source: str | Path, *, head: str | None = None, dtype: str = "float32") -> Potential:
    """Take in the weights of a checkpoint of SevenNet, MACE or NequIP, exactly.

    Nothing in the file is imported or executed, and the package that wrote it is not needed. The potential is an
    ordinary one, to be saved with :func:`equipot.checkpoint.save_model`; its ``metadata`` says where it came from.

    Args:
        family: ``sevennet``, ``mace`` or ``nequip``.
        source: the checkpoint; or, for ``sevennet``, the name of a model (``7net-0``, ``7net-l3i5``, ``7net-mf-0``)
            that an installed ``sevenn`` distribution has.
        head: which of several levels of theory.
        dtype: of the network, ``float32`` (what these models were trained in) or ``float64``.

    Raises:
        UsageError: an unknown family, name, head or dtype; several heads and none chosen.
        CheckpointError: the file is not of this family, damaged, or of a kind that is not covered.
    """
    return _take_in(family, _read(family, source, dtype), head, dtype).potential


def convert_heads(family: str, source: str | Path, *, dtype: str = "float32") -> dict[str | None, Potential]:
    """:func:`convert` for every head of a checkpoint: name -> potential, in the order of the file.

    A checkpoint whose one head has no name gives it under None.
    """
    archive = _read(family, source, dtype)
    first = _take_in(family, archive, FIRST, dtype)
    others = [name for name in first.heads if name != first.head]
    return {first.head: first.potential, **{name: _take_in(family, archive, name, dtype).potential for name in others}}


def _read(family: str, source: str | Path, dtype: str) -> Archive:
    if family not in FAMILIES:
        raise UsageError(f"There is no family {family!r}; the families are {', '.join(FAMILIES)}.")
    if dtype not in DTYPES:
        raise UsageError(f"dtype is {dtype!r}, expected 'float32' or 'float64'.")
    return read_archive(_find(family, source))


def _take_in(family: str, archive: Archive, head: str | None, dtype: str) -> Imported:
    try:
        imported = FAMILIES[family](archive, head, dtype)
        imported.potential.check_finite()
    except CheckpointError as error:
        raise error if str(archive.path) in str(error) else CheckpointError(f"{archive.path}: {error}") from None
    except UsageError as error:
        if isinstance(error, ConfigError):  # of the model the file describes, not of the user's
            raise CheckpointError(f"{archive.path}: the model it describes cannot be built: {error}") from None
        raise
    except (ElementError, NumericalError) as error:
        raise CheckpointError(f"{archive.path}: {error}") from None
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise CheckpointError(
            f"{archive.path}: its settings or tensors are not those of a checkpoint of {family} that "
            f"is covered ({reason}); it is damaged or of another version."
        ) from error
    imported.potential.metadata = _metadata(family, archive, imported)
    return imported


def _find(family: str, source: str | Path) -> Path:
    path = Path(source).expanduser()
    name = str(source).lower()
    names = [alias for facts in PUBLISHED.values() for alias in facts.aliases] if family == "sevennet" else []
    if path.exists() or name not in names:
        if not path.exists() and family == "sevennet" and "/" not in name and "." not in name:
            raise UsageError(
                f"There is no file {source}, and no model of that name: those of an installed sevenn are "
                f"{', '.join(names)}."
            )
        return path
    try:
        files = distribution("sevenn").files or []
    except PackageNotFoundError:
        raise UsageError(
            f"{source} is looked for in an installed sevenn distribution; there is none here, so give the "
            "checkpoint's path."
        ) from None
    folder = next(facts.file for facts in PUBLISHED.values() if name in facts.aliases)
    for file in files:
        if folder in file.parts and file.suffix == ".pth":
            return Path(str(file.locate()))
    raise UsageError(f"The installed sevenn distribution has no {folder}; give the checkpoint's path.")


def _metadata(family: str, archive: Archive, imported: Imported) -> dict:
    facts: Facts | None = PUBLISHED.get(archive.sha256)
    theory = None if facts is None else facts.level_of_theory
    if theory is not None and not isinstance(theory, str):
        theory = theory.get(imported.head)
    return {
        "name": archive.path.stem if facts is None else facts.name,
        "licence": None if facts is None else facts.licence,
        "citation": None if facts is None else facts.citation,
        "atomic_energies_origin": imported.atomic_energies_origin,
        "training_data": None if facts is None else {"source": facts.training_data},
        "level_of_theory": theory,
        "head": imported.head,
        "converted_from": {
            "family": family,
            "file": archive.path.name,
            "sha256": archive.sha256,
            "heads": list(imported.heads),
            **dict(imported.source),
        },
    }
