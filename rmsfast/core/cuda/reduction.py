"""Sums and maxima over all variables, in two kernels: one of many blocks, one of a single block.

Each block of the first brings its share of a few sums and maxima to one number each, and the
second folds those of all blocks, always in the same order: the number of blocks does not depend
on the GPU.
"""

from typing import Any

import numpy as np

from rmsfast.core.cuda.target import SIMULATED, on_device, target

cuda: Any = target()  # the simulator looks for it among the names of this module

THREADS = 4 if SIMULATED else 256  # of a block
BLOCKS = 4 if SIMULATED else 2048  # at most: fixed, so that sums have the same bits on all GPUs

SUMS, MAXIMA = 5, 5  # so many may be measured in one pass: rows of `parts`, first the sums
MEASURES = SUMS + MAXIMA
SHAPE = (MEASURES, THREADS)  # of the shared memory of a block


def blocks_of(n: int) -> int:
    """Return the number of blocks for `n` variables."""
    return min(-(-n // THREADS), BLOCKS)


@on_device
def _fold(lanes: np.ndarray) -> None:
    """Bring the sums and maxima of all threads of a block to the first."""
    t, width = cuda.threadIdx.x, THREADS // 2
    while width > 0:
        cuda.syncthreads()
        if t < width:
            for k in range(SUMS):
                lanes[k, t] += lanes[k, t + width]
            for k in range(SUMS, MEASURES):
                lanes[k, t] = max(lanes[k, t], lanes[k, t + width])
        width //= 2
    cuda.syncthreads()


@on_device
def publish(parts: np.ndarray, lanes: np.ndarray, sums: Any, maxima: Any) -> None:
    """Write what the block measured.

    Parameters
    ----------
    parts : ndarray of float64, shape (MEASURES, BLOCKS)
        What each block measured.
    lanes : ndarray of float64, shape SHAPE
        Memory that the block shares.
    sums, maxima : tuple of float64
        What this thread measured; maxima are not negative. What is left out is zero.
    """
    t = cuda.threadIdx.x
    for k in range(MEASURES):
        lanes[k, t] = 0.0
    for k in range(len(sums)):
        lanes[k, t] = sums[k]
    for k in range(len(maxima)):
        lanes[SUMS + k, t] = maxima[k]
    _fold(lanes)
    if t == 0:
        for k in range(MEASURES):
            parts[k, cuda.blockIdx.x] = lanes[k, 0]


@on_device
def gather(parts: np.ndarray, blocks: int, lanes: np.ndarray) -> None:
    """Fold what all `blocks` measured: the first thread finds it in column 0 of `lanes`."""
    t = cuda.threadIdx.x
    for k in range(MEASURES):
        lanes[k, t] = 0.0
    block = t
    while block < blocks:
        for k in range(SUMS):
            lanes[k, t] += parts[k, block]
        for k in range(SUMS, MEASURES):
            lanes[k, t] = max(lanes[k, t], parts[k, block])
        block += THREADS
    _fold(lanes)
