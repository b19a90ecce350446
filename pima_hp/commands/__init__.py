"""The commands: from the command line to trained runs, a summary and a report."""

from pima_hp.commands.exits import command
from pima_hp.commands.train import train
from pima_hp.config.options import CONF

CONFIG_PATH = str(CONF)

__all__ = ["CONFIG_PATH", "command", "train"]
