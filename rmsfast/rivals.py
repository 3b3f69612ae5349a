"""Gradient descent, momentum and AdaGrad on the solver of RMSProp, to compare it with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scipy.optimize import OptimizeResult

from rmsfast.minimize import run


def gradient_descent(
    fun: Any,
    x0: Any,
    args: Any = (),
    jac: Any = None,
    hess: Any = None,
    hessp: Any = None,
    bounds: Any = None,
    constraints: Any = (),
    callback: Callable[..., Any] | None = None,
    **options: Any,
) -> OptimizeResult:
    """Minimize a function with gradient descent; a ``method`` of `scipy.optimize.minimize`.

    Parameters
    ----------
    fun, x0, args, jac, hess, hessp, bounds, constraints, callback
        As in `rmsfast.rmsprop`.

    Options
    -------
    lr : float or callable
        Learning rate, 0.001 by default: a positive number or a schedule.
    weight_decay, decoupled, clip_value, clip_norm, maximize
        See `rmsfast.RMSPropOptions`.
    gtol, ftol, xtol, maxiter, maxfun, tol, disp, return_all, finite_diff
        As in `rmsfast.rmsprop`.

    Returns
    -------
    OptimizeResult
        As `rmsfast.rmsprop` returns it.

    Raises
    ------
    TypeError
        If an argument or option is of the wrong type, or the objective returns
        no real number.
    ValueError
        If `x0`, `bounds` or an option is outside its bounds, a gradient has the
        wrong shape, or `constraints` is not empty.

    Warns
    -----
    OptimizeWarning
        If an option is unknown, or belongs to another rule.

    See Also
    --------
    rmsfast.rmsprop : the method that this one is a rival of.
    rmsfast.compare : several methods on one problem.

    Notes
    -----
    An iteration is ``x -= lr * g``, that of [1]_ with a step length given
    beforehand, and of PyTorch's ``SGD``.

    References
    ----------
    .. [1] A. Cauchy, "Méthode générale pour la résolution des systèmes d'équations
       simultanées", Comptes rendus hebdomadaires des séances de l'Académie des
       sciences 25 (1847), 536-538.

    Examples
    --------
    >>> from scipy.optimize import minimize
    >>> import rmsfast
    >>> from rmsfast.objectives import rosenbrock
    >>> result = minimize(
    ...     rosenbrock, [-1.2, 1.0], jac=True, method=rmsfast.gradient_descent,
    ...     options={"lr": 0.001, "maxiter": 100_000, "maxfun": 100_000},
    ... )
    >>> result.success, result.x.round(4)
    (True, array([1., 1.]))
    """
    given = (fun, x0, args, jac, hess, hessp, bounds, constraints, callback)
    return run("gradient_descent", *given, **options)


def momentum(
    fun: Any,
    x0: Any,
    args: Any = (),
    jac: Any = None,
    hess: Any = None,
    hessp: Any = None,
    bounds: Any = None,
    constraints: Any = (),
    callback: Callable[..., Any] | None = None,
    **options: Any,
) -> OptimizeResult:
    """Minimize a function by gradient descent with momentum, the heavy ball or Nesterov's.

    A ``method`` of `scipy.optimize.minimize`.

    Parameters
    ----------
    fun, x0, args, jac, hess, hessp, bounds, constraints, callback
        As in `rmsfast.rmsprop`.

    Options
    -------
    lr : float or callable
        Learning rate, 0.001 by default: a positive number or a schedule.
    momentum : float
        In [0, 1), 0.9 by default.
    nesterov : bool
        Nesterov's form.
    weight_decay, decoupled, clip_value, clip_norm, maximize
        See `rmsfast.RMSPropOptions`.
    gtol, ftol, xtol, maxiter, maxfun, tol, disp, return_all, finite_diff
        As in `rmsfast.rmsprop`.

    Returns
    -------
    OptimizeResult
        As `rmsfast.rmsprop` returns it.

    Raises
    ------
    TypeError
        If an argument or option is of the wrong type, or the objective returns
        no real number.
    ValueError
        If `x0`, `bounds` or an option is outside its bounds, a gradient has the
        wrong shape, or `constraints` is not empty.

    Warns
    -----
    OptimizeWarning
        If an option is unknown, or belongs to another rule.

    See Also
    --------
    rmsfast.rmsprop : the method that this one is a rival of.
    rmsfast.compare : several methods on one problem.

    Notes
    -----
    An iteration is ``b = momentum * b + g``, ``x -= lr * b`` [1]_, or with
    ``nesterov=True`` ``x -= lr * (momentum * b + g)`` [2]_ in the form of [3]_:
    PyTorch's ``SGD`` with its ``dampening`` 0.

    References
    ----------
    .. [1] B. T. Polyak, "Some methods of speeding up the convergence of iteration
       methods", USSR Computational Mathematics and Mathematical Physics 4
       (1964), 1-17.
    .. [2] Y. Nesterov, "A method for solving the convex programming problem with
       convergence rate O(1/k^2)", Soviet Mathematics Doklady 27 (1983), 372-376.
    .. [3] I. Sutskever, J. Martens, G. Dahl and G. Hinton, "On the importance of
       initialization and momentum in deep learning", ICML 2013.

    Examples
    --------
    >>> from scipy.optimize import minimize
    >>> import rmsfast
    >>> from rmsfast.objectives import rosenbrock
    >>> result = minimize(
    ...     rosenbrock, [-1.2, 1.0], jac=True, method=rmsfast.momentum,
    ...     options={"lr": 0.001, "momentum": 0.9, "nesterov": True},
    ... )
    >>> result.success, result.x.round(4)
    (True, array([1., 1.]))
    """
    given = (fun, x0, args, jac, hess, hessp, bounds, constraints, callback)
    return run("momentum", *given, **options)


def adagrad(
    fun: Any,
    x0: Any,
    args: Any = (),
    jac: Any = None,
    hess: Any = None,
    hessp: Any = None,
    bounds: Any = None,
    constraints: Any = (),
    callback: Callable[..., Any] | None = None,
    **options: Any,
) -> OptimizeResult:
    """Minimize a function with AdaGrad; a ``method`` of `scipy.optimize.minimize`.

    Parameters
    ----------
    fun, x0, args, jac, hess, hessp, bounds, constraints, callback
        As in `rmsfast.rmsprop`.

    Options
    -------
    lr : float or callable
        Learning rate, 0.01 by default: a positive number or a schedule.
    eps : float
        Added to the denominator, positive, 1e-10 by default.
    eps_in_sqrt : bool
        ``sqrt(s + eps)`` instead of ``sqrt(s) + eps``.
    initial_scale : float
        Sum of squares before the first step, at least 0.
    weight_decay, decoupled, clip_value, clip_norm, maximize
        See `rmsfast.RMSPropOptions`.
    gtol, ftol, xtol, maxiter, maxfun, tol, disp, return_all, finite_diff
        As in `rmsfast.rmsprop`.

    Returns
    -------
    OptimizeResult
        As `rmsfast.rmsprop` returns it.

    Raises
    ------
    TypeError
        If an argument or option is of the wrong type, or the objective returns
        no real number.
    ValueError
        If `x0`, `bounds` or an option is outside its bounds, a gradient has the
        wrong shape, or `constraints` is not empty.

    Warns
    -----
    OptimizeWarning
        If an option is unknown, or belongs to another rule.

    See Also
    --------
    rmsfast.rmsprop : the method that this one is a rival of.
    rmsfast.compare : several methods on one problem.

    Notes
    -----
    An iteration is ``s += g * g``, ``x -= lr * g / (sqrt(s) + eps)`` [1]_: RMSProp
    that forgets nothing, so its steps become shorter and shorter.

    References
    ----------
    .. [1] J. Duchi, E. Hazan and Y. Singer, "Adaptive subgradient methods for online
       learning and stochastic optimization", Journal of Machine Learning Research
       12 (2011), 2121-2159.

    Examples
    --------
    >>> from scipy.optimize import minimize
    >>> import rmsfast
    >>> from rmsfast.objectives import rosenbrock
    >>> result = minimize(
    ...     rosenbrock, [-1.2, 1.0], jac=True, method=rmsfast.adagrad, options={"lr": 0.5}
    ... )
    >>> result.success, result.x.round(4)
    (True, array([1., 1.]))
    """
    given = (fun, x0, args, jac, hess, hessp, bounds, constraints, callback)
    return run("adagrad", *given, **options)
