/* qcbm.h - libqcbm: qcow2 images and their dirty bitmaps, offline
 *
 * SPDX-License-Identifier: MIT
 *
 * Read top to bottom. The main job comes first: version, errors, progress and cancel, open and close, synthesise, dirty
 * extents. Then looking: image, bitmaps, problems, snapshots. Then changing: change, bitmaps in files of their own, undo.
 * Then the whole image and its disk: check, untrusted images, the chain, guest bytes, map, measure, raw disks, manifests. Last the low level,
 * which most programs do not need: other ways to open, trace, dump, fields by hand. Each group has a manual page; libqcbm(3)
 * lists them.
 *
 * Rules that hold for every call:
 *  - 0 is success, a negative value is one of enum qcbm_code; a positive value is documented where it occurs.
 *  - The last parameter is an error object that the caller owns; it may be NULL, and success never touches it. A call
 *    without one fails with QCBM_E_ARG alone, and only for an @index or @size that is out of range.
 *  - A handle belongs to one thread at a time. The library keeps no globals, prints nothing and never exits.
 *  - Options structs start with struct_size; initialise them with their _INIT macro. NULL means defaults. What a newer
 *    program sets and this library does not know is refused with QCBM_E_UNSUPPORTED.
 *  - A struct that the library fills comes with @size, which is sizeof *out as the caller was compiled: a shorter, older one
 *    is filled up to its end, a longer, newer one with zeros behind what is known. No size of a struct is QCBM_E_ARG.
 *  - Structs that callbacks get are the library's, and grow at their end. They and their strings live until the callback
 *    returns, if nothing else is said.
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

/* Long calls take a pointer to such a struct, which may be NULL and lives until they return. @fn is called now and then, on
 * the thread of the call, with how much of @total is done, in units that the call names: @done never falls and never passes
 * @total, which may be an estimate. Non-zero cancels: the call returns QCBM_E_ABORTED, and has done nothing but what its own
 * comment says. Calls that give out their answer piece by piece are cancelled by the callback that gets the pieces. */
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

/* From now on long calls on @img, and on the layers below it that they open, read its tables with @n threads at most, that of
 * the caller among them: 1 for no other, 0 (as after opening) for as many as there are processors for this process, up to 8;
 * more than 16 are taken for 16. What is small is read by the caller's thread alone, as is all while there is a trace. Other
 * threads call nothing of the caller but read_at of a backend, and have ended when the call returns; answers are the same. */
QCBM_API void qcbm_set_threads(struct qcbm_image *img, unsigned n);

/* Close @img and drop its locks. NULL is fine. */
QCBM_API void qcbm_close(struct qcbm_image *img);

/* ---- synthesise -------------------------------------------------------------------------------------------------- */

enum qcbm_synth_flag {
    QCBM_SYNTH_DISABLED = 1u << 0, /* a frozen bitmap; default is enabled */
    QCBM_SYNTH_REPLACE = 1u << 1,  /* NAME may exist: swap it in the same commit; of one in use the saved bits stay */
    QCBM_SYNTH_MERGE = 1u << 2,    /* NAME may exist: OR into it (its granularity stays) */
    /* Mark everything dirty with a raw external data file; go on with lost tables, and where the saved bits of a bitmap in
     * use that is replaced cannot be read */
    QCBM_SYNTH_FORCE = 1u << 3,
    QCBM_SYNTH_ALLOW_DAMAGE = 1u << 4, /* report damage and loss in the result, do not fail; for dry runs */
    QCBM_SYNTH_FORCE_SHARE = 1u << 5,  /* open layers of the chain as QCBM_OPEN_FORCE_SHARE does */
    QCBM_SYNTH_DIRTY_TAIL = 1u << 6    /* mark dirty what lies past the end of the backing file (follows the chain) */
};

/* Leave out granules that hold what the disk held before. What that was is known for what an overlay has allocated: its
 * backing chain has it, from options->since on down. Otherwise, with since_snapshot, or merging into a bitmap that is there,
 * options->refine_against has to say it. */
enum qcbm_refine {
    QCBM_REFINE_NONE,
    QCBM_REFINE_ZERO, /* what reads as zeros on both sides, by the metadata of both: no data is read */
    QCBM_REFINE_CONTENT /* what has the same content: all that is dirty is read, here and there; not of an encrypted image */
};

struct qcbm_synth_options {
    size_t struct_size;
    uint64_t granularity; /* 0 = that of a bitmap which is replaced or merged into, else QEMU's default for the image */
    const char *since;    /* path of the chain's image to compare against; NULL = the overlay's backing file */
    unsigned flags;
    const struct qcbm_progress *progress; /* in bytes of metadata, and with refine of the disk; may be NULL */
    /* An internal snapshot, "id:ID", "name:NAME", or either without a prefix where it fits one alone: what changed since then
     * in the image itself, in place of what it has allocated. Not with @since, nor with QCBM_SYNTH_DIRTY_TAIL. */
    const char *since_snapshot;
    const char
        *snapshot;   /* changes up to this one, not up to now; then a bitmap of the image itself must be disabled */
    unsigned refine; /* enum qcbm_refine; not with QCBM_SYNTH_DIRTY_TAIL */
    /* What the disk held when the bitmap began: "snapshot:S", an internal snapshot of the image, or the path of an image or
     * raw disk, of which what lies behind its end is zeros, or with QCBM_REFINE_CONTENT of a manifest or a fixed index, behind
     * the end of which all stays; NULL: the backing chain. What the bitmap had before is not refined */
    const char *refine_against;
    const char *refine_format; /* of that file: "qcow2", "raw", or NULL: by its first bytes */
    /* In place of what the image has allocated: what differs from this manifest, or fixed index of Proxmox Backup Server, in
     * all that the guest reads. What cannot be read is dirty, and so is what lies behind the end of the disk of the manifest.
     * Only with @within, @granularity, @progress, and flags about the bitmap that gets it; FORCE takes an index of which nothing
     * is equal */
    const char *against;
    const char *within; /* a bitmap of the image that misses nothing: what it has clean is not read */
};
#define QCBM_SYNTH_OPTIONS_INIT                                                                                        \
    {                                                                                                                  \
        sizeof(struct qcbm_synth_options), 0, NULL, 0, NULL, NULL, NULL, 0, NULL, NULL, NULL, NULL                     \
    }

struct qcbm_synth_result; /* owned by the caller, see qcbm_synth_result_free() */

/* Write into @img a bitmap @name with a bit for each granule that @img changed: everything allocated in it (or in it and
 * the layers above options->since), in one commit as of qcbm_edit_commit(). Only @img is read, unless options->since or
 * DIRTY_TAIL ask for its chain. @options NULL = defaults. *@out (may be NULL) gets the figures, on success alone.
 * With options->since_snapshot the granules in which two states of @img differ, in place of all that: compared are two L1
 * tables, the L2 tables that differ, and refcounts of what is shared, which must be 2 at least.
 * In each case all refcounts, and all mapping tables of all states, are read once to look for lost mapping tables.
 * Returns 0, QCBM_E_EXISTS, QCBM_E_INUSE, QCBM_E_ARG, QCBM_E_LIMIT, QCBM_E_UNSUPPORTED (version 2, raw data file; snapshots
 * with a data file), QCBM_E_NOTFOUND (no such snapshot), QCBM_E_UNSAFE (damaged entries, lost mapping tables, dirty or
 * corrupt bit), QCBM_E_CHAIN, QCBM_E_CORRUPT, QCBM_E_IO, QCBM_E_NOMEM, QCBM_E_NOSPACE,
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
    /* The snapshots that were compared, as the options name them; live until qcbm_synth_result_free(). NULL: none, and of the
     * second, the active state */
    const char *since_snapshot_id, *since_snapshot_name, *snapshot_id, *snapshot_name;
    /* Left out: granules of which all that counted as changed is zeros on both sides, by metadata; and those that were read */
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
    QCBM_EXTENTS_ZERO = 1u << 0,       /* fill .zero; follows the backing chain (local qcow2 and raw files) */
    QCBM_EXTENTS_FORCE_SHARE = 1u << 1 /* open backing layers as QCBM_OPEN_FORCE_SHARE does */
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
 * filled). *@got says how many they are, *@next where the next page goes on. Fewer than @n, and none at last: there are no
 * more, or the next one cannot be read, which the next call says. Pages, one after the other, are what the callback gets; a
 * page that begins within a run has the rest of it. Where a page begins costs nothing. */

/* The extents of one bitmap, of layers, or of two states, to be asked for in any order. @img must outlive it; a commit makes it void
 * (QCBM_E_ARG), and it is still to be closed. It has the backing files open if options->flags has QCBM_EXTENTS_ZERO. */
struct qcbm_extents;

/* Returns what qcbm_bitmap_extents_of() returns. */
QCBM_API int qcbm_extents_open(struct qcbm_image *img, const char *name, const struct qcbm_extents_options *options,
                               struct qcbm_extents **out, struct qcbm_error *err);
/* Without a bitmap: .dirty is what @img itself holds (data, compressed, zeros), to the byte, and with extended L2 to the
 * subcluster; no other file is opened. With @since, an image of its backing chain: what @img and the layers between hold,
 * and what the shorter ones of these hide of longer ones below, as qcbm_synth() takes it; opens the chain as far as @since.
 * Of a raw external data file all is held. Entries that break a rule that QEMU does not look at count as held.
 * QCBM_EXTENTS_ZERO: with @since, the guest reads zeros, and all of the chain is open; without it, @img says so by itself:
 * in what it holds, and in the rest if it has no backing file. Returns 0, QCBM_E_ARG (@since is @img itself),
 * QCBM_E_NOTFOUND, QCBM_E_CHAIN (@since is not in the chain), QCBM_E_CORRUPT, QCBM_E_LOCKED, QCBM_E_IO, QCBM_E_NOMEM. */
QCBM_API int qcbm_extents_open_layers(struct qcbm_image *img, const char *since,
                                      const struct qcbm_extents_options *options, struct qcbm_extents **out,
                                      struct qcbm_error *err);
/* .dirty is what differs between two states of @img: the internal snapshot @from and @to, or the active state if that is NULL;
 * snapshots are named as in struct qcbm_synth_options, and compared as qcbm_synth() does it, when this is called. To the cluster,
 * with extended L2 the subcluster. The disk has the size of the second state; what the first one did not have of it is dirty.
 * QCBM_EXTENTS_ZERO: the guest reads zeros in the second state.
 * Returns 0, QCBM_E_ARG (several snapshots fit), QCBM_E_NOTFOUND (none does, or a layer is missing), QCBM_E_UNSAFE (damage: what
 * the states share cannot be relied on), QCBM_E_UNSUPPORTED (an external data file), QCBM_E_CORRUPT, QCBM_E_LIMIT, QCBM_E_CHAIN,
 * QCBM_E_LOCKED, QCBM_E_IO, QCBM_E_NOMEM. */
QCBM_API int qcbm_extents_open_snapshots(struct qcbm_image *img, const char *from, const char *to,
                                         const struct qcbm_extents_options *options, struct qcbm_extents **out,
                                         struct qcbm_error *err);
/* Guest bytes of the disk that they are of, in whole sectors: another one than now where a snapshot was of another size. */
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
/* The LUKS header (version 1) of an image with crypt_method 2, by the "LUKS On-Disk Format Specification": what can be told
 * without a key. On failure *out is zeros.
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

/* Stale bitmaps (bitmaps_stale): a program that does not know bitmaps wrote to the image. They cannot be used or edited,
 * and the next commit gives them up: clusters that are provably theirs are freed, others stay.
 * @index in 0 .. stale_bitmap_count - 1. @out->usable is false. Returns 0, QCBM_E_ARG. */
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
/* Count the bits of bitmap @index. Reads its table and data. An in-use bitmap is counted as stored: what it will have, or
 * should have had, cannot be known, and is not to be shown to people. @progress in granules; may be NULL.
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
    QCBM_PROBLEM_BITMAP_UNREADABLE
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

/* Read the table of internal snapshots; afterwards qcbm_snapshot_get() serves entries 0 .. *@count - 1, which on failure
 * are those before the bad one.
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
 * directory cannot be rewritten without losing something). For an image that was opened for reading, version and bits are
 * left to qcbm_edit_plan(): what an edit would do can be asked of such images too. */
QCBM_API int qcbm_edit_begin(struct qcbm_image *img, struct qcbm_edit **out, struct qcbm_error *err);
QCBM_API void qcbm_edit_free(struct qcbm_edit *edit);

enum qcbm_bitmap_flag { QCBM_BITMAP_DISABLED = 1u << 0 };

/* A new, clean bitmap. @granularity 0 = QEMU's default. Returns 0, QCBM_E_EXISTS, QCBM_E_ARG, QCBM_E_LIMIT, QCBM_E_NOMEM. */
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
/* A new bitmap @name with granularity, state and bits of bitmap @src of @src_img (NULL as above). The virtual sizes must
 * be equal to the byte. Extra data is not copied. Also returns QCBM_E_EXISTS, QCBM_E_LIMIT, QCBM_E_UNSUPPORTED. */
QCBM_API int qcbm_edit_copy(struct qcbm_edit *edit, const char *name, struct qcbm_image *src_img, const char *src,
                            struct qcbm_error *err);
/* The same two for a source whose disk was smaller and has grown since, as with a resize or a copy to a larger volume: a
 * bitmap tells nothing of what lies behind its end, so that is dirty. QCBM_E_ARG: the source's disk is larger. */
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

/* What qcbm_synth() does, staged in @edit beside other changes. @edit may be of @overlay itself, or of another image, which
 * gets the bitmap; dirty ranges past the end of that image are refused.
 * Returns 0, QCBM_E_EXISTS, QCBM_E_INUSE, QCBM_E_ARG, QCBM_E_LIMIT, QCBM_E_UNSUPPORTED (raw data file), QCBM_E_UNSAFE
 * (damaged entries, lost mapping tables, saved bits that cannot be read), QCBM_E_CHAIN, QCBM_E_CORRUPT, QCBM_E_IO, QCBM_E_NOMEM, QCBM_E_LOCKED,
 * QCBM_E_ABORTED. */
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
    /* Dirty by the stored bits, by what is allocated (in granules, not for a trusted one), and now. Against an exact bitmap
     * no more than dirty_bytes - stored_bytes are copied for nothing. */
    uint64_t stored_bytes, allocated_bytes, dirty_bytes;
    bool enabled;
};
/* A non-zero return ends the call with QCBM_E_ABORTED. */
typedef int qcbm_revive_fn(void *opaque, const struct qcbm_revived *revived);

/* Make of bitmap @name, or of each that is in use (NULL), one that can be relied on: a superset of what was written since
 * it was exact, that records. That holds if the disk has not been made shorter, and if no data was taken out of the image
 * behind QEMU's back since. Where a mapping table is lost, may be (many clusters leak), or has entries that make no sense,
 * what was written there is known no more, and all of the disk is dirty; wrong refcounts alone are no reason for that. In an
 * edit that mends what counts is the image before any repair. @fn (may be NULL) is called for each. @flags: enum qcbm_revive_flag.
 * Returns 0, QCBM_E_NOTFOUND, QCBM_E_ARG (it is not in use), QCBM_E_UNSUPPORTED (a raw data file), QCBM_E_CORRUPT (cannot be
 * read, with TRUST), QCBM_E_IO, QCBM_E_NOMEM, QCBM_E_ABORTED. */
QCBM_API int qcbm_edit_revive(struct qcbm_edit *edit, const char *name, unsigned flags, qcbm_revive_fn *fn,
                              void *opaque, struct qcbm_error *err);

/* The same of bitmap @name alone, exactly: dirty is what differs from the manifest (or fixed index of Proxmox Backup Server)
 * @against, made when the bitmap began, and what cannot be read. All that the guest reads is read, through all layers, so
 * this serves raw data files, too. @progress, in bytes of the disk, may be NULL.
 * Returns 0, QCBM_E_NOTFOUND, QCBM_E_ARG (it is not in use; the disk is smaller than that of the manifest), QCBM_E_UNSAFE (nothing
 * of an index is equal), QCBM_E_CHAIN, and what qcbm_manifest_open() and qcbm_manifest_verify() return. */
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

/* What the bitmaps called @name say in all layers of the chain whose top is the edited image, put into the top's, or into a
 * new one called @as with granularity and state of the top's (NULL: none): what changed since a checkpoint, which libvirt
 * takes from all layers and a server of one bitmap from the first alone. Rounds outward; bits past the end of the top are
 * dropped. @fn (may be NULL) is called for each layer, from the top down. The rule is libvirt's: the top has the bitmap, and
 * so has each layer down to the one in which it begins; one that is disabled, which libvirt does not accept, is taken.
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

/* The bitmaps' half of a commit of @top into the edited image, which is below it; the data is not looked at. By libvirt's
 * rule each bitmap of @top that records, and can be relied on, in all layers down to the one in which it begins, is merged
 * into the base's of its name, which is made where there is none. Others are left out. Done before the data goes down, no
 * power cut leaves data there that the bitmaps do not know. @fn (may be NULL) is called for each bitmap of @top, and for
 * those that the base alone has. @top is only read, and no change of @edit is taken for what it stores. If the call fails,
 * free @edit.
 * Returns 0, QCBM_E_CHAIN (the image is not below @top, or the chain cannot be opened), QCBM_E_ARG (it is smaller than @top),
 * QCBM_E_UNSAFE (the bitmaps of @top are stale or its directory is damaged), what qcbm_edit_add() returns, QCBM_E_IO,
 * QCBM_E_LOCKED, QCBM_E_ABORTED. */
QCBM_API int qcbm_edit_commit_bitmaps(struct qcbm_edit *edit, struct qcbm_image *top, qcbm_commit_bitmap_fn *fn,
                                      void *opaque, struct qcbm_error *err);

/* Have plan and commit of @edit tell how far they are. A plan begins with a scan, and tells bytes of the mapping tables that
 * it reads. A commit that plans first tells these, and then its writes as what is left of the total, which was estimated in
 * bytes before they were known, and stays; a commit of what has been planned tells the bytes that it writes. Each call goes
 * from 0 to its total once.
 * Asked for an end while it plans, a call returns QCBM_E_ABORTED, has staged and written nothing, and can be repeated.
 * While it writes, a commit stops before it switches to the new state: the old state is in place, clusters may have leaked,
 * and the handle must be closed, as after any failure. From the switch on it goes to its end. @progress must live as long as
 * @edit; NULL: tell nobody. */
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

/* A bitmap that travelled beside a copy of its disk: is the disk of @edit that copy? Of bitmap @name, as it is in @edit, all that
 * is dirty is compared with the manifest (or fixed index of Proxmox Backup Server) @manifest, made of the disk when it was
 * copied, and up to 64 MiB in up to 1,024 granules more where it is clean: drawn by @seed, of what the manifest has as data, and
 * up to an eighth of that of its zeros. A disk of another size differs, and so does what cannot be read. All layers are
 * read. For a proof that all of the disk is equal there is qcbm_manifest_verify(). Nothing is changed. @progress, in bytes
 * of the disk, and @out, which is filled on QCBM_E_UNSAFE, too, may be NULL.
 * Returns 0, QCBM_E_UNSAFE (it differs), QCBM_E_NOTFOUND, QCBM_E_INUSE, QCBM_E_CHAIN, and what qcbm_manifest_open() and
 * qcbm_manifest_verify() return. */
QCBM_API int qcbm_edit_check_copy(struct qcbm_edit *edit, const char *name, const char *manifest, uint64_t seed,
                                  const struct qcbm_progress *progress, struct qcbm_copy_checked *out, size_t out_size,
                                  struct qcbm_error *err);

/* ---- undo -------------------------------------------------------------------------------------------------------- */

/* Have the commit of @edit make the file @path, from which qcbm_undo() can take the change back. It is durable before the
 * image is touched, and is there whenever the image was changed; a commit that fails before its first write removes it.
 * A file that exists is not overwritten: the commit then returns QCBM_E_EXISTS. Returns 0, QCBM_E_NOMEM. */
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

/* Take back what was recorded in the file @path: content and length of @img are again what they were, byte for byte, and
 * the time of its last write if nobody else wrote since.
 * Stage by stage in reverse, so that a crash leaves a valid image, and the undo can be repeated; that it has begun is noted
 * in @path. What the change touched, and what its old state relies on, must be as the operation left it, or partly as it was
 * before. A guest that wrote only to clusters that it had leaves no trace there, but another time of the last write: where
 * bitmaps that record writes would come back, the undo is refused then, and where a block device does not tell that time.
 * @options NULL = defaults. @out (may be NULL) is filled on success.
 * Returns 0, QCBM_E_ARG (no undo file, or of another image), QCBM_E_UNSUPPORTED (a later version), QCBM_E_CORRUPT
 * (the undo file is damaged or incomplete), QCBM_E_UNSAFE (the image has changed since), QCBM_E_READONLY, QCBM_E_IO,
 * QCBM_E_NOMEM, QCBM_E_ABORTED. */
QCBM_API int qcbm_undo(struct qcbm_image *img, const char *path, const struct qcbm_undo_options *options,
                       struct qcbm_undo_result *out, size_t size, struct qcbm_error *err);
/* The same of the image @image, which need not open: qcbm_edit_fields() can make it so, or make it open again. Takes the locks
 * and @flags of qcbm_open(), and returns what that does, too. */
QCBM_API int qcbm_undo_path(const char *image, unsigned flags, const char *path,
                            const struct qcbm_undo_options *options, struct qcbm_undo_result *out, size_t size,
                            struct qcbm_error *err);

/* ---- check ------------------------------------------------------------------------------------------------------- */

struct qcbm_check_finding { /* its strings live until the callback returns; those of a report until it is closed */
    const struct qcbm_problem *problem;
    uint64_t offset;     /* of the bad bytes in the image file, or QCBM_NO_OFFSET */
    const char *table;   /* what they are part of: "L2 table", "refcount table" ...; NULL if there is no such */
    uint64_t index;      /* of the entry in it; UINT64_MAX if there is none */
    uint32_t bitmap;     /* index for qcbm_bitmap_get(), or UINT32_MAX */
    const char *message; /* one line */
    const char *hint;    /* a second line that qemu-img prints, or NULL */
    uint64_t number;     /* which of this kind in this table, from 1 on; see qcbm_check_summary */
};
/* A non-zero return stops the check with QCBM_E_ABORTED. */
typedef int qcbm_check_fn(void *opaque, const struct qcbm_check_finding *finding);

/* A kind of problem that was found. */
struct qcbm_check_kind { /* its strings live until the callback returns */
    const struct qcbm_problem *problem;
    uint64_t count;   /* findings of it */
    const char *cure; /* for the image at hand: nothing that it has is lost on that way */
    /* The level of "qemu-img check -r" that mends it in this image and keeps all that it has; NONE if there is none. */
    enum qcbm_repair_level repair;
};
/* Called once for each kind, when all is known. A non-zero return stops the check with QCBM_E_ABORTED. */
typedef int qcbm_check_kind_fn(void *opaque, const struct qcbm_check_kind *kind);

enum qcbm_check_cause {
    QCBM_CHECK_CAUSE_UNKNOWN,
    QCBM_CHECK_CAUSE_ZEROED,
    QCBM_CHECK_CAUSE_OVERWRITTEN,
    QCBM_CHECK_CAUSE_CUT
};

/* More findings of one kind in one table than this have a summary. */
#define QCBM_CHECK_MANY 20u
struct qcbm_check_summary { /* its strings live until the callback returns */
    const struct qcbm_problem *problem;
    uint64_t count;    /* findings of it in that table */
    const char *table; /* "L2 table", "refcount block" ...; NULL: none in particular, or in more tables than are kept */
    uint64_t offset;   /* of the table in the image file, or QCBM_NO_OFFSET */
    uint64_t guest_offset, guest_length; /* the range of the disk that it maps; length 0: none */
    uint64_t file_offset, file_length;   /* the range of the image file that it counts; length 0: none */
    uint32_t snapshot;                   /* whose disk that is, for qcbm_snapshot_get(), or UINT32_MAX: that of today */
    enum qcbm_check_cause cause;         /* what has likely happened to it */
};
/* Called for each such table and kind, in the order in which they were met, when all is known. A non-zero return stops the
 * check with QCBM_E_ABORTED. */
typedef int qcbm_check_summary_fn(void *opaque, const struct qcbm_check_summary *summary);

struct qcbm_check_options {
    size_t struct_size;
    uint64_t memory;        /* bytes for counting references; more are not taken, the file is walked again instead */
    qcbm_check_fn *finding; /* may be NULL: totals only */
    void *opaque;           /* of finding and kind */
    const struct qcbm_progress *progress; /* in bytes of metadata, a pass after the other; may be NULL */
    qcbm_check_kind_fn *kind;             /* may be NULL */
    bool lost_only; /* look for lost mapping tables, and give no other finding: one pass over tables and refcounts */
    qcbm_check_summary_fn *summary; /* may be NULL */
};
#define QCBM_CHECK_OPTIONS_INIT                                                                                        \
    {                                                                                                                  \
        sizeof(struct qcbm_check_options), UINT64_C(256) << 20, NULL, NULL, NULL, NULL, false, NULL                    \
    }

struct qcbm_check_result {
    uint64_t corruptions, leaks, check_errors; /* as qemu-img check counts them */
    uint64_t damages, warnings;                /* beyond them */
    uint64_t total_clusters, allocated_clusters, fragmented_clusters, compressed_clusters;
    uint64_t image_end_offset;
    uint32_t passes;           /* walks over the metadata that the memory made necessary */
    uint64_t lost_tables;      /* leaked clusters that are mapping tables of others: leaks must not be freed */
    uint64_t suspicious_leaks; /* leaked clusters, if they may be the data of a lost table; else 0 */
    bool keep_leaks; /* there are leaks, and something damaged may have pointed to them: they must not be freed */
    /* There are leaks, few enough for a crash, and a range without an L2 table or with one that is all zeros: nothing proves
     * that they are no data. */
    bool unproven_leaks;
};

/* Check the whole image: what qemu-img check checks, in its order, and the bitmaps. Writes nothing, opens no other file,
 * needs no key. @out is filled on failure too, with what was found so far.
 * Returns 0 whatever was found; QCBM_E_LIMIT (too many clusters), QCBM_E_IO, QCBM_E_NOMEM, QCBM_E_ABORTED. */
QCBM_API int qcbm_check(struct qcbm_image *img, const struct qcbm_check_options *options, struct qcbm_check_result *out,
                        size_t size, struct qcbm_error *err);

/* The findings of one check, kept for paging and for languages that are called back badly. Strings in them live until
 * qcbm_check_close(); it does not need the image any more. */
struct qcbm_check_report;

/* Bytes that a report may take. A hostile image has more findings than fit: the first ones are kept. */
#define QCBM_CHECK_REPORT_MAX (UINT64_C(16) << 20)

/* Check as qcbm_check() does and keep what it finds. The functions in @options are called, too. @result is filled on failure
 * as well, but then there is no report: *@out is NULL.
 * Returns what qcbm_check() returns. */
QCBM_API int qcbm_check_open(struct qcbm_image *img, const struct qcbm_check_options *options,
                             struct qcbm_check_report **out, struct qcbm_check_result *result, size_t size,
                             struct qcbm_error *err);
/* As qcbm_extents_fill(), of findings: @from and *@next count them. Returns 0, QCBM_E_ARG. */
QCBM_API int qcbm_check_fill(const struct qcbm_check_report *report, uint64_t from, struct qcbm_check_finding *array,
                             size_t elem_size, size_t n, size_t *got, uint64_t *next, struct qcbm_error *err);
/* How many findings, behind those that are kept, had no room; qcbm_check() gives them to its callback. */
QCBM_API uint64_t qcbm_check_left_out(const struct qcbm_check_report *report);
/* NULL is fine. */
QCBM_API void qcbm_check_close(struct qcbm_check_report *report);

/* ---- repair ------------------------------------------------------------------------------------------------------ */

struct qcbm_repair_row {                 /* its strings live until the callback returns */
    const char *code;                    /* stable, e.g. "bitmap-rescued" */
    uint64_t offset;                     /* of what is repaired, in the image file, or QCBM_NO_OFFSET */
    uint64_t guest_offset, guest_length; /* the range of the disk that it is about; length 0: none in particular */
    const char *bitmap;                  /* name of the bitmap that it is about, any bytes; NULL if there is none */
    const char *done;                    /* what is done, one line */
    const char *kept, *lost;             /* what stays, and what is gone, one line each; NULL: nothing to tell */
};
/* A non-zero return stops the repair with QCBM_E_ABORTED and nothing written. */
typedef int qcbm_repair_fn(void *opaque, const struct qcbm_repair_row *row);

enum qcbm_repair_flag {
    QCBM_REPAIR_DRY_RUN = 1u << 0,   /* plan and look at the result, write nothing; the image may be open for reading */
    QCBM_REPAIR_FORCE = 1u << 1,     /* give up what is in doubt: entries that lead nowhere, snapshots, leaks */
    QCBM_REPAIR_TO_BACKING = 1u << 2 /* what is lost shows what the backing file has there, instead of zeros */
};

/* As qcbm_edit_begin(), of an image whose bitmaps are damaged, which that refuses: sound ones stay as they are, of others
 * what can be proven is kept and the rest is dirty, stale ones are all dirty, and what cannot be read at all is gone. @fn (may
 * be NULL) is told of each. Marks of damage in the header are no hindrance, damage to the rest of the image is.
 * Returns 0, QCBM_E_UNSAFE, QCBM_E_UNSUPPORTED (version 2), QCBM_E_CORRUPT, QCBM_E_LIMIT, QCBM_E_IO, QCBM_E_NOMEM,
 * QCBM_E_ABORTED. */
QCBM_API int qcbm_edit_begin_mending(struct qcbm_image *img, qcbm_repair_fn *fn, void *opaque, struct qcbm_edit **out,
                                     struct qcbm_error *err);

struct qcbm_repair_options {
    size_t struct_size;
    enum qcbm_repair_level level; /* what is repaired; QCBM_REPAIR_ALL has all that there is */
    unsigned flags;               /* enum qcbm_repair_flag */
    const char *undo;             /* a new file for qcbm_undo(), see qcbm_edit_set_undo(); NULL: none */
    uint64_t memory;              /* as in qcbm_check_options */
    qcbm_check_fn *finding;       /* what the first pass of the check finds; may be NULL, as all functions here */
    qcbm_check_kind_fn *kind;
    qcbm_check_fn *left; /* what the second pass finds, on the repaired image; without repairs there is none */
    qcbm_check_kind_fn *left_kind;
    qcbm_repair_fn *row;                           /* called for each repair, between the two */
    qcbm_plan_fn *step;                            /* called for each write in order, before the first */
    void *opaque;                                  /* of all of these */
    const struct qcbm_progress *progress;          /* of each pass of the check by itself */
    struct qcbm_check_result *before, *after;      /* totals of the passes, filled on failure too; may be NULL */
    size_t check_result_size;                      /* of each of them */
    qcbm_check_summary_fn *summary, *left_summary; /* of the first pass and of the second */
};
#define QCBM_REPAIR_OPTIONS_INIT                                                                                       \
    {                                                                                                                  \
        sizeof(struct qcbm_repair_options), QCBM_REPAIR_ALL, 0, NULL, UINT64_C(256) << 20, NULL, NULL, NULL, NULL,     \
            NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL                                                          \
    }

struct qcbm_repair_result {
    uint64_t corruptions_fixed, leaks_fixed; /* by which the second pass has fewer; as qemu-img counts them */
    uint32_t rows;
    uint32_t writes, flushes; /* no writes: there was nothing to repair */
    uint64_t bytes_written, clusters_allocated, clusters_freed, file_growth;
};

/* Check @img, repair it in memory, check the result, and write it: in one commit, so that qcbm_undo() takes all of it back.
 * A result with more errors than before is refused. What is kept, and what is lost, is told row by row, once all is planned.
 * Without QCBM_REPAIR_FORCE nothing of the guest's and no snapshot is given up: what leads nowhere stays, or the whole is refused.
 * @options NULL = defaults.
 * Returns 0 whatever is left; QCBM_E_UNSAFE (something stands in the way; nothing was written), QCBM_E_READONLY,
 * QCBM_E_NOSPACE, QCBM_E_LIMIT, QCBM_E_EXISTS (the undo file), QCBM_E_IO, QCBM_E_NOMEM, QCBM_E_ABORTED. */
QCBM_API int qcbm_repair(struct qcbm_image *img, const struct qcbm_repair_options *options,
                         struct qcbm_repair_result *out, size_t size, struct qcbm_error *err);

/* ---- rescue ------------------------------------------------------------------------------------------------------ */

/* How sure is it that the guest finds in the new image what it had there? */
enum qcbm_rescue_certainty {
    QCBM_RESCUE_UNKNOWN, /* nobody knows what was there; the new image shows the backing file, or zeros */
    QCBM_RESCUE_LIKELY,  /* see .score and .code */
    QCBM_RESCUE_PROVEN   /* L1 and L2 entries that were read say so, and nothing speaks against it */
};

struct qcbm_rescue_range {  /* its strings are the library's, and stay */
    uint64_t start, length; /* guest bytes */
    enum qcbm_rescue_certainty certainty;
    unsigned score;     /* percent; 100 is proven, 0 unknown. An estimate of the kind of evidence, not a measurement */
    const char *code;   /* what speaks for it, or against it; stable, e.g. "snapshot", "old-l1", "table-lost" */
    const char *reason; /* the same as one line */
    bool mapped; /* the new image has something there, if only "zeros"; else it shows the backing file, or zeros */
};
/* Called in the order of the disk, from its begin to its end without gaps. A non-zero return stops the rescue with
 * QCBM_E_ABORTED and no new image. */
typedef int qcbm_rescue_fn(void *opaque, const struct qcbm_rescue_range *range);

/* What is in use by its refcount, or has the look of an L2 table, and has no place in the new image: who knows more than the
 * file says finds it here. */
struct qcbm_rescue_left {
    uint64_t offset, length; /* bytes of the file */
    bool table;              /* an L2 table, in one cluster; else clusters that nothing names */
    uint32_t entries;        /* of a table: those that name clusters, */
    uint64_t first, end;     /* and the guest bytes below these, from the begin of its place on, wherever that is */
};
/* Called after the last range, in the order of the file; clusters only where the refcounts are relied on. A non-zero return
 * stops the rescue, too. */
typedef int qcbm_rescue_left_fn(void *opaque, const struct qcbm_rescue_left *left);

enum qcbm_rescue_flag {
    QCBM_RESCUE_PROBE_BACKING = 1u << 0 /* read the backing file that the image names, for evidence */
};

struct qcbm_rescue_options {
    size_t struct_size;
    uint64_t size;         /* bytes of the disk, where the header is lost; 0: what can be found. A multiple of 512 */
    uint32_t cluster_size; /* the same; 512 .. 2 MiB */
    unsigned flags;        /* enum qcbm_rescue_flag */
    unsigned open_flags;   /* QCBM_OPEN_FORCE_SHARE, QCBM_OPEN_NO_LOCK, of the damaged image */
    qcbm_rescue_fn *range; /* may be NULL: totals only */
    void *opaque;
    const struct qcbm_progress *progress; /* in bytes of the file, twice: to look, to copy; may be NULL */
    qcbm_rescue_left_fn *left;            /* gets @opaque, too; may be NULL */
};
#define QCBM_RESCUE_OPTIONS_INIT                                                                                       \
    {                                                                                                                  \
        sizeof(struct qcbm_rescue_options), 0, 0, 0, 0, NULL, NULL, NULL, NULL                                         \
    }

struct qcbm_rescue_result {
    uint64_t virtual_size;
    uint32_t cluster_size;
    bool header_lost; /* the header was put together from what the rest of the file shows */
    bool size_proven; /* the size of the disk is that of the header, or of the options */
    bool refcounts;   /* they could be relied on */
    /* With the header: what is not mapped reads as zeros until qemu-img rebase -u names the file. */
    bool backing_unknown;
    uint64_t proven, likely, unknown; /* guest bytes */
    uint64_t tables_placed;           /* L2 tables that were put into their places, */
    uint64_t tables_rebuilt;          /* put together again, in part at least, */
    uint64_t tables_lost;             /* overwritten, and nothing was found that belongs there, */
    uint64_t tables_unplaced;         /* found, and without a place; */
    uint64_t table_places;            /* places of the disk that have none, each of .table_span guest bytes */
    uint64_t table_span;
    uint64_t clusters_left;              /* in use by their refcount, and nothing says by whom */
    uint32_t snapshots;                  /* of the image: they are not carried over */
    uint32_t bitmaps_kept, bitmaps_lost; /* what of the disk is not proven is dirty in those that are kept */
    uint64_t bytes_copied, file_size;    /* data, and the length of the new file; without one, what that would be */
};

/* Make of @path, an image whose header, L1 table or L2 tables may be lost, the new image @new_path: version 3, with what
 * the bytes still prove, and what is likely, in it. @path is opened for reading alone. @new_path must not exist; it gets its
 * name when all of it is durable, and is for its owner alone. NULL: nothing is written, all is told. Clusters of data lie in
 * it where they did, so encrypted and compressed data is taken over as it is; holes stay holes. Internal snapshots are used
 * as evidence and are not carried over. Which ranges of the disk are proven, likely or unknown is told before this returns 0.
 * Memory: a bit to a byte for each cluster of the file, 24 bytes for each L1 entry, 64 for each table that is found; time is
 * linear in the length of the file.
 * @options NULL = defaults. *@out (may be NULL) is filled on success.
 * Returns 0 whatever is lost; QCBM_E_EXISTS, QCBM_E_NOT_QCOW2 (no header, and nothing else either that shows what it was),
 * QCBM_E_UNSUPPORTED (an external data file: it has the guest's bytes, each at its own offset), QCBM_E_CORRUPT (a LUKS
 * header that is lost), QCBM_E_ARG (also: no room in the L1 table for the size), QCBM_E_LIMIT, QCBM_E_NOTFOUND,
 * QCBM_E_LOCKED, QCBM_E_NOLOCKS, QCBM_E_NOSPACE, QCBM_E_IO, QCBM_E_NOMEM, QCBM_E_ABORTED. */
QCBM_API int qcbm_rescue(const char *path, const char *new_path, const struct qcbm_rescue_options *options,
                         struct qcbm_rescue_result *out, size_t size, struct qcbm_error *err);

/* ---- untrusted images -------------------------------------------------------------------------------------------- */

struct qcbm_verdict_reason { /* its strings live until the callback returns */
    const char *code;        /* stable, e.g. "backing-file"; for what qcbm_check() finds the code of the problem */
    bool refuse;             /* speaks against the image; else a note */
    uint64_t offset;         /* in the image file, or QCBM_NO_OFFSET */
    uint64_t count;          /* how often that was met; offset and message are those of the first */
    const char *message;     /* one line */
};
/* Called once for each code, when all is known. A non-zero return stops with QCBM_E_ABORTED. */
typedef int qcbm_verdict_fn(void *opaque, const struct qcbm_verdict_reason *reason);

struct qcbm_verdict_options {
    size_t struct_size;
    uint64_t memory;                      /* as in qcbm_check_options */
    qcbm_verdict_fn *reason;              /* may be NULL */
    void *opaque;                         /* of reason */
    const struct qcbm_progress *progress; /* as in qcbm_check_options */
};
#define QCBM_VERDICT_OPTIONS_INIT                                                                                      \
    {                                                                                                                  \
        sizeof(struct qcbm_verdict_options), UINT64_C(256) << 20, NULL, NULL, NULL                                     \
    }

struct qcbm_verdict {
    bool harmless; /* no reason against it */
    uint32_t reasons, notes;
};

/* May this image, from a stranger, be given to programs that trust it? Against it are: names of other files, what is
 * unknown, numbers out of proportion, sharing that multiplies work, names that play with terminals, and corruption and
 * damage by qcbm_check(). Writes nothing, opens no other file.
 * Returns 0 whatever the verdict is, QCBM_E_IO, QCBM_E_NOMEM, QCBM_E_ABORTED. */
QCBM_API int qcbm_verdict(struct qcbm_image *img, const struct qcbm_verdict_options *options, struct qcbm_verdict *out,
                          size_t size, struct qcbm_error *err);

/* The verdict where qcbm_open() failed with @why: 0 and one reason if the image's content is why it cannot be opened,
 * else the code of @why (no qcow2 image, locked, no such file ...). */
QCBM_API int qcbm_verdict_refused(const struct qcbm_error *why, const struct qcbm_verdict_options *options,
                                  struct qcbm_verdict *out, size_t size, struct qcbm_error *err);

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

/* The bytes that the guest reads at [@offset, @offset + @length), which lies below the virtual size (rounded down to 512
 * as QEMU does). Follows the backing chain (local qcow2 and raw files); the files it opens stay open, and locked, until
 * qcbm_close(). Cheapest in guest order. What cannot be read is an error, never zeros: compressed data that is damaged,
 * a cluster or a table past the end of the file, an encrypted one. @buf holds nothing of use then.
 * Returns 0, QCBM_E_ARG, QCBM_E_CORRUPT, QCBM_E_UNSUPPORTED (encrypted; zstd, in a build without; an external data file
 * without QCBM_READ_DATA_FILE), QCBM_E_CHAIN, QCBM_E_LOCKED, QCBM_E_UNSAFE (a commit failed), QCBM_E_IO, QCBM_E_NOMEM. */
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

/* As qcbm_extents_fill(), of the map; @from: guest bytes. The first call on a chain reads the L1 tables. Names of files live
 * until qcbm_chain_close(). Nothing is added to the findings: qcbm_chain_map() does that.
 * Returns 0, QCBM_E_ARG, QCBM_E_CORRUPT, QCBM_E_IO, QCBM_E_NOMEM. */
QCBM_API int qcbm_chain_map_fill(struct qcbm_chain *chain, uint64_t from, struct qcbm_map_entry *array,
                                 size_t elem_size, size_t n, size_t *got, uint64_t *next, struct qcbm_error *err);

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

/* The data of a disk stays in a raw file or on a block device, and a qcow2 image that has metadata alone names it as its
 * external data file (data_file_raw): so a raw disk has persistent bitmaps. All L2 entries of such a metadata image are there
 * from the start, each naming the data at its own offset. What a guest discards or zeroes gets an entry that reads as zeros,
 * and hides what another program writes to the data there afterwards. */

enum qcbm_attach_flag {
    QCBM_ATTACH_DRY_RUN = 1u << 0,         /* write nothing; tell what would be made */
    QCBM_ATTACH_EXTENDED_L2 = 1u << 1,     /* 32 subclusters in each; what a guest discards are clusters */
    QCBM_ATTACH_BITMAP_DISABLED = 1u << 2, /* the bitmap does not record */
    /* Though the data begins as an image of another format does, or the name that is stored does not lead to it from here */
    QCBM_ATTACH_FORCE = 1u << 3,
    QCBM_ATTACH_NO_LOCK = 1u << 4 /* go on where the data's file system has no OFD locks */
};

struct qcbm_attach_options {
    size_t struct_size;
    /* 512 .. 2 MiB. 0: 2 MiB with subclusters; else 64 KiB, or up to 2 MiB, by what a device says that it can discard */
    uint32_t cluster_size;
    unsigned flags; /* enum qcbm_attach_flag */
    const char *
        data_name; /* stored as it is; a relative one starts in the working directory of who opens it. NULL: the absolute one */
    const char *bitmap;                   /* name of a first bitmap, clean; NULL: none */
    uint64_t granularity;                 /* of that; 0 = QEMU's default */
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

/* Make the metadata image @path for the raw file or block device @data, which is opened for reading alone, under the locks of a
 * reader, and of which nothing but the first sector and the length is looked at. @path must not exist; it gets its name when
 * all of it is durable, and is for its owner alone. The disk is as long as the data. Memory: 8 bytes for each L2 table, and
 * 2 MiB.
 * @options NULL = defaults. *@out (may be NULL) is filled on success.
 * Returns 0, QCBM_E_EXISTS, QCBM_E_NOTFOUND, QCBM_E_LOCKED (@data is written to), QCBM_E_NOLOCKS, QCBM_E_ARG (@data is empty, or
 * not a multiple of 512; a granularity or size of clusters that there is not), QCBM_E_UNSAFE (what QCBM_ATTACH_FORCE is for),
 * QCBM_E_LIMIT (too large for such clusters, or such a granularity), QCBM_E_UNSUPPORTED, QCBM_E_NOSPACE, QCBM_E_IO, QCBM_E_NOMEM,
 * QCBM_E_ABORTED. */
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

/* Does the metadata image @img show the raw data as it is? Its features, the name, the length of the data, each entry, and
 * where entries read as zeros, the data itself: nothing else of it is read. The data is opened for reading, as @img was.
 * Time is linear in the length of the file and of what reads as zeros; memory: 24 bytes for each L2 table, and the findings.
 * Returns 0 whatever is found; QCBM_E_CORRUPT (the L1 table cannot be read), QCBM_E_LOCKED (the data is), QCBM_E_IO, QCBM_E_NOMEM,
 * QCBM_E_ABORTED. Data that cannot be opened is a finding, unless it is locked. */
QCBM_API int qcbm_attach_verify(struct qcbm_image *img, const struct qcbm_attach_verify_options *options,
                                struct qcbm_attach_verify_result *out, size_t size, struct qcbm_error *err);

struct qcbm_attach_reset {
    uint64_t entries;        /* that are not plain, and become so */
    uint64_t reset_bytes;    /* guest bytes that they are about */
    uint64_t changed_bytes;  /* of these: what the guest reads there changes, in pieces of a cluster or subcluster */
    uint32_t bitmaps_marked; /* each gets these bits */
    uint32_t bitmaps_left;   /* those in use, or damaged, do not */
};

/* Have the edited metadata image show the raw data as it is: all L2 entries name it at its own offset again. @data: the data,
 * or NULL for what the image names; it is read where entries are not plain. Where what the guest reads changes, all bitmaps get
 * dirty bits in the same commit, before any entry is changed: a cut leaves some of the entries as they were. *@out (may be
 * NULL) is filled on success. At most once in an edit.
 * Returns 0, QCBM_E_UNSUPPORTED (no raw external data file), QCBM_E_UNSAFE (an L2 table is missing or damaged: attach the data
 * anew), QCBM_E_CHAIN (the data cannot be opened), QCBM_E_LOCKED, QCBM_E_ARG, QCBM_E_CORRUPT, QCBM_E_IO, QCBM_E_NOMEM,
 * QCBM_E_ABORTED. */
QCBM_API int qcbm_edit_attach_reset(struct qcbm_edit *edit, const char *data, struct qcbm_attach_reset *out,
                                    size_t size, struct qcbm_error *err);

/* ---- manifests --------------------------------------------------------------------------------------------------- */

/* What a disk held: the digest of each of its granules, in a file (docs/manifest-format.md). Kept beside a backup, it tells
 * what has changed since, also where nothing recorded that: of raw disks, and after a crash. The fixed index (.fidx) of an
 * unencrypted backup of Proxmox Backup Server is as good. */
struct qcbm_manifest;

/* XXH3 is no protection against people who look for two contents of one digest. It has a seed that a guest does not know;
 * who has to do with hostile guests that may learn it takes SHA-256. */
enum qcbm_digest {
    QCBM_DIGEST_XXH3 = 1,  /* XXH3-128 with a seed */
    QCBM_DIGEST_SHA256 = 2 /* by libcrypto, which is loaded when it is needed */
};

/* Load what digests of this kind take, so that nothing has to be loaded later: for who shuts himself in before he opens a
 * manifest. Returns 0, QCBM_E_ARG (no such kind), QCBM_E_UNSUPPORTED (not in this build, or not on this system), QCBM_E_NOMEM. */
QCBM_API int qcbm_digest_load(enum qcbm_digest digest, struct qcbm_error *err);

struct qcbm_manifest_options {
    size_t struct_size;
    uint64_t granularity; /* bytes of a granule, a power of 2 from 512 to 4 MiB; 0 = 64 KiB */
    unsigned digest;      /* enum qcbm_digest; 0 = XXH3 */
    unsigned threads;     /* that read; 0 = what the image was told, or 16; more than 16 are taken for 16 */
    /* The claim: what the manifest says of itself. Nothing is checked against it. */
    uint8_t image_id[16]; /* zeros: none */
    int64_t time;         /* when the disk was like that, in seconds since 1970; 0: not known */
    const char *text;     /* at most 1023 bytes; may be NULL */
    bool has_seed;        /* else the system gives a random one */
    uint64_t seed;
    const struct qcbm_progress *progress; /* in bytes of the disk; may be NULL */
};
#define QCBM_MANIFEST_OPTIONS_INIT                                                                                     \
    {                                                                                                                  \
        sizeof(struct qcbm_manifest_options), 0, 0, 0, { 0 }, 0, NULL, false, 0, NULL                                  \
    }

struct qcbm_manifest_info {
    const char *format; /* "qcbm", or "fidx" of Proxmox Backup Server */
    uint64_t size;      /* of the disk */
    uint64_t granularity;
    unsigned digest;   /* enum qcbm_digest */
    unsigned reserved; /* 0 */
    uint64_t granules; /* in all, and of them those of zeros, which of an index is not known: QCBM_UNKNOWN */
    uint64_t zero_granules;
    uint8_t image_id[16]; /* of an index its UUID */
    int64_t time;         /* 0: not known */
    const char *text;   /* lives until qcbm_manifest_close(); "" if there is none. NULL of one that is being written */
    uint64_t file_size; /* bytes of the manifest */
};

/* Read @disk, an open chain (of a qcow2 image or a raw file), and give its manifest to @fn, piece by piece. External data
 * files are opened. What metadata alone shows to be zeros is not read. A manifest has all of the disk or is none: where a
 * granule cannot be read, the call fails. What had been given by then is no manifest, as its end is missing. Memory: 70 MiB
 * at most. @options NULL = defaults. @info may be NULL.
 * Returns 0, QCBM_E_ARG, QCBM_E_UNSUPPORTED (encrypted; digest, see qcbm_digest_load()), QCBM_E_CORRUPT, QCBM_E_CHAIN,
 * QCBM_E_LOCKED, QCBM_E_IO, QCBM_E_NOMEM, QCBM_E_ABORTED. */
QCBM_API int qcbm_manifest_write(struct qcbm_chain *disk, const struct qcbm_manifest_options *options,
                                 qcbm_write_fn *fn, void *opaque, struct qcbm_manifest_info *info, size_t info_size,
                                 struct qcbm_error *err);

/* The same from @old, a manifest of this disk as it was: of the disk only those granules are read that bitmap @bitmap of
 * @image, which may be any image of the same size, has dirty, and what lies behind the end of @old. Granularity, kind of digest
 * and seed are those of @old, and options that ask for others are QCBM_E_ARG; so is an index. But for the claim it is the
 * file that qcbm_manifest_write() with the same seed gives, if the bitmap has all that was written since.
 * Returns also QCBM_E_NOTFOUND, QCBM_E_INUSE. */
QCBM_API int qcbm_manifest_update(struct qcbm_manifest *old, struct qcbm_chain *disk, struct qcbm_image *image,
                                  const char *bitmap, const struct qcbm_manifest_options *options, qcbm_write_fn *fn,
                                  void *opaque, struct qcbm_manifest_info *info, size_t info_size,
                                  struct qcbm_error *err);

/* Open the manifest or index @path, and check it as a whole: structure, digest, length. It may be hostile.
 * Returns 0, QCBM_E_NOTFOUND, QCBM_E_CORRUPT (neither of the two, cut, damaged), QCBM_E_UNSUPPORTED (another version; digest),
 * QCBM_E_IO, QCBM_E_NOMEM. */
QCBM_API int qcbm_manifest_open(const char *path, struct qcbm_manifest **out, struct qcbm_error *err);
struct qcbm_io_ops; /* see qcbm-io.h */
/* The same on a backend of the caller, which is read alone; @ops->close is called by qcbm_manifest_close(), and by this
 * function when it fails. */
QCBM_API int qcbm_manifest_open_io(const struct qcbm_io_ops *ops, void *self, struct qcbm_manifest **out,
                                   struct qcbm_error *err);
/* NULL is fine. */
QCBM_API void qcbm_manifest_close(struct qcbm_manifest *manifest);
/* Returns 0, QCBM_E_ARG. */
QCBM_API int qcbm_manifest_get_info(const struct qcbm_manifest *manifest, struct qcbm_manifest_info *out, size_t size);

struct qcbm_manifest_range {
    uint64_t offset, length; /* guest bytes */
    bool unreadable;         /* of the disk; else it differs */
};
/* A non-zero return ends the call with QCBM_E_ABORTED. */
typedef int qcbm_manifest_range_fn(void *opaque, const struct qcbm_manifest_range *range);

struct qcbm_manifest_result {
    bool equal;               /* and of the same size, and all of it could be read */
    uint64_t disk_size;       /* the manifest has its own */
    uint64_t different_bytes; /* in whole granules, those that cannot be read among them */
    uint64_t unreadable_bytes;
    uint64_t compared_granules, equal_granules;
};

/* Does @disk hold what the manifest says? @fn (may be NULL) gets each range that differs or cannot be read, in order. What of
 * a longer disk lies behind the end of the other differs, and so does the granule in which a shorter one ends. Of the options
 * count threads and progress. That something differs is no failure.
 * Returns 0, QCBM_E_ARG, QCBM_E_UNSAFE (nothing of an index is equal: it is of another disk, or of an encrypted backup),
 * QCBM_E_UNSUPPORTED (encrypted), QCBM_E_CHAIN, QCBM_E_LOCKED, QCBM_E_CORRUPT (the manifest has changed meanwhile), QCBM_E_IO (of
 * the manifest), QCBM_E_NOMEM, QCBM_E_ABORTED. */
QCBM_API int qcbm_manifest_verify(struct qcbm_manifest *manifest, struct qcbm_chain *disk,
                                  const struct qcbm_manifest_options *options, qcbm_manifest_range_fn *fn, void *opaque,
                                  struct qcbm_manifest_result *out, size_t out_size, struct qcbm_error *err);

/* ======== low level: storage of your own, and a close look at what lies in the file ================================== */

/* ---- other ways to open ------------------------------------------------------------------------------------------ */

/* As qcbm_open(), on a file or block device that is open as @fd: for those who get descriptors, not names. The library
 * takes @fd over, and closes it on failure too. QCBM_OPEN_WRITE needs O_RDWR; O_APPEND (with it), O_DIRECT and O_PATH are
 * refused with QCBM_E_ARG. A duplicate of @fd that stays open keeps the locks alive. The image has no name: a relative name
 * of a backing file is looked for in the working directory, and options->since of qcbm_synth() is refused. */
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

/* From now on tell @fn (NULL: nobody) what is done with the files of @img, each when it has been done, on the thread that
 * did it: that of the call, as no other is used. What the file was asked before, to open the image, is not told. Without a
 * trace the cost is a test of a pointer.
 * The callback must not call the library with @img. */
QCBM_API void qcbm_set_trace(struct qcbm_image *img, qcbm_trace_fn *fn, void *opaque);

/* ---- deltas ------------------------------------------------------------------------------------------------------ */

/* What changed on a disk, as a file of its own: for each range that counts its bytes, or that it is zeros. docs/delta-format.md
 * says how the forms store that, and what they know of their origin. */

enum qcbm_delta_flag {
    QCBM_DELTA_LAYER = 1u << 0, /* what the image itself has allocated, as synth takes it */
    QCBM_DELTA_CHAIN =
        1u << 1, /* with .bitmap: the bitmaps of this name in all layers, as qcbm_edit_collect() has it */
    QCBM_DELTA_FORCE_SHARE = 1u << 2, /* open layers of the chain as QCBM_OPEN_FORCE_SHARE does */
    QCBM_DELTA_FORCE = 1u << 3,       /* as QCBM_SYNTH_FORCE */
    QCBM_DELTA_DRY_RUN = 1u << 4 /* what there would be: no guest bytes are read but for refining, nothing is written */
};

enum qcbm_delta_compression { QCBM_DELTA_PLAIN, QCBM_DELTA_ZLIB, QCBM_DELTA_ZSTD };

/* What synthesis has to say, one line for people. A non-zero return stops with QCBM_E_ABORTED. */
typedef int qcbm_delta_note_fn(void *opaque, const char *note);

struct qcbm_delta_options {
    size_t struct_size;
    unsigned flags; /* enum qcbm_delta_flag */
    /* One of these, or QCBM_DELTA_LAYER: which ranges count. */
    const char *bitmap;         /* what this bitmap says, which is not in use */
    const char *since;          /* what the layers above this image of the chain have allocated */
    const char *since_snapshot; /* what differs from this internal snapshot, named as in struct qcbm_synth_options, */
    const char *snapshot;       /* in this one; NULL: in the active state. The bytes are those of that state */
    uint64_t granularity;       /* not with a bitmap; 0 = QEMU's default for the image */
    unsigned refine;            /* enum qcbm_refine; with a bitmap or a snapshot only against a reference */
    const char *refine_against, *refine_format; /* as in struct qcbm_synth_options */
    const char *form;                           /* "qcow2", "raw+map", "rbd-diff", "vnb"; NULL = qcow2 */
    unsigned compression;        /* enum qcbm_delta_compression; of the form qcow2, and not into a pipe */
    uint32_t cluster_size;       /* of the form qcow2, 4 KiB to 2 MiB; 0 = the granularity, at most 64 KiB */
    const char *id;              /* 32 hex digits: the state behind the delta; NULL = a random one */
    const char *parent_id;       /* the state in front of it; NULL = that of the image of .since, if it says one */
    const char *note;            /* free text, 255 bytes at most, without control characters */
    int64_t created;             /* seconds since 1970; 0 = now */
    qcbm_delta_note_fn *note_fn; /* may be NULL */
    void *opaque;
    const struct qcbm_progress *progress; /* in bytes of what is read and written; may be NULL */
};
#define QCBM_DELTA_OPTIONS_INIT                                                                                        \
    {                                                                                                                  \
        sizeof(struct qcbm_delta_options), 0, NULL, NULL, NULL, NULL, 0, 0, NULL, NULL, NULL, 0, 0, NULL, NULL, NULL,  \
            0, NULL, NULL, NULL                                                                                        \
    }

struct qcbm_delta_result {
    char id[33], parent_id[33];         /* the second is empty if it is not known */
    uint64_t size_before, size_after;   /* of the disk; before: QCBM_UNKNOWN if it is not known */
    uint64_t granularity, cluster_size; /* the second: 0 if the form has none */
    uint64_t dirty_bytes;               /* by the granules that count */
    uint64_t data_bytes, zero_bytes;    /* of records; in a dry run what metadata tells of zeros */
    uint64_t refined_bytes;             /* left out, as they are no difference */
    uint64_t unreadable_bytes;          /* that could not be compared, and so were not left out */
    uint64_t file_size;                 /* 0 in a dry run */
    uint32_t probes;
    char digest[33]; /* of the records; empty in a dry run */
};

/* Write the delta of the open image @img to the new file @path, which is whole or not there; with sidecar files beside it where the
 * form has them. With @path NULL it goes to @fd, a pipe or what else takes bytes in a row, which stays open; a reader of it
 * knows by the end of the form that it is whole. Opens the backing chain, and the data file. @out, of @size bytes, may be NULL.
 * Returns 0, QCBM_E_ARG, QCBM_E_EXISTS (a file of one of the names is there), QCBM_E_NOTFOUND (no such bitmap or snapshot),
 * QCBM_E_INUSE (the bitmap), QCBM_E_UNSUPPORTED (encrypted, raw data file without force), QCBM_E_UNSAFE, QCBM_E_CORRUPT (what
 * counts cannot be read), QCBM_E_CHAIN, QCBM_E_LIMIT, QCBM_E_LOCKED, QCBM_E_IO, QCBM_E_NOSPACE, QCBM_E_NOMEM, QCBM_E_ABORTED. */
QCBM_API int qcbm_delta(struct qcbm_image *img, const char *path, int fd, const struct qcbm_delta_options *options,
                        struct qcbm_delta_result *out, size_t size, struct qcbm_error *err);

struct qcbm_delta_info {
    const char *form;                 /* as in the options */
    bool has_identity;                /* else only sizes and what the records are is known */
    bool verified;                    /* all records were read, and have the digest */
    char id[33], parent_id[33];       /* empty: not known */
    char digest[33];                  /* as the delta says; empty: it says none */
    int64_t created;                  /* seconds since 1970; 0: not known */
    uint64_t size_before, size_after; /* QCBM_UNKNOWN: not known */
    uint64_t granularity;             /* 0: not known */
    uint64_t records, data_bytes, zero_bytes;
    uint32_t probes;
    char bitmap[1024], note[256];
};

enum qcbm_delta_info_flag {
    QCBM_DELTA_VERIFY = 1u << 0 /* read all of it, and compare with its digest */
};

/* What the delta @path is. Reads the list of records; of data nothing unless it is to be verified. @progress in bytes of records,
 * when it is verified; may be NULL.
 * Returns 0, QCBM_E_NOTFOUND, QCBM_E_NOT_QCOW2 (no delta of a form that is known), QCBM_E_CORRUPT (cut short, or damaged),
 * QCBM_E_ARG (an image that says of itself that it is no delta), QCBM_E_UNSUPPORTED, QCBM_E_LIMIT, QCBM_E_LOCKED, QCBM_E_IO,
 * QCBM_E_NOMEM, QCBM_E_ABORTED. */
QCBM_API int qcbm_delta_get_info(const char *path, unsigned flags, const struct qcbm_progress *progress,
                                 struct qcbm_delta_info *out, size_t size, struct qcbm_error *err);

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

/* ---- fields by hand ---------------------------------------------------------------------------------------------- */

struct qcbm_field_change { /* its strings and bytes live until the callback returns */
    const char *field;     /* as the caller wrote it, without the values */
    const char *what;      /* what the field is part of, one line, e.g. "entry 3 of the L2 table at 0x50000" */
    uint64_t offset;       /* of its bytes in the image file */
    uint32_t length;       /* of them, 1 to 8; a refcount narrower than a byte shares them with its neighbours */
    uint64_t old_value, new_value;
    const uint8_t *old_bytes, *new_bytes; /* @length of them; of the new ones all edits are in */
};
/* A non-zero return stops with QCBM_E_ABORTED and nothing written. */
typedef int qcbm_field_fn(void *opaque, const struct qcbm_field_change *change);

enum qcbm_edit_fields_flag {
    QCBM_EDIT_FIELDS_DRY_RUN = 1u << 0, /* find, compare and judge, write nothing; flags may be for reading */
    QCBM_EDIT_FIELDS_FORCE =
        1u << 1 /* without old values, over several sectors without undo file, and what is worse then */
};

struct qcbm_edit_fields_options {
    size_t struct_size;
    unsigned flags;   /* enum qcbm_edit_fields_flag */
    const char *undo; /* a new file for qcbm_undo(), see qcbm_edit_set_undo(); NULL: none */
    uint64_t memory;  /* as in qcbm_check_options */
    qcbm_field_fn *
        field; /* called for each edit, in their order, before anything is written; may be NULL, as all functions here */
    qcbm_check_fn *made; /* called for what a check finds behind the change and not before it, refused or not */
    qcbm_plan_fn *step;  /* called for each write in order, before the first */
    void *opaque;        /* of all of these */
    const struct qcbm_progress *progress; /* of each of two checks by itself; may be NULL */
};
#define QCBM_EDIT_FIELDS_OPTIONS_INIT                                                                                  \
    {                                                                                                                  \
        sizeof(struct qcbm_edit_fields_options), 0, NULL, UINT64_C(256) << 20, NULL, NULL, NULL, NULL, NULL            \
    }

struct qcbm_edit_fields_result {
    bool opens_before, opens_after;
    bool worse;               /* without force it would have been refused */
    uint32_t sectors;         /* of 512 bytes that change: 0 nothing does, 1 is written all or not at all */
    uint32_t writes, flushes; /* in a dry run those that there would be */
    uint64_t bytes_written;
};

/* Set @n single fields of the image @path, which need not open: all of them in one commit, or none. An edit is
 * "FIELD: OLD=NEW"; qcbm-edit(1) has the fields, which have the names of a dump. All are found, and OLD is compared, in the
 * image as it is. Refused are changes behind which the image does not open, or a check finds an error that it does not find
 * before; those of several sectors, of which a power cut may leave some unwritten, without an undo file; edits without OLD.
 * @flags: enum qcbm_open_flag, with QCBM_OPEN_WRITE. @options NULL = defaults. @out is filled on success.
 * Returns 0, QCBM_E_ARG (no such field, no number that fits, two edits of the same bytes), QCBM_E_NOTFOUND (the image has none
 * such), QCBM_E_CORRUPT (what leads to it is damaged), QCBM_E_UNSAFE (refused, or OLD is not what is there), QCBM_E_LIMIT,
 * QCBM_E_READONLY, QCBM_E_EXISTS (the undo file), QCBM_E_LOCKED, QCBM_E_NOLOCKS, QCBM_E_IO, QCBM_E_NOSPACE, QCBM_E_NOMEM,
 * QCBM_E_UNSUPPORTED, QCBM_E_ABORTED. */
QCBM_API int qcbm_edit_fields(const char *path, unsigned flags, const char *const *edits, size_t n,
                              const struct qcbm_edit_fields_options *options, struct qcbm_edit_fields_result *out,
                              size_t size, struct qcbm_error *err);
/* The same on storage of the caller; it is closed when this returns. If the image does not open behind it, which takes
 * QCBM_EDIT_FIELDS_FORCE, there is no undo on such storage: qcbm_undo() takes an open image, qcbm_undo_path() a file. */
QCBM_API int qcbm_edit_fields_io(const struct qcbm_io_ops *ops, void *self, unsigned flags, const char *const *edits,
                                 size_t n, const struct qcbm_edit_fields_options *options,
                                 struct qcbm_edit_fields_result *out, size_t size, struct qcbm_error *err);

/* ---- deltas made one ---------------------------------------------------------------------------------------------- */

enum qcbm_delta_merge_flag {
    QCBM_DELTA_MERGE_FORCE_PARENT = 1u << 0 /* do not ask whether the deltas follow one another */
};

struct qcbm_delta_merge_options {
    size_t struct_size;
    unsigned flags;                       /* enum qcbm_delta_merge_flag */
    const char *note;                     /* 255 bytes at most; NULL: that of the last delta */
    const struct qcbm_progress *progress; /* in bytes of records; may be NULL */
};
#define QCBM_DELTA_MERGE_OPTIONS_INIT                                                                                  \
    {                                                                                                                  \
        sizeof(struct qcbm_delta_merge_options), 0, NULL, NULL                                                         \
    }

struct qcbm_delta_merge_result {
    const char *form;                 /* "qcow2", "raw+map", "rbd-diff", "vnb" */
    char id[33], parent_id[33];       /* that of the last delta, and the parent of the first; empty: not known */
    char digest[33];                  /* of the records */
    uint64_t size_before, size_after; /* of the disk; before: QCBM_UNKNOWN if it is not known */
    uint64_t records_in, bytes_in;    /* of all deltas together */
    uint64_t data_bytes, zero_bytes;  /* of the new one */
    uint32_t probes;
};

/* One delta that does what @n deltas do, the oldest first: later ones win byte by byte, zeros included; bytes behind the end of
 * the last state are left out. Each follows the one before: its parent is the id of that, or, of streams of other
 * programs, the names of snapshots or checkpoints meet. All have one form, and so has the new one. Every delta is compared with
 * its digest first. The result goes to the new file @path, which is whole or not there; with @path NULL to @fd, a pipe or what
 * else takes bytes in a row, which stays open. Time is linear in what is read, memory a few kilobytes a delta. @out, of @size
 * bytes, may be NULL.
 * Returns 0, QCBM_E_ARG, QCBM_E_CHAIN (they do not follow one another, or it is not known), QCBM_E_UNSUPPORTED (several forms),
 * QCBM_E_LIMIT (no whole clusters: the disk was shortened inside one, and made longer again), QCBM_E_EXISTS, and what
 * opening and reading a delta returns: QCBM_E_NOTFOUND, QCBM_E_NOT_QCOW2 (of no form that is known), QCBM_E_CORRUPT (cut short
 * or damaged), QCBM_E_LOCKED, QCBM_E_IO, QCBM_E_NOSPACE, QCBM_E_NOMEM, QCBM_E_ABORTED. */
QCBM_API int qcbm_delta_merge(const char *const *deltas, size_t n, const char *path, int fd,
                              const struct qcbm_delta_merge_options *options, struct qcbm_delta_merge_result *out,
                              size_t size, struct qcbm_error *err);

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
    QCBM_CHECKPOINT_SUPERSET    /* another program wrote to it in between: the bitmap has more than what changed */
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

/* Make a clean bitmap @name, which records, on each of @n disks (@disk_size is sizeof disks[0]), or on none: whatever cuts it
 * short, qcbm_checkpoint_recover() makes the one of it or the other. A disk with an overlay gets it there: the overlay is a
 * new image on top of the disk's, of its size, cluster size, kind of entries and compression, in which each bitmap of that
 * image that records and is consistent goes on, empty, of its name and granularity. On a block device the overlay is put onto
 * the device. Images are locked in the order of their files; nobody waits. While a journal is open qcbm_open() for writing
 * refuses each image that it is about.
 * @name: letters, digits, _ and -, and not in front, dots: QCBM_E_ARG.
 * Returns 0, QCBM_E_ARG (also: two disks are one file), QCBM_E_EXISTS (a disk has the bitmap; the overlay, the journal or an
 * undo file is there), QCBM_E_INUSE (a bitmap is in use: the disk may be open on another machine), QCBM_E_UNSAFE (bitmaps are
 * stale, a journal is
 * open), what qcbm_open(), qcbm_edit_plan() and qcbm_edit_commit() return; QCBM_E_UNSUPPORTED for an encrypted image with an
 * overlay. The message says which disk it is about, and what a failure has left. @out is filled on success. */
QCBM_API int qcbm_checkpoint_create(const char *name, const struct qcbm_checkpoint_disk *disks, size_t disk_size,
                                    size_t n, const struct qcbm_checkpoint_options *options,
                                    struct qcbm_checkpoint_result *out, size_t size, struct qcbm_error *err);

struct qcbm_recover_result {
    bool forward; /* all disks have the new state; else all are as they were */
    uint32_t disks;
    uint32_t supersets; /* disks that another program wrote to in between: QCBM_CHECKPOINT_SUPERSET */
};

/* What was cut short is taken back if it had not been decided, else completed. Of @options QCBM_CHECKPOINT_DRY_RUN,
 * open_flags, disk and opaque count. A disk that a guest used between the cut and now gets a bitmap with all that may have
 * changed: the bits of the newest older bitmap that recorded all the time, or everything. Can itself be cut short, and called
 * again; when it returns 0 the journal is gone, and all that it left. The journal must belong to the user, and the images must
 * have their links to it: what a stranger's file says is not done.
 * Returns 0; QCBM_E_NOTFOUND, QCBM_E_CORRUPT, QCBM_E_UNSUPPORTED, QCBM_E_ARG (the journal), QCBM_E_UNSAFE (an image is not the
 * one that it was, or not linked to it), QCBM_E_LOCKED, QCBM_E_EXISTS (there is another file by the name of an overlay) and
 * what qcbm_open() returns: nothing was changed then. QCBM_E_IO and others where the message says that it is to be repeated. */
QCBM_API int qcbm_checkpoint_recover(const char *journal, const struct qcbm_checkpoint_options *options,
                                     struct qcbm_recover_result *out, size_t size, struct qcbm_error *err);
/* ---- checkpoints: what libvirt says of them ----------------------------------------------------------------------- */

/* A checkpoint is, on each disk, the bitmaps of its name in the layers from the top down to the one that was written to when
 * it was made; what changed since is what they say together. */
enum qcbm_checkpoint_reason {
    QCBM_CHECKPOINT_VALID,
    QCBM_CHECKPOINT_MISSING,    /* no layer has the bitmap */
    QCBM_CHECKPOINT_NOT_ON_TOP, /* a layer has it, and the top, which is written to, has not */
    QCBM_CHECKPOINT_GAP,        /* a layer between two that have it has not */
    QCBM_CHECKPOINT_DISABLED,   /* it does not record in some layer */
    QCBM_CHECKPOINT_IN_USE,     /* a program that used some layer ended without storing it */
    QCBM_CHECKPOINT_DAMAGED,    /* it, or a directory that may have it, cannot be read */
    /* A program that does not know bitmaps wrote to a layer that had it. libvirt sees none in that layer, and may take the
     * rest for all there is */
    QCBM_CHECKPOINT_STALE
};
/* "valid", "missing", "not-on-top", "gap", "disabled", "in-use", "damaged", "stale"; "?" for a value that is none. */
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

/* What libvirt would say of checkpoints on @disks (@elem_size = sizeof *disks of the caller), from the images alone: by the
 * rules of its --redefine-validate, which takes layers of different sizes. All layers are opened for reading. In memory at a
 * time are the bitmap directories of one disk's layers, and the bits of one checkpoint.
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
    uint64_t
        dirty_bytes;     /* over all layers, as libvirt's <size>: changed since then; QCBM_UNKNOWN if it is not valid */
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
    /* By the XML it is older than @other, whose bitmaps begin in a layer further down: there its own are lost, which no rule of
     * libvirt sees */
    QCBM_CHECKPOINT_BEGINS_LATE
};
struct qcbm_checkpoint_remark {
    enum qcbm_checkpoint_remark_kind kind;
    const char *name;  /* of bitmap or checkpoint, or NULL */
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

/* The XML of a checkpoint, and of a domain, strictly: UTF-8, well-formed, 1 MiB at most, no document type; of what libvirt
 * knows the elements below, each at most once, others are passed over. Strings live until the object is freed. */
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
/* Returns 0, QCBM_E_CORRUPT (@err->offset is in @bytes), QCBM_E_UNSUPPORTED, QCBM_E_LIMIT, QCBM_E_ARG (a name that libvirt does
 * not take), QCBM_E_NOMEM. */
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
/* Give the XML of a checkpoint to @fn, as "virsh checkpoint-create DOMAIN FILE --redefine" takes it; its parent must have been
 * redefined before. Returns 0, QCBM_E_ARG (a name that libvirt does not take, no disk), QCBM_E_LIMIT, QCBM_E_ABORTED. */
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
    const char *journal; /* as of qcbm_checkpoint_create() */
};
#define QCBM_CHECKPOINT_MEND_OPTIONS_INIT                                                                              \
    {                                                                                                                  \
        sizeof(struct qcbm_checkpoint_mend_options), 0, 0, NULL, NULL, NULL, NULL, NULL, NULL                          \
    }

/* Make checkpoint @name valid on all @disks, or change none: in each layer down to the one in which it begins a bitmap that
 * misses nothing, and records. What is there and valid stays. A layer that lacks the bitmap gets what it has allocated, one in
 * use or disabled that as well as what is stored, the top what lies behind the end of a shorter layer; with options->from, what
 * the older checkpoint says there. Never an empty bitmap. Where it begins, the lowest layer that has it says: if it was lost
 * there, only options->from can make up for that.
 * Returns 0, QCBM_E_NOTFOUND (no layer of some disk has it, and there is no options->from), QCBM_E_ARG (what is to stand in is
 * not valid, or younger), QCBM_E_UNSUPPORTED (a raw data file), QCBM_E_CORRUPT, QCBM_E_UNSAFE (damaged images or
 * directories; the chain changed meanwhile), QCBM_E_CHAIN, what qcbm_open() and qcbm_edit_commit() return, QCBM_E_ABORTED. */
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
    const char *undo, *journal; /* as above */
};
#define QCBM_CHECKPOINT_RECLAIM_OPTIONS_INIT                                                                           \
    {                                                                                                                  \
        sizeof(struct qcbm_checkpoint_reclaim_options), 0, 0, NULL, 0, NULL, NULL, NULL, NULL                          \
    }

/* Remove all bitmaps but those that are named, in all layers of all @disks, or in none: no checkpoint needs another one. What
 * libvirt left behind (libvirt-tmp-...), bitmaps in use and damaged ones go as well.
 * Returns 0, QCBM_E_ARG (nothing is to be kept), QCBM_E_NOTFOUND (a name that no disk has), and what qcbm_checkpoint_mend()
 * returns. */
QCBM_API int qcbm_checkpoint_reclaim(const struct qcbm_checkpoint_disk *disks, size_t elem_size, size_t n,
                                     const struct qcbm_checkpoint_reclaim_options *options, struct qcbm_error *err);
/* ---- apply ------------------------------------------------------------------------------------------------------- */

enum qcbm_apply_flag {
    /* Check all that can be checked, and write nothing. The first delta that would be applied is compared with the disk;
     * of those behind it, which meet a disk that is not there yet, .probes is 0. */
    QCBM_APPLY_DRY_RUN = 1u << 0,
    QCBM_APPLY_FORCE_PARENT = 1u << 1 /* ids need not fit; digest, sizes and probes must */
};

enum qcbm_apply_what {
    QCBM_APPLY_APPLIED, /* with QCBM_APPLY_DRY_RUN: it would be */
    QCBM_APPLY_RESUMED, /* it had been applied in part, and is whole now */
    QCBM_APPLY_ALREADY  /* the disk's recorded state says that it has been applied: nothing was done */
};

struct qcbm_apply_delta {
    const char *path; /* as the caller gave it */
    const char *form; /* "qcow2", "raw+map", "rbd-diff", "vnb" */
    enum qcbm_apply_what what;
    char id[33],
        parent[33]; /* 32 hex digits; without identity .id is the digest of the records; .parent may be empty */
    uint64_t size_before, size_after; /* of the disk; .size_before UINT64_MAX: the delta does not say */
    uint64_t data_bytes, zero_bytes;  /* of its records */
    uint32_t probes;                  /* ranges that it leaves alone, compared with the disk */
    bool state_was_known;             /* the disk had a recorded state, which is the parent of the delta */
    bool has_digest; /* false: nothing tells damage of it. A stream has it in the file OUT.json beside it */
};
/* Called for each delta in order, when it is applied, durably if in place. A non-zero return ends the work with QCBM_E_ABORTED. */
typedef int qcbm_apply_fn(void *opaque, const struct qcbm_apply_delta *delta);

struct qcbm_apply_options {
    size_t struct_size;
    const char *new_path;    /* the new file; NULL: in place */
    const char *new_format;  /* "raw" or "qcow2"; NULL: that of the base */
    const char *base_format; /* the same; NULL: by its first bytes, which a guest may choose */
    const char *
        state_prefix; /* of the names of the files beside the base; NULL: its path without links. A block device needs one */
    unsigned flags;       /* enum qcbm_apply_flag */
    unsigned open_flags;  /* QCBM_OPEN_NO_LOCK, and with new_path QCBM_OPEN_FORCE_SHARE, of the base */
    qcbm_apply_fn *delta; /* may be NULL */
    void *opaque;
    const struct qcbm_progress *progress; /* in bytes of records, and of the disk that is copied; may be NULL */
    /* The state that the base has, by the word of the caller, where none is recorded: 32 hex digits, or a UUID; NULL: not known */
    const char *base_id;
};
#define QCBM_APPLY_OPTIONS_INIT                                                                                        \
    {                                                                                                                  \
        sizeof(struct qcbm_apply_options), NULL, NULL, NULL, NULL, 0, 0, NULL, NULL, NULL, NULL                        \
    }

struct qcbm_apply_result {
    uint64_t size;                   /* of the disk, afterwards */
    uint64_t data_bytes, zero_bytes; /* of the records that were applied */
    uint32_t applied, already;       /* deltas */
    bool resumed;
    bool state_was_known; /* the base had a recorded state */
    bool state_was_stale; /* it had one, and was written to since: then it counts as not known */
    bool id_recorded;     /* the new state is recorded, in the header of the image or in PREFIX.qcbm-id */
    bool id_in_header;
    char id[33]; /* of the state that the disk has now; empty: not known */
};

/* Apply @n @deltas, in this order, to the disk @base: a raw file, a block device, or a qcow2 image with its chain. Their forms are
 * found by their first bytes. Each is read wholly and compared with its digest before anything is written. Refused with
 * QCBM_E_UNSAFE are a delta whose parent is not the state that the disk has (recorded in its header or beside it, or told), one that names a
 * parent when the disk has no recorded state, one without a parent behind another, one whose size before is another, and one
 * whose probes differ: deltas that are foreign, out of order, or left out between.
 * In place (new_path NULL) PREFIX.qcbm-apply says how far it is while it is under way. Whatever ends it, the same call goes on;
 * others that would write to the image fail with QCBM_E_UNSAFE till then. The same delta again does nothing. Bytes of images go
 * to new clusters, so internal snapshots keep theirs, and the image is sound at each point; ranges that are written are dirty in
 * bitmaps that record, before they are written. A disk becomes larger first, and smaller last.
 * With new_path @base is only read; the new file, with the whole disk in one layer and without snapshots and bitmaps, is whole or
 * not there.
 * Memory: the records of a batch, at most 24 bytes each, its L2 tables (16 MiB), and the maps of what is in use in the image.
 * @options NULL = in place with defaults. *@out (may be NULL) is filled on success.
 * Returns 0, QCBM_E_UNSAFE (also: applied in part by another call; damage of the image), QCBM_E_CORRUPT (a damaged delta),
 * QCBM_E_ARG (also: a device and no state_prefix), QCBM_E_UNSUPPORTED (encrypted, version 2 in place, bitmaps in an image whose
 * disk changes its size), QCBM_E_NOT_QCOW2 (a delta of no known form), QCBM_E_EXISTS, QCBM_E_LIMIT, QCBM_E_NOTFOUND,
 * QCBM_E_CHAIN, QCBM_E_LOCKED, QCBM_E_NOLOCKS, QCBM_E_NOSPACE, QCBM_E_IO, QCBM_E_NOMEM, QCBM_E_ABORTED. */
QCBM_API int qcbm_apply(const char *base, const char *const *deltas, size_t n, const struct qcbm_apply_options *options,
                        struct qcbm_apply_result *out, size_t size, struct qcbm_error *err);
/* QCBM_E_UNSAFE, and words for people that name the file and the way out: a delta has been applied to the disk @path in part (PATH.qcbm-apply
 * is there; where qcbm_apply() was given another prefix it is not known). Such a disk has neither its old state nor its new one:
 * deltas, manifests and synthesised bitmaps of it are refused, opening it for reading is not. Or 0, QCBM_E_NOMEM. */
QCBM_API int qcbm_apply_check_finished(const char *path, struct qcbm_error *err);

#ifdef __cplusplus
}
#endif
#endif
