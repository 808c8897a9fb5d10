"""AUCs of groups against cases worked by hand, and their intervals against simulation."""

import numpy as np
import pytest

from moderation.audit.ranking import cluster_auc, rank_groups
from tests.unit.audit.audited import judged, sample_of


def by_hand():
    """Two groups of two violating and two benign items each."""
    scores = {
        ("a", True): (0.9, 0.6),
        ("a", False): (0.7, 0.2),
        ("b", True): (0.8, 0.4),
        ("b", False): (0.5, 0.1),
    }
    items = [(score, target, group) for (group, target), both in scores.items() for score in both]
    return sample_of([judged(n, score=s, target=t, group=g) for n, (s, t, g) in enumerate(items)])


def test_bpsn_pairs_the_groups_benign_items_with_everybody_elses_violating_ones():
    found = {(one.group, one.metric): one.auc for one in rank_groups(by_hand(), by_hand().groups["group"])}
    # Subgroup a: 0.9 > 0.7, 0.2; 0.6 > 0.2: 3 of 4. BPSN a: b's 0.8, 0.4 over a's 0.7, 0.2: 0.8 beats both, 0.4 beats one: 3 of 4.
    # BNSP a: a's 0.9, 0.6 over b's 0.5, 0.1: all. Subgroup b: 0.8 beats both, 0.4 one: 3 of 4.
    # BPSN b: a's 0.9, 0.6 over b's 0.5, 0.1: all. BNSP b: b's 0.8, 0.4 over a's 0.7, 0.2: 3 of 4.
    assert found == {
        ("a", "subgroup"): 0.75, ("a", "bpsn"): 0.75, ("a", "bnsp"): 1.0,
        ("b", "subgroup"): 0.75, ("b", "bpsn"): 1.0, ("b", "bnsp"): 0.75,
    }  # fmt: skip


def test_a_group_of_one_class_says_why_there_is_no_figure():
    sample = sample_of([judged(0, group="a"), judged(1, group="a"), judged(2, group="b", target=True)])
    found = {(one.group, one.metric): one for one in rank_groups(sample, sample.groups["group"])}
    assert found["a", "subgroup"].auc is None
    assert found["a", "subgroup"].undefined == "0 violating items"
    assert found["a", "bpsn"].auc is not None


def test_ties_count_half():
    auc, _ = cluster_auc(np.array([0.5, 0.5]), np.array([0.5, 0.5]), np.arange(2), np.arange(2, 4))
    assert auc == 0.5


def test_the_variance_is_delongs_for_single_items_and_holds_for_clusters():
    random, aucs, variances = np.random.default_rng(0), [], []
    for _ in range(400):
        shift = random.normal(0, 1, 40)
        units = np.repeat(np.arange(40), 5)
        scores = shift[units] + random.normal(0, 1, 200)
        positive = units < 20
        auc, variance = cluster_auc(scores[positive], scores[~positive], units[positive], units[~positive])
        aucs.append(auc), variances.append(variance)
    assert np.mean(variances) == pytest.approx(np.var(aucs), rel=0.25)


def test_a_perfect_ranking_of_few_clusters_is_no_proof():
    items = [judged(n, score=0.9 if n < 4 else 0.1, target=n < 4, group="a", cluster=f"{n % 4}") for n in range(8)]
    sample = sample_of(items)
    first = rank_groups(sample, sample.groups["group"])[0]
    assert first.auc == 1.0
    assert first.low is not None
    assert first.low < 0.6
