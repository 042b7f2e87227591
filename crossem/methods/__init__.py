"""Training: one file a method, and what they share."""

from crossem.methods.alignment import AlignmentIteration, feature_alignment
from crossem.methods.average import WeightAverage
from crossem.methods.entropy_minimization import EntropyMinimization
from crossem.methods.history import ImageHistory
from crossem.methods.iteration import Iteration, StepOutput, TrainingDivergedError
from crossem.methods.label_space import LabelSpaceIteration
from crossem.methods.parameters import parameter_groups
from crossem.methods.record import TrainingRecord
from crossem.methods.self_training import ForegroundThreshold, SelfTrainingIteration, pseudo_labels
from crossem.methods.supervised import SupervisedIteration
from crossem.methods.translation import TranslationIteration
from crossem.methods.translation_stage import SourceTranslation, TranslationStage, check_no_target_labels
from crossem.methods.ynet import YNetIteration

__all__ = [
    "AlignmentIteration",
    "EntropyMinimization",
    "ForegroundThreshold",
    "ImageHistory",
    "Iteration",
    "LabelSpaceIteration",
    "SelfTrainingIteration",
    "SourceTranslation",
    "StepOutput",
    "SupervisedIteration",
    "TrainingDivergedError",
    "TrainingRecord",
    "TranslationIteration",
    "TranslationStage",
    "WeightAverage",
    "YNetIteration",
    "check_no_target_labels",
    "feature_alignment",
    "parameter_groups",
    "pseudo_labels",
]
