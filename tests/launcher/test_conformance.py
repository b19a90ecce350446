"""Hydra's own suites for launchers and sweepers, run against `stacked` and `grids`; and the launchers of others."""

import shutil
from pathlib import Path

import pytest
from hydra import version
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.test_utils.launcher_common_tests import BatchedSweeperTestSuite, IntegrationTestSuite, LauncherTestSuite
from hydra.test_utils.test_utils import TSweepRunner
from hydra_plugins.pima_hp_grids import GridsSweeper
from hydra_plugins.pima_hp_stacked import StackedLauncher
from omegaconf import OmegaConf

from pima_hp.ledger import read_study
from tests.conftest import Command

# Hydra's applications do not say `version_base`, and are told each time what a later version will do.
pytestmark = pytest.mark.filterwarnings("ignore:.*Future Hydra versions will no longer change working directory")


@pytest.fixture(autouse=True)
def version_of_the_suites() -> None:
    """What the suites expect (jobs run in their folders), whatever a test before said to the whole process."""
    version.VersionBase.instance().setbase(version.Version("1.1"))


def test_hydra_discovers_both() -> None:
    for kind, own in ((Launcher, StackedLauncher), (Sweeper, GridsSweeper)):
        found = {f"{plugin.__module__}.{plugin.__name__}" for plugin in Plugins.instance().discover(kind)}
        assert f"{own.__module__}.{own.__name__}" in found


@pytest.fixture
def launcher_name(request: pytest.FixtureRequest) -> str:
    return str(request.param[0])


@pytest.fixture
def overrides(request: pytest.FixtureRequest) -> list[str]:
    return list(request.param[1])


PAIRS = {
    "stacked under basic": ("stacked", ["hydra/sweeper=basic"]),
    "stacked under grids": ("stacked", ["hydra/sweeper=grids"]),
    "basic under grids": ("basic", ["hydra/sweeper=grids"]),
}


def pairs(*more: str) -> pytest.MarkDecorator:
    values = [(launcher, [*overrides, *more]) for launcher, overrides in PAIRS.values()]
    return pytest.mark.parametrize(
        ("launcher_name", "overrides"), list(zip(values, values, strict=True)), indirect=True, ids=list(PAIRS)
    )


@pairs()
class TestLauncher(LauncherTestSuite):
    """What Hydra asks of every launcher."""


@pairs("hydra.sweeper.max_batch_size=2")
class TestBatches(BatchedSweeperTestSuite):
    """What Hydra asks of every sweeper that hands jobs over in batches."""


@pytest.mark.parametrize(
    ("task_launcher_cfg", "extra_flags"),
    [({}, ["-m", "hydra/launcher=stacked", "hydra/sweeper=grids"])],
    ids=["stacked under grids"],
)
class TestIntegration(IntegrationTestSuite):
    """An application of Hydra's own in a process of its own; it has none of our callbacks."""


def swept(runner: TSweepRunner, tmpdir: Path, *overrides: str) -> list[list[str]]:
    """The overrides of the jobs of a sweep of Hydra's test application."""
    sweep = runner(
        calling_file=None,
        calling_module="hydra.test_utils.a_module",
        task_function=None,
        config_path="configs",
        config_name="compose.yaml",
        overrides=["hydra/sweeper=grids", "hydra/launcher=stacked", *overrides],
        temp_dir=tmpdir,
    )
    with sweep:
        assert sweep.returns is not None
        return [list(job.overrides) for batch in sweep.returns for job in batch]


@pytest.mark.usefixtures("hydra_restore_singletons")
@pytest.mark.parametrize(
    ("overrides_given", "jobs"),
    [
        (["group1=file1,file2"], [["group1=file1"], ["group1=file2"]]),
        (["group1=glob(*)"], [["group1=abc.cde"], ["group1=file1"], ["group1=file2"]]),
        (["bar=choice(1,2)", "foo=range(0,2)"], [[f"bar={b}", f"foo={f}"] for b in (1, 2) for f in (0, 1)]),
        (["bar=[1,2],[3]"], [["bar=[1,2]"], ["bar=[3]"]]),
        (["+a=x,y", "bar=1"], [["+a=x", "bar=1"], ["+a=y", "bar=1"]]),
        (["bar=1,1", "bar=2,3"], [["bar=2"], ["bar=3"]]),
        (
            ["+hydra.sweeper.params.foo='1,2'", "bar=3,4"],
            [[f"bar={bar}", f"foo={foo}"] for bar in (3, 4) for foo in (1, 2)],
        ),
        (["hydra.sweeper.grids=[{foo:[1,2]},{bar:[3,1]},{foo:[2]}]"], [["foo=1"], ["foo=2"], ["bar=3"], ["bar=1"]]),
        (["hydra.sweeper.grids=[{foo:[1,2],bar:[1,2]}]", "foo=7"], [["foo=7", "bar=1"], ["foo=7", "bar=2"]]),
        (["hydra.sweeper.grids=[{foo:'logspace(1,100,3)'}]"], [["foo=1"], ["foo=10"], ["foo=100"]]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value[0], str) else "",
)
def test_grids_are_expanded_as_hydra_writes_sweeps(
    hydra_sweep_runner: TSweepRunner, tmpdir: Path, overrides_given: list[str], jobs: list[list[str]]
) -> None:
    assert swept(hydra_sweep_runner, tmpdir, *overrides_given) == jobs


def test_each_job_is_published_as_hydra_publishes_any_job(command: Command, tmp_path: Path) -> None:
    done = command("-m", "seed=0,1", "trainer.max_epochs=1", "batch=full", "study=s", "hydra.job.chdir=false")
    assert done.code == 0
    jobs = sorted((tmp_path / "outputs" / "s" / "jobs").iterdir())
    assert [path.name for path in jobs] == [f"batch=full,seed={n},trainer.max_epochs=1" for n in (0, 1)]
    for number, job in enumerate(jobs):
        assert {path.name for path in job.iterdir()} == {".hydra", "conftest.log"}
        assert OmegaConf.load(job / ".hydra" / "config.yaml").seed == number
        assert f"seed={number}" in OmegaConf.load(job / ".hydra" / "overrides.yaml")
        assert OmegaConf.load(job / ".hydra" / "hydra.yaml").hydra.job.num == number
    assert (tmp_path / "outputs" / "s" / "multirun.yaml").is_file()


@pytest.fixture
def expected(command: Command, tmp_path: Path) -> dict[str, list[float]]:
    """The curves that a stack gives."""
    assert command("-m", *SWEEP).code == 0
    frame = read_study(tmp_path / "outputs" / "s")
    shutil.rmtree(tmp_path / "outputs")
    return dict(zip(frame["run_id"], (curve.tolist() for curve in frame["val/loss"]), strict=True))


SWEEP = ("activation=relu,tanh", "seed=0,1", "trainer.max_epochs=2", "trainer.precision=64", "batch=full", "study=s")


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_other_launchers_give_the_same_runs(
    command: Command, tmp_path: Path, expected: dict[str, list[float]], launcher: str
) -> None:
    if launcher == "joblib":
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    jobs = ("hydra.launcher.n_jobs=2",) if launcher == "joblib" else ()
    done = command("-m", f"hydra/launcher={launcher}", *jobs, *SWEEP)
    assert done.code == 0, done.err
    frame = read_study(tmp_path / "outputs" / "s")
    assert set(frame["run_id"]) == set(expected)
    assert len(frame) == 4
    for run_id, curve in zip(frame["run_id"], frame["val/loss"], strict=True):
        assert curve.tolist() == pytest.approx(expected[run_id], rel=1e-9)  # float64
    again = command("-m", f"hydra/launcher={launcher}", *jobs, *SWEEP)
    assert again.code == 0
    assert "0 to train" in again.err


def test_another_sweeper_plans_and_publishes_all_the_same(command: Command, tmp_path: Path) -> None:
    study, sweep = tmp_path / "outputs" / "s", ("-m", "hydra/sweeper=basic", *SWEEP)
    plan = command(*sweep, "dry_run=true")
    assert plan.code == 0
    assert "configurations  2: relu; tanh" in plan.out
    assert not (study / "ledger").exists()
    refused = command(*sweep, "batch.size=5,900,1000")
    assert refused.code == 2
    assert [line.rpartition("found ")[2] for line in refused.refusals] == ["900", "1000"]
    done = command(*sweep)
    assert done.code == 0
    assert "trained 4 runs" in done.err
    assert {path.name for path in study.iterdir()} >= {"ledger", "runs.csv", "tensorboard"}
    changed = command(*sweep, "trainer.max_epochs=3")
    assert changed.code == 3
    assert "trainer.max_epochs: 2 -> 3" in changed.err
    with_basic_launcher = command(*sweep, "hydra/launcher=basic", "study=t")
    assert with_basic_launcher.code == 0
    assert len(read_study(tmp_path / "outputs" / "t")) == 4
    assert (tmp_path / "outputs" / "t" / "runs.csv").is_file()
