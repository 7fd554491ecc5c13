/* cmd_bitmap_args.c - what the arguments of qcbm bitmap mean
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "cmd_bitmap.h"

const struct bitmap_verb *bitmap_verb_of(const struct opt_action *action)
{
    return action->opt->detail;
}

struct opt_action *bitmap_alone(const struct bitmap_args *args)
{
    const struct bitmap_verb *first = NULL;
    struct opt_action *found = NULL;

    for (size_t i = 0; i < args->actions.count; i++) {
        struct opt_action *action = &args->actions.list[i];

        if (!bitmap_verb_of(action)->alone || (first && bitmap_verb_of(action) != first))
            continue;
        found = action;
        first = bitmap_verb_of(action);
    }
    return found;
}

bool bitmap_is_format(const struct bitmap_args *args, const char *format)
{
    return strcmp(args->file_format ? args->file_format : "qcbm", format) == 0;
}

enum extents_form bitmap_form(const struct bitmap_args *args)
{
    return args->file_format ? extents_form_of(args->file_format) : N_EXTENTS_FORMS;
}

const char *bitmap_bit_order(const struct bitmap_args *args)
{
    if (!bitmap_is_format(args, "raw"))
        return NULL;
    return args->bit_order ? args->bit_order : "lsb";
}

const char *bitmap_bit_order_text(const char *bit_order)
{
    return strcmp(bit_order, "msb") == 0 ? "the highest bit of a byte first" : "the lowest bit of a byte first";
}

enum qcbm_transfer_format bitmap_transfer(const struct bitmap_args *args)
{
    const char *order = bitmap_bit_order(args);

    return !order ? QCBM_TRANSFER_QCBM : strcmp(order, "msb") == 0 ? QCBM_TRANSFER_RAW_MSB : QCBM_TRANSFER_RAW;
}
