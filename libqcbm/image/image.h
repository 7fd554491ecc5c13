/* image.h - an open qcow2 image: header, extensions, geometry, names
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_IMAGE_H
#define QCBMI_IMAGE_H

#include "base/error.h"
#include "format/q2_extension.h"
#include "format/q2_geometry.h"
#include "format/q2_limits.h"
#include "format/q2_snapshot.h"
#include "io/io.h"

/* Beside enum qcbm_open_flag: for who recovers what an open journal is about. All others are refused to write
 * (io/journal_link.h). */
#define QCBMI_OPEN_RECOVERS (1u << 30)
/* The same for an apply that goes on with what it has done in part (io/unfinished.h). */
#define QCBMI_OPEN_APPLIES (1u << 29)
/* For who only looks what there is to be locked, in an order that he does not know yet: it takes no lock, and nothing
 * is done on the word of what it reads. Layers below are opened likewise. */
#define QCBMI_OPEN_LOOKS (1u << 28)

/* A layer below an image, which stands for what the image above it names. */
struct qcbmi_below {
    char *name;             /* a file, or what the backend is called */
    struct qcbm_io_ops ops; /* of a backend, which is never closed; .struct_size 0: it is a file */
    void *self;
};

/* Layers that were named before others took their place: what was opened then reads by them. */
struct qcbmi_below_past {
    struct qcbmi_below_past *before;
    struct qcbmi_below *below;
    size_t n;
};

struct qcbmi_image {
    struct qcbmi_io io;
    struct qcbmi_trace trace; /* of this image, of the layers below it and of its undo files */
    unsigned open_flags;
    unsigned threads;          /* as qcbm_set_threads() has it; layers below have that of the image on top */
    char *path;                /* NULL with a backend of the caller */
    char *name;                /* what such a one is called; may be NULL */
    struct qcbmi_below *below; /* the layers below it, where the caller has said what they are */
    size_t n_below;
    struct qcbmi_below_past *below_past; /* freed with the image */

    uint8_t *cluster0; /* cluster_size bytes; zeros where the file is shorter */
    struct q2_header h;
    struct q2_geometry g;
    struct q2_extensions exts;
    char *backing_file, *backing_format, *data_file; /* NULL if there is none */
    char *full_backing, *full_data_file;             /* where QEMU looks for them */
    char tag[2 * Q2_TAG_LEN + 1];                    /* "" if there is none that counts */

    uint8_t *l1;                   /* raw active L1, only the entries that map guest data; loaded on demand */
    struct q2_snapshot *snapshots; /* loaded on demand; point into snapshot_table */
    char **snapshot_strings;       /* id and name of each, NUL-terminated */
    uint8_t *snapshot_table;
    uint32_t n_snapshots_loaded;        /* those before a bad one */
    struct qcbm_error snapshots_broken; /* what is wrong with the bad one; code 0: none is */
    uint64_t snapshot_table_bytes;

    uint64_t generation; /* counts commits, failed ones too: an edit that began before one is void */
    bool failed;         /* a commit failed: what is in memory may be neither state */
};

/* Take over @io (closed on failure too), lock it as @flags (enum qcbm_open_flag) say, read and check the header.
 * @path, where it was opened by a name, or NULL. */
int qcbmi_image_open(struct qcbmi_io *io, const char *path, unsigned flags, struct qcbmi_image **out,
                     struct qcbm_error *err);
/* The same of an image that need not open: header and geometry are what its bytes say, none of it checked, and nothing
 * else is read. Only for who writes single bytes of it; qcbmi_image_reload_header() makes a checked image of it. */
int qcbmi_image_open_loosely(struct qcbmi_io *io, const char *path, unsigned flags, struct qcbmi_image **out,
                             struct qcbm_error *err);
void qcbmi_image_free(struct qcbmi_image *img);

void qcbmi_below_free(struct qcbmi_below *below, size_t n);

/* Read header and extensions again, after a commit. */
int qcbmi_image_reload_header(struct qcbmi_image *img, struct qcbm_error *err);

/* A handle whose commit failed is of no more use: QCBM_E_UNSAFE. */
int qcbmi_image_check_sound(const struct qcbmi_image *img, struct qcbm_error *err);

/* Why this image must not be written to, or 0: version 2, dirty bit, corrupt bit. */
int qcbmi_image_check_writable(const struct qcbmi_image *img, struct qcbm_error *err);

/* An operation is refused for what the image is like (@ret QCBM_E_UNSAFE or QCBM_E_CORRUPT): tell in @err where the
 * cure is told, since that depends on all that the image has. Returns @ret. */
int qcbmi_image_refuse(const struct qcbmi_image *img, int ret, struct qcbm_error *err);

/* End of what the file can hold: its length rounded up to a cluster, since a last cluster may be cut short. */
uint64_t qcbmi_image_end(const struct qcbmi_image *img);

#endif
