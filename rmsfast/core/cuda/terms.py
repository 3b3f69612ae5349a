"""Objectives of one problem on a GPU: sums of terms, or functions that the host calls.

Without a CUDA package this module can be imported; its kernels can be made only with one.
"""

import functools
from typing import Any

import numpy as np

from rmsfast.core import status
from rmsfast.core.cuda.reduction import BLOCKS, MEASURES
from rmsfast.core.cuda.target import device_function, target
from rmsfast.core.solver import STATE

cuda: Any = target()  # the simulator looks for it among the names of this module


def _notes() -> np.dtype[Any]:
    """Return the dtype of the record of a run, and of what its kernels tell one another."""
    more: list[Any] = [
        ("blocks", np.int64),  # of a pass
        ("value", np.float64),
        ("parts", np.float64, (MEASURES, BLOCKS)),  # what each block measured
        # with a numeric learning rate: whether the value is the lowest, the row to step from, the
        # largest component of the gradient to descend, the factor of that gradient
        ("improved", np.bool_),
        ("source", np.int64),
        ("top", np.float64),
        ("scale", np.float64),
        # with lr="auto": what is to be done, the metric of all coordinates or 0 if there is none,
        # the factor of a step of the second loop
        ("task", np.int64),
        ("overall", np.float64),
        ("factor", np.float64),
    ]
    both: Any = np.dtype([("state", STATE), ("more", np.dtype(more, align=True))])
    names, formats, offsets = [], [], []
    for dtype, start in both.fields.values():
        names += dtype.names
        formats += [dtype[name] for name in dtype.names]
        offsets += [start + dtype.fields[name][1] for name in dtype.names]
    layout: Any = {"names": names, "formats": formats, "offsets": offsets}
    # a record, whose fields the simulator reaches as Numba does; aligned, or Numba reads by bytes
    return np.dtype((np.record, np.dtype(layout | {"itemsize": both.itemsize}, align=True)))


# A record that begins with one of dtype STATE. It is one array of a launch: each costs the host
# 4 us, and a tuple of arrays 9 more.
NOTES = _notes()


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
    """Make the kernel ``(notes, gradients, f, g)`` that takes in value and gradient.

    `f` has the shape (1,); the gradient `g` becomes the row of the trial point.
    """

    def keep(notes: np.ndarray, gradients: np.ndarray, f: np.ndarray, g: np.ndarray) -> None:
        state = notes[0]
        if state.status != status.RUNNING:
            return
        i = cuda.grid(1)
        if i == 0:
            state.value = f[0]
        row = gradients[state.trial]
        while i < g.size:
            row[i] = g[i]
            i += cuda.gridsize(1)

    return cuda.jit(keep)
