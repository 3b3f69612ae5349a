"""Each preset, through the public API, against the naive reference and against its framework."""

import jax
import numpy as np
import optax
import pytest
import reference
import torch
from numpy.testing import assert_allclose, assert_array_equal

import rmsfast
from rmsfast.options import PRESETS

STEPS = 80

# preset, eps inside the root, mean square at the start, rho, eps, lr, lr in momentum, decoupled
DEFAULTS = [
    ("torch", False, 0.0, 0.99, 1e-8, 0.01, False, False),
    ("keras", True, 0.0, 0.9, 1e-7, 0.001, True, True),
    ("tf1", True, 1.0, 0.9, 1e-10, None, True, False),
    ("optax", True, 0.0, 0.9, 1e-8, None, True, False),
    ("d2l", True, 0.0, 0.9, 1e-6, 0.01, False, False),
    ("ensmallen", False, 0.0, 0.99, 1e-8, 0.01, False, False),
    ("optimisers_jl", False, 0.0, 0.9, 1e-8, 0.001, False, False),
    ("pennylane", True, 0.0, 0.9, 1e-8, 0.01, False, False),
    ("quimb", False, 1.0, 0.9, 1e-8, 0.1, False, False),
]

NESTEROV = {"momentum": 0.8, "nesterov": True}
# What each framework offers. Where RMSProp hops about a minimum it is chaotic and can multiply
# rounding by 1e5 in ten steps: each lr is small enough to keep the runs on their way for 80 steps.
CASES = [
    *((name, {}) for name in ("torch", "keras", "d2l", "ensmallen")),
    *((name, {}) for name in ("optimisers_jl", "pennylane", "quimb")),
    *((name, {"lr": 0.05}) for name in reference.PRESETS),
    *((name, {"lr": 0.02, "momentum": 0.9}) for name in ("torch", "keras", "tf1", "optax")),
    *((name, {"lr": 0.02, "centered": True}) for name in ("torch", "keras", "tf1", "optax")),
    ("optimisers_jl", {"lr": 0.02, "centered": True}),
    *((name, {"lr": 0.05, "weight_decay": 0.1}) for name in ("torch", "keras")),
    *(("keras", {"lr": 0.05, clip: 1.5}) for clip in ("clip_value", "clip_norm")),
    ("keras", {"lr": 0.02, "momentum": 0.8, "centered": True, "weight_decay": 0.1}),
    ("torch", {"lr": 0.02, "momentum": 0.8, "centered": True, "weight_decay": 0.1}),
    ("torch", {"lr": 0.01, "maximize": True, "weight_decay": 0.1}),
    ("optax", {"lr": 0.004, **NESTEROV}),
    ("optax", {"lr": 0.02, "initial_scale": 1.0, "eps_in_sqrt": False}),
    ("optax", {"lr": 0.004, "bias_correction": True, **NESTEROV}),
    ("optax", {"lr": 0.02, "bias_correction": True, "centered": True, "eps": 1e-2}),
    (None, {"lr": 0.004, "clip_norm": 2.0, "clip_value": 1.0, "weight_decay": 0.2, **NESTEROV}),
]


def ask_and_tell(x0, steps=STEPS, **options):
    """The points ``x_0, ..., x_steps`` of a solver."""
    solver = rmsfast.Solver(x0, gtol=0, maxiter=steps, **options)
    points = []
    while not solver.done:
        x = solver.ask()
        points.append(x)
        solver.tell(reference.value(x), reference.gradient(x))
    assert (solver.result().status, len(points)) == (1, steps + 1), solver.message
    return np.array(points)


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize(("preset", "options"), CASES, ids=str)
def test_preset_is_the_reference(preset, options, dtype):
    x0 = reference.START.astype(dtype)
    points = ask_and_tell(x0, preset=preset, **options)
    hyper = {**reference.PRESETS.get(preset, {}), **options}
    expected = reference.trajectory(reference.gradient, x0, STEPS, **hyper)
    assert points.dtype == expected.dtype == dtype
    assert_allclose(points, expected, rtol=0, atol=500 * np.finfo(dtype).eps)
    assert abs(points[-1] - points[0]).min() > 1e-2


def test_a_case_for_each_preset():
    assert set(PRESETS) == set(reference.PRESETS) == {name for name, _ in CASES} - {None}


@pytest.mark.parametrize("row", DEFAULTS, ids=lambda row: row[0])
def test_defaults(row):
    name, *numbers = row
    options = rmsfast.RMSPropOptions.preset(name, **({} if row[5] else {"lr": 0.5}))
    names = ("eps_in_sqrt", "initial_scale", "rho", "eps", "lr", "lr_in_momentum", "decoupled")
    expected = dict(zip(names, numbers, strict=True))
    expected["lr"] = expected["lr"] or 0.5
    assert {name: getattr(options, name) for name in names} == expected
    assert (options.momentum, options.nesterov, options.centered, options.weight_decay) == (
        *(0.0, False),
        *(False, 0.0),
    )


def test_presets_that_are_one_formula_run_alike():
    assert_array_equal(
        *(ask_and_tell(reference.START, preset=name) for name in ("torch", "ensmallen"))
    )


# The frameworks themselves ------------------------------------------------------------------------

TORCH = [
    {},
    {"centered": True},
    {"momentum": 0.9},
    {"weight_decay": 0.1},
    {"maximize": True},
    {"lr": 0.05},
    {"rho": 0.9, "eps": 1e-3},
    {"centered": True, "momentum": 0.9},
    {"centered": True, "weight_decay": 0.1},
    {"momentum": 0.9, "weight_decay": 0.1},
    {"maximize": True, "weight_decay": 0.1},
    {"maximize": True, "momentum": 0.5, "centered": True},
    {"centered": True, "momentum": 0.9, "weight_decay": 0.1, "lr": 0.02, "rho": 0.95},
    {"centered": True, "momentum": 0.9, "weight_decay": 0.1, "maximize": True},
]


@pytest.mark.parametrize("options", TORCH, ids=str)
def test_torch_step_by_step(options):
    x = torch.tensor(reference.START, dtype=torch.float64, requires_grad=True)
    theirs = {("alpha" if name == "rho" else name): value for name, value in options.items()}
    optimizer = torch.optim.RMSprop([x], **theirs)
    solver = rmsfast.Solver(reference.START, preset="torch", gtol=0, maxiter=STEPS, **options)
    for _ in range(STEPS):
        point = solver.ask()
        expected = x.detach().numpy()
        assert abs(point - expected).max() <= 1e-13 * abs(expected).max()
        gradient = reference.gradient(point)
        x.grad = torch.tensor(gradient)
        optimizer.step()
        solver.tell(reference.value(point), gradient)


OPTAX = [
    {},
    {"centered": True},
    {"momentum": 0.9},
    {"momentum": 0.9, "nesterov": True},
    {"initial_scale": 1.0, "eps_in_sqrt": False},
    {"bias_correction": True},
    {"rho": 0.95, "centered": True, "momentum": 0.9, "nesterov": True},
    {"bias_correction": True, "centered": True, "momentum": 0.5, "eps": 1e-2},
]


@pytest.mark.parametrize("options", OPTAX, ids=str)
def test_optax_step_by_step(options):
    theirs = {("decay" if name == "rho" else name): value for name, value in options.items()}
    with jax.enable_x64(True):
        optimizer = optax.rmsprop(0.004, **theirs)
        x = jax.numpy.array(reference.START)
        state = optimizer.init(x)
        update = jax.jit(optimizer.update)
        points = [np.asarray(x)]
        for _ in range(STEPS):
            updates, state = update(jax.numpy.array(reference.gradient(points[-1])), state)
            x = x + updates
            points.append(np.asarray(x))
    assert points[-1].dtype == np.float64
    ours = ask_and_tell(reference.START, preset="optax", lr=0.004, **options)
    assert_allclose(ours, points, rtol=0, atol=2e-13)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e200, 1e308])
def test_clip_norm_keeps_the_direction(size):
    # clipping is for such gradients; the square of the last two overflows
    gradient = np.array([0.6 * size, -0.8 * size])
    options = {"lr": 0.1, "rho": 0.9, "initial_scale": 1.0, "clip_norm": 0.5}
    solver = rmsfast.Solver([1.0, 1.0], gtol=0, **options)
    solver.tell(1.0, gradient)
    expected = reference.trajectory(lambda x: gradient, np.ones(2), 1, **options)[-1]
    assert_allclose(solver.ask(), expected, rtol=1e-13)
