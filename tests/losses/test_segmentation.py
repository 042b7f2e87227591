import pytest
import torch
from monai.losses import DiceLoss
from torch.nn import functional

from crossem.losses import WeightedCrossEntropyDice


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 6, 5, generator=generator)
    label = torch.randint(0, 3, (2, 1, 4, 6, 5), generator=generator)
    weight = torch.rand(2, 1, 4, 6, 5, generator=generator)
    return logits, label, weight


def test_unweighted_equals_torch_and_monai(case):
    logits, label, _ = case
    cross_entropy = WeightedCrossEntropyDice(dice=0)(logits, label)
    torch.testing.assert_close(cross_entropy, functional.cross_entropy(logits, label[:, 0]))
    dice = WeightedCrossEntropyDice(cross_entropy=0, smooth=1e-5)(logits, label)
    reference = DiceLoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)(logits, label)
    torch.testing.assert_close(dice, reference)


@pytest.mark.parametrize("constant", [0.1, 1.0, 7.0])
def test_a_constant_weight_changes_nothing(case, constant):
    logits, label, _ = case
    loss = WeightedCrossEntropyDice()
    weight = torch.full_like(label, 1, dtype=torch.float32) * constant
    torch.testing.assert_close(loss(logits, label, weight), loss(logits, label))


def test_weighted_cross_entropy_formula(case):
    logits, label, weight = case
    voxel = functional.cross_entropy(logits, label[:, 0], reduction="none")
    expected = (weight[:, 0] * voxel).sum() / weight.sum()
    torch.testing.assert_close(WeightedCrossEntropyDice(dice=0)(logits, label, weight), expected)


def test_a_voxel_of_weight_zero_does_not_count(case):
    logits, label, weight = case
    weight[..., :2] = 0
    changed_logits, changed_label = logits.clone(), label.clone()
    changed_logits[..., :2] += 5
    changed_label[..., :2] = 1
    loss = WeightedCrossEntropyDice()
    torch.testing.assert_close(loss(changed_logits, changed_label, weight), loss(logits, label, weight))
    logits.requires_grad_()
    loss(logits, label, weight).backward()
    assert (logits.grad[..., :2] == 0).all() and (logits.grad[..., 2:] != 0).any()


def test_computed_in_float32_whatever_the_logits_are(case):
    logits, label, weight = case
    assert WeightedCrossEntropyDice()(logits.bfloat16(), label, weight).dtype == torch.float32


def test_all_weights_zero_is_finite(case):
    logits, label, weight = case
    assert torch.isfinite(WeightedCrossEntropyDice()(logits, label, torch.zeros_like(weight)))
