"""What a tar shard holds, found in one pass over its headers and kept in a file beside it or in a cache folder.

The index names its shard's size, time of change and a digest of its headers: a shard that changed is indexed anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from moderation.errors import TrainingError
from moderation.training.broken import Broken
from moderation.training.tar import BLOCK, Damage, Member, walk
from moderation.whole import written_whole

VERSION = "shard-index/1"
TEXT, JSON = 0, 1  # what a caption member is
_PICTURES = frozenset({"jpg", "jpeg", "jpe", "png", "webp", "gif", "bmp", "tif", "tiff", "avif"})
_CAPTIONS = {"txt": TEXT, "text": TEXT, "caption": TEXT, "json": JSON}
_HEADERS_IN_DIGEST = 16
_ARRAYS = ("pictures", "captions", "first_captions", "keys", "key_ends")


@dataclass(frozen=True, slots=True)
class ShardIndex:
    """Where the records of one shard lie, in bytes; `broken` counts what was left out."""

    path: Path
    pictures: np.ndarray  # int64 [n, 2]: offset and size
    captions: np.ndarray  # int64 [m, 3]: offset, size, TEXT or JSON
    first_captions: np.ndarray  # int64 [n + 1]: record i has the captions from [i] up to [i + 1]
    keys: np.ndarray  # uint8: all keys in UTF-8, one after the other
    key_ends: np.ndarray  # int64 [n]
    broken: Broken

    def __len__(self) -> int:
        return len(self.pictures)

    def key(self, row: int) -> str:
        """The shard's name and the record's key in it."""
        start = self.key_ends[row - 1] if row else 0
        key: bytes = self.keys[start : self.key_ends[row]].tobytes()
        return f"{self.path.name}/{key.decode('utf-8', 'backslashreplace')}"


def open_index(path: Path, *, cache: Path | None = None) -> ShardIndex:
    """The index of the shard at `path`, from its file where that still fits, else made and kept.

    It is kept beside the shard, else in `cache` (by default the user's cache folder), else nowhere. Raises TrainingError
    where the shard is missing, empty, compressed, or holds no pair.
    """
    try:
        with path.open("rb") as file:
            places = _places(path, cache)
            for place in places:
                if (known := _load(place, path, file.fileno())) is not None:
                    return known
            found = make_index(path, file.fileno())
            _keep(found, file.fileno(), places)
            return found
    except OSError as error:
        raise TrainingError(f"{path}: {error.strerror}; expected a tar shard") from None


def make_index(path: Path, file: int) -> ShardIndex:
    """Index the archive open at descriptor `file`; raises TrainingError where it holds no pair."""
    length, start = os.fstat(file).st_size, os.pread(file, BLOCK, 0)
    if not length:
        raise TrainingError(f"{path}: the file is empty; expected a tar shard")
    if start.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")):
        raise TrainingError(f"{path}: a compressed archive cannot be read at random; expected a plain tar shard")
    broken = Broken()
    records: dict[str, list[tuple[str, Member]]] = {}
    for name, member in _whole_members(path, file, broken).items():
        key, extension = _split(name)
        if extension:
            records.setdefault(key, []).append((extension, member))
    found = _collect(path, records, broken)
    if not len(found):
        raise TrainingError(f"{path}: no pair of picture and caption in {length} bytes; left out: {broken}")
    return found


def _whole_members(path: Path, file: int, broken: Broken) -> dict[str, Member]:
    """Members by name; of several with one name the last counts, as for every tar program."""
    length = os.fstat(file).st_size
    found: dict[str, Member] = {}
    for met in walk(file):
        if isinstance(met, Damage):
            broken.add("damaged_shard", f"{path.name} at byte {met.offset}")
        elif met.offset + met.size > length:
            broken.add("cut_off", f"{path.name}/{_printable(met.name)}")
        else:
            if met.name in found:
                broken.add("same_name", f"{path.name}/{_printable(met.name)}")
            found[met.name] = met
    return found


def _split(name: str) -> tuple[str, str]:
    """(key, extension in lower case) at the first dot of the file's name, as webdataset does; no extension for hidden files."""
    folder, slash, base = name.removeprefix("./").rpartition("/")
    stem, _, extension = base.partition(".")
    return f"{folder}{slash}{stem}", extension.lower() if stem else ""


def _collect(path: Path, records: dict[str, list[tuple[str, Member]]], broken: Broken) -> ShardIndex:
    pictures, captions, first, keys = [], [], [0], []
    for key, members in records.items():
        picture = _picture(members)
        texts = sorted(
            (_CAPTIONS[kind], member.offset, member.size) for kind, member in _kinds(members) if kind in _CAPTIONS
        )
        if picture is None or not texts:
            if picture is not None or texts:
                broken.add("no_picture" if picture is None else "no_caption", f"{path.name}/{_printable(key)}")
            continue
        pictures.append((picture.offset, picture.size))
        captions += [(offset, size, kind) for kind, offset, size in texts]
        first.append(len(captions))
        keys.append(key.encode("utf-8", "surrogateescape"))
    return ShardIndex(
        path,
        pictures=np.array(pictures, dtype=np.int64).reshape(-1, 2),
        captions=np.array(captions, dtype=np.int64).reshape(-1, 3),
        first_captions=np.array(first, dtype=np.int64),
        keys=np.frombuffer(b"".join(keys), dtype=np.uint8),
        key_ends=np.cumsum([len(key) for key in keys], dtype=np.int64),
        broken=broken,
    )


def _picture(members: list[tuple[str, Member]]) -> Member | None:
    """`000.jpg` before `000.mask.png`, then the first in the archive."""
    found = [
        (extension.count("."), member.offset, member) for extension, member in members if _kind(extension) in _PICTURES
    ]
    return min(found, key=lambda one: one[:2])[2] if found else None


def _kinds(members: list[tuple[str, Member]]) -> list[tuple[str, Member]]:
    return [(_kind(extension), member) for extension, member in members]


def _kind(extension: str) -> str:
    return extension.rpartition(".")[2]


def _printable(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _places(path: Path, cache: Path | None) -> tuple[Path, Path]:
    if cache is None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "moderation" / "shards"
    digest = hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogateescape")).hexdigest()
    return path.with_name(f".{path.name}.index"), cache / f"{digest[:32]}.index"


def _about(file: int, pictures: np.ndarray) -> dict[str, Any]:
    """What ties an index to its shard. A picture's header stands right before it."""
    status = os.fstat(file)
    chosen = pictures[:: max(1, len(pictures) // _HEADERS_IN_DIGEST), 0]
    digest = hashlib.sha256(b"".join(os.pread(file, BLOCK, int(at)) for at in (0, *(chosen - BLOCK))))
    return {
        "version": VERSION,
        "size": status.st_size,
        "changed": status.st_mtime_ns,
        "headers": digest.hexdigest(),
    }


def _load(place: Path, path: Path, file: int) -> ShardIndex | None:
    """The index stored at `place`, None where it is missing, damaged, or another shard's."""
    try:
        with safe_open(place, framework="numpy") as stored:
            arrays = {name: stored.get_tensor(name) for name in _ARRAYS}
            facts = json.loads(stored.metadata()["facts"])
        broken = Broken.from_json(facts.pop("broken"))
        return ShardIndex(path, broken=broken, **arrays) if facts == _about(file, arrays["pictures"]) else None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None


def _keep(index: ShardIndex, file: int, places: tuple[Path, ...]) -> None:
    """Written to a temporary file and renamed; an index that can be kept nowhere is made again the next time."""
    facts = {**_about(file, index.pictures), "broken": index.broken.to_json()}
    content = save({name: getattr(index, name) for name in _ARRAYS}, {"facts": json.dumps(facts)})
    for place in places:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with written_whole(place) as beside:
                beside.write_bytes(content)
        except OSError:
            continue
        return
