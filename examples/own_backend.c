/* own_backend.c - an image read through a backend of one's own: here a stdio file that counts what is read
 *
 * SPDX-License-Identifier: MIT
 *
 * Shows the least a backend needs: size, read_at, close. No write_at means read-only; no lock means that the backend's
 * owner takes care of other users of the image.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <qcbm-io.h>

struct counter {
    FILE *file;
    uint64_t reads, bytes;
};

static int fail(struct qcbm_error *err, int sys_errno, uint64_t offset, const char *what)
{
    if (err != NULL) {
        err->code = QCBM_E_IO;
        err->sys_errno = sys_errno;
        err->offset = offset;
        snprintf(err->message, sizeof(err->message), "%s: %s", what, strerror(sys_errno));
    }
    return QCBM_E_IO;
}

/* All of @len or an error. A position shared by all readers needs a lock: read_at may come from several threads. */
static int counter_read_at(void *self, uint64_t off, void *buf, size_t len, struct qcbm_error *err)
{
    struct counter *c = self;
    int ret = 0;

    flockfile(c->file);
    errno = 0;
    if (fseeko(c->file, (off_t)off, SEEK_SET) < 0 || fread(buf, 1, len, c->file) != len)
        ret = fail(err, errno != 0 ? errno : EIO, off, "read");
    c->reads++;
    c->bytes += len;
    funlockfile(c->file);
    return ret;
}

static int counter_size(void *self, uint64_t *len_bytes, struct qcbm_error *err)
{
    struct counter *c = self;
    off_t end;

    if (fseeko(c->file, 0, SEEK_END) < 0 || (end = ftello(c->file)) < 0)
        return fail(err, errno, QCBM_NO_OFFSET, "seek to the end");
    *len_bytes = (uint64_t)end;
    return 0;
}

/* Called by qcbm_close(), or by qcbm_open_io() when it fails. */
static void counter_close(void *self)
{
    struct counter *c = self;

    fclose(c->file);
    c->file = NULL;
}

static const struct qcbm_io_ops counter_ops = {
    .struct_size = sizeof(struct qcbm_io_ops),
    .read_at = counter_read_at,
    .size = counter_size,
    .close = counter_close,
};

int main(int argc, char **argv)
{
    struct counter counter = { NULL, 0, 0 };
    struct qcbm_image *img = NULL;
    struct qcbm_image_info info;
    struct qcbm_error err;

    if (argc != 2) {
        fprintf(stderr, "usage: own_backend IMAGE\n");
        return 1;
    }
    counter.file = fopen(argv[1], "rb");
    if (counter.file == NULL) {
        perror(argv[1]);
        return 1;
    }
    if (qcbm_open_io(&counter_ops, &counter, 0, &img, &err) < 0) {
        fprintf(stderr, "own_backend: %s: %s\n", argv[1], err.message);
        return 1;
    }
    qcbm_image_get_info(img, &info, sizeof(info));
    printf("version %u, %" PRIu64 " bytes, %u bitmaps; opened with %" PRIu64 " reads, %" PRIu64 " of %" PRIu64
           " bytes of the file\n",
           info.version, info.virtual_size, info.bitmap_count, counter.reads, counter.bytes, info.file_size);
    qcbm_close(img);
    return 0;
}
