"""One process of math-verify, as the one that asks holds it: started, asked, listened to, ended.

For ``symbolic`` alone. Tells a reply that is late from a process that has ended, and says why it ended.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time

STDERR_KEPT = 4096
"""Bytes of its standard error that are kept, the last ones: a traceback has its cause at its end."""

EXIT_LIMIT = 1.0
"""Seconds between the end of its output and that of the process."""

_START = (
    "import sys; sys.path[:] = sys.argv[1:]; "
    "from verl_stepgrpo.judging.answers.symbolic_worker import main; main()"
)
"""It finds this package and math-verify where its parent does, installed or not."""


class WorkerDiedError(Exception):
    """A process ended before it replied. Says in one line what happened.

    Attributes:
        at_start: Whether it had not been asked anything yet.
        stderr: The end of what it wrote to its standard error.
    """

    def __init__(self, how: str, *, at_start: bool, stderr: str = "") -> None:
        super().__init__(f"could not be started: {how}" if at_start else f"died: {how}")
        self.at_start = at_start
        self.stderr = stderr


class Worker:
    """A running process; used by one thread at a time.

    It ends with its parent, whatever ended that: idle at the end of its input, busy at its own limits. Linux's
    PR_SET_PDEATHSIG would end it with the thread that started it, and threads that ask come and go.

    Attributes:
        process: The process.
        has_started: Whether it has loaded math-verify, and answered what it asks itself then.
    """

    def __init__(self) -> None:
        command = [sys.executable, "-X", "faulthandler", "-c", _START, *map(str, sys.path)]
        pipe = subprocess.PIPE
        try:
            self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0)
        except OSError as error:  # no more processes, files or memory
            raise WorkerDiedError(str(error), at_start=True) from error
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._requests, self._replies = self.process.stdin, self.process.stdout
        self._stderr, self._stderr_end = self.process.stderr, b""
        os.set_blocking(self._stderr.fileno(), False)
        self._readable = select.poll()  # select() takes no file above 1023
        for stream in (self._replies, self._stderr):
            self._readable.register(stream, select.POLLIN)
        self.has_started = False

    def ask(self, request: bytes, *, start_limit: float, limit: float) -> bytes | None:
        """Return the reply, or None where it does not come within ``limit`` seconds.

        Raises:
            WorkerDiedError: The process ended, or was not ready after ``start_limit`` seconds.
        """
        if not self.has_started:
            if self._reply(start_limit) is None:
                self.process.kill()
                raise self._death(f"it was not ready after {start_limit:.0f} s")
            self.has_started = True
        try:
            self._requests.write(request)
        except BrokenPipeError:
            self._look_at_its_end()
            return None
        return self._reply(limit)

    def is_ready(self) -> bool:
        """Return whether a question would not wait for its start, without waiting for that here."""
        return self.has_started or self._replies.fileno() in dict(self._readable.poll(0))

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self._close_pipes()

    def disown(self) -> None:
        """Let go of it in a forked child, which would hold its input open, so that it would outlive its owner."""
        self._close_pipes()
        self.process.returncode = 0

    def _close_pipes(self) -> None:
        for pipe in (self._requests, self._replies, self._stderr):
            pipe.close()

    def _reply(self, limit: float) -> bytes | None:
        """Return what it replies within ``limit`` seconds; reads its standard error too, or it could fill the pipe."""
        end = time.monotonic() + limit
        while True:
            ready = dict(self._readable.poll(1000 * max(0.0, end - time.monotonic())))
            if self._stderr.fileno() in ready and not self._keep_stderr():
                self._readable.unregister(self._stderr)  # closed; it would be ready for ever
            if self._replies.fileno() in ready:
                # A reply is shorter than a pipe's buffer and written at once, so it is there whole.
                reply = self._replies.read(select.PIPE_BUF)
                if not reply:
                    self._look_at_its_end()
                return reply or None
            if time.monotonic() >= end:
                return None

    def _keep_stderr(self) -> bool:
        """Keep the end of what is there to be read; return whether anything was."""
        said = self._stderr.read(1 << 16) or b""
        self._stderr_end = (self._stderr_end + said)[-STDERR_KEPT:]
        return bool(said)

    def _look_at_its_end(self) -> None:
        """Raise WorkerDiedError, unless it ended itself at one of its own limits: then its reply is late."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(EXIT_LIMIT)
        self.process.kill()
        status = self.process.wait()
        if status not in (-signal.SIGPROF, -signal.SIGALRM):
            raise self._death(f"signal {-status}, {signal.strsignal(-status)}" if status < 0 else "")

    def _death(self, how: str) -> WorkerDiedError:
        """Return the error that says ``how``, or else the last line of its standard error."""
        while self._keep_stderr():
            pass
        stderr = self._stderr_end.decode(errors="replace").strip()
        last_line = stderr.rpartition("\n")[2] or f"exit status {self.process.returncode}"
        return WorkerDiedError(how or last_line, at_start=not self.has_started, stderr=stderr)
