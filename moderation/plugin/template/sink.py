"""A new plugin with a sink: small, and whole as it stands."""

from __future__ import annotations

from string import Template

from moderation.plugin.template.kind import Kind

SINK = Kind(
    Template('''\
"""A sink: say here to whom it brings decisions. This one keeps each as a file in a folder."""

import hashlib
import json
import threading
import time
from pathlib import Path

from moderation import hookimpl
from moderation.decision import Again, Delivered


class $name:
    id = "$id"

    def __init__(self, folder):
        self.folder = Path(folder)

    def setup(self):
        self.folder.mkdir(parents=True, exist_ok=True)

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
            part.write_text(json.dumps(one.decision), encoding="utf-8")
            part.replace(self.folder / f"{name}.json")
        except OSError:
            return Again("not_written")
        return Delivered()


@hookimpl
def register_sinks(registry):
    registry.add($name(registry.settings.get("folder", "decisions")))
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
    sink = $name(tmp_path / "gone")
    assert sink.deliver([Delivery("a", {})], 10.0) == [Again("not_written")]
'''),
    Template("""\
Settings with which `moderation deliver` hands decisions to it:

    [deliver]
    sink = "$id"

    [plugins.settings.$id]
    folder = "/srv/decisions"
"""),
)
