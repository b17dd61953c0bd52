"""What every native operation is made of: an entry point of the library, and a torch operator with its gradient.

Torch's own ``custom_op`` costs some 70 microseconds a call in eager mode, more than many of the kernels; a model calls
a hundred of them a step. So eager calls go through an ``autograd.Function`` right away, and the registered operator is
what ``torch.export`` and ``torch.compile`` see.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from equipot.errors import UsageError
from equipot.kernels.native import library

NAMESPACE = "equipot"
_SUFFIXES = {torch.float32: "f32", torch.float64: "f64"}
_PLAIN = (torch.Tensor, torch.nn.Parameter)
_definitions = torch.library.Library(NAMESPACE, "FRAGMENT")


@cache
def entry_point(name: str, dtype: torch.dtype | None, arguments: tuple[type, ...]) -> Callable[..., Any]:
    """The C function ``equipot_<name>_<f32|f64>`` (no suffix without a dtype) that returns nothing.

    Raises:
        UsageError: there is no native library.
    """
    loaded = library.load()
    if isinstance(loaded, str):
        raise UsageError(loaded)
    full_name = f"equipot_{name}" + ("" if dtype is None else f"_{_SUFFIXES[dtype]}")
    function = getattr(loaded.functions, full_name)
    function.argtypes, function.restype = arguments, None
    return function


def address(tensor: torch.Tensor | None) -> int | None:
    """Where a contiguous tensor's numbers lie; None, a null pointer, for None and for no numbers at all."""
    return None if tensor is None or tensor.numel() == 0 else tensor.data_ptr()


def is_eager(tensor: torch.Tensor) -> bool:
    """Whether what happens to a tensor happens at once: nobody traces, and it is no tensor of another kind."""
    return type(tensor) in _PLAIN and not torch.compiler.is_compiling()


def operator(
    schema: str,
    *,
    compute: Callable[..., Any],
    fake: Callable[..., Any],
    setup_context: Callable[[Any, tuple, Any], None] | None = None,
    backward: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """Define ``equipot::<name>`` and return the function to call it by.

    Args:
        schema: ``name(Tensor x, ...) -> ...``.
        compute: the operation on CPU tensors.
        fake: outputs of the right shapes, for tracing.
        setup_context, backward: as in ``torch.library.register_autograd``, with undefined gradients given as None;
            without them the operation has no derivative, and asking for one raises UsageError.
    """
    name = schema.split("(")[0]

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> Any:
            output = compute(*inputs)
            ctx.set_materialize_grads(False)
            if setup_context is not None:
                setup_context(ctx, inputs, output)
            return output

        @staticmethod
        def backward(ctx: Any, *gradients: torch.Tensor | None) -> Any:
            if backward is None:
                raise UsageError(
                    f"The native kernels have no derivative of {NAMESPACE}::{name}: energies can be "
                    "differentiated twice. For a third derivative use the reference kernels."
                )
            return backward(ctx, *gradients)

    Function.__name__ = f"{name}_function"
    _definitions.define(schema)
    _definitions.impl(name, compute, "CPU")
    torch.library.register_fake(f"{NAMESPACE}::{name}", fake, lib=_definitions)
    overload = getattr(getattr(torch.ops, NAMESPACE), name).default

    def traced_context(ctx: Any, inputs: tuple, output: Any) -> None:
        ctx.set_materialize_grads(False)
        if setup_context is not None:
            setup_context(ctx, inputs, output)

    torch.library.register_autograd(
        f"{NAMESPACE}::{name}", Function.backward, setup_context=traced_context, lib=_definitions
    )

    def call(*inputs: Any) -> Any:
        if not is_eager(inputs[0]):
            return overload(*inputs)
        # Backward passes that nobody differentiates run without gradients: half of the calls of a training step.
        return Function.apply(*inputs) if torch.is_grad_enabled() else compute(*inputs)

    return call
