"""Options: what is accepted, what each wrong one is told, and that each has an effect."""

import dataclasses
import math
import re
from typing import Any

import numpy as np
import pytest
import reference
from numpy.testing import assert_array_equal
from scipy.optimize import OptimizeWarning

import rmsfast
from rmsfast import RMSPropOptions, schedules
from rmsfast.options import HINTS, PRESETS, ReportOptions, SolverOptions


def fun(x):
    return reference.value(x), reference.gradient(x)


def by_class(options):
    """Each option in the class it belongs to."""
    options = dict(options)
    for kind in (SolverOptions, ReportOptions):
        names = {field.name for field in dataclasses.fields(kind)} & set(options)
        kind(**{name: options.pop(name) for name in names})
    RMSPropOptions.preset(options.pop("preset", None), **options)


def by_method(options, x0=reference.START):
    return rmsfast.rmsprop(fun, x0, jac=True, **{"maxiter": 1, **options})


each_way = pytest.mark.parametrize("way", [by_class, by_method])

VALID = [
    {},
    {"lr": "auto"},
    {"lr": 1},
    {"lr": np.float32(0.1)},
    {"lr": schedules.plateau(0.1)},
    {"lr": schedules.cosine(0.1, 10)},
    {"lr": lambda k: 0.1 / (k + 1)},
    {"rho": 0},
    {"rho": np.float64(0.5)},
    {"rho": 1 - 1e-16},
    {"eps": 1e-300},
    {"eps": 10},
    {"eps": 0.1, "eps_in_sqrt": True},
    {"lr": 0.1, "momentum": 0.5, "nesterov": True},
    {"lr": 0.1, "momentum": 0, "nesterov": np.False_},
    {"lr": 0.1, "centered": np.True_, "bias_correction": True},
    {"lr": 0.1, "initial_scale": 2, "weight_decay": 0, "decoupled": True},
    {"lr": 0.1, "clip_value": 1, "clip_norm": None},
    {"lr": 0.1, "clip_value": None, "clip_norm": 1e-3, "maximize": True},
    {"lr": 0.1, "lr_in_momentum": True},
    *({"preset": name, "lr": 0.1} for name in PRESETS),
    {"preset": None},
    {"preset": "keras"},
    {"preset": "torch", "lr": "auto"},
    {"preset": "d2l", "lr": "auto"},
    {"gtol": 0, "ftol": 0, "xtol": 1e-3, "maxcor": 0},
    {"gtol": np.float32(1e-3), "maxiter": np.int64(3), "maxfun": 1},
    {"maxiter": 0},
    {"maxiter": 3.0, "maxcor": 30},
    {"disp": False, "return_all": True, "finite_diff": "2-point"},
    {"disp": 0, "return_all": np.False_, "finite_diff": "cs"},
]


@each_way
@pytest.mark.parametrize("options", VALID, ids=reference.name_of)
def test_valid(options, way):
    way(options)


def exactly(text):
    return f"^{re.escape(text)}$"


def number(name, interval, value):
    """A number outside its interval, and what must be said."""
    return {name: value}, ValueError, exactly(f"{name} must be in {interval}, got {value!r}")


def no_number(name, value):
    return {name: value}, TypeError, exactly(f"{name} must be a real number, got {value!r}")


def no_flag(name, value):
    return {name: value}, TypeError, exactly(f"{name} must be True or False, got {value!r}")


def no_whole_number(name, value):
    return {name: value}, ValueError, exactly(f"{name} must be a whole number, got {value!r}")


def numeric_lr_only(**options):
    ((name, value), *_) = options.items()
    text = f"{name}={value!r} needs a numeric lr, got lr='auto'"
    return {**options, "lr": "auto"}, ValueError, exactly(text)


NO_LR = "preset {!r} has no default learning rate: give lr"
KNOWN_DIFFERENCES = "finite_diff must be '2-point', '3-point' or 'cs'"
OF = "preset must be one of torch, keras, tf1, optax, d2l, ensmallen, optimisers_jl, pennylane, "

BAD = [
    *(number("lr", "(0, inf)", lr) for lr in (math.nan, -1, 0, math.inf, -math.inf, 0.0)),
    ({"lr": "fast"}, ValueError, exactly("lr must be 'auto', a number or a callable, got 'fast'")),
    *(no_number("lr", lr) for lr in (None, True, [0.1], 0.1j)),
    ({"lr": schedules.cosine}, TypeError, "^lr must be a schedule, not the class of one, got <"),
    ({"lr": 10**400}, ValueError, "^lr must be "),
    *(number("rho", "[0, 1)", rho) for rho in (1.5, 1, 1.0, -0.1, math.nan)),
    *(number("eps", "(0, inf)", eps) for eps in (-1, 0, 0.0, math.nan, math.inf)),
    *(number("momentum", "[0, 1)", mu) for mu in (1, 1.5, -0.1, math.nan)),
    *(number("initial_scale", "[0, inf)", value) for value in (-1e-9, math.nan, math.inf)),
    *(number("weight_decay", "[0, inf)", decay) for decay in (-1, math.nan, math.inf)),
    *(number("clip_value", "(0, inf)", clip) for clip in (0, -1.0, math.nan, math.inf)),
    *(number("clip_norm", "(0, inf)", clip) for clip in (0.0, -1, math.nan, math.inf)),
    *(no_number("rho", rho) for rho in ("0.9", None, True, np.True_, [0.9], np.complex128(0.9))),
    *(no_number(name, "1e-8") for name in ("eps", "momentum", "initial_scale", "weight_decay")),
    *(no_number(name, False) for name in ("eps", "momentum", "initial_scale", "weight_decay")),
    *(no_number(name, True) for name in ("clip_value", "clip_norm")),
    *(no_flag("centered", flag) for flag in (1, 0, "yes", None, 1.0)),
    *(no_flag(name, 1) for name in ("nesterov", "eps_in_sqrt", "bias_correction", "maximize")),
    *(no_flag(name, "True") for name in ("decoupled", "lr_in_momentum")),
    ({"nesterov": True, "lr": 1}, ValueError, "^nesterov needs momentum > 0, got momentum=0.0$"),
    ({"preset": "troch"}, ValueError, exactly(f"{OF}quimb, got 'troch'")),
    ({"preset": 1}, ValueError, exactly(f"{OF}quimb, got 1")),
    ({"preset": ["torch"]}, (TypeError, ValueError), r"^preset must be .*got \['torch'\]$"),
    ({"preset": "tf1"}, ValueError, exactly(NO_LR.format("tf1"))),
    ({"preset": "optax", "momentum": 0.9}, ValueError, exactly(NO_LR.format("optax"))),
    ({"preset": "keras", "rho": 2}, ValueError, exactly("rho must be in [0, 1), got 2")),
    numeric_lr_only(momentum=0.9),
    numeric_lr_only(momentum=0.9, nesterov=True),
    numeric_lr_only(centered=True),
    numeric_lr_only(bias_correction=True),
    numeric_lr_only(initial_scale=1.0),
    numeric_lr_only(weight_decay=0.1),
    numeric_lr_only(clip_value=1.0),
    numeric_lr_only(clip_norm=1.0),
    numeric_lr_only(maximize=True),
    numeric_lr_only(decoupled=True),
    numeric_lr_only(lr_in_momentum=True),
    *(number("maxcor", "[0, 30]", maxcor) for maxcor in (31, -1, math.nan)),
    *(number(name, "[0, inf)", -1) for name in ("gtol", "ftol", "xtol", "maxiter", "disp")),
    *(number(name, "[0, inf)", math.nan) for name in ("gtol", "ftol", "xtol", "maxiter")),
    number("maxiter", "[0, inf)", math.inf),
    *(number("maxfun", "[1, inf)", maxfun) for maxfun in (0, -5)),
    *(no_whole_number(name, 2.5) for name in ("maxiter", "maxfun", "maxcor", "disp")),
    *(no_number(name, "3") for name in ("gtol", "ftol", "xtol", "maxiter", "maxfun", "maxcor")),
    *(no_number(name, True) for name in ("gtol", "ftol", "xtol", "maxiter", "maxfun", "maxcor")),
    no_number("disp", "yes"),
    no_flag("return_all", 1),
    *(
        ({"finite_diff": name}, ValueError, exactly(f"{KNOWN_DIFFERENCES}, got {name!r}"))
        for name in ("4-point", "CS", None, 2)
    ),
]


def short(value):
    return str(value) if isinstance(value, dict) else ""


@each_way
@pytest.mark.parametrize(("options", "error", "text"), BAD, ids=short)
def test_bad(options, error, text, way):
    with pytest.raises(error, match=text):
        way(options)


@pytest.mark.parametrize("tol", [-1, math.nan, "1e-5"])
def test_bad_tol(tol):
    with pytest.raises((TypeError, ValueError), match=f"tol must be .*, got {tol!r}$"):
        by_method({"tol": tol})


FLOAT32 = [
    ({"eps": 1e-60}, "eps must be positive in float32, got 1e-60"),
    ({"rho": 1 - 1e-9}, "rho must be below 1 in float32, got 0.999999999"),
    ({"lr": 0.1, "momentum": 1 - 1e-9}, "momentum must be below 1 in float32, got 0.999999999"),
    ({"lr": 0.1, "clip_value": 1e-60}, "clip_value must be positive in float32, got 1e-60"),
    ({"lr": 0.1, "clip_norm": 1e-60}, "clip_norm must be positive in float32, got 1e-60"),
    ({"lr": 1e-60}, "lr must be positive in float32, got 1e-60"),
]


@pytest.mark.parametrize(("options", "text"), FLOAT32, ids=str)
def test_what_vanishes_in_float32(options, text):
    by_method(options)
    for way in (rmsfast.Solver, lambda x0, **options: by_method(options, x0)):
        with pytest.raises(ValueError, match="^" + re.escape(text)):
            way(reference.START.astype(np.float32), **options)


@pytest.mark.parametrize("maxiter", [2**62, 1e300])
def test_a_large_maxiter_is_no_limit(maxiter):
    assert by_method({"maxiter": maxiter, "maxfun": maxiter}).success


def test_unknown_options_warn():
    for way in (rmsfast.Solver, lambda x0, **options: by_method(options, x0)):
        with pytest.warns(OptimizeWarning, match="^Unknown solver options: speed, colour$"):
            way(reference.START, speed=0.9, colour=0.1)


ELSEWHERE = "learning_rate (did you mean lr?), max_iter (did you mean maxiter?)"


def test_unknown_options_that_are_called_otherwise():
    for way in (rmsfast.Solver, lambda x0, **options: by_method(options, x0)):
        with pytest.warns(OptimizeWarning, match=re.escape(f"options: {ELSEWHERE}")):
            way(reference.START, learning_rate=0.1, max_iter=10)
    with pytest.warns(OptimizeWarning, match="^Unknown solver options: alpha$"):  # it has no rho
        rmsfast.Solver.by_rule("adagrad", reference.START, alpha=0.9)


def test_each_hint_leads_from_no_option_to_one():
    names = {f.name for kind in (RMSPropOptions, SolverOptions) for f in dataclasses.fields(kind)}
    assert {*HINTS.values()} <= names
    assert not {*HINTS} & names


@pytest.mark.parametrize("options", [RMSPropOptions(), SolverOptions(), ReportOptions()])
def test_frozen(options):
    for field in dataclasses.fields(options):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(options, field.name, getattr(options, field.name))
    with pytest.raises(TypeError):
        type(options)(1)  # by keyword only


@pytest.mark.parametrize("name", PRESETS)
def test_overrides_of_a_preset(name):
    given = {"lr": 0.5, "rho": 0.3, "eps": 0.1, "eps_in_sqrt": False, "initial_scale": 3.0}
    options = RMSPropOptions.preset(name, **given)
    assert {key: getattr(options, key) for key in given} == given
    rest = {key: value for key, value in PRESETS[name].items() if key not in given}
    assert {key: getattr(options, key) for key in rest} == rest


def test_no_preset_is_the_defaults():
    assert RMSPropOptions.preset() == RMSPropOptions.preset(None) == RMSPropOptions()
    assert RMSPropOptions.preset("torch", lr="auto") == RMSPropOptions()


# Each option changes an outcome -------------------------------------------------------------------


def points(**options):
    """The points that a run evaluates at."""
    solver = rmsfast.Solver(reference.START, **{"gtol": 0, "maxiter": 20, **options})
    seen = []
    while not solver.done:
        x = solver.ask()
        seen.append(x)
        solver.tell(*fun(x))
    return np.array(seen)


MOMENTUM = {"lr": 0.1, "momentum": 0.8}
DECAY = {"lr": 0.1, "weight_decay": 0.5}
# What is common to both runs, and the option that makes the difference
EFFECTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"lr": 0.1}),
    ({"lr": 0.1}, {"lr": 0.2}),
    ({"lr": 0.1}, {"lr": schedules.exponential(0.1, 0.9)}),
    ({}, {"rho": 0.5}),
    ({}, {"eps": 1.0}),
    ({"eps": 1.0}, {"eps_in_sqrt": True}),
    ({"lr": 0.1}, {"rho": 0.5}),
    ({"lr": 0.1}, {"eps": 1.0}),
    ({"lr": 0.1}, {"eps_in_sqrt": True, "eps": 1.0}),
    ({"lr": 0.1, "eps": 1.0}, {"eps_in_sqrt": True}),
    ({"lr": 0.1}, {"momentum": 0.8}),
    (MOMENTUM, {"nesterov": True}),
    ({**MOMENTUM, "lr": schedules.exponential(0.1, 0.9)}, {"lr_in_momentum": True}),
    ({"lr": 0.1}, {"centered": True}),
    ({"lr": 0.1}, {"bias_correction": True}),
    ({"lr": 0.1, "eps": 0.1, "centered": True}, {"bias_correction": True}),
    ({"lr": 0.1}, {"initial_scale": 1.0}),
    ({"lr": 0.1}, {"weight_decay": 0.5}),
    (DECAY, {"decoupled": True}),
    ({"lr": 0.1}, {"clip_value": 0.5}),
    ({"lr": 0.1}, {"clip_norm": 0.5}),
    ({"lr": 0.1}, {"maximize": True}),
    ({"lr": 0.1}, {"preset": "d2l"}),
    ({}, {"maxcor": 0}),
    ({}, {"maxcor": 2}),
    ({}, {"maxiter": 5}),
    ({"lr": 0.1}, {"maxiter": 5}),
    ({}, {"maxfun": 5}),
    ({"lr": 0.1}, {"maxfun": 5}),
    *(({"maxiter": 100}, {name: 0.1}) for name in ("gtol", "ftol", "xtol")),
    *(({"lr": 0.1, "maxiter": 500}, {name: 0.1}) for name in ("gtol", "ftol", "xtol")),
]


@pytest.mark.parametrize(("common", "change"), EFFECTS, ids=str)
def test_each_option_has_an_effect(common, change):
    before, after = points(**common), points(**{**common, **change})
    assert np.isfinite(after).all()
    assert_array_equal(before[0], after[0])
    assert before.shape != after.shape or abs(before - after).max() > 1e-4


def test_the_effects_name_every_option():
    fields = [*dataclasses.fields(RMSPropOptions), *dataclasses.fields(SolverOptions)]
    assert {name for _, change in EFFECTS for name in change} >= {field.name for field in fields}


def test_tol_is_gtol():
    for options, gtol in (({}, 0.1), ({"gtol": 0.2}, 0.2)):
        assert rmsfast.Solver(reference.START, tol=0.1, **options).options.gtol == gtol
    assert by_method({"maxiter": 100, "tol": 0.1}).nit < by_method({"maxiter": 100}).nit


def test_return_all_and_disp(capsys):
    plain = by_method({"maxiter": 5})
    assert "allvecs" not in plain and capsys.readouterr().out == ""
    assert len(by_method({"maxiter": 5, "return_all": True}).allvecs) == plain.nit + 1
    printed = []
    for disp in (1, True, 2):
        by_method({"maxiter": 5, "disp": disp})
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] and plain.message in printed[0]
    assert printed[2].endswith(printed[0]) and len(printed[2]) > len(printed[0])


def test_finite_diff():
    def value_only(x):
        return (x * x * x).sum()

    x0 = np.array([0.5, 2.0])
    names = ("2-point", "3-point", "cs")
    results = [rmsfast.rmsprop(value_only, x0, maxiter=0, finite_diff=name) for name in names]
    assert [result.nfev for result in results] == [3, 5, 3]
    two, three, cs = (abs(result.jac - 3 * x0**2).max() for result in results)
    assert cs <= 1e-15 < three < 1e-8 < two < 1e-5
    default = rmsfast.rmsprop(value_only, x0, maxiter=0)
    assert_array_equal(default.jac, results[1].jac)


def test_corrections_need_the_auto_rate():
    with pytest.raises(ValueError, match="^maxcor=3 needs lr='auto'"):
        by_method({"lr": 0.1, "maxcor": 3})


def test_what_overflows_in_float32():
    with pytest.raises(ValueError, match=r"^lr must be finite in float32, got 1e\+300"):
        rmsfast.Solver(np.ones(2, np.float32), lr=1e300)
    rmsfast.Solver(np.ones(2, np.float32), bounds=[(-1e300, 1e300)] * 2)
