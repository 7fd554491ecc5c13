/* extents_read_xen.c - extents as numbers of clusters, in the JSON of XCP-ng's tool for qcow2
 * SPDX-License-Identifier: MIT */
#include <inttypes.h>

#include "extents_fields.h"
#include "extents_reader.h"

enum { SIZE, BITS, CLUSTERS, N_ROWS, MIN_BITS = 9, MAX_BITS = 21 };

static const struct field rows[N_ROWS] = {
    { "virtual_size", FIELD_NUMBER },
    { "cluster_bits", FIELD_NUMBER },
    { "data_clusters", FIELD_TEXT },
};

/* Clusters @first to @last. */
static int give(struct extents_reader *r, uint64_t bits, uint64_t first, uint64_t last)
{
    uint64_t size = r->from->size, n = (size >> bits) + ((size & ((UINT64_C(1) << bits) - 1)) > 0);
    struct qcbm_extent e = { .dirty = true };

    if (first > last || last >= n)
        return text_in_fail(&r->text, "clusters %" PRIu64 " to %" PRIu64 " are none of the disk, which has %" PRIu64,
                            first, last, n);
    e.offset = first << bits;
    e.length = (last == n - 1 ? size : (last + 1) << bits) - e.offset;
    return extents_reader_give(r, &e);
}

/* As newer versions have it: the first and the last. */
static int read_pair(struct extents_reader *r, uint64_t *first, uint64_t *last)
{
    int ret = json_in_open(&r->text, '[');

    text_in_space(&r->text);
    if (ret == 0)
        ret = text_in_u64(&r->text, first);
    text_in_space(&r->text);
    if (ret == 0 && !text_in_take(&r->text, ','))
        ret = text_in_fail_missing(&r->text, ',');
    text_in_space(&r->text);
    if (ret == 0)
        ret = text_in_u64(&r->text, last);
    text_in_space(&r->text);
    if (ret == 0 && !text_in_take(&r->text, ']'))
        ret = text_in_fail_missing(&r->text, ']');
    return ret;
}

static int read_cluster(struct extents_reader *r, uint64_t bits)
{
    uint64_t first = 0, last = 0;
    int ret;

    text_in_space(&r->text);
    if (text_in_peek(&r->text) == '[') {
        ret = read_pair(r, &first, &last);
    } else {
        ret = text_in_u64(&r->text, &first);
        last = first;
    }
    return ret < 0 ? ret : give(r, bits, first, last);
}

static int read_clusters(struct extents_reader *r, uint64_t bits)
{
    bool first = true;
    int ret = json_in_open(&r->text, '[');

    while (ret == 0 && (ret = json_in_next(&r->text, ']', &first)) == 1)
        ret = read_cluster(r, bits);
    return ret;
}

/* The size of clusters must be known before their numbers are read. */
static int check_bits(struct extents_reader *r, struct fields *f)
{
    uint64_t bits;
    int ret = fields_check(&r->text, f, 1u << BITS);

    if (ret < 0)
        return ret;
    if (!(f->given & 1u << BITS))
        return text_in_fail(&r->text, "cluster_bits do not come before data_clusters");
    bits = f->values[BITS].number;
    if (bits < MIN_BITS || bits > MAX_BITS)
        return text_in_fail(&r->text, "cluster_bits of %" PRIu64 " are none of a qcow2 image", bits);
    return 0;
}

static int read_member(struct extents_reader *r, struct fields *f, const struct json_in_value *name)
{
    unsigned i = fields_find(f, name);
    int ret;

    if (i == N_ROWS)
        return text_in_fail(&r->text, "%s is not known here", name->text);
    ret = fields_note(&r->text, f, i);
    if (ret == 0 && i == CLUSTERS)
        ret = check_bits(r, f);
    if (ret < 0)
        return ret;
    return i == CLUSTERS ? read_clusters(r, f->values[BITS].number) : json_in_value(&r->text, &f->values[i]);
}

int extents_read_xen_json(struct extents_reader *r)
{
    struct fields f = { .rows = rows, .n = N_ROWS, .what = "the object" };
    struct json_in_value name;
    bool first = true;
    int ret = json_in_open(&r->text, '{');

    while (ret == 0 && (ret = json_in_member(&r->text, &first, &name)) == 1)
        ret = read_member(r, &f, &name);
    for (unsigned i = 0; ret == 0 && i < N_ROWS; i++) {
        if (!(f.given & 1u << i))
            ret = text_in_fail(&r->text, "the object is without %s", rows[i].name);
    }
    if (ret == 0)
        ret = fields_check(&r->text, &f, 1u << SIZE | 1u << BITS);
    if (ret == 0 && f.values[SIZE].number / 512 * 512 != r->from->size)
        ret = text_in_fail(&r->text, "the extents are of a disk of %" PRIu64 " bytes, this one has %" PRIu64,
                           f.values[SIZE].number, r->from->size);
    return ret < 0 ? ret : text_in_end(&r->text);
}
