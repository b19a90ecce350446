"""The random-kill test: `python -m tests.faults.kills STORIES [SEED]`, called by `scripts/faults`.

A story is a sweep that is killed by `kill -9` at a uniformly random moment and begun again, until it ends.
"""

import os
import random
import signal
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests.faults import studies
from tests.faults.commands import Command, run

SWEEP = ("-m", "activation=relu,tanh", "n_replicates=16", "trainer.max_epochs=20", "engine.stack_size=2", "study=s")
N_RUNS, N_PARTS = 32, 16
PHASES = ("before the manifest", "before the first part", "between parts", "after the last part")
_MOST_KILLS = 30


@dataclass
class Counts:
    """What happened in the stories so far, and how often the promise was broken."""

    stories: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    recorded: int = 0
    kept: int = 0
    trained_twice: int = 0
    lost: int = 0
    different: int = 0
    left_behind: int = 0
    errors: list[str] = field(default_factory=list)

    @property
    def broken(self) -> int:
        return self.trained_twice + self.lost + self.different + self.left_behind + len(self.errors)

    def __str__(self) -> str:
        where = ", ".join(f"{self.kills[phase]} {phase}" for phase in PHASES)
        lines = [
            f"stories             {self.stories}, of {N_RUNS} runs in {N_PARTS} stacks",
            f"kills               {self.kills.total()}: {where}",
            f"runs recorded       {self.recorded}, of which {self.kept} before a kill",
            f"runs trained twice  {self.trained_twice}",
            f"runs lost           {self.lost}",
            f"tables that differ  {self.different} of {self.stories}: runs.csv, curves, event files",
            f"files left behind   {self.left_behind}",
            *self.errors,
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class Uninterrupted:
    """The same sweep without a kill: how long it took, what it left."""

    seconds: float
    published: dict[str, str]

    @classmethod
    def in_folder(cls, folder: Path) -> "Uninterrupted":
        folder.mkdir()
        run(folder, *SWEEP)  # the first command of a fork server is slower
        ended = run(folder, *SWEEP, "study=again")
        assert ended.code == 0, ended.err
        return cls(ended.seconds, studies.published(folder / "outputs" / "again"))


def tell(folder: Path, expected: Uninterrupted, moments: random.Random, counts: Counts) -> None:
    """Live through one story in a new folder and count."""
    folder.mkdir()
    study = folder / "outputs" / "s"
    acknowledged: dict[str, bytes] = {}
    for number in range(_MOST_KILLS + 1):
        command = Command(folder, *SWEEP)
        ended = command.wait(moments.uniform(0, expected.seconds) if number < _MOST_KILLS else 120)
        if ended is None:
            command.send(signal.SIGKILL)
            ended = command.end()
        found = studies.parts(study)
        counts.lost += 2 * sum(found.get(name) != content for name, content in acknowledged.items())
        if ended.code != -signal.SIGKILL:
            break
        counts.kills[_phase(study, len(found))] += 1
        acknowledged = found
    rows = studies.rows(study)
    counts.stories += 1
    counts.recorded += len(rows)
    counts.kept += 2 * len(acknowledged)
    counts.lost += N_RUNS - len(rows)
    counts.trained_twice += rows.total() - len(rows)
    counts.different += studies.published(study) != expected.published
    counts.left_behind += len(studies.leftovers(study))
    if ended.code or "Traceback" in ended.err:
        counts.errors.append(f"{folder}: ended with {ended.code}: {ended.err[-300:]}")


def _phase(study: Path, n_parts: int) -> str:
    if not (study / "manifest.json").exists():
        return PHASES[0]
    return PHASES[1 + (n_parts > 0) + (n_parts == N_PARTS)]


def main() -> None:
    """Tell as many stories as the first argument says, with the seed of the second; exit 1 when one broke a promise."""
    n_stories = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(2**32)
    print(f"seed                {seed}", flush=True)  # noqa: T201
    counts, moments = Counts(), random.Random(seed)  # noqa: S311
    with tempfile.TemporaryDirectory() as folder:
        expected = Uninterrupted.in_folder(Path(folder) / "uninterrupted")
        for story in range(n_stories):
            tell(Path(folder) / str(story), expected, moments, counts)
    print(counts)  # noqa: T201
    sys.exit(1 if counts.broken else 0)


if __name__ == "__main__":
    main()
