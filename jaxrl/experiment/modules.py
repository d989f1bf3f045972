"""Importing a user's Python file by its path, wherever it lies."""

import hashlib
import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType

from jaxrl.core import contracts
from jaxrl.errors import ConfigError, closest, require

MOST_NAMES = 20  # of a file, in a message


def import_file(path: Path) -> ModuleType:
    """Returns the module of a file, imported once; the modules beside it can be imported by it.

    Raises:
        ConfigError: there is no such file, or it cannot be imported.
    """
    path = path.expanduser().resolve()
    if not path.is_file():
        beside = [other.name for other in path.parent.glob("*.py") if other.is_file()] if path.parent.is_dir() else []
        near = closest(path.name, beside)
        given = "Give the path of a Python file, the name of a module, or a name that `jaxrl list` shows."
        fix = f"Did you mean {path.with_name(near)}?" if near else given
        require(False, "import", "the file must exist", str(path), fix)
    require(path.stem.isidentifier(), "import", "the file's name must be an identifier", path.name, "Rename it.")
    name = f"jaxrl_file_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        reason = f"{contracts.said(error)}{contracts.raised_at(error)}"
        raise ConfigError(f"import: {path} must be importable, got {reason}. {contracts.hint(error)}") from error
    finally:
        sys.path.remove(str(path.parent))
    return module


def public_names(module: ModuleType) -> list[str]:
    """Returns the names that a file defines for others: those of modules that it imports, and private ones, are no news."""
    named = [name for name, value in vars(module).items() if not name.startswith("_") and not inspect.ismodule(value)]
    return sorted(named)[:MOST_NAMES]


def can_be_imported(module: str) -> bool:
    """Returns whether there is a module of this name; if its package raises an error, the import is left to say so."""
    try:
        return module in sys.modules or importlib.util.find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):
        return False
    except Exception:
        return True


def offered(module: str, name: str = "") -> str:
    """Returns the sentence that offers a file in place of a module that is not found; empty if no such file lies in this folder.

    Args:
        module: the name of the module.
        name: of something in it, by which it was asked for.
    """
    file = Path(f"{module.replace('.', '/')}.py")
    return f"Write {file}{':' if name else ''}{name}: this file lies in this folder." if module and file.is_file() else ""
