"""Named moments in the life of a sweep at which a test can let something happen."""

import functools
import importlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

Action = Callable[[], object]


class Point(NamedTuple):
    """Before, half-way through (of a write) or after calls of a function that have a text among their arguments."""

    target: str
    when: Literal["before", "half", "after"]
    text: str = ""


_WRITE, _RENAME = "pima_hp.ledger.files:_write", "pathlib:Path.replace"
POINTS = {
    "before-lock": Point(_WRITE, "before", ".owner"),
    "lock-half-written": Point(_WRITE, "half", ".owner"),
    "after-lock": Point(_RENAME, "after", ".owner"),
    "before-manifest": Point("pima_hp.ledger.plan:Manifest.write", "before"),
    "manifest-half-written": Point(_WRITE, "half", "manifest.json"),
    "manifest-before-rename": Point(_RENAME, "before", "manifest.json"),
    "after-manifest": Point("pima_hp.ledger.plan:Manifest.write", "after"),
    "before-stack": Point("pima_hp.training.fused.engine:fit_stack", "before"),
    "in-stack": Point("pima_hp.training.fused.stack:Stack.train_epochs", "after"),
    "part-before-write": Point(_WRITE, "before", ".parquet"),
    "part-half-written": Point(_WRITE, "half", ".parquet"),
    "part-after-write": Point(_WRITE, "after", ".parquet"),
    "part-after-rename": Point(_RENAME, "after", ".parquet"),
    "after-part": Point("pima_hp.ledger.ledger:Ledger.append", "after"),
    "before-job": Point("hydra.core.utils:run_job", "before"),
    "before-csv": Point(_WRITE, "before", "runs.csv"),
    "csv-half-written": Point(_WRITE, "half", "runs.csv"),
    "after-csv": Point(_RENAME, "after", "runs.csv"),
    "before-tensorboard": Point("pima_hp.ledger.tensorboard:write_events", "before"),
    "tensorboard-half-written": Point(_WRITE, "half", "tfevents"),
    "after-tensorboard": Point("pima_hp.ledger.tensorboard:write_events", "after"),
    "before-summary": Point("pima_hp.commands.summary:print_summary", "before"),
}
"""In the order in which a sweep passes them."""

REPEATED = {"before-stack", "in-stack", "after-part"}
REPEATED |= {name for name in POINTS if name.startswith("part-")}
"""Those that a sweep passes many times."""


def let(point: Point, action: Action, nth: int = 1) -> None:
    """Let something happen in this process the n-th time that a point is reached."""
    module, _, path = point.target.partition(":")
    *owners, name = path.split(".")
    owner: Any = functools.reduce(getattr, owners, importlib.import_module(module))
    real = getattr(owner, name)
    calls = 0

    @functools.wraps(real)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += point.text in " ".join(str(arg) for arg in args if isinstance(arg, Path))
        if calls != nth:
            return real(*args, **kwargs)
        calls += 1
        if point.when == "half":
            path, content, *_ = args
            real(path, content[: len(content) // 2], False)
        result = real(*args, **kwargs) if point.when == "after" else None
        action()
        return result if point.when == "after" else real(*args, **kwargs)

    setattr(owner, name, wrapped)


def at(name: str, action: Action, nth: int = 1) -> Callable[[], None]:
    """The preparation of a command in which something happens at a named point."""
    return functools.partial(let, POINTS[name], action, nth)


def signalled(signum: int = signal.SIGKILL) -> Action:
    """The action of sending the process itself a signal."""
    return functools.partial(_signalled, signum)


def _signalled(signum: int) -> None:
    os.kill(os.getpid(), signum)
    time.sleep(0)  # Python runs the handler here


def raised(error: BaseException) -> Action:
    """The action of raising an error."""
    return functools.partial(_raised, error)


def _raised(error: BaseException) -> None:
    raise error
