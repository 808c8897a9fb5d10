"""Hypothesis as the house has it: the same examples on every run, no deadline; HYPOTHESIS_PROFILE=soak for others, and more."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("house", derandomize=True, deadline=None)
settings.register_profile("soak", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "house"))
