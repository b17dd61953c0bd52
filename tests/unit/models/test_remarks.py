"""What options cost, or do not change, is said before the training."""

from __future__ import annotations

import pytest

from equipot.models import PotentialConfig, build_potential, resolve_options


def remarks(**options: object) -> list[str]:
    config = PotentialConfig(
        "nequip", ("Cu",), 4.0, 12.0, options=resolve_options("nequip", None, {"num_channels": 2, **options})
    )
    return build_potential(config, atomic_energies={"Cu": 0.0}).architecture.remarks()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"l_max": 2, "feature_l_max": 1, "num_layers": 2}, "no path couples with harmonics of order above 1"),
        ({"l_max": 5, "feature_l_max": 5, "num_layers": 2}, "of such high order"),
        ({"solid_harmonics": True, "num_layers": 3}, "times powers of the distance"),
    ],
)
def test_what_is_slow_or_without_effect_is_said(options: dict, words: str) -> None:
    (remark,) = remarks(**options)
    assert words in remark


@pytest.mark.parametrize("options", [{"num_layers": 3}, {"l_max": 1, "num_layers": 2}, {"radial": "mlp"}])
def test_what_is_neither_is_not(options: dict) -> None:
    assert remarks(**options) == []
