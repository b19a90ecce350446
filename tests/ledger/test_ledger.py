"""The ledger: what is appended is what is read, whatever became of the files in between."""

import json
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pima_hp.errors import InputError, StudyError
from pima_hp.ledger import CURVE_COLUMNS, Ledger, Manifest, PlannedConfiguration, read_study, setting_columns
from pima_hp.ledger.parts import part_name
from pima_hp.run import CURVE_KEYS, RunRecord, RunStatus
from tests.ledger.conftest import LEAKY, MIXED, SGD, configuration_of, record_of, restamp, seeds_of


def _assert_holds(frame: pd.DataFrame, records: list[RunRecord]) -> None:
    """Every record is a row, every value bit for bit, NaN as NaN."""
    rows = frame.set_index("run_id")
    assert sorted(rows.index) == sorted(record.id for record in records)
    for record in records:
        row = rows.loc[record.id]
        assert row["config_id"] == record.config.id
        assert [row[key] for key in ("seed", "init_seed", "split_seed", "order_seed")] == list(
            record.seeds.model_dump().values()
        )
        assert row["status"] == record.status
        for name in ("stop_epoch", "n_updates", "duration_s", "engine", "message"):
            assert row[name] == getattr(record, name)
        for name in ("n_train", "positive_rate"):
            assert row[name] == getattr(record, name) or (np.isnan(row[name]) and getattr(record, name) is None)
        assert json.loads(row["versions"]) == record.versions
        for name, key in CURVE_KEYS.items():
            assert row[key].dtype == np.float64
            assert row[key].tobytes() == getattr(record.curves, name).tobytes()
        for column in (column for column in frame if column.startswith("final/")):
            expected = record.scores.get(column.removeprefix("final/"), np.nan)
            assert np.array_equal(row[column], expected, equal_nan=True)


def _some_records() -> list[RunRecord]:
    configurations = [
        configuration_of(trainer__max_epochs=5),
        configuration_of(trainer__max_epochs=8, activation=LEAKY, batch__size="full"),
        configuration_of(trainer__max_epochs=5, optimizer=SGD),
    ]
    statuses = [RunStatus.COMPLETED, RunStatus.DIVERGED, RunStatus.STOPPED, RunStatus.FAILED]
    return [record_of(c, seed, status) for c in configurations for seed, status in enumerate(statuses)]


def _parts(study: Path) -> list[Path]:
    return sorted((study / "ledger").glob("*.parquet"))


def test_importing_it_and_reading_a_study_imports_no_torch(tmp_path: Path) -> None:
    Ledger(tmp_path).append(_some_records())
    code = (
        "import sys, pima_hp.ledger, pima_hp.ledger.tensorboard; "
        f"assert len(pima_hp.ledger.read_study({str(tmp_path)!r})) == 12; "
        "assert not {'torch', 'lightning', 'tensorflow'} & set(sys.modules)"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=root)


def test_what_is_appended_is_what_is_read(tmp_path: Path) -> None:
    records = _some_records()
    ledger = Ledger(tmp_path)
    ledger.append([])
    assert not ledger.folder.exists()
    ledger.append(records[:5])
    ledger.append(records[5:])
    _assert_holds(ledger.frame(), records)
    _assert_holds(read_study(str(tmp_path)), records)
    assert ledger.damaged == []
    assert [path.suffix for path in ledger.folder.iterdir()] == [".parquet", ".parquet"]


def test_settings_are_columns_named_as_on_the_command_line(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.append(_some_records())
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
    assert set(CURVE_COLUMNS) < set(frame.columns)
    with pytest.raises(InputError, match=r"begun"):
        read_study(tmp_path / "typo")


def test_equal_records_are_equal_bytes_and_append_mends_its_own_part(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.append(_some_records())
    (part,) = _parts(tmp_path)
    content = part.read_bytes()
    part.write_bytes(content[:-1])
    assert Ledger(tmp_path).finished_run_ids() == set()
    ledger.append(_some_records())
    assert _parts(tmp_path) == [part]
    assert part.read_bytes() == content


def test_a_run_that_was_stopped_early_is_finished(tmp_path: Path) -> None:
    stopped = record_of(configuration_of(trainer__max_epochs=6), 0, RunStatus.STOPPED)
    Ledger(tmp_path).append([stopped])
    assert Ledger(tmp_path).finished_run_ids() == {stopped.id}
    _assert_holds(read_study(tmp_path), [stopped])
    (row,) = read_study(tmp_path).to_dict("records")
    assert (row["status"], row["stop_epoch"], row["n_updates"]) == ("stopped early", 4, 4 * 39)
    assert np.isfinite(row["val/loss"]).tolist() == [True] * 4 + [False] * 2
    assert np.isfinite(row["final/val/auroc"])


def test_failed_runs_are_not_finished_and_a_later_success_replaces_them(tmp_path: Path) -> None:
    configuration = configuration_of(trainer__max_epochs=3)
    failed = record_of(configuration, 0, RunStatus.FAILED)
    diverged = record_of(configuration, 1, RunStatus.DIVERGED)
    ledger = Ledger(tmp_path)
    ledger.append([failed, diverged])
    ledger.append([replace(failed, message="another reason", duration_s=9.0)])
    assert ledger.finished_run_ids() == Ledger(tmp_path).finished_run_ids() == {diverged.id}
    assert ledger.frame()["status"].tolist() == ["failed", "diverged"]
    ledger.append([record_of(configuration, 0)])
    assert ledger.finished_run_ids() == Ledger(tmp_path).finished_run_ids() == {failed.id, diverged.id}
    assert ledger.frame()["status"].tolist() == ["completed", "diverged"]


def test_only_new_parts_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = _some_records()
    reader, writer = Ledger(tmp_path), Ledger(tmp_path)
    writer.append(records[:4])
    assert len(reader.finished_run_ids()) == 3
    writer.append(records[4:8])
    read: list[str] = []
    whole = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path.name) or whole(path))
    assert len(reader.finished_run_ids()) == 6
    assert len(reader.finished_run_ids()) == len(writer.finished_run_ids()) == 6
    assert len(read) == 1


def test_b11_order_and_number_of_parts_do_not_matter(tmp_path: Path) -> None:
    records = _some_records()
    (once := Ledger(tmp_path / "once")).append(records)
    expected = once.frame()
    generator = random.Random(0)  # noqa: S311
    for trial in range(5):
        ledger = Ledger(tmp_path / f"trial{trial}")
        # another host took another time and holds some runs as well
        elsewhere = [
            replace(r, duration_s=1.5, engine="solo", versions={"torch": "2.10"}) for r in generator.sample(records, 5)
        ]
        shuffled = [*records, *elsewhere]
        generator.shuffle(shuffled)
        for record in shuffled:
            ledger.append([record])
        ours = ["duration_s", "engine", "versions"]
        pd.testing.assert_frame_equal(ledger.frame().drop(columns=ours), expected.drop(columns=ours))


def test_b11_a_true_conflict_names_both_parts(tmp_path: Path) -> None:
    record = _some_records()[0]
    ledger = Ledger(tmp_path)
    ledger.append([record])
    ledger.append([replace(record, scores={**record.scores, "val/auroc": 0.123})])
    with pytest.raises(StudyError) as caught:
        ledger.frame()
    message = str(caught.value)
    assert record.id in message
    assert all(part.name in message for part in _parts(tmp_path))
    assert "\n" not in message


def test_rows_follow_the_manifest_then_the_seed(tmp_path: Path) -> None:
    records = _some_records()
    ledger = Ledger(tmp_path)
    ledger.append(list(reversed(records)))
    by_id = sorted({record.config.id for record in records})
    assert list(dict.fromkeys(ledger.frame()["config_id"])) == by_id
    configurations = {record.config.id: record.config for record in records}
    planned = {
        config_id: PlannedConfiguration.of(configuration, "label", [seeds_of(0)])
        for config_id, configuration in configurations.items()
    }
    Manifest(planned, ("activation", "optimizer"), {}).write(tmp_path)
    frame = ledger.frame()
    assert frame["run_id"].tolist() == [record.id for record in records]
    (ledger.folder / "manifest.json").write_text("{")
    assert ledger.frame()["run_id"].tolist() != frame["run_id"].tolist()
    assert "manifest.json" in ledger.damaged[0]


def test_b9_any_flipped_bit_or_truncation_is_noticed(tmp_path: Path) -> None:
    records = _some_records()
    ledger = Ledger(tmp_path)
    ledger.append(records[:6])
    ledger.append(records[6:])
    first, second = _parts(tmp_path)
    content = first.read_bytes()
    ids = set(pq.read_table(second)["run_id"].to_pylist())
    generator = np.random.default_rng(0)
    for trial in range(5000):
        damaged = bytearray(content)
        if trial % 4 == 0:
            damaged = damaged[: generator.integers(len(content))]
        else:
            damaged[generator.integers(len(content))] ^= 1 << int(generator.integers(8))
        first.write_bytes(damaged)
        reader = Ledger(tmp_path)
        if trial % 100 == 0:
            assert set(reader.frame()["run_id"]) == ids
        else:
            assert reader.finished_run_ids() == ids & ledger.finished_run_ids()
        (note,) = reader.damaged
        assert first.name in note
        assert "missing" in note
    with pytest.warns(UserWarning, match=first.name):
        assert set(read_study(tmp_path)["run_id"]) == ids
    first.write_bytes(content)
    _assert_holds(read_study(tmp_path), records)


def test_files_that_are_no_parts_are_noted_and_left_out(tmp_path: Path) -> None:
    records = _some_records()
    ledger = Ledger(tmp_path)
    ledger.append(records)
    (part,) = _parts(tmp_path)
    outside = shutil.copy(part, tmp_path / "outside")
    part.with_name("a copy.parquet").write_bytes(part.read_bytes())
    part.with_name("link.parquet").symlink_to(outside)
    part.with_name("folder.parquet").mkdir()
    foreign = b"not parquet at all"
    part.with_name(part_name(foreign)).write_bytes(foreign)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"run_id": ["x"]}), sink)
    other = sink.getvalue().to_pybytes()
    part.with_name(part_name(other)).write_bytes(other)
    part.with_name(".half.parquet.1234.tmp").write_bytes(part.read_bytes()[:50])
    _assert_holds(ledger.frame(), records)
    assert len(ledger.damaged) == 5


@pytest.mark.parametrize(("version", "told"), [(1, MIXED), (7, "{study}: the schema version must be 2; written by ")])
def test_b12_a_study_of_another_version_is_refused_in_one_line(tmp_path: Path, version: int, told: str) -> None:
    Ledger(tmp_path).append(_some_records())
    restamp(tmp_path, version)
    Ledger(tmp_path).append(_some_records()[:1])  # one old part among new ones is enough
    for read in (Ledger(tmp_path).finished_run_ids, Ledger(tmp_path).frame, lambda: read_study(tmp_path)):
        with pytest.raises(StudyError) as caught:
            read()
        assert caught.value.exit_code == 3
        assert str(caught.value).startswith(told.format(study=tmp_path))
        assert len(str(caught.value).splitlines()) == 1


def test_b15_the_clock_is_in_no_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, now in (("past", 0.0), ("future", 2.0e9)):
        monkeypatch.setattr("time.time", lambda now=now: now)
        Ledger(tmp_path / name).append(_some_records())
    past, future = _parts(tmp_path / "past"), _parts(tmp_path / "future")
    assert [path.name for path in past] == [path.name for path in future]
    assert past[0].read_bytes() == future[0].read_bytes()


def test_b16_a_moved_study_reads_the_same_and_goes_on(tmp_path: Path) -> None:
    records = _some_records()
    Ledger(tmp_path / "here").append(records[:7])
    before = Ledger(tmp_path / "here")
    frame, finished = before.frame(), before.finished_run_ids()
    shutil.move(tmp_path / "here", tmp_path / "there")
    moved = Ledger(tmp_path / "there")
    pd.testing.assert_frame_equal(moved.frame(), frame)
    assert moved.finished_run_ids() == finished
    moved.append(records[7:])
    _assert_holds(moved.frame(), records)
