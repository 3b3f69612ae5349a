"""The contract of a method of `scipy.optimize.minimize`, seen through that function."""

import functools
import inspect

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import (
    Bounds,
    LinearConstraint,
    NonlinearConstraint,
    OptimizeResult,
    OptimizeWarning,
    minimize,
    rosen,
    rosen_der,
)

import rmsfast
from rmsfast.core import status

X0 = (-1.2, 1.0)
run = functools.partial(minimize, method=rmsfast.rmsprop)


class Recorder:
    """A Python objective that remembers the points it was called at, and its values."""

    def __init__(self, function):
        self.function, self.points, self.values = function, [], []

    def __call__(self, x, *args):
        value = self.function(x, *args)
        self.points.append(np.array(x))
        self.values.append(value)
        return value

    @property
    def calls(self):
        return len(self.points)


def rosen_pair(x):
    return rosen(x), rosen_der(x)


def square(x):
    return 0.5 * x @ x


def identity(x):
    return x


MODES = {
    "auto": {},
    "auto, no corrections": {"maxcor": 0},
    "numeric": {"lr": 0.01, "maxiter": 500},
    "momentum": {"lr": 0.001, "momentum": 0.9, "rho": 0.9, "maxiter": 500},
    "schedule": {"lr": rmsfast.schedules.exponential(0.05, 0.99), "maxiter": 300},
    "plateau": {"lr": rmsfast.schedules.plateau(0.05, patience=10), "maxiter": 300},
}
each_mode = pytest.mark.parametrize("options", MODES.values(), ids=MODES)
DIFFERENCES = {"2-point": 1, "3-point": 2, "cs": 1}  # calls per coordinate
BOXES = {
    "no bounds": None,
    "bounds": [(-2, 0.5), (-2, 2)],
    "one variable fixed": [(-1.2, -1.2), (-2, 2)],
    "all variables fixed": [(-1.2, -1.2), (1, 1)],
}
each_box = pytest.mark.parametrize("bounds", BOXES.values(), ids=BOXES)

# What the result says ----------------------------------------------------------------------------


@each_mode
@each_box
def test_best_point_with_its_own_value_and_gradient(options, bounds):
    fun, jac = Recorder(rosen), Recorder(rosen_der)
    result = run(fun, X0, jac=jac, bounds=bounds, options=options)
    assert isinstance(result, OptimizeResult)
    assert result.fun == rosen(result.x)
    assert_array_equal(result.jac, rosen_der(result.x))
    assert any(np.array_equal(result.x, x) for x in fun.points)
    # up to rounding: of two equal points the one with the smaller gradient is better
    assert result.fun <= min(fun.values) + 1e-14 * max(fun.values)
    assert any(np.array_equal(result.x_last, x) for x in fun.points)
    assert_array_equal(fun.points[0], X0)


@each_mode
def test_last_iterate(options):
    seen = []
    result = run(rosen, X0, jac=rosen_der, callback=lambda x: seen.append(x), options=options)
    assert_array_equal(result.x_last, seen[-1])


def test_types_of_the_result():
    result = run(rosen, X0, jac=rosen_der)
    kinds = {"nit": int, "nfev": int, "njev": int, "status": int, "success": bool, "message": str}
    for name, kind in kinds.items():
        assert type(result[name]) is kind
    assert result.x.dtype == result.jac.dtype == result.x_last.dtype == np.float64
    assert result.x.shape == result.jac.shape == result.x_last.shape == (2,)
    assert type(result.fun) is np.float64
    assert "allvecs" not in result
    assert result.success
    assert_allclose(result.x, 1.0, atol=1e-5)
    assert abs(result.jac).max() <= 1e-5


def test_result_owns_its_arrays():
    result = run(rosen, X0, jac=rosen_der, options={"return_all": True})
    arrays = [result.x, result.jac, result.x_last, *result.allvecs]
    for i, a in enumerate(arrays):
        for b in arrays[i + 1 :]:
            assert not np.shares_memory(a, b)


# Counts ------------------------------------------------------------------------------------------


@each_mode
@each_box
def test_counts_of_separate_functions(options, bounds):
    fun, jac = Recorder(rosen), Recorder(rosen_der)
    result = run(fun, X0, jac=jac, bounds=bounds, options=options)
    assert (result.nfev, result.njev) == (fun.calls, jac.calls)


@each_mode
@each_box
def test_counts_of_a_pair(options, bounds):
    fun = Recorder(rosen_pair)
    result = run(fun, X0, jac=True, bounds=bounds, options=options)
    assert (result.nfev, result.njev) == (fun.calls, fun.calls)


@each_mode
@each_box
@pytest.mark.parametrize("finite_diff", DIFFERENCES)
def test_counts_of_differences(options, bounds, finite_diff):
    fun = Recorder(rosen)
    options = {**options, "finite_diff": finite_diff, "maxiter": 30}
    result = run(fun, X0, bounds=bounds, options=options)
    assert result.nfev == fun.calls
    free = 2 if bounds is None else sum(low < high for low, high in bounds)
    assert result.nfev == result.njev * (1 + DIFFERENCES[finite_diff] * free)


# Forms of the gradient ---------------------------------------------------------------------------


@pytest.mark.parametrize("jac", [None, False, "2-point", "3-point", "cs"])
@pytest.mark.parametrize("finite_diff", DIFFERENCES)
def test_no_gradient(jac, finite_diff):
    result = run(rosen, X0, jac=jac, options={"finite_diff": finite_diff, "gtol": 1e-4})
    assert result.success
    assert_allclose(result.x, 1.0, atol=1e-3)
    assert_allclose(result.jac, rosen_der(result.x), atol=1e-4)


def test_default_difference_is_the_central_one():
    assert run(rosen, X0).nfev == run(rosen, X0, options={"finite_diff": "3-point"}).nfev
    assert run(rosen, X0).success  # at the default gtol


@each_mode
def test_forms_of_the_gradient_take_the_same_way(options):
    results = [
        run(rosen, X0, jac=rosen_der, options=options),
        run(rosen_pair, X0, jac=True, options=options),
        run(lambda x: list(rosen_pair(x)), X0, jac=True, options=options),
        rmsfast.rmsprop(rosen, X0, jac=rosen_der, **options),
        rmsfast.rmsprop(rosen_pair, X0, jac=True, **options),
    ]
    for result in results[1:]:
        for name, value in results[0].items():
            assert_array_equal(result[name], value)


@pytest.mark.parametrize(
    "form", [lambda g: g.tolist(), lambda g: g[None], lambda g: g[:, None], lambda g: g[::-1][::-1]]
)
def test_gradient_as_list_row_column_or_view(form):
    result = run(rosen, X0, jac=lambda x: form(rosen_der(x)))
    assert_array_equal(result.x, run(rosen, X0, jac=rosen_der).x)


def test_gradient_buffer_of_the_caller_may_be_reused():
    buffer = np.empty(2)

    def jac(x):
        buffer[:] = rosen_der(x)
        return buffer

    result = run(rosen, X0, jac=jac)
    assert_array_equal(result.x, run(rosen, X0, jac=rosen_der).x)
    assert not np.shares_memory(result.jac, buffer)


def test_pair_is_called_once_per_evaluation():
    # minimize(jac=True) hands on a MemoizeJac and its bound method
    fun = Recorder(rosen_pair)
    result = run(fun, X0, jac=True)
    assert fun.calls == result.nfev == result.njev
    assert all((a != b).any() for a, b in zip(fun.points, fun.points[1:], strict=False))


def test_method_of_the_objective_is_an_ordinary_gradient():
    class Model:
        """It looks like SciPy's MemoizeJac, and is none."""

        def fun(self, x):
            raise AssertionError("not what was asked for")

        def __call__(self, x):
            return rosen(x)

        def derivative(self, x):
            return rosen_der(x)

    model = Model()
    result = run(model, X0, jac=model.derivative)
    assert_array_equal(result.x, run(rosen, X0, jac=rosen_der).x)


# args, x0 ----------------------------------------------------------------------------------------


def shifted(x, shift, scale=1.0):
    return scale * 0.5 * (x - shift) @ (x - shift)


def shifted_der(x, shift, scale=1.0):
    return scale * (x - shift)


@pytest.mark.parametrize("call", [run, rmsfast.rmsprop])
@pytest.mark.parametrize("jac", [shifted_der, None, True])
@pytest.mark.parametrize("args", [3.0, (3.0,), (3.0, 2.0), np.array([3.0, 3.0])])
def test_args(call, jac, args):
    fun = (lambda x, *a: (shifted(x, *a), shifted_der(x, *a))) if jac is True else shifted
    result = call(fun, [0.0, 1.0], args=args, jac=jac)
    assert result.success
    assert_allclose(result.x, 3.0, atol=1e-5)


STARTS = {
    "list": [-1.2, 1.0],
    "tuple": X0,
    "array": np.array(X0),
    "strided": np.array([-1.2, 9.0, 1.0])[::2],
    "reversed": np.array([1.0, -1.2])[::-1],
    "ints": [-1, 1],
    "int array": np.array([-1, 1]),
    "bools": np.array([True, False]),
    "float16": np.array([-1, 1], np.float16),
    "big-endian": np.array(X0, ">f8"),
}
each_start = pytest.mark.parametrize("x0", STARTS.values(), ids=STARTS)


@each_start
@pytest.mark.parametrize("call", [run, rmsfast.rmsprop])
@pytest.mark.parametrize("writeable", [True, False])
def test_start(x0, call, writeable):
    if isinstance(x0, np.ndarray):
        x0 = x0[:]
        x0.flags.writeable = writeable
    before = np.array(x0)
    fun = Recorder(rosen)
    result = call(fun, x0, jac=rosen_der)
    assert_array_equal(fun.points[0], before)
    assert fun.points[0].dtype == result.x.dtype == np.float64
    assert result.success
    assert_array_equal(x0, before)
    if isinstance(x0, np.ndarray):
        assert not np.shares_memory(result.x, x0)


@pytest.mark.parametrize("x0", [3.0, 3, [3.0], np.array(3.0), np.array([3.0])])
@pytest.mark.parametrize("call", [run, rmsfast.rmsprop])
@pytest.mark.parametrize("jac", [identity, lambda x: x[0], None])
def test_one_variable(x0, call, jac):
    result = call(square, x0, jac=jac)
    assert result.success
    assert result.x.shape == result.jac.shape == (1,)
    assert_allclose(result.x, 0.0, atol=1e-5)


@pytest.mark.parametrize("form", [float, np.float32, np.array, lambda f: np.array([f])])
def test_value_as_scalar_or_array_of_one(form):
    result = run(lambda x: form(square(x)), [3.0], jac=identity)
    assert result.success
    assert np.shape(result.fun) == ()


def test_integer_values():
    result = run(lambda x: int(x[0] > 1), [0.5], jac=lambda x: [0])
    assert result.success
    assert result.fun == 0
    assert type(result.fun) is np.float64


@each_mode
@pytest.mark.parametrize("jac", [rosen_der, None])
def test_float32(options, jac):
    fun = Recorder(rosen)
    x0 = np.array(X0, np.float32)
    result = run(fun, x0, jac=jac, bounds=[(-2, 2)] * 2, options={**options, "gtol": 0.05})
    assert {x.dtype for x in fun.points} == {np.dtype(np.float32)}
    assert result.x.dtype == result.jac.dtype == result.x_last.dtype == np.float32
    assert type(result.fun) is np.float32
    assert result.fun == np.float32(rosen(result.x))
    assert result.fun < 0.2 * rosen(x0)
    if not options:
        assert result.success


# Bounds ------------------------------------------------------------------------------------------

inf = np.inf
FORMS = {
    "Bounds": Bounds([-inf, -2], [0.5, inf]),
    "Bounds, scalar upper": Bounds([-inf, -2], 0.5),
    "Bounds, scalar lower": Bounds(-2, [0.5, inf]),
    "Bounds, scalars": Bounds(-2, 0.5),
    "Bounds, upper alone": Bounds(ub=[0.5, inf]),
    "Bounds, of ints": Bounds(np.array([-2, -2]), [0.5, 1]),
    "pairs with None": [(None, 0.5), (-2, None)],
    "tuple of lists": ([-2, 0.5], [None, None]),
    "pairs with inf": [(-inf, 0.5), (-2, inf)],
    "pairs of ints and floats": [(-2, 0.5), (-2, 2)],
    "array": np.array([[-2, 0.5], [-2, 2]]),
    "array with inf": np.array([[-inf, 0.5], [-2, inf]]),
    "zip": tuple(zip([-2, -2], [0.5, 2], strict=True)),
}
each_form = pytest.mark.parametrize("bounds", FORMS.values(), ids=FORMS)


@each_form
@pytest.mark.parametrize("jac", [rosen_der, None])
def test_form_of_bounds(bounds, jac):
    result = run(rosen, [-1.2, 0.2], jac=jac, bounds=bounds)
    assert result.success
    assert_allclose(result.x, [0.5, 0.25], atol=1e-5)
    assert result.x[0] == 0.5


def check_within(points, lower, upper):
    points = np.real(points)
    assert (points >= lower).all()
    assert (points <= upper).all()


BOUNDED = {  # the lower bounds, the upper bounds, the start
    "start at a corner": ([-1.2, 1.0], [2, 2], X0),
    "active": ([-2, -2], [0.5, 2], X0),
    "narrower than a difference step": ([-1.2, 1.0], [-1.2 + 1e-9, 1 + 1e-9], X0),
    "two neighbouring numbers": ([-1.2, 1.0], [np.nextafter(-1.2, 0), np.nextafter(1, 2)], X0),
    "one fixed": ([-1.2, -2], [-1.2, 2], X0),
    "all fixed": (X0, X0, X0),
    "far from zero": ([1e6, -1e6], [1e6 + 1e-3, -1e6 + 1e-3], (1e6 + 1e-3, -1e6)),
    "near zero": ([0, -1e-300], [1e-10, 0], (1e-11, 0)),
}


@each_mode
@pytest.mark.parametrize("finite_diff", [None, *DIFFERENCES])
@pytest.mark.parametrize(("lower", "upper", "x0"), BOUNDED.values(), ids=BOUNDED)
def test_every_evaluation_is_within_the_bounds(options, finite_diff, lower, upper, x0):
    fun = Recorder(rosen)
    jac = None if finite_diff else rosen_der
    options = {**options, "finite_diff": finite_diff or "3-point", "maxiter": 20}
    result = run(fun, x0, jac=jac, bounds=Bounds(lower, upper), options=options)
    check_within(fun.points, lower, upper)
    assert np.isfinite(result.jac).all()


@pytest.mark.parametrize("finite_diff", DIFFERENCES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_differences_are_within_random_bounds(finite_diff, dtype):
    rng = np.random.default_rng(11)
    points = []

    def fun(x):
        points.append(np.real(x).copy())
        return (x * x).sum() + 0 * x[0]

    for _ in range(200):
        middle = rng.standard_normal(3) * 10.0 ** rng.uniform(-12, 3, 3)
        width = abs(rng.standard_normal((2, 3))) * 10.0 ** rng.uniform(-18, 0, (2, 3))
        x0, lower, upper = (a.astype(dtype) for a in (middle, middle - width[0], middle + width[1]))
        points.clear()
        options = {"finite_diff": finite_diff, "maxiter": 2}
        result = run(fun, x0, bounds=Bounds(lower, upper), options=options)
        check_within(points, lower, upper)
        assert np.isfinite(result.jac).all()


def random_quadratic(n, seed):
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((n, n))
    a, b = root @ root.T / n + 0.1 * np.eye(n), rng.standard_normal(n)
    return lambda x: 0.5 * x @ a @ x - b @ x, lambda x: a @ x - b


def beale(x):
    return sum((c - x[0] * (1 - x[1] ** k)) ** 2 for k, c in enumerate((1.5, 2.25, 2.625), 1))


def beale_der(x):
    g = np.zeros(2)
    for k, c in enumerate((1.5, 2.25, 2.625), 1):
        r = c - x[0] * (1 - x[1] ** k)
        g += 2 * r * np.array([x[1] ** k - 1, x[0] * k * x[1] ** (k - 1)])
    return g


def softplus(x):
    return np.log1p(np.exp(x)).sum() - 0.3 * x.sum()


def softplus_der(x):
    return 1 / (1 + np.exp(-x)) - 0.3


start10 = np.tile(X0, 5)
SAME_AS_LBFGSB = {
    "rosenbrock of 10, upper bounds active": (rosen, rosen_der, start10 - 0.3,
                                              [(-2, 0.8)] * 5 + [(-2, 1.5)] * 5),
    "rosenbrock of 10, lower bounds active": (rosen, rosen_der, start10 + 3, [(1.1, 5)] * 10),
    "rosenbrock of 10, two variables fixed": (rosen, rosen_der, np.full(10, 0.5),
                                              [(0.5, 0.5)] * 2 + [(0, 2)] * 8),
    "rosenbrock of 10, no bound active": (rosen, rosen_der, start10, [(-3, 3)] * 10),
    "quadratic of 30": (*random_quadratic(30, 1), np.zeros(30), [(-0.2, 0.3)] * 30),
    "quadratic of 30, half of it free": (*random_quadratic(30, 2), np.zeros(30),
                                         [(-0.2, 0.3), (None, None)] * 15),
    "all fixed": (*random_quadratic(3, 3), np.ones(3), [(1, 1)] * 3),
    "beale": (beale, beale_der, [1.0, 1.0], [(0, 2), (0, 2)]),
    "beale, one side": (beale, beale_der, [1.0, 0.0], [(None, None), (None, 0.3)]),
    "softplus": (softplus, softplus_der, np.linspace(-0.5, 3, 7), [(-0.5, None)] * 7),
    "linear": (lambda x: x.sum(), np.ones_like, np.full(4, 0.3), [(-1, 1)] * 4),
}  # fmt: skip


@pytest.mark.parametrize("problem", SAME_AS_LBFGSB.values(), ids=SAME_AS_LBFGSB)
@pytest.mark.parametrize("maxcor", [0, 10])
@pytest.mark.parametrize("differences", [False, True], ids=["gradient", "differences"])
def test_same_solution_as_lbfgsb(problem, maxcor, differences):
    fun, jac, x0, bounds = problem
    options = {"ftol": 1e-15, "gtol": 1e-9, "maxiter": 10000, "maxfun": 10000}
    expected = minimize(fun, x0, jac=jac, bounds=bounds, method="L-BFGS-B", options=options)
    recorded = Recorder(fun)
    options = {"maxcor": maxcor, "maxfun": 300_000, "gtol": 1e-7 if differences else 1e-9}
    result = run(recorded, x0, jac=None if differences else jac, bounds=bounds, options=options)
    assert result.success
    assert_allclose(result.x, expected.x, atol=2e-5)
    assert_allclose(result.fun, expected.fun, rtol=1e-9, atol=1e-9)
    active = [low is not None and low == x or high is not None and high == x
              for (low, high), x in zip(bounds, expected.x, strict=True)]  # fmt: skip
    assert_array_equal(result.x[active], expected.x[active])
    lower = [-inf if low is None else low for low, _ in bounds]
    upper = [inf if high is None else high for _, high in bounds]
    check_within(recorded.points, lower, upper)


def test_projected_gradient_is_what_gtol_bounds():
    result = run(rosen, X0, jac=rosen_der, bounds=[(-2, 0.5), (-2, 2)])
    assert result.success
    assert abs(result.jac[0]) > 0.1  # at the bound it pushes outwards
    assert abs(result.jac[1]) <= 1e-5


# Callback, return_all, disp ----------------------------------------------------------------------


@each_mode
@each_box
def test_callback_of_x(options, bounds):
    seen = []

    def callback(xk):
        seen.append(xk.copy())
        xk[:] = np.nan  # a copy: this changes nothing

    plain = run(rosen, X0, jac=rosen_der, bounds=bounds, options=options)
    result = run(rosen, X0, jac=rosen_der, bounds=bounds, callback=callback, options=options)
    assert len(seen) == result.nit == plain.nit
    assert_array_equal(result.x, plain.x)
    if seen:
        assert_array_equal(result.x_last, seen[-1])


@each_mode
@each_box
def test_callback_of_intermediate_result(options, bounds):
    seen = []

    def callback(intermediate_result):
        assert isinstance(intermediate_result, OptimizeResult)
        seen.append((intermediate_result.x.copy(), intermediate_result.fun))
        intermediate_result.x[:] = np.nan
        intermediate_result.fun = np.nan

    plain = run(rosen, X0, jac=rosen_der, bounds=bounds, options=options)
    result = run(rosen, X0, jac=rosen_der, bounds=bounds, callback=callback, options=options)
    assert len(seen) == result.nit == plain.nit
    assert_array_equal(result.x, plain.x)
    for x, f in seen:
        assert f == rosen(x)


class Caller:
    def __init__(self):
        self.seen = []

    def __call__(self, intermediate_result):
        self.seen.append(intermediate_result.x)

    def of_x(self, x, *, more=None):
        self.seen.append(x)


def test_forms_of_callback():
    caller, collected = Caller(), []
    for callback in (caller, caller.of_x, functools.partial(caller.of_x, more=1), collected.append):
        run(rosen, X0, jac=rosen_der, callback=callback)
    nit = run(rosen, X0, jac=rosen_der).nit
    assert len(caller.seen) == 3 * nit
    assert len(collected) == nit
    assert_array_equal(collected, caller.seen[:nit])
    for a, b in zip(collected, collected[1:], strict=False):
        assert not np.shares_memory(a, b)


@each_mode
@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("last", [1, 3])
def test_stop_iteration(options, by_name, last):
    seen = []

    def of_x(x):
        seen.append(x)
        if len(seen) == last:
            raise StopIteration

    def of_result(intermediate_result):
        of_x(intermediate_result.x)

    callback = of_result if by_name else of_x
    result = run(rosen, X0, jac=rosen_der, callback=callback, options=options)
    assert (result.status, result.success) == (status.CALLBACK, False)
    assert result.message == "`callback` raised `StopIteration`."  # word for word SciPy's
    assert result.nit == len(seen) == last
    assert_array_equal(result.x_last, seen[-1])
    assert result.fun == rosen(result.x)


def test_other_exceptions_of_the_callback():
    def callback(x):
        raise LookupError("mine")

    with pytest.raises(LookupError, match="^'?mine'?$"):
        run(rosen, X0, jac=rosen_der, callback=callback)


@pytest.mark.parametrize("callback", [3, "print", [print]])
def test_callback_that_cannot_be_called(callback):
    with pytest.raises(TypeError, match="callback must be callable"):
        run(rosen, X0, jac=rosen_der, callback=callback)


@each_mode
@each_box
def test_return_all(options, bounds):
    seen = []
    result = run(
        rosen, X0, jac=rosen_der, bounds=bounds, callback=seen.append,
        options={**options, "return_all": True},
    )  # fmt: skip
    assert len(result.allvecs) == result.nit + 1
    assert_array_equal(result.allvecs[0], X0)
    for a, b in zip(result.allvecs[1:], seen, strict=True):
        assert_array_equal(a, b)
    assert_array_equal(result.allvecs[-1], result.x_last)


@each_mode
def test_summary(options, capsys):
    result = run(rosen, X0, jac=rosen_der, options={**options, "disp": True})
    assert capsys.readouterr().out.splitlines() == [
        result.message,
        f"         Current function value: {result.fun:f}",
        f"         Iterations: {result.nit}",
        f"         Function evaluations: {result.nfev}",
        f"         Gradient evaluations: {result.njev}",
    ]


def test_lines(capsys):
    result = run(rosen, X0, jac=rosen_der, options={"disp": 2})
    lines = capsys.readouterr().out.splitlines()
    head, table, summary = lines[0], lines[1:-5], lines[-5:]
    assert head.split() == ["nit", "nfev", "fun", "max|jac|", "lr"]
    rounds = [k for k in (0, 1, 2, 5, 10, 20, 50, 100, 200) if k <= result.nit]
    assert [int(line.split()[0]) for line in table] == rounds
    assert float(table[0].split()[2]) == pytest.approx(rosen(np.array(X0)), 1e-14)
    assert float(table[0].split()[3]) == pytest.approx(abs(rosen_der(np.array(X0))).max(), 1e-4)
    assert summary[0] == result.message


@each_mode
@pytest.mark.parametrize("disp", [False, 0, None])
def test_silence(options, disp, capsys):
    options = options if disp is None else {**options, "disp": disp}
    run(rosen, X0, jac=rosen_der, options=options)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


# Options -----------------------------------------------------------------------------------------


def test_tol_sets_gtol():
    loose = run(rosen, X0, jac=rosen_der, tol=1e-1)
    same = run(rosen, X0, jac=rosen_der, options={"gtol": 1e-1})
    assert_array_equal(loose.x, same.x)
    assert loose.success
    assert 1e-5 < abs(loose.jac).max() <= 1e-1
    assert loose.nit < run(rosen, X0, jac=rosen_der).nit
    both = run(rosen, X0, jac=rosen_der, tol=1e-1, options={"gtol": 1e-5})
    assert_array_equal(both.x, run(rosen, X0, jac=rosen_der).x)  # the one named wins, as in SciPy


@each_mode
@pytest.mark.parametrize("maxiter", [0, 1, 7, 7.0, np.int64(7)])
def test_maxiter(options, maxiter):
    fun = Recorder(rosen)
    result = run(fun, X0, jac=rosen_der, options={**options, "maxiter": maxiter})
    assert (result.status, result.success, result.nit) == (status.MAXITER, False, maxiter)
    assert "maxiter" in result.message
    if maxiter == 0:
        assert fun.calls == result.nfev == 1
        assert_array_equal(result.x, X0)
        assert result.fun == rosen(np.array(X0))


@each_mode
@pytest.mark.parametrize("maxfun", [1, 2, 9])
def test_maxfun(options, maxfun):
    fun = Recorder(rosen)
    result = run(fun, X0, jac=rosen_der, options={**options, "maxfun": maxfun})
    assert (result.status, result.success) == (status.MAXFUN, False)
    assert result.nfev == fun.calls == maxfun
    assert result.nit < maxfun
    assert "maxfun" in result.message


@each_mode
@pytest.mark.parametrize(("maxfun", "calls"), [(1, 5), (4, 5), (5, 5), (10, 10), (23, 20)])
def test_maxfun_counts_the_calls_of_differences(options, maxfun, calls):
    # an evaluation is five calls: one that is under way is completed, none is begun in excess
    fun = Recorder(rosen)
    result = run(fun, X0, options={**options, "maxfun": maxfun})
    assert result.status == status.MAXFUN
    assert result.nfev == fun.calls == calls


def test_default_limits():
    result = run(rosen, X0, jac=rosen_der, options={"lr": 1e-7})
    assert (result.status, result.nit) in [(status.MAXITER, 15000), (status.MAXFUN, 14999)]


@pytest.mark.parametrize("name", ["maxiter", "maxfun"])
def test_limit_beyond_all_counting(name):
    assert run(rosen, X0, jac=rosen_der, options={name: 10**30}).success


@each_mode
@pytest.mark.parametrize("name", ["ftol", "xtol"])
def test_ftol_and_xtol(options, name):
    tolerance = 1e-2
    seen = [(np.array(X0), rosen(np.array(X0)))]

    def callback(intermediate_result):
        seen.append((intermediate_result.x, intermediate_result.fun))

    result = run(
        rosen, X0, jac=rosen_der, callback=callback,
        options={**options, name: tolerance, "gtol": 0},
    )  # fmt: skip
    expected = status.FTOL if name == "ftol" else status.XTOL
    assert (result.status, result.success) == (expected, True)
    assert name in result.message
    if name == "ftol":
        (_, before), (_, after) = seen[-2:]
        assert abs(after - before) <= tolerance * max(abs(before), abs(after), 1)


def test_unknown_options():
    with pytest.warns(OptimizeWarning, match="learning_rate.*wolfe") as caught:
        result = run(rosen, X0, jac=rosen_der, options={"learning_rate": 0.1, "wolfe": 1})
    assert len(caught) == 1
    assert result.success


@pytest.mark.parametrize("name", ["hess", "hessp"])
@pytest.mark.parametrize("call", [run, rmsfast.rmsprop])
def test_hessian_is_not_used(name, call):
    with pytest.warns(RuntimeWarning, match=f"does not use Hessian.*{name}"):
        result = call(rosen, X0, jac=rosen_der, **{name: lambda *_: np.eye(2)})
    assert result.success


CONSTRAINTS = {
    "dict": {"type": "ineq", "fun": lambda x: x[0]},
    "list": [{"type": "eq", "fun": lambda x: x[0]}],
    "tuple": ({"type": "eq", "fun": lambda x: x[0]},),
    "linear": LinearConstraint([[1, 1]], 0, 1),
    "nonlinear": NonlinearConstraint(lambda x: x[0], 0, 1),
    "list of objects": [LinearConstraint([[1, 1]], 0, 1)],
}


@pytest.mark.parametrize("constraints", CONSTRAINTS.values(), ids=CONSTRAINTS)
def test_constraints_raise(constraints):
    fun = Recorder(rosen)
    with pytest.raises(ValueError, match="constraints must be empty"):
        run(fun, X0, jac=rosen_der, constraints=constraints)
    assert fun.calls == 0


@pytest.mark.parametrize("constraints", [(), [], None])
def test_no_constraints(constraints):
    assert rmsfast.rmsprop(rosen, X0, jac=rosen_der, constraints=constraints).success


def test_signature_is_that_of_a_scipy_method():
    names = ["fun", "x0", "args", "jac", "hess", "hessp", "bounds", "constraints", "callback"]
    assert list(inspect.signature(rmsfast.rmsprop).parameters) == [*names, "options"]


def test_caller_keeps_the_options():
    options = {"lr": 0.01, "maxiter": 5, "disp": False}
    run(rosen, X0, jac=rosen_der, tol=1e-3, options=options)
    assert options == {"lr": 0.01, "maxiter": 5, "disp": False}


# Learning rates ----------------------------------------------------------------------------------


def test_numeric_rate_is_the_textbook_step():
    x0 = np.array(X0)
    result = run(rosen, X0, jac=rosen_der, options={"lr": 0.01, "maxiter": 1})
    g = rosen_der(x0)
    assert_allclose(result.x_last, x0 - 0.01 * g / (np.sqrt(0.01 * g * g) + 1e-8), rtol=1e-15)


def test_maximize():
    fun = Recorder(lambda x: -square(x))
    options = {"lr": rmsfast.schedules.exponential(0.1, 0.95), "maximize": True, "rho": 0.9}
    result = run(fun, [1.0, -0.5], jac=lambda x: -x, options=options)
    assert result.success
    assert_allclose(result.x, 0, atol=1e-5)
    assert result.fun == -square(result.x) == max(fun.values)
    assert_array_equal(result.jac, -result.x)


@pytest.mark.parametrize("curvature", [0.5, 1.0, 8.0])
@pytest.mark.parametrize("lr", [0.01, 0.1])
@pytest.mark.parametrize("n", [1, 3])
def test_limit_cycle(curvature, lr, n):
    """A constant rate ends in a cycle of two points with |g| = lr * L / 2 - eps."""
    result = run(
        lambda x: curvature * square(x), np.linspace(1, 2, n), jac=lambda x: curvature * x,
        options={"lr": lr, "rho": 0.9, "gtol": 0},
    )  # fmt: skip
    assert (result.status, result.success) == (status.LIMIT_CYCLE, False)
    assert_allclose(abs(curvature * result.x_last), lr * curvature / 2 - 1e-8, rtol=0.02)
    assert "limit cycle" in result.message
    assert "lr='auto'" in result.message
    assert "schedule" in result.message
    assert run(lambda x: curvature * square(x), np.ones(n), jac=lambda x: curvature * x).success


@pytest.mark.parametrize("limit", [{"maxiter": 3000}, {"maxfun": 3000}], ids=["maxiter", "maxfun"])
def test_advice_where_a_constant_rate_moves_about_the_minimum(limit):
    rng = np.random.default_rng(5)

    def noisy(x):
        return x + 0.1 * rng.standard_normal(2)

    result = run(square, [1.0, 1.0], jac=noisy, options={"lr": 0.01, **limit})
    assert result.status == (status.MAXITER if "maxiter" in limit else status.MAXFUN)
    assert "lr='auto'" in result.message
    assert "schedule" in result.message
    # where it still comes down, or the rate is no constant, there is no such advice
    for options in ({"lr": 1e-5, **limit}, {"lr": rmsfast.schedules.constant(0.01), **limit}):
        assert "lr='auto'" not in run(square, [1.0, 1.0], jac=identity, options=options).message


def test_rates_of_a_table():
    """Ten iterations take ten rates: lr(0) to lr(9)."""
    table = 0.01 * 0.9 ** np.arange(10)
    asked = []

    def rate(k):
        asked.append(k)
        return table[k]

    result = run(rosen, X0, jac=rosen_der, options={"lr": rate, "maxiter": 10})
    assert (result.status, result.nit) == (status.MAXITER, 10)
    assert asked == list(range(10))
    compiled = run(rmsfast.objectives.rosenbrock, X0, jac=True, options={"lr": rate, "maxiter": 10})
    assert compiled.nit == 10
    assert_allclose(compiled.x_last, result.x_last, rtol=1e-12)


def test_start_that_is_the_solution():
    result = run(rosen, [1.0, 1.0], jac=rosen_der)
    assert (result.success, result.nit, result.nfev, result.njev) == (True, 0, 1, 1)
    assert_array_equal(result.x_last, [1, 1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", [{}, {"maxcor": 0}, {"lr": 0.3, "momentum": 0.9}], ids=str)
def test_best_point_of_many_minima(options, dtype):
    """No value seen is lower than the one returned, beyond the rounding of its terms."""
    seen = []

    def fun(x):
        f = dtype(1000.0 + (x * x).sum() - 10.0 * np.cos(3.0 * x).sum())
        seen.append(float(f))
        return f, (2.0 * x + 30.0 * np.sin(3.0 * x)).astype(dtype)

    for start in range(1, 8):
        seen.clear()
        x0 = np.linspace(-start, start + 1, 3).astype(dtype)
        result = rmsfast.rmsprop(fun, x0, jac=True, gtol=1e-2, maxiter=300, **options)
        assert result.fun <= min(seen) * (1.0 + np.finfo(dtype).eps ** (2 / 3))
