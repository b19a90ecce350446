"""A ledger that somebody else has made, or made up (F7): read where it is sound, else one line and no traceback."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from pima_hp.commands.report import run as report
from pima_hp.errors import StorageError, StudyError
from pima_hp.ledger import Ledger, Manifest, read_study
from pima_hp.ledger.files import study_lock
from pima_hp.ledger.ledger import curve_columns, setting_columns
from pima_hp.ledger.parts import _VERSION_KEY, COLUMNS, VERSION, _digest
from pima_hp.run import RunStatus
from tests.ledger.conftest import SGD, configuration_of, joined, manifest_of, results_of

CONFIGURATIONS = [configuration_of(trainer__max_epochs=4, batch__size=size) for size in (16, 32)]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Twelve runs of two configurations, in two parts."""
    folder = tmp_path / "study"
    for configuration in CONFIGURATIONS:
        Ledger(folder).append(joined([results_of(configuration, seed) for seed in range(6)]))
    manifest_of(*CONFIGURATIONS).write(folder)
    return folder


def forge(study: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change the first part of a study, and give it the name that its bytes must have."""
    path = min((study / "ledger").iterdir())
    table = change(pq.read_table(path)).replace_schema_metadata({_VERSION_KEY: str(VERSION)})
    path.unlink()
    pq.write_table(table, path)
    path.rename(path.with_name(f"000-{_digest(path.read_bytes())}.parquet"))


def column(name: str, values: Callable[[int], Any]) -> Callable[[pa.Table], pa.Table]:
    """Return the change of one column."""

    def change(table: pa.Table) -> pa.Table:
        array = values(len(table))
        array = array if isinstance(array, pa.Array) else pa.array(array)
        return table.set_column(table.column_names.index(name), name, array)

    return change


NESTED = "[" * 20_000 + "]" * 20_000
WRONG = {
    "a curve of another type": lambda table: table.append_column("mine", pa.array(["x"] * len(table))),
    "a missing column": lambda table: table.drop_columns(["data.test_fraction"]),
    "all columns missing": lambda table: table.select([]),
    "a column twice": lambda table: table.append_column("status", table["status"]),
    "a nonsense status": column("status", lambda n: ["nonsense"] * n),
    "a status that is null": column("status", lambda n: pa.nulls(n, pa.string())),
    "a number for a name": column("activation", lambda n: [[1.0]] * n),
    "words for a number": column("optimizer.lr", lambda n: ["fast"] * n),
    "curves too short": column("val/loss", lambda n: [[0.1]] * n),
    "curves of words": column("val/accuracy", lambda n: [["a", "b", "c", "d"]] * n),
    "an epoch that was not": column("stop_epoch", lambda n: [99] * n),
    "a list for a number": column("batch.size", lambda n: ["[16]"] * n),
    "no epochs": column("trainer.max_epochs", lambda n: [0] * n),
    "endless epochs": column("trainer.max_epochs", lambda n: [2**62] * n),
    "a path for an id": column("run_id", lambda n: ["../../../../etc"] * n),
}
ODD = {
    "a list for a name": column("activation", lambda n: ["[1, null]"] * n),
    "null for a name": column("optimizer", lambda n: ["null"] * n),
    "JSON that is nested": column("model.hidden_widths", lambda n: [NESTED] * n),
    "JSON that breaks off": column("model.hidden_widths", lambda n: ["{"] * n),
    "curves with nulls": column("val/loss", lambda n: [[0.1, None, 0.3, 0.4]] * n),
    "an object for a setting": column("model.hidden_widths", lambda n: ['{"a": [1, {"b": null}]}'] * n),
    "null for a setting": column("model.hidden_widths", lambda n: ["null"] * n),
    "a list for a setting": column("model.initialization", lambda n: ["[[1], [2]]"] * n),
    "versions that are none": column("versions", lambda n: ["[1]", "null", "{", NESTED[:9], "", "1"][:n]),
    "not a number": column("data.test_fraction", lambda n: [np.nan] * n),
    "endless numbers": column("n_train", lambda n: [-(2**62)] * n),
    "infinite losses": column("val/loss", lambda n: [[np.inf, -np.inf, np.nan, 1e308]] * n),
    "a setting of another type": lambda table: table.append_column("optimizer.momentum2", pa.array([1.0] * len(table))),
}


@pytest.mark.parametrize("name", WRONG)
def test_f7_what_no_run_can_be_is_left_out_and_named_and_the_rest_is_reported(
    study: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    forge(study, WRONG[name])
    with pytest.warns(UserWarning, match=r"^000-\w+\.parquet: .*its runs are missing") as caught:
        frame = read_study(study)
    assert len(frame) == 6
    assert [len(str(one.message).splitlines()) for one in caught] == [1]
    assert len(Ledger(study).finished_run_ids()) == 6
    assert report([str(study)]) in (0, 2)
    assert "Traceback" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("name", ODD)
def test_f7_what_is_odd_is_read_and_reported_without_a_traceback(
    study: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    forge(study, ODD[name])
    assert len(read_study(study)) == 12
    assert report([str(study)]) in (0, 2)
    assert "Traceback" not in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    "content", [b"", b"[1]", b"null", b"{", NESTED.encode(), b'{"manifest": {"schema_version": 5}}']
)
def test_f7_a_study_with_a_nonsense_manifest_is_refused_in_one_line_and_read_without_it(
    study: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (study / "manifest.json").write_bytes(content)
    with pytest.raises(StorageError, match=r"manifest\.json' is damaged; delete it"):
        read_study(study)
    assert report([str(study)]) == 4
    assert len(capsys.readouterr().err.splitlines()) == 1
    (study / "manifest.json").unlink()
    assert len(read_study(study)) == 12


def test_b13_pipes_and_links_are_not_read(study: Path, tmp_path: Path) -> None:
    for name in ("manifest.json", ".owner", "ledger/000.parquet"):
        (study / name).unlink(missing_ok=True)
        os.mkfifo(study / name)
    with pytest.raises(StudyError, match="unknown process"), study_lock(study):
        pass
    with pytest.raises(StorageError, match="not a regular file"):
        Manifest.read(study)
    (study / "manifest.json").unlink()
    with pytest.warns(UserWarning, match="not a regular file"):
        assert len(read_study(study)) == 12


def test_f7_a_ledger_that_is_a_file_is_a_line(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (study / "ledger").iterdir():
        path.unlink()
    assert report([str(study)]) in (0, 2)
    (study / "ledger").rmdir()
    (study / "ledger").write_text("")
    capsys.readouterr()
    assert report([str(study)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_pandas_and_others_read_the_ledger_as_it_is(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    own = configuration_of(trainer__max_epochs=4, optimizer={**SGD, "momentum": 0.9}, batch__size="full")
    ledger.append(results_of(own, 0, RunStatus.FAILED))  # has neither curves nor scores
    ledger.append(joined([results_of(own, seed) for seed in (1, 2)]))
    ledger.append(results_of(CONFIGURATIONS[0], 3))
    assert {path.suffix for path in ledger.folder.iterdir()} == {".parquet"}
    frame = ledger.frame().set_index("run_id").sort_index()
    for table in (pd.read_parquet(ledger.folder), ds.dataset(ledger.folder).to_table().to_pandas()):
        found = table.set_index("run_id").sort_index()
        assert {*COLUMNS} - {"run_id"} <= {*found.columns}
        assert {*setting_columns(frame), *frame.filter(like="final/")} <= {*found.columns}
        typed = [name for name in COLUMNS if name != "run_id" and name not in curve_columns(frame)]
        same = found[typed].assign(**{"batch.size": found["batch.size"].astype(object).fillna("full")})
        pd.testing.assert_frame_equal(same.astype(object).fillna(""), frame[typed].astype(object).fillna(""))
        assert [momentum for momentum in found["optimizer.momentum"] if isinstance(momentum, str)] == ["0.9"] * 3
        trained = frame["status"] == "completed"
        for key in curve_columns(frame):
            np.testing.assert_array_equal(np.stack(found.loc[trained, key]), np.stack(frame.loc[trained, key]))


def test_a_study_is_read_without_torch_and_found_by_its_name(tmp_path: Path) -> None:
    Ledger(tmp_path / "outputs" / "mine").append(results_of(CONFIGURATIONS[0], 0))
    code = (
        "import sys, pima_hp.ledger, pima_hp.ledger.tensorboard, pima_hp.commands.report as report; "
        "assert len(pima_hp.ledger.read_study('mine')) == len(pima_hp.ledger.read_study('outputs/mine')) == 1; "
        "assert not {'torch', 'lightning', 'tensorflow', 'numba'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=tmp_path)
