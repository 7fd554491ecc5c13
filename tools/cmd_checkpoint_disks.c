/* cmd_checkpoint_disks.c - --disk TARGET=IMAGE, --overlay TARGET=IMAGE, --domain FILE: a list of disks
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cmd_checkpoint.h"
#include "cmd_checkpoint_files.h"
#include "image_name.h"

static struct qcbm_checkpoint_disk *find(const struct disk_list *disks, const char *target, size_t len)
{
    for (size_t i = 0; i < disks->n; i++) {
        if (strlen(disks->list[i].target) == len && strncmp(disks->list[i].target, target, len) == 0)
            return &disks->list[i];
    }
    return NULL;
}

/* Targets are short words, so the first '=' ends them. */
static bool split(const struct cmd *cmd, const struct opt_action *a, size_t *len)
{
    const char *equals = strchr(a->value, '=');

    *len = equals ? (size_t)(equals - a->value) : 0;
    if (*len > 0 && equals[1])
        return true;
    cmd_usage_error(cmd, "--%s expects TARGET=IMAGE, as vda=disk.qcow2, not '%s'", a->opt->name, a->value);
    return false;
}

static bool take_name(const char **name, const struct disk_args *args)
{
    const char *format = args->common.format;

    if (!image_name_take(name, &format, args->common.image_opts))
        return false;
    if (!format || strcmp(format, "qcow2") == 0)
        return true;
    cmd_error("Could not open '%s': format '%s' is not supported here, only qcow2 is", *name, format);
    return false;
}

static bool add_disk(struct disk_list *disks, const struct cmd *cmd, const struct disk_args *args,
                     const struct opt_action *a)
{
    struct qcbm_checkpoint_disk *one = &disks->list[disks->n];
    size_t len;

    if (!split(cmd, a, &len))
        return false;
    if (find(disks, a->value, len)) {
        cmd_usage_error(cmd, "there are two disks '%.*s'", (int)len, a->value);
        return false;
    }
    disks->targets[disks->n] = strndup(a->value, len);
    *one = (struct qcbm_checkpoint_disk){ disks->targets[disks->n], a->value + len + 1, NULL };
    if (!one->target) {
        cmd_error("no memory");
        return false;
    }
    disks->n++;
    return take_name(&one->image, args);
}

static bool add_overlay(struct disk_list *disks, const struct cmd *cmd, const struct opt_action *a)
{
    struct qcbm_checkpoint_disk *disk;
    size_t len;

    if (!split(cmd, a, &len))
        return false;
    disk = find(disks, a->value, len);
    if (!disk || disk->overlay) {
        cmd_usage_error(cmd, disk ? "there are two overlays of '%.*s'" : "there is no disk '%.*s' for an overlay",
                        (int)len, a->value);
        return false;
    }
    disk->overlay = a->value + len + 1;
    return true;
}

/* ---- of a domain --------------------------------------------------------------------------------------- */

static bool take_domain_disk(struct disk_list *disks, const struct qcbm_domain_xml_disk *disk)
{
    struct qcbm_checkpoint_disk *one = &disks->list[disks->n];

    if (disk->use == QCBM_DOMAIN_DISK_UNFIT) {
        cmd_error("disk '%s' of the domain cannot be in a checkpoint: %s", disk->target, disk->why);
        cmd_hint("--disk names the disks that are meant");
        return false;
    }
    if (disk->use == QCBM_DOMAIN_DISK_LEFT_OUT)
        return true;
    disks->targets[disks->n] = strdup(disk->target);
    *one = (struct qcbm_checkpoint_disk){ disks->targets[disks->n], disk->path, NULL };
    if (!one->target) {
        cmd_error("no memory");
        return false;
    }
    disks->n++;
    return true;
}

static bool take_domain(struct disk_list *disks, const char *file)
{
    struct qcbm_domain_xml_info info;
    struct qcbm_domain_xml_disk disk;
    bool ok = true;

    qcbm_domain_xml_get_info(disks->domain, &info, sizeof info);
    free(disks->list);
    free(disks->targets);
    disks->list = calloc((size_t)info.disks + 1, sizeof *disks->list);
    disks->targets = calloc((size_t)info.disks + 1, sizeof *disks->targets);
    if (!disks->list || !disks->targets) {
        cmd_error("no memory");
        return false;
    }
    for (uint32_t i = 0; ok && qcbm_domain_xml_get_disk(disks->domain, i, &disk, sizeof disk) == 0; i++)
        ok = take_domain_disk(disks, &disk);
    if (ok && disks->n == 0)
        cmd_error("the domain in '%s' has no disk that could be in a checkpoint", file);
    return ok && disks->n > 0;
}

bool disk_list_make(struct disk_list *disks, const struct cmd *cmd, const struct disk_args *args)
{
    const struct opt_actions *actions = &args->actions;
    bool ok = true;

    *disks = (struct disk_list){ .list = calloc(actions->count + 1, sizeof *disks->list),
                                 .targets = calloc(actions->count + 1, sizeof *disks->targets) };
    if (!disks->list || !disks->targets) {
        cmd_error("no memory");
        return false;
    }
    for (size_t i = 0; ok && i < actions->count; i++) {
        if (strcmp(actions->list[i].opt->name, "disk") == 0)
            ok = add_disk(disks, cmd, args, &actions->list[i]);
    }
    if (ok && disks->n == 0 && !args->domain) {
        cmd_usage_error(cmd, "Expecting --disk TARGET=IMAGE, once for each disk of the machine, or --domain FILE");
        return false;
    }
    if (ok && args->domain) {
        disks->domain = domain_file_read(args->domain);
        ok = disks->domain && (disks->n > 0 || take_domain(disks, args->domain));
    }
    for (size_t i = 0; ok && i < actions->count; i++) {
        if (strcmp(actions->list[i].opt->name, "overlay") == 0)
            ok = add_overlay(disks, cmd, &actions->list[i]);
    }
    return ok;
}

void disk_list_free(struct disk_list *disks)
{
    for (size_t i = 0; disks->targets && i < disks->n; i++)
        free(disks->targets[i]);
    free(disks->targets);
    free(disks->list);
    qcbm_domain_xml_free(disks->domain);
    *disks = (struct disk_list){ 0 };
}

bool checkpoint_undo_folder(const struct common_args *common)
{
    struct stat st;

    if (!common->undo || common->dry_run || stat(common->undo, &st) == 0 || mkdir(common->undo, 0700) == 0)
        return true;
    cmd_error("Could not make the folder '%s': %s", common->undo, strerror(errno));
    return false;
}
