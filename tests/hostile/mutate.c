/* mutate.c - every truncation of an image, and single-byte changes of it: no crash, no harm, no lost bitmap
 * SPDX-License-Identifier: MIT
 *
 * usage: mutate truncate IMAGE          every length from 0 to the file's
 *        mutate bytes IMAGE [all]       each byte set to each of 16 values, or to all 255 others
 *
 * Each variant is looked at through the whole library. Where a bitmap can be added to it, the commit must leave an
 * image that opens, with the new bitmap, the same bits in the others, and the same allocation. Run it with ASan and
 * UBSan. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "look.h"
#include "part.h"

static void compare(const struct look *before, const struct look *after, const char *what)
{
    if (before->n < LOOK_MAX_BITMAPS && after->n != before->n + 1)
        look_fail(what, "the new bitmap is not there after the commit");
    for (uint32_t i = 0; i < before->n; i++)
        if (before->bitmaps[i].hash != after->bitmaps[i].hash || before->bitmaps[i].flags != after->bitmaps[i].flags)
            look_fail(what, "another bitmap changed");
    if (before->names != after->names)
        look_fail(what, "a name or an extension changed");
    if (before->synth_ok != after->synth_ok || before->dirty != after->dirty || before->damaged != after->damaged)
        look_fail(what, "the allocation changed");
}

/* Add a bitmap for real, if the library is willing. */
static bool add_bitmap(const uint8_t *bytes, size_t len, const struct look *before, const char *what)
{
    struct qcbm_image *img;
    struct qcbm_edit *edit = NULL;
    struct qcbm_mem *mem;
    struct qcbm_error err;
    struct look after;
    const void *now;
    size_t now_len;
    int ret;

    if (qcbm_mem_new(bytes, len, &mem, &err) < 0)
        look_fail("memory", err.message);
    qcbm_mem_keep(mem);
    ret = qcbm_open_io(qcbm_mem_ops(), mem, QCBM_OPEN_WRITE, &img, &err);
    if (ret == 0)
        ret = qcbm_edit_begin(img, &edit, &err);
    if (ret == 0)
        ret = qcbm_edit_add(edit, "new-one", 512, 0, &err);
    if (ret == 0)
        ret = qcbm_edit_commit(edit, NULL, 0, &err);
    qcbm_edit_free(edit);
    qcbm_close(img);
    now = qcbm_mem_data(mem, &now_len);
    if (ret < 0) {
        look_check_error(&err, ret);
        if (now_len != len || memcmp(now, bytes, len) != 0)
            look_fail(what, "refused, but the file changed");
    } else {
        if (!look_at(now, now_len, &after))
            look_fail(what, "does not open after the commit");
        compare(before, &after, what);
    }
    qcbm_mem_free(mem);
    return ret == 0;
}

static bool try_variant(const uint8_t *bytes, size_t len, const char *what)
{
    struct look s;

    return look_at(bytes, len, &s) && add_bitmap(bytes, len, &s, what);
}

/* With sanitizers these cost more than all other tests, so they are fewer than others are: each byte is changed all the
 * same, but not to all values. An odd number, so that odd lengths come too. */
static bool is_taken(uint64_t number)
{
    return number % (2 * test_part() - 1) == 0;
}

static uint64_t truncations(const uint8_t *bytes, size_t len)
{
    uint64_t written = 0;
    char what[64];

    for (size_t n = 0; n <= len; n++) {
        snprintf(what, sizeof(what), "length %zu", n);
        written += is_taken(n) && try_variant(bytes, n, what);
    }
    return written;
}

static uint64_t byte_changes(uint8_t *bytes, size_t len, bool all)
{
    uint64_t written = 0;
    char what[64];

    for (size_t at = 0; at < len; at++) {
        uint8_t old = bytes[at];
        uint8_t values[] = { 0, 0xff, 0x7f, 0x80, (uint8_t)(old + 1), (uint8_t)(old - 1), 1, 2 };

        for (unsigned i = 1; i < (all ? 256u : 17u); i++) {
            bytes[at] = all ? (uint8_t)(old + i) : i <= 8 ? (uint8_t)(old ^ 1u << (i - 1)) : values[i - 9];
            snprintf(what, sizeof(what), "byte %zu = 0x%02x", at, bytes[at]);
            if (bytes[at] != old && is_taken(at + i))
                written += try_variant(bytes, len, what);
        }
        bytes[at] = old;
    }
    return written;
}

int main(int argc, char **argv)
{
    uint64_t written;
    uint8_t *bytes;
    size_t len;

    if (argc < 3)
        look_fail("usage", "mutate truncate|bytes IMAGE [all]");
    bytes = look_read_file(argv[2], &len);
    if (strcmp(argv[1], "truncate") == 0)
        written = truncations(bytes, len);
    else
        written = byte_changes(bytes, len, argc > 3);
    printf("%s %s: %zu bytes, %" PRIu64 " variants took a new bitmap\n", argv[1], argv[2], len, written);
    free(bytes);
    return 0;
}
