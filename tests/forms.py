"""One objective in many forms: a chain of Rosenbrock's, for one variable a parabola.

It is of Python code that Numba compiles too: sums in one order and no powers, so that all forms
compute the same bits.
"""

import numba
import numpy as np


def value(x, a):
    f = (1 - x[0]) * (1 - x[0])
    for i in range(x.size - 1):
        t = x[i + 1] - x[i] * x[i]
        f += a * t * t + (1 - x[i + 1]) * (1 - x[i + 1])
    return f


def gradient(x, a):
    g = np.zeros_like(x)
    g[0] = -2 * (1 - x[0])
    for i in range(x.size - 1):
        t = x[i + 1] - x[i] * x[i]
        g[i] -= 4 * a * t * x[i]
        g[i + 1] += 2 * a * t - 2 * (1 - x[i + 1])
    return g


def in_place(x, g, a):
    f = (1 - x[0]) * (1 - x[0])
    g[0] = -2 * (1 - x[0])
    for i in range(x.size - 1):
        t = x[i + 1] - x[i] * x[i]
        f += a * t * t + (1 - x[i + 1]) * (1 - x[i + 1])
        g[i] -= 4 * a * t * x[i]
        g[i + 1] = 2 * a * t - 2 * (1 - x[i + 1])
    return f


def pair(x, a):
    return value(x, a), gradient(x, a)


jit = numba.njit(cache=True)
jit_value, jit_gradient, jit_in_place = jit(value), jit(gradient), jit(in_place)


@jit
def jit_pair(x, a):
    return jit_value(x, a), jit_gradient(x, a)


@jit
def jit_value_32(x, a):
    return np.float32(jit_value(x, a))
