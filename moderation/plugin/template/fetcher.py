"""A new plugin with a fetcher: small, and whole as it stands."""

from __future__ import annotations

from string import Template

from moderation.plugin.template.kind import Kind

FETCHER = Kind(
    Template('''\
"""A fetcher: say here what it gets. This one reads files below a folder: $id://shelf/name."""

import re
from pathlib import Path

from moderation import hookimpl
from moderation.item import unfetchable


class $name:
    def __init__(self, settings, folder):
        self.settings, self.folder = settings, Path(folder)

    def fetch(self, reference):
        shelf, _, name = reference.partition("?")[0].partition("://")[2].partition("/")
        if shelf not in self.settings.hosts:
            raise unfetchable("host_not_allowed", "the settings do not allow this shelf")
        if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", name):
            raise unfetchable("wrong_reference", "found no plain name of a file")
        try:
            with (self.folder / shelf / name).open("rb") as file:
                content = file.read(self.settings.max_bytes + 1)
        except OSError as error:
            raise unfetchable("not_found", f"it cannot be read: {error.strerror}") from None
        if len(content) > self.settings.max_bytes:
            raise unfetchable("too_many_bytes", f"it has more than {self.settings.max_bytes} bytes")
        return content


@hookimpl
def register_fetchers(registry):
    folder = registry.folder / registry.settings.get("folder", ".")
    registry.add("$id", lambda request: $name(request.settings, folder))
'''),
    Template('''\
"""What every fetcher promises (moderation.testing), and what this one gets and refuses."""

import pytest
from moderation_$module import $name

from moderation.sections import FetchSettings
from moderation.testing import FetcherKit


class Test$name(FetcherKit):
    make = staticmethod(lambda: $name(FetchSettings(hosts=("box",), max_bytes=100), Test$name.folder))
    plugin = scheme = "$id"
    found = {"$id://box/a.txt": b"content"}
    refused = {
        "$id://other/a.txt": "host_not_allowed",
        "$id://box/b.txt": "not_found",
        "$id://box/../a.txt": "wrong_reference",
        "$id://box/large": "too_many_bytes",
    }

    @pytest.fixture(autouse=True)
    def _shelf(self, tmp_path):
        type(self).folder = tmp_path
        (tmp_path / "box").mkdir()
        (tmp_path / "box" / "a.txt").write_bytes(b"content")
        (tmp_path / "box" / "large").write_bytes(bytes(101))
'''),
    Template("""\
Settings with which a worker follows `{"reference": "$id://box/name"}`:

    [fetch.$id]
    hosts = ["box"]

    [plugins.settings.$id]
    folder = "/srv/shelves"
"""),
)
