"""`rmsfast.kernels`: the same bits as `rmsfast.RMSProp`, from Python and from compiled code."""

import math
import re

import numba
import numpy as np
import pytest
import reference
from numpy.testing import assert_array_equal
from test_rule import VARIANTS

import rmsfast
from rmsfast import kernels

DTYPES = [np.float64, np.float32]
STEPS = 5
EXACT = {  # of `VARIANTS`, those whose norm is rounded in one way, or which have none
    name: options for name, options in VARIANTS.items() if "clip_norm" not in options
}

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
each_variant = pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS.keys())
each_exact = pytest.mark.parametrize("options", EXACT.values(), ids=EXACT.keys())
each_update = pytest.mark.parametrize("update", [kernels.update, kernels.parallel_update])

H = kernels.hyper(lr=0.05, rho=0.9)
ALL = {
    **{"momentum": 0.8, "nesterov": True, "centered": True, "bias_correction": True},
    **{"weight_decay": 0.02, "clip_value": 0.6, "eps_in_sqrt": True, "eps": 1e-4},
    **{"decoupled": True, "lr_in_momentum": True, "maximize": True},
}


def split(options):
    """What `hyper` takes, and `clip_norm`."""
    options = dict(options)
    return options, options.pop("clip_norm", None)


def scale_of(x, g, h, clip_norm):
    """The factor that `clip_norm` asks for, for a vector of two: no order of a sum matters."""
    if clip_norm is None:
        return 1.0
    assert x.size == 2
    d = np.array([-v if h.maximize else v for v in g], x.dtype)
    if not h.decoupled and h.weight_decay:
        d = d + x.dtype.type(h.weight_decay) * x
    a, b = map(float, d)
    return min(1.0, clip_norm / math.sqrt(a * a + b * b))


class Arrays:
    """What a kernel updates, and the same parameters with an `rmsfast.RMSProp`."""

    def __init__(self, rng, n, dtype, **options):
        self.x, self.s, self.m, self.b = (np.zeros(n, dtype) for _ in range(4))
        self.x[:] = rng.standard_normal(n)
        self.params = self.x.copy()
        self.optimizer = rmsfast.RMSProp(lr=0.05, **options)

    def update_params(self, g):
        """Update the other parameters."""
        self.optimizer.update(self.params, g)

    def assert_equal(self):
        """All bits are those of the optimizer."""
        assert self.x.tobytes() == self.params.tobytes()
        state = self.optimizer.state_dict()
        assert_array_equal(self.x, self.params)
        assert self.s.tobytes() == state["mean_square"].tobytes()
        assert self.m.tobytes() == state.get("mean", np.zeros_like(self.m)).tobytes()
        assert self.b.tobytes() == state.get("momentum_buffer", np.zeros_like(self.b)).tobytes()


def hypers(options, t, **more):
    options, _ = split(options)
    return kernels.hyper(lr=0.05, t=t, **options, **more)


# Array loops --------------------------------------------------------------------------------------


@each_dtype
@each_exact
@each_update
@pytest.mark.parametrize("n", [0, 1, 301, 40_001])
def test_update_is_the_optimizer(n, update, options, dtype):
    rng = np.random.default_rng(80)
    arrays = Arrays(rng, n, dtype, **options)
    for t in range(1, STEPS + 1):
        g = rng.standard_normal(n).astype(dtype)
        update(arrays.x, g, arrays.s, arrays.m, arrays.b, hypers(options, t))
        arrays.update_params(g)
    arrays.assert_equal()


@each_dtype
@each_variant
@each_update
def test_gradient_scale_is_clip_norm(update, options, dtype):
    rng = np.random.default_rng(81)
    _, clip_norm = split(options)
    factors = []
    for _ in range(30):
        arrays = Arrays(rng, 2, dtype, **options)
        for t in range(1, STEPS + 1):
            g = rng.standard_normal(2).astype(dtype)
            factors.append(scale_of(arrays.x, g, hypers(options, t), clip_norm))
            h = hypers(options, t, gradient_scale=factors[-1])
            update(arrays.x, g, arrays.s, arrays.m, arrays.b, h)
            arrays.update_params(g)
        arrays.assert_equal()
    assert (min(factors) < 1.0) == (clip_norm is not None)


@each_update
@each_dtype
def test_unused_accumulators_may_have_no_elements(dtype, update):
    rng = np.random.default_rng(82)
    for options in ({}, {"centered": True}, {"momentum": 0.9}, {"eps_in_sqrt": True}):
        for n in (20, 20_000):
            arrays = Arrays(rng, n, dtype, **options)
            if not options.get("centered"):
                arrays.m = np.empty(0, dtype)
            if not options.get("momentum"):
                arrays.b = np.empty(0, dtype)
            g = rng.standard_normal(n).astype(dtype)
            update(arrays.x, g, arrays.s, arrays.m, arrays.b, hypers(options, 1))
            arrays.update_params(g)
            assert arrays.x.tobytes() == arrays.params.tobytes()
            assert arrays.s.tobytes() == arrays.optimizer.state_dict()["mean_square"].tobytes()


def strided(a):
    """The same numbers in every third element of a longer vector, backwards."""
    base = np.full(3 * a.size + 2, 7.0, a.dtype)
    view = base[1 : 1 + 3 * a.size : 3][::-1]
    view[:] = a
    return view, base


@each_update
@each_dtype
@pytest.mark.parametrize("options", [{}, ALL], ids=["plain", "all"])
def test_arrays_may_be_strided(options, dtype, update):
    rng = np.random.default_rng(83)
    n = 20_003
    arrays = Arrays(rng, n, dtype, **options)
    (x, base), (s, _), (m, _), (b, _) = (
        strided(a) for a in (arrays.x, arrays.s, arrays.m, arrays.b)
    )
    for t in range(1, STEPS + 1):
        g, _ = strided(rng.standard_normal(n).astype(dtype))
        update(x, g, s, m, b, hypers(options, t))
        arrays.update_params(g)
    arrays.x, arrays.s, arrays.m, arrays.b = x, s, m, b
    arrays.assert_equal()
    x[:] = 7.0
    assert_array_equal(base, 7.0)  # nothing was written between


@each_update
@each_dtype
def test_only_some_arrays_may_be_strided(dtype, update):
    rng = np.random.default_rng(84)
    arrays = Arrays(rng, 500, dtype, **ALL)
    s, _ = strided(arrays.s)
    table = np.empty((500, 3), dtype)
    for t in range(1, STEPS + 1):
        table[:, 1] = rng.standard_normal(500)
        update(arrays.x, table[:, 1], s, arrays.m, arrays.b, hypers(ALL, t))
        arrays.update_params(table[:, 1].copy())
    arrays.s = s
    arrays.assert_equal()


@each_dtype
def test_threads_change_no_bit(dtype):
    rng = np.random.default_rng(85)
    n = 50_001
    start, g = rng.standard_normal((2, n)).astype(dtype)
    results = []
    before = numba.get_num_threads()
    for count in range(1, before + 1):
        x, s, m, b = start.copy(), *np.zeros((3, n), dtype)
        numba.set_num_threads(count)
        try:
            kernels.parallel_update(x, g, s, m, b, hypers(ALL, 1))
        finally:
            numba.set_num_threads(before)
        results.append(x)
    kernels.update(start, g, *np.zeros((3, n), dtype), hypers(ALL, 1))
    for x in results:
        assert x.tobytes() == start.tobytes()


# Compiled callers ---------------------------------------------------------------------------------


@numba.njit
def loop_of_steps(x, g, s, m, b, h):
    """With hyperparameters that are an argument, rounded to the dtype of `x` here."""
    k = kernels.cast(h, x.dtype.type)
    for i in range(x.size):
        x[i], s[i], m[i], b[i] = kernels.step(x[i], g[i], s[i], m[i], b[i], k)


@numba.njit(error_model="numpy")
def loop_with_global(x, g, s):
    zero = x.dtype.type(0)
    k = kernels.cast(H, x.dtype.type)
    for i in range(x.size):
        x[i], s[i], _, _ = kernels.step(x[i], g[i], s[i], zero, zero, k)


@numba.njit
def loop_with_global_as_it_is(x, g, s):
    for i in range(x.size):
        x[i], s[i], _, _ = kernels.step(x[i], g[i], s[i], 0.0, 0.0, H)


@numba.njit(parallel=True)
def parallel_loop_of_steps(x, g, s, m, b, h):
    k = kernels.cast(h, x.dtype.type)
    for i in numba.prange(x.size):
        x[i], s[i], m[i], b[i] = kernels.step(x[i], g[i], s[i], m[i], b[i], k)


@numba.njit(fastmath=True)
def fast_loop_of_steps(x, g, s, m, b, h):
    k = kernels.cast(h, x.dtype.type)
    for i in range(x.size):
        x[i], s[i], m[i], b[i] = kernels.step(x[i], g[i], s[i], m[i], b[i], k)


@numba.njit
def rows(x, g, s, m, b, h):
    """Array loops within: row by row."""
    for i in range(x.shape[0]):
        kernels.update(x[i], g[i], s[i], m[i], b[i], h)


@numba.njit
def columns_then_all(x, g, s, m, b, h):
    for j in range(x.shape[1]):
        kernels.parallel_update(x[:, j], g[:, j], s[:, j], m[:, j], b[:, j], h)


@each_dtype
@each_exact
@pytest.mark.parametrize("loop", [loop_of_steps, parallel_loop_of_steps, fast_loop_of_steps])
def test_step_in_a_loop_of_the_users(loop, options, dtype):
    rng = np.random.default_rng(86)
    arrays = Arrays(rng, 301, dtype, **options)
    for t in range(1, STEPS + 1):
        g = rng.standard_normal(301).astype(dtype)
        loop(arrays.x, g, arrays.s, arrays.m, arrays.b, hypers(options, t))
        arrays.update_params(g)
    if not options.get("centered"):
        arrays.m[:] = 0
    if not options.get("momentum"):
        arrays.b[:] = 0
    arrays.assert_equal()


@each_dtype
def test_step_with_global_hyperparameters(dtype):
    rng = np.random.default_rng(87)
    arrays = Arrays(rng, 301, dtype, rho=0.9)
    for _ in range(STEPS):
        g = rng.standard_normal(301).astype(dtype)
        loop_with_global(arrays.x, g, arrays.s)
        arrays.update_params(g)
    arrays.assert_equal()


def test_hyperparameters_as_they_are_compute_in_float64():
    rng = np.random.default_rng(88)
    start, g = rng.standard_normal((2, 301)).astype(np.float32)
    x, s = start.copy(), np.zeros(301, np.float32)
    loop_with_global_as_it_is(x, g, s)
    zeros = np.zeros(301)
    wide = reference.update(
        start.astype(float), g.astype(float), zeros, zeros, zeros, 1, lr=0.05, rho=0.9
    )
    assert_array_equal(x, wide[0].astype(np.float32))
    assert_array_equal(s, wide[1].astype(np.float32))


@each_dtype
@pytest.mark.parametrize("options", [{}, ALL], ids=["plain", "all"])
@pytest.mark.parametrize("loop", [rows, columns_then_all])
def test_array_loops_in_a_function_of_the_users(loop, options, dtype):
    rng = np.random.default_rng(89)
    shape = (43, 7)
    arrays = Arrays(rng, 301, dtype, **options)
    for t in range(1, STEPS + 1):
        g = rng.standard_normal(301).astype(dtype)
        held = (arrays.x, g, arrays.s, arrays.m, arrays.b)
        loop(*(a.reshape(shape) for a in held), hypers(options, t))
        arrays.update_params(g)
    arrays.assert_equal()


# Each name ----------------------------------------------------------------------------------------


@numba.njit
def descent_gradient(x, g, h):
    return kernels.descent_gradient(x, g, h)


@numba.njit
def mean_square(s, g, h):
    return kernels.mean_square(s, g, h)


@numba.njit
def denominator(v, h):
    return kernels.denominator(v, h)


@numba.njit
def average(a, x, decay):
    return kernels.average(a, x, decay)


@numba.njit
def step(x, g, s, m, b, h):
    return kernels.step(x, g, s, m, b, h)


@numba.njit
def with_lr(h, lr):
    return kernels.with_lr(h, lr)


@numba.njit
def cast(h):
    return kernels.cast(h, np.float32)


@numba.njit
def hyper_of(h):
    """A `Hyper` made in compiled code."""
    return kernels.Hyper(
        *(0.5, h.rho, h.one_minus_rho, h.eps, h.momentum, h.weight_decay, h.clip_value),
        *(h.gradient_scale, h.correction, h.bias_correction, h.centered, h.eps_in_sqrt),
        *(h.nesterov, h.lr_in_momentum, h.decoupled, h.maximize),
    )


CALLS = {
    "descent_gradient": (descent_gradient, (2.0, 3.0, hypers({"weight_decay": 0.5}, 1)), 4.0),
    "mean_square": (mean_square, (4.0, 2.0, hypers({"rho": 0.75}, 1)), 4.0),
    "denominator": (denominator, (4.0, hypers({"eps": 0.5}, 1)), 2.5),
    "average": (average, (4.0, 8.0, 0.75), 5.0),
    "step": (
        step,
        (1.0, 2.0, 4.0, 0.0, 0.0, kernels.hyper(lr=0.25, rho=0.75, eps=2.0)),
        (0.875, 4.0, 0.0, 0.0),
    ),
}


def test_each_name():
    assert sorted(kernels.__all__) == kernels.__all__
    arrays = {"update", "parallel_update"}
    assert {*CALLS, *arrays, "Hyper", "cast", "hyper", "with_lr"} == set(kernels.__all__)
    assert all(callable(getattr(kernels, name)) for name in kernels.__all__)


@pytest.mark.parametrize("name", CALLS)
def test_scalar_rule_from_python_and_from_compiled_code(name):
    compiled, arguments, expected = CALLS[name]
    assert getattr(kernels, name)(*arguments) == expected
    assert compiled(*arguments) == expected


def test_inner_rules_make_up_the_step():
    rng = np.random.default_rng(90)
    for options in ({}, {"eps_in_sqrt": True}, {"weight_decay": 0.3, "maximize": True}):
        h = kernels.hyper(lr=0.1, **options)
        for x, g, s in rng.uniform(0.1, 2.0, (20, 3)):
            d = kernels.descent_gradient(x, g, h)
            s_new = kernels.mean_square(s, d, h)
            expected = x - h.lr * (d / kernels.denominator(s_new, h)), s_new, 0.0, 0.0
            assert kernels.step(x, g, s, 0.0, 0.0, h) == expected


def test_average_is_that_of_the_optimizer():
    rng = np.random.default_rng(91)
    x = rng.standard_normal(50)
    optimizer = rmsfast.RMSProp(lr=0.1, ema_decay=0.9)
    mean = None
    for _ in range(STEPS):
        optimizer.update(x, rng.standard_normal(50))
        if mean is None:
            mean = x.copy()
        else:
            mean = np.array([kernels.average(a, v, 0.9) for a, v in zip(mean, x, strict=True)])
    assert mean.tobytes() == optimizer.average.tobytes()


def test_with_lr_changes_the_learning_rate_alone():
    h = hypers(ALL, 3)
    for changed in (kernels.with_lr(h, 0.5), with_lr(h, 0.5), h._replace(lr=0.5)):
        assert changed == h._replace(lr=0.5) != h
        assert isinstance(changed, kernels.Hyper)


def test_cast_rounds_every_number():
    h = hypers({**ALL, "rho": 0.7}, 3, gradient_scale=0.3)
    for rounded in (kernels.cast(h, np.float32), cast(h)):
        assert isinstance(rounded, kernels.Hyper)
        assert rounded == kernels.Hyper(*(float(np.float32(v)) for v in h[:9]), *h[9:]) != h
        assert all(type(flag) is bool for flag in rounded[9:])
    assert kernels.cast(h, np.float64) == h


def test_hyper_may_be_made_in_compiled_code():
    h = hypers(ALL, 3)
    assert hyper_of(h) == h._replace(lr=0.5)


# Hyperparameters ----------------------------------------------------------------------------------


def test_hyper_is_floats_and_bools_with_the_defaults_of_the_options():
    h = kernels.hyper(1)
    assert h == kernels.Hyper(
        *(1.0, 0.99, 1 - 0.99, 1e-8, 0.0, 0.0, math.inf, 1.0, 1.0),
        *(False,) * 7,
    )
    h = kernels.hyper(
        lr=np.float32(0.5), rho=np.float64(0.5), eps=1, clip_value=np.int64(2), maximize=np.True_
    )
    assert [type(v) for v in h] == [float] * 9 + [bool] * 7
    assert (h.lr, h.rho, h.one_minus_rho, h.eps, h.clip_value, h.maximize) == (
        *(0.5, 0.5, 0.5, 1.0, 2.0),
        True,
    )


@pytest.mark.parametrize("name", reference.PRESETS)
def test_hyper_of_a_preset(name):
    expected = {"lr": 0.5, **reference.PRESETS[name]}
    given = {} if "lr" in reference.PRESETS[name] else {"lr": 0.5}
    h = kernels.hyper(preset=name, **given)
    for key in set(expected) - {"initial_scale"}:
        assert getattr(h, key) == expected[key], key
    assert kernels.hyper(0.125, preset=name, momentum=0.5) == h._replace(lr=0.125, momentum=0.5)


@each_dtype
@pytest.mark.parametrize("rho", [0.9, np.float32(0.9)], ids=["double", "single"])
def test_bias_correction_by_t_and_by_replace(rho, dtype):
    rng = np.random.default_rng(92)
    options = {"bias_correction": True, "rho": rho}
    arrays, others = (Arrays(np.random.default_rng(93), 40, dtype, **options) for _ in range(2))
    first = kernels.hyper(lr=0.05, **options)
    assert first.correction == 1 - float(rho)
    for t in range(1, 2 * STEPS):
        g = rng.standard_normal(40).astype(dtype)
        h = kernels.hyper(lr=0.05, t=t, **options)
        assert h.correction == 1 - float(rho) ** t
        replaced = first._replace(correction=1 - first.rho**t)
        assert replaced == h
        kernels.update(arrays.x, g, arrays.s, arrays.m, arrays.b, h)
        kernels.update(others.x, g, others.s, others.m, others.b, replaced)
        arrays.update_params(g)
        arrays.assert_equal()
    assert others.x.tobytes() == arrays.x.tobytes()
    for t in (1, 7):  # without bias correction `t` does not matter
        assert kernels.hyper(lr=0.05, t=t).correction == 1.0


@each_dtype
def test_a_schedule_by_replace(dtype):
    rng = np.random.default_rng(94)
    arrays = Arrays(rng, 40, dtype, momentum=0.5)
    arrays.optimizer.lr = rates = rmsfast.schedules.step(0.1, 2, 0.5)
    h = kernels.hyper(lr=1.0, momentum=0.5)
    for k in range(STEPS):
        g = rng.standard_normal(40).astype(dtype)
        kernels.update(arrays.x, g, arrays.s, arrays.m, arrays.b, h._replace(lr=rates(k)))
        arrays.update_params(g)
        arrays.assert_equal()


@each_dtype
def test_initial_scale_is_what_the_mean_square_is_filled_with(dtype):
    rng = np.random.default_rng(95)
    arrays = Arrays(rng, 40, dtype, preset="tf1", momentum=0.5)
    arrays.s[:] = 1.0
    h = kernels.hyper(lr=0.05, preset="tf1", momentum=0.5)
    for _ in range(STEPS):
        g = rng.standard_normal(40).astype(dtype)
        kernels.update(arrays.x, g, arrays.s, arrays.m, arrays.b, h)
        arrays.update_params(g)
    arrays.assert_equal()


OTHERWISE = r"'epsilon' is no hyperparameter \(did you mean eps\?\): there are lr, rho, "
WRONG = [  # arguments, exception, what the message says: the argument and the value
    ({}, ValueError, "lr must be given, or a preset that has one, got None"),
    ({"epsilon": 1e-8}, TypeError, OTHERWISE),
    ({"preset": "tf1"}, ValueError, "preset 'tf1' has no default learning rate"),
    ({"preset": "adam"}, ValueError, "preset must be one of .*, got 'adam'"),
    ({"lr": "auto"}, TypeError, "lr must be a real number, got 'auto'"),
    ({"lr": 0.0}, ValueError, r"lr must be in \(0, inf\), got 0.0"),
    ({"lr": -1}, ValueError, r"lr must be in \(0, inf\), got -1"),
    ({"lr": math.nan}, ValueError, "lr must be .*, got nan"),
    ({"lr": math.inf}, ValueError, "lr must be .*, got inf"),
    ({"lr": True}, TypeError, "lr must be a real number, got True"),
    ({"lr": np.ones(3)}, TypeError, r"lr must be a real number, got array\(\[1., 1., 1.\]\)"),
    ({"lr": rmsfast.schedules.constant(0.1)}, TypeError, r"lr must be .*, got constant\(lr=0.1\)"),
    *(
        ({"lr": 0.1, name: value}, kind, rf"{name} must be .*, got {re.escape(repr(value))}")
        for kind, name, values in (
            (ValueError, "rho", (1.0, -0.1, math.nan)),
            (ValueError, "eps", (0.0, -1e-8, math.inf)),
            (ValueError, "momentum", (1.0, -0.5)),
            (ValueError, "weight_decay", (-0.1, math.inf)),
            (ValueError, "clip_value", (0.0, -1.0)),
            (ValueError, "gradient_scale", (-1.0, math.nan, math.inf)),
            (ValueError, "t", (0, -3, 2.5, math.nan)),
            (TypeError, "rho", ("0.9", None, True)),
            (TypeError, "clip_value", ("1",)),
            (TypeError, "gradient_scale", (None, "1", 1j)),
            (TypeError, "t", (None, "1", True)),
            *((TypeError, flag, (1, None)) for flag in kernels.Hyper._fields[9:]),
        )
        for value in values
    ),
    ({"lr": 0.1, "nesterov": True}, ValueError, "nesterov needs momentum > 0, got momentum=0.0"),
    ({"lr": 0.1, "clip_norm": 2.5}, TypeError, "clip_norm.*2.5"),
    ({"lr": 0.1, "initial_scale": 0.5}, TypeError, "initial_scale.*0.5"),
    ({"lr": 0.1, "preset": "tf1", "initial_scale": 0.5}, TypeError, "initial_scale.*0.5"),
    ({"lr": 0.1, "beta": 0.9}, TypeError, "'beta'"),
]


@pytest.mark.parametrize("corrected", [False, True])
@pytest.mark.parametrize(("arguments", "error", "message"), WRONG, ids=lambda value: str(value))
def test_hyper_refuses(arguments, error, message, corrected):
    with pytest.raises(error, match=message):
        kernels.hyper(**{"bias_correction": corrected, **arguments})


@pytest.mark.parametrize("low", [0.0, 1.0, 2.0])
def test_gradient_scale_is_any_factor(low):
    x, s, none = np.array([1.0, -2.0]), np.zeros(2), np.empty(0)
    h = kernels.hyper(lr=0.1, rho=0.75, gradient_scale=low)
    kernels.update(x, np.array([2.0, 4.0]), s, none, none, h)
    assert_array_equal(s, [low * low, 4 * low * low])
