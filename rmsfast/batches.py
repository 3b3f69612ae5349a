"""The rows of a data set in the order of an epoch, in pieces that caches hold."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from mmap import mmap
from typing import Any, NamedTuple, TypeVar

import numba
import numpy as np
from scipy.sparse import issparse

from rmsfast.core.shuffle import permutation

T = TypeVar("T")

WINDOW_BYTES = 2**21  # of rows, gathered at a time; more at once only if a batch is larger
BLOCK_BYTES = 2**26  # of a mapped file, read at a time
AHEAD = 3  # windows that threads gather ahead of the one in use, at most
INT32_ROWS = 2**31  # an order of more takes int64


class Window(NamedTuple):
    """Some consecutive rows of an epoch.

    Attributes
    ----------
    data : tuple of ndarray
        C-contiguous; valid until the next window is taken.
    rows : int
        How many of their rows belong to it.
    origin : ndarray of int64, shape (rows,), or int
        Which rows of the data set these are; or the first of them, where they
        are in order.
    ends_epoch : bool
        Whether it is the last of its epoch.
    rng_state : dict or None
        State of the generator after all that was drawn up to here.
    """

    data: tuple[np.ndarray, ...]
    rows: int
    origin: np.ndarray | int
    ends_epoch: bool
    rng_state: Any

    def number(self, row: int) -> int:
        """Return which row of the data set `row` is."""
        return self.origin + row if isinstance(self.origin, int) else self.origin[row]


class _Block(NamedTuple):
    """Rows `start` and following of the data set, in memory.

    `rows` of them are used, the first in an order.
    """

    data: tuple[np.ndarray, ...]
    start: int
    rows: int
    order: np.ndarray | None
    ends_epoch: bool
    rng_state: Any


class Batches:
    """A data set, and how it is cut into batches.

    Parameters
    ----------
    arrays : tuple of ndarray
        Numbers; rows along the first axis, of which all have as many.
    mapped : bool
        Whether they are read from a file.
    batch_size : int
        Rows of a batch, at least 1 and at most all.
    drop_last : bool
        Leave out a short batch at the end of an epoch.
    """

    def __init__(
        self, arrays: tuple[np.ndarray, ...], mapped: bool, batch_size: int, drop_last: bool
    ) -> None:
        self.arrays, self.mapped = arrays, mapped
        self.batch_size = batch_size
        self.total = len(arrays[0])
        self.dropped = self.total % batch_size if drop_last else 0
        self.rows = self.total - self.dropped  # of an epoch
        self.steps = -(-self.rows // batch_size)  # of an epoch
        self._row_bytes = max(1, sum(a.nbytes // len(a) for a in arrays))
        self._window = self._whole_batches(WINDOW_BYTES)
        self._block = self._whole_batches(BLOCK_BYTES) if mapped else self.total
        self._blocks = max(1, self.total // self._block)  # of which the last has the rest too

    def _whole_batches(self, size: int) -> int:
        """Return the number of rows that take about `size` bytes."""
        return max(1, size // self._row_bytes // self.batch_size) * self.batch_size

    def sample(self) -> tuple[np.ndarray, ...]:
        """Return a copy of the first row, of the types that all batches have."""
        whole = _Block(self.arrays, 0, 1, None, False, None)
        return self._gather(whole, 0, 1, self._buffers(1)).data

    def windows(
        self, epochs: int, rng: np.random.Generator | None
    ) -> Generator[Window, None, None]:
        """Return the windows of some epochs.

        Parameters
        ----------
        epochs : int
            How many.
        rng : Generator or None
            Draws a new order for each epoch; None leaves the rows in theirs.

        Yields
        ------
        Window
            Its number of rows is a multiple of the batch size, but for the last
            of an epoch. Rows of a mapped file are shuffled within blocks of
            64 MiB, and the blocks among each other, but for the last.
        """
        single = self._blocks == 1 and self._window >= self.rows
        with ExitStack() as stack:
            reader = gatherers = None
            if not single:  # one thread draws, in order; others gather
                reader = stack.enter_context(ThreadPoolExecutor(1))
                # (`numba.get_num_threads` would start Numba's: after that GNU OpenMP forbids fork.)
                threads: Any = numba.config
                windows = -(-self.rows // self._window)
                count = min(AHEAD, threads.NUMBA_NUM_THREADS - 1, windows)
                if count > 0:
                    gatherers = stack.enter_context(ThreadPoolExecutor(count))
            depth = count if gatherers else 0
            rows = min(self._window, self.rows)
            ring = [self._buffers(rows) for _ in range(depth + 1)]
            blocks = _ahead(reader, self._readers(epochs, rng), 1)
            yield from _ahead(gatherers, self._cut(blocks, ring), depth)

    def _buffers(self, rows: int) -> tuple[np.ndarray, ...]:
        """Return arrays for some rows, of native byte order."""
        shapes = [(rows, *a.shape[1:]) for a in self.arrays]
        dtypes = [a.dtype.newbyteorder("=") for a in self.arrays]
        return tuple(map(np.empty, shapes, dtypes))

    def _readers(
        self, epochs: int, rng: np.random.Generator | None
    ) -> Iterator[Callable[[], _Block]]:
        """Return tasks that read the blocks of some epochs; they must run in this order."""
        for _ in range(epochs):
            numbers = np.arange(self._blocks)
            for k in range(self._blocks):
                yield partial(self._read, numbers, k, rng)

    def _read(self, numbers: np.ndarray, k: int, rng: np.random.Generator | None) -> _Block:
        """Bring the k-th block of an epoch into memory, and draw its order."""
        if k == 0 and rng is not None and self._blocks > 1:  # the last remains so
            numbers[:-1] = draw_order(rng, self._blocks - 1)
        start = int(numbers[k]) * self._block
        is_last = k + 1 == self._blocks
        stop = self.total if is_last else start + self._block
        rows = stop - start - (self.dropped if is_last else 0)
        data = tuple(a[start:stop] for a in self.arrays)
        if self.mapped:
            data = tuple(np.array(a, order="C") for a in data)
        order = None if rng is None else draw_order(rng, stop - start)
        return _Block(data, start, rows, order, is_last, generator_state(rng))

    def _cut(
        self, blocks: Iterator[_Block], ring: list[tuple[np.ndarray, ...]]
    ) -> Iterator[Callable[[], Window]]:
        """Return tasks that gather the windows of blocks, each into the next of the ring."""
        number = 0
        for block in blocks:
            for start in range(0, block.rows, self._window):
                stop = min(start + self._window, block.rows)
                buffers = ring[number % len(ring)]
                number += 1
                yield partial(self._gather, block, start, stop, buffers)

    def _gather(
        self, block: _Block, start: int, stop: int, buffers: tuple[np.ndarray, ...]
    ) -> Window:
        """Copy some rows of a block, in its order, into the buffers."""
        origin: Any = block.start + start
        if block.order is not None:
            origin = np.add(block.start, block.order[start:stop], dtype=np.int64)
        for a, buffer in zip(block.data, buffers, strict=True):
            part = buffer[: stop - start]
            if block.order is None:
                part[...] = a[start:stop]
            elif a.dtype.isnative and a.flags.c_contiguous:
                # "clip" is the mode that writes straight into `out`. Of an array that is not
                # contiguous `take` copies the whole first.
                np.take(a, block.order[start:stop], 0, out=part, mode="clip")
            else:
                part[...] = a[block.order[start:stop]]
        ends_epoch = block.ends_epoch and stop == block.rows
        return Window(buffers, stop - start, origin, ends_epoch, block.rng_state)


def labels(name: str, data: Any) -> list[str]:
    """Return what messages call the arrays of a data set, the argument `name`."""
    return [f"{name}[{k}]" for k in range(len(data))] if isinstance(data, (tuple, list)) else [name]


def read_data(name: str, data: Any) -> tuple[tuple[np.ndarray, ...], bool]:
    """Return the arrays of a data set, and whether one of them is a mapped file.

    Raises
    ------
    TypeError
        If an array does not hold numbers.
    ValueError
        If there is no array or no row, or the arrays differ in their number of
        rows.
    """
    parts = data if isinstance(data, (tuple, list)) else (data,)
    if not parts:
        raise ValueError(f"{name} must hold at least one array, got {data!r}")
    arrays: list[np.ndarray] = []
    for label, part in zip(labels(name, data), parts, strict=True):
        if issparse(part) or isinstance(part, np.ma.MaskedArray):
            raise TypeError(f"{label} must be dense and without mask, got {type(part).__name__}")
        try:
            array = np.asarray(part)
        except ValueError as error:
            raise ValueError(f"{label} must be an array, got rows of different lengths") from error
        except (TypeError, RuntimeError) as error:
            raise TypeError(f"{label} must be an array, or become one: {error}") from error
        if array.dtype.kind not in "biufc":
            raise TypeError(f"{label} must hold numbers, got dtype {array.dtype}")
        if array.ndim == 0 and parts is data:
            raise ValueError(
                f"{name} must be an array or a tuple of arrays, got {array} in a "
                f"{type(data).__name__}"
            )
        if array.ndim == 0 or len(array) == 0:
            raise ValueError(f"{label} must have at least one row, got shape {array.shape}")
        if len(array) != len(arrays[0] if arrays else array):
            raise ValueError(
                f"{label} must have as many rows as {name}[0], {len(arrays[0])}, got {len(array)}"
            )
        arrays.append(array)
    return tuple(arrays), any(map(_is_mapped, arrays))


def _is_mapped(array: Any) -> bool:
    """Whether the array is part of a mapped file."""
    while array is not None:
        if isinstance(array, mmap) or getattr(array, "_mmap", None) is not None:
            return True
        array = getattr(array, "base", None)
    return False


def generator_state(rng: np.random.Generator | None) -> Any:
    """Return the state of a generator, None if there is none."""
    return None if rng is None else rng.bit_generator.state


def generator_of_orders(rng: Any) -> np.random.Generator:
    """Return a generator seeded by one draw from the caller's.

    Nobody else draws from it, so that threads may draw ahead.

    Raises
    ------
    TypeError, ValueError
        If `rng` is neither None, nor an int of at least 0, nor a Generator.
    """
    try:
        seed = np.random.default_rng(rng).integers(0, 2**32, 4, np.uint32)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"rng must be None, an int of at least 0 or a numpy Generator, got {rng!r}"
        ) from None
    return np.random.default_rng(seed)


def draw_order(generator: np.random.Generator, n: int) -> np.ndarray:
    """Draw a permutation of 0, 1, ..., n - 1, of 32 bits if those are enough."""
    order = np.empty(n, np.int32 if n <= INT32_ROWS else np.int64)
    permutation(generator.integers(0, 2**64, n, np.uint64), order)
    return order


def _ahead(pool: Executor | None, tasks: Iterable[Callable[[], T]], depth: int) -> Iterator[T]:
    """Return the results of tasks in order, with up to `depth` under way beyond the one needed."""
    if pool is None:
        yield from (task() for task in tasks)
        return
    waiting: deque[Future[T]] = deque()
    for task in tasks:
        waiting.append(pool.submit(task))
        if len(waiting) > depth:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
