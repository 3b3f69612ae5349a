"""1. Quick start: three problems
==============================

Rosenbrock's function, a fit whose parameters are certified, and a noisy objective: under a minute.

Run it with ``python examples/quickstart.py``.
"""

import numpy as np
from scipy.optimize import minimize

import rmsfast
from rmsfast.objectives import rosenbrock

# NIST Statistical Reference Datasets, nonlinear regression, Misra1a (dental research, monomolecular
# adsorption): y = b1 (1 - exp(-b2 x)), https://www.itl.nist.gov/div898/strd/nls/data/misra1a.shtml
VOLUME, PRESSURE = np.array(
    [
        (10.07, 77.6),
        (14.73, 114.9),
        (17.94, 141.1),
        (23.93, 190.8),
        (29.61, 239.9),
        (35.18, 289.0),
        (40.02, 332.8),
        (44.82, 378.4),
        (50.76, 434.8),
        (55.05, 477.3),
        (61.01, 536.8),
        (66.40, 593.1),
        (75.47, 689.1),
        (81.78, 760.0),
    ]
).T.copy()
CERTIFIED = np.array([2.3894212918e02, 5.5015643181e-04])
CERTIFIED_SUM_OF_SQUARES = 1.2455138894e-01


@rmsfast.Objective
def misra1a(b, g, x, y):
    """Sum of squared residuals; the gradient goes into g."""
    f = 0.0
    g[:] = 0.0
    for i in range(x.size):
        decay = np.exp(-b[1] * x[i])
        residual = b[0] * (1.0 - decay) - y[i]
        f += residual * residual
        g[0] += 2.0 * residual * (1.0 - decay)
        g[1] += 2.0 * residual * b[0] * x[i] * decay
    return f


def main():
    """Solve the three problems and print what came out."""
    print("1. Rosenbrock's function from (-1.2, 1)\n")
    result = minimize(
        rosenbrock, [-1.2, 1.0], jac=True, method=rmsfast.rmsprop, options={"disp": 2}
    )
    print(f"         x = {result.x}\n")

    print("2. A fit to data with certified parameters: NIST StRD Misra1a, from NIST's start 1\n")
    result = minimize(
        misra1a,
        [500.0, 0.0001],
        args=(PRESSURE, VOLUME),
        jac=True,
        method=rmsfast.rmsprop,
        options={"disp": True},
    )
    distance = abs(result.x / CERTIFIED - 1.0)
    print(f"         parameters          {result.x[0]:.10e}  {result.x[1]:.10e}")
    print(f"         certified           {CERTIFIED[0]:.10e}  {CERTIFIED[1]:.10e}")
    print(f"         relative distance   {distance[0]:.1e}  {distance[1]:.1e}")
    print(f"         sum of squares      {result.fun:.10e}")
    print(f"         certified           {CERTIFIED_SUM_OF_SQUARES:.10e}\n")

    print("3. A noisy objective, with a numeric learning rate that decreases\n")
    rng = np.random.default_rng(1)
    target = np.array([1.0, -2.0, 3.0])

    def noisy(x):
        error = x - target
        return error @ error + rng.normal(), 2.0 * error + rng.normal(size=3)

    result = minimize(
        noisy,
        np.zeros(3),
        jac=True,
        method=rmsfast.rmsprop,
        options={"lr": rmsfast.schedules.inverse_time(0.1, 0.01), "maxiter": 5000, "gtol": 0.0},
    )
    print(f"         last iterate   {result.x_last.round(3)}   after {result.nit} steps")
    print(f"         minimum        {target}   (gradient noise of standard deviation 1)")


if __name__ == "__main__":
    main()
