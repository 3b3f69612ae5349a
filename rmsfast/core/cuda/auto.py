"""One problem on a GPU, with ``lr="auto"``: `rmsfast.core.auto`, pass by pass.

The decisions are those of the CPU, taken by one thread on the record of the run. A pass over
the vectors ends with sums, on which the next decision waits; so the host launches the same
sequence of kernels again and again, a round, and each does its part if ``plan[TASK]`` asks for
it. Where a step leads nowhere, the task stays, and the next round starts afresh without an
evaluation. After the last step of a run launches do nothing.

Without a CUDA package this module can be imported; its kernels can be made only with one.
"""

import functools
import math
from typing import Any, NamedTuple

import numpy as np
from numba import types

from rmsfast.core import auto, rule, solver, status
from rmsfast.core.auto import FORGET, LEARN, MOVE, SPREAD, WAIT
from rmsfast.core.cuda.reduction import SHAPE, SUMS, gather, publish
from rmsfast.core.cuda.target import device_function, target
from rmsfast.core.cuda.terms import F, gradient_of, value_of
from rmsfast.core.solver import (
    CHANGES,
    DIRECTION,
    FREE,
    LOWER,
    METRIC,
    PAIRS,
    STEPS,
    UPPER,
    G,
    State,
    X,
)

cuda: Any = target()  # the simulator looks for it among the names of this module

# What `measure` measures
VALUE, SQUARE, SLOPE = range(SUMS)
UNFINITE, STEEP, LENGTH, SIZE = range(SUMS, SUMS + 4)
MOVED = SUMS  # what `move` does
# What one kernel of a round tells the next, beside F: what is to be done, the metric of all
# coordinates or 0 if there is none, and the factor of a step of the second loop
TASK, OVERALL, WEIGHT = range(F + 1, F + 4)
PLANS = F + 4


class Kind(NamedTuple):
    """What a run computes. Each is compiled by itself.

    Attributes
    ----------
    T : type
        `numpy.float64` or `numpy.float32`: of the work array.
    bounded : bool
        Whether there are bounds.
    short : bool
        Whether the run may stop at a short step.
    """

    T: Any
    bounded: bool
    short: bool


class Run(NamedTuple):
    """All that the kernels work on, on the device.

    Attributes
    ----------
    w : ndarray, shape (rows(maxcor), n)
        The work array, with the rows of the CPU's.
    shown : ndarray, shape (n,) or (1,)
        The point to evaluate, if a function of the user does.
    states : ndarray of dtype RECORD, shape (1,)
        The scalars of the run.
    plan : ndarray of float64, shape (PLANS,)
        See F and TASK.
    parts : ndarray of float64, shape (MEASURES, blocks)
        What each block measured.
    """

    w: Any
    shown: Any
    states: Any
    plan: Any
    parts: Any


_hyper, _free_row, _clip, _projected, _is_short, _denominator, _renewed, _metric_of, _is_held = map(
    device_function,
    (
        solver.hyper,
        solver.free_row,
        solver.clip,
        solver.projected,
        solver.is_short,
        rule.denominator,
        auto.renewed,
        auto.metric_of,
        auto.is_held,
    ),
)
_judge_point, _judge_move, _judge_pair, _judge_direction, _judge_curvature = map(
    device_function,
    (
        auto.judge_point,
        auto.judge_move,
        auto.judge_pair,
        auto.judge_direction,
        auto.judge_curvature,
    ),
)
_is_hidden, _is_descent, _are_known, _slot_of_pair = map(
    device_function, (auto.is_hidden, auto.is_descent, auto.are_known, auto.slot_of_pair)
)


def _device(function: Any) -> Any:
    return function if cuda is None else cuda.jit(device=True)(function)


@_device
def _is_task(run: Run, task: int) -> bool:
    """Whether a run that has not ended is to do this."""
    return run.states[0].status == status.RUNNING and run.plan[TASK] == task


@_device
def _has_pairs(run: Run) -> bool:
    """Whether the next direction is that of the two loops."""
    return _is_task(run, LEARN) and run.states[0].pairs > 0


@_device
def _slot(state: State, k: int) -> int:
    """Return where pair number `k` is, counted from the newest."""
    return (state.newest - k) % state.maxcor


@functools.lru_cache(maxsize=64)
def measure_kernel(term: Any, grad: Any, kind: Kind) -> Any:
    """Make the kernel ``(run, args)`` of the pass that `rmsfast.core.auto.judge_point` waits for.

    Parameters
    ----------
    term, grad : Dispatcher or None
        Of an objective that is a sum of terms, evaluated here; None if value and gradient
        come from a function of the user.
    kind : Kind
        What is computed.
    """
    T, bounded, short = kind
    stored = grad is None
    value, gradient = value_of(term), None if stored else gradient_of(grad, T)

    def measure(run: Run, args: Any) -> None:
        if not _is_task(run, WAIT):
            return
        lanes = cuda.shared.array(SHAPE, types.float64)
        w, state = run.w, run.states[0]
        x, g, x_old = w[X + state.trial], w[G + state.trial], w[X + state.current]
        gtol = T(state.gtol)
        f = square = slope = unfinite = steep = length = size = 0.0
        i = cuda.grid(1)
        while i < x.size:
            f += value(i, x, args)
            if not stored:
                g[i] = gradient(i, x, args)
            x_i, g_i = x[i], g[i]
            change = x_i - x_old[i]
            slope += np.float64(g_i * change)
            if not abs(g_i) < math.inf:
                unfinite = 1.0
            c = _projected(x_i, g_i, w[LOWER, i], w[UPPER, i]) if bounded else g_i
            if abs(c) > gtol:
                steep = 1.0
            square += np.float64(c) * np.float64(c)
            if short:
                length = max(length, np.float64(abs(change)))
                size = max(size, np.float64(abs(x_i)))
            i += cuda.gridsize(1)
        publish(run.parts, lanes, (f, square, slope), (unfinite, steep, length, size))

    return cuda.jit(measure)


@functools.lru_cache(maxsize=64)
def judge_kernel(kind: Kind, stored: bool) -> Any:
    """Make the kernel ``(run)``, of one block, that judges the trial point."""
    short, eps = kind.short, np.finfo(kind.T).eps

    def judge(run: Run) -> None:
        if not _is_task(run, WAIT):
            return
        lanes = cuda.shared.array(SHAPE, types.float64)
        gather(run.parts, lanes)
        if cuda.threadIdx.x > 0:
            return
        state, plan = run.states[0], run.plan
        f = plan[F] if stored else lanes[VALUE, 0]
        finite = math.isfinite(f) and lanes[UNFINITE, 0] == 0.0
        first = state.evaluations == 0
        plan[TASK] = _judge_point(
            state,
            f,
            lanes[STEEP, 0] > 0.0,
            lanes[SQUARE, 0],
            finite,
            finite and not first and _is_hidden(state, f, eps)
            and _is_descent(state, lanes[SLOPE, 0]),
            short and not first and _is_short(state, lanes[LENGTH, 0], lanes[SIZE, 0]),
            eps,
        )  # fmt: skip

    return cuda.jit(judge)


@functools.lru_cache(maxsize=2)
def average_kernel(T: Any) -> Any:
    """Make the kernel ``(run)`` that starts the metric anew, or renews the averages."""

    def average(run: Run) -> None:
        forget, learn = _is_task(run, FORGET), _is_task(run, LEARN)
        if not (forget or learn):
            return
        lanes = cuda.shared.array(SHAPE, types.float64)
        w, state = run.w, run.states[0]
        h = _hyper(state, T)
        slots, slot = max(state.maxcor, 1), _slot_of_pair(state)
        steps = changes = 0.0
        i = cuda.grid(1)
        while i < w.shape[1]:
            g_i = w[G + state.current, i]
            if forget:
                w[METRIC, i] = T(1) / _denominator(g_i * g_i, h)
                w[STEPS, i] = w[CHANGES, i] = T(0)
            else:
                s_i = w[X + state.current, i] - w[X + state.previous, i]
                y_i = g_i - w[G + state.previous, i]
                u_i = _renewed(w[STEPS, i], s_i, s_i, h)
                v_i = _renewed(w[CHANGES, i], y_i, s_i, h)
                w[PAIRS + slot, i], w[PAIRS + slots + slot, i] = s_i, y_i
                w[STEPS, i], w[CHANGES, i] = u_i, v_i
                steps += np.float64(u_i)
                changes += np.float64(v_i)
            i += cuda.gridsize(1)
        publish(run.parts, lanes, (steps, changes), (0.0,))

    return cuda.jit(average)


@functools.lru_cache(maxsize=1)
def settle_average_kernel() -> Any:
    """Make the kernel ``(run)``, of one block, that finds the metric of all coordinates."""

    def settle(run: Run) -> None:
        if not _is_task(run, LEARN):
            return
        lanes = cuda.shared.array(SHAPE, types.float64)
        gather(run.parts, lanes)
        if cuda.threadIdx.x == 0:
            steps, changes = lanes[0, 0], lanes[1, 0]
            known = _are_known(steps, changes)
            run.plan[OVERALL] = math.sqrt(steps / changes) if known else 0.0

    return cuda.jit(settle)


@functools.lru_cache(maxsize=2)
def metric_kernel(T: Any) -> Any:
    """Make the kernel ``(run)`` that renews the metric."""

    def metric(run: Run) -> None:
        overall = run.plan[OVERALL]
        if not (_is_task(run, LEARN) and overall > 0.0):
            return
        lanes = cuda.shared.array(SHAPE, types.float64)
        w, state = run.w, run.states[0]
        middle, lowest, highest = T(overall), T(overall / SPREAD), T(overall * SPREAD)
        slots, slot = max(state.maxcor, 1), _slot_of_pair(state)
        s_y = s_metric_s = y_metric_y = 0.0
        i = cuda.grid(1)
        while i < w.shape[1]:
            p = _metric_of(w[STEPS, i], w[CHANGES, i], middle, lowest, highest)
            s_i, y_i = w[PAIRS + slot, i], w[PAIRS + slots + slot, i]
            w[METRIC, i] = p
            s_y += np.float64(s_i * y_i)
            s_metric_s += np.float64(s_i * s_i / p)
            y_metric_y += np.float64(y_i * y_i * p)
            i += cuda.gridsize(1)
        publish(run.parts, lanes, (s_y, s_metric_s, y_metric_y), (0.0,))

    return cuda.jit(metric)


@functools.lru_cache(maxsize=1)
def settle_metric_kernel() -> Any:
    """Make the kernel ``(run)``, of one block, that takes the step length from the last step."""

    def settle(run: Run) -> None:
        if not _is_task(run, LEARN):
            return
        lanes = cuda.shared.array(SHAPE, types.float64)
        gather(run.parts, lanes)
        if cuda.threadIdx.x == 0:
            if run.plan[OVERALL] > 0.0:
                _judge_pair(run.states[0], lanes[0, 0], lanes[1, 0], lanes[2, 0])
            else:
                _judge_pair(run.states[0], 0.0, 0.0, 0.0)

    return cuda.jit(settle)


@functools.lru_cache(maxsize=4)
def first_loop_kernel(T: Any, bounded: bool) -> Any:
    """Make the kernel ``(run, k)`` of the first loop that comes to pair `k`, from the newest.

    It ends the work on pair ``k - 1``. The one after the last pair goes over to the second loop.
    """

    def first(run: Run, k: int) -> None:
        state = run.states[0]
        if not (_has_pairs(run) and k <= state.pairs):
            return
        lanes = cuda.shared.array(SHAPE, types.float64)
        w, m = run.w, state.maxcor
        last = k == state.pairs
        before, here = _slot(state, k - 1), _slot(state, k - 1 if last else k)
        factor, lr = -T(state.weight[before]), T(state.lr)
        product = curvature = 0.0
        i = cuda.grid(1)
        while i < w.shape[1]:
            if k == 0:
                d_i, free = -w[G + state.current, i], T(1)
                if bounded:
                    x_i, g_i = w[X + state.current, i], w[G + state.current, i]
                    free = T(0) if _is_held(x_i, g_i, w[LOWER, i], w[UPPER, i]) else T(1)
                    w[FREE, i] = free
                    d_i = d_i if free > 0 else T(0)
            else:
                free = w[FREE, i] if bounded else T(1)
                d_i = w[DIRECTION, i] + factor * w[PAIRS + m + before, i] * free
            s_i, y_i = w[PAIRS + here, i], w[PAIRS + m + here, i]
            if last:
                d_i *= lr * w[METRIC, i]
                product += np.float64(y_i * d_i)
            else:
                product += np.float64(s_i * d_i)
                if bounded:
                    curvature += np.float64(s_i * y_i * free)
            w[DIRECTION, i] = d_i
            i += cuda.gridsize(1)
        publish(run.parts, lanes, (product, curvature), (0.0,))

    return cuda.jit(first)


@_device
def _weigh(run: Run, k: int, product: float) -> None:
    """Find the factor of pair `k` in the second loop."""
    state = run.states[0]
    j = _slot(state, k)
    run.plan[WEIGHT] = state.weight[j] - product * state.inverse[j]


@functools.lru_cache(maxsize=4)
def settle_first_loop_kernel(T: Any, bounded: bool) -> Any:
    """Make the kernel ``(run, k)``, of one block, that finds the factor of pair `k`."""
    eps = np.finfo(T).eps

    def settle(run: Run, k: int) -> None:
        state = run.states[0]
        if not (_has_pairs(run) and k <= state.pairs):
            return
        lanes = cuda.shared.array(SHAPE, types.float64)
        gather(run.parts, lanes)
        if cuda.threadIdx.x > 0:
            return
        product = lanes[0, 0]
        if k == state.pairs:
            _weigh(run, k - 1, product)
        else:
            j = _slot(state, k)
            _judge_curvature(state, j, lanes[1, 0] if bounded else state.curvature[j], eps)
            state.weight[j] = product * state.inverse[j]

    return cuda.jit(settle)


@functools.lru_cache(maxsize=4)
def second_loop_kernel(T: Any, bounded: bool) -> Any:
    """Make the kernel ``(run, k)`` of the second loop that adds pair `k`.

    Then it comes to pair ``k - 1``, or after the newest to the slope.
    """

    def second(run: Run, k: int) -> None:
        state = run.states[0]
        if not (_has_pairs(run) and k < state.pairs):
            return
        lanes = cuda.shared.array(SHAPE, types.float64)
        w, m = run.w, state.maxcor
        here, factor = PAIRS + _slot(state, k), T(run.plan[WEIGHT])
        other = PAIRS + m + _slot(state, k - 1) if k > 0 else G + state.current
        product = 0.0
        i = cuda.grid(1)
        while i < w.shape[1]:
            free = w[FREE, i] if bounded else T(1)
            d_i = w[DIRECTION, i] + factor * w[here, i] * free
            w[DIRECTION, i] = d_i
            product += np.float64(w[other, i] * d_i)
            i += cuda.gridsize(1)
        publish(run.parts, lanes, (product,), (0.0,))

    return cuda.jit(second)


@functools.lru_cache(maxsize=1)
def settle_second_loop_kernel() -> Any:
    """Make the kernel ``(run, k)``, of one block, that finds the factor of pair ``k - 1``."""

    def settle(run: Run, k: int) -> None:
        state = run.states[0]
        if not (_has_pairs(run) and k < state.pairs):
            return
        lanes = cuda.shared.array(SHAPE, types.float64)
        gather(run.parts, lanes)
        if cuda.threadIdx.x > 0:
            return
        if k > 0:
            _weigh(run, k - 1, lanes[0, 0])
        else:
            _judge_direction(state, lanes[0, 0])

    return cuda.jit(settle)


@functools.lru_cache(maxsize=8)
def move_kernel(T: Any, bounded: bool, stored: bool) -> Any:
    """Make the kernel ``(run)`` that writes the next trial point.

    Without pairs it takes a new direction in the same pass.
    """

    def move(run: Run) -> None:
        state = run.states[0]
        if state.status != status.RUNNING or _is_task(run, WAIT):
            return
        lanes = cuda.shared.array(SHAPE, types.float64)
        w, new = run.w, X + _free_row(state.current, state.best)
        fresh = not _is_task(run, MOVE)
        alpha, lr = T(1) if fresh else T(state.alpha), T(state.lr)
        slope = predicted = moved = 0.0
        i = cuda.grid(1)
        while i < w.shape[1]:
            x_i, g_i = w[X + state.current, i], w[G + state.current, i]
            if fresh and state.pairs == 0:
                held = bounded and _is_held(x_i, g_i, w[LOWER, i], w[UPPER, i])
                d_i = T(0) if held else -g_i * (lr * w[METRIC, i])
                w[DIRECTION, i] = d_i
            else:
                d_i = w[DIRECTION, i]
            z_i = x_i + alpha * d_i
            if bounded:
                z_i = _clip(z_i, w[LOWER, i], w[UPPER, i])
            w[new, i] = z_i
            if stored:
                run.shown[i] = z_i
            if z_i != x_i:
                moved = 1.0
            slope += np.float64(d_i * g_i)
            predicted += np.float64(g_i * (z_i - x_i))
            i += cuda.gridsize(1)
        publish(run.parts, lanes, (slope, predicted), (moved,))

    return cuda.jit(move)


@functools.lru_cache(maxsize=1)
def settle_move_kernel() -> Any:
    """Make the kernel ``(run)``, of one block, that goes to the point written, if it is another."""

    def settle(run: Run) -> None:
        state = run.states[0]
        if state.status != status.RUNNING or _is_task(run, WAIT):
            return
        lanes = cuda.shared.array(SHAPE, types.float64)
        gather(run.parts, lanes)
        if cuda.threadIdx.x > 0:
            return
        if not _is_task(run, MOVE):
            state.slope, state.alpha = lanes[0, 0], 1.0
        state.trial = _free_row(state.current, state.best)
        run.plan[TASK] = _judge_move(state, lanes[MOVED, 0] > 0.0, lanes[1, 0])

    return cuda.jit(settle)
