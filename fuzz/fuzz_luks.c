/* fuzz_luks.c - the LUKS header that info shows: strings end, numbers are in range
 * SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "luks_header.h"

static void check(const struct luks_header *h)
{
    fuzz_require(memchr(h->cipher, 0, sizeof(h->cipher)) && memchr(h->mode, 0, sizeof(h->mode)), "LUKS", "cipher");
    fuzz_require(memchr(h->ivgen, 0, sizeof(h->ivgen)) && memchr(h->ivgen_hash, 0, sizeof(h->ivgen_hash)), "LUKS",
                 "iv");
    fuzz_require(memchr(h->hash, 0, sizeof(h->hash)) && memchr(h->uuid, 0, sizeof(h->uuid)), "LUKS", "text");
    for (int i = 0; i < LUKS_SLOTS; i++)
        fuzz_require(h->slots[i].key_offset <= UINT64_C(512) * UINT32_MAX, "LUKS", "place of a key");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    static char path[32];
    struct luks_header h;
    const char *wrong;

    if (fd < 0) {
        fd = memfd_create("luks", MFD_CLOEXEC);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    }
    if (fd < 0 || ftruncate(fd, 0) < 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
        abort();
    for (uint64_t offset = 0; offset <= 512; offset += 512) {
        wrong = luks_header_read(path, offset, &h);
        fuzz_require(!wrong || wrong[0], "LUKS", "refused without a reason");
        if (!wrong)
            check(&h);
    }
    fuzz_require(luks_header_read(path, UINT64_MAX, &h) != NULL, "LUKS", "is found past the end of the file");
    return 0;
}
