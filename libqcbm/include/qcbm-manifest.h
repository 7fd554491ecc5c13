/* qcbm-manifest.h - what a disk held, as digests; a part of qcbm.h
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_MANIFEST_H
#define QCBM_MANIFEST_H

#include "qcbm.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- manifests --------------------------------------------------------------------------------------------------- */

/* What a disk held: the digest of each of its granules, in a file (docs/manifest-format.md). Kept beside a backup, it
 * tells what has changed since, also where nothing recorded that: of raw disks, and after a crash. The fixed index
 * (.fidx) of an unencrypted backup of Proxmox Backup Server is as good. */
struct qcbm_manifest;

/* XXH3 is no protection against people who look for two contents of one digest. It has a seed that a guest does not
 * know; who has to do with hostile guests that may learn it takes SHA-256. */
enum qcbm_digest {
    QCBM_DIGEST_XXH3 = 1,  /* XXH3-128 with a seed */
    QCBM_DIGEST_SHA256 = 2 /* by libcrypto, which is loaded when it is needed */
};

/* Load what digests of this kind take, so that nothing has to be loaded later: for who shuts himself in before he opens
 * a manifest. Returns 0, QCBM_E_ARG (no such kind), QCBM_E_UNSUPPORTED (not in this build, or not on this system),
 * QCBM_E_NOMEM. */
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

/* Read @disk, an open chain (of a qcow2 image or a raw file), and give its manifest to @fn, piece by piece. External
 * data files are opened. What metadata alone shows to be zeros is not read. A manifest has all of the disk or is none:
 * where a granule cannot be read, the call fails. What had been given by then is no manifest, as its end is missing.
 * Memory: 70 MiB at most. @options NULL = defaults. @info may be NULL.
 * Returns 0, QCBM_E_ARG, QCBM_E_UNSUPPORTED (encrypted; digest, see qcbm_digest_load()), QCBM_E_CORRUPT, QCBM_E_CHAIN,
 * QCBM_E_LOCKED, QCBM_E_IO, QCBM_E_NOMEM, QCBM_E_ABORTED. */
QCBM_API int qcbm_manifest_write(struct qcbm_chain *disk, const struct qcbm_manifest_options *options,
                                 qcbm_write_fn *fn, void *opaque, struct qcbm_manifest_info *info, size_t info_size,
                                 struct qcbm_error *err);

/* The same from @old, a manifest of this disk as it was: of the disk only those granules are read that bitmap @bitmap
 * of @image, which may be any image of the same size, has dirty, and what lies behind the end of @old. Granularity,
 * kind of digest and seed are those of @old, and options that ask for others are QCBM_E_ARG; so is an index. But for
 * the claim it is the file that qcbm_manifest_write() with the same seed gives, if the bitmap has all that was written
 * since.
 * Returns also QCBM_E_NOTFOUND, QCBM_E_INUSE. */
QCBM_API int qcbm_manifest_update(struct qcbm_manifest *old, struct qcbm_chain *disk, struct qcbm_image *image,
                                  const char *bitmap, const struct qcbm_manifest_options *options, qcbm_write_fn *fn,
                                  void *opaque, struct qcbm_manifest_info *info, size_t info_size,
                                  struct qcbm_error *err);

/* Open the manifest or index @path, and check it as a whole: structure, digest, length. It may be hostile.
 * Returns 0, QCBM_E_NOTFOUND, QCBM_E_CORRUPT (neither of the two, cut, damaged), QCBM_E_UNSUPPORTED (another version;
 * digest), QCBM_E_IO, QCBM_E_NOMEM. */
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

/* Does @disk hold what the manifest says? @fn (may be NULL) gets each range that differs or cannot be read, in order.
 * What of a longer disk lies behind the end of the other differs, and so does the granule in which a shorter one ends.
 * Of the options count threads and progress. That something differs is no failure.
 * Returns 0, QCBM_E_ARG, QCBM_E_UNSAFE (nothing of an index is equal: it is of another disk, or of an encrypted
 * backup), QCBM_E_UNSUPPORTED (encrypted), QCBM_E_CHAIN, QCBM_E_LOCKED, QCBM_E_CORRUPT (the manifest has changed
 * meanwhile), QCBM_E_IO (of the manifest), QCBM_E_NOMEM, QCBM_E_ABORTED. */
QCBM_API int qcbm_manifest_verify(struct qcbm_manifest *manifest, struct qcbm_chain *disk,
                                  const struct qcbm_manifest_options *options, qcbm_manifest_range_fn *fn, void *opaque,
                                  struct qcbm_manifest_result *out, size_t out_size, struct qcbm_error *err);

#ifdef __cplusplus
}
#endif
#endif
