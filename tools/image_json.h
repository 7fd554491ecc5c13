/* image_json.h - the JSON of an image name, as strictly as QEMU reads it
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_IMAGE_JSON_H
#define QCBM_TOOL_IMAGE_JSON_H

#include <json-c/json.h>

/* What @text is, given back by json_object_put(); NULL if it is no JSON, or leaves a doubt which file it names: *@why,
 * which lives for ever, says so. */
struct json_object *image_json_parse(const char *text, const char **why);

#endif
