"""The solver as reverse communication: it never calls an objective.

The caller evaluates the objective at row ``X + state.trial`` of the work array,
writes the gradient into row ``G + state.trial``, and calls `advance_auto` or
`advance_numeric` with the value. It writes the next point to evaluate, or
returns why it has finished. Everything the solver remembers stands in the two
arguments: the rows of the work array `w` and the record `state`. One body
serves the compiled driver, the Python driver, `rmsfast.Solver`, and a
checkpoint. (One two-dimensional array and one record: seven separate arrays
cost 85 to 130 ns per call at n = 2, where this costs 21.)

There are three rows of points and three of gradients. The best point stays
where it was evaluated, and so does the current one; `trial` moves to the row
that is neither, so no point is ever copied.

With a numeric learning rate each call is one step of `rmsfast.core.rule.step`.

With ``lr="auto"``, for deterministic objectives, each coordinate has a scale of
its own as in RMSProp. At a minimum the gradient vanishes and its mean square
says nothing; so from the second step on the averages of RMSProp are taken of
the steps and of the changes of the gradient, and the metric is the ratio of the
root mean squares, ``P = rms(x_k - x_{k-1}) / rms(g_k - g_{k-1})``: the form of
AdaDelta [7]_ with the secant pair of a quasi-Newton method. It does not change
when a variable is measured in another unit.

1. Without corrections (``maxcor=0``) the direction is ``d = -lr * P * g``, where
   `lr` is a Barzilai-Borwein step [1]_ in the metric P, two long ones and two
   short ones by turns.
2. With corrections, limited-memory BFGS [2]_ starts its two-loop recursion
   from ``lr * P``.
3. A trial point is accepted when its value is below the highest of the last
   ten by the Armijo rule [3]_ [4]_; else the step is shortened by quadratic
   interpolation. Where rounding hides the change of the value, the slope
   decides [8]_.
4. Bounds are kept by projection [5]_; coordinates at a bound that the gradient
   pushes outwards are held [6]_.

References
----------
.. [1] J. Barzilai and J. M. Borwein, "Two-point step size gradient methods",
   IMA Journal of Numerical Analysis 8 (1988), 141-148.
.. [2] J. Nocedal, "Updating quasi-Newton matrices with limited storage",
   Mathematics of Computation 35 (1980), 773-782.
.. [3] L. Grippo, F. Lampariello and S. Lucidi, "A nonmonotone line search
   technique for Newton's method", SIAM J. Numer. Anal. 23 (1986), 707-716.
.. [4] M. Raydan, "The Barzilai and Borwein gradient method for the large scale
   unconstrained minimization problem", SIAM J. Optim. 7 (1997), 26-33.
.. [5] E. G. Birgin, J. M. Martinez and M. Raydan, "Nonmonotone spectral
   projected gradient methods on convex sets", SIAM J. Optim. 10 (2000),
   1196-1211.
.. [6] D. P. Bertsekas, "Projected Newton methods for optimization problems with
   simple constraints", SIAM J. Control Optim. 20 (1982), 221-246.
.. [7] M. D. Zeiler, "ADADELTA: an adaptive learning rate method",
   arXiv:1212.5701, 2012.
.. [8] W. W. Hager and H. Zhang, "A new conjugate gradient method with
   guaranteed descent and an efficient line search", SIAM J. Optim. 16 (2005),
   170-192, equation 4.1.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from rmsfast.core import status
from rmsfast.core.jit import jit, jit_inline, jit_merged, jit_sum
from rmsfast.core.rule import (
    Hyper,
    denominator,
    descent_gradient,
    mean_square,
    plain,
    step,
    with_rates,
    with_scale,
)

WINDOW = 10  # values the Armijo rule compares with
MAX_MAXCOR = 30  # the longest memory

# Rows of the work array
X, G = 0, 3  # three points, three gradients
LOWER, UPPER = 6, 7
# with a numeric learning rate: accumulators, and where the run was CYCLE steps ago
MEAN_SQUARE, MEAN, BUFFER, REFERENCE = 8, 9, 10, 11
# with lr="auto": averages of squared steps and of squared gradient changes, the
# metric, the direction, and 1 or, for a coordinate held at its bound, 0
STEPS, CHANGES, METRIC, DIRECTION, FREE = 8, 9, 10, 11, 12
PAIRS = 13  # then a row for each step remembered, and as many for the gradient changes

State = Any  # a record of this dtype; Numba and NumPy differ in how its fields are reached
STATE = np.dtype(
    [
        # what was asked for
        ("lr", np.float64),
        ("rho", np.float64),
        ("one_minus_rho", np.float64),
        ("eps", np.float64),
        ("momentum", np.float64),
        ("weight_decay", np.float64),
        ("clip_value", np.float64),
        ("clip_norm", np.float64),
        ("gtol", np.float64),
        ("ftol", np.float64),
        ("xtol", np.float64),
        ("plateau_factor", np.float64),
        ("plateau_patience", np.int64),
        ("maxiter", np.int64),
        ("max_evaluations", np.int64),
        ("maxcor", np.int64),
        ("constant", np.bool_),  # the learning rate
        ("bounded", np.bool_),
        ("bias_correction", np.bool_),
        ("centered", np.bool_),
        ("eps_in_sqrt", np.bool_),
        ("nesterov", np.bool_),
        ("lr_in_momentum", np.bool_),
        ("decoupled", np.bool_),
        ("maximize", np.bool_),
        ("plain", np.bool_),  # none of the options above but lr, rho, eps
        # where the run stands
        ("trial", np.int64),
        ("current", np.int64),
        ("best", np.int64),
        ("f", np.float64),
        ("f_best", np.float64),
        ("status", np.int64),
        ("nit", np.int64),
        ("evaluations", np.int64),
        ("stalled", np.int64),
        ("cycle_f", np.float64),
        ("cycle_f_best", np.float64),
        ("slope", np.float64),
        ("alpha", np.float64),
        ("predicted", np.float64),
        ("square_lowest", np.float64),
        ("f_returned", np.float64),
        ("pairs", np.int64),
        ("newest", np.int64),
        ("backtracks", np.int64),
        ("restarted", np.bool_),
        ("walled", np.bool_),
        ("rises", np.bool_),
        ("rise", np.float64),
        ("window", np.float64, (WINDOW,)),
        ("curvature", np.float64, (MAX_MAXCOR,)),
        ("inverse", np.float64, (MAX_MAXCOR,)),
        ("weight", np.float64, (MAX_MAXCOR,)),
    ],
    align=True,
)

# fields of the record that are hyperparameters of the same name
HYPERPARAMETERS = (
    "rho",
    "eps",
    "momentum",
    "weight_decay",
    "bias_correction",
    "centered",
    "eps_in_sqrt",
    "nesterov",
    "lr_in_momentum",
    "decoupled",
    "maximize",
)

CYCLE = 100  # steps after which a limit cycle is looked for: a multiple of its usual period, two
CYCLE_SHIFT = 1e-3  # of a step: what a cycle may move in that time
CYCLE_CHANGE = 1e-6  # what its value may change, relatively

ARMIJO = 1e-4
FIRST_STEP = 0.1  # length of the first step in each coordinate
SHORTEN = 0.1, 0.5  # the factor of one backtracking step lies between these
GROW = 2.0  # of the step length where the curvature is not positive
BLOCK = 2  # as many long Barzilai-Borwein steps, then as many short ones
CURVATURE = 1e-12  # cosine between step and gradient change that counts as positive
SPREAD = 1e6  # a coordinate's metric may differ by this factor from that of all
MAX_BACKTRACKS = 40
LINEAR = 0.75  # a rise that shrinks less than its step, by half or more, is not curvature
STALL = 100  # iterations without a lower value or a smaller gradient


def rows(maxcor: int) -> int:
    """Return the number of rows of the work array."""
    return PAIRS + 2 * max(maxcor, 1)


@jit_inline
def hyper(state: State, T: Callable[[float], float]) -> Hyper:
    """Hyperparameters as numbers of the type `T`, those of a step left out."""
    return Hyper(
        T(state.lr),
        T(state.rho),
        T(state.one_minus_rho),
        T(state.eps),
        T(state.momentum),
        T(state.weight_decay),
        T(state.clip_value),
        T(1),
        T(1),
        state.bias_correction,
        state.centered,
        state.eps_in_sqrt,
        state.nesterov,
        state.lr_in_momentum,
        state.decoupled,
        state.maximize,
    )


@jit_inline
def hyper_of_step(state: State, x: np.ndarray, g: np.ndarray) -> Hyper:
    """Hyperparameters of the next step, from `x` with the gradient `g`, in their dtype."""
    T = x.dtype.type
    h = hyper(state, T)
    if state.bias_correction:
        h = with_rates(h, h.lr, T(1.0 - state.rho ** (state.nit + 1)))
    if state.clip_norm < np.inf:
        h = with_scale(h, T(_clipping(x, g, h, state.clip_norm)))
    return h


@jit
def _clipping(x: np.ndarray, g: np.ndarray, h: Hyper, clip_norm: float) -> float:
    """Factor that brings the gradient down to the norm `clip_norm`, 1 if it is no longer."""
    largest = 0.0
    for i in range(g.size):
        largest = max(largest, abs(descent_gradient(x[i], g[i], h)))
    if largest == 0 or not largest < np.inf:
        return 1.0
    square = 0.0
    for i in range(g.size):
        c = descent_gradient(x[i], g[i], h) / largest
        square += c * c
    return clip_factor(clip_norm, largest, square)


@jit_inline
def clip_factor(clip_norm: float, largest: float, square: float) -> float:
    """Return the factor for a gradient whose norm is ``largest * sqrt(square)``."""
    return min(clip_norm / largest / math.sqrt(square), 1.0)


@jit_inline
def free_row(a: int, b: int) -> int:
    """Return the one of 0, 1, 2 that is neither `a` nor `b`, or the lowest such."""
    if a != 0 and b != 0:
        return 0
    if a != 1 and b != 1:
        return 1
    return 2


# Numeric learning rate ---------------------------------------------------------------------------


@jit_merged
def advance_numeric(w: np.ndarray, state: State, f: float) -> int:
    """Take the value at the trial point of a run with a numeric learning rate.

    Parameters
    ----------
    w : ndarray, shape (rows(maxcor), n)
        The work array, C-contiguous, float64 or float32. Row ``G +
        state.trial`` holds the gradient at row ``X + state.trial``.
    state : record of dtype STATE
        The scalars of the run.
    f : float
        The value at the trial point.

    Returns
    -------
    int
        A code of `rmsfast.core.status`, also in ``state.status``.
    """
    state.evaluations += 1
    state.status = _step(w, state, f)
    return state.status


@jit_inline
def _step(w: np.ndarray, state: State, f: float) -> int:
    """Take one step of textbook RMSProp."""
    f = take_value(state, f)
    if not math.isfinite(f):
        return stop_nonfinite(state)
    improved, source = choose_source(state, f)
    if source != state.trial:
        w[BUFFER] = 0.0
    new = free_row(state.trial, state.best)  # the best holds only if the gradient is finite
    steep, finite = _descend(w, state, source, new)
    if not finite:
        return stop_nonfinite(state)
    short = False
    if state.xtol > 0:
        length, largest = _lengths(w, new, source)
        short = is_short(state, length, largest)
    shift = longest = 0.0
    if is_cycle_due(state, state.nit):
        shift, longest = _shift(w, source, new)
    return judge_step(state, f, improved, steep, short, shift, longest, noise(w, f), new)


# The decisions on scalars: a GPU takes them too, in rmsfast.core.cuda.terms


@jit_inline
def take_value(state: State, f: float) -> float:
    """Count the iteration, and return the value to minimize."""
    if state.evaluations > 1:
        state.nit += 1
    if state.maximize:
        f = -f
    if state.evaluations == 1:
        state.f = state.f_best = f
    return f


@jit_inline
def stop_nonfinite(state: State) -> int:
    """Stop at a value or gradient that is not finite."""
    state.current = state.trial
    return status.NONFINITE_START if state.evaluations == 1 else status.NONFINITE


@jit_inline
def choose_source(state: State, f: float) -> tuple[bool, int]:
    """Whether the value is the lowest, and the row to step from: after a plateau the best."""
    improved = state.evaluations == 1 or f < state.f_best
    state.stalled = 0 if improved else state.stalled + 1
    if state.plateau_patience > 0 and state.stalled >= state.plateau_patience:
        state.lr *= state.plateau_factor
        state.stalled = 0
        return improved, state.best
    return improved, state.trial


@jit_inline
def is_short(state: State, longest: float, largest: float) -> bool:
    """Whether a step of the length `longest`, to a point of the size `largest`, is short."""
    return longest <= state.xtol * (state.xtol + largest)


@jit_inline
def is_cycle_due(state: State, nit: int) -> bool:
    """Whether a limit cycle is looked for at iteration `nit`."""
    return state.constant and nit % CYCLE == 0


@jit_inline
def judge_step(
    state: State,
    f: float,
    improved: bool,
    steep: bool,
    short: bool,
    shift: float,
    longest: float,
    hidden: float,
    new: int,
) -> int:
    """Take in the value, and go on to row `new` or stop.

    Parameters
    ----------
    state : record of dtype STATE
        The scalars of the run.
    f : float
        The value at the trial point, finite as is its gradient.
    improved, steep, short : bool
        Whether the value is the lowest, a component of the gradient exceeds
        gtol, the step is within xtol.
    shift, longest : float
        How far the point has moved in `CYCLE` steps, and in the step to `new`;
        read where `is_cycle_due`.
    hidden : float
        The change of the value that rounding may explain.
    new : int
        The row of the next point.

    Returns
    -------
    int
        A code of `rmsfast.core.status`.
    """
    change, size = abs(state.f - f), max(abs(state.f), abs(f), 1.0)
    state.f = f
    state.current = state.trial
    if improved or (not steep and f <= state.f_best + hidden):
        state.best = state.trial
        state.f_best = f
        if not steep:
            return status.GTOL
    if state.ftol > 0 and state.evaluations > 1 and change <= state.ftol * size:
        return status.FTOL
    if short:
        return status.XTOL
    if state.nit >= state.maxiter:
        return status.MAXITER
    if state.evaluations >= state.max_evaluations:
        return status.MAXFUN
    if is_cycle_due(state, state.nit) and _is_back(state, shift, longest):
        return status.LIMIT_CYCLE
    state.trial = new
    return status.RUNNING


@jit
def _is_back(state: State, shift: float, longest: float) -> bool:
    """Whether the run has come back to where it was `CYCLE` steps ago."""
    back = (
        state.nit > 0
        and state.f_best == state.cycle_f_best
        and abs(state.f - state.cycle_f) <= CYCLE_CHANGE * abs(state.f)
        and shift <= CYCLE_SHIFT * longest
    )
    state.cycle_f = state.f
    state.cycle_f_best = state.f_best
    return back


# The loops over the vectors


@jit_inline
def _descend(w: np.ndarray, state: State, source: int, new: int) -> tuple[bool, bool]:
    """Write the step from row `source` to row `new`.

    One pass does the step and the checks: is any component of the gradient
    larger than gtol, and are all finite.
    """
    h = hyper_of_step(state, w[X + source], w[G + source])
    T = w.dtype.type
    if state.plain:
        return _sweep(w, source, new, plain(h, T), False, T(state.gtol))
    return _sweep(w, source, new, h, state.bounded, T(state.gtol))


@jit_inline
def _sweep(
    w: np.ndarray, source: int, new: int, h: Hyper, bounded: bool, gtol: float
) -> tuple[bool, bool]:
    x, g, z = X + source, G + source, X + new
    steep, finite = False, True
    for i in range(w.shape[1]):
        x_i, g_i = w[x, i], w[g, i]
        z_i, s_i, m_i, b_i = step(x_i, g_i, w[MEAN_SQUARE, i], w[MEAN, i], w[BUFFER, i], h)
        w[MEAN_SQUARE, i] = s_i
        if h.centered:
            w[MEAN, i] = m_i
        if h.momentum != 0:
            w[BUFFER, i] = b_i
        finite &= abs(g_i) < np.inf
        if bounded:
            if h.maximize:
                g_i = -g_i
            g_i = x_i - min(max(x_i - g_i, w[LOWER, i]), w[UPPER, i])
            z_i = min(max(z_i, w[LOWER, i]), w[UPPER, i])
        w[z, i] = z_i
        steep |= abs(g_i) > gtol
    return steep, finite


@jit_inline
def rounding(w: np.ndarray) -> float:
    """Relative change of a value that its own rounding explains."""
    return 10.0 * np.finfo(w.dtype).eps


@jit_inline
def noise(w: np.ndarray, f: float) -> float:
    """Change of the value `f` that the rounding of its terms may explain.

    Terms may be much larger than their sum: 4e-11 of it in float64, 2e-5 in
    float32.
    """
    return noise_of(np.finfo(w.dtype).eps, f)


@jit_inline
def noise_of(eps: float, f: float) -> float:
    """Return the same, with the spacing `eps` of the numbers at 1."""
    return eps ** (2.0 / 3.0) * abs(f)


@jit
def _lengths(w: np.ndarray, row: int, previous: int) -> tuple[float, float]:
    """Lengths, in the maximum norm, of the step from row `previous` to `row` and of that point."""
    longest = largest = 0.0
    for i in range(w.shape[1]):
        longest = max(longest, abs(w[X + row, i] - w[X + previous, i]))
        largest = max(largest, abs(w[X + row, i]))
    return longest, largest


@jit
def _shift(w: np.ndarray, row: int, new: int) -> tuple[float, float]:
    """Lengths of the way since the last look for a cycle, and of the step from `row` to `new`."""
    shift = longest = 0.0
    for i in range(w.shape[1]):
        shift = max(shift, abs(w[X + row, i] - w[REFERENCE, i]))
        longest = max(longest, abs(w[X + new, i] - w[X + row, i]))
        w[REFERENCE, i] = w[X + row, i]
    return shift, longest


# lr="auto" ---------------------------------------------------------------------------------------


@jit_sum
def advance_auto(w: np.ndarray, state: State, f: float) -> int:
    """Take the value at the trial point of a run with ``lr="auto"``.

    Parameters and result are those of `advance_numeric`.
    """
    state.evaluations += 1
    state.status = _judge(w, state, f)
    return state.status


@jit_inline
def _judge(w: np.ndarray, state: State, f: float) -> int:
    """Accept the trial point and go on from it, or step back."""
    steep, square, finite = _measure(w, state)
    finite &= math.isfinite(f)
    if state.evaluations == 1:
        state.best = state.current = state.trial
        state.f = state.f_best = f
        state.f_returned = np.inf
        if not finite:
            return status.NONFINITE_START
        state.square_lowest = square
        _restart(w, state)
    else:
        highest = state.window[0]
        for k in range(1, WINDOW):
            highest = max(highest, state.window[k])
        slack = rounding(w) * abs(highest)
        armijo = f <= highest + ARMIJO * state.predicted + slack
        if not (finite and (armijo or _is_level(w, state, f))):
            _step_back(w, state, f, finite)
            return _propose(w, state)

        state.nit += 1
        change, size = abs(state.f - f), max(abs(state.f), abs(f), 1.0)
        previous, state.current = state.current, state.trial
        state.window[state.nit % WINDOW] = f
        state.restarted = False
        state.backtracks = 0
        state.rise = np.inf
        state.stalled += 1
        if f < state.f_best - rounding(w) * abs(state.f_best) or square < state.square_lowest:
            state.stalled = 0
        state.square_lowest = min(state.square_lowest, square)
        if f < state.f:
            state.rises = False
        state.f = f
        if f < state.f_best or (not steep and f <= state.f_best + noise(w, f)):
            state.f_best = f
            state.best = state.current
        if steep:
            if state.ftol > 0 and change <= state.ftol * size:
                return status.FTOL
            if state.xtol > 0:
                length, largest = _lengths(w, state.current, previous)
                if is_short(state, length, largest):
                    return status.XTOL
            _learn(w, state, previous)
    stalled = state.stalled >= STALL
    if stalled or not steep:
        level = f <= state.f_best + noise(w, f)
        if level and not steep:
            return status.GTOL
        if level or not state.f_best < state.f_returned:
            return status.INCONSISTENT if state.rises else status.LINE_SEARCH
        # the non-monotone rule led away from the best point: lower values alone from there
        _return_to_best(w, state)
        state.f_returned = state.f_best
        state.stalled = 0
    if state.nit >= state.maxiter:
        return status.MAXITER
    _direct(w, state)
    return _propose(w, state)


@jit_inline
def _measure(w: np.ndarray, state: State) -> tuple[bool, float, bool]:
    """Look at the projected gradient: is it steep, its squared length, is all of it finite."""
    x, g, lower, upper = w[X + state.trial], w[G + state.trial], w[LOWER], w[UPPER]
    bounded, gtol = state.bounded, w.dtype.type(state.gtol)
    steep, finite = False, True
    square = 0.0
    for i in range(w.shape[1]):
        c = g[i]
        finite &= abs(c) < np.inf
        if bounded:
            c = x[i] - min(max(x[i] - c, lower[i]), upper[i])
        steep |= abs(c) > gtol
        square += float(c) * float(c)
    return steep, square, finite


@jit_sum
def _restart(w: np.ndarray, state: State) -> None:
    """Forget everything but the current point: the first step is RMSProp's."""
    h = hyper(state, w.dtype.type)
    g, metric = w[G + state.current], w[METRIC]
    for i in range(w.shape[1]):
        metric[i] = 1 / denominator(g[i] * g[i], h)
    w[STEPS : CHANGES + 1] = 0
    state.window[:] = state.f
    state.pairs = 0
    state.lr = FIRST_STEP
    state.rise = np.inf


@jit_sum
def _return_to_best(w: np.ndarray, state: State) -> None:
    """Go on from the best point."""
    state.current = state.best
    state.f = state.f_best
    _restart(w, state)


@jit_sum
def _learn(w: np.ndarray, state: State, previous: int) -> None:
    """Update the metric, the step length and the memory from the step just taken."""
    T = w.dtype.type
    n = w.shape[1]
    h = hyper(state, w.dtype.type)
    slots = max(state.maxcor, 1)
    newest = (state.newest + 1) % slots
    x, x_old, s = w[X + state.current], w[X + previous], w[PAIRS + newest]
    g, g_old, y = w[G + state.current], w[G + previous], w[PAIRS + slots + newest]
    u, v, metric = w[STEPS], w[CHANGES], w[METRIC]
    steps = changes = 0.0
    for i in range(n):
        s_i, y_i = x[i] - x_old[i], g[i] - g_old[i]
        s[i] = s_i
        y[i] = y_i
        u_i, v_i = mean_square(u[i], s_i, h), mean_square(v[i], y_i, h)
        u[i] = u_i if s_i != 0 else u[i]
        v[i] = v_i if s_i != 0 else v[i]
        steps += u[i]
        changes += v[i]
    if not (steps > 0 and changes > 0 and math.isfinite(changes)):
        if state.pairs == 0:
            state.lr *= GROW * state.alpha
        return
    overall = math.sqrt(steps / changes)
    middle, lowest, highest = T(overall), T(overall / SPREAD), T(overall * SPREAD)
    s_y = s_metric_s = y_metric_y = 0.0
    for i in range(n):
        p = math.sqrt(u[i] / v[i])
        p = p if u[i] > 0 and v[i] > 0 else middle
        p = min(max(p, lowest), highest)
        metric[i] = p
        s_y += s[i] * y[i]
        s_metric_s += s[i] * s[i] / p
        y_metric_y += y[i] * y[i] * p
    if s_y <= CURVATURE * math.sqrt(s_metric_s * y_metric_y):
        if state.pairs == 0:
            state.lr *= GROW * state.alpha
    elif state.maxcor > 0:
        state.lr = s_y / y_metric_y
        state.newest = newest
        state.curvature[newest] = s_y
        state.pairs = min(state.pairs + 1, state.maxcor)
    else:
        long = state.nit // BLOCK % 2 == 0
        state.lr = s_metric_s / s_y if long else s_y / y_metric_y


@jit_sum
def _direct(w: np.ndarray, state: State) -> None:
    """Write the direction; fall back on the metric alone if it does not descend."""
    _hold(w, state)
    if state.pairs > 0:
        _two_loops(w, state)
        slope = _dot(w[DIRECTION], w[G + state.current])
        if not (slope < 0 and math.isfinite(slope)):
            state.pairs = 0
            _hold(w, state)
    if state.pairs == 0:
        _precondition(w, state)
    state.slope = _dot(w[DIRECTION], w[G + state.current])
    state.alpha = 1.0


@jit_inline
def _hold(w: np.ndarray, state: State) -> None:
    """Start the direction with the negative gradient of the coordinates that may move."""
    x, g, d, free = w[X + state.current], w[G + state.current], w[DIRECTION], w[FREE]
    lower, upper, bounded = w[LOWER], w[UPPER], state.bounded
    for i in range(w.shape[1]):
        d[i] = -g[i]
        if bounded:
            outward = (x[i] <= lower[i] and g[i] >= 0) or (x[i] >= upper[i] and g[i] <= 0)
            free[i] = 0 if outward else 1
            d[i] = 0 if outward else -g[i]


@jit_inline
def _precondition(w: np.ndarray, state: State) -> None:
    """Multiply the direction by the metric and its step length."""
    d, metric, lr = w[DIRECTION], w[METRIC], w.dtype.type(state.lr)
    for i in range(w.shape[1]):
        d[i] *= lr * metric[i]


@jit_inline
def _dot(a: np.ndarray, b: np.ndarray) -> float:
    total = 0.0
    for i in range(a.size):
        total += a[i] * b[i]
    return total


@jit_inline
def _add(d: np.ndarray, a: float, row: np.ndarray, free: np.ndarray, bounded: bool) -> None:
    """Add a multiple of a row to the coordinates of the direction that may move."""
    if bounded:
        for i in range(d.size):
            d[i] += a * row[i] * free[i]
    else:
        for i in range(d.size):
            d[i] += a * row[i]


@jit_sum
def _two_loops(w: np.ndarray, state: State) -> None:
    """Multiply the direction by the limited-memory BFGS matrix (Nocedal 1980).

    With bounds, by the matrix of the coordinates that may move: the products
    are those of the pairs restricted to them, and a pair without positive
    curvature there is left out.
    """
    T = w.dtype.type
    d, free, bounded = w[DIRECTION], w[FREE], state.bounded
    for k in range(state.pairs):
        j = (state.newest - k) % state.maxcor
        s, y = w[PAIRS + j], w[PAIRS + state.maxcor + j]
        curvature = state.curvature[j]
        if bounded:
            curvature = 0.0
            for i in range(d.size):
                curvature += s[i] * y[i] * free[i]
        positive = curvature > np.finfo(w.dtype).eps * state.curvature[j]
        state.inverse[j] = 1.0 / curvature if positive else 0.0
        state.weight[j] = _dot(s, d) * state.inverse[j]
        _add(d, T(-state.weight[j]), y, free, bounded)
    _precondition(w, state)
    for k in range(state.pairs - 1, -1, -1):
        j = (state.newest - k) % state.maxcor
        if state.inverse[j] > 0:
            s, y = w[PAIRS + j], w[PAIRS + state.maxcor + j]
            weight = state.weight[j] - _dot(y, d) * state.inverse[j]
            _add(d, T(weight), s, free, bounded)


@jit_inline
def _step_back(w: np.ndarray, state: State, f: float, finite: bool) -> None:
    """Shorten the step by safeguarded quadratic interpolation."""
    shortest, longest = SHORTEN
    factor = shortest
    state.walled = not finite
    if finite:
        if _is_visible(w, state, f):
            rise = (state.f - f) / state.predicted
            state.rises = rise > LINEAR * state.rise
            state.rise = max(rise, 0.0)
        factor = -0.5 * state.predicted / (f - state.f - state.predicted)
        factor = min(factor, longest) if factor > shortest else shortest
    state.backtracks += 1
    state.alpha *= factor


@jit_inline
def _is_visible(w: np.ndarray, state: State, f: float) -> bool:
    """Whether the change predicted for this step is far above rounding."""
    return -state.predicted > math.sqrt(np.finfo(w.dtype).eps) * max(abs(f), abs(state.f))


@jit_inline
def _is_level(w: np.ndarray, state: State, f: float) -> bool:
    """Whether rounding hides the change of f, and the slope says that the step was good.

    The approximate Wolfe condition [8]_: for a quadratic it is the Armijo rule,
    and slopes keep their digits where values have lost them.
    """
    hidden = noise(w, state.f)
    if -state.predicted > hidden or f > state.f + hidden:
        return False
    x, x_old, g = w[X + state.trial], w[X + state.current], w[G + state.trial]
    slope = 0.0
    for i in range(w.shape[1]):
        slope += g[i] * (x[i] - x_old[i])
    return slope <= (2.0 * ARMIJO - 1.0) * state.predicted


@jit_sum
def _propose(w: np.ndarray, state: State) -> int:
    """Write the next trial point; where no step leads on, start afresh, then stop."""
    if state.evaluations >= state.max_evaluations:
        return status.MAXFUN
    if state.backtracks <= MAX_BACKTRACKS and _move(w, state):
        return status.RUNNING
    if state.restarted:
        if state.walled:
            return status.NONFINITE
        return status.INCONSISTENT if state.rises else status.LINE_SEARCH
    _return_to_best(w, state)
    _direct(w, state)
    state.restarted = True
    state.backtracks = 0
    return status.RUNNING if _move(w, state) else status.LINE_SEARCH


@jit_inline
def _move(w: np.ndarray, state: State) -> bool:
    """Write the point `alpha` along the direction; return whether it differs from the current."""
    state.trial = free_row(state.current, state.best)
    x, g, new, d = w[X + state.current], w[G + state.current], w[X + state.trial], w[DIRECTION]
    lower, upper, bounded = w[LOWER], w[UPPER], state.bounded
    alpha = w.dtype.type(state.alpha)
    moved = False
    predicted = 0.0
    for i in range(w.shape[1]):
        z = x[i] + alpha * d[i]
        if bounded:
            z = min(max(z, lower[i]), upper[i])
        new[i] = z
        moved |= z != x[i]
        predicted += g[i] * (z - x[i])
    state.predicted = predicted if bounded else state.alpha * state.slope
    return moved
