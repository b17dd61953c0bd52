"""Archives that are models of NequIP in another form are named for what they are."""

from __future__ import annotations

import zipfile

import pytest

from equipot.checkpoint.foreign import FAMILIES, convert
from equipot.errors import CheckpointError


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("member", "part"),
    [
        ("model/.data/extern_modules", r"torch\.package, as nequip-package of NequIP 0\.7"),
        ("model/data/aotinductor/model/wrapper.so", "compiled by AOTInductor, as nequip-compile"),
    ],
)
def test_packages_are_named(family, member, part, tmp_path):
    path = tmp_path / "model.nequip.zip"
    with zipfile.ZipFile(path, "w") as zipped:
        zipped.writestr(member, "nequip\n")
        zipped.writestr("model/byteorder", "little")
    with pytest.raises(CheckpointError, match=part):
        convert(family, path)
