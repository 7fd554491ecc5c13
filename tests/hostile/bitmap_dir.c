/* bitmap_dir.c - bitmaps extension, directory, table: one bad bitmap hides no other, and keeps nobody from looking
 * SPDX-License-Identifier: MIT */
#include "hostile.h"

enum base { EXTENSION, ENTRY, TABLE };

/* "good", "bad", "last": clean, 512 bytes per bit, one table entry each. */
static void build(struct image_builder *b)
{
    struct build_options opt = { .size = KIB(64) };

    build_start(b, &opt);
    build_bitmap(b, "good", 9, 0, NULL, 0);
    build_bitmap(b, "bad", 9, 0, NULL, 0);
    build_bitmap(b, "last", 9, 0, NULL, 0);
    build_finish(b);
}

static void expect_finding(const char *name, const struct qcbm_image *img, const char *code, uint64_t offset)
{
    struct qcbm_finding f;

    if (qcbm_finding_count(img) != 1)
        fail_msg("%s: %u findings", name, qcbm_finding_count(img));
    qcbm_finding_get(img, 0, &f, sizeof(f));
    if (strcmp(f.problem->code, code) != 0 || f.offset != offset)
        fail_msg("%s: %s at %llu (%s), wanted %s at %llu", name, f.problem->code, (unsigned long long)f.offset,
                 f.message, code, (unsigned long long)offset);
}

static int ignore_extent(void *opaque, const struct qcbm_extent *e)
{
    (void)opaque;
    (void)e;
    return 0;
}

static const struct {
    const char *name;
    struct poke poke; /* in the payload of the extension, or the second entry */
    enum base base;
    const char *code;
    unsigned offset;
    uint32_t n;
} fields[] = {
    { "no bitmaps", { 0, 4, 0 }, EXTENSION, "bitmap-directory-broken", 0, 0 },
    { "65536 bitmaps", { 0, 4, 65536 }, EXTENSION, "bitmap-directory-broken", 0, 0 },
    { "reserved field", { 4, 4, 1 }, EXTENSION, "bitmap-directory-broken", 4, 0 },
    { "size 0", { 8, 8, 0 }, EXTENSION, "bitmap-directory-broken", 8, 0 },
    { "size above the limit", { 8, 8, 67107841 }, EXTENSION, "bitmap-directory-broken", 8, 0 },
    { "size 2^64 - 1", { 8, 8, UINT64_MAX }, EXTENSION, "bitmap-directory-broken", 8, 0 },
    { "size past the file", { 8, 8, 67107840 }, EXTENSION, "bitmap-directory-broken", 8, 0 },
    { "offset 0", { 16, 8, 0 }, EXTENSION, "bitmap-directory-broken", 16, 0 },
    { "offset unaligned", { 16, 8, 0x208 }, EXTENSION, "bitmap-directory-broken", 16, 0 },
    { "offset past the file", { 16, 8, FAR }, EXTENSION, "bitmap-directory-broken", 8, 0 },
    { "offset 2^64 - 512", { 16, 8, UINT64_MAX - 511 }, EXTENSION, "bitmap-directory-broken", 16, 0 },
    { "name past the directory", { 18, 2, 65535 }, ENTRY, "bitmap-directory-broken", 0, 1 },
    { "extra data past the directory", { 20, 4, 4096 }, ENTRY, "bitmap-directory-broken", 0, 1 },
    { "extra data that wraps 32 bits", { 20, 4, 0xffffffe8 }, ENTRY, "bitmap-directory-broken", 0, 1 },
    { "table at 0", { 0, 8, 0 }, ENTRY, "bitmap-entry-constraint", 0, 3 },
    { "table unaligned", { 0, 8, 0x601 }, ENTRY, "bitmap-entry-constraint", 0, 3 },
    { "table at 2^64 - 512", { 0, 8, UINT64_MAX - 511 }, ENTRY, "bitmap-entry-constraint", 0, 3 },
    { "table of no entries", { 8, 4, 0 }, ENTRY, "bitmap-entry-constraint", 8, 3 },
    { "table of two entries", { 8, 4, 2 }, ENTRY, "bitmap-entry-constraint", 8, 3 },
    { "table above the limit", { 8, 4, UINT32_MAX }, ENTRY, "bitmap-entry-constraint", 8, 3 },
    { "unknown flag", { 12, 4, 8 }, ENTRY, "bitmap-entry-constraint", 12, 3 },
    { "type 0", { 16, 1, 0 }, ENTRY, "bitmap-entry-constraint", 16, 3 },
    { "granularity 2^8", { 17, 1, 8 }, ENTRY, "bitmap-entry-constraint", 17, 3 },
    { "granularity 2^32", { 17, 1, 32 }, ENTRY, "bitmap-entry-constraint", 17, 3 },
    { "granularity beyond every shift", { 17, 1, 255 }, ENTRY, "bitmap-entry-constraint", 17, 3 },
    { "NUL in the name", { 25, 1, 0 }, ENTRY, "bitmap-entry-constraint", 25, 3 },
};

static void extension_and_directory(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        struct image_builder b;
        struct qcbm_image *img;
        struct qcbm_image_info info;
        uint64_t base;

        build(&b);
        base = fields[i].base == EXTENSION ? b.exts[0].offset + 8 : b.bitmaps[1].entry;
        poke(&b, base, &fields[i].poke);
        img = build_open(&b, 0);
        qcbm_image_get_info(img, &info, sizeof(info));
        assert_int_equal(info.bitmap_count, fields[i].n);
        expect_finding(fields[i].name, img, fields[i].code, base + fields[i].offset);
        if (fields[i].n) /* what stands before it, and where it is one entry alone also what stands behind */
            assert_int_equal(qcbm_bitmap_extents(img, "good", 0, ignore_extent, NULL, NULL), 0);
        if (fields[i].n == 3)
            assert_int_equal(qcbm_bitmap_extents(img, "last", 0, ignore_extent, NULL, NULL), 0);
        qcbm_close(img);
        build_free(&b);
    }
}

static void a_damaged_directory_is_not_rewritten(void **state)
{
    struct image_builder b;

    (void)state;
    build(&b);
    be32_store(b.bytes + b.exts[0].offset + 12, 1); /* reserved */
    expect_plan("reserved field", &b, QCBM_E_CORRUPT, b.exts[0].offset + 12);
    build_free(&b);
    build(&b);
    b.bytes[b.bitmaps[1].entry + 16] = 2; /* type */
    expect_plan("type 2", &b, QCBM_E_UNSAFE, b.bitmaps[1].entry + 16);
    build_free(&b);
}

static void table_entries(void **state)
{
    static const uint64_t raws[] = { 2, 3, 0x201, UINT64_C(1) << 56, UINT64_MAX };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(raws); i++) {
        struct image_builder b;
        struct qcbm_image *img;
        struct qcbm_error err = { 0 };
        struct qcbm_bitmap_usage usage;

        build(&b);
        be64_store(b.bytes + b.bitmaps[1].table, raws[i]);
        img = build_open(&b, 0);
        expect("usage", qcbm_bitmap_usage(img, 1, &usage, sizeof(usage), NULL, &err), &err, QCBM_E_CORRUPT,
               b.bitmaps[1].table);
        expect("extents", qcbm_bitmap_extents(img, "bad", 0, ignore_extent, NULL, &err), &err, QCBM_E_CORRUPT,
               b.bitmaps[1].table);
        expect("another bitmap", qcbm_bitmap_usage(img, 2, &usage, sizeof(usage), NULL, &err), &err, 0, 0);
        qcbm_close(img);
        expect_plan("malformed", &b, QCBM_E_UNSAFE, b.bitmaps[1].table);
        build_free(&b);
    }
}

static void a_table_past_the_end(void **state)
{
    struct image_builder b;
    struct qcbm_image *img;
    struct qcbm_error err = { 0 };
    struct qcbm_bitmap_usage usage;

    (void)state;
    build(&b);
    be64_store(b.bytes + b.bitmaps[1].entry, FAR);
    img = build_open(&b, 0);
    expect("usage", qcbm_bitmap_usage(img, 1, &usage, sizeof(usage), NULL, &err), &err, QCBM_E_CORRUPT,
           b.bitmaps[1].entry);
    qcbm_close(img);
    expect_plan("table past the end", &b, QCBM_E_UNSAFE, b.bitmaps[1].entry);
    build_free(&b);
}

/* Tables, data and directory that something else uses: no writing beside them. */
static void second_owners(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        struct image_builder b;
        uint64_t victim;

        build(&b);
        victim = i == 0 ? b.l1 : i == 1 ? b.reftable : i == 2 ? b.refblock : i == 3 ? b.directory : b.bitmaps[0].table;
        be64_store(b.bytes + b.bitmaps[1].table, victim); /* as bitmap data */
        expect_plan("bitmap data", &b, QCBM_E_UNSAFE, victim);
        build_free(&b);
        if (i == 4) /* a finding of its own: tables that overlap */
            continue;
        build(&b);
        be64_store(b.bytes + b.bitmaps[1].entry, victim); /* as a table */
        expect_plan("bitmap table", &b, QCBM_E_UNSAFE, victim);
        build_free(&b);
    }
}

/* A flag is four bytes of the directory, written in place: not where these are bytes of the guest's disk, too. */
static void flags_in_a_piece_of_the_disk(void **state)
{
    struct qcbm_edit *edit = NULL;
    struct qcbm_error err = { 0 };
    struct qcbm_image *img;
    struct image_builder b;
    uint64_t entry;

    (void)state;
    build_start(&b, &(struct build_options){ .size = KIB(64) });
    build_bitmap(&b, "good", 9, 0, NULL, 0);
    build_data(&b, 0);
    entry = build_l2_entry(&b, 512);
    build_finish(&b);
    be64_store(b.bytes + entry, b.directory | COPIED);
    img = build_open(&b, 0);
    assert_int_equal(qcbm_edit_begin(img, &edit, &err), 0);
    assert_int_equal(qcbm_edit_enable(edit, "good", &err), 0);
    expect("directory", qcbm_edit_plan(edit, NULL, 0, NULL, NULL, &err), &err, QCBM_E_UNSAFE, entry);
    qcbm_edit_free(edit);
    qcbm_close(img);
    build_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(extension_and_directory), cmocka_unit_test(a_damaged_directory_is_not_rewritten),
        cmocka_unit_test(table_entries),           cmocka_unit_test(a_table_past_the_end),
        cmocka_unit_test(second_owners),           cmocka_unit_test(flags_in_a_piece_of_the_disk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
