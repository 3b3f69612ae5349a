"""Schedules: closed forms, PyTorch's schedulers, and what the solver does with them."""

import math
import re
from typing import Any

import numpy as np
import pytest
import reference
import torch
from numpy.testing import assert_allclose, assert_array_equal

import rmsfast
from rmsfast import schedules

ANY: list[Any] = [  # every schedule that is a function of the step alone
    schedules.constant(0.05),
    schedules.exponential(0.05, 0.9),
    schedules.exponential(0.05, 0.5, 7),
    schedules.inverse_time(0.05, 0.1),
    schedules.cosine(0.05, 40),
    schedules.cosine(0.05, 17.5, final=0.01),
    schedules.step(0.05, 10),
    schedules.step(0.05, 2.5, 0.7),
]
each = pytest.mark.parametrize("schedule", ANY, ids=repr)

# Computed by hand from the formulas; exponential is optax.exponential_decay(0.1, 10, 0.5), cosine
# without `final` is optax.cosine_decay_schedule(0.1, 10)
VALUES: list[tuple[Any, dict[int, float]]] = [
    (schedules.constant(0.1), {0: 0.1, 1: 0.1, 1000: 0.1}),
    (schedules.exponential(0.1, 0.5, 10), {0: 0.1, 5: 0.1 / math.sqrt(2), 10: 0.05, 30: 0.0125}),
    (schedules.exponential(0.2, 0.1), {0: 0.2, 1: 0.02, 3: 0.0002}),
    (schedules.exponential(0.2, 1), {0: 0.2, 99: 0.2}),
    (schedules.inverse_time(0.1, 0.5), {0: 0.1, 1: 0.1 / 1.5, 2: 0.05, 8: 0.02}),
    (schedules.cosine(0.1, 10, 1e-9), {0: 0.1, 5: 0.05 + 5e-10, 10: 1e-9, 11: 1e-9, 500: 1e-9}),
    (schedules.cosine(0.1, 10), {0: 0.1, 5: 0.05, 10: 0.0, 11: 0.0}),
    (schedules.cosine(1.0, 6, 0.5), {0: 1.0, 1: 0.75 + math.sqrt(3) / 8, 2: 0.875, 4: 0.625}),
    (schedules.cosine(0.1, 3, 0.4), {0: 0.1, 1: 0.175, 2: 0.325, 3: 0.4, 4: 0.4}),
    (schedules.step(0.1, 30, 0.5), {0: 0.1, 29: 0.1, 30: 0.05, 59: 0.05, 60: 0.025}),
    (schedules.step(0.1, 2), {0: 0.1, 1: 0.1, 2: 0.01, 4: 0.001}),
    (schedules.step(0.1, 2.5, 0.5), {2: 0.1, 3: 0.05, 4: 0.05, 5: 0.025}),
]


@pytest.mark.parametrize(("schedule", "values"), VALUES, ids=str)
def test_closed_form(schedule, values):
    assert_allclose([schedule(k) for k in values], list(values.values()), rtol=1e-14, atol=0)


@each
def test_vectors_are_scalars(schedule):
    steps = np.arange(300)
    rates = schedule(steps)
    assert rates.shape == (300,) and rates.dtype == float
    assert (rates >= 0).all() and rates[0] == 0.05
    scalars = [schedule(int(k)) for k in steps]
    assert all(isinstance(rate, float) for rate in scalars)
    assert_allclose(rates, scalars, rtol=1e-15)
    for first in (0, 1, 13, 256):  # as the solver asks: one at a time, or many
        assert_array_equal(schedule(steps[first : first + 1]), rates[first : first + 1])
        assert_array_equal(schedule(steps[first:]), rates[first:])


def test_pytorch_has_the_same():
    theirs = torch.optim.lr_scheduler
    pairs: list[tuple[Any, Any]] = [
        (schedules.exponential(0.1, 0.93), lambda o: theirs.ExponentialLR(o, 0.93)),
        (schedules.step(0.1, 7, 0.3), lambda o: theirs.StepLR(o, 7, 0.3)),
        (schedules.cosine(0.1, 50, 0.003), lambda o: theirs.CosineAnnealingLR(o, 50, 0.003)),
        (schedules.constant(0.1), lambda o: theirs.ConstantLR(o, 1.0)),
        (
            schedules.inverse_time(0.1, 0.2),
            lambda o: theirs.LambdaLR(o, lambda k: 1 / (1 + 0.2 * k)),
        ),
    ]
    for schedule, make in pairs:
        optimizer = torch.optim.RMSprop([torch.zeros(1, requires_grad=True)], lr=0.1)
        scheduler = make(optimizer)
        for k in range(51):
            rate = optimizer.param_groups[0]["lr"]
            assert schedule(k) == pytest.approx(rate, rel=1e-12, abs=0), (schedule, k)
            optimizer.step()
            scheduler.step()


def outside(kind, name, value, interval="(0, inf)", **others):
    text = f"{name} must be in {interval}, got {value!r}"
    return kind, {**others, name: value}, ValueError, f"^{re.escape(text)}$"


def no_number(kind, name, value, **others):
    text = f"{name} must be a real number, got {value!r}"
    return kind, {**others, name: value}, TypeError, f"^{re.escape(text)}$"


OTHERS: dict[Any, dict[str, Any]] = {
    schedules.constant: {},
    schedules.exponential: {"decay": 0.5},
    schedules.inverse_time: {"decay": 0.5},
    schedules.cosine: {"steps": 10},
    schedules.step: {"size": 10},
    schedules.plateau: {},
}
BAD = [
    *(
        outside(kind, "lr", lr, **others)
        for kind, others in OTHERS.items()
        for lr in (0, -0.1, math.nan, math.inf)
    ),
    *(
        no_number(kind, "lr", lr, **others)
        for kind, others in OTHERS.items()
        for lr in ("0.1", None, True, np.complex128(0.1))
    ),
    *(outside(schedules.exponential, "decay", d, "(0, 1]", lr=0.1) for d in (0, 1.01, math.nan)),
    *(outside(schedules.exponential, "steps", n, lr=0.1, decay=0.5) for n in (0, -1, math.inf)),
    *(outside(schedules.inverse_time, "decay", d, lr=0.1) for d in (0, -1, math.nan)),
    *(outside(schedules.cosine, "steps", n, lr=0.1) for n in (0, -1, math.inf)),
    *(outside(schedules.cosine, "final", f, "[0, inf)", lr=0.1, steps=9) for f in (-1, math.nan)),
    *(outside(schedules.step, "size", n, lr=0.1) for n in (0, -1, math.nan)),
    *(outside(schedules.step, "factor", f, "(0, 1]", lr=0.1, size=9) for f in (0, 1.1)),
    *(outside(schedules.plateau, "factor", f, "(0, 1)", lr=0.1) for f in (0, -0.5, 1, 1.1)),
    *(
        (schedules.plateau, {"lr": 0.1, "patience": p}, ValueError, f"^patience must.*got {p!r}$")
        for p in (0, -1, 0.7, 2.5, math.nan, math.inf)
    ),
]


def short(value):
    return value.__name__ if isinstance(value, type) else str(value)


@pytest.mark.parametrize(("kind", "options", "error", "text"), BAD, ids=short)
def test_bad(kind, options, error, text):
    with pytest.raises(error, match=text):
        kind(**options)


def test_plateau_is_no_function_of_the_step():
    with pytest.raises(TypeError, match="plateau is carried out by the solver"):
        schedules.plateau(0.1)(0)


# In the solver ------------------------------------------------------------------------------------


@rmsfast.Objective
def compiled(x, g, center, curvature, trace, count):
    """The objective of `reference`, which writes down where it is evaluated."""
    trace[count[0]] = x
    count[0] += 1
    f = 0.0
    for i in range(x.size):
        z = x[i] - center[i]
        f += 0.5 * curvature[i] * z * z
        g[i] = curvature[i] * z
    for i in range(x.size - 1):
        f += math.sin(x[i] * x[i + 1])
        g[i] += math.cos(x[i] * x[i + 1]) * x[i + 1]
        g[i + 1] += math.cos(x[i] * x[i + 1]) * x[i]
    return f


STEPS = 700  # beyond the first piece that the compiled loop takes at once


def run(fun, lr, steps=STEPS, **options):
    """All points at which a run of `steps` steps evaluates, and its result."""
    trace = np.full((steps + 1, 5), np.nan)
    args = (reference.CENTER, reference.CURVATURE, trace, np.zeros(1, int))
    options = {"gtol": 0, "maxiter": steps, "lr": lr, **options}
    result = rmsfast.rmsprop(fun, reference.START, args, True, **options)
    return trace[: args[-1][0]], result


def python(*arguments):
    """The same objective, hidden from the compiler."""
    return compiled(*arguments)


@each
@pytest.mark.parametrize("options", [{}, {"momentum": 0.8, "rho": 0.9}], ids=str)
def test_compiled_loop_is_the_python_loop(schedule, options):
    points, result = run(compiled, schedule, **options)
    assert len(points) > 100

    def rate(k):
        return float(schedule(np.array([k]))[0])

    for fun, lr, more in (
        (compiled, rate, {}),
        (python, schedule, {}),
        (python, rate, {}),
        (compiled, schedule, {"return_all": True}),
    ):
        others, other = run(fun, lr, **options, **more)
        assert_array_equal(points, others)
        assert_array_equal(points, other.get("allvecs", points))
        assert (other.nit, other.status, other.fun) == (result.nit, result.status, result.fun)
        assert_array_equal(other.x, result.x)


@each
def test_step_k_has_the_rate_of_k(schedule):
    # (a large eps: the run must not hop about the minimum, where rounding grows)
    points, _ = run(compiled, schedule, 60, preset="keras", eps=1.0)
    hyper = {**reference.PRESETS["keras"], "eps": 1.0, "lr": lambda k: float(schedule(k))}
    expected = reference.trajectory(reference.gradient, reference.START, 60, **hyper)
    assert_allclose(points, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("fun", [python, compiled])
@pytest.mark.parametrize(
    ("bad", "error"),
    [(math.nan, ValueError), (-0.1, ValueError), (math.inf, ValueError), ("fast", TypeError)],
)
def test_bad_rate(fun, bad, error):
    with pytest.raises(error, match=rf"^lr\(7\) must be .*, got {re.escape(repr(bad))}$"):
        run(fun, lambda k: bad if k == 7 else 0.1, 20)


@pytest.mark.parametrize("fun", [python, compiled])
def test_only_rates_of_the_run_are_asked_for(fun):
    rates = [0.1] * 21
    asked = []

    def lr(k):
        asked.append(k)
        return rates[k]

    assert run(fun, lr, 20)[1].nit == 20
    assert asked == sorted(asked) and max(asked) <= 20


def simulate_plateau(schedule, steps, **options):
    """What `plateau` documents, naively: points evaluated, rates, and when they fell."""
    x = reference.START
    s, m, b = np.zeros((3, x.size))
    lr, best, stalled = schedule.lr, (math.inf, x, x), 0
    points, falls = [], []
    for k in range(steps + 1):
        points.append(x)
        f, g = reference.value(x), reference.gradient(x)
        stalled = 0 if f < best[0] else stalled + 1
        best = min(best, (f, x, g), key=lambda point: point[0])
        if stalled >= schedule.patience:
            _, x, g = best
            lr, stalled, b = lr * schedule.factor, 0, np.zeros_like(b)
            falls.append(k)
        x, s, m, b = reference.update(x, g, s, m, b, k + 1, lr=lr, **options)
    return np.array(points), falls, lr


@pytest.mark.parametrize("options", [{}, {"momentum": 0.5, "centered": True}], ids=str)
@pytest.mark.parametrize(
    "schedule", [schedules.plateau(0.3, patience=4), schedules.plateau(0.4, 0.3, 1)], ids=repr
)
def test_plateau(schedule, options):
    options = {"rho": 0.9, "eps": 1e-2, **options}
    expected, falls, lr = simulate_plateau(schedule, 60, **options)
    assert len(falls) >= 3
    solver = rmsfast.Solver(reference.START, lr=schedule, gtol=0, maxiter=60, **options)
    points, rates = [], []
    while not solver.done:
        x = solver.ask()
        points.append(x)
        solver.tell(reference.value(x), reference.gradient(x))
        rates.append(float(solver.state["lr"]))
    assert_allclose(points, expected, rtol=0, atol=1e-11)
    assert list(np.flatnonzero(np.diff(rates)) + 1) == falls
    assert rates[-1] == pytest.approx(lr, rel=1e-14)
    before, after = rates[falls[0] - 1 : falls[0] + 1]
    assert (before, after) == (schedule.lr, schedule.lr * schedule.factor)


def test_plateau_compiled_is_python():
    points, result = run(compiled, schedules.plateau(0.3, patience=4), rho=0.9)
    others, other = run(python, schedules.plateau(0.3, patience=4), rho=0.9)
    assert_array_equal(points, others)
    assert (result.nit, result.fun, result.message) == (other.nit, other.fun, other.message)


def test_plateau_comes_closer_than_its_rate():
    target = run(compiled, "auto", gtol=1e-9)[1]
    result = run(compiled, schedules.plateau(0.1, patience=10), rho=0.9)[1]
    constant = run(compiled, 0.1, rho=0.9)[1]
    assert abs(result.x - target.x).max() < 1e-3 < abs(constant.x_last - target.x).max()


@pytest.mark.parametrize(
    "lr",
    [
        schedules.cosine(0.1, 100),
        schedules.step(0.1, 20, 0.1),
        lambda k: 0.0 if k < 250 else 0.05,
        schedules.plateau(0.1, patience=400),
    ],
)
def test_only_a_constant_rate_is_said_to_cycle(lr):
    result = rmsfast.rmsprop(lambda x: (x @ x, 2 * x), [3.0, 1.0], jac=True, lr=lr, gtol=0.0,
                             maxiter=600)  # fmt: skip
    assert result.status != 7
    assert result.nit == 600
