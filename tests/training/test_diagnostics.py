"""Diagnostics are the same from every engine, change nothing that a run computes, and reach ledger and events."""

from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import pima_hp
from pima_hp.ledger import read_study
from tests.conftest import Command, job_of, members_of
from tests.training.conftest import ENGINES, MODULES, RunsOf, alone, same_bits

SHORT = ("trainer.max_epochs=3", "batch=b32", "data.scaling=standard", "model.initialization=glorot_uniform")
ASKED = ("diagnostics=epochs", "diagnostics.curvature=[0,2]")
FIRST = "gradient_norm/layer1"


@pytest.mark.parametrize("activation", ["leaky_relu", "sigmoid"])
def test_every_engine_records_the_same_numbers(runs_of: RunsOf, activation: str) -> None:
    runs = runs_of(*SHORT, *ASKED, f"activation={activation}", "trainer.precision=64", "n_replicates=3")
    solo = [alone(run) for run in runs]
    assert len(solo[0].initial) > 12
    for engine in ENGINES:
        found = MODULES[engine].fit_stack(runs)
        assert found.initial.keys() == solo[0].initial.keys()
        assert found.curves.keys() == solo[0].curves.keys()
        for m, one in enumerate(solo):
            for name, values in one.initial.items():
                np.testing.assert_allclose(found.initial[name][m], values[0], rtol=1e-9, atol=1e-12, err_msg=name)
            for name, values in one.curves.items():
                np.testing.assert_allclose(found.curves[name][m], values[0], rtol=1e-9, atol=1e-12, err_msg=name)


def test_members_of_one_fused_stack_have_slopes_of_their_own(runs_of: RunsOf) -> None:
    own = [
        runs_of(*SHORT, *ASKED, "activation=leaky_relu", f"activation.negative_slope={slope}", "trainer.precision=64")[
            0
        ]
        for slope in (0.3, 0.01)
    ]
    both = MODULES["fused"].fit_stack([own[0], own[1], own[0]])
    for m, run in enumerate(own):
        for name, values in alone(run).initial.items():
            np.testing.assert_allclose(both.initial[name][m], values[0], rtol=1e-9, atol=1e-12, err_msg=name)
    assert both.initial["slope/layer1"][0] > both.initial["slope/layer1"][1]


@pytest.mark.parametrize("engine", [*ENGINES, "solo"])
def test_diagnostics_change_no_bit_of_a_run_and_no_id(runs_of: RunsOf, engine: str) -> None:
    common = (*SHORT, "trainer.max_epochs=12", "n_replicates=2", "optimizer=adam")
    plain, watched = runs_of(*common), runs_of(*common, *ASKED)
    assert [run.id for run in plain] == [run.id for run in watched]
    assert plain[0].config.flat == watched[0].config.flat
    before, after = (
        [alone(run) for run in runs] if engine == "solo" else members_of(MODULES[engine].fit_stack(runs))
        for runs in (plain, watched)
    )
    for one, other in zip(before, after, strict=True):
        assert any(name.startswith("diagnostics/") for name in other.curves)
        for name in [*other.curves]:
            if name.startswith("diagnostics/"):
                del other.curves[name]  # type: ignore[attr-defined]
        assert same_bits(one, other)


def test_a_run_that_diverges_has_no_diagnostics_from_that_epoch(runs_of: RunsOf) -> None:
    wild = ("optimizer=sgd", "optimizer.lr=1e30", "activation=identity", "data.scaling=standard", "n_replicates=2")
    for engine in ENGINES:
        found = MODULES[engine].fit_stack(runs_of(*wild, *ASKED, "trainer.max_epochs=4"))
        assert {*found.status} == {"diverged"}
        assert np.isfinite(found.initial[FIRST]).all()
        stop = int(found.stop_epoch[0])
        assert np.isnan(found.curves[f"diagnostics/{FIRST}"][:, stop - 1 :]).all()


def test_a_sweep_records_them_in_ledger_and_tensorboard_and_says_which_runs_lack_them(
    command: Command, tmp_path: Path
) -> None:
    sweep = ("-m", "activation=relu,tanh", "n_replicates=2", "trainer.max_epochs=2", "batch=full")
    done = command(*sweep, "study=s", *ASKED)
    assert done.code == 0, done.err
    frame = read_study(tmp_path / "outputs" / "s")
    assert (frame[f"initial/{FIRST}"] > 0).all()
    assert frame[f"diagnostics/{FIRST}"].map(len).tolist() == [2] * 4
    traces = np.stack(frame["diagnostics/gradient_noise/trace"])
    assert np.isfinite(traces).tolist() == [[False, True]] * 4
    events = EventAccumulator(str(tmp_path / "outputs" / "s" / "tensorboard" / "relu")).Reload()
    points = {event.step: event.value for event in events.Scalars(f"diagnostics/{FIRST}")}
    relu = frame[frame["activation"] == "relu"]
    assert points[0] == pytest.approx(relu[f"initial/{FIRST}"].mean())
    assert points[2] == pytest.approx(np.mean([curve[1] for curve in relu[f"diagnostics/{FIRST}"]]))
    assert "without such diagnostics" not in command(*sweep, "study=s", *ASKED).err

    assert command(*sweep, "study=plain").code == 0
    again = command(*sweep, "study=plain", "diagnostics=initialization")
    assert (again.code, "note: 4 of these runs are in the ledger without such diagnostics" in again.err) == (0, True)
    assert not any(name.startswith(("initial/", "diagnostics/")) for name in read_study(tmp_path / "outputs/plain"))
    more = command(*sweep, "study=s", "diagnostics=epochs", "diagnostics.curvature=[1]")
    assert "note: 4 of these runs" in more.err


def test_a_single_run_logs_them_and_records_them(command: Command, tmp_path: Path) -> None:
    done = command("trainer.max_epochs=2", "study=one", "diagnostics=epochs", "logger=both")
    assert done.code == 0, done.err
    (run,) = read_study(tmp_path / "outputs" / "one").to_dict("records")
    (folder,) = (tmp_path / "outputs" / "one" / "tensorboard").glob("*, seed 0, *")
    points = EventAccumulator(str(folder)).Reload().Scalars(f"diagnostics/{FIRST}")
    assert [point.value for point in points] == pytest.approx([run[f"initial/{FIRST}"], *run[f"diagnostics/{FIRST}"]])


def test_a_run_trained_from_python_has_them() -> None:
    trained = pima_hp.train("trainer.max_epochs=1", "batch=full", "diagnostics=epochs")
    assert trained.scores[f"initial/{FIRST}"] > 0
    assert trained.curves[f"diagnostics/{FIRST}"].shape == (1,)


REFUSED = {
    "activation._target_=torch.nn.PReLU": "diagnostics: must go with the project's MLP and an elementwise activation",
    "diagnostics.curvature=[3]": "diagnostics: curvature: epochs must be recorded; found 3",
}


@pytest.mark.parametrize("override", REFUSED)
def test_what_has_no_diagnostics_is_refused_in_one_line(command: Command, override: str) -> None:
    done = command(override, "diagnostics=initialization", "study=no")
    assert done.code == 2
    (line,) = done.refusals
    assert line.startswith(REFUSED[override])


def test_a_network_of_ones_own_is_refused(tmp_path: Path) -> None:
    from pima_hp.training.checks import component_problems

    config = job_of("diagnostics=initialization", "model._target_=torch.nn.Linear").config
    assert component_problems(config)[0].startswith("diagnostics: must go with the project's MLP")
