"""Many problems, some of which go wrong: the others do not notice, and the caller is told."""

import datetime
import os
import threading
import warnings

import numba
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from processes import interrupt, posix
from scipy import LowLevelCallable
from scipy.optimize import Bounds, OptimizeWarning
from test_faults import OPTION_ROWS, unchanged
from test_many import (
    A,
    Each,
    assert_row,
    bits,
    c_function,
    chain,
    check,
    jit,
    pair,
    run_alone,
    starts,
)

import rmsfast
from rmsfast import PerProblem, minimize_chunks, minimize_many, schedules
from rmsfast.core import status

K = 9
N = 2
MODES = {
    "auto": {},
    "no corrections": {"maxcor": 0},
    "numeric": {"lr": 0.05, "maxiter": 300},
    "plateau": {"lr": schedules.plateau(0.1, patience=10), "maxiter": 300},
}
LANES = {"lr": 0.05, "maxiter": 300, "vectorize": True}
each_mode = pytest.mark.parametrize("options", MODES.values(), ids=MODES)

# A bowl about (1, 1) that has a fault beyond x[0] = wall -----------------------------------------

NO_FAULT, NAN, INF, MINUS_INF, NAN_IN_GRADIENT, RAISE, RAISE_WITH_X = range(7)


def bowl(x, g, fault, wall):
    f = 0.0
    for i in range(x.size):
        t = x[i] - 1.0
        f += t * t
        g[i] = 2.0 * t
    if x[0] >= wall:
        if fault == NAN:
            return np.nan
        if fault == INF:
            return np.inf
        if fault == MINUS_INF:
            return -np.inf
        if fault == NAN_IN_GRADIENT:
            g[x.size - 1] = np.nan
        if fault == RAISE:
            raise LookupError("beyond the wall", 3)
        if fault == RAISE_WITH_X:
            raise LookupError("beyond the wall", x[0])
    return f


jit_bowl = jit(bowl)


@jit
def jit_bowl_pair(x, fault, wall):
    g = np.empty_like(x)
    return jit_bowl(x, g, fault, wall), g


@jit
def jit_bowl_value(x, fault, wall):
    return jit_bowl(x, np.empty_like(x), fault, wall)


@jit
def jit_bowl_gradient(x, fault, wall):
    g = np.empty_like(x)
    jit_bowl(x, g, fault, wall)
    return g


def bowl_pair(x, fault, wall):
    g = np.empty_like(x)
    return bowl(x, g, fault, wall), g


def bowl_value(x, fault, wall):
    return bowl(x, np.empty_like(x), fault, wall)


FORMS = {
    "Objective": (rmsfast.Objective(jit_bowl), None),
    "njit jac=True": (jit_bowl_pair, True),
    "njit fun, njit jac": (jit_bowl_value, jit_bowl_gradient),
    "njit": (jit_bowl_value, None),
    "python jac=True": (bowl_pair, True),
    "python": (bowl_value, None),
}
each_form = pytest.mark.parametrize("fun, jac", FORMS.values(), ids=FORMS)
WALLS = {"at once": -np.inf, "later": 0.0}
each_wall = pytest.mark.parametrize("wall", WALLS.values(), ids=WALLS)


def below_the_wall(count=K, dtype=float):
    return np.random.default_rng(5).uniform(-2, -0.5, (count, N)).astype(dtype)


def faults(fault, *problems):
    """The arguments: some problems have the fault."""
    kinds = np.zeros(K, np.int64)
    kinds[list(problems)] = fault
    return kinds


AT_A_WALL = {status.NONFINITE, status.LINE_SEARCH}  # where it steps back


@each_form
@pytest.mark.parametrize("options", [*MODES.values(), LANES], ids=[*MODES, "lanes"])
@each_wall
@pytest.mark.parametrize("fault", [NAN, INF, MINUS_INF, NAN_IN_GRADIENT])
def test_not_finite(fault, wall, options, fun, jac):
    args = (Each(faults(fault, 0, 4, 5)), wall)
    with np.errstate(invalid="ignore"):
        result = check(fun, below_the_wall(), args, jac=jac, workers=2 if jac else 1, **options)
    ended = set(result.status[[0, 4, 5]].tolist())
    if wall == -np.inf and not (fault == NAN_IN_GRADIENT and jac is None):
        assert ended == {status.NONFINITE_START}
        assert_array_equal(result.x[[0, 4, 5]], below_the_wall()[[0, 4, 5]])
    elif fault != NAN_IN_GRADIENT:
        assert ended <= ({status.NONFINITE} if "lr" in options else AT_A_WALL)
    healthy = [1, 2, 3, 6, 7, 8]
    if "lr" not in options:
        assert result.success[healthy].all()


def is_compiled(fun):
    return isinstance(fun, (rmsfast.Objective, numba.core.dispatcher.Dispatcher))


def assert_raised(result, k, x0s, fun, args):
    """Problem `k` ended with an exception: what is told of it is true."""
    assert (result.status[k], result.success[k]) == (status.OBJECTIVE, False)
    if np.isnan(result.fun[k]):
        assert_array_equal(result.x[k], x0s[k])
        assert np.isnan(result.jac[k]).all()
    else:  # the best point until then
        g = np.empty(N)
        assert result.fun[k] == bowl(
            result.x[k], g, *(getattr(a, "array", [a] * K)[k] for a in args)
        )
        assert np.isfinite(result.x[k]).all()
    assert 0 <= result.nit[k] <= result.nfev[k]
    if is_compiled(fun):
        assert result.message[k] == status.MESSAGE[status.OBJECTIVE]
    else:
        assert result.message[k].startswith("The objective raised LookupError: ")
        assert "beyond the wall" in result.message[k]


@each_form
@pytest.mark.parametrize("options", [*MODES.values(), LANES], ids=[*MODES, "lanes"])
@each_wall
@pytest.mark.parametrize("fault", [RAISE, RAISE_WITH_X])
def test_raising_problems_do_not_disturb_their_neighbours(fault, wall, options, fun, jac):
    bad = (1, 4, 8) if wall == 0.0 else (0, 1, 7)
    args, x0s = (Each(faults(fault, *bad)), wall), below_the_wall()
    kinds = PerProblem(args[0].array)
    result = minimize_many(fun, x0s, (kinds, wall), jac=jac, **options)
    options = {name: option for name, option in options.items() if name != "vectorize"}
    for k in range(K):
        if k in bad:
            assert_raised(result, k, x0s, fun, args)
            with pytest.raises(LookupError, match="beyond the wall"):
                run_alone(k, fun, x0s, args, jac=jac, **options)
        else:
            assert_row(result, k, run_alone(k, fun, x0s, args, jac=jac, **options))
    assert result.best.index not in bad
    assert f"{3:8d}  {status.MESSAGE[status.OBJECTIVE]}" in repr(result)
    for workers, chunksize in ((map, 1), (map, 4), (1, None), (3 if is_compiled(fun) else 1, None)):
        other = minimize_many(
            fun, x0s, (kinds, wall), jac=jac, workers=workers, chunksize=chunksize, **options
        )
        for name in ("x", "fun", "jac", "nit", "nfev", "status", "message"):
            assert_array_equal(getattr(other, name), getattr(result, name))


@each_form
@each_wall
@pytest.mark.parametrize("options", [{}, MODES["numeric"]], ids=["auto", "numeric"])
@pytest.mark.parametrize("workers", [None, 1, map])
@pytest.mark.parametrize("count", [1, 5])
def test_if_all_raise_the_exception_itself_is_raised(count, workers, options, wall, fun, jac):
    x0s = below_the_wall(count)
    for fault in (RAISE, RAISE_WITH_X):
        with pytest.raises(LookupError) as raised:
            run_alone(0, fun, x0s, (fault, wall), jac=jac, **options)
        with unchanged(x0s, options), pytest.raises(LookupError) as caught:
            minimize_many(fun, x0s, (fault, wall), jac=jac, workers=workers, chunksize=2, **options)
        assert type(caught.value) is LookupError
        assert caught.value.args == raised.value.args
        assert caught.value.args[0] == "beyond the wall"
    # and the next call is none the worse for it
    assert minimize_many(fun, x0s, (NO_FAULT, wall), jac=jac).success.all()


class Mine(Exception):
    """An exception with something on it."""


KINDS = [Mine, ValueError, StopIteration, ZeroDivisionError, MemoryError, AssertionError]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["fun", "jac", "pair", "differences"])
@pytest.mark.parametrize("late", [False, True], ids=["at once", "later"])
def test_exceptions_of_python(late, where, kind):
    raised = kind("mine", 3)
    wall = 0.0 if late else -np.inf

    def failing(function):
        def inner(x, bad):
            if bad and x[0] >= wall:
                raise raised
            return function(x)

        return inner

    def square(x):
        return float((x - 1) @ (x - 1))

    def slope(x):
        return 2 * (x - 1)

    fun, jac = {
        "fun": (failing(square), lambda x, bad: slope(x)),
        "jac": (lambda x, bad: square(x), failing(slope)),
        "pair": (failing(lambda x: (square(x), slope(x))), True),
        "differences": (failing(square), None),
    }[where]
    x0s, bad = below_the_wall(), np.isin(np.arange(K), [2, 6])
    result = minimize_many(fun, x0s, (PerProblem(bad),), jac=jac)
    for k in range(K):
        if bad[k]:
            assert result.status[k] == status.OBJECTIVE
            assert result.message[k] == f"The objective raised {kind.__name__}: {raised}"
        else:
            assert_row(result, k, run_alone(k, fun, x0s, (Each(bad),), jac=jac))
    with pytest.raises(kind) as caught:
        minimize_many(fun, x0s, (True,), jac=jac)
    assert caught.value is raised


@pytest.mark.parametrize("kind", [SystemExit, GeneratorExit])
def test_exceptions_that_end_the_program_do(kind):
    def leaves(x, bad):
        if bad:
            raise kind("now")
        return float(x @ x), 2 * x

    with pytest.raises(kind):
        minimize_many(leaves, starts(count=4), (PerProblem([0, 0, 1, 0]),), jac=True)


ANSWERS = {
    "complex value": ((1j, np.ones(N)), TypeError, "fun must return a real number"),
    "text": (("1.0", np.ones(N)), TypeError, "fun must return a real number"),
    "array": ((np.ones(N), np.ones(N)), ValueError, "fun must return a scalar"),
    "gradient too long": ((1.0, np.ones(N + 1)), ValueError, "gradient must have the shape"),
    "complex gradient": ((1.0, 1j * np.ones(N)), TypeError, "gradient must be real"),
    "no pair": (1.0, TypeError, "must return .f, gradient"),
}


@pytest.mark.parametrize("answer, error, text", ANSWERS.values(), ids=ANSWERS)
def test_wrong_answers_of_python(answer, error, text):
    def fun(x, bad):
        return answer if bad else (float(x @ x), 2 * x)

    x0s, bad = starts(count=K), np.arange(K) % 3 == 1
    result = minimize_many(fun, x0s, (PerProblem(bad),), jac=True)
    assert_array_equal(result.status == status.OBJECTIVE, bad)
    assert error.__name__ in result.message[1]
    for k in np.flatnonzero(~bad):
        assert_row(result, k, run_alone(k, fun, x0s, (Each(bad),), jac=True))
    with pytest.raises(error, match=text):
        minimize_many(fun, x0s, (True,), jac=True)


@jit
def gradient_of_size(x, size):
    return (x * x).sum(), np.ones(size)


def test_gradient_of_wrong_size_from_compiled_code():
    sizes = np.array([2, 3, 2, 0, 2])
    result = minimize_many(
        gradient_of_size, starts(count=5), (PerProblem(sizes),), jac=True, maxiter=2
    )
    assert_array_equal(result.status == status.OBJECTIVE, sizes != 2)
    with pytest.raises(ValueError, match="the gradient must have the shape of x"):
        minimize_many(gradient_of_size, starts(count=5), (3,), jac=True)


@pytest.mark.parametrize("options", [{}, MODES["numeric"]], ids=["auto", "numeric"])
def test_compiled_objective_must_not_write_into_x(options):
    @rmsfast.Objective
    def writes(x, g):
        f = x[0] * x[0]
        g[:] = 2 * x
        x[0] = 7.0
        return f

    with pytest.raises(ValueError, match="wrote into x"):
        minimize_many(writes, starts(1), **options)


def test_python_objective_may_write_into_x():
    def writes(x):
        f, g = float(x @ x), 2 * x
        x[:] = np.nan
        return f, g

    check(writes, starts(), jac=True)


# Schedules that fail -----------------------------------------------------------------------------


def test_schedule_that_is_not_asked_so_far():
    """A rate that no problem reaches is not asked for, or what it raises does not matter."""
    table = [0.1] * 60
    check(chain, starts(), (A,), lr=table.__getitem__, gtol=10.0)
    check(pair, starts(), (A,), jac=True, lr=table.__getitem__, gtol=10.0)


def test_schedule_and_a_maxiter_that_is_never_reached():
    limits = {"maxiter": 10**12, "maxfun": 10**12, "gtol": 1e-2}

    def rate(k):
        assert k < 10**5, "asked for rates far beyond the need"
        return 0.1 * 0.99**k

    check(chain, starts(), (1.0,), lr=rate, **limits)
    check(chain, starts(), (1.0,), lr=schedules.exponential(0.1, 0.99), **limits)


@pytest.mark.parametrize("fun, jac", [(chain, None), (pair, True)], ids=["compiled", "python"])
@pytest.mark.parametrize("late", [0, 3])
def test_schedule_that_fails_for_all(late, fun, jac):
    def rate(k):
        if k == late:
            raise Mine("mine")
        return 0.01

    with pytest.raises(Mine, match="^mine$"):
        minimize_many(fun, starts(), (A,), jac=jac, lr=rate)
    with pytest.raises(ValueError, match=rf"lr\({late}\) must be in .* got -0\.1"):
        minimize_many(fun, starts(), (A,), jac=jac, lr=lambda k: -0.1 if k == late else 0.1)


# Arguments ---------------------------------------------------------------------------------------

X0S = starts()
COUNT = len(X0S)


def changed(array, place, number):
    array = array.copy()
    array[place] = number
    return array


def shifted(low, high):
    return PerProblem(np.stack([X0S + low, X0S + high], -1))


RAGGED = [[1.0, 2.0], [3.0]]
SHAPE = r"^x0s must have shape \(n_problems, n\), got shape "
REAL = "^x0s must be an array of real numbers, got dtype "
OUTSIDE = r"^x0s\[{}\] must be in its bounds \[{}\], got {}$"
CROSSED = ": the lower bound must not exceed the upper, got "
NUMBERS = "^PerProblem must hold numbers, got dtype "
WORKERS, CHUNKSIZE = r"^workers must be .*, got ", r"^chunksize must be .*, got "
PROGRESS = "^progress must be True or False, got "

BAD_INPUT = {
    "x0s of one dimension": ({"x0s": X0S[0]}, ValueError, SHAPE + r"\(2,\)$"),
    "x0s of three": ({"x0s": X0S[None]}, ValueError, SHAPE + r"\(1, 7, 2\)$"),
    "x0s a number": ({"x0s": 3.0}, ValueError, SHAPE + r"\(\)$"),
    "x0s None": ({"x0s": None}, ValueError, SHAPE + r"\(\)$"),
    "x0s empty": ({"x0s": []}, ValueError, SHAPE + r"\(0,\)$"),
    "x0s without columns": (
        {"x0s": np.empty((7, 0))}, ValueError,
        r"^x0s must have at least one variable, got shape \(7, 0\)$",
    ),
    "x0s with nothing": ({"x0s": np.empty((0, 0))}, ValueError, "^x0s must have at least one"),
    "x0s NaN": (
        {"x0s": changed(X0S, (4, 1), np.nan)}, ValueError,
        r"^x0s must be finite, got x0s\[4, 1\] = nan$",
    ),
    "x0s inf": (
        {"x0s": changed(X0S, (6, 0), -np.inf)}, ValueError,
        r"^x0s must be finite, got x0s\[6, 0\] = -inf$",
    ),
    "x0s complex": ({"x0s": X0S + 0j}, TypeError, REAL + "complex128$"),
    "x0s text": ({"x0s": [["a", "b"]]}, TypeError, REAL + "<U1$"),
    "x0s objects": ({"x0s": [[None, 1.0]]}, TypeError, REAL + "object$"),
    "x0s dates": ({"x0s": np.array([["2020-01-01"]], "M8[D]")}, TypeError, REAL + "datetime64"),
    "x0s ragged": ({"x0s": RAGGED}, (TypeError, ValueError), r"\bx0s\b"),

    "argument too short": (
        {"args": (1.0, PerProblem(np.ones(6)))}, ValueError,
        r"^args\[1\] must have one entry for each of the 7 problems, got 6$",
    ),
    "argument too long": (
        {"args": (PerProblem(np.ones((8, 3))),)}, ValueError,
        r"^args\[0\] must have one entry for each of the 7 problems, got 8$",
    ),
    "argument empty": (
        {"args": PerProblem(np.ones(0))}, ValueError,
        r"^args\[0\] must have one entry for each of the 7 problems, got 0$",
    ),
    "argument Numba cannot type": (
        {"args": (object(),)}, TypeError,
        r"^args\[0\] is of <class 'object'>, which Numba cannot compile for$",
    ),
    "rows Numba cannot type": (
        {"args": (PerProblem(np.ones(7, np.longdouble)),)}, TypeError,
        r"^args\[0\] is of <class 'numpy.longdouble'>, which Numba cannot compile for$",
    ),

    "bounds too short": ({"bounds": [(-3, 3)]}, ValueError, "^bounds must have length 2, got 1"),
    "bounds too long": ({"bounds": [(-3, 3)] * 7}, ValueError, "^bounds must have length 2, got 7"),
    "bounds a number": ({"bounds": 5}, TypeError, "^bounds must be .* got 5$"),
    "bounds text": ({"bounds": "ab"}, TypeError, "^bounds must be .* got 'ab'$"),
    "bounds complex": ({"bounds": Bounds(-3, 3j)}, TypeError, "^bounds must be real numbers"),
    "own bounds complex": (
        {"bounds": PerProblem(np.ones((7, 2, 2), complex))}, TypeError,
        "^bounds must be real numbers",
    ),
    "Bounds too long": (
        {"bounds": Bounds(-3, np.full(3, 3.0))}, ValueError, "^bounds must have length 2",
    ),
    "own Bounds, a row too many": (
        {"bounds": Bounds(np.full((8, 2), -3.0), 3.0)}, ValueError,
        r"^bounds .*\(7, 2\).*\(8, 2\)",
    ),
    "own Bounds, a column too many": (
        {"bounds": Bounds(-3.0, np.full((7, 3), 3.0))}, ValueError,
        r"^bounds .*\(7, 2\).*\(7, 3\)",
    ),
    "own bounds flat": (
        {"bounds": PerProblem(np.ones((7, 2)))}, ValueError,
        r"^bounds must have shape \(7, 2, 2\) for each problem its own, got \(7, 2\)$",
    ),
    "own bounds, a row too few": (
        {"bounds": PerProblem(np.ones((6, 2, 2)))}, ValueError,
        r"^bounds must have shape \(7, 2, 2\) for each problem its own, got \(6, 2, 2\)$",
    ),
    "own bounds as triples": (
        {"bounds": PerProblem(np.ones((7, 2, 3)))}, ValueError,
        r"^bounds must have shape \(7, 2, 2\) for each problem its own, got \(7, 2, 3\)$",
    ),
    "bounds crossed": (
        {"bounds": [(-3, 3), (2, -2)]}, ValueError, r"^bounds\[1\]" + CROSSED + r"2\.0 and -2\.0$",
    ),
    "bounds NaN": (
        {"bounds": [(np.nan, 3), (-2, 2)]}, ValueError, r"^bounds\[0\]" + CROSSED + "nan and 3",
    ),
    "own Bounds crossed": (
        {"bounds": Bounds(-3.0, changed(np.full((7, 2), 3.0), (3, 1), -4.0))}, ValueError,
        r"^bounds\[3, 1\]" + CROSSED + r"-3\.0 and -4\.0$",
    ),
    "own bounds crossed": (
        {"bounds": PerProblem(changed(shifted(-1, 1).array, (5, 0), [9.0, -9.0]))}, ValueError,
        r"^bounds\[5, 0\]" + CROSSED + r"9\.0 and -9\.0$",
    ),
    "own bounds NaN": (
        {"bounds": PerProblem(changed(shifted(-1, 1).array, (0, 1), np.nan))}, ValueError,
        r"^bounds\[0, 1\]" + CROSSED + "nan and nan$",
    ),
    "start above": (
        {"x0s": changed(X0S, (3, 1), 2.5), "bounds": Bounds(-3, 2)}, ValueError,
        OUTSIDE.format("3, 1", r"-3\.0, 2\.0", r"2\.5"),
    ),
    "start below": (
        {"x0s": changed(X0S, (5, 0), -4.0), "bounds": [(-3, None), (None, None)]}, ValueError,
        OUTSIDE.format("5, 0", r"-3\.0, inf", r"-4\.0"),
    ),
    "start outside its own": (
        {"bounds": PerProblem(changed(shifted(-1, 1).array, (6, 1), [8.0, 9.0]))}, ValueError,
        OUTSIDE.format("6, 1", r"8\.0, 9\.0", ".*"),
    ),
    "start outside its own Bounds": (
        {"bounds": Bounds(changed(X0S - 1, (2, 0), 4.0), 5.0)}, ValueError,
        OUTSIDE.format("2, 0", r"4\.0, 5\.0", ".*"),
    ),

    "workers 0": ({"workers": 0}, ValueError, WORKERS + "0$"),
    "workers -2": ({"workers": -2}, ValueError, WORKERS + "-2$"),
    "workers 1.5": ({"workers": 1.5}, ValueError, WORKERS + r"1\.5$"),
    "workers nan": ({"workers": np.nan}, ValueError, WORKERS + "nan$"),
    "workers text": ({"workers": "x"}, TypeError, WORKERS + "'x'$"),
    "workers True": ({"workers": True}, TypeError, WORKERS + "True$"),
    "workers list": ({"workers": [2]}, TypeError, WORKERS + r"\[2\]$"),
    "chunksize 0": ({"chunksize": 0}, ValueError, CHUNKSIZE + "0$"),
    "chunksize -1": ({"chunksize": -1}, ValueError, CHUNKSIZE + "-1$"),
    "chunksize 2.5": ({"chunksize": 2.5}, ValueError, CHUNKSIZE + r"2\.5$"),
    "chunksize text": ({"chunksize": "x"}, TypeError, CHUNKSIZE + "'x'$"),
    "chunksize True": ({"chunksize": True}, TypeError, CHUNKSIZE + "True$"),
    "progress text": ({"progress": "yes"}, TypeError, PROGRESS + "'yes'$"),
    "progress 1": ({"progress": 1}, TypeError, PROGRESS + "1$"),
    "progress None": ({"progress": None}, TypeError, PROGRESS + "None$"),

    "vectorize text": (
        {"vectorize": "yes"}, TypeError, "^vectorize must be True or False, got 'yes'$",
    ),
    "return_all": (
        {"return_all": True}, TypeError, "^return_all is for a single run, got return_all=True$",
    ),
    "disp": ({"disp": 2}, TypeError, "^disp is for a single run, got disp=2$"),
    "lr": ({"lr": "fast"}, ValueError, "^lr must be 'auto', a number or a callable, got 'fast'$"),
    "maxcor and a number": (
        {"maxcor": 3, "lr": 0.1}, ValueError, "^maxcor=3 needs lr='auto', got a numeric lr$",
    ),
    "momentum and auto": (
        {"momentum": 0.5}, ValueError, r"^momentum=0\.5 needs a numeric lr, got lr='auto'$",
    ),
    "eps of float32": (
        {"x0s": X0S.astype(np.float32), "eps": 1e-60}, ValueError,
        "^eps must be positive in float32",
    ),

    "jac of an Objective": (
        {"jac": lambda x, a: x}, TypeError, "^jac must be None or True: an Objective",
    ),
    "jac text": (
        {"fun": pair, "jac": "2-point"}, TypeError,
        "^jac must be callable, True, False or None, got '2-point'$",
    ),
    "jac number": (
        {"fun": pair, "jac": 1.0}, TypeError, r"^jac must be .* got 1\.0$",
    ),
    "fun None": ({"fun": None}, TypeError, "^fun must be callable, got None$"),
    "fun number": ({"fun": 3, "jac": True}, TypeError, "^fun must be callable, got 3$"),
    "arguments of a C function": (
        {"fun": c_function, "args": (PerProblem(np.ones(7)),)}, TypeError,
        "^args must be empty: a C function gets its data through user_data$",
    ),
    "C function of float32": (
        {"fun": LowLevelCallable(c_function.ctypes), "args": (), "x0s": X0S.astype(np.float32)},
        TypeError, "^x0s? must be float64 for a C function, got float32$",
    ),
}  # fmt: skip


@pytest.mark.parametrize("keywords, error, text", BAD_INPUT.values(), ids=BAD_INPUT)
@pytest.mark.parametrize("chunks", [False, True], ids=["minimize_many", "minimize_chunks"])
def test_bad_input(chunks, keywords, error, text):
    given = {"fun": chain, "x0s": X0S, "args": (A,)} | keywords
    before = bits(list(given.values()))
    with pytest.raises(error, match=text):
        if chunks:
            rest = {name: part for name, part in given.items() if name not in ("fun", "x0s")}
            list(minimize_chunks(given["fun"], [given["x0s"]], **rest))
        else:
            minimize_many(**given)
    assert bits(list(given.values())) == before


@pytest.mark.parametrize(
    "name, option, error",
    [row for row in OPTION_ROWS if row[0] not in ("disp", "return_all")],
    ids=[f"{r[0]}-{r[1]!s:.9}" for r in OPTION_ROWS if r[0] not in ("disp", "return_all")],
)
@pytest.mark.parametrize("count", [0, 3])
def test_bad_option(count, name, option, error):
    if count == 0 and name == "lr" and callable(option) and not isinstance(option, type):
        return  # a schedule that is not asked
    text = rf"\b{'finite' if name == 'finite_diff' else name}"
    x0s = starts(count=count)
    with unchanged(x0s), pytest.raises(error, match=text):
        minimize_many(chain, x0s, (A,), **{name: option})


BAD_ARRAYS = {
    "objects": ([None, 1.0], TypeError, NUMBERS + "object$"),
    "text": (["a", "b"], TypeError, NUMBERS + "<U1$"),
    "bytes": ([b"a"], TypeError, NUMBERS + r"\|S1$"),
    "dates": (np.array(["2020-01-01"], "M8[D]"), TypeError, NUMBERS + r"datetime64\[D\]$"),
    "records": (np.zeros(3, "f8, i4"), TypeError, NUMBERS),
    "a date": (datetime.date(2020, 1, 1), TypeError, NUMBERS + "object$"),
    "None": (None, TypeError, NUMBERS + "object$"),
    "a number": (3.0, ValueError, "^PerProblem must have a first axis of problems, got a scalar$"),
    "a 0-d array": (np.array(3), ValueError, "^PerProblem must have a first axis of problems"),
    "ragged": (RAGGED, (TypeError, ValueError), "^PerProblem "),
}


@pytest.mark.parametrize("array, error, text", BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_bad_per_problem(array, error, text):
    with unchanged(array), pytest.raises(error, match=text):
        PerProblem(array)


def test_per_problem_is_needed():
    """An array that is not wrapped is shared, whatever its length."""
    with pytest.raises((TypeError, numba.core.errors.NumbaError)):
        minimize_many(chain, starts(), (np.ones(COUNT),))


def test_objective_that_does_not_compile():
    @rmsfast.Objective
    def wrong(x, g):
        return x.nothing

    with pytest.raises(numba.core.errors.TypingError, match="nothing"):
        minimize_many(wrong, starts())


# Unknown options ---------------------------------------------------------------------------------

UNKNOWN = {
    "compiled": (chain, None, {}),
    "compiled, numeric": (chain, None, {"lr": 0.1, "maxiter": 3}),
    "schedule": (chain, None, {"lr": schedules.constant(0.1), "maxiter": 3}),
    "python": (pair, True, {}),
    "map": (chain, None, {"workers": map, "chunksize": 2}),
    "map of python": (pair, True, {"workers": map, "chunksize": 2}),
    "threads": (chain, None, {"workers": 3}),
}


@pytest.mark.parametrize("fun, jac, options", UNKNOWN.values(), ids=UNKNOWN)
def test_unknown_options_warn_once(fun, jac, options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = minimize_many(fun, starts(), (A,), jac=jac, speed=3, colour="red", **options)
    assert [str(each.message) for each in caught] == ["Unknown solver options: speed, colour"]
    assert caught[0].category is OptimizeWarning
    expected = minimize_many(fun, starts(), (A,), jac=jac, **options)
    assert_array_equal(result.x, expected.x)


@pytest.mark.parametrize("name", ["callback", "constraints", "hess", "method"])
def test_what_minimize_takes_and_many_does_not_is_not_dropped_silently(name):
    with pytest.raises((OptimizeWarning, TypeError, ValueError), match=name):
        minimize_many(chain, starts(), (A,), **{name: lambda x: x})


# Ctrl-C ------------------------------------------------------------------------------------------

INTERRUPTED = """
import mmap, signal, sys, threading, time

import numba, numpy as np, rmsfast
from rmsfast import PerProblem, minimize_many
from rmsfast.core import status

signal.signal(signal.SIGINT, signal.default_int_handler)

# The endless problems begun so far, in memory that worker processes share
with open("begun", "r+b") as file:
    begun = np.frombuffer(mmap.mmap(file.fileno(), 60), np.uint8)

@numba.njit
def bowl_or_slope(x, g, endless, begun):
    if endless:
        begun[endless] = 1
        g[0] = -1.0
        return -x[0]
    g[0] = 2.0 * (x[0] - 1.0)
    return (x[0] - 1.0) ** 2

compiled = rmsfast.Objective(bowl_or_slope)

def in_python(x, endless, copy):
    if endless:
        time.sleep(0.002)
    return compiled(x, endless, begun)

def say_when(count):
    while begun.sum() < count:
        time.sleep(0.01)
    print("started", flush=True)

def main():
    fun = {"compiled": compiled, "python": in_python}[sys.argv[1]]
    workers, vectorize = (None if word == "None" else int(word) for word in sys.argv[2:])
    kinds = np.zeros(60, np.int64)
    # More than there are threads: one after another, none that follows is begun
    kinds[30:40] = range(30, 40)
    x0s = np.random.default_rng(0).uniform(-1, 0.5, (60, 1))
    options = {"jac": True, "lr": 0.05, "maxfun": 10**12}
    how = {"workers": workers, "chunksize": 5, "vectorize": bool(vectorize)}
    minimize_many(fun, x0s[:30], (PerProblem(kinds[:30]), begun), maxiter=1000, **options, **how)
    threading.Thread(target=say_when, args=(2 if workers == 2 else 1,)).start()
    result = minimize_many(fun, x0s, (PerProblem(kinds), begun), maxiter=10**12, **options, **how)
    print("returned", flush=True)
    print(result)
    done = range(60) if vectorize else range(30)
    for k in (k for k in done if not kinds[k]):
        single = rmsfast.rmsprop(fun, x0s[k], (kinds[k], begun), maxiter=10**12, **options)
        for name in ("x", "fun", "jac", "nit", "nfev", "njev", "status", "success", "message"):
            assert np.array_equal(getattr(result, name)[k], single[name]), (k, name)
        assert result.status[k] != status.INTERRUPTED
    for k in (k for k in range(60) if kinds[k] or k not in done):
        assert result.status[k] == status.INTERRUPTED, k
        assert not result.success[k]
        assert result.message[k] == status.MESSAGE[status.INTERRUPTED]
        if np.isnan(result.fun[k]):
            assert result.x[k] == x0s[k] and np.isnan(result.jac[k]).all(), k
        else:  # the best point until then
            assert result.fun[k] == fun(result.x[k], kinds[k], begun)[0], k
    for k in () if vectorize else range(40, 60):
        assert (result.x[k], result.nit[k], result.nfev[k]) == (x0s[k], 0, 0), k
        assert np.isnan(result.fun[k]), k
    assert result.best.fun <= result.fun[:30].min()
    assert threading.active_count() == 1
    print("as it should be")

if __name__ == "__main__":
    main()
"""


@posix
@pytest.mark.parametrize(
    "objective, workers, vectorize",
    [
        ("compiled", "None", "0"), ("compiled", "1", "0"),
        ("compiled", "None", "1"), ("compiled", "1", "1"),
        ("python", "None", "0"), ("python", "2", "0"),
    ],
)  # fmt: skip
def test_interrupt(tmp_path, objective, workers, vectorize):
    (tmp_path / "begun").write_bytes(bytes(60))
    out = interrupt(tmp_path, INTERRUPTED, objective, workers, vectorize)
    assert "60 problems" in out
    left = 10 if vectorize == "1" else 30
    assert f"{left:8d}  {status.MESSAGE[status.INTERRUPTED]}" in out
    assert out.endswith("as it should be\n")


INTERRUPTED_CHUNKS = """
import signal, time
import numpy as np, rmsfast
from rmsfast.core import status

signal.signal(signal.SIGINT, signal.default_int_handler)

@rmsfast.Objective
def slope(x, g):
    g[0] = -1.0
    return -x[0]

asked = []

def chunks(count):
    for k in range(count):
        asked.append(k)
        yield np.zeros((10, 1))

options = {"lr": 0.1, "maxfun": 10**12}
list(rmsfast.minimize_chunks(slope, chunks(1), maxiter=10, **options))
asked.clear()
print("started", flush=True)
results = []
try:
    for result in rmsfast.minimize_chunks(slope, chunks(3), maxiter=10**12, **options):
        results.append(result)
        print("returned", flush=True)
except KeyboardInterrupt:
    pass
assert asked == [0], asked
assert [(each.status == status.INTERRUPTED).all() for each in results] == [True]
"""


@posix
def test_interrupt_ends_the_chunks(tmp_path):
    interrupt(tmp_path, INTERRUPTED_CHUNKS)


def test_objective_that_raises_keyboard_interrupt():
    """In Python, Ctrl-C is an exception within the objective."""

    def fun(x, k):
        if k == 4:
            raise KeyboardInterrupt
        return float(x @ x), 2 * x

    numbers = np.arange(COUNT)
    result = minimize_many(fun, X0S, (PerProblem(numbers),), jac=True)
    for k in range(4):
        assert_row(result, k, run_alone(k, fun, X0S, (Each(numbers),), jac=True))
    assert (result.status[4:] == status.INTERRUPTED).all()
    assert_array_equal(result.x[4:], X0S[4:])
    assert result.best.index < 4


@pytest.mark.parametrize("workers", [map, lambda solve, chunks: [solve(each) for each in chunks]])
def test_interrupt_within_a_map_stops_it(workers):
    """It is raised, and no further chunk is begun."""
    asked = []

    def fun(x, k):
        asked.append(k)
        if k == 3:
            raise KeyboardInterrupt
        return float(x @ x), 2 * x

    with pytest.raises(KeyboardInterrupt):
        minimize_many(
            fun, X0S, (PerProblem(np.arange(COUNT)),), jac=True, workers=workers, chunksize=2
        )
    assert max(asked) == 3


def test_interrupt_of_a_map_is_the_callers():
    def interrupted(solve, chunks):
        solve(chunks[0])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        minimize_many(chain, X0S, (A,), workers=interrupted, chunksize=2)


# Memory ------------------------------------------------------------------------------------------

MEMORY = """
import contextlib, gc, sys, tracemalloc

import numba, numpy as np, rmsfast
from numba.core.runtime import rtsys
from rmsfast import PerProblem, minimize_chunks, minimize_many

@numba.njit
def bowl(x, g, a):
    f = 0.0
    for i in range(x.size):
        g[i] = 2.0 * (x[i] - a)
        f += (x[i] - a) * (x[i] - a)
    return f

fun = rmsfast.Objective(bowl)
COUNT, N = 200_000, 2

def resident():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

def peak(function):
    gc.collect()
    tracemalloc.start()
    result = function()
    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return highest, result

x0s = np.random.default_rng(0).uniform(-2, 2, (COUNT, N))
numbers = PerProblem(np.linspace(-1, 1, COUNT))
options = {"lr": 0.05, "gtol": 0.0, "workers": 2}
minimize_many(fun, x0s[:10], (numbers[:10],), maxiter=1, **options)  # compiles

short, result = peak(lambda: minimize_many(fun, x0s, (numbers,), maxiter=2, **options))
outputs = sum(value.nbytes for value in result.values() if isinstance(value, np.ndarray))
print((short - outputs) / COUNT, "bytes of each problem beyond inputs and outputs")
assert short - outputs < BOUND * COUNT
long, result = peak(lambda: minimize_many(fun, x0s, (numbers,), maxiter=100, **options))
print((long - short) / COUNT, "bytes more after 50 times the iterations")
assert abs(long - short) < 100_000

def chunks():
    for k in range(0, COUNT, 10_000):
        yield x0s[k:k + 10_000], (numbers[k:k + 10_000],)

def all_chunks():
    total = 0.0
    for result in minimize_chunks(fun, chunks(), maxiter=2, **options):
        total += result.fun.sum()
    return total

whole, total = peak(all_chunks)
print(whole / 10_000, "bytes of each problem of a chunk")
assert whole < 3 * (short + x0s.nbytes) / 20

parts, _ = peak(lambda: minimize_many(
    fun, x0s, (numbers,), maxiter=2, lr=0.05, gtol=0.0, workers=map, chunksize=10_000))
print((parts - outputs) / COUNT, "bytes of each problem beyond inputs and outputs, by map")
assert parts - outputs < 1.5 * BOUND * COUNT

@numba.njit
def refuses(x, g, a):
    if x[0] > -10.0:
        raise ValueError(x[0])
    return 0.0

def raise_all():  # one exception for each problem, with an argument known at run time
    with contextlib.suppress(ValueError):
        minimize_many(rmsfast.Objective(refuses), x0s, (numbers,), workers=2)

allocated = rtsys.get_allocation_stats
raise_all()
before = allocated()
raise_all()
after = allocated()
made, freed = after.alloc - before.alloc, after.free - before.free
print(made, "blocks allocated", freed, "freed")
assert made > COUNT and made - freed < 100

levels = [resident()]
for _ in range(6):
    minimize_many(fun, x0s, (numbers,), maxiter=20, **options)
    levels.append(resident())
print([round((level - levels[0]) / 2**20, 2) for level in levels], "MiB resident")
assert levels[-1] - levels[2] < 4 * 2**20
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="asks /proc")
def test_memory(run_python):
    run_python(MEMORY.replace("BOUND", "100"), NUMBA_NRT_STATS="1")


# Objectives that go parallel ---------------------------------------------------------------------

PARALLEL = """
import numba, numpy as np, rmsfast

@numba.njit(parallel=True)
def chain(x, g):
    f = 0.0
    for i in numba.prange(x.size):
        g[i] = 2.0 * (x[i] - i)
        f += (x[i] - i) ** 2
    return f

@numba.njit
def outer(x, g):
    return chain(x, g)

x0s = np.random.default_rng(0).uniform(-2, 2, (12, 50))
for function in (chain, outer):
    fun = rmsfast.Objective(function)
    result = rmsfast.minimize_many(fun, x0s, workers=4, lr=0.1, maxiter=12)
    for k in range(12):
        single = rmsfast.rmsprop(fun, x0s[k], lr=0.1, maxiter=12)
        assert np.allclose(result.x[k], single.x)  # prange adds up in no order
"""


@pytest.mark.parametrize("layer", ["workqueue", "default"])
def test_parallel_objectives(layer, run_python):
    """Numba's workqueue layer, the only one in some places, ends the process at two at once."""
    run_python(PARALLEL, NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS="4")


# Several Python threads --------------------------------------------------------------------------


def test_several_callers_at_once():
    expected = [minimize_many(chain, starts(seed=seed, count=40), (A,)) for seed in range(6)]
    found = [None] * 6

    def work(seed):
        found[seed] = minimize_many(chain, starts(seed=seed, count=40), (A,), workers=2)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    for one, other in zip(found, expected, strict=True):
        assert_array_equal(one.x, other.x)
        assert_array_equal(one.nfev, other.nfev)
