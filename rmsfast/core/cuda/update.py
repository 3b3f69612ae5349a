"""Array loops over the rule on a GPU: many arrays in one launch.

Without a CUDA package this module can be imported; its kernels can be made only with one.
"""

import ctypes
import functools
import math
from typing import Any

import numpy as np

from rmsfast.core import cpu, rule
from rmsfast.core.cpu import (
    BLOCK,
    CLIP,
    CORRECTION,
    DECAY,
    EPS,
    LANES,
    LR,
    MOMENTUM,
    ONE_MINUS_RHO,
    RATE,
    RHO,
    SCALE,
    WEIGHT_DECAY,
    A,
    B,
    G,
    M,
    S,
    Variant,
    X,
)
from rmsfast.core.cuda.target import SIMULATED, device_function, on_device, target
from rmsfast.core.rule import NO_FLAGS, Hyper

cuda: Any = target()

SPAN = 1024  # elements of one block of an update
THREADS = 2 if SIMULATED else 256  # of a block; no result depends on it
# Numba warns of fewer, however little there is to do; blocks beyond the last element do nothing
MIN_BLOCKS = 1 if SIMULATED else 128
# What a step decides on the device, for each pass: factor on the gradients (negative: nothing
# is updated), bias correction, decay of the averages
CONTROLS = 3
# Numbers that one settlement takes: the bound of the norm, the decay of the averages, the sum of
# squares below which digits are lost
CLIP_NORM, EMA_DECAY, UNDERFLOW = range(3)


def _simulated_array(address: int, size: int, kind: Any) -> np.ndarray:
    """Return an array of one dimension over `size` numbers at `address`, in the simulator."""
    buffer = (ctypes.c_char * (int(size) * np.dtype(kind).itemsize)).from_address(int(address))
    return np.frombuffer(buffer, kind)


_array_at = _simulated_array if SIMULATED else cpu.array_at
_with_lr, _step, _average, _descent_gradient = map(
    device_function, (rule.with_lr, rule.step, rule.average, rule.descent_gradient)
)


@on_device
def _find_array(blocks: np.ndarray, block: int) -> int:
    """Return the array that a block belongs to: the last with ``blocks[k] <= block``."""
    low, high = 0, blocks.size - 1
    while high - low > 1:
        middle = (low + high) // 2
        if blocks[middle] <= block:
            low = middle
        else:
            high = middle
    return low


@functools.cache
def _span_function(T: Any, P: Any, v: Variant) -> Any:
    """Make the device function that updates a span of one array by the threads of one block."""
    momentum, weight_decay, clip_value, _, *flags, lr_array, averaged = v
    bias_correction, centered, eps_in_sqrt, nesterov, lr_in_momentum, decoupled, maximize = flags

    def span(
        row: Any, size: int, first: int, numbers: Any, scale: float, correction: float, decay: float
    ) -> None:
        # Whole arrays, since the compiler knows that addresses in memory are of global memory,
        # and no more when something is added to them
        x = _array_at(row[X], size, P)
        g = _array_at(row[G], size, P)
        s = _array_at(row[S], size, T)
        m = _array_at(row[M], size if centered else 0, T)
        b = _array_at(row[B], size if momentum else 0, T)
        lr = _array_at(row[LR], size if lr_array else 0, T)
        a = _array_at(row[A], size if averaged else 0, T)
        h = Hyper(
            numbers[RATE],
            numbers[RHO],
            numbers[ONE_MINUS_RHO],
            numbers[EPS],
            numbers[MOMENTUM] if momentum else T(0),
            numbers[WEIGHT_DECAY] if weight_decay else T(0),
            numbers[CLIP] if clip_value else T(math.inf),
            scale,
            correction if bias_correction else T(1),
            bias_correction,
            centered,
            eps_in_sqrt,
            nesterov,
            lr_in_momentum,
            decoupled,
            maximize,
        )
        end = min(first + SPAN, size)
        i = first + cuda.threadIdx.x
        while i < end:  # `range` with a step divides
            h_i = _with_lr(h, lr[i]) if lr_array else h
            m_i = m[i] if centered else T(0)
            b_i = b[i] if momentum else T(0)
            x_i, s_i, m_i, b_i = _step(T(x[i]), T(g[i]), s[i], m_i, b_i, h_i)
            x[i] = P(x_i)
            s[i] = s_i
            if centered:
                m[i] = m_i
            if momentum:
                b[i] = b_i
            if averaged:
                a[i] = _average(a[i], x_i, decay)
            i += cuda.blockDim.x

    return cuda.jit(device=True)(span)


@functools.cache
def update_one_kernel(T: Any, P: Any, v: Variant) -> Any:
    """Make the kernel that updates one array.

    Parameters
    ----------
    T, P, v
        As in `update_kernel`.

    Returns
    -------
    Dispatcher
        Of a kernel ``(row, size, numbers)`` with the addresses of the array's data in `row`, a
        tuple of `COLUMNS` int64; the number of elements; and `numbers` as in `update_kernel`.
        It is for a block for each `SPAN` elements, or more.
    """
    is_scaled = v.clip_norm
    span = _span_function(T, P, v)

    def update_one(row: tuple[int, ...], size: int, numbers: tuple[float, ...]) -> None:
        scale = numbers[SCALE] if is_scaled else T(1)
        first = cuda.blockIdx.x * SPAN
        span(row, size, first, numbers, scale, numbers[CORRECTION], numbers[DECAY])

    return cuda.jit(update_one)


@functools.cache
def update_kernel(T: Any, P: Any, v: Variant, controlled: bool) -> Any:
    """Make the kernel that updates many arrays.

    Parameters
    ----------
    T : type
        `numpy.float64` or `numpy.float32`: what is computed in, and what accumulators are of.
    P : type
        Of parameters and gradients: `T`, or `numpy.float16` for float32.
    v : Variant
        What is computed.
    controlled : bool
        Whether `settle_kernel` decides what the last argument holds; else it is not read.

    Returns
    -------
    Dispatcher
        Of a kernel ``(table, blocks, sizes, numbers, control)`` with the addresses of each
        array's data in the rows of `table`, int64 of shape ``(k, COLUMNS)``; in `blocks`, int64
        of shape ``(k + 1,)``, the number of each array's first block of `SPAN` elements; in
        `sizes`, int64 of shape ``(k,)``, their elements; `numbers`, a tuple of `T` with what
        stands at `RATE` to `DECAY`; and `control`, `T` of shape ``(CONTROLS,)``. It is for
        ``blocks[-1]`` blocks or more, of any number of threads.
    """
    is_scaled = v.clip_norm
    span = _span_function(T, P, v)

    def update(
        table: np.ndarray,
        blocks: np.ndarray,
        sizes: np.ndarray,
        numbers: tuple[float, ...],
        control: np.ndarray,
    ) -> None:
        block = cuda.blockIdx.x
        k = _find_array(blocks, block)
        first = (block - blocks[k]) * SPAN
        if controlled:
            scale, correction, decay = control[0], control[1], control[2]
        else:
            scale = numbers[SCALE] if is_scaled else T(1)
            correction, decay = numbers[CORRECTION], numbers[DECAY]
        if scale >= 0:
            span(table[k], sizes[k], first, numbers, scale, correction, decay)

    return cuda.jit(update)


@functools.cache
def norm_kernel(T: Any, P: Any, weight_decay: bool, maximize: bool) -> Any:
    """Make the kernel that sums the squares of the gradients to descend, block by block.

    Parameters
    ----------
    T, P : type
        As in `update_kernel`.
    weight_decay : bool
        Whether coupled weight decay is added to the gradient.
    maximize : bool
        Whether the gradient is negated before.

    Returns
    -------
    Dispatcher
        Of a kernel ``(table, blocks, sizes, numbers, factor, again, sums, tops)``, where the
        blocks are of `BLOCK` elements. It writes each block's sum of the squares of the
        gradients and largest magnitude, inf where one is not finite, into `sums` and `tops`,
        float64 of shape ``(blocks[-1],)``. If `again` the gradients are multiplied with
        ``factor[0]`` before, and nothing is done where that is one. The order of each sum is
        that of `rmsfast.core.cpu.norm_pass`.
    """

    def norm(
        table: np.ndarray,
        blocks: np.ndarray,
        sizes: np.ndarray,
        numbers: tuple[float, ...],
        factor: np.ndarray,
        again: bool,
        sums: np.ndarray,
        tops: np.ndarray,
    ) -> None:
        scale = factor[0] if again else 1.0
        if again and scale == 1.0:
            return
        block = cuda.blockIdx.x
        if block >= sums.size:
            return
        lanes = cuda.shared.array(LANES, np.float64)
        peaks = cuda.shared.array(LANES, np.float64)
        one, zero = T(1), T(0)
        decay = numbers[WEIGHT_DECAY] if weight_decay else zero
        h = Hyper(zero, zero, zero, zero, zero, decay, zero, one, one, *NO_FLAGS[1:], maximize)
        k = _find_array(blocks, block)
        size = sizes[k]
        first = (block - blocks[k]) * BLOCK
        end = min(first + BLOCK, size)
        x = _array_at(table[k, X], size, P)
        g = _array_at(table[k, G], size, P)
        for lane in range(cuda.threadIdx.x, LANES, cuda.blockDim.x):
            total, top = 0.0, 0.0
            for i in range(first + lane, end, LANES):
                d = np.float64(_descent_gradient(T(x[i]), T(g[i]), h))
                top = max(top, abs(d)) if abs(d) < math.inf else math.inf
                total += (d * scale) * (d * scale)
            lanes[lane] = total
            peaks[lane] = top
        _fold_lanes(lanes, peaks)
        if cuda.threadIdx.x == 0:
            sums[block] = lanes[0]
            tops[block] = peaks[0]

    return cuda.jit(norm)


@on_device
def _fold_lanes(lanes: np.ndarray, peaks: np.ndarray) -> None:
    """Add all lanes into the first, and bring the largest peak there."""
    cuda.syncthreads()
    width = LANES
    while width > 1:
        width //= 2
        for lane in range(cuda.threadIdx.x, width, cuda.blockDim.x):
            lanes[lane] += lanes[width + lane]
            peaks[lane] = max(peaks[lane], peaks[width + lane])
        cuda.syncthreads()


@functools.cache
def settle_kernel() -> Any:
    """Make the kernel that turns the sums of `norm_kernel` into what `update_kernel` does.

    Returns
    -------
    Dispatcher
        Of a kernel ``(sums, tops, factor, again, last, rhos, bounds, skips, counts, control32,
        control64)``, of which only the first block works, with any number of threads. First it is
        called with `again` False, where ``factor[0]`` becomes a power of two that keeps squares
        from over- and underflow; if `norm_kernel` is to use that, a second time with `again` True.
        Where `last` is True it writes a row of `CONTROLS` numbers for each of `rhos` into
        `control32` and `control64`, and counts in `counts`, int64 of shape ``(2,)``, the update,
        or, if `skips` and a gradient is not finite, that it is skipped. `bounds` holds what stands
        at `CLIP_NORM` to `UNDERFLOW`.
    """

    def settle(
        sums: np.ndarray,
        tops: np.ndarray,
        factor: np.ndarray,
        again: bool,
        last: bool,
        rhos: np.ndarray,
        bounds: tuple[float, ...],
        skips: bool,
        counts: np.ndarray,
        control32: np.ndarray,
        control64: np.ndarray,
    ) -> None:
        if cuda.blockIdx.x > 0:
            return
        lanes = cuda.shared.array(LANES, np.float64)
        peaks = cuda.shared.array(LANES, np.float64)
        for lane in range(cuda.threadIdx.x, LANES, cuda.blockDim.x):
            total, top = 0.0, 0.0
            for i in range(lane, sums.size, LANES):
                total += sums[i]
                top = max(top, tops[i])
            lanes[lane] = total
            peaks[lane] = top
        _fold_lanes(lanes, peaks)
        if cuda.threadIdx.x > 0:
            return
        square, top = lanes[0], peaks[0]
        finite = top < math.inf
        if not again:
            factor[0] = 1.0
            if finite and top > 0 and not bounds[UNDERFLOW] < square < math.inf:
                _, exponent = math.frexp(top)
                factor[0] = math.ldexp(1.0, -min(max(exponent, -1000), 1000))
        if not last:
            return
        scale = 1.0
        if skips and not finite:
            scale = -1.0
            counts[1] += 1
        else:
            counts[0] += 1
            if finite and square > 0:
                scale = min(1.0, bounds[CLIP_NORM] / math.sqrt(square) * factor[0])
        t = counts[0]
        for p in range(rhos.size):
            control64[p, 0] = scale
            control64[p, 1] = 1.0 - rhos[p] ** t
            control64[p, 2] = bounds[EMA_DECAY] if t > 1 else 0.0
            for c in range(CONTROLS):
                control32[p, c] = np.float32(control64[p, c])

    return cuda.jit(settle)


@functools.cache
def fill_kernel(T: Any) -> Any:
    """Make the kernel ``(array, value)`` that fills an array of `T`, one dimension."""

    def fill(array: np.ndarray, value: float) -> None:
        for i in range(cuda.grid(1), array.size, cuda.gridsize(1)):
            array[i] = T(value)

    return cuda.jit(fill)


def launch(kernel: Any, blocks: int, stream: Any, *arguments: Any) -> None:
    """Start a kernel of this module.

    Parameters
    ----------
    kernel : Dispatcher
        It does nothing in blocks beyond those needed.
    blocks : int
        That are needed.
    stream : stream or 0
        Of Numba.
    *arguments
        Of the kernel.
    """
    kernel[max(blocks, MIN_BLOCKS), THREADS, stream](*arguments)
