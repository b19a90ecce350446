"""Compiled kernels: whatever the cache holds, the right kernel runs or none does (FAULTS A0)."""

import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pima_hp.training.fused import compiled
from pima_hp.training.fused.compiled import FOLDER_VARIABLE, SYMBOL, KernelError, Kind, kernel
from tests.training.kernels import COMPILING, KIND, KINDS, begin, content_of, file_of, finish, scores, scores_alone


def test_two_kinds_loaded_together_in_any_order_give_what_each_gives_alone(made: Path, tmp_path: Path) -> None:
    """Bit for bit: each kind before and after each other, from a full cache, without a word and without numba."""
    before = {path.name: path.read_bytes() for path in made.iterdir()}
    for order in (KINDS, KINDS[::-1]):
        finish(begin(made, tmp_path, order))
        for kind in order:
            found = np.load(tmp_path / f"{kind.lanes}x{kind.dtype}.npy")
            np.testing.assert_array_equal(found, scores_alone(kind, made), err_msg=str(order))
    assert {path.name: path.read_bytes() for path in made.iterdir()} == before


def test_a_file_shows_one_symbol_and_its_parts_may_lie_anywhere_in_memory(made: Path, tmp_path: Path) -> None:
    """It needs nothing of Python or numba; distances of 32 bits do not reach across the memory of a large process."""
    nm, readelf = shutil.which("nm"), shutil.which("readelf")
    if nm is None or readelf is None:
        pytest.skip("needs nm and readelf, of the binutils")
    for kind in KINDS:
        plain = tmp_path / "plain.o"
        plain.write_bytes(content_of(kind, made))
        listed = subprocess.run([nm, "-g", str(plain)], capture_output=True, text=True, check=True).stdout.split("\n")
        names = {line.split()[-1]: line.split()[-2] for line in listed if line}
        assert names.pop(SYMBOL) == "T"
        assert set(names) <= {"memset", "memcpy", "memmove"}, names
        if platform.machine() == "x86_64":
            parts = subprocess.run([readelf, "-rW", str(plain)], capture_output=True, text=True, check=True).stdout
            assert set(re.findall(r"R_X86_64_\w+", parts)) <= {"R_X86_64_64"}


def test_two_processes_at_once_agree(cache: Path, tmp_path: Path, made: Path) -> None:
    outs = [tmp_path / name for name in "ab"]
    for out in outs:
        out.mkdir()
    for process in [begin(cache, out, [KIND]) for out in outs]:
        _, said = process.communicate(timeout=200)
        assert process.returncode == 0, said
    for out in outs:
        np.testing.assert_array_equal(np.load(out / f"{KIND.lanes}x{KIND.dtype}.npy"), scores_alone(KIND, made))
    assert [path.name for path in cache.iterdir()] == [KIND.path.name]


def test_a_kernel_that_gives_wrong_results_is_discarded_and_never_used(filled: Path, made: Path) -> None:
    """The narrow kernel stored as the wide one, with a digest to match: only the known answers can tell."""
    wide, narrow = KINDS[0], KINDS[2]
    compiled._stored(wide, content_of(narrow, made))
    with pytest.raises(KernelError, match="no kernel for 16 lanes of float32 on this machine: ReLU with SGD is off by"):
        kernel(wide)
    assert not file_of(wide, filled).exists()
    assert set(compiled.failures) == {"float32"}
    with pytest.raises(KernelError, match="no kernel for 16 lanes"):
        kernel(wide)
    assert not file_of(wide, filled).exists(), "it is not compiled again"


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ("pass", "No such file"),
        ("import os; os.kill(os.getpid(), 11)", "exit status -11"),
        ("raise SystemExit('it said why')", "it said why"),
    ],
)
def test_a_compiler_that_fails_is_reported(cache: Path, monkeypatch, program: str, problem: str) -> None:
    real = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda _command, **options: real([sys.executable, "-c", program], **options))
    with pytest.raises(KernelError, match=f"^no kernel for {KIND} on this machine: .*{problem}"):
        kernel(KIND)
    assert not list(cache.iterdir())


def test_the_package_that_runs_is_compiled_and_not_another_one_that_is_installed(tmp_path: Path) -> None:
    """Another checkout, of which the installed package knows nothing, run from its folder."""
    other, cache = tmp_path / "other", tmp_path / "cache"
    shutil.copytree(Path(compiled.__file__).parents[2], other / "pima_hp", ignore=shutil.ignore_patterns("__pycache__"))
    source = other / "pima_hp" / "training" / "fused" / "optimizers.py"
    source.write_text(source.read_text(encoding="utf-8") + "# another release\n", encoding="utf-8")
    finish(begin(cache, tmp_path, [KIND], cwd=other), says=COMPILING)
    finish(begin(cache, tmp_path, [KIND], cwd=other))  # the second one finds what the first has compiled
    (file,) = cache.glob("*.bin")
    assert file.name != KIND.path.name


def test_the_compiling_process_refuses_other_sources(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pima_hp.training.fused.build", "8", "float32", "another key", tmp_path / "file"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("the kernel must be compiled from the sources of the asking process; found those of ")
    assert not list(tmp_path.iterdir())


DAMAGES: dict[str, Callable[[Path, Path], object]] = {
    "truncated": lambda path, _: path.write_bytes(path.read_bytes()[:-1]),
    "empty": lambda path, _: path.write_bytes(b""),
    "garbage": lambda path, _: path.write_bytes(np.random.default_rng(0).bytes(70_000)),
    "one bit": lambda path, _: path.write_bytes(
        bytes([*(old := path.read_bytes())[:40_000], old[40_000] ^ 1, *old[40_001:]])
    ),
    "another kind": lambda path, other: shutil.copy(other, path),
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


def test_a_kernel_of_an_older_release_is_never_run(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under its own name it is not looked at; under the name of the new one its digest is that of another key."""
    old = file_of(KIND, filled)
    monkeypatch.setattr(compiled, "_surroundings", lambda: ("other sources",))
    assert KIND.path != old
    assert compiled._read(KIND) == b""
    shutil.copy(old, KIND.path)
    assert compiled._read(KIND) == b""


def test_a_change_of_any_source_is_another_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = []
    here = Path(compiled.__file__).parent
    for changed in ("", *(path.name for path in here.glob("*.py"))):
        for path in here.glob("*.py"):
            (tmp_path / path.name).write_bytes(path.read_bytes() + b"# another release\n" * (path.name == changed))
        with monkeypatch.context() as patch:
            patch.setattr(compiled, "__file__", str(tmp_path / "compiled.py"))
            compiled._surroundings.cache_clear()
            keys.append(KIND.key)
    compiled._surroundings.cache_clear()
    assert len(set(keys)) == len(keys) > 10
    assert keys[0] == KIND.key


def test_a_cache_on_a_full_disk_is_no_reason_to_fail(cache: Path, tmp_path: Path) -> None:
    """A file system of 48 KiB where this process may mount one, else a limit on the size of files."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", cache], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        assert finish(begin(cache, tmp_path, [KIND]), says=COMPILING).count("the kernel cannot be stored") == 1
        assert not list(cache.iterdir()), "nothing is left half-written"
    finally:
        subprocess.run(["umount", cache], check=True)


def test_a_cache_that_cannot_be_made_is_no_reason_to_fail(
    tmp_path: Path, cache: Path, asked: list[Kind], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is in the way, as root may write into any folder."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        monkeypatch.setenv(FOLDER_VARIABLE, str(place))
        for kind in KINDS:
            kernel(kind)
            kernel(kind)
        kernel.cache_clear()
    assert asked == KINDS * 2


def test_the_folder_is_that_of_the_user_unless_a_variable_names_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, "/somewhere")
    assert compiled.folder() == Path("/somewhere")
    monkeypatch.delenv(FOLDER_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", "/home/somebody/.cache")
    if sys.platform == "linux":
        assert compiled.folder() == Path("/home/somebody/.cache/pima_hp")
