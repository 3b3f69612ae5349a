"""Arrays that go through one compiled pass together: those of one group and one dtype."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import Any

import numpy as np

from rmsfast.core import cpu
from rmsfast.options import RMSPropOptions
from rmsfast.threads import threads

PARALLEL_BYTES = 2**17  # parameters of this size are worth all threads
CHUNK = 2**14  # elements at a time of an array that must be copied to be computed with
UNDERFLOW = 1e-280  # a sum of squares below this has lost digits

# The accumulators by name, and an array of learning rates: where each stands in the table
COLUMNS = {
    "mean_square": cpu.S,
    "mean": cpu.M,
    "momentum_buffer": cpu.B,
    "lr": cpu.LR,
    "average": cpu.A,
}

Columns = dict[str, np.ndarray]


class _Run:
    """A compiled pass: on this thread (`serial`), or on all threads that are free (`spread`)."""

    def __init__(self, make: Callable[..., Callable[..., None]], *kind: Any) -> None:
        self._make = partial(make, *kind)

    @cached_property
    def serial(self) -> Callable[..., None]:
        """The pass as one piece."""
        return self._make(False)

    @cached_property
    def _parallel(self) -> Callable[..., None]:
        return self._make(True)

    def spread(self, *arguments: Any) -> None:
        """Run the pass in as many pieces as threads are free."""
        with threads() as count:
            run = self._parallel if count > 1 else self.serial
            run(*arguments, count)


class Pass:
    """One group of arrays.

    Parameters
    ----------
    group : int
        Its number.
    options : RMSPropOptions
        Of the group, with a numeric `lr`.
    T : type
        `numpy.float64` or `numpy.float32`: what is computed in.
    ema_decay : float or None
        Of the averages of the parameters.
    """

    def __init__(
        self, group: int, options: RMSPropOptions, T: Any, ema_decay: float | None
    ) -> None:
        self.group = group
        self.stream: Any = None  # of a GPU
        h = options.hyper()
        self.T = T
        self.numbers = np.array([*h[: cpu.DECAY], 0.0 if ema_decay is None else ema_decay])
        self.coupled = h.weight_decay != 0 and not h.decoupled
        self.variant = cpu.Variant(
            momentum=h.momentum != 0,
            weight_decay=h.weight_decay != 0,
            clip_value=options.clip_value is not None,
            clip_norm=options.clip_norm is not None,
            bias_correction=h.bias_correction,
            centered=h.centered,
            eps_in_sqrt=h.eps_in_sqrt,
            nesterov=h.nesterov,
            lr_in_momentum=h.lr_in_momentum and h.momentum != 0,
            decoupled=h.decoupled and h.weight_decay != 0,
            maximize=h.maximize,
            lr_array=False,
            averaged=ema_decay is not None,
        )
        self.direct: list[int] = []
        self.copied: list[tuple[int, Columns]] = []
        self._kept: list[Columns] = []  # the table knows addresses only
        self._rows: list[list[int]] = []
        self._sizes: list[int] = []

    @staticmethod
    def kind_of(dtype: np.dtype[Any], T: Any) -> Any:
        """Return what arrays of one pass share, of the `dtype` of parameters computed in `T`."""
        return T

    def add(self, k: int, x: np.ndarray, g: np.ndarray, columns: Columns) -> None:
        """Take in array number `k`.

        Parameters
        ----------
        k : int
            Where it stands among all arrays.
        x, g : ndarray
            Parameters and gradient.
        columns : dict of str to ndarray
            Its accumulators, and its learning rates if each coordinate has one.
        """
        self.variant = self.variant._replace(lr_array="lr" in columns)
        if x.size == 0:
            return
        arrays = (x, g, *columns.values())
        computed = all(a.dtype == x.dtype and a.dtype.isnative and a.flags.aligned for a in arrays)
        one_order = all(a.flags.c_contiguous for a in arrays) or all(
            a.flags.f_contiguous for a in arrays
        )
        if not (computed and one_order):
            self.copied.append((k, columns))
            return
        row = [0] * cpu.COLUMNS
        for name, array in columns.items():
            row[COLUMNS[name]] = array.ctypes.data
        self.direct.append(k)
        self._kept.append(columns)
        self._rows.append(row)
        self._sizes.append(x.nbytes // np.dtype(self.T).itemsize)

    def close(self) -> None:
        """Lay out the table, after the last array was taken in."""
        self.table = np.array(self._rows, np.int64).reshape(-1, cpu.COLUMNS)
        self.offsets = np.cumsum([0, *self._sizes], dtype=np.int64)
        self.blocks = np.cumsum([0, *(-(-n // cpu.BLOCK) for n in self._sizes)], dtype=np.int64)
        self.is_large = int(self.offsets[-1]) * np.dtype(self.T).itemsize >= PARALLEL_BYTES
        self._update = _Run(cpu.update_pass, self.T, self.variant)

    def point(self, xs: list[np.ndarray], gs: list[np.ndarray]) -> None:
        """Say where parameters and gradients are now; copy gradients that overlap parameters."""
        for row, k in enumerate(self.direct):
            if cpu.point(self.table, row, xs[k], gs[k]):
                gs[k] = gs[k].copy("K")
                cpu.point(self.table, row, xs[k], gs[k])

    def places(self, xs: list[np.ndarray]) -> list[int]:
        """Return where the parameters begin, after `point`; it knows the most of it already."""
        return [*self.table[:, cpu.X].tolist(), *(xs[k].ctypes.data for k, _ in self.copied)]

    def update(self, xs: list[np.ndarray], gs: list[np.ndarray]) -> None:
        """Update all arrays in place, after `point`."""
        if self.direct:
            arguments = self.table, self.offsets, self.numbers
            if self.is_large:
                self._update.spread(*arguments)
            else:
                self._update.serial(*arguments, 1)
        for k, columns in self.copied:
            for table, offsets in self._chunks(xs[k], gs[k], columns):
                self._update.serial(table, offsets, self.numbers, 1)

    def measure(
        self, xs: list[np.ndarray], gs: list[np.ndarray], factor: float, largest: bool
    ) -> tuple[float, float]:
        """Measure the gradients to descend, after `point`.

        Parameters
        ----------
        xs, gs : list of ndarray
            All parameters and gradients.
        factor : float
            What they are multiplied with before they are squared.
        largest : bool
            Whether the largest magnitude is wanted.

        Returns
        -------
        square, largest : float
            The sum of the squares; the largest magnitude, inf if one is not
            finite, 0 if it is not wanted.
        """
        squares, tops = [0.0], [0.0]

        def take(table: np.ndarray, offsets: np.ndarray, blocks: np.ndarray, large: bool) -> None:
            sums = np.empty(int(blocks[-1]))
            top = np.empty(sums.size if largest else 0)
            arguments = table, offsets, blocks, self.numbers, factor, sums, top
            if large:
                self._norm.spread(*arguments)
            else:
                self._norm.serial(*arguments, 1)
            squares.append(float(sums.sum()))
            tops.append(float(top.max(initial=0.0)))

        if self.direct:
            take(self.table, self.offsets, self.blocks, self.is_large)
        for k, _ in self.copied:
            for table, offsets in self._chunks(xs[k], gs[k], {}):
                take(table, offsets, -(-offsets // cpu.BLOCK), False)
        return sum(squares), max(tops)

    @cached_property
    def _norm(self) -> _Run:
        coupled = self.coupled and self.variant.clip_norm
        return _Run(cpu.norm_pass, self.T, coupled, coupled and self.variant.maximize)

    def _chunks(
        self, x: np.ndarray, g: np.ndarray, columns: Columns
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Copy arrays of any layout and byte order piece by piece, and write them back.

        Yields
        ------
        table, offsets : ndarray
            Of one contiguous piece, in the dtype computed in.
        """
        table, offsets = np.zeros((1, cpu.COLUMNS), np.int64), np.zeros(2, np.int64)
        places = (cpu.X, cpu.G, *(COLUMNS[name] for name in columns))
        arrays = (x, g, *columns.values())
        common = ["contig", "aligned", "nbo", "overlap_assume_elementwise"]
        flags: Any = [
            [*common, "readonly" if c in (cpu.G, cpu.LR) else "readwrite"] for c in places
        ]
        parts = [[a.real for a in arrays]]
        if x.dtype.kind == "c":
            parts.append([a.imag for a in arrays])
        for operands in parts:
            with np.nditer(
                operands,
                ["buffered", "external_loop", "copy_if_overlap"],
                flags,
                [self.T] * len(places),
                casting="same_kind",
                buffersize=CHUNK,
            ) as pieces:
                for piece in pieces:
                    for place, array in zip(places, piece, strict=True):
                        table[0, place] = array.ctypes.data
                    offsets[1] = piece[0].size
                    yield table, offsets
