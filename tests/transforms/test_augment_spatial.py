"""Flips and deformations: image, label and weight stay aligned; samplers against scipy."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.ndimage import gaussian_filter, map_coordinates

from crossem.errors import InputError
from crossem.transforms import RandElasticd, RandFlipRotate90d
from crossem.transforms.augment_spatial import sample_linear, sample_nearest

KEYS = ("image", "label", "weight")


def blobs(shape=(4, 64, 64), seed=0):
    return gaussian_filter(np.random.RandomState(seed).randn(*shape), (0, 4, 4)) > 0


def sample(dtype=torch.uint8):
    target = MetaTensor(torch.from_numpy(blobs()).to(dtype)[None] * 3)
    return {"image": target.float() * 2 - 1, "label": target, "weight": target.float() + 0.5}


def test_flips_and_turns_keep_image_and_label_together_and_reach_all_16():
    transform = RandFlipRotate90d(KEYS).set_random_state(0)
    data, seen = sample(), set()
    for _ in range(200):
        out = transform(data)
        assert torch.equal(out["image"].as_tensor(), out["label"].as_tensor().float() * 2 - 1)
        assert out["label"].dtype == torch.uint8 and out["label"].is_contiguous()
        seen.add(out["label"].as_tensor().numpy().tobytes())
    target = data["label"][0].numpy()
    expected = {
        np.rot90(target[::z, ::y], k, axes=(1, 2)).tobytes() for z in (1, -1) for y in (1, -1) for k in range(4)
    }
    assert seen == expected and len(expected) == 16


def test_patches_that_are_not_square_keep_their_shape():
    transform = RandFlipRotate90d("image").set_random_state(0)
    image = torch.rand(1, 3, 8, 12)
    results = [transform({"image": image})["image"] for _ in range(50)]
    assert {r.shape for r in results} == {image.shape}
    assert len({r.numpy().tobytes() for r in results}) == 8


def coordinates():
    random = np.random.RandomState(0)
    return torch.from_numpy(np.stack([random.uniform(0, 19, (7, 9)), random.uniform(0, 29, (7, 9))])).float()


def test_linear_sampling_is_scipys():
    volume = torch.rand(2, 3, 20, 30)
    result = sample_linear(volume, coordinates())
    for c, z in np.ndindex(2, 3):
        expected = map_coordinates(volume[c, z].numpy(), coordinates().numpy(), order=1)
        np.testing.assert_allclose(result[c, z], expected, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32])
def test_nearest_sampling_is_scipys_and_keeps_the_dtype(dtype):
    volume = torch.randint(0, 250, (2, 3, 20, 30)).to(dtype)
    if dtype == torch.int64:
        volume += 2**40
    result = sample_nearest(volume, coordinates())
    assert result.dtype == dtype
    for c, z in np.ndindex(2, 3):
        rows, columns = coordinates().round().long()
        assert torch.equal(result[c, z], volume[c, z][rows, columns])


def test_elastic_keeps_image_label_and_weight_aligned():
    transform = RandElasticd(KEYS, 1.0).set_random_state(0)
    data, moved = sample(), 0
    for _ in range(10):
        out = transform(data)
        label = out["label"].as_tensor().float()
        assert out["label"].dtype == torch.uint8 and set(label.unique().tolist()) == {0.0, 3.0}
        assert torch.equal(out["weight"].as_tensor(), label + 0.5)
        agree = ((out["image"].as_tensor() > 2) == (label > 0)).float().mean()
        assert agree > 0.98
        moved += (label != data["label"].as_tensor()).float().mean().item() > 0.02
    assert moved >= 9 and torch.equal(data["label"].as_tensor(), sample()["label"].as_tensor())


def test_elastic_without_displacement_is_the_identity():
    data = sample()
    out = RandElasticd(KEYS, 1.0, displacement_px=0, rotation_deg=0, zoom=(1, 1))(data)
    assert torch.equal(out["label"].as_tensor(), data["label"].as_tensor())
    torch.testing.assert_close(out["image"].as_tensor(), data["image"].as_tensor(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("zoom", [0.8, 1.25])
def test_zoom_scales_areas(zoom):
    y, x = np.ogrid[-50:51, -50:51]
    disc = torch.from_numpy((y**2 + x**2 < 20**2)[None, None].astype(np.uint8))
    out = RandElasticd("label", 1.0, displacement_px=0, rotation_deg=30, zoom=(zoom, zoom))({"label": disc})["label"]
    assert out.sum().item() == pytest.approx(disc.sum().item() * zoom**2, rel=0.03)


def test_rotation_turns_a_line_by_at_most_the_angle():
    image = torch.zeros(1, 1, 101, 101)
    image[..., 50, :] = 1
    transform = RandElasticd("label", 1.0, displacement_px=0, rotation_deg=20, zoom=(1, 1)).set_random_state(0)
    angles = []
    for _ in range(60):
        rows, columns = transform({"label": image})["label"][0, 0, 20:81, 20:81].nonzero().T.numpy()
        angles.append(np.degrees(np.arctan(np.polyfit(columns, rows, 1)[0])))
    assert 17 < max(angles) < 21 and -21 < min(angles) < -17


def test_displacement_has_the_asked_spread_and_is_smooth():
    y, x = np.meshgrid(np.arange(96.0), np.arange(96.0), indexing="ij")
    data = {"image": torch.from_numpy(np.stack([y, x]).astype(np.float32))[:, None]}
    transform = RandElasticd("image", 1.0, 2.0, 24.0, rotation_deg=0, zoom=(1, 1)).set_random_state(0)
    fields = torch.stack([transform(data)["image"] - data["image"] for _ in range(40)])[..., 10:-10, 10:-10]
    assert 1.0 < fields.std().item() < 2.2 and abs(fields.mean().item()) < 0.2
    assert fields.diff(dim=-1).abs().max() < 1.0


def test_all_slices_share_one_field():
    image = torch.rand(1, 1, 40, 40).expand(1, 5, 40, 40)
    out = RandElasticd("image", 1.0).set_random_state(0)({"image": image})["image"]
    torch.testing.assert_close(out, out[:, :1].expand_as(out))


def test_determinism_and_prob():
    transform = RandElasticd(KEYS, 0.5)
    runs = []
    for _ in range(2):
        transform.set_random_state(4)
        runs.append(torch.stack([transform(sample())["image"].as_tensor() for _ in range(10)]))
    assert torch.equal(*runs)
    changed = [not torch.equal(run, sample()["image"].as_tensor()) for run in runs[0]]
    assert 0 < sum(changed) < 10


@pytest.mark.parametrize(
    "make, options, name",
    [
        (RandElasticd, {"zoom": (1.2, 0.8)}, "zoom"),
        (RandElasticd, {"displacement_px": -1}, "displacement_px"),
        (RandElasticd, {"control_spacing_px": 0}, "control_spacing_px"),
        (RandFlipRotate90d, {"prob": 2}, "prob"),
    ],
)
def test_wrong_parameters(make, options, name):
    with pytest.raises(InputError, match=name):
        make("image", **options)


def test_different_grids_are_refused():
    with pytest.raises(InputError, match="differ"):
        RandElasticd(("image", "label"), 1.0)({"image": torch.zeros(1, 2, 4, 4), "label": torch.zeros(1, 2, 4, 5)})
