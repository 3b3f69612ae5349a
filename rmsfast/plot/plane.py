"""Functions of two variables: contours, the paths of minimizations over them, and animations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from rmsfast.options import check_number
from rmsfast.plot.given import iterates, known_minimum, labelled, numbers, values_at
from rmsfast.plot.look import GREYS, check_axes, draw_legend, new_axes, style
from rmsfast.solver import finite_bounds

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D


GRID = 251  # points of the contours along each variable
BANDS = 12  # between contours
MARGIN = 0.1  # around paths, in their extent
MARKED = 100  # longer paths get no mark at each iterate
FRAMES = 200  # of an animation, at most
INTERVAL, HOLD = 100.0, 1500.0  # milliseconds of a frame, and of the last one


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
    values = values_at(fun, plane.reshape(-1, 2), args).reshape(GRID, GRID)
    levels = _levels(values)
    own = ax is None
    ax = new_axes(ax)
    from matplotlib.colors import LinearSegmentedColormap

    if levels.size and filled:
        greys = LinearSegmentedColormap.from_list("rmsfast", GREYS, levels.size)
        shades = ax.contourf(x, y, values, levels, colors=greys(range(levels.size)), extend="max")
        if own:
            bar = ax.figure.colorbar(shades, ax=ax, label="f", ticks=levels[::2], format="%g")
            bar.ax.minorticks_off()
    if levels.size:
        color, width = ("0.55", 0.6) if filled else ("0.2", 0.8)
        look: Any = {"colors": color, "linewidths": width, "linestyles": "solid"}
        ax.contour(x, y, values, levels[1:], **look, zorder=1.5)
    finite = np.isfinite(values)
    if filled and not finite.all():
        ax.contourf(x, y, ~finite, [0.5, 1.5], colors="none", hatches=["////"])
    ax.set(xlim=(lower[0], upper[0]), ylim=(lower[1], upper[1]), xlabel="x[0]", ylabel="x[1]")
    return ax


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
        known = known_minimum(fun, 2)
        minimum = [] if known is None or known.x is None else known.x
    places = numbers("minimum", minimum)
    if places.size and (places.ndim not in (1, 2) or places.shape[-1] != 2):
        raise ValueError(f"minimum must have shape (2,) or (m, 2), got shape {places.shape}")
    return places.reshape(-1, 2)


def _mark(
    ax: Axes, points: np.ndarray, marker: str, color: Any, size: float = 8.0, **look: Any
) -> Line2D:
    """Draw marks with a black edge."""
    look |= {"markersize": size, "markeredgecolor": "black", "markeredgewidth": 1.2}
    return ax.plot(*points.T, marker, color=color, **look)[0]


def _scene(
    fun: Any, results: Any, args: Any, bounds: Any, minimum: Any, ax: Axes | None
) -> tuple[Axes, list[tuple[np.ndarray, Line2D, Line2D]]]:
    """Draw contours, paths, and marks; return each path with its line and the mark at its end."""
    runs = labelled(results, "results")
    paths = [iterates(name, run) for _, name, run in runs]
    for (_, name, _), path in zip(runs, paths, strict=True):
        if path.shape[1] != 2:
            raise ValueError(f"{name}.allvecs must have shape (k, 2), got shape {path.shape}")
    minima = _minima(fun, minimum)
    if bounds is None:
        bounds = _around(np.concatenate([*paths, minima]))
    own = ax is None
    ax = contours(fun, bounds, args=args, ax=ax)
    movers = []
    for k, ((label, _, _), path) in enumerate(zip(runs, paths, strict=True)):
        look = style(k) if len(path) <= MARKED else {**style(k), "marker": ""}
        (line,) = ax.plot(*path.T, **look, label=label or "path", zorder=3)
        movers.append((path, line, _mark(ax, path[-1:], "s", look["color"], zorder=6)))
    _mark(ax, np.array([path[0] for path in paths]), "o", "white", zorder=5, label="start")
    _mark(ax, np.empty((0, 2)), "s", "0.7", label="end")  # for the legend
    if len(minima):
        _mark(ax, minima, "*", "white", 16.0, zorder=4, label="minimum")
    draw_legend(ax, above=own)
    return ax, movers


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
    pictured, movers = _scene(fun, results, args, bounds, minimum, ax)
    from matplotlib.animation import FuncAnimation

    last = max(len(path) for path, _, _ in movers) - 1
    figure: Any = pictured.figure
    legend: Any = pictured.get_legend()
    legend.set_title(f"iteration {last}")  # the widest
    if ax is not None:  # else the best place would be looked for in each frame
        figure.draw_without_rendering()
        box = legend.get_window_extent().transformed(ax.transAxes.inverted())
        legend.set_loc((box.x0, box.y0))
    frames = [*range(0, last, math.ceil((last + 1) / FRAMES)), *[last] * math.ceil(HOLD / pause)]

    def draw(iteration: int) -> None:
        legend.get_title().set_text(f"iteration {iteration}")
        for path, line, end in movers:
            walked = path[: iteration + 1]
            line.set_data(*walked.T)
            end.set_data(*walked[-1:].T)

    return FuncAnimation(figure, draw, frames, interval=pause, cache_frame_data=False)
