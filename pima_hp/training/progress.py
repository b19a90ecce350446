"""One line on the terminal for a run and for a sweep: runs done, runs per second, time left."""

import sys
from types import TracebackType

from tqdm import tqdm


class Progress:
    """A bar over runs; a run in training counts by its finished epochs.

    Nothing is drawn where standard error is not a terminal: a log file gets the summary alone.
    """

    def __init__(self, n_runs: int, *, shown: bool = True) -> None:
        self.n_runs, self.done = n_runs, 0.0
        self._bar = tqdm(
            total=n_runs,
            desc="training",
            unit=" runs",
            disable=not shown or not sys.stderr.isatty(),
            bar_format="{desc} {percentage:3.0f}%|{bar}| {postfix} [{elapsed}<{remaining}, {rate_fmt}]",
            leave=False,
            mininterval=0.2,
        )

    def advance(self, runs: float) -> None:
        """Count finished work, in runs: one epoch of one run is 1 / epochs."""
        self.done += runs
        self._bar.set_postfix_str(f"{int(self.done + 1e-6)}/{self.n_runs} runs", refresh=False)
        self._bar.update(runs)

    def rewind(self, done: float) -> None:
        """Take back what was counted since `done`: the work is made again, or counted otherwise."""
        self.advance(done - self.done)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
