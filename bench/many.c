/* many.c - the main job on many images in one process, by several threads
 * SPDX-License-Identifier: MIT
 *
 * usage: many N FILE...: N threads take the next image each and make a bitmap of it in memory, as synth --dry-run does,
 * with no threads of the library's own; the main thread waits. Memory is kept for the next image, as qcbm keeps it. */
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <qcbm.h>

static char **files;
static int next_file, n_files;

static void fail(const char *file, const struct qcbm_error *err)
{
    fprintf(stderr, "many: %s: %s\n", file, err->message);
    exit(1);
}

static void synth(const char *file)
{
    struct qcbm_edit *edit = NULL;
    struct qcbm_image *img = NULL;
    struct qcbm_error err;

    if (qcbm_open(file, 0, &img, &err) < 0)
        fail(file, &err);
    qcbm_set_threads(img, 1);
    if (qcbm_edit_begin(img, &edit, &err) < 0 || qcbm_edit_synth(edit, img, "many", NULL, NULL, &err) < 0)
        fail(file, &err);
    qcbm_edit_free(edit); /* not committed */
    qcbm_close(img);
}

static void *work(void *unused)
{
    (void)unused;
    for (int i; (i = __atomic_fetch_add(&next_file, 1, __ATOMIC_RELAXED)) < n_files;)
        synth(files[i]);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[64];
    int n = argc > 2 ? atoi(argv[1]) : 0;

    if (n < 1 || n > 64) {
        fprintf(stderr, "usage: many N FILE...\n");
        return 1;
    }
#ifdef M_MMAP_THRESHOLD
    (void)mallopt(M_MMAP_THRESHOLD, 4 << 20);
    (void)mallopt(M_TRIM_THRESHOLD, 32 << 20);
#endif
    files = argv + 2;
    n_files = argc - 2;
    for (int i = 0; i < n; i++)
        if (pthread_create(&threads[i], NULL, work, NULL) != 0)
            return 1;
    for (int i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    return 0;
}
