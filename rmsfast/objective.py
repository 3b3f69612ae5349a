"""Whatever the user minimizes, made one function ``f = value_and_gradient(x, g)``."""

from __future__ import annotations

import ctypes
import functools
import inspect
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core.ccallback import CFunc
from numba.core.errors import NumbaError
from numba.core.typing.templates import Signature
from numba.extending import is_jitted
from scipy import LowLevelCallable

from rmsfast.core import difference, terms
from rmsfast.core.jit import intrinsic, specialise
from rmsfast.threads import threads

PARALLEL_BYTES = 2**17  # a point of this size is worth all threads to an objective of terms

FOREIGN_TEXT = "double (int, double *, double *, void *)"
HINT_AT_PAIR = ": give jac=True if it returns (f, gradient)"

_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.restype, _capsule_pointer.argtypes = (
    ctypes.c_void_p,
    [ctypes.py_object, ctypes.c_char_p],
)
_capsule_context = ctypes.pythonapi.PyCapsule_GetContext
_capsule_context.restype, _capsule_context.argtypes = ctypes.c_void_p, [ctypes.py_object]


class Objective:
    """An objective function with its gradient, compiled by Numba.

    Parameters
    ----------
    fun : callable
        ``fun(x, g, *args) -> f``. It reads ``x`` (float64 or float32, shape
        ``(n,)``, contiguous), writes the whole gradient into ``g`` (the same
        dtype and shape) and returns the value. It must not write into ``x``.
        A Python function is compiled with `numba.njit`; a compiled one is taken
        as it is.

    Attributes
    ----------
    fun : Dispatcher
        The compiled function.

    Raises
    ------
    TypeError
        If `fun` is no function: methods and other callables cannot be compiled.

    See Also
    --------
    rmsfast.rmsprop : takes an objective with the gradient written in place.
    rmsfast.objectives : the classical objective functions.

    Examples
    --------
    Called with a point it returns value and gradient, so that every method of
    `scipy.optimize.minimize` takes it with ``jac=True``:

    >>> import numpy as np
    >>> from scipy.optimize import minimize
    >>> import rmsfast
    >>> @rmsfast.Objective
    ... def paraboloid(x, g, a):
    ...     f = 0.0
    ...     for i in range(x.size):
    ...         f += a * x[i] * x[i]
    ...         g[i] = 2.0 * a * x[i]
    ...     return f
    >>> f, g = paraboloid(np.array([1.0, 2.0]), 3.0)
    >>> float(f), g.tolist()
    (15.0, [6.0, 12.0])
    >>> result = minimize(paraboloid, [1.0, 2.0], args=(3.0,), jac=True, method=rmsfast.rmsprop)
    >>> bool(result.success)
    True
    """

    def __init__(self, fun: Callable[..., Any]) -> None:
        if not callable(fun):
            raise TypeError(f"fun must be callable, got {fun!r}")
        if not (is_jitted(fun) or inspect.isfunction(fun)):
            raise TypeError(
                f"fun must be a function, got a {type(fun).__name__}: "
                "Numba compiles no methods or objects; hand their data over by args"
            )
        self.fun: Any = fun if is_jitted(fun) else numba.njit(error_model="numpy")(fun)
        self.__name__ = getattr(fun, "__name__", type(fun).__name__)
        self.__doc__ = fun.__doc__

    def __call__(self, x: Any, *args: Any) -> tuple[float, np.ndarray]:
        """Value and gradient at `x`.

        Parameters
        ----------
        x : array_like, shape (n,)
            The point: float32 stays float32, anything else becomes float64.
        *args
            Handed to the function.

        Returns
        -------
        f : float
            The value.
        g : ndarray, shape (n,)
            The gradient, a new array of the dtype of `x`.
        """
        x = np.asarray(x)
        x = np.ascontiguousarray(x, dtype=real_dtype(x, "x"))
        g = np.empty_like(x)
        return self._evaluate(x, g, args), g

    def _evaluate(self, x: np.ndarray, g: np.ndarray, args: tuple[Any, ...]) -> Any:
        return self.fun(x, g, *args)

    def __repr__(self) -> str:
        return f"Objective({self.__name__})"

    @property
    def terms(self) -> Terms | None:
        """The objective as a sum of terms, which a GPU needs; None if it is none."""
        return None

    @staticmethod
    def from_terms(term: Callable[..., Any], grad: Callable[..., Any]) -> Terms:
        """Objective that is the sum of as many terms as there are variables.

        Value and gradient run on all of Numba's threads where n is large, and
        on a GPU with ``options={"device": "cuda"}``, fused with the update.

        Parameters
        ----------
        term : callable
            ``term(i, x, *args) -> float``, the term ``i = 0, ..., n - 1``. It
            may read any elements of `x`, and must not write. A Python function
            is compiled by Numba.
        grad : callable
            ``grad(i, x, *args) -> float``, the derivative of the *sum* by
            ``x[i]``: all terms with ``x[i]`` contribute.

        Returns
        -------
        Objective
            ``f = sum of term(i, x, *args)``, ``g[i] = grad(i, x, *args)``. The
            order of the sum depends on n alone, not on threads.

        Raises
        ------
        TypeError
            If `term` or `grad` is not callable; when it is called, if one of
            them returns no real number.

        Examples
        --------
        >>> import numpy as np
        >>> import rmsfast
        >>> from scipy.optimize import minimize
        >>> def term(i, x, b):
        ...     return (x[i] - b[i]) ** 2
        >>> def grad(i, x, b):
        ...     return 2.0 * (x[i] - b[i])
        >>> distance = rmsfast.Objective.from_terms(term, grad)
        >>> b = np.arange(5.0)
        >>> f, g = distance(np.ones(5), b)
        >>> float(f), g.tolist()
        (15.0, [2.0, 0.0, -2.0, -4.0, -6.0])
        >>> minimize(distance, np.ones(5), (b,), jac=True, method=rmsfast.rmsprop).success
        True
        """
        return Terms(term, grad)


class Terms(Objective):
    """A sum of terms; see `Objective.from_terms`, which makes it.

    Parameters
    ----------
    term, grad : callable
        Scalar functions of the number of a term, or of a variable, and the point.

    Attributes
    ----------
    term, grad : Dispatcher
        The compiled functions.
    """

    def __init__(self, term: Callable[..., Any], grad: Callable[..., Any]) -> None:
        for name, function in (("term", term), ("grad", grad)):
            if not callable(function):
                raise TypeError(f"{name} must be callable, got {function!r}")
        self.term, self.grad = terms.scalar(term), terms.scalar(grad)
        super().__init__(terms.in_place(self.term, self.grad))
        self.__name__, self.__doc__ = self.term.__name__, self.term.__doc__

    def __reduce__(self) -> Any:
        return Terms, (self.term, self.grad)

    @property
    def terms(self) -> Terms:
        """The objective itself."""
        return self

    def _evaluate(self, x: np.ndarray, g: np.ndarray, args: tuple[Any, ...]) -> Any:
        evaluate = _compiled_terms(self, args, x)
        with threads() if x.nbytes >= PARALLEL_BYTES else nullcontext(1) as count:
            return (evaluate.in_parallel() if count > 1 else evaluate)(x, g)


def real_dtype(array: np.ndarray, name: str) -> np.dtype[Any]:
    """Return the dtype to compute in: float32 stays, other real numbers become float64."""
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be an array of real numbers, got dtype {array.dtype}")
    return np.dtype(np.float32 if array.dtype == np.float32 else np.float64)


@dataclass(frozen=True)
class Evaluator:
    """One way to evaluate an objective: ``f = function(x, g, *args)``.

    Attributes
    ----------
    function : callable
        A compiled function of exactly `signature`, or a Python function.
    args : tuple
        What follows ``x`` and ``g``.
    signature : Signature or None
        The signature of the compiled function; None for a Python function.
    nfev, njev : int
        Calls of the user's function and of the user's gradient per evaluation.
    make_parallel : callable or None
        Compiles the parallel form of `function`, where there is one.
    place : int or None
        Where the arguments of the user's function stand in `args`; None if they
        are `args`, and defaults.
    points : int
        With finite differences, whose `args` begin with the bounds: calls of
        the user's function per variable that is not fixed. Else 0.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    signature: Signature | None
    nfev: int = 1
    njev: int = 1
    make_parallel: Callable[[], Callable[..., Any]] | None = None
    place: int | None = None
    points: int = 0

    def in_parallel(self) -> Evaluator:
        """Return the same evaluation, bit for bit, on all threads.

        It stays on one where there is no parallel form, or Numba cannot compile
        it: its parallel loops take no tuple within `args`.
        """
        if self.make_parallel is None:
            return self
        try:
            return replace(self, function=self.make_parallel(), make_parallel=None)
        except (TypeError, NumbaError):
            return replace(self, make_parallel=None)

    def args_with(self, first: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return `args` with `first` in place of the first of the user's arguments."""
        if self.place is None:
            return (*first, *self.args[len(first) :])
        mine = (*first, *self.args[self.place][len(first) :])
        return (*self.args[: self.place], mine, *self.args[self.place + 1 :])

    def __call__(self, x: np.ndarray, g: np.ndarray) -> float:
        """Return the value at `x`, with the gradient written into `g`."""
        return self.function(x, g, *self.args)


def as_given(fun: Any, jac: Any) -> tuple[Any, Any]:
    """Return `fun` and `jac` as the user gave them, before `scipy.optimize.minimize`."""
    owner: Any = getattr(jac, "__self__", None)
    if owner is fun and type(owner).__name__ == "MemoizeJac":
        return owner.fun, True  # what it makes of jac=True
    return fun, jac


def evaluator(
    fun: Any,
    jac: Any,
    args: tuple[Any, ...],
    lower: np.ndarray,
    upper: np.ndarray,
    x0: np.ndarray,
    finite_diff: str,
) -> Evaluator:
    """Choose how the objective `fun` with the gradient `jac` is evaluated.

    Parameters
    ----------
    fun : callable, Objective, CFunc or LowLevelCallable
        What the user minimizes.
    jac : callable, bool or None
        True: `fun` returns ``(f, g)``. None or False: finite differences,
        unless `fun` writes its gradient in place.
    args : tuple
        Further arguments of `fun` and `jac`.
    lower, upper, x0 : ndarray, shape (n,)
        Bounds and start, all of the dtype to compute in.
    finite_diff : {"2-point", "3-point", "cs"}
        How missing gradients are approximated.

    Returns
    -------
    Evaluator
        Compiled if `fun` and `jac` are, else a Python function.

    Raises
    ------
    TypeError
        If `fun` or `jac` is of no known form, or returns no real number.
    """
    fun, jac = as_given(fun, jac)
    if isinstance(fun, (LowLevelCallable, CFunc)):
        return _foreign(fun, jac, args, x0)
    if isinstance(fun, Objective):
        if callable(jac):
            raise TypeError("jac must be None or True: an Objective writes its own gradient")
        try:
            if isinstance(fun, Terms):
                return _compiled_terms(fun, args, x0)
            return _compiled_in_place(fun.fun, args, x0)
        except _DisabledError:
            return Evaluator(fun.fun, args, None)
        except TypeError as error:
            first = "term and grad are called with i, x" if fun.terms else "fun is called with x, g"
            _hint_at_count(error, first, args)
            raise
    if not callable(fun):
        raise TypeError(f"fun must be callable, got {fun!r}")
    if jac is not None and not isinstance(jac, (bool, np.bool_)) and not callable(jac):
        raise TypeError(f"jac must be callable, True, False or None, got {jac!r}")
    if is_jitted(fun) and (is_jitted(jac) or not callable(jac)):
        try:
            if callable(jac):
                return _compiled_separate(fun, jac, args, x0)
            if jac:
                return _compiled_pair(fun, args, x0)
            return _compiled_difference(fun, args, lower, upper, x0, finite_diff)
        except _DisabledError:
            pass  # called from Python it finds the signature that fits
        except TypeError as error:
            if not _hint_at_objective(error, fun, args):
                called = "fun and jac are" if callable(jac) else "fun is"
                _hint_at_count(error, f"{called} called with x", args)
            raise
    if callable(jac):
        return Evaluator(_python_separate, (fun, jac, args), None, place=2)
    if jac:
        return Evaluator(_python_pair, (fun, args), None, place=1)
    gradient, points = difference.GRADIENTS[finite_diff]
    real = _check_complex_value if finite_diff == "cs" else check_value

    def checked(x: np.ndarray, *args: Any) -> Any:
        return real(_call_for_value(fun, x, args))

    counts = _difference_counts(points, lower, upper)
    return Evaluator(gradient, (lower, upper, checked, args), None, *counts, points=points)


# Python objectives: each sees a copy of x, and its answers are checked -------------------------


def _call(fun: Callable[..., Any], x: np.ndarray, args: tuple[Any, ...]) -> Any:
    try:
        return fun(x.copy(), *args)
    except TypeError as error:
        _hint_at_objective(error, fun, args)
        raise


def _call_for_value(fun: Callable[..., Any], x: np.ndarray, args: tuple[Any, ...]) -> Any:
    """Call a function that is to return the value alone."""
    f = _call(fun, x, args)
    if isinstance(f, (tuple, list)) and len(f) == 2:
        kind = type(f).__name__
        raise TypeError(f"fun must return a real number, got a {kind} of 2{HINT_AT_PAIR}")
    return f


def _hint_at_objective(error: TypeError, fun: Any, args: tuple[Any, ...]) -> bool:
    """Note what may be meant if `fun` takes exactly one argument more than x and `args`.

    Return whether there is such a note.
    """
    try:
        signature = inspect.signature(fun)
        signature.bind(None, None, *args)
    except (TypeError, ValueError):  # it takes others, or does not tell
        return False
    try:
        signature.bind(None, *args)
    except TypeError:
        error.add_note("If fun(x, g, ...) writes its gradient into g, give rmsfast.Objective(fun).")
        return True
    return False


def _hint_at_count(error: TypeError, called: str, args: tuple[Any, ...]) -> None:
    """Note how a function is called, if Numba says no more than two numbers of arguments."""
    if str(error).startswith("Signature mismatch"):
        plural = "" if len(args) == 1 else "s"
        error.add_note(f"{called} and {len(args)} further argument{plural}.")


def check_value(f: Any, name: str = "fun") -> float:
    """Check and convert the value of a Python objective."""
    if not isinstance(f, float):
        array = np.asarray(f)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{name} must return a real number, got {f!r}")
        if array.size != 1:
            raise ValueError(f"{name} must return a scalar, got an array of shape {array.shape}")
        f = array.item()
    return float(f)


def _check_complex_value(f: Any) -> complex:
    array = np.asarray(f)
    if array.dtype.kind != "c" or array.size != 1:
        raise TypeError(
            f"fun must return a complex number for a complex x (finite_diff='cs'), got {f!r}"
        )
    return complex(array.item())


def write_gradient(g: np.ndarray, gradient: Any) -> None:
    """Check the gradient of a Python objective and copy it into `g`."""
    array = np.asarray(gradient)
    if array.shape != g.shape:
        if array.size != g.size or max(array.shape, default=1) != array.size:
            raise ValueError(
                f"the gradient must have the shape of x, {g.shape}, got shape {array.shape}"
            )
        array = array.reshape(g.shape)  # a row, a column, or a scalar for one unknown
    if array.dtype.kind not in "fiub":
        raise TypeError(f"the gradient must be real, got dtype {array.dtype}")
    g[:] = array


def _python_separate(
    x: np.ndarray, g: np.ndarray, fun: Callable[..., Any], jac: Callable[..., Any], args: Any
) -> float:
    f = check_value(_call_for_value(fun, x, args))
    write_gradient(g, jac(x.copy(), *args))
    return f


def _python_pair(x: np.ndarray, g: np.ndarray, fun: Callable[..., Any], args: Any) -> float:
    pair = _call(fun, x, args)
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise TypeError(f"with jac=True fun must return (f, gradient), got {type(pair).__name__}")
    write_gradient(g, pair[1])
    return check_value(pair[0])


def _difference_counts(points: int, lower: np.ndarray, upper: np.ndarray) -> tuple[int, int]:
    """Return the calls of fun, and of a gradient, in one evaluation by differences."""
    return 1 + points * int(np.count_nonzero(lower < upper)), 1


# Compiled objectives: adapters from the forms users write to f = fun(x, g, *args) ----------------


# (Tuples of types must not begin with a function: Numba warns that this is experimental.)


def _in_place(x: np.ndarray, g: np.ndarray, args: Any, fun: Callable[..., Any]) -> Any:
    return fun(x, g, *args)


def _separate(
    x: np.ndarray, g: np.ndarray, args: Any, fun: Callable[..., Any], jac: Callable[..., Any]
) -> Any:
    f = fun(x, *args)
    gradient = jac(x, *args)
    if gradient.size != g.size:
        raise ValueError("the gradient must have the shape of x")
    g[:] = gradient
    return f


def _pair(x: np.ndarray, g: np.ndarray, args: Any, fun: Callable[..., Any]) -> Any:
    f, gradient = fun(x, *args)
    if gradient.size != g.size:
        raise ValueError("the gradient must have the shape of x")
    g[:] = gradient
    return f


@intrinsic
def _call_foreign(typingctx: Any, address: Any, n: Any, x: Any, g: Any, user_data: Any) -> Any:
    """Call the C function at `address`."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        double = ir.DoubleType()
        pointer = ir.IntType(8).as_pointer()
        prototype = ir.FunctionType(
            double, [ir.IntType(32), double.as_pointer(), double.as_pointer(), pointer]
        )
        function = builder.inttoptr(values[0], prototype.as_pointer())
        count = builder.trunc(values[1], ir.IntType(32))
        arrays = [builder.inttoptr(v, double.as_pointer()) for v in values[2:4]]
        return builder.call(function, [count, *arrays, builder.inttoptr(values[4], pointer)])

    return types.float64(*[types.intp] * 5), codegen


def _foreign_call(x: np.ndarray, g: np.ndarray, address: int, user_data: int) -> float:
    return _call_foreign(address, x.size, x.ctypes.data, g.ctypes.data, user_data)


def _numba_type(value: Any, name: str) -> Any:
    try:
        return numba.typeof(value)
    except (ValueError, NumbaError) as error:
        raise TypeError(f"{name} is of {type(value)}, which Numba cannot compile for") from error


VECTOR = {"d": types.float64[::1], "f": types.float32[::1]}  # by the character of the dtype


def _vector(x0: np.ndarray) -> Any:
    return VECTOR[x0.dtype.char]


def _arg_types(args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(_numba_type(value, f"args[{i}]") for i, value in enumerate(args))


class _DisabledError(Exception):
    """A function declared with signatures of its own cannot be compiled for ours."""


@functools.lru_cache(maxsize=64)
def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())


def _with_defaults(function: Any, given: int, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Append the defaults of the arguments that are not `given` and not in `args`."""
    parameters = _parameters(function.py_func)
    rest = parameters[given + len(args) :]
    return args + tuple(p.default for p in rest if p.default is not p.empty)


def _result_type(function: Any, arguments: tuple[Any, ...]) -> Any:
    """Compile `function` for `arguments` and return the type of its result."""
    return _signature(function, arguments).return_type


def _signature(function: Any, arguments: tuple[Any, ...]) -> Signature:
    """Compile `function` for `arguments` and return its signature."""
    compiled = function.overloads.get(arguments)
    if compiled is None:
        if not function._can_compile:
            raise _DisabledError
        function.compile(arguments)
        compiled = function.overloads[arguments]
    return compiled.signature


def _check_value_type(value: Any, name: str, kinds: tuple[type, ...], hint: str = "") -> None:
    if not isinstance(value, kinds):
        kind = "real" if kinds is REAL else "complex"
        raise TypeError(f"{name} must return a {kind} number, compiled it returns {value}{hint}")


def _check_value_alone(value: Any, kinds: tuple[type, ...]) -> None:
    """Check the type of what `fun` returns where it is to return the value alone."""
    hint = HINT_AT_PAIR if isinstance(value, types.BaseTuple) and len(value) == 2 else ""
    _check_value_type(value, "fun", kinds, hint)


def _check_gradient_type(value: Any, name: str) -> None:
    if not (
        isinstance(value, types.Array)
        and value.ndim == 1
        and isinstance(value.dtype, (types.Float, types.Integer))
    ):
        raise TypeError(
            f"{name} must return a one-dimensional real array, compiled it returns {value}"
        )


REAL = (types.Float, types.Integer, types.Boolean)


def _adapted(adapter: Any, x0: np.ndarray, arguments: tuple[Any, ...], args: Any) -> Evaluator:
    """Compile `adapter` as ``f = adapter(x, g, *args)`` with `args` of the types `arguments`."""
    vector = _vector(x0)
    signature = types.float64(vector, vector, *arguments)
    return Evaluator(specialise(adapter, signature), args, signature, place=0)


def _compiled_in_place(fun: Any, args: tuple[Any, ...], x0: np.ndarray) -> Evaluator:
    vector = _vector(x0)
    args = _with_defaults(fun, 2, args)
    rest = _arg_types(args)
    signature = _signature(fun, (vector, vector, *rest))
    _check_value_type(signature.return_type, "fun", REAL)
    if signature.return_type == types.float64:
        return Evaluator(fun, args, signature)
    return _adapted(
        _in_place,
        x0,
        (types.Tuple(rest), types.FunctionType(signature)),
        (args, fun),
    )


def _compiled_terms(fun: Terms, args: tuple[Any, ...], x0: np.ndarray) -> Evaluator:
    args = _with_defaults(fun.term, 2, args)
    vector, rest = _vector(x0), _arg_types(args)
    for name, function in (("term", fun.term), ("grad", fun.grad)):
        _check_value_type(_result_type(function, (types.intp, vector, *rest)), name, REAL)
    signature = types.float64(vector, vector, types.Tuple(rest))
    make = functools.partial(terms.total, fun.term, fun.grad, signature)
    parallel = functools.partial(make, parallel=True)
    return Evaluator(make(parallel=False), (args,), signature, make_parallel=parallel, place=0)


def _compiled_separate(fun: Any, jac: Any, args: tuple[Any, ...], x0: np.ndarray) -> Evaluator:
    args = _with_defaults(fun, 1, args)
    arguments = (_vector(x0), *_arg_types(args))
    value = _result_type(fun, arguments)
    _check_value_alone(value, REAL)
    gradient = _result_type(jac, arguments)
    _check_gradient_type(gradient, "jac")
    functions = (types.FunctionType(value(*arguments)), types.FunctionType(gradient(*arguments)))
    return _adapted(_separate, x0, (types.Tuple(arguments[1:]), *functions), (args, fun, jac))


def _compiled_pair(fun: Any, args: tuple[Any, ...], x0: np.ndarray) -> Evaluator:
    args = _with_defaults(fun, 1, args)
    arguments = (_vector(x0), *_arg_types(args))
    pair = _result_type(fun, arguments)
    if not isinstance(pair, types.BaseTuple) or len(pair) != 2:
        raise TypeError(f"with jac=True fun must return (f, gradient), compiled it returns {pair}")
    parts: Any = pair
    value, gradient = parts
    _check_value_type(value, "fun", REAL)
    _check_gradient_type(gradient, "fun")
    function = types.FunctionType(pair(*arguments))
    return _adapted(_pair, x0, (types.Tuple(arguments[1:]), function), (args, fun))


def _compiled_difference(
    fun: Any,
    args: tuple[Any, ...],
    lower: np.ndarray,
    upper: np.ndarray,
    x0: np.ndarray,
    finite_diff: str,
) -> Evaluator:
    gradient, points = difference.GRADIENTS[finite_diff]
    vector = _vector(x0)
    args = _with_defaults(fun, 1, args)
    rest = _arg_types(args)
    point = types.complex128[::1] if finite_diff == "cs" else vector
    value = _result_type(fun, (point, *rest))
    _check_value_alone(value, (types.Complex,) if finite_diff == "cs" else REAL)
    function = types.FunctionType(value(point, *rest))
    signature = types.float64(vector, vector, vector, vector, function, types.Tuple(rest))
    nfev, njev = _difference_counts(points, lower, upper)
    return Evaluator(
        specialise(gradient, signature),
        (lower, upper, fun, args),
        signature,
        nfev,
        njev,
        None
        if fun.targetoptions.get("parallel")  # Numba's parallel regions do not nest
        else functools.partial(specialise, gradient, signature, parallel=True),
        place=3,
        points=points,
    )


def _foreign(fun: Any, jac: Any, args: tuple[Any, ...], x0: np.ndarray) -> Evaluator:
    """Evaluate a C function ``double (int n, double *x, double *g, void *user_data)``."""
    if callable(jac):
        raise TypeError("jac must be None or True: the C function writes its own gradient")
    if args:
        raise TypeError("args must be empty: a C function gets its data through user_data")
    if x0.dtype != np.float64:
        raise TypeError(f"x0 must be float64 for a C function, got {x0.dtype}")
    callback = fun if isinstance(fun, LowLevelCallable) else LowLevelCallable(fun.ctypes)
    if callback.signature != FOREIGN_TEXT:
        raise TypeError(f"fun must be a C function {FOREIGN_TEXT!r}, got {callback.signature!r}")
    capsule = tuple.__getitem__(callback, 0)
    address = _capsule_pointer(capsule, FOREIGN_TEXT.encode())
    user_data = _capsule_context(capsule) or 0
    return _adapted(_foreign_call, x0, (types.intp, types.intp), (address, user_data))
