"""Adaptation in label space: the terms, who learns what from them, and that it moves the target's segmentation."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.inferers import SimpleInferer
from scipy.ndimage import gaussian_filter1d
from torch import nn

from crossem.errors import InputError
from crossem.losses import WeightedCrossEntropyDice
from crossem.methods import LabelSpaceIteration, WeightAverage, parameter_groups
from crossem.methods.label_space import mismatched, one_hot, straight_through
from crossem.networks import AnisotropicUNet, MapDiscriminator, plan_unet

PLAN = plan_unet((50, 10, 10), (2, 32, 32), (4, 8))


def batch_of(size=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(2, size, 1, 2, 32, 32, generator=generator)
    label = (torch.rand(size, 1, 2, 32, 32, generator=generator) < 0.3).to(torch.uint8)
    return {"source": {"image": image[0], "label": label}, "target": {"image": image[1]}}


class Counting(AnisotropicUNet):
    """A network that keeps what it was given."""

    seen = ()

    def forward(self, x):
        self.seen = (*self.seen, x)
        return super().forward(x)


def build(seed=0, learning_rate=0.01, **options):
    """An engine as far as a step needs one, and the method."""
    torch.manual_seed(seed)
    network = Counting(1, 2, PLAN)
    discriminator = MapDiscriminator(2 + options.get("conditional", False), PLAN, (8, 8))
    average = WeightAverage(network)
    engine = SimpleNamespace(
        network=network,
        inferer=SimpleInferer(),
        loss_function=WeightedCrossEntropyDice(),
        optimizer=torch.optim.AdamW(parameter_groups(network, learning_rate, [discriminator], 0.01)),
        state=SimpleNamespace(iteration=1, max_epochs=1, epoch_length=1000, device=torch.device("cpu"), output=None),
        scaler=None,
        amp=False,
        fire_event=lambda event: None,
    )
    return engine, LabelSpaceIteration(average, discriminator, **{"warmup_steps": 0, **options})


def gradients(module):
    return torch.cat([p.grad.flatten() for p in module.parameters()])


def test_maps_are_one_hot_and_pass_the_gradient_of_the_probabilities():
    logits = torch.randn(2, 3, 2, 4, 5, requires_grad=True)
    factor = torch.randn(2, 3, 2, 4, 5)
    maps = straight_through(logits)
    np.testing.assert_allclose(maps.detach(), np.eye(3)[logits.argmax(dim=1)].transpose(0, 4, 1, 2, 3), atol=1e-6)
    (expected,) = torch.autograd.grad((logits.softmax(dim=1) * factor).sum(), logits)
    (result,) = torch.autograd.grad((maps * factor).sum(), logits)
    assert torch.allclose(result, expected)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_mismatched_maps_are_the_same_maps_at_other_places(size):
    label = batch_of(size)["source"]["label"]
    maps = one_hot(label, 2)
    wrong = mismatched(maps)
    assert torch.equal(wrong.sum(dim=(1, 2, 3, 4)), maps.roll(1, dims=0).sum(dim=(1, 2, 3, 4)))
    agreement = (wrong == maps).float().mean(dim=(1, 2, 3, 4))
    assert (agreement < 0.75).all()  # chance: 0.3^2 + 0.7^2 = 0.58


@pytest.mark.parametrize("conditional", [False, True])
def test_terms_are_the_cross_entropies_of_the_papers_pairs(conditional):
    engine, method = build(conditional=conditional)
    batch = batch_of()
    output = method.losses(engine, batch)
    label, image = one_hot(batch["source"]["label"], 2), batch["source"]["image"]
    logits = AnisotropicUNet.forward(engine.network, batch["target"]["image"])
    predicted = torch.stack([logits[:, 1] <= logits[:, 0], logits[:, 1] > logits[:, 0]], dim=1).float()
    pairs = {
        "discriminator_source": (label, image, 1),
        "discriminator_target": (predicted, batch["target"]["image"], 0),
    }
    if conditional:
        other = torch.from_numpy(label.numpy()[[1, 0]][..., ::-1, ::-1].copy())
        pairs["discriminator_mismatched"] = (other, image, 0)
    assert output.terms.keys() == pairs.keys()
    accuracy = []
    for name, (maps, seen, true) in pairs.items():
        verdict = method.discriminator(torch.cat([maps, seen], dim=1) if conditional else maps)
        probability = 1 / (1 + np.exp(-verdict.detach().double().numpy()))
        expected = -np.log(probability if true else 1 - probability).mean()
        assert output.terms[name].item() == pytest.approx(expected, rel=1e-4)
        accuracy.append(((probability > 0.5) == true).mean())
    assert output.monitors["discriminator_accuracy"].item() == pytest.approx(np.mean(accuracy))
    assert torch.equal(output.logits, logits)


@pytest.mark.parametrize("reversal", [1.0, 0.3])
def test_the_network_is_trained_to_raise_what_the_discriminator_lowers(reversal):
    engine, method = build(reversal=reversal)
    batch = batch_of()
    terms = method.losses(engine, batch).terms
    torch.stack(list(terms.values())).sum().backward()
    network, discriminator = gradients(engine.network), gradients(method.discriminator)
    engine.network.zero_grad()
    method.discriminator.zero_grad()
    true = method.discriminator(one_hot(batch["source"]["label"], 2))
    false = method.discriminator(straight_through(engine.network(batch["target"]["image"])))
    loss = nn.functional.binary_cross_entropy_with_logits
    (loss(true, torch.ones_like(true)) + loss(false, torch.zeros_like(false))).backward()
    assert network.abs().max() > 0
    assert torch.allclose(network, -reversal * gradients(engine.network), rtol=1e-4, atol=1e-8)
    assert torch.allclose(discriminator, gradients(method.discriminator), rtol=1e-4, atol=1e-7)


def test_source_images_are_looked_at_only_for_the_source_loss():
    batch = batch_of()
    engine, method = build()
    method.losses(engine, batch)
    assert [x is batch["target"]["image"] for x in engine.network.seen] == [True]
    engine, method = build(source_weight=0.5)
    output = method.losses(engine, batch)
    logits = AnisotropicUNet.forward(engine.network, batch["source"]["image"])
    expected = 0.5 * engine.loss_function(logits, batch["source"]["label"])
    assert output.terms["segmentation"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(output.logits, logits)


def test_target_labels_are_used_where_there_are_some():
    engine, method = build()
    batch = batch_of()
    batch["target"]["label"] = batch["source"]["label"]
    output = method.losses(engine, batch)
    expected = engine.loss_function(output.logits, batch["target"]["label"])
    assert output.terms["target_segmentation"].item() == pytest.approx(expected.item())


def test_the_discriminator_learns_alone_first():
    engine, method = build(warmup_steps=3)
    weights = [p.detach().clone() for p in engine.network.parameters()]
    judge = [p.detach().clone() for p in method.discriminator.parameters()]
    for engine.state.iteration in range(1, 5):
        method(engine, batch_of(1))
        same = all(torch.equal(a, b) for a, b in zip(weights, engine.network.parameters(), strict=True))
        assert same == (engine.state.iteration <= 3)
    assert not any(torch.equal(a, b) for a, b in zip(judge, method.discriminator.parameters(), strict=True))


def stripes(rng, size, width):
    """Label maps with vertical stripes, `width` of 8 pixels wide."""
    start = rng.randint(8, size=(size, 1, 1, 1, 1))
    return ((np.arange(32) + start) % 8 < width) * np.ones((size, 1, 2, 32, 1))


def images(rng, drawn):
    noise = 0.1 * rng.randn(*drawn.shape)
    return torch.from_numpy(gaussian_filter1d(drawn, 0.7, axis=-1, mode="wrap") + noise).float()


def widened(label):
    return np.maximum(label, np.maximum(np.roll(label, 1, axis=-1), np.roll(label, -1, axis=-1)))


def trained_on_source(engine, rng):
    optimizer = torch.optim.Adam(engine.network.parameters(), 0.02)
    for _ in range(40):
        label = stripes(rng, 4, 2)
        optimizer.zero_grad()
        engine.loss_function(engine.network(images(rng, label)), torch.from_numpy(label)).backward()
        optimizer.step()


def test_the_targets_segmentation_becomes_like_the_sources_labels():
    """The target shows the same stripes twice as wide: from label maps alone the network learns to draw them thin."""
    rng = np.random.RandomState(0)
    engine, method = build(learning_rate=0.001, warmup_steps=20)
    trained_on_source(engine, rng)
    method.average = WeightAverage(engine.network, decay=0.9)
    truth = stripes(rng, 8, 2)
    shown = images(rng, widened(truth))

    def score():
        with torch.no_grad():
            predicted = method.average.network(shown).argmax(dim=1, keepdim=True).numpy() == 1
        return (predicted & (truth == 1)).sum() / (predicted | (truth == 1)).sum(), predicted.mean()

    iou_before, share_before = score()
    for engine.state.iteration in range(1, 81):
        label, unseen = stripes(rng, 4, 2), stripes(rng, 4, 2)
        source = {"image": images(rng, label), "label": torch.from_numpy(label)}
        method(engine, {"source": source, "target": {"image": images(rng, widened(unseen))}})
    iou_after, share_after = score()
    assert share_before > 0.3 and share_after == pytest.approx(truth.mean(), abs=0.02)
    assert iou_before < 0.85 and iou_after > 0.92


@pytest.mark.parametrize("option", ["reversal", "source_weight", "warmup_steps"])
@pytest.mark.parametrize("value", [-1, float("nan"), "much"])
def test_what_is_no_number_from_0_on_is_refused(option, value):
    with pytest.raises(InputError, match=f"{option} is {value!r}: give a number, 0 or more"):
        build(**{option: value})
