"""2. A loop of your own: matrix factorization in three ways
=========================================================

A matrix of ratings is known in 5 % of its places, and to be predicted elsewhere as the product of
two thin ones. The ratings are made from factors of rank 4, and noise of 0.1, so the best error that
can be hoped for is about 0.1.

1. All ratings at once: gradients by NumPy, `RMSProp.update` on a dict of arrays.
2. Batches of ratings: `RMSProp.update_rows` moves the rows that a batch touches, and no others.
3. The loop compiled, with `rmsfast.kernels.step` merged into it.

``python examples/own_loop.py`` takes some seconds, of which most go into compiling.
"""

import time

import numba
import numpy as np

import rmsfast
from rmsfast import kernels

USERS, ITEMS, RANK, NOISE = 2000, 1000, 4, 0.1
BATCH = 1000


def make_ratings(rng):
    """Users, items and ratings of known places, and of others to predict."""
    user_factors = rng.standard_normal((USERS, RANK))
    item_factors = rng.standard_normal((ITEMS, RANK))
    places = rng.choice(USERS * ITEMS, USERS * ITEMS // 10, replace=False)
    users, items = np.divmod(places, ITEMS)
    ratings = np.einsum("ij,ij->i", user_factors[users], item_factors[items])
    ratings += NOISE * rng.standard_normal(ratings.size)
    half = ratings.size // 2
    return (users[:half], items[:half], ratings[:half]), (
        users[half:],
        items[half:],
        ratings[half:],
    )


def start(rng):
    """Small random factors."""
    shapes = {"users": (USERS, RANK), "items": (ITEMS, RANK)}
    return {name: 0.5 * rng.standard_normal(shape) for name, shape in shapes.items()}


def residuals(factors, users, items, ratings):
    """Prediction minus rating."""
    return np.einsum("ij,ij->i", factors["users"][users], factors["items"][items]) - ratings


def error(factors, data):
    """Root mean square error."""
    return np.sqrt(np.mean(residuals(factors, *data) ** 2))


def all_at_once(factors, data, steps):
    """Each step descends the gradient of half the sum of squares over all ratings."""
    users, items, _ = data
    optimizer = rmsfast.RMSProp(lr=rmsfast.schedules.cosine(0.05, steps))
    for _ in range(steps):
        r = residuals(factors, *data)[:, None]
        grads = {name: np.zeros_like(values) for name, values in factors.items()}
        np.add.at(grads["users"], users, r * factors["items"][items])
        np.add.at(grads["items"], items, r * factors["users"][users])
        optimizer.update(factors, grads)


def in_batches(factors, data, epochs, rng):
    """Each step descends the gradient of one batch, in the rows that it touches."""
    users, items, ratings = data
    steps = epochs * (ratings.size // BATCH)
    optimizer = rmsfast.RMSProp(lr=rmsfast.schedules.cosine(0.05, steps))
    for _ in range(steps):
        batch = rng.integers(ratings.size, size=BATCH)
        rows = {"users": users[batch], "items": items[batch]}
        r = residuals(factors, users[batch], items[batch], ratings[batch])[:, None]
        grads = {
            "users": r * factors["items"][rows["items"]],
            "items": r * factors["users"][rows["users"]],
        }
        optimizer.update_rows(factors, rows, grads)


H = kernels.hyper(lr=0.05)  # a global constant is a constant of the machine code


@numba.njit(error_model="numpy")
def compiled(p, q, users, items, ratings, epochs):
    """Each step descends the gradient of one rating. The rule is merged into the loop."""
    p_square, q_square = np.zeros_like(p), np.zeros_like(q)
    for epoch in range(epochs):
        h = kernels.with_lr(H, H.lr * (1.0 - epoch / epochs))
        for k in range(ratings.size):
            u, i = users[k], items[k]
            r = -ratings[k]
            for j in range(RANK):
                r += p[u, j] * q[i, j]
            for j in range(RANK):
                p_grad, q_grad = r * q[i, j], r * p[u, j]
                p[u, j], p_square[u, j], _, _ = kernels.step(
                    p[u, j], p_grad, p_square[u, j], 0.0, 0.0, h
                )
                q[i, j], q_square[i, j], _, _ = kernels.step(
                    q[i, j], q_grad, q_square[i, j], 0.0, 0.0, h
                )


def main():
    """Run all three, and print what they reach."""
    rng = np.random.default_rng(2012)
    known, others = make_ratings(rng)
    begin = start(rng)
    print(f"{known[2].size} ratings, error at the start {error(begin, others):.3f}")

    def compiled_loop(factors):
        compiled(factors["users"], factors["items"], *known, 20)

    ways = {
        "all at once, 300 steps": lambda factors: all_at_once(factors, known, 300),
        "in batches, 20 epochs": lambda factors: in_batches(factors, known, 20, rng),
        "compiled, 20 epochs": compiled_loop,
    }
    for name, run in ways.items():
        for _ in ("compiles", "is timed"):
            factors = {key: values.copy() for key, values in begin.items()}
            began = time.perf_counter()
            run(factors)
            seconds = time.perf_counter() - began
        print(f"{name}: error {error(factors, others):.3f}, {seconds:.2f} s")


if __name__ == "__main__":
    main()
