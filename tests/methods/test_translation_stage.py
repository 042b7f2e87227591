"""Which stage of translate-then-segment is due, and with what generator the second one begins."""

import numpy as np
import pytest
import torch
from ignite.engine import Engine

from crossem.data import PatchDataset, training_loader
from crossem.errors import InputError
from crossem.methods import SourceTranslation, TranslationStage, check_no_target_labels
from crossem.networks import SliceGenerator
from crossem.transforms import em_augmentation


class Stage1:
    """Stands in for the trainer of stage 1: leaves what TrainingRecord leaves."""

    def __init__(self, output_dir, epochs):
        self.folder, self.epochs, self.runs = output_dir / "translate", epochs, 0

    def run(self):
        self.runs += 1
        leave(self.folder, self.epochs)


def leave(folder, epochs, generator=None):
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"epoch": epochs, "parts": {}}, folder / "checkpoint.pt")
    torch.save((generator or SliceGenerator(4, 1)).state_dict(), folder / "model.pt")


def begun(output_dir, epochs=2, generator=None, **options):
    return TranslationStage(output_dir, generator or SliceGenerator(4, 1), epochs, **options)


def stage_2(stage, volume):
    """What stage 2 has of its source volume and label when it is trained."""
    label = torch.randint(2, volume.shape)
    dataset = PatchDataset([{"image": volume, "label": label}], dict, (1, 32, 32), em_augmentation(0))
    engine = Engine(lambda engine, batch: None)
    engine.data_loader = training_loader(1, 1, source=dataset)
    SourceTranslation(stage).attach(engine)
    for _ in range(2):  # the second run finds translated volumes
        engine.run(engine.data_loader)
    assert torch.equal(dataset.volumes[0]["label"], label)
    return dataset.volumes[0]["image"]


def loaded(stage, path):
    saved = torch.load(path, weights_only=True)
    return all(torch.equal(value, saved[name]) for name, value in stage.generator.state_dict().items())


def test_a_new_run_learns_first(tmp_path):
    stage, trainer = begun(tmp_path / "run"), Stage1(tmp_path / "run", 2)
    assert not stage.is_done and not stage.resumes_segmentation
    stage.learn(trainer)
    assert trainer.runs == 1 and stage.is_done


def test_stage_2_is_trained_on_translated_volumes_normalised_again(tmp_path):
    stage, volume = begun(tmp_path / "run"), torch.randn(1, 2, 40, 36)
    stage.learn(Stage1(tmp_path / "run", 2))
    with torch.no_grad():
        slices = [stage.generator(s[None, None])[0, 0].numpy() for s in volume[0]]
    low_high = [np.percentile(s, (1, 99)) for s in slices]
    clipped = [s.clip(*ends) for s, ends in zip(slices, low_high, strict=True)]
    expected = [((s - c.mean()) / c.std()).clip(-4, 4) for s, c in zip(slices, clipped, strict=True)]
    assert np.allclose(stage_2(stage, volume)[0], expected, atol=0.02)


def test_stage_2_without_a_translator_is_refused(tmp_path):
    with pytest.raises(InputError, match="no translator yet: run stage 1"):
        stage_2(begun(tmp_path / "run"), torch.randn(1, 1, 32, 32))


def test_a_given_translator_takes_the_place_of_stage_1(tmp_path):
    leave(tmp_path / "earlier", 1)
    stage = begun(tmp_path / "run", translator=tmp_path / "earlier" / "model.pt")
    stage.learn(None)
    assert stage.is_done and loaded(stage, tmp_path / "earlier" / "model.pt")


def test_an_unfinished_stage_1_goes_on_and_a_finished_one_does_not(tmp_path):
    leave(tmp_path / "run" / "translate", 1)
    assert not begun(tmp_path / "run", 2, resume=True).is_done
    leave(tmp_path / "run" / "translate", 2)
    stage = begun(tmp_path / "run", 2, resume=True)
    assert stage.is_done and loaded(stage, tmp_path / "run" / "translate" / "model.pt")
    assert not stage.resumes_segmentation  # killed between the stages


def test_stage_2_goes_on_from_its_own_checkpoint(tmp_path):
    leave(tmp_path / "run" / "translate", 2)
    leave(tmp_path / "run", 5)
    assert begun(tmp_path / "run", 2, resume=True).resumes_segmentation
    with pytest.raises(InputError, match=r"translate_epochs is 3, and .* of 2 already: resume with translate_epochs 2"):
        begun(tmp_path / "run", 3, resume=True)


def test_an_earlier_run_is_kept_whole(tmp_path):
    leave(tmp_path / "run" / "translate", 2)
    leave(tmp_path / "run", 5)
    begun(tmp_path / "run")
    assert (tmp_path / "run.1" / "checkpoint.pt").is_file() and (
        tmp_path / "run.1" / "translate" / "model.pt"
    ).is_file()
    assert not (tmp_path / "run" / "translate").exists()


def test_a_translator_in_the_folder_that_moves_away_is_loaded_before(tmp_path):
    leave(tmp_path / "run" / "translate", 2)
    leave(tmp_path / "run", 5)
    stage = begun(tmp_path / "run", translator=tmp_path / "run" / "translate" / "model.pt")
    assert loaded(stage, tmp_path / "run" / "translate" / "model.pt")


def test_nothing_to_resume(tmp_path):
    with pytest.raises(InputError, match=r"translate/checkpoint.pt does not exist; give the output_dir"):
        begun(tmp_path / "run", resume=True)
    leave(tmp_path / "run", 1)
    with pytest.raises(InputError, match="was trained with a translator; give the same one"):
        begun(tmp_path / "run", resume=True)


@pytest.mark.parametrize("resume", [False, True])
def test_a_resume_of_stage_2_with_a_translator_needs_a_checkpoint(tmp_path, resume):
    leave(tmp_path / "earlier", 1)
    stage = begun(tmp_path / "run", translator=tmp_path / "earlier" / "model.pt", resume=resume)
    assert stage.resumes_segmentation == resume  # TrainingRecord says what is missing


def test_wrong_translators_are_refused(tmp_path):
    with pytest.raises(InputError, match="translator: .*nowhere.pt does not exist"):
        begun(tmp_path / "run", translator="nowhere.pt")
    leave(tmp_path / "earlier", 1, SliceGenerator(8, 1))
    with pytest.raises(InputError, match="translator: .*another architecture.*same generator_channels and residual_bl"):
        begun(tmp_path / "run", translator=tmp_path / "earlier" / "model.pt")
    assert not (tmp_path / "run").exists()


def test_no_epochs_are_refused(tmp_path):
    with pytest.raises(InputError, match="translate_epochs is 0: give a number, 1 or more"):
        TranslationStage(tmp_path, SliceGenerator(4, 1), 0)


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    leave(tmp_path / "translate", 1)
    torch.save({}, tmp_path / "translate" / "checkpoint.pt")
    with pytest.raises(InputError, match="is no checkpoint of a training"):
        begun(tmp_path, resume=True)


def test_target_labels_are_refused_where_they_are_not_used():
    check_no_target_labels(0)
    with pytest.raises(InputError, match=r"label_fraction is 0.1: .*align.json"):
        check_no_target_labels(0.1)
