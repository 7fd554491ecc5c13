/* test_repair_told.c - what a repair tells is kept until it is planned, in order, and may be taken back
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include <stdio.h>

#include "repair/repair_parts.h"

struct heard {
    char text[128]; /* a word each: r row, f finding, l left */
    int stop;
};

static int hear(void *opaque, const char *kind, const char *what)
{
    struct heard *h = opaque;
    size_t n = strlen(h->text);

    snprintf(h->text + n, sizeof(h->text) - n, "%s:%s ", kind, what);
    return h->stop;
}

static int on_row(void *opaque, const struct qcbm_repair_row *row)
{
    return hear(opaque, "r", row->done);
}

static int on_finding(void *opaque, const struct qcbm_check_finding *f)
{
    return hear(opaque, "f", f->message);
}

static int on_left(void *opaque, const struct qcbm_check_finding *f)
{
    return hear(opaque, "l", f->message);
}

static struct qcbmi_repair ears(struct heard *h)
{
    struct qcbmi_repair r = { .o = QCBM_REPAIR_OPTIONS_INIT };

    r.o.row = on_row;
    r.o.finding = on_finding;
    r.o.left = on_left;
    r.o.opaque = h;
    return r;
}

static void row(struct qcbmi_repair *r, const char *done)
{
    char text[16]; /* which is gone when it is told */

    snprintf(text, sizeof(text), "%s", done);
    assert_int_equal(qcbmi_repair_tell(r, &(struct qcbm_repair_row){ .code = "x", .done = text }, NULL), 0);
    memset(text, '?', sizeof(text) - 1);
}

static void finding(struct qcbmi_repair *r, const char *message)
{
    struct qcbm_check_finding f = { 0 };

    f.message = message;
    assert_int_equal(qcbmi_repair_tell_finding(r, &f, NULL), 0);
}

static void all_is_told_in_order_and_at_the_end(void **state)
{
    struct heard h = { 0 };
    struct qcbmi_repair r = ears(&h);

    (void)state;
    row(&r, "one");
    finding(&r, "two");
    row(&r, "three");
    assert_string_equal(h.text, "");
    assert_int_equal(qcbmi_repair_tell_all(&r, NULL), 0);
    assert_string_equal(h.text, "r:one f:two r:three ");
    assert_int_equal(r.r.rows, 2);
    assert_int_equal(qcbmi_repair_tell_all(&r, NULL), 0); /* once */
    assert_int_equal(r.r.rows, 2);
}

static void what_is_taken_back_is_not_told(void **state)
{
    struct heard h = { 0 };
    struct qcbmi_repair r = ears(&h);

    (void)state;
    finding(&r, "one");
    finding(&r, "two");
    finding(&r, "three");
    qcbmi_repair_forget(&r, 2);
    qcbmi_repair_leave(&r, 1);
    assert_int_equal(qcbmi_repair_tell_all(&r, NULL), 0);
    assert_string_equal(h.text, "f:one l:two ");
}

static void who_hears_may_stop_it(void **state)
{
    struct heard h = { .stop = 1 };
    struct qcbmi_repair r = ears(&h);

    (void)state;
    row(&r, "one");
    row(&r, "two");
    assert_int_equal(qcbmi_repair_tell_all(&r, NULL), QCBM_E_ABORTED);
    assert_string_equal(h.text, "r:one ");
    qcbmi_repair_forget(&r, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_is_told_in_order_and_at_the_end),
        cmocka_unit_test(what_is_taken_back_is_not_told),
        cmocka_unit_test(who_hears_may_stop_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
