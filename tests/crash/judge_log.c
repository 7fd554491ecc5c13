/* judge_log.c - the crash states of somebody else's writes, by the judge of cuts.c
 * SPDX-License-Identifier: MIT
 *
 * usage: judge_log RANDOM SAMPLE BEFORE AFTER LOG NAMED
 *
 * LOG is a list of events as tests/crash/qemu_img.py writes it: a letter (w, g or f for write, growth and flush),
 * offset and length as 8 bytes each, least significant first, and the bytes of a write. Prints how many of the
 * distinct states have which verdict: all of them, and those that a killed process alone can leave (a prefix of the
 * writes). One in SAMPLE is written to sample-N.img in the current folder. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "judge.h"
#include "states.h"

struct tally {
    struct judge judge;
    uint64_t all[VERDICTS], killed[VERDICTS], given;
    unsigned sample;
};

static uint64_t load_le64(const uint8_t *from)
{
    uint64_t v = 0;

    for (int i = 7; i >= 0; i--)
        v = v << 8 | from[i];
    return v;
}

static size_t load_events(const uint8_t *log, size_t len, struct record_event *out)
{
    size_t n = 0;

    for (size_t at = 0; at < len; n++) {
        uint64_t off = len - at >= 17 ? load_le64(log + at + 1) : 0,
                 bytes = len - at >= 17 ? load_le64(log + at + 9) : 0;

        if (len - at < 17 || bytes > len - at - 17 || !strchr("wgf", log[at]))
            look_fail("log", "cannot be read");
        if (out) {
            out[n].kind = log[at] == 'w' ? RECORD_WRITE : log[at] == 'g' ? RECORD_GROW : RECORD_FLUSH;
            out[n].off = off;
            out[n].len = (size_t)bytes;
            out[n].bytes = malloc((size_t)bytes + 1);
            if (!out[n].bytes)
                abort();
            memcpy(out[n].bytes, log + at + 17, (size_t)bytes);
        }
        at += 17 + (size_t)bytes;
    }
    return n;
}

static void write_sample(const struct tally *t, const uint8_t *bytes, size_t len)
{
    char name[64];
    FILE *f;

    snprintf(name, sizeof(name), "sample-%" PRIu64 ".img", t->given);
    f = fopen(name, "wb");
    if (!f || fwrite(bytes, 1, len, f) != len || fclose(f) != 0)
        look_fail(name, "cannot be written");
}

static int judge_one(void *opaque, const uint8_t *bytes, size_t len, const char *what)
{
    struct tally *t = opaque;
    const char *why;
    enum verdict verdict = judge_state(&t->judge, bytes, len, &why);

    t->all[verdict]++;
    t->killed[verdict] += strncmp(what, "first ", 6) == 0;
    if (t->sample && t->given++ % t->sample == t->sample / 2)
        write_sample(t, bytes, len);
    return 0;
}

int main(int argc, char **argv)
{
    size_t start_len, end_len, log_len;
    uint8_t *start, *end, *log;
    struct tally t = { 0 };
    struct states_source src;
    struct states_count count;
    const char *why;

    if (argc != 7)
        look_fail("usage", "judge_log RANDOM SAMPLE BEFORE AFTER LOG NAMED");
    start = look_read_file(argv[3], &start_len);
    end = look_read_file(argv[4], &end_len);
    log = look_read_file(argv[5], &log_len);
    src = (struct states_source){
        .start = start, .start_len = start_len, .n = load_events(log, log_len, NULL), .seed = 1
    };
    struct record_event *events = calloc(src.n + 1, sizeof(*events));
    if (!events)
        abort();
    load_events(log, log_len, events);
    src.events = events;
    t.sample = (unsigned)strtoul(argv[2], NULL, 10);
    src.random_subsets = (unsigned)strtoul(argv[1], NULL, 10);
    if (!judge_begin(&t.judge, argv[6], start, start_len, end, end_len, &why))
        look_fail("begin and end", why);
    states_walk(&src, judge_one, &t, &count);
    for (int i = 0; i < VERDICTS; i++)
        printf("%s\t%" PRIu64 "\t%" PRIu64 "\n", verdict_names[i], t.all[i], t.killed[i]);
    for (size_t i = 0; i < src.n; i++)
        free(events[i].bytes);
    free(events);
    judge_end(&t.judge);
    free(start);
    free(end);
    free(log);
    return 0;
}
