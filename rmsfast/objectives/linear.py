"""The linear problems of Moré, Garbow and Hillstrom, with m = 2 n residuals.

References
----------
J. J. Moré, B. S. Garbow and K. E. Hillstrom, "Testing Unconstrained Optimization
Software", ACM Transactions on Mathematical Software 7 (1981), 17-41.
"""

from typing import Any

import numpy as np

from rmsfast.objectives._classical import at_least, scalable
from rmsfast.objectives._sums import also, merged


@merged
def _square(x: Any) -> Any:
    d = x + 1.0
    return d * d, 2.0 * d


@scalable(
    10,
    sizes=at_least(1),
    start=np.ones,
    minimum=lambda n: (np.full(n, -1.0), float(n)),
)
@also(term=lambda i, x: 1.0 + _square(x[i])[0], grad=lambda i, x: _square(x[i])[1])
def linear_full_rank(x: Any, g: Any) -> Any:
    """Linear function of full rank, with m = 2 n.

        f = sum_{i=1..n} (x_i - (2/m) sum_j x_j - 1)^2 + (m - n) ((2/m) sum_j x_j + 1)^2
          = sum_{i=1..n} (x_i + 1)^2 + m - n

    the second line because the columns of the Jacobian are orthonormal.

    Start (1, ..., 1). Minimum m - n = n at (-1, ..., -1).

    References
    ----------
    Moré, Garbow and Hillstrom (1981), problem 32.
    """
    f = 1.0 * x.size  # not 1 in each term: that takes a third longer at n = 100
    for i in range(x.size):
        value, g[i] = _square(x[i])
        f += value
    return f


@scalable(
    10,
    sizes=at_least(1),
    start=np.ones,
    minimum=lambda n: (None, n * (2.0 * n - 1.0) / (4.0 * n + 1.0)),
)
def linear_rank_1(x: Any, g: Any) -> Any:
    """Linear function of rank 1, with m = 2 n.

        f = sum_{i=1..m} (i s - 1)^2,  s = sum_j j x_j

    Start (1, ..., 1). Minimum m (m - 1) / (2 (2 m + 1)) wherever s = 3 / (2 m + 1).

    References
    ----------
    Moré, Garbow and Hillstrom (1981), problem 33.
    """
    n = x.size
    s = 0.0
    for j in range(n):
        s += (j + 1) * x[j]
    f = slope = 0.0
    for i in range(1, 2 * n + 1):
        r = i * s - 1.0
        f += r * r
        slope += 2.0 * i * r
    for j in range(n):
        g[j] = (j + 1) * slope
    return f


@scalable(
    10,
    sizes=at_least(3),
    start=np.ones,
    minimum=lambda n: (None, (2.0 * n * n + 3.0 * n - 3.0) / (4.0 * n - 3.0)),
)
def linear_rank_1_zeros(x: Any, g: Any) -> Any:
    """Linear function of rank 1 with zero columns and rows, with m = 2 n.

        f = 2 + sum_{i=1..m-2} (i s - 1)^2,  s = sum_{j=2..n-1} j x_j

    Start (1, ..., 1). Minimum (m^2 + 3 m - 6) / (2 (2 m - 3)) wherever s = 3 / (2 m - 3).

    References
    ----------
    Moré, Garbow and Hillstrom (1981), problem 34.
    """
    n = x.size
    s = 0.0
    for j in range(1, n - 1):
        s += (j + 1) * x[j]
    f = 2.0
    slope = 0.0
    for i in range(1, 2 * n - 1):
        r = i * s - 1.0
        f += r * r
        slope += 2.0 * i * r
    g[0] = 0.0
    for j in range(1, n - 1):
        g[j] = (j + 1) * slope
    g[n - 1] = 0.0
    return f
