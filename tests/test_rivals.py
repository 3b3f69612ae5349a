"""Gradient descent, momentum and AdaGrad: PyTorch step by step, printed numbers, their options."""

import copy
import dataclasses
import inspect
import math
import pickle
import re

import numba
import numpy as np
import pytest
import reference
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import OptimizeWarning, basinhopping, minimize, rosen, rosen_der

import rmsfast
from rmsfast import schedules
from rmsfast.objectives import rosenbrock
from rmsfast.options import RULES, RMSPropOptions, take_hyperparameters

RIVALS = ["gradient_descent", "momentum", "adagrad"]
each_rival = pytest.mark.parametrize("rule", RIVALS)
each_dtype = pytest.mark.parametrize(
    "dtype", [np.float64, np.float32], ids=lambda dtype: dtype.__name__
)
STEPS = 100


def method(rule):
    return getattr(rmsfast, rule)


def walk(rule, x0, gradient, steps=STEPS, bounds=None, **options):
    """The points ``x_0, ..., x_steps`` of a solver."""
    solver = rmsfast.Solver.by_rule(rule, x0, bounds, gtol=0, maxiter=steps, **options)
    points = []
    while not solver.done:
        points.append(solver.ask())
        solver.tell(-float(len(points)), gradient(points[-1]))  # no step is the last of a cycle
    assert (solver.result().status, len(points)) == (1, steps + 1), solver.message
    return np.array(points)


# PyTorch -----------------------------------------------------------------------------------------

SGD, ADAGRAD = torch.optim.SGD, torch.optim.Adagrad
NESTEROV = {"momentum": 0.9, "nesterov": True}
# The rule and its options; PyTorch's optimizer and its own, where they differ
TORCH = [
    ("gradient_descent", {}, SGD, {}),
    ("gradient_descent", {"lr": 0.02}, SGD, {}),
    ("gradient_descent", {"lr": 0.02, "weight_decay": 0.3}, SGD, {}),
    ("gradient_descent", {"maximize": True}, SGD, {}),
    ("gradient_descent", {"maximize": True, "weight_decay": 0.3}, SGD, {}),
    ("momentum", {}, SGD, {"momentum": 0.9}),
    ("momentum", {"lr": 0.01, "momentum": 0.5}, SGD, {}),
    ("momentum", {"lr": 0.01, "momentum": 0.0}, SGD, {}),
    ("momentum", {"lr": 0.002, **NESTEROV}, SGD, {}),
    ("momentum", {"lr": 0.002, "momentum": 0.8, "weight_decay": 0.3}, SGD, {}),
    ("momentum", {"maximize": True, "momentum": 0.5}, SGD, {}),
    ("momentum", {"maximize": True, "weight_decay": 0.3, **NESTEROV}, SGD, {}),
    ("adagrad", {}, ADAGRAD, {}),
    ("adagrad", {"lr": 0.5}, ADAGRAD, {}),
    ("adagrad", {"lr": 0.5, "eps": 0.1}, ADAGRAD, {}),
    ("adagrad", {"lr": 0.5, "weight_decay": 0.3}, ADAGRAD, {}),
    ("adagrad", {"lr": 0.5, "maximize": True, "weight_decay": 0.3}, ADAGRAD, {}),
    ("adagrad", {"initial_scale": 0.5}, ADAGRAD, {"initial_accumulator_value": 0.5}),
    ("adagrad", {"lr": schedules.inverse_time(0.5, 0.1)}, ADAGRAD, {"lr": 0.5, "lr_decay": 0.1}),
]  # fmt: skip


def noisy(x):
    """A gradient with noise that is the same for equal points, and in both dtypes alike."""
    rng = np.random.default_rng(int(abs(float(x[0])) * 1e3))
    return reference.gradient(x) + rng.standard_normal(x.size).astype(x.dtype)


@each_dtype
@pytest.mark.parametrize("gradient", [reference.gradient, noisy], ids=lambda g: g.__name__)
@pytest.mark.parametrize(("rule", "options", "optimizer", "theirs"), TORCH, ids=reference.name_of)
def test_torch_step_by_step(rule, options, optimizer, theirs, gradient, dtype):
    x0 = reference.START.astype(dtype)
    x = torch.tensor(x0, requires_grad=True)
    renamed = {name: value for name, value in options.items() if name != "initial_scale"}
    other = optimizer([x], **{**renamed, **theirs})
    expected = [x0]

    def both(point):
        g = gradient(point)
        x.grad = torch.tensor(g)
        other.step()
        expected.append(x.detach().numpy().copy())
        return g

    points = walk(rule, x0, both, **options)
    expected = np.array(expected[:-1])
    assert points.dtype == expected.dtype == dtype
    sizes = abs(expected).max(axis=1, keepdims=True)
    assert (abs(points - expected) <= 4 * np.finfo(dtype).eps * sizes).all()
    assert abs(points[-1] - points[0]).min() > 1e-3


@pytest.mark.parametrize("rule", RIVALS)
def test_defaults_are_those_of_torch(rule):
    x = [torch.zeros(1)]
    theirs = {"gradient_descent": SGD(x), "momentum": SGD(x, momentum=0.9), "adagrad": ADAGRAD(x)}
    group = theirs[rule].param_groups[0]
    names = {"initial_scale": "initial_accumulator_value"}
    ours = RULES[rule]()
    common = [f.name for f in dataclasses.fields(ours) if names.get(f.name, f.name) in group]
    assert {"lr", "weight_decay", "maximize"} <= {*common}
    for name in common:
        assert getattr(ours, name) == group[names.get(name, name)]


# Printed numbers ---------------------------------------------------------------------------------


def ellipse(x):
    return 0.1 * x[0] ** 2 + 2 * x[1] ** 2, np.array([0.2 * x[0], 4 * x[1]])


IN_SQRT = {"eps": 1e-6, "eps_in_sqrt": True}
# A. Zhang, Z. Lipton, M. Li and A. Smola, Dive into Deep Learning, sections 12.6 and 12.7: what
# it prints after 20 steps from (-5, -2) on 0.1 x1^2 + 2 x2^2
PRINTED = [
    ("gradient_descent", {"lr": 0.4}, "x1: -0.943467, x2: -0.000073"),
    ("momentum", {"lr": 0.6, "momentum": 0.5}, "x1: 0.007188, x2: 0.002553"),
    ("momentum", {"lr": 0.6, "momentum": 0.25}, "x1: -0.126340, x2: -0.186632"),
    ("adagrad", {"lr": 0.4, **IN_SQRT}, "x1: -2.382563, x2: -0.158591"),
    ("adagrad", {"lr": 2, **IN_SQRT}, "x1: -0.002295, x2: -0.000000"),
]


@pytest.mark.parametrize(("rule", "options", "printed"), PRINTED)
def test_dive_into_deep_learning(rule, options, printed):
    options = {"gtol": 0, "maxiter": 20, **options}
    result = minimize(ellipse, (-5, -2), jac=True, method=method(rule), options=options)
    x1, x2 = result.x_last
    assert f"x1: {x1:f}, x2: {x2:f}" == printed
    assert (result.nit, result.nfev, result.status) == (20, 21, 1)


# Properties --------------------------------------------------------------------------------------

vectors = st.lists(st.floats(-8, 8).map(lambda v: round(v, 3)), min_size=1, max_size=5).map(
    np.array
)
rates = st.floats(1e-3, 1.0)


def wave(x):
    """A gradient that is never zero, where a run would end."""
    return 1.5 + np.cos(x)


@given(vectors, rates, st.floats(0.1, 0.9))
def test_gradient_descent_on_a_parabola_is_a_power(x0, lr, factor):
    """x_k = (1 - lr c)^k x_0."""
    x0 = x0 + 10.0
    points = walk("gradient_descent", x0, lambda x: factor / lr * x, 20, lr=lr)
    assert_allclose(
        points, np.power.outer(1 - factor, np.arange(21.0))[:, None] * x0, rtol=1e-12, atol=1e-12
    )


@given(vectors, rates)
def test_momentum_zero_is_gradient_descent(x0, lr):
    expected = walk("gradient_descent", x0, wave, 20, lr=lr)
    assert_array_equal(walk("momentum", x0, wave, 20, lr=lr, momentum=0), expected)


@given(vectors, rates, st.floats(0.1, 0.95))
def test_heavy_ball_by_its_second_difference(x0, lr, mu):
    """x_{k+1} = x_k - lr g_k + mu (x_k - x_{k-1}): Polyak's equation, which has no buffer."""
    x = walk("momentum", x0, wave, 20, lr=lr, momentum=mu)
    expected = x[1:-1] - lr * wave(x[1:-1]) + mu * (x[1:-1] - x[:-2])
    assert_allclose(x[2:], expected, rtol=1e-12, atol=1e-12)


@given(vectors, rates, st.floats(0.1, 0.95))
def test_nesterov_by_its_look_ahead(x0, lr, mu):
    """In y = x + lr mu b, Sutskever's point: v' = mu v - lr g(y + mu v) with x = y + mu v."""
    x = walk("momentum", x0, wave, 20, lr=lr, momentum=mu, nesterov=True)
    y, v = x0, np.zeros_like(x0)
    for k in range(20):
        assert_allclose(x[k], y + mu * v, rtol=1e-10, atol=1e-12)
        v = mu * v - lr * wave(x[k])
        y = y + v


@given(vectors, rates, st.integers(-30, 30))
def test_adagrad_does_not_know_the_unit_of_the_objective(x0, lr, power):
    """c f, with eps scaled too, takes the path of f: all bits agree for a power of two."""
    c = 2.0**power
    plain = walk("adagrad", x0, wave, 20, lr=lr, eps=1e-8)
    scaled = walk("adagrad", x0, lambda x: c * wave(x), 20, lr=lr, eps=c * 1e-8)
    assert_array_equal(scaled, plain)


@given(vectors, rates)
def test_adagrad_by_its_sum(x0, lr):
    """The k-th denominator is the root of the sum of all squares until then."""
    x = walk("adagrad", x0, wave, 20, lr=lr)
    g = wave(x)
    expected = x[:-1] - lr * g[:-1] / (np.sqrt(np.cumsum(g * g, axis=0)[:-1]) + 1e-10)
    assert_allclose(x[1:], expected, rtol=1e-12, atol=1e-12)


@given(vectors, rates, st.floats(0.01, 0.5))
def test_decoupled_decay_of_gradient_descent_is_the_coupled_one(x0, lr, decay):
    """Without momentum both subtract ``lr * weight_decay * x``."""
    options = {"lr": lr, "weight_decay": decay}
    coupled = walk("gradient_descent", x0, wave, 20, **options)
    decoupled = walk("gradient_descent", x0, wave, 20, **options, decoupled=True)
    assert_allclose(decoupled, coupled, rtol=1e-12, atol=1e-12)


@given(vectors, st.floats(0.01, 2.0), st.sampled_from(RIVALS))
def test_clipping_is_that_of_the_gradient_given(x0, clip, rule):
    by_value = walk(rule, x0, wave, 20, lr=0.1, clip_value=clip)
    clipped = walk(rule, x0, lambda x: np.clip(wave(x), -clip, clip), 20, lr=0.1)
    assert_array_equal(by_value, clipped)

    def shortened(x):
        g = wave(x)
        norm = math.hypot(*g)
        return g if norm <= clip else g * (clip / norm)

    by_norm = walk(rule, x0, wave, 20, lr=0.1, clip_norm=clip)
    assert_allclose(by_norm, walk(rule, x0, shortened, 20, lr=0.1), rtol=1e-11, atol=1e-11)


@given(st.lists(st.floats(1e100, 1e200), min_size=1, max_size=4).map(np.array))
def test_gradient_descent_takes_gradients_whose_squares_overflow(g):
    points = walk("gradient_descent", np.ones(g.size), lambda x: g, 3, lr=1e-3)
    assert_allclose(points[1], 1 - 1e-3 * g, rtol=1e-15)


# A method like RMSProp ---------------------------------------------------------------------------


def test_names():
    assert [*RULES] == ["rmsprop", *RIVALS]
    for rule in RULES:
        assert method(rule).__name__ == rule
        assert inspect.signature(method(rule)) == inspect.signature(rmsfast.rmsprop)


OPTIONS = {
    "gradient_descent": {"lr": 0.001, "maxiter": 300},
    "momentum": {"lr": 0.001, "nesterov": True, "maxiter": 300},
    "adagrad": {"lr": 0.3, "maxiter": 300},
}
X0 = np.array([-1.2, 1.0, 0.7])
BOXES = {"no bounds": None, "bounds": [(-2, 0.5), (-2, 0.9), (0, None)]}
each_box = pytest.mark.parametrize("bounds", BOXES.values(), ids=BOXES)


@numba.njit
def chain(x):
    f = 0.0
    g = np.zeros_like(x)
    for i in range(x.size - 1):
        t = x[i + 1] - x[i] * x[i]
        f += 100 * t * t + (1 - x[i]) ** 2
        g[i] += -400 * t * x[i] - 2 * (1 - x[i])
        g[i + 1] += 200 * t
    return f, g


def in_python(x):
    return chain(x)


@each_rival
@each_box
@each_dtype
def test_compiled_python_and_ask_and_tell_take_the_same_way(rule, bounds, dtype):
    x0 = X0.clip((-2, 0, 0), (0.5, 0.9, 1)).astype(dtype)
    options = {**OPTIONS[rule], "gtol": 0}
    given = {"jac": True, "bounds": bounds}
    compiled = minimize(chain, x0, method=method(rule), options=options, **given)
    watched = minimize(
        in_python, x0, method=method(rule), options={**options, "return_all": True}, **given
    )
    direct = method(rule)(chain, x0, **given, **options)
    solver = rmsfast.Solver.by_rule(rule, x0, bounds, **options)
    points = []
    while not solver.done:
        points.append(solver.ask())
        solver.tell(*chain(points[-1]))
    assert_array_equal(watched.allvecs, points)
    assert compiled.x.dtype == dtype
    for other in (watched, direct, solver.result()):
        for name, value in compiled.items():
            assert_array_equal(other[name], value)
    assert compiled.nit == 300 and compiled.fun < chain(x0)[0]
    if bounds is not None:
        low, high = np.array([(-2, 0.5), (-2, 0.9), (0, np.inf)]).T
        assert ((low <= points) & (points <= high)).all()


@each_rival
def test_objective_and_differences(rule):
    start = [-1.2, 1.0]
    exact = method(rule)(rosenbrock, start, **OPTIONS[rule])
    by_hand = method(rule)(rosen, start, jac=rosen_der, **OPTIONS[rule])
    assert_allclose(exact.x, by_hand.x, rtol=1e-8)
    differences = method(rule)(rosen, start, **OPTIONS[rule])
    assert_allclose(differences.x, exact.x, rtol=1e-4)
    assert differences.nfev == 5 * exact.nfev


@each_rival
def test_the_minimum_is_reached(rule):
    limits = {"maxiter": 100_000, "maxfun": 100_000}
    result = method(rule)(rosenbrock, [-1.2, 1.0], **{**OPTIONS[rule], **limits})
    assert result.success and result.status == 0
    assert_allclose(result.x, 1, atol=1e-4)
    assert abs(result.jac).max() <= 1e-5


@each_rival
def test_checkpoint(rule):
    def drive(solver, steps):
        for _ in range(steps):
            solver.tell(*chain(solver.ask()))
        return solver

    whole = drive(rmsfast.Solver.by_rule(rule, X0, **OPTIONS[rule]), 60)
    for checkpoint in (copy.copy, lambda solver: pickle.loads(pickle.dumps(solver))):
        half = drive(rmsfast.Solver.by_rule(rule, X0, **OPTIONS[rule]), 30)
        assert_array_equal(drive(checkpoint(half), 30).ask(), whole.ask())


@each_rival
def test_callback_and_stop(rule):
    seen = []

    def callback(intermediate_result):
        seen.append(intermediate_result)
        if len(seen) == 3:
            raise StopIteration

    result = minimize(
        rosen, X0, jac=rosen_der, method=method(rule), callback=callback, options=OPTIONS[rule]
    )
    assert (result.status, result.nit) == (99, 3)
    assert_array_equal(seen[-1].x, result.x_last)


@each_rival
def test_plateau(rule):
    """The learning rate falls where a constant one would go on in a cycle."""
    lr = schedules.plateau(0.5, patience=5)
    result = method(rule)(
        lambda x: (10 * x @ x, 20 * x), [1.0, -2.0], jac=True, lr=lr, maxiter=3000
    )
    assert result.success, result.message
    assert_allclose(result.x, 0, atol=1e-5)


def bumpy(x):
    return 2 * x.size + (x * x - 2 * np.cos(3 * x)).sum(), 2 * x + 6 * np.sin(3 * x)


def test_basinhopping():
    """A program that takes a method, run for real."""
    calls = []

    def watched(*args, **kwargs):
        calls.append(rmsfast.momentum(*args, **kwargs))
        return calls[-1]

    result = basinhopping(
        bumpy, [4.0, -4.0], niter=30, stepsize=2.0, rng=1,
        minimizer_kwargs={
            "method": watched, "jac": True, "bounds": [(-9, 9)] * 2, "options": {"lr": 0.005}
        },
    )  # fmt: skip
    assert_allclose(result.x, 0, atol=1e-5)
    assert result.lowest_optimization_result.success
    assert len(calls) == 31 and result.minimization_failures == 0
    assert result.nfev == sum(call.nfev for call in calls)


# Options -----------------------------------------------------------------------------------------

ALL_FIELDS = {field.name for field in dataclasses.fields(RMSPropOptions)}
COMMON = {"lr", "weight_decay", "decoupled", "clip_value", "clip_norm", "maximize"}
FIELDS = {
    "gradient_descent": COMMON,
    "momentum": {*COMMON, "momentum", "nesterov"},
    "adagrad": {*COMMON, "eps", "eps_in_sqrt", "initial_scale"},
}
each_way = pytest.mark.parametrize(
    "way",
    [
        lambda rule, x0, **options: rmsfast.Solver.by_rule(rule, x0, **options),
        lambda rule, x0, **options: method(rule)(
            rosen, x0, jac=rosen_der, **{"maxiter": 1, **options}
        ),
    ],
    ids=["Solver", "method"],
)


@each_rival
def test_fields(rule):
    assert {field.name for field in dataclasses.fields(RULES[rule])} == FIELDS[rule]


@each_way
@each_rival
def test_what_another_rule_has_is_unknown(rule, way):
    values = {name: 0.5 for name in ALL_FIELDS} | {"preset": "torch", "method": "adagrad"}
    for name in sorted({*values} - FIELDS[rule]):
        with pytest.warns(OptimizeWarning, match=f"^Unknown solver options: {name}$"):
            way(rule, X0, **{name: values[name]})


def test_a_rule_is_no_option_of_the_functions():
    with pytest.warns(OptimizeWarning, match="^Unknown solver options: rule$"):
        rmsfast.adagrad(rosen, X0, jac=rosen_der, maxiter=1, rule="momentum")


@pytest.mark.parametrize("bad", ["sgd", "RMSProp", None, ["adagrad"]])
def test_unknown_rule(bad):
    text = "^method must be one of rmsprop, gradient_descent, momentum, adagrad, got "
    with pytest.raises(ValueError, match=text + re.escape(repr(bad))):
        rmsfast.Solver.by_rule(bad, X0)


FOR_EACH = [
    (
        {"lr": "auto"},
        ValueError,
        "lr must be a number or a callable ('auto' is RMSProp's alone), got",
    ),
    ({"lr": "fast"}, ValueError, "lr must be a number or a callable ("),
    ({"lr": 0}, ValueError, "lr must be in (0, inf), got 0"),
    ({"lr": None}, TypeError, "lr must be a real number, got None"),
    ({"lr": schedules.cosine}, TypeError, "lr must be a schedule, not the class of one, got"),
    ({"maximize": 1}, TypeError, "maximize must be True or False, got 1"),
    ({"maxcor": 3}, ValueError, "maxcor=3 needs lr='auto', got a numeric"),
    ({"clip_norm": -1}, ValueError, "clip_norm must be in (0, inf), got -1"),
]
BAD = [
    *((rule, *row) for rule in RIVALS for row in FOR_EACH),
    ("gradient_descent", {"weight_decay": -1}, ValueError, "weight_decay must be in [0, inf), got"),
    ("momentum", {"momentum": 1}, ValueError, "momentum must be in [0, 1), got 1"),
    ("momentum", {"momentum": math.nan}, ValueError, "momentum must be in [0, 1), got nan"),
    ("momentum", {"momentum": 0, "nesterov": True}, ValueError, "nesterov needs momentum > 0, got"),
    ("momentum", {"nesterov": "yes"}, TypeError, "nesterov must be True or False, got 'yes'"),
    ("adagrad", {"eps": 0}, ValueError, "eps must be in (0, inf), got 0"),
    ("adagrad", {"eps": None}, TypeError, "eps must be a real number, got None"),
    ("adagrad", {"initial_scale": -1}, ValueError, "initial_scale must be in [0, inf), got -1"),
]  # fmt: skip


@each_way
@pytest.mark.parametrize(("rule", "options", "error", "text"), BAD, ids=str)
def test_bad(rule, options, error, text, way):
    with pytest.raises(error, match=re.escape(text)):
        way(rule, X0, **options)


@pytest.mark.parametrize(
    ("rule", "options", "text"),
    [
        ("adagrad", {"eps": 1e-60}, "eps must be positive in float32, got 1e-60"),
        ("gradient_descent", {"lr": 1e60}, "lr must be finite in float32, got 1e+60"),
        ("momentum", {"momentum": 1 - 1e-9}, "momentum must be below 1 in float32, got 0.99999999"),
    ],
    ids=str,
)  # fmt: skip
def test_what_float32_cannot_hold(rule, options, text):
    rmsfast.Solver.by_rule(rule, X0, **options)
    with pytest.raises(ValueError, match="^" + re.escape(text)):
        rmsfast.Solver.by_rule(rule, X0.astype(np.float32), **options)


CHANGES = {
    "lr": 0.02, "weight_decay": 0.5, "clip_value": 0.5, "clip_norm": 0.5, "maximize": True,
    "momentum": 0.5, "nesterov": True, "eps": 1.0, "initial_scale": 1.0,
}  # fmt: skip


@each_rival
def test_each_option_has_an_effect(rule):
    def points(**options):
        return walk(rule, reference.START, reference.gradient, 20, **{"lr": 0.01, **options})

    pairs = [({}, {name: CHANGES[name]}) for name in sorted(FIELDS[rule] & CHANGES.keys())]
    if rule == "momentum":  # else, decay of either kind is the same step
        pairs.append(({"weight_decay": 0.5}, {"decoupled": True}))
    if rule == "adagrad":
        pairs.append(({"weight_decay": 0.5}, {"decoupled": True}))
        pairs.append(({"eps": 1.0}, {"eps_in_sqrt": True}))
    named = {name for _, change in pairs for name in change}
    assert named == FIELDS[rule] - ({"decoupled"} if rule == "gradient_descent" else set())
    for common, change in pairs:
        assert abs(points(**common) - points(**common, **change)).max() > 1e-4


def test_options_of_a_rule_and_its_numbers():
    """What a module that runs the rule itself asks for: checked options, and the record."""
    options = {"lr": 0.5, "eps": 1e-3, "batch": 3}
    h = take_hyperparameters(options, "adagrad").hyper()
    assert options == {"batch": 3}
    assert (h.lr, h.rho, h.one_minus_rho, h.eps, h.momentum) == (0.5, 1.0, 1.0, 1e-3, 0.0)
    h = take_hyperparameters({"nesterov": True}, "momentum").hyper()
    assert (h.lr, h.one_minus_rho, h.eps, h.momentum, h.nesterov) == (1e-3, 0.0, 1.0, 0.9, True)
    assert take_hyperparameters({"preset": "keras"}) == RMSPropOptions.preset("keras")
    assert take_hyperparameters({}, "adagrad") == RULES["adagrad"]()


# What the result says ----------------------------------------------------------------------------


def bowl(x):
    return x @ x / 2, x


def test_limit_cycle():
    """With lr = 2 / curvature gradient descent goes to and fro."""
    result = rmsfast.gradient_descent(bowl, [1.0, -2.0], jac=True, lr=2.0)
    assert result.status == 7 and "limit cycle" in result.message
    assert "rmsfast.rmsprop with lr='auto'" in result.message


def test_divergence():
    with np.errstate(over="ignore"):
        result = rmsfast.gradient_descent(bowl, [1.0, -2.0], jac=True, lr=1e200)
    assert result.status == 3
    assert "Lower lr, or use rmsfast.rmsprop with lr='auto'" in result.message
    assert_array_equal(result.x, [1.0, -2.0])


def test_no_progress():
    result = rmsfast.momentum(bowl, [1.0, -2.0], jac=True, lr=4.0, maxiter=150)
    assert result.status == 1
    assert "150 steps brought no lower value" in result.message
    assert "Use rmsfast.rmsprop with lr='auto', or a decreasing schedule" in result.message


@each_rival
def test_what_is_said_of_other_things_names_the_rule(rule):
    with pytest.warns(RuntimeWarning, match=f"^Method {rule} does not use Hessian information"):
        method(rule)(rosen, X0, jac=rosen_der, maxiter=1, hess=lambda x: np.eye(3))
    with pytest.raises(ValueError, match=f"^constraints must be empty: {rule} has no constraints"):
        method(rule)(rosen, X0, constraints={"type": "ineq", "fun": lambda x: x[0]})
