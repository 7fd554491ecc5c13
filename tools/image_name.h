/* image_name.h - an image as the user names it: F, file:F, json:{...}, or the options of --image-opts
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_IMAGE_NAME_H
#define QCBM_TOOL_IMAGE_NAME_H

#include <stdbool.h>

/* Put the local file that the user means by *@name in its place, and into *@format the format that a driver in the name
 * says, unless -f has said one. @format may be NULL, and *@name, of which nothing comes then. @options: --image-opts.
 * What is neither qcow2 nor raw, nor a local file, is told on stderr: returns false.
 * Only for what was typed: a name from an image must not choose a driver. The strings live until the program ends. */
bool image_name_take(const char **name, const char **format, bool options);

/* The same, and a URI of an NBD server stays as it is. */
bool image_name_take_or_uri(const char **name, const char **format, bool options);

/* For names that are taken as they are: a URI of an NBD server? Prints the error then. */
bool image_name_is_server(const char *name);

#endif
