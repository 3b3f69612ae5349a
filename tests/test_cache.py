"""What Numba keeps on disk: a second process compiles nothing, and nothing stale ever runs."""

import json
import os
import shutil
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "rmsfast"

# Minimize in several forms, and say what was compiled, found, or not found on disk.
RUN = """
import gc, json
from numba.core import event

compiled = []

class Listener(event.Listener):
    def on_start(self, event):
        compiled.append(str(event.data["dispatcher"]))
    def on_end(self, event):
        pass

event.register("numba:compile", Listener())
import numba
import numpy as np
import rmsfast
from numba.core.dispatcher import Dispatcher


def run():
    fun = rmsfast.objectives.rosenbrock
    results = []
    for options in ({}, {"maxcor": 0}, {"lr": 0.01, "maxiter": 9}, {"bounds": [(-2, 1)] * 2}):
        results.append(rmsfast.rmsprop(fun, [-1.2, 1.0], **options))
    for scheme in ("2-point", "3-point", "cs"):
        results.append(rmsfast.rmsprop(user, [-1.2, 1.0], finite_diff=scheme, maxiter=9))
    results.append(rmsfast.rmsprop(user, [-1.2, 1.0], jac=slope, maxiter=9))
    results.append(rmsfast.rmsprop(pair, [-1.2, 1.0], jac=True, maxiter=9))
    results.append(rmsfast.rmsprop(whole, [-1.2, 1.0], maxiter=9))
    results.append(rmsfast.rmsprop(lambda x: fun(x), [-1.2, 1.0], jac=True, maxiter=9))
    rmsfast.minimize.PARALLEL_SECONDS = 0.0
    results.append(rmsfast.rmsprop(user, [-1.2, 1.0], maxiter=9))
    solver = rmsfast.Solver(np.array([1.0, 2.0], dtype=np.float32))
    solver.tell(1.0, [1.0, 1.0])
    return [list(result.x) for result in results]

@numba.njit
def user(x):
    return x[0] * x[0] * x[0] * x[0] + x[1] * x[1]

@numba.njit
def slope(x):
    g = np.empty_like(x)
    g[0] = 4.0 * x[0] * x[0] * x[0]
    g[1] = 2.0 * x[1]
    return g

@numba.njit
def pair(x):
    return user(x), slope(x)

@rmsfast.Objective
def whole(x, g):
    g[:] = slope(x)
    return np.float32(user(x))

points = run()
ours = [d for d in gc.get_objects() if isinstance(d, Dispatcher)
        and d.py_func.__module__.split(".")[0] == "rmsfast"]
names = {repr(d) for d in ours}
print(json.dumps({
    "points": points,
    "hits": sum(sum(d.stats.cache_hits.values()) for d in ours),
    "misses": sorted(repr(d) for d in ours if d.stats.cache_misses),
    "compiled": sorted(c for c in compiled if c in names),
    "dispatchers": len(ours),
    "used": sorted(d.py_func.__name__ for d in ours if d.stats.cache_hits or d.stats.cache_misses),
}))
"""


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def runs(run_python):
    """Three processes, one after another, with one cache.

    The first finds what an earlier run of the tests left, if the sources are still the same.
    """
    folder = Path(os.environ["NUMBA_CACHE_DIR"]) / "three-processes"
    reports = []
    for _ in range(3):
        report = json.loads(run_python(RUN, NUMBA_CACHE_DIR=str(folder)))
        reports.append({**report, "files": files(folder)})
    return reports


def test_functions_of_every_kind_are_used(runs):
    assert runs[0]["dispatchers"] > 60
    assert {"advance_auto", "_run_auto", "rosenbrock"} <= {*runs[0]["used"]}
    assert {"forward", "central", "complex_step"} <= {*runs[0]["used"]}
    assert {"_in_place", "_separate", "_pair"} <= {*runs[0]["used"]}


@pytest.mark.parametrize("k", [1, 2])
def test_later_processes_compile_nothing(runs, k):
    assert runs[k]["misses"] == []
    assert runs[k]["compiled"] == []
    assert runs[k]["hits"] > 10


@pytest.mark.parametrize("k", [1, 2])
def test_cache_does_not_grow(runs, k):
    assert runs[k]["files"] == runs[0]["files"]
    assert runs[0]["files"]


def test_points_are_the_same(runs):
    assert runs[0]["points"] == runs[1]["points"] == runs[2]["points"]


# Some steps with each kind of learning rate, through the functions of several modules.
STEPS = """
import numpy as np, rmsfast
for lr in ("auto", 0.01):
    solver = rmsfast.Solver(np.array([-1.2, 1.0]), lr=lr)
    for _ in range(3):
        x = solver.ask()
        solver.tell((x * x * x * x).sum(), 4.0 * x * x * x)
    print(solver.ask().tolist())
"""
EDITS = [
    ("auto.py", "FIRST_STEP = 0.1 ", "FIRST_STEP = 0.05 "),
    ("rule.py", "u = g / denominator(v, h)", "u = 2 * g / denominator(v, h)"),
]


def test_edited_callee_reaches_its_callers(run_python, tmp_path):
    """Numba alone would go on running the old machine code of the callers in other files."""
    package, cache = tmp_path / "rmsfast", tmp_path / "cache"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    before = run_python(STEPS, path=tmp_path, NUMBA_CACHE_DIR=str(cache))
    for name, old, new in EDITS:
        source = package / "core" / name
        text = source.read_text()
        assert text.count(old) == 1
        source.write_text(text.replace(old, new))
    after = run_python(STEPS, path=tmp_path, NUMBA_CACHE_DIR=str(cache))
    changed = [a != b for a, b in zip(after.splitlines(), before.splitlines(), strict=True)]
    assert changed == [True, True]


EVALUATE = """
import numpy as np, rmsfast
from rmsfast.core import difference
print(rmsfast.objectives.booth([1.0, 2.0]))
print(difference.forward_step(1.0, 0.0, 2.0, 1e-8))
"""


def test_switched_off(run_python, tmp_path):
    off, on = tmp_path / "off", tmp_path / "on"
    output = run_python(EVALUATE, NUMBA_CACHE_DIR=str(off), RMSFAST_CACHE="0")
    assert files(off) == []
    assert output == run_python(EVALUATE, NUMBA_CACHE_DIR=str(on))
    assert files(on)


IMPORT = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import rmsfast
    import rmsfast.many
print(*[f"{each.category.__name__}: {each.message}" for each in caught], sep="\\n")
"""
UNKEPT = (
    "RuntimeWarning: compiled code cannot be kept on disk: neither the folder of rmsfast nor the "
    "user's cache is writable; set NUMBA_CACHE_DIR to a folder that is, or RMSFAST_CACHE=0\n"
)


def test_where_nothing_can_be_written_it_warns_once_and_goes_on(run_python, tmp_path):
    """Files stand where folders would be made: root, too, cannot write there."""
    package, file = tmp_path / "rmsfast", tmp_path / "file"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    file.touch()
    for folder in {source.parent for source in package.rglob("*.py")}:
        (folder / "__pycache__").touch()
    nowhere = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"), str(file / "cache"))
    nowhere["NUMBA_CACHE_DIR"] = str(file / "cache")
    before = files(tmp_path)
    output = run_python(IMPORT + EVALUATE, path=tmp_path, **nowhere)
    off = run_python(IMPORT + EVALUATE, path=tmp_path, **nowhere, RMSFAST_CACHE="0")
    assert output == UNKEPT + off.removeprefix("\n")
    assert files(tmp_path) == before


HEAVY = {"matplotlib", "numba.cuda", "torch", "sklearn", "jax", "pandas", "cupy"}


def test_import_is_light_and_compiles_nothing(run_python, tmp_path):
    code = "import sys, rmsfast\nprint(*sys.modules)"
    loaded = {*run_python(code, NUMBA_CACHE_DIR=str(tmp_path)).split()}
    assert "rmsfast.minimize" in loaded
    assert not loaded & HEAVY
    assert files(tmp_path) == []
