"""The report of a comparison: what is on the page, and the numbers against numpy."""

import base64
import html.parser
import io
import json
import re
import xml.etree.ElementTree as ET
from copy import deepcopy

import numpy as np
import pytest
import yaml
from PIL import Image

from crossem import InputError
from crossem.report import write_report
from crossem.report.comparison_figures import bar_figure, share_figure, training_figure
from crossem.report.comparison_table import comparison_table

TITLES = {
    "source-only": "Source only",
    "dann": "DANN",
    "mmd": "MMD",
    "ynet": "Y-Net",
    "cyclegan": "CycleGAN <b>&",
    "align": "Align | all",
    "fine-tune": "Fine-tuned",
    "oracle": "Oracle",
}
SHARES = [0.05, 0.15, 1.0]
SEEDS = [0, 1, 2]
VOID = {"meta", "img", "br", "link"}


def make_run(method, share, seed, rng, class_name="mitochondria"):
    level = {"fine-tune": 0.5, "oracle": 0.7}.get(method, 0.3) + rng.uniform(0, 0.2)
    last = {"mean_iou": level, "mean_dice": level + 0.1, "mean_precision": level + 0.05, "mean_recall": level + 0.2}
    last |= {f"iou_{class_name}": level}
    if class_name == "boundary":
        last |= {"adapted_rand_error": 1 - level, "variation_of_information": 2 - level}
    else:
        last |= {f"instance_f1_{class_name}": level - 0.1}
    chosen = None if method in ("fine-tune", "oracle") else {k: v + 0.01 for k, v in last.items()}
    validation = [None, 0.4, None, level + 0.1]
    return {
        "method": method,
        "label_fraction": share,
        "seed": seed,
        "commands": [f"train {method} '{share}' --seed {seed} < /dev/null", f"evaluate {method} {share} {seed}"],
        "scores": {"last": last, "chosen": chosen},
        "chosen_epoch": 4 if chosen else None,
        "curves": {"epoch": [1, 2, 3, 4], "loss": [3, 2, 1, 0.5], "validation_mean_iou": validation},
        "seconds": 81.2,
        "device": "CPU, 2 threads",
        "commit": "0123456789abcdef0123-dirty",
    }


def summarise(runs):
    groups = {}
    for run in runs:
        groups.setdefault((run["method"], run["label_fraction"]), []).append(run)
    return [
        {
            "method": method,
            "label_fraction": share,
            "seeds": [r["seed"] for r in group],
            **{which: mean_and_std([r["scores"][which] for r in group]) for which in ("last", "chosen")},
            "source": mean_and_std([r["scores"]["chosen"] and {"mean_iou": source_score(r)} for r in group]),
        }
        for (method, share), group in groups.items()
    ]


def source_score(run):
    return run["curves"]["validation_mean_iou"][-1]


def mean_and_std(scores):
    if scores[0] is None:
        return None
    values = {name: [score[name] for score in scores] for name in scores[0]}
    return {
        name: {"mean": float(np.mean(v)), "std": float(np.std(v, ddof=1)) if len(v) > 1 else None}
        for name, v in values.items()
    }


def make_document(methods=tuple(TITLES), seeds=SEEDS, class_name="mitochondria"):
    rng = np.random.default_rng(0)
    shares = {"fine-tune": SHARES}
    runs = [
        make_run(m, share, seed, rng, class_name)
        for m in methods for share in shares.get(m, [None]) for seed in seeds
    ]  # fmt: skip
    spec_methods = {m: {"title": TITLES[m], "bundle": f"em_{m}_segmentation"} for m in methods}
    for m in {"fine-tune", "oracle"} & set(methods):
        spec_methods[m] |= {"unsupervised": False, "chosen": False}
    return {
        "name": "pair",
        "title": "Mitochondria <i>here</i>",
        "command": "python tools/compare_methods.py pair && true",
        "commit": "0123456789abcdef",
        "finished": "2026-11-20",
        "machine": {"device": "NVIDIA H200", "cpu": "EPYC", "threads": 16},
        "versions": {"python": "3.11.9", "torch": "2.13.0"},
        "data": {
            "datalist": "data/pair.json",
            "split": "validation",
            "sha256": {"a/raw.tif": "ab" * 32, "b/raw.tif": "cd" * 32},
            "provenance": {
                "source": {"title": "Some stack", "licence": "CC BY 3.0", "citation": "A & B 2013.", "doi": "10.1/x.2"},
                "target": {"title": "Other stack", "licence": "none stated", "citation": "C 2014.", "doi": None},
            },
        },
        "protocol": {"selection": "best on the source's validation", "metric": "mean_iou"},
        "spec": {"name": "pair", "seeds": list(seeds), "options": {"epochs": 40}, "methods": spec_methods},
        "published": [
            {"name": "DANN", "score": 0.499, "metric": "mean_iou", "source": "Roels 2019"},
            {"name": "CORAL", "score": 0.403, "metric": "mean_iou", "source": "Roels 2019"},
            {"name": "Y network", "method": "ynet", "score": 0.6, "metric": "mean_dice", "source": "Other 2020"},
        ],
        "methods": {m: {"title": TITLES[m], "epochs": 10 + len(m)} for m in methods},
        "summary": summarise(runs),
        "runs": runs,
    }


@pytest.fixture
def document():
    return make_document()


@pytest.fixture(scope="module")
def volumes():
    image = np.random.default_rng(0).integers(0, 256, (6, 90, 60), dtype=np.uint8)
    truth = np.zeros_like(image)
    truth[:, 10:30, 10:30] = 1
    truth[:, 50:60] = 255
    return image, truth, {"DANN": (truth == 1).astype(np.uint8), TITLES["cyclegan"]: np.zeros_like(image)}


@pytest.fixture(scope="module")
def report(volumes, tmp_path_factory):
    """A whole report in a folder of its own, and the document it was made of."""
    image, truth, overlays = volumes
    folder, document = tmp_path_factory.mktemp("report"), make_document()
    paths = write_report(document, overlays, image, truth, folder)
    assert sorted(paths) == sorted(folder.iterdir())
    assert {p.name for p in paths} == {"pair.md", "pair.html", "pair.png"}
    return folder, document


class Page(html.parser.HTMLParser):
    """Elements, text and tables of a page; asserts that every element is closed in its place."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.text, self.tables = [], [], "", []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def read_page(folder):
    text = (folder / "pair.html").read_text()
    assert text.startswith("<!DOCTYPE html>")
    return Page(text)


def markdown_table(folder):
    lines = [line for line in (folder / "pair.md").read_text().splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return rows[0], rows[2:]


def test_everything_is_on_the_page(report):
    folder, document = report
    page = read_page(folder)
    shown = [document["title"], document["command"], document["commit"], "2026-11-20", "EPYC", "Roels 2019"]
    shown += [*TITLES.values(), *document["versions"].values(), *document["data"]["sha256"].values()]
    shown += [command for run in document["runs"] for command in run["commands"]]
    shown += [document["protocol"]["selection"], "none stated", "CC BY 3.0", "Other 2020", "epochs 40"]
    shown += ["0123456789ab-dirty"]
    for text in shown:
        assert text in page.text, text
    spec = re.search(r"^name: pair\n.*?(?=\n\n)", page.text, re.M | re.S)
    assert yaml.safe_load(spec[0]) == document["spec"]


def test_page_is_self_contained_and_accessible(report):
    page = read_page(report[0])
    images = page.all("img")
    assert len(images) == 4 + 2 * 4  # bars, shares, two of training; image, truth and two methods on two slices
    assert all(image["src"].startswith("data:image/") and image["alt"] for image in images)
    assert not page.all("script") and not page.all("link") and not page.all("iframe")
    assert [a["href"] for a in page.all("a")] == ["https://doi.org/10.1/x.2"]
    assert all(header.get("scope") in ("col", "row") for header in page.all("th"))
    assert len(page.all("caption")) == len(page.tables)
    assert page.all("html")[0]["lang"] == "en"
    for uri in (image["src"] for image in images if "svg" in image["src"]):
        root = ET.fromstring(base64.b64decode(uri.partition(",")[2]))
        assert root.tag.endswith("svg")
        outside = [value for e in root.iter() for key, value in e.items() if key.endswith("href") and value[0] != "#"]
        assert not outside


def test_numbers_are_those_of_numpy(report):
    folder, document = report
    header, *rows = read_page(folder).tables[0]
    assert header == ["Method", "Target labels", "Epochs", "Seeds", "IoU, last", "IoU, chosen", "Published", "Dice",
                      "Precision", "Recall", "Instance F1", "IoU on the source"]  # fmt: skip
    keys = ["mean_iou", "mean_iou", "mean_dice", "mean_precision", "mean_recall", "instance_f1_mitochondria"]
    shares = {"none": None, "all": None, "5 %": 0.05, "15 %": 0.15, "100 %": 1.0}
    ours = [row for row in rows if "(published)" not in row[0]]
    assert len(ours) == len(document["summary"])
    for title, share, epochs, seeds, last, chosen, _, *others, source in ours:
        runs = [r for r in document["runs"] if TITLES[r["method"]] == title and r["label_fraction"] == shares[share]]
        assert seeds == str(len(runs)) == "3"
        assert epochs == str(10 + len(runs[0]["method"]))
        for key, which, cell in zip(keys, ["last", "chosen", *["last"] * 4], [last, chosen, *others], strict=True):
            values = [r["scores"][which][key] for r in runs if r["scores"][which]]
            assert cell == (f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}" if values else "–")
        values = [source_score(r) for r in runs if r["scores"]["chosen"]]
        assert source == (f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}" if values else "–")


def test_rows_are_sorted_and_the_best_unsupervised_is_bold(report):
    _, rows = markdown_table(report[0])
    labels = [row[1] for row in rows]
    assert labels == ["none"] * 6 + ["5 %", "15 %"] + sorted(["100 %", "all"], key=labels.index) + ["–"]
    unsupervised = [float(row[4].strip("*").split()[0]) for row in rows[:6]]
    assert unsupervised == sorted(unsupervised, reverse=True)
    assert [row[4].startswith("**") for row in rows] == [True] + [False] * 10
    assert sum(cell.startswith("**") for row in rows for cell in row) == 7


def test_where_all_are_the_same_none_is_the_best(document):
    for summary in document["summary"]:
        summary["last"]["mean_iou"]["mean"] = 0.0
    table = comparison_table(document)
    column = table.header.index("IoU, last")
    assert not any(table.cells(row)[column].best for row in table.rows)


def test_published_scores_stand_beside_ours_or_alone(report):
    folder, document = report
    published = {row[0]: row[6] for row in read_page(folder).tables[0][1:]}
    assert published["DANN"] == "0.499 [1]"
    assert published["Y-Net"] == "Dice 0.6 [2]"
    assert published["CORAL (published)"] == "0.403 [1]"
    assert published["MMD"] == "–"
    (axes,) = bar_figure(comparison_table(document), document).axes
    (diamonds,) = [line for line in axes.lines if line.get_label() == "published"]
    names = [t.get_text() for t in axes.get_yticklabels()]
    assert {names[int(y)]: x for x, y in diamonds.get_xydata()} == {"DANN": 0.499, "CORAL (published)": 0.403}


def test_figures_draw_the_numbers_of_the_table(document):
    table = comparison_table(document)
    (axes,) = bar_figure(table, document).axes
    means = [s["last"]["mean_iou"]["mean"] for s in document["summary"] if s["label_fraction"] is None]
    means += [s["chosen"]["mean_iou"]["mean"] for s in document["summary"] if s["chosen"]]
    assert sorted(bar.get_width() for bar in axes.patches) == pytest.approx(sorted(means))
    (axes,) = share_figure(table).axes
    tuned = [s["last"]["mean_iou"]["mean"] for s in document["summary"] if s["method"] == "fine-tune"]
    assert list(axes.lines[0].get_ydata()) == pytest.approx(tuned)
    assert len(axes.texts) == 7  # a level a method without a share
    panels = training_figure([row for row in table.rows if row.method == "dann"], document).axes
    loss, score = [panel for panel in panels if panel.get_visible()]
    assert loss.get_title() == "DANN"
    curves = [line for line in loss.lines if len(line.get_xdata())]
    assert [list(line.get_ydata()) for line in curves] == [[3, 2, 1, 0.5]] * 3
    first = next(run for run in document["runs"] if run["method"] == "dann")
    np.testing.assert_array_equal(score.lines[0].get_xydata(), [[2, 0.4], [4, source_score(first)]])


def test_one_share_of_labels_is_no_curve(document):
    one = document | {"runs": [run for run in document["runs"] if run["label_fraction"] in (None, 0.15)]}
    one["summary"] = summarise(one["runs"])
    table = comparison_table(one)
    assert share_figure(table) is None
    (axes,) = bar_figure(table, one).axes
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert "Fine-tuned, 15 %" in names
    row = next(row for row in table.rows if row.label == "Fine-tuned, 15 %")
    bars = [bar for bar in axes.patches if round(bar.get_y() + bar.get_height() / 2) == names.index(row.label)]
    assert [bar.get_width() for bar in bars] == [row.last["mean_iou"].mean]


def test_text_is_shown_as_text(report):
    page = read_page(report[0])
    assert not page.all("b") and not page.all("i")
    header, rows = markdown_table(report[0])
    assert {len(row) for row in rows} == {len(header)}
    assert {r"Align \| all", "CycleGAN &lt;b&gt;&amp;"} <= {row[0] for row in rows}
    text = (report[0] / "pair.md").read_text()
    assert text.startswith("# Mitochondria &lt;i&gt;here&lt;/i&gt;\n")
    assert "```\npython tools/compare_methods.py pair && true\n```" in text


def test_boundaries_have_partition_scores_of_which_the_least_is_best(tmp_path):
    write_report(make_document(class_name="boundary"), {}, None, None, tmp_path)
    header, rows = markdown_table(tmp_path)
    assert header[-3:-1] == ["Adapted Rand error", "VOI"] and "Instance F1" not in header
    errors = [row[-3] for row in rows[:6]]
    assert [e.startswith("**") for e in errors] == [True] + [False] * 5  # the factory's error falls as its IoU grows
    text = (tmp_path / "pair.md").read_text()
    assert "Lower is better for Adapted Rand error and VOI." in text
    assert "On the source: the last checkpoint on the source's validation volumes." in text


def only_one_run(document):
    document["runs"] = document["runs"][:1]
    document["summary"] = summarise(document["runs"])


def no_run(document):
    document.update(runs=[], summary=[], finished=None, commit=None, commits=[], machine=None, versions=None)


def nothing_extra(document):
    document.update(published=[])
    document["data"]["provenance"] = {}
    del document["spec"]["options"], document["spec"]["seeds"]


def empty_predictions(document):
    for entry in document["summary"]:
        entry["last"]["mean_precision"] = {"mean": None, "std": None}


@pytest.mark.parametrize("part", [only_one_run, no_run, nothing_extra, empty_predictions])
def test_a_partial_document_has_a_report(document, part, tmp_path):
    part(document)
    if part is no_run:
        document["published"] = []
    json.dumps(document, allow_nan=False)
    paths = write_report(document, {}, None, None, tmp_path)
    assert ("pair.png" in {p.name for p in paths}) == (part is not no_run)
    page = read_page(tmp_path)
    header, *rows = page.tables[0]
    assert ("Precision" in header) == (part in (only_one_run, nothing_extra))
    assert ("Published" in header) == (part in (only_one_run, empty_predictions))
    assert len([row for row in rows if "(published)" not in row[0]]) == len(document["summary"])
    assert part is not only_one_run or rows[0][4] == f"{document['runs'][0]['scores']['last']['mean_iou']:.3f}"


def both_texts(document, folder):
    write_report(document, {}, None, None, folder)
    return read_page(folder).text, (folder / "pair.md").read_text()


def test_outside_a_checkout_the_commit_is_unknown(tmp_path):
    document = make_document(["dann"]) | {"commit": None, "commits": [None]}
    for run in document["runs"]:
        run["commit"] = None
    texts = both_texts(document, tmp_path)
    assert "- Commit: unknown\n" in texts[1] and not any("Commits of the runs" in text for text in texts)
    assert ["Commit", "unknown"] in read_page(tmp_path).tables[1]
    assert [row[-1] for row in read_page(tmp_path).tables[2][1:]] == ["unknown"] * 3


def test_commits_of_runs_are_named_when_they_differ(tmp_path):
    document = make_document(["dann"])
    document["runs"][0]["commit"] = f"{'ab' * 20}-dirty, {'cd' * 20}"
    for text in both_texts(document | {"commits": [document["commit"]]}, tmp_path):
        assert "Commits of the runs" not in text
    _, text = both_texts(document | {"commits": [document["commit"], "ab" * 20 + "-dirty", None]}, tmp_path)
    assert "- Commits of the runs: 0123456789ab, abababababab-dirty, unknown\n" in text
    assert read_page(tmp_path).tables[2][1][-1] == "abababababab-dirty, cdcdcdcdcdcd"


@pytest.mark.parametrize("missing", [["mmd_seed0", "mmd_seed1"], [f"mmd_seed{i}" for i in range(26)]])
def test_missing_runs_are_counted_and_folded_when_many(missing, tmp_path):
    for text in both_texts(make_document(["dann"]) | {"missing": missing}, tmp_path):
        assert f"3 of {3 + len(missing)} runs are finished" in text and ", ".join(missing) in text
    text = (tmp_path / "pair.md").read_text()
    assert ("<details>" in text) == (len(missing) > 6)
    for text in both_texts(make_document(["dann"]) | {"missing": []}, tmp_path):
        assert "are finished" not in text


def test_note_of_the_protocol_and_volumes_of_the_data_are_shown(tmp_path):
    document = make_document(["dann"])
    document["protocol"]["note"] = "Defaults were chosen on the same columns."
    item = {"image": "a/raw.tif", "voxel_size_zyx_nm": [47.5, 4.6, 4.6], "region_zyx": [[None, None], [457, None]]}
    document["data"]["volumes"] = {"target": {"validation": [item]}}
    page, text = both_texts(document, tmp_path)
    assert all(document["protocol"]["note"] in shown for shown in (page, text))
    volumes = re.search(r"^target:\n.*?(?=\n\n)", page, re.M | re.S)
    assert yaml.safe_load(volumes[0]) == document["data"]["volumes"]


def test_methods_with_shares_only_and_methods_without(tmp_path):
    tuned, unsupervised = make_document(["fine-tune"], [0]), make_document(["dann", "mmd"])
    assert bar_figure(comparison_table(tuned | {"published": []}), tuned) is None
    assert share_figure(comparison_table(unsupervised)) is None
    for document in (tuned, unsupervised):
        write_report(document, {}, None, None, tmp_path)
        assert len(read_page(tmp_path).all("img")) == (3 if document is tuned else 2)


def test_overlays_show_the_same_slices_of_all(report):
    folder, document = report
    page = read_page(folder)
    assert "z = 2" in page.text and "z = 4" in page.text
    score = next(r for r in document["runs"] if r["method"] == "dann" and r["seed"] == 0)["scores"]["last"]["mean_iou"]
    assert page.text.count(f"DANN, IoU {score:.3f}") == 2
    uris = {image["alt"]: image["src"] for image in page.all("img")}
    pictures = {alt: np.asarray(open_uri(uri)) for alt, uri in uris.items() if "slice z = 2" in alt}
    assert {p.shape for p in pictures.values()} == {(90, 60, 3)}
    coloured = {alt: colourfulness(p) > 20 for alt, p in pictures.items()}
    assert coloured["truth over the image, slice z = 2"][20, 20]
    assert not coloured["truth over the image, slice z = 2"][54, 40]  # unlabelled
    assert coloured["DANN over the image, slice z = 2"][20, 20]
    assert not coloured["image, slice z = 2"][12:28, 12:28].any()


def colourfulness(rgb):
    return rgb.max(axis=-1).astype(int) - rgb.min(axis=-1)


def open_uri(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_large_pictures_make_a_page_of_modest_size(document, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (2, 1024, 600), dtype=np.uint8)  # noise: the worst for JPEG
    overlays = {f"method {i}": (image > 250).astype(np.uint8) for i in range(12)}
    write_report(document, overlays, image, None, tmp_path)
    assert (tmp_path / "pair.html").stat().st_size < 6e6


def test_the_same_document_gives_the_same_files(document, tmp_path):
    contents = []
    for _ in range(2):
        paths = write_report(deepcopy(document), {}, None, None, tmp_path)
        contents.append([p.read_bytes() for p in paths])
    assert contents[0] == contents[1]


def test_wrong_input_is_named(document, volumes, tmp_path):
    image, truth, overlays = volumes
    with pytest.raises(InputError, match="plain file name"):
        write_report(document | {"name": "../pair"}, {}, None, None, tmp_path)
    with pytest.raises(InputError, match="DANN has shape"):
        write_report(document, {"DANN": truth[1:]}, image, truth, tmp_path)
    with pytest.raises(InputError, match="Z, Y, X"):
        write_report(document, overlays, image[0], truth, tmp_path)
    assert not list(tmp_path.iterdir())
