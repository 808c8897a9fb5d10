"""A detector in 25 lines: finds the stock phrases of gambling advertisements in a text."""

import re

from moderation import DetectionBatch, Modality, Score, hookimpl

PHRASES = re.compile(r"\b(casino bonus|free spins|no deposit bonus|online betting|place your bets)\b", re.IGNORECASE)


class Keywords:
    id = "keywords"
    labels = ("gambling",)
    modalities = frozenset({Modality.TEXT})
    needs_embeddings = False

    def detect(self, batch: DetectionBatch) -> list[tuple[Score, ...]]:
        found = [PHRASES.search(part.content.decode()) for part in batch.parts]
        return [(Score("gambling", 1.0, concept=hit[0].lower()) if hit else Score("gambling", 0.0),) for hit in found]


@hookimpl
def register_detectors(registry):
    registry.add(Keywords())
