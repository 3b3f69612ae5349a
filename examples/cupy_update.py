"""13. RMSProp on arrays of CuPy, on a stream of one's own
========================================================

A least-squares problem on an NVIDIA GPU: gradients by CuPy, updates by `rmsfast.RMSProp`, all on
one stream that is not the default. Each call of the loop only adds work to the stream; the host
waits once, at the end.

The same gradients then lead a copy in NumPy on the CPU, and the largest difference is printed.

``python examples/cupy_update.py`` needs the GPU, CuPy (``pip install cupy-cuda12x`` or
``cupy-cuda13x``), and ``pip install ".[cuda12]"`` or ``".[cuda13]"``. Where one is
missing it says so.
"""

import sys

import numpy as np

import rmsfast

ROWS, COLUMNS, STEPS = 10_000, 100, 300
TOLERANCE = 1e-12  # of the difference; the GPU rounds a product and a sum once


def import_cupy():
    """Return CuPy, if all that is needed is there."""
    try:
        import cupy
    except ImportError:
        sys.exit("This example cannot run: there is no package cupy, install CuPy for CUDA.")
    if not cupy.cuda.is_available():
        sys.exit("This example cannot run: CuPy finds no GPU that it can use.")
    try:
        rmsfast.RMSProp(lr=0.1).update(cupy.zeros(1), cupy.zeros(1))
    except RuntimeError as error:
        sys.exit(f"This example cannot run: {error}.")
    return cupy


def make_problem(rng, rows=ROWS):
    """Return a matrix, a right side and the solution that made it."""
    matrix = rng.standard_normal((rows, COLUMNS))
    solution = rng.standard_normal(COLUMNS)
    return matrix, matrix @ solution, solution


def optimizer():
    """Return RMSProp with a rate that falls to zero."""
    return rmsfast.RMSProp(lr=rmsfast.schedules.cosine(0.05, STEPS))


def solve(xp, matrix, right, stream):
    """Descend with arrays of the library `xp`; return the end and all gradients."""
    x, ours, grads = xp.zeros(COLUMNS), optimizer(), []
    for _ in range(STEPS):
        grads.append(matrix.T @ (matrix @ x - right) / len(right))
        ours.update(x, grads[-1], stream=stream)
    return x, grads


def follow(grads):
    """Return where the same gradients lead on the CPU."""
    x, ours = np.zeros(COLUMNS), optimizer()
    for g in grads:
        ours.update(x, g)
    return x


def main():
    """Solve on the GPU, and compare."""
    cupy = import_cupy()
    matrix, right, solution = make_problem(np.random.default_rng(0))
    with cupy.cuda.Stream(non_blocking=True) as stream:
        x, grads = solve(cupy, cupy.asarray(matrix), cupy.asarray(right), stream)
    stream.synchronize()
    x = cupy.asnumpy(x)
    print(f"largest distance from the solution: {np.max(np.abs(x - solution)):.2g}")
    difference = np.max(np.abs(x - follow([cupy.asnumpy(g) for g in grads])))
    print(f"largest difference from the CPU: {difference:.2g}")
    if difference > TOLERANCE:
        raise AssertionError(f"they must agree within {TOLERANCE}, got {difference}")


if __name__ == "__main__":
    main()
