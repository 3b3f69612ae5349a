"""Learning rates that change with the step: ``lr(k)`` for step ``k = 0, 1, ...``.

Any callable that returns a positive number for a step number will do as `lr`;
these are the usual ones. `plateau` alone depends on the objective: the solver
itself carries it out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rmsfast.options import check_count, check_number

__all__ = ["constant", "cosine", "exponential", "inverse_time", "plateau", "step"]


@dataclass(frozen=True)
class constant:  # noqa: N801
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

    def __post_init__(self) -> None:
        check_number("lr", self.lr, 0.0, low_open=True)

    def __call__(self, k: Any) -> Any:
        """Learning rate at step `k`."""
        return self.lr + 0.0 * k


@dataclass(frozen=True)
class exponential:  # noqa: N801
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

    def __post_init__(self) -> None:
        check_number("lr", self.lr, 0.0, low_open=True)
        check_number("decay", self.decay, 0.0, 1.0, low_open=True, high_open=False)
        check_number("steps", self.steps, 0.0, low_open=True)

    def __call__(self, k: Any) -> Any:
        """Learning rate at step `k`."""
        return self.lr * self.decay ** (k / self.steps)


@dataclass(frozen=True)
class inverse_time:  # noqa: N801
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

    def __post_init__(self) -> None:
        check_number("lr", self.lr, 0.0, low_open=True)
        check_number("decay", self.decay, 0.0, low_open=True)

    def __call__(self, k: Any) -> Any:
        """Learning rate at step `k`."""
        return self.lr / (1.0 + self.decay * k)


@dataclass(frozen=True)
class cosine:  # noqa: N801
    """Half a cosine from `lr` down to `final` over `steps` steps, then `final`.

    Parameters
    ----------
    lr : float
        Learning rate of step 0, positive.
    steps : float
        Length of the descent in steps, positive.
    final : float, optional
        Learning rate at the end, at least 0.

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
    final: float = 0.0

    def __post_init__(self) -> None:
        check_number("lr", self.lr, 0.0, low_open=True)
        check_number("steps", self.steps, 0.0, low_open=True)
        check_number("final", self.final, 0.0)

    def __call__(self, k: Any) -> Any:
        """Learning rate at step `k`."""
        weight = 0.5 * (1.0 + np.cos(np.pi * np.minimum(k / self.steps, 1.0)))
        return weight * self.lr + (1.0 - weight) * self.final


@dataclass(frozen=True)
class step:  # noqa: N801
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

    def __post_init__(self) -> None:
        check_number("lr", self.lr, 0.0, low_open=True)
        check_number("size", self.size, 0.0, low_open=True)
        check_number("factor", self.factor, 0.0, 1.0, low_open=True, high_open=False)

    def __call__(self, k: Any) -> Any:
        """Learning rate at step `k`."""
        return self.lr * self.factor ** (k // self.size)


@dataclass(frozen=True)
class plateau:  # noqa: N801
    """Lower the rate when the objective stalls, and restart from the best point.

    After `patience` steps without a new lowest value the learning rate is
    multiplied by `factor`, the point goes back to the best one seen, and the
    momentum starts from zero. The mean square is kept.

    Parameters
    ----------
    lr : float
        Learning rate at the start, positive.
    factor : float, optional
        Factor of each change, in (0, 1).
    patience : int, optional
        Steps without improvement to wait for, at least 1.

    Examples
    --------
    >>> from scipy.optimize import minimize
    >>> import rmsfast
    >>> from rmsfast import objectives, schedules
    >>> result = minimize(
    ...     objectives.booth, [0.0, 0.0], jac=True, method=rmsfast.rmsprop,
    ...     options={"lr": schedules.plateau(0.1)},
    ... )
    >>> result.success, result.x.round(3)
    (True, array([1., 3.]))
    """

    lr: float
    factor: float = 0.5
    patience: int = 30

    def __post_init__(self) -> None:
        check_number("lr", self.lr, 0.0, low_open=True)
        check_number("factor", self.factor, 0.0, 1.0, low_open=True)
        check_count("patience", self.patience, 1)

    def __call__(self, k: Any) -> Any:
        """Raise: the rate at step `k` depends on the objective too."""
        raise TypeError("plateau is carried out by the solver; it is no function of k alone")


def rates(schedule: Callable[[int], float], first: int, last: int) -> np.ndarray:
    """Return the learning rates of the steps `first` to `last`, checked.

    Parameters
    ----------
    schedule : callable
        ``lr(k)``.
    first, last : int
        The range of steps; `last` is not part of it.

    Returns
    -------
    ndarray, shape (m,)
        As many as there are up to the first step where the schedule fails.

    Raises
    ------
    Exception
        What the schedule raises, if it fails at the first of them.
    """
    if type(schedule).__module__ == __name__:
        steps: Any = np.arange(first, last)
        return np.asarray(schedule(steps), dtype=float)
    found: list[float] = []
    for k in range(first, last):
        try:
            found.append(check_number(f"lr({k})", schedule(k), 0.0))
        except Exception:
            if found:
                break
            raise
    return np.array(found)
