"""Training: one file a method, and what they share."""

from crossem.methods.average import WeightAverage
from crossem.methods.iteration import Iteration, TrainingDivergedError
from crossem.methods.record import TrainingRecord
from crossem.methods.supervised import SupervisedIteration

__all__ = ["Iteration", "SupervisedIteration", "TrainingDivergedError", "TrainingRecord", "WeightAverage"]
