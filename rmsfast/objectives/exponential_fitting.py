"""The larger data-fitting problems of Moré, Garbow and Hillstrom, mostly sums of exponentials.

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

from rmsfast.objectives._classical import UNKNOWN, classical, constants, scalable


@classical(
    start=(25.0, 5.0, -5.0, -1.0),
    minimum=(
        (-11.594439904762163, 13.203630051207202, -0.4034394881768596, 0.2367787744557363),
        85822.20162635633,
    ),
)
def brown_dennis(x: Any, g: Any) -> Any:
    """Brown and Dennis' function.

        f = sum_{i=1..20} ((x_1 + t x_2 - exp(t))^2 + (x_3 + x_4 sin(t) - cos(t))^2)^2,  t = i/5

    Start (25, 5, -5, -1). Minimum 85822.2.

    References
    ----------
    Moré, Garbow and Hillstrom (1981), problem 16, with m = 20.
    """
    f = g0 = g1 = g2 = g3 = 0.0
    for i in range(1, 21):
        t = 0.2 * i
        sin_t = math.sin(t)
        a = x[0] + t * x[1] - math.exp(t)
        b = x[2] + x[3] * sin_t - math.cos(t)
        r = a * a + b * b
        f += r * r
        g0 += 4.0 * r * a
        g1 += 4.0 * r * a * t
        g2 += 4.0 * r * b
        g3 += 4.0 * r * b * sin_t
    g[0] = g0
    g[1] = g1
    g[2] = g2
    g[3] = g3
    return f


_OSBORNE_1 = constants(
    *(0.844, 0.908, 0.932, 0.936, 0.925, 0.908, 0.881, 0.850, 0.818, 0.784, 0.751),
    *(0.718, 0.685, 0.658, 0.628, 0.603, 0.580, 0.558, 0.538, 0.522, 0.506, 0.490),
    *(0.478, 0.467, 0.457, 0.448, 0.438, 0.431, 0.424, 0.420, 0.414, 0.411, 0.406),
)


@classical(
    start=(0.5, 1.5, -1.0, 0.01, 0.02),
    minimum=(
        (
            0.3754100521069518,
            1.935846912712334,
            -1.4646871366133893,
            0.012867534640057222,
            0.02212269966167275,
        ),
        5.464894697482983e-5,
    ),
)
def osborne_1(x: Any, g: Any) -> Any:
    """Osborne's first function: two exponentials and a constant.

        f = sum_{i=1..33} (y_i - x_1 - x_2 exp(-t x_4) - x_3 exp(-t x_5))^2,  t = 10 (i - 1)

    Start (0.5, 1.5, -1, 0.01, 0.02). Minimum 5.46489e-5.

    References
    ----------
    Moré, Garbow and Hillstrom (1981), problem 17.
    """
    f = g0 = g1 = g2 = g3 = g4 = 0.0
    for k in range(_OSBORNE_1.size):
        t = 10.0 * k
        e0 = math.exp(-t * x[3])
        e1 = math.exp(-t * x[4])
        r = _OSBORNE_1[k] - x[0] - x[1] * e0 - x[2] * e1
        f += r * r
        g0 -= 2.0 * r
        g1 -= 2.0 * r * e0
        g2 -= 2.0 * r * e1
        g3 += 2.0 * r * t * x[1] * e0
        g4 += 2.0 * r * t * x[2] * e1
    g[0] = g0
    g[1] = g1
    g[2] = g2
    g[3] = g3
    g[4] = g4
    return f


@classical(
    start=(1.0, 2.0, 1.0, 1.0, 1.0, 1.0),
    minimum=((1.0, 10.0, 1.0, 5.0, 4.0, 3.0), 0.0),
)
def biggs_exp6(x: Any, g: Any) -> Any:
    """Biggs' EXP6 function: three exponentials.

        f = sum_{i=1..13} (x_3 exp(-t x_1) - x_4 exp(-t x_2) + x_6 exp(-t x_5) - y(t))^2

    with t = i/10 and y(t) = exp(-t) - 5 exp(-10 t) + 3 exp(-4 t).

    Start (1, 2, 1, 1, 1, 1). Minimum 0 at (1, 10, 1, 5, 4, 3). A local method may end in
    the local minimum 5.65565e-3.

    References
    ----------
    Moré, Garbow and Hillstrom (1981), problem 18, with m = 13.
    """
    f = g0 = g1 = g2 = g3 = g4 = g5 = 0.0
    for i in range(1, 14):
        t = 0.1 * i
        e0 = math.exp(-t * x[0])
        e1 = math.exp(-t * x[1])
        e4 = math.exp(-t * x[4])
        y = math.exp(-t) - 5.0 * math.exp(-10.0 * t) + 3.0 * math.exp(-4.0 * t)
        r = x[2] * e0 - x[3] * e1 + x[5] * e4 - y
        f += r * r
        g0 -= 2.0 * r * t * x[2] * e0
        g1 += 2.0 * r * t * x[3] * e1
        g2 += 2.0 * r * e0
        g3 -= 2.0 * r * e1
        g4 -= 2.0 * r * t * x[5] * e4
        g5 += 2.0 * r * e4
    g[0] = g0
    g[1] = g1
    g[2] = g2
    g[3] = g3
    g[4] = g4
    g[5] = g5
    return f


_OSBORNE_2 = constants(
    *(1.366, 1.191, 1.112, 1.013, 0.991, 0.885, 0.831, 0.847, 0.786, 0.725, 0.746),
    *(0.679, 0.608, 0.655, 0.616, 0.606, 0.602, 0.626, 0.651, 0.724, 0.649, 0.649),
    *(0.694, 0.644, 0.624, 0.661, 0.612, 0.558, 0.533, 0.495, 0.500, 0.423, 0.395),
    *(0.375, 0.372, 0.391, 0.396, 0.405, 0.428, 0.429, 0.523, 0.562, 0.607, 0.653),
    *(0.672, 0.708, 0.633, 0.668, 0.645, 0.632, 0.591, 0.559, 0.597, 0.625, 0.739),
    *(0.710, 0.729, 0.720, 0.636, 0.581, 0.428, 0.292, 0.162, 0.098, 0.054),
)


@classical(
    start=(1.3, 0.65, 0.65, 0.7, 0.6, 3.0, 5.0, 7.0, 2.0, 4.5, 5.5),
    minimum=(
        (
            1.3099771546273005,
            0.4315537946029889,
            0.633661698960724,
            0.5994305347859163,
            0.7541832263280113,
            0.9042885798596334,
            1.3658118352370285,
            4.823698817227156,
            2.3986848661317546,
            4.568874597667672,
            5.6753414705806415,
        ),
        4.013773629354772e-2,
    ),
)
def osborne_2(x: Any, g: Any) -> Any:
    """Osborne's second function: an exponential and three Gaussian peaks.

        f = sum_{i=1..65} (y_i - x_1 exp(-t x_5) - sum_{k=2..4} x_k exp(-(t - x_{k+7})^2 x_{k+4}))^2

    with t = (i - 1)/10.

    Start (1.3, 0.65, 0.65, 0.7, 0.6, 3, 5, 7, 2, 4.5, 5.5). Minimum 4.01377e-2.

    References
    ----------
    Moré, Garbow and Hillstrom (1981), problem 19.
    """
    f = 0.0
    for k in range(11):
        g[k] = 0.0
    for i in range(_OSBORNE_2.size):
        t = 0.1 * i
        e0 = math.exp(-t * x[4])
        d1 = t - x[8]
        d2 = t - x[9]
        d3 = t - x[10]
        e1 = math.exp(-d1 * d1 * x[5])
        e2 = math.exp(-d2 * d2 * x[6])
        e3 = math.exp(-d3 * d3 * x[7])
        r = _OSBORNE_2[i] - x[0] * e0 - x[1] * e1 - x[2] * e2 - x[3] * e3
        slope = 2.0 * r
        f += r * r
        g[0] -= slope * e0
        g[1] -= slope * e1
        g[2] -= slope * e2
        g[3] -= slope * e3
        g[4] += slope * x[0] * e0 * t
        g[5] += slope * x[1] * e1 * d1 * d1
        g[6] += slope * x[2] * e2 * d2 * d2
        g[7] += slope * x[3] * e3 * d3 * d3
        g[8] -= slope * x[1] * e1 * 2.0 * d1 * x[5]
        g[9] -= slope * x[2] * e2 * 2.0 * d2 * x[6]
        g[10] -= slope * x[3] * e3 * 2.0 * d3 * x[7]
    return f


# Known minima by size: published to six digits, the further ones computed here.
_WATSON = {6: 2.2876700535524566e-3, 9: 1.399760138098e-6, 12: 4.722381106e-10}


@scalable(
    6,
    sizes=range(2, 32),
    start=np.zeros,
    minimum=lambda n: (None, _WATSON.get(n, UNKNOWN)),
)
def watson(x: Any, g: Any) -> Any:
    """Watson's function: a polynomial p with p' = p^2 + 1 and p(0) = 0.

        f = sum_{i=1..29} (p'(t_i) - p(t_i)^2 - 1)^2 + x_1^2 + (x_2 - x_1^2 - 1)^2

    with t_i = i/29 and p(t) = sum_j x_j t^(j-1).

    Start (0, ..., 0). Minimum 2.28767e-3 for n = 6, 1.39976e-6 for n = 9, 4.72238e-10 for
    n = 12. Very ill conditioned.

    References
    ----------
    Moré, Garbow and Hillstrom (1981), problem 20.
    """
    n = x.size
    r = x[1] - x[0] * x[0] - 1.0
    f = x[0] * x[0] + r * r
    g[0] = 2.0 * x[0] - 4.0 * r * x[0]
    g[1] = 2.0 * r
    for j in range(2, n):
        g[j] = 0.0
    for i in range(1, 30):
        t = i / 29.0
        p = 0.0
        slope = 0.0
        power = 1.0 / t  # t^(j-1), j counted from 0
        for j in range(n):
            slope += j * power * x[j]
            power *= t
            p += power * x[j]
        r = slope - p * p - 1.0
        f += r * r
        power = 1.0 / t
        for j in range(n):
            g[j] += 2.0 * r * power * (j - 2.0 * p * t)
            power *= t
    return f
