#!/usr/bin/env python
"""Get, convert and verify the datasets of datasets.json; write the datalists of source/target pairs.

    python tools/fetch_datasets.py list
    python tools/fetch_datasets.py show vnc
    python tools/fetch_datasets.py get epfl_hippocampus vnc fibsem_medulla --root data
    python tools/fetch_datasets.py get vnc --from /path/to/folder --root data     # no network
    python tools/fetch_datasets.py verify vnc --root data

Exit code: 0 done, 1 something is wrong (one line on stderr says what), 2 a dataset has to be got by hand.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from crossem.data import (
    Dataset,
    Registry,
    convert_dataset,
    copy_dataset,
    download_dataset,
    load_registry,
    verify_dataset,
    write_pair_datalists,
)
from crossem.errors import InputError

REGISTRY = Path(__file__).resolve().parents[1] / "datasets.json"
DONE, FAILED, BY_HAND = 0, 1, 2


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand; gives the exit code."""
    args = _parser().parse_args(arguments)
    try:
        return args.run(load_registry(args.registry), args)
    except (InputError, OSError) as err:
        print(f"error: {err}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("error: interrupted; run the same command again to continue", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--registry", type=Path, default=REGISTRY, help="the registry file (default: datasets.json)")
    commands = parser.add_subparsers(required=True, metavar="{list,show,get,verify}")
    commands.add_parser("list", help="a table of every dataset").set_defaults(run=_list)
    show = commands.add_parser("show", help="everything about one dataset")
    show.add_argument("name")
    show.set_defaults(run=_show)
    get = commands.add_parser("get", help="download or copy, convert labels, write datalists")
    get.add_argument("names", nargs="+", metavar="NAME")
    get.add_argument("--from", dest="source", type=Path, metavar="DIR", help="copy from here, never use the network")
    get.set_defaults(run=_get)
    verify = commands.add_parser("verify", help="compare the files on disk with their checksums")
    verify.add_argument("names", nargs="+", metavar="NAME")
    verify.set_defaults(run=_verify)
    for command in (get, verify):
        command.add_argument("--root", type=Path, default=Path("data"), help="the data folder (default: data)")
    return parser


def _list(registry: Registry, args: argparse.Namespace) -> int:
    header = ("name", "modality", "voxel z,y,x (nm)", "size", "licence", "how")
    rows = [header] + [
        (
            name,
            dataset.modality,
            _voxel_size(dataset),
            _size(dataset),
            dataset.licence,
            "download" if dataset.downloadable else "by hand",
        )
        for name, dataset in registry.datasets.items()
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print(
        "\npairs: "
        + ", ".join(f"{name} ({pair.source.dataset} -> {pair.target.dataset})" for name, pair in registry.pairs.items())
    )
    return DONE


def _show(registry: Registry, args: argparse.Namespace) -> int:
    dataset = registry.dataset(args.name)
    lines = {
        "title": dataset.title,
        "modality": dataset.modality,
        "organism": dataset.organism,
        "voxel z,y,x (nm)": _voxel_size(dataset),
        "size": _size(dataset),
        "files": str(len(dataset.files)),
        "labels": "; ".join(f"{name}: {', '.join(spec.classes) or 'ids'}" for name, spec in dataset.labels.items()),
        "licence": dataset.licence,
        "cite": dataset.citation,
        "doi": dataset.doi,
        "homepage": dataset.homepage,
        "used in": ", ".join(dataset.used_in),
        "by hand": dataset.how_to_get,
    }
    for key, value in lines.items():
        if value:
            print(f"{key:18}{value}")
    return DONE


def _get(registry: Registry, args: argparse.Namespace) -> int:
    datasets = {name: registry.dataset(name) for name in args.names}
    for name, dataset in datasets.items():
        if dataset.downloadable:
            _get_one(name, dataset, args.source, args.root)
    for path in write_pair_datalists(registry, args.root):
        print(f"datalist {path}")
    by_hand = {name: dataset for name, dataset in datasets.items() if not dataset.downloadable}
    for name, dataset in by_hand.items():
        instructions = dataset.how_to_get.replace("ROOT", str(args.root))
        print(f"{name} has to be got by hand: {instructions}", file=sys.stderr)
    return BY_HAND if by_hand else DONE


def _get_one(name: str, dataset: Dataset, source: Path | None, root: Path) -> None:
    print(f"{name}: {dataset.licence}. Cite: {dataset.citation}")
    total = dataset.known_bytes if source is None else None
    with tqdm(total=total, unit="B", unit_scale=True, desc=name, disable=None) as bar:
        if source is None:
            download_dataset(dataset, root / name, bar.update)
        else:
            copy_dataset(name, dataset, source, root / name, bar.update)
    for path in convert_dataset(dataset, root / name):
        print(f"label {path}")


def _verify(registry: Registry, args: argparse.Namespace) -> int:
    code = DONE
    for name in args.names:
        dataset = registry.dataset(name)
        if not dataset.downloadable:
            print(f"{name}: got by hand, nothing is published to compare with")
            continue
        checks = verify_dataset(dataset, args.root / name)
        counts = Counter((str(PurePosixPath(check.path).parent), check.status, check.note) for check in checks)
        for (folder, status, note), count in sorted(counts.items()):
            files = "file" if count == 1 else "files"
            print(f"{name}/{folder.removeprefix('.')}: {count} {files} {status} ({note})")
        wrong = [check.path for check in checks if check.status in ("missing", "changed")]
        if wrong:
            print(
                f"error: {name}: {len(wrong)} files missing or changed (first: {wrong[0]}); run get {name} again",
                file=sys.stderr,
            )
            code = FAILED
    return code


def _voxel_size(dataset: Dataset) -> str:
    return ", ".join(f"{size:g}" for size in dataset.voxel_size_zyx_nm) if dataset.voxel_size_zyx_nm else "-"


def _size(dataset: Dataset) -> str:
    return "not published" if dataset.known_bytes is None else f"{dataset.known_bytes / 1e6:.0f} MB"


if __name__ == "__main__":
    sys.exit(main())
