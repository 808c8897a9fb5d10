"""What is wrong with an item in JSON is told so that its sender can mend it, and what might be content is not repeated."""

from __future__ import annotations

from typing import Any

import pytest

from moderation.errors import ItemError
from moderation.item_json import item_of

SECRET = "zebra-content"


def told(body: dict[str, Any]) -> str:
    with pytest.raises(ItemError) as refused:
        item_of(body, "a", None)
    assert refused.value.cause == "unknown_key"
    return str(refused.value)


@pytest.mark.parametrize(
    ("key", "meant"),
    [("txet", "text"), ("Text", "text"), ("images", "image"), ("atributes", "attributes"), ("refrence", "reference")],
)
def test_a_key_that_is_nearly_one_is_named_with_the_one_that_was_meant(key: str, meant: str) -> None:
    assert told({key: SECRET}).endswith(f"; {key!r}: did you mean {meant!r}?")


def test_so_is_a_parts() -> None:
    assert told({"parts": [{"text": "a", "nmae": SECRET}]}).endswith("; 'nmae': did you mean 'name'?")


def test_a_path_is_explained() -> None:
    assert "path is for files of a scan, here expected the content itself" in told({"path": SECRET})


@pytest.mark.parametrize("key", [SECRET, "text" * 100_000, "xyzzy", ""])
def test_any_other_key_may_be_content_and_is_not_repeated(key: str) -> None:
    assert told({key: 1, "text": "a"}).endswith(
        "the item has a key beside attributes, id, image, parts, reference, text, video"
    )
