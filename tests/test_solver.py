"""Properties of the solver with ``lr="auto"``: what it solves, and what leaves it unmoved."""

import math

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize as scipy_minimize

import rmsfast
from rmsfast.core.auto import FIRST_STEP, WINDOW
from rmsfast.objectives import ALL
from rmsfast.options import RMSPropOptions

MAXFUN = 3000
REDUCTION = 1e-6  # f <= f* + REDUCTION (f0 - f*) counts as solved
MAXCOR = [0, 10]
each_function = pytest.mark.parametrize("fun", ALL, ids=lambda fun: fun.name)
each_maxcor = pytest.mark.parametrize("maxcor", MAXCOR)

# The exceptions, by name and maxcor. Where a listed one passes the test fails too, so that the
# lists stay true.
UNSUCCESSFUL = {  # reach no tolerance
    *(("ackley", 0), ("ackley", 10)),  # not differentiable at its minimum
    # one unit in the last place of meyer's first parameter changes the gradient by 1e-4
    *(("meyer", 0), ("meyer", 10)),
}
NOT_LOWEST = {  # end at another stationary point, or in a valley so flat that gtol is met there
    *(("biggs_exp6", 0), ("biggs_exp6", 10)),
    *(("freudenstein_roth", 0), ("freudenstein_roth", 10)),
    *(("trigonometric", 0), ("trigonometric", 10)),
    ("meyer", 0),
}


def minimize(fun, x0, **options):
    return rmsfast.rmsprop(
        fun, x0, jac=None if isinstance(fun, rmsfast.Objective) else True, **options
    )


def is_lowest(fun, result):
    lowest = fun.minimum.fun
    return bool(result.fun <= lowest + REDUCTION * (fun(fun.x0)[0] - lowest))


@each_maxcor
@each_function
def test_classical_function(fun, maxcor):
    result = minimize(fun, fun.x0, maxfun=MAXFUN, maxcor=maxcor)
    key = (fun.name, maxcor)
    assert result.success == (key not in UNSUCCESSFUL)
    assert is_lowest(fun, result) == (key not in NOT_LOWEST)
    assert result.nfev <= MAXFUN
    f, g = fun(result.x)
    assert_allclose(result.fun, f, rtol=1e-14, atol=1e-300)
    assert_allclose(result.jac, g, rtol=1e-12, atol=1e-12 * max(1.0, abs(g).max()))
    if result.status == 0:
        assert abs(result.jac).max() <= 1e-5


@each_maxcor
def test_nearly_all_are_solved(maxcor):
    """By the lists above: success, or a value that is as good."""
    neither = {name for name, m in UNSUCCESSFUL & NOT_LOWEST if m == maxcor}
    assert len(neither) <= 0.05 * len(ALL)
    assert not neither or maxcor < 10


@each_maxcor
@each_function
def test_best_value_is_the_lowest_seen_and_the_window_is_kept(fun, maxcor):
    """The iterates may rise, above the highest of the last values never."""
    seen, accepted = [], []

    def recorded(x):
        f, g = fun(x)
        seen.append(f)
        return f, g

    result = rmsfast.rmsprop(
        recorded,
        fun.x0,
        jac=True,
        callback=lambda intermediate_result: accepted.append(intermediate_result.fun),
        maxfun=100,
        maxcor=maxcor,
    )
    rounding = 1e-13 * max(1.0, *map(abs, accepted)) if accepted else 0.0
    assert min(seen) <= result.fun <= min(seen) + 1e-14 * abs(min(seen))
    history = [fun(fun.x0)[0], *accepted]
    for k in range(1, len(history)):
        assert history[k] <= max(history[max(0, k - WINDOW) : k]) + rounding


@each_maxcor
@each_function
def test_best_value_falls_with_the_budget(fun, maxcor):
    """And wherever a run is cut off, value and gradient are those of its best point."""
    results = [minimize(fun, fun.x0, maxfun=k, maxcor=maxcor) for k in (1, 2, 5, 10, 20, 30, 100)]
    values = [result.fun for result in results]
    tiny = 1e-14 * abs(values[-1])
    assert all(b <= a + tiny for a, b in zip(values[:-1], values[1:], strict=True))
    assert values[0] == pytest.approx(fun(fun.x0)[0], rel=1e-14)
    for result in results:
        f, g = fun(result.x)
        assert_allclose(result.fun, f, rtol=1e-13, atol=1e-300)
        assert_allclose(result.jac, g, rtol=1e-10, atol=1e-10 * max(1.0, abs(g).max()))


# Invariances -------------------------------------------------------------------------------------


def wavy(x):
    """A smooth nonconvex function of any number of variables, and its gradient."""
    i = np.arange(1.0, x.size + 1.0)
    f = (i * x * x).sum() + np.cos(3.0 * x).sum() + 0.1 * x.sum() ** 2
    return f, 2.0 * i * x - 3.0 * np.sin(3.0 * x) + 0.2 * x.sum()


starts = st.lists(st.floats(-3, 3).map(lambda v: round(v, 3)), min_size=1, max_size=6).map(np.array)
few = settings(max_examples=25, deadline=None, derandomize=True)
EPS = RMSPropOptions().eps


@few
@given(starts, st.integers(-40, 40), st.sampled_from(MAXCOR))
@example(np.array([1.0, 2.0]), 40, 0)
def test_scaled_objective(x0, power, maxcor):
    """The iterates of c*f with gtol scaled are those of f.

    Exactly so after the first step, whose metric ``1 / (|g| + eps)`` knows the size of the
    gradient: with eps scaled too, and c a power of two, all bits agree.
    """
    c = 2.0**power
    options = {"maxcor": maxcor, "maxiter": 40}
    plain = minimize(wavy, x0, gtol=1e-7, eps=EPS, return_all=True, **options)
    scaled = minimize(
        lambda x: tuple(c * part for part in wavy(x)),
        x0,
        gtol=c * 1e-7,
        eps=c * EPS,
        return_all=True,
        **options,
    )
    assert_array_equal(scaled.allvecs, plain.allvecs)
    assert (scaled.nit, scaled.nfev, scaled.status) == (plain.nit, plain.nfev, plain.status)
    assert scaled.fun == c * plain.fun


@few
@given(starts, st.floats(-10, 10), st.sampled_from(MAXCOR))
def test_shifted_variables(x0, shift, maxcor):
    """f(x - shift) from x0 + shift takes the shifted path, but for rounding at the start."""
    options = {"maxcor": maxcor, "maxiter": 3, "return_all": True}
    plain = minimize(wavy, x0, **options)
    shifted = minimize(lambda x: wavy(x - shift), x0 + shift, **options)
    assume(abs(wavy(x0)[1]).min() > 1e-3)  # there the first step is as long as rounding says
    count = min(len(plain.allvecs), len(shifted.allvecs))
    assert_allclose(
        np.array(shifted.allvecs[:count]) - shift, plain.allvecs[:count], rtol=1e-6, atol=1e-6
    )


@few
@given(starts, st.floats(-5, 5), st.sampled_from(MAXCOR))
def test_shifted_variables_reach_the_same_value_class(x0, shift, maxcor):
    result = minimize(lambda x: wavy(x - shift), x0 + shift, maxcor=maxcor)
    assert result.success
    assert abs(wavy(result.x - shift)[1]).max() <= 1e-5


@few
@given(starts, st.integers(-20, 20), st.sampled_from(MAXCOR))
def test_shifted_value(x0, shift, maxcor):
    """f + c takes the path of f as long as the sum is not rounded: c and f are small integers."""

    def fun(x):
        return round(wavy(x)[0] * 1024) / 1024, wavy(x)[1]

    options = {"maxcor": maxcor, "maxiter": 4, "return_all": True}
    plain = minimize(fun, x0, **options)
    shifted = minimize(lambda x: (fun(x)[0] + shift, fun(x)[1]), x0, **options)
    # the sum is exact; interpolation and slack round it otherwise, by 1e-12 at most
    count = min(len(plain.allvecs), len(shifted.allvecs), 3)
    assert_allclose(shifted.allvecs[:count], plain.allvecs[:count], rtol=1e-8, atol=1e-8)


@few
@given(starts, st.randoms(use_true_random=False))
def test_order_of_the_variables(x0, random):
    """Another order only sums in another order."""
    order = np.array(random.sample(range(x0.size), x0.size))
    back = np.argsort(order)

    def permuted(x):
        f, g = wavy(x[back])
        return f, g[order]

    assume(abs(wavy(x0)[1]).min() > 1e-3)
    plain = minimize(wavy, x0, maxiter=3, return_all=True)
    other = minimize(permuted, x0[order], maxiter=3, return_all=True)
    count = min(len(plain.allvecs), len(other.allvecs))
    assert_allclose(
        np.array(other.allvecs)[:count],
        np.array(plain.allvecs)[:count, order],
        rtol=1e-6,
        atol=1e-6,
    )


@few
@given(starts, st.sampled_from(MAXCOR), st.lists(st.booleans(), min_size=6, max_size=6))
def test_mirrored_variables(x0, maxcor, mirrored):
    """A change of sign is exact, so it changes no bit."""
    sign = np.where(mirrored[: x0.size], -1.0, 1.0)

    def mirror(x):
        f, g = wavy(sign * x)
        return f, sign * g

    plain = minimize(wavy, x0, maxcor=maxcor, return_all=True)
    other = minimize(mirror, sign * x0, maxcor=maxcor, return_all=True)
    assert_array_equal(np.array(other.allvecs) * sign, plain.allvecs)
    assert other.nfev == plain.nfev


@few
@given(starts, st.sampled_from(MAXCOR))
def test_wide_bounds_change_nothing_but_rounding(x0, maxcor):
    """Bounds that are never met; the decrease predicted is summed otherwise with bounds."""
    plain = minimize(wavy, x0, maxcor=maxcor, maxiter=3, return_all=True)
    bounded = minimize(
        wavy, x0, maxcor=maxcor, maxiter=3, return_all=True, bounds=[(-1e9, 1e9)] * x0.size
    )
    count = min(len(plain.allvecs), len(bounded.allvecs))
    assert_allclose(bounded.allvecs[:count], plain.allvecs[:count], rtol=1e-8, atol=1e-8)


# Convergence -------------------------------------------------------------------------------------


def quadratic(seed, n, condition):
    """A convex quadratic with random eigenvalues and axes, and its minimizer."""
    rng = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(rng.standard_normal((n, n)))
    spectrum = np.exp(rng.uniform(0.0, math.log(condition), n))
    matrix = axes @ (spectrum[:, None] * axes.T)
    lowest = rng.standard_normal(n)

    def fun(x):
        g = matrix @ (x - lowest)
        return 0.5 * (x - lowest) @ g, g

    return fun, lowest, spectrum


@few
@given(
    st.integers(0, 10**6),
    st.integers(1, 20),
    st.sampled_from([1.0, 10.0, 1e3]),
    st.sampled_from(MAXCOR),
)
def test_convex_quadratics(seed, n, condition, maxcor):
    fun, lowest, spectrum = quadratic(seed, n, condition)
    result = minimize(fun, np.zeros(n), gtol=1e-6, maxcor=maxcor)
    assert result.status == 0, result.message
    assert abs(result.jac).max() <= 1e-6
    assert_allclose(result.x, lowest, atol=1e-6 * math.sqrt(n) / spectrum.min())


@few
@given(st.integers(0, 10**6), st.integers(1, 10), st.sampled_from(MAXCOR))
def test_convex_quadratics_within_bounds(seed, n, maxcor):
    """At the end the projected gradient vanishes: the conditions of Karush, Kuhn and Tucker."""
    fun, _, _ = quadratic(seed, n, 100.0)
    low, high = -0.3, 0.4
    result = minimize(fun, np.zeros(n), gtol=1e-6, maxcor=maxcor, bounds=[(low, high)] * n)
    assert result.status == 0, result.message
    x, g = result.x, result.jac
    assert np.all((low <= x) & (x <= high))
    assert np.all((abs(g) <= 1e-6) | (g > 0) & (x <= low + 1e-6) | (g < 0) & (x >= high - 1e-6))


# The first step ----------------------------------------------------------------------------------


@few
@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=6).map(np.array),
    st.sampled_from([1e-8, 1e-2, 10.0]),
    st.booleans(),
    st.sampled_from(MAXCOR),
)
def test_first_trial_point(g, eps, eps_in_sqrt, maxcor):
    """RMSProp's own step: FIRST_STEP * g / (|g| + eps), or with eps under the root."""
    assume(abs(g).max() > 1e-5)
    x0 = np.linspace(-1.0, 1.0, g.size)
    solver = rmsfast.Solver(x0, maxcor=maxcor, eps=eps, eps_in_sqrt=eps_in_sqrt)
    assert_array_equal(solver.ask(), x0)
    solver.tell(1.0, g)
    denominator = np.sqrt(g * g + eps) if eps_in_sqrt else np.sqrt(g * g) + eps
    assert_allclose(solver.ask(), x0 - FIRST_STEP * g / denominator, rtol=1e-14, atol=1e-15)


def test_first_step_has_one_length_in_every_coordinate():
    g = np.array([1e5, -1.0, 1e-3, 0.0])
    solver = rmsfast.Solver(np.zeros(4))
    solver.tell(0.0, g)
    assert_allclose(solver.ask(), [-FIRST_STEP, FIRST_STEP, -FIRST_STEP, 0.0], rtol=2e-5)


# Points where the gradient or the value is special -----------------------------------------------


@each_maxcor
def test_start_at_the_minimum(maxcor):
    result = minimize(wavy, np.zeros(3), maxcor=maxcor, gtol=1e-5, maxiter=0)
    assert result.nfev == 1
    fun, lowest, _ = quadratic(1, 4, 10.0)
    result = minimize(fun, lowest, maxcor=maxcor)
    assert (result.nit, result.nfev, result.status) == (0, 1, 0)
    assert_array_equal(result.x, lowest)


@each_maxcor
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_region_without_values_is_left_again(bad, maxcor):
    """The value is not finite beyond a wall next to the minimum."""

    def fun(x):
        if x[0] > 1.05:
            return bad, np.full_like(x, bad)
        return ((x - 1.0) ** 2 * [1.0, 50.0]).sum(), 2.0 * (x - 1.0) * [1.0, 50.0]

    result = minimize(fun, np.array([1.0, -3.0]) - [3.9, 0.0], maxcor=maxcor)
    assert result.success
    assert_allclose(result.x, 1.0, atol=1e-5)


@each_maxcor
def test_unbounded_below_ends_with_the_lowest_value(maxcor):
    result = minimize(
        lambda x: (-x.sum(), -np.ones_like(x)), np.zeros(2), maxcor=maxcor, maxfun=200
    )
    assert not result.success
    assert result.fun < -1e3


# Against L-BFGS-B --------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [300, 3000])
def test_a_chain_of_equal_variables_takes_few_more_evaluations_than_by_scipy(n):
    """A metric of each coordinate has nothing to gain there, and its noise much to lose."""
    b = 3.0 * np.sin(np.linspace(0.0, 20.0, n))

    def chain(x):
        d, apart = np.diff(x), x - b
        g = 4.0 * apart**3
        g[1:] += 2.0 * d
        g[:-1] -= 2.0 * d
        return (apart**4).sum() + (d * d).sum(), g

    options = {"gtol": 1e-5, "ftol": 0.0, "maxiter": 5000, "maxfun": 5000}
    theirs = scipy_minimize(chain, np.zeros(n), jac=True, method="L-BFGS-B", options=options)
    ours = minimize(chain, np.zeros(n), gtol=1e-5)
    assert ours.success and theirs.success
    assert abs(ours.jac).max() <= 1e-5
    assert_allclose(ours.fun, theirs.fun, rtol=1e-6)
    assert ours.nfev <= 1.5 * theirs.nfev
