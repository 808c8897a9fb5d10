from __future__ import annotations

import pytest

from moderation.errors import SettingsError
from moderation.extras import installed, need


def test_what_is_not_installed_is_refused_with_the_extra_that_brings_it() -> None:
    assert installed("numpy")
    assert not installed("no_such_package")
    need("numpy", extra="x")
    with pytest.raises(SettingsError, match=r'needs no_such_package, .* pip install "moderation\[ray\]"'):
        need("no_such_package", extra="ray")
