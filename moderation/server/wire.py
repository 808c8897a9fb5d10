"""What is asked over HTTP and what is answered, in OpenAI's shapes where they have one. Unknown keys are refused, as they might hold what nobody judged."""

from __future__ import annotations

import base64
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, WithJsonSchema

from moderation.encoder.base import Vectors
from moderation.errors import ItemError
from moderation.item import Part, unfetchable
from moderation.item_json import MOST_PARTS, from_base64, refused
from moderation.server.errors import ApiError, api_error

_DATA_URL = re.compile(r"data:image/[a-zA-Z0-9.+-]+;base64,")
TEXT_CHARACTERS = 1_000_000  # of one text

# What is told of a picture and of an item, for clients and their tests; `image_of` and `item_of` are what reads them.
_BASE64 = "([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
_PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)
_STRING = {"type": "string"}
_BYTES = {"type": "string", "pattern": f"^{_BASE64}$", "contentEncoding": "base64"}
_CONTENTS = {"text": _STRING, "image": _BYTES, "video": _BYTES}
_PART = {
    "type": "object",
    "properties": {**_CONTENTS, "name": _STRING},
    "additionalProperties": False,
    "oneOf": [{"required": [one]} for one in _CONTENTS],
}
_ITEM = {
    "type": "object",
    "properties": {
        **_CONTENTS,
        "parts": {"type": "array", "items": _PART, "minItems": 1, "maxItems": MOST_PARTS},
        "id": {"type": "string", "minLength": 1},
        "attributes": {"type": "object", "additionalProperties": _STRING},
    },
    "additionalProperties": False,
    "oneOf": [{"required": [one]} for one in (*_CONTENTS, "parts")],
}


class Body(BaseModel):
    """A request."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


ShortText = Annotated[str, Field(max_length=TEXT_CHARACTERS)]


class TextPart(Body):
    """A text among parts."""

    type: Literal["text"]
    text: ShortText


DataUrl = Annotated[str, Field(json_schema_extra={"pattern": rf"^{_DATA_URL.pattern}{_BASE64}$"})]


class ImageUrl(Body):
    """Where a picture is: in a data URL."""

    url: DataUrl
    detail: str | None = None


class ImagePart(Body):
    """A picture among parts."""

    type: Literal["image_url"]
    image_url: ImageUrl


PART_KINDS = ("text", "image_url")

# The first thing wrong ends it: a list of a million wrong things is otherwise a million errors.
Parts = Annotated[
    list[Annotated[TextPart | ImagePart, Field(discriminator="type")]],
    Field(min_length=1, max_length=MOST_PARTS, fail_fast=True),
]
Texts = Annotated[list[ShortText], Field(min_length=1, fail_fast=True)]


def _form(value: Any) -> str | None:
    """Which form an input has, by its first entry; None where it is none of them."""
    if isinstance(value, str):
        return "(text)"
    if not isinstance(value, list):
        return None
    first = value[0] if value else ""
    kinds = {
        str: "(texts)",
        dict: "(parts)",
        int: "(tokens)",
        list: "(token_lists)",
    }  # in brackets: in no error's place
    return next((form for kind, form in kinds.items() if type(first) is kind), None)


def _one_of(expected: str) -> Discriminator:
    """Tells forms of an input apart, so that what is wrong is told of the one that was meant."""
    return Discriminator(_form, custom_error_type="input_form", custom_error_message=f"expected {expected}")


class ModerationRequest(Body):
    """A text, several texts (each an item), or parts of one item."""

    input: Annotated[
        Annotated[ShortText, Tag("(text)")] | Annotated[Texts, Tag("(texts)")] | Annotated[Parts, Tag("(parts)")],
        _one_of("a text, a list of texts, or a list of parts"),
    ]
    model: str | None = None

    model_config = ConfigDict(json_schema_extra={"examples": [{"input": "a text to judge"}]})


Encoding = Literal["float", "base64"] | None  # numbers where none is named; LiteLLM sends null then
Tokens = Annotated[list[int], Field(min_length=1, fail_fast=True)]


class EmbeddingRequest(Body):
    """A text, several, or parts (each a row); with `modality` "image" the texts are data URLs, as Infinity's clients send them."""

    input: Annotated[
        Annotated[ShortText, Tag("(text)")]
        | Annotated[Texts, Tag("(texts)")]
        | Annotated[Parts, Tag("(parts)")]
        | Annotated[Tokens, Tag("(tokens)")]
        | Annotated[list[Tokens], Field(fail_fast=True), Tag("(token_lists)")],
        _one_of("a text, a list of texts, or a list of parts"),
    ]
    model: str | None = None
    encoding_format: Encoding = None
    dimensions: int | None = None
    user: str | None = None
    modality: Literal["text", "image"] = "text"

    model_config = ConfigDict(json_schema_extra={"examples": [{"input": ["a dog", "a cat"], "model": "default"}]})


class ChatMessage(Body):
    """A message whose parts are to be embedded, as vLLM's clients send them."""

    role: str = "user"
    content: ShortText | Parts


class ChatEmbeddingRequest(Body):
    """vLLM's form: the parts of one message, each a row. What its clients say of a chat template is of no effect: there is none."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=1)]
    model: str | None = None
    encoding_format: Encoding = None
    dimensions: int | None = None
    user: str | None = None
    add_special_tokens: bool | None = None
    continue_final_message: bool | None = None


# Which form is meant is told by a key, so that what is wrong is told of that one.
EmbeddingForms = Annotated[
    Annotated[EmbeddingRequest, Tag("(input)")] | Annotated[ChatEmbeddingRequest, Tag("(messages)")],
    Discriminator(lambda body: "(messages)" if isinstance(body, dict) and "messages" in body else "(input)"),
]


class DecisionRequest(Body):
    """Items as JSON on a stream states them: an id, one of text, image (base64) and parts, and attributes."""

    items: Annotated[list[Annotated[dict[str, Any], WithJsonSchema(_ITEM)]], Field(min_length=1, fail_fast=True)]

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"items": [{"id": "1", "text": "a text to judge", "attributes": {}}]}]}
    )


class ClassifyRequest(Body):
    """Which of these texts each picture is nearest to; no policy is asked."""

    texts: Texts
    images: Annotated[list[DataUrl], Field(min_length=1, fail_fast=True)]
    model: str | None = None

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"texts": ["a photo of a dog", "a photo of a cat"], "images": [_PICTURE]}]}
    )


def part_of(one: TextPart | ImagePart, place: str) -> Part:
    """The part that it states. Raises ApiError where a picture is not in a data URL."""
    return text_of(one.text, place) if isinstance(one, TextPart) else image_of(one.image_url.url, place)


def text_of(text: str, place: str) -> Part:
    """A text that can be written as UTF-8."""
    try:
        return Part.text(text)
    except UnicodeEncodeError:
        raise api_error(refused("not_utf8", f"{place}: half a surrogate pair"), param=place) from None


def image_of(url: str, place: str) -> Part:
    """The picture in a data URL. Raises ApiError that names the place for any other: nothing is fetched here."""
    head = _DATA_URL.match(url)
    if not head:
        told = f"unfetchable: {place}: expected a data URL of an image in base64; nothing is fetched"
        raise ApiError(400, "not_a_data_url", told, param=place)
    try:
        return Part.image(from_base64(url[head.end() :], place))
    except ItemError as error:
        raise api_error(error, param=place) from None


def nothing_fetched(_: str) -> bytes:
    """What becomes of a reference: it raises ItemError, whatever the settings say of fetching."""
    raise unfetchable(
        "no_fetcher", "a part is a reference; nothing is fetched here: send the picture itself, as image in base64"
    )


def parts_of(given: Any, field: str = "input", *, pictures: bool = False) -> list[Part]:
    """The parts of an input, in order: a text, several, or parts; with `pictures` texts are data URLs. Raises ApiError that names the place of a picture in none."""
    ones = [given] if isinstance(given, str) else given
    return [
        part_of(one, place) if not isinstance(one, str) else image_of(one, place) if pictures else text_of(one, place)
        for one, place in ((one, f"{field}.{at}") for at, one in enumerate(ones))
    ]


def embedded_parts(body: EmbeddingRequest | ChatEmbeddingRequest, field: str) -> list[Part]:
    """The parts whose vectors are asked for, in order, which stand in this field. Raises ApiError for tokens, and for a picture that is in no data URL."""
    given: Any = body.messages[0].content if isinstance(body, ChatEmbeddingRequest) else body.input
    if not isinstance(given, str) and any(isinstance(one, int | list) for one in given):
        raise ApiError(400, "unsupported_tokens", "expected text; tokens are another tokenizer's", param="input")
    return parts_of(given, field, pictures=isinstance(body, EmbeddingRequest) and body.modality == "image")


def written(vector: Vectors, encoding: Encoding) -> list[float] | str:
    """A vector as numbers, or as base64 of little-endian float32, which clients ask for by default."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode() if encoding == "base64" else vector.tolist()
