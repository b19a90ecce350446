"""Mandatory values (`???`) must be given: the table of `data=csv`, and whatever a YAML of one's own leaves out."""

from pathlib import Path

import pytest

from pima_hp.errors import ConfigurationError
from tests.conftest import Command, job_of

QUICK = ("trainer.max_epochs=1", "batch=full", "study=s")
NO_PATH = "data.path: Missing mandatory value: path"


@pytest.mark.parametrize(
    "arguments",
    [
        ("data=csv",),
        ("data=csv", "dry_run=true"),
        ("data=csv", "debug=fast_dev_run"),
        ("-m", "data=pima,csv", "seed=0,1"),
        ("-m", "data=csv", "seed=0,1", "hydra/sweeper=basic"),
    ],
    ids=" ".join,
)
def test_a_table_of_ones_own_must_be_named(command: Command, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = command(*arguments, *QUICK)
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == [f"refused: {NO_PATH}"]
    assert not list(tmp_path.rglob("*.parquet"))
    with pytest.raises(ConfigurationError, match=r"^data\.path: "):
        job_of("data=csv")


def test_a_job_of_another_sweeper_and_launcher_must_name_it_too(command: Command, tmp_path: Path) -> None:
    done = command("-m", "data=csv", "seed=0,1", "hydra/sweeper=basic", "hydra/launcher=basic", *QUICK)
    assert done.code == 2
    assert done.refusals == [NO_PATH]
    assert not list(tmp_path.rglob("*.parquet"))


def test_what_is_asked_of_hydra_shows_a_value_that_is_to_be_given(command: Command) -> None:
    for more in ((), ("--resolve",)):
        done = command("data=csv", "--cfg", "job", "-p", "data", *more)
        assert done.code == 0
        assert "path: ???" in done.out


def test_every_mandatory_value_is_asked_for(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "mine" / "optimizer" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("_target_: torch.optim.SGD\nlr: ???\nmomentum: ???\n", encoding="utf-8")
    mine = ("--config-dir", str(tmp_path / "mine"), "optimizer=mine")
    for sweep in ((), ("-m",)):
        done = command(*mine, "study=???", "data.features=[glucose,???]", *sweep)
        assert done.code == 2
        assert done.refusals == ["study: must be one name for all jobs of a sweep"]
    for given, key in ((), "optimizer.lr"), (("optimizer.lr=0.1",), "optimizer.momentum"):
        done = command(*mine, *given, *QUICK)
        assert (done.code, done.refusals) == (2, [f"{key}: Missing mandatory value: {key.rpartition('.')[2]}"])
    done = command(*mine, "optimizer.lr=0.1", "optimizer.momentum=${data.path}", "data=csv", *QUICK)
    assert done.code == 2
    (line,) = done.refusals
    assert "data.path" in line
    assert command(*mine, "optimizer.lr=0.1", "optimizer.momentum=0.5", *QUICK).code == 0
