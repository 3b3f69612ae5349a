"""`rmsfast.rmsprop` on a GPU against the same on the CPU.

On a machine with a GPU: ``python -m pytest -m gpu``. Without one tests/test_cuda_simulated.py runs
this file in Numba's simulator, with fewer variables.
"""

import math

import numpy as np
import pytest
from numba import cuda
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize

import rmsfast
from rmsfast import schedules
from rmsfast.core import status
from rmsfast.core.cuda.reduction import BLOCKS, THREADS
from rmsfast.core.cuda.target import SIMULATED
from rmsfast.objective import Objective
from rmsfast.objectives import ackley, levy, rosenbrock

pytestmark = pytest.mark.gpu

N = 11 if SIMULATED else 1003
LONG = 2 * BLOCKS * THREADS + 5  # some threads have more variables than others
START = np.resize([-1.2, 1.0], N)


def term(i, x, steepness=2.0):
    """Term i of Rosenbrock's function; the last is zero."""
    if i == x.size - 1:
        return 0.0
    return steepness * (x[i + 1] - x[i] * x[i]) ** 2 + (1.0 - x[i]) ** 2


def grad(i, x, steepness=2.0):
    """What terms i - 1 and i contribute."""
    g = 0.0
    if i > 0:
        g += 2.0 * steepness * (x[i] - x[i - 1] * x[i - 1])
    if i < x.size - 1:
        g -= 4.0 * steepness * x[i] * (x[i + 1] - x[i] * x[i]) + 2.0 * (1.0 - x[i])
    return g


def bowl_term(i, x, centre, weights):
    """A term with arguments, one of them a tuple."""
    return weights[0][i] * (x[i] - centre[i]) * (x[i] - centre[i]) * weights[1]


def bowl_grad(i, x, centre, weights):
    """Its derivative."""
    return 2.0 * weights[0][i] * (x[i] - centre[i]) * weights[1]


def cliff_term(i, x):
    """Not a number left of zero."""
    return math.nan if x[i] < 0.0 else x[i]


def cliff_grad(i, x):
    """Downwards."""
    return 1.0


def edge_grad(i, x):
    """Infinite left of zero, where the value is finite."""
    return math.inf if x[i] < 0.0 else 1.0


def slope_term(i, x):
    """A slope."""
    return x[i]


chained, bowl = Objective.from_terms(term, grad), Objective.from_terms(bowl_term, bowl_grad)
cliff = Objective.from_terms(cliff_term, cliff_grad)
edge = Objective.from_terms(slope_term, edge_grad)
ONE = np.zeros(1), (np.ones(1), 0.5)
BOWL = np.linspace(-1.0, 1.0, N), (np.linspace(1.0, 2.0, N), 0.5)


def same(one, other, rtol=1e-9):
    """Assert that two results agree, to rounding."""
    for name in ("status", "nit", "nfev", "njev", "success", "message"):
        assert one[name] == other[name], name
    for name in ("x", "x_last", "fun", "jac"):
        assert_allclose(other[name], one[name], rtol=rtol, atol=rtol, err_msg=name)
        assert other[name].dtype == one[name].dtype


def both(fun, x0, args=(), method=rmsfast.rmsprop, rtol=1e-9, **options):
    """Run on the CPU and on the GPU, compare, and return the latter."""
    bounds = options.pop("bounds", None)
    found = [
        minimize(fun, x0, args, method, jac=True, bounds=bounds, options={**options, **where})
        for where in ({}, {"device": "cuda"})
    ]
    same(*found, rtol)
    return found[1]


CASES = {
    "plain": {"lr": 0.01},
    "float32": {"lr": 0.01},
    "bounds": {"lr": 0.1, "bounds": [(-1.3, 1.0)] * N},
    "schedule": {"lr": schedules.inverse_time(0.1, 0.1)},
    "plateau": {"lr": schedules.plateau(0.3, patience=2), "momentum": 0.5},
    "clip_norm": {"lr": 0.01, "clip_norm": 1.0},
    "clip_norm and plateau": {
        "lr": schedules.plateau(0.3, patience=2),
        "clip_norm": 1.0,
        "weight_decay": 0.01,
    },
    "everything": {
        "lr": 0.01,
        "momentum": 0.9,
        "nesterov": True,
        "centered": True,
        "eps_in_sqrt": True,
        "bias_correction": True,
        "initial_scale": 4.0,
        "weight_decay": 0.1,
        "clip_value": 3.0,
        "lr_in_momentum": True,
    },
    "decoupled": {"lr": 0.01, "weight_decay": 0.1, "decoupled": True},
    "maximize": {"lr": 0.01, "maximize": True, "bounds": [(-2.0, 2.0)] * N},
}


@pytest.mark.parametrize("name", CASES)
def test_steps(name):
    x0 = START.astype(np.float32) if name == "float32" else START
    result = both(chained, x0, maxiter=8, rtol=1e-4 if name == "float32" else 1e-9, **CASES[name])
    assert result.status == status.MAXITER
    assert result.nit == 8


@pytest.mark.parametrize("name", ["gradient_descent", "momentum", "adagrad"])
def test_rivals(name):
    both(chained, START, method=getattr(rmsfast, name), lr=0.01, maxiter=8)


ENDS = {
    status.GTOL: (bowl, BOWL[0] + 0.5, BOWL, {"lr": schedules.exponential(0.3, 0.7), "gtol": 0.2}),
    status.FTOL: (bowl, START, BOWL, {"lr": 0.01, "ftol": 0.5}),
    status.XTOL: (bowl, START, BOWL, {"lr": 0.01, "xtol": 0.3}),
    status.MAXFUN: (bowl, START, BOWL, {"lr": 0.01, "maxfun": 3}),
    status.NONFINITE: (cliff, np.linspace(0.5, 1.0, N), (), {"lr": 0.1}),
    status.NONFINITE_START: (cliff, -np.ones(N), (), {"lr": 0.1}),
    status.LIMIT_CYCLE: (bowl, np.ones(1), ONE, {"lr": 0.2, "rho": 0.5, "maxiter": 300}),
}


@pytest.mark.parametrize("code", ENDS)
def test_ends(code):
    fun, x0, args, options = ENDS[code]
    assert both(fun, x0, args, **options).status == code


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of the simulator's arithmetic
@pytest.mark.parametrize("options", [{}, {"clip_norm": 1.0}], ids=str)
def test_a_gradient_that_is_not_finite_ends_the_run_at_the_point_before(options):
    result = both(edge, np.linspace(0.5, 1.0, N), lr=0.01, **options)
    assert result.status == status.NONFINITE
    assert result.nit > 3
    assert (result.x >= 0.0).all()


@pytest.mark.parametrize("n", [1, THREADS, LONG])
def test_sizes(n):
    args = np.linspace(-1.0, 1.0, n), (np.ones(n), 0.5)
    runs = [both(bowl, np.full(n, 2.0), args, lr=0.1, maxiter=2) for _ in range(2)]
    for name in ("x", "fun", "jac"):  # the order of the sums is fixed
        assert_array_equal(runs[0][name], runs[1][name])


@pytest.mark.parametrize("fun", [rosenbrock, levy], ids=lambda fun: fun.name)
def test_classical_functions(fun):
    both(fun, fun.of_size(5).x0, lr=0.01, maxiter=2)


def test_nothing_of_the_callers_is_changed():
    x0, centre, weights = START.copy(), BOWL[0].copy(), BOWL[1][0].copy()
    both(bowl, x0, (centre, (weights, 0.5)), lr=0.01, maxiter=2)
    assert_array_equal(x0, START)
    assert_array_equal(centre, BOWL[0])
    assert_array_equal(weights, BOWL[1][0])


def test_arguments_on_the_device_stay_there():
    there = cuda.to_device(BOWL[0])
    options = {"lr": 0.01, "maxiter": 3}
    result = rmsfast.rmsprop(bowl, START, (there, BOWL[1]), device="cuda", **options)
    same(rmsfast.rmsprop(bowl, START, BOWL, **options), result)


def test_the_host_looks_up_seldom(monkeypatch):
    """One step, then four times as many each time; the last evaluation has no rate to come."""
    from rmsfast.device_minimize import DeviceSolver

    counts, launch = [], DeviceSolver.launch
    monkeypatch.setattr(DeviceSolver, "launch", lambda self, n: counts.append(n) or launch(self, n))
    monkeypatch.setattr("rmsfast.minimize.CHUNK_SECONDS", 1e6)
    options = {"lr": schedules.inverse_time(0.1, 0.1), "maxiter": 30}
    result = rmsfast.rmsprop(chained, START, device="cuda", **options)
    assert counts == [1, 4, 16, 64, 256]
    same(rmsfast.rmsprop(chained, START, **options), result)


# lr="auto" --------------------------------------------------------------------------------------

FEW = START[:5] if SIMULATED else START
CENTRE = np.linspace(-1.0, 1.0, FEW.size), (np.linspace(1.0, 2.0, FEW.size), 0.5)
BOUNDS = [(-1.3, 0.5 if i % 3 else 1.0) for i in range(FEW.size)]

AUTO = {
    "metric alone": {"maxcor": 0, "maxiter": 6},
    "corrections": {"maxcor": 2, "maxiter": 6},
    "float32": {"maxcor": 2, "maxiter": 4},
    "bounds": {"maxcor": 0, "bounds": BOUNDS, "maxiter": 6},
    "bounds and corrections": {"maxcor": 2, "bounds": BOUNDS, "maxiter": 6},
    "eps": {"maxcor": 0, "rho": 0.5, "eps": 0.1, "eps_in_sqrt": True, "maxiter": 4},
}


@pytest.mark.parametrize("name", AUTO)
def test_auto(name):
    options = dict(AUTO[name])
    low, high = np.array(options.get("bounds", [(-np.inf, np.inf)] * FEW.size)).T
    x0 = np.clip(FEW, low, high)
    x0 = x0.astype(np.float32) if name == "float32" else x0
    result = both(chained, x0, rtol=1e-3 if name == "float32" else 1e-9, **options)
    assert result.status == status.MAXITER


def shifted_grad(i, x):
    """Not the gradient of a slope."""
    return -1.0


wrong = Objective.from_terms(slope_term, shifted_grad)
AUTO_ENDS = {
    "gtol": (status.GTOL, bowl, FEW, CENTRE, {"maxcor": 1}),
    "ftol": (status.FTOL, chained, FEW, (), {"maxcor": 0, "ftol": 0.5}),
    "xtol": (status.XTOL, chained, FEW, (), {"maxcor": 0, "xtol": 0.3}),
    "maxfun": (status.MAXFUN, chained, FEW, (), {"maxcor": 0, "maxfun": 3}),
    "maxiter": (status.MAXITER, bowl, FEW, CENTRE, {"maxcor": 0, "maxiter": 0}),
    "back from a cliff": (status.MAXFUN, cliff, np.full(2, 0.05), (), {"maxcor": 0, "maxfun": 4}),
    "over the cliff": (status.NONFINITE_START, cliff, -np.ones(2), (), {"maxcor": 0}),
    "wrong gradient": (status.INCONSISTENT, wrong, np.zeros(2), (), {"maxcor": 0}),
}


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of the simulator's arithmetic
@pytest.mark.parametrize("name", AUTO_ENDS)
def test_auto_ends(name):
    code, fun, x0, args, options = AUTO_ENDS[name]
    assert both(fun, x0, args, **options).status == code


def test_more_variables_than_threads():
    """A metric of each variable solves it in two steps."""
    args = np.linspace(0.1, 1.0, LONG), (np.linspace(1.0, 2.0, LONG), 0.5)
    bounds = np.resize([[-1.0, 0.5], [-1.0, 2.0]], (LONG, 2))
    result = both(bowl, np.zeros(LONG), args, bounds=bounds, maxcor=1, xtol=1e-12)
    assert (result.status, result.nit) == (status.GTOL, 2)
    assert_allclose(result.x, np.clip(args[0], *bounds.T), rtol=1e-9)


@pytest.mark.parametrize("maxcor", [0, 2])
def test_auto_by_functions_of_device_arrays(maxcor):
    options, calls = {"maxcor": maxcor, "maxiter": 4, "xtol": 1e-12}, []
    here = rmsfast.rmsprop(chained, FEW, (3.0,), **options)
    there = rmsfast.rmsprop(through_the_host, FEW, (3.0, calls), True, device="cuda", **options)
    same(here, there)
    assert all(x is calls[0] for x in calls)


def test_auto_calls_no_function_in_vain():
    """The second step is too short to lead anywhere; the run starts afresh from there."""

    def fun(x):
        return x.sum(), np.where(x > 0.95, 1.0, 1e-20)

    def on_device(x):
        calls.append(x)
        f, g = fun(x.copy_to_host())
        return f, cuda.to_device(g)

    calls = []
    options = {"jac": True, "maxcor": 0, "gtol": 0.0, "eps": 1e-30, "maxfun": 3}
    here = rmsfast.rmsprop(fun, np.ones(2), **options)
    there = rmsfast.rmsprop(on_device, np.ones(2), device="cuda", **options)
    same(here, there)
    assert (there.status, there.nit, len(calls)) == (status.MAXFUN, 2, 3)


def test_auto_reaches_the_minimum():
    """Which is one, where all variables are."""
    result = rmsfast.rmsprop(chained, FEW[-2:] if SIMULATED else FEW, device="cuda", maxcor=3)
    assert result.success
    assert_allclose(result.x, 1.0, rtol=1e-4)


# What someone watches ----------------------------------------------------------------------------


def test_iterates_are_those_of_the_cpu(capsys):
    seen, printed, found = {"cpu": [], "cuda": []}, {}, {}

    def watch(intermediate_result):
        seen[device].append(intermediate_result)

    options = {"lr": 0.01, "maxiter": 4, "return_all": True, "disp": 2}
    for device in seen:
        found[device] = rmsfast.rmsprop(chained, START, callback=watch, device=device, **options)
        printed[device] = capsys.readouterr().out
    for here, there in zip(*(text.split() for text in printed.values()), strict=True):
        assert here == there or math.isclose(float(here), float(there), rel_tol=1e-12)
    assert_allclose(found["cuda"].allvecs, found["cpu"].allvecs, rtol=1e-12)
    assert len(seen["cuda"]) == 4
    for here, there in zip(*seen.values(), strict=True):
        assert_allclose(there.x, here.x, rtol=1e-12)
        assert_allclose(there.fun, here.fun, rtol=1e-12)


def test_callback_stops():
    def stop(x):
        raise StopIteration

    result = rmsfast.rmsprop(chained, START, callback=stop, device="cuda", lr=0.01)
    assert (result.status, result.nit) == (status.CALLBACK, 1)


# Functions of device arrays ----------------------------------------------------------------------


def through_the_host(x, *args):
    """Chained Rosenbrock of an array on the device; it notes the point."""
    *args, calls = args
    calls.append(x)
    f, g = chained(x.copy_to_host(), *args)
    return (f if len(calls) % 2 else cuda.to_device(np.array([f]))), cuda.to_device(g)


@pytest.mark.parametrize("name", CASES)
def test_functions_of_device_arrays(name):
    x0 = START.astype(np.float32) if name == "float32" else START
    options, calls = dict(CASES[name]), []
    bounds = options.pop("bounds", None)
    here = minimize(
        chained, x0, (3.0,), rmsfast.rmsprop, True, bounds=bounds, options=options | {"maxiter": 8}
    )
    there = minimize(
        through_the_host,
        x0,
        (3.0, calls),
        rmsfast.rmsprop,
        True,
        bounds=bounds,
        options=options | {"maxiter": 8, "device": "cuda"},
    )
    same(here, there, 1e-4 if name == "float32" else 1e-9)
    assert all(x is calls[0] for x in calls)  # always the same memory


def test_no_more_calls_than_maxfun(monkeypatch):
    monkeypatch.setattr("rmsfast.minimize.CHUNK_SECONDS", 1e6)
    calls = []
    result = rmsfast.rmsprop(
        through_the_host, START, (2.0, calls), True, device="cuda", lr=0.01, maxfun=7
    )
    assert (result.status, result.nfev, len(calls)) == (status.MAXFUN, 7, 7)


# Bad input ---------------------------------------------------------------------------------------


def on_device(values):
    return cuda.to_device(np.asarray(values))


BAD = {
    "no pair": (lambda x: 1.0, TypeError, r"^with jac=True fun must return \(f, gradient\), got"),
    "on the host": (
        lambda x: (1.0, np.ones(2)),
        TypeError,
        r"^the gradient must be an array on the GPU, got numpy\.ndarray$",
    ),
    "shape": (
        lambda x: (1.0, on_device(np.ones(3))),
        ValueError,
        r"^the gradient must have the shape \(2,\), got \(3,\)$",
    ),
    "dtype": (
        lambda x: (1.0, on_device(np.ones(2, np.float32))),
        TypeError,
        "^the gradient must be float64, as x, got float32$",
    ),
    "value": (lambda x: ("no", on_device(np.ones(2))), TypeError, "^fun must return a real number"),
    "values": (
        lambda x: (on_device(np.ones(2)), on_device(np.ones(2))),
        ValueError,
        r"^fun must have the shape \(1,\), got \(2,\)$",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_functions(name):
    fun, error, text = BAD[name]
    with pytest.raises(error, match=text):
        rmsfast.rmsprop(fun, np.ones(2), jac=True, device="cuda", lr=0.1)


def test_bad_input():
    there = {"device": "cuda", "lr": 0.1}
    with pytest.raises(TypeError, match="got <ackley, n=2>, which is no sum of terms$"):
        rmsfast.rmsprop(ackley, START, jac=True, **there)
    for fun, jac in ((ackley, None), (chained.fun, None), (None, True)):
        with pytest.raises(TypeError, match=r"^fun must be an rmsfast\.Objective\.from_terms with"):
            rmsfast.rmsprop(fun, START, jac=jac, **there)
    with pytest.raises(TypeError, match="^jac must be None or True with device='cuda'"):
        rmsfast.rmsprop(chained, START, jac=np.cos, **there)
    with pytest.raises(ValueError, match="^finite_diff must not be given with device='cuda'"):
        rmsfast.rmsprop(chained, START, finite_diff="2-point", **there)
    with pytest.raises(TypeError, match=r"^args\[0\] must be a number, an array or a tuple of"):
        rmsfast.rmsprop(chained, START, ("steep",), **there)
    with pytest.raises(ValueError, match=r"^x0\[1\] must be in its bounds"):
        rmsfast.rmsprop(chained, START, bounds=[(-2.0, 0.0)] * N, **there)
