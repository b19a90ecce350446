"""One sweep at a time in a study, and the ways a lock can be left behind (B6, B8)."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pima_hp.errors import StorageError, StudyError
from pima_hp.ledger.files import locked, owner_of, study_lock

ROOT = Path(__file__).parents[2]
HOLD = """
import sys, time
from pathlib import Path
from pima_hp.ledger.files import study_lock
with study_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the study in tmp_path."""
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def _refusal(study: Path) -> str:
    began = time.monotonic()
    with pytest.raises(StudyError) as caught, study_lock(study):
        pass
    assert time.monotonic() - began < 1
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_it_is_free_again_after_the_block_also_after_an_error(tmp_path: Path) -> None:
    for _ in range(2):
        with study_lock(tmp_path / "new" / "study", "token"):
            (line,) = (tmp_path / "new" / "study" / ".owner").read_text().splitlines()
            owner = json.loads(line)
            assert (owner["pid"], owner["host"], owner["command"]) == (os.getpid(), socket.gethostname(), "token")
        assert owner_of(tmp_path / "new" / "study") is None
    with pytest.raises(KeyboardInterrupt), study_lock(tmp_path):
        raise KeyboardInterrupt
    with study_lock(tmp_path):
        assert [path.name for path in (tmp_path / "ledger").iterdir()] == []


def test_b6_a_second_holder_is_refused_by_name_and_a_killed_one_is_replaced_at_once(
    tmp_path: Path, holder: subprocess.Popen[bytes]
) -> None:
    start = json.loads((tmp_path / ".owner").read_text())["start"]
    assert all(part in _refusal(tmp_path) for part in (str(holder.pid), socket.gethostname(), start, str(tmp_path)))
    leftover = tmp_path / "ledger" / ".part.parquet.1234.tmp"
    leftover.write_bytes(b"half")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with study_lock(tmp_path):
        assert owner_of(tmp_path).pid == os.getpid()
        assert not leftover.exists()


def test_b8_a_live_process_is_never_taken_over_whatever_becomes_of_its_files(
    tmp_path: Path, holder: subprocess.Popen[bytes]
) -> None:
    for content in (
        None,
        b"garbage",
        json.dumps({"pid": 2**22 + 1, "host": socket.gethostname(), "start": ""}).encode(),
    ):
        (tmp_path / ".owner").unlink(missing_ok=True)
        if content:
            (tmp_path / ".owner").write_bytes(content)
        assert "it is held by" in _refusal(tmp_path)


def test_b6_a_second_holder_in_one_process_is_refused_and_the_first_keeps_it(tmp_path: Path) -> None:
    with study_lock(tmp_path), locked(tmp_path):
        for _ in range(2):
            assert str(os.getpid()) in _refusal(tmp_path)
        assert owner_of(tmp_path) is not None


OTHER_HOST = json.dumps({"pid": 12, "host": "elsewhere", "start": "2026-11-23T10:00:00+00:00"}).encode()


@pytest.mark.parametrize(
    "content",
    [
        OTHER_HOST,
        b"",
        b"garbage",
        b"\xff\xfe",
        b"{}",
        b"[1]",
        b'{"pid": "x", "host": 1, "start": null}',
        b"[" * 100_000,
    ],
)
def test_b8_another_host_or_garbage_is_refused_with_the_command_to_override(tmp_path: Path, content: bytes) -> None:
    study = tmp_path / "my study"
    study.mkdir()
    (study / ".owner").write_bytes(content)
    refusal = _refusal(study)
    assert ("12 on elsewhere" in refusal) == (content == OTHER_HOST)
    subprocess.run(refusal.rpartition(": ")[2], shell=True, check=True)  # noqa: S602
    with study_lock(study):
        pass


def test_a_folder_that_cannot_be_locked_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "ledger").write_text("")
    for study in (tmp_path / "file", tmp_path):
        with pytest.raises(StorageError), study_lock(study):
            pass
