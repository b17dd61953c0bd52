"""Learning rate over time: values at known points, plateau and its state."""

from __future__ import annotations

import math

import pytest

from equipot.config.schema import OptimizerConfig, ScheduleConfig
from equipot.training.job import prepare
from equipot.training.optimizer import build_optimizer
from equipot.training.schedule import Schedule, set_learning_rate, warmup_steps
from tests.unit.training.systems import PairPotential, config, datasets


def test_warm_up_is_linear():
    schedule = Schedule(ScheduleConfig(name="constant", warmup_steps=10))
    assert [schedule.factor(step, 0.0) for step in (0, 4, 9, 10, 1000)] == pytest.approx([0.1, 0.5, 1.0, 1.0, 1.0])


@pytest.mark.parametrize(("num_steps", "expected"), [(40, 4), (499, 49), (500, 50), (10_000, 50), (9, 0)])
def test_warm_up_is_no_more_than_a_tenth_of_the_run(num_steps, expected):
    assert warmup_steps(ScheduleConfig(warmup_steps=50), num_steps) == expected


def test_a_short_run_reaches_its_learning_rate():
    job = prepare(datasets(), config(training={"epochs": 8, "batch_size": 1}, schedule={"warmup_steps": 50}))
    num_steps = 8 * len(job.steps(0))
    assert 10 < num_steps < 500 and job.warmup_steps == num_steps // 10
    assert job.new_state(PairPotential()).schedule.factor(num_steps // 10, 0.0) == 1.0


def test_cosine_from_one_to_the_final_fraction():
    schedule = Schedule(ScheduleConfig(warmup_steps=0, final_fraction=0.1))
    assert [schedule.factor(9, t) for t in (0.0, 0.5, 1.0)] == pytest.approx([1.0, 0.55, 0.1])
    values = [schedule.factor(9, t / 50) for t in range(51)]
    assert values == sorted(values, reverse=True)


def test_stage_two_multiplies():
    schedule = Schedule(ScheduleConfig(name="constant", warmup_steps=0), stage_two_factor=0.25)
    assert schedule.factor(5, 0.9) == 1.0 and schedule.factor(5, 0.9, stage_two=True) == 0.25


def test_plateau_waits_its_patience_and_counts_epochs_not_evaluations():
    schedule = Schedule(ScheduleConfig(name="plateau", warmup_steps=0, factor=0.5, patience=4))
    factors = []
    for epoch, value in ((2, 1.0), (4, 2.0), (6, 2.0), (8, 2.0), (10, 2.0), (12, 0.5), (14, math.nan), (18, 0.6)):
        schedule.observe(epoch, value)
        factors.append(schedule.factor(1, 0.5))
    assert factors == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25]


def test_plateau_goes_on_from_its_state():
    config = ScheduleConfig(name="plateau", warmup_steps=0, patience=1)
    whole, first, second = Schedule(config), Schedule(config), Schedule(config)
    values = [3.0, 2.0, 2.5, 2.5, 2.5, 2.5, 1.0, 1.5, 1.5, 1.5]
    for epoch, value in enumerate(values):
        whole.observe(epoch, value)
        if epoch == 4:
            first.observe(epoch, value)
            second.load_state_dict(first.state_dict())
        (first if epoch < 4 else second).observe(epoch, value) if epoch != 4 else None
    assert second == whole and whole.plateau_factor < 0.5


def test_reset_forgets_the_best_value_but_not_the_reductions():
    schedule = Schedule(ScheduleConfig(name="plateau", warmup_steps=0, patience=0))
    for epoch in range(3):
        schedule.observe(epoch, 1.0)
    schedule.reset()
    schedule.observe(3, 5.0)
    assert schedule.best == 5.0 and schedule.plateau_factor == 0.25


def test_rates_of_all_groups_are_scaled_from_their_base():
    optimizer = build_optimizer(PairPotential(), OptimizerConfig(learning_rate=0.2))
    for factor in (0.5, 0.1):
        largest = set_learning_rate(optimizer, factor)
    assert largest == pytest.approx(0.02)
    assert all(group["lr"] == pytest.approx(0.1 * group["base_lr"]) for group in optimizer.param_groups)
