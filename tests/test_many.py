"""Many problems at once: each row is the single run, to the last bit; and what the result tells."""

import copy
import math
import pickle

import numba
import numpy as np
import pytest
from forms import (
    gradient,
    in_place,
    jit,
    jit_gradient,
    jit_in_place,
    jit_pair,
    jit_value,
    jit_value_32,
    pair,
    value,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy import LowLevelCallable
from scipy.optimize import Bounds, OptimizeResult

import rmsfast
from rmsfast import PerProblem, minimize_chunks, minimize_many, schedules
from rmsfast.core import status

K = 7
A = 10.0
NAMES = ("x", "fun", "jac", "nit", "nfev", "njev", "status", "success", "message")

# The comparison ----------------------------------------------------------------------------------


class Each:
    """What each problem has its own of: ``PerProblem(array)`` together, ``array[k]`` alone."""

    def __init__(self, array):
        self.array = array


def together(value):
    if isinstance(value, tuple):
        return tuple(map(together, value))
    return PerProblem(value.array) if isinstance(value, Each) else value


def alone(value, k, shape):
    """What problem `k` has of arguments or bounds."""
    if isinstance(value, tuple):
        return tuple(alone(part, k, shape) for part in value)
    if isinstance(value, Bounds) and max(np.ndim(value.lb), np.ndim(value.ub)) == 2:
        return Bounds(*(np.broadcast_to(side, shape)[k] for side in (value.lb, value.ub)))
    return value.array[k] if isinstance(value, Each) else value


def bits(value):
    """The arrays within `value`, to see whether anything was written into them."""
    if isinstance(value, (tuple, list)):
        return [bits(part) for part in value]
    if isinstance(value, (Each, PerProblem)):
        return bits(value.array)
    if isinstance(value, Bounds):
        return bits((value.lb, value.ub))
    return (value.dtype, value.tobytes()) if isinstance(value, np.ndarray) else repr(value)


def run_alone(k, fun, x0s, args=(), *, bounds=None, **options):
    own = alone(args, k, None), alone(bounds, k, np.shape(x0s))
    return rmsfast.rmsprop(fun, x0s[k], own[0], bounds=own[1], **options)


def assert_row(result, k, single):
    """Row `k` is the single run, bit for bit."""
    for name in NAMES:
        row = getattr(result, name)[k]
        assert_array_equal(row, single[name], err_msg=f"{name}[{k}]", strict=name in "x jac")
        assert (
            np.asarray(row).tobytes() == np.asarray(single[name], np.asarray(row).dtype).tobytes()
        )


def assert_shapes(result, x0s):
    count, n = np.shape(x0s)
    dtype = np.float32 if np.asarray(x0s).dtype == np.float32 else np.float64
    assert isinstance(result, rmsfast.ManyResult)
    assert isinstance(result, OptimizeResult)
    kinds = {"x": "f", "jac": "f", "fun": "f", "success": "b", "message": "O"}
    for name in NAMES:
        array = getattr(result, name)
        assert array.shape == ((count, n) if name in ("x", "jac") else (count,)), name
        assert array.dtype.kind == kinds.get(name, "i"), name
        if kinds.get(name) == "f":
            assert array.dtype == dtype, name


def check(
    fun, x0s, args=(), *, bounds=None, workers=None, chunksize=None, vectorize=None, **options
):
    """Solve together and one by one, compare, and return what was found together."""
    before = bits((x0s, args, bounds))
    result = minimize_many(
        fun, x0s, together(args), bounds=together(bounds),
        workers=workers, chunksize=chunksize, vectorize=vectorize, **options,
    )  # fmt: skip
    assert bits((x0s, args, bounds)) == before
    assert_shapes(result, x0s)
    for k in range(len(x0s)):
        assert_row(result, k, run_alone(k, fun, x0s, args, bounds=bounds, **options))
    return result


def starts(n=2, dtype=float, count=K, seed=0):
    return np.random.default_rng(seed).uniform(-2, 2, (count, n)).astype(dtype)


# Objectives, beside the chain of forms.py --------------------------------------------------------


def below_zero(x, g, a):
    f = 0.0
    for i in range(x.size):
        g[i] = -2 * a * (x[i] - 1)
        f -= a * (x[i] - 1) * (x[i] - 1)
    return f


@numba.cfunc("float64(intc, CPointer(float64), CPointer(float64), voidptr)", cache=True)
def c_function(n, x, g, user_data):
    return jit_in_place(numba.carray(x, n), numba.carray(g, n), 10.0)


chain = rmsfast.Objective(jit_in_place)
hill = rmsfast.Objective(jit(below_zero))


class Cooling:
    """A schedule that is neither a function nor one of rmsfast's."""

    def __call__(self, k):
        return 0.1 / (1 + 0.02 * k)


def halving(k):
    return 0.1 * 0.5 ** (k // 40)


MODES = {
    "auto": {},
    "no corrections": {"maxcor": 0},
    "three corrections": {"maxcor": 3, "rho": 0.9, "eps": 1e-4},
    "root of the sum": {"eps_in_sqrt": True},
    "gtol": {"gtol": 1e-2},
    "tol": {"tol": 0.1},
    "ftol": {"gtol": 0.0, "ftol": 1e-3},
    "xtol": {"gtol": 0.0, "xtol": 1e-2},
    "maxiter": {"maxiter": 3},
    "no iterations": {"maxiter": 0},
    "maxfun": {"maxfun": 4},
    "one evaluation": {"maxfun": 1},
    "precision": {"gtol": 0.0, "maxiter": 300},
}
NUMERIC = {
    "numeric": {"lr": 0.05},
    "limit cycle": {"lr": 0.1, "rho": 0.5, "maxiter": 800},
    "out of steps": {"lr": 0.1, "maxiter": 800},
    "out of calls": {"lr": 0.1, "momentum": 0.5, "maxfun": 500},
    "one step": {"lr": 0.1, "maxiter": 1},
    "no step": {"lr": 0.1, "maxiter": 0},
    "rho, eps": {"lr": 0.05, "rho": 0.7, "eps": 1e-2},
    "rho zero": {"lr": 0.05, "rho": 0.0},
    "eps in sqrt": {"lr": 0.05, "eps_in_sqrt": True},
    "momentum": {"lr": 0.005, "momentum": 0.9},
    "nesterov": {"lr": 0.005, "momentum": 0.9, "nesterov": True},
    "lr in momentum": {"lr": 0.005, "momentum": 0.9, "lr_in_momentum": True},
    "centered": {"lr": 0.01, "centered": True, "rho": 0.9},
    "centered, momentum": {"lr": 0.01, "centered": True, "momentum": 0.5, "rho": 0.9},
    "bias correction": {"lr": 0.05, "bias_correction": True},
    "initial scale": {"lr": 0.1, "initial_scale": 1.0},
    "weight decay": {"lr": 0.05, "weight_decay": 0.01},
    "decoupled": {"lr": 0.05, "weight_decay": 0.01, "decoupled": True},
    "clip value": {"lr": 0.05, "clip_value": 0.5},
    "clip norm": {"lr": 0.05, "clip_norm": 0.5, "momentum": 0.5},
    "torch": {"preset": "torch"},
    "keras": {"preset": "keras"},
    "tf1": {"preset": "tf1", "lr": 0.01},
    "optax": {"preset": "optax", "lr": 0.01},
    "d2l": {"preset": "d2l"},
    "ensmallen": {"preset": "ensmallen"},
    "optimisers_jl": {"preset": "optimisers_jl"},
    "pennylane": {"preset": "pennylane", "momentum": 0.3},
    "quimb": {"preset": "quimb"},
    "constant": {"lr": schedules.constant(0.05)},
    "exponential": {"lr": schedules.exponential(0.1, 0.98)},
    "inverse time": {"lr": schedules.inverse_time(0.2, 0.1), "momentum": 0.5},
    "cosine": {"lr": schedules.cosine(0.1, 150, 1e-4)},
    "step": {"lr": schedules.step(0.1, 30, 0.5)},
    "plateau": {"lr": schedules.plateau(0.1, patience=10)},
    "plateau, momentum": {"lr": schedules.plateau(0.1, 0.3, 5), "momentum": 0.9},
    "function": {"lr": halving},
    "callable": {"lr": Cooling()},
}
EVERY = MODES | {name: {"maxiter": 200} | options for name, options in NUMERIC.items()}
each_of_all_modes = pytest.mark.parametrize("options", EVERY.values(), ids=EVERY)
FEW = ("auto", "no corrections", "numeric", "momentum", "plateau", "function")
each_mode = pytest.mark.parametrize("options", [EVERY[name] for name in FEW], ids=FEW)
PLAIN = {"lr": 0.05, "maxiter": 60}  # where the mode does not matter: it compiles fastest

# Each row is the single run ----------------------------------------------------------------------


@each_of_all_modes
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n", [1, 2, 10, 50])
def test_every_row_is_the_single_run(n, dtype, options):
    check(chain, starts(n, dtype), (A,), **options)


@each_mode
@pytest.mark.parametrize("count", [1, 2, 300])
def test_any_number_of_problems(count, options):
    result = check(chain, starts(count=count), (A,), **options)
    assert len(result.fun) == count


def test_the_modes_see_every_way_to_end():
    """What the tests above are worth: the rows do not all end alike."""
    seen = set()
    for options in EVERY.values():
        seen |= set(minimize_many(chain, starts(10), (A,), **options).status.tolist())
    assert seen >= {status.GTOL, status.MAXITER, status.MAXFUN, status.FTOL, status.XTOL}
    assert (
        status.LIMIT_CYCLE in minimize_many(chain, starts(1), (A,), **EVERY["limit cycle"]).status
    )


def test_message_of_a_constant_rate_that_ran_out():
    result = check(chain, starts(), (A,), **EVERY["out of steps"])
    assert any("brought no lower value" in message for message in result.message)


@settings(max_examples=60)
@given(
    count=st.integers(1, 12), n=st.integers(1, 9), seed=st.integers(0, 10**6),
    single=st.booleans(), threads=st.integers(1, 4), mode=st.sampled_from(sorted(EVERY)),
    half=st.sampled_from([None, 0.5, 1.0]), vectorize=st.sampled_from([None, False, True]),
)  # fmt: skip
def test_any_problems(count, n, seed, single, threads, mode, half, vectorize):
    x0s = starts(n, np.float32 if single else float, count, seed)
    rng = np.random.default_rng(seed)
    bounds = None
    if half is not None:
        open_side = np.where(rng.random((count, n)) < 0.3, np.inf, half)
        bounds = Bounds(x0s - half, x0s + open_side)
    args = (Each(rng.uniform(0.1, 10, count)),)
    vectorize = vectorize and n in (2, 3)  # each n is compiled
    check(chain, x0s, args, bounds=bounds, workers=threads, vectorize=vectorize, **EVERY[mode])


OTHER_STARTS = {
    "list": [[0.5, -1.0], [2.0, 2.0]],
    "integers": np.arange(6).reshape(3, 2),
    "bytes": np.arange(6, dtype=np.int8).reshape(3, 2),
    "booleans": np.eye(2, dtype=bool),
    "half precision": starts(dtype=np.float16),
    "long double": starts(dtype=np.longdouble),
    "other byte order": starts().astype(">f8"),
    "other byte order, float32": starts().astype(">f4"),
    "Fortran order": np.asfortranarray(starts()),
    "every other": starts(4)[::2, ::2],
    "backwards": starts()[::-1, ::-1],
    "one start for all": np.broadcast_to([0.5, -0.5], (5, 2)),
    "matrix-like": starts()[:, None, :].reshape(K, 2),
}


@pytest.mark.parametrize("x0s", OTHER_STARTS.values(), ids=OTHER_STARTS)
def test_other_arrays_of_starts(x0s):
    if isinstance(x0s, np.ndarray):
        x0s = x0s.view()
        x0s.flags.writeable = False
    check(chain, x0s, (A,))


def test_starts_in_a_file(tmp_path):
    x0s = np.lib.format.open_memmap(tmp_path / "x0s.npy", "w+", float, (K, 2))
    x0s[:] = starts()
    check(chain, x0s, (A,))
    x0s.flush()
    result = check(chain, np.load(tmp_path / "x0s.npy", mmap_mode="r"), (A,))
    assert type(result.x) is np.ndarray


def test_result_owns_its_arrays():
    x0s = starts()
    result = minimize_many(chain, x0s, (A,), maxiter=0)
    assert_array_equal(result.x, x0s)
    arrays = [x0s, *(result[name] for name in NAMES[:-1])]
    for i, a in enumerate(arrays):
        assert i == 0 or a.flags.writeable
        for b in arrays[i + 1 :]:
            assert not np.shares_memory(a, b)


def test_no_problems():
    for fun, jac in ((chain, None), (pair, True)):
        for workers in (None, 1, 2, map):
            for dtype in (np.float64, np.float32):
                x0s = np.empty((0, 3), dtype)
                result = minimize_many(fun, x0s, (A,), jac=jac, workers=workers)
                assert_shapes(result, x0s)
                assert "0 problems" in repr(result)
                with pytest.raises(ValueError, match="no problem has a value"):
                    _ = result.best
    result = minimize_many(
        chain, np.empty((0, 3)), (PerProblem(np.empty(0)),), bounds=PerProblem(np.empty((0, 3, 2)))
    )
    assert result.x.shape == (0, 3)


# Bounds ------------------------------------------------------------------------------------------

N = 3
LOW, HIGH = -2 - 0.1 * np.arange(K * N).reshape(K, N), 2 + 0.1 * np.arange(K * N).reshape(K, N)
TIGHT = starts(N) - 0.3, starts(N) + 0.3


def box(low, high):
    return np.stack([np.broadcast_to(low, (K, N)), np.broadcast_to(high, (K, N))], -1)


def some(array, problems, number):
    """`array` with another number in some problems."""
    array = array.copy()
    array[problems] = number
    return array


FIXED_ONE = some(TIGHT[0], (2, 1), starts(N)[2, 1]), some(TIGHT[1], (2, 1), starts(N)[2, 1])
FIXED_FIRST = some(TIGHT[0], (0, 1), starts(N)[0, 1]), some(TIGHT[1], (0, 1), starts(N)[0, 1])
FIXED_PROBLEM = some(TIGHT[0], 4, starts(N)[4]), some(TIGHT[1], 4, starts(N)[4])
BOXES = {
    "pairs": [(-2, 2)] * N,
    "tuple of pairs": ((-2, 2), (None, 2), (-3, None)),
    "no bounds in pairs": [(None, None)] * N,
    "one array": np.array([[-2, 2], [-np.inf, 2], [-2, np.inf]]),
    "Bounds of scalars": Bounds(-2, 2),
    "Bounds of a row": Bounds([-2] * N, [2, 2, np.inf]),
    "Bounds without bounds": Bounds(),
    "own": Bounds(LOW, HIGH),
    "own, tight": Bounds(*TIGHT),
    "own below, shared above": Bounds(LOW, 2.0),
    "own below, a row above": Bounds(LOW, np.array([2.0, np.inf, 2.5])),
    "shared below, own above": Bounds(-np.inf, HIGH),
    "one column": Bounds(LOW.min(1, keepdims=True), 3.0),
    "own, integers": Bounds(np.full((K, N), -2), np.full((K, N), 2)),
    "own, Fortran order": Bounds(np.asfortranarray(LOW), np.asfortranarray(HIGH)),
    "some open": Bounds(some(TIGHT[0], [1, 3], -np.inf), some(TIGHT[1], [1, 4], np.inf)),
    "none at all, own": Bounds(np.full((K, N), -np.inf), np.full((K, N), np.inf)),
    "first open": Bounds(some(TIGHT[0], 0, -np.inf), some(TIGHT[1], 0, np.inf)),
    "one variable fixed": Bounds(*FIXED_ONE),
    "one variable of the first fixed": Bounds(*FIXED_FIRST),
    "one problem fixed": Bounds(*FIXED_PROBLEM),
    "all fixed": Bounds(starts(N), starts(N)),
    "PerProblem": Each(box(LOW, HIGH)),
    "PerProblem, tight": Each(box(*TIGHT)),
    "PerProblem, integers": Each(box(-2, 2)),
    "PerProblem, open": Each(box(-np.inf, np.inf)),
}
each_box = pytest.mark.parametrize("bounds", BOXES.values(), ids=BOXES)


@each_mode
@each_box
def test_bounds(bounds, options):
    result = check(chain, starts(N), (A,), bounds=bounds, **options)
    for k in range(K):
        own = alone(bounds, k, (K, N))
        low, high = (own.lb, own.ub) if isinstance(own, Bounds) else np.array(own, float).T
        low, high = np.nan_to_num(low, nan=-np.inf), np.nan_to_num(high, nan=np.inf)
        assert (result.x[k] >= low).all()
        assert (result.x[k] <= high).all()


@each_box
@pytest.mark.parametrize("options", [{}, PLAIN], ids=["auto", "numeric"])
def test_bounds_of_float32(bounds, options):
    x0s = starts(N, np.float32)
    if isinstance(bounds, (Bounds, Each)):  # those about the starts, about these starts
        shift = (x0s - starts(N)).astype(float)
        if isinstance(bounds, Each):
            bounds = Each(bounds.array + shift[..., None])
        else:
            bounds = Bounds(bounds.lb + shift, bounds.ub + shift)
    check(chain, x0s, (A,), bounds=bounds, **options)


DIFFERENCED = ("own, tight", "pairs", *(name for name in BOXES if "fixed" in name))


@pytest.mark.parametrize("name", DIFFERENCED)
@pytest.mark.parametrize("fun", [jit_value, value], ids=["njit", "python"])
@pytest.mark.parametrize("options", [{}, {"maxfun": 40}, PLAIN], ids=["auto", "maxfun", "numeric"])
def test_bounds_and_differences(name, fun, options):
    """A fixed variable costs no call: nfev, and where maxfun ends the run, are each problem's."""
    check(fun, starts(N), (A,), bounds=BOXES[name], **options)


@each_mode
def test_starts_on_their_bounds(options):
    x0s = starts(N)
    check(chain, x0s, (A,), bounds=Bounds(x0s, x0s + 1), **options)
    check(chain, x0s, (A,), bounds=Bounds(x0s - 1, x0s), **options)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    "bounds", [None, Bounds(-3, 3), Each(box(*TIGHT))], ids=["free", "shared", "own"]
)
@pytest.mark.parametrize("name", ["numeric", "momentum", "plateau", "function", "limit cycle"])
@pytest.mark.parametrize("form", ["Objective", "python"])
def test_maximize(form, name, bounds, dtype):
    if dtype == np.float32 and isinstance(bounds, Each):
        bounds = Each(bounds.array + np.array([-0.1, 0.1]))
    x0s, args = starts(N, dtype), (Each(np.linspace(0.5, 2, K)),)
    fun = hill if form == "Objective" else lambda x, a: hill(x, a)
    result = check(fun, x0s, args, jac=True, bounds=bounds, maximize=True, **EVERY[name])
    assert (result.fun <= 0).all()
    assert (result.fun >= [hill(x, a)[0] for x, a in zip(x0s, args[0].array, strict=True)]).all()
    assert result.fun[result.best.index] == result.best.fun == result.fun.max()


# Every form of an objective ----------------------------------------------------------------------

FORMS = {
    "Objective": (chain, {}),
    "Objective, jac=True": (chain, {"jac": True}),
    "Objective of python": (rmsfast.Objective(in_place), {}),
    "njit jac=True": (jit_pair, {"jac": True}),
    "njit fun, njit jac": (jit_value, {"jac": jit_gradient}),
    "njit": (jit_value, {}),
    "njit, jac=False": (jit_value, {"jac": False}),
    "njit, 2-point": (jit_value, {"finite_diff": "2-point"}),
    "njit, 3-point": (jit_value, {"finite_diff": "3-point"}),
    "njit, cs": (jit_value, {"finite_diff": "cs"}),
    "python fun and jac": (value, {"jac": gradient}),
    "python jac=True": (pair, {"jac": True}),
    "python jac=True, list": (lambda x, a: list(pair(x, a)), {"jac": True}),
    "python": (value, {}),
    "python, 2-point": (value, {"finite_diff": "2-point"}),
    "python, cs": (value, {"finite_diff": "cs"}),
    "njit fun, python jac": (jit_value, {"jac": gradient}),
    "python fun, njit jac": (value, {"jac": jit_gradient}),
    "object": (type("Callable", (), {"__call__": lambda self, x, a: pair(x, a)})(), {"jac": True}),
}
each_form = pytest.mark.parametrize("fun, keywords", FORMS.values(), ids=FORMS)


@each_form
@pytest.mark.parametrize("options", [{"gtol": 1e-4}, PLAIN], ids=["auto", "numeric"])
@pytest.mark.parametrize("bounds", [None, Bounds(*TIGHT)], ids=["free", "own bounds"])
def test_every_form(fun, keywords, options, bounds):
    args = (Each(np.linspace(1, 10, K)),)
    result = check(fun, starts(N), args, bounds=bounds, **keywords, **options)
    if bounds is None and options is not PLAIN:
        assert result.success.all(), result


@each_form
def test_every_form_in_float32(fun, keywords):
    if keywords.get("finite_diff") == "cs":
        keywords = keywords | {"finite_diff": "2-point"}
    check(fun, starts(N, np.float32), (Each(np.linspace(1, 10, K)),), **keywords, **PLAIN)


@pytest.mark.parametrize("options", [{}, PLAIN], ids=["auto", "numeric"])
@pytest.mark.parametrize("bounds", [None, Bounds(*TIGHT)], ids=["free", "own bounds"])
@pytest.mark.parametrize("form", ["cfunc", "LowLevelCallable"])
def test_c_functions(form, options, bounds):
    fun = c_function if form == "cfunc" else LowLevelCallable(c_function.ctypes)
    check(fun, starts(N), bounds=bounds, **options)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("gives", [jit_value_32, jit_value], ids=["float32", "float64"])
def test_value_of_another_type_than_x(gives, dtype):
    """`fun` has the dtype of `x`, and is rounded to it, as alone."""
    check(gives, starts(N, dtype), (A,), jac=jit_gradient, **PLAIN)


def test_functions_declared_with_another_layout():
    fun = numba.njit("float64(float64[:])")(lambda x: (x * x).sum())
    jac = numba.njit("float64[:](float64[:])")(lambda x: 2.0 * x)
    check(fun, starts(N), **PLAIN)
    check(fun, starts(N), jac=jac, **PLAIN)


# args --------------------------------------------------------------------------------------------


@jit
def to_number(x, g, a):
    f = 0.0
    for i in range(x.size):
        g[i] = 2 * (x[i] - 1.0 * a)
        f += (x[i] - 1.0 * a) * (x[i] - 1.0 * a)
    return f


@jit
def to_complex(x, g, a):
    f = 0.0
    for i in range(x.size):
        g[i] = 2 * (x[i] - a.real + a.imag)
        f += (x[i] - a.real + a.imag) ** 2
    return f


@jit
def to_row(x, g, row):
    f = 0.0
    for i in range(x.size):
        g[i] = 2 * (x[i] - 1.0 * row[i])
        f += (x[i] - 1.0 * row[i]) ** 2
    return f


@jit
def to_complex_row(x, g, row):
    f = 0.0
    for i in range(x.size):
        g[i] = 2 * (x[i] - row[i].real + row[i].imag)
        f += (x[i] - row[i].real + row[i].imag) ** 2
    return f


@jit
def least_squares(x, g, design, data):
    """Sum of squares of ``design @ x - data``."""
    f = 0.0
    g[:] = 0.0
    for i in range(design.shape[0]):
        r = -data[i]
        for j in range(x.size):
            r += design[i, j] * x[j]
        f += r * r
        for j in range(x.size):
            g[j] += 2 * r * design[i, j]
    return f


REAL = ["f8", "f4", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?", ">f8", ">i4"]


@pytest.mark.parametrize("dtype", REAL)
def test_one_number_each(dtype):
    array = (np.arange(K) % 3).astype(dtype)
    check(rmsfast.Objective(to_number), starts(), (Each(array),), **PLAIN)


@pytest.mark.parametrize("dtype", ["c16", "c8"])
def test_one_complex_number_each(dtype):
    array = (np.arange(K) - 1j * np.arange(K)[::-1]).astype(dtype)
    check(rmsfast.Objective(to_complex), starts(), (Each(array),), **PLAIN)


@pytest.mark.parametrize("dtype", ["f8", "f4", "i8", "u1", "?"])
def test_a_row_each(dtype):
    array = (np.arange(K * N).reshape(K, N) % 4).astype(dtype)
    check(rmsfast.Objective(to_row), starts(N), (Each(array),), **PLAIN)


def test_a_complex_row_each():
    array = np.arange(K * N).reshape(K, N) * (1 + 0.5j)
    check(rmsfast.Objective(to_complex_row), starts(N), (Each(array),), **PLAIN)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@each_mode
def test_numbers_with_every_mode(options, dtype):
    args = (Each(np.linspace(1, 10, K).astype(dtype)),)
    check(chain, starts(N, dtype), args, **options)


FLAGS = np.arange(K) % 2 == 0


@jit
def either(x, g, flag):
    target = 1.0 if ~flag else 5.0  # of a uint8 the complement is never zero
    g[0] = 2 * (x[0] - target)
    return (x[0] - target) ** 2


def either_in_python(x, flag):
    target = 5.0 if flag is np.True_ else 1.0
    return (x[0] - target) ** 2, 2 * (x - target)


@pytest.mark.parametrize(
    "fun", [rmsfast.Objective(either), either_in_python], ids=["njit", "python"]
)
def test_flags_stay_flags(fun):
    assert "bool" in repr(PerProblem(FLAGS))
    result = check(fun, starts(1), (Each(FLAGS),), jac=True, lr=0.1, maxiter=300)
    assert_array_equal(np.round(result.x[:, 0]), np.where(FLAGS, 5.0, 1.0))


DESIGN = np.random.default_rng(1).normal(size=(K, 4, N))
DATA = np.random.default_rng(2).normal(size=(K, 4))
SHARED_OR_OWN = {
    "matrix and row each": (Each(DESIGN), Each(DATA)),
    "matrix shared": (DESIGN[0], Each(DATA)),
    "row shared": (Each(DESIGN), DATA[0]),
    "both shared": (DESIGN[0], DATA[0]),
    "tuple shared": (Each(DESIGN), tuple(DATA[0].tolist())),
    "typed list shared": (Each(DESIGN), numba.typed.List(DATA[0].tolist())),
}


@pytest.mark.parametrize("args", SHARED_OR_OWN.values(), ids=SHARED_OR_OWN)
def test_arrays_shared_and_own(args):
    fun = rmsfast.Objective(least_squares)
    check(fun, starts(N), args, **PLAIN)
    check(fun, starts(N), args, bounds=Bounds(*TIGHT), **PLAIN)


def test_own_arrays_without_corrections_and_with():
    args = SHARED_OR_OWN["matrix and row each"]
    for options in ({}, {"maxcor": 0}):
        result = check(rmsfast.Objective(least_squares), starts(N), args, **options)
        for k in range(K):
            np.testing.assert_allclose(
                result.x[k], np.linalg.lstsq(DESIGN[k], DATA[k], rcond=None)[0], atol=1e-5
            )


@jit
def mixed(x, g, a, where, b, power, c):
    f = 0.0
    for i in range(x.size):
        t = x[i] - where[0][i] * where[1] - b[i]
        g[i] = 2 * a * power * c * t
        f += a * power * c * t * t
    return f


def test_many_arguments_of_many_kinds():
    numbers, rows = np.linspace(1, 2, K), np.arange(K * N).reshape(K, N)
    where = (np.array([1.0, 2.0, 3.0]), 0.5)
    fun = rmsfast.Objective(mixed)
    check(fun, starts(N), (Each(numbers), where, Each(rows), 2, Each(numbers > 1.5)), **PLAIN)
    check(fun, starts(N), (1.5, where, Each(rows), np.float32(2), True), **PLAIN)


@jit
def twice(x, g, a, b):
    f = (a + 2 * b) * x[0] * x[0]
    g[0] = 2 * (a + 2 * b) * x[0]
    return f


def test_the_same_argument_twice():
    array = np.linspace(1, 2, K)
    fun, own = rmsfast.Objective(twice), PerProblem(array)
    expected = check(fun, starts(1), (Each(array), Each(array)), **PLAIN)
    result = minimize_many(fun, starts(1), (own, own), **PLAIN)
    assert_array_equal(result.x, expected.x)
    ones = np.ones(K)  # equal, and yet one for each problem
    check(fun, starts(1), (Each(ones), 1.0), **PLAIN)
    check(fun, starts(1), (np.float64(1.0), Each(ones)), **PLAIN)


def test_argument_that_is_no_tuple():
    array = np.linspace(1, 10, K)
    expected = check(chain, starts(), (Each(array),))
    for args in (PerProblem(array), (PerProblem(array),)):
        assert_array_equal(minimize_many(chain, starts(), args).x, expected.x)
    assert_array_equal(minimize_many(chain, starts(), A).x, minimize_many(chain, starts(), (A,)).x)


LAYOUTS = {
    "Fortran order": np.asfortranarray(DESIGN),
    "every other": np.repeat(np.repeat(DESIGN, 2, 0), 2, 2)[::2, :, ::2],
    "backwards": DESIGN[::-1, ::-1],
    "transposed": np.ascontiguousarray(DESIGN.transpose(2, 1, 0)).transpose(2, 1, 0),
    "one for all": np.broadcast_to(DESIGN[0], DESIGN.shape),
    "read-only": DESIGN.copy(),
    "list": DESIGN.tolist(),
}
for name in ("read-only", "one for all"):
    LAYOUTS[name] = LAYOUTS[name].view()
    LAYOUTS[name].flags.writeable = False


@pytest.mark.parametrize("array", LAYOUTS.values(), ids=LAYOUTS)
def test_layouts_of_own_arrays(array):
    result = minimize_many(
        rmsfast.Objective(least_squares), starts(N), (PerProblem(array), PerProblem(DATA)), **PLAIN
    )
    array = np.ascontiguousarray(array)
    expected = check(
        rmsfast.Objective(least_squares), starts(N), (Each(array), Each(DATA)), **PLAIN
    )
    for name in NAMES:
        assert_array_equal(getattr(result, name), getattr(expected, name))


def test_read_only_rows_and_numbers():
    row, number = np.arange(K * N, dtype=float).reshape(K, N), np.linspace(1, 10, K)
    for array in (row, number):
        array.flags.writeable = False
    check(rmsfast.Objective(to_row), starts(N), (Each(row),), **PLAIN)
    check(chain, starts(N), (Each(number),), **PLAIN)


def test_arguments_in_a_file(tmp_path):
    np.save(tmp_path / "design.npy", DESIGN)
    for mode in ("r", "c", "r+"):
        design = np.load(tmp_path / "design.npy", mmap_mode=mode)
        check(rmsfast.Objective(least_squares), starts(N), (Each(design), Each(DATA)), **PLAIN)
    assert_array_equal(np.load(tmp_path / "design.npy"), DESIGN)


@jit
def with_size(x, g, row):
    g[0] = 2 * x[0]
    return x[0] * x[0] + row.size


def test_rows_without_elements():
    check(rmsfast.Objective(with_size), starts(1), (Each(np.empty((K, 0))),), **PLAIN)


def test_default_arguments():
    @numba.njit
    def steep(x, a, b=3.0):
        return jit_value(x, a * b)

    @numba.njit
    def slope(x, a, b=3.0):
        return jit_gradient(x, a * b)

    @rmsfast.Objective
    def whole(x, g, a, b=3.0):
        return jit_in_place(x, g, a * b)

    @rmsfast.Objective
    def nothing_given(x, g, a=3.0, b=1.0):
        return jit_in_place(x, g, a * b)

    array = np.linspace(1, 3, K)
    expected = check(chain, starts(), (Each(3.0 * array),), **PLAIN)
    for fun, jac in ((steep, slope), (whole, None), (lambda x, a: steep(x, a), slope)):
        result = check(fun, starts(), (Each(array),), jac=jac, **PLAIN)
        assert_array_equal(result.x, expected.x)
    check(whole, starts(), (Each(array), Each(array)), **PLAIN)
    check(whole, starts(), (Each(array), 2.0), **PLAIN)
    assert_array_equal(
        check(nothing_given, starts(), **PLAIN).x, check(chain, starts(), (3.0,), **PLAIN).x
    )


@pytest.mark.filterwarnings("ignore:First-class function type feature is experimental")
def test_compiled_functions_in_args():
    """As alone, where Numba says the same of them."""

    @numba.njit
    def square(t):
        return t * t

    @rmsfast.Objective
    def of_function(x, g, a, function):
        g[0] = 2 * (x[0] - a)
        return function(x[0] - a)

    check(of_function, starts(1), (Each(np.linspace(1, 3, K)), square), **PLAIN)


def test_python_objective_gets_what_it_would_get_alone():
    seen = {}

    def fun(x, number, flag, row, shared):
        seen.setdefault(len(seen), (type(number), type(flag), row.copy(), row.dtype, shared))
        return float((x * x).sum()), 2 * x

    shared = object()
    rows = np.arange(K * 2, dtype=np.int16).reshape(K, 2)
    numbers = np.arange(K, dtype=np.float32)
    args = (PerProblem(numbers), PerProblem(FLAGS), PerProblem(rows), shared)
    minimize_many(fun, starts(), args, jac=True, maxiter=0)
    assert len(seen) == K
    for k in range(K):
        number, flag, row, dtype, same = seen[k]
        assert (number, flag, dtype) == (np.float32, np.bool_, np.int16)
        assert_array_equal(row, rows[k])
        assert same is shared


# PerProblem --------------------------------------------------------------------------------------


def test_per_problem():
    array = np.arange(12.0).reshape(4, 3)
    own = PerProblem(array)
    assert len(own) == 4
    assert isinstance(own[1:3], PerProblem)
    assert_array_equal(own[1:3].array, array[1:3])
    assert repr(own) == "PerProblem(shape (4, 3), dtype float64)"
    assert_array_equal(pickle.loads(pickle.dumps(own)).array, array)
    assert_array_equal(copy.deepcopy(own).array, array)
    assert_array_equal(PerProblem([1, 2, 3]).array, [1, 2, 3])


# What the result tells ---------------------------------------------------------------------------


def bowl(x, low, bad):
    if bad:
        return math.nan, x
    return float(x @ x) + low, 2 * x


LEVELS = np.array([3.0, -1.0, 5.0, -2.0, 0.0, 8.0, 1.0])


def bowls(bad, **options):
    args = (PerProblem(LEVELS), PerProblem(np.isin(np.arange(K), bad).astype(int)))
    return minimize_many(bowl, starts(), args, jac=True, **options)


def test_best():
    assert bowls([]).best.index == 3
    result = bowls([3, 0])
    best = result.best
    assert isinstance(best, OptimizeResult)
    assert type(best.index) is int
    assert best.index == 1
    assert isinstance(best.message, str)
    for name in NAMES:
        assert_array_equal(best[name], getattr(result, name)[1])
    assert best.x.shape == best.jac.shape == (2,)
    assert "index: 1" in repr(best)


def test_best_is_the_highest_where_it_maximizes():
    args = (PerProblem(np.ones(K)),)
    result = minimize_many(hill, starts(), args, maximize=True, lr=0.01, maxiter=5)
    assert result.best.index == int(np.argmax(result.fun))
    assert result.best.fun == result.fun.max()
    result.fun[result.best.index] = np.nan
    assert result.best.index == int(np.nanargmax(result.fun))


def test_best_of_values_that_are_all_nan():
    def nowhere(x):
        return math.nan, x

    result = minimize_many(nowhere, starts(), jac=True)
    assert (result.status == status.NONFINITE_START).all()
    with pytest.raises(ValueError, match="^best: no problem has a value$"):
        _ = result.best


def test_summary():
    result = bowls([0, 4])
    for text in (repr(result), str(result), f"{result}"):
        lines = text.splitlines()
        assert lines[0] == f"{K} problems, {K - 2} solved"
        for code, count in ((status.GTOL, K - 2), (status.NONFINITE_START, 2)):
            (line,) = [line for line in lines if line.startswith(f"  status {code:2d}:")]
            assert line.split(":")[1].split()[0] == str(count)
            assert line.endswith(status.MESSAGE[code])
        assert "lowest -2" in text
        assert "highest 8" in text
        assert f"{result.nfev.sum()} in all" in text
        assert len(lines) == 5
    everything = minimize_many(chain, starts(count=50), (A,))
    assert "50 problems, 50 solved" in repr(everything)
    assert len(repr(minimize_many(chain, starts(count=5000), (A,)))) < 1000


def test_summary_without_any_value():
    def nowhere(x):
        return math.nan, x

    result = minimize_many(nowhere, starts(), jac=True)
    assert repr(result).splitlines()[0] == f"{K} problems, 0 solved"


def test_messages():
    result = bowls([0, 4])
    assert result.message.shape == (K,)
    for k in range(K):
        assert result.message[k] == status.MESSAGE[int(result.status[k])]
        assert type(result.message[k]) is str


COPIES = {
    "pickle": lambda result: pickle.loads(pickle.dumps(result)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "dict": rmsfast.ManyResult,
}


@pytest.mark.parametrize("make", COPIES.values(), ids=COPIES)
def test_copies(make):
    def fails(x, a):
        if a > 5:
            raise ValueError(f"no {a}")
        return float(x @ x) + a, 2 * x

    for result in (
        minimize_many(chain, starts(), (A,)),
        bowls([0, 4]),
        minimize_many(fails, starts(), (PerProblem(LEVELS),), jac=True),
        minimize_many(hill, starts(), (A,), lr=0.01, maxiter=5, maximize=True),
    ):
        other = make(result)
        assert type(other) is rmsfast.ManyResult
        for name in NAMES:
            assert_array_equal(getattr(other, name), getattr(result, name))
        assert other.best.index == result.best.index
        assert repr(other) == repr(result)


def test_entries():
    """It is a dict, as every OptimizeResult: what the docstring lists is there."""
    result = minimize_many(chain, starts(), (A,))
    for name in NAMES:
        assert_array_equal(result[name], getattr(result, name))
        assert name in dict(result)
        assert name in result
        assert name in dir(result)
    with pytest.raises(AttributeError):
        _ = result.nothing
    with pytest.raises(KeyError):
        result["nothing"]


# minimize_chunks ---------------------------------------------------------------------------------


def test_chunks_are_what_they_are_alone():
    chunks = [starts(seed=seed, count=count) for seed, count in ((1, 3), (2, 0), (3, 8))]
    results = list(minimize_chunks(chain, iter(chunks), args=(A,), lr=0.05, maxiter=50))
    assert [len(result.fun) for result in results] == [3, 0, 8]
    for chunk, result in zip(chunks, results, strict=True):
        expected = minimize_many(chain, chunk, (A,), lr=0.05, maxiter=50)
        for name in NAMES:
            assert_array_equal(getattr(result, name), getattr(expected, name))


def test_chunks_with_arguments_of_their_own():
    def chunks():
        for seed in range(3):
            yield starts(seed=seed), (PerProblem(np.linspace(1, 2 + seed, K)),)

    for (x0s, args), result in zip(chunks(), minimize_chunks(chain, chunks()), strict=True):
        assert_array_equal(result.x, minimize_many(chain, x0s, args).x)


def test_chunks_of_python_with_every_keyword():
    (result,) = minimize_chunks(
        pair, [starts()], args=(A,), jac=True, bounds=Bounds(-2, 2), workers=map, chunksize=2
    )
    assert_array_equal(
        result.x, minimize_many(pair, starts(), (A,), jac=True, bounds=Bounds(-2, 2)).x
    )


@pytest.mark.parametrize("workers", [None, 1, 2, map])
def test_chunks_are_taken_one_by_one(workers):
    asked = []

    def chunks():
        for k in range(5):
            asked.append(k)
            yield starts(seed=k)
        asked.append("end")

    results = minimize_chunks(chain, chunks(), args=(A,), workers=workers)
    assert asked == []
    for k in range(5):
        next(results)
        assert asked == list(range(k + 1))
    with pytest.raises(StopIteration):
        next(results)
    assert asked[-1] == "end"


def test_endless_chunks_can_be_left():
    closed = []

    def chunks():
        try:
            seed = 0
            while True:
                yield starts(seed=seed)
                seed += 1
        finally:
            closed.append(True)

    source = chunks()
    for count, result in enumerate(minimize_chunks(chain, source, args=(A,))):
        assert result.success.all()
        if count == 3:
            break
    source.close()
    assert closed == [True]


def test_an_error_between_chunks():
    def chunks():
        yield starts()
        raise LookupError("no more")

    results = minimize_chunks(chain, chunks(), args=(A,))
    assert next(results).success.all()
    with pytest.raises(LookupError, match="^no more$"):
        next(results)
