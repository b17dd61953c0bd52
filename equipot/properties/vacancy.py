"""Vacancy formation energy: an atom taken out of a supercell, the others relaxed around the hole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from ase.data import atomic_numbers, reference_states

from equipot.properties.case import Case, relax_positions
from equipot.properties.relaxation import relax_crystal
from equipot.properties.result import Findings
from equipot.properties.structures import inequivalent_sites, parse_structure, supercell_for

#: Inequivalent sites taken in a crystal with many.
_MAX_SITES = 8


def measure_vacancy(case: Case) -> Findings:
    """Measure E(N - 1) + mu - E(N) at fixed cell for each kind of site, relaxed and unrelaxed.

    In an element the chemical potential mu is the crystal's own energy per atom; in a compound it is that of the
    removed element's own crystal (fcc, bcc, hcp or diamond, as ASE lists it) at rest: conditions rich in that element.
    """
    settings, findings = case.settings.vacancy, Findings()
    crystal = case.crystal
    symbols = crystal.get_chemical_symbols()
    is_element = len(set(symbols)) == 1
    sites = inequivalent_sites(crystal, case.tolerance)
    if len(sites) > _MAX_SITES:
        findings.note(f"Only the first {_MAX_SITES} of {len(sites)} inequivalent sites were taken.")
        sites = sites[:_MAX_SITES]
    potentials = (
        {symbols[0]: case.energy_per_cell / len(crystal)}
        if is_element
        else _chemical_potentials(case, sorted(set(symbols)), findings)
    )
    convergence = []
    for site in sites:
        if symbols[site] not in potentials:
            continue
        suffix = "" if len(sites) == 1 else f"_{symbols[site]}" if _is_only_site(symbols, sites, site) else f"_{site}"
        for length in settings.lengths:
            copies = supercell_for(crystal, length)
            perfect = case.supercell(length, copies)
            total = len(perfect)
            kept = case.energy_per_cell * int(np.prod(copies)) - potentials[symbols[site]]
            defect = case.attach(perfect.copy())
            del defect[site]
            unrelaxed = float(defect.get_potential_energy()) - kept
            # A hole leaves its neighbours on sites of high symmetry, where no force tells a minimum from a saddle.
            defect.rattle(0.001, seed=0)
            relaxed = relax_positions(defect, settings.fmax, settings.steps)
            if not relaxed.is_converged:
                findings.doubt(relaxed.complaint(f"The vacancy in {total} atoms", settings.fmax))
            convergence.append(
                {
                    "site": symbols[site] + suffix,
                    "num_atoms": total,
                    "length": length,
                    "energy": relaxed.energy - kept,
                    "unrelaxed": unrelaxed,
                    "steps": relaxed.steps,
                }
            )
            case.say(f"vacancy of {symbols[site]} in {total} atoms: {relaxed.energy - kept:.4f} eV")
        findings.add(f"vacancy_formation_energy{suffix}", convergence[-1]["energy"], "eV")
        findings.add(f"vacancy_formation_energy_unrelaxed{suffix}", convergence[-1]["unrelaxed"], "eV")
        if len(settings.lengths) > 1:
            change = convergence[-1]["energy"] - convergence[-2]["energy"]
            findings.note(
                f"The last step in size changes the energy of the {symbols[site]} vacancy by {1000 * change:+.1f} meV."
            )
    findings.curves = {"convergence": convergence}
    if not is_element:
        findings.note(
            "The atom taken out goes to its element's own crystal: "
            + ", ".join(f"{symbol} at {value:.4f} eV" for symbol, value in potentials.items())
            + "."
        )
    if is_element and any(entry["energy"] < 0.0 for entry in convergence):
        findings.doubt("A negative formation energy: the crystal would lose atoms by itself.")
    return findings


def _chemical_potentials(case: Case, symbols: list[str], findings: Findings) -> dict[str, float]:
    """Energy per atom (eV) of each element's own crystal at rest, where ASE knows a simple one."""
    potentials = {}
    for symbol in symbols:
        lattice = (reference_states[atomic_numbers[symbol]] or {}).get("symmetry")
        if lattice not in ("fcc", "bcc", "hcp", "diamond"):
            findings.note(
                f"No vacancy of {symbol}: its own crystal, which would set the energy of the atom taken out, "
                "is not fcc, bcc, hcp or diamond."
            )
            continue
        settings = replace(case.settings.relaxation, keep_symmetry=True, pressure_gpa=0.0)
        crystal, _ = relax_crystal(parse_structure(f"{lattice}:{symbol}").atoms, case.calculator, settings)
        potentials[symbol] = case.energy(crystal) / len(crystal)
    return potentials


def _is_only_site(symbols: list[str], sites: list[int], site: int) -> bool:
    return sum(symbols[other] == symbols[site] for other in sites) == 1
