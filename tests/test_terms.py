"""Objectives that are sums of terms: against SciPy, and against the same written in place."""

import pickle

import numba
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import check_grad, minimize, rosen, rosen_der

import rmsfast
from rmsfast.core.terms import BLOCK
from rmsfast.objective import PARALLEL_BYTES, Objective, evaluator
from rmsfast.objectives import rosenbrock
from rmsfast.threads import threads

SIZES = [1, 2, 3, 100, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 7]


def term(i, x, steepness=100.0):
    """Term i of Rosenbrock's function; the last is zero."""
    if i == x.size - 1:
        return 0.0
    return steepness * (x[i + 1] - x[i] * x[i]) ** 2 + (1.0 - x[i]) ** 2


def grad(i, x, steepness=100.0):
    """What terms i - 1 and i contribute."""
    g = 0.0
    if i > 0:
        g += 2.0 * steepness * (x[i] - x[i - 1] * x[i - 1])
    if i < x.size - 1:
        g -= 4.0 * steepness * x[i] * (x[i + 1] - x[i] * x[i]) + 2.0 * (1.0 - x[i])
    return g


def distance(i, x, centre, weights):
    """A term with arguments, one of them a tuple."""
    return weights[0][i] * (x[i] - centre[i]) ** weights[1]


def distance_grad(i, x, centre, weights):
    """Its derivative."""
    return weights[1] * weights[0][i] * (x[i] - centre[i]) ** (weights[1] - 1)


chained = Objective.from_terms(term, grad)
apart = Objective.from_terms(distance, distance_grad)


def point(n, dtype=np.float64):
    return np.random.default_rng(n).uniform(-2.0, 2.0, n).astype(dtype)


@pytest.mark.parametrize("n", SIZES[1:])
def test_values_are_those_of_scipy(n):
    f, g = chained(point(n))
    assert_allclose(f, rosen(point(n)), rtol=1e-12)
    assert_allclose(g, rosen_der(point(n)), rtol=1e-12, atol=1e-9)


def test_gradient_agrees_with_differences():
    def value(x):
        return chained(x)[0]

    assert check_grad(value, lambda x: chained(x)[1], point(20)) < 1e-3  # of some thousands


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n", SIZES)
def test_bits_do_not_depend_on_threads(n, dtype):
    x, parallel, serial = point(n, dtype), np.empty(n, dtype), np.empty(n, dtype)
    everywhere = np.full(n, np.inf)
    one = evaluator(chained, None, (3.0,), -everywhere, everywhere, x, "3-point")
    values = [one(x, serial), chained.fun(x, np.empty(n, dtype), 3.0)]
    for count in (1, 2, numba.config.NUMBA_NUM_THREADS):
        before = numba.get_num_threads()
        numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))
        try:
            values.append(one.in_parallel()(x, parallel))
        finally:
            numba.set_num_threads(before)
        assert_array_equal(parallel, serial)
    assert len({float(f) for f in values}) == 1
    assert one.in_parallel().function is not one.function


@pytest.mark.parametrize("reserved", [False, True])
def test_large_points_go_to_all_threads_that_are_free(monkeypatch, reserved):
    asked = []
    monkeypatch.setattr(
        "rmsfast.objective.Evaluator.in_parallel", lambda self: asked.append(self) or self
    )
    before = numba.get_num_threads()
    numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS))
    try:
        chained(np.ones(PARALLEL_BYTES // 8 - 1))
        assert not asked
        if reserved:
            with threads():
                chained(np.ones(PARALLEL_BYTES // 8))
        else:
            chained(np.ones(PARALLEL_BYTES // 8))
    finally:
        numba.set_num_threads(before)
    assert len(asked) == (not reserved)


@pytest.mark.parametrize("options", [{"lr": 0.01, "maxiter": 50}, {"maxiter": 50}], ids=str)
def test_a_run_is_that_of_the_objective_in_place(options):
    x0 = np.resize([-1.2, 1.0], 10)
    found = [
        minimize(fun, x0, jac=True, method=rmsfast.rmsprop, options=options)
        for fun in (chained, rosenbrock)
    ]
    assert found[0].nit == found[1].nit == 50
    for name in ("x", "jac", "fun", "x_last"):
        assert_allclose(found[0][name], found[1][name], rtol=1e-6, atol=1e-9)


def test_a_slow_run_goes_to_all_threads_with_the_same_bits(monkeypatch):
    runs = []
    for seconds in (0.0, np.inf):
        monkeypatch.setattr("rmsfast.minimize.PARALLEL_SECONDS", seconds)
        runs.append(rmsfast.rmsprop(chained, point(2 * BLOCK), lr=0.01, maxiter=20))
    for name in ("x", "x_last", "fun", "jac", "nit", "nfev", "status"):
        assert_array_equal(runs[0][name], runs[1][name], err_msg=name)


@pytest.mark.parametrize("method", ["L-BFGS-B", "BFGS", "CG", "rmsprop"])
def test_every_method_takes_it(method):
    method = {"rmsprop": rmsfast.rmsprop}.get(method, method)
    result = minimize(chained, [-1.2, 1.0], (50.0,), jac=True, method=method)
    assert result.success
    assert_allclose(result.x, 1.0, atol=1e-3)


def test_arguments_of_all_kinds():
    centre, weights = np.arange(4.0), (np.array([1.0, 2.0, 3.0, 4.0]), 2)
    f, g = apart(np.zeros(4), centre, weights)
    assert f == 1 * 0 + 2 * 1 + 3 * 4 + 4 * 9
    assert_array_equal(g, -2 * weights[0] * centre)


def test_many_problems():
    centres = np.random.default_rng(0).normal(size=(6, 3))
    weights = (np.ones(3), 2)
    x0s = np.zeros((6, 3))
    result = rmsfast.minimize_many(apart, x0s, args=(rmsfast.PerProblem(centres), weights))
    assert result.success.all()
    for k, centre in enumerate(centres):
        alone = rmsfast.rmsprop(apart, x0s[k], args=(centre, weights))
        assert_array_equal(result.x[k], alone.x)


def test_mini_batches():
    def mean_square(i, x, rows):
        return np.mean((rows[:, i] - x[i]) ** 2)

    def slope(i, x, rows):
        return 2.0 * (x[i] - np.mean(rows[:, i]))

    fun = Objective.from_terms(mean_square, slope)
    data = np.random.default_rng(0).normal(size=(60, 3))
    lr = rmsfast.schedules.cosine(0.1, 400)
    result = rmsfast.minimize_minibatch(
        fun, np.zeros(3), data, batch_size=60, epochs=400, rng=0, lr=lr
    )
    assert_allclose(result.x, data.mean(axis=0), atol=1e-3)


def test_copies_by_pickle_are_the_same():
    copy = pickle.loads(pickle.dumps(chained))
    assert copy.term is chained.term
    assert repr(copy) == "Objective(term)"
    assert copy.__doc__ == term.__doc__
    assert_array_equal(copy(point(5), 7.0)[1], chained(point(5), 7.0)[1])


def test_compiled_functions_keep_their_options():
    @numba.njit(fastmath=True)
    def square(i, x):
        return x[i] * x[i]

    @numba.njit("float64(int64, float64[::1])")
    def double(i, x):
        return 2.0 * x[i]

    fun = Objective.from_terms(square, double)
    assert fun.term.targetoptions["fastmath"]
    f, g = fun(np.array([1.0, 2.0], np.float32))
    assert f == 5.0
    assert_array_equal(g, np.array([2.0, 4.0], np.float32))


def nothing(i, x):
    """A zero."""
    return 0.0


def imaginary(i, x):
    """No real number."""
    return 1j * x[i]


def test_bad_input():
    for pair, name in (((1, grad), "term"), ((term, None), "grad")):
        with pytest.raises(TypeError, match=f"^{name} must be callable, got "):
            Objective.from_terms(*pair)
    with pytest.raises(TypeError, match="^term must return a real number, compiled it returns"):
        Objective.from_terms(imaginary, nothing)(np.ones(2))
    with pytest.raises(TypeError, match="^grad must return a real number, compiled it returns"):
        rmsfast.rmsprop(Objective.from_terms(nothing, imaginary), np.ones(2))
    with pytest.raises(TypeError, match=r"^jac must be None or True"):
        rmsfast.rmsprop(chained, np.ones(2), jac=rosen_der)
    with pytest.raises(TypeError, match=r"^args\[0\] is of <class 'object'>"):
        chained(np.ones(2), object())


def test_the_second_process_finds_the_loop_on_disk(run_python, tmp_path):
    (tmp_path / "sums.py").write_text(
        "def term(i, x):\n    return x[i] * x[i]\ndef grad(i, x):\n    return 2.0 * x[i]\n"
    )
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import sums, numpy as np, rmsfast\n"
        "from rmsfast.core import terms\n"
        "fun = rmsfast.Objective.from_terms(sums.term, sums.grad); fun(np.ones(3))\n"
        "from numba import types; v = types.float64[::1]\n"
        "kind = types.float64(v, v, types.Tuple(()))\n"
        "run = terms.total(fun.term, fun.grad, kind, parallel=False)\n"
        "print(sum(run.stats.cache_hits.values()), sum(run.stats.cache_misses.values()))"
    )
    cache = {"NUMBA_CACHE_DIR": str(tmp_path)}
    assert run_python(code, tmp_path, **cache).split() == ["0", "1"]
    assert run_python(code, tmp_path, **cache).split() == ["1", "0"]
