import numpy as np
import pytest
from matplotlib.text import Text

from crossem.report import Score, label_fraction_curve, save_figure
from crossem.report.curve import _spread


def test_every_score_is_drawn_where_it_belongs(tmp_path):
    scores = {
        "fine-tuned": {1.0: Score(0.7, 0.01), 0.05: Score(0.4, 0.02), 0.15: Score(0.5, 0.03)},
        "from scratch": {0.15: Score(0.3), 1.0: Score(0.7)},
    }
    figure = label_fraction_curve(scores, "IoU", {"source only": Score(0.35, 0.02), "oracle": Score(0.8)})
    (axes,) = figure.axes
    lines = {line.get_label(): line for line in axes.lines}
    tuned, scratch = lines["fine-tuned"], lines["from scratch"]
    np.testing.assert_array_equal(tuned.get_xydata(), [[0, 0.4], [1, 0.5], [2, 0.7]])
    np.testing.assert_array_equal(scratch.get_xydata(), [[1, 0.3], [2, 0.7]])
    assert [t.get_text() for t in axes.get_xticklabels()] == ["5 %", "15 %", "100 %"]
    (band,) = [c for c in axes.collections if c.get_alpha() == 0.15]  # one seed has no band
    low, high = band.get_paths()[0].get_extents().intervaly
    assert (low, high) == pytest.approx((0.38, 0.71))
    assert {0.35, 0.8} <= {float(line.get_ydata()[0]) for line in axes.lines if len(set(line.get_ydata())) == 1}
    assert [t.get_text() for t in axes.texts] == ["source only 0.35", "oracle 0.80"]
    assert save_figure(figure, tmp_path / "curve.png").stat().st_size > 1000


@pytest.mark.parametrize("levels", [1, 12])
def test_names_of_near_levels_do_not_overlap(levels):
    near = {f"method {i}": Score(0.4 + i / 1000) for i in range(levels)}
    figure = label_fraction_curve({"fine-tuned": {0.05: Score(0.3), 1.0: Score(0.7)}}, "IoU", near)
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in figure.axes[0].texts]  # without the connectors
    assert len(boxes) == levels
    assert all(a.y1 <= b.y0 + 1 for a, b in zip(boxes, boxes[1:], strict=False))
    assert all(0 <= box.y0 and box.y1 <= figure.bbox.y1 and box.x1 <= figure.bbox.x1 for box in boxes)


def test_spread_moves_only_what_is_too_near():
    assert _spread([0.1, 0.5, 0.9], 0.1) == pytest.approx([0.1, 0.5, 0.9])
    assert _spread([0.1, 0.5, 0.5, 0.9], 0.1) == pytest.approx([0.1, 0.45, 0.55, 0.9])
    assert _spread([0.98, 1.0], 0.1) == pytest.approx([0.9, 1.0])
    assert _spread([0.0, 0.01], 0.1) == pytest.approx([0.0, 0.1])
