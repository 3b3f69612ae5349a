"""The systems of equations of Moré, Garbow and Hillstrom, as sums of squared residuals.

Where every residual is needed for every derivative, `g` first holds the residuals.

References
----------
J. J. Moré, B. S. Garbow and K. E. Hillstrom, "Testing Unconstrained Optimization
Software", ACM Transactions on Mathematical Software 7 (1981), 17-41.
"""

import math
from typing import Any

import numpy as np

from rmsfast.objectives._classical import UNKNOWN, FloatArray, at_least, scalable
from rmsfast.objectives._sums import also, merged, residuals


def _grid(n: int) -> FloatArray:
    """Return the inner points ``i/(n+1)`` of the unit interval."""
    return np.arange(1.0, n + 1.0) / (n + 1.0)


@scalable(
    10,
    sizes=at_least(1),
    start=lambda n: np.full(n, 1.0 / n),
    minimum=lambda n: (np.zeros(n), 0.0),
)
def trigonometric(x: Any, g: Any) -> Any:
    """Trigonometric function.

        f = sum_i (n - sum_j cos(x_j) + i (1 - cos(x_i)) - sin(x_i))^2

    Start (1/n, ..., 1/n). Minimum 0 at the origin, among others. A local method may end in
    a local minimum, for n = 10 in 2.79506e-5.

    References
    ----------
    Moré, Garbow and Hillstrom (1981), problem 26.
    """
    n = x.size
    s = 0.0
    for i in range(n):
        s += 1.0 - math.cos(x[i])
    f = total = 0.0
    for i in range(n):
        r = s + (i + 1) * (1.0 - math.cos(x[i])) - math.sin(x[i])
        f += r * r
        total += r
        g[i] = r
    for i in range(n):
        sin_x = math.sin(x[i])
        g[i] = 2.0 * (total * sin_x + g[i] * ((i + 1) * sin_x - math.cos(x[i])))
    return f


@scalable(
    10,
    sizes=at_least(2),
    start=lambda n: np.full(n, 0.5),
    minimum=lambda n: (np.ones(n), 0.0),
)
def brown_almost_linear(x: Any, g: Any) -> Any:
    """Brown's almost linear function.

        f = sum_{i<n} (x_i + sum_j x_j - (n + 1))^2 + (prod_j x_j - 1)^2

    Start (1/2, ..., 1/2). Minimum 0 at (1, ..., 1), among others. The value is 1 at the
    stationary point (0, ..., 0, n + 1).

    References
    ----------
    Moré, Garbow and Hillstrom (1981), problem 27.
    """
    n = x.size
    s = -(n + 1.0)
    product = 1.0
    for i in range(n):
        s += x[i]
        g[i] = product  # of the coordinates before i
        product *= x[i]
    p = product - 1.0
    f = p * p
    total = 0.0
    for i in range(n - 1):
        r = x[i] + s
        f += r * r
        total += r
    after = 1.0  # the product of the coordinates after i
    for i in range(n - 1, -1, -1):
        r = x[i] + s if i < n - 1 else 0.0
        g[i] = 2.0 * (r + total + p * g[i] * after)
        after *= x[i]
    return f


@scalable(
    10,
    sizes=at_least(1),
    start=lambda n: _grid(n) * (_grid(n) - 1.0),
    minimum=lambda n: (None, 0.0),
)
@residuals(before=-1.0, after=-1.0)
def discrete_boundary_value(i: int, n: int, x: Any) -> Any:
    """Discrete boundary value function: u'' = (u + t + 1)^3 / 2, u(0) = u(1) = 0.

        f = sum_i (2 x_i - x_{i-1} - x_{i+1} + h^2 (x_i + t_i + 1)^3 / 2)^2

    with h = 1/(n+1), t_i = i h and x_0 = x_{n+1} = 0.

    Start x_i = t_i (t_i - 1). Minimum 0; the minimizer has no closed form.

    References
    ----------
    Moré, Garbow and Hillstrom (1981), problem 28.
    """
    h = 1.0 / (n + 1)
    u = x + (i + 1) * h + 1.0
    return 2.0 * x + 0.5 * h * h * u * u * u, 2.0 + 1.5 * h * h * u * u


@scalable(
    10,
    sizes=at_least(1),
    start=lambda n: _grid(n) * (_grid(n) - 1.0),
    minimum=lambda n: (None, 0.0),
)
def discrete_integral_equation(x: Any, g: Any) -> Any:
    """Discrete integral equation function.

        f = sum_i (x_i + (h/2) ((1 - t_i) sum_{j<=i} t_j c_j + t_i sum_{j>i} (1 - t_j) c_j))^2

    with h = 1/(n+1), t_i = i h and c_j = (x_j + t_j + 1)^3.

    Start x_i = t_i (t_i - 1). Minimum 0; the minimizer, which has no closed form, is
    that of `discrete_boundary_value`.

    References
    ----------
    Moré, Garbow and Hillstrom (1981), problem 29.
    """
    n = x.size
    h = 1.0 / (n + 1)
    left = right = 0.0  # the two inner sums, carried along: O(n) in place of O(n^2)
    for i in range(n):
        t = (i + 1) * h
        u = x[i] + t + 1.0
        right += (1.0 - t) * u * u * u
    f = sum_after = 0.0
    for i in range(n):
        t = (i + 1) * h
        u = x[i] + t + 1.0
        left += t * u * u * u
        right -= (1.0 - t) * u * u * u
        r = x[i] + 0.5 * h * ((1.0 - t) * left + t * right)
        f += r * r
        sum_after += (1.0 - t) * r
        g[i] = r
    sum_before = 0.0
    for i in range(n):
        t = (i + 1) * h
        u = x[i] + t + 1.0
        r = g[i]
        g[i] = 2.0 * r + 3.0 * h * u * u * (t * sum_after + (1.0 - t) * sum_before)
        sum_before += t * r
        sum_after -= (1.0 - t) * r
    return f


@scalable(
    10,
    sizes=at_least(1),
    start=lambda n: np.full(n, -1.0),
    minimum=lambda n: (None, 0.0),
)
@residuals(before=-1.0, after=-2.0)
def broyden_tridiagonal(i: int, n: int, x: Any) -> Any:
    """Broyden's tridiagonal function.

        f = sum_i ((3 - 2 x_i) x_i - x_{i-1} - 2 x_{i+1} + 1)^2,  x_0 = x_{n+1} = 0

    Start (-1, ..., -1). Minimum 0; the minimizer has no closed form.

    References
    ----------
    Moré, Garbow and Hillstrom (1981), problem 30.
    """
    return (3.0 - 2.0 * x) * x + 1.0, 3.0 - 4.0 * x


@merged
def _banded_residual(i: int, x: Any) -> Any:
    n = x.size
    r = x[i] * (3.0 + x[i] + 5.0 * x[i] * x[i]) + 1.0  # the sum below includes j = i
    for j in range(i - 5 if i > 5 else 0, i + 2 if i + 2 < n else n):
        r -= x[j] * (1.0 + x[j])
    return r


@merged
def _banded_slope(x: Any, r: Any, near: Any) -> Any:
    """Return the derivative by `x`, which is in residual `r` and in those of the sum `near`."""
    return 2.0 * (r * (2.0 + 15.0 * x * x) - (1.0 + 2.0 * x) * near)


def _banded_term(i: int, x: Any) -> Any:
    r = _banded_residual(i, x)
    return r * r


def _banded_grad(j: int, x: Any) -> Any:
    n = x.size
    near = 0.0
    for i in range(j - 1 if j > 0 else 0, j + 6 if j + 6 < n else n):
        near += _banded_residual(i, x) if i != j else 0.0
    return _banded_slope(x[j], _banded_residual(j, x), near)


@scalable(
    10,
    sizes=at_least(1),
    start=lambda n: np.full(n, -1.0),
    minimum=lambda n: (None, 0.0),
)
@also(_banded_term, _banded_grad)
def broyden_banded(x: Any, g: Any) -> Any:
    """Broyden's banded function.

        f = sum_i (x_i (2 + 5 x_i^2) + 1 - sum_{j in J_i} x_j (1 + x_j))^2

    where J_i holds the five indices before i and the one after it, as far as they exist.

    Start (-1, ..., -1). Minimum 0; the minimizer has no closed form.

    References
    ----------
    Moré, Garbow and Hillstrom (1981), problem 31.
    """
    n = x.size
    f = 0.0
    for i in range(n):
        r = _banded_residual(i, x)
        f += r * r
        g[i] = r
    before = 0.0
    for j in range(n):
        r = g[j]
        near = before
        for i in range(j + 1, j + 6 if j + 6 < n else n):
            near += g[i]
        g[j] = _banded_slope(x[j], r, near)
        before = r
    return f


# Known minima by size: for n = 8 published to six digits, the further ones computed here.
_CHEBYQUAD = {8: 3.51687372567793e-3, 10: 4.772713696375349e-3}
_CHEBYQUAD |= dict.fromkeys((1, 2, 3, 4, 5, 6, 7, 9), 0.0)


@scalable(
    8,
    sizes=at_least(1),
    start=_grid,
    minimum=lambda n: (None, _CHEBYQUAD.get(n, UNKNOWN)),
)
def chebyquad(x: Any, g: Any) -> Any:
    """Fletcher's Chebyquad: the nodes of Chebyshev's quadrature with equal weights.

        f = sum_{i=1..n} ((1/n) sum_j T_i(x_j) - integral over [0, 1] of T_i)^2

    with T_i the Chebyshev polynomials shifted to [0, 1]. Costs O(n^3) operations and no
    memory.

    Start x_j = j/(n+1). Minimum 0 for n = 1 to 7 and 9, 3.51687e-3 for n = 8. For n = 10
    the paper gives 6.50395e-3, where line searches from the start end; it is a local
    minimum, and 4.77271e-3 is reached too. Any permutation of a minimizer is one.

    References
    ----------
    Moré, Garbow and Hillstrom (1981), problem 35, with m = n.
    """
    n = x.size
    f = 0.0
    for j in range(n):
        g[j] = 0.0
    for i in range(1, n + 1):
        r = 0.0 if i % 2 else 1.0 / (i * i - 1.0)
        for j in range(n):
            t, t_before = 2.0 * x[j] - 1.0, 1.0
            for _ in range(1, i):
                t, t_before = 2.0 * (2.0 * x[j] - 1.0) * t - t_before, t
            r += t / n
        f += r * r
        for j in range(n):
            y = 2.0 * x[j] - 1.0
            t, u_before = 1.0, 0.0  # T_i' = i U_{i-1}, U of the second kind
            for _ in range(1, i):
                t, u_before = 2.0 * y * t - u_before, t
            g[j] += 4.0 * i * r * t / n
    return f
