"""Mini-batches: the loop over batches, compiled, around the rule and the objective."""

import functools
import math
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core import cgutils

from rmsfast.core import status
from rmsfast.core.drivers import RECORD, borrow, evaluate
from rmsfast.core.jit import intrinsic, jit_inline, jit_merged, specialise
from rmsfast.core.rule import Hyper, average, plain, step
from rmsfast.core.solver import State, hyper_of_step

# Rows of the array of what a step changes. Means, momentum buffers and averages follow if there
# are any, in the rows that RUN names.
X, MEAN_SQUARE = 0, 1

Run = Any  # a record of this dtype
RUN = np.dtype(
    [
        ("mean", np.int64),
        ("buffer", np.int64),
        ("average", np.int64),
        ("averaging", np.bool_),
        ("ema_decay", np.float64),  # NaN: all points weigh the same
        ("averaged", np.int64),  # points in the average so far
        ("kept_nit", np.int64),
        ("kept_averaged", np.int64),
        ("loss", np.float64),  # sum of the losses, times the rows of their batches
        ("rows", np.int64),
    ],
    align=True,
)


@jit_merged
def advance(
    w: np.ndarray, kept: np.ndarray, g: np.ndarray, state: State, run: Run, f: float, rows: int
) -> int:
    """Take one step with the value and the gradient of a batch.

    Parameters
    ----------
    w : ndarray, shape (2 to 5, n)
        The point, the mean square, and what else a step changes.
    kept : ndarray, of the shape of w
        Is given `w` as it was before the step. Where value, gradient or the new
        point are not finite, it is what `w` becomes: the point before, with what
        belongs to it.
    g : ndarray, shape (n,)
        The gradient at ``w[X]``.
    state : record of dtype STATE
        Hyperparameters, number of steps, status.
    run : record of dtype RUN
        Averages, and the loss.
    f : float
        The value at ``w[X]``.
    rows : int
        Number of rows of the batch.

    Returns
    -------
    int
        A code of `rmsfast.core.status`, also in ``state.status``.
    """
    finite = math.isfinite(f)
    for i in range(g.size):
        finite &= abs(g[i]) < np.inf
    if not finite:
        state.nit = run.kept_nit
        run.averaged = run.kept_averaged
        return _go_back(w, kept, state)

    h = hyper_of_step(state, w[X], g)
    if state.plain:
        finite = _update(w, kept, g, run, plain(h, w.dtype.type))
    else:
        finite = _update(w, kept, g, run, h)
    if not finite:
        return _go_back(w, kept, state)
    run.loss += f * rows
    run.rows += rows
    run.kept_nit = state.nit
    state.nit += 1
    run.kept_averaged = run.averaged
    if run.averaging:
        _average(w, run)
    return state.status


@jit_inline
def _go_back(w: np.ndarray, kept: np.ndarray, state: State) -> int:
    for row in range(w.shape[0]):
        for i in range(w.shape[1]):  # assignment of whole arrays takes seconds to compile
            w[row, i] = kept[row, i]
    state.status = status.NONFINITE_BATCH
    return state.status


@jit_inline
def _update(w: np.ndarray, kept: np.ndarray, g: np.ndarray, run: Run, h: Hyper) -> bool:
    """Update the point, and return whether it is finite.

    By rows of `w`: a call with five arrays takes longer, at small n.
    """
    zero = w.dtype.type(0)
    finite = True
    for i in range(g.size):
        x_i, s_i, m_i, b_i = w[X, i], w[MEAN_SQUARE, i], zero, zero
        kept[X, i], kept[MEAN_SQUARE, i] = x_i, s_i
        if h.centered:
            m_i = w[run.mean, i]
            kept[run.mean, i] = m_i
        if h.momentum != 0:
            b_i = w[run.buffer, i]
            kept[run.buffer, i] = b_i
        if run.averaging:
            kept[run.average, i] = w[run.average, i]
        x_i, s_i, m_i, b_i = step(x_i, g[i], s_i, m_i, b_i, h)
        w[X, i], w[MEAN_SQUARE, i] = x_i, s_i
        if h.centered:
            w[run.mean, i] = m_i
        if h.momentum != 0:
            w[run.buffer, i] = b_i
        finite &= abs(x_i) < np.inf
    return finite


@jit_inline
def _average(w: np.ndarray, run: Run) -> None:
    """Take the point into the average."""
    decay = run.ema_decay
    if run.averaged == 0:
        decay = 0.0
    elif math.isnan(decay):
        decay = run.averaged / (run.averaged + 1)
    for i in range(w.shape[1]):
        w[run.average, i] = average(w[run.average, i], w[X, i], w.dtype.type(decay))
    run.averaged += 1


@intrinsic
def _arguments(typingctx: Any, data: Any, start: Any, stop: Any, others: Any) -> Any:
    """Return what the objective takes after `x` and `g`: see `minibatch_driver`."""
    rest, *beside = others
    mine = types.Tuple((*data, *rest))
    result = types.Tuple((mine, *beside)) if beside else mine

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        parts = []
        for kind, value in zip(data, cgutils.unpack_tuple(builder, values[0]), strict=True):
            view = context.make_array(kind)(context, builder, value)
            view.meminfo = context.get_constant_null(types.MemInfoPointer(kind.dtype))
            part = context.compile_internal(
                builder,
                lambda array, start, stop: array[start:stop],
                kind(kind, types.intp, types.intp),
                [view._getvalue(), values[1], values[2]],
            )
            parts.append(part)
        first, *more = cgutils.unpack_tuple(builder, values[3])
        parts += cgutils.unpack_tuple(builder, first)
        joined = context.make_tuple(builder, mine, parts)
        if more:
            joined = context.make_tuple(builder, result, [joined, *more])
        context.nrt.incref(builder, result, joined)
        return joined

    return result(data, types.intp, types.intp, others), codegen


def _run(
    address: int,
    window: tuple[Any, ...],
    others: tuple[Any, ...],
    arrays: tuple[np.ndarray, ...],
    state: State,
    run: Run,
    rates: np.ndarray,
) -> int:
    data, rows, batch_size, first, last = window
    w, kept, g = borrow(arrays[0]), borrow(arrays[1]), borrow(arrays[2])
    for k in range(first, last):
        if rates.size > 0:
            state.lr = rates[k - first]
        start = k * batch_size
        stop = min(start + batch_size, rows)
        f = evaluate(address, w[X], g, _arguments(data, start, stop, others))
        if advance(w, kept, g, state, run, f, stop - start) != status.RUNNING:
            return k
    return last


@functools.cache
def minibatch_driver(signature: Any, data: Any, others: Any) -> Any:
    """Compile the loop over the batches of a window, for all objectives of one signature.

    Parameters
    ----------
    signature : Signature
        Of the objective ``f = fun(x, g, *batch, *rest)``, or, where `others` has further
        members, ``fun(x, g, (*batch, *rest), *others[1:])``.
    data : Tuple
        Types of the arrays of a batch.
    others : Tuple
        Types of `rest`, a tuple, and of what the objective takes beside.

    Returns
    -------
    Dispatcher
        ``k = run(address, (data, rows, batch_size, first, last), others, (w, kept, g), state,
        run, rates)``, which takes a step for each of the batches `first` to `last` of the
        first `rows` rows of `data`, and returns the number of the batch after them, or of the
        one whose value or gradient was not finite; see `advance`. Step i from now has the
        learning rate ``rates[i]``; without rates it stays as it is.
    """
    vector = signature.args[0]
    window = types.Tuple((data, *[types.intp] * 4))
    arrays = types.Tuple((vector.dtype[:, ::1], vector.dtype[:, ::1], vector))
    records = (RECORD, numba.from_dtype(RUN))
    arguments = (types.intp, window, others, arrays, *records, types.float64[::1])
    return specialise(_run, types.intp(*arguments))
