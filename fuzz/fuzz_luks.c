/* fuzz_luks.c - the LUKS header that info shows: strings end, numbers are in range, errors say where
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "format/luks_header.h"
#include "fuzz.h"

#define PLACE UINT64_C(0x10000)

static void check(const struct qcbm_luks_info *h)
{
    fuzz_require(memchr(h->cipher, 0, sizeof(h->cipher)) && memchr(h->mode, 0, sizeof(h->mode)), "LUKS", "cipher");
    fuzz_require(memchr(h->ivgen, 0, sizeof(h->ivgen)) && memchr(h->ivgen_hash, 0, sizeof(h->ivgen_hash)), "LUKS",
                 "iv");
    fuzz_require(memchr(h->hash, 0, sizeof(h->hash)) && memchr(h->uuid, 0, sizeof(h->uuid)), "LUKS", "text");
    for (int i = 0; i < QCBM_LUKS_SLOTS; i++)
        fuzz_require(h->slots[i].key_offset <= UINT64_C(512) * UINT32_MAX, "LUKS", "place of a key");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *exact = malloc(size ? size : 1);
    struct qcbm_luks_info h;
    struct qcbm_error err = { 0 };
    int ret;

    if (!exact)
        abort();
    memcpy(exact, data, size);
    ret = qcbmi_luks_parse(exact, size, PLACE, &h, &err);
    if (ret == 0)
        check(&h);
    fuzz_require(ret == 0 || err.message[0], "LUKS", "refused without a reason");
    fuzz_require(ret == 0 || (err.offset >= PLACE && err.offset < PLACE + LUKS_HEADER_BYTES), "LUKS", "place");
    fuzz_require(ret < 0 || size >= LUKS_HEADER_BYTES, "LUKS", "is found past the end of the file");
    free(exact);
    return 0;
}
