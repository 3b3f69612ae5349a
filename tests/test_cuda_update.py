"""The update of arrays on a GPU: what needs none."""

from pathlib import Path

import pytest

TESTS = Path(__file__).parent
SIMULATOR = {"NUMBA_ENABLE_CUDASIM": "1"}


def test_the_example_of_the_kernels_runs(run_python):
    code = "import doctest, rmsfast; print(doctest.testmod(rmsfast.kernels.cuda))"
    assert run_python(code, **SIMULATOR) == "TestResults(failed=0, attempted=7)\n"


# Arrays of other libraries, by stand-ins whose memory is the host's -------------------------------

STAND_INS = """
import numpy as np, rmsfast, sys, types
from rmsfast import device

class DLPack:
    '''An array of a library that has DLPack alone.'''

    kind = 2  # CUDA memory

    def __init__(self, array):
        self.array, self.streams = array, []

    def __dlpack_device__(self):
        return self.kind, 0

    def __dlpack__(self, *, stream=None):
        self.streams.append(stream)
        return self.array.__dlpack__()

class Interface:
    def __init__(self, array, **more):
        interface = array.__array_interface__
        names = ("shape", "typestr", "data", "strides")
        self.interface = {name: interface[name] for name in names} | {"version": 3, **more}

    @property
    def __cuda_array_interface__(self):
        return self.interface

class Both(DLPack, Interface):
    '''As of JAX: the interface names no stream, DLPack is asked when the array is made.'''

    def __init__(self, array):
        DLPack.__init__(self, array)
        Interface.__init__(self, array, version=2, data=(array.ctypes.data, True))

class Tensor(Interface):
    '''As of PyTorch: one with a gradient refuses.'''

    device, requires_grad = "cuda:0", True

    @property
    def __cuda_array_interface__(self):
        if self.requires_grad:
            raise RuntimeError("Can't get __cuda_array_interface__ on Variable that requires grad.")
        return self.interface

    def detach(self):
        other = object.__new__(type(self))
        other.interface, other.requires_grad = self.interface, False
        return other

x, g = np.linspace(-1.0, 1.0, 12).reshape(3, 4), np.linspace(2.0, 1.0, 12).reshape(3, 4)
expected = x.copy()
cpu, gpu = rmsfast.RMSProp(lr=0.1), rmsfast.RMSProp(lr=0.1)
cpu.update(expected, g)
"""


@pytest.mark.parametrize(
    "code",
    [
        "grads = Both(g); gpu.update(Interface(x), grads); assert grads.streams == [1]",
        "grads = Both(g); gpu.update(Interface(x), grads, stream=7); assert grads.streams == [7]",
        "params = DLPack(x); gpu.update(params, DLPack(g)); assert params.streams == [1]",
        "params = DLPack(x); gpu.update(params, DLPack(g), stream=7); assert params.streams == [7]",
        "gpu.update(DLPack(x), Interface(g))",
        "gpu.update(DLPack(x.T), DLPack(g.T))",
        "gpu.update(Interface(x), Interface(g))",
        "gpu.update(Interface(x), Tensor(g))",
        "gpu.update([Tensor(x)], [Tensor(g)])",
    ],
)
def test_other_libraries(run_python, code):
    check = "assert np.allclose(x, expected, rtol=1e-15, atol=0) and not (x == g).any()"
    assert run_python(f"{STAND_INS}\n{code}\n{check}\nprint('done')", **SIMULATOR) == "done\n"


def test_whole_numbers_by_dlpack(run_python):
    code = """
try:
    gpu.update(DLPack(x.astype(int)), DLPack(g.astype(int)))
except TypeError as error:
    print(error)
"""
    printed = run_python(STAND_INS + code, **SIMULATOR)
    assert printed.startswith("params must be of one of the dtypes float64, float32, ")
    assert printed.endswith("got int64\n")


def test_host_memory_by_dlpack_is_no_gpu(run_python):
    code = """
DLPack.kind = 1
try:
    gpu.update(DLPack(x), DLPack(g))
except TypeError as error:
    print(error)
"""
    printed = run_python(STAND_INS + code, **SIMULATOR)
    assert printed == "params must be a NumPy array, got __main__.DLPack\n"


STREAMS = """
class Event:
    def record(self, stream):
        self.stream = stream
        done.append(("record", stream))

    def wait(self, stream):
        done.append((stream, "waits for", self.stream))

done = []
target = types.SimpleNamespace(
    external_stream=lambda address: address, default_stream=lambda: "default",
    event=lambda timing: Event(),
)
device.need_gpu = lambda: target
plain, five = (device.read("x", Interface(x, **more), 0, 0) for more in ({}, {"stream": 5}))
legacy = device.read("x", Interface(x, stream=1), 0, 0)
device.SIMULATED = False  # which knows no streams of others

def find(address, *leaves):
    done.clear()
    with device.stream_of(address, leaves) as stream:
        done.append("work")
    return stream

"""


def test_streams_are_found(run_python):
    """The caller's, then that of the first array, for PyTorch its current one."""
    code = """
torch = types.ModuleType("torch")
torch.Tensor = Tensor
current = types.SimpleNamespace(cuda_stream=77)
torch.cuda = types.SimpleNamespace(current_stream=lambda device: current)
assert find(None, plain) == find(0, five) == "default"
assert find(None, five) == 5 and find(9, five) == 9
sys.modules["torch"] = torch
tensor = device.locate("x", Tensor(x), 0, 0)
assert find(None, tensor) == 77
current.cuda_stream = 0
assert find(None, device.locate("x", Tensor(x), 0, 0)) == "default"
streams = dict(cuda_stream=11), dict(ptr=13), dict(__cuda_stream__=lambda: (0, 15))
for address, names in zip((11, 13, 15), streams):
    assert device.address_of_stream(types.SimpleNamespace(**names)) == address
assert device.address_of_stream(None) == 0 and device.address_of_stream(17) == 17
print("done")
"""
    assert run_python(STAND_INS + STREAMS + code, **SIMULATOR) == "done\n"


def test_streams_wait_for_one_another(run_python):
    """Where arrays name several; nothing is waited for where they name one, or it is asked for."""
    code = """
after = [("record", 5), ("default", "waits for", 5), "work"]
after += [("record", "default"), (5, "waits for", "default")]
for leaves in ((plain, five), (plain, legacy, five, five)):
    assert find(None, *leaves) == "default"
    assert done == after, done
assert find(None, five, legacy) == 5
assert done[:2] == [("record", "default"), (5, "waits for", "default")], done
for address, leaves in ((None, (five, five)), (None, (plain, legacy)), (0, (five, plain))):
    find(address, *leaves)
    assert done == ["work"]
print("done")
"""
    assert run_python(STAND_INS + STREAMS + code, **SIMULATOR) == "done\n"


UNREADABLE = {
    "a lazy conjugate": (
        "tensor = Tensor(g); tensor.is_conj = lambda: True",
        "grads must not be a lazy view, got a tensor with is_conj(): give tensor.resolve_conj()",
    ),
    "a lazy negative": (
        "tensor = Tensor(g); tensor.is_neg = lambda: True",
        "grads must not be a lazy view, got a tensor with is_neg(): give tensor.resolve_neg()",
    ),
    "the other byte order": (
        "tensor = Interface(g.astype('>f8'))",
        "grads must be in the byte order of this machine, got >f8",
    ),
    "no whole elements apart": (
        "tensor = Interface(np.zeros((3, 4), 'f8, f4')['f0'])",
        "grads must fill one piece of memory on the GPU, got shape (3, 4) and strides (6, -1)",
    ),
    "between two elements": (
        "tensor = Interface(np.zeros(100, 'u1')[4:].view('f8').reshape(3, 4))",
        "grads must be aligned to its dtype float64, got the address 0x",
    ),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_memory_that_is_not_the_array(run_python, name):
    make, text = UNREADABLE[name]
    code = f"""
{make}
try:
    gpu.update(Interface(x), tensor)
except (TypeError, ValueError) as error:
    print(error)
"""
    assert run_python(STAND_INS + code, **SIMULATOR).startswith(text)


@pytest.mark.parametrize("array", ["DLPack(x)", "ours"])
def test_another_device(run_python, array):
    code = f"""
device.SIMULATED = False
ours = Interface(x)
ours.gpu_data = types.SimpleNamespace(  # as arrays of Numba say where they are
    context=types.SimpleNamespace(device=types.SimpleNamespace(id=0))
)
gpus = types.SimpleNamespace(get_current_device=lambda: types.SimpleNamespace(id=1))
device.need_gpu = lambda: gpus
try:
    device.read("params", {array}, 0, device.current_device())
except ValueError as error:
    print(error)
"""
    expected = "params must be on the current device, number 1, got one on 0\n"
    assert run_python(STAND_INS + code, **SIMULATOR) == expected


# Without a GPU -----------------------------------------------------------------------------------

ASK = """
import importlib.util, sys
import numpy as np
{before}
import rmsfast
assert not any(name.startswith(("numba.cuda", "numba_cuda")) for name in sys.modules)

class OnGpu:
    __cuda_array_interface__ = dict(shape=(2,), typestr="<f8", data=(64, False), version=3)

h = rmsfast.kernels.hyper(lr=0.1)
for ask in (
    lambda: rmsfast.RMSProp(lr=0.1).update(OnGpu(), OnGpu()),
    lambda: rmsfast.kernels.cuda.update(OnGpu(), OnGpu(), OnGpu(), None, None, h),
):
    try:
        ask()
    except RuntimeError as error:
        print(error)
"""
NO_PACKAGE = "importlib.util.find_spec = lambda name: None"
FAKE = """
import types
def no_device():
    raise ImportError("Error at driver init: Call to cuInit results in CUDA_ERROR_NO_DEVICE (100)")
fake = types.SimpleNamespace(
    __name__="numba.cuda", is_available={available}, cuda_error=lambda: {error!r},
    list_devices=lambda: [],
)
importlib.util.find_spec = lambda name: name == "numba_cuda"
import importlib
real = importlib.import_module
importlib.import_module = lambda name, *a: fake if name == "numba.cuda" else real(name, *a)
"""
INSTALL = 'install it with pip install "rmsfast[cuda12]" or "rmsfast[cuda13]"'
REASONS = {
    "no package": (
        NO_PACKAGE,
        f"there is no CUDA package numba_cuda or numba_cuda_mlir: {INSTALL}",
    ),
    "no driver": (
        FAKE.format(available="lambda: False", error="\nCUDA driver library cannot be found.\n"),
        "there is no CUDA driver: install NVIDIA's driver for the GPU of this machine",
    ),
    "no GPU": (
        FAKE.format(available="no_device", error=""),
        "there is no GPU: the CUDA driver finds no device that it may use",
    ),
    "no device": (
        FAKE.format(available="lambda: True", error=None),
        "there is no GPU: the CUDA driver finds no device that it may use",
    ),
    "no compiler": (  # numba-cuda without its extra
        FAKE.format(available="lambda: False", error=None).replace("lambda: []", "lambda: ['GPU']"),
        f"the compiler of the CUDA toolkit, NVVM, is not found: {INSTALL}",
    ),
    "a driver that is too old": (
        FAKE.format(available="lambda: False", error="CUDA_ERROR_SYSTEM_DRIVER_MISMATCH\n (803)"),
        "the CUDA driver does not start: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH (803)",
    ),
}


@pytest.mark.parametrize("name", REASONS)
def test_one_sentence_says_why_there_is_no_gpu(run_python, name):
    before, reason = REASONS[name]
    printed = run_python(ASK.format(before=before), NUMBA_ENABLE_CUDASIM="0", RMSFAST_CUDA="")
    assert printed == 2 * f"arrays on a GPU need a GPU here: {reason}\n"


ASKED = {
    "numba_cuda": (NO_PACKAGE, f"there is no CUDA package numba_cuda: {INSTALL}"),
    "numba_cuda_mlir": (NO_PACKAGE, f"there is no CUDA package numba_cuda_mlir: {INSTALL}"),
    "cupy": ("", "RMSFAST_CUDA must be numba_cuda or numba_cuda_mlir, got 'cupy'"),
}


@pytest.mark.parametrize("name", ASKED)
def test_the_package_may_be_asked_for(run_python, name):
    before, reason = ASKED[name]
    printed = run_python(ASK.format(before=before), NUMBA_ENABLE_CUDASIM="0", RMSFAST_CUDA=name)
    assert printed == 2 * f"arrays on a GPU need a GPU here: {reason}\n"


SUCCESSOR = """
import importlib, types
fake = types.SimpleNamespace(
    __name__="numba_cuda_mlir.cuda", is_available=lambda: True, list_devices=lambda: ["GPU"],
)
importlib.util.find_spec = lambda name: name in {found}
real = importlib.import_module
importlib.import_module = lambda name, *a: fake if name == fake.__name__ else real(name, *a)
from rmsfast.core.cuda.target import target, why_not
print(target() is fake, why_not())
"""


def test_the_successor_of_numba_cuda(run_python):
    """It is taken where it is asked for; alone it cannot compile the kernels yet."""
    alone = SUCCESSOR.format(found=("numba_cuda_mlir",))
    code = "import importlib.util\n" + alone
    switches = {"NUMBA_ENABLE_CUDASIM": "0"}
    printed = run_python(code, **switches, RMSFAST_CUDA="")
    assert printed.startswith(
        "True the CUDA package numba_cuda_mlir cannot compile the kernels yet"
    )
    assert run_python(code, **switches, RMSFAST_CUDA="numba_cuda_mlir") == "True \n"
    code = "import importlib.util\n" + SUCCESSOR.format(found=("numba_cuda", "numba_cuda_mlir"))
    assert run_python(code, **switches, RMSFAST_CUDA="numba_cuda_mlir") == "True \n"


def test_stream_is_no_option_of_the_cpu():
    import numpy as np

    import rmsfast

    x = np.ones(2)
    with pytest.raises(TypeError, match="stream is for arrays on a GPU, got 0 with other ones"):
        rmsfast.RMSProp(lr=0.1).update(x, np.ones(2), stream=0)
    assert (x == 1).all()
