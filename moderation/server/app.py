"""The app: the routes that are asked all the time answered directly, and what operators ask by the framework."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from moderation.pipeline import Pipeline
from moderation.server.direct import Direct
from moderation.server.edge import Edge
from moderation.server.handlers import handle_errors
from moderation.server.openapi import document
from moderation.server.posts import OURS_MODEL, POSTS, Post, Served, no_model

_log = logging.getLogger(__name__)


def make_app(served: Served) -> Edge:
    """The ASGI app, behind its checks."""
    app = FastAPI(title="moderation", docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.served = served
    for post in POSTS.values():
        app.post(post.path, name=post.answer.__name__, description=post.answer.__doc__)(_shown(post))
    app.get("/v1/policies")(policies)
    app.get("/v1/models")(models)
    app.get("/v1/models/{name}")(model)
    for path, state in (("/healthz", healthz), ("/readyz", readyz)):
        app.get(path)(state)
        app.head(path, include_in_schema=False)(state)  # as some load balancers ask
    app.get("/metrics")(metrics)
    handle_errors(app)
    app.openapi = partial(document, app)  # type: ignore[method-assign]
    routes = [str(getattr(one, "path", "")) for one in app.routes]
    told, cut = served.metrics.answered, served.metrics.cut
    return Edge(Direct(app, served), served.settings, routes=routes, told=told, cut=cut, keys=served.keys)


def _shown(post: Post) -> Any:
    """A route for the framework's document; what is asked of it, `Direct` answers."""

    async def route(body: Any) -> None:
        raise NotImplementedError

    route.__annotations__["body"] = post.shape
    return route


async def policies(request: Request) -> dict[str, Any]:
    """The policies that decide for this key."""
    pipeline = _pipeline(request)
    return {
        "object": "list",
        "data": [
            {
                "id": one.id,
                "object": "policy",
                "version": one.lock.version,
                "revision": one.terms.revision,
                "status": one.terms.status,
                "severity": one.lock.severity.value,
                "modalities": [modality.value for modality in one.lock.modalities],
                "actions": [action.action for action in one.lock.actions],
                "encoder": one.lock.encoder,
            }
            for one in pipeline.running.policies
        ],
    }


async def models(request: Request) -> dict[str, Any]:
    """What `model` may name: the encoders, and us."""
    return {"object": "list", "data": [_model(one) for one in _models(request)]}


async def model(request: Request, name: str) -> dict[str, Any]:
    """One of these."""
    if name not in _models(request):
        raise no_model(_models(request))
    return _model(name)


async def healthz(request: Request) -> JSONResponse:
    """Whether it should be left running."""
    stuck = ", ".join(dict.fromkeys(_served(request).service.stuck))  # four may decide
    if stuck:
        _log.error("stalled: %s", stuck)
    return JSONResponse({"state": f"stalled: {stuck}" if stuck else "working"}, 503 if stuck else 200)


async def readyz(request: Request) -> JSONResponse:
    """Whether it should be asked."""
    state = _served(request).service.state
    return JSONResponse({"state": state}, 200 if state == "working" else 503)


async def metrics(request: Request) -> Response:
    """For Prometheus."""
    return Response(generate_latest(_served(request).metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _served(request: Request) -> Served:
    served: Served = request.app.state.served
    return served


def _pipeline(request: Request) -> Pipeline:
    return _served(request).service.pipeline(request.state.caller)


def _models(request: Request) -> list[str]:
    """Encoders first: vLLM's clients take the first one for the vectors that they ask for."""
    return [*_served(request).service.batcher.embedders, OURS_MODEL]


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": OURS_MODEL}
