/* machine_commit.c - the edits of a machine's images, carried out together
 * SPDX-License-Identifier: MIT */
#include "checkpoint/machine_commit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "checkpoint/together.h"

/* The images that are changed, as the disks of one change. */
struct changed {
    struct qcbmi_disks disks;
    char **names; /* of them: "vda", and "vda.1" for the layer below */
    size_t *images;
};

static char *name_of(const struct qcbmi_machine *m, const struct qcbmi_machine_image *image, struct qcbm_error *err)
{
    const char *target = m->disks[image->disk].target;
    char *name = qcbmi_alloc_array(strlen(target) + 24, 1, err);

    if (name && image->depth == 0)
        strcpy(name, target);
    else if (name)
        sprintf(name, "%s.%zu", target, image->depth);
    return name;
}

static int find_changed(const struct qcbmi_machine *m, struct changed *c, struct qcbm_error *err)
{
    c->disks.list = qcbmi_alloc_array(m->n_images, sizeof(c->disks.list[0]), err);
    c->names = qcbmi_alloc_array(m->n_images, sizeof(c->names[0]), err);
    c->images = qcbmi_alloc_array(m->n_images, sizeof(c->images[0]), err);
    if (!c->disks.list || !c->names || !c->images)
        return QCBM_E_NOMEM;
    for (size_t i = 0; i < m->n_images; i++) {
        const struct qcbmi_machine_image *image = &m->images[i];
        size_t n = c->disks.n;

        if (!image->edit)
            continue;
        c->names[n] = name_of(m, image, err);
        if (!c->names[n])
            return QCBM_E_NOMEM;
        c->disks.list[n] = (struct qcbmi_disk){ .target = c->names[n], .path = image->path, .img = image->img };
        c->images[n] = i;
        c->disks.n++;
    }
    return 0;
}

/* The images stay open: they are the machine's. */
static void free_changed(struct changed *c)
{
    for (size_t i = 0; i < c->disks.n; i++)
        free(c->names[i]);
    free(c->disks.list);
    free(c->names);
    free(c->images);
}

/* The edit goes over to the change. */
static int take_edit(struct qcbmi_machine_image *image, struct qcbmi_member *member,
                     const struct qcbmi_machine_commit *how, struct qcbm_error *err)
{
    int ret = how->goals(how->opaque, image, &member->part, err);

    member->edit = image->edit;
    image->edit = NULL;
    return ret < 0 ? ret : qcbmi_together_set_undo(member, how->undo, err);
}

int qcbmi_machine_commit(struct qcbmi_machine *m, const struct qcbmi_machine_commit *how, unsigned flags,
                         struct qcbm_error *err)
{
    struct qcbmi_together t = { 0 };
    struct changed c = { 0 };
    int ret = find_changed(m, &c, err);

    if (ret == 0 && c.disks.n > 0) {
        ret = qcbmi_together_begin(&t, &c.disks, how->change, how->name, how->journal, err);
        for (size_t i = 0; ret == 0 && i < t.n; i++)
            ret = qcbmi_disk_blame(t.members[i].disk, take_edit(&m->images[c.images[i]], &t.members[i], how, err), err);
        if (ret == 0)
            ret = qcbmi_together_plan(&t, err);
        if (ret == 0 && (flags & QCBM_OPEN_WRITE))
            ret = qcbmi_together_commit(&t, err);
    }
    qcbmi_together_free(&t);
    free_changed(&c);
    return ret;
}
