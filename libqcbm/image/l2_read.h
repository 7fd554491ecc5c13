/* l2_read.h - many L2 tables, read in the order of the file
 * SPDX-License-Identifier: MIT
 *
 * The only reader of whole mapping tables. Who needs many gives their places sorted; tables that lie near each other
 * are one piece and one read, holes are not read. What is made of the tables of a piece goes into a result that nothing
 * else sees, and results are merged in the order of the pieces: so pieces can be read ahead, and looked at side by
 * side. */
#ifndef QCBMI_L2_READ_H
#define QCBMI_L2_READ_H

#include "base/progress.h"
#include "image/image.h"

/* Neighbouring tables in one read: bytes of which a few pieces stay in the near cache. A larger table is read alone. */
#define QCBMI_L2_PIECE (UINT64_C(256) << 10)

/* qcbmi_by_two_u64() puts them in order. */
struct qcbmi_l2_ref {
    uint64_t offset; /* of the table */
    uint64_t l1_index;
};

/* In one L1 each table stands once. Do two of @refs, which are those of one L1 and sorted, name that of @refs[@i]? To
 * look only at those before it, give @i + 1 as @n. */
static inline bool qcbmi_l2_is_named_twice(const struct qcbmi_l2_ref *refs, size_t n, size_t i)
{
    return (i > 0 && refs[i].offset == refs[i - 1].offset) || (i + 1 < n && refs[i].offset == refs[i + 1].offset);
}

struct qcbmi_l2_job {
    const void *refs;   /* structs that begin with a struct qcbmi_l2_ref, sorted by offset */
    size_t n, stride;   /* how many, and the size of one */
    const char *what;   /* is read, for errors */
    bool exact;         /* read nothing but these tables: small gaps between them are not read with them */
    size_t result_size; /* a result begins as zeros; 0: there is none, and the caller's thread looks, in file order */
    struct qcbmi_progress *progress; /* may be NULL */
    void *opaque;

    /* May @bytes be read for a table inside clusters? These may be bytes of another table, and so on. Where not, it is
     * passed over. NULL: they may. Where there are such tables, there is one thread. */
    bool (*afford)(void *opaque, uint64_t bytes);

    /* @table has img->g.cluster_size bytes, or is NULL where all of it is a hole. With a result it is called on several
     * threads at once, and changes nothing else. Anything but 0 stops. */
    int (*look)(void *opaque, void *result, const struct qcbmi_l2_ref *ref, const uint8_t *table,
                struct qcbm_error *err);
    /* On the caller's thread: take over what one piece gave, and make @result ready for another. */
    int (*merge)(void *opaque, void *result, struct qcbm_error *err);
    void (*drop)(void *result); /* at the end, on failure too */
};

/* What lies past the end of the file is zeros: who must not take that for "unallocated" leaves such tables out. */
int qcbmi_l2_read(struct qcbmi_image *img, const struct qcbmi_l2_job *job, struct qcbm_error *err);

#endif
