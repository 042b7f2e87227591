import pytest
import torch
from torch import nn

from crossem import InputError
from crossem.methods import parameter_groups


def test_two_groups_with_their_learning_rates():
    network, first, second = nn.Linear(2, 3), nn.Linear(2, 1), nn.Linear(3, 1)
    network.bias.requires_grad_(False)
    groups = parameter_groups(network, 0.01, [first, second], 0.002)
    assert [group["lr"] for group in groups] == [0.01, 0.002]
    assert groups[0]["params"] == [network.weight]
    assert [id(p) for p in groups[1]["params"]] == [id(p) for m in (first, second) for p in m.parameters()]


def test_modules_without_parameters_make_no_group():
    groups = parameter_groups(nn.Linear(2, 3), 0.01, [nn.Identity()], 0.002)
    assert len(groups) == 1
    torch.optim.AdamW(groups)


@pytest.mark.parametrize("rates", [(-1, 0.002), (0.01, -1), (float("nan"), 0.002), ("fast", 0.002)])
def test_a_wrong_learning_rate_is_refused(rates):
    with pytest.raises(InputError, match="learning_rate is .*: give a number, 0 or more"):
        parameter_groups(nn.Linear(2, 3), rates[0], [nn.Linear(2, 1)], rates[1])
