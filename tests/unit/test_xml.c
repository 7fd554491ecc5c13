/* test_xml.c - a small, strict reader of XML
 * SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "unit.h"

#include "checkpoint/xml.h"

/* What reading @text returns; @doc is the caller's if it is 0. */
static int read_text(struct qcbmi_xml *doc, const char *text, struct qcbm_error *err)
{
    size_t len = strlen(text);
    uint8_t *exact = exact_copy((const uint8_t *)text, len);
    int ret = qcbmi_xml_read(doc, exact, len, err);

    free(exact);
    if (ret < 0)
        qcbmi_xml_free(doc);
    return ret;
}

static void elements_attributes_and_text(void **state)
{
    const struct qcbmi_xml_node *root, *b, *again;
    struct qcbmi_xml doc;

    (void)state;
    assert_int_equal(read_text(&doc,
                               "<?xml version='1.0' encoding='UTF-8'?>\n<!-- x --><a>\n <b k=\"v\" l = 'w'>one</b>"
                               "<b/>t<c:d></c:d></a >\n<!-- y -->",
                               NULL),
                     0);
    root = &doc.nodes[0];
    assert_string_equal(root->name, "a");
    assert_string_equal(root->text, "");
    b = qcbmi_xml_next(&doc, root, NULL, "b");
    assert_string_equal(b->text, "one");
    assert_string_equal(qcbmi_xml_attr(&doc, b, "k"), "v");
    assert_string_equal(qcbmi_xml_attr(&doc, b, "l"), "w");
    assert_null(qcbmi_xml_attr(&doc, b, "m"));
    again = qcbmi_xml_next(&doc, root, b, "b");
    assert_non_null(again);
    assert_string_equal(again->text, "");
    assert_null(qcbmi_xml_next(&doc, root, again, "b"));
    assert_int_equal(qcbmi_xml_child(&doc, root, "b", &b, NULL), QCBM_E_CORRUPT);
    assert_int_equal(qcbmi_xml_child(&doc, root, "c:d", &b, NULL), 0);
    assert_non_null(b);
    assert_int_equal(qcbmi_xml_child(&doc, root, "e", &b, NULL), 0);
    assert_null(b);
    qcbmi_xml_free(&doc);
}

static void characters_in_other_words(void **state)
{
    struct qcbmi_xml doc;

    (void)state;
    assert_int_equal(
        read_text(&doc, "<a k='&lt;\n&#10;&quot;&#x1F600;'>&amp;x<![CDATA[<&]]>&#228;\r\ny<!-- - -->z</a>", NULL), 0);
    assert_string_equal(doc.nodes[0].text, "&x<&\xc3\xa4\nyz");
    assert_string_equal(qcbmi_xml_attr(&doc, &doc.nodes[0], "k"), "< \n\"\xf0\x9f\x98\x80");
    qcbmi_xml_free(&doc);
}

static void what_is_not_well_formed_is_refused(void **state)
{
    static const char *const texts[] = {
        "",
        " ",
        "x",
        "<",
        "<a",
        "<a>",
        "<a/",
        "<a></b>",
        "<a><b></a></b>",
        "</a>",
        "<a/><b/>",
        "<a/>x",
        "x<a/>",
        "<a k/>",
        "<a k=v/>",
        "<a k='v/>",
        "<a k='v'l='w'/>",
        "<a k='v' k='w'/>",
        "<a k='<'/>",
        "< a/>",
        "<1/>",
        "<a>&b;</a>",
        "<a>&</a>",
        "<a>&#;</a>",
        "<a>&#x;</a>",
        "<a>&#0;</a>",
        "<a>&#xD800;</a>",
        "<a>&#x110000;</a>",
        "<a>&#99999999999999999999;</a>",
        "<a>&#1a;</a>",
        "<a>]]></a>",
        "<!-- -- --><a/>",
        "<!-- <a/>",
        "<a><![CDATA[</a>",
        "<![CDATA[x]]><a/>",
        "<?x",
        "<?x?>",
        " <?xml version='1.0'?><a/>",
        "<a>\x01</a>",
        "<a>\xff</a>",
        "<a>\xc0\x80</a>",
        "<a>\xed\xa0\x80</a>",
        "<a>\xe2\x82</a>",
        "<a>\xef\xbf\xbf</a>",
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct qcbm_error err = { 0 };
        struct qcbmi_xml doc;

        if (read_text(&doc, texts[i], &err) != QCBM_E_CORRUPT)
            fail_msg("taken: %s", texts[i]);
        assert_true(err.message[0] && err.offset <= strlen(texts[i]));
    }
}

/* What is behind the end is not looked at, though it would go on. */
static void each_beginning_is_refused(void **state)
{
    static const char text[] = "<?xml version='1.0' encoding='UTF-8'?><!-- x --><a k=\"v\" l = 'w'>&amp;<![CDATA[<]]>"
                               "<b/>&#228;\xc3\xa4</a>";
    size_t end = sizeof(text) - 1;

    (void)state;
    for (size_t len = 0; len <= end; len++) {
        uint8_t *exact = exact_copy((const uint8_t *)text, len);
        struct qcbm_error err = { 0 };
        struct qcbmi_xml doc;

        for (int i = 0; i < 2; i++) {
            if ((qcbmi_xml_read(&doc, i ? exact : (const uint8_t *)text, len, &err) == 0) != (len == end))
                fail_msg("the first %zu bytes", len);
            qcbmi_xml_free(&doc);
            if (len < end && err.offset > len)
                fail_msg("the first %zu bytes: refused for the one at %llu", len, (unsigned long long)err.offset);
        }
        free(exact);
    }
}

static void what_could_grow_is_refused(void **state)
{
    struct qcbmi_xml doc;

    (void)state;
    assert_int_equal(read_text(&doc, "<!DOCTYPE a [<!ENTITY b 'c'>]><a/>", NULL), QCBM_E_UNSUPPORTED);
    assert_int_equal(read_text(&doc, "<a><!ENTITY b 'c'></a>", NULL), QCBM_E_UNSUPPORTED);
    assert_int_equal(read_text(&doc, "<?xml version='1.0' encoding='UTF-16'?><a/>", NULL), QCBM_E_UNSUPPORTED);
    assert_int_equal(read_text(&doc, "<?xml version='1.0' encoding?><a/>", NULL), QCBM_E_UNSUPPORTED);
}

static void limits(void **state)
{
    size_t len = QCBMI_XML_MAX + 1;
    char *text = calloc(1, len + 1), *p = text;
    struct qcbmi_xml doc;

    (void)state;
    assert_non_null(text);
    for (unsigned i = 0; i < QCBMI_XML_MAX_DEPTH; i++)
        p = stpcpy(p, "<a>");
    for (unsigned i = 0; i < QCBMI_XML_MAX_DEPTH; i++)
        p = stpcpy(p, "</a>");
    assert_int_equal(read_text(&doc, text, NULL), 0);
    qcbmi_xml_free(&doc);
    memmove(text + 3, text, strlen(text) + 1);
    assert_int_equal(read_text(&doc, text, NULL), QCBM_E_LIMIT);

    p = stpcpy(text, "<a");
    for (unsigned i = 0; i <= QCBMI_XML_MAX_ATTRS; i++)
        p += sprintf(p, " k%u=''", i);
    strcpy(p, "/>");
    assert_int_equal(read_text(&doc, text, NULL), QCBM_E_LIMIT);

    memset(text, ' ', len);
    assert_int_equal(read_text(&doc, text, NULL), QCBM_E_LIMIT);
    memcpy(text, "<a/>", 4);
    text[len - 1] = '\0';
    assert_int_equal(read_text(&doc, text, NULL), 0);
    qcbmi_xml_free(&doc);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elements_attributes_and_text),       cmocka_unit_test(characters_in_other_words),
        cmocka_unit_test(what_is_not_well_formed_is_refused), cmocka_unit_test(each_beginning_is_refused),
        cmocka_unit_test(what_could_grow_is_refused),         cmocka_unit_test(limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
