/* fuzz_dump.c - a dump of every part of anything: ends, shows what is in the file, reads within a budget
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "fuzz.h"

#define MAX_ITEMS 200000u

struct seen {
    uint64_t items, hash;
};

static int on_item(void *opaque, const struct qcbm_dump_item *item)
{
    struct seen *s = opaque;

    fuzz_require(item->name && item->meaning, "dump", "an item without a name");
    fuzz_require(!item->problem || item->problem[0], "dump", "a problem without a text");
    s->hash = fuzz_hash_u64(fuzz_hash_u64(s->hash, item->offset), item->value);
    s->hash = fuzz_hash_text(fuzz_hash_text(s->hash, item->meaning), item->problem);
    if (item->bytes)
        s->hash = fuzz_hash(s->hash, item->bytes, item->n_bytes);
    return ++s->items >= MAX_ITEMS;
}

static uint64_t dump_part(struct fuzz_file *f, struct qcbm_dump *dump, enum qcbm_dump_kind part, uint64_t last)
{
    struct seen s = { 0, FUZZ_HASH_START };
    struct qcbm_error err;
    int ret;

    fuzz_file_reset(f);
    ret = qcbm_dump_part(dump, part, 0, last, on_item, &s, NULL, &err);
    if (ret < 0)
        fuzz_check_error(&err, ret);
    fuzz_require(ret == 0 || ret == QCBM_E_CORRUPT || s.items >= MAX_ITEMS, "dump", "fails on bytes that are there");
    fuzz_file_budget(f, (UINT64_C(128) << 20) + 300 * (uint64_t)f->len, "dump");
    return s.hash;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qcbm_dump *dump;
    struct qcbm_error err;
    struct fuzz_file f;

    fuzz_file_init(&f, data, size);
    fuzz_require(qcbm_dump_open_io(fuzz_file_ops(), &f, 0, &dump, &err) == 0, "dump", "does not open");
    for (int part = QCBM_DUMP_HEADER; part <= QCBM_DUMP_BITMAPS; part++) {
        uint64_t first = dump_part(&f, dump, (enum qcbm_dump_kind)part, UINT64_MAX);

        fuzz_require(first == dump_part(&f, dump, (enum qcbm_dump_kind)part, UINT64_MAX), "dump", "differs each time");
    }
    dump_part(&f, dump, QCBM_DUMP_BITMAPS, 7); /* with an end of the range: tables and bits, too */
    qcbm_dump_close(dump);
    fuzz_file_free(&f);
    return 0;
}
