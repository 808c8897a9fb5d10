"""A new plugin with a detector: small, and whole as it stands."""

from __future__ import annotations

from string import Template

from moderation.plugin.template.kind import Kind

DETECTOR = Kind(
    Template('''\
"""A detector: say here what it finds. This one finds two phrases."""

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
        scores = [Score("$id", 1.0, concept=hit[0].lower()) if hit else Score("$id", 0.0) for hit in found]
        return [(score,) for score in scores]


@hookimpl
def register_detectors(registry):
    registry.add($name())
'''),
    Template('''\
"""What every detector promises (moderation.testing), and what this one finds."""

from moderation_$module import $name

from moderation.testing import DetectorKit


class Test$name(DetectorKit):
    make = $name
    plugin = "$id"
    flagged = {"$id": ["Replace this example", "and this by your own"]}
    passed = ["a walk in the park", ""]
'''),
    Template("""\
A policy that counts it: `detectors: [$id]`. A process of its own for it: `plugins.isolated = ["$id"]` in the settings.
"""),
)
