"""Mini-batches: PyTorch step by step, a book's result, stop and go on, early stopping."""

import copy
import gc
import io
import itertools
import math
import pickle
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import numpy as np
import pytest
import reference
import torch
from numpy.testing import assert_allclose, assert_array_equal
from processes import interrupt, posix
from scipy import stats
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import auto as tqdm

import rmsfast
from rmsfast import minimize_minibatch, schedules
from rmsfast.batches import draw_order, generator_of_orders

# A least-squares problem, and all forms of its objective ------------------------------------------

ROWS, BATCH, EPOCHS, SEED = 37, 8, 4, 7  # five batches, of which the last is short
STEPS = -(-ROWS // BATCH)
_rng = np.random.default_rng(5)
A = _rng.standard_normal((ROWS, 4)) * [1.0, 3.0, 0.2, 1.0]
B = A @ [1.0, -2.0, 0.5, 0.0] + 0.5 * _rng.standard_normal(ROWS)
START = _rng.standard_normal(4)


@numba.njit(error_model="numpy")
def kernel(x, g, A, b):
    g[:] = 0.0
    f = 0.0
    for i in range(b.size):
        r = -b[i]
        for j in range(x.size):
            r += A[i, j] * x[j]
        f += 0.5 * r * r / b.size
        for j in range(x.size):
            g[j] += r * A[i, j] / b.size
    return f


squares = rmsfast.Objective(kernel)


@numba.njit(error_model="numpy")
def jit_pair(x, A, b):
    g = np.empty_like(x)
    f = kernel(x, g, A, b)
    return f, g


@numba.njit(error_model="numpy")
def jit_value(x, A, b):
    return kernel(x, np.empty_like(x), A, b)


@numba.njit(error_model="numpy")
def jit_gradient(x, A, b):
    return jit_pair(x, A, b)[1]


def pair(x, A, b):
    return jit_pair(x, A, b)


def value(x, A, b):
    return jit_value(x, A, b)


def gradient(x, A, b):
    return jit_gradient(x, A, b)


FORMS = {
    "Objective": (squares, True),
    "njit": (jit_pair, True),
    "njit, njit": (jit_value, jit_gradient),
    "python": (pair, True),
    "python, python": (value, gradient),
    "njit, python": (jit_value, gradient),
}
each_form = pytest.mark.parametrize("fun, jac", FORMS.values(), ids=FORMS)
each_dtype = pytest.mark.parametrize("dtype", [np.float64, np.float32])


def data_of(dtype=np.float64):
    return A.astype(dtype), B.astype(dtype)


def run(fun=squares, dtype=np.float64, **options):
    """A run on the data above."""
    options = {"batch_size": BATCH, "epochs": EPOCHS, "rng": SEED, **options}
    if "preset" not in options:
        options.setdefault("lr", 0.05)
    return minimize_minibatch(fun, START.astype(dtype), data_of(dtype), **options)


def points(dtype=np.float64, **options):
    """All points (averages, if there are) after the first, and the result."""
    seen = []
    result = run(pair, dtype, eval_steps=1, callback=lambda xk: seen.append(xk), **options)
    assert result.nit == result.nfev == result.njev == len(seen)
    return np.array(seen), result


def assert_same_state(one, other):
    """Equal, to the last bit."""
    assert one.keys() == other.keys()
    for name, mine in one.items():
        theirs = other[name]
        if isinstance(mine, np.ndarray):
            assert mine.dtype == theirs.dtype and mine.tobytes() == theirs.tobytes(), name
        else:
            assert mine == theirs or (math.isnan(mine) and math.isnan(theirs)), name


def assert_same(result, expected):
    """Equal to the last bit, but for the time."""
    assert result.keys() == expected.keys()
    for name in result.keys() - {"seconds", "state"}:
        assert_array_equal(result[name], expected[name], err_msg=name)
    assert result.x.tobytes() == expected.x.tobytes()
    assert result.x_last.tobytes() == expected.x_last.tobytes()
    assert_same_state(result.state, expected.state)


# Step by step with PyTorch ------------------------------------------------------------------------


def cut(order):
    """The rows of each batch of an epoch."""
    return [order[start : start + BATCH] for start in range(0, ROWS, BATCH)]


class Torch:
    """`torch.optim.RMSprop` on the same batches; its gradient is that of `kernel`."""

    def __init__(self, dtype=np.float64, rule=torch.optim.RMSprop, **options):
        self.A, self.b = data_of(dtype)
        self.p = torch.nn.Parameter(torch.tensor(START.astype(dtype)))
        options = {"lr": 0.05, **options}
        if "rho" in options:
            options["alpha"] = options.pop("rho")
        self.optimizer = rule([self.p], **options)

    @property
    def x(self):
        return self.p.detach().numpy().copy()

    def steps(self, epochs=EPOCHS, clip=lambda p: None):
        """Step; yield the epoch, the loss of the batch, its rows, and if it is the last."""
        rng = generator_of_orders(SEED)
        for epoch in range(epochs):
            for k, rows in enumerate(cut(draw_order(rng, ROWS))):
                f, g = jit_pair(self.x, self.A[rows], self.b[rows])
                self.p.grad = torch.from_numpy(g)
                clip(self.p)
                self.optimizer.step()
                yield epoch, f, len(rows), k == STEPS - 1

    def points(self, **keywords):
        return np.array([self.x for _ in self.steps(**keywords)])


def assert_ulps(ours, theirs, ulps):
    """Equal but for rounding, in units of the last place of numbers of the size of 1 or larger."""
    assert ours.dtype == theirs.dtype
    scale = np.maximum(abs(theirs), 1) * np.finfo(ours.dtype).eps
    assert (abs(ours - theirs) <= ulps * scale).all(), (abs(ours - theirs) / scale).max()


OPTIONS = {
    "defaults": {},
    "lr": {"lr": 0.3},
    "rho": {"rho": 0.9},
    "rho 0": {"rho": 0.0, "lr": 0.01},
    "eps": {"eps": 0.1},
    "momentum": {"momentum": 0.9, "lr": 0.01},
    "centered": {"centered": True},
    "centered, momentum": {"centered": True, "momentum": 0.5, "rho": 0.9, "eps": 1e-3},
    "weight decay": {"weight_decay": 0.3},
    "maximize": {"maximize": True},
    "all": {
        "lr": 0.02, "rho": 0.95, "eps": 1e-4, "momentum": 0.8, "centered": True,
        "weight_decay": 0.1, "maximize": True,
    },
}  # fmt: skip


@each_dtype
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_pytorch(options, dtype):
    ours, result = points(dtype, **options)
    theirs = Torch(dtype, **options).points()
    assert len(ours) == EPOCHS * STEPS
    assert_ulps(ours, theirs, 64)
    assert_array_equal(result.x, ours[-1])
    assert result.x.dtype == dtype
    assert result.success and result.status == 11


RIVALS = {
    "gradient_descent": (torch.optim.SGD, "gradient_descent", {}),
    "momentum": (torch.optim.SGD, "momentum", {"momentum": 0.8, "weight_decay": 0.1}),
    "nesterov": (torch.optim.SGD, "momentum", {"momentum": 0.8, "nesterov": True}),
    "adagrad": (torch.optim.Adagrad, "adagrad", {"eps": 1e-6}),
}


@each_dtype
@pytest.mark.parametrize("rule, method, options", RIVALS.values(), ids=RIVALS)
def test_rivals(rule, method, options, dtype):
    ours, result = points(dtype, method=method, **options)
    assert_ulps(ours, Torch(dtype, rule, **options).points(), 64)
    compiled = run(dtype=dtype, method=method, **options)
    assert compiled.x.tobytes() == result.x.tobytes()


# What PyTorch does not have, in the formulas of tests/reference.py
OTHERS = {
    **{name: {"lr": 0.05, "preset": name} for name in reference.PRESETS},
    "nesterov": {"momentum": 0.7, "nesterov": True},
    "bias correction": {"bias_correction": True},
    "bias correction, centered": {"bias_correction": True, "centered": True, "rho": 0.9},
    "decoupled": {"weight_decay": 0.3, "decoupled": True},
    "lr in momentum": {
        "momentum": 0.7, "lr_in_momentum": True, "lr": schedules.inverse_time(0.1, 0.3),
    },
    "clipped decay": {"clip_norm": 1.0, "weight_decay": 0.3, "maximize": True},
}  # fmt: skip


@each_dtype
@pytest.mark.parametrize("options", OTHERS.values(), ids=OTHERS)
def test_formulas(options, dtype):
    ours, _ = points(dtype, **options)
    options = {"lr": 0.05, **reference.PRESETS.get(options.get("preset"), {}), **options}
    options.pop("preset", None)
    a, b = data_of(dtype)
    rng = generator_of_orders(SEED)
    x = START.astype(dtype)
    s = np.full_like(x, options.get("initial_scale", 0.0))
    m, buffer, theirs = np.zeros_like(x), np.zeros_like(x), []
    for rows in itertools.chain(*(cut(draw_order(rng, ROWS)) for _ in range(EPOCHS))):
        t, lr = len(theirs) + 1, options["lr"]
        now = options | {"lr": lr(t - 1) if callable(lr) else lr}
        _, g = jit_pair(x, a[rows], b[rows])
        x, s, m, buffer = reference.update(x, g, s, m, buffer, t, **now)
        theirs.append(x)
    assert_ulps(ours, np.array(theirs), 64)


def test_every_option_changes_the_points():
    """Else the comparison would show nothing of it."""
    plain, _ = points()
    same = ("defaults", "torch", "ensmallen")
    for name, options in (OPTIONS | OTHERS).items():
        change = abs(points(**options)[0] - plain)[-1].max()
        assert change == 0 if name in same else change > 1e-3, name


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9, "centered": True, "weight_decay": 0.1}])
def test_a_loop_of_pytorch(options):
    """As it stands in tutorials: a module, a loss, autograd; nothing of ours but the order."""
    model = torch.nn.Linear(4, 1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        model.weight[:] = torch.from_numpy(START)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=0.05, **options)
    rng = generator_of_orders(SEED)
    losses = []
    for _ in range(EPOCHS):
        total = 0.0
        for rows in torch.split(torch.from_numpy(draw_order(rng, ROWS)), BATCH):
            features, labels = torch.from_numpy(A)[rows], torch.from_numpy(B)[rows]
            optimizer.zero_grad()
            loss = 0.5 * torch.nn.functional.mse_loss(model(features)[:, 0], labels)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        losses.append(total / ROWS)
    result = run(**options)
    assert_allclose(result.x, model.weight.detach().numpy()[0], rtol=1e-12)
    assert_allclose(result.loss, losses, rtol=1e-12)
    assert_array_equal(result.epoch, [1, 2, 3, 4])
    assert result.fun == result.loss[-1]
    assert result.validation_loss is None


# Every accumulator, and all that happens between steps
RICH = {
    "momentum": 0.7, "centered": True, "weight_decay": 0.01, "clip_norm": 3.0, "average": 0.9,
    "average_start": 1, "lr": schedules.inverse_time(0.05, 0.1),
}  # fmt: skip


@each_dtype
@each_form
@pytest.mark.parametrize("options", [{}, RICH], ids=["plain", "rich"])
def test_forms_are_equal(fun, jac, dtype, options):
    """To the last bit; and however often it is looked up."""
    validation = data_of(dtype)[0][:9], data_of(dtype)[1][:9]
    keywords = {"dtype": dtype, "validation": validation, **options}
    result = run(fun, jac=jac, **keywords)
    assert_same(result, run(pair, **keywords))
    often = run(fun, jac=jac, **keywords | {"eval_steps": 1})
    assert often.x.tobytes() == result.x.tobytes()
    assert often.x_last.tobytes() == result.x_last.tobytes()


@numba.njit
def weighted(x, A, b, weight, offset=0.0):
    f, g = jit_pair(x, A, b)
    return weight[0] * f + offset, weight[0] * g


@rmsfast.Objective
def weighted_in_place(x, g, A, b, weight, offset=0.0):
    f = kernel(x, g, A, b)
    g *= weight[0]
    return weight[0] * f + offset


@pytest.mark.parametrize(
    "fun", [weighted, weighted_in_place, lambda *args: weighted(*args)],
    ids=["njit", "Objective", "python"],
)  # fmt: skip
def test_further_arguments(fun):
    """After the batch; those that have defaults may be left out."""
    weight = np.array([2.0])
    expected = run()
    for args, offset in (((weight,), 0.0), ((weight, 5.0), 5.0)):
        result = run(fun, args=args, validation=(A, B), eps=2e-8)
        assert_allclose(result.x, expected.x, rtol=1e-14)
        assert_allclose(result.loss, 2 * expected.loss + offset, rtol=1e-14)
        assert_allclose(result.validation_loss[-1], 2 * value(expected.x, A, B) + offset)
    assert run(lambda x, A, b, w: (w, np.zeros(4)), args=3.0).fun == 3.0  # needs no tuple


# A book -------------------------------------------------------------------------------------------


def book_step(x, s, g, lr, gamma, eps):
    """Dive into Deep Learning, section 12.8: `rmsprop` of "Implementation from Scratch"."""
    s[:] = gamma * s + (1 - gamma) * g**2
    x[:] -= lr * g / np.sqrt(s + eps)


@each_dtype
@pytest.mark.parametrize("lr, gamma, eps", [(0.01, 0.9, 1e-6), (0.2, 0.5, 0.3)])
def test_dive_into_deep_learning(lr, gamma, eps, dtype):
    ours, _ = points(dtype, preset="d2l", lr=lr, rho=gamma, eps=eps)
    a, b = data_of(dtype)
    x, s, rng = START.astype(dtype), np.zeros(4, dtype), generator_of_orders(SEED)
    theirs = []
    for _ in range(EPOCHS):
        for rows in cut(draw_order(rng, ROWS)):
            g = a[rows].T @ (a[rows] @ x - b[rows]) / len(rows)
            book_step(x, s, g, lr, gamma, eps)
            theirs.append(x.copy())
    assert_ulps(ours, np.array(theirs), 64)


def airfoil():
    """NASA's airfoil self-noise as the book has it: five features and 1, and the label."""
    table = np.genfromtxt(Path(__file__).parents[2] / "shared/data/airfoil_self_noise.dat")
    table = ((table - table.mean(0)) / table.std(0))[:1500]
    return np.column_stack([table[:, :-1], np.ones(1500)]), table[:, -1].copy()


def test_airfoil():
    """The book trains linear regression with RMSProp for two epochs, lr 0.01 and gamma 0.9.

    It prints losses of 0.243452 and 0.243676; those of 200 seeds have the mean 0.2440 and the
    standard deviation 0.0016. Half the mean square of the labels is 0.49326, and the least squares
    are 0.24169.
    """
    features, labels = data = airfoil()
    assert abs(value(np.zeros(6), *data) - 0.49326) < 5e-6
    best = np.linalg.lstsq(features, labels)[0]
    assert abs(value(best, *data) - 0.24169) < 5e-6

    losses = []
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        start = np.append(0.01 * rng.standard_normal(5), 0.0)
        result = minimize_minibatch(
            squares, start, data, batch_size=10, epochs=2, preset="d2l", rng=rng, validation=data
        )
        assert result.nit == 300
        assert result.fun == result.validation_loss[-1] == value(result.x, *data)
        losses.append(result.fun)
    assert min(losses) > 0.24169
    # three standard errors of a sample of 200, and the rounding of the numbers
    mean, deviation, excess = np.mean(losses), np.std(losses), stats.kurtosis(losses)
    assert abs(mean - 0.2440) < 3 * deviation / math.sqrt(200) + 5e-5
    assert abs(deviation - 0.0016) < 3 * deviation * math.sqrt((excess + 2) / 800) + 5e-5


# Schedules, clipping, averages --------------------------------------------------------------------

SCHEDULES = {
    "step": (
        {"lr": schedules.step(0.1, 2, 0.3), "lr_interval": "epoch"},
        lambda o: lr_scheduler.StepLR(o, 2, 0.3),
    ),
    "lambda": (
        {"lr": lambda k: 0.1 / (1 + 0.2 * k)},
        lambda o: lr_scheduler.LambdaLR(o, lambda k: 1 / (1 + 0.2 * k)),
    ),
    "inverse time": (
        {"lr": schedules.inverse_time(0.1, 0.2), "lr_interval": "step"},
        lambda o: lr_scheduler.LambdaLR(o, lambda k: 1 / (1 + 0.2 * k)),
    ),
    "lambda of the epoch": (
        {"lr": lambda k: 0.1 / (1 + 3 * k), "lr_interval": "epoch"},
        lambda o: lr_scheduler.LambdaLR(o, lambda k: 1 / (1 + 3 * k)),
    ),
    "cosine to nothing": (
        {"lr": schedules.cosine(0.1, 15)},
        lambda o: lr_scheduler.LambdaLR(
            o, lambda k: 0.5 * (1 + math.cos(math.pi * min(k / 15, 1)))
        ),
    ),
}


@pytest.mark.parametrize("options, make", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_schedules(options, make, momentum):
    peer = Torch(lr=0.1, momentum=momentum)
    scheduler = make(peer.optimizer)
    theirs = []
    for _, _, _, last in peer.steps():
        theirs.append(peer.x)
        if last or options.get("lr_interval", "step") == "step":
            scheduler.step()
    ours, result = points(momentum=momentum, **options)
    assert_ulps(ours, np.array(theirs), 64)
    assert_array_equal(run(momentum=momentum, **options).x, result.x)


def negated(x, A, b):
    f, g = pair(x, A, b)
    return -f, -g


@pytest.mark.parametrize("validated", [True, False])
@pytest.mark.parametrize("sign", [1, -1], ids=["minimize", "maximize"])
def test_plateau(validated, sign):
    """As ReduceLROnPlateau, which counts from one further on; the point stays where it is."""
    epochs, validation = 25, (A[:12], B[:12])
    peer = Torch(lr=1.5, momentum=0.5, maximize=sign < 0)
    scheduler = lr_scheduler.ReduceLROnPlateau(
        peer.optimizer, "min" if sign > 0 else "max", factor=0.5, patience=1, threshold=0, eps=0
    )
    theirs, rates, total = [], [], 0.0
    for _, f, rows, last in peer.steps(epochs, clip=lambda p: p.grad.mul_(sign)):
        total += sign * f * rows
        if last:
            theirs.append(peer.x)
            scheduler.step(sign * value(peer.x, *validation) if validated else total / ROWS)
            rates.append(peer.optimizer.param_groups[0]["lr"])
            total = 0.0
    seen = []
    result = run(
        pair if sign > 0 else negated, maximize=sign < 0,
        lr=schedules.plateau(1.5, 0.5, 2), momentum=0.5, epochs=epochs,
        validation=validation if validated else None, callback=lambda xk: seen.append(xk),
    )  # fmt: skip
    assert rates[-1] < 0.2
    assert result.state["lr"] == rates[-1]
    assert_ulps(np.array(seen), np.array(theirs), 512)
    assert_array_equal(result.x, seen[-1])


@pytest.mark.parametrize("bound", [0.1, 0.3, 1e3])
@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_clip_value(bound, momentum):
    ours, _ = points(clip_value=bound, momentum=momentum)
    peer = Torch(momentum=momentum)
    theirs = peer.points(clip=lambda p: torch.nn.utils.clip_grad_value_([p], bound))
    assert_ulps(ours, theirs, 256)  # roundings are divided by a mean square below bound**2


@pytest.mark.parametrize("bound", [0.01, 1.0, 1e3])
@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_clip_norm(bound, momentum):
    """PyTorch adds 1e-6 to the norm; with that taken away before the two are equal."""

    def clip(p):
        norm = torch.nn.utils.get_total_norm([p.grad])
        torch.nn.utils.clip_grads_with_norm_([p], bound, norm - 1e-6)

    ours, _ = points(clip_norm=bound, momentum=momentum)
    assert_ulps(ours, Torch(momentum=momentum).points(clip=clip), 256)
    as_is = Torch(momentum=momentum).points(
        clip=lambda p: torch.nn.utils.clip_grad_norm_([p], bound)
    )
    assert_allclose(ours, as_is, atol=1e-4)


class Module(torch.nn.Module):
    def __init__(self, p):
        super().__init__()
        self.p = p


@each_dtype
@pytest.mark.parametrize("start", [0, 1, 2, 3, 9])
@pytest.mark.parametrize("average", ["polyak", 0.9, 0.5])
def test_averages(average, start, dtype):
    peer = Torch(dtype)
    rule = {} if average == "polyak" else {"multi_avg_fn": get_ema_multi_avg_fn(average)}
    module = Module(peer.p)
    averaged, theirs = AveragedModel(module, **rule), []
    for epoch, *_ in peer.steps():
        if epoch >= start:
            averaged.update_parameters(module)
        best = averaged.module.p if epoch >= start else peer.p
        theirs.append(best.detach().numpy().copy())
    ours, result = points(dtype, average=average, average_start=start, validation=data_of(dtype))
    assert_ulps(ours, np.array(theirs), 64)
    assert_array_equal(result.x, ours[-1])
    plain, _ = points(dtype)
    assert_array_equal(result.x_last, plain[-1])
    assert (result.x == result.x_last).all() == (start >= EPOCHS)
    assert_allclose(result.validation_loss, [value(x, *data_of(dtype)) for x in ours], rtol=1e-12)


def test_an_average_that_forgets_is_the_point():
    result = run(average=0.0)
    assert_array_equal(result.x, result.x_last)
    assert_array_equal(result.x, run().x)


# What a result tells ------------------------------------------------------------------------------


@pytest.mark.parametrize("fun", [squares, pair], ids=["compiled", "python"])
@pytest.mark.parametrize("every", [1, 3, 5, 7, 19, 100, None])
def test_evaluations(every, fun):
    """At each `every` steps, whatever the epochs, and of what is left over at the end."""
    peer = Torch()
    trace = [(peer.x, f, rows) for _, f, rows, _ in peer.steps()]
    total = EPOCHS * STEPS
    ends = [*range(every or STEPS, total, every or STEPS), total]
    losses = []
    for first, last in itertools.pairwise([0, *ends]):
        _, f, rows = zip(*trace[first:last], strict=True)
        losses.append(np.dot(f, rows) / sum(rows))
    result = run(fun, eval_steps=every, validation=(A[:5], B[:5]))
    assert_allclose(result.loss, losses, rtol=1e-12)
    assert_allclose(result.epoch, np.array(ends) / STEPS, rtol=1e-15)
    expected = [value(trace[end - 1][0], A[:5], B[:5]) for end in ends]
    assert_allclose(result.validation_loss, expected, rtol=1e-12)
    assert result.fun == result.validation_loss[-1]
    assert result.seconds.shape == result.loss.shape and (result.seconds > 0).all()
    assert (result.nit, result.nfev, result.njev) == (total, total, total)
    assert_array_equal(result.x, run().x)
    assert run(fun, eval_steps=every).fun == result.loss[-1]


def test_validation_is_data_or_a_function():
    expected = run(validation=(A, B))
    asked = []

    def check(x):
        asked.append(x.copy())
        f = value(x, A, B)
        x[:] = np.nan  # its own copy
        return f

    for validation in (check, [A.tolist(), B.tolist()], (np.asfortranarray(A), B.astype(">f8"))):
        assert_same(run(validation=validation), expected)
    assert len(asked) == EPOCHS
    assert_array_equal(asked[-1], expected.x)


def test_callback_by_name():
    told = []

    def callback(intermediate_result):
        told.append(intermediate_result)

    result = run(validation=(A, B), average=0.5, eval_steps=3, callback=callback)
    fields = {"x", "fun", "loss", "validation_loss", "epoch", "nit"}
    assert all(set(each) == fields for each in told)
    assert_array_equal([each.loss for each in told], result.loss)
    assert_array_equal([each.validation_loss for each in told], result.validation_loss)
    assert_array_equal([each.fun for each in told], result.validation_loss)
    assert_array_equal([each.epoch for each in told], result.epoch)
    assert [each.nit for each in told] == [3, 6, 9, 12, 15, 18, 20]
    assert_array_equal(told[-1].x, result.x)
    told.clear()
    result = run(callback=callback)
    assert_array_equal([each.fun for each in told], result.loss)


def test_callback_by_place():
    seen = []

    def callback(xk):
        seen.append(xk.copy())
        xk[:] = np.nan  # its own copy

    result = run(callback=callback)
    assert_same(result, run())
    assert len(seen) == EPOCHS
    assert_array_equal(seen[-1], result.x)


@pytest.mark.parametrize("fun", [squares, pair], ids=["compiled", "python"])
def test_callback_that_stops(fun):
    def callback(intermediate_result):
        if intermediate_result.nit == 9:
            raise StopIteration

    result = run(fun, callback=callback, eval_steps=3, validation=(A, B))
    assert (result.status, result.success) == (99, False)
    assert result.message == "`callback` raised `StopIteration`."
    assert (result.nit, result.nfev, len(result.loss)) == (9, 9, 3)
    ours, _ = points()
    assert_array_equal(result.x, ours[8])
    assert result.fun == value(result.x, A, B)


def test_callback_that_fails():
    def callback(xk):
        raise LookupError("own words")

    with pytest.raises(LookupError, match="^'?own words"):
        run(callback=callback)


def test_no_epochs():
    def unasked(x, *batch):
        raise AssertionError

    for fun in (squares, unasked):
        result = run(fun, epochs=0, validation=(A, B), average="polyak", callback=unasked)
        assert (result.status, result.success, result.nit, result.nfev) == (11, True, 0, 0)
        assert_array_equal(result.x, START)
        assert_array_equal(result.x_last, START)
        assert math.isnan(result.fun)
        for name in ("loss", "validation_loss", "epoch", "seconds"):
            assert result[name].shape == (0,)
    assert result.message == "Training terminated successfully: all epochs are done."


@pytest.mark.parametrize("fun", [squares, pair], ids=["compiled", "python"])
@pytest.mark.parametrize("options", [{}, {"eval_steps": 3}, {"epochs": 0}, {"drop_last": True}])
def test_progress(fun, options, capfd, monkeypatch):
    """The bar fills, and something is told between."""
    told, closed = [], []

    class Bar(tqdm.tqdm):
        def update(self, n=1):
            told.append(n)
            return super().update(n)

        def close(self):
            closed.append((self.n, self.total))
            super().close()

    monkeypatch.setattr(tqdm, "tqdm", Bar)
    expected = run(fun, **options)
    assert capfd.readouterr() == ("", "") and not told
    assert_same(run(fun, progress=True, **options), expected)
    out, err = capfd.readouterr()
    assert out == ""
    done, total = closed[0]
    assert done == total
    assert min(told, default=0) >= 0
    if total:
        assert "100%" in err
        assert len([n for n in told if n]) >= EPOCHS


# Early stopping -----------------------------------------------------------------------------------

LOSSES = [5.0, 4.0, 4.5, 4.2, 3.9, 6.0, 3.9, math.nan, 1.0, 0.5]


def told_losses(losses, seen):
    """A validation that says these losses, whatever the point."""
    left = iter(losses)

    def validation(x):
        seen.append(x)
        return next(left)

    return validation


@pytest.mark.parametrize("fun", [squares, pair], ids=["compiled", "python"])
@pytest.mark.parametrize("patience, best, end", [(1, 2, 3), (2, 2, 4), (3, 5, 8), (4, 10, 10)])
@pytest.mark.parametrize("sign", [1, -1], ids=["minimize", "maximize"])
@pytest.mark.parametrize("average", [None, 0.5])
def test_patience(fun, patience, best, end, sign, average):
    """It stops after so many evaluations in a row that were no better: equal or NaN are not."""
    seen = []
    losses = [sign * f for f in LOSSES]
    result = run(
        fun, validation=told_losses(losses, seen), patience=patience, epochs=10, lr=0.01,
        maximize=sign < 0, average=average,
    )  # fmt: skip
    stopped = end < 10
    assert (result.status, result.success) == (12 if stopped else 11, True)
    assert len(seen) == len(result.loss) == end
    assert result.nit == end * STEPS
    assert_array_equal(result.validation_loss, losses[:end])
    assert result.fun == losses[best - 1]
    assert_array_equal(result.x, seen[best - 1])
    if average is None:
        assert_array_equal(result.x_last, seen[-1])
    if stopped:
        assert result.message == (
            "Training terminated successfully: the validation loss has stopped falling; the point "
            "where it was lowest is returned."
        )


def test_patience_counts_evaluations():
    seen = []
    result = run(validation=told_losses([1.0, 2.0, 3.0], seen), patience=2, eval_steps=3)
    assert (result.status, result.nit) == (12, 9)
    assert_array_equal(result.epoch, [0.6, 1.2, 1.8])
    assert_array_equal(result.x, seen[0])


def test_patience_without_any_good_loss():
    result = run(validation=lambda x: math.nan, patience=2)
    assert (result.status, result.success, result.nit) == (13, False, 2 * STEPS)
    assert result.message.endswith(" The validation loss is nan.")
    assert math.isnan(result.fun)
    assert_array_equal(result.x, result.x_last)


def test_without_patience_the_last_point_is_returned():
    seen = []
    result = run(validation=told_losses([1.0, 2.0, 3.0, 4.0], seen))
    assert result.fun == 4.0
    assert_array_equal(result.x, seen[-1])


# Stop and go on -----------------------------------------------------------------------------------


class Told:
    """A validation that says one loss after another, over several runs."""

    def __init__(self):
        self.left = iter([5.0, 4.0, 4.5, 6.0, 7.0, 8.0, 9.0, 1.0])

    def __call__(self, x):
        return next(self.left)


GO_ON = {
    "plain": {},
    "float32": {"dtype": np.float32},
    "momentum, centered": {"momentum": 0.9, "centered": True},
    "bias correction": {"bias_correction": True, "initial_scale": 1.0},
    "polyak": {"average": "polyak"},
    "average": {"average": 0.9, "average_start": 1},
    "average later": {"average": "polyak", "average_start": 3},
    "schedule": {"lr": schedules.inverse_time(0.1, 0.3)},
    "schedule of epochs": {"lr": schedules.step(0.1, 2, 0.3), "lr_interval": "epoch"},
    "plateau": {"lr": schedules.plateau(0.5, 0.5, 1), "validation": Told},
    "plateau of training": {"lr": schedules.plateau(0.5, 0.5, 1)},
    "patience": {"validation": Told, "patience": 3},
    "patience, average": {"validation": Told, "patience": 3, "average": 0.5},
    "all": {
        "validation": Told, "patience": 5, "average": "polyak", "average_start": 1,
        "momentum": 0.5, "centered": True, "lr": schedules.plateau(0.5, 0.5, 1), "clip_norm": 1.0,
        "weight_decay": 0.1, "nesterov": True, "eval_steps": STEPS,
    },
    "in order": {"shuffle": False},
}  # fmt: skip


def as_archive(state):
    """The state through numpy.savez."""
    file = io.BytesIO()
    np.savez(file, **state)
    file.seek(0)
    loaded = np.load(file, allow_pickle=True)
    return {name: a if a.ndim else a.item() for name, a in loaded.items()}


WAYS = {
    "as it is": lambda state: state,
    "copied": copy.deepcopy,
    "pickled": lambda state: pickle.loads(pickle.dumps(state)),
    "in an archive": as_archive,
}


@pytest.mark.parametrize("fun", [squares, pair], ids=["compiled", "python"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("options", GO_ON.values(), ids=GO_ON)
def test_go_on(options, way, fun):
    """In pieces of 1, 2 and 3 epochs, or until stopped: as if it had never ended."""
    expected = run(fun, **options | {"epochs": 6} | made(options))
    options = options | made(options)
    pieces, state = [], None
    for epochs in (1, 2, 3):
        kept = copy.deepcopy(state)
        options |= {"epochs": epochs, "rng": SEED if state is None else None, "state": state}
        piece = run(fun, **options)
        if state is not None:
            assert_same_state(state, kept)
        pieces.append(piece)
        state = way(piece.state)
        if piece.status == 12:
            break
    assert sum(piece.nit for piece in pieces) == expected.nit
    for name in ("loss", "validation_loss", "epoch"):
        if expected[name] is not None:
            whole = np.concatenate([piece[name] for piece in pieces])
            assert_array_equal(whole, expected[name])
    for name in ("x", "x_last", "fun", "status"):
        assert_array_equal(piece[name], expected[name])
    assert_same_state(piece.state, expected.state)


def made(options):
    """The options of which each run needs its own."""
    return {"validation": Told()} if options.get("validation") is Told else {}


def test_go_on_from_a_stop():
    """By the callback at the end of an epoch; the state is of that moment."""

    def callback(intermediate_result):
        if intermediate_result.epoch == 2:
            raise StopIteration

    first = run(callback=callback, momentum=0.5, epochs=50)
    assert first.status == 99
    second = run(state=first.state, rng=None, epochs=2, momentum=0.5)
    expected = run(momentum=0.5)
    assert_array_equal(second.x, expected.x)
    assert_same_state(second.state, expected.state)


@pytest.mark.parametrize("kind", [np.random.MT19937, np.random.Philox, np.random.SFC64])
def test_go_on_with_other_generators(kind):
    expected = run(rng=np.random.Generator(kind(3)))
    first = run(rng=np.random.Generator(kind(3)), epochs=1)
    second = run(rng=None, state=pickle.loads(pickle.dumps(first.state)), epochs=EPOCHS - 1)
    assert_array_equal(second.x, expected.x)


def test_state_is_the_results_own():
    """Neither a further run nor the caller changes it."""
    first = run(momentum=0.5, average=0.5)
    kept = copy.deepcopy(first.state)
    first.x[:] = 0
    first.x_last[:] = 0
    assert_same_state(first.state, kept)
    second = run(state=first.state, momentum=0.5, average=0.5)
    second.state["x"][:] = 0
    assert_same_state(first.state, kept)
    assert set(first.state) >= {"x", "mean_square", "buffer", "average", "rng"}


def test_the_start_is_not_used_with_a_state():
    first = run()
    expected = run(state=first.state)
    result = minimize_minibatch(
        squares, np.zeros(4), (A, B), batch_size=BATCH, epochs=EPOCHS, rng=SEED, lr=0.05,
        state=first.state,
    )  # fmt: skip
    assert_array_equal(result.x, expected.x)


def test_go_on_without_patience():
    """The best point of the run before is its own: the last one is returned."""
    seen = []
    first = run(validation=told_losses([1.0, 2.0], []), patience=9, epochs=2)
    result = run(state=first.state, validation=told_losses([3.0, 4.0], seen), epochs=2)
    assert_array_equal(result.x, seen[-1])
    assert result.fun == 4.0


def test_a_given_generator_wins_over_that_of_the_state():
    first = run(epochs=1)
    orders = []

    def spy(x, A, b):
        orders.append(b)
        return pair(x, A, b)

    for rng in (3, np.random.default_rng(3)):
        orders.clear()
        run(spy, state=first.state, rng=rng, epochs=1)
        assert_array_equal(np.concatenate(orders), B[draw_order(generator_of_orders(3), ROWS)])


# Runs within and beside each other ----------------------------------------------------------------


def test_runs_do_not_notice_each_other():
    expected = run(momentum=0.5)

    def callback(xk):
        assert_same(run(momentum=0.5), expected)

    assert_same(run(momentum=0.5, callback=callback), expected)
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(lambda _: run(momentum=0.5), range(40)):
            assert_same(result, expected)


@pytest.mark.parametrize(
    "fun, jac", [(weighted_in_place, True), (weighted, True)], ids=["Objective", "njit"]
)
@pytest.mark.parametrize("shuffle", [True, False])
def test_compiled_loops_return_what_they_borrow(fun, jac, shuffle):
    """The references to all arrays are as many as before, after many steps."""
    arrays = (*data_of(), np.ones(1))
    *data, weight = arrays
    options = {"batch_size": 1, "lr": 0.01, "args": (weight,), "shuffle": shuffle}
    before = [sys.getrefcount(array) for array in arrays]
    result = minimize_minibatch(fun, START, tuple(data), jac=jac, epochs=100, **options)
    assert result.success
    gc.collect()
    assert [sys.getrefcount(array) for array in arrays] == before


@pytest.mark.parametrize("fun", [squares, jit_pair, pair], ids=["Objective", "njit", "python"])
def test_a_run_is_freed_at_its_end(fun):
    """Data may be large: nothing waits for the garbage collector."""
    data = data_of()
    alive = [weakref.ref(array) for array in data]
    gc.collect()
    gc.disable()
    try:
        result = minimize_minibatch(fun, START, data, batch_size=8, epochs=2, lr=0.1, rng=0)
        del data
        assert [each() is None for each in alive] == [True, True]
    finally:
        gc.enable()
    assert result.success


# Ctrl-C -------------------------------------------------------------------------------------------

INTERRUPTED = """
import signal, sys, threading
import numpy as np
import rmsfast
from rmsfast import batches

signal.signal(signal.SIGINT, signal.default_int_handler)

@rmsfast.Objective
def compiled(x, g, a):
    g[0] = x[0] - a[0]
    return 0.5 * g[0] ** 2

def in_python(x, a):
    return 0.5 * (x[0] - a[0]) ** 2, x - a[0]

fun = {"compiled": compiled, "python": in_python}[sys.argv[1]]
if sys.argv[2] == "windows":
    batches.WINDOW_BYTES = 8 * 50
data = np.random.default_rng(0).standard_normal(1000)

def go(epochs, rng, **options):
    return rmsfast.minimize_minibatch(
        fun, [9.0], data, batch_size=1, epochs=epochs, lr=0.001, rng=rng, momentum=0.5, **options
    )

go(1, 0)
rng = np.random.default_rng(0)
print("started", flush=True)
result = go(10**9, rng, eval_steps=10**9)
print("returned", flush=True)
assert result.status == 98 and not result.success
assert "Ctrl-C" in result.message
assert threading.active_count() == 1
assert result.nfev == result.nit > 0, (result.nfev, result.nit)
epochs = result.nit // 1000
last = []

def stop(intermediate_result):
    if intermediate_result.nit == result.nit:
        last.append(intermediate_result.x)
        raise StopIteration

other = np.random.default_rng(0)
expected = go(epochs + 1, other, eval_steps=result.nit, callback=stop)
assert expected.nit == result.nit and expected.x == result.x == last[0], (expected, result)
assert rng.bit_generator.state == other.bit_generator.state
go(1, rng, state=result.state)
print("as it should be")
"""


@posix
@pytest.mark.parametrize("windows", ["one", "windows"])
@pytest.mark.parametrize("fun", ["compiled", "python"])
def test_interrupt(tmp_path, fun, windows):
    """It ends where it was: the same steps, uninterrupted, give the same point."""
    assert interrupt(tmp_path, INTERRUPTED, fun, windows).endswith("as it should be\n")


def test_objective_that_raises_keyboard_interrupt():
    """In Python, Ctrl-C is an exception within the objective."""
    calls = itertools.count(1)

    def fun(x, *batch):
        if next(calls) == 13:
            raise KeyboardInterrupt
        return pair(x, *batch)

    result = run(fun)
    ours, _ = points()
    assert (result.status, result.success, result.nit) == (98, False, 12)
    assert_array_equal(result.x, ours[11])
    assert result.nfev == 12
    assert_array_equal(result.epoch, [1, 2])
    assert result.fun == result.loss[-1]
    assert_array_equal(run(state=result.state, epochs=0).x, result.x)


def test_callback_that_raises_keyboard_interrupt():
    def callback(xk):
        raise KeyboardInterrupt

    result = run(callback=callback)
    assert (result.status, result.nit) == (98, STEPS)
    assert_array_equal(result.x, run(epochs=1).x)
