"""Functions of two variables.

References
----------
M. Jamil and X.-S. Yang, "A literature survey of benchmark functions for global
optimisation problems", International Journal of Mathematical Modelling and Numerical
Optimisation 4 (2013), 150-194.
"""

import math
from typing import Any

from rmsfast.objectives._classical import classical


@classical(start=(0.0, 0.0), minimum=((3.0, 2.0), 0.0), bounds=2 * [(-5.0, 5.0)])
def himmelblau(x: Any, g: Any) -> Any:
    """Himmelblau's function.

        f = (x_1^2 + x_2 - 11)^2 + (x_1 + x_2^2 - 7)^2

    Start (0, 0). Minimum 0 at (3, 2), (-2.805118, 3.131313), (-3.779310, -3.283186) and
    (3.584428, -1.848127).

    References
    ----------
    Himmelblau (1972), Applied Nonlinear Programming.
    """
    r = x[0] * x[0] + x[1] - 11.0
    s = x[0] + x[1] * x[1] - 7.0
    g[0] = 4.0 * x[0] * r + 2.0 * s
    g[1] = 2.0 * r + 4.0 * x[1] * s
    return r * r + s * s


@classical(start=(0.0, 0.0), minimum=((1.0, 3.0), 0.0), bounds=2 * [(-10.0, 10.0)])
def booth(x: Any, g: Any) -> Any:
    """Booth's function.

        f = (x_1 + 2 x_2 - 7)^2 + (2 x_1 + x_2 - 5)^2

    Start (0, 0). Minimum 0 at (1, 3).

    References
    ----------
    Jamil and Yang (2013).
    """
    r = x[0] + 2.0 * x[1] - 7.0
    s = 2.0 * x[0] + x[1] - 5.0
    g[0] = 2.0 * r + 4.0 * s
    g[1] = 4.0 * r + 2.0 * s
    return r * r + s * s


@classical(start=(5.0, 10.0), minimum=((0.0, 0.0), 0.0), bounds=2 * [(-10.0, 10.0)])
def matyas(x: Any, g: Any) -> Any:
    """Matyas function.

        f = 0.26 (x_1^2 + x_2^2) - 0.48 x_1 x_2

    Start (5, 10), chosen here. Minimum 0 at the origin.

    References
    ----------
    Jamil and Yang (2013).
    """
    g[0] = 0.52 * x[0] - 0.48 * x[1]
    g[1] = 0.52 * x[1] - 0.48 * x[0]
    return 0.5 * (x[0] * g[0] + x[1] * g[1])


@classical(
    start=(0.0, 0.0),
    minimum=(
        (0.5 - math.pi / 3.0, -0.5 - math.pi / 3.0),
        -math.sqrt(0.75) - math.pi / 3.0,
    ),
    bounds=[(-1.5, 4.0), (-3.0, 4.0)],
)
def mccormick(x: Any, g: Any) -> Any:
    """McCormick's function.

        f = sin(x_1 + x_2) + (x_1 - x_2)^2 - 1.5 x_1 + 2.5 x_2 + 1

    Start (0, 0). Minimum in the box -sqrt(3)/2 - pi/3 = -1.9132230 at
    (1/2 - pi/3, -1/2 - pi/3); without bounds the function is unbounded below, falling by
    pi from one local minimum to the next.

    References
    ----------
    McCormick (1976), Mathematical Programming 10, 147-175; Jamil and Yang (2013).
    """
    c = math.cos(x[0] + x[1])
    d = x[0] - x[1]
    g[0] = c + 2.0 * d - 1.5
    g[1] = c - 2.0 * d + 2.5
    return math.sin(x[0] + x[1]) + d * d - 1.5 * x[0] + 2.5 * x[1] + 1.0


@classical(start=(0.5, 1.0), minimum=((0.0, 0.0), 0.0), bounds=2 * [(-5.0, 5.0)])
def three_hump_camel(x: Any, g: Any) -> Any:
    """Three-hump camel function.

        f = 2 x_1^2 - 1.05 x_1^4 + x_1^6 / 6 + x_1 x_2 + x_2^2

    Start (0.5, 1), chosen here. Minimum 0 at the origin; local minima 0.2986 at
    +-(1.7476, -0.8738).

    References
    ----------
    Jamil and Yang (2013).
    """
    x2 = x[0] * x[0]
    g[0] = x[0] * (4.0 + x2 * (x2 - 4.2)) + x[1]
    g[1] = x[0] + 2.0 * x[1]
    return x2 * (2.0 + x2 * (x2 / 6.0 - 1.05)) + (x[0] + x[1]) * x[1]


@classical(
    start=(0.5, -1.0),
    minimum=((0.0898420131003181, -0.7126564030207396), -1.0316284534898774),
    bounds=[(-3.0, 3.0), (-2.0, 2.0)],
)
def six_hump_camel(x: Any, g: Any) -> Any:
    """Six-hump camel function.

        f = (4 - 2.1 x_1^2 + x_1^4 / 3) x_1^2 + x_1 x_2 + (4 x_2^2 - 4) x_2^2

    Start (0.5, -1), chosen here, in the basin of the minimum -1.0316285 at
    (0.0898, -0.7127), which also stands at (-0.0898, 0.7127); four more local minima.

    References
    ----------
    Dixon and Szegö (1978), Towards Global Optimisation 2, 1-15.
    """
    x2 = x[0] * x[0]
    y2 = x[1] * x[1]
    g[0] = x[0] * (8.0 + x2 * (2.0 * x2 - 8.4)) + x[1]
    g[1] = x[0] + x[1] * (16.0 * y2 - 8.0)
    return x2 * (4.0 + x2 * (x2 / 3.0 - 2.1)) + x[0] * x[1] + 4.0 * y2 * (y2 - 1.0)


@classical(
    start=(2.5, 7.5),
    minimum=((math.pi, 2.275), 1.25 / math.pi),
    bounds=[(-5.0, 10.0), (0.0, 15.0)],
)
def branin(x: Any, g: Any) -> Any:
    """Branin's function.

        f = (x_2 - 5.1 x_1^2 / (4 pi^2) + 5 x_1 / pi - 6)^2 + 10 (1 - 1/(8 pi)) cos(x_1) + 10

    Start (2.5, 7.5), the centre of the box. Minimum 5/(4 pi) = 0.3978874 at (-pi, 12.275),
    (pi, 2.275) and (3 pi, 2.475).

    References
    ----------
    Branin (1972), IBM Journal of Research and Development 16, 504-522; Dixon and Szegö
    (1978), Towards Global Optimisation 2, 1-15.
    """
    b = 5.1 / (4.0 * math.pi * math.pi)
    c = 5.0 / math.pi
    a = 10.0 - 1.25 / math.pi
    r = x[1] - (b * x[0] - c) * x[0] - 6.0
    g[0] = 2.0 * r * (c - 2.0 * b * x[0]) - a * math.sin(x[0])
    g[1] = 2.0 * r
    return r * r + a * math.cos(x[0]) + 10.0


@classical(start=(0.25, -0.75), minimum=((0.0, -1.0), 3.0), bounds=2 * [(-2.0, 2.0)])
def goldstein_price(x: Any, g: Any) -> Any:
    """Goldstein and Price's function.

        f = (1 + (x + y + 1)^2 (19 - 14 x + 3 x^2 - 14 y + 6 x y + 3 y^2))
            * (30 + (2 x - 3 y)^2 (18 - 32 x + 12 x^2 + 48 y - 36 x y + 27 y^2))

    Start (0.25, -0.75), chosen here, in the basin of the minimum 3 at (0, -1). Three local
    minima: 30 at (-0.6, -0.4), 84 at (1.8, 0.2) and 840 at (1.2, 0.8).

    References
    ----------
    Goldstein and Price (1971), Mathematics of Computation 25, 569-574.
    """
    s = x[0] + x[1]
    a = 19.0 + s * (3.0 * s - 14.0)
    left = 1.0 + (s + 1.0) * (s + 1.0) * a
    left_s = (s + 1.0) * (2.0 * a + (s + 1.0) * (6.0 * s - 14.0))
    t = 2.0 * x[0] - 3.0 * x[1]
    b = 18.0 + t * (3.0 * t - 16.0)
    right = 30.0 + t * t * b
    right_t = t * (2.0 * b + t * (6.0 * t - 16.0))
    g[0] = left_s * right + 2.0 * left * right_t
    g[1] = left_s * right - 3.0 * left * right_t
    return left * right


@classical(start=(3.0, 2.5), minimum=((math.pi, math.pi), -1.0), bounds=2 * [(-100.0, 100.0)])
def easom(x: Any, g: Any) -> Any:
    """Easom's function: a needle in a plain.

        f = -cos(x_1) cos(x_2) exp(-(x_1 - pi)^2 - (x_2 - pi)^2)

    Start (3, 2.5), chosen here, in the basin of the minimum -1 at (pi, pi).

    References
    ----------
    Easom (1990), thesis, University of Louisville; Jamil and Yang (2013).
    """
    p = x[0] - math.pi
    q = x[1] - math.pi
    e = math.exp(-p * p - q * q)
    c = math.cos(x[0])
    d = math.cos(x[1])
    g[0] = e * d * (math.sin(x[0]) + 2.0 * p * c)
    g[1] = e * c * (math.sin(x[1]) + 2.0 * q * d)
    return -c * d * e
