"""Y-Net: a second decoder reconstructs both domains from the features that segment."""

from __future__ import annotations

import torch
from monai.engines import SupervisedTrainer
from torch.nn import functional

from crossem.checks import checked_number
from crossem.methods.average import WeightAverage
from crossem.methods.iteration import Batch, Iteration, StepOutput
from crossem.methods.supervised import segmentation_loss, target_segmentation
from crossem.networks import Decoder


class YNetIteration(Iteration):
    """Segmentation of the source, and reconstruction of source and target through the same encoder.

    Roels et al. 2019, section 4, equation 2:

        L = L_s(y^ source, y source) + lambda_r^s L_r(x^ source, x source) + lambda_r^t L_r(x^ target, x target)

    with L_r the mean-squared error and x the patch that the encoder was given, augmentation included. The encoder
    has to keep what it takes to draw the target, which holds its features in use there. With target labels a
    segmentation loss of the target is added; the authors found that this limits the segmentation network, and
    fine-tune it afterwards, without the reconstruction decoder.

    Terms: "segmentation", "source_reconstruction", "target_reconstruction" and, with target labels,
    "target_segmentation". Images: "source_reconstruction" and "target_reconstruction", the patch left and its
    reconstruction right.

    Args:
        average: running average of the weights.
        reconstruction: decoder from the encoder's coarsest features to one channel, ``skips=False``: skip connections
            would copy the image past the features. Its parameters belong to the optimiser.
        source_weight: lambda_r^s; 0 leaves the term without effect.
        target_weight: lambda_r^t, likewise.

    Raises:
        InputError: when a weight is negative or no number.
    """

    def __init__(
        self, average: WeightAverage, reconstruction: Decoder, source_weight: float = 1.0, target_weight: float = 1.0
    ) -> None:
        super().__init__(average)
        self.reconstruction = reconstruction
        self.weights = {"source": source_weight, "target": target_weight}
        for domain, weight in self.weights.items():
            checked_number(f"{domain}_reconstruction_weight", weight)

    def losses(self, engine: SupervisedTrainer, batch: Batch) -> StepOutput:
        network, source, target = engine.network, batch["source"], batch["target"]
        encoded = {domain: network.encoder(batch[domain]["image"]) for domain in self.weights}
        logits = network.decoder(encoded["source"])
        terms = {"segmentation": segmentation_loss(engine, logits, source)}
        if "label" in target:
            terms |= target_segmentation(engine, network.decoder(encoded["target"]), target)
        images = {}
        for domain, weight in self.weights.items():
            image = batch[domain]["image"].float()
            reconstructed = self.reconstruction(encoded[domain]).float()
            terms[f"{domain}_reconstruction"] = weight * functional.mse_loss(reconstructed, image)
            images[f"{domain}_reconstruction"] = torch.cat([image[:1], reconstructed[:1]], dim=-1)
        return StepOutput(terms, logits, images=images)
