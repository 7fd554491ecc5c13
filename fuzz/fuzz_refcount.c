/* fuzz_refcount.c - refcount blocks: one entry changes and no other, and entries are where the specification says
 * SPDX-License-Identifier: MIT
 *
 * Input: width, two bytes without meaning, index (2 bytes), value (8 bytes), block. */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "format/q2_refcount.h"
#include "fuzz.h"

/* Bit by bit: below a byte the first entry is in the lowest bits, above it bytes are big-endian. */
static uint64_t naive_get(const uint8_t *block, uint64_t index, unsigned bits)
{
    uint64_t value = 0;

    if (bits < 8)
        return block[index * bits / 8] >> (index * bits % 8) & ((1u << bits) - 1);
    for (unsigned i = 0; i < bits / 8; i++)
        value = value << 8 | block[index * bits / 8 + i];
    return value;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t len = size > 13 ? size - 13 : 0;
    uint32_t order = len ? data[0] % 7 : 0;
    unsigned bits = 1u << order;
    uint64_t n = (uint64_t)len * 8 / bits, index, value, max = q2_refcount_max(order);
    uint8_t *block;

    if (n == 0)
        return 0;
    index = be16_load(data + 3) % n;
    value = be64_load(data + 5) & max;
    block = malloc(len);
    if (!block)
        abort();
    memcpy(block, data + 13, len);
    fuzz_require(max == (bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1), "refcount", "largest value");
    q2_refcount_set(block, index, order, value);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t want = i == index ? value : naive_get(data + 13, i, bits);

        fuzz_require(q2_refcount_get(block, i, order) == want, "refcount", "reads otherwise after a set");
        fuzz_require(naive_get(block, i, bits) == want, "refcount", "stored in another place");
    }
    free(block);
    return 0;
}
