"""What `rmsfast.RMSProp` does not take: it is named, and nothing at all is changed."""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

import rmsfast
from rmsfast import schedules


def bits(thing):
    """`thing` as plain data that can be compared."""
    if isinstance(thing, np.ndarray) and thing.dtype != object:
        return type(thing), thing.dtype.str, thing.shape, thing.tobytes()
    if isinstance(thing, dict):
        return {key: bits(value) for key, value in thing.items()}
    if isinstance(thing, (list, tuple)):
        return type(thing), [bits(part) for part in thing]
    return repr(thing)


def random(*shape, dtype=np.float64, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(dtype)


def readonly(a):
    a = a.copy()
    a.flags.writeable = False
    return a


# The constructor ---------------------------------------------------------------------------------

MISSING = "lr must be given, or a preset that has one, got None"
NAMED = "is no hyperparameter: there are lr, rho, eps, momentum, nesterov, centered, "
OTHERWISE = "'learning_rate' is no hyperparameter (did you mean lr?): there are lr, rho, "
KNOWN = "preset must be one of torch, keras, tf1, optax, d2l, ensmallen, optimisers_jl, pennylane, "
FLAGS = [
    "nesterov", "centered", "eps_in_sqrt", "bias_correction", "decoupled", "lr_in_momentum",
    "maximize", "skip_nonfinite", "lazy_decay",
]  # fmt: skip


def constructed(group=None, **hyperparameters):
    if group is None:
        return hyperparameters
    return {"lr": 0.1, **hyperparameters, "groups": [{"params": "w", **group}]}


CONSTRUCTIONS = [
    ("no lr", {}, ValueError, MISSING),
    ("lr None", {"lr": None}, ValueError, MISSING),
    ("lr missing, others not", {"rho": 0.9, "lazy_decay": True}, ValueError, MISSING),
    ("preset without lr", {"preset": "tf1"}, ValueError,
     "preset 'tf1' has no default learning rate: give lr"),
    ("lr auto", {"lr": "auto"}, ValueError,
     "lr must be a number, a schedule or arrays, got 'auto'"),
    ("lr auto and momentum", {"lr": "auto", "momentum": 0.9}, ValueError, "got lr='auto'"),
    ("lr auto with preset", {"lr": "auto", "preset": "torch"}, ValueError,
     "lr must be a number, a schedule or arrays, got 'auto'"),
    ("lr text", {"lr": "fast"}, ValueError, "got 'fast'"),
    ("lr negative", {"lr": -0.1}, ValueError, "lr must be in (0, inf), got -0.1"),
    ("lr zero", {"lr": 0}, ValueError, "lr must be in (0, inf), got 0"),
    ("lr NaN", {"lr": np.nan}, ValueError, "lr must be in (0, inf), got nan"),
    ("lr inf", {"lr": np.inf}, ValueError, "lr must be in (0, inf), got inf"),
    ("lr beyond float64", {"lr": 10**400}, ValueError, "lr must be in (0, inf), got 1000"),
    ("lr complex", {"lr": 1j}, TypeError, "lr must be a real number, got 1j"),
    ("lr bool", {"lr": True}, TypeError, "lr must be a real number, got True"),
    ("lr list of numbers", {"lr": [0.1, 0.2]}, TypeError, "lr must be a real number, got [0.1"),
    ("lr empty list", {"lr": []}, TypeError, "lr must be a real number, got []"),
    ("lr plateau", {"lr": schedules.plateau(0.1)}, ValueError,
     "lr must not depend on the objective, got plateau("),
    ("lr class of a schedule", {"lr": schedules.cosine}, TypeError,
     "lr must be a schedule, not the class of one, got <class"),
    ("unknown", {"lr": 0.1, "speed": 0.1}, TypeError, f"'speed' {NAMED}"),
    ("called otherwise, without lr", {"learning_rate": 0.1}, TypeError, OTHERWISE),
    ("of the solver", {"lr": 0.1, "maxiter": 5}, TypeError, f"'maxiter' {NAMED}"),
    ("preset unknown", {"lr": 0.1, "preset": "adam"}, ValueError, KNOWN),
    ("preset unknown, named", {"lr": 0.1, "preset": "adam"}, ValueError, "got 'adam'"),
    ("preset list", {"lr": 0.1, "preset": ["torch"]}, ValueError, "got ['torch']"),
    ("rho", {"lr": 0.1, "rho": 1.0}, ValueError, "rho must be in [0, 1), got 1.0"),
    ("eps", {"lr": 0.1, "eps": 0.0}, ValueError, "eps must be in (0, inf), got 0.0"),
    ("momentum", {"lr": 0.1, "momentum": 1}, ValueError, "momentum must be in [0, 1), got 1"),
    ("nesterov alone", {"lr": 0.1, "nesterov": True}, ValueError,
     "nesterov needs momentum > 0, got momentum=0.0"),
    ("clip_norm", {"lr": 0.1, "clip_norm": 0}, ValueError, "clip_norm must be in (0, inf), got 0"),
    ("ema_decay one", {"lr": 0.1, "ema_decay": 1.0}, ValueError,
     "ema_decay must be in [0, 1), got 1.0"),
    ("ema_decay negative", {"lr": 0.1, "ema_decay": -0.1}, ValueError,
     "ema_decay must be in [0, 1), got -0.1"),
    ("ema_decay NaN", {"lr": 0.1, "ema_decay": np.nan}, ValueError,
     "ema_decay must be in [0, 1), got nan"),
    ("ema_decay text", {"lr": 0.1, "ema_decay": "0.9"}, TypeError,
     "ema_decay must be a real number, got '0.9'"),
    ("ema_decay bool", {"lr": 0.1, "ema_decay": True}, TypeError,
     "ema_decay must be a real number, got True"),
    *((f"{name} {value!r}", {"lr": 0.1, "momentum": 0.9, name: value}, TypeError,
       f"{name} must be True or False, got {value!r}")
      for name in FLAGS for value in (1, None, "yes")),
    ("groups number", {"lr": 0.1, "groups": 5}, TypeError, "groups must be a list of dicts, got 5"),
    ("groups without params", {"lr": 0.1, "groups": [{"lr": 0.2}]}, TypeError,
     "groups must hold dicts with the key 'params', got {'lr': 0.2}"),
    ("groups of tuples", {"lr": 0.1, "groups": [("w", 0.2)]}, TypeError,
     "groups must hold dicts with the key 'params', got ('w', 0.2)"),
    ("groups one dict", {"lr": 0.1, "groups": {"params": "w", "lr": 0.2}}, TypeError,
     "groups must be a list of dicts, got {'params': 'w', 'lr': 0.2}"),
    ("key in two groups", {"lr": 0.1, "groups": [{"params": ["w", "b"]}, {"params": "b"}]},
     ValueError, "groups: 'b' is in more than one"),
    ("index in two groups", {"lr": 0.1, "groups": [{"params": 0}, {"params": range(2)}]},
     ValueError, "groups: 0 is in more than one"),
    ("clip_norm in a group", constructed({"clip_norm": 1.5}), ValueError,
     "clip_norm is one for all groups, got 1.5 in one"),
    ("clip_norm None in a group", constructed({"clip_norm": None}, clip_norm=1.0), ValueError,
     "clip_norm is one for all groups, got None in one"),
    ("lr in a group beside arrays", constructed({"lr": 0.2}, lr={"w": np.ones(2)}), ValueError,
     "lr is given for each coordinate, got 0.2 in a group"),
    ("unknown in a group", constructed({"speed": 1}), TypeError, f"'speed' {NAMED}"),
    ("called otherwise in a group", constructed({"learning_rate": 1}), TypeError, OTHERWISE),
    ("ema_decay in a group", constructed({"ema_decay": 0.9}), TypeError, f"'ema_decay' {NAMED}"),
    ("rho in a group", constructed({"rho": 1.5}), ValueError, "rho must be in [0, 1), got 1.5"),
    ("lr auto in a group", constructed({"lr": "auto"}), ValueError,
     "lr must be a number, a schedule or arrays, got 'auto'"),
    ("lr plateau in a group", constructed({"lr": schedules.plateau(0.1)}), ValueError,
     "lr must not depend on the objective, got plateau("),
    ("lr negative in a group", constructed({"lr": -1.0}), ValueError,
     "lr must be in (0, inf), got -1.0"),
    ("flag in a group", constructed({"centered": 1}), TypeError,
     "centered must be True or False, got 1"),
    ("nesterov in a group", constructed({"nesterov": True}), ValueError,
     "nesterov needs momentum > 0, got momentum=0.0"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [row[1:] for row in CONSTRUCTIONS],
    ids=[row[0] for row in CONSTRUCTIONS],
)
def test_bad_construction(arguments, error, text):
    before = bits(arguments)
    with pytest.raises(error) as caught:
        rmsfast.RMSProp(**arguments)
    assert text in str(caught.value)
    assert type(caught.value) is error
    assert bits(arguments) == before


PAIR = "RMSProp takes lr alone by position, got 2 arguments: it is the optimizer for loops of your "
NO_METHOD = PAIR + "own; the method of minimize is rmsfast.rmsprop"


def test_it_is_no_method_of_minimize():
    with pytest.raises(TypeError, match=f"^{NO_METHOD}$"):
        minimize(rmsfast.objectives.rosenbrock, [-1.2, 1.0], jac=True, method=rmsfast.RMSProp)
    with pytest.raises(TypeError, match=f"^{NO_METHOD}$"):  # as PyTorch's
        rmsfast.RMSProp([one()], 0.1)


@pytest.mark.parametrize("name", ["rho", "clip_norm", "ema_decay", "groups", "learning_rate"])
def test_only_lr_can_be_set(name):
    optimizer = rmsfast.RMSProp(lr=0.1)
    before = dict(vars(optimizer))
    with pytest.raises(AttributeError) as caught:
        setattr(optimizer, name, 0.5)
    text = f"{name} cannot be set, only lr can: make a new RMSProp and load_state_dict"
    assert str(caught.value) == text
    assert vars(optimizer) == before
    optimizer.lr = 0.5
    assert optimizer.options == rmsfast.RMSPropOptions(lr=0.5)


# update and update_rows --------------------------------------------------------------------------


@dataclasses.dataclass
class Case:
    """A bad call, made by an optimizer at its start and in its course."""

    id: str
    params: Callable[[], Any]  # good ones
    arguments: Callable[[Any, Any], tuple]  # the bad ones, from good params and grads
    error: type
    text: str
    options: dict = dataclasses.field(default_factory=dict)
    method: str = "update"
    before: tuple = (0, 2)  # good updates before the bad one


def one():
    return random(5)


def single():
    return random(5, dtype=np.float32)


def several():
    return [random(4), random(2, 3)]


def named():
    return {"w": random(3, 2), "b": random(2)}


def table():
    return random(6, 3)


NOT_ARRAYS = [
    ("list of floats", [1.0, 2.0, 3.0], "{}[0] must be a NumPy array, got float"),
    ("nested list", [[1.0, 2.0], [3.0]], "{}[0] must be a NumPy array, got list"),
    ("float", 1.5, "{} must be a NumPy array, got float"),
    ("None", None, "{} must be a NumPy array, got NoneType"),
    ("text", "abc", "{} must be a NumPy array, got str"),
    ("NumPy scalar", np.float64(1.5), "{} must be a NumPy array, got numpy.float64"),
    ("tensor", torch.ones(5, dtype=torch.float64),
     "{} must be a NumPy array, got torch.Tensor: give tensor.detach().numpy()"),
    ("masked array", np.ma.masked_array(np.ones(5), [1, 0, 0, 0, 0]),
     "{} must be a NumPy array, got numpy.ma.MaskedArray"),
]  # fmt: skip
DTYPES = "float64, float32, float16, complex128, complex64"
KEYS = "must be a dict with the keys ['w', 'b'], got"
RATES = {"w": np.full((3, 2), 0.1), "b": np.full(2, 0.1)}
TWO_ROWS = np.array([4, 1])


def rows_case(id, arguments, error, text, params=table, **more):
    return Case(id, params, arguments, error, text, method="update_rows", **more)


BAD_INPUT = [
    # no arrays at all
    *(Case(f"params {id}", one, lambda p, g, v=value: (v, v if isinstance(v, list) else g),
           TypeError, text.format("params"), before=(0,))
      for id, value, text in NOT_ARRAYS),
    *(Case(f"params {id}, later", one, lambda p, g, v=value: (v, g), TypeError,
           text.format("params"), before=(2,))
      for id, value, text in NOT_ARRAYS if not isinstance(value, list)),
    *(Case(f"grads {id}", one, lambda p, g, v=value: (p, v), TypeError, text.format("grads"))
      for id, value, text in NOT_ARRAYS if not isinstance(value, list)),
    Case("params list of floats, later", several, lambda p, g: ([1.0, 2.0], g), TypeError,
         "params[0] must be a NumPy array, got float"),
    Case("grads list of floats", several, lambda p, g: (p, [g[0], 2.0]), TypeError,
         "grads[1] must be a NumPy array, got float"),
    Case("params None in a list", several, lambda p, g: ([p[0], None], g), TypeError,
         "params[1] must be a NumPy array, got NoneType"),
    Case("grads None in a dict", named, lambda p, g: (p, {**g, "b": None}), TypeError,
         "grads['b'] must be a NumPy array, got NoneType"),
    # structures
    Case("params list for a dict", named, lambda p, g: (list(p.values()), g), ValueError,
         f"params {KEYS} a list of length 2", before=(2,)),
    Case("grads list for a dict", named, lambda p, g: (p, list(g.values())), ValueError,
         f"grads {KEYS} a list of length 2"),
    Case("grads one array for a dict", named, lambda p, g: (p, g["w"]), ValueError,
         f"grads {KEYS} one ndarray"),
    Case("params key missing", named, lambda p, g: ({"w": p["w"]}, g), ValueError,
         f"params {KEYS} a dict with the keys ['w']", before=(2,)),
    Case("grads key missing", named, lambda p, g: (p, {"w": g["w"]}), ValueError,
         f"grads {KEYS} a dict with the keys ['w']"),
    Case("params key too many", named, lambda p, g: ({**p, "c": random(1)}, g), ValueError,
         f"params {KEYS} a dict with the keys ['w', 'b', 'c']", before=(2,)),
    Case("grads key too many", named, lambda p, g: (p, {**g, "c": random(1)}), ValueError,
         f"grads {KEYS} a dict with the keys ['w', 'b', 'c']"),
    Case("grads other key", named, lambda p, g: (p, {"w": g["w"], "B": g["b"]}), ValueError,
         f"grads {KEYS} a dict with the keys ['w', 'B']"),
    Case("params too long", several, lambda p, g: ([*p, random(2)], g), ValueError,
         "params must be a list of 2 arrays, got a list of length 3", before=(2,)),
    Case("grads too short", several, lambda p, g: (p, g[:1]), ValueError,
         "grads must be a list of 2 arrays, got a list of length 1"),
    Case("grads tuple too short", several, lambda p, g: (p, (g[0],)), ValueError,
         "grads must be a list of 2 arrays, got a tuple of length 1"),
    Case("grads dict for a list", several, lambda p, g: (p, dict(enumerate(g))), ValueError,
         "grads must be a list of 2 arrays, got a dict with the keys [0, 1]"),
    Case("grads one array for a list", several, lambda p, g: (p, g[0]), ValueError,
         "grads must be a list of 2 arrays, got one ndarray"),
    Case("params list for one array", one, lambda p, g: ([p], g), ValueError,
         "params must be one array, got a list of length 1", before=(2,)),
    Case("grads list for one array", one, lambda p, g: (p, [g]), ValueError,
         "grads must be one array, got a list of length 1"),
    Case("no arrays, list", several, lambda p, g: ([], []), ValueError,
         "params must hold at least one array, got none", before=(0,)),
    Case("no arrays, dict", several, lambda p, g: ({}, {}), ValueError,
         "params must hold at least one array, got none", before=(0,)),
    Case("no arrays, later", several, lambda p, g: ([], []), ValueError,
         "params must be a list of 2 arrays, got a list of length 0", before=(2,)),
    # shapes and dtypes
    Case("grads shape", one, lambda p, g: (p, random(4)), ValueError,
         "grads must be of shape (5,) and dtype float64, got shape (4,) and dtype float64"),
    Case("grads scalar array", one, lambda p, g: (p, np.array(1.0)), ValueError,
         "grads must be of shape (5,) and dtype float64, got shape () and dtype float64"),
    Case("grads column", one, lambda p, g: (p, g[:, None]), ValueError,
         "grads must be of shape (5,) and dtype float64, got shape (5, 1) and dtype float64"),
    Case("grads transposed", named, lambda p, g: (p, {**g, "w": g["w"].T}), ValueError,
         "grads['w'] must be of shape (3, 2) and dtype float64, got shape (2, 3) and dtype"),
    Case("grads of the other array", several, lambda p, g: (p, g[::-1]), ValueError,
         "grads[0] must be of shape (4,) and dtype float64, got shape (2, 3) and dtype float64"),
    Case("grads float32", one, lambda p, g: (p, g.astype(np.float32)), TypeError,
         "grads must be of shape (5,) and dtype float64, got shape (5,) and dtype float32"),
    Case("grads float64", single, lambda p, g: (p, g.astype(np.float64)), TypeError,
         "grads must be of shape (5,) and dtype float32, got shape (5,) and dtype float64"),
    Case("grads int", several, lambda p, g: (p, [g[0], np.ones((2, 3), int)]), TypeError,
         "grads[1] must be of shape (2, 3) and dtype float64, got shape (2, 3) and dtype int64"),
    Case("grads complex", one, lambda p, g: (p, g * 1j), TypeError,
         "grads must be of shape (5,) and dtype float64, got shape (5,) and dtype complex128"),
    Case("grads object", one, lambda p, g: (p, g.astype(object)), TypeError,
         "grads must be of shape (5,) and dtype float64, got shape (5,) and dtype object"),
    *(Case(f"params {dtype}", one, lambda p, g, t=dtype: (np.ones(5, t), np.ones(5, t)), TypeError,
           f"params must be of one of the dtypes {DTYPES}, got {np.dtype(dtype)}")
      for dtype in ("int64", "bool", "object", "U3", "M8[D]", "V8", "f8,f8", "uint8")),
    Case("params int in a dict", named,
         lambda p, g: ({**p, "b": np.ones(2, np.int32)}, {**g, "b": np.ones(2, np.int32)}),
         TypeError, f"params['b'] must be of one of the dtypes {DTYPES}, got int32"),
    Case("params read-only", one, lambda p, g: (readonly(p), g), ValueError,
         "params must be writeable, got a read-only array of shape (5,) and dtype float64"),
    Case("params read-only in a dict", named, lambda p, g: ({**p, "b": readonly(p["b"])}, g),
         ValueError,
         "params['b'] must be writeable, got a read-only array of shape (2,) and dtype float64"),
    Case("params broadcast", one, lambda p, g: (np.broadcast_to(1.0, 5), g), ValueError,
         "params must be writeable, got a read-only array of shape (5,) and dtype float64"),
    Case("params twice", lambda: [random(4), random(4)], lambda p, g: ([p[1], p[1]], g),
         ValueError, "params must not hold the same memory twice"),
    Case("params twice in a dict", lambda: {"a": random(4), "c": random(1), "b": random(4)},
         lambda p, g: ({**p, "b": p["a"]}, g),
         ValueError, "params must not hold the same memory twice"),
    Case("params twice, as a view", lambda: [random(4), random(4)],
         lambda p, g: ([p[1], p[1][:]], g),
         ValueError, "params must not hold the same memory twice"),
    Case("params twice, in two groups", lambda: [random(4), random(4)],
         lambda p, g: ([p[1], p[1]], g),
         ValueError, "params must not hold the same memory twice",
         {"groups": [{"params": 1, "momentum": 0.5}]}),
    Case("params twice, with gaps", lambda: [random(8)[::2], random(8)[::2]],
         lambda p, g: ([p[1], p[1]], g),
         ValueError, "params must not hold the same memory twice"),
    Case("shape changed", one, lambda p, g: (random(6), random(6)), ValueError,
         "params must have the shape of the updates before, (5,), got (6,)", before=(2,)),
    Case("shape of one changed", named,
         lambda p, g: ({**p, "w": p["w"].T.copy()}, {**g, "w": g["w"].T.copy()}), ValueError,
         "params['w'] must have the shape of the updates before, (3, 2), got (2, 3)", before=(2,)),
    Case("dtype changed", one, lambda p, g: (p.astype(np.float32), g.astype(np.float32)),
         TypeError, "params must have the dtype of the updates before, float64, got float32",
         before=(2,)),
    Case("dtype changed, accumulators not", lambda: random(5, dtype="f2"),
         lambda p, g: (p.astype("f4"), g.astype("f4")), TypeError,
         "params must have the dtype of the updates before, float16, got float32", before=(2,)),
    Case("dtype changed to complex", one, lambda p, g: (p + 0j, g + 0j),
         TypeError, "params must have the dtype of the updates before, float64, got complex128",
         before=(2,)),
    # groups, and hyperparameters that leave their bounds in the dtype
    Case("group of no key", lambda: {**named(), "z": random(1)},
         lambda p, g: (named(), named()), ValueError,
         "groups: there is no 'z' in params, a dict with the keys ['w', 'b']",
         {"groups": [{"params": "z", "lr": 0.2}]}, before=(0,)),
    Case("group of no index", several, lambda p, g: (p[:1], g[:1]), ValueError,
         "groups: there is no 1 in params, a list of length 1",
         {"groups": [{"params": 1, "lr": 0.2}]}, before=(0,)),
    Case("group of a key for a list", named, lambda p, g: (several(), several()), ValueError,
         "groups: there is no 'w' in params, a list of length 2",
         {"groups": [{"params": "w", "lr": 0.2}]}, before=(0,)),
    Case("group of an index for one array", several, lambda p, g: (one(), one()), ValueError,
         "groups: there is no 0 in params, one array",
         {"groups": [{"params": 0, "lr": 0.2}]}, before=(0,)),
    *(Case(f"{name} {value} in {dtype}", one,
           lambda p, g, t=dtype: (random(5, dtype=t), random(5, dtype=t)), ValueError,
           f"{name} must be {bound} in float32, got {value!r}", {name: value}, before=(0,))
      for dtype in ("float32", "float16", "complex64")
      for name, value, bound in (("lr", 1e-60, "positive"), ("lr", 1e60, "finite"),
                                 ("eps", 1e-60, "positive"), ("rho", 1 - 1e-12, "below 1"),
                                 ("momentum", 1 - 1e-12, "below 1"),
                                 ("clip_value", 1e-60, "positive"),
                                 ("clip_norm", 1e60, "finite"))),
    *(Case(f"{name} {value} overflows in float32", one, lambda p, g: (single(), single()),
           ValueError, f"{name} must be finite in float32, got {value!r}", {name: value},
           before=(0,))
      for name, value in (("initial_scale", 1e60), ("weight_decay", 1e60))),
    Case("eps of a group in float32", several,
         lambda p, g: ([p[0], p[1].astype("f")], [g[0], g[1].astype("f")]), ValueError,
         "eps must be positive in float32, got 1e-60",
         {"groups": [{"params": [1], "eps": 1e-60}]}, before=(0,)),
    # a learning rate for each coordinate
    Case("lr of another shape", one, lambda p, g: (random(4), random(4)), ValueError,
         "lr must be real and of shape (4,), got shape (5,) and dtype float64",
         {"lr": np.full(5, 0.1)}, before=(0,)),
    Case("lr one of another shape", named,
         lambda p, g: ({**p, "b": random(3)}, {**g, "b": random(3)}), ValueError,
         "lr['b'] must be real and of shape (3,), got shape (2,) and dtype float64",
         {"lr": RATES}, before=(0,)),
    Case("lr of another structure", named, lambda p, g: (several(), several()), ValueError,
         "lr must be a list of 2 arrays, got a dict with the keys ['w', 'b']",
         {"lr": RATES}, before=(0,)),
    Case("lr of one array for a list", one, lambda p, g: ([p], [g]), ValueError,
         "lr must be a list of 1 arrays, got one ndarray", {"lr": np.full(5, 0.1)}, before=(0,)),
    Case("lr below float32", one, lambda p, g: (single(), single()), ValueError,
         "lr must be positive and finite, got np.float64(1e-60)",
         {"lr": np.array([0.1, 0.1, 1e-60, 0.1, 0.1])}, before=(0,)),
    Case("lr above float32", one, lambda p, g: (single(), single()), ValueError,
         "lr must be positive and finite, got np.float64(1e+60)",
         {"lr": np.array([0.1, 0.1, 1e60, 0.1, 0.1])}, before=(0,)),
    # rows
    rows_case("row negative", lambda p, g: (p, np.array([0, -1]), random(2, 3)), ValueError,
              "rows must be in [0, 6), got -1"),
    rows_case("row too large", lambda p, g: (p, np.array([5, 6]), random(2, 3)), ValueError,
              "rows must be in [0, 6), got 6"),
    rows_case("row far too large", lambda p, g: (p, np.array([2**63], np.uint64), random(1, 3)),
              ValueError, "rows must be in [0, 6), got 9223372036854775808"),
    rows_case("row of no rows", lambda p, g: (p, np.array([0]), random(1, 3)), ValueError,
              "rows must be in [0, 0), got 0", lambda: random(0, 3)),
    rows_case("row too large in a list",
              lambda p, g: (p, [TWO_ROWS, np.array([0, 2])], [random(2), random(2, 3)]),
              ValueError, "rows[1] must be in [0, 2), got 2", lambda: [random(5), random(2, 3)]),
    rows_case("rows float", lambda p, g: (p, np.array([0.0, 1.0]), random(2, 3)), ValueError,
              "rows must be of one dimension and whole numbers, got shape (2,) and dtype float64"),
    rows_case("rows bool", lambda p, g: (p, np.ones(6, bool), random(6, 3)), ValueError,
              "rows must be of one dimension and whole numbers, got shape (6,) and dtype bool"),
    rows_case("rows of two dimensions", lambda p, g: (p, TWO_ROWS[None], random(1, 2, 3)),
              ValueError,
              "rows must be of one dimension and whole numbers, got shape (1, 2) and dtype int64"),
    rows_case("rows scalar array", lambda p, g: (p, np.array(1), random(3)), ValueError,
              "rows must be of one dimension and whole numbers, got shape () and dtype int64"),
    rows_case("rows list", lambda p, g: (p, [4, 1], random(2, 3)), ValueError,
              "rows must be one array, got a list of length 2"),
    rows_case("rows int", lambda p, g: (p, 1, random(1, 3)), TypeError,
              "rows must be a NumPy array, got int"),
    rows_case("rows list for a dict", lambda p, g: (p, [TWO_ROWS] * 2, g), ValueError,
              f"rows {KEYS} a list of length 2", named),
    rows_case("rows grads too long", lambda p, g: (p, TWO_ROWS, random(3, 3)), ValueError,
              "grads must be of shape (2, 3) and dtype float64, got shape (3, 3) and dtype"),
    rows_case("rows grads whole", lambda p, g: (p, TWO_ROWS, g), ValueError,
              "grads must be of shape (2, 3) and dtype float64, got shape (6, 3) and dtype"),
    rows_case("rows grads one row", lambda p, g: (p, TWO_ROWS[:1], random(3)), ValueError,
              "grads must be of shape (1, 3) and dtype float64, got shape (3,) and dtype float64"),
    rows_case("rows grads float32", lambda p, g: (p, TWO_ROWS, random(2, 3, dtype="f")), TypeError,
              "grads must be of shape (2, 3) and dtype float64, got shape (2, 3) and dtype"),
    rows_case("rows grads list", lambda p, g: (p, TWO_ROWS, [[1.0] * 3] * 2), ValueError,
              "grads must be one array, got a list of length 2"),
    rows_case("rows of a scalar array", lambda p, g: (p, TWO_ROWS, np.ones(2)), ValueError,
              "params must have rows, got an array of no dimension", lambda: np.array(1.5)),
    rows_case("rows of a scalar array in a dict",
              lambda p, g: (p, {"a": TWO_ROWS, "b": TWO_ROWS}, {"a": random(2), "b": random(2)}),
              ValueError, "params['b'] must have rows, got an array of no dimension",
              lambda: {"a": random(5), "b": np.array(1.5)}),
    rows_case("rows of a read-only array", lambda p, g: (readonly(p), TWO_ROWS, random(2, 3)),
              ValueError,
              "params must be writeable, got a read-only array of shape (6, 3) and dtype float64"),
    rows_case("rows of integers", lambda p, g: (np.ones((6, 3), int), TWO_ROWS, random(2, 3)),
              TypeError, f"params must be of one of the dtypes {DTYPES}, got int64"),
    rows_case("rows of one array twice",
              lambda p, g: ([p[0], p[0]], [TWO_ROWS] * 2, [random(2)] * 2),
              ValueError, "params must not hold the same memory twice",
              lambda: [random(5), random(5)]),
    rows_case("rows of no arrays", lambda p, g: ([], [], []), ValueError,
              "params must hold at least one array, got none", several, before=(0,)),
    rows_case("rows of another table", lambda p, g: (random(7, 3), TWO_ROWS, random(2, 3)),
              ValueError, "params must have the shape of the updates before, (6, 3), got (7, 3)",
              before=(2,)),
    rows_case("rows of float64 before",
              lambda p, g: (p.astype("f"), TWO_ROWS, random(2, 3, dtype="f")),
              TypeError, "params must have the dtype of the updates before, float64, got float32",
              before=(2,)),
    rows_case("rows with averages", lambda p, g: (p, TWO_ROWS, random(2, 3)), ValueError,
              "update_rows keeps no averages, got ema_decay=0.9", options={"ema_decay": 0.9}),
    rows_case("rows, lr of another shape", lambda p, g: (random(5, 3), TWO_ROWS, random(2, 3)),
              ValueError, "lr must be real and of shape (5, 3), got shape (6, 3) and dtype float64",
              options={"lr": np.full((6, 3), 0.1)}, before=(0,)),
    rows_case("rows, eps in float32",
              lambda p, g: (p.astype("f"), TWO_ROWS, random(2, 3, dtype="f")), ValueError,
              "eps must be positive in float32, got 1e-60", options={"eps": 1e-60}, before=(0,)),
]  # fmt: skip
MODES = {
    "plain": {},
    "all on": {"momentum": 0.9, "centered": True, "clip_norm": 1.0, "lazy_decay": True,
               "skip_nonfinite": True},
}  # fmt: skip
CALLS = [
    pytest.param(case, before, id=f"{case.id}, after {before}")
    for case in BAD_INPUT
    for before in case.before
]


def like(tree, seed):
    """Gradients for parameters."""
    if isinstance(tree, dict):
        return {key: like(x, seed) for key, x in tree.items()}
    if isinstance(tree, list):
        return [like(x, seed) for x in tree]
    return np.asarray(random(*tree.shape, dtype=tree.dtype, seed=seed))


def whole(optimizer, *things):
    """All that a failed call must leave alone."""
    return bits(
        [optimizer.state_dict(), optimizer.step_count, optimizer.skipped_count, optimizer.options,
         optimizer.lr, *things]
    )  # fmt: skip


def test_names_of_the_cases_are_distinct():
    names = [case.id for case in BAD_INPUT]
    assert len(set(names)) == len(names) > 100


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize(("case", "before"), CALLS)
def test_bad_input(case, before, mode):
    options = {"lr": 0.1, **mode, **case.options}
    optimizer, twin = rmsfast.RMSProp(**options), rmsfast.RMSProp(**options)
    params, grads = case.params(), like(case.params(), 1)
    other = copy.deepcopy(params)
    for _ in range(before):
        optimizer.update(params, grads)
        twin.update(other, grads)

    arguments = case.arguments(params, grads)
    state = whole(optimizer, params, grads, arguments)
    with pytest.raises(case.error) as caught:
        getattr(optimizer, case.method)(*arguments)
    assert case.text in str(caught.value)
    assert type(caught.value) is case.error
    assert whole(optimizer, params, grads, arguments) == state

    # The good call after it works as if there had been no bad one.
    for _ in range(2):
        optimizer.update(params, grads)
        twin.update(other, grads)
    assert whole(optimizer, params) == whole(twin, other)
    assert optimizer.step_count == before + 2


BAD_RATES = [
    ("negative", np.array([0.1, -0.1]), "lr must be positive and finite, got np.float64(-0.1)"),
    ("zero", np.array([0.1, 0.0]), "lr must be positive and finite, got np.float64(0.0)"),
    ("NaN", np.array([0.1, np.nan]), "lr must be positive and finite, got np.float64(nan)"),
    ("inf", np.array([np.inf, 0.1]), "lr must be positive and finite, got np.float64(inf)"),
    ("complex", np.array([0.1, 1j]), "lr must be real and of shape (2,), got shape (2,) and dtype"),
    ("text", np.array(["a", "b"]), "lr must be real and of shape (2,), got shape (2,) and dtype"),
    ("bool", np.ones(2, bool), "lr must be real and of shape (2,), got shape (2,) and dtype bool"),
]


@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize(
    ("lr", "text"), [row[1:] for row in BAD_RATES], ids=[r[0] for r in BAD_RATES]
)
def test_bad_rate_for_a_coordinate(lr, text, rows):
    def call(params, grads):
        if rows:
            optimizer.update_rows(params, np.arange(2), grads)
        else:
            optimizer.update(params, grads)

    optimizer = rmsfast.RMSProp(lr)
    params, grads = random(2), random(2, seed=1)
    state = whole(optimizer, params, grads)
    with pytest.raises(ValueError) as caught:
        call(params, grads)
    assert text in str(caught.value)
    assert whole(optimizer, params, grads) == state
    optimizer.lr = np.full(2, 0.1)
    call(params, grads)
    other = random(2)
    rmsfast.RMSProp(lr=0.1).update(other, grads)
    assert bits(params) == bits(other)


class Mine(Exception):
    """An exception of the caller's."""


def raising(k):
    raise Mine("mine")


SCHEDULES = [
    ("negative", lambda k: -1, ValueError, "lr({}) must be in [0, inf), got -1"),
    ("NaN", lambda k: np.nan, ValueError, "lr({}) must be in [0, inf), got nan"),
    ("inf", lambda k: np.inf, ValueError, "lr({}) must be in [0, inf), got inf"),
    ("text", lambda k: "0.1", TypeError, "lr({}) must be a real number, got '0.1'"),
    ("None", lambda k: None, TypeError, "lr({}) must be a real number, got None"),
    ("complex", lambda k: 1j, TypeError, "lr({}) must be a real number, got 1j"),
    ("array", lambda k: np.ones(2), TypeError, "lr({}) must be a real number, got array("),
    ("raising", raising, Mine, "mine"),
]


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize("in_group", [False, True])
@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize("method", ["update", "update_rows"])
@pytest.mark.parametrize(
    ("bad", "error", "text"), [row[1:] for row in SCHEDULES], ids=[row[0] for row in SCHEDULES]
)
def test_bad_schedule(bad, error, text, method, before, in_group, mode):
    answer = None

    def lr(k):
        return 0.1 / (k + 1) if answer is None else answer(k)

    def call(optimizer, params, k, method="update"):
        if method == "update":
            optimizer.update(params, [random(5, 2, seed=k), random(3, seed=k)])
        else:  # rows that have been idle for a while
            rows = [np.array([k % 5, 4]), np.array([k % 3])]
            optimizer.update_rows(params, rows, [random(2, 2, seed=k), random(1, seed=k)])

    options = {"lr": 0.1, "groups": [{"params": 1, "lr": lr}]} if in_group else {"lr": lr}
    optimizer, twin = (rmsfast.RMSProp(**options, **mode) for _ in range(2))
    params, other = ([random(5, 2), random(3)] for _ in range(2))
    for k in range(before):
        call(optimizer, params, k, "update_rows")
        call(twin, other, k, "update_rows")

    state, answer = whole(optimizer, params), bad
    with pytest.raises(error) as caught:
        call(optimizer, params, before, method)
    assert text.format(before) in str(caught.value)
    assert type(caught.value) is error
    assert whole(optimizer, params) == state

    answer = None
    for k in range(before, before + 3):
        call(optimizer, params, k, method)
        call(twin, other, k, method)
    assert whole(optimizer, params) == whole(twin, other)


def test_failed_first_call_binds_nothing():
    """Neither structure, shapes nor dtype: the first good call decides."""
    optimizer = rmsfast.RMSProp(lr=0.1, centered=True)
    with pytest.raises(ValueError):
        optimizer.update({"a": random(3)}, {"a": random(4)})
    with pytest.raises(TypeError):
        optimizer.update([random(3, dtype="f")], [random(3)])
    params, grads = random(2, 2, dtype=np.complex64), random(2, 2, dtype=np.complex64, seed=1)
    fresh, other = rmsfast.RMSProp(lr=0.1, centered=True), params.copy()
    optimizer.update(params, grads)
    fresh.update(other, grads)
    assert whole(optimizer, params) == whole(fresh, other)


BAD_SETS = [
    (-0.1, ValueError, "lr must be in (0, inf), got -0.1"),
    (np.nan, ValueError, "lr must be in (0, inf), got nan"),
    ("auto", ValueError, "lr must be a number, a schedule or arrays, got 'auto'"),
    (schedules.plateau(0.1), ValueError, "lr must not depend on the objective, got plateau("),
    (None, TypeError, "lr must be a real number, got None"),
    (True, TypeError, "lr must be a real number, got True"),
    ([0.1, 0.2], TypeError, "lr must be a real number, got [0.1, 0.2]"),
    (1e-60, ValueError, "lr must be positive in float32, got 1e-60"),
]


@pytest.mark.parametrize(("lr", "error", "text"), BAD_SETS, ids=[str(r[0])[:9] for r in BAD_SETS])
def test_bad_lr_set(lr, error, text):
    optimizer, params, grads = rmsfast.RMSProp(lr=0.1), single(), single()
    optimizer.update(params, grads)
    state = whole(optimizer, params)
    with pytest.raises(error) as caught:
        optimizer.lr = lr
    assert text in str(caught.value)
    assert whole(optimizer, params) == state
    optimizer.update(params, grads)
    assert optimizer.lr == 0.1


def test_lr_set_for_each_coordinate_beside_a_group():
    groups = [{"params": "b", "lr": 0.2}]
    optimizer, params = trained(groups=groups)
    state = whole(optimizer, params)
    with pytest.raises(ValueError, match="lr is given for each coordinate, got 0.2 in a group"):
        optimizer.lr = RATES
    assert whole(optimizer, params) == state
    optimizer.update(params, named())
    assert optimizer.step_count == 4


@pytest.mark.parametrize(
    ("lr", "text"), [row[1:] for row in BAD_RATES], ids=[r[0] for r in BAD_RATES]
)
def test_bad_rate_set_for_a_coordinate(lr, text):
    make = lambda: random(2)  # noqa: E731
    (optimizer, params), (twin, other) = trained(make=make), trained(make=make)
    with pytest.raises(ValueError) as caught:
        optimizer.lr = lr
        optimizer.update(params, random(2))  # it may be seen only here
    assert text in str(caught.value)
    assert bits([params, optimizer.state_dict()]) == bits([other, twin.state_dict()])
    optimizer.lr = 0.1
    optimizer.update(params, random(2))
    twin.update(other, random(2))
    assert whole(optimizer, params) == whole(twin, other)


def test_average_that_there_is_not():
    optimizer = rmsfast.RMSProp(lr=0.1)
    with pytest.raises(ValueError, match="average needs ema_decay, got ema_decay=None"):
        _ = optimizer.average
    optimizer = rmsfast.RMSProp(lr=0.1, ema_decay=0.9, skip_nonfinite=True)
    with pytest.raises(ValueError, match="average: there was no update yet"):
        _ = optimizer.average
    optimizer.update(one(), np.full(5, np.nan))  # nor is a skipped update one
    with pytest.raises(ValueError, match="average: there was no update yet"):
        _ = optimizer.average


@pytest.mark.parametrize("name", ["lr", "options", "average", "step_count"])
def test_asking_changes_nothing(name):
    optimizer, params = rmsfast.RMSProp(lr=0.1, ema_decay=0.9), one()
    optimizer.update(params, one())
    state = whole(optimizer, params)
    assert getattr(optimizer, name) is not None
    assert whole(optimizer, params) == state


# load_state_dict ---------------------------------------------------------------------------------

ENTRIES = "['mean', 'mean_square', 'momentum_buffer', 'skipped_count', 'step_count'], got"


def without(state, name):
    return {key: value for key, value in state.items() if key != name}


def entry(name, change):
    """A state whose entry `name` is changed in the array "w"."""
    return lambda state: {**state, name: {**state[name], "w": change(state[name]["w"])}}


def element(value):
    """An array whose element (2, 0) is another one."""

    def change(a):
        a = a.copy()
        a[2, 0] = value
        return a

    return change


SHAPES = "must be of shape (3, 2) and dtype float64, got shape"
BAD_STATES = [
    ("None", lambda s: None, TypeError, ["state must be a dict, got None"]),
    ("pairs", lambda s: [1, 2], TypeError, ["state must be a dict, got [1, 2]"]),
    ("empty", lambda s: {}, ValueError,
     ["state must have the entries ['skipped_count', 'step_count'], got []"]),
    ("count missing", lambda s: without(s, "step_count"), ValueError,
     [f"state must have the entries {ENTRIES} ['skipped_count', 'mean_square', 'mean', "
      "'momentum_buffer']"]),
    ("entry missing", lambda s: without(s, "mean"), ValueError,
     [f"state must have the entries {ENTRIES} ['step_count', 'skipped_count', 'mean_square', "
      "'momentum_buffer']"]),
    ("mean square missing", lambda s: without(s, "mean_square"), ValueError,
     [f"state must have the entries {ENTRIES} ['step_count', 'skipped_count', 'mean', "
      "'momentum_buffer']"]),
    ("all arrays missing", lambda s: {"step_count": s["step_count"], "skipped_count": 0},
     ValueError, [f"state must have the entries {ENTRIES} ['step_count', 'skipped_count']"]),
    ("entry unknown", lambda s: {**s, "exp_avg": s["mean"]}, ValueError,
     [f"state must have the entries {ENTRIES}", "'momentum_buffer', 'exp_avg']"]),
    ("entry not used", lambda s: {**s, "average": s["mean"]}, ValueError,
     [f"state must have the entries {ENTRIES}", "'momentum_buffer', 'average']"]),
    ("entry not text", lambda s: {**s, 5: s["mean"]}, ValueError,
     [f"state must have the entries {ENTRIES}", "'momentum_buffer', 5]"]),
    ("step_count negative", lambda s: {**s, "step_count": -1}, ValueError,
     ["step_count must be in [0, inf), got -1"]),
    ("step_count fraction", lambda s: {**s, "step_count": 1.5}, ValueError,
     ["step_count must be a whole number, got 1.5"]),
    ("step_count NaN", lambda s: {**s, "step_count": np.nan}, ValueError,
     ["step_count must be in [0, inf), got nan"]),
    ("step_count text", lambda s: {**s, "step_count": "3"}, TypeError,
     ["step_count must be a real number, got '3'"]),
    ("step_count bool", lambda s: {**s, "step_count": True}, TypeError,
     ["step_count must be a real number, got True"]),
    ("skipped_count negative", lambda s: {**s, "skipped_count": -2}, ValueError,
     ["skipped_count must be in [0, inf), got -2"]),
    ("mean square negative", entry("mean_square", element(-1.5)), ValueError,
     ["mean_square['w'] must be in [0, inf), got -1.5"]),
    ("mean square NaN", entry("mean_square", element(np.nan)), ValueError,
     ["mean_square['w'] must be in [0, inf), got nan"]),
    ("mean square inf", entry("mean_square", element(np.inf)), ValueError,
     ["mean_square['w'] must be in [0, inf), got inf"]),
    ("mean square of another shape", entry("mean_square", lambda a: a.T), ValueError,
     ["['w'] must be of shape", "(3, 2)", "(2, 3)"]),
    ("buffer of another shape", entry("momentum_buffer", lambda a: a.T), ValueError,
     [f"momentum_buffer['w'] {SHAPES} (2, 3) and dtype float64"]),
    ("buffer flat", entry("momentum_buffer", np.ravel), ValueError,
     [f"momentum_buffer['w'] {SHAPES} (6,) and dtype float64"]),
    ("mean without elements", entry("mean", lambda a: np.empty(0)), ValueError,
     [f"mean['w'] {SHAPES} (0,) and dtype float64"]),
    ("mean float32", entry("mean", lambda a: a.astype("f")), ValueError,
     [f"mean['w'] {SHAPES} (3, 2) and dtype float32"]),
    ("mean square int", entry("mean_square", lambda a: a.astype(int)),
     (TypeError, ValueError), ["mean_square['w'] must be of ", "dtype", "int64"]),
    ("mean square float16", entry("mean_square", lambda a: a.astype("e")),
     (TypeError, ValueError), ["mean_square['w'] must be of ", "dtype", "float16"]),
    ("mean square object", entry("mean_square", lambda a: a.astype(object)),
     (TypeError, ValueError), ["mean_square['w'] must be of ", "dtype", "object"]),
    ("mean square list", entry("mean_square", np.ndarray.tolist), TypeError,
     ["mean_square['w'] must be a NumPy array, got list"]),
    ("mean tensor", entry("mean", torch.from_numpy), TypeError,
     ["mean['w'] must be a NumPy array, got torch.Tensor: give tensor.detach().numpy()"]),
    ("mean masked", entry("mean", np.ma.masked_array), TypeError,
     ["mean['w'] must be a NumPy array, got numpy.ma.MaskedArray"]),
    ("buffer of another structure",
     lambda s: {**s, "momentum_buffer": list(s["momentum_buffer"].values())}, ValueError,
     [f"momentum_buffer {KEYS} a list of length 2"]),
    ("buffer of one array", lambda s: {**s, "momentum_buffer": s["momentum_buffer"]["w"]},
     ValueError, [f"momentum_buffer {KEYS} one ndarray"]),
    ("buffer without a key", lambda s: {**s, "mean": without(s["mean"], "b")}, ValueError,
     [f"mean {KEYS} a dict with the keys ['w']"]),
]  # fmt: skip
LATER_STATES = [  # for an optimizer that knows its parameters
    ("another structure",
     lambda s: {k: list(v.values()) if isinstance(v, dict) else v for k, v in s.items()},
     ValueError, ["state must have the structure of the parameters"]),
    ("a key less",
     lambda s: {k: without(v, "b") if isinstance(v, dict) else v for k, v in s.items()},
     ValueError, ["state must have the structure of the parameters"]),
    ("another shape throughout",
     lambda s: {k: {**v, "w": v["w"].T} if isinstance(v, dict) else v for k, v in s.items()},
     ValueError, ["mean_square['w']", "(3, 2)", "(2, 3)"]),
    ("another dtype throughout",
     lambda s: {k: {n: a.astype("f") for n, a in v.items()} if isinstance(v, dict) else v
                for k, v in s.items()},
     (TypeError, ValueError), ["float64", "float32"]),
]  # fmt: skip
LOADS = [
    *(pytest.param(*row[1:], before, id=f"{row[0]}, after {before}")
      for row in BAD_STATES for before in (0, 2)),
    *(pytest.param(*row[1:], 2, id=row[0]) for row in LATER_STATES),
]  # fmt: skip


def trained(steps=3, make=named, **options):
    """An optimizer after some updates, with its parameters and their gradients."""
    optimizer, params = rmsfast.RMSProp(lr=0.1, **options), make()
    for k in range(steps):
        optimizer.update(params, like(params, k))
    return optimizer, params


def check_bad_state(optimizer, params, state, error, pieces):
    twin, other = copy.deepcopy((optimizer, params))
    before = whole(optimizer, params, state)
    with pytest.raises(error) as caught:
        optimizer.load_state_dict(state)
    for piece in pieces:
        assert piece in str(caught.value)
    assert whole(optimizer, params, state) == before
    for k in range(2):
        optimizer.update(params, like(params, k))
        twin.update(other, like(other, k))
    assert whole(optimizer, params) == whole(twin, other)


@pytest.mark.parametrize(("change", "error", "pieces", "before"), LOADS)
def test_bad_state(change, error, pieces, before):
    options = {"momentum": 0.9, "centered": True}
    state = change(trained(**options)[0].state_dict())
    check_bad_state(*trained(before, **options), state, error, pieces)


OTHER_OPTIONS = [
    ("momentum missing", {}, {"momentum": 0.9}, "momentum_buffer"),
    ("momentum not used", {"momentum": 0.9}, {}, "momentum_buffer"),
    ("mean missing", {}, {"centered": True}, "mean"),
    ("average missing", {}, {"ema_decay": 0.9}, "average"),
    ("last_step missing", {}, {"lazy_decay": True}, "last_step"),
    ("last_step not used", {"lazy_decay": True}, {}, "last_step"),
]


@pytest.mark.parametrize("before", [0, 2])
@pytest.mark.parametrize(
    ("of", "into", "name"), [row[1:] for row in OTHER_OPTIONS], ids=[r[0] for r in OTHER_OPTIONS]
)
def test_state_of_other_hyperparameters(of, into, name, before):
    state = trained(**of)[0].state_dict()
    text = ["state must have the entries [", f"'{name}'"]
    check_bad_state(*trained(before, **into), state, ValueError, text)


def test_state_of_other_groups():
    groups = [{"params": "b", "momentum": 0.9}]
    state = trained(groups=groups)[0].state_dict()
    pieces = ["momentum_buffer['w'] must be of shape (3, 2) and dtype float64, got shape (0,)"]
    check_bad_state(*trained(momentum=0.9), state, ValueError, pieces)
    state = trained(momentum=0.9)[0].state_dict()
    pieces = ["momentum_buffer['w'] must be of shape (0,) and dtype float64, got shape (3, 2)"]
    check_bad_state(*trained(groups=groups), state, ValueError, pieces)


def test_state_without_the_key_of_a_group():
    groups = [{"params": "z", "lr": 0.2}]
    make = lambda: {**named(), "z": random(1)}  # noqa: E731
    state = trained()[0].state_dict()
    text = "groups: there is no 'z' in params, a dict with the keys ['w', 'b']"
    check_bad_state(*trained(0, make, groups=groups), state, ValueError, [text])


def test_bad_last_step():
    state = trained(lazy_decay=True)[0].state_dict()
    for change, pieces in (
        (lambda a: a.astype(float), ["last_step['w'] must be of shape (3,) and dtype int64, got"]),
        (lambda a: a[:2], ["last_step['w'] must be of shape (3,) and dtype int64, got shape (2,)"]),
        (lambda a: a + 1, ["last_step['w'] must be in [0, 3], got 4"]),
        (lambda a: a - 5, ["last_step['w'] must be in [0, 3], got -2"]),
    ):
        bad = entry("last_step", change)(state)
        check_bad_state(*trained(2, lazy_decay=True), bad, ValueError, pieces)


def test_bad_complex_mean_square():
    """Both parts are mean squares."""
    make = lambda: {"w": random(3, 2) + 0j}  # noqa: E731
    state = trained(make=make)[0].state_dict()
    for value, got in ((-1.5 + 1j, "-1.5"), (1 - 1.5j, "-1.5"), (complex(1, np.nan), "nan")):
        bad = entry("mean_square", element(value))(state)
        pieces = [f"mean_square['w'] must be in [0, inf), got {got}"]
        check_bad_state(*trained(2, make), bad, ValueError, pieces)
