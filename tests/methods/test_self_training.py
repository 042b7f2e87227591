"""Self-training: the threshold against quantiles, labels against a loop, who sees what, and exact resume."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.engines import SupervisedTrainer
from monai.inferers import SimpleInferer

from crossem.data import PatchDataset, training_loader
from crossem.errors import InputError
from crossem.losses import WeightedCrossEntropyDice
from crossem.methods import ForegroundThreshold, SelfTrainingIteration, TrainingRecord, WeightAverage, pseudo_labels
from crossem.networks import AnisotropicUNet, plan_unet
from crossem.transforms import em_augmentation

ROI_ZYX = (4, 16, 16)
SHAPE = (2, 1, *ROI_ZYX)


def batches_of_probabilities(count=4):
    """Most of it small, and of another size each."""
    rng = np.random.default_rng(0)
    return [torch.from_numpy(rng.beta(0.6, 2 + i, (2, 1, 4, 20, 20 + i))).float() for i in range(count)]


@pytest.mark.parametrize("share", [0.05, 0.1, 0.25])
def test_the_threshold_is_the_quantile_of_all_probabilities_seen(share):
    threshold, seen = ForegroundThreshold(share, memory=1.0, bounds=(0.0, 1.0)), []
    for batch in batches_of_probabilities():
        seen.append(batch.numpy().ravel())
        assert threshold(batch) == pytest.approx(np.quantile(np.concatenate(seen), 1 - share), abs=1.01 / 200)


def test_memory_is_the_weight_of_the_past():
    first, second = batches_of_probabilities(2)
    forgets, halves = (ForegroundThreshold(0.1, memory, bounds=(0.0, 1.0)) for memory in (0.0, 0.5))
    for threshold in (forgets, halves):
        threshold(first)
    assert forgets(second) == pytest.approx(np.quantile(second, 0.9), abs=1.01 / 200)
    once_and_twice = np.concatenate([first.numpy().ravel(), second.numpy().ravel(), second.numpy().ravel()])
    assert halves(second) == pytest.approx(np.quantile(once_and_twice, 0.9), abs=1.01 / 200)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0.8), (1.0, 0.2), (0.9, 0.2), (0.001, 0.8)])
def test_the_threshold_stays_within_its_bounds(share, expected):
    batch = torch.linspace(0, 1, 1001).view(1, 1, 1, 1, -1)
    assert ForegroundThreshold(share, bounds=(0.2, 0.8))(batch) == expected


def test_the_threshold_goes_on_from_its_state():
    *before, last = batches_of_probabilities()
    whole, resumed = ForegroundThreshold(0.1), ForegroundThreshold(0.1)
    for batch in before:
        whole(batch)
    assert resumed(last) != whole(last)
    resumed.load_state_dict(whole.state_dict())
    assert resumed(last) == whole(last)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize(("threshold", "confidence"), [(0.3, 0.2), (0.7, 0.5), (0.5, 0.0)])
def test_pseudo_labels_are_those_of_a_loop(classes, threshold, confidence):
    probability = torch.from_numpy(np.random.default_rng(1).dirichlet([0.7] * classes, (2, 2, 5, 6))).movedim(-1, 1)
    label, weight = pseudo_labels(probability, threshold, confidence)
    assert label.dtype == torch.int64 and label.shape == weight.shape == (2, 1, 2, 5, 6)
    for b, z, y, x in np.ndindex(2, 2, 5, 6):
        p = probability[b, :, z, y, x].numpy()
        foreground = 1 - p[0]
        expected = 1 + int(np.argmax(p[1:])) if foreground > threshold else 0
        way = (foreground - threshold) / (1 - threshold) if foreground > threshold else 1 - foreground / threshold
        assert (label[b, 0, z, y, x], weight[b, 0, z, y, x]) == (expected, float(way >= confidence))
    assert set(label.unique().tolist()) == set(range(classes))
    assert weight.all() == (confidence == 0)


def batch_of(classes=2, target_labels=None):
    generator = torch.Generator().manual_seed(0)
    image, target, plain = (torch.randn(SHAPE, generator=generator) for _ in range(3))
    label = torch.randint(0, classes, SHAPE, generator=generator)
    batch = {"source": {"image": image, "label": label}, "target": {"image": target, "plain": plain}}
    batch["target"] |= target_labels or {}
    return batch


class Step:
    """One step's losses, and what went into them: the networks' inputs, and the loss's arguments."""

    def __init__(self, batch, step=1, classes=2, **options):
        torch.manual_seed(0)
        network = AnisotropicUNet(1, classes, plan_unet((45, 9.5, 9.5), ROI_ZYX, (4, 8)))
        torch.nn.init.normal_(network.decoder.head.weight)  # as it is made, it would be sure of nothing
        average = WeightAverage(network)
        self.student, self.teacher, self.inputs, self.loss_calls = network, average.network, [], []
        for name, module in (("student", network), ("teacher", average.network)):
            module.register_forward_hook(lambda _, args, result, name=name: self.inputs.append((name, args[0], result)))
        options = {"confidence": 0.3, "ramp_steps": 1} | options
        self.iteration = SelfTrainingIteration(average, ForegroundThreshold(0.3), **options)
        state = SimpleNamespace(iteration=step)
        self.engine = SimpleNamespace(
            network=network, inferer=SimpleInferer(), loss_function=self.loss_function, state=state
        )
        self.output = self.iteration.losses(self.engine, batch)

    def loss_function(self, logits, label, weight):
        self.loss_calls.append((label, weight))
        return WeightedCrossEntropyDice()(logits, label, weight)

    def result(self, name, which=0):
        return [result.float() for network, _, result in self.inputs if network == name][which]

    @property
    def pseudo(self):
        """Label and weight of the teacher's output."""
        probability = self.result("teacher").softmax(1)
        return pseudo_labels(probability, self.output.monitors["pseudo_threshold"], self.iteration.confidence)


def test_the_teacher_sees_the_plain_patch_and_the_student_the_augmented_one():
    batch = batch_of()
    step = Step(batch, mixing=0.0)
    expected = [
        ("teacher", batch["target"]["plain"]),
        ("student", batch["source"]["image"]),
        ("student", batch["target"]["image"]),
    ]
    assert [name for name, *_ in step.inputs] == [name for name, _ in expected]
    assert all(torch.equal(image, other) for (_, image, _), (_, other) in zip(step.inputs, expected, strict=True))


def test_only_the_student_gets_a_gradient():
    step = Step(batch_of())
    assert not step.result("teacher").requires_grad
    step.output.terms["self_training"].backward()
    assert all(p.grad is None for p in step.teacher.parameters())
    assert any(p.grad.abs().max() > 0 for p in step.student.parameters())


def by_hand(logits, label, weight):
    """Weighted cross entropy plus Dice loss, in numpy; see `WeightedCrossEntropyDice`."""
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    weight = weight * weight.size / weight.sum()
    cross_entropy = (-np.log(np.take_along_axis(p, label, 1)) * weight).mean()
    dice = []
    for c in range(1, p.shape[1]):
        q, y = p[:, c : c + 1] * weight, (label == c) * weight
        dice.append((2 * (q * (label == c)).sum() + 1) / (q.sum() + y.sum() + 1))
    return cross_entropy + 1 - np.mean(dice)


@pytest.mark.parametrize("classes", [2, 3])
def test_terms_and_monitors_are_those_by_hand(classes):
    batch = batch_of(classes)
    step = Step(batch, step=30, classes=classes, weight=0.7, ramp_steps=120, mixing=0.0)
    label, weight = (t.numpy() for t in step.pseudo)
    assert 0.1 < weight.mean() < 0.95 and len(np.unique(label)) == classes
    source, target = (step.result("student", i).detach().numpy().astype(np.float64) for i in range(2))
    terms = {name: term.item() for name, term in step.output.terms.items()}
    assert terms == pytest.approx(
        {
            "segmentation": by_hand(source, batch["source"]["label"].numpy(), np.ones(SHAPE)),
            "self_training": 0.7 * 30 / 120 * weight.mean() * by_hand(target, label, weight),
        },
        rel=1e-4,
    )
    monitors = {name: float(value) for name, value in step.output.monitors.items()}
    foreground = 1 - step.result("teacher").softmax(1)[:, 0].numpy()
    expected = {
        "pseudo_foreground": (label > 0).mean(),
        "pseudo_confident": weight.mean(),
        "pseudo_threshold": np.quantile(foreground, 0.7),
    }
    assert monitors == pytest.approx(expected, abs=1.01 / 200)


def test_the_ramp_ends_and_the_weight_scales():
    values = [
        Step(batch_of(), step, mixing=0.0, **options).output.terms["self_training"].item()
        for step, options in [(100, {"ramp_steps": 100}), (1000, {"ramp_steps": 100}), (1000, {"weight": 0.5})]
    ]
    assert values == pytest.approx([values[0], values[0], 0.5 * values[0]])


def test_nothing_confident_is_no_loss_and_no_accident():
    step = Step(batch_of(), confidence=1.0, mixing=0.0)
    assert step.output.terms["self_training"].item() == 0
    step.output.terms["self_training"].backward()
    assert all(torch.isfinite(p.grad).all() for p in step.student.parameters())


def test_objects_are_pasted_with_their_labels_and_full_weight():
    batch = batch_of(3)
    step = Step(batch, classes=3, mixing=1.0)
    objects = batch["source"]["label"] > 0
    pasted = torch.where(objects, batch["source"]["image"], batch["target"]["image"])
    assert torch.equal(step.inputs[2][1], pasted)
    pseudo, confident = step.pseudo
    label, weight = step.loss_calls[1]
    assert torch.equal(label, torch.where(objects, batch["source"]["label"], pseudo))
    assert torch.equal(weight, torch.where(objects, torch.ones(()), confident))
    assert not confident[objects].all()


def test_a_share_of_the_patches_is_mixed_and_the_same_at_the_same_step():
    batch = batch_of()

    def mixed(step):
        """Which of the two patches are."""
        images = Step(batch, step, mixing=0.3).inputs[2][1]
        return [not torch.equal(a, b) for a, b in zip(images, batch["target"]["image"], strict=True)]

    choices = [mixed(step) for step in range(1, 101)]
    assert np.mean(choices) == pytest.approx(0.3, abs=0.1)
    assert choices[:20] == [mixed(step) for step in range(1, 21)]


def test_true_labels_take_the_place_of_the_teachers():
    """In a part of the patch, as `label_fraction` gives it, and with no "weight" everywhere."""
    truth, weight = torch.randint(0, 2, SHAPE).to(torch.uint8), torch.zeros(SHAPE)
    weight[..., :5] = 1
    step = Step(batch_of(target_labels={"label": truth * (weight > 0), "weight": weight}), mixing=0.0)
    pseudo, confident = step.pseudo
    label, counts = step.loss_calls[1]
    assert torch.equal(label[..., :5], truth[..., :5].long()) and (counts[..., :5] == 1).all()
    assert torch.equal(label[..., 5:], pseudo[..., 5:]) and torch.equal(counts[..., 5:], confident[..., 5:])
    foreground = 1 - step.result("teacher").softmax(1)[:, :1]
    expected = ForegroundThreshold(0.3)(foreground[..., 5:])  # of the voxels that the teacher labels
    assert step.output.monitors["pseudo_threshold"] == expected != ForegroundThreshold(0.3)(foreground)
    label, counts = Step(batch_of(target_labels={"label": truth}), mixing=0.0).loss_calls[1]
    assert torch.equal(label, truth.long()) and (counts == 1).all()


def volume(brightness):
    generator = torch.Generator().manual_seed(1)
    label = torch.zeros(1, 8, 32, 32, dtype=torch.uint8)
    label[:, :, 8:20, 6:18] = 1
    return {"image": torch.randn(1, 8, 32, 32, generator=generator) + brightness * label, "label": label}


def build(output_dir, epochs, resume=False):
    torch.manual_seed(0)
    network = AnisotropicUNet(1, 2, plan_unet((45, 9.5, 9.5), ROI_ZYX, (4, 8)))
    average, optimizer = WeightAverage(network, decay=0.9), torch.optim.AdamW(network.parameters(), lr=0.01)
    source = PatchDataset([volume(-2.0)], dict, ROI_ZYX, em_augmentation(appearance=1.0))
    unlabelled = {"image": volume(-1.0)["image"]}
    target = PatchDataset([unlabelled], dict, ROI_ZYX, em_augmentation(plain_copy=True), foreground_share=0, seed=1)
    threshold = ForegroundThreshold(source.foreground_fraction)
    parts = {"network": network, "optimizer": optimizer, "threshold": threshold}
    return SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=training_loader(batch_size=2, steps_per_epoch=3, source=source, target=target),
        network=network,
        optimizer=optimizer,
        loss_function=WeightedCrossEntropyDice(),
        inferer=SimpleInferer(),
        iteration_update=SelfTrainingIteration(average, threshold, ramp_steps=5),
        train_handlers=[TrainingRecord(output_dir, None, average, parts, resume=resume)],
        decollate=False,
    )


def test_a_resumed_run_ends_as_an_uninterrupted_one(tmp_path):
    build(tmp_path / "whole", 4).run()
    build(tmp_path / "parts", 2).run()
    build(tmp_path / "parts", 4, resume=True).run()
    whole, parts = (torch.load(tmp_path / name / "checkpoint.pt")["parts"] for name in ("whole", "parts"))
    assert torch.equal(whole["threshold"]["histogram"], parts["threshold"]["histogram"])
    assert all(torch.equal(whole["network"][name], parts["network"][name]) for name in whole["network"])
    logs = [list(csv.DictReader((tmp_path / name / "log.csv").open())) for name in ("whole", "parts")]
    for name in ("segmentation", "self_training", "pseudo_foreground", "pseudo_confident", "pseudo_threshold"):
        assert [row[name] for row in logs[0]] == [row[name] for row in logs[1]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": -1}, "self_training_weight is -1: give a number, 0 or more"),
        ({"confidence": 1.5}, "confidence is 1.5: give a number, from 0 to 1"),
        ({"mixing": "all"}, "mixing is 'all': give a number, from 0 to 1"),
        ({"ramp_steps": 0}, "ramp_steps is 0: give a number, 1 or more"),
    ],
)
def test_a_wrong_option_is_named(options, message):
    with pytest.raises(InputError, match=f"^{message}"):
        SelfTrainingIteration(WeightAverage(torch.nn.Linear(1, 1)), ForegroundThreshold(0.1), **options)


@pytest.mark.parametrize(
    ("arguments", "name"), [((1.5,), "foreground_share"), ((0.1, 2), "memory"), ((0.1, 0.9, (0.8, 0.2)), "bounds")]
)
def test_a_wrong_threshold_is_named(arguments, name):
    with pytest.raises(InputError, match=f"^{name} is"):
        ForegroundThreshold(*arguments)
