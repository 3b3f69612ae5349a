"""Pictures of minimizations; they need matplotlib, which is imported when one is drawn.

Colours are told apart by colour-blind readers, and lines also by their dashes and markers, so that
a picture printed in grey can be read. Nothing is shown and no backend is chosen: that is left to
``matplotlib.pyplot.show()`` or ``ax.figure.savefig(...)``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numba.core.ccallback import CFunc
from scipy.optimize import OptimizeResult

from rmsfast.objective import check_value
from rmsfast.objectives import Classical
from rmsfast.options import check_number
from rmsfast.solver import finite_bounds

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation
    from matplotlib.axes import Axes
    from matplotlib.legend import Legend
    from matplotlib.lines import Line2D

__all__ = ["animate", "contours", "convergence", "data_profile", "learning_curve", "trajectory"]

# Style -------------------------------------------------------------------------------------------

# M. Okabe and K. Ito, "Color universal design", 2008, without the yellow
COLORS = {
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "grey": "#555555",
    "sky": "#56B4E9",
    "orange": "#E69F00",
}
DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1)),
    (0, (4, 1, 1, 1)),
    (0, (1, 1)),
    (0, (6, 2, 1, 2, 1, 2)),
)
MARKERS = "osD^vPXh"
GREYS = ("#ffffff", "#c0c0c0")  # of the lowest and the highest values
WIDTH = 1.6  # of a line, in points
SIZE = (6.4, 4.8)  # of a figure, in inches
WIDE = (7.5, 4.6)  # of one with names beside the lines

GRID = 251  # points of the contours along each variable
BANDS = 12  # between contours
MARGIN = 0.1  # around paths, in their extent
MARKED = 100  # longer paths get no mark at each iterate
FEW = 10  # curves of fewer points have a mark at each
DECADES = 2.0  # positive values that span more are drawn on a logarithmic scale
SAMPLES = 200  # along a line, to see what a legend would cover
FRAMES = 200  # of an animation, at most
INTERVAL, HOLD = 100.0, 1500.0  # milliseconds of a frame, and of the last one


def style(k: int) -> dict[str, Any]:
    """Return colour, dashes and marker of the k-th of several lines."""
    colors = [*COLORS.values()]
    return {
        "color": colors[k % len(colors)],
        "linestyle": DASHES[k % len(DASHES)],
        "linewidth": WIDTH,
        "marker": MARKERS[k % len(MARKERS)],
        "markersize": 5.0,
        "markeredgecolor": "white",
        "markeredgewidth": 0.5,
    }


def group_colors(count: int) -> np.ndarray:
    """Return a colour for each of `count` groups, shape ``(count, 4)``."""
    from matplotlib import colormaps
    from matplotlib.colors import to_rgba

    colors = [to_rgba(color) for name, color in COLORS.items() if name != "grey"]
    if count <= len(colors):
        return np.array(colors)[:count]
    return np.array(colormaps["viridis"](np.linspace(0.0, 1.0, count)))


def check_axes(ax: Any) -> None:
    """Check, before anything is computed, that it can be drawn.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    TypeError
        If `ax` is something else.
    """
    try:
        from matplotlib import axes
    except ImportError as error:
        raise ImportError('plot needs matplotlib: pip install "rmsfast[plot]"') from error
    if ax is not None and not isinstance(ax, axes.Axes):
        raise TypeError(f"ax must be a matplotlib Axes or None, got {type(ax).__name__}")


def new_axes(ax: Axes | None, size: tuple[float, float] = SIZE) -> Axes:
    """Return `ax`, or the axes of a new figure if it is None; checked by `check_axes`."""
    check_axes(ax)
    from matplotlib import pyplot

    return pyplot.subplots(figsize=size, layout="constrained")[1] if ax is None else ax


def open_frame(ax: Axes) -> None:
    """Draw a pale grid below the lines, and no frame above and to the right."""
    ax.grid(which="major", color="0.9")
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def label_ends(ax: Axes, ends: Iterable[tuple[float, str, str]], fontsize: float = 10.0) -> None:
    """Write names beside the right ends of lines, far enough apart to be read.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Its limits, scales and size must be what they will be.
    ends : iterable of (y, name, color)
        Where each line ends, what is written there, and in which colour.
    fontsize : float
        In points.
    """
    gap = 1.35 * fontsize / 72.0 / (ax.get_window_extent().height / ax.figure.dpi)
    ax.autoscale_view()
    right = ax.get_xlim()[1]
    scale = ax.transScale + ax.transLimits
    named = [(scale.transform((right, y))[1], name, color) for y, name, color in ends]
    named.sort(key=lambda end: -end[0])
    places = [height for height, _, _ in named]
    for k in range(1, len(places)):
        places[k] = min(places[k], places[k - 1] - gap)
    floor = 0.0
    for k in reversed(range(len(places))):  # back up, where they went below the axes
        places[k] = max(places[k], floor)
        floor = places[k] + gap
    for (height, name, color), place in zip(named, places, strict=True):
        beside: dict[str, Any] = {"transform": ax.transAxes, "color": color}
        ax.plot((1.01, 1.05), (height, place), linewidth=0.8, clip_on=False, **beside)
        ax.text(1.06, place, name, va="center", fontsize=fontsize, **beside)


def _legend(ax: Axes, *, outside: bool = False, title: str | None = None) -> Legend:
    """Draw a legend above the axes, or in the corner of them where it covers the least."""
    labels = ax.get_legend_handles_labels()[1]
    if outside:
        columns = max(1, min(6, len(labels), 60 // (6 + max(map(len, labels)))))
        above: dict[str, Any] = {
            "loc": "lower left",
            "bbox_to_anchor": (0.0, 1.0),
            "ncols": columns,
        }
        return ax.legend(**above, frameon=False, title=title, alignment="left")
    ax.autoscale_view()
    box = ax.legend(loc="upper right", title=title).get_window_extent()
    reach = np.divide(box.size, ax.get_window_extent().size) + 0.02
    points = np.concatenate([_sampled(ax, line) for line in ax.lines])
    corners: dict[Any, tuple[float, float]] = {
        "upper right": (1.0, 1.0),
        "upper left": (0.0, 1.0),
        "lower right": (1.0, 0.0),
        "lower left": (0.0, 0.0),
    }
    covered = [(abs(points - corner) < reach).all(axis=1).sum() for corner in corners.values()]
    return ax.legend(loc=[*corners][int(np.argmin(covered))], title=title, framealpha=0.9)


def _sampled(ax: Axes, line: Line2D) -> np.ndarray:
    """Return points along a line, in fractions of the axes."""
    with np.errstate(all="ignore"):  # what a logarithmic scale cannot show
        points = (ax.transData - ax.transAxes).transform(line.get_xydata())
    points = points[np.isfinite(points).all(axis=1)].clip(-1.0, 2.0)
    if line.get_linestyle() == "None" or len(points) == 0:
        return np.repeat(points, SAMPLES // 4, axis=0)  # marks, which count more
    along = np.append(0.0, np.cumsum(np.hypot(*np.diff(points, axis=0).T)))
    wanted = np.linspace(0.0, along[-1], SAMPLES)
    return np.stack([np.interp(wanted, along, side) for side in points.T], axis=1)


def _log_if_wide(ax: Axes, values: Iterable[np.ndarray]) -> None:
    """Make the scale of the ordinate logarithmic if the values are positive and span decades."""
    shown = np.concatenate([*values])
    shown = shown[np.isfinite(shown)]
    if shown.size and shown.min() > 0.0 and shown.max() > 10.0**DECADES * shown.min():
        ax.set_yscale("log")


# What the caller gives ---------------------------------------------------------------------------


def _labelled(results: Any, name: str) -> list[tuple[str, str, Any]]:
    """Return each result with its label, and the words by which an error calls it."""
    if not isinstance(results, OptimizeResult):
        results = getattr(results, "results", results)  # of a Comparison
    if isinstance(results, Mapping) and not isinstance(results, OptimizeResult):
        runs = [(str(key), f"{name}[{key!r}]", run) for key, run in results.items()]
    elif isinstance(results, (list, tuple)):
        runs = [(f"run {k + 1}", f"{name}[{k}]", run) for k, run in enumerate(results)]
    else:
        runs = [("", name, results)]
    if not runs:
        raise ValueError(f"{name} must hold at least one result, got {results!r}")
    return runs


def _iterates(name: str, result: Any) -> np.ndarray:
    """Return the iterates of a result, shape ``(k, n)``."""
    if not isinstance(result, OptimizeResult):
        raise TypeError(f"{name} must be an OptimizeResult, got {type(result).__name__}")
    if "allvecs" not in result:
        advice = "minimize with options={'return_all': True}"
        if "loss" in result:
            advice = "minimize_minibatch keeps none; plot.learning_curve draws its losses"
        raise ValueError(f"{name} has no allvecs: {advice}")
    path = _numbers(f"{name}.allvecs", result.allvecs)
    if path.ndim != 2 or path.size == 0:
        raise ValueError(f"{name}.allvecs must have shape (k, n), got shape {path.shape}")
    return path


def _values(fun: Any, points: Iterable[np.ndarray], args: Any) -> np.ndarray:
    """Return the values of `fun` at points; it may return its gradient beside them."""
    if not callable(fun) or isinstance(fun, CFunc):
        raise TypeError(f"fun must be callable as fun(x, *args), got {fun!r}")
    if not isinstance(args, tuple):
        args = (args,)
    values = []
    with np.errstate(all="ignore"):
        for x in points:
            value = fun(x.copy(), *args)
            values.append(check_value(value[0] if isinstance(value, (tuple, list)) else value))
    return np.array(values)


def _numbers(name: str, values: Any) -> np.ndarray:
    """Return real numbers as a new array of float64."""
    try:
        array = np.asarray(values)
    except ValueError:  # lists of several lengths
        array = np.asarray(None)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be an array of real numbers, got {values!r}")
    return array.astype(np.float64)


def _series(name: str, values: Any) -> np.ndarray:
    """Return real numbers of shape ``(k,)``, k > 0."""
    array = _numbers(name, values)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} must have shape (k,), k > 0, got shape {array.shape}")
    return array


def _known(fun: Any, n: int) -> Any:
    """Return the minimum of a function of `rmsfast.objectives` in `n` variables, else None."""
    known = isinstance(fun, Classical) and n in fun.sizes
    return fun.of_size(n).minimum if known else None


def lowest_known(fun: Any, n: int) -> float | None:
    """Return the lowest value of a function of `rmsfast.objectives` in `n` variables, if known."""
    known = _known(fun, n)
    return None if known is None or math.isnan(known.fun) else known.fun


# Contours and paths ------------------------------------------------------------------------------


def _levels(values: np.ndarray) -> np.ndarray:
    """Return levels of contours for steep and for flat functions; empty for a constant.

    They lie as ``low + (high - low) * t**p`` for equidistant ``t``, with `p` such that half of the
    picture lies below the middle one. The highest 2 % of the values lie above all.
    """
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        raise ValueError("fun must be finite somewhere within bounds, got no finite value")
    with np.errstate(over="ignore", invalid="ignore"):
        low, middle, high = np.quantile(finite, (0.0, 0.5, 0.98))
        extent = high - low
    if not 1e-300 < extent < math.inf:  # constant, or beyond what can be divided into bands
        return np.empty(0)
    power = -math.log2(np.clip((middle - low) / extent, 2.0**-5, 2.0**-0.5))
    levels = np.unique(low + extent * np.linspace(0.0, 1.0, BANDS + 1) ** power)
    units = 10.0 ** (np.floor(np.log10(np.diff(levels))) - 1.0)  # two digits of each distance
    lowest = np.floor(low / units[0]) * units[0]
    return np.unique(np.append(lowest, np.round(levels[1:] / units) * units))


def contours(
    fun: Any, bounds: Any, *, args: Any = (), filled: bool = True, ax: Axes | None = None
) -> Axes:
    """Draw the contours of a function of two variables.

    Parameters
    ----------
    fun : callable
        ``fun(x, *args) -> float``, or ``-> (float, gradient)`` as a
        `rmsfast.Objective` does.
    bounds : Bounds, sequence of pairs, or ndarray of shape (2, 2)
        What is shown, all finite.
    args : tuple, optional
        Further arguments of `fun`.
    filled : bool, optional
        Shade what lies between contours, the lowest values in white. Where
        `fun` is not finite the picture is hatched. A new figure has a bar with
        the values.
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
        If `bounds` are not those of two variables, infinite or of no extent, or
        `fun` is finite nowhere.

    Notes
    -----
    Contours are not equidistant: they lie the closer in value, the more of the
    picture has such values.

    Examples
    --------
    >>> import rmsfast
    >>> from rmsfast.objectives import himmelblau
    >>> ax = rmsfast.plot.contours(himmelblau, himmelblau.bounds)
    >>> ax.set_title("Himmelblau's function")
    Text(0.5, 1.0, "Himmelblau's function")
    """
    check_axes(ax)
    lower, upper = finite_bounds(bounds, 2)
    for k in range(2):
        if lower[k] == upper[k]:
            raise ValueError(f"bounds[{k}] must have an extent, got {lower[k]} and {upper[k]}")
    x, y = (np.linspace(low, high, GRID) for low, high in zip(lower, upper, strict=True))
    plane = np.stack(np.meshgrid(x, y), axis=-1)
    values = _values(fun, plane.reshape(-1, 2), args).reshape(GRID, GRID)
    levels = _levels(values)
    own = ax is None
    ax = new_axes(ax)
    from matplotlib.colors import BoundaryNorm, LinearSegmentedColormap

    finite = np.isfinite(values)
    shown = np.ma.masked_where(~finite, values)
    if levels.size and filled:
        greys = LinearSegmentedColormap.from_list("rmsfast", GREYS)
        norm = BoundaryNorm(levels, greys.N, extend="max")
        shades = ax.contourf(x, y, shown, levels, cmap=greys, norm=norm, extend="max")
        if own:
            bar = ax.figure.colorbar(shades, ax=ax, label="f", ticks=levels[::2], format="%g")
            bar.ax.minorticks_off()
    if levels.size:
        color, width = ("0.55", 0.6) if filled else ("0.2", 0.8)
        ax.contour(
            x, y, shown, levels[1:], colors=color, linewidths=width, linestyles="solid", zorder=1.5
        )
    if filled and not finite.all():
        ax.contourf(x, y, ~finite, [0.5, 1.5], colors="none", hatches=["////"])
    ax.set(xlim=(lower[0], upper[0]), ylim=(lower[1], upper[1]), xlabel="x[0]", ylabel="x[1]")
    return ax


class _Mover(NamedTuple):
    """A path, its line, and the mark at its end."""

    path: np.ndarray
    line: Line2D
    end: Line2D


def _around(points: np.ndarray) -> np.ndarray:
    """Return bounds around points, no side of them shorter than a quarter of the other."""
    points = points[np.isfinite(points).all(axis=1)]
    if len(points) == 0:
        raise ValueError("bounds must be given: no iterate is finite")
    low, high = points.min(axis=0), points.max(axis=0)
    extent = high - low
    extent = np.maximum(extent, 0.25 * extent.max()) if extent.any() else np.ones(2)
    center, half = 0.5 * (low + high), (0.5 + MARGIN) * extent
    return np.stack([center - half, center + half], axis=1)


def _minima(fun: Any, minimum: Any) -> np.ndarray:
    """Return the places of minima, shape ``(m, 2)``, given or known."""
    if minimum is None:
        known = _known(fun, 2)
        minimum = [] if known is None or known.x is None else known.x
    places = _numbers("minimum", minimum)
    if places.size and (places.ndim not in (1, 2) or places.shape[-1] != 2):
        raise ValueError(f"minimum must have shape (2,) or (m, 2), got shape {places.shape}")
    return places.reshape(-1, 2)


def _scene(
    fun: Any,
    results: Any,
    args: Any,
    bounds: Any,
    minimum: Any,
    ax: Axes | None,
    moving: bool = False,
) -> tuple[Axes, Legend, list[_Mover]]:
    """Draw contours, paths, and the marks on them; the legend counts iterations if `moving`."""
    runs = _labelled(results, "results")
    paths = [_iterates(name, run) for _, name, run in runs]
    for (_, name, _), path in zip(runs, paths, strict=True):
        if path.shape[1] != 2:
            raise ValueError(f"{name}.allvecs must have shape (k, 2), got shape {path.shape}")
    minima = _minima(fun, minimum)
    if bounds is None:
        bounds = _around(np.concatenate([*paths, minima]))
    own = ax is None
    ax = contours(fun, bounds, args=args, ax=ax)
    lines = []
    for k, ((label, _, _), path) in enumerate(zip(runs, paths, strict=True)):
        look = style(k) if len(path) <= MARKED else {**style(k), "marker": ""}
        lines += ax.plot(*path.T, **look, label=label or "path", zorder=3)

    def mark(points: np.ndarray, marker: str, size: float, color: Any, **look: Any) -> Line2D:
        edge: dict[str, Any] = {"markeredgecolor": "black", "markeredgewidth": 1.2, "linestyle": ""}
        edge |= {"markersize": size, "color": color}
        return ax.plot(*points.T, marker=marker, **edge, **look)[0]

    mark(np.array([path[0] for path in paths]), "o", 8.0, "white", zorder=5, label="start")
    mark(np.empty((0, 2)), "s", 8.0, "0.7", label="end")  # for the legend
    ends = [
        mark(path[-1:], "s", 8.0, line.get_color(), zorder=6)
        for path, line in zip(paths, lines, strict=True)
    ]
    if len(minima):
        mark(minima, "*", 16.0, "white", zorder=4, label="minimum")
    legend = _legend(ax, outside=own, title="iteration 0" if moving else None)
    return ax, legend, [_Mover(*mover) for mover in zip(paths, lines, ends, strict=True)]


def trajectory(
    fun: Any,
    results: Any,
    *,
    args: Any = (),
    bounds: Any = None,
    minimum: Any = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the paths of minimizations in two variables over the contours.

    Parameters
    ----------
    fun : callable
        ``fun(x, *args) -> float``, or ``-> (float, gradient)`` as a
        `rmsfast.Objective` does.
    results : OptimizeResult, list of them, mapping of label to one, or Comparison
        Each with `allvecs`: minimize with ``options={"return_all": True}``, or
        by `rmsfast.compare`. `rmsfast.minimize_minibatch` keeps none: draw
        ``OptimizeResult(allvecs=points)`` of points that a callback collects.
    args : tuple, optional
        Further arguments of `fun`.
    bounds : Bounds, sequence of pairs, or ndarray of shape (2, 2), optional
        What is shown. Default: all iterates and minima, and a margin.
    minimum : array_like, shape (2,) or (m, 2), optional
        Where the minimum is, or the minima are. Default: where it is known, for
        a function of `rmsfast.objectives`.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure, with a bar of the values.

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
        If a result has no `allvecs` or not two variables, there is none,
        `bounds` are infinite or of no extent, or `fun` is finite nowhere.

    Notes
    -----
    A path of up to 100 iterates has a mark at each of them. For the contours
    see `contours`.

    Examples
    --------
    >>> from scipy.optimize import minimize
    >>> import rmsfast
    >>> from rmsfast.objectives import rosenbrock
    >>> options = {"return_all": True}
    >>> results = {
    ...     method: minimize(rosenbrock, [-1.2, 1.0], jac=True, method=solver, options=options)
    ...     for method, solver in [("rmsfast", rmsfast.rmsprop), ("CG", "CG")]
    ... }
    >>> ax = rmsfast.plot.trajectory(rosenbrock, results)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['rmsfast', 'CG', 'start', 'end', 'minimum']
    """
    return _scene(fun, results, args, bounds, minimum, ax)[0]


def animate(
    fun: Any,
    results: Any,
    *,
    args: Any = (),
    bounds: Any = None,
    minimum: Any = None,
    interval: float | None = None,
    ax: Axes | None = None,
) -> FuncAnimation:
    """Draw the paths of minimizations in two variables, iteration by iteration.

    Parameters
    ----------
    fun, results, args, bounds, minimum
        As in `trajectory`.
    interval : float, optional
        Milliseconds between frames, at least 10, the unit of GIF. Default: 100.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.

    Returns
    -------
    matplotlib.animation.FuncAnimation
        Keep it as long as it runs. Its ``save("path.gif", writer="pillow")``
        writes a file.

    Raises
    ------
    ImportError, TypeError, ValueError
        As `trajectory` does, and if `interval` is no number of at least 10.

    Notes
    -----
    There are at most 200 frames: of longer paths each shows several iterations
    more. The last one stays for one and a half seconds.

    Examples
    --------
    >>> import os, tempfile
    >>> from scipy.optimize import minimize
    >>> import rmsfast
    >>> from rmsfast.objectives import booth
    >>> options = {"return_all": True}
    >>> result = minimize(booth, booth.x0, jac=True, method=rmsfast.rmsprop, options=options)
    >>> animation = rmsfast.plot.animate(booth, result, interval=200)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "booth.gif")
    ...     animation.save(path, writer="pillow")
    ...     os.path.getsize(path) > 1000
    True
    """
    pause = INTERVAL if interval is None else check_number("interval", interval, 10.0)
    pictured, legend, movers = _scene(fun, results, args, bounds, minimum, ax, moving=True)
    from matplotlib.animation import FuncAnimation

    last = max(len(mover.path) for mover in movers) - 1
    frames = [*range(0, last, math.ceil((last + 1) / FRAMES)), *[last] * math.ceil(HOLD / pause)]

    def draw(iteration: int) -> None:
        legend.get_title().set_text(f"iteration {iteration}")
        for path, line, end in movers:
            walked = path[: iteration + 1]
            line.set_data(*walked.T)
            end.set_data(*walked[-1:].T)

    figure: Any = pictured.figure
    return FuncAnimation(figure, draw, frames, interval=pause, cache_frame_data=False)


# Curves ------------------------------------------------------------------------------------------


def _curve(ax: Axes, x: np.ndarray, y: np.ndarray, k: int, count: int, **look: Any) -> None:
    """Draw the k-th of `count` curves, with some marks, beside those of the others."""
    few = np.count_nonzero(np.isfinite(y)) < FEW
    marked = None if few else (0.1 * k / count, 0.1)  # all, or by parts of the diagonal
    (line,) = ax.plot(x, y, **{**style(k), **look}, markevery=marked)
    line.sticky_edges.x.append(0.0)  # no margin on the left of 0


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
    runs = _labelled(results, "results")
    curves, lowest = [], []
    for _, name, run in runs:
        known = minimum
        if isinstance(run, OptimizeResult):
            path = _iterates(name, run)
            if fun is None:
                raise ValueError(f"fun must be given: {name} holds iterates, not their values")
            curves.append(_values(fun, path, args))
            if known is None:
                known = lowest_known(fun, path.shape[1])
        else:
            curves.append(_series(name, run))
        lowest.append(math.nan if known is None else known)
    ax = new_axes(ax)
    from matplotlib.ticker import MaxNLocator

    if distances := bool(np.isfinite(lowest).all()):
        curves = [abs(curve - low) for curve, low in zip(curves, lowest, strict=True)]
    for k, ((label, _, _), curve) in enumerate(zip(runs, curves, strict=True)):
        named = {"label": label} if label else {}
        _curve(ax, np.arange(len(curve)), curve, k, len(runs), **named)
    positive = np.concatenate([curve[(curve > 0.0) & (curve < math.inf)] for curve in curves])
    if distances and positive.size:
        ax.set_yscale("log")
        if any((curve == 0.0).any() for curve in curves):
            ax.set_ylim(bottom=positive.min() / 2.0)
    else:
        _log_if_wide(ax, curves)
    lengths = [len(curve) for curve in curves]
    if max(lengths) > 10 * min(lengths):
        ax.set_xscale("symlog", linthresh=1.0)
    else:
        ax.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
    ax.set(xlabel="iteration", ylabel="$|f - f^*|$" if distances else "f")
    open_frame(ax)
    if any(label for label, _, _ in runs):
        _legend(ax)
    return ax


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
    runs = [(label, *_losses(name, run)) for label, name, run in _labelled(result, "result")]
    ax = new_axes(ax)
    rings = []
    for k, (label, epoch, losses, best) in enumerate(runs):
        for kind, loss in losses.items():
            dashed = {"linestyle": DASHES[1], "markerfacecolor": "white", "markeredgecolor": None}
            look = dashed if kind == "validation" else {"linestyle": DASHES[0]}
            _curve(ax, epoch, loss, k, len(runs), label=f"{label}, {kind}".lstrip(", "), **look)
        shown = [*losses.values()][-1]
        rings += [(epoch[at], shown[at]) for at in np.flatnonzero(epoch == best)]
    if rings:
        ring: dict[str, Any] = {
            "marker": "o",
            "ms": 13,
            "mfc": "none",
            "mec": "black",
            "linestyle": "",
        }
        ax.plot(*zip(*rings, strict=True), **ring, label="best epoch")
    _log_if_wide(ax, [loss for _, _, losses, _ in runs for loss in losses.values()])
    ax.set(xlabel="epoch", ylabel="mean loss")
    open_frame(ax)
    _legend(ax)
    return ax


def _losses(name: str, result: Any) -> tuple[np.ndarray, dict[str, np.ndarray], float]:
    """Return the epochs, the losses by their kind, and the best epoch, nan if there is none."""
    if not isinstance(result, OptimizeResult):
        raise TypeError(f"{name} must be an OptimizeResult, got {type(result).__name__}")
    for field in ("loss", "epoch"):
        if field not in result:
            raise ValueError(f"{name} has no {field}: it must be one of minimize_minibatch")
    epoch = _series(f"{name}.epoch", result.epoch)
    losses = {"training": _series(f"{name}.loss", result.loss)}
    if result.get("validation_loss") is not None:
        losses["validation"] = _series(f"{name}.validation_loss", result.validation_loss)
    for field, loss in zip(("loss", "validation_loss"), losses.values(), strict=False):
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
    costs = {str(name): _series(f"table[{name!r}]", table[name]) for name in table.keys()}
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
        _legend(ax)
    return ax
