"""Who is asked where a batch's company could decide: an item so near to a threshold is encoded alone, and judged by that."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from moderation.decision import Timing
from moderation.embedding.embedder import Embeds
from moderation.embedding.keyed import KeyedVectors, spent
from moderation.item import ContentItem
from moderation.policy.decide import is_close
from moderation.rollout.panel import Answers, Asked, Found, Needed, Panel


class Referee:
    """Findings that do not hang on what else was in a batch."""

    def __init__(self, panel: Panel, clock: Callable[[], float] = time.perf_counter) -> None:
        self._panel, self._clock = panel, clock

    def findings(
        self,
        items: Sequence[ContentItem],
        needs: Sequence[Needed],
        answers: Answers,
        alone: Mapping[str, Embeds],
    ) -> tuple[list[Found], Timing]:
        """Of each item, every policy that judges it, with all that was found for it; who sees vectors is asked again about items near to a threshold.

        Beside it, the seconds that asking again took. `alone` are the embedders that encode each part by itself, by the encoder's name.
        """
        found = self._panel.findings(items, needs, answers)
        close = {
            (index, place)
            for index, of_item in enumerate(found)
            for policy, ones in of_item.items()
            if is_close(policy.terms, ones)
            for _, place in needs[index][policy].words
        }
        took = Timing()
        if close:
            asked: Asked = {
                id_: {
                    place: part for place, part in parts.items() if place in close and self._panel.hangs_on_vectors(id_)
                }
                for id_, parts in self._panel.asked(items, needs).items()
            }
            vectors = {name: KeyedVectors(alone[name], ones) for name, ones in self._panel.wanted(asked).items()}
            began = self._clock()
            again = self._panel.answers(asked, vectors)
            took = spent(vectors.values(), self._clock() - began)
            settled = {id_: {**known, **again[id_]} for id_, known in answers.items()}
            for index in {index for index, _ in close}:
                found[index] = self._panel.found(index, items[index], needs[index], settled)
        return found, took
