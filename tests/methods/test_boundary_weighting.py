"""What weights do to thin boundaries: two trainings on the phantom that differ in their weights alone."""

import pytest
import torch

from crossem.data import (
    PatchDataset,
    datalist_items,
    expand_z_phases,
    load_datalist,
    make_phantom,
    training_loader,
)
from crossem.inference import SlidingWindowInferer
from crossem.losses import WeightedCrossEntropyDice
from crossem.networks import AnisotropicUNet, plan_unet
from crossem.transforms import boundary_weights, em_augmentation, training_preprocessing

WORKING_VOXEL_SIZE_ZYX_NM = (50, 10, 10)
ROI_SIZE_ZYX = (4, 64, 64)
PLAN = plan_unet(WORKING_VOXEL_SIZE_ZYX_NM, ROI_SIZE_ZYX, (8, 16, 32))


@pytest.fixture(scope="module")
def datalist(tmp_path_factory):
    return load_datalist(make_phantom(tmp_path_factory.mktemp("data") / "phantom", size="small", labels="boundaries"))


def trained(datalist, weighting):
    """100 steps on the source, the seed being that of every other call."""
    torch.manual_seed(0)
    network = AnisotropicUNet(1, 2, PLAN)
    weights = boundary_weights(weighting, datalist["classes"], boundary_ratio=10)
    items = expand_z_phases(datalist_items(datalist, "source", "training"), 5, WORKING_VOXEL_SIZE_ZYX_NM[0])
    preprocessing = training_preprocessing(WORKING_VOXEL_SIZE_ZYX_NM, 2, weighting=weights)
    dataset = PatchDataset(items, preprocessing, ROI_SIZE_ZYX, em_augmentation(0.0))
    loss, optimizer = WeightedCrossEntropyDice(), torch.optim.AdamW(network.parameters(), 0.005)
    for batch in training_loader(batch_size=2, steps_per_epoch=100, source=dataset):
        source = batch["source"]
        optimizer.zero_grad()
        loss(network(source["image"]), source["label"], source["weight"]).backward()
        optimizer.step()
    return network.eval()


@torch.no_grad()
def scores(datalist, network):
    """Jaccard score and precision of the boundary on the source's validation volume, on the grid of the training.

    The file's grid has sections of a fifth of the thickness, over which a boundary moves by its own width: whatever
    is drawn wider than it is scores better there, and one cannot tell what the weights did.
    """
    (item,) = datalist_items(datalist, "source", "validation")
    volume = training_preprocessing(WORKING_VOXEL_SIZE_ZYX_NM, 2)(item)
    inferer = SlidingWindowInferer((8, 96, 96), divisor_zyx=PLAN.window_divisor_zyx, dtype=torch.float32)
    predicted = inferer(volume["image"][None], network)[0].argmax(dim=0) == 1
    truth = volume["label"][0] == 1
    overlap = (predicted & truth).sum()
    return (overlap / (predicted | truth).sum()).item(), (overlap / predicted.sum()).item()


def test_distance_weights_beat_the_ratio_of_ten_to_one_on_thin_boundaries(datalist):
    """The ratio makes a boundary worth ten false alarms beside it, and it comes out too wide."""
    iou, precision = scores(datalist, trained(datalist, "distance"))
    iou_of_ratio, precision_of_ratio = scores(datalist, trained(datalist, "ratio"))
    assert iou > iou_of_ratio + 0.02
    assert precision > precision_of_ratio + 0.05
    assert min(iou, iou_of_ratio) > 0.4  # both have learnt
