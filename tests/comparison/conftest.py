"""What the tests of comparisons share: a spec, as the text of a file."""

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def content():
    """A spec of two methods, the second of which starts from the first; tests change it."""
    return {
        "name": "tiny",
        "title": "Tiny",
        "datalist": "datalist.json",
        "seeds": [0, 1],
        "options": {"epochs": 2, "roi_size_zyx": [8, 64, 64]},
        "methods": {
            "fine-tune": {
                "title": "Fine-tuning",
                "bundle": "em_unet_finetune_segmentation",
                "overlays": ["finetune.json"],
                "options": {"pretrained": "{source-only}/model.pt"},
                "label_fractions": [0.25, 1.0],
                "unsupervised": False,
                "chosen": False,
            },
            "source-only": {"title": "Source only", "bundle": "em_unet_finetune_segmentation"},
        },
    }


@pytest.fixture
def spec_file(tmp_path, monkeypatch):
    """Writes a spec and gives its path; the working directory is the repository's root, where the bundles are."""
    monkeypatch.chdir(ROOT)

    def write(content):
        path = tmp_path / "spec.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
        return path

    return write
