"""The cost of one RMSProp iteration, compiled, with a numeric learning rate.

``python -m benchmarks.iteration`` minimizes the chained Rosenbrock function with rmsfast, with
`optax.rmsprop` in a jitted `jax.lax.scan`, and with the Numba loop one would write by hand.
All three are warm, in float64, from the same start, with so small a learning rate that none of
them comes to an end. rmsfast also keeps the best point, looks for values that are not finite,
for a gradient within `gtol` and for limit cycles; the others only step.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from benchmarks.report import machine, save, table
from rmsfast import rmsprop
from rmsfast.objectives import rosenbrock

SIZES = (2, 10, 100, 1000)
LR, RHO, EPS = 1e-8, 0.99, 1e-8
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


@numba.njit
def _naive(x: np.ndarray, iterations: int) -> None:
    n = x.size
    g = np.zeros(n)
    s = np.zeros(n)
    for _ in range(iterations):
        g[:] = 0.0
        for i in range(n - 1):
            r = x[i + 1] - x[i] ** 2
            g[i] += -400.0 * x[i] * r - 2.0 * (1.0 - x[i])
            g[i + 1] += 200.0 * r
        for i in range(n):
            s[i] = RHO * s[i] + (1.0 - RHO) * g[i] ** 2
            x[i] -= LR * g[i] / (np.sqrt(s[i]) + EPS)


def naive_loop(n: int) -> Loop:
    """Return the loop one writes by hand for Numba: gradient, update, nothing else."""

    def loop(iterations: int) -> int:
        _naive(rosenbrock.of_size(n).x0, iterations)
        return iterations

    return loop


def optax_loop(n: int, *, by_jax: bool) -> Loop:
    """Return the loop of optax; the gradient is that of `jax.grad`, or written out."""
    import jax
    import jax.numpy as jnp
    import optax

    jax.config.update("jax_enable_x64", True)
    optimizer = optax.rmsprop(LR, decay=RHO, eps=EPS, eps_in_sqrt=False)

    def value(x: Any) -> Any:
        return jnp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)

    def gradient(x: Any) -> Any:
        r = x[1:] - x[:-1] ** 2
        left = -400.0 * x[:-1] * r - 2.0 * (1.0 - x[:-1])
        return jnp.pad(left, (0, 1)) + jnp.pad(200.0 * r, (1, 0))

    slope = jax.grad(value) if by_jax else gradient

    def iterate(carry: Any, _: Any) -> Any:
        x, state = carry
        updates, state = optimizer.update(slope(x), state, x)
        return (optax.apply_updates(x, updates), state), None

    @jax.jit
    def run(x: Any) -> Any:
        return jax.lax.scan(iterate, (x, optimizer.init(x)), None, length=chunk)[0][0]

    chunk = max(1000, 10_000_000 // (20 + n))  # a compile-time constant of the scan
    start = jnp.asarray(rosenbrock.of_size(n).x0)

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
    rounds: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(ROUNDS):
        best = dict.fromkeys(loops, np.inf)
        for _ in range(REPEATS):
            for name, loop in loops.items():
                best[name] = min(best[name], nanoseconds(loop, counts[name]))
        for name, ns in best.items():
            rounds[name].append(ns)
    return {name: float(np.median(values)) for name, values in rounds.items()}


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
