"""Y-Net: the terms of equation 2, what they train, and that both domains are reconstructed."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.engines import SupervisedTrainer
from monai.transforms import Compose

from crossem.data import PatchDataset, datalist_items, load_datalist, make_phantom, training_loader
from crossem.errors import InputError
from crossem.losses import WeightedCrossEntropyDice
from crossem.methods import WeightAverage, YNetIteration, parameter_groups
from crossem.networks import AnisotropicUNet, Decoder, plan_unet
from crossem.transforms import training_preprocessing

VOXEL_SIZE_ZYX_NM, ROI_ZYX = (45, 9.5, 9.5), (8, 32, 32)
PLAN = plan_unet(VOXEL_SIZE_ZYX_NM, ROI_ZYX, (8, 16, 24))


def networks(seed=0):
    torch.manual_seed(seed)
    return AnisotropicUNet(1, 2, PLAN), Decoder(PLAN, 1, skips=False)


def step(network, reconstruction, batch, **weights):
    engine = SimpleNamespace(network=network, loss_function=WeightedCrossEntropyDice())
    return YNetIteration(WeightAverage(network), reconstruction, **weights).losses(engine, batch)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 2, 1, *ROI_ZYX, generator=generator)
    label = (torch.rand(2, 1, *ROI_ZYX, generator=generator) < 0.3).to(torch.uint8)
    return {"source": {"image": images[0], "label": label}, "target": {"image": images[1]}}


def test_terms_are_those_of_equation_2(batch):
    network, reconstruction = networks()
    output = step(network, reconstruction, batch, source_weight=0.25, target_weight=3.0)
    assert list(output.terms) == ["segmentation", "source_reconstruction", "target_reconstruction"]
    assert torch.equal(output.logits, network(batch["source"]["image"]))
    expected = WeightedCrossEntropyDice()(output.logits, batch["source"]["label"])
    assert output.terms["segmentation"].item() == pytest.approx(expected.item())
    for domain, weight in (("source", 0.25), ("target", 3.0)):
        image = batch[domain]["image"]
        reconstructed = reconstruction(network.encoder(image)).detach().numpy()
        error = np.mean((reconstructed.astype(np.float64) - image.numpy()) ** 2)
        assert output.terms[f"{domain}_reconstruction"].item() == pytest.approx(weight * error, rel=1e-5)
        picture = output.images[f"{domain}_reconstruction"].detach().numpy()
        np.testing.assert_allclose(picture, np.concatenate([image.numpy()[:1], reconstructed[:1]], -1), atol=1e-6)


def test_the_target_is_segmented_only_where_it_has_labels(batch):
    network, reconstruction = networks()
    label, weight = torch.zeros_like(batch["source"]["label"]), torch.zeros(2, 1, *ROI_ZYX)
    label[..., 3:9, 2:7], weight[..., :16] = 1, 1.0
    labelled = batch | {"target": batch["target"] | {"label": label, "weight": weight}}
    terms = step(network, reconstruction, labelled).terms
    expected = WeightedCrossEntropyDice()(network(batch["target"]["image"]), label, weight)
    assert terms["target_segmentation"].item() == pytest.approx(expected.item())


def test_a_reconstruction_trains_the_encoder_and_its_own_decoder_only(batch):
    network, reconstruction = networks()
    step(network, reconstruction, batch).terms["target_reconstruction"].backward()
    assert all(p.grad.abs().sum() > 0 for p in (*network.encoder.parameters(), *reconstruction.parameters()))
    assert all(p.grad is None for p in network.decoder.parameters())


def test_without_weights_the_network_is_trained_as_by_the_source_alone(batch):
    network, reconstruction = networks()
    sum(step(network, reconstruction, batch, source_weight=0, target_weight=0).terms.values()).backward()
    alone, _ = networks()
    WeightedCrossEntropyDice()(alone(batch["source"]["image"]), batch["source"]["label"]).backward()
    for own, other in zip(network.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad)


@pytest.mark.parametrize(("name", "value"), [("source", -1), ("target", "1"), ("target", float("nan"))])
def test_a_wrong_weight_is_named(name, value):
    network, reconstruction = networks()
    with pytest.raises(InputError, match=f"{name}_reconstruction_weight is {value!r}: give a number"):
        YNetIteration(WeightAverage(network), reconstruction, **{f"{name}_weight": value})


def patches(data, domain, split):
    """Of the phantom as it is: without augmentation."""
    items = datalist_items(data, domain, split, labelled=domain == "source")
    preprocessing = training_preprocessing(VOXEL_SIZE_ZYX_NM, 2, 1.0 if domain == "source" else 0)
    return PatchDataset(items, preprocessing, ROI_ZYX, Compose([]))


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    """Training patches and some of the validation volumes, by domain."""
    data = load_datalist(make_phantom(tmp_path_factory.mktemp("phantom") / "phantom", size="small"))
    training = {domain: patches(data, domain, "training") for domain in ("source", "target")}
    unseen = {domain: patches(data, domain, "validation") for domain in training}
    return training, {d: torch.stack([p[i]["image"] for i in range(12)]) for d, p in unseen.items()}


def unexplained(network, reconstruction, image):
    """Mean-squared error as a share of that of predicting each patch's mean."""
    with torch.no_grad():
        error = (reconstruction(network.encoder(image)) - image) ** 2
    return float(error.mean() / image.var(dim=(1, 2, 3, 4), unbiased=False).mean())


def trained(training, steps=60, **weights):
    network, reconstruction = networks()
    SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=training_loader(batch_size=2, steps_per_epoch=steps, **training),
        network=network,
        optimizer=torch.optim.AdamW(parameter_groups(network, 0.005, [reconstruction], 0.005)),
        loss_function=WeightedCrossEntropyDice(),
        iteration_update=YNetIteration(WeightAverage(network), reconstruction, **weights),
        decollate=False,
    ).run()
    return network, reconstruction


def test_unseen_volumes_of_both_domains_are_reconstructed(phantom):
    training, unseen = phantom
    before, after = networks(), trained(training)
    for image in unseen.values():
        assert unexplained(*after, image) < 0.5 < 1 < unexplained(*before, image)
    source_alone = trained(training, target_weight=0)
    target = unseen["target"]
    assert unexplained(*after, target) < 0.9 * unexplained(*source_alone, target)
