from __future__ import annotations

from moderation.release.bins import BINS, histogram
from moderation.release.plot import WIDTH, plot_of


def test_the_table_counts_every_score_once() -> None:
    plot = plot_of(histogram([0.0, 0.5, 1.0]), histogram([0.1, 0.1, 0.99]), [])
    assert sum(row.above for row in plot.rows) == 3
    assert sum(row.below for row in plot.rows) == 3
    assert {bar.above for bar in plot.bars} == {True, False}


def test_a_bar_grows_with_the_share_and_stays_inside() -> None:
    plot = plot_of(histogram([0.1] * 99 + [0.9]), histogram([]), [])
    low, high = plot.bars
    assert low.height > high.height > 0
    assert all(bar.x >= 0 and bar.x + bar.width <= WIDTH and bar.y >= 0 for bar in plot.bars)


def test_thresholds_stand_where_their_scores_do() -> None:
    plot = plot_of(histogram([0.25]), histogram([0.75]), [("remove", 0.75), ("review", 0.25)])
    assert [line.action for line in plot.lines] == ["review", "remove"]
    bars = {bar.above: bar for bar in plot.bars}
    assert abs(plot.lines[0].x - bars[True].x) < WIDTH / BINS
    assert abs(plot.lines[1].x - bars[False].x) < WIDTH / BINS


def test_nothing_at_all_makes_an_empty_plot() -> None:
    assert plot_of(histogram([]), histogram([]), []).bars == ()
