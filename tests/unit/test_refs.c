/* test_refs.c - the list of references: complete, in QEMU's order, and the same for who writes and who checks
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include "format/q2_extension.h"
#include "image/refs.h"
#include "io/holes.h"
#include "write/owners.h"

struct seen {
    char text[512];
    unsigned left; /* references until the sink stops; 0: it does not */
};

static int see(void *opaque, const struct qcbmi_ref *ref)
{
    struct seen *s = opaque;
    size_t n = strlen(s->text);

    assert_int_equal(ref->weight, 1);
    assert_int_equal(ref->exclusive, 1);
    snprintf(s->text + n, sizeof(s->text) - n, "%s %llu+%llu by %llu; ", qcbmi_ref_name(&ref->owner),
             (unsigned long long)ref->offset, (unsigned long long)ref->len, (unsigned long long)ref->pointer);
    return s->left && --s->left == 0 ? QCBM_E_ABORTED : 0;
}

static int see_above(void *opaque)
{
    struct seen *s = opaque;
    size_t n = strlen(s->text);

    snprintf(s->text + n, sizeof(s->text) - n, "above; ");
    return 0;
}

/* Two snapshots, parsed from a table of 100 bytes; the second begins at byte 48 of it. */
static struct qcbmi_refs two_snapshots(void)
{
    static uint8_t table[100];
    static const struct q2_snapshot list[] = {
        { .l1_offset = 5120, .l1_entries = 3, .extra = table + Q2_SNAPSHOT_FIXED },
        { .l1_offset = 5632, .l1_entries = 4, .extra = table + 48 + Q2_SNAPSHOT_FIXED },
    };

    return (struct qcbmi_refs){ NULL, list, ARRAY_LEN(list), table, sizeof(table) };
}

static void build_small(struct image_builder *b)
{
    struct build_options opt = { .size = KIB(64) };
    uint8_t luks[16];

    build_start(b, &opt);
    be64_store(luks, 8192);
    be64_store(luks + 8, 600);
    build_extension(b, Q2_EXT_CRYPTO, luks, sizeof(luks));
    build_data(b, 0);
    build_finish(b);
    b->bytes[35] = 2; /* encrypted with LUKS */
}

static void all_is_listed_in_the_order_of_qemu(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct seen seen = { .left = 0 };
    struct qcbmi_ref_sink sink = { &seen, see, see, see_above };
    struct qcbmi_refs refs = two_snapshots();
    char want[512];

    build_small(b);
    b->bytes[70] = 8; /* the snapshot table: at 2048 */
    refs.img = bench_image(state, 0)->image;
    assert_int_equal(qcbmi_refs_walk(&refs, &sink), 0);
    snprintf(want, sizeof(want),
             "the header 0+512 by 0; the active L1 table %llu+16 by 40; the L1 table of snapshot 5120+24 by 2048; "
             "the L1 table of snapshot 5632+32 by 2096; the snapshot table 2048+100 by 64; the refcount table %llu+512 "
             "by 48; "
             "the LUKS header 8192+600 by %llu; above; ",
             (unsigned long long)b->l1, (unsigned long long)b->reftable, (unsigned long long)b->exts[0].offset + 8);
    assert_string_equal(seen.text, want);
}

static void a_sink_that_stops_is_asked_no_more(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct qcbmi_refs refs = two_snapshots();

    build_small(b);
    refs.img = bench_image(state, 0)->image;
    for (unsigned stop = 1; stop <= 7; stop++) {
        struct seen seen = { .left = stop };
        struct qcbmi_ref_sink sink = { &seen, see, see, see_above };
        unsigned n = 0;

        assert_int_equal(qcbmi_refs_walk(&refs, &sink), QCBM_E_ABORTED);
        for (const char *at = seen.text; (at = strchr(at, ';')) != NULL; at++)
            n++;
        assert_int_equal(n, stop);
    }
}

/* ---- the entries of an L1 table ---- */

struct words {
    uint64_t raw[8], index[8];
    size_t n, stop_at;
    uint64_t afforded;
};

static int take_word(void *opaque, uint64_t raw, uint64_t index)
{
    struct words *w = opaque;

    assert_true(w->n < ARRAY_LEN(w->raw));
    w->raw[w->n] = raw;
    w->index[w->n++] = index;
    return w->n == w->stop_at ? QCBM_E_ABORTED : 0;
}

static bool pay(void *opaque, uint64_t bytes)
{
    struct words *w = opaque;

    if (bytes > w->afforded)
        return false;
    w->afforded -= bytes;
    return true;
}

static void entries_are_given_as_far_as_the_file_goes(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = KIB(64) };
    struct qcbmi_holes holes;
    struct words w = { .n = 0 };
    struct qcbmi_table_walk walk = { NULL, &holes, "table", &w, NULL, take_word };
    uint64_t table;

    build_start(b, &opt);
    table = build_clusters(b, 300); /* more than is read at once */
    be64_store(b->bytes + table, 11);
    be64_store(b->bytes + table + 8 * 10000, 22);
    be64_store(b->bytes + table + 300 * 512 - 16, 33);
    b->bytes[table + 300 * 512 - 8] = 0x80;
    build_finish(b);
    build_resize(b, table + 300 * 512 - 7); /* a byte of the last entry */
    walk.img = bench_image(state, 0)->image;
    qcbmi_holes_init(&holes, &walk.img->io);
    assert_int_equal(qcbmi_table_walk(&walk, table, 1000000, NULL), 0);
    assert_int_equal(w.n, 4);
    assert_int_equal(w.raw[1], 22);
    assert_int_equal(w.index[1], 10000);
    assert_int_equal(w.index[2], 300 * 64 - 2);
    assert_true(w.raw[3] == UINT64_C(1) << 63 && w.index[3] == 300 * 64 - 1);
    w = (struct words){ .stop_at = 2 };
    assert_int_equal(qcbmi_table_walk(&walk, table, 1000000, NULL), QCBM_E_ABORTED);
    assert_int_equal(w.n, 2);
    w = (struct words){ .afforded = KIB(64) };
    walk.afford = pay;
    assert_int_equal(qcbmi_table_walk(&walk, table, 1000000, NULL), 0);
    assert_int_equal(w.n, 1);
    w = (struct words){ .afforded = MIB(1) };
    assert_int_equal(qcbmi_table_walk(&walk, table, 10000, NULL), 0); /* entry 10000 is none of the table */
    assert_int_equal(w.n, 1);
    assert_int_equal(qcbmi_table_walk(&walk, b->len + 8, 10, NULL), 0);
    qcbmi_holes_free(&holes);
}

/* ---- who writes and who checks ---- */

static void build_all(struct image_builder *b, bool extended)
{
    struct build_options opt = { .size = MIB(1), .cluster_bits = extended ? 14 : 9, .extended_l2 = extended };
    uint64_t host;

    build_start(b, &opt);
    build_data(b, 0);
    build_snapshot(b, "1", "s");
    build_data(b, KIB(16));
    build_snapshot(b, "2", "t");
    build_data(b, KIB(512));
    build_l2_entry(b, KIB(256));
    host = build_clusters(b, 2);
    build_map(b, KIB(256), BUILD_COMPRESSED | (host + 100), 0);
    build_clusters(b, 3); /* leaks */
    build_finish(b);
}

struct zeros {
    uint64_t cluster_size;
    uint64_t found[256];
    size_t n;
};

static int take_finding(void *opaque, const struct qcbm_check_finding *f)
{
    struct zeros *z = opaque;

    if (strcmp(f->problem->code, "refcount-zero") != 0)
        return 0;
    assert_true(z->n < ARRAY_LEN(z->found));
    z->found[z->n++] = f->offset / z->cluster_size;
    return 0;
}

/* With all refcounts 0 the check names every cluster that it found a reference to. */
static void clusters_of_check(const struct image_builder *b, struct zeros *z)
{
    struct qcbm_check_options o = QCBM_CHECK_OPTIONS_INIT;
    struct qcbm_check_result r;
    struct qcbm_error err = { 0 };
    struct qcbm_image *img;

    memset(b->bytes + b->refblock, 0, b->cluster_size);
    img = build_open(b, 0);
    o.finding = take_finding;
    o.opaque = z;
    assert_ok(qcbm_check(img, &o, &r, sizeof(r), &err), &err);
    qcbm_close(img);
}

static void the_writer_knows_what_the_check_counts(void **state)
{
    (void)state;
    for (int extended = 0; extended < 2; extended++) {
        struct image_builder b;
        struct qcbmi_owners o = { 0 };
        struct qcbm_error err = { 0 };
        struct zeros z = { .n = 0 };
        struct qcbm_image *img;
        size_t n = 0;

        build_all(&b, extended);
        assert_true(b.len / b.cluster_size <= b.cluster_size / 2); /* one refcount block */
        img = build_open(&b, 0);
        assert_ok(qcbmi_owners_scan_metadata(img->image, &o, &err), &err);
        assert_ok(qcbmi_owners_scan_data(&o, NULL, &err), &err);
        z.cluster_size = b.cluster_size;
        clusters_of_check(&b, &z);
        for (uint64_t k = 0; k < o.n_clusters; k++) {
            if (!qcbmi_bitset_get(&o.meta, k) && !qcbmi_bitset_get(&o.l2, k) && !qcbmi_bitset_get(&o.data, k))
                continue;
            assert_true(n < z.n);
            assert_int_equal(z.found[n++], k);
        }
        assert_int_equal(n, z.n);
        assert_true(n > 10);
        qcbmi_owners_free(&o);
        qcbm_close(img);
        build_free(&b);
    }
}

static void each_kind_has_a_name(void **state)
{
    struct qcbmi_ref_owner owner = { QCBMI_REF_HEADER, 0, 0 };

    (void)state;
    for (unsigned k = QCBMI_REF_HEADER; k <= QCBMI_REF_REFBLOCK; k++) {
        owner.kind = (enum qcbmi_ref_kind)k;
        assert_non_null(qcbmi_ref_name(&owner));
    }
    owner = (struct qcbmi_ref_owner){ QCBMI_REF_L1, 1, 0 };
    assert_string_equal(qcbmi_ref_name(&owner), "the L1 table of snapshot");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(all_is_listed_in_the_order_of_qemu),
        image_test(a_sink_that_stops_is_asked_no_more),
        image_test(entries_are_given_as_far_as_the_file_goes),
        cmocka_unit_test(the_writer_knows_what_the_check_counts),
        cmocka_unit_test(each_kind_has_a_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
