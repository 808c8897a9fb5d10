"""The one place that builds objects from Settings; everybody else is given what they need."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from moderation.detector.runner import Runner
from moderation.embedding.cache import EmbeddingCache, MemoryCache, TieredCache
from moderation.embedding.embedder import Alone, Embedder
from moderation.encoder.base import Encoder
from moderation.errors import SettingsError
from moderation.fetcher.references import References, Source
from moderation.pipeline import Pipeline
from moderation.plugin.brought import Plugins
from moderation.plugin.heads import with_heads
from moderation.plugin.manager import load
from moderation.plugin.readers import readers_in_force
from moderation.plugin.registry import EncoderRequest, FetcherRequest
from moderation.policy.lock import Lock, arrays_path, read_lock
from moderation.release.record import record_path, status_beside
from moderation.rollout.limits import Counter, Limits, LocalCounter
from moderation.rollout.locks import put_in_force
from moderation.rollout.running import RunningSet
from moderation.sections import StreamSettings, WorkerSettings
from moderation.settings import Settings

if TYPE_CHECKING:
    from moderation.stream.letters import DeadLetterTopic
    from moderation.stream.replay import Replay


def plugins(settings: Settings) -> Plugins:
    """Every plugin that the settings allow, and the heads that they name; what is wrong with one is in its record. Call it once for a process."""
    chosen = settings.plugins
    found = load(
        chosen.only,
        isolated=chosen.isolated,
        memory_bytes=chosen.isolated_memory_bytes,
        setup_seconds=chosen.setup_seconds,
        settings=chosen.settings,
        folder=settings.folder,
        own={"images": settings.images, "tiles": settings.readers.tiles},
    )
    return with_heads(found, settings.heads)


def encoder(settings: Settings, name: str = "default", *, known: Plugins | None = None) -> Encoder:
    """The encoder with this name in the settings. Raises SettingsError for an unknown name, else what loading raises."""
    if name not in settings.encoders:
        raise SettingsError(f"settings: no encoder is named {name!r}; expected one of {', '.join(settings.encoders)}")
    wanted = settings.encoders[name]
    loader = (known or plugins(settings)).loader(wanted.loader, needed_by=f"encoder {name!r} of the settings")
    return loader(EncoderRequest(wanted, settings.images))


def embedder(
    settings: Settings, name: str = "default", *, known: Plugins | None = None, cache: EmbeddingCache | None = None
) -> Embedder:
    """An encoder with the embedding cache in front of it; several encoders may share one `cache`."""
    return remembering(encoder(settings, name, known=known), settings, cache=cache)


def remembering(encoder: Encoder, settings: Settings, *, cache: EmbeddingCache | None = None) -> Embedder:
    """A loaded encoder with an embedding cache in front of it: `cache`, or one of its own."""
    made = embedding_cache(settings) if cache is None else cache  # an empty cache is falsy
    return Embedder(encoder, made, tenant=settings.cache.tenant)


def embedding_cache(settings: Settings) -> EmbeddingCache:
    """The cache that the settings describe: in memory, before Redis where they name one. Raises SettingsError for a URL that is none."""
    near = MemoryCache(settings.cache.max_bytes)
    chosen = settings.cache.redis
    if chosen is None:
        return near
    from moderation.embedding.redis_cache import RedisCache, connect

    client = connect(chosen.url.get_secret_value(), timeout_seconds=chosen.timeout_seconds)
    far = RedisCache(client, ttl_seconds=chosen.ttl_seconds, timeout_seconds=chosen.timeout_seconds)
    return TieredCache(near, far)


def pipeline(
    settings: Settings,
    locks: Iterable[Path | Lock],
    *,
    embedders: dict[str, Embedder] | None = None,
    known: Plugins | None = None,
    counter: Counter | None = None,
    earlier: Pipeline | None = None,
) -> Pipeline:
    """A pipeline that decides under these locks, given as paths or as read.

    Encoders that the locks name and `embedders` lacks are loaded and added to it, so that a caller who passes the same
    one again keeps its caches warm; `counter` counts for quotas where decisions are acted on
    (`quota_counter`): tests, audits and everything else that only looks use up nothing; `earlier` is the one that this takes the place
    of: what it knows of plugins' detectors is kept. A lock given as a path has the status of the release record beside it; one given as read is
    a draft. Raises what `rollout.locks.put_in_force` and `release.record.status_beside` raise.
    """
    read: list[Lock] = []
    statuses: dict[str, str] = {}
    for one in locks:
        lock = one if isinstance(one, Lock) else read_lock(one)
        read.append(lock)
        if isinstance(one, Path):
            statuses[lock.policy] = status_beside(lock, one)
    known = known or plugins(settings)
    embedders = {} if embedders is None else embedders
    missing = sorted({lock.encoder for lock in read} & set(settings.encoders) - set(embedders))
    cache = embedding_cache(settings) if missing else None  # a reload finds its encoders loaded
    for name in missing:
        embedders[name] = embedder(settings, name, known=known, cache=cache)
    reading = readers_in_force(known, settings.readers, earlier=earlier.readers if earlier else None)
    running = put_in_force(
        read, embedders=embedders, plugins=known, actions=settings.actions, statuses=statuses, readers=reading
    )
    return Pipeline(
        running,
        embedders=embedders,
        alone={name: Alone.of(one) for name, one in embedders.items()},
        runner=runner(settings, running, earlier=earlier.runner if earlier else None),
        limits=Limits(counter or LocalCounter(), settings.actions),
        actions=settings.actions,
        readers=reading,
    )


def lock_files(locks: Iterable[Path]) -> list[Path]:
    """All that a pipeline under these locks is made of: each lock, its arrays and its release record."""
    return [file for one in locks for file in (one, arrays_path(one), record_path(one))]


def quota_counter(settings: Settings) -> Counter:
    """What counts for quotas: Redis where the settings name one, for all workers together, else this process for itself."""
    alone = LocalCounter(share=settings.quota.share)
    chosen = settings.cache.redis
    if chosen is None:
        return alone
    from moderation.embedding.redis_cache import connect
    from moderation.rollout.quota import RedisCounter

    client = connect(chosen.url.get_secret_value(), timeout_seconds=chosen.timeout_seconds)
    return RedisCounter(client, tenant=settings.cache.tenant, alone=alone)


def runner(settings: Settings, running: RunningSet, *, earlier: Runner | None = None) -> Runner:
    """What runs the detectors of a set; those that are ours go without a thread."""
    trusted = {id_ for id_, one in running.detectors.items() if one.trusted}
    detectors = [one.detector for one in running.detectors.values()]
    return Runner(detectors, trusted=trusted, settings=settings.detectors, earlier=earlier)


def references(
    settings: Settings, *, known: Plugins | None = None, answered: Callable[[], object] = lambda: None
) -> References:
    """What fetches references: of each scheme that the settings have a section for. Raises PluginError for a scheme without a fetcher, SettingsError as that demands."""
    known = known or plugins(settings)
    sources = {}
    for scheme, section in settings.fetch.items():
        make = known.fetcher(scheme, needed_by=f"the section fetch.{scheme} of the settings")
        sources[scheme] = Source(make(FetcherRequest(scheme, section)), section)
    at_once = settings.worker.fetches if settings.worker else 1
    return References(sources, most=4 * at_once, answered=answered)


def stream_settings(settings: Settings) -> StreamSettings:
    """The section about Kafka. Raises SettingsError where it is not there."""
    if settings.stream is None:
        raise SettingsError("settings: a worker needs the section [stream], which is not there")
    return settings.stream


def worker_settings(settings: Settings) -> WorkerSettings:
    """The section about the worker. Raises SettingsError where it is not there."""
    if settings.worker is None:
        raise SettingsError("settings: a worker needs the section [worker], which is not there")
    return settings.worker


def dead_letter_topic(settings: Settings) -> str:
    """Where dead letters go. Raises SettingsError without the section stream."""
    return stream_settings(settings).dead_letters(settings.worker or settings.deliver)


def output_topics(settings: Settings) -> tuple[str, ...]:
    """The topics that a worker, or what delivers, publishes to. Raises SettingsError without the section stream, or both others."""
    if settings.deliver:
        return (dead_letter_topic(settings),)
    own = worker_settings(settings)
    return (own.decisions, dead_letter_topic(settings), *([own.review.topic] if own.review else []))


def dead_letters(settings: Settings) -> DeadLetterTopic:
    """The dead-letter topic, to be read. Raises SettingsError without the section stream, StreamError where Kafka cannot be used."""
    from moderation.stream.letters import DeadLetterTopic

    return DeadLetterTopic(dead_letter_topic(settings), stream_settings(settings))


def replay(settings: Settings) -> Replay:
    """What writes dead letters back; raises what `dead_letters` raises."""
    from moderation.stream.replay import Replay

    return Replay(stream_settings(settings), topic=dead_letter_topic(settings))
