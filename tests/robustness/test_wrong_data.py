"""Every file, frame, label or element that cannot be used is one sentence that says where; exit code 1, no output."""

from __future__ import annotations

import gzip

import pytest

CRYSTAL = 'Lattice="3.6 0 0 0 3.6 0 0 0 3.6" pbc="T T T" Properties=species:S:1:pos:R:3:REF_forces:R:3'


def frame(
    *,
    comment: str = CRYSTAL,
    energy: str = "REF_energy=-1.5",
    symbols=("Cu", "Au"),
    second="1.8 1.8 0",
    forces="0.1 0 0",
    count: int | None = None,
) -> str:
    number = len(symbols) if count is None else count
    return f"{number}\n{comment} {energy}\n{symbols[0]} 0 0 0 {forces}\n" + "".join(
        f"{symbol} {second} -0.1 0 0\n" for symbol in symbols[1:]
    )


GOOD = "".join(frame(energy=f"REF_energy={-1.5 - 0.1 * k}", second=f"1.8 1.8 {0.05 * k}") for k in range(8))

#: Contents of frames.xyz, and what the complaint of `train` (and of `eval`) must say.
BAD = {
    "empty": ("", "0 bytes"),
    "no xyz at all": ("hello world\n", "line 1"),
    "blank line between frames": (frame() + "\n" + frame(), "line"),
    "truncated last frame": (GOOD + frame()[:-20], "frame 8"),
    "count too large": (frame(count=5), "frame 0"),
    "count huge": ("99999999999\n" + CRYSTAL + "\nCu 0 0 0 0 0 0\n", "99999999999"),
    "count negative": ("-1\n\n", "-1"),
    "energy NaN": (GOOD + frame(energy="REF_energy=nan"), "frame 8"),
    "energy text": (GOOD + frame(energy="REF_energy=abc"), "frame 8"),
    "force NaN": (GOOD + frame(forces="nan 0 0"), "frame 8"),
    "position infinite": (GOOD + frame(second="inf 0 0"), "frame 8"),
    "no such element": (GOOD + frame(symbols=("Qq", "Au")), "Qq"),
    "element X": (GOOD + frame(symbols=("X", "Au")), "frame 8"),
    "atoms on each other": (GOOD + frame(second="0 0 0"), "frame 8"),
    "cell without volume": (GOOD + frame(comment=CRYSTAL.replace("0 0 3.6", "0 3.6 0")), "frame 8"),
    "no labels": (GOOD.replace("REF_energy", "my_value").replace("REF_forces", "my_vector"), "my_value"),
    "labels that disagree": (
        GOOD.replace("REF_energy=-1.5\n", "energy=-1.5 dft_energy=-9.5\n").replace("REF_energy", "energy"),
        "dft_energy",
    ),
    "only isolated atoms": (
        "1\nProperties=species:S:1:pos:R:3 REF_energy=-1 config_type=IsolatedAtom\nCu 0 0 0\n",
        None,
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_train_on_bad_frames(mistake, here, name):
    content, part = BAD[name]
    (here / "frames.xyz").write_text(content)
    sentence = mistake("train", "run.yaml", code=1)
    assert "xyz" in sentence or part is None
    if part is not None:
        assert part in sentence


@pytest.mark.parametrize("name", [name for name in BAD if BAD[name][1] and name != "labels that disagree"])
def test_evaluate_bad_frames(mistake, here, name):
    content, part = BAD[name]
    (here / "bad.xyz").write_text(content)
    sentence = mistake("eval", "model.eqp", "bad.xyz", "--output", "out.xyz", "--json", "errors.json", code=1)
    assert part in sentence and "bad.xyz" in sentence


@pytest.mark.parametrize(
    "name",
    [
        "blank line between frames",
        "truncated last frame",
        "no such element",
        "atoms on each other",
        "position infinite",
        "count too large",
    ],
)
def test_predict_bad_structures(mistake, here, name):
    content, part = BAD[name]
    (here / "bad.xyz").write_text(content)
    assert part in mistake("predict", "model.eqp", "bad.xyz", "-o", "out.xyz", code=1)


@pytest.mark.parametrize("verb", ["train", "eval", "predict", "data check", "md"])
def test_a_file_that_is_not_there(mistake, verb):
    arguments = {
        "train": ["train", "run.yaml", "data.train=[absent.xyz]"],
        "eval": ["eval", "model.eqp", "absent.xyz"],
        "predict": ["predict", "model.eqp", "absent.xyz", "-o", "out.xyz"],
        "data check": ["data", "check", "absent.xyz"],
        "md": ["md", "model.eqp", "absent.xyz"],
    }[verb]
    assert "absent.xyz" in mistake(*arguments, code=1)


def test_published_data_that_is_not_there_says_where_it_comes_from(mistake, here):
    (here / "run.yaml").write_text("data: {train: [ta/train.xyz], source: 'https://example.org/ta (CC-BY)'}\n")
    sentence = mistake("train", "run.yaml", code=1)
    assert "https://example.org/ta" in sentence and "EQUIPOT_DATA" in sentence


def test_a_format_that_is_not_read(mistake, here):
    (here / "frames.pickle").write_bytes(b"\x80\x04N.")
    assert "frames.pickle" in mistake("eval", "model.eqp", "frames.pickle", code=1)


def test_a_damaged_gz(mistake, here):
    (here / "bad.xyz.gz").write_bytes(gzip.compress(GOOD.encode())[:-30])
    assert "bad.xyz.gz" in mistake("eval", "model.eqp", "bad.xyz.gz", code=1)


@pytest.mark.parametrize("verb", ["eval", "predict", "md"])
def test_an_element_the_potential_does_not_know(mistake, here, verb):
    (here / "iron.xyz").write_text(frame(symbols=("Fe", "Cu")))
    more = {"predict": ["-o", "out.xyz"], "md": ["--steps", "1"]}.get(verb, [])
    sentence = mistake(verb, "model.eqp", "iron.xyz", *more, code=1)
    assert "Fe" in sentence and "Cu" in sentence


def test_an_element_only_in_the_test_frames(mistake, here):
    (here / "iron.xyz").write_text(frame(symbols=("Fe", "Cu")))
    sentence = mistake("train", "run.yaml", "data.test=[iron.xyz]", "data.split={validation: 0.2}", code=1)
    assert "Fe" in sentence and "iron.xyz" in sentence


def test_a_key_that_is_not_in_the_file_lists_those_that_are(mistake):
    sentence = mistake("eval", "model.eqp", "frames.xyz", "--keys", "energy=dft_energy", code=1)
    assert "dft_energy" in sentence and "REF_energy" in sentence


def test_no_label_at_all_says_how_to_name_them(mistake, here):
    (here / "bare.xyz").write_text(GOOD.replace("REF_energy", "my_value").replace("REF_forces", "my_vector"))
    sentence = mistake("eval", "model.eqp", "bare.xyz", code=1)
    assert "my_value" in sentence and "--keys energy=" in sentence


def test_skipping_bad_frames_is_said(here, capsys):
    from equipot.cli.main import main

    (here / "bad.xyz").write_text(GOOD + frame(energy="REF_energy=nan"))
    assert main(["eval", "model.eqp", "bad.xyz", "--on-bad", "skip", "--json", "-"]) == 0
    import json

    assert json.loads(capsys.readouterr().out)["skipped"] == [8]
