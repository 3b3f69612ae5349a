"""Several methods on one problem, from one start, side by side."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import OptimizeResult, OptimizeWarning, minimize, show_options

from rmsfast.minimize import rmsprop
from rmsfast.objective import Objective
from rmsfast.options import check_number
from rmsfast.plot import convergence
from rmsfast.plot.given import lowest_known
from rmsfast.rivals import adagrad, gradient_descent, momentum
from rmsfast.solver import check_bounds, check_start

OURS: dict[str, Callable[..., OptimizeResult]] = {
    method.__name__: method for method in (rmsprop, gradient_descent, momentum, adagrad)
}
MESSAGE_WIDTH = 60  # of the table
FOR_ALL = "it is the same for all methods, an argument of compare"
NO_OPTIONS = {  # arguments of scipy.optimize.minimize that are no options, and what to say of them
    **dict.fromkeys(("fun", "x0", "args", "jac", "bounds"), FOR_ALL),
    **dict.fromkeys(("hess", "hessp", "constraints"), "compare takes none"),
    "callback": "compare takes none; its results hold all iterates, allvecs",
    "options": "give each of them by its name, as maxiter=100",
}


class Row(NamedTuple):
    """One method's line of a `Comparison`.

    Parameters
    ----------
    label : str
        Names the method.
    fun : float
        Value of the objective at the result.
    nit : int or None
        Iterations; None if the method does not tell.
    nfev : int
        Calls of the objective, those for finite differences included.
    seconds : float
        Wall time of the run.
    status : int or None
        The method's own code.
    success : bool
        What the method says.
    message : str
        The same in words.
    """

    label: str
    fun: float
    nit: int | None
    nfev: int
    seconds: float
    status: int | None
    success: bool
    message: str


@dataclass(frozen=True, repr=False)
class Comparison:
    """What `rmsfast.compare` returns: printed, a table.

    Parameters
    ----------
    rows : list of Row
        A line for each method, in the order asked for; a `pandas.DataFrame` takes
        it.
    results : dict
        The `OptimizeResult` of each label, with `allvecs`, the iterates from
        `x0` on.
    fun : callable
        The objective.
    args : tuple
        Its further arguments.
    minimum : float or None
        Its lowest value, if known.

    Examples
    --------
    >>> import rmsfast
    >>> from rmsfast.objectives import rosenbrock
    >>> comparison = rmsfast.compare(rosenbrock, [-1.2, 1.0], ["rmsprop", "L-BFGS-B"])
    >>> [row.label for row in comparison.rows if row.success]
    ['rmsprop', 'L-BFGS-B']
    >>> comparison.results["rmsprop"].x.round(4)
    array([1., 1.])
    """

    rows: list[Row]
    results: dict[str, OptimizeResult]
    fun: Callable[..., Any]
    args: tuple[Any, ...]
    minimum: float | None

    def __repr__(self) -> str:
        cells = [["method", "fun", "nit", "nfev", "seconds", "message"]]
        for row in self.rows:
            nit = "-" if row.nit is None else f"{row.nit}"
            numbers = [f"{row.fun:.6g}", nit, f"{row.nfev}", f"{row.seconds:.3g}"]
            message = row.message
            if len(message) > MESSAGE_WIDTH:
                message = message[: MESSAGE_WIDTH - 3] + "..."
            cells.append([row.label, *numbers, message])
        if self.minimum is not None:
            distances = [f"{row.fun - self.minimum:.2g}" for row in self.rows]
            for line, distance in zip(cells, ["fun - minimum", *distances], strict=True):
                line.insert(2, distance)
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = []
        for label, *numbers, message in cells:
            middle = (text.rjust(width) for text, width in zip(numbers, widths[1:-1], strict=True))
            lines.append("  ".join([label.ljust(widths[0]), *middle, message]))
        return "\n".join(lines)

    def plot(self, ax: Any = None) -> Any:
        """Draw the values against the iterations by `rmsfast.plot.convergence`.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw. Default: a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            With a curve for each label.
        """
        return convergence(self.results, fun=self.fun, args=self.args, minimum=self.minimum, ax=ax)


def compare(
    fun: Callable[..., Any],
    x0: Any,
    methods: Any,
    *,
    args: Any = (),
    jac: Any = None,
    bounds: Any = None,
    tol: float | None = None,
    minimum: float | None = None,
    **options: Any,
) -> Comparison:
    """Run several methods of `scipy.optimize.minimize` on one problem, from one start.

    Parameters
    ----------
    fun : callable
        The objective, ``fun(x, *args)``, as `scipy.optimize.minimize` takes it.
        A `rmsfast.Objective` needs no `jac`.
    x0 : array_like, shape (n,)
        The start, within the bounds.
    methods : list or dict
        A list of methods: "rmsprop", "gradient_descent", "momentum", "adagrad",
        any name that `scipy.optimize.minimize` knows, or a callable that it takes.
        Or a dict ``{label: (method, options)}``, or ``{method: options}``, which
        mix.
    args : tuple, optional
        Further arguments of `fun` and `jac`.
    jac : callable, bool, str or None, optional
        As in `scipy.optimize.minimize`. Methods without use for a gradient do not
        get it.
    bounds : Bounds, sequence of pairs, or ndarray of shape (n, 2), optional
        Bounds on the variables.
    tol : float, optional
        As in `scipy.optimize.minimize`: each method's own tolerance.
    minimum : float, optional
        The lowest value of the objective, if known: the table and the drawing
        show the distance from it. Default: what is known of a function of
        `rmsfast.objectives`.
    **options
        Options for all methods, such as `maxiter`, by their names. A method's
        own come before them.

    Returns
    -------
    Comparison
        A table, and all results.

    Raises
    ------
    TypeError
        If an argument is of the wrong type, or is given as an option.
    ValueError
        If `methods` is empty, holds an unknown name, or the same label twice; if
        a method does not take one of its options, or bounds; or if an argument is
        outside its bounds. This comes before the first run.

    Notes
    -----
    Each method runs twice. The first run is recorded: its calls of the objective
    are counted in the same way for all methods, whatever they report themselves,
    and its iterates are kept. `seconds` is the wall time of the second, which
    calls the objective as it is given, so that a compiled one runs compiled. The
    objective has been called by then, and rmsfast's compiled loop has been
    loaded: compile time does not count. Where a method's two runs differ, as on a
    noisy objective, all but the time is of the first.

    See Also
    --------
    rmsfast.rmsprop : the method, and its rivals beside it.
    rmsfast.plot.convergence : the drawing.

    Examples
    --------
    >>> import rmsfast
    >>> from rmsfast.objectives import rosenbrock
    >>> comparison = rmsfast.compare(
    ...     rosenbrock,
    ...     [-1.2, 1.0],
    ...     {
    ...         "rmsprop": {},
    ...         "RMSProp alone": ("rmsprop", {"maxcor": 0}),
    ...         "momentum": {"lr": 0.001},
    ...         "L-BFGS-B": {"gtol": 1e-5},
    ...     },
    ...     maxiter=5000,
    ... )
    >>> print(comparison)
    method           fun  fun - minimum   nit  nfev  seconds  message
    rmsprop          ...
    RMSProp alone    ...
    momentum         ...
    L-BFGS-B         ...
    """
    if not callable(fun):
        raise TypeError(f"fun must be callable, got {fun!r}")
    if minimum is not None:
        minimum = check_number("minimum", minimum, -math.inf, low_open=True)
    x0 = check_start(x0)
    check_bounds(bounds, x0)
    if minimum is None:
        minimum = lowest_known(fun, x0.size)
    args = args if isinstance(args, tuple) else (args,)
    if jac is None and isinstance(fun, Objective):
        jac = True
    problem = _Problem(fun, x0, args, jac, bounds, tol)
    entries = _read(methods, options)
    for label, method, chosen in entries:
        problem.check(label, method, chosen)
    rows, results = [], {}
    for label, method, chosen in entries:
        result, nfev = problem.record(method, chosen)
        results[label] = result
        row = Row(
            label,
            fun=np.asarray(result.fun).item(),
            nit=result.get("nit"),
            nfev=nfev,
            seconds=problem.seconds(method, chosen),
            status=result.get("status"),
            success=bool(result.get("success")),
            message=str(result.get("message", "")),
        )
        rows.append(row)
    return Comparison(rows, results, fun, args, minimum)


def _read(methods: Any, options: dict[str, Any]) -> list[tuple[str, Any, dict[str, Any]]]:
    """Return label, method and options of each run."""
    _check_options(options)
    if isinstance(methods, Mapping):
        entries = [_read_entry(label, entry) for label, entry in methods.items()]
    elif isinstance(methods, (list, tuple)):
        entries = [(_label(method), method, {}) for method in methods]
    else:
        raise TypeError(f"methods must be a list or a dict, got {methods!r}")
    if not entries:
        raise ValueError(f"methods must not be empty, got {methods!r}")
    labels = [label for label, _, _ in entries]
    for label in labels:
        if labels.count(label) > 1:
            raise ValueError(
                f"methods has {label!r} twice: give a dict {{label: (method, options)}}"
            )
    return [(label, _find(method), {**options, **own}) for label, method, own in entries]


def _read_entry(label: Any, entry: Any) -> tuple[str, Any, Mapping[str, Any]]:
    """Return label, method and own options of an entry of a dict."""
    method, own = entry if isinstance(entry, tuple) and len(entry) == 2 else (label, entry)
    if not isinstance(label, str):
        raise TypeError(f"methods must have strings as labels, got {label!r}")
    if not isinstance(own, Mapping):
        raise TypeError(
            f"methods[{label!r}] must be a dict of options or (method, options), got {entry!r}"
        )
    _check_options(own, f"methods[{label!r}]: ")
    return label, method, own


def _check_options(options: Mapping[str, Any], where: str = "") -> None:
    """Raise if there are arguments of `scipy.optimize.minimize` among the options."""
    for name in options:
        if name in NO_OPTIONS:
            raise TypeError(f"{where}{name!r} is no option of a method: {NO_OPTIONS[name]}")


def _label(method: Any) -> str:
    """Return what to call a method of a list."""
    if isinstance(method, str):
        return method
    name = getattr(method, "__name__", None)
    if not isinstance(name, str):
        raise TypeError(f"methods must hold names and functions, or be a dict, got {method!r}")
    return name


def _find(method: Any) -> Any:
    """Return a method as `scipy.optimize.minimize` takes it."""
    if callable(method):
        return method
    if not isinstance(method, str):
        raise TypeError(f"methods must hold names and callables, got {method!r}")
    if method in OURS:
        return OURS[method]
    try:
        show_options("minimize", method, disp=False)
    except ValueError:
        raise ValueError(
            f"methods must be of {', '.join(OURS)}, or known to scipy.optimize.minimize, "
            f"got {method!r}"
        ) from None
    return method


class _ReachedError(Exception):
    """A method has come to its first evaluation."""


@dataclass(frozen=True)
class _Problem:
    """What is the same for all methods."""

    fun: Callable[..., Any]
    x0: np.ndarray
    args: tuple[Any, ...]
    jac: Any
    bounds: Any
    tol: float | None

    def check(self, label: str, method: Any, options: dict[str, Any]) -> None:
        """Raise what a method has to say against its options, before it evaluates anything."""

        def stop(*args: Any) -> None:
            raise _ReachedError

        jac = stop if callable(self.jac) else self.jac
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("error", category=OptimizeWarning)
                refused = "Method .* (cannot handle|does not support)"
                warnings.filterwarnings("error", refused, RuntimeWarning)
                self._minimize(stop, jac, method, options)
        except _ReachedError:
            pass
        except (OptimizeWarning, RuntimeWarning) as warning:
            raise ValueError(f"{label}: {warning}") from None
        except Exception as error:
            error.add_note(f"This is about the method {label!r}.")
            raise

    def record(self, method: Any, options: dict[str, Any]) -> tuple[OptimizeResult, int]:
        """Run a method; return its result with all iterates, and its calls of the objective."""
        iterates, nfev = [self.x0.copy()], 0

        def note(xk: Any, *state: Any) -> None:  # trust-constr gives its state, too
            iterates.append(np.array(xk))

        def counted(*args: Any) -> Any:
            nonlocal nfev
            nfev += 1
            return self.fun(*args)

        result = self._minimize(counted, self.jac, method, options, callback=note)
        result.allvecs = iterates
        return result, nfev

    def seconds(self, method: Any, options: dict[str, Any]) -> float:
        """Wall time of a run, when all is compiled."""
        self.fun(self.x0.copy(), *self.args)
        if method in OURS.values():
            self._minimize(self.fun, self.jac, method, {**options, "maxiter": 1, "disp": False})
        start = time.perf_counter()
        self._minimize(self.fun, self.jac, method, options)
        return time.perf_counter() - start

    def _minimize(
        self, fun: Any, jac: Any, method: Any, options: dict[str, Any], callback: Any = None
    ) -> OptimizeResult:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".* does not use gradient", RuntimeWarning)
            return minimize(
                fun,
                self.x0.copy(),
                self.args,
                method,
                jac,
                bounds=self.bounds,
                tol=self.tol,
                callback=callback,
                options=dict(options),
            )
