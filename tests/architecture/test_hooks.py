"""Every hook has its spec line, its section and example in the reference, a test, a kind of plugin, and an implementation that ships.

Nothing here names a hook: whoever adds one to hookspecs.py finds here what it still lacks.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing

import pluggy
import pytest

from moderation.plugin import builtin, hookspecs, manager
from moderation.plugin.brought import KINDS, PluginRecord, PluginState
from tests.conftest import ROOT

REFERENCE = (ROOT / "plugins" / "README.md").read_text(encoding="utf-8")
TESTS = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "unit" / "plugin").glob("*.py"))
SHIPPED = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "plugins").glob("*/**/*.py")))
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
    registry = typing.get_type_hints(getattr(hookspecs, hook))["registry"]("example")
    getattr(example(hook), hook)(registry)
    held = {one.name for one in dataclasses.fields(registry)} - {"plugin", "settings"}
    assert [name for name in held if getattr(registry, name)]


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_is_tested_and_is_good_enough_for_what_ships(hook: str) -> None:
    assert f"def {hook}(" in TESTS
    assert hasattr(builtin, hook) or f"def {hook}(" in SHIPPED


def test_a_hook_is_of_a_kind_that_a_plugins_record_tells() -> None:
    assert {f"register_{kind}s" for kind in KINDS} == set(HOOKS)
    assert all(hasattr(PluginRecord("a", "b", "1", PluginState.LOADED), f"{kind}s") for kind in KINDS)
