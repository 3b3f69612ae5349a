"""One array, a list of arrays, or a dict of arrays: how the caller holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Tree:
    """The structure of the parameters.

    Attributes
    ----------
    keys : int, tuple or None
        The length of a list, the keys of a dict, or None for one array.
    """

    keys: int | tuple[Any, ...] | None

    @classmethod
    def of(cls, values: Any) -> Tree:
        """Return the structure of `values`: a dict, a list or tuple, or else one array."""
        if isinstance(values, dict):
            return cls(tuple(values))
        return cls(len(values) if isinstance(values, (list, tuple)) else None)

    @property
    def count(self) -> int:
        """Number of arrays."""
        if self.keys is None:
            return 1
        return self.keys if isinstance(self.keys, int) else len(self.keys)

    def leaves(self, name: str, values: Any) -> list[Any]:
        """Return the arrays in the order of the parameters.

        Parameters
        ----------
        name : str
            Of the argument, for the message.
        values : array, list, tuple or dict
            Of the same structure.

        Raises
        ------
        ValueError
            If the structure is another one.
        """
        keys = self.keys
        if keys is None:
            if isinstance(values, (list, tuple, dict)):
                raise ValueError(f"{name} must be one array, got {self._of(values)}")
            return [values]
        if isinstance(keys, int):
            if not isinstance(values, (list, tuple)) or len(values) != keys:
                raise ValueError(f"{name} must be a list of {keys} arrays, got {self._of(values)}")
            return list(values)
        if not isinstance(values, dict) or values.keys() != set(keys):
            raise ValueError(
                f"{name} must be a dict with the keys {list(keys)}, got {self._of(values)}"
            )
        return [values[key] for key in keys]

    @staticmethod
    def _of(values: Any) -> str:
        if isinstance(values, dict):
            return f"a dict with the keys {list(values)}"
        if isinstance(values, (list, tuple)):
            return f"a {type(values).__name__} of length {len(values)}"
        return f"one {type(values).__name__}"

    def pack(self, leaves: Sequence[Any]) -> Any:
        """Return the leaves in the structure of the parameters."""
        if self.keys is None:
            return leaves[0]
        if isinstance(self.keys, int):
            return list(leaves)
        return dict(zip(self.keys, leaves, strict=True))

    def index(self, key: Any) -> int:
        """Return the position of the leaf named `key`.

        Raises
        ------
        ValueError
            If there is none.
        """
        if isinstance(self.keys, int) and isinstance(key, (int, np.integer)):
            if 0 <= key < self.keys:
                return int(key)
        elif isinstance(self.keys, tuple) and key in self.keys:
            return self.keys.index(key)
        raise ValueError(f"groups: there is no {key!r} in params, {self}")

    def __str__(self) -> str:
        if self.keys is None:
            return "one array"
        if isinstance(self.keys, int):
            return f"a list of length {self.keys}"
        return f"a dict with the keys {list(self.keys)}"

    def label(self, name: str, k: int) -> str:
        """Return how the caller writes leaf `k` of the argument `name`."""
        if self.keys is None:
            return name
        return f"{name}[{k}]" if isinstance(self.keys, int) else f"{name}[{self.keys[k]!r}]"
