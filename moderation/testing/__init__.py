"""The conformance kit: a plugin's whole test is one subclass (extra `testing`: pytest and hypothesis)."""

from moderation.testing.detector import DetectorKit
from moderation.testing.reader import ReaderKit

__all__ = ["DetectorKit", "ReaderKit"]
