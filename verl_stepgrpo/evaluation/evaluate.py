"""Evaluate a served model on a verl parquet: every response with all that was judged, and means with intervals.

Responses go to ``responses.jsonl`` in the layout of training's traces as they come, so that an interrupted run goes on
where it was and whatever reads traces reads them; when all are there they are put in the order of the questions.
"""

from __future__ import annotations

import asyncio
import functools
import json
import shlex
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from verl_stepgrpo.counts import counted
from verl_stepgrpo.data.rows.read import RLRow, n_rows, read_rows
from verl_stepgrpo.errors import ConfigError
from verl_stepgrpo.evaluation.intervals import Estimate
from verl_stepgrpo.evaluation.questions import chat_messages, patch_size_of
from verl_stepgrpo.evaluation.responses import RESPONSES, Answered, judge_again, settle
from verl_stepgrpo.evaluation.summary import estimates
from verl_stepgrpo.files import SetAside, open_lines, write_whole
from verl_stepgrpo.rewards import SHARES, score_response
from verl_stepgrpo.running.resume import begin
from verl_stepgrpo.serving.client import ChatServer, FailedError, ServerOptions, as_they_come
from verl_stepgrpo.settings import RewardSettings, RunSettings
from verl_stepgrpo.traces.files import write_rows
from verl_stepgrpo.traces.header import DataFile, Start
from verl_stepgrpo.traces.rows import VAL, TraceRow, judgement_of

_NEXT_SEED = 1_000_003
"""What a seed is raised by for each response that a server left out; more than a dataset has rows."""

RESULTS, FAILED = "results.json", "failed.jsonl"


@dataclass(frozen=True)
class EvalOptions:
    """What is asked and how it is scored.

    Attributes:
        model: The server's name of the model.
        base_url: Where the server is; None for one that is started for this.
        weights: What ``weights_of`` says of the model's folder, where another model may stand later.
        processor: Model folder or name whose image processor says how images are scaled.
        samples: Responses to each question.
        temperature: Of the sampling; 0 is greedy decoding.
        max_tokens: Longest response, in tokens.
        seed: Of the sampling.
        reward: How responses are scored.
    """

    model: str
    processor: str
    base_url: str | None = None
    weights: tuple[tuple[str, int, int], ...] = ()
    samples: int = 1
    temperature: float = 0.0
    max_tokens: int = 1024
    seed: int = 0
    reward: RewardSettings = field(default_factory=RewardSettings)


@dataclass(frozen=True)
class Results:
    """What an evaluation found.

    Attributes:
        rows: Questions that have their responses.
        reused: Those of them that an earlier run into the same folder asked.
        responses: Those responses.
        failed: Questions that the server gave no response to; they are in no mean.
        unjudged: Responses over which math-verify failed; they count as wrong, and are judged anew by the next run.
        scores: By dataset, and under ``all`` for all of them, the estimate of each component that a response has.
    """

    rows: int
    reused: int
    responses: int
    failed: int
    unjudged: int
    scores: dict[str, dict[str, Estimate]]


def evaluate(
    file: Path,
    out: Path,
    options: EvalOptions,
    serving: AbstractContextManager[ServerOptions],
    *,
    api_key: str | None = None,
    limit: int | None = None,
    unscaled: Callable[[str], None] | None = None,
    reused: Callable[[int], None] = lambda n: None,
    set_aside: Callable[[SetAside], None] = lambda line: None,
    progress: Callable[[int], None] = lambda n: None,
) -> Results:
    """Evaluate the model on the rows of ``file`` (the first ``limit``), write all to the folder ``out``, return it.

    ``serving`` gives the server; it is entered when the folder has been looked at, since one may take minutes to start,
    and not at all where every row was answered in an earlier run. With ``unscaled`` images are sent as they are where
    the processor cannot be loaded, as of a closed model, and it is called with why. ``reused`` is called first, with
    the number of rows that were, and ``progress`` with those that are asked now. ``set_aside`` is called with each
    line of the responses that cannot be read; it goes to ``set_aside.jsonl``, and its question is asked again.

    Raises:
        DataError: A row cannot be asked or scored, the server does not have the model, or the responses are no trace
            that this version reads.
        ConfigError: ``out`` was begun with other options, or a setting cannot be used.
        EndedError: The server is gone; what it answered is kept.
    """
    responses = out / RESPONSES
    # Before anything is taken out of it: with another number of samples no question there is done.
    has_begun = responses.exists() and responses.stat().st_size > 0
    sha256 = begin(out / "options.json", file, options, has_begun=has_begun)
    answered = _answered_before(responses, options, set_aside)
    done = {one.uid for one in answered}
    asked = range(min(n_rows(file), sys.maxsize if limit is None else limit))
    open_rows = [row for row in asked if str(row) not in done]
    reused(len(asked) - len(open_rows))
    failed = 0
    if open_rows:
        _begin(out, options, DataFile(str(file), sha256))
        with serving as server:
            work = _Work(server, options, unscaled)
            failed = asyncio.run(_ask(file, out, work, api_key, set(open_rows), progress))
        answered = settle(responses, options.samples)
    rows = (one for one in answered if limit is None or int(one.uid) < limit)
    return _summed_up(rows, file, out, options, failed=failed, done=done)


def _answered_before(
    responses: Path, options: EvalOptions, set_aside: Callable[[SetAside], None]
) -> list[Answered]:
    answered = settle(responses, options.samples, set_aside)
    if any(one.is_unjudged for one in answered):
        return judge_again(responses, options.reward)
    return answered


def _begin(out: Path, options: EvalOptions, data: DataFile) -> None:
    """Write the header of what is asked now."""
    settings = RunSettings(options.reward).to_mapping()
    Start(0, settings, shlex.join(sys.argv), options.model, options.weights, {VAL: [data]}).write(out)


def _summed_up(
    rows: Iterable[Answered], file: Path, out: Path, options: EvalOptions, *, failed: int, done: set[str]
) -> Results:
    # StepRVR is a share where a valid response is paid 1.
    shares = SHARES if options.reward.rvr_weight != 1 else (*SHARES, "step_rvr")
    results = summarise(rows, failed=failed, done=done, shares=shares)
    facts = {"file": str(file), "options": asdict(options), **asdict(results)}
    write_whole(out / RESULTS, json.dumps(facts, indent=2) + "\n")
    return results


def kept(out: Path, samples: int) -> int:
    """Return how many questions an interrupted run into ``out`` need not ask again."""
    try:
        with (out / RESPONSES).open("rb") as file:
            return sum(line.endswith(b"\n") for line in file) // samples
    except FileNotFoundError:
        return 0


def summarise(
    rows: Iterable[Answered],
    *,
    failed: int,
    done: Collection[str],
    shares: Collection[str],
) -> Results:
    """Return the estimates of all components, in all datasets together and, if there are several, in each.

    ``shares`` names the components that are 0 or 1.
    """
    by_question: dict[tuple[str | None, str], list[Mapping[str, float]]] = {}
    for row in rows:
        by_question.setdefault((row.data_source, row.uid), []).append(row.defined)
    sources = sorted({str(source) for source, _ in by_question})
    groups = {"all": list(by_question.values())}
    if len(sources) > 1:
        groups |= {name: [own for key, own in by_question.items() if str(key[0]) == name] for name in sources}
    return Results(
        rows=len(by_question),
        reused=sum(uid in done for _, uid in by_question),
        responses=sum(map(len, by_question.values())),
        failed=failed,
        unjudged=sum(one.get("verifier_failed", 0.0) > 0 for own in by_question.values() for one in own),
        scores={name: estimates(questions, shares) for name, questions in groups.items() if questions},
    )


async def _ask(
    file: Path,
    out: Path,
    work: _Work,
    api_key: str | None,
    rows_to_ask: set[int],
    progress: Callable[[int], None],
) -> int:
    """Ask some rows of ``file``, write the responses as they come, and return how many failed."""
    questions = (question for question in read_rows(file) if question.row in rows_to_ask)
    failures: dict[int, str] = {}
    try:
        with open_lines(out / RESPONSES) as responses:
            async with ChatServer(work.server_options, api_key) as server:
                ask = functools.partial(work.responses, server)
                async for question, rows in as_they_come(questions, ask, work.server_options.concurrency):
                    if isinstance(rows, FailedError):
                        failures[question.row] = str(rows)
                    else:
                        write_rows(responses, rows)
                        responses.flush()
                    progress(1)
    finally:
        _write_failed(out / FAILED, failures)
    return len(failures)


def _write_failed(path: Path, failures: Mapping[int, str]) -> None:
    lines = (json.dumps({"row": row, "error": failures[row]}) + "\n" for row in sorted(failures))
    write_whole(path, "".join(lines))


class _Work:
    def __init__(
        self, server_options: ServerOptions, options: EvalOptions, unscaled: Callable[[str], None] | None
    ) -> None:
        self.server_options = server_options
        self._options = options
        self._unscaled = unscaled

    @functools.cached_property
    def _patch_size(self) -> int | None:
        """What images are scaled by; None where they are to be sent as they are."""
        try:
            return patch_size_of(self._options.processor)
        except ConfigError as error:
            if self._unscaled is None:
                raise
            self._unscaled(str(error))
            return None

    async def responses(self, server: ChatServer, question: RLRow) -> list[TraceRow]:
        """Return the trace rows of the responses to a question."""
        patch_size = self._patch_size if question.images else None
        messages = await asyncio.to_thread(chat_messages, question, patch_size)
        texts: list[str] = []
        # Some servers give fewer than they are asked for, and mostly one.
        while (missing := self._options.samples - len(texts)) > 0:
            given = await server.complete(
                messages,
                n=missing,
                temperature=self._options.temperature,
                max_tokens=self._options.max_tokens,
                seed=self._options.seed + question.row + len(texts) * _NEXT_SEED,
            )
            if not given:
                raise FailedError(
                    f"the server gave {len(texts)} of {counted(self._options.samples, 'response')}"
                )
            texts += given[:missing]
        return await asyncio.to_thread(
            lambda: [self._row(question, session, text) for session, text in enumerate(texts)]
        )

    def _row(self, question: RLRow, session: int, text: str) -> TraceRow:
        reward = self._options.reward
        judgement = judgement_of(
            score_response(
                text,
                question.ground_truth,
                question.key_steps,
                reward,
                choices=question.choices,
                visual_key_steps=question.visual_key_steps,
            ),
            reward,
            index=question.index,
            id=question.id,
            data_source=question.data_source,
            ground_truth=question.ground_truth,
            choices=question.choices,
            prompt=question.text,
            response=text,
        )
        return TraceRow.of(judgement, step=0, uid=str(question.row), session=session)
