import json
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from pima_hp.analysis.baselines import read_baselines
from pima_hp.analysis.claims import Claim, load_claims
from pima_hp.analysis.verdicts import Verdict, judge
from pima_hp.data.table import SHIPPED_SHA256
from pima_hp.report.study import Study

BASELINE: dict[str, Any] = {
    "data.scaling": "none", "data.test_fraction": 0.2, "data.val_fraction": 0.0,
    "data.zero_is_missing": ["bmi"], "data.path": None, "data_digest": SHIPPED_SHA256,
    "model.hidden_widths": [12, 8], "model.initialization": "uniform", "activation": "relu",
    "optimizer": "rmsprop", "optimizer.lr": 0.001, "scheduler": "none", "batch.size": 10,
    "batch.shuffle": False, "trainer.max_epochs": 100, "trainer.accelerator": "cpu",
}  # fmt: skip

MakeStudy = Callable[..., pd.DataFrame]


def curve(rng: np.random.Generator, epochs: int, end: float, noise: float) -> np.ndarray:
    rise = 1 - np.exp(-np.arange(1, epochs + 1) / (epochs / 4))
    return np.clip(0.62 + (end - 0.62) * rise + rng.normal(0, 0.01) + rng.normal(0, noise, epochs), 0, 1)


def study(
    settings: list[dict[str, Any]],
    n_replicates: int = 8,
    epochs: int = 100,
    diverged: dict[int, int] | None = None,
) -> pd.DataFrame:
    """Runs of made-up curves; `diverged`: number of the row -> epoch in which it diverged."""
    rng = np.random.default_rng(0)
    rows = []
    for number, values in enumerate(settings):
        for seed in range(n_replicates):
            stop = (diverged or {}).get(len(rows), 0)
            row: dict[str, Any] = {
                **BASELINE, **values, "run_id": f"{number}-{seed}", "config_id": f"c{number}", "seed": seed,
                "init_seed": seed, "split_seed": seed, "order_seed": seed, "stop_epoch": stop, "message": "",
                "status": "diverged" if stop else "completed", "versions": "{}",
                "n_updates": 62 * epochs, "duration_s": 0.1, "n_train": 614, "positive_rate": 214 / 614,
                "trainer.max_epochs": epochs, "final/val/auroc": 0.8,
            }  # fmt: skip
            for key, end, noise in [
                ("train/accuracy", 0.74 + 0.02 * (number % 4), 0.008), ("train/accuracy_end", 0.76, 0.008),
                ("val/accuracy", 0.71 + 0.01 * (number % 4), 0.02), ("train/loss", 0.9, 0.01),
                ("train/loss_end", 0.9, 0.01), ("val/loss", 0.9, 0.01),
            ]:  # fmt: skip
                values_of_curve = curve(rng, epochs, end, noise)
                if stop:
                    values_of_curve[stop - 1 :] = np.nan
                row[key] = values_of_curve
            rows.append(row)
    return pd.DataFrame(rows)


@pytest.fixture
def make_study() -> MakeStudy:
    return study


class Report(NamedTuple):
    """What `write_report` takes."""

    study: Study
    verdicts: list[Verdict]


def report_of(
    frame: pd.DataFrame,
    folder: Path,
    claims: list[Claim] | None = None,
    notes: Sequence[str] = (),
) -> Report:
    """A study as a report sees it, from runs that no ledger holds, and its verdicts."""
    folder.mkdir(parents=True, exist_ok=True)
    verdicts = judge(load_claims() if claims is None else claims, frame, np.random.default_rng(0), 200)
    study = Study(folder, frame, None, notes)
    vars(study)["baselines"] = read_baselines(folder)  # not computed
    return Report(study, verdicts)


def drawn(chart: Any, layer: int = 0) -> pd.DataFrame:
    """The rows of a layer of a chart."""
    return pd.DataFrame(json.loads(chart.layer[layer].data.values))


def texts(svg: str) -> list[str]:
    """The texts of a picture."""
    return [element.text or "" for element in ET.fromstring(svg).iter() if element.tag.endswith(("}text", "}tspan"))]  # noqa: S314 - our own file


class Page(HTMLParser):
    """What a browser would make of a page: elements with their attributes, text by element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def attributes(self, name: str) -> list[str]:
        return [attributes[name] for _, attributes in self.elements if name in attributes]
