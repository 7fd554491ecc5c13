#!/usr/bin/env python3
"""declare.py HEADERS OUT - what package qcbm knows of the library, made of the public headers in folder HEADERS

SPDX-License-Identifier: MIT

Written into folder OUT:
  _abi.py    the declarations for cffi in ABI mode: compiled here, so nothing is parsed when the package is imported
  _types.py  enums, structs that the library fills as dataclasses, numbers, and what options begin with
"""
import keyword
import os
import re
import sys

import cffi

HEADERS = ['qcbm.h', 'qcbm-check.h', 'qcbm-manifest.h', 'qcbm-delta.h', 'qcbm-checkpoint.h', 'qcbm-io.h']
NBD_HEADER = 'qcbm-nbd.h'  # of libqcbm-nbd, without which libqcbm may be installed
FAST = ['qcbm_extent']  # millions of them: a tuple is made in a third of the time
HEAD = '# Made by declare.py from the headers of libqcbm %s. SPDX-License-Identifier: MIT\n'
IMPORTS = '''import enum
from dataclasses import dataclass
from typing import Any, Dict, NamedTuple, Optional, Tuple'''


def without_comments(path):
    return re.sub(r'/\*.*?\*/', ' ', open(path, encoding='utf-8').read(), flags=re.S)


def macros_of(text):
    """Name and words of each macro without arguments."""
    text = text.replace('\\\n', ' ')
    return {m[1]: m[2].strip() for m in re.finditer(r'^#define (QCBM_\w+)[ \t]+(.*)$', text, re.M)}


def declarations(text):
    """What is left for cffi: no directives, no wrapping for C++, no attribute."""
    text = re.sub(r'#ifdef __cplusplus\n.*?#endif', '', text.replace('\\\n', ' '), flags=re.S)
    text = re.sub(r'^#.*$', '', text, flags=re.M).replace('QCBM_API ', '')
    return re.sub(r'\n\s*\n+', '\n', re.sub(r'UINT(?:32|64)_MAX', '-1', text))


def number(words, known):
    """The value of a constant expression of the headers, or None."""
    words = re.sub(r'UINT64_C\((\w+)\)', r'\1', words)
    words = re.sub(r'\b(\d+)[uU]\b', r'\1', words)
    if words == '{ 0 }':
        return 0
    names = {'UINT64_MAX': 2**64 - 1, 'UINT32_MAX': 2**32 - 1, 'NULL': 0, 'false': 0, 'true': 1, **known}
    if not re.fullmatch(r'[\w\s()<|+-]+', words) or any(w not in names for w in re.findall(r'[A-Za-z]\w*', words)):
        return None
    return eval(words, {'__builtins__': {}}, names)  # words of our own headers, and none but these names


def camel(name):
    return ''.join(part.capitalize() for part in name.removeprefix('qcbm_').split('_'))


def safe(name):
    return name + '_' if keyword.iskeyword(name) else name


def enum_source(name, members):
    """Members lose what all of them begin with: QCBM_OPEN_WRITE is OpenFlag.WRITE."""
    prefix = 'QCBM_' + name.removeprefix('qcbm_').removesuffix('_flag').upper() + '_'
    if not all(m.startswith(prefix) for m in members):
        prefix = os.path.commonprefix(list(members))
        prefix = prefix[:prefix.rindex('_') + 1]
    yield f'\n\nclass {camel(name)}(enum.{"IntFlag" if name.endswith("_flag") else "IntEnum"}):'
    yield from (f'    {m.removeprefix(prefix)} = {v}' for m, v in sorted(members.items(), key=lambda i: i[1]))


def hint(ctype, records):
    """The Python type of a field, as _call.py converts it."""
    if ctype.kind == 'enum':
        return camel(ctype.cname.removeprefix('enum '))
    if ctype.kind == 'primitive':
        return 'bool' if ctype.cname == '_Bool' else 'int'
    if ctype.kind == 'struct':
        return camel(ctype.cname.removeprefix('struct '))
    item = ctype.item
    if item.cname == 'char':
        return 'Optional[str]' if ctype.kind == 'pointer' else 'str'
    if item.cname in ('uint8_t', 'unsigned char'):
        return 'bytes'
    if item.kind == 'struct' and item.cname.removeprefix('struct ') in records:
        name = camel(item.cname.removeprefix('struct '))
        return f"Optional['{name}']" if ctype.kind == 'pointer' else f"Tuple['{name}', ...]"
    return 'Any'


def record_source(name, fields, records):
    if name in FAST:
        yield f'\n\nclass {camel(name)}(NamedTuple):'
    else:
        yield f'\n\n@dataclass\nclass {camel(name)}:'
    yield from (f'    {safe(field)}: {hint(f.type, records)}' for field, f in fields)


def in_order(records):
    """A struct that is part of another one comes before it."""
    done = {}

    def put(name):
        for _, field in records[name]:
            inner = field.type.item if field.type.kind == 'array' else field.type
            if inner.kind == 'struct' and inner.cname.removeprefix('struct ') in records:
                put(inner.cname.removeprefix('struct '))
        done.setdefault(name, records[name])

    for name in records:
        put(name)
    return done


def types_source(ffi, macros, version):
    enums = {n: ffi.typeof('enum ' + n).relements for n in re.findall(r'\benum (qcbm_\w+) \{', macros['text'])}
    known = {m: v for members in enums.values() for m, v in members.items()}
    structs = {n: ffi.typeof('struct ' + n) for n in re.findall(r'\bstruct (qcbm_\w+) \{', macros['text'])}
    records, defaults = {}, {}
    for name, ctype in structs.items():
        functions = any(f.type.kind == 'function' for _, f in ctype.fields)
        if 'QCBM_' + name.removeprefix('qcbm_').upper() + '_INIT' in macros:
            words = macros['QCBM_' + name.removeprefix('qcbm_').upper() + '_INIT'].strip('{ }').split(',')
            values = [number(re.sub(r'\{ 0', '0', w).strip(' }'), known) for w in words[1:]]
            fields = [f for f, _ in ctype.fields][1:]
            assert len(values) == len(fields) and None not in values, name
            defaults[name] = {f: v for f, v in zip(fields, values) if v}
        elif not functions and name != 'qcbm_error':
            records[name] = ctype.fields
    yield HEAD % version + IMPORTS
    for name, members in enums.items():
        yield from enum_source(name, members)
    for name, fields in in_order(records).items():
        yield from record_source(name, fields, records)
    yield f'\n\nVERSION = {version!r}'
    for name, library in (('SONAME', 'libqcbm'), ('NBD_SONAME', 'libqcbm-nbd')):
        yield f'{name} = {library + ".so." + version.split(".")[0]!r}'
    for name, words in macros.items():
        value = words.strip('"') if re.fullmatch(r'"[^"\\]*"', words) else number(words, known)
        if name != 'text' and value is not None:
            yield f'{name.removeprefix("QCBM_")} = {value!r}'
    for block in re.findall(r'\benum \{(.*?)\}', macros['text'], re.S):
        yield from (f'{m.removeprefix("QCBM_")} = {number(v, known)}'
                    for m, v in re.findall(r'(QCBM_\w+) = ([^,}]+)', block))
    yield 'DEFAULTS: Dict[str, Dict[str, int]] = {' + ''.join(f'\n    {n!r}: {d},' for n, d in defaults.items()) + '\n}'
    yield 'RECORDS: Dict[str, Any] = {' + ''.join(f'\n    {n!r}: {camel(n)},' for n in records) + '\n}'
    yield 'ENUMS: Dict[str, Any] = {' + ''.join(f'\n    {n!r}: {camel(n)},' for n in enums) + '\n}'


def nbd_header(headers):
    """Installed beside the others, or in a folder of its own of the tree; nothing where there is none."""
    places = [os.path.join(headers, NBD_HEADER), os.path.join(headers, '..', '..', 'libqcbm-nbd', 'include', NBD_HEADER)]
    return [path for path in places if os.path.exists(path)][:1]


def main(headers, out):
    paths = [os.path.join(headers, h) for h in HEADERS] + nbd_header(headers)
    text = ''.join(map(without_comments, paths))
    macros = macros_of(text)
    version = '.'.join(macros['QCBM_VERSION_' + part] for part in ('MAJOR', 'MINOR', 'PATCH'))
    macros['text'] = declarations(text)
    ffi = cffi.FFI()
    ffi.set_source('_abi', None)
    ffi.cdef(macros['text'])
    ffi.emit_python_code(os.path.join(out, '_abi.py'))
    with open(os.path.join(out, '_types.py'), 'w', encoding='utf-8') as f:
        f.write('\n'.join(types_source(ffi, macros, version)) + '\n')


if __name__ == '__main__':
    main(*sys.argv[1:])
