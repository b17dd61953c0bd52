"""The native step of SOAP and its orthonormal bases against torch."""

from __future__ import annotations

import pytest
import torch

from equipot.kernels import selection
from equipot.kernels.native import library
from equipot.kernels.native.soap import turn
from equipot.training.soap_stack import Hyperparameters, Moments

pytestmark = pytest.mark.skipif(isinstance(library.load(), str), reason="there are no native kernels here")
SETTINGS = Hyperparameters(0.9, 0.99, 1e-8, 10, 1024)
TOLERANCE = {torch.float64: 1e-13, torch.float32: 1e-5}


def random(*shape, dtype, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def moments(count, shape, axes, dtype):
    """State in the middle of a run."""
    result = Moments.zeros(count, shape, axes, torch.zeros((), dtype=dtype))
    result.first.copy_(random(count, *shape, dtype=dtype, seed=1))
    result.second.copy_(random(count, *shape, dtype=dtype, seed=2).square() + 0.1)
    for axis in axes:
        rows = random(count, shape[axis], shape[axis] + 3, dtype=dtype, seed=3 + axis)
        result.matrices[axis].copy_(rows @ rows.mT)
        result.bases[axis].copy_(torch.linalg.qr(rows).Q)
    return result


def copy(state):
    return Moments(
        state.first.clone(),
        state.second.clone(),
        {k: v.clone() for k, v in state.matrices.items()},
        {k: v.clone() for k, v in state.bases.items()},
    )


def difference(mine, its):
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(mine, its, strict=True))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((64, 64), (0, 1)),
        ((8, 64), (0, 1)),
        ((7, 11), (0, 1)),
        ((1, 3), (0, 1)),
        ((17, 128), (0, 1)),
        ((2, 2), (0, 1)),
        ((33, 48), (0,)),
        ((33, 48), (1,)),
        ((64,), (0,)),
        ((5,), (0,)),
    ],
)
def test_step_equals_torch(monkeypatch, shape, axes, dtype):
    native = moments(9, shape, axes, dtype)
    reference, called = copy(native), []
    step = Moments.advance.__globals__["soap_step"]
    monkeypatch.setitem(
        Moments.advance.__globals__, "soap_step", lambda *args, **kw: called.append(1) or step(*args, **kw)
    )
    for k in range(3):
        gradient = random(9, *shape, dtype=dtype, seed=10 + k)
        with selection.use("native"):
            mine = native.advance(gradient, SETTINGS)
        with selection.use("reference"):
            its = reference.advance(gradient, SETTINGS)
        assert difference([mine, *native.tensors()], [its, *reference.tensors()]) < TOLERANCE[dtype]
    assert len(called) == 3


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("count", "side"), [(1, 1), (3, 2), (8, 5), (9, 8), (17, 13), (5, 64), (2, 128)])
def test_bases_equal_torch(count, side, dtype):
    from equipot.kernels.native.soap import orthonormal

    matrices = random(count, side, side, dtype=dtype) + 3.0 * torch.eye(side, dtype=dtype)
    mine, its = orthonormal(matrices), torch.linalg.qr(matrices).Q
    signs = (mine * its).sum(dim=1, keepdim=True).sign()
    assert difference([mine * signs], [its]) < 20 * TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_bases_of_deficient_matrices_are_orthonormal(dtype):
    """Zero, equal, tiny and huge columns: a gradient often has fewer directions than its matrix."""
    from equipot.kernels.native.soap import orthonormal

    matrices = random(11, 12, 12, dtype=dtype)
    matrices[0] = 0.0
    matrices[1, :, 4] = 0.0
    matrices[2, :, 5] = matrices[2, :, 4]
    matrices[3] *= 1e-30
    matrices[4, :, 3] *= 1e30
    matrices[5, :, 6:] *= 1e-25
    matrices[6] = random(12, 1, dtype=dtype) @ random(1, 12, dtype=dtype)
    bases = orthonormal(matrices)
    assert float((bases.mT @ bases - torch.eye(12, dtype=dtype)).abs().max()) < TOLERANCE[dtype]
    spanned = bases[1, :, :4]  # the columns before the zero one
    assert torch.allclose(spanned @ (spanned.mT @ matrices[1, :, :4]), matrices[1, :, :4], atol=10 * TOLERANCE[dtype])


@pytest.mark.parametrize("scale", [1.0, 1e-9, 1e-15, 1e-18, 1e-22])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_bases_stay_orthonormal_where_most_elements_are_absent(dtype, scale):
    """The embedding of 89 elements tuned on two: power iteration again and again on a matrix of rank two, whose other
    columns fade until their squares, or they themselves, can no longer be inverted."""
    from equipot.kernels.native.soap import orthonormal

    gradient = torch.zeros(89, 64, dtype=dtype)
    gradient[[2, 40]] = scale * random(2, 64, dtype=dtype)
    matrix = (gradient @ gradient.T)[None]
    basis = torch.linalg.eigh(matrix).eigenvectors.flip(-1)
    for _ in range(12):
        basis = orthonormal(matrix @ basis)
        assert float((basis.mT @ basis - torch.eye(89, dtype=dtype)).abs().max()) < TOLERANCE[dtype]


def test_refresh_on_both_paths_finds_the_same_directions():
    native = moments(4, (6, 9), (0, 1), torch.float64)
    reference = copy(native)
    with selection.use("native"):
        native.refresh()
    with selection.use("reference"):
        reference.refresh()
    for axis in (0, 1):
        overlap = native.bases[axis].mT @ reference.bases[axis]
        unit = torch.eye(overlap.shape[1], dtype=torch.float64).expand_as(overlap)
        assert torch.allclose(overlap.abs(), unit, atol=1e-10)
    assert torch.allclose(native.second, reference.second, rtol=1e-13)
    assert torch.allclose(native.first.abs(), reference.first.abs(), atol=1e-10)


def test_results_do_not_depend_on_the_threads():
    from equipot.kernels.native.soap import orthonormal

    start, gradient = moments(25, (64, 64), (0, 1), torch.float32), random(25, 64, 64, dtype=torch.float32)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            state = copy(start)
            with selection.use("native"):
                results.append([state.advance(gradient, SETTINGS), *state.tensors(), orthonormal(gradient)])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*results))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(
    ("shape", "axes"),
    [((64, 64), (0, 1)), ((7, 11), (0, 1)), ((17, 48), (1,)), ((17, 48), (0,)), ((5,), (0,)), ((2, 128), (0, 1))],
)
@pytest.mark.parametrize("back", (False, True))
def test_turning_equals_torch(shape, axes, back, dtype):
    stack = random(6, *shape, dtype=dtype)
    bases = {axis: random(6, shape[axis], shape[axis], dtype=dtype, seed=1 + axis) for axis in axes}
    expected = stack if len(shape) == 2 else stack[:, None, :]
    for axis, basis in bases.items():
        basis = basis.mT if back else basis
        expected = basis.mT @ expected if axis == 0 and len(shape) == 2 else expected @ basis
    assert difference([turn(stack, bases, back=back)], [expected.view(stack.shape)]) < TOLERANCE[dtype]
