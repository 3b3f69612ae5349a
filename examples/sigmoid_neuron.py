"""7. One sigmoid neuron: RMSProp, momentum and AdaGrad
====================================================

The neuron of Mitesh Khapra's lectures on deep learning: 1 / (1 + exp(-(w x + b))) is to be 0.2 at
x = 0.5 and 0.9 at x = 2.5. Each epoch takes one step along the gradient of half the sum of squared
errors over both points. An exact fit exists, w = 1.791759 and b = -2.282174, so the error can
become zero.

The start (-2, -2) lies on a plateau, where the gradient is small. RMSProp divides by the size of
recent gradients and walks across it at a steady pace: with learning rate 0.1, beta 0.9, and eps
1e-9 inside the root the error is below 0.001 after 43 epochs. Momentum 0.9 with learning rate 1
gathers speed, shoots past the minimum and has to come back: 148 epochs. AdaGrad with learning rate
0.1 remembers all gradients, so its steps become short: 940 epochs. (This depends on the rates: with
learning rate 1, AdaGrad takes 21.) After some 90 epochs RMSProp is nearly exact, but then the
recent gradients are so small that it leaps away, and it ends in a cycle around the minimum: a
constant learning rate does that.

``python examples/sigmoid_neuron.py --output neuron.png`` draws the paths over the error surface,
``--animation neuron.gif`` shows them side by side, epoch by epoch (both need Matplotlib).
"""

import argparse
import math

import numpy as np
from scipy.optimize import minimize

import rmsfast

INPUTS, WANTED = np.array([0.5, 2.5]), np.array([0.2, 0.9])
START = [-2.0, -2.0]
RULES = {
    "RMSProp": (rmsfast.rmsprop, {"lr": 0.1, "rho": 0.9, "eps": 1e-9, "eps_in_sqrt": True}),
    "momentum": (rmsfast.momentum, {"lr": 1.0, "momentum": 0.9}),
    "AdaGrad": (rmsfast.adagrad, {"lr": 0.1, "eps": 1e-9, "eps_in_sqrt": True}),
}
DRAWN = 200  # epochs in pictures
ERRORS = 1e-2, 1e-3, 1e-6


@rmsfast.Objective
def error(x, g, inputs, wanted):
    """Half the sum of squared errors of the neuron with w, b = x; the gradient goes into g."""
    f = g0 = g1 = 0.0
    for i in range(inputs.size):
        output = 1.0 / (1.0 + math.exp(-(x[0] * inputs[i] + x[1])))
        r = output - wanted[i]
        f += 0.5 * r * r
        slope = r * output * (1.0 - output)
        g0 += slope * inputs[i]
        g1 += slope
    g[0], g[1] = g0, g1
    return f


def exact():
    """Return w and b with which the outputs are the ones wanted: one linear equation for each."""
    return np.linalg.solve(np.c_[INPUTS, [1.0, 1.0]], np.log(WANTED / (1.0 - WANTED)))


def train(epochs):
    """Return the result of each rule."""
    options = {"maxiter": epochs, "gtol": 0.0, "return_all": True}
    return {
        name: minimize(
            error, START, (INPUTS, WANTED), method=rule, jac=True, options={**options, **own}
        )
        for name, (rule, own) in RULES.items()
    }


def first_below(path, limit):
    """Return the first epoch whose error is below the limit, None if there is none."""
    below = (epoch for epoch, x in enumerate(path) if error(x, INPUTS, WANTED)[0] < limit)
    return next(below, None)


def draw(file, results):
    """Draw the paths, and the errors beside them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    surface = {"args": (INPUTS, WANTED), "minimum": exact()}
    rmsfast.plot.trajectory(error, results, **surface, ax=left)
    left.set(xlabel="w", ylabel="b")
    rmsfast.plot.convergence(results, fun=error, args=(INPUTS, WANTED), ax=right)
    right.set(xlabel="epoch", ylabel="error")
    figure.savefig(file, dpi=90)


def animate(file, results):
    """Draw the paths as they grow."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 5.0), layout="constrained")
    ax = figure.subplots()
    moving = rmsfast.plot.animate(
        error, results, args=(INPUTS, WANTED), minimum=exact(), interval=50, ax=ax
    )
    ax.set(xlabel="w", ylabel="b")
    moving.save(file, writer="pillow", dpi=70)


def main(arguments=None):
    """Train by each rule, and print how fast the error falls and where the neuron ends."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--epochs", type=int, default=1000, help="default: %(default)s")
    parser.add_argument("--output", metavar="FILE", help=f"draw the first {DRAWN} epochs")
    parser.add_argument("--animation", metavar="FILE", help="the same in motion, a GIF")
    chosen = parser.parse_args(arguments)
    limits = "".join(f"  < {limit:g}" for limit in ERRORS)
    print(f"          error{limits}       w         b")
    for name, result in train(chosen.epochs).items():
        epochs = [first_below(result.allvecs, limit) for limit in ERRORS]
        cells = "".join(
            f"{'-' if epoch is None else epoch:>{4 + len(f'{limit:g}')}}"
            for epoch, limit in zip(epochs, ERRORS, strict=True)
        )
        w, b = result.allvecs[-1]
        print(f"{name:9s} epoch{cells} {w:9.6f} {b:9.6f}")
    w, b = exact()
    print(f"exact {w:{len(limits) + 19}.6f} {b:9.6f}")
    drawn = train(DRAWN)
    for draws, file in ((draw, chosen.output), (animate, chosen.animation)):
        if file:
            draws(file, drawn)
            print(f"written: {file}")


if __name__ == "__main__":
    main()
