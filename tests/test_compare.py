"""`rmsfast.compare`: the same problem for all, counted alike, and what it refuses."""

import re
import warnings

import numba
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize, rosen, rosen_der

import rmsfast
from rmsfast import compare
from rmsfast.comparison import OURS
from rmsfast.objectives import penalty_1, rosenbrock, styblinski_tang
from rmsfast.options import RULES

X0 = [-1.2, 1.0]
RATES = {"gradient_descent": {"lr": 1e-3}, "momentum": {"lr": 1e-3}, "adagrad": {"lr": 0.5}}
SCIPY = ["BFGS", "CG", "L-BFGS-B", "TNC", "SLSQP", "trust-constr", "Newton-CG"]
GRADIENT_FREE = ["Nelder-Mead", "Powell", "COBYLA", "COBYQA"]
ALL = {"rmsprop": {}, **RATES, **{name: {} for name in SCIPY + GRADIENT_FREE}}


def pair(x):
    return rosen(x), rosen_der(x)


class Watched:
    """A Python objective that keeps the points it was called at."""

    def __init__(self, function):
        self.function, self.points = function, []

    def __call__(self, x, *args):
        self.points.append(np.array(x))
        return self.function(x, *args)


# What is run -------------------------------------------------------------------------------------

FORMS = {
    "pair": (pair, True),
    "gradient": (rosen, rosen_der),
    "objective": (rosenbrock, None),
    "jitted": (numba.njit(lambda x: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2), None),
}


@pytest.mark.parametrize(("fun", "jac"), FORMS.values(), ids=FORMS)
def test_each_result_is_that_of_minimize(fun, jac):
    """Run one by one by `scipy.optimize.minimize`, the methods give the same to the last bit."""
    methods = {"rmsprop": {}, **RATES, "L-BFGS-B": {}, "SLSQP": {}, "TNC": {}}
    if jac is not None:
        methods["BFGS"] = {}
    comparison = compare(fun, X0, methods, jac=jac)
    assert [*comparison.results] == [row.label for row in comparison.rows] == [*methods]
    for label, options in methods.items():
        expected = minimize(
            fun, X0, method=OURS.get(label, label), options=options,
            jac=True if isinstance(fun, rmsfast.Objective) else jac,
        )  # fmt: skip
        result = comparison.results[label]
        for name in ("x", "fun", "nit", "nfev", "status", "message", "success"):
            assert_array_equal(result[name], expected[name])


def test_the_rules_are_ours():
    assert [*OURS] == [*RULES]
    assert all(OURS[name] is getattr(rmsfast, name) for name in RULES)


@pytest.mark.parametrize("name", ALL)
def test_calls_are_counted(name):
    """The objective itself counts: half of its calls, but the warm-up, are of the recorded run."""
    fun = Watched(pair)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        comparison = compare(fun, X0, {name: ALL[name]}, jac=True, tol=1e-3)
    assert not caught  # of a gradient that the method does not use, least of all
    (row,) = comparison.rows
    warm = 1 + 2 * (name in OURS)
    assert len(fun.points) == 2 * row.nfev + warm
    recorded = fun.points[: row.nfev]
    assert_array_equal(recorded, fun.points[row.nfev + warm :])
    result = comparison.results[name]
    for point in (X0, result.x):
        assert any(np.allclose(point, x, rtol=1e-15) for x in recorded)
    if name in OURS:
        assert result.nfev == row.nfev
    assert row.fun == result.fun == rosen(result.x)
    assert (row.success, row.message) == (result.success, result.message)
    assert (row.status, row.nit) == (result.status, result.get("nit"))
    assert row.seconds > 0


@pytest.mark.parametrize("name", ALL)
def test_iterates_are_kept(name):
    comparison = compare(pair, X0, {name: ALL[name]}, jac=True, tol=1e-3)
    result = comparison.results[name]
    assert_array_equal(result.allvecs[0], X0)
    assert len(result.allvecs) > 5
    assert_allclose(result.allvecs[-1], result.get("x_last", result.x), atol=1e-2)
    for a, b in zip(result.allvecs[:-1], result.allvecs[1:], strict=True):
        assert not np.shares_memory(a, b)
    if name in OURS:
        by_hand = OURS[name](pair, X0, jac=True, return_all=True, gtol=1e-3, **ALL[name])
        assert_array_equal(result.allvecs, by_hand.allvecs)


def test_same_start_args_and_bounds_for_all():
    def shifted(x, a, b):
        return ((x - a) ** 2).sum() + b, 2 * (x - a)

    bounds = [(0, 0.5), (None, 3)]
    start = np.array([0.25, 0])
    methods = ["rmsprop", "L-BFGS-B", "Nelder-Mead", "TNC"]
    comparison = compare(shifted, start, methods, args=(1.0, 5.0), jac=True, bounds=bounds)
    assert_array_equal(start, [0.25, 0])
    for row in comparison.rows:
        assert_allclose(comparison.results[row.label].x, [0.5, 1.0], atol=1e-4)
        assert row.fun == pytest.approx(5.25, rel=1e-6)
    lone = compare(lambda x, a: ((x - a) ** 2).sum(), 0.0, ["rmsprop"], args=2.0)
    assert_allclose(lone.results["rmsprop"].x, 2, atol=1e-4)


def test_options_of_all_and_of_one():
    methods = {"short": ("rmsprop", {"maxiter": 3}), "adagrad": {"lr": 0.1}, "L-BFGS-B": {}}
    comparison = compare(rosenbrock, X0, methods, maxiter=7)
    assert [row.nit for row in comparison.rows] == [3, 7, 7]
    looser = compare(rosenbrock, X0, ["rmsprop", "L-BFGS-B"], tol=0.1)
    tighter = compare(rosenbrock, X0, ["rmsprop", "L-BFGS-B"], tol=1e-9)
    for a, b in zip(looser.rows, tighter.rows, strict=True):
        assert a.nfev < b.nfev


def test_callables_and_labels():
    def theirs(fun, x0, args, **rest):
        return minimize(fun, x0, args, method="BFGS", jac=rest["jac"], callback=rest["callback"])

    comparison = compare(pair, X0, [theirs, rmsfast.adagrad, "CG"], jac=True)
    assert [row.label for row in comparison.rows] == ["theirs", "adagrad", "CG"]
    assert_array_equal(comparison.results["theirs"].x, minimize(pair, X0, jac=True).x)
    comparison = compare(pair, X0, {"one": (theirs, {}), "two": ("CG", {})}, jac=True)
    assert [row.nfev for row in comparison.rows] == [
        minimize(pair, X0, jac=True, method=name).nfev for name in ("BFGS", "CG")
    ]


def test_a_method_that_tells_little():
    def guess(fun, x0, args, **rest):
        return rmsfast.minimize.OptimizeResult(x=x0, fun=fun(x0, *args))

    comparison = compare(rosen, X0, [guess])
    row = comparison.rows[0]
    assert row[:4] == ("guess", rosen(X0), None, 1)
    assert row[5:] == (None, False, "")
    assert str(comparison).splitlines()[1].split()[:4] == ["guess", "24.2", "-", "1"]


# What it looks like ------------------------------------------------------------------------------


def test_table():
    methods = {"rmsprop": {}, "slow": ("momentum", {"maxiter": 9})}
    comparison = compare(pair, X0, methods, jac=True)
    lines = str(comparison).splitlines()
    assert lines[0].split() == ["method", "fun", "nit", "nfev", "seconds", "message"]
    assert len(lines) == 3 and repr(comparison) == str(comparison)
    starts = [line.index(text) for line, text in zip(lines, ["mess", "Opti", "Maxi"], strict=True)]
    assert len({*starts}) == 1
    row = comparison.rows[1]
    assert lines[2].split()[:4] == ["slow", f"{row.fun:.6g}", "9", "10"]
    assert lines[1].endswith("...") and max(map(len, lines)) < 120
    known = compare(rosenbrock, X0, ["rmsprop", "BFGS"], minimum=-1)
    lines = str(known).splitlines()
    assert lines[0].split()[:4] == ["method", "fun", "fun", "-"]
    assert [line.split()[2] for line in lines[1:]] == ["1", "1"]


@pytest.mark.parametrize(
    ("fun", "n", "minimum"),
    [
        (styblinski_tang, 3, -39.16617 * 3),  # Styblinski and Tang (1990)
        (penalty_1, 7, None),
        (numba.njit(lambda x: (x * x).sum()), 2, None),
    ],
    ids=["known", "of this size unknown", "the caller's"],
)
def test_minimum_of_objectives(fun, n, minimum, pyplot):
    """The distance from the minimum of a classical function is shown without being asked for."""
    comparison = compare(fun, np.full(n, -1.0), ["rmsprop"], maxiter=20)
    assert comparison.minimum == (None if minimum is None else pytest.approx(minimum, abs=2e-5))
    assert ("fun - minimum" in str(comparison)) == (minimum is not None)
    label = "f" if minimum is None else "$|f - f^*|$"
    assert comparison.plot().get_ylabel() == label
    given = compare(fun, np.full(n, -1.0), ["rmsprop"], minimum=-200, maxiter=20)
    assert given.minimum == -200


def test_plot(pyplot):
    """A curve for each label, through the value of each iterate."""

    def shifted(x, a):
        return ((x - a) ** 2).sum() + 1, 2 * (x - a)

    methods = {"one": ("rmsprop", {}), "BFGS": {}}
    comparison = compare(shifted, [3.0, -2.0], methods, args=(0.5,), jac=True, minimum=1.0)
    _, ax = pyplot.subplots()
    assert comparison.plot(ax=ax) is ax
    curves = {line.get_label(): line.get_ydata() for line in ax.get_lines()}
    for label, result in comparison.results.items():
        expected = [abs(shifted(x, 0.5)[0] - 1) for x in result.allvecs]
        assert_allclose(curves[label], expected, rtol=1e-12, atol=1e-15)
    assert comparison.plot() is not ax


# What it refuses ---------------------------------------------------------------------------------


def never(x):
    raise AssertionError("the objective was called before the arguments were checked")


KNOWN = "methods must be of rmsprop, gradient_descent, momentum, adagrad, or known to scipy"
LATER = ["rmsprop", "BFGS"]
BAD = [
    ([], {}, ValueError, "methods must not be empty, got []"),
    ({}, {}, ValueError, "methods must not be empty, got {}"),
    ("adagrad", {}, TypeError, "methods must be a list or a dict, got 'adagrad'"),
    (None, {}, TypeError, "methods must be a list or a dict, got None"),
    ([*LATER, "adam"], {}, ValueError, KNOWN),
    ([*LATER, "adam"], {}, ValueError, "got 'adam'"),
    ({"rmsprop": {}, "mine": {}}, {}, ValueError, "got 'mine'"),
    ({"mine": ("adam", {})}, {}, ValueError, "got 'adam'"),
    ({"mine": (None, {})}, {}, TypeError, "methods must hold names and callables, got None"),
    ([*LATER, 3], {}, TypeError, "methods must hold names and functions, or be a dict, got 3"),
    ([*LATER, "BFGS"], {}, ValueError, "methods has 'BFGS' twice: give a dict"),
    ([rmsfast.adagrad, "adagrad"], {}, ValueError, "methods has 'adagrad' twice"),
    ({"mine": "BFGS"}, {}, TypeError, "methods['mine'] must be a dict of options or (method, opt"),
    ({"mine": ("BFGS", 3)}, {}, TypeError, "methods['mine'] must be a dict of options or (method"),
    ({3: ("BFGS", {})}, {}, TypeError, "methods must have strings as labels, got 3"),
    ({"BFGS": {}, "adagrad": {"rho": 0.9}}, {}, ValueError, "adagrad: Unknown solver options: rho"),
    ({"rmsprop": {}, "mine": ("L-BFGS-B", {"lr": 1})}, {}, ValueError,
     "mine: Unknown solver options: lr"),
    (LATER, {"lr": 0.1}, ValueError, "BFGS: Unknown solver options: lr"),
    (["rmsprop", "CG"], {"bounds": [(-2, 2)] * 2}, ValueError, "CG: Method CG cannot handle bound"),
    (["rmsprop", "dogleg"], {"jac": lambda x: x}, ValueError, "Hessian is required"),
    ({"BFGS": {}, "rmsprop": {"rho": 2}}, {}, ValueError, "rho must be in [0, 1), got 2"),
    (["rmsprop", "L-BFGS-B"], {"return_all": True}, ValueError,
     "L-BFGS-B: Method L-BFGS-B does not support the return_all option"),
    (LATER, {"callback": print}, TypeError,
     "'callback' is no option of a method: compare takes none; its results hold all iterates"),
    (LATER, {"hess": never}, TypeError, "'hess' is no option of a method: compare takes none"),
    (LATER, {"options": {"maxiter": 3}}, TypeError,
     "'options' is no option of a method: give each of them by its name, as maxiter=100"),
    ({"BFGS": {}, "mine": ("rmsprop", {"callback": print})}, {}, TypeError,
     "methods['mine']: 'callback' is no option of a method: compare takes none"),
    ({"rmsprop": {"bounds": [(0, 1)] * 2}}, {}, TypeError,
     "methods['rmsprop']: 'bounds' is no option of a method: it is the same for all methods"),
    (LATER, {"minimum": "0"}, TypeError, "minimum must be a real number, got '0'"),
    (LATER, {"minimum": np.nan}, ValueError, "minimum must be in (-inf, inf), got nan"),
    (LATER, {"bounds": [(0, 1)] * 2}, ValueError, "x0[0] must be in its bounds"),
    (LATER, {"x0": [np.nan, 1.0]}, ValueError, "x0 must be finite, got x0[0] = nan"),
    (LATER, {"fun": 3}, TypeError, "fun must be callable, got 3"),
]  # fmt: skip


def name_of(value):
    return str(value) if isinstance(value, str) else ""


@pytest.mark.parametrize(("methods", "change", "error", "text"), BAD, ids=name_of)
def test_bad_input_is_told_before_the_first_run(methods, change, error, text):
    given = {"fun": never, "x0": X0, **change}
    with pytest.raises(error, match=re.escape(text)):
        compare(given.pop("fun"), given.pop("x0"), methods, **given)


def test_errors_of_a_method_name_its_label():
    with pytest.raises(ValueError) as caught:
        compare(pair, X0, {"A": ("rmsprop", {}), "B": ("rmsprop", {"eps": -1})}, jac=True)
    assert caught.value.__notes__ == ["This is about the method 'B'."]


def test_nothing_given_is_changed():
    own = {"lr": 0.1}
    methods = {"adagrad": own, "L-BFGS-B": {}}
    x0 = np.array(X0)
    compare(rosenbrock, x0, methods, maxiter=3)
    assert methods == {"adagrad": {"lr": 0.1}, "L-BFGS-B": {}} and own == {"lr": 0.1}
    assert_array_equal(x0, X0)


def test_errors_of_the_objective_come_through():
    with pytest.raises(AssertionError, match="the objective was called"):
        compare(never, X0, ["adagrad"])
