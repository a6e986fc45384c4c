"""Damage traces, parquet, JSON, YAML and images at random, and give them to what reads them: nothing runs or breaks.

    python benchmarks/fuzz_inputs.py                      # 100,000 inputs on all cores
    python benchmarks/fuzz_inputs.py --inputs 2000        # a quick look

Each process works with bounded memory, and an audit hook notes every file that is opened outside of the input's folder
and of what Python itself reads, every process that is started but math-verify's, and every connection. An input may be
refused (DataError, ConfigError), or have lines set aside; whatever else is raised, reached, or takes longer than the
limit is printed with the number that makes it again (``--start``), and the command ends with status 1.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import json
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from verl_stepgrpo.data import prepare as prepare_module
from verl_stepgrpo.data.lint import lint
from verl_stepgrpo.data.prepare import PrepareOptions, prepare
from verl_stepgrpo.data.rows.build import RowOptions
from verl_stepgrpo.errors import ConfigError, DataError
from verl_stepgrpo.judging.formats import find
from verl_stepgrpo.replay import replay as replay_module
from verl_stepgrpo.replay.replay import replay
from verl_stepgrpo.replay.variants import variants
from verl_stepgrpo.report.build import Sources, write_report
from verl_stepgrpo.rewards import score_response
from verl_stepgrpo.settings import RewardSettings, RunSettings
from verl_stepgrpo.traces.header import Start
from verl_stepgrpo.traces.packed import line
from verl_stepgrpo.traces.rows import Credit, TraceRow, judgement_of

BATCH = 50
SLOW_SECONDS = 60.0
MEMORY = 6 << 30
"""Bytes of address space: what the libraries map, and a gigabyte or two beside."""

HOSTILE = (
    *(
        b"\x00",
        b"\xff\xfe",
        b"\n",
        b'"',
        b"\\u0000",
        b"\\ud800",
        b"{",
        b"}",
        b"[" * 100_000,
        b"1e999",
        b"-1",
        b"NaN",
    ),
    *(
        b"9" * 400,
        b"null",
        b"true",
        b"</script><script>",
        b"../../../../etc/passwd",
        b"/etc/shadow",
        b"file:///etc/shadow",
    ),
    *(
        b"http://127.0.0.1:9/x.png",
        b"!!python/object/apply:os.system ['touch ran']",
        b"&a [*a, *a]",
        b"<image>" * 50,
    ),
    *(
        b"__import__('os').system('touch ran')",
        b"{{ 7 * 7 }}",
        b"${jndi:ldap://x}",
        b"PAR1",
        b"\x1f\x8b\x08",
        b"%s%n",
    ),
)
FORMAT = (
    b"name: qa\nrequest: 'Write steps.'\nstep: '^### Step (\\d+)?:'\nanswer: '^### The final answer is:'\n"
)
RESPONSE = "### Image Description:\nx\n### Rationales:\ny\n### Step 1:\n3 + 5 = 8\n### The final answer is: 8"


def traces(folder: Path, rng: random.Random) -> None:
    """Write a small run: a header, two steps, and a validation."""
    Start(0, RunSettings().to_mapping(), "command", "model").write(folder)
    for split, step in (("train", 1), ("train", 2), ("val", 0)):
        rows = []
        for i in range(4):
            result = score_response(RESPONSE, rng.choice(["8", "9"]), [["3 + 5 = 8"]])
            judged = judgement_of(
                result,
                RewardSettings(),
                index=i // 2,
                data_source="d",
                ground_truth="8",
                prompt="?",
                response=RESPONSE,
            )
            credit = None if split == "val" else Credit(0.5, (0.5, 0.1), 0.3)
            place = {"split": split, "step": step, "uid": f"u{i // 2}", "session": i % 2}
            rows.append(TraceRow.of(judged, **place, credit=credit))
        (folder / split).mkdir(exist_ok=True)
        path = folder / split / f"step-{step:06d}.jsonl"
        if rng.random() < 0.5:
            path.write_text("".join(json.dumps(row.to_json()) + "\n" for row in rows))
        else:
            path.with_suffix(".jsonl.gz").write_bytes(b"".join(map(line, rows)))


def png(rng: random.Random) -> bytes:
    file = io.BytesIO()
    size = (rng.choice([1, 28, 40]), rng.choice([28, 60]))
    Image.new(rng.choice(["RGB", "L", "RGBA", "P"]), size).save(
        file, rng.choice(["PNG", "BMP", "GIF", "TIFF"])
    )
    return file.getvalue()


def rl_rows(rng: random.Random) -> list[dict[str, Any]]:
    return [
        {
            "data_source": "d",
            "prompt": [{"role": "user", "content": "<image>What is 3 + 5?"}],
            "images": [{"bytes": damaged(png(rng), rng) if rng.random() < 0.3 else png(rng)}],
            "reward_model": {"style": "rule", "ground_truth": text(rng, "8")},
            "extra_info": {"index": i, "key_steps": [[text(rng, "3 + 5 = 8")]]},
        }
        for i in range(3)
    ]


def raw_rows(rng: random.Random) -> list[dict[str, Any]]:
    image = rng.choice(["a.png", "../a.png", "/etc/passwd", "b.png", "http://127.0.0.1:9/a.png"])
    return [
        {
            "problem": "<image>" + text(rng, "3 + 5?"),
            "image_path": image,
            "answer": text(rng, "8"),
            "solution": RESPONSE,
        },
        {"question": text(rng, "3 + 5?"), "answer": "8", "key_steps": text(rng, '["3 + 5 = 8"]')},
    ]


def text(rng: random.Random, plain: str) -> str:
    return damaged(plain.encode(), rng).decode("utf-8", "replace") if rng.random() < 0.2 else plain


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Return bytes cut, flipped, repeated, or with something hostile in them."""
    data = bytearray(content)
    for _ in range(rng.choice([0, 1, 1, 2, 5])):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(5)
        if kind == 0:
            del data[at : at + rng.choice([1, 4, 100, len(data)])]
        elif kind == 1 and data:
            data[min(at, len(data) - 1)] ^= 1 << rng.randrange(8)
        elif kind == 2:
            data[at:at] = rng.choice(HOSTILE)
        elif kind == 3:
            data[at:at] = bytes(data[: rng.randrange(200)])
        else:
            data[at : at + rng.randrange(8)] = bytes(rng.randrange(256) for _ in range(rng.randrange(8)))
    return bytes(data)


def damage(path: Path, rng: random.Random) -> None:
    """Damage a file: of a compressed one sometimes what was compressed."""
    content = path.read_bytes()
    if path.suffix == ".gz" and rng.random() < 0.7:
        path.write_bytes(gzip.compress(damaged(gzip.decompress(content), rng), 1))
    else:
        path.write_bytes(damaged(content, rng))


def try_traces(folder: Path, rng: random.Random) -> None:
    traces(folder, rng)
    for path in sorted(folder.rglob("*.jsonl*")):
        if rng.random() < 0.5:
            damage(path, rng)
    # A report is a page of megabytes: a tenth of them are made.
    if rng.random() < 0.1:
        write_report(Sources(folder), folder / "report.html", max_rollouts=10)
        return
    replay(folder, variants({"alpha": [0.1, 0.5]}))


def try_parquet(folder: Path, rng: random.Random) -> None:
    path = folder / "rl.parquet"
    pq.write_table(pa.Table.from_pylist(rl_rows(rng)), path)
    if rng.random() < 0.5:
        damage(path, rng)
    list(lint(path))


def try_raw(folder: Path, rng: random.Random) -> None:
    path = folder / rng.choice(["raw.json", "raw.jsonl", "raw.parquet"])
    rows = raw_rows(rng)
    if path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    damage(path, rng)
    (folder / "a.png").write_bytes(damaged(png(rng), rng))
    prepare(path, folder / "out", PrepareOptions(RowOptions("fuzz", folder)))


def try_format(folder: Path, rng: random.Random) -> None:
    path = folder / "format.yaml"
    path.write_bytes(damaged(FORMAT, rng))
    find(str(path)).sections(RESPONSE)


PARTS: dict[str, Callable[[Path, random.Random], None]] = {
    "traces": try_traces,
    "parquet": try_parquet,
    "raw": try_raw,
    "format": try_format,
}
REFUSALS = (DataError, ConfigError)


class Watch:
    """What this process reaches while it is on."""

    def __init__(self) -> None:
        self.is_on = False
        self.folder = ""
        self.reached: list[str] = []
        self._own = tuple(
            map(os.path.realpath, (sys.prefix, sys.base_prefix, Path(__file__).parents[1], "/proc", "/dev"))
        )
        self._system = (
            "/etc/localtime",
            "/usr/share/zoneinfo",
            "/sys/",
            "/usr/lib",
            "/usr/local/lib",
            "/lib",
            "/etc/mime.types",
        )
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.is_on:
            return
        if event == "open" and isinstance(arguments[0], (str, bytes)):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            if not path.startswith((self.folder, *self._own, *self._system)):
                self.reached.append(f"opened {path}")
        elif event == "subprocess.Popen" and "symbolic" not in str(arguments[1]):
            self.reached.append(f"started {arguments[1]}")
        elif event in (
            "os.system",
            "os.exec",
            "os.posix_spawn",
            "socket.connect",
            "socket.getaddrinfo",
            "pickle.find_class",
        ):
            self.reached.append(f"{event} {arguments[1:]}"[:200])


WATCH: Watch | None = None


def here(work: Callable[[Any], Any], tasks: Iterable[Any], *, num_proc: int) -> Iterator[Any]:
    """Stands for ``parallel.in_order``: starting processes for each input would take seconds."""
    yield from map(work, tasks)


def begin() -> None:
    global WATCH
    prepare_module.in_order = replay_module.in_order = here
    WATCH = Watch()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def one(number: int, seed: int) -> tuple[str, str | None]:
    """Return how an input was met, and what is wrong with that; None where nothing is."""
    assert WATCH is not None
    rng = random.Random(f"{seed} {number}")
    part = list(PARTS)[number % len(PARTS)]
    folder = Path(os.path.realpath(tempfile.mkdtemp(prefix="fuzz-")))
    WATCH.folder, WATCH.reached, WATCH.is_on = str(folder), [], True
    begun, outcome, wrong = time.monotonic(), "read", None
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            PARTS[part](folder, rng)
    except REFUSALS:
        outcome = "refused"
    except Exception as error:  # what is looked for
        outcome, wrong = "broke", f"{type(error).__name__}: {str(error)[:300]}"
    finally:
        WATCH.is_on = False
    # A raw dataset may name any path as an image (docs/security.md), which is opened as one and no more.
    reached = [what for what in WATCH.reached if part != "raw" or not what.startswith("opened ")]
    if (folder / "ran").exists() or Path("ran").exists():
        wrong = "ran what it read"
    elif reached:
        wrong = wrong or "; ".join(reached[:3])
    elif time.monotonic() - begun > SLOW_SECONDS:
        wrong = wrong or f"took {time.monotonic() - begun:.0f} s"
    shutil.rmtree(folder, ignore_errors=True)
    return f"{part}: {outcome}", wrong


def batch(task: tuple[int, int, int]) -> tuple[Counter[str], list[str]]:
    start, n, seed = task
    counts: Counter[str] = Counter()
    wrong = []
    for number in range(start, start + n):
        outcome, fault = one(number, seed)
        counts[outcome] += 1
        if fault is not None:
            wrong.append(f"--start {number}: {outcome}: {fault}")
    return counts, wrong


def tasks(start: int, inputs: int, seed: int) -> Iterator[tuple[int, int, int]]:
    for first in range(start, start + inputs, BATCH):
        yield first, min(BATCH, start + inputs - first), seed


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--start", type=int, default=0, help="number of the first input")
    parser.add_argument("--seed", type=int, default=18)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    args = parser.parse_args()

    counts: Counter[str] = Counter()
    wrong: list[str] = []
    begun = time.monotonic()
    with ProcessPoolExecutor(args.processes, multiprocessing.get_context("spawn"), begin) as pool:
        for found, faults in pool.map(batch, tasks(args.start, args.inputs, args.seed)):
            counts += found
            wrong += faults
            for fault in faults:
                print(fault, flush=True)
    print(f"{args.inputs:,} inputs, seed {args.seed}, {time.monotonic() - begun:.0f} s, {len(wrong)} wrong")
    for outcome, n in sorted(counts.items()):
        print(f"| {outcome} | {n:,} |")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
