"""A new plugin with a sink: small, and whole as it stands."""

from __future__ import annotations

from string import Template

from moderation.plugin.template.kind import Kind

SINK = Kind(
    Template('''\
"""A sink: say here to whom it brings decisions. This one keeps each as a file in a folder."""

import hashlib
import json
import os
import threading
import time
from pathlib import Path

from moderation import hookimpl
from moderation.decision import Again, Delivered


class $name:
    id = "$id"

    def __init__(self, folder):
        self.folder = Path(folder)

    def verify(self):
        parents = [self.folder, *self.folder.absolute().parents]
        assert os.access(next(one for one in parents if one.exists()), os.W_OK), f"{self.folder} cannot be written to"

    def deliver(self, deliveries, seconds):
        end, receipts, waiting = time.monotonic() + 0.8 * seconds, [], set()
        for one in deliveries:
            if one.partition in waiting or time.monotonic() > end:
                receipts.append(Again("not_come_to", tried=False))
            else:
                receipts.append(self._kept(one))
            if receipts[-1] != Delivered():
                waiting.add(one.partition)  # nothing of a partition before what is to be tried again
        return receipts

    def _kept(self, one):
        # Under a hash of its id, which may hold anything: one that comes again is the same file.
        name = hashlib.sha256(one.id.encode()).hexdigest()
        part = self.folder / f"{name}.{threading.get_ident()}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(one.decision), encoding="utf-8")
            part.replace(self.folder / f"{name}.json")
        except OSError:
            return Again("not_written")
        return Delivered()


@hookimpl
def register_sinks(registry):
    registry.add($name(registry.folder / registry.settings.get("folder", "decisions")))
'''),
    Template('''\
"""What every sink promises (moderation.testing), and what this one keeps."""

import json

import pytest
from moderation_$module import $name

from moderation.decision import Again, Delivered, Delivery
from moderation.testing import SinkKit


class Test$name(SinkKit):
    make = staticmethod(lambda: $name(Test$name.folder))
    plugin = "$id"

    @pytest.fixture(autouse=True)
    def _desk(self, tmp_path):
        type(self).folder = tmp_path


def test_a_decision_is_kept_once(tmp_path):
    sink = $name(tmp_path)
    assert list(sink.deliver([Delivery("a", {"action": "remove"})] * 2, 10.0)) == [Delivered()] * 2
    assert [json.loads(one.read_text()) for one in tmp_path.iterdir()] == [{"action": "remove"}]


def test_what_cannot_be_written_is_to_be_tried_again(tmp_path):
    (tmp_path / "file").touch()
    sink = $name(tmp_path / "file")
    assert sink.deliver([Delivery("a", {})], 10.0) == [Again("not_written")]


def test_setting_it_up_writes_nothing(tmp_path):
    sink = $name(tmp_path / "decisions")
    sink.verify()
    assert list(tmp_path.iterdir()) == []
'''),
    Template("""\
Settings with which `moderation deliver` hands decisions to it:

    [deliver]
    sink = "$id"

    [plugins.settings.$id]
    folder = "/srv/decisions"
"""),
)
