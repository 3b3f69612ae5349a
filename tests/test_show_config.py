"""`rmsfast.show_config` says what there is, and why there is no GPU."""

import importlib.metadata
import platform

import numba
import pytest

import rmsfast


def table(printed):
    """The rows that are printed: name -> values."""
    rows = {}
    for line in printed.splitlines():
        rows.setdefault(line[:16].strip(), []).append(line[17:])
    return rows


def test_versions_and_threads(capsys):
    rmsfast.show_config()
    rows = table(capsys.readouterr().out)
    names = ["rmsfast", "Python", "numba", "numpy", "scipy", "threads", "threading layer"]
    assert [*rows] == [*names, "CUDA target", "GPU"]
    assert rows["rmsfast"] == [rmsfast.__version__]
    for name in ("numba", "numpy", "scipy"):
        assert rows[name] == [importlib.metadata.version(name)]
    assert rows["Python"][0].startswith(platform.python_version())
    assert rows["threads"] == [str(numba.get_num_threads())]


def test_threading_layer(run_python):
    code = """
import numpy as np, rmsfast
rmsfast.kernels.parallel_update(*np.ones((5, 3)), rmsfast.kernels.hyper(lr=0.1))
rmsfast.show_config()
"""
    rows = table(run_python(code, NUMBA_THREADING_LAYER="workqueue", NUMBA_NUM_THREADS="1"))
    assert rows["threading layer"] == ["workqueue"]
    assert rows["threads"] == ["1"]


WITHOUT = "import importlib.util; importlib.util.find_spec = lambda name: None\n"
FAKE = """
import importlib, importlib.metadata, importlib.util, types
class Device:
    id, name, compute_capability = 3, b"NVIDIA H100", (9, 0)
fake = types.SimpleNamespace(
    __name__="numba.cuda", is_available=lambda: True, list_devices=lambda: [Device(), Device()],
)
importlib.util.find_spec = lambda name: name == "numba_cuda"
real, version = importlib.import_module, importlib.metadata.version
importlib.import_module = lambda name, *a: fake if name == "numba.cuda" else real(name, *a)
importlib.metadata.version = lambda name: "9.8" if name == "numba-cuda" else version(name)
"""
TARGETS = {
    "none": (
        WITHOUT,
        {"NUMBA_ENABLE_CUDASIM": "0"},
        "none",
        ["none: there is no CUDA package numba_cuda or numba_cuda_mlir: install it with pip install"
         ' "rmsfast[cuda12]" or "rmsfast[cuda13]"'],
    ),
    "two GPUs": (
        FAKE,
        {"NUMBA_ENABLE_CUDASIM": "0"},
        "numba_cuda 9.8",
        2 * ["3: NVIDIA H100, compute capability 9.0"],
    ),
    "the simulator": ("", {"NUMBA_ENABLE_CUDASIM": "1"}, "the simulator of Numba", ["simulated"]),
}  # fmt: skip


@pytest.mark.parametrize("name", TARGETS)
def test_cuda(run_python, name):
    before, switches, target, gpus = TARGETS[name]
    code = before + "import rmsfast; rmsfast.show_config()"
    rows = table(run_python(code, RMSFAST_CUDA="", **switches))
    assert rows["CUDA target"] == [target]
    assert rows["GPU"] == gpus
