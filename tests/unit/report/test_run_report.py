"""report.html holds everything and fetches nothing; summary.json has the agreed keys and is strict JSON."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from equipot.report.run_report import RunRecord, read_rows, write_report
from equipot.report.summary import METRIC_KEYS, build_summary, to_json, write_summary
from equipot.report.tables import Column, Table
from tests.unit.report.samples import METRICS, ROWS, points

SUMMARY = build_summary(
    METRICS, num_parameters=1234, train_seconds=61.5, epochs=10, best_epoch=7, elements=("Cu", "Au"), cutoff=5.0
)


class Reader(HTMLParser):
    """Collects tags, addresses and text; complains about tags that do not close."""

    VOID = ("meta", "img")

    def __init__(self) -> None:
        super().__init__()
        self.open, self.addresses, self.tags, self.text = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "srcset", "data", "action")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    record = RunRecord(
        name="cu <script>alert(1)</script>",
        model="mace small",
        summary=SUMMARY,
        metrics=METRICS,
        points={"train": points(1), "test": points(2)},
        rows=ROWS,
        tables=[
            Table("Atomic energies", (Column("element", is_number=False), Column("energy", "eV")), (("Cu", "-1.5"),))
        ],
        config="name: cu\nnote: <b>&amp;\n",
        notes=["Energies of atoms: least squares."],
    )
    return folder, write_report(record, folder / "report.html", folder / "plots")


def test_every_plot_is_there(written):
    folder, files = written
    assert {path.name for path in files} == {
        "learning_curve.png",
        "parity_energy.png",
        "parity_forces.png",
        "parity_stress.png",
        "error_by_config_type.png",
        "report.html",
    }
    assert {path.name for path in folder.rglob("*") if path.is_file()} == {path.name for path in files}


def test_the_page_is_sound_and_fetches_nothing(written):
    reader = Reader()
    page = (written[0] / "report.html").read_text(encoding="utf-8")
    reader.feed(page)
    assert reader.open == [] and reader.tags.count("img") == 4 + 3 * 2 + 3  # panels of each plot
    assert "script" not in reader.tags and "link" not in reader.tags and "iframe" not in reader.tags
    assert all(address.startswith(("data:image/", "#")) for address in reader.addresses)
    assert not re.search(r"@import|url\(", page)
    assert "default-src 'none'" in page


def test_the_page_says_who_what_and_how_well(written):
    reader = Reader()
    reader.feed((written[0] / "report.html").read_text(encoding="utf-8"))
    text = " ".join(reader.text)
    for part in (
        "cu <script>alert(1)</script>",
        "mace small",
        "Cu, Au",
        "5 Å",
        "1,234",
        "62 s",
        "best 7",
        "torch",
        "<b>liquid",
        "meV/atom",
        "Atomic energies",
        "least squares",
        "note: <b>&amp;",
    ):
        assert part in text, part


def test_summary_has_the_agreed_keys(tmp_path):
    summary = json.loads(write_summary(tmp_path / "summary.json", SUMMARY).read_text())
    assert set(summary) == {
        "train",
        "validation",
        "test",
        "num_parameters",
        "train_seconds",
        "epochs",
        "best_epoch",
        "elements",
        "cutoff",
    }
    assert tuple(summary["test"]["all"]) == METRIC_KEYS
    assert summary["test"]["<b>liquid"]["stress_mae_gpa"] is None
    assert summary["elements"] == ["Cu", "Au"]


def test_json_is_strict():
    assert json.loads(to_json({"a": float("nan"), "b": [float("inf"), 1.5], "c": (1,)})) == {
        "a": None,
        "b": [None, 1.5],
        "c": [1],
    }


def test_a_row_cut_off_by_a_crash_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"epoch": 1}\n{"epoch": 2}\n{"epo')
    assert [row["epoch"] for row in read_rows(path)] == [1, 2]
    assert read_rows(tmp_path / "absent.jsonl") == []
