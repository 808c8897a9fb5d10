"""The true server on a socket, with everything real but the encoder."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from moderation import assemble
from moderation.embedding.cache import MemoryCache
from moderation.embedding.embedder import Embedder
from moderation.item import Modality
from moderation.pipeline import Pipeline
from moderation.policy.lock import Lock
from moderation.sections import ServeSettings
from moderation.server.app import make_app
from moderation.server.batcher import Batcher
from moderation.server.costs import SIZES, Costs, Kind
from moderation.server.edge import App
from moderation.server.listen import bound, make_server
from moderation.server.metrics import ServerMetrics
from moderation.server.posts import Served
from moderation.server.service import Service
from moderation.settings import Settings
from tests.fakes import ACTIONS, FakeEncoder, FakeReader, lock, plugins_with

BOTH = (Modality.IMAGE, Modality.TEXT)


@dataclass(frozen=True, slots=True)
class Place:
    """A server that runs, and what is inside."""

    url: str
    service: Service
    pipeline: Pipeline
    app: App


@contextmanager
def serving(
    *locks: Lock,
    encoder: FakeEncoder | None = None,
    live: bool = True,
    keys: Mapping[str, Mapping[str, Any]] | None = None,
    readers: Sequence[FakeReader] = (),
    seconds: float = 0.001,
    costs: Mapping[Kind, Mapping[int, float]] | None = None,
    batcher: Mapping[str, Any] | None = None,
    cache_bytes: int = 10**7,
    **settings: Any,
) -> Iterator[Place]:
    """Answers until this is closed. `seconds` is what a batch is thought to cost, or `costs` say so; `settings` are of the section serve."""
    locks = locks or (lock(modalities=BOTH), lock("drugs", modalities=BOTH))
    own = ServeSettings.model_validate({"locks": ("x.lock.json",), "port": 0, "keys": keys or {}, **settings})
    near = MemoryCache(cache_bytes)
    embedders = {"default": Embedder(encoder or FakeEncoder(), near)}
    known = plugins_with(readers=tuple(readers))
    of: dict[frozenset[str], Pipeline] = {}

    def pipeline(caller: str) -> Pipeline:
        policies = own.keys[caller].policies if caller in own.keys else None
        chosen = frozenset(one.policy for one in locks if policies is None or one.policy in policies)
        if chosen not in of:
            under = [one for one in locks if one.policy in chosen]
            use = Settings.model_validate({"readers": {"use": tuple(one.id for one in readers)}})
            of[chosen] = made = assemble.pipeline(use, under, embedders=dict(embedders), known=known)
            if live:
                _make_live(made)
        return of[chosen]

    table = costs or {Kind("default", modality): dict.fromkeys(SIZES, seconds) for modality in BOTH}
    weights = {name: one.weight for name, one in own.keys.items()}
    waiting = Batcher(embedders, Costs(table), near=near, weights=weights, **(batcher or {}))
    service = Service(pipeline, waiting)
    app = make_app(Served(service, own, ACTIONS, ServerMetrics(waiting, lambda: service.stuck)))
    try:
        with listening(app, own) as url:
            yield Place(url, service, pipeline(""), app)
    finally:
        service.close()


@contextmanager
def listening(app: App, own: ServeSettings) -> Iterator[str]:
    """The address at which an app answers until this is closed."""
    server = make_server(app, own)
    with bound(own) as taken:
        taken.listen(128)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{taken.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def _make_live(made: Pipeline) -> None:
    from dataclasses import replace

    policies = tuple(replace(one, terms=replace(one.terms, status="live")) for one in made.running.policies)
    made.running = replace(made.running, policies=policies)
