/* test_hostile_bytes.c - every truncation and every single spoilt byte of valid structures, through all parsers
 * SPDX-License-Identifier: MIT
 *
 * Nothing is expected of the verdict but that it is one of the documented ones and that its message is a line; the
 * sanitizers see the rest. What a parser lets pass is given to the functions that trust it. */
#include "unit.h"

#include "base/bytes.h"
#include "format/q2_bitmap_dir.h"
#include "format/q2_extension.h"
#include "format/q2_geometry.h"
#include "format/q2_l1l2.h"
#include "format/q2_limits.h"
#include "format/q2_refcount.h"
#include "format/q2_snapshot.h"

#define CLUSTER 512u

static const uint8_t spoilers[] = { 0x00, 0x7f, 0x80, 0xff };

static unsigned long accepted, refused;

/* Look at every byte, in a way that no compiler leaves out. */
static void touch(const uint8_t *bytes, size_t len)
{
    static volatile uint8_t sink;

    for (size_t i = 0; i < len; i++)
        sink = bytes[i];
    (void)sink;
}

static void verdict(int ret, const struct qcbm_error *err)
{
    if (ret == 0) {
        assert_int_equal(err->code, 0);
        accepted++;
        return;
    }
    refused++;
    assert_true(ret == QCBM_E_CORRUPT || ret == QCBM_E_LIMIT || ret == QCBM_E_UNSUPPORTED || ret == QCBM_E_NOT_QCOW2);
    assert_int_equal(err->code, ret);
    assert_true(err->message[0] != '\0');
    assert_null(strchr(err->message, '\n'));
}

/* ---- first cluster: header, extensions, and all that hangs on them ---- */

static uint32_t put_ext(uint8_t *b, uint32_t at, uint32_t type, uint32_t len)
{
    be32_store(b + at, type);
    be32_store(b + at + 4, len);
    memset(b + at + 8, 'd', len);
    return at + 8 + ((len + 7) & ~7u);
}

static void sample_cluster(uint8_t b[CLUSTER], uint32_t version)
{
    uint32_t at = version == 2 ? 72 : 112;

    memset(b, 0, CLUSTER);
    be32_store(b, Q2_MAGIC);
    be32_store(b + 4, version);
    be64_store(b + 8, 500);
    be32_store(b + 16, 12);
    be32_store(b + 20, 9);
    be64_store(b + 24, 1 << 20);
    be32_store(b + 32, 2);
    be32_store(b + 36, 32);
    be64_store(b + 40, 0x600);
    be64_store(b + 48, 0x200);
    be32_store(b + 56, 1);
    be32_store(b + 60, 1);
    be64_store(b + 64, 0xe00);
    if (version == 3) {
        be64_store(b + 72, 0xc);
        be64_store(b + 80, 1);
        be64_store(b + 88, 3);
        be32_store(b + 96, 4);
        be32_store(b + 100, 112);
        b[104] = 1;
    }
    at = put_ext(b, at, Q2_EXT_BACKING_FORMAT, 5);
    b[at + 8 + 1] = 0;
    at = put_ext(b, at, Q2_EXT_FEATURE_TABLE, 96);
    at = put_ext(b, at, Q2_EXT_CRYPTO, 16);
    be64_store(b + at - 16, 0x1000);
    be64_store(b + at - 8, 0x800);
    be32_store(b + at, Q2_EXT_BITMAPS);
    be32_store(b + at + 4, 24);
    be32_store(b + at + 8, 1);
    be64_store(b + at + 16, 32);
    be64_store(b + at + 24, 0xa00);
    at = put_ext(b, at + 32, Q2_EXT_DATA_FILE, 9);
    at = put_ext(b, at, 0x12345678, 3);
    assert_true(at <= 492);
    memcpy(b + 500, "backing-name", 12);
}

static void use_header(const struct q2_header *h)
{
    struct q2_geometry g;
    struct q2_l2_entry e;
    struct q2_header again;
    uint8_t out[112];
    size_t len;

    q2_geometry_derive(h, &g);
    assert_true(g.l1_used <= h->l1_entries);
    q2_l2_entry_parse(UINT64_MAX, UINT64_MAX, UINT64_MAX, &g, &e);
    q2_l2_entry_parse(UINT64_MAX & ~Q2_L2_COMPRESSED, UINT64_MAX, 0, &g, &e);
    (void)q2_refcount_max(h->refcount_order);
    (void)q2_default_granularity(&g);
    len = q2_header_store(out, h);
    assert_int_equal(q2_header_parse(out, len, &again, NULL), 0);
}

static void use_extensions(const struct q2_extensions *exts, const struct q2_header *h)
{
    const struct q2_extension *ext = q2_extension_find(exts, Q2_EXT_BITMAPS);
    char name[48];

    assert_true(exts->n <= ((size_t)1 << h->cluster_bits) / 8);
    for (size_t i = 0; i < exts->n; i++)
        touch(exts->list[i].data, exts->list[i].len);
    for (unsigned bit = 0; bit < 64; bit++)
        if (q2_feature_name(exts, 0, bit, name))
            touch((const uint8_t *)name, strlen(name));
    if (ext) {
        struct q2_bitmaps_ext payload;

        q2_bitmaps_ext_parse(ext->data, &payload);
        (void)q2_bitmaps_ext_check(&payload, ext->offset + 8, 1u << h->cluster_bits, NULL);
    }
}

static void try_cluster(const uint8_t *bytes, size_t len)
{
    uint8_t *p = exact_copy(bytes, len);
    struct qcbm_error err = { 0 };
    struct q2_extensions exts;
    struct q2_header h;
    int ret = q2_header_parse(p, len, &h, &err);

    verdict(ret, &err);
    if (ret == 0) {
        use_header(&h);
        ret = q2_extensions_parse(p, len, &h, &exts, &err);
        verdict(ret, &err);
        if (ret == 0)
            use_extensions(&exts, &h);
        q2_extensions_free(&exts);
    }
    free(p);
}

static void first_cluster(void **state)
{
    uint8_t b[CLUSTER];

    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        sample_cluster(b, version);
        accepted = refused = 0;
        try_cluster(b, CLUSTER);
        assert_true(accepted == 2 && refused == 0); /* the sample itself is valid */
        for (size_t len = 0; len < CLUSTER; len++)
            try_cluster(b, len);
        for (size_t at = 0; at < CLUSTER; at++)
            for (size_t k = 0; k < ARRAY_LEN(spoilers); k++) {
                sample_cluster(b, version);
                b[at] = spoilers[k];
                try_cluster(b, CLUSTER);
            }
        assert_true(accepted > 100 && refused > 100);
    }
}

/* Without the backing name the list may run to the end of the cluster. */
static void first_cluster_without_backing_name(void **state)
{
    uint8_t b[CLUSTER];

    (void)state;
    for (size_t at = 0; at < CLUSTER; at++)
        for (size_t k = 0; k < ARRAY_LEN(spoilers); k++) {
            sample_cluster(b, 3);
            be64_store(b + 8, 0);
            b[at] = spoilers[k];
            try_cluster(b, CLUSTER);
        }
}

/* ---- bitmap directory ---- */

static size_t sample_directory(uint8_t *b)
{
    static const char *const names[] = { "b0", "checkpoint-1" };
    size_t at = 0;

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct q2_bitmap_dirent d = { .table_offset = 0x10000,
                                      .table_entries = 1,
                                      .flags = (uint32_t)i,
                                      .type = 1,
                                      .granularity_bits = 16,
                                      .name_len = (uint16_t)strlen(names[i]),
                                      .extra_len = (uint32_t)i * 3,
                                      .extra = (const uint8_t *)"xyz",
                                      .name = (const uint8_t *)names[i] };

        q2_bitmap_dirent_store(b + at, &d);
        at += (size_t)q2_bitmap_dirent_len(d.extra_len, d.name_len);
    }
    return at;
}

static void try_directory(const uint8_t *bytes, size_t len)
{
    static const struct q2_header h = { .version = 3, .cluster_bits = 16, .refcount_order = 4, .size = 1 << 30 };
    uint8_t *p = exact_copy(bytes, len);
    struct q2_geometry g;
    struct q2_cursor c;

    q2_geometry_derive(&h, &g);
    q2_cursor_init(&c, p, len);
    while (q2_cursor_left(&c)) {
        struct qcbm_error err = { 0 };
        struct q2_bitmap_dirent d;
        size_t before = q2_cursor_left(&c);
        int ret = q2_bitmap_dirent_parse(&c, 0x50000 + (uint64_t)(c.at - p), &d, &err);

        verdict(ret, &err);
        if (ret < 0)
            break;
        touch(d.extra, d.extra_len);
        touch(d.name, d.name_len);
        assert_int_equal(before - q2_cursor_left(&c), q2_bitmap_dirent_len(d.extra_len, d.name_len));
        ret = q2_bitmap_dirent_check(&d, 0x50000, &g, &err);
        verdict(ret, &err);
    }
    free(p);
}

static void bitmap_directory(void **state)
{
    uint8_t b[200];
    size_t len = sample_directory(b);

    (void)state;
    accepted = refused = 0;
    try_directory(b, len);
    assert_true(accepted == 3 && refused == 1); /* the second one has extra data */
    for (size_t n = 0; n < len; n++)
        try_directory(b, n);
    for (size_t at = 0; at < len; at++)
        for (size_t k = 0; k < ARRAY_LEN(spoilers); k++) {
            sample_directory(b);
            b[at] = spoilers[k];
            try_directory(b, len);
        }
    assert_true(accepted > 100 && refused > 100);
}

/* ---- snapshot table ---- */

static size_t sample_snapshots(uint8_t *b)
{
    size_t at = 0;

    for (size_t i = 0; i < 3; i++) {
        struct q2_snapshot s = { .l1_offset = 0x60000,
                                 .l1_entries = 20,
                                 .vm_clock_nsec = 1,
                                 .extra_len = (uint32_t)(24 - 8 * i),
                                 .extra = (const uint8_t *)"0123456701234567012345670",
                                 .id_len = 1,
                                 .id = (const uint8_t *)"123" + i,
                                 .name_len = 5,
                                 .name = (const uint8_t *)"snap1" };

        q2_snapshot_store(b + at, &s);
        at += q2_snapshot_len(&s);
    }
    return at - 2; /* without all of the last padding */
}

static void try_snapshots(const uint8_t *bytes, size_t len)
{
    uint8_t *p = exact_copy(bytes, len);
    struct q2_cursor c;

    q2_cursor_init(&c, p, len);
    for (uint32_t i = 0; i < 3; i++) {
        struct qcbm_error err = { 0 };
        struct q2_snapshot s;
        int ret = q2_snapshot_parse(&c, p, 0x70000, i, &s, &err);

        verdict(ret, &err);
        if (ret < 0)
            break;
        /* the borrowed bytes are there */
        touch(s.extra, s.extra_len);
        touch(s.id, s.id_len);
        touch(s.name, s.name_len);
    }
    free(p);
}

static void snapshot_table(void **state)
{
    uint8_t b[300];
    size_t len = sample_snapshots(b);

    (void)state;
    accepted = refused = 0;
    try_snapshots(b, len);
    assert_true(accepted == 3 && refused == 0);
    for (size_t n = 0; n < len; n++)
        try_snapshots(b, n);
    for (size_t at = 0; at < len; at++)
        for (size_t k = 0; k < ARRAY_LEN(spoilers); k++) {
            sample_snapshots(b);
            b[at] = spoilers[k];
            try_snapshots(b, len);
        }
    assert_true(accepted > 100 && refused > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_cluster),
        cmocka_unit_test(first_cluster_without_backing_name),
        cmocka_unit_test(bitmap_directory),
        cmocka_unit_test(snapshot_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
