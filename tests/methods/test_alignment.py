"""Feature alignment: the sign of the gradient, and what it does to the features of the phantom's domains."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from monai.transforms import Compose

from crossem.data import PatchDataset, datalist_items, load_datalist, make_phantom, target_items, training_loader
from crossem.errors import InputError
from crossem.losses import WeightedCrossEntropyDice, domain_loss
from crossem.methods import AlignmentIteration, WeightAverage, feature_alignment, parameter_groups
from crossem.methods.alignment import sample_vectors
from crossem.networks import AnisotropicUNet, plan_unet
from crossem.transforms import training_preprocessing

VOXEL_SIZE_ZYX_NM, ROI_ZYX = (45, 9.5, 9.5), (8, 32, 32)
PLAN = plan_unet(VOXEL_SIZE_ZYX_NM, ROI_ZYX, (8, 16, 24))


@pytest.fixture(scope="module")
def patches(tmp_path_factory):
    """The domains of the phantom as they are: no augmentation that would hide their difference."""
    data = load_datalist(make_phantom(tmp_path_factory.mktemp("phantom") / "phantom", size="small"))
    domains = {"source": (datalist_items(data, "source", "training"), 1.0), "target": (target_items(data, 0), 0)}
    return {
        name: PatchDataset(
            items, training_preprocessing(VOXEL_SIZE_ZYX_NM, 2, fraction), ROI_ZYX, Compose([]), seed=seed
        )
        for seed, (name, (items, fraction)) in enumerate(domains.items())
    }


def train(patches, kind, level_weight, steps, reversal=1.0):
    """Mean of what was logged over the last 15 steps."""
    torch.manual_seed(0)
    network = AnisotropicUNet(1, 2, PLAN)
    alignment = feature_alignment(kind, {"encoder_1": level_weight}, PLAN, reversal, "constant")
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=training_loader(batch_size=2, steps_per_epoch=steps, **patches),
        network=network,
        optimizer=torch.optim.AdamW(parameter_groups(network, 0.002, [alignment], 0.005)),
        loss_function=WeightedCrossEntropyDice(),
        iteration_update=AlignmentIteration(WeightAverage(network), alignment),
        decollate=False,
    )
    logged = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: logged.append(engine.state.output["terms"]))
    trainer.run()
    return {name: np.mean([step[name] for step in logged[-15:]]) for name in logged[0]}


def test_reversal_moves_the_domain_accuracy_toward_chance(patches):
    alone, reversed_ = (train(patches, "dann", 1.0, steps=60, reversal=factor) for factor in (0.0, 1.0))
    assert alone["domain_accuracy"] > 0.62  # the discriminator learns what it may
    assert abs(reversed_["domain_accuracy"] - 0.5) < 0.6 * abs(alone["domain_accuracy"] - 0.5)
    assert reversed_["alignment_encoder_1"] > alone["alignment_encoder_1"]
    assert reversed_["segmentation"] < 1.2 * alone["segmentation"]


@pytest.mark.parametrize(("kind", "weight"), [("mmd", 10.0), ("coral", 100.0)])
def test_the_discrepancy_falls_when_it_is_minimised(patches, kind, weight):
    watched = train(patches, kind, 1e-9, steps=20)["alignment_encoder_1"] / 1e-9
    minimised = train(patches, kind, weight, steps=20)["alignment_encoder_1"] / weight
    assert minimised < 0.6 * watched


@pytest.fixture
def features():
    torch.manual_seed(0)
    network = AnisotropicUNet(1, 2, PLAN)
    return network, *(network.forward_features(torch.randn(2, 1, *ROI_ZYX) + i)[1] for i in range(2))


@pytest.mark.parametrize("level", ["encoder_2", "decoder_0"])
def test_the_encoder_gets_the_opposite_gradient_and_the_discriminator_its_own(features, level):
    network, source, target = features
    alignment = feature_alignment("dann", {level: 0.5}, PLAN, reversal=0.7, reversal_schedule="constant")
    discriminator = alignment.discriminators[level]
    terms, _ = alignment(source, target, progress=0.0)
    plain = 0.5 * domain_loss(discriminator(source[level]), discriminator(target[level]))
    torch.testing.assert_close(terms[f"alignment_{level}"], plain)
    for module, factor in ((network.encoder, -0.7), (discriminator, 1.0)):
        parameters = list(module.parameters())
        expected = torch.autograd.grad(plain, parameters, retain_graph=True)
        got = torch.autograd.grad(terms[f"alignment_{level}"], parameters, retain_graph=True)
        assert any(gradient.abs().max() > 1e-6 for gradient in expected)
        for a, b in zip(got, expected, strict=True):
            torch.testing.assert_close(a, factor * b, rtol=1e-4, atol=1e-7)


def test_terms_are_weighted_and_every_level_is_monitored(features):
    _, source, target = features
    one, both = ({"encoder_1": 1.0}, {"encoder_1": 3.0, "decoder_0": 1.0})
    for kind in ("mmd", "coral"):
        single, _ = feature_alignment(kind, one, PLAN)(source, target, 1.0)
        terms, monitors = feature_alignment(kind, both, PLAN)(source, target, 1.0)
        assert terms.keys() == {"alignment_encoder_1", "alignment_decoder_0"} and not monitors
        torch.testing.assert_close(terms["alignment_encoder_1"], 3 * single["alignment_encoder_1"])
    _, monitors = feature_alignment("dann", both, PLAN, reversal=0.5)(source, target, 0.1)
    assert monitors["reversal"] == pytest.approx(0.5 * np.tanh(0.5))
    levels = [monitors[f"domain_accuracy_{name}"].item() for name in both]
    assert monitors["domain_accuracy"].item() == pytest.approx(np.mean(levels))


def test_equal_domains_have_no_discrepancy(features):
    _, source, _ = features
    for kind in ("mmd", "coral"):
        terms, _ = feature_alignment(kind, dict.fromkeys(source, 1.0), PLAN)(source, source, 1.0)
        assert [term.item() for term in terms.values()] == pytest.approx([0] * len(source), abs=1e-6)


def test_sampled_vectors_are_bounded_and_are_vectors_of_the_features():
    features = torch.randn(2, 3, 4, 5, 6)
    vectors = sample_vectors(features, 10)
    assert vectors.shape == (20, 3)
    assert sample_vectors(features, 1000).shape == (2 * 4 * 5 * 6, 3)
    voxels = {tuple(v) for v in features.movedim(1, -1).reshape(-1, 3).tolist()}
    chosen = {tuple(v) for v in vectors.tolist()}
    assert len(chosen) == 20 and chosen <= voxels


def batch(target_labels):
    label = (torch.arange(8 * 32 * 32) % 2).view(1, 1, *ROI_ZYX)
    target = {"image": torch.randn(1, 1, *ROI_ZYX)}
    if target_labels:
        target |= {"label": label, "weight": torch.ones(1, 1, *ROI_ZYX)}
    return {"source": {"image": torch.randn(1, 1, *ROI_ZYX), "label": label}, "target": target}


def losses(target_labels, step=1, ramp_steps=10):
    network = AnisotropicUNet(1, 2, PLAN)
    alignment = feature_alignment("dann", {"encoder_2": 1.0}, PLAN)
    iteration = AlignmentIteration(WeightAverage(network), alignment, ramp_steps=ramp_steps)
    state = SimpleNamespace(iteration=step)
    engine = SimpleNamespace(network=network, loss_function=WeightedCrossEntropyDice(), state=state)
    return iteration.losses(engine, batch(target_labels))


def test_target_labels_add_a_segmentation_loss():
    assert losses(False).terms.keys() == {"segmentation", "alignment_encoder_2"}
    assert losses(True).terms.keys() == {"segmentation", "target_segmentation", "alignment_encoder_2"}


def test_the_reversal_follows_the_steps_and_then_stays():
    factors = [losses(False, step).monitors["reversal"] for step in (1, 5, 10, 1000)]
    assert factors == pytest.approx([np.tanh(5 * p) for p in (0.1, 0.5, 1, 1)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gan", {"encoder_1": 1}, PLAN), "alignment is 'gan': give one of dann, mmd, coral, none"),
        (("dann", {"encoder_9": 1}, PLAN), "alignment_levels names 'encoder_9', .* some of encoder_0, .*decoder_0"),
        (
            ("mmd", {"encoder_1": -1}, PLAN),
            "the weight of encoder_1 in alignment_levels is -1: give a number",
        ),
        (("dann", {"encoder_1": "x"}, PLAN), "the weight of encoder_1 in alignment_levels is 'x'"),
        (("dann", {}, PLAN), "alignment_levels is {}: give a weight by level"),
        (("dann", ["encoder_1"], PLAN), "alignment_levels is .*: give a weight by level"),
        (("dann", {"encoder_1": 1}, PLAN, "x"), "reversal is 'x': give a number"),
        (("dann", {"encoder_1": 1}, PLAN, -1), "reversal is -1: give a number, 0 or more"),
        (("dann", {"encoder_1": 1}, PLAN, 1, "linear"), "reversal_schedule is 'linear': give one of ganin, constant"),
    ],
)
def test_a_wrong_value_is_one_line(arguments, message):
    with pytest.raises(InputError, match=message) as error:
        feature_alignment(*arguments)
    assert "\n" not in str(error.value)


def test_a_ramp_without_steps():
    with pytest.raises(InputError, match="ramp_steps is 0: give a number, 1 or more"):
        losses(False, ramp_steps=0)
