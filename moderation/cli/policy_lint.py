"""What `moderation policy lint` and `schema` do: every mistake of every file, and the shapes that editors check."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass
