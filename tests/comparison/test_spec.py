"""Specs: what is wrong with one is told in one line, before any work."""

import pytest
import yaml

from crossem.comparison import Spec, load_spec, with_seeds
from crossem.comparison.spec import method_order
from crossem.errors import InputError

SOURCE_ONLY, FINE_TUNE = ("methods", "source-only"), ("methods", "fine-tune")


def test_a_spec_is_read_with_its_defaults(content, spec_file):
    spec = load_spec(spec_file(content))
    assert spec.split == "validation" and spec.published == []
    assert spec.methods["source-only"].label_fractions == [None] and spec.methods["source-only"].chosen
    assert spec.methods["fine-tune"].needs == ["source-only"]
    assert method_order(spec) == ["source-only", "fine-tune"]


def test_what_was_written_can_be_written_again(content, spec_file):
    written = load_spec(spec_file(content)).model_dump(mode="json", exclude_unset=True)
    assert written == content
    assert Spec.model_validate(written) == load_spec(spec_file(content))


def test_methods_are_in_the_order_of_the_spec_with_what_they_need_before(content, spec_file):
    """One that needs nothing stays where it is."""
    base = {"title": "A", "bundle": "b"}
    needs = {"d": ["b"], "a": [], "c": ["e", "d"], "b": [], "e": ["a"]}
    content["methods"] = {name: base | {"options": {n: f"{{{n}}}/x" for n in of}} for name, of in needs.items()}
    assert method_order(load_spec(spec_file(content))) == ["b", "d", "a", "e", "c"]


BUNDLE = "em_unet_finetune_segmentation"
LABELLED = {"title": "A", "bundle": BUNDLE, "unsupervised": False, "chosen": False}
SCORED = LABELLED | {"weights": "fine-tune", "label_fractions": [1.0]}


def changed(content, path, value):
    *parents, last = path
    for key in parents:
        content = content[key]
    content[last] = value


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (["seeds"], [], "'seeds' has too few entries"),
        (["seeds"], [0, 0], "seeds is .0, 0.; give each value once"),
        (["seeds"], [-1], "seeds.0.: .* got -1"),
        (["epocs"], 3, "unknown key 'epocs'"),
        (["name"], "a/b", "name: .* got 'a/b'"),
        (["split"], "all", "split: .* got 'all'"),
        ([*FINE_TUNE, "label_fractions"], [0.5, 0.5], "methods.fine-tune.label_fractions is"),
        ([*FINE_TUNE, "label_fractions"], [1.5], "methods.fine-tune.label_fractions.* got 1.5"),
        ([*FINE_TUNE, "overlay"], [], "unknown key 'methods.fine-tune.overlay'"),
        (["options", "seed"], 3, "options of spec: seed is set by the comparison; leave it out"),
        ([*SOURCE_ONLY, "options"], {"label_fraction": 1}, "use label_fractions of a method"),
        ([*SOURCE_ONLY, "options"], {"pretrained": "{fine-tune}/model.pt"}, "fine-tune.*has no run without"),
        ([*SOURCE_ONLY, "options"], {"pretrained": "{source-only}/x"}, "circle, source-only -> source-only"),
        ([*FINE_TUNE, "options"], {"pretrained": "{source_only}/x"}, "'source_only'.*did you mean 'source-only'"),
        ([*FINE_TUNE, "weights"], "source", "needs 'source', which is no method"),
        ([*FINE_TUNE, "weights"], "fine-tune", "circle, fine-tune -> fine-tune"),
        (["methods", "scored"], SCORED | {"bundle": "c"}, "give it bundle: em_unet_finetune_segmentation, and no"),
        (["methods", "scored"], SCORED | {"overlays": ["a.json"]}, "and no overlays"),
        (["methods", "scored"], SCORED | {"unsupervised": True}, "it needs fine-tune, which uses target labels"),
        (
            [*SOURCE_ONLY, "options"],
            {"pretrained": "{labelled}/model.pt"},
            "it needs labelled, which uses target labels",
        ),
        (["methods", "scored"], SCORED | {"chosen": True}, "chosen is True, and of its .* give it chosen: false"),
        (["methods", "scored"], SCORED | {"label_fractions": [0.5]}, "label_fractions have 0.5, and those of its"),
        (["methods", "scored"], SCORED | {"label_fractions": [None]}, "label_fractions have null"),
        (["published"], [{"name": "A", "score": 1, "source": "B", "method": "C"}], "'A' is of 'C', which is no method"),
    ],
)
def test_what_is_wrong_is_one_line(content, spec_file, path, value, named):
    content["methods"]["labelled"] = LABELLED
    changed(content, path, value)
    with pytest.raises(InputError, match=named) as error:
        load_spec(spec_file(content))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "named"),
    [("name: [", "not valid YAML"), ("name: a\nname: b", "key 'name' stands there twice"), ("- a", "spec .*got")],
)
def test_what_is_no_spec_is_one_line(spec_file, text, named):
    with pytest.raises(InputError, match=named) as error:
        load_spec(spec_file(text))
    assert "\n" not in str(error.value)


def test_a_base_gives_the_keys_that_are_not_there(content, spec_file, tmp_path):
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(content))
    spec = load_spec(spec_file({"base": "base.yaml", "name": "other", "seeds": [3]}))
    assert spec.model_dump(exclude_unset=True) == content | {"name": "other", "seeds": [3]}


def test_a_base_may_have_a_base(content, spec_file, tmp_path):
    (tmp_path / "first.yaml").write_text(yaml.safe_dump(content | {"note": "Scored on sections 1 to 9."}))
    (tmp_path / "more").mkdir()  # each base is looked for from its own spec's folder
    second = {"base": "../first.yaml", "name": "second", "seeds": [3, 4]}
    (tmp_path / "more" / "second.yaml").write_text(yaml.safe_dump(second))
    spec = load_spec(spec_file({"base": "more/second.yaml", "name": "third", "title": "Third"}))
    assert spec.model_dump(exclude_unset=True) == content | {"name": "third", "title": "Third", "seeds": [3, 4]}


def test_what_a_base_says_of_its_data_is_not_taken(content, spec_file, tmp_path):
    published = {"name": "Fine-tuning", "method": "fine-tune", "score": 0.3, "source": "A 2019"}
    about = {"note": "Scored on sections 1 to 9.", "published": [published]}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(content | about))
    own = {"base": "base.yaml", "name": "other", "methods": {"source-only": content["methods"]["source-only"]}}
    spec = load_spec(spec_file(own))  # a method of "published" is not among these
    assert (spec.note, spec.published) == ("", [])
    assert load_spec(spec_file(own | {"note": "Mine."})).note == "Mine."


@pytest.mark.parametrize(
    ("base", "named"),
    [
        ("none.yaml", "spec.yaml: base is 'none.yaml', but .*none.yaml is no file"),
        (None, "base is None"),
        (["a"], "base is .'a'."),
        ("spec.yaml", "spec.yaml: base 'spec.yaml' leads back to itself"),
        ("circle.yaml", "circle.yaml: base 'spec.yaml' leads back to itself"),
        ("a.yaml", "^spec .*list.yaml.*got"),  # the base's base is what is wrong
        ("list.yaml", "list.yaml.*got"),
        ("bytes.yaml", "bytes.yaml: not valid YAML"),
    ],
)
def test_a_wrong_base_is_one_line(content, spec_file, tmp_path, base, named):
    (tmp_path / "list.yaml").write_text("- a")
    (tmp_path / "bytes.yaml").write_bytes(b"name: \xff")
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(content | {"base": "list.yaml"}))
    (tmp_path / "circle.yaml").write_text(yaml.safe_dump(content | {"base": "spec.yaml"}))
    with pytest.raises(InputError, match=named) as error:
        load_spec(spec_file({"base": base, "name": "other"}))
    assert "\n" not in str(error.value)


def test_a_spec_with_a_base_has_a_name_of_its_own(content, spec_file, tmp_path):
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match="no name of its own"):
        load_spec(spec_file({"base": "base.yaml", "seeds": [3]}))


def test_seeds_can_be_added(content, spec_file):
    spec = load_spec(spec_file(content))
    assert with_seeds(spec, [1, 5, 5]).seeds == [0, 1, 5] and with_seeds(spec, [1]) is spec
    assert with_seeds(spec, [5]).model_dump(exclude_unset=True) == content | {"seeds": [0, 1, 5]}
    with pytest.raises(InputError, match="given seeds: seeds.2.: .*got -1"):
        with_seeds(spec, [-1])


def test_a_missing_spec_is_one_line(tmp_path):
    with pytest.raises(InputError, match="none.yaml: cannot be read"):
        load_spec(tmp_path / "none.yaml")
