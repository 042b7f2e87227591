"""Reports: figures and scores."""

from crossem.report.overlay import overlay_rgb, overlay_slices, save_figure
from crossem.report.score_report import ScoreReport

__all__ = ["ScoreReport", "overlay_rgb", "overlay_slices", "save_figure"]
