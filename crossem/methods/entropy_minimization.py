"""Entropy minimisation on the target, direct and adversarial."""

from __future__ import annotations

from torch import Tensor, nn

from crossem.checks import checked_number
from crossem.losses import domain_accuracy, domain_loss, entropy_loss, self_information
from crossem.methods.alignment import TermsAndMonitors
from crossem.networks import MapDiscriminator, UNetPlan, ganin_ramp, gradient_reversal


class EntropyMinimization(nn.Module):
    """Makes the predictions on the target as certain as those on the source (Vu et al. 2019, "ADVENT").

    Direct (section 3.1): the entropy of the target's predictions is minimised. Adversarial (section 3.2): a
    discriminator tells the weighted self-information maps of the domains apart, and the target's are trained to
    fool it. Here a gradient reversal does so, in the same pass, where Vu et al. use a second one with the label
    flipped; the source's maps are the example to follow and get no gradient, as there.

    The module is called with the logits of the source, (B, C, Z, Y, X), those of the target, and the progress of
    the ramp, 0 to 1: the terms come in with Ganin's schedule, or an untrained network would be made sure of its
    first guesses. It returns the terms ``entropy`` and ``adversarial_entropy`` (those whose weight is not 0), and
    monitors the ``target_entropy`` (0 to 1) and the ``entropy_domain_accuracy``.

    Args:
        weight: of the direct term; 0 leaves it out.
        adversarial_weight: of the adversarial term; 0 leaves it out.
        num_classes: C above.
        plan: the segmentation network's plan, which the discriminator follows.

    Raises:
        InputError: when a weight is no number, or negative.
    """

    def __init__(self, weight: float, adversarial_weight: float, num_classes: int, plan: UNetPlan) -> None:
        super().__init__()
        checked_number("entropy_weight", weight)
        checked_number("adversarial_entropy_weight", adversarial_weight)
        self.weight, self.adversarial_weight = weight, adversarial_weight
        self.discriminator = MapDiscriminator(num_classes, plan) if adversarial_weight else None

    def forward(self, source_logits: Tensor, target_logits: Tensor, progress: float) -> TermsAndMonitors:
        terms, ramp = {}, ganin_ramp(progress)
        entropy = entropy_loss(target_logits)
        monitors: dict[str, Tensor | float] = {"target_entropy": entropy.detach()}
        if self.weight:
            terms["entropy"] = self.weight * ramp * entropy
        if self.discriminator is not None:
            source = self.discriminator(self_information(source_logits.detach()))
            target = self.discriminator(gradient_reversal(self_information(target_logits), ramp))
            terms["adversarial_entropy"] = self.adversarial_weight * domain_loss(source, target)
            monitors["entropy_domain_accuracy"] = domain_accuracy(source, target)
        return terms, monitors
