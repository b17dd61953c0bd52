"""Models of other packages, damaged or rewritten, and hostile pickles under every name that is accepted anywhere."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import torch
import yaml

from equipot.checkpoint import RunDirectory, load_model, read_model_document, save_model
from equipot.checkpoint.foreign import FAMILIES, convert
from equipot.config import load_config
from equipot.data import read_frames
from equipot.data.structures import read_structure
from equipot.errors import EquipotError
from tests.robustness.fuzzing.group import AS_WRITTEN, SAME, Group, Wrong
from tests.robustness.fuzzing.model_files import evaluate
from tests.robustness.fuzzing.mutations import mutate_bytes, mutate_nest

_FOLDER = Path(__file__).resolve().parents[2] / "data" / "foreign"
#: Family, file, head.
_SEEDS = (
    ("mace", "mace_plain.model", None),
    ("mace", "mace_mp0.model", None),
    ("mace", "mace_heads.model", "pbe"),
    ("nequip", "nequip_natural.pth", None),
    ("sevennet", "sevennet_xplor.pth", None),
    ("sevennet", "sevennet_polynomial.pth", None),
    ("sevennet", "sevennet_modal.pth", "PBE"),
)


class ForeignFile(Group):
    """Bytes of a checkpoint of SevenNet, MACE or NequIP changed anywhere."""

    name, number = "model of another package", 500

    def prepare(self, folder: Path) -> None:
        self._seeds = []
        for family, name, head in _SEEDS:
            path = _FOLDER / name
            self._seeds.append((family, name, head, path.read_bytes(), evaluate(_convert(family, path, head))))

    def make(self, rng: np.random.Generator, folder: Path) -> Path:
        _, name, _, content, _ = self._seeds[int(rng.integers(len(self._seeds)))]
        path = folder / name
        if rng.random() < 0.5:  # the end holds the directory of the archive
            end = len(content) - 4000
            path.write_bytes(content[:end] + mutate_bytes(content[end:], rng))
        else:
            path.write_bytes(mutate_bytes(content, rng))
        return path

    def read(self, path: Path) -> str:
        family, _, head, _, expected = next(seed for seed in self._seeds if seed[1] == path.name)
        potential = _convert(family, path, head)
        saved = path.parent.parent / f"{path.parent.name}-converted.eqp"
        save_model(saved, potential, metadata=potential.metadata)
        found = evaluate(load_model(saved))
        if np.array_equal(found, expected):
            return SAME
        return self._judge_other_numbers()

    def _judge_other_numbers(self) -> str:
        raise Wrong("a damaged checkpoint was read and gives other numbers")


class RewrittenForeignFile(ForeignFile):
    """The same with a file inside the archive changed and packed again, so that no checksum tells."""

    name, number = "model of another package, packed again", 900

    def make(self, rng: np.random.Generator, folder: Path) -> Path:
        family, name, _, content, _ = self._seeds[int(rng.integers(len(self._seeds)))]
        path = folder / name
        if family == "sevennet" and rng.random() < 0.5:  # what torch.save made here itself
            whole = torch.load(io.BytesIO(content), weights_only=False)
            torch.save({**whole, "config": mutate_nest(dict(whole["config"]), rng)}, path)
            return path
        is_yaml = family == "nequip" and rng.random() < 0.5
        with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(path, "w") as new:
            names = old.namelist()
            main = next(name for name in names if name.endswith("data.pkl"))
            if is_yaml:
                main = next(name for name in names if name.endswith("extra/config"))
            chosen = main if is_yaml or rng.random() < 0.7 else names[int(rng.integers(len(names)))]
            for inner in names:
                inside = old.read(inner)
                if inner == chosen and is_yaml:
                    inside = yaml.safe_dump(mutate_nest(yaml.safe_load(inside), rng)).encode()
                elif inner == chosen:
                    inside = mutate_bytes(inside, rng)
                new.writestr(inner, inside)
        return path

    def _judge_other_numbers(self) -> str:
        return AS_WRITTEN


def _convert(family: str, path: Path, head: str | None):
    return convert(family, path, head=head)


class Hostile:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch owned",)


def _pickles(rng: np.random.Generator) -> bytes:
    """Programs for the pickle machine: calls, imports, bombs of depth and of size, and nonsense."""
    depth, call = int(rng.integers(100, 200_000)), b"cposix\nsystem\n(X\x0b\x00\x00\x00touch ownedtR."
    bombs = [
        pickle.dumps(Hostile(), protocol=int(rng.integers(0, 6))),
        call,
        b"\x80\x02" + call,
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x0btouch owned\x85R.",
        b"(S'touch owned'\niposix\nsystem\n.",
        b"(cposix\nsystem\nS'touch owned'\no.",
        b'c__builtin__\neval\n(S\'open("owned","w")\'\ntR.',
        b"\x80\x02cbuiltins\nexec\nX\x12\x00\x00\x00open('owned', 'w')\x85R.",
        b"]" * depth + b".",
        b"(" * depth + b"t" * depth + b".",
        b"]q\x00" + b"(h\x00h\x00e" * 50 + b".",
        b"\x80\x02]" + b"2" * depth + b"e.",
        b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x.",
        b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"1.",
        b"X" + struct.pack("<I", 2**32 - 1) + b"a.",
        b"I" + b"9" * depth + b"\n.",
        b"L" + b"9" * depth + b"L\n.",
        b"\x80\x02K\x01" * depth + b".",
        b"\x80\x02}" + b"K\x01K\x02s" * depth + b".",
        b"\x82\x01.",
        b"P1\n.",
        b"\x80\x02K\x01Q.",
        b"ccollections\nOrderedDict\n" + b"]" * 3 + b"R.",
        b"ctorch._utils\n_rebuild_tensor_v2\n(KKKKtR.",
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tS'b'\ntR(K\x01(K\x05tcnumpy\ndtype\n(S'O8'\ntR"
        b"NS'x'\ntb.",
    ]
    return bombs[int(rng.integers(len(bombs)))]


def _wrap(content: bytes, rng: np.random.Generator) -> bytes:
    """Bare, or as the data of an archive of torch, its TorchScript, or a zip bomb."""
    kind = int(rng.integers(6))
    if kind < 2:
        return content
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED if kind == 5 else zipfile.ZIP_STORED) as zipped:
        zipped.writestr("archive/data.pkl", content)
        zipped.writestr("archive/version", "3\n")
        zipped.writestr("archive/byteorder", "little" if rng.random() < 0.9 else "big")
        if kind == 3:
            zipped.writestr("archive/code/__torch__.py", "import os\nos.system('touch owned')\n")
            zipped.writestr("archive/constants.pkl", content)
        if kind == 4:
            zipped.writestr("archive/data/0", b"\0" * 64)
            zipped.writestr("../../owned", "x")
        if kind == 5:
            zipped.writestr("archive/data/0", b"\0" * 200_000_000)
    return stream.getvalue()


class HostileFile(Group):
    """Pickles that would run a command or fill the memory, under every name some reader accepts; every reader must
    refuse them."""

    name, number = "hostile pickle", 700
    _NAMES = (
        "model.eqp",
        "a.safetensors",
        "a.pt",
        "a.pth",
        "a.ckpt",
        "a.model",
        "a.nequip.pth",
        "frames.xyz",
        "a.extxyz",
        "a.traj",
        "a.db",
        "vasprun.xml",
        "OUTCAR",
        "run.yaml",
        "a.json",
        "POSCAR",
        "a.cif",
        "a.xyz.gz",
        "a.xyz.xz",
        "a.pickle",
        "md.restart",
    )

    def prepare(self, folder: Path) -> None:
        torch.save(
            {
                "model_state_dict": {"a": torch.ones(2)},
                "config": {"cutoff": Hostile(), "_type_map": Hostile()},
                "epoch": 0,
            },
            folder / "saved",
        )
        self._saved = (folder / "saved").read_bytes()

    def make(self, rng: np.random.Generator, folder: Path) -> Path:
        path = folder / self._NAMES[int(rng.integers(len(self._NAMES)))]
        content = self._saved if rng.random() < 0.1 else _wrap(_pickles(rng), rng)
        if rng.random() < 0.2:
            content = mutate_bytes(content, rng)
        path.write_bytes(content)
        return path

    def read(self, path: Path) -> str:
        last: EquipotError | None = None
        readers = [
            load_model,
            read_model_document,
            read_frames,
            read_structure,
            load_config,
            lambda path: RunDirectory(path).latest(),
        ]
        readers += [lambda path, family=family: convert(family, path) for family in FAMILIES]
        for reader in readers:
            value = refusal = None
            with contextlib.suppress(NotADirectoryError):
                try:
                    value = reader(path)
                except EquipotError as error:
                    refusal = error
            if value is not None:
                raise Wrong("a pickle was read as if it were a file of ours")
            last = refusal or last
        raise last


GROUPS: list[Group] = [ForeignFile(), RewrittenForeignFile(), HostileFile()]
