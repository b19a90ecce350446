"""The cache of compiled kernels in any state: damaged, stale, full, in the way."""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pima_hp.training.fused import compiled
from pima_hp.training.fused.compiled import FOLDER_VARIABLE, Kind, kernel
from tests.training.kernels import COMPILING, KIND, KINDS, begin, content_of, file_of, finish, scores, scores_alone

DAMAGES: dict[str, Callable[[Path, Path], object]] = {
    "truncated": lambda path, _: path.write_bytes(path.read_bytes()[:-1]),
    "empty": lambda path, _: path.write_bytes(b""),
    "garbage": lambda path, _: path.write_bytes(np.random.default_rng(0).bytes(70_000)),
    "one bit": lambda path, _: path.write_bytes(
        bytes([*(old := path.read_bytes())[:40_000], old[40_000] ^ 1, *old[40_001:]])
    ),
    "swapped": lambda path, other: shutil.copy(other, path),
    "missing": lambda path, _: path.unlink(),
    "a folder": lambda path, _: (path.unlink(), path.mkdir()),
    "a dangling link": lambda path, _: (path.unlink(), path.symlink_to("nowhere")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_compiled_again(filled: Path, made: Path, asked: list[Kind], damage: str) -> None:
    DAMAGES[damage](file_of(KIND, filled), file_of(KINDS[0], filled))
    np.testing.assert_array_equal(scores(KIND), scores_alone(KIND, made))
    assert asked == [KIND]
    if damage != "a folder":
        assert content_of(KIND, filled) == content_of(KIND, made), "and written again"


@pytest.mark.parametrize("changed", compiled.SOURCES)
def test_a_change_of_any_source_is_another_key(changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = KIND.key
    for name in compiled.SOURCES:
        content = Path(compiled.__file__).with_name(f"{name}.py").read_bytes()
        (tmp_path / f"{name}.py").write_bytes(content + b"# another release\n" * (name == changed))
    compiled._surroundings.cache_clear()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(compiled, "__file__", str(tmp_path / "compiled.py"))
            assert KIND.key != before
    finally:
        compiled._surroundings.cache_clear()
    assert KIND.key == before


def test_the_sources_are_all_modules_that_take_part_in_compiling() -> None:
    code = "import sys, pima_hp.training.fused.build; print(*(m for m in sys.modules if 'fused.' in m))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {name.rpartition(".")[2] for name in done.stdout.split()} == set(compiled.SOURCES)


def test_a_kernel_of_an_older_release_is_never_run(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under its own name it is not looked at; under the name of the new one its digest is that of another key."""
    old = file_of(KIND, filled)
    monkeypatch.setattr(compiled, "_surroundings", lambda: ("other sources",))
    new = compiled._path(KIND)
    assert new != old
    assert compiled._read(KIND) is None
    shutil.copy(old, new)
    assert compiled._read(KIND) is None


def test_files_that_nothing_has_used_for_a_day_are_removed_when_one_is_written(filled: Path, asked: list[Kind]) -> None:
    unused, recent = filled / f"{KIND.stem}-0123456789abcdef.bin", filled / f"{KIND.stem}-fedcba9876543210.bin"
    leftover = filled / f".{KIND.stem}-0123456789abcdef.bin.0a1b2c3d"
    for path in (unused, recent, leftover):
        path.write_bytes(b"x")
    for path in (unused, leftover, file_of(KINDS[0], filled)):
        os.utime(path, (0, 0))
    kernel(KINDS[0])  # old, and used now
    file_of(KINDS[3], filled).unlink()
    kernel(KINDS[3])
    assert asked == [KINDS[3]]
    assert len(list(filled.glob("*.bin"))) == 5
    assert recent.exists()
    assert not unused.exists()
    assert not leftover.exists()


def test_a_cache_on_a_full_disk_is_no_reason_to_fail(cache: Path, tmp_path: Path) -> None:
    """A file system of 48 KiB where this process may mount one, else a limit on the size of files."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", cache], capture_output=True, check=False
    )
    limit = (
        (lambda: None)
        if mounted.returncode == 0
        else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (48_000, 48_000))
    )
    try:
        said = finish(begin(cache, tmp_path, [KIND], limit), says=COMPILING)
        assert said.count(f"the kernel cannot be stored in {cache}") == 1
        assert not list(cache.glob("*kernel*in*")), "nothing is left half-written"
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", cache], check=True)


def test_a_cache_that_cannot_be_made_is_no_reason_to_fail(
    tmp_path: Path, made: Path, asked: list[Kind], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Said once, whatever number of kinds; a file is in the way, as root may write into any folder."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    compiled._tell_once.cache_clear()
    monkeypatch.setattr(compiled, "_loaded", {})
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        monkeypatch.setenv(FOLDER_VARIABLE, str(place))
        for kind in KINDS:
            kernel(kind)
            kernel(kind)
        assert capfd.readouterr().err.count("the kernel cannot be stored in") == 1
        compiled._loaded.clear()
    assert asked == KINDS * 2


def test_the_folder_is_that_of_the_user_unless_a_variable_names_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, "/somewhere")
    assert compiled.folder() == Path("/somewhere")
    monkeypatch.delenv(FOLDER_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", "/home/somebody/.cache")
    if sys.platform == "linux":
        assert compiled.folder() == Path("/home/somebody/.cache/pima_hp")
