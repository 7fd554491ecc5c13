/* nbd_tls.h - whom to believe: the certificate of a server behind a URI with TLS
 * SPDX-License-Identifier: MIT */
#ifndef QCBM_NBD_TLS_H
#define QCBM_NBD_TLS_H

#include <libnbd.h>

#include "qcbm-nbd.h"

/* If @uri has TLS: @h will believe the authority that it names by tls-certificates=FOLDER, or that libnbd's own folders
 * have, and nobody else; without one it is refused. *@rest, from malloc(), is what to connect to, on failure too. */
int qcbmi_nbd_tls(struct nbd_handle *h, const char *uri, char **rest, struct qcbm_error *err);

#endif
