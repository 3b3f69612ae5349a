"""The example that fits a peak to each of many spectra."""

import math
import pathlib
import runpy

import numpy as np
import pytest

FILE = pathlib.Path(__file__).parent.parent / "examples" / "peak_fitting.py"


@pytest.fixture(scope="module")
def example():
    """The names of the example, and what it returns for 20,000 spectra."""
    names = runpy.run_path(str(FILE))
    return names, names["main"](["--spectra", "20000"])


def test_all_fits_end_at_a_minimum(example):
    _, (fits, *_) = example
    assert len(fits.fun) > 19_900
    assert fits.success.all()
    assert fits.nfev.max() < 100


def test_errors_are_those_that_the_noise_explains(example):
    # The estimates scatter as Cramer and Rao say, to first order in the noise. Bounds: five
    # standard errors, 5 / sqrt(N) of a mean and 5 / sqrt(2 N) of a standard deviation, and for
    # the second order, with noise of up to 1/5 of a parameter, 0.1 of a mean and 0.03 of a
    # standard deviation.
    _, (_, pulls, *_) = example
    pulls = pulls.reshape(-1, 4)
    count = len(pulls)
    assert (abs(pulls.mean(axis=0)) < 5.0 / math.sqrt(count) + 0.1).all()
    assert (abs(pulls.std(axis=0) - 1.0) < 5.0 / math.sqrt(2.0 * count) + 0.03).all()
    # a normal variable lies within one and two standard deviations of its mean so often
    for deviations, share in ((1.0, 0.6827), (2.0, 0.9545)):
        assert (abs((abs(pulls) < deviations).mean(axis=0) - share) < 0.02).all()


def test_fits_are_as_good_as_those_of_least_squares(example):
    _, (_, _, costs, scipy_costs) = example
    assert len(costs) == 200
    assert np.mean(costs <= (1.0 + 1e-9) * scipy_costs) >= 0.99


def test_sum_of_squares_is_that_of_the_chi_square_distribution(example):
    # 32 channels less 4 parameters: 28 degrees of freedom, mean 28 and variance 56; the variance
    # of 2 sqrt(counts + 1/4) exceeds 1 by about 3 / (8 mean), at 30 counts 1.2 %
    _, (fits, *_) = example
    squares = 2.0 * fits.fun
    assert abs(squares.mean() - 28.0) < 5.0 * math.sqrt(56.0 / squares.size) + 0.02 * 28.0


def test_gradient_is_that_of_the_model(example):
    names, _ = example
    misfit, model = names["misfit"], names["model"]
    point = np.array([120.0, 14.3, 2.1, 40.0])
    mean, slopes = model(point)
    roots = np.sqrt(np.random.default_rng(0).poisson(mean) + 0.25)
    value, gradient = misfit(point, roots)
    residuals = 2.0 * (np.sqrt(mean) - roots)
    np.testing.assert_allclose(value, 0.5 * residuals @ residuals, rtol=1e-12)
    np.testing.assert_allclose(gradient, slopes.T @ (residuals / np.sqrt(mean)), rtol=1e-10)
    for i in range(4):
        step = np.zeros(4)
        step[i] = 1e-5
        change = (model(point + step)[0] - model(point - step)[0]) / 2e-5
        np.testing.assert_allclose(slopes[:, i], change, rtol=1e-6, atol=1e-6)


def test_maps_are_drawn(example, tmp_path):
    pytest.importorskip("matplotlib")
    names, _ = example
    names["main"](["--spectra", "1000", "--output", str(tmp_path / "maps.png")])
    assert (tmp_path / "maps.png").read_bytes().startswith(b"\x89PNG")
