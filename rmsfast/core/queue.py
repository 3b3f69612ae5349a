"""Many problems: each thread takes the next problem from a queue and solves it, compiled."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.core import callconv, cgutils

from rmsfast.core import status
from rmsfast.core.auto import advance_auto
from rmsfast.core.drivers import RECORD, borrow, call
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
    advance_numeric,
)

# What is known of each problem when it has ended, and the shared counters
STATUS, NIT, EVALUATIONS, STALLED = range(4)
TAKEN, DONE, STOP = range(3)


class Problems(NamedTuple):
    """The problems of a queue.

    Attributes
    ----------
    order : ndarray of int64
        The queue: numbers of problems.
    limits : ndarray of int64
        The largest number of evaluations, of all problems or of each.
    x0s : ndarray, shape (n_problems, n)
        The starts.
    lower, upper : ndarray, shape (1, n) or (n_problems, n)
        Bounds of all problems, or of each.
    """

    order: np.ndarray
    limits: np.ndarray
    x0s: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


class Start(NamedTuple):
    """How each problem begins.

    Attributes
    ----------
    blank : ndarray of dtype STATE, shape (1,)
        The record of a run that has not begun.
    rates : ndarray of float64
        The learning rate of each step; empty, where it is that of the record. A problem that
        comes to the end of `rates` stays RUNNING.
    scale : float
        The mean square at the start.
    """

    blank: np.ndarray
    rates: np.ndarray
    scale: float


class Found(NamedTuple):
    """Where the results are written: row k is that of problem k.

    Attributes
    ----------
    x, jac : ndarray, shape (n_problems, n)
        The best point, and the gradient there.
    fun : ndarray of float64
        The value there, negated where it is maximized.
    ends : ndarray of int64, shape (n_problems, 4)
        See STATUS.
    """

    x: np.ndarray
    fun: np.ndarray
    jac: np.ndarray
    ends: np.ndarray


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


def _forget(context: Any, builder: Any, exception: Any) -> None:
    """Free an exception with arguments known at run time, 80 bytes, as Numba does on raising it."""
    members = builder.load(exception)
    allocated = builder.extract_value(members, callconv.ALLOC_FLAG_IDX)
    with builder.if_then(builder.icmp_signed(">", allocated, allocated.type(0))):
        context.nrt.free(builder, builder.extract_value(members, callconv.HASH_BUF_IDX))
        context.nrt.free(builder, builder.bitcast(exception, cgutils.voidptr_t))


@intrinsic
def _attempt(typingctx: Any, address: Any, x: Any, g: Any, args: Any) -> Any:
    """Call the compiled objective at `address`: the value, and whether it raised."""
    outcome_type = types.Tuple([types.float64, types.boolean])

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        outcome, f = call(context, builder, signature, values)
        with cgutils.if_unlikely(builder, outcome.is_user_exc):
            _forget(context, builder, outcome.excinfoptr)
        return context.make_tuple(builder, outcome_type, [f, outcome.is_error])

    return outcome_type(address, x, g, args), codegen


@jit_inline
def begin(
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
def write_down(found: Found, k: int, w: np.ndarray, state: State, code: int) -> None:
    """Write the best point of problem `k`, and how it ended."""
    for i in range(w.shape[1]):
        found.x[k, i] = w[X + state.best, i]
        found.jac[k, i] = w[G + state.best, i]
    found.fun[k] = state.f_best
    found.ends[k, STATUS] = code
    found.ends[k, NIT] = state.nit
    found.ends[k, EVALUATIONS] = state.evaluations
    found.ends[k, STALLED] = state.stalled


@jit_inline
def _solve_all(
    advance: Callable[..., int],
    objective: tuple[int, tuple[Any, ...], tuple[Any, ...]],
    problems: Problems,
    start: Start,
    counters: np.ndarray,
    work: tuple[np.ndarray, np.ndarray],
    found: Found,
) -> None:
    address, stacked, example = objective
    order, limits, x0s, lower, upper = problems
    w, states = borrow(work[0]), work[1]
    rates, state = start.rates, states[0]
    while counters[STOP] == 0:
        place = fetch_add(counters, TAKEN)
        if place >= order.size:
            break
        k = order[place]
        states[0] = start.blank[0]
        bounds = k if lower.shape[0] > 1 else 0
        begin(w, state, x0s[k], lower[bounds], upper[bounds], start.scale)
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
        code = status.OBJECTIVE if raised else state.status
        write_down(found, k, w, state, code)
        if code != status.RUNNING:
            fetch_add(counters, DONE)


def _solve_auto(
    objective: tuple[int, tuple[Any, ...], tuple[Any, ...]],
    problems: Problems,
    start: Start,
    counters: np.ndarray,
    work: tuple[np.ndarray, np.ndarray],
    found: Found,
) -> None:
    _solve_all(advance_auto, objective, problems, start, counters, work, found)


def _solve_numeric(
    objective: tuple[int, tuple[Any, ...], tuple[Any, ...]],
    problems: Problems,
    start: Start,
    counters: np.ndarray,
    work: tuple[np.ndarray, np.ndarray],
    found: Found,
) -> None:
    _solve_all(advance_numeric, objective, problems, start, counters, work, found)


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
        ``run((address, stacked, example), problems, start, counters, (w, states), found)`` with
        `Problems`, `Start` and `Found`, which ends when the queue is empty or ``counters[STOP]``
        is set. `w` and `states` are the thread's own, `counters` are shared.
    """
    vector, _, *rest = signature.args
    matrix, numbers, whole = vector.dtype[:, ::1], types.float64[::1], types.int64[::1]
    records = types.Array(RECORD, 1, "C")
    objective = types.Tuple((types.intp, stacked, types.Tuple(rest)))
    problems = types.NamedTuple((whole, whole, matrix, matrix, matrix), Problems)
    start = types.NamedTuple((records, numbers, types.float64), Start)
    work = types.Tuple((matrix, records))
    found = types.NamedTuple((matrix, numbers, matrix, types.int64[:, ::1]), Found)
    run = _solve_auto if auto else _solve_numeric
    return specialise(run, types.void(objective, problems, start, whole, work, found))
