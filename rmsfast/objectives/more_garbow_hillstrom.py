"""The problems of Moré, Garbow and Hillstrom that minimize a function.

Their data-fitting problems stand in `data_fitting`, their systems of equations in
`equations`, and their problem 1 is `rosenbrock` in `scalable`.

References
----------
J. J. Moré, B. S. Garbow and K. E. Hillstrom, "Testing Unconstrained Optimization
Software", ACM Transactions on Mathematical Software 7 (1981), 17-41.
"""

import math
from typing import Any

import numpy as np

from rmsfast.objectives._classical import (
    UNKNOWN,
    at_least,
    classical,
    multiples_of,
    scalable,
)
from rmsfast.objectives._sums import in_fours, in_pairs


@classical(start=(0.5, -2.0), minimum=((5.0, 4.0), 0.0))
def freudenstein_roth(x: Any, g: Any) -> Any:
    """Freudenstein and Roth's function.

        f = (-13 + x_1 + ((5 - x_2) x_2 - 2) x_2)^2 + (-29 + x_1 + ((x_2 + 1) x_2 - 14) x_2)^2

    Start (0.5, -2). Minimum 0 at (5, 4). A local method usually ends in the local minimum
    48.984253679240 at (11.412779, -0.896805).

    References
    ----------
    Moré, Garbow and Hillstrom (1981), problem 2.
    """
    r = -13.0 + x[0] + ((5.0 - x[1]) * x[1] - 2.0) * x[1]
    s = -29.0 + x[0] + ((x[1] + 1.0) * x[1] - 14.0) * x[1]
    g[0] = 2.0 * (r + s)
    g[1] = 2.0 * (r * ((10.0 - 3.0 * x[1]) * x[1] - 2.0) + s * ((3.0 * x[1] + 2.0) * x[1] - 14.0))
    return r * r + s * s


@classical(start=(0.0, 1.0), minimum=((1.0981593296998e-05, 9.106146739867), 0.0))
def powell_badly_scaled(x: Any, g: Any) -> Any:
    """Powell's badly scaled function.

        f = (10^4 x_1 x_2 - 1)^2 + (exp(-x_1) + exp(-x_2) - 1.0001)^2

    Start (0, 1). Minimum 0 at (1.098e-5, 9.106).

    References
    ----------
    Moré, Garbow and Hillstrom (1981), problem 3.
    """
    r = 1e4 * x[0] * x[1] - 1.0
    e0 = math.exp(-x[0])
    e1 = math.exp(-x[1])
    s = e0 + e1 - 1.0001
    g[0] = 2.0 * (1e4 * r * x[1] - s * e0)
    g[1] = 2.0 * (1e4 * r * x[0] - s * e1)
    return r * r + s * s


@classical(start=(1.0, 1.0), minimum=((1e6, 2e-6), 0.0))
def brown_badly_scaled(x: Any, g: Any) -> Any:
    """Brown's badly scaled function.

        f = (x_1 - 10^6)^2 + (x_2 - 2 10^-6)^2 + (x_1 x_2 - 2)^2

    Start (1, 1). Minimum 0 at (1e6, 2e-6).

    References
    ----------
    Moré, Garbow and Hillstrom (1981), problem 4.
    """
    r = x[0] - 1e6
    s = x[1] - 2e-6
    t = x[0] * x[1] - 2.0
    g[0] = 2.0 * (r + t * x[1])
    g[1] = 2.0 * (s + t * x[0])
    return r * r + s * s + t * t


@classical(start=(1.0, 1.0), minimum=((3.0, 0.5), 0.0), bounds=2 * [(-4.5, 4.5)])
def beale(x: Any, g: Any) -> Any:
    """Beale's function.

        f = sum_{i=1..3} (y_i - x_1 (1 - x_2^i))^2,  y = (1.5, 2.25, 2.625)

    Start (1, 1). Minimum 0 at (3, 0.5).

    References
    ----------
    Moré, Garbow and Hillstrom (1981), problem 5.
    """
    y2 = x[1] * x[1]
    y3 = y2 * x[1]
    r = 1.5 - x[0] * (1.0 - x[1])
    s = 2.25 - x[0] * (1.0 - y2)
    t = 2.625 - x[0] * (1.0 - y3)
    g[0] = -2.0 * (r * (1.0 - x[1]) + s * (1.0 - y2) + t * (1.0 - y3))
    g[1] = 2.0 * x[0] * (r + 2.0 * s * x[1] + 3.0 * t * y2)
    return r * r + s * s + t * t


@classical(start=(-1.0, 0.0, 0.0), minimum=((1.0, 0.0, 0.0), 0.0))
def helical_valley(x: Any, g: Any) -> Any:
    """Fletcher and Powell's helical valley.

        f = 100 (x_3 - 10 theta)^2 + 100 (r - 1)^2 + x_3^2

    where r and 2 pi theta are the polar coordinates of (x_1, x_2), theta from -1/4 to 3/4.
    Undefined (nan) where x_1 = 0 and x_2 <= 0, which is where theta jumps.

    Start (-1, 0, 0). Minimum 0 at (1, 0, 0).

    References
    ----------
    Moré, Garbow and Hillstrom (1981), problem 7.
    """
    r2 = x[0] * x[0] + x[1] * x[1]
    r = math.sqrt(r2)
    # Half the angle to the x_2 axis: one analytic formula in place of two arctan branches.
    theta = 0.25 - math.atan(x[0] / (r + x[1])) / math.pi
    a = x[2] - 10.0 * theta
    b = r - 1.0
    g[0] = 200.0 * (a * 5.0 * x[1] / (math.pi * r2) + b * x[0] / r)
    g[1] = 200.0 * (-a * 5.0 * x[0] / (math.pi * r2) + b * x[1] / r)
    g[2] = 200.0 * a + 2.0 * x[2]
    return 100.0 * (a * a + b * b) + x[2] * x[2]


@classical(
    start=(-3.0, -1.0, -3.0, -1.0),
    minimum=((1.0, 1.0, 1.0, 1.0), 0.0),
    bounds=4 * [(-10.0, 10.0)],
)
def wood(x: Any, g: Any) -> Any:
    """Wood's function (Colville's).

        f = 100 (x_2 - x_1^2)^2 + (1 - x_1)^2 + 90 (x_4 - x_3^2)^2 + (1 - x_3)^2
            + 10 (x_2 + x_4 - 2)^2 + (x_2 - x_4)^2 / 10

    Start (-3, -1, -3, -1). Minimum 0 at (1, 1, 1, 1).

    References
    ----------
    Moré, Garbow and Hillstrom (1981), problem 14.
    """
    a = x[1] - x[0] * x[0]
    b = 1.0 - x[0]
    c = x[3] - x[2] * x[2]
    d = 1.0 - x[2]
    p = x[1] + x[3] - 2.0
    q = x[1] - x[3]
    g[0] = -400.0 * x[0] * a - 2.0 * b
    g[1] = 200.0 * a + 20.0 * p + 0.2 * q
    g[2] = -360.0 * x[2] * c - 2.0 * d
    g[3] = 180.0 * c + 20.0 * p - 0.2 * q
    return 100.0 * a * a + b * b + 90.0 * c * c + d * d + 10.0 * p * p + 0.1 * q * q


@scalable(
    10,
    sizes=multiples_of(2),
    start=lambda n: np.tile((-1.2, 1.0), n // 2),
    minimum=lambda n: (np.ones(n), 0.0),
)
@in_pairs
def extended_rosenbrock(a: Any, b: Any) -> Any:
    """Rosenbrock's function on each of n/2 separate pairs.

        f = sum_{i=1..n/2} 100 (x_{2i} - x_{2i-1}^2)^2 + (1 - x_{2i-1})^2

    Start (-1.2, 1, -1.2, 1, ...). Minimum 0 at (1, ..., 1). `rosenbrock` is the chained form.

    References
    ----------
    Moré, Garbow and Hillstrom (1981), problem 21.
    """
    r = b - a * a
    s = 1.0 - a
    return 100.0 * r * r + s * s, -400.0 * a * r - 2.0 * s, 200.0 * r


@scalable(
    4,
    sizes=multiples_of(4),
    start=lambda n: np.tile((3.0, -1.0, 0.0, 1.0), n // 4),
    minimum=lambda n: (np.zeros(n), 0.0),
    bounds=lambda n: [(-4.0, 5.0)] * n,
)
@in_fours
def powell_singular(x1: Any, x2: Any, x3: Any, x4: Any) -> Any:
    """Powell's singular function, on each of n/4 separate quadruples.

        f = sum over quadruples of (x_1 + 10 x_2)^2 + 5 (x_3 - x_4)^2
            + (x_2 - 2 x_3)^4 + 10 (x_1 - x_4)^4

    Start (3, -1, 0, 1, ...). Minimum 0 at the origin, where the Hessian is singular.

    References
    ----------
    Moré, Garbow and Hillstrom (1981), problems 13 (n = 4) and 22 (extended).
    """
    a = x1 + 10.0 * x2
    b = x3 - x4
    c = x2 - 2.0 * x3
    d = x1 - x4
    c3 = c * c * c
    d3 = d * d * d
    return (
        a * a + 5.0 * b * b + c3 * c + 10.0 * d3 * d,
        2.0 * a + 40.0 * d3,
        20.0 * a + 4.0 * c3,
        10.0 * b - 8.0 * c3,
        -10.0 * b - 40.0 * d3,
    )


# Known minima by size: published to six digits, the further ones computed here.
_PENALTY_1 = {4: 2.2499775008999372e-5, 10: 7.08765146709037e-5}
_PENALTY_2 = {4: 9.376293007355446e-6, 10: 2.9366053745674605e-4}


@scalable(
    10,
    sizes=at_least(1),
    start=lambda n: np.arange(1.0, n + 1.0),
    minimum=lambda n: (None, _PENALTY_1.get(n, UNKNOWN)),
)
def penalty_1(x: Any, g: Any) -> Any:
    """Penalty function I.

        f = 10^-5 sum (x_i - 1)^2 + (sum x_i^2 - 1/4)^2

    Start (1, 2, ..., n). Minimum 2.24997e-5 for n = 4, 7.08765e-5 for n = 10.

    References
    ----------
    Moré, Garbow and Hillstrom (1981), problem 23.
    """
    s = -0.25
    for i in range(x.size):
        s += x[i] * x[i]
    f = s * s
    for i in range(x.size):
        d = x[i] - 1.0
        f += 1e-5 * d * d
        g[i] = 2e-5 * d + 4.0 * s * x[i]
    return f


@scalable(
    10,
    sizes=at_least(2),
    start=lambda n: np.full(n, 0.5),
    minimum=lambda n: (None, _PENALTY_2.get(n, UNKNOWN)),
)
def penalty_2(x: Any, g: Any) -> Any:
    """Penalty function II.

        f = (x_1 - 0.2)^2 + (sum_j (n - j + 1) x_j^2 - 1)^2
            + a sum_{i=2..n} (e_i + e_{i-1} - y_i)^2 + (e_i - exp(-1/10))^2

    with e_i = exp(x_i/10), y_i = exp(i/10) + exp((i-1)/10) and a = 10^-5.

    Start (1/2, ..., 1/2). Minimum 9.37629e-6 for n = 4, 2.93660e-4 for n = 10.

    References
    ----------
    Moré, Garbow and Hillstrom (1981), problem 24.
    """
    n = x.size
    s = -1.0
    for i in range(n):
        s += (n - i) * x[i] * x[i]
    d = x[0] - 0.2
    f = d * d + s * s
    g[0] = 2.0 * d + 4.0 * n * s * x[0]
    e_before = math.exp(0.1 * x[0])
    for i in range(1, n):
        e = math.exp(0.1 * x[i])
        r = e + e_before - math.exp(0.1 * (i + 1)) - math.exp(0.1 * i)
        t = e - math.exp(-0.1)
        f += 1e-5 * (r * r + t * t)
        g[i - 1] += 2e-6 * r * e_before
        g[i] = 4.0 * (n - i) * s * x[i] + 2e-6 * (r + t) * e
        e_before = e
    return f


@scalable(
    10,
    sizes=at_least(1),
    start=lambda n: 1.0 - np.arange(1.0, n + 1.0) / n,
    minimum=lambda n: (np.ones(n), 0.0),
)
def variably_dimensioned(x: Any, g: Any) -> Any:
    """Variably dimensioned function.

        f = sum (x_i - 1)^2 + s^2 + s^4,  s = sum i (x_i - 1)

    Start x_i = 1 - i/n. Minimum 0 at (1, ..., 1).

    References
    ----------
    Moré, Garbow and Hillstrom (1981), problem 25.
    """
    s = 0.0
    for i in range(x.size):
        s += (i + 1) * (x[i] - 1.0)
    f = s * s * (1.0 + s * s)
    slope = 2.0 * s + 4.0 * s * s * s
    for i in range(x.size):
        d = x[i] - 1.0
        f += d * d
        g[i] = 2.0 * d + (i + 1) * slope
    return f
