"""Fixtures that tests of whole things share."""

from __future__ import annotations

from tests.integration.browser import asked

__all__ = ["asked"]
