"""What a new plugin of one kind is written from."""

from __future__ import annotations

from string import Template
from typing import NamedTuple


class Kind(NamedTuple):
    """Templates over `id`, `module` and `name` (a class): the module, its tests, and what puts it to use."""

    module: Template
    tests: Template
    use: Template
