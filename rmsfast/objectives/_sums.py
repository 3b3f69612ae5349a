"""Sums of as many terms as there are variables, each formula written once.

A formula takes numbers and returns a term with its derivatives. The decorators here make of
it the function ``fun(x, g) -> f`` for the CPU, which goes along all variables, and the
functions ``term(i, x)`` and ``grad(i, x)`` for a GPU, where each thread has variables of its
own (see `rmsfast.Objective.from_terms`). What a caller does not take of what the formula
returns, LLVM does not compute.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from rmsfast.core.jit import cached_by_value, jit_closure

FEW = 12  # variables up to which one pass along a chain takes less time than two

Function = Callable[..., Any]


class Sum(NamedTuple):
    """An objective in the forms that its callers need.

    Attributes
    ----------
    fun : Dispatcher
        ``fun(x, g) -> f`` writes the whole gradient into `g`.
    term : Dispatcher
        ``term(i, x)``, the term `i`.
    grad : Dispatcher
        ``grad(i, x)``, the derivative of the sum by ``x[i]``.
    """

    fun: Any
    term: Any
    grad: Any


def merged(function: Function) -> Any:
    """Compile a function so that LLVM merges it into its callers."""
    return jit_closure(function, forceinline=True)


def in_all_forms(formula: Function, fun: Function, term: Function, grad: Function) -> Sum:
    """Compile the forms of an objective, which is called and described as `formula` is."""
    fun.__doc__ = formula.__doc__
    for function, ending in ((fun, ""), (term, "_term"), (grad, "_grad")):
        function.__name__ = function.__qualname__ = formula.__name__ + ending
    return Sum(cached_by_value(jit_closure(fun), fun), merged(term), merged(grad))


def also(term: Function, grad: Function) -> Callable[[Function], Sum]:
    """Make a `Sum` of the decorated ``fun(x, g)``, which shares its formulas with the two."""
    return lambda fun: in_all_forms(fun, fun, term, grad)


def separate(formula: Function) -> Sum:
    """Sum over variables: ``formula(i, n, x_i)`` returns the term and its derivative."""
    part = merged(formula)

    def fun(x: Any, g: Any) -> Any:
        n = x.size
        f = 0.0
        for i in range(n):
            value, g[i] = part(i, n, x[i])
            f += value
        return f

    def term(i: int, x: Any) -> Any:
        return part(i, x.size, x[i])[0]

    def grad(i: int, x: Any) -> Any:
        return part(i, x.size, x[i])[1]

    return in_all_forms(formula, fun, term, grad)


def in_pairs(formula: Function) -> Sum:
    """Sum over pairs of variables: ``formula(a, b)`` returns the term and two derivatives."""
    pair = merged(formula)

    def fun(x: Any, g: Any) -> Any:
        f = 0.0
        for i in range(0, x.size, 2):
            value, g[i], g[i + 1] = pair(x[i], x[i + 1])
            f += value
        return f

    def term(i: int, x: Any) -> Any:
        k = i - i % 2
        value = pair(x[k], x[k + 1])[0]
        return value if i == k else 0.0

    def grad(i: int, x: Any) -> Any:
        k = i - i % 2
        _, by_a, by_b = pair(x[k], x[k + 1])
        return by_a if i == k else by_b

    return in_all_forms(formula, fun, term, grad)


def in_fours(formula: Function) -> Sum:
    """Sum over quadruples: ``formula(a, b, c, d)`` returns the term and four derivatives."""
    four = merged(formula)

    def fun(x: Any, g: Any) -> Any:
        f = 0.0
        for i in range(0, x.size, 4):
            value, g[i], g[i + 1], g[i + 2], g[i + 3] = four(x[i], x[i + 1], x[i + 2], x[i + 3])
            f += value
        return f

    def term(i: int, x: Any) -> Any:
        k = i - i % 4
        value = four(x[k], x[k + 1], x[k + 2], x[k + 3])[0]
        return value if i == k else 0.0

    def grad(i: int, x: Any) -> Any:
        k = i - i % 4
        _, by_a, by_b, by_c, by_d = four(x[k], x[k + 1], x[k + 2], x[k + 3])
        first, second = (by_a, by_b) if i < k + 2 else (by_c, by_d)
        return first if i % 2 == 0 else second

    return in_all_forms(formula, fun, term, grad)


def chained(passes: int) -> Callable[[Function], Sum]:
    """Sum over neighbours: ``formula(i, x_{i-1}, x_i)`` returns the term and two derivatives.

    For ``i = 0`` zero is given in place of the variable before, and the derivative by it is
    not used. In two `passes` a long chain takes 0.7 times as long to evaluate, and the whole
    three times as long to compile.
    """

    def decorate(formula: Function) -> Sum:
        link = merged(formula)

        def once(x: Any, g: Any) -> Any:
            n = x.size
            value, _, back = link(0, 0.0, x[0])
            f = 0.0 + value
            for i in range(1, n):
                value, by_before, by_here = link(i, x[i - 1], x[i])
                f += value
                g[i - 1] = back + by_before
                back = by_here
            g[n - 1] = back
            return f

        def twice(x: Any, g: Any) -> Any:
            n = x.size
            value, _, back = link(0, 0.0, x[0])
            f = 0.0 + value
            g[0] = back + link(1, x[0], x[1])[1]
            for i in range(1, n - 1):  # LLVM vectorises it
                g[i] = link(i, x[i - 1], x[i])[2] + link(i + 1, x[i], x[i + 1])[1]
            g[n - 1] = link(n - 1, x[n - 2], x[n - 1])[2]

            # four sums at once, since each waits four cycles for its last term
            f1 = f2 = f3 = 0.0
            k = (n - 1) // 4
            for i in range(1, k + 1):
                f += link(i, x[i - 1], x[i])[0]
                f1 += link(i + k, x[i + k - 1], x[i + k])[0]
                f2 += link(i + 2 * k, x[i + 2 * k - 1], x[i + 2 * k])[0]
                f3 += link(i + 3 * k, x[i + 3 * k - 1], x[i + 3 * k])[0]
            f = (f + f1) + (f2 + f3)
            for i in range(4 * k + 1, n):
                f += link(i, x[i - 1], x[i])[0]
            return f

        short, long = merged(once), merged(twice)

        def either(x: Any, g: Any) -> Any:
            return short(x, g) if x.size <= FEW else long(x, g)

        # The indices of neighbours are chosen, not whether to read them: a function that reads
        # an array behind a branch counts references to it.

        def term(i: int, x: Any) -> Any:
            before = x[i - 1 if i > 0 else 0]
            return link(i, before if i > 0 else 0.0, x[i])[0]

        def grad(i: int, x: Any) -> Any:
            last = i == x.size - 1
            before, here, after = x[i - 1 if i > 0 else 0], x[i], x[i if last else i + 1]
            back = link(i, before if i > 0 else 0.0, here)[2]
            ahead = link(i + 1, here, after)[1]
            return back if last else back + ahead

        return in_all_forms(formula, once if passes == 1 else either, term, grad)

    return decorate


def residuals(before: float, after: float) -> Callable[[Function], Sum]:
    """Sum of squared residuals, each linear in the variables before and after its own.

    ``formula(i, n, x_i)`` returns what the variable itself contributes to residual `i`, and
    the derivative of that. To it come ``before * x_{i-1} + after * x_{i+1}``, where there are
    such variables.
    """

    def decorate(formula: Function) -> Sum:
        own = merged(formula)

        def fun(x: Any, g: Any) -> Any:
            n = x.size
            f = left = 0.0
            for i in range(n):
                right = x[i + 1] if i < n - 1 else 0.0
                r = before * left + after * right + own(i, n, x[i])[0]
                left = x[i]
                f += r * r
                g[i] = r
            left = 0.0
            for i in range(n):
                right = g[i + 1] if i < n - 1 else 0.0
                r = g[i]
                g[i] = 2.0 * (r * own(i, n, x[i])[1] + before * right + after * left)
                left = r
            return f

        @merged
        def residual(i: int, x: Any) -> Any:
            last = i == x.size - 1
            left, right = x[i - 1 if i > 0 else 0], x[i if last else i + 1]
            left, right = left if i > 0 else 0.0, 0.0 if last else right
            return before * left + after * right + own(i, x.size, x[i])[0]

        def term(i: int, x: Any) -> Any:
            r = residual(i, x)
            return r * r

        def grad(i: int, x: Any) -> Any:
            last = i == x.size - 1
            left, right = residual(i - 1 if i > 0 else 0, x), residual(i if last else i + 1, x)
            left, right = left if i > 0 else 0.0, 0.0 if last else right
            slope = own(i, x.size, x[i])[1]
            return 2.0 * (residual(i, x) * slope + before * right + after * left)

        return in_all_forms(formula, fun, term, grad)

    return decorate
