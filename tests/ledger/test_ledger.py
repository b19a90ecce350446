"""The ledger: what is appended is what is read, whatever became of the files in between."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pima_hp.errors import InputError
from pima_hp.ledger import Ledger, read_study
from pima_hp.ledger.ledger import curve_columns, setting_columns
from pima_hp.run import CURVES, Results, RunStatus
from tests.conftest import members_of
from tests.ledger.conftest import LEAKY, SGD, configuration_of, joined, results_of


def _assert_holds(frame: pd.DataFrame, results: list[Results]) -> None:
    """Every run is a row, every value bit for bit, NaN as NaN."""
    rows = frame.set_index("run_id")
    runs = [one for each in results for one in members_of(each)]
    assert sorted(rows.index) == sorted(one.runs[0].id for one in runs)
    for one in runs:
        (run,), row = one.runs, rows.loc[one.runs[0].id]
        assert row["config_id"] == run.config.id
        seeds = [row[key] for key in ("seed", "init_seed", "split_seed", "order_seed")]
        assert seeds == [run.seeds.seed, run.seeds.init, run.seeds.split, run.seeds.order]
        assert row["status"] == one.status[0]
        for name in ("duration_s", "ended_s", "engine", "message"):
            assert row[name] == getattr(one, name)
        for name in ("stop_epoch", "n_updates"):
            assert row[name] == getattr(one, name)[0]
        assert np.array_equal(row["positive_rate"], one.positive_rate[0], equal_nan=True)
        assert row["n_train"] == one.n_train or (np.isnan(row["n_train"]) and one.n_train == 0)
        assert json.loads(row["versions"]) == one.versions
        for key in curve_columns(frame):
            nothing = np.full((1, run.config.trainer.max_epochs), np.nan)
            assert row[key].dtype == np.float64
            assert row[key].tobytes() == one.curves.get(key, nothing).tobytes()
        for column in (column for column in frame if column.startswith("final/")):
            expected = one.scores.get(column.removeprefix("final/"), [np.nan])[0]
            assert np.array_equal(row[column], expected, equal_nan=True)


def _some_results() -> list[Results]:
    """12 runs as seven parts: four statuses of three configurations, with 5 or 8 epochs."""
    configurations = [
        configuration_of(trainer__max_epochs=5),
        configuration_of(trainer__max_epochs=8, activation=LEAKY, batch__size="full"),
        configuration_of(trainer__max_epochs=5, optimizer=SGD),
    ]
    statuses = [RunStatus.COMPLETED, RunStatus.DIVERGED, RunStatus.STOPPED, RunStatus.FAILED]
    first, second, third = ([results_of(c, seed, s) for seed, s in enumerate(statuses)] for c in configurations)
    return [joined([*first[:3], *third[:3]]), first[3], third[3], *second]


def _append(ledger: Ledger, results: list[Results]) -> None:
    for each in results:
        ledger.append(each)


def _finished(results: list[Results]) -> set[str]:
    pairs = [pair for each in results for pair in zip(each.runs, each.status, strict=True)]
    return {run.id for run, status in pairs if status is not RunStatus.FAILED}


def _parts(study: Path) -> list[Path]:
    return sorted((study / "ledger").glob("*.parquet"))


def test_what_is_appended_is_what_is_read(tmp_path: Path) -> None:
    results = _some_results()
    ledger = Ledger(tmp_path)
    _append(ledger, results)
    _assert_holds(ledger.frame(), results)
    _assert_holds(read_study(str(tmp_path)), results)
    assert ledger.damaged == []
    assert [path.suffix for path in ledger.folder.iterdir()] == [".parquet"] * len(results)


def test_any_curve_becomes_a_column_and_is_missing_where_a_run_has_none(tmp_path: Path) -> None:
    plain, other, failed = (
        results_of(configuration_of(trainer__max_epochs=n), n, status)
        for n, status in ((4, RunStatus.COMPLETED), (3, RunStatus.STOPPED), (2, RunStatus.FAILED))
    )
    other = replace(other, curves={**other.curves, "val/f1": np.array([[0.1, 0.2, np.nan]])})
    other = replace(other, scores={**other.scores, "val/f1": np.array([0.25])})
    _append(ledger := Ledger(tmp_path), [plain, other, failed])
    frame = ledger.frame()
    _assert_holds(frame, [plain, other, failed])
    assert curve_columns(frame) == [*CURVES, "val/f1"]
    assert [len(curve) for curve in frame.sort_values("seed")["val/f1"]] == [2, 3, 4]
    assert frame["final/val/f1"].notna().tolist().count(True) == 1
    assert not {"val/f1", "lr", "ended_s", "final/val/f1"} & set(setting_columns(frame))


def test_a_curve_must_not_have_the_name_of_another_column(tmp_path: Path) -> None:
    one = results_of(configuration_of(trainer__max_epochs=2), 0)
    for name in ("status", "activation", "optimizer.lr", "final/val/loss"):
        with pytest.raises(ValueError, match=f"must not be named like another column; found '{name}'"):
            Ledger(tmp_path).append(replace(one, curves={**one.curves, name: np.zeros((1, 2))}))
    assert not list(tmp_path.rglob("*.parquet"))


def test_the_last_value_of_a_curve_is_that_of_the_last_epoch_that_was_trained(tmp_path: Path) -> None:
    configuration = configuration_of(trainer__max_epochs=6)
    completed, stopped, diverged, failed = (
        results_of(configuration, seed, status)
        for seed, status in enumerate((RunStatus.COMPLETED, RunStatus.STOPPED, RunStatus.DIVERGED, RunStatus.FAILED))
    )
    ledger = Ledger(tmp_path)
    _append(ledger, [joined([completed, stopped, diverged]), failed])
    found = Ledger(tmp_path).last_values()
    assert set(found) == _finished([completed, stopped]), "the others have none"
    assert found[completed.runs[0].id] == completed.curves["val/accuracy"][0, -1]
    assert found[stopped.runs[0].id] == stopped.curves["val/accuracy"][0, stopped.stop_epoch[0] - 1]
    ledger.append(results_of(configuration, 9))
    assert len(Ledger(tmp_path).last_values()) == 3


def test_settings_are_columns_named_as_on_the_command_line(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    _append(ledger, _some_results())
    rows = ledger.frame().drop_duplicates("config_id").set_index("activation", drop=False)
    leaky = rows.loc["leaky_relu"]
    assert leaky["activation.negative_slope"] == 0.3
    assert leaky["batch.size"] == "full"
    assert leaky["model.hidden_widths"] == (12, 8)
    assert leaky["trainer.max_epochs"] == 8
    assert rows["activation.negative_slope"].isna().tolist().count(True) == 2
    assert set(rows["optimizer"]) == {"adam", "sgd"}
    assert {"activation", "optimizer.lr", "data_digest"} <= set(setting_columns(rows))
    assert not {"seed", "val/loss", "final/val/auroc"} & set(setting_columns(rows))


def test_a_study_without_runs_is_an_empty_frame_and_no_study_is_refused(tmp_path: Path) -> None:
    (tmp_path / "begun" / "ledger").mkdir(parents=True)
    frame = read_study(tmp_path / "begun")
    assert len(frame) == 0
    assert curve_columns(frame) == [*CURVES]
    with pytest.raises(InputError, match=r"begun"):
        read_study(tmp_path / "typo")


def test_equal_results_are_equal_bytes_and_append_mends_its_own_part(tmp_path: Path) -> None:
    results = _some_results()[0]
    ledger = Ledger(tmp_path)
    ledger.append(results)
    (part,) = _parts(tmp_path)
    content = part.read_bytes()
    part.write_bytes(content[:-1])
    assert Ledger(tmp_path).finished_run_ids() == set()
    backwards = {key: results.curves[key] for key in reversed(results.curves)}
    ledger.append(replace(results, curves=backwards))
    assert _parts(tmp_path) == [part]
    assert part.read_bytes() == content


def test_failed_runs_are_not_finished_and_a_later_success_replaces_them(tmp_path: Path) -> None:
    configuration = configuration_of(trainer__max_epochs=3)
    failed = results_of(configuration, 0, RunStatus.FAILED)
    diverged = results_of(configuration, 1, RunStatus.DIVERGED)
    ledger = Ledger(tmp_path)
    _append(ledger, [failed, diverged])
    ledger.append(replace(failed, message="another reason", duration_s=9.0))
    assert ledger.finished_run_ids() == Ledger(tmp_path).finished_run_ids() == _finished([diverged])
    assert ledger.frame()["status"].tolist() == ["failed", "diverged"]
    ledger.append(results_of(configuration, 0))
    both = {failed.runs[0].id, diverged.runs[0].id}
    assert ledger.finished_run_ids() == Ledger(tmp_path).finished_run_ids() == both
    assert ledger.frame()["status"].tolist() == ["completed", "diverged"]


def test_only_new_parts_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = _some_results()
    reader, writer = Ledger(tmp_path), Ledger(tmp_path)
    _append(writer, results[:4])
    assert reader.finished_run_ids() == _finished(results[:4])
    writer.append(results[4])
    read: list[str] = []
    whole = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path.name) or whole(path))
    for _ in range(2):
        assert reader.finished_run_ids() == writer.finished_run_ids() == _finished(results[:5])
    assert len(read) == 1


def test_a_study_that_does_not_exist_is_refused_with_those_that_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _append(Ledger("outputs/rates"), _some_results()[:1])
    with pytest.raises(InputError, match=r"or its name in outputs; found only rates$"):
        read_study("rats")
