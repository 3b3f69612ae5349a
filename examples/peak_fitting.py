"""4. A peak fitted to each of 100,000 spectra
===========================================

An emission line across the face of a galaxy.

Each pixel has 32 channels of Poisson counts, a Gaussian peak on a constant background. The fits are
compared with the known truth and with `scipy.optimize.least_squares`, in seconds, and drawn by
``python examples/peak_fitting.py --output maps.png``, which needs Matplotlib.
"""

import argparse
import math
import time

import numpy as np
from scipy.optimize import Bounds, least_squares

import rmsfast
from rmsfast import PerProblem

CHANNELS = 32
NAMES = "amplitude", "centre", "width", "background"
BOX = np.array([[0.0, 0.0, 0.3, 0.1], [np.inf, CHANNELS - 1.0, 16.0, np.inf]])


@rmsfast.Objective
def misfit(p, g, roots):
    """Half the sum of squares of 2 sqrt(model) - 2 sqrt(counts + 1/4); the gradient goes into g.

    The root gives all channels noise of standard deviation 1, in effect the weights of weighted
    least squares; the 1/4 makes its mean zero (Brown, Cai and Zhou, Ann. Stat. 38 (2010), 2005).
    """
    scale = 1.0 / p[2]
    f = g0 = g1 = g2 = g3 = 0.0
    for i in range(roots.size):
        z = scale * (i - p[1])
        peak = math.exp(-0.5 * z * z)
        root = math.sqrt(p[3] + p[0] * peak)
        slope = 2.0 * (root - roots[i]) / root  # derivative by the model
        f += 2.0 * (root - roots[i]) ** 2
        g0 += slope * peak
        g1 += slope * peak * z
        g2 += slope * peak * z * z
        g3 += slope
    g[0], g[1], g[2], g[3] = g0, p[0] * scale * g1, p[0] * scale * g2, g3
    return f


def model(parameters):
    """Mean counts of a spectrum or of many, (..., 32), and their derivatives, (..., 32, 4)."""
    amplitude, centre, width, background = np.moveaxis(parameters, -1, 0)[..., None]
    z = (np.arange(CHANNELS) - centre) / width
    peak = np.exp(-0.5 * z * z)
    slope = amplitude * peak * z / width
    return background + amplitude * peak, np.stack([peak, slope, slope * z, 0 * z + 1], axis=-1)


def galaxy(spectra):
    """Parameters of each pixel of a rotating disc with two arms, (rows, columns, 4)."""
    rows = max(1, math.isqrt(spectra * 5 // 8))
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1.6 : 1.6 : (spectra // rows) * 1j]
    along, across = 0.9 * x + 0.44 * y, (0.9 * y - 0.44 * x) / 0.6  # turned and inclined
    radius, angle = np.hypot(along, across), np.arctan2(across, along)
    arms = (1.0 + np.cos(2.0 * angle - 9.0 * np.sqrt(radius))) * np.tanh(5.0 * radius)
    amplitude = 80.0 + 150.0 * arms * np.exp(-radius) + 400.0 * np.exp(-9.0 * radius)
    centre = 15.5 + 6.0 * np.cos(angle) * np.tanh(4.0 * radius)
    width = 1.7 + 1.4 * np.exp(-8.0 * radius**2) + 0.3 * arms
    return np.stack([amplitude, centre, width, 30.0 + 60.0 * np.exp(-2.0 * radius)], axis=-1)


def guess(counts):
    """Parameters to start from: the highest three neighbours, and the area of the peak."""
    background = np.sort(counts, axis=1)[:, : CHANNELS // 2].mean(axis=1) + 0.5
    threes = counts[:, :-2] + counts[:, 1:-1] + counts[:, 2:]
    amplitude = np.maximum(threes.max(axis=1) / 3.0 - background, 1.0)
    width = (counts.sum(axis=1) - CHANNELS * background) / (math.sqrt(2.0 * math.pi) * amplitude)
    return np.stack([amplitude, threes.argmax(axis=1) + 1.0, width.clip(0.8, 5.0), background], 1)


def least_squares_cost(roots, start):
    """Return the same sum of squares, minimized by SciPy."""
    functions = (  # the residuals, their Jacobian
        lambda p: 2.0 * (np.sqrt(model(p)[0]) - roots),
        lambda p: model(p)[1] / np.sqrt(model(p)[0])[:, None],
    )
    return least_squares(functions[0], start, functions[1], BOX, x_scale="jac").cost


def draw(file, maps):
    """Draw maps of each parameter: truth, fit, and (fit - truth) / standard error."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 7), layout="constrained")
    for i, column in enumerate(figure.subplots(3, 4).T):
        for ax, (label, values) in zip(column, maps.items(), strict=True):
            scale = (-4, 4) if label == "pull" else np.quantile(maps["truth"][..., i], [0, 0.998])
            colours = {"pull": "RdBu_r"}.get(label, "RdYlBu_r" if i == 1 else "inferno")
            image = ax.imshow(values[..., i], colours, vmin=scale[0], vmax=scale[1])
            figure.colorbar(image, ax=ax)
            ax.set(title=f"{NAMES[i]}: {label}", xticks=[], yticks=[])
    figure.savefig(file, dpi=120)


def main(arguments=None):
    """Fit, compare, draw; return the fits, their pulls, and costs of a sample, ours and SciPy's."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--spectra", type=int, default=100_000, help="default: %(default)s")
    parser.add_argument("--output", metavar="FILE", help="draw maps")
    chosen = parser.parse_args(arguments)
    truth = galaxy(chosen.spectra)
    mean, slopes = model(truth)
    counts = np.random.default_rng(1).poisson(mean).reshape(-1, CHANNELS)
    roots, starts = np.sqrt(counts + 0.25), guess(counts)

    rmsfast.minimize_many(misfit, starts[:1], (roots[0],), bounds=Bounds(*BOX))  # compiles
    begin = time.perf_counter()
    fits = rmsfast.minimize_many(misfit, starts, (PerProblem(roots),), bounds=Bounds(*BOX))
    speed = len(counts) / (time.perf_counter() - begin)
    print(f"{fits}\n{len(counts)} fits, {speed:.0f} per second")
    information = np.einsum("...ci,...cj,...c->...ij", slopes, slopes, 1.0 / mean)  # Fisher's
    errors = np.sqrt(np.diagonal(np.linalg.inv(information), axis1=-2, axis2=-1))  # Cramer, Rao
    found = fits.x.reshape(truth.shape)
    pulls = (found - truth) / errors
    for i, name in enumerate(NAMES):
        mean, deviation = pulls[..., i].mean(), pulls[..., i].std()
        print(f"(fit - truth) / standard error, {name:10s}: mean {mean:+.3f}, sd {deviation:.3f}")
    sample = np.random.default_rng(2).choice(len(counts), min(200, len(counts)), replace=False)
    costs = np.array([least_squares_cost(roots[k], starts[k]) for k in sample])
    good = np.mean(fits.fun[sample] <= (1.0 + 1e-9) * costs)
    print(f"as good as least_squares, or better: {100 * good:.1f} % of {len(sample)} fits")
    if chosen.output:
        draw(chosen.output, {"truth": truth, "fit": found, "pull": pulls})
    return fits, pulls, fits.fun[sample], costs


if __name__ == "__main__":
    main()
