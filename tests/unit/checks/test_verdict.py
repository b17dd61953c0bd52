"""What is said of a check-up: what was not run as loudly as what failed, and with a warning its cause and remedy."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace

import pytest
from ase import Atoms
from ase.calculators.calculator import all_changes
from ase.calculators.lj import LennardJones

from equipot.checks.model import CheckReport, check_model, remedies
from equipot.checks.model.result import NOT_RUN, Measure
from equipot.checks.model.subject import PotentialSubject
from equipot.config import from_dict
from equipot.graph import from_ase
from equipot.report.check_plots import check_table, group_sentence, outcome_text, result_line
from equipot.report.check_report import write_check_report
from equipot.report.run_report import check_headline
from equipot.workflow.checking import announce, check_summary
from equipot.workflow.console import Console
from equipot.workflow.hints import hints
from tests.systems import make_potential

CODES = ["X5", "N9", "X3"]


@pytest.fixture(scope="module")
def cut_short() -> CheckReport:
    """A check-up whose time was over before it began."""
    return check_model(make_potential("nequip spline"), only=CODES, seconds=-1.0, form="short", name="mine")


def test_what_was_not_run_is_said_everywhere(cut_short: CheckReport, tmp_path, capsys) -> None:
    """It was counted as skipped: the tile said 10 of 10 where 29 of 40 had not been run."""
    assert cut_short.counts == {"fail": 0, "warn": 0, "pass": 0, "skip": 0, NOT_RUN: 3}
    assert cut_short.sentence() == "mine: 0 of 3 checks passed, 3 NOT RUN"
    tile = check_headline(cut_short)
    assert (tile.value, tile.status) == ("0 of 3", "fail") and "3 NOT RUN" in tile.label
    announce(Console(), cut_short, 0.0)
    said = capsys.readouterr()
    assert "0 of 3 checks passed, 3 NOT RUN" in said.out and "X3, X5, N9" in said.err
    document, summary = cut_short.to_dict(), check_summary(cut_short)
    assert not document["is_complete"] and not summary["is_complete"] and summary["counts"][NOT_RUN] == 3
    assert {row["status"] for row in document["checks"]} == {NOT_RUN}
    assert "NOT RUN" in group_sentence(cut_short)
    assert result_line(cut_short.results[0]).startswith(NOT_RUN)
    assert check_table(cut_short, skipped=False).rows[0][0] == NOT_RUN
    write_check_report(cut_short, tmp_path)
    page = (tmp_path / "check.html").read_text()
    assert "NOT RUN" in page and '<span class="mark fail">not run' in page
    assert json.loads((tmp_path / "check.json").read_text())["counts"][NOT_RUN] == 3


def test_time_that_others_take_does_not_count() -> None:
    report = check_model(
        make_potential("nequip spline"), only=CODES, seconds=2.0, progress=lambda result: time.sleep(1.2)
    )
    assert report.is_complete and report.counts["pass"] == 3


@pytest.mark.parametrize(("zbl", "words"), [(False, "model.zbl: true"), (True, "outweighs the ZBL")])
def test_the_remedy_at_short_range_fits_the_model(zbl: bool, words: str) -> None:
    context = SimpleNamespace(subject=PotentialSubject(make_potential("mace", zbl=zbl)))
    assert words in remedies.short_range(context, [])


def test_the_remedy_of_volumes_names_the_side() -> None:
    """Energies of least squares set no dissociation limit; on compression it is the cores that are missing."""
    potential = make_potential("mace", zbl=False)
    context = SimpleNamespace(subject=PotentialSubject(potential))
    for side, origin, words in (
        ("compression", "isolated", "model.zbl: true"),
        ("expansion", "least_squares", "isolated atoms"),
        ("expansion", "isolated", "expanded crystals"),
    ):
        potential.metadata["atomic_energies_origin"] = origin
        said = remedies.volumes(context, [Measure(f"runs down on {side} by", 1.0, 0.1), Measure("other", 0.0, 0.1)])
        assert said.startswith(f"on {side}: ") and words in said


class Attractive(LennardJones):
    """A force field without a wall."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        self.results["forces"] = -self.results["forces"]


def test_a_warning_is_printed_with_its_remedy() -> None:
    calculator = Attractive(sigma=2.2, epsilon=0.5, rc=5.0, ro=3.0, smooth=True)
    result = check_model(calculator, only=["V7"], elements=["Cu"], cutoff=5.0).get("V7")
    assert result.status == "warn" and "compressed and dimer frames" in result.note
    for text in (result_line(result), outcome_text(result)):
        assert result.note in text and "atoms attract up to" in text and "Cu-Cu" in text


def _datasets(origin: str, distance: float) -> SimpleNamespace:
    graph = from_ase(Atoms("OH", [[0, 0, 0], [0, 0, distance]]), 4.0)
    return SimpleNamespace(atomic_energies=SimpleNamespace(origin=origin), train=[graph])


@pytest.mark.parametrize(
    ("origin", "distance", "zbl", "words"),
    [
        ("least_squares", 0.96, False, ["isolated atoms", "H-O at 0.96 Å"]),
        ("least_squares", 0.96, True, ["isolated atoms"]),
        ("isolated", 0.96, False, ["model.zbl: true"]),
        ("isolated", 0.5, False, []),
    ],
)
def test_training_offers_what_the_data_lack(origin: str, distance: float, zbl: bool, words: list[str]) -> None:
    config = from_dict({"data": {"train": ["a.xyz"]}, "model": {"zbl": zbl}})
    found = hints(_datasets(origin, distance), config)
    assert len(found) == len(words) and all(word in hint for word, hint in zip(words, found))
