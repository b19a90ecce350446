"""Compiled kernels: any order of loading, and any wrong one, gives what each kind gives alone."""

import itertools
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pima_hp.training.fused import compiled
from pima_hp.training.fused.compiled import SYMBOL, KernelError, Kind, kernel
from tests.training.kernels import COMPILING, KIND, KINDS, begin, content_of, finish, scores, scores_alone


def test_two_kinds_loaded_together_in_any_order_give_what_each_gives_alone(made: Path, tmp_path: Path) -> None:
    """Bit for bit: all ordered pairs, in a process each."""
    for pair in itertools.permutations(KINDS, 2):
        finish(begin(made, tmp_path, list(pair)))
        for kind in pair:
            found = np.load(tmp_path / f"{kind.lanes}x{kind.dtype}.npy")
            np.testing.assert_array_equal(found, scores_alone(kind, made), err_msg=str(pair))


def test_a_file_shows_one_symbol_and_needs_none_of_python_or_numba(made: Path, tmp_path: Path) -> None:
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("needs nm, of the binutils; found none")
    for kind in KINDS:
        plain = tmp_path / "plain.o"
        plain.write_bytes(content_of(kind, made))
        listed = subprocess.run([nm, "-g", str(plain)], capture_output=True, text=True, check=True).stdout.split("\n")
        names = {line.split()[-1]: line.split()[-2] for line in listed if line}
        assert names.pop(SYMBOL) == "T"
        assert set(names) <= {"memset", "memcpy", "memmove"}, names


def test_the_parts_of_an_object_file_may_lie_anywhere_in_memory(made: Path, tmp_path: Path) -> None:
    """Distances of 32 bits do not reach across the memory of a process that has mapped much: LLVM would end it."""
    readelf = shutil.which("readelf")
    if readelf is None or platform.machine() != "x86_64":
        pytest.skip("needs readelf, of the binutils, and an x86-64 processor")
    for kind in KINDS:
        plain = tmp_path / "plain.o"
        plain.write_bytes(content_of(kind, made))
        listed = subprocess.run([readelf, "-rW", str(plain)], capture_output=True, text=True, check=True).stdout
        assert set(re.findall(r"R_X86_64_\w+", listed)) == {"R_X86_64_64"}


def test_a_warm_cache_is_loaded_without_a_word_and_without_numba(made: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in made.iterdir()}
    finish(begin(made, tmp_path, KINDS))
    assert {path.name: path.read_bytes() for path in made.iterdir()} == before


def test_two_processes_at_once_compile_once_and_agree(cache: Path, tmp_path: Path) -> None:
    outs = [tmp_path / name for name in "ab"]
    for out in outs:
        out.mkdir()
    pair = [begin(cache, out, [KIND]) for out in outs]
    said = [process.communicate(timeout=200)[1] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], said
    assert sum(COMPILING in text for text in said) == 1, said
    one, other = (np.load(out / f"{KIND.lanes}x{KIND.dtype}.npy") for out in outs)
    np.testing.assert_array_equal(one, other)
    assert len(list(cache.glob("*.bin"))) == 1


def test_a_kernel_that_gives_wrong_results_is_compiled_again_and_that_is_said(
    filled: Path, made: Path, asked: list[Kind], capfd: pytest.CaptureFixture[str]
) -> None:
    """The narrow kernel stored as the wide one, with a digest to match: only the known answers can tell."""
    wide, narrow = KINDS[0], KINDS[2]
    compiled._write(wide, content_of(narrow, made))
    np.testing.assert_array_equal(scores(wide), scores_alone(wide, made))
    assert (
        "the compiled kernel for 16 lanes of float32 does not pass its check (torch.nn.ReLU " in capfd.readouterr().err
    )
    assert asked == [wide]
    compiled._loaded.clear()
    np.testing.assert_array_equal(scores(wide), scores_alone(wide, made))
    assert asked == [wide]


def test_a_compiler_that_gives_wrong_results_is_not_asked_for_ever(
    cache: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[Kind] = []

    def compile_wrongly(kind: Kind) -> bytes:
        tries.append(kind)
        return content_of(KINDS[2], made)

    monkeypatch.setattr(compiled, "_compile", compile_wrongly)
    for _ in range(3):
        with pytest.raises(KernelError, match=r"does not pass its check on this machine: torch\.nn\.ReLU with torch"):
            kernel(KINDS[0])
    assert tries == [KINDS[0]] * 2
    assert not list(cache.glob("*.bin")), "nothing wrong is kept"
    assert "does not pass its check" in compiled.failure("float32")
    assert compiled.failure("float64") == ""


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        ("damaged", "exit status 0"),
        ("nothing", "exit status 0"),
        ("crash", "exit status -11"),
        ("error", "it said why"),
    ],
)
def test_what_the_compiling_process_sends_is_checked(cache: Path, monkeypatch, sent: str, problem: str) -> None:
    does = {
        "damaged": f"import sys; sys.stdout.buffer.write({compiled.MAGIC!r} + bytes(99))",
        "nothing": "pass",
        "crash": "import os; os.kill(os.getpid(), 11)",
        "error": "raise SystemExit('it said why')",
    }
    program = [sys.executable, "-c", does[sent]]
    real = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda _command, **options: real(program, **options))
    with pytest.raises(KernelError, match=f"^the kernel cannot be compiled here: {problem}$"):
        kernel(KIND)
    assert not list(cache.glob("*.bin"))


def test_what_start_up_files_of_python_print_is_not_taken_for_the_kernel(
    cache: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('hello')", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)  # that of the compiling process, too
    np.testing.assert_array_equal(scores(KIND), scores_alone(KIND, made))


def test_the_package_that_runs_is_compiled_and_not_another_one_that_is_installed(tmp_path: Path) -> None:
    """Another checkout, of which the installed package knows nothing, run from its folder."""
    other, cache = tmp_path / "other", tmp_path / "cache"
    shutil.copytree(Path(compiled.__file__).parents[2], other / "pima_hp", ignore=shutil.ignore_patterns("__pycache__"))
    rules = other / "pima_hp" / "training" / "fused" / "rules.py"
    rules.write_text(rules.read_text(encoding="utf-8") + "# another release\n", encoding="utf-8")
    for _ in range(2):
        process = begin(cache, tmp_path, [KIND], cwd=other)
        _, said = process.communicate(timeout=200)
        assert process.returncode == 0, said
    assert said == "", "the second one finds what the first has compiled"
    (file,) = cache.glob("*.bin")
    assert KIND.key[:16] not in file.name


def test_the_compiling_process_refuses_other_sources() -> None:
    command = [sys.executable, "-m", "pima_hp.training.fused.build", "8", "float32", "another key"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("the kernel must be compiled from the sources of the asking process; found those of ")
    assert done.stdout == ""
