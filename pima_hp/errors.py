"""What can go wrong, as a tree; the exit code of a command is that of the class.

PimaError                     1
├── InputError                2   the request is refused; nothing was trained
│   ├── ConfigurationError        one line a problem: what must hold, what was found, what is allowed
│   │   └── EngineError           the requested engine cannot be used on this machine
│   ├── TableError                the same for the data file
│   ├── RowsError                 raw rows for a prediction lack a column or a number
│   └── CheckpointError           a file that is no checkpoint of this project
├── StudyError                3   the study is busy, or was started with other settings
└── StorageError              4   the outputs folder cannot be written or read
"""

from collections.abc import Sequence


class PimaError(Exception):
    """An error that the user can act on; its text is the whole message."""

    exit_code = 1


class InputError(PimaError):
    """The request is refused before anything is trained."""

    exit_code = 2

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class ConfigurationError(InputError):
    """Settings out of bounds; carries every problem found, one line each."""


class EngineError(ConfigurationError):
    """The requested engine cannot be used on this machine."""


class TableError(InputError):
    """A data file that is not what its settings say."""


class RowsError(InputError):
    """Raw rows for a prediction that lack a column or a number."""


class CheckpointError(InputError):
    """A file that is no checkpoint of this project."""


class StudyError(PimaError):
    """The study is in use, or was started with other settings."""

    exit_code = 3


class StorageError(PimaError):
    """The outputs folder is full, unwritable or damaged."""

    exit_code = 4
