/* rbd_stream.c - the records of `rbd export-diff`: bytes to structs and back (docs/delta-format.md)
 * SPDX-License-Identifier: MIT */
#include "format/rbd_stream.h"

#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/error.h"
#include "format/q2_limits.h"

static const char banners[2][QCBMI_RBD_BANNER + 1] = { "rbd diff v1\n", "rbd diff v2\n" };

/* A row for each tag. */
static const struct {
    uint8_t tag;
    enum qcbmi_rbd_kind kind;
    uint8_t fixed; /* bytes behind the tag, and behind the length of version 2, that are not payload */
} kinds[] = {
    { 'e', QCBMI_RBD_END, 0 },  { 'f', QCBMI_RBD_FROM, 4 },  { 't', QCBMI_RBD_TO, 4 },
    { 's', QCBMI_RBD_SIZE, 8 }, { 'w', QCBMI_RBD_DATA, 16 }, { 'z', QCBMI_RBD_ZERO, 16 },
};
#define N_KINDS (sizeof kinds / sizeof kinds[0])

/* The stream as it is read: what is said of it, and where. */
struct place {
    const uint8_t *bytes;
    size_t avail;
    uint64_t at;
    struct qcbm_error *err;
};

unsigned qcbmi_rbd_version(const uint8_t *bytes)
{
    for (unsigned i = 0; i < 2; i++)
        if (memcmp(bytes, banners[i], QCBMI_RBD_BANNER) == 0)
            return i + 1;
    return 0;
}

static int cut_short(const struct place *p)
{
    return qcbmi_fail(p->err, QCBM_E_CORRUPT, p->at,
                      "rbd diff: the stream ends inside a record, or without its end mark");
}

/* QCBMI_RBD_OTHER for a tag that no row has. */
static size_t find_kind(uint8_t tag)
{
    size_t i = 0;

    while (i < N_KINDS && kinds[i].tag != tag)
        i++;
    return i;
}

/* The numbers behind the tag, of which @fixed bytes are at @p. */
static void take_numbers(const uint8_t *p, struct qcbmi_rbd_record *r)
{
    if (r->kind == QCBMI_RBD_FROM || r->kind == QCBMI_RBD_TO) {
        r->payload = (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24;
    } else if (r->kind == QCBMI_RBD_SIZE) {
        r->length = le64_load(p);
    } else if (r->kind == QCBMI_RBD_DATA || r->kind == QCBMI_RBD_ZERO) {
        r->offset = le64_load(p);
        r->length = le64_load(p + 8);
        r->payload = r->kind == QCBMI_RBD_DATA ? r->length : 0;
    }
}

/* Version 2 says how many bytes follow: as many as the numbers say. */
static int check_told(const struct place *p, const struct qcbmi_rbd_record *r, uint64_t told, unsigned fixed)
{
    uint64_t len;

    if (!u64_add(fixed, r->payload, &len) || len != told)
        return qcbmi_fail(p->err, QCBM_E_CORRUPT, p->at,
                          "rbd diff: a record '%c' that is %" PRIu64 " bytes long and tells of %" PRIu64, p->bytes[0],
                          told, r->payload);
    return 0;
}

static int take_head(const struct place *p, unsigned version, struct qcbmi_rbd_record *out)
{
    struct qcbmi_rbd_record r = { .kind = QCBMI_RBD_OTHER };
    size_t row = find_kind(p->bytes[0]);
    unsigned fixed = row < N_KINDS ? kinds[row].fixed : 0;
    bool tells = version == 2 && p->bytes[0] != 'e';

    if (row == N_KINDS && !tells)
        return qcbmi_fail(p->err, QCBM_E_CORRUPT, p->at, "rbd diff: 0x%02x begins no record", p->bytes[0]);
    r.head = (tells ? 9u : 1u) + fixed;
    if (p->avail < r.head)
        return cut_short(p);
    if (row < N_KINDS) {
        r.kind = kinds[row].kind;
        take_numbers(p->bytes + r.head - fixed, &r);
    } else {
        r.payload = le64_load(p->bytes + 1);
    }
    *out = r;
    return tells ? check_told(p, &r, le64_load(p->bytes + 1), fixed) : 0;
}

static int check_metadata(const struct place *p, struct qcbmi_rbd_order *order, const struct qcbmi_rbd_record *r)
{
    if (order->seen[r->kind] || order->seen[QCBMI_RBD_DATA] || order->seen[QCBMI_RBD_ZERO])
        return qcbmi_fail(p->err, QCBM_E_CORRUPT, p->at, "rbd diff: a record '%c' %s", p->bytes[0],
                          order->seen[r->kind] ? "that was there already" : "behind the first one of data");
    if (r->kind == QCBMI_RBD_SIZE && r->length > Q2_MAX_OFFSET)
        return qcbmi_fail(p->err, QCBM_E_CORRUPT, p->at, "rbd diff: a disk of %" PRIu64 " bytes, allowed: up to 2^63",
                          r->length);
    if (r->kind != QCBMI_RBD_SIZE && r->payload > QCBMI_RBD_MAX_NAME)
        return qcbmi_fail(p->err, QCBM_E_CORRUPT, p->at,
                          "rbd diff: the name of a snapshot has %" PRIu64 " bytes, allowed: up to %u", r->payload,
                          QCBMI_RBD_MAX_NAME);
    if (r->kind == QCBMI_RBD_SIZE)
        order->size = r->length;
    return 0;
}

static int check_range(const struct place *p, struct qcbmi_rbd_order *order, const struct qcbmi_rbd_record *r)
{
    if (!order->seen[QCBMI_RBD_SIZE])
        return qcbmi_fail(p->err, QCBM_E_CORRUPT, p->at, "rbd diff: no size of the disk in front of its data");
    if (r->length == 0)
        return qcbmi_fail(p->err, QCBM_E_CORRUPT, p->at, "rbd diff: a record '%c' of no bytes", p->bytes[0]);
    if (r->offset < order->end)
        return qcbmi_fail(p->err, QCBM_E_CORRUPT, p->at,
                          "rbd diff: a record '%c' of disk offset %" PRIu64 ", where the one before ends at %" PRIu64,
                          p->bytes[0], r->offset, order->end);
    if (!range_fits(r->offset, r->length, order->size))
        return qcbmi_fail(p->err, QCBM_E_CORRUPT, p->at,
                          "rbd diff: %" PRIu64 " bytes at disk offset %" PRIu64 " pass the end of the disk, %" PRIu64,
                          r->length, r->offset, order->size);
    order->end = r->offset + r->length;
    return 0;
}

static int check_order(const struct place *p, struct qcbmi_rbd_order *order, const struct qcbmi_rbd_record *r)
{
    switch (r->kind) {
    case QCBMI_RBD_FROM:
    case QCBMI_RBD_TO:
    case QCBMI_RBD_SIZE:
        return check_metadata(p, order, r);
    case QCBMI_RBD_DATA:
    case QCBMI_RBD_ZERO:
        return check_range(p, order, r);
    case QCBMI_RBD_END:
        if (!order->seen[QCBMI_RBD_SIZE])
            return qcbmi_fail(p->err, QCBM_E_CORRUPT, p->at, "rbd diff: no size of the disk in it");
        return 0;
    case QCBMI_RBD_OTHER:
        return 0;
    }
    return 0;
}

int qcbmi_rbd_parse(const uint8_t *bytes, size_t avail, uint64_t at, struct qcbmi_rbd_order *order,
                    struct qcbmi_rbd_record *out, struct qcbm_error *err)
{
    const struct place p = { bytes, avail, at, err };
    int ret = avail ? take_head(&p, order->version, out) : cut_short(&p);

    if (ret == 0)
        ret = check_order(&p, order, out);
    if (ret == 0)
        order->seen[out->kind] = true;
    return ret;
}

size_t qcbmi_rbd_banner_store(uint8_t *to)
{
    memcpy(to, banners[0], QCBMI_RBD_BANNER);
    return QCBMI_RBD_BANNER;
}

size_t qcbmi_rbd_store(uint8_t *to, const struct qcbmi_rbd_record *r)
{
    size_t row = 0;

    while (kinds[row].kind != r->kind)
        row++;
    to[0] = kinds[row].tag;
    if (r->kind == QCBMI_RBD_FROM || r->kind == QCBMI_RBD_TO) {
        for (unsigned i = 0; i < 4; i++)
            to[1 + i] = (uint8_t)(r->payload >> 8 * i);
    } else if (r->kind == QCBMI_RBD_SIZE) {
        le64_store(to + 1, r->length);
    } else if (r->kind == QCBMI_RBD_DATA || r->kind == QCBMI_RBD_ZERO) {
        le64_store(to + 1, r->offset);
        le64_store(to + 9, r->length);
    }
    return 1 + (size_t)kinds[row].fixed;
}
