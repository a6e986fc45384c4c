"""Peak memory of a command and all its processes, for the benchmarks of commands that stream."""

from __future__ import annotations

import subprocess
import threading

import psutil


def peak_of(command: list[str]) -> tuple[int, int]:
    """Run ``command``; return the peaks in MiB of its first process and of all of them."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peaks = [0, 0]
    done = threading.Event()

    def watch() -> None:
        first = psutil.Process(process.pid)
        while not done.wait(0.2):
            sizes = []
            for one in [first, *first.children(recursive=True)]:
                try:
                    sizes.append(one.memory_info().rss >> 20)
                except psutil.NoSuchProcess:
                    continue
            if sizes:
                peaks[:] = max(peaks[0], sizes[0]), max(peaks[1], sum(sizes))

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = process.wait()
    done.set()
    watcher.join()
    if code:
        raise SystemExit(f"{' '.join(command)} ended with status {code}")
    return peaks[0], peaks[1]
