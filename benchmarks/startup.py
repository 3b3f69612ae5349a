"""The time until the first result in a new process.

``python -m benchmarks.startup`` times new Python processes: with an empty cache of compiled
code, which the first run after an installation has, and with a full one. (Files that the
operating system has not yet read from the disk cost more than either.)
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.report import machine, save, table

COLD, WARM, OWN_RUNS = 2, 15, 5  # processes of each kind

NOTHING = "pass"
PEERS = "import numba, scipy.optimize"
IMPORT = "import numba, scipy.optimize, rmsfast"
FIRST = """
from scipy.optimize import minimize
import rmsfast
f = rmsfast.objectives.rosenbrock
assert minimize(f, f.x0, jac=True, method=rmsfast.rmsprop).success
"""
NUMBA = """
import sys
import scipy.optimize
sys.path.insert(0, {folder!r})
import peer
assert peer.fun(2.0) == 4.0
"""
PEER = """
import numba

@numba.njit("float64(float64)", cache=True)
def fun(x):
    return x * x
"""
SCIPY = """
from scipy.optimize import minimize, rosen, rosen_der
assert minimize(rosen, [-1.2, 1.0], jac=rosen_der, method="L-BFGS-B").success
"""
OWN = """
import numba
import numpy as np
import rmsfast
from scipy.optimize import minimize
{decorated}
import time
start = time.perf_counter()
result = minimize({arguments}, method=rmsfast.rmsprop)
assert result.success
print(time.perf_counter() - start)
"""
VALUE_AND_GRADIENT = """
@numba.njit
def fun(x):
    r = x[1] - x[0] * x[0]
    g = np.array([-400.0 * x[0] * r - 2.0 * (1.0 - x[0]), 200.0 * r])
    return 100.0 * r * r + (1.0 - x[0]) ** 2, g
"""
VALUE = """
@numba.njit
def fun(x):
    return 100.0 * (x[1] - x[0] * x[0]) ** 2 + (1.0 - x[0]) ** 2
"""
IN_PLACE = """
@rmsfast.Objective
def fun(x, g):
    r = x[1] - x[0] * x[0]
    g[0] = -400.0 * x[0] * r - 2.0 * (1.0 - x[0])
    g[1] = 200.0 * r
    return 100.0 * r * r + (1.0 - x[0]) ** 2
"""
OWN_OBJECTIVES = {
    "returns value and gradient": (VALUE_AND_GRADIENT, "fun, [-1.2, 1.0], jac=True"),
    "writes the gradient in place": (IN_PLACE, "fun, [-1.2, 1.0], jac=True"),
    "value only, finite differences": (VALUE, "fun, [-1.2, 1.0]"),
}


def process(code: str, cache: str) -> tuple[float, str]:
    """Run `code` in a new process; return its wall time in seconds and what it prints."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return time.perf_counter() - start, done.stdout


def cold(code: str) -> float:
    """Return the median time with an empty cache."""
    times = []
    for _ in range(COLD):
        with tempfile.TemporaryDirectory() as cache:
            times.append(process(code, cache)[0])
    return float(np.median(times))


def warm(codes: dict[str, str], cache: str) -> dict[str, list[float]]:
    """Return times with a full cache, the codes in turn."""
    times: dict[str, list[float]] = {name: [] for name in codes}
    for code in codes.values():
        process(code, cache)
    for _ in range(WARM):
        for name, code in codes.items():
            times[name].append(process(code, cache)[0])
    return times


def beyond(longer: list[float], shorter: list[float]) -> str:
    """Return the median of what each run took longer than the one beside it, and the quartiles.

    On a busy machine a pair is slow together. Of 15 pairs drawn from 60 of the two imports the
    median has a standard deviation of 15 %, the difference of two medians of five has 40 %.
    """
    low, middle, high = np.percentile(np.subtract(longer, shorter), (25, 50, 75))
    return f"{1000 * middle:.0f} ms ({1000 * low:.0f} to {1000 * high:.0f})"


def own(decorated: str, arguments: str, cache: str) -> float:
    """Return the median time of the first `minimize` with an objective of the user's own."""
    code = OWN.format(decorated=decorated, arguments=arguments)
    process(code, cache)
    return float(np.median([float(process(code, cache)[1]) for _ in range(OWN_RUNS)]))


def main() -> str:
    """Measure, write the page, and return the tables."""
    with tempfile.TemporaryDirectory() as cache:
        Path(cache, "peer.py").write_text(PEER, encoding="utf-8")
        codes = {
            "Python alone": NOTHING,
            "import numba, scipy.optimize": PEERS,
            "import numba, scipy.optimize, rmsfast": IMPORT,
            "import numba, scipy.optimize, and one cached numba function": NUMBA.format(
                folder=cache
            ),
            "first result with rmsfast": FIRST,
            "first result with L-BFGS-B, no numba": SCIPY,
        }
        times = warm(codes, cache)
        owned = {name: own(*parts, cache) for name, parts in OWN_OBJECTIVES.items()}
    rows = [(name, f"{np.median(values):.2f} s") for name, values in times.items()]
    rows.append(("first result with rmsfast, empty cache", f"{cold(FIRST):.2f} s"))
    added = beyond(
        times["import numba, scipy.optimize, rmsfast"], times["import numba, scipy.optimize"]
    )
    rows.append(("import of rmsfast beyond numba and scipy.optimize", added))
    first = table(("from the start of the process", "time"), rows)
    second = table(
        ("own objective, compiled by this call", "first minimize"),
        ((name, f"{value:.2f} s") for name, value in owned.items()),
    )
    page = f"""# Time to the first result

New processes in turn, median of {WARM} ({COLD} with an empty cache). What rmsfast adds to the
import is the median of {WARM} differences, each of two processes after one another, with the
quartiles: how far these are apart says how quiet the machine was. The result is that of `minimize`
on `rmsfast.objectives.rosenbrock`; L-BFGS-B minimizes `scipy.optimize.rosen`.

{first}

The first `minimize` with a function of one's own in a new process, once rmsfast itself is in the
cache, median of {OWN_RUNS}; it includes the compilation of the function, which
`@numba.njit(cache=True)` saves too:

{second}

{machine()}

`python -m benchmarks.startup` writes this page.
"""
    save("startup.md", page)
    overview = f"{first}\n\n{second}"
    print(overview)
    return overview


if __name__ == "__main__":
    main()
