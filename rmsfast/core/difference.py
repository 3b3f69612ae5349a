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
    """Step of a one-sided difference: away from zero, turned round at a bound."""
    h = relative * max(1.0, abs(x))
    if x < 0.0:
        h = -h
    if lower <= x + h <= upper:
        return h
    if lower <= x - h <= upper:
        return -h
    return upper - x if upper - x >= x - lower else lower - x


@jit
def central_step(x: float, lower: float, upper: float, relative: float) -> tuple[float, bool]:
    """Step of a three-point difference, and whether it has to be one-sided."""
    h = relative * max(1.0, abs(x))
    above, below = upper - x, x - lower
    if h <= above and h <= below:
        return h, False
    if above >= below:
        return min(h, 0.5 * above), True
    return -min(h, 0.5 * below), True


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
            z[i] = x[i] + forward_step(x[i], lower[i], upper[i], relative)
            h = z[i] - x[i]
            g[i] = (fun(z, *args) - f) / h if h != 0.0 else 0.0
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
            h, one_sided = central_step(x[i], lower[i], upper[i], relative)
            if h == 0.0:
                g[i] = 0.0
                continue
            z[i] = x[i] + h
            h1 = z[i] - x[i]
            f1 = fun(z, *args)
            z[i] = x[i] + 2.0 * h if one_sided else x[i] - h
            h2 = z[i] - x[i]
            f2 = fun(z, *args)
            # the parabola through (0, f), (h1, f1) and (h2, f2), its slope at 0
            g[i] = ((f1 - f) * (h2 / h1) - (f2 - f) * (h1 / h2)) / (h2 - h1)
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
            z[i] = x[i] + 1j * h if lower[i] < upper[i] else x[i]
            g[i] = fun(z, *args).imag / h
            z[i] = x[i]
    return f


# the option finite_diff -> the gradient, and how often it calls the objective per coordinate
GRADIENTS = {"2-point": (forward, 1), "3-point": (central, 2), "cs": (complex_step, 1)}
