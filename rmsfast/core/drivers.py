"""Whole-loop compiled drivers around `advance` and the objective."""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import types

from rmsfast.core import status
from rmsfast.core.jit import specialise
from rmsfast.core.solver import STATE, G, X, advance


def _run(
    fun: Callable[..., Any],
    args: tuple[Any, ...],
    w: np.ndarray,
    state: np.void,
    rates: np.ndarray,
    evaluations: int,
) -> int:
    first = state.evaluations
    for _ in range(evaluations):
        f = fun(w[X + state.trial], w[G + state.trial], *args)
        if rates.size > 0:
            state.lr = rates[state.evaluations - first]
        if advance(w, state, f) != status.RUNNING:
            break
    return state.status


def driver(signature: Any) -> Any:
    """Compile the loop for all objectives of one signature.

    Parameters
    ----------
    signature : Signature
        Of the objective ``f = fun(x, g, *args)``.

    Returns
    -------
    Dispatcher
        ``status = run(fun, args, w, state, rates, evaluations)``, which
        evaluates and advances up to `evaluations` times, until the solver has
        finished. Step k from now has the learning rate ``rates[k]``; with
        `rates` of length 0 it stays as it is.
    """
    vector, _, *rest = signature.args
    arguments = (
        types.FunctionType(signature),
        types.Tuple(rest),
        vector.dtype[:, ::1],
        numba.from_dtype(STATE),
        types.float64[::1],
        types.intp,
    )
    return specialise(_run, types.int64(*arguments))
