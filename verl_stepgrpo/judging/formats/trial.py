"""Try a format of one's own when it is loaded: its members, how they can be called, and what they return. Pure."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from verl_stepgrpo.errors import one_line
from verl_stepgrpo.judging.formats.format import Format
from verl_stepgrpo.judging.sections import Section


@dataclass(frozen=True)
class _Call:
    """How a method is called: ``head`` is how it is written down, ``kind`` what its result or each of it has to be."""

    head: str
    arguments: Sequence[Any]
    keywords: Mapping[str, Any]
    kind: type
    said: str


def _calls(response: str, sections: Any) -> dict[str, _Call]:
    return {
        "request": _Call("request(self, *, has_image)", (), {"has_image": True}, str, "a text"),
        "sections": _Call("sections(self, response)", (response,), {}, Section, "Sections"),
        "missing": _Call(
            "missing(self, sections, *, needs_description)",
            (sections,),
            {"needs_description": True},
            str,
            "texts",
        ),
        "disorder": _Call("disorder(self, sections)", (sections,), {}, str, "texts"),
    }


def faults_of(made: Format) -> Iterator[str]:
    """Yield what keeps a format from being used, a sentence each; nothing may follow the first that matters.

    It is asked for its request, and to read nothing, a line, and that request, as a response that pastes it.
    """
    if made.asks is not None and not isinstance(made.asks, re.Pattern):
        yield f"asks is {made.asks!r:.60}; it has to be a pattern (re.compile), or left out"
        return
    request, fault = _tried(made, "request", _calls("", ())["request"])
    if fault is not None:
        yield fault
        return
    for response in ("", "2", str(request)):
        sections: Any = ()
        for name in ("sections", "missing", "disorder"):
            found, fault = _tried(made, name, _calls(response, sections)[name])
            if fault is not None:
                yield fault
                return
            sections = found if name == "sections" else sections


def _tried(made: Format, name: str, call: _Call) -> tuple[Any, str | None]:
    """Return what a method gives, and what is wrong with it or with that."""
    method = getattr(made, name)
    try:
        inspect.signature(method).bind(*call.arguments, **call.keywords)
    except TypeError as error:
        return None, f"its {name} cannot be called ({error}): write it as def {call.head}"
    try:
        found = method(*call.arguments, **call.keywords)
    except Exception as error:  # a user's own class may raise anything
        return None, f"its {name} failed: {type(error).__name__}: {one_line(error)}"
    parts = [found] if name == "request" else found
    if not isinstance(parts, (list, tuple)) or not all(isinstance(one, call.kind) for one in parts):
        listed = call.said if name == "request" else f"a list of {call.said}"
        return None, f"its {name} returned {found!r:.80}; it has to return {listed}"
    return found, None
