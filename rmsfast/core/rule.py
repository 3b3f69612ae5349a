r"""The RMSProp update of one coordinate: scalars in, scalars out.

This is the only place where the formula stands. Array loops, the solver and the
CUDA kernels call `step`.

With gradient :math:`g`, learning rate :math:`\eta` and :math:`t` counting the
updates from one, plain RMSProp [1]_ is

.. math::

    s_t &= \rho s_{t-1} + (1 - \rho) g_t^2 \\
    x_t &= x_{t-1} - \eta g_t / (\sqrt{s_t} + \epsilon)

and the centered form [2]_ replaces :math:`s_t` under the root by the variance
:math:`s_t - m_t^2` with :math:`m_t = \rho m_{t-1} + (1 - \rho) g_t`.

References
----------
.. [1] T. Tieleman and G. Hinton, "Lecture 6.5 - RMSProp: divide the gradient by
   a running average of its recent magnitude", Coursera: Neural Networks for
   Machine Learning, 2012.
.. [2] A. Graves, "Generating sequences with recurrent neural networks",
   arXiv:1308.0850, 2013, equations 38 to 45.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from rmsfast.core.jit import jit, jit_inline


class Hyper(NamedTuple):
    """Hyperparameters of one update, every number of the dtype of the arrays.

    A number of another type makes the whole loop compute in float64, two to
    three times slower for float32; this is why ``1 - rho`` is a field.

    Parameters
    ----------
    lr, rho, one_minus_rho, eps, momentum, weight_decay : float
        As in `rmsfast.RMSPropOptions`.
    clip_value : float
        inf: no clipping.
    gradient_scale : float
        ``clip_norm / norm(g)`` where that is below 1, else 1.
    correction : float
        ``1 - rho**t``, where t counts the updates from one.
    bias_correction, centered, eps_in_sqrt, nesterov, lr_in_momentum : bool
        As in `rmsfast.RMSPropOptions`.
    decoupled, maximize : bool
        As in `rmsfast.RMSPropOptions`.

    Examples
    --------
    `rmsfast.kernels.hyper` makes and checks one.

    >>> from rmsfast import kernels
    >>> h = kernels.hyper(lr=0.1, rho=0.9)
    >>> h._replace(lr=0.05).lr
    0.05
    """

    lr: float
    rho: float
    one_minus_rho: float
    eps: float
    momentum: float
    weight_decay: float
    clip_value: float
    gradient_scale: float
    correction: float
    bias_correction: bool
    centered: bool
    eps_in_sqrt: bool
    nesterov: bool
    lr_in_momentum: bool
    decoupled: bool
    maximize: bool


NO_FLAGS = (False,) * 7


@jit_inline
def cast(h: Hyper, T: Callable[[float], float]) -> Hyper:
    """Return the hyperparameters as numbers of the type `T`."""
    numbers = (T(h.lr), T(h.rho), T(h.one_minus_rho), T(h.eps), T(h.momentum))
    more = (T(h.weight_decay), T(h.clip_value), T(h.gradient_scale), T(h.correction))
    return Hyper(*numbers, *more, *h[9:])


@jit_inline
def plain(h: Hyper, T: Callable[[float], float]) -> Hyper:
    """Return those of plain RMSProp as numbers of the type `T`, all that is off as constants.

    A loop with these takes half the time per element.
    """
    numbers = (T(h.lr), T(h.rho), T(h.one_minus_rho), T(h.eps))
    return Hyper(*numbers, T(0), T(0), T(np.inf), T(1), T(1), *NO_FLAGS)


@jit_inline
def with_rates(h: Hyper, lr: float, correction: float) -> Hyper:
    """Return the hyperparameters with another learning rate and bias correction."""
    return Hyper(lr, *h[1:8], correction, *h[9:])


@jit_inline
def with_lr(h: Hyper, lr: float) -> Hyper:
    """Return the hyperparameters with another learning rate."""
    return with_rates(h, lr, h.correction)


@jit_inline
def with_scale(h: Hyper, gradient_scale: float) -> Hyper:
    """Return the hyperparameters with another factor on the gradient."""
    return Hyper(*h[:7], gradient_scale, h.correction, *h[9:])


@jit
def descent_gradient(x: float, g: float, h: Hyper) -> float:
    """Return the gradient to descend: negated to maximize, with coupled weight decay added."""
    if h.maximize:
        g = -g
    if h.weight_decay != 0 and not h.decoupled:
        g = g + h.weight_decay * x
    return g


@jit
def mean_square(s: float, g: float, h: Hyper) -> float:
    """Return the running average of the squared gradient."""
    return h.rho * s + h.one_minus_rho * g * g


@jit
def denominator(v: float, h: Hyper) -> float:
    """Return the root of the mean square (or variance) `v`, kept from zero by eps."""
    return math.sqrt(v + h.eps) if h.eps_in_sqrt else math.sqrt(v) + h.eps


@jit
def step(
    x: float, g: float, s: float, m: float, b: float, h: Hyper
) -> tuple[float, float, float, float]:
    """Update one coordinate.

    Parameters
    ----------
    x, g : float
        Parameter and gradient.
    s, m, b : float
        Mean square and mean of the gradient, momentum buffer. `m` is used if
        centered, `b` if the momentum is not zero.
    h : Hyper
        Hyperparameters of the same type.

    Returns
    -------
    x, s, m, b : float
        Their new values.
    """
    g = descent_gradient(x, g, h) * h.gradient_scale
    if g > h.clip_value:
        g = h.clip_value
    elif g < -h.clip_value:
        g = -h.clip_value
    if h.weight_decay != 0 and h.decoupled:
        x = x - x * h.weight_decay * h.lr

    s = mean_square(s, g, h)
    v = s
    if h.bias_correction:
        v = v / h.correction
    if h.centered:
        m = h.rho * m + h.one_minus_rho * g
        mean = m
        if h.bias_correction:
            mean = mean / h.correction
        if v < np.inf:  # else m * m may be infinite too
            v = v - mean * mean
        if v < 0:  # by rounding, for up to a third of the coordinates of a constant gradient
            v = v - v
    u = g / denominator(v, h)

    if h.momentum == 0:
        x = x - h.lr * u
    elif h.lr_in_momentum:
        b = h.momentum * b + h.lr * u
        x = x - (h.momentum * b + h.lr * u if h.nesterov else b)
    else:
        b = h.momentum * b + u
        x = x - h.lr * (h.momentum * b + u if h.nesterov else b)
    return x, s, m, b


@jit
def average(a: float, x: float, decay: float) -> float:
    """Return the running average `a` of a parameter, moved on to its value `x`."""
    return x + decay * (a - x)
