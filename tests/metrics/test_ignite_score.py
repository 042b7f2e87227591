"""The ignite metric inside MONAI's own evaluator."""

import numpy as np
import pytest
import torch
from monai.engines import SupervisedEvaluator
from monai.transforms import AsDiscreted
from sklearn.metrics import f1_score, jaccard_score

from crossem import InputError
from crossem.metrics import ConfusionScore

NAMES = ["background", "mitochondria", "glia"]


class TwoThresholds(torch.nn.Module):
    """Logits of three classes, by the brightness of the voxel."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.cat([1 - image, 2.4 * image - 0.9, 4 * image - 2], dim=1)


def _volumes(count: int = 3) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    shape = (1, 3, 12, 14)
    return [
        {
            "image": torch.rand(shape, generator=generator),
            "label": torch.randint(0, 3, shape, generator=generator),
        }
        for _ in range(count)
    ]


def _evaluate(metric: ConfusionScore, postprocessing=None, batch_size: int = 1) -> SupervisedEvaluator:
    loader = torch.utils.data.DataLoader(_volumes(), batch_size=batch_size)
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=loader,
        network=TwoThresholds(),
        postprocessing=postprocessing,
        key_val_metric={"val_mean_iou": metric},
    )
    evaluator.run()
    return evaluator


def _reference() -> tuple[np.ndarray, np.ndarray]:
    data = _volumes()
    logits = [TwoThresholds()(d["image"][None])[0] for d in data]
    prediction = np.stack([p.argmax(0, keepdim=True).numpy() for p in logits])
    return prediction, np.stack([d["label"].numpy() for d in data])


@pytest.mark.parametrize("postprocessing", [None, AsDiscreted("pred", argmax=True)])
@pytest.mark.parametrize("batch_size", [1, 2])
def test_key_metric_is_the_mean_foreground_iou_over_all_volumes(postprocessing, batch_size):
    state = _evaluate(ConfusionScore(NAMES), postprocessing, batch_size).state
    prediction, label = _reference()
    iou = jaccard_score(label.ravel(), prediction.ravel(), average=None)
    dice = f1_score(label.ravel(), prediction.ravel(), average=None)
    assert state.metrics["val_mean_iou"] == pytest.approx(iou[1:].mean())
    assert state.best_metric == state.metrics["val_mean_iou"] == state.metrics["mean_iou"]
    assert state.metrics["iou_glia"] == pytest.approx(iou[2])
    assert state.metrics["mean_dice"] == pytest.approx(dice[1:].mean())
    assert {"precision_mitochondria", "recall_background"} <= state.metrics.keys()


def test_second_run_starts_afresh():
    evaluator = _evaluate(ConfusionScore(NAMES))
    first = dict(evaluator.state.metrics)
    evaluator.run()
    assert evaluator.state.metrics == first


def test_unlabelled_voxels_do_not_count():
    prediction, label = _reference()
    labelled = np.random.default_rng(0).random(label.shape) > 0.4
    metric = ConfusionScore(NAMES)
    metric.update((torch.from_numpy(prediction), torch.from_numpy(np.where(labelled, label, 255))))
    iou = jaccard_score(label[labelled], prediction[labelled], average=None)
    assert metric.compute() == pytest.approx(iou[1:].mean())


def test_wrong_inputs_are_named():
    with pytest.raises(InputError, match="class_names"):
        ConfusionScore(["only"])
    with pytest.raises(InputError, match="pred has shape"):
        ConfusionScore(NAMES).update((torch.zeros(2, 3, 4, 4), torch.zeros(1, 3, 4, 4)))
