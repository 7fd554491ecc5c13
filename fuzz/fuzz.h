/* fuzz.h - what the fuzz targets share: failing, and an image in memory that watches how it is read
 * SPDX-License-Identifier: MIT
 *
 * A target defines LLVMFuzzerTestOneInput(), which returns 0 or ends the program. The same source serves libFuzzer,
 * AFL++ and replay_main.c. A run depends on its input alone. */
#ifndef FUZZ_H
#define FUZZ_H

#include "qcbm-io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A promise is broken: say which, and abort. */
_Noreturn void fuzz_fail(const char *what, const char *why);
void fuzz_require(bool holds, const char *what, const char *why);
/* An error object goes with the code, and has a text of one line. */
void fuzz_check_error(const struct qcbm_error *err, int ret);

/* A copy of the input as a backend. A read past the end is a broken promise; what was read is counted. Writing past
 * @max_len fails for want of space. It outlives the image that is opened on it. */
struct fuzz_file {
    uint8_t *bytes;
    size_t len, capacity, max_len;
    uint64_t hole; /* bytes behind @len that the file seems to have: zeros, told as a hole */
    uint64_t reads, bytes_read, writes;
};

void fuzz_file_init(struct fuzz_file *f, const uint8_t *data, size_t size);
void fuzz_file_free(struct fuzz_file *f);
const struct qcbm_io_ops *fuzz_file_ops(void);

/* Start counting anew; afterwards, require that no more than @bytes were read since. */
void fuzz_file_reset(struct fuzz_file *f);
void fuzz_file_budget(const struct fuzz_file *f, uint64_t bytes, const char *what);

/* Open it; NULL if the library refuses, with an error that holds water. */
struct qcbm_image *fuzz_file_open(struct fuzz_file *f, unsigned flags);

/* FNV-1a, to compare what two runs tell. */
uint64_t fuzz_hash(uint64_t h, const void *bytes, size_t len);
uint64_t fuzz_hash_u64(uint64_t h, uint64_t v);
uint64_t fuzz_hash_text(uint64_t h, const char *text); /* NULL is fine */
#define FUZZ_HASH_START UINT64_C(0xcbf29ce484222325)

#endif
