"""Which runs may share a stack: those with equal keys."""

import json

from pima_hp.config import Config
from pima_hp.model.stacked import PER_MEMBER_ACTIVATIONS
from pima_hp.training.optimizers import UPDATE_RULES, rule_arguments


def stack_key(configuration: Config) -> str:
    """Return a text that is equal for configurations whose runs may be members of one stack.

    Members share the table, the sizes of the splits, the shape of the network, the class of activation,
    optimizer and scheduler, the batch, the epochs and the precision. They may differ in seeds, scaling,
    treatment of missing values, stratification, initialisation, and in every number of the optimizer,
    of the scheduler and, where a row of `PER_MEMBER_ACTIVATIONS` allows it, of the activation.
    """
    data, activation = configuration.data, configuration.activation
    arguments = activation.arguments
    numbers_alone = all(isinstance(value, float) for value in arguments.values())
    may_differ = numbers_alone and activation.target in PER_MEMBER_ACTIVATIONS
    shared = {
        "data": [configuration.data_digest, data.label, data.features, data.test_fraction, data.val_fraction],
        "widths": configuration.model.hidden_widths,
        "activation": [activation.target, sorted(arguments) if may_differ else arguments],
        "optimizer": [configuration.optimizer.target, _flags(configuration)],
        "scheduler": [configuration.scheduler.target, configuration.scheduler.monitor],
        "batch": configuration.batch.model_dump(),
        "trainer": configuration.trainer.model_dump(),
    }
    return json.dumps(shared, sort_keys=True)


def _flags(configuration: Config) -> dict[str, object]:
    arguments = rule_arguments(configuration.optimizer) or {}
    rule = UPDATE_RULES.get(str(configuration.optimizer.target))
    used = {name: bool(arguments.get(name)) for name in ("momentum", "weight_decay")}  # else the formula is shorter
    return {**used, **{name: arguments.get(name) for name in (rule.flags if rule else ())}}
