"""crossem.bundle: what the configs call around the work."""

import json

import pytest

from crossem.bundle import check_options, find_root, is_command_line
from crossem.errors import InputError


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "train.json"
    path.write_text(
        json.dumps({"epochs": 3, "train": {"trainer": {"_target_": "SupervisedTrainer", "max_epochs": "@epochs"}}})
    )
    overlay = tmp_path / "finetune.json"
    overlay.write_text(json.dumps({"pretrained": None}))
    return path, overlay


def argv(config_file, *options):
    return ["/x/monai/bundle/__main__.py", "run", "training", "--config_file", str(config_file), *options]


def test_known_options_pass(config):
    train, overlay = config
    both = f"['{train}','{overlay}']"
    check_options(argv(both, "--epochs", "3", "--pretrained", "a.pt", "--train#trainer#max_epochs=2"))
    check_options(argv(train, "--train#trainer#amp", "False", "--logging_file", "x"))  # an argument of a _target_


def test_options_are_checked_against_the_configs_of_an_args_file(config, tmp_path):
    (tmp_path / "args.json").write_text(json.dumps({"config_file": str(config[0])}))
    command = ["/x/monai/bundle/__main__.py", "run", "training", "--args_file", str(tmp_path / "args.json")]
    check_options([*command, "--epochs", "1"])
    with pytest.raises(InputError, match="--epocs is not an option"):
        check_options([*command, "--epocs", "1"])


def test_hyphens_are_underscores_and_no_named_config_is_no_check(config):
    command = ["/x/monai/bundle/__main__.py", "run", "training"]
    check_options([*command, f"--config-file={config[0]}", "--train#trainer#max-epochs", "3"])
    with pytest.raises(InputError, match="--epocs is not an option"):
        check_options([*command, f"--config-file={config[0]}", "--epocs", "3"])
    check_options([*command, "--anything", "1"])


def test_only_the_command_line_of_monai_is_looked_at():
    assert is_command_line(argv("x"))
    assert not is_command_line(["/usr/bin/pytest", "run"])
    assert not is_command_line(["/x/monai/bundle/__main__.py", "ckpt_export"])


def test_a_misspelt_option_is_refused_with_a_suggestion(config):
    with pytest.raises(InputError, match="--epocs is not an option.*epochs"):
        check_options(argv(config[0], "--epocs", "3"))
    with pytest.raises(InputError, match="--pretrained"):
        check_options(argv(config[0], "--pretrained", "a.pt"))
    with pytest.raises(InputError, match="no 'trainr' there, did you mean trainer"):
        check_options(argv(config[0], "--train#trainr#max_epochs", "3"))


def test_the_root_is_found_from_the_repository_and_from_the_bundle(tmp_path, monkeypatch):
    folder = tmp_path / "bundles" / "some_bundle"
    (folder / "configs").mkdir(parents=True)
    (folder / "configs" / "metadata.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert find_root("some_bundle") == "bundles/some_bundle"
    monkeypatch.chdir(folder)
    assert find_root("some_bundle") == "."
