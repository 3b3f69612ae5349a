"""10. The same peaks on a GPU: a million spectra
==============================================

The spectra of the fourth example, ten times as many, fitted on an NVIDIA GPU by the same call with
``device="cuda"``, and some of them on the CPU for comparison.

``python examples/cuda_peak_fitting.py`` needs the GPU, and ``pip install ".[cuda12]"`` or
``".[cuda13]"``. Where there is none it says so.
"""

import argparse
import sys
import time

import numpy as np
from peak_fitting import BOX, CHANNELS, NAMES, galaxy, guess, misfit, model
from scipy.optimize import Bounds

import rmsfast
from rmsfast import PerProblem


def fit(counts, device):
    """Fit all spectra, and return the result with the number of fits per second."""
    begin = time.perf_counter()
    roots, starts = np.sqrt(counts + 0.25), guess(counts)
    ready = time.perf_counter()
    fits = rmsfast.minimize_many(
        misfit, starts, (PerProblem(roots),), bounds=Bounds(*BOX), device=device
    )
    end = time.perf_counter()
    print(f"{device}: {len(counts)} fits in {end - ready:.3f} s, {ready - begin:.3f} s before that")
    return fits, len(counts) / (end - ready)


def main(arguments=None):
    """Fit a cube of spectra on the GPU and a part of it on the CPU; return both results."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--spectra", type=int, default=1_000_000, help="default: %(default)s")
    parser.add_argument("--compared", type=int, default=100_000, help="default: %(default)s")
    chosen = parser.parse_args(arguments)
    rng = np.random.default_rng(1)
    try:
        for device in ("cuda", "cpu"):  # compiles
            fit(rng.poisson(model(galaxy(1))[0]).reshape(1, CHANNELS), device)
    except RuntimeError as error:
        sys.exit(f"This example cannot run: {error}.")

    truth = galaxy(chosen.spectra).reshape(-1, 4)
    parts = np.array_split(truth, -(-len(truth) // 100_000))  # slopes take a lot of memory
    counts = np.concatenate([rng.poisson(model(part)[0]) for part in parts])
    fits, speed = fit(counts, "cuda")
    print(fits)
    for name, found, true in zip(NAMES, fits.x.T, truth.T, strict=True):
        print(f"{name:10s}: median distance from the truth {np.median(abs(found - true)):.3g}")
    compared = fit(counts[: chosen.compared], "cpu")
    print(f"the GPU is {speed / compared[1]:.1f} times as fast")
    good = fits.fun[: chosen.compared] <= (1.0 + 1e-9) * compared[0].fun
    print(f"as good as on the CPU, or better: {100 * np.mean(good):.2f} %")
    return fits, compared[0]


if __name__ == "__main__":
    main()
