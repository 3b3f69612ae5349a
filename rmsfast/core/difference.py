"""Gradients by finite differences and by complex steps, within bounds.

The three gradients are plain functions. Compiled with
`rmsfast.core.jit.specialise` they serve compiled objectives, serially or in
parallel (each coordinate is independent, so the bits are the same); called as
they are they serve Python objectives.

Steps follow [1]_, section 8.1: a relative step of ``eps**(1/2)`` balances
truncation against rounding for one-sided differences, ``eps**(1/3)`` for
central ones. A coordinate whose bounds coincide has a zero derivative.

References
----------
.. [1] J. Nocedal and S. J. Wright, "Numerical Optimization", 2nd ed., 2006.
.. [2] W. Squire and G. Trapp, "Using complex variables to estimate derivatives
   of real functions", SIAM Review 40 (1998), 110-112.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import prange

from rmsfast.core.jit import jit

BLOCKS = 64  # blocks of coordinates; each has a point of its own to move


@jit
def forward_step(x: float, lower: float, upper: float, relative: float) -> float:
    """Return the step of a one-sided difference: away from zero, turned round at a bound."""
    h = relative * max(1.0, abs(x))
    if x < 0.0:
        h = -h
    if lower <= x + h <= upper:
        return h
    if lower <= x - h <= upper:
        return -h
    return upper - x if upper - x >= x - lower else lower - x


@jit
def central_steps(x: float, lower: float, upper: float, relative: float) -> tuple[float, float]:
    """Return the two steps of a three-point difference, on both sides if there is room."""
    h = relative * max(1.0, abs(x))
    above, below = upper - x, x - lower
    if h <= above and h <= below:
        return h, -h
    if above >= below:
        h = min(h, 0.5 * above)
    else:
        h = -min(h, 0.5 * below)
    return h, 2.0 * h


@jit
def slope(h1: float, f1: float, h2: float, f2: float) -> float:
    """Return the slope at 0 of the parabola through (0, 0), (h1, f1) and (h2, f2).

    In a box of a few numbers a step may round to nothing, or both to the same.
    """
    if h1 == 0.0 and h2 == 0.0:
        return 0.0
    if h1 == 0.0 or h1 == h2:
        return f2 / h2
    if h2 == 0.0:
        return f1 / h1
    return (f1 * (h2 / h1) - f2 * (h1 / h2)) / (h2 - h1)


@jit
def move(z: np.ndarray, i: int, h: float, lower: np.ndarray, upper: np.ndarray) -> float:
    """Move coordinate `i` by `h` within its bounds; return the step after rounding."""
    x = z[i]
    z[i] = x + h
    z[i] = min(max(z[i], lower[i]), upper[i])
    return z[i] - x


def forward(
    x: np.ndarray,
    g: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    fun: Callable[..., Any],
    args: tuple[Any, ...],
) -> Any:
    """Two-point gradient of `fun` at `x` into `g`; return ``fun(x)``."""
    n = x.size
    blocks = min(n, BLOCKS)
    relative = np.sqrt(np.finfo(x.dtype).eps)
    f = fun(x, *args)
    for block in prange(blocks):
        z = x.copy()
        for i in range(block * n // blocks, (block + 1) * n // blocks):
            g[i] = 0.0
            if lower[i] < upper[i]:
                h = move(z, i, forward_step(x[i], lower[i], upper[i], relative), lower, upper)
                g[i] = slope(h, fun(z, *args) - f, 0.0, 0.0)
                z[i] = x[i]
    return f


def central(
    x: np.ndarray,
    g: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    fun: Callable[..., Any],
    args: tuple[Any, ...],
) -> Any:
    """Three-point gradient of `fun` at `x` into `g`; return ``fun(x)``."""
    n = x.size
    blocks = min(n, BLOCKS)
    relative = np.finfo(x.dtype).eps ** (1.0 / 3.0)
    f = fun(x, *args)
    for block in prange(blocks):
        z = x.copy()
        for i in range(block * n // blocks, (block + 1) * n // blocks):
            g[i] = 0.0
            if lower[i] < upper[i]:
                first, second = central_steps(x[i], lower[i], upper[i], relative)
                h1 = move(z, i, first, lower, upper)
                f1 = fun(z, *args) - f
                z[i] = x[i]
                h2 = move(z, i, second, lower, upper)
                f2 = fun(z, *args) - f
                g[i] = slope(h1, f1, h2, f2)
                z[i] = x[i]
    return f


def complex_step(
    x: np.ndarray,
    g: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    fun: Callable[..., Any],
    args: tuple[Any, ...],
) -> Any:
    """Complex-step gradient [2]_ of `fun` at `x` into `g`; return ``fun(x).real``."""
    n = x.size
    blocks = min(n, BLOCKS)
    h = 1e-20  # nothing is subtracted, so the step cannot be too small
    f = fun(x.astype(np.complex128), *args).real
    for block in prange(blocks):
        z = x.astype(np.complex128)
        for i in range(block * n // blocks, (block + 1) * n // blocks):
            g[i] = 0.0
            if lower[i] < upper[i]:
                z[i] = x[i] + 1j * h
                g[i] = fun(z, *args).imag / h
                z[i] = x[i]
    return f


# the option finite_diff -> the gradient, and how often it calls the objective per coordinate
GRADIENTS = {"2-point": (forward, 1), "3-point": (central, 2), "cs": (complex_step, 1)}
