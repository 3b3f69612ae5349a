"""What the user asked for, checked: hyperparameters, presets, and the solver's options."""

from __future__ import annotations

import functools
import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

import numpy as np

from rmsfast.core.difference import GRADIENTS
from rmsfast.core.rule import Hyper
from rmsfast.core.solver import MAX_MAXCOR

T = TypeVar("T")

STARTS = ("sobol", "lhs", "uniform")
DEVICES = ("cpu", "cuda")

# Each preset lists what differs from the defaults of RMSPropOptions, and where it is written.
PRESETS: dict[str, dict[str, Any]] = {
    # torch.optim.RMSprop, PyTorch 2
    "torch": {"lr": 0.01, "rho": 0.99, "eps": 1e-8},
    # keras.optimizers.RMSprop, Keras 3
    "keras": {
        "lr": 0.001,
        "rho": 0.9,
        "eps": 1e-7,
        "eps_in_sqrt": True,
        "lr_in_momentum": True,
        "decoupled": True,
    },
    # tf.compat.v1.train.RMSPropOptimizer, TensorFlow
    "tf1": {
        "rho": 0.9,
        "eps": 1e-10,
        "eps_in_sqrt": True,
        "initial_scale": 1.0,
        "lr_in_momentum": True,
    },
    # optax.rmsprop
    "optax": {"rho": 0.9, "eps": 1e-8, "eps_in_sqrt": True, "lr_in_momentum": True},
    # "Dive into Deep Learning", section 12.8
    "d2l": {"lr": 0.01, "rho": 0.9, "eps": 1e-6, "eps_in_sqrt": True},
    # ensmallen::RMSProp, ensmallen 2
    "ensmallen": {"lr": 0.01, "rho": 0.99, "eps": 1e-8},
    # Optimisers.RMSProp, Optimisers.jl
    "optimisers_jl": {"lr": 0.001, "rho": 0.9, "eps": 1e-8},
    # pennylane.RMSPropOptimizer
    "pennylane": {"lr": 0.01, "rho": 0.9, "eps": 1e-8, "eps_in_sqrt": True},
    # quimb.tensor.optimize, RMSPROP
    "quimb": {"lr": 0.1, "rho": 0.9, "eps": 1e-8, "initial_scale": 1.0},
}


def check_number(
    name: str,
    value: Any,
    low: float,
    high: float = math.inf,
    *,
    low_open: bool = False,
    high_open: bool = True,
) -> float:
    """Return `value` as a float if it is a number in the interval, else raise.

    Raises
    ------
    TypeError
        If `value` is no real number.
    ValueError
        If it is NaN or outside the interval; the message names all three.
    """
    if type(value) not in (float, int) and (
        isinstance(value, (bool, np.bool_))
        or not isinstance(value, (numbers.Real, np.floating, np.integer))
    ):
        raise TypeError(f"{name} must be a real number, got {value!r}")
    try:
        number = float(value)
    except OverflowError:  # an int beyond float64
        number = math.inf if value > 0 else -math.inf
    inside = (low < number or (number == low and not low_open)) and (
        number < high or (number == high and not high_open)
    )
    if not inside:
        interval = f"{'(' if low_open else '['}{low:g}, {high:g}{')' if high_open else ']'}"
        raise ValueError(f"{name} must be in {interval}, got {value!r}")
    return number


def check_flag(name: str, value: Any) -> bool:
    """Return `value` as a bool if it is one, else raise TypeError."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def check_count(name: str, value: Any, low: int, high: float = math.inf) -> int:
    """Return `value` as an int if it is a whole number from `low` to `high`, else raise."""
    number = check_number(name, value, low, high, high_open=high == math.inf)
    if number != int(number):
        raise ValueError(f"{name} must be a whole number, got {value!r}")
    return int(number)


class RuleOptions:
    """What the hyperparameters of all rules share. Each rule is a class below, named in `RULES`.

    All rules are the one of `rmsfast.core.rule`. What a rule leaves open are
    fields of its class; the rest are the constants here, those of gradient
    descent: a mean square that stays 0, over which eps is 1.
    """

    lr: float | str | Callable[[int], float]
    rho = 1.0
    eps = 1.0
    momentum = 0.0
    nesterov = False
    centered = False
    eps_in_sqrt = False
    bias_correction = False
    initial_scale = 0.0
    weight_decay = 0.0
    decoupled = False
    lr_in_momentum = False
    clip_value: float | None = None
    clip_norm: float | None = None
    maximize = False
    can_be_auto = False

    def __post_init__(self) -> None:
        for name, check in _checks(type(self)):  # type: ignore[arg-type]
            check(name, getattr(self, name))
        if isinstance(self.lr, str) and not (self.can_be_auto and self.lr == "auto"):
            kinds = "'auto', a number or a callable" if self.can_be_auto else _NO_AUTO
            raise ValueError(f"lr must be {kinds}, got {self.lr!r}")
        if self.nesterov and self.momentum == 0:
            raise ValueError(f"nesterov needs momentum > 0, got momentum={self.momentum!r}")

    def hyper(self) -> Hyper:
        """Return the hyperparameters of the first update, in float64, NaN for a schedule's rate.

        `clip_norm` is left out: the gradient decides its factor, `Hyper.gradient_scale`.
        """
        return Hyper(
            lr=float(self.lr) if isinstance(self.lr, numbers.Real) else math.nan,
            rho=float(self.rho),
            one_minus_rho=1.0 - float(self.rho),
            eps=float(self.eps),
            momentum=float(self.momentum),
            weight_decay=float(self.weight_decay),
            clip_value=math.inf if self.clip_value is None else float(self.clip_value),
            gradient_scale=1.0,
            correction=self.correction(1),
            **{name: bool(getattr(self, name)) for name in _FLAGS},
        )

    def correction(self, t: int) -> float:
        """Return the bias correction of update `t`, counted from 1, in float64."""
        return 1.0 - float(self.rho) ** t if self.bias_correction else 1.0

    @property
    def is_plain(self) -> bool:
        """Whether nothing is switched on that lr, rho, eps and initial_scale do not say."""
        return all(getattr(self, name) == getattr(RuleOptions, name) for name in _VARIANTS)

    def check_dtype(self, dtype: np.dtype[Any]) -> None:
        """Raise ValueError if an option leaves its bounds when it is rounded to `dtype`."""
        numeric = {
            name: value
            for name, value in vars(self).items()
            if name not in _FLAGS and isinstance(value, numbers.Real)
        }
        with np.errstate(over="ignore"):
            rounded = {name: dtype.type(value) for name, value in numeric.items()}
        for name, value in rounded.items():
            bound = ""
            if name in _BELOW_ONE:
                bound = "below 1" if value == 1 else ""
            elif not value < math.inf:
                bound = "finite"
            elif name not in _NOT_NEGATIVE and value == 0:
                bound = "positive"
            if bound:
                raise ValueError(f"{name} must be {bound} in {dtype}, got {numeric[name]!r}")


@dataclass(frozen=True, kw_only=True)
class RMSPropOptions(RuleOptions):
    """Hyperparameters of RMSProp, checked. The defaults are PyTorch's variant.

    Parameters
    ----------
    lr : float, callable or "auto", optional
        Learning rate: a positive number; a schedule of `rmsfast.schedules` or
        any callable ``lr(k)`` of the step ``k = 0, 1, ...``; or "auto", the
        spectral step length with a safeguard.
    rho : float, optional
        Decay of the mean square, in [0, 1). PyTorch: alpha; optax: decay; Dive
        into Deep Learning: gamma.
    eps : float, optional
        Added to the denominator, positive (also in the dtype computed in).
    momentum : float, optional
        Momentum, in [0, 1).
    nesterov : bool, optional
        Nesterov's form of the momentum; needs ``momentum > 0``.
    centered : bool, optional
        Divide by the standard deviation of the gradient, not by its root mean
        square.
    eps_in_sqrt : bool, optional
        ``sqrt(s + eps)`` instead of ``sqrt(s) + eps``.
    bias_correction : bool, optional
        Divide the running averages by ``1 - rho**t``.
    initial_scale : float, optional
        Mean square before the first step, at least 0.
    weight_decay : float, optional
        Coefficient of the weight decay, at least 0.
    decoupled : bool, optional
        Shrink the parameters by ``lr * weight_decay`` instead of adding
        ``weight_decay * x`` to the gradient.
    lr_in_momentum : bool, optional
        The momentum buffer sums steps (learning rate included), not directions.
    clip_value : float or None, optional
        Clip each component of the gradient to [-clip_value, clip_value].
    clip_norm : float or None, optional
        Scale the gradient down to this Euclidean norm where it is longer.
    maximize : bool, optional
        Ascend.

    Raises
    ------
    TypeError
        If an option is of the wrong type.
    ValueError
        If a number is outside its bounds, if ``nesterov`` comes without
        momentum, or if an option that only a numeric `lr` can honour comes with
        ``lr="auto"`` (every option but `rho`, `eps` and `eps_in_sqrt`).

    Examples
    --------
    >>> from rmsfast import RMSPropOptions
    >>> RMSPropOptions.preset("keras", lr=0.01).eps
    1e-07
    >>> RMSPropOptions(rho=1.5)
    Traceback (most recent call last):
        ...
    ValueError: rho must be in [0, 1), got 1.5
    """

    lr: float | str | Callable[[int], float] = field(default="auto", hash=False)
    rho: float = 0.99
    eps: float = 1e-8
    momentum: float = 0.0
    nesterov: bool = False
    centered: bool = False
    eps_in_sqrt: bool = False
    bias_correction: bool = False
    initial_scale: float = 0.0
    weight_decay: float = 0.0
    decoupled: bool = False
    lr_in_momentum: bool = False
    clip_value: float | None = None
    clip_norm: float | None = None
    maximize: bool = False
    can_be_auto = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.lr, str):
            for name in _NUMERIC_LR_ONLY:
                if getattr(self, name) != getattr(type(self), name):
                    raise ValueError(
                        f"{name}={getattr(self, name)!r} needs a numeric lr, got lr='auto'"
                    )

    @classmethod
    def preset(cls, name: str | None = None, **overrides: Any) -> RMSPropOptions:
        """Hyperparameters as a framework defines them.

        Parameters
        ----------
        name : str or None, optional
            One of `rmsfast.options.PRESETS`; None for the defaults.
        **overrides
            Options that replace the preset's.

        Returns
        -------
        RMSPropOptions
            The checked options.

        Raises
        ------
        ValueError
            If there is no such preset, or if it has no learning rate of its own
            and none is given.
        """
        if name is None:
            return cls(**overrides)
        if not isinstance(name, str) or name not in PRESETS:
            raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {name!r}")
        chosen = {**PRESETS[name], **overrides}
        if "lr" not in chosen:
            raise ValueError(f"preset {name!r} has no default learning rate: give lr")
        return cls(**chosen)


@dataclass(frozen=True, kw_only=True)
class GradientDescentOptions(RuleOptions):
    """Hyperparameters of gradient descent, checked. The default is PyTorch's SGD.

    Parameters
    ----------
    lr : float or callable, optional
        Learning rate: a positive number, or a schedule as in `RMSPropOptions`.
    weight_decay, decoupled, clip_value, clip_norm, maximize
        As in `RMSPropOptions`.

    Raises
    ------
    TypeError
        If an option is of the wrong type.
    ValueError
        If a number is outside its bounds, or `lr` is "auto".
    """

    lr: float | Callable[[int], float] = field(default=1e-3, hash=False)
    weight_decay: float = 0.0
    decoupled: bool = False
    clip_value: float | None = None
    clip_norm: float | None = None
    maximize: bool = False


@dataclass(frozen=True, kw_only=True)
class MomentumOptions(GradientDescentOptions):
    """Hyperparameters of gradient descent with momentum, checked.

    The default is PyTorch's SGD with the momentum of its documentation's example.

    Parameters
    ----------
    lr, weight_decay, decoupled, clip_value, clip_norm, maximize
        As in `GradientDescentOptions`.
    momentum, nesterov
        As in `RMSPropOptions`.

    Raises
    ------
    TypeError
        If an option is of the wrong type.
    ValueError
        If a number is outside its bounds, `lr` is "auto", or ``nesterov`` comes
        without momentum.
    """

    momentum: float = 0.9
    nesterov: bool = False


@dataclass(frozen=True, kw_only=True)
class AdaGradOptions(GradientDescentOptions):
    """Hyperparameters of AdaGrad, checked. The defaults are PyTorch's.

    Parameters
    ----------
    lr : float or callable, optional
        Learning rate: a positive number, or a schedule as in `RMSPropOptions`;
        `rmsfast.schedules.inverse_time` is PyTorch's `lr_decay`.
    weight_decay, decoupled, clip_value, clip_norm, maximize
        As in `RMSPropOptions`.
    eps, eps_in_sqrt
        As in `RMSPropOptions`.
    initial_scale : float, optional
        Sum of squares before the first step, at least 0. PyTorch:
        `initial_accumulator_value`.

    Raises
    ------
    TypeError
        If an option is of the wrong type.
    ValueError
        If a number is outside its bounds, or `lr` is "auto".
    """

    lr: float | Callable[[int], float] = field(default=1e-2, hash=False)
    eps: float = 1e-10
    eps_in_sqrt: bool = False
    initial_scale: float = 0.0

    def hyper(self) -> Hyper:
        """Return the hyperparameters of every update, in float64; see `RuleOptions.hyper`."""
        return super().hyper()._replace(one_minus_rho=1.0)  # a sum, not an average


# The rules by the names of the functions that run them
RULES: dict[str, Callable[..., RuleOptions]] = {
    "rmsprop": RMSPropOptions,
    "gradient_descent": GradientDescentOptions,
    "momentum": MomentumOptions,
    "adagrad": AdaGradOptions,
}


_FLAGS = tuple(field.name for field in fields(RMSPropOptions) if field.type == "bool")
# what makes the update another formula; those that only a numeric lr can honour
_VARIANTS = tuple(
    field.name
    for field in fields(RMSPropOptions)
    if field.name not in ("lr", "rho", "eps", "initial_scale")
)
_NUMERIC_LR_ONLY = (
    "initial_scale",
    *(name for name in _VARIANTS if name != "eps_in_sqrt"),
)

_NO_AUTO = "a number or a callable ('auto' is RMSProp's alone)"
# the bounds of the numbers; all others are positive
_BELOW_ONE = ("rho", "momentum")
_NOT_NEGATIVE = ("initial_scale", "weight_decay")


def _check_lr(name: str, value: Any) -> None:
    if isinstance(value, type):
        raise TypeError(f"{name} must be a schedule, not the class of one, got {value!r}")
    if not isinstance(value, str) and not callable(value):
        check_number(name, value, 0.0, low_open=True)


def _check_clipping(name: str, value: Any) -> None:
    if value is not None:
        check_number(name, value, 0.0, low_open=True)


@functools.cache
def _checks(kind: Any) -> tuple[tuple[str, Callable[[str, Any], Any]], ...]:
    """Return the check of each field: its function takes name and value."""
    by_name: dict[str, Callable[[str, Any], Any]] = {
        "lr": _check_lr,
        "eps": functools.partial(check_number, low=0.0, low_open=True),
        "clip_value": _check_clipping,
        "clip_norm": _check_clipping,
        **{name: functools.partial(check_number, low=0.0, high=1.0) for name in _BELOW_ONE},
        **{name: functools.partial(check_number, low=0.0) for name in _NOT_NEGATIVE},
        **{name: check_flag for name in _FLAGS},
    }
    return tuple((f.name, by_name[f.name]) for f in fields(kind))


@dataclass(frozen=True, kw_only=True)
class SolverOptions:
    """When the solver stops, and how much it remembers. Names are SciPy's.

    Parameters
    ----------
    gtol : float, optional
        Stop when no component of the (projected) gradient exceeds it in
        absolute value. At least 0.
    ftol : float, optional
        Stop when an iteration changes the objective, relative to
        ``max(|f_k|, |f_{k+1}|, 1)``, by no more than this. At least 0; 0
        switches it off.
    xtol : float, optional
        Stop when a step is at most ``xtol * (xtol + max|x|)`` long in the
        maximum norm. At least 0; 0 switches it off.
    maxiter : int, optional
        Largest number of iterations, at least 0.
    maxfun : int, optional
        Largest number of calls of the objective, at least 1; those for finite
        differences are included. The evaluation under way is completed.
    maxcor : int, optional
        With ``lr="auto"``: number of corrections of the limited-memory BFGS
        matrix built on the RMSProp metric, in [0, 30]. With 0 the direction is
        RMSProp's own.

    Raises
    ------
    TypeError
        If an option is of the wrong type.
    ValueError
        If a number is outside its bounds.
    """

    gtol: float = 1e-5
    ftol: float = 0.0
    xtol: float = 0.0
    maxiter: int = 15000
    maxfun: int = 15000
    maxcor: int = 10

    def __post_init__(self) -> None:
        for name in ("gtol", "ftol", "xtol"):
            check_number(name, getattr(self, name), 0.0)
        check_count("maxiter", self.maxiter, 0)
        check_count("maxfun", self.maxfun, 1)
        check_count("maxcor", self.maxcor, 0, MAX_MAXCOR)


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """What a minimizer tells its caller, and how it finds a missing gradient.

    Parameters
    ----------
    disp : bool or int, optional
        1 or True prints a summary at the end; 2 also a line at iterations 0, 1,
        2, 5, 10, 20, 50, ...
    return_all : bool, optional
        Also return the list of all iterates, `allvecs`.
    finite_diff : {"2-point", "3-point", "cs"}, optional
        How a gradient that is not given is approximated: one-sided or central
        differences, or complex steps (the objective must take complex `x`).

    Raises
    ------
    TypeError
        If an option is of the wrong type.
    ValueError
        If `finite_diff` is unknown or `disp` negative.
    """

    disp: bool | int = False
    return_all: bool = False
    finite_diff: str = "3-point"

    def __post_init__(self) -> None:
        if not isinstance(self.disp, (bool, np.bool_)):
            check_count("disp", self.disp, 0)
        check_flag("return_all", self.return_all)
        if not isinstance(self.finite_diff, str) or self.finite_diff not in GRADIENTS:
            raise ValueError(
                f"finite_diff must be '2-point', '3-point' or 'cs', got {self.finite_diff!r}"
            )


@dataclass(frozen=True, kw_only=True)
class DeviceOptions:
    """Where a minimizer computes.

    Parameters
    ----------
    device : {"cpu", "cuda"}, optional
        "cuda": on an NVIDIA GPU.

    Raises
    ------
    ValueError
        If there is no such device.
    """

    device: str = "cpu"

    def __post_init__(self) -> None:
        if not isinstance(self.device, str) or self.device not in DEVICES:
            raise ValueError(f"device must be 'cpu' or 'cuda', got {self.device!r}")


@dataclass(frozen=True, kw_only=True)
class UpdateOptions:
    """What `rmsfast.RMSProp` does beside the update.

    Parameters
    ----------
    ema_decay : float or None, optional
        Keep running averages of the parameters with this decay, in [0, 1).
    skip_nonfinite : bool, optional
        An update whose gradient has a NaN or inf changes nothing and is counted.
    lazy_decay : bool, optional
        Rows that `update_rows` did not touch decay when they are touched next.

    Raises
    ------
    TypeError
        If an option is of the wrong type.
    ValueError
        If a number is outside its bounds.
    """

    ema_decay: float | None = None
    skip_nonfinite: bool = False
    lazy_decay: bool = False

    def __post_init__(self) -> None:
        if self.ema_decay is not None:
            check_number("ema_decay", self.ema_decay, 0.0, 1.0)
        check_flag("skip_nonfinite", self.skip_nonfinite)
        check_flag("lazy_decay", self.lazy_decay)


@dataclass(frozen=True, kw_only=True)
class MultistartOptions:
    """Where `rmsfast.multistart` starts, and which ends it takes for the same minimum.

    Parameters
    ----------
    method : {"sobol", "lhs", "uniform"}, optional
        How starts are drawn: scrambled points of Sobol, a Latin hypercube, or
        independently.
    cluster_tol : float, optional
        How far apart two ends of the same minimum may be: in the maximum norm,
        in widths of the bounds. At least 0. Runs that stop at ``gtol=1e-5`` lie
        much closer, unless the minimum is flat; the minima of the classical
        functions, Griewank's the closest, are 0.0037 apart and more.

    Raises
    ------
    TypeError
        If `cluster_tol` is no number.
    ValueError
        If there is no such method, or `cluster_tol` is negative.
    """

    method: str = "sobol"
    cluster_tol: float = 1e-3

    def __post_init__(self) -> None:
        if not isinstance(self.method, str) or self.method not in STARTS:
            raise ValueError(f"method must be 'sobol', 'lhs' or 'uniform', got {self.method!r}")
        check_number("cluster_tol", self.cluster_tol, 0.0)


@dataclass(frozen=True, kw_only=True)
class MinibatchOptions:
    """How `rmsfast.minimize_minibatch` goes through the data, and when it looks up.

    Parameters
    ----------
    shuffle : bool, optional
        Visit the rows in a new random order in each epoch.
    drop_last : bool, optional
        Leave out the short batch at the end of an epoch.
    lr_interval : {"step", "epoch"}, optional
        What a schedule counts.
    eval_steps : int or None, optional
        Steps between two evaluations, at least 1; None: one at the end of each
        epoch.
    patience : int or None, optional
        Stop when this many evaluations in a row, at least 1, have not lowered
        the validation loss; None: go on.
    average : "polyak", float or None, optional
        Average the points: "polyak" weighs all steps the same; a number in [0,
        1) is the decay of a running average. It is of the dtype of the points:
        in float32 the rounding of a Polyak average exceeds what 1e6 further
        steps bring.
    average_start : int, optional
        Epochs before the average begins, at least 0.

    Raises
    ------
    TypeError
        If an option is of the wrong type.
    ValueError
        If an option is outside its bounds, or `average_start` comes without
        `average`.
    """

    shuffle: bool = True
    drop_last: bool = False
    lr_interval: str = "step"
    eval_steps: int | None = None
    patience: int | None = None
    average: str | float | None = None
    average_start: int = 0

    def __post_init__(self) -> None:
        check_flag("shuffle", self.shuffle)
        check_flag("drop_last", self.drop_last)
        if self.lr_interval not in ("step", "epoch"):
            raise ValueError(f"lr_interval must be 'step' or 'epoch', got {self.lr_interval!r}")
        for name in ("eval_steps", "patience"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name), 1)
        if isinstance(self.average, str):
            if self.average != "polyak":
                raise ValueError(
                    f"average must be 'polyak', a number or None, got {self.average!r}"
                )
        elif self.average is not None:
            check_number("average", self.average, 0.0, 1.0)
        check_count("average_start", self.average_start, 0)
        if self.average_start > 0 and self.average is None:
            raise ValueError(f"average_start={self.average_start!r} needs average, got None")


# What options are called elsewhere -> here
HINTS = {
    "learning_rate": "lr",
    "step_size": "lr",
    "eta": "lr",
    "alpha": "rho",
    "beta": "rho",
    "decay": "rho",
    "gamma": "rho",
    "epsilon": "eps",
    "initial_accumulator_value": "initial_scale",
    "clipvalue": "clip_value",
    "global_clipnorm": "clip_norm",
    "max_iter": "maxiter",
    "max_nfev": "maxfun",
    "maxfev": "maxfun",
}


def hint(name: str, *kinds: Any) -> str:
    """Return " (did you mean ...?)" if an unknown name is called otherwise among the `kinds`."""
    meant = HINTS.get(name)
    return f" (did you mean {meant}?)" if any(meant in names_of(kind) for kind in kinds) else ""


def check_names(given: Any) -> None:
    """Raise TypeError if one of the names `given` is no hyperparameter."""
    for name in given:
        if name not in names_of(RMSPropOptions):
            known = ", ".join(field.name for field in fields(RMSPropOptions))
            what = f"no hyperparameter{hint(name, RMSPropOptions)}"
            raise TypeError(f"{name!r} is {what}: there are {known}")


def need_lr(given: Any, preset: Any) -> None:
    """Raise ValueError if there is no lr among the names `given`, and no preset."""
    if "lr" not in given and preset is None:
        raise ValueError("lr must be given, or a preset that has one, got None")


def take(kind: type[T], options: dict[str, Any]) -> T:
    """Remove the fields of the dataclass `kind` from `options` and return them checked."""
    names = names_of(kind)  # type: ignore[arg-type]
    return kind(**{name: options.pop(name) for name in list(options) if name in names})


def rule_of(method: Any) -> Callable[..., RuleOptions]:
    """Return the class of the hyperparameters of a rule, one of `RULES`, or raise ValueError."""
    if not isinstance(method, str) or method not in RULES:
        raise ValueError(f"method must be one of {', '.join(RULES)}, got {method!r}")
    return RULES[method]


def take_hyperparameters(options: dict[str, Any], method: str = "rmsprop") -> RuleOptions:
    """Remove the hyperparameters of a rule from `options` and return them checked.

    Parameters
    ----------
    options : dict
        With ``preset`` too, where the rule is RMSProp. Others stay in it.
    method : str, optional
        The rule, one of `RULES`.
    """
    kind = rule_of(method)
    preset = options.pop("preset", None) if kind is RMSPropOptions else None
    names = names_of(kind)
    chosen = {name: options.pop(name) for name in list(options) if name in names}
    if preset is not None:
        return RMSPropOptions.preset(preset, **chosen)
    return kind(**chosen) if chosen else _DEFAULTS[method]


_DEFAULTS = {name: kind() for name, kind in RULES.items()}


@functools.cache
def names_of(kind: Any) -> frozenset[str]:
    """Return the names of the fields of a class of options."""
    return frozenset(field.name for field in fields(kind))
