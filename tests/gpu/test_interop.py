"""What only a real GPU shows: other libraries, streams, sizes, and no error of memory."""

import importlib.metadata
import shutil
import subprocess
import sys

import numpy as np
import pytest
from numba import cuda
from numpy.testing import assert_allclose

import rmsfast
from rmsfast import kernels

pytestmark = pytest.mark.gpu

RTOL = 8 * np.finfo(np.float32).eps
X = np.linspace(-1.0, 1.0, 10_007, dtype=np.float32)
G = np.linspace(2.0, 1.0, 10_007, dtype=np.float32)
OPTIONS = {"lr": 0.1, "momentum": 0.9, "clip_norm": 1.0}


@pytest.fixture
def expected():
    """Three updates on the CPU."""
    x, optimizer = X.copy(), rmsfast.RMSProp(**OPTIONS)
    for _ in range(3):
        optimizer.update(x, G)
    return x


def assert_close(actual, wanted):
    assert_allclose(actual, wanted, rtol=RTOL, atol=RTOL)


def test_pytorch(expected):
    import torch

    x = torch.tensor(X, device="cuda", requires_grad=True)
    g, optimizer = torch.tensor(G, device="cuda"), rmsfast.RMSProp(**OPTIONS)
    for _ in range(3):
        optimizer.update([x], [g])
    assert_close(x.detach().cpu().numpy(), expected)


def test_pytorch_on_a_stream_of_its_own(expected):
    """The current stream is taken: the gradient is ready there, and what follows waits."""
    import torch

    stream = torch.cuda.Stream()
    optimizer, big = rmsfast.RMSProp(**OPTIONS), torch.ones(4096, 4096, device="cuda")
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        x = torch.tensor(X, device="cuda")
        for _ in range(3):
            late = big @ big  # keeps the stream busy until the gradient is made
            g = torch.tensor(G, device="cuda") + 0 * late[0, 0]
            optimizer.update(x, g)
        end = x.clone()
    stream.synchronize()
    assert_close(end.cpu().numpy(), expected)


def test_pytorch_optimizer_side_by_side():
    import torch

    rng = np.random.default_rng(0)
    x = torch.tensor(rng.standard_normal((300, 70)), device="cuda", requires_grad=True)
    theirs = torch.optim.RMSprop([x], lr=0.01, momentum=0.9, centered=True, weight_decay=0.1)
    y = x.detach().clone()
    ours = rmsfast.RMSProp(preset="torch", momentum=0.9, centered=True, weight_decay=0.1)
    for _ in range(5):
        x.grad = torch.tensor(rng.standard_normal((300, 70)), device="cuda")
        ours.update(y, x.grad)
        theirs.step()
    assert_allclose(y.cpu().numpy(), x.detach().cpu().numpy(), rtol=1e-9, atol=1e-9)


def test_pytorch_on_the_host_is_refused():
    import torch

    x = torch.ones(3, device="cuda")
    with pytest.raises(TypeError, match=r"grads must be an array on the GPU, got torch\.Tensor"):
        rmsfast.RMSProp(lr=0.1).update(x, torch.ones(3))


def test_cupy(expected):
    import cupy

    optimizer = rmsfast.RMSProp(**OPTIONS)
    with cupy.cuda.Stream(non_blocking=True) as stream:
        x, g = cupy.asarray(X), cupy.asarray(G)
        for _ in range(3):
            optimizer.update(x, g)
    stream.synchronize()
    assert_close(cupy.asnumpy(x), expected)


class OnlyDLPack:
    """A tensor that shows DLPack and nothing else."""

    def __init__(self, tensor):
        self.__dlpack__, self.__dlpack_device__ = tensor.__dlpack__, tensor.__dlpack_device__


def test_dlpack(expected):
    import torch

    x, g = torch.tensor(X, device="cuda"), torch.tensor(G, device="cuda")
    optimizer = rmsfast.RMSProp(**OPTIONS)
    for _ in range(3):
        optimizer.update(OnlyDLPack(x), OnlyDLPack(g))
    torch.cuda.synchronize()
    assert_close(x.cpu().numpy(), expected)


@pytest.mark.parametrize("kind", ["as it is", "OnlyDLPack"])
def test_functions_of_tensors(kind):
    import torch

    seen = OnlyDLPack if kind == "OnlyDLPack" else lambda tensor: tensor
    centre = torch.linspace(-1.0, 1.0, X.size, device="cuda")

    def bowl(x):
        d = torch.as_tensor(x, device="cuda") - centre
        return seen((d * d).sum()), seen(2.0 * d)

    there = rmsfast.rmsprop(bowl, X, jac=True, device="cuda", lr=0.1, maxiter=20)
    d = centre.cpu().numpy()
    here = rmsfast.rmsprop(
        lambda x: (((x - d) ** 2).sum(), 2 * (x - d)), X, jac=True, lr=0.1, maxiter=20
    )
    assert_allclose(there.x, here.x, rtol=1e-3, atol=1e-4)


def test_a_gradient_on_another_stream(expected):
    """The parameters' stream waits for it, and it for the update before memory is used again."""
    import torch

    stream, optimizer = torch.cuda.Stream(), rmsfast.RMSProp(**OPTIONS)
    big, x = torch.ones(4096, 4096, device="cuda"), cuda.to_device(X)
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        for _ in range(3):
            late = big @ big  # keeps the stream busy until the gradient is made
            g = torch.tensor(G, device="cuda") + 0 * late[0, 0]
            optimizer.update(x, g)
            del g
            torch.zeros(X.size, device="cuda").fill_(torch.nan)  # takes the gradient's memory
    assert_close(x.copy_to_host(), expected)


def test_a_lazy_conjugate_is_refused():
    import torch

    x = torch.ones(3, dtype=torch.complex64, device="cuda")
    with pytest.raises(ValueError, match=r"grads must not be a lazy view, .* is_conj\(\)"):
        rmsfast.RMSProp(lr=0.1).update(x, (1j * x).conj())


def test_more_elements_than_an_int32_counts():
    """float16, so that all fits into the memory of a large GPU."""
    n = 2**31 + 5
    free, _ = cuda.current_context().get_memory_info()
    assert free > 9 * n, "this test needs 20 GB of GPU memory"
    x, g = cuda.device_array(n, np.float16), cuda.device_array(n, np.float16)
    fill_half[4096, 256](x, np.float16(1.0))
    fill_half[4096, 256](g, np.float16(2.0))
    rmsfast.RMSProp(lr=0.25, rho=0.0).update(x, g)
    ends = [x[k : k + 1].copy_to_host()[0] for k in (0, 2**31 - 1, 2**31, n - 1)]
    assert ends == [0.75] * 4


@cuda.jit
def fill_half(array, value):
    for i in range(cuda.grid(1), array.size, cuda.gridsize(1)):
        array[i] = value


def test_a_thousand_arrays():
    rng = np.random.default_rng(1)
    x = [rng.standard_normal(int(n)) for n in rng.integers(1, 5000, 1000)]
    g = [rng.standard_normal(a.size) for a in x]
    y = list(map(cuda.to_device, x))
    cpu, gpu = (rmsfast.RMSProp(lr=0.1, clip_norm=1.0) for _ in range(2))
    for _ in range(2):
        cpu.update(x, g)
        gpu.update(y, list(map(cuda.to_device, g)))
    for a, e in zip(y, x, strict=True):
        assert_allclose(a.copy_to_host(), e, rtol=1e-14, atol=1e-14)


def test_the_rule_in_a_kernel_of_ones_own():
    hyper = kernels.hyper(lr=0.05, rho=0.9)

    @cuda.jit
    def minimize(x, steps):
        i = cuda.grid(1)
        if i < x.size:
            s = 0.0
            for _ in range(steps):
                x[i], s, _, _ = kernels.step(x[i], 2.0 * x[i], s, 0.0, 0.0, hyper)

    x = np.linspace(-3.0, 3.0, 1000)
    y, s = cuda.to_device(x), np.zeros(1000)
    minimize[128, 8](y, 20)  # Numba warns of fewer blocks
    for _ in range(20):
        kernels.update(x, 2.0 * x, s, s[:0], s[:0], hyper)
    assert_allclose(y.copy_to_host(), x, rtol=1e-12, atol=1e-12)


def test_show_config(capsys):
    rmsfast.show_config()
    printed = capsys.readouterr().out
    assert "compute capability" in printed
    assert importlib.metadata.version("numba-cuda") in printed


def test_compute_sanitizer_finds_nothing():
    """No access beyond an array, and no race in shared memory."""
    sanitizer = shutil.which("compute-sanitizer")
    assert sanitizer, "compute-sanitizer, of the CUDA toolkit, must be on the path"
    code = """
import numpy as np, rmsfast
from numba import cuda
for dtype in (np.float64, np.float32, np.float16):
    x = [cuda.to_device(np.ones(n, dtype)) for n in (1, 1023, 1024, 1025, 5000)]
    g = [cuda.to_device(np.ones(a.size, dtype)) for a in x]
    options = dict(momentum=0.9, centered=True, clip_norm=1.0, ema_decay=0.9)
    optimizer = rmsfast.RMSProp(lr=0.1, skip_nonfinite=True, **options)
    for _ in range(2):
        optimizer.update(x, g)
cuda.synchronize()
"""
    for tool in ("memcheck", "racecheck", "initcheck"):
        command = [sanitizer, "--tool", tool, "--error-exitcode", "9", sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
