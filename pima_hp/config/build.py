"""The one place where a `_target_` becomes an object: the class is checked by its kind before it is called."""

import hashlib
import importlib
import inspect
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from pima_hp.errors import ConfigurationError

T = TypeVar("T")

# Packages that may be imported to look up a class, even one named by a file; others must be imported already.
TRUSTED = ("torch", "lightning", "torchmetrics", "pima_hp")


def class_of(target: object, kind: type[T]) -> type[T]:
    """Return the class that a `_target_` names.

    Classes outside the trusted packages are found only where their module is imported already, so that no file that is
    read (a checkpoint, a ledger) can have code executed; see `import_own`.

    Raises:
        ConfigurationError: there is no such class, or it is of another kind.
    """
    module, _, name = str(target).rpartition(".")
    found = None
    if module in sys.modules or module.partition(".")[0] in TRUSTED:
        with suppress(ImportError, ValueError, RecursionError):
            found = getattr(importlib.import_module(module), name, None)
    if not (isinstance(found, type) and issubclass(found, kind)):
        wanted = f"{kind.__module__}.{kind.__qualname__}"
        raise ConfigurationError(f"_target_: must be a class of the kind {wanted}; found {str(target)!r:.80}")
    return found


def import_own(target: str, kind: str) -> str:
    """Import a class of the user's own and return the digest of its source; empty for trusted packages.

    The source is the files that define it and the classes that it inherits from, not those of functions that it calls.
    Only for what the user has named in this command.

    Args:
        target: the class.
        kind: what it must inherit from.

    Raises:
        ConfigurationError: it cannot be imported, is of another kind, or has no source.
    """
    if target.partition(".")[0] in ("", *TRUSTED):
        return ""
    if not _is_known(target):
        if str(Path.cwd()) not in sys.path:
            sys.path.append(str(Path.cwd()))  # a module beside the command, as with `python -m`
        try:
            importlib.import_module(target.rpartition(".")[0])
        except (Exception, SystemExit) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise ConfigurationError(f"_target_: {target!r:.80} cannot be imported: {reason:.300}") from error
    own = [each for each in class_of(target, class_of(kind, object)).__mro__ if not _is_known(each.__module__)]
    paths = dict.fromkeys(str(inspect.getsourcefile(each)) for each in own)
    return hashlib.sha256(b"".join(Path(path).read_bytes() for path in paths)).hexdigest()[:16] if own else ""


def _is_known(name: str) -> bool:
    root = name.partition(".")[0]
    return root in TRUSTED or root in sys.stdlib_module_names


def build(node: Mapping[str, Any], kind: type[T], *positional: Any, **keywords: Any) -> T:
    """Return the object that a node describes.

    Args:
        node: `_target_` and arguments.
        kind: what its class must be or inherit from.
        positional: objects that no YAML can hold (parameters of a model, an optimizer).
        keywords: the same, by name.

    Raises:
        ConfigurationError: the class is of another kind, or does not take these arguments.
    """
    found = class_of(node.get("_target_"), kind)
    arguments = {key: value for key, value in node.items() if not key.startswith("_")}
    try:  # `hydra.utils.instantiate` would also interpret `_args_` and interpolations
        return found(*positional, **{**arguments, **keywords})
    except (TypeError, ValueError, AssertionError) as error:
        reason = " ".join(str(error).split())
        raise ConfigurationError(f"{node.get('_target_')} refused its arguments: {reason}") from error
