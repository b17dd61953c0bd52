"""Every verb that computes has --threads and hands it to torch before it starts."""

from __future__ import annotations

import pytest

from equipot.cli.main import main
from equipot.system import threads

WORDS = {
    "train": ["config.yaml"],
    "eval": ["model.eqp", "data.xyz"],
    "md": ["model.eqp", "cell.xyz"],
    "predict": ["model.eqp", "data.xyz", "-o", "o.xyz"],
}


@pytest.mark.parametrize("verb", WORDS)
@pytest.mark.parametrize(("option", "expected"), [([], None), (["--threads", "3"], 3)])
def test_the_number_arrives(monkeypatch, tmp_path, capsys, verb, option, expected):
    asked = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(threads, "set_threads", asked.append)
    assert main([verb, *WORDS[verb], *option]) != 0  # there are no such files; that comes after the threads
    assert asked == [expected], capsys.readouterr().err


@pytest.mark.parametrize("verb", WORDS)
@pytest.mark.parametrize("number", ["0", "-1", "two", "1.5"])
def test_a_number_with_no_meaning_is_refused(capsys, verb, number):
    assert main([verb, *WORDS[verb], "--threads", number]) == 2
    assert "is not a whole number above zero" in capsys.readouterr().err
