"""What docs/ tells people to type can be typed: configurations are read as ours, and links lead somewhere."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest

from moderation import assemble
from moderation.errors import ItemError
from moderation.settings import load_settings
from moderation.stream.batch import Partition, Record
from moderation.stream.envelope import read_item
from moderation.stream.letters import MARK, Place, marker
from moderation.training.config import PairRun, read_config
from tests.conftest import ROOT

DOCS = sorted((ROOT / "docs").glob("*.md"))
TRAIN = (ROOT / "docs" / "train.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("toml", re.findall(r"^```toml\n(.*?)^```", TRAIN, re.DOTALL | re.MULTILINE))
def test_a_configuration_is_one(toml: str, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(toml, encoding="utf-8")
    assert isinstance(read_config(file), PairRun)


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_what_a_page_links_exists(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    assert [one for one in targets if not (page.parent / one).exists()] == []


def test_what_may_be_fetched_is_set_as_the_page_says(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "stream.md").read_text(encoding="utf-8")
    (toml,) = re.findall(r"^(\[fetch\.https\]\n.*?)^```", page, re.DOTALL | re.MULTILINE)
    (variable,) = re.findall(r"`?(MODERATION_FETCH__\w+)", page)
    file = tmp_path / "worker.toml"
    file.write_text(toml, encoding="utf-8")
    settings = load_settings(file, environ={variable: "hidden"})
    assert set(settings.fetch) == {"https", "s3"}
    assert assemble.references(settings)


def test_the_pages_worker_has_room_for_tls_and_a_password(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "stream.md").read_text(encoding="utf-8")
    worker, secured, *_ = re.findall(r"^```toml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (variable,) = re.findall(r"`(MODERATION_STREAM__\w+)`", page)
    file = tmp_path / "worker.toml"
    file.write_text(worker + secured, encoding="utf-8")
    stream = load_settings(file, environ={variable: "hidden"}).stream
    assert stream
    assert stream.kafka.tls
    assert stream.kafka.sasl


def test_an_action_of_osprey_is_read_as_the_page_says(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "stream.md").read_text(encoding="utf-8")
    told = page.partition("### Osprey's actions")[2]
    toml, action = re.findall(r"^```(?:toml|json)\n(.*?)^```", told, re.DOTALL | re.MULTILINE)[:2]
    file = tmp_path / "worker.toml"
    file.write_text(f'{toml}locks = ["a.lock.json"]\ndecisions = "out"\n', encoding="utf-8")
    own = load_settings(file, environ={}).worker
    assert own
    record = Record(Partition("in", 0), 5, 0, None, action.encode(), (), len(action))
    read = partial(read_item, osprey_texts=own.osprey_texts, osprey_images=own.osprey_images)
    found = read(record)
    assert found
    assert (found.id, found.attributes) == ("17", {"action_name": "create_post"})
    assert [(one.name, one.modality) for one in found.parts] == [("post.text", "text"), ("avatar", "image")]
    for other, cause in (
        ('{"text": "plain"}', "osprey"),
        (action.replace("post", "poem").replace("avatar", "x"), "no_content"),
    ):
        with pytest.raises(ItemError) as caught:
            read(record._replace(value=other.encode()))
        assert caught.value.cause == cause


def test_the_header_of_a_marker_is_told_to_other_readers() -> None:
    page = (ROOT / "docs" / "stream.md").read_text(encoding="utf-8")
    made = marker(Place(0, 17), "items.dlq")
    assert (made.value, made.key, made.headers) == (b"", b"0:17", ((MARK, b"0:17"),))
    assert f"header `{MARK}`" in page


def test_every_cause_of_a_failed_fetch_is_told() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "moderation").rglob("*.py"))
    causes = set(re.findall(r'(?:unfetchable|PassingError)\(\s*"(\w+)"', code))
    client = (ROOT / "moderation" / "fetcher" / "http.py").read_text(encoding="utf-8")
    causes |= set(re.findall(r'(?:\d{3}:|get\(status,) "(\w+)"', client))
    page = (ROOT / "docs" / "stream.md").read_text(encoding="utf-8")
    (told,) = re.findall(r"Causes: (.*?)\. A network policy", page, re.DOTALL)
    assert set(re.findall(r"`([a-z]+_?\w*)`", told)) == causes


def test_every_fault_of_the_table_has_its_test_and_every_full_form_its_line() -> None:
    page = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "integration").rglob("test_*.py"))
    stream = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "integration" / "stream").glob("test_*.py")
    )
    named = set(re.findall(r"`(test_\w+)`", page))
    assert named <= set(re.findall(r"^def (test_\w+)", code, re.MULTILINE))
    assert set(re.findall(r"^@forms\(.*\)\ndef (test_\w+)", stream, re.MULTILINE)) <= named
