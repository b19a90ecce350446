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
from tests.ledger.conftest import configuration_of, results_of

ROOT = Path(__file__).parents[2]
CALLS = ("open", "fsync", "close", "replace", "mkdir")

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
    time.sleep(moments.uniform(0.01, 0.6))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


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


@pytest.mark.parametrize("code", ["ENOSPC", "EIO"])
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
    command = [sys.executable, "-c", KILLED, tmp_path / "study", tmp_path / "acknowledged", "20261123"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    acknowledged = set((tmp_path / "acknowledged").read_text().split())
    ledger = Ledger(tmp_path / "study")
    assert acknowledged
    assert acknowledged <= ledger.finished_run_ids()
    # at most the one part that was being written at each kill is there without its acknowledgement
    assert len(ledger.finished_run_ids() - acknowledged) <= 10
    assert set(ledger.frame()["run_id"]) == ledger.finished_run_ids()
    assert ledger.damaged == []


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
