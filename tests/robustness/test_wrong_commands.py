"""Every wrong command line is one sentence on standard error and exit code 2; nothing is written."""

from __future__ import annotations

import sys

import pytest

from equipot.cli.main import VERBS, main
from equipot.version import __version__

WRONG = [
    ([], "No verb was given"),
    (["trian"], "did you mean 'train'"),
    (["--vrebose", "train"], "did you mean '--verbose'"),
    (["train"], "required: CONFIG"),
    (["train", "run.yaml", "--resme"], "did you mean '--resume'"),
    (["train", "run.yaml", "--dry"], "no option --dry"),
    (["train", "run.yaml", "--resume", "--overwrite"], "exclude each other"),
    (["train", "run.yaml", "epochs"], "expected section.key=value"),
    (["train", "run.yaml", "--resume"], "no run to resume"),
    (["eval", "model.eqp"], "required: DATA"),
    (["eval", "model.eqp", "frames.xyz", "more.xyz"], "Unrecognized arguments: more.xyz"),
    (["eval", "model.eqp", "frames.xyz", "--keys", "energie=E"], "did you mean 'energy'"),
    (["eval", "model.eqp", "frames.xyz", "--keys", "energy"], "KEY=VALUE"),
    (["eval", "model.eqp", "frames.xyz", "--keys", "energy=a", "energy=b"], "energy twice"),
    (["eval", "model.eqp", "frames.xyz", "--units", "energy=MeV"], "'meV'"),
    (["eval", "model.eqp", "frames.xyz", "--on-bad", "ignore"], "invalid choice: 'ignore'"),
    (["eval", "model.eqp", "frames.xyz", "--batch-edges", "0"], "a whole number above zero"),
    (["eval", "model.eqp", "frames.xyz", "--dtype", "float16"], "float16"),
    (["eval", "model.eqp", "frames.xyz", "--device", "gpu"], "'gpu'"),
    (["eval", "model.eqp", "frames.xyz", "--json", "frames.xyz"], "exists already"),
    (["eval", "model.eqp", "frames.xyz", "--json", "nowhere/errors.json"], "does not exist"),
    (["eval", "model.eqp", "frames.xyz", "--output", "frames.xyz"], "exists already"),
    (["eval", "model.eqp", "frames.xyz", "--output", "out.cif"], ".xyz or .extxyz"),
    (["predict", "model.eqp", "frames.xyz"], "required: -o/--output"),
    (["predict", "model.eqp", "frames.xyz", "-o", "frames.xyz"], "exists already"),
    (["predict", "model.eqp", "frames.xyz", "-o", "."], "is a folder"),
    (["predict", "model.eqp", "frames.xyz", "-o", "out.json"], ".xyz or .extxyz"),
    (["data"], "No action"),
    (["data", "chek", "frames.xyz"], "did you mean 'check'"),
    (["data", "check"], "required: FILE"),
    (["data", "make", "cu_ag_emt", "x.xyz"], "cu_ag_emt"),
    (["data", "make", "cu_au_emt", "frames.xyz"], "exists already"),
    (["data", "make", "cu_au_emt", "x.xyz", "--seed", "-1"], "--seed"),
    (["info"], "required: MODEL_OR_RUN"),
    (["info", "nothing.eqp"], "There is no nothing.eqp"),
    (["info", "empty"], "not of a run"),
    (["eval", "empty", "frames.xyz"], "without a model.eqp"),
    (["md", "model.eqp"], "required: STRUCTURE"),
    (["md", "model.eqp", "frames.xyz", "--ensemble", "npv"], "npv"),
    (["md", "model.eqp", "frames.xyz", "--timestep", "-1"], "a number above zero"),
    (["md", "model.eqp", "frames.xyz", "--timestep", "nan"], "a number above zero"),
    (["md", "model.eqp", "frames.xyz", "--steps", "1.5"], "a whole number above zero"),
    (["md", "model.eqp", "frames.xyz", "--temperature", "hot"], "'hot'"),
    (["md", "model.eqp", "frames.xyz", "--ensemble", "nve", "--friction", "1"], "--friction has no effect"),
    (["md", "model.eqp", "frames.xyz", "--pressure", "1"], "--pressure has no effect"),
    (["md", "model.eqp", "frames.xyz", "--supercell", "2", "2"], "--supercell"),
    (["md", "model.eqp", "frames.xyz", "--trajectory", "out.pdf"], "out.pdf"),
    (["md", "model.eqp", "frames.xyz", "--resume", "--overwrite"], "exclude each other"),
    (["md", "model.eqp", "frames.pickle"], "frames.pickle"),
    (["eval", "nothing.eqp", "frames.xyz"], "There is no model nothing.eqp"),
    (["properties", "model.eqp"], "required: STRUCTURE"),
    (["properties", "nothing.eqp", "bcc:Ta"], "There is no model nothing.eqp"),
    (["properties", "model.eqp", "bbc:Ta"], "neither a file nor a prototype"),
    (["properties", "model.eqp", "bcc:Ta", "--only", "phonon"], "did you mean 'phonons'"),
    (["properties", "model.eqp", "bcc:Ta", "--only", "melting"], "melting.guess"),
    (["properties", "emt", "fcc:Cu", "fcc:Cu"], "share the folder"),
    (["properties", "emt", "fcc:Cu", "--set", "vacancy.length=8"], "did you mean vacancy.lengths"),
    (["properties", "emt", "fcc:Cu", "--reference", "nothing.yaml"], "does not exist"),
    (["properties", "emt", "fcc:Cu", "--output", "frames.xyz"], "is a file"),
    (["predict", "nothing.eqp", "frames.xyz", "-o", "out.xyz"], "There is no model nothing.eqp"),
    (["md", "nothing.eqp", "frames.xyz"], "There is no model nothing.eqp"),
]


@pytest.mark.parametrize(("arguments", "part"), WRONG, ids=[" ".join(arguments) or "nothing" for arguments, _ in WRONG])
def test_wrong_command(mistake, arguments, part):
    assert part in mistake(*arguments, code=2)


@pytest.mark.parametrize("verb", [*VERBS, "data check", "data make"])
def test_help_names_units_and_has_an_example(verb, capsys):
    assert main([*verb.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert f"equipot {verb} " in text and "example" in text
    for unit in {
        "md": ("in fs", "in K", "in GPa", "1/ps", "Angstrom", "ns/day")[:5],
        "predict": ("eV", "eV/Angstrom"),
        "eval": ("meV/atom", "meV/Angstrom", "GPa", "eV/Angstrom^3"),
    }.get(verb, ()):
        assert unit in text


def test_top_help_lists_every_verb_and_the_exit_codes(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n  {verb} " in text for verb in VERBS) and "75" in text


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"equipot {__version__}\n"


def test_standard_output_on_a_full_disk(here, monkeypatch, capsys):
    """Found by tests/robustness/fault_table.py: it ended in a traceback."""
    from equipot.cli.main import main

    with open("/dev/full", "w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["info", "model.eqp"]) == 1
    assert capsys.readouterr().err == "equipot: error: No space left on device.\n"
