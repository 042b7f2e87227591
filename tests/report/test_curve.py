from crossem.report import label_fraction_curve, save_figure


def test_every_score_is_drawn_where_it_belongs(tmp_path):
    scores = {"fine-tuned": {1.0: 0.7, 0.05: 0.4, 0.15: 0.5}, "from scratch": {0.05: 0.1, 0.15: 0.3, 1.0: 0.7}}
    figure = label_fraction_curve(scores, "IoU", {"source only": 0.35})
    (axes,) = figure.axes
    tuned, scratch, level = axes.lines
    assert list(tuned.get_ydata()) == [0.4, 0.5, 0.7] and list(scratch.get_ydata()) == [0.1, 0.3, 0.7]
    assert set(level.get_ydata()) == {0.35}
    assert [t.get_text() for t in axes.get_xticklabels()] == ["5 %", "15 %", "100 %"]
    assert [t.get_text() for t in axes.get_legend().get_texts()] == [
        "fine-tuned", "from scratch", "source only (0.35)"
    ]  # fmt: skip
    assert save_figure(figure, tmp_path / "curve.png").stat().st_size > 1000
