/* test_chain.c - the backing chain: loops, depth, formats, names that are not followed
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include "image/chain.h"
#include "io/open.h"

static void write_image(const struct temp_dir *d, const char *name, const char *backing, const char *format,
                        uint64_t size)
{
    struct build_options opt = { .size = size, .backing = backing, .backing_format = format };
    struct image_builder b;

    build_start(&b, &opt);
    build_finish(&b);
    build_write_file(&b, temp_path(d, name));
    build_free(&b);
}

struct opened {
    struct qcbm_image *top;
    struct qcbmi_chain chain;
};

static int open_chain(struct opened *o, const struct temp_dir *d, const char *top,
                      const struct qcbmi_chain_options *options, struct qcbm_error *err)
{
    static const struct qcbmi_chain_options defaults = { 0 };

    memset(o, 0, sizeof(*o));
    assert_ok(qcbm_open(temp_path(d, top), 0, &o->top, err), err);
    return qcbmi_chain_open(o->top->image, options ? options : &defaults, &o->chain, err);
}

static void close_chain(struct opened *o)
{
    qcbmi_chain_close(&o->chain);
    qcbm_close(o->top);
}

static void layers_come_from_the_top_down(void **state)
{
    const struct temp_dir *d = bench_dir(state);
    struct qcbm_error err = { 0 };
    struct opened o;
    FILE *raw;

    raw = fopen(temp_path(d, "raw"), "wb");
    assert_non_null(raw);
    assert_int_equal(fwrite("abc", 1, 3, raw), 3);
    fclose(raw);
    write_image(d, "base", "raw", "raw", KIB(32));
    write_image(d, "top", temp_path(d, "base"), "qcow2", KIB(64)); /* an absolute name */
    assert_ok(open_chain(&o, d, "top", NULL, &err), &err);
    assert_int_equal(o.chain.n, 3);
    assert_string_equal(o.chain.layers[0].filename, temp_path(d, "top"));
    assert_string_equal(o.chain.layers[1].filename, temp_path(d, "base"));
    assert_string_equal(o.chain.layers[2].filename, temp_path(d, "raw"));
    assert_int_equal(o.chain.layers[0].size, KIB(64));
    assert_int_equal(o.chain.layers[1].size, KIB(32));
    assert_int_equal(o.chain.layers[2].size, 512); /* rounded up, as QEMU does */
    assert_ptr_equal(o.chain.layers[0].img, o.top->image);
    assert_null(o.chain.layers[2].img);
    close_chain(&o);
}

static void the_chain_ends_where_it_is_told(void **state)
{
    struct qcbmi_chain_options options = { 0 };
    struct qcbmi_file_id id;
    const struct temp_dir *d = bench_dir(state);
    struct qcbm_error err = { 0 };
    struct opened o;

    write_image(d, "base", NULL, NULL, KIB(64));
    write_image(d, "mid", "base", "qcow2", KIB(64));
    write_image(d, "top", "mid", "qcow2", KIB(64));
    for (size_t max = 1; max <= 4; max++) {
        options.max_layers = max;
        assert_ok(open_chain(&o, d, "top", &options, &err), &err);
        assert_int_equal(o.chain.n, max < 3 ? max : 3);
        close_chain(&o);
    }
    options.max_layers = 0;
    assert_int_equal(qcbmi_identify(temp_path(d, "mid"), &id, NULL), 0);
    options.stop = &id;
    assert_ok(open_chain(&o, d, "top", &options, &err), &err);
    assert_int_equal(o.chain.n, 2);
    close_chain(&o);
}

static void loops_are_found_before_anything_is_opened_twice(void **state)
{
    const struct temp_dir *d = bench_dir(state);
    struct qcbm_error err = { 0 };
    struct opened o;

    write_image(d, "self", "self", "qcow2", KIB(64));
    assert_failure(open_chain(&o, d, "self", NULL, &err), &err, QCBM_E_CHAIN, QCBM_NO_OFFSET, "has a loop");
    close_chain(&o);
    write_image(d, "one", "two", "qcow2", KIB(64));
    write_image(d, "two", "./three", "qcow2", KIB(64));
    assert_int_equal(symlink("one", temp_path(d, "three")), 0); /* another name of the same file */
    assert_failure(open_chain(&o, d, "one", NULL, &err), &err, QCBM_E_CHAIN, QCBM_NO_OFFSET, "has a loop");
    close_chain(&o);
}

static void too_many_layers_are_refused(void **state)
{
    const struct temp_dir *d = bench_dir(state);
    struct qcbm_error err = { 0 };
    struct opened o;
    char name[16] = "", below[16];

    for (unsigned i = 0; i <= QCBMI_CHAIN_MAX_DEPTH; i++) {
        snprintf(below, sizeof(below), "%s", name);
        snprintf(name, sizeof(name), "layer%u", i);
        write_image(d, name, i ? below : NULL, i ? "qcow2" : NULL, KIB(64));
    }
    assert_failure(open_chain(&o, d, name, NULL, &err), &err, QCBM_E_CHAIN, QCBM_NO_OFFSET, "deeper than 200 layers");
    close_chain(&o);
    assert_ok(open_chain(&o, d, below, NULL, &err), &err); /* one less */
    assert_int_equal(o.chain.n, QCBMI_CHAIN_MAX_DEPTH);
    close_chain(&o);
}

static void what_cannot_be_followed_is_refused(void **state)
{
    static const struct {
        const char *backing, *format, *text;
    } cases[] = {
        { "base", NULL, "is not recorded and is not guessed" },
        { "base", "vmdk", "'vmdk' is not supported" },
        { "base", "qcow", "'qcow' is not supported" },
        { "missing", "qcow2", "No such file" },
        { "missing", "raw", "No such file" },
        { "nbd:localhost:1", "raw", "not followed" },
        { "json:{}", "raw", "not followed" },
        { "a:b", "raw", "not followed" },
        { "notqcow2", "qcow2", "Image is not in qcow2 format: the file is empty" },
        { ".", "raw", "backing file '.'" },
        { "pipe", "raw", "backing file 'pipe'" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct temp_dir d;
        struct qcbm_error err = { 0 };
        struct opened o;
        FILE *f;

        temp_dir_make(&d);
        write_image(&d, "base", NULL, NULL, KIB(64));
        f = fopen(temp_path(&d, "notqcow2"), "wb");
        assert_non_null(f);
        fclose(f);
        assert_int_equal(mkfifo(temp_path(&d, "pipe"), 0600), 0);
        write_image(&d, "top", cases[i].backing, cases[i].format, KIB(64));
        assert_int_equal(open_chain(&o, &d, "top", NULL, &err), QCBM_E_CHAIN);
        assert_int_equal(err.code, QCBM_E_CHAIN);
        assert_non_null(strstr(err.message, cases[i].text));
        assert_non_null(strstr(err.message, cases[i].backing));
        close_chain(&o);
        temp_dir_remove(&d);
    }
}

static void a_name_in_a_message_cannot_steer_a_terminal(void **state)
{
    const struct temp_dir *d = bench_dir(state);
    struct qcbm_error err = { 0 };
    struct opened o;

    write_image(d, "top", "nbd:\x1b[31m\n", "raw", KIB(64));
    assert_failure(open_chain(&o, d, "top", NULL, &err), &err, QCBM_E_CHAIN, QCBM_NO_OFFSET, "'nbd:\\x1b[31m\\x0a'");
    close_chain(&o);
}

static void an_image_that_is_open_already_is_borrowed(void **state)
{
    struct qcbmi_chain_options options = { 0 };
    const struct temp_dir *d = bench_dir(state);
    struct qcbm_error err = { 0 };
    struct opened o;
    struct qcbm_image *base;

    write_image(d, "base", NULL, NULL, KIB(64));
    write_image(d, "top", "base", "qcow2", KIB(64));
    assert_ok(qcbm_open(temp_path(d, "base"), QCBM_OPEN_WRITE, &base, &err), &err);
    assert_int_equal(open_chain(&o, d, "top", NULL, &err), QCBM_E_LOCKED); /* our own locks are in the way */
    assert_non_null(strstr(err.message, "backing file 'base'"));
    close_chain(&o);
    options.known = base->image;
    assert_ok(open_chain(&o, d, "top", &options, &err), &err);
    assert_ptr_equal(o.chain.layers[1].img, base->image);
    close_chain(&o);
    assert_int_equal(bitmap_count(base), 0); /* still open */
    qcbm_close(base);
}

static void close_takes_a_zeroed_struct(void **state)
{
    struct qcbmi_chain chain = { 0 };

    (void)state;
    qcbmi_chain_close(&chain);
    qcbmi_chain_close(&chain);
}

static void what_is_above_a_broken_layer_can_be_had(void **state)
{
    struct qcbm_chain_layer layer;
    struct qcbm_chain *chain;
    struct qcbm_image *top;
    const struct temp_dir *d = bench_dir(state);
    struct qcbm_error err = { 0 };

    write_image(d, "mid", "missing", "qcow2", KIB(32));
    write_image(d, "top", "mid", "qcow2", KIB(64));
    assert_ok(qcbm_open(temp_path(d, "top"), 0, &top, &err), &err);
    assert_int_equal(qcbm_chain_open(top, &chain, &err), QCBM_E_CHAIN);
    assert_null(chain);
    assert_int_equal(qcbm_chain_open_partial(top, &chain, &err), 1);
    assert_non_null(strstr(err.message, "backing file 'missing'"));
    assert_int_equal(qcbm_chain_count(chain), 2);
    assert_ok(qcbm_chain_get(chain, 1, &layer, sizeof(layer), &err), &err);
    assert_string_equal(layer.filename, temp_path(d, "mid"));
    qcbm_chain_close(chain);
    write_image(d, "missing", NULL, NULL, KIB(32));
    assert_int_equal(qcbm_chain_open_partial(top, &chain, &err), 0);
    assert_int_equal(qcbm_chain_count(chain), 3);
    qcbm_chain_close(chain);
    qcbm_close(top);
}

static struct qcbm_mem *in_memory(const char *backing, const char *format)
{
    struct build_options opt = { .size = KIB(64), .backing = backing, .backing_format = format };
    struct qcbm_mem *mem = NULL;
    struct image_builder b;

    build_start(&b, &opt);
    build_finish(&b);
    assert_int_equal(qcbm_mem_new(b.bytes, b.len, &mem, NULL), 0);
    build_free(&b);
    qcbm_mem_keep(mem);
    return mem;
}

static void the_caller_says_what_the_layers_are(void **state)
{
    const struct temp_dir *d = bench_dir(state);
    struct qcbm_mem *top = in_memory("nowhere", "qcow2"), *mid = in_memory("no file", "qcow2");
    const struct qcbm_below below[] = {
        { .name = "the middle", .ops = qcbm_mem_ops(), .self = mid },
        { .name = temp_path(d, "other") },
        { .name = "surplus" },
    };
    struct qcbm_chain_layer layer;
    struct qcbm_error err = { 0 };
    struct qcbm_chain *chain;
    struct qcbm_image *img;
    uint8_t byte[1];

    write_image(d, "other", "last", "qcow2", KIB(32));
    write_image(d, "last", NULL, NULL, KIB(32));
    assert_ok(qcbm_open_io(qcbm_mem_ops(), top, 0, &img, &err), &err);
    assert_ok(qcbm_set_name(img, "the top", &err), &err);
    assert_ok(qcbm_set_below(img, below, sizeof(struct qcbm_below), 3, &err), &err); /* replaced by the next call */
    assert_ok(qcbm_set_below(img, below, sizeof(struct qcbm_below), 2, &err), &err);
    for (int again = 0; again < 2; again++) { /* backends stay open */
        static const char *const names[] = { "the top", "the middle", "other", "last" };

        assert_ok(qcbm_chain_open(img, &chain, &err), &err);
        assert_int_equal(qcbm_chain_count(chain), 4);
        for (uint32_t i = 0; i < 4; i++) {
            assert_ok(qcbm_chain_get(chain, i, &layer, sizeof(layer), &err), &err);
            assert_string_equal(layer.filename, i < 2 ? names[i] : temp_path(d, names[i]));
        }
        if (again) /* what is open reads by the layers that it was opened by */
            assert_ok(qcbm_set_below(img, below + 2, sizeof(struct qcbm_below), 1, &err), &err);
        qcbm_chain_close(chain);
    }
    assert_ok(qcbm_set_below(img, below, sizeof(struct qcbm_below), 2, &err), &err);
    assert_ok(qcbm_read(img, 0, byte, sizeof(byte), 0, &err), &err);
    assert_ok(qcbm_set_below(img, below + 2, sizeof(struct qcbm_below), 1, &err), &err);
    assert_int_not_equal(qcbm_read(img, 0, byte, sizeof(byte), 0, &err), 0); /* of the layers that are named now */
    qcbm_close(img);
    qcbm_mem_free(top);
    qcbm_mem_free(mid);
}

static void layers_that_cannot_be_those_are_refused(void **state)
{
    const struct temp_dir *d = bench_dir(state);
    struct qcbm_mem *mem = in_memory("base", NULL);
    const struct qcbm_below two[] = { { .name = "a", .ops = qcbm_mem_ops(), .self = mem },
                                      { .name = "a", .ops = qcbm_mem_ops(), .self = mem } };
    const struct qcbm_io_ops broken = { .struct_size = 8 };
    const struct qcbm_below wrong = { .name = "a", .ops = &broken };
    struct qcbm_error err = { 0 };
    struct opened o;

    write_image(d, "base", NULL, NULL, KIB(64));
    write_image(d, "top", "none", "qcow2", KIB(64));
    assert_ok(qcbm_open(temp_path(d, "top"), 0, &o.top, &err), &err);
    assert_failure(qcbm_set_below(o.top, &wrong, sizeof(struct qcbm_below), 1, &err), &err, QCBM_E_ARG, QCBM_NO_OFFSET,
                   "");
    for (int i = 0; i < 3; i++) {
        static const char *const says[] = { "backing file 'none': named to be '", "is named as a layer", "has a loop" };
        struct qcbm_below below[2] = { { .name = temp_path(d, i == 0 ? "missing" : "base") }, { .name = "b" } };
        const struct qcbmi_chain_options options = { 0 };

        assert_ok(qcbm_set_below(o.top, i < 2 ? below : two, sizeof(struct qcbm_below), 2, &err), &err);
        o.chain = (struct qcbmi_chain){ 0 };
        assert_failure(qcbmi_chain_open(o.top->image, &options, &o.chain, &err), &err, QCBM_E_CHAIN, QCBM_NO_OFFSET,
                       says[i]);
        qcbmi_chain_close(&o.chain);
    }
    qcbm_close(o.top);
    qcbm_mem_free(mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(layers_come_from_the_top_down),
        image_test(the_chain_ends_where_it_is_told),
        image_test(what_is_above_a_broken_layer_can_be_had),
        image_test(loops_are_found_before_anything_is_opened_twice),
        image_test(too_many_layers_are_refused),
        cmocka_unit_test(what_cannot_be_followed_is_refused),
        image_test(a_name_in_a_message_cannot_steer_a_terminal),
        image_test(an_image_that_is_open_already_is_borrowed),
        image_test(the_caller_says_what_the_layers_are),
        image_test(layers_that_cannot_be_those_are_refused),
        cmocka_unit_test(close_takes_a_zeroed_struct),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
