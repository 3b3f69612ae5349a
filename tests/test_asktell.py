"""`rmsfast.Solver` takes the same way as `rmsfast.rmsprop`, interrupted or not."""

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.optimize import OptimizeWarning, rosen, rosen_der

import rmsfast
from rmsfast import schedules
from rmsfast.core import status
from rmsfast.core.auto import advance_auto

X0 = np.tile([-1.2, 1.0], 2)
BOUNDS = [(-2, 0.5), (-2, 2), (None, 0.9), (0, None)]
LIMITED = {"maxiter": 150}
RUNS = {
    "auto": (None, {}),
    "auto, no corrections": (None, {"maxcor": 0, "maxiter": 300}),
    "auto, three corrections": (None, {"maxcor": 3}),
    "auto, bounds": (BOUNDS, {}),
    "auto, bounds, no corrections": (BOUNDS, {"maxcor": 0}),
    "auto, maxfun": (None, {"maxfun": 20}),
    "momentum": (None, {"lr": 0.002, "momentum": 0.9, **LIMITED}),
    "nesterov": (None, {"lr": 0.002, "momentum": 0.9, "nesterov": True, **LIMITED}),
    "centered": (None, {"lr": 0.01, "centered": True, **LIMITED}),
    "bias corrected": (None, {"lr": 0.01, "bias_correction": True, **LIMITED}),
    "keras": (None, {"preset": "keras", "momentum": 0.5, "weight_decay": 0.01, **LIMITED}),
    "clipped": (None, {"lr": 0.01, "clip_norm": 1.0, **LIMITED}),
    "numeric, bounds": (BOUNDS, {"lr": 0.01, **LIMITED}),
    "plateau": (None, {"lr": schedules.plateau(0.1, patience=5), **LIMITED}),
    "plateau, momentum, bounds": (
        BOUNDS, {"lr": schedules.plateau(0.1, patience=5), "momentum": 0.5, **LIMITED}
    ),
    "schedule": (None, {"lr": schedules.exponential(0.05, 0.99), **LIMITED}),
    "cosine": (None, {"lr": schedules.cosine(0.05, 100), **LIMITED}),
    "limit cycle": (None, {"lr": 0.1, "gtol": 0, "maxiter": 2000}),
}  # fmt: skip
each_run = pytest.mark.parametrize(("bounds", "options"), RUNS.values(), ids=RUNS)
each_dtype = pytest.mark.parametrize("dtype", [np.float64, np.float32])


def drive(solver, steps=np.inf):
    """Tell until the solver has finished, at most `steps` times; return the points asked for."""
    points = []
    while not solver.done and len(points) < steps:
        x = solver.ask()
        points.append(x)
        solver.tell(rosen(x), rosen_der(x))
    return points


def check_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert_array_equal(a[name], b[name])
        assert np.asarray(a[name]).dtype == np.asarray(b[name]).dtype


@each_run
@each_dtype
def test_same_as_the_method(bounds, options, dtype):
    x0 = (X0 - 0.5).clip([-2, -2, -2, 0], [0.5, 2, 0.9, 2]).astype(dtype)
    points = []

    def fun(x):
        points.append(x)
        return rosen(x)

    expected = rmsfast.rmsprop(fun, x0, jac=rosen_der, bounds=bounds, **options)
    solver = rmsfast.Solver(x0, bounds, **options)
    assert_array_equal(drive(solver), points)
    check_same(solver.result(), expected)
    assert solver.done
    assert solver.message == expected.message


COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda solver: pickle.loads(pickle.dumps(solver)),
    "pickle, protocol 2": lambda solver: pickle.loads(pickle.dumps(solver, 2)),
}


@each_run
@pytest.mark.parametrize("checkpoint", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("steps", [0, 1, 2, 17])
def test_checkpoint(bounds, options, checkpoint, steps):
    x0 = X0.clip([-2, -2, -2, 0], [0.5, 2, 0.9, 2])
    whole = rmsfast.Solver(x0, bounds, **options)
    points = drive(whole)
    original = rmsfast.Solver(x0, bounds, **options)
    drive(original, steps)
    taken = checkpoint(original)
    assert_array_equal(drive(original), points[steps:])
    assert not taken.done  # it has not moved with the original
    assert_array_equal(drive(taken), points[steps:])
    check_same(taken.result(), whole.result())
    check_same(original.result(), whole.result())


def test_checkpoint_after_the_end():
    solver = rmsfast.Solver(X0)
    drive(solver)
    for checkpoint in COPIES.values():
        taken = checkpoint(solver)
        assert taken.done
        check_same(taken.result(), solver.result())


def compiled():
    return len(advance_auto.signatures)


def test_copies_compile_nothing():
    solver = rmsfast.Solver(X0)
    drive(solver, 3)
    before = compiled()
    for checkpoint in COPIES.values():
        drive(checkpoint(solver), 2)
    assert compiled() == before


@pytest.mark.parametrize("value", [24, True, np.int32(24), np.float32(24), np.array([24]), 24.0])
def test_integer_value_compiles_nothing(value):
    drive(rmsfast.Solver(X0), 2)
    before = compiled()
    solver = rmsfast.Solver(X0)
    solver.tell(value, [1, 2, 3, 4])
    assert compiled() == before
    assert solver.result().fun == value


def test_ask_returns_a_copy():
    solver = rmsfast.Solver(X0)
    first, second = solver.ask(), solver.ask()
    assert_array_equal(first, X0)
    assert not np.shares_memory(first, second)
    first[:] = np.nan
    assert_array_equal(solver.ask(), second)
    solver.tell(rosen(second), rosen_der(second))
    assert (solver.ask() != second).any()
    assert_array_equal(solver.ask(), solver.ask())


def test_start_and_gradient_stay_the_callers():
    x0, g = X0.copy(), np.ones(4)
    solver = rmsfast.Solver(x0)
    x0[:] = np.nan
    assert_array_equal(solver.ask(), X0)
    solver.tell(3.0, g)
    g[:] = np.nan
    assert_array_equal(solver.result().jac, 1)
    result = solver.result()
    result.x[:] = np.nan
    assert_array_equal(solver.result().x, X0)


def test_finished():
    solver = rmsfast.Solver(X0, maxiter=0)
    assert not solver.done
    solver.tell(1.0, np.ones(4))
    assert solver.done
    with pytest.raises(RuntimeError, match="finished.*maxiter"):
        solver.tell(1.0, np.ones(4))
    with pytest.raises(RuntimeError, match="finished.*maxiter"):
        solver.ask()


BAD = {
    "no number": (None, np.ones(4), TypeError, "real number"),
    "text": ("1", np.ones(4), TypeError, "real number"),
    "complex": (1j, np.ones(4), TypeError, "real number"),
    "array": (np.ones(4), np.ones(4), ValueError, "scalar"),
    "short gradient": (1.0, np.ones(3), ValueError, "gradient must have the shape"),
    "square gradient": (1.0, np.ones((2, 2)), ValueError, "gradient must have the shape"),
    "scalar gradient": (1.0, 1.0, ValueError, "gradient must have the shape"),
    "no gradient": (1.0, None, ValueError, "gradient must have the shape"),
    "complex gradient": (1.0, np.ones(4) * 1j, TypeError, "gradient must be real"),
    "gradient of text": (1.0, list("abcd"), TypeError, "gradient must be real"),
}


@pytest.mark.parametrize(("f", "g", "error", "text"), BAD.values(), ids=BAD)
def test_bad_answer(f, g, error, text):
    plain = rmsfast.Solver(X0)
    drive(plain)
    solver = rmsfast.Solver(X0)
    for _ in range(3):
        x = solver.ask()
        with pytest.raises(error, match=text):
            solver.tell(f, g)
        assert_array_equal(solver.ask(), x)  # as if it had not been said
        solver.tell(rosen(x), rosen_der(x))
    drive(solver)
    check_same(solver.result(), plain.result())


def test_nonfinite_answer_makes_it_step_back():
    solver = rmsfast.Solver(X0)
    drive(solver, 1)
    far = solver.ask()
    solver.tell(np.nan, np.full(4, np.nan))
    assert not solver.done
    near = solver.ask()
    assert np.linalg.norm(near - X0) < np.linalg.norm(far - X0)
    drive(solver)
    assert solver.result().success


@pytest.mark.parametrize("options", [{}, {"lr": 0.1}])
def test_result_before_the_first_tell(options):
    """Nothing is known of the objective yet, and nothing is made up."""
    result = rmsfast.Solver(X0, **options).result()
    assert_array_equal(result.x, X0)
    assert_array_equal(result.x_last, X0)
    assert np.isnan(result.fun)
    assert np.isnan(result.jac).all()
    assert (result.nit, result.nfev, result.njev) == (0, 0, 0)
    assert (result.status, result.success) == (status.RUNNING, False)


def test_result_on_the_way():
    solver = rmsfast.Solver(X0)
    best = np.inf
    for k in range(1, 15):
        x = solver.ask()
        best = min(best, rosen(x))
        solver.tell(rosen(x), rosen_der(x))
        result = solver.result()
        assert result.fun == rosen(result.x) == best
        assert_array_equal(result.jac, rosen_der(result.x))
        assert result.nfev == result.njev == k


def test_repr():
    solver = rmsfast.Solver(X0, lr=0.001, maxiter=2)
    assert repr(solver) == "Solver('rmsprop', n=4, nit=0, done=False)"
    while not solver.done:
        solver.tell(rosen(solver.ask()), rosen_der(solver.ask()))
    assert repr(solver) == "Solver('rmsprop', n=4, nit=2, done=True)"
    other = rmsfast.Solver.by_rule("adagrad", [1.0])
    assert repr(other) == "Solver('adagrad', n=1, nit=0, done=False)"


def test_unknown_option():
    with pytest.warns(OptimizeWarning, match="Unknown solver options: speed"):
        rmsfast.Solver(X0, speed=3)


def test_tol():
    assert rmsfast.Solver(X0, tol=0.5).options.gtol == 0.5
    assert rmsfast.Solver(X0, tol=0.5, gtol=0.25).options.gtol == 0.25
