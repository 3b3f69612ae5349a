"""Objectives of one problem on a GPU: sums of terms, or functions that the host calls.

Without a CUDA package this module can be imported; its kernels can be made only with one.
"""

import functools
from typing import Any

import numpy as np

from rmsfast.core import status
from rmsfast.core.cuda.target import device_function, target
from rmsfast.core.solver import STATE

cuda: Any = target()  # the simulator looks for it among the names of this module

RECORD = np.dtype((np.record, STATE))  # the simulator reaches fields as Numba does
F = 0  # where `plan`, by which the kernels of a step tell one another, has the value


def value_of(term: Any) -> Any:
    """Return the device function ``value(i, x, args)``: term `i` as float64, zero if None."""
    if term is None:

        @cuda.jit(device=True)
        def nothing(i: int, x: np.ndarray, args: Any) -> float:
            return 0.0

        return nothing

    value = device_function(term)

    @cuda.jit(device=True)
    def evaluated(i: int, x: np.ndarray, args: Any) -> float:
        return np.float64(value(i, x, *args))

    return evaluated


def gradient_of(grad: Any, T: Any) -> Any:
    """Return the device function ``gradient(i, x, args)``: component `i`, of the type `T`."""
    derivative = device_function(grad)

    @cuda.jit(device=True)
    def evaluated(i: int, x: np.ndarray, args: Any) -> float:
        return T(derivative(i, x, *args))

    return evaluated


@functools.lru_cache(maxsize=64)
def gradient_kernel(grad: Any) -> Any:
    """Make the kernel ``(x, g, args)`` that writes the gradient of a sum of terms."""
    derivative = device_function(grad)

    def gradient(x: np.ndarray, g: np.ndarray, args: Any) -> None:
        i = cuda.grid(1)
        while i < x.size:
            g[i] = derivative(i, x, *args)
            i += cuda.gridsize(1)

    return cuda.jit(gradient)


@functools.lru_cache(maxsize=1)
def keep_kernel() -> Any:
    """Make the kernel ``(states, plan, gradients, f, g)`` that takes in value and gradient.

    `f` has the shape (1,); the gradient `g` becomes the row of the trial point.
    """

    def keep(
        states: np.ndarray, plan: np.ndarray, gradients: np.ndarray, f: np.ndarray, g: np.ndarray
    ) -> None:
        state = states[0]
        if state.status != status.RUNNING:
            return
        i = cuda.grid(1)
        if i == 0:
            plan[F] = f[0]
        row = gradients[state.trial]
        while i < g.size:
            row[i] = g[i]
            i += cuda.gridsize(1)

    return cuda.jit(keep)
