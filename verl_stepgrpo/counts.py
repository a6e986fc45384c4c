"""Say how many there are of something, in English. Pure."""

from __future__ import annotations


def counted(n: int, one: str, many: str | None = None, *, width: int = 0) -> str:
    """Return a number and what it counts, as in ``1 row`` and ``3 rows``.

    Args:
        n: How many.
        one: What one is called; may have its verb, as in ``row has``.
        many: What several, or none, are called; None adds an s.
        width: Least width of the number, for lines below each other.
    """
    return f"{n:{width}} {plural(n, one, many)}"


def plural(n: int, one: str, many: str | None = None) -> str:
    """Return ``one``, or what ``n`` of it are called."""
    return one if n == 1 else many or f"{one}s"
