"""The update for loops of one's own: scalar rules and array loops, compiled.

All of these are called from Python, and from functions compiled by `numba.njit`,
where the scalar rule is merged into the caller's loop. `Hyper` and `step` are
also for ``@cuda.jit`` code, and `rmsfast.kernels.cuda` updates arrays on a GPU.
Compiled code checks nothing; `rmsfast.RMSProp` does.
"""

from __future__ import annotations

from typing import Any

from rmsfast.core.cpu import parallel_update, update
from rmsfast.core.rule import (
    Hyper,
    average,
    cast,
    denominator,
    descent_gradient,
    mean_square,
    step,
    with_lr,
)
from rmsfast.kernels import cuda as cuda
from rmsfast.options import RMSPropOptions, check_count, check_names, check_number, need_lr

__all__ = [
    "Hyper",
    "average",
    "cast",
    "denominator",
    "descent_gradient",
    "hyper",
    "mean_square",
    "parallel_update",
    "step",
    "update",
    "with_lr",
]


def hyper(
    lr: float | None = None,
    *,
    t: int = 1,
    gradient_scale: float = 1.0,
    preset: str | None = None,
    **hyperparameters: Any,
) -> Hyper:
    """Return checked hyperparameters for the kernels.

    Parameters
    ----------
    lr : float, optional
        Learning rate; needed without a preset that has one.
    t : int, optional
        Number of the update, from one; it matters to `bias_correction` alone.
    gradient_scale : float, optional
        Factor on the gradient, at least 0: for clipping by norm, ``min(1,
        clip_norm / norm(g))``.
    preset : str, optional
        See `rmsfast.RMSPropOptions.preset`.
    **hyperparameters
        Those of `rmsfast.RMSPropOptions`, without `clip_norm` (see
        `gradient_scale`) and `initial_scale` (fill the mean square with it).

    Returns
    -------
    Hyper
        Python floats and bools; in a loop over float32 use ``cast(h,
        numpy.float32)`` with the scalar rules. For another step: ``h._replace(lr=...,
        correction=1 - h.rho**t)``.

    Raises
    ------
    TypeError
        If a value is of the wrong type or has no meaning for a kernel.
    ValueError
        If a number is outside its bounds.

    Examples
    --------
    A loop of one's own, with the rule merged into it: hyperparameters that are a
    global constant are constants of the machine code.

    >>> import numba
    >>> import numpy as np
    >>> from rmsfast import kernels
    >>> H = kernels.hyper(lr=0.1, rho=0.9)
    >>> @numba.njit(error_model="numpy")
    ... def minimize_paraboloid(x, steps):
    ...     s = np.zeros_like(x)
    ...     for _ in range(steps):
    ...         for i in range(x.size):
    ...             g = 2.0 * x[i]
    ...             x[i], s[i], _, _ = kernels.step(x[i], g, s[i], 0.0, 0.0, H)
    >>> x = np.array([3.0, -2.0])
    >>> minimize_paraboloid(x, 1000)
    >>> bool(abs(x).max() < 0.1)
    True

    Or array by array:

    >>> x, s, unused = np.array([3.0, -2.0]), np.zeros(2), np.empty(0)
    >>> kernels.update(x, 2.0 * x, s, unused, unused, H)
    >>> x.round(4)
    array([ 2.6838, -1.6838])
    """
    check_names(hyperparameters)
    elsewhere = {"clip_norm": "gradient_scale", "initial_scale": "the mean square you hand in"}
    for name, other in elsewhere.items():
        if name in hyperparameters:
            value = hyperparameters[name]
            raise TypeError(f"{name}={value!r} has no meaning for a kernel: use {other}")
    t = check_count("t", t, 1)
    if lr is not None:
        hyperparameters["lr"] = check_number("lr", lr, 0.0, low_open=True)
    need_lr(hyperparameters, preset)
    options = RMSPropOptions.preset(preset, **hyperparameters)
    scale = check_number("gradient_scale", gradient_scale, 0.0)
    return options.hyper()._replace(gradient_scale=scale, correction=options.correction(t))
