"""One line on the terminal while runs train: runs done, runs per second, time left."""

import sys

from tqdm import tqdm


def progress_bar(n_runs: int, *, shown: bool = True) -> tqdm:
    """Return a bar over runs; one epoch of a run counts 1 / epochs. Nothing is drawn where stderr is no terminal."""
    return tqdm(
        total=n_runs,
        desc="training",
        unit=" runs",
        disable=not shown or not sys.stderr.isatty(),
        bar_format="{desc} {percentage:3.0f}%|{bar}| {n:.0f}/{total} runs [{elapsed}<{remaining}, {rate_fmt}]",
        leave=False,
        mininterval=0.2,
    )
