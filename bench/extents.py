#!/usr/bin/env python3
# extents.py BUILD IMAGE - 8 million extents (an image of the shape "half") in C and in Python, by turns
#
# SPDX-License-Identifier: MIT
#
# BUILD is a build folder with -Dbench=true and the package for Python. In Python twice: page by page, summed up as the C
# does it by what Python has for arrays; and one object for each extent. Without BUILD: one of these, "pages" or "each".
import os
import statistics
import subprocess
import sys

import measure

HERE = os.path.abspath(__file__)


def pages(image):
    import qcbm
    n = total = 0
    with qcbm.Image(image) as img, img.extents_of_layers() as extents:
        for view in extents.batches():
            words = view.cast("Q")  # offset, length, flags
            first = view[16]
            n += len(words) // 3
            # Runs are of two kinds by turns, so every second one is as the first is.
            total += sum(words[1 if first else 4::6])
    print(n, total)


def each(image):
    import qcbm
    n = total = 0
    with qcbm.Image(image) as img, img.extents_of_layers() as extents:
        for extent in extents:
            n += 1
            if extent.dirty:
                total += extent.length
    print(n, total)


def compare(build, image):
    env = {"PYTHONPATH": os.path.join(build, "bindings", "python"), "LD_LIBRARY_PATH": os.path.join(build, "libqcbm")}
    os.environ.update(env)
    lines = {"C": f"{build}/bench/extents {image}",
             "pages": f"{sys.executable} {HERE} pages {image}", "each": f"{sys.executable} {HERE} each {image}"}
    said = {subprocess.run(line.split(), check=True, capture_output=True, text=True).stdout for line in lines.values()}
    if len(said) != 1:
        sys.exit(f"they do not agree: {said}")
    results = measure.by_turns(f"{build}/bench/timed", lines, dict.fromkeys(lines, 5), 600)
    base = statistics.median(f.wall for f in results["C"])
    for name, figures in results.items():
        wall = statistics.median(f.wall for f in figures)
        print(f"{name:6} {wall:6.2f} s  {wall / base:5.2f} x C")


if __name__ == "__main__":
    if sys.argv[1] in ("pages", "each"):
        {"pages": pages, "each": each}[sys.argv[1]](sys.argv[2])
    else:
        compare(os.path.abspath(sys.argv[1]), sys.argv[2])
