"""Every form of an objective that `rmsfast.rmsprop` takes, and what it says of wrong ones."""

import ctypes
import functools
import math
import re

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
from numba import types
from numpy.testing import assert_allclose, assert_array_equal
from scipy import LowLevelCallable
from scipy.optimize import minimize

import rmsfast
from rmsfast.options import ReportOptions

N = 3
X0 = np.array([1.2, -1.0, 0.5])  # the runs from here come to (1, 1, 1), not to another minimum
A = 100.0


def pair_as_list(x, a):
    return list(pair(x, a))


FOREIGN = types.float64(
    types.intc, types.CPointer(types.float64), types.CPointer(types.float64), types.voidptr
)


@numba.cfunc(FOREIGN, cache=True)
def c_function(n, x, g, user_data):
    return jit_in_place(numba.carray(x, n), numba.carray(g, n), 100.0)


@numba.cfunc(FOREIGN, cache=True)
def c_function_with_data(n, x, g, user_data):
    a = numba.carray(user_data, 1, np.float64)
    return jit_in_place(numba.carray(x, n), numba.carray(g, n), a[0])


FACTOR = ctypes.c_double(A)
FACTOR_POINTER = ctypes.cast(ctypes.byref(FACTOR), ctypes.c_void_p)


def low_level():
    return LowLevelCallable(c_function_with_data.ctypes, user_data=FACTOR_POINTER)


FORMS = {  # name: what is called, with which gradient, compiled
    "python fun and jac": (value, gradient, False),
    "python jac=True": (pair, True, False),
    "python jac=True, list": (pair_as_list, True, False),
    "njit fun, njit jac": (jit_value, jit_gradient, True),
    "njit fun, python jac": (jit_value, gradient, False),
    "python fun, njit jac": (value, jit_gradient, False),
    "njit jac=True": (jit_pair, True, True),
    "Objective of python": (rmsfast.Objective(in_place), None, True),
    "Objective of njit": (rmsfast.Objective(jit_in_place), None, True),
    "Objective, jac=True": (rmsfast.Objective(jit_in_place), True, True),
    "cfunc": (c_function, None, True),
    "cfunc, jac=True": (c_function, True, True),
    "LowLevelCallable": (low_level(), None, True),
}
C_FORMS = [name for name in FORMS if "cfunc" in name or name == "LowLevelCallable"]
OTHER_FORMS = [name for name in FORMS if name not in C_FORMS]


@pytest.fixture(scope="module")
def reference():
    return rmsfast.rmsprop(value, X0, args=(A,), jac=gradient)


@pytest.fixture
def entries(monkeypatch):
    """Count the entries into the compiled driver."""
    counted = []
    original = rmsfast.minimize.driver
    monkeypatch.setattr(
        "rmsfast.minimize.driver", lambda *args: counted.append(args) or original(*args)
    )
    return counted


def agree(result, expected):
    for name in ("x", "x_last", "fun", "jac", "nit", "nfev", "njev", "status", "message"):
        assert_array_equal(result[name], expected[name], err_msg=name)


@pytest.mark.parametrize("name", FORMS)
def test_every_form_with_a_gradient_gives_the_same_run(name, reference, entries):
    fun, jac, compiled = FORMS[name]
    result = rmsfast.rmsprop(fun, X0, args=() if name in C_FORMS else (A,), jac=jac)
    assert result.success
    assert_allclose(result.x, np.ones(N), atol=1e-5)
    assert result.x.dtype == result.jac.dtype == np.float64
    assert bool(entries) == compiled
    agree(result, reference)


@pytest.mark.parametrize("name", FORMS)
def test_scipy_hands_every_form_on(name, reference):
    fun, jac, _ = FORMS[name]
    if jac is None:
        jac = True  # these write the gradient themselves
    args = () if name in C_FORMS else (A,)
    agree(minimize(fun, X0, args=args, jac=jac, method=rmsfast.rmsprop), reference)


def test_user_data_reaches_the_c_function():
    factor = ctypes.c_double(1.0)
    pointer = ctypes.cast(ctypes.byref(factor), ctypes.c_void_p)
    fun = LowLevelCallable(c_function_with_data.ctypes, user_data=pointer)
    agree(rmsfast.rmsprop(fun, X0), rmsfast.rmsprop(value, X0, jac=gradient, args=(1.0,)))
    factor.value = 7.0  # read at each call
    agree(rmsfast.rmsprop(fun, X0), rmsfast.rmsprop(value, X0, jac=gradient, args=(7.0,)))


def test_c_function_made_by_ctypes():
    @ctypes.CFUNCTYPE(
        *(ctypes.c_double, ctypes.c_int, ctypes.POINTER(ctypes.c_double)),
        *(ctypes.POINTER(ctypes.c_double), ctypes.c_void_p),
    )
    def paraboloid(n, x, g, user_data):
        f = 0.0
        for i in range(n):
            f += (x[i] - i) ** 2
            g[i] = 2 * (x[i] - i)
        return f

    result = rmsfast.rmsprop(LowLevelCallable(paraboloid), X0)
    assert result.success
    assert_allclose(result.x, np.arange(N), atol=1e-5)


def test_calls_are_counted_as_made():
    calls = {"fun": 0, "jac": 0}

    def fun(x):
        calls["fun"] += 1
        return value(x, A)

    def jac(x):
        calls["jac"] += 1
        return gradient(x, A)

    result = rmsfast.rmsprop(fun, X0, jac=jac)
    assert (result.nfev, result.njev) == (calls["fun"], calls["jac"])
    assert result.nit < result.nfev <= 2 * result.nit + 1


# Without a gradient ------------------------------------------------------------------------------

DIFFERENCES = [("2-point", 1, 1e-4), ("3-point", 2, 1e-5), ("cs", 1, 1e-5)]
each_difference = pytest.mark.parametrize("scheme, points, atol", DIFFERENCES)


@pytest.mark.parametrize("compiled", [False, True], ids=["python", "njit"])
@pytest.mark.parametrize("jac", [None, False])
@each_difference
def test_differences(scheme, points, atol, jac, compiled, entries):
    calls = 0

    def counted(x, a):
        nonlocal calls
        calls += 1
        return value(x, a)

    fun = jit_value if compiled else counted
    result = rmsfast.rmsprop(fun, X0, args=A, jac=jac, finite_diff=scheme)
    assert result.success, result.message
    assert_allclose(result.x, np.ones(N), atol=atol)
    assert result.nfev == result.njev * (1 + points * N)
    assert bool(entries) == compiled
    if not compiled:
        assert result.nfev == calls


@each_difference
def test_differences_compiled_are_those_of_python(scheme, points, atol):
    compiled = rmsfast.rmsprop(jit_value, X0, args=A, finite_diff=scheme)
    python = rmsfast.rmsprop(value, X0, args=A, finite_diff=scheme)
    if scheme == "cs":  # CPython and LLVM multiply complex numbers in different orders
        assert_allclose(compiled.x, python.x, atol=1e-5)
    else:
        agree(compiled, python)


def test_default_difference_is_documented():
    default = ReportOptions().finite_diff
    agree(
        rmsfast.rmsprop(jit_value, X0, args=A),
        rmsfast.rmsprop(jit_value, X0, args=A, finite_diff=default),
    )


def test_differences_named_in_the_words_of_scipy():
    result = minimize(jit_value, X0, args=(A,), jac="3-point", method=rmsfast.rmsprop)
    assert result.success
    assert result.nfev == (1 + 2 * N) * result.njev


# args --------------------------------------------------------------------------------------------


def weighted(x, weights, shift):
    f = 0.0
    for i in range(x.size):
        t = x[i] - shift[0] * shift[1]
        f += weights[i] * t * t
    return f


def weighted_gradient(x, weights, shift):
    g = np.empty_like(x)
    for i in range(x.size):
        g[i] = 2.0 * weights[i] * (x[i] - shift[0] * shift[1])
    return g


def weighted_in_place(x, g, weights, shift):
    g[:] = jit_weighted_gradient(x, weights, shift)
    return jit_weighted(x, weights, shift)


jit_weighted, jit_weighted_gradient = jit(weighted), jit(weighted_gradient)


@jit
def jit_weighted_pair(x, weights, shift):
    return jit_weighted(x, weights, shift), jit_weighted_gradient(x, weights, shift)


WEIGHTED = {
    "python": (weighted, weighted_gradient),
    "njit fun, njit jac": (jit_weighted, jit_weighted_gradient),
    "njit jac=True": (jit_weighted_pair, True),
    "Objective": (rmsfast.Objective(jit(weighted_in_place)), None),
    "njit differences": (jit_weighted, None),
}


@pytest.mark.parametrize("parallel_seconds", [0.0, np.inf])
@pytest.mark.parametrize("name", WEIGHTED)
def test_array_and_tuple_in_args(name, parallel_seconds, monkeypatch):
    monkeypatch.setattr("rmsfast.minimize.PARALLEL_SECONDS", parallel_seconds)
    fun, jac = WEIGHTED[name]
    weights, shift = np.array([1.0, 10.0, 0.1]), (2.0, 1.5)
    result = rmsfast.rmsprop(fun, X0, args=(weights, shift), jac=jac)
    assert result.success
    assert_allclose(result.x, np.full(N, 3.0), atol=1e-3)
    assert_array_equal(weights, [1.0, 10.0, 0.1])


@pytest.mark.parametrize("args", [7.0, (7.0,), (7,), (np.float32(7),)], ids=repr)
@pytest.mark.parametrize("name", OTHER_FORMS)
def test_scalar_in_args(name, args):
    fun, jac, _ = FORMS[name]
    result = rmsfast.rmsprop(fun, X0, args=args, jac=jac)
    agree(result, rmsfast.rmsprop(value, X0, args=(7.0,), jac=gradient))


@pytest.mark.parametrize("name", [name for name in OTHER_FORMS if FORMS[name][2]])
def test_args_that_numba_cannot_type(name):
    fun, jac, _ = FORMS[name]
    with pytest.raises(TypeError, match=r"^args\[1\] is of <class 'object'>"):
        rmsfast.rmsprop(fun, X0, args=(1.0, object()), jac=jac)


def test_args_that_numba_cannot_type_without_gradient():
    with pytest.raises(TypeError, match=r"^args\[0\] is of <class 'object'>"):
        rmsfast.rmsprop(jit_value, X0, args=(object(),))


def test_default_arguments():
    """A compiled function called without its last arguments takes their defaults."""

    @numba.njit
    def steep(x, a=3.0):
        return jit_value(x, a)

    @numba.njit
    def slope(x, a=3.0):
        return jit_gradient(x, a)

    @rmsfast.Objective
    def whole(x, g, a=3.0):
        return jit_in_place(x, g, a)

    expected = rmsfast.rmsprop(value, X0, args=(3.0,), jac=gradient)
    agree(rmsfast.rmsprop(lambda x: steep(x), X0, jac=lambda x: slope(x)), expected)
    agree(rmsfast.rmsprop(steep, X0, jac=slope), expected)
    agree(rmsfast.rmsprop(whole, X0), expected)


# Other types of value and of x -------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.float32, np.int64, bool])
def test_objective_returning_another_real_type_is_adapted(kind):
    @rmsfast.Objective
    def narrow(x, g):
        f = 0.0
        for i in range(x.size):
            f += (x[i] - 4.0) * (x[i] - 4.0)
            g[i] = 2.0 * (x[i] - 4.0)
        return kind(f)

    result = rmsfast.rmsprop(narrow, X0, lr=0.1, maxiter=300)
    python = rmsfast.rmsprop(lambda x: narrow(x), X0, jac=True, lr=0.1, maxiter=300)
    agree(result, python)
    assert_allclose(result.x, 4.0, atol=0.2)
    assert isinstance(result.fun, float)


@pytest.mark.parametrize("kind", [np.float32, np.int64])
def test_njit_returning_another_real_type_is_adapted(kind):
    @numba.njit
    def narrow(x, a):
        return kind(jit_value(x, a))

    result = rmsfast.rmsprop(narrow, X0, args=A, jac=jit_gradient, maxiter=5)
    python = rmsfast.rmsprop(lambda x, a: narrow(x, a), X0, args=A, jac=gradient, maxiter=5)
    agree(result, python)


@pytest.mark.parametrize("name", [*OTHER_FORMS, "njit differences", "python differences"])
def test_float32_stays_float32(name):
    fun, jac, _ = FORMS.get(name, (jit_value_32 if "njit" in name else value, None, None))
    differences = "differences" in name
    gtol = 2e-2 if differences else 1e-3
    x0 = X0.astype(np.float32)
    result = rmsfast.rmsprop(fun, x0, args=(np.float32(1.0),), jac=jac, gtol=gtol)
    assert result.success, result.message
    for array in (result.x, result.jac, result.x_last, np.asarray(result.fun)):
        assert array.dtype == np.float32
    assert_allclose(result.x, 1.0, atol=0.1 if differences else 1e-2)


@pytest.mark.parametrize("name", C_FORMS)
def test_c_functions_are_of_double(name):
    with pytest.raises(TypeError, match="x0 must be float64 for a C function, got float32"):
        rmsfast.rmsprop(FORMS[name][0], X0.astype(np.float32))


def pair_of_compiled(x, a):
    return jit_value(x, a), jit_gradient(x, a)


@pytest.mark.parametrize(
    "fun, jac", [(in_place, None), (value, gradient), (pair_of_compiled, True)]
)
def test_compiled_forms_see_float32(fun, jac):
    """For a float32 start nothing is compiled for float64 arrays."""
    fun = numba.njit(fun)
    jac = numba.njit(jac) if callable(jac) else jac
    objective = fun if jac else rmsfast.Objective(fun)
    x0 = X0.astype(np.float32)
    result = rmsfast.rmsprop(objective, x0, args=np.float32(1.0), jac=jac, maxiter=2)
    assert result.x.dtype == np.float32
    for dispatcher in (fun, jac) if callable(jac) else (fun,):
        assert [signature[0].dtype for signature in dispatcher.signatures] == [types.float32]


@pytest.mark.parametrize("dtype", [np.int64, np.int8, bool])
def test_integer_start_becomes_float64(dtype):
    x0 = np.array([1, 0, 0], dtype=dtype)
    result = rmsfast.rmsprop(jit_value, x0, args=A, jac=jit_gradient)
    assert result.x.dtype == np.float64
    agree(result, rmsfast.rmsprop(value, x0.astype(float), args=A, jac=gradient))


# Errors ------------------------------------------------------------------------------------------


def raising(x, g):
    f = 0.0
    for i in range(x.size):
        f += x[i] * x[i]
        g[i] = 2.0 * x[i]
    if f < 0.1:
        raise ValueError("the value fell below a tenth")
    return f


@numba.njit
def raising_value(x):
    return raising_compiled(x, np.empty_like(x))


@numba.njit
def raising_gradient(x):
    g = np.empty_like(x)
    raising_compiled(x, g)
    return g


@numba.njit
def raising_pair(x):
    g = np.empty_like(x)
    return raising_compiled(x, g), g


raising_compiled = numba.njit(raising)
RAISING = {
    "Objective": (rmsfast.Objective(raising), None),
    "njit fun, njit jac": (raising_value, raising_gradient),
    "njit jac=True": (raising_pair, True),
    "njit differences": (raising_value, None),
    "python": (lambda x: raising_pair(x), True),
}


@pytest.mark.parametrize("name", RAISING)
def test_exception_of_the_objective_reaches_the_user(name):
    fun, jac = RAISING[name]
    with pytest.raises(ValueError, match="^the value fell below a tenth$"):
        rmsfast.rmsprop(fun, 10.0 * X0, jac=jac, lr=0.05, maxiter=2000)


def test_own_exception_class_reaches_the_user():
    class Stop(Exception):
        pass

    @rmsfast.Objective
    def fun(x, g):
        g[:] = 1.0
        if x[0] < -2.0:
            raise Stop("far", 3)
        return x[0]

    with pytest.raises(Stop) as raised:
        rmsfast.rmsprop(fun, X0, lr=0.05, maxiter=2000)
    assert raised.value.args == ("far", 3)


def empty(x):
    return np.empty(0)


def longer(x):
    return np.zeros(x.size + 1)


def column(x):
    return np.zeros((x.size, 1))


def text(x):
    return "text"


def imaginary(x):
    return x[0] + 1j


def array(x):
    return x + 1.0


def nothing(x):
    return None


def just_value(x):
    return x[0]


def just_real(x):
    return (x * x).sum().real


def triple(x):
    return x[0], x, x


def text_and_gradient(x):
    return "text", x + 1.0


def value_and_text(x):
    return x[0], "text"


def value_and_longer(x):
    return x[0], np.zeros(x.size + 1)


def value_and_complex(x):
    return x[0], x + 1j


def simple(x):
    return (x * x).sum()


def simple_gradient(x):
    return 2.0 * x


def complex_gradient(x):
    return x + 1j


TEXT = "(unicode_type|str)"
PAIR = r": give jac=True if it returns \(f, gradient\)$"
WRONG = [  # fun, jac, exception and text from Python, from compiled code
    (text, None, TypeError, "fun must return a real number, got 'text'", TEXT),
    (imaginary, None, TypeError, "fun must return a real number, got", "complex128"),
    (text_and_gradient, None, TypeError, f"real number, got a tuple of 2{PAIR}", f"Tuple.*{PAIR}"),
    (text_and_gradient, False, TypeError, f"real number, got a tuple of 2{PAIR}", f"Tuple.*{PAIR}"),
    (array, None, ValueError, r"fun must return a scalar, .* shape \(3,\)", "array"),
    (nothing, None, TypeError, "fun must return a real number, got None", "none"),
    (text, simple_gradient, TypeError, "fun must return a real number, got 'text'", TEXT),
    (imaginary, simple_gradient, TypeError, "fun must return a real number, got", "complex128"),
    (array, simple_gradient, ValueError, r"fun must return a scalar, .* shape \(3,\)", "array"),
    (text_and_gradient, simple_gradient, TypeError, f"got a tuple of 2{PAIR}", f"Tuple.*{PAIR}"),
    (simple, longer, ValueError, r"shape of x, \(3,\), got shape \(4,\)", ValueError),
    (simple, empty, ValueError, r"shape of x, \(3,\), got shape \(0,\)", ValueError),
    (simple, text, (TypeError, ValueError), "the gradient must", TEXT),
    (simple, just_value, ValueError, r"shape of x, \(3,\), got shape \(\)", "float64"),
    (simple, complex_gradient, TypeError, "the gradient must be real", "complex128"),
    (just_value, True, TypeError, "must return .f, gradient., got float64", "float64"),
    (text, True, TypeError, "must return .f, gradient., got str", TEXT),
    (array, True, TypeError, "must return .f, gradient., got ndarray", "array"),
    (triple, True, TypeError, "must return .f, gradient., got tuple", "Tuple"),
    (text_and_gradient, True, TypeError, "fun must return a real number, got 'text'", TEXT),
    (value_and_text, True, (TypeError, ValueError), "the gradient must", TEXT),
    (value_and_longer, True, ValueError, r"of x, \(3,\), got shape \(4,\)", ValueError),
    (value_and_complex, True, TypeError, "the gradient must be real", "complex128"),
]
each_wrong = pytest.mark.parametrize("fun, jac, error, python, compiled", WRONG)


@each_wrong
def test_wrong_returns_of_python(fun, jac, error, python, compiled):
    with pytest.raises(error, match=python):
        rmsfast.rmsprop(fun, X0, jac=jac)


@each_wrong
def test_wrong_returns_of_compiled(fun, jac, error, python, compiled):
    jac = numba.njit(jac) if callable(jac) else jac
    if compiled is ValueError:
        error, compiled = ValueError, "the gradient must have the shape of x"
    else:
        error, compiled = TypeError, f"must return .*, compiled it returns .*{compiled}"
    with pytest.raises(error, match=compiled):
        rmsfast.rmsprop(numba.njit(fun), X0, jac=jac)


def test_column_gradient_is_taken_from_python():
    result = rmsfast.rmsprop(simple, X0, jac=lambda x: simple_gradient(x).reshape(-1, 1))
    assert result.success


@pytest.mark.parametrize("function", [text, imaginary, array, nothing])
def test_wrong_returns_of_objectives(function):
    source = {text: "'text'", imaginary: "x[0] + 1j", array: "x + 1.0", nothing: "None"}[function]
    names = {}
    exec(f"def fun(x, g):\n    g[:] = x\n    return {source}", names)
    with pytest.raises(TypeError, match="fun must return a real number, compiled it returns"):
        rmsfast.rmsprop(rmsfast.Objective(names["fun"]), X0)


@pytest.mark.parametrize("function", [text, just_real])
def test_complex_steps_need_complex_values(function):
    """A real value has no imaginary part to read the slope from: the gradient would be zero."""
    with pytest.raises(TypeError, match="fun must return a complex number for a complex x"):
        rmsfast.rmsprop(function, X0, finite_diff="cs")
    with pytest.raises(TypeError, match="fun must return a complex number, compiled it returns"):
        rmsfast.rmsprop(numba.njit(function), X0, finite_diff="cs")


BARE = {  # an objective in place, taken for another form
    "minimize": lambda fun, jac: minimize(fun, X0, (A,), method=rmsfast.rmsprop, jac=jac),
    "direct": lambda fun, jac: rmsfast.rmsprop(fun, X0, (A,), jac=jac),
    "many": lambda fun, jac: rmsfast.minimize_many(fun, [X0], (A,), jac=jac),
    "batches": lambda fun, jac: rmsfast.minimize_minibatch(
        fun, X0, np.ones(4), batch_size=2, epochs=1, jac=jac or True, lr=0.1
    ),
}


@pytest.mark.parametrize("call", BARE.values(), ids=BARE)
@pytest.mark.parametrize("jac", [None, True, gradient], ids=["none", "true", "gradient"])
@pytest.mark.parametrize("fun", [in_place, jit_in_place], ids=["python", "compiled"])
def test_objective_in_place_that_is_none(fun, jac, call):
    """Python and Numba only count arguments."""
    with pytest.raises(TypeError, match="argument") as caught:
        call(fun, jac)
    hint = "If fun(x, g, ...) writes its gradient into g, give rmsfast.Objective(fun)."
    assert caught.value.__notes__ == [hint]


@pytest.mark.parametrize("args", [(), (A, A, A)], ids=["too few", "too many"])
@pytest.mark.parametrize("fun", [in_place, jit_in_place], ids=["python", "compiled"])
def test_other_counts_of_arguments_give_no_hint(fun, args):
    with pytest.raises(TypeError, match="argument") as caught:
        rmsfast.rmsprop(fun, X0, args, jac=True)
    assert "Objective" not in "".join(getattr(caught.value, "__notes__", ()))


@numba.njit
def jit_of_one(x, a):
    return a * x[0]


COUNTED = {  # by the form: fun, jac, and how it is called
    "value": (jit_of_one, None, "fun is called with x and"),
    "value and gradient": (jit_of_one, jit_of_one, "fun and jac are called with x and"),
    "both": (jit_of_one, True, "fun is called with x and"),
    "in place": (rmsfast.Objective(jit_in_place), None, "fun is called with x, g and"),
    "terms": (
        rmsfast.Objective.from_terms(lambda i, x, a: x[i], lambda i, x, a: 1.0),
        True,
        "term and grad are called with i, x and",
    ),
}
COUNTS = [((A, A, A), "3 further arguments."), ((A, A), "2 further arguments.")]


@pytest.mark.parametrize("args, rest", COUNTS, ids=["three", "two"])
@pytest.mark.parametrize("fun, jac, called", COUNTED.values(), ids=COUNTED)
def test_compiled_objectives_tell_how_they_are_called(fun, jac, called, args, rest):
    calls = (
        lambda: minimize(fun, X0, args, method=rmsfast.rmsprop, jac=jac),
        lambda: rmsfast.minimize_many(fun, [X0], args, jac=jac),
    )
    for call in calls:
        with pytest.raises(TypeError, match="^Signature mismatch") as caught:
            call()
        assert caught.value.__notes__ == [f"{called} {rest}"]


def test_mini_batches_tell_how_a_compiled_objective_is_called():
    with pytest.raises(TypeError, match="^Signature mismatch") as caught:
        rmsfast.minimize_minibatch(
            rmsfast.Objective(jit_in_place),
            X0,
            np.ones(4),
            args=(A,),
            batch_size=2,
            epochs=1,
            lr=0.1,
        )
    assert caught.value.__notes__ == ["fun is called with x, g and 2 further arguments."]


def test_other_errors_of_type_give_no_hint():
    with pytest.raises(TypeError, match="unsupported operand") as caught:
        rmsfast.rmsprop(lambda x, a=1.0: a + "text", X0)
    assert not hasattr(caught.value, "__notes__")


@numba.cfunc(types.float64(types.float64))
def c_of_one_number(x):
    return x


WRONG_FOREIGN = [
    (c_of_one_number, {}, "fun must be a C function 'double (int, double *, double *, void *)'"),
    (LowLevelCallable(c_of_one_number.ctypes), {}, "got 'double (double)'"),
    (c_function, {"args": (1.0,)}, "args must be empty"),
    (low_level(), {"args": (1.0,)}, "args must be empty"),
    (c_function, {"jac": gradient}, "jac must be None or True"),
    (low_level(), {"jac": gradient}, "jac must be None or True"),
]


@pytest.mark.parametrize("fun, keywords, message", WRONG_FOREIGN)
def test_wrong_c_functions(fun, keywords, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        rmsfast.rmsprop(fun, X0, **keywords)


@pytest.mark.parametrize(
    "fun, jac, message",
    [
        (rmsfast.Objective(jit_in_place), gradient, "an Objective writes its own gradient"),
        (rmsfast.Objective(jit_in_place), jit_gradient, "an Objective writes its own gradient"),
        (3, None, "fun must be callable, got 3"),
        (None, gradient, "fun must be callable, got None"),
        (value, "2-points", "jac must be callable, True, False or None, got '2-points'"),
        (value, 1.0, "jac must be callable, True, False or None, got 1.0"),
    ],
)
def test_wrong_forms(fun, jac, message):
    with pytest.raises(TypeError, match=message):
        rmsfast.rmsprop(fun, X0, jac=jac)


def test_objective_takes_callables_only():
    with pytest.raises(TypeError, match="fun must be callable, got 3"):
        rmsfast.Objective(3)


class Model:
    """Callables that Numba does not compile."""

    def in_place(self, x, g):
        raise AssertionError

    def __call__(self, x, g):
        raise AssertionError


@pytest.mark.parametrize(
    ("fun", "kind"),
    [
        (Model().in_place, "method"),
        (Model(), "Model"),
        (functools.partial(in_place, 1.0), "partial"),
        (math.hypot, "builtin_function_or_method"),
    ],
    ids=["method", "object", "partial", "builtin"],
)
def test_objective_takes_functions_only(fun, kind):
    message = f"fun must be a function, got a {kind}: Numba compiles no methods or objects"
    with pytest.raises(TypeError, match=message):
        rmsfast.Objective(fun)


@pytest.mark.parametrize("compiled", [False, True], ids=["python", "compiled"])
def test_objective_that_writes_into_x(compiled):
    @numba.njit
    def fun(x):
        x[0] += 1.0
        return (x * x).sum()

    if compiled:
        with pytest.raises(ValueError, match="fun wrote into x"):
            rmsfast.rmsprop(fun, X0, jac=numba.njit(simple_gradient))
    else:  # sees a copy
        assert rmsfast.rmsprop(lambda x: fun(x), X0).success


def test_objective_called_returns_value_and_gradient():
    objective = rmsfast.Objective(in_place)
    assert repr(objective) == "Objective(in_place)"
    for x in ([-1, 1, 2], X0, X0[::-1], X0.astype(np.float32)):
        f, g = objective(x, A)
        array = np.ascontiguousarray(x, dtype=np.result_type(np.asarray(x), np.float32))
        if array.dtype != np.float32:
            assert f == value(array, A)
            assert_array_equal(g, gradient(array, A))
        assert g.dtype == array.dtype
    with pytest.raises(TypeError, match="x must be an array of real numbers, got dtype complex"):
        objective(X0 + 1j, A)


# Warnings ----------------------------------------------------------------------------------------

NO_WARNINGS = """
import warnings

import numba, numpy as np, rmsfast
from numba import types

@numba.njit
def fun(x, a):
    return a * ((x - 1.0) * (x - 1.0)).sum()

@numba.njit
def jac(x, a):
    return 2.0 * a * (x - 1.0)

@numba.njit
def both(x, a):
    return fun(x, a), jac(x, a)

@rmsfast.Objective
def whole(x, g, a):
    g[:] = jac(x, a)
    return np.float32(fun(x, a))

@numba.cfunc("float64(intc, CPointer(float64), CPointer(float64), voidptr)")
def foreign(n, x, g, data):
    array = numba.carray(x, n)
    numba.carray(g, n)[:] = jac(array, 1.0)
    return fun(array, 1.0)

x0 = np.array([3.0, -4.0])
for objective, gradient in [(fun, jac), (both, True), (whole, None), (fun, None)]:
    assert rmsfast.rmsprop(objective, x0, args=(2.0,), jac=gradient, gtol=1e-3).success
assert rmsfast.rmsprop(fun, x0, args=(2.0,), finite_diff="cs").success
assert rmsfast.rmsprop(fun, x0.astype("f"), args=(np.float32(2.0),), jac=jac).success
assert rmsfast.rmsprop(foreign, x0).success
"""


def test_no_form_warns(run_python):
    run_python(NO_WARNINGS)


DECLARED = {
    "fun": (numba.njit("float64(float64[:])")(lambda x: (x * x).sum()), None),
    "fun and jac": (
        numba.njit("float64(float64[:])")(lambda x: (x * x).sum()),
        numba.njit("float64[:](float64[:])")(lambda x: 2.0 * x),
    ),
}


@pytest.mark.parametrize("form", DECLARED)
def test_declared_signatures(form):
    """Compiled for another layout alone, functions are called from the Python loop."""
    fun, jac = DECLARED[form]
    np.testing.assert_allclose(rmsfast.rmsprop(fun, [1.0, 2.0], jac=jac).x, 0.0, atol=1e-5)


def test_declared_signature_in_place():
    @rmsfast.Objective
    @numba.njit("float64(float64[:], float64[:])")
    def square(x, g):
        g[:] = 2.0 * x
        return (x * x).sum()

    np.testing.assert_allclose(rmsfast.rmsprop(square, [1.0, 2.0]).x, 0.0, atol=1e-5)


RECOMPILED_TARGET = 1.0


def test_recompiled_objective():
    """What `Dispatcher.recompile` changes counts from the next run on."""

    @numba.njit
    def shifted(x, g):
        f = 0.0
        for i in range(x.size):
            g[i] = 2.0 * (x[i] - RECOMPILED_TARGET)
            f += (x[i] - RECOMPILED_TARGET) ** 2
        return f

    objective = rmsfast.Objective(shifted)
    np.testing.assert_allclose(rmsfast.rmsprop(objective, np.zeros(2)).x, 1.0, atol=1e-5)
    try:
        globals()["RECOMPILED_TARGET"] = 3.0
        shifted.recompile()
        np.testing.assert_allclose(rmsfast.rmsprop(objective, np.zeros(2)).x, 3.0, atol=1e-5)
    finally:
        globals()["RECOMPILED_TARGET"] = 1.0


def test_without_compiler(run_python):
    code = "try:\n    import rmsfast\nexcept ImportError as error:\n    print(error)"
    assert "unset NUMBA_DISABLE_JIT" in run_python(code, NUMBA_DISABLE_JIT="1")
