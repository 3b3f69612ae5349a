"""The rule of one coordinate against a naive NumPy RMSProp, and properties that it must have."""

import math

import numba
import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from benchmarks.accuracy import VARIANTS
from rmsfast.core.rule import Hyper, denominator, descent_gradient, mean_square, step

DTYPES = [np.float64, np.float32]
GRADIENTS = {"ordinary": 1.0, "tiny": 1e-12, "huge": 1e12, "zero": 0.0}

each_variant = pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS.keys())
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)


def make_hyper(dtype, t=1, scale=1.0, **options):
    """The hyperparameters of one update, as numbers of `dtype`."""
    o = {**reference.DEFAULTS, **options}
    correction = 1 - o["rho"] ** t if o["bias_correction"] else 1.0
    clip_value = math.inf if o["clip_value"] is None else o["clip_value"]
    numbers = (o["lr"], o["rho"], 1 - o["rho"], o["eps"], o["momentum"], o["weight_decay"])
    flags = ("bias_correction", "centered", "eps_in_sqrt", "nesterov", "lr_in_momentum")
    return Hyper(
        *(dtype(number) for number in (*numbers, clip_value, scale, correction)),
        *(o[name] for name in (*flags, "decoupled", "maximize")),
    )


def rule(dtype, h, *coordinate):
    """`step` on numbers of `dtype`; Numba hands float32 results back as Python floats."""
    return tuple(dtype(value) for value in step(*map(dtype, coordinate), h))


def rule_of_arrays(h, *arrays):
    dtype = arrays[0].dtype.type
    return np.array([rule(dtype, h, *coordinate) for coordinate in zip(*arrays, strict=True)]).T


@each_dtype
@pytest.mark.parametrize("size", GRADIENTS.values(), ids=GRADIENTS.keys())
@each_variant
def test_rule_is_the_reference(options, size, dtype):
    rng = np.random.default_rng(6502)
    x, m, b = rng.standard_normal((3, 40)).astype(dtype)
    g = (size * rng.standard_normal(40)).astype(dtype)
    g[::7] = 0
    m = (size * m).astype(dtype)
    s = 4 * m * m + (size * rng.uniform(0.1, 2.0, 40)).astype(dtype) ** 2
    for t in (100, 101, 102):
        h = make_hyper(dtype, t, reference.clip_scale(x, g, options), **options)
        expected = reference.update(x, g, s, m, b, t, **options)
        actual = rule_of_arrays(h, x, g, s, m, b)
        rtol = 8 * np.finfo(dtype).eps
        for name, a, e in zip("xsmb", actual, expected, strict=True):
            assert e.dtype == dtype
            atol = rtol * abs(x).max() if name == "x" else 0.0
            assert_allclose(a, e, rtol=rtol, atol=atol, err_msg=name)
        x, s, m, b = expected
        g = (0.7 * g + size * 0.3 * rng.standard_normal(40)).astype(dtype)


@each_dtype
@each_variant
def test_dtype_stays(options, dtype):
    coordinate = [dtype(v) for v in (0.5, -0.2, 0.3, 0.1, 0.0)]
    arguments = (*coordinate, make_hyper(dtype, **options))
    step(*arguments)
    compiled = step.overloads[tuple(numba.typeof(each) for each in arguments)]
    assert {str(each) for each in compiled.signature.return_type} == {dtype.__name__}


@each_dtype
@each_variant
def test_extreme_gradients_are_treated_as_in_the_reference(options, dtype):
    big, small = np.sqrt(np.finfo(dtype).max) * 4, np.finfo(dtype).smallest_subnormal
    g = np.array([big, -big, small, -small, 0.0, -0.0], dtype)
    x, s, m, b = np.ones((4, 6), dtype)
    h = make_hyper(dtype, 1, reference.clip_scale(x, g, options), **options)
    expected = reference.update(x, g, s, m, b, 1, **options)
    rtol = 8 * np.finfo(dtype).eps
    assert_allclose(rule_of_arrays(h, x, g, s, m, b), expected, rtol=rtol, atol=rtol)


@each_dtype
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("corrected", [False, True])
def test_variance_of_a_constant_gradient_is_never_negative(dtype, inside, corrected):
    rng = np.random.default_rng(271)
    options = {"centered": True, "rho": 0.9, "eps_in_sqrt": inside, "bias_correction": corrected}
    negative = 0
    for g in rng.uniform(-3, 3, 5).astype(dtype):
        x = s = m = b = dtype(0)
        for t in range(1, 1001):
            x, s, m, b = rule(dtype, make_hyper(dtype, t, **options), x, g, s, m, b)
            negative += s < m * m
            assert math.isfinite(x) and math.isfinite(s) and math.isfinite(m), (g, t)
        assert x * g < 0
    assert negative > 0 or corrected  # the clamp was needed


@each_dtype
@each_variant
def test_nan_is_not_hidden(options, dtype):
    x, s, m, b = rule(dtype, make_hyper(dtype, **options), 1.0, math.nan, 1.0, 0.5, 0.1)
    assert math.isnan(x) and math.isnan(s)
    assert math.isnan(m) == options.get("centered", False)
    assert math.isnan(b) == (options.get("momentum", 0) > 0)


# Properties. Powers of two and signs change no digit, so they hold to the last bit. ---------------

moderate = st.floats(-1e3, 1e3).filter(lambda v: v == 0 or abs(v) > 1e-6)
positive = st.floats(1e-4, 1e4)
variant = st.sampled_from(list(VARIANTS.values()))
unclipped = st.sampled_from(
    [o for o in VARIANTS.values() if not {"clip_value", "clip_norm", "weight_decay"} & set(o)]
)
exact = settings(max_examples=150, deadline=None, derandomize=True)


@exact
@given(variant, moderate, moderate, positive, moderate, moderate)
def test_sign_symmetry(options, x, g, s, m, b):
    h = make_hyper(np.float64, 3, **options)
    z, s_z, m_z, b_z = step(x, g, s, m, b, h)
    assert step(-x, -g, s, -m, -b, h) == (-z, s_z, -m_z, -b_z)


@exact
@given(variant, moderate, moderate, positive, moderate, moderate)
def test_to_maximize_is_to_minimize_the_negative(options, x, g, s, m, b):
    up = make_hyper(np.float64, 3, **{**options, "maximize": True})
    down = make_hyper(np.float64, 3, **{**options, "maximize": False})
    assert step(x, g, s, m, b, up) == step(x, -g, s, m, b, down)


@exact
@given(unclipped, moderate, moderate, positive, moderate, moderate, st.integers(-20, 20))
def test_scale_of_the_gradient_does_not_matter(options, x, g, s, m, b, power):
    c = 2.0**power
    h = make_hyper(np.float64, 3, **options)
    scaled = h._replace(eps=h.eps * (c * c if h.eps_in_sqrt else c))
    z, s_z, m_z, b_z = step(x, g, s, m, b, h)
    assert step(x, c * g, c * c * s, c * m, b, scaled) == (
        *(z, c * c * s_z),
        *(c * m_z if h.centered else c * m, b_z),
    )


@exact
@given(unclipped, moderate, moderate, positive, moderate, moderate, st.integers(-20, 20))
def test_units_of_the_parameter_go_with_lr(options, x, g, s, m, b, power):
    c = 2.0**power
    h = make_hyper(np.float64, 3, **options)
    buffer = c if h.lr_in_momentum else 1.0
    z, s_z, m_z, b_z = step(x, g, s, m, b, h)
    scaled = step(c * x, g, s, m, buffer * b, h._replace(lr=c * h.lr))
    assert scaled == (c * z, s_z, m_z, buffer * b_z)


@exact
@given(st.sampled_from([0.0, 0.5, 0.9, 0.99, 0.999]), moderate, positive)
def test_mean_square_lies_between_and_the_step_is_bounded(rho, g, s):
    x, s_new, _, _ = step(0.0, g, s, 0.0, 0.0, make_hyper(np.float64, rho=rho, lr=1.0))
    ulp = 1 + 4 * np.finfo(float).eps
    assert min(s, g * g) / ulp <= s_new <= max(s, g * g) * ulp
    assert abs(x) <= ulp / math.sqrt(1 - rho)


@exact
@given(moderate, positive, moderate)
def test_zero_gradient_moves_nothing_without_momentum(x, s, m):
    for options in ({}, {"centered": True}, {"eps_in_sqrt": True}, {"bias_correction": True}):
        assert step(x, 0.0, s, m, 0.0, make_hyper(np.float64, **options))[0] == x


@exact
@given(moderate, moderate, positive, moderate)
def test_clipping_and_coupled_decay_only_change_the_gradient(x, g, s, m):
    plain = make_hyper(np.float64)
    clipped = step(x, g, s, m, 0.0, make_hyper(np.float64, clip_value=2.0))
    assert clipped == step(x, min(max(g, -2.0), 2.0), s, m, 0.0, plain)
    decayed = step(x, g, s, m, 0.0, make_hyper(np.float64, weight_decay=0.3))
    assert decayed == step(x, g + 0.3 * x, s, m, 0.0, plain)


@pytest.mark.parametrize("function", [mean_square, denominator, descent_gradient, step])
def test_the_rule_does_not_take_over_the_flags_of_its_callers(function):
    # Numba compiles a function with the fastmath flags of its first caller unless it has its own;
    # then the digits of a run would depend on what was compiled first
    assert function.targetoptions["fastmath"] is False


def test_the_order_of_the_products_is_kept():
    @numba.njit(fastmath={"reassoc"})
    def caller(s, g, h):
        return mean_square(s, g, h)

    # float32 beside float64: a signature that nothing else compiles
    arguments = np.float32(1.0), 5e154, make_hyper(np.float64)
    caller(*arguments)
    assert mean_square(*arguments) == 0.99 + (1 - 0.99) * 5e154 * 5e154 < math.inf


def test_unused_accumulators_stay():
    h = make_hyper(np.float64)
    assert_array_equal(step(1.0, 2.0, 3.0, 4.0, 5.0, h)[2:], (4.0, 5.0))
