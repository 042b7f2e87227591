"""Images that generators made earlier."""

from __future__ import annotations

import torch
from torch import Tensor

from crossem.errors import InputError


class ImageHistory:
    """A buffer of earlier translations, to show a discriminator more than the latest ones.

    Half of the images asked about come back as they are, for the other half an earlier one comes back and the new
    one takes its place (Shrivastava et al. 2017, section 2.3; 50 images in Zhu et al. 2017, section 4). Part of a
    checkpoint; in a distributed run each process has its own, and those of the first are what is saved. The images
    are kept on the CPU, where they are after a resume too.

    Args:
        size: images kept of each domain.

    Raises:
        InputError: when ``size`` is below 1.
    """

    def __init__(self, size: int = 50) -> None:
        if size < 1:
            raise InputError(f"history size is {size}: give 1 or more")
        self.size = size
        self.images: dict[str, list[Tensor]] = {}

    def query(self, domain: str, images: Tensor, generator: torch.Generator) -> Tensor:
        """As many images of ``domain`` as given, some of them earlier ones, on the device of the given.

        Args:
            domain: whose buffer to use.
            images: new ones, (N, 1, Y, X), detached.
            generator: of the random choices, on the CPU.
        """
        kept = self.images.setdefault(domain, [])
        answer = []
        for image in images:
            replaced = int(torch.randint(2 * self.size, (), generator=generator))
            if len(kept) < self.size:
                kept.append(_on_cpu(image))
                answer.append(image)
            elif replaced < self.size:
                answer.append(kept[replaced].to(image.device))
                kept[replaced] = _on_cpu(image)
            else:
                answer.append(image)
        return torch.stack(answer)

    def state_dict(self) -> dict[str, Tensor]:
        return {domain: torch.stack(kept) for domain, kept in self.images.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.images = {domain: list(kept.unbind()) for domain, kept in state.items()}


def _on_cpu(image: Tensor) -> Tensor:
    """A copy, which does not keep the batch that the image is a part of."""
    return image.to("cpu", copy=True)
