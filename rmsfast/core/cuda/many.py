"""Many problems on a GPU: each thread takes the next problem of a queue and solves it.

A thread owns a work array and a record, as a thread of the CPU does. Threads
that run side by side touch the same row and coordinate, so those must be
neighbours in memory, or each access is as many transactions as there are
threads. The record, 1.1 kB that every step reads all over, is therefore in
local memory, which the hardware interleaves word by word across threads. So is
a work array of no more than `LOCAL_BYTES`: its shape is then a constant of the
kernel, and what the many passes over the direction write stays in the first
cache, through which writes to global memory pass at once. Larger ones are
columns of one array ``(rows, n, threads)``. (Registers of a thread for n = 2,
by ptxas for capability 9.0: 56 to 94 with local work arrays, 138 to 194 with
columns. Times are not measured.)

A launch ends after some evaluations, so that the host can look up. What is in
local memory is written to global memory then, as much as one or two evaluations
write. Loops over the words of a record and over a work array have bounds that
the compiler does not know: unrolled, they took 255 registers.

An exception ends a thread, silently. Its problem is still marked as being worked
at in the next launch, and ends there.
"""

import functools
from typing import Any, NamedTuple

import numpy as np

from rmsfast.core import status
from rmsfast.core.auto import advance_auto
from rmsfast.core.cuda.target import device_function, target
from rmsfast.core.queue import DONE, TAKEN, Found, Problems, Start, begin, write_down
from rmsfast.core.queue import STATUS as CODE
from rmsfast.core.solver import STATE, G, X, advance_numeric

cuda: Any = target()  # the simulator looks for it among the names of this module

RECORD = np.dtype((np.record, STATE))  # the simulator reaches fields as Numba does
WORDS = STATE.itemsize // 8  # of a record, to copy it by; its fields fill whole words
LOCAL_BYTES = 4096  # of a work array; the driver reserves it for every thread a GPU can hold

LACK = 2  # counter of threads that wait for further learning rates; see TAKEN, DONE
PROBLEM, BUSY = range(2)  # what is known of each thread


class Threads(NamedTuple):
    """What each thread needs to go on, in the next launch.

    Attributes
    ----------
    w : ndarray, shape (rows, n, threads)
        Work arrays.
    states : ndarray of int64, shape (WORDS, threads)
        Records, word by word.
    places : ndarray of int64, shape (threads, 2)
        The number of the problem, or -1; and whether the thread is at work, which it still is
        after a launch where the objective raised.
    """

    w: np.ndarray
    states: np.ndarray
    places: np.ndarray


class Shared(NamedTuple):
    """All that a launch works on, on the device; ``start.blank`` as words."""

    args: tuple[Any, ...]
    problems: Problems
    start: Start
    counters: np.ndarray
    threads: Threads
    found: Found


def is_local(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Whether a work array of this shape is in local memory."""
    return int(np.prod(shape)) * dtype.itemsize <= LOCAL_BYTES


@functools.lru_cache(maxsize=64)
def kernel(
    fun: Any, own: tuple[bool, ...], auto: bool, shape: tuple[int, int] | None, dtype: Any
) -> Any:
    """Make the kernel in which each thread solves problem after problem.

    Parameters
    ----------
    fun : Dispatcher
        The objective ``f = fun(x, g, *args)``.
    own : tuple of bool
        Which of `args` are arrays with one more axis, the first, of the problems.
    auto : bool
        Whether it is for ``lr="auto"``, or for a numeric learning rate.
    shape : tuple of int or None
        Shape of the work array, if it is local; None if it is a column of ``threads.w``.
    dtype : dtype
        Of the points: float64 or float32.

    Returns
    -------
    Dispatcher
        ``run[blocks, size](shared, evaluations)`` with `Shared`: each thread evaluates up to
        `evaluations` times. A thread that comes to the end of ``start.rates`` waits there, and
        adds to ``counters[LACK]``.
    """
    evaluate = _evaluation(fun, own)
    advance = device_function(advance_auto if auto else advance_numeric)
    lay_out, write = device_function(begin), device_function(write_down)

    @cuda.jit(device=True)
    def work(t: int, w: np.ndarray, words: np.ndarray, shared: Shared, evaluations: int) -> None:
        args, problems, start, counters, threads, found = shared
        places, state = threads.places[t], words.view(RECORD)[0]
        k = places[PROBLEM]
        if k >= 0 and places[BUSY]:
            found.ends[k, CODE] = status.OBJECTIVE
            cuda.atomic.add(counters, DONE, 1)
            k = -1
        places[BUSY] = 1
        for _ in range(evaluations):
            if k < 0:
                place = cuda.atomic.add(counters, TAKEN, 1)
                if place >= problems.order.size:
                    break
                k = problems.order[place]
                places[PROBLEM] = k
                for i in range(threads.states.shape[0]):
                    words[i] = start.blank[i]
                bounds = k if problems.lower.shape[0] > 1 else 0
                lower, upper = problems.lower[bounds], problems.upper[bounds]
                lay_out(w, state, problems.x0s[k], lower, upper, start.scale)
                state.max_evaluations = problems.limits[bounds]
            if start.rates.size > 0:
                if state.evaluations >= start.rates.size:
                    cuda.atomic.add(counters, LACK, 1)
                    break
                state.lr = start.rates[state.evaluations]
            f = evaluate(w[X + state.trial], w[G + state.trial], (), args, k)
            if advance(w, state, f) != status.RUNNING:
                write(found, k, w, state, state.status)
                cuda.atomic.add(counters, DONE, 1)
                k = -1
        if k >= 0:
            write(found, k, w, state, status.RUNNING)
        places[PROBLEM] = k
        places[BUSY] = 0

    @cuda.jit
    def solve(shared: Shared, evaluations: int) -> None:
        t, threads = cuda.grid(1), shared.threads
        if t < threads.w.shape[2]:
            words = cuda.local.array(WORDS, np.int64)
            for i in range(threads.states.shape[0]):
                words[i] = threads.states[i, t]
            work(t, threads.w[:, :, t], words, shared, evaluations)
            for i in range(threads.states.shape[0]):
                threads.states[i, t] = words[i]

    @cuda.jit
    def solve_locally(shared: Shared, evaluations: int) -> None:
        t, threads = cuda.grid(1), shared.threads
        if t < threads.w.shape[2]:
            words = cuda.local.array(WORDS, np.int64)
            w = cuda.local.array(shape, dtype)
            for i in range(threads.states.shape[0]):
                words[i] = threads.states[i, t]
            for i in range(threads.w.shape[0]):
                for j in range(threads.w.shape[1]):
                    w[i, j] = threads.w[i, j, t]
            work(t, w, words, shared, evaluations)
            for i in range(threads.states.shape[0]):
                threads.states[i, t] = words[i]
            for i in range(threads.w.shape[0]):
                for j in range(threads.w.shape[1]):
                    threads.w[i, j, t] = w[i, j]

    return solve if shape is None else solve_locally


def _evaluation(fun: Any, own: tuple[bool, ...]) -> Any:
    """Return the function of device code ``f = evaluate(x, g, picked, args, k)``.

    It hands the arguments of problem `k` on to `fun`, one after another: device code cannot
    return an array that it was not given. `picked` is ``()`` at first.
    """
    # one declared with signatures takes no others: it is compiled anew from its source
    closed = not getattr(fun, "_can_compile", True)
    objective = cuda.jit(device=True)(fun.py_func) if closed else device_function(fun)

    @cuda.jit(device=True)
    def evaluate(x: np.ndarray, g: np.ndarray, picked: Any, args: Any, k: int) -> float:
        return np.float64(objective(x, g, *picked))

    for each in own[::-1]:
        evaluate = _with_entry(evaluate) if each else _with_shared(evaluate)
    return evaluate


def _with_entry(others: Any) -> Any:
    @cuda.jit(device=True)
    def evaluate(x: np.ndarray, g: np.ndarray, picked: Any, args: Any, k: int) -> float:
        return others(x, g, (*picked, args[0][k]), args[1:], k)

    return evaluate


def _with_shared(others: Any) -> Any:
    @cuda.jit(device=True)
    def evaluate(x: np.ndarray, g: np.ndarray, picked: Any, args: Any, k: int) -> float:
        return others(x, g, (*picked, args[0]), args[1:], k)

    return evaluate
