"""Files of TLS that cannot be used: said at once, by key and path, before any broker is asked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from moderation.errors import SettingsError
from moderation.sections import KafkaSettings, StreamSettings
from moderation.stream.credentials import opening


def settings(tls: dict[str, Any]) -> StreamSettings:
    kafka = KafkaSettings.model_validate({"bootstrap": ("127.0.0.1:9",), "tls": tls})
    return StreamSettings(kafka=kafka, inputs=("in",), group="g", slot="a")


@pytest.mark.parametrize("key", ["ca_file", "certificate_file", "key_file"])
def test_a_file_that_cannot_be_read_is_named_with_its_key(tmp_path: Path, key: str) -> None:
    gone = tmp_path / "gone.pem"
    told = f"settings: stream.kafka.tls.{key}: cannot read {gone}: No such file or directory"
    with pytest.raises(SettingsError, match=re.escape(told)), opening("open", settings({key: str(gone)})):
        pytest.fail("a client was opened")


@pytest.mark.parametrize("key", ["ca_file", "certificate_file"])
def test_a_file_that_holds_no_certificate_is_refused(tmp_path: Path, key: str) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("a-secret-word")
    told = rf"settings: stream\.kafka\.tls\.{key}: .*{re.escape(str(wrong))}.*PEM"
    with pytest.raises(SettingsError, match=told), opening("open", settings({key: str(wrong)})):
        pytest.fail("a client was opened")
