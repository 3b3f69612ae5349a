"""What goes wrong with mini-batches: it is named, and nothing of the caller's is changed."""

import re
import sys

import numba
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from test_faults import unchanged
from test_minibatch import (
    BATCH,
    EPOCHS,
    ROWS,
    SEED,
    START,
    STEPS,
    A,
    B,
    gradient,
    jit_gradient,
    jit_pair,
    jit_value,
    kernel,
    pair,
    run,
    squares,
    value,
)

import rmsfast
from rmsfast import batches, minimize_minibatch, schedules

# Wrong arguments and options ----------------------------------------------------------------------


def bounded(name, got, interval, **others):
    return {**others, name: got}, ValueError, f"{name} must be in {interval}, got {got!r}"


def not_real(name, got, **others):
    return {**others, name: got}, TypeError, f"{name} must be a real number, got {got!r}"


def not_whole(name, got, **others):
    return {**others, name: got}, ValueError, f"{name} must be a whole number, got {got!r}"


def not_flag(name, got):
    return {name: got}, TypeError, f"{name} must be True or False, got {got!r}"


RAGGED = [[1.0, 2.0], [3.0]]
COUNT = "[1, inf)"
FROM_0 = "[0, inf)"
NO_RNG = "rng must be None, an int of at least 0 or a numpy Generator, got "
NO_AVERAGE = "average must be 'polyak', a number or None, got "
NO_JAC = "jac must be True or a callable, got "
VALID = {"validation": (A, B)}
OTHER_STATE = ": is it of other options?"
NO_STATE = "state must be the state of a result, got "

BAD = {
    # data
    "lengths differ": (
        {"data": (A, B[:-1])}, ValueError, "data[1] must have as many rows as data[0], 37, got 36",
    ),
    "lengths differ in a list": (
        {"data": [A, B, B[:1]]}, ValueError, "data[2] must have as many rows as data[0], 37, got 1",
    ),
    "no arrays": ({"data": ()}, ValueError, "data must hold at least one array, got ()"),
    "no arrays in a list": ({"data": []}, ValueError, "data must hold at least one array, got []"),
    "no rows": (
        {"data": (A[:0], B[:0])}, ValueError,
        "data[0] must have at least one row, got shape (0, 4)",
    ),
    "no rows in an array": (
        {"data": np.empty((0, 3))}, ValueError, "data must have at least one row, got shape (0, 3)",
    ),
    "no rows in the second": (
        {"data": (A, B[:0])}, ValueError, "data[1] must have at least one row, got shape (0,)",
    ),
    "a number": ({"data": 3.0}, ValueError, "data must have at least one row, got shape ()"),
    "numbers": (
        {"data": [1, 2]}, ValueError, "data must be an array or a tuple of arrays, got 1 in a list",
    ),
    "None": ({"data": None}, TypeError, "data must hold numbers, got dtype object"),
    "text": ({"data": "abc"}, TypeError, "data must hold numbers, got dtype <U3"),
    "texts": (
        {"data": (A, np.array(["a"] * ROWS))}, TypeError,
        "data[1] must hold numbers, got dtype <U1",
    ),
    "dates": (
        {"data": (np.zeros(ROWS, "M8[D]"), B)}, TypeError,
        "data[0] must hold numbers, got dtype datetime64[D]",
    ),
    "objects": (
        {"data": (A.astype(object), B)}, TypeError, "data[0] must hold numbers, got dtype object",
    ),
    "records": (
        {"data": np.zeros(ROWS, "f8,i4")}, TypeError,
        f"data must hold numbers, got dtype {np.dtype('f8,i4')}",
    ),
    "ragged": (
        {"data": (RAGGED, [1, 2])}, ValueError,
        "data[0] must be an array, got rows of different lengths",
    ),
    # how it is gone through
    "batch_size 0": bounded("batch_size", 0, COUNT),
    "batch_size -1": bounded("batch_size", -1, COUNT),
    "batch_size NaN": bounded("batch_size", float("nan"), COUNT),
    "batch_size inf": bounded("batch_size", float("inf"), COUNT),
    "batch_size 2.5": not_whole("batch_size", 2.5),
    "batch_size text": not_real("batch_size", "a"),
    "batch_size None": not_real("batch_size", None),
    "batch_size True": not_real("batch_size", True),
    "epochs -1": bounded("epochs", -1, FROM_0),
    "epochs 1.5": not_whole("epochs", 1.5),
    "epochs text": not_real("epochs", "2"),
    "epochs inf": bounded("epochs", float("inf"), FROM_0),
    "shuffle": not_flag("shuffle", "yes"),
    "shuffle 1": not_flag("shuffle", 1),
    "drop_last": not_flag("drop_last", None),
    "progress": not_flag("progress", "yes"),
    # options
    "unknown": (
        {"batchsize": 3}, TypeError, "'batchsize' is no option of minimize_minibatch",
    ),
    "gtol": ({"gtol": 1e-3}, TypeError, "'gtol' is no option of minimize_minibatch"),
    "bounds": ({"bounds": None}, TypeError, "'bounds' is no option of minimize_minibatch"),
    "lr called otherwise": (
        {"lr": ..., "learning_rate": 0.1}, TypeError,
        "'learning_rate' is no option of minimize_minibatch (did you mean lr?)",
    ),
    "no lr": ({"lr": ...}, ValueError, "lr must be given, or a preset that has one, got None"),
    "preset without lr": (
        {"lr": ..., "preset": "tf1"}, ValueError,
        "preset 'tf1' has no default learning rate: give lr",
    ),
    "lr auto": ({"lr": "auto"}, ValueError, "lr must be a number or a schedule, got 'auto'"),
    "lr text": ({"lr": "cosine"}, ValueError, None),
    "lr 0": bounded("lr", 0, "(0, inf)"),
    "lr None": not_real("lr", None),
    "lr a class": (
        {"lr": schedules.cosine}, TypeError,
        f"lr must be a schedule, not the class of one, got {schedules.cosine!r}",
    ),
    "lr(3) negative": (
        {"lr": lambda k: 1.0 if k < 3 else -1.0}, ValueError, "lr(3) must be in [0, inf), got -1.0",
    ),
    "lr(0) text": ({"lr": lambda k: "a"}, TypeError, "lr(0) must be a real number, got 'a'"),
    "lr of an epoch": (
        {"lr": lambda k: 1.0 if k < 1 else np.nan, "lr_interval": "epoch"}, ValueError,
        "lr(1) must be in [0, inf), got nan",
    ),
    "lr_interval": (
        {"lr_interval": "minute"}, ValueError,
        "lr_interval must be 'step' or 'epoch', got 'minute'",
    ),
    "rho": bounded("rho", 1.5, "[0, 1)"),
    "eps": bounded("eps", 0, "(0, inf)"),
    "eps in float32": (
        {"eps": 1e-60, "x0": START.astype(np.float32)}, ValueError,
        "eps must be positive in float32, got 1e-60",
    ),
    "nesterov": (
        {"nesterov": True}, ValueError, "nesterov needs momentum > 0, got momentum=0.0",
    ),
    "eval_steps 0": bounded("eval_steps", 0, COUNT),
    "eval_steps 1.5": not_whole("eval_steps", 1.5),
    "eval_steps text": not_real("eval_steps", "epoch"),
    "patience 0": bounded("patience", 0, COUNT, **VALID),
    "patience 1.5": not_whole("patience", 1.5, **VALID),
    "patience True": not_real("patience", True, **VALID),
    "patience alone": ({"patience": 3}, ValueError, "patience=3 needs validation, got None"),
    "average ema": ({"average": "ema"}, ValueError, NO_AVERAGE + "'ema'"),
    "average 1": bounded("average", 1.0, "[0, 1)"),
    "average -0.1": bounded("average", -0.1, "[0, 1)"),
    "average True": not_real("average", True),
    "average_start alone": (
        {"average_start": 2}, ValueError, "average_start=2 needs average, got None",
    ),
    "average_start -1": bounded("average_start", -1, FROM_0, average=0.5),
    "average_start 0.5": not_whole("average_start", 0.5, average=0.5),
    "method": (
        {"method": "adam"}, ValueError,
        "method must be one of rmsprop, gradient_descent, momentum, adagrad, got 'adam'",
    ),
    "option of another method": (
        {"method": "adagrad", "rho": 0.9}, TypeError, "'rho' is no option of method 'adagrad'",
    ),
    # x0
    "x0 empty": ({"x0": []}, ValueError, "x0 must have at least one element, got shape (0,)"),
    "x0 of two dimensions": (
        {"x0": np.ones((2, 2))}, ValueError, "x0 must have one dimension, got shape (2, 2)",
    ),
    "x0 NaN": ({"x0": [1.0, np.nan]}, ValueError, "x0 must be finite, got x0[1] = nan"),
    "x0 complex": (
        {"x0": [1j]}, TypeError, "x0 must be an array of real numbers, got dtype complex128",
    ),
    "x0 text": ({"x0": ["a"]}, TypeError, "x0 must be an array of real numbers, got dtype <U1"),
    # rng
    "rng -1": ({"rng": -1}, ValueError, NO_RNG + "-1"),
    "rng text": ({"rng": "a"}, TypeError, NO_RNG + "'a'"),
    "rng 1.5": ({"rng": 1.5}, TypeError, NO_RNG + "1.5"),
    # fun, jac, callback
    "fun a number": ({"fun": 3}, TypeError, "fun must be callable, got 3"),
    "fun None": ({"fun": None}, TypeError, "fun must be callable, got None"),
    "jac False": ({"fun": value, "jac": False}, TypeError, NO_JAC + "False"),
    "jac None": ({"fun": value, "jac": None}, TypeError, NO_JAC + "None"),
    "jac text": ({"fun": jit_value, "jac": "2-point"}, TypeError, NO_JAC + "'2-point'"),
    "jac text with an Objective": ({"jac": "2-point"}, TypeError, None),
    "jac with an Objective": (
        {"jac": gradient}, TypeError,
        "jac must be None or True: an Objective writes its own gradient",
    ),
    "callback": ({"callback": 3}, TypeError, "callback must be callable, got 3"),
    # validation
    "validation of fewer arrays": (
        {"validation": A}, ValueError, "validation must hold as many arrays as data, 2, got 1",
    ),
    "validation of more arrays": (
        {"validation": (A, B, B)}, ValueError,
        "validation must hold as many arrays as data, 2, got 3",
    ),
    "validation of different lengths": (
        {"validation": (A, B[:5])}, ValueError,
        "validation[1] must have as many rows as validation[0], 37, got 5",
    ),
    "validation without rows": (
        {"validation": (A[:0], B[:0])}, ValueError,
        "validation[0] must have at least one row, got shape (0, 4)",
    ),
    "validation without arrays": (
        {"validation": ()}, ValueError, "validation must hold at least one array, got ()",
    ),
    "validation text": (
        {"validation": "abc"}, TypeError, "validation must hold numbers, got dtype <U3",
    ),
    "validation that returns text": (
        {"validation": lambda x: "low"}, TypeError,
        "validation must return a real number, got 'low'",
    ),
    "validation that returns an array": (
        {"validation": lambda x: x}, ValueError,
        "validation must return a scalar, got an array of shape (4,)",
    ),
    # state
    "state empty": ({"state": {}}, TypeError, NO_STATE + "{}"),
    "state a number": ({"state": 3}, TypeError, NO_STATE + "3"),
    "state text": ({"state": "nit"}, TypeError, NO_STATE + "'nit'"),
}  # fmt: skip


def call(**changes):
    keywords = {
        "fun": squares, "x0": START, "data": (A, B), "batch_size": BATCH, "epochs": 2, "lr": 0.05,
    }  # fmt: skip
    keywords = {name: value for name, value in (keywords | changes).items() if value is not ...}
    first = [keywords.pop(name) for name in ("fun", "x0", "data")]
    return minimize_minibatch(*first, **keywords)


@pytest.mark.parametrize("changes, error, text", BAD.values(), ids=BAD)
def test_bad_input(changes, error, text):
    """None for a text: it names the argument."""
    changes = changes | {"rng": changes.get("rng", np.random.default_rng(0))}
    before = np.random.default_rng(0).bit_generator.state
    name = next(iter(changes))
    pattern = rf"^{name} must " if text is None else f"^{re.escape(text)}$"
    with unchanged(A, B, START, {k: v for k, v in changes.items() if k != "rng"}):
        with pytest.raises(error, match=pattern):
            call(**changes)
    late = text is not None and (text.startswith(("lr(", "validation must return")))
    if isinstance(changes["rng"], np.random.Generator) and not late:
        assert changes["rng"].bit_generator.state == before


def test_rng_is_looked_at_without_shuffle():
    with pytest.raises(TypeError, match="^rng must be "):
        call(shuffle=False, rng="a")


def test_progress_without_tqdm(monkeypatch):
    for name in ("tqdm", "tqdm.auto"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        ImportError, match=r'^progress=True needs tqdm: pip install "\.\[progress\]"$'
    ):
        call(progress=True)


@pytest.mark.parametrize("lr", [0.05, schedules.plateau(0.05)], ids=["number", "plateau"])
def test_interval_without_a_schedule(lr):
    text = f"lr_interval='epoch' needs a schedule, got lr={lr!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        call(lr=lr, lr_interval="epoch")


# A state of something else ------------------------------------------------------------------------

ACCUMULATORS = {
    "mean": {"centered": True},
    "buffer": {"momentum": 0.5},
    "average": {"average": "polyak"},
}


@pytest.mark.parametrize("name, options", ACCUMULATORS.items(), ids=ACCUMULATORS)
def test_state_lacks_an_accumulator(name, options):
    state = run().state
    text = re.escape(f"state[{name!r}] must be of shape (4,) and dtype float64, got ")
    with unchanged(state), pytest.raises(ValueError, match=f"^{text}.*{re.escape(OTHER_STATE)}$"):
        run(state=state, **options)


@pytest.mark.parametrize("name, options", ACCUMULATORS.items(), ids=ACCUMULATORS)
def test_state_has_one_too_many(name, options):
    state = run(**options).state
    text = f"state has {name!r}, for which there is no use: is it of other options?"
    with unchanged(state), pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        run(state=state)


def test_state_of_another_shape():
    state = run().state
    text = "state['x'] must be of shape (3,) and dtype float64, got (4,) and float64"
    with unchanged(state), pytest.raises(ValueError, match=re.escape(text + OTHER_STATE)):
        call(fun=lambda x, *batch: (0.0, x), x0=np.zeros(3), state=state)


def test_state_of_another_dtype():
    state = run(dtype=np.float32).state
    text = "state['x'] must be of shape (4,) and dtype float64, got (4,) and float32"
    with unchanged(state), pytest.raises(ValueError, match=re.escape(text + OTHER_STATE)):
        run(state=state)


@pytest.mark.parametrize("name", sorted(run(pair).state))
def test_state_that_lacks_something(name):
    """Whatever it lacks, it is the state that is named."""
    state = run(pair).state
    del state[name]
    with pytest.raises((TypeError, ValueError), match=r"^state"):
        run(pair, state=state, rng=None)


# What is not finite -------------------------------------------------------------------------------

ROW, COLUMN = 22, 2


def poisoned(bad):
    features = A.copy()
    features[ROW, COLUMN] = bad
    return features, B


def rows_of(order, k):
    return order[k * BATCH : (k + 1) * BATCH]


@pytest.mark.parametrize("fun", [squares, pair], ids=["compiled", "python"])
@pytest.mark.parametrize("seed", [None, 0, 1, 2], ids=["in order", *("seed " + c for c in "012")])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("window", [1, 2**20])
def test_data_that_are_not_finite(fun, seed, bad, window, monkeypatch):
    """The row is named; the point is that of the last loss that was finite."""
    monkeypatch.setattr(batches, "WINDOW_BYTES", window)
    data = poisoned(bad)
    order = np.arange(ROWS)
    if seed is not None:
        order = batches.draw_order(batches.generator_of_orders(seed), ROWS)
    k = next(k for k in range(STEPS) if ROW in rows_of(order, k))
    options = {"rng": seed, "shuffle": seed is not None, "lr": 0.05}
    with unchanged(data):
        result = minimize_minibatch(fun, START, data, batch_size=BATCH, epochs=3, **options)
    assert (result.status, result.success) == (13, False)
    assert result.message.endswith(f" data[0][{ROW}, {COLUMN}] is {bad}.")
    seen = []
    minimize_minibatch(
        pair, START, (A, B), batch_size=BATCH, epochs=1, eval_steps=1,
        callback=lambda xk: seen.append(xk), **options,
    )  # fmt: skip
    assert_array_equal(result.x, [START, START, *seen][k])
    assert (result.nit, result.nfev, len(result.loss)) == (max(k - 1, 0), k + 1, 0)
    assert np.isnan(result.fun)


def test_other_data_that_are_not_finite():
    """A label, in float32."""
    labels = B.astype(np.float32)
    labels[30] = np.inf
    assert call(data=(A, labels), fun=pair).message.endswith(" data[1][30] is inf.")


def test_rows_of_a_file_that_are_not_finite(tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "BLOCK_BYTES", 8 * 10)
    monkeypatch.setattr(batches, "WINDOW_BYTES", 8 * 4)
    numbers = np.zeros(45)
    numbers[33] = np.nan
    np.save(tmp_path / "data.npy", numbers)
    data = np.load(tmp_path / "data.npy", mmap_mode="r")
    for shuffle in (True, False):
        result = minimize_minibatch(
            lambda x, a: (a.sum(), np.ones(1)), [0.0], data, batch_size=2, epochs=1, lr=1, rng=4,
            shuffle=shuffle,
        )  # fmt: skip
        assert result.message.endswith(" data[33] is nan.")


@rmsfast.Objective
def spoiled(x, g, A, b, calls, last, bad, part):
    """`squares`, but for one call."""
    f = kernel(x, g, A, b)
    calls[0] += 1
    if calls[0] == last:
        if part < 0:
            f = bad
        else:
            g[part] = bad
    return f


def spoiled_in_python(x, *args):
    g = np.empty_like(x)
    return spoiled.fun(x, g, *args), g


@pytest.mark.parametrize("fun", [spoiled, spoiled_in_python], ids=["compiled", "python"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", [-1, 0, 3], ids=["value", "first of gradient", "last of gradient"])
@pytest.mark.parametrize("k", [1, 2, 3, 6, 12])
@pytest.mark.parametrize(
    "options", [{}, {"momentum": 0.5, "centered": True, "average": "polyak"}], ids=["plain", "rich"]
)
def test_objective_that_is_not_finite(fun, bad, part, k, options):
    """At call k: what is returned is as it was when the last finite loss was computed."""
    args = np.zeros(1, np.int64), k, bad, part
    result = run(fun, args=args, **options)
    assert (result.status, result.success) == (13, False)
    assert "NaN or infinite" in result.message and "data[" not in result.message
    assert result.nfev == result.njev == k
    assert result.nit == max(k - 2, 0)
    assert len(result.loss) == (k - 1) // STEPS
    assert result.fun == result.loss[-1] if k > STEPS else np.isnan(result.fun)

    def stop(intermediate_result):
        raise StopIteration

    kept = run(eval_steps=result.nit, callback=stop, **options) if result.nit else None
    for name in ("x", "x_last"):
        assert_array_equal(result[name], START if kept is None else kept[name])
    for name in () if kept is None else ("mean_square", "mean", "buffer", "average", "averaged"):
        assert_array_equal(result.state.get(name), kept.state.get(name))

    with unchanged(result.state):
        more = run(fun, args=args, state=result.state, rng=None, **options)  # no longer spoiled
    assert (more.status, more.nit) == (11, EPOCHS * STEPS)
    assert value(more.x_last, A, B) < value(START, A, B) / 2


def test_a_rate_that_is_too_large():
    """The loss overflows: no data are to blame."""
    result = run(lr=1e200)
    assert result.status == 13
    assert "data[" not in result.message
    assert np.isfinite(result.x).all()


def leaps(x, A, b):
    """The last of 20 steps is 10 * lr long; the loss knows nothing of it."""
    return 1.0, np.full(4, -1.0 if b[0] == B[ROWS - 1] else 0.0)


def stop_at_once(xk):
    raise StopIteration


@pytest.mark.parametrize("options", [{}, {"eval_steps": 3}, {"average": "polyak"}])
@pytest.mark.parametrize("callback", [None, stop_at_once], ids=["ends", "is stopped"])
def test_a_last_step_out_of_the_numbers(options, callback):
    """No evaluation follows that would see it: it is seen all the same."""
    keywords = {"lr": 1e308, "rho": 0.99, "batch_size": 1, "epochs": 1, "shuffle": False}
    result = minimize_minibatch(
        leaps, np.full(4, 1.5e308), (A, B), callback=callback, **keywords, **options
    )
    assert np.isfinite(result.x).all() and np.isfinite(result.x_last).all()
    assert np.isfinite(result.state["x"]).all()
    if callback is None:
        assert (result.status, result.success) == (13, False)
        assert (result.nit, result.nfev) == (ROWS - 1, ROWS)


@pytest.mark.parametrize("bad", [2, 4, 9])
@pytest.mark.parametrize("average", [None, "polyak", 0.5])
@pytest.mark.parametrize(
    "options", [{}, {"momentum": 0.5, "centered": True}, {"method": "gradient_descent"}]
)
def test_a_step_out_of_the_numbers_is_as_if_it_had_not_been(options, average, bad):
    """Point, average and accumulators are those of a run that ended before."""
    rows = np.arange(20.0)

    def fun(x, row):
        return 1.0, np.array([-1.7e308 if row[0] == bad and "method" in options else -1.0])

    start = [1e308]
    keywords = {"batch_size": 1, "epochs": 1, "shuffle": False, "average": average}
    keywords["lr"] = (lambda k: 1.7e308 if k == bad else 1e300) if "method" not in options else 10.0
    result = minimize_minibatch(fun, start, rows, **keywords, **options)
    assert (result.status, result.nit) == (13, bad)
    expected = minimize_minibatch(fun, start, rows[:bad], **keywords, **options)
    assert_array_equal(result.x, expected.x)
    for name in ("x", "mean_square", "mean", "buffer", "average", "nit", "averaged"):
        assert_array_equal(result.state.get(name), expected.state.get(name), err_msg=name)


def test_a_mean_square_that_overflows():
    """The step is then zero: point and loss are finite, and so the run is sound."""
    result = run(lambda x, A, b: (1.0, np.array([1e200, 1.0, 1.0, 1.0])))
    assert (result.status, result.nit) == (11, EPOCHS * STEPS)
    assert result.x[0] == START[0] and (result.x[1:] < START[1:]).all()


def test_the_message_of_what_is_not_finite_knows_this_solver():
    """There is no "auto" here, there are no bounds, and it is the last point, not the best."""
    message = run(lr=1e200).message
    for word in ("auto", "bounds", "best"):
        assert word not in message


def test_validation_that_is_not_finite():
    """It counts as no better; training goes on."""
    result = run(validation=poisoned(np.nan))
    assert result.success
    assert np.isnan(result.validation_loss).all()
    assert_array_equal(result.x, run().x)


# Objectives that fail -----------------------------------------------------------------------------


class OwnError(Exception):
    pass


@numba.njit
def raises_at(x, g, A, b, calls, last):
    calls[0] += 1
    if calls[0] == last:
        raise OwnError("own words")
    return kernel(x, g, A, b)


def raises_in_python(x, *args):
    g = np.empty_like(x)
    return raises_at(x, g, *args), g


@pytest.mark.parametrize(
    "fun", [rmsfast.Objective(raises_at), raises_in_python], ids=["compiled", "python"]
)
@pytest.mark.parametrize("last", [1, 4, 11])
@pytest.mark.parametrize("window", [1, 2**20])
def test_objective_that_raises(fun, last, window, monkeypatch):
    """Its exception arrives; the generator was drawn from once, as always."""
    monkeypatch.setattr(batches, "WINDOW_BYTES", window)
    rng, other = (np.random.default_rng(SEED) for _ in range(2))
    with unchanged(START, A, B), pytest.raises(OwnError, match="^own words$"):
        run(fun, args=(np.zeros(1, np.int64), last), rng=rng)
    batches.generator_of_orders(other)
    assert rng.bit_generator.state == other.bit_generator.state


def test_validation_that_raises():
    def validation(x):
        raise OwnError("own words")

    with pytest.raises(OwnError):
        run(validation=validation)


@rmsfast.Objective
def writes_into_x(x, g, A, b):
    f = kernel(x, g, A, b)
    x[0] += 1.0
    return f


def test_objective_that_writes_into_x():
    """A compiled one is refused; in Python it is given a copy."""
    with (
        unchanged(START),
        pytest.raises(ValueError, match="^fun wrote into x: an objective must only read it$"),
    ):
        run(writes_into_x)

    def in_python(x, A, b):
        answer = pair(x, A, b)
        x[:] = np.nan
        return answer

    assert_array_equal(run(in_python).x, run().x)


@numba.njit
def jit_shape(x, A, b):
    return 1.0, np.zeros(x.size + 1)


@numba.njit
def jit_alone(x, A, b):
    return 1.0


@numba.njit
def jit_complex(x, A, b):
    return 1j, x


@rmsfast.Objective
def no_number(x, g, A, b):
    return A


REAL = "fun must return a real number, got "
SHAPE = "the gradient must have the shape of x, (4,), got shape "
WRONG = {
    "no pair": (value, True, TypeError, "with jac=True fun must return (f, gradient), got float"),
    "three": (
        lambda *args: (*pair(*args), 1), True, TypeError,
        "with jac=True fun must return (f, gradient), got tuple",
    ),
    "None": (
        lambda *args: None, True, TypeError,
        "with jac=True fun must return (f, gradient), got NoneType",
    ),
    "text": (lambda x, *batch: ("a", x), True, TypeError, REAL + "'a'"),
    "complex": (lambda x, *batch: (1j, x), True, TypeError, REAL + "1j"),
    "complex gradient": (
        lambda x, *batch: (1.0, 1j * x), True, TypeError,
        "the gradient must be real, got dtype complex128",
    ),
    "loss of each row": (
        lambda x, *batch: (x, x), True, ValueError,
        "fun must return a scalar, got an array of shape (4,)",
    ),
    "long gradient": (lambda x, *batch: (1.0, np.zeros(5)), True, ValueError, SHAPE + "(5,)"),
    "gradient of each row": (
        lambda x, A, b: (1.0, A), True, ValueError, SHAPE + "(8, 4)",
    ),
    "long gradient of jac": (value, lambda x, *batch: np.zeros(3), ValueError, SHAPE + "(3,)"),
    "text of jac": (
        value, lambda x, *batch: ["a"] * 4, TypeError, "the gradient must be real, got dtype <U1",
    ),
    "compiled long gradient": (
        jit_shape, True, ValueError, "the gradient must have the shape of x",
    ),
    "compiled no pair": (
        jit_alone, True, TypeError,
        "with jac=True fun must return (f, gradient), compiled it returns float64",
    ),
    "compiled complex": (
        jit_complex, True, TypeError,
        "fun must return a real number, compiled it returns complex128",
    ),
    "compiled jac": (
        jit_value, jit_value, TypeError,
        "jac must return a one-dimensional real array, compiled it returns float64",
    ),
    "compiled fun": (
        jit_gradient, jit_gradient, TypeError,
        "fun must return a real number, compiled it returns array(float64, 1d, C)",
    ),
    "compiled pair with jac": (
        jit_pair, jit_gradient, TypeError,
        "fun must return a real number, compiled it returns Tuple(float64, array(float64, 1d, C)): "
        "give jac=True if it returns (f, gradient)",
    ),
    "Objective": (
        no_number, True, TypeError,
        "fun must return a real number, compiled it returns array(float64, 2d, C)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fun, jac, error, text", WRONG.values(), ids=WRONG)
def test_objective_of_wrong_form(fun, jac, error, text):
    with unchanged(START, A, B), pytest.raises(error, match=f"^{re.escape(text)}$"):
        run(fun, jac=jac)


def test_data_that_numba_does_not_know():
    """The array is named, as the caller gave it, and its dtype."""
    for dtype in (np.longdouble, np.float16):
        with pytest.raises(TypeError, match=rf"^data\[0\] .*{np.dtype(dtype)}"):
            call(data=(A.astype(dtype), B))
    assert call(fun=lambda x, A, b: pair(x, A.astype(float), b), data=(A.astype("g"), B)).success
