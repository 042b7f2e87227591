"""Objects that a second network does not see go, whole, class by class; against scipy's labels."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy import ndimage

from crossem import InputError
from crossem.inference import ConfirmedInferer, SlidingWindowInferer, confirmed_inferer
from crossem.networks import AnisotropicUNet, plan_unet

CLASSES = 3
WINDOWS = SlidingWindowInferer((8, 32, 32))


def logits(seed):
    """Blobs of three classes, the first of which is most of it."""
    noise = np.random.default_rng(seed).normal(size=(CLASSES, 12, 90, 90))
    smooth = ndimage.gaussian_filter(noise, (0, 0.8, 3, 3))
    smooth[0] += 2 * smooth.std()
    return 40 * torch.from_numpy(smooth.astype(np.float32))


def first(volume):
    return volume[:, :CLASSES]


def second(volume):
    return volume[:, CLASSES:]


@pytest.fixture
def volume():
    """The logits of two networks that see much the same, which are what the networks take out of it."""
    return torch.cat([logits(0), 0.7 * logits(0) + logits(1)])[None]


@pytest.mark.parametrize(("min_confirmed", "few", "many"), [(0.0, 0, 0), (0.3, 5, 150), (0.6, 5, 150), (1.0, 151, 157)])
def test_objects_that_are_not_confirmed_become_background(volume, min_confirmed, few, many, caplog):
    caplog.set_level("INFO", "crossem.inference.confirmed")
    image = MetaTensor(volume, affine=torch.diag(torch.tensor([40.0, 5.0, 5.0, 1.0])))
    alone = WINDOWS(volume, first)
    both = ConfirmedInferer(WINDOWS, second, min_confirmed)(image, first)
    assert torch.equal(both.affine, image.affine)
    classes, confirming = (values[0].argmax(0).numpy() for values in (alone, WINDOWS(volume, second)))
    expected, shares = alone.clone(), []
    for value in range(1, CLASSES):
        objects, count = ndimage.label(classes == value, np.ones((3, 3, 3)))
        for number in range(1, count + 1):
            shares.append((confirming[objects == number] == value).mean())
            if shares[-1] < min_confirmed:
                background = torch.eye(CLASSES)[0][:, None].expand(-1, int((objects == number).sum()))
                expected[0][:, torch.from_numpy(objects == number)] = background
    assert torch.equal(both.as_tensor(), expected)
    dropped = sum(share < min_confirmed for share in shares)
    assert len(shares) == 158 and few <= dropped <= many
    gone = 1 - (expected[0].argmax(0) > 0).sum().item() / (classes > 0).sum()
    (record,) = caplog.records
    assert record.levelname == ("WARNING" if gone > 0.5 else "INFO")
    told = record.getMessage()
    assert told.startswith(f"{dropped} of {len(shares)} objects") and f" {100 * gone:.0f} % of the voxels" in told


def test_where_nothing_is_found_nothing_changes(volume):
    volume[:, 0] = 1e3
    assert torch.equal(ConfirmedInferer(WINDOWS, second, 0.5)(volume, first), WINDOWS(volume, first))


def test_the_second_network_has_weights_of_its_own(tmp_path):
    networks = [AnisotropicUNet(1, 2, plan_unet((45, 9.5, 9.5), (4, 16, 16), (4, 8))) for _ in range(2)]
    torch.save(networks[1].state_dict(), tmp_path / "model.pt")
    inferer = confirmed_inferer(WINDOWS, networks[0], torch.device("cpu"), tmp_path / "model.pt", 0.3)
    held = [dict(network.state_dict()) for network in (*networks, inferer.confirming)]
    assert all(torch.equal(held[1][name], held[2][name]) for name in held[0]) and not inferer.confirming.training
    assert not all(torch.equal(held[0][name], held[2][name]) for name in held[0])
    assert confirmed_inferer(WINDOWS, networks[0], torch.device("cpu"), None, 0.3) is WINDOWS


def test_a_wrong_share_or_file_is_one_line(tmp_path):
    with pytest.raises(InputError, match="min_confirmed is 30: give a number, from 0 to 1"):
        ConfirmedInferer(WINDOWS, second, 30)
    with pytest.raises(InputError, match="min_confirmed is 30"):
        confirmed_inferer(WINDOWS, None, torch.device("cpu"), None, 30)
    network = AnisotropicUNet(1, 2, plan_unet((45, 9.5, 9.5), (4, 16, 16), (4, 8)))
    with pytest.raises(InputError, match="none.pt"):
        confirmed_inferer(WINDOWS, network, torch.device("cpu"), tmp_path / "none.pt", 0.3)
