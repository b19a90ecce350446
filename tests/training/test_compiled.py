"""The cache of compiled kernels: any state of it, and any order of loading, gives what a clean cache gives."""

import itertools
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from pima_hp.training.fused import compiled
from pima_hp.training.fused.compiled import FOLDER_VARIABLE, SYMBOL, KernelError, Kind, kernel
from pima_hp.training.fused.known_answers import CASES, train
from pima_hp.training.fused.tables import NARROW, WIDE

KINDS = [Kind(lanes, dtype) for lanes in (WIDE, NARROW) for dtype in ("float32", "float64")]
KIND = KINDS[2]  # any
COMPILING = "compiling the training kernel"

# Trains the known cases with kinds in the order of the arguments, and writes the scores of each to a folder.
TRAIN = """
import sys
import numpy as np
from pima_hp.training.fused.compiled import Kind, kernel
from pima_hp.training.fused.known_answers import CASES, train
kinds = [Kind(int(text.partition("x")[0]), text.partition("x")[2]) for text in sys.argv[2:]]
kernels = [kernel(kind) for kind in kinds]
for kind, loaded in zip(kinds, kernels):
    np.save(f"{sys.argv[1]}/{kind.lanes}x{kind.dtype}.npy", [train(loaded, kind, case) for case in CASES])
assert "numba" not in sys.modules
"""


def scores(kind: Kind) -> np.ndarray:
    return np.array([train(kernel(kind), kind, case) for case in CASES])


def scores_alone(kind: Kind, made: Path) -> np.ndarray:
    return np.load(made / f"{kind.lanes}x{kind.dtype}.npy")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of each kind, each made in a process of its own from an empty cache, and its scores.

    The workers of one test run share it.
    """
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "made"
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            scores_of, empty = tmp_path_factory.mktemp("scores"), [tmp_path_factory.mktemp("alone") for _ in KINDS]
            for process in [begin(cache, scores_of, [kind]) for cache, kind in zip(empty, KINDS, strict=True)]:
                finish(process, says=COMPILING)
            for cache in empty:
                shutil.copy(next(cache.glob("*.bin")), scores_of)
            scores_of.rename(folder)
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and nothing loaded in this process."""
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    monkeypatch.setattr(compiled, "_loaded", {})
    compiled._tell_once.cache_clear()
    return folder


@pytest.fixture
def asked(made: Path, monkeypatch: pytest.MonkeyPatch) -> list[Kind]:
    """The kinds that this process has asked the compiler for; it answers at once with what it made before."""
    kinds: list[Kind] = []

    def compile_again(kind: Kind) -> bytes:
        kinds.append(kind)
        return content_of(kind, made)

    monkeypatch.setattr(compiled, "_compile", compile_again)
    return kinds


@pytest.fixture
def filled(cache: Path, made: Path) -> Path:
    """A cache that holds every kind."""
    for path in made.glob("*.bin"):
        shutil.copy(path, cache)
    return cache


def begin(
    folder: Path, out: Path, kinds: list[Kind], before: Callable[[], object] | None = None
) -> subprocess.Popen[str]:
    names = [f"{kind.lanes}x{kind.dtype}" for kind in kinds]
    environment = {**os.environ, FOLDER_VARIABLE: str(folder)}
    command = [sys.executable, "-c", TRAIN, str(out), *names]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, preexec_fn=before)


def finish(process: subprocess.Popen[str], says: str = "") -> str:
    _, said = process.communicate(timeout=200)
    assert process.returncode == 0, said
    assert (says in said) if says else not said, said
    return said


def content_of(kind: Kind, folder: Path) -> bytes:
    return file_of(kind, folder).read_bytes()[len(compiled.MAGIC) + 32 :]


def file_of(kind: Kind, folder: Path) -> Path:
    (path,) = folder.glob(f"{kind.stem}-*.bin")
    return path


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
    with monkeypatch.context() as patch:
        patch.setattr(compiled, "__file__", str(tmp_path / "compiled.py"))
        assert KIND.key != before
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


def test_a_kernel_that_gives_wrong_results_is_compiled_again_and_that_is_said(
    filled: Path, made: Path, asked: list[Kind], capfd: pytest.CaptureFixture[str]
) -> None:
    """The narrow kernel stored as the wide one, with a digest to match: only the known answers can tell."""
    wide, narrow = KINDS[0], KINDS[2]
    compiled._write(wide, content_of(narrow, made))
    np.testing.assert_array_equal(scores(wide), scores_alone(wide, made))
    assert "the compiled kernel for 16 lanes of float32 gives wrong results (torch.nn.ReLU " in capfd.readouterr().err
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
        with pytest.raises(KernelError, match=r"gives wrong results on this machine: torch\.nn\.ReLU with torch"):
            kernel(KINDS[0])
    assert tries == [KINDS[0]] * 2
    assert not list(cache.glob("*.bin")), "nothing wrong is kept"
    assert "wrong results" in compiled.failure("float32")
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
        assert said.count(f"the kernel cannot be kept in {cache}") == 1
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
        assert capfd.readouterr().err.count("the kernel cannot be kept in") == 1
        compiled._loaded.clear()
    assert asked == KINDS * 2


def test_the_folder_is_that_of_the_user_unless_a_variable_names_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, "/somewhere")
    assert compiled.folder() == Path("/somewhere")
    monkeypatch.delenv(FOLDER_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", "/home/somebody/.cache")
    if sys.platform == "linux":
        assert compiled.folder() == Path("/home/somebody/.cache/pima_hp")
