"""The model file ``.eqp``: everything a potential is, in one safetensors file that stays readable.

Its document holds ``format`` ("equipot-model") and ``format_version``, the configuration, elements, cutoff, units,
dtype, atomic energies, number of parameters, the fingerprint of the Clebsch-Gordan signs the weights were trained with,
energies of a test cluster, the versions of the libraries, and the ``metadata`` given on saving (training data, licence,
citation, metrics, ...).
"""

from __future__ import annotations

import dataclasses
import platform
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from equipot.checkpoint import tensor_file
from equipot.checkpoint.allocation import AllocationLimit
from equipot.checkpoint.atomic import finite_json
from equipot.checkpoint.header import parse_header, read_content
from equipot.checkpoint.heads import check_entries, choose_head, pack_heads, unpack_head
from equipot.checkpoint.migrations import FORMAT_VERSION, migrate
from equipot.checkpoint.probe import check_probe, probe_energies
from equipot.config.located import to_plain
from equipot.errors import CheckpointError, ConfigError, ElementError, NumericalError, UsageError
from equipot.kernels import wigner_3j_fingerprint
from equipot.models import Potential, PotentialConfig, resolve_options
from equipot.version import __version__

FORMAT = "equipot-model"
UNITS = {
    "energy": "eV",
    "length": "Angstrom",
    "forces": "eV/Angstrom",
    "stress": "eV/Angstrom^3, (1/V) dE/dstrain, tension positive, Voigt order xx yy zz yz xz xy",
}
#: Keys every model file's metadata has, None where nothing was given.
METADATA_KEYS = ("atomic_energies_origin", "training_data", "licence", "citation", "metrics")
_DTYPES = ("float32", "float64")
#: Numbers in a list of a model's settings: one for each element, order or layer.
_MAX_LENGTH = 1000
_MAX_LISTED = 8


def save_model(
    path: str | Path,
    potential: Potential,
    *,
    metadata: Mapping[str, Any] | None = None,
    heads: Mapping[str, Potential] | None = None,
) -> None:
    """Write a potential to one file, atomically.

    Args:
        path: the file, usually ``*.eqp``.
        potential: what to save; left unchanged, on whatever device.
        metadata: JSON-able facts about it: ``atomic_energies_origin``, ``training_data`` (hashes of the files),
            ``licence``, ``citation``, ``metrics`` and anything else. NaN becomes null.
        heads: other levels of theory to keep in the same file, by name, with their own metadata; the name of
            ``potential`` itself is then ``metadata["head"]``. See :mod:`equipot.checkpoint.heads`.

    Raises:
        NumericalError: a tensor holds NaN or infinity.
        UsageError: heads that do not go together.
        CheckpointError: the disk does not take it, or metadata that is not JSON.
    """
    for each in (potential, *(heads or {}).values()):
        each.check_finite()
    config = potential.config
    energies = potential.atomic_energies.tolist()
    l_max = _highest_order(config)
    document = {
        "format": FORMAT,
        "format_version": 1,
        "equipot_version": __version__,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "created_with": {
            "python": platform.python_version(),
            **{name: _version(name) for name in ("torch", "e3nn", "numpy", "ase")},
        },
        "architecture": config.architecture,
        "config": to_plain(config.to_dict()),
        "elements": list(potential.elements),
        "cutoff": potential.cutoff,
        "units": UNITS,
        "dtype": config.dtype,
        "atomic_energies": dict(zip(potential.elements, energies)),
        "num_parameters": potential.num_parameters(),
        "clebsch_gordan": {"l_max": l_max, "fingerprint": wigner_3j_fingerprint(l_max), "e3nn": _version("e3nn")},
        "probe": probe_energies(potential),
        "metadata": finite_json({**dict.fromkeys(METADATA_KEYS), **dict(metadata or {})}),
    }
    tensors: Mapping[str, Tensor] = potential.state_dict()
    if heads:
        tensors, entries = pack_heads(path, _named(path, potential, document["metadata"], heads))
        entries = {name: {**entry, "metadata": finite_json(entry["metadata"])} for name, entry in entries.items()}
        first = document["metadata"]["head"]
        document |= {
            "format_version": FORMAT_VERSION,
            "heads": {**entries, first: {**entries[first], "metadata": document["metadata"]}},
        }
    tensor_file.write(path, tensors, document)


def _named(
    path, potential: Potential, metadata: Mapping[str, Any], heads: Mapping[str, Potential]
) -> dict[str, Potential]:
    """All heads by name, the potential's own first."""
    own = metadata.get("head")
    if not isinstance(own, str) or own in heads:
        raise UsageError(
            f"{path}: beside the heads {', '.join(heads)} the potential needs a name of its own in "
            f"metadata['head'], found {own!r}."
        )
    return {own: potential, **heads}


def load_model(
    path: str | Path,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype | None = None,
    head: str | None = None,
) -> Potential:
    """Read a potential.

    Every tensor must be there, with the right shape, and none besides; the file's hash, the Clebsch-Gordan signs and
    the energies of a test cluster are verified. Nothing in the file is executed.

    Args:
        path: a file written by :func:`save_model`.
        device: where the potential shall be.
        dtype: ``float32`` or ``float64`` of the network; default: as in the file.
        head: which level of theory, where the file holds several.

    Returns:
        The potential in evaluation mode; its ``metadata`` is what was given on saving.

    Raises:
        CheckpointError: not a model file, damaged, from a newer version, of an architecture that is not registered,
            or tensors that do not fit; the message lists the differences.
        UsageError: no such device, dtype or head, or none of several heads chosen.
    """
    device, dtype = _device(device), _dtype_name(dtype)
    content = read_content(path)
    header = parse_header(path, content, len(content))
    _check_format(path, header.document)
    tensors, document = tensor_file.decode(path, content, header)
    document, tensors = migrate(document, tensors, where=str(path))
    config = _config(path, document)
    document, tensors = _choose(path, head, document, tensors)
    _check_signs(path, document, config)
    if dtype is not None and dtype != config.dtype:
        config = dataclasses.replace(config, dtype=dtype)
    num_bytes = sum(tensor.numel() * 8 for tensor in tensors.values())
    try:
        with torch.random.fork_rng(devices=[]), AllocationLimit(2**28 + 16 * num_bytes, str(path)):
            potential = Potential(config)
    except (ConfigError, ElementError) as error:
        raise CheckpointError(f"{path}: the model it describes cannot be built: {error}") from None
    _load_tensors(path, potential, tensors, may_convert=config.dtype != document["dtype"])
    if list(potential.elements) != document["elements"] or (
        potential.atomic_energies.tolist() != list(document["atomic_energies"].values())
    ):
        raise CheckpointError(f"{path}: the elements or atomic energies in its document are not those of its tensors.")
    if potential.num_parameters() != document["num_parameters"]:
        raise CheckpointError(
            f"{path}: the document says {document['num_parameters']} parameters, the model has "
            f"{potential.num_parameters()}."
        )
    potential.eval()
    try:
        potential.check_finite()
    except NumericalError as error:
        raise CheckpointError(f"{path}: {error} The file is damaged or made to do harm.") from None
    check_probe(potential, document["probe"], str(path), _written_with(document))
    potential.metadata = document["metadata"]
    return potential.to(device)


def load(
    path: str | Path,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype | None = None,
    head: str | None = None,
) -> Potential:
    """Read a potential; the same as :func:`load_model`."""
    return load_model(path, device, dtype, head)


def load_heads(path: str | Path) -> dict[str, Potential]:
    """Every head of a model file by name; none where it has one without a name."""
    names = head_names(read_model_document(path))
    return {name: load_model(path, head=name) for name in names}


def head_names(document: Mapping[str, Any]) -> list[str]:
    """Names of the heads of a model file's document; none where it has one without a name."""
    if document.get("heads"):
        return list(document["heads"])
    own = document["metadata"].get("head")
    return [own] if isinstance(own, str) else []


def _choose(
    path, head: str | None, document: dict[str, Any], tensors: dict[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Document and tensors of the head meant."""
    name = choose_head(str(path), head, head_names(document))
    return unpack_head(path, name, document, tensors) if document.get("heads") else (document, tensors)


def read_model_document(path: str | Path) -> dict[str, Any]:
    """What a model file says about itself; the hash of the whole file is verified.

    Raises:
        CheckpointError: not a model file, or damaged.
    """
    content = read_content(path)
    header = parse_header(path, content, len(content))
    _check_format(path, header.document)
    _, document = tensor_file.decode(path, content, header)
    document, _ = migrate(document, None, where=str(path))
    _config(path, document)
    return document


def _check_format(path, document: Mapping[str, Any]) -> None:
    found = document.get("format")
    if found != FORMAT:
        what = "a training checkpoint, not a model" if document.get("kind") == "training" else f"of format {found!r}"
        raise CheckpointError(
            f"{path}: this file is {what}; expected a model file such as model.eqp in the run folder."
        )


def _config(path, document: Mapping[str, Any]) -> PotentialConfig:
    """The checked configuration of a document whose keys were checked too."""
    kinds = {
        "config": dict,
        "elements": list,
        "cutoff": float,
        "dtype": str,
        "atomic_energies": dict,
        "clebsch_gordan": dict,
        "probe": list | None,
        "metadata": dict,
        "architecture": str,
        "num_parameters": int,
    }
    for key, kind in kinds.items():
        if key not in document or not isinstance(document[key], kind):
            raise CheckpointError(f"{path}: the document's '{key}' is missing or not what it should be.")
    check_entries(path, document.get("heads"))
    _check_lengths(path, document["config"])
    try:
        config = PotentialConfig.from_dict(document["config"])
        options = resolve_options(config.architecture, None, config.options)
        config = dataclasses.replace(config, options=options)
    except (ConfigError, ElementError) as error:
        raise CheckpointError(f"{path}: the configuration in the file is not valid: {error}") from None
    for key, value in (
        ("architecture", config.architecture),
        ("elements", list(config.elements)),
        ("cutoff", config.cutoff),
        ("dtype", config.dtype),
    ):
        if document[key] != value:
            raise CheckpointError(f"{path}: the document says {key} {document[key]!r}, its configuration {value!r}.")
    if document["probe"] is not None and not all(isinstance(energy, float) for energy in document["probe"]):
        raise CheckpointError(f"{path}: the document's 'probe' is not a list of energies.")
    return config


def _check_lengths(path, config: Mapping[str, Any]) -> None:
    """Refuse settings of a length that no model has, before a model of as many layers is built."""
    options = config.get("options")
    for name, value in (*config.items(), *(options.items() if isinstance(options, dict) else ())):
        if name != "options" and isinstance(value, list | dict | str) and len(value) > _MAX_LENGTH:
            raise CheckpointError(
                f"{path}: its setting {str(name)[:60]} has a length of {len(value)}, more than the {_MAX_LENGTH} of "
                "any model; it is damaged or made to do harm."
            )


def _check_signs(path, document: Mapping[str, Any], config: PotentialConfig) -> None:
    recorded = document["clebsch_gordan"]
    l_max = _highest_order(config)
    if recorded.get("l_max") != l_max or not isinstance(recorded.get("fingerprint"), str):
        raise CheckpointError(f"{path}: its record of the Clebsch-Gordan signs is not of the expected form.")
    if recorded["fingerprint"] != wigner_3j_fingerprint(l_max):
        raise CheckpointError(
            f"{path}: the model was written with e3nn {recorded.get('e3nn')}, whose Clebsch-Gordan "
            f"coefficients have other signs than those of the installed e3nn {_version('e3nn')}; its "
            f"numbers would be wrong. Install e3nn {recorded.get('e3nn')}."
        )


def _load_tensors(path, potential: Potential, tensors: Mapping[str, Tensor], *, may_convert: bool) -> None:
    expected = potential.state_dict()
    differences = [f"{name} is missing" for name in expected if name not in tensors]
    differences += [f"{name} is not part of the model" for name in tensors if name not in expected]
    for name in expected:
        if name not in tensors:
            continue
        here, there = expected[name], tensors[name]
        if here.shape != there.shape:
            differences.append(f"{name} has shape {tuple(there.shape)}, expected {tuple(here.shape)}")
        elif here.dtype != there.dtype and not (may_convert and here.is_floating_point() and there.is_floating_point()):
            differences.append(f"{name} is {there.dtype}, expected {here.dtype}")
    if differences:
        more = f"; and {len(differences) - _MAX_LISTED} more" if len(differences) > _MAX_LISTED else ""
        raise CheckpointError(
            f"{path}: its tensors do not fit the model it describes: {'; '.join(differences[:_MAX_LISTED])}{more}."
        )
    potential.load_state_dict(dict(tensors), strict=True)


def _highest_order(config: PotentialConfig) -> int:
    """The highest l whose coefficients the model can use: the largest of its options named ``*l_max``, else 4."""
    orders = [value for name, value in config.options.items() if name.endswith("l_max") and type(value) is int]
    return min(max(orders, default=4), 8)


def _written_with(document: Mapping[str, Any]) -> str:
    versions = document.get("created_with")
    named = versions.items() if isinstance(versions, dict) else ()
    return ", ".join([f"equipot {document.get('equipot_version')}", *(f"{name} {value}" for name, value in named)])


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _device(device: str | torch.device) -> torch.device:
    try:
        result = torch.device(device)
    except (RuntimeError, TypeError):
        raise UsageError(f"device is {device!r}, expected 'cpu', 'cuda' or 'cuda:N'.") from None
    if result.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"device is {str(device)!r}, but torch finds no CUDA device here; use 'cpu'.")
    return result


def _dtype_name(dtype: str | torch.dtype | None) -> str | None:
    name = str(dtype).removeprefix("torch.") if dtype is not None else None
    if name is not None and name not in _DTYPES:
        raise UsageError(f"dtype is {dtype!r}, expected 'float32' or 'float64'.")
    return name
