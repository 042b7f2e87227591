import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy

from crossem.losses import entropy_loss, self_information


@pytest.mark.parametrize("classes", [2, 4])
def test_equals_scipy(classes):
    logits = 3 * torch.randn(2, classes, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    expected = entropy(softmax(logits.double().numpy(), axis=1), base=classes, axis=1)
    torch.testing.assert_close(self_information(logits).sum(1), torch.tensor(expected).float())
    assert entropy_loss(logits).item() == pytest.approx(expected.mean(), rel=1e-5)


def test_from_certain_to_undecided():
    assert entropy_loss(torch.zeros(1, 3, 2, 2, 2)).item() == pytest.approx(1)
    certain = torch.tensor([200.0, -200.0]).view(1, 2, 1, 1, 1).requires_grad_()
    loss = entropy_loss(certain)
    loss.backward()
    assert loss.item() == 0 and torch.isfinite(certain.grad).all()


def test_computed_in_float32():
    assert self_information(torch.zeros(1, 2, 1, 1, 1, dtype=torch.bfloat16)).dtype == torch.float32
