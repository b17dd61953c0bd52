"""The documented list of keys labels are looked for under, and the choice of one key a label and file.

Order of search: names that say *reference* (``REF_``), then plain names, then names with ``dft``, then what a
calculator left behind under a name already taken. One key is used for a whole file: frames that lack it lack the label.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field

from equipot.config.schema import KeysConfig
from equipot.data.frames import RawFrame
from equipot.errors import DataError


def _spellings(*names: str) -> tuple[str, ...]:
    """All accepted keys for a label with these names, best first."""
    reference = [prefix + name for prefix in ("REF_", "ref_") for name in names]
    plain = [spelling for name in names for spelling in (name, name.capitalize())]
    dft = [key for name in names for key in (f"dft_{name}", f"DFT_{name}", f"{name}_dft", f"{name}_DFT")]
    calculator = [f"{name} (calculator)" for name in names]
    return (*reference, *plain, *dft, *calculator)


ENERGY_KEYS = (*_spellings("energy"), "total_energy", "REF_total_energy", "free_energy")
FORCES_KEYS = _spellings("forces", "force")
STRESS_KEYS = _spellings("stress")
VIRIAL_KEYS = _spellings("virial", "virials")

#: Everything that may be a label, under any name (not to be written out as an ordinary key).
ALL_LABEL_KEYS = frozenset((*ENERGY_KEYS, *FORCES_KEYS, *STRESS_KEYS, *VIRIAL_KEYS))


@dataclass(frozen=True)
class LabelKey:
    """Where a label is read from: ``quantity`` is energy, forces, stress or virial."""

    quantity: str
    key: str


@dataclass
class ChosenKeys:
    """The key of each label in one file, the others that were there too, and what the file holds.

    Attributes:
        chosen: Label (energy, forces, stress) -> where it is, or None.
        others: Label -> further keys of the list that are in the file as well.
        available: ``info`` and ``arrays`` -> sorted keys in the file.
    """

    chosen: dict[str, LabelKey | None] = field(default_factory=dict)
    others: dict[str, list[LabelKey]] = field(default_factory=dict)
    available: dict[str, list[str]] = field(default_factory=dict)


def is_reference(key: str) -> bool:
    """Whether a key says of itself that it is the reference, so that others beside it are not rivals."""
    return key.lower().startswith("ref_")


def choose_keys(frames: Sequence[RawFrame], keys: KeysConfig) -> ChosenKeys:
    """Find the key of each label for a file; a key that was asked for and is not there leaves the label without one.

    Args:
        frames: All frames of the file.
        keys: ``auto`` searches the list, None leaves the label out, anything else is the key.
    """
    info = _present(frame.info for frame in frames)
    arrays = _present(frame.arrays for frame in frames)
    result = ChosenKeys(available={"info": sorted(info), "arrays": sorted(arrays)})

    def candidates(quantity: str, wanted: str | None, listed: Sequence[str], there: set[str]) -> list[LabelKey]:
        if wanted is None:
            return []
        if wanted == "auto":
            return [LabelKey(quantity, key) for key in listed if key in there]
        return [LabelKey(quantity, wanted)] if wanted in there else []

    found = {
        "energy": candidates("energy", keys.energy, ENERGY_KEYS, info),
        "forces": candidates("forces", keys.forces, FORCES_KEYS, arrays),
    }
    stress = candidates("stress", keys.stress, STRESS_KEYS, info)
    virial = candidates("virial", keys.virial, VIRIAL_KEYS, info)
    named = [quantity for quantity in ("stress", "virial") if getattr(keys, quantity) not in ("auto", None)]
    if named and not any(label.quantity in named for label in stress + virial):
        found["stress"] = []  # the one that was named is not here: another is not taken for it
    elif "stress" in named or not named:
        found["stress"] = stress + virial
    else:  # the virial was named, the stress was not
        found["stress"] = virial + stress
    if keys.stress == "auto" and keys.virial == "auto":
        found["stress"].sort(key=lambda label: not is_reference(label.key))
    for label, labels in found.items():
        result.chosen[label] = labels[0] if labels else None
        result.others[label] = labels[1:]
    return result


def _present(dictionaries) -> set[str]:
    return {key for dictionary in dictionaries for key, value in dictionary.items() if value is not None}


def describe_available(available: dict[str, list[str]]) -> str:
    """Say which keys a file has, for an error message."""
    info, arrays = (", ".join(available.get(place, [])[:40]) or "none" for place in ("info", "arrays"))
    return f"Keys that are there: per frame {info}; per atom {arrays}"


def missing_keys(keys: KeysConfig, available: dict[str, list[str]]) -> dict[str, str]:
    """The keys that were asked for and are not among the available ones: quantity -> key."""
    return {
        quantity: wanted
        for quantity in ("energy", "forces", "stress", "virial")
        if (wanted := getattr(keys, quantity)) not in ("auto", None) and wanted not in available[_place(quantity)]
    }


def refuse_missing_keys(available: dict[str, dict[str, list[str]]], keys: KeysConfig) -> None:
    """Refuse a key that was asked for and is in none of the files.

    Args:
        available: File -> what is in it, as in ``ChosenKeys.available``.
        keys: What was asked for.

    Raises:
        DataError: Names the key and lists those that are there.
    """
    merged = {
        place: sorted({key for there in available.values() for key in there[place]}) for place in ("info", "arrays")
    }
    for quantity, wanted in missing_keys(keys, merged).items():
        raise DataError(missing_key_message(", ".join(available), quantity, wanted, merged))


def _place(quantity: str) -> str:
    return "arrays" if quantity == "forces" else "info"


def missing_key_message(path: str, quantity: str, wanted: str, available: dict[str, list[str]]) -> str:
    """The sentence for a key that was asked for and is in no frame."""
    place = _place(quantity)
    close = difflib.get_close_matches(wanted, available.get(place, []), n=1, cutoff=0.6)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    return (
        f"{path}: the key '{wanted}' asked for as {quantity} (data.keys.{quantity}) is in no frame.{hint} "
        f"{describe_available(available)}."
    )


def nothing_found_message(path: str, label: str, available: dict[str, list[str]]) -> str:
    """The sentence for a label that was looked for everywhere and is in no frame."""
    listed = {"energy": ENERGY_KEYS, "forces": FORCES_KEYS, "stress": (*STRESS_KEYS, *VIRIAL_KEYS)}[label]
    looked = ", ".join(key for key in listed if "calculator" not in key)
    return (
        f"{path}: no {label} in any frame. Looked for {looked}. {describe_available(available)}. Name the key with "
        f"data.keys.{label}=NAME, or set data.keys.{label}=null to go on without it."
    )
