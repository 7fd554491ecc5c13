/* cmd_open.c - images opened for commands: files, and what lies behind a URI; the process shut in before that
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "cmd.h"
#include "remote.h"
#include "run_note.h"
#include "sandbox.h"

static void fail_open(const char *path, unsigned flags, const struct qcbm_error *err)
{
    cmd_lib_error(err, "Could not open '%s'", path);
    cmd_hint_at_sharing(err, flags);
}

static int open_file(const char *path, unsigned flags, struct qcbm_image **out, struct qcbm_error *err)
{
    int ret = qcbm_open(path, flags, out, err);

    if (ret == 0)
        run_note_tag(path, *out);
    return ret;
}

/* Opening without a word. */
int cmd_try_open(const char *path, unsigned flags, struct qcbm_image **out, struct qcbm_error *err)
{
    int ret;

    if (!uri_is_server(path))
        return open_file(path, flags, out, err);
    *out = NULL;
    ret = remote_connect(path, NULL, err);
    if (ret == 0)
        ret = qcbm_open_io(remote_ops(), remote_self(path), flags, out, err);
    if (ret == 0 && (ret = qcbm_set_name(*out, path, err)) < 0) {
        qcbm_close(*out);
        *out = NULL;
    }
    if (ret == 0)
        run_note_tag(path, *out);
    return ret;
}

int cmd_try_probe(const char *path, const char **format, struct qcbm_error *err)
{
    int ret;

    if (!uri_is_server(path))
        return qcbm_probe(path, format, err);
    *format = NULL;
    ret = remote_connect(path, NULL, err);
    return ret < 0 ? ret : qcbm_probe_io(remote_ops(), remote_self(path), path, format, err);
}

int cmd_try_dump(const char *path, unsigned flags, struct qcbm_dump **out, struct qcbm_error *err)
{
    int ret;

    run_note_image(path);
    if (!uri_is_server(path))
        return qcbm_dump_open(path, flags, out, err);
    *out = NULL;
    ret = remote_connect(path, NULL, err);
    if (ret == 0)
        ret = qcbm_dump_open_io(remote_ops(), remote_self(path), flags, out, err);
    if (ret == 0)
        remote_warn_of_locks(path);
    return ret;
}

static int open_raw(const char *path, unsigned flags, struct qcbm_chain **out, struct qcbm_error *err)
{
    int ret;

    if (!uri_is_server(path))
        return qcbm_chain_open_raw(path, flags, out, err);
    *out = NULL;
    ret = remote_connect(path, NULL, err);
    return ret < 0 ? ret : qcbm_chain_open_raw_io(remote_ops(), remote_self(path), path, flags, out, err);
}

bool cmd_refuse_server(const char *path, unsigned flags)
{
    bool refused = (flags & QCBM_OPEN_WRITE) && uri_is_server(path);

    if (refused)
        cmd_error("Could not open '%s': what is behind a server is read here, and never written to: change the image "
                  "where its file is",
                  path);
    return refused;
}

struct qcbm_image *cmd_open(const char *path, const char *format, unsigned flags)
{
    struct qcbm_image *img = NULL;
    struct qcbm_error err;

    cmd_name_image(path);
    if (format && strcmp(format, "qcow2") != 0)
        cmd_error("Could not open '%s': format '%s' is not supported here, only qcow2 is", path, format);
    else if ((flags & QCBM_OPEN_WRITE) && !cmd_may_write(path))
        cmd_error("Could not open '%s': Block node is read-only", path);
    else if (!cmd_refuse_server(path, flags) && cmd_try_open(path, flags, &img, &err) < 0)
        fail_open(path, flags, &err);
    if (img)
        remote_warn_of_locks(path);
    return img;
}

/* What @path is, if it is one of ours; NULL, and an error, else. */
static const char *find_format(const char *path, unsigned flags)
{
    const char *format;
    struct qcbm_error err;

    if (cmd_try_probe(path, &format, &err) < 0) {
        fail_open(path, flags, &err);
        return NULL;
    }
    if (strcmp(format, "qcow2") == 0 || strcmp(format, "raw") == 0)
        return format;
    cmd_error("Could not open '%s': format '%s' is not supported, qcow2 and raw are", path, format);
    return NULL;
}

bool cmd_open_disk(const char *path, const char *format, unsigned flags, struct cmd_disk *out)
{
    struct qcbm_error err;
    int ret;

    *out = (struct cmd_disk){ NULL, NULL };
    cmd_name_image(path);
    if (!format)
        format = find_format(path, flags);
    if (!format || cmd_refuse_server(path, flags))
        return false;
    if (strcmp(format, "raw") == 0)
        run_note_raw(path);
    if (strcmp(format, "raw") == 0)
        ret = open_raw(path, flags, &out->raw, &err);
    else
        ret = cmd_try_open(path, flags, &out->img, &err);
    if (ret < 0)
        fail_open(path, flags, &err);
    else
        remote_warn_of_locks(path);
    return ret == 0;
}

uint64_t cmd_disk_size(const struct cmd_disk *disk)
{
    struct qcbm_image_info info;
    struct qcbm_chain_layer layer;

    if (disk->img) {
        qcbm_image_get_info(disk->img, &info, sizeof info);
        return info.virtual_size & ~UINT64_C(511);
    }
    return qcbm_chain_get(disk->raw, 0, &layer, sizeof layer, NULL) < 0 ? 0 : layer.virtual_size;
}

void cmd_close_disk(struct cmd_disk *disk)
{
    qcbm_close(disk->img);
    qcbm_chain_close(disk->raw);
}

void cmd_shut_in(bool off, bool chain, const char *path, const char *other)
{
    const char *const files[] = { path && !uri_is_server(path) ? path : NULL, other };
    struct qcbm_error err;

    if (path && uri_is_server(path))
        (void)remote_connect(path, NULL, &err); /* told when it is opened */
    if (off)
        return;
    if (remote_is_connected())
        sandbox_enter_connected(files, 2, chain);
    else
        sandbox_enter(files, 2, chain);
}
