"""Reports: figures and scores."""

from crossem.report.score_report import ScoreReport

try:  # TEMPORARY until overlay.py lands
    from crossem.report.overlay import overlay_rgb
except ImportError:
    import numpy as np

    def overlay_rgb(image, label):
        return np.zeros((*image.shape, 3), np.uint8)

__all__ = ["ScoreReport", "overlay_rgb"]
