"""A naive RMSProp in NumPy, to compare with. It imports nothing from rmsfast.

The formulas are those that the frameworks document, one array expression per line, in the order

    maximize, coupled weight decay, clipping, mean square, mean, bias correction, denominator,
    decoupled weight decay, momentum.

Sources: T. Tieleman and G. Hinton, lecture 6.5 (2012); A. Graves, arXiv:1308.0850, equations 38
to 45 (centered); and the documentation named at each preset.
"""

import math
import re

import numpy as np

DEFAULTS = {
    "lr": 0.01,
    "rho": 0.99,
    "eps": 1e-8,
    "momentum": 0.0,
    "nesterov": False,
    "centered": False,
    "eps_in_sqrt": False,
    "bias_correction": False,
    "initial_scale": 0.0,
    "weight_decay": 0.0,
    "decoupled": False,
    "lr_in_momentum": False,
    "clip_value": None,
    "clip_norm": None,
    "maximize": False,
}

PRESETS = {
    # torch.optim.RMSprop: v = alpha v + (1 - alpha) g^2; v~ = v - gave^2 if centered;
    # b = mu b + g / (sqrt(v~) + eps); x = x - lr b; "weight_decay (L2 penalty)" g = g + wd x
    "torch": {"lr": 0.01, "rho": 0.99, "eps": 1e-8},
    # keras.optimizers.RMSprop: v = rho v + (1 - rho) g^2; increment = lr g / sqrt(v + epsilon),
    # v - average^2 + epsilon if centered; m = mu m + increment; x = x - m;
    # before it "weight_decay": x = x - x wd lr
    "keras": {
        "lr": 1e-3,
        "rho": 0.9,
        "eps": 1e-7,
        "eps_in_sqrt": True,
        "lr_in_momentum": True,
        "decoupled": True,
    },
    # tf.compat.v1.train.RMSPropOptimizer (ApplyRMSProp): ms = 1 at the start;
    # ms = rho ms + (1 - rho) g^2; mom = mu mom + lr g / sqrt(ms + epsilon); x = x - mom
    "tf1": {
        "rho": 0.9,
        "eps": 1e-10,
        "eps_in_sqrt": True,
        "initial_scale": 1.0,
        "lr_in_momentum": True,
    },
    # optax.rmsprop: scale_by_rms(decay=0.9, eps=1e-8, initial_scale=0, eps_in_sqrt=True), that is
    # g / sqrt(nu + eps); then times -lr; then trace(momentum, nesterov): t = u + mu t,
    # the update t or, for Nesterov, u + mu t
    "optax": {"rho": 0.9, "eps": 1e-8, "eps_in_sqrt": True, "lr_in_momentum": True},
    # Dive into Deep Learning, equation 12.8.2 and the code below it: s = gamma s + (1 - gamma) g^2;
    # x = x - eta / sqrt(s + eps) g, eps = 1e-6, gamma = 0.9, lr = 0.01
    "d2l": {"lr": 0.01, "rho": 0.9, "eps": 1e-6, "eps_in_sqrt": True},
    # ensmallen RMSProp(stepSize=0.01, alpha=0.99, epsilon=1e-8):
    # x -= stepSize g / (sqrt(meanSquaredGradient) + epsilon)
    "ensmallen": {"lr": 0.01, "rho": 0.99, "eps": 1e-8},
    # Optimisers.RMSProp(eta = 0.001, rho = 0.9, epsilon = 1e-8; centred = false):
    # dx = g eta / (sqrt(quad - abs2(lin)) + epsilon)
    "optimisers_jl": {"lr": 1e-3, "rho": 0.9, "eps": 1e-8},
    # pennylane.RMSPropOptimizer(stepsize=0.01, decay=0.9, eps=1e-8):
    # x = x - eta / sqrt(a + eps) g, a = gamma a + (1 - gamma) g^2
    "pennylane": {"lr": 0.01, "rho": 0.9, "eps": 1e-8, "eps_in_sqrt": True},
    # quimb.tensor.optimize.RMSPROP(gamma=0.9, eps=1e-8), after autograd.misc.optimizers:
    # avg_sq_grad = ones; x = x - step_size g / (sqrt(avg_sq_grad) + eps), step_size = 0.1
    "quimb": {"lr": 0.1, "rho": 0.9, "eps": 1e-8, "initial_scale": 1.0},
}


def name_of(value):
    """What a test's parameter is called: its text, without addresses."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


def clip_scale(x, g, options):
    """The factor by which `clip_norm` shortens the gradient, weight decay included."""
    o = {**DEFAULTS, **options}
    g = -g if o["maximize"] else g
    if o["weight_decay"] and not o["decoupled"]:
        g = g + x.dtype.type(o["weight_decay"]) * x
    norm = math.hypot(*map(float, g))
    return 1.0 if o["clip_norm"] is None or norm <= o["clip_norm"] else o["clip_norm"] / norm


def update(x, g, s, m, b, t, **options):
    """The arrays ``(x, s, m, b)`` after update number `t` = 1, 2, ..., in the dtype of `x`."""
    o = {**DEFAULTS, **options}
    real = x.dtype.type
    lr, rho, one_minus_rho, eps = (real(v) for v in (o["lr"], o["rho"], 1 - o["rho"], o["eps"]))
    mu, decay = real(o["momentum"]), real(o["weight_decay"])
    correction = real(1 - o["rho"] ** t if o["bias_correction"] else 1.0)
    scale = real(clip_scale(x, g, o))
    with np.errstate(all="ignore"):
        if o["maximize"]:
            g = -g
        if decay and not o["decoupled"]:
            g = g + decay * x
        g = g * scale
        if o["clip_value"] is not None:
            g = np.clip(g, real(-o["clip_value"]), real(o["clip_value"]))
        s = rho * s + one_minus_rho * g * g
        variance = s / correction
        if o["centered"]:
            m = rho * m + one_minus_rho * g
            difference = np.maximum(variance - (m / correction) ** 2, real(0))
            variance = np.where(variance == np.inf, variance, difference)
        u = g / (np.sqrt(variance + eps) if o["eps_in_sqrt"] else np.sqrt(variance) + eps)
        if o["decoupled"]:
            x = x - x * decay * lr
        if mu == 0:
            return x - lr * u, s, m, b
        if o["lr_in_momentum"]:
            b = mu * b + lr * u
            return x - (mu * b + lr * u if o["nesterov"] else b), s, m, b
        b = mu * b + u
        return x - lr * (mu * b + u if o["nesterov"] else b), s, m, b


def trajectory(gradient, x0, steps, **options):
    """The points ``x_0, ..., x_steps``; `lr` may be a function of the step."""
    o = {**DEFAULTS, **options}
    x = np.array(x0)
    s, m, b = np.full_like(x, o["initial_scale"]), np.zeros_like(x), np.zeros_like(x)
    points = [x]
    for k in range(steps):
        lr = o["lr"](k) if callable(o["lr"]) else o["lr"]
        x, s, m, b = update(x, gradient(x), s, m, b, k + 1, **{**o, "lr": lr})
        points.append(x)
    return np.array(points)


# An objective to run on: five coordinates of curvatures 0.2 to 20, coupled and not convex

CURVATURE = np.array([0.2, 1.0, 3.0, 8.0, 20.0])
CENTER = np.array([1.0, -0.5, 0.25, 0.0, 2.0])
START = np.array([-1.0, 2.0, 1.5, -0.7, 2.4])


def value(x):
    """The objective of the tests."""
    z = x - CENTER.astype(x.dtype)
    return 0.5 * (CURVATURE.astype(x.dtype) * z * z).sum() + np.sin(x[:-1] * x[1:]).sum()


def gradient(x):
    """Its gradient."""
    g = CURVATURE.astype(x.dtype) * (x - CENTER.astype(x.dtype))
    g[:-1] += np.cos(x[:-1] * x[1:]) * x[1:]
    g[1:] += np.cos(x[:-1] * x[1:]) * x[:-1]
    return g
