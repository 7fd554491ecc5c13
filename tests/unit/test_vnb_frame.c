/* test_vnb_frame.c - the frames of virtnbdbackup's stream: every frame, every rule
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include "format/vnb_frame.h"

/* Written from the description in virtnbdbackup, not by the code. */
static const char data_frame[] = "data 0000000000010000 0000000000a0b000\r\n";

static void a_frame_is_read_and_stored_as_documented(void **state)
{
    static const struct {
        const char *text;
        struct qcbmi_vnb_frame frame;
    } cases[] = {
        { "meta 0000000000000000 0000000000000083\r\n", { QCBMI_VNB_META, 0, 0x83 } },
        { data_frame, { QCBMI_VNB_DATA, 65536, 0xa0b000 } },
        { "zero 0123456789abcdef fedcba9876543210\r\n",
          { QCBMI_VNB_ZERO, UINT64_C(0x0123456789abcdef), UINT64_C(0xfedcba9876543210) } },
        { "stop 0000000000000000 0000000000000000\r\n", { QCBMI_VNB_STOP, 0, 0 } },
        { "comp 0000000000000000 0000000000000010\r\n", { QCBMI_VNB_COMP, 0, 16 } },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t *exact = exact_copy(cases[i].text, QCBMI_VNB_HEAD), again[QCBMI_VNB_HEAD];
        struct qcbm_error err = { 0 };
        struct qcbmi_vnb_frame f;

        assert_int_equal(strlen(cases[i].text), QCBMI_VNB_HEAD);
        assert_int_equal(qcbmi_vnb_frame_parse(exact, 0, &f, &err), 0);
        assert_int_equal(f.kind, cases[i].frame.kind);
        assert_int_equal(f.start, cases[i].frame.start);
        assert_int_equal(f.length, cases[i].frame.length);
        qcbmi_vnb_frame_store(again, &f);
        assert_memory_equal(again, exact, QCBMI_VNB_HEAD);
        free(exact);
    }
}

static void any_other_byte_in_a_line_is_no_frame(void **state)
{
    (void)state;
    for (size_t at = 0; at < QCBMI_VNB_HEAD; at++)
        for (unsigned value = 0; value < 256; value++) {
            uint8_t bytes[QCBMI_VNB_HEAD];
            struct qcbm_error err = { 0 };
            struct qcbmi_vnb_frame f;
            bool number = (at >= 5 && at < 21) || (at >= 22 && at < 38);

            memcpy(bytes, data_frame, sizeof(bytes));
            bytes[at] = (uint8_t)value;
            if (value == (uint8_t)data_frame[at] ||
                (number && ((value >= '0' && value <= '9') || (value >= 'a' && value <= 'f'))))
                assert_int_equal(qcbmi_vnb_frame_parse(bytes, 7, &f, &err), 0);
            else
                assert_failure(qcbmi_vnb_frame_parse(bytes, 7, &f, &err), &err, QCBM_E_CORRUPT, 7, "no frame");
        }
}

static void every_rule_of_the_order_is_kept(void **state)
{
    static const struct {
        struct qcbmi_vnb_frame frame;
        const char *text; /* NULL: fine */
    } cases[] = {
        /* behind a frame that ends at 4096, on a disk of 64 KiB, with 1 of 2 bytes of data seen */
        { { QCBMI_VNB_DATA, 4096, 1 }, NULL },
        { { QCBMI_VNB_ZERO, 4096, 61440 }, NULL },
        { { QCBMI_VNB_DATA, 4095, 1 }, "a data frame of disk offset 4095, where the one before ends at 4096" },
        { { QCBMI_VNB_ZERO, 4096, 0 }, "a zero frame of no bytes" },
        { { QCBMI_VNB_ZERO, 4096, 61441 }, "passes the end of the disk, 65536" },
        { { QCBMI_VNB_DATA, 4097, UINT64_MAX }, "passes the end" },
        { { QCBMI_VNB_DATA, UINT64_MAX, 1 }, "passes the end" },
        { { QCBMI_VNB_META, 0, 10 }, "a meta frame where none can be" },
        { { QCBMI_VNB_COMP, 0, 10 }, "a comp frame where none can be" },
        { { QCBMI_VNB_STOP, 0, 0 }, "have 1 bytes, and its dataSize is 2" },
        { { QCBMI_VNB_STOP, 1, 0 }, "a stop frame with numbers" },
        { { QCBMI_VNB_STOP, 0, 1 }, "a stop frame with numbers" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct qcbmi_vnb_order order = { .size = 65536, .data_size = 2, .end = 4096, .data_seen = 1 };
        struct qcbm_error err = { 0 };
        int ret = qcbmi_vnb_frame_check(&cases[i].frame, 99, &order, &err);

        if (cases[i].text) {
            assert_failure(ret, &err, QCBM_E_CORRUPT, 99, cases[i].text);
        } else {
            assert_int_equal(ret, 0);
            assert_int_equal(order.end, cases[i].frame.start + cases[i].frame.length);
            assert_int_equal(order.data_seen, cases[i].frame.kind == QCBMI_VNB_DATA ? 2 : 1);
        }
    }
}

static void stop_comes_when_all_data_was_seen(void **state)
{
    const struct qcbmi_vnb_frame stop = { QCBMI_VNB_STOP, 0, 0 };
    struct qcbmi_vnb_order order = { .size = 65536, .data_size = 2, .data_seen = 2 };
    struct qcbm_error err = { 0 };

    (void)state;
    assert_int_equal(qcbmi_vnb_frame_check(&stop, 0, &order, &err), 0);
    order.data_seen = 3;
    assert_failure(qcbmi_vnb_frame_check(&stop, 0, &order, &err), &err, QCBM_E_CORRUPT, 0, "have 3 bytes");
}

static void what_a_frame_carries_ends_a_line(void **state)
{
    uint8_t end[QCBMI_VNB_LINE_END];
    struct qcbm_error err = { 0 };

    (void)state;
    qcbmi_vnb_line_end_store(end);
    assert_memory_equal(end, "\r\n", 2);
    assert_int_equal(qcbmi_vnb_line_end_check(end, 5, &err), 0);
    end[0] = '\n';
    assert_failure(qcbmi_vnb_line_end_check(end, 5, &err), &err, QCBM_E_CORRUPT, 5, "does not end where");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_is_read_and_stored_as_documented),
        cmocka_unit_test(any_other_byte_in_a_line_is_no_frame),
        cmocka_unit_test(every_rule_of_the_order_is_kept),
        cmocka_unit_test(stop_comes_when_all_data_was_seen),
        cmocka_unit_test(what_a_frame_carries_ends_a_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
