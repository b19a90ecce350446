"""The commands: from the command line to trained runs, a summary and a report."""

from pima_hp.commands.exits import command as command
from pima_hp.commands.main import train as train
from pima_hp.config.options import CONF

CONFIG_PATH = str(CONF)
