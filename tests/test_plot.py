"""Pictures: what is drawn, how it looks, and what is said to bad input."""

import math
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import OptimizeResult, minimize

import rmsfast
from rmsfast import objectives, plot
from rmsfast.objectives import booth, rosenbrock

pytestmark = pytest.mark.usefixtures("pyplot")
NAN, INF = math.nan, math.inf
BASELINE = Path(__file__).parent / "baseline"
TOLERANCE = 0.5  # root mean square over pixels and colours, of 255


def run(fun, x0, method=rmsfast.rmsprop, **options):
    options = {"return_all": True, **options}
    return minimize(fun, x0, jac=True, method=method, options=options)


def walk(*points):
    return OptimizeResult(allvecs=[np.array(point, float) for point in points])


def valley(x):
    """That of Dive into Deep Learning."""
    return 0.1 * x[0] ** 2 + 2.0 * x[1] ** 2


def well(x, depth=1.0):
    """Finite for x[0] > 0 and x[1] < 1."""
    return depth * (x[0] - np.log(x[0]) + x[1] ** 2 - np.log(1.0 - x[1]))


# Results made by hand, so that pictures depend on no solver
TURNS = np.linspace(0.0, 3.0 * np.pi, 25)
PATHS = {
    "spiral": walk(*np.stack([np.cos(TURNS), np.sin(TURNS)], 1) * np.exp(-TURNS / 4)[:, None]),
    "straight": walk((-1.0, -0.8), (-0.6, -0.5), (-0.2, -0.2), (0.4, 0.1)),
}
EPOCH = np.arange(1.0, 31.0)
LEARNED = {
    name: OptimizeResult(
        loss=3.0 * np.exp(-EPOCH / pace) + 0.1,
        validation_loss=3.0 * np.exp(-EPOCH / pace) + 0.15 + 0.01 * EPOCH,
        epoch=EPOCH,
        seconds=np.full(30, 0.1),
        best_epoch=best,
    )
    for name, pace, best in [("fast", 4.0, 17.0), ("slow", 9.0, 24.0)]
}
PROFILE = {
    "best": [1.0, 2.0, 3.0, 8.0, 20.0],
    "other": [2.0, 3.0, 4.0, 5.0, INF],
    "worst": [10.0, 40.0, INF, INF, INF],
}


def lines(ax):
    """Labelled lines of a picture."""
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


# How pictures look -------------------------------------------------------------------------------

PICTURES = {
    "trajectory": lambda: plot.trajectory(valley, PATHS, minimum=[0.0, 0.0]),
    "nonfinite": lambda: plot.trajectory(
        well, walk((3.0, 0.5), (1.0, 0.5), (1.0, -0.4)), bounds=[(-1.0, 4.0), (-2.0, 2.0)]
    ),
    "contours": lambda: plot.contours(rosenbrock, [(-2.0, 2.0), (-1.0, 3.0)], filled=False),
    "convergence": lambda: plot.convergence(
        {"linear": 0.5 ** np.arange(30), "slow": 1.0 / np.arange(1.0, 61.0)}, minimum=0.0
    ),
    "learning_curve": lambda: plot.learning_curve(LEARNED),
    "data_profile": lambda: plot.data_profile(PROFILE),
}
each_picture = pytest.mark.parametrize("name", PICTURES)


def paint(ax, path):
    """Write a picture without what depends on fonts: text, legend, layout."""
    from matplotlib.testing.decorators import remove_ticks_and_titles
    from matplotlib.text import Text

    if ax.get_legend():
        ax.get_legend().remove()
    remove_ticks_and_titles(ax.figure)
    for text in ax.figure.findobj(Text):
        text.set_visible(False)
    ax.figure.set_layout_engine("none")
    ax.figure.set_size_inches(5.0, 4.0)
    places = [(0.1, 0.1, 0.7, 0.8), (0.9, 0.1, 0.05, 0.8)]  # of a colour bar, too
    for each, place in zip(ax.figure.axes, places, strict=False):
        each.set_position(place)
    ax.figure.savefig(path, dpi=60)


def error_of(name, folder, spoil=lambda ax: None, **look):
    """How far a picture is from its baseline: the root mean square of all pixels, of 255."""
    from matplotlib import style
    from matplotlib.pyplot import imread
    from matplotlib.testing.compare import calculate_rms

    path = folder / f"{name}.png"
    with style.context(["default", look], after_reset=True):
        ax = PICTURES[name]()
        spoil(ax)
        paint(ax, path)
    return calculate_rms(*(255.0 * imread(each) for each in (BASELINE / path.name, path)))


@each_picture
def test_pictures_look_as_they_did(name, tmp_path):
    """To make new baselines: ``python tests/test_plot.py``."""
    assert error_of(name, tmp_path) < TOLERANCE


@each_picture
def test_a_font_makes_no_difference(name, tmp_path):
    look = {"font.family": "monospace"}
    assert error_of(name, tmp_path, **look) < TOLERANCE


@each_picture
def test_each_part_makes_a_difference(name, pyplot, tmp_path):
    """Without any one of its lines and areas a picture is not that of the baseline.

    One mark at the end of a curve is too little for that; it has a test of its own.
    """

    def parts(ax):
        lines = [line for line in ax.lines if line.get_xdata().size]
        return [line for line in lines if line.get_label() != "_end"] + [*ax.collections]

    count = len(parts(PICTURES[name]()))
    assert count >= 1
    for k in range(count):
        error = error_of(name, tmp_path, lambda ax, k=k: parts(ax)[k].remove())
        assert error > TOLERANCE, f"part {k} of {name}"
        pyplot.close("all")


def test_pictures_can_be_read_in_grey():
    """Lines of one picture differ in dashes or marker, and all from the paper."""
    from matplotlib.colors import to_rgb

    looks = [plot.style(k) for k in range(12)]
    assert len({(str(look["linestyle"]), look["marker"]) for look in looks}) == 12
    assert len({look["color"] for look in looks}) == len(plot.COLORS)
    luminance = [np.dot((0.299, 0.587, 0.114), to_rgb(c)) for c in plot.COLORS.values()]
    assert max(luminance) < 0.7
    assert min(np.dot((0.299, 0.587, 0.114), to_rgb(c)) for c in plot.GREYS) > 0.74


LONG = {f"a solver with a long name, number {k}": path for k, path in enumerate(PATHS.values())}


@pytest.mark.parametrize("name", [*PICTURES, "long names"])
def test_nothing_is_clipped(name):
    """All that is drawn lies within the figure, at its own size."""
    draw = PICTURES.get(name, lambda: plot.trajectory(valley, LONG))
    figure = draw().figure
    figure.canvas.draw()
    box = figure.get_tightbbox()
    assert box.x0 >= 0.0 and box.y0 >= 0.0
    assert (box.max <= figure.get_size_inches()).all()


# Trajectories ------------------------------------------------------------------------------------

FORMS = {
    "Objective": rosenbrock,
    "float": lambda x: rosenbrock(x)[0],
    "pair": lambda x: rosenbrock(x),
    "array": lambda x: np.array([rosenbrock(x)[0]]),
    "njit": numba.njit(lambda x: 100.0 * (x[1] - x[0] ** 2) ** 2 + (1.0 - x[0]) ** 2),
}


@pytest.mark.parametrize("form", FORMS)
def test_paths_are_those_of_the_results(form):
    results = {
        "rmsfast": run(rosenbrock, [-1.2, 1.0]),
        "float32": run(rosenbrock, np.array([-1.2, 1.0], np.float32), lr=0.01, maxiter=300),
        "CG": run(rosenbrock, [-1.2, 1.0], "CG"),
    }
    ax = plot.trajectory(FORMS[form], results, minimum=[1.0, 1.0])
    drawn = lines(ax)
    for label, result in results.items():
        assert_array_equal(drawn[label].get_xydata(), np.array(result.allvecs))
    assert_array_equal(drawn["start"].get_xydata(), [r.allvecs[0] for r in results.values()])
    assert_array_equal(drawn["minimum"].get_xydata(), [[1.0, 1.0]])
    ends = [line for line in ax.lines if line.get_label().startswith("_")]
    for line, result in zip(ends, results.values(), strict=True):
        assert_array_equal(line.get_xydata(), [result.allvecs[-1]])
    assert [line.get_color() for line in ends] == [drawn[label].get_color() for label in results]
    assert legend(ax) == ["rmsfast", "float32", "CG", "start", "end", "minimum"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x[0]", "x[1]")
    assert drawn["rmsfast"].get_marker() == "o" and drawn["float32"].get_marker() == ""
    everything = np.concatenate([result.allvecs for result in results.values()])
    for k, limits in enumerate((ax.get_xlim(), ax.get_ylim())):
        assert limits[0] < everything[:, k].min() and everything[:, k].max() < limits[1]


@pytest.mark.parametrize(
    ("minimum", "places"),
    [
        (None, [[1.0, 3.0]]),  # that of Booth's function
        ([0, 1], [[0.0, 1.0]]),
        ([[0.0, 1.0], [2.0, 3.0]], [[0.0, 1.0], [2.0, 3.0]]),
    ],
)
def test_minima(minimum, places):
    ax = plot.trajectory(booth, run(booth, booth.x0), minimum=minimum)
    assert_array_equal(lines(ax)["minimum"].get_xydata(), places)


def test_minimum_is_that_of_two_variables_and_only_known_ones():
    assert objectives.sphere.n == 10
    ax = plot.trajectory(objectives.sphere, PATHS["spiral"])
    assert_array_equal(lines(ax)["minimum"].get_xydata(), [[0.0, 0.0]])
    ax = plot.trajectory(valley, PATHS["spiral"])
    assert legend(ax) == ["path", "start", "end"]


def test_labels_of_results():
    paths = [*PATHS.values()]
    assert legend(plot.trajectory(valley, paths))[:2] == ["run 1", "run 2"]
    assert legend(plot.trajectory(valley, tuple(paths)))[:2] == ["run 1", "run 2"]
    assert legend(plot.trajectory(valley, {1: paths[0], 0.5: paths[1]}))[:2] == ["1", "0.5"]


def test_comparisons_are_drawn():
    comparison = rmsfast.compare(rosenbrock, [-1.2, 1.0], ["rmsprop", "CG"])
    for draw in (plot.trajectory, lambda fun, runs: plot.convergence(runs, fun=fun)):
        drawn, expected = (
            {label: line.get_xydata() for label, line in lines(draw(rosenbrock, runs)).items()}
            for runs in (comparison, comparison.results)
        )
        assert {"rmsprop", "CG"} <= {*drawn} == {*expected}
        for label, points in drawn.items():
            assert_array_equal(points, expected[label])
    ax = plot.trajectory(rosenbrock, comparison)
    assert_array_equal(lines(ax)["CG"].get_xydata(), comparison.results["CG"].allvecs)


def test_points_that_a_callback_collects():
    """What the documentation advises for mini-batches, whose results have no iterates."""
    rows, points = np.random.default_rng(0).standard_normal((50, 2)), [np.zeros(2)]
    result = rmsfast.minimize_minibatch(
        *(lambda x, a: (0.5 * np.mean((x - a) ** 2), x - a.mean(axis=0)), points[0], rows),
        **{"batch_size": 10, "epochs": 6, "lr": 0.01, "rng": 0},
        callback=lambda x: points.append(x),
    )
    with pytest.raises(ValueError, match="minimize_minibatch keeps none"):
        plot.trajectory(valley, result)
    ax = plot.trajectory(valley, OptimizeResult(allvecs=points))
    assert_array_equal(lines(ax)["path"].get_xydata()[[0, -1]], [np.zeros(2), result.x])
    assert len(points) == 7


def test_bounds_are_what_is_shown():
    ax = plot.trajectory(valley, PATHS, bounds=[(-3.0, 2.0), (-1.0, 4.0)])
    assert (ax.get_xlim(), ax.get_ylim()) == ((-3.0, 2.0), (-1.0, 4.0))


def test_bounds_around_paths_without_extent():
    ax = plot.trajectory(valley, walk((1.0, 2.0)))
    assert_allclose([ax.get_xlim(), ax.get_ylim()], [(0.4, 1.6), (1.4, 2.6)])
    ax = plot.trajectory(valley, walk((0.0, 2.0), (4.0, 2.0)))
    assert_allclose([ax.get_xlim(), ax.get_ylim()], [(-0.4, 4.4), (1.4, 2.6)])


def test_iterates_that_are_not_finite_are_left_out():
    ax = plot.trajectory(valley, walk((1.0, 2.0), (3.0, 1.0), (INF, NAN)))
    assert_allclose([ax.get_xlim(), ax.get_ylim()], [(0.8, 3.2), (0.9, 2.1)])
    ax.figure.canvas.draw()


# Contours ----------------------------------------------------------------------------------------


def grid(fun, bounds):
    x, y = (np.linspace(*side, 151) for side in bounds)
    return np.array([[fun(np.array([a, b])) for a in x] for b in y])


@pytest.mark.parametrize(
    ("fun", "bounds"),
    [
        (lambda x: rosenbrock(x)[0], [(-2.0, 2.0), (-1.0, 3.0)]),
        (valley, [(-5.0, 5.0), (-3.0, 3.0)]),
        (lambda x: 1e9 + 1e-3 * valley(x), [(-5.0, 5.0), (-3.0, 3.0)]),
        (lambda x: -valley(x), [(-5.0, 5.0), (-3.0, 3.0)]),
        (lambda x: objectives.goldstein_price(x)[0], [(-2.0, 2.0), (-2.0, 2.0)]),
        (lambda x: 1.0 / abs(x[0] - 0.123), [(-1.0, 1.0), (-1.0, 1.0)]),
    ],
    ids=["rosenbrock", "valley", "offset", "hill", "goldstein_price", "pole"],
)
def test_levels_divide_the_picture(fun, bounds):
    """The middle level divides it in halves; no band takes more than two fifths of it."""
    ax = plot.contours(fun, bounds)
    shades, drawn = ax.collections
    levels = shades.levels
    assert_array_equal(drawn.levels, levels[1:])
    assert 12 <= levels.size <= 13 and (np.diff(levels) > 0.0).all()
    values = grid(fun, bounds)
    assert levels[0] <= values.min()
    assert levels[-1] >= np.quantile(values, 0.95)
    assert 0.35 < np.mean(values < levels[6]) < 0.65
    shares = np.diff([np.mean(values < level) for level in levels])
    assert shares.max() < 0.4
    assert np.count_nonzero(shares > 0.01) >= 9


def test_contours_are_where_the_function_has_their_level():
    ax = plot.contours(valley, [(-5.0, 5.0), (-3.0, 3.0)], filled=False)
    (drawn,) = ax.collections
    for level, path in zip(drawn.levels, drawn.get_paths(), strict=True):
        points = path.vertices
        assert len(points) > 20
        assert_allclose(0.1 * points[:, 0] ** 2 + 2.0 * points[:, 1] ** 2, level, rtol=2e-2)


def test_colour_bar_names_levels():
    ax = plot.contours(valley, [(-5.0, 5.0), (-3.0, 3.0)])
    ax.figure.canvas.draw()
    bar = ax.figure.axes[1]
    assert bar.get_ylabel() == "f"
    ticks = [float(text.get_text()) for text in bar.get_yticklabels()]
    assert_allclose(ticks, ax.collections[0].levels[::2], rtol=1e-5)
    assert ticks[0] == 0.0


def test_what_is_not_finite_is_hatched():
    bounds = [(-1.0, 4.0), (-2.0, 2.0)]
    ax = plot.contours(well, bounds, args=(3.0,))
    shades, drawn, hatched = ax.collections
    assert hatched.hatches == ["////"]
    (path,) = hatched.get_paths()
    assert path.contains_point((-0.5, 0.0)) and path.contains_point((2.0, 1.5))
    assert not path.contains_point((0.5, 0.0))
    inside = np.array([[1.0, -0.366]])
    assert abs(shades.levels[0] - well(inside[0], 3.0)) < 0.02
    assert_array_equal(drawn.levels, shades.levels[1:])


@pytest.mark.parametrize(
    "fun", [lambda x: 5.0, lambda x: 1e308 * np.sign(x[0])], ids=["constant", "huge"]
)
def test_without_contours(fun):
    """What has no levels: a constant, and what spans more than a float can."""
    ax = plot.trajectory(fun, PATHS)
    assert not ax.collections and set(lines(ax)) == {*PATHS, "start", "end"}


def test_fun_gets_points_of_its_own():
    seen = []

    def fun(x, *args):
        assert args == (2.0,)
        seen.append(x)
        value = valley(x)
        x[:] = NAN
        return value

    result = walk((1.0, 1.0), (0.5, 0.5))
    ax = plot.trajectory(fun, result, args=2.0)
    assert {x.shape for x in seen} == {(2,)} and {x.dtype for x in seen} == {np.dtype(float)}
    assert len(ax.collections[0].levels) == 13
    plot.convergence(result, fun=fun, args=(2.0,))
    assert_array_equal(result.allvecs, [[1.0, 1.0], [0.5, 0.5]])


def test_exceptions_of_fun_pass():
    def fun(x):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="^mine$"):
        plot.trajectory(fun, PATHS)


# Animations --------------------------------------------------------------------------------------


def rms(a, b):
    return math.sqrt(np.mean((np.asarray(a, float) - np.asarray(b, float)) ** 2))


def test_animation(pyplot, tmp_path):
    """Each frame shows one iterate more; the last is the picture of the trajectories."""
    from PIL import Image

    animation = plot.animate(valley, PATHS, minimum=[0.0, 0.0], interval=500)
    (figure,) = map(pyplot.figure, pyplot.get_fignums())
    ax = figure.axes[0]
    seen = []

    def watch(k, total):
        drawn = lines(ax)
        title = ax.get_legend().get_title().get_text()
        ends = [line.get_xydata() for line in ax.lines if line.get_label().startswith("_")]
        seen.append((title, [drawn[label].get_xydata() for label in PATHS], ends))

    path = tmp_path / "walk.gif"
    animation.save(path, writer="pillow", dpi=50, progress_callback=watch)
    assert len(seen) == 24 + 3  # the last one three times: 1.5 seconds
    for k, (title, walked, ends) in enumerate(seen):
        iteration = min(k, 24)
        assert title == f"iteration {iteration}"
        for shown, end, result in zip(walked, ends, PATHS.values(), strict=True):
            assert_array_equal(shown, result.allvecs[: iteration + 1])
            assert_array_equal(end, shown[-1:])

    figure.savefig(tmp_path / "last.png", dpi=50)
    with Image.open(path) as gif, Image.open(tmp_path / "last.png") as last:
        assert gif.format == "GIF" and gif.is_animated
        assert gif.info["duration"] == 500
        first = gif.convert("RGB")
        gif.seek(gif.n_frames - 1)
        assert rms(gif.convert("RGB"), last.convert("RGB")) < 6.0 < rms(first, gif.convert("RGB"))

    whole = plot.trajectory(valley, PATHS, minimum=[0.0, 0.0])
    paint(whole, tmp_path / "whole.png")
    paint(ax, tmp_path / "last.png")
    with Image.open(tmp_path / "whole.png") as a, Image.open(tmp_path / "last.png") as b:
        assert rms(a, b) < TOLERANCE


def test_long_paths_move_faster(pyplot):
    walked = OptimizeResult(allvecs=np.stack([np.linspace(-1.0, 0.0, 1234)] * 2, axis=1))
    animation = plot.animate(valley, [walked, PATHS["spiral"]], interval=1500)
    frames = [*animation.new_frame_seq()]
    assert frames[0] == 0 and frames[-1] == 1233 and len(frames) <= 201
    assert set(np.diff(frames[:-1])) == {7}
    pyplot.gcf().canvas.draw()  # else it warns that it was never drawn


# Curves ------------------------------------------------------------------------------------------


def test_convergence_is_the_distance_from_the_minimum():
    results = {"rmsfast": run(rosenbrock, [-1.2, 1.0]), "4": run(rosenbrock, 4 * [0.5])}
    ax = plot.convergence(results, fun=rosenbrock)
    for label, result in results.items():
        iterations, distance = lines(ax)[label].get_data()
        assert_array_equal(iterations, np.arange(result.nit + 1))
        assert_array_equal(distance, [rosenbrock(x)[0] for x in result.allvecs])
        assert min(distance) == result.fun
    assert legend(ax) == ["rmsfast", "4"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("iteration", "$|f - f^*|$")
    assert (ax.get_xscale(), ax.get_yscale()) == ("linear", "log")


def test_convergence_to_a_given_minimum_from_either_side():
    known = objectives.styblinski_tang.minimum.fun
    assert known < 0.0
    result = run(objectives.styblinski_tang, [-1.0, -1.0])
    values = np.array([objectives.styblinski_tang(x)[0] for x in result.allvecs])
    for minimum, expected in ((None, abs(values - known)), (10.0, abs(values - 10.0))):
        ax = plot.convergence(result, fun=objectives.styblinski_tang, minimum=minimum)
        assert_array_equal(ax.lines[0].get_ydata(), expected)
        assert ax.get_yscale() == "log" and ax.get_legend() is None


@pytest.mark.parametrize(
    ("values", "minimum", "scale"),
    [
        ([100.1, 1.0, 1.0], None, "log"),
        ([99.9, 1.0, NAN, INF], None, "linear"),
        ([100.1, 1.0, 0.0], None, "linear"),
        ([3.0, -1.0, -2.0], None, "linear"),
        ([3.0, -1.0, -2.0], -2.0, "log"),
        ([3.0, 3.0], 3.0, "linear"),
        ([NAN, NAN], None, "linear"),
        ([7], None, "linear"),
    ],
)
def test_scale_of_values(values, minimum, scale):
    ax = plot.convergence(np.array(values), minimum=minimum)
    assert ax.get_yscale() == scale
    expected = np.array(values, float)
    assert_array_equal(
        ax.lines[0].get_ydata(), expected if minimum is None else abs(expected - minimum)
    )
    assert ax.get_ylabel() == ("f" if minimum is None else "$|f - f^*|$")
    ax.figure.canvas.draw()


@pytest.mark.parametrize(("length", "scale"), [(50, "linear"), (51, "symlog")])
def test_scale_of_iterations(length, scale):
    ax = plot.convergence([np.ones(5), np.ones(length)])
    assert ax.get_xscale() == scale
    ax.figure.canvas.draw()
    assert all(float(tick).is_integer() for tick in ax.get_xticks())


def test_curves_of_two_calls_on_the_same_axes():
    ax = plot.convergence([3.0, 2.0, 1.0] * np.ones(3))
    assert plot.convergence(np.linspace(5.0, 0.5, 20), ax=ax) is ax
    assert ax.get_xlim()[0] == 0.0 and ax.get_xlim()[1] > 19.0
    assert ax.get_ylim()[0] < 0.5 and ax.get_ylim()[1] > 5.0


def test_learning_curves():
    ax = plot.learning_curve(LEARNED)
    drawn = lines(ax)
    kinds = ("training", "validation")
    assert legend(ax) == [*(f"{n}, {kind}" for n in LEARNED for kind in kinds), "best epoch"]
    for label, result in LEARNED.items():
        for kind, loss in zip(kinds, (result.loss, result.validation_loss), strict=True):
            line = drawn[f"{label}, {kind}"]
            assert_array_equal(line.get_xdata(), EPOCH)
            assert_array_equal(line.get_ydata(), loss)
            assert (line.get_linestyle() == "-") == (kind == "training")
        colors = {drawn[f"{label}, {kind}"].get_color() for kind in kinds}
        assert len(colors) == 1
    best = [(r.best_epoch, r.validation_loss[int(r.best_epoch) - 1]) for r in LEARNED.values()]
    assert_array_equal(drawn["best epoch"].get_xydata(), best)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "mean loss")
    assert ax.get_yscale() == "linear"


def test_learning_curve_without_validation():
    loss = np.array([1000.0, 10.0, 1.0])
    fields = {"loss": loss, "epoch": np.array([0.5, 1.0, 1.5]), "validation_loss": None}
    ax = plot.learning_curve(OptimizeResult(**fields))
    assert legend(ax) == ["training"] and ax.get_yscale() == "log"
    ax = plot.learning_curve([OptimizeResult(**fields, best_epoch=1.5)])
    assert legend(ax) == ["run 1, training", "best epoch"]
    assert_array_equal(lines(ax)["best epoch"].get_xydata(), [[1.5, 1.0]])


def squares(x, A, b):
    r = A @ x - b
    return 0.5 * np.mean(r * r), A.T @ r / b.size


def train(epochs, **options):
    """Fit more coefficients than the rows allow: the validation loss falls, then rises."""
    rng = np.random.default_rng(0)
    A = rng.standard_normal((100, 40))
    b = A[:, 0] + rng.standard_normal(100)
    options = {"batch_size": 10, "lr": 0.01, "rng": 0, **options}
    given = {"validation": (A[60:], b[60:]), "epochs": epochs, **options}
    return rmsfast.minimize_minibatch(squares, np.zeros(40), (A[:60], b[:60]), **given)


def test_learning_curve_of_a_run():
    result = train(100, patience=10)
    assert result.status == 12
    at = int(np.argmin(result.validation_loss))
    assert 0 < at == result.epoch.size - 11
    ax = plot.learning_curve(result)
    assert legend(ax) == ["training", "validation", "best epoch"]
    assert_array_equal(lines(ax)["best epoch"].get_xydata(), [[at + 1.0, result.fun]])
    assert_array_equal(lines(ax)["validation"].get_xdata(), result.epoch)
    # What goes on from there and brings no lower loss has no best epoch to show
    after = train(3, patience=30, state=result.state)
    assert after.fun == result.fun and after.epoch[0] > result.epoch[-1]
    assert legend(plot.learning_curve(after)) == ["training", "validation"]
    assert legend(plot.learning_curve(train(3))) == ["training", "validation"]


def test_learning_curve_without_a_best_epoch():
    """With a validation loss that is NaN throughout none is the best."""
    result = train(12, patience=10, validation=lambda x: NAN)
    assert math.isnan(result.best_epoch) and np.isnan(result.validation_loss).all()
    assert legend(plot.learning_curve(result)) == ["training", "validation"]


def is_seen(line):
    """Whether a line makes a difference to its picture."""
    canvas = line.figure.canvas
    pictures = []
    for visible in (True, False):
        line.set_visible(visible)
        canvas.draw()
        pictures.append(np.array(canvas.buffer_rgba()))
    return (pictures[0] != pictures[1]).any()


@pytest.mark.parametrize("name", ["convergence", "learning_curve"])
def test_the_last_point_of_a_long_curve_has_a_mark(name):
    ax = PICTURES[name]()
    curves = [line for label, line in lines(ax).items() if label != "best epoch"]
    ends = [line for line in ax.lines if line.get_label() == "_end"]
    for curve, end in zip(curves, ends, strict=True):
        assert_array_equal(end.get_xydata(), curve.get_xydata()[-1:])
        for look in ("color", "marker", "markersize", "markerfacecolor", "markeredgecolor"):
            assert getattr(end, f"get_{look}")() == getattr(curve, f"get_{look}")()
        assert is_seen(end)


def test_the_last_mark_is_at_a_finite_value():
    loss = np.where(EPOCH < 28, 1.0 / EPOCH, NAN)
    ax = plot.learning_curve(OptimizeResult(epoch=EPOCH, loss=loss))
    (end,) = (line for line in ax.lines if line.get_label() == "_end")
    assert_array_equal(end.get_xydata(), [[27.0, 1.0 / 27.0]])


def test_few_points_have_their_marks_already():
    ax = plot.learning_curve(train(3))
    assert "_end" not in [line.get_label() for line in ax.lines]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plot.learning_curve(train(1)),
        lambda: plot.learning_curve([train(1), train(1, lr=0.1)]),
        lambda: plot.learning_curve(OptimizeResult(epoch=EPOCH, loss=np.where(EPOCH == 7, 1, NAN))),
        lambda: plot.convergence(np.array([7.0])),
        lambda: plot.convergence({"long": np.ones(30), "short": [2.0]}),
    ],
    ids=["one evaluation", "two runs", "one finite", "one value", "beside a long one"],
)
def test_single_points_are_seen(draw):
    assert all(is_seen(line) for line in draw().lines)


def test_data_profile_counts_problems():
    """Drawn as a step, each line has the fraction of problems solved at that cost or before."""
    ax = plot.data_profile(PROFILE)
    for line, costs in zip(lines(ax).values(), PROFILE.values(), strict=True):
        x, y = line.get_data()
        assert line.get_drawstyle() == "steps-post"
        for cost in (0.9, 1.0, 1.5, 3.0, 7.0, 8.0, 10.0, 20.0, 39.0, 41.0):
            shown = y[np.searchsorted(x, cost, side="right") - 1]
            assert shown == np.mean(np.array(costs) <= cost)
    assert [t.get_text() for t in ax.texts] == ["best  100 %", "other  80 %", "worst  40 %"]
    assert ax.get_ylabel() == "fraction of 5 problems solved"
    assert (ax.get_xlabel(), ax.get_xscale()) == ("evaluations / (n + 1)", "log")


def test_labels_at_the_ends_keep_apart():
    table = {f"solver {k}": [1.0, 2.0, 3.0, INF if k % 2 else 4.0] for k in range(8)}
    table["none"] = [INF] * 4
    ax = plot.data_profile(table)
    ax.figure.canvas.draw()
    boxes = sorted((text.get_window_extent() for text in ax.texts), key=lambda box: box.y0)
    assert len(boxes) == 9
    for low, high in zip(boxes, boxes[1:], strict=False):
        assert low.y1 <= high.y0 + 2.0  # pixels; boxes hold some space above letters


def test_data_profile_of_nothing_solved():
    ax = plot.data_profile({"none": [INF, INF]})
    assert_array_equal(ax.lines[0].get_ydata(), [0.0, 0.0])
    ax.figure.canvas.draw()


class Columns:
    """A table by columns that is no mapping, as `pandas.DataFrame`."""

    def __init__(self, columns):
        self._columns = columns

    def keys(self):
        return list(self._columns)

    def __getitem__(self, name):
        return self._columns[name]

    def __len__(self):  # its rows
        return 5

    def __bool__(self):
        raise ValueError("The truth value of a DataFrame is ambiguous")


def test_data_profile_of_a_data_frame():
    ax, expected = plot.data_profile(Columns(PROFILE)), plot.data_profile(PROFILE)
    assert [t.get_text() for t in ax.texts] == [t.get_text() for t in expected.texts]
    for label, line in lines(expected).items():
        assert_array_equal(lines(ax)[label].get_xydata(), line.get_xydata())


# Axes, and matplotlib itself ---------------------------------------------------------------------

DRAWN_ON = {
    "contours": lambda ax: plot.contours(valley, [(-1.0, 1.0)] * 2, ax=ax),
    "trajectory": lambda ax: plot.trajectory(valley, PATHS, ax=ax),
    "convergence": lambda ax: plot.convergence({"a": [1.0, 2.0]}, ax=ax),
    "learning_curve": lambda ax: plot.learning_curve(LEARNED, ax=ax),
    "data_profile": lambda ax: plot.data_profile(PROFILE, ax=ax),
}


@pytest.mark.parametrize("name", DRAWN_ON)
def test_given_axes_are_drawn_on_and_nothing_else(name, pyplot):
    figure, (ax, other) = pyplot.subplots(1, 2)
    assert DRAWN_ON[name](ax) is ax
    assert pyplot.get_fignums() == [figure.number]
    assert figure.axes == [ax, other] and not other.has_data() and not figure.legends
    assert ax.has_data() or ax.collections
    assert figure.get_layout_engine() is None
    if name != "contours":
        assert len(legend(ax)) >= 1
    before = len(pyplot.get_fignums())
    assert DRAWN_ON[name](None) is not ax
    assert len(pyplot.get_fignums()) == before + 1


def test_animation_on_given_axes(pyplot):
    figure, ax = pyplot.subplots()
    animation = plot.animate(valley, PATHS, ax=ax)
    assert pyplot.get_fignums() == [figure.number] and lines(ax)
    figure.canvas.draw()
    assert lines(ax)["spiral"].get_xydata().tolist() == [PATHS["spiral"].allvecs[0].tolist()]
    assert next(animation.new_frame_seq()) == 0


@pytest.mark.parametrize("layout", [None, "constrained"])
def test_the_legend_of_an_animation_stays(layout, pyplot):
    """It lies within the axes, where it covers the least of the whole paths."""
    figure, (ax, _) = pyplot.subplots(1, 2, figsize=(9.0, 4.0), layout=layout)
    animation = plot.animate(valley, PATHS, ax=ax)
    places = []
    for iteration in (0, 8, 24):
        animation._draw_frame(iteration)
        figure.canvas.draw()
        assert ax.get_legend().get_title().get_text() == f"iteration {iteration}"
        box = ax.transAxes.inverted().transform(ax.get_legend().get_window_extent())
        assert (box > 0.0).all() and (box < 1.0).all()
        places.append(box.round(2).tolist()[0])
    assert places[0] == places[1] == places[2]


def test_a_legend_covers_the_least(pyplot):
    """Curves in three of the four corners leave the fourth."""
    x = np.linspace(0.0, 1.0, 51)
    corners = [(left, top) for left in (True, False) for top in (0.0, 1.0)]
    for left_out in corners:
        _, ax = pyplot.subplots()
        curves = [
            np.where((x < 0.4) if left else (x > 0.6), abs(top - 0.1 * x), NAN)
            for left, top in corners
            if (left, top) != left_out
        ]
        plot.convergence(curves, ax=ax)
        box = ax.transAxes.inverted().transform(ax.get_legend().get_window_extent())
        assert (box.mean(axis=0) < 0.5).tolist() == [left_out[0], left_out[1] == 0.0]


def test_nothing_else_of_matplotlib_is_changed(pyplot):
    import matplotlib

    before = dict(matplotlib.rcParams), matplotlib.get_backend()
    for draw in DRAWN_ON.values():
        draw(None)
    assert (dict(matplotlib.rcParams), matplotlib.get_backend()) == before


@pytest.mark.parametrize("name", DRAWN_ON)
def test_without_matplotlib(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r'^plot needs matplotlib: pip install "\.\[plot\]"$'):
        DRAWN_ON[name](None)


def test_headless_and_only_when_asked(run_python, tmp_path):
    """Without a screen; and nothing imports matplotlib before a picture is asked for."""
    code = (
        "import sys, rmsfast\n"
        "import numpy as np\n"
        "assert rmsfast.plot.trajectory\n"
        "assert 'matplotlib' not in sys.modules and 'PIL' not in sys.modules\n"
        "ax = rmsfast.plot.convergence(np.ones(3))\n"
        "ax.figure.savefig(sys.argv[1])\n"
    )
    path = tmp_path / "headless.png"
    run_python(code, path, DISPLAY="", WAYLAND_DISPLAY="", MPLBACKEND="")
    assert path.stat().st_size > 1000


# Bad input ---------------------------------------------------------------------------------------

ONE = walk((1.0, 1.0), (0.0, 0.0))
BAD_PATHS = [
    ({"results": {}}, ValueError, "results must hold at least one result, got {}"),
    ({"results": []}, ValueError, "results must hold at least one result, got []"),
    ({"results": 3.0}, TypeError, "results must be an OptimizeResult, got float"),
    ({"results": [ONE, None]}, TypeError, "results[1] must be an OptimizeResult, got NoneType"),
    (
        {"results": {"a": OptimizeResult(x=[1.0, 2.0])}},
        ValueError,
        "results['a'] has no allvecs: minimize with options={'return_all': True}",
    ),
    (
        {"results": [OptimizeResult(x=[1.0, 2.0], loss=[1.0], epoch=[1.0])]},
        ValueError,
        "results[0] has no allvecs: minimize_minibatch keeps none; "
        "plot.learning_curve draws its losses",
    ),
    (
        {"results": OptimizeResult(allvecs=[])},
        ValueError,
        "results.allvecs must have shape (k, n), got shape (0,)",
    ),
    (
        {"results": OptimizeResult(allvecs=[[1.0], [1.0, 2.0]])},
        TypeError,
        "results.allvecs must be an array of real numbers, got [[1.0], [1.0, 2.0]]",
    ),
    (
        {"results": [walk((1.0, 2.0, 3.0))]},
        ValueError,
        "results[0].allvecs must have shape (k, 2), got shape (1, 3)",
    ),
    (
        {"results": walk((NAN, 1.0))},
        ValueError,
        "bounds must be given: no iterate is finite",
    ),
    ({"fun": 3}, TypeError, "fun must be callable as fun(x, *args), got 3"),
    ({"fun": lambda x: "a"}, TypeError, "fun must return a real number, got 'a'"),
    ({"fun": lambda x: x}, ValueError, "fun must return a scalar, got an array of shape (2,)"),
    (
        {"fun": lambda x: NAN},
        ValueError,
        "fun must be finite somewhere within bounds, got no finite value",
    ),
    ({"bounds": [(0.0, 1.0)]}, ValueError, "bounds must have length 2, got 1 pairs"),
    (
        {"bounds": [(0.0, 1.0), (0.0, None)]},
        ValueError,
        "bounds[1] must be finite, and so must be their distance, got 0.0 and inf",
    ),
    (
        {"bounds": [(0.0, 1.0), (2.0, 2.0)]},
        ValueError,
        "bounds[1] must have an extent, got 2.0 and 2.0",
    ),
    ({"minimum": 0.0}, ValueError, "minimum must have shape (2,) or (m, 2), got shape ()"),
    ({"minimum": "a"}, TypeError, "minimum must be an array of real numbers, got 'a'"),
    ({"ax": [1, 2]}, TypeError, "ax must be a matplotlib Axes or None, got list"),
]


def fails(kind, text, draw, pyplot, *args, **arguments):
    with pytest.raises(kind) as caught:
        draw(*args, **arguments)
    assert str(caught.value) == text
    assert not pyplot.get_fignums()  # no empty figure stays


@pytest.mark.parametrize("draw", [plot.trajectory, plot.animate])
@pytest.mark.parametrize(("arguments", "kind", "text"), BAD_PATHS)
def test_bad_input_of_trajectories(draw, arguments, kind, text, pyplot):
    arguments = {"fun": valley, "results": ONE, **arguments}
    fails(kind, text, draw, pyplot, **arguments)


@pytest.mark.parametrize(
    ("interval", "kind", "text"),
    [
        (9.9, ValueError, "interval must be in [10, inf), got 9.9"),
        ("1", TypeError, "interval must be a real number, got '1'"),
    ],
)
def test_bad_interval(interval, kind, text, pyplot):
    fails(kind, text, plot.animate, pyplot, valley, ONE, interval=interval)


def test_a_c_function_cannot_be_called(pyplot):
    signature = "float64(intc, CPointer(float64), CPointer(float64), voidptr)"
    fun = numba.cfunc(signature)(lambda n, x, g, data: 0.0)
    fails(
        TypeError,
        f"fun must be callable as fun(x, *args), got {fun!r}",
        plot.trajectory,
        pyplot,
        fun,
        ONE,
    )


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        ({"results": []}, ValueError, "results must hold at least one result, got []"),
        (
            {"results": ONE},
            ValueError,
            "fun must be given: results holds iterates, not their values",
        ),
        (
            {"results": OptimizeResult(x=1.0), "fun": valley},
            ValueError,
            "results has no allvecs: minimize with options={'return_all': True}",
        ),
        (
            {"results": {"a": np.ones((2, 2))}},
            ValueError,
            "results['a'] must have shape (k,), k > 0, got shape (2, 2)",
        ),
        ({"results": [[]]}, ValueError, "results[0] must have shape (k,), k > 0, got shape (0,)"),
        ({"results": [[1j]]}, TypeError, "results[0] must be an array of real numbers, got [1j]"),
        ({"results": "a"}, TypeError, "results must be an array of real numbers, got 'a'"),
        (
            {"results": np.ones(2), "minimum": INF},
            ValueError,
            "minimum must be in (-inf, inf), got inf",
        ),
        (
            {"results": np.ones(2), "minimum": [1.0]},
            TypeError,
            "minimum must be a real number, got [1.0]",
        ),
        (
            {"results": np.ones(2), "ax": 1},
            TypeError,
            "ax must be a matplotlib Axes or None, got int",
        ),
    ],
)
def test_bad_input_of_convergence(arguments, kind, text, pyplot):
    fails(kind, text, plot.convergence, pyplot, **arguments)


GOOD = {"loss": np.ones(3), "epoch": np.arange(3.0), "validation_loss": None}


@pytest.mark.parametrize(
    ("result", "kind", "text"),
    [
        ({}, ValueError, "result must hold at least one result, got {}"),
        ([1], TypeError, "result[0] must be an OptimizeResult, got int"),
        (
            OptimizeResult(x=1.0),
            ValueError,
            "result has no loss: it must be one of minimize_minibatch",
        ),
        (
            OptimizeResult(loss=np.ones(3)),
            ValueError,
            "result has no epoch: it must be one of minimize_minibatch",
        ),
        (
            {"a": OptimizeResult({**GOOD, "loss": np.ones(2)})},
            ValueError,
            "result['a'].loss must have the shape of epoch, (3,), got (2,)",
        ),
        (
            OptimizeResult({**GOOD, "validation_loss": np.ones(4)}),
            ValueError,
            "result.validation_loss must have the shape of epoch, (3,), got (4,)",
        ),
        (
            OptimizeResult({**GOOD, "epoch": np.ones((3, 1))}),
            ValueError,
            "result.epoch must have shape (k,), k > 0, got shape (3, 1)",
        ),
        (
            OptimizeResult(GOOD, best_epoch=-1.0),
            ValueError,
            "result.best_epoch must be in [0, inf), got -1.0",
        ),
    ],
)
def test_bad_input_of_learning_curves(result, kind, text, pyplot):
    fails(kind, text, plot.learning_curve, pyplot, result)


@pytest.mark.parametrize(
    ("table", "kind", "text"),
    [
        ([1.0], TypeError, "table must be a mapping or a DataFrame, got list"),
        ({}, ValueError, "table must hold at least one solver, got none"),
        (Columns({}), ValueError, "table must hold at least one solver, got none"),
        ({"a": []}, ValueError, "table['a'] must have shape (k,), k > 0, got shape (0,)"),
        ({"a": ["b"]}, TypeError, "table['a'] must be an array of real numbers, got ['b']"),
        ({"a": [1.0], "b": [1.0, 2.0]}, ValueError, "table['b'] must have length 1, got 2"),
        ({"a": [1.0, 0.0]}, ValueError, "table['a'] must be positive, got 0.0"),
        ({"a": [NAN, 1.0]}, ValueError, "table['a'] must be positive, got nan"),
    ],
)
def test_bad_input_of_data_profiles(table, kind, text, pyplot):
    fails(kind, text, plot.data_profile, pyplot, table)


if __name__ == "__main__":
    BASELINE.mkdir(exist_ok=True)
    import matplotlib
    from matplotlib import style

    matplotlib.use("agg")
    for name, draw in PICTURES.items():
        with style.context("default", after_reset=True):
            paint(draw(), BASELINE / f"{name}.png")
