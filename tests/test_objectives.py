"""The classical functions against complex steps, published values, and SciPy.

Published values: J. J. Moré, B. S. Garbow and K. E. Hillstrom, ACM Transactions on
Mathematical Software 7 (1981), 17-41, but for the values of which a comment says otherwise.
"""

import math
import pickle
import subprocess
import sys
import types

import numpy as np
import pytest
from numpy.polynomial import Chebyshev
from numpy.testing import assert_allclose
from scipy.optimize import minimize, rosen, rosen_der

from rmsfast import objectives
from rmsfast.objective import Objective
from rmsfast.objectives import ALL, Minimum

each = pytest.mark.parametrize("fun", ALL, ids=lambda fun: fun.name)
SCALABLE = [fun for fun in ALL if len(fun.sizes) > 1]
SIZES = [fun.of_size(n) for fun in SCALABLE for n in {*fun.sizes[:3], fun.sizes[7]}]
each_size = pytest.mark.parametrize("fun", SIZES, ids=repr)


def points(fun, count=4):
    """The standard start and random points around it."""
    rng = np.random.default_rng(20240229)
    x0 = fun.x0
    return [x0, *(x0 + 0.1 * (1.0 + abs(x0)) * rng.standard_normal((count, x0.size)))]


def on_complex_numbers(function):
    """The source of a compiled function, and of those that it calls, with NumPy as `math`."""
    source = function.py_func

    def known(value):
        return on_complex_numbers(value) if hasattr(value, "py_func") else value

    names = source.__globals__ | {"math": np}
    names |= {name: known(names[name]) for name in source.__code__.co_names if name in names}
    cells = tuple(types.CellType(known(cell.cell_contents)) for cell in source.__closure__ or ())
    return types.FunctionType(source.__code__, names, closure=cells)


def complex_step(fun, x, step=1e-30):
    """The gradient of the value alone, from the function's own source run on complex numbers."""
    value = on_complex_numbers(fun.fun)
    gradient = np.empty(x.size)
    for i in range(x.size):
        z = x.astype(complex)
        z[i] += 1j * step
        gradient[i] = value(z, np.empty_like(z)).imag / step
    return gradient


def check_gradient(fun):
    for x in points(fun):
        expected = complex_step(fun, x)
        assert_allclose(fun(x)[1], expected, rtol=1e-12, atol=1e-12 * abs(expected).max())


@each
def test_gradient(fun):
    check_gradient(fun)


@each_size
def test_gradient_in_other_sizes(fun):
    check_gradient(fun)


@each
def test_whole_gradient_is_written_and_x_is_only_read(fun):
    x = fun.x0
    first, second = np.zeros_like(x), np.full_like(x, np.nan)
    assert fun.fun(x, first) == fun.fun(x, second)
    assert_allclose(first, second, rtol=0)
    assert_allclose(x, fun.x0, rtol=0)


@each
def test_float32(fun):
    x = points(fun)[1].astype(np.float32)
    f, g = fun(x)
    f64, g64 = fun(x.astype(np.float64))
    assert isinstance(f, float)
    assert g.dtype == np.float32
    assert_allclose(f, f64, rtol=1e-4)
    assert_allclose(g, g64, rtol=1e-3, atol=1e-4 * abs(g64).max())


# Starts, minima and boxes ------------------------------------------------------------------------


def check_minimum(fun):
    x, lowest = fun.minimum
    assert isinstance(fun.minimum, Minimum)
    if x is not None:
        f, g = fun(x)
        assert_allclose(f, lowest, rtol=1e-11, atol=1e-22)
        assert abs(g).max() <= 1e-12 * max(1.0, abs(fun(fun.x0)[1]).max())
        if fun.bounds is not None:
            low, high = np.transpose(fun.bounds)
            assert np.all((low <= x) & (x <= high))


@each
def test_minimum(fun):
    check_minimum(fun)
    assert math.isfinite(fun.minimum.fun)


@each_size
def test_minimum_in_other_sizes(fun):
    check_minimum(fun)


@each
@pytest.mark.parametrize("method", ["L-BFGS-B", "BFGS"])
def test_minimum_is_not_beaten(fun, method):
    box = fun.bounds if fun is objectives.mccormick and method == "L-BFGS-B" else None
    reached = minimize(fun, fun.x0, jac=True, method=method, bounds=box)
    tiny = 1e-11 * abs(fun.minimum.fun)  # meyer is rounded that much
    assert reached.fun >= fun.minimum.fun - tiny


@pytest.mark.parametrize("n, lowest", [(6, 2.28767e-3), (9, 1.39976e-6)])
def test_watson_minimum_is_reached(n, lowest):
    fun = objectives.watson.of_size(n)
    reached = minimize(
        fun, fun.x0, jac=True, method="BFGS", options={"gtol": 1e-9, "maxiter": 2000}
    )
    assert_allclose(reached.fun, lowest, rtol=5e-3)
    assert reached.fun >= fun.minimum.fun * (1.0 - 1e-6)


PUBLISHED_MINIMA = [  # name, n, digits as printed
    ("jennrich_sampson", 2, "124.362"),
    ("bard", 3, "8.21487e-3"),
    ("gaussian", 3, "1.12793e-8"),
    ("meyer", 3, "87.9458"),
    ("kowalik_osborne", 4, "3.07505e-4"),
    ("brown_dennis", 4, "85822.2"),
    ("osborne_1", 5, "5.46489e-5"),
    ("osborne_2", 11, "4.01377e-2"),
    ("watson", 6, "2.28767e-3"),
    ("watson", 9, "1.39976e-6"),
    ("watson", 12, "4.72238e-10"),
    ("penalty_1", 4, "2.24997e-5"),
    ("penalty_1", 10, "7.08765e-5"),
    ("penalty_2", 4, "9.37629e-6"),
    ("penalty_2", 10, "2.93660e-4"),
    ("chebyquad", 8, "3.51687e-3"),
    ("chebyquad", 7, "0.0"),
    ("chebyquad", 9, "0.0"),
    # Jamil and Yang (2013); Dixon and Szegö (1978)
    ("branin", 2, "0.397887"),
    ("six_hump_camel", 2, "-1.0316"),
    ("mccormick", 2, "-1.9132"),
    ("styblinski_tang", 2, "-78.332"),
    ("trid", 6, "-50.0"),
    ("trid", 10, "-210.0"),
    ("goldstein_price", 2, "3.0"),
]


@pytest.mark.parametrize("name, n, printed", PUBLISHED_MINIMA)
def test_published_minimum(name, n, printed):
    fun = getattr(objectives, name)
    digits, _, exponent = printed.partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(digits.partition(".")[2]))
    assert abs(fun.of_size(n).minimum.fun - float(printed)) <= unit  # rounded or cut off


@pytest.mark.parametrize(
    "name, n, value",
    [
        ("freudenstein_roth", 2, 48.9842),
        ("biggs_exp6", 6, 5.65565e-3),
        ("trigonometric", 10, 2.79506e-5),
        ("chebyquad", 10, 6.50395e-3),
    ],
)
def test_published_local_minimum(name, n, value):
    fun = getattr(objectives, name).of_size(n)
    reached = minimize(fun, fun.x0, jac=True, method="BFGS", options={"gtol": 1e-8})
    assert_allclose(reached.fun, value, rtol=3e-6)
    assert reached.fun > fun.minimum.fun


@pytest.mark.parametrize(
    "name, value",  # worked out by hand from the formula and the start
    [
        ("rosenbrock", 24.2),
        ("freudenstein_roth", 400.5),
        ("powell_badly_scaled", 1.0 + (math.exp(-1.0) - 1e-4) ** 2),
        ("beale", 14.203125),
        ("helical_valley", 2500.0),
        ("powell_singular", 215.0),
        ("wood", 19192.0),
        ("watson", 30.0),
        ("extended_rosenbrock", 121.0),
        ("linear_full_rank", 50.0),
        ("himmelblau", 170.0),
        ("booth", 74.0),
    ],
)
def test_value_at_start(name, value):
    fun = getattr(objectives, name)
    assert_allclose(fun(fun.x0)[0], value, rtol=1e-14)


@pytest.mark.parametrize("n", [2, 3, 10, 20])
@pytest.mark.parametrize("name", ["styblinski_tang", "rastrigin", "ackley", "griewank", "levy"])
def test_multimodal_starts_in_the_basin_of_the_minimum(name, n):
    fun = getattr(objectives, name).of_size(n)
    reached = minimize(fun, fun.x0, jac=True, method="L-BFGS-B")
    assert_allclose(reached.fun, fun.minimum.fun, rtol=1e-9, atol=1e-8)


@each
def test_start_lies_in_the_box(fun):
    if fun.bounds is not None:
        low, high = np.transpose(fun.bounds)
        assert low.shape == fun.x0.shape
        assert np.all((low <= fun.x0) & (fun.x0 <= high))


@pytest.mark.parametrize("n", [2, 3, 10, 101])
def test_rosenbrock_is_that_of_scipy(n):
    fun = objectives.rosenbrock.of_size(n)
    for x in points(fun):
        f, g = fun(x)
        assert_allclose(f, rosen(x), rtol=1e-13)
        assert_allclose(g, rosen_der(x), rtol=1e-12, atol=1e-12 * abs(g).max())


# Formulas rearranged for speed, against the residuals as the paper prints them -------------------


def i_of(x):
    return np.arange(1.0, x.size + 1.0)


def trigonometric(x):
    return x.size - np.cos(x).sum() + i_of(x) * (1.0 - np.cos(x)) - np.sin(x)


def brown_almost_linear(x):
    return np.append(x[:-1] + x.sum() - (x.size + 1), x.prod() - 1.0)


def discrete_boundary_value(x):
    h = 1.0 / (x.size + 1)
    padded = np.pad(x, 1)
    return 2 * x - padded[:-2] - padded[2:] + h**2 * (x + i_of(x) * h + 1) ** 3 / 2


def discrete_integral_equation(x):
    h = 1.0 / (x.size + 1)
    t = i_of(x) * h
    kernel = np.where(t[:, None] >= t, (1 - t[:, None]) * t, t[:, None] * (1 - t))
    return x + h / 2 * kernel @ (x + t + 1) ** 3


def broyden_tridiagonal(x):
    padded = np.pad(x, 1)
    return (3 - 2 * x) * x - padded[:-2] - 2 * padded[2:] + 1


def broyden_banded(x):
    i = np.arange(x.size)
    band = (i - i[:, None] <= 1) & (i - i[:, None] >= -5) & (i != i[:, None])
    return x * (2 + 5 * x**2) + 1 - band @ (x * (1 + x))


def linear_full_rank(x):
    m = 2 * x.size
    return np.pad(x, (0, x.size)) - 2 / m * x.sum() - 1


def linear_rank_1(x):
    return np.arange(1, 2 * x.size + 1) * (i_of(x) @ x) - 1


def linear_rank_1_zeros(x):
    i = np.arange(1, 2 * x.size + 1)
    rows = np.where((i == 1) | (i == i[-1]), 0, i - 1)
    return rows * (i_of(x)[1:-1] @ x[1:-1]) - 1


def chebyquad(x):
    shifted = [Chebyshev.basis(i, domain=[0, 1]) for i in range(1, x.size + 1)]
    return np.array([T(x).mean() - (T.integ()(1.0) - T.integ()(0.0)) for T in shifted])


def penalty_1(x):
    return np.append(np.sqrt(1e-5) * (x - 1), x @ x - 0.25)


def penalty_2(x):
    i, e = i_of(x), np.exp(x / 10)
    y = np.exp(i / 10) + np.exp((i - 1) / 10)
    small = np.concatenate([e[1:] + e[:-1] - y[1:], e[1:] - np.exp(-0.1)])
    ends = [x[0] - 0.2, (x.size - i + 1) @ x**2 - 1]
    return np.concatenate([ends, np.sqrt(1e-5) * small])


def variably_dimensioned(x):
    s = i_of(x) @ (x - 1)
    return np.concatenate([x - 1, [s, s**2]])


def watson(x):
    t = np.arange(1, 30) / 29.0
    p = np.polynomial.Polynomial(x)
    return np.append(p.deriv()(t) - p(t) ** 2 - 1, [x[0], x[1] - x[0] ** 2 - 1])


def helical_valley(x):
    theta = np.arctan(x[1] / x[0]) / (2 * np.pi) + (0.5 if x[0] < 0 else 0.0)
    return np.array([10 * (x[2] - 10 * theta), 10 * (np.hypot(x[0], x[1]) - 1), x[2]])


def gulf(x):
    t = np.arange(1, 100) / 100.0
    y = 25 + (-50 * np.log(t)) ** (2 / 3)
    return np.exp(-(abs(y - x[1]) ** x[2]) / x[0]) - t


RESIDUALS = [
    *(trigonometric, brown_almost_linear, discrete_boundary_value, discrete_integral_equation),
    *(broyden_tridiagonal, broyden_banded, linear_full_rank, linear_rank_1, linear_rank_1_zeros),
    *(chebyquad, penalty_1, penalty_2, variably_dimensioned, watson, helical_valley, gulf),
]


@pytest.mark.parametrize("residuals", RESIDUALS, ids=lambda residuals: residuals.__name__)
def test_sum_of_squares_as_printed(residuals):
    fun = getattr(objectives, residuals.__name__)
    for x in points(fun, count=8):
        assert_allclose(fun(x)[0], residuals(x) @ residuals(x), rtol=1e-11)


def test_helical_valley_is_undefined_only_at_the_jump():
    x = np.array([0.0, -1.0, 0.0])
    assert math.isnan(objectives.helical_valley(x)[0])
    assert_allclose(objectives.helical_valley(-x)[0], 625.0)


def test_ackley_has_no_gradient_at_its_minimum_and_says_zero():
    assert objectives.ackley(np.zeros(3))[1].tolist() == [0.0, 0.0, 0.0]


# The collection ----------------------------------------------------------------------------------


def test_all_is_everything():
    public = [value for value in vars(objectives).values() if isinstance(value, Objective)]
    assert sorted(ALL, key=repr) == sorted(public, key=repr)
    assert all(getattr(objectives, fun.name) is fun for fun in ALL)
    assert len(ALL) >= 36


@each
def test_documentation(fun):
    text = fun.__doc__
    assert "f = " in text
    assert "Start" in text and "inimum" in text
    assert "References\n" in text


@each
def test_compiles_for_every_device(fun):
    """CUDA knows the functions of `math`, not NumPy's, and cannot allocate."""
    assert not {"np", "min", "max"} & set(fun.fun.py_func.__code__.co_names)


@each
def test_facts_cannot_be_corrupted(fun):
    fun.x0[:] = np.nan
    assert np.all(np.isfinite(fun.x0))
    if fun.minimum.x is not None:
        fun.minimum.x[:] = np.nan
        assert np.all(np.isfinite(fun.minimum.x))
    if fun.bounds is not None:
        fun.bounds.clear()
        assert len(fun.bounds) == fun.n


@each_size
def test_of_size(fun):
    assert fun.fun is getattr(objectives, fun.name).fun
    assert fun.x0.shape == (fun.n,)
    assert fun.x0.dtype == np.float64


@pytest.mark.parametrize(
    "name, n, message",
    [
        ("rosenbrock", 1, "rosenbrock has no n=1: allowed sizes are 2, 3, 4, ...$"),
        ("powell_singular", 6, "powell_singular has no n=6: allowed sizes are 4, 8, 12, ...$"),
        ("watson", 32, "watson has no n=32: allowed sizes are 2, 3, 4, ..., 31$"),
        ("beale", 3, "beale has no n=3: allowed sizes are 2$"),
    ],
)
def test_other_sizes_are_refused(name, n, message):
    with pytest.raises(ValueError, match=message):
        getattr(objectives, name).of_size(n)


def test_pickle():
    fun = pickle.loads(pickle.dumps(objectives.trid.of_size(9)))
    assert (fun.name, fun.n) == ("trid", 9)
    assert repr(fun) == "<trid, n=9>"


def test_unknown_minimum_is_nan():
    assert objectives.penalty_1.of_size(7).minimum == (None, pytest.approx(math.nan, nan_ok=True))


def test_import_compiles_nothing():
    code = "from rmsfast.objectives import ALL\nassert not any(fun.fun.overloads for fun in ALL)\n"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
