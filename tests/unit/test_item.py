from __future__ import annotations

from pathlib import Path

import pytest

from moderation import ContentItem, Modality, Part
from moderation.item import content_digest, modality_of


def test_parts_know_their_modality_and_digest() -> None:
    picture, text = Part.image(b"bytes"), Part.text("grüße")
    assert (picture.modality, text.modality) == (Modality.IMAGE, Modality.TEXT)
    assert text.content.decode() == "grüße"
    assert picture.digest == content_digest(b"bytes")
    # FIPS 180-2's own example of SHA-256.
    assert content_digest(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        ("a.txt", "text"),
        ("NOTE.TXT", "text"),
        ("a.jpg", "image"),
        ("B.PNG", "image"),
        ("txt", "image"),
        ("a.txt.gif", "image"),
    ],
)
def test_a_file_is_read_as_its_name_says_in_any_case(name: str, modality: str) -> None:
    assert modality_of(Path(name)) == modality


def test_content_never_shows_in_a_repr() -> None:
    assert "canary" not in repr(ContentItem("a", (Part.text("canary"),)))


@pytest.mark.parametrize(("item_id", "parts"), [("", (Part.text("x"),)), ("a", ())])
def test_an_item_needs_an_id_and_a_part(item_id: str, parts: tuple[Part, ...]) -> None:
    with pytest.raises(ValueError, match=r"id|parts"):
        ContentItem(item_id, parts)
