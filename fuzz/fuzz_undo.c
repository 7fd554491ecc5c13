/* fuzz_undo.c - undo: gives back the same bytes, or refuses and writes nothing
 * SPDX-License-Identifier: MIT
 *
 * The input is an image. The last 16 bytes may be a trailer, "qcbmU" and eleven bytes that choose; else a digest of the
 * input chooses. A change is made with an undo file; then
 *  - it is undone: the very bytes of the input;
 *  - the image is cut short in the middle of the change (writes of the commit left out from some point on), and undone;
 *  - bytes of the undo file are changed, mostly with the digests set right again: refused, or something is written that
 *    the undo file says. Nothing reads or writes out of bounds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/undo_file.h"
#include "fuzz.h"

#define TRAILER 16u

struct choice {
    uint8_t change, name, stop, how, where[4], value[3];
};

/* ---- an image that stops writing after some calls ---- */

struct stopping {
    struct fuzz_file *file;
    unsigned left;
    uint64_t changes; /* that reached it */
};

static int stopped(struct stopping *s, struct qcbm_error *err)
{
    if (s->left == 0) {
        *err = (struct qcbm_error){ QCBM_E_IO, 5, QCBM_NO_OFFSET, "stopped" };
        return QCBM_E_IO;
    }
    s->left--;
    s->changes++;
    return 0;
}

static int on_read(void *self, uint64_t off, void *buf, size_t len, struct qcbm_error *err)
{
    return fuzz_file_ops()->read_at(((struct stopping *)self)->file, off, buf, len, err);
}

static int on_write(void *self, uint64_t off, const void *buf, size_t len, struct qcbm_error *err)
{
    int ret = stopped(self, err);

    return ret < 0 ? ret : fuzz_file_ops()->write_at(((struct stopping *)self)->file, off, buf, len, err);
}

static int on_flush(void *self, struct qcbm_error *err)
{
    return fuzz_file_ops()->flush(((struct stopping *)self)->file, err);
}

static int on_size(void *self, uint64_t *len, struct qcbm_error *err)
{
    return fuzz_file_ops()->size(((struct stopping *)self)->file, len, err);
}

static int on_grow(void *self, uint64_t len, struct qcbm_error *err)
{
    int ret = stopped(self, err);

    return ret < 0 ? ret : fuzz_file_ops()->grow(((struct stopping *)self)->file, len, err);
}

static int on_cut(void *self, uint64_t len, struct qcbm_error *err)
{
    struct stopping *s = self;
    int ret = stopped(s, err);

    if (ret == 0 && len < s->file->len) /* the bytes behind the end may mean nothing */
        s->file->len = (size_t)len;
    return ret;
}

static void on_close(void *self)
{
    (void)self;
}

static const struct qcbm_io_ops stopping_ops = { .struct_size = sizeof(stopping_ops),
                                                 .read_at = on_read,
                                                 .write_at = on_write,
                                                 .flush = on_flush,
                                                 .size = on_size,
                                                 .grow = on_grow,
                                                 .cut = on_cut,
                                                 .close = on_close };

/* ---- the change ---- */

static int change(struct qcbm_edit *edit, struct qcbm_image *img, const struct choice *c, struct qcbm_error *err)
{
    struct qcbm_synth_options o = QCBM_SYNTH_OPTIONS_INIT;
    struct qcbm_bitmap_info b = { .name = "new" };
    struct qcbm_image_info info;

    qcbm_image_get_info(img, &info, sizeof(info));
    if (info.bitmap_count && c->name % 4)
        qcbm_bitmap_get(img, c->name % info.bitmap_count, &b, sizeof(b));
    o.flags = QCBM_SYNTH_REPLACE | QCBM_SYNTH_FORCE;
    switch (c->change % 6) {
    case 0:
        return qcbm_edit_remove(edit, b.name, err);
    case 1:
        return qcbm_edit_clear(edit, b.name, err);
    case 2:
        return qcbm_edit_disable(edit, b.name, err);
    case 3:
        return qcbm_edit_add(edit, "another", c->name % 2 ? 512 : 0, 0, err);
    default:
        return qcbm_edit_synth(edit, img, b.name, &o, NULL, err);
    }
}

/* The name of a file that is not there; in memory if that can be, since it is flushed. */
static void undo_path(char *to, size_t size)
{
    const char *dir = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";

    snprintf(to, size, "%s/qcbm-fuzz-undo-%ld", dir, (long)getpid());
    unlink(to);
}

static int commit(struct stopping *s, const char *path, const struct choice *c)
{
    struct qcbm_image *img;
    struct qcbm_edit *edit = NULL;
    struct qcbm_error err;
    int ret = qcbm_open_io(&stopping_ops, s, QCBM_OPEN_WRITE, &img, &err);

    if (ret < 0)
        return ret;
    ret = qcbm_edit_begin(img, &edit, &err);
    if (ret == 0)
        ret = change(edit, img, c, &err);
    if (ret == 0)
        ret = qcbm_edit_set_undo(edit, path, &err);
    if (ret == 0)
        ret = qcbm_edit_commit(edit, NULL, 0, &err);
    if (ret < 0)
        fuzz_check_error(&err, ret);
    qcbm_edit_free(edit);
    qcbm_close(img);
    return ret;
}

static int undo(struct stopping *s, const char *path)
{
    struct qcbm_image *img;
    struct qcbm_error err;
    int ret;

    s->left = UINT32_MAX;
    s->changes = 0;
    ret = qcbm_open_io(&stopping_ops, s, QCBM_OPEN_WRITE, &img, &err);
    fuzz_require(ret == 0, "changed image", "does not open");
    ret = qcbm_undo(img, path, NULL, NULL, 0, &err);
    if (ret < 0)
        fuzz_check_error(&err, ret);
    qcbm_close(img);
    return ret;
}

/* Change it, stopped after @writes calls that change something, undo it, compare. */
static bool there_and_back(const uint8_t *data, size_t size, const char *path, const struct choice *c, unsigned writes)
{
    struct fuzz_file f;
    struct stopping s = { &f, writes, 0 };
    bool made;

    fuzz_file_init(&f, data, size);
    unlink(path);
    commit(&s, path, c);
    made = access(path, F_OK) == 0;
    fuzz_require(made || s.changes == 0, "commit", "wrote without an undo file");
    if (made) {
        fuzz_require(undo(&s, path) == 0, "undo", "refuses what was just changed");
        fuzz_require(f.len == size && memcmp(f.bytes, data, size) == 0, "undo", "other bytes than before");
    }
    fuzz_file_free(&f);
    return made;
}

/* ---- a damaged undo file ---- */

static uint8_t *read_undo(const char *path, size_t *len)
{
    FILE *file = fopen(path, "rb");
    uint8_t *bytes = NULL;

    if (!file || fseek(file, 0, SEEK_END) != 0)
        abort();
    *len = (size_t)ftell(file);
    rewind(file);
    bytes = malloc(*len + 1);
    if (!bytes || fread(bytes, 1, *len, file) != *len)
        abort();
    fclose(file);
    return bytes;
}

static void write_undo(const char *path, const uint8_t *bytes, size_t len)
{
    FILE *file = fopen(path, "wb");

    if (!file || fwrite(bytes, 1, len, file) != len || fclose(file) != 0)
        abort();
}

/* Set all digests right, as far as the records can be told apart. */
static void reseal(uint8_t *bytes, size_t len)
{
    size_t at = QCBMI_UNDO_HEADER_BYTES, end = len - QCBMI_UNDO_END_BYTES - QCBMI_UNDO_SEAL_BYTES;
    const struct qcbmi_undo_seal seal = { .kind = QCBMI_UNDO_SEALED };
    struct qcbmi_undo_header h;
    struct qcbmi_undo_record r;

    qcbmi_digest(bytes, QCBMI_UNDO_HEADER_BYTES - QCBMI_DIGEST_BYTES,
                 bytes + QCBMI_UNDO_HEADER_BYTES - QCBMI_DIGEST_BYTES);
    qcbmi_undo_end_store(bytes + end, bytes);
    qcbmi_undo_seal_store(bytes + end + QCBMI_UNDO_END_BYTES, &seal, bytes);
    if (qcbmi_undo_header_parse(bytes, &h, NULL) < 0)
        return;
    for (uint64_t i = 0; i < h.n_records && end - at >= QCBMI_UNDO_RECORD_FIXED; i++) {
        if (qcbmi_undo_record_parse(bytes + at, i, at, &h, &r, NULL) < 0 || qcbmi_undo_record_bytes(&r) > end - at)
            return;
        qcbmi_undo_record_seal(bytes + at, &r);
        at += (size_t)qcbmi_undo_record_bytes(&r);
    }
}

static void damaged(const uint8_t *data, size_t size, const char *path, const struct choice *c)
{
    struct fuzz_file f, before;
    struct stopping s = { &f, UINT32_MAX, 0 };
    size_t len, at;
    uint8_t *bytes;
    int ret;

    fuzz_file_init(&f, data, size);
    unlink(path);
    commit(&s, path, c);
    bytes = read_undo(path, &len);
    for (unsigned i = 0; i < sizeof(c->value); i++) {
        at = ((size_t)c->where[i] << 8 | c->where[i + 1]) % len;
        bytes[at] ^= c->value[i];
    }
    if (c->how % 4)
        reseal(bytes, len);
    write_undo(path, bytes, c->how % 8 == 7 ? len / 2 : len);
    fuzz_file_init(&before, f.bytes, f.len);
    ret = undo(&s, path);
    /* with digests set right, old bytes may be any, and after such an undo the image may not open */
    fuzz_require(ret == 0 || s.changes == 0 || c->how % 4, "refused undo", "wrote");
    if (s.changes == 0)
        fuzz_require(f.len == before.len && memcmp(f.bytes, before.bytes, f.len) == 0, "undo", "wrote past its calls");
    free(bytes);
    fuzz_file_free(&before);
    fuzz_file_free(&f);
}

static void choose(const uint8_t *data, size_t *size, struct choice *c)
{
    uint8_t *to = (uint8_t *)c;
    uint64_t h;

    if (*size > TRAILER && memcmp(data + *size - TRAILER, "qcbmU", 5) == 0) {
        memcpy(to, data + *size - sizeof(*c), sizeof(*c));
        *size -= TRAILER;
        return;
    }
    h = fuzz_hash(FUZZ_HASH_START, data, *size);
    for (unsigned i = 0; i < sizeof(*c); i++, h = fuzz_hash_u64(h, i))
        to[i] = (uint8_t)(h >> 24);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct choice c;
    char path[64];

    choose(data, &size, &c);
    undo_path(path, sizeof(path));
    if (there_and_back(data, size, path, &c, UINT32_MAX)) {
        there_and_back(data, size, path, &c, c.stop % 32);
        damaged(data, size, path, &c);
    }
    unlink(path);
    return 0;
}
