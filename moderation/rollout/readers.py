"""What thresholds mean where readers derive parts: a maximum over more parts lies higher, so a lock keeps to the readers it was certified with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from moderation.detector.base import revision_of
from moderation.errors import LockError
from moderation.item import BEHIND, ContentItem
from moderation.policy.lock import Lock
from moderation.reader.base import Reader, upstream


def readers_for(lock: Lock, readers: Iterable[Reader]) -> tuple[Reader, ...]:
    """Of the readers in force, those that may derive parts for the policy, or what others derive them from.

    Raises LockError where one that it was certified with is not among them, or not as it was: what it would have shown is missed then.
    """
    found = {one.id: one for one in upstream(readers, lock.modalities)}
    for locked in lock.readers:
        who = f"policy {lock.policy!r}: certified with reader {locked.id!r}"
        if locked.id not in found:
            raise LockError(
                f"{who}, which is not in force, so that what it derives would be missed; expected it in readers.use, or a lock that was "
                "certified without it"
            )
        revision = revision_of(found[locked.id])
        if revision != locked.revision:
            raise LockError(
                f"{who} of revision {locked.revision!r}; the one in force is of {revision!r} and derives other parts; set it as it was, or "
                "certify the policy again"
            )
    return tuple(found.values())


def count_parts(lock: Lock, item: ContentItem, scope: Sequence[int]) -> int:
    """How many of the item's parts in the scope are held against the largest number that was certified: its own.

    Where a reader derived more than it did for any certified item, that is more than was certified, however few the item's own are; of a
    reader that the lock does not name, or of one that spoke of another revision, or of none any more, as it read the item, none were.
    """
    if not item.parts[-1].reader:  # what was derived comes last
        return len(scope)
    counts = parts_by_reader(item, scope)
    own = counts.pop("", 0)
    spoken = {one.id: {revision for id_, revision in item.read_by if id_ == one.id} for one in lock.readers}
    certified = {one.id: one.most_parts for one in lock.readers if spoken[one.id] == {one.revision}}
    beyond = any(count > certified.get(reader, 0) for reader, count in counts.items())
    return max(own, lock.max_parts + 1) if beyond else own


def parts_by_reader(item: ContentItem, scope: Iterable[int]) -> Counter[str]:
    """How many of these parts came through each reader, the item's own under no name; marks of what could not be read are none."""
    parts = [item.parts[place] for place in scope]
    through = [part.reader for part in parts if not (part.reader and part.unread)]
    return Counter(reader for one in through for reader in one.split(BEHIND))
