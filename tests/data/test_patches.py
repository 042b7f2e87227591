import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, CopyItemsd, RandGaussianNoised

from crossem.data import EpochSampler, PatchDataset, training_loader
from crossem.errors import InputError


def volume(shape=(10, 40, 50), foreground=((5, 20, 30),), weight=None):
    """A volume whose image holds each voxel's own index, so that a patch tells where it is from."""
    image = torch.arange(np.prod(shape), dtype=torch.float32).reshape(1, *shape)
    label = torch.zeros(1, *shape, dtype=torch.uint8)
    for z, y, x in foreground:
        label[0, z, y, x] = 1
    return {"image": image, "label": label} | ({} if weight is None else {"weight": weight})


def dataset(volumes, augmentation=None, **options):
    return PatchDataset(volumes, dict, (4, 16, 16), augmentation or Compose([]), **options)


def test_a_patch_is_cut_from_the_volume_with_its_label():
    data = dataset([volume()])
    for index in range(20):
        patch = data[index]
        first = int(patch["image"][0, 0, 0, 0])
        z, y, x = np.unravel_index(first, (10, 40, 50))
        window = (slice(None), slice(z, z + 4), slice(y, y + 16), slice(x, x + 16))
        assert torch.equal(patch["image"], volume()["image"][window])
        assert torch.equal(patch["label"], volume()["label"][window])


def test_the_share_of_patches_with_foreground_is_as_asked():
    always = dataset([volume()], foreground_share=1.0)
    assert all(always[i]["label"].any() for i in range(50))
    never_asked = dataset([volume()], foreground_share=0.0)
    assert sum(bool(never_asked[i]["label"].any()) for i in range(50)) < 40


def test_patches_hold_labelled_voxels_only_where_there_are_some():
    weight = torch.zeros(1, 10, 40, 50)
    weight[..., :3] = 1
    one = volume(foreground=((5, 20, 30), (1, 1, 1)), weight=weight)
    anywhere, foreground = dataset([one], foreground_share=0.0), dataset([one], foreground_share=1.0)
    assert all((anywhere[i]["weight"] > 0).any() for i in range(40))
    assert all((foreground[i]["label"] * foreground[i]["weight"]).any() for i in range(40))  # the labelled one


def test_a_share_of_the_patches_is_drawn_beyond_the_labelled_part():
    weight = torch.zeros(1, 10, 40, 50)
    weight[..., :4] = 1
    for share, low, high in ((1.0, 1.0, 1.0), (0.5, 0.5, 0.75), (0.0, 0.0, 0.3)):
        data = dataset([volume(foreground=(), weight=weight)], labelled_share=share)
        with_labels = np.mean([bool(data[i]["weight"].any()) for i in range(200)])
        assert low <= with_labels <= high  # windows drawn anywhere hold a labelled voxel now and then


def located(spacing_zyx):
    """The transform of an item whose image has this voxel size in nm."""
    affine = torch.zeros(4, 4, dtype=torch.float64)
    for axis in range(3):
        affine[2 - axis, axis] = spacing_zyx[axis]
    affine[3, 3] = 1
    return lambda item: {"image": MetaTensor(torch.rand(1, 4, 16, 16), affine=affine)}


def test_mixed_voxel_sizes_are_refused():
    def one(name, spacing):
        return PatchDataset([{"image": name}], located(spacing), (4, 16, 16), Compose([]))

    training_loader(1, 1, source=one("a.tif", (45, 9.5, 9.5)), target=one("b.tif", (47.5, 9.2, 9.2)))
    with pytest.raises(InputError, match=r"\[45.0, 9.5, 9.5\] nm of a.tif and \[45.0, 4.6, 4.6\] nm of b.tif"):
        training_loader(1, 1, source=one("a.tif", (45, 9.5, 9.5)), target=one("b.tif", (45, 4.6, 4.6)))


def test_a_patch_depends_on_seed_and_index_alone():
    noisy = Compose([RandGaussianNoised("image", prob=1.0)])
    first, second = dataset([volume()], noisy), dataset([volume()], noisy)
    later = [second[i] for i in (7, 3, 5)]  # another order, other draws before
    for index, patch in zip((7, 3, 5), later, strict=True):
        assert torch.equal(first[index]["image"], patch["image"])
    other_seed = dataset([volume()], noisy, seed=1)
    assert not torch.equal(other_seed[7]["image"], later[0]["image"])


def test_volumes_are_drawn_by_their_size():
    small, large = volume((4, 16, 16), ()), volume((16, 64, 64), ())
    small["image"] -= 10**6
    data = dataset([small, large])
    from_small = np.mean([bool((data[i]["image"] < 0).all()) for i in range(300)])
    assert from_small == pytest.approx(1 / 65, abs=0.03)


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 5, 40), (4, 1, 1)])
def test_a_volume_smaller_than_the_patch_is_mirrored(shape):
    small = volume(shape, ())
    patch = dataset([small])[0]["image"]
    assert patch.shape == (1, 4, 16, 16)
    assert set(patch.unique().tolist()) <= set(small["image"].unique().tolist())
    if shape[0] == 3:  # numpy's symmetric padding is the reference
        expected = np.pad(small["image"][0].numpy(), ((0, 1), (5, 6), (0, 0)), mode="symmetric")
        x = int(patch[0, 0, 5, 0]) % 40
        np.testing.assert_array_equal(patch[0].numpy(), expected[:, :, x : x + 16])


def test_the_foreground_fraction_is_that_of_the_labelled_voxels_of_all_volumes():
    rng = np.random.default_rng(0)
    labels = [rng.integers(0, 3, (6, 20, 30)), rng.integers(0, 2, (4, 16, 16))]
    weight = rng.uniform(0.5, 2, labels[0].shape) * (rng.random(labels[0].shape) < 0.4)
    volumes = [{"image": torch.zeros(1, *a.shape), "label": torch.from_numpy(a)[None]} for a in labels]
    everywhere = np.concatenate([a.ravel() for a in labels])
    assert dataset(volumes).foreground_fraction == np.mean(everywhere > 0)
    volumes[0]["weight"] = torch.from_numpy(weight)[None]
    in_part = np.concatenate([labels[0][weight > 0], labels[1].ravel()])
    assert dataset(volumes).foreground_fraction == np.mean(in_part > 0)


def test_what_an_augmentation_adds_is_a_part_of_the_patch():
    patch = dataset([volume()], Compose([CopyItemsd("image", names="plain")]))[0]
    assert patch.keys() == {"image", "label", "plain"} and torch.equal(patch["plain"], patch["image"])


def test_an_empty_datalist_and_a_wrong_share_are_refused():
    with pytest.raises(InputError, match="training datalist is empty"):
        dataset([])
    with pytest.raises(InputError, match="foreground_share is 2"):
        dataset([volume()], foreground_share=2)


def test_epochs_draw_different_patches_and_repeat_when_run_again():
    sampler = EpochSampler(6)
    epochs = []
    for epoch in (1, 2, 1):
        sampler.set_epoch(epoch)
        epochs.append(list(sampler))
    assert epochs[0] == epochs[2]
    assert not set(epochs[0]) & set(epochs[1])
    assert len(sampler) == 6


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_pairs_the_domains_and_workers_change_nothing(workers):
    source, target = dataset([volume()]), dataset([volume()], seed=5)
    loader = training_loader(batch_size=3, steps_per_epoch=2, num_workers=workers, source=source, target=target)
    batches = list(loader)
    assert len(batches) == 2
    assert torch.equal(batches[0]["source"]["image"][0], source[6]["image"])
    assert torch.equal(batches[1]["target"]["label"][2], target[11]["label"])
