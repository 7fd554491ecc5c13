/* qcbm-checkpoint.h - checkpoints over several disks; a part of qcbm.h
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_CHECKPOINT_H
#define QCBM_CHECKPOINT_H

#include "qcbm.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- checkpoints over several disks ------------------------------------------------------------------------------ */

/* A disk of a machine that does not run. The strings are the caller's. */
struct qcbm_checkpoint_disk {
    const char *target;  /* what the machine calls it, as "vda"; no two have the same */
    const char *image;   /* the image that is in use, a file or block device; no two are the same file */
    const char *overlay; /* qcbm_checkpoint_create(): a new image on top of it; NULL: none */
};

enum qcbm_checkpoint_flag {
    QCBM_CHECKPOINT_FREEZE = 1u << 0, /* bitmaps that record are disabled in the image that gets an overlay */
    QCBM_CHECKPOINT_RESUME = 1u << 1, /* a disk that has the bitmap already, recording, consistent and empty, is done */
    QCBM_CHECKPOINT_FORCE =
        1u << 2, /* though bitmaps are in use or stale, and over what is on the block device of an overlay */
    QCBM_CHECKPOINT_DRY_RUN = 1u << 3, /* find out and tell all, write nothing; images are opened for reading */
};

enum qcbm_checkpoint_outcome {
    QCBM_CHECKPOINT_CREATED = 1, /* the disk has the new bitmap, or would have it */
    QCBM_CHECKPOINT_THERE,       /* it had it already (QCBM_CHECKPOINT_RESUME) */
    /* of qcbm_checkpoint_recover(): */
    QCBM_CHECKPOINT_TAKEN_BACK, /* it is as it was */
    QCBM_CHECKPOINT_COMPLETED,  /* it has its new state now */
    QCBM_CHECKPOINT_COMPLETE,   /* it had it already */
    QCBM_CHECKPOINT_SUPERSET,   /* another program wrote to it in between: the bitmap has more than what changed */
    QCBM_CHECKPOINT_GONE        /* taken back, but its image is not there any more: nothing was done to it */
};

/* What becomes of a disk. */
struct qcbm_checkpoint_told {
    const char *name;                     /* of the checkpoint */
    const char *target, *image, *overlay; /* overlay NULL: there is none */
    enum qcbm_checkpoint_outcome outcome;
    uint64_t granularity;          /* of the new bitmap */
    uint64_t dirty_bytes;          /* of a superset, else 0 */
    const char *stand_in;          /* the older bitmap whose bits a superset has; NULL: all is dirty */
    uint32_t continued;            /* bitmaps of the image that go on in the overlay */
    uint32_t disabled;             /* bitmaps of the image that are disabled */
    uint64_t overlay_size;         /* bytes of the new image file */
    struct qcbm_plan_summary plan; /* of what is written to the image itself */
};
/* A non-zero return stops a dry run with QCBM_E_ABORTED; what is done is told all the same. */
typedef int qcbm_checkpoint_fn(void *opaque, const struct qcbm_checkpoint_told *disk);
/* In a dry run, a write to the image of @disk. */
typedef int qcbm_checkpoint_step_fn(void *opaque, const struct qcbm_checkpoint_told *disk,
                                    const struct qcbm_plan_step *step);

struct qcbm_checkpoint_options {
    size_t struct_size;
    unsigned flags;          /* enum qcbm_checkpoint_flag */
    unsigned open_flags;     /* QCBM_OPEN_NO_LOCK, in a dry run QCBM_OPEN_FORCE_SHARE as well */
    uint64_t granularity;    /* of the new bitmaps; 0 = QEMU's default for each image */
    const char *journal;     /* NULL: NAME.qcbm-checkpoint beside the first image that is no block device */
    const char *undo_folder; /* NULL, or where TARGET.undo is made for each image that is written to, see qcbm_undo() */
    qcbm_checkpoint_fn *disk; /* called for each disk, in their order, when all is done; may be NULL, as the next one */
    qcbm_checkpoint_step_fn *step;
    void *opaque; /* of both */
};
#define QCBM_CHECKPOINT_OPTIONS_INIT                                                                                   \
    {                                                                                                                  \
        sizeof(struct qcbm_checkpoint_options), 0, 0, 0, NULL, NULL, NULL, NULL, NULL                                  \
    }

struct qcbm_checkpoint_result {
    uint32_t disks, created, there; /* created: of those that were named */
};

/* Make a clean bitmap @name, which records, on each of @n disks (@disk_size is sizeof disks[0]), or on none: whatever
 * cuts it short, qcbm_checkpoint_recover() makes the one of it or the other. A disk with an overlay gets it there: the
 * overlay is a new image on top of the disk's, of its size, cluster size, kind of entries and compression, in which
 * each bitmap of that image that records and is consistent goes on, empty, of its name and granularity. On a block
 * device the overlay is put onto the device. Images are locked in the order of their files; nobody waits. While a
 * journal is open qcbm_open() for writing refuses each image that it is about.
 * @name: letters, digits, _ and -, and not in front, dots: QCBM_E_ARG.
 * Returns 0, QCBM_E_ARG (also: two disks are one file), QCBM_E_EXISTS (a disk has the bitmap; the overlay, the journal
 * or an undo file is there), QCBM_E_INUSE (a bitmap is in use: the disk may be open on another machine), QCBM_E_UNSAFE
 * (bitmaps are stale, a journal is
 * open), what qcbm_open(), qcbm_edit_plan() and qcbm_edit_commit() return; QCBM_E_UNSUPPORTED for an encrypted image
 * with an overlay. The message says which disk it is about, and what a failure has left. @out is filled on success. */
QCBM_API int qcbm_checkpoint_create(const char *name, const struct qcbm_checkpoint_disk *disks, size_t disk_size,
                                    size_t n, const struct qcbm_checkpoint_options *options,
                                    struct qcbm_checkpoint_result *out, size_t size, struct qcbm_error *err);

/* What was cut short. */
enum qcbm_checkpoint_change {
    QCBM_CHECKPOINT_CREATES, /* qcbm_checkpoint_create() */
    QCBM_CHECKPOINT_MENDS,   /* qcbm_checkpoint_mend() */
    QCBM_CHECKPOINT_REMOVES  /* qcbm_checkpoint_reclaim() */
};

struct qcbm_recover_result {
    bool forward; /* all disks have the new state; else all are as they were */
    uint32_t disks;
    uint32_t supersets; /* disks that another program wrote to in between: QCBM_CHECKPOINT_SUPERSET */
    enum qcbm_checkpoint_change change;
};

/* What was cut short is taken back if it had not been decided, else completed. Of @options QCBM_CHECKPOINT_DRY_RUN,
 * open_flags, disk and opaque count. A disk that a guest used between the cut and now gets a bitmap with all that may
 * have changed: the bits of the newest older bitmap that recorded all the time, or everything. Can itself be cut short,
 * and called again; when it returns 0 the journal is gone, and all that it left. The journal must belong to the user,
 * and the images must have their links to it: what a stranger's file says is not done.
 * Returns 0; QCBM_E_NOTFOUND, QCBM_E_CORRUPT, QCBM_E_UNSUPPORTED, QCBM_E_ARG (the journal), QCBM_E_UNSAFE (an image is
 * not the one that it was, or not linked to it: the message says where the journal belongs, or which one goes first),
 * QCBM_E_LOCKED (also: another command is at work with the journal), QCBM_E_EXISTS (there is another file by the name
 * of an overlay) and what qcbm_open() returns: nothing was changed then. QCBM_E_IO and others where the message says
 * that it is to be repeated. */
QCBM_API int qcbm_checkpoint_recover(const char *journal, const struct qcbm_checkpoint_options *options,
                                     struct qcbm_recover_result *out, size_t size, struct qcbm_error *err);

/* ---- checkpoints: what libvirt says of them ---------------------------------------------------------------------- */

/* A checkpoint is, on each disk, the bitmaps of its name in the layers from the top down to the one that was written to
 * when it was made; what changed since is what they say together. */
enum qcbm_checkpoint_reason {
    QCBM_CHECKPOINT_VALID,
    QCBM_CHECKPOINT_MISSING,    /* no layer has the bitmap */
    QCBM_CHECKPOINT_NOT_ON_TOP, /* a layer has it, and the top, which is written to, has not */
    QCBM_CHECKPOINT_GAP,        /* a layer between two that have it has not */
    QCBM_CHECKPOINT_DISABLED,   /* it does not record in some layer */
    QCBM_CHECKPOINT_IN_USE,     /* a program that used some layer ended without storing it */
    QCBM_CHECKPOINT_DAMAGED,    /* it, or a directory that may have it, cannot be read */
    /* A program that does not know bitmaps wrote to a layer that had it. libvirt sees none in that layer, and may take
     * the rest for all there is */
    QCBM_CHECKPOINT_STALE,
    /* By the XML a younger checkpoint begins in a layer further down, so there its own bitmaps are lost, which no rule
     * of libvirt sees: it covers the layers down to row->begins only */
    QCBM_CHECKPOINT_LATE
};
/* "valid", "missing", "not-on-top", "gap", "disabled", "in-use", "damaged", "stale", "late"; "?" for a value that is
 * none. */
QCBM_API const char *qcbm_checkpoint_reason_name(enum qcbm_checkpoint_reason reason);

struct qcbm_checkpoint_xml; /* see qcbm_checkpoint_xml_read() */

struct qcbm_checkpoint_verify_options {
    size_t struct_size;
    unsigned flags;           /* of qcbm_open(), but for QCBM_OPEN_WRITE */
    const char *const *names; /* checkpoints that there should be, on all disks; */
    size_t n_names;
    const struct qcbm_checkpoint_xml *const
        *xml; /* and on the disks that their XML has. 0 of both: all that are found */
    size_t n_xml;
    const struct qcbm_progress *progress; /* in rows, one after the other; may be NULL */
};
#define QCBM_CHECKPOINT_VERIFY_OPTIONS_INIT                                                                            \
    {                                                                                                                  \
        sizeof(struct qcbm_checkpoint_verify_options), 0, NULL, 0, NULL, 0, NULL                                       \
    }

struct qcbm_checkpoint_report; /* its strings live until qcbm_checkpoint_report_free() */

/* What libvirt would say of checkpoints on @disks (@elem_size = sizeof *disks of the caller), from the images alone: by
 * the rules of its --redefine-validate, which takes layers of different sizes. All layers are opened for reading. In
 * memory at a time are the bitmap directories of one disk's layers, and the bits of one checkpoint.
 * Returns 0 whatever the verdicts are; QCBM_E_ARG, QCBM_E_CHAIN, and what qcbm_open() returns. */
QCBM_API int qcbm_checkpoint_verify(const struct qcbm_checkpoint_disk *disks, size_t elem_size, size_t n,
                                    const struct qcbm_checkpoint_verify_options *options,
                                    struct qcbm_checkpoint_report **out, struct qcbm_error *err);

struct qcbm_checkpoint_summary {
    uint32_t checkpoints;      /* in the order that was asked for, or in which they were found */
    uint32_t rows, valid_rows; /* a checkpoint on a disk */
    uint32_t remarks;
};
QCBM_API int qcbm_checkpoint_report_summary(const struct qcbm_checkpoint_report *r, struct qcbm_checkpoint_summary *out,
                                            size_t size);

struct qcbm_checkpoint_row {
    const char *checkpoint, *disk; /* the name; the target */
    bool valid;
    enum qcbm_checkpoint_reason reason;
    const char *where;    /* the file name of the layer that is the reason; NULL if it is valid */
    const char *begins;   /* that of the lowest layer that has it; NULL: none has */
    uint32_t layers;      /* that have it, in whatever state */
    uint64_t granularity; /* of the first of them, bytes; 0 if that cannot be known */
    /* Over all layers, as libvirt's <size>: changed since then. QCBM_UNKNOWN if it is not valid; of a late one what
     * those layers say that have it. */
    uint64_t dirty_bytes;
    uint64_t tail_bytes; /* of these: behind the end of a layer that is shorter than the top, of which nobody knows */
};
/* @index in 0 .. rows - 1, checkpoint by checkpoint, in each disk by disk. Returns 0, QCBM_E_ARG. */
QCBM_API int qcbm_checkpoint_report_row(const struct qcbm_checkpoint_report *r, uint32_t index,
                                        struct qcbm_checkpoint_row *out, size_t size);

enum qcbm_checkpoint_remark_kind {
    QCBM_CHECKPOINT_ORPHAN,       /* a bitmap of no checkpoint that was asked for */
    QCBM_CHECKPOINT_ZOMBIE,       /* a checkpoint without a bitmap on any disk */
    QCBM_CHECKPOINT_DEBRIS,       /* a bitmap that libvirt makes for a moment, left behind: libvirt-tmp-... */
    QCBM_CHECKPOINT_GROWN_TAIL,   /* a layer that is shorter than the top: @bytes of that lie behind its end */
    QCBM_CHECKPOINT_SIZES_DIFFER, /* a layer that is longer than the top, by @bytes */
    QCBM_CHECKPOINT_BEGINS_LATE,  /* by the XML it is older than @other, which begins in @layer: QCBM_CHECKPOINT_LATE */
    /* A change of several disks was cut short, or is under way, and @layer is part of it: its bitmaps are not final.
     * @name is the path of the journal: qcbm_checkpoint_recover() */
    QCBM_CHECKPOINT_OPEN_JOURNAL
};
struct qcbm_checkpoint_remark {
    enum qcbm_checkpoint_remark_kind kind;
    const char *name;  /* of bitmap or checkpoint, the path of a journal, or NULL */
    const char *disk;  /* the target; NULL of a zombie */
    const char *layer; /* the file name; NULL of a zombie */
    uint64_t bytes;
    const char *other; /* a second checkpoint, or NULL */
};
/* @index in 0 .. remarks - 1. Returns 0, QCBM_E_ARG. */
QCBM_API int qcbm_checkpoint_report_remark(const struct qcbm_checkpoint_report *r, uint32_t index,
                                           struct qcbm_checkpoint_remark *out, size_t size);
/* NULL is fine. */
QCBM_API void qcbm_checkpoint_report_free(struct qcbm_checkpoint_report *r);

/* ---- checkpoints: libvirt's XML ---------------------------------------------------------------------------------- */

/* The XML of a checkpoint, and of a domain, strictly: UTF-8, well-formed, 1 MiB at most, no document type; of what
 * libvirt knows the elements below, each at most once, others are passed over. Strings live until the object is
 * freed. */
struct qcbm_checkpoint_xml_info {
    const char *name;
    const char *parent, *description; /* NULL: none */
    bool has_creation_time;
    uint64_t creation_time; /* seconds since 1970 */
    bool all_disks;         /* no list of disks: all of the domain */
    uint32_t disks;
};
struct qcbm_checkpoint_xml_disk {
    const char *name; /* the target */
    bool has_checkpoint;
    const char *bitmap; /* its name, that of the checkpoint if none is given. libvirt looks for the latter, always */
};
/* Returns 0, QCBM_E_CORRUPT (@err->offset is in @bytes), QCBM_E_UNSUPPORTED, QCBM_E_LIMIT, QCBM_E_ARG (a name that
 * libvirt does not take), QCBM_E_NOMEM. */
QCBM_API int qcbm_checkpoint_xml_read(const void *bytes, size_t len, struct qcbm_checkpoint_xml **out,
                                      struct qcbm_error *err);
QCBM_API int qcbm_checkpoint_xml_get_info(const struct qcbm_checkpoint_xml *xml, struct qcbm_checkpoint_xml_info *out,
                                          size_t size);
/* @index in 0 .. disks - 1. Returns 0, QCBM_E_ARG. */
QCBM_API int qcbm_checkpoint_xml_get_disk(const struct qcbm_checkpoint_xml *xml, uint32_t index,
                                          struct qcbm_checkpoint_xml_disk *out, size_t size);
/* NULL is fine. */
QCBM_API void qcbm_checkpoint_xml_free(struct qcbm_checkpoint_xml *xml);

struct qcbm_checkpoint_xml_content {
    size_t struct_size;
    const char *name;
    const char *parent, *description; /* NULL: none */
    uint64_t creation_time;           /* seconds since 1970 */
    const char *const *disks;         /* targets of those that have a bitmap called @name */
    size_t n_disks;
};
#define QCBM_CHECKPOINT_XML_CONTENT_INIT                                                                               \
    {                                                                                                                  \
        sizeof(struct qcbm_checkpoint_xml_content), NULL, NULL, NULL, 0, NULL, 0                                       \
    }
/* Give the XML of a checkpoint to @fn, as "virsh checkpoint-create DOMAIN FILE --redefine" takes it; its parent must
 * have been redefined before. Returns 0, QCBM_E_ARG (a name that libvirt does not take, no disk), QCBM_E_LIMIT,
 * QCBM_E_ABORTED. */
QCBM_API int qcbm_checkpoint_xml_write(const struct qcbm_checkpoint_xml_content *what, qcbm_write_fn *fn, void *opaque,
                                       struct qcbm_error *err);

struct qcbm_domain_xml;
struct qcbm_domain_xml_info {
    const char *name;
    const char *uuid; /* NULL: none */
    uint32_t disks;
};
enum qcbm_domain_disk_use {
    QCBM_DOMAIN_DISK_TAKEN,
    QCBM_DOMAIN_DISK_LEFT_OUT, /* libvirt makes no checkpoint of it: no hard disk, read-only, empty */
    QCBM_DOMAIN_DISK_UNFIT     /* it should be in a checkpoint, and cannot: raw, not on this host */
};
struct qcbm_domain_xml_disk {
    const char *target;
    const char *path;   /* of the image; NULL: it is none of this host */
    const char *format; /* "qcow2", "raw" ... */
    enum qcbm_domain_disk_use use;
    const char *why; /* it is not taken, one line; else NULL */
};
/* Returns what qcbm_checkpoint_xml_read() returns. */
QCBM_API int qcbm_domain_xml_read(const void *bytes, size_t len, struct qcbm_domain_xml **out, struct qcbm_error *err);
QCBM_API int qcbm_domain_xml_get_info(const struct qcbm_domain_xml *xml, struct qcbm_domain_xml_info *out, size_t size);
/* @index in 0 .. disks - 1. Returns 0, QCBM_E_ARG. */
QCBM_API int qcbm_domain_xml_get_disk(const struct qcbm_domain_xml *xml, uint32_t index,
                                      struct qcbm_domain_xml_disk *out, size_t size);
/* NULL is fine. */
QCBM_API void qcbm_domain_xml_free(struct qcbm_domain_xml *xml);

/* ---- checkpoints: mended and reclaimed --------------------------------------------------------------------------- */

enum qcbm_mend_flag {
    QCBM_MEND_TRUST =
        1u << 0, /* bits that are stored are complete: nobody wrote since they were disabled or left in use */
    QCBM_MEND_FORCE = 1u << 1 /* where nothing tells what changed, all of the layer is dirty */
};

/* Where the bits of a layer come from. */
enum qcbm_mended_way {
    QCBM_MENDED_ALLOCATED, /* all that the layer has allocated */
    QCBM_MENDED_UNION,     /* what was stored, and all that the layer has allocated */
    QCBM_MENDED_TRUSTED,   /* what was stored, with QCBM_MEND_TRUST */
    QCBM_MENDED_COPIED,    /* those of the older checkpoint; what was stored as well, if that was disabled */
    QCBM_MENDED_ALL,       /* all of it is dirty: with QCBM_MEND_FORCE, or where damage hides what was written */
    QCBM_MENDED_TAIL       /* the end of the disk, of which a layer below that is shorter knows nothing */
};
/* "allocated", "union", "trusted", "copied", "all", "tail"; "?" for a value that is none. */
QCBM_API const char *qcbm_mended_way_name(enum qcbm_mended_way way);

struct qcbm_mended_layer {           /* its strings live until the callback returns */
    const char *disk, *layer;        /* the target; the file name */
    uint32_t depth;                  /* 0 is the top */
    enum qcbm_checkpoint_reason was; /* what was wrong there, MISSING for no bitmap; VALID for a tail */
    enum qcbm_mended_way way;
    uint64_t granularity, dirty_bytes; /* of the layer's bitmap as it is now */
    /* Its name: that of the checkpoint; or of another bitmap of a layer whose bitmaps were stale, which would be lost
     * or be taken for whole, so it is kept, and all of it is dirty. */
    const char *bitmap;
};
/* A non-zero return of either ends the call with QCBM_E_ABORTED and nothing changed. */
typedef int qcbm_mended_layer_fn(void *opaque, const struct qcbm_mended_layer *layer);

struct qcbm_mended_disk { /* its strings live until the callback returns */
    const char *disk;
    const char *begins;       /* the file name of the lowest layer that has the checkpoint now */
    uint32_t layers, mended;  /* that have it now; of these, changed */
    uint64_t dirty_bytes;     /* by all layers together, to the granule of the finest */
    uint64_t stored_bytes;    /* what was stored before said of these, in whatever state it was */
    uint64_t over_copy_bytes; /* the difference: no more than these are copied for nothing */
};
typedef int qcbm_mended_disk_fn(void *opaque, const struct qcbm_mended_disk *disk);

struct qcbm_checkpoint_mend_options {
    size_t struct_size;
    unsigned flags;   /* of qcbm_open(). Without QCBM_OPEN_WRITE nothing is written: all is planned and told */
    unsigned how;     /* enum qcbm_mend_flag */
    const char *from; /* an older checkpoint that is valid on all disks, to stand in; NULL: none */
    qcbm_mended_layer_fn *layer; /* called for each layer that changes; may be NULL */
    qcbm_mended_disk_fn *disk;   /* called for each disk behind its layers; may be NULL */
    void *opaque;                /* of both */
    const char
        *undo; /* a folder: for qcbm_undo() it gets TARGET.undo, and TARGET.N.undo of the layer N below; NULL: none */
    const char *journal;                  /* as of qcbm_checkpoint_create() */
    const struct qcbm_progress *progress; /* in layers that were looked at; may be NULL */
};
#define QCBM_CHECKPOINT_MEND_OPTIONS_INIT                                                                              \
    {                                                                                                                  \
        sizeof(struct qcbm_checkpoint_mend_options), 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL                    \
    }

/* Make checkpoint @name valid on all @disks, or change none: in each layer down to the one in which it begins a bitmap
 * that misses nothing, and records. What is there and valid stays. A layer that lacks the bitmap gets what it has
 * allocated, one in use or disabled that as well as what is stored, the top what lies behind the end of a shorter
 * layer; with options->from, what the older checkpoint says there. Never an empty bitmap. Where it begins, the lowest
 * layer that has it says: if it was lost there, only options->from can make up for that.
 * Returns 0, QCBM_E_NOTFOUND (no layer of some disk has it, and there is no options->from), QCBM_E_ARG (what is to
 * stand in is not valid, or younger), QCBM_E_UNSUPPORTED (a raw data file), QCBM_E_CORRUPT, QCBM_E_UNSAFE (damaged
 * images or directories; the chain changed meanwhile), QCBM_E_CHAIN, what qcbm_open() and qcbm_edit_commit() return,
 * QCBM_E_ABORTED. */
QCBM_API int qcbm_checkpoint_mend(const struct qcbm_checkpoint_disk *disks, size_t elem_size, size_t n,
                                  const char *name, const struct qcbm_checkpoint_mend_options *options,
                                  struct qcbm_error *err);

enum qcbm_reclaim_flag { QCBM_RECLAIM_FORCE = 1u << 0 /* go on though no disk has some of what is to be kept */ };

struct qcbm_reclaimed { /* its strings live until the callback returns */
    const char *disk, *layer, *name;
    uint32_t depth;
};
/* A non-zero return ends the call with QCBM_E_ABORTED and nothing changed. */
typedef int qcbm_reclaimed_fn(void *opaque, const struct qcbm_reclaimed *removed);

struct qcbm_checkpoint_reclaim_options {
    size_t struct_size;
    unsigned flags;             /* as above */
    unsigned how;               /* enum qcbm_reclaim_flag */
    const char *const *keep;    /* names of bitmaps that stay; */
    size_t n_keep;              /* 1 at least */
    qcbm_reclaimed_fn *removed; /* called for each bitmap that goes; may be NULL */
    void *opaque;
    const char *undo, *journal;           /* as above */
    const struct qcbm_progress *progress; /* as above */
};
#define QCBM_CHECKPOINT_RECLAIM_OPTIONS_INIT                                                                           \
    {                                                                                                                  \
        sizeof(struct qcbm_checkpoint_reclaim_options), 0, 0, NULL, 0, NULL, NULL, NULL, NULL, NULL                    \
    }

/* Remove all bitmaps but those that are named, in all layers of all @disks, or in none: no checkpoint needs another
 * one. What libvirt left behind (libvirt-tmp-...), bitmaps in use and damaged ones go as well.
 * Returns 0, QCBM_E_ARG (nothing is to be kept), QCBM_E_NOTFOUND (a name that no disk has), and what
 * qcbm_checkpoint_mend() returns. */
QCBM_API int qcbm_checkpoint_reclaim(const struct qcbm_checkpoint_disk *disks, size_t elem_size, size_t n,
                                     const struct qcbm_checkpoint_reclaim_options *options, struct qcbm_error *err);

#ifdef __cplusplus
}
#endif
#endif
