"""Fits to the NIST StRD nonlinear regression sets, against their certified parameters.

https://www.itl.nist.gov/div898/strd/nls/nls_main.shtml. The data are typed in; the certified sum of
squares at the certified parameters checks the typing.
"""

import numpy as np
import pytest

import rmsfast

MISRA_X = (77.6, 114.9, 141.1, 190.8, 239.9, 289.0, 332.8)
MISRA_X += (378.4, 434.8, 477.3, 536.8, 593.1, 689.1, 760.0)
MISRA_Y = (10.07, 14.73, 17.94, 23.93, 29.61, 35.18, 40.02)
MISRA_Y += (44.82, 50.76, 55.05, 61.01, 66.40, 75.47, 81.78)

DANWOOD_X = (1.309, 1.471, 1.490, 1.565, 1.611, 1.680)
DANWOOD_Y = (2.138, 3.421, 3.597, 4.340, 4.882, 5.660)


def misra1a(b, x):
    e = np.exp(-b[1] * x)
    return b[0] * (1.0 - e), np.array([1.0 - e, b[0] * x * e])


def misra1b(b, x):
    u = 1.0 + b[1] * x / 2.0
    return b[0] * (1.0 - u**-2), np.array([1.0 - u**-2, b[0] * x * u**-3])


def misra1d(b, x):
    u = 1.0 + b[1] * x
    return b[0] * b[1] * x / u, np.array([b[1] * x / u, b[0] * x / u**2])


def danwood(b, x):
    power = x ** b[1]
    return b[0] * power, np.array([power, b[0] * power * np.log(x)])


# model, data, two starts, certified parameters, certified sum of squares
SETS = {
    "Misra1a": (
        misra1a,
        (MISRA_X, MISRA_Y),
        ((500.0, 0.0001), (250.0, 0.0005)),
        (2.3894212918e02, 5.5015643181e-04),
        1.2455138894e-01,
    ),
    "Misra1b": (
        misra1b,
        (MISRA_X, MISRA_Y),
        ((500.0, 0.0001), (300.0, 0.0002)),
        (3.3799746163e02, 3.9039091287e-04),
        7.5464681533e-02,
    ),
    "Misra1d": (
        misra1d,
        (MISRA_X, MISRA_Y),
        ((500.0, 0.0001), (450.0, 0.0003)),
        (4.3736970754e02, 3.0227324449e-04),
        5.6419295283e-02,
    ),
    "DanWood": (
        danwood,
        (DANWOOD_X, DANWOOD_Y),
        ((1.0, 5.0), (0.7, 4.0)),
        (7.6886226176e-01, 3.8604055871e00),
        4.3173084083e-03,
    ),
}


def sum_of_squares(b, model, x, y):
    value, jacobian = model(b, x)
    residual = value - y
    return residual @ residual, 2.0 * jacobian @ residual


@pytest.mark.parametrize("name", SETS)
def test_data_are_typed_rightly(name):
    model, data, _, certified, squares = SETS[name]
    f, g = sum_of_squares(np.array(certified), model, *map(np.array, data))
    assert f == pytest.approx(squares, rel=1e-9)
    assert np.abs(g * certified).max() < 1e-5


@pytest.mark.parametrize("maxcor", [0, 10])
@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("name", SETS)
def test_certified_parameters(name, start, maxcor):
    model, data, starts, certified, squares = SETS[name]
    result = rmsfast.rmsprop(
        sum_of_squares,
        starts[start],
        args=(model, *map(np.array, data)),
        jac=True,
        maxcor=maxcor,
    )
    assert result.success
    np.testing.assert_allclose(result.x, certified, rtol=1e-6)  # six digits, at the default gtol
    assert result.fun == pytest.approx(squares, rel=1e-9)
