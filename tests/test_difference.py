"""Gradients by differences: their accuracy, the points they look at, and how often they look."""

import math

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import types
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import approx_fprime
from scipy.optimize._numdiff import approx_derivative

import rmsfast
from rmsfast.core.difference import BLOCKS, GRADIENTS
from rmsfast.core.jit import specialise
from rmsfast.threads import threads

EPS = np.finfo(float).eps
SCHEMES = list(GRADIENTS)
each_scheme = pytest.mark.parametrize("scheme", SCHEMES)


def unbounded(x):
    return np.full_like(x, -np.inf), np.full_like(x, np.inf)


def difference(scheme, fun, x, lower=None, upper=None, args=()):
    """Value and gradient by `scheme`, as Python, and the points looked at."""
    if lower is None:
        lower, upper = unbounded(x)
    seen = []

    def recorded(z, *args):
        seen.append(z.copy())
        return fun(z, *args)

    g = np.full_like(x, np.nan)
    f = GRADIENTS[scheme][0](x, g, lower, upper, recorded, args)
    return f, g, seen


# Functions, analytic gradients (of numpy functions that take complex numbers) ------------------

SMOOTH = {
    "exponential": (lambda x: np.exp(x).sum(), np.exp),
    "sine": (lambda x: np.sin(x).prod(), lambda x: np.sin(x).prod() / np.tan(x)),
    "quartic": (lambda x: (x**4).sum(), lambda x: 4 * x**3),
    "rational": (lambda x: 1 / (1 + (x * x).sum()), lambda x: -2 * x / (1 + (x * x).sum()) ** 2),
}
POINTS = [
    np.array([0.7, -1.3, 2.1]),
    np.array([1e-8, 0.5, -1e-3]),
    np.linspace(-2.05, 2.0, 2 * BLOCKS + 7) / BLOCKS + 0.8,
]
# of the largest component: truncation and rounding are both this large at the chosen steps
ACCURACY = {"2-point": EPS ** (1 / 2), "3-point": EPS ** (2 / 3), "cs": EPS}


@each_scheme
@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("x", POINTS, ids=["moderate", "small", "many"])
def test_accuracy(scheme, name, x):
    fun, gradient = SMOOTH[name]
    before = x.copy()
    f, g, _ = difference(scheme, fun, x)
    scale = abs(gradient(x)).max() + abs(fun(x))
    assert_allclose(g, gradient(x), rtol=0, atol=50 * ACCURACY[scheme] * scale)
    assert f == pytest.approx(fun(x), rel=4 * EPS)
    assert_array_equal(x, before)


@pytest.mark.parametrize("order, scheme", [(1, "2-point"), (2, "3-point")])
def test_polynomials_that_a_scheme_takes_exactly(order, scheme):
    """Up to rounding: lines, and parabolas."""
    x = np.array([0.25, -3.0, 1000.0])
    _, g, _ = difference(scheme, lambda z: (z**order).sum(), x)
    step = EPS ** (1 / 2) if order == 1 else EPS ** (1 / 3)
    assert_allclose(g, order * x ** (order - 1), rtol=0, atol=8 * EPS * (x**order).sum() / step)


@pytest.mark.parametrize("scheme", ["2-point", "3-point"])
@pytest.mark.parametrize("magnitude", [1e-6, 1.0, 1e6])
def test_step_grows_with_x(scheme, magnitude):
    """The relative step is that of the book, of at least one."""
    x = magnitude * np.array([1.0, -2.0])
    _, _, seen = difference(scheme, lambda z: 0.0, x)
    relative = EPS ** (1 / 2) if scheme == "2-point" else EPS ** (1 / 3)
    steps = [abs(z - x).max() for z in seen[1:]]
    per_coordinate = 1 if scheme == "2-point" else 2
    expected = np.repeat(relative * np.maximum(1.0, abs(x)), per_coordinate)
    assert_allclose(steps, expected, rtol=1e-4)


@each_scheme
@pytest.mark.parametrize("name", SMOOTH)
def test_scipy(scheme, name):
    fun, _ = SMOOTH[name]
    x = POINTS[0]
    _, g, _ = difference(scheme, fun, x)
    expected = approx_derivative(fun, x, method=scheme)
    assert_allclose(g, expected, rtol=0, atol=50 * ACCURACY[scheme] * abs(expected).max())
    if scheme == "2-point":
        assert_allclose(g, approx_fprime(x, fun), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("scheme", ["2-point", "3-point"])
def test_float32_uses_steps_of_its_own(scheme):
    x = np.array([0.7, -1.3], dtype=np.float32)
    f, g, seen = difference(scheme, lambda z: np.float32((z**3).sum()), x)
    assert {z.dtype for z in seen} == {np.dtype(np.float32)}
    accuracy = np.finfo(np.float32).eps ** (1 / 2 if scheme == "2-point" else 2 / 3)
    assert_allclose(g, 3 * x**2, atol=20 * accuracy)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@each_scheme
def test_nonfinite_values_show(scheme, value):
    f, g, _ = difference(
        scheme, lambda z: complex(value, 0.0) if scheme == "cs" else value, POINTS[0]
    )
    assert not math.isfinite(f)
    assert scheme == "cs" or not np.isfinite(g).any()


@pytest.mark.parametrize("value", [math.nan, math.inf, np.inf, np.float64("inf")], ids=repr)
@pytest.mark.parametrize("scheme", ["2-point", "3-point"])
def test_walls_are_met_without_warning(scheme, value):
    """The solver steps back from a region without finite values."""

    def fun(x):
        return value if x.max() > 0.05 else ((x - 1.0) ** 2).sum() + np.exp(x).sum()

    x0 = np.array([0.0, -0.03])
    result = rmsfast.rmsprop(fun, x0, finite_diff=scheme, maxfun=400)
    assert math.isfinite(result.fun)
    assert result.fun < fun(x0)


# Bounds ------------------------------------------------------------------------------------------

TINY = 1e-12
BOXES = [  # lower, x, upper
    (-1.0, 0.3, 1.0),
    (0.3, 0.3, 1.0),  # at a bound
    (-1.0, 0.3, 0.3),
    (0.3 - TINY, 0.3, 1.0),  # next to one
    (-1.0, 0.3, 0.3 + TINY),
    (0.3 - TINY, 0.3, 0.3 + TINY),  # narrower than the step
    (0.3, 0.3, 0.3 + TINY),
    (0.3 - TINY, 0.3, 0.3),
    (0.3 - 3 * TINY, 0.3, 0.3 + TINY),
    (0.3, 0.3, 0.3),  # fixed
    (-np.inf, 0.3, 0.3),
    (0.3, 0.3, np.inf),
    (0.0, 0.0, 1e-300),  # widths near the smallest number
    (-5e-324, 0.0, 0.0),
    (0.0, 0.0, 0.0),
    (1e6, 1e6, 1e6 * (1 + EPS)),  # the next number
    (-1e6 * (1 + EPS), -1e6, -1e6),
    (-1.0, -0.0, 0.0),
    (-1e300, -1e300, 1e300),
    (1e308, 1.7e308, 1.7e308),
]
each_box = pytest.mark.parametrize("low, x, high", BOXES)


def check_within(seen, lower, upper):
    for z in seen:
        assert np.all((lower <= z.real) & (z.real <= upper)), (z, lower, upper)


@each_scheme
@each_box
def test_bounds_are_kept(scheme, low, x, high):
    """Beside a coordinate without bounds, whose derivative must come out right."""
    lower, x, upper = (np.array([b, c]) for b, c in [(low, -9.0), (x, 0.25), (high, 9.0)])
    _, g, seen = difference(scheme, lambda z: 2.0 * z[1] + 0.0 * z[0], x, lower, upper)
    check_within(seen, lower, upper)
    assert g[1] == pytest.approx(2.0, rel=1e-6)
    if low == high:
        assert g[0] == 0.0
    else:
        assert np.isfinite(g[0])


@each_scheme
@pytest.mark.parametrize("box", BOXES[:5])
def test_accuracy_at_bounds(scheme, box):
    low, x, high = (np.array([v]) for v in box)
    _, g, _ = difference(scheme, lambda z: np.exp(z).sum(), x, low, high)
    # turned round at a bound, a three-point difference keeps its order; next to one its
    # step shrinks to half the longer side
    assert_allclose(g, np.exp(x), rtol=0, atol=50 * ACCURACY[scheme])


@pytest.mark.parametrize("scheme", ["2-point", "3-point"])
@pytest.mark.parametrize("width", [1e-6, 1e-8, 1e-10])
def test_narrow_boxes_are_as_exact_as_rounding_allows(scheme, width):
    x = np.array([0.3])
    _, g, _ = difference(scheme, lambda z: z.sum(), x, x - width, x + width)
    assert_allclose(g, 1.0, rtol=0, atol=4 * EPS / width)


def numbers(low=-1e3, high=1e3):
    return st.floats(low, high, allow_nan=False)


@given(st.lists(st.tuples(numbers(), numbers(), numbers()), min_size=1, max_size=4))
def test_any_box_is_kept(triples):
    lower, x, upper = np.sort(np.array(triples), axis=1).T.copy()
    for scheme in SCHEMES:
        _, g, seen = difference(scheme, lambda z: (z * z).sum(), x, lower, upper)
        check_within(seen, lower, upper)
        assert np.all(g[lower == upper] == 0.0)
        assert np.isfinite(g).all()


@given(numbers(), st.integers(1, 40), st.integers(0, 40))
def test_box_of_a_few_numbers_is_kept(low, width, inside):
    """The bounds are `width` floating-point numbers apart, x somewhere between."""
    grid = [low]
    for _ in range(width):
        grid.append(np.nextafter(grid[-1], np.inf))
    x = grid[min(inside, width)]
    lower, x, upper = np.array([low]), np.array([x]), np.array([grid[-1]])
    for scheme in SCHEMES:
        _, g, seen = difference(scheme, lambda z: z.sum(), x, lower, upper)
        check_within(seen, lower, upper)
        assert np.isfinite(g).all()


@each_scheme
def test_minimization_never_leaves_the_box(scheme):
    lower, upper = np.array([-2.0, -2.0, 0.25]), np.array([0.5, 2.0, 0.25])
    seen = []

    def fun(x):
        seen.append(x.copy())
        return (100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2).sum()

    x0 = np.array([-1.2, 1.0, 0.25])
    pairs = np.column_stack([lower, upper])
    result = rmsfast.rmsprop(fun, x0, bounds=pairs, finite_diff=scheme, gtol=1e-3)
    assert result.success
    assert len(seen) == result.nfev
    check_within(seen, lower, upper)


# Compiled ----------------------------------------------------------------------------------------


@numba.njit(cache=True)
def chained(x, a):
    f = 0.0 * x[0]
    for i in range(x.size - 1):
        f += a * (x[i + 1] - x[i] * x[i]) * (x[i + 1] - x[i] * x[i]) + (1 - x[i]) * (1 - x[i])
    return f


def compiled(scheme, parallel):
    vector = types.float64[::1]
    point = types.complex128[::1] if scheme == "cs" else vector
    function = types.FunctionType(point.dtype(point, types.float64))
    args = types.Tuple((types.float64,))
    chained.compile((point, types.float64))
    signature = types.float64(vector, vector, vector, vector, function, args)
    return specialise(GRADIENTS[scheme][0], signature, parallel=parallel)


@each_scheme
@pytest.mark.parametrize("n", [2, 3, BLOCKS - 1, BLOCKS, BLOCKS + 1, 3 * BLOCKS + 5])
def test_compiled_and_parallel_and_python_are_one(scheme, n):
    rng = np.random.default_rng(n)
    x = rng.standard_normal(n)
    lower, upper = x - rng.choice([0.0, 1e-12, 1.0], n), x + rng.choice([0.0, 1e-12, 1.0], n)
    f, expected, _ = difference(scheme, chained, x, lower, upper, (100.0,))
    for parallel in (False, True):
        g = np.full_like(x, np.nan)
        assert compiled(scheme, parallel)(x, g, lower, upper, chained, (100.0,)) == f
        assert_array_equal(g, expected)


@each_scheme
def test_parallel_run_is_the_serial_run(scheme, monkeypatch):
    """A slow objective goes to all threads; its run is the same to the last bit."""
    x0 = np.linspace(-1.0, 1.0, 5)
    runs = {}
    for seconds in (0.0, np.inf):
        monkeypatch.setattr("rmsfast.minimize.PARALLEL_SECONDS", seconds)
        runs[seconds] = rmsfast.rmsprop(
            chained, x0, args=(10.0,), finite_diff=scheme, maxiter=30, gtol=0.0
        )
    for name in ("x", "x_last", "fun", "jac", "nit", "nfev", "status"):
        assert_array_equal(runs[0.0][name], runs[np.inf][name], err_msg=name)


PARALLEL = """
import sys
import numba, numpy as np, rmsfast
rmsfast.minimize.PARALLEL_SECONDS = float(sys.argv[1])

@numba.njit
def fun(x):
    return (x * x).sum()

for _ in range(2):  # the serial form is on disk by then
    rmsfast.rmsprop(fun, np.ones(4), maxiter=1)
try:
    numba.threading_layer()
    print("parallel")
except ValueError:  # no thread has been started
    print("serial")
"""


@pytest.mark.parametrize(("seconds", "expected"), [("inf", "serial"), ("0", "parallel")])
def test_slow_objectives_go_parallel(run_python, seconds, expected):
    assert run_python(PARALLEL, seconds).strip() == expected


def test_one_run_at_a_time_goes_parallel(monkeypatch):
    asked = []
    monkeypatch.setattr("rmsfast.minimize.PARALLEL_SECONDS", 0.0)
    monkeypatch.setattr("rmsfast.objective.Evaluator.in_parallel", lambda self: asked.append(self))
    with threads():
        result = rmsfast.rmsprop(chained, np.zeros(4), args=(1.0,), maxiter=1)
    assert result.nit == 1
    assert not asked


# Counts ------------------------------------------------------------------------------------------


@each_scheme
@pytest.mark.parametrize("n", [1, 2, BLOCKS, 2 * BLOCKS + 3])
def test_calls(scheme, n):
    x = np.linspace(0.5, 1.5, n)
    _, _, seen = difference(scheme, lambda z: z.sum(), x)
    assert len(seen) == 1 + GRADIENTS[scheme][1] * n
    assert_array_equal(seen[0], x)


@each_scheme
@pytest.mark.parametrize("fixed", [0, 1, 2, 3])
def test_calls_of_a_run_are_counted_as_made(scheme, fixed):
    """A fixed coordinate costs no call."""
    x0 = np.array([0.5, -0.5, 0.25])
    bounds = [(v, v) if i < fixed else (-2.0, None) for i, v in enumerate(x0)]
    calls = 0

    def fun(x):
        nonlocal calls
        calls += 1
        return ((x - 3.0) ** 2).sum()

    result = rmsfast.rmsprop(fun, x0, bounds=bounds, finite_diff=scheme)
    assert result.success
    assert result.nfev == calls
    assert result.nfev == result.njev * (1 + GRADIENTS[scheme][1] * (3 - fixed))
    assert_array_equal(result.x[:fixed], x0[:fixed])


@each_scheme
@pytest.mark.parametrize("maxfun", [1, 7, 20, 50])
def test_maxfun_counts_the_calls_for_differences(scheme, maxfun):
    result = rmsfast.rmsprop(
        chained, np.array([-1.2, 1.0]), args=(100.0,), finite_diff=scheme, maxfun=maxfun
    )
    per_evaluation = 1 + 2 * GRADIENTS[scheme][1]
    assert result.nfev <= max(maxfun, per_evaluation)
    assert result.nfev > maxfun - per_evaluation
    assert result.status == 4
