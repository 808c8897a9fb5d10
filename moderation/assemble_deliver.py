"""Builds what delivers decisions from Settings, as assemble.py builds everything else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from moderation import assemble
from moderation.breaker import Breaker
from moderation.decision import Sink
from moderation.errors import SettingsError
from moderation.plugin.brought import Plugins
from moderation.sections import DeliverSettings
from moderation.settings import Settings

if TYPE_CHECKING:
    from moderation.stream.deliver import Deliverer


def deliver_settings(settings: Settings) -> DeliverSettings:
    """The section about delivering. Raises SettingsError where it is not there, names an action that is none, or does not fit the stream."""
    if settings.deliver is None:
        raise SettingsError("settings: to deliver, the section [deliver] is needed, which is not there")
    for name in settings.deliver.actions or ():
        if name not in settings.actions:
            known = ", ".join(settings.actions)
            raise SettingsError(f"settings: deliver.actions: unknown action {name!r}; expected one of {known}")
    if settings.deliver.timeout_seconds >= assemble.stream_settings(settings).stall_seconds:
        raise SettingsError("settings: deliver.timeout_seconds: expected less than stream.stall_seconds")
    return settings.deliver


def sink(settings: Settings, *, known: Plugins) -> Sink:
    """The sink that the settings name, set up. Raises PluginError where it is not there or cannot be set up."""
    needed_by, id_ = "the setting deliver.sink", deliver_settings(settings).sink
    found = known.sink(id_, needed_by=needed_by)
    known.set_up([found], {id_: needed_by}, kind="sink")
    return found


@contextmanager
def deliverer(settings: Settings, *, stop: threading.Event) -> Iterator[Deliverer]:
    """A deliverer on its topics, ready to run until `stop` is set; it has left its group in good order when this is closed.

    From here on the process ends by itself where it makes no progress. Raises SettingsError without the sections stream and deliver, PluginError
    where the sink cannot be used, StreamError where Kafka cannot be.
    """
    from moderation.sink.runner import SinkRunner
    from moderation.stream.deliver import Deliverer
    from moderation.stream.deliver_lane import Lane, Pauses
    from moderation.stream.deliver_metrics import DeliverGauges, DeliverMetrics
    from moderation.stream.deliver_record import Letters
    from moderation.stream.liveness import watch
    from moderation.stream.metrics import MeteredSession, Metrics
    from moderation.stream.probe import Health, serve
    from moderation.stream.session import Session

    own, stream = deliver_settings(settings), assemble.stream_settings(settings)
    metrics, health = Metrics(), Health(limit=stream.stall_seconds, stopping=stop.is_set)
    with ExitStack() as stack:
        if own.probe:
            stack.enter_context(serve(own.probe, metrics.registry, health))
        known = stack.enter_context(closing(assemble.plugins(settings)))
        runner = SinkRunner(sink(settings, known=known), own)
        breaker = Breaker(
            first_delay=own.pause_seconds, last_delay=own.longest_pause_seconds, name=f"the sink {own.sink!r}"
        )
        topic = assemble.dead_letter_topic(settings)
        outputs = tuple(sorted({topic, *stream.outputs}))
        session = stack.enter_context(Session(stream.model_copy(update={"outputs": outputs})))
        watch(session.progress, stream.stall_seconds)
        metered = MeteredSession(session, metrics)
        metrics.registry.register(DeliverGauges(session, metered, runner, breaker))
        health.started(since_progress=session.progress.seconds, joined=lambda: metered.joined)
        yield Deliverer(
            metered,
            runner,
            letters=Letters(topic, by=stream.slot, largest=stream.output_bytes),
            lane=partial(Lane, own.tries, Pauses(own.pause_seconds, own.longest_pause_seconds)),
            breaker=breaker,
            progress=session.progress,
            metrics=DeliverMetrics(metrics),
            actions=own.actions,
            most=own.batch_records,
            stop=stop,
        )
