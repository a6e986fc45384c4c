"""Check every row of the training and validation files, in the driver, before anything is started.

Only the columns that scoring needs, and the prompts, are read, in batches, so that images are never loaded. Checked:
``reward_model.ground_truth`` is there and not empty, ``extra_info.index`` is there and unique within a
file, ``extra_info.key_steps`` is of a type that can be read, and a prompt with images has nothing for which verl would
look for another image, a video or a sound. Whether there are as many marks as images is ``lint``'s to say.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from verl_stepgrpo.bridge.asked import files_of
from verl_stepgrpo.counts import counted
from verl_stepgrpo.data.prompts.marks import PLACEHOLDERS, wrong_in_prompt
from verl_stepgrpo.data.prompts.text import IMAGE_MARK, other_format
from verl_stepgrpo.data.rows.index import check_index
from verl_stepgrpo.data.rows.read import reference_of
from verl_stepgrpo.errors import DataError
from verl_stepgrpo.files import json_line

COLUMNS = ["reward_model", "extra_info", "prompt"]
OTHER_MEDIA = ("videos", "audios")
"""Columns that may have what a prompt's other marks stand for; where a file has one the prompts are not looked at."""
SHOWN_ERRORS = 5

logger = logging.getLogger("verl_stepgrpo")


def check_files(files: Any, key: str, format_: str = "mulberry") -> None:
    """Check the files of one configuration key; warn once of rows without key steps, and of other formats.

    Args:
        files: A path, a list of paths, or None.
        key: The configuration key that holds them, for messages.
        format_: The format that is paid.

    Raises:
        DataError: A file cannot be read or has no rows, or rows cannot be scored or shown; says file, row and
            reason of the first few.
    """
    for path in files_of(files):
        problems, without_key_steps, others, n = _check_file(path, key, format_)
        if problems:
            shown = "\n".join(f"  {path}, row {row}: {reason}" for row, reason in problems[:SHOWN_ERRORS])
            more = f"\n  and {len(problems) - SHOWN_ERRORS} more" if len(problems) > SHOWN_ERRORS else ""
            raise DataError(f"{len(problems)} of {counted(n, 'row')} of {key} cannot be used:\n{shown}{more}")
        if n == 0:
            raise DataError(f"{key}: {path} has no rows")
        if without_key_steps:
            logger.warning(
                "%s: %d of %s of %s have no extra_info.key_steps; their key-step match is 0.",
                key,
                without_key_steps,
                counted(n, "row"),
                path,
            )
        for other, count in others.items():
            logger.warning(
                "%s: %d of %s of %s ask for the format %s, and %s is paid: ask for the one that is paid (prepare "
                "--format), or pay the one that is asked for (algorithm.stepgrpo.format).",
                key,
                count,
                counted(n, "row"),
                path,
                other,
                format_,
            )


def check_rows(
    rows: Iterable[Mapping[str, Any]], format_: str = "mulberry"
) -> tuple[list[tuple[int, str]], int, Counter[str], int]:
    """Return the problems (row number from 0, reason), and counts of rows.

    Of those without key steps, of those that ask for another format than ``format_``, by its name, and of all.
    """
    problems: list[tuple[int, str]] = []
    seen: dict[str, int] = {}
    without_key_steps = 0
    others: Counter[str] = Counter()
    n = 0
    for number, row in enumerate(rows):
        n += 1
        try:
            reference = reference_of(row)
            without_key_steps += not reference.key_steps
            check_index(reference.index, number, seen)
            text = _prompt_text(row)
            _check_prompt(text)
            others.update(filter(None, [other_format(text, format_)]))
        except DataError as error:
            problems.append((number, str(error)))
    return problems, without_key_steps, others, n


def _prompt_text(row: Mapping[str, Any]) -> str:
    """Return the text of a row's prompt; nothing where it has other media, or is none."""
    messages = row.get("prompt")
    if not isinstance(messages, list) or any(row.get(column) for column in OTHER_MEDIA):
        return ""
    contents = [message.get("content") for message in messages if isinstance(message, Mapping)]
    return "".join(content for content in contents if isinstance(content, str))


def _check_prompt(text: str) -> None:
    """Raise DataError where verl or a processor fails on what a prompt has beside its images."""
    n_images = text.count(IMAGE_MARK)
    if n_images and (wrong := list(wrong_in_prompt(text, n_images, PLACEHOLDERS))):
        raise DataError("; ".join(wrong))


def _check_file(path: str, key: str, format_: str) -> tuple[list[tuple[int, str]], int, Counter[str], int]:
    from verl.utils.fs import copy_to_local

    from verl_stepgrpo.data.sources.tables import TABLE_ERRORS

    try:
        return check_rows(_rows(copy_to_local(path)), format_)
    except (*TABLE_ERRORS, AssertionError) as error:  # json's errors are ValueErrors
        raise DataError(f"{key}: {path} cannot be read: {type(error).__name__}: {error}") from error


def _rows(path: str) -> Iterator[Mapping[str, Any]]:
    if path.endswith(".parquet"):
        from verl_stepgrpo.data.sources.tables import READ_AT_ONCE, open_parquet

        file = open_parquet(path)
        names = set(file.schema_arrow.names)
        columns = [name for name in COLUMNS if name in names]
        if names.intersection(OTHER_MEDIA) and "prompt" in columns:
            columns.remove("prompt")
        for batch in file.iter_batches(READ_AT_ONCE, columns=columns):
            yield from batch.to_pylist()
        return
    with open(path, encoding="utf-8") as lines:
        if path.endswith(".jsonl"):
            yield from (json_line(line) for line in lines if line.strip())
            return
        text = lines.read()
    # verl reads .json as a list of objects or as one object a line.
    if text.lstrip().startswith("["):
        yield from json_line(text)
    else:
        yield from (json_line(line) for line in text.splitlines() if line.strip())
