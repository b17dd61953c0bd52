"""SevenNet checkpoints: equal to sevenn itself, refused where they are not covered, harmless where they mean harm."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution

import pytest
import torch

import equipot
from equipot.checkpoint import load_model, save_model
from equipot.checkpoint.foreign import convert
from equipot.cli.main import main
from equipot.errors import CheckpointError, EquipotError, UsageError
from tests.tolerances import TWIN
from tests.unit.checkpoint.foreign.oracles import (
    FOLDER,
    SIGN_ERROR,
    assert_within,
    calculator_errors,
    errors,
    plant_other_coupling_signs,
    records,
)

RANDOM = records("sevennet")
PUBLISHED = records("sevennet_published")


def parts(name: str):
    model, _, head = name.partition("/")
    return FOLDER / f"sevennet_{model}.pth", head or None


@pytest.mark.parametrize("name", RANDOM)
def test_equals_sevenn(name):
    path, head = parts(name)
    assert_within(errors(convert("sevennet", path, head=head, dtype="float64"), RANDOM[name]))


@pytest.mark.parametrize("name", RANDOM)
def test_engine_in_float32(name):
    """The calculator's engine: tables in two pieces for XPLOR, biases, shared self-connections."""
    path, head = parts(name)
    calculator = equipot.Calculator(convert("sevennet", path, head=head))
    assert_within(calculator_errors(calculator, RANDOM[name]), TWIN)


@pytest.fixture(scope="module")
def installed():
    try:
        distribution("sevenn")
    except PackageNotFoundError:
        pytest.skip("The published SevenNet weights come with the sevenn distribution, which is not installed here.")


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_weights(installed, name):
    model, _, head = name.partition("/")
    potential = convert("sevennet", model, head=head or None, dtype="float64")
    assert_within(errors(potential, PUBLISHED[name]))
    assert potential.metadata["licence"] and potential.metadata["citation"] and potential.metadata["level_of_theory"]
    calculator = equipot.Calculator(convert("sevennet", model, head=head or None))
    assert_within(calculator_errors(calculator, PUBLISHED[name]), TWIN)


def test_wrong_coupling_signs_show(monkeypatch):
    """The sign trap, planted: a crystal hardly sees it, the chiral cluster does."""
    plant_other_coupling_signs(monkeypatch)
    path, head = parts("xplor")
    potential = convert("sevennet", path, head=head, dtype="float64")
    expected = {"chiral cluster": RANDOM["xplor"]["chiral cluster"]}
    assert errors(potential, expected).f > SIGN_ERROR


def test_round_trip_and_command(tmp_path, capsys):
    target = tmp_path / "model.eqp"
    assert (
        main(
            [
                "convert",
                "sevennet",
                str(FOLDER / "sevennet_modal.pth"),
                "--head",
                "pbe",
                "-o",
                str(target),
                "--dtype",
                "float64",
            ]
        )
        == 0
    )
    assert "head:" in (text := capsys.readouterr().out) and "sha256" in text and "licence:" in text
    potential = load_model(target)
    assert potential.metadata["head"] == "PBE" and len(potential.metadata["converted_from"]["sha256"]) == 64
    assert_within(errors(potential, RANDOM["modal/PBE"]))
    save_model(tmp_path / "again.eqp", potential, metadata=potential.metadata)
    assert main(["convert", "sevennet", str(FOLDER / "sevennet_xplor.pth"), "-o", str(target)]) == 2


@pytest.mark.parametrize(("head", "words"), [(None, "PBE, R2SCAN"), ("HSE", "no head 'HSE'")])
def test_heads(head, words):
    with pytest.raises(UsageError, match=words):
        convert("sevennet", FOLDER / "sevennet_modal.pth", head=head)


def test_head_of_a_model_without(tmp_path):
    with pytest.raises(UsageError, match="one head, without a name"):
        convert("sevennet", FOLDER / "sevennet_xplor.pth", head="PBE")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"is_parity": True}, "is_parity: True"),
        ({"self_connection_type": "nequip"}, "self_connection_type: nequip"),
        ({"cutoff_function": {"cutoff_function_name": "cosine"}}, "cosine"),
        ({"readout_as_fcn": True}, "readout_as_fcn"),
        ({"use_flash_tp": True}, r"trained with FlashTP \(use_flash_tp\).*save it again"),
        ({"cuequivariance_config": {"use": True}}, "trained with cuEquivariance"),
        ({"self_connection_type": ["none", "linear", "linear"]}, "self_connection_type: ..none"),
        ({"irreps_manual": None, "lmax_edge": 1, "lmax_node": 2}, "harmonics up to l = 1 and features up to l = 2"),
        (
            {"radial_basis": {"radial_basis_name": "bessel", "trainable_coeff": False, "bessel_basis_num": 10**9}},
            "bessel_basis_num is 1000000000",
        ),
    ],
)
def test_what_is_not_covered_is_named(tmp_path, change, words):
    with pytest.raises(CheckpointError, match=words):
        convert("sevennet", changed(tmp_path / "other.pth", change))


def changed(target, settings, state=lambda tensors: None):
    """A copy of a checkpoint with other settings."""
    content = torch.load(FOLDER / "sevennet_xplor.pth", weights_only=False)
    content["config"] |= settings
    state(content["model_state_dict"])
    torch.save(content, target)
    return target


def test_self_connections_listed_by_layer_are_the_same(tmp_path):
    content = torch.load(FOLDER / "sevennet_xplor.pth", weights_only=False)
    number = content["config"]["num_convolution_layer"]
    same = convert("sevennet", changed(tmp_path / "other.pth", {"self_connection_type": ["linear"] * number}))
    expected = convert("sevennet", FOLDER / "sevennet_xplor.pth").state_dict()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in same.state_dict().items())


def test_a_radial_basis_that_was_not_trained_is_not_in_the_file(tmp_path):
    """sevenn has it as n pi / cutoff in single precision."""
    name, basis = "edge_embedding.basis_function.coeffs", {"radial_basis_name": "bessel", "bessel_basis_num": 4}
    cutoff = torch.load(FOLDER / "sevennet_xplor.pth", weights_only=False)["config"]["cutoff"]
    values = torch.tensor([n * torch.pi / cutoff for n in range(1, 5)], dtype=torch.float32)

    def shorten(state):
        for key in [key for key in state if key.endswith("weight_nn.layer0.weight")]:
            state[key] = state[key][:4]

    trained = convert(
        "sevennet",
        changed(
            tmp_path / "trained.pth",
            {"radial_basis": basis},
            lambda state: (shorten(state), state.update({name: values})),
        ),
        dtype="float64",
    )
    fixed = convert(
        "sevennet",
        changed(
            tmp_path / "fixed.pth",
            {"radial_basis": {**basis, "trainable_coeff": False}},
            lambda state: (shorten(state), state.pop(name)),
        ),
        dtype="float64",
    )
    save_model(tmp_path / "fixed.eqp", fixed)
    for potential in (fixed, load_model(tmp_path / "fixed.eqp")):
        assert potential.config.options["trainable_bessel"] is False
        for key, tensor in trained.state_dict().items():
            assert torch.equal(potential.state_dict()[key], tensor), key


def test_missing_and_additional_tensors(tmp_path):
    for change in (
        lambda state: state.pop("1_self_interaction_1.linear.weight"),
        lambda state: state.update(extra=torch.ones(3)),
        lambda state: state.update({"0_self_interaction_1.linear.weight": torch.ones(3)}),
    ):
        content = torch.load(FOLDER / "sevennet_xplor.pth", weights_only=False)
        change(content["model_state_dict"])
        torch.save(content, tmp_path / "other.pth")
        with pytest.raises(CheckpointError):
            convert("sevennet", tmp_path / "other.pth")


def test_cut_short_anywhere(tmp_path):
    content = (FOLDER / "sevennet_polynomial.pth").read_bytes()
    for size in range(0, len(content), 997):
        (tmp_path / "cut.pth").write_bytes(content[:size])
        with pytest.raises(EquipotError):
            convert("sevennet", tmp_path / "cut.pth")
