/* measure_bitmap.c - measure --bitmap: what metadata images of raw disks take, and bitmaps
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdio.h>

#include "cmd.h"
#include "json_write.h"
#include "measure_bitmap.h"
#include "qemu_text.h"

#define LEAST_CLUSTER 65536u
#define MOST_CLUSTER (2u << 20)
#define LEAST_GRANULARITY UINT64_C(512)
#define MOST_GRANULARITY (UINT64_C(1) << 31)

/* Of each there is one function that prints it: with @w as JSON, else as text. */

static void tell_image(struct json_writer *w, uint64_t size, uint32_t cluster_size, bool extended_l2)
{
    uint64_t bytes;

    if (qcbm_attach_measure(size, cluster_size, extended_l2, &bytes, NULL) < 0)
        return; /* the disk is too large for such clusters */
    if (!w) {
        printf("%12s  %-11s %12s\n", size_text(cluster_size).text, extended_l2 ? "extended L2" : "",
               size_text(bytes).text);
        return;
    }
    json_begin_object(w, NULL);
    json_u64(w, "cluster-size", cluster_size);
    json_bool(w, "extended-l2", extended_l2);
    json_u64(w, "size", bytes);
    json_end_object(w);
}

static void tell_images(struct json_writer *w, uint64_t size)
{
    if (w)
        json_begin_array(w, "metadata-images");
    else
        printf("%12s  %-11s %12s\n", "CLUSTER SIZE", "", "IMAGE");
    for (uint32_t cs = LEAST_CLUSTER; cs <= MOST_CLUSTER; cs *= 2)
        tell_image(w, size, cs, false);
    tell_image(w, size, MOST_CLUSTER, true);
    if (w)
        json_end_array(w);
}

static void tell_bitmap(struct json_writer *w, uint64_t size, uint32_t cluster_size, uint64_t granularity)
{
    struct qcbm_bitmap_measure m;

    if (qcbm_bitmap_measure(size, cluster_size, granularity, &m, sizeof m, NULL) < 0)
        return; /* more granules than QEMU allows */
    if (!w) {
        printf("%12s  %11" PRIu64 " %12s %12s\n", size_text(granularity).text, m.granules, size_text(m.least).text,
               size_text(m.most).text);
        return;
    }
    json_begin_object(w, NULL);
    json_u64(w, "granularity", granularity);
    json_u64(w, "granules", m.granules);
    json_u64(w, "least", m.least);
    json_u64(w, "most", m.most);
    json_end_object(w);
}

static void tell_bitmaps(struct json_writer *w, uint64_t size, uint32_t cluster_size)
{
    if (w)
        json_begin_array(w, "bitmaps");
    else
        printf("\n%12s  %11s %12s %12s\n", "GRANULARITY", "GRANULES", "AT LEAST", "AT MOST");
    for (uint64_t g = LEAST_GRANULARITY; g <= MOST_GRANULARITY; g *= 2)
        tell_bitmap(w, size, cluster_size, g);
    if (w)
        json_end_array(w);
}

int measure_bitmap_out(uint64_t size, uint32_t cluster_size, enum opt_output output)
{
    struct json_writer w = JSON_WRITER_INIT(stdout);
    struct qcbm_bitmap_measure m;
    struct qcbm_error err;

    if (qcbm_bitmap_measure(size, cluster_size, MOST_GRANULARITY, &m, sizeof m, &err) < 0)
        return cmd_error("%s", err.message);
    if (output == OUTPUT_HUMAN) {
        tell_images(NULL, size);
        tell_bitmaps(NULL, size, cluster_size);
        return EXIT_DONE;
    }
    json_begin_object(&w, NULL);
    json_u64(&w, "virtual-size", size);
    tell_images(&w, size);
    json_u64(&w, "cluster-size", cluster_size);
    tell_bitmaps(&w, size, cluster_size);
    json_end_object(&w);
    json_finish(&w);
    return EXIT_DONE;
}
