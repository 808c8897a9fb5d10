"""A plugin's package, as an installation would leave it, for as long as this process lives."""

from __future__ import annotations

import atexit
import importlib
import shutil
import sys
import tempfile
from pathlib import Path
from types import ModuleType


def installed(plugin: str, source: str) -> ModuleType:
    """The plugin's module, which its entry point names."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    information = folder / f"{plugin}-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {plugin}\nVersion: 1\n", encoding="utf-8")
    (information / "entry_points.txt").write_text(f"[moderation]\n{plugin} = {plugin}_plugin\n", encoding="utf-8")
    (folder / f"{plugin}_plugin.py").write_text(source, encoding="utf-8")
    sys.path.insert(0, str(folder))
    return importlib.import_module(f"{plugin}_plugin")
