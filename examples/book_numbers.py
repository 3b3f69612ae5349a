"""5. The trajectories that two books print, to the digit
======================================================

Run it with ``python examples/book_numbers.py``.
"""

import numpy as np
from scipy.optimize import minimize

import rmsfast


def trajectory(fun, x0, steps, **options):
    """Return the iterates of `steps` updates, the start first."""
    result = minimize(
        fun,
        x0,
        jac=True,
        method=rmsfast.rmsprop,
        options={"maxiter": steps, "gtol": 0.0, "return_all": True, **options},
    )
    return result.allvecs


@rmsfast.Objective
def valley(x, g):
    """Compute 0.1 x1^2 + 2 x2^2."""
    g[0] = 0.2 * x[0]
    g[1] = 4.0 * x[1]
    return 0.1 * x[0] ** 2 + 2.0 * x[1] ** 2


@rmsfast.Objective
def bowl(x, g):
    """Compute x^2 + y^2."""
    g[0] = 2.0 * x[0]
    g[1] = 2.0 * x[1]
    return x[0] ** 2 + x[1] ** 2


def main():
    """Print what the books print."""
    print("Dive into Deep Learning, section 12.8: 20 steps on 0.1 x1^2 + 2 x2^2")
    x1, x2 = trajectory(valley, [-5.0, -2.0], 20, preset="d2l", lr=0.4, rho=0.9, eps=1e-6)[-1]
    print(f"epoch 20, x1: {x1:f}, x2: {x2:f}")

    print("\nx^2 + y^2 from (5, 4): every 20th epoch, each the state after its update")
    iterates = trajectory(bowl, [5.0, 4.0], 101, lr=0.1, rho=0.9, eps=1e-6)
    for epoch in range(0, 101, 20):
        print(f"epoch {epoch:3d}: {np.array2string(iterates[epoch + 1])}")


if __name__ == "__main__":
    main()
