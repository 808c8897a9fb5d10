"""A new plugin to start from: a package with one unit of a kind, its tests by the kit and its entry point; it installs, and passes."""

from __future__ import annotations

from pathlib import Path
from string import Template

from moderation.detector.names import SLUG, is_slug
from moderation.plugin.template import KINDS

_PROJECT = Template("""\
[build-system]
requires = ["hatchling>=1.24"]
build-backend = "hatchling.build"

[project]
name = "moderation-$id"
version = "0.1.0"
description = "A plugin for moderation: say here what it is for."
requires-python = ">=3.11"
dependencies = ["moderation"]

[project.optional-dependencies]
test = ["moderation[testing]"]

# The entry point's name is the plugin's id; it must be unique among all installed plugins.
[project.entry-points.moderation]
$id = "moderation_$module"

[tool.hatch.build.targets.wheel]
only-include = ["moderation_$module.py"]
""")

_README = Template("""\
# moderation-$id

A $kind for moderation.

    pip install -e '.[test]'
    pytest
    moderation plugin list

$use""")


def scaffold(plugin: str, folder: Path, *, kind: str = "detector") -> tuple[Path, ...]:
    """Write the package `moderation-PLUGIN`, which brings one unit of this kind (of KINDS), into a new folder of that name; returns the files written.

    Raises ValueError when the id is not one, the kind is none, or the folder is there already: nothing is overwritten.
    """
    if not is_slug(plugin):
        raise ValueError(f"found {plugin!r}; expected {SLUG}")
    if kind not in KINDS:
        raise ValueError(f"found the kind {kind!r}; expected one of {', '.join(KINDS)}")
    words = plugin.replace("-", "_").split("_")
    names = {"id": plugin, "module": "_".join(words), "name": "".join(word.capitalize() for word in words)}
    root = folder / f"moderation-{plugin}"
    if root.exists():
        raise ValueError(f"{root} is there already; expected a new name, or another folder")
    module, tests, use = KINDS[kind]
    names |= {"kind": kind, "use": use.substitute(names)}
    files = {
        root / f"moderation_{names['module']}.py": module,
        root / "tests" / f"test_{names['module']}.py": tests,
        root / "pyproject.toml": _PROJECT,
        root / "README.md": _README,
    }
    for path, template in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(template.substitute(names), encoding="utf-8")
    return tuple(files)
