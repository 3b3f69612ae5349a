"""8. RMSProp and AdaGrad in a valley
==================================

20 steps on 0.1 x1^2 + 2 x2^2 from (-5, -2) with learning rate 0.4, as sections 12.7 and 12.8 of
"Dive into Deep Learning" take them. AdaGrad divides by the root of the sum of all squared
gradients, so its steps become short, and it ends far from the minimum, at (-2.382563, -0.158591).
RMSProp forgets with gamma 0.9, and ends at (-0.010599, 0.000000). These are the numbers that the
book prints.

``python examples/trajectories.py --output trajectories.png`` draws both paths (needs Matplotlib).
"""

import argparse

from scipy.optimize import minimize

import rmsfast

START, STEPS = [-5.0, -2.0], 20
RULES = {  # both with lr 0.4, and with eps inside the root, as in the book
    "RMSProp": (rmsfast.rmsprop, {"preset": "d2l"}),
    "AdaGrad": (rmsfast.adagrad, {"eps": 1e-6, "eps_in_sqrt": True}),
}


@rmsfast.Objective
def valley(x, g):
    """Compute 0.1 x1^2 + 2 x2^2."""
    g[0] = 0.2 * x[0]
    g[1] = 4.0 * x[1]
    return 0.1 * x[0] ** 2 + 2.0 * x[1] ** 2


def draw(file, results):
    """Draw the paths over the contours of the valley."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    bounds = [(-5.5, 1.0), (-2.2, 0.6)]
    ax = rmsfast.plot.trajectory(
        valley, results, minimum=[0.0, 0.0], bounds=bounds, ax=figure.subplots()
    )
    ax.set(xlabel="$x_1$", ylabel="$x_2$")
    figure.savefig(file, dpi=100)


def main(arguments=None):
    """Take 20 steps by each rule, and print where they end."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--output", metavar="FILE", help="draw the paths")
    chosen = parser.parse_args(arguments)
    options = {"lr": 0.4, "maxiter": STEPS, "gtol": 0.0, "return_all": True}
    results = {
        name: minimize(valley, START, method=rule, jac=True, options={**options, **own})
        for name, (rule, own) in RULES.items()
    }
    for name, result in results.items():
        x1, x2 = result.allvecs[-1]
        print(f"{name}: epoch {STEPS}, x1: {x1:f}, x2: {x2:f}")
    if chosen.output:
        draw(chosen.output, results)
        print(f"written: {chosen.output}")


if __name__ == "__main__":
    main()
