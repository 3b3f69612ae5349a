"""The compiled driver takes the decisions of the Python driver, to the last bit."""

import numpy as np
import pytest
import reference
from numpy.testing import assert_array_equal

import rmsfast
from rmsfast import objectives, schedules

SIZES = (2, 3, 10, 33, 100)
FUNCTIONS = [
    fun if fun.n == n else fun.of_size(n)
    for fun in objectives.ALL
    for n in SIZES
    if n == fun.n or n in fun.sizes
]
FIELDS = ("x", "x_last", "fun", "jac", "nit", "nfev", "njev", "status", "success", "message")


def agree(compiled, python):
    for name in FIELDS:
        assert_array_equal(compiled[name], python[name], err_msg=name)


def python_run(fun, x0, **options):
    return rmsfast.rmsprop(lambda x: fun(x), x0, jac=True, return_all=True, **options)


def compiled_run(fun, x0, **options):
    return rmsfast.rmsprop(fun, x0, **options)


def compare(fun, x0, lengths=(0, 1, 2, 5), maxfun=150, **options):
    """Compare the whole run, and where the compiled one stands after some iterations."""
    python = python_run(fun, x0, maxfun=maxfun, **options)
    agree(compiled_run(fun, x0, maxfun=maxfun, **options), python)
    assert len(python.allvecs) >= python.nit
    for k in lengths:
        if k <= python.nit and k < len(python.allvecs):
            part = compiled_run(fun, x0, **{"maxfun": maxfun, **options, "maxiter": k})
            assert_array_equal(part.x_last, python.allvecs[k], err_msg=f"iteration {k}")
    return python


def test_there_are_enough_functions():
    assert len({fun.name for fun in FUNCTIONS}) >= 12
    assert {fun.n for fun in FUNCTIONS} == {*SIZES}


@pytest.mark.parametrize("maxcor", [0, 5, 10])
@pytest.mark.parametrize("fun", FUNCTIONS, ids=repr)
def test_auto(fun, maxcor):
    compare(fun, fun.x0, lr="auto", maxcor=maxcor)


@pytest.mark.parametrize("maxcor", [0, 10])
@pytest.mark.parametrize(
    "fun", [fun for fun in FUNCTIONS if fun.name in {"rosenbrock", "beale", "trid"}], ids=repr
)
def test_every_iterate(fun, maxcor):
    compare(fun, fun.x0, lengths=range(40), lr="auto", maxcor=maxcor)


@pytest.mark.parametrize("maxcor", [0, 10])
@pytest.mark.parametrize("fun", FUNCTIONS, ids=repr)
def test_bounds(fun, maxcor):
    """A box with the start near its corner, half of it without lower bounds."""
    x0 = fun.x0
    width = 0.5 * (1.0 + abs(x0))
    bounds = [
        (x - 0.25 * w if i % 2 else None, x + w)
        for i, (x, w) in enumerate(zip(x0, width, strict=True))
    ]
    python = compare(fun, x0, lr="auto", maxcor=maxcor, bounds=bounds)
    for x in python.allvecs:
        assert all(
            (lo is None or lo <= c) and c <= hi for c, (lo, hi) in zip(x, bounds, strict=True)
        )


NUMERIC = {
    "plain": {"lr": 0.01},
    "large": {"lr": 1.0},
    "momentum": {"lr": 0.01, "momentum": 0.9},
    "nesterov": {"lr": 0.01, "momentum": 0.9, "nesterov": True},
    "centered": {"lr": 0.01, "centered": True},
    "bias correction": {"lr": 0.01, "bias_correction": True},
    "centered, corrected": {"lr": 0.01, "centered": True, "bias_correction": True},
    "keras": {"preset": "keras", "momentum": 0.5, "weight_decay": 0.01},
    "tf1": {"preset": "tf1", "lr": 0.02},
    "weight decay": {"lr": 0.01, "weight_decay": 0.1},
    "clip_value": {"lr": 0.01, "clip_value": 1.0, "momentum": 0.5},
    "clip_norm": {"lr": 0.01, "clip_norm": 1.0},
    "maximize": {"lr": 0.001, "maximize": True},
    "tolerances": {"lr": schedules.exponential(0.1, 0.5, 10), "xtol": 1e-4, "ftol": 1e-9},
    "exponential": {"lr": schedules.exponential(0.1, 0.9, 10)},
    "cosine": {"lr": schedules.cosine(0.1, 100)},
    "step": {"lr": schedules.step(0.1, 20, 0.5)},
    "inverse time": {"lr": schedules.inverse_time(0.1, 0.1)},
    "constant": {"lr": schedules.constant(0.02)},
    "plateau": {"lr": schedules.plateau(0.1, 0.5, 5)},
    "callable": {"lr": lambda k: 0.1 / (1 + k)},
}
SOME = [fun for fun in FUNCTIONS if fun.name in {"rosenbrock", "rastrigin", "zakharov", "wood"}]


@pytest.mark.parametrize("name", NUMERIC)
@pytest.mark.parametrize("fun", SOME, ids=repr)
def test_numeric(fun, name):
    compare(fun, fun.x0, lengths=(0, 1, 2, 7, 50), maxfun=300, **NUMERIC[name])


@pytest.mark.parametrize("name", ["plain", "momentum", "centered", "clip_norm", "plateau"])
@pytest.mark.parametrize("fun", SOME, ids=repr)
def test_numeric_within_bounds(fun, name):
    bounds = [(x - 0.01, x + 0.3) for x in fun.x0]
    compare(fun, fun.x0, maxfun=300, bounds=bounds, **NUMERIC[name])


@pytest.mark.parametrize("options", [{"lr": "auto"}, {"lr": 0.01}, {"lr": 0.01, "momentum": 0.9}])
@pytest.mark.parametrize("fun", SOME, ids=repr)
def test_float32(fun, options):
    python = compare(fun, fun.x0.astype(np.float32), **options)
    assert python.x.dtype == np.float32


def test_statuses_are_those_of_the_python_driver():
    """Limit cycle, divergence, and each limit."""
    sphere = objectives.sphere.of_size(2)
    seen = set()
    for fun, x0, options in [
        (sphere, [0.3, 0.4], {"lr": 0.1, "gtol": 0.0, "maxfun": 15000}),
        (objectives.rosenbrock, [-1.2, 1.0], {"maxiter": 4}),
        (objectives.rosenbrock, [-1.2, 1.0], {"maxfun": 4}),
        (objectives.rosenbrock, [-1.2, 1.0], {}),
        (objectives.rosenbrock, [-1.2, 1.0], {"ftol": 1e-2}),
        (objectives.rosenbrock, [-1.2, 1.0], {"xtol": 1e-2}),
        (objectives.brown_dennis, [25.0, 5.0, -5.0, -1.0], {"gtol": 0.0, "maxfun": 15000}),
        (objectives.rosenbrock, [-1.2, 1.0], {"lr": 1e100, "maxfun": 50}),
        (objectives.rosenbrock, [1e200, 1.0], {}),
    ]:
        seen.add(compare(fun, np.array(x0), **options).status)
    assert seen == {0, 1, 2, 3, 4, 5, 6, 7, 8}


@pytest.fixture
def chunks(monkeypatch):
    """Count the entries into the compiled driver, in the smallest pieces whatever they take."""
    counted = []
    original = rmsfast.minimize.driver

    def counting(*kind):
        run = original(*kind)

        def entered(*args):
            counted.append(args[-1])
            return run(*args)

        return entered

    monkeypatch.setattr("rmsfast.minimize.driver", counting)
    monkeypatch.setattr("rmsfast.minimize.CHUNK_SECONDS", 1e-9)
    return counted


@pytest.mark.parametrize(
    "options",
    [
        *({"lr": "auto", "maxcor": maxcor} for maxcor in (0, 10)),
        *(NUMERIC[name] for name in ("momentum", "plateau", "exponential", "cosine", "callable")),
    ],
    ids=reference.name_of,
)
@pytest.mark.parametrize("n", [2, 10])
def test_chunks(chunks, n, options):
    fun = objectives.rosenbrock.of_size(n)
    python = python_run(fun, fun.x0, maxfun=40, **options)
    assert not chunks
    agree(compiled_run(fun, fun.x0, maxfun=40, **options), python)
    assert set(chunks) == {1}
    assert len(chunks) > 3


def test_long_run_of_chunks_as_they_come():
    """More than three chunks of the real length, with a schedule through all of them."""
    fun = objectives.rosenbrock
    options = {"lr": schedules.inverse_time(0.01, 0.01), "maxiter": 6000, "gtol": 0.0}
    compiled = compiled_run(fun, fun.x0, **options)
    assert compiled.nfev > 256 * (1 + 4 + 16)
    agree(compiled, rmsfast.rmsprop(lambda x: fun(x), fun.x0, jac=True, **options))


@pytest.mark.parametrize("fun", SOME, ids=repr)
def test_watching_changes_nothing(fun):
    """With a callback the compiled objective is called from the Python loop."""
    iterates = []
    watched = rmsfast.rmsprop(fun, fun.x0, callback=lambda xk: iterates.append(xk), maxfun=150)
    agree(watched, compiled_run(fun, fun.x0, maxfun=150))
    assert len(iterates) == watched.nit


def test_solver_by_ask_and_tell_is_the_compiled_run():
    fun = objectives.rosenbrock.of_size(10)
    solver = rmsfast.Solver(fun.x0)
    while not solver.done:
        solver.tell(*fun(solver.ask()))
    agree(compiled_run(fun, fun.x0), solver.result())
