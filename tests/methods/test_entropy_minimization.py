import numpy as np
import pytest
import torch

from crossem.errors import InputError
from crossem.losses import domain_loss, entropy_loss, self_information
from crossem.methods import EntropyMinimization
from crossem.networks import plan_unet

PLAN = plan_unet((45, 9.5, 9.5), (8, 32, 32), (4, 6, 8))


def logits(scale=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(2, 2, 8, 32, 32, generator=generator)).requires_grad_()


def test_direct_term_is_the_weighted_entropy_with_a_ramp():
    source, target = logits(seed=1), logits()
    terms, monitors = EntropyMinimization(0.1, 0.0, 2, PLAN)(source, target, 0.1)
    assert terms.keys() == {"entropy"}
    torch.testing.assert_close(terms["entropy"], 0.1 * np.tanh(0.5) * entropy_loss(target))
    assert monitors["target_entropy"].item() == pytest.approx(entropy_loss(target).item())
    assert source.grad is None


def test_minimising_makes_the_target_certain():
    target = logits()
    method, before = EntropyMinimization(1.0, 0.0, 2, PLAN), entropy_loss(target).item()
    optimizer = torch.optim.Adam([target], lr=0.3)
    for _ in range(20):
        optimizer.zero_grad()
        sum(method(target.detach(), target, 1.0)[0].values()).backward()
        optimizer.step()
    assert entropy_loss(target).item() < 0.3 * before


def test_the_target_alone_gets_the_opposite_gradient_of_the_discriminator():
    source, target = logits(5.0, seed=1), logits()
    method = EntropyMinimization(0.0, 0.5, 2, PLAN)
    terms, _ = method(source, target, 1.0)
    assert terms.keys() == {"adversarial_entropy"}
    plain = 0.5 * domain_loss(*(method.discriminator(self_information(x)) for x in (source, target)))
    (expected,) = torch.autograd.grad(plain, target, retain_graph=True)
    got = torch.autograd.grad(terms["adversarial_entropy"], [target, source], allow_unused=True, retain_graph=True)
    torch.testing.assert_close(got[0], -np.tanh(5) * expected, rtol=1e-4, atol=1e-9)
    assert got[1] is None
    parameter = method.discriminator.head.weight
    for a, b in zip(*(torch.autograd.grad(x, parameter) for x in (terms["adversarial_entropy"], plain)), strict=True):
        torch.testing.assert_close(a, b)


def test_adversarial_training_makes_an_uncertain_target_as_certain_as_the_source():
    torch.manual_seed(0)
    source, scale = logits(6.0, seed=1).detach(), torch.zeros(1, requires_grad=True)
    method, guess = EntropyMinimization(0.0, 1.0, 2, PLAN), logits().detach()
    groups = [{"params": [scale], "lr": 0.05}, {"params": list(method.parameters()), "lr": 0.003}]
    optimizer = torch.optim.Adam(groups)
    for _ in range(60):
        optimizer.zero_grad()
        terms, monitors = method(source, scale.exp() * guess, 1.0)
        terms["adversarial_entropy"].backward()
        optimizer.step()
    assert 0 <= monitors["entropy_domain_accuracy"] <= 1
    assert entropy_loss(scale.exp() * guess).item() < 0.7 * entropy_loss(guess).item()


def test_switched_off_it_only_monitors():
    method = EntropyMinimization(0.0, 0.0, 2, PLAN)
    terms, monitors = method(logits(), logits(), 1.0)
    assert not terms and monitors.keys() == {"target_entropy"} and not list(method.parameters())


@pytest.mark.parametrize(
    ("weights", "name"), [((-1.0, 0.0), "entropy_weight"), ((0.0, -2.0), "adversarial_entropy_weight")]
)
def test_a_negative_weight(weights, name):
    with pytest.raises(InputError, match=f"^{name} is -.*: give a number, 0 or more"):
        EntropyMinimization(*weights, 2, PLAN)
