"""RMSProp for loops of one's own: the caller has the gradients."""

from __future__ import annotations

import copy
import functools
import math
import operator
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar

import numpy as np

from rmsfast import device, schedules
from rmsfast.core import cpu
from rmsfast.device import Leaf
from rmsfast.options import (
    HINTS,
    RMSPropOptions,
    UpdateOptions,
    check_count,
    check_names,
    check_number,
    names_of,
    need_lr,
    take,
)
from rmsfast.passes import COLUMNS, UNDERFLOW, Columns, Pass
from rmsfast.tree import Tree

# dtype of the parameters (native byte order) -> of their accumulators, and what is computed in
DTYPES: dict[np.dtype[Any], tuple[np.dtype[Any], Any]] = {
    np.dtype(np.float64): (np.dtype(np.float64), np.float64),
    np.dtype(np.float32): (np.dtype(np.float32), np.float32),
    np.dtype(np.float16): (np.dtype(np.float32), np.float32),
    np.dtype(np.complex128): (np.dtype(np.complex128), np.float64),
    np.dtype(np.complex64): (np.dtype(np.complex64), np.float32),
}
FLAGS = 0x1 | 0x2 | 0x100 | 0x400  # of an array: C, Fortran, aligned, writeable
P = TypeVar("P", bound=Pass)
Q = ParamSpec("Q")
ACCUMULATORS = tuple(name for name in COLUMNS if name != "lr")
COUNTS = ("step_count", "skipped_count")  # of the state, beside the accumulators
# names that one may take for attributes: they would be set, and change nothing
FIXED = {*names_of(RMSPropOptions), *names_of(UpdateOptions), "preset", "groups", *HINTS} - {"lr"}


def _lr_alone_by_position(init: Callable[Q, None]) -> Callable[Q, None]:
    """Make `init` refuse what SciPy hands to a method, or one hands to an optimizer of PyTorch."""

    @functools.wraps(init)
    def checked(*args: Q.args, **options: Q.kwargs) -> None:
        if len(args) > 2:  # self and lr
            raise TypeError(
                f"RMSProp takes lr alone by position, got {len(args) - 1} arguments: it is the "
                "optimizer for loops of your own; the method of minimize is rmsfast.rmsprop"
            )
        init(*args, **options)

    return checked


class RMSProp:
    """RMSProp for gradients that the caller computes; updates arrays in place.

    It takes the hyperparameters of `rmsfast.RMSPropOptions`, and what is below.

    Parameters
    ----------
    lr : float, callable, array, or list or dict of arrays
        Learning rate: a positive number; a schedule of `rmsfast.schedules`, or
        any callable ``lr(k)`` of the number of updates so far; or a rate for
        each coordinate, of the structure and the shapes of the parameters,
        copied. Set `lr` to change it.
    preset : str, optional
        Take what is not given from a framework: see
        `rmsfast.RMSPropOptions.preset`.
    groups : sequence of dict, optional
        Hyperparameters that differ for some arrays, like PyTorch's parameter
        groups: ``{"params": keys, name: value, ...}``, where `keys` are indices
        of the list or keys of the dict of parameters. `clip_norm` is one for
        all.

    Options
    -------
    ema_decay : float, optional
        Keep running averages of the parameters, `average`, with this decay in
        [0, 1): ``average = decay * average + (1 - decay) * params`` after each
        update; the first average is the parameters after the first update.
    skip_nonfinite : bool, optional
        An update with a NaN or inf in any gradient changes nothing, and
        `skipped_count` counts it. Default: False.
    lazy_decay : bool, optional
        See `update_rows`. Default: False.

    Attributes
    ----------
    step_count : int
        Number of updates so far.
    skipped_count : int
        Number of updates skipped. With ``skip_nonfinite=True`` on a GPU, asking
        for one of the two waits for the GPU.

    Raises
    ------
    TypeError
        If an argument is of the wrong type, or there is no such hyperparameter.
    ValueError
        If an argument is outside its bounds, or `lr` is missing or "auto".

    See Also
    --------
    rmsfast.rmsprop : the minimizer, where there is an objective.
    rmsfast.kernels : the same update for compiled loops.

    Notes
    -----
    The global norm that `clip_norm` bounds is that of all gradients of one
    call, coupled weight decay included. It is summed in float64, in an order
    that does not depend on the number of threads.

    Complex numbers are two coordinates each, as in PyTorch. float16 is computed
    in float32, and so are its accumulators; averages take in the parameters
    before they are rounded.

    An instance may be used by several threads: updates wait for each other.

    Examples
    --------
    >>> import numpy as np
    >>> import rmsfast
    >>> params = {"w": np.zeros((3, 2)), "b": np.zeros(2)}
    >>> grads = {"w": np.ones((3, 2)), "b": np.full(2, -2.0)}
    >>> optimizer = rmsfast.RMSProp(lr=0.1, rho=0.9)
    >>> optimizer.update(params, grads)
    >>> params["b"].round(4)
    array([0.3162, 0.3162])
    """

    # derived from the arrays of the last call
    _is_on_gpu: bool
    _control: Any = None  # on a GPU, what each step decides there
    _passes: list[Pass]
    _params: list[np.ndarray]
    _flags: list[int]
    _ids: set[int]  # of the parameters
    _signature: Any

    @_lr_alone_by_position
    def __init__(
        self,
        lr: Any = None,
        *,
        preset: str | None = None,
        groups: Sequence[dict[str, Any]] = (),
        **options: Any,
    ) -> None:
        self._extras = take(UpdateOptions, options)
        lr, self._rates = _split(lr)
        if lr is not None:
            options["lr"] = lr
        check_names(options)
        need_lr(options, preset)
        base = RMSPropOptions.preset(preset, **options)
        if not isinstance(groups, (list, tuple)):
            raise TypeError(f"groups must be a list of dicts, got {groups!r}")
        self._keys: list[tuple[Any, ...]] = []
        self._changes: list[dict[str, Any]] = []
        for group in groups:
            self._add_group(group)
        self._options = self._with_groups(base)
        self._counts = dict.fromkeys(COUNTS, 0)  # of updates, made and skipped
        self._tree: Tree | None = None
        self._dtypes: list[np.dtype[Any]] = []  # of the parameters
        self._state: dict[str, list[np.ndarray]] = {}
        self._forget_arrays()
        self._lock = threading.Lock()

    def __setattr__(self, name: str, value: Any) -> None:
        if name in FIXED:
            raise AttributeError(
                f"{name} cannot be set, only lr can: make a new RMSProp and load_state_dict"
            )
        super().__setattr__(name, value)

    def _add_group(self, group: dict[str, Any]) -> None:
        """Check a group, and remember it."""
        if not isinstance(group, dict) or "params" not in group:
            raise TypeError(f"groups must hold dicts with the key 'params', got {group!r}")
        changes = dict(group)
        keys = changes.pop("params")
        keys = tuple(keys) if isinstance(keys, (list, tuple, set, range)) else (keys,)
        check_names(changes)
        if "clip_norm" in changes:
            raise ValueError(
                f"clip_norm is one for all groups, got {changes['clip_norm']!r} in one"
            )
        for key in keys:
            if any(key in others for others in self._keys):
                raise ValueError(f"groups: {key!r} is in more than one")
        self._keys.append(keys)
        self._changes.append(changes)

    def _with_groups(self, base: RMSPropOptions) -> list[RMSPropOptions]:
        """Return `base`, and what each group makes of it, checked."""
        for changes in self._changes:
            if self._rates is not None and "lr" in changes:
                raise ValueError(
                    f"lr is given for each coordinate, got {changes['lr']!r} in a group"
                )
        return [_numeric(o) for o in (base, *(replace(base, **c) for c in self._changes))]

    # What can be asked ---------------------------------------------------------------------------

    @property
    def options(self) -> RMSPropOptions:
        """Hyperparameters of the arrays that are in no group."""
        return self._options[0]

    @property
    def lr(self) -> Any:
        """Learning rate of all arrays whose group has none of its own; it may be set."""
        return self._options[0].lr if self._rates is None else self._rates

    @lr.setter
    def lr(self, value: Any) -> None:
        """Set the learning rate of all arrays whose group has none of its own."""
        with self._lock:
            before = self._rates
            lr, self._rates = _split(value)
            try:
                options = self._with_groups(replace(self._options[0], lr=lr))
                for each in self._passes:
                    options[each.group].check_dtype(np.dtype(each.T))
            except (TypeError, ValueError):
                self._rates = before
                raise
            if before is not None or self._rates is not None:
                self._passes = []
            self._options = options

    @property
    def step_count(self) -> int:
        """Number of updates so far."""
        self._fetch_counts()
        return self._counts["step_count"]

    @property
    def skipped_count(self) -> int:
        """Number of updates skipped."""
        self._fetch_counts()
        return self._counts["skipped_count"]

    def _fetch_counts(self) -> None:
        """Learn from the GPU how many updates it skipped."""
        if self._control is not None and self._extras.skip_nonfinite:
            self._counts = dict(zip(COUNTS, self._control.counts(), strict=True))

    @property
    def average(self) -> Any:
        """Running averages of the parameters, copies in their structure.

        Raises
        ------
        ValueError
            If there are none: without `ema_decay`, or before the first update.
        """
        if self._extras.ema_decay is None:
            raise ValueError("average needs ema_decay, got ema_decay=None")
        with self._lock:
            if self.step_count == 0 or self._tree is None:
                raise ValueError("average: there was no update yet")
            return self._tree.pack([a.copy("K") for a in self._state["average"]])

    def __repr__(self) -> str:
        return f"RMSProp(lr={self.lr!r}, step_count={self.step_count})"

    # Updates -------------------------------------------------------------------------------------

    def update(self, params: Any, grads: Any, *, stream: Any = None) -> None:
        """Update the parameters in place.

        Parameters
        ----------
        params : ndarray, or list, tuple or dict of ndarray
            float64, float32, float16, complex128 or complex64 of any shape,
            layout and byte order, writeable. The structure, shapes and dtypes
            are those of the first update. Or all on a GPU: anything with
            ``__cuda_array_interface__`` or DLPack, such as tensors of PyTorch
            and arrays of CuPy and Numba.
        grads : the same
            Gradients, of the same structure, shapes and dtypes. Each may
            overlap its own parameters, or be another's, but be no view of
            another's.
        stream : object or int, optional
            On a GPU, the stream to work on: one of Numba, CuPy or PyTorch, or
            its address. Default: the stream that the first parameter names,
            for tensors PyTorch's current one, else the default stream. If
            other arrays name others, the work waits for those, and they for it.

        Raises
        ------
        TypeError
            If something is no array, or of another dtype, or only some arrays
            are on a GPU.
        ValueError
            If a structure or a shape is another one, an array is read-only, or
            one is twice in `params`. Nothing is changed then.
        RuntimeError
            If arrays are on a GPU that cannot be used; the message says why.
        NotImplementedError
            If arrays are on a GPU, with `lazy_decay`.

        Notes
        -----
        Contiguous arrays are updated where they are, from 128 KiB on by all
        threads of Numba, with the same bits as by one. Others are copied to
        and fro in pieces of 16,384 elements, on one thread.

        On a GPU all arrays of one group and dtype go through one kernel, which
        this function does not wait for; the first call does, since it makes the
        accumulators. Nothing is copied: an array must fill one piece of memory,
        in any order of its axes, its gradient in the same order, and the
        gradients must not overlap parameters. Clipping and skipping are decided
        on the GPU. A schedule with ``skip_nonfinite=True`` makes each call wait,
        since the learning rate depends on how many updates were made.
        """
        with self._lock:
            if self._is_on_gpu or (not self._passes and self._find_on_gpu(params)):
                self._update_on_gpu(params, grads, stream)
                return
            if stream is not None:
                raise TypeError(f"stream is for arrays on a GPU, got {stream!r} with other ones")
            rates = self._current_rates()
            is_first = not self._state
            xs, gs = self._bind(params, grads)
            scale = self._scale(self._passes, xs, gs)
            if scale is None:
                if is_first:
                    self._forget()
                return
            if self._extras.lazy_decay:
                for k, group in enumerate(self._group_of(self._tree or Tree.of(params))):
                    last = self._state["last_step"][k]
                    self._catch_up(group, self._counts["step_count"] - last, self._state, k)
                    last[...] = self._counts["step_count"] + 1
            self._advance(self._passes, xs, gs, rates, scale)

    def update_rows(self, params: Any, rows: Any, grads: Any) -> None:
        r"""Update some rows of the parameters in place.

        For tables of which a step touches a few rows: embeddings, the factors
        of a matrix. Gradients of a row that occurs more than once are added.
        Only the rows named move and decay; `step_count` counts the call.

        Parameters
        ----------
        params : ndarray, or list, tuple or dict of ndarray
            As in `update`, of one dimension or more. Rows are along the first.
        rows : ndarray of int, shape (k,), or list, tuple or dict of them
            Indices from 0 on.
        grads : ndarray, or list, tuple or dict of ndarray
            Gradients of these rows, of shape ``(k, *params.shape[1:])`` and
            the dtype of `params`.

        Raises
        ------
        TypeError
            If something is no array, or of another dtype.
        ValueError
            If a structure or a shape is another one, an array is read-only, a
            row is outside its table, or the averages of `ema_decay` are kept.
            Nothing is changed then.
        NotImplementedError
            If the arrays are on a GPU.

        Notes
        -----
        With ``lazy_decay=True`` a row that was last updated at step :math:`t_0`
        has its mean square (and mean) brought up to date at step :math:`t`
        before its gradient comes in,

        .. math:: s_{t-1} = \rho^{\,t-1-t_0} s_{t_0},

        as if it had had zero gradients since. Without momentum and weight decay
        the update is then that of the whole table with a gradient of zeros and
        these rows. With ``lazy_decay=False`` untouched rows keep their mean
        square, like the rows of PyTorch's ``SparseAdam``. The momentum buffer
        and the weight decay of untouched rows wait in both.

        Examples
        --------
        >>> import numpy as np
        >>> import rmsfast
        >>> table = np.zeros((5, 2))
        >>> optimizer = rmsfast.RMSProp(lr=0.1, lazy_decay=True)
        >>> optimizer.update_rows(table, np.array([3, 3]), np.ones((2, 2)))
        >>> table[2:4].round(3)
        array([[ 0.,  0.],
               [-1., -1.]])
        """
        if self._extras.ema_decay is not None:
            raise ValueError(
                f"update_rows keeps no averages, got ema_decay={self._extras.ema_decay!r}"
            )
        with self._lock:
            if self._is_on_gpu or self._find_on_gpu(params):
                raise NotImplementedError("update_rows takes NumPy arrays, got arrays on a GPU")
            self._update_rows(params, rows, grads)

    def _find_on_gpu(self, params: Any) -> bool:
        """Return whether one of the parameters is on a GPU."""
        tree = self._tree or Tree.of(params)
        return any(map(device.is_on_gpu, tree.leaves("params", params)))

    def _update_on_gpu(self, params: Any, grads: Any, stream: Any) -> None:
        """Update arrays on a GPU in place."""
        cuda = device.need_gpu()
        # imported here: it needs a CUDA package
        from rmsfast.device_passes import Control, DevicePass, check_apart

        if self._extras.lazy_decay:
            raise NotImplementedError("lazy_decay=True takes NumPy arrays, got arrays on a GPU")
        rates = self._current_rates()
        tree = self._tree or Tree.of(params)
        place = device.address_of_stream(stream), device.current_device()
        given = {"params": params, "grads": grads}
        leaves: list[list[Any]] = [
            [device.read(tree.label(n, k), a, *place) for k, a in enumerate(tree.leaves(n, arrays))]
            for n, arrays in given.items()
        ]
        xs, gs = leaves
        signature = [[(a.dtype, a.shape, a.strides, a.writeable) for a in each] for each in leaves]
        is_new = not self._passes or signature != self._signature
        if is_new:
            self._check_params(tree, xs)
            for k, (x, g) in enumerate(zip(xs, gs, strict=True)):
                _check_grad(tree.label("grads", k), g, x, x.shape)
                if g.strides != x.strides:
                    raise ValueError(
                        f"{tree.label('grads', k)} must have the strides of the parameters on the "
                        f"GPU, {x.strides} elements, got {g.strides}"
                    )
        check_apart([tree.label("grads", k) for k in range(tree.count)], xs, gs)
        if is_new:
            self._allocate(tree, xs)
            self._lay_out(xs)
            skips, ema_decay = self._extras.skip_nonfinite, self._extras.ema_decay
            counts = self.step_count, self.skipped_count
            passes: Any = self._make_passes(tree, xs, gs, self._state, self._rates, DevicePass)
            self._control = None
            if skips or self.options.clip_norm is not None:
                self._control = Control(passes, self._options, skips, ema_decay, counts)
            self._passes, self._signature, self._is_on_gpu = passes, signature, True
            cuda.synchronize()  # what was allocated is filled, whatever the stream
        with device.stream_of(None if stream is None else place[0], [*xs, *gs]) as there:
            for each in self._passes:
                each.stream = there
                each.point(xs, gs)
            if self._control is not None:
                self._control.decide(there)
            self._advance(self._passes, xs, gs, rates, 1.0)

    def _bind(self, params: Any, grads: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return the arrays in order, checked, with all passes pointing at them."""
        tree = self._tree or Tree.of(params)
        xs, gs = tree.leaves("params", params), tree.leaves("grads", grads)
        # What was checked once, by the values of this, need not be checked again.
        kept = len(xs) == len(self._params) and all(map(operator.is_, xs, self._params))
        kept = kept and [x.flags.num for x in xs] == self._flags
        signature = (self._signature[0] if kept else _signature(xs), _signature(gs))
        if not self._passes or signature != self._signature:
            self._check_params(tree, xs)
            for k, (x, g) in enumerate(zip(xs, gs, strict=True)):
                _check_grad(tree.label("grads", k), g, x, x.shape)
            self._allocate(tree, xs)
            self._lay_out(xs)
            self._passes = self._make_passes(tree, xs, gs, self._state, self._rates, Pass)
            self._signature = signature
        ids = self._ids if kept else set(map(id, xs))
        if not ids.isdisjoint(map(id, gs)):  # another's: read after it was written over
            pairs = zip(xs, gs, strict=True)
            gs = [g if g is x or id(g) not in ids else g.copy("K") for x, g in pairs]
        for each in self._passes:
            each.point(xs, gs)
        if not kept:
            if len(xs) > 1:
                _check_apart([place for each in self._passes for place in each.places(xs)])
            self._params, self._flags, self._ids = xs, [x.flags.num for x in xs], ids
        return xs, gs

    def _check_params(self, tree: Tree, xs: list[Any]) -> None:
        """Raise what `update` documents for parameters."""
        if not xs:
            raise ValueError("params must hold at least one array, got none")
        for k, x in enumerate(xs):
            label = tree.label("params", k)
            _check_array(label, x)
            if x.dtype.newbyteorder("=") not in DTYPES:
                names = ", ".join(str(dtype) for dtype in DTYPES)
                raise TypeError(f"{label} must be of one of the dtypes {names}, got {x.dtype}")
            if not (x.writeable if isinstance(x, Leaf) else x.flags.writeable):
                raise ValueError(
                    f"{label} must be writeable, got a read-only array of shape {x.shape} "
                    f"and dtype {x.dtype}"
                )
            state = self._state.get("mean_square")
            if state is not None:
                dtype = x.dtype.newbyteorder("=")
                if x.shape != state[k].shape:
                    raise ValueError(
                        f"{label} must have the shape of the updates before, "
                        f"{state[k].shape}, got {x.shape}"
                    )
                if self._dtypes and dtype != self._dtypes[k]:
                    raise TypeError(
                        f"{label} must have the dtype of the updates before, "
                        f"{self._dtypes[k]}, got {x.dtype}"
                    )
                if DTYPES[dtype][0] != state[k].dtype:
                    raise TypeError(
                        f"{label} must have the dtype of the state loaded, "
                        f"{state[k].dtype}, got {x.dtype}"
                    )
        _check_apart([_address(x) for x in xs if x.size > 0])

    def _group_of(self, tree: Tree) -> list[int]:
        """Return, for each array, which of `self._options` are its own."""
        groups = [0] * tree.count
        for number, keys in enumerate(self._keys, 1):
            for key in keys:
                groups[tree.index(key)] = number
        return groups

    def _allocate(self, tree: Tree, xs: list[np.ndarray]) -> None:
        """Check what depends on the dtypes, and make the accumulators of a first update."""
        groups = self._group_of(tree)
        if self._rates is not None:
            for k, (x, r) in enumerate(zip(xs, tree.leaves("lr", self._rates), strict=True)):
                _check_rates(tree.label("lr", k), r, x)
        for x, group in zip(xs, groups, strict=True):
            self._options[group].check_dtype(np.dtype(_kinds(x)[1]))
        if not self._state:
            self._state = self._blank([self._options[n] for n in groups], xs)
        self._tree, self._dtypes = tree, [x.dtype.newbyteorder("=") for x in xs]

    def _lay_out(self, xs: list[Any]) -> None:
        """Lay the accumulators out as the parameters, so that one pass runs through both."""
        for k, x in enumerate(xs):
            for name, arrays in self._state.items():
                if name in ACCUMULATORS and arrays[k].shape == x.shape:
                    arrays[k] = _laid_out(arrays[k], x)

    def _blank(
        self, options: list[RMSPropOptions], xs: list[np.ndarray]
    ) -> dict[str, list[np.ndarray]]:
        """Return the state before the first update: arrays without elements where unused."""
        state: dict[str, list[np.ndarray]] = {name: [] for name in _names(options, self._extras)}
        for o, x in zip(options, xs, strict=True):
            dtype, _ = _kinds(x)
            used = _names([o], self._extras)
            for name, arrays in state.items():
                if name == "last_step":
                    arrays.append(np.zeros(x.shape[:1], np.int64))
                elif name in used:
                    start = o.initial_scale if name == "mean_square" else 0.0
                    arrays.append(_like(x, start, dtype))
                else:
                    arrays.append(np.empty(0, dtype))
        return state

    def _make_passes(
        self,
        tree: Tree,
        xs: list[Any],
        gs: list[Any],
        state: dict[str, list[Any]],
        lrs: Any,
        kind: type[P],
    ) -> list[P]:
        """Sort the arrays into passes of the class `kind`."""
        passes: dict[Any, P] = {}
        rates = None if lrs is None else tree.leaves("lr", lrs)
        for k, group in enumerate(self._group_of(tree)):
            dtype, T = _kinds(xs[k])
            key = group, kind.kind_of(xs[k].dtype, T)
            if key not in passes:
                passes[key] = kind(group, self._options[group], T, self._extras.ema_decay)
            columns: Columns = {
                name: state[name][k]
                for name in ACCUMULATORS
                if name in state and state[name][k].shape == xs[k].shape
            }
            if rates is not None:
                columns["lr"] = _like(xs[k], rates[k], dtype)
            passes[key].add(k, xs[k], gs[k], columns)
        for each in passes.values():
            each.close()
        return list(passes.values())

    def _current_rates(self) -> list[float]:
        """Return the learning rate of each group at this step."""
        return [self._scheduled(o.lr) if callable(o.lr) else o.lr for o in self._options]  # type: ignore[misc]

    def _scheduled(self, lr: Callable[[int], float]) -> float:
        """Return the learning rate of a schedule at this step."""
        k = self.step_count
        return check_number(f"lr({k})", lr(k), 0.0)

    def _advance(
        self,
        passes: list[Pass],
        xs: list[np.ndarray],
        gs: list[np.ndarray],
        rates: list[float],
        scale: float,
    ) -> None:
        """Update all arrays, and count it."""
        t = self._counts["step_count"] + 1
        for each in passes:
            numbers, options = each.numbers, self._options[each.group]
            numbers[cpu.RATE] = rates[each.group]
            numbers[cpu.SCALE] = scale
            if options.bias_correction:
                numbers[cpu.CORRECTION] = options.correction(t)
            if self._extras.ema_decay is not None:
                numbers[cpu.DECAY] = self._extras.ema_decay if t > 1 else 0.0
            each.update(xs, gs)
        self._counts["step_count"] = t

    def _scale(
        self, passes: list[Pass], xs: list[np.ndarray], gs: list[np.ndarray]
    ) -> float | None:
        """Return the factor that `clip_norm` asks for, or None, counted, to skip the update."""
        clip_norm, skips = self._options[0].clip_norm, self._extras.skip_nonfinite
        if clip_norm is None and not skips:
            return 1.0

        def measure(factor: float, largest: bool = False) -> tuple[float, float]:
            parts = [each.measure(xs, gs, factor, largest) for each in passes]
            return sum(square for square, _ in parts), max(top for _, top in parts)

        square, _ = measure(1.0)
        factor, finite = 1.0, math.isfinite(square)
        if not UNDERFLOW < square < math.inf and (clip_norm is not None or not finite):
            _, largest = measure(1.0, largest=True)
            finite = largest < math.inf
            if finite and largest > 0:
                factor = 2.0 ** -min(max(math.frexp(largest)[1], -1000), 1000)
                square, _ = measure(factor)
        if skips and not finite:
            self._counts["skipped_count"] += 1
            return None
        if clip_norm is None or not finite or square == 0:
            return 1.0
        return min(1.0, clip_norm / math.sqrt(square) * factor)

    def _update_rows(self, params: Any, rows: Any, grads: Any) -> None:
        """Gather the rows, update them as whole arrays, and write them back."""
        lr = self._current_rates()
        is_first = not self._state
        tree = self._tree or Tree.of(params)
        xs = tree.leaves("params", params)
        rs, gs = tree.leaves("rows", rows), tree.leaves("grads", grads)
        self._check_params(tree, xs)
        for k, (x, r, g) in enumerate(zip(xs, rs, gs, strict=True)):
            _check_rows(tree.label("rows", k), r, tree.label("params", k), x)
            _check_grad(tree.label("grads", k), g, x, (r.size, *x.shape[1:]))
        self._allocate(tree, xs)
        state = self._state
        summed = [_sum_rows(r, g) for r, g in zip(rs, gs, strict=True)]
        rs, gs = [r for r, _ in summed], [g for _, g in summed]
        parts = [np.take(x, r, 0) for x, r in zip(xs, rs, strict=True)]
        state_parts = {
            name: [
                np.take(a, r, 0) if a.shape == x.shape else a
                for a, r, x in zip(arrays, rs, xs, strict=True)
            ]
            for name, arrays in state.items()
            if name in ACCUMULATORS
        }
        if self._extras.lazy_decay:
            for k, group in enumerate(self._group_of(tree)):
                idle = self._counts["step_count"] - state["last_step"][k][rs[k]]
                self._catch_up(group, idle, state_parts, k)
        rates = None
        if self._rates is not None:
            lrs = tree.leaves("lr", self._rates)
            rates = tree.pack([np.take(a, r, 0) for a, r in zip(lrs, rs, strict=True)])
        passes = self._make_passes(tree, parts, gs, state_parts, rates, Pass)
        for each in passes:
            each.point(parts, gs)
        scale = self._scale(passes, parts, gs)
        if scale is None:
            if is_first:
                self._forget()
            return
        self._advance(passes, parts, gs, lr, scale)
        for k, r in enumerate(rs):
            xs[k][r] = parts[k]
            for name, arrays in state_parts.items():
                if state[name][k].shape == xs[k].shape:
                    state[name][k][r] = arrays[k]
            if self._extras.lazy_decay:
                state["last_step"][k][r] = self._counts["step_count"]

    def _catch_up(
        self, group: int, idle: np.ndarray, state: dict[str, list[np.ndarray]], k: int
    ) -> None:
        """Let the averages of the rows of array `k` decay over the steps they were idle."""
        factor = float(self._options[group].rho) ** idle
        for name in ("mean_square", "mean"):
            if name in state and state[name][k].size > 0:
                a = state[name][k]
                a *= factor.reshape(factor.shape + (1,) * (a.ndim - factor.ndim))

    # State ---------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return what the optimizer remembers, as copies.

        Returns
        -------
        dict
            `step_count` and `skipped_count`; and, after the first update,
            `mean_square`, and where they are used `mean`, `momentum_buffer`,
            `average` and `last_step`: each an array, or a list or dict of
            arrays like the parameters, without elements for an array whose
            group does not use it. Hyperparameters are not part of it.
        """
        with self._lock:
            state: dict[str, Any] = {name: getattr(self, name) for name in COUNTS}
            if self._tree is not None:
                for name, arrays in self._state.items():
                    state[name] = self._tree.pack([a.copy("K") for a in arrays])
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned.

        Parameters
        ----------
        state : dict
            The arrays are copied.

        Raises
        ------
        TypeError
            If an entry is of the wrong type.
        ValueError
            If entries are missing or unknown, if the structures or shapes of
            two entries differ, or a mean square is negative or not finite.
            Nothing is changed then.
        """
        if not isinstance(state, dict):
            raise TypeError(f"state must be a dict, got {state!r}")
        given = state.keys() - COUNTS
        begun = given or state.get("step_count", 0) != 0
        wanted = {*COUNTS, *(_names(self._options, self._extras) if begun else ())}
        if state.keys() != wanted:
            raise ValueError(f"state must have the entries {sorted(wanted)}, got {list(state)}")
        # in a file of `numpy.savez` numbers are arrays of no dimension
        step_count, skipped_count = (
            check_count(name, v.item() if isinstance(v, np.ndarray) and v.ndim == 0 else v, 0)
            for name, v in ((n, state[n]) for n in COUNTS)
        )
        tree, arrays = None, {}
        if given:
            tree = Tree.of(state["mean_square"])
            self._group_of(tree)  # raises if a group's key is missing
            if self._tree is not None and tree != self._tree:
                raise ValueError(
                    f"state must have the structure of the parameters, {self._tree}, got {tree}"
                )
            for name in _names(self._options, self._extras):
                arrays[name] = tree.leaves(name, state[name])
                for k, a in enumerate(arrays[name]):
                    self._check_loaded(tree, name, k, a, arrays["mean_square"][k], step_count)
        with self._lock:
            dtypes = self._dtypes if tree is not None else []
            self._forget()
            self._tree, self._dtypes = tree, dtypes
            self._state = {name: [a.copy("K") for a in leaves] for name, leaves in arrays.items()}
            self._counts = {"step_count": step_count, "skipped_count": skipped_count}

    def _check_loaded(
        self, tree: Tree, name: str, k: int, a: Any, mean_square: Any, step_count: int
    ) -> None:
        """Raise what `load_state_dict` documents for one array."""
        label = tree.label(name, k)
        _check_array(label, a)
        dtype, shape = mean_square.dtype, mean_square.shape
        if name == "mean_square":
            if self._state:
                dtype, shape = self._state[name][k].dtype, self._state[name][k].shape
            elif dtype not in {accumulator for accumulator, _ in DTYPES.values()}:
                raise TypeError(f"{label} must be of a dtype of accumulators, got {dtype}")
        elif name == "last_step":
            dtype, shape = np.dtype(np.int64), shape[:1]
        elif name not in _names([self._options[self._group_of(tree)[k]]], self._extras):
            shape = (0,)
        if a.dtype != dtype or a.shape != shape:
            raise ValueError(
                f"{label} must be of shape {shape} and dtype {dtype}, "
                f"got shape {a.shape} and dtype {a.dtype}"
            )
        high = step_count if name == "last_step" else np.inf
        if name in ("mean_square", "last_step"):
            for part in (a.real, a.imag):
                wrong = ~((part >= 0) & (part <= high) & (part < np.inf))
                if wrong.any():
                    interval = f"[0, {high}]" if name == "last_step" else "[0, inf)"
                    raise ValueError(f"{label} must be in {interval}, got {part[wrong][0]}")

    def _forget(self) -> None:
        """Forget all that was learnt from arrays."""
        self._tree, self._dtypes, self._state = None, [], {}
        self._forget_arrays()

    def _forget_arrays(self) -> None:
        """Forget what was derived from the arrays of the last call."""
        self._fetch_counts()
        self._is_on_gpu, self._control = False, None
        self._passes, self._params, self._flags, self._ids = [], [], [], set()
        self._signature = (None, None)

    def __getstate__(self) -> dict[str, Any]:
        derived = {"_passes", "_params", "_flags", "_ids", "_signature", "_lock"}
        derived |= {"_is_on_gpu", "_control"}
        with self._lock:
            self._fetch_counts()
            return copy.deepcopy({k: v for k, v in vars(self).items() if k not in derived})

    def __setstate__(self, values: dict[str, Any]) -> None:
        vars(self).update(values)
        self._forget_arrays()
        self._lock = threading.Lock()


def _split(lr: Any) -> tuple[Any, Any]:
    """Return a number or schedule, and a copy of the arrays if there is a rate per coordinate."""
    first = lr
    if isinstance(lr, dict):
        first = next(iter(lr.values()), None)
    elif isinstance(lr, (list, tuple)) and lr:
        first = lr[0]
    if isinstance(first, np.ndarray):
        return 1.0, copy.deepcopy(lr)
    return lr, None


def _numeric(options: RMSPropOptions) -> RMSPropOptions:
    """Return `options` if a loop without an objective can honour its learning rate."""
    if isinstance(options.lr, str):
        raise ValueError("lr must be a number, a schedule or arrays, got 'auto'")
    if isinstance(options.lr, schedules.plateau):
        raise ValueError(f"lr must not depend on the objective, got {options.lr!r}")
    return options


def _names(options: Sequence[RMSPropOptions], extras: UpdateOptions) -> list[str]:
    """Return the names of the accumulators that are used."""
    used = {
        "mean_square": True,
        "mean": any(o.centered for o in options),
        "momentum_buffer": any(o.momentum != 0 for o in options),
        "average": extras.ema_decay is not None,
        "last_step": extras.lazy_decay,
    }
    return [name for name, is_used in used.items() if is_used]


def _signature(arrays: list[Any]) -> Any:
    """Return all that decides how arrays are updated, but where they are."""
    try:
        return [(type(a), a.dtype, a.shape, a.flags.num & FLAGS) for a in arrays]
    except AttributeError:  # no arrays: the checks say so
        return None


def _check_array(label: str, array: Any) -> None:
    if isinstance(array, Leaf):  # `device.read` checked it
        return
    if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
        advice = ": give tensor.detach().numpy()" if hasattr(array, "detach") else ""
        kind = f"{type(array).__module__}.{type(array).__name__}".removeprefix("builtins.")
        raise TypeError(f"{label} must be a NumPy array, got {kind}{advice}")


def _address(x: Any) -> int:
    """Return where an array begins."""
    return x.address if isinstance(x, Leaf) else x.ctypes.data


def _check_apart(places: list[int]) -> None:
    if len(set(places)) < len(places):
        raise ValueError("params must not hold the same memory twice")


def _check_grad(label: str, g: Any, x: np.ndarray, shape: tuple[int, ...]) -> None:
    _check_array(label, g)
    if g.shape != shape or g.dtype.newbyteorder("=") != x.dtype.newbyteorder("="):
        kind = ValueError if g.shape != shape else TypeError
        raise kind(
            f"{label} must be of shape {shape} and dtype {x.dtype}, "
            f"got shape {g.shape} and dtype {g.dtype}"
        )


def _check_rates(label: str, lr: Any, x: np.ndarray) -> None:
    _check_array(label, lr)
    if lr.shape != x.shape or lr.dtype.kind not in "fiu":
        raise ValueError(
            f"{label} must be real and of shape {x.shape}, got shape {lr.shape} "
            f"and dtype {lr.dtype}"
        )
    with np.errstate(over="ignore", under="ignore"):
        rounded = np.asarray(lr).astype(_kinds(x)[1])
    wrong = ~((rounded > 0) & (rounded < np.inf))
    if wrong.any():
        first = np.asarray(lr)[wrong].flat[0]
        raise ValueError(f"{label} must be positive and finite, got {first!r}")


def _check_rows(label: str, rows: Any, params: str, x: np.ndarray) -> None:
    _check_array(label, rows)
    if x.ndim == 0:
        raise ValueError(f"{params} must have rows, got an array of no dimension")
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise ValueError(
            f"{label} must be of one dimension and whole numbers, got shape {rows.shape} "
            f"and dtype {rows.dtype}"
        )
    wrong = (rows < 0) | (rows >= len(x))
    if wrong.any():
        raise ValueError(f"{label} must be in [0, {len(x)}), got {rows[wrong][0]}")


def _sum_rows(rows: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct rows in order, and the sum of the gradients of each."""
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    first = np.flatnonzero(np.diff(ordered, prepend=-1))
    grads = np.take(g, order[first], 0)
    if first.size == rows.size:
        return ordered, grads
    # float16 is computed in float32
    dtype = np.dtype(np.float32) if g.dtype == np.float16 else g.dtype.newbyteorder("=")
    grads = grads.astype(dtype, copy=False)
    counts = np.diff(first, append=rows.size)
    several = counts > 1  # a sum of one takes as long as a sum of many
    starts = np.cumsum(counts[several]) - counts[several]
    parts = np.take(g, order[np.repeat(several, counts)], 0)
    grads[several] = np.add.reduceat(parts, starts, axis=0, dtype=dtype)
    return ordered[first], grads


def _kinds(x: np.ndarray) -> tuple[np.dtype[Any], Any]:
    """Return the dtype of the accumulators of `x`, and what is computed in."""
    return DTYPES[x.dtype.newbyteorder("=")]


def _laid_out(accumulator: Any, x: Any) -> Any:
    """Return an accumulator where `x` is and laid out as that; itself if it is so already."""
    if isinstance(x, Leaf):
        return x.like(accumulator, accumulator.dtype)
    order: Any = "C" if x.flags.c_contiguous else "F" if x.flags.f_contiguous else "K"
    return np.asarray(accumulator, order=order)


def _like(x: Any, values: np.ndarray | float, dtype: np.dtype[Any]) -> Any:
    """Return `values` laid out as `x`; for complex numbers in both parts."""
    if isinstance(x, Leaf):
        return x.like(values, dtype)
    array = np.empty_like(x, dtype, subok=False)
    array.real = values
    if dtype.kind == "c":
        array.imag = values
    return array
