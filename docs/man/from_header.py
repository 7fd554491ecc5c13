#!/usr/bin/env python3
"""from_header.py PAGE HEADER... - a manual page of the library, in mdoc, from its words in PAGE and the declarations and
comments of the public headers

SPDX-License-Identifier: MIT

So that a page and the header cannot say different things. Lines of PAGE that are replaced:
  @NAME SECTION; ...         .Nm of each function of these sections of the headers
  @SYNOPSIS SECTION; ...     their prototypes
  @DESCRIPTION SECTION; ...  comments and types, in the order of the header
  @EXAMPLE FILE              the text of a program of the tree
All others are kept.
"""
import os
import re
import sys

SECTION = re.compile(r'^/\* ---- (.*?) -+ \*/$', re.M)


def sections_of(path):
    """Text of each section by its name. A header without any is one, of its own name."""
    text = open(path, encoding='utf-8').read()
    text = re.split(r'^#ifdef __cplusplus\n}', text, flags=re.M)[0]
    text = re.sub(r'^/\* ====.*$', '', text, flags=re.M)
    parts = SECTION.split(text)
    if len(parts) == 1:
        return {os.path.basename(path): text.split('extern "C" {\n#endif\n', 1)[1]}
    return dict(zip(parts[1::2], parts[2::2]))


def comment_end(text, at):
    return text.index('*/', at) + 2


def declaration_end(text, at):
    """Behind the ';' that ends what begins at @at, or behind a macro."""
    if text[at] == '#':
        end = at
        while True:
            end = text.index('\n', end)
            if text[end - 1] != '\\':
                return end
            end += 1
    depth = 0
    while True:
        if text.startswith('/*', at):
            at = comment_end(text, at)
            continue
        depth += {'{': 1, '}': -1}.get(text[at], 0)
        at += 1
        if text[at - 1] == ';' and depth == 0:
            break
    rest = re.match(r'[ \t]*/\*.*?\*/', text[at:])  # a comment on the same line
    return at + rest.end() if rest and '\n' not in rest.group() else at


def items_of(text):
    """('comment', words), ('function', prototype) and ('type', source) in their order."""
    at = 0
    while True:
        at += len(text[at:]) - len(text[at:].lstrip())
        if at >= len(text):
            return
        if text.startswith('/*', at):
            end = comment_end(text, at)
            lines = text[at + 2:end - 2].split('\n')
            yield 'comment', ' '.join(re.sub(r'^ \*', '', line).strip() for line in lines)
        else:
            end = declaration_end(text, at)
            source = text[at:end]
            yield ('function', ' '.join(source.split())) if source.startswith('QCBM_API') else ('type', source)
        at = end


def parts_of(prototype):
    """Type, name and arguments of a function."""
    m = re.match(r'QCBM_API (.*?)(\w+)\((.*)\);', prototype)
    return m.group(1).strip(), m.group(2), [a.strip() for a in m.group(3).split(',')]


def quoted(text):
    return text.replace('\\', '\\e').replace('-', '\\-')


def words(text):
    """A comment as lines of roff, a sentence a line."""
    text = re.sub(r'@(\w+)', r'\\fI\1\\fR', text.replace('\\', '\\e').replace('-', '\\-'))
    for line in re.sub(r'(?<=[.:]) (?=[A-Z*\\])', '\n', text).split('\n'):
        yield '\\&' + line if line[:1] in '.\'' else line


def described(functions, comment):
    """Functions that one comment is about."""
    yield '.Bl -tag -width Ds'
    yield '.It ' + ' , '.join('Fn ' + name for name in functions)
    yield from words(comment or '')
    yield '.El'


def literal(source):
    yield '.Bd -literal'
    yield from (('\\&' + line if line[:1] in '.\'' else line)
                for line in quoted(re.sub(r' +\\$', r' \\', source, flags=re.M)).split('\n'))
    yield '.Ed'


def description(items):
    comment, functions = None, []
    for kind, text in [*items, ('end', '')]:
        if kind == 'function':
            functions.append(parts_of(text)[1])
            continue
        if functions:
            yield from described(functions, comment)
            comment, functions = None, []
        if comment:
            yield '.Pp'
            yield from words(comment)
        comment = text if kind == 'comment' else None
        if kind == 'type':
            yield from literal(text)


def synopsis(items):
    for kind, text in items:
        if kind != 'function':
            continue
        result, name, arguments = parts_of(text)
        yield '.Ft "%s"' % result
        yield '.Fo ' + name
        yield from ('.Fa "%s"' % a for a in arguments)
        yield '.Fc'


def names(items):
    found = [parts_of(text)[1] for kind, text in items if kind == 'function']
    yield from ('.Nm ' + name + (' ,' if name != found[-1] else '') for name in found)


def example(path):
    yield from literal(open(path, encoding='utf-8').read().rstrip())


def expand(line, sections, root):
    m = re.match(r'@(NAME|SYNOPSIS|DESCRIPTION|EXAMPLE) (.*)', line)
    if not m:
        return [line]
    if m.group(1) == 'EXAMPLE':
        return example(os.path.join(root, m.group(2)))
    items = [item for name in m.group(2).split('; ') for item in items_of(sections[name])]
    return {'NAME': names, 'SYNOPSIS': synopsis, 'DESCRIPTION': description}[m.group(1)](items)


def main(page, *headers):
    sections = {}
    for header in headers:
        sections.update(sections_of(header))
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..')
    for line in open(page, encoding='utf-8').read().split('\n')[:-1]:
        for out in expand(line, sections, root):
            print(out)


main(*sys.argv[1:])
