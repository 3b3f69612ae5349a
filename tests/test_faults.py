"""What goes wrong at the caller's: it is named, and nothing of the caller's is changed."""

import contextlib
import copy
import functools
import os
import signal
import subprocess
import sys
import time

import numba
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import Bounds, minimize, rosen, rosen_der

import rmsfast
from rmsfast import schedules
from rmsfast.core import status

X0 = (-1.2, 1.0)
run = functools.partial(minimize, method=rmsfast.rmsprop)
both_calls = pytest.mark.parametrize("call", [run, rmsfast.rmsprop], ids=["minimize", "direct"])
MODES = {"auto": {}, "no corrections": {"maxcor": 0}, "numeric": {"lr": 0.01, "maxiter": 1000}}
each_mode = pytest.mark.parametrize("options", MODES.values(), ids=MODES)


def spelled(thing):
    """`thing` as plain data that can be compared."""
    if isinstance(thing, np.ndarray):
        return thing.dtype.str, thing.shape, thing.tobytes()
    if isinstance(thing, Bounds):
        return spelled(thing.lb), spelled(thing.ub)
    if isinstance(thing, dict):
        return {key: spelled(value) for key, value in thing.items()}
    if isinstance(thing, (list, tuple)):
        return type(thing), [spelled(part) for part in thing]
    return repr(thing)


@contextlib.contextmanager
def unchanged(*things):
    before = spelled(copy.deepcopy(things))
    try:
        yield
    finally:
        assert spelled(things) == before


def square(x):
    return 0.5 * x @ x


def identity(x):
    return x


# Not finite --------------------------------------------------------------------------------------

BAD_VALUES = [np.nan, np.inf, -np.inf]


@each_mode
@pytest.mark.parametrize("bad", BAD_VALUES)
@pytest.mark.parametrize("where", ["value", "gradient", "part of the gradient"])
def test_nonfinite_at_start(options, bad, where):
    x0 = np.array([1.0, 2.0])

    def fun(x):
        return bad if where == "value" else square(x)

    def jac(x):
        if where == "value":
            return x
        return np.full(2, bad) if where == "gradient" else np.array([x[0], bad])

    with unchanged(x0, options):
        result = run(fun, x0, jac=jac, options=options)
    assert (result.status, result.success) == (status.NONFINITE_START, False)
    assert (result.nit, result.nfev) == (0, 1)
    assert_array_equal(result.x, x0)
    assert_array_equal(result.fun, fun(x0))  # what it was there, and nothing made up
    assert_array_equal(result.jac, jac(x0))


WALLS = {  # beyond x[0] = -0.5 the value, the gradient, or a part of it
    "value": lambda x, bad: (bad, rosen_der(x)),
    "gradient": lambda x, bad: (rosen(x), np.full(2, bad)),
    "part": lambda x, bad: (rosen(x), np.array([rosen_der(x)[0], bad])),
    "all": lambda x, bad: (bad, np.full(2, bad)),
}
each_wall = pytest.mark.parametrize("wall", WALLS.values(), ids=WALLS)
each_bad = pytest.mark.parametrize("bad", BAD_VALUES)


@each_wall
@each_bad
@pytest.mark.parametrize("maxcor", [0, 10])
def test_auto_steps_back_from_a_wall(wall, bad, maxcor):
    # the minimum is at (1, 1), the wall behind it and behind the start
    def fun(x):
        return wall(x, bad) if x[0] > 1.05 or x[0] < -1.25 else (rosen(x), rosen_der(x))

    result = run(fun, X0, jac=True, options={"maxcor": maxcor})
    assert result.success
    assert_allclose(result.x, 1, atol=1e-4)
    assert result.fun == rosen(result.x)


@each_wall
@each_bad
@pytest.mark.parametrize("call_number", [2, 3, 10])
def test_auto_forgets_a_single_bad_answer(wall, bad, call_number):
    count = 0

    def fun(x):
        nonlocal count
        count += 1
        return wall(x, bad) if count == call_number else (rosen(x), rosen_der(x))

    result = run(fun, X0, jac=True)
    assert result.success
    assert_allclose(result.x, 1, atol=1e-4)


@each_wall
@each_bad
def test_auto_at_a_wall_before_the_minimum(wall, bad):
    def fun(x):
        return wall(x, bad) if x[0] > -0.5 else (rosen(x), rosen_der(x))

    result = run(fun, X0, jac=True)
    assert (result.status, result.success) == (status.NONFINITE, False)  # it says why
    assert result.x[0] <= -0.5
    assert result.fun == rosen(result.x) < rosen(np.array(X0))
    assert_array_equal(result.jac, rosen_der(result.x))


@each_wall
@each_bad
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_numeric_rate_ends_with_the_best_point(wall, bad, momentum):
    points = []

    def fun(x):
        points.append(x)
        return wall(x, bad) if x[0] > -0.5 else (rosen(x), rosen_der(x))

    options = {"lr": 0.01, "momentum": momentum, "maxiter": 5000}
    with unchanged(options):
        result = run(fun, X0, jac=True, options=options)
    assert (result.status, result.success) == (status.NONFINITE, False)
    assert "Lower a numeric lr" in result.message
    good = [x for x in points if x[0] <= -0.5]
    assert len(points) == len(good) + 1 == result.nfev
    assert any(np.array_equal(result.x, x) for x in good)
    assert result.fun == rosen(result.x) == min(map(rosen, good))
    assert_array_equal(result.jac, rosen_der(result.x))
    assert_array_equal(result.x_last, points[-1])  # the last iterate, counted in nit


@each_bad
@pytest.mark.parametrize("form", [float, np.float64])
@pytest.mark.parametrize("finite_diff", ["2-point", "3-point"])
def test_differences_across_a_wall(bad, form, finite_diff):
    def fun(x):
        return form(bad) if x[0] > 1.0 or x[0] < -1.3 else form(rosen(x))

    result = run(fun, X0, options={"finite_diff": finite_diff})
    assert np.isfinite(result.fun)
    assert result.fun == rosen(result.x) < 0.1
    assert np.isfinite(result.jac).all()


@each_bad
def test_compiled_wall(bad):
    @rmsfast.Objective
    def fun(x, g, bad):
        g[0] = x[0]
        return bad if x[0] < 0.5 else 0.5 * x[0] * x[0]

    auto = run(fun, [2.0], args=(bad,), jac=True)
    assert not auto.success
    assert_allclose(auto.x, 0.5, atol=1e-6)
    numeric = run(fun, [2.0], args=(bad,), jac=True, options={"lr": 0.01})
    assert numeric.status == status.NONFINITE
    assert numeric.fun == 0.5 * numeric.x[0] ** 2
    assert numeric.x[0] >= 0.5


# Wrong answers of the objective ------------------------------------------------------------------

ANSWERS = {
    "complex": (lambda x: 1j, identity, TypeError, "fun must return a real number"),
    "text": (lambda x: "1.0", identity, TypeError, "fun must return a real number"),
    "None": (lambda x: None, identity, TypeError, "fun must return a real number"),
    "object": (lambda x: object(), identity, TypeError, "fun must return a real number"),
    "pair without jac=True": (lambda x: (1.0, x), identity, (TypeError, ValueError), "fun|shape"),
    "array": (identity, identity, ValueError, "fun must return a scalar"),
    "empty array": (lambda x: x[:0], identity, ValueError, "fun must return a scalar"),
    "gradient too long": (square, lambda x: np.ones(3), ValueError, "gradient must have the shape"),
    "gradient too short": (square, lambda x: x[:1], ValueError, "gradient must have the shape"),
    "gradient of shape (2, 2)": (square, lambda x: np.ones((2, 2)), ValueError, "the shape of x"),
    "scalar gradient": (square, lambda x: 1.0, ValueError, "gradient must have the shape"),
    "no gradient": (square, lambda x: None, ValueError, "gradient must have the shape"),
    "complex gradient": (square, lambda x: x + 1j, TypeError, "gradient must be real"),
    "gradient of text": (square, lambda x: ["a", "b"], TypeError, "gradient must be real"),
    "gradient of objects": (square, lambda x: [None, None], TypeError, "gradient must be real"),
    "value alone with jac=True": (square, True, TypeError, "must return .f, gradient"),
    "triple with jac=True": (lambda x: (1.0, x, x), True, TypeError, "must return .f, gradient"),
    "swapped with jac=True": (lambda x: (x, 1.0), True, ValueError, "gradient must have|scalar"),
}  # fmt: skip


@both_calls
@each_mode
@pytest.mark.parametrize("late", [False, True], ids=["at once", "later"])
@pytest.mark.parametrize(("fun", "jac", "error", "text"), ANSWERS.values(), ids=ANSWERS)
def test_wrong_answer(call, options, late, fun, jac, error, text):
    x0, bounds, arg = np.array(X0), [(-2, 2), (None, 2)], np.arange(3.0)
    counts = [0, 0]

    def one(x, arg):
        counts[0] += 1
        good = late and counts[0] < 4
        return ((rosen(x), rosen_der(x)) if jac is True else rosen(x)) if good else fun(x)

    def other(x, arg):
        counts[1] += 1
        return rosen_der(x) if late and counts[1] < 4 else jac(x)

    keywords = {"options": options} if call is run else options
    with unchanged(x0, bounds, arg, options), pytest.raises(error, match=text):
        call(one, x0, args=(arg,), jac=True if jac is True else other, bounds=bounds, **keywords)


NO_FUNCTIONS = {
    "fun": (3, rosen_der, "fun must be callable"),
    "fun None": (None, rosen_der, "fun must be callable"),
    "jac": (rosen, 3, "jac must be"),
}


@pytest.mark.parametrize(("fun", "jac", "text"), NO_FUNCTIONS.values(), ids=NO_FUNCTIONS)
def test_no_function(fun, jac, text):
    with pytest.raises(TypeError, match=text):
        rmsfast.rmsprop(fun, X0, jac=jac)


@pytest.mark.parametrize("form", [float, np.float64])
def test_complex_step_of_a_real_objective(form):
    # its imaginary part would be a gradient of zero, and the start a solution
    with pytest.raises(TypeError, match="complex"):
        run(lambda x: form(abs(x) @ abs(x)), X0, options={"finite_diff": "cs"})


# x0, bounds, options -----------------------------------------------------------------------------

STARTS = {
    "empty": ([], ValueError, "x0 must have at least one element"),
    "empty array": (np.empty(0), ValueError, "x0 must have at least one element"),
    "NaN": ([1.0, np.nan], ValueError, r"x0 must be finite, got x0\[1\] = nan"),
    "inf": ([np.inf, 1.0], ValueError, r"x0 must be finite, got x0\[0\] = inf"),
    "two-dimensional": (np.ones((2, 2)), ValueError, "x0'? must (only )?have one dimension"),
    "complex": ([1j, 1.0], TypeError, "x0 must be an array of real numbers"),
    "text": (["a", "b"], TypeError, "x0 must be an array of real numbers"),
    "one text": ("1.0", TypeError, "x0 must be an array of real numbers"),
    "None": (None, TypeError, "x0 must be an array of real numbers"),
    "objects": ([None, 1.0], TypeError, "x0 must be an array of real numbers"),
    "dates": (np.array(["2020-01-01"], "M8[D]"), TypeError, "x0 must be an array of real"),
}


@both_calls
@pytest.mark.parametrize(("x0", "error", "text"), STARTS.values(), ids=STARTS)
def test_bad_start(call, x0, error, text):
    with unchanged(x0), pytest.raises(error, match=text):
        call(rosen, x0, jac=rosen_der)


BOUNDS = {
    "crossed": ([(-2, 2), (2, -2)], ValueError, r"bounds\[1\].*2\.0 and -2\.0"),
    "crossed Bounds": (Bounds([-2, 2], [2, -2]), ValueError, r"bounds\[1\].*2\.0 and -2\.0"),
    "NaN": ([(-2, 2), (np.nan, 2)], ValueError, r"bounds\[1\].*nan"),
    "NaN in Bounds": (Bounds(-2, [2, np.nan]), ValueError, r"bounds\[1\].*nan"),
    "too short": ([(-2, 2)], ValueError, "bounds must have length 2, got 1"),
    "too long": ([(-2, 2)] * 3, ValueError, "bounds must have length 2, got 3"),
    "none at all": ([], ValueError, "bounds must have length 2, got 0"),
    "Bounds too long": (Bounds([-2] * 3, 2), ValueError, "bounds must have length 2"),
    "start below": ([(-1, 2), (-2, 2)], ValueError, r"x0\[0\] must be in its bounds.*-1\.2"),
    "start above": (Bounds(-2, [2, 0.5]), ValueError, r"x0\[1\] must be in its bounds.*1\.0"),
    "number": (5, TypeError, "bounds must be"),
    "text": ("ab", TypeError, "bounds must be"),
    "flat pair": ((-2, 2), TypeError, "bounds must be"),
    "dict": ({0: 1, 1: 2}, TypeError, "bounds must be"),
    "triples": ([(-2, 0, 2)] * 2, TypeError, "bounds must be"),
    "three columns": (np.zeros((2, 3)), TypeError, "bounds must be"),
    "texts": (["ab", "cd"], TypeError, "bounds must be"),
    "text in a pair": ([(-2, "a"), (-2, 2)], TypeError, "bounds must be"),
    "complex": ([(-2, 2j), (-2, 2)], TypeError, "bounds must be"),
    "array in a pair": ([(-2, 2), (-2, [2, 2])], TypeError, "bounds must be"),
    "Bounds of texts": (Bounds("a", "b"), TypeError, "bounds must be"),
    "complex Bounds": (Bounds(-2, [2j, 2]), TypeError, "bounds must be"),
}


@both_calls
@pytest.mark.parametrize(("bounds", "error", "text"), BOUNDS.values(), ids=BOUNDS)
def test_bad_bounds(call, bounds, error, text):
    x0 = np.array(X0)
    with unchanged(x0, bounds), pytest.raises(error, match=text):
        call(rosen, x0, jac=rosen_der, bounds=bounds)


OPTIONS = {
    "lr": [(0, ValueError), (-1, ValueError), (np.nan, ValueError), (np.inf, ValueError),
           (True, TypeError), (None, TypeError), ("fast", ValueError), (1j, TypeError),
           ([0.1], TypeError), (10**400, ValueError), (schedules.plateau, (TypeError, ValueError)),
           (lambda k: np.nan, ValueError), (lambda k: "a", TypeError), (lambda k: -1, ValueError)],
    "preset": [("adam", ValueError), (5, (TypeError, ValueError)),
               (["torch"], (TypeError, ValueError))],
    "rho": [(1, ValueError), (-0.1, ValueError), ("0.9", TypeError), (None, TypeError)],
    "eps": [(0, ValueError), (-1e-8, ValueError), (None, TypeError)],
    "momentum": [(1.0, ValueError), (0.5, ValueError), ("a", TypeError)],
    "nesterov": [(1, TypeError), (True, ValueError)],
    "centered": [("yes", TypeError), (True, ValueError)],
    "clip_norm": [(0, ValueError), ("a", TypeError), (1.0, ValueError)],
    "gtol": [(-1, ValueError), (np.nan, ValueError), ("a", TypeError), (None, TypeError)],
    "ftol": [(-1, ValueError), ([], TypeError)],
    "xtol": [(-1, ValueError), (1j, TypeError)],
    "tol": [(-1, ValueError), ("a", TypeError)],
    "maxiter": [(-1, ValueError), (1.5, ValueError), ("5", TypeError), (None, TypeError),
                (np.nan, ValueError), (True, TypeError)],
    "maxfun": [(0, ValueError), (1.5, ValueError), ("5", TypeError)],
    "maxcor": [(-1, ValueError), (31, ValueError), (2.5, ValueError), ("5", TypeError)],
    "disp": [("yes", TypeError), (-1, ValueError), (None, TypeError)],
    "return_all": [(1, TypeError), ("yes", TypeError)],
    "finite_diff": [("4-point", ValueError), (None, ValueError),
                    (np.array(["cs", "cs"]), (TypeError, ValueError))],
}  # fmt: skip
OPTION_ROWS = [(name, *row) for name, rows in OPTIONS.items() for row in rows]


@both_calls
@pytest.mark.parametrize(
    ("name", "value", "error"), OPTION_ROWS, ids=[f"{r[0]}-{r[1]!s:.9}" for r in OPTION_ROWS]
)
def test_bad_option(call, name, value, error):
    x0, options = np.array(X0), {name: value}
    keywords = {"options": options} if call is run else options
    text = rf"\b{'finite' if name == 'finite_diff' else name}"
    with unchanged(x0, options), pytest.raises(error, match=text) as caught:
        call(rosen, x0, jac=rosen_der, **keywords)
    assert "ambiguous" not in str(caught.value)


@pytest.mark.parametrize("patience", [0, 1.5, "3", True])
def test_patience_is_a_whole_number(patience):
    with pytest.raises((TypeError, ValueError), match="patience"):
        schedules.plateau(0.1, patience=patience)


def test_options_that_vanish_in_float32():
    x0 = np.array(X0, np.float32)
    for options in ({"eps": 1e-60}, {"rho": 1 - 1e-12}):
        (name,) = options
        with pytest.raises(ValueError, match=f"{name}.*float32"):
            run(rosen, x0, jac=rosen_der, options=options)


# A gradient that is none of the objective --------------------------------------------------------


@pytest.mark.parametrize("maxcor", [0, 10])
@pytest.mark.parametrize(
    ("fun", "jac", "x0"), [(rosen, rosen_der, X0), (square, identity, (3.0, -1.0))]
)
def test_flipped_gradient_is_named(fun, jac, x0, maxcor):
    result = run(fun, x0, jac=lambda x: -jac(x), options={"maxcor": maxcor})
    assert (result.status, result.success) == (status.INCONSISTENT, False)
    assert "check_grad" in result.message
    assert result.nfev < 1000
    assert result.fun <= fun(np.array(x0))


def flip_first(x):
    return rosen_der(x) * [-1, 1]


def forget_first(x):
    return rosen_der(x) * [0, 1]


def shift_first(x):
    return rosen_der(x) + [3, 0]


@pytest.mark.parametrize("jac", [flip_first, forget_first, shift_first])
@pytest.mark.parametrize("maxcor", [0, 10])
def test_wrong_component_is_no_success_elsewhere(jac, maxcor):
    result = run(rosen, X0, jac=jac, options={"maxcor": maxcor})
    if result.success:  # nothing but a zero of the gradient that was given
        assert abs(jac(result.x)).max() <= 1e-5
    else:
        assert result.status in (status.INCONSISTENT, status.LINE_SEARCH, status.MAXFUN)
    assert result.fun == rosen(result.x) <= rosen(np.array(X0))


@pytest.mark.parametrize("factor", [1e3, 1e-3])
def test_gradient_in_another_unit(factor):
    result = run(rosen, X0, jac=lambda x: factor * rosen_der(x), options={"gtol": 1e-5 * factor})
    if result.success:
        assert_allclose(result.x, 1, atol=1e-3)
    else:
        assert result.status in (status.INCONSISTENT, status.LINE_SEARCH)


# Objectives that write, keep or raise ------------------------------------------------------------


@each_mode
@pytest.mark.parametrize("jac", [True, "separate", None])
def test_python_objective_may_write_into_x(options, jac):
    def fun(x):
        answer = (rosen(x), rosen_der(x)) if jac is True else rosen(x)
        x[:] = np.nan
        return answer

    def der(x):
        g = rosen_der(x)
        x[:] = np.nan
        return g

    def clean(x):
        return (rosen(x), rosen_der(x)) if jac is True else rosen(x)

    x0 = np.array(X0)
    with unchanged(x0):
        result = run(fun, x0, jac=der if jac == "separate" else jac, options=options)
    expected = run(clean, x0, jac=rosen_der if jac == "separate" else jac, options=options)
    assert_array_equal(result.x, expected.x)
    assert result.nfev == expected.nfev


@each_mode
@pytest.mark.parametrize("jac", [rosen_der, None])
def test_python_objective_may_keep_x(options, jac):
    kept, copies = [], []

    def fun(x):
        kept.append(x)
        copies.append(x.copy())
        return rosen(x)

    result = run(fun, X0, jac=jac, options=options)
    assert_array_equal(kept, copies)
    assert not any(np.shares_memory(x, result.x) for x in kept)


def writes(x, g):
    f = x[0] * x[0]
    g[0] = 2 * x[0]
    x[0] = 7.0
    return f


def writes_alone(x):
    x[0] = 7.0
    return x[0] * x[0]


@pytest.mark.parametrize("options", [{}, {"lr": 0.1}])
@pytest.mark.parametrize(
    "fun", [rmsfast.Objective(writes), numba.njit(writes_alone)], ids=["Objective", "njit"]
)
def test_compiled_objective_must_not_write_into_x(fun, options):
    x0 = np.array([3.0])
    with unchanged(x0), pytest.raises(ValueError, match="wrote into x"):
        run(fun, x0, jac=isinstance(fun, rmsfast.Objective), options=options)


class Mine(Exception):
    """An exception with something on it."""


@each_mode
@pytest.mark.parametrize("kind", [Mine, ValueError, StopIteration, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("late", [1, 7])
@pytest.mark.parametrize("where", ["fun", "jac", "pair", "differences"])
def test_exception_of_a_python_objective(options, kind, late, where):
    raised, count = kind("mine", 3), 0
    x0, bounds, arg = np.array(X0), np.array([[-2.0, 2.0]] * 2), np.arange(3.0)

    def failing(function):
        def inner(x, arg):
            nonlocal count
            count += 1
            if count == late:
                raise raised
            return function(x)

        return inner

    fun, jac = {
        "fun": (failing(rosen), lambda x, arg: rosen_der(x)),
        "jac": (lambda x, arg: rosen(x), failing(rosen_der)),
        "pair": (failing(lambda x: (rosen(x), rosen_der(x))), True),
        "differences": (failing(rosen), None),
    }[where]
    with unchanged(x0, bounds, arg, options), pytest.raises(kind) as caught:
        run(fun, x0, args=(arg,), jac=jac, bounds=bounds, options=options)
    assert caught.value is raised
    assert count == late


@rmsfast.Objective
def raises(x, g, data):
    if x[0] < data[0]:
        raise LookupError("mine", 3)
    g[0] = x[0]
    return 0.5 * x[0] * x[0]


@pytest.mark.parametrize("options", [{}, {"lr": 0.01}, {"return_all": True}])
@pytest.mark.parametrize("limit", [5.0, 1.0], ids=["at once", "later"])
def test_exception_of_a_compiled_objective(options, limit):
    x0, data = np.array([3.0]), np.array([limit])
    bounds = Bounds([-4.0], [4.0])
    with unchanged(x0, data, bounds, options), pytest.raises(LookupError) as caught:
        run(raises, x0, args=(data,), jac=True, bounds=bounds, options=options)
    assert caught.value.args == ("mine", 3)
    assert type(caught.value) is LookupError
    # and the next run is none the worse for it
    assert run(raises, x0, args=(np.array([-9.0]),), jac=True).success


def test_exception_of_a_schedule():
    def rate(k):
        if k == 3:
            raise Mine("mine")
        return 0.01

    with pytest.raises(Mine, match="^mine$"):
        run(rosen, X0, jac=rosen_der, options={"lr": rate})
    with pytest.raises(Mine, match="^mine$"):
        run(rmsfast.objectives.rosenbrock, X0, jac=True, options={"lr": rate})


# Ctrl-C ------------------------------------------------------------------------------------------

INTERRUPTED = """
import signal
import sys
import time
import numpy as np
from scipy.optimize import minimize
import rmsfast
from rmsfast.objectives import rosenbrock

signal.signal(signal.SIGINT, signal.default_int_handler)

def slow(x):
    time.sleep(0.01)
    return x @ x, 2 * x

fun = {"compiled": rosenbrock, "python": slow}[sys.argv[1]]
limits = {"lr": 1e-12, "gtol": 0, "maxfun": 10**12}
x0 = np.array([-1.2, 1.0])
minimize(fun, x0, jac=True, method=rmsfast.rmsprop, options={**limits, "maxiter": 10})
print("started", flush=True)
try:
    minimize(fun, x0, jac=True, method=rmsfast.rmsprop, options={**limits, "maxiter": 10**12})
except KeyboardInterrupt:
    print("interrupted", x0.tolist(), flush=True)
    raise
print("finished", flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("objective", ["compiled", "python"])
def test_interrupt(objective):
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, objective],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    try:
        assert process.stdout.readline() == "started\n"
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)  # it would run for ever
    finally:
        process.kill()
        process.wait()
    assert out == "interrupted [-1.2, 1.0]\n"
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert process.returncode != 0
