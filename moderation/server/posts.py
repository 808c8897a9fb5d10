"""What is asked all the time: OpenAI's moderations and embeddings, our decisions, zero-shot classification. All that is slow happens elsewhere; here it is awaited."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from pydantic import TypeAdapter
from pydantic_core import to_json

from moderation.decision import LIVE, Decision, Outcome
from moderation.embedding.prepared import content_of
from moderation.embedding.zero_shot import zero_shot
from moderation.encoder.base import Encoder
from moderation.errors import ItemError, OverloadedError
from moderation.item import ContentItem, Modality, Part
from moderation.item_json import item_of
from moderation.pipeline import Pipeline
from moderation.sections import ServeSettings
from moderation.server.errors import ApiError, api_error
from moderation.server.in_force import Keys
from moderation.server.metrics import ServerMetrics
from moderation.server.service import Service
from moderation.server.wire import (
    ChatEmbeddingRequest,
    ClassifyRequest,
    DecisionRequest,
    EmbeddingForms,
    EmbeddingRequest,
    ModerationRequest,
    embedded_parts,
    image_of,
    nothing_fetched,
    parts_of,
    text_of,
    written,
)
from moderation.server.woken import Answered, Woken

OURS_MODEL = "moderation"
ALIASES = ("omni-moderation-", "text-moderation-")  # what clients ask for by default
_NO_NAME = "default/not-specified"  # what Infinity's own client sends where no model is named
_QUICK = 10_000  # characters, whose tokens are counted in less time than it takes to ask another thread
_GRACE = 0.1  # seconds that an answer may be late: the batcher refuses what is later


@dataclass(frozen=True, slots=True)
class Served:
    """What answers: `service` decides, `settings` bound it, `order` names all actions by force, `keys` are those that count now (without it, the settings')."""

    service: Service
    settings: ServeSettings
    order: Sequence[str]
    metrics: ServerMetrics
    woken: Woken = field(default_factory=Woken)
    keys: Callable[[], Keys] | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """Who asks, and until when, by the monotonic clock, an answer is of use, of `whole` seconds that there were."""

    served: Served
    caller: str
    deadline: float
    whole: float

    @property
    def seconds(self) -> float:
        """What is left of its time."""
        return self.deadline - time.monotonic()


@dataclass(frozen=True, slots=True, eq=False)
class Post:
    """One route: the shape of its body, and what answers with the bytes of JSON. Raises ApiError and ModerationError."""

    path: str
    shape: Any
    body: TypeAdapter[Any]
    answer: Callable[[Call, Any], Awaitable[bytes]]


async def moderations(call: Call, body: ModerationRequest) -> bytes:
    """Judge a text, several texts, or the parts of one item by all policies of the key; OpenAI's shape, our policies as categories."""
    served, model = call.served, body.model or OURS_MODEL
    if model != OURS_MODEL and not model.startswith(ALIASES):
        raise no_model([OURS_MODEL])
    id_ = f"modr-{random.getrandbits(128):032x}"
    given = body.input
    _bounded(call, 1 if isinstance(given, str) else len(given))
    parts = tuple(parts_of(given))
    texts = isinstance(given, str) or isinstance(given[0], str)  # an item each, where parts make one
    of_items = [(one,) for one in parts] if texts else [parts]
    items = [ContentItem(f"{id_}-{at}", one, {}) for at, one in enumerate(of_items)]
    del body, given  # it is not held as base64, too, while it waits
    made, pipeline = await _decided(call, items)
    reads = {one.id: {modality.value for modality in one.lock.modalities} for one in pipeline.running.policies}
    results = [_result(served, one, item, reads) for one, item in zip(made, items, strict=True)]
    return to_json({"id": id_, "model": model, "results": results})


async def decisions(call: Call, body: DecisionRequest) -> bytes:
    """Decide items: the same decision record as on the stream, one for each item, in order."""
    items = _items(call, body.items)
    del body
    made, _ = await _decided(call, items)
    return to_json({"decisions": [one.to_dict() for one in made]})


async def embeddings(call: Call, body: EmbeddingRequest | ChatEmbeddingRequest) -> bytes:
    """Vectors of texts or pictures, L2-normalised, in OpenAI's shape (Infinity's and vLLM's forms of pictures, too)."""
    name = _encoder(call, body.model)
    if body.dimensions:  # 0 is what Infinity's own client sends where nobody asks for less
        width = call.served.service.batcher.embedders[name].encoder.card.width
        if body.dimensions != width:
            told = f"vectors cannot be shortened; expected {width}, or none"
            raise ApiError(400, "unsupported_dimensions", told, param="dimensions")
    given: Any = body.input if isinstance(body, EmbeddingRequest) else body.messages[0].content
    field = "input" if isinstance(body, EmbeddingRequest) else "messages.0.content"
    _bounded(call, len(given) if isinstance(given, list) else 1, field)
    parts, form = embedded_parts(body, field), body.encoding_format
    del body, given
    rows = await _vectors(call, name, parts, [f"{field}.{at}" for at in range(len(parts))])
    data = [{"object": "embedding", "index": at, "embedding": written(one, form)} for at, one in enumerate(rows)]
    encoder = call.served.service.batcher.embedders[name].encoder
    texts = [one.content.decode() for one in parts if one.modality is Modality.TEXT]
    count = partial(_tokens, encoder, texts)
    tokens = count() if sum(map(len, texts)) < _QUICK else await asyncio.to_thread(count)
    used = {"prompt_tokens": tokens, "total_tokens": tokens}
    return to_json({"object": "list", "data": data, "model": name, "usage": used})


async def classify(call: Call, body: ClassifyRequest) -> bytes:
    """Zero-shot: how near each picture is to each text, and the softmax of it; no policy is asked, and nothing is certified."""
    name = _encoder(call, body.model)
    _bounded(call, len(body.texts) + len(body.images), "texts")
    texts, images = (
        [f"{field}.{at}" for at in range(len(ones))] for field, ones in (("texts", body.texts), ("images", body.images))
    )
    words, parts = body.texts, [*map(text_of, body.texts, texts), *map(image_of, body.images, images)]
    del body
    rows = np.stack(await _vectors(call, name, parts, [*texts, *images]))
    likenesses = zero_shot(words, words=rows[: len(texts)], pictures=rows[len(texts) :])
    data = [
        {"object": "classification", "index": at, "scores": [one.to_dict() for one in row]}
        for at, row in enumerate(likenesses)
    ]
    return to_json({"object": "list", "model": name, "data": data})


def _result(served: Served, decision: Decision, item: ContentItem, reads: Mapping[str, set[str]]) -> dict[str, Any]:
    """One result in OpenAI's shape, and the whole decision beside it. A policy that erred has no score: it is never 0.

    `reads` are the modalities that each policy reads.
    """
    kinds = {part.modality.value for part in item.parts}
    categories: dict[str, bool] = {}
    scores: dict[str, float] = {}
    applied: dict[str, set[str]] = {}
    for verdict in decision.verdicts:
        for name in (verdict.policy, *served.settings.categories.get(verdict.policy, ())):
            applied[name] = applied.get(name, set()) | (
                kinds & reads[verdict.policy] or kinds
            )  # or what readers derived
            asks = verdict.status == LIVE and verdict.asked is not None and verdict.asked != served.order[0]
            categories[name] = categories.get(name, False) or asks
            if verdict.score is not None and verdict.outcome is not Outcome.ERROR:
                scores[name] = max(scores.get(name, 0.0), verdict.score)
    return {
        "flagged": decision.action != served.order[0],
        "categories": categories,
        "category_scores": scores,
        "category_applied_input_types": {name: sorted(kinds) for name, kinds in applied.items()},
        "judged": bool(decision.verdicts),  # of what is in no policy's scope, nothing is known
        "decision": decision.to_dict(),
    }


def _items(call: Call, given: Sequence[Mapping[str, Any]]) -> list[ContentItem]:
    """The items that they state; raises ApiError naming the first that states none."""
    _bounded(call, len(given), "items")
    items, parts, named = [], 0, f"item-{random.getrandbits(96):024x}"
    for at, one in enumerate(given):
        try:
            items.append(item_of(one, f"{named}-{at}", nothing_fetched))
        except ItemError as error:
            raise api_error(error, param=f"items.{at}") from None
        parts += len(items[-1].parts)
        _bounded(call, parts, "items")
    return items


async def _decided(call: Call, items: Sequence[ContentItem]) -> tuple[list[Decision], Pipeline]:
    """The decisions, and what made them."""
    served = call.served
    job = served.service.decide(items, caller=call.caller, seconds=call.seconds, whole=call.whole)
    try:
        made = await _awaited(call, job.answer)
    except (asyncio.CancelledError, OverloadedError):
        served.service.leave(job)
        raise
    served.metrics.answers.decided(made)
    return made, job.pipeline


async def _vectors(call: Call, name: str, parts: Sequence[Part], places: Sequence[str]) -> list[Any]:
    """A vector of each part; raises ApiError naming the place of the first one that has none."""
    batcher = call.served.service.batcher
    ticket = batcher.ask({name: parts}, caller=call.caller, seconds=call.seconds, whole=call.whole)
    try:
        found = await _awaited(call, ticket.done)
    except (asyncio.CancelledError, OverloadedError):
        batcher.leave(ticket)
        raise
    outcomes = [found[content_of(name, part)] for part in parts]
    for place, one in zip(places, outcomes, strict=True):
        if one.error:
            raise api_error(one.error, param=place)
    return [one.vector for one in outcomes]


def _tokens(encoder: Encoder, texts: Sequence[str]) -> int:
    return sum(map(encoder.count_tokens, texts))


async def _awaited(call: Call, future: Future[Answered]) -> Answered:
    """What comes of it in the call's time; raises CancelledError where the caller goes away, OverloadedError where a device hangs."""
    try:
        return await call.served.woken.result(future, call.seconds + _GRACE)
    except TimeoutError:
        raise OverloadedError("it took longer than was thought", after_seconds=1.0) from None


def _bounded(call: Call, count: int, field: str = "input") -> None:
    most = call.served.settings.most_items
    if count > most:
        raise ApiError(400, "too_many_inputs", f"{count} inputs; expected at most {most}", param=field)


def _encoder(call: Call, name: str | None) -> str:
    known = call.served.service.batcher.embedders
    if name is None or name == _NO_NAME:
        return next(iter(known))
    if name in known:
        return name
    raise no_model(list(known))


def no_model(known: Sequence[str]) -> ApiError:
    """What is answered where `model` names none of the `known`."""
    told = f"there is no such model; expected one of {', '.join(known)}"
    return ApiError(404, "model_not_found", told, param="model")


def _post(path: str, shape: Any, answer: Callable[[Call, Any], Awaitable[bytes]]) -> Post:
    return Post(path, shape, TypeAdapter(shape), answer)


POSTS: Mapping[str, Post] = {
    one.path: one
    for one in (
        _post("/v1/moderations", ModerationRequest, moderations),
        _post("/v1/embeddings", EmbeddingForms, embeddings),
        _post("/v1/decisions", DecisionRequest, decisions),
        _post("/v1/classify", ClassifyRequest, classify),
    )
}
