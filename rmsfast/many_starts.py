"""Many starts: the minima of one function, ranked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import Bounds, OptimizeResult

from rmsfast import plot
from rmsfast.core import status
from rmsfast.many import PerProblem, minimize_many
from rmsfast.options import MultistartOptions, check_count
from rmsfast.solver import finite_bounds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROWS = 10  # minima that are printed
COLUMNS = 6  # variables of each
MARKS = 20  # minima that are numbered in a picture


def starts(bounds: Any, n: int, *, method: str | None = None, rng: Any = None) -> np.ndarray:
    """Draw points within bounds, to start from.

    Parameters
    ----------
    bounds : Bounds, sequence of pairs, or ndarray of shape (d, 2)
        Bounds on the variables, all finite. A variable whose bounds are equal
        stays there.
    n : int
        Number of points, at least 1.
    method : {"sobol", "lhs", "uniform"}, optional
        Scrambled points of Sobol, which fill the box most evenly; a Latin
        hypercube, one point in each of `n` slices of every variable; or points
        drawn independently. Default: "sobol".
    rng : int, Generator or None, optional
        As SciPy's `rng`: the same int gives the same points.

    Returns
    -------
    ndarray, shape (n, d)
        float32 if the bounds are arrays of float32, else float64.

    Raises
    ------
    TypeError
        If an argument is of the wrong type.
    ValueError
        If a bound is infinite or exceeds its partner, `n` is below 1, there is
        no such method, or Sobol's points do not have that many variables.

    Notes
    -----
    Sobol's points are balanced where `n` is a power of two. For other `n` they
    are the first `n` of the next power of two, which are the points that
    `scipy.stats.qmc.Sobol` draws with a warning.

    Examples
    --------
    >>> import rmsfast
    >>> rmsfast.starts([(0.0, 1.0), (10.0, 20.0)], 4, method="lhs", rng=1).round(2)
    array([[ 0.33, 17.06],
           [ 0.59, 11.7 ],
           [ 0.98, 17.97],
           [ 0.21, 12.89]])
    """
    options = _options(method=method)
    lower, upper = finite_bounds(bounds)
    return _draw(lower, upper, check_count("n", n, 1), options.method, rng)


class MultistartResult(OptimizeResult):
    """What `multistart` found: the best minimum, and all others in order.

    Attributes
    ----------
    x, jac : ndarray, shape (d,)
        The best minimum and the gradient there; or the best point of the runs
        that did not end well, where it is better and not at this minimum.
    fun : float
        The value there.
    success, status : bool, int
        Whether the run that found `x` ended well, and why it ended.
    message : str
        How many minima there are and, if not `success`, why the run ended.
    nit, nfev, njev : int
        Iterations, calls of the objective and of its gradient, of all runs.
    index : int
        The run that found `x`.
    minima : ndarray, shape (m, d)
        All minima, the best first.
    minima_fun : ndarray, shape (m,)
        The values there.
    hits : ndarray of int, shape (m,)
        Number of runs that ended in each.
    labels : ndarray of int, shape (n_starts,)
        The row of `minima` in which each run ended, -1 if it did not end well.
    starts : ndarray, shape (n_starts, d)
        Where the runs started.
    runs : ManyResult
        All runs.

    Examples
    --------
    >>> import rmsfast
    >>> from rmsfast.objectives import styblinski_tang
    >>> rmsfast.multistart(styblinski_tang, styblinski_tang.bounds, 64, rng=1)
    4 minima from 64 starts
     rank           fun    hits  x
        1      -78.3323      17  [-2.90353 -2.90353]
        2      -64.1956      16  [-2.90353 2.7468]
        3      -64.1956      16  [2.7468 -2.90353]
        4      -50.0589      15  [2.7468 2.7468]
    """

    @property
    def _extremum(self) -> str:
        return "maxim" if self.runs.maximize else "minim"

    def __repr__(self) -> str:
        lines = [self._summary]
        if len(self.minima):
            lines.append(f" rank {'fun':>13} {'hits':>7}  x")
        for rank in range(min(ROWS, len(self.minima))):
            fun, hits = self.minima_fun[rank], self.hits[rank]
            lines.append(f"{rank + 1:5d} {fun:13.6g} {hits:7d}  {self._place(rank)}")
        if len(self.minima) > ROWS:
            rest = self.hits[ROWS:]
            lines.append(f"  and {rest.size} more, with {rest.sum()} hits")
        failed = self.labels < 0
        if failed.any():
            runs = "1 run" if failed.sum() == 1 else f"{failed.sum()} runs"
            better = f", one of them with the best value, {self.fun:.6g}"
            lines.append(f"{runs} did not end well{'' if self.success else better}")
            codes, counts = np.unique(self.runs.status[failed], return_counts=True)
            for code, many in zip(codes, counts, strict=True):
                lines.append(f"  status {code:2d}: {many:>7d}  {status.MESSAGE[int(code)]}")
        return "\n".join(lines)

    @property
    def _summary(self) -> str:
        ending = "um" if len(self.minima) == 1 else "a"
        starts = "1 start" if len(self.starts) == 1 else f"{len(self.starts)} starts"
        return f"{len(self.minima)} {self._extremum}{ending} from {starts}"

    def _place(self, rank: int) -> str:
        """Write a minimum, with 0 for what is 0 but for rounding."""
        x = self.minima[rank]
        x = np.where(abs(x) < 1e-6 * abs(self.starts).max(axis=0), 0.0, x)
        dots = "" if x.size <= COLUMNS else " ..."
        return "[" + " ".join(f"{value:.6g}" for value in x[:COLUMNS]) + dots + "]"

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the basins of two variables, or the values of the minima.

        Of two variables each start is a dot in the colour of the minimum that
        its run ended in (a grey cross if it did not end well), and the minima
        are circles with their rank; a red star is the best value, where it is
        not that of a minimum. Otherwise the values are drawn over the rank,
        with the number of hits. The first 20 minima are numbered.

        Parameters
        ----------
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
            If `ax` is no Axes.
        """
        ax = plot.new_axes(ax)
        colors = plot.group_colors(len(self.minima))
        if self.starts.shape[1] == 2:
            self._plot_basins(ax, colors)
        else:
            self._plot_values(ax, colors)
        return ax

    def _plot_basins(self, ax: Axes, colors: np.ndarray) -> None:
        """Draw starts and minima in the plane."""
        ended = self.labels >= 0
        area = float(np.clip(130000.0 / len(self.starts), 3.0, 40.0))
        ax.scatter(
            *self.starts[ended].T,
            c=colors[self.labels[ended]],
            s=area,
            linewidths=0.0,
            label="starts",
        )
        if not ended.all():
            ax.scatter(*self.starts[~ended].T, c="0.5", s=area, marker="x", label="not ended well")
        ax.scatter(
            *self.minima[MARKS:].T, c="white", edgecolors="black", s=20.0, linewidths=1.0, zorder=3
        )
        ax.scatter(
            *self.minima[:MARKS].T,
            c="white",
            edgecolors="black",
            s=200.0,
            linewidths=1.5,
            zorder=4,
            label=f"{self._extremum}a",
        )
        for rank, place in enumerate(self.minima[:MARKS], start=1):
            ax.annotate(str(rank), place, ha="center", va="center_baseline", fontsize=9, zorder=5)
        if not self.success:
            ax.scatter(*self.x, c="red", s=150.0, marker="*", zorder=6, label="best value")
        ax.set(xlabel="x[0]", ylabel="x[1]")

    def _plot_values(self, ax: Axes, colors: np.ndarray) -> None:
        """Draw the values over the rank."""
        from matplotlib.ticker import MaxNLocator

        ranks = np.arange(1, len(self.minima) + 1)
        area = 20.0 + 180.0 * self.hits / max(1, self.hits.max(initial=1))
        ax.scatter(
            ranks, self.minima_fun, c=colors, s=area, edgecolors="black", linewidths=0.5, zorder=3
        )
        for rank in ranks[:MARKS]:
            ax.annotate(
                str(self.hits[rank - 1]),
                (rank, self.minima_fun[rank - 1]),
                xytext=(0.0, 9.0),
                textcoords="offset points",
                ha="center",
                fontsize=9,
            )
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.margins(y=0.12)
        ax.grid(axis="y", alpha=0.3)
        ax.set(xlabel=f"rank of the {self._extremum}um (its hits as number and area)", ylabel="fun")


def multistart(
    fun: Any,
    bounds: Any,
    n_starts: int | None = None,
    args: Any = (),
    *,
    jac: Any = None,
    method: str | None = None,
    rng: Any = None,
    x0s: Any = None,
    cluster_tol: float | None = None,
    workers: Any = None,
    progress: bool | None = None,
    **options: Any,
) -> MultistartResult:
    """Find the minima of a function within bounds, by descending from many starts.

    Parameters
    ----------
    fun : callable, Objective, CFunc or LowLevelCallable
        The objective, in any form that `rmsfast.rmsprop` takes.
    bounds : Bounds, sequence of pairs, or ndarray of shape (d, 2)
        Bounds on the variables, all finite; all evaluations keep them.
    n_starts : int, optional
        Number of starts. Must be given, unless `x0s` is.
    args : tuple, optional
        Further arguments of `fun` and `jac`.
    jac : callable, bool or None, optional
        As in `rmsfast.rmsprop`.
    method : {"sobol", "lhs", "uniform"}, optional
        How the starts are drawn; see `rmsfast.starts`. Default: "sobol".
    rng : int, Generator or None, optional
        As SciPy's `rng`: the same int gives the same starts, and the same
        result to the last bit.
    x0s : array_like, shape (n_starts, d), optional
        Starts of one's own, instead of drawn ones.
    cluster_tol : float, optional
        How far apart two ends of the same minimum may be, in widths of the
        bounds; see Notes. Default: 0.001.
    workers, progress : optional
        As in `rmsfast.minimize_many`.
    **options
        Further ones of `rmsfast.minimize_many`, such as `gtol`.

    Returns
    -------
    MultistartResult
        `x`, `fun` and `jac` of the best minimum; `minima`, `minima_fun` and
        `hits` of all, the best first; `labels`, which start led to which;
        `starts` and `runs`. Printed it is a table; ``.plot()`` draws it.

    Raises
    ------
    TypeError
        If an argument or option is of the wrong type.
    ValueError
        If an argument or option is outside its bounds, a bound is infinite, or
        both or none of `n_starts` and `x0s` are given.
    Exception
        What the objective raised, if it raised for every start.

    See Also
    --------
    rmsfast.minimize_many : the runs, without what is made of them here.

    Notes
    -----
    Ends are told apart by the leader algorithm [1]_: in the order of their
    values, an end that is within `cluster_tol` of no minimum is a new minimum,
    and takes all ends within `cluster_tol` of it that have none yet. The
    distance is the largest difference of a variable, divided by the width of
    its bounds. So minima are more than `cluster_tol` apart, each is the lowest
    of its ends, and the best is the lowest of all. Minima closer together are
    taken for one; a valley of equal values, or a plain where the gradient is
    within `gtol`, counts as many. Minima of equal value come in the order of
    their rounding errors.

    Runs that did not end well belong to no minimum: a run out of iterations may
    be anywhere, and one that ends at a kink, as at the minimum of Ackley's
    function, cannot tell a minimum. They are counted; and should one have seen
    a better value than the best minimum, further than `cluster_tol` from it,
    then `x` is that point and `success` is False.

    With ``maximize=True``, minima are maxima.

    References
    ----------
    .. [1] J. A. Hartigan, "Clustering Algorithms", Wiley, 1975, chapter 3.

    Examples
    --------
    >>> import rmsfast
    >>> from rmsfast.objectives import himmelblau
    >>> result = rmsfast.multistart(himmelblau, himmelblau.bounds, 100, rng=1)
    >>> result.minima[result.minima[:, 0].argsort()].round(4) + 0.0
    array([[-3.7793, -3.2832],
           [-2.8051,  3.1313],
           [ 3.    ,  2.    ],
           [ 3.5844, -1.8481]])
    >>> int(result.hits.sum())
    100
    """
    own = _options(method=method, cluster_tol=cluster_tol)
    if isinstance(args, PerProblem) or (
        isinstance(args, tuple) and any(isinstance(value, PerProblem) for value in args)
    ):
        raise TypeError("args must be the same for all starts, got a PerProblem")
    if x0s is None:
        if n_starts is None:
            raise ValueError("n_starts must be given, or x0s")
        lower, upper = finite_bounds(bounds)
        count = check_count("n_starts", n_starts, 1)
        x0s = _draw(lower, upper, count, own.method, rng)
    else:
        for name, value in (("n_starts", n_starts), ("method", method), ("rng", rng)):
            if value is not None:
                raise ValueError(f"{name} is for starts that are drawn: give it or x0s, not both")
        if np.ndim(x0s) != 2 or len(x0s) == 0:
            raise ValueError(f"x0s must have shape (n_starts, d), got shape {np.shape(x0s)}")
        lower, upper = finite_bounds(bounds, np.shape(x0s)[1])
    if progress is not None:
        options["progress"] = progress
    runs = minimize_many(
        fun, x0s, args, jac=jac, bounds=Bounds(lower, upper), workers=workers, **options
    )
    width = np.where(upper > lower, upper - lower, 1.0)
    scaled, values = runs.x / width, -runs.fun if runs.maximize else runs.fun
    ended = np.flatnonzero(runs.success)
    leaders, groups = _cluster(scaled[ended], values[ended], own.cluster_tol)
    leaders = ended[leaders]
    labels = np.full(len(values), -1)
    labels[ended] = groups

    best = 0 if np.isnan(values).all() else int(np.nanargmin(values))
    if len(leaders):
        far = abs(scaled[best] - scaled[leaders[0]]).max() > own.cluster_tol
        if not (far and values[best] < values[leaders[0]]):
            best = int(leaders[0])
    result = MultistartResult(
        x=runs.x[best].copy(),
        fun=runs.fun[best],
        jac=runs.jac[best].copy(),
        nit=int(runs.nit.sum()),
        nfev=int(runs.nfev.sum()),
        njev=int(runs.njev.sum()),
        status=int(runs.status[best]),
        success=bool(runs.success[best]),
        index=best,
        minima=runs.x[leaders],
        minima_fun=runs.fun[leaders],
        hits=np.bincount(groups, minlength=len(leaders)),
        labels=labels,
        starts=np.array(x0s, runs.x.dtype),
        runs=runs,
    )
    result.message = result._summary + "."
    if not result.success:
        which = "The best value is that of a run that did not end well"
        result.message += f" {which if len(leaders) else 'No run ended well'}: {runs.message[best]}"
    return result


def _cluster(x: np.ndarray, values: np.ndarray, tol: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest end of each cluster, in order, and the cluster of each end."""
    labels = np.full(len(x), -1)
    leaders: list[int] = []
    if len(x) == 0:
        return np.empty(0, int), labels
    from scipy.spatial import KDTree

    tree = KDTree(x)
    for k in np.argsort(values, kind="stable"):
        if labels[k] < 0:
            near = np.array(tree.query_ball_point(x[k], tol, p=np.inf))
            labels[near[labels[near] < 0]] = len(leaders)
            leaders.append(int(k))
    return np.array(leaders), labels


def _options(**given: Any) -> MultistartOptions:
    """Return the options, checked; None is not given."""
    return MultistartOptions(**{name: value for name, value in given.items() if value is not None})


def _draw(lower: np.ndarray, upper: np.ndarray, n: int, method: str, rng: Any) -> np.ndarray:
    """Draw `n` points between the bounds."""
    d = len(lower)
    try:
        generator = np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"rng must be None, an int of at least 0 or a numpy Generator, got {rng!r}"
        ) from None
    from scipy.stats import qmc  # 0.3 s, which the import of rmsfast should not take

    # qmc gets rng as it came, not the generator: SciPy's own points for the same rng
    if method == "uniform":
        points = generator.random((n, d))
    elif method == "lhs":
        points = qmc.LatinHypercube(d, rng=rng).random(n)
    elif d > qmc.Sobol.MAXDIM:
        raise ValueError(
            f"method='sobol' has at most {qmc.Sobol.MAXDIM} variables, got {d}: use 'lhs'"
        )
    else:
        # random(n) warns where n is no power of two; the filters of warnings are global, so
        # that to silence it is not safe in threads. These are the same points.
        points = qmc.Sobol(d, rng=rng).random_base2((n - 1).bit_length())[:n]
    # as qmc.scale, which does not take equal bounds; rounding may lead outside
    return np.clip((points * (upper - lower) + lower).astype(lower.dtype), lower, upper)
