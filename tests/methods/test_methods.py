"""The shared training loop on a small problem: it learns, resumes exactly, and skips what is not finite."""

import csv
import math

import pytest
import torch
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import ValidationHandler
from monai.inferers import SimpleInferer
from monai.transforms import AsDiscreted, Compose
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader

from crossem.data import PatchDataset, training_loader
from crossem.errors import InputError
from crossem.losses import WeightedCrossEntropyDice
from crossem.methods import SupervisedIteration, TrainingDivergedError, TrainingRecord, WeightAverage
from crossem.metrics import ConfusionScore
from crossem.networks import AnisotropicUNet, plan_unet
from crossem.transforms import em_augmentation


def volume():
    generator = torch.Generator().manual_seed(1)
    label = torch.zeros(1, 8, 32, 32, dtype=torch.uint8)
    label[:, :, 8:20, 6:18] = 1
    return {"image": torch.randn(1, 8, 32, 32, generator=generator) - 2.0 * label, "label": label}


def build(output_dir, epochs, resume=False, loss=None, max_skipped=20, val_interval=1):
    torch.manual_seed(0)
    network = AnisotropicUNet(1, 2, plan_unet((45, 9.5, 9.5), (4, 16, 16), (4, 8)))
    average = WeightAverage(network, decay=0.9)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    dataset = PatchDataset([volume()], dict, (4, 16, 16), em_augmentation())
    validator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader([volume()], batch_size=1),
        network=average.network,
        postprocessing=Compose([AsDiscreted("pred", argmax=True)]),
        key_val_metric={"mean_iou": ConfusionScore(["background", "object"])},
    )
    record = TrainingRecord(output_dir, validator, average, {"network": network, "optimizer": optimizer}, resume=resume)
    return SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=training_loader(batch_size=2, steps_per_epoch=3, source=dataset),
        network=network,
        optimizer=optimizer,
        loss_function=loss or WeightedCrossEntropyDice(),
        inferer=SimpleInferer(),
        iteration_update=SupervisedIteration(average, max_skipped=max_skipped),
        train_handlers=[ValidationHandler(val_interval, validator, epoch_level=True), record],
        decollate=False,
    )


def weights(folder):
    return torch.load(folder / "model.pt", weights_only=True)


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path):
    build(tmp_path / "whole", 4).run()
    build(tmp_path / "parts", 2).run()
    build(tmp_path / "parts", 4, resume=True).run()
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    rows = list(csv.DictReader((tmp_path / "parts" / "log.csv").open()))
    assert [int(r["epoch"]) for r in rows] == [1, 2, 3, 4]
    reference = list(csv.DictReader((tmp_path / "whole" / "log.csv").open()))
    assert [r["loss"] for r in rows] == [r["loss"] for r in reference]
    assert (tmp_path / "parts" / "model_best.pt").is_file()


def test_training_learns_and_everything_is_logged(tmp_path):
    build(tmp_path, 15).run()
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert float(rows[-1]["segmentation"]) < 0.6 * float(rows[0]["segmentation"])
    assert float(rows[-1]["validation_mean_iou"]) > 0.5
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert {"loss", "segmentation", "skipped_steps", "validation_mean_iou"} <= set(events.Tags()["scalars"])
    assert [e.value for e in events.Scalars("loss")] == pytest.approx([float(r["loss"]) for r in rows], rel=1e-5)
    assert {"validation/truth", "validation/prediction"} <= set(events.Tags()["images"])


def test_the_saved_model_is_the_running_average(tmp_path):
    trainer = build(tmp_path, 1)
    trainer.run()
    saved, average = weights(tmp_path), trainer._process_function.average
    assert any(not torch.equal(saved[k], v) for k, v in trainer.network.state_dict().items())
    assert all(torch.equal(saved[k], v) for k, v in average.network.state_dict().items())


def test_average_follows_the_formula():
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(network.weight, 0.0)
    average = WeightAverage(network, decay=0.5)
    expected = 0.0
    for step, value in enumerate([1.0, 3.0, -2.0, 5.0], start=1):
        torch.nn.init.constant_(network.weight, value)
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
        assert average.network.weight.item() == pytest.approx(expected)


class SometimesNan(WeightedCrossEntropyDice):
    """A loss that is not finite at chosen calls."""

    def __init__(self, bad):
        super().__init__()
        self.bad, self.calls = bad, 0

    def forward(self, logits, label, weight=None):
        self.calls += 1
        return super().forward(logits, label, weight) * (math.nan if self.calls in self.bad else 1.0)


def test_a_step_without_a_finite_gradient_is_skipped_and_counted(tmp_path):
    build(tmp_path, 2, loss=SometimesNan({2, 3, 5})).run()
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert [int(r["skipped_steps"]) for r in rows] == [2, 1]
    assert all(torch.isfinite(v).all() for v in weights(tmp_path).values())


def test_many_skipped_steps_in_a_row_stop_the_training(tmp_path):
    with pytest.raises(TrainingDivergedError, match="lower learning_rate"):
        build(tmp_path, 9, loss=SometimesNan(set(range(100))), max_skipped=4).run()


def test_a_new_run_keeps_the_earlier_one(tmp_path):
    build(tmp_path / "run", 1).run()
    before = weights(tmp_path / "run")
    build(tmp_path / "run", 1)
    kept = weights(tmp_path / "run.1")
    assert all(torch.equal(before[k], kept[k]) for k in before)
    assert not (tmp_path / "run" / "model.pt").exists()


def test_nothing_to_resume_from(tmp_path):
    with pytest.raises(InputError, match="checkpoint.pt does not exist"):
        build(tmp_path, 2, resume=True)


def test_a_damaged_checkpoint_and_one_that_is_none(tmp_path):
    build(tmp_path, 1).run()
    whole = (tmp_path / "checkpoint.pt").read_bytes()
    (tmp_path / "checkpoint.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="checkpoint.pt cannot be read"):
        build(tmp_path, 2, resume=True)
    torch.save(weights(tmp_path), tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match="is no checkpoint of a training"):
        build(tmp_path, 2, resume=True)


def test_another_learning_rate_is_not_silently_ignored(tmp_path):
    build(tmp_path, 1).run()
    trainer = build(tmp_path, 2, resume=True)
    trainer.optimizer.param_groups[0]["lr"] = 0.5
    with pytest.raises(InputError, match="learning rate of optimizer, parameter group 0, is 0.5, and .* with 0.01"):
        trainer.run()


def test_nothing_is_left_to_resume(tmp_path):
    build(tmp_path, 2).run()
    with pytest.raises(InputError, match="epochs is 2, and .* is after epoch 2 already"):
        build(tmp_path, 2, resume=True).run()


def test_the_last_epoch_is_validated_whatever_the_interval(tmp_path):
    build(tmp_path, 3, val_interval=2).run()
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert [bool(r["validation_mean_iou"]) for r in rows] == [False, True, True]


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    trainer = build(tmp_path, 1)
    trainer.run()
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    name = next(iter(saved["parts"]["network"]))
    saved["parts"]["network"][name] = torch.zeros(3)
    torch.save(saved, tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match="network in .*does not fit"):
        build(tmp_path, 2, resume=True).run()


def test_monitors_and_images_are_kept_and_not_minimised(tmp_path):
    trainer = build(tmp_path, 1)
    plain = trainer._process_function.losses

    def with_extras(engine, batch):
        output = plain(engine, batch)
        output.monitors["brightness"] = batch["source"]["image"].mean()
        output.images["input"] = batch["source"]["image"]
        return output

    trainer._process_function.losses = with_extras
    trainer.run()
    (row,) = csv.DictReader((tmp_path / "log.csv").open())
    assert float(row["loss"]) == pytest.approx(float(row["segmentation"])) and "brightness" in row
    assert Image.open(tmp_path / "images" / "input.png").size == (16, 16)
