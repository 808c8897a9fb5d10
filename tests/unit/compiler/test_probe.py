"""The probe: held to the text as far as its pull says, never turned round, and blind to how often an object is shown."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from moderation.compiler.probe import PULLS, fit_probe, fit_probes
from tests.unit.compiler.objects import WIDTH, head, objects, with_copies

RNG = np.random.default_rng
LEARNABLE = objects(RNG(0), text=0.5, learned=2.0)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As the compiler runs it: on several, small problems wait for busy cores."""
    with threadpool_limits(1):
        yield


def test_a_stronger_pull_leaves_the_text_less() -> None:
    probes = [fit_probe(head(), LEARNABLE, pull) for pull in PULLS[:-1]]
    strayed = [float(np.linalg.norm(one.probe) / one.anchor[0]) for one in probes]  # type: ignore[index, arg-type]
    assert all(1.1 * stronger < weaker for stronger, weaker in pairwise(strayed))


def test_a_pull_without_end_gives_the_ranking_of_the_text_back() -> None:
    held = fit_probe(head(), LEARNABLE, 1e9)
    np.testing.assert_array_equal(np.argsort(held.raw(LEARNABLE.vectors)), np.argsort(head().raw(LEARNABLE.vectors)))


def test_targets_may_mute_the_text_but_not_turn_it_round() -> None:
    contrary = objects(RNG(1), text=-3.0, learned=0.0)
    probe = fit_probe(head(), contrary, 30.0)
    assert probe.anchor is not None
    assert probe.anchor[0] == 0.0


def test_without_a_pull_the_text_has_no_part() -> None:
    first, second = (fit_probes(head(towards), LEARNABLE, [1.0, 0.0])[-1] for towards in (0, 2))
    assert first.anchor is not None
    assert first.anchor[0] == 0.0
    np.testing.assert_allclose(first.probe, second.probe, atol=0.02)


@pytest.mark.parametrize("pull", PULLS)
@pytest.mark.parametrize("cluster", [0, 20], ids=["violating", "benign"])
@pytest.mark.parametrize("rows", [48, 12], ids=["more targets than dimensions", "fewer"])
def test_an_object_shown_ten_times_as_often_changes_nothing(pull: float, cluster: int, rows: int) -> None:
    fit = LEARNABLE.take(np.linspace(0, 47, rows).astype(np.int64))
    copied = with_copies(fit, cluster=int(fit.clusters[np.abs(fit.clusters - cluster).argmin()]))
    assert len(copied) > len(fit)
    anywhere = RNG(2).normal(size=(50, WIDTH))
    anywhere = (anywhere / np.linalg.norm(anywhere, axis=1, keepdims=True)).astype(np.float16)
    once, often = (fit_probe(head(), one, pull).raw(anywhere) for one in (fit, copied))
    np.testing.assert_allclose(often, once, atol=1e-9)
