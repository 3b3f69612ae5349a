"""11. One function of ten million variables on a GPU
==================================================

Extended Rosenbrock, problem 21 of Moré, Garbow and Hillstrom (1981): pairs of variables, each in a
curved valley of its own. The function is a sum with a term for each variable, so it is written as
two scalar functions, the term and the derivative of the sum. From these the GPU makes value and
gradient in one pass. ``lr="auto"`` goes to the minimum; with a numeric rate the update is in the
same pass, and a step is as cheap as it can be. All decisions are taken on the GPU, and the host
looks up now and then. The same object runs on the CPU, on all threads, for comparison.

``python examples/cuda_rosenbrock.py`` needs the GPU, and ``pip install ".[cuda12]"`` or
``".[cuda13]"``. Where there is none it says so.
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


# Of so many corrections each takes two vectors of memory beside the 13 of ``maxcor=0``. Here two
# serve as well as ten.
AUTO = {"lr": "auto", "maxcor": 2}


def run(n, device, options):
    """Minimize; return the result, and the seconds per evaluation."""
    start = np.resize([-1.2, 1.0], n)
    begin = time.perf_counter()
    result = minimize(
        valleys, start, jac=True, method=rmsfast.rmsprop, options={**options, "device": device}
    )
    return result, (time.perf_counter() - begin) / result.nfev


def main(arguments=None):
    """Minimize on the GPU and on the CPU; return the results of each with both rates."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--n", type=int, default=10_000_000, help="default: %(default)s")
    parser.add_argument(
        "--steps", type=int, default=50, help="of the numeric rate; default: %(default)s"
    )
    chosen = parser.parse_args(arguments)
    if chosen.n < 2 or chosen.n % 2:
        parser.error(f"--n must be even and at least 2, got {chosen.n}")
    rate = rmsfast.schedules.cosine(0.01, 2000)
    numeric = {"lr": rate, "momentum": 0.9, "maxiter": chosen.steps}
    results = []
    for options in (AUTO, numeric):
        try:
            run(2, "cuda", {**options, "maxiter": 1})  # compiles
        except RuntimeError as error:
            sys.exit(f"This example cannot run: {error}.")
        run(2, "cpu", {**options, "maxiter": 1})
        (there, seconds), (here, slow) = (run(chosen.n, name, options) for name in ("cuda", "cpu"))
        print(f"lr={options['lr']}: {there.message}")
        print(f"  f = {there.fun:.3g}, farthest from the minimum {abs(there.x - 1.0).max():.3g}")
        print(f"  {there.nfev} evaluations of {1e3 * seconds:.3g} ms, copies to and fro included")
        print(
            f"  on the CPU {here.nfev} of {1e3 * slow:.3g} ms: {slow / seconds:.1f} times as long"
        )
        print(f"  the points found differ by {abs(here.x - there.x).max():.1e}")
        results.append((there, here))
    return results


if __name__ == "__main__":
    main()
