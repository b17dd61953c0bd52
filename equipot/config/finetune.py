"""The section of a configuration that makes a training a fine-tuning: which base, what of it trains, what is kept."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from equipot.config.limits import Count, Element, Expression, Limit, NotEmpty, PlainName, Positive, PositiveInt
from equipot.config.position import FieldError
from equipot.config.section import Section

#: Mode -> values that a fine-tuning has where the configuration does not give them. The rates were chosen on validation
#: frames (scripts/benchmarks/benchmark_finetuning.py --scan), with SevenNet-0 (128 channels) as the base, 10 or 16
#: frames and 200 to 300 steps: for TiO2 0.003 to 0.005 were best, for Nb-Mo-Ta-W 0.01, for Mo 0.01 to 0.03. Narrow
#: bases want more.
FINETUNE_DEFAULTS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "full": {"optimizer": {"learning_rate": 0.005}},
    "frozen": {"optimizer": {"learning_rate": 0.01}},
    "lora": {"optimizer": {"learning_rate": 0.01}},
}


@dataclass(frozen=True)
class LoraConfig(Section):
    """Corrections of low rank to frozen matrices: W + (alpha / rank) A B (Hu et al., ICLR 2022)."""

    rank: Annotated[int, Limit(at_least=1, at_most=1024)] = 8
    #: Default: the rank, so that the scale is one.
    alpha: Positive | None = None
    #: Blocks or regular expressions: which matrices of channels get a correction for each irrep. A parameter among
    #: them that is no such matrix, or too small for it, trains in full.
    targets: tuple[Expression, ...] = ("linear", "self_connection", "radial_network", "readout")

    def check(self) -> None:
        if not self.targets:
            raise FieldError(
                "targets",
                "is empty, expected blocks (linear, self_connection, ...) or regular expressions on parameter names.",
            )
        if self.alpha is None:
            self._set("alpha", float(self.rank))


@dataclass(frozen=True)
class ReplayConfig(Section):
    """Structures that the frozen base labels, mixed into every step so that the potential forgets less.

    Their loss (of energies, forces and stresses, divided by their own number) is added to that of the frames.
    """

    #: Files of structures, whose labels are not read; none: rattled and strained crystals are made.
    structures: tuple[NotEmpty, ...] = ()
    #: How many crystals are made ...
    number: PositiveInt = 256
    #: ... of which elements: of all the base knows, of those in the frames, or a list.
    elements: Literal["base", "data"] | tuple[Element, ...] = "base"
    #: Structures a step; default: as many as the step has frames.
    batch_size: PositiveInt | None = None
    #: Factor on their part of the loss.
    weight: Positive = 1.0

    def ineffective(self) -> dict[str, str]:
        if not self.structures:
            return {}
        return dict.fromkeys(("number", "elements"), "finetune.replay.structures names files, no crystals are made")


@dataclass(frozen=True)
class TuningReportConfig(Section):
    """What the tuned potential is compared with at the end of the run (``finetune.json`` and ``report.html``)."""

    #: Rattled and strained crystals of the base's elements, none of them replayed, on which the deviation from the base
    #: shows what was forgotten; 0: none.
    prototypes: Count = 200
    #: Files of labelled frames that the base is good at, to see its errors there before and after. They are read as
    #: those of ``data`` are (keys, units, on_bad).
    known: tuple[NotEmpty, ...] = ()
    #: Model file or run folder of a potential trained from scratch on the same frames.
    scratch: NotEmpty | None = None


@dataclass(frozen=True)
class FinetuneConfig(Section):
    """Training that begins with the weights of a finished potential.

    ``train`` and ``freeze`` list blocks or regular expressions on parameter names. The blocks are ``embedding``,
    ``radial``, ``radial_network``, ``linear``, ``self_connection``, ``product``, ``readout``, ``scale_shift``,
    ``last_layer``, and ``layer_0``, ``layer_1``, ...; a word of another kind is searched for in the names.
    """

    #: The model file to begin with, relative to the configuration's folder or the present one.
    base: NotEmpty | None = None
    #: Which of its heads, where it has several.
    base_head: NotEmpty | None = None
    #: ``full``: every parameter trains; ``frozen``: those that ``train`` lists, or all but those that ``freeze`` lists;
    #: ``lora``: corrections of low rank, and in full what ``train`` lists.
    mode: Literal["full", "frozen", "lora"] = "full"
    train: tuple[Expression, ...] = ()
    freeze: tuple[Expression, ...] = ()
    lora: LoraConfig = field(default_factory=LoraConfig)
    #: ``refit``: least squares of what the base leaves of the energies, on composition; ``keep``: those of the base;
    #: ``isolated``: an isolated atom has the energy of its isolated-atom frame when training begins (what it moves by
    #: is said at the end; a base whose isolated atoms are exact keeps it); or a mapping element -> eV.
    atomic_energies: Literal["refit", "keep", "isolated"] | Mapping[Element, float] = "refit"
    #: ``keep``: all elements of the base stay; ``data``: those that no frame contains are dropped; or a list of those
    #: that stay.
    elements: Literal["keep", "data"] | tuple[Element, ...] = "keep"
    #: Elements of the frames that the base does not know -> the known one each begins as (its embedding and all other
    #: weights), or ``auto``: the nearest in the periodic table.
    new_elements: Mapping[Element, Literal["auto"] | Element] = field(default_factory=dict)
    #: Whether the potential shall stay good where the base was good: ``replay`` with its defaults, unless it is given.
    keep_base_general: bool = False
    replay: ReplayConfig | None = None
    #: Name of a new head beside that of the base: the model file then holds both levels of theory, chosen by name.
    #: Replay, with its defaults unless it is given, keeps what the base's head predicts; so does mode frozen where
    #: nothing trains that both share.
    head: PlainName | None = None
    #: Blocks or regular expressions: parameters that each head has for itself.
    head_parameters: tuple[Expression, ...] = ("readout",)
    #: Of the labels, for the metadata of the model file.
    level_of_theory: NotEmpty | None = None
    report: TuningReportConfig = field(default_factory=TuningReportConfig)

    def check(self) -> None:
        if self.mode == "frozen" and not self.train and not self.freeze and self.head is None:
            raise FieldError(
                "mode",
                "is frozen without train or freeze, expected one of the two: blocks (readout, "
                "layer_0, ...) or regular expressions on parameter names.",
            )
        if self.head is not None and not self.head_parameters:
            raise FieldError(
                "head_parameters",
                "is empty, expected blocks or regular expressions: without parameters "
                "of its own the new head would be the base's.",
            )
        if self.train and self.freeze:
            raise FieldError(
                "freeze",
                "is given together with train, expected one of the two: what is not listed "
                "there is treated the other way.",
            )
        needs_replay = self.keep_base_general or (self.head is not None and self.mode != "frozen")
        if needs_replay and self.replay is None:
            self._set("replay", ReplayConfig())

    def ineffective(self) -> dict[str, str]:
        reasons = {}
        if self.mode == "full":
            reasons["train"] = reasons["freeze"] = "finetune.mode full trains every parameter; say mode: frozen"
        if self.mode == "lora":
            reasons["freeze"] = "finetune.mode lora freezes what it does not correct; train lists what trains in full"
        else:
            reasons["lora"] = "only finetune.mode lora uses it"
        if self.head is None:
            reasons["head_parameters"] = "only a new head (finetune.head) has parameters for itself"
        return reasons


def with_finetune_defaults(mapping: Mapping[str, Any]) -> Mapping[str, Any]:
    """Put the defaults of a fine-tuning into a configuration that has a section ``finetune``, where it says nothing.

    Args:
        mapping: the top level of a configuration; left as it is.
    """
    section = mapping.get("finetune")
    if not isinstance(section, Mapping):
        return mapping
    mode = section.get("mode", "full")
    result = copy.copy(mapping)
    for name, values in FINETUNE_DEFAULTS.get(mode if isinstance(mode, str) else "", {}).items():
        given = mapping.get(name)
        if given is None:
            result[name] = dict(values)
        elif isinstance(given, Mapping):
            filled = copy.copy(given)
            for key, value in values.items():
                filled.setdefault(key, value)
            result[name] = filled
    return result
