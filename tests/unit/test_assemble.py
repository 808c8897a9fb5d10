"""Building from settings: the right encoder for each name, one cache, refusals that name what is missing."""

from __future__ import annotations

import sys
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from moderation import assemble
from moderation.detector.isolated import IsolatedDetector
from moderation.detector.wire import Description
from moderation.embedding.cache import MemoryCache
from moderation.embedding.embedder import Embedder
from moderation.errors import ExitCode, ItemError, PluginError, SettingsError
from moderation.item import Modality
from moderation.pipeline import Pipeline
from moderation.plugin.brought import Plugins
from moderation.plugin.registry import EncoderRequest, FetcherRequest
from moderation.plugin_sections import DetectorSettings, PluginSettings, ReaderSettings
from moderation.policy.lock import lock_path, write_lock
from moderation.rollout.reload import Reloader
from moderation.sections import FetchSettings
from moderation.settings import EncoderSettings, ImageLimits, Settings
from tests.fakes import FakeDetector, FakeEncoder, FakeReader, Lived, item, lock, picture, plugins_with

SETTINGS = Settings(
    encoders={"default": EncoderSettings(loader="fake", checkpoint="here"), "other": EncoderSettings(loader="absent")},
    images=ImageLimits(max_bytes=77),
    detectors=DetectorSettings(faults_before_quarantine=1),
)


def known(requests: list[EncoderRequest]) -> Plugins:
    def load(request: EncoderRequest) -> FakeEncoder:
        requests.append(request)
        return FakeEncoder()

    return Plugins((), plugins_with().detectors, {"fake": load})


def test_a_loader_is_asked_with_the_settings_and_the_limits() -> None:
    requests: list[EncoderRequest] = []
    encoder = assemble.encoder(SETTINGS, known=known(requests))
    assert isinstance(encoder, FakeEncoder)
    assert requests == [EncoderRequest(SETTINGS.encoders["default"], ImageLimits(max_bytes=77))]


def test_an_unknown_encoder_or_loader_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match="no encoder is named 'nonsense'; expected one of default, text, other"):
        assemble.encoder(SETTINGS, "nonsense", known=known([]))
    with pytest.raises(PluginError, match="encoder 'other' of the settings needs the encoder loader 'absent'"):
        assemble.embedder(SETTINGS, "other", known=known([]))


def test_a_pipeline_comes_from_lock_files_and_keeps_the_embedders_it_loads(tmp_path: Path) -> None:
    path = lock_path(tmp_path, "weapons")
    write_lock(lock(), path)
    requests: list[EncoderRequest] = []
    embedders: dict[str, Embedder] = {}
    for _ in range(2):
        pipeline = assemble.pipeline(SETTINGS, [path], embedders=embedders, known=known(requests))
        assert pipeline.decide([item(picture(0.95))])[0].proposed == "remove"
    assert (len(requests), list(embedders)) == (1, ["default"])
    assert pipeline.decide([item(picture(0.95))])[0].cache_hit


def test_the_policies_own_detectors_are_trusted_and_plugins_are_not() -> None:
    detector = FakeDetector(answer=lambda _: 1 / 0)
    pipeline = assemble.pipeline(
        SETTINGS,
        [lock(detectors=("fake",))],
        embedders={"default": assemble.embedder(SETTINGS, known=known([]))},
        known=plugins_with(detector),
    )
    assert {id_: one.trusted for id_, one in pipeline.running.detectors.items()} == {"weapons": True, "fake": False}
    found = [pipeline.decide([item(picture(0.1))])[0].verdicts[0].error for _ in range(2)]
    assert found == ["detector_error", "quarantined"]  # the settings' limit of one fault is in force


def test_the_settings_choose_the_plugins() -> None:
    plugins = assemble.plugins(Settings(plugins=PluginSettings(only=())))
    assert [one.id for one in plugins.records if one.state == "loaded"] == ["builtin"]


def test_who_is_to_run_apart_must_be_there() -> None:
    with pytest.raises(SettingsError, match=r"plugins\.isolated: no plugin 'nobody' is installed"):
        assemble.plugins(Settings(plugins=PluginSettings(only=(), isolated=("nobody",))))


def test_isolated_detectors_have_started_before_the_first_batch() -> None:
    described = Description("fake", ("risk",), frozenset(Modality), needs_embeddings=False)
    detector = IsolatedDetector(described, [sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(
        PluginError, match=r"policy 'weapons' needs the detector 'fake', .*: its process ended with exit_3"
    ):
        assemble.pipeline(
            SETTINGS,
            [lock(detectors=("fake",))],
            embedders={"default": assemble.embedder(SETTINGS, known=known([]))},
            known=plugins_with(detector),
        )
    assert detector.starts == 1


def test_a_detector_that_is_set_up_is_not_set_up_again_by_a_reload_and_a_failed_one_leaves_the_old_build(
    tmp_path: Path,
) -> None:
    good, bad = Lived("good"), Lived("bad", setup=OSError("no index"))
    brought, embedders = plugins_with(good, bad), {"default": assemble.embedder(SETTINGS, known=known([]))}
    path = lock_path(tmp_path, "weapons")
    write_lock(lock(detectors=("good",)), path)
    build = partial(assemble.pipeline, SETTINGS, [path], embedders=embedders, known=brought)
    with closing(Reloader(build, [path], seconds=1000.0)) as builds:
        first = builds.current()
        write_lock(lock(detectors=("bad", "good")), path)
        builds.look(), builds.look()
        assert (builds.current(), builds.refusals) == (first, 1)
        bad.raised = {}
        write_lock(lock(detectors=("bad", "good"), version="2.0.0"), path)
        builds.look(), builds.look()
        assert (builds.current() is first, builds.reloads) == (False, 1)
    brought.close()
    assert good.called == ["setup", "verify", "close"]
    assert bad.called == ["setup", "setup", "verify", "close"]


def test_a_plugin_that_cannot_be_set_up_ends_a_start_as_a_broken_one_does() -> None:
    with pytest.raises(PluginError) as refused:
        assemble.pipeline(
            SETTINGS,
            [lock(detectors=("bad",))],
            embedders={"default": assemble.embedder(SETTINGS, known=known([]))},
            known=plugins_with(Lived("bad", setup=OSError("no index"))),
        )
    assert refused.value.exit_code == ExitCode.PLUGIN
    assert "setup failed: OSError: no index" in str(refused.value)


def test_readers_that_the_settings_put_in_force_are_set_up_and_unknown_ones_end_the_start() -> None:
    def run(*readers: FakeReader, use: str) -> Pipeline:
        settings = Settings(readers=ReaderSettings(use=(use,)))
        embedders = {"default": assemble.embedder(SETTINGS, known=known([]))}
        return assemble.pipeline(settings, [lock()], embedders=embedders, known=plugins_with(readers=readers))

    good, bad = FakeReader("ocr"), FakeReader("bad")
    called: list[str] = []
    good.setup, bad.verify = lambda: called.append("setup"), lambda: 1 / 0  # type: ignore[attr-defined]
    assert run(good, bad, use="ocr").decide([item(picture(0.1))])[0].proposed == "allow"
    assert (called, len(good.batches), bad.batches) == (["setup"], 1, [])
    with pytest.raises(
        PluginError,
        match=r"the setting readers\.use needs the reader 'ocrr', which no plugin provides; did you mean 'ocr'",
    ):
        run(good, use="ocrr")
    with pytest.raises(
        PluginError, match=r"readers\.use needs the reader 'bad', which cannot be set up: verify failed"
    ):
        run(good, bad, use="bad")


def test_an_empty_cache_is_shared_all_the_same() -> None:
    cache = MemoryCache(1000)
    first, second = (assemble.embedder(SETTINGS, known=known([]), cache=cache) for _ in range(2))
    embedded = first.embed([picture(0.95)]), second.embed([picture(0.95)])
    assert [list(one.hits) for one in embedded] == [[False], [True]]


def test_references_are_fetched_by_the_schemes_that_have_a_section() -> None:
    class Fixed:
        def fetch(self, reference: str) -> bytes:
            return reference.encode()

    requests: list[FetcherRequest] = []
    section = FetchSettings(hosts=("box",))
    brought = Plugins((), fetchers={"shelf": lambda request: requests.append(request) or Fixed(), "other": len})  # type: ignore[dict-item,func-returns-value]
    found = assemble.references(Settings(fetch={"shelf": section}), known=brought)
    assert found.fetch("shelf://box/a") == b"shelf://box/a"
    assert requests == [FetcherRequest("shelf", section)]
    with pytest.raises(ItemError, match="known: shelf"):
        found.fetch("other://box/a")
    with pytest.raises(PluginError, match=r"the section fetch\.absent of the settings needs the fetcher 'absent'"):
        assemble.references(Settings(fetch={"absent": section}), known=brought)
