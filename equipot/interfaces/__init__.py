"""Running a potential from other programs: the ASE calculator, molecular dynamics and relaxation."""
