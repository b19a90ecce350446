"""The manifest: a study keeps its meaning, grows where it was meant to, and is not written without need."""

from pathlib import Path
from typing import Any

import pytest

from pima_hp.errors import StorageError, StudyError
from pima_hp.ledger import Manifest
from pima_hp.run import Run
from tests.ledger.conftest import LEAKY, OLDER, SGD, configuration_of, restamp, seeds_of

A, B = ({"data__path": f"{name}.csv", "data_digest": digit * 64} for name, digit in (("a", "a"), ("b", "b")))
A_CHANGED = {**A, "data_digest": "c" * 64}


def _manifest(*changes: dict[str, Any], swept: tuple[str, ...] = (), seeds: int = 2) -> Manifest:
    configurations = [configuration_of(**each) for each in changes]
    return Manifest.of([Run(one, seeds_of(seed)) for one in configurations for seed in range(seeds)], swept)


def test_it_is_read_as_it_was_written_and_not_written_again(tmp_path: Path) -> None:
    manifest = _manifest({}, {"optimizer": SGD}, swept=("optimizer",))
    assert Manifest.read(tmp_path) is None
    manifest.write(tmp_path)
    again = Manifest.read(tmp_path)
    assert again == manifest
    assert list(again.settings) == list(manifest.settings)
    assert (
        again.run_ids
        == manifest.run_ids
        == [one.run_id(seeds_of(n)) for one in (configuration_of(), configuration_of(optimizer=SGD)) for n in (0, 1)]
    )
    assert again.labels == manifest.labels
    assert again.settings == manifest.settings
    path = tmp_path / "manifest.json"
    before = path.stat()
    again.extended(manifest).write(tmp_path)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    again.extended(_manifest({}, seeds=3)).write(tmp_path)
    assert path.stat().st_ino != before.st_ino


@pytest.mark.parametrize(
    ("old", "old_swept", "new", "new_swept"),
    [
        ([{}], (), [{}], ()),
        ([{}], (), [{"optimizer": SGD}, {}], ("optimizer",)),
        ([{}, {"optimizer": SGD}], ("optimizer",), [{"activation": LEAKY}], ("activation",)),
        ([{}, {"optimizer__lr": 0.1}], ("optimizer.lr",), [{"optimizer__lr": 0.2}], ()),
        ([{}], (), [{"trainer__max_epochs": 50}, {}], ("trainer.max_epochs",)),
        ([{}], (), [A], ("data",)),
        ([A, B], ("data.path",), [B], ()),
        ([A], (), [{**A, "data__path": "elsewhere/a.csv", "trainer__accelerator": "gpu"}], ()),
    ],
)
def test_a_study_may_grow(old: list[Any], old_swept: Any, new: list[Any], new_swept: Any) -> None:
    before = _manifest(*old, swept=old_swept)
    after = _manifest(*new, swept=new_swept, seeds=3)
    both = before.extended(after)
    assert set(both.settings) == {*before.settings, *after.settings}
    assert list(both.settings)[: len(old)] == list(before.settings)
    assert set(both.run_ids) == {*before.run_ids, *after.run_ids}
    assert set(both.swept_keys) == {*old_swept, *new_swept}
    assert both.extended(before) == both.extended(after) == both


@pytest.mark.parametrize(
    ("changes", "swept", "lines"),
    [
        (
            {"trainer__max_epochs": 50},
            (),
            ["trainer.max_epochs: 100 -> 50", "study=OTHER", "-m "],
        ),
        (
            {"trainer__max_epochs": 50, "batch__size": "full"},
            ("optimizer",),
            ["batch.size: 16 -> full", "trainer.max_epochs: 100 -> 50"],
        ),
        (
            {"optimizer": SGD},
            ("optimizer.lr",),
            [
                "optimizer._target_: torch.optim.Adam -> torch.optim.SGD",
                "optimizer.betas: [0.9, 0.999] -> none",
            ],
        ),
        (
            A,
            ("batch.size", "data.scaling"),
            [f"data_digest: {'0' * 64} -> {'a' * 64}"],
        ),
        ({**A, "data__label": "y"}, (), ["data.label: outcome -> y", "data_digest: "]),
        ({"model__hidden_widths": [4]}, (), ["model.hidden_widths: [12, 8] -> [4]"]),
    ],
)
def test_b14_another_meaning_is_refused_key_by_key(changes: Any, swept: Any, lines: list[str]) -> None:
    before = _manifest({})
    with pytest.raises(StudyError) as caught:
        before.extended(_manifest(changes, swept=swept))
    assert caught.value.exit_code == 3
    for line in lines:
        assert line in str(caught.value)
    found = str(caught.value).splitlines()
    assert all(" -> " in line for line in found[:-1])
    assert len(found) == 1 + sum(" -> " in line for line in found)


def test_damage_is_named_and_a_newer_version_refused(tmp_path: Path) -> None:
    manifest = _manifest({})
    manifest.write(tmp_path)
    path = tmp_path / "manifest.json"
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        with pytest.raises((StorageError, StudyError)):  # another version, where its number was hit
            Manifest.read(tmp_path)
    for text in (b"", b"[]", b"null", b"\xff", b"{}", b"[" * 100_000):
        path.write_bytes(text)
        with pytest.raises(StorageError, match="damaged"):
            Manifest.read(tmp_path)
    path.write_bytes(content)
    restamp(tmp_path, 9)
    with pytest.raises(StudyError, match="found 9"):
        Manifest.read(tmp_path)
    restamp(tmp_path, 1)
    with pytest.raises(StudyError) as caught:
        Manifest.read(tmp_path)
    assert str(caught.value) == OLDER.format(study=tmp_path)


@pytest.mark.parametrize("swept", [(), ("data",), ("data.path",), ("data.scaling",), ("optimizer",)])
def test_b17_a_data_file_has_one_content_in_a_study(tmp_path: Path, swept: tuple[str, ...]) -> None:
    told = (
        "data.path='a.csv': must not change within a study; digest aaaaaaaaaaaa before, cccccccccccc now; "
        "put the file back, or begin another study (study=OTHER)"
    )
    for first, *more in ([A], [A, B], [{**A, "data__path": "moved.csv"}, A]):
        before = _manifest(first)
        for changes in more:
            before = before.extended(_manifest(changes, swept=("data.path",)))
        before.write(tmp_path)
        for changed in (A_CHANGED, {**A_CHANGED, "data__scaling": "standard"}):
            with pytest.raises(StudyError) as caught:
                (Manifest.read(tmp_path) or before).extended(_manifest(changed, swept=swept))
            assert str(caught.value) == told
    with pytest.raises(StudyError) as caught:
        _manifest(A, A_CHANGED, swept=swept)
    assert str(caught.value) == told


def test_b17_the_shipped_table_counts_as_a_file(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"^the shipped table: must not change within a study"):
        _manifest({}).extended(_manifest({"data_digest": "1" * 64}, swept=("data",)))
