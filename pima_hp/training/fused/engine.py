"""What the fused engine can train, which runs may share a stack, and training one."""

import itertools
from collections.abc import Sequence

import torch
from tqdm import tqdm

from pima_hp.config import Config
from pima_hp.data.table import read_table
from pima_hp.errors import ConfigurationError
from pima_hp.model import metrics
from pima_hp.run import Results, Run
from pima_hp.training.dispatch import device_of
from pima_hp.training.fused.schedules import scheduler_of
from pima_hp.training.fused.stack import Stack
from pima_hp.training.fused.tables import ACTIVATIONS, OPTIMIZERS, SCORED_ROWS, numbers_of

# Units times rows of a batch, and weights, of one member: a block of 16 beyond that is better left to torch.
MOST_NUMBERS = 2**20


def why_not(config: Config) -> str:
    """Return why the kernel cannot train a configuration here; empty when it can."""
    for component, rows in ((config.activation, ACTIVATIONS), (config.optimizer, OPTIMIZERS)):
        if numbers_of(component, rows) is None:
            return f"no row for {component.target}({', '.join(component.arguments)})"
    if target := config.scheduler.target:
        if not target.startswith("torch.optim.lr_scheduler."):
            return f"only Lightning calls {target}"
        try:
            scheduler_of(config, [config.optimizer.lr])
        except ConfigurationError as error:  # it changes momentum, too
            return str(error)
    if others := set(metrics.EPOCH_METRICS) - {"accuracy", "loss"}:
        return f"it computes no {min(others)} each epoch"
    size, widths = config.batch.size, config.model.hidden_widths
    if isinstance(size, str):
        size, _, _ = config.data.split_sizes(len(read_table(config.data, config.data_digest).labels))
    n_weights = sum(before * after for before, after in itertools.pairwise(widths))
    if max(max(size, SCORED_ROWS) * (sum(widths) + 1), n_weights) > MOST_NUMBERS:
        return "its network is too large for the caches"
    try:
        if device_of(config).type == "cpu":
            from pima_hp.training.fused.compiled import failures

            return failures.get(config.trainer.dtype, "")
        from pima_hp.training.fused.gpu import why_not_here

        return why_not_here(config.trainer.dtype)
    except (ImportError, OSError) as error:  # of llvmlite or Triton
        return f"its compiler does not work here ({error})"


def stack_key(config: Config) -> str:
    """Return a text that is equal for configurations whose runs may be members of one stack.

    Members share the table, the sizes of the splits, the shape of the network, the class of activation, optimizer and
    scheduler, the batch, the epochs and the precision. They may differ in seeds, scaling, treatment of missing values,
    stratification, initialization, and in every number of the activation, the optimizer and the scheduler.
    """
    data, trainer, optimizer = config.data, config.trainer, config.optimizer
    shared = (
        (config.data_digest, data.label, data.features, data.test_fraction, data.val_fraction),
        (config.model.hidden_widths, config.activation.target),
        (optimizer.target, bool(optimizer.arguments.get(OPTIMIZERS[optimizer.target].flag))),
        (config.scheduler.target, config.scheduler.monitor),
        (config.batch.size, config.batch.shuffle),
        (trainer.max_epochs, trainer.precision, trainer.accelerator),
    )
    return repr(shared)


def fit_stack(runs: Sequence[Run], progress: tqdm | None = None) -> Results:
    """Train runs with equal `stack_key`s.

    Raises:
        KernelError: there is no kernel for them on this machine; from now on `why_not` says so.
    """
    n_threads = torch.get_num_threads()
    # What surrounds the kernel is thousands of small operations: waking torch's threads for each costs more.
    torch.set_num_threads(1)
    try:
        stack = make_stack(runs, n_threads)
        stack.fit(progress)
        return stack.results()
    finally:
        torch.set_num_threads(n_threads)


def make_stack(runs: Sequence[Run], n_threads: int) -> Stack:
    """Return the stack of runs with equal `stack_key`s, for the device that they ask for; `KernelError` without one."""
    device = device_of(runs[0].config)
    if device.type != "cpu":
        from pima_hp.training.fused.gpu import GPUStack

        return GPUStack(runs, device)
    from pima_hp.training.fused.cpu import CPUStack

    return CPUStack(runs, n_threads)
