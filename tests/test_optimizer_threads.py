"""`rmsfast.RMSProp` and threads: Numba's under each layer, Python's, and forked processes.

All of it runs in fresh processes, since a process has one layer for all its life.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# pip puts libtbb there, where the loader does not look by itself
LIBRARIES = os.pathsep.join(
    filter(None, [str(Path(sys.prefix) / "lib"), os.environ.get("LD_LIBRARY_PATH")])
)
PROBE = """
import importlib
for layer, module in (("tbb", "tbbpool"), ("omp", "omppool"), ("workqueue", "workqueue")):
    try:
        importlib.import_module(f"numba.np.ufunc.{module}")
    except ImportError:
        continue
    print(layer)
"""


def layers():
    """The threading layers that Numba can load here."""
    environment = {**os.environ, "LD_LIBRARY_PATH": LIBRARIES}
    command = [sys.executable, "-c", PROBE]
    return subprocess.check_output(command, env=environment, text=True).split()


LAYERS = layers()
MISSING = [layer for layer in ("tbb", "omp", "workqueue") if layer not in LAYERS]
each_layer = pytest.mark.parametrize("layer", LAYERS)
posix = pytest.mark.skipif(os.name != "posix", reason="there is no fork")

SETUP = """
import copy, hashlib, os, signal, sys, threading, warnings
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import rmsfast
from rmsfast import passes

if hasattr(signal, "alarm"):
    signal.alarm(120)  # a deadlock ends here, and badly


def arrays(seed):
    rng = np.random.default_rng(seed)
    return {
        "large": rng.normal(size=100_003),
        "single": rng.normal(size=(400, 301)).astype(np.float32),
        "complex": rng.normal(size=50_001) + 1j * rng.normal(size=50_001),
        "small": rng.normal(size=7),
        "strided": rng.normal(size=40_000)[::2],
    }


GRADS = [arrays(100 + k) for k in range(4)]
OPTIONS = {"lr": 0.1, "momentum": 0.9, "centered": True, "clip_norm": 0.5, "skip_nonfinite": True}


def digest(params, optimizer):
    state = optimizer.state_dict()
    parts = [params[key].tobytes() for key in params]
    parts += [state[name][key].tobytes() for name in ("mean_square", "mean", "momentum_buffer")
              for key in params]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def run(seed, steps=4):
    "The digest of a run on arrays that are large enough for all threads."
    params, optimizer = arrays(seed), rmsfast.RMSProp(**OPTIONS)
    for k in range(steps):
        optimizer.update(params, GRADS[k % 4])
    assert optimizer.step_count == steps
    return digest(params, optimizer)
"""


@pytest.fixture(scope="module")
def run_layer(run_python):
    """Run code after SETUP under a layer, or under none: on one thread, with no parallel pass."""

    def run(layer, code, *arguments, threads=4):
        if layer is None:
            environment = {"NUMBA_NUM_THREADS": "1"}
        else:
            environment = {"NUMBA_NUM_THREADS": str(threads), "NUMBA_THREADING_LAYER": layer,
                           "OMP_WAIT_POLICY": "passive"}  # fmt: skip
        return run_python(SETUP + code, *arguments, LD_LIBRARY_PATH=LIBRARIES, **environment)

    return run


@pytest.fixture(scope="module")
def serial(run_layer):
    """The digests of runs 0 to 5 on one thread."""
    digests = run_layer(None, "print(*[run(seed) for seed in range(6)])").split()
    assert len(set(digests)) == 6
    return digests


@pytest.mark.parametrize(
    "tested",
    [LAYERS],
    ids=[f"{' and '.join(LAYERS)} tested, {' and '.join(MISSING) or 'none'} not"],
)
def test_layers(tested):
    """Those that the other tests are about; the rest Numba cannot load here."""
    assert "workqueue" in tested  # it comes with Numba
    assert set(tested) <= {"tbb", "omp", "workqueue"}


@each_layer
@pytest.mark.parametrize("threads", [1, 3, 8])
def test_same_bits_for_any_number_of_threads(run_layer, serial, layer, threads):
    code = """
all_threads = numba.config.NUMBA_NUM_THREADS
for count in sorted({1, 2, 3, all_threads}):
    if count <= all_threads:
        numba.set_num_threads(count)
        print(run(0))
print(run(1))
if all_threads > 1:
    assert numba.threading_layer() == sys.argv[1]
"""
    digests = run_layer(layer, code, layer, threads=threads).split()
    assert digests == [serial[0]] * min(threads, 4) + [serial[1]]


@each_layer
def test_same_bits_where_nothing_is_parallel(run_layer, serial, layer):
    """And where everything is, arrays of seven elements too."""
    code = """
for size in (2**60, 0):
    passes.PARALLEL_BYTES = size
    print(run(0))
"""
    assert run_layer(layer, code).split() == [serial[0]] * 2


# Threads of Python -------------------------------------------------------------------------------


@each_layer
def test_each_thread_with_an_optimizer_of_its_own(run_layer, serial, layer):
    """All at once, the first parallel pass of the process among them."""
    code = """
barrier = threading.Barrier(6)

def start(seed):
    barrier.wait()
    return [run(seed) for _ in range(3)]

with ThreadPoolExecutor(6) as pool:
    for digests in pool.map(start, range(6)):
        print(*digests)
assert numba.threading_layer() == sys.argv[1]
"""
    digests = run_layer(layer, code, layer).split()
    assert digests == [digest for digest in serial for _ in range(3)]


@each_layer
def test_threads_that_share_an_optimizer(run_layer, layer):
    """The updates are all there, and what is asked between them is of one moment."""
    code = """
n, g = 60_000, np.ones(60_000)
options = {"lr": 0.01, "rho": 0.99, "ema_decay": 0.5}

expected, alone, states = np.zeros(n), rmsfast.RMSProp(**options), []
for _ in range(120):
    alone.update(expected, g)
    states.append(alone.state_dict()["mean_square"][0])

params, shared = np.zeros(n), rmsfast.RMSProp(**options)
barrier, done = threading.Barrier(7), threading.Event()

def work():
    barrier.wait()
    for _ in range(20):
        shared.update(params, g)

def look():
    barrier.wait()
    seen = 0
    while not done.is_set():
        for state in (shared.state_dict(), copy.copy(shared).state_dict()):
            if state["step_count"] > 0:
                assert (state["mean_square"] == states[state["step_count"] - 1]).all(), state
                seen += 1
    return seen

with ThreadPoolExecutor(7) as pool:
    looks = pool.submit(look)
    for future in [pool.submit(work) for _ in range(6)]:
        future.result()
    done.set()
    assert looks.result() > 0
assert shared.step_count == 120
assert params.tobytes() == expected.tobytes()
assert shared.average.tobytes() == alone.average.tobytes()
print("ok")
"""
    assert run_layer(layer, code) == "ok\n"


@each_layer
def test_threads_that_share_an_optimizer_of_rows(run_layer, layer):
    code = """
table, expected = np.zeros((4000, 20)), np.zeros((4000, 20))
shared, alone = (rmsfast.RMSProp(lr=0.01, momentum=0.5) for _ in range(2))
rows, grads = np.arange(3000) + 500, np.ones((3000, 20))
for _ in range(60):
    alone.update_rows(expected, rows, grads)

def work(_):
    for _ in range(10):
        shared.update_rows(table, rows, grads)

with ThreadPoolExecutor(6) as pool:
    list(pool.map(work, range(6)))
assert shared.step_count == 60
assert table.tobytes() == expected.tobytes()
print("ok")
"""
    assert run_layer(layer, code) == "ok\n"


@each_layer
def test_beside_parallel_differences_of_the_minimizer(run_layer, serial, layer):
    """Two users of Numba's threads in two threads of Python."""
    code = """
rmsfast.minimize.PARALLEL_SECONDS = 0.0

@numba.njit(error_model="numpy")
def fun(x):
    total = 0.0
    for i in range(x.size - 1):
        total += 100 * (x[i + 1] - x[i] ** 2) ** 2 + (1 - x[i]) ** 2
    return total

def minimize():
    return rmsfast.rmsprop(fun, np.full(40, -0.5), maxiter=60).x.tobytes()

with ThreadPoolExecutor(4) as pool:
    points = [pool.submit(minimize) for _ in range(2)]
    digests = [pool.submit(lambda: [run(0) for _ in range(4)]) for _ in range(2)]
    points, digests = [f.result() for f in points], [f.result() for f in digests]
assert points == [minimize()] * 2
print(*digests[0], *digests[1])
"""
    assert run_layer(layer, code).split() == [serial[0]] * 8


@pytest.mark.parametrize(
    ("mode", "layer"),
    [("python", LAYERS[0]), ("serial", LAYERS[0]), *(("parallel", layer) for layer in LAYERS)],
)
def test_the_gil_is_released(run_layer, mode, layer):
    """Another thread counts while an update runs, and only because it is let.

    Nobody has to give up the lock for 1000 s: either the update gives it up, or the counter
    stays where it is. "python" shows that: work that keeps the lock.
    """
    code = """
import time

x, g = np.zeros(4_000_000), np.ones(4_000_000)
optimizer = rmsfast.RMSProp(lr=0.1)
optimizer.update(x, g)
numba.get_num_threads = lambda: 4  # the true one gives up the lock by itself
if sys.argv[1] != "parallel":
    passes.PARALLEL_BYTES = 2**60
    optimizer = rmsfast.RMSProp(lr=0.1)
    optimizer.update(x, g)

def work():
    return sum(range(300_000)) if sys.argv[1] == "python" else optimizer.update(x, g)

gate, count = threading.Lock(), 0
gate.acquire()

def counting():
    global count
    gate.acquire()
    for _ in range(1000):
        count += 1

thread = threading.Thread(target=counting)
thread.start()
time.sleep(0.1)  # it stands at the gate
sys.setswitchinterval(1000)
gate.release()
for _ in range(100):
    work()
    if count > 0:
        break
counted = count
thread.join()
print(counted, count)
"""
    expected = "0 1000\n" if mode == "python" else "1000 1000\n"
    assert run_layer(layer, code, mode) == expected


def test_one_reservation_at_a_time(run_layer):
    code = """
from contextlib import suppress
from rmsfast.threads import threads

def reserved():
    with threads() as count:
        return count

def elsewhere():
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(reserved).result()

with threads() as count:
    assert count == 4
    assert [reserved(), reserved(), elsewhere()] == [1, 1, 1]
assert [reserved(), elsewhere()] == [4, 4]
with suppress(LookupError), threads():
    raise LookupError
assert reserved() == 4
true, numba.get_num_threads = numba.get_num_threads, lambda: 1 // 0
with suppress(ZeroDivisionError):
    print(reserved())
numba.get_num_threads = true
assert reserved() == 4
print("ok")
"""
    assert run_layer(LAYERS[0], code) == "ok\n"


# Fork --------------------------------------------------------------------------------------------

FORK = """
warnings.filterwarnings("ignore", "This process", DeprecationWarning)  # is multi-threaded

def in_child(function):
    "Run it in a forked process; return its exit code."
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            signal.alarm(60)
            function()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def check(seed, expected):
    assert run(seed) == expected, seed
"""


@posix
@each_layer
def test_fork_after_a_parallel_update(run_layer, serial, layer):
    """In the child, in its child, in the parent afterwards, and with the parent's optimizer."""
    code = """
params, optimizer = arrays(0), rmsfast.RMSProp(**OPTIONS)
for k in range(2):
    optimizer.update(params, GRADS[k])
assert numba.threading_layer() == sys.argv[1]

def go_on():
    for k in range(2, 4):
        optimizer.update(params, GRADS[k])
    assert digest(params, optimizer) == sys.argv[2]

assert in_child(go_on) == 0
assert in_child(lambda: check(1, sys.argv[3])) == 0

def grandchild():
    assert in_child(lambda: check(1, sys.argv[3])) == 0
    check(0, sys.argv[2])

assert in_child(grandchild) == 0
check(1, sys.argv[3])
go_on()
assert in_child(lambda: os._exit(3)) == 3  # a failure would be seen
print("ok")
"""
    assert run_layer(layer, FORK + code, layer, *serial[:2]) == "ok\n"


@posix
@each_layer
def test_fork_before_any_parallel_update(run_layer, serial, layer):
    """The child may go parallel then, and so may the parent after it."""
    code = """
rmsfast.RMSProp(**OPTIONS).update({"small": np.ones(3)}, {"small": np.ones(3)})

def child():
    check(0, sys.argv[2])
    assert numba.threading_layer() == sys.argv[1]

assert in_child(child) == 0
check(0, sys.argv[2])
assert numba.threading_layer() == sys.argv[1]
assert in_child(lambda: check(0, sys.argv[2])) == 0
print("ok")
"""
    assert run_layer(layer, FORK + code, layer, serial[0]) == "ok\n"


@posix
@each_layer
def test_fork_while_another_thread_updates(run_layer, serial, layer):
    """The threads of Numba are reserved by nobody in the child."""
    code = """
run(0)
stop = threading.Event()

def work():
    while not stop.is_set():
        run(2, steps=1)

thread = threading.Thread(target=work)
thread.start()
try:
    for _ in range(8):
        assert in_child(lambda: check(1, sys.argv[2])) == 0
finally:
    stop.set()
    thread.join()
check(0, sys.argv[1])
print("ok")
"""
    output = run_layer(layer, FORK + code, *serial[:2])
    assert output.splitlines()[-1] == "ok"  # tbb says that a fork may break threads


@posix
@each_layer
def test_forked_workers_of_multiprocessing(run_layer, serial, layer):
    code = """
import multiprocessing

check(0, sys.argv[1])
context = multiprocessing.get_context("fork")
with context.Pool(2) as pool:
    digests = pool.map(run, [0, 1, 2, 1])
    pool.close()
    pool.join()
process = context.Process(target=check, args=(1, sys.argv[2]))
process.start()
process.join(60)
assert process.exitcode == 0
print(*digests)
"""
    digests = run_layer(layer, FORK + code, *serial[:2]).split()
    assert digests == [serial[0], serial[1], serial[2], serial[1]]


# Processes that compile at the same time ---------------------------------------------------------

RACE = """
import sys, time
from pathlib import Path
from numba.core.caching import IndexDataCacheFile

role, folder = sys.argv[1], Path(sys.argv[2])

def say(event):
    (folder / event).touch()

def wait_for(event):
    for _ in range(300):
        if (folder / event).exists():
            return
        time.sleep(0.01)

save_index, save_data = IndexDataCacheFile._save_index, IndexDataCacheFile._save_data

def patched_index(self, overloads):
    if role in "AB" and "update_pass" in self._index_name:
        say(f"{role} has read the index")
        wait_for("B has written the index" if role == "A" else "A has read the index")
    save_index(self, overloads)
    if role in "AB" and "update_pass" in self._index_name:
        say(f"{role} has written the index")

def patched_data(self, *arguments):
    if role == "B" and "update_pass" in self._index_name:
        wait_for("A has ended")
    save_data(self, *arguments)

IndexDataCacheFile._save_index, IndexDataCacheFile._save_data = patched_index, patched_data

import numpy as np
import rmsfast

for momentum in {"A": [0.0], "B": [0.5], "C": [0.0, 0.5]}[role]:
    x = np.zeros(3)
    optimizer = rmsfast.RMSProp(lr=0.25, rho=0.0, eps=1e-30, momentum=momentum)
    for _ in range(2):
        optimizer.update(x, np.ones(3))
    print(x.tolist(), flush=True)
say(f"{role} has ended")
"""


def test_two_processes_that_compile_at_once(run_python, tmp_path):
    """Numba numbers the files of its cache without a lock: one may hold the other's code.

    A and B both find no index. B writes it, A overwrites it, and B's code comes last into the
    file that A's entry names. C would then run code for arrays that it does not have.
    """
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
                   "PYTHONPATH": str(Path(__file__).parents[1])}  # fmt: skip
    processes = [
        subprocess.Popen([sys.executable, "-c", RACE, role, str(tmp_path)], env=environment)
        for role in "AB"
    ]
    assert [process.wait(120) for process in processes] == [0, 0]
    cache = environment["NUMBA_CACHE_DIR"]
    assert run_python(RACE, "C", tmp_path, NUMBA_CACHE_DIR=cache) == (
        "[-0.5, -0.5, -0.5]\n[-0.625, -0.625, -0.625]\n"
    )
