"""What several benchmarks compare with: RMSProp by others, on the chained Rosenbrock function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

LR, RHO, EPS = 1e-8, 0.99, 1e-8  # so small a rate that no run comes to an end


@numba.njit
def naive_iterations(x: np.ndarray, iterations: int) -> None:
    """Iterate as one would write it by hand for Numba: gradient, update, nothing else."""
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


def optax_rmsprop(lr: float, rho: float, eps: float) -> Any:
    """Return `optax.rmsprop` with the formula that is rmsfast's default, in float64."""
    import jax
    import optax

    jax.config.update("jax_enable_x64", True)
    return optax.rmsprop(lr, decay=rho, eps=eps, eps_in_sqrt=False)


def optax_iterations(iterations: int, *, by_jax: bool) -> Callable[[Any], Any]:
    """Return a function from a start to where so many iterations lead, to compile with `jax.jit`.

    Parameters
    ----------
    iterations : int
        A constant of the `jax.lax.scan`.
    by_jax : bool
        Whether the gradient is that of `jax.grad`, or written out.
    """
    import jax
    import jax.numpy as jnp
    import optax

    optimizer = optax_rmsprop(LR, RHO, EPS)

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

    def run(x: Any) -> Any:
        return jax.lax.scan(iterate, (x, optimizer.init(x)), None, length=iterations)[0][0]

    return run
