"""Reports: figures and scores."""

from crossem.report.curve import label_fraction_curve
from crossem.report.overlay import overlay_rgb, overlay_slices, save_figure
from crossem.report.score_report import ScoreReport

__all__ = ["ScoreReport", "label_fraction_curve", "overlay_rgb", "overlay_slices", "save_figure"]
