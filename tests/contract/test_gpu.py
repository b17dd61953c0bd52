"""A GPU gives what the CPU gives: models, loss gradients, training, resume across devices, calculator, dynamics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import units
from ase.md.verlet import VelocityVerlet

from equipot.checkpoint import RunDirectory, load_model, save_model
from equipot.errors import Interrupted
from equipot.graph import collate, from_ase
from equipot.interfaces.ase import Calculator
from equipot.models import Potential
from equipot.training import evaluate, fit
from tests.systems import ARCHITECTURES, CUTOFF, STRUCTURES, force_scale, make_potential
from tests.tolerances import PATHS
from tests.unit.training.systems import config, datasets, real_potential

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA GPU here")
EVERY = pytest.mark.parametrize("name", ARCHITECTURES)
DTYPES = pytest.mark.parametrize("dtype", PATHS)
DEVICES = ("cpu", "cuda")


@pytest.fixture(autouse=True)
def exact_products():
    """TF32 off, as equipot leaves it: a GPU's float32 is float32."""
    assert not torch.backends.cuda.matmul.allow_tf32


def on_both(potential: Potential, function) -> tuple:
    """``function(potential, device)`` on the CPU and on the GPU, its tensors brought back."""
    return tuple(function(potential.to(device), torch.device(device)) for device in DEVICES)


@EVERY
@DTYPES
@pytest.mark.parametrize("structure", STRUCTURES)
def test_energies_forces_and_stress(name: str, dtype: str, structure: str) -> None:
    graph = from_ase(STRUCTURES[structure](), CUTOFF)
    cpu, gpu = on_both(make_potential(name, dtype), lambda potential, device: potential(graph.to(device)))
    tolerance = PATHS[dtype]
    assert gpu.node_energy.device.type == "cuda"
    assert float((gpu.node_energy.cpu() - cpu.node_energy).abs().max()) <= tolerance.e
    assert float((gpu.forces.cpu() - cpu.forces).abs().max()) / force_scale(cpu.forces) <= tolerance.f
    if cpu.stress.isfinite().all():
        assert float((gpu.stress.cpu() - cpu.stress).abs().max()) <= tolerance.s


@EVERY
@DTYPES
def test_loss_gradients(name: str, dtype: str) -> None:
    graph = collate(
        [from_ase(STRUCTURES[structure](), CUTOFF) for structure in ("alloy", "skewed cell", "cell below the cutoff")]
    )

    def gradients(potential: Potential, device: torch.device) -> dict[str, torch.Tensor]:
        potential.zero_grad()
        output = potential(graph.to(device), create_graph=True)
        (output.forces.square().sum() + output.stress.square().sum() * 100).backward()
        return {
            parameter: value.grad.cpu().clone()
            for parameter, value in potential.named_parameters()
            if value.grad is not None
        }

    cpu, gpu = on_both(make_potential(name, dtype), gradients)
    assert set(cpu) == set(gpu) and cpu
    largest = max(float(gradient.abs().max()) for gradient in cpu.values())
    for parameter, expected in cpu.items():
        size = max(float(expected.abs().max()), 1e-3 * largest)
        assert float((gpu[parameter] - expected).abs().max()) <= PATHS[dtype].f * size, parameter


@pytest.mark.parametrize("name", ["nequip", "mace spline"])
def test_hessian(name: str) -> None:
    graph = from_ase(STRUCTURES["cell below the cutoff"](), CUTOFF)
    cpu, gpu = on_both(make_potential(name), lambda potential, device: potential.hessian(graph.to(device)).cpu())
    assert float((gpu - cpu).abs().max()) <= 1e-9 * max(1.0, float(cpu.abs().max()))


#: SOAP's first eigenvectors are those of a matrix without full rank, which rounding turns: a GPU, which adds in another
#: order each time, does not repeat such a run itself.
@pytest.mark.parametrize(("optimizer", "relative"), [("soap", 1e-2), ("adamw", 1e-9)])
def test_training_follows_the_same_path(tmp_path, optimizer: str, relative: float) -> None:
    """In float64 a few epochs on the GPU end where they end on the CPU, up to rounding."""
    rows = {}
    for device in DEVICES:
        settings = config(training={"epochs": 3, "batch_size": 4}, device=device, optimizer={"name": optimizer})
        with RunDirectory(tmp_path / device).create() as run:
            fit(real_potential(), datasets(), settings, run)
            rows[device] = run.read_metrics()
    for cpu, gpu in zip(*rows.values(), strict=True):
        for key, value in cpu["validation"].items():
            assert gpu["validation"][key] == pytest.approx(value, rel=relative, abs=1e-8), (cpu["epoch"], key)


@pytest.mark.parametrize(("first", "second"), [("cuda", "cuda"), ("cuda", "cpu"), ("cpu", "cuda")])
def test_resume_on_the_same_and_on_another_device(tmp_path, first: str, second: str) -> None:
    data = datasets()

    def train(name: str, device: str, *, epochs: int = 4, stop=lambda: False, resume: bool = False) -> list[dict]:
        settings = config(training={"epochs": epochs, "batch_size": 4}, device=device, optimizer={"name": "adamw"})
        run = RunDirectory(tmp_path / name)
        with run.resume() if resume else run.create() as opened:
            fit(real_potential(), data, settings, opened, resume=resume, stop=stop)
            return opened.read_metrics()

    whole = train("whole", first)
    questions = iter(range(1000))
    with pytest.raises(Interrupted):
        train("parts", first, stop=lambda: next(questions) > 3)
    parts = train("parts", second, resume=True)
    assert [row["step"] for row in parts] == [row["step"] for row in whole]
    for key, value in whole[-1]["validation"].items():
        assert parts[-1]["validation"][key] == pytest.approx(value, rel=1e-9, abs=1e-8), key


def test_model_file_from_a_gpu_loads_on_a_cpu(tmp_path) -> None:
    potential = make_potential("nequip spline", "float32").cuda()
    save_model(tmp_path / "model.eqp", potential, metadata={})
    loaded = load_model(tmp_path / "model.eqp")
    assert loaded.device.type == "cpu"
    for name, value in potential.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value.cpu()), name
    assert load_model(tmp_path / "model.eqp", device="cuda").device.type == "cuda"


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_evaluation(dtype: str) -> None:
    graphs = datasets().train
    cpu, gpu = (
        evaluate(real_potential(dtype=dtype).to(device), graphs, batch_edges=500, device=device, collect=True)
        for device in DEVICES
    )
    assert len(gpu.predictions) == len(graphs)
    for expected, found in zip(cpu.predictions, gpu.predictions, strict=True):
        assert found.energy == pytest.approx(expected.energy, abs=1e-4)
        assert np.abs(found.forces - expected.forces).max() < 1e-4


def test_calculator_and_dynamics() -> None:
    """The same trajectory through the neighbour list with a skin; forces on the GPU, atoms on the CPU."""
    ends = []
    for device in DEVICES:
        atoms = STRUCTURES["alloy"]() * (2, 2, 2)
        atoms.calc = Calculator(make_potential("nequip spline"), device=device, skin=0.5)
        VelocityVerlet(atoms, timestep=1.0 * units.fs).run(10)
        ends.append((atoms.positions.copy(), atoms.get_potential_energy(), atoms.get_stress(), atoms.get_stresses()))
    for cpu, gpu in zip(*ends, strict=True):
        assert np.abs(np.subtract(gpu, cpu)).max() < 1e-8
