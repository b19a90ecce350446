"""Every engine on a CUDA device equals solo training on the CPU. Skipped without a device."""

import numpy as np
import pytest
import torch

from pima_hp.training.dispatch import why_not
from tests.conftest import members_of
from tests.training.conftest import ENGINES, RunsOf, alone, dispatched, together

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; found none"),
]
SETTINGS = ("trainer.precision=64", "trainer.max_epochs=3", "data.scaling=standard", "optimizer=adam", "n_replicates=3")


EXTRA = ([], ["batch.shuffle=true", "activation=gelu", "scheduler=cosine"], ["scheduler=plateau_half"])


@pytest.mark.parametrize("extra", EXTRA)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_stack_on_the_gpu_equals_solo_runs_on_the_cpu(runs_of: RunsOf, engine: str, extra: list[str]) -> None:
    on_gpu, on_cpu = (runs_of(*SETTINGS, *extra, f"trainer={where}") for where in ("gpu", "cpu"))
    if reason := why_not(engine, on_gpu[0].config):
        pytest.skip(f"{engine}: {reason}")
    (found,) = dispatched(on_gpu, engine=engine)
    assert found.engine == f"{engine} on cuda"
    for one, run in zip(members_of(found), on_cpu, strict=True):
        for key, curve in alone(run).curves.items():
            np.testing.assert_allclose(one.curves[key], curve, rtol=1e-9, err_msg=key)


DIAGNOSED = (*SETTINGS, "diagnostics=epochs", "diagnostics.curvature=[0,2]")


@pytest.mark.parametrize("engine", [*ENGINES, "solo"])
def test_diagnostics_on_the_gpu_equal_those_on_the_cpu(runs_of: RunsOf, engine: str) -> None:
    on_gpu, on_cpu = (runs_of(*DIAGNOSED, "activation=sigmoid", f"trainer={where}") for where in ("gpu", "cpu"))
    found = [alone(run) for run in on_gpu] if engine == "solo" else together(on_gpu, engine)
    for one, run in zip(found, on_cpu, strict=True):
        expected = alone(run)
        assert len(expected.initial) > 12
        for key, value in {**expected.initial, **expected.curves}.items():
            of_gpu = one.initial[key] if key in expected.initial else one.curves[key]
            np.testing.assert_allclose(of_gpu, value, rtol=1e-9, atol=1e-12, err_msg=key)


def test_a_solo_run_on_the_gpu_equals_one_on_the_cpu(runs_of: RunsOf) -> None:
    (gpu, *_), (cpu, *_) = runs_of(*SETTINGS, "trainer=gpu"), runs_of(*SETTINGS, "trainer=cpu")
    on_gpu, on_cpu = alone(gpu), alone(cpu)
    for key, curve in on_cpu.curves.items():
        np.testing.assert_allclose(on_gpu.curves[key], curve, rtol=1e-9, err_msg=key)
