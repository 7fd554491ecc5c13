/* extents_form.h - the forms in which other programs write and read extents, by name
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_EXTENTS_FORM_H
#define QCBM_TOOL_EXTENTS_FORM_H

enum extents_form {
    EXTENTS_HUMAN,      /* nbdinfo --map */
    EXTENTS_JSON,       /* nbdinfo --map --json; is read as qemu-img map prints it, too */
    EXTENTS_JSONL,      /* the objects of that, each on a line */
    EXTENTS_OVIRT,      /* extents of oVirt's imageio */
    EXTENTS_CSI,        /* messages of the Kubernetes CSI snapshot metadata service, as its lister prints them */
    EXTENTS_CSI_LINES,  /* the same, each on a line */
    EXTENTS_RBD,        /* rbd diff --format=json */
    EXTENTS_XEN_BITS,   /* a bit for each cluster of the image, the lowest of a byte first */
    EXTENTS_XEN_JSON,   /* numbers of clusters */
    EXTENTS_THIN_DELTA, /* the XML of thin_delta; is only read */
    N_EXTENTS_FORMS
};

/* Those above EXTENTS_THIN_DELTA are written, too. */
#define EXTENTS_WRITTEN "human|json|jsonl|ovirt|csi|csi-lines|rbd|xen-bits|xen-json"

extern const char *const extents_form_names[N_EXTENTS_FORMS];

/* N_EXTENTS_FORMS if @name is none. */
enum extents_form extents_form_of(const char *name);

enum { N_EXTENT_TYPES = 4 };
/* What the types are called: bit 0 of a type is dirty, bit 1 reads as zeros. */
extern const char *const extent_descriptions[N_EXTENT_TYPES];

#endif
