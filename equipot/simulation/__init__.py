"""Simulations with any ASE calculator: molecular dynamics, relaxation, timing."""
