"""Builds a worker from Settings, as `assemble` does everything that others need too."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import cast

from moderation.assemble import (
    dead_letter_topic,
    lock_files,
    output_topics,
    pipeline,
    plugins,
    quota_counter,
    references,
    stream_settings,
    worker_settings,
)
from moderation.embedding.embedder import Embedder
from moderation.errors import SettingsError
from moderation.item import ContentItem
from moderation.metrics import Gauges
from moderation.pipeline import Pipeline
from moderation.plugin.brought import Plugins
from moderation.plugin.readers import reads_videos
from moderation.rollout.reload import Reloader, tell_change
from moderation.settings import Settings
from moderation.stream.decider import Decider, InForce, Topics
from moderation.stream.envelope import read_item
from moderation.stream.gauges import SessionGauges
from moderation.stream.intake import Intake
from moderation.stream.liveness import watch
from moderation.stream.metrics import MeteredDecider, MeteredSession, Metrics
from moderation.stream.pace import Pace
from moderation.stream.probe import Health, serve
from moderation.stream.session import Session
from moderation.stream.worker import AT_ONCE, Worker


@contextmanager
def worker(settings: Settings, *, folder: Path, stop: threading.Event) -> Iterator[Worker]:
    """A worker on its topics, ready to run until `stop` is set; it has left its group in good order when this is closed.

    Locks are looked for from `folder` on. From here on the process ends by itself where it makes no
    progress. Raises SettingsError without the sections stream and worker, StreamError where Kafka cannot be used, and what `pipeline` raises.
    """
    stream, own = stream_settings(settings), worker_settings(settings)
    topics, embedders = _topics(settings), dict[str, Embedder]()
    metrics, health = Metrics(), Health(limit=stream.stall_seconds, stopping=stop.is_set)
    with ExitStack() as stack:
        if own.probe:
            stack.enter_context(serve(own.probe, metrics.registry, health))
        locks = [folder / one for one in own.locks]
        known = stack.enter_context(closing(plugins(settings)))
        builds = stack.enter_context(closing(_reloader(settings, locks, embedders, known=known)))
        read = partial(
            read_item,
            osprey_texts=own.osprey_texts,
            osprey_images=own.osprey_images,
            videos=reads_videos(known, settings.readers),
        )
        intake = _intake(settings, read, stack, known=known, answered=lambda: session.progress.made())  # noqa: PLW0108 - it is opened later
        decider = Decider(
            in_force=builds.current,
            read=intake.read if intake else read,
            each=intake.each if intake else map,
            held_bytes=stream.in_flight_bytes // AT_ONCE,
            topics=topics,
            order=settings.actions,
            worker=stream.slot,
            largest=stream.output_bytes,
            event_source=f"/moderation/{stream.group}" if own.envelope == "cloudevents" else "",
        )
        outputs = tuple(sorted({*output_topics(settings), *stream.outputs}))
        session = stack.enter_context(Session(stream.model_copy(update={"outputs": outputs})))
        watch(session.progress, stream.stall_seconds)
        metered = MeteredSession(session, metrics)
        metrics.registry.register(SessionGauges(session, metered))
        told = Gauges(lambda: cast(Pipeline, builds.current().pipeline), embedders, builds, metrics.answers.limited)
        metrics.registry.register(told)
        health.started(since_progress=session.progress.seconds, joined=lambda: metered.joined)
        window = 4 * stream.poll_records  # what is published, decided, waits and was just polled
        ready = MeteredDecider(decider, metrics)
        pace = Pace(own.batch_seconds, stream.poll_records, least=intake.at_once if intake else 1)
        yield Worker(metered, ready, name=uuid.uuid4().hex, window=window, pace=pace, stop=stop, tries=own.tries)


def _intake(
    settings: Settings,
    read: Callable[..., ContentItem | None],
    stack: ExitStack,
    *,
    known: Plugins,
    answered: Callable[[], object],
) -> Intake | None:
    """What reads records whose content lies elsewhere, where the settings allow any; each answer counts as progress."""
    if not settings.fetch:
        return None
    fetch, at_once = references(settings, known=known, answered=answered).fetch, worker_settings(settings).fetches
    pool = ThreadPoolExecutor(at_once, thread_name_prefix="read")
    stack.callback(pool.shutdown, wait=False, cancel_futures=True)
    return Intake(read, fetch, pool, at_once=at_once, most_bytes=stream_settings(settings).in_flight_bytes)


def _topics(settings: Settings) -> Topics:
    """Where a worker publishes. Raises SettingsError for a review of an action that is none."""
    own = worker_settings(settings)
    for name in own.review.actions if own.review else ():
        if name not in settings.actions:
            known = ", ".join(settings.actions)
            raise SettingsError(f"settings: worker.review.actions: unknown action {name!r}; expected one of {known}")
    return Topics(
        decisions=own.decisions,
        dead_letters=dead_letter_topic(settings),
        review=own.review.topic if own.review else "",
        reviewed=frozenset(own.review.actions) if own.review else (),
    )


def _reloader(
    settings: Settings, locks: Sequence[Path], embedders: dict[str, Embedder], *, known: Plugins
) -> Reloader[InForce]:
    """A pipeline under these locks that is made anew when one of them, or its release record, changes; encoders and counts are kept."""
    counter, seconds = quota_counter(settings), worker_settings(settings).reload_seconds
    made: Pipeline | None = None

    def build() -> InForce:
        nonlocal made
        before = made
        made = pipeline(settings, locks, embedders=embedders, known=known, counter=counter, earlier=before)
        tell_change(before.running if before else None, made.running)
        return InForce(made, " ".join(f"{one.id}={one.terms.revision}" for one in made.running.policies))

    return Reloader(build, lock_files(locks), seconds=seconds)
