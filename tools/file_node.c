/* file_node.c - the file that an image lies in, as qemu-img 10.0 tells it: its node "file"
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <qcbm.h>
#include <stdio.h>

#include "file_node.h"
#include "qemu_text.h"
#include "remote.h"
#include "rows.h"

/* qemu counts whole sectors. */
static uint64_t length_of(const struct file_node *node)
{
    return (node->length + 511) & ~UINT64_C(511);
}

static const char *kind_of(const struct file_node *node)
{
    if (uri_is_server(node->filename))
        return "nbd";
    return node->is_device ? "host_device" : "file";
}

void file_node_print(const struct file_node *node)
{
    bool known = node->disk_size != QCBM_NO_OFFSET;
    struct rows rows = ROWS_TEXT(stdout, 1);
    uint64_t length = length_of(node);
    char text[64];

    printf("Child node '/file':\n");
    rows_string(&rows, "filename", node->filename);
    rows_string(&rows, "protocol type", kind_of(node));
    snprintf(text, sizeof text, "%s (%" PRIu64 " bytes)", size_text(length).text, length);
    rows_string(&rows, "file length", text);
    rows_string(&rows, "disk size", known ? size_text(node->disk_size).text : "unavailable");
    if (node->extent_size_hint) {
        rows_begin(&rows, "Format specific information");
        rows_u64(&rows, "extent size hint", node->extent_size_hint);
    }
}

static void write_format_specific(struct json_writer *w, const struct file_node *node)
{
    json_begin_object(w, "format-specific");
    json_string(w, "type", "file");
    json_begin_object(w, "data");
    if (node->extent_size_hint)
        json_u64(w, "extent-size-hint", node->extent_size_hint);
    json_end_object(w);
    json_end_object(w);
}

void file_node_write(struct json_writer *w, const struct file_node *node)
{
    json_begin_array(w, "children");
    json_begin_object(w, NULL);
    json_string(w, "name", "file");
    json_begin_object(w, "info");
    json_begin_array(w, "children");
    json_end_array(w);
    json_u64(w, "virtual-size", length_of(node));
    json_string(w, "filename", node->filename);
    json_string(w, "format", kind_of(node));
    if (node->disk_size != QCBM_NO_OFFSET)
        json_u64(w, "actual-size", node->disk_size);
    write_format_specific(w, node);
    json_bool(w, "dirty-flag", false);
    json_end_object(w);
    json_end_object(w);
    json_end_array(w);
}
