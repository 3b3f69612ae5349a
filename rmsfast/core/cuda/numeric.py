"""One problem on a GPU, with a numeric learning rate: a few kernels per step.

The decisions are those of `rmsfast.core.solver`, taken by one thread on the
record of the run, which stays on the GPU: the host launches steps ahead and
looks at the record now and then. After the last step of a run launches do
nothing.

Where value and gradient are sums of terms, one kernel does the terms, the
gradient, the update and all reductions in one pass, and no gradient is stored:
four words of memory per variable and step. With a plateau or the clipping of a
norm a step needs the value, or the norm, before the update; then the kernels
follow one another, and evaluate the gradient again.

Without a CUDA package this module can be imported; its kernels can be made only with one.
"""

import functools
import math
from typing import Any, NamedTuple

import numpy as np
from numba import types

from rmsfast.core import rule, solver, status
from rmsfast.core.cuda.reduction import MEASURES, SHAPE, SUMS, gather, publish
from rmsfast.core.cuda.target import device_function, target
from rmsfast.core.cuda.terms import gradient_of, value_of
from rmsfast.core.rule import Hyper
from rmsfast.core.solver import CYCLE

cuda: Any = target()  # the simulator looks for it among the names of this module

# What a pass measures: a sum, and maxima, of which two are 0 or 1
VALUE = 0
UNFINITE, STEEP, LENGTH, SIZE, SHIFT = range(SUMS, MEASURES)


class Kind(NamedTuple):
    """What a run computes. Each is compiled by itself, what is off left out of the loop.

    Attributes
    ----------
    T : type
        `numpy.float64` or `numpy.float32`: of points and accumulators.
    flags : tuple of bool
        Those of `Hyper`, in its order.
    momentum, weight_decay, clip_norm, plateau : bool
        Whether they are switched on.
    bounded : bool
        Whether there are bounds.
    short : bool
        Whether the run may stop at a short step.
    constant : bool
        Whether the learning rate is, so that limit cycles are looked for.
    stored : bool
        Whether value and gradient come from arrays, not from terms.
    """

    T: Any
    flags: tuple[bool, ...]
    momentum: bool
    weight_decay: bool
    clip_norm: bool
    plateau: bool
    bounded: bool
    short: bool
    constant: bool
    stored: bool

    @property
    def fused(self) -> bool:
        """Whether a step is one pass."""
        return not (self.clip_norm or self.plateau or self.stored)

    @property
    def centered(self) -> bool:
        """Whether the mean of the gradient is kept."""
        return self.flags[Hyper._fields.index("centered") - NUMBERS]


NUMBERS = Hyper._fields.index("bias_correction")  # the fields before are numbers


class Run(NamedTuple):
    """The vectors of a run, on the device. What is not used has one element.

    Attributes
    ----------
    points, gradients : ndarray, shape (3, n)
        As the rows X and G of the work array; gradients are stored only if `Kind.stored`.
    s, m, b : ndarray, shape (n,)
        Mean square, mean, momentum buffer.
    lower, upper : ndarray, shape (n,)
        Bounds.
    reference : ndarray, shape (n,)
        Where the run was `CYCLE` steps ago.
    shown : ndarray, shape (n,)
        The point to evaluate, if `Kind.stored`.
    """

    points: Any
    gradients: Any
    s: Any
    m: Any
    b: Any
    lower: Any
    upper: Any
    reference: Any
    shown: Any


_step, _descent_gradient, _free_row, _noise, _clip_factor, _clip, _projected = map(
    device_function,
    (
        rule.step,
        rule.descent_gradient,
        solver.free_row,
        solver.noise_of,
        solver.clip_factor,
        solver.clip,
        solver.projected,
    ),
)
_take_value, _choose_source, _judge_step, _stop_nonfinite, _is_short = map(
    device_function,
    (
        solver.take_value,
        solver.choose_source,
        solver.judge_step,
        solver.stop_nonfinite,
        solver.is_short,
    ),
)


def _hyper_of(kind: Kind) -> Any:
    """Return the device function ``hyper(state, scale, count)`` of update number `count`."""
    T, flags, momentum, weight_decay = kind[:4]
    corrected = flags[0]
    zero, one = T(0), T(1)

    @cuda.jit(device=True)
    def hyper(state: Any, scale: float, count: int) -> Any:
        return Hyper(
            T(state.lr),
            T(state.rho),
            T(state.one_minus_rho),
            T(state.eps),
            T(state.momentum) if momentum else zero,
            T(state.weight_decay) if weight_decay else zero,
            T(state.clip_value),
            T(scale),
            T(1.0 - state.rho**count) if corrected else one,
            *flags,
        )

    return hyper


def _slope_of(grad: Any, T: Any) -> Any:
    """Return the device function ``slope(i, run, row, args)``: component `i` of a gradient."""
    if grad is None:

        @cuda.jit(device=True)
        def stored(i: int, run: Run, row: int, args: Any) -> float:
            return run.gradients[row, i]

        return stored

    derivative = gradient_of(grad, T)

    @cuda.jit(device=True)
    def evaluated(i: int, run: Run, row: int, args: Any) -> float:
        return derivative(i, run.points[row], args)

    return evaluated


@functools.lru_cache(maxsize=64)
def sweep_kernel(term: Any, grad: Any, kind: Kind) -> Any:
    """Make the kernel of one pass: the update, and what it measures.

    Parameters
    ----------
    term, grad : Dispatcher or None
        Of an objective that is a sum of terms; None if ``kind.stored``.
    kind : Kind
        What is computed. If it is fused, the terms are too.

    Returns
    -------
    Dispatcher
        Of a kernel ``(run, notes, args)``. Unless it is fused it steps from the row
        ``notes.source`` with the gradient multiplied by ``notes.scale``.
    """
    T, flags, momentum, _, _, _, bounded, short, constant, stored = kind
    fused, centered, maximize = kind.fused, kind.centered, flags[-1]
    hyper, slope = _hyper_of(kind), _slope_of(grad, T)
    value = value_of(term if fused else None)
    zero = T(0)

    def sweep(run: Run, notes: np.ndarray, args: Any) -> None:
        state = notes[0]
        if state.status != status.RUNNING:
            return
        lanes = cuda.shared.array(SHAPE, types.float64)
        source = state.trial if fused else state.source
        count = state.evaluations + 1 if fused else state.evaluations
        new = _free_row(state.trial, state.best)
        fresh = source != state.trial  # after a plateau the momentum starts from zero
        due = constant and (count - 1) % CYCLE == 0
        h = hyper(state, 1.0 if fused else state.scale, count)
        gtol = T(state.gtol)
        f = unfinite = steep = length = size = shift = 0.0
        x, z = run.points[source], run.points[new]
        i = cuda.grid(1)
        while i < x.size:
            f += value(i, x, args)
            x_i, g_i = x[i], slope(i, run, source, args)
            m_i = run.m[i] if centered else zero
            b_i = run.b[i] if momentum and not fresh else zero
            z_i, s_i, m_i, b_i = _step(x_i, g_i, run.s[i], m_i, b_i, h)
            run.s[i] = s_i
            if centered:
                run.m[i] = m_i
            if momentum:
                run.b[i] = b_i
            if not abs(g_i) < math.inf:
                unfinite = 1.0
            if bounded:
                if maximize:
                    g_i = -g_i
                g_i = _projected(x_i, g_i, run.lower[i], run.upper[i])
                z_i = _clip(z_i, run.lower[i], run.upper[i])
            z[i] = z_i
            if stored:
                run.shown[i] = z_i
            if abs(g_i) > gtol:
                steep = 1.0
            if short or due:
                length = max(length, np.float64(abs(z_i - x_i)))
            if short:
                size = max(size, np.float64(abs(z_i)))
            if due:
                shift = max(shift, np.float64(abs(x_i - run.reference[i])))
                run.reference[i] = x_i
            i += cuda.gridsize(1)
        publish(state.parts, lanes, (f,), (unfinite, steep, length, size, shift))

    return cuda.jit(sweep)


@functools.lru_cache(maxsize=64)
def value_kernel(term: Any) -> Any:
    """Make the kernel ``(run, notes, args)`` that sums the terms at the trial point."""
    value = value_of(term)

    def values(run: Run, notes: np.ndarray, args: Any) -> None:
        state = notes[0]
        if state.status != status.RUNNING:
            return
        lanes = cuda.shared.array(SHAPE, types.float64)
        x = run.points[state.trial]
        f = 0.0
        i = cuda.grid(1)
        while i < x.size:
            f += value(i, x, args)
            i += cuda.gridsize(1)
        publish(state.parts, lanes, (f,), (0.0,))

    return cuda.jit(values)


@functools.lru_cache(maxsize=64)
def norm_kernel(grad: Any, kind: Kind, squares: bool) -> Any:
    """Make the kernel ``(run, notes, args)`` that measures the gradient at ``notes.source``.

    Parameters
    ----------
    grad : Dispatcher or None
        As in `sweep_kernel`.
    kind : Kind
        What is computed.
    squares : bool
        Whether the squares of ``g / notes.top`` are summed, or the largest magnitude is found.
    """
    hyper, slope, T = _hyper_of(kind), _slope_of(grad, kind.T), kind.T

    def norm(run: Run, notes: np.ndarray, args: Any) -> None:
        state = notes[0]
        if state.status != status.RUNNING:
            return
        lanes = cuda.shared.array(SHAPE, types.float64)
        h = hyper(state, 1.0, 1)
        source, top = state.source, state.top
        total = largest = 0.0
        i = cuda.grid(1)
        while i < run.points.shape[1]:
            g = slope(i, run, source, args)
            c = np.float64(abs(_descent_gradient(run.points[source, i], T(g), h)))
            if squares and 0.0 < top < math.inf:
                total += (c / top) * (c / top)
            elif not squares:
                largest = max(largest, c) if c < math.inf else math.inf
            i += cuda.gridsize(1)
        publish(state.parts, lanes, (total,), (largest,))

    return cuda.jit(norm)


@functools.lru_cache(maxsize=64)
def settle_kernel(kind: Kind, first: bool, last: bool) -> Any:
    """Make the kernel, of one block, that takes the decisions.

    Parameters
    ----------
    kind : Kind
        What is computed.
    first : bool
        Whether it takes in the value, and chooses where to step from.
    last : bool
        Whether it ends the step. A step that is fused is settled at once.

    Returns
    -------
    Dispatcher
        Of a kernel ``(notes, rates, begun)``, where ``rates[k]`` is the learning rate at evaluation
        number ``begun + k``, counted from zero; past the end of `rates` it stays as it is.
    """
    stored, short, eps = kind.stored, kind.short, np.finfo(kind.T).eps

    def settle(notes: np.ndarray, rates: np.ndarray, begun: int) -> None:
        state = notes[0]
        if state.status != status.RUNNING:
            return
        lanes = cuda.shared.array(SHAPE, types.float64)
        gather(state.parts, state.blocks, lanes)
        if cuda.threadIdx.x > 0:
            return
        if first:
            state.evaluations += 1
            f = _take_value(state, state.value if stored else lanes[VALUE, 0])
            if not math.isfinite(f):
                state.status = _stop_nonfinite(state)
                return
            improved, source = _choose_source(state, f)
            state.improved, state.source, state.value, state.scale = improved, source, f, 1.0
        if last:
            code = status.RUNNING
            if lanes[UNFINITE, 0] > 0:
                code = _stop_nonfinite(state)
            else:
                f, length = state.value, lanes[LENGTH, 0]
                code = _judge_step(
                    state,
                    f,
                    state.improved,
                    lanes[STEEP, 0] > 0,
                    short and _is_short(state, length, lanes[SIZE, 0]),
                    lanes[SHIFT, 0],
                    length,
                    _noise(eps, f),
                    _free_row(state.trial, state.best),
                )
            state.status = code
            k = state.evaluations - begun
            if code == status.RUNNING and k < rates.size:
                state.lr = rates[k]

    return cuda.jit(settle)


@functools.lru_cache(maxsize=2)
def scale_kernel(squares: bool) -> Any:
    """Make the kernel ``(notes)``, of one block, that folds what `norm_kernel` measured."""

    def scale(notes: np.ndarray) -> None:
        state = notes[0]
        if state.status != status.RUNNING:
            return
        lanes = cuda.shared.array(SHAPE, types.float64)
        gather(state.parts, state.blocks, lanes)
        if cuda.threadIdx.x > 0:
            return
        if not squares:
            state.top = lanes[UNFINITE, 0]
        elif 0 < state.top < math.inf:
            state.scale = _clip_factor(state.clip_norm, state.top, lanes[VALUE, 0])

    return cuda.jit(scale)
