"""Files appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import pytest

from nnapi_lab.errors import OutputError
from nnapi_lab.files import write_bytes, write_text, write_with


def test_a_file_is_written(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "Größe\n")
    assert (tmp_path / "a.txt").read_bytes() == "Größe\n".encode()
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"old")

    def break_off(stream: BinaryIO) -> None:
        stream.write(b"ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_with(tmp_path / "a", break_off)
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    def fill(stream: BinaryIO) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="a cannot be written: No space left on device"):
        write_with(tmp_path / "a", fill)
    assert list(tmp_path.iterdir()) == []


def test_permissions_are_those_of_the_old_file(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"1")
    os.chmod(tmp_path / "a", 0o640)
    write_bytes(tmp_path / "a", b"2")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "a")
    write_bytes(tmp_path / "link", b"1")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "a").read_bytes() == b"1"


def test_a_device_is_written_to_and_stays_one() -> None:
    write_bytes("/dev/null", b"1")
    assert not os.path.isfile("/dev/null")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="it is a folder"):
        write_bytes(tmp_path, b"1")


def test_a_read_only_folder_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Refused by hand: the administrator, who may run the tests, can write anywhere.
    def refuse(path: str, *_: int) -> int:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("nnapi_lab.files.os.open", refuse)
    with pytest.raises(OutputError, match="is read-only for you; choose another place"):
        write_bytes(tmp_path / "a", b"1")
