"""Choosing, storing and resuming properties, honest failures, and references with their errors."""

from __future__ import annotations

import json

import pytest
from ase.build import molecule
from ase.calculators.emt import EMT

from equipot.errors import CheckpointError, ConfigError, DataError, Interrupted, StructureError, UsageError
from equipot.properties import PropertySettings, compare_values, compute, read_references
from equipot.properties.reference import unit_of, unused
from equipot.properties.result import UNIT_FACTORS, convert_unit
from equipot.properties.settings import FaultLine
from equipot.report.property_report import write_property_report
from tests.unit.properties.pair import SETTINGS, NearestNeighbours, crystal, measure

NAMES = ("equation_of_state", "elastic")


def test_a_second_run_computes_nothing_and_more_properties_join(tmp_path):
    calculator = NearestNeighbours()
    first = compute(calculator, crystal(), only=NAMES, settings=SETTINGS, folder=tmp_path)
    calls = calculator.num_calculations
    second = compute(calculator, crystal(), only=NAMES, settings=SETTINGS, folder=tmp_path)
    assert calculator.num_calculations == calls and second.num_resumed == 3
    assert second.values == first.values and second.to_dict() == first.to_dict()
    third = compute(calculator, crystal(), only=[*NAMES, "vacancy"], settings=SETTINGS, folder=tmp_path)
    assert third.num_resumed == 3 and "vacancy_formation_energy" in third.values
    assert not list(tmp_path.rglob("*.tmp"))


def test_results_of_something_else_are_refused_not_mixed(tmp_path):
    measure(*NAMES, folder=tmp_path)
    other = PropertySettings(elastic={"strain": 0.01})
    with pytest.raises(UsageError, match=r"elastic\.json: was computed with another settings"):
        measure(*NAMES, folder=tmp_path, settings=other)
    with pytest.raises(UsageError, match="another model"):
        compute(EMT(), crystal(), only=NAMES, settings=SETTINGS, folder=tmp_path)
    with pytest.raises(UsageError, match="another structure"):
        measure(*NAMES, lattice="bcc", folder=tmp_path)
    assert measure(*NAMES, folder=tmp_path, settings=other, overwrite=True).num_resumed == 2


def test_a_damaged_result_is_named(tmp_path):
    measure("elastic", folder=tmp_path)
    (tmp_path / "elastic.json").write_text('{"result": {}}')
    with pytest.raises(CheckpointError, match=r"elastic\.json: not a result"):
        measure("elastic", folder=tmp_path)
    assert measure("elastic", folder=tmp_path, overwrite=True).results["elastic"].status == "done"


def test_stopping_keeps_what_is_finished(tmp_path):
    answers = iter([False, False, True])
    with pytest.raises(Interrupted, match="2 of 3 properties are stored"):
        measure(*NAMES, folder=tmp_path, stop=lambda: next(answers))
    assert measure(*NAMES, folder=tmp_path).num_resumed == 2


def test_one_property_that_fails_does_not_stop_the_others(tmp_path, monkeypatch):
    import equipot.properties.elasticity as elasticity

    def broken(*arguments, **more):
        raise ZeroDivisionError("no numbers")

    monkeypatch.setattr(elasticity, "elastic_constants", broken)
    report = measure("elastic", "vacancy", folder=tmp_path)
    assert report.results["elastic"].status == "failed" and "no numbers" in report.results["elastic"].notes[0]
    assert report.results["vacancy"].status == "done"
    monkeypatch.undo()
    again = measure("elastic", "vacancy", folder=tmp_path)
    assert again.num_resumed == 2 and again.results["elastic"].status == "done"


def test_no_crystal_at_rest_and_unfinished_relaxations_are_said_with_figures():
    report = measure(
        "elastic", "vacancy", settings=PropertySettings(vacancy={"lengths": [7.0], "steps": 1, "fmax": 1e-6})
    )
    vacancy = report.results["vacancy"]
    assert vacancy.status == "doubtful" and "did not come to rest: largest force" in vacancy.notes[0]
    far = compute(NearestNeighbours(), "fcc:Cu:6.0", only=["elastic"])
    reason = far.results["relaxation"].notes[0]
    assert far.results["relaxation"].status == "failed" and "out of each other's reach" in reason
    assert far.results["elastic"].status == "skipped"


def test_a_crystal_without_usual_slip_is_skipped_with_a_reason():
    report = compute(EMT(), "sc:Cu:2.4", only=["stacking_faults"])
    assert report.results["stacking_faults"].status == "skipped"
    assert "no usual slip system" in report.results["stacking_faults"].notes[0]


def test_what_cannot_be_asked_for():
    with pytest.raises(UsageError, match="did you mean 'phonons'"):
        measure("phonon")
    with pytest.raises(UsageError, match="relaxation cannot be skipped"):
        measure(skip=["relaxation"])
    with pytest.raises(UsageError, match=r"melting\.guess"):
        measure("melting")
    with pytest.raises(UsageError, match="without pressure"):
        measure("elastic", settings=PropertySettings(relaxation={"pressure_gpa": 5.0}))
    with pytest.raises(StructureError, match="periodic in three dimensions"):
        compute(EMT(), molecule("H2O"))
    with pytest.raises(ConfigError, match="does not lie in the plane"):
        FaultLine((1, 1, 1), (1, 1, 2), 0.5)
    for name, text in (
        ("fcc:Qq", "not a chemical formula"),
        ("fcc:Cu:x", "not a number"),
        ("bbc:Ta", "neither a file"),
        ("rocksalt:Cu", "two elements"),
        ("nothing.cif", "no such file"),
    ):
        with pytest.raises((UsageError, DataError), match=text):
            compute(EMT(), name)


REFERENCE = """
references:
  - name: DFT
    citation: A. Author (2020)
    structures: [fcc:Cu]
    values: {lattice_constant: 3.6, C11: {value: 1700, unit: kbar}, melting_temperature: 1300}
  - name: other
    structures: [bcc:Ta]
    values: {C11: 1.0}
"""


def test_values_beside_references_with_errors_in_percent(tmp_path):
    path = tmp_path / "reference.yaml"
    path.write_text(REFERENCE)
    references = read_references(path)
    report = measure("elastic")
    rows = {row.name: row for row in compare_values(report, references)}
    assert list(rows) == ["lattice_constant", "C11", "melting_temperature"]
    assert rows["C11"].references["DFT"] == pytest.approx(170.0)
    assert rows["C11"].error_percent("DFT") == pytest.approx(100 * (report.values["C11"] - 170) / 170)
    assert rows["melting_temperature"].value is None and rows["melting_temperature"].error_percent("DFT") is None
    assert unused(references, [report.label]) == ["bcc:Ta"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("references: 3", "references"),
        ("references:\n  - {name: DFT, values: {C1l: 3}}", "did you mean 'C1"),
        ("references:\n  - {name: DFT, values: {C11: {value: 3, unit: eV}}}", "converts to 'GPa'"),
        ("references:\n  - {name: DFT, values: {C11: hard}}", "C11"),
        ("references:\n  - {values: {C11: 3}}", "has no 'name'"),
        ("references:\n  - {name: a, values: {C11: 3}}\n  - {name: a, values: {C11: 4}}", "same name"),
        ("reference:\n  - {name: a, values: {C11: 3}}", "did you mean"),
    ],
)
def test_mistakes_in_reference_files_are_named(tmp_path, text, message):
    path = tmp_path / "reference.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        read_references(path)
    assert "reference.yaml" in str(error.value)


def test_another_run_is_a_reference_and_agrees_with_itself(tmp_path):
    report = measure("elastic", "equation_of_state")
    files = write_property_report(tmp_path, [report], [], {"model": "pair"}, {report.label: tmp_path / "x"}, "a: 1\n")
    references = read_references(files[-2])
    assert references[0].name == "pair" and references[0].curves["equation_of_state"]["volumes"]
    errors = [row.error_percent("pair") for row in compare_values(report, references)]
    assert len(errors) > 8 and all(error is None or abs(error) < 1e-9 for error in errors)
    page = files[-1].read_text()
    assert "bulk_modulus" in page and "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")
    document = json.loads(files[-2].read_text())
    assert document["structures"][0]["results"]["elastic"]["values"]["C11"]["unit"] == "GPa"
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(DataError, match=r"bad\.json: not the properties\.json"):
        read_references(tmp_path / "bad.json")


def test_every_value_has_a_unit_a_reference_can_use():
    report = measure("elastic", "phonons", "vacancy", "surfaces", "stacking_faults", "equation_of_state")
    not_compared = {"residual_stress", "smallest_eigenvalue"}
    for result in report.results.values():
        for name, value in result.values.items():
            assert any(value.unit in factors for factors in UNIT_FACTORS.values()), name
            assert name in not_compared or unit_of(name) == value.unit, name
    assert convert_unit(1.0, "eV/A^2", "J/m^2") == pytest.approx(16.02176634)
    assert convert_unit(1.0, "kJ/mol", "eV") == pytest.approx(0.01036427, rel=1e-6)
    assert convert_unit(1.0, "THz", "GPa") is None
