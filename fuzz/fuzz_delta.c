/* fuzz_delta.c - a delta of any form and the files beside it: read in bounds and in order, or refused
 * SPDX-License-Identifier: MIT
 *
 * The input is the delta itself; behind the line "qcbm-map" the map, behind "qcbm-json" the sidecar file, if there are.
 * Of one that opens
 *  - records are in order and on the disk, and their bytes can be read, or that fails;
 *  - a second reading gives the same, and so does the digest of what was read. */
#include <string.h>

#include "delta/content.h"
#include "delta/delta.h"
#include "fuzz.h"

#define MAX_RECORDS 4096u
#define MAX_BYTES (UINT64_C(4) << 20) /* that are read of one input; the rest of the data is only counted */
#define PIECE 65536u

struct reading {
    uint64_t hash, bytes, records;
    int ret;
};

static const uint8_t *find(const uint8_t *data, size_t size, const char *line)
{
    return memmem(data, size, line, strlen(line));
}

static int open_part(struct qcbmi_io *io, const uint8_t *data, size_t len)
{
    struct qcbm_mem *mem;
    int ret = qcbm_mem_new(data, len, &mem, NULL);

    return ret < 0 ? ret : qcbmi_io_init(io, qcbm_mem_ops(), mem, false, NULL);
}

static struct qcbmi_delta *open_input(const uint8_t *data, size_t size)
{
    static const char map_line[] = "\nqcbm-map\n", json_line[] = "\nqcbm-json\n";
    const uint8_t *json = find(data, size, json_line);
    size_t json_at = json ? (size_t)(json - data) : size, map_at;
    const uint8_t *map = find(data, json_at, map_line);
    struct qcbmi_delta_files files = { 0 };
    struct qcbmi_delta *d = NULL;
    struct qcbm_error err = { 0 };
    int ret;

    map_at = map ? (size_t)(map - data) : json_at;
    ret = open_part(&files.main, data, map_at);
    if (ret == 0 && map)
        ret = open_part(&files.map, map + strlen(map_line), json_at - map_at - strlen(map_line));
    if (ret == 0 && json)
        ret = open_part(&files.json, json + strlen(json_line), size - json_at - strlen(json_line));
    fuzz_require(ret == 0, "memory", "there is none");
    ret = qcbmi_delta_open_files(&files, &d, &err);
    if (ret < 0)
        fuzz_check_error(&err, ret);
    fuzz_require((ret == 0) == (d != NULL), "open", "a delta, or a failure");
    return d;
}

static int read_record(struct qcbmi_delta *d, const struct qcbmi_delta_record *r, struct reading *out,
                       struct qcbm_error *err)
{
    static uint8_t buf[PIECE];
    int ret = 0;

    for (uint64_t at = 0; ret == 0 && at < r->length && out->bytes < MAX_BYTES; at += PIECE) {
        uint64_t n = r->length - at < PIECE ? r->length - at : PIECE;

        ret = qcbmi_delta_read(d, r->offset + at, buf, n, err);
        if (ret == 0)
            out->hash = fuzz_hash(out->hash, buf, n);
        out->bytes += n;
    }
    return ret;
}

static void read_all(struct qcbmi_delta *d, struct reading *out)
{
    struct qcbmi_delta_record r;
    struct qcbm_error err = { 0 };
    uint64_t end = 0;
    int ret;

    *out = (struct reading){ .hash = FUZZ_HASH_START };
    while ((ret = qcbmi_delta_next(d, &r, &err)) == 1 && out->records < MAX_RECORDS) {
        fuzz_require(r.length > 0 && r.offset >= end, "record", "not behind the one before it");
        fuzz_require(r.offset <= d->meta.size_after && r.length <= d->meta.size_after - r.offset, "record",
                     "it passes the end of the disk");
        end = r.offset + r.length;
        out->records++;
        out->hash = fuzz_hash_u64(fuzz_hash_u64(out->hash, r.offset), r.length << 1 | (r.type == QCBMI_DELTA_DATA));
        if (r.type == QCBMI_DELTA_DATA)
            ret = read_record(d, &r, out, &err);
        if (ret < 0)
            break;
    }
    if (ret < 0)
        fuzz_check_error(&err, ret);
    out->ret = ret;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qcbmi_delta *d = open_input(data, size);
    struct reading first, second;
    struct qcbm_error err = { 0 };
    int ret;

    if (!d)
        return 0;
    fuzz_require(!d->has_meta || qcbmi_delta_meta_check(&d->meta, NULL) == 0, "identity", "it breaks a rule");
    read_all(d, &first);
    ret = qcbmi_delta_rewind(d, &err);
    if (ret < 0)
        fuzz_check_error(&err, ret);
    if (ret == 0) {
        read_all(d, &second);
        fuzz_require(memcmp(&first, &second, sizeof(first)) == 0, "a second reading", "it gives something else");
    }
    if (ret == 0 && first.ret == 0 && first.bytes < MAX_BYTES) {
        uint8_t a[QCBMI_DIGEST_BYTES] = { 0 }, b[QCBMI_DIGEST_BYTES] = { 1 };

        ret = qcbmi_delta_verify(d, a, NULL, &err);
        fuzz_require(ret == qcbmi_delta_verify(d, b, NULL, NULL), "verify", "it ends in two ways");
        fuzz_require(ret != 0 || memcmp(a, b, sizeof(a)) == 0, "verify", "two digests of one delta");
    }
    qcbmi_delta_close(d);
    return 0;
}
