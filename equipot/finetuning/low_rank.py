"""LoRA: a frozen matrix of channels plus a trained product of two thin ones, for each irrep by itself.

Hu et al., ICLR 2022 (arXiv:2106.09685). A matrix W (channels in, channels out) becomes W + (alpha / rank) A B with A
(channels in, rank) and B (rank, channels out), the latter zero at first; a stack of matrices, one a species, gets a
pair for each. Channels of one irrep are mixed with each other only, so the corrected map is as equivariant as before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import torch
from torch import nn
from torch.nn.utils import parametrize

from equipot.config import FinetuneConfig
from equipot.errors import ConfigError
from equipot.finetuning.blocks import parameter_names, select
from equipot.models import Potential


class LowRank(nn.Module):
    """W -> W + (alpha / rank) A B; see the module.

    Args:
        weight: (..., channels in, channels out).
        rank: of the correction.
        alpha: its scale is alpha / rank.
        generator: draws A, with variance 1 / channels in.
    """

    def __init__(self, weight: torch.Tensor, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__()
        *sets, n_in, n_out = weight.shape
        a = torch.randn(*sets, n_in, rank, generator=generator, dtype=torch.float64) * n_in**-0.5
        self.a = nn.Parameter(a.to(weight))
        self.b = nn.Parameter(weight.new_zeros(*sets, rank, n_out))
        self.scale = alpha / rank
        self.fan_in = {"a": n_in, "b": rank}

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight + self.scale * (self.a @ self.b)


def add_low_rank(potential: Potential, config: FinetuneConfig, seed: int, *, excluded: Collection[str] = ()) -> None:
    """Freeze a potential and give the targeted matrices corrections of low rank.

    A targeted parameter that is no matrix of channels, or so small that the pair would hold as many numbers as it does,
    trains in full instead; so do the parameters of ``finetune.train``.

    Args:
        potential: changed in place; merge with :func:`merged_state`.
        config: with mode ``lora``.
        seed: of the matrices A.
        excluded: parameters that are left alone.

    Raises:
        ConfigError: a pattern matches nothing, or no matrix is large enough for the rank.
    """
    names = parameter_names(potential)
    targets = select(names, config.lora.targets, "finetune.lora.targets") - set(excluded)
    trained = (select(names, config.train, "finetune.train") if config.train else set()) - set(excluded)
    matrices = _matrices(potential)
    corrected = [
        name
        for name in names
        if name in targets - trained and name in matrices and _is_worth_it(matrices[name], config.lora.rank)
    ]
    if not corrected:
        raise ConfigError(
            f"finetune.lora: no matrix that {', '.join(config.lora.targets)} means is large enough for a "
            f"correction of rank {config.lora.rank}. Lower finetune.lora.rank, or say mode: full."
        )
    in_full = trained | (targets - set(corrected))
    for name, parameter in potential.named_parameters():
        parameter.requires_grad_(name in in_full)
    generator = torch.Generator().manual_seed(seed)
    for name in corrected:
        module_name, _, own = name.rpartition(".")
        correction = LowRank(matrices[name].detach(), config.lora.rank, config.lora.alpha, generator)
        parametrize.register_parametrization(potential.get_submodule(module_name), own, correction)


def _matrices(potential: Potential) -> dict[str, nn.Parameter]:
    """Parameters that mix channels: matrices with a fan-in, or stacks of them, one a species."""
    found = {}
    for module_name, module in potential.named_modules():
        for own, fan_in in getattr(module, "fan_in", {}).items():
            parameter = module.get_parameter(own)
            # Weights of the product basis have a fan-in of paths, but act on each channel by itself.
            if parameter.dim() >= 2 and parameter.shape[-2] == fan_in and ".product." not in f"{module_name}.":
                found[f"{module_name}.{own}"] = parameter
    return found


def _is_worth_it(matrix: nn.Parameter, rank: int) -> bool:
    *_, n_in, n_out = matrix.shape
    return rank * (n_in + n_out) < n_in * n_out


def merged_state(potential: nn.Module) -> dict[str, torch.Tensor]:
    """Tensors of a potential as an ordinary one has them: corrections added to the matrices they correct."""
    state = {
        name: tensor for name, tensor in potential.state_dict().items() if "parametrizations" not in name.split(".")
    }
    with torch.no_grad():
        for name, tensor in _parametrized(potential.named_modules()):
            state[name] = tensor.detach().clone()
    return state


def _parametrized(modules: Iterable[tuple[str, nn.Module]]) -> Iterable[tuple[str, torch.Tensor]]:
    for module_name, module in modules:
        if parametrize.is_parametrized(module):
            for own in module.parametrizations:
                yield f"{module_name}.{own}" if module_name else own, getattr(module, own)
