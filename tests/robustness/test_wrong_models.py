"""A file that is no model, or a damaged one, is refused in one sentence by every verb that takes a model."""

from __future__ import annotations

import pickle

import pytest

VERBS = {"eval": ["frames.xyz"], "predict": ["frames.xyz", "-o", "out.xyz"], "info": [], "md": ["frames.xyz"]}


class Payload:
    """Would make a file if it were ever unpickled."""

    def __reduce__(self):
        return (open, ("owned", "w"))


def _damage(name: str, content: bytes) -> bytes:
    if name == "empty":
        return b""
    if name == "text":
        return b"this is not a model\n" * 40
    if name == "pickle":
        return pickle.dumps(Payload())
    if name == "zeros":
        return bytes(4096)
    if name == "cut":
        return content[: len(content) // 2]
    if name == "header cut":
        return content[:100]
    flipped = bytearray(content)
    flipped[-200] ^= 1
    return bytes(flipped)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("damage", ["empty", "text", "pickle", "zeros", "cut", "header cut", "bit"])
def test_damaged_model(mistake, here, verb, damage):
    path = here / "model.eqp"
    path.write_bytes(_damage(damage, path.read_bytes()))
    if verb == "info" and damage == "bit":
        pytest.skip("info reads the document only")
    sentence = mistake(verb, "model.eqp", *VERBS[verb], code=1)
    assert "model.eqp" in sentence
    assert not (here / "owned").exists()


@pytest.mark.parametrize("verb", VERBS)
def test_frames_given_as_a_model(mistake, verb):
    assert "frames.xyz" in mistake(verb, "frames.xyz", *VERBS[verb], code=1)
