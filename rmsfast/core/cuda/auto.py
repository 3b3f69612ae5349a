"""One problem on a GPU, with ``lr="auto"``: `rmsfast.core.auto`, pass by pass.

The decisions are those of the CPU, taken by one thread on the record of the run. A pass over
the vectors ends with sums, on which the next decision waits; so the host launches the same
sequence of kernels again and again, a round, and each does its part if ``notes.task`` asks for
it. Where a step leads nowhere, the task stays, and the next round starts afresh without an
evaluation; where that is the call of a function, the same round does. After the last step of a
run launches do nothing.

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
from rmsfast.core.cuda.target import device_function, on_device, target
from rmsfast.core.cuda.terms import gradient_of, value_of
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
VALUE, SQUARE, SLOPE = range(3)
UNFINITE, STEEP, LENGTH, SIZE = range(SUMS, SUMS + 4)
MOVED = SUMS  # what `move` does


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


@on_device
def _is_task(state: State, task: int) -> bool:
    """Whether a run that has not ended is to do this."""
    return state.status == status.RUNNING and state.task == task


@on_device
def _has_pairs(state: State) -> bool:
    """Whether the next direction is that of the two loops."""
    return _is_task(state, LEARN) and state.pairs > 0


@on_device
def _slot(state: State, k: int) -> int:
    """Return where pair number `k` is, counted from the newest."""
    return (state.newest - k) % state.maxcor


@on_device
def _pair(w: np.ndarray, state: State, slot: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the step and the gradient change that are remembered in a slot."""
    return w[PAIRS + slot], w[PAIRS + max(state.maxcor, 1) + slot]


@functools.lru_cache(maxsize=64)
def measure_kernel(term: Any, grad: Any, kind: Kind) -> Any:
    """Make the kernel ``(w, notes, args)`` of the pass that `judge_point` waits for.

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

    def measure(w: np.ndarray, notes: np.ndarray, args: Any) -> None:
        state = notes[0]
        if not _is_task(state, WAIT):
            return
        lanes = cuda.shared.array(SHAPE, types.float64)
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
        publish(state.parts, lanes, (f, square, slope), (unfinite, steep, length, size))

    return cuda.jit(measure)


@functools.lru_cache(maxsize=64)
def judge_kernel(kind: Kind, stored: bool) -> Any:
    """Make the kernel ``(notes)``, of one block, that judges the trial point."""
    short, eps = kind.short, np.finfo(kind.T).eps

    def judge(notes: np.ndarray) -> None:
        state = notes[0]
        if not _is_task(state, WAIT):
            return
        lanes = cuda.shared.array(SHAPE, types.float64)
        gather(state.parts, state.blocks, lanes)
        if cuda.threadIdx.x > 0:
            return
        f = state.value if stored else lanes[VALUE, 0]
        finite = math.isfinite(f) and lanes[UNFINITE, 0] == 0.0
        first = state.evaluations == 0
        state.task = _judge_point(
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
    """Make the kernel ``(w, notes)`` that starts the metric anew, or renews the averages."""

    def average(w: np.ndarray, notes: np.ndarray) -> None:
        state = notes[0]
        forget, learn = _is_task(state, FORGET), _is_task(state, LEARN)
        if not (forget or learn):
            return
        lanes = cuda.shared.array(SHAPE, types.float64)
        h = _hyper(state, T)
        x, x_old = w[X + state.current], w[X + state.previous]
        g, g_old = w[G + state.current], w[G + state.previous]
        s, y = _pair(w, state, _slot_of_pair(state))
        u, v, metric = w[STEPS], w[CHANGES], w[METRIC]
        steps = changes = 0.0
        i = cuda.grid(1)
        while i < x.size:
            if forget:
                metric[i] = T(1) / _denominator(g[i] * g[i], h)
                u[i] = v[i] = T(0)
            else:
                s_i, y_i = x[i] - x_old[i], g[i] - g_old[i]
                u_i, v_i = _renewed(u[i], s_i, s_i, h), _renewed(v[i], y_i, s_i, h)
                s[i], y[i], u[i], v[i] = s_i, y_i, u_i, v_i
                steps += np.float64(u_i)
                changes += np.float64(v_i)
            i += cuda.gridsize(1)
        publish(state.parts, lanes, (steps, changes), (0.0,))

    return cuda.jit(average)


@functools.lru_cache(maxsize=1)
def settle_average_kernel() -> Any:
    """Make the kernel ``(notes)``, of one block, that finds the metric of all coordinates."""

    def settle(notes: np.ndarray) -> None:
        state = notes[0]
        if not _is_task(state, LEARN):
            return
        lanes = cuda.shared.array(SHAPE, types.float64)
        gather(state.parts, state.blocks, lanes)
        if cuda.threadIdx.x == 0:
            steps, changes = lanes[0, 0], lanes[1, 0]
            known = _are_known(steps, changes)
            state.overall = math.sqrt(steps / changes) if known else 0.0

    return cuda.jit(settle)


@functools.lru_cache(maxsize=2)
def metric_kernel(T: Any) -> Any:
    """Make the kernel ``(w, notes)`` that renews the metric."""

    def metric(w: np.ndarray, notes: np.ndarray) -> None:
        state = notes[0]
        overall = state.overall
        if not (_is_task(state, LEARN) and overall > 0.0):
            return
        lanes = cuda.shared.array(SHAPE, types.float64)
        middle, lowest, highest = T(overall), T(overall / SPREAD), T(overall * SPREAD)
        s, y = _pair(w, state, _slot_of_pair(state))
        u, v, metric = w[STEPS], w[CHANGES], w[METRIC]
        s_y = s_metric_s = y_metric_y = s_s = y_y = 0.0
        i = cuda.grid(1)
        while i < s.size:
            p = _metric_of(u[i], v[i], middle, lowest, highest)
            s_i, y_i = s[i], y[i]
            metric[i] = p
            s_y += np.float64(s_i * y_i)
            s_metric_s += np.float64(s_i * s_i / p)
            y_metric_y += np.float64(y_i * y_i * p)
            s_s += np.float64(s_i * s_i)
            y_y += np.float64(y_i * y_i)
            i += cuda.gridsize(1)
        publish(state.parts, lanes, (s_y, s_metric_s, y_metric_y, s_s, y_y), (0.0,))

    return cuda.jit(metric)


@functools.lru_cache(maxsize=1)
def settle_metric_kernel() -> Any:
    """Make the kernel ``(notes)``, of one block, that takes the step length from the last step."""

    def settle(notes: np.ndarray) -> None:
        state = notes[0]
        if not _is_task(state, LEARN):
            return
        lanes = cuda.shared.array(SHAPE, types.float64)
        gather(state.parts, state.blocks, lanes)
        if cuda.threadIdx.x == 0:
            s_y, s_metric_s, y_metric_y, s_s, y_y = 0.0, 0.0, 0.0, 0.0, 0.0
            if state.overall > 0.0:
                s_y, s_metric_s, y_metric_y = lanes[0, 0], lanes[1, 0], lanes[2, 0]
                s_s, y_y = lanes[3, 0], lanes[4, 0]
            _judge_pair(state, s_y, s_metric_s, y_metric_y, s_s, y_y)

    return cuda.jit(settle)


@functools.lru_cache(maxsize=4)
def first_loop_kernel(T: Any, bounded: bool) -> Any:
    """Make the kernel ``(w, notes, k)`` of the first loop that comes to pair `k`, from the newest.

    It ends the work on pair ``k - 1``. The one after the last pair goes over to the second loop.
    """

    def first(w: np.ndarray, notes: np.ndarray, k: int) -> None:
        state = notes[0]
        if not (_has_pairs(state) and k <= state.pairs):
            return
        lanes = cuda.shared.array(SHAPE, types.float64)
        last = k == state.pairs
        before, here = _slot(state, k - 1), _slot(state, k - 1 if last else k)
        (_, y_before), (s, y) = _pair(w, state, before), _pair(w, state, here)
        x, g, d = w[X + state.current], w[G + state.current], w[DIRECTION]
        free, metric = w[FREE], w[METRIC]
        factor, lr, common = -T(state.weight[before]), T(state.lr), T(state.common)
        product = curvature = 0.0
        i = cuda.grid(1)
        while i < x.size:
            if k == 0:
                held = bounded and _is_held(x[i], g[i], w[LOWER, i], w[UPPER, i])
                d_i = T(0) if held else -g[i]
                if bounded:
                    free[i] = T(0) if held else T(1)
            elif bounded:
                d_i = d[i] + factor * y_before[i] * free[i]
            else:
                d_i = d[i] + factor * y_before[i]
            if last:
                d_i *= common if common > 0 else lr * metric[i]
                product += np.float64(y[i] * d_i)
            else:
                product += np.float64(s[i] * d_i)
                if bounded:
                    curvature += np.float64(s[i] * y[i] * free[i])
            d[i] = d_i
            i += cuda.gridsize(1)
        publish(state.parts, lanes, (product, curvature), (0.0,))

    return cuda.jit(first)


@on_device
def _weigh(state: State, k: int, product: float) -> None:
    """Find the factor of pair `k` in the second loop."""
    j = _slot(state, k)
    state.factor = state.weight[j] - product * state.inverse[j]


@functools.lru_cache(maxsize=4)
def settle_first_loop_kernel(T: Any, bounded: bool) -> Any:
    """Make the kernel ``(notes, k)``, of one block, that finds the factor of pair `k`."""
    eps = np.finfo(T).eps

    def settle(notes: np.ndarray, k: int) -> None:
        state = notes[0]
        if not (_has_pairs(state) and k <= state.pairs):
            return
        lanes = cuda.shared.array(SHAPE, types.float64)
        gather(state.parts, state.blocks, lanes)
        if cuda.threadIdx.x > 0:
            return
        product = lanes[0, 0]
        if k == state.pairs:
            _weigh(state, k - 1, product)
        else:
            j = _slot(state, k)
            _judge_curvature(state, j, lanes[1, 0] if bounded else state.curvature[j], eps)
            state.weight[j] = product * state.inverse[j]

    return cuda.jit(settle)


@functools.lru_cache(maxsize=4)
def second_loop_kernel(T: Any, bounded: bool) -> Any:
    """Make the kernel ``(w, notes, k)`` of the second loop that adds pair `k`.

    Then it comes to pair ``k - 1``, or after the newest to the slope.
    """

    def second(w: np.ndarray, notes: np.ndarray, k: int) -> None:
        state = notes[0]
        if not (_has_pairs(state) and k < state.pairs):
            return
        lanes = cuda.shared.array(SHAPE, types.float64)
        (s, _), (_, y) = _pair(w, state, _slot(state, k)), _pair(w, state, _slot(state, k - 1))
        other = y if k > 0 else w[G + state.current]
        d, free, factor = w[DIRECTION], w[FREE], T(state.factor)
        product = 0.0
        i = cuda.grid(1)
        while i < d.size:
            d_i = d[i] + (factor * s[i] * free[i] if bounded else factor * s[i])
            d[i] = d_i
            product += np.float64(other[i] * d_i)
            i += cuda.gridsize(1)
        publish(state.parts, lanes, (product,), (0.0,))

    return cuda.jit(second)


@functools.lru_cache(maxsize=1)
def settle_second_loop_kernel() -> Any:
    """Make the kernel ``(notes, k)``, of one block, that finds the factor of pair ``k - 1``."""

    def settle(notes: np.ndarray, k: int) -> None:
        state = notes[0]
        if not (_has_pairs(state) and k < state.pairs):
            return
        lanes = cuda.shared.array(SHAPE, types.float64)
        gather(state.parts, state.blocks, lanes)
        if cuda.threadIdx.x > 0:
            return
        if k > 0:
            _weigh(state, k - 1, lanes[0, 0])
        else:
            _judge_direction(state, lanes[0, 0])

    return cuda.jit(settle)


@functools.lru_cache(maxsize=8)
def move_kernel(T: Any, bounded: bool, stored: bool) -> Any:
    """Make the kernel ``(w, notes, shown)`` that writes the next trial point.

    Without pairs it takes a new direction in the same pass. If a function of the user is to
    evaluate the point, it is written to `shown`, of shape (n,), too.
    """

    def move(w: np.ndarray, notes: np.ndarray, shown: np.ndarray) -> None:
        state = notes[0]
        if state.status != status.RUNNING or _is_task(state, WAIT):
            return
        lanes = cuda.shared.array(SHAPE, types.float64)
        x, g, d = w[X + state.current], w[G + state.current], w[DIRECTION]
        new, metric = w[X + _free_row(state.current, state.best)], w[METRIC]
        fresh = not _is_task(state, MOVE)
        direct = fresh and state.pairs == 0
        alpha, lr = T(1) if fresh else T(state.alpha), T(state.lr)
        slope = predicted = moved = 0.0
        i = cuda.grid(1)
        while i < x.size:
            x_i, g_i = x[i], g[i]
            if direct:
                held = bounded and _is_held(x_i, g_i, w[LOWER, i], w[UPPER, i])
                d_i = T(0) if held else -g_i * (lr * metric[i])
                d[i] = d_i
            else:
                d_i = d[i]
            z_i = x_i + alpha * d_i
            if bounded:
                z_i = _clip(z_i, w[LOWER, i], w[UPPER, i])
            new[i] = z_i
            if stored:
                shown[i] = z_i
            if z_i != x_i:
                moved = 1.0
            slope += np.float64(d_i * g_i)
            predicted += np.float64(g_i * (z_i - x_i))
            i += cuda.gridsize(1)
        publish(state.parts, lanes, (slope, predicted), (moved,))

    return cuda.jit(move)


@functools.lru_cache(maxsize=1)
def settle_move_kernel() -> Any:
    """Make the kernel ``(notes)``, of one block, that goes to a point written that is another."""

    def settle(notes: np.ndarray) -> None:
        state = notes[0]
        if state.status != status.RUNNING or _is_task(state, WAIT):
            return
        lanes = cuda.shared.array(SHAPE, types.float64)
        gather(state.parts, state.blocks, lanes)
        if cuda.threadIdx.x > 0:
            return
        if not _is_task(state, MOVE):
            state.slope, state.alpha = lanes[0, 0], 1.0
        state.trial = _free_row(state.current, state.best)
        state.task = _judge_move(state, lanes[MOVED, 0] > 0.0, lanes[1, 0])

    return cuda.jit(settle)
