"""Full disks, kills and refused writes: what was acknowledged stays, what was not is as if never begun."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pima_hp.errors import StorageError
from pima_hp.ledger import Ledger
from pima_hp.ledger.files import make_folder, study_lock
from tests.ledger.conftest import configuration_of, results_of

ROOT = Path(__file__).parents[2]
CALLS = ("open", "fsync", "close", "replace", "mkdir")

LIMITED = """
import resource, sys
from pathlib import Path
from pima_hp.errors import StorageError
from pima_hp.ledger import Ledger
from tests.ledger.conftest import configuration_of, results_of
study, limit = Path(sys.argv[1]), int(sys.argv[2])
small, large = configuration_of(trainer__max_epochs=2), configuration_of(trainer__max_epochs=3000)
ledger = Ledger(study)
ledger.append(results_of(small, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    ledger.append(results_of(large, 1))
except StorageError as error:
    print(error)
    sys.exit(error.exit_code)
"""

KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from pima_hp.ledger import Ledger
from tests.ledger.conftest import configuration_of, results_of
study, acknowledged = Path(sys.argv[1]), os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
records = [results_of(configuration_of(trainer__max_epochs=4), seed) for seed in range(4000)]
moments = random.Random(int(sys.argv[3]))
for kill in range(10):
    child = os.fork()
    if child == 0:
        ledger = Ledger(study)
        for record in records[kill * 400 : (kill + 1) * 400]:
            ledger.append(record)
            os.write(acknowledged, (record.runs[0].id + os.linesep).encode())
        os._exit(0)
    time.sleep(moments.uniform(0.01, 0.25))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""

STOPPED = """
import os, signal, sys
from pathlib import Path
from pima_hp.ledger import Ledger
from tests.ledger.conftest import configuration_of, results_of
study, call, when = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
configuration = configuration_of(trainer__max_epochs=4)
ledger = Ledger(study)
ledger.append(results_of(configuration, 0))
real = getattr(os, call)
def kill(*args, **kwargs):
    if when == "after":
        real(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(os, call, kill)
ledger.append(results_of(configuration, 1))
"""


def _run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def _failing(monkeypatch: pytest.MonkeyPatch, number: int, after: int) -> Callable[[], int]:
    """Let every wrapped call from the `after`-th on fail; gives back how many were made."""
    count = 0

    def wrapped(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            if count > after:
                if real is os.close:
                    real(*args)
                raise OSError(number, os.strerror(number))
            return real(*args, **kwargs)

        return call

    monkeypatch.setattr(Path, "open", wrapped(Path.open))
    for name in CALLS:
        monkeypatch.setattr(os, name, wrapped(getattr(os, name)))
    return lambda: count


@pytest.mark.parametrize("limit", [1, 10_000, 60_000])
def test_b1_a_full_disk_is_one_line_and_costs_no_recorded_run(tmp_path: Path, limit: int) -> None:
    result = _run(LIMITED, tmp_path / "study", limit)
    assert result.returncode == 4, result.stderr
    assert result.stderr == ""
    (line,) = result.stdout.splitlines()
    assert str(tmp_path / "study" / "ledger") in line
    assert "File too large" in line
    ledger = Ledger(tmp_path / "study")
    assert len(ledger.finished_run_ids()) == len(list(ledger.folder.iterdir())) == 1
    ledger.append(results_of(configuration_of(trainer__max_epochs=3000), 1))
    assert len(Ledger(tmp_path / "study").frame()) == 2


@pytest.mark.parametrize("code", ["ENOSPC", "EIO", "EDQUOT", "EROFS", "EACCES"])
def test_b2_every_call_may_fail(tmp_path: Path, code: str) -> None:
    configuration = configuration_of(trainer__max_epochs=2)
    kept = results_of(configuration, 0)
    Ledger(tmp_path).append(kept)
    after = 0
    while True:
        ledger = Ledger(tmp_path)
        with pytest.MonkeyPatch.context() as monkeypatch:
            made = _failing(monkeypatch, getattr(errno, code), after)
            try:
                ledger.append(results_of(configuration, 1 + after))
                error = None
            except StorageError as caught:
                error = caught
            n_calls = made()
        if error is None:
            assert n_calls == after
            break
        assert os.strerror(getattr(errno, code)) in str(error)
        assert str(tmp_path) in str(error)
        assert "\n" not in str(error)
        assert not ledger.damaged
        assert kept.runs[0].id in Ledger(tmp_path).finished_run_ids()
        assert not list(ledger.folder.glob(".*"))
        after += 1
    assert after >= 6


def test_kill_9_at_random_moments_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    result = _run(KILLED, tmp_path / "study", tmp_path / "acknowledged", 20261123)
    assert result.returncode == 0, result.stderr
    acknowledged = set((tmp_path / "acknowledged").read_text().split())
    ledger = Ledger(tmp_path / "study")
    assert acknowledged
    assert acknowledged <= ledger.finished_run_ids()
    # at most the one part that was being written at each kill is there without its acknowledgement
    assert len(ledger.finished_run_ids() - acknowledged) <= 10
    assert set(ledger.frame()["run_id"]) == ledger.finished_run_ids()
    assert ledger.damaged == []


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_kill_9_between_sync_and_rename(tmp_path: Path, call: str, when: str) -> None:
    assert _run(STOPPED, tmp_path, call, when).returncode == -9
    ledger = Ledger(tmp_path)
    assert len(ledger.finished_run_ids()) == (2 if (call, when) == ("replace", "after") else 1)
    assert ledger.damaged == []
    assert len(list(ledger.folder.glob(".*.tmp"))) == (0 if (call, when) == ("replace", "after") else 1)
    with study_lock(tmp_path):
        pass
    assert not list(ledger.folder.glob(".*"))


def test_b4_folders_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    record = results_of(configuration_of(trainer__max_epochs=2), 0)
    beyond = tmp_path / ("x" * 300)
    for study, named in (
        (tmp_path / "file",) * 2,
        (tmp_path / "file" / "a", tmp_path / "file"),
        (beyond, beyond),
    ):
        with pytest.raises(StorageError) as caught:
            Ledger(study).append(record)
        assert str(named) in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(StorageError):
        make_folder(tmp_path / "file")
