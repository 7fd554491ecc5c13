/* vnb_frame.c - the frames of virtnbdbackup's stream: bytes to structs and back (docs/delta-format.md)
 * SPDX-License-Identifier: MIT */
#include "format/vnb_frame.h"

#include <inttypes.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"

enum { /* of the line */
       OFF_START = 5,
       OFF_LENGTH = 22,
       DIGITS = 16,
       OFF_END = 38
};

static const char kinds[][5] = {
    [QCBMI_VNB_META] = "meta", [QCBMI_VNB_DATA] = "data", [QCBMI_VNB_ZERO] = "zero",
    [QCBMI_VNB_STOP] = "stop", [QCBMI_VNB_COMP] = "comp",
};
#define N_KINDS (sizeof kinds / sizeof kinds[0])

static const char hex[] = "0123456789abcdef";

static bool take_number(const uint8_t *p, uint64_t *out)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < DIGITS; i++) {
        const char *digit = p[i] ? strchr(hex, p[i]) : NULL;

        if (!digit)
            return false;
        v = v << 4 | (uint64_t)(digit - hex);
    }
    *out = v;
    return true;
}

int qcbmi_vnb_frame_parse(const uint8_t bytes[QCBMI_VNB_HEAD], uint64_t at, struct qcbmi_vnb_frame *out,
                          struct qcbm_error *err)
{
    struct qcbmi_vnb_frame f = { QCBMI_VNB_META, 0, 0 };
    size_t kind = 0;

    while (kind < N_KINDS && memcmp(bytes, kinds[kind], 4) != 0)
        kind++;
    if (kind == N_KINDS || bytes[OFF_START - 1] != ' ' || bytes[OFF_LENGTH - 1] != ' ' ||
        memcmp(bytes + OFF_END, "\r\n", 2) != 0 || !take_number(bytes + OFF_START, &f.start) ||
        !take_number(bytes + OFF_LENGTH, &f.length))
        return qcbmi_fail(err, QCBM_E_CORRUPT, at, "virtnbdbackup stream: no frame begins here");
    f.kind = (enum qcbmi_vnb_kind)kind;
    *out = f;
    return 0;
}

static int check_stop(const struct qcbmi_vnb_frame *f, uint64_t at, const struct qcbmi_vnb_order *order,
                      struct qcbm_error *err)
{
    if (f->start || f->length)
        return qcbmi_fail(err, QCBM_E_CORRUPT, at, "virtnbdbackup stream: a stop frame with numbers in it");
    if (order->data_seen != order->data_size)
        return qcbmi_fail(err, QCBM_E_CORRUPT, at,
                          "virtnbdbackup stream: its data frames have %" PRIu64 " bytes, and its dataSize is %" PRIu64,
                          order->data_seen, order->data_size);
    return 0;
}

static int check_range(const struct qcbmi_vnb_frame *f, uint64_t at, struct qcbmi_vnb_order *order,
                       struct qcbm_error *err)
{
    const char *kind = kinds[f->kind];

    if (f->length == 0)
        return qcbmi_fail(err, QCBM_E_CORRUPT, at, "virtnbdbackup stream: a %s frame of no bytes", kind);
    if (f->start < order->end)
        return qcbmi_fail(err, QCBM_E_CORRUPT, at,
                          "virtnbdbackup stream: a %s frame of disk offset %" PRIu64
                          ", where the one before ends at %" PRIu64,
                          kind, f->start, order->end);
    if (!range_fits(f->start, f->length, order->size))
        return qcbmi_fail(err, QCBM_E_CORRUPT, at,
                          "virtnbdbackup stream: a %s frame of %" PRIu64 " bytes at disk offset %" PRIu64
                          " passes the end of the disk, %" PRIu64,
                          kind, f->length, f->start, order->size);
    order->end = f->start + f->length;
    if (f->kind == QCBMI_VNB_DATA)
        order->data_seen += f->length; /* cannot overflow: the ranges lie beside each other on the disk */
    return 0;
}

int qcbmi_vnb_frame_check(const struct qcbmi_vnb_frame *f, uint64_t at, struct qcbmi_vnb_order *order,
                          struct qcbm_error *err)
{
    switch (f->kind) {
    case QCBMI_VNB_DATA:
    case QCBMI_VNB_ZERO:
        return check_range(f, at, order, err);
    case QCBMI_VNB_STOP:
        return check_stop(f, at, order, err);
    case QCBMI_VNB_META:
    case QCBMI_VNB_COMP:
        break;
    }
    return qcbmi_fail(err, QCBM_E_CORRUPT, at, "virtnbdbackup stream: a %s frame where none can be", kinds[f->kind]);
}

int qcbmi_vnb_line_end_check(const uint8_t bytes[QCBMI_VNB_LINE_END], uint64_t at, struct qcbm_error *err)
{
    if (memcmp(bytes, "\r\n", QCBMI_VNB_LINE_END) != 0)
        return qcbmi_fail(err, QCBM_E_CORRUPT, at,
                          "virtnbdbackup stream: what a frame carries does not end where its length says");
    return 0;
}

static void put_number(uint8_t *to, uint64_t v)
{
    for (unsigned i = 0; i < DIGITS; i++)
        to[i] = (uint8_t)hex[v >> 4 * (DIGITS - 1 - i) & 15];
}

void qcbmi_vnb_frame_store(uint8_t to[QCBMI_VNB_HEAD], const struct qcbmi_vnb_frame *f)
{
    memcpy(to, kinds[f->kind], 4);
    to[OFF_START - 1] = to[OFF_LENGTH - 1] = ' ';
    put_number(to + OFF_START, f->start);
    put_number(to + OFF_LENGTH, f->length);
    qcbmi_vnb_line_end_store(to + OFF_END);
}

void qcbmi_vnb_line_end_store(uint8_t to[QCBMI_VNB_LINE_END])
{
    memcpy(to, "\r\n", QCBMI_VNB_LINE_END);
}
