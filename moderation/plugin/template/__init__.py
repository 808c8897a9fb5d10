"""What new plugins are written from, by kind."""

from __future__ import annotations

from moderation.plugin.template.detector import DETECTOR
from moderation.plugin.template.encoder import ENCODER
from moderation.plugin.template.fetcher import FETCHER
from moderation.plugin.template.reader import READER
from moderation.plugin.template.sink import SINK

KINDS = {"detector": DETECTOR, "reader": READER, "encoder": ENCODER, "fetcher": FETCHER, "sink": SINK}
