"""The rule of one coordinate against its formula in decimal arithmetic, within 2 ulp.

One ulp is the spacing of the numbers of the dtype, of the subnormals at least, at the largest of
the terms that add up to a result: a difference of nearly equal numbers has no bound in ulp of its
own. docs/benchmarks/accuracy.md says the same at length, and measures many more coordinates.
"""

import itertools
import math
from decimal import Context, Decimal, localcontext

import numpy as np
import pytest
from test_rule import each_dtype, each_variant, rule

from benchmarks.accuracy import make_hyper, update

# Each rounding before the last may cost one ulp of the result. s has three, halved by the root on
# their way into x, where the root, eps, the quotient, lr and the momentum follow; decay and
# clipping by norm round the gradient, which is squared. The frameworks' formula has them all.
LIMITS = {"x": 5, "s": 2, "m": 2, "b": 5}
CHANGED_GRADIENT = {"s": 6, "m": 4}
SIZE = 2000  # random coordinates per variant and dtype
PRECISION = Context(prec=60, Emax=10**6, Emin=-(10**6), traps=[])
INF = Decimal("inf")


# Coordinates --------------------------------------------------------------------------------------


def draw(dtype, n=SIZE):
    """Random coordinates: all magnitudes independent; of one magnitude each; ordinary."""
    rng = np.random.default_rng(1812)
    f = np.finfo(dtype)
    low, high = int(f.minexp - f.nmant), int(f.maxexp)

    def number(*powers):
        mantissas = rng.uniform(1, 2, n) * rng.choice((-1, 1), n)
        return np.ldexp(mantissas, np.minimum(np.choose(kind, powers), high - 1))

    def power(low, high):
        return rng.integers(low, high, n)

    kind = rng.integers(3, size=n)
    common = power(low // 2, high // 2 + 4)
    g = number(power(low, high // 2 + 4), common, power(-12, 4))
    s = abs(number(power(low, high), 2 * common + power(-20, 4), power(-20, 4)))
    m = number(*[np.frexp(s)[1] // 2 - power(4, 30)] * 3)
    x = number(power(low, high - 2), power(-12, 4), power(-12, 4))
    b = number(power(low, high - 2), power(-12, 4), power(-12, 4))
    for values in (x, g, s, m, b):
        values[rng.random(n) < 1 / 30] = 0
    return [values.astype(dtype) for values in (x, g, s, m, b)]


def edges(dtype):
    """Zeros of both signs, the ends of the range, gradients whose square just does not overflow."""
    f = np.finfo(dtype)
    tiny, normal, top = float(f.smallest_subnormal), float(f.smallest_normal), float(f.max)
    root = math.sqrt(top)
    root = float(np.nextafter(dtype(root), dtype(0)))
    g = (0.0, -0.0, tiny, -tiny, normal, 1.0, -1.0, root, -root)
    s = (0.0, tiny, normal, 1.0, top / 2)
    x = (0.0, -0.0, tiny, -1.0, top / 4)
    pairs = ((0.0, -0.0), (-tiny, tiny), (0.0, -1.0), (0.0, top / 8))
    rows = [(x, g, s, m, b) for x, g, s, (m, b) in itertools.product(x, g, s, pairs)]
    return [np.array(values, dtype) for values in zip(*rows, strict=True)]


# The reference ------------------------------------------------------------------------------------


def exact(coordinate, h, overflow):
    """The new x, s, m, b, each with the largest of its terms and what the smallest subnormal of
    a computed gradient makes of it; and whether the variance is well conditioned."""
    x, g, s, m, b = (Decimal(float(v)) for v in coordinate)
    lr, rho, rest, eps, mu, decay, clip, scale, correction = (Decimal(float(v)) for v in h[:9])
    coupled = decay != 0 and not h.decoupled
    tiny = Decimal(float(np.finfo(type(h.lr)).smallest_subnormal)) * (coupled or scale != 1)

    g = -g if h.maximize else g
    terms = [g, decay * x] if coupled else [g]
    g = scale * sum(terms)
    size = max(abs(g), *(scale * abs(term) for term in terms))
    if abs(g) > clip:
        g, size = clip.copy_sign(g), clip

    old, square = rho * s, rest * size * size
    s = old + rest * g * g
    v = INF if overflow else s / correction
    s = s, max(old, square, s), Decimal(0)
    well = True
    if h.centered:
        old = rho * m
        m = old + rest * g
        mean = m / correction
        m = m, max(abs(old), rest * size, abs(m)), Decimal(0)
        well = mean * mean <= v / 2
        v = max(v - mean * mean, Decimal(0))
    else:
        m = m, abs(m), Decimal(0)
    root = (v + eps).sqrt() if h.eps_in_sqrt else v.sqrt() + eps
    u, size, grain = g / root, size / root, tiny / root

    rate = lr
    if h.lr_in_momentum:
        u, size, grain, rate = lr * u, lr * size, lr * grain, Decimal(1)
    largest, b = size, (b, abs(b), Decimal(0))
    if mu != 0:
        old = mu * b[0]
        b = old + u, max(abs(old), size, abs(old + u)), grain
        if h.nesterov:  # mu b + u = mu mu b_old + (1 + mu) u
            u, grain = mu * b[0] + u, (1 + mu) * grain
            largest = max(mu * abs(old), (1 + mu) * size, abs(u))
        else:
            u, largest, _ = b
    new = (x - decay * lr * x if h.decoupled else x) - rate * u
    x = new, max(abs(x), rate * largest, abs(new)), rate * grain
    return (x, s, m, b), well


def ulp(size, dtype):
    """The spacing of the numbers of `dtype` at `size`."""
    f = np.finfo(dtype)
    size = min(max(float(size), float(f.smallest_subnormal)), float(f.max))
    power = max(math.frexp(size)[1] - 1, int(f.minexp)) - int(f.nmant)
    return Decimal(math.ldexp(1.0, power))


def error(actual, expected, dtype):
    """The distance in ulp. Infinity lies where the next binade would begin."""
    value, terms, grain = expected
    end = Decimal(2) ** int(np.finfo(dtype).maxexp)
    actual, value = (max(min(v, end), -end) for v in (Decimal(float(actual)), value))
    return abs(actual - value) / max(ulp(terms, dtype), grain)


# --------------------------------------------------------------------------------------------------


@each_dtype
@each_variant
def test_rule_is_within_the_roundings_of_its_formula(options, dtype):
    h = make_hyper(dtype, options)
    columns = [np.concatenate(pair) for pair in zip(draw(dtype), edges(dtype), strict=True)]
    counted, worst = 0, dict.fromkeys("xsmb", (0.0, None))
    with localcontext(PRECISION):
        for coordinate in zip(*columns, strict=True):
            new = rule(dtype, h, *coordinate)
            assert not any(map(math.isnan, new)), coordinate
            overflow = float(new[1]) / float(h.correction) > float(np.finfo(dtype).max)
            expected, well = exact(coordinate, h, overflow)
            if well:
                counted += 1
                for name, a, e in zip("xsmb", new, expected, strict=True):
                    found = float(error(a, e, dtype))
                    if found > worst[name][0]:
                        worst[name] = found, [float(v) for v in coordinate]
    assert counted > 0.9 * len(columns[0])
    changed = options.get("clip_norm") or (
        options.get("weight_decay") and "decoupled" not in options
    )
    limits = LIMITS | CHANGED_GRADIENT if changed else LIMITS
    beyond = {name: found for name, found in worst.items() if found[0] > limits[name]}
    assert not beyond


@each_dtype
@each_variant
def test_loop_and_scalar_agree_to_the_last_bit(options, dtype):
    h = make_hyper(dtype, options)
    special = np.array([[0.5, v, 0.25, 0.125, 0.1] for v in (math.nan, math.inf, -math.inf)], dtype)
    parts = zip(draw(dtype), edges(dtype), special.T, strict=True)
    columns = [np.concatenate((random[:500], *others)) for random, *others in parts]
    scalar = np.array([rule(dtype, h, *c) for c in zip(*columns, strict=True)], dtype).T
    x, g, s, m, b = columns
    update(x, g, s, m, b, h)
    for a, e in zip((x, s, m, b), scalar, strict=True):
        assert a.dtype == e.dtype
        assert np.array_equal(np.isnan(a), np.isnan(e))
        same = (a == e) & (np.signbit(a) == np.signbit(e))
        assert (same | np.isnan(e)).all()


@each_dtype
@pytest.mark.parametrize("sign", [1, -1])
@each_variant
def test_gradient_whose_square_overflows_makes_no_step(options, dtype, sign):
    if "clip_value" in options:  # then no square overflows
        options = {**options, "clip_value": None}
    h = make_hyper(dtype, options)
    g = sign * 32 * math.sqrt(float(np.finfo(dtype).max))
    x, s, m, b = rule(dtype, h, 1.5, g, 1.0, 0.5, 0.0)
    assert s == math.inf
    assert b == 0
    assert x == (dtype(1.5) - dtype(1.5) * h.weight_decay * h.lr if h.decoupled else 1.5)
    assert math.isfinite(m)


@each_dtype
@pytest.mark.parametrize("g", [math.inf, -math.inf, math.nan])
@each_variant
def test_gradient_that_is_not_finite(options, dtype, g):
    h = make_hyper(dtype, options)
    x, s, m, b = rule(dtype, h, 1.5, g, 1.0, 0.5, 0.1)
    if math.isinf(g) and "clip_value" in options:
        assert math.isfinite(x) and math.isfinite(s)
        return
    assert math.isnan(x)
    assert math.isnan(s) if math.isnan(g) else s == math.inf
    if h.centered:
        assert math.isnan(m) if math.isnan(g) else math.isinf(m)
    if h.momentum:
        assert math.isnan(b)


@each_dtype
@each_variant
def test_nothing_comes_of_zeros(options, dtype):
    h = make_hyper(dtype, options)
    for zeros in itertools.product((0.0, -0.0), (0.0, -0.0), (0.0,), (0.0, -0.0), (0.0, -0.0)):
        assert rule(dtype, h, *zeros) == (0, 0, 0, 0)
