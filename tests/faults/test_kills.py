"""A1, A2, A3, A11, C7: what a killed sweep has recorded is kept, and the resumed one equals an uninterrupted one."""

import functools
import random
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.faults import studies
from tests.faults.commands import run
from tests.faults.kills import N_RUNS, SWEEP, Counts, Uninterrupted, tell
from tests.faults.points import POINTS, REPEATED, Point, at, let, signalled


def _told(folder: Path, expected: Uninterrupted, kills: int, seed: int) -> Counts:
    print(f"seed {seed}")  # noqa: T201 -- shown when the test fails
    counts, moments = Counts(), random.Random(seed)  # noqa: S311
    while counts.kills.total() < kills:
        tell(folder / str(counts.stories), expected, moments, counts)
        assert counts.stories <= 3 * kills, counts  # a kill can come too late on a busy machine
    return counts


def test_a1_ten_random_kills_lose_nothing_and_repeat_nothing(tmp_path: Path, uninterrupted: Uninterrupted) -> None:
    counts = _told(tmp_path, uninterrupted, 10, random.SystemRandom().randrange(2**32))
    assert not counts.broken, counts


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a1_a_hundred_random_kills(tmp_path: Path, uninterrupted: Uninterrupted) -> None:
    counts = _told(tmp_path, uninterrupted, 100, 1)
    assert not counts.broken, counts
    assert all(counts.kills.values()), counts


KILL, TERM = signal.SIGKILL, signal.SIGTERM


@pytest.mark.parametrize(
    ("signum", "nth"),
    [
        (KILL, 2),
        (TERM, 1),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in [(KILL, 1), (KILL, 3), (TERM, 2)]),
    ],
)
def test_a2_killed_at_every_point_one_after_the_other(
    tmp_path: Path, uninterrupted: Uninterrupted, nth: int, signum: int
) -> None:
    study, hit, recorded = tmp_path / "outputs" / "s", Counter[str](), dict[str, bytes]()
    expected_code = -signum if signum == KILL else 128 + signum
    for name in POINTS:
        ended = run(tmp_path, *SWEEP, prepare=at(name, signalled(signum), nth if name in REPEATED else 1))
        assert ended.code == expected_code, (name, ended)
        assert "Traceback" not in ended.err, (name, ended)
        hit[name] += 1
        found = studies.parts(study)
        assert found.items() >= recorded.items(), name
        recorded = found
    assert set(hit) == set(POINTS)
    print(f"{hit.total()} of {len(POINTS)} points hit")  # noqa: T201
    assert run(tmp_path, *SWEEP).code == 0
    rows = studies.rows(study)
    assert (len(rows), rows.total()) == (N_RUNS, N_RUNS)
    assert studies.published(study) == uninterrupted.published
    assert not studies.leftovers(study)


IN_REPORT = [
    Point("pima_hp.report.page:write_report", "before"),
    Point("pima_hp.ledger.files:_write", "half", "verdicts.json"),
    Point("pima_hp.ledger.files:_write", "half", "index.html"),
]


def test_a2_killed_during_the_report(tmp_path: Path, uninterrupted: Uninterrupted) -> None:
    study = tmp_path / "outputs" / "s"
    for point in IN_REPORT:
        ended = run(tmp_path, *SWEEP, "report=true", prepare=functools.partial(let, point, signalled(KILL)))
        assert ended.code == -KILL, (point, ended)
    ended = run(tmp_path, *SWEEP, "report=true")
    assert ended.code == 0
    assert f"{N_RUNS} of {N_RUNS} runs are in the ledger; 0 to train" in ended.err
    assert (study / "report" / "index.html").is_file()
    assert studies.published(study) == uninterrupted.published
    assert not studies.leftovers(study)


def test_a11_a_finished_sweep_is_left_as_it_is(tmp_path: Path) -> None:
    assert run(tmp_path, *SWEEP).code == 0
    before = studies.files(tmp_path / "outputs")
    ended = run(tmp_path, *SWEEP)
    assert ended.code == 0
    assert f"{N_RUNS} of {N_RUNS} runs are in the ledger; 0 to train" in ended.err
    assert studies.files(tmp_path / "outputs") == before
