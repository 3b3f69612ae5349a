"""11. One function of ten million variables on a GPU
==================================================

Extended Rosenbrock, problem 21 of Moré, Garbow and Hillstrom (1981): pairs of variables, each in a
curved valley of its own. The function is a sum with a term for each variable, so it is written as
two scalar functions, the term and the derivative of the sum. From these the GPU makes one pass per
step: value, gradient and update at once. No gradient is ever stored, and the
host looks up now and then. The same object runs on the CPU, on all threads, for comparison.

``python examples/cuda_rosenbrock.py`` needs the GPU, and ``pip install "rmsfast[cuda12]"`` or
``"rmsfast[cuda13]"``. Where there is none it says so.
"""

import argparse
import sys
import time

import numpy as np
from scipy.optimize import minimize

import rmsfast


def term(i, x):
    """Return term i: ``(1 - x_i)^2`` if i is even, ``100 (x_i - x_{i-1}^2)^2`` if it is odd."""
    if i % 2 == 0:
        return (1.0 - x[i]) ** 2
    return 100.0 * (x[i] - x[i - 1] * x[i - 1]) ** 2


def grad(i, x):
    """Return the derivative of the sum: an even variable stands in two terms."""
    if i % 2 == 1:
        return 200.0 * (x[i] - x[i - 1] * x[i - 1])
    return 2.0 * (x[i] - 1.0) - 400.0 * x[i] * (x[i + 1] - x[i] * x[i])


valleys = rmsfast.Objective.from_terms(term, grad)


def run(n, device, steps, of):
    """Take `steps` of a schedule `of` so many; return the result and the seconds per step."""
    start = np.resize([-1.2, 1.0], n)
    options = {"lr": rmsfast.schedules.cosine(0.01, of), "momentum": 0.9, "device": device}
    begin = time.perf_counter()
    result = minimize(
        valleys, start, jac=True, method=rmsfast.rmsprop, options={**options, "maxiter": steps}
    )
    return result, (time.perf_counter() - begin) / max(result.nit, 1)


def main(arguments=None):
    """Minimize on the GPU, and take some of the steps on the CPU; return both results."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--n", type=int, default=10_000_000, help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=2000, help="at most; default: %(default)s")
    parser.add_argument("--compared", type=int, default=20, help="on the CPU; default: %(default)s")
    chosen = parser.parse_args(arguments)
    if chosen.n < 2 or chosen.n % 2:
        parser.error(f"--n must be even and at least 2, got {chosen.n}")
    try:
        run(2, "cuda", 1, chosen.steps)  # compiles
    except RuntimeError as error:
        sys.exit(f"This example cannot run: {error}.")

    found, seconds = run(chosen.n, "cuda", chosen.steps, chosen.steps)
    print(found.message)
    print(f"{found.nit} steps of {1e3 * seconds:.3g} ms, the copies to and from the GPU included")
    print(f"f = {found.fun:.3g}, farthest from the minimum {abs(found.x - 1.0).max():.3g}")

    run(2, "cpu", 1, chosen.steps)  # compiles
    there, _ = run(chosen.n, "cuda", chosen.compared, chosen.steps)
    here, slow = run(chosen.n, "cpu", chosen.compared, chosen.steps)
    print(f"on the CPU a step takes {1e3 * slow:.3g} ms, {slow / seconds:.1f} times as long")
    print(f"after {here.nit} steps they differ by {abs(here.x_last - there.x_last).max():.1e}")
    return found, here


if __name__ == "__main__":
    main()
