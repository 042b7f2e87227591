"""A picture of a stack with its truth and predictions, slice by slice."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from crossem import InputError
from crossem.io import read_volume
from crossem.report import overlay_slices, save_figure


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", type=Path, help="the stack: a file or a folder of slices")
    parser.add_argument("--truth", type=Path, help="class indices on the same grid")
    parser.add_argument("--prediction", nargs="+", default=[], metavar="TITLE=PATH", help="one column each")
    parser.add_argument("--slices", nargs="+", type=int, help="z indices (default: three, evenly spaced)")
    parser.add_argument("--voxel_size_zyx_nm", nargs=3, type=float, help="when the image does not name its own")
    parser.add_argument("--columns", nargs=2, type=int, metavar=("START", "STOP"), help="only these columns (x)")
    parser.add_argument("--title", default="")
    parser.add_argument("--output", type=Path, required=True, help="the PNG to write")
    arguments = parser.parse_args()
    region = None if arguments.columns is None else [[None, None], [None, None], arguments.columns]
    try:
        image = read_volume(arguments.image, arguments.voxel_size_zyx_nm, region)[0]
        truth = arguments.truth and read_volume(arguments.truth, arguments.voxel_size_zyx_nm, region)[0]
        predictions = {}
        for pair in arguments.prediction:
            title, _, path = pair.rpartition("=")
            predictions[title or Path(path).stem] = read_volume(path, arguments.voxel_size_zyx_nm, region)[0]
        figure = overlay_slices(image, truth, predictions, arguments.slices, title=arguments.title)
        print(f"wrote {save_figure(figure, arguments.output)}")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
