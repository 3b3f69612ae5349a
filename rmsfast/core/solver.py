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
With ``lr="auto"`` it is rmsfast.core.auto that goes on from the same rows and record.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from rmsfast.core import status
from rmsfast.core.jit import jit, jit_inline, jit_merged
from rmsfast.core.rule import (
    Hyper,
    descent_gradient,
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
        ("previous", np.int64),
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
        ("common", np.float64),
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


@jit_inline
def clip(x: float, lower: float, upper: float) -> float:
    """Return the point within the bounds that is nearest to `x`."""
    return min(max(x, lower), upper)


@jit_inline
def projected(x: float, g: float, lower: float, upper: float) -> float:
    """Return a component of the projected gradient: what is left of the step ``-g``."""
    return x - clip(x - g, lower, upper)


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
        length, largest = lengths(w, new, source)
        short = is_short(state, length, largest)
    shift = longest = 0.0
    if is_cycle_due(state, state.nit):
        shift, longest = _shift(w, source, new)
    return judge_step(state, f, improved, steep, short, shift, longest, noise(w, f), new)


# The decisions on scalars: a GPU takes them too, in rmsfast.core.cuda.numeric


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
    lowered = state.nit == 0 or state.f_best != state.cycle_f_best
    back = is_cycle(lowered, state.f, state.cycle_f, shift, longest)
    state.cycle_f = state.f
    state.cycle_f_best = state.f_best
    return back


@jit_inline
def is_cycle(lowered: bool, f: float, f_before: float, shift: float, longest: float) -> bool:
    """Whether value and point are back where they were `CYCLE` steps ago, and none was lower.

    Parameters
    ----------
    lowered : bool
        Whether the lowest value is of these steps.
    f, f_before : float
        The value, and that `CYCLE` steps ago.
    shift, longest : float
        As in `judge_step`.
    """
    back = abs(f - f_before) <= CYCLE_CHANGE * abs(f) and shift <= CYCLE_SHIFT * longest
    return back and not lowered


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
            g_i = projected(x_i, g_i, w[LOWER, i], w[UPPER, i])
            z_i = clip(z_i, w[LOWER, i], w[UPPER, i])
        w[z, i] = z_i
        steep |= abs(g_i) > gtol
    return steep, finite


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
def lengths(w: np.ndarray, row: int, previous: int) -> tuple[float, float]:
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
