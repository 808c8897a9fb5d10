"""Plugins as they come: good ones are in force; what is wrong with another is in its record and touches nobody."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moderation import __version__
from moderation.errors import PluginError
from moderation.plugin import manager
from moderation.plugin.brought import PluginRecord, Plugins, PluginState
from moderation.plugin.registry import DetectorRegistry, EncoderRegistry, FetcherRegistry, ReaderRegistry, SinkRegistry

Install = Callable[..., Path]

HEAD = """
from moderation import DetectionBatch, Modality, Score, hookimpl

class One:
    labels = ("risk",)
    modalities = frozenset({Modality.TEXT})
    needs_embeddings = False
    def __init__(self, id):
        self.id = id
    def detect(self, batch):
        return [(Score("risk", 0.5),) for _ in batch.parts]
"""


def registering(*ids: str, after: str = "") -> str:
    adds = "\n".join(f"    registry.add(One({id_!r}))" for id_ in ids)
    return f"{HEAD}\n@hookimpl\ndef register_detectors(registry):\n{adds}\n    {after}\n"


def reading(*, reads: str = "{Modality.VIDEO}", yields: str = "{Modality.IMAGE}") -> str:
    code = """
class Ocr:
    id, reads, yields = "ocr", frozenset(READS), frozenset(YIELDS)
    def read(self, parts):
        return [()] * len(parts)

@hookimpl
def register_readers(registry):
    registry.add(Ocr())
"""
    return HEAD + code.replace("READS", reads).replace("YIELDS", yields)


SINK = (
    HEAD
    + """
class Desk:
    id = "desk"
    def deliver(self, deliveries, seconds):
        return []

@hookimpl
def register_sinks(registry):
    registry.add(Desk())
"""
)
GOOD = registering("good")


def load(only: tuple[str, ...] | None = None, **more: Any) -> Plugins:
    """All plugins but those that happen to be installed on the machine that runs the tests."""
    entries = manager.entry_points(group="moderation")
    found = [entry for entry in entries if not (entry.dist and is_real(entry.dist))]
    return manager.load(only, found=found, **more)


def is_real(dist: object) -> bool:
    return "site-packages" in str(getattr(dist, "_path", ""))


def record(plugins: Plugins, id_: str) -> PluginRecord:
    (found,) = (one for one in plugins.records if one.id == id_)
    return found


def test_a_good_plugin_is_in_force_and_on_record(install: Install) -> None:
    install("good-dist", {"good": "good_module"}, version="2.1", good_module=GOOD)
    plugins = load()
    assert record(plugins, "good") == PluginRecord("good", "good-dist", "2.1", PluginState.LOADED, ("good",))
    assert record(plugins, "good").kind == "detector"
    assert plugins.detector("good", needed_by="policy 'p'").id == "good"
    assert plugins.versions(["good", "torch"]) == {"good-dist": "2.1", "moderation": __version__}
    assert plugins.versions(["bad"]) == {}


def test_what_is_built_in_comes_through_the_same_door() -> None:
    plugins = manager.load(found=())
    assert plugins.records == (
        PluginRecord(
            "builtin",
            "moderation",
            __version__,
            PluginState.LOADED,
            encoders=("torch", "recorded"),
            fetchers=("http", "https", "s3"),
            readers=("tiles",),
        ),
    )
    assert callable(plugins.loader("torch", needed_by="encoder 'default'"))
    assert callable(plugins.fetcher("https", needed_by="fetch.https"))


def test_trap_01_two_plugins_with_one_name_are_both_reported_and_neither_wins(install: Install) -> None:
    install("first-dist", {"twin": "first_module"}, first_module=registering("a"))
    install("second-dist", {"twin": "second_module"}, second_module=registering("b"))
    install("good-dist", {"good": "good_module"}, good_module=GOOD)
    plugins = load()
    twins = [one for one in plugins.records if one.id == "twin"]
    assert [(one.distribution, one.state) for one in twins] == [
        ("first-dist", PluginState.BROKEN),
        ("second-dist", PluginState.BROKEN),
    ]
    for one in twins:
        assert "first-dist" in one.cause
        assert "second-dist" in one.cause
    assert set(plugins.detectors) == {"good"}


def test_trap_01_holds_even_when_both_name_the_same_module(install: Install) -> None:
    install("first-dist", {"twin": "twin_module"}, twin_module=GOOD)
    install("second-dist", {"twin": "twin_module"}, twin_module=GOOD)
    assert [one.state for one in load().records if one.id == "twin"] == [PluginState.BROKEN] * 2


def test_two_plugins_that_register_one_detector_id_are_both_broken(install: Install) -> None:
    install("first-dist", {"first": "first_module"}, first_module=registering("same", "mine"))
    install("second-dist", {"second": "second_module"}, second_module=registering("same"))
    plugins = load()
    assert plugins.detectors == {}
    for id_ in ("first", "second"):
        cause = record(plugins, id_).cause
        assert "'same'" in cause
        assert "first-dist" in cause
        assert "second-dist" in cause


BROKEN = {
    "an import error": ("import nonsense_that_is_not_there", "ModuleNotFoundError: No module named"),
    "a syntax error": ("def", "SyntaxError"),
    "an exit at import": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "a BaseException at import": ("raise GeneratorExit('away')", "GeneratorExit: away"),
    "an error that cannot be printed": (
        "class E(BaseException):\n    def __str__(self): raise RuntimeError('no')\n    __repr__ = __str__\nraise E()",
        "cannot be imported: E",
    ),
    "no hook at all": (
        "x = 1",
        "implements no hook; expected one of register_detectors, register_encoders, register_fetchers, register_readers, register_sinks",
    ),
    "an unknown hook": (
        f"{HEAD}\n@hookimpl\ndef register_detector(registry): pass",
        "register_detector",
    ),
    "a hook with another signature": (
        f"{HEAD}\n@hookimpl\ndef register_detectors(registry, more): pass",
        "PluginValidationError",
    ),
    "a hook that raises": (registering(after="raise ValueError('boom')"), "ValueError: boom"),
    "a hook that exits": (registering("half", after="raise SystemExit(1)"), "SystemExit"),
    "something that is no detector": (
        f"{HEAD}\n@hookimpl\ndef register_detectors(registry): registry.add(object())",
        "lacks id, labels, modalities, needs_embeddings, detect",
    ),
    "an id that is no id": (registering("Not An Id"), "found detector id 'Not An Id'; expected lower-case"),
    "wrong labels": (registering("x").replace('("risk",)', '("Risk!",)'), "wrong labels"),
    "no labels": (registering("x").replace('("risk",)', "()"), "wrong labels"),
    "wrong needs for scores": (
        registering("x").replace("needs_embeddings", "needs_scores = 'a'; needs_embeddings"),
        "wrong needs_scores",
    ),
    **{
        f"a steepness of {told}": (
            registering("x").replace("needs_embeddings", f"steepness = {told}; needs_embeddings"),
            "wrong steepness",
        )
        for told in ("-1.0", "float('inf')", "float('nan')", "True", "'steep'")
    },
    "wrong modalities": (registering("x").replace("{Modality.TEXT}", "{'smell'}"), "wrong modalities"),
    "one id twice": (registering("x", "x"), "registers detector 'x' twice"),
    "a setup that cannot be called": (
        registering("x").replace("needs_embeddings", "setup = 7; needs_embeddings"),
        "wrong setup",
    ),
    "something that is no reader": (
        f"{HEAD}\n@hookimpl\ndef register_readers(registry): registry.add(object())",
        "lacks id, reads, yields, read; expected a Reader",
    ),
    "a reader that yields videos": (reading(yields="{Modality.VIDEO}"), "reader 'ocr' has a wrong yields"),
    "a reader with a number for a revision": (
        reading() + "Ocr.revision = 7\n",
        "reader 'ocr' has a wrong revision",
    ),
    "a reader that crops perhaps": (reading() + "Ocr.crops = 'yes'\n", "reader 'ocr' has a wrong crops"),
    "a reader that reads nothing": (reading(reads="()"), "reader 'ocr' has a wrong reads"),
    "something that is no sink": (
        f"{HEAD}\n@hookimpl\ndef register_sinks(registry): registry.add(object())",
        "lacks id, deliver; expected a Sink",
    ),
    "a sink that cannot deliver": (
        SINK.replace("def deliver", "deliver = 7\n    def d"),
        "sink 'desk' has a wrong deliver",
    ),
    "one sink twice": (f"{SINK}    registry.add(Desk())\n", "registers sink 'desk' twice"),
    "a detector of videos": (registering("x").replace("{Modality.TEXT}", "{Modality.VIDEO}"), "wrong modalities"),
    "an encoder loader that cannot be called": (
        f"{HEAD}\n@hookimpl\ndef register_encoders(registry): registry.add('mine', 7)",
        "loader 'mine' is a int; expected something to call",
    ),
    "a fetcher that cannot be called": (
        f"{HEAD}\n@hookimpl\ndef register_fetchers(registry): registry.add('mine', 7)",
        "scheme 'mine' is a int; expected something to call",
    ),
    "a scheme that is none": (
        f"{HEAD}\n@hookimpl\ndef register_fetchers(registry): registry.add('Mine:', One)",
        "found scheme 'Mine:'; expected lower-case",
    ),
    "a scheme that is ours": (
        f"{HEAD}\n@hookimpl\ndef register_fetchers(registry): registry.add('https', One)",
        "scheme 'https' is registered by 'builtin' of moderation and 'broken'",
    ),
}


@pytest.mark.parametrize(("source", "cause"), BROKEN.values(), ids=BROKEN)
def test_trap_02_and_28_a_broken_plugin_is_reported_and_does_not_stop_the_others(
    install: Install, source: str, cause: str
) -> None:
    install("a-dist", {"a": "a_module"}, a_module=registering("before"))
    install("broken-dist", {"broken": "broken_module"}, version="0.9", broken_module=source)
    install("z-dist", {"z": "z_module"}, z_module=registering("after"))
    plugins = load()
    found = record(plugins, "broken")
    assert (found.distribution, found.version, found.state) == ("broken-dist", "0.9", PluginState.BROKEN)
    assert cause in found.cause
    assert "\n" not in found.cause
    assert set(plugins.detectors) == {"before", "after"}
    with pytest.raises(PluginError, match="broken-dist"):
        plugins.detector("broken", needed_by="policy 'weapons'")


def test_a_reader_arrives_and_is_on_record(install: Install) -> None:
    install("ocr-dist", {"ocr": "ocr_module"}, ocr_module=reading())
    plugins = load()
    assert (record(plugins, "ocr").readers, record(plugins, "ocr").kind) == (("ocr",), "reader")
    assert plugins.reader("ocr", needed_by="a test").id == "ocr"


def test_two_plugins_that_register_one_reader_id_are_both_broken(install: Install) -> None:
    install("first-dist", {"first": "first_module"}, first_module=reading())
    install("second-dist", {"second": "second_module"}, second_module=reading())
    plugins = load()
    assert set(plugins.readers) == {"tiles"}
    with pytest.raises(PluginError, match="reader 'ocr' is registered by 'first' of first-dist and 'second'"):
        plugins.reader("ocr", needed_by="the setting readers.use")


def test_a_sink_arrives_and_is_on_record(install: Install) -> None:
    install("desk-dist", {"desk": "desk_module"}, desk_module=SINK)
    plugins = load()
    assert (record(plugins, "desk").sinks, record(plugins, "desk").kind) == (("desk",), "sink")
    assert plugins.sink("desk", needed_by="a test").id == "desk"
    assert not plugins.can_be_isolated(record(plugins, "desk"))
    with pytest.raises(
        PluginError,
        match=r"the setting deliver\.sink needs the sink 'dest', which no plugin provides; did you mean 'desk'",
    ):
        plugins.sink("dest", needed_by="the setting deliver.sink")


def test_two_plugins_that_register_one_sink_id_are_both_broken(install: Install) -> None:
    install("first-dist", {"first": "first_module"}, first_module=SINK)
    install("second-dist", {"second": "second_module"}, second_module=SINK)
    plugins = load()
    assert plugins.sinks == {}
    with pytest.raises(PluginError, match="sink 'desk' is registered by 'first' of first-dist and 'second'"):
        plugins.sink("desk", needed_by="the setting deliver.sink")


def test_a_record_tells_hooks_where_it_failed_and_whether_it_can_be_isolated(install: Install) -> None:
    install("good-dist", {"good": "good_module"}, good_module=GOOD)
    install("ocr-dist", {"ocr": "ocr_module"}, ocr_module=reading())
    folder = install("bad-dist", {"bad": "bad_module"}, bad_module="import sys\n\nsys.exit(3)")
    install("half-dist", {"half": "half_module"}, half_module=registering(after="raise ValueError('boom')"))
    plugins = load()
    good, ocr, bad, half = (record(plugins, id_) for id_ in ("good", "ocr", "bad", "half"))
    assert (good.hooks, ocr.hooks, bad.hooks, half.hooks) == (
        ("register_detectors",),
        ("register_readers",),
        (),
        ("register_detectors",),
    )
    assert (good.place, bad.place) == ("", f"{folder / 'bad_module.py'}:3")
    assert half.place.partition("half_module.py:")[2].isdigit()
    apart = [plugins.can_be_isolated(one) for one in (good, ocr, bad, half, record(plugins, "builtin"))]
    assert apart == [True, True, False, False, False]


def test_ctrl_c_while_loading_is_the_users(install: Install) -> None:
    source = "import os, signal, threading; os.kill(os.getpid(), signal.SIGINT); threading.Event().wait(9.0)"
    install("a-dist", {"a": "a_module"}, a_module=source)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # who ran in this process before may have its own
    try:
        with pytest.raises(KeyboardInterrupt):
            load()
    finally:
        signal.signal(signal.SIGINT, before)


HANGS = "from threading import Event; wait = Event().wait"
HANGING = {
    "import": f"{HANGS}\nwait(9.0)",
    "hook": f"{HEAD}{HANGS}\n@hookimpl\ndef register_detectors(registry):\n    registry.add(One('late'))\n    wait(9.0)",
}


@pytest.mark.parametrize("where", HANGING)
def test_trap_04_a_plugin_that_hangs_while_it_is_loaded_is_left_behind_by_name(install: Install, where: str) -> None:
    install("good-dist", {"good": "good_module"}, good_module=GOOD)
    install("hung-dist", {"hung": f"hung_{where}"}, **{f"hung_{where}": HANGING[where]})
    began = time.monotonic()
    plugins = load(setup_seconds=0.2)
    assert time.monotonic() - began < 5.0
    hung = record(plugins, "hung")
    assert (hung.state, hung.distribution) == (PluginState.BROKEN, "hung-dist")
    assert hung.cause == "loading it took longer than 0.2 s"
    assert hung.place.partition(".py:")[2].isdigit()
    assert set(plugins.detectors) == {"good"}
    with pytest.raises(PluginError, match="'hung' of hung-dist is broken: loading it took longer than"):
        plugins.detector("hung", needed_by="policy 'p'")


def test_a_plugin_that_fails_half_way_is_taken_back_whole(install: Install) -> None:
    source = registering("half", after="raise ValueError('boom')")
    install("half-dist", {"half-way": "half_module"}, half_module=source)
    plugins = load()
    assert plugins.detectors == {}
    with pytest.raises(PluginError, match=r"policy 'p' needs the detector 'half', but plugin 'half-way' of half-dist"):
        plugins.detector("half", needed_by="policy 'p'")


def test_trap_03_one_raising_hook_does_not_discard_what_the_others_returned(install: Install) -> None:
    # pluggy calls the last registered first and stops at the first error: alphabetical order puts one on each side.
    install("a-dist", {"a": "a_module"}, a_module=registering("before"))
    install("m-dist", {"m": "m_module"}, m_module=registering(after="raise RuntimeError"))
    install("z-dist", {"z": "z_module"}, z_module=registering("after"))
    assert set(load().detectors) == {"before", "after"}


def test_an_entry_point_may_name_an_object_in_a_module(install: Install) -> None:
    source = f"{HEAD}\nclass Plugin:\n    @hookimpl\n    def register_detectors(self, registry):\n"
    install("o-dist", {"o": "o_module:plugin"}, o_module=f"{source}        registry.add(One('o'))\nplugin = Plugin()")
    assert set(load().detectors) == {"o"}


@pytest.mark.parametrize("name", ["Bad_Name", "a b", "-a"])
def test_an_id_that_is_no_slug_is_reported(install: Install, name: str) -> None:
    install("bad-dist", {name: "bad_module"}, bad_module=GOOD)
    assert "expected lower-case letters" in record(load(), name).cause


def test_nobody_takes_the_built_in_plugins_name(install: Install) -> None:
    install("thief-dist", {"builtin": "thief_module"}, thief_module=GOOD)
    found = [one for one in load().records if one.id == "builtin"]
    assert [(one.distribution, one.state) for one in found] == [
        ("moderation", PluginState.LOADED),
        ("thief-dist", PluginState.BROKEN),
    ]


def test_only_the_plugins_that_the_settings_name_are_imported(install: Install) -> None:
    install("good-dist", {"good": "good_module"}, good_module=GOOD)
    folder = install("other-dist", {"other": "other_module"}, other_module="import pathlib; raise SystemExit")
    plugins = load(only=("good", "goood"))
    assert set(plugins.detectors) == {"good"}
    assert record(plugins, "other").state is PluginState.OFF
    assert "other_module" not in sys.modules
    assert not (folder / "__pycache__").exists()
    missing = record(plugins, "goood")
    assert missing.state is PluginState.MISSING
    assert "'good'" in missing.cause


def test_trap_05_an_unknown_detector_is_refused_with_the_nearest_known_names(install: Install) -> None:
    install("good-dist", {"good": "good_module"}, good_module=registering("keywords", "language"))
    plugins = load()
    with pytest.raises(PluginError) as refused:
        plugins.detector("keyword", needed_by="policy 'weapons'")
    assert str(refused.value) == (
        "plugin 'keyword': policy 'weapons' needs the detector 'keyword', which no plugin provides; "
        "did you mean 'keywords'?"
    )
    with pytest.raises(PluginError, match="encoder 'default' needs the encoder loader 'onnx'"):
        plugins.loader("onnx", needed_by="encoder 'default'")


def test_trap_26_nothing_is_found_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plugins").mkdir()
    for path in (tmp_path / "actions.py", tmp_path / "moderation_plugin.py", tmp_path / "plugins" / "mine.py"):
        path.write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    assert [one.id for one in load().records] == ["builtin"]


def test_nothing_is_loaded_at_import() -> None:
    code = "import moderation.plugin.manager, sys; print('moderation_keywords' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_a_plugin_brings_an_encoder_loader(install: Install) -> None:
    source = f"{HEAD}\n@hookimpl\ndef register_encoders(registry): registry.add('mine', lambda request: request)"
    install("e-dist", {"e": "e_module"}, e_module=source)
    plugins = load()
    assert (record(plugins, "e").kind, record(plugins, "e").encoders) == ("encoder", ("mine",))
    assert plugins.loader("mine", needed_by="encoder 'default'")("request") == "request"  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [DetectorRegistry, ReaderRegistry, EncoderRegistry, FetcherRegistry, SinkRegistry])
def test_a_registry_does_not_show_the_settings_that_it_holds(kind: Any) -> None:
    assert "canary" not in repr(kind("plugin", {"token": "canary"}))
