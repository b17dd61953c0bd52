"""The builder serves any dataclass, for example an architecture's options, and keeps file and line."""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import pytest

from equipot.config import (
    Config,
    DataConfig,
    Limit,
    LossConfig,
    OptimizerConfig,
    Section,
    SplitConfig,
    TrainingConfig,
    build,
    load_config,
)
from equipot.errors import ConfigError


@dataclass(frozen=True)
class Inner:
    width: int = 3


@dataclass(frozen=True)
class Options:
    l_max: Annotated[int, Limit(at_least=0, at_most=4)] = 2
    channels: int | tuple[int, ...] = 32
    pair: tuple[float, str] = (1.0, "a")
    inner: Inner = field(default_factory=Inner)
    inners: tuple[Inner, ...] = ()
    factors: Mapping[str, float] = field(default_factory=dict)
    mode: Literal["a", "b", 3] | None = None
    anything: Any = None
    numbers: list[float] = field(default_factory=list)


def test_conversion():
    options = build(
        Options,
        {
            "channels": [1, 2],
            "pair": [2, "x"],
            "inner": {"width": 5},
            "inners": [{"width": 6}],
            "factors": {"a": 1},
            "mode": 3,
            "numbers": (1, 2),
        },
    )
    assert options == Options(2, (1, 2), (2.0, "x"), Inner(5), (Inner(6),), {"a": 1.0}, 3, None, [1.0, 2.0])
    assert type(options.pair[0]) is float and type(options.factors["a"]) is float


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"l_max": 5}, "model.l_max is 5, expected a whole number of at least 0 and at most 4."),
        ({"lmax": 5}, "model.lmax is not a known key; did you mean model.l_max?"),
        (
            {"channels": "many"},
            "model.channels is the text 'many', expected a whole number or a list (each item a whole number).",
        ),
        ({"channels": [1, "x"]}, "model.channels.1 is the text 'x', expected a whole number."),
        ({"channels": True}, "model.channels is true, expected a whole number or a list (each item a whole number)."),
        ({"inners": [{"width": None}]}, "model.inners.0.width is null, expected a whole number."),
        ({"factors": {"a": math.nan}}, "model.factors.a is nan, expected a finite number."),
        ({"mode": "c"}, "model.mode is the text 'c', expected 'a', 'b', 3 or null."),
        ({"mode": True}, "model.mode is true, expected 'a', 'b', 3 or null."),
        ({"factors": {1: 1.0}}, "model.factors.1 is not a valid key, expected text."),
        ({"__init__": 1}, "model.__init__ is not a known key"),
        ({3: 1}, "model.3 is not a known key"),
    ],
)
def test_wrong(mapping, message):
    with pytest.raises(ConfigError) as caught:
        build(Options, mapping, where="model")
    assert str(caught.value).startswith(message)


def test_options_of_an_architecture_keep_file_and_line(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("data: {train: [a.xyz]}\nmodel:\n  l_max: 2\n  num_chanels: 1e-3\n  cutof: 4\n")
    options = load_config(path).model.options
    assert options == {"l_max": 2, "num_chanels": 1e-3, "cutof": 4}

    @dataclass(frozen=True)
    class Own:
        l_max: int = 1
        num_channels: int = 8

    with pytest.raises(ConfigError) as caught:
        build(Own, options, where="model")
    assert str(caught.value) == (
        f"{path}, line 4: model.num_chanels is not a known key; did you mean model.num_channels?"
    )
    del options["num_chanels"]
    with pytest.raises(ConfigError, match=r"line 5: model\.cutof is not .* mean model\.cutoff\?"):
        build(Own, options, where="model")
    assert pickle.loads(pickle.dumps(options)) == options


def test_presets_give_way_to_what_is_written():
    assert build(Options, {"l_max": 1}, defaults={"l_max": 3, "channels": 7}) == Options(l_max=1, channels=7)


def test_python_is_as_strict_as_a_file():
    for wrong in (
        lambda: TrainingConfig(epochs=0),
        lambda: TrainingConfig(epochs="3"),
        lambda: Config(device="gpu"),
        lambda: TrainingConfig(batch_size=5, batch_edges=7),
        lambda: OptimizerConfig(momentum=0.9),
        lambda: LossConfig(energy="mse", forces="mse", stress="mse", delta=0.1),
        lambda: DataConfig(train=("a",), validation=("b",), split=SplitConfig(validation=0.2)),
    ):
        with pytest.raises(ConfigError):
            wrong()
    config = Config(data={"train": ["a.xyz"]}, training=TrainingConfig(epochs=np.int64(3), batch_edges=10))
    assert config.data.train == ("a.xyz",) and type(config.training.epochs) is int
    assert config.training.batch_size is None and TrainingConfig().batch_size == 5


def test_errors_of_a_section_of_ones_own():
    @dataclass(frozen=True)
    class Own(Section):
        low: float = 0.0

        def check(self):
            if self.low == 7:
                raise ValueError("seven")

    with pytest.raises(ConfigError, match="model is not valid: seven"):
        build(Own, {"low": 7}, where="model")
