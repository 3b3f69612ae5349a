"""Learning rates that change with the step: ``lr(k)`` for step ``k = 0, 1, ...``.

Any callable that returns a positive number for a step number will do as `lr`;
these are the usual ones. `plateau` alone depends on the objective: the solver
itself carries it out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

__all__ = ["constant", "cosine", "exponential", "inverse_time", "plateau", "step"]


class _Schedule:
    """Check the fields of a schedule: each is a number within its bounds."""

    _bounds: dict[str, tuple[float, float]] = {}

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            low, high = self._bounds.get(field.name, (0.0, math.inf))
            if not isinstance(value, (int, float, np.number)) or isinstance(value, bool):
                raise TypeError(f"{field.name} must be a number, got {value!r}")
            if not (low < value <= high and math.isfinite(value)):
                raise ValueError(
                    f"{field.name} must be finite and in ({low:g}, {high:g}], got {value!r}"
                )


@dataclass(frozen=True)
class constant(_Schedule):  # noqa: N801
    """The same learning rate at every step.

    Parameters
    ----------
    lr : float
        Learning rate, positive.

    Examples
    --------
    >>> from rmsfast import schedules
    >>> schedules.constant(0.1)(7)
    0.1
    """

    lr: float

    def __call__(self, k: Any) -> Any:
        """Learning rate at step `k`."""
        return self.lr + 0.0 * k


@dataclass(frozen=True)
class exponential(_Schedule):  # noqa: N801
    """``lr * decay ** (k / steps)``, as optax's ``exponential_decay``.

    Parameters
    ----------
    lr : float
        Learning rate of step 0, positive.
    decay : float
        Factor per `steps` steps, in (0, 1].
    steps : float, optional
        Number of steps, positive.

    Examples
    --------
    >>> from rmsfast import schedules
    >>> schedules.exponential(0.1, 0.5, 10)(20)
    0.025
    """

    lr: float
    decay: float
    steps: float = 1.0
    _bounds = {"decay": (0.0, 1.0)}  # noqa: RUF012

    def __call__(self, k: Any) -> Any:
        """Learning rate at step `k`."""
        return self.lr * self.decay ** (k / self.steps)


@dataclass(frozen=True)
class inverse_time(_Schedule):  # noqa: N801
    """``lr / (1 + decay * k)``, the rate of Robbins and Monro.

    Parameters
    ----------
    lr : float
        Learning rate of step 0, positive.
    decay : float
        Decay rate per step, positive.

    References
    ----------
    .. [1] H. Robbins and S. Monro, "A stochastic approximation method", Annals
       of Mathematical Statistics 22 (1951), 400-407.

    Examples
    --------
    >>> from rmsfast import schedules
    >>> schedules.inverse_time(0.1, 0.5)(2)
    0.05
    """

    lr: float
    decay: float

    def __call__(self, k: Any) -> Any:
        """Learning rate at step `k`."""
        return self.lr / (1.0 + self.decay * k)


@dataclass(frozen=True)
class cosine(_Schedule):  # noqa: N801
    """Half a cosine from `lr` down to `final` over `steps` steps, then `final`.

    Parameters
    ----------
    lr : float
        Learning rate of step 0, positive.
    steps : float
        Length of the descent in steps, positive.
    final : float, optional
        Learning rate at the end, positive.

    References
    ----------
    .. [1] I. Loshchilov and F. Hutter, "SGDR: stochastic gradient descent with
       warm restarts", arXiv:1608.03983, equation 5.

    Examples
    --------
    >>> from rmsfast import schedules
    >>> schedule = schedules.cosine(0.1, 100, final=0.001)
    >>> float(schedule(0)), float(schedule(1000))
    (0.1, 0.001)
    """

    lr: float
    steps: float
    final: float = 1e-8

    def __call__(self, k: Any) -> Any:
        """Learning rate at step `k`."""
        weight = 0.5 * (1.0 + np.cos(np.pi * np.minimum(k / self.steps, 1.0)))
        return weight * self.lr + (1.0 - weight) * self.final


@dataclass(frozen=True)
class step(_Schedule):  # noqa: N801
    """``lr * factor ** (k // size)``, as PyTorch's ``StepLR``.

    Parameters
    ----------
    lr : float
        Learning rate of step 0, positive.
    size : float
        Steps between two changes, positive.
    factor : float, optional
        Factor of each change, in (0, 1].

    Examples
    --------
    >>> from rmsfast import schedules
    >>> schedules.step(0.1, 30, 0.5)(59)
    0.05
    """

    lr: float
    size: float
    factor: float = 0.1
    _bounds = {"factor": (0.0, 1.0)}  # noqa: RUF012

    def __call__(self, k: Any) -> Any:
        """Learning rate at step `k`."""
        return self.lr * self.factor ** (k // self.size)


@dataclass(frozen=True)
class plateau(_Schedule):  # noqa: N801
    """Lower the rate when the objective stalls, and restart from the best point.

    After `patience` steps without a new lowest value the learning rate is
    multiplied by `factor`, the point goes back to the best one seen, and the
    momentum starts from zero. The mean square is kept.

    Parameters
    ----------
    lr : float
        Learning rate at the start, positive.
    factor : float, optional
        Factor of each change, in (0, 1]; it must be below 1 to have an effect.
    patience : int, optional
        Steps without improvement to wait for, at least 1.

    Examples
    --------
    >>> from scipy.optimize import minimize
    >>> import rmsfast
    >>> from rmsfast import objectives, schedules
    >>> result = minimize(
    ...     objectives.rosenbrock, [-1.2, 1.0], jac=True, method=rmsfast.rmsprop,
    ...     options={"lr": schedules.plateau(0.05), "maxiter": 5000},
    ... )
    >>> bool(abs(result.x - 1.0).max() < 1e-3)
    True
    """

    lr: float
    factor: float = 0.5
    patience: int = 30
    _bounds = {"factor": (0.0, 1.0), "patience": (0.5, math.inf)}  # noqa: RUF012

    def __call__(self, k: Any) -> Any:
        """Raise: the rate depends on the objective, not on the step alone."""
        raise TypeError("plateau is carried out by the solver; it is no function of k alone")
