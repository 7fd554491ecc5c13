/* fuzz_journal.c - a journal over several images: what is taken keeps the rules, is stored as the same, and names no
 * file that it must not
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "format/journal_file.h"
#include "fuzz.h"

static bool same(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static void check_paths(const struct qcbmi_journal_disk *d)
{
    size_t len = strlen(d->overlay);

    fuzz_require(d->target[0] && d->image[0] == '/', "journal", "image");
    fuzz_require(len == 0 || d->overlay[0] == '/', "journal", "overlay");
    fuzz_require(!d->temporary[0] ||
                     (strncmp(d->temporary, d->overlay, len) == 0 && same(d->temporary + len, QCBMI_JOURNAL_TEMPORARY)),
                 "journal", "a file that is no temporary one would be removed");
}

static void check_disk(const struct qcbmi_journal_disk *d)
{
    check_paths(d);
    for (size_t i = 0; i < d->n_sectors; i++) {
        fuzz_require(d->sectors[i].off % QCBMI_JOURNAL_SECTOR == 0, "journal", "offset");
        fuzz_require(i == 0 || d->sectors[i - 1].stage <= d->sectors[i].stage, "journal", "order");
        fuzz_require(!d->sectors[i].of_overlay || (d->flags & QCBMI_JOURNAL_DEVICE), "journal", "device");
    }
    for (size_t i = 0; i < d->n_goals; i++)
        fuzz_require(d->goals[i].name[0] && d->goals[i].gran_bits >= 9 && d->goals[i].gran_bits <= 31, "journal",
                     "goal");
}

/* What was parsed is stored, and parsed again as the same. */
static void check_stored(struct qcbmi_journal *j)
{
    uint8_t *bytes, end[QCBMI_JOURNAL_SECTOR];
    struct qcbmi_journal again;

    fuzz_require(qcbmi_journal_store(j, &bytes, NULL) == 0, "journal", "store");
    qcbmi_journal_end_store(j, end);
    memcpy(bytes + qcbmi_journal_end_at(j), end, sizeof(end));
    fuzz_require(qcbmi_journal_parse(bytes, j->len, &again, NULL) == 0, "journal", "stored, and not parsed");
    fuzz_require(same(again.name, j->name) && again.n_disks == j->n_disks, "journal", "stored as another one");
    for (uint32_t i = 0; i < j->n_disks; i++)
        fuzz_require(same(again.disks[i].image, j->disks[i].image) && again.disks[i].flags == j->disks[i].flags &&
                         again.disks[i].n_sectors == j->disks[i].n_sectors &&
                         again.disks[i].n_goals == j->disks[i].n_goals,
                     "journal", "another disk");
    qcbmi_journal_free(&again);
    free(bytes);
}

static void check(const uint8_t *data, size_t size)
{
    struct qcbm_error err = { 0 };
    struct qcbmi_journal j;
    int ret = qcbmi_journal_parse(data, size, &j, &err);

    if (ret < 0)
        fuzz_check_error(&err, ret);
    for (uint32_t i = 0; ret == 0 && i < j.n_disks; i++)
        check_disk(&j.disks[i]);
    if (ret == 0)
        check_stored(&j);
    qcbmi_journal_free(&j);
}

/* Digests keep random bytes out: they are put right, so that what is behind them is met. */
static void put_right(uint8_t *bytes, size_t size)
{
    uint64_t end, at = QCBMI_JOURNAL_HEADER_BYTES;

    if (size < QCBMI_JOURNAL_HEADER_BYTES)
        return;
    end = be64_load(bytes + 24);
    if (end > size || end < at)
        return;
    while (end - at >= 48) {
        uint64_t len = be64_load(bytes + at + 16);

        if (len > end - at - 48 || 32 + (len + 7) / 8 * 8 + 16 > end - at)
            break;
        len = 32 + (len + 7) / 8 * 8;
        qcbmi_digest(bytes + at, (size_t)len, bytes + at + len);
        at += len + 16;
    }
    qcbmi_digest(bytes + 128, (size_t)(end - 128), bytes + 40);
    qcbmi_digest(bytes, 112, bytes + 112);
    at = (end + 511) / 512 * 512;
    if (at + 512 <= size) {
        memset(bytes + at, 0, 512);
        memcpy(bytes + at, "QCBMDONE", 8);
        memcpy(bytes + at + 16, bytes + 112, 16);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *bytes;

    check(data, size);
    bytes = malloc(size ? size : 1);
    if (!bytes)
        abort();
    memcpy(bytes, data, size);
    put_right(bytes, size);
    check(bytes, size);
    free(bytes);
    return 0;
}
