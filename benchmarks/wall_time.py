"""The time `scipy.optimize.minimize` takes with rmsfast, and with L-BFGS-B.

``python -m benchmarks.wall_time`` minimizes the chained Rosenbrock function to ``gtol=1e-5``,
warm: first the compiled objective, then SciPy's own Python functions, where what counts is the
time that the minimizer itself spends per evaluation.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult, minimize, rosen, rosen_der

from benchmarks.report import machine, save, table
from benchmarks.timing import medians, timed
from rmsfast import rmsprop
from rmsfast.objectives import rosenbrock

SIZES = (2, 10, 100, 1000)
LIMITS = {"maxiter": 100_000, "maxfun": 100_000}
LBFGSB = {"method": "L-BFGS-B", "options": {**LIMITS, "gtol": 1e-5, "ftol": 0.0}}
AUTO = {"method": rmsprop, "options": {**LIMITS, "gtol": 1e-5}}
EVALUATIONS = 300  # of Python functions: the textbook rule does not come to gtol
ROUNDS = 5
SECONDS = 0.1  # of each method in each round

Call = Callable[[], OptimizeResult]


def seconds(calls: dict[str, Call]) -> dict[str, float]:
    """Return the time of one call of each: the median over rounds of the fastest, in turn."""
    timings = {}
    for name, call in calls.items():
        call()
        repeats = max(1, int(SECONDS / timed(call)))
        timings[name] = functools.partial(fastest, call, repeats)
    return medians(timings, ROUNDS)


def fastest(call: Call, repeats: int) -> float:
    """Return the time of the fastest call of so many."""
    return min(timed(call) for _ in range(repeats))


def compiled(n: int) -> tuple[Any, ...]:
    """Return a row of the first table: the compiled objective of `n` variables."""
    objective = rosenbrock.of_size(n)

    def call(settings: dict[str, Any]) -> Call:
        return lambda: minimize(objective, objective.x0, jac=True, **settings)

    calls = {"rmsfast": call(AUTO), "scipy": call(LBFGSB)}
    results = {name: c() for name, c in calls.items()}
    for name, result in results.items():
        if abs(result.jac).max() > 1e-5:
            raise RuntimeError(f"{name} at n={n}: {result.message}")
    spent = seconds(calls)
    ours, theirs = (1e6 * spent[name] for name in calls)
    nfev = (results[name].nfev for name in calls)
    values = (f"{results[name].fun:.2g}" for name in calls)
    return (n, f"{ours:.0f} us", f"{theirs:.0f} us", f"{theirs / ours:.1f}", *nfev, *values)


class Timed:
    """A function that adds up the time spent in it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.seconds = 0.0

    def __call__(self, x: np.ndarray) -> Any:
        """Call the function and time it."""
        start = time.perf_counter()
        value = self.function(x)
        self.seconds += time.perf_counter() - start
        return value


def overhead(n: int, settings: dict[str, Any]) -> float:
    """Return seconds per evaluation outside of the user's functions, in one minimization."""
    fun, jac = Timed(rosen), Timed(rosen_der)
    x0 = rosenbrock.of_size(n).x0
    start = time.perf_counter()
    result = minimize(fun, x0, jac=jac, **settings)
    return (time.perf_counter() - start - fun.seconds - jac.seconds) / result.nfev


def python(n: int) -> tuple[Any, ...]:
    """Return a row of the second table: Python functions of `n` variables."""
    few = {"maxiter": EVALUATIONS, "maxfun": EVALUATIONS, "gtol": 1e-5}
    settings = {
        "auto": {"method": rmsprop, "options": few},
        "numeric": {"method": rmsprop, "options": {**few, "lr": 1e-3}},
        "scipy": {"method": "L-BFGS-B", "options": {**few, "ftol": 0.0}},
    }
    timings = {name: functools.partial(overhead, n, chosen) for name, chosen in settings.items()}
    auto, numeric, scipy = (1e6 * seconds for seconds in medians(timings, ROUNDS, 10).values())
    times = (f"{us:.1f} us" for us in (auto, numeric, scipy))
    return (n, *times, f"{scipy / auto:.1f}", f"{scipy / numeric:.1f}")


def main() -> str:
    """Measure, write the page, and return the tables."""
    first = table(
        (
            "n",
            "rmsfast",
            "L-BFGS-B",
            "times faster",
            "evaluations: rmsfast",
            "L-BFGS-B",
            "f: rmsfast",
            "L-BFGS-B",
        ),
        (compiled(n) for n in SIZES),
    )
    second = table(
        ("n", "rmsfast", "rmsfast, numeric lr", "L-BFGS-B", "times less", "times less, numeric lr"),
        (python(n) for n in SIZES),
    )
    page = f"""# Wall time of a minimization

The chained Rosenbrock function of n variables from its standard start to gtol = 1e-5 with
`scipy.optimize.minimize`, warm, median over {ROUNDS} rounds of the fastest call. L-BFGS-B runs
with `ftol=0`, and with one BLAS thread, which suits it best.

A compiled objective, `rmsfast.objectives.rosenbrock` with `jac=True`, in both:

{first}

From n = 4 on the function has two minima, of which either may be found.

Python functions, `scipy.optimize.rosen` and `rosen_der`: time per evaluation that the minimizer
adds to that of the functions, in at most {EVALUATIONS} evaluations.

{second}

{machine()}

`python -m benchmarks.wall_time` writes this page.
"""
    save("wall_time.md", page)
    overview = f"{first}\n\n{second}"
    print(overview)
    return overview


if __name__ == "__main__":
    main()
