"""What all tests share: a cache of compiled code, Python in a fresh process, pictures."""

import importlib.metadata
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import hypothesis
import pytest

REPOSITORY = Path(__file__).parents[1]

hypothesis.settings.register_profile("rmsfast", deadline=None, derandomize=True)
hypothesis.settings.load_profile("rmsfast")


def pytest_addoption(parser):
    """Let the tests of a GPU run without one."""
    text = "run tests of the GPU on this processor, by the code that numba-cuda compiles"
    parser.addoption("--emulated", action="store_true", help=text)


def pytest_sessionstart(session):
    """Take the place of the CUDA driver, once Numba may be imported."""
    if session.config.getoption("emulated"):
        import emulated  # noqa: F401


def pytest_configure(config):
    """Send Numba's cache to a directory that the tests own; draw without a screen.

    It lives under pytest's own cache, so that the second run compiles little, and
    ``pytest --cache-clear`` empties it; with ``-p no:cacheprovider`` it is a new temporary
    directory. There is one per version of Numba, since two would overwrite each other's
    files; the version of Python stands in Numba's file names. Numba reads the variable when
    it is imported, so nothing may have imported it yet.
    """
    assert "numba" not in sys.modules, "Numba was imported before its cache could be moved"
    name = f"numba-{importlib.metadata.version('numba')}"
    cache = getattr(config, "cache", None)
    folder = tempfile.mkdtemp(name) if cache is None else cache.mkdir(name)
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
    os.environ["MPLBACKEND"] = "agg"


@pytest.fixture
def pyplot():
    """pyplot, whose figures are closed in the end."""
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


@pytest.fixture(scope="session")
def run_python():
    """Run code in a fresh process: ``run_python(code, *arguments, path=None, **environment)``.

    Warnings are errors there. `path` is where the package is taken from, the repository if
    None. Returns what the code prints; fails, showing what it wrote, if it does not end well.
    """

    def run(code, *arguments, path=REPOSITORY, **environment):
        process = subprocess.run(
            [sys.executable, "-W", "error::Warning", "-c", code, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(path), **environment},
            cwd=path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert process.returncode == 0, process.stdout + process.stderr
        return process.stdout

    return run


_typed = {}  # what a kernel is before it is compiled for a capability, for all tests of a process


@pytest.fixture
def compile_ptx(monkeypatch):
    """Compile a kernel, or a Python function, for a capability: the text of the PTX."""
    from numba.cuda import compiler  # numba-cuda, which the extra `test` brings

    def compile_for(kernel, signature, cc):
        device = SimpleNamespace(compute_capability=cc)
        monkeypatch.setattr("numba.cuda.dispatcher.get_current_device", lambda: device)
        source = getattr(kernel, "py_func", kernel)
        if (source, signature) not in _typed:  # the first half of numba.cuda.compile_ptx
            _typed[source, signature], _ = compiler._compile_pyfunc_with_fixup(
                source, signature, device=False, abi="numba", cc=cc
            )
        (ptx,) = _typed[source, signature].get_asm_strs(cc=cc)
        assert f".target sm_{cc[0]}{cc[1]}" in ptx
        return ptx

    return compile_for
