"""The numbers that books print."""

import numpy as np
import pytest
from scipy.optimize import minimize

import rmsfast


def ellipse(x):
    return 0.1 * x[0] ** 2 + 2 * x[1] ** 2, np.array([0.2 * x[0], 4 * x[1]])


def bowl(x):
    return x[0] ** 2 + x[1] ** 2, 2 * x


def iterates(fun, x0, steps, **options):
    """All points of a run of exactly `steps` steps."""
    options = {"gtol": 0, "maxiter": steps, "return_all": True, **options}
    seen = [np.asarray(x0, dtype=float)]
    result = minimize(
        fun, x0, jac=True, method=rmsfast.rmsprop, callback=seen.append, options=options
    )
    assert (result.nit, result.status) == (steps, 1), result.message
    np.testing.assert_array_equal(seen, result.allvecs)
    np.testing.assert_array_equal(result.allvecs[-1], result.x_last)
    return result.allvecs


def test_dive_into_deep_learning():
    # A. Zhang, Z. Lipton, M. Li and A. Smola, Dive into Deep Learning, section 12.8, which prints
    # "epoch 20, x1: -0.010599, x2: 0.000000"
    x1, x2 = iterates(ellipse, (-5, -2), 20, preset="d2l", lr=0.4)[-1]
    assert f"epoch 20, x1: {x1:f}, x2: {x2:f}" == "epoch 20, x1: -0.010599, x2: 0.000000"


PRINTED = {  # epoch e is the state after e + 1 updates
    0: "[4.68377233 3.68377236]",
    20: "[2.3688824  1.47561697]",
    40: "[0.95903672 0.35004133]",
    60: "[0.13761293 0.00745214]",
    80: "[3.91649374e-04 3.12725069e-09]",
    100: "[-3.07701828e-17  2.18862195e-20]",
}


@pytest.mark.parametrize("epoch", PRINTED)
def test_bowl(epoch):
    points = iterates(bowl, (5, 4), 101, lr=0.1, rho=0.9, eps=1e-6)
    assert np.array2string(points[epoch + 1]) == PRINTED[epoch]
