"""Many problems: each thread takes the next problem from a queue and solves it, compiled."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.core import cgutils

from rmsfast.core import status
from rmsfast.core.drivers import RECORD, borrow
from rmsfast.core.jit import intrinsic, jit_inline, specialise
from rmsfast.core.solver import (
    BUFFER,
    LOWER,
    MEAN,
    MEAN_SQUARE,
    UPPER,
    G,
    State,
    X,
    advance_auto,
    advance_numeric,
)

# What is known of each problem when it has ended, and the shared counters
STATUS, NIT, EVALUATIONS, STALLED = range(4)
TAKEN, DONE, STOP = range(3)


@intrinsic
def fetch_add(typingctx: Any, counters: Any, i: Any) -> Any:
    """Add one to ``counters[i]``, which other threads do too, and return what it was."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        view = context.make_array(counters)(context, builder, values[0])
        place = builder.gep(view.data, [values[1]])
        one = context.get_constant(types.int64, 1)
        return builder.atomic_rmw("add", place, one, "monotonic")

    return types.int64(counters, types.intp), codegen


@intrinsic
def pick(typingctx: Any, stacked: Any, k: Any, example: Any) -> Any:
    """Return the arguments of problem `k`, of the type of `example`.

    Where a type in `stacked` is that of `example` it is shared by all problems;
    else it is an array with one more axis, the first, of the problems.
    """

    def element(context: Any, builder: Any, source: Any, target: Any, value: Any, k: Any) -> Any:
        if source == target:
            return value
        if isinstance(target, types.BaseTuple):
            members: Any = target
            parts = zip(source, members, cgutils.unpack_tuple(builder, value), strict=True)
            picked = [element(context, builder, s, t, part, k) for s, t, part in parts]
            return context.make_tuple(builder, target, picked)
        view = context.make_array(source)(context, builder, value)
        view.meminfo = context.get_constant_null(types.MemInfoPointer(source.dtype))
        return context.compile_internal(
            builder,
            lambda array, k: array[k],
            target(source, types.intp),
            [view._getvalue(), k],
        )

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        picked = element(context, builder, stacked, example, values[0], values[1])
        context.nrt.incref(builder, example, picked)
        return picked

    return example(stacked, types.intp, example), codegen


@intrinsic
def _attempt(typingctx: Any, address: Any, x: Any, g: Any, args: Any) -> Any:
    """Call the compiled objective at `address`: the value, and whether it raised."""
    arguments = (x, g, *args.types)
    outcome_type = types.Tuple([types.float64, types.boolean])

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        convention = context.call_conv
        prototype = convention.get_function_type(types.float64, arguments)
        function = builder.inttoptr(values[0], prototype.as_pointer())
        unpacked = [values[1], values[2], *cgutils.unpack_tuple(builder, values[3])]
        outcome, f = convention.call_function(builder, function, types.float64, arguments, unpacked)
        return context.make_tuple(builder, outcome_type, [f, outcome.is_error])

    return outcome_type(address, x, g, args), codegen


@jit_inline
def _start(
    w: np.ndarray, state: State, x0: np.ndarray, lower: np.ndarray, upper: np.ndarray, scale: float
) -> None:
    """Lay out the work array of one problem."""
    state.bounded = False
    for i in range(x0.size):
        if lower[i] > -np.inf or upper[i] < np.inf:
            state.bounded = True
            state.plain = False
        w[X, i] = x0[i]
        w[LOWER, i] = lower[i]
        w[UPPER, i] = upper[i]
        w[MEAN_SQUARE, i] = scale
        w[MEAN, i] = 0.0
        w[BUFFER, i] = 0.0
        w[G, i] = np.nan


@jit_inline
def _solve_all(
    advance: Callable[..., int],
    address: int,
    stacked: tuple[Any, ...],
    example: tuple[Any, ...],
    order: np.ndarray,
    limits: np.ndarray,
    x0s: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    blank: np.ndarray,
    rates: np.ndarray,
    scale: float,
    w: np.ndarray,
    states: np.ndarray,
    counters: np.ndarray,
    x: np.ndarray,
    fun: np.ndarray,
    jac: np.ndarray,
    ends: np.ndarray,
) -> None:
    state = states[0]
    while counters[STOP] == 0:
        place = fetch_add(counters, TAKEN)
        if place >= order.size:
            break
        k = order[place]
        states[0] = blank[0]
        bounds = k if lower.shape[0] > 1 else 0
        _start(w, state, x0s[k], lower[bounds], upper[bounds], scale)
        state.max_evaluations = limits[bounds]
        args = pick(stacked, k, example)
        raised = False
        while state.status == status.RUNNING and counters[STOP] == 0:
            if rates.size > 0:
                if state.evaluations == rates.size:
                    break  # the caller begins again with more
                state.lr = rates[state.evaluations]
            f, raised = _attempt(address, w[X + state.trial], w[G + state.trial], args)
            if raised:
                if state.evaluations == 0:
                    w[G] = np.nan  # whatever was written before
                break
            advance(w, state, f)
        x[k] = w[X + state.best]
        jac[k] = w[G + state.best]
        fun[k] = state.f_best
        ends[k, STATUS] = status.OBJECTIVE if raised else state.status
        ends[k, NIT] = state.nit
        ends[k, EVALUATIONS] = state.evaluations
        ends[k, STALLED] = state.stalled
        fetch_add(counters, DONE)


def _solve_auto(
    address: int,
    stacked: tuple[Any, ...],
    example: tuple[Any, ...],
    order: np.ndarray,
    limits: np.ndarray,
    x0s: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    blank: np.ndarray,
    rates: np.ndarray,
    scale: float,
    w: np.ndarray,
    states: np.ndarray,
    counters: np.ndarray,
    x: np.ndarray,
    fun: np.ndarray,
    jac: np.ndarray,
    ends: np.ndarray,
) -> None:
    _solve_all(
        advance_auto,
        address,
        stacked,
        example,
        order,
        limits,
        x0s,
        lower,
        upper,
        blank,
        rates,
        scale,
        borrow(w),
        states,
        counters,
        x,
        fun,
        jac,
        ends,
    )


def _solve_numeric(
    address: int,
    stacked: tuple[Any, ...],
    example: tuple[Any, ...],
    order: np.ndarray,
    limits: np.ndarray,
    x0s: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    blank: np.ndarray,
    rates: np.ndarray,
    scale: float,
    w: np.ndarray,
    states: np.ndarray,
    counters: np.ndarray,
    x: np.ndarray,
    fun: np.ndarray,
    jac: np.ndarray,
    ends: np.ndarray,
) -> None:
    _solve_all(
        advance_numeric,
        address,
        stacked,
        example,
        order,
        limits,
        x0s,
        lower,
        upper,
        blank,
        rates,
        scale,
        borrow(w),
        states,
        counters,
        x,
        fun,
        jac,
        ends,
    )


@functools.cache
def queue_driver(signature: Any, stacked: Any, auto: bool) -> Any:
    """Compile the loop of one thread over the problems of one queue.

    Parameters
    ----------
    signature : Signature
        Of the objective ``f = fun(x, g, *args)``.
    stacked : Tuple
        Type of the arguments of all problems; see `pick`.
    auto : bool
        Whether the loop is for ``lr="auto"``, or for a numeric learning rate.

    Returns
    -------
    Dispatcher
        ``run(address, stacked, example, order, limits, x0s, lower, upper, blank, rates,
        scale, w, states, counters, x, fun, jac, ends)``, which ends when the queue is empty or
        ``counters[STOP]`` is set. The queue is `order`, numbers of problems. `limits`, the
        largest number of evaluations, `lower` and `upper` have one row for all problems or one
        for each; ``blank[0]`` is the record of a run that has not begun; step k of each problem
        has the learning rate ``rates[k]``, and a problem that comes to the end of `rates` stays
        RUNNING; `scale` is the mean square at the start; `w` and `states` are the thread's
        own. Row k of `x`, `fun`, `jac` and `ends` (see STATUS) is that of problem k.
    """
    vector, _, *rest = signature.args
    matrix, whole = vector.dtype[:, ::1], types.int64[::1]
    records = types.Array(RECORD, 1, "C")
    starts = (whole, whole, matrix, matrix, matrix, records, types.float64[::1], types.float64)
    work = (matrix, records, whole)
    results = (matrix, types.float64[::1], matrix, types.int64[:, ::1])
    arguments = (types.intp, stacked, types.Tuple(rest), *starts, *work, *results)
    return specialise(_solve_auto if auto else _solve_numeric, types.void(*arguments))
