"""`rmsfast.RMSProp` against PyTorch, optax and the naive reference, in every layout and size."""

import math
import threading
from contextlib import contextmanager
from itertools import pairwise, product

import jax
import numba
import numpy as np
import optax
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from test_presets import OPTAX, TORCH
from test_rule import VARIANTS
from test_schedules import ANY

import rmsfast
from rmsfast import passes, schedules
from rmsfast.core import cpu

STEPS = 10
SHAPES = [(), (0,), (7,), (4, 5), (3, 0), (2, 3, 4)]
DTYPES = [np.float64, np.float32, np.complex128, np.complex64]
UNCLIPPED = {name: o for name, o in VARIANTS.items() if "clip_norm" not in o}
CLIPPED = {
    **{name: o for name, o in VARIANTS.items() if "clip_norm" in o},
    "clip norm coupled": {"clip_norm": 0.7, "weight_decay": 0.5},
    "clip norm maximize": {"clip_norm": 0.7, "maximize": True},
    "clip norm maximize coupled": {"clip_norm": 0.7, "weight_decay": 0.5, "maximize": True},
}
# Everything at once that does not depend on the order of a sum
ALL = {
    **{"momentum": 0.8, "nesterov": True, "centered": True, "bias_correction": True},
    **{"weight_decay": 0.02, "clip_value": 0.6, "eps_in_sqrt": True, "eps": 1e-4},
    **{"decoupled": True, "lr_in_momentum": True, "ema_decay": 0.9},
}


def names(dtype):
    return np.dtype(dtype).name


def by_name(options):
    return pytest.mark.parametrize("options", options.values(), ids=options.keys())


each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=names)
each_real = pytest.mark.parametrize("dtype", DTYPES[:2], ids=names)


def draw(rng, shape, dtype):
    """Normal numbers, in both parts where there are two."""
    values = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * rng.standard_normal(shape)
    return np.array(values, dtype)


def draws(rng, shapes, dtype):
    return [draw(rng, shape, dtype) for shape in shapes]


def flat(arrays):
    return np.concatenate([np.ravel(a) for a in arrays])


def leaves(values):
    """The arrays of one array, a list or a dict."""
    if isinstance(values, dict):
        return list(values.values())
    return list(values) if isinstance(values, (list, tuple)) else [values]


def accumulators(optimizer):
    """The arrays of the state, by name."""
    state = optimizer.state_dict()
    return {name: leaves(state[name]) for name in state if not name.endswith("count")}


def plain(array):
    """A C-contiguous copy in native byte order."""
    return np.array(array, array.dtype.newbyteorder("="), order="C", subok=False)


def assert_bits(actual, expected, label=""):
    """Equal to the last bit, the sign of a zero too; the layouts may differ."""
    actual, expected = plain(actual), plain(expected)
    assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype), label
    assert_array_equal(actual, expected, label)
    assert actual.tobytes() == expected.tobytes(), label


def assert_all_bits(actual, expected, label=""):
    for a, e in zip(actual, expected, strict=True):
        assert_bits(a, e, label)


def assert_same_state(one, other):
    ours, theirs = accumulators(one), accumulators(other)
    assert ours.keys() == theirs.keys() and "mean_square" in ours
    for name in ours:
        assert_all_bits(ours[name], theirs[name], name)


def eps_of(dtype):
    return float(np.finfo(dtype).eps)


# PyTorch ------------------------------------------------------------------------------------------

# PyTorch rounds in another order: it averages gradients by ``lerp``, and its ``addcmul`` and
# ``addcdiv`` scale another factor first. Gradients do not depend on the parameters here, so that
# nothing amplifies the difference: of ten steps two or three ulps of the largest number are left.
TORCH_ULPS = 6
THEIR_NAMES = {
    "mean_square": "square_avg",
    "mean": "grad_avg",
    "momentum_buffer": "momentum_buffer",
}


def theirs(options):
    return {("alpha" if name == "rho" else name): value for name, value in options.items()}


class Torch:
    """PyTorch's optimizer on tensors that begin like `xs`.

    `groups` are PyTorch's parameter groups, with indices for tensors.
    """

    def __init__(self, xs, groups=None, **options):
        self.tensors = [torch.from_numpy(x.copy()).requires_grad_() for x in xs]
        groups = [{"params": range(len(xs))}] if groups is None else groups
        self.optimizer = torch.optim.RMSprop(
            [{**group, "params": [self.tensors[k] for k in group["params"]]} for group in groups],
            **options,
        )
        self.largest = {}

    def step(self, gs):
        for tensor, g in zip(self.tensors, gs, strict=True):
            tensor.grad = torch.from_numpy(g.copy())
        self.optimizer.step()

    def compare(self, xs, ours):
        """Parameters, and all accumulators that PyTorch has."""
        state = accumulators(ours)
        for k, (x, tensor) in enumerate(zip(xs, self.tensors, strict=True)):
            pairs = {"params": (x, tensor.detach())}
            for name, their_name in THEIR_NAMES.items():
                if their_name in self.optimizer.state[tensor]:
                    pairs[name] = state[name][k], self.optimizer.state[tensor][their_name]
            assert "mean_square" in pairs
            for name, (a, e) in pairs.items():
                e = e.numpy()
                assert (a.shape, a.dtype) == (e.shape, e.dtype)
                size = max(self.largest.get((name, k), 0.0), float(abs(e).max(initial=0.0)))
                self.largest[name, k] = size
                atol = TORCH_ULPS * eps_of(x.dtype) * size
                assert_allclose(a, e, rtol=0, atol=atol, err_msg=f"{name} {k}")


@pytest.mark.parametrize("foreach", [False, True], ids=["single", "foreach"])
@each_dtype
@pytest.mark.parametrize("options", TORCH, ids=str)
def test_torch_step_by_step(options, dtype, foreach):
    rng = np.random.default_rng(20)
    xs = draws(rng, SHAPES, dtype)
    torchs = Torch(xs, foreach=foreach, **theirs(options))
    ours = rmsfast.RMSProp(preset="torch", **options)
    for _ in range(STEPS):
        gs = draws(rng, SHAPES, dtype)
        torchs.step(gs)
        ours.update(xs, gs)
        torchs.compare(xs, ours)
    assert ours.step_count == STEPS


@each_dtype
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_one_array_and_each_container_are_torch(shape, dtype):
    rng = np.random.default_rng(21)
    x = draw(rng, shape, dtype)
    one, as_list, as_tuple = x.copy(), [x.copy()], (x.copy(),)
    as_dict = {"other": np.ones(3, dtype), "x": x.copy()}
    options = {"momentum": 0.9, "centered": True, "weight_decay": 0.1}
    torchs = Torch([x], **options)
    every = [one, as_list, as_tuple, as_dict]
    ours = [rmsfast.RMSProp(preset="torch", **options) for _ in every]
    for _ in range(STEPS):
        g = draw(rng, shape, dtype)
        torchs.step([g])
        ours[0].update(one, g)
        ours[1].update(as_list, (g,))
        ours[2].update(as_tuple, [g])
        ours[3].update(as_dict, {"x": g, "other": np.ones(3, dtype)})  # in another order
        torchs.compare([one], ours[0])
    for values in every[1:]:
        assert_bits(leaves(values)[-1], one)


SCHEDULES = {
    "step": (schedules.step(0.1, 3, 0.5), lambda o: torch.optim.lr_scheduler.StepLR(o, 3, 0.5)),
    "exponential": (
        schedules.exponential(0.1, 0.8),
        lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.8),
    ),
    "cosine": (
        schedules.cosine(0.1, STEPS, 0.0),
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, STEPS),
    ),
}


@each_dtype
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_is_torch_scheduler(name, dtype):
    schedule, make = SCHEDULES[name]
    rng = np.random.default_rng(22)
    xs = draws(rng, SHAPES, dtype)
    torchs = Torch(xs, lr=0.1, momentum=0.5)
    scheduler = make(torchs.optimizer)
    ours = rmsfast.RMSProp(preset="torch", lr=schedule, momentum=0.5)
    for _ in range(STEPS):
        gs = draws(rng, SHAPES, dtype)
        torchs.step(gs)
        scheduler.step()
        ours.update(xs, gs)
        torchs.compare(xs, ours)


def test_setting_lr_is_setting_it_in_torch_param_groups():
    rng = np.random.default_rng(23)
    xs = draws(rng, SHAPES, np.float64)
    torchs = Torch(xs)
    ours = rmsfast.RMSProp(preset="torch")
    for lr in (0.1, 0.001, 0.5, 0.02):
        ours.lr = torchs.optimizer.param_groups[0]["lr"] = lr
        gs = draws(rng, SHAPES, np.float64)
        torchs.step(gs)
        ours.update(xs, gs)
        assert ours.lr == lr
        torchs.compare(xs, ours)


# In each: what the groups of some arrays have, the rest is in none
GROUPS = {
    "lr": [({1, 3}, {"lr": 0.1}), ({0}, {"lr": 0.003})],
    "all but lr": [
        ([1, 5], {"momentum": 0.9, "rho": 0.9}),
        ([2], {"centered": True, "eps": 1e-3}),
        ([3], {"weight_decay": 0.2, "maximize": True}),
    ],
    "everything in one": [
        (
            range(2, 5),
            {
                **{"lr": 0.05, "rho": 0.8, "eps": 1e-2, "momentum": 0.5, "centered": True},
                **{"weight_decay": 0.1, "maximize": True},
            },
        )
    ],
    "nothing for the rest": [(range(6), {"lr": 0.1})],
}


@pytest.mark.parametrize("foreach", [False, True], ids=["single", "foreach"])
@each_dtype
@pytest.mark.parametrize("keyed", [False, True], ids=["list", "dict"])
@pytest.mark.parametrize("name", GROUPS)
def test_groups_are_torch_param_groups(name, keyed, dtype, foreach):
    rng = np.random.default_rng(24)
    xs = draws(rng, SHAPES, dtype)
    common = {"lr": 0.02, "weight_decay": 0.05}
    grouped = {k for keys, _ in GROUPS[name] for k in keys}
    rest = [{"params": [k for k in range(len(xs)) if k not in grouped]}]
    their_groups = [{"params": list(keys), **theirs(o)} for keys, o in GROUPS[name]]
    torchs = Torch(xs, rest + their_groups, foreach=foreach, **common)

    def pack(arrays):
        return {f"p{k}": a for k, a in enumerate(arrays)} if keyed else arrays

    groups = [
        {"params": [f"p{k}" for k in keys] if keyed else keys, **o} for keys, o in GROUPS[name]
    ]
    ours = rmsfast.RMSProp(preset="torch", groups=groups, **common)
    for _ in range(STEPS):
        gs = draws(rng, SHAPES, dtype)
        torchs.step(gs)
        ours.update(pack(xs), pack(gs))
        torchs.compare(xs, ours)


def test_a_group_of_one_may_be_named_without_a_list():
    x, g = {"a": np.ones(3), "b": np.ones(3)}, {"a": np.ones(3), "b": np.ones(3)}
    rmsfast.RMSProp(lr=0.1, rho=0.75, groups=[{"params": "b", "lr": 0.2}]).update(x, g)
    assert_allclose(x["a"], 0.8, rtol=1e-7)
    assert_allclose(x["b"], 0.6, rtol=1e-7)


def test_each_group_has_its_own_schedule():
    rng = np.random.default_rng(25)
    rates = [lambda k: 0.1 / (k + 1), schedules.step(0.2, 2), 0.05]
    x = draws(rng, [(5,)] * 3, np.float64)
    y = [a.copy() for a in x]
    groups = [{"params": [k], "lr": rates[k]} for k in (0, 1)]
    together = rmsfast.RMSProp(lr=rates[2], groups=groups)
    alone = [rmsfast.RMSProp(lr=lr) for lr in rates]
    for _ in range(5):
        gs = draws(rng, [(5,)] * 3, np.float64)
        together.update(x, gs)
        for optimizer, a, g in zip(alone, y, gs, strict=True):
            optimizer.update(a, g)
        assert_all_bits(x, y)


AVERAGES = {
    "avg_fn": torch.optim.swa_utils.get_ema_avg_fn,
    "multi_avg_fn": torch.optim.swa_utils.get_ema_multi_avg_fn,
}


@pytest.mark.parametrize("multi", AVERAGES)
@each_dtype
@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.999])
def test_averages_are_those_of_torch(decay, dtype, multi):
    rng = np.random.default_rng(26)
    xs = draws(rng, SHAPES, dtype)
    module = torch.nn.ParameterList([torch.nn.Parameter(torch.from_numpy(x.copy())) for x in xs])
    average = torch.optim.swa_utils.AveragedModel(module, **{multi: AVERAGES[multi](decay)})
    ours = rmsfast.RMSProp(lr=0.1, ema_decay=decay)
    for _ in range(STEPS):
        ours.update(xs, draws(rng, SHAPES, dtype))
        with torch.no_grad():
            for parameter, x in zip(module, xs, strict=True):
                parameter.copy_(torch.from_numpy(x))
        average.update_parameters(module)
        averages = ours.average
        for x, a, e in zip(xs, averages, average.module, strict=True):
            e = e.detach().numpy()
            assert (a.shape, a.dtype) == (x.shape, x.dtype) == (e.shape, e.dtype)
            # a + (1 - decay) (x - a) there: in ten steps up to four ulps
            size = abs(x).max(initial=1.0)
            assert_allclose(a, e, rtol=0, atol=8 * eps_of(dtype) * size)


@pytest.mark.parametrize("dtype", [*DTYPES, np.float16], ids=names)
def test_the_first_average_is_the_parameters(dtype):
    rng = np.random.default_rng(27)
    xs = draws(rng, SHAPES, dtype)
    optimizer = rmsfast.RMSProp(lr=0.1, ema_decay=0.9)
    optimizer.update(dict(enumerate(xs)), dict(enumerate(draws(rng, SHAPES, dtype))))
    average = optimizer.average
    assert list(average) == list(range(len(xs)))
    for k, x in enumerate(xs):
        assert_bits(average[k].astype(dtype), x)  # float16 is rounded after it is averaged


# The reference ------------------------------------------------------------------------------------


class Reference:
    """The naive reference on one vector of all coordinates, with a state like the optimizer's."""

    def __init__(self, xs, **options):
        self.options = options
        self.shapes = [x.shape for x in xs]
        self.x = flat(xs)
        self.s = np.full_like(self.x, options.pop("initial_scale", 0.0))
        self.m, self.b = np.zeros_like(self.x), np.zeros_like(self.x)
        self.t = 0

    def update(self, gs, **changes):
        self.t += 1
        options = {**self.options, **changes}
        self.x, self.s, self.m, self.b = reference.update(
            self.x, flat(gs), self.s, self.m, self.b, self.t, **options
        )

    def split(self, vector):
        ends = np.cumsum([math.prod(shape) for shape in self.shapes])
        parts = np.split(vector, ends[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def state(self):
        """As `state_dict` names it, all accumulators."""
        vectors = {"mean_square": self.s, "mean": self.m, "momentum_buffer": self.b}
        return {name: self.split(vector) for name, vector in vectors.items()}


def assert_is_reference(xs, ours, expected, ulps=0):
    """Parameters and state; `ulps` of each number, for parameters of the largest."""
    assert_state = expected.state()
    pairs = {"params": (xs, expected.split(expected.x))}
    for name, arrays in accumulators(ours).items():
        pairs[name] = arrays, assert_state[name]
    assert "mean_square" in pairs
    for name, (actual, wanted) in pairs.items():
        for a, e in zip(actual, wanted, strict=True):
            if ulps == 0:
                assert_bits(a, e, name)
                continue
            assert (a.shape, a.dtype) == (e.shape, e.dtype)
            rtol = ulps * eps_of(e.dtype)
            atol = 0.0 if name == "mean_square" else rtol * abs(e).max(initial=0.0)
            assert_allclose(a, e, rtol=rtol, atol=atol, err_msg=name)


@each_real
@by_name({**UNCLIPPED, **{f"preset {name}": {"preset": name} for name in reference.PRESETS}})
def test_update_is_the_reference(options, dtype):
    # both evaluate one IEEE expression in one order, so they agree to the last bit
    rng = np.random.default_rng(30)
    xs = draws(rng, SHAPES, dtype)
    options = {"lr": 0.05, **options}
    ours = rmsfast.RMSProp(**options)
    known = {**reference.PRESETS.get(options.pop("preset", None), {}), **options}
    expected = Reference(xs, **known)
    for _ in range(STEPS):
        gs = draws(rng, SHAPES, dtype)
        ours.update(xs, gs)
        expected.update(gs)
        assert_is_reference(xs, ours, expected)


PRESET_OPTIONS = {
    "lr of the preset": ("torch", {}),
    "keras": ("keras", {"momentum": 0.8, "centered": True, "weight_decay": 0.1}),
    "keras clipped": ("keras", {"clip_value": 0.5}),
    "tf1": ("tf1", {"lr": 0.02, "momentum": 0.9, "centered": True}),
    "optax": ("optax", {"lr": 0.02, "momentum": 0.9, "nesterov": True, "bias_correction": True}),
    "optimisers_jl": ("optimisers_jl", {"centered": True}),
    "quimb": ("quimb", {"rho": 0.5}),
    "scale": (None, {"lr": 0.1, "initial_scale": 2.0, "bias_correction": True}),
}


@each_real
@pytest.mark.parametrize("name", PRESET_OPTIONS)
def test_preset_with_options_is_the_reference(name, dtype):
    preset, options = PRESET_OPTIONS[name]
    rng = np.random.default_rng(31)
    xs = draws(rng, SHAPES, dtype)
    ours = rmsfast.RMSProp(preset=preset, **options)
    expected = Reference(xs, **{**reference.PRESETS.get(preset, {}), **options})
    for _ in range(STEPS):
        gs = draws(rng, SHAPES, dtype)
        ours.update(xs, gs)
        expected.update(gs)
        assert_is_reference(xs, ours, expected)


@each_real
@by_name(CLIPPED)
def test_clip_norm_is_that_of_all_arrays(options, dtype):
    # The sum of squares has another order, the factor may differ by an ulp. From a state of many
    # steps: at the first a centered variance is all rounding, and would amplify it.
    rng = np.random.default_rng(32)
    xs = draws(rng, SHAPES, dtype)
    options = {"lr": 0.05, **options}
    ours = rmsfast.RMSProp(**options)
    expected = Reference(xs, **options)
    n = expected.x.size
    expected.m = draw(rng, n, dtype)
    expected.b = draw(rng, n, dtype)
    expected.s = 4 * expected.m**2 + rng.uniform(0.1, 2.0, n).astype(dtype)
    expected.t = 99
    used = {
        "mean": options.get("centered", False),
        "momentum_buffer": options.get("momentum", 0) > 0,
    }
    state = {name: a for name, a in expected.state().items() if used.get(name, True)}
    ours.load_state_dict({"step_count": 99, "skipped_count": 0, **state})
    clipped = 0
    for k in range(STEPS):
        gs = [np.array(a * dtype(0.3**k)) for a in draws(rng, SHAPES, dtype)]
        clipped += reference.clip_scale(expected.x, flat(gs), options) < 1
        ours.update(xs, gs)
        expected.update(gs)
        assert_is_reference(xs, ours, expected, ulps=8)
    assert 0 < clipped
    if not options.get("weight_decay"):
        assert clipped < STEPS  # gradients below the norm were left as they are


@pytest.mark.parametrize(
    ("dtype", "size"),
    [
        *((np.float64, size) for size in (1e-300, 1e-160, 1e-140, 1e140, 1e160, 1e300)),
        *((np.float32, size) for size in (1e-36, 1e-30, 1e30, 1e37)),
    ],
)
def test_clip_norm_of_gradients_whose_squares_leave_the_range(dtype, size):
    rng = np.random.default_rng(33)
    xs = draws(rng, SHAPES, dtype)
    # eps is no help to see tiny gradients in the parameters; the momentum buffer is g / eps
    options = {"lr": 0.1, "eps": 1e-3, "momentum": 0.5, "clip_norm": min(size, 1.0)}
    ours, expected = rmsfast.RMSProp(**options), Reference(xs, **options)
    gs = [np.array(a * dtype(size)) for a in draws(rng, SHAPES, dtype)]
    assert 0 < reference.clip_scale(expected.x, flat(gs), options) < 0.5
    assert abs(flat(gs)).min() > 0
    ours.update(xs, gs)
    expected.update(gs)
    assert_is_reference(xs, ours, expected, ulps=8)


def test_clip_norm_is_that_of_all_groups_and_dtypes():
    rng = np.random.default_rng(34)
    dtypes = [np.float64, np.float32, np.complex64, np.float64, np.complex128]
    xs = [draw(rng, (6,), dtype) for dtype in dtypes]
    gs = [draw(rng, (6,), dtype) for dtype in dtypes]
    norm = math.sqrt(sum(float((abs(g.astype(complex)) ** 2).sum()) for g in gs))
    options = {"lr": 0.1, "rho": 0.9, "eps": 1e-3, "clip_norm": norm / 4}
    groups = [{"params": [1, 3], "lr": 0.3, "momentum": 0.9}]
    ours = rmsfast.RMSProp(groups=groups, **options)
    ours.update(xs, gs)
    for g, s in zip(gs, ours.state_dict()["mean_square"], strict=True):
        parts = (g.real, s.real), (g.imag, s.imag)
        for part, square in parts[: 2 if g.dtype.kind == "c" else 1]:
            expected = 0.1 * (part.astype(float) / 4) ** 2
            assert_allclose(square, expected, rtol=8 * eps_of(g.dtype))


@each_real
def test_clip_norm_with_groups_is_the_reference(dtype):
    rng = np.random.default_rng(35)
    xs = draws(rng, [(4, 5), (7,), (2, 3, 4)], dtype)
    rates = flat([np.full(x.shape, lr) for x, lr in zip(xs, (0.1, 0.3, 0.02), strict=True)])
    options = {"clip_norm": 1.0, "momentum": 0.9, "eps": 1e-2}
    groups = [{"params": [1], "lr": 0.3}, {"params": [2], "lr": 0.02}]
    ours = rmsfast.RMSProp(lr=0.1, groups=groups, **options)
    expected = Reference(xs, lr=rates, **options)
    for _ in range(STEPS):
        gs = draws(rng, expected.shapes, dtype)
        ours.update(xs, gs)
        expected.update(gs)
        assert_is_reference(xs, ours, expected, ulps=8)


@pytest.mark.parametrize("dtype", DTYPES[2:], ids=names)
@by_name({**UNCLIPPED, "scale": {"initial_scale": 0.7}})
def test_complex_numbers_are_two_coordinates(options, dtype):
    rng = np.random.default_rng(36)
    xs = draws(rng, SHAPES, dtype)
    real = np.dtype(xs[0].real.dtype)
    ys = [a for x in xs for a in (x.real.copy(), x.imag.copy())]
    ours, parts = (rmsfast.RMSProp(lr=0.05, **options) for _ in range(2))
    for _ in range(3):
        gs = draws(rng, SHAPES, dtype)
        ours.update(xs, gs)
        parts.update(ys, [a for g in gs for a in (g.real.copy(), g.imag.copy())])
        assert_all_bits([a for x in xs for a in (x.real, x.imag)], ys)
        both = accumulators(parts)
        for name, arrays in accumulators(ours).items():
            assert {a.dtype for a in arrays} == {np.dtype(dtype)} and both[name][0].dtype == real
            assert_all_bits([part for a in arrays for part in (a.real, a.imag)], both[name])


@each_real
@by_name(UNCLIPPED)
def test_a_rate_for_each_coordinate_is_the_reference(options, dtype):
    rng = np.random.default_rng(37)
    xs = draws(rng, SHAPES, dtype)
    rates = [rng.uniform(0.001, 0.5, shape) for shape in SHAPES]
    ours = rmsfast.RMSProp(lr=[np.array(r) for r in rates], **options)
    expected = Reference(xs, lr=flat(rates), **options)
    for _ in range(STEPS):
        gs = draws(rng, SHAPES, dtype)
        ours.update(xs, gs)
        expected.update(gs)
        assert_is_reference(xs, ours, expected)


def test_rates_for_each_coordinate_with_groups():
    rng = np.random.default_rng(41)
    xs = {name: draw(rng, (2, 3), np.float64) for name in "abc"}
    ys = {name: x.copy() for name, x in xs.items()}
    lr = {name: rng.uniform(0.1, 1.0, (2, 3)) for name in "cba"}
    groups = [{"params": ["a", "c"], "momentum": 0.9}]
    ours = rmsfast.RMSProp(lr=lr, groups=groups)
    alone = {
        name: rmsfast.RMSProp(lr=lr[name], momentum=0.0 if name == "b" else 0.9) for name in xs
    }
    for _ in range(3):
        gs = {name: draw(rng, (2, 3), np.float64) for name in "bca"}
        ours.update(xs, gs)
        for name, optimizer in alone.items():
            optimizer.update(ys[name], gs[name])
            assert_bits(xs[name], ys[name])


@each_real
def test_rates_may_be_set_between_updates(dtype):
    rng = np.random.default_rng(42)
    xs = draws(rng, SHAPES, dtype)
    first, second = ([np.array(rng.uniform(0.01, 0.5, s)) for s in SHAPES] for _ in range(2))
    ours = rmsfast.RMSProp(lr=first, momentum=0.9)
    expected = Reference(xs, momentum=0.9)
    for rates in (first, second, 0.2, schedules.constant(0.1), first):
        ours.lr = rates
        at_once = flat(rates) if isinstance(rates, list) else rates
        at_once = at_once(0) if callable(at_once) else at_once
        for _ in range(2):
            gs = draws(rng, SHAPES, dtype)
            ours.update(xs, gs)
            expected.update(gs, lr=at_once)
            assert_is_reference(xs, ours, expected)


@each_dtype
def test_rates_may_be_of_any_real_dtype_and_layout(dtype):
    rng = np.random.default_rng(38)
    rates = rng.integers(1, 5, (4, 5, 6))
    start = draw(rng, rates.shape, dtype)
    gs = draws(rng, [rates.shape] * 3, dtype)
    results = []
    for lr in (
        rates,
        rates.astype(np.uint8),
        rates.astype(np.float32),
        np.asfortranarray(rates, np.float64),
        rates.astype(">f8"),
        np.repeat(rates, 2, 1).astype(np.float64)[:, ::2],
        np.array(rates[::-1], np.float16)[::-1],
    ):
        for order in "CF":
            x = np.array(start, order=order)
            optimizer = rmsfast.RMSProp(lr=lr, momentum=0.5)
            for g in gs:
                optimizer.update(x, g)
            results.append(x)
    assert abs(results[0] - start).max() > 1
    assert_all_bits(results, results[:1] * len(results))


@each_real
@pytest.mark.parametrize(
    "schedule", [*ANY, lambda k: 0.3 if k < 2 else np.float32(0.1)], ids=reference.name_of
)
def test_schedule_is_the_reference(schedule, dtype):
    rng = np.random.default_rng(39)
    xs = draws(rng, SHAPES, dtype)
    ys = [x.copy() for x in xs]
    ours = rmsfast.RMSProp(lr=schedule, momentum=0.9)
    by_hand = rmsfast.RMSProp(lr=1.0, momentum=0.9)
    expected = Reference(xs, momentum=0.9)
    for k in range(STEPS):
        gs = draws(rng, SHAPES, dtype)
        ours.update(xs, gs)
        by_hand.lr = schedule(k)
        by_hand.update(ys, gs)
        expected.update(gs, lr=schedule(k))
        assert_is_reference(xs, ours, expected)
        assert_all_bits(ys, xs)


# optax --------------------------------------------------------------------------------------------

# optax computes g * rsqrt(s + eps), and sums up parameters of about 2: four or five ulps of 1.
OPTAX_ULPS = 10

# At the first step a variance both centered and corrected is all rounding; eps must drown it.
CONDITIONED = [
    {**o, "eps": 0.3} if o.get("centered") and o.get("bias_correction") else o for o in OPTAX
]
NAMES_OF_OPTAX = {"rho": "decay"}
OPTAX_CASES = [
    *(({}, o) for o in CONDITIONED),
    *(({"clip_norm": 1.5}, o) for o in CONDITIONED),
    ({"clip_norm": 1e3}, {"momentum": 0.9}),
    ({"schedule": schedules.exponential(0.1, 0.5, 4)}, {"momentum": 0.9, "nesterov": True}),
    ({"schedule": schedules.cosine(0.1, STEPS)}, {}),
]


@each_real
@pytest.mark.parametrize(("around", "options"), OPTAX_CASES, ids=str)
def test_optax_step_by_step(around, options, dtype):
    rng = np.random.default_rng(40)
    shapes = {"w": (4, 5), "b": (7,), "c": ()}
    params = {name: draw(rng, shape, dtype) for name, shape in shapes.items()}
    schedule, clip_norm = around.get("schedule", 0.01), around.get("clip_norm")
    ours = rmsfast.RMSProp(preset="optax", lr=schedule, clip_norm=clip_norm, **options)
    with jax.enable_x64(dtype is np.float64):
        rate = schedule
        if callable(schedule):  # a table: optax would compute with a float32 of its count
            table = jax.numpy.array(schedule(np.arange(STEPS)), dtype)
            rate = table.__getitem__
        optimizer = optax.rmsprop(rate, **{NAMES_OF_OPTAX.get(n, n): v for n, v in options.items()})
        if clip_norm is not None:
            optimizer = optax.chain(optax.clip_by_global_norm(clip_norm), optimizer)
        x = {name: jax.numpy.array(a) for name, a in params.items()}
        state = optimizer.init(x)
        for _ in range(STEPS):
            gs = {name: draw(rng, shape, dtype) for name, shape in shapes.items()}
            updates, state = optimizer.update(jax.tree.map(jax.numpy.array, gs), state)
            x = optax.apply_updates(x, updates)
            ours.update(params, gs)
            for name, a in params.items():
                e = np.asarray(x[name])
                assert e.dtype == a.dtype == dtype
                assert_allclose(a, e, rtol=0, atol=OPTAX_ULPS * eps_of(dtype), err_msg=name)


# Layouts ------------------------------------------------------------------------------------------


class Stubborn(np.ndarray):
    """A subclass that refuses to be computed with."""

    __array_ufunc__ = None


def strided(a, kind=np.ndarray):
    base = np.full([2 * n + 1 for n in a.shape], 77, a.dtype)
    return base[(..., *[slice(1, None, 2)] * a.ndim)].view(kind), base


def unaligned(a):
    base = np.zeros(a.nbytes + 1, np.uint8)
    return base[1:].view(a.dtype).reshape(a.shape), base


def field(a):
    base = np.zeros(a.shape, [("tag", "u1"), ("value", a.dtype)])
    return base["value"], base


def owned(make):
    """A layout that has its memory to itself."""

    def layout(a):
        view = make(a)
        return view, view if view.base is None else view.base

    return layout


# From a C-contiguous array: an array without its values but with its shape, and what holds it
LAYOUTS = {
    "C": owned(lambda a: a.copy()),
    "F": owned(lambda a: np.array(a, order="F")),
    "permuted": owned(lambda a: np.moveaxis(np.moveaxis(a, 0, -1).copy(), -1, 0)),
    "negative": owned(lambda a: np.flip(np.flip(a).copy())),
    "one negative": owned(lambda a: np.flip(np.flip(a, -1).copy(), -1)),
    "strided": strided,
    "swapped": owned(lambda a: a.astype(a.dtype.newbyteorder("S"))),
    "swapped F": owned(lambda a: np.array(a, a.dtype.newbyteorder("S"), order="F")),
    "swapped strided": lambda a: strided(a.astype(a.dtype.newbyteorder("S"))),
    "unaligned": unaligned,
    "field": field,
    "swapped field": lambda a: field(a.astype(a.dtype.newbyteorder("S"))),
    "subclass": owned(lambda a: a.copy().view(Stubborn)),
    "subclass strided": lambda a: strided(a, Stubborn),
}
OF_NO_DIMENSION = {"C", "F", "swapped", "strided", "unaligned", "field", "subclass"}
MANY = (41, 31, 43)  # a remainder after three pieces of an array that is copied
assert math.prod(MANY) % passes.CHUNK and math.prod(MANY) > 3 * passes.CHUNK


def laid_out(name, a):
    view, _ = LAYOUTS[name](a)
    view[...] = a
    return view


@each_dtype
@pytest.mark.parametrize("shape", [(), (5,), (6, 1, 7), (6, 5, 7), MANY], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_changes_no_bit(layout, shape, dtype):
    if not shape:
        layout = layout if layout in OF_NO_DIMENSION else "field"
    rng = np.random.default_rng(50)
    start = draw(rng, shape, dtype)
    gs = draws(rng, [shape] * 2, dtype)
    for options in ({}, ALL):
        x = start.copy()
        contiguous = rmsfast.RMSProp(lr=0.1, **options)
        for g in gs:
            contiguous.update(x, g)
        assert shape == () or abs(x - start).max() > 0.1
        for of_gradient in ("C", layout):
            view, base = LAYOUTS[layout](start)
            view[...] = start
            before = base.tobytes()
            optimizer = rmsfast.RMSProp(lr=0.1, **options)
            for g in gs:
                held = laid_out(of_gradient, g)
                optimizer.update(view, held)
                assert_bits(held, g)
            assert_bits(view, x)
            assert_same_state(optimizer, contiguous)
            view[...] = start
            assert base.tobytes() == before  # nothing was written beside the array


@each_dtype
@pytest.mark.parametrize("of_params", ["C", "F", "strided", "swapped"])
@pytest.mark.parametrize("layout", [*LAYOUTS, "broadcast", "all broadcast", "frozen", "bytes"])
def test_layout_of_gradients_changes_no_bit(layout, of_params, dtype):
    rng = np.random.default_rng(51)
    shape = (33 if dtype is np.float64 else 5, 24, 25)  # in two pieces, and in one
    g = draw(rng, (1, 24, 1), dtype) if "broadcast" in layout else draw(rng, shape, dtype)
    if layout == "broadcast":
        g = np.broadcast_to(g, shape)
    elif layout == "all broadcast":
        g = np.broadcast_to(g[0, 0, 0], shape)
    elif layout == "bytes":  # read-only, and aligned by accident alone
        g = np.frombuffer(g.tobytes(), dtype).reshape(shape)
    elif layout == "frozen":
        g.flags.writeable = False
    else:
        g = laid_out(layout, g)
    start = draw(rng, shape, dtype)
    x, y = laid_out(of_params, start), start.copy()
    ours, contiguous = (rmsfast.RMSProp(lr=0.1, **ALL) for _ in range(2))
    for _ in range(2):
        ours.update(x, g)
        contiguous.update(y, plain(g))
    assert_bits(x, y)
    assert_same_state(ours, contiguous)


@each_dtype
@pytest.mark.parametrize("layout", LAYOUTS)
def test_rates_of_any_layout_change_no_bit(layout, dtype):
    rng = np.random.default_rng(62)
    for shape in ((6, 5, 7), MANY):
        start, g = draws(rng, [shape] * 2, dtype)
        lr = rng.uniform(0.01, 1.0, shape)
        x, y = laid_out(layout, start), start.copy()
        for optimizer, a in (
            (rmsfast.RMSProp(lr=laid_out(layout, lr), **ALL), x),
            (rmsfast.RMSProp(lr=lr, **ALL), y),
        ):
            for _ in range(2):
                optimizer.update(a, g)
        assert_bits(x, y)


@each_dtype
def test_layouts_may_be_mixed_in_a_list(dtype):
    rng = np.random.default_rng(52)
    shape = (9, 8, 7)
    xs = draws(rng, [shape] * len(LAYOUTS), dtype)
    ys = [x.copy() for x in xs]
    ours, contiguous = (rmsfast.RMSProp(lr=0.1, **ALL) for _ in range(2))
    views = [laid_out(name, x) for name, x in zip(LAYOUTS, xs, strict=True)]
    for _ in range(3):
        gs = draws(rng, [shape] * len(LAYOUTS), dtype)
        others = reversed(LAYOUTS)
        ours.update(views, [laid_out(name, g) for name, g in zip(others, gs, strict=True)])
        contiguous.update(ys, gs)
        assert_all_bits(views, ys)
    assert_same_state(ours, contiguous)


@each_dtype
@pytest.mark.parametrize("options", [{"clip_norm": 3.0}, {**ALL, "clip_norm": 3.0}], ids=str)
def test_clip_norm_does_not_depend_on_layouts(options, dtype):
    # but for the order of the sum, which is that of the elements in memory
    rng = np.random.default_rng(53)
    start, g = draws(rng, [(23, 29, 31)] * 2, dtype)
    x = start.copy()
    rmsfast.RMSProp(lr=0.1, **options).update(x, g)
    for name in LAYOUTS:
        view = laid_out(name, start)
        rmsfast.RMSProp(lr=0.1, **options).update(view, laid_out(name, g))
        assert_allclose(np.asarray(view), x, rtol=0, atol=8 * eps_of(dtype) * abs(x).max())


@each_dtype
@pytest.mark.parametrize("changing", ["params", "grads"])
def test_layouts_may_change_from_call_to_call(changing, dtype):
    rng = np.random.default_rng(54)
    shape = (9, 8, 7)
    y = draw(rng, shape, dtype)
    ours, contiguous = (rmsfast.RMSProp(lr=0.1, **ALL) for _ in range(2))
    for name in (name for pair in product(LAYOUTS, LAYOUTS) for name in pair):  # each after each
        g = draw(rng, shape, dtype)
        x = laid_out(name if changing == "params" else "C", y)
        ours.update(x, laid_out(name if changing == "grads" else "C", g))
        contiguous.update(y, g)
        assert_bits(x, y, name)
    assert_same_state(ours, contiguous)


def become(x, values):
    """Let the array object `x` take over the values and the layout of another."""
    x.__setstate__(values.__reduce__()[2])


@each_dtype
def test_one_array_object_may_change_its_layout(dtype):
    rng = np.random.default_rng(55)
    shape = (9, 8, 7)
    y = draw(rng, shape, dtype)
    x, g = y.copy(), np.empty(shape, dtype)
    ours, contiguous = (rmsfast.RMSProp(lr=0.1, **ALL) for _ in range(2))
    for order, order_g in ("CC", "FC", "FF", "CF", "FF", "FC", "CC", "FF", "CC"):
        drawn = draw(rng, shape, dtype)
        become(x, np.array(y, order=order))
        become(g, np.array(drawn, order=order_g))
        assert (x.flags.f_contiguous, g.flags.f_contiguous) == (order == "F", order_g == "F")
        ours.update(x, g)
        contiguous.update(y, drawn)
        assert_bits(x, y)
    assert_same_state(ours, contiguous)


def test_memory_may_move_between_calls():
    rng = np.random.default_rng(56)
    x = draw(rng, 1000, np.float64)
    y = x.copy()
    ours, other = rmsfast.RMSProp(lr=0.1, momentum=0.9), rmsfast.RMSProp(lr=0.1, momentum=0.9)
    kept = []
    for _ in range(5):
        kept.append((x, x.copy()))
        x = x.copy()
        g = draw(rng, 1000, np.float64)
        ours.update(x, g)
        other.update(y, g)
        kept[-1] = (*kept[-1], g, g.copy())
    assert_bits(x, y)
    for old, copy, g, copy_g in kept:
        assert_bits(old, copy)  # nothing was written where parameters were before
        assert_bits(g, copy_g)


def test_an_array_may_become_read_only():
    x = np.ones(5)
    optimizer = rmsfast.RMSProp(lr=0.1)
    optimizer.update(x, np.ones(5))
    before = x.copy()
    x.flags.writeable = False
    with pytest.raises(ValueError, match="params must be writeable"):
        optimizer.update(x, np.ones(5))
    assert_bits(x, before)
    assert optimizer.step_count == 1
    x.flags.writeable = True
    optimizer.update(x, np.ones(5))
    assert (x < before).all() and optimizer.step_count == 2


@pytest.mark.parametrize("offset", [0, 3], ids=["aligned", "unaligned"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f8", ">f8", "<f4", ">f4", "<c8", ">c16", "<f2"])
def test_memory_mapped_file(dtype, order, offset, tmp_path):
    rng = np.random.default_rng(57)
    dtype = np.dtype(dtype)
    native = dtype.newbyteorder("=")
    shape = (3, passes.CHUNK + 411)
    start = draw(rng, shape, native)
    path = tmp_path / "params"
    new = np.memmap(path, dtype, "w+", offset, shape, order)
    new[...] = start
    del new
    opened = np.memmap(path, dtype, "r+", offset, shape, order)
    gradient_file = tmp_path / "grads"
    x = start.copy()
    ours, contiguous = (rmsfast.RMSProp(lr=0.1, momentum=0.9) for _ in range(2))
    for _ in range(2):
        g = draw(rng, shape, native)
        g.tofile(gradient_file)
        ours.update(opened, np.memmap(gradient_file, native, "r", 0, shape))
        contiguous.update(x, g)
    opened.flush()
    on_disk = np.fromfile(path, dtype, offset=offset).reshape(shape, order=order)
    assert path.stat().st_size == offset + start.nbytes
    assert_bits(on_disk, x)
    assert abs(on_disk.astype(native) - start).min() > 0
    assert_same_state(ours, contiguous)
    assert all(type(a) is np.ndarray for a in accumulators(ours)["mean_square"])


@by_name({**UNCLIPPED, "scale": {"initial_scale": 0.7}})
def test_float16_is_computed_in_float32_and_rounded(options):
    rng = np.random.default_rng(58)
    shapes = [*SHAPES, (passes.CHUNK + 5,)]
    xs = draws(rng, shapes, np.float16)
    ours = rmsfast.RMSProp(lr=0.05, **options)
    expected = Reference([x.astype(np.float32) for x in xs], lr=0.05, **options)
    for _ in range(STEPS):
        gs = draws(rng, shapes, np.float16)
        ours.update(xs, gs)
        expected.update([g.astype(np.float32) for g in gs])
        with np.errstate(over="ignore"):
            rounded = expected.x.astype(np.float16)
        assert_all_bits(xs, expected.split(rounded))
        expected.x = rounded.astype(np.float32)
    state = expected.state()
    for name, arrays in accumulators(ours).items():
        assert {a.dtype for a in arrays} == {np.dtype(np.float32)}
        assert_all_bits(arrays, state[name], name)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_float16_in_any_layout(layout):
    rng = np.random.default_rng(59)
    for shape in ((6, 5, 7), MANY):
        x = draw(rng, shape, np.float16)
        view = laid_out(layout, x)
        ours, contiguous = (rmsfast.RMSProp(lr=0.1, **ALL) for _ in range(2))
        for _ in range(2):
            g = draw(rng, shape, np.float16)
            ours.update(view, laid_out(layout, g))
            contiguous.update(x, g)
        assert_bits(view, x)
        assert_same_state(ours, contiguous)


@each_dtype
@pytest.mark.parametrize("options", [{}, ALL, {"clip_norm": 1.0}], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_parameters_may_be_their_own_gradients(layout, options, dtype):
    rng = np.random.default_rng(60)
    for shape in ((6, 5, 7), MANY):
        x = laid_out(layout, draw(rng, shape, dtype))
        y = x.copy("K")
        if layout == "unaligned" or "field" in layout:
            y = laid_out(layout, plain(x))
        ours, other = (rmsfast.RMSProp(lr=0.01, **options) for _ in range(2))
        for _ in range(2):
            ours.update(x, x)
            other.update(y, laid_out(layout, plain(y)))
        if "clip_norm" in options:  # another order of the sum
            assert_allclose(plain(x), plain(y), rtol=0, atol=8 * eps_of(dtype))
        else:
            assert_bits(x, y)
            assert_same_state(ours, other)


OVERLAPS = {
    "a view": lambda a: (a, a[:]),
    "transposed": lambda a: (a, a.T),
    "from the end": lambda a: (a, a[::-1, ::-1]),
    "all reversed": lambda a: (a.reshape(-1), a.reshape(-1)[::-1]),
    "one later": lambda a: (a.reshape(-1)[:-1], a.reshape(-1)[1:]),
    "one before": lambda a: (a.reshape(-1)[1:], a.reshape(-1)[:-1]),
    "even and odd": lambda a: (a[:, ::2], a[:, 1::2]),
}


@each_real
@pytest.mark.parametrize("n", [6, 150, 300])
@pytest.mark.parametrize("name", OVERLAPS)
def test_gradients_may_overlap_parameters(name, n, dtype):
    # as NumPy's own functions have it: with the values that the gradients had before
    rng = np.random.default_rng(61)
    a = draw(rng, (n, n), dtype)
    b = a.copy()
    x, g = OVERLAPS[name](a)
    y, h = OVERLAPS[name](b)
    rmsfast.RMSProp(lr=0.1).update(x, g)
    rmsfast.RMSProp(lr=0.1).update(y, h.copy())
    assert_bits(a, b)


@each_dtype
@pytest.mark.parametrize("options", [{}, {"clip_norm": 1.0}], ids=str)
@pytest.mark.parametrize("layout", ["C", "strided", "swapped"])
@pytest.mark.parametrize("n", [50, 3 * passes.CHUNK + 5])
def test_gradients_may_be_other_parameters(n, layout, options, dtype):
    # f(a, b, c) = sum(a b c[0]) and the like: the gradients are [b, a, ...] themselves
    rng = np.random.default_rng(63)
    xs = [laid_out(layout, x) for x in draws(rng, [n] * 3, dtype)]
    ys = [laid_out(layout, plain(x)) for x in xs]
    for rows in ([1, 0, 2], [1, 2, 0], [2, 2, 1]):
        rmsfast.RMSProp(lr=0.1, **options).update(xs, [xs[k] for k in rows])
        copies = [laid_out(layout, plain(ys[k])) for k in rows]
        rmsfast.RMSProp(lr=0.1, **options).update(ys, copies)
        assert_all_bits(xs, ys)


# Sizes and threads --------------------------------------------------------------------------------


@contextmanager
def thread_count(count):
    before = numba.get_num_threads()
    numba.set_num_threads(count)
    try:
        yield
    finally:
        numba.set_num_threads(before)


COUNTS = sorted({2, 3, numba.config.NUMBA_NUM_THREADS} & set(range(1, 1 + numba.get_num_threads())))


def run(xs, gradients, make, count=1):
    """The parameters after updates on so many threads, and the optimizer."""
    xs = [x.copy() for x in xs]
    optimizer = make()
    with thread_count(count):
        for gs in gradients:
            optimizer.update(xs, gs)
    return xs, optimizer


@pytest.fixture
def thread_counts(monkeypatch):
    """The number of threads that each pass over many elements was given."""
    asked = []

    @contextmanager
    def recorded():
        with original() as count:
            asked.append(count)
            yield count

    original = passes.threads
    monkeypatch.setattr(passes, "threads", recorded)
    return asked


@each_real
@by_name({**UNCLIPPED, **CLIPPED})
def test_threads_change_no_bit(options, dtype, thread_counts):
    rng = np.random.default_rng(70)
    n = 9 * cpu.BLOCK + 123
    cuts = [2 * cpu.BLOCK, 3 * cpu.BLOCK, 7 * cpu.BLOCK]  # of blocks: the sum of squares stays
    xs = [draw(rng, n, dtype)]
    gradients = [[draw(rng, n, dtype)] for _ in range(2)]

    def make():
        return rmsfast.RMSProp(lr=0.05, **options)

    serial, optimizer = run(xs, gradients, make)
    assert set(thread_counts) == {1}
    for count in COUNTS:
        thread_counts.clear()
        threaded, other = run(xs, gradients, make, count)
        assert set(thread_counts) == {count}
        assert_all_bits(threaded, serial)
        assert_same_state(other, optimizer)
    pieces, other = run(
        np.split(xs[0], cuts), [np.split(gs[0], cuts) for gs in gradients], make, COUNTS[-1]
    )
    assert_bits(flat(pieces), serial[0])
    for name, arrays in accumulators(other).items():
        assert_bits(flat(arrays), accumulators(optimizer)[name][0])
    if "clip_norm" not in options:
        thread_counts.clear()
        edges = [0, 5, *range(5005, n, 5000), n]
        for start, stop in pairwise(edges):
            small, _ = run([xs[0][start:stop]], [[gs[0][start:stop]] for gs in gradients], make)
            assert_bits(small[0], serial[0][start:stop])
        assert not thread_counts


@each_dtype
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_sizes_about_the_threshold(more, dtype, thread_counts):
    rng = np.random.default_rng(71)
    n = passes.PARALLEL_BYTES // np.dtype(dtype).itemsize + more
    x, g = draws(rng, [n, n], dtype)
    for options in ({}, {**ALL, "clip_norm": 100.0}):

        def make(options=options):
            return rmsfast.RMSProp(lr=0.1, **options)

        for shape_it in (
            lambda a: [a],
            lambda a: [a[:5000], a[5000:]],
            lambda a: [a[k : k + 1000] for k in range(0, n, 1000)],
        ):
            thread_counts.clear()
            serial, optimizer = run(shape_it(x), [shape_it(g)] * 2, make)
            assert bool(thread_counts) == (more >= 0)
            threaded, other = run(shape_it(x), [shape_it(g)] * 2, make, COUNTS[-1])
            assert_all_bits(threaded, serial)
            assert_same_state(other, optimizer)
            if not options:
                assert_bits(flat(serial), flat(run([x], [[g]] * 2, make)[0]))


@each_dtype
def test_many_small_arrays_and_a_large_one(dtype, thread_counts):
    rng = np.random.default_rng(72)
    shapes = [(k % 41,) for k in range(300)]
    shapes[123] = (211, 209)
    shapes[200] = ()
    xs = draws(rng, shapes, dtype)
    gradients = [draws(rng, shapes, dtype) for _ in range(2)]

    def make():
        return rmsfast.RMSProp(lr=0.1, **ALL)

    together, optimizer = run(xs, gradients, make, COUNTS[-1])
    assert set(thread_counts) == {COUNTS[-1]}
    state = accumulators(optimizer)
    for k, x in enumerate(xs):
        alone, other = run([x], [[gs[k]] for gs in gradients], make)
        assert_bits(together[k], alone[0])
        for name, arrays in accumulators(other).items():
            assert_bits(state[name][k], arrays[0])
    clipped = {**ALL, "clip_norm": 5.0}
    results = [
        run(xs, gradients, lambda: rmsfast.RMSProp(lr=0.1, **clipped), count)[0]
        for count in (1, *COUNTS)
    ]
    for result in results[1:]:
        assert_all_bits(result, results[0])
    assert abs(results[0][123] - together[123]).max() > 0


def test_several_threads_update_their_own_and_a_shared_optimizer():
    rng = np.random.default_rng(73)
    n, count, steps = 50_000, 4, 20
    xs = draws(rng, [n] * count, np.float64)
    common = np.zeros(n)
    g = np.sign(draw(rng, n, np.float64))
    expected = [run([x], [[g]] * steps, lambda: rmsfast.RMSProp(lr=0.1))[0][0] for x in xs]
    alone, _ = run([common], [[g]] * (steps * count), lambda: rmsfast.RMSProp(lr=0.1))
    shared = rmsfast.RMSProp(lr=0.1)
    errors = []

    def work(x):
        try:
            own = rmsfast.RMSProp(lr=0.1)
            for _ in range(steps):
                own.update(x, g)
                shared.update(common, g)
        except Exception as error:
            errors.append(error)

    workers = [threading.Thread(target=work, args=(x,)) for x in xs]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not errors
    assert_all_bits(xs, expected)
    assert_bits(common, alone[0])
    assert shared.step_count == steps * count


kinds = st.tuples(
    st.lists(st.integers(0, 5), max_size=3).map(tuple),
    st.sampled_from([*DTYPES, np.float16]),
    st.sampled_from(list(LAYOUTS)),
    st.sampled_from(list(LAYOUTS)),
)
some_options = st.sampled_from([{}, ALL, VARIANTS["momentum"], VARIANTS["corrected centered"]])


@settings(max_examples=150)
@given(st.lists(kinds, min_size=1, max_size=8), some_options, st.integers(0, 2**32))
def test_a_list_is_its_arrays_one_by_one(kinds, options, seed):
    rng = np.random.default_rng(seed)

    def hold(name, a):
        return laid_out(name if a.ndim or name in OF_NO_DIMENSION else "field", a)

    drawn = [draw(rng, shape, dtype) for shape, dtype, _, _ in kinds]
    xs = [hold(layout, a) for a, (_, _, layout, _) in zip(drawn, kinds, strict=True)]
    together = rmsfast.RMSProp(lr=0.1, **options)
    alone = [rmsfast.RMSProp(lr=0.1, **options) for _ in kinds]
    for _ in range(2):
        gs = [draw(rng, shape, dtype) for shape, dtype, _, _ in kinds]
        together.update(
            xs, [hold(layout, g) for g, (_, _, _, layout) in zip(gs, kinds, strict=True)]
        )
        for optimizer, y, g in zip(alone, drawn, gs, strict=True):
            optimizer.update(y, g)
        assert_all_bits(xs, drawn)
    state = accumulators(together)
    for k, optimizer in enumerate(alone):
        for name, arrays in accumulators(optimizer).items():
            assert_bits(state[name][k], arrays[0], name)
