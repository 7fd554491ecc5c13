/* read_disk.c - all bytes of a disk, by qcbm_read(), to stdout: read_disk FLAGS CHUNK FILE
 * SPDX-License-Identifier: MIT
 *
 * FLAGS are letters: l this layer alone, d data files may be opened, U share, b from the end to the start, - none. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qcbm.h"

static int read_all(struct qcbm_image *img, unsigned char *disk, size_t size, size_t chunk, unsigned flags,
                    int backward, struct qcbm_error *err)
{
    for (size_t done = 0; done < size;) {
        size_t n = chunk < size - done ? chunk : size - done;
        int ret = qcbm_read(img, backward ? size - done - n : done, disk + (backward ? size - done - n : done), n,
                            flags, err);

        if (ret < 0)
            return ret;
        done += n;
    }
    return 0;
}

int main(int argc, char **argv)
{
    unsigned flags = 0, open_flags = 0;
    struct qcbm_image_info info;
    struct qcbm_image *img = NULL;
    struct qcbm_error err;
    unsigned char *disk;
    size_t size;
    int ret;

    if (argc != 4)
        return 2;
    flags |= strchr(argv[1], 'l') ? QCBM_READ_LAYER : 0;
    flags |= strchr(argv[1], 'd') ? QCBM_READ_DATA_FILE : 0;
    flags |= strchr(argv[1], 'U') ? QCBM_READ_FORCE_SHARE : 0;
    open_flags |= strchr(argv[1], 'U') ? QCBM_OPEN_FORCE_SHARE : 0;
    if (qcbm_open(argv[3], open_flags, &img, &err) < 0) {
        fprintf(stderr, "open: %s\n", err.message);
        return 1;
    }
    qcbm_image_get_info(img, &info, sizeof(info));
    size = (size_t)(info.virtual_size / 512 * 512);
    disk = malloc(size ? size : 1);
    if (!disk)
        return 2;
    memset(disk, 0xa5, size); /* what is not filled is seen */
    ret = read_all(img, disk, size, strtoul(argv[2], NULL, 0), flags, strchr(argv[1], 'b') != NULL, &err);
    if (ret < 0)
        fprintf(stderr, "%s: %s\n", qcbm_code_name(ret), err.message);
    else if (fwrite(disk, 1, size, stdout) != size)
        ret = 1;
    free(disk);
    qcbm_close(img);
    return ret != 0;
}
