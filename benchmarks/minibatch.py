"""Mini-batches.

``python -m benchmarks.minibatch`` measures `rmsfast.minimize_minibatch` on linear regression:

- an epoch of 1500 rows with five features in batches of 10, the size of the airfoil data in
  "Dive into Deep Learning", side by side with the same epoch in PyTorch, in optax within
  `jax.lax.scan`, and in loops written by hand;
- epochs of a thousand to ten million rows, in order and shuffled.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from benchmarks.many import seconds
from benchmarks.report import cores, machine, save, table
from benchmarks.timing import Others, processor_time
from rmsfast import Objective, minimize_minibatch

ROWS, FEATURES, BATCH = 1500, 5, 10
LR, RHO, EPS = 0.01, 0.9, 1e-6  # eps inside the root, as in the book
EPOCHS = {"rmsfast": 200, "naive": 200, "jax": 50, "NumPy": 3, "torch loop": 3, "torch loader": 3}
SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
SCALED_ROWS = 10_000_000  # that a run of the second table visits, in as many epochs as it takes

Call = Callable[[], Any]


@Objective
def squares(x: np.ndarray, g: np.ndarray, A: np.ndarray, b: np.ndarray) -> float:
    """Half the mean squared error of ``A @ x[:-1] + x[-1]``."""
    n, d = A.shape
    g[:] = 0.0
    f = 0.0
    for i in range(n):
        r = x[d] - b[i]
        for j in range(d):
            r += A[i, j] * x[j]
        f += 0.5 * r * r
        for j in range(d):
            g[j] += r * A[i, j]
        g[d] += r
    for j in range(d + 1):
        g[j] /= n
    return f / n


def data(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return standardized features, and labels."""
    rng = np.random.default_rng(rows)
    A = rng.standard_normal((rows, FEATURES))
    return A, A @ np.linspace(-1.0, 1.0, FEATURES) + 0.5 * rng.standard_normal(rows)


def ours(rows: int, epochs: int, shuffle: bool) -> Call:
    """Return a call of `minimize_minibatch`."""
    A, b = data(rows)
    hyper = {"lr": LR, "rho": RHO, "eps": EPS, "eps_in_sqrt": True}
    run = {"batch_size": BATCH, "epochs": epochs, "shuffle": shuffle, "rng": 0}
    return lambda: minimize_minibatch(squares, np.zeros(FEATURES + 1), (A, b), **run, **hyper).x


@numba.njit(error_model="numpy")
def _epoch(x: np.ndarray, s: np.ndarray, A: np.ndarray, b: np.ndarray, order: np.ndarray) -> None:
    g = np.empty_like(x)
    for start in range(0, order.size, BATCH):
        rows = order[start : start + BATCH]
        g[:] = 0.0
        for i in rows:
            r = x[-1] - b[i]
            for j in range(FEATURES):
                r += A[i, j] * x[j]
            for j in range(FEATURES):
                g[j] += r * A[i, j]
            g[FEATURES] += r
        for j in range(x.size):
            g_j = g[j] / rows.size
            s[j] = RHO * s[j] + (1.0 - RHO) * g_j * g_j
            x[j] -= LR * g_j / np.sqrt(s[j] + EPS)


def naive(rows: int, epochs: int) -> Call:
    """Return a call of the Numba loop one writes by hand, with NumPy's permutation."""
    A, b = data(rows)

    def call() -> np.ndarray:
        rng = np.random.default_rng(0)
        x, s = np.zeros((2, FEATURES + 1))
        for _ in range(epochs):
            _epoch(x, s, A, b, rng.permutation(rows))
        return x

    return call


def by_numpy(rows: int, epochs: int) -> Call:
    """Return a call of a NumPy loop."""
    A, b = data(rows)
    A = np.column_stack([A, np.ones(rows)])

    def call() -> np.ndarray:
        rng = np.random.default_rng(0)
        x, s = np.zeros((2, FEATURES + 1))
        for _ in range(epochs):
            order = rng.permutation(rows)
            for start in range(0, rows, BATCH):
                part = order[start : start + BATCH]
                g = (A[part] @ x - b[part]) @ A[part] / part.size
                s = RHO * s + (1.0 - RHO) * g * g
                x = x - LR * g / np.sqrt(s + EPS)
        return x

    return call


def by_torch(rows: int, epochs: int, loader: bool) -> Call:
    """Return a call of PyTorch.

    Parameters
    ----------
    rows, epochs : int
        Of the data, and times they are visited.
    loader : bool
        Whether a ``DataLoader`` shuffles and cuts the batches, as in the book, or indexing by a
        permutation does.
    """
    import torch

    A, b = (torch.from_numpy(array) for array in data(rows))
    b = b.reshape(-1, 1)

    def batches() -> Any:
        if loader:
            dataset = torch.utils.data.TensorDataset(A, b)
            yield from torch.utils.data.DataLoader(dataset, BATCH, shuffle=True)
        else:
            order = torch.randperm(rows)
            for start in range(0, rows, BATCH):
                part = order[start : start + BATCH]
                yield A[part], b[part]

    def call() -> Any:
        net = torch.nn.Linear(FEATURES, 1, dtype=torch.float64)
        optimizer = torch.optim.RMSprop(net.parameters(), lr=LR, alpha=RHO, eps=EPS)
        loss = torch.nn.MSELoss()
        for _ in range(epochs):
            for A_part, b_part in batches():
                optimizer.zero_grad()
                value = 0.5 * loss(net(A_part), b_part)
                value.backward()
                optimizer.step()
        return np.append(net.weight.detach().numpy(), net.bias.detach().numpy())

    return call


def by_jax(rows: int, epochs: int) -> Call:
    """Return a call of optax in a jitted `jax.lax.scan` over epochs and batches."""
    import jax
    import jax.numpy as jnp
    import optax

    jax.config.update("jax_enable_x64", True)
    A, b = (jnp.asarray(array) for array in data(rows))
    optimizer = optax.rmsprop(LR, decay=RHO, eps=EPS)

    def value(x: Any, A_part: Any, b_part: Any) -> Any:
        return 0.5 * jnp.mean((A_part @ x[:-1] + x[-1] - b_part) ** 2)

    def step(carry: Any, batch: Any) -> Any:
        x, state = carry
        loss, g = jax.value_and_grad(value)(x, *batch)
        updates, state = optimizer.update(g, state, x)
        return (optax.apply_updates(x, updates), state), loss

    def epoch(carry: Any, key: Any) -> Any:
        order = jax.random.permutation(key, rows)
        batches = A[order].reshape(-1, BATCH, FEATURES), b[order].reshape(-1, BATCH)
        carry, losses = jax.lax.scan(step, carry, batches)
        return carry, losses.mean()

    @jax.jit
    def train(keys: Any) -> Any:
        x = jnp.zeros(FEATURES + 1)
        return jax.lax.scan(epoch, (x, optimizer.init(x)), keys)[0][0]

    keys = jax.random.split(jax.random.key(0), epochs)
    return lambda: np.asarray(train(keys))


def epochs_table() -> str:
    """Measure an epoch, and return the table."""
    calls = {
        "rmsfast": ours(ROWS, EPOCHS["rmsfast"], shuffle=True),
        "naive": naive(ROWS, EPOCHS["naive"]),
        "jax": by_jax(ROWS, EPOCHS["jax"]),
        "NumPy": by_numpy(ROWS, EPOCHS["NumPy"]),
        "torch loop": by_torch(ROWS, EPOCHS["torch loop"], loader=False),
        "torch loader": by_torch(ROWS, EPOCHS["torch loader"], loader=True),
    }
    optimum = np.append(np.linspace(-1.0, 1.0, FEATURES), 0.0)
    for name, call in calls.items():
        if not np.allclose(call(), optimum, atol=0.3):
            raise RuntimeError(f"{name} found {call()}")
    spent = {name: t / EPOCHS[name] for name, t in seconds(calls).items()}
    names = {
        "rmsfast": "rmsfast.minimize_minibatch",
        "naive": "Numba loop by hand",
        "jax": "optax in jax.lax.scan",
        "NumPy": "NumPy loop by hand",
        "torch loop": "PyTorch, loop over tensors",
        "torch loader": "PyTorch, DataLoader",
    }
    rows = [
        (name, f"{1e6 * spent[key]:.1f} us", f"{spent[key] / spent['rmsfast']:.1f}")
        for key, name in names.items()
    ]
    return table((f"epoch of {ROWS} rows, batches of {BATCH}", "time", "rmsfast is faster"), rows)


def sizes_table() -> tuple[str, float]:
    """Measure epochs of many sizes; return the table, and the cores that others took meanwhile."""
    rows, others = [], Others()
    for size in SIZES:
        epochs = max(2, SCALED_ROWS // size)
        calls = {str(shuffle): ours(size, epochs, shuffle) for shuffle in (False, True)}
        spent = seconds(calls)
        ordered, shuffled = (1e9 * spent[name] / epochs / size for name in calls)
        each = (1e9 * processor_time(call) / epochs / size for call in calls.values())
        rows.append(
            (
                f"{size:,}",
                f"{1e-9 * shuffled * size:.3g} s",
                f"{ordered:.1f} ns",
                f"{shuffled:.1f} ns",
                f"{(shuffled - ordered) / ordered:.2f}",
                *(f"{ns:.1f} ns" for ns in each),
            )
        )
    head = ("rows", "epoch, shuffled", "a row, in order", "a row, shuffled")
    head += ("shuffling / gradient and update",)
    head += ("processor time a row, in order", "processor time a row, shuffled")
    return table(head, rows), others.cores()


def main() -> str:
    """Measure, write ``docs/benchmarks/minibatch.md``, and return its tables."""
    start = time.perf_counter()
    first = epochs_table()
    second, busy = sizes_table()
    answer = f"{first}\n\n{second}"
    taken = "an unknown number" if math.isnan(busy) else f"{busy:.1f}"
    print(answer)
    text = f"""# Mini-batches

{machine()} `python -m benchmarks.minibatch` measures it again.

{answer}

Linear regression with {FEATURES} features and a bias, half the mean squared error, float64; all
with RMSProp, lr {LR}, rho {RHO}, eps {EPS}, in batches of {BATCH}, in a new random order in each
epoch. Each time is that of whole calls on {cores()} cores divided by their epochs, medians over
rounds of the fastest of some repeats, warm; it took {time.perf_counter() - start:.0f} s.

The first table has the size of the airfoil data in "Dive into Deep Learning". PyTorch's
`DataLoader` is the book's; the loop over tensors cuts batches by indexing with a permutation. In
optax both loops, over epochs and over batches, are `jax.lax.scan` within one `jax.jit`, and the
order is that of `jax.random.permutation`. The Numba loop by hand is for this objective alone, keeps
no loss, and checks nothing.

The second table compares epochs with and without `shuffle`. *Shuffling / gradient and update* says
by how much longer an epoch takes in a random order than in order, in units of the latter: 0 would
be shuffling for free. Where the data does not fit the caches, threads draw the next order and
gather rows ahead of the loop over batches. That is processor time of other cores, and the loop
waits for it where they are not free. Processor time, of all threads together, depends less on what
other programs do. While this was measured other processes took {taken} of
{cores()} cores.
"""
    save("minibatch.md", text)
    return answer


if __name__ == "__main__":
    main()
