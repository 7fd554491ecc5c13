/* content.c - the digest over the records of a delta: the same in every form, however the records are cut
 * SPDX-License-Identifier: MIT */
#include "delta/content.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"

#define ENTRY_BYTES 32u

struct qcbmi_delta_content {
    struct qcbmi_digest_state entries;
    uint64_t zero_from, zero_end; /* pieces of zeros whose entry is not written yet; empty if equal */
    uint64_t at;                  /* the piece that is being put together, */
    uint64_t fill;                /* and how many bytes of it are in .piece */
    uint8_t piece[QCBMI_CONTENT_BLOCK];
};

int qcbmi_content_begin(struct qcbmi_delta_content **out, struct qcbm_error *err)
{
    struct qcbmi_delta_content *c = qcbmi_alloc_array(1, sizeof(*c), err);
    int ret = c ? qcbmi_digest_begin(&c->entries, err) : QCBM_E_NOMEM;

    if (ret < 0) {
        free(c);
        c = NULL;
    }
    *out = c;
    return ret;
}

static void add_entry(struct qcbmi_delta_content *c, uint64_t offset, uint64_t length, const uint8_t *bytes)
{
    uint8_t entry[ENTRY_BYTES] = { 0 };

    be64_store(entry, offset);
    be64_store(entry + 8, length);
    if (bytes)
        qcbmi_digest(bytes, (size_t)length, entry + 16);
    qcbmi_digest_add(&c->entries, entry, sizeof(entry));
}

static void end_zeros(struct qcbmi_delta_content *c)
{
    if (c->zero_end > c->zero_from)
        add_entry(c, c->zero_from, c->zero_end - c->zero_from, NULL);
    c->zero_from = c->zero_end = 0;
}

/* Whole pieces of zeros. */
static void add_zeros(struct qcbmi_delta_content *c, uint64_t offset, uint64_t length)
{
    if (c->zero_end == c->zero_from || c->zero_end != offset) {
        end_zeros(c);
        c->zero_from = offset;
    }
    c->zero_end = offset + length;
}

static void add_piece(struct qcbmi_delta_content *c, uint64_t offset, uint64_t length, const uint8_t *bytes)
{
    if (bytes_are_zero(bytes, length)) {
        add_zeros(c, offset, length);
        return;
    }
    end_zeros(c);
    add_entry(c, offset, length, bytes);
}

static void end_piece(struct qcbmi_delta_content *c)
{
    if (c->fill)
        add_piece(c, c->at, c->fill, c->piece);
    c->fill = 0;
}

static uint64_t left_of_block(uint64_t offset)
{
    return QCBMI_CONTENT_BLOCK - offset % QCBMI_CONTENT_BLOCK;
}

/* A part of a block. @bytes NULL: zeros. */
static void collect(struct qcbmi_delta_content *c, uint64_t offset, uint64_t length, const uint8_t *bytes)
{
    if (c->fill && c->at + c->fill != offset)
        end_piece(c);
    if (c->fill == 0)
        c->at = offset;
    if (bytes)
        memcpy(c->piece + c->fill, bytes, (size_t)length);
    else
        memset(c->piece + c->fill, 0, (size_t)length);
    c->fill += length;
    if (left_of_block(offset) == length)
        end_piece(c);
}

/* Up to the next whole block, or all if there is none. */
static uint64_t head_of(uint64_t offset, uint64_t length)
{
    return offset % QCBMI_CONTENT_BLOCK ? u64_min(left_of_block(offset), length)
                                        : (length < QCBMI_CONTENT_BLOCK ? length : 0);
}

void qcbmi_content_zero(struct qcbmi_delta_content *c, uint64_t offset, uint64_t length)
{
    uint64_t head = head_of(offset, length), whole;

    if (head)
        collect(c, offset, head, NULL);
    offset += head;
    length -= head;
    whole = align_down(length, QCBMI_CONTENT_BLOCK);
    if (whole) {
        end_piece(c);
        add_zeros(c, offset, whole);
    }
    if (length > whole)
        collect(c, offset + whole, length - whole, NULL);
}

void qcbmi_content_data(struct qcbmi_delta_content *c, uint64_t offset, uint64_t length, const uint8_t *bytes)
{
    while (length) {
        uint64_t n = u64_min(left_of_block(offset), length);

        if (n == QCBMI_CONTENT_BLOCK) {
            end_piece(c);
            add_piece(c, offset, n, bytes);
        } else {
            collect(c, offset, n, bytes);
        }
        offset += n;
        bytes += n;
        length -= n;
    }
}

void qcbmi_content_end(struct qcbmi_delta_content *c, uint8_t out[QCBMI_DIGEST_BYTES])
{
    end_piece(c);
    end_zeros(c);
    qcbmi_digest_end(&c->entries, out);
}

void qcbmi_content_free(struct qcbmi_delta_content *c)
{
    uint8_t unused[QCBMI_DIGEST_BYTES];

    if (c && c->entries.xxh)
        qcbmi_digest_end(&c->entries, unused);
    free(c);
}
