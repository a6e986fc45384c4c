"""What was found once, remembered by what it was found for.

A look into a dictionary costs half of what ``functools.lru_cache`` takes, which counts where one is made for every
token. It is emptied when it is full; what it holds is made again when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Bounded(dict[K, V], Generic[K, V]):
    """A dictionary that is emptied when it is full.

    Args:
        maxsize: Entries that are kept.
    """

    def __init__(self, maxsize: int) -> None:
        super().__init__()
        self._maxsize = maxsize

    def keep(self, key: K, value: V) -> V:
        """Keep a value, and return it."""
        if len(self) >= self._maxsize:
            self.clear()
        self[key] = value
        return value

    def cache_clear(self) -> None:
        """Forget everything, as ``functools.lru_cache`` does it."""
        self.clear()


class Memo(Bounded[K, V]):
    """A dictionary that computes what it does not have: ``memo[argument]``.

    Args:
        compute: Pure; what it gives is shared by all who ask.
        maxsize: Entries that are kept.
    """

    def __init__(self, compute: Callable[[K], V], maxsize: int = 8192) -> None:
        super().__init__(maxsize)
        self._compute = compute

    def __missing__(self, key: K) -> V:
        return self.keep(key, self._compute(key))
