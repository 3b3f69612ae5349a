"""The solver with ``lr="auto"``, for deterministic objectives.

Each coordinate has a scale of its own as in RMSProp. At a minimum the gradient
vanishes and its mean square says nothing; so from the second step on the
averages of RMSProp are taken of the steps and of the changes of the gradient,
and the metric is the ratio of the root mean squares,
``P = rms(x_k - x_{k-1}) / rms(g_k - g_{k-1})``: the form of AdaDelta [7]_ with
the secant pair of a quasi-Newton method. It does not change when a variable is
measured in another unit.

1. Without corrections (``maxcor=0``) the direction is ``d = -lr * P * g``, where
   `lr` is a Barzilai-Borwein step [1]_ in the metric P, two long ones and two
   short ones by turns.
2. With corrections, limited-memory BFGS [2]_ starts its two-loop recursion
   from ``lr * P``, or from the common scale ``s.y / y.y`` of all coordinates
   where that fits the last step s and gradient change y clearly better: where
   the angle between them is smaller without P than in the metric P. (A chain
   of 10,000 coupled variables takes 285 iterations; always from ``lr * P`` it
   took 1243. Without a preference for P one of the classical problems, chebyquad
   of 100 variables, takes more than 3000 evaluations, and 670 with it.)
3. A trial point is accepted when its value is below the highest of the last
   ten by the Armijo rule [3]_ [4]_; else the step is shortened by quadratic
   interpolation. Where rounding hides the change of the value, the slope
   decides [8]_.
4. Bounds are kept by projection [5]_; coordinates at a bound that the gradient
   pushes outwards are held [6]_.

Decisions are functions of scalars and of the record, apart from the loops over
the vectors: a GPU takes the same ones, in rmsfast.core.cuda.auto.

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

import numpy as np

from rmsfast.core import status
from rmsfast.core.jit import jit_inline, jit_sum
from rmsfast.core.rule import Hyper, denominator, mean_square
from rmsfast.core.solver import (
    CHANGES,
    DIRECTION,
    FREE,
    LOWER,
    METRIC,
    PAIRS,
    STEPS,
    UPPER,
    WINDOW,
    G,
    State,
    X,
    clip,
    free_row,
    hyper,
    is_short,
    lengths,
    noise_of,
    projected,
)

ARMIJO = 1e-4
FIRST_STEP = 0.1  # length of the first step in each coordinate
SHORTEN = 0.1, 0.5  # the factor of one backtracking step lies between these
GROW = 2.0  # of the step length where the curvature is not positive
BLOCK = 2  # as many long Barzilai-Borwein steps, then as many short ones
CURVATURE = 1e-12  # cosine between step and gradient change that counts as positive
PREFERENCE = 2.0  # for the metric: by so much the identity's squared cosine must be larger
SPREAD = 1e6  # a coordinate's metric may differ by this factor from that of all
MAX_BACKTRACKS = 40
LINEAR = 0.75  # a rise that shrinks less than its step, by half or more, is not curvature
STALL = 100  # iterations without a lower value or a smaller gradient

# What is to be done with the vectors: wait for the value at the trial point, or none as the run
# has ended; forget all but the current point, or learn from the step to it, and in both cases
# take a new direction; move along the direction.
WAIT, FORGET, LEARN, MOVE = range(4)


@jit_sum
def advance_auto(w: np.ndarray, state: State, f: float) -> int:
    """Take the value at the trial point of a run with ``lr="auto"``.

    Parameters and result are those of `rmsfast.core.solver.advance_numeric`.
    """
    task = _look(w, state, f)
    while task != WAIT:
        if task == FORGET:
            _forget(w, state)
        if task == LEARN:
            _learn(w, state)
        if task != MOVE:
            _direct(w, state)
        moved, predicted = _move(w, state)
        task = judge_move(state, moved, predicted)
    return state.status


@jit_inline
def _look(w: np.ndarray, state: State, f: float) -> int:
    """Judge the trial point by its value `f`."""
    eps = np.finfo(w.dtype).eps
    steep, square, finite = _measure(w, state)
    finite &= math.isfinite(f)
    level = short = False
    if state.evaluations > 0:
        if finite and is_hidden(state, f, eps):
            level = is_descent(state, _slope_of_step(w, state))
        if steep and state.xtol > 0:
            longest, largest = lengths(w, state.trial, state.current)
            short = is_short(state, longest, largest)
    return judge_point(state, f, steep, square, finite, level, short, eps)


# The decisions on scalars ------------------------------------------------------------------------


@jit_inline
def judge_point(
    state: State,
    f: float,
    steep: bool,
    square: float,
    finite: bool,
    level: bool,
    short: bool,
    eps: float,
) -> int:
    """Accept the trial point, or step back.

    Parameters
    ----------
    state : record of dtype STATE
        The scalars of the run.
    f : float
        The value at the trial point.
    steep : bool
        Whether a component of the projected gradient exceeds gtol.
    square : float
        Squared length of the projected gradient.
    finite : bool
        Whether the value and all components of the gradient are.
    level : bool
        Whether rounding hides the change of the value, and the slope says that the
        step was good: the approximate Wolfe condition [8]_. For a quadratic it is the
        Armijo rule, and slopes keep their digits where values have lost them.
    short : bool
        Whether the step is within xtol; read if `steep`.
    eps : float
        The spacing at 1 of the numbers of the work array.

    Returns
    -------
    int
        What to do; if that is `WAIT`, ``state.status`` says for what.
    """
    state.evaluations += 1
    hidden = noise_of(eps, f)
    if state.evaluations == 1:
        state.best = state.current = state.trial
        state.f = state.f_best = f
        state.f_returned = np.inf
        if not finite:
            return _end(state, status.NONFINITE_START)
        state.square_lowest = square
        _start_anew(state)
        task = FORGET
    else:
        if not (finite and (level or is_lower(state, f, eps))):
            return _shorten(state, f, finite, eps)
        change, size = abs(state.f - f), max(abs(state.f), abs(f), 1.0)
        _accept(state, f, square, eps)
        if f < state.f_best or (not steep and f <= state.f_best + hidden):
            state.f_best = f
            state.best = state.current
        if steep and state.ftol > 0 and change <= state.ftol * size:
            return _end(state, status.FTOL)
        if steep and short:
            return _end(state, status.XTOL)
        task = LEARN
    if state.stalled >= STALL or not steep:
        level = f <= state.f_best + hidden
        if level and not steep:
            return _end(state, status.GTOL)
        if level or not state.f_best < state.f_returned:
            return _end(state, _obstacle(state))
        # the non-monotone rule led away from the best point: lower values alone from there
        _return_to_best(state)
        state.f_returned = state.f_best
        state.stalled = 0
        task = FORGET
    if state.nit >= state.maxiter:
        return _end(state, status.MAXITER)
    if state.evaluations >= state.max_evaluations:
        return _end(state, status.MAXFUN)
    return task


@jit_inline
def _end(state: State, code: int) -> int:
    state.status = code
    return WAIT


@jit_inline
def _start_anew(state: State) -> None:
    """Forget the scalars of all steps: the first step is RMSProp's."""
    state.window[:] = state.f
    state.pairs = 0
    state.lr = FIRST_STEP
    state.rise = np.inf


@jit_inline
def _return_to_best(state: State) -> None:
    """Go on from the best point."""
    state.current = state.best
    state.f = state.f_best
    _start_anew(state)


@jit_inline
def is_lower(state: State, f: float, eps: float) -> bool:
    """Whether the Armijo rule accepts the value `f`."""
    highest = state.window[0]
    for k in range(1, WINDOW):
        highest = max(highest, state.window[k])
    return f <= highest + ARMIJO * state.predicted + _rounding(highest, eps)


@jit_inline
def _rounding(f: float, eps: float) -> float:
    """Change of the value `f` that its own rounding explains."""
    return 10.0 * eps * abs(f)


@jit_inline
def is_hidden(state: State, f: float, eps: float) -> bool:
    """Whether rounding may hide the change of the value, which is `f` at the trial point."""
    hidden = noise_of(eps, state.f)
    return -state.predicted <= hidden and f <= state.f + hidden


@jit_inline
def is_descent(state: State, slope: float) -> bool:
    """Whether the `slope` at the trial point, along the step to it, says that it was good."""
    return slope <= (2.0 * ARMIJO - 1.0) * state.predicted


@jit_inline
def _accept(state: State, f: float, square: float, eps: float) -> None:
    """Make the trial point the current one."""
    state.nit += 1
    state.previous, state.current = state.current, state.trial
    state.window[state.nit % WINDOW] = f
    state.restarted = False
    if state.backtracks == 0:
        state.walled = False
    state.backtracks = 0
    state.rise = np.inf
    state.stalled += 1
    if f < state.f_best - _rounding(state.f_best, eps) or square < state.square_lowest:
        state.stalled = 0
    state.square_lowest = min(state.square_lowest, square)
    if f < state.f:
        state.rises = False
    state.f = f


@jit_inline
def _shorten(state: State, f: float, finite: bool, eps: float) -> int:
    """Shorten the step by safeguarded quadratic interpolation."""
    shortest, longest = SHORTEN
    factor = shortest
    state.walled = not finite
    if finite:
        if _is_visible(state, f, eps):
            rise = (state.f - f) / state.predicted
            state.rises = rise > LINEAR * state.rise
            state.rise = max(rise, 0.0)
        factor = -0.5 * state.predicted / (f - state.f - state.predicted)
        factor = min(factor, longest) if factor > shortest else shortest
    state.backtracks += 1
    state.alpha *= factor
    if state.evaluations >= state.max_evaluations:
        return _end(state, status.MAXFUN)
    return MOVE if state.backtracks <= MAX_BACKTRACKS else _give_up(state)


@jit_inline
def _is_visible(state: State, f: float, eps: float) -> bool:
    """Whether the change predicted for this step is far above rounding."""
    return -state.predicted > math.sqrt(eps) * max(abs(f), abs(state.f))


@jit_inline
def judge_move(state: State, moved: bool, predicted: float) -> int:
    """Go to the point that was written, if it is another one.

    Parameters
    ----------
    state : record of dtype STATE
        The scalars of the run.
    moved : bool
        Whether the point at ``alpha`` along the direction differs from the current.
    predicted : float
        The change of the value that the gradient predicts.

    Returns
    -------
    int
        As that of `judge_point`.
    """
    state.predicted = predicted if state.bounded else state.alpha * state.slope
    return WAIT if moved else _give_up(state)


@jit_inline
def _give_up(state: State) -> int:
    """Start afresh where no step leads on; the second time, stop."""
    if state.restarted:
        return _end(state, _obstacle(state))
    _return_to_best(state)
    state.restarted = True
    state.walled = state.rises = False
    state.backtracks = 0
    return FORGET


@jit_inline
def _obstacle(state: State) -> int:
    """Return why no step leads on."""
    if state.walled:
        return status.NONFINITE
    return status.INCONSISTENT if state.rises else status.LINE_SEARCH


@jit_inline
def slot_of_pair(state: State) -> int:
    """Return where the next step and gradient change are remembered."""
    return (state.newest + 1) % max(state.maxcor, 1)


@jit_inline
def are_known(steps: float, changes: float) -> bool:
    """Whether sums of averages give a metric."""
    return steps > 0 and changes > 0 and math.isfinite(changes)


@jit_inline
def judge_pair(
    state: State, s_y: float, s_metric_s: float, y_metric_y: float, s_s: float, y_y: float
) -> None:
    """Take the step length from the last step and gradient change, and remember both.

    Parameters
    ----------
    state : record of dtype STATE
        The scalars of the run.
    s_y, s_metric_s, y_metric_y, s_s, y_y : float
        The products ``s.y``, ``s.s / P``, ``y.y * P``, ``s.s`` and ``y.y``; zero if there is no
        metric.
    """
    if s_y <= CURVATURE * math.sqrt(s_metric_s * y_metric_y):
        if state.pairs == 0:
            state.lr *= GROW * state.alpha
    elif state.maxcor > 0:
        state.lr = s_y / y_metric_y
        is_common = PREFERENCE * s_s * y_y < s_metric_s * y_metric_y
        state.common = s_y / y_y if is_common else 0.0
        state.newest = slot_of_pair(state)
        state.curvature[state.newest] = s_y
        state.pairs = min(state.pairs + 1, state.maxcor)
    else:
        long = state.nit // BLOCK % 2 == 0
        state.lr = s_metric_s / s_y if long else s_y / y_metric_y


@jit_inline
def judge_direction(state: State, slope: float) -> None:
    """Forget the pairs if the direction that they give, of this `slope`, does not descend."""
    if not (slope < 0 and math.isfinite(slope)):
        state.pairs = 0


@jit_inline
def judge_curvature(state: State, j: int, curvature: float, eps: float) -> None:
    """Leave pair `j` out where its `curvature`, of the coordinates that may move, is none."""
    positive = curvature > eps * state.curvature[j]
    state.inverse[j] = 1.0 / curvature if positive else 0.0


# Formulas of one coordinate ----------------------------------------------------------------------


@jit_inline
def renewed(average: float, change: float, s: float, h: Hyper) -> float:
    """Return the average of squares with a `change`, as it was where the step `s` is zero."""
    new = mean_square(average, change, h)  # a branch around it would keep LLVM from vectors
    return new if s != 0 else average


@jit_inline
def metric_of(u: float, v: float, overall: float, lowest: float, highest: float) -> float:
    """Return the metric, from the averages `u` of squared steps and `v` of gradient changes."""
    p = math.sqrt(u / v)
    p = p if u > 0 and v > 0 else overall
    return min(max(p, lowest), highest)


@jit_inline
def is_held(x: float, g: float, lower: float, upper: float) -> bool:
    """Whether the gradient pushes a coordinate out over the bound at which it is."""
    return (x <= lower and g >= 0) or (x >= upper and g <= 0)


# The loops over the vectors ----------------------------------------------------------------------


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
            c = projected(x[i], c, lower[i], upper[i])
        steep |= abs(c) > gtol
        square += float(c) * float(c)
    return steep, square, finite


@jit_inline
def _slope_of_step(w: np.ndarray, state: State) -> float:
    """Slope at the trial point along the step to it."""
    x, x_old, g = w[X + state.trial], w[X + state.current], w[G + state.trial]
    slope = 0.0
    for i in range(w.shape[1]):
        slope += g[i] * (x[i] - x_old[i])
    return slope


@jit_sum
def _forget(w: np.ndarray, state: State) -> None:
    """Make the metric that of RMSProp's first step."""
    h = hyper(state, w.dtype.type)
    g, metric = w[G + state.current], w[METRIC]
    for i in range(w.shape[1]):
        metric[i] = 1 / denominator(g[i] * g[i], h)
    w[STEPS : CHANGES + 1] = 0


@jit_sum
def _learn(w: np.ndarray, state: State) -> None:
    """Update the metric, the step length and the memory from the step just taken."""
    T = w.dtype.type
    n = w.shape[1]
    h = hyper(state, T)
    slot = slot_of_pair(state)
    x, x_old, s = w[X + state.current], w[X + state.previous], w[PAIRS + slot]
    g, g_old = w[G + state.current], w[G + state.previous]
    y = w[PAIRS + max(state.maxcor, 1) + slot]
    u, v, metric = w[STEPS], w[CHANGES], w[METRIC]
    steps = changes = 0.0
    for i in range(n):
        s_i, y_i = x[i] - x_old[i], g[i] - g_old[i]
        s[i] = s_i
        y[i] = y_i
        u[i] = renewed(u[i], s_i, s_i, h)
        v[i] = renewed(v[i], y_i, s_i, h)
        steps += u[i]
        changes += v[i]
    s_y = s_metric_s = y_metric_y = s_s = y_y = 0.0
    if are_known(steps, changes):
        overall = math.sqrt(steps / changes)
        middle, lowest, highest = T(overall), T(overall / SPREAD), T(overall * SPREAD)
        for i in range(n):
            p = metric_of(u[i], v[i], middle, lowest, highest)
            metric[i] = p
            s_y += s[i] * y[i]
            s_metric_s += s[i] * s[i] / p
            y_metric_y += y[i] * y[i] * p
            s_s += s[i] * s[i]
            y_y += y[i] * y[i]
    judge_pair(state, s_y, s_metric_s, y_metric_y, s_s, y_y)


@jit_sum
def _direct(w: np.ndarray, state: State) -> None:
    """Write the direction; fall back on the metric alone if it does not descend."""
    _hold(w, state)
    if state.pairs > 0:
        _two_loops(w, state)
        judge_direction(state, _dot(w[DIRECTION], w[G + state.current]))
        if state.pairs == 0:
            _hold(w, state)
    if state.pairs == 0:
        _precondition(w, state, 0.0)
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
            held = is_held(x[i], g[i], lower[i], upper[i])
            free[i] = 0 if held else 1
            d[i] = 0 if held else -g[i]


@jit_inline
def _precondition(w: np.ndarray, state: State, common: float) -> None:
    """Multiply the direction by the `common` scale, or if that is 0 by the metric and lr."""
    T = w.dtype.type
    d, metric, lr, scale = w[DIRECTION], w[METRIC], T(state.lr), T(common)
    if common > 0:
        for i in range(w.shape[1]):
            d[i] *= scale
    else:
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
        judge_curvature(state, j, curvature, np.finfo(w.dtype).eps)
        state.weight[j] = _dot(s, d) * state.inverse[j]
        _add(d, T(-state.weight[j]), y, free, bounded)
    _precondition(w, state, state.common)
    for k in range(state.pairs - 1, -1, -1):
        j = (state.newest - k) % state.maxcor
        if state.inverse[j] > 0:
            s, y = w[PAIRS + j], w[PAIRS + state.maxcor + j]
            weight = state.weight[j] - _dot(y, d) * state.inverse[j]
            _add(d, T(weight), s, free, bounded)


@jit_inline
def _move(w: np.ndarray, state: State) -> tuple[bool, float]:
    """Write the point `alpha` along the direction: does it differ, what does the slope predict."""
    state.trial = free_row(state.current, state.best)
    x, g, new, d = w[X + state.current], w[G + state.current], w[X + state.trial], w[DIRECTION]
    lower, upper, bounded = w[LOWER], w[UPPER], state.bounded
    alpha = w.dtype.type(state.alpha)
    moved = False
    predicted = 0.0
    for i in range(w.shape[1]):
        z = x[i] + alpha * d[i]
        if bounded:
            z = clip(z, lower[i], upper[i])
        new[i] = z
        moved |= z != x[i]
        predicted += g[i] * (z - x[i])
    return moved, predicted
