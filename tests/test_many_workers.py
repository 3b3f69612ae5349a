"""Many problems on threads, on processes, and by functions like `map`: never a bit is different."""

import concurrent.futures
import inspect
import multiprocessing
import os
import pickle
import subprocess
import sys
import textwrap
import warnings

import joblib
import numba
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.optimize import Bounds
from test_many import NAMES, Each, chain, check, jit_gradient, jit_pair, jit_value, pair, together
from tqdm import auto as tqdm

import rmsfast
from rmsfast import many, minimize_many, schedules
from rmsfast.core import status

multiprocessing.set_forkserver_preload(["rmsfast.many"])  # processes start at once

# Where other tests of this process have started jax, it says that forks are dangerous.
pytestmark = pytest.mark.filterwarnings(r"ignore:os\.fork\(\) was called:RuntimeWarning")

K, N = 23, 3
RNG = np.random.default_rng(11)
X0S = RNG.uniform(-2, 2, (K, N))
ARGS = (Each(RNG.uniform(0.5, 20, K)),)
LOW, HIGH = X0S - RNG.uniform(0.1, 3, (K, N)), X0S + RNG.uniform(0.1, 3, (K, N))
LOW[3] = -np.inf
HIGH[[3, 5]] = np.inf

OPTIONS = {
    "auto": {},
    "no corrections": {"maxcor": 0},
    "numeric": {"lr": 0.05, "momentum": 0.5, "maxiter": 200},
    "schedule": {"lr": schedules.exponential(0.1, 0.98), "maxiter": 200},
    "plateau": {"lr": schedules.plateau(0.1, patience=10), "maxiter": 200},
}
each_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
BOXES = {"free": None, "shared": Bounds(-5, 5), "own": Bounds(LOW, HIGH)}
each_box = pytest.mark.parametrize("bounds", BOXES.values(), ids=BOXES)
OBJECTIVES = {
    "Objective": (chain, {}),
    "njit jac=True": (jit_pair, {"jac": True}),
    "njit fun, njit jac": (jit_value, {"jac": jit_gradient}),
    "njit": (jit_value, {"finite_diff": "2-point"}),
    "python": (pair, {"jac": True}),
}
each_objective = pytest.mark.parametrize("fun, keywords", OBJECTIVES.values(), ids=OBJECTIVES)


def solve(fun, workers, chunksize=None, bounds=None, x0s=X0S, args=ARGS, **options):
    return minimize_many(
        fun, x0s, together(args), bounds=bounds, workers=workers, chunksize=chunksize, **options
    )


def assert_equal(result, expected):
    assert type(result) is rmsfast.ManyResult
    for name in NAMES:
        one, other = getattr(result, name), getattr(expected, name)
        assert one.dtype == other.dtype
        assert_array_equal(one, other, err_msg=name)
    for name in ("x", "fun", "jac"):
        assert getattr(result, name).tobytes() == getattr(expected, name).tobytes()
    assert repr(result) == repr(expected)


# Threads -----------------------------------------------------------------------------------------


@each_option
@each_box
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_number_of_threads_does_not_matter(options, bounds, dtype):
    if dtype == np.float32 and bounds is BOXES["own"]:
        bounds = Bounds(LOW - 0.01, HIGH + 0.01)
    x0s = X0S.astype(dtype)
    expected = check(chain, x0s, ARGS, bounds=bounds, workers=1, **options)
    for workers in (None, 1, 2, 3, 4, 8, 100, -1, np.int64(2)):
        assert_equal(solve(chain, workers, bounds=bounds, x0s=x0s, **options), expected)


def test_threads_again_and_again():
    """Which thread solves which problem is different each time."""
    x0s = np.random.default_rng(0).uniform(-2, 2, (2000, N))
    args = (Each(np.random.default_rng(1).uniform(0.5, 20, 2000)),)
    expected = solve(chain, 1, x0s=x0s, args=args)
    for _ in range(20):
        assert_equal(solve(chain, 4, x0s=x0s, args=args), expected)


def test_default_is_numbas_number_of_threads(monkeypatch):
    started = []
    start = many.start_new_thread
    monkeypatch.setattr(many, "start_new_thread", lambda *args: started.append(1) or start(*args))

    def threads(workers):
        started.clear()
        solve(chain, workers)
        return len(started)

    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        assert threads(None) == 1
    finally:
        numba.set_num_threads(before)
    assert [threads(count) for count in (None, 3, -1)] == [before, 3, min(os.cpu_count(), K)]


# Functions like map ------------------------------------------------------------------------------


def with_joblib(function, chunks):
    return joblib.Parallel(n_jobs=2, prefer="threads")(joblib.delayed(function)(c) for c in chunks)


def backwards(function, chunks):
    """In another order, as a cluster would."""
    return list(reversed([function(chunk) for chunk in reversed(list(chunks))]))


def twice(function, chunks):
    """A scheduler that asks again, as one does whose worker has died."""
    for chunk in chunks:
        function(chunk)
        yield function(chunk)


@pytest.fixture(scope="module")
def pools():
    """Pools of each kind, by name, as functions like map."""
    spawn, fork = (multiprocessing.get_context(name) for name in ("spawn", "fork"))
    futures = concurrent.futures
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 of fork beside threads
        pool = fork.Pool(2)
    with (
        spawn.Pool(2) as spawned,
        pool as forked,
        futures.ThreadPoolExecutor(3) as threads,
        futures.ProcessPoolExecutor(2, mp_context=spawn) as processes,
    ):
        yield {
            "spawned Pool.map": spawned.map,
            "spawned Pool.imap": spawned.imap,
            "forked Pool.map": forked.map,
            "ThreadPoolExecutor.map": threads.map,
            "ProcessPoolExecutor.map": processes.map,
            "map": map,
            "list comprehension": lambda function, chunks: [function(chunk) for chunk in chunks],
            "joblib": with_joblib,
            "backwards": backwards,
            "twice": twice,
        }


POOLS = (
    "spawned Pool.map", "spawned Pool.imap", "forked Pool.map", "ThreadPoolExecutor.map",
    "ProcessPoolExecutor.map", "map", "list comprehension", "joblib", "backwards", "twice",
)  # fmt: skip
each_pool = pytest.mark.parametrize("name", POOLS)


@each_pool
@each_objective
@pytest.mark.parametrize("chunksize", [1, 7, None])
def test_functions_like_map(pools, name, chunksize, fun, keywords):
    for bounds in (None, BOXES["own"]):
        expected = solve(fun, 1, bounds=bounds, **keywords)
        assert_equal(solve(fun, pools[name], chunksize, bounds, **keywords), expected)


@each_pool
@each_option
def test_options_reach_the_workers(pools, name, options):
    expected = solve(chain, 1, **options)
    assert_equal(solve(chain, pools[name], 5, **options), expected)
    x0s = X0S.astype(np.float32)
    assert_equal(
        solve(chain, pools[name], 9, x0s=x0s, **options), solve(chain, 1, x0s=x0s, **options)
    )


@each_pool
def test_arguments_reach_the_workers(pools, name):
    design, data = RNG.normal(size=(K, 4, N)), RNG.normal(size=(K, 4))
    for args in ((Each(design), Each(data)), (design[0], Each(data)), (Each(design), data[0])):
        expected = check(squares, X0S, args, jac=True)
        assert_equal(solve(squares, pools[name], 4, args=args, jac=True), expected)


def with_row(x, row):
    return float(x @ x) + row[0], 2 * x


def squares(x, design, data):
    """Sum of squares of ``design @ x - data``."""
    r = design @ x - data
    return float(r @ r), 2 * (r @ design)


@each_pool
def test_chunks(pools, name):
    results = list(
        rmsfast.minimize_chunks(
            chain, [X0S[:9], X0S[9:]], args=(2.0,), workers=pools[name], chunksize=4
        )
    )
    assert_equal(results[0], minimize_many(chain, X0S[:9], (2.0,), workers=1))
    assert_equal(results[1], minimize_many(chain, X0S[9:], (2.0,), workers=1))


def test_what_a_function_like_map_is_given():
    """The chunks in order, and of what each problem has its own no more than their part."""
    found, sizes = [], []

    def workers(function, chunks):
        assert inspect.isfunction(function)  # Ray takes nothing else
        for chunk in chunks:
            sizes.append(len(pickle.dumps(chunk)))
            found.append(function(chunk))
            yield found[-1]

    rows = np.zeros((K, 10_000))
    assert_equal(
        solve(with_row, workers, 10, args=(Each(rows),), jac=True),
        solve(with_row, 1, args=(Each(rows),), jac=True),
    )
    assert [len(pickle.loads(pickle.dumps(part.fun))) for part in found] == [10, 10, 3]
    assert [round(size / 80_000) for size in sizes] == [10, 10, 3]


# Processes for objectives in Python --------------------------------------------------------------


def nan_for_some(x, a):
    return (np.nan if a > 10 else float(x @ x) * a), 2 * a * x


def raises_for_some(x, a):
    if a > 10:
        raise LookupError("beyond", float(a))
    return float(x @ x) * a, 2 * a * x


def raises_always(x, a):
    raise LookupError("beyond", 3)


def value(x, a):
    return a * float(x @ x)


def dies_for_some(x, a):
    if a > 10:
        os._exit(3)
    return float(x @ x) * a, 2 * a * x


def where(x):
    return float(x @ x) + os.getpid(), 2 * x


@pytest.mark.parametrize("workers", [2, 3, -1])
@pytest.mark.parametrize("chunksize", [1, 7, None, 1000])
def test_processes(workers, chunksize):
    expected = check(pair, X0S, ARGS, jac=True)
    assert_equal(solve(pair, workers, chunksize, jac=True), expected)


def test_processes_with_everything():
    for options in OPTIONS.values():
        expected = check(pair, X0S, ARGS, jac=True, bounds=BOXES["own"], **options)
        result = solve(pair, 2, 6, BOXES["own"], jac=True, **options)
        assert_equal(result, expected)


def test_processes_are_other_processes():
    before = multiprocessing.active_children()
    result = minimize_many(where, X0S, jac=True, workers=2, chunksize=2)
    assert result.success.all()
    assert not (np.abs(result.fun - os.getpid()) < 0.5).any()
    assert set(multiprocessing.active_children()) <= set(before)
    alone = minimize_many(where, X0S, jac=True, workers=1)
    assert (np.abs(alone.fun - os.getpid()) < 0.5).all()


@pytest.mark.parametrize("fun", [nan_for_some, raises_for_some])
@pytest.mark.parametrize("workers", [1, 2, map])
def test_problems_that_fail_in_processes(fun, workers):
    result = solve(fun, workers, 4, jac=True)
    assert_equal(result, solve(fun, None, jac=True))
    code = status.NONFINITE_START if fun is nan_for_some else status.OBJECTIVE
    bad = ARGS[0].array > 10
    assert_array_equal(result.status == code, bad)
    assert result.success[~bad].all()
    if fun is raises_for_some:
        k = int(np.argmax(bad))
        expected = f"The objective raised LookupError: ('beyond', {ARGS[0].array[k]!r})"
        assert result.message[k] == expected.replace("np.float64(", "").replace("))", ")")


@each_pool
def test_if_all_raise_in_processes(pools, name):
    with pytest.raises(LookupError) as caught:
        solve(raises_always, pools[name], 4, jac=True)
    assert caught.value.args == ("beyond", 3)
    with pytest.raises(LookupError):
        solve(raises_always, 2, 4, jac=True)


def test_objective_that_cannot_be_imported():
    """It says so, and starts no process."""
    before = multiprocessing.active_children()
    local = lambda x, a: (float(x @ x), 2 * x)  # noqa: E731
    for name, fun, jac in (("fun", local, True), ("jac", value, lambda x, a: 2 * a * x)):
        with pytest.raises(TypeError, match=f"^{name} must be importable .*<lambda>"):
            solve(fun, 2, 4, jac=jac)
    assert set(multiprocessing.active_children()) <= set(before)


INTERACTIVE = """
import numpy as np, rmsfast
from test_many_workers import value

def of_the_session(x, a):
    return a * float(x @ x), 2.0 * a * x

x0s, own = np.ones((6, 2)), rmsfast.PerProblem(np.arange(1.0, 7.0))
try:
    rmsfast.minimize_many(of_the_session, x0s, (own,), jac=True, workers=2)
except TypeError as error:
    print(error)
print(rmsfast.minimize_many(value, x0s, (own,), workers=2).success.all())
"""


def test_objective_of_a_session():
    """Other processes find what is in modules, and nothing that was typed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", INTERACTIVE], text=True, timeout=60, check=False,
        capture_output=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.stdout.startswith("fun must be importable where workers are processes, got <func")
    assert done.stdout.endswith("\nTrue\n")
    assert done.stderr == ""


DYING = """
import sys
import numpy as np, rmsfast
from test_many_workers import dies_for_some

if __name__ == "__main__":
    x0s, numbers = np.ones((12, 2)), np.arange(12.0)
    try:
        rmsfast.minimize_many(
            dies_for_some, x0s, (rmsfast.PerProblem(numbers),), jac=True, workers=2, chunksize=2)
    except Exception as error:
        print("raised", type(error).__name__, error)
"""


def run_script(code, tmp_path, seconds, *flags):
    """Run a program in a file, as users do, and end it if it hangs."""
    script = tmp_path / "program.py"
    script.write_text(textwrap.dedent(code))
    process = subprocess.Popen(
        [sys.executable, *flags, str(script)], cwd=tmp_path, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        out, err = process.communicate()
        pytest.fail(f"it hangs\n{out}{err}"[-3000:])
    assert process.returncode == 0, out + err
    return out


def test_process_that_dies(tmp_path):
    """Killed for its memory, say: that must not be waited for."""
    out = run_script(DYING, tmp_path, 30)
    assert out.startswith(
        "raised BrokenProcessPool a process ended before its problems were solved"
    )


UNGUARDED = """
from concurrent.futures.process import BrokenProcessPool
import numpy as np, rmsfast

def fun(x):
    return float(x @ x), 2.0 * x

try:
    rmsfast.minimize_many(fun, np.ones((4, 2)), jac=True, workers=2)
except BrokenProcessPool as error:
    print(error)
"""


def test_program_that_starts_itself_again(tmp_path):
    """Without a guard each process would start processes: Python ends them, and it is told."""
    out = run_script(UNGUARDED, tmp_path, 60)
    assert out.endswith('A program starts processes below if __name__ == "__main__".\n')


MAIN = """
import multiprocessing, threading
import numpy as np, rmsfast
from rmsfast import PerProblem, minimize_many

@rmsfast.Objective
def compiled(x, g, a):
    g[0] = 2.0 * a * (x[0] - a)
    return a * (x[0] - a) ** 2

def in_python(x, a):
    return a * (x[0] - a) ** 2, 2.0 * a * (x - a)

if __name__ == "__main__":
    x0s, own = np.ones((9, 1)), PerProblem(np.linspace(1.0, 2.0, 9))
    for fun in (compiled, in_python):
        expected = minimize_many(fun, x0s, (own,), jac=True, workers=1)
        assert expected.success.all()
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            result = minimize_many(fun, x0s, (own,), jac=True, workers=pool.map, chunksize=2)
        assert np.array_equal(result.x, expected.x), fun
    idle = threading.Event()
    threading.Thread(target=idle.wait).start()  # Python warns of a fork beside it
    result = minimize_many(in_python, x0s, (own,), jac=True, workers=2, chunksize=2)
    idle.set()
    assert np.array_equal(result.x, expected.x)
    print("as it should be")
"""


def test_objectives_of_a_program(tmp_path):
    assert run_script(MAIN, tmp_path, 60, "-W", "error") == "as it should be\n"


# Functions like map that do not do what they should ----------------------------------------------


class Refused(Exception):
    """Of a scheduler."""


def refuses(function, chunks):
    raise Refused("no workers")


def refuses_later(function, chunks):
    yield function(chunks[0])
    raise Refused("no workers")


def test_errors_of_a_function_like_map_are_the_users():
    for workers in (refuses, refuses_later):
        with pytest.raises(Refused, match="^no workers$"):
            solve(chain, workers, 4)


WRONG = {
    "nothing": lambda function, chunks: [],
    "one too few": lambda function, chunks: [function(chunk) for chunk in chunks[:-1]],
    "one too many": lambda function, chunks: [function(chunk) for chunk in (*chunks, chunks[0])],
    "None": lambda function, chunks: None,
    "a list of None": lambda function, chunks: [None for _ in chunks],
    "numbers": lambda function, chunks: list(range(len(chunks))),
    "futures": lambda function, chunks: [concurrent.futures.Future() for _ in chunks],
    "the chunks": lambda function, chunks: chunks,
    "results of another length": lambda function, chunks: [function(chunks[-1]) for _ in chunks],
}


@pytest.mark.parametrize("workers", WRONG.values(), ids=WRONG)
def test_wrong_functions_like_map(workers):
    with pytest.raises((TypeError, ValueError), match=r"\bworkers\b"):
        solve(chain, workers, 4)


# Progress ----------------------------------------------------------------------------------------

PROGRESS = {
    "compiled": (chain, {}),
    "python": (pair, {"jac": True}),
    "map": (chain, {"workers": map, "chunksize": 4}),
    "processes": (pair, {"jac": True, "workers": 2, "chunksize": 4}),
    "one iteration": (chain, {"maxiter": 1}),
    "schedule": (chain, {"lr": schedules.inverse_time(0.1, 1e-3), "gtol": 0, "maxiter": 9000}),
}


@pytest.mark.parametrize("fun, keywords", PROGRESS.values(), ids=PROGRESS)
def test_progress(fun, keywords, capfd):
    expected = solve(fun, **{"workers": 1} | keywords)
    capfd.readouterr()
    result = solve(fun, **{"workers": None} | keywords, progress=True)
    assert_equal(result, expected)
    out, err = capfd.readouterr()
    assert out == ""
    last = err.split("\r")[-1]
    assert f"{K}/{K}" in last
    assert "100%" in last
    solve(fun, **{"workers": None} | keywords, progress=False)
    assert capfd.readouterr() == ("", "")


def test_progress_goes_on(monkeypatch):
    """Between start and end something is told, never too much, and never backwards."""
    told = []

    class Bar(tqdm.tqdm):
        def update(self, n=1):
            told.append(n)
            return super().update(n)

    monkeypatch.setattr(tqdm, "tqdm", Bar)
    solve(chain, map, 4, progress=True)
    assert [n for n in told if n] == [4, 4, 4, 4, 4, 3]
    told.clear()
    solve(pair, 1, progress=True, jac=True)
    assert [n for n in told if n] == [1] * K
    told.clear()
    for options in ({}, {"lr": schedules.inverse_time(0.1, 1e-3), "gtol": 0, "maxiter": 9000}):
        solve(chain, 2, progress=True, **options)
        assert sum(told) == K
        assert min(told) >= 0
        told.clear()


def test_progress_of_no_problems(capfd):
    for workers in (None, 1, 2, map):
        result = minimize_many(pair, np.empty((0, N)), (1.0,), workers=workers, progress=True)
        assert result.x.shape == (0, N)


def test_progress_when_it_fails(capfd):
    with pytest.raises(LookupError):
        solve(raises_always, None, jac=True, progress=True)
    with pytest.raises(Refused):
        solve(chain, refuses, progress=True)


def test_progress_without_tqdm(monkeypatch):
    for name in ("tqdm", "tqdm.auto"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        ImportError, match=r'^progress=True needs tqdm: pip install "\.\[progress\]"$'
    ):
        solve(chain, None, progress=True)
    assert solve(chain, None, progress=False).success.all()
    assert solve(chain, None).success.all()


# Dask --------------------------------------------------------------------------------------------

DASK = """
import os, signal, threading, time
import numpy as np
from dask.distributed import Client, LocalCluster
import rmsfast
from rmsfast import PerProblem, minimize_many
from scipy.optimize import Bounds

NAMES = ("x", "fun", "jac", "nit", "nfev", "njev", "status", "success", "message")

@rmsfast.Objective
def compiled(x, g, a):
    f = 0.0
    for i in range(x.size):
        g[i] = 4.0 * a * (x[i] - a) ** 3
        f += a * (x[i] - a) ** 4
    return f

def in_python(x, a, seconds):
    time.sleep(seconds)
    return a * (x - a) @ (x - a), 2.0 * a * (x - a)

def assert_same(result, expected):
    for name in NAMES:
        one, other = getattr(result, name), getattr(expected, name)
        assert one.dtype == other.dtype and np.array_equal(one, other), name

def kill_one(client, futures):
    # after some chunks are done, with all that the worker holds of them
    while sum(future.status == "finished" for future in futures) < 8:
        time.sleep(0.01)
    pids = client.run(os.getpid)
    holders = {worker for workers in client.who_has(futures).values() for worker in workers}
    assert not all(future.status == "finished" for future in futures), "too late"
    os.kill(pids[min(holders)], signal.SIGKILL)
    return pids

if __name__ == "__main__":
    x0s = np.random.default_rng(0).uniform(-2, 2, (40, 3))
    own = PerProblem(np.linspace(0.5, 2.0, 40))
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        workers = lambda solve, chunks: client.gather(client.map(solve, chunks))
        for options in ({}, {"lr": 0.05, "maxiter": 100}, {"bounds": Bounds(x0s - 1, x0s + 1)}):
            for chunksize in (7, None):
                result = minimize_many(
                    compiled, x0s, (own,), workers=workers, chunksize=chunksize, **options)
                assert_same(result, minimize_many(compiled, x0s, (own,), workers=1, **options))
        print("compiled", flush=True)

        args, options = (own, 0.004), {"jac": True, "lr": 0.3, "maxiter": 12, "gtol": 0.0}
        killed = []

        def workers(solve, chunks):
            futures = client.map(solve, chunks)
            killed.append(kill_one(client, futures))
            return client.gather(futures)

        result = minimize_many(in_python, x0s, args, workers=workers, chunksize=1, **options)
        (before,) = killed
        after = client.run(os.getpid)
        assert len(set(before.values()) & set(after.values())) == 1, (before, after)
        assert len(result.fun) == 40
        assert_same(result, minimize_many(in_python, x0s, (own, 0.0), **options))
        for k in range(40):
            single = rmsfast.rmsprop(in_python, x0s[k], (own.array[k], 0.0), **options)
            for name in NAMES:
                assert np.array_equal(getattr(result, name)[k], single[name]), (k, name)
        print("killed", flush=True)
"""


def test_dask(tmp_path):
    """The one-liner of the README; and one of two workers is killed in the middle."""
    assert run_script(DASK, tmp_path, 90) == "compiled\nkilled\n"
