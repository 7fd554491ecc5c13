/* stale.c - stale bitmaps that a change gives up: their names, kept for when they are gone
 * SPDX-License-Identifier: MIT
 */
#include "stale.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"

enum { MAX_TOLD = 8 }; /* names in one line */

bool stale_names_take(struct stale_names *names, const struct qcbm_image *img)
{
    struct qcbm_image_info image;
    struct qcbm_bitmap_info bitmap;

    qcbm_image_get_info(img, &image, sizeof image);
    *names = (struct stale_names){ .any = image.bitmaps_stale };
    if (image.stale_bitmap_count == 0)
        return true;
    names->at = calloc(image.stale_bitmap_count, sizeof *names->at);
    for (uint32_t i = 0; names->at && i < image.stale_bitmap_count; i++) {
        qcbm_stale_bitmap_get(img, i, &bitmap, sizeof bitmap);
        names->at[i] = strdup(bitmap.name);
        if (!names->at[i])
            return false;
        names->n++;
    }
    return names->at != NULL;
}

void stale_names_clear(struct stale_names *names)
{
    for (uint32_t i = 0; i < names->n; i++)
        free(names->at[i]);
    free(names->at);
    *names = (struct stale_names){ 0 };
}

/* " 'mon', 'tue'" */
static char *list_of(const struct stale_names *names)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    if (!out)
        return NULL;
    for (uint32_t i = 0; i < names->n && i < MAX_TOLD; i++)
        fprintf(out, "%s '%.80s'", i ? "," : "", names->at[i]);
    if (names->n > MAX_TOLD)
        fprintf(out, " and %" PRIu32 " more", names->n - MAX_TOLD);
    if (names->n == 0)
        fputs(", whose directory cannot be read,", out);
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

void stale_names_tell(const struct stale_names *names, const struct qcbm_plan_summary *done, bool dry_run)
{
    char *list;

    if (!names->any || done->writes == 0)
        return;
    list = list_of(names);
    cmd_warning(
        "stale bitmaps%s %s: a program that does not know bitmaps wrote to the image, so what they say cannot be "
        "trusted",
        list ? list : "", dry_run ? "would be dropped" : "are dropped");
    if (done->stale_clusters_kept)
        cmd_warning("of the clusters that they name %" PRIu64 " may belong to somebody else by now: left as they are",
                    done->stale_clusters_kept);
    free(list);
}

void stale_names_json(const struct stale_names *names, const struct qcbm_plan_summary *done, struct json_writer *w)
{
    if (!names->any || done->writes == 0)
        return;
    json_begin_array(w, "stale-bitmaps-dropped");
    for (uint32_t i = 0; i < names->n; i++)
        json_string(w, NULL, names->at[i]);
    json_end_array(w);
}
