"""Warnings that name the caller's line, however deep it is found out."""

from __future__ import annotations

import inspect
import warnings


def warn(message: str, category: type[Warning]) -> None:
    """Warn, naming the innermost line outside of rmsfast and SciPy."""
    frame, level = inspect.currentframe(), 1  # skip_file_prefixes, from Python 3.12 on
    while frame and frame.f_globals.get("__name__", "").partition(".")[0] in ("rmsfast", "scipy"):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
