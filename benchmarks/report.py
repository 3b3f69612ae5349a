"""What the benchmarks share: where results go, how tables look, which machine it was."""

import os
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "benchmarks"
BEGIN, END = "<!-- benchmarks -->\n", "<!-- end of benchmarks -->\n"
PACKAGES = ("numpy", "scipy", "numba", "torch", "jax", "optax")


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def why(error: BaseException) -> str:
    """Return a short text about an error, for the cell of a table."""
    first = next(iter(str(error).splitlines()), "").replace("|", "/")
    return f"{type(error).__name__}: {first}"[:80]


def machine(packages: Sequence[str] = PACKAGES) -> str:
    """Return one line: processor, cores, versions of the packages that are installed."""
    parts = [f"Python {platform.python_version()}"]
    for name in packages:
        try:
            parts.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return f"Measured on {_processor()}, {cores()} cores, {platform.system()}; {', '.join(parts)}."


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a Markdown table, first column to the left, the others to the right."""
    cells = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(head))]
    rule = [("-" * w if k == 0 else "-" * (w - 1) + ":") for k, w in enumerate(widths)]
    rows = (cells[0], rule, *cells[1:])
    return "\n".join("| " + " | ".join(_pad(row, widths)) + " |" for row in rows)


def _pad(row: Sequence[str], widths: Sequence[int]) -> Iterable[str]:
    yield row[0].ljust(widths[0])
    yield from (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))


def save(name: str, text: str) -> None:
    """Write `text` to the file `name` of the results folder."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / name).write_text(text.rstrip() + "\n", encoding="utf-8")


def quote(text: str) -> None:
    """Put `text` between the two marks of the project's README."""
    readme = ROOT / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    readme.write_text(f"{before}{BEGIN}\n{text}\n\n{END}{after}", encoding="utf-8")
