"""Commands one after the other, each a process of its own: what one has compiled never changes what another trains."""

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from pima_hp.ledger import read_study

QUICK = "trainer.max_epochs=3"
COMMANDS = {
    "a sweep": ["-m", "batch.size=5", "n_replicates=17", "study=rc", QUICK],
    "a single run": ["study=rb", QUICK],
    "the sweep extended": ["-m", "batch.size=5,10", "n_replicates=20", "study=rc", QUICK],
    "in double precision": ["-m", "batch.size=5", "n_replicates=17", "trainer.precision=64", "study=r64", QUICK],
    "one in double precision": ["trainer.precision=64", "study=rb64", QUICK],
}
THREE = tuple(COMMANDS)[:3]


def run(name: str, folder: Path, cache: Path | None = None) -> None:
    environment = os.environ | ({"PIMA_HP_CACHE_DIR": str(cache)} if cache else {})
    program = "from pima_hp.commands.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *COMMANDS[name], "engine=fused"],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def results(folder: Path) -> dict[str, pd.DataFrame]:
    """Study -> scores and curves of each run."""
    found = {}
    for study in sorted((folder / "outputs").iterdir()):
        frame = read_study(study).set_index("run_id").sort_index()
        columns = [name for name in frame.columns if "/" in name]
        found[study.name] = frame[columns].map(lambda item: item.tobytes() if hasattr(item, "tobytes") else item)
    return found


Check = Callable[[tuple[str, ...], Path], None]


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory) -> Check:
    """Run commands in an order, from an empty cache, and compare with the cache of this test run, bit for bit."""
    elsewhere, done = tmp_path_factory.mktemp("elsewhere"), set[str]()

    def run_and_compare(order: tuple[str, ...], folder: Path) -> None:
        for name in order:
            run(name, folder, folder / "cache")
        for name in set(order) - done:
            run(name, elsewhere)
            done.add(name)
        expected = results(elsewhere)
        for study, frame in results(folder).items():
            pd.testing.assert_frame_equal(frame, expected[study].loc[frame.index], check_exact=True)

    return run_and_compare


def test_a_sweep_a_single_run_and_the_sweep_extended_from_an_empty_cache(tmp_path: Path, check: Check) -> None:
    check(THREE, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "order", [*itertools.permutations(THREE), tuple(COMMANDS), tuple(COMMANDS)[::-1]], ids=", ".join
)
def test_in_any_order_from_an_empty_cache(tmp_path: Path, check: Check, order: tuple[str, ...]) -> None:
    check(order, tmp_path)
