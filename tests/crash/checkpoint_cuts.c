/* checkpoint_cuts.c - a checkpoint over several disks that is cut short, and recovered: all of them have it, or none
 * SPDX-License-Identifier: MIT
 *
 * usage: checkpoint_cuts RANDOM PART [MACHINES [FIRST]]    (works in a folder of its own; each PARTth state is
 * recovered)
 *
 * MACHINES differ in cluster size, data, backing names, number and granularity of other bitmaps. Each with 1, 2, 4 and
 * 8 disks, without and with overlays, with and without other bitmaps; the states are those of folder.c. Each is
 * recovered, and judged disk by disk: its bitmap is there or not, as on all others; other bitmaps, guest content and
 * names are what they were; nothing but leaks is wrong; journal, links and temporary files are gone. The recovery of
 * some states is killed at one of its calls before, and of some its own states are walked. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "folder.h"
#include "image_builder.h"
#include "judge.h"
#include "part.h"

#define MAX_DISKS 8u
#define JOURNAL "C1.qcbm-checkpoint"

struct setup {
    unsigned disks;
    bool overlays, every_second, freeze, others; /* every_second: only each second disk has an overlay */
    unsigned cluster_bits, seed;
};

struct run {
    struct setup setup;
    char images[MAX_DISKS][48], overlays[MAX_DISKS][48], targets[MAX_DISKS][8];
    struct qcbm_checkpoint_disk disks[MAX_DISKS];
    struct folder before, after;
    struct judge judges[MAX_DISKS];
    bool changes[MAX_DISKS];
    unsigned part;
    uint64_t number, recovered, back, forward, killed, no_journal;
    unsigned depth;
};

static _Noreturn void bad(const struct run *r, const char *what, const char *why)
{
    char text[512];

    snprintf(text, sizeof(text), "%u disks%s%s%s, %u: %s (depth %u)", r->setup.disks,
             r->setup.overlays ? ", overlays" : "", r->setup.freeze ? ", frozen" : "",
             r->setup.others ? ", other bitmaps" : "", r->setup.cluster_bits, what, r->depth);
    look_fail(text, why);
}

/* ---- the machine --------------------------------------------------------------------------------------- */

static bool has_overlay(const struct setup *s, unsigned i)
{
    return s->overlays && !(s->every_second && i % 2);
}

/* Over the end of the first sector. */
static const char *long_name(void)
{
    static char name[480];

    memset(name, 'n', sizeof(name) - 1);
    return name;
}

static void make_disks(struct run *r)
{
    unsigned seed = r->setup.seed;

    for (unsigned i = 0; i < r->setup.disks; i++) {
        struct build_options o = { .size = UINT64_C(256) << 10, .cluster_bits = r->setup.cluster_bits };
        struct image_builder b;

        snprintf(r->images[i], sizeof(r->images[i]), "d%u.qcow2", i);
        snprintf(r->overlays[i], sizeof(r->overlays[i]), "n%u.qcow2", i);
        snprintf(r->targets[i], sizeof(r->targets[i]), "vd%c", 'a' + (int)i);
        r->disks[i] = (struct qcbm_checkpoint_disk){ r->targets[i], r->images[i],
                                                     has_overlay(&r->setup, i) ? r->overlays[i] : NULL };
        memset(&b, 0, sizeof(b));
        if ((i + seed) % 3 == 1) {
            o.backing = &"base-of-a-chain-that-nobody-ever-opens-in-this-test.qcow2"[seed % 40];
            o.backing_format = seed % 2 ? "qcow2" : NULL;
        }
        if ((i + seed) % 3 == 0 && o.cluster_bits > 10) /* a name that is in the way: a switch of several stages */
            o.backing = long_name();
        build_start(&b, &o);
        for (unsigned k = 0; k <= seed % 5; k++)
            build_data(&b, UINT64_C(4096) * (1 + i + 7 * k));
        if (r->setup.others) {
            build_bitmap(&b, "old", 9 + seed % 8, 2, NULL, 0);
            build_bitmap(&b, "off", 13, 0, NULL, 0);
            for (unsigned k = 0; k < seed % 4; k++)
                build_bitmap(&b, (const char *[]){ "more", "and one with a long name", "x" }[k], 10 + k, k % 2 ? 0 : 2,
                             NULL, 0);
        }
        build_finish(&b);
        build_write_file(&b, r->images[i]);
        build_free(&b);
    }
}

static int create(struct run *r, struct qcbm_error *err)
{
    struct qcbm_checkpoint_options o = QCBM_CHECKPOINT_OPTIONS_INIT;

    o.flags = r->setup.freeze ? QCBM_CHECKPOINT_FREEZE : 0;
    return qcbm_checkpoint_create("C1", r->disks, sizeof(r->disks[0]), r->setup.disks, &o, NULL, 0, err);
}

static void begin_judges(struct run *r)
{
    for (unsigned i = 0; i < r->setup.disks; i++) {
        const struct folder_file *a = &r->before.files[folder_find(&r->before, r->images[i])->file];
        const struct folder_file *b = &r->after.files[folder_find(&r->after, r->images[i])->file];
        const char *why;

        r->changes[i] = a->len != b->len || memcmp(a->bytes, b->bytes, a->len) != 0;
        if (!judge_begin(&r->judges[i], r->setup.freeze ? "C1,old,more,x," : "C1,", a->bytes, a->len, b->bytes, b->len,
                         &why))
            bad(r, "begin", why);
    }
}

/* ---- a state that was recovered ------------------------------------------------------------------------ */

static void read_one(const char *name, uint8_t **bytes, size_t *len)
{
    *bytes = look_read_file(name, len);
}

/* 1 new, 0 old. */
static int judge_image(struct run *r, unsigned i, const char *what)
{
    enum verdict v;
    uint8_t *bytes;
    const char *why;
    size_t len;

    read_one(r->images[i], &bytes, &len);
    if (has_overlay(&r->setup, i) && access(JOURNAL, F_OK) != 0)
        bytes[88] &= 0x7f; /* the fence below an overlay falls behind the end of the journal: a cut may leave it up */
    v = judge_state(&r->judges[i], bytes, len, &why);
    free(bytes);
    if (v != VERDICT_OLD && v != VERDICT_NEW)
        bad(r, what, why);
    return v == VERDICT_NEW;
}

static int judge_overlay(struct run *r, unsigned i, const char *what)
{
    const struct folder_name *want = folder_find(&r->after, r->overlays[i]);
    uint8_t *bytes;
    size_t len;
    bool same;

    if (access(r->overlays[i], F_OK) != 0)
        return 0;
    read_one(r->overlays[i], &bytes, &len);
    same = len == r->after.files[want->file].len && memcmp(bytes, r->after.files[want->file].bytes, len) == 0;
    free(bytes);
    if (!same)
        bad(r, what, "an overlay is there and is not whole");
    return 1;
}

static bool judge_all(struct run *r, const char *what)
{
    int state = -1;
    char name[80];

    for (unsigned i = 0; i < r->setup.disks; i++) {
        int image = judge_image(r, i, what), overlay = has_overlay(&r->setup, i) ? judge_overlay(r, i, what) : image;

        if (r->changes[i] && image != overlay)
            bad(r, what, "the image is in one state, its overlay in the other");
        if (!r->changes[i])
            image = overlay;
        if (state >= 0 && image != state)
            bad(r, what, "some disks have the checkpoint, and some do not");
        state = image;
        snprintf(name, sizeof(name), "%s.qcbm-journal", r->images[i]);
        if (readlink(name, (char[4]){ 0 }, 4) >= 0)
            bad(r, what, "a link is left");
        snprintf(name, sizeof(name), "%s.qcbm-new", r->overlays[i]);
        if (access(name, F_OK) == 0)
            bad(r, what, "a temporary file is left");
    }
    if (access(JOURNAL, F_OK) == 0)
        bad(r, what, "the journal is left");
    return state;
}

/* ---- recovered ----------------------------------------------------------------------------------------- */

/* Killed at its call number @at, in a process of its own. */
static void kill_recovery(struct run *r, size_t at)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        folder_kill_at(at);
        (void)qcbm_checkpoint_recover(JOURNAL, NULL, NULL, 0, NULL);
        _exit(0);
    }
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        look_fail("fork", "failed");
    r->killed += WIFEXITED(status) && WEXITSTATUS(status) == 9;
}

static void recover(struct run *r, const char *what)
{
    struct qcbm_recover_result result;
    struct qcbm_error err;
    bool forward;

    if (access(JOURNAL, F_OK) != 0) { /* it was not written yet, or is not needed any more */
        r->no_journal++;
        (void)judge_all(r, what);
        return;
    }
    if (r->number % 4 == 0 && r->depth == 0)
        kill_recovery(r, 1 + r->number / 4 % 60);
    folder_kill_at(0);
    if (access(JOURNAL, F_OK) == 0) {
        if (qcbm_checkpoint_recover(JOURNAL, NULL, &result, sizeof(result), &err) < 0)
            bad(r, what, err.message);
        if (result.supersets)
            bad(r, what, "a superset where nobody wrote");
        forward = judge_all(r, what);
        if (forward != result.forward)
            bad(r, what, "another way than it says");
    } else {
        forward = judge_all(r, what);
    }
    r->forward += forward;
    r->back += !forward;
    r->recovered++;
}

static int one_state(void *opaque, const struct folder *state, const char *what)
{
    struct run *r = opaque;

    if (r->number++ % r->part)
        return 0;
    folder_write(state);
    recover(r, what);
    return 0;
}

/* States of a recovery: from where the process of a create was killed. */
static void walk_recovery(struct run *r, size_t at, unsigned random, void **seen, struct folder_count *total)
{
    struct folder_count count;
    struct folder from;
    int status;
    pid_t pid;

    folder_write(&r->before);
    pid = fork();
    if (pid == 0) {
        folder_kill_at(at);
        (void)create(r, NULL);
        _exit(0);
    }
    if (pid < 0 || waitpid(pid, &status, 0) < 0 || !WIFEXITED(status))
        look_fail("fork", "failed");
    if (WEXITSTATUS(status) != 9 || access(JOURNAL, F_OK) != 0)
        return;
    folder_read(&from);
    folder_record(&from);
    if (qcbm_checkpoint_recover(JOURNAL, NULL, NULL, 0, NULL) < 0)
        bad(r, "recovery", "failed");
    (void)folder_stop();
    r->depth = 1;
    folder_walk(random, 77, seen, one_state, r, &count);
    r->depth = 0;
    total->built += count.built;
    total->distinct += count.distinct;
    folder_free(&from);
}

static void one_setup(const struct setup *setup, unsigned random, unsigned part, void **seen,
                      struct folder_count *total)
{
    static struct run r;
    struct folder_count count;
    struct qcbm_error err;
    size_t calls;

    memset(&r, 0, sizeof(r));
    r.setup = *setup;
    r.part = part;
    folder_write(&(struct folder){ 0 });
    make_disks(&r);
    folder_read(&r.before);
    folder_record(&r.before);
    if (create(&r, &err) < 0)
        bad(&r, "create", err.message);
    calls = folder_calls();
    (void)folder_stop();
    folder_read(&r.after);
    begin_judges(&r);
    folder_walk(random, setup->disks + 16 * setup->seed, seen, one_state, &r, &count);
    for (size_t at = calls / 2; at < calls; at += calls / 4 + 1)
        walk_recovery(&r, at, random, seen, &count);
    printf("%u disks%s%s%s%s, clusters of %u: %" PRIu64 " distinct states of %" PRIu64 "; %" PRIu64
           " recovered: %" PRIu64 " back, %" PRIu64 " forward, %" PRIu64 " without a journal; recovery killed %" PRIu64
           " times\n",
           setup->disks, setup->overlays ? setup->every_second ? ", some overlays" : ", overlays" : "",
           setup->freeze ? ", frozen" : "", setup->others ? ", other bitmaps" : "", "", 1u << setup->cluster_bits,
           count.distinct, count.built, r.recovered, r.back, r.forward, r.no_journal, r.killed);
    fflush(stdout);
    total->built += count.built;
    total->distinct += count.distinct;
    if (part == 1 && setup->seed == 0 && (!r.back || !r.forward || !r.no_journal))
        bad(&r, "all", "one of the ways was never gone");
    for (unsigned i = 0; i < setup->disks; i++)
        judge_end(&r.judges[i]);
    folder_free(&r.before);
    folder_free(&r.after);
}

int main(int argc, char **argv)
{
    unsigned random = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 4;
    unsigned part = (argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 1) * test_part();
    char folder[] = "checkpoint-cuts-XXXXXX";
    unsigned machines = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 1;
    unsigned first = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 10) : 0;
    struct folder_count total = { 0 };
    void *seen = NULL;

    if (!mkdtemp(folder) || chdir(folder) < 0)
        look_fail(folder, "cannot be made");
    for (unsigned seed = first; seed < first + machines; seed++)
        for (unsigned disks = 1; disks <= MAX_DISKS; disks *= 2)
            for (unsigned k = 0; k < 8; k++) {
                struct setup s = { disks, k / 2 > 0, k / 2 == 3, k / 2 == 2, k % 2, 9 + (3 * k + seed) % 5, seed };

                one_setup(&s, random, part, &seen, &total);
            }
    folder_write(&(struct folder){ 0 });
    if (chdir("..") < 0 || rmdir(folder) < 0)
        look_fail(folder, "cannot be removed");
    printf("%" PRIu64 " distinct states of %" PRIu64 ", 0 with a checkpoint on some disks only\n", total.distinct,
           total.built);
    return 0;
}
