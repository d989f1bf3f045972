"""Importing a user's Python file by its path, wherever it lies."""

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from jaxrl.core import contracts
from jaxrl.errors import ConfigError, require


def import_file(path: Path) -> ModuleType:
    """Returns the module of a file, imported once; the modules beside it can be imported by it.

    Raises:
        ConfigError: there is no such file, or it cannot be imported.
    """
    path = path.expanduser().resolve()
    fix = "Give the path of a Python file, the name of a module, or a name that `jaxrl list` shows."
    require(path.is_file(), "import", "the file must exist", str(path), fix)
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
