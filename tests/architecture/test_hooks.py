"""Every hook has its spec line, its section and example in the reference, a test, and an implementation that ships."""

from __future__ import annotations

import inspect
import re
import types

import pluggy
import pytest

from moderation.plugin import builtin, hookspecs, manager
from moderation.plugin.registry import DetectorRegistry, EncoderRegistry, FetcherRegistry, ReaderRegistry, SinkRegistry
from tests.conftest import ROOT

REFERENCE = (ROOT / "plugins" / "README.md").read_text(encoding="utf-8")
TESTS = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "unit" / "plugin").glob("*.py"))
HOOKS = manager.hook_names()


def section(hook: str) -> str:
    parts = re.split(r"^### ", REFERENCE, flags=re.MULTILINE)
    (found,) = (part for part in parts if part.startswith(f"`{hook}("))
    return found


def arguments(hook: str) -> str:
    return ", ".join(inspect.signature(getattr(hookspecs, hook)).parameters)


def example(hook: str) -> types.ModuleType:
    (code, *_) = re.findall(r"```python\n(.*?)```", section(hook), flags=re.DOTALL)
    module = types.ModuleType("example")
    exec(compile(code, f"plugins/README.md {hook}", "exec"), module.__dict__)  # noqa: S102 - our own documentation
    return module


def test_the_hooks_are_those_that_pluggy_knows() -> None:
    known = pluggy.PluginManager(hookspecs.GROUP)
    known.add_hookspecs(hookspecs)
    assert {name for name in vars(known.hook) if not name.startswith("_")} == set(HOOKS)
    assert HOOKS


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_says_what_it_is_for_in_one_line(hook: str) -> None:
    text = inspect.getdoc(getattr(hookspecs, hook)) or ""
    assert text.startswith("Register ")
    assert "\n" not in text


@pytest.mark.parametrize("hook", HOOKS)
def test_the_reference_has_a_section_with_the_hooks_arguments(hook: str) -> None:
    assert section(hook).startswith(f"`{hook}({arguments(hook)})`\n")


def test_the_reference_has_no_section_of_a_hook_that_is_not_there() -> None:
    assert set(re.findall(r"^### `(\w+)\(", REFERENCE, flags=re.MULTILINE)) == set(HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_the_references_example_registers_something(hook: str) -> None:
    kinds = {
        "register_detectors": DetectorRegistry, "register_encoders": EncoderRegistry, "register_fetchers": FetcherRegistry,
        "register_readers": ReaderRegistry, "register_sinks": SinkRegistry,
    }  # fmt: skip
    registry = kinds[hook]("example")
    getattr(example(hook), hook)(registry)
    assert [name for name in ("detectors", "readers", "loaders", "makers", "sinks") if getattr(registry, name, None)]


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_is_tested_and_is_good_enough_for_what_is_built_in(hook: str) -> None:
    assert f"def {hook}(" in TESTS
    # A reader needs a library that the package does without (OCR, a video decoder), a sink somebody else's endpoint: both come as plugins alone.
    assert hasattr(builtin, hook) != (hook in {"register_readers", "register_sinks"})
