"""The whole loop, compiled, around `advance` and the objective."""

import functools
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from rmsfast.core import status
from rmsfast.core.jit import specialise
from rmsfast.core.solver import STATE, G, X, advance

RECORD = numba.from_dtype(STATE)


@intrinsic  # type: ignore[misc]
def _evaluate(typingctx, address, x, g, args):  # type: ignore[no-untyped-def]
    """Call the compiled objective at `address`: ``f = fun(x, g, *args)``.

    Numba's own first-class functions do the same, and take 30 us to unpack at
    each entry of the driver: as long as the whole minimization of a small
    problem.
    """
    arguments = (x, g, *args.types)

    def codegen(context, builder, signature, values):  # type: ignore[no-untyped-def]
        convention = context.call_conv
        prototype = convention.get_function_type(x.dtype, arguments)
        function = builder.inttoptr(values[0], prototype.as_pointer())
        unpacked = [values[1], values[2], *cgutils.unpack_tuple(builder, values[3])]
        outcome, f = convention.call_function(builder, function, x.dtype, arguments, unpacked)
        with cgutils.if_unlikely(builder, outcome.is_error):
            convention.return_status_propagate(builder, outcome)
        return f

    return x.dtype(address, x, g, args), codegen


def _run(
    address: int,
    args: tuple[Any, ...],
    w: np.ndarray,
    state: np.void,
    rates: np.ndarray,
    evaluations: int,
) -> int:
    first = state.evaluations
    for _ in range(evaluations):
        if rates.size > 0:
            state.lr = rates[state.evaluations - first]
        f = _evaluate(address, w[X + state.trial], w[G + state.trial], args)
        if advance(w, state, f) != status.RUNNING:
            break
    return state.status


@functools.cache
def driver(signature: Any) -> Any:
    """Compile the loop for all objectives of one signature.

    Parameters
    ----------
    signature : Signature
        Of the objective ``f = fun(x, g, *args)``.

    Returns
    -------
    Dispatcher
        ``status = run(address(fun, signature), args, w, state, rates,
        evaluations)``, which evaluates and advances up to `evaluations` times,
        until the solver has finished. Step k from now has the learning rate
        ``rates[k]``; with `rates` of length 0 it stays as it is.
    """
    vector, _, *rest = signature.args
    arguments = (types.Tuple(rest), vector.dtype[:, ::1], RECORD, types.float64[::1], types.intp)
    return specialise(_run, types.int64(types.intp, *arguments))


def address(function: Any, signature: Any) -> int:
    """Return the address of the machine code of `function` for `signature`."""
    compiled = function.overloads[signature.args]
    return compiled.library.get_pointer_to_function(  # type: ignore[no-any-return]
        compiled.fndesc.llvm_func_name
    )
