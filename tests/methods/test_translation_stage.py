"""Which stage of translate-then-segment is due, and with what generator the second one begins."""

import pytest
import torch

from crossem.errors import InputError
from crossem.methods import TranslationStage, check_no_target_labels
from crossem.networks import SliceGenerator


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
    stage = TranslationStage(output_dir, generator or SliceGenerator(4, 1), epochs, **options)
    stage.begin()
    return stage


def loaded(stage, path):
    saved = torch.load(path, weights_only=True)
    return all(torch.equal(value, saved[name]) for name, value in stage.generator.state_dict().items())


def test_a_new_run_learns_first(tmp_path, caplog):
    stage, trainer = begun(tmp_path / "run"), Stage1(tmp_path / "run", 2)
    assert stage.is_due and not stage.resumes_segmentation
    stage.learn(trainer)
    stage.note_use()
    assert trainer.runs == 1 and "untrained" not in caplog.text


def test_a_use_of_random_weights_is_told_and_no_run_goes_on_with_it(tmp_path, caplog):
    stage = TranslationStage(tmp_path / "run", SliceGenerator(4, 1), 2)
    stage.note_use()
    assert "translated by an untrained generator" in caplog.text
    with pytest.raises(InputError, match="train#dataset was built before there was a translator"):
        stage.begin()


def test_a_given_translator_takes_the_place_of_stage_1(tmp_path):
    leave(tmp_path / "earlier", 1)
    stage = begun(tmp_path / "run", translator=tmp_path / "earlier" / "model.pt")
    stage.learn(None)
    stage.note_use()
    assert not stage.was_used_early
    assert not stage.is_due and loaded(stage, tmp_path / "earlier" / "model.pt")


def test_an_unfinished_stage_1_goes_on_and_a_finished_one_does_not(tmp_path):
    leave(tmp_path / "run" / "translate", 1)
    assert begun(tmp_path / "run", 2, resume=True).is_due
    leave(tmp_path / "run" / "translate", 2)
    stage = begun(tmp_path / "run", 2, resume=True)
    assert not stage.is_due and loaded(stage, tmp_path / "run" / "translate" / "model.pt")
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
    with pytest.raises(InputError, match="translate_epochs is 0: .*translator"):
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
