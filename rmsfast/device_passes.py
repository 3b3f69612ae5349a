"""Arrays on a GPU that go through one kernel together, and what a step decides there."""

from __future__ import annotations

import math
from bisect import bisect_right
from itertools import pairwise
from typing import Any

import numpy as np

from rmsfast.core import cpu
from rmsfast.core.cuda import update as kernels
from rmsfast.device import Leaf, need_gpu
from rmsfast.options import RMSPropOptions
from rmsfast.passes import COLUMNS, UNDERFLOW, Pass


class DevicePass(Pass):
    """One group of arrays on a GPU, of one dtype; made as `rmsfast.passes.Pass` is."""

    P: Any  # of parameters and gradients
    is_controlled = False  # whether `Control` says what to do

    @staticmethod
    def kind_of(dtype: np.dtype[Any], T: Any) -> Any:
        """Return what arrays of one pass share, of the `dtype` of parameters computed in `T`."""
        return T, _stored(dtype, T)

    def add(self, k: int, x: Any, g: Any, columns: dict[str, Any]) -> None:
        """Take in array number `k`.

        Parameters
        ----------
        k : int
            Where it stands among all arrays.
        x, g : Leaf
            Parameters and gradient.
        columns : dict of str to Accumulator
            Its accumulators, and its learning rates if each coordinate has one.
        """
        self.P = _stored(x.dtype, self.T)
        self.variant = self.variant._replace(lr_array="lr" in columns)
        if x.size == 0:
            return
        row = [0] * cpu.COLUMNS
        for name, accumulator in columns.items():
            row[COLUMNS[name]] = accumulator.address
        self.direct.append(k)
        self._kept.append(columns)
        self._rows.append(row)
        self._sizes.append(x.size * x.dtype.itemsize // np.dtype(self.P).itemsize)

    def close(self) -> None:
        """Lay out the table, after the last array was taken in."""
        cuda = need_gpu()
        rows = np.array(self._rows, np.int64).reshape(-1, cpu.COLUMNS)
        self.table, self._table = rows, cuda.to_device(rows)
        self._lengths = cuda.to_device(np.array(self._sizes, np.int64))
        self.count, self._blocks = self._cut(kernels.SPAN)
        self.sums, self._sum_blocks = self._cut(cpu.BLOCK)
        self.control = cuda.device_array(kernels.CONTROLS, self.T)

    def _cut(self, length: int) -> tuple[int, Any]:
        """Return how many blocks of `length` there are, and where each array's begin."""
        blocks = np.cumsum([0, *(-(-n // length) for n in self._sizes)], dtype=np.int64)
        return int(blocks[-1]), need_gpu().to_device(blocks)

    def point(self, xs: list[Any], gs: list[Any]) -> None:
        """Say where parameters and gradients are now."""
        places = np.array([(xs[k].address, gs[k].address) for k in self.direct], np.int64)
        if self.direct and not np.array_equal(places, self.table[:, : cpu.G + 1]):
            self.table[:, : cpu.G + 1] = places
            self._table.copy_to_device(self.table, stream=self.stream)

    def update(self, xs: list[Any], gs: list[Any]) -> None:
        """Update all arrays in place, after `point`."""
        if self.count > 0:
            kernel = kernels.update_kernel(self.T, self.P, self.variant, self.is_controlled)
            arguments = self._table, self._blocks, self._lengths, self._numbers(), self.control
            kernels.launch(kernel, self.count, self.stream, *arguments)

    def launch_norm(self, factor: Any, again: bool, sums: Any, tops: Any) -> None:
        """Sum the squares of the gradients; see `rmsfast.core.cuda.update.norm_kernel`."""
        coupled = self.coupled and self.variant.clip_norm
        kernel = kernels.norm_kernel(self.T, self.P, coupled, coupled and self.variant.maximize)
        arguments: Any = self._table, self._sum_blocks, self._lengths, self._numbers()
        arguments = *arguments, factor, again, sums, tops
        kernels.launch(kernel, self.sums, self.stream, *arguments)

    def _numbers(self) -> tuple[Any, ...]:
        with np.errstate(over="ignore", under="ignore"):
            return tuple(map(self.T, self.numbers))


def _stored(dtype: np.dtype[Any], T: Any) -> Any:
    """Return the type of the numbers in parameters of this `dtype`, computed in `T`."""
    return np.float16 if dtype == np.float16 else T


class Control:
    """What each step decides on the GPU: how far to clip, and whether to skip.

    Parameters
    ----------
    passes : list of DevicePass
        All of them.
    options : list of RMSPropOptions
        Of the groups.
    skips : bool
        Whether an update with a gradient that is not finite is skipped.
    ema_decay : float or None
        Of the averages of the parameters.
    counts : tuple of int
        Updates so far, and updates skipped.
    """

    def __init__(
        self,
        passes: list[DevicePass],
        options: list[RMSPropOptions],
        skips: bool,
        ema_decay: float | None,
        counts: tuple[int, int],
    ) -> None:
        cuda = need_gpu()
        clip_norm = options[0].clip_norm
        self.passes, self.skips = passes, skips
        # squares of float32 stay inside the range of float64
        self._wide = any(each.T is np.float64 for each in passes)
        self._bounds = (
            math.inf if clip_norm is None else clip_norm,
            0.0 if ema_decay is None else ema_decay,
            UNDERFLOW,
        )
        starts = np.cumsum([0, *(each.sums for each in passes)])
        self._sums = cuda.to_device(np.zeros(max(1, starts[-1])))
        self._tops = cuda.to_device(np.zeros(max(1, starts[-1])))
        spans = [slice(a, b) for a, b in pairwise(starts) if a < b]
        self._parts = [(self._sums[span], self._tops[span]) for span in spans]
        self._factor = cuda.to_device(np.ones(1))
        self._counts = cuda.to_device(np.array(counts, np.int64))
        self._rhos = cuda.to_device(np.array([float(options[p.group].rho) for p in passes]))
        shape = len(passes), kernels.CONTROLS
        self._control = {
            np.float32: cuda.device_array(shape, np.float32),
            np.float64: cuda.device_array(shape, np.float64),
        }
        for row, each in enumerate(passes):
            each.control, each.is_controlled = self._control[each.T][row], True

    def decide(self, stream: Any) -> None:
        """Measure the gradients and write what the passes read."""
        for again in (False, True) if self._wide else (False,):
            measured = [each for each in self.passes if each.sums > 0]
            for (sums, tops), each in zip(self._parts, measured, strict=True):
                each.launch_norm(self._factor, again, sums, tops)
            kernels.launch(
                kernels.settle_kernel(),
                1,
                stream,
                self._sums,
                self._tops,
                self._factor,
                again,
                again == self._wide,
                self._rhos,
                self._bounds,
                self.skips,
                self._counts,
                *self._control.values(),
            )

    def counts(self) -> tuple[int, int]:
        """Return how many updates were made and skipped; it waits for the GPU."""
        need_gpu().synchronize()
        made, skipped = self._counts.copy_to_host()
        return int(made), int(skipped)


def check_apart(labels: list[str], xs: list[Leaf], gs: list[Leaf]) -> None:
    """Check that no array is written where another is read or written.

    Parameters
    ----------
    labels : list of str
        What the caller calls the gradients.
    xs, gs : list of Leaf
        Parameters and gradients; a gradient may be the parameters themselves.

    Raises
    ------
    ValueError
        If one is.
    """
    spans = sorted((x.address, x.end, k) for k, x in enumerate(xs) if x.size > 0)
    for (_, end, _), (start, _, _) in pairwise(spans):
        if start < end:
            raise ValueError("params must not hold the same memory twice")
    starts = [start for start, _, _ in spans]
    for k, g in enumerate(gs):
        if g.size == 0 or g.address == xs[k].address:
            continue
        before = bisect_right(starts, g.end - 1) - 1
        if before >= 0 and spans[before][1] > g.address:
            raise ValueError(f"{labels[k]} must not overlap the parameters on the GPU")
