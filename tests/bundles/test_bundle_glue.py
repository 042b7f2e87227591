"""crossem.bundle: what the configs call around the work."""

import json

import pytest

from crossem.bundle import check_options, find_root
from crossem.errors import InputError


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "train.json"
    path.write_text(json.dumps({"epochs": 3, "train": {"trainer": {"max_epochs": "@epochs"}}}))
    overlay = tmp_path / "finetune.json"
    overlay.write_text(json.dumps({"pretrained": None}))
    return path, overlay


def argv(config_file, *options):
    return ["/x/monai/bundle/__main__.py", "run", "training", "--config_file", str(config_file), *options]


def test_known_options_pass(config):
    train, overlay = config
    both = f"['{train}','{overlay}']"
    check_options(argv(both, "--epochs", "3", "--pretrained", "a.pt", "--train#trainer#max_epochs=2"))
    check_options(["pytest", "--epocs"])


def test_a_misspelt_option_is_refused_with_a_suggestion(config):
    with pytest.raises(InputError, match="--epocs is not an option.*--epochs"):
        check_options(argv(config[0], "--epocs", "3"))
    with pytest.raises(InputError, match="--pretrained"):
        check_options(argv(config[0], "--pretrained", "a.pt"))


def test_the_root_is_found_from_the_repository_and_from_the_bundle(tmp_path, monkeypatch):
    folder = tmp_path / "bundles" / "some_bundle"
    (folder / "configs").mkdir(parents=True)
    (folder / "configs" / "metadata.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert find_root("some_bundle") == "bundles/some_bundle"
    monkeypatch.chdir(folder)
    assert find_root("some_bundle") == "."
