"""Ask an OpenAI-compatible server for chat completions, many at a time, and tell its troubles apart.

A refused key and a model that is not there are mistakes of the user and end the run; what a request fails with after
its retries is said of that request alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import openai
from openai.types.chat import ChatCompletion

from verl_stepgrpo.errors import ConfigError, DataError, EndedError

NO_KEY = "none"
"""Stands for the key of a server that needs none, such as vLLM's own."""

LEAST_FAILURES = 5
"""Failures in a row that say that a server is gone, if few are asked at a time; each was repeated ``max_retries``
times."""

_GONE = (openai.APIConnectionError, openai.InternalServerError, openai.RateLimitError)
"""What a server that is gone, or a gateway before it, fails requests with, whatever was asked."""

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class FailedError(Exception):
    """A request did not give what was asked for; the message says why."""


class ServerGoneError(EndedError):
    """Requests failed one after the other until nothing more was to be expected of the server."""


@dataclass(frozen=True)
class ServerOptions:
    """How the server is asked.

    Attributes:
        base_url: Where it is, as "http://localhost:8000/v1"; None is OpenAI's own.
        model: Its name for the model.
        concurrency: Requests at one time.
        timeout: Seconds for one request.
        max_retries: How often a request is repeated that the server refused (429, 5xx), or that broke off; with
            growing pauses, or those that the server asks for.
    """

    base_url: str | None
    model: str
    concurrency: int = 16
    timeout: float = 120.0
    max_retries: int = 6


@dataclass
class Usage:
    """What was asked so far."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class ChatServer:
    """One server. Use it within ``async with``.

    Raises:
        ConfigError: OpenAI's own server is meant, and there is no key.
    """

    def __init__(self, options: ServerOptions, api_key: str | None) -> None:
        if api_key is None and options.base_url is None:
            raise ConfigError(
                "There is no key for OpenAI's own server: set OPENAI_API_KEY, or name a --base-url."
            )
        self.options = options
        self.usage = Usage()
        self._failures_in_a_row = 0
        self._client = openai.AsyncOpenAI(
            base_url=options.base_url,
            api_key=api_key or NO_KEY,
            timeout=options.timeout,
            max_retries=options.max_retries,
        )

    async def __aenter__(self) -> ChatServer:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def complete(self, messages: list[Any], **request: Any) -> list[str]:
        """Return the texts of the completions, as many as ``request`` asks for with ``n``.

        Raises:
            FailedError: The request failed.
            DataError: The server refuses the key, or does not have the model.
            ServerGoneError: Twice as many requests as are asked at a time failed in a row.
        """
        try:
            completion = await self._client.chat.completions.create(
                model=self.options.model, messages=messages, **request
            )
        except openai.AuthenticationError as error:
            raise DataError(f"the server refuses the key: {error.message}") from None
        except openai.NotFoundError as error:
            url = self.options.base_url or "OpenAI's own"
            raise DataError(
                f"the server does not have {self.options.model!r}, or not at {url}: {error.message}. Addresses mostly "
                "end with /v1."
            ) from None
        except openai.APIConnectionError as error:
            if self.usage.requests == 0 and not isinstance(error, openai.APITimeoutError):
                # Nothing was ever answered: not trouble of this request.
                raise DataError(
                    f"no server answers at {self.options.base_url}: {error.__cause__ or error}"
                ) from None
            raise self._failed(error) from None
        except openai.OpenAIError as error:
            raise self._failed(error) from None
        if not isinstance(completion, ChatCompletion):
            raise DataError(
                f"{self.options.base_url} does not answer as an OpenAI-compatible server; should it end with /v1?"
            )
        self.usage.requests += 1
        self._failures_in_a_row = 0
        if completion.usage is not None:
            self.usage.prompt_tokens += completion.usage.prompt_tokens
            self.usage.completion_tokens += completion.usage.completion_tokens
        return [choice.message.content or "" for choice in completion.choices]

    def _failed(self, error: openai.OpenAIError) -> FailedError | ServerGoneError:
        said = f"{type(error).__name__}: {error}"
        # A request that cannot be answered says nothing of the server.
        self._failures_in_a_row = self._failures_in_a_row + 1 if isinstance(error, _GONE) else 0
        if self._failures_in_a_row < max(LEAST_FAILURES, 2 * self.options.concurrency):
            return FailedError(said)
        url = self.options.base_url or "OpenAI's own"
        return ServerGoneError(
            f"the server at {url} failed {self._failures_in_a_row} requests in a row; the last: {said}"
        )


async def in_order(
    items: Iterable[Asked], work: Callable[[Asked], Awaitable[Answer]], concurrency: int
) -> AsyncIterator[tuple[Asked, Answer | FailedError]]:
    """Yield each item with what ``work`` gave for it, or with why it failed, in their order.

    ``concurrency`` items are worked on at a time, the oldest unfinished one among them; no more are read ahead.
    """
    running: deque[asyncio.Task[tuple[Asked, Answer | FailedError]]] = deque()
    source: Iterator[Asked] = iter(items)
    try:
        while True:
            for item in islice(source, concurrency - len(running)):
                running.append(asyncio.create_task(_one(item, work)))
            if not running:
                return
            yield await running[0]
            running.popleft()
    finally:
        await _cancel(running)


async def as_they_come(
    items: Iterable[Asked], work: Callable[[Asked], Awaitable[Answer]], concurrency: int
) -> AsyncIterator[tuple[Asked, Answer | FailedError]]:
    """Yield each item with what ``work`` gave for it, or with why it failed, as soon as it is there.

    ``concurrency`` items are worked on at a time. Where one raises, those that are there come first.
    """
    running: set[asyncio.Task[tuple[Asked, Answer | FailedError]]] = set()
    source: Iterator[Asked] = iter(items)
    try:
        while True:
            for item in islice(source, concurrency - len(running)):
                running.add(asyncio.create_task(_one(item, work)))
            if not running:
                return
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=lambda task: task.exception() is not None):
                yield task.result()
    finally:
        await _cancel(running)


async def _one(item: Asked, work: Callable[[Asked], Awaitable[Answer]]) -> tuple[Asked, Answer | FailedError]:
    try:
        return item, await work(item)
    except FailedError as error:
        return item, error


async def _cancel(running: Collection[asyncio.Task[Any]]) -> None:
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
