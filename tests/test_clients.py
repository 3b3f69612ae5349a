"""Programs that take a method of `scipy.optimize.minimize`, run for real.

`scipy.optimize.shgo` takes none: it asks for ``minimizer_kwargs["method"].lower()``.
"""

import functools

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import (
    Bounds,
    basinhopping,
    differential_evolution,
    dual_annealing,
    minimize,
    rosen,
    rosen_der,
)
from sklearn import gaussian_process

import rmsfast


class Method:
    """`rmsfast.rmsprop`, keeping its results."""

    def __init__(self):
        self.results, self.calls = [], []

    def __call__(self, *args, **kwargs):
        result = rmsfast.rmsprop(*args, **kwargs)
        self.results.append(result)
        self.calls.append(kwargs)
        return result


def rastrigin(x):
    return 10 * x.size + (x * x - 10 * np.cos(2 * np.pi * x)).sum()


def rastrigin_der(x):
    return 2 * x + 20 * np.pi * np.sin(2 * np.pi * x)


def pair(x):
    return rastrigin(x), rastrigin_der(x)


KINDS = {
    "gradient": (rastrigin, rastrigin_der),
    "pair": (pair, True),
    "differences": (rastrigin, None),
}


@pytest.mark.parametrize(("fun", "jac"), KINDS.values(), ids=KINDS)
def test_basinhopping(fun, jac):
    method = Method()
    result = basinhopping(
        fun, [2.2, -1.8], niter=40, stepsize=1.0, rng=3,
        minimizer_kwargs={"method": method, "jac": jac, "bounds": [(-5, 5)] * 2},
    )  # fmt: skip
    assert_allclose(result.x, 0, atol=1e-6)
    assert_allclose(result.fun, 0, atol=1e-10)
    assert result.lowest_optimization_result.success
    assert len(method.results) == 41
    assert result.nfev == sum(r.nfev for r in method.results)
    assert result.minimization_failures == sum(not r.success for r in method.results) == 0


@pytest.mark.parametrize("jac", [rastrigin_der, None])
@pytest.mark.parametrize("bounded", [True, False])
def test_dual_annealing(jac, bounded):
    method = Method()
    bounds = [(-5.0, 5.0)] * 2
    result = dual_annealing(
        rastrigin, bounds, maxiter=200, rng=3,
        minimizer_kwargs={"method": method, "jac": jac, "bounds": bounds if bounded else None},
    )  # fmt: skip
    assert_allclose(result.x, 0, atol=1e-6)
    assert_allclose(result.fun, 0, atol=1e-10)
    assert len(method.results) > 0
    assert any(r.success and np.array_equal(r.x, result.x) for r in method.results)


def test_dual_annealing_with_arguments():
    method = Method()
    result = dual_annealing(
        lambda x, shift: rastrigin(x - shift), [(-5, 5)] * 2, args=(0.5,), maxiter=200, rng=3,
        minimizer_kwargs={"method": method},
    )  # fmt: skip
    assert_allclose(result.x, 0.5, atol=1e-6)
    assert method.results


POLISH = {
    "the method itself": lambda method: method,
    "through minimize": lambda method: functools.partial(minimize, method=method),
    "with options": lambda method: functools.partial(method, gtol=1e-6, maxiter=500),
}


@pytest.mark.parametrize("polish", POLISH.values(), ids=POLISH)
def test_differential_evolution(polish):
    method = Method()
    result = differential_evolution(
        rosen, [(-2, 2)] * 3, rng=3, maxiter=20, popsize=5, polish=polish(method)
    )
    (polished,) = method.results
    assert isinstance(method.calls[0]["bounds"], Bounds)
    assert polished.success
    # SciPy keeps the result of a successful run alone
    assert np.array_equal(result.x, polished.x)
    assert result.fun == polished.fun
    assert_allclose(result.x, 1, atol=1e-4)


def test_differential_evolution_at_a_bound():
    method = Method()
    result = differential_evolution(
        rosen, [(-2, 0.5), (-2, 2)], rng=3, maxiter=10, popsize=5, polish=method
    )
    assert_allclose(result.x, [0.5, 0.25], atol=1e-5)
    assert method.results[0].success
    assert result.x[0] == 0.5


def test_differential_evolution_of_a_vectorised_function_with_integers():
    # the integer variable reaches the method with equal bounds
    method = Method()
    result = differential_evolution(
        lambda x: (x[0] - 1.2) ** 2 + (x[1] - 0.3) ** 2, [(-3, 3), (-3, 3)],
        integrality=[True, False], rng=3, maxiter=10, popsize=5, polish=method,
    )  # fmt: skip
    assert result.x[0] == 1
    assert_allclose(result.x[1], 0.3, atol=1e-5)
    assert method.results


def test_minimize_many_starts():
    # the plainest client: a loop over starts, keeping the lowest
    method = Method()
    starts = np.random.default_rng(3).uniform(-2, 2, (10, 2))
    results = [minimize(rosen, x0, jac=rosen_der, method=method) for x0 in starts]
    best = min(results, key=lambda r: r.fun)
    assert_allclose(best.x, 1, atol=1e-5)
    assert len(method.results) == 10


@pytest.mark.parametrize("restarts", [0, 2])
def test_gaussian_process(restarts):
    kernels = gaussian_process.kernels
    method = Method()

    def optimizer(obj_func, initial_theta, bounds):
        result = minimize(obj_func, initial_theta, jac=True, bounds=bounds, method=method)
        return result.x, result.fun

    rng = np.random.default_rng(3)
    x = rng.uniform(0, 5, (30, 1))
    y = np.sin(2 * x[:, 0]) + 0.1 * rng.standard_normal(30)
    kernel = kernels.ConstantKernel() * kernels.RBF() + kernels.WhiteKernel(0.1)
    fits = [
        gaussian_process.GaussianProcessRegressor(
            kernel, n_restarts_optimizer=restarts, random_state=0, **chosen
        ).fit(x, y)
        for chosen in ({"optimizer": optimizer}, {})
    ]
    ours, default = fits
    assert len(method.results) == restarts + 1
    assert method.results[0].success
    likelihoods = [fit.log_marginal_likelihood_value_ for fit in fits]
    assert_allclose(likelihoods[0], likelihoods[1], rtol=1e-6)
    assert_allclose(ours.kernel_.theta, default.kernel_.theta, atol=1e-2)
    grid = np.linspace(0, 5, 20)[:, None]
    assert_allclose(ours.predict(grid), default.predict(grid), atol=1e-2)
    assert_allclose(ours.predict(grid), np.sin(2 * grid[:, 0]), atol=0.3)
