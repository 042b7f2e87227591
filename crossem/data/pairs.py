"""Write the datalist of every source/target pair whose datasets are in a data folder."""

import json
import os
import re
from pathlib import Path
from typing import Any

from crossem.data.convert import label_path
from crossem.data.layout import is_complete, present_layout, region_in_part
from crossem.data.registry import Dataset, Domain, DomainSpec, Pair, Registry, SplitPart


def write_pair_datalists(registry: Registry, root: Path) -> list[Path]:
    """Write `root`/<pair>.json for each pair whose two datasets are complete under `root`; gives the files.

    Labels have to be converted before (`convert_dataset`). A file that says the same already is left alone.
    """
    written = []
    for name, pair in registry.pairs.items():
        domains = (pair.source.dataset, pair.target.dataset)
        if all(is_complete(registry.dataset(domain), root / domain) for domain in domains):
            path = root / f"{name}.json"
            _write_json(path, pair_datalist(registry, name, pair, root))
            written.append(path)
    return written


def pair_datalist(registry: Registry, name: str, pair: Pair, root: Path) -> dict[str, Any]:
    """The content of a pair's datalist: items with paths relative to `root`, and where the data came from."""
    datalist: dict[str, Any] = {"name": name, "title": pair.title, "classes": pair.classes, "provenance": {}}
    domains: dict[Domain, DomainSpec] = {"source": pair.source, "target": pair.target}
    for domain, spec in domains.items():
        dataset = registry.dataset(spec.dataset)
        datalist["provenance"][domain] = {
            "dataset": spec.dataset,
            "title": dataset.title,
            "licence": dataset.licence,
            "citation": dataset.citation,
            "doi": dataset.doi,
        }
        splits = {
            split: [item for part in parts for item in _items(dataset, spec, part, root)]
            for split, parts in dataset.splits[domain].items()
        }
        datalist[domain] = {split: items for split, items in splits.items() if items}
    return datalist


def _items(dataset: Dataset, spec: DomainSpec, split_part: SplitPart, root: Path) -> list[dict[str, Any]]:
    """One item for each part of the volume on disk that the split's region meets."""
    volume = dataset.volumes[split_part.volume]
    items = []
    for part in present_layout(volume, root / spec.dataset) or []:
        region = region_in_part(split_part.region_zyx, part, volume.shape_zyx)
        if region is None:
            continue
        item: dict[str, Any] = {"image": f"{spec.dataset}/{part.image}"}
        if dataset.labels[spec.label].annotation in part.annotations:
            item["label"] = f"{spec.dataset}/{label_path(part, spec.label)}"
        item["voxel_size_zyx_nm"] = list(dataset.voxel_size_zyx_nm)
        if region != [[None, None]] * 3:
            item["region_zyx"] = region
        items.append(item)
    return items


def _write_json(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    text = re.sub(r"\[\s+([^\[\]{}\"]*?)\s+\]", lambda found: f"[{' '.join(found[1].split())}]", text)  # [z, y, x]
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
