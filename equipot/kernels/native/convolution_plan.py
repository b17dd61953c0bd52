"""Convolution plans as text, which operators take as an argument, and as the C++ structure behind the text."""

from __future__ import annotations

import ctypes
from functools import cache

from equipot.errors import UsageError
from equipot.kernels.layout import FeatureLayout
from equipot.kernels.native import library
from equipot.kernels.plans import ConvolutionPlan, Path

#: Highest order of features, harmonics and results the native convolution has loops for.
MAX_L = 4


def is_native(plan: ConvolutionPlan) -> bool:
    """Whether all orders of a plan are small enough for the native convolution."""
    blocks = plan.input.blocks + plan.output.blocks
    return plan.l_max <= MAX_L and all(block.l <= MAX_L for block in blocks)


def key_of(plan: ConvolutionPlan) -> str:
    """The plan as text: ``input;l_max;parity;output;input.l2.output.offset,...``."""
    paths = ",".join(f"{path.input}.{path.l2}.{path.output}.{path.channel_offset}" for path in plan.paths)
    return f"{plan.input};{plan.l_max};{int(plan.harmonic_parity)};{plan.output};{paths}"


@cache
def plan_of(key: str) -> ConvolutionPlan:
    """The inverse of :func:`key_of`."""
    features, l_max, parity, output, paths = key.split(";")
    return ConvolutionPlan(
        FeatureLayout.from_irreps(features),
        int(l_max),
        parity == "1",
        FeatureLayout.from_irreps(output),
        tuple(Path(*map(int, path.split("."))) for path in paths.split(",") if path),
    )


def plan_numbers(plan: ConvolutionPlan) -> tuple[list[int], list[float]]:
    """Eight numbers a path and the coefficients of all paths, as ``make_plan`` in C++ takes them."""
    rows, coefficients = [], []
    for path, weight_offset in zip(plan.paths, plan.weight_offsets):
        source, target = plan.input.blocks[path.input], plan.output.blocks[path.output]
        rows += [
            source.l,
            path.l2,
            target.l,
            source.channels,
            plan.input.offsets[path.input],
            plan.output.offsets[path.output] + path.channel_offset,
            target.channels,
            weight_offset,
        ]
        coefficients += plan.coefficients(path).flatten().tolist()
    return rows, coefficients


@cache
def plan_pointer(key: str) -> int:
    """The address of the C++ plan, which lives as long as the process; for the library of :func:`library.load`.

    Raises:
        UsageError: there are no native kernels, or they have no loops for orders this high.
    """
    plan, loaded = plan_of(key), library.load()
    if isinstance(loaded, str):
        raise UsageError(loaded)
    rows, coefficients = plan_numbers(plan)
    create = loaded.functions.equipot_convolution_plan
    create.restype = ctypes.c_void_p
    pointer = create(
        ctypes.c_int(plan.l_max),
        *map(ctypes.c_int64, (plan.input.dim, plan.output.dim, plan.num_weights)),
        ctypes.c_int64(len(plan.paths)),
        (ctypes.c_int64 * max(1, len(rows)))(*rows),
        (ctypes.c_double * max(1, len(coefficients)))(*coefficients),
    )
    if pointer is None:
        raise UsageError(f"The native convolution does not compute this plan: {key}.")
    return pointer
