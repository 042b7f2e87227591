import pytest
import torch
from torch import nn

from crossem.errors import InputError
from crossem.networks import AnisotropicUNet, freeze_encoder_levels, load_weights, plan_unet, prepare_network


def build(channels=(4, 8, 8, 8), out_channels=2):
    return AnisotropicUNet(1, out_channels, plan_unet((45, 9.5, 9.5), (8, 32, 32), channels))


def test_weights_come_back(tmp_path):
    first, second = build(), build()
    torch.save(first.state_dict(), tmp_path / "model.pt")
    load_weights(second, tmp_path / "model.pt")
    x = torch.randn(1, 1, 8, 32, 32)
    assert torch.equal(first(x), second(x))


def test_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere.pt does not exist"):
        load_weights(build(), tmp_path / "nowhere.pt")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_unreadable_checkpoint(tmp_path, content):
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(InputError, match="cannot be read") as error:
        load_weights(build(), tmp_path / "model.pt")
    assert "\n" not in str(error.value)


def test_truncated_checkpoint(tmp_path):
    torch.save(build().state_dict(), tmp_path / "model.pt")
    whole = (tmp_path / "model.pt").read_bytes()
    (tmp_path / "model.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be read"):
        load_weights(build(), tmp_path / "model.pt")


@pytest.mark.parametrize("other", [build(channels=(8, 8, 8, 8)), build(out_channels=4), build(channels=(4, 8, 8))])
def test_checkpoint_of_another_architecture(tmp_path, other):
    torch.save(other.state_dict(), tmp_path / "model.pt")
    with pytest.raises(InputError, match="another architecture.*give one of the same working voxel size") as error:
        load_weights(build(), tmp_path / "model.pt")
    assert "\n" not in str(error.value)


def test_the_remedy_fits_the_network(tmp_path):
    torch.save(nn.Linear(3, 2).state_dict(), tmp_path / "model.pt")
    with pytest.raises(InputError, match=r"weight is \(2, 3\) there, \(2, 4\) here: give one of the same width"):
        load_weights(nn.Linear(4, 2), tmp_path / "model.pt", options="width")


def test_full_checkpoint_is_not_a_model(tmp_path):
    torch.save({"epoch": 1, "parts": {}}, tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match="plain state_dict"):
        load_weights(build(), tmp_path / "checkpoint.pt")


def test_frozen_levels_keep_their_weights_and_the_rest_learns():
    network = prepare_network(build(), torch.device("cpu"), frozen_levels=2)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network(torch.randn(1, 1, 8, 32, 32)).square().sum().backward()
    optimizer.step()
    for name, value in network.state_dict().items():
        frozen = name.startswith(("encoder.levels.0.", "encoder.levels.1."))
        assert torch.equal(value, before[name]) == frozen, name


@pytest.mark.parametrize("levels", [-1, 5])
def test_frozen_levels_out_of_range(levels):
    with pytest.raises(InputError, match="frozen_levels is"):
        freeze_encoder_levels(build(), levels)


def test_a_new_classifier_takes_all_weights_but_the_last_layers(tmp_path):
    """From a network of four classes to one of two."""
    four, two = build(out_channels=4), build()
    torch.save(four.state_dict(), tmp_path / "model.pt")
    own = {k: v.clone() for k, v in two.state_dict().items()}
    prepare_network(two, torch.device("cpu"), tmp_path / "model.pt", new_classifier=True)
    for name, value in two.state_dict().items():
        expected = own[name] if name.startswith("decoder.head.") else four.state_dict()[name]
        assert torch.equal(value, expected), name


def test_a_new_classifier_forgives_nothing_else(tmp_path):
    torch.save(build(channels=(8, 8, 8, 8)).state_dict(), tmp_path / "model.pt")
    with pytest.raises(InputError, match="another architecture"):
        load_weights(build(), tmp_path / "model.pt", new_classifier=True)
    torch.save({"epoch": 1, "parts": {}}, tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match="plain state_dict"):
        load_weights(build(), tmp_path / "checkpoint.pt", new_classifier=True)


def test_a_new_classifier_of_nothing():
    with pytest.raises(InputError, match="new_classifier is True and pretrained is not given"):
        prepare_network(build(), torch.device("cpu"), new_classifier=True)
