"""The buffer of earlier translations."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from crossem.errors import InputError
from crossem.methods import ImageHistory


def numbered(first, count):
    return torch.arange(first, first + count, dtype=torch.float32).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2)


def query(history, first, count, step, domain="target"):
    answer = history.query(domain, numbered(first, count), torch.Generator().manual_seed(step))
    return [int(image[0, 0, 0]) for image in answer]


def test_the_first_images_come_back_and_are_kept():
    history = ImageHistory(4)
    assert query(history, 0, 4, 1) == [0, 1, 2, 3]
    assert history.state_dict()["target"].shape == (4, 1, 2, 2)


def test_half_of_the_answers_are_earlier_images_each_given_once():
    history = ImageHistory(50)
    query(history, 0, 50, 0)
    answers = [query(history, 50 + 10 * step, 10, step) for step in range(1, 201)]
    earlier = [a for step, answer in enumerate(answers, start=1) for a in answer if a < 50 + 10 * step]
    assert 900 < len(earlier) < 1100
    given = [a for answer in answers for a in answer]
    assert len(set(given)) == len(given)
    assert len(history.images["target"]) == 50


def test_domains_are_apart():
    history = ImageHistory(2)
    query(history, 0, 2, 1, "source")
    assert query(history, 10, 2, 1, "target") == [10, 11]


def test_a_loaded_history_goes_on_as_the_saved_one(tmp_path):
    history, resumed = ImageHistory(5), ImageHistory(5)
    for step in range(4):
        query(history, 10 * step, 3, step)
    torch.save(history.state_dict(), tmp_path / "history.pt")
    resumed.load_state_dict(torch.load(tmp_path / "history.pt", weights_only=True))
    for step in range(4, 9):
        assert query(history, 10 * step, 3, step) == query(resumed, 10 * step, 3, step)


def test_a_resume_on_another_device_goes_on():
    """Shapes and devices only, and a device that needs no driver to be named, so that this runs everywhere."""
    history = ImageHistory(5)
    with FakeTensorMode():
        saved, new = torch.empty(4, 1, 2, 2), torch.empty(20, 1, 2, 2, device="mps")
    history.load_state_dict({"target": saved})
    assert history.query("target", new, torch.Generator().manual_seed(0)).device.type == "mps"
    assert history.state_dict()["target"].device.type == "cpu"


def test_an_empty_buffer_is_refused():
    with pytest.raises(InputError, match="history size is 0"):
        ImageHistory(0)
