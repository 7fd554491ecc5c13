/* qcbm.h - libqcbm: qcow2 images and their dirty bitmaps, offline
 *
 * SPDX-License-Identifier: MIT
 *
 * Read top to bottom. The main job comes first: version, errors, progress and cancel, open and close, synthesise, dirty
 * extents. Then looking: image, bitmaps, problems, snapshots. Then changing: change, bitmaps in files of their own,
 * undo. Then the disk: the chain, guest bytes, map, measure, raw disks. Last the low level, which most programs do not
 * need: other ways to open, trace, dump. Each group has a manual page; libqcbm(3) lists them.
 *
 * Four subjects have headers of their own, which this one includes: qcbm-check.h (check, repair, rescue, fields by
 * hand, untrusted images), qcbm-manifest.h, qcbm-delta.h (deltas made, merged, applied) and qcbm-checkpoint.h. Storage
 * of your own is in qcbm-io.h, which has to be included by name.
 *
 * Rules that hold for every call:
 *  - 0 is success, a negative value is one of enum qcbm_code; a positive value is documented where it occurs.
 *  - The last parameter is an error object that the caller owns; it may be NULL, and success never touches it. A call
 *    without one fails with QCBM_E_ARG alone, and only for an @index or @size that is out of range.
 *  - A handle belongs to one thread at a time. The library keeps no globals, prints nothing and never exits.
 *  - Options structs start with struct_size; initialise them with their _INIT macro. NULL means defaults. What a newer
 *    program sets and this library does not know is refused with QCBM_E_UNSUPPORTED.
 *  - A struct that the library fills comes with @size, which is sizeof *out as the caller was compiled: a shorter,
 *    older one is filled up to its end, a longer, newer one with zeros behind what is known. No size of a struct is
 *    QCBM_E_ARG.
 *  - Structs that callbacks get are the library's, and grow at their end. They and their strings live until the
 *    callback returns, if nothing else is said.
 *  - Sizes and offsets are bytes in uint64_t. "guest" offsets are in the virtual disk, others in the image file.
 */
#ifndef QCBM_H
#define QCBM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define QCBM_API __attribute__((visibility("default")))
#else
#define QCBM_API
#endif

/* ---- version ----------------------------------------------------------------------------------------------------- */

#define QCBM_VERSION_MAJOR 0
#define QCBM_VERSION_MINOR 1
#define QCBM_VERSION_PATCH 0

/* "MAJOR.MINOR.PATCH" of the library that is linked. */
QCBM_API const char *qcbm_version(void);

/* ---- errors ------------------------------------------------------------------------------------------------------ */

enum qcbm_code {
    QCBM_OK = 0,
    QCBM_E_IO = -1,          /* a read, write or flush failed; sys_errno says why */
    QCBM_E_NOMEM = -2,       /* no memory */
    QCBM_E_ARG = -3,         /* an argument of the caller is out of range */
    QCBM_E_NOT_QCOW2 = -4,   /* the magic is missing */
    QCBM_E_UNSUPPORTED = -5, /* legal, but not for this library or this image version */
    QCBM_E_CORRUPT = -6,     /* the image breaks a rule of the format */
    QCBM_E_LIMIT = -7,       /* a limit of the format or of QEMU would be exceeded */
    QCBM_E_LOCKED = -8,      /* another process uses the image */
    QCBM_E_NOTFOUND = -9,    /* no such bitmap or file */
    QCBM_E_EXISTS = -10,     /* the bitmap exists already */
    QCBM_E_INUSE = -11,      /* the bitmap is marked in use: inconsistent for QEMU */
    QCBM_E_NOSPACE = -12,    /* no room: on the device or in the first cluster */
    QCBM_E_UNSAFE = -13,     /* dirty or corrupt bit, or damaged metadata: writing is refused */
    QCBM_E_READONLY = -14,   /* the handle was not opened for writing */
    QCBM_E_CHAIN = -15,      /* the backing chain cannot be followed */
    QCBM_E_ABORTED = -16,    /* a callback asked to stop */
    QCBM_E_NOLOCKS = -17     /* the file system has no OFD locks (see QCBM_OPEN_NO_LOCK) */
};

#define QCBM_NO_OFFSET UINT64_MAX
#define QCBM_UNKNOWN UINT64_MAX /* of a figure that cannot be known */

struct qcbm_error {
    int code;          /* enum qcbm_code */
    int sys_errno;     /* errno where the system gave one, else 0 */
    uint64_t offset;   /* where the bad bytes lie in the image file, or QCBM_NO_OFFSET */
    char message[512]; /* one line, no newline, without program or file name */
};

/* Name of a code, "QCBM_E_IO" for QCBM_E_IO; "QCBM_E_?" for a value that is none. */
QCBM_API const char *qcbm_code_name(int code);

/* ---- progress and cancel ----------------------------------------------------------------------------------------- */

/* Long calls take a pointer to such a struct, which may be NULL and lives until they return. @fn is called now and
 * then, on the thread of the call, with how much of @total is done, in units that the call names: @done never falls and
 * never passes @total, which may be an estimate. Non-zero cancels: the call returns QCBM_E_ABORTED, and has done
 * nothing but what its own comment says. Calls that give out their answer piece by piece are cancelled by the callback
 * that gets the pieces. */
typedef int qcbm_progress_fn(void *opaque, uint64_t done, uint64_t total);
struct qcbm_progress {
    qcbm_progress_fn *fn;
    void *opaque;
};

/* ---- open and close ---------------------------------------------------------------------------------------------- */

struct qcbm_image; /* an open qcow2 image */

enum qcbm_open_flag {
    QCBM_OPEN_WRITE = 1u << 0,       /* take the writer's locks; needed by qcbm_edit_commit() */
    QCBM_OPEN_FORCE_SHARE = 1u << 1, /* -U of qemu-img: read while a writer is active; not with WRITE */
    QCBM_OPEN_INFO = 1u << 2,        /* only look, lock as qemu-img info does; not with WRITE */
    QCBM_OPEN_NO_LOCK = 1u << 3      /* go on where the file system has no OFD locks */
};

/* Open the qcow2 image @path. Opens no other file, whatever the image names. With QCBM_OPEN_WRITE nothing is written
 * before a commit. The locks are held until qcbm_close().
 * Returns 0, QCBM_E_NOTFOUND (no such file), QCBM_E_IO, QCBM_E_NOMEM, QCBM_E_ARG, QCBM_E_NOT_QCOW2, QCBM_E_UNSUPPORTED,
 * QCBM_E_CORRUPT, QCBM_E_LIMIT, QCBM_E_LOCKED, QCBM_E_NOLOCKS. A damaged bitmap is a finding, not an error. */
QCBM_API int qcbm_open(const char *path, unsigned flags, struct qcbm_image **out, struct qcbm_error *err);

/* From now on long calls on @img, and on the layers below it that they open, read its tables with @n threads at most,
 * that of the caller among them: 1 for no other, 0 (as after opening) for as many as there are processors for this
 * process, up to 8; more than 16 are taken for 16. What is small is read by the caller's thread alone, as is all while
 * there is a trace. Other threads call nothing of the caller but read_at of a backend, and have ended when the call
 * returns; answers are the same. */
QCBM_API void qcbm_set_threads(struct qcbm_image *img, unsigned n);

enum qcbm_manners_flag {
    QCBM_MANNERS_NO_CACHE = 1u << 0 /* when a file is closed, the system forgets what it has of it in memory */
};

/* How this process reads files from now on, whoever opens them; for jobs beside which others have to work. All that is
 * read from files and devices together is at most @max_read_bytes a second, 0 (as at first) for no bound: threads wait
 * for their turn. Not of what is read by a backend of the caller. @flags: enum qcbm_manners_flag; others are without
 * effect. */
QCBM_API void qcbm_set_manners(unsigned flags, uint64_t max_read_bytes);

/* Close @img and drop its locks. NULL is fine. */
QCBM_API void qcbm_close(struct qcbm_image *img);

/* ---- synthesise -------------------------------------------------------------------------------------------------- */

enum qcbm_synth_flag {
    QCBM_SYNTH_DISABLED = 1u << 0, /* a frozen bitmap; default is enabled */
    QCBM_SYNTH_REPLACE = 1u << 1,  /* NAME may exist: swap it in the same commit; of one in use the saved bits stay */
    QCBM_SYNTH_MERGE = 1u << 2,    /* NAME may exist: OR into it (its granularity stays) */
    /* Mark everything dirty with a raw external data file; go on with lost tables, and where the saved bits of a bitmap
     * in use that is replaced cannot be read */
    QCBM_SYNTH_FORCE = 1u << 3,
    QCBM_SYNTH_ALLOW_DAMAGE = 1u << 4, /* report damage and loss in the result, do not fail; for dry runs */
    QCBM_SYNTH_FORCE_SHARE = 1u << 5,  /* open layers of the chain as QCBM_OPEN_FORCE_SHARE does */
    QCBM_SYNTH_DIRTY_TAIL = 1u << 6    /* mark dirty what lies past the end of the backing file (follows the chain) */
};

/* Leave out granules that hold what the disk held before. What that was is known for what an overlay has allocated: its
 * backing chain has it, from options->since on down. Otherwise, with since_snapshot, or merging into a bitmap that is
 * there, options->refine_against has to say it. */
enum qcbm_refine {
    QCBM_REFINE_NONE,
    QCBM_REFINE_ZERO,   /* what reads as zeros on both sides, by the metadata of both: no data is read */
    QCBM_REFINE_CONTENT /* what has the same content: all that is dirty is read, here and there; not of an encrypted
                           image */
};

struct qcbm_synth_options {
    size_t struct_size;
    uint64_t granularity; /* 0 = that of a bitmap which is replaced or merged into, else QEMU's default for the image */
    const char *since;    /* path of the chain's image to compare against; NULL = the overlay's backing file */
    unsigned flags;
    const struct qcbm_progress *progress; /* in bytes of metadata, and with refine of the disk; may be NULL */
    /* An internal snapshot, "id:ID", "name:NAME", or either without a prefix where it fits one alone: what changed
     * since then in the image itself, in place of what it has allocated. Not with @since, nor with
     * QCBM_SYNTH_DIRTY_TAIL. */
    const char *since_snapshot;
    const char
        *snapshot;   /* changes up to this one, not up to now; then a bitmap of the image itself must be disabled */
    unsigned refine; /* enum qcbm_refine; not with QCBM_SYNTH_DIRTY_TAIL */
    /* What the disk held when the bitmap began: "snapshot:S", an internal snapshot of the image, or the path of an
     * image or raw disk, of which what lies behind its end is zeros, or with QCBM_REFINE_CONTENT of a manifest or a
     * fixed index, behind the end of which all stays; NULL: the backing chain. What the bitmap had before is not
     * refined */
    const char *refine_against;
    const char *refine_format; /* of that file: "qcow2", "raw", or NULL: by its first bytes */
    /* In place of what the image has allocated: what differs from this manifest, or fixed index of Proxmox Backup
     * Server, in all that the guest reads. What cannot be read is dirty, and so is what lies behind the end of the disk
     * of the manifest. Only with @within, @granularity, @progress, and flags about the bitmap that gets it; FORCE takes
     * an index of which nothing is equal */
    const char *against;
    const char *within; /* a bitmap of the image that misses nothing: what it has clean is not read */
    /* A backend of the caller with the reference, called @refine_against in messages; stays the caller's, and open. As
     * large as the disk; of refine_format, and what begins as another than raw without one is refused
     * (QCBM_E_UNSUPPORTED). NULL: none */
    const struct qcbm_io_ops *refine_ops;
    void *refine_self;
};
#define QCBM_SYNTH_OPTIONS_INIT                                                                                        \
    {                                                                                                                  \
        sizeof(struct qcbm_synth_options), 0, NULL, 0, NULL, NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL         \
    }

struct qcbm_synth_result; /* owned by the caller, see qcbm_synth_result_free() */

/* Write into @img a bitmap @name with a bit for each granule that @img changed: everything allocated in it (or in it
 * and the layers above options->since), in one commit as of qcbm_edit_commit(). Only @img is read, unless
 * options->since or DIRTY_TAIL ask for its chain. @options NULL = defaults. *@out (may be NULL) gets the figures, on
 * success alone. With options->since_snapshot the granules in which two states of @img differ, in place of all that:
 * compared are two L1 tables, the L2 tables that differ, and refcounts of what is shared, which must be 2 at least. In
 * each case all refcounts, and all mapping tables of all states, are read once to look for lost mapping tables.
 * Returns 0, QCBM_E_EXISTS, QCBM_E_INUSE, QCBM_E_ARG, QCBM_E_LIMIT, QCBM_E_UNSUPPORTED (version 2, raw data file;
 * snapshots with a data file), QCBM_E_NOTFOUND (no such snapshot), QCBM_E_UNSAFE (damaged entries, lost mapping tables,
 * dirty or corrupt bit), QCBM_E_CHAIN, QCBM_E_CORRUPT, QCBM_E_IO, QCBM_E_NOMEM, QCBM_E_NOSPACE,
 * QCBM_E_LOCKED, QCBM_E_READONLY, QCBM_E_ABORTED. */
QCBM_API int qcbm_synth(struct qcbm_image *img, const char *name, const struct qcbm_synth_options *options,
                        struct qcbm_synth_result **out, struct qcbm_error *err);

struct qcbm_synth_summary {
    uint64_t virtual_size, granularity;
    uint64_t granules, dirty_granules, dirty_bytes; /* of the bitmap as it will be stored */
    uint64_t damaged_entries;                       /* counted as dirty */
    uint32_t layers, notes;
    bool says_nothing; /* all is dirty, whatever was changed: a raw data file, with QCBM_SYNTH_FORCE */
    bool enabled;      /* the bitmap records writes; merged into one that exists: as that one does */
    bool kept_bits;    /* a bitmap in use was replaced: what had been saved of it is dirty, too */
    /* The snapshots that were compared, as the options name them; live until qcbm_synth_result_free(). NULL: none, and
     * of the second, the active state */
    const char *since_snapshot_id, *since_snapshot_name, *snapshot_id, *snapshot_name;
    /* Left out: granules of which all that counted as changed is zeros on both sides, by metadata; and those that were
     * read */
    uint64_t refined_zero_bytes, refined_equal_bytes;
    uint64_t unreadable_bytes; /* of the disk or the reference: dirty all the same */
    /* Against a manifest: bytes of the disk that were compared with it, and of those the equal ones, in its granules */
    uint64_t compared_bytes, equal_bytes;
};
struct qcbm_synth_layer {
    const char *filename; /* live until qcbm_synth_result_free() */
    const char *format;   /* "qcow2" */
    uint64_t virtual_size, cluster_size, allocated_bytes;
};
/* The figures. Returns 0, QCBM_E_ARG. */
QCBM_API int qcbm_synth_result_summary(const struct qcbm_synth_result *r, struct qcbm_synth_summary *out, size_t size);
/* @index in 0 .. layers - 1, from the overlay down. Returns 0, QCBM_E_ARG. */
QCBM_API int qcbm_synth_result_layer(const struct qcbm_synth_result *r, uint32_t index, struct qcbm_synth_layer *out,
                                     size_t size);
/* @index in 0 .. notes - 1: one line for people, e.g. a grown tail. Lives as long as the result. NULL past the last. */
QCBM_API const char *qcbm_synth_result_note(const struct qcbm_synth_result *r, uint32_t index);
/* NULL is fine. */
QCBM_API void qcbm_synth_result_free(struct qcbm_synth_result *r);

/* ---- dirty extents ----------------------------------------------------------------------------------------------- */

struct qcbm_extent {
    uint64_t offset, length; /* guest bytes */
    bool dirty;
    bool zero; /* the guest reads zeros there; only with QCBM_EXTENTS_ZERO, else false */
};
/* A non-zero return stops the walk with QCBM_E_ABORTED. */
typedef int qcbm_extent_fn(void *opaque, const struct qcbm_extent *extent);

enum qcbm_extents_flag {
    QCBM_EXTENTS_ZERO = 1u << 0,        /* fill .zero; follows the backing chain (local qcow2 and raw files) */
    QCBM_EXTENTS_FORCE_SHARE = 1u << 1, /* open backing layers as QCBM_OPEN_FORCE_SHARE does */
    /* Of a bitmap: what those of its name say in all layers, as qcbm_edit_collect() has it. All of that
     * is held in memory. */
    QCBM_EXTENTS_CHAIN = 1u << 2
};

/* Call @fn for each run of equal state, in guest order, without gaps, from 0 to the virtual size (rounded down to 512
 * as QEMU does). Memory does not depend on the size of the bitmap. Bits that cannot be read because the data lies
 * past the end of the file count as dirty.
 * Returns 0, QCBM_E_NOTFOUND, QCBM_E_INUSE, QCBM_E_CORRUPT, QCBM_E_IO, QCBM_E_NOMEM, QCBM_E_CHAIN, QCBM_E_ABORTED. */
QCBM_API int qcbm_bitmap_extents(struct qcbm_image *img, const char *name, unsigned flags, qcbm_extent_fn *fn,
                                 void *opaque, struct qcbm_error *err);

struct qcbm_extents_options {
    size_t struct_size;
    unsigned flags;          /* enum qcbm_extents_flag */
    uint64_t offset, length; /* guest bytes; what passes the virtual size is left out */
};
#define QCBM_EXTENTS_OPTIONS_INIT                                                                                      \
    {                                                                                                                  \
        sizeof(struct qcbm_extents_options), 0, 0, UINT64_MAX                                                          \
    }

/* As qcbm_bitmap_extents(), for a part of the disk: the first and the last run are cut at its ends. Data of the bitmap
 * outside of the part is not read. */
QCBM_API int qcbm_bitmap_extents_of(struct qcbm_image *img, const char *name,
                                    const struct qcbm_extents_options *options, qcbm_extent_fn *fn, void *opaque,
                                    struct qcbm_error *err);

/* Page by page, for paging and for languages that are called back badly. The calls named _fill have one form: up to @n
 * elements from @from on go to @array, each of @elem_size = sizeof *array bytes of the caller (as any struct that is
 * filled). *@got says how many they are, *@next where the next page goes on. Fewer than @n, and none at last: there are
 * no more, or the next one cannot be read, which the next call says. Pages, one after the other, are what the callback
 * gets; a page that begins within a run has the rest of it. Where a page begins costs nothing. */

/* The extents of one bitmap, of layers, or of two states, to be asked for in any order. @img must outlive it; a commit
 * makes it void (QCBM_E_ARG), and it is still to be closed. It has the backing files open if options->flags has
 * QCBM_EXTENTS_ZERO. */
struct qcbm_extents;

/* Returns what qcbm_bitmap_extents_of() returns. */
QCBM_API int qcbm_extents_open(struct qcbm_image *img, const char *name, const struct qcbm_extents_options *options,
                               struct qcbm_extents **out, struct qcbm_error *err);
/* Without a bitmap: .dirty is what @img itself holds (data, compressed, zeros), to the byte, and with extended L2 to
 * the subcluster; no other file is opened. With @since, an image of its backing chain: what @img and the layers between
 * hold, and what the shorter ones of these hide of longer ones below, as qcbm_synth() takes it; opens the chain as far
 * as @since. Of a raw external data file all is held. Entries that break a rule that QEMU does not look at count as
 * held. QCBM_EXTENTS_ZERO: with @since, the guest reads zeros, and all of the chain is open; without it, @img says so
 * by itself: in what it holds, and in the rest if it has no backing file. Returns 0, QCBM_E_ARG (@since is @img
 * itself), QCBM_E_NOTFOUND, QCBM_E_CHAIN (@since is not in the chain), QCBM_E_CORRUPT, QCBM_E_LOCKED, QCBM_E_IO,
 * QCBM_E_NOMEM. */
QCBM_API int qcbm_extents_open_layers(struct qcbm_image *img, const char *since,
                                      const struct qcbm_extents_options *options, struct qcbm_extents **out,
                                      struct qcbm_error *err);
/* .dirty is what differs between two states of @img: the internal snapshot @from and @to, or the active state if that
 * is NULL; snapshots are named as in struct qcbm_synth_options, and compared as qcbm_synth() does it, when this is
 * called. To the cluster, with extended L2 the subcluster. The disk has the size of the second state; what the first
 * one did not have of it is dirty. QCBM_EXTENTS_ZERO: the guest reads zeros in the second state.
 * Returns 0, QCBM_E_ARG (several snapshots fit), QCBM_E_NOTFOUND (none does, or a layer is missing), QCBM_E_UNSAFE
 * (damage: what the states share cannot be relied on), QCBM_E_UNSUPPORTED (an external data file), QCBM_E_CORRUPT,
 * QCBM_E_LIMIT, QCBM_E_CHAIN, QCBM_E_LOCKED, QCBM_E_IO, QCBM_E_NOMEM. */
QCBM_API int qcbm_extents_open_snapshots(struct qcbm_image *img, const char *from, const char *to,
                                         const struct qcbm_extents_options *options, struct qcbm_extents **out,
                                         struct qcbm_error *err);
/* Guest bytes of the disk that they are of, in whole sectors: another one than now where a snapshot was of another
 * size. */
QCBM_API uint64_t qcbm_extents_size(const struct qcbm_extents *extents);
/* @from: guest bytes. Returns 0, QCBM_E_ARG, QCBM_E_CORRUPT, QCBM_E_IO, QCBM_E_NOMEM. */
QCBM_API int qcbm_extents_fill(struct qcbm_extents *extents, uint64_t from, struct qcbm_extent *array, size_t elem_size,
                               size_t n, size_t *got, uint64_t *next, struct qcbm_error *err);
/* NULL is fine. */
QCBM_API void qcbm_extents_close(struct qcbm_extents *extents);

/* ---- image ------------------------------------------------------------------------------------------------------- */

enum { /* bits of the three feature words, qcow2 specification, "Header" */
       QCBM_INCOMPAT_DIRTY = 1u << 0,
       QCBM_INCOMPAT_CORRUPT = 1u << 1,
       QCBM_INCOMPAT_DATA_FILE = 1u << 2,
       QCBM_INCOMPAT_COMPRESSION = 1u << 3,
       QCBM_INCOMPAT_EXTENDED_L2 = 1u << 4,
       QCBM_COMPAT_LAZY_REFCOUNTS = 1u << 0,
       QCBM_AUTOCLEAR_BITMAPS = 1u << 0,
       QCBM_AUTOCLEAR_RAW_DATA_FILE = 1u << 1
};

struct qcbm_image_info {
    uint32_t version;          /* 2 or 3 */
    uint32_t cluster_size;     /* 512 .. 2 MiB */
    uint32_t refcount_bits;    /* 1 .. 64 */
    uint32_t crypt_method;     /* 0 none, 1 AES, 2 LUKS */
    uint32_t compression_type; /* 0 zlib, 1 zstd */
    uint32_t header_length;
    uint64_t virtual_size; /* header.size exactly; QEMU rounds it down to 512 */
    uint64_t file_size;    /* length of the image file (or device) */
    uint64_t disk_size;    /* bytes allocated for it, or QCBM_NO_OFFSET if the backend cannot tell */
    uint64_t incompatible_features, compatible_features, autoclear_features;
    uint32_t snapshot_count;
    uint32_t bitmap_count; /* entries that qcbm_bitmap_get() knows, bad ones included */
    bool bitmaps_stale;    /* an extension without its autoclear bit: QEMU ignores it, and drops it at the next write */
    const char *backing_file; /* NUL-terminated bytes; NULL if none. Strings live until qcbm_close(). */
    const char *backing_format;
    const char *data_file;                             /* may be there without the feature bit; then nobody opens it */
    uint64_t crypt_header_offset, crypt_header_length; /* LUKS area, 0 if none */
    bool is_device;                                    /* the image lies on a block device */
    uint32_t extent_size_hint;                         /* of the file (XFS), bytes; 0 if none */
    uint32_t stale_bitmap_count;                       /* entries that qcbm_stale_bitmap_get() knows */
    const char *full_backing;                          /* where QEMU looks for backing_file: a relative name starts in
                                                        * the folder of the image */
    const char *full_data_file;                        /* of data_file: it starts in the working directory */
    const char *tag; /* 32 hexadecimal digits, see qcbm_edit_set_tag(); NULL if it has none that counts */
};

/* Fill @out from what was read at open. Returns 0, QCBM_E_ARG. */
QCBM_API int qcbm_image_get_info(const struct qcbm_image *img, struct qcbm_image_info *out, size_t size);

struct qcbm_image_usage {
    uint64_t allocated_bytes; /* clusters that have a refcount or are referred to, or QCBM_UNKNOWN */
    uint64_t end_offset;      /* end of the last of them: no byte behind it is in use; or QCBM_UNKNOWN */
    uint64_t bad_entries;     /* of the refcount table */
    char why_unknown[512];    /* one line, empty if the first two are known */
};
/* From refcounts and all references: after a crash, or in a damaged image, refcounts may say less than what is in use.
 * Reads as much as qcbm_check() does. Where damage hides references, the figures are unknown. @progress in
 * bytes of metadata; may be NULL. Returns 0, QCBM_E_ARG, QCBM_E_IO, QCBM_E_NOMEM, QCBM_E_ABORTED. */
QCBM_API int qcbm_image_usage(struct qcbm_image *img, struct qcbm_image_usage *out, size_t size,
                              const struct qcbm_progress *progress, struct qcbm_error *err);

enum { QCBM_LUKS_SLOTS = 8 };
struct qcbm_luks_slot {
    bool active;                  /* holds a key */
    uint32_t iterations, stripes; /* of its passphrase; of its key material */
    uint64_t key_offset;          /* of the key material: bytes from the start of the LUKS header */
};
struct qcbm_luks_info {
    char cipher[48];         /* "aes-256": with the length of a key; strings are terminated, and in QEMU's words */
    char mode[33];           /* "xts" */
    char ivgen[33];          /* "plain64" */
    char ivgen_hash[33];     /* "" if the generator takes none */
    char hash[33];           /* "sha256" */
    char uuid[41];           /* bytes that nobody has checked */
    uint64_t payload_offset; /* bytes from the start of the LUKS header */
    uint32_t iterations;     /* of the master key's digest */
    struct qcbm_luks_slot slots[QCBM_LUKS_SLOTS];
};
/* The LUKS header (version 1) of an image with crypt_method 2, by the "LUKS On-Disk Format Specification": what can be
 * told without a key. On failure *out is zeros.
 * Returns 0, QCBM_E_CORRUPT, QCBM_E_UNSUPPORTED (no LUKS, or another version), QCBM_E_IO. */
QCBM_API int qcbm_image_luks(struct qcbm_image *img, struct qcbm_luks_info *out, size_t size, struct qcbm_error *err);

/* ---- bitmaps ----------------------------------------------------------------------------------------------------- */

struct qcbm_bitmap_info {
    const char *name; /* bytes, NUL-terminated as well; live until the next commit or qcbm_close() */
    size_t name_len;
    uint64_t granularity; /* bytes per bit; 0 if the stored exponent is out of range */
    uint32_t flags;       /* as stored: bit 0 in use, bit 1 auto, bit 2 extra data compatible */
    uint32_t extra_data_size;
    const uint8_t *extra_data;
    uint64_t entry_offset; /* of the directory entry in the image file */
    uint64_t table_offset; /* of the bitmap table */
    uint32_t table_entries;
    bool in_use;  /* inconsistent for QEMU */
    bool enabled; /* records writes (AUTO) */
    bool usable;  /* consistent, and no finding of its own keeps its bits from being read; if another one has its
                     name or its clusters, its bits are refused nevertheless (qcbm_bitmap_check_table()) */
};
/* @index in 0 .. bitmap_count - 1. Returns 0, QCBM_E_ARG. */
QCBM_API int qcbm_bitmap_get(const struct qcbm_image *img, uint32_t index, struct qcbm_bitmap_info *out, size_t size);

/* Stale bitmaps (bitmaps_stale): a program that does not know bitmaps wrote to the image. They cannot be used or
 * edited, and the next commit gives them up: clusters that are provably theirs are freed, others stay. @index in 0 ..
 * stale_bitmap_count - 1. @out->usable is false. Returns 0, QCBM_E_ARG. */
QCBM_API int qcbm_stale_bitmap_get(const struct qcbm_image *img, uint32_t index, struct qcbm_bitmap_info *out,
                                   size_t size);

/* Look at the table of bitmap @index, which opening does not read, as QEMU does when it opens an image.
 * Returns 0, QCBM_E_IO, QCBM_E_NOMEM, QCBM_E_INUSE, QCBM_E_CORRUPT. */
QCBM_API int qcbm_bitmap_check_table(struct qcbm_image *img, uint32_t index, struct qcbm_error *err);

struct qcbm_bitmap_usage {
    uint64_t granules, dirty_granules;
    uint64_t dirty_bytes; /* clipped at the virtual size */
    uint64_t disk_bytes;  /* table and data clusters */
};
/* Count the bits of bitmap @index. Reads its table and data. An in-use bitmap is counted as stored: what it will have,
 * or should have had, cannot be known, and is not to be shown to people. @progress in granules; may be NULL.
 * Returns 0, QCBM_E_ARG, QCBM_E_IO, QCBM_E_NOMEM, QCBM_E_CORRUPT, QCBM_E_ABORTED. On failure *@out is zeros. */
QCBM_API int qcbm_bitmap_usage(struct qcbm_image *img, uint32_t index, struct qcbm_bitmap_usage *out, size_t size,
                               const struct qcbm_progress *progress, struct qcbm_error *err);

/* ---- problems ---------------------------------------------------------------------------------------------------- */

enum qcbm_check_severity {
    QCBM_CHECK_WARNING,    /* worth knowing; nothing is lost by it */
    QCBM_CHECK_LEAK,       /* a cluster that nobody uses; counted as qemu-img counts leaks */
    QCBM_CHECK_CORRUPTION, /* counted as qemu-img counts corruptions, or why QEMU does not open the image */
    QCBM_CHECK_DAMAGE,     /* damage on which qemu-img is silent; not among its totals */
    QCBM_CHECK_FAULT       /* something could not be checked: qemu-img's "internal errors" */
};

enum qcbm_repair_level { QCBM_REPAIR_NONE, QCBM_REPAIR_LEAKS, QCBM_REPAIR_ALL, QCBM_REPAIR_BITMAPS };

/* What can be wrong with an image; the names are those of the codes. New ones come at the end. */
enum qcbm_problem_id {
    QCBM_PROBLEM_SNAPSHOT_TABLE = 0,
    QCBM_PROBLEM_SNAPSHOT_INCOMPLETE,
    QCBM_PROBLEM_SNAPSHOT_LOST,
    QCBM_PROBLEM_SNAPSHOTS_AND_BITMAPS,
    QCBM_PROBLEM_SNAPSHOT_DATA_FILE,
    QCBM_PROBLEM_SNAPSHOT_L1_UNALIGNED,
    QCBM_PROBLEM_SNAPSHOT_L1_SIZE,
    QCBM_PROBLEM_REFERENCE_PAST_END,
    QCBM_PROBLEM_REFERENCE_NOWHERE,
    QCBM_PROBLEM_REFCOUNT_OVERFLOW,
    QCBM_PROBLEM_L1_RESERVED,
    QCBM_PROBLEM_L1_UNALIGNED,
    QCBM_PROBLEM_L2_RESERVED,
    QCBM_PROBLEM_L2_COMPRESSED_COPIED,
    QCBM_PROBLEM_L2_COMPRESSED_DATA_FILE,
    QCBM_PROBLEM_L2_COMPRESSED_SUBCLUSTERS,
    QCBM_PROBLEM_L2_SUBCLUSTERS,
    QCBM_PROBLEM_L2_SUBCLUSTERS_UNALLOCATED,
    QCBM_PROBLEM_L2_PREALLOC_UNALIGNED,
    QCBM_PROBLEM_L2_DATA_UNALIGNED,
    QCBM_PROBLEM_REFTABLE_RESERVED,
    QCBM_PROBLEM_REFBLOCK_UNALIGNED,
    QCBM_PROBLEM_REFBLOCK_OUTSIDE,
    QCBM_PROBLEM_REFBLOCK_REFCOUNT,
    QCBM_PROBLEM_REFBLOCK_SIGNAL,
    QCBM_PROBLEM_REFCOUNT_UNREADABLE,
    QCBM_PROBLEM_CLUSTER_LEAKED,
    QCBM_PROBLEM_REFCOUNT_TOO_LOW,
    QCBM_PROBLEM_REFCOUNT_ZERO,
    QCBM_PROBLEM_COPIED_L1,
    QCBM_PROBLEM_COPIED_L2,
    QCBM_PROBLEM_TOO_MUCH_WORK,
    QCBM_PROBLEM_MESSAGES_LEFT_OUT,
    QCBM_PROBLEM_TABLE_CUT,
    QCBM_PROBLEM_TABLE_OVERWRITTEN,
    QCBM_PROBLEM_LOST_TABLE,
    QCBM_PROBLEM_LOST_TABLE_SUSPECTED,
    QCBM_PROBLEM_CLUSTER_TWO_OWNERS,
    QCBM_PROBLEM_COMPRESSED_SHARED,
    QCBM_PROBLEM_L2_VERSION_2_ZERO,
    QCBM_PROBLEM_L2_DATA_FILE_OFFSET,
    QCBM_PROBLEM_HEADER_CORRUPT_BIT,
    QCBM_PROBLEM_HEADER_DIRTY_BIT,
    QCBM_PROBLEM_HEADER_SIZE_ODD,
    QCBM_PROBLEM_BITMAPS_AUTOCLEAR_ALONE,
    QCBM_PROBLEM_BITMAPS_STALE,
    QCBM_PROBLEM_BITMAP_DIRECTORY_BROKEN,
    QCBM_PROBLEM_BITMAP_ENTRY_CONSTRAINT,
    QCBM_PROBLEM_BITMAP_NAME_DUPLICATE,
    QCBM_PROBLEM_BITMAP_NAME_UNREACHABLE,
    QCBM_PROBLEM_BITMAP_TABLE_SHARED,
    QCBM_PROBLEM_BITMAP_TABLE_ENTRY,
    QCBM_PROBLEM_BITMAP_TABLE_PAST_END,
    QCBM_PROBLEM_BITMAP_TABLE_SIZE,
    QCBM_PROBLEM_BITMAP_DATA_PAST_END,
    QCBM_PROBLEM_BITMAP_TAIL_BITS,
    QCBM_PROBLEM_BITMAP_IN_USE,
    QCBM_PROBLEM_BITMAP_DATA_SHARED,
    QCBM_PROBLEM_BITMAP_UNREADABLE,
    QCBM_PROBLEM_TAG
};

/* A row of the one table of problems, from which opening an image and qcbm_check() tell. Strings are static. */
struct qcbm_problem {
    enum qcbm_problem_id id;
    const char *code; /* stable, for people and JSON, e.g. "refcount-too-low" */
    enum qcbm_check_severity severity;
    enum qcbm_repair_level repair;  /* the lowest level of -r that deals with it, alone; see qcbm_check_kind */
    bool qemu_text;                 /* qemu-img check knows it, and qcbm_check() tells it in its words */
    bool strict;                    /* not among qemu-img's totals, but reason enough to look: check --strict fails */
    const char *consequence, *cure; /* the cure whatever else the image has; see qcbm_check_kind */
    enum qcbm_repair_level mends;   /* the lowest level of qcbm_repair() that deals with it, by force if not without */
};
/* The row of @id, of all from 0; NULL past the last. */
QCBM_API const struct qcbm_problem *qcbm_problem_get(uint32_t id);

/* Findings: what is wrong but did not keep the image from opening, and what was met in reading it since. */
struct qcbm_finding {
    const struct qcbm_problem *problem;
    uint64_t offset; /* in the image file, or QCBM_NO_OFFSET */
    uint32_t bitmap; /* index for qcbm_bitmap_get(), or UINT32_MAX */
    char message[256];
};
QCBM_API uint32_t qcbm_finding_count(const struct qcbm_image *img);
QCBM_API int qcbm_finding_get(const struct qcbm_image *img, uint32_t index, struct qcbm_finding *out, size_t size);

/* As qcbm_extents_fill(), of findings: @from and *@next count them. Returns 0, QCBM_E_ARG. */
QCBM_API int qcbm_findings_fill(const struct qcbm_image *img, uint64_t from, struct qcbm_finding *array,
                                size_t elem_size, size_t n, size_t *got, uint64_t *next, struct qcbm_error *err);

/* ---- snapshots --------------------------------------------------------------------------------------------------- */

struct qcbm_snapshot_info {
    const char *id, *name; /* bytes as stored, NUL-terminated; live until qcbm_close() */
    uint64_t l1_offset;
    uint32_t l1_entries;
    uint32_t date_sec, date_nsec;
    uint64_t vm_clock_nsec, vm_state_size;
    uint64_t disk_size;    /* virtual size when it was taken */
    uint64_t icount;       /* UINT64_MAX = off */
    uint64_t entry_offset; /* where its entry lies in the image file */
};

/* Read the table of internal snapshots; afterwards qcbm_snapshot_get() serves entries 0 .. *@count - 1, which on
 * failure are those before the bad one.
 * Returns 0, QCBM_E_IO, QCBM_E_NOMEM, QCBM_E_CORRUPT, QCBM_E_LIMIT. */
QCBM_API int qcbm_snapshots_load(struct qcbm_image *img, uint32_t *count, struct qcbm_error *err);
QCBM_API int qcbm_snapshot_get(const struct qcbm_image *img, uint32_t index, struct qcbm_snapshot_info *out,
                               size_t size);

/* ---- change ------------------------------------------------------------------------------------------------------ */

/* An edit collects changes of one image's bitmaps and makes all of them in one commit: a crash at any point leaves the
 * state before or after it, and at worst leaked clusters. The image must outlive the edit. On an image opened for
 * reading an edit can be planned but not committed. After a commit all edits of the image are void (QCBM_E_ARG): free
 * them and begin new ones. */
struct qcbm_edit;

/* Returns 0, QCBM_E_NOMEM, QCBM_E_UNSUPPORTED (version 2), QCBM_E_UNSAFE (dirty or corrupt bit), QCBM_E_CORRUPT (the
 * directory cannot be rewritten without losing something). For an image that was opened for reading, version and bits
 * are left to qcbm_edit_plan(): what an edit would do can be asked of such images too. */
QCBM_API int qcbm_edit_begin(struct qcbm_image *img, struct qcbm_edit **out, struct qcbm_error *err);
QCBM_API void qcbm_edit_free(struct qcbm_edit *edit);

enum qcbm_bitmap_flag { QCBM_BITMAP_DISABLED = 1u << 0 };

/* A new, clean bitmap. @granularity 0 = QEMU's default. Returns 0, QCBM_E_EXISTS, QCBM_E_ARG, QCBM_E_LIMIT,
 * QCBM_E_NOMEM. */
QCBM_API int qcbm_edit_add(struct qcbm_edit *edit, const char *name, uint64_t granularity, unsigned flags,
                           struct qcbm_error *err);
/* Also removes in-use and damaged bitmaps. Returns 0, QCBM_E_NOTFOUND. */
QCBM_API int qcbm_edit_remove(struct qcbm_edit *edit, const char *name, struct qcbm_error *err);
/* Each returns 0, QCBM_E_NOTFOUND, QCBM_E_INUSE, QCBM_E_CORRUPT, QCBM_E_NOMEM. */
QCBM_API int qcbm_edit_clear(struct qcbm_edit *edit, const char *name, struct qcbm_error *err);
QCBM_API int qcbm_edit_enable(struct qcbm_edit *edit, const char *name, struct qcbm_error *err);
QCBM_API int qcbm_edit_disable(struct qcbm_edit *edit, const char *name, struct qcbm_error *err);
/* Bitmap @dst |= bitmap @src of @src_img; NULL = the edited image, as the edit has it so far. Rounds outward across
 * granularities. Sizes must be equal. Also returns QCBM_E_ARG and QCBM_E_IO. */
QCBM_API int qcbm_edit_merge(struct qcbm_edit *edit, const char *dst, struct qcbm_image *src_img, const char *src,
                             struct qcbm_error *err);

/* @dst &= @src, and @dst &= ~@src, with @src as above. The virtual sizes must be equal to the byte. Where granularities
 * differ, a granule of @dst stays dirty if any of its bytes is dirty by the exact answer. */
QCBM_API int qcbm_edit_intersect(struct qcbm_edit *edit, const char *dst, struct qcbm_image *src_img, const char *src,
                                 struct qcbm_error *err);
QCBM_API int qcbm_edit_subtract(struct qcbm_edit *edit, const char *dst, struct qcbm_image *src_img, const char *src,
                                struct qcbm_error *err);
/* A new bitmap @name with granularity, state and bits of bitmap @src of @src_img (NULL as above). The virtual sizes
 * must be equal to the byte. Extra data is not copied. Also returns QCBM_E_EXISTS, QCBM_E_LIMIT, QCBM_E_UNSUPPORTED. */
QCBM_API int qcbm_edit_copy(struct qcbm_edit *edit, const char *name, struct qcbm_image *src_img, const char *src,
                            struct qcbm_error *err);
/* The same two for a source whose disk was smaller and has grown since, as with a resize or a copy to a larger volume:
 * a bitmap tells nothing of what lies behind its end, so that is dirty. QCBM_E_ARG: the source's disk is larger. */
QCBM_API int qcbm_edit_merge_grown(struct qcbm_edit *edit, const char *dst, struct qcbm_image *src_img, const char *src,
                                   struct qcbm_error *err);
QCBM_API int qcbm_edit_copy_grown(struct qcbm_edit *edit, const char *name, struct qcbm_image *src_img, const char *src,
                                  struct qcbm_error *err);
/* Bits, state and place in the directory stay. Also returns QCBM_E_EXISTS, QCBM_E_ARG, QCBM_E_LIMIT. */
QCBM_API int qcbm_edit_rename(struct qcbm_edit *edit, const char *name, const char *new_name, struct qcbm_error *err);
/* The checkpoint step: disable @name, and add @new_name, enabled and clean, of the same granularity. QCBM_E_ARG: @name
 * is disabled already, and what was written since is in neither. Also returns what qcbm_edit_add() returns. */
QCBM_API int qcbm_edit_rotate(struct qcbm_edit *edit, const char *name, const char *new_name, struct qcbm_error *err);
/* Change the granularity (0 = QEMU's default), rounding outward. Also returns QCBM_E_ARG, QCBM_E_LIMIT. */
QCBM_API int qcbm_edit_regranularise(struct qcbm_edit *edit, const char *name, uint64_t granularity,
                                     struct qcbm_error *err);
/* Mark guest bytes [@offset, @offset + @length) dirty (rounded outward), or clean (rounded inward: no byte outside
 * becomes clean). QCBM_E_ARG: the range passes the end of the disk. */
QCBM_API int qcbm_edit_set_range(struct qcbm_edit *edit, const char *name, uint64_t offset, uint64_t length,
                                 struct qcbm_error *err);
QCBM_API int qcbm_edit_unset_range(struct qcbm_edit *edit, const char *name, uint64_t offset, uint64_t length,
                                   struct qcbm_error *err);

/* The tag of the image: 128 bits in an extension of its header, by which records know it wherever its file goes, behind
 * a server too (struct qcbm_image_info). An image gets one when it is asked for, and keeps it: QEMU keeps extensions
 * that it does not know. A copy of the file has that of the original; what is written anew (qemu-img convert, deltas)
 * has none. Nothing proves it: it is what the image says of itself.
 * @tag: 32 hexadecimal digits, dashes as a UUID has them may be between, or NULL for a new one that nobody can guess.
 * In one commit with all else of the edit, and behind it: cut short, the image may have its new bitmaps and the old
 * tag. That the first cluster has no room for it is what qcbm_edit_plan() finds (QCBM_E_NOSPACE), and nothing of the
 * edit is written then. Both return 0, QCBM_E_ARG, and the first QCBM_E_IO (no random numbers). */
QCBM_API int qcbm_edit_set_tag(struct qcbm_edit *edit, const char *tag, struct qcbm_error *err);
QCBM_API int qcbm_edit_remove_tag(struct qcbm_edit *edit, struct qcbm_error *err);

struct qcbm_edit_bitmap_info {
    uint64_t granularity;
    uint64_t granules, dirty_granules;
    uint64_t dirty_bytes; /* clipped at the virtual size */
    bool enabled;
};
/* Bitmap @name as the edit has it so far; bits that are not in memory are counted in the file.
 * Returns 0, QCBM_E_NOTFOUND, QCBM_E_INUSE, QCBM_E_CORRUPT, QCBM_E_IO, QCBM_E_NOMEM. */
QCBM_API int qcbm_edit_look(struct qcbm_edit *edit, const char *name, struct qcbm_edit_bitmap_info *out, size_t size,
                            struct qcbm_error *err);

struct qcbm_plan_summary {
    uint64_t bytes_written; /* to the image file */
    uint64_t clusters_allocated;
    uint64_t clusters_freed;
    uint64_t file_growth; /* bytes */
    uint32_t writes, flushes;
    uint32_t stale_bitmaps;       /* that are given up */
    uint64_t stale_clusters_kept; /* that they name, and that are not freed: they may belong to somebody else by now */
};
struct qcbm_plan_step {
    uint32_t stage;         /* steps of one stage may reach the disk in any order; a flush follows each stage */
    const char *stage_name; /* "refcounts", "prepare", "switch", "reclaim" ... */
    const char *what;       /* "bitmap data", "bitmap table", "bitmap directory", "refcount block", "header" ... */
    uint64_t offset, length;
};
typedef int qcbm_plan_fn(void *opaque, const struct qcbm_plan_step *step);

/* Work out what a commit would write; @fn (may be NULL) is called for each write in order. Nothing is written. The edit
 * cannot be changed afterwards, only committed or freed.
 * Returns 0, QCBM_E_NOSPACE, QCBM_E_UNSAFE, QCBM_E_CORRUPT, QCBM_E_LIMIT, QCBM_E_IO, QCBM_E_NOMEM, QCBM_E_ABORTED. */
QCBM_API int qcbm_edit_plan(struct qcbm_edit *edit, struct qcbm_plan_summary *out, size_t size, qcbm_plan_fn *fn,
                            void *opaque, struct qcbm_error *err);

/* Write it. On success the image shows the new state. What was read with a force-share flag is never written: what the
 * running program holds in memory is not in it. On failure the file holds the old state, or the new one if the
 * failure came after the switch (the message says so); at worst clusters leak. The handle must then be closed.
 * Returns what qcbm_edit_plan() returns, QCBM_E_READONLY, and QCBM_E_UNSAFE. */
QCBM_API int qcbm_edit_commit(struct qcbm_edit *edit, struct qcbm_plan_summary *out, size_t size,
                              struct qcbm_error *err);

/* What qcbm_synth() does, staged in @edit beside other changes. @edit may be of @overlay itself, or of another image,
 * which gets the bitmap; dirty ranges past the end of that image are refused.
 * Returns 0, QCBM_E_EXISTS, QCBM_E_INUSE, QCBM_E_ARG, QCBM_E_LIMIT, QCBM_E_UNSUPPORTED (raw data file), QCBM_E_UNSAFE
 * (damaged entries, lost mapping tables, saved bits that cannot be read), QCBM_E_CHAIN, QCBM_E_CORRUPT, QCBM_E_IO,
 * QCBM_E_NOMEM, QCBM_E_LOCKED, QCBM_E_ABORTED. */
QCBM_API int qcbm_edit_synth(struct qcbm_edit *edit, struct qcbm_image *overlay, const char *name,
                             const struct qcbm_synth_options *options, struct qcbm_synth_result **out,
                             struct qcbm_error *err);

/* A bitmap that is in use: the image was not closed, and which bits are missing in it nobody knows. */
enum qcbm_revive_flag { QCBM_REVIVE_TRUST = 1u << 0 /* take the stored bits as they are: nobody wrote since */ };

enum qcbm_revive_claim {
    QCBM_REVIVED_UNION,   /* what was stored, and all that the image has allocated */
    QCBM_REVIVED_ALL,     /* all of the disk: the stored bits cannot be read, or the mapping tables are damaged */
    QCBM_REVIVED_TRUSTED, /* what was stored */
    QCBM_REVIVED_EXACT    /* what differs from a manifest: what was stored and what is allocated were not looked at */
};

struct qcbm_revived { /* its strings live until the callback returns */
    const char *name;
    enum qcbm_revive_claim claim;
    const char *why; /* no dirty byte is missing, or all of the disk is dirty; one line */
    /* Dirty by the stored bits, by what is allocated (in granules, not for a trusted one), and now. Against an exact
     * bitmap no more than dirty_bytes - stored_bytes are copied for nothing. */
    uint64_t stored_bytes, allocated_bytes, dirty_bytes;
    bool enabled;
};
/* A non-zero return ends the call with QCBM_E_ABORTED. */
typedef int qcbm_revive_fn(void *opaque, const struct qcbm_revived *revived);

/* Make of bitmap @name, or of each that is in use (NULL), one that can be relied on: a superset of what was written
 * since it was exact, that records. That holds if the disk has not been made shorter, and if no data was taken out of
 * the image behind QEMU's back since. Where a mapping table is lost, may be (many clusters leak), or has entries that
 * make no sense, what was written there is known no more, and all of the disk is dirty; wrong refcounts alone are no
 * reason for that. In an edit that mends what counts is the image before any repair. @fn (may be NULL) is called for
 * each. @flags: enum qcbm_revive_flag.
 * Returns 0, QCBM_E_NOTFOUND, QCBM_E_ARG (it is not in use), QCBM_E_UNSUPPORTED (a raw data file), QCBM_E_CORRUPT
 * (cannot be read, with TRUST), QCBM_E_IO, QCBM_E_NOMEM, QCBM_E_ABORTED. */
QCBM_API int qcbm_edit_revive(struct qcbm_edit *edit, const char *name, unsigned flags, qcbm_revive_fn *fn,
                              void *opaque, struct qcbm_error *err);

/* The same of bitmap @name alone, exactly: dirty is what differs from the manifest (or fixed index of Proxmox Backup
 * Server) @against, made when the bitmap began, and what cannot be read. All that the guest reads is read, through all
 * layers, so this serves raw data files, too. @progress, in bytes of the disk, may be NULL.
 * Returns 0, QCBM_E_NOTFOUND, QCBM_E_ARG (it is not in use; the disk is smaller than that of the manifest),
 * QCBM_E_UNSAFE (nothing of an index is equal), QCBM_E_CHAIN, and what qcbm_manifest_open() and qcbm_manifest_verify()
 * return. */
QCBM_API int qcbm_edit_revive_against(struct qcbm_edit *edit, const char *name, const char *against,
                                      const struct qcbm_progress *progress, qcbm_revive_fn *fn, void *opaque,
                                      struct qcbm_error *err);

/* A layer of the chain below an edited image, as qcbm_edit_collect() met it. */
struct qcbm_collected {
    const char *filename;  /* lives until the callback returns */
    uint64_t virtual_size; /* bytes */
    bool has;              /* it has the bitmap, which was taken; else the rest is 0 */
    bool enabled;          /* a disabled one lacks what was written to its layer since it was */
    uint64_t granularity;  /* bytes */
    uint64_t dirty_bytes;  /* clipped at the layer's end */
    uint64_t tail_bytes;   /* of the edited image, behind the layer's end: nobody knows of them, so they are dirty */
};
/* A non-zero return ends the call with QCBM_E_ABORTED. */
typedef int qcbm_collect_fn(void *opaque, const struct qcbm_collected *layer);

/* What the bitmaps called @name say in all layers of the chain whose top is the edited image, put into the top's, or
 * into a new one called @as with granularity and state of the top's (NULL: none): what changed since a checkpoint,
 * which libvirt takes from all layers and a server of one bitmap from the first alone. Rounds outward; bits past the
 * end of the top are dropped. @fn (may be NULL) is called for each layer, from the top down. The rule is libvirt's: the
 * top has the bitmap, and so has each layer down to the one in which it begins; one that is disabled, which libvirt
 * does not accept, is taken.
 * Returns 0, QCBM_E_NOTFOUND (the top has none), QCBM_E_CHAIN (one between has none, or the chain cannot be opened),
 * QCBM_E_INUSE, QCBM_E_CORRUPT, QCBM_E_UNSAFE (stale ones in a layer), what qcbm_edit_add() returns, QCBM_E_IO,
 * QCBM_E_LOCKED, QCBM_E_ABORTED. Whatever fails, nothing is staged. */
QCBM_API int qcbm_edit_collect(struct qcbm_edit *edit, const char *name, const char *as, qcbm_collect_fn *fn,
                               void *opaque, struct qcbm_error *err);

enum qcbm_committed_outcome {
    QCBM_BITMAP_MERGED,  /* into the base's bitmap of that name */
    QCBM_BITMAP_CREATED, /* in the base, which had none: enabled, with the granularity of the top's */
    QCBM_BITMAP_LEFT_OUT
};
struct qcbm_committed_bitmap { /* its strings live until the callback returns */
    const char *name;
    enum qcbm_committed_outcome outcome;
    bool in_base;      /* the base had one. If it is left out, it does not say what the layers above changed. */
    const char *why;   /* it is left out, one line; else NULL */
    const char *where; /* the file name of the layer that is the reason; else NULL */
    uint32_t layers;   /* above the base whose bits were taken */
};
/* A non-zero return ends the call with QCBM_E_ABORTED. */
typedef int qcbm_commit_bitmap_fn(void *opaque, const struct qcbm_committed_bitmap *bitmap);

/* The bitmaps' half of a commit of @top into the edited image, which is below it; the data is not looked at. By
 * libvirt's rule each bitmap of @top that records, and can be relied on, in all layers down to the one in which it
 * begins, is merged into the base's of its name, which is made where there is none. Others are left out. Done before
 * the data goes down, no power cut leaves data there that the bitmaps do not know. @fn (may be NULL) is called for each
 * bitmap of @top, and for those that the base alone has. @top is only read, and no change of @edit is taken for what it
 * stores. If the call fails, free @edit.
 * Returns 0, QCBM_E_CHAIN (the image is not below @top, or the chain cannot be opened), QCBM_E_ARG (it is smaller than
 * @top), QCBM_E_UNSAFE (the bitmaps of @top are stale or its directory is damaged), what qcbm_edit_add() returns,
 * QCBM_E_IO, QCBM_E_LOCKED, QCBM_E_ABORTED. */
QCBM_API int qcbm_edit_commit_bitmaps(struct qcbm_edit *edit, struct qcbm_image *top, qcbm_commit_bitmap_fn *fn,
                                      void *opaque, struct qcbm_error *err);

/* Have plan and commit of @edit tell how far they are. A plan begins with a scan, and tells bytes of the mapping tables
 * that it reads. A commit that plans first tells these, and then its writes as what is left of the total, which was
 * estimated in bytes before they were known, and stays; a commit of what has been planned tells the bytes that it
 * writes. Each call goes from 0 to its total once.
 * Asked for an end while it plans, a call returns QCBM_E_ABORTED, has staged and written nothing, and can be repeated.
 * While it writes, a commit stops before it switches to the new state: the old state is in place, clusters may have
 * leaked, and the handle must be closed, as after any failure. From the switch on it goes to its end. @progress must
 * live as long as @edit; NULL: tell nobody. */
QCBM_API void qcbm_edit_set_progress(struct qcbm_edit *edit, const struct qcbm_progress *progress);

/* ---- bitmaps in files of their own ------------------------------------------------------------------------------- */

/* So that a bitmap can travel beside a migration that moves the data only. */
enum qcbm_transfer_format {
    QCBM_TRANSFER_QCBM,   /* with size, granularity, state, digest: docs/bitmap-format.md */
    QCBM_TRANSFER_RAW,    /* the bits alone, as many bytes as they need; bit b is bit b % 8 of byte b / 8 */
    QCBM_TRANSFER_RAW_MSB /* the same, but the highest bit of a byte comes first: bit b is bit 7 - b % 8 */
};

/* A non-zero return stops with QCBM_E_ABORTED. */
typedef int qcbm_write_fn(void *opaque, const void *bytes, size_t len);
/* Fill @buf with up to @len bytes. Returns how many, 0 at the end; a negative value stops with QCBM_E_ABORTED. */
typedef int64_t qcbm_read_fn(void *opaque, void *buf, size_t len);

/* Give the stored bitmap @name to @fn, piece by piece. Nothing is given before its table has been checked.
 * Returns 0, QCBM_E_NOTFOUND, QCBM_E_INUSE, QCBM_E_CORRUPT, QCBM_E_IO, QCBM_E_NOMEM, QCBM_E_ABORTED. */
QCBM_API int qcbm_bitmap_export(struct qcbm_image *img, const char *name, enum qcbm_transfer_format format,
                                qcbm_write_fn *fn, void *opaque, struct qcbm_error *err);

enum qcbm_import_flag {
    QCBM_IMPORT_DISABLED = 1u << 0, /* frozen; default is as the file says, and enabled for raw bits */
    QCBM_IMPORT_FORCE = 1u << 1,    /* take it though the fingerprint differs */
    QCBM_IMPORT_GROWN = 1u << 2 /* its disk may have been smaller: what lies behind its end is dirty; not of raw bits */
};

struct qcbm_import_options {
    size_t struct_size;
    enum qcbm_transfer_format format;
    uint64_t granularity; /* of raw bits, which do not say it; else 0 */
    unsigned flags;
};
#define QCBM_IMPORT_OPTIONS_INIT                                                                                       \
    {                                                                                                                  \
        sizeof(struct qcbm_import_options), QCBM_TRANSFER_QCBM, 0, 0                                                   \
    }

/* The fingerprint is of size and first 64 KiB of the disk. It is not known where these bytes are not in the image file,
 * or compressed or encrypted, and of raw bits. */
enum qcbm_fingerprint { QCBM_FINGERPRINT_UNKNOWN, QCBM_FINGERPRINT_EQUAL, QCBM_FINGERPRINT_DIFFERENT };

struct qcbm_import_result {
    enum qcbm_fingerprint fingerprint;
    char name[1024]; /* that the bitmap had when it was exported; "" if the format does not say it */
};

/* A new bitmap @name from what @fn reads, which may be hostile: memory is bounded by the size of the bitmap. The bitmap
 * appears in the edit when all has been read and the digest is right. @out may be NULL.
 * Returns what qcbm_edit_add() returns, QCBM_E_CORRUPT (err->offset is in what was read), QCBM_E_UNSUPPORTED (version),
 * QCBM_E_ARG (another virtual size), QCBM_E_UNSAFE (another fingerprint), QCBM_E_IO, QCBM_E_ABORTED. */
QCBM_API int qcbm_edit_import(struct qcbm_edit *edit, const char *name, const struct qcbm_import_options *options,
                              qcbm_read_fn *fn, void *opaque, struct qcbm_import_result *out, size_t out_size,
                              struct qcbm_error *err);

struct qcbm_copy_checked {
    uint64_t compared_bytes;           /* of the disk, in granules of the manifest; less if it is shorter */
    uint64_t drawn_bytes;              /* of these, where the bitmap is clean */
    uint64_t different_bytes;          /* those that cannot be read among them */
    uint64_t first_offset, first_size; /* of the first range that differs, bytes; 0 if none does */
};

/* A bitmap that travelled beside a copy of its disk: is the disk of @edit that copy? Of bitmap @name, as it is in
 * @edit, all that is dirty is compared with the manifest (or fixed index of Proxmox Backup Server) @manifest, made of
 * the disk when it was copied, and up to 64 MiB in up to 1,024 granules more where it is clean: drawn by @seed, of what
 * the manifest has as data, and up to an eighth of that of its zeros. A disk of another size differs, and so does what
 * cannot be read. All layers are read. For a proof that all of the disk is equal there is qcbm_manifest_verify().
 * Nothing is changed. @progress, in bytes of the disk, and @out, which is filled on QCBM_E_UNSAFE, too, may be NULL.
 * Returns 0, QCBM_E_UNSAFE (it differs), QCBM_E_NOTFOUND, QCBM_E_INUSE, QCBM_E_CHAIN, and what qcbm_manifest_open() and
 * qcbm_manifest_verify() return. */
QCBM_API int qcbm_edit_check_copy(struct qcbm_edit *edit, const char *name, const char *manifest, uint64_t seed,
                                  const struct qcbm_progress *progress, struct qcbm_copy_checked *out, size_t out_size,
                                  struct qcbm_error *err);

/* ---- undo -------------------------------------------------------------------------------------------------------- */

/* Have the commit of @edit make the file @path, from which qcbm_undo() can take the change back. It is durable before
 * the image is touched, and is there whenever the image was changed; a commit that fails before its first write removes
 * it. A file that exists is not overwritten: the commit then returns QCBM_E_EXISTS. Returns 0, QCBM_E_NOMEM. */
QCBM_API int qcbm_edit_set_undo(struct qcbm_edit *edit, const char *path, struct qcbm_error *err);

struct qcbm_undo_options {
    size_t struct_size;
    bool dry_run;       /* compare, write nothing; the image may be open for reading */
    qcbm_plan_fn *step; /* called for each write in order, before the first; may be NULL */
    void *opaque;
    bool force; /* undo it though somebody has, or may have, written to the image since */
    const struct qcbm_progress
        *progress; /* in bytes written; may be NULL. Cancelled, it is undone in part: repeat it */
};
#define QCBM_UNDO_OPTIONS_INIT                                                                                         \
    {                                                                                                                  \
        sizeof(struct qcbm_undo_options), false, NULL, NULL, false, NULL                                               \
    }

enum qcbm_undo_found {
    QCBM_UNDO_FOUND_AFTER,   /* the image was as the operation left it */
    QCBM_UNDO_FOUND_BETWEEN, /* the operation, or an undo of it, had been cut short */
    QCBM_UNDO_FOUND_BEFORE   /* nothing to undo */
};

/* Bitmaps that record writes come back as they were before the change, so they lack what was written after it. */
enum qcbm_undo_writer {
    QCBM_UNDO_WRITER_NONE,    /* nobody wrote, or no bitmap comes back that would lack it */
    QCBM_UNDO_WRITER_UNKNOWN, /* the change, or an undo of it, had been cut short; or the backend does not tell */
    QCBM_UNDO_WRITER_SEEN     /* somebody did; only with .force */
};

struct qcbm_undo_result {
    enum qcbm_undo_found found;
    uint32_t writes, flushes;
    uint64_t bytes_written;
    uint64_t file_size; /* of the image, once it is undone */
    uint64_t bytes_cut; /* by which the file gets shorter */
    enum qcbm_undo_writer writer;
};

/* Take back what was recorded in the file @path: content and length of @img are again what they were, byte for byte,
 * and the time of its last write if nobody else wrote since.
 * Stage by stage in reverse, so that a crash leaves a valid image, and the undo can be repeated; that it has begun is
 * noted in @path. What the change touched, and what its old state relies on, must be as the operation left it, or
 * partly as it was before. A guest that wrote only to clusters that it had leaves no trace there, but another time of
 * the last write: where bitmaps that record writes would come back, the undo is refused then, and where a block device
 * does not tell that time. @options NULL = defaults. @out (may be NULL) is filled on success.
 * Returns 0, QCBM_E_ARG (no undo file, or of another image), QCBM_E_UNSUPPORTED (a later version), QCBM_E_CORRUPT
 * (the undo file is damaged or incomplete), QCBM_E_UNSAFE (the image has changed since), QCBM_E_READONLY, QCBM_E_IO,
 * QCBM_E_NOMEM, QCBM_E_ABORTED. */
QCBM_API int qcbm_undo(struct qcbm_image *img, const char *path, const struct qcbm_undo_options *options,
                       struct qcbm_undo_result *out, size_t size, struct qcbm_error *err);
/* The same of the image @image, which need not open: qcbm_edit_fields() can make it so, or make it open again. Takes
 * the locks and @flags of qcbm_open(), and returns what that does, too. */
QCBM_API int qcbm_undo_path(const char *image, unsigned flags, const char *path,
                            const struct qcbm_undo_options *options, struct qcbm_undo_result *out, size_t size,
                            struct qcbm_error *err);

/* ---- the chain --------------------------------------------------------------------------------------------------- */

/* The backing chain of an image: local qcow2 and raw files. Protocol names and json: are not followed, formats not
 * guessed; loops and more than 200 layers are refused. */
struct qcbm_chain;

struct qcbm_chain_layer {
    const char *filename;     /* as it was opened; lives until qcbm_chain_close() */
    const char *format;       /* "qcow2" or "raw" */
    uint64_t virtual_size;    /* a raw file's length is rounded up to 512, as QEMU does */
    uint64_t file_size;       /* length of the file (or device) */
    uint64_t disk_size;       /* bytes allocated for it, or QCBM_NO_OFFSET */
    struct qcbm_image *image; /* NULL for a raw layer; lives until the next qcbm_chain_get(). Do not close it. */
    bool is_device;           /* as in struct qcbm_image_info */
    uint32_t extent_size_hint;
};

/* Open all layers, with the kind of locks and the sharing that @img was opened with. @img is layer 0, and must outlive
 * the chain. Returns 0, QCBM_E_CHAIN, QCBM_E_LOCKED, QCBM_E_NOMEM. */
QCBM_API int qcbm_chain_open(struct qcbm_image *img, struct qcbm_chain **out, struct qcbm_error *err);
/* As qcbm_chain_open(), but a layer that cannot be opened does not hide those above it: returns 1 then, @err says which
 * and why, and *@out has the layers above it. Returns 0, 1, QCBM_E_NOMEM. */
QCBM_API int qcbm_chain_open_partial(struct qcbm_image *img, struct qcbm_chain **out, struct qcbm_error *err);
/* A chain of one layer: @path as a raw file, whatever is in it. @flags: QCBM_OPEN_FORCE_SHARE, QCBM_OPEN_INFO,
 * QCBM_OPEN_NO_LOCK. Returns 0, QCBM_E_ARG, and what qcbm_open() returns. */
QCBM_API int qcbm_chain_open_raw(const char *path, unsigned flags, struct qcbm_chain **out, struct qcbm_error *err);
/* The same on a backend of the caller, as qcbm_open_io() takes it. @name (may be NULL) is what the layer is called. */
QCBM_API int qcbm_chain_open_raw_io(const struct qcbm_io_ops *ops, void *self, const char *name, unsigned flags,
                                    struct qcbm_chain **out, struct qcbm_error *err);
QCBM_API uint32_t qcbm_chain_count(const struct qcbm_chain *chain);
/* @index in 0 .. count - 1, from the top down. Returns 0, QCBM_E_ARG, QCBM_E_IO, QCBM_E_NOMEM. */
QCBM_API int qcbm_chain_get(struct qcbm_chain *chain, uint32_t index, struct qcbm_chain_layer *out, size_t size,
                            struct qcbm_error *err);
QCBM_API void qcbm_chain_close(struct qcbm_chain *chain);

/* ---- guest bytes ------------------------------------------------------------------------------------------------- */

enum qcbm_read_flag {
    QCBM_READ_LAYER = 1u << 0,      /* of this image alone: what it has not reads as zeros, no backing file is opened */
    QCBM_READ_DATA_FILE = 1u << 1,  /* open the external data file that an image names, as it is named */
    QCBM_READ_FORCE_SHARE = 1u << 2 /* open other files as QCBM_OPEN_FORCE_SHARE does */
};

/* The bytes that the guest reads at [@offset, @offset + @length), which lies below the virtual size (rounded down to
 * 512 as QEMU does). Follows the backing chain (local qcow2 and raw files); the files it opens stay open, and locked,
 * until qcbm_close(). Cheapest in guest order. What cannot be read is an error, never zeros: compressed data that is
 * damaged, a cluster or a table past the end of the file, an encrypted one. @buf holds nothing of use then.
 * Returns 0, QCBM_E_ARG, QCBM_E_CORRUPT, QCBM_E_UNSUPPORTED (encrypted; zstd, in a build without; an external data file
 * without QCBM_READ_DATA_FILE), QCBM_E_CHAIN, QCBM_E_LOCKED, QCBM_E_UNSAFE (a commit failed), QCBM_E_IO,
 * QCBM_E_NOMEM. */
QCBM_API int qcbm_read(struct qcbm_image *img, uint64_t offset, void *buf, size_t length, unsigned flags,
                       struct qcbm_error *err);

/* ---- map --------------------------------------------------------------------------------------------------------- */

/* A run of guest bytes as qemu-img map tells it. */
struct qcbm_map_entry {
    uint64_t start, length; /* guest bytes */
    uint32_t depth;         /* layer of the chain that says so; 0 is the image itself */
    bool present;           /* some layer has it; else it reads as zeros */
    bool zero;              /* known to read as zeros */
    bool data;              /* clusters are there for it; with .zero they are a hole of the file */
    uint64_t offset;        /* in the file @filename, or QCBM_NO_OFFSET (compressed, encrypted, no cluster) */
    const char *filename;   /* NULL without offset; lives until qcbm_map() returns */
    bool compressed;        /* the data is stored compressed */
};
/* A non-zero return stops the walk with QCBM_E_ABORTED. */
typedef int qcbm_map_fn(void *opaque, const struct qcbm_map_entry *entry);

enum qcbm_map_flag { QCBM_MAP_FORCE_SHARE = 1u << 0 /* open backing layers as QCBM_OPEN_FORCE_SHARE does */ };

/* Call @fn for each run of equal state of guest range [@start, @start + @length), clipped at the virtual size, in guest
 * order and without gaps. Follows the backing chain (local qcow2 and raw files); a data file is not opened. Memory does
 * not depend on the size of the image. Where QEMU reads zeros because a table lies past the end of the file, so does
 * this, and adds a finding.
 * Returns 0, QCBM_E_CORRUPT (an entry that cannot be read; what comes before it has been given), QCBM_E_IO,
 * QCBM_E_NOMEM, QCBM_E_CHAIN, QCBM_E_LOCKED, QCBM_E_ABORTED. */
QCBM_API int qcbm_map(struct qcbm_image *img, uint64_t start, uint64_t length, unsigned flags, qcbm_map_fn *fn,
                      void *opaque, struct qcbm_error *err);

/* The same of a chain that is open. */
QCBM_API int qcbm_chain_map(struct qcbm_chain *chain, uint64_t start, uint64_t length, qcbm_map_fn *fn, void *opaque,
                            struct qcbm_error *err);

/* As qcbm_extents_fill(), of the map; @from: guest bytes. The first call on a chain reads the L1 tables. Names of files
 * live until qcbm_chain_close(). Nothing is added to the findings: qcbm_chain_map() does that.
 * Returns 0, QCBM_E_ARG, QCBM_E_CORRUPT, QCBM_E_IO, QCBM_E_NOMEM. */
QCBM_API int qcbm_chain_map_fill(struct qcbm_chain *chain, uint64_t from, struct qcbm_map_entry *array,
                                 size_t elem_size, size_t n, size_t *got, uint64_t *next, struct qcbm_error *err);

/* ---- the image file ---------------------------------------------------------------------------------------------- */

enum qcbm_host_kind {
    QCBM_HOST_FREE,      /* no refcount, and nothing refers to it */
    QCBM_HOST_LEAKED,    /* a refcount, and nothing refers to it */
    QCBM_HOST_UNCOUNTED, /* something refers to it, and it has no refcount: the next write may take it */
    QCBM_HOST_HEADER,    /* header, snapshot table, LUKS header */
    QCBM_HOST_TABLES,    /* L1 and L2 tables, of snapshots as well */
    QCBM_HOST_REFCOUNTS, /* refcount table and blocks */
    QCBM_HOST_BITMAPS,   /* their directory, tables and bits; not of stale ones, which are leaked */
    QCBM_HOST_DATA,      /* what the guest reads */
    QCBM_HOST_COMPRESSED,
    QCBM_HOST_SNAPSHOTS /* data that only snapshots have */
};
struct qcbm_host_extent {
    uint64_t offset, length;  /* bytes of the file */
    enum qcbm_host_kind kind; /* of several the first in the order HEADER, TABLES ... SNAPSHOTS */
};
/* A non-zero return stops the walk with QCBM_E_ABORTED. */
typedef int qcbm_host_map_fn(void *opaque, const struct qcbm_host_extent *extent);

/* Call @fn for each run of clusters that are used for the same, in the order of the file, without gaps, from 0 to its
 * end. Data is a run as long as what comes next on the disk, and lies in the file, lies next there: so where data is in
 * pieces, so are its runs. A check says what is wrong with an image; this leaves out what leads nowhere, and does not
 * tell too low refcounts from right ones. Of a data file nothing is told. Opens no other file. Memory: some bits a
 * cluster of the file, where these are not all alike. @progress in bytes of the file, roughly; may be NULL.
 * Returns 0, QCBM_E_LIMIT (too many clusters), QCBM_E_IO, QCBM_E_NOMEM, QCBM_E_ABORTED. */
QCBM_API int qcbm_host_map(struct qcbm_image *img, qcbm_host_map_fn *fn, void *opaque,
                           const struct qcbm_progress *progress, struct qcbm_error *err);

/* ---- measure ----------------------------------------------------------------------------------------------------- */

enum qcbm_measure_flag {
    QCBM_MEASURE_FORCE_SHARE = 1u << 0, /* as QCBM_MAP_FORCE_SHARE */
    QCBM_MEASURE_PREALLOCATED = 1u << 1 /* the copy gets all its data clusters at once */
};

struct qcbm_measure_options { /* of the copy; 0 = QEMU's default */
    size_t struct_size;
    uint32_t cluster_size, refcount_bits, version;
    unsigned flags;
    bool extended_l2;
    const struct qcbm_progress *progress; /* in guest bytes; may be NULL */
};
#define QCBM_MEASURE_OPTIONS_INIT                                                                                      \
    {                                                                                                                  \
        sizeof(struct qcbm_measure_options), 0, 0, 0, 0, false, NULL                                                   \
    }

struct qcbm_measure {
    uint64_t required;        /* bytes of a copy of what is data now */
    uint64_t fully_allocated; /* bytes once all of the disk has been written */
    uint64_t bitmaps;         /* bytes on top for copies of the bitmaps, those in use included */
    bool has_bitmaps;
};

/* How large would a qcow2 copy of @img and its chain be, without a backing file? With @img NULL: a new image of @size
 * bytes, else @size is not looked at. Reads metadata only.
 * Returns 0, QCBM_E_ARG, QCBM_E_LIMIT (too large a disk for the cluster size), and what qcbm_map() returns. */
QCBM_API int qcbm_measure(struct qcbm_image *img, uint64_t size, const struct qcbm_measure_options *options,
                          struct qcbm_measure *out, size_t out_size, struct qcbm_error *err);

/* The same of a chain that is open; QCBM_MEASURE_FORCE_SHARE has no effect. */
QCBM_API int qcbm_chain_measure(struct qcbm_chain *chain, const struct qcbm_measure_options *options,
                                struct qcbm_measure *out, size_t out_size, struct qcbm_error *err);

/* ---- raw disks --------------------------------------------------------------------------------------------------- */

/* The data of a disk stays in a raw file or on a block device, and a qcow2 image that has metadata alone names it as
 * its external data file (data_file_raw): so a raw disk has persistent bitmaps. All L2 entries of such a metadata image
 * are there from the start, each naming the data at its own offset. What a guest discards or zeroes gets an entry that
 * reads as zeros, and hides what another program writes to the data there afterwards. */

enum qcbm_attach_flag {
    QCBM_ATTACH_DRY_RUN = 1u << 0,         /* write nothing; tell what would be made */
    QCBM_ATTACH_EXTENDED_L2 = 1u << 1,     /* 32 subclusters in each; what a guest discards are clusters */
    QCBM_ATTACH_BITMAP_DISABLED = 1u << 2, /* the bitmap does not record */
    /* Though the data begins as an image of another format does, or the name that is stored does not lead to it from
     * here */
    QCBM_ATTACH_FORCE = 1u << 3,
    QCBM_ATTACH_NO_LOCK = 1u << 4 /* go on where the data's file system has no OFD locks */
};

struct qcbm_attach_options {
    size_t struct_size;
    /* 512 .. 2 MiB. 0: 2 MiB with subclusters; else 64 KiB, or up to 2 MiB, by what a device says that it can
     * discard */
    uint32_t cluster_size;
    unsigned flags;        /* enum qcbm_attach_flag */
    const char *data_name; /* stored as it is; a relative one starts in the working directory of who opens it. NULL: the
                              absolute one */
    const char *bitmap;    /* name of a first bitmap, clean; NULL: none */
    uint64_t granularity;  /* of that; 0 = QEMU's default */
    const struct qcbm_progress *progress; /* in bytes written; may be NULL */
};
#define QCBM_ATTACH_OPTIONS_INIT                                                                                       \
    {                                                                                                                  \
        sizeof(struct qcbm_attach_options), 0, 0, NULL, NULL, 0, NULL                                                  \
    }

struct qcbm_attach_result {
    uint64_t virtual_size; /* bytes of the data */
    uint32_t cluster_size;
    bool extended_l2, data_is_device;
    uint64_t file_size;           /* of the metadata image */
    uint64_t granularity;         /* of the bitmap; 0: there is none */
    uint64_t discard_granularity; /* bytes, as the device says; 0: not known */
};

/* Make the metadata image @path for the raw file or block device @data, which is opened for reading alone, under the
 * locks of a reader, and of which nothing but the first sector and the length is looked at. @path must not exist; it
 * gets its name when all of it is durable, and is for its owner alone. The disk is as long as the data. Memory: 8 bytes
 * for each L2 table, and 2 MiB.
 * @options NULL = defaults. *@out (may be NULL) is filled on success.
 * Returns 0, QCBM_E_EXISTS, QCBM_E_NOTFOUND, QCBM_E_LOCKED (@data is written to), QCBM_E_NOLOCKS, QCBM_E_ARG (@data is
 * empty, or not a multiple of 512; a granularity or size of clusters that there is not), QCBM_E_UNSAFE (what
 * QCBM_ATTACH_FORCE is for), QCBM_E_LIMIT (too large for such clusters, or such a granularity), QCBM_E_UNSUPPORTED,
 * QCBM_E_NOSPACE, QCBM_E_IO, QCBM_E_NOMEM, QCBM_E_ABORTED. */
QCBM_API int qcbm_attach(const char *data, const char *path, const struct qcbm_attach_options *options,
                         struct qcbm_attach_result *out, size_t size, struct qcbm_error *err);

/* How long is a metadata image for @size bytes, without a bitmap? Returns 0, QCBM_E_ARG, QCBM_E_LIMIT. */
QCBM_API int qcbm_attach_measure(uint64_t size, uint32_t cluster_size, bool extended_l2, uint64_t *file_size,
                                 struct qcbm_error *err);

struct qcbm_bitmap_measure {
    uint64_t granules;
    uint64_t least, most; /* bytes in the image: all clean or all dirty; and some dirty in each part of it */
};
/* What does a bitmap take of an image with a disk of @size bytes? @granularity as in qcbm_edit_add(), but 0 is none.
 * Returns 0, QCBM_E_ARG, QCBM_E_LIMIT (QEMU has no bitmaps of so many granules). */
QCBM_API int qcbm_bitmap_measure(uint64_t size, uint32_t cluster_size, uint64_t granularity,
                                 struct qcbm_bitmap_measure *out, size_t out_size, struct qcbm_error *err);

struct qcbm_attach_finding {
    const char *code;        /* stable, e.g. "zero-over-data"; qcbm-attach(1) has them all */
    bool fault;              /* else a warning: worth knowing, and no reason to distrust the disk */
    uint64_t offset, length; /* guest bytes that it is about, or QCBM_NO_OFFSET and 0 */
    const char *message;     /* one line; these strings live until the callback returns */
    const char *cure;        /* one line: what to do about it */
};
/* Called in the order of the disk, behind what is about all of it. A non-zero return stops with QCBM_E_ABORTED. */
typedef int qcbm_attach_finding_fn(void *opaque, const struct qcbm_attach_finding *finding);

struct qcbm_attach_verify_options {
    size_t struct_size;
    const char *data;                /* the data, as it should be; NULL: what the image names */
    qcbm_attach_finding_fn *finding; /* may be NULL: totals only */
    void *opaque;
    const struct qcbm_progress *progress; /* in bytes of metadata; may be NULL */
};
#define QCBM_ATTACH_VERIFY_OPTIONS_INIT                                                                                \
    {                                                                                                                  \
        sizeof(struct qcbm_attach_verify_options), NULL, NULL, NULL, NULL                                              \
    }

struct qcbm_attach_verify_result {
    uint64_t faults, warnings; /* findings, those that were left out included */
    uint64_t left_out;         /* more than 65536 ranges: these were counted and not told */
    uint64_t zero_bytes;       /* guest bytes that read as zeros by their entries */
    uint64_t zero_over_data;   /* of these: in pieces of which the data has something that is not zero */
    uint64_t data_size;        /* bytes of the data, or QCBM_UNKNOWN */
};

/* Does the metadata image @img show the raw data as it is? Its features, the name, the length of the data, each entry,
 * and where entries read as zeros, the data itself: nothing else of it is read. The data is opened for reading, as @img
 * was. Time is linear in the length of the file and of what reads as zeros; memory: 24 bytes for each L2 table, and the
 * findings.
 * Returns 0 whatever is found; QCBM_E_CORRUPT (the L1 table cannot be read), QCBM_E_LOCKED (the data is), QCBM_E_IO,
 * QCBM_E_NOMEM, QCBM_E_ABORTED. Data that cannot be opened is a finding, unless it is locked. */
QCBM_API int qcbm_attach_verify(struct qcbm_image *img, const struct qcbm_attach_verify_options *options,
                                struct qcbm_attach_verify_result *out, size_t size, struct qcbm_error *err);

struct qcbm_attach_reset {
    uint64_t entries;        /* that are not plain, and become so */
    uint64_t reset_bytes;    /* guest bytes that they are about */
    uint64_t changed_bytes;  /* of these: what the guest reads there changes, in pieces of a cluster or subcluster */
    uint32_t bitmaps_marked; /* each gets these bits */
    uint32_t bitmaps_left;   /* those in use, or damaged, do not */
};

/* Have the edited metadata image show the raw data as it is: all L2 entries name it at its own offset again. @data: the
 * data, or NULL for what the image names; it is read where entries are not plain. Where what the guest reads changes,
 * all bitmaps get dirty bits in the same commit, before any entry is changed: a cut leaves some of the entries as they
 * were. *@out (may be NULL) is filled on success. At most once in an edit.
 * Returns 0, QCBM_E_UNSUPPORTED (no raw external data file), QCBM_E_UNSAFE (an L2 table is missing or damaged: attach
 * the data anew), QCBM_E_CHAIN (the data cannot be opened), QCBM_E_LOCKED, QCBM_E_ARG, QCBM_E_CORRUPT, QCBM_E_IO,
 * QCBM_E_NOMEM, QCBM_E_ABORTED. */
QCBM_API int qcbm_edit_attach_reset(struct qcbm_edit *edit, const char *data, struct qcbm_attach_reset *out,
                                    size_t size, struct qcbm_error *err);

/* ======== low level: storage of your own, and a close look at what lies in the file =============================== */

/* ---- other ways to open ------------------------------------------------------------------------------------------ */

/* As qcbm_open(), on a file or block device that is open as @fd: for those who get descriptors, not names. The library
 * takes @fd over, and closes it on failure too. QCBM_OPEN_WRITE needs O_RDWR; O_APPEND (with it), O_DIRECT and O_PATH
 * are refused with QCBM_E_ARG. A duplicate of @fd that stays open keeps the locks alive. The image has no name: a
 * relative name of a backing file is looked for in the working directory, and options->since of qcbm_synth() is
 * refused. */
QCBM_API int qcbm_open_fd(int fd, unsigned flags, struct qcbm_image **out, struct qcbm_error *err);

struct qcbm_io_ops; /* see qcbm-io.h */

/* As qcbm_open(), on a backend of the caller. @ops and @self must outlive the image; @ops->close is called by
 * qcbm_close(), and by this function when it fails. */
QCBM_API int qcbm_open_io(const struct qcbm_io_ops *ops, void *self, unsigned flags, struct qcbm_image **out,
                          struct qcbm_error *err);

/* Which format do the first bytes of @path show, by QEMU's rules? "qcow2"; "raw" where no other is seen; the names of
 * those that this library does not read are QEMU's, as "vmdk". Only for files that a person named: a guest chooses what
 * its disk begins with, so what an image names must not be guessed.
 * Returns 0, QCBM_E_NOTFOUND, QCBM_E_IO, QCBM_E_UNSUPPORTED (not a regular file or block device), QCBM_E_NOMEM. */
QCBM_API int qcbm_probe(const char *path, const char **format, struct qcbm_error *err);
/* The same of a backend, which stays the caller's and open; @name (may be NULL) may tell by how it ends. */
QCBM_API int qcbm_probe_io(const struct qcbm_io_ops *ops, void *self, const char *name, const char **format,
                           struct qcbm_error *err);

/* Do both names lead to the same file? False if one of them leads to none. */
QCBM_API bool qcbm_same_file(const char *a, const char *b);

/* The local file that a name for QEMU stands for, a part of @name: what is behind "file:", or all of it. NULL for other
 * protocols and for json:. */
QCBM_API const char *qcbm_local_name(const char *name);

/* ---- trace ------------------------------------------------------------------------------------------------------- */

enum qcbm_trace_kind {
    QCBM_TRACE_OPEN, /* a file is open: the image (at once), a layer of its chain, an undo file; length is that of it */
    QCBM_TRACE_READ, /* bytes were read; what says of which structure */
    QCBM_TRACE_STAGE, /* a commit begins a stage of its plan; length counts the bytes that it will write */
    QCBM_TRACE_WRITE, /* bytes were written */
    QCBM_TRACE_FLUSH, /* all before is durable */
    QCBM_TRACE_RESIZE /* the file got the length @length */
};

struct qcbm_trace_event { /* its strings live until the callback returns */
    enum qcbm_trace_kind kind;
    const char *file; /* name as it was opened; "" for an image without one */
    const char *what; /* "L2 table", "bitmap directory", name of a stage ...; may be empty */
    uint64_t offset, length;
    int result; /* 0, or the code with which it failed */
};
typedef void qcbm_trace_fn(void *opaque, const struct qcbm_trace_event *event);

/* From now on tell @fn (NULL: nobody) what is done with the files of @img, each when it has been done, on the thread
 * that did it: that of the call, as no other is used. What the file was asked before, to open the image, is not told.
 * Without a trace the cost is a test of a pointer.
 * The callback must not call the library with @img. */
QCBM_API void qcbm_set_trace(struct qcbm_image *img, qcbm_trace_fn *fn, void *opaque);

/* ---- dump -------------------------------------------------------------------------------------------------------- */

/* Structures as they lie on the disk. A dump opens any file, whatever is wrong with it, and shows raw values. */
struct qcbm_dump;

enum qcbm_dump_kind {
    QCBM_DUMP_HEADER,
    QCBM_DUMP_EXTENSIONS,
    QCBM_DUMP_L1,        /* range: guest bytes */
    QCBM_DUMP_L2,        /* range: guest bytes */
    QCBM_DUMP_REFCOUNTS, /* range: bytes of the file */
    QCBM_DUMP_SNAPSHOTS, /* range: entries */
    QCBM_DUMP_BITMAPS    /* range: entries; tables and bits are shown if the range has an end */
};

struct qcbm_dump_item {
    uint64_t offset, length; /* where it lies in the file */
    const char *name;        /* of the field or entry */
    uint64_t index;          /* in its table, or QCBM_NO_OFFSET */
    uint64_t value;          /* as stored; a count for runs */
    const uint8_t *bytes;    /* in place of a value, or NULL. Valid during the call, as the strings */
    size_t n_bytes;
    const char *meaning; /* for people; may be empty */
    const char *problem; /* the rule that it breaks, or NULL */
};
/* A non-zero return stops with QCBM_E_ABORTED. */
typedef int qcbm_dump_fn(void *opaque, const struct qcbm_dump_item *item);

/* @flags: QCBM_OPEN_FORCE_SHARE, QCBM_OPEN_NO_LOCK. Locks as qemu-img info does.
 * Returns 0, QCBM_E_IO, QCBM_E_NOMEM, QCBM_E_UNSUPPORTED (no file or block device), QCBM_E_LOCKED, QCBM_E_NOLOCKS. */
QCBM_API int qcbm_dump_open(const char *path, unsigned flags, struct qcbm_dump **out, struct qcbm_error *err);
QCBM_API int qcbm_dump_open_io(const struct qcbm_io_ops *ops, void *self, unsigned flags, struct qcbm_dump **out,
                               struct qcbm_error *err);
/* Entries @first to @last (UINT64_MAX: to the end) of @part; entries that are zero are left out. A table that several
 * entries name is shown once. @progress in entries of the table that is walked (L1, L2, refcounts); may be NULL.
 * Returns 0, QCBM_E_CORRUPT (nothing can be shown: the header does not say how large tables are), QCBM_E_IO,
 * QCBM_E_NOMEM, QCBM_E_ABORTED. */
QCBM_API int qcbm_dump_part(struct qcbm_dump *dump, enum qcbm_dump_kind part, uint64_t first, uint64_t last,
                            qcbm_dump_fn *fn, void *opaque, const struct qcbm_progress *progress,
                            struct qcbm_error *err);
QCBM_API void qcbm_dump_close(struct qcbm_dump *dump);

#ifdef __cplusplus
}
#endif

/* Subjects of their own, which build on all of the above. */
#include "qcbm-check.h"
#include "qcbm-checkpoint.h"
#include "qcbm-delta.h"
#include "qcbm-manifest.h"

#endif
