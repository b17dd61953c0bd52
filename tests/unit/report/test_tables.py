"""The tables people read: units in every heading, missing values as dashes, one alignment."""

from __future__ import annotations

import io

import pytest

from equipot.report.tables import Column, Table, error_table, format_number, plain_text, print_table
from tests.unit.report.samples import METRICS, group


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (0.0, "0"),
        (3.14159, "3.14"),
        (12.345, "12.3"),
        (1234.5, "1234"),
        (0.001234, "0.00123"),
        (5, "5"),
        (1e-7, "1.00e-07"),
        (2.5e9, "2.50e+09"),
        (-0.2, "-0.200"),
        (float("inf"), "inf"),
    ],
)
def test_numbers_are_written_with_three_digits(value, text):
    assert format_number(value) == text


def test_every_number_heading_has_its_unit():
    table = error_table(METRICS)
    units = {column.title: column.unit for column in table.columns}
    assert units == {
        "split": "",
        "config_type": "",
        "frames": "",
        "energy MAE": "meV/atom",
        "energy RMSE": "meV/atom",
        "forces MAE": "meV/Å",
        "forces RMSE": "meV/Å",
        "stress MAE": "GPa",
        "stress RMSE": "GPa",
    }


def test_all_comes_first_and_a_missing_label_is_a_dash():
    table = error_table({"test": METRICS["test"]})
    assert [row[1] for row in table.rows] == ["all", "<b>liquid", "rattled"]
    assert table.rows[0][0] == "test" and table.strong_rows == {0}
    assert table.rows[1][-2:] == ("–", "–")


def test_a_label_that_is_nowhere_has_no_column():
    table = error_table({"test": {"all": group(3, 1.0, stress=False)}})
    assert not any("stress" in column.title for column in table.columns)


def test_a_single_config_type_is_not_repeated():
    table = error_table({"test": {"all": group(3, 1.0), "default": group(3, 1.0)}})
    assert [row[1] for row in table.rows] == ["all"]


def test_plain_text_is_aligned_and_has_no_trailing_blanks():
    lines = plain_text(error_table(METRICS)).splitlines()
    body = lines[4:-1]
    ends = {line.rindex("0.") for line in body if "0.400" in line}
    assert len(ends) == 1
    assert all(line == line.rstrip() for line in lines)


def test_text_is_plain_where_nobody_looks_at_a_terminal():
    file = io.StringIO()
    print_table(error_table(METRICS), file)
    assert "\x1b" not in file.getvalue() and "meV/atom" in file.getvalue()


def test_rich_draws_on_a_terminal_and_names_are_not_markup():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    file = Terminal()
    print_table(
        Table(
            "errors",
            (Column("group", is_number=False), Column("energy", "meV/atom")),
            (("[bold]odd[/nonsense]", "1.0"),),
        ),
        file,
    )
    assert "[bold]odd[/nonsense]" in file.getvalue() and "meV/atom" in file.getvalue()


def test_rounding_noise_is_not_shown_as_an_error():
    table = error_table({"test": {"all": {**group(3, 1.0), "forces_mae_mev_per_angstrom": 4.8e-6}}})
    assert "<0.001" in table.rows[0] and "4.8" not in " ".join(table.rows[0])
