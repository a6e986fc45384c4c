"""Runs commands of the package, each in a process of its own that has no imports to wait for: forked from this one.

Run as a script. Takes one JSON object a line: ``{"argv": [...], "log": path}`` starts a command in a session of its own
and answers with its process id; ``{"wait": pid}`` answers with its status when it has ended, as subprocess has it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from typing import NoReturn

import openai

import verl_stepgrpo.__main__
import verl_stepgrpo.cli
import verl_stepgrpo.data.key_steps.model
import verl_stepgrpo.evaluation.comparison
from verl_stepgrpo.data import prepare

prepare.CHUNK = 8  # so that few rows make several


async def import_what_asking_needs() -> None:
    client = openai.AsyncOpenAI(api_key="none", base_url="http://127.0.0.1:9", max_retries=0)
    with contextlib.suppress(openai.APIConnectionError):
        await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hello"}])


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        else:
            answer = os.fork() or run(request["argv"], request["log"])
        print(answer, flush=True)


def run(argv: list[str], log: str) -> NoReturn:
    os.setsid()
    output = os.open(log, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    empty = os.open(os.devnull, os.O_RDONLY)
    for descriptor, target in ((empty, 0), (output, 1), (output, 2)):
        os.dup2(descriptor, target)
    sys.argv = ["verl-stepgrpo", *argv]
    sys.modules["__main__"] = verl_stepgrpo.__main__  # what a pool's processes import
    signal.signal(signal.SIGINT, signal.default_int_handler)
    verl_stepgrpo.__main__.main()
    raise SystemExit(0)


if __name__ == "__main__":
    asyncio.run(import_what_asking_needs())
    main()
