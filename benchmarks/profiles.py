"""The number of classical problems each solver solves, and the evaluations it needs.

``python -m benchmarks.profiles`` runs every function of `rmsfast.objectives` at its
standard start, the scalable ones also with 10 and 100 variables. A problem is solved at the
first evaluation with ``f <= f* + 1e-6 (f0 - f*)`` or ``max|g| <= 1e-5``.

References
----------
J. J. Moré and S. M. Wild, "Benchmarking derivative-free optimization algorithms",
SIAM Journal on Optimization 20 (2009), 172-191: the data profile.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize

from benchmarks.report import FOLDER, machine, save, table
from rmsfast import objectives, plot, rmsprop

BUDGET = 3000
LONG = 30_000  # evaluations of a run that looks for an unknown minimum
SIZES = (10, 100)
TOLERANCE = 1e-6
GTOL = 1e-5


class Solver(NamedTuple):
    """A method of `scipy.optimize.minimize`, and its options."""

    name: str
    method: Any
    options: dict[str, Any]


UNLIMITED = {"maxiter": 10 * LONG, "gtol": GTOL}
ANY = {**UNLIMITED, "maxfun": 10 * LONG}
SOLVERS = (
    Solver("rmsfast", rmsprop, ANY),
    Solver("rmsfast, maxcor=0", rmsprop, {**ANY, "maxcor": 0}),
    Solver("SciPy L-BFGS-B", "L-BFGS-B", {**ANY, "ftol": 0.0}),
    Solver("SciPy CG", "CG", UNLIMITED),
    Solver("rmsfast, lr=0.01", rmsprop, {**ANY, "lr": 0.01}),
)


class Problem(NamedTuple):
    """A compiled ``fun(x, g) -> f``, its start, and the lowest value known (or nan)."""

    name: str
    fun: Any
    x0: np.ndarray
    lowest: float


class Run(NamedTuple):
    """One solver on one problem.

    `solved` is the number of the first evaluation that solves it, inf if none does; `flat`
    whether any has ``max|g| <= 1e-5``; `f` and `steepest` are the lowest value seen and max|g|
    there.
    """

    solved: float
    flat: bool
    f: float
    steepest: float
    evaluations: int
    message: str


class _SpentError(Exception):
    """The budget of evaluations is used up."""


class Recorder:
    """The objective as SciPy calls it, ``f, g = recorder(x)``, watching each evaluation."""

    def __init__(self, problem: Problem, budget: int) -> None:
        self.problem = problem
        self.budget = budget
        self.evaluations = 0
        self.solved = math.inf
        self.flat = False
        self.f = math.inf
        self.steepest = math.inf
        start = problem.fun(problem.x0, np.empty_like(problem.x0))
        self.enough = problem.lowest + TOLERANCE * (start - problem.lowest)

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Evaluate, and note whether this solves the problem."""
        if self.evaluations >= self.budget:
            raise _SpentError
        self.evaluations += 1
        g = np.empty_like(x)
        f = self.problem.fun(x, g)
        steepest = np.abs(g).max()
        self.flat |= bool(steepest <= GTOL)
        if self.solved == math.inf and (f <= self.enough or steepest <= GTOL):
            self.solved = self.evaluations
        if f < self.f:
            self.f, self.steepest = f, steepest
        return f, g


def collection() -> list[Problem]:
    """Return every classical function, in its standard size and in `SIZES` where allowed."""
    problems = []
    for standard in objectives.ALL:
        for n in sorted({standard.n, *(n for n in SIZES if n in standard.sizes)}):
            objective = standard.of_size(n)
            name = f"{objective.name} {n}"
            problem = Problem(name, objective.fun, objective.x0, objective.minimum.fun)
            problems.append(search(problem) if math.isnan(problem.lowest) else problem)
    return problems


def search(problem: Problem) -> Problem:
    """Return the problem with the lowest value that any solver finds in a long run."""
    runs = [run(solver, problem, LONG, gtol=0.0) for solver in SOLVERS]
    return problem._replace(lowest=min(r.f for r in runs))


def run(solver: Solver, problem: Problem, budget: int = BUDGET, **options: Any) -> Run:
    """Let one solver loose on one problem."""
    recorder = Recorder(problem, budget)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            message = minimize(
                recorder,
                problem.x0,
                jac=True,
                method=solver.method,
                options={**solver.options, **options},
            ).message
        except _SpentError:
            message = f"{budget} evaluations spent."
    r = recorder
    return Run(r.solved, r.flat, r.f, r.steepest, r.evaluations, str(message))


def measure(problems: Iterable[Problem]) -> dict[str, dict[str, Run]]:
    """Return the runs of all solvers: ``runs[solver][problem]``."""
    return {s.name: {p.name: run(s, p) for p in problems} for s in SOLVERS}


def summary(runs: dict[str, dict[str, Run]]) -> str:
    """Return the table of solved counts and of quantiles of evaluations over all problems."""
    rows = []
    for name, by_problem in runs.items():
        solved = np.sort([r.solved for r in by_problem.values()])
        count, total = int(np.isfinite(solved).sum()), len(solved)
        quantiles = [solved[math.ceil(q * total) - 1] for q in (0.5, 0.75, 0.9)]
        shown = [f"{q:.0f}" if math.isfinite(q) else "unsolved" for q in quantiles]
        flat = sum(r.flat for r in by_problem.values())
        rows.append((name, count, f"{100 * count / total:.1f} %", flat, *shown))
    head = ("solver", "solved", "of all", "max abs g <= 1e-5", "median", "75 %", "90 %")
    return table(head, rows)


def failures(runs: dict[str, dict[str, Run]], problems: Sequence[Problem]) -> str:
    """Return the table of unsolved problems."""
    rows = [
        (
            name,
            p.name,
            f"{r.f:.6g}",
            f"{p.lowest:.6g}",
            f"{r.steepest:.1e}",
            r.evaluations,
            r.message.split(":")[0].split(".")[0],
        )
        for name, by_problem in runs.items()
        for p in problems
        if math.isinf((r := by_problem[p.name]).solved)
    ]
    head = ("solver", "problem", "f", "f*", "max abs g", "evaluations", "ended by")
    return table(head, rows)


def draw(runs: dict[str, dict[str, Run]], problems: Sequence[Problem], path: Any) -> None:
    """Draw the data profile: fraction solved against evaluations per ``n + 1``."""
    import matplotlib

    matplotlib.use("Agg")
    ax = plot.data_profile(
        {
            name: [by_problem[p.name].solved / (p.x0.size + 1) for p in problems]
            for name, by_problem in runs.items()
        }
    )
    ax.set_xlim(left=0.05)
    ax.figure.savefig(path, dpi=160)


def main() -> str:
    """Measure, write the page and the picture, and return the table."""
    problems = collection()
    runs = measure(problems)
    FOLDER.mkdir(parents=True, exist_ok=True)
    draw(runs, problems, FOLDER / "data_profile.png")
    overview = summary(runs)
    page = f"""# Problems solved

{len(problems)} classical problems ({len(objectives.ALL)} functions of `rmsfast.objectives` at
their standard starts and sizes, the scalable ones also with n = 10 and 100 where allowed);
exact gradients, {BUDGET} evaluations each. Solved at the first evaluation with
f <= f\\* + 1e-6 (f0 - f\\*) or max|g| <= 1e-5; the fourth column counts those that came to the
latter. The quantiles are of evaluations, over all problems.
L-BFGS-B runs with `ftol=0`, CG as SciPy has it; `lr=0.01` is PyTorch's default.

{overview}

![Fraction of the problems solved against evaluations / (n + 1)](data_profile.png)

Fraction of the problems solved within a number of evaluations per n + 1: the data profile of
Moré and Wild (2009).

## Unsolved

{failures(runs, problems)}

{machine()}

`python -m benchmarks.profiles` writes this page.
"""
    save("profiles.md", page)
    print(overview, "\n\n", failures(runs, problems), sep="")
    return overview


if __name__ == "__main__":
    main()
