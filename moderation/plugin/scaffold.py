"""A new plugin to start from: a package with one detector, its tests by the kit and its entry point; it installs, and passes."""

from __future__ import annotations

from pathlib import Path
from string import Template

from moderation.detector.names import SLUG, is_slug

_PROJECT = Template("""\
[build-system]
requires = ["hatchling>=1.24"]
build-backend = "hatchling.build"

[project]
name = "moderation-$id"
version = "0.1.0"
description = "A detector for moderation: say here what it finds."
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

_MODULE = Template('''\
"""A detector: say here what it finds."""

import re

from moderation import DetectionBatch, Modality, Score, hookimpl

PHRASES = re.compile(r"\\b(replace this|by your own)\\b", re.IGNORECASE)


class $name:
    id = "$id"
    labels = ("$id",)
    modalities = frozenset({Modality.TEXT})
    needs_embeddings = False

    def detect(self, batch: DetectionBatch) -> list[tuple[Score, ...]]:
        found = [PHRASES.search(part.content.decode()) for part in batch.parts]
        return [(Score("$id", 1.0, concept=hit[0].lower()) if hit else Score("$id", 0.0),) for hit in found]


@hookimpl
def register_detectors(registry):
    registry.add($name())
''')

_TEST = Template('''\
"""What every detector promises (moderation.testing), and what this one finds."""

from moderation_$module import $name

from moderation.testing import DetectorKit


class Test$name(DetectorKit):
    make = $name
    plugin = "$id"
    flagged = {"$id": ["Replace this example", "and this by your own"]}
    passed = ["a walk in the park", ""]
''')

_README = Template("""\
# moderation-$id

A detector for moderation.

    pip install -e '.[test]'
    pytest
    moderation plugin list

A policy that counts it: `detectors: [$id]`. A process of its own for it: `plugins.isolated = ["$id"]` in the settings.
""")


def scaffold(plugin: str, folder: Path) -> tuple[Path, ...]:
    """Write the package `moderation-PLUGIN` into a new folder of that name; returns the files written.

    Raises ValueError when the id is not one, or the folder is there already: nothing is overwritten.
    """
    if not is_slug(plugin):
        raise ValueError(f"found {plugin!r}; expected {SLUG}")
    words = plugin.replace("-", "_").split("_")
    names = {"id": plugin, "module": "_".join(words), "name": "".join(word.capitalize() for word in words)}
    root = folder / f"moderation-{plugin}"
    if root.exists():
        raise ValueError(f"{root} is there already; expected a new name, or another folder")
    files = {
        root / f"moderation_{names['module']}.py": _MODULE,
        root / "tests" / f"test_{names['module']}.py": _TEST,
        root / "pyproject.toml": _PROJECT,
        root / "README.md": _README,
    }
    for path, template in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(template.substitute(names), encoding="utf-8")
    return tuple(files)
