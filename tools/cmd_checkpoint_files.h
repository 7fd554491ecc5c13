/* cmd_checkpoint_files.h - libvirt's XML files, as the commands of qcbm checkpoint read them
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_CMD_CHECKPOINT_FILES_H
#define QCBM_TOOL_CMD_CHECKPOINT_FILES_H

#include <stdbool.h>
#include <stddef.h>

#include "opt.h"
#include "qcbm.h"

/* The disks of a domain, from the file @path ("-": stdin). Prints the error. NULL on failure. */
struct qcbm_domain_xml *domain_file_read(const char *path);

/* Checkpoints, parents first. */
struct checkpoint_files {
    struct qcbm_checkpoint_xml **list;
    size_t n;
};
/* Read @paths, ended by NULL; or all *.xml of the folders that an option named. Both print the error. */
bool checkpoint_files_read(struct checkpoint_files *files, char **paths);
bool checkpoint_files_read_dirs(struct checkpoint_files *files, const struct opt_actions *dirs);
void checkpoint_files_free(struct checkpoint_files *files); /* fine on a zeroed struct */

const char *checkpoint_file_name(const struct qcbm_checkpoint_xml *xml);

/* Names with commas between them, of an option that may be repeated; @list is from malloc(), its strings in one piece
 * that @text points to. Prints the error: none, an empty one. */
struct name_list {
    const char **list;
    size_t n;
    char *text;
};
bool name_list_take(struct name_list *names, const struct opt_actions *given);
void name_list_free(struct name_list *names); /* fine on a zeroed struct */

#endif
