/* snapshots_out.c - the list of internal snapshots, as qemu-img 10.0 prints it: columns never run together
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "qemu_text.h"
#include "snapshots_out.h"

/* A name in a column of @width bytes, as qemu counts; a longer one pushes the rest of the line. */
static void print_column(const char *text, size_t width)
{
    for (size_t used = print_escaped(stdout, text, strlen(text)); used < width; used++)
        putchar(' ');
}

static void print_snapshot(const struct qcbm_snapshot_info *s)
{
    time_t when = (time_t)s->date_sec;
    uint64_t seconds = s->vm_clock_nsec / 1000000000;
    char date[32] = "", icount[24] = "--", clock[48];
    struct tm tm;

    if (localtime_r(&when, &tm))
        strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S", &tm);
    snprintf(clock, sizeof clock, "%04" PRIu64 ":%02" PRIu64 ":%02" PRIu64 ".%03" PRIu64, seconds / 3600,
             seconds / 60 % 60, seconds % 60, s->vm_clock_nsec / 1000000 % 1000);
    if (s->icount != UINT64_MAX)
        snprintf(icount, sizeof icount, "%" PRIu64, s->icount);
    print_column(s->id, 7);
    putchar(' ');
    print_column(s->name, 16);
    printf(" %8s %19s %15s %10s\n", size_text(s->vm_state_size).text, date, clock, icount);
}

void snapshots_print(const struct qcbm_image *img, uint32_t count)
{
    struct qcbm_snapshot_info snapshot;

    if (count == 0)
        return;
    printf("Snapshot list:\n%-7s %-16s %8s %19s %15s %10s\n", "ID", "TAG", "VM_SIZE", "DATE", "VM_CLOCK", "ICOUNT");
    for (uint32_t i = 0; i < count; i++) {
        qcbm_snapshot_get(img, i, &snapshot, sizeof snapshot);
        print_snapshot(&snapshot);
    }
}

static void write_snapshot(struct json_writer *w, const struct qcbm_snapshot_info *s)
{
    json_begin_object(w, NULL);
    if (s->icount != UINT64_MAX)
        json_u64(w, "icount", s->icount);
    json_u64(w, "vm-clock-nsec", s->vm_clock_nsec % 1000000000);
    json_string(w, "name", s->name);
    json_u64(w, "date-sec", s->date_sec);
    json_u64(w, "date-nsec", s->date_nsec);
    json_u64(w, "vm-clock-sec", s->vm_clock_nsec / 1000000000);
    json_string(w, "id", s->id);
    json_u64(w, "vm-state-size", s->vm_state_size);
    json_end_object(w);
}

void snapshots_write(const struct qcbm_image *img, uint32_t count, const char *key, struct json_writer *w)
{
    struct qcbm_snapshot_info snapshot;

    json_begin_array(w, key);
    for (uint32_t i = 0; i < count; i++) {
        qcbm_snapshot_get(img, i, &snapshot, sizeof snapshot);
        write_snapshot(w, &snapshot);
    }
    json_end_array(w);
}
