"""The whole loop, compiled, around the solver and the objective."""

import functools
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core import cgutils

from rmsfast.core import status
from rmsfast.core.auto import advance_auto
from rmsfast.core.jit import intrinsic, jit_inline, specialise
from rmsfast.core.solver import STATE, G, State, X, advance_numeric

RECORD = numba.from_dtype(STATE)


def call(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    """Write the call of an objective at an address with x, g and args: its outcome, and value."""
    _, x, g, args = signature.args
    arguments = (x, g, *args.types)
    prototype = context.call_conv.get_function_type(types.float64, arguments)
    function = builder.inttoptr(values[0], prototype.as_pointer())
    unpacked = [values[1], values[2], *cgutils.unpack_tuple(builder, values[3])]
    return context.call_conv.call_function(builder, function, types.float64, arguments, unpacked)


@intrinsic
def evaluate(typingctx: Any, address: Any, x: Any, g: Any, args: Any) -> Any:
    """Call the compiled objective at `address`: ``f = fun(x, g, *args)``.

    Numba's own first-class functions do the same, and take 30 us to unpack at
    each entry of the driver: as long as the whole minimization of a small
    problem.
    """

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        outcome, f = call(context, builder, signature, values)
        with cgutils.if_unlikely(builder, outcome.is_error):
            context.call_conv.return_status_propagate(builder, outcome)
        return f

    return types.float64(address, x, g, args), codegen


@intrinsic
def borrow(typingctx: Any, array: Any) -> Any:
    """Return `array` without its reference count, for as long as the caller holds it.

    Every row ``w[i]`` counts a reference in and out, and each of these atomic
    operations waits for all stores before it: 10 of 35 ns per iteration at
    n = 2.
    """

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        view = context.make_array(array)(context, builder, values[0])
        view.meminfo = context.get_constant_null(types.MemInfoPointer(array.dtype))
        return view._getvalue()

    return array(array), codegen


@jit_inline
def _loop(
    advance: Callable[..., int],
    address: int,
    args: tuple[Any, ...],
    w: np.ndarray,
    state: State,
    rates: np.ndarray,
    evaluations: int,
) -> int:
    first = state.evaluations
    for _ in range(evaluations):
        k = state.evaluations - first
        if k < rates.size:
            state.lr = rates[k]
        f = evaluate(address, w[X + state.trial], w[G + state.trial], args)
        if advance(w, state, f) != status.RUNNING:
            break
    return state.status


def _run_auto(
    address: int,
    args: tuple[Any, ...],
    w: np.ndarray,
    state: State,
    rates: np.ndarray,
    evaluations: int,
) -> int:
    return _loop(advance_auto, address, args, borrow(w), state, rates, evaluations)


def _run_numeric(
    address: int,
    args: tuple[Any, ...],
    w: np.ndarray,
    state: State,
    rates: np.ndarray,
    evaluations: int,
) -> int:
    return _loop(advance_numeric, address, args, borrow(w), state, rates, evaluations)


@functools.cache
def driver(signature: Any, auto: bool) -> Any:
    """Compile the loop for all objectives of one signature.

    Parameters
    ----------
    signature : Signature
        Of the objective ``f = fun(x, g, *args)``.
    auto : bool
        Whether the loop is for ``lr="auto"``, or for a numeric learning rate.

    Returns
    -------
    Dispatcher
        ``status = run(address(fun, signature), args, w, state, rates,
        evaluations)``, which evaluates and advances up to `evaluations` times,
        until the solver has finished. Step k from now has the learning rate
        ``rates[k]``; past the end of `rates` it stays as it is.
    """
    vector, _, *rest = signature.args
    arguments = (types.Tuple(rest), vector.dtype[:, ::1], RECORD, types.float64[::1], types.intp)
    return specialise(_run_auto if auto else _run_numeric, types.int64(types.intp, *arguments))


def address(function: Any, signature: Any) -> int:
    """Return the address of the machine code of `function` for `signature`."""
    compiled = function.overloads[signature.args]
    return _pointer(compiled.library, compiled.fndesc.llvm_func_name)


@functools.lru_cache(maxsize=64)
def _pointer(library: Any, name: str) -> int:
    return library.get_pointer_to_function(name)
