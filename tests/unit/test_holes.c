/* test_holes.c - holes of a file: each extent is asked for once, in file order, whatever the order of the questions
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include "io/holes.h"

/* Data and holes of @step bytes take turns; with @split an extent is told in that many answers. */
struct striped {
    uint64_t size, step;
    bool data_first;
    unsigned split, asked, fail_after;
    uint64_t last_off;
    bool backward; /* it was asked at an offset below the one before */
};

static int striped_read(void *self, uint64_t off, void *buf, size_t len, struct qcbm_error *err)
{
    (void)self;
    (void)off;
    (void)err;
    memset(buf, 0, len);
    return 0;
}

static int striped_size(void *self, uint64_t *len_bytes, struct qcbm_error *err)
{
    (void)err;
    *len_bytes = ((struct striped *)self)->size;
    return 0;
}

static bool data_at(const struct striped *s, uint64_t off)
{
    return off < s->size && (off / s->step % 2 == 0) == s->data_first;
}

static int striped_extent(void *self, uint64_t off, bool *is_data, uint64_t *end, struct qcbm_error *err)
{
    struct striped *s = self;
    uint64_t part = s->step / s->split;

    (void)err;
    s->backward = s->backward || off < s->last_off;
    s->last_off = off;
    *is_data = data_at(s, off);
    *end = off / part * part + part;
    return s->fail_after && ++s->asked > s->fail_after ? QCBM_E_IO : (s->asked += !s->fail_after, 0);
}

static void striped_close(void *self)
{
    (void)self;
}

static const struct qcbm_io_ops striped_ops = {
    .struct_size = sizeof(striped_ops),
    .read_at = striped_read,
    .size = striped_size,
    .extent = striped_extent,
    .close = striped_close,
};

static void open_striped(struct striped *s, struct qcbmi_io *io, struct qcbmi_holes *h)
{
    assert_int_equal(qcbmi_io_init(io, &striped_ops, s, false, NULL), 0);
    qcbmi_holes_init(h, io);
}

static void expect_at(struct qcbmi_holes *h, const struct striped *s, uint64_t off)
{
    uint64_t end = 0;
    bool is_data = !data_at(s, off);

    assert_int_equal(qcbmi_holes_at(h, off, &is_data, &end, NULL), 0);
    assert_int_equal(is_data, data_at(s, off));
    assert_true(end > off);
    if (end == UINT64_MAX)
        assert_true(!is_data && !data_at(s, s->size - 1));
    else
        assert_int_equal(data_at(s, end - 1), is_data);
    if (!is_data)
        assert_true(qcbmi_holes_known(h, off) == end);
    else
        assert_true(qcbmi_holes_known(h, off) == off);
}

static void any_order_of_questions_asks_in_file_order(void **state)
{
    (void)state;
    for (unsigned split = 1; split <= 4; split *= 2) {
        for (unsigned odd = 0; odd < 2; odd++) {
            struct striped s = { .size = 1000 * 64 - 7 * odd, .step = 64, .data_first = odd, .split = split };
            struct qcbmi_holes h;
            struct qcbmi_io io;

            open_striped(&s, &io, &h);
            for (uint64_t i = 0; i < 64000; i += 13)
                expect_at(&h, &s, i * 7919 % s.size);
            for (uint64_t off = s.size; off-- > 0;)
                expect_at(&h, &s, off);
            assert_false(s.backward);
            assert_true(s.asked <= 1001 * split);
            qcbmi_holes_free(&h);
            qcbmi_io_close(&io);
        }
    }
}

static void nothing_is_known_before_it_was_asked(void **state)
{
    struct striped s = { .size = 1024, .step = 64, .split = 1 };
    struct qcbmi_holes h;
    struct qcbmi_io io;

    (void)state;
    open_striped(&s, &io, &h);
    assert_true(qcbmi_holes_known(&h, 0) == 0);
    assert_true(qcbmi_holes_known(&h, 5000) == 5000);
    expect_at(&h, &s, 10);
    assert_true(qcbmi_holes_known(&h, 63) == 64);
    assert_true(qcbmi_holes_known(&h, 128) == 128); /* a hole that nobody has seen */
    assert_int_equal(s.asked, 1);
    qcbmi_holes_free(&h);
    qcbmi_io_close(&io);
}

/* Memory is bounded: beyond what is remembered each question is asked, and the answer to it kept until the next. */
static void too_many_extents_are_asked_for_one_by_one(void **state)
{
    struct striped s = { .size = UINT64_C(1) << 30, .step = 64, .split = 1 };
    struct qcbmi_holes h;
    struct qcbmi_io io;
    unsigned before;

    (void)state;
    open_striped(&s, &io, &h);
    expect_at(&h, &s, s.size - 64);
    expect_at(&h, &s, s.size / 2);
    before = s.asked;
    for (uint64_t off = s.size / 2; off < s.size / 2 + 64; off++)
        expect_at(&h, &s, off);
    assert_int_equal(s.asked, before);
    assert_true(h.n <= 65536 && s.asked <= 65536 + 2);
    expect_at(&h, &s, 100);
    assert_int_equal(s.asked, before);
    qcbmi_holes_free(&h);
    qcbmi_io_close(&io);
}

/* Ranges asked about in the order of the file: one question an extent, none about what was passed over. */
static void a_range_is_covered_by_one_hole_or_not(void **state)
{
    struct striped s = { .size = 64000 - 7, .step = 64, .split = 1 };
    struct qcbmi_holes h;
    struct qcbmi_io io;

    (void)state;
    open_striped(&s, &io, &h);
    for (uint64_t off = 32000; off < s.size; off += 5)
        for (uint64_t len = 1; len <= 65; len += 8) {
            uint64_t end = off + len < s.size ? off + len : s.size;
            bool hole = true;

            for (uint64_t i = off; i < end; i++)
                hole &= !data_at(&s, i);
            assert_int_equal(qcbmi_holes_cover(&h, off, len), hole);
        }
    assert_true(s.asked <= 501);
    assert_false(qcbmi_holes_cover(&h, s.size, 1));
    qcbmi_holes_free(&h);
    qcbmi_io_close(&io);
}

static void an_answer_that_failed_is_asked_for_again(void **state)
{
    struct striped s = { .size = 1024, .step = 64, .split = 1, .fail_after = 2 };
    struct qcbm_error err = { 0 };
    struct qcbmi_holes h;
    struct qcbmi_io io;
    uint64_t end;
    bool is_data;

    (void)state;
    open_striped(&s, &io, &h);
    assert_int_equal(qcbmi_holes_at(&h, 500, &is_data, &end, &err), QCBM_E_IO);
    assert_true(err.message[0]);
    s.fail_after = 0;
    expect_at(&h, &s, 500);
    expect_at(&h, &s, 0);
    qcbmi_holes_free(&h);
    qcbmi_io_close(&io);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_order_of_questions_asks_in_file_order),
        cmocka_unit_test(nothing_is_known_before_it_was_asked),
        cmocka_unit_test(too_many_extents_are_asked_for_one_by_one),
        cmocka_unit_test(a_range_is_covered_by_one_hole_or_not),
        cmocka_unit_test(an_answer_that_failed_is_asked_for_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
