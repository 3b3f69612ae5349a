"""Ask and tell: the solver for objectives that are evaluated elsewhere."""

from __future__ import annotations

import copy
import functools
import math
from typing import Any

import numba
import numpy as np
from scipy.optimize import Bounds, OptimizeResult, OptimizeWarning

from rmsfast import schedules
from rmsfast.core import solver as core
from rmsfast.core import status
from rmsfast.core.auto import advance_auto
from rmsfast.objective import check_value, real_dtype, write_gradient
from rmsfast.options import (
    RULES,
    RuleOptions,
    SolverOptions,
    check_number,
    hint,
    take,
    take_hyperparameters,
)
from rmsfast.warn import warn

if getattr(numba.config, "DISABLE_JIT", False):
    raise ImportError("rmsfast needs Numba's compiler: unset NUMBA_DISABLE_JIT")


def check_start(x0: Any) -> np.ndarray:
    """Return the start as a new float64 or float32 array of shape ``(n,)``.

    Raises
    ------
    TypeError
        If `x0` is not real.
    ValueError
        If it is empty, has more than one dimension, or is not finite.
    """
    x0 = np.atleast_1d(np.asarray(x0))
    if x0.ndim != 1:
        raise ValueError(f"x0 must have one dimension, got shape {x0.shape}")
    if x0.size == 0:
        raise ValueError("x0 must have at least one element, got shape (0,)")
    x0 = x0.astype(real_dtype(x0, "x0"))
    finite = np.isfinite(x0)
    if not finite.all():
        i = int(np.argmin(finite))
        raise ValueError(f"x0 must be finite, got x0[{i}] = {x0[i]}")
    return x0


def read_bounds(bounds: Any, n: int, dtype: np.dtype[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return lower and upper bounds as arrays of shape ``(n,)``.

    Parameters
    ----------
    bounds : None, Bounds, sequence of (lower, upper) pairs, or ndarray of shape (n, 2)
        In pairs, None stands for no bound.
    n : int
        Number of variables.
    dtype : dtype
        Of the arrays returned.

    Raises
    ------
    TypeError
        If `bounds` is none of these.
    ValueError
        If the length is wrong, a bound is NaN, or a lower bound exceeds the
        upper.
    """
    if bounds is None:
        return np.full(n, -np.inf, dtype), np.full(n, np.inf, dtype)
    if isinstance(bounds, Bounds):
        low, high = bounds.lb, bounds.ub
    else:
        try:
            pairs = [(low, high) for low, high in bounds]
        except (TypeError, ValueError):
            raise TypeError(
                f"bounds must be a Bounds or a sequence of (lower, upper) pairs, got {bounds!r}"
            ) from None
        if len(pairs) != n:
            raise ValueError(f"bounds must have length {n}, got {len(pairs)} pairs")
        low = [-np.inf if low is None else low for low, _ in pairs]
        high = [np.inf if high is None else high for _, high in pairs]
    lower, upper = _bound(low, n), _bound(high, n)
    with np.errstate(over="ignore"):  # beyond the range of the dtype there is no bound
        lower, upper = lower.astype(dtype), upper.astype(dtype)
    crossed = ~(lower <= upper)
    if crossed.any():
        i = int(np.argmax(crossed))
        raise ValueError(
            f"bounds[{i}]: the lower bound must not exceed the upper, got {lower[i]} and {upper[i]}"
        )
    return lower, upper


def finite_bounds(bounds: Any, n: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return lower and upper bounds of `n` variables, as many as there are if None.

    Raises
    ------
    TypeError
        As `read_bounds` does.
    ValueError
        Likewise, and if there is no variable, or a bound is infinite.
    """
    if isinstance(bounds, Bounds):
        sides = [np.asarray(side) for side in (bounds.lb, bounds.ub)]
        single = all(side.dtype == np.float32 for side in sides)
        count = np.broadcast(*sides).size
    else:
        single = getattr(bounds, "dtype", None) == np.float32
        bounds = list(bounds) if np.iterable(bounds) else [bounds]
        count = len(bounds)
    count = count if n is None else n
    if count == 0:
        raise ValueError("bounds must have at least one variable")
    lower, upper = read_bounds(bounds, count, np.dtype(np.float32 if single else np.float64))
    with np.errstate(over="ignore", invalid="ignore"):
        infinite = ~np.isfinite(upper - lower)
    if infinite.any():
        i = int(np.argmax(infinite))
        raise ValueError(
            f"bounds[{i}] must be finite, and so must be their distance, "
            f"got {lower[i]} and {upper[i]}"
        )
    return lower, upper


def check_bounds(bounds: Any, x0: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds on a start, which must lie within them; see `read_bounds`."""
    lower, upper = read_bounds(bounds, x0.size, x0.dtype)
    outside = (x0 < lower) | (x0 > upper)
    if outside.any():
        i = int(np.argmax(outside))
        raise ValueError(
            f"x0[{i}] must be in its bounds [{lower[i]}, {upper[i]}], got x0[{i}] = {x0[i]}"
        )
    return lower, upper


def _bound(values: Any, n: int) -> np.ndarray:
    """Return one side of the bounds as an array of shape ``(n,)``."""
    try:
        array = np.asarray(values)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"bounds must be real numbers, got {values!r}")
    if array.shape not in ((), (1,), (n,)):
        raise ValueError(f"bounds must have length {n}, got shape {array.shape}")
    return np.broadcast_to(array, (n,))


class Solver:
    """RMSProp by ask and tell, for objectives evaluated elsewhere.

    It takes the same decisions, to the last bit, as `rmsfast.rmsprop`; one that
    `by_rule` makes, as that rule's function. A copy, or a pickle, is a
    checkpoint: it goes on as the original would.

    Parameters
    ----------
    x0 : array_like, shape (n,)
        The start. float32 stays float32, anything else becomes float64.
    bounds : Bounds, sequence of pairs, or ndarray of shape (n, 2), optional
        Bounds on the variables.
    **options
        Hyperparameters (see `rmsfast.RMSPropOptions`), ``preset``, and `gtol`,
        `ftol`, `xtol`, `maxiter`, `maxfun`, `maxcor` and `tol` as in
        `rmsfast.rmsprop`. Unknown ones warn with
        `scipy.optimize.OptimizeWarning`.

    Raises
    ------
    TypeError
        If an argument is of the wrong type.
    ValueError
        If `x0`, `bounds` or an option is outside its bounds.

    Examples
    --------
    >>> import numpy as np
    >>> import rmsfast
    >>> solver = rmsfast.Solver([-1.2, 1.0])
    >>> while not solver.done:
    ...     x = solver.ask()
    ...     f = 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2
    ...     g = np.array([-400 * x[0] * (x[1] - x[0] ** 2) - 2 * (1 - x[0]),
    ...                   200 * (x[1] - x[0] ** 2)])
    ...     solver.tell(f, g)
    >>> solver.result().x.round(4)
    array([1., 1.])
    """

    def __init__(self, x0: Any, bounds: Any = None, **options: Any) -> None:
        self._read(x0, bounds, options, "rmsprop")

    @classmethod
    def by_rule(cls, rule: str, /, x0: Any, bounds: Any = None, **options: Any) -> Solver:
        """Return a solver that steps by another rule.

        Parameters
        ----------
        rule : {"rmsprop", "gradient_descent", "momentum", "adagrad"}
            Names the function that takes the same decisions, such as
            `rmsfast.adagrad`.
        x0 : array_like, shape (n,)
            The start.
        bounds : Bounds, sequence of pairs, or ndarray of shape (n, 2), optional
            Bounds on the variables.
        **options
            Hyperparameters of the rule, and the rest as for `Solver`.

        Returns
        -------
        Solver
            At its start.

        Raises
        ------
        TypeError
            If an argument is of the wrong type.
        ValueError
            If there is no such rule, or `x0`, `bounds` or an option is outside
            its bounds.
        """
        solver = cls.__new__(cls)
        solver._read(x0, bounds, options, rule)
        return solver

    def _read(self, x0: Any, bounds: Any, options: dict[str, Any], rule: str) -> None:
        """Check what was asked for, and start."""
        self.hyper = take_hyperparameters(options, rule)
        tol = options.pop("tol", None)
        if tol is not None:
            options.setdefault("gtol", check_number("tol", tol, 0.0))
        if "maxcor" in options and self.hyper.lr != "auto":
            raise ValueError(f"maxcor={options['maxcor']!r} needs lr='auto', got a numeric lr")
        self.options = take(SolverOptions, options)
        if options:
            kinds = (type(self.hyper), SolverOptions)
            names = ", ".join(f"{name}{hint(name, *kinds)}" for name in options)
            warn(f"Unknown solver options: {names}", OptimizeWarning)
        x0 = check_start(x0)
        self.hyper.check_dtype(x0.dtype)
        lower, upper = check_bounds(bounds, x0)
        bounded = bounds is not None and bool((np.isfinite(lower) | np.isfinite(upper)).any())
        self.calls = (1, 1)
        self.dtype = x0.dtype
        self._start(x0, lower, upper, bounded)

    def _start(self, x0: np.ndarray, lower: np.ndarray, upper: np.ndarray, bounded: bool) -> None:
        """Write the record, and lay out the vectors."""
        hyper, options = self.hyper, self.options
        auto = hyper.lr == "auto"
        self.record = blank_record(hyper, options)
        state = self.record[0]
        state["bounded"] = bounded
        state["plain"] = not bounded and not auto and hyper.is_plain
        self._schedule = None
        if isinstance(hyper.lr, schedules.plateau):
            state["lr"] = hyper.lr.lr
            state["plateau_factor"] = hyper.lr.factor
            state["plateau_patience"] = hyper.lr.patience
        elif callable(hyper.lr):
            self._schedule = hyper.lr
        elif not auto:
            state["lr"] = hyper.lr
            state["constant"] = True
        self.state = state
        self._lay_out(x0, lower, upper)

    def _lay_out(self, x0: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> None:
        """Fill the work array."""
        auto = self.hyper.lr == "auto"
        w = _aligned((core.rows(int(self.state["maxcor"])), x0.size), x0.dtype)
        w[core.X] = x0
        w[core.LOWER], w[core.UPPER] = lower, upper
        w[core.G] = math.nan
        if not auto:
            w[core.MEAN_SQUARE] = self.hyper.initial_scale
            w[core.MEAN] = w[core.BUFFER] = 0.0
        self.w = w

    def count(self, nfev: int, njev: int) -> None:
        """Say how often one evaluation calls the user's function and gradient.

        Parameters
        ----------
        nfev, njev : int
            Calls per evaluation: `maxfun` and the result count them.
        """
        self.calls = (nfev, njev)
        self.state["max_evaluations"] = min(max(1, self.options.maxfun // nfev), _MANY)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "state"}

    def __setstate__(self, values: dict[str, Any]) -> None:
        vars(self).update(values)
        self.state = self.record[0]  # compiled code writes into the array

    def __repr__(self) -> str:
        rule = next(name for name, kind in RULES.items() if kind is type(self.hyper))
        n, nit = self.point("trial").size, int(self.state["nit"])
        return f"{type(self).__name__}({rule!r}, n={n}, nit={nit}, done={self.done})"

    def __copy__(self) -> Solver:
        return copy.deepcopy(self)

    def rates(self, count: int) -> np.ndarray:
        """Return the learning rates of the steps to come.

        Parameters
        ----------
        count : int
            Number of steps wanted.

        Returns
        -------
        ndarray, shape (m,)
            Empty if the rate does not change or no step is to come; else
            ``1 <= m <= count``. A schedule that fails further on fails when
            that step is reached.
        """
        if self._schedule is None:
            return _NO_RATES
        state = self.state
        first = int(state["evaluations"])
        last = min(first + count, int(state["maxiter"]), int(state["max_evaluations"]) - 1)
        return schedules.rates(self._schedule, first, last)

    @property
    def done(self) -> bool:
        """Whether the solver has finished."""
        return bool(self.state["status"] != status.RUNNING)

    def ask(self) -> np.ndarray:
        """Return the point to evaluate next.

        Returns
        -------
        ndarray, shape (n,)
            A new array of the dtype of `x0`.

        Raises
        ------
        RuntimeError
            If the solver has finished.
        """
        if self.done:
            raise RuntimeError(f"the solver has finished: {self.message}")
        return self.x_trial.copy()

    def tell(self, f: float, g: Any) -> None:
        """Hand in value and gradient at the point that `ask` returned.

        Parameters
        ----------
        f : float
            The value; NaN or inf make the solver step back, or stop.
        g : array_like, shape (n,)
            The gradient.

        Raises
        ------
        RuntimeError
            If the solver has finished.
        TypeError
            If `f` or `g` is not real.
        ValueError
            If `f` is no scalar or `g` has not the shape of `x0`.
        """
        if self.done:
            raise RuntimeError(f"the solver has finished: {self.message}")
        f = check_value(f)
        write_gradient(self.g_trial, g)
        self.advance(f)

    def advance(self, f: float) -> None:
        """Go on from the value `f`, with the gradient in `g_trial`.

        Parameters
        ----------
        f : float
            The value at `x_trial`.
        """
        for rate in self.rates(1):
            self.state["lr"] = rate
        advance = advance_auto if self.hyper.lr == "auto" else core.advance_numeric
        advance(self.w, self.state, f)

    @property
    def x_trial(self) -> np.ndarray:
        """The point to evaluate, a view that must not be written."""
        return self.w[core.X + self.state["trial"]]

    @property
    def g_trial(self) -> np.ndarray:
        """Where the gradient at `x_trial` belongs, a view."""
        return self.w[core.G + self.state["trial"]]

    def point(self, name: str) -> np.ndarray:
        """Return the "current", "best" or "trial" point, by `name`: a view on the CPU."""
        view: np.ndarray = self.w[core.X + self.state[name]]
        return view

    def gradient(self, name: str) -> np.ndarray:
        """Return the gradient at the "current" or "best" point, by `name`: a view on the CPU."""
        view: np.ndarray = self.w[core.G + self.state[name]]
        return view

    @property
    def message(self) -> str:
        """What the status means, and what to do about it."""
        state = self.state
        code, stalled, constant = int(state["status"]), int(state["stalled"]), state["constant"]
        return message(code, stalled, bool(constant), self.hyper.can_be_auto)

    def value(self, f: float) -> Any:
        """Return a value of the solver as the user's objective gives it.

        Parameters
        ----------
        f : float
            A value of the record, negated to maximize.

        Returns
        -------
        floating
            In the dtype of `x0`.
        """
        return self.dtype.type(-f if self.state["maximize"] else f)

    def result(self) -> OptimizeResult:
        """Return what is known so far.

        Returns
        -------
        OptimizeResult
            `x`, the best point seen, with its `fun` and `jac`; `x_last`, the
            last iterate; `nit`, `nfev`, `njev`, `status`, `success`, `message`.
        """
        state = self.state
        code = int(state["status"])
        nfev, njev = self.calls
        return OptimizeResult(
            x=self.point("best").copy(),
            fun=self.value(state["f_best"]),
            jac=self.gradient("best").copy(),
            x_last=self.point("current").copy(),
            nit=int(state["nit"]),
            nfev=int(state["evaluations"]) * nfev,
            njev=int(state["evaluations"]) * njev,
            status=code,
            success=code in status.SUCCESS,
            message=self.message,
        )


def message(code: int, stalled: int, constant: bool, can_be_auto: bool = True) -> str:
    """Return what a status means, and what to do about it.

    Parameters
    ----------
    code : int
        The status.
    stalled : int
        Steps since the lowest value.
    constant : bool
        Whether the learning rate is a constant.
    can_be_auto : bool, optional
        Whether the rule is RMSProp, which has ``lr="auto"``.
    """
    text = status.MESSAGE[code] if can_be_auto else _RIVALS.get(code, status.MESSAGE[code])
    if code in (status.MAXITER, status.MAXFUN) and constant and stalled >= core.CYCLE:
        auto = "lr='auto'" if can_be_auto else _AUTO_ELSEWHERE
        text += f" The last {stalled} steps brought no lower value: a constant lr keeps "
        text += f"moving about the minimum. Use {auto}, or a decreasing schedule."
    return text


_AUTO_ELSEWHERE = "rmsfast.rmsprop with lr='auto'"
_RIVALS = {  # where the sentence of the core advises what RMSProp alone has
    status.NONFINITE: "The objective or its gradient became NaN or infinite; the best point before "
    f"that is returned. Lower lr, or use {_AUTO_ELSEWHERE}, which steps back; keep the variables "
    "by bounds where the objective is defined.",
    status.LIMIT_CYCLE: "The run ended in a limit cycle, or at a point that its steps no longer "
    f"change. Use another lr, {_AUTO_ELSEWHERE}, or a decreasing schedule such as "
    "lr=rmsfast.schedules.plateau(lr).",
}


def _aligned(shape: tuple[int, int], dtype: np.dtype[Any]) -> np.ndarray:
    """Return an empty array that begins with a cache line.

    NumPy aligns to 16 bytes, where every other vector crosses a line: 850
    instead of 690 us for a minimization at n = 100.
    """
    line = 64 // dtype.itemsize
    buffer = np.empty(shape[0] * shape[1] + line, dtype)
    start = -buffer.ctypes.data % 64 // dtype.itemsize
    return buffer[start : start + shape[0] * shape[1]].reshape(shape)


def blank_record(hyper: RuleOptions, options: SolverOptions) -> np.ndarray:
    """Return the record of a run that has not begun, in an array of one element."""
    return np.frombuffer(bytearray(_blank(hyper, options)), core.STATE)


@functools.lru_cache(maxsize=64)
def _blank(hyper: RuleOptions, options: SolverOptions) -> bytes:
    """Return the record of a run that has not begun; to set its fields takes 12 us."""
    auto = hyper.lr == "auto"
    record = np.zeros(1, core.STATE)
    state = record[0]
    h = hyper.hyper()
    for name in (*core.HYPERPARAMETERS, "one_minus_rho", "clip_value"):
        state[name] = getattr(h, name)
    state["clip_norm"] = math.inf if hyper.clip_norm is None else hyper.clip_norm
    state["gtol"], state["ftol"], state["xtol"] = options.gtol, options.ftol, options.xtol
    state["maxiter"] = min(options.maxiter, _MANY)
    state["max_evaluations"] = min(options.maxfun, _MANY)
    state["maxcor"] = options.maxcor if auto else 0
    state["f_best"] = math.nan
    state["status"] = status.RUNNING
    return record.tobytes()


_NO_RATES = np.empty(0)
_MANY = np.iinfo(np.int64).max
