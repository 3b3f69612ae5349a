"""The order of the rows, and that each is visited once, whatever the data and wherever they lie."""

import itertools
import sys

import hypothesis
import numba
import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy import stats

import rmsfast
from rmsfast import batches, minimize_minibatch
from rmsfast.core.shuffle import BUCKET, permutation

# Permutations ------------------------------------------------------------------------------------


def permuted(words):
    """The permutation that random words give."""
    order = np.full(len(words), -1)
    permutation(words, order)
    return order


def random_words(seed, n):
    return np.random.default_rng(seed).integers(0, 2**64, n, np.uint64)


def in_buckets(words):
    """A permutation that goes to buckets as it should, and leaves each in order."""
    buckets = -(-len(words) // BUCKET)
    bucket = ((words >> np.uint64(32)) * np.uint64(buckets)) >> np.uint64(32)
    return np.argsort(bucket, kind="stable")


LENGTHS = [1, 2, 3, *(k * BUCKET + d for k in (1, 2, 3) for d in (-1, 0, 1)), 10**6]


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("seed", [0, 1])
def test_each_number_once(n, seed):
    assert_array_equal(np.sort(permuted(random_words(seed, n))), np.arange(n))


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("word", [0, 2**32 - 1, 2**63, 2**64 - 2**32, 2**64 - 1])
def test_each_number_once_with_the_words_at_the_ends(n, word):
    """All in one bucket, the first or the last, and each at its lowest or highest place."""
    assert_array_equal(np.sort(permuted(np.full(n, word, np.uint64))), np.arange(n))


@hypothesis.given(st.lists(st.integers(0, 2**64 - 1), max_size=40))
def test_each_number_once_for_any_words(words):
    order = permuted(np.array(words, np.uint64))
    assert_array_equal(np.sort(order), np.arange(len(words)))


@hypothesis.given(st.integers(1, 4 * BUCKET), st.integers(0, 2**32))
@hypothesis.settings(max_examples=30)
def test_each_number_once_for_any_length(n, seed):
    assert_array_equal(np.sort(permuted(random_words(seed, n))), np.arange(n))


def plausible(p):
    """Whether a probability is no sign of too much of an order, or too little of chance."""
    return 0.005 < p < 0.995


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_all_permutations_are_equally_likely(n):
    """All n! of them: the chi-square over 400 permutations for each.

    Where about 119 are expected, n = 5, the shuffle of Sattolo (j < i instead of j <= i), which
    makes the cyclic ones alone, has 192,000, and the naive one, which exchanges each place with any
    of the n, 2,650.
    """
    count = 400 * len(list(itertools.permutations(range(n))))
    words = random_words(n, (count, n))
    found = np.array([permuted(each) for each in words])
    _, counts = np.unique(found, axis=0, return_counts=True)
    assert len(counts) == count // 400
    assert plausible(stats.chisquare(counts).pvalue)


RUNS = 200
N = 3 * BUCKET + 100  # four buckets
CELLS = 12


def cells(orders):
    """Chi-square of which twelfth of the numbers stands in which twelfth of the places."""
    cell = np.arange(N) * CELLS // N
    total, size = 0.0, np.bincount(cell)
    expected = np.outer(size, size) / N
    for order in orders:
        counts = np.bincount(cell * CELLS + cell[order], minlength=CELLS**2).reshape(expected.shape)
        total += ((counts - expected) ** 2 / expected).sum() * (N - 1) / N
    return total


def ascents(orders):
    """How many standard deviations too often a number is followed by a higher one."""
    count = sum((np.diff(order) > 0).sum() for order in orders)
    return (count - RUNS * (N - 1) / 2) / np.sqrt(RUNS * (N + 1) / 12)


def neighbours(orders):
    """How often a number is followed by the next one; about a Poisson variable of mean RUNS."""
    return sum((np.diff(order) == 1).sum() for order in orders)


def fixed(orders):
    """How often a number stands at its own place; about a Poisson variable of mean RUNS."""
    return sum((order == np.arange(N)).sum() for order in orders)


def test_places_across_buckets():
    """Statistics of permutations of four buckets, and that they would find an idle shuffle.

    Identity within buckets has a chi-square of 1.9e7 instead of 24,200, ascents that are 5,400
    standard deviations too many, and 12,300 instead of 1 number that the next one follows.
    """
    degrees = RUNS * (CELLS - 1) ** 2
    words = [random_words(seed, N) for seed in range(RUNS)]
    good = [permuted(each) for each in words]
    assert plausible(stats.chi2(degrees).cdf(cells(good)))
    assert plausible(stats.norm.cdf(ascents(good)))
    assert plausible(stats.poisson(RUNS).cdf(neighbours(good)))
    assert plausible(stats.poisson(RUNS).cdf(fixed(good)))

    idle = [in_buckets(each) for each in words]
    assert cells(idle) > 100 * degrees
    assert ascents(idle) > 1000
    assert neighbours(idle) > 1000 * RUNS


def test_numbers_of_one_bucket_are_spread():
    """Neighbours of the data go to buckets independently of each other: runs of one bucket."""
    order = np.concatenate([np.argsort(permuted(random_words(seed, N))) for seed in range(20)])
    quarter = order * 4 // N
    same = (quarter[1:] == quarter[:-1]).sum()
    expected, count = 0.25, quarter.size - 1
    deviation = np.sqrt(count * expected * (1 - expected))
    assert plausible(stats.norm.cdf((same - expected * count) / deviation))


def test_words_decide_all():
    assert_array_equal(permuted(random_words(3, N)), permuted(random_words(3, N)))
    assert (permuted(random_words(3, N)) != permuted(random_words(4, N))).mean() > 0.99


def test_orders_of_32_and_64_bits_are_the_same(monkeypatch):
    def drawn():
        return batches.draw_order(np.random.default_rng(5), N)

    narrow = drawn()
    monkeypatch.setattr(batches, "INT32_ROWS", N - 1)
    wide = drawn()
    assert (narrow.dtype, wide.dtype) == (np.int32, np.int64)
    assert_array_equal(narrow, wide)


def test_rows_beyond_the_numbers_of_an_order():
    """Those of a block far behind in a file have numbers that its order cannot hold."""
    data = (np.arange(5.0),)
    order = batches.draw_order(np.random.default_rng(0), 5)
    block = batches._Block(data, 2**32, 5, order, True, None)
    window = batches.Batches(data, True, 5, False)._gather(block, 0, 5, (np.empty(5),))
    assert_array_equal(window.origin, 2**32 + window.data[0].astype(np.int64))


# Each epoch visits each row once -----------------------------------------------------------------

WIDTH = 4 * 8  # bytes of a row of the data below


def numbered(rows):
    """Two arrays whose rows tell their numbers."""
    number = np.arange(rows)
    return number, np.stack([number, number + 0.25, number + 0.5], 1)


def mapped(folder, array, name="data.npy"):
    """The array as a file that is mapped."""
    np.save(folder / name, array)
    return np.load(folder / name, mmap_mode="r")


def stored(where, folder, data):
    """The data in memory, mapped, or the first array mapped and the others not."""
    kept = {"memory": 0, "mapped": len(data), "first mapped": 1}[where]
    files = [mapped(folder, a, f"{k}.npy") for k, a in enumerate(data[:kept])]
    return (*files, *data[kept:])


each_place = pytest.mark.parametrize("where", ["memory", "mapped", "first mapped"])


def visits(data, **options):
    """The batches that an objective sees, and the result."""
    seen = []

    def spy(x, *batch):
        seen.append(batch)
        return 0.0, np.zeros(1)

    result = minimize_minibatch(spy, [0.0], data, lr=0.1, **options)
    return seen, result


def epochs_of(seen, epochs):
    """The numbers of the rows of the batches, for each epoch."""
    assert len(seen) % epochs == 0
    for number, row in seen:
        assert_array_equal(row, number[:, None] + [0, 0.25, 0.5])
    steps = len(seen) // epochs
    return [[number for number, _ in seen[k * steps : (k + 1) * steps]] for k in range(epochs)]


@pytest.fixture
def small(monkeypatch):
    """Windows of about 6 rows, blocks of mapped files of about 17: many of each."""
    monkeypatch.setattr(batches, "WINDOW_BYTES", 6 * WIDTH)
    monkeypatch.setattr(batches, "BLOCK_BYTES", 17 * WIDTH)


@pytest.fixture(params=[1, 2, 3, 4])
def threads(request, monkeypatch):
    """So many threads, be there as many cores or not."""
    monkeypatch.setattr(numba, "get_num_threads", lambda: request.param)


SIZES = [
    (100, 5), (103, 5), (103, 1), (103, 2), (103, 6), (102, 17), (103, 20), (7, 7), (7, 6), (1, 1),
]  # fmt: skip


@pytest.mark.usefixtures("small", "threads")
@each_place
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("rows, batch_size", SIZES)
def test_each_row_once(rows, batch_size, drop_last, shuffle, where, tmp_path):
    data = stored(where, tmp_path, numbered(rows))
    options = {"drop_last": drop_last, "shuffle": shuffle, "rng": 5, "batch_size": batch_size}
    seen, result = visits(data, epochs=3, **options)
    used = rows - rows % batch_size if drop_last else rows
    assert result.nit == result.nfev == len(seen) == 3 * -(-used // batch_size)
    orders = []
    for epoch in epochs_of(seen, 3):
        assert {len(batch) for batch in epoch[:-1]} <= {batch_size}
        assert len(epoch[-1]) == used - (len(epoch) - 1) * batch_size
        order = np.concatenate(epoch)
        assert len(np.unique(order)) == used
        assert order.min() >= 0 and order.max() < rows
        orders.append(order)
    if not drop_last:
        assert_array_equal(np.sort(orders, 1), [np.arange(rows)] * 3)
    if not shuffle:
        assert_array_equal(orders, [np.arange(used)] * 3)
    elif rows > 7:
        assert len({order.tobytes() for order in orders}) == 3
        for order in orders:
            assert (np.diff(order) == 1).mean() < 0.2


@pytest.mark.parametrize("where", ["memory", "mapped"])
def test_drop_last_leaves_out_others_each_time(where, tmp_path):
    """As torch.utils.data.DataLoader does: what is left of the order, not of the data."""
    seen, _ = visits(
        stored(where, tmp_path, numbered(25)), batch_size=10, epochs=40, drop_last=True, rng=0
    )
    assert len(np.unique(np.concatenate([number for number, _ in seen]))) == 25


@pytest.mark.usefixtures("small")
def test_blocks_of_a_file(tmp_path):
    """Shuffled within themselves and among each other, but the last, which has the rest too."""
    seen, _ = visits(
        stored("mapped", tmp_path, numbered(5 * 15 + 4)), batch_size=5, epochs=6, rng=2
    )
    firsts = []
    for epoch in epochs_of(seen, 6):
        block = np.concatenate(epoch) // 15
        blocks = block[: 4 * 15].reshape(4, 15)
        assert (blocks == blocks[:, :1]).all()
        assert_array_equal(np.sort(block[4 * 15 :]), [4] * 15 + [5] * 4)
        firsts.append(tuple(blocks[:, 0]))
    assert len(set(firsts)) > 3  # of 24


@pytest.mark.parametrize("shuffle", [True, False])
def test_the_order_is_drawn_from_the_generator(shuffle):
    seen, _ = visits(numbered(30), batch_size=4, epochs=2, rng=8, shuffle=shuffle)
    rng = batches.generator_of_orders(8)
    for epoch in epochs_of(seen, 2):
        order = batches.draw_order(rng, 30) if shuffle else np.arange(30)
        assert_array_equal(np.concatenate(epoch), order)


def test_batch_larger_than_the_data():
    text = "^batch_size=8 is larger than the 7 rows of data: all are used$"
    with pytest.warns(UserWarning, match=text) as told:
        seen, result = visits(numbered(7), batch_size=8, epochs=3, rng=0)
    assert len(told) == 1
    assert told[0].filename == __file__
    assert result.nit == 3
    for (epoch,) in epochs_of(seen, 3):
        assert_array_equal(np.sort(epoch), np.arange(7))


def test_batch_as_large_as_the_data():
    seen, _ = visits(numbered(7), batch_size=7, epochs=1, rng=0)  # and no warning
    assert_array_equal(np.sort(seen[0][0]), np.arange(7))


@pytest.mark.usefixtures("small")
@each_place
@pytest.mark.parametrize("shuffle", [True, False])
def test_batches_are_the_objectives_own(where, shuffle, tmp_path):
    """In Python: it may keep them, and write into them."""
    data = stored(where, tmp_path, numbered(50))
    before = [np.array(a) for a in data]
    seen = []

    def fun(x, number, row):
        seen.append(number.copy())
        number[:] = -1
        row[:] = np.nan
        return 0.0, np.zeros(1)

    minimize_minibatch(fun, [0.0], data, batch_size=4, epochs=2, lr=1, rng=1, shuffle=shuffle)
    assert_array_equal(np.sort(np.concatenate(seen)), np.repeat(before[0], 2))
    for now, then in zip(data, before, strict=True):
        assert_array_equal(now, then)


# Data of all kinds, at any number of threads -----------------------------------------------------

ROWS = 61
VALUES = np.random.default_rng(4).standard_normal((ROWS, 2, 3))


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def unaligned(array):
    """The array one byte off its natural place."""
    place = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    place[:] = array
    assert not place.flags.aligned
    return place


KINDS = {
    "float64": VALUES[:, 0, 0].copy(),
    "float32": VALUES[:, 0, 0].astype(np.float32),
    "int64": np.arange(ROWS),
    "uint8": np.arange(ROWS, dtype=np.uint8),
    "bool": VALUES[:, 0, 0] > 0,
    "big-endian": VALUES[:, 0, 0].astype(">f8"),
    "big-endian int16": np.arange(ROWS).astype(">i2"),
    "strided": VALUES[:, 0, 0],
    "backwards": VALUES[::-1, 0, 0],
    "read-only": read_only(VALUES[:, 0, 0]),
    "unaligned": unaligned(VALUES[:, 0, 0]),
    "broadcast": np.broadcast_to(VALUES[:1, 0, 0], ROWS),
    "2-d": VALUES[:, 0].copy(),
    "Fortran": np.asfortranarray(VALUES[:, 0]),
    "columns": VALUES[:, 0, ::2],
    "3-d": VALUES,
    "3-d transposed": VALUES.transpose(0, 2, 1),
    "no columns": np.empty((ROWS, 0)),
}
each_kind = pytest.mark.parametrize("array", KINDS.values(), ids=KINDS)


@rmsfast.Objective
def fold(x, g, a):
    """Something that depends on every element and on their order."""
    total = 0.0 * x[0]
    for v in a.flat:
        total = 0.875 * total + v
    r = x[0] - total / 16 - 0.5
    g[0] = r
    return 0.5 * r * r


def fold_in_python(x, a):
    assert a.flags.c_contiguous and a.flags.aligned and a.dtype.isnative
    g = np.empty(1)
    return fold.fun.py_func(x, g, a), g


RUN = {"batch_size": 4, "epochs": 3, "lr": 0.05, "rng": 3}


@pytest.mark.parametrize("where", ["memory", "mapped"])
@pytest.mark.parametrize("shuffle", [True, False])
@each_kind
def test_kinds_of_data(array, shuffle, where, monkeypatch, tmp_path):
    """Compiled or not, in small windows or large: the same bits as plain data in memory."""
    options = RUN | {"shuffle": shuffle}
    plain = np.array(array, array.dtype.newbyteorder("="), order="C")
    expected = minimize_minibatch(fold_in_python, [0.0], plain, **options)
    assert expected.x != 0 and np.isfinite(expected.loss).all()
    (data,) = stored(where, tmp_path, (array,))
    before = np.array(data)
    for window in (batches.WINDOW_BYTES, 1):
        monkeypatch.setattr(batches, "WINDOW_BYTES", window)
        for fun in (fold, fold_in_python):
            result = minimize_minibatch(fun, [0.0], data, **options)
            assert result.x.tobytes() == expected.x.tobytes()
            assert result.loss.tobytes() == expected.loss.tobytes()
    assert np.array(data).tobytes() == before.tobytes()


def test_complex_data_and_lists():
    """Compiled objectives and those in Python take what arrays can be made of."""
    data = VALUES[:, 0, 0] + 1j * VALUES[:, 0, 1]
    seen, _ = visits((data, data.real.tolist()), batch_size=4, epochs=1, rng=0)
    number, real = (np.concatenate(each) for each in zip(*seen, strict=True))
    assert number.dtype == complex and real.dtype == float
    assert_array_equal(number.real, real)
    assert_array_equal(np.sort(number), np.sort(data))
    expected = minimize_minibatch(fold, [0.0], data.real.copy(), **RUN)
    for same in (data.real, [data.real], (data.real.tolist(),)):
        assert minimize_minibatch(fold, [0.0], same, **RUN).x == expected.x


@pytest.mark.usefixtures("threads", "small")
@pytest.mark.parametrize("where", ["memory", "mapped"])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("kind", ["float64", "big-endian", "strided", "float32"])
def test_threads_do_not_matter(kind, shuffle, where, tmp_path, monkeypatch):
    (data,) = stored(where, tmp_path, (np.tile(KINDS[kind], 7),))
    options = RUN | {"shuffle": shuffle}
    result = minimize_minibatch(fold, [0.0], data, **options)
    monkeypatch.setattr(numba, "get_num_threads", lambda: 1)
    expected = minimize_minibatch(fold, [0.0], data, **options)
    assert result.x.tobytes() == expected.x.tobytes()
    assert result.loss.tobytes() == expected.loss.tobytes()


def test_threads_of_numba():
    data = np.random.default_rng(1).standard_normal((40_000, 8))  # several windows
    found = set()
    before = numba.get_num_threads()
    try:
        for count in range(1, numba.config.NUMBA_NUM_THREADS + 1):
            numba.set_num_threads(count)
            result = minimize_minibatch(fold, [0.0], data, batch_size=64, epochs=3, lr=0.01, rng=5)
            found.add(result.x.tobytes() + result.loss.tobytes())
    finally:
        numba.set_num_threads(before)
    assert len(found) == 1


# The caller's generator --------------------------------------------------------------------------


def stop_after(count):
    """A callback that ends the run at its evaluation of this number."""
    left = iter(range(count - 1))

    def callback(xk):
        next(left)  # raises StopIteration

    return callback


GENERATORS = {
    "PCG64": lambda: np.random.default_rng(6),
    "MT19937": lambda: np.random.Generator(np.random.MT19937(6)),
    "Philox": lambda: np.random.Generator(np.random.Philox(6)),
}


def drawn_once(rng):
    """The state of a generator after one call has seeded its own from it."""
    rng.integers(0, 2**32, 4, np.uint32)
    return rng.bit_generator.state


def assert_same_generator(state, other):
    """Philox's holds arrays."""
    assert repr(state) == repr(other)


@pytest.mark.usefixtures("small", "threads")
@pytest.mark.parametrize("options", [{}, {"epochs": 0}, {"shuffle": False}, {"callback": None}])
@pytest.mark.parametrize("where", ["memory", "mapped"])
@pytest.mark.parametrize("make", GENERATORS.values(), ids=GENERATORS)
def test_the_generator_is_drawn_from_once(make, where, options, tmp_path):
    """Whatever becomes of the run, so that the next call does not depend on that."""
    data = stored(where, tmp_path, numbered(70))
    rng = make()
    visits(data, rng=rng, **{"batch_size": 5, "epochs": 5, "callback": stop_after(2)} | options)
    assert_same_generator(rng.bit_generator.state, drawn_once(make()))


@pytest.mark.usefixtures("small", "threads")
def test_an_objective_may_draw_from_the_same_generator(tmp_path):
    """Threads that draw ahead do not come between."""
    data = stored("mapped", tmp_path, numbered(5 * 15))
    runs = []
    for _ in range(5):
        rng = np.random.default_rng(6)

        def noisy(x, *batch, rng=rng):
            return 0.0, rng.standard_normal(1)

        result = minimize_minibatch(noisy, [0.0], data, batch_size=5, epochs=4, lr=1, rng=rng)
        runs.append((result.x[0], rng.random()))
    assert len(set(runs)) == 1


@pytest.mark.usefixtures("small", "threads")
def test_the_state_holds_the_generator_within_an_epoch(tmp_path):
    """As far as the blocks that were used; here two of five, and the order of all but the last."""
    data = stored("mapped", tmp_path, numbered(5 * 15))
    other = batches.generator_of_orders(6)
    options = {"batch_size": 5, "eval_steps": 4, "callback": stop_after(1)}
    _, result = visits(data, rng=6, epochs=9, **options)
    for n in (4, 15, 15):
        batches.draw_order(other, n)
    assert result.state["rng"] == other.bit_generator.state


@pytest.mark.usefixtures("small", "threads")
@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["memory", "mapped"])
def test_the_generator_after_an_exception(where, error, tmp_path):
    """It arrives, or ends the run; the state's generator is where the rows in use were drawn."""
    data = stored(where, tmp_path, numbered(70))
    calls = iter(range(16))  # of which the last begins the second epoch

    def fun(x, *batch):
        if next(calls) == 15:
            raise error
        return 0.0, np.zeros(1)

    rng = np.random.default_rng(6)
    if error is KeyboardInterrupt:
        result = minimize_minibatch(fun, [0.0], data, batch_size=5, epochs=9, lr=1, rng=rng)
        assert result.status == 98
        other = batches.generator_of_orders(6)
        for n in [70, 70] if where == "memory" else [3, 15, 15, 15, 25, 3, 15]:
            batches.draw_order(other, n)
        assert result.state["rng"] == other.bit_generator.state
    else:
        with pytest.raises(error):
            minimize_minibatch(fun, [0.0], data, batch_size=5, epochs=9, lr=1, rng=rng)
    assert rng.bit_generator.state == drawn_once(np.random.default_rng(6))


@pytest.mark.parametrize("epochs", [1, 2, 5])
def test_no_two_runs_without_a_seed_are_equal(epochs):
    orders = set()
    for _ in range(3):
        seen, _ = visits(numbered(40), batch_size=40, epochs=epochs)
        orders.update(number.tobytes() for number, _ in seen)
    assert len(orders) == 3 * epochs


# Larger than memory ------------------------------------------------------------------------------

STREAM = """
import resource, sys
import numpy as np
from rmsfast import minimize_minibatch

rows, shuffle = 2**24, bool(int(sys.argv[2]))
data = np.memmap(sys.argv[1], np.float64, "w+", shape=(rows, 8))  # 1 GiB, of holes
marked = np.arange(5, rows, 2**20)
data[marked, 3] = rows / len(marked)
data.flush()
calls = 0

def fun(x, batch):
    global calls
    calls += 1
    return batch[:, 3].sum() / len(batch), np.ones(1)

minimize_minibatch(fun, [0.0], np.zeros((9, 8)), batch_size=3, epochs=1, lr=0.1)  # load all code
calls = 0
with open("/proc/self/statm") as numbers:
    used = int(numbers.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 450 * 2**20, resource.RLIM_INFINITY))
try:
    np.ones(500 * 2**20, np.uint8)
except MemoryError:
    print("limited")
result = minimize_minibatch(
    fun, [0.0], data, batch_size=8192, epochs=1, lr=0.1, rng=0, shuffle=shuffle
)
assert calls == result.nit == rows // 8192
print(result.loss[0])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc")
@pytest.mark.parametrize("shuffle", [0, 1])
def test_a_file_larger_than_memory(run_python, tmp_path, shuffle):
    """1 GiB, where a process may take no more than 450 MiB more."""
    # else glibc reserves addresses, if not memory, for each thread
    out = run_python(STREAM, tmp_path / "data", shuffle, MALLOC_ARENA_MAX="1")
    (tmp_path / "data").unlink()
    assert out == "limited\n1.0\n"
