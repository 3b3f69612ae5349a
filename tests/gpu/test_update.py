"""`RMSProp.update` and `kernels.cuda.update` on a GPU against the same on the CPU.

On a machine with a GPU: ``python -m pytest -m gpu``. Without one tests/test_cuda_simulated.py runs
this file in Numba's simulator, with fewer elements.
"""

import copy
import pickle
import re

import numpy as np
import pytest
import reference
from numba import cuda
from numpy.testing import assert_allclose, assert_array_equal
from test_rule import VARIANTS

import rmsfast
from rmsfast import kernels, schedules
from rmsfast.core.cuda.target import SIMULATED
from rmsfast.device import address_of

pytestmark = pytest.mark.gpu

DTYPES = [np.float64, np.float32, np.float16, np.complex128, np.complex64]
N = 40 if SIMULATED else 100_003
LONG = 4100 if SIMULATED else 3_000_001  # more than one block, also of the norm
# A multiplication and an addition are one operation on a GPU, and pow is within 2 ulp
ULPS = 8
# Of the mean square: the variance of a first gradient alone is nothing but rounding
START = 4.0

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
each_real = pytest.mark.parametrize("dtype", DTYPES[:3], ids=lambda dtype: dtype.__name__)
each_variant = pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS.keys())


class Interface:
    """Nothing but the array interface, over memory of one of Numba's device arrays."""

    def __init__(self, array, shape, dtype, strides=None, is_readonly=False, offset=0, **more):
        self.owner = array
        data = (address_of(array) + offset, is_readonly)
        self.__cuda_array_interface__ = {
            **{"shape": shape, "typestr": np.dtype(dtype).str, "strides": strides},
            **{"data": data, "version": 3, **more},
        }


def draw(rng, shape, dtype):
    """Normal numbers, in both parts of complex ones."""
    values = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * rng.standard_normal(shape)
    return np.asarray(values).astype(dtype)


def both(*args, **options):
    """Two of the same: for the CPU and for the GPU."""
    return rmsfast.RMSProp(*args, **options), rmsfast.RMSProp(*args, **options)


def assert_close(actual, expected, scale=None):
    """Equal within `ULPS` of the dtype, for parameters of the largest of them or of `scale`."""
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    rtol = ULPS * np.finfo(expected.dtype).eps
    top = abs(expected[np.isfinite(expected)]).max(initial=0.0) if scale is None else scale
    assert_allclose(actual, expected, rtol=rtol, atol=rtol * float(top))


def assert_same_state(gpu, cpu):
    """All that two optimizers remember, within `ULPS` of each array's largest element."""
    actual, expected = gpu.state_dict(), cpu.state_dict()
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, int):
            assert actual[name] == value, name
            continue
        pairs = [(actual[name], value)]
        if isinstance(value, list):
            pairs = zip(actual[name], value, strict=True)
        elif isinstance(value, dict):
            assert actual[name].keys() == value.keys()
            pairs = [(actual[name][key], value[key]) for key in value]
        for a, e in pairs:
            assert_close(a, e)
            assert a.strides == e.strides


@each_real
@each_variant
def test_variants(options, dtype):
    rng = np.random.default_rng(1)
    cpu, gpu = both(lr=0.05, initial_scale=START, **options)
    x = draw(rng, N, dtype)
    y = cuda.to_device(x)
    for _ in range(3):
        g = draw(rng, N, dtype)
        cpu.update(x, g)
        gpu.update(y, cuda.to_device(g))
    assert_close(y.copy_to_host(), x)
    assert_same_state(gpu, cpu)


@pytest.mark.parametrize("preset", reference.PRESETS)
def test_presets(preset):
    """The formulas that the frameworks document; on a parabola, so that gradients are exact."""
    options = {**reference.PRESETS[preset], "lr": 0.02}
    optimizer = rmsfast.RMSProp(lr=0.02, preset=preset)
    x = draw(np.random.default_rng(2), N, np.float32)
    expected = reference.trajectory(lambda z: 2 * z, x, 3, **options)[-1]
    y = cuda.to_device(x)
    for _ in range(3):
        optimizer.update(y, cuda.to_device(2 * y.copy_to_host()))
    rtol = 3 * ULPS * np.finfo(np.float32).eps  # of three steps
    assert_allclose(y.copy_to_host(), expected, rtol=rtol, atol=rtol * abs(x).max())


@each_dtype
def test_everything_at_once(dtype):
    """Groups, many arrays of many shapes, clipping, averages, rates: as on the CPU."""
    rng = np.random.default_rng(3)
    shapes = {"a": (3, 5), "empty": (0, 4), "scalar": (), "long": (LONG,), "b": (2, 1, 3)}
    shapes["empty too"] = (4, 0)
    options = {
        **{"momentum": 0.8, "nesterov": True, "centered": True, "bias_correction": True},
        **{"weight_decay": 0.02, "clip_norm": 3.0, "clip_value": 0.6, "maximize": True},
        **{"initial_scale": START, "ema_decay": 0.75, "lr": schedules.exponential(0.1, 0.9, 1)},
        "groups": [{"params": ["b", "scalar"], "centered": False, "lr": 0.01}],
    }
    cpu, gpu = both(**options)
    x = {name: draw(rng, shape, dtype) for name, shape in shapes.items()}
    y = {name: cuda.to_device(value) for name, value in x.items()}
    for _ in range(2):
        g = {name: draw(rng, shape, dtype) for name, shape in shapes.items()}
        cpu.update(x, g)
        gpu.update(y, {name: cuda.to_device(value) for name, value in g.items()})
    for name, value in x.items():
        assert_close(y[name].copy_to_host(), value)
    assert_same_state(gpu, cpu)
    assert_close(gpu.average["long"], cpu.average["long"])


def test_dtypes_together():
    rng = np.random.default_rng(4)
    cpu, gpu = both(lr=0.05, clip_norm=0.5)
    x = [draw(rng, 7, dtype) for dtype in DTYPES]
    y = list(map(cuda.to_device, x))
    for _ in range(2):
        g = [draw(rng, 7, dtype) for dtype in DTYPES]
        cpu.update(x, g)
        gpu.update(y, list(map(cuda.to_device, g)))
    for a, e in zip(y, x, strict=True):
        assert_close(a.copy_to_host(), e)
    assert_same_state(gpu, cpu)


@each_dtype
def test_layouts(dtype):
    """Fortran order, and axes in any order: the state is laid out as the parameters."""
    rng = np.random.default_rng(5)
    cpu, gpu = both(lr=0.05, momentum=0.9)
    memory = [draw(rng, (2, 3, 4), dtype) for _ in range(2)]
    x = [np.asfortranarray(draw(rng, (3, 4), dtype)), memory[0].transpose(2, 0, 1)]
    g = [np.asfortranarray(draw(rng, (3, 4), dtype)), memory[1].transpose(2, 0, 1)]
    flat = [[cuda.to_device(a.ravel("K")) for a in each] for each in (x, g)]
    params, grads = (
        [Interface(f, a.shape, dtype, a.strides) for f, a in zip(each, x, strict=True)]
        for each in flat
    )
    for _ in range(2):
        cpu.update(x, g)
        gpu.update(params, grads)
    for a, e in zip(flat[0], x, strict=True):
        assert_close(a.copy_to_host(), e.ravel("K"))
    assert_same_state(gpu, cpu)


@each_dtype
def test_a_rate_for_each_coordinate(dtype):
    rng = np.random.default_rng(6)
    rates = rng.uniform(0.01, 0.1, (3, 4))
    cpu, gpu = both(lr=rates)
    x, g = draw(rng, (3, 4), dtype), draw(rng, (3, 4), dtype)
    y, h = cuda.to_device(x), cuda.to_device(g)
    for lr in (rates, 2 * rates, 0.125):
        cpu.lr = gpu.lr = lr
        cpu.update(x, g)
        gpu.update(y, h)
    assert_close(y.copy_to_host(), x)
    assert_same_state(gpu, cpu)


@pytest.mark.filterwarnings("ignore:.*overflow:RuntimeWarning")  # Python's, in the simulator
@pytest.mark.parametrize("size", [1e-200, 1e-300, 1.0, 1e200])
def test_norms_that_squares_cannot_hold(size):
    cpu, gpu = both(lr=0.1, clip_norm=0.5, eps=1e-3)
    x, g = np.ones(3), size * np.array([3.0, -4.0, 12.0])
    y = cuda.to_device(x)
    cpu.update(x, g)
    gpu.update(y, cuda.to_device(g))
    assert_close(y.copy_to_host(), x)
    assert_same_state(gpu, cpu)


@pytest.mark.parametrize("options", [{}, {"clip_norm": 0.5}], ids=["", "clip_norm"])
@pytest.mark.parametrize(
    ("dtype", "wrong"), [(np.float64, -np.inf), (np.float32, np.nan), (np.float16, np.inf)]
)
def test_skipped_updates(dtype, wrong, options):
    """What is skipped is decided on the GPU, and so is the number of the update."""
    rng = np.random.default_rng(7)
    more = {"bias_correction": True, "ema_decay": 0.9, "skip_nonfinite": True}
    cpu, gpu = both(lr=schedules.inverse_time(0.1, 0.5), **more, **options)
    x = [draw(rng, 5, dtype), draw(rng, (2, 3), dtype)]
    y = list(map(cuda.to_device, x))
    for k in range(5):
        g = [draw(rng, a.shape, dtype) for a in x]
        if k in (1, 3):
            g[1][1, 2] = wrong
        cpu.update(x, g)
        gpu.update(y, list(map(cuda.to_device, g)))
    assert (gpu.step_count, gpu.skipped_count) == (3, 2)
    for a, e in zip(y, x, strict=True):
        assert_close(a.copy_to_host(), e)
    assert_same_state(gpu, cpu)


def test_nonfinite_gradients_without_skipping():
    cpu, gpu = both(lr=0.1, clip_norm=0.5)
    x, g = np.ones(3), np.array([1.0, np.nan, 2.0])
    y = cuda.to_device(x)
    cpu.update(x, g)
    gpu.update(y, cuda.to_device(g))
    assert_close(y.copy_to_host(), x)
    assert_same_state(gpu, cpu)


def test_gradients_may_be_the_parameters():
    cpu, gpu = both(lr=0.1)
    x = np.linspace(-1.0, 1.0, 8)
    y = cuda.to_device(x)
    cpu.update(x, x)
    gpu.update(y, y)
    assert_close(y.copy_to_host(), x)


def state_arrays(optimizer):
    return [v for v in optimizer.state_dict().values() if not isinstance(v, int)]


@pytest.mark.parametrize("how", ["state_dict", "pickle", "deepcopy", "CPU", "from the CPU"])
def test_stop_and_go_on(how):
    rng = np.random.default_rng(8)
    options = {"lr": 0.1, "momentum": 0.9, "centered": True, "clip_norm": 1.0}
    options["initial_scale"] = START
    whole, part = both(skip_nonfinite=True, **options)
    x, gs = draw(rng, (4, 3), np.float32), [draw(rng, (4, 3), np.float32) for _ in range(4)]
    y, z = cuda.to_device(x), cuda.to_device(x)
    host = x.copy()
    for g in gs[:2]:
        whole.update(y, cuda.to_device(g))
        if how == "from the CPU":
            part.update(host, g)
        else:
            part.update(z, cuda.to_device(g))
    if how == "pickle":
        part = pickle.loads(pickle.dumps(part))
    elif how == "deepcopy":
        part = copy.deepcopy(part)
    else:
        state = part.state_dict()
        part = rmsfast.RMSProp(skip_nonfinite=True, **options)
        part.load_state_dict(state)
    if how == "CPU":
        z.copy_to_host(host)
    if how == "from the CPU":
        z = cuda.to_device(host)
    for g in gs[2:]:
        whole.update(y, cuda.to_device(g))
        part.update(*((host, g) if how == "CPU" else (z, cuda.to_device(g))))
    end = host if how == "CPU" else z.copy_to_host()
    if "CPU" in how:
        assert_close(end, y.copy_to_host())
    else:
        assert_array_equal(end, y.copy_to_host())
        for a, e in zip(state_arrays(part), state_arrays(whole), strict=True):
            assert_array_equal(a, e)
    assert part.step_count == 4


def test_new_gradients_each_time_and_the_same_ones():
    """The table of addresses follows the arrays."""
    rng = np.random.default_rng(9)
    cpu, gpu = both(lr=0.1)
    x = [draw(rng, 6, np.float64) for _ in range(3)]
    y = list(map(cuda.to_device, x))
    kept = list(map(cuda.to_device, x))
    for k in range(6):
        g = [draw(rng, 6, np.float64) for _ in x]
        h = kept if k % 2 else [cuda.device_array(6, np.float64) for _ in x]
        for a, b in zip(h, g, strict=True):
            a.copy_to_device(b)
        cpu.update(x, g)
        gpu.update(y, h)
    for a, e in zip(y, x, strict=True):
        assert_close(a.copy_to_host(), e)


def test_streams_of_numba():
    stream = cuda.stream()
    cpu, gpu = both(lr=0.1, momentum=0.5, clip_norm=0.1)
    x, g = np.linspace(-1.0, 1.0, N), np.linspace(2.0, 1.0, N)
    y, h = cuda.to_device(x, stream=stream), cuda.to_device(g, stream=stream)
    for _ in range(3):
        cpu.update(x, g)
        gpu.update(y, h, stream=stream)
    end = y.copy_to_host(stream=stream)
    stream.synchronize()
    assert_close(end, x)
    assert_same_state(gpu, cpu)


def test_the_norm_is_that_of_the_cpu_whatever_the_launch(monkeypatch):
    """Bits of clipped updates do not depend on the number of threads in a block."""
    from rmsfast.core.cuda import update

    rng = np.random.default_rng(10)
    n = 300 if SIMULATED else LONG
    x, g = draw(rng, n, np.float64), draw(rng, n, np.float64)
    ends = []
    for threads in (1, 2, 5) if SIMULATED else (32, 64, 1024):
        monkeypatch.setattr(update, "THREADS", threads)
        optimizer, y = rmsfast.RMSProp(lr=0.1, clip_norm=0.1), cuda.to_device(x)
        optimizer.update(y, cuda.to_device(g))
        ends.append(y.copy_to_host())
    assert all(end.tobytes() == ends[0].tobytes() for end in ends)


@each_real
@each_variant
def test_kernels(options, dtype):
    options = {k: v for k, v in options.items() if k != "clip_norm"}
    rng = np.random.default_rng(11)
    real = np.float32 if dtype == np.float16 else dtype
    x = draw(rng, 9, dtype)
    s, m, b = np.full(9, START, real), *np.zeros((2, 9), real)
    arrays = [cuda.to_device(a) for a in (x, s, m, b)]
    if not options.get("centered"):
        arrays[2] = None
    if not options.get("momentum"):
        arrays[3] = None
    for t in (1, 2, 3):
        g = draw(rng, 9, dtype)
        h = kernels.hyper(lr=0.05, t=t, gradient_scale=0.5 * t, **options)
        wide = x.astype(real)
        kernels.update(wide, g.astype(real), s, m, b, h)
        x[...] = wide
        kernels.cuda.update(arrays[0], cuda.to_device(g), *arrays[1:], h)
    for actual, expected in zip(arrays, (x, s, m, b), strict=True):
        if actual is not None:
            assert_close(actual.copy_to_host(), expected)


# Bad input ---------------------------------------------------------------------------------------

X32 = np.ones((2, 3), np.float32)


def on_gpu(*arrays):
    return [cuda.to_device(a) for a in arrays]


def overlapping(_):
    memory = cuda.to_device(np.ones(8, np.float32))
    return [Interface(memory, (6,), np.float32), Interface(memory, (6,), np.float32, offset=8)]


def gradient_inside(_):
    memory = cuda.to_device(np.ones(8, np.float32))
    return [Interface(memory, (6,), np.float32), Interface(memory, (6,), np.float32, offset=8)]


def interface(**options):
    memory = cuda.to_device(np.ones(64, np.float32))
    return Interface(memory, **{"shape": (2, 3), "dtype": np.float32, **options})


BAD_INPUT = {
    "gradient on the host": (
        lambda: (*on_gpu(X32), X32),
        (TypeError, "grads must be an array on the GPU, got numpy.ndarray"),
    ),
    "one parameter on the host": (
        lambda: ([*on_gpu(X32), X32], on_gpu(X32, X32)),
        (TypeError, "params[1] must be an array on the GPU, got numpy.ndarray"),
    ),
    "parameters on the host": (
        lambda: (X32, *on_gpu(X32)),
        (TypeError, "grads must be a NumPy array, got numba"),
    ),
    "whole numbers": (
        lambda: on_gpu(X32.astype(np.int64), X32.astype(np.int64)),
        (TypeError, "params must be of one of the dtypes float64, float32, float16"),
    ),
    "another dtype": (
        lambda: on_gpu(X32, X32.astype(np.float64)),
        (TypeError, "grads must be of shape (2, 3) and dtype float32, got shape (2, 3) and dtype"),
    ),
    "another shape": (
        lambda: on_gpu(X32, X32[:1]),
        (ValueError, "grads must be of shape (2, 3) and dtype float32, got shape (1, 3)"),
    ),
    "another structure": (
        lambda: (on_gpu(X32), on_gpu(X32, X32)),
        (ValueError, "grads must be a list of 1 arrays, got a list of length 2"),
    ),
    "read-only": (
        lambda: (interface(is_readonly=True), *on_gpu(X32)),
        (ValueError, "params must be writeable, got a read-only array of shape (2, 3)"),
    ),
    "masked": (
        lambda: (interface(mask=1), *on_gpu(X32)),
        (ValueError, "params must not be masked"),
    ),
    "strided": (
        lambda: (interface(strides=(32, 4)), *on_gpu(X32)),
        (ValueError, "params must fill one piece of memory on the GPU, got shape (2, 3) and str"),
    ),
    "another order": (
        lambda: (interface(strides=(4, 8)), *on_gpu(X32)),
        (ValueError, "grads must have the strides of the parameters on the GPU, (1, 2) elements"),
    ),
    "the same twice": (
        lambda: (2 * on_gpu(X32), on_gpu(X32, X32)),
        (ValueError, "params must not hold the same memory twice"),
    ),
    "overlapping parameters": (
        lambda: (overlapping(0), on_gpu(*np.ones((2, 6), np.float32))),
        (ValueError, "params must not hold the same memory twice"),
    ),
    "gradient that overlaps": (
        lambda: gradient_inside(0),
        (ValueError, "grads must not overlap the parameters on the GPU"),
    ),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input(name):
    make, (kind, text) = BAD_INPUT[name]
    optimizer = rmsfast.RMSProp(lr=0.1)
    with pytest.raises(kind, match=re.escape(text)):
        optimizer.update(*make())
    assert optimizer.state_dict() == {"step_count": 0, "skipped_count": 0}
    x = cuda.to_device(X32)
    optimizer.update(x, cuda.to_device(X32))  # it is as if nothing had happened
    assert_close(x.copy_to_host(), X32 - np.float32(0.1) / np.float32(0.1 + 1e-8), scale=1.0)


LATER = {
    "NumPy": (lambda: (X32, X32), (TypeError, "params must be an array on the GPU, got numpy.nd")),
    "another dtype": (
        lambda: on_gpu(X32.astype(np.float64), X32.astype(np.float64)),
        (TypeError, "params must have the dtype of the updates before, float32, got float64"),
    ),
    "another shape": (
        lambda: on_gpu(X32[:1], X32[:1]),
        (ValueError, "params must have the shape of the updates before, (2, 3), got (1, 3)"),
    ),
}


@pytest.mark.parametrize("name", LATER)
def test_bad_input_later(name):
    make, (kind, text) = LATER[name]
    optimizer, x = rmsfast.RMSProp(lr=0.1), cuda.to_device(X32)
    optimizer.update(x, cuda.to_device(X32))
    before = optimizer.state_dict()
    with pytest.raises(kind, match=re.escape(text)):
        optimizer.update(*make())
    after = optimizer.state_dict()
    assert after["step_count"] == 1
    assert_array_equal(after["mean_square"], before["mean_square"])


def test_what_there_is_not_on_a_gpu():
    x = cuda.to_device(X32)
    with pytest.raises(NotImplementedError, match="update_rows takes NumPy arrays"):
        rmsfast.RMSProp(lr=0.1).update_rows(x, np.array([0]), x)
    with pytest.raises(NotImplementedError, match="lazy_decay=True takes NumPy arrays"):
        rmsfast.RMSProp(lr=0.1, lazy_decay=True).update(x, cuda.to_device(X32))


@pytest.mark.parametrize("stream", [True, -1, 1.5, "default"])
def test_bad_streams(stream):
    x, g = on_gpu(X32, X32)
    with pytest.raises(TypeError, match=r"stream must be a CUDA stream or its address, got "):
        rmsfast.RMSProp(lr=0.1).update(x, g, stream=stream)


BAD_ARGUMENTS = {
    "x": (X32, TypeError, "x must be an array on the GPU, got numpy.ndarray"),
    "m": (None, TypeError, "m must be an array on the GPU, got NoneType"),
    "s": ("float64", TypeError, "s must be float32, got float64"),
    "g": ("short", ValueError, "g must have the shape (2, 3) and the strides (3, 1) of x"),
    "b": ("readonly", ValueError, "b must be writeable, got a read-only array"),
}


@pytest.mark.parametrize("name", BAD_ARGUMENTS)
def test_bad_arguments_of_the_kernel(name):
    value, kind, text = BAD_ARGUMENTS[name]
    if isinstance(value, str):
        value = {
            "float64": lambda: cuda.to_device(X32.astype(np.float64)),
            "short": lambda: cuda.to_device(X32[:1]),
            "readonly": lambda: interface(is_readonly=True),
        }[value]()
    arrays = dict(zip("xgsmb", on_gpu(*[X32] * 5), strict=True)) | {name: value}
    h = kernels.hyper(lr=0.1, momentum=0.9, centered=True)
    with pytest.raises(kind, match=re.escape(text)):
        kernels.cuda.update(*arrays.values(), h)


def test_whole_numbers_in_the_kernel():
    x = cuda.to_device(np.ones(3, np.int32))
    with pytest.raises(TypeError, match="x must be float64, float32 or float16, got int32"):
        kernels.cuda.update(x, x, x, None, None, kernels.hyper(lr=0.1))
