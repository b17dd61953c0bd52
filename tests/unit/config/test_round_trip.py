"""A resolved configuration written as YAML loads back equal, whatever it holds."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from equipot.config import (
    Config,
    DataConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    PropertyConfig,
    ScheduleConfig,
    SplitConfig,
    StageTwoConfig,
    TrainingConfig,
    from_dict,
    load_config,
    to_dict,
    to_yaml,
)

integers = st.integers(-(2**63), 2**63)
positive = st.floats(1e-9, 40, exclude_min=True)
weights = st.floats(1e-6, 1e6)
#: Words that YAML readers take for something else, and any others.
words = st.sampled_from(
    [
        "No",
        "1e-3",
        "010",
        "yes",
        "~",
        "null",
        "12:30",
        "a: b",
        "#x",
        "*a",
        "&a",
        "!x",
        "- x",
        "é",
        "0x1",
        ".5",
        "=",
        "<<",
        "1_000",
        " x ",
        "a'b\"c",
        "true",
    ]
) | st.text(st.characters(codec="utf-8", exclude_categories=("C", "Zl", "Zp")), min_size=1).filter(str.strip)
elements = st.lists(st.sampled_from(["H", "C", "N", "No", "Y", "Cu", "Au", "Os"]), min_size=1, unique=True).map(tuple)
options = st.dictionaries(
    st.sampled_from(["l_max", "num_layers", "width", "No"]),
    st.integers(-5, 5)
    | st.floats(-1e9, 1e9)
    | words
    | st.booleans()
    | st.none()
    | st.lists(integers | words, max_size=3)
    | st.dictionaries(words, integers, max_size=3),
)

data = st.one_of(
    st.builds(DataConfig, generate=st.just("cu_au_emt"), elements=st.just("auto") | elements),
    st.builds(
        DataConfig,
        train=st.lists(words, min_size=1, unique=True),
        source=st.none() | words,
        config_weights=st.dictionaries(words, weights),
        elements=elements,
        atomic_energies=st.just("isolated") | st.dictionaries(st.sampled_from(["No", "Cu"]), st.floats(-1e5, 0)),
        split=st.builds(SplitConfig, validation=st.floats(0, 0.4), seed=st.integers(0, 2**32 - 1)),
    ),
    st.builds(
        DataConfig,
        train=st.just(["a.xyz"]),
        validation=st.just(["b.xyz"]),
        split=st.builds(SplitConfig, test=st.floats(0, 0.4), method=st.just("group"), group_key=words),
    ),
    st.builds(DataConfig, train=st.just(["a.xyz"]), validation=st.just(["b.xyz"]), test=st.just(["c.xyz"])),
)
configs = st.builds(
    Config,
    name=st.sampled_from(["run", "No", "1e-3", "Cu 1"]),
    seed=st.integers(0, 2**32 - 1),
    data=data,
    model=st.builds(
        ModelConfig,
        cutoff=positive,
        options=options,
        scale=st.just("auto") | positive | st.dictionaries(st.sampled_from(["No", "Cu"]), positive),
    ),
    loss=st.just(LossConfig(energy="mse", forces="mae", stress="mse"))
    | st.builds(LossConfig, delta=weights, stage_two=st.none() | st.builds(StageTwoConfig, energy_weight=weights)),
    optimizer=st.builds(OptimizerConfig, name=st.just("sgd"), momentum=st.none() | st.floats(0, 0.99))
    | st.builds(
        OptimizerConfig, learning_rate=positive, betas=st.none() | st.tuples(st.floats(0, 0.9), st.floats(0, 0.9))
    ),
    schedule=st.builds(ScheduleConfig, name=st.just("plateau"), factor=st.none() | st.floats(0.1, 0.9))
    | st.builds(ScheduleConfig, final_fraction=st.floats(0, 1)),
    training=st.builds(TrainingConfig, batch_edges=st.none() | st.integers(1, 10**9))
    | st.builds(TrainingConfig, batch_size=st.integers(1, 99), clip_norm=st.none() | positive),
    properties=st.just(()) | st.just((PropertyConfig("Cu3Au", "l12", 3.7, reference={"C11": 1}),)),
)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(configs)
def test_yaml_loads_back_equal(tmp_path, config):
    path = tmp_path / "config.yaml"
    text = to_yaml(config)
    path.write_text(text, encoding="utf-8")
    loaded = load_config(path)
    assert loaded == config
    assert to_yaml(loaded) == text
    assert not any(line.lstrip().startswith("#") for line in text.splitlines())


@settings(max_examples=30, deadline=None, derandomize=True)
@given(configs)
def test_dict_is_json_and_builds_back_equal(config):
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


def test_other_yaml_readers_see_the_same_words():
    config = Config(data=DataConfig(train=("a.xyz",), elements=("N", "No", "Y")))
    text = to_yaml(config)
    assert yaml.safe_load(text)["data"]["elements"] == ["N", "No", "Y"]


def test_order_is_that_of_the_schema():
    text = to_yaml(Config(data=DataConfig(generate="cu_au_emt")))
    sections = [line[:-1] for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert sections == ["data", "model", "loss", "optimizer", "schedule", "training", "model_card"]


@pytest.mark.parametrize("key", ["batch_size", "batch_edges"])
def test_default_batch_size_gives_way(tmp_path, key):
    path = tmp_path / "run.yaml"
    path.write_text(f"data: {{train: [a]}}\ntraining: {{{key}: 77}}\n")
    training = load_config(path).training
    assert (training.batch_size, training.batch_edges) == ((77, None) if key == "batch_size" else (None, 77))


def test_numbers_that_are_not_finite_are_written_as_yaml_has_them(tmp_path):
    """Found by tests/robustness/fuzz_inputs.py: -inf came out with a tag, which the reader refuses."""
    config = from_dict({"data": {"generate": "cu_au_emt"}, "model": {"mine": [float("inf"), float("-inf")]}})
    path = tmp_path / "run.yaml"
    path.write_text(to_yaml(config))
    assert load_config(path) == config and "[.inf, -.inf]" in path.read_text()
