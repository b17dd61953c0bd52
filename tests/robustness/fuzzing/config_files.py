"""Configurations: mutated as text and as a nest of values; what is read must be all that the file says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from equipot.config import load_config, to_dict, to_yaml
from equipot.config.yaml_reader import MAX_BYTES
from tests.robustness.fuzzing.group import AS_WRITTEN, SAME, Group, Wrong
from tests.robustness.fuzzing.mutations import NASTY, mutate_bytes, mutate_nest

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
_NASTY = (
    *NASTY,
    math.nan,
    math.inf,
    -math.inf,
    "{",
    "*a",
    "&a",
    "!!python/name:os.system",
    "1_000",
    "0x10",
    "010",
    "1:30",
    "2026-01-01",
    "On",
    "No",
    "~",
    ".inf",
    "\ufeffx",
)


def _bombs(rng: np.random.Generator) -> str:
    """Texts that have brought YAML readers down, or made them run something."""
    depth = int(rng.integers(10, 40_000))
    lines = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'lol'}]" for n in range(9))
    words = [
        "!!python/object/apply:os.system ['touch owned']",
        "!!python/name:os.system ''",
        "!!binary gIGC",
        "!!python/object/new:os.system ['touch owned']",
        "!!python/module:os ''",
        "!<tag:yaml.org,2002:set> {a}",
        "!!python/tuple [1]",
        "!!omap [a: 1]",
        "!!timestamp 2001-12-14",
        "!!float 3",
        "!local x",
        "!!str 3",
    ]
    return [
        "data: " + "[" * depth,
        "data: " + "[" * depth + "]" * depth,
        "{a: " * depth,
        "- " * depth,
        "? " * depth,
        "\n".join("  " * k + f"k{k}:" for k in range(min(depth, 1500))),
        lines,
        "a: &x {b: *x}\n",
        "a: &a [*a]\n",
        f"name: {words[int(rng.integers(len(words)))]}\n",
        "<<: {name: x}\nname: y\n",
        "a: 1\n--- \nb: 2\n",
        "%YAML 9.9\n---\n",
        "name: '" + "x" * depth,
        "name: |\n" + "  x\n" * depth,
        "[]: 1\n",
        "{a: 1}: 2\n",
        "? [1, 2]\n: 3\n",
        "\t\n",
        "\0",
        'name: "\\x00\\ud800"\n',
        'name: "\\U00110000"\n',
        "a: " * depth,
        "#" * depth,
        "\n" * depth,
        "'" * depth,
        "name: " + "9" * depth + "\n",
        "seed: " + "9" * 25 + "\n",
        "seed: -" + "0" * depth,
        "seed: 1e" + "9" * depth,
        "x: y\n" * depth,
        "".join(f"k{n}: {n}\n" for n in range(min(depth, 30_000))),
        "\ufeff\ufeffname: x\n",
        "name: x\n" + "#" * (MAX_BYTES + 10),
        "data: {train: [" + "a.xyz, " * depth + "]}\n",
        "\u2028name: x\n",
        "name:\rx\r",
    ][int(rng.integers(37))]


class ConfigFile(Group):
    """Every recipe of the repository and one configuration with every key, mutated."""

    name, number = "configuration", 2500

    def prepare(self, folder: Path) -> None:
        self._paths = sorted(CONFIGS.glob("*.yaml"))
        self._seeds = [path.read_bytes() for path in self._paths]
        self._seeds += [to_yaml(load_config(path)).encode() for path in self._paths]
        self._values = [to_dict(load_config(path)) for path in self._paths]

    def make(self, rng: np.random.Generator, folder: Path) -> Path:
        path, kind = folder / "run.yaml", float(rng.random())
        seed = self._seeds[int(rng.integers(len(self._seeds)))]
        if kind < 0.4:
            path.write_bytes(mutate_bytes(seed, rng))
        elif kind < 0.9:
            value = mutate_nest(
                yaml.safe_load(to_yaml(load_config(self._paths[int(rng.integers(len(self._paths)))]))), rng, _NASTY
            )
            path.write_text(_dump(value, rng), encoding="utf-8", errors="surrogatepass")
        else:
            bomb = _bombs(rng)
            text = bomb if rng.random() < 0.5 else seed.decode() + bomb
            path.write_text(text, encoding="utf-8", errors="surrogatepass")
        return path

    def read(self, path: Path) -> str:
        config = load_config(path)
        found = to_dict(config)
        path_again = path.parent.parent / f"{path.parent.name}.yaml"
        path_again.write_text(to_yaml(config), encoding="utf-8")
        if load_config(path_again) != config:
            raise Wrong("the resolved configuration does not read back equal")
        _require(yaml.load(path.read_bytes().decode("utf-8-sig"), yaml.BaseLoader), found, "")
        return SAME if found in self._values else AS_WRITTEN


def _dump(value: Any, rng: np.random.Generator) -> str:
    try:
        return yaml.safe_dump(
            value, allow_unicode=bool(rng.integers(2)), sort_keys=False, default_flow_style=bool(rng.integers(2))
        )
    except (yaml.YAMLError, RecursionError):
        return repr(value)


def _require(said: Any, found: Any, place: str) -> None:
    """Everything the file says (a nest of texts) must be in the configuration, as the number or word it is."""
    if isinstance(said, Mapping):
        if not isinstance(found, Mapping):
            if said:
                raise Wrong(f"{place}: a mapping was taken for {found!r}")
            return
        for key, value in said.items():
            if key not in found:
                if value in ("", "~", "null", "Null", "NULL"):
                    continue  # given and without effect
                raise Wrong(f"{place}.{key} is in the file and not in the configuration")
            _require(value, found[key], f"{place}.{key}")
    elif isinstance(said, list):
        if not isinstance(found, list) or len(found) != len(said):
            raise Wrong(f"{place}: a list of {len(said)} became {str(found)[:60]}")
        for number, (one, two) in enumerate(zip(said, found)):
            _require(one, two, f"{place}.{number}")
    elif not _is_said(str(said), found):
        raise Wrong(f"{place}: {str(said)[:60]!r} became {str(found)[:60]!r}")


def _is_said(said: str, found: Any) -> bool:
    if isinstance(found, bool):
        return said.lower() == str(found).lower()
    if isinstance(found, int | float):
        return float(said.lower().replace(".inf", "inf").replace(".nan", "nan")) == float(found)
    if found is None:
        return said in ("", "~", "null", "Null", "NULL")
    return said == found


GROUPS: list[Group] = [ConfigFile()]
