"""How the benchmarks time: all contenders in turn, so that a busy machine is so for all."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
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
