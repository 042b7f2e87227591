"""The choice of weights: each kind writes the map it names, of what is labelled; what cannot be is refused."""

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.ndimage import gaussian_filter

from crossem.errors import InputError
from crossem.transforms import boundary_weights, distance_weight_map, entropy_weight_map, training_preprocessing

CLASSES4 = ("boundary", "cytoplasm", "mitochondria", "glia")
VOXEL_SIZE_ZYX_NM = (50.0, 10.0, 10.0)
FLOOR = 0.1  # no voxel weighs less in the distance and entropy maps


def label_of(boundary_class):
    noise = gaussian_filter(np.random.RandomState(0).randn(3, 40, 40), (0, 3, 3))
    values = np.where(np.abs(noise) < 0.02, boundary_class, 1 - min(boundary_class, 1)).astype(np.uint8)
    affine = torch.zeros(4, 4, dtype=torch.float64)
    affine[[2, 1, 0, 3], [0, 1, 2, 3]] = torch.tensor([*VOXEL_SIZE_ZYX_NM, 1.0], dtype=torch.float64)
    return MetaTensor(torch.from_numpy(values)[None], affine=affine)


def expected_weight(kind, mask, label):
    if kind == "ratio":
        values = np.where(mask, 5.0, 1.0)
        return values / values.mean()
    if kind == "entropy":
        values = entropy_weight_map(label, len(CLASSES4), (1, 3, 3))
        values = values / values.mean()
    else:
        values = distance_weight_map(mask, VOXEL_SIZE_ZYX_NM, sigma_nm=30.0)
    return FLOOR + (1 - FLOOR) * values


@pytest.mark.parametrize("kind", ["distance", "entropy", "ratio"])
@pytest.mark.parametrize("classes", [CLASSES4, ("background", "boundary", "other", "another")])
def test_each_kind_writes_its_map_for_the_class_named_boundary(kind, classes):
    label = label_of(classes.index("boundary"))
    options = {"distance_sigma_nm": 30.0, "entropy_window_zyx": (1, 3, 3), "boundary_ratio": 5.0}
    weight = boundary_weights(kind, classes, **options)({"label": label})["weight"][0].numpy()
    label = label[0].numpy()
    expected = expected_weight(kind, label == classes.index("boundary"), label)
    np.testing.assert_allclose(weight, expected, rtol=1e-4)


def test_none_writes_no_weight():
    assert boundary_weights("none", CLASSES4)({"label": 1}) == {"label": 1}


@pytest.mark.parametrize("kind", ["distance", "entropy", "ratio", "none"])
def test_items_without_a_label_pass(kind):
    assert boundary_weights(kind, CLASSES4)({"image": 1}) == {"image": 1}


@pytest.mark.parametrize("kind", ["distance", "entropy", "ratio"])
@pytest.mark.parametrize("classes", [CLASSES4, ("background", "boundary")])
def test_labels_beyond_the_cut_change_nothing(tmp_path, kind, classes):
    """The weights of a volume with any labels there are those of a file that ends at the cut, with the cut part 0."""
    rng = np.random.RandomState(0)
    shape_xyz, labelled = (40, 40, 3), 10
    image = rng.randint(0, 255, shape_xyz)
    label = (gaussian_filter(rng.randn(*shape_xyz), (3, 3, 0)) > 0.05).astype(np.uint8)
    other = np.concatenate([label[:labelled], rng.randint(0, len(classes), label[labelled:].shape)])
    for name, columns, values in (("whole", 40, label), ("other", 40, other), ("cut", labelled, label)):
        write_nifti(tmp_path / f"{name}_image.nii", image[:columns])
        write_nifti(tmp_path / f"{name}_label.nii", values[:columns])
    weighting = boundary_weights(kind, classes)

    def prepared(name, fraction):
        files = {key: str(tmp_path / f"{name}_{key}.nii") for key in ("image", "label")}
        return training_preprocessing(VOXEL_SIZE_ZYX_NM, len(classes), fraction, weighting)(files)

    part, other, cut = prepared("whole", 0.25), prepared("other", 0.25), prepared("cut", 1.0)
    for key in ("label", "weight"):
        assert part[key].shape == part["image"].shape == (1, 3, 40, 40)
        assert torch.equal(part[key], other[key]) and torch.equal(part[key].affine, cut[key].affine)
        assert torch.equal(part[key][..., :labelled], cut[key]) and not part[key][..., labelled:].any()
    assert cut["weight"].mean().item() == pytest.approx(1, abs=1e-4) and cut["weight"].std() > 0.1


def write_nifti(path, values_xyz):
    image = nibabel.Nifti1Image(values_xyz.astype(np.uint8), np.diag([1e-5, 1e-5, 5e-5, 1]))
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("entropi", CLASSES4), "weighting is 'entropi': give one of distance, entropy, ratio, none"),
        (("distance", ("background", "mitochondria")), "classes are background, mitochondria: .* 'boundary'"),
        (("ratio", ("background", "mitochondria")), "classes are background, mitochondria: .* 'boundary'"),
        (("ratio", CLASSES4, 100.0, (1, 5, 5), 0.0), "boundary_ratio is 0"),
        (("distance", CLASSES4, -1.0), "sigma_nm is -1"),
        (("entropy", CLASSES4, 100.0, (1, 4, 5)), "window_zyx is"),
    ],
)
def test_a_bad_choice_is_one_line(arguments, named):
    with pytest.raises(InputError, match=named) as error:
        boundary_weights(*arguments)
    assert "\n" not in str(error.value)
