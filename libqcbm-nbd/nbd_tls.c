/* nbd_tls.c - whom to believe: the certificate of a server behind a URI with TLS
 * SPDX-License-Identifier: MIT
 *
 * libnbd (1.14 to 1.20 at least) looks whose certificate it gets in one case alone: it has found a folder with a
 * ca-cert.pem, and the URI names a host. Without such a folder, and behind a Unix socket, any certificate will do. So
 * the folder is looked for here, where libnbd looks, and is given to it; without one there is no connection.
 *
 * A folder that the URI names is taken out of it: libnbd is never allowed to read files that a URI names, and refuses
 * what is not understood here. */
#include "nbd_tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nbd_fail.h"

#define OF_SYSTEM "/etc/pki/libnbd"

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static int no_memory(struct qcbm_error *err)
{
    return qcbmi_nbd_fail(err, QCBM_E_NOMEM, ENOMEM, "no memory");
}

/* ---- what the URI says ----------------------------------------------------------------------------------- */

static int digit(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c ? strchr(digits, c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c) : NULL;

    return at ? (int)(at - digits) : -1;
}

/* %XX, in place. Returns whether it has a meaning: not if it is empty, broken, or has a NUL in it. */
static bool decode(char *text)
{
    char *to = text;

    for (const char *from = text; *from; from++) {
        int high = digit(from[1]), low = high < 0 ? -1 : digit(from[2]);

        if (*from != '%') {
            *to++ = *from;
            continue;
        }
        if (low < 0 || high + low == 0)
            return false;
        *to++ = (char)(high * 16 + low);
        from += 2;
    }
    *to = '\0';
    return to > text;
}

/* The parameter that begins with @name, up to the next one; NULL: none. */
static char *find_parameter(char *uri, const char *name, size_t *len)
{
    char *at = strpbrk(uri, "?#");

    while (at && *at != '#' && !begins(at + 1, name))
        at = strpbrk(at + 1, "&#");
    if (!at || *at == '#')
        return NULL;
    *len = strcspn(++at, "&#");
    return at;
}

/* Cuts it out of @uri, with what sets it apart from the next one. */
static void drop_parameter(char *at, size_t len)
{
    const char *rest = at + len + (at[len] == '&');

    memmove(at, rest, strlen(rest) + 1);
}

/* *@folder from malloc(); NULL: the URI names none. */
static int take_folder(char *uri, char **folder, struct qcbm_error *err)
{
    static const char name[] = "tls-certificates=";
    size_t len;
    char *at = find_parameter(uri, name, &len);

    *folder = NULL;
    if (!at)
        return 0;
    *folder = strndup(at + strlen(name), len - strlen(name));
    if (!*folder)
        return no_memory(err);
    drop_parameter(at, len);
    if (!decode(*folder))
        return qcbmi_nbd_fail(err, QCBM_E_ARG, EINVAL, "tls-certificates in the URI names no folder");
    return 0;
}

/* ---- the folder ------------------------------------------------------------------------------------------ */

static bool has_authority(const char *folder)
{
    char *name = NULL;
    bool there = asprintf(&name, "%s/ca-cert.pem", folder) >= 0 && access(name, R_OK) == 0;

    free(name);
    return there;
}

/* Where libnbd looks, of whom root's is the system's alone. *@folder from malloc(). */
static int find_folder(char **folder, struct qcbm_error *err)
{
    static const char *const of_user[] = { ".pki/libnbd", ".config/pki/libnbd" };
    const char *home = geteuid() != 0 ? getenv("HOME") : NULL;

    for (size_t i = 0; i < (home ? sizeof(of_user) / sizeof(of_user[0]) : 1); i++) {
        if ((home ? asprintf(folder, "%s/%s", home, of_user[i]) : asprintf(folder, OF_SYSTEM)) < 0) {
            *folder = NULL;
            return no_memory(err);
        }
        if (has_authority(*folder))
            return 0;
        free(*folder);
        *folder = NULL;
    }
    return qcbmi_nbd_fail(
        err, QCBM_E_NOTFOUND, ENOENT,
        "nothing tells whose certificate the server may have: there is no ca-cert.pem in %s. Put that of "
        "its authority there, or name its folder in the URI: ?tls-certificates=FOLDER",
        home ? "~/.pki/libnbd or ~/.config/pki/libnbd" : OF_SYSTEM);
}

static int choose_folder(char *uri, char **folder, struct qcbm_error *err)
{
    int ret = take_folder(uri, folder, err);

    if (ret < 0)
        return ret;
    if (!*folder)
        return find_folder(folder, err);
    if (has_authority(*folder))
        return 0;
    return qcbmi_nbd_fail(
        err, QCBM_E_NOTFOUND, ENOENT,
        "nothing tells whose certificate the server may have: there is no ca-cert.pem that can be read in "
        "'%.200s'",
        *folder);
}

/* ---- both ------------------------------------------------------------------------------------------------ */

/* Is @word behind the "?"? In whatever form: libnbd sets parameters apart by ";" as well, and decodes their names. */
static bool has_word(const char *uri, const char *word)
{
    const char *from = strpbrk(uri, "?#");
    char *text = from ? strdup(from) : NULL, *to = text;
    bool has = from && !text;

    for (; text && *from; from++) {
        int high = *from == '%' ? digit(from[1]) : -1, low = high < 0 ? -1 : digit(from[2]);

        *to++ = low < 0 ? *from : high + low == 0 ? ' ' : (char)(high * 16 + low);
        from += low < 0 ? 0 : 2;
    }
    if (text) {
        *to = '\0';
        has = strstr(text, word) != NULL;
    }
    free(text);
    return has;
}

static int refuse(const char *uri, bool tls, char *copy, struct qcbm_error *err)
{
    size_t len;

    if (begins(uri, "nbds+unix:"))
        return qcbmi_nbd_fail(
            err, QCBM_E_UNSUPPORTED, 0,
            "behind a Unix socket nobody looks whose certificate the server has, so TLS is worth nothing "
            "there: nbd+unix:// does without, nbds://HOST has it");
    if (find_parameter(copy, "tls-psk-file=", &len))
        return qcbmi_nbd_fail(err, QCBM_E_UNSUPPORTED, 0,
                              "keys for TLS (tls-psk-file) are not supported, certificates are: nbds://");
    if (has_word(uri, "tls-verify-peer")) /* of newer libnbd; of no file, so that it would not refuse it */
        return qcbmi_nbd_fail(err, QCBM_E_UNSUPPORTED, 0,
                              "tls-verify-peer in the URI is not supported: a server is always looked at");
    if (!tls && find_parameter(copy, "tls-certificates=", &len))
        return qcbmi_nbd_fail(err, QCBM_E_ARG, EINVAL, "tls-certificates goes with nbds://: this URI has no TLS");
    return 0;
}

int qcbmi_nbd_tls(struct nbd_handle *h, const char *uri, char **rest, struct qcbm_error *err)
{
    bool tls = begins(uri, "nbds:");
    char *folder = NULL;
    int ret;

    *rest = strdup(uri);
    ret = *rest ? refuse(uri, tls, *rest, err) : no_memory(err);
    if (ret == 0 && tls)
        ret = choose_folder(*rest, &folder, err);
    if (ret == 0 && tls && (nbd_set_tls_certificates(h, folder) < 0 || nbd_set_tls_verify_peer(h, true) < 0))
        ret = no_memory(err);
    free(folder);
    return ret;
}
