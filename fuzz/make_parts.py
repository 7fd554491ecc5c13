#!/usr/bin/env python3
"""Seeds for the targets that take a structure, not an image: make_parts.py CORPUS, out of CORPUS/image.

SPDX-License-Identifier: MIT"""
import hashlib
import os
import struct
import sys

corpus = sys.argv[1]


def save(target, name, data):
    folder = os.path.join(corpus, target)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as f:
        f.write(data)


def image(name):
    with open(os.path.join(corpus, "image", name), "rb") as f:
        return f.read()


def u32(d, at):
    return struct.unpack_from(">I", d, at)[0]


def u64(d, at):
    return struct.unpack_from(">Q", d, at)[0]


def geometry(d):
    """The 16 bytes that fuzz_geometry.h reads."""
    flags = u64(d, 72) & 4 and 1
    flags |= 2 if u64(d, 72) & 16 else 0
    return struct.pack(">BBBB4xQ", u32(d, 4) - 2, u32(d, 20) - 9, flags, u32(d, 96) % 7, u64(d, 24))


def extensions(d):
    at = u32(d, 100)
    while u32(d, at):
        yield u32(d, at), d[at + 8 : at + 8 + u32(d, at + 4)]
        at += 8 + (u32(d, at + 4) + 7) // 8 * 8


def streams(d):
    """The compressed streams, up to the end of their last sector; each once."""
    bits, wide, cs = u32(d, 20), bool(u64(d, 72) & 16), 1 << u32(d, 20)
    shift, table, seen = 62 - (bits - 8), u64(d, u64(d, 40)) & 0x00FFFFFFFFFFFE00, set()
    for i in range(cs // (16 if wide else 8)):
        entry = u64(d, table + i * (16 if wide else 8))
        host = entry & ((1 << shift) - 1)
        if entry >> 62 & 1 and host not in seen:
            seen.add(host)
            yield host % 512 // 2, d[host : (host // 512 + 1 + ((entry & ((1 << 62) - 1)) >> shift)) * 512]


def entries(d):
    """Triples of entry, subcluster word, guest offset."""
    cs, wide = 1 << u32(d, 20), bool(u64(d, 72) & 16)
    table = u64(d, u64(d, 40)) & 0x00FFFFFFFFFFFE00
    for i in range(32):
        at = table + i * (16 if wide else 8)
        yield struct.pack(">QQQ", u64(d, at), u64(d, at + 8) if wide else 0, i * cs)


for name in ("v3", "overlay", "extended", "compressed_zlib", "compressed_sub", "data_file"):
    d = image(name)
    save("l1l2", name, geometry(d) + b"".join(sorted(set(entries(d)))))
for name in ("bitmaps", "in_use", "bitmap_full", "larger"):
    d = image(name)
    payload = dict(extensions(d))[0x23852875]
    size, offset = struct.unpack(">QQ", payload[8:24])
    save("bitmap_dir", name, geometry(d) + d[offset : offset + size])
for zstd, name in enumerate(("compressed_zlib", "compressed_zstd")):
    d = image(name)
    for number, (at, stream) in enumerate(list(streams(d))[:8]):
        save("inflate", "%s_%d" % (name, number), bytes([zstd | (u32(d, 20) - 9) << 1, at]) + stream)
d = image("snapshots")
save("snapshot", "two", d[u64(d, 64) : u64(d, 64) + 200])
for order, name in enumerate(("refcount_1", "refcount_2", "refcount_4", "refcount_8", "v3", "refcount_32", "refcount_64")):
    d = image(name)
    block = u64(d, u64(d, 48))
    save("refcount", name, struct.pack(">BHHQ", order, 0, 5, 2) + d[block : block + 64])
d = image("luks")
offset = struct.unpack(">QQ", dict(extensions(d))[0x0537BE77])[0]
save("luks", "aes", d[offset : offset + 592])
save("cli_json", "names", "name \u00e9\u202e\x1b[31m\n".encode() + b"\xff\xc0\x80\xed\xa0\x80")
save("cli_json", "nested", bytes([2, 18, 1, 97, 0, 3, 97, 98, 99, 18, 1, 98, 12, 1, 99, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1, 20, 96]))
save("cli_json", "sizes", b"1.5G")


def manifest(size, bits, kind, text, records):
    """With a digest at its end that is not right: the target sets it right."""
    length = (80 + len(text) + 7) // 8 * 8
    out = b"\x89QCBMAN\n" + struct.pack(">IIQIIQQ16sI12x", 1, length, size, bits, kind, 5 if kind == 1 else 0, 1 << 30,
                                        bytes(range(16)), len(text)) + text
    out = out.ljust(length, b"\0")
    for what, granules in records:
        out += struct.pack(">IIQ", what, 0, granules)
        out += hashlib.sha256(b"%d" % granules).digest()[: 16 * kind] * granules if what == 2 else b""
    return out + bytes(32)


save("manifest", "zeros", manifest(1 << 20, 16, 1, b"", [(1, 16)]))
save("manifest", "runs", manifest((1 << 20) + 512, 12, 1, b"a text", [(2, 3), (1, 200), (2, 54)]))
save("manifest", "sha256", manifest(1 << 20, 18, 2, b"", [(2, 1), (1, 2), (2, 1)]))
save("manifest", "huge", manifest(1 << 62, 22, 1, b"x", [(1, (1 << 40) - 1), (2, 1)]))
save("manifest", "smallest", manifest(512, 9, 2, b"", [(2, 1)]))


def fidx(size, chunk, digests):
    head = bytes.fromhex("2f7f41ed91fd0fcd") + bytes(range(16)) + struct.pack("<q", 1 << 30)
    head += hashlib.sha256(b"".join(digests)).digest() + struct.pack("<QQ", size, chunk)
    return head + b"".join(digests)  # the target puts the rest of the header in between


zeros = hashlib.sha256(bytes(65536)).digest()
save("fidx", "zeros", fidx(1 << 20, 65536, [zeros] * 16))
save("fidx", "tail", fidx(65536 + 512, 4096, [hashlib.sha256(b"\1" * 4096).digest()] * 16 + [hashlib.sha256(bytes(512)).digest()]))
save("fidx", "large", fidx((1 << 22) + 1, 1 << 22, [zeros, zeros]))
