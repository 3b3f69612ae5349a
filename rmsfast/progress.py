"""A progress bar, by tqdm."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def bar(total: int, unit: str, wanted: bool) -> Iterator[Callable[[int], Any]]:
    """Show how much of something is done.

    Parameters
    ----------
    total : int
        All of it.
    unit : str
        What is counted.
    wanted : bool
        Whether to show anything.

    Yields
    ------
    callable
        To be told how much is done.

    Raises
    ------
    ImportError
        If a bar is wanted and there is no tqdm.
    """
    if not wanted:
        yield lambda done: None
        return
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError('progress=True needs tqdm: pip install ".[progress]"') from error
    with tqdm(total=total, unit=f" {unit}") as shown:
        yield lambda done: shown.update(done - shown.n)
