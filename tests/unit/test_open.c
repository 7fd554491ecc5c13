/* test_open.c - from names to files: what a name means for QEMU, which names lead to one file, traits, locks
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include <errno.h>
#include <unistd.h>

#include "io/open.h"

/* ---- names ---- */

static void names_are_resolved_as_qemu_does(void **state)
{
    static const struct {
        const char *image, *name, *full;
        const char *local; /* NULL = not a local file */
    } cases[] = {
        { "/dir/top", "base", "/dir/base", "/dir/base" },
        { "dir/top", "base", "dir/base", "dir/base" },
        { "top", "base", "base", "base" },
        { NULL, "base", "base", "base" },
        { "./top", "sub/base", "./sub/base", "./sub/base" },
        { "/dir/top", "../base", "/dir/../base", "/dir/../base" },
        { "/dir/top", "/abs/base", "/abs/base", "/abs/base" },
        { "/dir/top", "file:/abs/base", "file:/abs/base", "/abs/base" },
        { "/dir/top", "file:base", "file:base", "base" },          /* a protocol: QEMU takes the rest as it stands */
        { "/dir/top", "file:a:b", "file:a:b", "a:b" },             /* and does not look for another one */
        { "/dir/top", "sub/a:b", "/dir/sub/a:b", "/dir/sub/a:b" }, /* a colon behind a slash is no protocol */
        { "/dir/top", "./a:b", "/dir/./a:b", "/dir/./a:b" },
        { "/dir/top", "/a:b", "/a:b", "/a:b" },
        { "/di:r/top", "base", "/di:r/base", "/di:r/base" },
        { "/dir/top", "", "", "" },
        { "/dir/top", "a:b", "a:b", NULL },
        { "/dir/top", "nbd:localhost:10809", "nbd:localhost:10809", NULL },
        { "/dir/top", "nbd://localhost/x", "nbd://localhost/x", NULL },
        { "/dir/top", "json:{\"file\":\"x\"}", "json:{\"file\":\"x\"}", NULL },
        { "/dir/top", "json:/abs", "json:/abs", NULL },
        { "/dir/top", "FILE:base", "FILE:base", NULL },
        { "/dir/top", ":base", ":base", NULL },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct qcbm_error err = { 0 };
        char *full = qcbmi_name_full(cases[i].image, cases[i].name, &err);
        const char *local;

        assert_non_null(full);
        assert_string_equal(full, cases[i].full);
        local = qcbmi_name_local(full);
        assert_int_equal(local != NULL, cases[i].local != NULL);
        if (local)
            assert_string_equal(local, cases[i].local);
        free(full);
    }
}

static void a_literal_name_has_no_protocol(void **state)
{
    struct qcbm_error err = { 0 };
    char *full = qcbmi_name_beside("/dir/top", "nbd:x", &err);

    (void)state;
    assert_string_equal(full, "/dir/nbd:x");
    free(full);
}

/* ---- files ---- */

static struct qcbmi_file_id id_of(const char *path)
{
    struct qcbmi_file_id id;
    struct qcbm_error err = { 0 };

    assert_ok(qcbmi_identify(path, &id, &err), &err);
    return id;
}

static void identity_tells_files_apart_and_names_of_one_file_together(void **state)
{
    struct qcbmi_file_id a, b, none = { 0 };
    struct qcbm_error err = { 0 };
    const struct temp_dir *d = bench_dir(state);
    struct qcbmi_io io;

    assert_ok(qcbmi_create(&io, temp_path(d, "image"), &err), &err);
    a = io.id;
    qcbmi_io_close(&io);
    assert_int_equal(symlink("image", temp_path(d, "symlink")), 0);
    assert_int_equal(link(temp_path(d, "image"), temp_path(d, "link")), 0);
    assert_ok(qcbmi_create(&io, temp_path(d, "other"), &err), &err);
    qcbmi_io_close(&io);
    b = id_of(temp_path(d, "image"));
    assert_true(qcbmi_same_file(&a, &b));
    b = id_of(temp_path(d, "symlink"));
    assert_true(qcbmi_same_file(&a, &b));
    b = id_of(temp_path(d, "link"));
    assert_true(qcbmi_same_file(&a, &b));
    b = id_of(temp_path(d, "other"));
    assert_false(qcbmi_same_file(&a, &b));
    assert_false(qcbmi_same_file(&none, &none)); /* of two that nobody knows */
    assert_failure(qcbmi_identify(temp_path(d, "missing"), &b, &err), &err, QCBM_E_NOTFOUND, QCBM_NO_OFFSET,
                   "No such file");
    assert_int_equal(err.sys_errno, ENOENT);
}

static void a_backend_of_the_caller_has_no_identity(void **state)
{
    struct qcbm_error err = { 0 };
    struct qcbm_mem *mem;
    struct qcbmi_io io;

    (void)state;
    assert_ok(qcbm_mem_new("x", 1, &mem, &err), &err);
    assert_ok(qcbmi_io_init(&io, qcbm_mem_ops(), mem, false, &err), &err);
    assert_false(io.id.known);
    assert_false(io.traits.is_device);
    qcbmi_io_close(&io);
}

static void a_file_that_cannot_be_opened_leaves_nothing_to_close(void **state)
{
    struct qcbm_error err = { 0 };
    const struct temp_dir *d = bench_dir(state);
    struct qcbmi_io io;

    memset(&io, 0xff, sizeof(io));
    assert_failure(qcbmi_open(&io, temp_path(d, "missing"), false, &err), &err, QCBM_E_NOTFOUND, QCBM_NO_OFFSET,
                   "No such");
    qcbmi_io_close(&io);
    memset(&io, 0xff, sizeof(io));
    assert_failure(qcbmi_open(&io, d->path, false, &err), &err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET, "is a directory");
    qcbmi_io_close(&io);
}

static void flags_choose_the_lock(void **state)
{
    static const struct {
        unsigned flags;
        int beside_writer, beside_reader;
    } cases[] = {
        { QCBM_OPEN_WRITE, QCBM_E_LOCKED, QCBM_E_LOCKED },
        { 0, QCBM_E_LOCKED, 0 },
        { QCBM_OPEN_INFO, QCBM_E_LOCKED, 0 },
        { QCBM_OPEN_FORCE_SHARE, QCBM_E_LOCKED, 0 }, /* our writers move tables */
        { QCBM_OPEN_INFO | QCBM_OPEN_FORCE_SHARE, 0, 0 },
    };
    struct qcbm_error err = { 0 };
    struct qcbmi_io first, io;
    const struct temp_dir *d = bench_dir(state);

    assert_ok(qcbmi_create(&first, temp_path(d, "image"), &err), &err);
    qcbmi_io_close(&first);
    for (unsigned writer = 0; writer < 2; writer++) {
        assert_ok(qcbmi_open(&first, temp_path(d, "image"), writer, &err), &err);
        assert_ok(qcbmi_lock(&first, writer ? QCBM_OPEN_WRITE : 0, &err), &err);
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
            assert_ok(qcbmi_open(&io, temp_path(d, "image"), cases[i].flags & QCBM_OPEN_WRITE, &err), &err);
            assert_int_equal(qcbmi_lock(&io, cases[i].flags, NULL),
                             writer ? cases[i].beside_writer : cases[i].beside_reader);
            qcbmi_io_close(&io);
        }
        qcbmi_io_close(&first);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_resolved_as_qemu_does),
        cmocka_unit_test(a_literal_name_has_no_protocol),
        image_test(identity_tells_files_apart_and_names_of_one_file_together),
        cmocka_unit_test(a_backend_of_the_caller_has_no_identity),
        image_test(a_file_that_cannot_be_opened_leaves_nothing_to_close),
        image_test(flags_choose_the_lock),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
