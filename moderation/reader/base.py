"""What a reader is: a batch of parts in, for each of them the parts that it derives out; and what it may answer."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from moderation.decision import Abstention
from moderation.detector.answers import is_told
from moderation.detector.faults import WRONG
from moderation.detector.names import LONGEST
from moderation.errors import one_line
from moderation.item import UNSUPPORTED_INPUT, Modality, Part
from moderation.plugin_sections import ReaderSettings

Reading = Sequence[Part] | Abstention


class Reader(Protocol):
    """A plugin unit. `id` is unique among readers; it is shown parts of the modalities that it `reads`, and derives parts of those that it `yields`.

    It may have methods for its life (`detector/life.py`), and a `revision` that changes whenever what it derives does: thresholds that were
    certified with it are kept to it. `crops` is True where what it derives only shows places of the very parts that it was shown.
    """

    @property
    def id(self) -> str:
        """A short name, unique among all readers."""
        ...

    @property
    def reads(self) -> frozenset[Modality]:
        """The modalities it can make something of."""
        ...

    @property
    def yields(self) -> frozenset[Modality]:
        """The modalities of what it makes: those that policies judge."""
        ...

    def read(self, parts: tuple[Part, ...]) -> Sequence[Reading]:
        """For each part, in order, the parts derived from it, none where it holds nothing; or an abstention with its reason."""
        ...


def crops(reader: Reader) -> bool:
    """Whether what it derives shows places of what it read, and nothing else: other readers are shown the whole, and not those."""
    return bool(getattr(reader, "crops", False))


def downstream(readers: Collection[Reader], modalities: Iterable[Modality]) -> list[Reader]:
    """Those of the readers that are shown parts of these modalities, or what was derived from such."""
    found: dict[str, Reader] = {}
    seen = set(modalities)
    while more := [one for one in readers if one.id not in found and one.reads & seen]:
        found |= {one.id: one for one in more}
        seen |= {modality for one in more if not crops(one) for modality in one.yields}
    return list(found.values())


def upstream(readers: Iterable[Reader], modalities: Collection[Modality]) -> list[Reader]:
    """Those of the readers, in order, that derive parts of these modalities, or what the others of them are shown."""
    known = {one.id: one for one in readers}
    found = {id_ for id_, one in known.items() if one.yields & set(modalities)}
    while more := {
        id_
        for id_, one in known.items()
        if id_ not in found and not crops(one) and any(one.yields & known[other].reads for other in found)
    }:
        found |= more
    return [one for id_, one in known.items() if id_ in found]


def check_readings(
    answers: object, length: int, *, yields: frozenset[Modality], limits: ReaderSettings
) -> tuple[Reading, ...]:
    """A reader's answer, with an abstention `bad_answer` wherever it is not what a reader may say.

    A wrong length spoils the whole batch. More than the limits allow is no fault of the reader's, for long content is somebody else's doing,
    but nobody would judge the rest: an abstention `unsupported_input`.
    """
    if not isinstance(answers, Sequence) or isinstance(answers, str | bytes) or len(answers) != length:
        return (WRONG,) * length
    return tuple(_check(one, yields, limits) for one in answers)


def _check(answer: object, yields: frozenset[Modality], limits: ReaderSettings) -> Reading:
    if isinstance(answer, Abstention):
        return answer if is_told(answer) else WRONG
    if not isinstance(answer, Sequence) or isinstance(answer, str | bytes):
        return WRONG
    if len(answer) > limits.most_parts:
        return Abstention(UNSUPPORTED_INPUT, cause="too_many_parts")
    if not all(_is_part(one, yields) for one in answer):
        return WRONG
    if sum(len(one.content) for one in answer) > limits.most_bytes:
        return Abstention(UNSUPPORTED_INPUT, cause="too_many_bytes")
    return tuple(replace(one, source="", unread=None, reader="") for one in answer)


def _is_part(part: object, yields: frozenset[Modality]) -> bool:
    """Names are kept in decisions: short, of one line, and no content."""
    if not isinstance(part, Part) or part.modality not in yields or type(part.content) is not bytes:
        return False
    return _is_short(part.name) and (part.region is None or _is_region(part.region))


def _is_short(name: object) -> bool:
    return type(name) is str and len(name) <= LONGEST and name.isascii() and name == one_line(name)


def _is_region(region: Any) -> bool:
    """A place in a picture: left before right, top above bottom, nothing outside of it."""
    if type(region) is not tuple or len(region) != 4 or not all(type(one) is float for one in region):
        return False
    left, top, right, bottom = region
    return bool(0.0 <= left < right <= 1.0 and 0.0 <= top < bottom <= 1.0)
