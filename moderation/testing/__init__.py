"""The conformance kit: a plugin's whole test is one subclass (extra `testing`: pytest and hypothesis)."""

from moderation.testing.detector import DetectorKit
from moderation.testing.encoder import EncoderKit
from moderation.testing.fetcher import FetcherKit
from moderation.testing.reader import ReaderKit
from moderation.testing.sink import SinkKit

__all__ = ["DetectorKit", "EncoderKit", "FetcherKit", "ReaderKit", "SinkKit"]
