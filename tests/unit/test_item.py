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


@pytest.mark.parametrize("name", ["note.txt", "NOTE.TXT", "Note.Txt"])
def test_a_txt_file_is_text_however_its_name_is_written(name: str) -> None:
    assert modality_of(Path(name)) is Modality.TEXT
    part = Part.from_file(Path(name), b"\xef\xbb\xbfhello")
    assert (part.modality, part.content) == (Modality.TEXT, b"hello")


@pytest.mark.parametrize("name", ["a.png", "A.PNG", "B.JPG", "c.Jpeg", "txt", "note.txt.png"])
def test_every_other_file_is_a_picture(name: str) -> None:
    assert Part.from_file(Path(name), b"\xef\xbb\xbf") == Part.image(b"\xef\xbb\xbf")


def test_content_never_shows_in_a_repr() -> None:
    assert "canary" not in repr(ContentItem("a", (Part.text("canary"),)))


@pytest.mark.parametrize(("item_id", "parts"), [("", (Part.text("x"),)), ("a", ())])
def test_an_item_needs_an_id_and_a_part(item_id: str, parts: tuple[Part, ...]) -> None:
    with pytest.raises(ValueError, match=r"id|parts"):
        ContentItem(item_id, parts)
