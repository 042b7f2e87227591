"""Plans: the runs of a spec, their order and commands, and that every shipped spec can be run."""

import ast
import json
import shlex
from pathlib import Path

import pytest

from crossem.bundle import check_options
from crossem.comparison import load_spec, plan_runs, selected_runs, shown_runs
from crossem.comparison.plan import typed
from crossem.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted((ROOT / "tools" / "specs").glob("*.yaml"))
DATA = Path("datalist.json")


@pytest.fixture
def plan(spec_file):
    def make(content):
        return plan_runs(load_spec(spec_file(content)), DATA, Path("runs/tiny"))

    return make


def options(command):
    return dict(zip(command[4::2], command[5::2], strict=True))


def test_runs_come_after_those_that_they_need(content, plan):
    runs = plan(content)
    names = [run.name for run in runs]
    seeds = [[f"source-only_seed{s}", f"fine-tune_0.25_seed{s}", f"fine-tune_1_seed{s}"] for s in (0, 1)]
    assert names == [*seeds[0], *seeds[1]]
    for run in runs[1:3]:
        assert [needed.name for needed in run.needs] == ["source-only_seed0"]
    assert len({run.folder for run in runs}) == 6 and all(run.folder.parent == Path("runs/tiny") for run in runs)


def test_a_command_has_the_options_of_spec_method_and_run(content, plan):
    content["methods"]["fine-tune"]["options"]["epochs"] = 3
    run = plan(content)[5]
    configs = Path("bundles/em_unet_finetune_segmentation/configs")
    assert run.training[:4] == ("-m", "monai.bundle", "run", "training")
    given = options(run.training)
    assert ast.literal_eval(given.pop("--config_file")) == [f"{configs}/train.json", f"{configs}/finetune.json"]
    assert given == {
        "--epochs": "3",
        "--roi_size_zyx": "[8, 64, 64]",
        "--pretrained": "runs/tiny/source-only_seed1/model.pt",
        "--datalist": "datalist.json",
        "--seed": "1",
        "--label_fraction": "1.0",
        "--output_dir": "runs/tiny/fine-tune_1_seed1",
    }
    assert run.epochs == 3


def test_evaluations_score_the_target_with_the_network_of_the_training(content, plan):
    content["split"] = "test"
    content["methods"]["source-only"]["options"] = {"domain": "source"}
    source_only, fine_tune = plan(content)[3:5]
    assert list(source_only.evaluations) == ["last", "chosen"] and list(fine_tune.evaluations) == ["last"]
    for name, weights in (("last", "model.pt"), ("chosen", "model_best.pt")):
        given = options(source_only.evaluations[name])
        assert given["--checkpoint"] == f"runs/tiny/source-only_seed1/{weights}"
        assert (given["--domain"], given["--split"]) == ("target", "test")
        assert given["--roi_size_zyx"] == "[8, 64, 64]"
        assert given["--config_file"].endswith('configs/evaluate.json"]')
        assert Path(given["--output_dir"]) == source_only.scores_file(name).parent
    assert given["--output_dir"] != options(source_only.training)["--output_dir"]


def test_weights_of_another_method_are_scored_with_other_options(content, plan):
    content["methods"]["confirmed"] = {
        "title": "Confirmed",
        "bundle": "em_unet_finetune_segmentation",
        "weights": "fine-tune",
        "options": {"confirmed_by": "{source-only}/model.pt"},
        "label_fractions": [1.0],
        "unsupervised": False,
        "chosen": False,
    }
    source_only, _, fine_tune, confirmed = plan(content)[:4]
    assert confirmed.name == "confirmed_1_seed0" and confirmed.needs == (fine_tune, source_only)
    configs = "bundles/em_unet_finetune_segmentation/configs"
    assert confirmed.training is None and confirmed.epochs == 0 and confirmed.trained == fine_tune
    assert confirmed.history == [typed(source_only.training), typed(fine_tune.training)]
    given = options(confirmed.evaluations["last"])
    files = [f"{configs}/{name}.json" for name in ("train", "finetune", "evaluate")]
    assert ast.literal_eval(given["--config_file"]) == files  # of the method that trains, as its options
    assert given["--pretrained"] == "runs/tiny/source-only_seed0/model.pt"
    assert given["--checkpoint"] == "runs/tiny/fine-tune_1_seed0/model.pt"
    assert given["--confirmed_by"] == "runs/tiny/source-only_seed0/model.pt"
    assert given["--output_dir"] == "runs/tiny/confirmed_1_seed0/evaluation_last"
    assert confirmed.commands() == list(confirmed.evaluations.values())
    assert fine_tune.commands() == [fine_tune.training, *fine_tune.evaluations.values()]


def test_nothing_of_a_training_is_asked_of_weights_that_are_scored(content, plan):
    scored = {"title": "Scored", "bundle": "em_unet_finetune_segmentation", "weights": "source-only"}
    content["methods"]["scored"] = scored | {"options": {"learning_rate": 1}}
    with pytest.raises(InputError, match="^method scored: learning_rate is an option of a training, .* leave it out$"):
        plan(content)
    content["methods"]["scored"] = scored | {"options": {"confirm_by": "model.pt"}}
    with pytest.raises(InputError, match="method scored: .*confirm_by.*did you mean.*confirmed_by"):
        plan(content)


def test_one_prediction_a_method_is_kept(content, spec_file, plan):
    runs = plan(content)
    shown = shown_runs(load_spec(spec_file(content)), runs)
    assert {title: run.name for title, run in shown.items()} == {
        "Source only": "source-only_seed0",
        "Fine-tuning, 100 %": "fine-tune_1_seed0",
    }
    keep = [run for run in runs if any("postprocessing" in part for part in run.evaluations["last"])]
    assert keep == list(shown.values())


def test_a_run_that_is_needed_twice_is_in_the_lineage_once(content, plan):
    method = content["methods"]["source-only"]
    content["methods"]["left"] = {**method, "options": {"pretrained": "{source-only}/model.pt"}}
    content["methods"]["right"] = {**method, "options": {"pretrained": "{source-only}/model.pt"}}
    content["methods"]["both"] = {**method, "options": {"pretrained": "{left}/model.pt", "average#network": "{right}"}}
    both = next(run for run in plan(content) if run.method == "both")
    assert [run.method for run in both.lineage] == ["source-only", "left", "right", "both"]
    assert both.history == [f"python {' '.join(map(shlex.quote, run.training))}" for run in both.lineage]


def test_translation_is_a_stage_of_its_own(content, plan):
    method = {"title": "C", "bundle": "em_cyclegan_segmentation", "options": {"domain": "source"}}
    again = {**method, "options": {"domain": "source", "translator": "{cyclegan}/translate/model.pt"}}
    content["methods"] = {"cyclegan": method, "again": again}
    cyclegan, alone = plan(content)[:2]
    assert [(stage.folder, stage.epochs) for stage in cyclegan.stages] == [
        (cyclegan.folder / "translate", 2),
        (cyclegan.folder, 2),
    ]
    assert cyclegan.epochs == 4 and alone.epochs == 2
    assert f"{cyclegan.folder}/translate/model.pt" in alone.training


def test_history_names_what_a_run_starts_from(content, plan):
    before = plan(content)[1].history
    assert any("source-only_seed0" in command and "training" in command for command in before)
    content["split"] = "test"
    assert plan(content)[1].history == before  # the weights do not depend on what they are scored on
    content["methods"]["source-only"]["options"] = {"epochs": 5}
    assert plan(content)[1].history != before


def test_methods_and_seeds_are_selected_with_what_they_need(content, plan):
    runs = plan(content)
    assert selected_runs(runs, None, None) == runs
    assert [run.name for run in selected_runs(runs, ["source-only"], [1])] == ["source-only_seed1"]
    assert [run.name for run in selected_runs(runs, ["fine-tune"], [1])] == [run.name for run in runs[3:]]
    with pytest.raises(InputError, match="method 'finetune' is not in the spec; did you mean 'fine-tune'"):
        selected_runs(runs, ["finetune"], None)


def test_runs_of_some_label_fractions(content, plan):
    content["methods"]["source-only"]["label_fractions"] = [None, 0.5]
    content["methods"]["other"] = {**content["methods"]["fine-tune"], "label_fractions": [None], "options": {}}
    runs = plan(content)
    chosen = [run.name for run in selected_runs(runs, None, [0], [0.25])]
    assert chosen == ["source-only_seed0", "fine-tune_0.25_seed0", "other_seed0"]  # the first is needed
    assert [run.name for run in selected_runs(runs, ["fine-tune"], [0], [0.25])] == chosen[:2]
    assert [run.name for run in selected_runs(runs, ["source-only"], [0], [0.5])] == ["source-only_0.5_seed0"]
    assert [run.name for run in selected_runs(runs, None, [0], [0])] == ["source-only_seed0", "other_seed0"]
    with pytest.raises(InputError, match=r"^no chosen method has the label fraction 0.3; they have 0.25, 0.5, 1$"):
        selected_runs(runs, None, None, [0.25, 0.3])
    with pytest.raises(InputError, match=r"^no chosen method has the label fraction 0; they have 0.25, 1$"):
        selected_runs(runs, ["fine-tune"], None, [0])
    with pytest.raises(InputError, match="they take none"):
        selected_runs(runs, ["other"], None, [0.25])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"bundle": "em_unet_finetune"}, "no bundle 'em_unet_finetune' .*did you mean 'em_unet_finetune_segmentation'"),
        ({"overlays": ["fintune.json"]}, "overlay .*fintune.json does not exist; did you mean 'finetune.json'"),
        ({"options": {"epocs": 3}}, "method source-only: --epocs is not an option of this config"),
        (
            {"options": {"domain": "target"}},
            "domain is 'target', so it uses target labels; give it unsupervised: false",
        ),
        ({"options": {"domain": "target"}, "unsupervised": False}, "domain is 'target', so a checkpoint may be chosen"),
        ({"bundle": "em_dann_segmentation"}, "may be chosen on target labels; give it the option domain: source"),
    ],
)
def test_what_cannot_be_run_is_one_line(content, plan, change, named):
    content["methods"]["source-only"] |= change
    with pytest.raises(InputError, match=named) as error:
        plan(content)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_spec_can_be_run(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    spec = load_spec(path)
    assert spec.name == path.stem
    runs = plan_runs(spec, DATA, Path("runs") / spec.name)
    for run in runs:
        for command in run.commands():
            check_options(command[1:])
        folders = [run.folder, *(needed.folder for needed in run.needs)]
        values = [Path(v) for v in options(run.commands()[0]).values() if v.startswith("runs/")]
        assert all(any(value.is_relative_to(folder) for folder in folders) for value in values)
    for method in spec.methods.values():
        scores = ["evaluate.json"] if method.weights else []
        names = ("train.json", *method.overlays, *scores)
        files = [Path("bundles") / method.bundle / "configs" / name for name in names]
        known = {key for file in files for key in json.loads(file.read_text())}
        assert (spec.options | method.options).keys() <= known
