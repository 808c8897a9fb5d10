"""Builds the server from Settings, as `assemble` does everything else."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from itertools import cycle, islice, pairwise
from pathlib import Path

from moderation.assemble import embedder, embedding_cache, lock_files, pipeline, plugins, quota_counter
from moderation.compiler.golden import golden_pictures, large_picture
from moderation.detector.sound import is_sound, lengths
from moderation.embedding.cache import TieredCache
from moderation.embedding.embedder import Embedder
from moderation.encoder.base import Encoded, Encoder
from moderation.encoder.header import read_header
from moderation.errors import EncoderError, SettingsError
from moderation.item import Modality
from moderation.metrics import Gauges
from moderation.pipeline import Pipeline
from moderation.plugin.brought import Plugins
from moderation.policy.lock import read_lock
from moderation.rollout.reload import Reloader, tell_change
from moderation.rollout.selftest import check_golden
from moderation.sections import ServeSettings
from moderation.server.app import make_app
from moderation.server.batcher import Batcher
from moderation.server.costs import Costs, Kind, measure
from moderation.server.edge import Edge
from moderation.server.in_force import InForce, Keys, Standing, keys_of, tell_gone
from moderation.server.metrics import ServerMetrics
from moderation.server.posts import Served
from moderation.server.service import Service
from moderation.settings import ImageLimits, Settings

_log = logging.getLogger(__name__)
_STEPS = ("load_seconds", "try_seconds", "time_seconds")  # of a start
_WORDS = "a photo of a thing that somebody offers for sale near you, as good as new, please call"


@contextmanager
def server(settings: Settings, *, folder: Path, file: Path | None = None) -> Iterator[Edge]:
    """The app, ready to be asked: encoders are loaded, tried and timed. What is in work is finished when this is closed.

    Locks are looked for from `folder` on; keys are taken anew whenever `file`, that of the settings, changes. Raises SettingsError without the section serve or for a key's unknown policy, EncoderError for an encoder
    that fails when it is tried, and what `pipeline` raises.
    """
    own = serve_settings(settings)
    locks = [folder / one for one in own.locks]
    built = [read_lock(one) for one in locks]
    # What is wrong so far is told before an encoder is loaded, which takes a while.
    _check_policies(own, own.keys, [one.policy for one in built])
    if settings.fetch and settings.worker is None:
        _log.warning("settings: fetch: a server fetches nothing: content comes with each request")
    with ExitStack() as stack:
        known = stack.enter_context(closing(plugins(settings)))
        cache = embedding_cache(settings)
        names = sorted({*(one.encoder for one in built), *own.encoders})
        times = [time.perf_counter()]
        embedders = {name: embedder(settings, name, known=known, cache=cache) for name in names}
        times.append(time.perf_counter())
        weights: dict[str, float] = {}
        standing = stack.enter_context(closing(_standing(own, file)))
        made = _reloader(settings, locks, embedders, known, standing=standing, file=file, weights=weights)
        builds = stack.enter_context(closing(made))
        for name in names:
            check_golden([lock for lock in built if lock.encoder == name], embedders[name].encoder)
        times.append(time.perf_counter())
        costs = _costs({name: embedders[name].encoder for name in names}, settings.images)
        times.append(time.perf_counter())
        took = [f"{end - start:.1f}" for start, end in pairwise(times)]
        _log.info("encoders are there", extra={"told": dict(zip(_STEPS, took, strict=True))})
        batcher = Batcher(
            embedders,
            costs,
            near=cache.near if isinstance(cache, TieredCache) else cache,
            far=isinstance(cache, TieredCache),
            most_bytes=own.queue_bytes,
            weights=weights,
        )
        in_force = Standing(builds.current, standing.current)
        service = stack.enter_context(
            closing(
                Service(
                    lambda caller: in_force().pipeline(caller),
                    batcher,
                    # One may read what another derived, and each wave of them has its deadline.
                    readers_seconds=settings.readers.timeout_seconds * max(1, len(settings.readers.use)),
                    detectors_seconds=settings.detectors.timeout_seconds,
                )
            )
        )
        metrics = ServerMetrics(batcher, lambda: service.stuck)
        told = Gauges(lambda: builds.current().everything, embedders, builds, metrics.answers.limited)
        metrics.registry.register(told)
        yield make_app(Served(service, own, settings.actions, metrics, keys=lambda: in_force().keys))


def serve_settings(settings: Settings) -> ServeSettings:
    """The section about the server. Raises SettingsError where it is not there."""
    if settings.serve is None:
        raise SettingsError("settings: a server needs the section [serve], which is not there")
    return settings.serve


def _check_policies(own: ServeSettings, keys: Keys, policies: Collection[str]) -> None:
    """Raises SettingsError where a key is bound to a policy that is not there, or such a one stands for OpenAI's categories."""
    named = {f"keys.{name}": key.policies or () for name, key in (keys or {}).items()}
    for place, chosen in {**named, "categories": own.categories}.items():
        for unknown in sorted({*chosen} - {*policies}):
            known = ", ".join(sorted(policies))
            raise SettingsError(f"settings: serve.{place}: unknown policy {unknown!r}; expected one of {known}")


def _standing(own: ServeSettings, file: Path | None) -> Reloader[Keys]:
    """The keys that stand in the file now, apart from builds, one of which may be minutes under way: whose key is not among these is not answered."""
    now: Keys = own.keys or None

    def look() -> Keys:
        nonlocal now
        before, now = now, keys_of(now, file)
        tell_gone(before, now)
        return now

    # A build tells what is refused: it reads the same file.
    return Reloader(look, [file] if file else [], seconds=own.reload_seconds, tells=False)


def _reloader(
    settings: Settings,
    locks: list[Path],
    embedders: dict[str, Embedder],
    known: Plugins,
    *,
    standing: Reloader[Keys],
    file: Path | None,
    weights: dict[str, float],
) -> Reloader[InForce]:
    """What makes builds and keys anew; `weights` are then the keys'. Of the keys those count that are `standing`, too."""
    own = serve_settings(settings)
    counter, there = quota_counter(settings), frozenset(embedders)
    last: InForce | None = None

    def build() -> InForce:
        nonlocal last
        keys = keys_of(last.keys if last else standing.current(), file)
        before, paths = last.everything if last else None, {}
        for path in locks:
            lock = read_lock(path)
            paths[lock.policy] = path
            if lock.encoder not in there:  # nothing of it was tried or timed, and the batcher does not know it
                told = f"policy {lock.policy!r} is built on encoder {lock.encoder!r}, which was not there at the start; start the server again"
                raise EncoderError(told)
        _check_policies(own, keys, paths)
        everything = pipeline(settings, locks, embedders=embedders, known=known, counter=counter, earlier=before)

        def under(chosen: frozenset[str]) -> Pipeline:
            some = [path for policy, path in paths.items() if policy in chosen]
            return pipeline(settings, some, embedders=embedders, known=known, counter=counter, earlier=everything)

        sets = {frozenset(key.policies) for key in (keys or {}).values() if key.policies is not None}
        now = InForce(everything, {one: under(one) for one in sets}, keys)
        weights.clear()
        weights.update((name, key.weight) for name, key in (keys or {}).items())
        tell_change(before.running if before else None, everything.running)
        if last:
            now.tell_new(last.keys)
        last = now
        return now

    return Reloader(build, [*lock_files(locks), *([file] if file else [])], seconds=own.reload_seconds)


def _costs(encoders: Mapping[str, Encoder], limits: ImageLimits) -> Costs:
    """What batches cost, and what every pixel of a large picture within the limits adds; raises what `_timed` does."""
    table = {kind: row for name, one in encoders.items() for kind, row in _timed(name, one)}
    rates = {
        kind: _pixel_seconds(encoders[kind.encoder], usual=row[1])
        for kind, row in table.items()
        if kind.modality is Modality.IMAGE
    }
    return Costs(table, pixel_seconds=rates, most_pixels=limits.max_pixels)


def _pixel_seconds(encoder: Encoder, *, usual: float) -> float:
    """Seconds that a pixel takes, by a picture of many; `usual` are those of a small picture."""
    picture = large_picture()
    began = time.perf_counter()
    encoder.encode_images([picture])
    return max(0.0, time.perf_counter() - began - usual) / read_header(picture).pixels


def _timed(name: str, encoder: Encoder) -> Iterator[tuple[Kind, Mapping[int, float]]]:
    """What batches of each kind cost; raises EncoderError where known content gets no vector of the right width and length."""
    width = encoder.card.width

    def checked(encoded: Encoded) -> None:
        for error in encoded.errors.values():
            raise EncoderError(f"encoder {name!r} fails on what it should know: {error}")
        if encoded.vectors.shape[1:] != (width,) or not is_sound(lengths(encoded.vectors)).all():
            found = f"shape {encoded.vectors.shape}, lengths {lengths(encoded.vectors)[:3]}"
            raise EncoderError(f"encoder {name!r} gives unsound vectors: {found}; expected width {width}, length 1")

    pictures = list(golden_pictures())
    runs = {
        Modality.IMAGE: lambda count: checked(encoder.encode_images(list(islice(cycle(pictures), count)))),
        Modality.TEXT: lambda count: checked(encoder.encode_text([_WORDS] * count)),
    }
    for modality, run in runs.items():
        if modality.value in encoder.card.modalities:
            yield Kind(name, modality), measure(run)
