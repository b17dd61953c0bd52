"""One figure for each measured property of a structure, with the curves of reference runs beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from ase.eos import birchmurnaghan

from equipot.properties import PropertyResult, Reference
from equipot.report.figures import BLACK, BLUE, GREEN, GREY, ORANGE, PINK, RED, new_figure, plain_label, style
from equipot.report.html import Picture
from equipot.units import GPA_PER_EV_A3, MEV_PER_EV

#: Name of the potential or reference -> curves of one property.
Curves = Sequence[tuple[str, Mapping[str, Any]]]
_LINES = ((BLUE, "-", "o"), (BLACK, "--", "s"), (ORANGE, ":", "^"), (GREEN, "-.", "D"))


def property_pictures(result: PropertyResult, references: Sequence[Reference] = ()) -> dict[str, Picture]:
    """Draw a property: file name -> figure with its caption. Empty where there is nothing to draw.

    Args:
        result: of the property.
        references: those for the same structure; their curves, where they bring any, are drawn beside.
    """
    draw = _DRAWERS.get(result.name)
    if draw is None or not result.curves:
        return {}
    curves = [
        ("potential", result.curves),
        *(
            (reference.name, reference.curves[result.name])
            for reference in references
            if reference.curves.get(result.name)
        ),
    ]
    with style():
        return draw(curves[: len(_LINES)], result, references)


def _legend(axes, curves: Curves) -> None:
    if len(curves) > 1:
        axes.legend()


def _equation_of_state(curves: Curves, result: PropertyResult, _: Sequence[Reference]) -> dict[str, Picture]:
    figure = new_figure(6.4, 3.8)
    axes = figure.subplots()
    for (name, state), (color, line, marker) in zip(curves, _LINES):
        volumes, energies = np.array(state["volumes"]), np.array(state["energies"])
        fine, atoms = np.linspace(volumes.min(), volumes.max(), 200), state["num_atoms"]
        fitted = birchmurnaghan(
            fine,
            state["energy"],
            state["bulk_modulus_gpa"] / GPA_PER_EV_A3,
            state["bulk_modulus_derivative"],
            state["volume"],
        )
        scale = MEV_PER_EV / atoms
        axes.plot(fine / atoms, (fitted - state["energy"]) * scale, line, color=color)
        axes.plot(
            volumes / atoms,
            (energies - state["energy"]) * scale,
            marker,
            color=color,
            markersize=4.5,
            label=plain_label(name),
        )
    axes.set(xlabel="volume (Å³/atom)", ylabel="energy − minimum (meV/atom)")
    _legend(axes, curves)
    return {"equation_of_state": Picture(figure, "Energy against volume: points and third-order Birch-Murnaghan fit.")}


def _elastic(curves: Curves, result: PropertyResult, references: Sequence[Reference]) -> dict[str, Picture]:
    names = [
        name
        for name in result.values
        if name[0] == "C" or name in ("bulk_modulus_hill", "shear_modulus_hill", "youngs_modulus_hill")
    ]
    shown = [reference for reference in references if any(name in reference.values for name in names)][:3]
    figure = new_figure(max(4.5, 1.2 + 0.75 * len(names)), 3.6)
    axes = figure.subplots()
    width = 0.8 / (1 + len(shown))
    where = np.arange(len(names))
    bars = [
        ("potential", [result.values[name].value for name in names], BLUE),
        *(
            (reference.name, [reference.values.get(name, np.nan) for name in names], color)
            for reference, color in zip(shown, ("#c3c8ce", "#e8c98f", "#9fcfbe"))
        ),
    ]
    for number, (name, values, color) in enumerate(bars):
        axes.bar(where + (number - 0.5 * len(shown)) * width, values, width, color=color, label=plain_label(name))
    for x, name in zip(where, names):
        axes.annotate(
            f"{result.values[name].value:.0f}",
            (x - 0.5 * len(shown) * width, max(0.0, result.values[name].value)),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    axes.set_xticks(
        where,
        [
            {"bulk_modulus_hill": "B", "shear_modulus_hill": "G", "youngs_modulus_hill": "E"}.get(name, name)
            for name in names
        ],
    )
    axes.set_ylabel("modulus (GPa)")
    axes.grid(axis="x", visible=False)
    axes.axhline(0.0, color=GREY, linewidth=0.8)
    if shown:
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=len(bars))
    return {
        "elastic": Picture(
            figure, "Elastic constants in the crystal's standard axes; B, G, E: Hill's averages over a polycrystal."
        )
    }


def _phonons(curves: Curves, result: PropertyResult, _: Sequence[Reference]) -> dict[str, Picture]:
    figure = new_figure(8.6, 4.0)
    left, right = figure.subplots(1, 2, width_ratios=(3.4, 1.0), sharey=True)
    for (name, data), (color, line, _marker) in zip(curves, _LINES):
        bands, density = data["bands"], data["density"]
        # Another lattice constant stretches the line: pieces are drawn on the lengths of the potential's own.
        own = curves[0][1]["bands"]
        for number, (distances, frequencies) in enumerate(zip(own["distances"], bands["frequencies"])):
            x = np.linspace(distances[0], distances[-1], len(frequencies))
            left.plot(
                x, frequencies, line, color=color, linewidth=1.2, label=plain_label(name) if number == 0 else None
            )
        right.plot(density["states"], density["frequencies"], line, color=color, linewidth=1.2)
    _band_axis(left, curves[0][1]["bands"])
    for axes in (left, right):
        axes.axhline(0.0, color=GREY, linewidth=0.8)
    lowest = min(np.min(part) for part in curves[0][1]["bands"]["frequencies"])
    if lowest < -0.05:
        left.axhspan(1.08 * lowest, 0.0, color=RED, alpha=0.08)
        left.annotate("imaginary", (left.get_xlim()[1], lowest), ha="right", color=RED, fontsize=9)
    left.set_ylim(bottom=min(0.0, 1.08 * lowest) if lowest < -0.05 else 0.0)
    left.set_ylabel("frequency (THz)")
    right.set_xlabel("states (1/THz/atom)")
    right.set_xlim(left=0.0)
    handles, labels = left.get_legend_handles_labels()
    unique = dict(zip(labels, handles))
    if len(curves) > 1:
        figure.legend(unique.values(), unique.keys(), loc="outside upper right", ncols=len(unique))
    return {
        "phonons": Picture(
            figure,
            "Phonon bands along seekpath's line and density of states; imaginary frequencies are drawn as negative.",
        ),
        "thermal": _thermal(curves),
    }


def _band_axis(axes, bands: Mapping[str, Any]) -> None:
    places, names = [], []
    for (begin, end), distances in zip(bands["segments"], bands["distances"]):
        if places and abs(places[-1] - distances[0]) < 1e-9:
            if names[-1] != begin:
                names[-1] = f"{names[-1]}|{begin}"
        else:
            places.append(distances[0])
            names.append(begin)
        places.append(distances[-1])
        names.append(end)
    axes.set_xticks(places, [name.replace("G", "Γ") for name in names])
    axes.set_xlim(places[0], places[-1])


def _thermal(curves: Curves) -> Picture:
    figure = new_figure(8.6, 3.2)
    panels = figure.subplots(1, 3)
    for (name, data), (color, line, _marker) in zip(curves, _LINES):
        thermal = data["thermal"]
        for axes, key in zip(panels, ("free_energy_mev", "entropy", "heat_capacity")):
            axes.plot(thermal["temperatures"], thermal[key], line, color=color, label=plain_label(name))
    for axes, label in zip(panels, ("free energy (meV/atom)", "entropy (J/K/mol)", "heat capacity $C_V$ (J/K/mol)")):
        axes.set(xlabel="temperature (K)", ylabel=label)
    panels[2].axhline(3 * 8.314462618, color=GREY, linewidth=0.8, linestyle=":")
    _legend(panels[0], curves)
    return Picture(figure, "Harmonic thermal functions, per mole of atoms. Dotted: the classical limit 3R.")


def _vacancy(curves: Curves, result: PropertyResult, _: Sequence[Reference]) -> dict[str, Picture]:
    entries = result.curves["convergence"]
    if len({entry["num_atoms"] for entry in entries}) < 2:
        return {}
    figure = new_figure(5.2, 3.4)
    axes = figure.subplots()
    sites = list(dict.fromkeys(entry["site"] for entry in entries))
    for site, color in zip(sites, (BLUE, ORANGE, GREEN, PINK, RED, BLACK, GREY)):
        mine = [entry for entry in entries if entry["site"] == site]
        axes.plot(
            [entry["num_atoms"] for entry in mine],
            [entry["energy"] for entry in mine],
            "o-",
            color=color,
            label=plain_label(f"{site}, relaxed"),
        )
        axes.plot(
            [entry["num_atoms"] for entry in mine],
            [entry["unrelaxed"] for entry in mine],
            "s:",
            color=color,
            markerfacecolor="none",
            label=plain_label(f"{site}, unrelaxed"),
        )
    axes.set(xlabel="atoms in the supercell", ylabel="formation energy (eV)", xscale="log")
    axes.set_xticks(
        sorted({entry["num_atoms"] for entry in entries}),
        [str(number) for number in sorted({entry["num_atoms"] for entry in entries})],
    )
    axes.minorticks_off()
    axes.legend()
    return {"vacancy": Picture(figure, "Vacancy formation energy against the size of the supercell.")}


def _surfaces(curves: Curves, result: PropertyResult, references: Sequence[Reference]) -> dict[str, Picture]:
    slabs = result.curves["slabs"]
    names = ["".join(map(str, slab["plane"])) for slab in slabs]
    shown = [
        reference for reference in references if any(f"surface_energy_{name}" in reference.values for name in names)
    ][:3]
    figure = new_figure(max(4.2, 1.6 + 1.1 * len(names)), 3.4)
    axes = figure.subplots()
    width, where = 0.8 / (2 + len(shown)), np.arange(len(names))
    bars = [
        ("relaxed", [slab["energy"] for slab in slabs], BLUE),
        ("unrelaxed", [slab["unrelaxed"] for slab in slabs], "#8fc1e3"),
        *(
            (reference.name, [reference.values.get(f"surface_energy_{name}", np.nan) for name in names], color)
            for reference, color in zip(shown, ("#c3c8ce", "#e8c98f", "#9fcfbe"))
        ),
    ]
    for number, (name, values, color) in enumerate(bars):
        axes.bar(where + (number - 0.5 * (len(bars) - 1)) * width, values, width, color=color, label=plain_label(name))
    axes.set_xticks(where, [f"({name})" for name in names])
    axes.set_ylabel("surface energy (J/m²)")
    axes.grid(axis="x", visible=False)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=len(bars))
    return {"surfaces": Picture(figure, "Surface energies of relaxed and unrelaxed slabs.")}


def _stacking_faults(curves: Curves, result: PropertyResult, _: Sequence[Reference]) -> dict[str, Picture]:
    lines = result.curves["lines"]
    figure = new_figure(0.6 + 4.0 * len(lines), 3.5)
    panels = figure.subplots(1, len(lines), squeeze=False)[0]
    for axes, line in zip(panels, lines):
        for (name, data), (color, dash, marker) in zip(curves, _LINES):
            twin = next((other for other in data["lines"] if other["name"] == line["name"]), None)
            if twin is None:
                continue
            axes.plot(
                twin["slip"],
                twin["relaxed"],
                marker + dash,
                color=color,
                markersize=4,
                label=plain_label(name) if len(curves) > 1 else "relaxed",
            )
            if data is result.curves:
                axes.plot(
                    twin["slip"],
                    twin["unrelaxed"],
                    marker + ":",
                    color=color,
                    markersize=4,
                    markerfacecolor="none",
                    alpha=0.7,
                    label="unrelaxed",
                )
        axes.axhline(0.0, color=GREY, linewidth=0.8)
        axes.set(
            xlabel=f"slip / {line['slip_angstrom']:.3f} Å", ylabel="energy (J/m²)", title=plain_label(line["name"])
        )
        axes.legend()
    return {
        "stacking_faults": Picture(
            figure, "Generalised stacking fault energy; atoms relax along the normal of the plane only."
        )
    }


def _expansion(curves: Curves, result: PropertyResult, _: Sequence[Reference]) -> dict[str, Picture]:
    curves = [(name, data) for name, data in curves if data["method"] == result.curves["method"]]
    quasi_harmonic = result.curves["method"] == "quasi-harmonic"
    figure = new_figure(8.4 if quasi_harmonic else 4.6, 3.3)
    panels = figure.subplots(1, 2 if quasi_harmonic else 1, squeeze=False)[0]
    for (name, data), (color, dash, marker) in zip(curves, _LINES):
        if quasi_harmonic:
            panels[0].plot(data["temperatures"], data["volumes"], dash, color=color, label=plain_label(name))
            panels[1].plot(
                data["temperatures"], np.array(data["expansion"]) / 3.0, dash, color=color, label=plain_label(name)
            )
        else:
            panels[0].errorbar(
                data["temperatures"],
                data["volumes"],
                yerr=data["volume_errors"],
                fmt=marker + dash,
                color=color,
                capsize=3,
                label=plain_label(name),
            )
    panels[0].set(xlabel="temperature (K)", ylabel="volume (Å³/atom)")
    if quasi_harmonic:
        panels[1].set(xlabel="temperature (K)", ylabel="linear expansion (10⁻⁶/K)")
    _legend(panels[0], curves)
    how = "quasi-harmonic approximation" if quasi_harmonic else "molecular dynamics at zero pressure"
    return {"expansion": Picture(figure, f"Thermal expansion, {how}.")}


def _distribution(curves: Curves, result: PropertyResult, _: Sequence[Reference]) -> dict[str, Picture]:
    figure = new_figure(6.4, 3.6)
    axes = figure.subplots()
    functions = result.curves["functions"]
    if len(curves) > 1 or len(functions) == 1:
        for (name, data), (color, dash, _marker) in zip(curves, _LINES):
            axes.plot(data["distances"], data["functions"]["all"], dash, color=color, label=plain_label(name))
        _legend(axes, curves)
    else:
        for (name, function), color in zip(functions.items(), (BLACK, BLUE, ORANGE, GREEN, PINK, RED, GREY)):
            axes.plot(
                result.curves["distances"],
                function,
                color=color,
                linewidth=2.0 if name == "all" else 1.2,
                label="all atoms" if name == "all" else plain_label(name),
            )
        axes.legend()
    axes.axhline(1.0, color=GREY, linewidth=0.8, linestyle=":")
    axes.set(xlabel="distance (Å)", ylabel="g(r)", ylim=(0.0, None))
    return {"distribution": Picture(figure, f"Radial distribution function at {result.curves['temperature']:g} K.")}


def _melting(curves: Curves, result: PropertyResult, _: Sequence[Reference]) -> dict[str, Picture]:
    data = result.curves
    figure = new_figure(8.4, 3.4)
    left, right = figure.subplots(1, 2)
    left.plot(data["times_ps"], data["temperatures"], color=BLUE, linewidth=0.9)
    left.axhline(data["mean_temperature"], color=BLACK, linestyle="--", linewidth=1.0)
    left.set(xlabel="time (ps)", ylabel="temperature (K)")
    right.plot(data["profile_positions"], data["profile_order"], "o-", color=BLUE, markersize=4)
    right.set(xlabel="place along the long axis", ylabel="crystalline order at the end", ylim=(0.0, 1.0))
    return {
        "melting": Picture(
            figure,
            "Two phases side by side at constant enthalpy: temperature, and order of the "
            "layers at the end (high: crystal, low: liquid).",
        )
    }


_DRAWERS: dict[str, Callable[[Curves, PropertyResult, Sequence[Reference]], dict[str, Picture]]] = {
    "equation_of_state": _equation_of_state,
    "elastic": _elastic,
    "phonons": _phonons,
    "vacancy": _vacancy,
    "surfaces": _surfaces,
    "stacking_faults": _stacking_faults,
    "expansion": _expansion,
    "distribution": _distribution,
    "melting": _melting,
}
