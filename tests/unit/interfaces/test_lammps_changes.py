"""What LAMMPS changes under the pair style: types between rebuilds, atoms that come and go, parts of its lists."""

from __future__ import annotations

import re

import numpy as np
import pytest

from equipot.interfaces.lammps.doctor import LammpsFailure
from tests.unit.interfaces.test_lammps_pair import HEAD, Lammps, crystal, lammps, pytestmark  # noqa: F401

#: Lists that are rebuilt every tenth step only.
OLD_LISTS = "neighbor 1.0 bin\nneigh_modify every 10 delay 0 check no\nthermo_modify norm no\n"
#: The energy with the list of the run, and with a new one.
TWICE = 'print "ENERGY $(pe:%.12g)"\nrun 0 post no\nprint "ENERGY $(pe:%.12g)"\n'
EMPTY = (
    HEAD.format(boundary="p p p").replace("clear\n", "") + "region b block 0 {0} 0 {0} 0 {0}\ncreate_box 1 b\n"
    "create_atoms 1 single 10 10 10\nmass 1 63.546\n"
)


def energies(said: str) -> list[float]:
    return [float(word) for word in re.findall(r"^ENERGY (\S+)", said, re.MULTILINE)]


def start(lammps: Lammps) -> str:  # noqa: F811
    return lammps.structure(crystal()) + lammps.pair("Cu Au") + OLD_LISTS


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize(
    "commands",
    [
        # No fix tells other ranks' images of the new types here.
        "run 0 post no\nset group some type 2\nrun 3 pre no post no\n",
        "variable two atom 2\nfix s all set 3 0 group some type v_two\nrun 5 post no\n",
        "fix s all atom/swap 3 20 4711 3000 ke no types 1 2\nrun 5 post no\n",
    ],
    ids=["set", "fix set", "fix atom/swap"],
)
def test_types_that_change_between_rebuilds_are_seen(lammps: Lammps, ranks: int, commands: str) -> None:  # noqa: F811
    group = "timestep 0\nfix m all nve\ngroup some id 1:20\nrun 0 post no\n" + 'print "ENERGY $(pe:%.12g)"\n'
    before, with_old_list, with_new_list = energies(lammps.run(start(lammps) + group + commands + TWICE, ranks))
    assert with_old_list == pytest.approx(with_new_list, abs=1e-9)
    assert abs(with_new_list - before) > 1.0


def test_semi_grand_canonical_swaps_cost_what_they_cost(lammps: Lammps) -> None:  # noqa: F811
    """A pure lattice at 1 K, and the other element is lower in energy: swaps to it are accepted."""
    text = (
        HEAD.format(boundary="p p p")
        + "lattice fcc 3.8\nregion b block 0 5 0 5 0 5\ncreate_box 2 b\ncreate_atoms 1 box\nmass 1 63.5\nmass 2 197\n"
        + lammps.pair("Cu Au")
        + OLD_LISTS
        + "run 0 post no\nvariable before equal $(pe:%.12g)\nset atom 100 type 2\nrun 0 post no\n"
        + 'print "ENERGY $(pe-v_before:%.12g)"\nset atom 100 type 1\ntimestep 0\nfix m all nve\n'
        # At steps 1 and 3 nothing is tried: after a trial LAMMPS leaves its energy behind, accepted or not.
        + "fix s all sgcmc 2 0.04 1.0 0.0 randseed 4711\nrun 3 post no\n"
        + 'print "COUNT $(f_s[1]:%.10g) $(f_s[2]:%.10g)"\n'
        + TWICE
    )
    said = lammps.run(text)
    cost, with_old_list, with_new_list = energies(said)
    accepted, _ = map(int, re.search(r"^COUNT (\d+) (\d+)", said, re.MULTILINE).groups())
    assert cost < -1.0 and accepted > 4  # of the last step
    assert with_old_list == pytest.approx(with_new_list, abs=1e-8)


@pytest.mark.parametrize("ranks", [1, 2])
def test_an_ideal_gas_has_the_atoms_it_should_have(lammps: Lammps, ranks: int) -> None:  # noqa: F811
    """P V / (k T) = 4, whatever the energy of an isolated atom (here -40 eV); a second run goes on."""
    length = 200.0
    pressure = 4 * 1.380649e-23 * 20000 / (length**3 * 1e-30) / 1e5
    text = (
        EMPTY.format(length)
        + lammps.pair("Cu").replace("neighbor 1.0 bin", "neighbor 1.0 nsq")
        + "neigh_modify every 1 delay 0 check no\n"
        + f"fix g all gcmc 1 20 0 1 4711 20000 0.0 0.0 pressure {pressure!r} full_energy\n"
        + "variable n equal count(all)\nfix mean all ave/time 1 400 400 v_n\n"
        + "thermo 400\nthermo_style custom step atoms pe\nthermo_modify norm no\n"
        + 2 * 'run 400 post no\nprint "ENERGY $(f_mean)"\n'
        + 'print "ENERGY $(pe/atoms:%.10g)"\n'
    )
    said = lammps.run(text, ranks)
    first, second, of_one = energies(said)
    assert (first + second) / 2 == pytest.approx(4.0, abs=0.4)  # 800 samples of standard deviation 2: 0.1
    assert "fix gcmc counts energies from those of isolated atoms (Cu -4" in said
    assert of_one < -30  # thermo output holds total energies


def test_the_excess_chemical_potential_of_an_ideal_gas_is_zero(lammps: Lammps) -> None:  # noqa: F811
    text = (
        EMPTY.format(60)
        + lammps.pair("Cu")
        + "fix w all widom 1 200 1 4711 20000\nthermo_style custom step pe f_w[1]\nrun 2 post no\n"
        + 'print "ENERGY $(f_w[1]:%.10g)"\n'
    )
    assert abs(energies(lammps.run(text))[0]) < 0.05 * 20000 * 8.617e-5


def test_insertions_on_top_of_atoms_are_rejected(lammps: Lammps) -> None:  # noqa: F811
    """Nearly every second insertion is nearer than 1.2 Angstrom to an atom; all of those fail and the run goes on."""
    text = (
        lammps.structure(crystal())
        + lammps.pair("Cu Au", style="pair_style equipot min_distance 1.2")
        + "velocity all create 300 1\nfix m all nve\ntimestep 0.0002\n"
        + "fix g all gcmc 2 30 10 1 4711 3000 -30 0.2\n"
        + "thermo_modify norm no\nrun 8 post no\n"
        + 'print "COUNT $(f_g[3]:%.10g) $(f_g[4]:%.10g)"\n'
        + TWICE
    )
    said = lammps.run(text, 2)
    with_old_list, with_new_list = energies(said)
    assert with_old_list == pytest.approx(with_new_list, abs=1e-8)
    tried, _ = map(int, re.search(r"^COUNT (\d+) (\d+)", said, re.MULTILINE).groups())
    assert tried > 20


@pytest.mark.parametrize("commands", ["displace_atoms last move 0 0 -1.98\nrun 0\n", "run 50\n"], ids=["start", "step"])
def test_atoms_on_top_of_each_other_stop_dynamics_also_beside_gcmc(lammps: Lammps, commands: str) -> None:  # noqa: F811
    text = (
        EMPTY.format(60)
        + "create_atoms 1 single 10 10 12\n"
        + lammps.pair("Cu")
        + "group last id 2\nvelocity last set 0 0 -100\nfix m last move linear 0 0 -100\ntimestep 0.001\n"
        + "fix g all gcmc 1000 1 0 1 4711 300 -100 0.0\n"
        + commands
    )
    with pytest.raises(LammpsFailure, match=r"apart at step \d+, nearer than min_distance 0.05"):
        lammps.run(text)


FIX_CHARGES = "fix c all charge/regulation 1 2 seed 1\nrun 5\n"
HYBRID = "pair_style hybrid equipot lj/cut 4.0\npair_coeff * * equipot {model} Cu {other}\n"


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize(
    ("commands", "sentence"),
    [
        ("atom_modify first some\nneigh_modify include some\nrun 0\n", "`neigh_modify include` leaves atoms without"),
        ("atom_modify first some\ncomm_modify group some\nrun 0\n", "`comm_modify group` leaves out ghosts"),
        ("neigh_modify exclude group some all\nrun 0\n", "takes neighbours away"),
        ("run 0\nneigh_modify exclude type 1 2\nrun 10 pre no\n", "takes neighbours away"),
        ("run 0\ndelete_atoms group some compress no\nrun 5 pre no\n", "leave `pre no` out of the run command"),
        ("compute c some force/tally all\nthermo_style custom c_c\nrun 0\n", "see pairs only"),
        (
            HYBRID.replace("{other}", "Au") + "pair_coeff 1 2 lj/cut 0.1 2.0\nrun 0\n",
            "the pairs of types 1 and 2 are given to another pair style",
        ),
        (
            HYBRID.replace("{other}", "NULL") + "pair_coeff 1*2 2 lj/cut 0.1 2.0\nvariable one atom 1\n"
            "fix s all set 3 0 group some type v_one\nfix m all nve\nrun 5\n",
            "is not in LAMMPS' neighbour list for this pair style",
        ),
    ],
    ids=["include", "comm group", "exclude", "exclude later", "deleted", "tally", "hybrid", "hybrid type"],
)
def test_what_would_be_wrong_is_refused(lammps: Lammps, ranks: int, commands: str, sentence: str) -> None:  # noqa: F811
    commands = commands.replace("{model}", lammps.model("Cu" if "NULL" in commands else "Cu Au"))
    with pytest.raises(LammpsFailure, match=sentence):
        lammps.run(start(lammps) + "group some id 1:20\n" + commands, ranks)


def test_fixes_that_move_charges_are_refused(lammps: Lammps) -> None:  # noqa: F811
    text = EMPTY.format(60).replace("atom_style atomic", "atom_style charge").replace("create_box 1", "create_box 2")
    with pytest.raises(LammpsFailure, match="charge/regulation moves charges"):
        lammps.run(text.replace("mass 1", "mass *") + lammps.pair("Cu Au") + FIX_CHARGES)


def test_neighbour_settings_that_change_nothing_change_nothing(lammps: Lammps) -> None:  # noqa: F811
    found = []
    for setting in ("", "neighbor 1.0 nsq\n", "neighbor 1.0 multi\ncomm_modify mode multi\n", "neighbor 0.0 bin\n"):
        text = start(lammps) + setting + 'run 0 post no\nprint "ENERGY $(pe:%.12g)"\n'
        found += energies(lammps.run(text, 2))
    np.testing.assert_allclose(found, found[0], rtol=0, atol=1e-8)
