"""Many small problems at once, vectorised across the problems.

A minimization of two unknowns leaves most of a processor idle: each step waits
for the one before it. Here the problems stand side by side, each in a *lane*:
row i of the arrays holds coordinate i of all lanes, and LLVM turns the loops
over lanes into vector instructions. Each lane is where `advance_numeric` would
be, takes the same decisions, and when its problem has finished it takes the next
one from the queue; where the queue is empty the last lane moves into its place,
so that no step is spent on nothing.

Measured on one thread, nanoseconds per problem and iteration of Rosenbrock's
function: 1.0 at n = 2 and 5.4 at n = 10, where one problem after another takes 20
and 30, and the bare loop, without any decision, 0.7 and 4.6: at n = 2 that is what the
divisions and square roots alone take.

What a lane needs stands in one buffer, row by row at distances known at compile time:
so LLVM sees that no two rows overlap, without which it vectorises nothing.
"""

import functools
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.np.arrayobj import populate_array

from rmsfast.core import status
from rmsfast.core.drivers import borrow
from rmsfast.core.jit import cached_by_value, intrinsic, jit, jit_closure, jit_inline
from rmsfast.core.queue import (
    DONE,
    EVALUATIONS,
    NIT,
    STALLED,
    STATUS,
    STOP,
    TAKEN,
    Found,
    Problems,
    fetch_add,
)
from rmsfast.core.rule import Hyper, step, with_rates
from rmsfast.core.solver import (
    CYCLE,
    State,
    clip,
    hyper,
    is_cycle,
    noise,
    projected,
)

LANES = 32  # with 64 no faster at n = 2, and the last problems of a queue wait for more

# what happened in a lane, a bit each
NONFINITE, STATIONARY, SMALL_CHANGE, SHORT_STEP, DUE = 1, 2, 4, 8, 16

# rows of whole numbers: which problem, the clock at its first evaluation, at its next
# appointment (a limit, or a look for cycles) and at its last lower value, the largest
# number of evaluations
PROBLEM, BORN, APPOINTMENT, LOWERED, LIMIT = range(5)
CLOCK = 5  # a row of its own: the clock, the first appointment of all, the length of `rates`
WHOLE_ROWS = 6
# rows of float64
F, F_BEST, F_BEFORE, CYCLE_F, CYCLE_F_BEST = 0, 1, 2, 3, 4
VALUE_ROWS = 5
# blocks of n rows of the dtype of the problems
X, G, SQUARE, MEAN, BUFFER, BEST, PREVIOUS, REFERENCE, LOWER, UPPER = range(10)
BLOCKS = 10
TABLES = 2  # further rows: learning rate and bias correction of each lane's step

NEVER = 2**62
OUT_OF_RATES = -2  # only here: outside, the problem is still running

# in LLVM's text: arithmetic on four or more numbers at once
VECTOR_SUM = re.compile(r"= f(add|sub|mul|div) <(4|8|16|32) x (double|float)>")


class Variant(NamedTuple):
    """What is known when a driver is compiled; all of it off is textbook RMSProp.

    Attributes
    ----------
    constant : bool
        Whether the learning rate is: then limit cycles are looked for.
    bounded, ftol, xtol, momentum, weight_decay, clip_value : bool
        Whether these are in use.
    bias_correction, centered, eps_in_sqrt, nesterov, lr_in_momentum : bool
        As in `rmsfast.RMSPropOptions`.
    decoupled, maximize : bool
        As in `rmsfast.RMSPropOptions`.
    """

    constant: bool
    bounded: bool
    ftol: bool
    xtol: bool
    momentum: bool
    weight_decay: bool
    clip_value: bool
    bias_correction: bool
    centered: bool
    eps_in_sqrt: bool
    nesterov: bool
    lr_in_momentum: bool
    decoupled: bool
    maximize: bool


def variant(state: State) -> Variant | None:
    """Return the variant of a run that has not begun, or None if lanes cannot do it."""
    if state["plateau_patience"] > 0 or state["clip_norm"] < math.inf:
        return None
    used = (state["ftol"] > 0, state["xtol"] > 0, state["momentum"] != 0)
    more = (state["weight_decay"] != 0, state["clip_value"] < math.inf)
    flags = (state[name] for name in Variant._fields[7:])
    return Variant(*map(bool, (state["constant"], state["bounded"], *used, *more, *flags)))


@intrinsic
def _carve(typingctx: Any, buffer: Any, offset: Any, shape: Any, dtype: Any) -> Any:
    """Return a view of the bytes `buffer` from `offset` on, without a reference count.

    Its address is made of a whole number, so that LLVM takes each view for memory of
    its own: where rows of several sizes hang on one pointer it compares them in groups
    that overlap, and never enters its vector loop (4.0 instead of 1.0 ns in float32).
    """
    array = types.Array(dtype.dtype, len(shape), "C")

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        source = context.make_array(buffer)(context, builder, values[0])
        view = context.make_array(array)(context, builder)
        place = builder.add(builder.ptrtoint(source.data, values[1].type), values[1])
        data = builder.inttoptr(place, view.data.type)
        lengths = cgutils.unpack_tuple(builder, values[2])
        size = context.get_abi_sizeof(context.get_data_type(array.dtype))
        strides = [context.get_constant(types.intp, size)]
        for length in lengths[:0:-1]:
            strides.insert(0, builder.mul(strides[0], length))
        populate_array(view, data, lengths, strides, size, None)
        return view._getvalue()

    return array(buffer, offset, shape, dtype), codegen


@intrinsic
def _select(typingctx: Any, condition: Any, a: Any, b: Any) -> Any:
    """Return `a` or `b`, both of them evaluated: LLVM may make a branch of an ``if``."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.select(*values)

    return a(types.boolean, a, a), codegen


@jit_inline
def _hyper(w: np.ndarray, state: State, kind: Variant) -> Hyper:
    """Hyperparameters with all that is off as constants."""
    T = w.dtype.type
    h = hyper(state, w.dtype.type)
    return Hyper(
        h.lr,
        h.rho,
        h.one_minus_rho,
        h.eps,
        h.momentum if kind.momentum else T(0),
        h.weight_decay if kind.weight_decay else T(0),
        h.clip_value if kind.clip_value else T(np.inf),
        T(1),
        T(1),
        kind.bias_correction,
        kind.centered,
        kind.eps_in_sqrt,
        kind.nesterov,
        kind.lr_in_momentum,
        kind.decoupled,
        kind.maximize,
    )


@jit_inline
def next_place(counters: np.ndarray, places: int) -> int:
    """Take the next place of the queue; `places` or more if it is at its end."""
    return fetch_add(counters, TAKEN) if counters[TAKEN] < places else places


@jit
def _corrections(state: State, limits: np.ndarray) -> np.ndarray:
    """Bias correction of each step, up to where it is 1 for good."""
    steps = min(state.maxiter + 1, limits.max())
    count = 1
    while count < steps and state.rho**count > 1e-17:
        count += 1
    table = np.empty(count)
    for k in range(count):
        table[k] = 1.0 - state.rho ** (k + 1)
    return table


@jit_inline
def _look_up(w: np.ndarray, row: int, c: np.ndarray, lanes: int, table: np.ndarray) -> None:
    """Write into `row` what `table` has for the step of each lane."""
    T = w.dtype.type
    clock, last = c[CLOCK, 0], table.size - 1
    for lane in range(lanes):
        w[row, lane] = T(table[min(clock - c[BORN, lane], last)])


@jit_inline
def _keep(w: np.ndarray, n: int, lanes: int) -> None:
    """Remember where all lanes are."""
    for lane in range(lanes):
        for i in range(n):
            w[PREVIOUS * n + i, lane] = w[X * n + i, lane]


@jit_inline
def _is_cycle(w: np.ndarray, v: np.ndarray, n: int, lane: int, started: bool) -> bool:
    """Whether a lane has come back to where it was `CYCLE` steps ago."""
    shift = longest = 0.0
    for i in range(n):
        x = w[PREVIOUS * n + i, lane]
        shift = max(shift, abs(x - w[REFERENCE * n + i, lane]))
        longest = max(longest, abs(w[X * n + i, lane] - x))
        w[REFERENCE * n + i, lane] = x
    f, f_best = v[F, lane], v[F_BEST, lane]
    lowered = not started or f_best != v[CYCLE_F_BEST, lane]
    back = is_cycle(lowered, f, v[CYCLE_F, lane], shift, longest)
    v[CYCLE_F, lane] = f
    v[CYCLE_F_BEST, lane] = f_best
    return back


def _stage(arguments: Any, shapes: Any, lanes: int, start: int) -> tuple[Any, Any, Any, Any, int]:
    """Make the functions that hand each lane its arguments.

    LLVM cannot vectorise over arguments that lie anywhere: those of a problem
    are copied into the buffer when it gets its lane.

    Returns
    -------
    share : ``share(args)``, `args` without reference counts
    load : ``load(buffer, args, problem, lane)`` copies what is the problem's own
    move : ``move(buffer, source, lane)`` copies it from lane to lane
    pick : ``pick(buffer, args, lane)``, the arguments of the objective in this lane
    end : where the buffer ends
    """

    def share(args: Any) -> Any:
        return ()

    def load(buffer: Any, args: Any, problem: Any, lane: Any) -> None:
        pass

    def move(buffer: Any, source: Any, lane: Any) -> None:
        pass

    def pick(buffer: Any, args: Any, lane: Any) -> Any:
        return ()

    parts = jit_inline(share), jit_inline(load), jit_inline(move), jit_inline(pick)
    for j in range(len(shapes) - 1, -1, -1):
        parts = _stage_one(j, arguments[j], shapes[j], lanes, start, *parts)
        if shapes[j] is not None:
            dtype = arguments[j].dtype
            size = numba.np.numpy_support.as_dtype(dtype).itemsize * math.prod(shapes[j]) * lanes
            start += -(-size // 64) * 64
    return (*parts, start)


def _stage_one(
    j: int,
    kind: Any,
    shape: Any,
    lanes: int,
    start: int,
    share: Any,
    load: Any,
    move: Any,
    pick: Any,
) -> tuple[Any, Any, Any, Any]:
    """Add argument `j` before the others."""
    borrowed = isinstance(kind, types.Array)

    @jit_inline
    def share_one(args: Any) -> Any:
        if borrowed:
            return (borrow(args[j]), *share(args))
        return (args[j], *share(args))

    if shape is None:

        @jit_inline
        def pick_one(buffer: Any, args: Any, lane: Any) -> Any:
            return (args[j], *pick(buffer, args, lane))

        return share_one, load, move, pick_one

    dtype = numba.np.numpy_support.as_dtype(kind.dtype).type
    block = (*shape, lanes)
    ndim = len(block)

    if ndim == 1:

        @jit_inline
        def load_one(buffer: Any, args: Any, problem: Any, lane: Any) -> None:
            _carve(buffer, start, block, dtype)[lane] = args[j][problem]
            load(buffer, args, problem, lane)

        @jit_inline
        def move_one(buffer: Any, source: Any, lane: Any) -> None:
            values = _carve(buffer, start, block, dtype)
            values[lane] = values[source]
            move(buffer, source, lane)

        @jit_inline
        def pick_one(buffer: Any, args: Any, lane: Any) -> Any:
            return (_carve(buffer, start, block, dtype)[lane], *pick(buffer, args, lane))

    else:

        @jit_inline
        def load_one(buffer: Any, args: Any, problem: Any, lane: Any) -> None:
            _carve(buffer, start, block, dtype)[..., lane] = args[j][problem]
            load(buffer, args, problem, lane)

        @jit_inline
        def move_one(buffer: Any, source: Any, lane: Any) -> None:
            values = _carve(buffer, start, block, dtype)
            values[..., lane] = values[..., source]
            move(buffer, source, lane)

        @jit_inline
        def pick_one(buffer: Any, args: Any, lane: Any) -> Any:
            return (_carve(buffer, start, block, dtype)[..., lane], *pick(buffer, args, lane))

    return share_one, load_one, move_one, pick_one


def _evaluation(
    function: Callable[..., float], pick: Any, n: int, dtype: type, lanes: int, start: int
) -> Any:
    """Return the function that evaluates one lane, whose points stand from `start` on."""
    fun = numba.njit(error_model="numpy", forceinline=True)(function)

    @jit_inline
    def evaluate_one(buffer: Any, args: Any, lane: Any) -> float:
        x = _carve(buffer, start, (n, lanes), dtype)
        g = _carve(buffer, start + n * lanes * x.itemsize, (n, lanes), dtype)
        return fun(x[:, lane], g[:, lane], *pick(buffer, args, lane))

    return evaluate_one


@functools.cache
def vectorises(
    function: Callable[..., float],
    n: int,
    dtype: type,
    arguments: tuple[Any, ...],
    shapes: tuple[Any, ...],
    lanes: int = LANES,
) -> bool:
    """Look whether LLVM makes vector instructions of the objective, in half a second.

    It does not where the objective raises exceptions, or keeps a loop: over
    anything whose length is not known when it is compiled, or over more than some
    15 unknowns. Where it does, lanes were 5 to 20 times as fast as one problem after
    another, 1.4 to 3 times where the objective calls sin, exp and the like; where it
    does not, 0.4 to 5 times, and below 1 from n = 16 on. Parameters are those of
    `driver`.
    """
    V0 = 2 * n * lanes * np.dtype(dtype).itemsize
    share, _, _, pick, _ = _stage(arguments, shapes, lanes, V0 + 8 * lanes)
    evaluate_one = _evaluation(function, pick, n, dtype, lanes, 0)

    def probe(buffer: Any, args: Any) -> None:
        f = _carve(buffer, V0, (lanes,), np.float64)
        args = share(args)
        for lane in range(lanes):
            f[lane] = evaluate_one(buffer, args, lane)

    signature = types.void(types.uint8[::1], types.Tuple(arguments))
    compiled = numba.njit(signature, error_model="numpy", nogil=True)(probe)
    llvm = compiled.inspect_llvm(compiled.signatures[0])
    return VECTOR_SUM.search(llvm) is not None


@functools.cache
def driver(
    function: Callable[..., float],
    n: int,
    dtype: type,
    arguments: tuple[Any, ...],
    shapes: tuple[Any, ...],
    kind: Variant,
    lanes: int = LANES,
) -> tuple[Any, int]:
    """Compile the loop of one thread over the problems of one queue, for one objective.

    Parameters
    ----------
    function : callable
        The objective ``f = fun(x, g, *args)``, not compiled (`py_func`).
    n : int
        Number of unknowns.
    dtype : type
        numpy.float64 or numpy.float32.
    arguments : tuple
        Numba types of the arguments, those of all problems stacked.
    shapes : tuple
        Of each argument, None if the problems share it, else the shape of what
        one problem has: ``()`` for a number.
    kind : Variant
        See `variant`.
    lanes : int, optional
        How many problems stand side by side, a multiple of 8.

    Returns
    -------
    run : Dispatcher
        ``run(stacked, problems, start, counters, buffer, found)``, as
        `rmsfast.core.queue.queue_driver` but for `buffer`, uint8 and the thread's own. An
        exception of the objective leaves the loop; the problems that have not ended then keep
        the status that they had in ``found.ends``.
    size : int
        Length of `buffer`, which should begin with a cache line.
    """
    FLAGS0 = 0
    C0 = -(-lanes // 64) * 64
    V0 = C0 + 8 * lanes * WHOLE_ROWS
    W0 = V0 + 8 * lanes * VALUE_ROWS
    rows = BLOCKS * n + TABLES
    RATE, CORRECTION = BLOCKS * n, BLOCKS * n + 1
    places = [W0 + k * n * lanes * np.dtype(dtype).itemsize for k in range(BLOCKS + 1)]
    X0, G0, S0, M0, B0, BEST0, _, _, LOW0, HIGH0, TABLES0 = places
    start = W0 + -(-rows * lanes * np.dtype(dtype).itemsize // 64) * 64
    share, load, move, pick, size = _stage(arguments, shapes, lanes, start)

    # LLVM compares the rows of a loop pair by pair, and gives up where there are too many:
    # with momentum that is so at n = 10, 32 instead of 7 ns; at n = 2 one loop takes 1.0 ns
    # where two take 1.5
    split = n * (3 + kind.centered + kind.momentum + kind.weight_decay) > 30

    evaluate_one = _evaluation(function, pick, n, dtype, lanes, W0)

    @jit_inline
    def evaluate(buffer: Any, args: Any) -> None:
        v = _carve(buffer, V0, (VALUE_ROWS, lanes), np.float64)
        for lane in range(lanes):
            v[F, lane] = evaluate_one(buffer, args, lane)

    @jit_inline
    def look(buffer: Any, clock: Any, gtol: Any, ftol: Any, slack: Any, lane: Any) -> int:
        """Take the value and the gradient of a lane: what `_step` and `_sweep` decide."""
        x = _carve(buffer, X0, (n, lanes), dtype)
        g = _carve(buffer, G0, (n, lanes), dtype)
        best = _carve(buffer, BEST0, (n, lanes), dtype)
        low = _carve(buffer, LOW0, (n, lanes), dtype)
        high = _carve(buffer, HIGH0, (n, lanes), dtype)
        c = _carve(buffer, C0, (WHOLE_ROWS, lanes), np.int64)
        v = _carve(buffer, V0, (VALUE_ROWS, lanes), np.float64)
        f, f_best = v[F, lane], v[F_BEST, lane]
        if kind.maximize:
            f = -f
            v[F, lane] = f
        finite, steep = abs(f) < np.inf, False
        below = finite & (f < f_best)
        c[LOWERED, lane] = _select(below, clock, c[LOWERED, lane])
        for i in range(n):
            c_i = g[i, lane]
            finite &= abs(c_i) < np.inf
            if kind.bounded:
                if kind.maximize:
                    c_i = -c_i
                c_i = projected(x[i, lane], c_i, low[i, lane], high[i, lane])
            steep |= abs(c_i) > gtol
        level = (not steep) & (f <= f_best + slack * abs(f))
        better = finite & (below | level)
        v[F_BEST, lane] = _select(better, f, f_best)
        # a loop of its own: LLVM compiles a loop that asks for `better` once for either
        # answer, and on vectors executes both; with the step in it, 9 ns at n = 10
        for i in range(n):
            if better:
                best[i, lane] = x[i, lane]
        flag = NONFINITE * (not finite) | STATIONARY * (better & (not steep))
        if kind.ftol:
            before = v[F_BEFORE, lane]
            small = abs(before - f) <= ftol * max(abs(before), abs(f), 1.0)
            flag |= SMALL_CHANGE * (small & (clock > c[BORN, lane]))
            v[F_BEFORE, lane] = f
        return flag

    @jit_inline
    def go_on(buffer: Any, base: Any, xtol: Any, lane: Any, flag: Any) -> int:
        """Take the step of a lane."""
        x = _carve(buffer, X0, (n, lanes), dtype)
        g = _carve(buffer, G0, (n, lanes), dtype)
        s = _carve(buffer, S0, (n, lanes), dtype)
        m = _carve(buffer, M0, (n, lanes), dtype)
        b = _carve(buffer, B0, (n, lanes), dtype)
        low = _carve(buffer, LOW0, (n, lanes), dtype)
        high = _carve(buffer, HIGH0, (n, lanes), dtype)
        tables = _carve(buffer, TABLES0, (TABLES, lanes), dtype)
        T = x.dtype.type
        lr = base.lr if kind.constant else tables[0, lane]
        correction = tables[1, lane] if kind.bias_correction else base.correction
        h = with_rates(base, lr, correction)
        longest = largest = 0.0
        for i in range(n):
            x_i = x[i, lane]
            m_i = m[i, lane] if kind.centered else T(0)
            b_i = b[i, lane] if kind.momentum else T(0)
            z_i, s[i, lane], m_i, b_i = step(x_i, g[i, lane], s[i, lane], m_i, b_i, h)
            if kind.centered:
                m[i, lane] = m_i
            if kind.momentum:
                b[i, lane] = b_i
            if kind.bounded:
                z_i = clip(z_i, low[i, lane], high[i, lane])
            x[i, lane] = z_i
            if kind.xtol:
                longest = max(longest, abs(z_i - x_i))
                largest = max(largest, abs(z_i))
        if kind.xtol:
            flag |= SHORT_STEP * (longest <= xtol * (xtol + largest))
        return flag

    @jit_inline
    def update(buffer: Any, state: Any, base: Any) -> None:
        flags = _carve(buffer, FLAGS0, (lanes,), np.uint8)
        x = _carve(buffer, X0, (n, lanes), dtype)
        # read before the loops: what stands among things written, LLVM reads for each lane
        clock = _carve(buffer, C0, (WHOLE_ROWS, lanes), np.int64)[CLOCK, 0]
        gtol, ftol, xtol, slack = x.dtype.type(state.gtol), state.ftol, state.xtol, noise(x, 1.0)
        for lane in range(lanes):
            flag = look(buffer, clock, gtol, ftol, slack, lane)
            if not split:
                flag = go_on(buffer, base, xtol, lane, flag)
            flags[lane] = flag
        if split:
            for lane in range(lanes):
                flags[lane] = go_on(buffer, base, xtol, lane, flags[lane])

    @jit_closure
    def verdict(buffer: Any, state: Any, lane: Any, flag: Any) -> int:
        w = _carve(buffer, W0, (rows, lanes), dtype)
        c = _carve(buffer, C0, (WHOLE_ROWS, lanes), np.int64)
        v = _carve(buffer, V0, (VALUE_ROWS, lanes), np.float64)
        nit = c[CLOCK, 0] - c[BORN, lane]
        if flag & NONFINITE:
            return status.NONFINITE if nit > 0 else status.NONFINITE_START
        if flag & STATIONARY:
            return status.GTOL
        if flag & SMALL_CHANGE:
            return status.FTOL
        if flag & SHORT_STEP:
            return status.XTOL
        if flag & DUE:
            if nit >= state.maxiter:
                return status.MAXITER
            if nit + 1 >= c[LIMIT, lane]:
                return status.MAXFUN
            if kind.constant and nit % CYCLE == 0 and _is_cycle(w, v, n, lane, nit > 0):
                return status.LIMIT_CYCLE
            if nit + 1 >= c[CLOCK, 2]:
                return OUT_OF_RATES
        return status.RUNNING

    @jit_inline
    def appoint(c: Any, state: Any, lane: Any, nit: Any) -> None:
        """Set the next appointment after step `nit`."""
        then = min(state.maxiter, c[LIMIT, lane] - 1, c[CLOCK, 2] - 1)
        if kind.constant:
            then = min(then, (nit // CYCLE + 1) * CYCLE)
        c[APPOINTMENT, lane] = c[BORN, lane] + then if then < NEVER else NEVER
        c[CLOCK, 1] = min(c[CLOCK, 1], c[APPOINTMENT, lane])

    @jit_closure
    def begin(
        buffer: Any, state: Any, starts: Any, args: Any, problem: Any, lane: Any, clock: Any
    ) -> None:
        """Put a problem into a lane."""
        w = _carve(buffer, W0, (rows, lanes), dtype)
        c = _carve(buffer, C0, (WHOLE_ROWS, lanes), np.int64)
        v = _carve(buffer, V0, (VALUE_ROWS, lanes), np.float64)
        (_, limits, x0s, lower, upper), scale = starts
        row = problem if lower.shape[0] > 1 else 0
        T = w.dtype.type
        for i in range(n):
            w[X * n + i, lane] = w[BEST * n + i, lane] = x0s[problem, i]
            w[SQUARE * n + i, lane] = T(scale)
            w[MEAN * n + i, lane] = T(0)
            w[BUFFER * n + i, lane] = T(0)
            w[LOWER * n + i, lane] = lower[row, i]
            w[UPPER * n + i, lane] = upper[row, i]
        c[PROBLEM, lane] = problem
        c[BORN, lane] = c[LOWERED, lane] = clock
        c[LIMIT, lane] = limits[row]
        v[F_BEST, lane] = np.inf
        appoint(c, state, lane, -1)
        load(buffer, args, problem, lane)

    @jit_closure
    def finish(buffer: Any, args: Any, found: Any, lane: Any, code: Any) -> None:
        """Write the result of a lane."""
        w = _carve(buffer, W0, (rows, lanes), dtype)
        c = _carve(buffer, C0, (WHOLE_ROWS, lanes), np.int64)
        v = _carve(buffer, V0, (VALUE_ROWS, lanes), np.float64)
        x, fun, jac, ends = found
        p, clock = c[PROBLEM, lane], c[CLOCK, 0]
        for i in range(n):
            w[X * n + i, lane] = w[BEST * n + i, lane]
        f = evaluate_one(buffer, args, lane)  # cheaper than to keep each gradient of the way
        fun[p] = -f if kind.maximize else f
        for i in range(n):
            x[p, i] = w[X * n + i, lane]
            jac[p, i] = w[G * n + i, lane]
        ends[p, NIT] = max(clock - c[BORN, lane], 0)
        ends[p, EVALUATIONS] = clock - c[BORN, lane] + 1
        ends[p, STALLED] = max(clock - c[LOWERED, lane] - (not abs(v[F, lane]) < np.inf), 0)
        ends[p, STATUS] = status.RUNNING if code == OUT_OF_RATES else code

    @jit_closure
    def settle(
        buffer: Any, state: Any, starts: Any, args: Any, counters: Any, found: Any, active: Any
    ) -> int:
        """See to the lanes where something happened; return how many are left."""
        w = _carve(buffer, W0, (rows, lanes), dtype)
        c = _carve(buffer, C0, (WHOLE_ROWS, lanes), np.int64)
        v = _carve(buffer, V0, (VALUE_ROWS, lanes), np.float64)
        flags = _carve(buffer, FLAGS0, (lanes,), np.uint8)
        eights = _carve(buffer, FLAGS0, (lanes // 8,), np.uint64)
        order = starts[0].order
        for eight in range(lanes // 8):
            if eights[eight] == 0:
                continue
            lane = 8 * eight
            while lane < 8 * eight + 8:
                flag = flags[lane]
                if lane >= active:  # at rest: kept where the objective can be evaluated
                    if flag & NONFINITE:
                        begin(buffer, state, starts, args, order[0], lane, c[CLOCK, 0] + 1)
                    lane += 1
                    continue
                code = verdict(buffer, state, lane, flag) if flag else status.RUNNING
                if code == status.RUNNING:
                    if flag & DUE:
                        appoint(c, state, lane, c[CLOCK, 0] - c[BORN, lane])
                    lane += 1
                    continue
                finish(buffer, args, found, lane, code)
                if code != OUT_OF_RATES:
                    fetch_add(counters, DONE)
                place = next_place(counters, order.size)
                if place < order.size:
                    begin(buffer, state, starts, args, order[place], lane, c[CLOCK, 0] + 1)
                    lane += 1
                    continue
                active -= 1
                flags[lane] = flags[active]
                for row in range(rows):
                    w[row, lane] = w[row, active]
                for row in range(CLOCK):
                    c[row, lane] = c[row, active]
                for row in range(VALUE_ROWS):
                    v[row, lane] = v[row, active]
                move(buffer, active, lane)
        return active

    def run(
        stacked: Any, problems: Any, start: Any, counters: Any, buffer: Any, found: Any
    ) -> None:
        w = _carve(buffer, W0, (rows, lanes), dtype)
        c = _carve(buffer, C0, (WHOLE_ROWS, lanes), np.int64)
        flags = _carve(buffer, FLAGS0, (lanes,), np.uint8)
        eights = _carve(buffer, FLAGS0, (lanes // 8,), np.uint64)
        buffer, args = borrow(buffer), share(stacked)
        order, limits = borrow(problems.order), borrow(problems.limits)
        x0s, lower, upper = borrow(problems.x0s), borrow(problems.lower), borrow(problems.upper)
        starts = Problems(order, limits, x0s, lower, upper), start.scale
        found = Found(borrow(found.x), borrow(found.fun), borrow(found.jac), borrow(found.ends))
        rates, state = start.rates, start.blank[0]
        corrections = _corrections(state, limits) if kind.bias_correction else rates
        for word in range(buffer.size // 8):
            _carve(buffer, 0, (buffer.size // 8,), np.int64)[word] = 0
        c[CLOCK, 1] = NEVER
        c[CLOCK, 2] = rates.size if rates.size > 0 else NEVER
        active, clock = 0, 0
        while active < lanes:
            place = next_place(counters, order.size)
            if place >= order.size:
                break
            begin(buffer, state, starts, args, order[place], active, clock)
            active += 1
        for lane in range(active, lanes if active > 0 else 0):
            begin(buffer, state, starts, args, order[0], lane, clock)
        base = _hyper(w, state, kind)
        while active > 0 and counters[STOP] == 0:
            c[CLOCK, 0] = clock
            due = clock >= c[CLOCK, 1]
            if due:
                _keep(w, n, lanes)
            if not kind.constant and rates.size > 0:
                _look_up(w, RATE, c, lanes, rates)
            if kind.bias_correction:
                _look_up(w, CORRECTION, c, lanes, corrections)
            evaluate(buffer, args)
            update(buffer, state, base)
            if due:
                for lane in range(lanes):
                    flags[lane] |= np.uint8(DUE * (c[APPOINTMENT, lane] <= clock))
            happened = np.uint64(0)
            for eight in range(lanes // 8):
                happened |= eights[eight]
            if happened:
                active = settle(buffer, state, starts, args, counters, found, active)
                if due:
                    soonest = NEVER
                    for lane in range(active):
                        soonest = min(soonest, c[APPOINTMENT, lane])
                    c[CLOCK, 1] = soonest
            clock += 1
        c[CLOCK, 0] = clock - 1
        for lane in range(active):  # stopped from outside
            finish(buffer, args, found, lane, status.RUNNING)

    return cached_by_value(
        jit_closure(run), function, n, dtype, arguments, shapes, kind, lanes
    ), size
