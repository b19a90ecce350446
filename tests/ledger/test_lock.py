"""One sweep at a time in a study, and the ways a lock can be left behind (B6, B8)."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pima_hp.errors import StorageError, StudyError
from pima_hp.ledger import StudyLock

ROOT = Path(__file__).parents[2]
HOLD = """
import sys, time
from pima_hp.ledger import StudyLock
with StudyLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def _owner(study: Path) -> Path:
    return study / "ledger" / ".owner"


def test_it_is_free_again_after_the_block_also_after_an_error(tmp_path: Path) -> None:
    for _ in range(2):
        with StudyLock(tmp_path / "new" / "study") as lock:
            assert lock.note == ""
            owner = json.loads(_owner(tmp_path / "new" / "study").read_text())
            assert owner["pid"] == os.getpid()
            assert owner["host"] == socket.gethostname()
        assert not _owner(tmp_path / "new" / "study").exists()
    with pytest.raises(KeyboardInterrupt), StudyLock(tmp_path):
        raise KeyboardInterrupt
    with StudyLock(tmp_path) as lock:
        assert lock.note == ""


def test_b6_a_second_holder_is_refused_at_once_by_name_and_a_killed_one_is_replaced(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        begin = time.monotonic()
        with pytest.raises(StudyError) as caught, StudyLock(tmp_path):
            pass
        assert time.monotonic() - begin < 1
        message = str(caught.value)
        start = json.loads(_owner(tmp_path).read_text())["start"]
        assert all(part in message for part in (str(holder.pid), socket.gethostname(), start, str(tmp_path)))
        assert "\n" not in message
        assert caught.value.exit_code == 3
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    leftover = tmp_path / "ledger" / ".part.parquet.1234.tmp"
    leftover.write_bytes(b"half")
    with StudyLock(tmp_path) as lock:
        assert str(holder.pid) in lock.note
        assert not leftover.exists()


def test_b6_a_second_holder_in_one_process_is_refused_and_the_first_keeps_it(tmp_path: Path) -> None:
    with StudyLock(tmp_path):
        for _ in range(2):
            with pytest.raises(StudyError, match=str(os.getpid())), StudyLock(tmp_path):
                pass
        assert _owner(tmp_path).exists()


def test_b6_a_holder_that_has_not_said_who_it_is(tmp_path: Path) -> None:
    with StudyLock(tmp_path):
        _owner(tmp_path).unlink()
        begin = time.monotonic()
        with pytest.raises(StudyError, match="unknown process"), StudyLock(tmp_path):
            pass
        assert time.monotonic() - begin < 1


OTHER_HOST = json.dumps({"pid": 12, "host": "elsewhere", "start": "2026-11-23T10:00:00+00:00"}).encode()


@pytest.mark.parametrize(
    "content",
    [OTHER_HOST, b"", b"garbage", b"\xff\xfe", b"{}", b"[1]", b'{"pid": "x", "host": 1, "start": null}'],
)
def test_b8_another_host_or_garbage_is_refused_with_the_command_to_override(tmp_path: Path, content: bytes) -> None:
    study = tmp_path / "my study"
    _owner(study).parent.mkdir(parents=True)
    _owner(study).write_bytes(content)
    with pytest.raises(StudyError) as caught, StudyLock(study):
        pass
    assert f"rm '{_owner(study)}'" in str(caught.value)
    assert ("12 on elsewhere" in str(caught.value)) == (content == OTHER_HOST)
    assert "\n" not in str(caught.value)
    subprocess.run(str(caught.value).rpartition(": ")[2], shell=True, check=True)  # noqa: S602
    with StudyLock(study) as lock:
        assert lock.note == ""


@pytest.mark.parametrize("content", [b"", b"garbage", b"999999"])
def test_b8_what_is_in_the_lock_file_does_not_matter(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ledger").mkdir()
    (tmp_path / "ledger" / ".lock").write_bytes(content)
    with StudyLock(tmp_path):
        pass


def test_a_folder_that_cannot_be_locked_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError), StudyLock(tmp_path / "file"):
        pass
    (tmp_path / "ledger" / ".lock").mkdir(parents=True)
    with pytest.raises(StorageError), StudyLock(tmp_path):
        pass
