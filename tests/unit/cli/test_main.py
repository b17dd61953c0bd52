"""The program's frame: what each exception becomes, that starting is quick, and what happens to a closed pipe."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import warnings
from types import SimpleNamespace

import pytest

from equipot.cli import main as program
from equipot.cli.main import main
from equipot.errors import DataError, EquipotError, Interrupted, UsageError


@pytest.fixture
def raises(monkeypatch):
    """Makes a verb ``boom`` that raises what it is given."""

    def install(error: BaseException) -> None:
        def run(arguments):
            raise error

        module = SimpleNamespace(parser=lambda words: SimpleNamespace(verbose=False), run=run)
        monkeypatch.setitem(program.VERBS, "boom", ("nowhere", "fails"))
        monkeypatch.setattr(program, "import_module", lambda name: module)

    return install


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (EquipotError("it failed."), 1, "equipot: error: it failed.\n"),
        (DataError("frame 3 is bad."), 1, "equipot: error: frame 3 is bad.\n"),
        (UsageError("no."), 2, "equipot: error: no.\n"),
        (Interrupted("saved."), 75, "equipot: stopped: saved.\n"),
        (KeyboardInterrupt(), 130, "equipot: stopped: Interrupted; nothing was saved.\n"),
        (
            FileNotFoundError(2, "No such file or directory", "x.xyz"),
            1,
            "equipot: error: x.xyz: No such file or directory.\n",
        ),
        (
            OSError(28, "No space left on device", "runs/a/model.eqp"),
            1,
            "equipot: error: runs/a/model.eqp: No space left on device.\n",
        ),
        (MemoryError(), 1, "memory of this machine"),
    ],
)
def test_every_foreseen_end_is_one_sentence(raises, capsys, error, code, text):
    raises(error)
    assert main(["boom"]) == code
    captured = capsys.readouterr()
    assert text in captured.err and "Traceback" not in captured.err and captured.out == ""


def test_a_bug_keeps_its_traceback_and_says_that_it_is_one(raises, capsys):
    raises(ZeroDivisionError("division by zero"))
    assert main(["boom"]) == 1
    errors = capsys.readouterr().err
    assert "Traceback" in errors and "ZeroDivisionError" in errors
    assert errors.strip().splitlines()[-1].startswith("equipot: error: This is a bug in equipot")


def test_help_is_quick_and_imports_nothing_heavy():
    begin = time.perf_counter()
    code = (
        "import sys; from equipot.cli.main import main; main(['--help']); main(['train', '--help']);"
        "main(['md', '--help']); heavy = {'torch', 'numpy', 'ase', 'matplotlib', 'e3nn'} & set(sys.modules);"
        "sys.exit(f'{heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert time.perf_counter() - begin < 10.0


def test_a_closed_pipe_ends_quietly():
    reader, writer = os.pipe()
    os.close(reader)
    code = (
        "import sys; from types import SimpleNamespace as N; from equipot.cli import main as program;"
        "program.VERBS['boom'] = ('nowhere', ''); program.import_module = lambda name: N("
        "parser=lambda words: N(verbose=False), run=lambda arguments: print('many lines\\n' * 100000));"
        "sys.exit(program.main(['boom']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True, check=False, timeout=60
    )
    os.close(writer)
    assert done.returncode == 1 and done.stderr == ""


def test_verbose_before_or_after_the_verb(raises, monkeypatch):
    seen = []
    monkeypatch.setattr(program, "set_up_logging", lambda *, verbose: seen.append(verbose))
    raises(EquipotError("x"))
    main(["boom"])
    main(["--verbose", "boom"])
    assert seen == [False, True]


def test_warnings_of_libraries_are_one_sentence(monkeypatch, capsys):
    """ASE's and the calculator's own (magnetic moments are ignored) came with a path and a line of code."""

    def run(arguments):
        warnings.warn("The calculator ignores\n initial_magmoms", stacklevel=1)
        warnings.warn("old name", FutureWarning, stacklevel=1)

    module = SimpleNamespace(parser=lambda words: SimpleNamespace(verbose="-v" in words), run=run)
    monkeypatch.setitem(program.VERBS, "boom", ("nowhere", "warns"))
    monkeypatch.setattr(program, "import_module", lambda name: module)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        main(["boom"])
        assert capsys.readouterr().err == "equipot: WARNING: The calculator ignores initial_magmoms\n"
        main(["boom", "-v"])
        assert capsys.readouterr().err.endswith("equipot: INFO: old name\n")
