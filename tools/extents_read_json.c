/* extents_read_json.c - extents in JSON, each an object: of nbdinfo, qemu-img map, oVirt and rbd
 * SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <string.h>

#include "extents_fields.h"
#include "extents_reader.h"

/* The members of all these objects; which of them there are tells the kinds apart. */
enum { OFFSET, START, LENGTH, TYPE, DESCRIPTION, DEPTH, PRESENT, ZERO, DIRTY, HOLE, EXISTS, N_MEMBERS };

#define BIT(member) (1u << (member))

static const struct field members[N_MEMBERS] = {
    { "offset", FIELD_NUMBER },    { "start", FIELD_NUMBER }, { "length", FIELD_NUMBER }, { "type", FIELD_NUMBER },
    { "description", FIELD_TEXT }, { "depth", FIELD_NUMBER }, { "present", FIELD_BOOL },  { "zero", FIELD_BOOL },
    { "dirty", FIELD_BOOL },       { "hole", FIELD_BOOL },    { "exists", FIELD_TEXT },
};

/* A kind of list: what its objects have. */
struct kind {
    enum extents_form form; /* JSON stands for JSONL, too */
    unsigned told_by;       /* a member that no later kind of this form has; 0: it is the last one */
    unsigned must, may;
    int (*judge)(struct extents_reader *r, const struct fields *f, struct qcbm_extent *e);
};

/* ---- what an extent of each kind says ------------------------------------------------------------------ */

/* The description keeps out maps of other things, whose types mean something else. */
static int judge_bitmap(struct extents_reader *r, const struct fields *f, struct qcbm_extent *e)
{
    uint64_t type = f->values[TYPE].number;
    bool described = f->given & BIT(DESCRIPTION);
    const char *text = described ? f->values[DESCRIPTION].text : "";

    if (type >= N_EXTENT_TYPES || (described && strcmp(text, extent_descriptions[type]) != 0))
        return text_in_fail(&r->text, "the extent at %" PRIu64 " is not of a dirty bitmap: type %" PRIu64 "%s%.80s",
                            e->offset, type, described ? ", " : "", text);
    e->dirty = type & 1;
    e->zero = type & 2;
    return 0;
}

/* Present is what this layer says of the range itself, be it zeros. */
static int judge_map(struct extents_reader *r, const struct fields *f, struct qcbm_extent *e)
{
    (void)r;
    e->dirty = f->values[DEPTH].number == 0 && (!(f->given & BIT(PRESENT)) || f->values[PRESENT].truth);
    e->zero = (f->given & BIT(ZERO)) && f->values[ZERO].truth;
    return 0;
}

static int judge_ovirt_dirty(struct extents_reader *r, const struct fields *f, struct qcbm_extent *e)
{
    (void)r;
    e->dirty = f->values[DIRTY].truth;
    e->zero = (f->given & BIT(ZERO)) && f->values[ZERO].truth;
    return 0;
}

/* A hole is what no entry of the image says anything of. */
static int judge_ovirt_zero(struct extents_reader *r, const struct fields *f, struct qcbm_extent *e)
{
    (void)r;
    e->dirty = !f->values[HOLE].truth;
    e->zero = f->values[ZERO].truth;
    return 0;
}

/* Only what changed is listed; what does not exist any more reads as zeros. */
static int judge_rbd(struct extents_reader *r, const struct fields *f, struct qcbm_extent *e)
{
    const char *exists = f->values[EXISTS].text;

    e->dirty = true;
    e->zero = strcmp(exists, "false") == 0;
    if (!e->zero && strcmp(exists, "true") != 0)
        return text_in_fail(&r->text, "exists of the extent at %" PRIu64 " is neither \"true\" nor \"false\"",
                            e->offset);
    return 0;
}

static const struct kind kinds[] = {
    { EXTENTS_JSON, BIT(START), BIT(START) | BIT(LENGTH) | BIT(DEPTH), BIT(PRESENT) | BIT(ZERO), judge_map },
    { EXTENTS_JSON, 0, BIT(OFFSET) | BIT(LENGTH) | BIT(TYPE), BIT(DESCRIPTION), judge_bitmap },
    { EXTENTS_OVIRT, BIT(DIRTY), BIT(START) | BIT(LENGTH) | BIT(DIRTY), BIT(ZERO) | BIT(HOLE), judge_ovirt_dirty },
    { EXTENTS_OVIRT, 0, BIT(START) | BIT(LENGTH) | BIT(ZERO) | BIT(HOLE), 0, judge_ovirt_zero },
    { EXTENTS_RBD, 0, BIT(OFFSET) | BIT(LENGTH) | BIT(EXISTS), 0, judge_rbd },
};

/* ---- lists --------------------------------------------------------------------------------------------- */

struct list {
    struct extents_reader *r;
    enum extents_form form;
    const struct kind *kind; /* of all extents, as the first one has it */
};

static const struct kind *find_kind(const struct list *l, const struct fields *f)
{
    const struct kind *k = kinds;

    while (k->form != l->form || (k->told_by && !(f->given & k->told_by)))
        k++;
    return k;
}

/* What another form has is known by name, but only JSON may have more than it should. */
static int check_members(struct list *l, const struct fields *f, const struct kind *kind)
{
    unsigned missing = kind->must & ~f->given, surplus = f->given & ~kind->must & ~kind->may;

    for (unsigned i = 0; i < N_MEMBERS; i++) {
        if (missing & BIT(i))
            return text_in_fail(&l->r->text, "an extent without %s", members[i].name);
        if (l->form != EXTENTS_JSON && (surplus & BIT(i)))
            return text_in_fail(&l->r->text, "an extent with %s, which is not known here", members[i].name);
    }
    if (l->kind && l->kind != kind)
        return text_in_fail(&l->r->text, l->form == EXTENTS_JSON ? "extents of a bitmap and of qemu-img map in one list"
                                                                 : "extents of two kinds in one list");
    l->kind = kind;
    return 0;
}

static int read_extent(struct list *l)
{
    struct fields f = { .rows = members, .n = N_MEMBERS, .what = "an extent", .others = l->form == EXTENTS_JSON };
    struct qcbm_extent e = { 0 };
    const struct kind *kind;
    int ret = fields_read(&l->r->text, &f);

    if (ret < 0)
        return ret;
    kind = find_kind(l, &f);
    ret = check_members(l, &f, kind);
    if (ret == 0)
        ret = fields_check(&l->r->text, &f, kind->must | kind->may);
    if (ret < 0)
        return ret;
    e.offset = f.values[kind->must & BIT(START) ? START : OFFSET].number;
    e.length = f.values[LENGTH].number;
    ret = kind->judge(l->r, &f, &e);
    return ret < 0 ? ret : extents_reader_give(l->r, &e);
}

int extents_read_list(struct extents_reader *r)
{
    struct list l = { .r = r, .form = r->from->form };
    bool first = true;
    int ret = json_in_open(&r->text, '[');

    while (ret == 0 && (ret = json_in_next(&r->text, ']', &first)) == 1)
        ret = read_extent(&l);
    return ret < 0 ? ret : text_in_end(&r->text);
}

int extents_read_lines(struct extents_reader *r)
{
    struct list l = { .r = r, .form = EXTENTS_JSON };
    bool first = true;
    int ret = 0;

    while (ret == 0 && (ret = json_in_line(&r->text, &first)) == 1)
        ret = read_extent(&l);
    return ret;
}
