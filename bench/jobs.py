# jobs.py - the jobs that bench/run and bench/compare measure: images, commands, targets
#
# SPDX-License-Identifier: MIT
"""A job is one question about one image; the floor, qcbm and QEMU each have a command that gets to the answer.

{q} is qcbm, {i} the image, {f} the floor program, {s} a socket. None where somebody has no such command."""
import collections
import os
import subprocess
import sys

Job = collections.namedtuple("Job", "name image floor qcbm qemu target")

QEMU_MAP = "qemu-img map --output=json {i}"
NBD = "nbdinfo --map=qemu:dirty-bitmap:b0 --json -- [ qemu-nbd -r -f qcow2 -B b0 {i} ]"


def synth(image):
    return Job(f"synth --dry-run, {image}", image, "{f} {i}", "{q} synth -q --dry-run {i} bench", QEMU_MAP,
               "floor x 2" if image in ("huge", "extended") else "floor x 1.6")


def check(image, times):
    return Job(f"check, {image}", image, "{f} --refcounts {i}", "{q} check -q {i}", "qemu-img check -q {i}",
               f"qemu / {times}")


def map_json(image, times):
    return Job(f"map --output=json, {image}", image, "{f} {i}", "{q} map --output=json {i}", QEMU_MAP,
               f"qemu / {times}")


def verb(what, times):
    return Job(f"bitmap {what}, full", "bitmaps", "{f} --refcounts {i}", "{q} bitmap " + what + " {i} b7",
               "qemu-img bitmap " + what + " {i} b7", f"qemu / {times}")


JOBS = [
    *[synth(image) for image in ("full", "half", "scattered", "sparse", "huge", "extended")],
    Job("synth and attach, half", "half", "{f} --refcounts {i}", "{q} synth -q --replace {i} bench", None, "floor x 2"),
    check("full", 15), check("half", 12), check("scattered", 12), check("huge", 8), check("extended", 8),
    check("snapshots", 10),
    map_json("half", 30), map_json("full", 15), map_json("extended", 20),
    verb("--disable", 10), verb("--enable", 10), verb("--merge b0", 10),
    Job("bitmap --add and --remove, full", "bitmaps", "{f} --refcounts {i}", "{q} bitmap --add --remove {i} new",
        "qemu-img bitmap --add --remove {i} new", "qemu / 10"),
    Job("extents --output=json, 8 M extents", "bitmaps", None, "{q} extents --output=json {i} b0", NBD, "qemu / 30"),
    Job("info, small image", "small", None, "{q} info {i}", "qemu-img info {i}", "qemu / 3"),
]
COLD = Job("synth --dry-run, scattered, cold", "scattered", "{f} --threads 16 {i}",
           "{q} synth -q --dry-run {i} bench", QEMU_MAP, "floor x 1.3")


def run_or_die(*command):
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr.decode(errors='replace')}")


def add_bitmaps(qcbm, image):
    """Eight bitmaps of 4 MiB; b0 has every other granule: 8 M extents and as many gaps."""
    bits = image + ".bits"
    with open(bits, "wb") as out:
        for _ in range(4):
            out.write(b"\x55" * (1 << 20))
    for number in range(8):
        run_or_die(qcbm, "bitmap", "-q", "--import", bits, "--format=raw", "-g", "32k", image, f"b{number}")
    os.remove(bits)


def make_image(make, qcbm, folder, name):
    """The image @name in @folder, made unless it is there."""
    path = os.path.join(folder, name + ".qcow2")
    if os.path.exists(path):
        return path
    print(f"making {path}", file=sys.stderr)
    part = path + ".part"
    if name == "small":
        run_or_die("qemu-img", "create", "-q", "-f", "qcow2", part, "64M")
    else:
        run_or_die(make, "full" if name == "bitmaps" else name, part)
    if name == "bitmaps":
        add_bitmaps(qcbm, part)
    os.rename(part, path)
    return path
