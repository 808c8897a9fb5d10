"""The server's app on Ray Serve: as many replicas as the load asks for, each with an encoder and a queue of its own."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from moderation.errors import ClusterError, SettingsError
from moderation.scaleout.cluster import QUIET
from moderation.server.edge import App, Message, Receive, Send

NAME = "moderation"
WAITING = 16.0  # requests that one replica should have in work: half a batch, so that nobody waits for two
_MOST = 2048  # requests at one replica: more than its own queue lets in, so that it refuses and not Serve
_PATIENCE = 30.0  # seconds in which answers are finished once a replica is told to stop
_METRICS = 5.0  # seconds for every replica to tell its metrics


class Replica:
    """One replica: the app as `moderation serve` has it, from the same settings file."""

    def __init__(self, config: str, threads: int) -> None:
        if threads:
            os.environ["OMP_NUM_THREADS"] = str(threads)  # before torch is imported, which reads it once
        from moderation import telemetry
        from moderation.assemble_serve import serve_settings, server
        from moderation.settings import load_settings

        settings = load_settings(Path(config))
        telemetry.start(serve_settings(settings).log)
        self._open = ExitStack()
        self._own = self._open.enter_context(server(settings, folder=Path(config).parent, file=Path(config)))

    def __serve_build_asgi_app__(self) -> App:
        """The app, as Serve asks for it."""
        return _Together(self._own)

    async def check_health(self) -> None:
        """Raises where a thread gets nowhere, and names it; Serve then starts another replica in its place."""
        status, body = await _asked(self._own, "/healthz")
        if status != 200:
            raise ClusterError(f"a replica is {json.loads(body)['state']}")

    async def exposition(self) -> tuple[str, str]:
        """The name of this replica, and what it tells Prometheus."""
        from ray import serve

        _, body = await _asked(self._own, "/metrics")
        return serve.get_replica_context().replica_id.unique_id, body.decode()

    def __del__(self) -> None:
        """What was begun is finished before the encoder goes."""
        getattr(self, "_open", ExitStack()).close()


def application(
    config: Path, *, least: int = 1, most: int = 8, cores: int = 4, gpus: float = 0.0, **autoscaling: Any
) -> Any:
    """The Ray Serve application of a settings file with the section serve, which every machine must see under this name.

    Between `least` and `most` replicas, each on so many `cores`, or on `gpus` of a GPU; `autoscaling` are further fields of Serve's own.
    Raises SettingsError without the section serve, and without keys: whoever reaches a proxy of Serve reaches the app.
    """
    from moderation.assemble_serve import serve_settings
    from moderation.settings import load_settings

    if not serve_settings(load_settings(config)).keys:
        raise SettingsError(
            "settings: serve.keys: none; on Ray Serve expected at least one, since its proxies listen to other machines"
        )
    for name, value in QUIET.items():  # for good: Ray reads them when whoever runs the application starts it
        os.environ.setdefault(name, value)
    from ray import serve

    deployment = serve.deployment(
        serve.ingress()(Replica),
        name=NAME,
        autoscaling_config={
            "min_replicas": least,
            "max_replicas": most,
            "target_ongoing_requests": WAITING,
            **autoscaling,
        },
        ray_actor_options={"num_cpus": cores, "num_gpus": gpus},
        max_ongoing_requests=_MOST,
        graceful_shutdown_timeout_s=_PATIENCE,
        logging_config={"log_level": "WARNING", "enable_access_log": False},
    )
    return deployment.bind(str(config.resolve()), 0 if gpus else cores)


class _Together:
    """The app of one replica, whose metrics are those of all replicas: a scrape reaches one of them by chance."""

    def __init__(self, own: App) -> None:
        self._own = own

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] == "http" and scope["path"] == "/metrics":
            await _answer(await _all_metrics(), send)
            return

        async def once(message: Message) -> None:
            """Serve names the request itself."""
            if message["type"] == "http.response.start":
                headers = [one for one in message["headers"] if one[0] != b"x-request-id"]
                message = {**message, "headers": headers}
            await send(message)

        await self._own(scope, receive, once)


async def _live(receive: Receive, send: Send) -> None:
    """Serve asks when it may begin, and when all is over; ours was made ready before."""
    for step in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{step}.complete"})


async def _all_metrics() -> bytes:
    from ray import serve

    from moderation.server.metrics import joined

    name = serve.get_replica_context().app_name
    told = serve.get_deployment_handle(NAME, app_name=name).broadcast("exposition")
    found = await told.results_async(timeout_s=_METRICS, return_exceptions=True)
    return joined(dict(one for one in found if not isinstance(one, BaseException)), label="replica")


async def _answer(body: bytes, send: Send) -> None:
    headers = [(b"content-type", b"text/plain; version=0.0.4; charset=utf-8"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _asked(app: App, path: str) -> tuple[int, bytes]:
    """What the app answers to a GET of one of its open routes."""
    status, body = 0, b""

    async def receive() -> Message:
        await asyncio.Event().wait()  # nothing more comes, and nobody goes away
        return {"type": "http.disconnect"}

    async def send(message: Mapping[str, Any]) -> None:
        nonlocal status, body
        status = message.get("status", status)
        body += message.get("body", b"")

    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
             "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": []}  # fmt: skip
    await app(scope, receive, send)
    return status, body
