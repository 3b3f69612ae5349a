"""What `rmsfast.RMSProp` remembers, and what it leaves out: state, skipped updates, clipping."""

import contextlib
import copy
import io
import itertools
import math
import pickle

import numba
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

import rmsfast
from rmsfast import passes, schedules

ALL_THREADS = numba.config.NUMBA_NUM_THREADS


def bits(thing):
    """`thing` as plain data that can be compared."""
    if isinstance(thing, np.ndarray):
        return type(thing), thing.dtype.str, thing.shape, thing.tobytes()
    if isinstance(thing, dict):
        return {key: bits(value) for key, value in thing.items()}
    if isinstance(thing, (list, tuple)):
        return type(thing), [bits(part) for part in thing]
    return repr(thing)


def leaves(tree):
    if isinstance(tree, dict):
        return list(tree.values())
    return tree if isinstance(tree, list) else [tree]


def each(function, *trees):
    """Apply a function to each array."""
    if isinstance(trees[0], dict):
        return {key: function(*(tree[key] for tree in trees)) for key in trees[0]}
    if isinstance(trees[0], list):
        return [function(*arrays) for arrays in zip(*trees, strict=True)]
    return function(*trees)


def random(*shape, dtype=np.float64, seed=0):
    rng = np.random.default_rng([seed, *shape])
    values = rng.normal(size=shape)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * rng.normal(size=shape)
    return np.asarray(values).astype(dtype)


def like(tree, seed):
    """Gradients for parameters, in the same layout."""
    count = iter(range(100))

    def one(x):
        g = np.empty_like(x)
        g[...] = random(*x.shape, dtype=x.dtype, seed=100 * seed + next(count))
        return g

    return each(one, tree)


@contextlib.contextmanager
def thread_count(count):
    numba.set_num_threads(count)
    try:
        yield
    finally:
        numba.set_num_threads(ALL_THREADS)


# Going on ----------------------------------------------------------------------------------------

MOST = {"momentum": 0.9, "centered": True, "weight_decay": 0.01, "clip_norm": 1.5}
RUNS = {
    "one array": (lambda: random(7), {"lr": 0.1}),
    "scalar array": (lambda: np.array(1.5), {"lr": 0.1, **MOST}),
    "list": (lambda: [random(4), random(2, 3)], {"lr": 0.1, **MOST}),
    "dict": (lambda: {"w": random(3, 2), "b": random(2)}, {"lr": 0.1, **MOST}),
    "one group centered": (
        lambda: {"w": random(3, 2), "b": random(2)},
        {"lr": 0.1, "groups": [{"params": "b", "centered": True, "lr": 0.2}]},
    ),
    "one group with momentum": (
        lambda: [random(3), random(2), random(4)],
        {"lr": 0.1, "groups": [{"params": [0, 2], "momentum": 0.9}]},
    ),
    "momentum but in a group": (
        lambda: [random(3), random(2), random(4)],
        {"lr": 0.1, "momentum": 0.9, "groups": [{"params": 1, "momentum": 0.0}]},
    ),
    "float32": (lambda: random(7, dtype=np.float32), {"lr": 0.1, **MOST}),
    "float16": (lambda: random(7, dtype=np.float16), {"lr": 0.1, **MOST}),
    "complex128": (lambda: random(3, 2, dtype=np.complex128), {"lr": 0.1, **MOST}),
    "complex64": (lambda: random(7, dtype=np.complex64), {"lr": 0.1, "initial_scale": 1.0}),
    "many dtypes": (
        lambda: [random(3, dtype=t) for t in ("f8", "f4", "f2", "c16", "c8")],
        {"lr": 0.1, **MOST},
    ),
    "F order": (lambda: np.asfortranarray(random(4, 3)), {"lr": 0.1, **MOST}),
    "strided": (lambda: random(4, 6)[:, ::2], {"lr": 0.1, **MOST}),
    "big-endian": (lambda: random(7, dtype=">f8"), {"lr": 0.1, "momentum": 0.9}),
    "averages": (lambda: [random(4), random(2, 3)], {"lr": 0.1, "ema_decay": 0.9}),
    "lazy": (lambda: [random(4), random(2, 3)], {"lr": 0.1, "lazy_decay": True}),
    "schedule": (lambda: random(7), {"lr": schedules.cosine(0.1, 8), "bias_correction": True}),
    "rates": (lambda: random(7), {"lr": np.linspace(0.1, 0.2, 7)}),
    "rates in a dict": (
        lambda: {"w": random(3, 2), "b": random(2)},
        {"lr": {"w": np.full((3, 2), 0.1), "b": np.array([0.1, 0.2])}, "momentum": 0.9},
    ),
    "no elements": (lambda: [random(0), random(3, 0), random(2)], {"lr": 0.1, **MOST}),
}
each_run = pytest.mark.parametrize(("make", "options"), RUNS.values(), ids=RUNS)


def loaded(optimizer, options, make):
    other = rmsfast.RMSProp(**options)
    other.load_state_dict(optimizer.state_dict())
    return other


def loaded_later(optimizer, options, make):
    """Into an optimizer that has gone another way."""
    other, params = rmsfast.RMSProp(**options), make()
    for k in range(50, 52):
        other.update(params, like(params, k))
    other.load_state_dict(optimizer.state_dict())
    return other


def loaded_into_itself(optimizer, options, make):
    optimizer.load_state_dict(optimizer.state_dict())
    return optimizer


def saved(optimizer, options, make):
    """Through a file of ``np.savez``: one array each, so lists and dicts are spread out."""
    flat = {}
    state = optimizer.state_dict()
    for name, entry in state.items():
        if isinstance(entry, dict):
            flat.update({f"{name}.{key}": a for key, a in entry.items()})
        elif isinstance(entry, list):
            flat.update({f"{name}.{k}": a for k, a in enumerate(entry)})
        else:
            flat[name] = entry
    file = io.BytesIO()
    np.savez(file, **flat)
    file.seek(0)
    with np.load(file) as stored:
        read = dict(stored)
    back = {}
    for name, entry in state.items():
        if isinstance(entry, dict):
            back[name] = {key: read[f"{name}.{key}"] for key in entry}
        elif isinstance(entry, list):
            back[name] = [read[f"{name}.{k}"] for k in range(len(entry))]
        else:
            back[name] = read[name]
    other = rmsfast.RMSProp(**options)
    other.load_state_dict(back)
    return other


WAYS = {
    "state_dict": loaded,
    "state_dict, later": loaded_later,
    "state_dict, itself": loaded_into_itself,
    "pickle": lambda optimizer, *_: pickle.loads(pickle.dumps(optimizer)),
    "copy": lambda optimizer, *_: copy.copy(optimizer),
    "deepcopy": lambda optimizer, *_: copy.deepcopy(optimizer),
    "savez": saved,
}


@each_run
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("after", [0, 3])
def test_goes_on_bit_for_bit(make, options, way, after):
    params, optimizer = make(), rmsfast.RMSProp(**options)
    for k in range(after):
        optimizer.update(params, like(params, k))
    other = way(optimizer, options, make)
    copied = make()
    each(lambda to, x: to.__setitem__(..., x), copied, params)
    for k in range(after, after + 4):
        optimizer.update(params, like(params, k))
    after_one = bits([params, optimizer.state_dict()])
    # The first one moved on alone: what they remember is not shared.
    if other is not optimizer:
        assert other.step_count == after
        for k in range(after, after + 4):
            other.update(copied, like(copied, k))
        assert bits([copied, other.state_dict()]) == after_one
    assert bits([params, optimizer.state_dict()]) == after_one
    assert other.step_count == after + 4

    # and all of it is the run without any interruption
    whole, straight = make(), rmsfast.RMSProp(**options)
    for k in range(after + 4):
        straight.update(whole, like(whole, k))
    assert bits([whole, straight.state_dict()]) == after_one


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("lazy", [False, True])
def test_rows_go_on_bit_for_bit(way, lazy):
    def step(optimizer, params, k):
        rows = [np.array([k % 4, 0]), np.array([k % 2])]
        optimizer.update_rows(params, rows, [random(2, seed=k), random(1, 3, seed=k)])

    options = {"lr": 0.1, "centered": True, "lazy_decay": lazy}
    make = lambda: [random(4), random(2, 3)]  # noqa: E731
    params, optimizer = make(), rmsfast.RMSProp(**options)
    for k in range(5):
        step(optimizer, params, k)
    copied, other = copy.deepcopy(params), way(optimizer, options, make)
    if other is optimizer:
        copied = params
    for k in range(5, 9):
        step(other, copied, k)
    straight, whole = rmsfast.RMSProp(**options), make()
    for k in range(9):
        step(straight, whole, k)
    assert bits([copied, other.state_dict()]) == bits([whole, straight.state_dict()])


@each_run
def test_state_is_of_copies(make, options):
    params, optimizer = make(), rmsfast.RMSProp(**options)
    optimizer.update(params, like(params, 0))
    twin = copy.deepcopy(optimizer)
    state = optimizer.state_dict()
    before = bits(optimizer.state_dict())
    for entry in state.values():
        for a in leaves(entry):
            if isinstance(a, np.ndarray):
                a[...] = 7
    state["step_count"] = 7
    assert bits(optimizer.state_dict()) == before

    twin.load_state_dict(optimizer.state_dict())
    state = optimizer.state_dict()
    twin.load_state_dict(state)
    for name, entry in state.items():
        if name not in ("step_count", "skipped_count"):
            for a in leaves(entry):
                a[...] = 7
    assert bits(twin.state_dict()) == before
    other = copy.deepcopy(params)
    optimizer.update(params, like(params, 1))
    twin.update(other, like(other, 1))
    assert bits([params, optimizer.state_dict()]) == bits([other, twin.state_dict()])


def test_entries_of_a_state():
    params = {"w": random(3, 2), "b": random(2, dtype=np.float16)}
    plain = rmsfast.RMSProp(lr=0.1)
    assert plain.state_dict() == {"step_count": 0, "skipped_count": 0}
    plain.update(params, params)
    assert plain.state_dict().keys() == {"step_count", "skipped_count", "mean_square"}

    groups = [{"params": "b", "momentum": 0.9}]
    optimizer = rmsfast.RMSProp(lr=0.1, centered=True, groups=groups, ema_decay=0.5)
    optimizer.update(params, params)
    state = optimizer.state_dict()
    assert state.keys() == plain.state_dict().keys() | {"mean", "momentum_buffer", "average"}
    assert state["step_count"] == 1
    for name in ("mean_square", "mean", "average"):
        assert [(a.shape, a.dtype) for a in state[name].values()] == [
            ((3, 2), np.float64), ((2,), np.float32),
        ]  # fmt: skip
    assert [a.shape for a in state["momentum_buffer"].values()] == [(0,), (2,)]

    lazy = rmsfast.RMSProp(lr=0.1, lazy_decay=True)
    lazy.update(params, params)
    assert [a.tolist() for a in lazy.state_dict()["last_step"].values()] == [[1, 1, 1], [1, 1]]


def test_load_before_the_first_update():
    params = random(7)
    optimizer = rmsfast.RMSProp(lr=0.1)
    optimizer.update(params, random(7, seed=1))
    fresh = rmsfast.RMSProp(lr=0.1)
    fresh.load_state_dict(optimizer.state_dict())
    assert bits(fresh.state_dict()) == bits(optimizer.state_dict())
    with pytest.raises(ValueError, match=r"must have the shape of the updates before, \(7,\)"):
        fresh.update(random(6), random(6))
    other = params.copy()
    fresh.update(other, random(7, seed=2))
    optimizer.update(params, random(7, seed=2))
    assert bits(other) == bits(params)


def test_load_a_state_of_no_updates():
    """It begins anew: with other shapes and another structure too."""
    optimizer = rmsfast.RMSProp(lr=0.1, momentum=0.9)
    optimizer.update(random(7), random(7, seed=1))
    optimizer.load_state_dict(rmsfast.RMSProp(lr=0.1, momentum=0.9).state_dict())
    assert optimizer.step_count == 0
    assert optimizer.state_dict() == {"step_count": 0, "skipped_count": 0}
    params, other, fresh = [random(3)], [random(3)], rmsfast.RMSProp(lr=0.1, momentum=0.9)
    optimizer.update(params, like(params, 0))
    fresh.update(other, like(other, 0))
    assert bits([params, optimizer.state_dict()]) == bits([other, fresh.state_dict()])


def test_load_a_state_of_another_layout():
    grads = [random(5, 4, seed=k) for k in range(4)]
    params, optimizer = random(5, 4), rmsfast.RMSProp(lr=0.1, **MOST)
    other, second = np.asfortranarray(params), rmsfast.RMSProp(lr=0.1, **MOST)
    for g in grads[:2]:
        optimizer.update(params, g)
        second.update(other, np.asfortranarray(g))
    second.load_state_dict(optimizer.state_dict())
    other[...] = params
    for g in grads[2:]:
        optimizer.update(params, g)
        second.update(other, g)
    assert_array_equal(other, params)
    for name in ("mean_square", "mean", "momentum_buffer"):
        assert_array_equal(second.state_dict()[name], optimizer.state_dict()[name])


def test_layouts_may_change_from_call_to_call():
    plain, optimizer = (rmsfast.RMSProp(lr=0.1, momentum=0.9, centered=True) for _ in range(2))
    expected = random(6, 4)
    wide = np.zeros((12, 8))
    forms = [
        lambda x: x.copy(),
        np.asfortranarray,
        lambda x: np.ascontiguousarray(x.T).T,
        lambda x: wide[::2, ::2],
        lambda x: wide[::-2, 1::2],
        lambda x: x.astype(">f8"),
        lambda x: np.frombuffer(bytearray(8 * 24 + 1), np.float64, 24, 1).reshape(6, 4),
    ]
    order = np.random.default_rng(0).integers(len(forms), size=40)
    for k, form in enumerate(order):
        x, g = forms[form](expected), random(6, 4, seed=k + 1)
        x[...] = expected
        plain.update(expected, g)
        optimizer.update(x, np.asfortranarray(g) if k % 3 == 0 else g)
        assert_array_equal(x, expected)
    assert set(order) == set(range(len(forms)))


# What can be asked and set -----------------------------------------------------------------------


def test_counts_lr_options_and_repr():
    optimizer = rmsfast.RMSProp(preset="keras", momentum=0.5, skip_nonfinite=True)
    assert (optimizer.step_count, optimizer.skipped_count) == (0, 0)
    assert optimizer.lr == 0.001
    assert optimizer.options == rmsfast.RMSPropOptions.preset("keras", momentum=0.5)
    assert repr(optimizer) == "RMSProp(lr=0.001, step_count=0)"
    x = random(3)
    for k in range(3):
        optimizer.update(x, x.copy())
        optimizer.update(x, np.full(3, np.nan))
        assert (optimizer.step_count, optimizer.skipped_count) == (k + 1, k + 1)
    optimizer.lr = 0.25
    assert repr(optimizer) == "RMSProp(lr=0.25, step_count=3)"
    assert optimizer.options == rmsfast.RMSPropOptions.preset("keras", lr=0.25, momentum=0.5)
    schedule = schedules.cosine(0.1, 10)
    assert repr(rmsfast.RMSProp(schedule)) == f"RMSProp(lr={schedule!r}, step_count=0)"
    assert repr(rmsfast.RMSProp(np.array([0.5]))) == "RMSProp(lr=array([0.5]), step_count=0)"


@pytest.mark.parametrize("centered", [False, True])
def test_lr_set_between_steps_as_in_pytorch(centered):
    params = [random(5), random(2, 3)]
    tensors = [torch.tensor(x, requires_grad=True) for x in params]
    theirs = torch.optim.RMSprop(
        [{"params": tensors[:1]}, {"params": tensors[1:], "lr": 0.05}],
        lr=0.1, momentum=0.5, centered=centered,
    )  # fmt: skip
    ours = rmsfast.RMSProp(
        lr=0.1, momentum=0.5, centered=centered, groups=[{"params": 1, "lr": 0.05}]
    )
    for k in range(30):
        theirs.param_groups[0]["lr"] = ours.lr = 0.1 / (k + 1)
        assert ours.lr == 0.1 / (k + 1)
        for x, tensor in zip(params, tensors, strict=True):
            tensor.grad = torch.tensor(random(*x.shape, seed=k))
        ours.update(params, [tensor.grad.numpy() for tensor in tensors])
        theirs.step()
        for x, tensor in zip(params, tensors, strict=True):
            assert_allclose(x, tensor.detach().numpy(), rtol=1e-11)
    ours.lr = lambda k: float(k)  # a schedule goes on at the step there is
    before, state = params[0].copy(), ours.state_dict()
    ours.update(params, [np.ones(5), np.ones((2, 3))])
    assert_allclose(params[0], before - 30.0 * ours.state_dict()["momentum_buffer"][0], rtol=1e-14)
    assert state["step_count"] == 30


def test_lr_of_each_coordinate():
    """Each as in a run of its own; the arrays are copied, and may be set anew."""
    rates = np.array([0.1, 0.02, 0.3])
    optimizer, params = rmsfast.RMSProp(rates, momentum=0.9), random(3)
    alone = [rmsfast.RMSProp(lr, momentum=0.9) for lr in rates]
    parts = [params[k : k + 1].copy() for k in range(3)]
    given = rates.copy()
    rates[:] = 99
    assert_array_equal(optimizer.lr, given)
    for step in range(12):
        if step == 6:
            given = given[::-1].copy()
            optimizer.lr = given
            for each_alone, lr in zip(alone, given, strict=True):
                each_alone.lr = lr
            given[:] = 99
        if step == 9:
            for each_optimizer in (optimizer, *alone):
                each_optimizer.lr = 0.05
            assert optimizer.lr == 0.05
        g = random(3, seed=step)
        optimizer.update(params, g)
        for k in range(3):
            alone[k].update(parts[k], g[k : k + 1])
        assert_array_equal(params, np.concatenate(parts))


def test_lr_of_each_coordinate_in_a_list_with_a_scalar_array():
    params, rates = [np.array(1.0), random(3)], [np.array(0.5), np.full(3, 0.25)]
    optimizer = rmsfast.RMSProp(rates, rho=0.0)
    optimizer.update(params, [np.array(2.0), np.ones(3)])
    assert_allclose(params[0], 0.5, rtol=1e-7)
    assert_allclose(params[1], random(3) - 0.25, rtol=1e-7)


def test_number_set_after_rates_is_everybodys():
    """A group that has no rate of its own is no exception."""
    params = [np.zeros(2), np.zeros(2)]
    optimizer = rmsfast.RMSProp(
        [np.full(2, 0.5)] * 2, rho=0.0, groups=[{"params": 1, "centered": False}]
    )
    optimizer.lr = 0.25
    optimizer.update(params, [np.ones(2), np.ones(2)])
    assert_allclose(params, -0.25, rtol=1e-7)


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "c16"])
@pytest.mark.parametrize("large", [False, True])
def test_average(dtype, large):
    n = 33_000 if large else 7
    params, optimizer = random(n, dtype=dtype), rmsfast.RMSProp(lr=0.1, ema_decay=0.75)
    wide = {"f2": "f4"}.get(dtype, dtype)
    points = []
    for k in range(5):
        optimizer.update(params, random(n, dtype=dtype, seed=k + 1))
        points.append(params.astype(wide))
        average = points[0]
        for x in points[1:]:
            average = 0.75 * average + 0.25 * x
        assert optimizer.average.dtype == wide
        # in float16 the average is one of the parameters before they are rounded
        assert_allclose(optimizer.average, average, rtol={"f2": 3e-3, "f4": 1e-6}.get(dtype, 1e-14),
                        atol={"f2": 1e-3, "f4": 5e-7}.get(dtype, 1e-15))  # fmt: skip
    copied, before = optimizer.average, optimizer.average
    copied[...] = 7
    assert_array_equal(optimizer.average, before)


def test_average_has_the_structure_of_the_parameters():
    params = {"w": random(3, 2), "b": np.array(2.0)}
    plain, other = rmsfast.RMSProp(lr=0.1), copy.deepcopy(params)
    optimizer = rmsfast.RMSProp(lr=0.1, ema_decay=0.0)
    for k in range(3):
        optimizer.update(params, like(params, k))
        plain.update(other, like(other, k))
        assert bits(optimizer.average) == bits(params) == bits(other)


# skip_nonfinite ----------------------------------------------------------------------------------


def readable(tree):
    return bits(each(np.ascontiguousarray, tree))


def big(n=17_000, dtype=np.float64):
    """Enough for all threads, in float64."""
    return random(n, dtype=dtype)


FORMS = {
    "float64": lambda: random(7),
    "scalar array": lambda: np.array(1.5),
    "float32": lambda: random(7, dtype=np.float32),
    "float16": lambda: random(7, dtype=np.float16),
    "complex128": lambda: random(3, 2, dtype=np.complex128),
    "complex64": lambda: random(7, dtype=np.complex64),
    "strided": lambda: random(4, 6)[:, ::2],
    "strided complex": lambda: random(4, 6, dtype=np.complex64)[::-2],
    "F order": lambda: np.asfortranarray(random(4, 3)),
    "big-endian": lambda: random(7, dtype=">f8"),
    "large": big,
    "large float32": lambda: big(34_000, np.float32),
    "large float16": lambda: big(dtype=np.float16),
    "large complex": lambda: big(9_001, np.complex128),
    "large strided": lambda: big(34_000)[::2],
    "list": lambda: [random(4), random(0), random(2, 3)],
    "dict": lambda: {"a": random(3), "b": random(5, dtype="f2"), "c": random(2, dtype="c8")},
    "list, large": lambda: [random(4), big(), random(2, 3)],
}  # fmt: skip
SKIPS = {
    "plain": {},
    # eps: the first step of the centered form with bias correction divides by it alone
    "all on": {**MOST, "ema_decay": 0.9, "bias_correction": True, "lazy_decay": True, "eps": 0.1},
}


def spoil(grads, bad, where):
    """Put a bad number into the first element of the first array, or the last of the last."""
    g = [g for g in leaves(grads) if g.size > 0][where]
    index = np.unravel_index(where % g.size, g.shape)
    g[index] = complex(1, bad) if g.dtype.kind == "c" else bad


@pytest.mark.parametrize("make", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("options", SKIPS.values(), ids=SKIPS)
@pytest.mark.parametrize("before", [0, 2])
def test_nonfinite_is_skipped(make, options, before):
    params, other = make(), make()
    optimizer, twin = (rmsfast.RMSProp(lr=0.1, skip_nonfinite=True, **options) for _ in range(2))
    for k in range(before):
        optimizer.update(params, like(params, k))
        twin.update(other, like(other, k))
    assert (optimizer.skipped_count, optimizer.step_count) == (0, before)
    state = optimizer.state_dict()
    for count, (bad, where) in enumerate(itertools.product([np.nan, np.inf, -np.inf], [0, -1]), 1):
        grads = like(params, 9)
        spoil(grads, bad, where)
        given = readable(grads)
        optimizer.update(params, grads)
        assert (optimizer.skipped_count, optimizer.step_count) == (count, before)
        assert readable(params) == readable(other)
        assert readable(grads) == given
        same = bits({**optimizer.state_dict(), "skipped_count": 0}) == bits(state)
        assert same, optimizer.state_dict().keys()
    for k in range(before, before + 2):
        optimizer.update(params, like(params, k))
        twin.update(other, like(other, k))
    assert readable(params) == readable(other)
    assert bits({**optimizer.state_dict(), "skipped_count": 0}) == bits(twin.state_dict())


def test_every_single_element_is_looked_at():
    """In one array on one thread, over several arrays and dtypes, and in pieces for threads."""
    params = [random(300), random(31, dtype="f4"), random(5, 7)[:, ::2], random(9, dtype="c16")]
    optimizer = rmsfast.RMSProp(lr=0.1, skip_nonfinite=True)
    optimizer.update(params, like(params, 0))
    before, grads, count = readable(params), like(params, 1), 0
    for k, x in enumerate(params):
        for i in np.ndindex(x.shape):
            for bad in (np.nan, 1j * np.inf) if x.dtype.kind == "c" else (np.nan,):
                kept = grads[k][i]
                grads[k][i] = bad
                optimizer.update(params, grads)
                grads[k][i] = kept
                count += 1
    assert (optimizer.skipped_count, optimizer.step_count) == (count, 1)
    assert count == 300 + 31 + 20 + 18
    assert readable(params) == before

    x, g = big(20_001), big(20_001)
    optimizer = rmsfast.RMSProp(lr=0.1, skip_nonfinite=True)
    for i in range(0, g.size, 331):
        kept, g[i] = g[i], np.inf
        optimizer.update(x, g)
        g[i] = kept
    assert (optimizer.skipped_count, optimizer.step_count) == (-(-g.size // 331), 0)
    assert bits(x) == bits(big(20_001))


@pytest.mark.parametrize(
    "options", [{}, {"clip_norm": 1.0}, {"weight_decay": 0.1, "momentum": 0.5}]
)
@pytest.mark.parametrize(
    ("value", "dtype"),
    [(1e200, "f8"), (-1.7e308, "f8"), (1e30, "f4"), (3e38, "f4"), (65504, "f2"), (1e200, "c16"),
     (1e-200, "f8"), (5e-324, "f8"), (1e-45, "f4"), (0.0, "f8")],
)  # fmt: skip
@pytest.mark.parametrize("n", [5, 33_000])
def test_huge_and_tiny_gradients_are_not_skipped(value, dtype, options, n):
    params, other = random(n, dtype=dtype), random(n, dtype=dtype)
    g = np.full(n, value, dtype)
    g[0] = 1
    optimizer = rmsfast.RMSProp(lr=0.1, skip_nonfinite=True, **options)
    plain = rmsfast.RMSProp(lr=0.1, **options)
    for step in range(2):
        optimizer.update(params, g)
        plain.update(other, g)
        assert (optimizer.step_count, optimizer.skipped_count) == (step + 1, 0)
    assert bits([params, optimizer.state_dict()]) == bits([other, plain.state_dict()])
    assert np.isfinite(params).all()
    assert (params != random(n, dtype=dtype)).any()


def test_without_the_option_nothing_is_skipped():
    params, optimizer = random(3), rmsfast.RMSProp(lr=0.1)
    optimizer.update(params, np.array([1.0, np.nan, 1.0]))
    assert (optimizer.step_count, optimizer.skipped_count) == (1, 0)
    assert_array_equal(np.isnan(params), [False, True, False])


def test_skipped_updates_do_not_move_a_schedule():
    asked = []

    def lr(k):
        asked.append(k)
        return 0.1

    params, optimizer = random(3), rmsfast.RMSProp(lr, skip_nonfinite=True)
    for k in range(6):
        optimizer.update(params, np.full(3, np.nan if k % 2 else 1.0))
    assert (optimizer.step_count, optimizer.skipped_count) == (3, 3)
    assert sorted(set(asked)) == [0, 1, 2, 3]
    assert asked == sorted(asked)


# clip_norm ---------------------------------------------------------------------------------------

# With rho = 0 the mean is the gradient as it came in: clipped, weight decay included.
BARE = {"lr": 0.1, "rho": 0.0, "centered": True}


def clipped(arrays, clip_norm):
    """The arrays themselves if their norm is at most `clip_norm`, else scaled down to it.

    Everything is taken relative to the largest part, so that nothing leaves float64.
    """
    flat = [float(part) for a in arrays for z in a.ravel() for part in (z.real, z.imag)]
    exponent = math.frexp(max(map(abs, flat)))[1]
    length = math.sqrt(math.fsum(math.ldexp(v, -exponent) ** 2 for v in flat))
    if math.frexp(length)[1] + exponent < 1000 and math.ldexp(length, exponent) <= clip_norm:
        return arrays
    near = [np.ldexp(a.reshape(-1).view(a.real.dtype), -exponent).view(a.dtype) for a in arrays]
    factor = clip_norm / length
    return [
        (b * factor).astype(a.dtype).reshape(a.shape) for a, b in zip(arrays, near, strict=True)
    ]


SIZES = {
    "ordinary": (1.0, 0.5, "f8"),
    "ordinary, not clipped": (1.0, 1e3, "f8"),
    "1e-200": (1e-200, 3e-201, "f8"),
    "1e-200, not clipped": (1e-200, 1.0, "f8"),
    "1e200": (1e200, 2.5, "f8"),
    "1e200 to 1e199": (1e200, 1e199, "f8"),
    "1e200, not clipped": (1e200, 1e205, "f8"),
    "1e304": (1e304, 1.0, "f8"),
    "1e-310": (1e-310, 3e-311, "f8"),
    "5e-324, not clipped": (5e-324, 1.0, "f8"),
    "1e-160": (1e-160, 1e-161, "f8"),
    "1e150": (1e150, 1.0, "f8"),
    "float32": (1.0, 0.5, "f4"),
    "float32 1e30": (1e30, 1.0, "f4"),
    "float32 1e30, not clipped": (1e30, 1e36, "f4"),
    "float32 1e-30": (1e-30, 1e-31, "f4"),
    "float16": (100.0, 3.0, "f2"),
    "float16, not clipped": (100.0, 1e9, "f2"),
    "complex128": (1e180, 1.0, "c16"),
    "complex64": (1e25, 1.0, "c8"),
}


@pytest.mark.parametrize("n", [1, 6, 33_000])
@pytest.mark.parametrize("name", SIZES)
def test_clip_norm_of_any_magnitude(name, n):
    size, clip_norm, dtype = SIZES[name]
    wide = {"f2": "f4"}.get(dtype, dtype)
    base = random(n, dtype={"f2": "f4"}.get(dtype, dtype), seed=3)
    with np.errstate(over="ignore"):
        g = np.maximum(abs(base), 1) * (base.real.dtype.type(size) if size > 1e-300 else size)
        g = (g + (1j * g / 2 if wide.startswith("c") else 0)).astype(dtype)
    assert np.isfinite(g).all()
    params = random(n, dtype=dtype)
    optimizer = rmsfast.RMSProp(clip_norm=clip_norm, **BARE)
    optimizer.update(params, g)
    mean = optimizer.state_dict()["mean"]
    (expected,) = clipped([g.astype(mean.dtype)], clip_norm)
    is_clipped = not np.array_equal(expected, g)
    assert is_clipped == ("not clipped" not in name)
    of = np.finfo(mean.dtype)
    tolerance = {"rtol": 8 * of.eps, "atol": 2 * float(of.smallest_subnormal)} if is_clipped else {}
    assert_allclose(mean, expected, **{"rtol": 0, "atol": 0, **tolerance})


def test_clip_norm_where_the_norm_is_beyond_float64():
    """The factor is subnormal then, and its last digits are lost."""
    optimizer, g = rmsfast.RMSProp(clip_norm=1.0, **BARE), np.full(40_000, 1.7e308)
    optimizer.update(np.zeros(40_000), g)
    assert_allclose(optimizer.state_dict()["mean"], 1 / 200, rtol=1e-13)


def test_clip_norm_of_zeros_and_of_nothing():
    for params in (random(3), random(0), [random(0), random(2)]):
        optimizer = rmsfast.RMSProp(clip_norm=1.0, **BARE)
        before = bits(params)
        optimizer.update(params, each(np.zeros_like, params))
        assert bits(params) == before
        assert all((m == 0).all() for m in leaves(optimizer.state_dict()["mean"]))
        assert optimizer.step_count == 1


def test_clip_norm_at_the_norm_itself():
    g = np.array([3.0, 4.0])
    for clip_norm, expected in ((5.0, g), (np.nextafter(5, 6), g), (2.5, g / 2), (10, g)):
        optimizer = rmsfast.RMSProp(clip_norm=clip_norm, **BARE)
        optimizer.update(np.zeros(2), g)
        assert_array_equal(optimizer.state_dict()["mean"], expected)


def mixed():
    return {
        "a": random(5, 3),
        "b": random(7, dtype="f4"),
        "c": random(4, dtype="c16"),
        "d": random(6, dtype="f2"),
        "e": random(0),
        "f": np.asfortranarray(random(3, 4)),
        "g": random(6, 6)[::2, ::3],
        "h": np.array(0.5),
        "i": big(34_000, "f4"),
        "j": random(5, dtype=">c8"),
    }


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e3])
@pytest.mark.parametrize("maximize", [False, True])
def test_clip_norm_over_arrays_groups_and_dtypes(scale, maximize):
    """One norm for all, of the gradients to descend: coupled weight decay is in it."""
    params, base, clip_norm = mixed(), mixed(), 2.5
    grads = each(lambda g: np.asarray(g * g.dtype.type(scale), g.dtype), like(params, 1))
    groups = [
        {"params": ["a", "b", "g"], "weight_decay": 0.5},
        {"params": "c", "weight_decay": 0.5, "decoupled": True, "maximize": not maximize},
        {"params": ["d", "h"], "lr": 0.3, "eps_in_sqrt": True},
    ]
    decay = {"a": 0.5, "b": 0.5, "g": 0.5}
    sign = {name: -1 if maximize != (name == "c") else 1 for name in params}
    optimizer = rmsfast.RMSProp(clip_norm=clip_norm, maximize=maximize, groups=groups, **BARE)
    optimizer.update(params, grads)
    mean = optimizer.state_dict()["mean"]

    def native(a):
        return a.astype({"e": "f4"}.get(a.dtype.char, a.dtype.newbyteorder("=")))

    effective = {}
    for name, g in grads.items():
        effective[name] = sign[name] * native(g)
        if name in decay:
            effective[name] = effective[name] + base[name].dtype.type(0.5) * base[name]
    expected = clipped(list(effective.values()), clip_norm)
    assert expected[0] is not effective["a"]
    for m, e in zip(mean.values(), expected, strict=True):
        assert m.dtype == e.dtype
        assert_allclose(m, e, rtol=8 * np.finfo(m.dtype).eps, atol=np.finfo(m.dtype).tiny)
    total = sum(float((abs(m.astype("c16")) ** 2).sum()) for m in mean.values())
    assert_allclose(math.sqrt(total), clip_norm, rtol=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("options", [{}, {"momentum": 0.5}, {"centered": True}])
def test_clip_norm_as_in_pytorch(options, decay):
    """PyTorch multiplies with ``max_norm / (norm + 1e-6)``, so norms here are about 1e4.

    It would add its own weight decay after it has clipped; here it is given what rmsfast clips,
    the gradients with the decay in them.
    """
    params = [random(50), random(20, 30)]
    tensors = [torch.tensor(x, requires_grad=True) for x in params]
    theirs = torch.optim.RMSprop(tensors, lr=0.05, **options)
    ours = rmsfast.RMSProp(lr=0.05, clip_norm=3.0, weight_decay=decay, **options)
    for k in range(20):
        grads = [400 * random(*x.shape, seed=k) for x in params]
        for tensor, g in zip(tensors, grads, strict=True):
            tensor.grad = torch.tensor(g) + decay * tensor.detach()
        length = torch.nn.utils.clip_grad_norm_(tensors, 3.0)
        assert length > 5000
        theirs.step()
        ours.update(params, grads)
        for x, tensor in zip(params, tensors, strict=True):
            assert_allclose(x, tensor.detach().numpy(), rtol=1e-7, atol=1e-9)


LARGE = {
    "float64": lambda: big(40_003),
    "float32": lambda: big(60_003, "f4"),
    "complex": lambda: big(20_001, "c16"),
    "list": lambda: [random(5), big(9_000), random(3, 2), big(4097), big(20_000)],
    "dtypes": lambda: [big(17_000), big(40_000, "f4"), big(40_000)[::2], big(20_000, "f2")],
}


@pytest.mark.parametrize("make", LARGE.values(), ids=LARGE)
@pytest.mark.parametrize("size", [1.0, 1e200, 1e-200])
@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1, "skip_nonfinite": True}])
def test_clip_norm_has_the_same_bits_on_any_number_of_threads(make, size, options, monkeypatch):
    def run(threads):
        params, optimizer = make(), rmsfast.RMSProp(lr=0.1, clip_norm=1e-2, **options)
        with thread_count(threads):
            for k in range(2):
                grads = like(params, k)
                if all(x.dtype in ("f8", "c16") for x in leaves(params)):
                    grads = each(lambda g: g * size, grads)
                optimizer.update(params, grads)
        return bits([params, optimizer.state_dict()])

    alone = run(1)
    for threads in range(2, ALL_THREADS + 1):
        assert run(threads) == alone
    monkeypatch.setattr(passes, "PARALLEL_BYTES", 2**60)  # the serial pass
    assert run(ALL_THREADS) == alone
    monkeypatch.setattr(passes, "PARALLEL_BYTES", 0)  # threads for the smallest ones too
    assert run(ALL_THREADS) == alone


@pytest.mark.parametrize("n", [1, 2, 3, 255, 257, 4095, 4096, 4097, 8192, 16_385, 100_001])
def test_norm_of_arrays_of_every_length(n):
    g = random(n, seed=1)
    optimizer = rmsfast.RMSProp(clip_norm=1e-3, **BARE)
    optimizer.update(random(n), g)
    expected = g * (1e-3 / math.sqrt(math.fsum(g * g)))
    assert_allclose(optimizer.state_dict()["mean"], expected, rtol=1e-14)


def test_clip_norm_bounds_the_norm_of_all_calls_alone():
    """Not of one array of the list, and nothing of the step before stays."""
    optimizer, params = rmsfast.RMSProp(clip_norm=5.0, **BARE), [np.zeros(1), np.zeros(1)]
    for grads, expected in (([30.0, 40.0], [3, 4]), ([3.0, 4.0], [3, 4]), ([0.3, 0.0], [0.3, 0])):
        optimizer.update(params, [np.array([g]) for g in grads])
        assert_allclose(np.ravel(optimizer.state_dict()["mean"]), expected, rtol=1e-15)
