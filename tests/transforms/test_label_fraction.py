"""LabelFractiond: what is kept, what is weighted, what is refused."""

import pytest
import torch

from crossem.errors import InputError
from crossem.transforms import LabelFractiond


def test_keeps_the_first_columns():
    label = torch.ones(1, 2, 3, 10, dtype=torch.uint8)
    out = LabelFractiond(fraction=0.3)({"label": label})
    expected = (torch.arange(10) < 3).expand(1, 2, 3, 10)
    assert torch.equal(out["label"], expected.to(torch.uint8)) and torch.equal(out["weight"], expected.float())
    assert label.all()


@pytest.mark.parametrize("axis, dim", [("z", 1), ("y", 2), ("x", 3)])
@pytest.mark.parametrize("fraction", [0.5, 1.0])
def test_the_weight_is_made_of_the_labelled_part_alone(axis, dim, fraction):
    label = torch.randint(0, 4, (1, 4, 4, 4), dtype=torch.uint8)
    given = []

    def weighting(data):
        given.append(data["label"])
        return {**data, "weight": data["label"] + 0.5}

    out = LabelFractiond(fraction=fraction, axis=axis, weighting=weighting)({"label": label})
    labelled = round(4 * fraction)
    part = label.narrow(dim, 0, labelled)
    (seen,) = given
    assert torch.equal(seen, part) and out["label"].dtype == torch.uint8
    for name, expected in (("label", part), ("weight", part + 0.5)):
        assert torch.equal(out[name].narrow(dim, 0, labelled), expected)
        assert out[name].shape == label.shape and not out[name].narrow(dim, labelled, 4 - labelled).any()


def test_at_least_one_column_and_all_of_them():
    label = torch.ones(1, 1, 1, 5, dtype=torch.uint8)
    assert LabelFractiond(fraction=1e-6)({"label": label})["label"].sum() == 1
    everything = LabelFractiond(fraction=1.0)({"label": label})
    assert set(everything) == {"label"} and everything["label"].sum() == 5


@pytest.mark.parametrize("fraction", [-0.1, 1.01, float("nan"), "all"])
def test_wrong_fractions(fraction):
    with pytest.raises(InputError, match="label_fraction"):
        LabelFractiond(fraction=fraction)


def test_wrong_axis():
    with pytest.raises(InputError, match="axis"):
        LabelFractiond(fraction=0.5, axis="c")


def test_no_labels_are_for_items_without_any():
    nothing = LabelFractiond(fraction=0, allow_missing_keys=True)
    assert nothing({"image": 1}) == {"image": 1}
    with pytest.raises(InputError, match="label_fraction is 0, and this training needs labels"):
        nothing({"label": torch.ones(1, 1, 2, 2)})
