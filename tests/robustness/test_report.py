"""A run ends with a physics check and a page that can be passed on; neither can take the run away."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from equipot.cli.main import main
from equipot.config import load_config
from equipot.data.writing import write_frames
from equipot.models import Potential

HOSTILE = "<script>alert(1)</script> $a_{b$"
SECTIONS = (
    "Model card",
    "Errors",
    "Worst frames",
    "Training",
    "Physics check",
    "Properties",
    "Data",
    "Speed",
    "Provenance",
)
LIMIT_BYTES = 5_000_000


class Reader(HTMLParser):
    """Collects tags, addresses and text; complains about tags that do not close."""

    VOID = ("meta", "img", "input")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open, self.addresses, self.tags, self.text = [], [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "srcset", "data", "action")]
        assert not [name for name, _ in attributes if name.startswith("on")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def check_page(path: Path, *folders: Path) -> str:
    """Well-formed, self-contained, of modest size, and silent about this machine; returns the text."""
    page = path.read_text(encoding="utf-8")
    reader = Reader(page)
    assert all(address.startswith(("data:image/", "#")) for address in reader.addresses)
    assert not re.search(r"@import|url\(|https?://", re.sub(r'"data:image[^"]*"', "", page))
    assert not {"link", "iframe", "object", "embed"} & set(reader.tags)
    assert path.stat().st_size < LIMIT_BYTES
    outside = re.sub(r'"data:image[^"]*"', "", page)
    for folder in (*folders, Path.home()):
        assert str(folder) not in outside
    return "\n".join(reader.text)


def test_the_page_of_a_run_has_everything_and_names_no_folder(workplace):
    text = check_page(workplace / "done" / "report.html", workplace)
    for section in SECTIONS:
        assert section in text, section
    for part in ("C44", "Level of theory", "not given", "SHA-256 of frames.xyz", "dimers repel", "next worst atom"):
        assert part in text, part


def test_the_summary_has_the_outcome_of_the_check(workplace):
    check = json.loads((workplace / "done" / "summary.json").read_text())["physics_check"]
    # Two epochs need not reproduce the forces (L1); everything else holds of any weights.
    assert check["form"] == "short" and set(check["failed"]) <= {"L1"}
    status = {row["code"]: row for row in check["checks"]}
    assert status["G2"]["status"] == "pass" and status["G2"]["value"] <= status["G2"]["limit"]
    assert "G3" not in status, "the full form only"
    assert "Physics check (short form" in (workplace / "done" / "run.log").read_text()


@pytest.fixture
def flipped_stress(monkeypatch):
    """Plants the oldest error of the field: the stress has the wrong sign."""
    sound = Potential.forward

    def planted(self, *arguments, **options):
        output = sound(self, *arguments, **options)
        if output.stress is not None:
            output.stress = -output.stress
        return output

    monkeypatch.setattr(Potential, "forward", planted)


def test_a_planted_error_is_caught_at_the_end_of_training(here, small_frames, flipped_stress, capsys):
    for frame in small_frames:
        frame.config_type = HOSTILE
    write_frames("hostile.xyz", small_frames)
    words = ["train", "run.yaml", "data.train=[hostile.xyz]", "training.epochs=1", "properties=[]", "seed=1"]
    assert main([*words, "--fail-on-check"]) == 1
    captured = capsys.readouterr()
    assert "FAILED" in captured.out and re.search(r"fail +G2", captured.out)
    assert "THE PHYSICS CHECK FAILED" in captured.err
    run = here / "runs" / "tiny"
    check = json.loads((run / "summary.json").read_text())["physics_check"]
    assert "G2" in check["failed"] and check["worst"] == "fail"
    assert (run / "model.eqp").is_file()
    text = check_page(run / "report.html", here)
    assert "stress is (1/V) dE/dε" in text and HOSTILE in text
    assert HOSTILE not in (run / "report.html").read_text()


@pytest.mark.parametrize("error", [MemoryError(), ValueError("Expected end of text"), RuntimeError("no memory")])
def test_a_report_that_could_not_be_written_is_not_announced(here, monkeypatch, capsys, error):
    """Its path was printed all the same, and the exit code was 0."""

    def broken(*arguments, **options):
        raise error

    monkeypatch.setattr("equipot.workflow.training.write_report", broken)
    assert main(["train", "run.yaml", "training.epochs=1", "properties=[]", "physics_check=off"]) == 1
    captured = capsys.readouterr()
    assert "the report could not be written" in captured.err and "equipot report" in captured.err
    assert "Report:" not in captured.out and "Model:" in captured.out
    assert Path("runs/tiny/model.eqp").is_file() and Path("runs/tiny/summary.json").is_file()
    monkeypatch.undo()
    assert main(["report", "runs/tiny", "--check", "off"]) == 0


def test_a_failed_check_is_a_warning_unless_asked(here, monkeypatch, capsys):
    def broken(*arguments, **options):
        raise RuntimeError("no check today")

    monkeypatch.setattr("equipot.workflow.checking.check_model", broken)
    words = ["train", "run.yaml", "training.epochs=1", "properties=[]"]
    assert main(words) == 0
    assert "no check today" in capsys.readouterr().err
    assert json.loads(Path("runs/tiny/summary.json").read_text())["physics_check"] is None
    assert "The physics check was not run" in check_page(Path("runs/tiny/report.html"), here)


def test_a_failure_of_a_check_that_is_off_makes_no_sense(mistake):
    assert "physics_check is off" in mistake("train", "run.yaml", "physics_check=off", "--fail-on-check", code=2)


def test_the_key_is_read_from_yaml_where_off_is_a_word(tmp_path):
    (tmp_path / "run.yaml").write_text(
        "data: {generate: cu_au_emt}\nphysics_check: off\nmodel_card: {licence: CC-BY-4.0, level_of_theory: PBE}\n"
    )
    config = load_config(tmp_path / "run.yaml")
    assert config.physics_check == "off" and config.model_card.licence == "CC-BY-4.0"


def test_report_of_a_run_with_other_frames_and_of_a_model_alone(here, workplace, capsys):
    shutil.copytree(workplace / "done", here / "done")
    (here / "done" / "report.html").unlink()
    assert main(["report", "done", "frames.xyz", "--check", "off"]) == 0
    text = check_page(here / "done" / "report.html", workplace, here)
    assert "data energy MAE" in text and "Properties" in text and "frames.xyz frame" in text
    assert main(["report", "model.eqp", "--check", "off"]) == 0
    text = check_page(here / "model.html", here)
    assert "Model card" in text and "Report of an equipot model" in text and "Worst frames" not in text
    assert main(["report", "model.eqp", "--check", "off"]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_report_of_a_run_whose_data_are_gone_has_its_numbers(here, workplace, capsys):
    shutil.copytree(workplace / "done", here / "done")
    config = (here / "done" / "config.yaml").read_text()
    (here / "done" / "config.yaml").write_text(config.replace(str(workplace), str(here / "empty")))
    assert main(["report", "done", "-o", "page.html", "--check", "off"]) == 0
    assert "cannot be read" in capsys.readouterr().err
    text = check_page(here / "page.html", here)
    assert "test forces MAE" in text and "could not be read" in text and "Worst frames" not in text


def test_report_says_what_is_missing(mistake):
    assert "absent.eqp" in mistake("report", "absent.eqp", code=2)
    assert "model.eqp" in mistake("report", "empty", code=2)
    assert "absent.xyz" in mistake("report", "model.eqp", "absent.xyz", code=1)
