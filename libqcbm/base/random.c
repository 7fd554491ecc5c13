/* random.c - numbers that nobody can guess
 * SPDX-License-Identifier: MIT */
#include "base/random.h"

#include <errno.h>
#include <sys/random.h>

#include "base/error.h"

int qcbmi_random(void *to, size_t len, struct qcbm_error *err)
{
    for (size_t n = 0; n < len;) {
        ssize_t got = getrandom((char *)to + n, len - n, 0);

        if (got < 0 && errno != EINTR)
            return qcbmi_fail_errno(err, errno, QCBM_NO_OFFSET, "no random numbers");
        n += got > 0 ? (size_t)got : 0;
    }
    return 0;
}
