"""How the benchmarks time: all contenders in turn, so that a busy machine is so for all."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def timed(call: Callable[[], Any]) -> float:
    """Return the seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def medians(
    timings: dict[str, Callable[[], float]], rounds: int, repeats: int = 1
) -> dict[str, float]:
    """Return the median over rounds of the fastest timing of each, taken in turn.

    Parameters
    ----------
    timings : dict of callable
        Each makes one timing and returns it.
    rounds, repeats : int
        Number of rounds, and of timings of each in a round.
    """
    found: dict[str, list[float]] = {name: [] for name in timings}
    for _ in range(rounds):
        best = dict.fromkeys(timings, math.inf)
        for _ in range(repeats):
            for name, timing in timings.items():
                best[name] = min(best[name], timing())
        for name, value in best.items():
            found[name].append(value)
    return {name: statistics.median(values) for name, values in found.items()}


def processor_time(call: Callable[[], Any]) -> float:
    """Return the seconds of processor time of one call, of all threads of this process."""
    start = time.process_time()
    call()
    return time.process_time() - start


class Others:
    """How many cores other processes take; ``others.cores()`` tells of the time since it was made.

    Where cores are shared, a time is also that of the others.
    """

    def __init__(self) -> None:
        self._start = self._read()

    def cores(self) -> float:
        """Return how many cores others took on average, NaN where the system does not say."""
        wall, theirs = (now - then for now, then in zip(self._read(), self._start, strict=True))
        cores = theirs / max(wall, 1e-9)
        return 0.0 if cores < 0.0 else cores  # the system counts in steps of 10 ms

    @staticmethod
    def _read() -> tuple[float, float]:
        """Return the time, and the processor time of the machine less that of this process."""
        try:
            first = Path("/proc/stat").read_text().splitlines()[0].split()
            user, nice, system, _, _, irq, softirq, steal = map(int, first[1:9])
            total = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, AttributeError):
            total = math.nan
        own = os.times()
        ours = own.user + own.system + own.children_user + own.children_system
        return time.perf_counter(), total - ours
