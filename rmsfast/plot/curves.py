"""Curves: values over iterations, losses over epochs, problems solved over evaluations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import OptimizeResult

from rmsfast.options import check_number
from rmsfast.plot.given import check_result, iterates, labelled, lowest_known, series, values_at
from rmsfast.plot.look import (
    DASHES,
    WIDE,
    check_axes,
    draw_legend,
    label_ends,
    new_axes,
    open_frame,
    style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEW = 10  # curves of fewer points have a mark at each
DECADES = 2.0  # positive values that span more are drawn on a logarithmic scale
LOSSES = {"training": "loss", "validation": "validation_loss"}  # fields of a result, by kind
LOOKS: dict[str, dict[str, Any]] = {
    "training": {"linestyle": DASHES[0]},
    "validation": {"linestyle": DASHES[1], "markerfacecolor": "white", "markeredgecolor": None},
}


def _curve(ax: Axes, x: np.ndarray, y: np.ndarray, k: int, count: int, **look: Any) -> None:
    """Draw the k-th of `count` curves, with some marks, beside those of the others."""
    finite = np.flatnonzero(np.isfinite(y))
    few = finite.size < FEW
    marked = None if few else (0.1 * k / count, 0.1)  # all, or by parts of the diagonal
    look = {**style(k), **look}
    (line,) = ax.plot(x, y, **look, markevery=marked)
    line.sticky_edges.x.append(0.0)  # no margin on the left of 0
    if not few:  # else a curve that ends on a low stretch seems to end at its last mark
        end = finite[-1:]
        ax.plot(x[end], y[end], **{**look, "label": "_end"}, zorder=line.get_zorder())


def _log_if_wide(ax: Axes, values: np.ndarray) -> None:
    """Make the scale of the ordinate logarithmic if the values are positive and span decades."""
    shown = values[np.isfinite(values)]
    if shown.size and shown.min() > 0.0 and shown.max() > 10.0**DECADES * shown.min():
        ax.set_yscale("log")


def convergence(
    results: Any,
    *,
    fun: Any = None,
    args: Any = (),
    minimum: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the value against the iterations.

    Parameters
    ----------
    results : OptimizeResult, array, list of these, mapping of label to one, or Comparison
        Results with `allvecs` (minimize with ``options={"return_all": True}``,
        or by `rmsfast.compare`), for which `fun` must be given; or the values
        themselves, array_like of shape ``(k,)``, that of the start first.
    fun : callable, optional
        ``fun(x, *args) -> float``, or ``-> (float, gradient)`` as a
        `rmsfast.Objective` does.
    args : tuple, optional
        Further arguments of `fun`.
    minimum : float, optional
        The lowest value, or the highest of runs that maximize; then the
        distance from it is drawn. Default: what is known of a function of
        `rmsfast.objectives`.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        What was drawn on.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    TypeError
        If an argument is of the wrong type, or `fun` returns no real number.
    ValueError
        If a result has no `allvecs` or `fun` is not given with it, there is
        none, values are not of shape ``(k,)``, or `minimum` is not finite.

    Notes
    -----
    The scale is logarithmic for distances from the minimum, and for positive
    values that span more than two decades. A distance of 0 leads out of the
    picture below. That of the iterations is logarithmic from 1 on where one
    run is more than ten times as long as another.

    Examples
    --------
    >>> from scipy.optimize import minimize
    >>> import rmsfast
    >>> from rmsfast.objectives import rosenbrock
    >>> options = {"return_all": True}
    >>> result = minimize(
    ...     rosenbrock, [-1.2, 1.0], jac=True, method=rmsfast.rmsprop, options=options
    ... )
    >>> ax = rmsfast.plot.convergence(result, fun=rosenbrock)
    >>> ax.get_yscale(), ax.get_xlabel()
    ('log', 'iteration')
    """
    check_axes(ax)
    if minimum is not None:
        minimum = check_number("minimum", minimum, -math.inf, low_open=True)
    runs = labelled(results, "results")
    curves, lowest = [], []
    for _, name, run in runs:
        curve, known = _read(name, run, fun, args)
        curves.append(curve)
        lowest.append(known if minimum is None else minimum)
    ax = new_axes(ax)
    from matplotlib.ticker import MaxNLocator

    if distances := bool(np.isfinite(lowest).all()):
        curves = [abs(curve - low) for curve, low in zip(curves, lowest, strict=True)]
    for k, ((label, _, _), curve) in enumerate(zip(runs, curves, strict=True)):
        _curve(ax, np.arange(len(curve)), curve, k, len(runs), label=label or None)
    lengths = [len(curve) for curve in curves]
    if max(lengths) > 10 * min(lengths):
        ax.set_xscale("symlog", linthresh=1.0)
    else:
        ax.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
    values = np.concatenate(curves)
    positive = values[(values > 0.0) & (values < math.inf)]
    if distances and positive.size:
        ax.set_yscale("log")
        if 0.0 in values:
            ax.set_ylim(bottom=positive.min() / 2.0)
    else:
        _log_if_wide(ax, values)
    ax.set(xlabel="iteration", ylabel="$|f - f^*|$" if distances else "f")
    open_frame(ax)
    if any(label for label, _, _ in runs):
        draw_legend(ax)
    return ax


def _read(name: str, run: Any, fun: Any, args: Any) -> tuple[np.ndarray, float]:
    """Return the values of a run, and the lowest of its function, nan if that is not known."""
    if not isinstance(run, OptimizeResult):
        return series(name, run), math.nan
    path = iterates(name, run)
    if fun is None:
        raise ValueError(f"fun must be given: {name} holds iterates, not their values")
    known = lowest_known(fun, path.shape[1])
    return values_at(fun, path, args), math.nan if known is None else known


def learning_curve(result: Any, *, ax: Axes | None = None) -> Axes:
    """Draw the training loss, and the validation loss, against the epochs.

    Parameters
    ----------
    result : OptimizeResult, list of them, or mapping of label to OptimizeResult
        What `rmsfast.minimize_minibatch` returns: `loss` and `epoch`, ndarrays
        of shape ``(k,)``; `validation_loss`, of the same shape or None; and with
        `patience` `best_epoch`, which is marked if it is one of `epoch`: that of
        a run that went on from another may be older.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        What was drawn on.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    TypeError
        If an argument is of the wrong type.
    ValueError
        If a field is missing or of another shape, or there is no result.

    Notes
    -----
    The scale is logarithmic for positive losses that span more than two
    decades.

    Examples
    --------
    >>> import numpy as np
    >>> import rmsfast
    >>> def squares(x, A, b):
    ...     r = A @ x - b
    ...     return 0.5 * np.mean(r * r), A.T @ r / b.size
    >>> rng = np.random.default_rng(0)
    >>> A = rng.standard_normal((100, 40))
    >>> b = A[:, 0] + rng.standard_normal(100)
    >>> result = rmsfast.minimize_minibatch(
    ...     squares, np.zeros(40), (A[:60], b[:60]), batch_size=10, epochs=100, lr=0.01,
    ...     validation=(A[60:], b[60:]), patience=10, rng=0)
    >>> ax = rmsfast.plot.learning_curve(result)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['training', 'validation', 'best epoch']
    """
    runs = [(label, *_losses(name, run)) for label, name, run in labelled(result, "result")]
    ax = new_axes(ax)
    rings = []
    for k, (label, epoch, losses, best) in enumerate(runs):
        for kind, loss in losses.items():
            named = f"{label}, {kind}" if label else kind
            _curve(ax, epoch, loss, k, len(runs), label=named, **LOOKS[kind])
        shown = [*losses.values()][-1]  # the validation loss, if there is one
        rings += [(epoch[at], shown[at]) for at in np.flatnonzero(epoch == best)]
    if rings:
        ax.plot(*zip(*rings, strict=True), "o", ms=13, mfc="none", mec="black", label="best epoch")
    _log_if_wide(ax, np.concatenate([loss for run in runs for loss in run[2].values()]))
    ax.set(xlabel="epoch", ylabel="mean loss")
    open_frame(ax)
    draw_legend(ax)
    return ax


def _losses(name: str, result: Any) -> tuple[np.ndarray, dict[str, np.ndarray], float]:
    """Return the epochs, the losses by their kind, and the best epoch, nan if there is none."""
    check_result(name, result)
    for field in ("loss", "epoch"):
        if field not in result:
            raise ValueError(f"{name} has no {field}: it must be one of minimize_minibatch")
    epoch = series(f"{name}.epoch", result.epoch)
    losses = {}
    for kind, field in LOSSES.items():
        if kind == "validation" and result.get(field) is None:
            continue
        loss = losses[kind] = series(f"{name}.{field}", result[field])
        if loss.shape != epoch.shape:
            raise ValueError(
                f"{name}.{field} must have the shape of epoch, {epoch.shape}, got {loss.shape}"
            )
    best = result.get("best_epoch")
    if best is None or (isinstance(best, float) and math.isnan(best)):  # no loss was a number
        return epoch, losses, math.nan
    return epoch, losses, check_number(f"{name}.best_epoch", best, 0.0)


def data_profile(table: Any, *, ax: Axes | None = None) -> Axes:
    """Draw the fraction of problems solved against the evaluations [1]_.

    Parameters
    ----------
    table : mapping of str to array_like, shape (n_problems,), or DataFrame
        For each solver (of a `pandas.DataFrame` its columns) the evaluations
        after which it solved each problem, divided by ``n + 1``; inf where it
        did not.
    ax : matplotlib.axes.Axes, optional
        Where to draw; the solvers then stand in a legend. Default: a new
        figure, with the solvers beside the ends of their lines.

    Returns
    -------
    matplotlib.axes.Axes
        What was drawn on.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    TypeError
        If `table` has no `keys`, or does not hold numbers.
    ValueError
        If it is empty, its arrays are not of one length, or a number is not
        positive.

    References
    ----------
    .. [1] J. J. Moré and S. M. Wild, "Benchmarking derivative-free optimization
       algorithms", SIAM Journal on Optimization 20 (2009), 172-191.

    Examples
    --------
    >>> import math
    >>> import rmsfast
    >>> table = {"fast": [2.0, 5.0, 30.0], "slow": [20.0, 70.0, math.inf]}
    >>> ax = rmsfast.plot.data_profile(table)
    >>> [text.get_text() for text in ax.texts]
    ['fast  100 %', 'slow  67 %']
    """
    if not callable(getattr(table, "keys", None)):  # which a DataFrame has, too
        raise TypeError(f"table must be a mapping or a DataFrame, got {type(table).__name__}")
    costs = {str(name): series(f"table[{name!r}]", table[name]) for name in table.keys()}
    if not costs:
        raise ValueError("table must hold at least one solver, got none")
    count = len(next(iter(costs.values())))
    for name, row in costs.items():
        if len(row) != count:
            raise ValueError(f"table[{name!r}] must have length {count}, got {len(row)}")
        if not (row > 0.0).all():
            raise ValueError(f"table[{name!r}] must be positive, got {row[~(row > 0.0)][0]}")
    finite = np.concatenate([row[np.isfinite(row)] for row in costs.values()])
    first, last = (finite.min(), finite.max()) if finite.size else (1.0, 10.0)
    first, last = first / 1.2, last * 1.2
    own = ax is None
    ax = new_axes(ax, WIDE)
    ends = []
    for k, (name, row) in enumerate(costs.items()):
        solved = np.sort(row[np.isfinite(row)])
        x = np.concatenate(([first], solved, [last]))
        y = np.append(np.arange(solved.size + 1), solved.size) / count
        look = {**style(k), "marker": ""}
        label = f"{name}  {100 * y[-1]:.0f} %"
        ax.step(x, y, where="post", **look, label=label)
        ends.append((y[-1], label, look["color"]))
    ax.set(xscale="log", xlim=(first, last), ylim=(0.0, 1.02))
    ax.set(xlabel="evaluations / (n + 1)", ylabel=f"fraction of {count} problems solved")
    open_frame(ax)
    if own:
        label_ends(ax, ends)
    else:
        draw_legend(ax)
    return ax
