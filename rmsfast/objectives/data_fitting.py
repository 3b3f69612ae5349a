"""The data-fitting problems of Moré, Garbow and Hillstrom, as sums of squared residuals.

The figures are those of the paper; minimizers without a closed form are computed here to
the last digits by Newton's method, and agree with the paper's to its digits.

References
----------
J. J. Moré, B. S. Garbow and K. E. Hillstrom, "Testing Unconstrained Optimization
Software", ACM Transactions on Mathematical Software 7 (1981), 17-41.
"""

import math
from typing import Any

import numpy as np

from rmsfast.objectives._classical import classical, constants


@classical(start=(0.3, 0.4), minimum=((0.2578252136703641, 0.2578252136703641), 124.36218235561483))
def jennrich_sampson(x: Any, g: Any) -> Any:
    """Jennrich and Sampson's function.

        f = sum_{i=1..10} (2 + 2 i - exp(i x_1) - exp(i x_2))^2

    Start (0.3, 0.4). Minimum 124.362 at x_1 = x_2 = 0.2578.

    References
    ----------
    Moré, Garbow and Hillstrom (1981), problem 6, with m = 10.
    """
    f = g0 = g1 = 0.0
    for i in range(1, 11):
        e0 = math.exp(i * x[0])
        e1 = math.exp(i * x[1])
        r = 2.0 + 2.0 * i - e0 - e1
        f += r * r
        g0 -= 2.0 * i * r * e0
        g1 -= 2.0 * i * r * e1
    g[0] = g0
    g[1] = g1
    return f


_BARD = constants(
    *(0.14, 0.18, 0.22, 0.25, 0.29, 0.32, 0.35, 0.39),
    *(0.37, 0.58, 0.73, 0.96, 1.34, 2.10, 4.39),
)


@classical(
    start=(1.0, 1.0, 1.0),
    minimum=((0.08241055974978902, 1.1330360920297227, 2.3436951786425366), 8.214877306578978e-3),
)
def bard(x: Any, g: Any) -> Any:
    """Bard's function.

        f = sum_{i=1..15} (y_i - x_1 - i / (v_i x_2 + w_i x_3))^2

    with v_i = 16 - i and w_i = min(i, v_i).

    Start (1, 1, 1). Minimum 8.21487e-3; the value tends to 17.4286 as x_2 and x_3 go to
    minus infinity with x_1 = 0.8406.

    References
    ----------
    Moré, Garbow and Hillstrom (1981), problem 8.
    """
    f = g0 = g1 = g2 = 0.0
    for k in range(_BARD.size):
        u = k + 1
        v = 16 - u
        w = u if u < v else v
        d = v * x[1] + w * x[2]
        r = _BARD[k] - x[0] - u / d
        slope = 2.0 * r * u / (d * d)
        f += r * r
        g0 -= 2.0 * r
        g1 += slope * v
        g2 += slope * w
    g[0] = g0
    g[1] = g1
    g[2] = g2
    return f


_GAUSSIAN = constants(
    *(0.0009, 0.0044, 0.0175, 0.0540, 0.1295, 0.2420, 0.3521, 0.3989),
    *(0.3521, 0.2420, 0.1295, 0.0540, 0.0175, 0.0044, 0.0009),
)


@classical(
    start=(0.4, 1.0, 0.0),
    minimum=((0.39895613783875666, 1.0000190844878056, 0.0), 1.1279327696193028e-8),
)
def gaussian(x: Any, g: Any) -> Any:
    """Gaussian function.

        f = sum_{i=1..15} (x_1 exp(-x_2 (t_i - x_3)^2 / 2) - y_i)^2,  t_i = (8 - i)/2

    Start (0.4, 1, 0). Minimum 1.12793e-8.

    References
    ----------
    Moré, Garbow and Hillstrom (1981), problem 9.
    """
    f = g0 = g1 = g2 = 0.0
    for k in range(_GAUSSIAN.size):
        d = 0.5 * (7 - k) - x[2]
        e = math.exp(-0.5 * x[1] * d * d)
        r = x[0] * e - _GAUSSIAN[k]
        f += r * r
        g0 += 2.0 * r * e
        g1 -= r * x[0] * e * d * d
        g2 += 2.0 * r * x[0] * e * x[1] * d
    g[0] = g0
    g[1] = g1
    g[2] = g2
    return f


_MEYER = constants(
    *(34780.0, 28610.0, 23650.0, 19630.0, 16370.0, 13720.0, 11540.0, 9744.0),
    *(8261.0, 7030.0, 6005.0, 5147.0, 4427.0, 3820.0, 3307.0, 2872.0),
)


@classical(
    start=(0.02, 4000.0, 250.0),
    minimum=((0.005609636471028053, 6181.346346286372, 345.2236346241365), 87.94585517085112),
)
def meyer(x: Any, g: Any) -> Any:
    """Meyer's function: the resistance of a thermistor against temperature.

        f = sum_{i=1..16} (x_1 exp(x_2 / (t_i + x_3)) - y_i)^2,  t_i = 45 + 5 i

    Start (0.02, 4000, 250). Minimum 87.9458. Very badly scaled.

    References
    ----------
    Moré, Garbow and Hillstrom (1981), problem 10.
    """
    f = g0 = g1 = g2 = 0.0
    for k in range(_MEYER.size):
        d = 50.0 + 5.0 * k + x[2]
        e = math.exp(x[1] / d)
        r = x[0] * e - _MEYER[k]
        slope = 2.0 * r * x[0] * e / d
        f += r * r
        g0 += 2.0 * r * e
        g1 += slope
        g2 -= slope * x[1] / d
    g[0] = g0
    g[1] = g1
    g[2] = g2
    return f


_GULF = constants(*(25.0 + (-50.0 * np.log(np.arange(1, 100) / 100.0)) ** (2.0 / 3.0)))


@classical(start=(5.0, 2.5, 0.15), minimum=((50.0, 25.0, 1.5), 0.0))
def gulf(x: Any, g: Any) -> Any:
    """Gulf research and development function.

        f = sum_{i=1..99} (exp(-|y_i - x_2|^x_3 / x_1) - t_i)^2

    with t_i = i/100 and y_i = 25 + (-50 log t_i)^(2/3).

    Start (5, 2.5, 0.15). Minimum 0 at (50, 25, 1.5).

    References
    ----------
    Moré, Garbow and Hillstrom (1981), problem 11, with m = 99. The paper prints
    ``y_i m i x_2`` where ``y_i - x_2`` makes its minimizer true.
    """
    f = g0 = g1 = g2 = 0.0
    for k in range(_GULF.size):
        d = _GULF[k] - x[1]
        log_d = 0.5 * math.log(d * d)  # log |d|, and analytic
        power = math.exp(x[2] * log_d) / x[0]
        e = math.exp(-power)
        r = e - 0.01 * (k + 1)
        slope = 2.0 * r * e * power
        f += r * r
        g0 += slope / x[0]
        g1 += slope * x[2] / d
        g2 -= slope * log_d
    g[0] = g0
    g[1] = g1
    g[2] = g2
    return f


@classical(start=(0.0, 10.0, 20.0), minimum=((1.0, 10.0, 1.0), 0.0))
def box_3d(x: Any, g: Any) -> Any:
    """Box's three-dimensional function.

        f = sum_{i=1..10} (exp(-t x_1) - exp(-t x_2) - x_3 (exp(-t) - exp(-10 t)))^2,  t = i/10

    Start (0, 10, 20). Minimum 0 at (1, 10, 1), at (10, 1, -1), and wherever x_1 = x_2 and
    x_3 = 0.

    References
    ----------
    Moré, Garbow and Hillstrom (1981), problem 12, with m = 10.
    """
    f = g0 = g1 = g2 = 0.0
    for i in range(1, 11):
        t = 0.1 * i
        e0 = math.exp(-t * x[0])
        e1 = math.exp(-t * x[1])
        c = math.exp(-t) - math.exp(-i)
        r = e0 - e1 - x[2] * c
        f += r * r
        g0 -= 2.0 * r * t * e0
        g1 += 2.0 * r * t * e1
        g2 -= 2.0 * r * c
    g[0] = g0
    g[1] = g1
    g[2] = g2
    return f


_KOWALIK_Y = constants(
    *(0.1957, 0.1947, 0.1735, 0.1600, 0.0844, 0.0627),
    *(0.0456, 0.0342, 0.0323, 0.0235, 0.0246),
)
_KOWALIK_U = constants(
    *(4.0, 2.0, 1.0, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625),
)


@classical(
    start=(0.25, 0.39, 0.415, 0.39),
    minimum=(
        (0.19280693457903797, 0.1912823287343664, 0.12305650692632099, 0.13606233068379459),
        3.0750560384923864e-4,
    ),
)
def kowalik_osborne(x: Any, g: Any) -> Any:
    """Kowalik and Osborne's function: the kinetics of an enzyme.

        f = sum_{i=1..11} (y_i - x_1 (u_i^2 + u_i x_2) / (u_i^2 + u_i x_3 + x_4))^2

    Start (0.25, 0.39, 0.415, 0.39). Minimum 3.07505e-4; the value tends to 1.02734e-3 as
    x_1 goes to infinity and x_3 and x_4 to minus infinity with x_2 = -14.07.

    References
    ----------
    Moré, Garbow and Hillstrom (1981), problem 15.
    """
    f = g0 = g1 = g2 = g3 = 0.0
    for k in range(_KOWALIK_Y.size):
        u = _KOWALIK_U[k]
        d = u * u + u * x[2] + x[3]
        q = u * (u + x[1]) / d
        r = _KOWALIK_Y[k] - x[0] * q
        slope = 2.0 * r * x[0] / d
        f += r * r
        g0 -= 2.0 * r * q
        g1 -= slope * u
        g2 += slope * q * u
        g3 += slope * q
    g[0] = g0
    g[1] = g1
    g[2] = g2
    g[3] = g3
    return f
