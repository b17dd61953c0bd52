"""The common core of the checks on models and on data: codes are unique, and no outcome hides another."""

from __future__ import annotations

import subprocess
import sys

import pytest

from equipot.checks.data.registry import CHECKS as DATA_CHECKS
from equipot.checks.model import CHECKS as MODEL_CHECKS
from equipot.checks.registry import Check, Registry, run_check
from equipot.checks.verdicts import Skip


def _worst(found: list[str]) -> str | None:
    return "fail" if "bad" in found else None


def _check(*found: object) -> Check:
    """A check that yields the words and raises the exceptions among ``found``."""

    def function(context):
        for item in found:
            if isinstance(item, Exception):
                raise item
            yield item

    return Check("T1", "a test", "T", function, "warn")


@pytest.mark.parametrize(
    ("found", "status", "note"),
    [
        ((), "pass", ""),
        (("good",), "pass", ""),
        (("good", "bad"), "fail", ""),
        ((Skip("not here"),), "skip", "not here"),
        (("bad", Skip("not here")), "fail", "not here"),
        (("good", RuntimeError("broken\nat length")), "warn", "raised RuntimeError: broken"),
        (("bad", RuntimeError("broken")), "fail", "raised RuntimeError: broken"),
    ],
)
def test_the_worst_decides(found, status: str, note: str) -> None:
    run = run_check(_check(*found), None, _worst)
    assert (run.status, run.note) == (status, note)
    assert run.found == [item for item in found if isinstance(item, str)]


def test_a_code_is_given_once() -> None:
    registry: Registry[Check] = Registry()
    registry.add(_check())
    registry.add(_check())  # the module was imported again
    with pytest.raises(ValueError, match="two checks T1"):
        registry.add(Check("T1", "another", "T", lambda context: []))


def test_both_lists_are_of_the_common_kind() -> None:
    assert isinstance(MODEL_CHECKS, Registry) and isinstance(DATA_CHECKS, Registry)
    assert MODEL_CHECKS["P1"].group == "P" and DATA_CHECKS["net-force"].group == "F"


@pytest.mark.parametrize("name", ["equipot.checks.data", "equipot.checks.model", "equipot.data"])
def test_every_room_can_be_the_first_to_be_imported(name: str) -> None:
    """``equipot.data`` imported the doctor above it, so that the doctor could not be imported first."""
    subprocess.run([sys.executable, "-c", f"import {name}"], check=True, capture_output=True, timeout=120)
