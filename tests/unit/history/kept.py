"""Kept items for tests: any facts, any number of parts, with vectors of unit length."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
from hypothesis import strategies as st

from moderation.history.items import Fact, Target
from moderation.history.vectors import KeptItem, KeptPart
from moderation.item import Modality

WIDTH = 8
# What Parquet can hold: no half surrogate pairs.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
times = st.datetimes(dt.datetime(1960, 1, 1), dt.datetime(2100, 1, 1), timezones=st.just(dt.UTC))  # noqa: DTZ001 - bounds have no zone
targets = st.builds(Target, st.booleans(), st.none() | st.floats(0.001, 1e6))
facts = st.builds(
    Fact,
    ids,
    texts,
    st.none() | times,
    st.dictionaries(texts, texts, max_size=3),
    st.dictionaries(ids, targets, max_size=2),
)
parts = st.builds(KeptPart, st.sampled_from(Modality), texts, st.just("") | ids)
items = st.lists(st.builds(KeptItem, facts, st.lists(parts, min_size=1, max_size=3).map(tuple)), min_size=1, max_size=8)


def unit(count: int, width: int = WIDTH, seed: int = 0) -> Any:
    found = np.random.default_rng(seed).normal(size=(count, width))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float16)


def item(name: str, *modalities: Modality, error: str = "", **known: Any) -> KeptItem:
    named = [KeptPart(one, f"{name}{place}", error) for place, one in enumerate(modalities or (Modality.IMAGE,))]
    return KeptItem(Fact(name, **known), tuple(named))
