"""The minimizer on a GPU: what needs none."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from cuda_types import NEWEST, NOTES, array, each_capability, run_of
from numba import types
from scipy.optimize import rosen, rosen_der

import rmsfast
from rmsfast.core.cuda import auto, numeric, terms
from rmsfast.objective import Objective

TESTS = Path(__file__).parent
SIMULATOR = {"NUMBA_ENABLE_CUDASIM": "1"}


# Arrays of other libraries, by stand-ins whose memory is the host's -------------------------------

OTHERS = """
import numpy as np, rmsfast

class DLPack:
    def __init__(self, array):
        self.array = array

    def __dlpack_device__(self):
        return 2, 0  # CUDA memory

    def __dlpack__(self, *, stream):
        assert stream == 1  # the default one, on which kernels read
        return self.array.__dlpack__()

class Interface:
    def __init__(self, array):
        interface = array.__array_interface__
        names = ("shape", "typestr", "data", "strides")
        self.array = array
        self.__cuda_array_interface__ = {name: interface[name] for name in names} | {"version": 3}

def bowl(x, centre, kind):
    g = np.zeros((x.size, 2))[:, :1]  # with gaps
    g[:, 0] = 2.0 * (x.copy_to_host() - centre.array)
    return kind(np.array(0.25 * (g * g).sum())), kind(g)

x0, centre = np.arange(4.0), np.array([1.0, -1.0, 0.5, 2.0])
options = dict(lr=0.1, maxiter=20)
"""


@pytest.mark.parametrize("kind", ["DLPack", "Interface"])
def test_functions_of_other_libraries(run_python, kind):
    """Values of no dimension, gradients with gaps: they are read where they are."""
    code = f"""
there = rmsfast.rmsprop(bowl, x0, (Interface(centre), {kind}), True, device="cuda", **options)
here = rmsfast.rmsprop(
    lambda x: (np.sum((x - centre) ** 2), 2.0 * (x - centre)), x0, jac=True, **options
)
np.testing.assert_allclose(there.x, here.x, rtol=1e-12)
np.testing.assert_allclose(there.fun, here.fun, rtol=1e-12)
print("done")
"""
    assert run_python(OTHERS + code, **SIMULATOR) == "done\n"


@pytest.mark.parametrize("kind", ["DLPack", "Interface"])
def test_arguments_of_other_libraries(run_python, kind):
    code = f"""
fun = rmsfast.Objective.from_terms(
    lambda i, x, a, b: a[i, 0] * x[i] * x[i] + b[i] * x[i],
    lambda i, x, a, b: 2.0 * a[i, 0] * x[i] + b[i],
)
a, b = np.arange(1.0, 9.0).reshape(2, 4).T, np.ones((1, 4))[0]
there = rmsfast.rmsprop(fun, x0, ({kind}(a), {kind}(b)), device="cuda", **options)
here = rmsfast.rmsprop(fun, x0, (a, b), **options)
np.testing.assert_allclose(there.x, here.x, rtol=1e-12)
print("done")
"""
    assert run_python(OTHERS + code, **SIMULATOR) == "done\n"


# Compiled without a GPU: the simulator does not type-check ---------------------------------------

NO_FLAGS, ALL_FLAGS = (False,) * 7, (True,) * 7
KINDS = {  # the switches after T and flags
    "plain": (NO_FLAGS, False, False, False, False, False, False, False, False),
    "fused": (ALL_FLAGS, True, True, False, False, True, True, True, False),
    "stepwise": (ALL_FLAGS, True, True, True, True, True, True, False, False),
    "stored": (ALL_FLAGS, True, True, True, True, True, True, True, True),
}

each_dtype = pytest.mark.parametrize("T", [np.float64, np.float32], ids=lambda T: T.__name__)
each_kind = pytest.mark.parametrize("name", KINDS)


def term(i, x, a):
    """A term that reads its neighbour, and an argument."""
    return a[i] * (x[(i + 1) % x.size] - x[i]) * x[i]


def grad(i, x, a):
    """Not its derivative, which is not asked for here."""
    return a[i] * x[i]


OBJECTIVE = Objective.from_terms(term, grad)


def kind_of(name, T):
    return numeric.Kind(T, *KINDS[name])


def given(name, T):
    """Term, gradient, and the type of their arguments."""
    if name == "stored":
        return None, None, types.Tuple(())
    return OBJECTIVE.term, OBJECTIVE.grad, types.Tuple((array(T),))


@pytest.fixture
def compile_lean(compile_ptx):
    """Compile a kernel for a capability: the text of the PTX. Nothing is in local memory."""

    def compile_for(kernel, signature, cc):
        ptx = compile_ptx(kernel, signature, cc)
        assert not re.search(r"\.local\b", ptx)
        return ptx

    return compile_for


def count(ptx, instruction):
    """How often an instruction stands in the text."""
    return len(re.findall(rf"\s{instruction}\s", ptx))


@each_capability
@each_dtype
@each_kind
def test_sweep(compile_lean, name, T, cc):
    term, grad, args = given(name, T)
    kernel = numeric.sweep_kernel(term, grad, kind_of(name, T))
    ptx = compile_lean(kernel, (run_of(T), NOTES, args), cc)
    width = np.dtype(T).itemsize * 8
    assert count(ptx, rf"sqrt\.rn\.f{width}") >= 1
    assert count(ptx, r"bar\.sync") >= 1
    if T is np.float32:
        assert count(ptx, r"(sqrt|div)\.rn\.f64") == 0


def test_a_fused_step_stores_two_words_per_variable(compile_ptx):
    """In float32: what a block measures is stored in float64, and so is told apart."""
    term, grad, args = given("plain", np.float32)
    kernel = numeric.sweep_kernel(term, grad, kind_of("plain", np.float32))
    ptx = compile_ptx(kernel, (run_of(np.float32), NOTES, args), (9, 0))
    copies = count(ptx, r"sqrt\.rn\.f32")  # of the body of the loop
    assert count(ptx, r"st\.global\.f32") == 2 * copies > 0


@each_capability
@each_dtype
@each_kind
def test_settle(compile_lean, name, T, cc):
    signature = NOTES, array(np.float64), types.int64
    for first, last in ((True, True), (True, False), (False, True)):
        compile_lean(numeric.settle_kernel(kind_of(name, T), first, last), signature, cc)


@each_capability
@each_dtype
@pytest.mark.parametrize("name", ["stepwise", "stored"])
@pytest.mark.parametrize("squares", [False, True])
def test_norm(compile_lean, squares, name, T, cc):
    _, grad, args = given(name, T)
    compile_lean(numeric.norm_kernel(grad, kind_of(name, T), squares), (run_of(T), NOTES, args), cc)
    ptx = compile_lean(numeric.scale_kernel(squares), (NOTES,), cc)
    assert count(ptx, r"sqrt\.rn\.f64") == squares


@each_capability
@each_dtype
def test_the_rest(compile_lean, T, cc):
    term, grad, args = given("stepwise", T)
    compile_lean(numeric.value_kernel(term), (run_of(T), NOTES, args), cc)
    for F in (np.float32, np.float64):
        compile_lean(terms.keep_kernel(), (NOTES, array(T, 2), array(F), array(T)), cc)
    compile_lean(terms.gradient_kernel(grad), (array(T), array(T), args), cc)


@each_capability
@each_dtype
@pytest.mark.parametrize(("stored", "bounded"), [(False, True), (True, False)])
def test_auto(compile_lean, stored, bounded, T, cc):
    """Each kernel of a round; beyond sums a float32 run computes in float32."""
    w, kind = array(T, 2), auto.Kind(T, bounded, short=bounded)
    term, grad, args = given("stored" if stored else "plain", T)
    passes = [
        (auto.measure_kernel(term, grad, kind), (w, NOTES, args)),
        (auto.average_kernel(T), (w, NOTES)),
        (auto.metric_kernel(T), (w, NOTES)),
        (auto.first_loop_kernel(T, bounded), (w, NOTES, types.int64)),
        (auto.second_loop_kernel(T, bounded), (w, NOTES, types.int64)),
        (auto.move_kernel(T, bounded, stored), (w, NOTES, array(T))),
    ]
    for kernel, signature in passes:
        ptx = compile_lean(kernel, signature, cc)
        assert count(ptx, r"bar\.sync") >= 1
        width = np.dtype(T).itemsize * 8
        assert count(ptx, rf"(ld|st)\.global\.f{width}") >= 1
        if T is np.float32:
            assert count(ptx, r"(sqrt|div)\.rn\.f64") <= 2  # of scalars: bounds on the metric
    decisions = [
        (auto.judge_kernel(kind, stored), (NOTES,)),
        (auto.settle_average_kernel(), (NOTES,)),
        (auto.settle_metric_kernel(), (NOTES,)),
        (auto.settle_first_loop_kernel(T, bounded), (NOTES, types.int64)),
        (auto.settle_second_loop_kernel(), (NOTES, types.int64)),
        (auto.settle_move_kernel(), (NOTES,)),
    ]
    for kernel, signature in decisions:
        assert count(compile_lean(kernel, signature, cc), r"bar\.sync") >= 1


@each_kind
def test_the_newest_capability(compile_lean, name):
    test_sweep(compile_lean, name, np.float64, NEWEST)


def test_auto_for_the_newest_capability(compile_lean):
    test_auto(compile_lean, False, True, np.float64, NEWEST)


# Without a GPU -----------------------------------------------------------------------------------

WITHOUT = """
import numpy as np, rmsfast
from rmsfast.core.cuda import target
import rmsfast.device_minimize as there
there.why_not = lambda: "there is no GPU"
fun = rmsfast.Objective.from_terms(lambda i, x: x[i], lambda i, x: 1.0)
try:
    rmsfast.rmsprop(fun, np.ones(2), device="cuda", lr=0.1)
except RuntimeError as error:
    print(error)
"""


def test_without_a_gpu_one_sentence_says_why(run_python):
    assert run_python(WITHOUT) == "device='cuda' needs a GPU here: there is no GPU\n"


def test_without_a_cuda_package_the_rest_works(run_python):
    hide = "import importlib.util as u; find = u.find_spec\n"
    hide += "u.find_spec = lambda n, *a: None if n.startswith('numba_cuda') else find(n, *a)\n"
    last = "\nprint(rmsfast.rmsprop(fun, np.ones(2), lr=0.1, maxiter=1).nit)"
    told = run_python(hide + WITHOUT.replace("there.why_not = ", "_ = ") + last).splitlines()
    assert told[0].startswith("device='cuda' needs a GPU here: there is no CUDA package numba_cuda")
    assert told[1:] == ["1"]


@pytest.mark.parametrize("device", ["gpu", "CUDA", 0, None])
def test_unknown_devices(device):
    with pytest.raises(ValueError, match="^device must be 'cpu' or 'cuda', got "):
        rmsfast.rmsprop(OBJECTIVE, np.ones(2), (np.ones(2),), device=device)


# The example -------------------------------------------------------------------------------------

EXAMPLE = Path(__file__).parents[1] / "examples" / "cuda_rosenbrock.py"

IN_SIMULATOR = """
import runpy, sys
example = runpy.run_path(sys.argv[1])
example["AUTO"]["maxiter"] = 6
example["main"](["--n", "4", "--steps", "6"])
"""

NO_GPU = """
import runpy, sys
from rmsfast import device_minimize
device_minimize.why_not = lambda: "there is no GPU"
try:
    runpy.run_path(sys.argv[1])["main"]([])
except SystemExit as end:
    print(end)
"""


def test_the_example_finds_what_the_cpu_finds(run_python):
    printed = run_python(IN_SIMULATOR, EXAMPLE, **SIMULATOR)
    distances = re.findall(r"the points found differ by (\S+)", printed)
    assert len(distances) == 2
    assert all(float(distance) < 1e-12 for distance in distances)
    assert re.findall(r"(\d+) evaluations of", printed) == ["7", "7"]


def test_the_example_ends_with_a_sentence_where_there_is_no_gpu(run_python):
    expected = "This example cannot run: device='cuda' needs a GPU here: there is no GPU.\n"
    assert run_python(NO_GPU, EXAMPLE) == expected


def test_the_objective_of_the_example_is_that_of_the_collection():
    """Problem 21 of Moré, Garbow and Hillstrom (1981), written by others in SciPy's way."""
    example = runpy.run_path(str(EXAMPLE))
    x = np.random.default_rng(0).normal(size=10)
    f, g = example["valleys"](x)
    pairs = x.reshape(-1, 2)
    np.testing.assert_allclose(f, sum(rosen(pair) for pair in pairs), rtol=1e-13)
    np.testing.assert_allclose(g, np.concatenate([rosen_der(pair) for pair in pairs]), rtol=1e-12)
