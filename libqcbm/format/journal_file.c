/* journal_file.c - a journal over several images: header, records, end mark, decision, marks (docs/journal-format.md)
 * SPDX-License-Identifier: MIT */
#include "format/journal_file.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/error.h"
#include "format/q2_cursor.h"
#include "format/q2_limits.h"

#define DIGEST QCBMI_DIGEST_BYTES
#define SECTOR QCBMI_JOURNAL_SECTOR
#define HEADER_DIGEST (QCBMI_JOURNAL_HEADER_BYTES - DIGEST) /* where it stands */
#define RECORD_FIXED 32u
#define MAX_PATH 4095u

static const uint8_t header_magic[8] = "QCBMJRNL";
static const uint8_t end_magic[8] = "QCBMDONE";
static const uint8_t state_magic[8] = "QCBMDCDE";
static const uint8_t mark_magic[8] = "QCBMSWCH";

enum record_kind { RECORD_NAME = 1, RECORD_DISK, RECORD_SECTOR, RECORD_GOAL, RECORD_UNDO };

void qcbmi_journal_disk_free(struct qcbmi_journal_disk *d)
{
    for (size_t k = 0; k < d->n_goals; k++)
        free(d->goals[k].name);
    free(d->goals);
    free(d->sectors);
    free(d->target);
    free(d->image);
    free(d->overlay);
    free(d->temporary);
    free(d->undo);
    *d = (struct qcbmi_journal_disk){ 0 };
}

void qcbmi_journal_free(struct qcbmi_journal *j)
{
    for (uint32_t i = 0; j->disks && i < j->n_disks; i++)
        qcbmi_journal_disk_free(&j->disks[i]);
    free(j->disks);
    free(j->name);
    *j = (struct qcbmi_journal){ 0 };
}

int qcbmi_journal_add_sector(struct qcbmi_journal_disk *d, const struct qcbmi_journal_sector *s, struct qcbm_error *err)
{
    if (qcbmi_grow_array(&d->sectors, &d->sectors_capacity, d->n_sectors, sizeof(*s), err) < 0)
        return QCBM_E_NOMEM;
    d->sectors[d->n_sectors++] = *s;
    return 0;
}

static int add_goal(struct qcbmi_journal_disk *d, const struct qcbmi_journal_goal *goal, const void *name, size_t len,
                    struct qcbm_error *err)
{
    struct qcbmi_journal_goal *g;

    if (qcbmi_grow_array(&d->goals, &d->goals_capacity, d->n_goals, sizeof(*g), err) < 0)
        return QCBM_E_NOMEM;
    g = &d->goals[d->n_goals];
    *g = *goal;
    g->name = qcbmi_memdup_nul(name, len, err);
    if (!g->name)
        return QCBM_E_NOMEM;
    d->n_goals++;
    return 0;
}

int qcbmi_journal_add_goal(struct qcbmi_journal_disk *d, enum qcbmi_journal_goal_kind kind, const char *name,
                           uint32_t gran_bits, uint64_t dirty, struct qcbm_error *err)
{
    if (!name[0] || strlen(name) > Q2_MAX_BITMAP_NAME)
        return qcbmi_fail(err, QCBM_E_LIMIT, QCBM_NO_OFFSET, "a name of a bitmap has 1 to %u bytes",
                          (unsigned)Q2_MAX_BITMAP_NAME);
    return add_goal(d, &(struct qcbmi_journal_goal){ kind, gran_bits, dirty, NULL }, name, strlen(name), err);
}

/* ---- stored -------------------------------------------------------------------------------------------- */

/* First the length is reckoned with @to NULL, then the bytes are put down. */
struct put {
    uint8_t *to;
    uint64_t at, record; /* of the record at hand */
    uint64_t n_records;
};

static void put_bytes(struct put *p, const void *bytes, size_t len)
{
    if (p->to && len)
        memcpy(p->to + p->at, bytes, len);
    p->at += len;
}

static void put_u32(struct put *p, uint32_t v)
{
    uint8_t raw[4];

    be32_store(raw, v);
    put_bytes(p, raw, sizeof(raw));
}

static void put_u64(struct put *p, uint64_t v)
{
    uint8_t raw[8];

    be64_store(raw, v);
    put_bytes(p, raw, sizeof(raw));
}

static void put_text(struct put *p, const char *text)
{
    uint32_t len = text ? (uint32_t)strlen(text) : 0;

    put_u32(p, len);
    put_bytes(p, text, len);
}

static void begin_record(struct put *p, enum record_kind kind, uint32_t disk)
{
    p->record = p->at;
    put_u32(p, kind);
    put_u32(p, disk);
    put_u64(p, p->n_records++);
    put_u64(p, 0); /* its length, once it is known */
    put_u64(p, 0);
}

static void end_record(struct put *p)
{
    uint64_t len = p->at - p->record - RECORD_FIXED;

    p->at = align_up(p->at, 8);
    if (p->to) {
        be64_store(p->to + p->record + 16, len);
        qcbmi_digest(p->to + p->record, (size_t)(p->at - p->record), p->to + p->at);
    }
    p->at += DIGEST;
}

static void put_disk(struct put *p, const struct qcbmi_journal_disk *d, uint32_t index)
{
    begin_record(p, RECORD_DISK, index);
    put_u32(p, d->flags);
    put_u32(p, 0);
    put_u64(p, d->dev);
    put_u64(p, d->ino);
    put_u64(p, d->size);
    put_bytes(p, d->identity, DIGEST);
    put_bytes(p, d->first, DIGEST);
    put_u64(p, d->overlay_len);
    put_bytes(p, d->overlay_digest, DIGEST);
    put_text(p, d->target);
    put_text(p, d->image);
    put_text(p, d->overlay);
    put_text(p, d->temporary);
    end_record(p);
    if (d->undo) {
        begin_record(p, RECORD_UNDO, index);
        put_text(p, d->undo);
        end_record(p);
    }
    for (size_t i = 0; i < d->n_sectors; i++) {
        const struct qcbmi_journal_sector *s = &d->sectors[i];

        begin_record(p, RECORD_SECTOR, index);
        put_u32(p, s->stage);
        put_u32(p, s->of_overlay);
        put_u64(p, s->off);
        put_bytes(p, s->before, SECTOR);
        put_bytes(p, s->after, SECTOR);
        end_record(p);
    }
    for (size_t i = 0; i < d->n_goals; i++) {
        begin_record(p, RECORD_GOAL, index);
        put_u32(p, d->goals[i].kind);
        put_u32(p, d->goals[i].gran_bits);
        put_u64(p, d->goals[i].dirty);
        put_text(p, d->goals[i].name);
        end_record(p);
    }
}

static void put_records(struct put *p, const struct qcbmi_journal *j)
{
    begin_record(p, RECORD_NAME, 0);
    put_text(p, j->name);
    end_record(p);
    for (uint32_t i = 0; i < j->n_disks; i++)
        put_disk(p, &j->disks[i], i);
}

static void put_header(uint8_t *to, const struct qcbmi_journal *j, uint64_t records_end, uint64_t n_records)
{
    memcpy(to, header_magic, sizeof(header_magic));
    be32_store(to + 8, QCBMI_JOURNAL_VERSION);
    be32_store(to + 12, j->n_disks);
    be64_store(to + 16, n_records);
    be64_store(to + 24, records_end);
    be64_store(to + 32, j->len);
    be32_store(to + 56, j->change);
    qcbmi_digest(to + QCBMI_JOURNAL_HEADER_BYTES, (size_t)(records_end - QCBMI_JOURNAL_HEADER_BYTES), to + 40);
    qcbmi_digest(to, HEADER_DIGEST, to + HEADER_DIGEST);
}

/* Behind the records: the end mark, the decision, and the marks, each in sectors of its own. */
static void set_places(struct qcbmi_journal *j, uint64_t records_end)
{
    j->state_at = align_up(records_end, SECTOR) + SECTOR;
    j->len = j->state_at + SECTOR + align_up((uint64_t)j->n_disks * QCBMI_JOURNAL_MARK_BYTES, SECTOR);
}

/* One that nobody could read is no journal: whoever wrote by it would find no way back. */
static int check_texts(const struct qcbmi_journal *j, struct qcbm_error *err)
{
    bool fit = strlen(j->name) <= Q2_MAX_BITMAP_NAME;

    for (uint32_t i = 0; fit && i < j->n_disks; i++) {
        const struct qcbmi_journal_disk *d = &j->disks[i];

        fit = d->target[0] && strlen(d->target) <= Q2_MAX_BITMAP_NAME && strlen(d->image) <= MAX_PATH &&
              strlen(d->overlay) <= MAX_PATH && strlen(d->temporary) <= MAX_PATH &&
              (!d->undo || strlen(d->undo) <= MAX_PATH);
    }
    return fit ? 0
               : qcbmi_fail(
                     err, QCBM_E_LIMIT, QCBM_NO_OFFSET,
                     "a name of a disk has 1 to %u bytes, a path at most %u: the journal cannot have a longer one",
                     (unsigned)Q2_MAX_BITMAP_NAME, MAX_PATH);
}

int qcbmi_journal_store(struct qcbmi_journal *j, uint8_t **bytes, struct qcbm_error *err)
{
    struct put p = { .at = QCBMI_JOURNAL_HEADER_BYTES };
    int ret = check_texts(j, err);

    *bytes = NULL;
    if (ret < 0)
        return ret;
    put_records(&p, j);
    set_places(j, p.at);
    if (j->len > QCBMI_JOURNAL_MAX_BYTES)
        return qcbmi_fail(err, QCBM_E_LIMIT, QCBM_NO_OFFSET, "the journal would have %" PRIu64 " bytes", j->len);
    *bytes = qcbmi_alloc_array(j->len, 1, err);
    if (!*bytes)
        return QCBM_E_NOMEM;
    p = (struct put){ .to = *bytes, .at = QCBMI_JOURNAL_HEADER_BYTES };
    put_records(&p, j);
    put_header(*bytes, j, p.at, p.n_records);
    memcpy(j->header_digest, *bytes + HEADER_DIGEST, DIGEST);
    return 0;
}

uint64_t qcbmi_journal_end_at(const struct qcbmi_journal *j)
{
    return j->state_at - SECTOR;
}

void qcbmi_journal_end_store(const struct qcbmi_journal *j, uint8_t to[SECTOR])
{
    memset(to, 0, SECTOR);
    memcpy(to, end_magic, sizeof(end_magic));
    memcpy(to + 16, j->header_digest, DIGEST);
}

void qcbmi_journal_state_store(const struct qcbmi_journal *j, enum qcbmi_journal_state state, uint8_t *to)
{
    memset(to, 0, QCBMI_JOURNAL_STATE_BYTES);
    if (state == QCBMI_JOURNAL_OPEN)
        return;
    memcpy(to, state_magic, sizeof(state_magic));
    be32_store(to + 8, state);
    memcpy(to + 32, j->header_digest, DIGEST);
    qcbmi_digest(to, QCBMI_JOURNAL_STATE_BYTES - DIGEST, to + QCBMI_JOURNAL_STATE_BYTES - DIGEST);
}

uint64_t qcbmi_journal_mark_store(const struct qcbmi_journal *j, uint32_t index, uint8_t *to)
{
    uint8_t bound[DIGEST + 4];

    memcpy(bound, j->header_digest, DIGEST);
    be32_store(bound + DIGEST, index);
    memset(to, 0, QCBMI_JOURNAL_MARK_BYTES);
    memcpy(to, mark_magic, sizeof(mark_magic));
    be32_store(to + 8, index);
    qcbmi_digest(bound, sizeof(bound), to + 16);
    return j->state_at + SECTOR + (uint64_t)index * QCBMI_JOURNAL_MARK_BYTES;
}

/* ---- parsed -------------------------------------------------------------------------------------------- */

static int fail_damaged(struct qcbm_error *err, const char *what, uint64_t at)
{
    return qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "the journal is damaged: %s at 0x%" PRIx64, what, at);
}

/* A name or a path: no NUL in it, and not too long. */
static char *take_text(struct q2_cursor *c, uint32_t max, struct qcbm_error *err)
{
    uint32_t len = q2_take_u32(c);
    const uint8_t *bytes = len <= max ? q2_take(c, len) : NULL;

    if (!bytes || memchr(bytes, 0, len)) {
        c->overrun = true;
        return NULL;
    }
    return qcbmi_memdup_nul(bytes, len, err);
}

static void take_digest(struct q2_cursor *c, uint8_t to[DIGEST])
{
    const uint8_t *bytes = q2_take(c, DIGEST);

    if (bytes)
        memcpy(to, bytes, DIGEST);
}

/* Paths are full ones; a temporary one is that of the overlay and the suffix, since it will be removed. */
static bool paths_are_right(const struct qcbmi_journal_disk *d)
{
    size_t len = strlen(d->overlay);
    bool overlay = d->flags & QCBMI_JOURNAL_OVERLAY, device = d->flags & QCBMI_JOURNAL_DEVICE;

    if (!d->target[0] || d->image[0] != '/' || (overlay ? d->overlay[0] != '/' : len != 0) || (device && !overlay))
        return false;
    if (!overlay || device)
        return d->temporary[0] == '\0';
    return strncmp(d->temporary, d->overlay, len) == 0 && strcmp(d->temporary + len, QCBMI_JOURNAL_TEMPORARY) == 0;
}

static int parse_disk(struct q2_cursor *c, struct qcbmi_journal_disk *d, struct qcbm_error *err)
{
    d->flags = q2_take_u32(c);
    c->overrun |= q2_take_u32(c) != 0;
    d->dev = q2_take_u64(c);
    d->ino = q2_take_u64(c);
    d->size = q2_take_u64(c);
    take_digest(c, d->identity);
    take_digest(c, d->first);
    d->overlay_len = q2_take_u64(c);
    take_digest(c, d->overlay_digest);
    d->target = take_text(c, Q2_MAX_BITMAP_NAME, err);
    d->image = d->target ? take_text(c, MAX_PATH, err) : NULL;
    d->overlay = d->image ? take_text(c, MAX_PATH, err) : NULL;
    d->temporary = d->overlay ? take_text(c, MAX_PATH, err) : NULL;
    if (!d->temporary)
        return c->overrun ? 0 : QCBM_E_NOMEM;
    c->overrun |= d->flags >> 4 != 0 || !paths_are_right(d);
    return 0;
}

/* By stage, in whole sectors, each inside the image as it was or as the change made it. */
static int parse_sector(struct q2_cursor *c, struct qcbmi_journal_disk *d, struct qcbm_error *err)
{
    struct qcbmi_journal_sector s = { .stage = q2_take_u32(c) };
    uint32_t of_overlay = q2_take_u32(c);
    const uint8_t *before, *after;

    s.off = q2_take_u64(c);
    before = q2_take(c, SECTOR);
    after = q2_take(c, SECTOR);
    s.of_overlay = of_overlay;
    if (!after || of_overlay > 1 || s.off % SECTOR || s.off >> 56 || s.stage > QCBMI_JOURNAL_MAX_DISKS ||
        (d->n_sectors && s.stage < d->sectors[d->n_sectors - 1].stage) ||
        (s.of_overlay && (!(d->flags & QCBMI_JOURNAL_DEVICE) || s.off != 0)) ||
        (s.stage == 0 && memcmp(before, after, SECTOR) != 0)) {
        c->overrun = true;
        return 0;
    }
    memcpy(s.before, before, SECTOR);
    memcpy(s.after, after, SECTOR);
    return qcbmi_journal_add_sector(d, &s, err);
}

static int parse_goal(struct q2_cursor *c, struct qcbmi_journal_disk *d, struct qcbm_error *err)
{
    uint32_t kind = q2_take_u32(c);
    struct qcbmi_journal_goal g = { .gran_bits = q2_take_u32(c) };
    const uint8_t *name;
    uint32_t len;

    g.dirty = q2_take_u64(c);
    len = q2_take_u32(c);
    name = q2_take(c, len);
    if (!name || kind < QCBMI_GOAL_THERE || kind > QCBMI_GOAL_OLDER || len == 0 || len > Q2_MAX_BITMAP_NAME ||
        memchr(name, 0, len) || g.gran_bits < Q2_MIN_GRANULARITY_BITS || g.gran_bits > Q2_MAX_GRANULARITY_BITS) {
        c->overrun = true;
        return 0;
    }
    g.kind = (enum qcbmi_journal_goal_kind)kind;
    return add_goal(d, &g, name, len, err);
}

static int parse_undo(struct q2_cursor *c, struct qcbmi_journal_disk *d, struct qcbm_error *err)
{
    if (d->undo) {
        c->overrun = true;
        return 0;
    }
    d->undo = take_text(c, MAX_PATH, err);
    c->overrun |= d->undo && d->undo[0] != '/';
    return d->undo || c->overrun ? 0 : QCBM_E_NOMEM;
}

/* The name comes first, then each disk with what belongs to it. */
static int parse_body(struct q2_cursor *c, enum record_kind kind, uint32_t disk, uint32_t *n_seen,
                      struct qcbmi_journal *j, struct qcbm_error *err)
{
    if ((kind == RECORD_NAME) != (j->name == NULL) || kind > RECORD_UNDO || kind < RECORD_NAME) {
        c->overrun = true;
        return 0;
    }
    if (kind == RECORD_NAME) {
        j->name = take_text(c, Q2_MAX_BITMAP_NAME, err);
        return j->name || c->overrun ? 0 : QCBM_E_NOMEM;
    }
    if (kind == RECORD_DISK && disk == *n_seen && disk < j->n_disks)
        return parse_disk(c, &j->disks[(*n_seen)++], err);
    if (kind == RECORD_DISK || *n_seen == 0 || disk != *n_seen - 1) {
        c->overrun = true;
        return 0;
    }
    return kind == RECORD_SECTOR ? parse_sector(c, &j->disks[disk], err)
           : kind == RECORD_UNDO ? parse_undo(c, &j->disks[disk], err)
                                 : parse_goal(c, &j->disks[disk], err);
}

/* @c stands at the beginning of record @index. */
static int parse_record(struct q2_cursor *c, uint64_t index, uint64_t at, uint32_t *n_seen, struct qcbmi_journal *j,
                        struct qcbm_error *err)
{
    const uint8_t *start = c->at;
    uint32_t kind = q2_take_u32(c), disk = q2_take_u32(c);
    uint64_t number = q2_take_u64(c), len = q2_take_u64(c);
    struct q2_cursor body;
    size_t whole;
    int ret;

    c->overrun |= q2_take_u64(c) != 0;
    if (c->overrun || number != index || len > q2_cursor_left(c) || align_up(len, 8) + DIGEST > q2_cursor_left(c))
        return fail_damaged(err, "record", at);
    q2_cursor_init(&body, c->at, (size_t)len);
    whole = RECORD_FIXED + (size_t)align_up(len, 8);
    if (!qcbmi_digest_is(start, whole, start + whole))
        return fail_damaged(err, "record", at);
    ret = parse_body(&body, (enum record_kind)kind, disk, n_seen, j, err);
    if (ret == 0 && (body.overrun || q2_cursor_left(&body)))
        ret = fail_damaged(err, "content of record", at);
    (void)q2_take(c, (size_t)align_up(len, 8) + DIGEST);
    return ret;
}

static int parse_records(const uint8_t *bytes, uint64_t records_end, uint64_t n_records, struct qcbmi_journal *j,
                         struct qcbm_error *err)
{
    uint32_t n_seen = 0;
    struct q2_cursor c;
    int ret = 0;

    q2_cursor_init(&c, bytes + QCBMI_JOURNAL_HEADER_BYTES, (size_t)(records_end - QCBMI_JOURNAL_HEADER_BYTES));
    for (uint64_t i = 0; ret == 0 && i < n_records; i++)
        ret = parse_record(&c, i, (uint64_t)(c.at - bytes), &n_seen, j, err);
    if (ret == 0 && (n_seen != j->n_disks || q2_cursor_left(&c) || !j->name))
        ret = fail_damaged(err, "end of the records", records_end);
    return ret;
}

/* Bytes that only the end of the work writes: zeros, or what is expected of them. */
static int parse_state(const uint8_t *at, struct qcbmi_journal *j, struct qcbm_error *err)
{
    uint8_t want[QCBMI_JOURNAL_STATE_BYTES];

    for (enum qcbmi_journal_state s = QCBMI_JOURNAL_OPEN; s <= QCBMI_JOURNAL_DONE; s++) {
        qcbmi_journal_state_store(j, s, want);
        if (memcmp(at, want, sizeof(want)) == 0) {
            j->state = s;
            return 0;
        }
    }
    return fail_damaged(err, "decision", j->state_at);
}

static void parse_marks(const uint8_t *bytes, struct qcbmi_journal *j)
{
    for (uint32_t i = 0; i < j->n_disks; i++) {
        uint8_t want[QCBMI_JOURNAL_MARK_BYTES];
        uint64_t at = qcbmi_journal_mark_store(j, i, want);

        j->disks[i].marked = j->state != QCBMI_JOURNAL_OPEN && memcmp(bytes + at, want, sizeof(want)) == 0;
    }
}

static int parse_header(const uint8_t *bytes, uint64_t len, uint64_t *records_end, struct qcbmi_journal *j,
                        struct qcbm_error *err)
{
    if (len < QCBMI_JOURNAL_HEADER_BYTES || memcmp(bytes, header_magic, sizeof(header_magic)) != 0)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "this is no journal of qcbm");
    if (be32_load(bytes + 8) != QCBMI_JOURNAL_VERSION)
        return qcbmi_fail(err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET, "version %" PRIu32 " of journals is not known here",
                          be32_load(bytes + 8));
    if (!qcbmi_digest_is(bytes, HEADER_DIGEST, bytes + HEADER_DIGEST))
        return fail_damaged(err, "header", 0);
    j->n_disks = be32_load(bytes + 12);
    j->change = (enum qcbmi_journal_change)be32_load(bytes + 56);
    *records_end = be64_load(bytes + 24);
    if (j->n_disks == 0 || j->n_disks > QCBMI_JOURNAL_MAX_DISKS || *records_end < QCBMI_JOURNAL_HEADER_BYTES ||
        *records_end > QCBMI_JOURNAL_MAX_BYTES || be32_load(bytes + 56) > QCBMI_JOURNAL_REMOVES)
        return fail_damaged(err, "header", 0);
    set_places(j, *records_end);
    if (j->len != be64_load(bytes + 32) || j->len != len)
        return fail_damaged(err, "length", 32);
    memcpy(j->header_digest, bytes + HEADER_DIGEST, DIGEST);
    return 0;
}

int qcbmi_journal_parse(const uint8_t *bytes, uint64_t len, struct qcbmi_journal *j, struct qcbm_error *err)
{
    uint8_t end[SECTOR];
    uint64_t records_end = 0;
    int ret;

    *j = (struct qcbmi_journal){ 0 };
    ret = parse_header(bytes, len, &records_end, j, err);
    if (ret < 0)
        return ret;
    if (!qcbmi_digest_is(bytes + QCBMI_JOURNAL_HEADER_BYTES, (size_t)(records_end - QCBMI_JOURNAL_HEADER_BYTES),
                         bytes + 40))
        return fail_damaged(err, "records", QCBMI_JOURNAL_HEADER_BYTES);
    qcbmi_journal_end_store(j, end);
    if (memcmp(bytes + qcbmi_journal_end_at(j), end, sizeof(end)) != 0)
        return fail_damaged(err, "end mark", qcbmi_journal_end_at(j));
    j->disks = qcbmi_alloc_array(j->n_disks, sizeof(*j->disks), err);
    if (!j->disks)
        return QCBM_E_NOMEM;
    ret = parse_records(bytes, records_end, be64_load(bytes + 16), j, err);
    if (ret == 0)
        ret = parse_state(bytes + j->state_at, j, err);
    if (ret == 0)
        parse_marks(bytes, j);
    return ret;
}
