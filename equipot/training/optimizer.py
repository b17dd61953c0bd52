"""The optimiser with a learning rate of its own for each matrix, and its state keyed by parameter name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from equipot.config.schema import OptimizerConfig
from equipot.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from equipot.models import Potential

#: Matrices with a longer side (that cannot be cut into blocks) get no SOAP eigenbasis for it: its cost grows with the
#: cube.
MAX_PRECONDITIONER_SIZE = 1024
_LAYER = re.compile(r"architecture\.layers\.(\d+)\.")
_IS_FIRST = re.compile(r"architecture\.(embedding$|radial\.)")


def learning_rate_factors(potential: Potential, config: OptimizerConfig) -> dict[str, float]:
    """Factor on the learning rate of every parameter: the model's own (fan-in^-1/2) times those of the configuration.

    ``layer_decay`` counts layers from the readout: it stands once before the last layer, and once more before each
    earlier one and before the embedding.
    Every regular expression of ``parameter_groups`` found in a name (``re.search``) multiplies its factor; a product
    of zero freezes the parameter.

    Raises:
        ConfigError: a regular expression matches no parameter, or everything is frozen.
    """
    names = [name for name, parameter in potential.named_parameters() if parameter.requires_grad]
    own = potential.learning_rate_factors()
    depths = _depths(potential)
    factors = {name: float(own.get(name, 1.0)) * config.layer_decay ** depths[name] for name in names}
    for pattern, factor in config.parameter_groups.items():
        matched = [name for name in names if re.search(pattern, name)]
        if not matched:
            raise ConfigError(
                f"optimizer.parameter_groups: {pattern!r} matches no parameter. The parameters are: {', '.join(names)}."
            )
        for name in matched:
            factors[name] *= factor
    if not any(factors.values()):
        raise ConfigError("Nothing is left to train: optimizer.parameter_groups freezes every parameter.")
    return factors


def _depths(potential: Potential) -> dict[str, int]:
    """Layers between each parameter and the readout, its own counted: 0 for what stands behind all layers."""
    names = [name for name, _ in potential.named_parameters()]
    layers = {name: int(found[1]) for name in names if (found := _LAYER.match(name))}
    count = max(layers.values(), default=-1) + 1
    return {
        name: count - layers[name] if name in layers else count + 1 if _IS_FIRST.match(name) else 0 for name in names
    }


def build_optimizer(potential: Potential, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Make the optimiser; parameters with the same learning rate and weight decay share a group.

    Frozen parameters get ``requires_grad = False`` and are left out. Each group carries ``names`` and ``base_lr``;
    the schedule sets ``lr`` from the latter at each step. Weight decay acts on matrices only, not on biases and scales.

    Args:
        potential: its parameters are optimised; ``learning_rate_factors()`` gives a factor for each name.
        config: name and numbers. SOAP: Vyas et al., arXiv:2409.11321, see :class:`equipot.training.soap.SOAP`.

    Raises:
        ConfigError: see :func:`learning_rate_factors`.
    """
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    factors = learning_rate_factors(potential, config)
    for name, parameter in potential.named_parameters():
        if not factors.get(name, 0.0):
            parameter.requires_grad_(False)
            continue
        decay = config.weight_decay if parameter.ndim > 1 else 0.0
        lr = config.learning_rate * factors[name]
        group = groups.setdefault(
            (lr, decay), {"params": [], "names": [], "lr": lr, "base_lr": lr, "weight_decay": decay}
        )
        group["params"].append(parameter)
        group["names"].append(name)
    return _create(config, list(groups.values()))


def _create(config: OptimizerConfig, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    # torch's fused kernels are four times as fast as its foreach ones on a CPU; on a GPU they would keep the counter
    # of steps there, which a checkpoint does not.
    on_cpu = all(parameter.device.type == "cpu" for group in groups for parameter in group["params"])
    speed = {"fused": True} if on_cpu else {"foreach": True}
    if config.name == "soap":
        from equipot.training.soap import SOAP

        return SOAP(
            groups,
            lr=config.learning_rate,
            betas=config.betas or (0.9, 0.99),
            precondition_frequency=config.precondition_frequency or 10,
            block_size=config.block_size or 64,
            max_precondition_dim=MAX_PRECONDITIONER_SIZE,
        )
    if config.name == "sgd":
        momentum = 0.9 if config.momentum is None else config.momentum
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=momentum, **speed)
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(groups, lr=config.learning_rate, betas=config.betas or (0.9, 0.999), **speed)


def describe_groups(potential: Potential, optimizer: torch.optim.Optimizer) -> list[str]:
    """Printable lines: each learning rate, how many numbers learn at it, in which parameters; then what is frozen."""
    trained = {name for group in optimizer.param_groups for name in group["names"]}
    frozen = [(name, parameter) for name, parameter in potential.named_parameters() if name not in trained]
    rows = [
        (f"{group['base_lr']:.3g}", sum(parameter.numel() for parameter in group["params"]), group["names"])
        for group in sorted(optimizer.param_groups, key=lambda group: -group["base_lr"])
    ]
    if frozen:
        rows.append(("frozen", sum(parameter.numel() for _, parameter in frozen), [name for name, _ in frozen]))
    lines = [f"{'learning rate':>13}  {'numbers':>9}  parameters"]
    for rate, count, names in rows:
        shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        lines.append(f"{rate:>13}  {count:>9}  {shown}")
    return lines


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """State of the optimiser by parameter name, with the counter some optimisers keep in their groups."""
    state = {}
    for group in optimizer.param_groups:
        for name, parameter in zip(group["names"], group["params"]):
            # The counter SOAP keeps in its groups is saved with each parameter, so that regrouping cannot lose it.
            state[name] = {"group_step": group.get("step"), "state": _pack(dict(optimizer.state.get(parameter, {})))}
    return state


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Put back what :func:`optimizer_state` gave, exactly.

    Raises:
        CheckpointError: the names differ from those this optimiser trains.
    """
    names = {name for group in optimizer.param_groups for name in group["names"]}
    if names != set(state):
        missing, extra = sorted(names - set(state)), sorted(set(state) - names)
        raise CheckpointError(
            "The optimiser state in the checkpoint is for other parameters: missing "
            f"{', '.join(missing) or 'none'}; unexpected {', '.join(extra) or 'none'}. "
            "The model or optimizer.parameter_groups were changed; start a new run."
        )
    optimizer.state.clear()
    for group in optimizer.param_groups:
        for name, parameter in zip(group["names"], group["params"]):
            entry = state[name]
            if entry["group_step"] is not None:
                group["step"] = entry["group_step"]
            kept = entry["state"]
            if not isinstance(kept, Mapping) or not all(isinstance(key, str) for key in kept):
                raise CheckpointError(f"The optimiser state in the checkpoint has no table of values for {name[:80]}.")
            if kept:
                optimizer.state[parameter] = _unpack(kept, parameter.device)


def _pack(value: Any) -> Any:
    """Replace tensors by (tensor, strides).

    Files keep no strides, but a matrix product rounds differently for another memory layout (SOAP's eigenbases come
    out of LAPACK by columns), and a resumed run shall equal an unbroken one to the bit.
    """
    if isinstance(value, torch.Tensor):
        is_dense = value.is_contiguous() or value.numel() == 0 or 0 in value.stride()
        return (value, None if is_dense else tuple(value.stride()))
    if isinstance(value, Mapping):
        return {name: _pack(item) for name, item in value.items()}
    return [_pack(item) for item in value] if isinstance(value, list) else value


def _unpack(value: Any, device: torch.device, key: str = "") -> Any:
    """Undo :func:`_pack`, in new memory beside the parameter (torch keeps the counter ``step`` on the CPU)."""
    if isinstance(value, tuple):
        tensor, strides = value
        where = tensor.device if key == "step" else device
        if strides is None:
            return tensor.to(where, copy=True)
        return torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype, device=where).copy_(tensor)
    if isinstance(value, Mapping):
        return {name: _unpack(item, device, name) for name, item in value.items()}
    return [_unpack(item, device) for item in value] if isinstance(value, list) else value
