/* cmd_attach_out.c - what qcbm attach made, and the piece of XML with which libvirt takes it
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd_attach.h"
#include "qemu_text.h"

/* From malloc(); NULL without memory or working directory. */
static char *absolute(const char *name)
{
    char *folder, *full = NULL;
    size_t len;

    if (name[0] == '/')
        return strdup(name);
    while (strncmp(name, "./", 2) == 0)
        name += 2;
    folder = getcwd(NULL, 0);
    len = folder ? strlen(folder) + strlen(name) + 2 : 0;
    full = folder ? malloc(len) : NULL;
    if (full)
        snprintf(full, len, "%s/%s", strcmp(folder, "/") ? folder : "", name);
    free(folder);
    return full;
}

static void print_xml(FILE *out, const char *text)
{
    for (; *text; text++) {
        const char *word = *text == '&'    ? "&amp;"
                           : *text == '<'  ? "&lt;"
                           : *text == '>'  ? "&gt;"
                           : *text == '\'' ? "&apos;"
                                           : NULL;

        if (word)
            fputs(word, out);
        else
            putc(*text, out);
    }
}

static void print_disk(FILE *out, const char *image, const char *data, bool device)
{
    fputs("<disk type='file' device='disk'>\n  <driver name='qemu' type='qcow2'/>\n  <source file='", out);
    print_xml(out, image);
    fprintf(out, "'>\n    <dataStore type='%s'>\n      <format type='raw'/>\n      <source %s='",
            device ? "block" : "file", device ? "dev" : "file");
    print_xml(out, data);
    fputs("'/>\n    </dataStore>\n  </source>\n  <target dev='vda' bus='virtio'/>\n</disk>\n", out);
}

/* From malloc(); NULL where a name has bytes that XML cannot have, and a terminal would not show. */
static char *disk_of(const char *image, const char *data, bool device)
{
    char *text = NULL;
    size_t len;
    FILE *out;

    if (!image || !data || !is_harmless_text(image, strlen(image)) || !is_harmless_text(data, strlen(data)))
        return NULL;
    out = open_memstream(&text, &len);
    if (!out)
        return NULL;
    print_disk(out, image, data, device);
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

/* Of the image as it is now: its data by the name that is stored. */
static char *libvirt_disk(const struct attach_args *args, const struct qcbm_attach_result *r)
{
    char *image = NULL, *data = NULL, *text;
    struct qcbm_image_info info;
    struct qcbm_image *img;

    if (args->common.dry_run || qcbm_open(args->common.path, QCBM_OPEN_INFO | QCBM_OPEN_NO_LOCK, &img, NULL) < 0)
        return NULL;
    if (qcbm_image_get_info(img, &info, sizeof info) == 0 && info.full_data_file) {
        image = absolute(args->common.path);
        data = absolute(info.full_data_file);
    }
    qcbm_close(img);
    text = disk_of(image, data, r->data_is_device);
    free(image);
    free(data);
    return text;
}

static void print_text(const struct attach_args *args, const struct qcbm_attach_result *r, const char *disk)
{
    print_escaped(stdout, args->common.path, strlen(args->common.path));
    printf("%s the metadata image of ", args->common.dry_run ? " would be" : " is");
    print_escaped(stdout, args->data, strlen(args->data));
    printf(": disk of %" PRIu64 " bytes (%s), clusters of %s%s, file of %s", r->virtual_size,
           size_text(r->virtual_size).text, size_text(r->cluster_size).text,
           r->extended_l2 ? " with 32 subclusters" : "", size_text(r->file_size).text);
    if (r->granularity) {
        printf(", bitmap ");
        print_escaped(stdout, args->bitmap, strlen(args->bitmap));
        printf(" of granularity %s", size_text(r->granularity).text);
    }
    putchar('\n');
    if (disk)
        printf("For libvirt (10.10 or later):\n%s", disk);
}

static void write_bitmap(struct json_writer *w, const struct attach_args *args, const struct qcbm_attach_result *r)
{
    if (!r->granularity) {
        json_null(w, "bitmap");
        return;
    }
    json_begin_object(w, "bitmap");
    json_bytes(w, "name", args->bitmap, strlen(args->bitmap));
    json_u64(w, "granularity", r->granularity);
    json_bool(w, "enabled", !args->disabled);
    json_end_object(w);
}

static void print_json(const struct attach_args *args, const struct qcbm_attach_result *r, const char *disk)
{
    struct json_writer w = JSON_WRITER_INIT(stdout);

    json_begin_object(&w, NULL);
    json_string(&w, "image", args->common.path);
    json_string(&w, "data", args->data);
    json_bool(&w, "dry-run", args->common.dry_run);
    json_u64(&w, "virtual-size", r->virtual_size);
    json_u64(&w, "cluster-size", r->cluster_size);
    json_bool(&w, "extended-l2", r->extended_l2);
    json_u64(&w, "file-size", r->file_size);
    json_bool(&w, "data-is-device", r->data_is_device);
    if (r->discard_granularity)
        json_u64(&w, "discard-granularity", r->discard_granularity);
    write_bitmap(&w, args, r);
    if (disk)
        json_string(&w, "libvirt-disk", disk);
    else
        json_null(&w, "libvirt-disk");
    json_end_object(&w);
    json_finish(&w);
}

int attach_print(const struct attach_args *args, const struct qcbm_attach_result *r)
{
    char *disk = libvirt_disk(args, r);

    if (args->common.output == OUTPUT_JSON)
        print_json(args, r, disk);
    else if (!args->common.quiet)
        print_text(args, r, disk);
    free(disk);
    return EXIT_DONE;
}
