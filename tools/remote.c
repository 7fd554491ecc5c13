/* remote.c - images and disks behind an NBD server, which the user names by a URI
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef HAVE_NBD
#include <dlfcn.h>
#endif

#include "cmd.h"
#include "remote.h"
#ifdef HAVE_NBD
#include "qcbm-nbd.h" /* layers: types and constants; what it declares is called through pointers */
#endif

static int fail(struct qcbm_error *err, int code, const char *text, const char *detail)
{
    *err = (struct qcbm_error){ .code = code, .offset = QCBM_NO_OFFSET };
    snprintf(err->message, sizeof err->message, "%s%s", text, detail);
    return code;
}

#ifdef HAVE_NBD

enum { MAX_CONNECTIONS = 32 }; /* each has a thread, and memory for what it reads ahead */

static struct connection {
    const char *uri;
    struct qcbm_nbd *nbd;
    struct qcbm_error failed;
} connections[MAX_CONNECTIONS];

/* ---- the library --------------------------------------------------------------------------------------- */

static struct {
    bool loaded;
    int (*open)(const char *uri, const struct qcbm_nbd_options *options, struct qcbm_nbd **out, struct qcbm_error *err);
    void (*close)(struct qcbm_nbd *nbd);
    const struct qcbm_io_ops *(*ops)(void);
    void (*keep)(struct qcbm_nbd *nbd);
    uint64_t (*size)(const struct qcbm_nbd *nbd);
    int (*extents)(struct qcbm_nbd *nbd, const char *context, qcbm_nbd_extent_fn *fn, void *opaque,
                   struct qcbm_error *err);
} library;

static bool find(void *handle, void *to, const char *name)
{
    void *symbol = dlsym(handle, name);

    memcpy(to, &symbol, sizeof symbol);
    return symbol != NULL;
}

static int load(struct qcbm_error *err)
{
    void *handle = library.loaded ? NULL : dlopen(QCBM_NBD_SONAME, RTLD_NOW | RTLD_LOCAL);

    if (library.loaded)
        return 0;
    if (!handle)
        return fail(err, QCBM_E_UNSUPPORTED, "what reads from NBD servers could not be loaded: ", dlerror());
    library.loaded = find(handle, &library.open, "qcbm_nbd_open") && find(handle, &library.close, "qcbm_nbd_close") &&
                     find(handle, &library.ops, "qcbm_nbd_ops") && find(handle, &library.keep, "qcbm_nbd_keep") &&
                     find(handle, &library.size, "qcbm_nbd_size") && find(handle, &library.extents, "qcbm_nbd_extents");
    return library.loaded ? 0 : fail(err, QCBM_E_UNSUPPORTED, QCBM_NBD_SONAME, " is of another version");
}

/* ---- connections --------------------------------------------------------------------------------------- */

static struct connection *connection_to(const char *uri)
{
    struct connection *c = connections;

    while (c < connections + MAX_CONNECTIONS && c->uri && strcmp(c->uri, uri) != 0)
        c++;
    return c < connections + MAX_CONNECTIONS ? c : NULL;
}

static void close_all(void)
{
    for (size_t i = 0; i < MAX_CONNECTIONS; i++) {
        library.close(connections[i].nbd);
        connections[i].nbd = NULL;
    }
}

int remote_connect(const char *uri, const char *context, struct qcbm_error *err)
{
    struct connection *c = connection_to(uri);
    struct qcbm_nbd_options options = QCBM_NBD_OPTIONS_INIT;
    struct qcbm_error ignored = { 0 };

    err = err ? err : &ignored;
    if (!c)
        return fail(err, QCBM_E_LIMIT, "these are too many servers", "");
    if (!c->uri) {
        c->uri = uri;
        options.context = context;
        if (load(&c->failed) == 0 && library.open(uri, &options, &c->nbd, &c->failed) == 0) {
            library.keep(c->nbd);
            atexit(close_all);
        }
    }
    if (!c->nbd)
        *err = c->failed;
    return c->nbd ? 0 : c->failed.code;
}

bool remote_is_connected(void)
{
    return connections[0].uri != NULL;
}

const struct qcbm_io_ops *remote_ops(void)
{
    return library.ops();
}

void *remote_self(const char *uri)
{
    return connection_to(uri)->nbd;
}

uint64_t remote_size(const char *uri)
{
    return library.size(connection_to(uri)->nbd);
}

int remote_extents(const char *uri, const char *context, remote_extent_fn *fn, void *opaque, struct qcbm_error *err)
{
    return library.extents(connection_to(uri)->nbd, context, fn, opaque, err);
}

#else

int remote_connect(const char *uri, const char *context, struct qcbm_error *err)
{
    struct qcbm_error ignored;

    (void)uri;
    (void)context;
    return fail(err ? err : &ignored, QCBM_E_UNSUPPORTED, "this qcbm was built without libnbd", "");
}

bool remote_is_connected(void)
{
    return false;
}

const struct qcbm_io_ops *remote_ops(void)
{
    return NULL;
}

void *remote_self(const char *uri)
{
    (void)uri;
    return NULL;
}

uint64_t remote_size(const char *uri)
{
    (void)uri;
    return 0;
}

int remote_extents(const char *uri, const char *context, remote_extent_fn *fn, void *opaque, struct qcbm_error *err)
{
    (void)fn;
    (void)opaque;
    return remote_connect(uri, context, err);
}

#endif

void remote_warn_of_locks(const char *path)
{
    static bool told;

    if (uri_is_server(path) && !told)
        cmd_warning(
            "%s: no lock reaches a server: a guest may write to it while it is read here, and what comes out may "
            "then be of no one moment",
            path);
    told |= uri_is_server(path);
}

int remote_connect_to_disk(const char *uri, const char *context, bool no_lock)
{
    struct qcbm_error err;

    if (remote_connect(uri, context, &err) < 0)
        return cmd_lib_error(&err, "Could not open '%s'", uri);
    if (!no_lock)
        return cmd_error(
            "Could not open '%s': no lock reaches an NBD server, so a guest may write to the disk meanwhile, and "
            "what it writes would be missing in the bitmap: --no-lock goes on all the same",
            uri);
    remote_warn_of_locks(uri);
    return EXIT_DONE;
}
