"""Words of the command line: numbers with limits, KEY=VALUE pairs, options in any order, the level of the log."""

from __future__ import annotations

import logging
from importlib import import_module

import pytest

from equipot.cli import train as train_verb
from equipot.cli.main import VERBS
from equipot.cli.parser import (
    Parser,
    finite,
    label_configs,
    nearest,
    not_negative,
    pairs,
    positive,
    positive_integer,
    set_up_logging,
)
from equipot.errors import UsageError


def test_overrides_and_options_in_any_order():
    parsed = train_verb.parser(["run.yaml", "a.b=1", "--resume", "c.d=2"])
    assert (parsed.config, parsed.overrides, parsed.resume) == ("run.yaml", ["a.b=1", "c.d=2"], True)
    parsed = train_verb.parser(["--dry-run", "run.yaml"])
    assert (parsed.config, parsed.overrides, parsed.dry_run) == ("run.yaml", [], True)


def test_no_abbreviations():
    with pytest.raises(UsageError, match=r"no option --resu \(did you mean '--resume'\?\)"):
        train_verb.parser(["run.yaml", "--resu"])


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (positive_integer, {"1": 1, "10_000": 10000}, ["0", "-1", "1.5", "x", "nan", ""]),
        (positive, {"0.5": 0.5, "1e-3": 1e-3}, ["0", "-1", "nan", "inf", "x"]),
        (not_negative, {"0": 0.0, "2": 2.0}, ["-0.1", "nan", "inf"]),
        (finite, {"-3": -3.0}, ["nan", "-inf", "x"]),
    ],
)
def test_numbers(kind, good, bad):
    for text, value in good.items():
        assert kind(text) == value
    for text in bad:
        parser = Parser("p")
        parser.add_argument("--n", type=kind)
        with pytest.raises(UsageError, match="is not"):
            parser.parse([f"--n={text}"])


def test_pairs():
    assert pairs(["a=1", "b=x=y"], "--keys", ("a", "b")) == {"a": "1", "b": "x=y"}
    for words, text in (
        (["a"], "KEY=VALUE"),
        (["a="], "KEY=VALUE"),
        (["c=1"], "no key 'c'"),
        (["a=1", "a=2"], "twice"),
    ):
        with pytest.raises(UsageError, match=text):
            pairs(words, "--keys", ("a", "b"))


def test_label_options_become_configurations():
    parser = Parser("p")
    parser.add_argument("--keys", nargs="+", default=[])
    parser.add_argument("--units", nargs="+", default=[])
    keys, units = label_configs(
        parser.parse(["--keys", "energy=E", "stress=null", "--units", "energy=Ha", "stress_sign=compression_positive"])
    )
    assert (keys.energy, keys.forces, keys.stress) == ("E", "auto", None)
    assert (units.energy, units.forces, units.stress_sign) == ("Ha", "eV/A", "compression_positive")


def test_nearest():
    assert nearest("trian", ["train", "eval"]) == " (did you mean 'train'?)" and nearest("zzz", ["train"]) == ""


@pytest.fixture
def restored_logging():
    logger = logging.getLogger("equipot")
    handlers, level = list(logger.handlers), logger.level
    yield logger
    logger.handlers[:], logger.level = handlers, level


def test_lines_a_run_has_shown_are_not_repeated_on_the_console(restored_logging, capsys):
    set_up_logging(verbose=True)
    set_up_logging(verbose=True)  # a second command in one process must not say things twice
    logging.getLogger("equipot.training").info("epoch 3")
    logging.getLogger("equipot.training").warning("a step was skipped")
    logging.getLogger("equipot.data").info("read 3 files")
    errors = capsys.readouterr().err
    assert "epoch 3" not in errors and errors.count("a step was skipped") == 1 and errors.count("read 3 files") == 1
    set_up_logging(verbose=False)
    logging.getLogger("equipot.data").info("read 4 files")
    assert "read 4" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        *[(verb, ["--help"]) for verb in ("bench", "check", "convert", "eval", "md", "predict", "report")],
        *[("data", [action, "--help"]) for action in ("check", "make")],
        ("lammps", ["input", "--help"]),
    ],
)
def test_the_help_says_what_a_second_call_does(verb, words, capsys):
    with pytest.raises(SystemExit):
        import_module(VERBS[verb][0]).parser(words)
    text = " ".join(capsys.readouterr().out.split())
    assert "without it a command that is given again is refused where it exists" in text
