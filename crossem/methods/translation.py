"""Translation of slices between the domains: stage 1 of translate-then-segment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from monai.engines import SupervisedTrainer
from torch import Tensor, nn

from crossem.checks import checked_number
from crossem.losses import StructureLoss
from crossem.methods.average import WeightAverage
from crossem.methods.history import ImageHistory
from crossem.methods.iteration import Batch, Iteration, StepOutput
from crossem.transforms.normalize import INTENSITY_LIMIT

_OTHER = {"source": "target", "target": "source"}


class TranslationIteration(Iteration):
    """Learns to translate slices both ways: Aalto 2022, section 3.7, equations 3 to 5 (Zhu et al. 2017).

    ``engine.network`` is a ``CycleGAN``, ``engine.loss_function`` the ``adversarial_loss``. Patches are taken apart
    into their z slices, which are translated in-plane. One step updates generators and discriminators together,
    from the same translations: the generators' terms do not reach the discriminators, and the discriminators see
    translations of now and before, cut off from the generators.

    The discriminators see slices with noise added, real and translated ones alike (instance noise; Sonderby et al.
    2017, arXiv:1610.04490). The noise of a microscope cannot be told from the other's image, so a discriminator of
    clean slices knows translations by it: on EPFL and VNC it won within 400 steps, and the generators answered with
    artefacts.

    Terms: ``adversarial_to_D`` (translations to domain D pass as real), ``cycle_D`` (there and back again, L1 in the
    units of tanh), ``structure`` (mean of both directions; only with a weight), ``discriminator_D`` (half of its
    loss on real and on translated slices, as Zhu et al.). The monitor ``discriminator_accuracy`` is the share of
    regions that the discriminators tell rightly; at 1 for long, the generators learn no more.

    Args:
        average: of the generator from source to target.
        history: earlier translations.
        cycle_weight: lambda of equation 5.
        structure_weight: of the ``StructureLoss`` between a slice and its translation; 0 leaves it out.
        noise: standard deviation of the discriminators' noise, in that of a slice.

    Raises:
        InputError: when a weight is negative, or no number.
    """

    def __init__(
        self,
        average: WeightAverage,
        history: ImageHistory,
        cycle_weight: float = 10.0,
        structure_weight: float = 1.0,
        noise: float = 0.5,
    ) -> None:
        super().__init__(average)
        self.history = history
        self.cycle_weight = checked_number("cycle_weight", cycle_weight)
        self.structure_weight = checked_number("structure_weight", structure_weight)
        self.noise = checked_number("discriminator_noise", noise)
        self.structure = StructureLoss()

    def losses(self, engine: SupervisedTrainer, batch: Batch) -> StepOutput:
        network = engine.network
        real = {domain: as_slices(batch[domain]["image"]) for domain in _OTHER}
        translated = {domain: network.generators[domain](real[_OTHER[domain]]) for domain in _OTHER}
        back = {domain: network.generators[domain](translated[_OTHER[domain]]) for domain in _OTHER}
        generator = torch.Generator().manual_seed(engine.state.iteration)
        terms = self._generator_terms(engine, real, translated, back, generator)
        discriminator_terms, accuracy = self._discriminator_terms(engine, real, translated, generator)
        images = {
            f"{domain}_to_{other}": _side_by_side(real[domain], translated[other], back[domain])
            for domain, other in _OTHER.items()
        }
        return StepOutput(
            terms | discriminator_terms, _as_volume(translated["target"]), {"discriminator_accuracy": accuracy}, images
        )

    def _generator_terms(
        self,
        engine: SupervisedTrainer,
        real: dict[str, Tensor],
        translated: dict[str, Tensor],
        back: dict[str, Tensor],
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        network, terms = engine.network, {}
        with frozen(network.discriminators):
            for domain, fake in translated.items():
                logits = network.discriminate(domain, self._noisy(fake, generator))
                terms[f"adversarial_to_{domain}"] = engine.loss_function(logits, real=True)
        for domain in _OTHER:
            difference = (back[domain].float() - real[domain]).abs().mean() / INTENSITY_LIMIT
            terms[f"cycle_{domain}"] = self.cycle_weight * difference
        if self.structure_weight:
            kept = [self.structure(real[_OTHER[domain]], translated[domain]) for domain in _OTHER]
            terms["structure"] = self.structure_weight * torch.stack(kept).mean()
        return terms

    def _discriminator_terms(
        self,
        engine: SupervisedTrainer,
        real: dict[str, Tensor],
        translated: dict[str, Tensor],
        generator: torch.Generator,
    ) -> tuple[dict[str, Tensor], Tensor]:
        terms, right = {}, []
        for domain in _OTHER:
            fake = self.history.query(domain, translated[domain].detach().float(), generator)
            logits = [engine.network.discriminate(domain, self._noisy(x, generator)) for x in (real[domain], fake)]
            halves = [engine.loss_function(x, real=r) for x, r in zip(logits, (True, False), strict=True)]
            terms[f"discriminator_{domain}"] = 0.5 * (halves[0] + halves[1])
            right += [(logits[0] > 0).float().mean(), (logits[1] <= 0).float().mean()]
        return terms, torch.stack(right).mean().detach()

    def _noisy(self, slices: Tensor, generator: torch.Generator) -> Tensor:
        return slices + self.noise * torch.randn(slices.shape, generator=generator).to(slices.device)


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """What is computed inside gives the module's parameters no gradient."""
    trained = [p for p in module.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def as_slices(patches: Tensor) -> Tensor:
    """(B, 1, Z, Y, X) as (B * Z, 1, Y, X)."""
    return patches.transpose(1, 2).flatten(0, 1)


def _as_volume(slices: Tensor) -> Tensor:
    """(N, 1, Y, X) as N volumes of one slice, (N, 1, 1, Y, X)."""
    return slices[:, :, None]


def _side_by_side(*slices: Tensor) -> Tensor:
    return torch.cat([_as_volume(s.detach().float()) for s in slices], dim=-1)
