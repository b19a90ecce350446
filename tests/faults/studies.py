"""What must be so about a study on disk, whatever happened while it was made."""

import hashlib
from collections import Counter
from pathlib import Path

from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event

from pima_hp.ledger import read_study
from pima_hp.ledger.ledger import curve_columns
from pima_hp.ledger.parts import read_part


def parts(study: Path) -> dict[str, bytes]:
    """The parts of the ledger: name -> bytes."""
    return {path.name: path.read_bytes() for path in sorted((study / "ledger").glob("*.parquet"))}


def rows(study: Path) -> Counter[str]:
    """How often each run stands in the parts, of which each must be whole."""
    return Counter(
        run_id for name in parts(study) for run_id in read_part(study / "ledger" / name)["run_id"].to_pylist()
    )


def published(study: Path) -> dict[str, str]:
    """Digests of what a reader gets: the table, the curves of each run, and every event file but for its times."""
    digests = {"runs.csv": _digest((study / "runs.csv").read_bytes())}
    for path in sorted((study / "tensorboard").rglob("*tfevents*")):
        events = map(Event.FromString, RawEventFileLoader(str(path)).Load())
        content = [(event.step, event.summary.SerializeToString(deterministic=True)) for event in events]
        digests[str(path.relative_to(study))] = _digest(repr(content).encode())
    frame = read_study(study)
    for _, run in frame.iterrows():
        digests[run["run_id"]] = _digest(b"".join(run[key].tobytes() for key in curve_columns(frame)))
    return digests


def leftovers(study: Path) -> list[Path]:
    """Temporary files that nobody removed, and the mark of an owner that is gone."""
    return [*study.rglob(".*.tmp"), *study.glob(".owner")]


def files(study: Path) -> dict[str, tuple[int, str]]:
    """The time and digest of every file."""
    found = [path for path in study.rglob("*") if path.is_file()]
    return {str(path.relative_to(study)): (path.stat().st_mtime_ns, _digest(path.read_bytes())) for path in found}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
