/* test_journal_file.c - a journal stored and parsed: the same again; each damage has its words
 * SPDX-License-Identifier: MIT */
#include "format/journal_file.h"

#include "base/bytes.h"
#include "unit.h"

static void fill(struct qcbmi_journal *j)
{
    struct qcbmi_journal_sector s = { .stage = 0, .off = 512 };

    memset(j, 0, sizeof(*j));
    j->name = strdup("C1");
    j->disks = calloc(2, sizeof(*j->disks));
    j->n_disks = 2;
    j->disks[0] = (struct qcbmi_journal_disk){ .flags = QCBMI_JOURNAL_SWITCHED | QCBMI_JOURNAL_FENCED,
                                               .dev = 1,
                                               .ino = 2,
                                               .size = 3,
                                               .target = strdup("vda"),
                                               .image = strdup("/a.qcow2"),
                                               .overlay = strdup(""),
                                               .temporary = strdup("") };
    memset(s.before, 7, sizeof(s.before));
    memset(s.after, 7, sizeof(s.after));
    assert_int_equal(qcbmi_journal_add_sector(&j->disks[0], &s, NULL), 0);
    s.stage = 1;
    s.off = 0;
    memset(s.after, 9, sizeof(s.after));
    assert_int_equal(qcbmi_journal_add_sector(&j->disks[0], &s, NULL), 0);
    assert_int_equal(qcbmi_journal_add_goal(&j->disks[0], QCBMI_GOAL_THERE, "C1", 16, 0, NULL), 0);
    assert_int_equal(qcbmi_journal_add_goal(&j->disks[0], QCBMI_GOAL_OLDER, "C0", 12, 77, NULL), 0);
    j->disks[1] = (struct qcbmi_journal_disk){ .flags = QCBMI_JOURNAL_OVERLAY,
                                               .target = strdup("vdb"),
                                               .image = strdup("/b.qcow2"),
                                               .overlay = strdup("/b2.qcow2"),
                                               .temporary = strdup("/b2.qcow2.qcbm-new"),
                                               .overlay_len = 99 };
}

/* The bytes of the whole file, end mark included, in a block of exactly that length. */
static uint8_t *store(struct qcbmi_journal *j)
{
    uint8_t *bytes = NULL, *copy;
    uint8_t end[QCBMI_JOURNAL_SECTOR];

    assert_int_equal(qcbmi_journal_store(j, &bytes, NULL), 0);
    qcbmi_journal_end_store(j, end);
    memcpy(bytes + qcbmi_journal_end_at(j), end, sizeof(end));
    copy = exact_copy(bytes, (size_t)j->len);
    free(bytes);
    return copy;
}

static void what_is_stored_is_parsed(void **state)
{
    struct qcbmi_journal j, k;
    struct qcbm_error err = { 0 };
    uint8_t *bytes;

    (void)state;
    fill(&j);
    bytes = store(&j);
    assert_int_equal(qcbmi_journal_parse(bytes, j.len, &k, &err), 0);
    assert_string_equal(k.name, "C1");
    assert_int_equal(k.n_disks, 2);
    assert_int_equal(k.state, QCBMI_JOURNAL_OPEN);
    assert_int_equal(k.disks[0].ino, 2);
    assert_string_equal(k.disks[0].image, "/a.qcow2");
    assert_int_equal(k.disks[0].n_sectors, 2);
    assert_int_equal(k.disks[0].sectors[1].stage, 1);
    assert_memory_equal(k.disks[0].sectors[1].after, j.disks[0].sectors[1].after, QCBMI_JOURNAL_SECTOR);
    assert_int_equal(k.disks[0].n_goals, 2);
    assert_int_equal(k.disks[0].goals[1].kind, QCBMI_GOAL_OLDER);
    assert_int_equal(k.disks[0].goals[1].dirty, 77);
    assert_string_equal(k.disks[0].goals[1].name, "C0");
    assert_string_equal(k.disks[1].temporary, "/b2.qcow2.qcbm-new");
    assert_int_equal(k.disks[1].overlay_len, 99);
    assert_false(k.disks[0].marked || k.disks[1].marked);
    free(bytes);
    qcbmi_journal_free(&j);
    qcbmi_journal_free(&k);
}

static void the_decision_and_marks_are_found(void **state)
{
    struct qcbmi_journal j, k;
    uint8_t *bytes, mark[QCBMI_JOURNAL_MARK_BYTES];
    uint64_t at;

    (void)state;
    fill(&j);
    bytes = store(&j);
    at = qcbmi_journal_mark_store(&j, 1, mark);
    memcpy(bytes + at, mark, sizeof(mark));
    assert_int_equal(qcbmi_journal_parse(bytes, j.len, &k, NULL), 0);
    assert_false(k.disks[1].marked); /* nothing is decided: it means nothing */
    qcbmi_journal_free(&k);
    qcbmi_journal_state_store(&j, QCBMI_JOURNAL_DECIDED, bytes + j.state_at);
    assert_int_equal(qcbmi_journal_parse(bytes, j.len, &k, NULL), 0);
    assert_int_equal(k.state, QCBMI_JOURNAL_DECIDED);
    assert_true(k.disks[1].marked);
    assert_false(k.disks[0].marked);
    qcbmi_journal_free(&k);
    qcbmi_journal_state_store(&j, QCBMI_JOURNAL_DONE, bytes + j.state_at);
    assert_int_equal(qcbmi_journal_parse(bytes, j.len, &k, NULL), 0);
    assert_int_equal(k.state, QCBMI_JOURNAL_DONE);
    qcbmi_journal_free(&k);
    free(bytes);
    qcbmi_journal_free(&j);
}

/* Every byte but those of zeros in a mark that is not there counts. */
static void any_other_byte_is_refused(void **state)
{
    struct qcbmi_journal j, k;
    uint64_t marks;
    uint8_t *bytes;

    (void)state;
    fill(&j);
    bytes = store(&j);
    marks = j.state_at + QCBMI_JOURNAL_SECTOR;
    for (uint64_t i = 0; i < marks; i++) {
        struct qcbm_error err = { 0 };
        int ret;

        if (i >= 56 && i < 112)
            continue; /* zeros of the header: its digest tells */
        if (i >= j.state_at + QCBMI_JOURNAL_STATE_BYTES)
            break;
        bytes[i] ^= 0x10;
        ret = qcbmi_journal_parse(bytes, j.len, &k, &err);
        qcbmi_journal_free(&k);
        bytes[i] ^= 0x10;
        /* what is behind the records up to the end mark is not looked at */
        if (ret == 0 && i >= be64_load(bytes + 24) && i < qcbmi_journal_end_at(&j))
            continue;
        if (ret == 0)
            fail_msg("byte %llu", (unsigned long long)i);
    }
    free(bytes);
    qcbmi_journal_free(&j);
}

static void each_length_but_its_own_is_refused(void **state)
{
    struct qcbmi_journal j, k;
    uint8_t *bytes;

    (void)state;
    fill(&j);
    bytes = store(&j);
    for (uint64_t len = 0; len < j.len; len++) {
        uint8_t *cut = exact_copy(bytes, (size_t)len);

        assert_true(qcbmi_journal_parse(cut, len, &k, NULL) < 0);
        qcbmi_journal_free(&k);
        free(cut);
    }
    free(bytes);
    qcbmi_journal_free(&j);
}

static int parse_of(struct qcbmi_journal *j, struct qcbm_error *err)
{
    struct qcbmi_journal k;
    uint8_t *bytes = store(j);
    int ret = qcbmi_journal_parse(bytes, j->len, &k, err);

    qcbmi_journal_free(&k);
    free(bytes);
    qcbmi_journal_free(j);
    return ret;
}

static void replace(char **text, const char *by)
{
    free(*text);
    *text = strdup(by);
}

/* Sound digests, and content that nobody writes: what it would lead to is not done. */
static void names_of_a_forger_are_refused(void **state)
{
    struct qcbmi_journal j;
    struct qcbm_error err = { 0 };

    (void)state;
    fill(&j);
    replace(&j.disks[1].temporary, "/etc/passwd");
    assert_int_equal(parse_of(&j, &err), QCBM_E_CORRUPT);
    fill(&j);
    replace(&j.disks[1].overlay, "relative");
    replace(&j.disks[1].temporary, "relative.qcbm-new");
    assert_int_equal(parse_of(&j, &err), QCBM_E_CORRUPT);
    fill(&j);
    replace(&j.disks[0].image, "a.qcow2");
    assert_int_equal(parse_of(&j, &err), QCBM_E_CORRUPT);
    fill(&j);
    replace(&j.disks[0].temporary, "/x");
    assert_int_equal(parse_of(&j, &err), QCBM_E_CORRUPT);
    fill(&j);
    j.disks[0].sectors[1].off = 100;
    assert_int_equal(parse_of(&j, &err), QCBM_E_CORRUPT);
    fill(&j);
    j.disks[0].sectors[0].after[3] = 1; /* stage 0 does not change */
    assert_int_equal(parse_of(&j, &err), QCBM_E_CORRUPT);
    fill(&j);
    j.disks[0].sectors[0].stage = 5; /* not by stage */
    assert_int_equal(parse_of(&j, &err), QCBM_E_CORRUPT);
    fill(&j);
    j.disks[0].goals[0].gran_bits = 64;
    assert_int_equal(parse_of(&j, &err), QCBM_E_CORRUPT);
    fill(&j);
    j.disks[1].flags |= QCBMI_JOURNAL_DEVICE; /* which has no temporary file */
    assert_int_equal(parse_of(&j, &err), QCBM_E_CORRUPT);
}

static void other_files_are_no_journals(void **state)
{
    uint8_t bytes[4096] = "QCBMUNDO";
    struct qcbmi_journal k;
    struct qcbm_error err = { 0 };

    (void)state;
    assert_failure(qcbmi_journal_parse(bytes, sizeof(bytes), &k, &err), &err, QCBM_E_ARG, QCBM_NO_OFFSET, "no journal");
    qcbmi_journal_free(&k);
    memcpy(bytes, "QCBMJRNL", 8);
    be32_store(bytes + 8, 2);
    assert_failure(qcbmi_journal_parse(bytes, sizeof(bytes), &k, &err), &err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET,
                   "version 2");
    qcbmi_journal_free(&k);
    be32_store(bytes + 8, 1);
    assert_failure(qcbmi_journal_parse(bytes, sizeof(bytes), &k, &err), &err, QCBM_E_CORRUPT, QCBM_NO_OFFSET,
                   "damaged");
    qcbmi_journal_free(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_stored_is_parsed),      cmocka_unit_test(the_decision_and_marks_are_found),
        cmocka_unit_test(any_other_byte_is_refused),     cmocka_unit_test(each_length_but_its_own_is_refused),
        cmocka_unit_test(names_of_a_forger_are_refused), cmocka_unit_test(other_files_are_no_journals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
