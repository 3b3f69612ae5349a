"""How far the update of one coordinate is from its formula in exact arithmetic.

``python -m benchmarks.accuracy`` draws coordinates of all magnitudes, updates them with
`rmsfast.core.rule.step` in float64 and float32, and compares with the same formula, written a
second time, in the 64-bit mantissas of `numpy.longdouble`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numba
import numpy as np

from benchmarks.report import machine, save, table
from rmsfast.core.rule import Hyper, step

# of `rmsfast.RMSPropOptions`, for the tests too; `clip_norm` enters here as the factor SCALE
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rho 0": {"rho": 0.0},
    "large eps": {"eps": 0.5},
    "inside": {"eps_in_sqrt": True, "eps": 1e-6},
    "centered": {"centered": True},
    "centered inside": {"centered": True, "eps_in_sqrt": True, "eps": 1e-6},
    "corrected": {"bias_correction": True},
    "corrected centered": {"bias_correction": True, "centered": True},
    "momentum": {"momentum": 0.9},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "lr in momentum": {"momentum": 0.9, "lr_in_momentum": True},
    "lr in nesterov": {"momentum": 0.9, "lr_in_momentum": True, "nesterov": True},
    "coupled": {"weight_decay": 0.1},
    "decoupled": {"weight_decay": 0.1, "decoupled": True},
    "clip value": {"clip_value": 0.3},
    "clip norm": {"clip_norm": 0.7},
    "both clips": {"clip_norm": 2.0, "clip_value": 0.1},
    "clip after decay": {"clip_norm": 0.7, "clip_value": 0.3, "weight_decay": 0.5},
    "maximize": {"maximize": True},
    "maximize coupled": {"maximize": True, "weight_decay": 0.1},
    "maximize decoupled": {"maximize": True, "weight_decay": 0.1, "decoupled": True},
    "all coupled": {
        **{"momentum": 0.8, "nesterov": True, "centered": True, "bias_correction": True},
        **{"weight_decay": 0.02, "clip_norm": 3.0, "clip_value": 0.6, "maximize": True},
    },
    "all decoupled": {
        **{"momentum": 0.8, "nesterov": True, "centered": True, "bias_correction": True},
        **{"weight_decay": 0.02, "clip_norm": 3.0, "clip_value": 0.6, "eps_in_sqrt": True},
        **{"decoupled": True, "lr_in_momentum": True, "eps": 1e-4},
    },
}
PLAIN = {
    **{"lr": 0.01, "rho": 0.99, "eps": 1e-8, "momentum": 0.0, "weight_decay": 0.0},
    **{"clip_value": math.inf, "bias_correction": False},
    **{"centered": False, "eps_in_sqrt": False, "nesterov": False, "lr_in_momentum": False},
    **{"decoupled": False, "maximize": False},
}
DTYPES = (np.float64, np.float32)
COORDINATES, CHUNK = 1_000_000, 100_000  # per variant and dtype; drawn at a time
NUMBER = 100  # of the update: the bias correction is 1 - rho**100
SCALE = 0.7
LIMIT = 2.0  # ulp
RESULTS = ("x", "s", "m", "b")
Real = np.longdouble


class Coordinates(NamedTuple):
    """Parameter, gradient, mean square and mean of the gradient, momentum buffer."""

    x: np.ndarray
    g: np.ndarray
    s: np.ndarray
    m: np.ndarray
    b: np.ndarray


class Exact(NamedTuple):
    """New values x, s, m, b, the largest term of each, and the mean's square per mean square.

    `grain` is what the smallest subnormal gradient makes of each, if the gradient is computed.
    """

    values: tuple[np.ndarray, ...]
    terms: tuple[np.ndarray, ...]
    grain: tuple[np.ndarray, ...]
    ratio: np.ndarray


class Worst(NamedTuple):
    """The largest errors of x, s, m, b in ulp, and the share of coordinates beyond the limit."""

    ulp: np.ndarray
    beyond: float


@numba.njit(error_model="numpy")
def update(
    x: np.ndarray, g: np.ndarray, s: np.ndarray, m: np.ndarray, b: np.ndarray, h: Hyper
) -> None:
    """Apply `step` to every coordinate, in place."""
    for i in range(x.size):
        x[i], s[i], m[i], b[i] = step(x[i], g[i], s[i], m[i], b[i], h)


def make_hyper(dtype: Any, options: dict[str, Any]) -> Hyper:
    """Return the hyperparameters of one update, every number of `dtype`."""
    o = {**PLAIN, **options}
    o["gradient_scale"] = SCALE if o.pop("clip_norm", None) else 1.0
    o["correction"] = 1.0 - o["rho"] ** NUMBER if o["bias_correction"] else 1.0
    o["one_minus_rho"] = 1.0 - o["rho"]
    return Hyper(**{k: v if isinstance(v, bool) else dtype(v) for k, v in o.items()})


def draw(rng: np.random.Generator, n: int, dtype: Any, *, close: bool) -> Coordinates:
    """Return `n` random coordinates.

    In a third of them all magnitudes are independent, from the smallest subnormal to the largest
    number; in a third the gradients have a magnitude in common, and `x` and `b` that of a step; a
    third is of ordinary size. One number in thirty is zero. The mean is below half the root of
    the mean square or, if `close`, about as large.
    """
    f = np.finfo(dtype)
    low, high = int(f.minexp - f.nmant), int(f.maxexp)
    top = high // 2 - 3 if close else high // 2 + 4  # of the powers of gradients

    def power(low: int, high: int) -> np.ndarray:
        return rng.integers(low, high, n)

    def number(power: np.ndarray) -> np.ndarray:
        return np.ldexp(rng.uniform(1, 2, n) * rng.choice((-1, 1), n), power)

    def near(values: np.ndarray) -> np.ndarray:
        return values * (1 + number(power(-f.nmant, 0)))

    kind = rng.integers(3, size=n)
    common = power(low // 2, top)
    g = number(np.choose(kind, (power(low, top), common, power(-12, 4))))
    size = np.choose(kind, (power(low, high), 2 * common + power(-20, 4), power(-20, 4)))
    size = np.minimum(size, high - 1)
    s, m = abs(number(size)), number(size // 2 - power(2, 30))
    if close:
        s, m = abs(near(g * g)), near(g)
    x, b = (
        number(np.choose(kind, (power(low, high - 2), power(-12, 4), power(-12, 4))))
        for _ in range(2)
    )
    drawn = Coordinates(*(np.where(rng.random(n) < 1 / 30, 0, v) for v in (x, g, s, m, b)))
    return Coordinates(*(values.astype(dtype) for values in drawn))


def exact(c: Coordinates, h: Hyper, overflow: np.ndarray) -> Exact:
    """Return what the update should be, with an infinite mean square where `overflow`."""
    x, g, s, m, b = (values.astype(Real) for values in c)
    tiny, zero = np.finfo(type(h.lr)).smallest_subnormal.astype(Real), np.zeros_like(x)
    lr, rho, rest, eps, mu, decay, clip, scale, correction = (Real(v) for v in h[:9])
    if h.maximize:
        g = -g
    size = abs(g)  # of the largest term of the gradient
    if not h.decoupled:
        g = g + decay * x
        size = np.maximum(np.maximum(size, decay * abs(x)), abs(g))
    g = g * scale
    size = np.where(abs(g) < clip, size * scale, clip)
    g = np.clip(g, -clip, clip)
    computed = scale != 1 or (decay != 0 and not h.decoupled)

    mean_square = rho * s + rest * g * g
    s_terms = np.maximum(np.maximum(rho * s, rest * size * size), mean_square)
    v = np.where(overflow, np.inf, mean_square) / correction
    m_terms, ratio = abs(m), zero
    if h.centered:
        m_terms = np.maximum(rho * abs(m), rest * size)
        m = rho * m + rest * g
        square = (m / correction) ** 2
        ratio = np.where(square > 0, square / v, 0)
        v = np.maximum(v - square, 0)
    root = np.sqrt(v + eps) if h.eps_in_sqrt else np.sqrt(v) + eps
    u, size, b_grain = g / root, size / root, computed * tiny / root
    rate = lr
    if h.lr_in_momentum:
        u, size, b_grain, rate = lr * u, lr * size, lr * b_grain, Real(1)
    b_terms, x_terms, x_grain = abs(b), abs(x), rate * b_grain
    if mu != 0:
        old = mu * abs(b)
        b = mu * b + u
        b_terms = np.maximum(np.maximum(old, size), abs(b))
        if h.nesterov:  # mu b + u = mu mu b_old + (1 + mu) u
            u, size = mu * b + u, np.maximum(mu * old, (1 + mu) * size)
            x_grain = (1 + mu) * x_grain
        else:
            u, size = b, b_terms
    if h.decoupled:
        x = x - decay * lr * x
    x = x - rate * u
    x_terms = np.maximum(np.maximum(x_terms, abs(x)), rate * np.maximum(size, abs(u)))
    values, terms = (x, mean_square, m, b), (x_terms, s_terms, m_terms, b_terms)
    return Exact(values, terms, (x_grain, zero, zero, b_grain), ratio)


def ulp(values: np.ndarray, dtype: Any) -> np.ndarray:
    """Return the spacing of the numbers of `dtype` at `values`."""
    f = np.finfo(dtype)
    _, power = np.frexp(np.clip(values, f.smallest_subnormal, f.max))
    return np.ldexp(Real(1), np.maximum(power - 1, f.minexp) - f.nmant)


def errors(c: Coordinates, h: Hyper, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the errors of x, s, m, b in ulp, and the ratio that conditions the variance."""
    new = Coordinates(*(values.copy() for values in c))
    update(*new, h)
    expected = exact(c, h, np.isinf(new.s / h.correction))
    top = np.ldexp(Real(1), np.finfo(dtype).maxexp)  # stands for infinity
    result = np.empty((4, c.x.size), Real)
    values = (new.x, new.s, new.m, new.b)
    for k, (value, e, terms, grain) in enumerate(zip(values, *expected[:3], strict=True)):
        difference = np.clip(value.astype(Real), -top, top) - np.clip(e, -top, top)
        result[k] = abs(difference) / np.maximum(ulp(terms, dtype), grain)
    if np.isnan(result).any():
        raise RuntimeError("a finite coordinate became NaN")
    return result, expected.ratio


def measure(options: dict[str, Any], dtype: Any, n: int, *, close: bool = False) -> Worst:
    """Return the largest errors among `n` coordinates with m*m <= v/2, above it if `close`."""
    rng = np.random.default_rng(1812)
    h = make_hyper(dtype, options)
    worst, beyond, counted = np.zeros(4), 0, 0
    with np.errstate(all="ignore"):
        for _ in range(0, n, CHUNK):
            ulps, ratio = errors(draw(rng, min(n, CHUNK), dtype, close=close), h, dtype)
            ulps = ulps[:, (ratio > 0.5) == close]
            worst = np.maximum(worst, ulps.max(axis=1))
            beyond += np.count_nonzero(ulps.max(axis=0) > LIMIT)
            counted += ulps.shape[1]
    return Worst(worst, beyond / counted)


def main() -> str:
    """Measure, write the page, and return the table."""
    if np.finfo(Real).nmant < 63:
        raise RuntimeError("numpy.longdouble is no longer than float64 on this machine")
    found = {
        dtype: {name: measure(options, dtype, COORDINATES) for name, options in VARIANTS.items()}
        for dtype in DTYPES
    }
    rows = []
    for dtype, by_variant in found.items():
        largest = np.max([worst.ulp for worst in by_variant.values()], axis=0)
        within = sum(worst.ulp.max() <= LIMIT for worst in by_variant.values())
        share = max(worst.beyond for worst in by_variant.values())
        cells = (f"{within} of {len(by_variant)}", *(f"{v:.2f}" for v in largest), f"{share:.2%}")
        rows.append((dtype.__name__, *cells))
    head = ("dtype", f"variants within {LIMIT:g} ulp", *RESULTS, "largest share beyond")
    overview = table(head, rows)
    rows = []
    for name in VARIANTS:
        cells = [f"{v:.2f}" for dtype in DTYPES for v in found[dtype][name].ulp]
        rows.append((name, *cells))
    columns = [f"{dtype.__name__} {result}" for dtype in DTYPES for result in RESULTS]
    each = table(("variant", *columns), rows)
    rows = []
    for name, options in VARIANTS.items():
        if options.get("centered"):
            close = [measure(options, dtype, COORDINATES // 10, close=True) for dtype in DTYPES]
            rows.append((name, *(f"{worst.ulp[0]:.1e}" for worst in close)))
    ill = table(("variant", *(f"{dtype.__name__} x" for dtype in DTYPES)), rows)
    page = f"""# Accuracy of one update

Largest errors of `rmsfast.core.rule.step` among {COORDINATES:,} random coordinates per variant and
dtype, in ulp.

{overview}

The hyperparameters, rounded to the dtype, are exact numbers of the reference, which computes the
same formula with the 64-bit mantissa and the range of `numpy.longdouble`. In a third of the
coordinates all magnitudes are independent and log-uniform, from the smallest subnormal to the
largest number (gradients: to where their squares overflow); in a third the gradients have a random
magnitude in common, and parameters and buffers about that of a step; a third is of ordinary size.
One number in thirty is zero. Update number {NUMBER}; `clip_norm` enters as the factor {SCALE}.

One ulp is the spacing of the numbers of the dtype, that of the subnormals at least, at the largest
of the terms that add up to a result (sums within it multiplied out), or at the result if that is
larger: for x the old x, the terms of the step, the step, and the new x. A difference of nearly
equal numbers has no bound in ulp of its own. A gradient that weight decay or `clip_norm` has
changed is a number of the dtype too: one ulp of x or b is at least what the smallest subnormal
gradient makes of it. Where s, or s / (1 - rho**t), overflows in the dtype, the reference makes no
step either. The centered variants are measured where the square of the mean is at most half of the
mean square, as with gradients that are mostly noise.

{each}

Where the step is larger than x, x has all roundings of the step: of the three products of s, halved
by the root, of the root, of eps, the quotient and the rate; with momentum of two products more. No
order of the products brings it within {LIMIT:g} ulp. Carrying the rounding errors along does, at
three to five times the cost per element where caches hold the arrays, and with other bits than the
frameworks' formula; so the formula stays as it is.

## Mean square close to the square of the mean

The variance is then a difference of nearly equal rounded numbers, and has no bound: largest errors
of x where the square of the mean is more than half of the mean square, among {COORDINATES // 10:,}
coordinates whose mean and mean square are close to the gradient and its square.

{ill}

{machine()}

`python -m benchmarks.accuracy` writes this page.
"""
    save("accuracy.md", page)
    print(overview, each, ill, sep="\n\n")
    return overview


if __name__ == "__main__":
    main()
