# jobs.py - the jobs that bench/run and bench/compare measure: images, commands, targets
#
# SPDX-License-Identifier: MIT
"""A job is one question about one image; the floor, qcbm and QEMU each have a command that gets to the answer.

{q} is qcbm, {i} the image, {f} the floor program, {m} the program many, {all} the images of a job on several. None where
somebody has no such command. Targets: "floor x N": qcbm takes at most N times as long as the floor; "qemu / N": qemu takes
at least N times as long as qcbm. Of memory: "floor" at most 16 MiB more than the floor, "qemu" not more than qemu.
flushes: at most so many by the commit protocol of docs/crash-safety.md, for jobs that write."""
import collections
import os
import subprocess
import sys

import measure

Job = collections.namedtuple("Job", "name image floor qcbm qemu target memory flushes", defaults=(None, None))

QEMU_MAP = "qemu-img map --output=json {i}"
NBD = "nbdinfo --map=qemu:dirty-bitmap:b0 --json -- [ qemu-nbd -r -f qcow2 -B b0 {i} ]"
SEVERAL = "printf '%%s dry\\n' {all} | xargs -P %d -n 2 {q} synth -q --threads 1 --dry-run"


def synth(image):
    return Job(f"synth --dry-run, {image}", image, "{f} {i}", "{q} synth -q --dry-run {i} dry", QEMU_MAP,
               "floor x 2" if image in ("huge", "extended") else "floor x 1.6", "floor")


def check(image, times):
    return Job(f"check, {image}", image, "{f} --refcounts {i}", "{q} check -q {i}", "qemu-img check -q {i}",
               f"qemu / {times}", "qemu")


def map_json(image, times):
    return Job(f"map --output=json, {image}", image, "{f} {i}", "{q} map --output=json {i}", QEMU_MAP,
               f"qemu / {times}", "floor")


def verbs(first, second, flushes):
    """Two that undo one another, so that each run has something to change."""
    pair = "{p} bitmap " + first + " {i} b7 && {p} bitmap " + second + " {i} b7"
    pair = pair if first != "--add" else pair.replace("b7", "new")
    return Job(f"bitmap {first}, then {second}, full", "eight", "{f} --refcounts {i} && {f} --refcounts {i}",
               pair.replace("{p}", "{q}"), pair.replace("{p}", "qemu-img"), "qemu / 10", None, flushes)


def manifest(kind, target, how=""):
    """All of a raw disk read and digested; the floor reads it, 16 reads in flight, and that is all it does. From a disk that is
    what takes the time; from memory the digest takes nearly as long as the copy, and there is no target."""
    return Job(f"manifest, {kind}, 1 GiB raw{how}; floor: 16 reads in flight", "data", "{f} --raw --threads 16 {i}",
               "{q} manifest -q -f raw --digest " + kind + " {i}", None, target, "floor")


def whole(name, qcbm, how=""):
    """All bytes of the disk of a qcow2 image read; the floor reads its file, 16 reads in flight, and that is all."""
    return Job(f"{name}, 1 GiB qcow2{how}; floor: 16 reads in flight", "written", "{f} --raw --threads 16 {i}", qcbm, None,
               "floor x 1.25", None)


DELTAS = [("delta --layer -O rbd-diff, to nowhere", "{q} delta -q --layer -O rbd-diff {i} -"),
          ("delta --layer, to nowhere", "{q} delta -q --layer {i} -"),
          ("synth --refine --dry-run", "{q} synth -q --refine --dry-run {i} dry")]
JOBS = [
    *[synth(image) for image in ("full", "half", "scattered", "sparse", "huge", "extended")],
    Job("synth and attach, half", "half", "{f} --refcounts {i}", "{q} synth -q --replace {i} bench", None, "floor x 2",
        None, 4),
    check("full", 15), check("half", 12), check("scattered", 12), check("huge", 8), check("extended", 8),
    check("snapshots", 10),
    Job("picture, half", "half", "{f} {i}", "{q} picture {i}", QEMU_MAP, "qemu / 30", "floor"),
    Job("picture --bitmap, 8.4 M extents", "eight", None, "{q} picture -b b0 {i}", NBD, "qemu / 30"),
    map_json("half", 30), map_json("full", 15), map_json("extended", 20),
    verbs("--disable", "--enable", 2), verbs("--add", "--remove", 8),
    Job("bitmap --merge, full", "eight", "{f} --refcounts {i}", "{q} bitmap --merge b0 {i} b7",
        "qemu-img bitmap --merge b0 {i} b7", "qemu / 10", None, 4),
    Job("bitmap --list, 8 of 4 MiB", "eight", None, "{q} bitmap --list {i}", "qemu-img info {i}", None),
    Job("extents --output=json, 8.4 M extents", "eight", None, "{q} extents --output=json {i} b0", NBD, "qemu / 30"),
    Job("measure, half", "half", "{f} {i}", "{q} measure -O qcow2 {i}", "qemu-img measure -O qcow2 {i}", None, "floor"),
    Job("info --usage, half", "half", "{f} --refcounts {i}", "{q} info --usage {i}", None, None, "floor"),
    Job("info, small image", "small", None, "{q} info {i}", "qemu-img info {i}", "qemu / 3"),
    manifest("xxh3", None), manifest("sha256", None),
    *[whole(*row) for row in DELTAS],
    # here the floor is the same work by one core
    Job("8 images, 8 processes, 2 at once; floor: 1", "quarters", SEVERAL % 1, SEVERAL % 2, None, "floor x 0.556"),
    Job("8 images, 1 process, 2 threads; floor: 1", "quarters", "{m} 1 {all}", "{m} 2 {all}", None, "floor x 0.556"),
]
COLD = [Job("synth --dry-run, scattered, cold; floor: 16 reads in flight", "scattered", "{f} --threads 16 {i}",
            "{q} synth -q --dry-run {i} dry", None, "floor x 1.3"), manifest("xxh3", "floor x 1.25", ", cold"),
        *[whole(*row, ", cold") for row in DELTAS]]


def run_or_die(*command):
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if done.returncode != 0:
        raise measure.Failed(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr.decode(errors='replace')}")


def add_bitmaps(qcbm, image):
    """Eight bitmaps of 4 MiB; b0 has runs of four granules and gaps as long: 8.4 M extents."""
    bits = image + ".bits"
    with open(bits, "wb") as out:
        for _ in range(4):
            out.write(b"\x0f" * (1 << 20))
    for number in range(8):
        run_or_die(qcbm, "bitmap", "-q", "--import", bits, "--format=raw", "-g", "32k", image, f"b{number}")
    os.remove(bits)


def make_one(make, qcbm, shape, path):
    if os.path.exists(path):
        return
    print(f"making {path}", file=sys.stderr)
    part = path + ".part"
    if shape == "data":
        with open(part, "wb") as out:
            for _ in range(1024):
                out.write(os.urandom(1 << 20))
    elif shape == "written":
        make_one(make, qcbm, "data", path + ".data")
        run_or_die("qemu-img", "convert", "-f", "raw", "-O", "qcow2", path + ".data", part)
        os.remove(path + ".data")
    elif shape == "small":
        run_or_die("qemu-img", "create", "-q", "-f", "qcow2", part, "64M")
    else:
        run_or_die(make, "full" if shape == "eight" else shape, part)
    if shape == "eight":
        add_bitmaps(qcbm, part)
    os.rename(part, path)


def make_images(make, qcbm, folder, name):
    """The images of a job in @folder, made unless they are there."""
    os.makedirs(folder, exist_ok=True)
    names = [f"quarter{k}" for k in range(8)] if name == "quarters" else [name]
    paths = [os.path.join(folder, n + ".qcow2") for n in names]
    for path in paths:
        make_one(make, qcbm, "quarter" if name == "quarters" else name, path)
    return paths
