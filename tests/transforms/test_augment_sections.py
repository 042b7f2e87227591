"""Missing and shifted sections against what the neighbours and numpy say."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from crossem.errors import InputError
from crossem.transforms import RandDropSlicesd, RandShiftSlicesd
from crossem.transforms.augment_sections import shift_slices


def patch(shape=(1, 6, 20, 24)):
    return torch.from_numpy(np.random.RandomState(0).randint(1, 200, shape).astype(np.uint8))


def test_dropped_slices_are_blank_or_copies_of_a_neighbour():
    image = patch().float()
    transform = RandDropSlicesd("image", 1.0, max_slices=3, repeat_prob=0.5, fill=-7.0).set_random_state(0)
    lost, blank = [], []
    for _ in range(300):
        result = transform({"image": image})["image"]
        changed = [z for z in range(6) if not torch.equal(result[:, z], image[:, z])]
        assert 1 <= len(changed) <= 3
        for z in changed:
            is_blank = bool((result[:, z] == -7.0).all())
            neighbours = [n for n in (z - 1, z + 1) if 0 <= n < 6]
            assert is_blank or any(torch.equal(result[:, z], image[:, n]) for n in neighbours)
            lost.append(z)
            blank.append(is_blank)
    assert np.mean(blank) == pytest.approx(0.5, abs=0.08)
    np.testing.assert_allclose(np.bincount(lost) / len(lost), np.full(6, 1 / 6), atol=0.05)


def test_drop_leaves_labels_the_input_and_single_slices_alone():
    image, target = patch().float(), patch()
    before = image.clone()
    out = RandDropSlicesd("image", 1.0).set_random_state(0)({"image": image, "label": target})
    assert out["label"] is target and torch.equal(image, before)
    single = patch((1, 1, 5, 5)).float()
    assert torch.equal(RandDropSlicesd("image", 1.0, max_slices=4)({"image": single})["image"], single)


def test_drop_loses_the_same_slices_in_all_keys():
    image = patch().float()
    out = RandDropSlicesd(("a", "b"), 1.0, max_slices=3).set_random_state(0)({"a": image, "b": image + 0})
    assert torch.equal(out["a"], out["b"])


def test_shift_slices_is_a_padded_roll():
    volume = patch()
    shifts = np.array([[0, 0], [3, -2], [-4, 5], [0, 1], [30, 0], [0, 0]])
    expected = volume[0].numpy().copy()
    for z, (dy, dx) in enumerate(shifts):
        padded = np.pad(expected[z], 30, mode="edge")
        expected[z] = padded[30 - dy : 50 - dy, 30 - dx : 54 - dx]
    result = shift_slices(volume, shifts)
    assert result.dtype == torch.uint8
    np.testing.assert_array_equal(result[0].numpy(), expected)


def test_image_label_and_weight_move_together():
    target = MetaTensor(patch())
    data = {"image": target.float() * 2, "label": target, "weight": target.float() / 7}
    transform = RandShiftSlicesd(("image", "label", "weight"), 1.0).set_random_state(0)
    moved = 0
    for _ in range(20):
        out = transform(data)
        assert out["label"].dtype == torch.uint8 and isinstance(out["label"], MetaTensor)
        assert torch.equal(out["image"].as_tensor(), out["label"].as_tensor().float() * 2)
        assert torch.equal(out["weight"].as_tensor(), out["label"].as_tensor().float() / 7)
        moved += not torch.equal(out["label"].as_tensor(), target.as_tensor())
    assert moved > 15 and torch.equal(target.as_tensor(), patch())


@pytest.mark.parametrize("step_prob, moved", [(0.0, {1}), (1.0, {1, 2, 3, 4, 5, 6})])
def test_one_slice_or_all_after_it_move(step_prob, moved):
    image = patch()
    transform = RandShiftSlicesd("image", 1.0, 4, max_slices=1, step_prob=step_prob).set_random_state(0)
    counts = set()
    for _ in range(100):
        result = transform({"image": image})["image"]
        changed = [z for z in range(6) if not torch.equal(result[:, z], image[:, z])]
        counts.add(len(changed))
        assert step_prob == 0 or not changed or changed == list(range(changed[0], 6))
    assert counts - {0} == moved


def test_determinism_and_missing_keys():
    transform = RandShiftSlicesd(("image", "label"), 0.5, allow_missing_keys=True)
    data = {"image": patch()}
    runs = []
    for _ in range(2):
        transform.set_random_state(5)
        runs.append(torch.stack([transform(data)["image"] for _ in range(10)]))
    assert torch.equal(*runs)
    with pytest.raises(KeyError):
        RandShiftSlicesd(("image", "label"), 1.0)(data)


def test_different_grids_are_refused():
    with pytest.raises(InputError, match="differ"):
        RandShiftSlicesd(("image", "label"), 1.0)({"image": patch(), "label": patch((1, 6, 20, 25))})


@pytest.mark.parametrize(
    "make, options, name",
    [
        (RandDropSlicesd, {"max_slices": 0}, "max_slices"),
        (RandDropSlicesd, {"repeat_prob": 2}, "repeat_prob"),
        (RandShiftSlicesd, {"max_shift_px": 0}, "max_shift_px"),
        (RandShiftSlicesd, {"prob": -1}, "prob"),
    ],
)
def test_wrong_parameters(make, options, name):
    with pytest.raises(InputError, match=name):
        make("image", **options)
