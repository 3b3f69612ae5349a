"""Many problems on a GPU: what the host does."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from numba.core.errors import NumbaError

from rmsfast.core import queue
from rmsfast.core.cuda import many as device
from rmsfast.core.cuda.target import SIMULATED
from rmsfast.device import to_device

cuda = device.cuda

BLOCK = 128  # threads of a block
# Threads of a multiprocessor at most. With local work arrays registers leave room for 640 to 1024,
# but each thread has 2 to 5 kB in its caches; with columns the registers leave room for 256 to 384,
# and further threads would wait. (By ptxas for capability 9.0. Times are not measured.)
PER_MULTIPROCESSOR = {True: 512, False: 256}  # whether work arrays are local
WORK_BYTES = 2**31  # of the work arrays of all threads
LAUNCH_SECONDS = 0.05  # of one launch, between half and twice that: Ctrl-C waits for its end
FIRST = 16  # evaluations of the first launch


def solve(
    fun: Any,
    args: tuple[Any, ...],
    own: tuple[bool, ...],
    auto: bool,
    rows: int,
    problems: queue.Problems,
    start: Callable[[int], queue.Start],
    report: Callable[[int], Any],
    found: queue.Found,
) -> bool:
    """Solve problems on the GPU, launch after launch, until all have ended or Ctrl-C comes.

    Parameters
    ----------
    fun : Dispatcher
        The objective ``f = fun(x, g, *args)``.
    args : tuple
        Numbers, arrays and tuples of such.
    own : tuple of bool
        Which of `args` have one more axis, the first, of the problems.
    auto : bool
        Whether it is for ``lr="auto"``, or for a numeric learning rate.
    rows : int
        Of a work array.
    problems : Problems
        In the order in which they are taken.
    start : callable
        ``start(steps)``, how each begins, with the learning rates of the first steps.
    report : callable
        Is told how many problems have ended.
    found : Found
        Is overwritten with the results, also after Ctrl-C.

    Returns
    -------
    bool
        False if problems wait for learning rates that the schedule does not give.

    Raises
    ------
    TypeError
        If `fun` cannot be compiled for CUDA, or takes other arguments.
    """
    count, n = problems.x0s.shape
    shape, dtype = (rows, n), problems.x0s.dtype
    local = device.is_local(shape, dtype)
    size = _thread_count(count, rows * n * dtype.itemsize, local)
    block = min(size, BLOCK)
    kernel = device.kernel(fun, own, auto, shape if local else None, dtype)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Grid size")  # few problems are no mistake
        launch = kernel[-(-size // block), block]
    evaluations = asked = steps = FIRST
    begin, counters = start(steps), np.zeros(3, np.int64)
    on_device: Any = to_device("found", found)
    counted = cuda.to_device(counters)
    shared = device.Shared(
        args=to_device("args", args),
        problems=to_device("problems", problems),
        start=to_device("start", _in_words(begin)),
        counters=counted,
        threads=_threads(shape, dtype, size),
        found=on_device,
    )
    with suppress(KeyboardInterrupt):
        while counters[queue.DONE] < count and counters[device.LACK] == 0:
            since = time.perf_counter()
            try:
                launch(shared, evaluations)
            except NumbaError as error:
                raise TypeError(
                    "fun cannot be compiled for CUDA, where it may neither allocate arrays nor "
                    "call what Numba has for the CPU alone: the error above says where"
                ) from error
            counted.copy_to_host(counters)  # waits for the end of the launch
            seconds = time.perf_counter() - since
            report(int(counters[queue.DONE]))
            if seconds < LAUNCH_SECONDS / 2:
                evaluations *= 2
            elif seconds > 2 * LAUNCH_SECONDS:
                evaluations = max(1, evaluations // 2)
            asked += evaluations
            if begin.rates.size > 0 and asked > steps:
                steps = 8 * asked
                begin = start(steps)
                shared = shared._replace(start=to_device("start", _in_words(begin)))
    for here, there in zip(found, on_device, strict=True):
        there.copy_to_host(here)
    return bool(counters[device.LACK] == 0)


def _threads(shape: tuple[int, int], dtype: np.dtype[Any], size: int) -> device.Threads:
    """Return memory on the device for as many threads as `size`, none of which has a problem."""
    w = cuda.device_array((*shape, size), dtype)
    words = cuda.device_array((device.WORDS, size), np.int64)
    return device.Threads(w, words, cuda.to_device(np.full((size, 2), (-1, 0), np.int64)))


def _thread_count(count: int, work: int, local: bool) -> int:
    """Return how many threads share `count` problems, with `work` bytes, local or not, for each."""
    processors = 1 if SIMULATED else cuda.get_current_device().MULTIPROCESSOR_COUNT
    return max(1, min(count, processors * PER_MULTIPROCESSOR[local], WORK_BYTES // work))


def _in_words(start: queue.Start) -> queue.Start:
    """Return `start` with the record as words, as kernels copy it."""
    return start._replace(blank=start.blank.view(np.int64))
