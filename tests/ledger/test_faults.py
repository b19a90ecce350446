"""The ledger against damage, conflicts, other versions and other machines (FAULTS B)."""

import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pima_hp.errors import StorageError, StudyError
from pima_hp.ledger import Ledger, Manifest, read_study
from pima_hp.ledger.parts import _digest
from tests.conftest import members_of
from tests.ledger.conftest import OLDER, configuration_of, joined, restamp, results_of
from tests.ledger.test_ledger import _append, _assert_holds, _parts, _some_results


def test_b11_order_and_number_of_parts_do_not_matter(tmp_path: Path) -> None:
    results = _some_results()
    _append(once := Ledger(tmp_path / "once"), results)
    expected = once.frame()
    runs = [one for each in results for one in members_of(each)]
    generator = random.Random(0)  # noqa: S311
    for trial in range(5):
        ledger = Ledger(tmp_path / f"trial{trial}")
        # another host took another time and holds some runs as well
        other = {"duration_s": 1.5, "ended_s": 1.8e9, "engine": "solo", "versions": {"torch": "2.10"}}
        shuffled = [*runs, *(replace(one, **other) for one in generator.sample(runs, 5))]
        generator.shuffle(shuffled)
        _append(ledger, shuffled)
        ours = ["duration_s", "ended_s", "engine", "versions"]
        pd.testing.assert_frame_equal(ledger.frame().drop(columns=ours), expected.drop(columns=ours))


@pytest.mark.parametrize("part", ["scores", "curves"])
def test_b11_a_true_conflict_names_both_parts(tmp_path: Path, part: str) -> None:
    one = results_of(configuration_of(trainer__max_epochs=5), 0)
    key = {"scores": "val/auroc", "curves": "lr"}[part]
    ledger = Ledger(tmp_path)
    ledger.append(one)
    ledger.append(replace(one, **{part: {**getattr(one, part), key: getattr(one, part)[key] + 1e-9}}))
    with pytest.raises(StudyError) as caught:
        ledger.frame()
    message = str(caught.value)
    assert one.runs[0].id in message
    assert all(part.name in message for part in _parts(tmp_path))
    assert "\n" not in message


def test_rows_follow_the_manifest_then_the_seed(tmp_path: Path) -> None:
    results = _some_results()
    ledger = Ledger(tmp_path)
    _append(ledger, results[::-1])
    by_id = list(dict.fromkeys(ledger.frame()["config_id"]))
    assert by_id == sorted(by_id)
    runs = {run.config.id: run for each in results for run in each.runs}
    asked = by_id[::-1]
    Manifest.of([runs[config_id] for config_id in asked], ["activation", "optimizer"]).write(tmp_path)
    frame = ledger.frame()
    assert list(zip(frame["config_id"], frame["seed"], strict=True)) == [
        (one, seed) for one in asked for seed in range(4)
    ]
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(StorageError, match=r"manifest\.json' is damaged; delete it"):
        ledger.frame()


def test_b9_any_flipped_bit_or_truncation_is_noticed(tmp_path: Path) -> None:
    results = _some_results()
    results = [results[0], joined(results[3:6])]
    ledger = Ledger(tmp_path)
    _append(ledger, results)
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
    _assert_holds(read_study(tmp_path), results)


def test_files_that_are_no_parts_are_noted_and_left_out(tmp_path: Path) -> None:
    results = _some_results()
    results = results[:1]
    ledger = Ledger(tmp_path)
    _append(ledger, results)
    (part,) = _parts(tmp_path)
    outside = shutil.copy(part, tmp_path / "outside")
    part.with_name("a copy.parquet").write_bytes(part.read_bytes())
    part.with_name("link.parquet").symlink_to(outside)
    part.with_name("folder.parquet").mkdir()
    foreign = b"not parquet at all"
    part.with_name(f"{_digest(foreign)}.parquet").write_bytes(foreign)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"run_id": ["x"]}), sink)
    other = sink.getvalue().to_pybytes()
    part.with_name(f"{_digest(other)}.parquet").write_bytes(other)
    part.with_name(".half.parquet.1234.tmp").write_bytes(part.read_bytes()[:50])
    _assert_holds(ledger.frame(), results)
    assert len(ledger.damaged) == 5


@pytest.mark.parametrize("version", [1, 4, 7])
def test_b12_a_study_of_another_version_is_refused_in_one_line(tmp_path: Path, version: int) -> None:
    _append(Ledger(tmp_path), _some_results())
    restamp(tmp_path, version)
    Ledger(tmp_path).append(_some_results()[0])  # one old part among new ones is enough
    for read in (Ledger(tmp_path).finished_run_ids, Ledger(tmp_path).frame, lambda: read_study(tmp_path)):
        with pytest.raises(StudyError) as caught:
            read()
        assert caught.value.exit_code == 3
        assert str(caught.value) == OLDER.format(study=tmp_path).replace("found 1", f"found {version}")
        assert len(str(caught.value).splitlines()) == 1


def test_b16_a_moved_study_reads_the_same_and_goes_on(tmp_path: Path) -> None:
    results = _some_results()
    _append(Ledger(tmp_path / "here"), results[:4])
    before = Ledger(tmp_path / "here")
    frame, finished = before.frame(), before.finished_run_ids()
    shutil.move(tmp_path / "here", tmp_path / "there")
    moved = Ledger(tmp_path / "there")
    pd.testing.assert_frame_equal(moved.frame(), frame)
    assert moved.finished_run_ids() == finished
    _append(moved, results[4:])
    _assert_holds(moved.frame(), results)
