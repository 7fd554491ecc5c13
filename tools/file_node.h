/* file_node.h - the file that an image lies in, as qemu-img 10.0 tells it: its node "file"
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_FILE_NODE_H
#define QCBM_TOOL_FILE_NODE_H

#include "json_write.h"

struct file_node {
    const char *filename;
    uint64_t length, disk_size; /* disk_size: QCBM_NO_OFFSET if unknown */
    uint32_t extent_size_hint;  /* 0 if none */
    bool is_device;
};

void file_node_print(const struct file_node *node);
void file_node_write(struct json_writer *w, const struct file_node *node); /* the member "children" */

#endif
