"""Multistart: the starts, the minima it finds, and its picture."""

import pickle
import runpy
import sys
import warnings

import numpy as np
import pytest
from conftest import REPOSITORY
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import Bounds, OptimizeResult, brentq
from scipy.stats import kstest, qmc

import rmsfast
from rmsfast import many_starts, multistart, objectives, starts

BOX = [(-2.0, 6.0), (0.0, 5.0), (1e-3, 1e-2)]
LOWER, UPPER = np.array(BOX).T
PAIR = [(-1.0, 1.0)] * 2

# Starts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make_rng", [lambda: 5, lambda: np.random.default_rng(5)])
@pytest.mark.parametrize("n", [1, 2, 3, 64, 100, 1000])
def test_sobol_is_scipys_sequence(n, make_rng):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        points = qmc.Sobol(3, rng=make_rng()).random(n)
    found = starts(BOX, n, rng=make_rng())
    assert found.shape == (n, 3) and found.dtype == np.float64
    assert_array_equal(found, qmc.scale(points, LOWER, UPPER))
    assert_array_equal(found, starts(BOX, n, method="sobol", rng=make_rng()))


def test_sobol_is_balanced():
    cells = ((starts(BOX, 256, rng=1) - LOWER) / (UPPER - LOWER) * 16).astype(int)
    for column in cells.T:
        assert_array_equal(np.bincount(column, minlength=16), 16)
    # the first two coordinates are a (0, m, 2)-net: one point in each of the 16 x 16 cells
    assert len(np.unique(cells[:, :2], axis=0)) == 256


@pytest.mark.parametrize("n", [1, 7, 100])
def test_lhs_has_one_point_in_each_slice(n):
    found = starts(BOX, n, method="lhs", rng=2)
    slices = ((found - LOWER) / (UPPER - LOWER) * n).astype(int)
    assert_array_equal(np.sort(slices, axis=0), np.tile(np.arange(n)[:, None], 3))
    points = qmc.LatinHypercube(3, rng=2).random(n)
    assert_array_equal(found, qmc.scale(points, LOWER, UPPER))


def test_uniform_is_uniform_and_independent():
    found = starts(BOX, 2000, method="uniform", rng=3)
    unit = (found - LOWER) / (UPPER - LOWER)
    assert all(kstest(column, "uniform").pvalue > 0.01 for column in unit.T)
    assert abs(np.corrcoef(unit.T) - np.eye(3)).max() < 0.06
    assert_array_equal(unit.round(12), np.random.default_rng(3).random((2000, 3)).round(12))


each_method = pytest.mark.parametrize("method", ["sobol", "lhs", "uniform"])


@each_method
def test_same_rng_same_starts(method):
    first, again, other = (starts(BOX, 20, method=method, rng=rng) for rng in (1, 1, 2))
    assert_array_equal(first, again)
    assert (first != other).all()
    # a Generator goes on, and no rng is a new one each time
    rng = np.random.default_rng(1)
    assert (
        starts(BOX, 20, method=method, rng=rng) != starts(BOX, 20, method=method, rng=rng)
    ).any()
    assert (starts(BOX, 20, method=method) != starts(BOX, 20, method=method)).any()


@each_method
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("sides", [(1e6, 1e6 + 0.25), (-1e-30, 1e30), (2.0, 2.0), (-0.1, 0.7)])
def test_starts_keep_their_bounds(method, dtype, sides):
    bounds = np.array([sides, (0.0, 1.0)], dtype)
    found = starts(bounds, 500, method=method, rng=1)
    assert found.dtype == dtype
    assert ((bounds[:, 0] <= found) & (found <= bounds[:, 1])).all()


def test_forms_of_bounds_agree():
    expected = starts(BOX, 9, rng=4)
    for bounds in (np.array(BOX), Bounds(LOWER, UPPER), tuple(BOX), zip(LOWER, UPPER, strict=True)):
        assert_array_equal(starts(bounds, 9, rng=4), expected)
    single = Bounds(LOWER.astype(np.float32), UPPER.astype(np.float32))
    assert starts(single, 9, rng=4).dtype == np.float32
    assert_array_equal(
        starts(Bounds(0.0, [1.0, 2.0]), 4, rng=1), starts([(0, 1), (0, 2)], 4, rng=1)
    )


# What it finds -----------------------------------------------------------------------------------


def along(minima, n):
    """All points of `n` coordinates out of the minima of one variable, and their values."""
    places, values = (
        np.array(np.meshgrid(*n * [m])).reshape(n, -1) for m in zip(*minima, strict=True)
    )
    return list(zip(places.T, values.sum(axis=0), strict=True))


def of_styblinski_tang():
    return [
        (x, 0.5 * (x**4 - 16 * x**2 + 5 * x))
        for x in np.sort(np.roots([4.0, 0.0, -32.0, 5.0]).real)[[0, 2]]
    ]


def of_rastrigin():
    """One minimum near each integer: the root of the derivative."""
    slope = lambda x: 2.0 * x + 20.0 * np.pi * np.sin(2.0 * np.pi * x)  # noqa: E731
    places = [brentq(slope, k - 0.2, k + 0.2, xtol=1e-14) for k in range(-5, 6)]
    return [(x, x * x + 10.0 * (1.0 - np.cos(2.0 * np.pi * x))) for x in places]


# Function, starts, all its minima in its customary box with their values, and the source.
MINIMA = {
    # Himmelblau (1972); the values are 0
    "himmelblau": (
        64,
        [
            ((3.0, 2.0), 0.0),
            ((-2.805118, 3.131312), 0.0),
            ((-3.779310, -3.283186), 0.0),
            ((3.584428, -1.848126), 0.0),
        ],
    ),
    # Dixon and Szegö (1978); the local ones: Molga and Smutnicki (2005), and f is even
    "six_hump_camel": (
        256,
        [
            ((0.0898, -0.7126), -1.0316),
            ((-0.0898, 0.7126), -1.0316),
            ((1.7036, -0.7961), -0.2155),
            ((-1.7036, 0.7961), -0.2155),
            ((1.6071, 0.5687), 2.1043),
            ((-1.6071, -0.5687), 2.1043),
        ],
    ),
    # Jamil and Yang (2013)
    "three_hump_camel": (
        64,
        [((0.0, 0.0), 0.0), ((1.7476, -0.8738), 0.2986), ((-1.7476, 0.8738), 0.2986)],
    ),
    # Branin (1972)
    "branin": (
        64,
        [
            ((-np.pi, 12.275), 1.25 / np.pi),
            ((np.pi, 2.275), 1.25 / np.pi),
            ((3.0 * np.pi, 2.475), 1.25 / np.pi),
        ],
    ),
    # Goldstein and Price (1971)
    "goldstein_price": (
        256,
        [((0.0, -1.0), 3.0), ((-0.6, -0.4), 30.0), ((1.8, 0.2), 84.0), ((1.2, 0.8), 840.0)],
    ),
    # the roots of a cubic in each variable
    "styblinski_tang": (64, along(of_styblinski_tang(), 2)),
    "styblinski_tang 3": (256, along(of_styblinski_tang(), 3)),
    "rastrigin 1": (128, along(of_rastrigin(), 1)),
    "rastrigin": (4096, along(of_rastrigin(), 2)),
}


def problem(name):
    name, _, size = name.partition(" ")
    function = getattr(objectives, name)
    return function.of_size(int(size)) if size else function


@pytest.mark.parametrize("name", MINIMA)
@pytest.mark.parametrize("method", ["sobol", "lhs"])
def test_all_known_minima_and_no_others(name, method):
    function, (n, known) = problem(name), MINIMA[name]
    result = multistart(function, function.bounds, n, method=method, rng=1)
    assert result.success and result.hits.sum() == n
    assert len(result.minima) == len(known)
    for place, value in known:
        rank = abs(result.minima - place).max(axis=1).argmin()
        assert_allclose(result.minima[rank], place, atol=1e-4)
        assert_allclose(result.minima_fun[rank], value, atol=1e-4)
    best = function.minimum
    assert_allclose(result.fun, best.fun, atol=1e-9)
    places = [place for place, value in known if value < best.fun + 1e-3]
    assert min(abs(result.x - place).max() for place in places) < 1e-4


def test_result_hangs_together():
    result = multistart(objectives.six_hump_camel, objectives.six_hump_camel.bounds, 500, rng=7)
    bounds = np.array(objectives.six_hump_camel.bounds)
    width = np.ptp(bounds, axis=1)
    runs = rmsfast.minimize_many(
        objectives.six_hump_camel, starts(bounds, 500, rng=7), bounds=bounds
    )
    assert_array_equal(result.starts, starts(bounds, 500, rng=7))
    for name in ("x", "fun", "jac", "nit", "nfev", "status"):
        assert_array_equal(result.runs[name], runs[name])
    assert (np.diff(result.minima_fun) >= 0).all()
    assert_array_equal(result.hits, np.bincount(result.labels))
    distances = abs(runs.x - result.minima[result.labels]) / width
    assert distances.max() <= 1e-3
    assert (runs.fun >= result.minima_fun[result.labels]).all()
    between = abs(result.minima[:, None] - result.minima) / width
    assert (between.max(axis=2) + np.eye(6) > 1e-3).all()
    # like a single result
    k = result.index
    assert isinstance(result, OptimizeResult)
    assert_array_equal(result.x, runs.x[k])
    assert_array_equal(result.jac, runs.jac[k])
    assert result.fun == runs.fun[k] == result.minima_fun[0] == runs.fun.min()
    assert (result.nfev, result.njev, result.nit) == (
        runs.nfev.sum(),
        runs.njev.sum(),
        runs.nit.sum(),
    )
    assert result.status == 0 and result.success is True
    assert result.message == "6 minima from 500 starts."


def same(first, second):
    for name in ("x", "fun", "jac", "minima", "minima_fun", "hits", "labels", "starts"):
        assert_array_equal(first[name], second[name], strict=True)


def test_same_rng_same_result():
    function = objectives.goldstein_price
    results = [multistart(function, function.bounds, 100, rng=rng) for rng in (1, 1, 2)]
    same(*results[:2])
    assert (results[0].starts != results[2].starts).any()


@pytest.mark.parametrize("workers", [1, 3, -1, map])
def test_workers_change_nothing(workers):
    function = objectives.himmelblau
    single = multistart(function, function.bounds, 50, rng=1)
    same(multistart(function, function.bounds, 50, rng=1, workers=workers, chunksize=7), single)


def test_starts_of_ones_own():
    bounds = objectives.himmelblau.bounds
    x0s = starts(bounds, 50, rng=1)
    before = x0s.copy()
    own = multistart(objectives.himmelblau, bounds, x0s=x0s)
    same(own, multistart(objectives.himmelblau, bounds, 50, rng=1))
    assert_array_equal(x0s, before)
    assert own.starts is not x0s
    listed = multistart(objectives.himmelblau, Bounds(-5, 5), x0s=[[3, 2], [3.0, 2.5]])
    assert_allclose(listed.minima, [[3.0, 2.0]], atol=1e-5)
    assert listed.hits.tolist() == [2] and listed.starts.dtype == np.float64


def test_float32_stays_float32():
    bounds = np.array(objectives.himmelblau.bounds, np.float32)
    result = multistart(objectives.himmelblau, bounds, 64, rng=1, gtol=1e-2)
    assert result.x.dtype == result.jac.dtype == result.minima.dtype == np.float32
    assert result.starts.dtype == np.float32
    double = multistart(objectives.himmelblau, objectives.himmelblau.bounds, 64, rng=1)
    assert result.success and len(result.minima) == 4
    for place, hits in zip(double.minima, double.hits, strict=True):
        rank = abs(result.minima - place).max(axis=1).argmin()
        assert_allclose(result.minima[rank], place, atol=1e-3)
        assert result.hits[rank] == hits


def test_minima_on_the_bounds():
    """On [3, 4]^2 the function of Styblinski and Tang rises from a corner."""
    result = multistart(objectives.styblinski_tang, [(3.0, 4.0), (3.0, 4.0)], 16, rng=1)
    assert_array_equal(result.minima, [[3.0, 3.0]])
    fixed = multistart(objectives.styblinski_tang, [(-5.0, 5.0), (0.0, 0.0)], 16, rng=1)
    assert_array_equal(fixed.minima[:, 1], 0.0)
    assert_allclose(fixed.minima[:, 0], [x for x, _ in of_styblinski_tang()], atol=1e-5)


def test_maxima():
    """Minus a function has its minima as maxima; the metric is that of a numeric lr."""

    @rmsfast.Objective
    def minus(x, g):
        g[0] = 16.0 * x[0] - 2.0 * x[0] ** 3 - 2.5
        return 8.0 * x[0] ** 2 - 0.5 * x[0] ** 4 - 2.5 * x[0]

    rate = rmsfast.schedules.inverse_time(0.1, 0.01)
    result = multistart(minus, [(-5.0, 5.0)], 32, rng=1, lr=rate, maximize=True, gtol=1e-3)
    assert result.success and result.hits.sum() == 32
    assert_allclose(result.minima[:, 0], [x for x, _ in of_styblinski_tang()], atol=1e-3)
    assert_allclose(result.minima_fun, [-f for _, f in of_styblinski_tang()], atol=1e-3)
    assert result.fun == result.minima_fun.max()
    assert repr(result).startswith("2 maxima from 32 starts\n")


def test_args_and_jac():
    def fun(x, shift):
        return (x[0] - shift) ** 2

    def jac(x, shift):
        return 2.0 * (x - shift)

    for gradient in (jac, None):
        result = multistart(fun, [(0.0, 2.0)], 5, (1.25,), jac=gradient, rng=1)
        assert_allclose(result.minima, [[1.25]], atol=1e-5)
    assert_allclose(multistart(fun, [(0.0, 2.0)], 5, args=1.25, jac=jac, rng=1).x, 1.25, atol=1e-5)


# Clustering --------------------------------------------------------------------------------------


def naive_clusters(x, values, tol):
    leaders, labels = [], np.full(len(x), -1)
    for k in sorted(range(len(x)), key=lambda k: values[k]):
        if labels[k] == -1:
            for j in range(len(x)):
                if labels[j] == -1 and all(abs(x[j] - x[k]) <= tol):
                    labels[j] = len(leaders)
            leaders.append(k)
    return leaders, labels


@given(
    st.lists(st.tuples(*3 * [st.integers(0, 12)]), max_size=40),
    st.integers(0, 4),
)
def test_clusters_are_those_of_a_naive_loop(points, tol):
    """On whole numbers, where distances are exact and many are equal to the tolerance."""
    data = np.array(points, dtype=float).reshape(-1, 3)
    leaders, labels = many_starts._cluster(data[:, :2], data[:, 2], float(tol))
    expected_leaders, expected = naive_clusters(data[:, :2], data[:, 2], tol)
    assert_array_equal(leaders, expected_leaders)
    assert_array_equal(labels, expected)


def test_tolerance_is_in_widths_of_the_bounds():
    """The outer minima of the three-hump camel are 0.17476 and 0.08738 widths from the inner."""
    function = objectives.three_hump_camel
    assert function.bounds == [(-5.0, 5.0), (-5.0, 5.0)]
    wide = [(-5.0, 5.0), (-1.0, 1.0)]  # 0.4369 widths along the second variable
    for bounds, tol, count in (
        (function.bounds, 0.174, 3),
        (function.bounds, 0.176, 1),
        (wide, 0.436, 3),
        (wide, 0.438, 1),
        (function.bounds, 0.0, 64),
    ):
        result = multistart(function, bounds, 64, rng=1, cluster_tol=tol)
        assert len(result.minima) == count, (bounds, tol)
        assert result.hits.sum() == 64


# Runs that do not end well -----------------------------------------------------------------------


def test_failed_runs_are_counted_and_belong_to_nothing():
    def hole(x):
        if x[0] < -0.5:
            return np.nan, np.array([np.nan])
        return (x[0] - 0.25) ** 2, 2.0 * (x - 0.25)

    result = multistart(hole, [(-1.0, 1.0)], 40, jac=True, rng=1)
    failed = result.starts[:, 0] < -0.5
    assert 0 < failed.sum() < 40
    assert_array_equal(result.labels, np.where(failed, -1, 0))
    assert result.hits.tolist() == [40 - failed.sum()]
    assert result.success and result.message == "1 minimum from 40 starts."
    text = repr(result)
    assert f"{failed.sum()} runs did not end well\n  status  8: {failed.sum():7d}  The" in text


def test_objective_that_raises_somewhere():
    def fun(x):
        if x[0] < 0:
            raise ZeroDivisionError("left")
        return (x[0] - 0.25) ** 2, 2.0 * (x - 0.25)

    result = multistart(fun, [(-1.0, 1.0)], 16, jac=True, rng=1)
    assert_array_equal(result.labels, np.where(result.starts[:, 0] < 0, -1, 0))
    assert_allclose(result.x, 0.25)
    with pytest.raises(ZeroDivisionError, match="left"):
        multistart(fun, [(-1.0, -0.5)], 16, jac=True, rng=1)


def test_no_run_ends_well():
    result = multistart(objectives.rosenbrock, [(-2.0, 2.0)] * 2, 16, rng=1, maxiter=3)
    k = result.runs.fun.argmin()
    assert not result.success and result.status == 1 and result.index == k
    assert result.fun == result.runs.fun[k]
    assert_array_equal(result.x, result.runs.x[k])
    assert result.minima.shape == (0, 2) and result.minima_fun.shape == result.hits.shape == (0,)
    assert result.hits.dtype.kind == result.labels.dtype.kind == "i"
    assert_array_equal(result.labels, -1)
    limit = "Maximum number of iterations (maxiter) has been exceeded."
    assert result.message == f"0 minima from 16 starts. No run ended well: {limit}"
    assert repr(result) == (
        "0 minima from 16 starts\n"
        f"16 runs did not end well, one of them with the best value, {result.fun:.6g}\n"
        f"  status  1:      16  {limit}"
    )


def test_no_value_at_all():
    result = multistart(lambda x: np.nan, [(0.0, 1.0)], 2, rng=1)
    assert not result.success and np.isnan(result.fun) and result.status == 8
    assert_array_equal(result.x, result.starts[0])


@rmsfast.Objective
def bowl_and_cone(x, g):
    """A bowl of minimum 1 on the left, and on the right a cone of minimum -1, where no run ends
    well: its gradient has length 2 everywhere."""
    if x[0] < 0.0:
        g[0] = 2.0 * (x[0] + 0.5)
        g[1] = 2.0 * x[1]
        return 1.0 + (x[0] + 0.5) ** 2 + x[1] ** 2
    r = np.sqrt((x[0] - 0.5) ** 2 + x[1] ** 2)
    g[0] = 2.0 * (x[0] - 0.5) / r if r > 0.0 else 2.0
    g[1] = 2.0 * x[1] / r if r > 0.0 else 0.0
    return 2.0 * r - 1.0


def test_best_point_of_a_run_that_did_not_end_well():
    result = multistart(bowl_and_cone, PAIR, 64, rng=1)
    assert not result.success and result.status in (2, 9)
    assert_allclose(result.x, [0.5, 0.0], atol=1e-4)
    assert_allclose(result.fun, -1.0, atol=1e-4)
    assert_allclose(result.minima, [[-0.5, 0.0]], atol=1e-5)
    assert result.fun == result.runs.fun.min() and result.labels[result.index] == -1
    assert result.message.startswith(
        "1 minimum from 64 starts. The best value is that of a run that did not end well: "
    )
    failed = (result.labels < 0).sum()
    said = f"{failed} runs did not end well, one of them with the best value, {result.fun:.6g}\n"
    assert said in repr(result)


def test_failed_run_at_the_best_minimum_is_no_news():
    """It may be lower by a rounding error."""
    calls = []

    def fun(x):
        calls.append(x)
        if x[0] == 0.25:  # given as a start: the gradient is wrong there
            return 0.0, np.array([1.0])
        return (x[0] - 0.25) ** 2 + 1e-12, 2.0 * (x - 0.25)

    result = multistart(fun, [(-1.0, 1.0)], jac=True, x0s=[[0.25], [0.9], [-0.3]])
    assert result.runs.success.tolist() == [False, True, True]
    assert result.runs.fun[0] < result.runs.fun[1:].min()
    assert result.success and result.index > 0
    assert result.fun == result.minima_fun[0]


# What is said ------------------------------------------------------------------------------------


def test_repr_is_a_table():
    result = multistart(objectives.rastrigin, objectives.rastrigin.bounds, 1000, rng=1)
    lines = repr(result).splitlines()
    assert lines[0] == f"{len(result.minima)} minima from 1000 starts"
    assert lines[1].split() == ["rank", "fun", "hits", "x"]
    assert lines[2] == f"    1 {result.fun:13.6g} {result.hits[0]:7d}  [0 0]"
    assert lines[3].split()[:3] == ["2", "0.994959", str(result.hits[1])]
    rest = result.hits[10:]
    assert lines[12:] == [f"  and {rest.size} more, with {rest.sum()} hits"]
    assert max(map(len, lines)) < 80

    many = objectives.sphere.of_size(20)
    lines = repr(multistart(many, 20 * [(-1.0, 2.0)], 1, rng=1)).splitlines()
    assert lines[0] == "1 minimum from 1 start"
    assert lines[2].endswith("[0 0 0 0 0 0 ...]")


def test_pickle():
    result = multistart(objectives.himmelblau, objectives.himmelblau.bounds, 20, rng=1)
    copy = pickle.loads(pickle.dumps(result))
    same(copy, result)
    assert type(copy) is rmsfast.MultistartResult and repr(copy) == repr(result)


BAD_STARTS = [
    ((None, 4), {}, TypeError, "bounds must be a Bounds or a sequence of (lower, upper) pairs, "),
    ((3, 4), {}, TypeError, "bounds must be a Bounds or a sequence of (lower, upper) pairs, "),
    (([1, 2], 4), {}, TypeError, "bounds must be a Bounds or a sequence of (lower, upper) pairs, "),
    (([], 4), {}, ValueError, "bounds must have at least one variable"),
    (
        ([(0, 1), (None, 2)], 4),
        {},
        ValueError,
        "bounds[1] must be finite, and so must be their distance, got -inf and 2.0",
    ),
    (
        ([(0, 1), (0, 1), (0, np.inf)], 4),
        {},
        ValueError,
        "bounds[2] must be finite, and so must be their distance, got 0.0 and inf",
    ),
    (
        (Bounds([-1e308, 0], [1e308, 1]), 4),
        {},
        ValueError,
        "bounds[0] must be finite, and so must be their distance, got -1e+308 and 1e+308",
    ),
    (
        ([(0, 1), (2, 1)], 4),
        {},
        ValueError,
        "bounds[1]: the lower bound must not exceed the upper, got 2.0 and 1.0",
    ),
    ((PAIR, 0), {}, ValueError, "n must be in [1, inf), got 0"),
    ((PAIR, 2.5), {}, ValueError, "n must be a whole number, got 2.5"),
    ((PAIR, "4"), {}, TypeError, "n must be a real number, got '4'"),
    (
        (PAIR, 4),
        {"method": "halton"},
        ValueError,
        "method must be 'sobol', 'lhs' or 'uniform', got 'halton'",
    ),
    ((PAIR, 4), {"method": 1}, ValueError, "method must be 'sobol', 'lhs' or 'uniform', got 1"),
    (
        (PAIR, 4),
        {"rng": "x"},
        TypeError,
        "rng must be None, an int of at least 0 or a numpy Generator, got 'x'",
    ),
    (
        (PAIR, 4),
        {"rng": -1},
        ValueError,
        "rng must be None, an int of at least 0 or a numpy Generator, got -1",
    ),
    (
        (30000 * [(0, 1)], 1),
        {},
        ValueError,
        "method='sobol' has at most 21201 variables, got 30000: use 'lhs'",
    ),
]


@pytest.mark.parametrize(("arguments", "options", "kind", "text"), BAD_STARTS)
def test_bad_starts(arguments, options, kind, text):
    with pytest.raises(kind) as caught:
        starts(*arguments, **options)
    assert str(caught.value).startswith(text)
    assert str(caught.value) == text or text.endswith(" ")


NAN = float("nan")
BAD_INPUT = [
    ({}, ValueError, "n_starts must be given, or x0s"),
    ({"n_starts": 0}, ValueError, "n_starts must be in [1, inf), got 0"),
    ({"n_starts": 1.5}, ValueError, "n_starts must be a whole number, got 1.5"),
    (
        {"n_starts": 4, "bounds": [(0, 1), (0, None)]},
        ValueError,
        "bounds[1] must be finite, and so must be their distance, got 0.0 and inf",
    ),
    (
        {"n_starts": 4, "method": "random"},
        ValueError,
        "method must be 'sobol', 'lhs' or 'uniform', got 'random'",
    ),
    ({"n_starts": 4, "cluster_tol": -1}, ValueError, "cluster_tol must be in [0, inf), got -1"),
    ({"n_starts": 4, "cluster_tol": NAN}, ValueError, "cluster_tol must be in [0, inf), got nan"),
    ({"n_starts": 4, "cluster_tol": "1"}, TypeError, "cluster_tol must be a real number, got '1'"),
    ({"n_starts": 4, "progress": 1}, TypeError, "progress must be True or False, got 1"),
    (
        {"n_starts": 4, "args": (rmsfast.PerProblem(np.ones(4)),)},
        TypeError,
        "args must be the same for all starts, got a PerProblem",
    ),
    (
        {"n_starts": 4, "args": rmsfast.PerProblem(np.ones(4))},
        TypeError,
        "args must be the same for all starts, got a PerProblem",
    ),
    *(
        (
            {"x0s": np.zeros((3, 2)), name: value},
            ValueError,
            f"{name} is for starts that are drawn: give it or x0s, not both",
        )
        for name, value in (("n_starts", 3), ("method", "lhs"), ("rng", 0))
    ),
    ({"x0s": np.zeros(2)}, ValueError, "x0s must have shape (n_starts, d), got shape (2,)"),
    ({"x0s": np.zeros((0, 2))}, ValueError, "x0s must have shape (n_starts, d), got shape (0, 2)"),
    ({"x0s": np.zeros((4, 3))}, ValueError, "bounds must have length 3, got 2 pairs"),
    (
        {"x0s": [[0.0, 0.0], [0.0, 1.5]]},
        ValueError,
        "x0s[1, 1] must be in its bounds [-1.0, 1.0], got 1.5",
    ),
    ({"x0s": [[0.0, NAN]]}, ValueError, "x0s must be finite, got x0s[0, 1] = nan"),
    ({"n_starts": 4, "disp": True}, TypeError, "disp is for a single run, got disp=True"),
    ({"n_starts": 4, "gtol": -1}, ValueError, "gtol must be in [0, inf), got -1"),
]


@pytest.mark.parametrize(("arguments", "kind", "text"), BAD_INPUT)
def test_bad_input(arguments, kind, text):
    with pytest.raises(kind) as caught:
        multistart(objectives.himmelblau, **{"bounds": PAIR, **arguments})
    assert str(caught.value) == text


# Pictures ----------------------------------------------------------------------------------------


def drawn(ax):
    """The collections of a picture by their label."""
    ax.figure.canvas.draw()
    return {each.get_label(): each for each in ax.collections}


def test_picture_of_basins(pyplot):
    result = multistart(objectives.himmelblau, objectives.himmelblau.bounds, 128, rng=1)
    ax = result.plot()
    parts = drawn(ax)
    assert set(parts) >= {"starts", "minima"} and "not ended well" not in parts
    assert_array_equal(parts["starts"].get_offsets(), result.starts)
    colors = parts["starts"].get_facecolors()
    assert len(np.unique(colors, axis=0)) == 4
    for rank in range(4):  # one colour each
        assert len(np.unique(colors[result.labels == rank], axis=0)) == 1
    assert_array_equal(parts["minima"].get_offsets(), result.minima)
    assert [text.get_text() for text in ax.texts] == ["1", "2", "3", "4"]
    assert_array_equal([text.xy for text in ax.texts], result.minima)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x[0]", "x[1]")


def test_picture_is_not_blank(pyplot):
    """In the pixels at the starts there are the colours of their minima."""
    result = multistart(objectives.himmelblau, objectives.himmelblau.bounds, 128, rng=1)
    ax = result.plot()
    colors = drawn(ax)["starts"].get_facecolors()
    pixels = np.asarray(ax.figure.canvas.buffer_rgba())[::-1]
    assert len(np.unique(pixels.reshape(-1, 4), axis=0)) > 10
    places = ax.transData.transform(result.starts).astype(int)
    away = abs(result.starts[:, None] - result.minima).max(axis=2).min(axis=1) > 0.5
    found = pixels[places[away, 1], places[away, 0]] / 255.0
    right = abs(found - colors[away]).max(axis=1) < 0.01
    assert right.mean() > 0.95  # some dots cover others


def test_picture_of_many_minima_and_failed_runs(pyplot):
    function = objectives.rastrigin
    result = multistart(function, function.bounds, 400, rng=1, maxiter=5)
    count, failed = len(result.minima), result.labels < 0
    assert count > many_starts.MARKS and failed.any()
    figure, ax = pyplot.subplots()
    assert result.plot(ax) is ax
    assert pyplot.get_fignums() == [figure.number]
    parts = drawn(ax)
    assert len(np.unique(parts["starts"].get_facecolors(), axis=0)) == count
    assert_array_equal(parts["starts"].get_offsets(), result.starts[~failed])
    assert_array_equal(parts["not ended well"].get_offsets(), result.starts[failed])
    assert_array_equal(parts["minima"].get_offsets(), result.minima[: many_starts.MARKS])
    assert [text.get_text() for text in ax.texts] == [str(k + 1) for k in range(many_starts.MARKS)]
    (others,) = (each for label, each in parts.items() if label.startswith("_"))
    assert_array_equal(others.get_offsets(), result.minima[many_starts.MARKS :])


def test_picture_of_a_best_value_without_a_minimum(pyplot):
    result = multistart(bowl_and_cone, PAIR, 64, rng=1)
    assert_array_equal(drawn(result.plot())["best value"].get_offsets(), [result.x])


@pytest.mark.parametrize("name", ["rastrigin 1", "styblinski_tang 3"])
def test_picture_of_values(pyplot, name):
    function = problem(name)
    result = multistart(function, function.bounds, 200, rng=1)
    ax = result.plot()
    (points,) = ax.collections
    count = len(result.minima)
    assert_array_equal(
        points.get_offsets(), np.column_stack([np.arange(1, count + 1), result.minima_fun])
    )
    assert [int(text.get_text()) for text in ax.texts] == result.hits.tolist()
    assert_array_equal(np.argsort(points.get_sizes(), kind="stable")[-1], result.hits.argmax())
    ax.figure.canvas.draw()
    assert (np.asarray(ax.figure.canvas.buffer_rgba()) != 255).any()


def test_picture_without_minima(pyplot):
    for n in (2, 3):
        function = objectives.rosenbrock.of_size(n)
        result = multistart(function, n * [(-2.0, 2.0)], 16, rng=1, maxiter=2)
        ax = result.plot()
        ax.figure.canvas.draw()
        assert not ax.texts


def test_without_matplotlib(monkeypatch):
    result = multistart(objectives.himmelblau, objectives.himmelblau.bounds, 4, rng=1)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r'^plot needs matplotlib: pip install "\.\[plot\]"$'):
        result.plot()


def test_headless_and_only_when_asked(run_python):
    """Without a screen; and nothing imports matplotlib before a picture is asked for."""
    code = (
        "import sys, rmsfast\n"
        "from rmsfast.objectives import himmelblau\n"
        "result = rmsfast.multistart(himmelblau, himmelblau.bounds, 4, rng=1)\n"
        "repr(result)\n"
        "assert 'matplotlib' not in sys.modules\n"
        "print(len(result.plot().collections))\n"
    )
    screen = {"DISPLAY": "", "WAYLAND_DISPLAY": "", "MPLBACKEND": ""}
    assert int(run_python(code, **screen)) >= 2


# The example -------------------------------------------------------------------------------------

EXAMPLE = REPOSITORY / "examples" / "multistart.py"


def test_example(capsys, tmp_path, pyplot):
    example = runpy.run_path(str(EXAMPLE))
    example["main"](["--starts", "512"])
    printed = capsys.readouterr().out
    assert printed.startswith("6 minima from 512 starts\n rank ")
    assert "written" not in printed and not list(tmp_path.iterdir())

    path = tmp_path / "basins.png"
    example["main"](["--starts", "512", "--output", str(path)])
    assert f"written: {path}" in capsys.readouterr().out
    pixels = pyplot.imread(path)
    assert pixels.shape[1] == 800
    shades, counts = np.unique(pixels.reshape(-1, 4), axis=0, return_counts=True)
    colored = shades[counts > 200]
    assert len(colored[np.ptp(colored[:, :3], axis=1) > 0.1]) >= 6  # one per basin
