/* test_data.c - guest bytes: what is refused, what is remembered, and what each call may touch
 * SPDX-License-Identifier: MIT
 *
 * That the bytes are those of QEMU is for tests/interop/read.py to say. */
#include "image_unit.h"

static void fill_cluster(struct image_builder *b, uint64_t host, int with)
{
    memset(b->bytes + host, with, b->cluster_size);
}

static void assert_all(const uint8_t *bytes, size_t len, int want)
{
    for (size_t i = 0; i < len; i++)
        assert_int_equal(bytes[i], want);
}

/* Base: 4 clusters of 1; top: cluster 1 is 2, cluster 2 zeros, and it is longer by 2 clusters. */
static void make_chain(struct temp_dir *d)
{
    struct build_options opt = { .size = KIB(16), .cluster_bits = 12 };
    struct image_builder b;

    temp_dir_make(d);
    build_start(&b, &opt);
    for (uint64_t i = 0; i < 4; i++)
        fill_cluster(&b, build_data(&b, i << 12), 1);
    build_finish(&b);
    build_write_file(&b, temp_path(d, "base"));
    build_free(&b);
    opt = (struct build_options){
        .size = KIB(24) + 512, .cluster_bits = 12, .backing = "base", .backing_format = "qcow2"
    };
    build_start(&b, &opt);
    fill_cluster(&b, build_data(&b, KIB(4)), 2);
    build_map(&b, KIB(8), BUILD_ZERO, 0);
    build_finish(&b);
    build_write_file(&b, temp_path(d, "top"));
    build_free(&b);
}

static void layers_are_read_from_the_top_down(void **state)
{
    uint8_t buf[KIB(24) + 512];
    struct qcbm_error err = { 0 };
    struct qcbm_image *img;
    struct temp_dir d;

    (void)state;
    make_chain(&d);
    assert_ok(qcbm_open(temp_path(&d, "top"), 0, &img, &err), &err);
    memset(buf, 0xa5, sizeof(buf));
    assert_ok(qcbm_read(img, 0, buf, sizeof(buf), 0, &err), &err);
    assert_all(buf, KIB(4), 1);
    assert_all(buf + KIB(4), KIB(4), 2);
    assert_all(buf + KIB(8), KIB(4), 0);
    assert_all(buf + KIB(12), KIB(4), 1);
    assert_all(buf + KIB(16), KIB(8) + 512, 0); /* the base is shorter */
    assert_ok(qcbm_read(img, 0, buf, KIB(16), QCBM_READ_LAYER, &err), &err);
    assert_all(buf, KIB(4), 0);
    assert_all(buf + KIB(4), KIB(4), 2);
    assert_all(buf + KIB(8), KIB(8), 0);
    assert_ok(qcbm_read(img, KIB(8) - 1, buf, 2, 0, &err), &err);
    assert_int_equal(buf[0], 2);
    assert_int_equal(buf[1], 0);
    assert_ok(qcbm_read(img, KIB(24) + 512, buf, 0, 0, &err), &err);
    qcbm_close(img);
    temp_dir_remove(&d);
}

static void a_range_past_the_disk_is_an_argument_that_is_wrong(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = KIB(4) + 100, .cluster_bits = 12 }; /* 100 bytes that QEMU does not show */
    struct qcbm_error err = { 0 };
    struct qcbm_image *img;
    uint8_t buf[512];

    build_start(b, &opt);
    build_finish(b);
    img = bench_image(state, 0);
    assert_ok(qcbm_read(img, KIB(4) - 512, buf, 512, 0, &err), &err);
    assert_failure(qcbm_read(img, KIB(4), buf, 1, 0, &err), &err, QCBM_E_ARG, QCBM_NO_OFFSET,
                   "pass the end of the disk");
    assert_failure(qcbm_read(img, KIB(4) - 511, buf, 512, 0, &err), &err, QCBM_E_ARG, QCBM_NO_OFFSET, "pass the end");
    assert_failure(qcbm_read(img, UINT64_MAX, buf, 512, 0, &err), &err, QCBM_E_ARG, QCBM_NO_OFFSET, "pass the end");
}

/* Each is an error where it lies, and the rest of the disk can be read before and after. */
static void what_cannot_be_read_is_never_zeros(void **state)
{
    static const struct {
        const char *name;
        uint64_t raw; /* L2 entry of cluster 1; 0: the table of it is lost */
        uint32_t crypt;
        bool data_file;
        int code;
        const char *text;
    } cases[] = {
        { "past the end", MIB(1), 0, false, QCBM_E_CORRUPT, "guest data at 0x100000" },
        { "zeros in version 2", BUILD_ZERO, 0, false, QCBM_E_CORRUPT, "zero flag in a version 2 image" },
        { "no stream", BUILD_COMPRESSED | 0x200, 0, false, QCBM_E_CORRUPT, "compressed cluster of guest 0x8000: " },
        { "stream past the end", BUILD_COMPRESSED | MIB(2), 0, false, QCBM_E_CORRUPT, "past the end of the file" },
        { "lost table", 0, 0, false, QCBM_E_CORRUPT, "L1 entry 1: L2 table at 0x100000 lies past the end" },
        { "encrypted", 0x600, 2, false, QCBM_E_UNSUPPORTED, "guest 0x8000: the cluster is encrypted (LUKS)" },
        { "encrypted", 0x600, 1, false, QCBM_E_UNSUPPORTED, "(AES)" },
        { "data file", 0x8000 | BUILD_COPIED, 0, true, QCBM_E_UNSUPPORTED, "opened on request only" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct build_options opt = { .size = KIB(64), .cluster_bits = 9 }; /* 32 KiB under a table */
        struct image_builder b;
        struct qcbm_error err = { 0 };
        struct qcbm_image *img;
        uint8_t buf[1024];

        opt.version = cases[i].raw == BUILD_ZERO ? 2 : 3;
        opt.data_file = cases[i].data_file ? "data" : NULL;
        build_start(&b, &opt);
        if (cases[i].raw)
            build_map(&b, KIB(32), cases[i].raw, 0);
        build_finish(&b);
        if (!cases[i].raw)
            be64_store(b.bytes + b.l1 + 8, MIB(1));
        img = build_open(&b, 0);
        img->image->h.crypt_method = cases[i].crypt;
        for (unsigned round = 0; round < 2; round++) {
            assert_ok(qcbm_read(img, KIB(32) - 1024, buf, 1024, 0, &err), &err);
            assert_all(buf, 1024, 0);
            assert_int_equal(qcbm_read(img, KIB(32) - 512, buf, 1024, round ? QCBM_READ_LAYER : 0, &err),
                             cases[i].code);
            assert_int_equal(err.code, cases[i].code);
            assert_non_null(strstr(err.message, cases[i].text));
            assert_int_equal(qcbm_read(img, KIB(32), buf, 1, 0, NULL), cases[i].code);
            if (cases[i].raw)
                assert_ok(qcbm_read(img, KIB(33), buf, 512, 0, &err), &err);
        }
        qcbm_close(img);
        build_free(&b);
    }
}

static void a_commit_makes_the_next_read_look_again(void **state)
{
    struct bench *t = *state;
    struct build_options opt = { .size = KIB(64), .cluster_bits = 12 };
    struct qcbm_error err = { 0 };
    struct qcbm_edit *edit = NULL;
    uint8_t buf[4096];

    build_start(&t->b, &opt);
    fill_cluster(&t->b, build_data(&t->b, 0), 7);
    build_finish(&t->b);
    session_open(&t->s, &t->b);
    assert_ok(qcbm_read(t->s.img, 0, buf, sizeof(buf), 0, &err), &err);
    assert_ok(qcbm_edit_begin(t->s.img, &edit, &err), &err);
    assert_ok(qcbm_edit_add(edit, "new", 0, 0, &err), &err);
    assert_ok(qcbm_edit_commit(edit, NULL, 0, &err), &err);
    qcbm_edit_free(edit);
    memset(buf, 0, sizeof(buf));
    assert_ok(qcbm_read(t->s.img, 0, buf, sizeof(buf), 0, &err), &err);
    assert_all(buf, sizeof(buf), 7);
    t->s.img->image->failed = true;
    assert_failure(qcbm_read(t->s.img, 0, buf, sizeof(buf), 0, &err), &err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                   "a commit failed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_are_read_from_the_top_down),
        image_test(a_range_past_the_disk_is_an_argument_that_is_wrong),
        cmocka_unit_test(what_cannot_be_read_is_never_zeros),
        image_test(a_commit_makes_the_next_read_look_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
