"""D9 (dry): the plan of a thousand jobs."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest


@pytest.mark.slow
def test_d9_the_plan_of_a_thousand_jobs_is_made_in_bounded_time_and_memory(tmp_path: Path) -> None:
    rates = ",".join(str(number / 10_000) for number in range(1, 251))
    sweep = ("-m", f"optimizer.lr={rates}", "batch.size=5,10,16,32", "n_replicates=100", "dry_run=true", "study=s")
    began = time.monotonic()
    program = [str(Path(sys.executable).parent / "pima-hp-train"), *sweep]
    with subprocess.Popen(program, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        said = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds, mib = time.monotonic() - began, used.ru_maxrss / 1024
    print(f"1,000 jobs of 100 runs: {seconds:.0f} s, {used.ru_utime:.0f} s of them computing, {mib:,.0f} MiB")  # noqa: T201
    assert process.returncode == 0
    assert "configurations  1,000: " in said
    assert "runs            100,000, of which 0 are in the ledger" in said
    assert not (tmp_path / "outputs").exists()
    assert seconds < 240
    assert mib < 4096
