"""Functions of any number of variables, with one minimum or few.

References
----------
M. Jamil and X.-S. Yang, "A literature survey of benchmark functions for global
optimisation problems", International Journal of Mathematical Modelling and Numerical
Optimisation 4 (2013), 150-194.
"""

from typing import Any

import numpy as np

from rmsfast.objectives._classical import at_least, box, scalable
from rmsfast.objectives._sums import chained, separate


@scalable(
    2,
    sizes=at_least(2),
    start=lambda n: np.resize((-1.2, 1.0), n),
    minimum=lambda n: (np.ones(n), 0.0),
    bounds=box(-2.048, 2.048),
)
@chained(passes=2)
def rosenbrock(i: int, a: Any, b: Any) -> Any:
    """Rosenbrock's function, chained, as in `scipy.optimize.rosen`.

        f = sum_{i=1..n-1} 100 (x_{i+1} - x_i^2)^2 + (1 - x_i)^2

    Start (-1.2, 1, -1.2, 1, ...). Minimum 0 at (1, ..., 1). From n = 4 on there is a local
    minimum near (-1, 1, ..., 1).

    References
    ----------
    Rosenbrock (1960), Computer Journal 3, 175-184; Moré, Garbow and Hillstrom (1981),
    problem 1. The box is De Jong's (1975).
    """
    if i == 0:
        return 0.0, 0.0, 0.0
    r = b - a * a
    s = 1.0 - a
    return 100.0 * r * r + s * s, -400.0 * a * r - 2.0 * s, 200.0 * r


@scalable(
    10,
    sizes=at_least(1),
    start=np.ones,
    minimum=lambda n: (np.zeros(n), 0.0),
    bounds=box(-5.12, 5.12),
)
@separate
def sphere(i: int, n: int, x: Any) -> Any:
    """Sphere, De Jong's first function.

        f = sum x_i^2

    Start (1, ..., 1). Minimum 0 at the origin.

    References
    ----------
    De Jong (1975), dissertation, University of Michigan; Jamil and Yang (2013).
    """
    return x * x, 2.0 * x


@scalable(
    10,
    sizes=at_least(1),
    start=np.ones,
    minimum=lambda n: (np.zeros(n), 0.0),
    bounds=box(-10.0, 10.0),
)
@separate
def sum_of_squares(i: int, n: int, x: Any) -> Any:
    """Weighted sum of squares: an ellipsoid along the axes, of condition number n.

        f = sum i x_i^2

    Start (1, ..., 1). Minimum 0 at the origin.

    References
    ----------
    Jamil and Yang (2013).
    """
    return (i + 1) * x * x, 2.0 * (i + 1) * x


@scalable(
    10,
    sizes=at_least(1),
    start=np.ones,
    minimum=lambda n: (np.zeros(n), 0.0),
    bounds=box(-100.0, 100.0),
)
def schwefel_double_sum(x: Any, g: Any) -> Any:
    """Schwefel's problem 1.2, the double sum: an ellipsoid aslant to the axes.

        f = sum_{i=1..n} (sum_{j<=i} x_j)^2

    Start (1, ..., 1). Minimum 0 at the origin.

    References
    ----------
    Schwefel (1981), Numerical Optimization of Computer Models, problem 1.2.
    """
    n = x.size
    f = 0.0
    s = 0.0
    for i in range(n):
        s += x[i]
        f += s * s
        g[i] = s
    total = 0.0
    for i in range(n - 1, -1, -1):
        total += 2.0 * g[i]
        g[i] = total
    return f


@scalable(
    2,
    sizes=at_least(1),
    start=np.ones,
    minimum=lambda n: (2.0 ** (2.0 ** (1.0 - np.arange(1.0, n + 1.0)) - 1.0), 0.0),
    bounds=box(-10.0, 10.0),
)
@chained(passes=1)
def dixon_price(i: int, a: Any, b: Any) -> Any:
    """Dixon and Price's function.

        f = (x_1 - 1)^2 + sum_{i=2..n} i (2 x_i^2 - x_{i-1})^2

    Start (1, ..., 1). Minimum 0 at x_i = 2^(2^(1-i) - 1), and with the sign of x_n changed.
    From n = 3 on (1/3, 0, ..., 0) is a degenerate saddle of value 2/3, which attracts descent.

    References
    ----------
    Dixon and Price (1989), Journal of Optimization Theory and Applications 60, 261-275.
    """
    if i == 0:
        d = b - 1.0
        return d * d, 0.0, 2.0 * d
    r = 2.0 * b * b - a
    return (i + 1) * r * r, -2.0 * (i + 1) * r, 8.0 * (i + 1) * r * b


@scalable(
    2,
    sizes=at_least(1),
    start=np.ones,
    minimum=lambda n: (np.zeros(n), 0.0),
    bounds=box(-5.0, 10.0),
)
def zakharov(x: Any, g: Any) -> Any:
    """Zakharov's function.

        f = sum x_i^2 + s^2 + s^4,  s = (1/2) sum i x_i

    Start (1, ..., 1). Minimum 0 at the origin, and no other.

    References
    ----------
    Jamil and Yang (2013).
    """
    n = x.size
    s = 0.0
    for i in range(n):
        s += 0.5 * (i + 1) * x[i]
    f = s * s * (1.0 + s * s)
    slope = s * (1.0 + 2.0 * s * s)
    for i in range(n):
        f += x[i] * x[i]
        g[i] = 2.0 * x[i] + (i + 1) * slope
    return f


@scalable(
    6,
    sizes=at_least(1),
    start=np.zeros,
    minimum=lambda n: (
        np.arange(1.0, n + 1.0) * np.arange(n, 0.0, -1.0),
        -n * (n + 4.0) * (n - 1.0) / 6.0,
    ),
    bounds=lambda n: [(-float(n * n), float(n * n))] * n,
)
@chained(passes=1)
def trid(i: int, a: Any, b: Any) -> Any:
    """Trid function, a quadratic with a tridiagonal Hessian.

        f = sum_{i=1..n} (x_i - 1)^2 - sum_{i=2..n} x_i x_{i-1}

    Start at the origin. Minimum -n (n + 4) (n - 1) / 6 at x_i = i (n + 1 - i).

    References
    ----------
    Neumaier, A., test functions quoted in Jamil and Yang (2013) and in Laguna and Marti
    (2005), Journal of Global Optimization 33, 235-255.
    """
    d = b - 1.0
    return d * d - a * b, -b, 2.0 * d - a
