"""How pictures look: colours, dashes, marks, axes, and names beside lines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
    from matplotlib.colors import to_rgba_array

    colors = [color for name, color in COLORS.items() if name != "grey"]
    if count <= len(colors):
        return to_rgba_array(colors[:count])
    return colormaps["viridis"](np.linspace(0.0, 1.0, count))


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
        raise ImportError('plot needs matplotlib: pip install ".[plot]"') from error
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


def draw_legend(ax: Axes, *, above: bool = False) -> None:
    """Draw a legend where it covers the least of the axes, or above them."""
    if not above:
        ax.autoscale_view()  # what it would cover depends on the limits
        ax.legend(loc="best", framealpha=0.9)
        return
    labels = ax.get_legend_handles_labels()[1]
    columns = max(1, min(6, len(labels), 60 // (6 + max(map(len, labels)))))
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0)}
    ax.legend(**place, ncols=columns, frameon=False, alignment="left")
