"""The index finds exactly what comparing with every hash finds; damage is found, and equal lists give equal bytes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moderation_hashes.bands import MATCH_DISTANCE, bands, count_for
from moderation_hashes.index import Index, write_index
from moderation_hashes.lists import HashList
from safetensors import safe_open

from moderation.errors import PluginError


def random_hashes(seed: int, count: int) -> np.ndarray:
    return np.unique(np.random.default_rng(seed).integers(0, 256, (count, 32), dtype=np.uint8), axis=0)


def flipped(bits: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
    """The same hash with so many of its bits turned."""
    turned = np.unpackbits(bits)
    turned[rng.choice(256, count, replace=False)] ^= 1
    return np.packbits(turned)


def brute(hashes: np.ndarray, query: np.ndarray) -> dict[int, int]:
    distances = np.unpackbits(hashes ^ query, axis=1).sum(axis=1)
    return {int(place): int(distances[place]) for place in np.flatnonzero(distances <= MATCH_DISTANCE)}


def made(folder: Path, *lists: HashList) -> Index:
    write_index(lists, folder / "made.index")
    return Index(folder / "made.index")


def found(index: Index, query: np.ndarray) -> dict[int, int]:
    places, distances = index.near(query.tobytes())
    return dict(zip(places.tolist(), distances.tolist(), strict=True))


@pytest.mark.parametrize("count", range(10, 33))
def test_a_near_hash_is_within_the_radius_of_some_band(count: int) -> None:
    """The pigeonhole: were it outside in all bands, more bits than the match distance would differ. One less would not do."""
    dealt = bands(count)
    assert sum(dealt.widths) == 256
    assert sum(radius + 1 for radius in dealt.radii) == MATCH_DISTANCE + 1


@pytest.mark.parametrize("count", [10, 11, 13, 19, 32])
def test_the_probes_of_a_band_are_all_keys_within_its_radius(count: int) -> None:
    dealt = bands(count)
    for number, (width, radius) in enumerate(zip(dealt.widths, dealt.radii, strict=True)):
        if width > 16:
            continue
        wanted = {key for key in range(1 << width) if key.bit_count() <= radius}
        assert set(dealt.flips[dealt.band == number].tolist()) == wanted


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3000), st.lists(st.integers(0, 256), min_size=1, max_size=40))
def test_it_finds_what_comparing_with_all_finds(
    tmp_path_factory: pytest.TempPathFactory, seed: int, count: int, turned: list[int]
) -> None:
    rng = np.random.default_rng(seed)
    hashes = random_hashes(seed, count)
    index = made(tmp_path_factory.mktemp("index"), HashList("bad", hashes, "0" * 64))
    for bits in turned:
        query = flipped(hashes[rng.integers(len(hashes))], rng, bits)
        assert found(index, query) == brute(hashes, query)


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1))
def test_the_worst_that_bits_can_do(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """Differences dealt evenly over the bands, so that only one of them is within its radius: at 31 found, at 32 not."""
    rng = np.random.default_rng(seed)
    hashes = random_hashes(seed, 5000)
    index = made(tmp_path_factory.mktemp("index"), HashList("bad", hashes, "0" * 64))
    dealt = bands(count_for(len(hashes)))
    target = hashes[rng.integers(len(hashes))]
    spared = rng.integers(len(dealt.widths))
    for more, expected in ((0, 1), (1, 0)):
        bits = np.unpackbits(target)
        for band, (width, radius) in enumerate(zip(dealt.widths, dealt.radii, strict=True)):
            turned = rng.choice(width, radius + (band != spared or more), replace=False)
            bits[band + turned * len(dealt.widths)] ^= 1
        query = np.packbits(bits)
        assert len(brute(hashes, query)) == len(found(index, query)) == expected


def test_many_near_ones_are_all_found(tmp_path: Path) -> None:
    """A list full of versions of one picture: so many candidates that comparing with all is less work."""
    rng = np.random.default_rng(5)
    target = random_hashes(5, 1)[0]
    hashes = np.unique([flipped(target, rng, int(rng.integers(0, 40))) for _ in range(2000)], axis=0)
    index = made(tmp_path, HashList("bad", hashes, "0" * 64))
    assert found(index, target) == brute(hashes, target)
    assert len(found(index, target)) > 1000
    assert sum(map(len, index._candidates(target))) == len(index)


@pytest.mark.parametrize("count", [1, 2])
def test_a_small_list_matches_too(tmp_path: Path, count: int) -> None:
    """Trap 16 of HMA (#1318): an index with one hash matched nothing."""
    hashes = random_hashes(1, count)
    index = made(tmp_path, HashList("bad", hashes, "0" * 64))
    assert [found(index, one) for one in hashes] == [{place: 0} for place in range(count)]


def test_each_list_tells_its_own_nearest(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    target = random_hashes(3, 1)[0]
    lists = [
        HashList(name, np.array(sorted([flipped(target, rng, bits) for bits in near], key=bytes)), "0" * 64)
        for name, near in (("second", [9, 30]), ("first", [4, 200]), ("far", [100]))
    ]
    index = made(tmp_path, *lists)
    assert [one.name for one in index.lists] == ["far", "first", "second"]
    assert index.nearest(target.tobytes()) == {"first": 4, "second": 9}


def test_equal_lists_give_equal_bytes_in_any_order(tmp_path: Path) -> None:
    one, other = HashList("one", random_hashes(1, 700), "1" * 64), HashList("other", random_hashes(2, 300), "2" * 64)
    write_index([one, other], tmp_path / "a")
    write_index([other, one], tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_the_revision_stands_for_the_hashes_alone(tmp_path: Path) -> None:
    hashes = random_hashes(1, 10)
    (one,) = write_index([HashList("bad", hashes, "1" * 64)], tmp_path / "a")
    (same,) = write_index([HashList("bad", hashes, "2" * 64)], tmp_path / "a")
    (other,) = write_index([HashList("bad", hashes[:9], "1" * 64)], tmp_path / "a")
    assert one.revision == same.revision != other.revision


def test_any_tool_reads_it(tmp_path: Path) -> None:
    hashes = random_hashes(1, 40)
    made(tmp_path, HashList("bad", hashes, "0" * 64))
    with safe_open(tmp_path / "made.index", "numpy") as opened:
        assert np.array_equal(opened.get_tensor("hashes"), hashes)
        assert json.loads(opened.metadata()["lists"])[0]["hashes"] == 40


def test_damage_is_found(tmp_path: Path) -> None:
    path = tmp_path / "made.index"
    made(tmp_path, HashList("bad", random_hashes(1, 100), "0" * 64)).verify()
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(PluginError, match="not as long as its header says"):
        Index(path)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(PluginError, match="is damaged"):
        Index(path).verify()


@pytest.mark.parametrize(
    "content", [b"", b"type,value\n", b"\x10" + bytes(7) + b"{" * 16, (2**63).to_bytes(8, "little")]
)
def test_what_is_no_index_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "made.index").write_bytes(content)
    with pytest.raises(PluginError, match="is no index"):
        Index(tmp_path / "made.index")
    with pytest.raises(PluginError, match="cannot be read"):
        Index(tmp_path / "absent.index")


def test_a_running_reader_keeps_what_it_opened(tmp_path: Path) -> None:
    old, new = random_hashes(1, 50), random_hashes(2, 50)
    index = made(tmp_path, HashList("bad", old, "0" * 64))
    write_index([HashList("bad", new, "0" * 64)], tmp_path / "made.index")
    assert found(index, old[7]) == {7: 0}
    assert found(Index(tmp_path / "made.index"), old[7]) == {}


def test_lists_need_names_of_their_own(tmp_path: Path) -> None:
    bad = HashList("bad", random_hashes(1, 5), "0" * 64)
    for lists in ([], [bad, bad]):
        with pytest.raises(ValueError, match="each with a name of its own"):
            write_index(lists, tmp_path / "made.index")
