"""On a CUDA device every engine gives what it gives on the CPU. Skipped visibly without one."""

import numpy as np
import pytest
import torch

from pima_hp.training.engines import make_stack
from pima_hp.training.solo import train_solo
from pima_hp.training.stacked import TorchStack
from tests.training.conftest import RunsOf, arrays_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; found none"),
]
SETTINGS = ("trainer.precision=64", "trainer.max_epochs=3", "data.scaling=standard", "optimizer=adam", "n_replicates=3")


@pytest.mark.parametrize("extra", [[], ["batch.shuffle=true", "activation=gelu", "scheduler=plateau_half"]])
@pytest.mark.parametrize("engine", ["fused", "stacked"])
def test_a_stack_on_the_gpu_equals_one_on_the_cpu(runs_of: RunsOf, engine: str, extra: list[str]) -> None:
    on_gpu = make_stack(runs_of(*SETTINGS, *extra, "trainer=gpu", f"engine={engine}"))
    on_cpu = make_stack(runs_of(*SETTINGS, *extra, "trainer=cpu", "engine=stacked"))
    assert isinstance(on_gpu, TorchStack) == (engine == "stacked")
    for stack in (on_gpu, on_cpu):
        stack.fit()
    for one, other in zip(on_gpu.records(0.0, "stacked"), on_cpu.records(0.0, "stacked"), strict=True):
        for name, curve in arrays_of(other.curves).items():
            np.testing.assert_allclose(getattr(one.curves, name), curve, rtol=1e-9, err_msg=name)


def test_a_solo_run_on_the_gpu_equals_one_on_the_cpu(runs_of: RunsOf) -> None:
    (gpu, *_), (cpu, *_) = runs_of(*SETTINGS, "trainer=gpu"), runs_of(*SETTINGS, "trainer=cpu")
    on_gpu, on_cpu = (train_solo(run.config, run.seeds) for run in (gpu, cpu))
    for name, curve in arrays_of(on_cpu.curves).items():
        np.testing.assert_allclose(getattr(on_gpu.curves, name), curve, rtol=1e-9, err_msg=name)
