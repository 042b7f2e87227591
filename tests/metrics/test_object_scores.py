"""The scores of objects and regions inside MONAI's own evaluator."""

import numpy as np
import pytest
import torch
from monai.data import DataLoader, MetaTensor
from monai.engines import SupervisedEvaluator
from scipy.ndimage import gaussian_filter

from crossem import InputError
from crossem.io import make_affine
from crossem.metrics import (
    ConfusionScore,
    PartitionScore,
    PartitionScores,
    instance_scores,
    object_scores,
    partition_tables,
)

NAMES = ["boundary", "cytoplasm", "mitochondria", "glia"]
VOXEL = (50.0, 10.0, 10.0)


def volumes(count=3):
    """Four classes in bands of a smooth noise, the truth of a noise a little different."""
    affine = torch.as_tensor(make_affine(VOXEL))
    for seed in range(count):
        rng = np.random.default_rng(seed)
        noise = gaussian_filter(rng.normal(size=(4, 60, 64)), (1, 4, 4))
        noisier = noise + 0.08 * gaussian_filter(rng.normal(size=noise.shape), (0, 2, 2))
        cuts = np.quantile(noise, [0.35, 0.7, 0.9])
        pair = [np.digitize(array, cuts).astype(np.uint8)[None] for array in (noisier, noise)]
        yield {key: MetaTensor(torch.from_numpy(a), affine) for key, a in zip(("image", "label"), pair, strict=True)}


class OneHot(torch.nn.Module):
    """The image holds the classes that this network predicts."""

    def forward(self, image):
        return torch.nn.functional.one_hot(image[:, 0].long(), len(NAMES)).movedim(-1, 1).float()


def evaluate():
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(list(volumes()), batch_size=1),
        network=OneHot(),
        key_val_metric={"mean_iou": ConfusionScore(NAMES)},
        additional_metrics=object_scores(NAMES),
    )
    evaluator.run()
    return evaluator


@pytest.fixture(scope="module")
def evaluator():
    return evaluate()


def test_objects_of_all_volumes_are_counted_together(evaluator):
    counts = [instance_scores(item["image"][0] == 2, item["label"][0] == 2) for item in volumes()]
    matched, true, found = (sum(getattr(c, name) for c in counts) for name in ("matched", "true", "found"))
    metrics = evaluator.state.metrics
    assert metrics["instance_precision_mitochondria"] == matched / found
    assert metrics["instance_recall_mitochondria"] == matched / true
    assert metrics["instance_f1_mitochondria"] == 2 * matched / (true + found)
    assert 0 < matched < min(true, found)


def test_sections_of_all_volumes_are_scored_together(evaluator):
    tables = [t for item in volumes() for t in partition_tables(item["image"][0], item["label"][0], 0, VOXEL)]
    expected = PartitionScores.from_tables(tables).as_dict()
    assert {name: evaluator.state.metrics[name] for name in expected} == expected
    assert 0 < expected["adapted_rand_error"] < 1


def test_a_second_run_starts_afresh_and_the_key_value_stays_first(evaluator):
    first = dict(evaluator.state.metrics)
    evaluator.run()
    assert evaluator.state.metrics == first
    assert evaluator.state.best_metric == first["mean_iou"]


def test_unlabelled_voxels_are_in_no_object():
    (item,) = volumes(1)
    label = item["label"].clone()
    label[..., 30:] = 255
    score = object_scores(NAMES)["instance_f1_mitochondria"]
    score.update((item["image"], label))
    half = instance_scores(item["image"][0, ..., :30] == 2, item["label"][0, ..., :30] == 2)
    assert score.compute() == half.f1


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["background", "mitochondria"], {"instance_f1_mitochondria"}),
        (["background", "boundary"], {"adapted_rand_error"}),
        (NAMES, {"instance_f1_mitochondria", "adapted_rand_error"}),
        (["background", "nucleus", "vesicle"], {"instance_f1_nucleus", "instance_f1_vesicle"}),
    ],
)
def test_classes_get_the_scores_that_fit_them(names, expected):
    assert object_scores(names).keys() == expected


def test_a_label_without_a_voxel_size_is_refused():
    plain = torch.zeros(1, 2, 8, 8)
    with pytest.raises(InputError, match="pass a MetaTensor"):
        PartitionScore(["background", "boundary"]).update((plain, plain))
