"""Multimodal functions of any number of variables.

Each starts inside the basin of its global minimum, so that a local method can be judged by
it; draw starts from `bounds` to test a global one.
"""

import math
from typing import Any

import numpy as np

from rmsfast.objectives._classical import at_least, box, scalable
from rmsfast.objectives._sums import separate


@scalable(
    2,
    sizes=at_least(1),
    start=np.zeros,
    minimum=lambda n: (np.full(n, -2.903534027771177), -39.16616570377142 * n),
    bounds=box(-5.0, 5.0),
)
@separate
def styblinski_tang(i: int, n: int, x: Any) -> Any:
    """Styblinski and Tang's function.

        f = sum (x_i^4 - 16 x_i^2 + 5 x_i) / 2

    Start at the origin, from which a small step downhill leads to the minimum
    -39.16617 n at (-2.903534, ..., -2.903534); 2^n - 1 local minima are higher.

    References
    ----------
    Styblinski and Tang (1990), Neural Networks 3, 467-483.
    """
    x2 = x * x
    return 0.5 * (x2 * (x2 - 16.0) + 5.0 * x), 2.0 * x * (x2 - 8.0) + 2.5


@scalable(
    2,
    sizes=at_least(1),
    start=lambda n: np.full(n, 0.4),
    minimum=lambda n: (np.zeros(n), 0.0),
    bounds=box(-5.12, 5.12),
)
@separate
def rastrigin(i: int, n: int, x: Any) -> Any:
    """Rastrigin's function.

        f = sum x_i^2 + 10 (1 - cos(2 pi x_i))

    Start (0.4, ..., 0.4), in the basin of the minimum 0 at the origin. There is a local
    minimum near every point of integer coordinates.

    References
    ----------
    Rastrigin (1974), Systems of Extremal Control; Mühlenbein, Schomisch and Born (1991),
    Parallel Computing 17, 619-632.
    """
    turn = 2.0 * math.pi * x
    f = x * x + 10.0 * (1.0 - math.cos(turn))
    return f, 2.0 * x + 20.0 * math.pi * math.sin(turn)


@scalable(
    2,
    sizes=at_least(1),
    start=lambda n: np.full(n, 0.4),
    minimum=lambda n: (np.zeros(n), 0.0),
    bounds=box(-32.768, 32.768),
)
def ackley(x: Any, g: Any) -> Any:
    """Ackley's function.

        f = 20 (1 - exp(-r/5)) + e - exp((1/n) sum cos(2 pi x_i)),  r^2 = (1/n) sum x_i^2

    Not differentiable at its minimum, a cone: there the gradient written is 0.

    Start (0.4, ..., 0.4), in the basin of the minimum 0 at the origin. There are local
    minima near the points of integer coordinates.

    References
    ----------
    Ackley (1987), A Connectionist Machine for Genetic Hillclimbing; in n variables, Bäck
    (1996), Evolutionary Algorithms in Theory and Practice.
    """
    n = x.size
    square = 0.0
    wave = 0.0
    for i in range(n):
        square += x[i] * x[i]
        wave += math.cos(2.0 * math.pi * x[i])
    r = math.sqrt(square / n)
    bowl = math.exp(-0.2 * r)
    ripple = math.exp(wave / n)
    slope = 4.0 * bowl / (n * r) if r != 0.0 else 0.0
    for i in range(n):
        g[i] = slope * x[i] + 2.0 * math.pi / n * ripple * math.sin(2.0 * math.pi * x[i])
    return 20.0 * (1.0 - bowl) + (math.exp(1.0) - ripple)


@scalable(
    2,
    sizes=at_least(1),
    start=np.ones,
    minimum=lambda n: (np.zeros(n), 0.0),
    bounds=box(-600.0, 600.0),
)
def griewank(x: Any, g: Any) -> Any:
    """Griewank's function.

        f = sum x_i^2 / 4000 + 1 - prod cos(x_i / sqrt(i))

    Start (1, ..., 1), in the basin of the minimum 0 at the origin. Local minima abound.

    References
    ----------
    Griewank (1981), Journal of Optimization Theory and Applications 34, 11-39.
    """
    n = x.size
    f = 1.0
    product = 1.0
    for i in range(n):
        f += x[i] * x[i] / 4000.0
        g[i] = product  # of the cosines before i
        product *= math.cos(x[i] / math.sqrt(i + 1.0))
    after = 1.0  # the product of the cosines after i
    for i in range(n - 1, -1, -1):
        root = math.sqrt(i + 1.0)
        g[i] = x[i] / 2000.0 + g[i] * after * math.sin(x[i] / root) / root
        after *= math.cos(x[i] / root)
    return f - product


@scalable(
    2,
    sizes=at_least(1),
    start=lambda n: np.full(n, 0.5),
    minimum=lambda n: (np.ones(n), 0.0),
    bounds=box(-10.0, 10.0),
)
@separate
def levy(i: int, n: int, x: Any) -> Any:
    """Levy's function.

        f = sin^2(pi w_1) + sum_{i<n} (w_i - 1)^2 (1 + 10 sin^2(pi w_i + 1))
            + (w_n - 1)^2 (1 + sin^2(2 pi w_n)),  w_i = 1 + (x_i - 1)/4

    Start (0.5, ..., 0.5), in the basin of the minimum 0 at (1, ..., 1). Local minima abound.

    References
    ----------
    Levy and Montalvo (1985), SIAM Journal on Scientific and Statistical Computing 6,
    15-29; the form is that of Laguna and Marti (2005), Journal of Global Optimization 33,
    235-255.
    """
    d = 0.25 * (x - 1.0)
    if i < n - 1:
        s, c = math.sin(math.pi * (d + 1.0) + 1.0), math.cos(math.pi * (d + 1.0) + 1.0)
        f = d * d * (1.0 + 10.0 * s * s)
        g = 0.5 * d * (1.0 + 10.0 * s * s) + 5.0 * math.pi * d * d * s * c
    else:
        s, c = math.sin(2.0 * math.pi * d), math.cos(2.0 * math.pi * d)
        f = d * d * (1.0 + s * s)
        g = 0.5 * d * (1.0 + s * s) + math.pi * d * d * s * c
    if i == 0:
        s, c = math.sin(math.pi * (d + 1.0)), math.cos(math.pi * (d + 1.0))
        f += s * s
        g += 0.5 * math.pi * s * c
    return f, g
