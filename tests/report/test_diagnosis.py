"""The section on why runs learn or not: its answer says what is planted, its figures have the numbers themselves."""

from pathlib import Path

import numpy as np
import pytest

from pima_hp.report.diagnosis import diagnosis_section
from pima_hp.report.page import picture
from pima_hp.report.study import Study
from tests.report.conftest import MakeStudy, texts

CELLS = [
    {"activation": name, "model.initialization": init, "activation._target_": f"torch.nn.{name}"}
    for init in ("uniform", "glorot_uniform") for name in ("relu", "sigmoid")
]  # fmt: skip
NORMS = {"relu": (0.1, 0.1), "sigmoid": (0.002, 0.2)}


def planted(
    make_study: MakeStudy, folder: Path, cells: list[dict[str, str]] = CELLS, *, recorded: bool = True
) -> Study:
    """Sigmoid with the narrow initialization does not learn, and its gradient vanishes with both."""
    frame = make_study(cells)
    learned = ~((frame["activation"] == "sigmoid") & (frame["model.initialization"] == "uniform"))
    frame["train/loss"] = [np.full(100, 0.5 if each else 0.7) for each in learned]
    if recorded:
        for k, place in ((1, 0), (2, 1)):
            frame[f"initial/gradient_norm/layer{k}"] = [NORMS[name][place] for name in frame["activation"]]
        frame["diagnostics/gradient_norm/layer1"] = [np.linspace(0.001, 1, 100)] * len(frame)
    return Study(folder, frame, None, ())


def test_the_answer_says_where_the_gradient_vanishes_and_what_decides_who_learns(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    section = diagnosis_section(planted(make_study, tmp_path))
    assert section is not None
    assert section.question == "Why?"
    assert "at its smallest 0.01 with sigmoid and 1 with relu: it vanishes with sigmoid." in section.answer
    assert (
        "The share of runs that learn is at least 80 % in 3 of 4 settings and at most 20 % in 1 (sigmoid, uniform); "
        "the activation decides most: from 50 % (sigmoid) to 100 % (relu)."
    ) in section.answer
    assert "Labels of all 32 runs: " in section.answer
    assert section.table["over_last"].tolist() == pytest.approx([1, 1, 0.01, 0.01])


def test_a_cell_has_one_row_with_the_share_that_learns_of_each_optimizer(make_study: MakeStudy, tmp_path: Path) -> None:
    names = [(activation, optimizer) for activation in ("tanh", "relu") for optimizer in ("sgd", "adam")]
    frame = make_study([{"activation": activation, "optimizer": optimizer} for activation, optimizer in names])
    frame["train/loss"] = [np.full(100, 0.5 if name == "adam" else 0.7) for name in frame["optimizer"]]
    section = diagnosis_section(Study(tmp_path, frame, None, ()))
    assert section is not None
    rows = section.table.to_dict("records")
    assert [row["activation"] for row in rows] == ["relu", "tanh"]
    assert [(row["learn_with_sgd"], row["learn_with_adam"]) for row in rows] == [(0, 1)] * 2
    assert section.table["settled"].tolist() == [16, 16]
    assert "the optimizer decides most: from 0 % (sgd) to 100 % (adam)." in section.answer


def test_it_tells_optimizers_that_small_gradients_stop_from_those_that_learn_with_them(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    cells = [{**cell, "optimizer": name} for cell in CELLS for name in ("sgd", "rmsprop")]
    frame = planted(make_study, tmp_path, cells).frame
    fails = (frame["optimizer"] == "sgd") & (frame["activation"] == "sigmoid")
    frame["train/loss"] = [np.full(100, 0.7 if each else 0.5) for each in fails]
    section = diagnosis_section(Study(tmp_path, frame, None, ()))
    assert section is not None
    assert "uniform), the runs that learn are 0 % with sgd and 100 % with rmsprop." in section.answer
    assert "lower with sgd (0 against 100 %), about the same or higher with rmsprop (100 against 100 %)." in (
        section.answer
    )


def test_it_says_with_which_other_settings_the_runs_learn_and_that_the_training_loss_is_meant(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    frame = make_study([{**cell, "batch.size": size} for cell in CELLS for size in (10, 50)])
    frame["train/loss"] = [np.full(100, 0.5 if size == 10 else 0.7) for size in frame["batch.size"]]
    frame["train/loss_end"] = [np.linspace(0.7, 0.5, 100)] * len(frame)
    section = diagnosis_section(Study(tmp_path, frame, None, ()))
    assert section is not None
    assert section.answer == (
        "With batch size 10, the share of runs that learn (32 of 64 runs) is at least 80 % in 4 of 4 settings. "
        "Labels of all 64 runs: 64 still improving in training loss."
    )


def test_a_study_of_many_factors_keeps_the_settings_that_decide_how_large_gradients_are(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    more = [{key: 1 + n} for n, key in enumerate(["batch.size", "trainer.max_epochs"] * 2) if n]
    more += [{"batch.shuffle": True}, {"optimizer": "sgd"}, {"scheduler": "cosine"}, {"data.scaling": "standard"}]
    section = diagnosis_section(Study(tmp_path, make_study([*CELLS, *more], epochs=20), None, ()))
    assert section is not None
    assert {"activation", "model.initialization", "data.scaling", "learn_with_sgd"} <= {*section.table}


def test_a_run_whose_gradient_is_zero_does_not_move_the_figure_of_the_others(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    frame = planted(make_study, tmp_path).frame
    is_dead = (frame["activation"] == "relu") & (frame["seed"] == 0)
    for key in ("initial/gradient_norm/layer1", "diagnostics/gradient_norm/layer1"):
        frame[key] = [value * 0 if dead else value for value, dead in zip(frame[key], is_dead, strict=True)]
    section = diagnosis_section(Study(tmp_path, frame, None, ()))
    assert section is not None
    assert "0.01 with sigmoid and 1 with relu" in section.answer
    tips = " ".join(text for panel in section.figures["why_layers"].panels for text in texts(panel))
    assert "relu: 0.1 [" in tips


def test_a_factor_of_many_values_is_not_listed(make_study: MakeStudy, tmp_path: Path) -> None:
    frame = make_study([{"optimizer.lr": 10.0**-place} for place in range(30)], n_replicates=1, epochs=5)
    frame["initial/gradient_norm/layer1"] = frame["initial/gradient_norm/layer2"] = 0.1
    section = diagnosis_section(Study(tmp_path, frame, None, ()))
    assert section is not None
    assert len(section.table) == 30
    assert len(section.answer) < 500


def test_figures_have_a_chart_for_each_initialization_and_powers_of_ten(make_study: MakeStudy, tmp_path: Path) -> None:
    section = diagnosis_section(planted(make_study, tmp_path))
    assert section is not None
    assert [*section.figures] == ["why_layers", "why_epochs"]
    written = texts(picture(section.figures["why_layers"]))
    assert {"uniform", "glorot_uniform", "relu", "sigmoid", "0.001", "0.01", "0.1", "layer (2: the logit)"} <= {
        *written
    }
    assert "1.5" not in written, "layers are whole numbers"
    tips = [text for panel in section.figures["why_layers"].panels for text in texts(panel)]
    assert "sigmoid: 0.002 [0.002, 0.002]" in [text.strip() for text in tips]


def test_without_diagnostics_it_says_what_became_of_the_runs(make_study: MakeStudy, tmp_path: Path) -> None:
    section = diagnosis_section(planted(make_study, tmp_path, recorded=False))
    assert section is not None
    assert (section.question, dict(section.figures)) == ("What became of the runs?", {})
    assert "gradient" not in section.answer
    assert diagnosis_section(Study(tmp_path, make_study([{}]).assign(status="failed"), None, ())) is None
    assert diagnosis_section(Study(tmp_path, make_study([{}], n_replicates=1), None, ())) is not None


def test_a_study_whose_gradients_are_all_zero_says_what_became_of_the_runs(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    study = planted(make_study, tmp_path)
    for layer in (1, 2):
        study.frame[f"initial/gradient_norm/layer{layer}"] = 0.0
    section = diagnosis_section(study)
    assert section is not None
    assert section.question == "What became of the runs?"
