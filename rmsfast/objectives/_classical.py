"""What a classical objective function is: a compiled function and the facts about it."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rmsfast.core.jit import jit
from rmsfast.objective import Objective, Terms
from rmsfast.objectives._sums import Sum

FloatArray = NDArray[np.float64]
Bounds = list[tuple[float, float]]

UNKNOWN = float("nan")


class Minimum(NamedTuple):
    """Lowest value known, and where it is taken.

    `x` is a float64 array ``(n,)``: one of the minimizers where there are several, and
    None where it has no closed form or does not exist. `fun` is nan for a size whose
    minimum is not known.
    """

    x: FloatArray | None
    fun: float


class Facts(NamedTuple):
    """What is known of a function, for every size ``n`` it comes in."""

    sizes: range
    start: Callable[[int], ArrayLike]
    minimum: Callable[[int], tuple[ArrayLike | None, float]]
    bounds: Callable[[int], Bounds | None]


class Classical(Objective):
    """A classical function of ``n`` variables, with its start, minimum and search box.

    Calling it at ``x`` returns ``(f, g)``, the value and the gradient. Its docstring is
    that of the function: the formula, the start, the minimum and the reference.

    Parameters
    ----------
    form : compiled function or Sum
        ``fun(x, g) -> f`` writes the whole gradient at `x` into `g`; both are float64 or
        both float32, of shape ``(n,)``. A `Sum` has it, and the same as terms.
    facts : Facts
        Start, minimum, bounds and allowed sizes.
    n : int
        The number of variables.
    """

    def __init__(self, form: Any, facts: Facts, n: int) -> None:
        super().__init__(form.fun if isinstance(form, Sum) else form)
        self.name: str = self.fun.__name__
        self.n = n
        self._form, self._facts = form, facts

    @property
    def x0(self) -> FloatArray:
        """Standard start, float64 ``(n,)``: a new array at each access."""
        return np.array(self._facts.start(self.n), dtype=np.float64)

    @property
    def minimum(self) -> Minimum:
        """Lowest value known and its place; `x` is a new array at each access."""
        x, fun = self._facts.minimum(self.n)
        return Minimum(None if x is None else np.array(x, dtype=np.float64), fun)

    @property
    def bounds(self) -> Bounds | None:
        """Customary search box, one pair per variable; None where there is none."""
        return self._facts.bounds(self.n)

    @property
    def sizes(self) -> range:
        """Numbers of variables that `of_size` takes."""
        return self._facts.sizes

    def of_size(self, n: int) -> "Classical":
        """Return the same compiled function with the facts for `n` variables.

        Raises
        ------
        ValueError
            If the function does not come in `n` variables.
        """
        if n not in self.sizes:
            raise ValueError(f"{self.name} has no n={n}: allowed sizes are {spoken(self.sizes)}")
        return Classical(self._form, self._facts, int(n))

    @property
    def terms(self) -> Terms | None:
        """The same by `rmsfast.Objective.from_terms`; None if it is no sum of terms."""
        return Terms(self._form.term, self._form.grad) if isinstance(self._form, Sum) else None

    def __repr__(self) -> str:
        return f"<{self.name}, n={self.n}>"

    def __reduce__(self) -> tuple[Callable[[str, int], "Classical"], tuple[str, int]]:
        return named, (self.name, self.n)


def named(name: str, n: int) -> Classical:
    """Return the function of the collection called `name`, in `n` variables."""
    from rmsfast import objectives

    found: Classical = getattr(objectives, name)
    return found.of_size(n)


def spoken(sizes: range) -> str:
    """Write `sizes` for people: ``4, 8, 12, ...`` without end, ``2, 3, 4, ..., 31`` with one."""
    if len(sizes) <= 4:
        return ", ".join(map(str, sizes))
    end = "" if sizes.stop == sys.maxsize else f", {sizes[-1]}"
    return ", ".join(map(str, sizes[:3])) + ", ..." + end


def at_least(n: int) -> range:
    """Return the sizes ``n, n + 1, ...``."""
    return range(n, sys.maxsize)


def multiples_of(n: int) -> range:
    """Return the sizes ``n, 2 n, ...``."""
    return range(n, sys.maxsize, n)


def box(low: float, high: float) -> Callable[[int], Bounds]:
    """Return the bounds of the cube ``[low, high]^n`` as a function of ``n``."""
    return lambda n: [(low, high)] * n


def no_box(n: int) -> None:
    """Return the bounds of a function that has none."""
    return None


def constants(*values: float) -> FloatArray:
    """Return `values` as a read-only array, which compiled code takes as constants."""
    array = np.array(values, dtype=np.float64)
    array.setflags(write=False)
    return array


def classical(
    *,
    start: Sequence[float],
    minimum: tuple[Sequence[float] | None, float],
    bounds: Bounds | None = None,
) -> Callable[[Callable[..., Any]], Classical]:
    """Make the decorated ``fun(x, g) -> f`` a `Classical` of as many variables as `start`."""
    n = len(start)
    facts = Facts(
        sizes=range(n, n + 1),
        start=lambda n: start,
        minimum=lambda n: minimum,
        bounds=lambda n: None if bounds is None else list(bounds),
    )
    return lambda function: Classical(jit(function), facts, n)


def scalable(
    n: int,
    *,
    sizes: range,
    start: Callable[[int], ArrayLike],
    minimum: Callable[[int], tuple[ArrayLike | None, float]],
    bounds: Callable[[int], Bounds | None] = no_box,
) -> Callable[[Callable[..., Any] | Sum], Classical]:
    """Make the decorated ``fun(x, g) -> f`` or `Sum` a `Classical` of any of `sizes`, first `n`."""
    facts = Facts(sizes, start, minimum, bounds)
    return lambda form: Classical(form if isinstance(form, Sum) else jit(form), facts, n)
