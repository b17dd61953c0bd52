"""What VASP 5.4 and 6 write in practice: read where it is right, named where it is not."""

from __future__ import annotations

import copy
import re

import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms

from equipot.data import Frame, read_frames
from equipot.errors import DataError
from tests.unit.data.vasp_text import outcar, vasprun


def _check(found, frames):
    assert len(found) == len(frames)
    for one, other in zip(found, frames, strict=True):
        assert one.atoms.get_chemical_symbols() == other.atoms.get_chemical_symbols()
        assert one.energy == pytest.approx(other.energy, abs=1e-6)
        moved = np.linalg.solve(other.atoms.cell.array.T, (one.atoms.positions - other.atoms.positions).T)
        np.testing.assert_allclose(moved, np.round(moved), atol=1e-6)  # by lattice vectors only
        np.testing.assert_allclose(one.atoms.cell.array, other.atoms.cell.array, atol=1e-6)
        np.testing.assert_allclose(one.forces, other.forces, atol=1e-6)
        if other.stress is not None:
            np.testing.assert_allclose(one.stress, other.stress, atol=1e-6)


def _read(tmp_path, name, text, **settings):
    path = tmp_path / name
    path.write_text(text)
    return read_frames(path, **settings)


PRIMITIVE = (
    '<structure name="primitive_cell"><crystal><varray name="basis"><v> 1 0 0 </v><v> 0 1 0 </v><v> 0 0 1 </v></varray>'
    '</crystal><varray name="positions"><v> 0.0 0.0 0.0 </v></varray></structure>\n'
)
PREDICTED = (
    '<structure><crystal><varray name="basis"><v> 9 0 0 </v><v> 0 9 0 </v><v> 0 0 9 </v></varray></crystal>'
    '<varray name="positions"><v> 0.1 0.1 0.1 </v></varray></structure>\n'
    '<varray name="forces"><v> 7 7 7 </v></varray>\n'
    '<energy><i name="e_fr_energy"> -99.0 </i><i name="kinetic"> 1.0 </i></energy>\n'
)


def _before(mark: str, text: str):
    return lambda t: t.replace(mark, text + mark, 1)


#: name -> what turns the plain vasprun.xml into one of the same frames
SAME_FRAMES = {
    "vasp 5.4, 6.1: primitive cell before the atoms": _before("<kpoints>", PRIMITIVE),
    "vasp 6.3: primitive cell in an element of its own": _before(
        "<kpoints>", f"<primitive_cell>{PRIMITIVE}</primitive_cell>\n"
    ),
    "final structure at the end": _before("</modeling>", PRIMITIVE.replace("primitive_cell", "finalpos")),
    "predictions of ML_FF between the steps": lambda t: t.replace("</calculation>\n", f"</calculation>\n{PREDICTED}"),
    "predictions of ML_FF as steps": _before(
        "</modeling>",
        "<calculation>\n"
        + re.sub("<v> 0.1 0.1 0.1 </v>", "<v> 0.1 0.1 0.1 </v>" * 8, PREDICTED).replace(
            "<v> 7 7 7 </v>", "<v> 7 7 7 </v>" * 8
        )
        + "</calculation>\n",
    ),
    "k-points with overflowing numbers": lambda t: t.replace("<v> 0.0 0.0 0.0 </v>", "<v> **** 0.0 0.0 </v>", 1),
    "dispersion beside the energies": lambda t: t.replace(
        "<energy><i name", '<energy><i name="edisp"> -3.0 </i><i name'
    ),
    "velocities and a thermostat": lambda t: t.replace(
        "<calculation>", '<varray name="velocities"><v> 1 </v></varray><calculation>'
    ),
    "converged below NELM": lambda t: t.replace(
        "<parameters>", '<parameters><separator name="electronic"><i type="int" name="NELM"> 2</i></separator>'
    ),
    "all free": lambda t: t.replace(
        "</structure>\n<calculation>",
        f'<varray name="selective">{"<v> T T T </v>" * 8}</varray></structure>\n<calculation>',
        1,
    ),
}


@pytest.mark.parametrize("name", SAME_FRAMES)
def test_vasprun_layouts_of_the_same_frames(name, frames, tmp_path):
    plain = vasprun(frames)
    text = SAME_FRAMES[name](plain)
    assert text != plain
    result = _read(tmp_path, "vasprun.xml", text)
    _check(result.frames, frames)
    said = " ".join(result.report.warnings)
    assert ("force field" in said) == ("ML_FF" in name), said


def test_symbols_that_vasp_mangles(frames, tmp_path):
    """VASP writes "r " for Zr in <c>; the pseudopotential says which element it is."""
    chosen = copy.deepcopy(frames[:1])
    chosen[0].atoms.symbols[:4], chosen[0].atoms.symbols[4:] = "Zr", "Xe"
    text = vasprun(chosen).replace("<c>Zr</c>", "<c>r </c>").replace("<c>Xe</c>", "<c>X </c>")
    _check(_read(tmp_path, "vasprun.xml", text).frames, chosen)
    types = (
        '<array name="atomtypes"><set>'
        "<rc><c> 4</c><c>r </c><c> 91.2</c><c> 4.0</c><c>  PAW_PBE Zr_sv 04Jan2005 </c></rc>"
        "<rc><c> 4</c><c>X </c><c> 131.3</c><c> 8.0</c><c>  PAW_PBE Xe 07Sep2000 </c></rc></set></array></atominfo>"
    )
    numbered = text.replace("<c>X </c><c>1</c>", "<c>X </c><c>2</c>").replace("</atominfo>", types)
    _check(_read(tmp_path, "vasprun.xml", numbered).frames, chosen)
    with pytest.raises(DataError, match="atom 0 is of the element 'q'"):
        _read(tmp_path, "vasprun.xml", text.replace("<c>r </c>", "<c>q </c>"))


def test_sixteen_species_on_wrapped_lines(tmp_path):
    symbols = ["H", "He", "Li", "Be", "B", "C", "N", "O", "F", "Ne", "Na", "Mg", "Al", "Si", "P", "S"]
    rng = np.random.default_rng(0)
    atoms = Atoms(symbols, positions=rng.uniform(0, 6, (16, 3)), cell=[6, 6, 6], pbc=True)
    chosen = [Frame(atoms, energy=-3.0, forces=rng.normal(size=(16, 3)), stress=0.01 * np.eye(3))]
    _check(_read(tmp_path, "vasprun.xml", vasprun(chosen)).frames, chosen)
    text = outcar(chosen)
    _check(_read(tmp_path, "OUTCAR", text).frames, chosen)
    ones = "ions per type =   " + " ".join(["1"] * 16)
    assert ones in text
    wrapped = text.replace(ones, "ions per type =   " + "   1" * 10 + "\n                     " + "   1" * 6)
    _check(_read(tmp_path, "OUTCAR", wrapped).frames, chosen)


def test_without_stress(frames, tmp_path):
    """ISIF = 0, and 2 in some versions."""
    text = re.sub(r'<varray name="stress">.*?</varray>', "", vasprun(frames), flags=re.S)
    found = _read(tmp_path, "vasprun.xml", text)
    assert found.report.coverage["stress"] == (0, 3)
    text = re.sub(r" *in kB.*\n", "", outcar(frames))
    assert _read(tmp_path, "OUTCAR", text).report.coverage["stress"] == (0, 3)
    partly = re.sub(r'<varray name="stress">.*?</varray>', "", vasprun(frames), count=1, flags=re.S)
    assert _read(tmp_path, "vasprun.xml", partly).report.coverage["stress"] == (2, 3)


def test_constraints_of_a_vasprun_are_kept(frames, tmp_path):
    flags = "<v> F F F </v>" * 2 + "<v> T T F </v>" + "<v> T T T </v>" * 5
    text = vasprun(frames).replace(
        "</structure>\n<calculation>", f'<varray name="selective">{flags}</varray></structure>\n<calculation>', 1
    )
    constraints = _read(tmp_path, "vasprun.xml", text).frames[0].atoms.constraints
    assert [type(constraint).__name__ for constraint in constraints] == ["FixAtoms", "FixScaled"]
    assert isinstance(constraints[0], FixAtoms) and constraints[0].index.tolist() == [0, 1]
    assert constraints[1].index.tolist() == [2] and np.ravel(constraints[1].mask).tolist() == [False, False, True]


def test_pressure_is_taken_off_the_enthalpy(frames, tmp_path):
    """With PSTRESS (kbar) the e_fr_energy of a step is an enthalpy."""
    pressure, volume = 10.0, frames[0].volume
    text = vasprun(frames[:1]).replace("<parameters>", f'<parameters><i name="PSTRESS"> {pressure} </i>')
    enthalpy = frames[0].energy - 0.1 + pressure * volume / 1602.176634
    head, tail = text.rsplit('"e_fr_energy">', 1)
    tail = re.sub(r"^ \S+", f" {enthalpy:.10f}", tail)
    _check(_read(tmp_path, "vasprun.xml", head + '"e_fr_energy">' + tail).frames, frames[:1])


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda t: t.replace("<scstep>", "<x>").replace("</scstep>", "</x>"), ["all 3", "force field"]),
        (lambda t: t + t, ["several runs one after the other"]),
        (lambda t: t[: t.rindex("<calculation>")] + t, ["several runs one after the other"]),
        (_before("<atominfo>", "<calculation>" + PREDICTED + "</calculation>"), ["before <atominfo>"]),
        (lambda t: t.replace(' name="initialpos"', ""), ["no initial structure"]),
        (lambda t: t.replace("e_0_energy", "e_1_energy"), ["frame 0", "no e_0_energy"]),
    ],
)
def test_vasprun_files_that_are_not_right_are_named(change, parts, frames, tmp_path):
    with pytest.raises(DataError) as caught:
        _read(tmp_path, "vasprun.xml", change(vasprun(frames)))
    for part in parts:
        assert part in str(caught.value)


def _scf(text: str, step: int, energies) -> str:
    """Other electronic steps in one ionic step of a vasprun.xml (the last one stays)."""
    places = [match.start() for match in re.finditer("<scstep>", text)]
    more = "".join(
        f'<scstep><energy><i name="e_fr_energy"> {energy:.8f} </i></energy></scstep>\n' for energy in energies
    )
    return text[: places[step]] + more + text[places[step] :]


def test_unconverged_steps_of_a_vasprun(frames, tmp_path):
    """NELM reached and the energy still changing: named, and left out on request."""
    parameters = '<parameters><i type="int" name="NELM"> 4</i><i name="EDIFF"> 0.0001</i>'
    free = frames[1].energy - 0.1
    text = vasprun(frames).replace("<parameters>", parameters)
    bad = _scf(text, 1, [free + 3, free + 2, free + 0.01])
    with pytest.raises(DataError, match=r"frame 1: its electronic structure did not converge: NELM = 4 .* 0\.01 eV"):
        _read(tmp_path, "vasprun.xml", bad)
    result = _read(tmp_path, "vasprun.xml", bad, on_bad="skip")
    _check(result.frames, [frames[0], frames[2]])
    assert "converge" in result.report.skipped[0].reason
    # Converged in the very last of the steps allowed, or before it:
    _check(_read(tmp_path, "vasprun.xml", _scf(text, 1, [free + 3, free + 2, free + 1e-5])).frames, frames)
    _check(_read(tmp_path, "vasprun.xml", _scf(text, 1, [free + 3, free + 2])).frames, frames)


def _outcar_steps(frames, step: int, num_iterations: int, ending: str) -> str:
    text = outcar(frames).replace(
        "   ISPIN", "   NELM   =      4;   NELMIN=  2; NELMDL= -5     # of ELM steps\n   ISPIN"
    )
    line = f"--------------- Iteration      {step + 1}(   1)  -------------\n"
    assert line in text
    lines = "".join(line.replace("(   1)", f"({number:4d})") for number in range(1, num_iterations + 1))
    return text.replace(line, lines + ending)


REACHED = "------------------------ aborting loop because EDIFF is reached ----------------------------------------\n"
NOT_REACHED = (
    "------------------------ aborting loop EDIFF was not reached (unconverged)  ----------------------------\n"
)


@pytest.mark.parametrize(
    ("num_iterations", "ending", "reason"),
    [
        (4, "", "NELM = 4"),  # VASP 5
        (4, NOT_REACHED, "EDIFF was not reached"),  # VASP 6
        (2, "hard stop encountered!  aborting job ...\n", "hard stop"),
        (4, REACHED, None),
        (3, REACHED, None),
        (3, "", None),
    ],
)
def test_unconverged_steps_of_an_outcar(num_iterations, ending, reason, frames, tmp_path):
    text = _outcar_steps(frames, 1, num_iterations, ending)
    if reason is None:
        _check(_read(tmp_path, "OUTCAR", text).frames, frames)
        return
    with pytest.raises(DataError, match=f"frame 1: its electronic structure did not converge.*{reason}"):
        _read(tmp_path, "OUTCAR", text)
    _check(_read(tmp_path, "OUTCAR", text, on_bad="skip").frames, [frames[0], frames[2]])


def test_outcar_with_the_forces_without_dispersion(frames, tmp_path):
    lines = outcar(frames).splitlines(keepends=True)
    rows = 0
    for number, line in enumerate(lines):
        if "TOTAL-FORCE" in line:
            lines[number] = " POSITION                    TOTAL-FORCE (eV/Angst),           FORCE-w/o vdW (eV/Angst)\n"
            rows = number + 2
        elif rows and rows <= number < rows + 8:
            lines[number] = line.rstrip("\n") + " 1.000000 1.000000 1.000000\n"
    text = "".join(lines)
    assert text.count("1.000000 1.000000 1.000000") == 24
    _check(_read(tmp_path, "OUTCAR", text).frames, frames)
    with pytest.raises(DataError, match="atom 0 must be a row of nine numbers"):
        _read(tmp_path, "OUTCAR", text.replace(" 1.000000 1.000000 1.000000\n", "\n", 1))


def _predicted_block(frame) -> str:
    rows = "".join(f" {x:.6f} {y:.6f} {z:.6f} 7.0 7.0 7.0\n" for x, y, z in frame.atoms.positions)
    return (
        "  ML FORCE on cell =-STRESS in cart. coord. units (eV/cell)\n  in kB       9.0 9.0 9.0 9.0 9.0 9.0\n"
        "      direct lattice vectors                 reciprocal lattice vectors\n"
        + "    9.0 0.0 0.0 0.1 0.0 0.0\n    0.0 9.0 0.0 0.0 0.1 0.0\n    0.0 0.0 9.0 0.0 0.0 0.1\n"
        + "  POSITION                                       TOTAL-FORCE (eV/Angst) (ML)\n ------------\n"
        + rows
        + " ------------\n  ML FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n  -----------\n"
        "  free  energy ML TOTEN  =       -99.0 eV\n\n"
        "  ML energy  without entropy=      -99.0  ML energy(sigma->0) =      -99.0\n"
    )


def test_outcar_of_a_machine_learning_run(frames, tmp_path):
    """Before each electronic structure a prediction, and steps that are predictions alone."""
    predicted = _predicted_block(frames[0])
    text = outcar(frames)
    text = text.replace("--------------- Iteration", predicted + "--------------- Iteration") + predicted * 2
    result = _read(tmp_path, "OUTCAR", text)
    _check(result.frames, frames)
    assert "5 steps are left out" in " ".join(result.report.warnings)
    only = text[: text.index("--------------- Iteration")]
    with pytest.raises(DataError, match="force field predicted them"):
        _read(tmp_path, "OUTCAR", only)


def test_outcar_written_with_little_output(frames, tmp_path):
    """NWRITE = 0 writes positions and forces of the first and last step only."""
    text = outcar(frames)
    tables = list(re.finditer(r" POSITION .*?\n ------------\n.*?\n ------------\n", text, flags=re.S))
    text = text[: tables[1].start()] + text[tables[1].end() :]
    result = _read(tmp_path, "OUTCAR", text)
    _check(result.frames, [frames[0], frames[2]])
    assert "1 steps are left out" in " ".join(result.report.warnings)
    assert "NWRITE" in " ".join(result.report.warnings)


def test_outcars_of_two_runs_in_one_file(frames, tmp_path):
    """The second run may hold other atoms, and the first may have been cut off within a step."""
    other = copy.deepcopy(frames)
    for frame in other:
        frame.atoms.symbols[:4], frame.atoms.symbols[4:] = "Ag", "Pt"
    whole = outcar(frames)
    _check(_read(tmp_path, "OUTCAR", whole + outcar(other)).frames, frames + other)
    cut = whole[: whole.rindex("FREE ENERGIE")]
    result = _read(tmp_path, "OUTCAR", cut + "\n" + outcar(other))
    _check(result.frames, frames[:2] + other)
    assert "ends within a step" in " ".join(result.report.warnings)
