"""The solver as reverse communication: `advance` never calls an objective.

The caller evaluates the objective at row ``X + state.trial`` of the work array,
writes the gradient into row ``G + state.trial``, and calls `advance` with the
value. `advance` writes the next point to evaluate, or returns why it has
finished. Everything the solver remembers stands in the two arguments: the rows
of the work array `w` and the record `state`. One body serves the compiled
driver, the Python driver, `rmsfast.Solver`, and a checkpoint.

(One two-dimensional array and one record: seven separate arrays cost 85 to 130
ns per call at n = 2, where this costs 21.)

There are three rows of points and three of gradients. The best point stays
where it was evaluated, and so does the current one; `trial` moves to the row
that is neither, so no point is ever copied.

With a numeric learning rate each call is one step of `rmsfast.core.rule.step`.
With ``lr="auto"`` the RMSProp metric ``P = 1 / denominator(s)`` preconditions the
direction:

1. Without corrections (``maxcor=0``) the direction is ``d = -lr * P * g``, where
   `lr` is a Barzilai-Borwein step [1]_ in the metric P.
2. With corrections, limited-memory BFGS [2]_ starts its two-loop recursion
   from ``lr * P``.
3. A trial point is accepted when its value is below the highest of the last
   ten by the Armijo rule [3]_ [4]_; else the step is shortened by quadratic
   interpolation.
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
"""

import math

import numpy as np

from rmsfast.core import status
from rmsfast.core.jit import jit
from rmsfast.core.rule import Hyper, denominator, descent_gradient, mean_square, step
from rmsfast.core.vector import dot

WINDOW = 10  # values the Armijo rule compares with
MAX_MAXCOR = 30  # the longest memory

# Rows of the work array
X, G = 0, 3  # three points, three gradients
LOWER, UPPER = 6, 7
MEAN_SQUARE, MEAN, BUFFER = 8, 9, 10
METRIC, DIRECTION = 9, 10  # lr="auto", which uses neither mean nor momentum
REFERENCE = 11  # numeric lr: where the run was CYCLE steps ago
FREE = 11  # lr="auto" with bounds: 1, or 0 for a coordinate held at its bound
PAIRS = 12  # then maxcor rows of steps, and maxcor of gradient differences

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
        ("auto", np.bool_),
        ("bounded", np.bool_),
        ("bias_correction", np.bool_),
        ("centered", np.bool_),
        ("eps_in_sqrt", np.bool_),
        ("nesterov", np.bool_),
        ("lr_in_momentum", np.bool_),
        ("decoupled", np.bool_),
        ("maximize", np.bool_),
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
        ("g_lowest", np.float64),
        ("pairs", np.int64),
        ("newest", np.int64),
        ("backtracks", np.int64),
        ("restarted", np.bool_),
        ("rises", np.bool_),
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
GROW = 10.0  # of the step length where the curvature is not positive
MAX_BACKTRACKS = 40
VISIBLE = 1e3  # times rounding: a change of f that rounding cannot hide
STALL = 100  # iterations without a lower value or a smaller gradient


def rows(maxcor: int) -> int:
    """Return the number of rows of the work array."""
    return PAIRS + 2 * maxcor


@jit
def advance(w: np.ndarray, state: np.void, f: float) -> int:
    """Take the value at the trial point; write the next one, or say why to stop.

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
    state.status = _spectral(w, state, f) if state.auto else _constant(w, state, f)
    return state.status


@jit
def hyper(w: np.ndarray, state: np.void, gradient_scale: float, correction: float) -> Hyper:
    """Hyperparameters of this step in the dtype of the arrays."""
    T = w.dtype.type
    return Hyper(
        T(state.lr),
        T(state.rho),
        T(state.one_minus_rho),
        T(state.eps),
        T(state.momentum),
        T(state.weight_decay),
        T(state.clip_value),
        T(gradient_scale),
        T(correction),
        state.bias_correction,
        state.centered,
        state.eps_in_sqrt,
        state.nesterov,
        state.lr_in_momentum,
        state.decoupled,
        state.maximize,
    )


@jit
def free_row(a: int, b: int) -> int:
    """Return the one of 0, 1, 2 that is neither `a` nor `b`, or the lowest such."""
    if a != 0 and b != 0:
        return 0
    if a != 1 and b != 1:
        return 1
    return 2


@jit
def largest_projected(w: np.ndarray, state: np.void, row: int) -> float:
    """Largest component of the (projected) gradient; NaN or inf if any component is."""
    x, g = X + row, G + row
    largest = 0.0
    poison = w.dtype.type(0.0)
    for i in range(w.shape[1]):
        c = w[g, i]
        poison += c - c
        if state.bounded:
            c = w[x, i] - min(max(w[x, i] - c, w[LOWER, i]), w[UPPER, i])
        largest = max(largest, abs(c))
    return largest + poison


# Numeric learning rate ---------------------------------------------------------------------------


@jit
def _constant(w: np.ndarray, state: np.void, f: float) -> int:
    """One step of textbook RMSProp."""
    start = state.evaluations == 1
    nonfinite = status.NONFINITE_START if start else status.NONFINITE
    if not start:
        state.nit += 1
    if state.maximize:
        f = -f
    if not math.isfinite(f):
        return nonfinite

    improved = start or f < state.f_best
    source = state.trial
    best = source if improved else state.best
    state.stalled = 0 if improved else state.stalled + 1
    if state.plateau_patience > 0 and state.stalled >= state.plateau_patience:
        state.lr *= state.plateau_factor
        state.stalled = 0
        source = best
        w[BUFFER] = 0.0
    new = free_row(state.trial, best)
    steep, finite = _descend(w, state, source, new)
    if not finite:
        return nonfinite
    change, size = abs(state.f - f), max(abs(state.f), abs(f), 1.0)
    state.f = f
    state.current = state.trial
    if not steep and not improved and f <= state.f_best + rounding(w) * abs(f):
        improved, best = True, state.trial
    if improved:
        state.best = best
        state.f_best = f
        if not steep:
            return status.GTOL
    if state.ftol > 0 and not start and change <= state.ftol * size:
        return status.FTOL
    if state.xtol > 0 and _is_short(w, state.xtol, new, source):
        return status.XTOL
    if state.nit >= state.maxiter:
        return status.MAXITER
    if state.evaluations >= state.max_evaluations:
        return status.MAXFUN
    if state.nit % CYCLE == 0 and _is_cycle(w, state, source, new):
        return status.LIMIT_CYCLE
    state.trial = new
    return status.RUNNING


@jit
def _descend(w: np.ndarray, state: np.void, source: int, new: int) -> tuple[bool, bool]:
    """Write the step from row `source` to row `new`.

    One pass does the step and the checks: is any component of the gradient
    larger than gtol, and are all finite.
    """
    scale = 1.0
    if state.clip_norm < np.inf:
        h = hyper(w, state, 1.0, 1.0)
        square = 0.0
        for i in range(w.shape[1]):
            c = float(descent_gradient(w[X + source, i], w[G + source, i], h))
            square += c * c
        if square > state.clip_norm * state.clip_norm:
            scale = state.clip_norm / math.sqrt(square)
    correction = 1.0 - state.rho ** (state.nit + 1) if state.bias_correction else 1.0
    h = hyper(w, state, scale, correction)

    gtol = w.dtype.type(state.gtol)
    poison = w.dtype.type(0.0)
    steep = False
    for i in range(w.shape[1]):
        x, g = w[X + source, i], w[G + source, i]
        poison += g - g
        x_new, s, m, b = step(x, g, w[MEAN_SQUARE, i], w[MEAN, i], w[BUFFER, i], h)
        w[MEAN_SQUARE, i] = s
        if h.centered:
            w[MEAN, i] = m
        if h.momentum != 0:
            w[BUFFER, i] = b
        if state.bounded:
            if h.maximize:
                g = -g
            g = x - min(max(x - g, w[LOWER, i]), w[UPPER, i])
            x_new = min(max(x_new, w[LOWER, i]), w[UPPER, i])
        w[X + new, i] = x_new
        steep |= not abs(g) <= gtol
    return steep, poison == 0


@jit
def rounding(w: np.ndarray) -> float:
    """Relative change of a value that rounding alone explains."""
    return 10.0 * np.finfo(w.dtype).eps


@jit
def _is_short(w: np.ndarray, xtol: float, row: int, previous: int) -> bool:
    """Whether the step from row `previous` to `row` is short relative to the point."""
    longest = largest = 0.0
    for i in range(w.shape[1]):
        longest = max(longest, abs(w[X + row, i] - w[X + previous, i]))
        largest = max(largest, abs(w[X + row, i]))
    return longest <= xtol * (xtol + largest)


@jit
def _is_cycle(w: np.ndarray, state: np.void, row: int, new: int) -> bool:
    """Whether the run has come back to where it was `CYCLE` steps ago."""
    shift = longest = 0.0
    for i in range(w.shape[1]):
        shift = max(shift, abs(w[X + row, i] - w[REFERENCE, i]))
        longest = max(longest, abs(w[X + new, i] - w[X + row, i]))
        w[REFERENCE, i] = w[X + row, i]
    back = (
        state.nit > 0
        and state.f_best == state.cycle_f_best
        and abs(state.f - state.cycle_f) <= CYCLE_CHANGE * abs(state.f)
        and shift <= CYCLE_SHIFT * longest
    )
    state.cycle_f = state.f
    state.cycle_f_best = state.f_best
    return back


# lr="auto" ---------------------------------------------------------------------------------------


@jit
def _spectral(w: np.ndarray, state: np.void, f: float) -> int:
    """Accept the trial point and go on from it, or step back."""
    largest = largest_projected(w, state, state.trial)
    finite = math.isfinite(f) and math.isfinite(largest)
    if state.evaluations == 1:
        if not finite:
            return status.NONFINITE_START
        state.best = state.current = state.trial
        state.f = state.f_best = f
        state.g_lowest = largest
        _restart(w, state)
    else:
        highest = state.window[0]
        for k in range(1, WINDOW):
            highest = max(highest, state.window[k])
        slack = rounding(w) * abs(highest)
        if not (finite and f <= highest + ARMIJO * state.predicted + slack):
            _step_back(w, state, f, finite)
            return _propose(w, state)

        state.nit += 1
        change, size = abs(state.f - f), max(abs(state.f), abs(f), 1.0)
        previous, state.current = state.current, state.trial
        state.window[state.nit % WINDOW] = f
        state.restarted = False
        state.backtracks = 0
        state.stalled += 1
        if f < state.f_best - rounding(w) * abs(state.f_best) or largest < state.g_lowest:
            state.stalled = 0
        state.g_lowest = min(state.g_lowest, largest)
        _learn(w, state, previous)
        state.f = f
        if f < state.f_best or (largest <= state.gtol and f <= state.f_best + slack):
            state.f_best = f
            state.best = state.current
        if largest > state.gtol:
            if state.ftol > 0 and change <= state.ftol * size:
                return status.FTOL
            if state.xtol > 0 and _is_short(w, state.xtol, state.current, previous):
                return status.XTOL
            if state.stalled >= STALL:
                return status.LINE_SEARCH
    if largest <= state.gtol:
        if state.best == state.current:
            return status.GTOL
        _return_to_best(w, state)  # the non-monotone rule led to a higher stationary point
    if state.nit >= state.maxiter:
        return status.MAXITER
    _direct(w, state)
    return _propose(w, state)


@jit
def _restart(w: np.ndarray, state: np.void) -> None:
    """Forget everything but the current point: its gradient is the mean square."""
    h = hyper(w, state, 1.0, 1.0)
    for i in range(w.shape[1]):
        c = w[G + state.current, i]
        w[MEAN_SQUARE, i] = c * c
        w[METRIC, i] = 1 / denominator(w[MEAN_SQUARE, i], h)
    for k in range(WINDOW):
        state.window[k] = state.f
    state.pairs = 0
    state.lr = FIRST_STEP


@jit
def _return_to_best(w: np.ndarray, state: np.void) -> None:
    """Go on from the best point."""
    state.current = state.best
    state.f = state.f_best
    _restart(w, state)


@jit
def _learn(w: np.ndarray, state: np.void, previous: int) -> None:
    """Update the metric, the step length and the memory from the step just taken."""
    h = hyper(w, state, 1.0, 1.0)
    x, g = X + state.current, G + state.current
    x_old, g_old = X + previous, G + previous
    keep = state.maxcor > 0
    newest = (state.newest + 1) % state.maxcor if keep else 0
    row_s, row_y = PAIRS + newest, PAIRS + state.maxcor + newest
    s_y = s_metric_s = y_metric_y = 0.0
    for i in range(w.shape[1]):
        c = w[g, i]
        w[MEAN_SQUARE, i] = mean_square(w[MEAN_SQUARE, i], c, h)
        p = 1 / denominator(w[MEAN_SQUARE, i], h)
        w[METRIC, i] = p
        s_i = w[x, i] - w[x_old, i]
        y_i = c - w[g_old, i]
        if keep:
            w[row_s, i] = s_i
            w[row_y, i] = y_i
        s_y += s_i * y_i
        s_metric_s += s_i * s_i / p
        y_metric_y += y_i * y_i * p
    if s_y <= np.finfo(w.dtype).eps * y_metric_y * state.lr or not math.isfinite(y_metric_y):
        state.lr *= GROW if state.pairs == 0 else 1.0
        return
    if keep:
        state.lr = s_y / y_metric_y
        state.newest = newest
        state.curvature[newest] = s_y
        state.pairs = min(state.pairs + 1, state.maxcor)
    elif state.nit % 2 == 0:
        state.lr = s_metric_s / s_y
    else:
        state.lr = s_y / y_metric_y


@jit
def _direct(w: np.ndarray, state: np.void) -> None:
    """Write the direction; fall back on the metric alone if it does not descend."""
    _hold(w, state)
    if state.pairs > 0:
        _two_loops(w, state)
        slope = dot(w, DIRECTION, G + state.current)
        if not (slope < 0 and math.isfinite(slope)):
            state.pairs = 0
            _hold(w, state)
    if state.pairs == 0:
        _precondition(w, state)
    state.slope = dot(w, DIRECTION, G + state.current)
    state.alpha = 1.0


@jit
def _hold(w: np.ndarray, state: np.void) -> None:
    """Start the direction with the negative gradient of the coordinates that may move."""
    x, g = X + state.current, G + state.current
    for i in range(w.shape[1]):
        c = w[g, i]
        w[DIRECTION, i] = -c
        if state.bounded:
            outward = (w[x, i] <= w[LOWER, i] and c >= 0) or (w[x, i] >= w[UPPER, i] and c <= 0)
            w[FREE, i] = 0 if outward else 1
            w[DIRECTION, i] *= w[FREE, i]


@jit
def _precondition(w: np.ndarray, state: np.void) -> None:
    """Multiply the direction by the metric and its step length."""
    lr = w.dtype.type(state.lr)
    for i in range(w.shape[1]):
        w[DIRECTION, i] *= lr * w[METRIC, i]


@jit
def _add(w: np.ndarray, state: np.void, factor: float, row: int) -> None:
    """Add a multiple of a row to the coordinates of the direction that may move."""
    a = w.dtype.type(factor)
    for i in range(w.shape[1]):
        w[DIRECTION, i] += a * w[row, i] * w[FREE, i] if state.bounded else a * w[row, i]


@jit
def _curvature(w: np.ndarray, state: np.void, j: int) -> float:
    """Curvature of pair `j` along the coordinates that may move; 0 if it is not positive."""
    if not state.bounded:
        return state.curvature[j]
    s, y = PAIRS + j, PAIRS + state.maxcor + j
    total = 0.0
    for i in range(w.shape[1]):
        total += w[s, i] * w[y, i] * w[FREE, i]
    return total if total > np.finfo(w.dtype).eps * state.curvature[j] else 0.0


@jit
def _two_loops(w: np.ndarray, state: np.void) -> None:
    """Multiply the direction by the limited-memory BFGS matrix (Nocedal 1980)."""
    for k in range(state.pairs):
        j = (state.newest - k) % state.maxcor
        s, y = PAIRS + j, PAIRS + state.maxcor + j
        curvature = _curvature(w, state, j)
        state.inverse[j] = 1.0 / curvature if curvature > 0 else 0.0
        state.weight[j] = dot(w, s, DIRECTION) * state.inverse[j]
        _add(w, state, -state.weight[j], y)
    _precondition(w, state)
    for k in range(state.pairs - 1, -1, -1):
        j = (state.newest - k) % state.maxcor
        s, y = PAIRS + j, PAIRS + state.maxcor + j
        if state.inverse[j] > 0:
            _add(w, state, state.weight[j] - dot(w, y, DIRECTION) * state.inverse[j], s)


@jit
def _step_back(w: np.ndarray, state: np.void, f: float, finite: bool) -> None:
    """Shorten the step by safeguarded quadratic interpolation."""
    shortest, longest = SHORTEN
    factor = shortest
    if finite:
        if -state.predicted > VISIBLE * rounding(w) * max(abs(f), abs(state.f)):
            state.rises = f > state.f
        factor = -0.5 * state.predicted / (f - state.f - state.predicted)
        factor = min(factor, longest) if factor > shortest else shortest
    state.backtracks += 1
    state.alpha *= factor


@jit
def _propose(w: np.ndarray, state: np.void) -> int:
    """Write the next trial point; where no step leads on, start afresh, then stop."""
    if state.evaluations >= state.max_evaluations:
        return status.MAXFUN
    if state.backtracks <= MAX_BACKTRACKS and _move(w, state):
        return status.RUNNING
    if state.restarted:
        return status.INCONSISTENT if state.rises else status.LINE_SEARCH
    _return_to_best(w, state)
    _direct(w, state)
    state.restarted = True
    state.rises = False
    state.backtracks = 0
    return status.RUNNING if _move(w, state) else status.LINE_SEARCH


@jit
def _move(w: np.ndarray, state: np.void) -> bool:
    """Write the point `alpha` along the direction; return whether it differs from the current."""
    state.trial = free_row(state.current, state.best)
    alpha = w.dtype.type(state.alpha)
    x, g, new = X + state.current, G + state.current, X + state.trial
    moved = False
    for i in range(w.shape[1]):
        z = w[x, i] + alpha * w[DIRECTION, i]
        if state.bounded:
            z = min(max(z, w[LOWER, i]), w[UPPER, i])
        w[new, i] = z
        moved |= z != w[x, i]
    state.predicted = state.alpha * state.slope
    if state.bounded:
        state.predicted = 0.0
        for i in range(w.shape[1]):
            state.predicted += w[g, i] * (w[new, i] - w[x, i])
    return moved
