"""The cost of one RMSProp iteration, compiled, with a numeric learning rate.

``python -m benchmarks.iteration`` minimizes the chained Rosenbrock function with rmsfast, with
`optax.rmsprop` in a jitted `jax.lax.scan`, and with the Numba loop one would write by hand.
All three are warm, in float64, from the same start, with so small a learning rate that none of
them comes to an end. rmsfast also keeps the best point, looks for values that are not finite,
for a gradient within `gtol` and for limit cycles; the others only step.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

from benchmarks.peers import EPS, LR, RHO, naive_iterations, optax_iterations
from benchmarks.report import machine, save, table
from benchmarks.timing import medians
from rmsfast import rmsprop
from rmsfast.objectives import rosenbrock

SIZES = (2, 10, 100, 1000)
SECONDS = 0.1  # of one timing
ROUNDS, REPEATS = 5, 5  # the median over rounds of the fastest of the repeats

Loop = Callable[[int], int]  # runs about that many iterations, returns how many it ran


def rmsfast_loop(n: int) -> Loop:
    """Return the loop of `rmsfast.rmsprop`, the whole call."""
    objective = rosenbrock.of_size(n)

    def loop(iterations: int) -> int:
        limits = {"maxiter": iterations, "maxfun": iterations + 1, "gtol": 0.0}
        result = rmsprop(objective, objective.x0, lr=LR, rho=RHO, eps=EPS, **limits)
        if result.nit != iterations:
            raise RuntimeError(result.message)
        return iterations

    return loop


def naive_loop(n: int) -> Loop:
    """Return the loop one writes by hand for Numba: gradient, update, nothing else."""

    def loop(iterations: int) -> int:
        naive_iterations(rosenbrock.of_size(n).x0, iterations)
        return iterations

    return loop


def optax_loop(n: int, *, by_jax: bool) -> Loop:
    """Return the loop of optax; the gradient is that of `jax.grad`, or written out."""
    import jax

    chunk = max(1000, 10_000_000 // (20 + n))
    run = jax.jit(optax_iterations(chunk, by_jax=by_jax))
    start = jax.numpy.asarray(rosenbrock.of_size(n).x0)

    def loop(iterations: int) -> int:
        times = max(1, round(iterations / chunk))
        for _ in range(times):
            run(start).block_until_ready()
        return times * chunk

    return loop


def nanoseconds(loop: Loop, iterations: int) -> float:
    """Return the time of one iteration."""
    start = time.perf_counter()
    done = loop(iterations)
    return (time.perf_counter() - start) / done * 1e9


def compare(n: int) -> dict[str, float]:
    """Return nanoseconds per iteration of each loop, measured in turn."""
    loops = {
        "rmsfast": rmsfast_loop(n),
        "optax, jax.grad": optax_loop(n, by_jax=True),
        "optax, gradient written out": optax_loop(n, by_jax=False),
        "naive Numba": naive_loop(n),
    }
    counts = {}
    for name, loop in loops.items():
        nanoseconds(loop, 1000)  # compiles
        counts[name] = max(1000, int(SECONDS * 1e9 / nanoseconds(loop, 20_000)))
    timings = {
        name: functools.partial(nanoseconds, loop, counts[name]) for name, loop in loops.items()
    }
    return medians(timings, ROUNDS, REPEATS)


def main() -> str:
    """Measure, write the page, and return the table."""
    rows = []
    for n in SIZES:
        ns = compare(n)
        ours, naive = ns["rmsfast"], ns["naive Numba"]
        optax = min(value for name, value in ns.items() if name.startswith("optax"))
        rows.append(
            (
                n,
                f"{ours:.1f} ns",
                f"{optax:.1f} ns",
                f"{naive:.1f} ns",
                f"{optax / ours:.2f}",
                f"{naive / ours:.2f}",
            )
        )
    head = ("n", "rmsfast", "optax", "naive Numba", "optax / rmsfast", "naive / rmsfast")
    overview = table(head, rows)
    page = f"""# Time of one iteration

RMSProp with a numeric learning rate on the chained Rosenbrock function of n variables, float64,
the whole loop compiled: `rmsfast.rmsprop` on `rmsfast.objectives.rosenbrock`, `optax.rmsprop` in
a jitted `jax.lax.scan` (`jax.grad` or the gradient written out, whichever is faster), and the
Numba loop one would write by hand. rmsfast also keeps the best point, stops at values that are
not finite, and looks for limit cycles. Median over {ROUNDS} rounds of the fastest of {REPEATS};
the last two columns say how many times faster rmsfast is.

{overview}

{machine()}

`python -m benchmarks.iteration` writes this page.
"""
    save("iteration.md", page)
    print(overview)
    return overview


if __name__ == "__main__":
    main()
