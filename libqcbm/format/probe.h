/* probe.h - the format of an image, by its first bytes, as QEMU guesses it
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_PROBE_H
#define QCBMI_PROBE_H

#include <stddef.h>
#include <stdint.h>

enum { QCBMI_PROBE_BYTES = 512 }; /* QEMU looks at no more */

/* QEMU's name of the format: "qcow2", "vmdk", ...; "raw" if nothing else is seen. @head is the beginning of the file
 * called @name, zeros where the file is shorter. */
const char *qcbmi_probe(const uint8_t head[QCBMI_PROBE_BYTES], const char *name);

#endif
