"""``python -m verl_stepgrpo`` is the command ``verl-stepgrpo``."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import NoReturn

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> None:
    """Run the command; where the package was installed for scoring alone, say what the commands need.

    A signal that asks it to end raises in the command, which ends its child processes and says what is kept. Before
    and after it there is nothing of the kind to do.
    """
    heeded = [number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN]  # nohup ignores
    for number in heeded:
        signal.signal(number, signal.SIG_DFL)
    try:
        from verl_stepgrpo.cli import main as run
    except ModuleNotFoundError as error:
        print(
            f"verl-stepgrpo: {error}. The commands need all dependencies: install without --no-deps.",
            file=sys.stderr,
        )
        raise SystemExit(2) from None
    try:
        for number in heeded:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else _end)
        run()
    except KeyboardInterrupt:  # before the command had begun, or after it
        raise SystemExit(130) from None
    finally:
        for number in heeded:
            signal.signal(number, signal.SIG_DFL)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    # `timeout` sends a second one, which would break off what the first began.
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
