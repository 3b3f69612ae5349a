"""`rmsfast.RMSProp.update_rows`: against plain NumPy, and against PyTorch on the whole table."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import reference
import torch
from numpy.testing import assert_allclose, assert_array_equal

import rmsfast
from rmsfast import schedules


def random(*shape, dtype=np.float64, seed=0):
    rng = np.random.default_rng([seed, *shape])
    values = rng.normal(size=shape)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * rng.normal(size=shape)
    return np.asarray(values).astype(dtype)


class Reference:
    """The rows of one table, from the documentation: gather, add up, update, put back."""

    def __init__(self, table, lazy_decay=False, **options):
        self.x, self.options, self.lazy = table.copy(), options, lazy_decay
        start = options.get("initial_scale", 0.0)
        self.s, self.m, self.b = (np.full_like(table, v) for v in (start, 0, 0))
        self.last, self.t = np.zeros(len(table), int), 0

    def step(self, rows, grads):
        total = np.zeros_like(self.x)
        np.add.at(total, rows, grads)
        r = np.unique(rows)
        shape = self.x[r].shape
        if self.lazy:
            rho = self.options.get("rho", 0.99)
            decay = rho ** (self.t - self.last[r]).reshape(-1, *[1] * (self.x.ndim - 1))
            self.s[r] *= decay
            self.m[r] *= decay
        self.t += 1
        lr = self.options["lr"]
        now = {**self.options, "lr": lr(self.t - 1) if callable(lr) else lr}
        parts = [a[r].ravel() for a in (self.x, total, self.s, self.m, self.b)]
        parts = reference.update(*parts, self.t, **now)
        for a, part in zip((self.x, self.s, self.m, self.b), parts, strict=True):
            a[r] = part.reshape(shape)
        self.last[r] = self.t

    def check(self, table, state, tolerance=1e-13):
        assert_allclose(table, self.x, rtol=tolerance, atol=tolerance * abs(self.x).max())
        wanted = {"mean_square": self.s, "mean": self.m, "momentum_buffer": self.b}
        for name in wanted.keys() & state.keys():
            expected = wanted[name]
            scale = abs(expected).max(initial=0)
            assert_allclose(state[name], expected, rtol=tolerance, atol=tolerance * scale)
        if self.lazy:
            assert_array_equal(state["last_step"], self.last)
        assert state["step_count"] == self.t


OPTIONS = {
    "plain": {},
    "rho": {"rho": 0.9, "eps": 1e-4},
    "centered": {"centered": True},
    "momentum": {"momentum": 0.9},
    "nesterov": {"momentum": 0.9, "nesterov": True, "lr_in_momentum": True},
    "decay": {"weight_decay": 0.1},
    "decoupled": {"weight_decay": 0.1, "decoupled": True},
    "clip_value": {"clip_value": 0.5},
    "clip_norm": {"clip_norm": 1.0, "weight_decay": 0.1},
    "bias correction": {"bias_correction": True, "eps_in_sqrt": True},
    "initial scale": {"initial_scale": 1.0},
    "maximize": {"maximize": True},
    "all": {"momentum": 0.5, "centered": True, "weight_decay": 0.1, "clip_norm": 2.0, "eps": 0.1},
}


@pytest.mark.parametrize("shape", [(6, 3), (9,), (5, 2, 3), (4, 1)])
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_against_plain_numpy(options, lazy, shape):
    rng = np.random.default_rng(1)
    table = random(*shape)
    expected = Reference(table, lazy, lr=0.05, **options)
    optimizer = rmsfast.RMSProp(lr=0.05, lazy_decay=lazy, **options)
    for _ in range(12):
        rows = rng.integers(shape[0], size=rng.integers(1, 8))  # many of them twice
        grads = rng.normal(size=(rows.size, *shape[1:]))
        given = rows.copy(), grads.copy()
        assert optimizer.update_rows(table, rows, grads) is None
        expected.step(rows, grads)
        expected.check(table, optimizer.state_dict())
        assert_array_equal(rows, given[0])
        assert_array_equal(grads, given[1])


def test_rows_not_named_are_left_alone():
    table = random(8, 3)
    before = table.copy()
    optimizer = rmsfast.RMSProp(lr=0.1, momentum=0.9, weight_decay=0.5, centered=True)
    for k in range(5):
        optimizer.update_rows(table, np.array([2, 5]), random(2, 3, seed=k))
    others = [0, 1, 3, 4, 6, 7]
    assert_array_equal(table[others], before[others])
    assert (table[[2, 5]] != before[[2, 5]]).all()
    for name in ("mean_square", "mean", "momentum_buffer"):
        assert (optimizer.state_dict()[name][others] == 0).all()
        assert (optimizer.state_dict()[name][[2, 5]] != 0).all()
    assert optimizer.step_count == 5


# lazy_decay --------------------------------------------------------------------------------------


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [("f8", 1e-13), ("f4", 3e-5), ("c16", 1e-13)])
@pytest.mark.parametrize("sizes", [(1, 4), (6, 20)])
def test_lazy_decay_is_pytorch_on_the_whole_table(centered, dtype, tolerance, sizes):
    rng = np.random.default_rng(7)
    table, steps = random(15, 3, dtype=dtype), 60
    tensor = torch.tensor(table, requires_grad=True)
    theirs = torch.optim.RMSprop([tensor], lr=0.02, alpha=0.9, centered=centered)
    ours = rmsfast.RMSProp(lr=0.02, rho=0.9, centered=centered, lazy_decay=True)
    for step in range(steps):
        rows = rng.integers(15, size=rng.integers(*sizes))
        grads = random(rows.size, 3, dtype=dtype, seed=step)
        tensor.grad = torch.zeros_like(tensor)
        tensor.grad.index_add_(0, torch.tensor(rows), torch.tensor(grads))
        theirs.step()
        ours.update_rows(table, rows, grads)
        assert_allclose(table, tensor.detach().numpy(), rtol=tolerance, atol=tolerance)
    # A step of zeros brings all rows up to date, and moves none.
    before = table.copy()
    ours.update(table, np.zeros_like(table))
    assert_array_equal(table, before)
    tensor.grad = torch.zeros_like(tensor)
    theirs.step()
    state, theirs = ours.state_dict(), theirs.state[tensor]
    mean_square = theirs["square_avg"].numpy()
    assert_allclose(abs(state["mean_square"]), abs(mean_square), rtol=10 * tolerance)
    if centered:
        assert_allclose(state["mean"], theirs["grad_avg"].numpy(), rtol=10 * tolerance, atol=1e-6)
    assert (state["last_step"] == steps + 1).all()


@pytest.mark.parametrize("dtype", ["f8", "f4"])
def test_lazy_decay_of_one_row_by_hand(dtype):
    """Touched at steps 1 and 5: in between the mean square decays three times."""
    table = np.zeros((2, 1), dtype)
    optimizer = rmsfast.RMSProp(lr=1.0, rho=0.5, eps=1e-20, lazy_decay=True)
    first = np.array([0])
    optimizer.update_rows(table, first, np.full((1, 1), 4.0, dtype))
    for _ in range(3):
        optimizer.update_rows(table, np.array([1]), np.full((1, 1), 1.0, dtype))
    assert_array_equal(optimizer.state_dict()["last_step"], [1, 4])
    before = table[0, 0]
    optimizer.update_rows(table, first, np.full((1, 1), 2.0, dtype))
    mean_square = 0.5 * (0.5**3 * 8.0) + 0.5 * 4.0
    assert optimizer.state_dict()["mean_square"][0, 0] == mean_square
    assert_allclose(table[0, 0], before - 2 / np.sqrt(mean_square), rtol=1e-6)


def test_without_lazy_decay_the_mean_square_waits():
    table = np.zeros((2, 1))
    optimizer = rmsfast.RMSProp(lr=1.0, rho=0.5, eps=1e-20)
    optimizer.update_rows(table, np.array([0]), np.array([[4.0]]))
    for _ in range(3):
        optimizer.update_rows(table, np.array([1]), np.array([[1.0]]))
        assert optimizer.state_dict()["mean_square"][0, 0] == 8.0
    optimizer.update_rows(table, np.array([0]), np.array([[2.0]]))
    assert optimizer.state_dict()["mean_square"][0, 0] == 0.5 * 8.0 + 0.5 * 4.0
    assert "last_step" not in optimizer.state_dict()


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("order", ["C", "F"])
def test_update_and_update_rows_by_turns(centered, order):
    """With lazy_decay, all of it is one run on the whole table."""
    rng = np.random.default_rng(3)
    tables = [random(7, 3), random(5)]
    tables[0] = np.asarray(tables[0], order=order)
    tensors = [torch.tensor(x, requires_grad=True) for x in tables]
    theirs = torch.optim.RMSprop(tensors, lr=0.02, alpha=0.9, centered=centered)
    ours = rmsfast.RMSProp(lr=0.02, rho=0.9, centered=centered, lazy_decay=True)
    for step in range(60):
        whole = [random(*x.shape, seed=step) for x in tables]
        if rng.random() < 0.6:
            rows = [rng.integers(len(x), size=rng.integers(4)) for x in tables]
            grads = [g[: len(r)].copy() for g, r in zip(whole, rows, strict=True)]
            for g, r, part in zip(whole, rows, grads, strict=True):
                g[...] = 0
                np.add.at(g, r, part)
            ours.update_rows(tables, rows, grads)
        else:
            ours.update(tables, whole)
        for tensor, g in zip(tensors, whole, strict=True):
            tensor.grad = torch.tensor(g)
        theirs.step()
        for x, tensor in zip(tables, tensors, strict=True):
            assert_allclose(x, tensor.detach().numpy(), rtol=1e-12, atol=1e-13)
    assert ours.step_count == 60


def test_rows_of_another_layout_than_the_update_before():
    """The table may be another array of its shape each time, C or Fortran."""
    plain, expected = rmsfast.RMSProp(lr=0.1, momentum=0.9), random(40, 30)
    optimizer = rmsfast.RMSProp(lr=0.1, momentum=0.9)
    tables = [random(40, 30), np.asfortranarray(random(40, 30)), random(80, 60)[::2, ::2]]
    rows = np.arange(3, 20)
    for step in range(18):
        x, g = tables[step // 2 % 3], random(40, 30, seed=step)
        x[...] = expected
        if step % 4 < 2:
            optimizer.update_rows(x, rows, g[:17])
            plain.update_rows(expected, rows, g[:17])
        else:
            optimizer.update(x, g)
            plain.update(expected, g)
        assert_array_equal(x, expected)
        # work that would take the place of arrays that were let go
        assert sum(np.full((40, 30), 7.0).sum() for _ in range(5)) == 42_000
    x = tables[0]
    for step in range(6):
        for table, call in ((tables[0], optimizer.update), (tables[1], optimizer.update_rows)):
            table[...] = expected
            if call == optimizer.update:
                call(table, random(40, 30, seed=step))
                plain.update(expected, random(40, 30, seed=step))
            else:
                call(table, rows, random(17, 30, seed=step))
                plain.update_rows(expected, rows, random(17, 30, seed=step))
            assert_array_equal(table, expected)


# What tables and rows may be ---------------------------------------------------------------------


def test_lists_and_dicts_of_tables():
    """Each as an optimizer of its own."""
    options = {"lr": 0.1, "momentum": 0.5, "lazy_decay": True}
    for keys in (range(3), ("a", "b", "c")):
        shapes = [(6, 2), (5,), (4, 2, 2)]
        tables = {key: random(*shape) for key, shape in zip(keys, shapes, strict=True)}
        alone = {key: (rmsfast.RMSProp(**options), x.copy()) for key, x in tables.items()}
        optimizer = rmsfast.RMSProp(**options)
        for step in range(6):
            rows = {key: np.array([step % 4, 3, 3][: step % 3 + 1]) for key in keys}
            grads = {key: random(len(rows[key]), *tables[key].shape[1:], seed=step) for key in keys}
            if keys == range(3):
                optimizer.update_rows(*(list(d.values()) for d in (tables, rows, grads)))
            else:
                optimizer.update_rows(tables, rows, dict(reversed(grads.items())))
            for key, (one, x) in alone.items():
                one.update_rows(x, rows[key], grads[key])
                assert_array_equal(tables[key], x)
        assert optimizer.step_count == 6


def test_groups():
    groups = [
        {"params": "b", "lr": 0.01, "momentum": 0.9},
        {"params": ["c"], "centered": True, "rho": 0.5},
    ]
    tables = {key: random(5, 2, seed=k) for k, key in enumerate("abc")}
    own = {"a": {"lr": 0.1}, "b": {"lr": 0.01, "momentum": 0.9},
           "c": {"lr": 0.1, "centered": True, "rho": 0.5}}  # fmt: skip
    expected = {key: Reference(x, True, **own[key]) for key, x in tables.items()}
    optimizer = rmsfast.RMSProp(lr=0.1, lazy_decay=True, groups=groups)
    for step in range(8):
        rows = {key: np.array([step % 5, (k * step) % 3]) for k, key in enumerate("abc")}
        grads = {key: random(2, 2, seed=10 * step + k) for k, key in enumerate("abc")}
        optimizer.update_rows(tables, rows, grads)
        for key, one in expected.items():
            one.step(rows[key], grads[key])
            state = {
                name: entry[key] if isinstance(entry, dict) else entry
                for name, entry in optimizer.state_dict().items()
                if not isinstance(entry, dict) or entry[key].size > 0
            }
            one.check(tables[key], state)


def test_clip_norm_is_of_all_tables_and_of_sums():
    tables = [np.zeros((3, 1)), np.zeros((2, 1))]
    optimizer = rmsfast.RMSProp(lr=0.1, rho=0.0, centered=True, clip_norm=1.0)
    rows = [np.array([1, 1]), np.array([0])]
    optimizer.update_rows(tables, rows, [np.array([[10.0], [20.0]]), np.array([[40.0]])])
    first, second = optimizer.state_dict()["mean"]
    assert_allclose(first.ravel(), [0, 0.6, 0], rtol=1e-15)
    assert_allclose(second.ravel(), [0.8, 0], rtol=1e-15)


@pytest.mark.parametrize("lazy", [False, True])
def test_a_rate_for_each_coordinate(lazy):
    rates = np.abs(random(6, 3, seed=5)) + 0.01
    table = random(6, 3)
    expected = Reference(table, lazy, lr=1.0, momentum=0.5)
    optimizer = rmsfast.RMSProp(rates, momentum=0.5, lazy_decay=lazy)
    rng = np.random.default_rng(2)
    for _ in range(10):
        rows = rng.integers(6, size=4)
        grads = rng.normal(size=(4, 3))
        before = expected.x.copy()
        optimizer.update_rows(table, rows, grads)
        expected.step(rows, grads)
        expected.x[...] = before + rates * (expected.x - before)
        expected.check(table, optimizer.state_dict(), 1e-12)


def test_schedules_count_the_calls():
    table, rate = random(4, 2), schedules.exponential(0.1, 0.8)
    expected, optimizer = Reference(table, lr=rate), rmsfast.RMSProp(rate)
    for step in range(8):
        rows, grads = np.array([step % 4]), random(1, 2, seed=step)
        optimizer.update_rows(table, rows, grads)
        expected.step(rows, grads)
        expected.check(table, optimizer.state_dict())


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("shape", [(4, 2), (4,), (0, 3), (4, 0)])
def test_no_rows_at_all(shape, lazy):
    table = random(*shape)
    before = table.copy()
    optimizer = rmsfast.RMSProp(lr=0.1, lazy_decay=lazy, clip_norm=1.0, weight_decay=0.1)
    for count in range(1, 4):
        optimizer.update_rows(table, np.empty(0, int), np.empty((0, *shape[1:])))
        assert optimizer.step_count == count
    assert_array_equal(table, before)
    assert (optimizer.state_dict()["mean_square"] == 0).all()
    both = [random(3, 2), random(5)]
    optimizer = rmsfast.RMSProp(lr=0.1)
    optimizer.update_rows(both, [np.empty(0, int), np.array([2])], [np.empty((0, 2)), np.ones(1)])
    assert_array_equal(both[0], random(3, 2))
    assert_array_equal(both[1] != random(5), [False, False, True, False, False])


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "i4", "u4", "i8", "u8", ">i4", ">i8"])
def test_rows_of_any_integers(dtype):
    table, expected = random(100, 2), random(100, 2)
    rows, grads = np.array([99, 0, 5, 99, 64]), random(5, 2, seed=1)
    optimizer, plain = rmsfast.RMSProp(lr=0.1), rmsfast.RMSProp(lr=0.1)
    for form in (rows, rows[::-1], np.repeat(rows, 2)[::2]):
        optimizer.update_rows(table, form.astype(dtype)[:], grads)
        plain.update_rows(expected, form.astype(np.intp), grads)
        assert_array_equal(table, expected)
    strided = np.zeros(10, dtype)
    strided[::2] = rows
    optimizer.update_rows(table, strided[::2], grads)
    plain.update_rows(expected, rows, grads)
    assert_array_equal(table, expected)


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "c16", "c8", ">f8", ">c8"])
def test_dtypes_of_tables(dtype):
    """Two tables of float64 coordinates each, and the accumulators of the dtype."""
    native = np.dtype(dtype).newbyteorder("=")
    accumulator = {"e": "f4"}.get(native.char, native)
    table = random(6, 3, dtype=dtype)
    optimizer = rmsfast.RMSProp(lr=0.05, centered=True, lazy_decay=True)
    parts = [table.real, table.imag] if native.kind == "c" else [table]
    expected = [Reference(p.astype("f8"), True, lr=0.05, centered=True) for p in parts]
    for step in range(8):
        rows = np.array([step % 6, 2, step % 4])
        grads = random(3, 3, dtype=dtype, seed=step)
        optimizer.update_rows(table, rows, grads)
        sides = [grads.real, grads.imag] if native.kind == "c" else [grads]
        for one, g in zip(expected, sides, strict=True):
            one.step(rows, g.astype("f8"))
    state = optimizer.state_dict()
    assert table.dtype == dtype
    assert state["mean_square"].dtype == state["mean"].dtype == accumulator
    tolerance = {"e": 2e-2, "f": 2e-5, "F": 2e-5}.get(native.char, 1e-12)
    parts = [table.real, table.imag] if native.kind == "c" else [table]
    for one, x in zip(expected, parts, strict=True):
        assert_allclose(x.astype("f8"), one.x, rtol=tolerance, atol=tolerance)


def test_sums_of_float16_are_in_float32():
    """4096 times 1 is 4096, not 2048; and twice 40000 is no inf."""
    table, optimizer = np.zeros((3, 2), np.float16), rmsfast.RMSProp(lr=0.1, rho=0.0)
    optimizer.update_rows(table, np.full(4096, 1), np.ones((4096, 2), np.float16))
    assert_array_equal(optimizer.state_dict()["mean_square"][1], 4096.0**2)
    optimizer.update_rows(table, np.array([2, 2]), np.full((2, 2), 40_000, np.float16))
    assert_array_equal(optimizer.state_dict()["mean_square"][2], np.float32(80_000) ** 2)
    assert np.isfinite(table).all()


@pytest.mark.parametrize("dtype", ["f8", "f4", "c16"])
def test_order_of_duplicates_does_not_matter_where_sums_are_exact(dtype):
    rng = np.random.default_rng(4)
    rows = rng.integers(5, size=40)
    grads = rng.integers(-9, 10, size=(40, 3)).astype(dtype)
    results = []
    for _ in range(6):
        order = rng.permutation(40)
        table, optimizer = random(5, 3, dtype=dtype), rmsfast.RMSProp(lr=0.1, momentum=0.5)
        for _ in range(2):
            optimizer.update_rows(table, rows[order], grads[order])
        results.append((table.tobytes(), optimizer.state_dict()["mean_square"].tobytes()))
    assert len(set(results)) == 1
    # and the sums given at once are the same
    total = np.zeros((5, 3), dtype)
    np.add.at(total, rows, grads)
    table, optimizer = random(5, 3, dtype=dtype), rmsfast.RMSProp(lr=0.1, momentum=0.5)
    for _ in range(2):
        optimizer.update_rows(table, np.arange(5), total)
    assert table.tobytes() == results[0][0]


class Mine(np.ndarray):
    """A class of arrays, as `numpy.memmap` is."""


TABLES = {
    "F order": lambda: np.asfortranarray(random(8, 3)),
    "every other row": lambda: random(16, 3)[::2],
    "every other column": lambda: random(8, 6)[:, ::2],
    "backwards": lambda: random(8, 3)[::-1],
    "transposed": lambda: random(3, 8).T,
    "part of a larger one": lambda: random(20, 9)[5:13, 4:7],
    "unaligned": lambda: np.frombuffer(bytearray(8 * 24 + 1), "f8", 24, 1).reshape(8, 3),
    "of a class of one's own": lambda: random(8, 3).view(Mine),
}


@pytest.mark.parametrize("make", TABLES.values(), ids=TABLES)
def test_layouts_of_tables(make):
    table = make()
    table[...] = random(8, 3)
    expected = random(8, 3)
    optimizer, plain = (rmsfast.RMSProp(lr=0.1, momentum=0.5, lazy_decay=True) for _ in range(2))
    for step in range(6):
        rows, grads = np.array([step, 7, step]), random(3, 3, seed=step)
        optimizer.update_rows(table, rows, np.asfortranarray(grads) if step % 2 else grads)
        plain.update_rows(expected, rows, grads)
        assert_array_equal(table, expected)


def test_elements_beside_a_strided_table_are_left_alone():
    wide = random(16, 6)
    before = wide.copy()
    rmsfast.RMSProp(lr=0.1).update_rows(wide[::2, ::2], np.arange(8), np.ones((8, 3)))
    assert (wide[::2, ::2] != before[::2, ::2]).all()
    wide[::2, ::2] = before[::2, ::2]
    assert_array_equal(wide, before)


@pytest.mark.parametrize("order", ["C", "F"])
def test_table_in_a_file(tmp_path, order):
    path, expected = tmp_path / "table", random(50, 4)
    table = np.memmap(path, "f8", "w+", shape=(50, 4), order=order)
    table[...] = expected
    optimizer, plain = (rmsfast.RMSProp(lr=0.1, lazy_decay=True) for _ in range(2))
    for step in range(4):
        rows, grads = np.array([step, 40, step + 1]), random(3, 4, seed=step)
        optimizer.update_rows(table, rows, grads)
        plain.update_rows(expected, rows, grads)
        whole = random(50, 4, seed=step)
        optimizer.update(table, whole)
        plain.update(expected, whole)
    table.flush()
    assert type(optimizer.state_dict()["mean_square"]) is np.ndarray
    assert_array_equal(np.memmap(path, "f8", "r", shape=(50, 4), order=order), expected)
    with pytest.raises(ValueError, match="params must be writeable"):
        optimizer.update_rows(np.memmap(path, "f8", "r", shape=(50, 4)), rows, grads)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("before", [0, 3])
def test_nonfinite_is_skipped(bad, lazy, before):
    def step(optimizer, tables, k):
        rows = [np.array([k, 2, k]), np.array([0])]
        optimizer.update_rows(tables, rows, [random(3, 2, seed=k), random(1, seed=k)])

    tables, others = ([random(6, 2), random(4)] for _ in range(2))
    options = {"lr": 0.1, "centered": True, "lazy_decay": lazy, "skip_nonfinite": True}
    optimizer, twin = rmsfast.RMSProp(**options), rmsfast.RMSProp(**options)
    for k in range(before):
        step(optimizer, tables, k)
        step(twin, others, k)
    grads = [random(3, 2), np.array([bad])]
    optimizer.update_rows(tables, [np.array([1, 5, 1]), np.array([3])], grads)
    assert (optimizer.step_count, optimizer.skipped_count) == (before, 1)
    for x, y in zip(tables, others, strict=True):
        assert_array_equal(x, y)
    state, expected = optimizer.state_dict(), twin.state_dict()
    assert state.keys() == expected.keys()
    for name in expected.keys() - {"step_count", "skipped_count"}:
        for a, b in zip(state[name], expected[name], strict=True):
            assert_array_equal(a, b)
    for k in range(before, before + 3):
        step(optimizer, tables, k)
        step(twin, others, k)
    for x, y in zip(tables, others, strict=True):
        assert_array_equal(x, y)


def test_many_rows_of_a_large_table():
    """Enough for all threads."""
    rng = np.random.default_rng(8)
    table, rows = random(3000, 40), rng.integers(3000, size=5000)
    expected = Reference(table, True, lr=0.1, momentum=0.9)
    optimizer = rmsfast.RMSProp(lr=0.1, momentum=0.9, lazy_decay=True)
    for step in range(3):
        grads = random(5000, 40, seed=step)
        optimizer.update_rows(table, rows, grads)
        expected.step(rows, grads)
    expected.check(table, optimizer.state_dict(), 1e-12)


@pytest.mark.parametrize("lazy", [False, True])
def test_factors_of_a_matrix(lazy):
    """A 30 x 20 matrix of rank 3 from its entries, 60 at a time."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(30, 3)) @ rng.normal(size=(3, 20))
    factors = {"u": rng.normal(size=(30, 3)), "v": rng.normal(size=(20, 3))}

    def loss():
        return ((factors["u"] @ factors["v"].T - truth) ** 2).mean()

    start = loss()
    rate = schedules.cosine(0.05, 3000)
    optimizer = rmsfast.RMSProp(rate, rho=0.9, lazy_decay=lazy)
    for _ in range(3000):
        rows = {"u": rng.integers(30, size=60), "v": rng.integers(20, size=60)}
        u, v = factors["u"][rows["u"]], factors["v"][rows["v"]]
        error = (u * v).sum(1) - truth[rows["u"], rows["v"]]
        optimizer.update_rows(factors, rows, {"u": error[:, None] * v, "v": error[:, None] * u})
    assert loss() < 1e-6 * start
    assert optimizer.step_count == 3000


@st.composite
def runs(draw):
    """A table, options, and several calls with rows and gradients."""
    n, more = draw(st.integers(1, 8)), draw(st.sampled_from([(), (1,), (3,), (2, 2)]))
    options = {
        "lr": draw(st.sampled_from([0.01, 1.0])),
        "rho": draw(st.sampled_from([0.0, 0.5, 0.99])),
        "eps": draw(st.sampled_from([1e-8, 0.1])),
        "momentum": draw(st.sampled_from([0.0, 0.5])),
        "initial_scale": draw(st.sampled_from([0.0, 2.0])),
    }
    number = st.integers(-64, 64).map(lambda k: k / 16)
    width = int(np.prod(more))
    calls = []
    for _ in range(draw(st.integers(1, 5))):
        rows = draw(st.lists(st.integers(0, n - 1), max_size=10))
        flat = draw(st.lists(number, min_size=len(rows) * width, max_size=len(rows) * width))
        calls.append((np.array(rows, int), np.array(flat, float).reshape(len(rows), *more)))
    return (n, *more), draw(st.booleans()), options, calls


@hypothesis.given(runs())
@hypothesis.settings(max_examples=150)
def test_any_rows(run):
    shape, lazy, options, calls = run
    table = random(*shape)
    expected = Reference(table, lazy, **options)
    optimizer = rmsfast.RMSProp(lazy_decay=lazy, **options)
    for rows, grads in calls:
        optimizer.update_rows(table, rows, grads)
        expected.step(rows, grads)
        expected.check(table, optimizer.state_dict(), 1e-11)
