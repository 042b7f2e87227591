"""Alignment of the features of two domains: DANN, MMD and CORAL on any levels of the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from monai.engines import SupervisedTrainer
from torch import Tensor, nn

from crossem.checks import checked_number
from crossem.errors import InputError
from crossem.losses import coral, domain_accuracy, domain_loss, mmd
from crossem.methods.average import WeightAverage
from crossem.methods.iteration import Batch, Iteration, StepOutput
from crossem.methods.supervised import segmentation_loss, target_segmentation
from crossem.networks import DomainDiscriminator, UNetPlan, feature_levels, ganin_ramp, gradient_reversal

Features = Mapping[str, Tensor]
TermsAndMonitors = tuple[dict[str, Tensor], dict[str, Tensor | float]]

SCHEDULES: dict[str, Callable[[float], float]] = {"ganin": ganin_ramp, "constant": lambda progress: 1.0}
DISCREPANCIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mmd": mmd, "coral": coral}
ALIGNMENTS = ("dann", *DISCREPANCIES, "none")


def feature_alignment(
    kind: str,
    levels: Mapping[str, float],
    plan: UNetPlan,
    reversal: float = 1.0,
    reversal_schedule: str = "ganin",
) -> nn.Module:
    """The domain term of equation 1 of Roels et al. 2019, sum over levels i of lambda_i * L_d(f_i source, f_i target).

    The module is called with the features of the source, those of the target (as ``forward_features`` returns
    them) and the progress of the ramp, 0 to 1. It returns the terms ``alignment_LEVEL``, each multiplied by its
    lambda, and what to monitor. Its parameters, those of the discriminators, belong to the optimiser.

    Args:
        kind: "dann" (domain discriminators behind a gradient reversal), "mmd", "coral", or "none".
        levels: lambda of each level to align, by the name of its features; Roels et al. let them increase with
            depth.
        plan: the segmentation network's plan.
        reversal: largest factor of the reversed gradient ("dann" only).
        reversal_schedule: "ganin" (from 0 up to ``reversal``) or "constant" ("dann" only).

    Raises:
        InputError: when a name is not known, no level is given, or a number is out of its range.
    """
    if kind not in ALIGNMENTS:
        raise InputError(f"alignment is {kind!r}: give one of {', '.join(ALIGNMENTS)}")
    _check_levels(levels, plan)
    if reversal_schedule not in SCHEDULES:
        raise InputError(f"reversal_schedule is {reversal_schedule!r}: give one of {', '.join(SCHEDULES)}")
    checked_number("reversal", reversal)
    if kind == "none":
        return NoAlignment()
    if kind == "dann":
        return DomainAdversarialAlignment(levels, plan, reversal, SCHEDULES[reversal_schedule])
    return DiscrepancyAlignment(levels, DISCREPANCIES[kind])


def _check_levels(levels: Mapping[str, float], plan: UNetPlan) -> None:
    known = ", ".join(feature_levels(plan))
    if not isinstance(levels, Mapping) or not levels:
        raise InputError(f"alignment_levels is {levels}: give a weight by level, as {{'encoder_1': 0.5}}, of {known}")
    for name, weight in levels.items():
        if name not in feature_levels(plan):
            raise InputError(f"alignment_levels names {name!r}, which does not exist: give some of {known}")
        checked_number(f"the weight of {name} in alignment_levels", weight)


class NoAlignment(nn.Module):
    """No term: the source alone, or with target labels or entropy minimisation."""

    def forward(self, source: Features, target: Features, progress: float) -> TermsAndMonitors:
        return {}, {}


class DomainAdversarialAlignment(nn.Module):
    """DANN: the features are trained so that no discriminator tells the domains apart.

    Behind a gradient reversal (Ganin et al. 2016) stands one discriminator a level, as several levels are harder
    to fool than the last one (Kamnitsas et al. 2017). Monitored: ``domain_accuracy``, the mean of the levels,
    ``domain_accuracy_LEVEL`` and the ``reversal`` factor. An accuracy near 0.5 while the discriminators learn means
    aligned features.

    Args:
        levels: lambda by name, see ``feature_alignment``.
        plan: the segmentation network's plan.
        reversal: largest factor.
        schedule: from the progress to the share of it.
    """

    def __init__(
        self, levels: Mapping[str, float], plan: UNetPlan, reversal: float, schedule: Callable[[float], float]
    ) -> None:
        super().__init__()
        self.levels, self.reversal, self.schedule = dict(levels), reversal, schedule
        depth = feature_levels(plan)
        self.discriminators = nn.ModuleDict({name: DomainDiscriminator(plan, depth[name]) for name in levels})

    def forward(self, source: Features, target: Features, progress: float) -> TermsAndMonitors:
        factor = self.reversal * self.schedule(progress)
        terms, accuracies = {}, {}
        for name, weight in self.levels.items():
            discriminator = self.discriminators[name]
            logits = [discriminator(gradient_reversal(features[name], factor)) for features in (source, target)]
            terms[f"alignment_{name}"] = weight * domain_loss(*logits)
            accuracies[f"domain_accuracy_{name}"] = domain_accuracy(*logits)
        mean = torch.stack(list(accuracies.values())).mean()
        return terms, {"domain_accuracy": mean, **accuracies, "reversal": factor}


class DiscrepancyAlignment(nn.Module):
    """A distance between samples of the feature vectors of the domains (MMD or CORAL), minimised directly.

    Args:
        levels: lambda by name, see ``feature_alignment``.
        discrepancy: of two samples, (n, channels) each.
        vectors: feature vectors taken of a patch; with it the cost is bounded, whatever the patch size is.
    """

    def __init__(
        self, levels: Mapping[str, float], discrepancy: Callable[[Tensor, Tensor], Tensor], vectors: int = 256
    ) -> None:
        super().__init__()
        self.levels, self.discrepancy, self.vectors = dict(levels), discrepancy, vectors

    def forward(self, source: Features, target: Features, progress: float) -> TermsAndMonitors:
        terms = {}
        for name, weight in self.levels.items():
            samples = [sample_vectors(features[name], self.vectors) for features in (source, target)]
            terms[f"alignment_{name}"] = weight * self.discrepancy(*samples)
        return terms, {}


def sample_vectors(features: Tensor, count: int) -> Tensor:
    """At most ``count`` feature vectors of each patch: (B, C, Z, Y, X) to (B * n, C).

    The positions are spread at random, and always the same: where the patches are from is random already.
    """
    vectors = features.flatten(2)
    positions = vectors.shape[2]
    if positions > count:
        chosen = torch.randperm(positions, generator=torch.Generator().manual_seed(0))[:count]
        vectors = vectors[:, :, chosen.to(features.device)]
    return vectors.transpose(1, 2).flatten(0, 1)


class AlignmentIteration(Iteration):
    """Segmentation of the source, with the features (and predictions) of the target drawn to the source's.

    Roels et al. 2019, equation 1; with target labels a segmentation loss of the target is added (section 3, the
    semi-supervised case).

    Args:
        average: running average of the weights.
        alignment: of ``feature_alignment``.
        entropy: an ``EntropyMinimization``, or None.
        ramp_steps: after so many steps the reversal and the entropy terms have their full strength. A number of its
            own, so that a training can be lengthened.

    Raises:
        InputError: when ``ramp_steps`` is not positive.
    """

    def __init__(
        self, average: WeightAverage, alignment: nn.Module, entropy: nn.Module | None = None, ramp_steps: int = 1000
    ) -> None:
        super().__init__(average)
        checked_number("ramp_steps", ramp_steps, minimum=1)
        self.alignment, self.entropy, self.ramp_steps = alignment, entropy, ramp_steps

    def losses(self, engine: SupervisedTrainer, batch: Batch) -> StepOutput:
        source, target = batch["source"], batch["target"]
        progress = min(1.0, engine.state.iteration / self.ramp_steps)
        source_logits, source_features = engine.network.forward_features(source["image"])
        target_logits, target_features = engine.network.forward_features(target["image"])
        terms = {"segmentation": segmentation_loss(engine, source_logits, source)}
        terms |= target_segmentation(engine, target_logits, target)
        more, monitors = self.alignment(source_features, target_features, progress)
        terms |= more
        if self.entropy is not None:
            more, more_monitors = self.entropy(source_logits, target_logits, progress)
            terms |= more
            monitors |= more_monitors
        return StepOutput(terms, source_logits, monitors)
