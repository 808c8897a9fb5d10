"""What every kit has: how the thing under test is made, whether it arrives, what its import does, and promises that it cannot keep."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar

import pytest

from moderation.plugin import manager
from moderation.plugin.brought import PluginRecord, Plugins, PluginState
from moderation.testing.imports import fault_of_import


class Kit:
    """Inherited by the kits; `brings` is where a plugin's record names what this one tests."""

    make: ClassVar[Callable[[], Any]]
    plugin: ClassVar[str] = ""
    settings: ClassVar[Mapping[str, Any]] = {}
    expected_failures: ClassVar[Mapping[str, str]] = {}
    brings: ClassVar[str]

    def __init_subclass__(cls, **more: Any) -> None:
        """Raises TypeError where an expected failure names no test of the kit, or gives no reason."""
        super().__init_subclass__(**more)
        for name, reason in cls.expected_failures.items():
            if not (name.startswith("test_") and hasattr(cls, name) and reason):
                raise TypeError(
                    f"{cls.__name__}.expected_failures: found {name!r}; expected a test of the kit, and why"
                )

    @pytest.fixture(autouse=True)
    def _expect(self, request: pytest.FixtureRequest) -> None:
        """An expected failure is one, and fails once it is none."""
        reason = self.expected_failures.get(request.function.__name__)
        if reason:
            request.node.add_marker(pytest.mark.xfail(reason=reason, strict=True))

    # Identity

    def test_identity_arrives_by_its_entry_point(self) -> None:
        """Once installed, the plugin is found, whole, and brings this one."""
        if not self.plugin:
            pytest.skip("the kit is not told the name of the plugin's entry point")
        found = self._record(self._loaded())
        assert found.state == PluginState.LOADED, f"plugin {self.plugin!r} is {found.state}: {found.cause}"
        assert self._name() in getattr(found, self.brings), f"plugin {self.plugin!r} does not register {self._name()!r}"

    # Import

    def test_import_asks_no_network(self) -> None:
        """Importing the plugin looks up no host and opens no connection: registering is cheap, and works where there is no network."""
        module = self._module()
        fault = fault_of_import(module)
        assert not fault, f"importing {module!r}: {fault}"

    # What the tests share

    def _made(self) -> Any:
        make = inspect.getattr_static(type(self), "make")
        return (make.__func__ if isinstance(make, staticmethod) else make)()

    def _loaded(self, *, isolated: Collection[str] = ()) -> Plugins:
        """The plugin as a worker loads it, with its `settings`."""
        own = {self.plugin: self.settings} if self.settings else {}
        return manager.load(only=(self.plugin,), settings=own, isolated=isolated)

    def _record(self, loaded: Plugins) -> PluginRecord:
        return next(one for one in loaded.records if one.id == self.plugin)

    def _name(self) -> str:
        """What it is registered under."""
        name: str = self._made().id
        return name

    def _module(self) -> str:
        return type(self._made()).__module__
