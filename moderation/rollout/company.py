"""How far a score hangs on what else is in its batch: batches of other sizes move a vector's last bits, on one machine, by one encoder.

An item whose score is so near to a threshold that this could decide is encoded again, alone (referee.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from moderation.compiler.golden import golden_pictures
from moderation.detector.base import Detector
from moderation.embedding.embedder import Embedder, Sides
from moderation.encoder.base import Encoded, Encoder
from moderation.encoder.recorded import NOT_RECORDED
from moderation.encoder.tokens import buckets_of
from moderation.errors import EncoderError
from moderation.item import Modality
from moderation.policy.lock import Lock
from moderation.rollout.selftest import spread, unpromised

_log = logging.getLogger(__name__)
TEXTS = (
    "a photo",
    "hello",
    "Selling my old phone, hardly used, with its charger.",
    "Why would anybody say such a thing?",
    "Thank you all for coming, it was a lovely evening and we will surely do it again next year.",
    "no",
    "The recipe takes two eggs, a cup of flour and patience; my grandmother never wrote it down.",
    "Meet me at the station at eight.",
)


def measure_company(lock: Lock, embedder: Embedder, others: Sequence[Detector] = ()) -> float:
    """How far a score of this lock may move with its batch, in units of score: of items like those tried at most `selftest.SHARE` move further.

    `others` are as in `measure_epsilon`. Tried are made pictures and texts, each alone and in a batch of every size that towers run; once for each embedder.
    What an encoder refuses alone, such as a text over its context, is left out. Raises EncoderError for one that refuses all of these, that raises, that
    refuses in a batch what it took alone, or makes of them what is no vector.
    """
    if unknown := unpromised(others):
        _log.warning(
            "policy %s: detector %s judges by vectors and states no steepness, so that its scores may hang on what else is in a batch",
            lock.policy,
            ", ".join(unknown),
        )
    known = embedder.tried
    for modality in lock.modalities:
        if modality not in known:
            known[modality] = _tried(modality, embedder.encoder)
    return spread(lock, [pair for modality in lock.modalities for pair in known[modality]], others)


def _tried(modality: Modality, encoder: Encoder) -> tuple[Sides, ...]:
    try:
        sides = tuple(_sides(modality, encoder))
    except EncoderError:
        raise
    except Exception as error:
        raise EncoderError(
            f"encoder {encoder.card.name!r} fails on made content that it should know: {type(error).__name__}"
        ) from error
    if not all(np.isfinite(one).all() for pair in sides for one in pair):
        raise EncoderError(f"encoder {encoder.card.name!r}: its vectors of made content are not finite")
    return sides


def _sides(modality: Modality, encoder: Encoder) -> Iterator[Sides]:
    encode: Callable[[Sequence[Any]], Encoded]
    if modality is Modality.IMAGE:
        tried, encode = list[Any](golden_pictures()), encoder.encode_images
    else:
        tried, encode = list[Any](TEXTS), encoder.encode_text
    alone = [(one, encode([one])) for one in tried]
    inputs = [one for one, made in alone if not made.errors]
    if not inputs:
        if all(error.reason == NOT_RECORDED for _, made in alone for error in made.errors.values()):
            return  # nothing of a recording hangs on a batch
        raise _fails(modality, encoder, alone[0][1])
    apart = np.concatenate([made.vectors for _, made in alone if not made.errors])
    for size in buckets_of(encoder)[1:]:
        together = encode([inputs[at % len(inputs)] for at in range(size)])
        count = min(size, len(inputs))
        if together.errors:
            raise _fails(modality, encoder, together)
        yield apart[:count], together.vectors[:count]


def _fails(modality: Modality, encoder: Encoder, made: Encoded) -> EncoderError:
    reason = next(iter(made.errors.values())).reason
    return EncoderError(
        f"encoder {encoder.card.name!r} fails on every made {modality}, or on a batch of them: {reason}"
    )
