"""What is written whole is there whole or not at all; lines that a killed run tore are found and got over."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from verl_stepgrpo.files import SetAside, json_line, open_lines, open_whole, read_lines, write_whole


@pytest.fixture
def full_disk() -> Iterator[None]:
    """The kernel takes no more than 64 kB a file, as a disk that is nearly full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


class TestWhole:
    @pytest.mark.parametrize("content", ["new ü\n", b"new\x00\xff", ""])
    def test_it_takes_the_place_of_an_older_one(self, tmp_path: Path, content: str | bytes) -> None:
        path = tmp_path / "file"
        for _ in range(2):
            write_whole(path, content)
            assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
        assert list(tmp_path.iterdir()) == [path]

    def test_nobody_sees_a_part_of_it(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_text("old")
        with open_whole(path) as file:
            file.write("new" * 100_000)
            file.flush()
            assert path.read_text() == "old"
        assert path.read_text() == "new" * 100_000

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
    def test_an_older_one_stays_where_the_writing_fails(
        self, tmp_path: Path, error: type[BaseException]
    ) -> None:
        path = tmp_path / "file"
        path.write_text("old")

        def write() -> None:
            with open_whole(path) as file:
                file.write("new")
                raise error

        with pytest.raises(error):
            write()
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]

    def test_what_a_killed_run_left_is_taken_over(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_text("old")
        code = (
            "import os, pathlib, sys; from verl_stepgrpo.files import open_whole\n"
            "with open_whole(pathlib.Path(sys.argv[1])) as file:\n"
            "    file.write('new' * 100_000); file.flush(); os.kill(os.getpid(), 9)"
        )
        done = subprocess.run([sys.executable, "-c", code, str(path)], timeout=60)
        assert done.returncode == -signal.SIGKILL
        assert path.read_text() == "old"
        assert len(list(tmp_path.iterdir())) == 2
        write_whole(path, "newer")
        assert path.read_text() == "newer"
        assert list(tmp_path.iterdir()) == [path]

    def test_two_writers_of_one_file_do_not_mix(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        with open_whole(path) as file:
            file.write("first")
            with pytest.raises(OSError, match="another process is writing it") as caught:
                write_whole(path, "second")
            assert caught.value.filename == str(path)
        assert path.read_text() == "first"

    def test_a_full_disk_is_an_error_that_names_the_file(self, tmp_path: Path, full_disk: None) -> None:
        path = tmp_path / "file"
        path.write_text("old")
        with pytest.raises(OSError, match="File too large") as caught:
            write_whole(path, b"x" * (1 << 17))
        assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_a_folder_that_cannot_be_written_names_the_file(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o500)
        with pytest.raises(PermissionError) as caught:
            write_whole(tmp_path / "file", "x")
        assert caught.value.filename == str(tmp_path / "file")

    def test_a_folder_that_is_not_there_names_the_file(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError) as caught:
            write_whole(tmp_path / "none" / "file", "x")
        assert caught.value.filename == str(tmp_path / "none" / "file")

    def test_an_error_of_another_file_keeps_its_name(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError) as caught, open_whole(tmp_path / "file"):
            (tmp_path / "other").read_text()
        assert caught.value.filename == str(tmp_path / "other")

    def test_a_link_stays_a_link_and_a_device_a_device(self, tmp_path: Path) -> None:
        path = tmp_path / "link"
        path.symlink_to(tmp_path / "file")
        write_whole(path, "x")
        assert path.is_symlink()
        assert (tmp_path / "file").read_text() == "x"
        with pytest.raises(OSError, match="No space left on device") as caught:
            write_whole(Path("/dev/full"), "x")
        assert caught.value.filename == "/dev/full"
        assert Path("/dev/full").is_char_device()


class TestLines:
    @pytest.mark.parametrize(
        ("before", "kept"),
        [
            (b"", b""),
            (b'{"a": 1}\n', b'{"a": 1}\n'),
            (b'{"a": 1}\n{"a', b'{"a": 1}\n'),
            (b'{"a": 1}\n{"a": "\xe6\xbc', b'{"a": 1}\n'),
            (b'{"a', b""),
            (b'{"a": 1}\n' + b"x" * 200_000, b'{"a": 1}\n'),
        ],
    )
    def test_the_next_line_begins_behind_the_last_whole_one(
        self, tmp_path: Path, before: bytes, kept: bytes
    ) -> None:
        path = tmp_path / "lines.jsonl"
        path.write_bytes(before)
        with open_lines(path) as file:
            file.write('{"b": "\ud800"}\n')
        assert path.read_bytes() == kept + b'{"b": "\\ud800"}\n'

    def test_a_full_disk_names_the_file_and_loses_no_line(self, tmp_path: Path, full_disk: None) -> None:
        path = tmp_path / "lines.jsonl"
        with pytest.raises(OSError, match="File too large") as caught, open_lines(path) as file:
            file.writelines("x" * 40_000 + "\n" for _ in range(2))
        assert caught.value.filename == str(path)
        with open_lines(path) as file:
            file.write("y\n")
        assert path.read_text() == "x" * 40_000 + "\n" + "y\n"

    def test_a_line_that_is_none_is_set_aside_with_its_place(self, tmp_path: Path) -> None:
        path = tmp_path / "lines.jsonl"
        path.write_bytes(b'{"a": 1}\n\x00\x00\x00\n{"a": "\xff"}\n' + b"[" * 100_000 + b'\n{"a": 2}\n{"a')
        aside: list[SetAside] = []
        assert list(read_lines(path, json_line, set_aside=aside.append)) == [{"a": 1}, {"a": 2}]
        assert [(line.path, line.line) for line in aside] == [(path, n) for n in (2, 3, 4, 6)]
        assert all(line.reason.startswith("not JSON: ") for line in aside)
