"""Problems side by side in vector instructions: what one after another gives, to the last bit.

No arithmetic is reordered, so there is no tolerance here.
"""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import rmsfast
from rmsfast import many, schedules
from rmsfast.core import lanes
from rmsfast.objectives import beale, rosenbrock

NAMES = ("x", "fun", "jac", "nit", "nfev", "njev", "status", "success", "message")
COUNT = 150  # more than one set of lanes, and not a multiple of it
OPTIONS = {
    "limits": {"lr": 1e-3, "maxiter": 300, "maxfun": 200},
    "cycles": {"lr": 0.02},
    "schedule": {"lr": schedules.exponential(0.1, 0.99), "maxiter": 1500},
    "own schedule": {"lr": lambda k: 0.1 / (1 + k), "maxiter": 1200},
    "momentum": {"lr": 0.01, "momentum": 0.9, "nesterov": True, "lr_in_momentum": True},
    "centered": {"lr": 0.01, "centered": True, "bias_correction": True, "maxiter": 500},
    "keras": {"preset": "keras", "weight_decay": 0.01, "maxiter": 500},
    "coupled": {"lr": 0.01, "weight_decay": 0.1, "clip_value": 0.5, "maxiter": 500},
    "tolerances": {"lr": schedules.cosine(0.1, 300), "ftol": 1e-9, "xtol": 1e-9},
    "maximize": {"lr": 0.01, "maximize": True, "maxiter": 400},
    "no iterations": {"lr": 0.01, "maxiter": 0},
}


@pytest.fixture
def both(monkeypatch):
    """Solve side by side and one after another, and compare."""
    used = []
    make = lanes.driver
    monkeypatch.setattr(lanes, "driver", lambda *key: used.append(key) or make(*key))

    def solve(fun, x0s, side_by_side=True, **options):
        used.clear()
        result = rmsfast.minimize_many(fun, x0s, vectorize=True, **options)
        assert bool(used) == side_by_side
        expected = rmsfast.minimize_many(fun, x0s, vectorize=False, **options)
        for name in NAMES:
            assert_array_equal(result[name], expected[name], err_msg=name)
        return result

    return solve


def starts(n=2, dtype=float, low=-2.0):
    return np.random.default_rng(42).uniform(low, 2.0, (COUNT, n)).astype(dtype)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_options(both, options):
    both(rosenbrock, starts(), **options)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_ten_variables(both, dtype):
    both(rosenbrock.of_size(10), starts(10, dtype), lr=0.01, maxiter=400)


@pytest.mark.parametrize("lower", [-1.0, -np.inf], ids=["both", "one side"])
def test_shared_bounds(both, lower):
    result = both(beale, starts(low=-1.0), lr=0.05, bounds=[(lower, 2.0), (-1.5, 2.5)])
    assert (result.x >= [lower, -1.5]).all() and (result.x <= [2.0, 2.5]).all()


def test_bounds_of_each(both):
    x0s = starts()
    box = rmsfast.PerProblem(np.stack([x0s - 0.5, x0s + 0.5], axis=-1))
    both(rosenbrock, x0s, lr=0.01, bounds=box, maxiter=500)


def test_workers_do_not_matter(both):
    for workers in (1, 3):
        both(rosenbrock, starts(), lr=0.01, workers=workers, maxiter=500)


@rmsfast.Objective
def quadratic(x, g, A, b, c):
    f = c
    for i in range(x.size):
        g[i] = -b[i]
        for j in range(x.size):
            g[i] += A[i, j] * x[j]
    for i in range(x.size):
        f += 0.5 * x[i] * (g[i] - b[i])
    return f


def test_arguments_of_each(both):
    rng = np.random.default_rng(0)
    root = rng.standard_normal((COUNT, 3, 3))
    A = root @ root.transpose(0, 2, 1) + np.eye(3)
    b, c = rng.standard_normal((COUNT, 3)), rng.standard_normal(COUNT)
    args = tuple(map(rmsfast.PerProblem, (A, b, c)))
    result = both(quadratic, starts(3), args=args, lr=schedules.cosine(0.1, 1000), gtol=1e-3)
    solution = np.linalg.solve(A, b[..., None])[..., 0]
    np.testing.assert_allclose(result.x[result.success], solution[result.success], atol=1e-2)
    assert result.success.mean() > 0.5


def test_gradient_that_becomes_infinite(both):
    @rmsfast.Objective
    def steep(x, g, top):
        g[0] = -1.0 / max(top - x[0], 0.0)
        return -x[0]

    top = rmsfast.PerProblem(np.linspace(0.0, 3.0, COUNT))
    result = both(steep, np.zeros((COUNT, 1)), args=(top,), lr=0.01, maxiter=200)
    assert {3, 8} <= set(result.status)


def test_what_lanes_cannot_do_is_solved_one_after_another(both):
    both(rosenbrock, starts(), side_by_side=False, lr=schedules.plateau(0.1), maxiter=300)
    both(rosenbrock, starts(), side_by_side=False, lr=0.01, clip_norm=1.0, maxiter=300)
    both(rosenbrock, starts(), side_by_side=False)  # lr="auto"


def test_lanes_are_for_many_steps():
    for count, expected in ((10, False), (10**5, True)):
        problems = many._Problems(
            rosenbrock, np.ones((count, 2)), (), None, None, {"lr": 0.01, "maxiter": 1000}, None
        )
        assert problems.compiled
        stacked, kinds = problems._stack(problems._evaluate)
        assert (problems._lanes(problems._evaluate, stacked, kinds) is not None) == expected
