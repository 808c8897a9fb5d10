"""Laws of tar shards: the walk reads what tarfile reads, and no damage is more than a count."""

from __future__ import annotations

import io
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from moderation.errors import ItemError, TrainingError
from moderation.settings import ImageLimits
from moderation.training.shard import Shard
from moderation.training.shard_index import open_index
from moderation.training.tar import Member, walk
from tests.pair_files import tar_bytes

names = st.text(
    st.characters(codec="utf-8", exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=150
)
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
archives = st.dictionaries(paths, st.binary(max_size=1500), max_size=6)


def walked(content: bytes) -> list[object]:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        return list(walk(file.fileno()))


@given(archives, st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
def test_the_walk_and_tarfile_read_the_same(members: dict[str, bytes], kind: int) -> None:
    content = tar_bytes(members, format=kind)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        expected = [(one.name, tar.extractfile(one).read()) for one in tar]  # type: ignore[union-attr]
    found = walked(content)
    assert all(isinstance(one, Member) for one in found)
    assert [(one.name.rstrip("/"), content[one.offset : one.offset + one.size]) for one in found] == expected  # type: ignore[attr-defined]


RECORDS = {
    f"{n:03d}.{end}": bytes([n]) * 700 if end == "png" else f"caption {n}" for n in range(6) for end in ("png", "txt")
}
WHOLE = tar_bytes(RECORDS)
damages = st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=30)


@given(damages, st.integers(0, len(WHOLE)))
def test_any_damage_is_counted_and_never_more(changes: list[tuple[int, int]], length: int) -> None:
    content = bytearray(WHOLE)
    for at, value in changes:
        content[at] = value
    whole = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tar"
        path.write_bytes(content[:length])
        try:
            shard = Shard(open_index(path), limits=ImageLimits())
        except TrainingError:
            return
        for row in range(len(shard)):
            with suppress(ItemError):
                whole += shard.read(row).image in RECORDS.values()
    assert whole <= 6
    assert whole == 6 or content != WHOLE or shard.broken.total


@given(st.integers(0, 11), st.integers(0, 511), st.integers(1, 255))
def test_one_damaged_header_costs_one_record(member: int, at: int, change: int) -> None:
    with tarfile.open(fileobj=io.BytesIO(WHOLE)) as tar:
        offset = tar.getmembers()[member].offset
    content = bytearray(WHOLE)
    content[offset + at] ^= change
    found = [one for one in walked(bytes(content)) if isinstance(one, Member)]
    whole = [one for one in walked(WHOLE) if isinstance(one, Member)]
    assert set(whole) - set(found) <= {whole[member]}


@given(st.binary(max_size=3000))
def test_bytes_that_are_no_archive_are_walked_to_the_end(content: bytes) -> None:
    for one in walked(content):
        assert one.offset >= 0  # type: ignore[attr-defined]
