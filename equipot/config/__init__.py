"""Configuration: frozen dataclasses, a strict YAML reader, dotted overrides and the resolved form."""

from __future__ import annotations

from equipot.config.build import build
from equipot.config.finetune import FinetuneConfig, LoraConfig, ReplayConfig, TuningReportConfig
from equipot.config.limits import Limit, Rule
from equipot.config.load import from_dict, load_config
from equipot.config.located import LocatedDict
from equipot.config.position import FieldError
from equipot.config.schema import (
    Config,
    DataConfig,
    KeysConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    PropertyConfig,
    ScheduleConfig,
    SplitConfig,
    StageTwoConfig,
    TrainingConfig,
    UnitsConfig,
)
from equipot.config.section import Section
from equipot.config.writer import to_dict, to_yaml

__all__ = [
    "Config",
    "DataConfig",
    "FieldError",
    "FinetuneConfig",
    "KeysConfig",
    "Limit",
    "LocatedDict",
    "LoraConfig",
    "LossConfig",
    "ModelConfig",
    "OptimizerConfig",
    "PropertyConfig",
    "ReplayConfig",
    "Rule",
    "ScheduleConfig",
    "Section",
    "SplitConfig",
    "StageTwoConfig",
    "TrainingConfig",
    "TuningReportConfig",
    "UnitsConfig",
    "build",
    "from_dict",
    "load_config",
    "to_dict",
    "to_yaml",
]
