/* bitmap_list.h - the bitmap directory as a list; a bad entry is a finding and hides no other
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_BITMAP_LIST_H
#define QCBMI_BITMAP_LIST_H

#include "bitmap/handle.h"
#include "format/q2_bitmap_dir.h"

struct qcbmi_bitmap {
    struct q2_bitmap_dirent d; /* name and extra data point into the directory of the list */
    char *name;                /* with a NUL behind it */
    uint64_t entry_offset;     /* in the file */
    uint64_t entry_len;        /* bytes, with padding */
    bool bad;                  /* QEMU refuses the whole image because of it; why says what is wrong */
    bool shared;               /* its table or data is also that of a bitmap before it; why says where */
    bool doubted;              /* ... or of one behind it: whose bits are there nobody knows; why says where */
    struct qcbm_error why;
    bool loss_told; /* there is a finding that data lies past the end of the file */
};

struct qcbmi_bitmap_list {
    bool has_ext; /* there is a bitmaps extension ... */
    bool stale;   /* ... but its autoclear bit is clear: QEMU ignores it, and so does this list */
    /* Of a stale extension: what it leads to, if that is a directory from end to end, else NULL. Nobody may take it for
     * bitmaps; it is there to be told of, and to be given up. It adds no findings. */
    struct qcbmi_bitmap_list *was;
    uint64_t ext_offset; /* of the header of the extension, */
    uint32_t ext_len;    /* and the length that is stored there, or of another one if that is wrong */
    struct q2_bitmaps_ext ext;
    uint8_t *directory;
    struct qcbmi_bitmap *list;
    uint32_t n;
    struct qcbmi_bitmap **by_name; /* all of them; those of one name in the order of the directory */
    bool data_checked;             /* qcbmi_bitmap_find_shared_data() has run */
    bool broken; /* the extension or the directory as a whole; entries before the break are in the list */
    struct qcbm_error why_broken;
};

/* Read it into handle->bitmaps (an empty list without an extension), replacing what was there. What is wrong goes into
 * the findings. Returns 0, QCBM_E_IO or QCBM_E_NOMEM. */
int qcbmi_bitmap_list_load(struct qcbm_image *handle, struct qcbm_error *err);
void qcbmi_bitmap_list_free(struct qcbmi_bitmap_list *list);

/* Order of names for sorting, by their bytes. */
int qcbmi_compare_names(const void *a, size_t a_len, const void *b, size_t b_len);

/* The bitmap called @name (NUL-terminated), the first of them if there are several, or NULL. */
struct qcbmi_bitmap *qcbmi_bitmap_find(const struct qcbmi_bitmap_list *list, const char *name);

/* QCBM_E_NOTFOUND: there is no bitmap called @name, in QEMU's words; one that is stale is said to be so. */
int qcbmi_bitmap_fail_not_found(const struct qcbm_image *handle, const char *name, struct qcbm_error *err);

/* 0 if nothing is found about @b itself that keeps its bits from being read: consistent (unless @in_use_ok), not bad,
 * and its table has the right size. They may be those of another one: who reads them asks qcbmi_bitmap_check_bits(). */
int qcbmi_bitmap_check_entry(const struct qcbmi_image *img, const struct qcbmi_bitmap *b, bool in_use_ok,
                             struct qcbm_error *err);

#endif
