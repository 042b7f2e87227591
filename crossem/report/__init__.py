"""Reports: figures and scores."""

from crossem.report.comparison import write_report
from crossem.report.curve import label_fraction_curve
from crossem.report.overlay import overlay_rgb, overlay_slices, save_figure
from crossem.report.score import Score
from crossem.report.score_report import ScoreReport

__all__ = [
    "Score",
    "ScoreReport",
    "label_fraction_curve",
    "overlay_rgb",
    "overlay_slices",
    "save_figure",
    "write_report",
]
