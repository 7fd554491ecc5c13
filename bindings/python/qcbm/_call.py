"""The way from Python into libqcbm and back: one rule for each kind of parameter, found by its C type

SPDX-License-Identifier: MIT
"""
import contextlib
import functools
import os
import weakref
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Set, Tuple, TypeVar

from . import _types
from ._abi import ffi
from ._backend import Backend, in_storage
from ._error import error_of


def _load() -> Any:
    try:
        lib = ffi.dlopen(_types.SONAME)
    except OSError as e:
        raise ImportError(f'{_types.SONAME} is not there: {e} (package libqcbm0, or LD_LIBRARY_PATH)') from None
    found = ffi.string(lib.qcbm_version()).decode()
    if [int(n) for n in found.split('.')] < [int(n) for n in _types.VERSION.split('.')]:
        raise ImportError(f'package qcbm is for libqcbm {_types.VERSION} or later, and {_types.SONAME} is {found}')
    return lib


lib = _load()


@functools.lru_cache(maxsize=None)
def nbd_lib() -> Any:
    """libqcbm-nbd, loaded by the first call of its functions: who needs no server does without."""
    if not hasattr(_types, 'NbdFigures'):
        raise ImportError('package qcbm was made without the header of libqcbm-nbd, qcbm-nbd.h')
    try:
        return ffi.dlopen(_types.NBD_SONAME)
    except OSError as e:
        raise ImportError(f'{_types.NBD_SONAME} is not there: {e} (package libqcbm-nbd0, or LD_LIBRARY_PATH)') from None


def _function(name: str) -> Any:
    return getattr(nbd_lib() if name.startswith('qcbm_nbd_') else lib, name)


# Which field says how many bytes there are.
_LENGTH_OF = {'extra_data': 'extra_data_size', 'bytes': 'n_bytes', 'old_bytes': 'length', 'new_bytes': 'length'}


def encode(text: Any) -> bytes:
    """Names are bytes to the library: what cannot be decoded goes back as it came."""
    data = text if isinstance(text, bytes) else os.fsencode(text)
    if b'\0' in data:
        raise ValueError('a NUL character in a name')
    return data


def decode(pointer: Any) -> Optional[str]:
    return None if pointer == ffi.NULL else os.fsdecode(ffi.string(pointer))


class _Nothing:
    """What a wrapper hands on where a function takes NULL. None by itself is an argument that somebody forgot."""


_NOTHING = _Nothing()


def maybe(value: Any) -> Any:
    """Of a parameter that may be NULL: None is that."""
    return _NOTHING if value is None else value


def _struct_name(ctype: Any) -> str:
    """Of a struct or a pointer to one, else an empty string."""
    if ctype.kind == 'pointer':
        ctype = ctype.item
    return str(ctype.cname).removeprefix('struct ') if ctype.kind == 'struct' else ''


def _settable(fields: Dict[str, Any]) -> List[str]:
    """Of a struct of options what a keyword may name: not sizes, and what goes along with another one."""
    pairs = {'n_' + name for name in fields} | {name[:-len('ops')] + 'self' for name in fields if name.endswith('ops')}
    return [name for name in fields if name not in pairs and name not in ('struct_size', 'opaque')]


def _field(value: Any, struct: Any, name: str, ctype: Any) -> Any:
    if ctype.kind == 'enum':
        kind = _types.ENUMS[ctype.cname.removeprefix('enum ')]
        return kind(value) if value in kind._value2member_map_ else value
    if ctype.kind == 'primitive':
        return value
    if ctype.kind == 'struct':
        return record(value, ctype)
    if ctype.kind == 'array' and ctype.item.kind == 'struct':
        return tuple(record(v, ctype.item) for v in value)
    if ctype.item.cname == 'char':
        return decode(value)
    if ctype.item.cname in ('uint8_t', 'unsigned char'):
        length = ctype.length if ctype.kind == 'array' else getattr(struct, _LENGTH_OF[name])
        return bytes(ffi.buffer(value, length)) if ctype.kind == 'array' or value != ffi.NULL else b''
    if _struct_name(ctype) in _types.RECORDS:
        return record(value[0], ctype.item) if value != ffi.NULL else None
    return value


def record(struct: Any, ctype: Any = None) -> Any:
    """What a struct says, as an object of its own that stays."""
    ctype = ctype or ffi.typeof(struct)
    kind = _types.RECORDS[_struct_name(ctype)]
    return kind(*(_field(getattr(struct, name), struct, name, f.type) for name, f in ctype.fields))


_Self = TypeVar('_Self', bound='Handle')  # typing.Self is of Python 3.11


class Handle:
    """Something of the library that is open; closed at the end of a "with", and when nobody has it any more."""
    _close = ''
    _lost = False  # closed with what it is of

    def __init__(self, pointer: Any, parent: 'Optional[Handle]' = None, owned: bool = True) -> None:
        self._pointer, self._parent, self._owned = pointer, parent, owned
        self._children: 'weakref.WeakSet[Handle]' = weakref.WeakSet()
        self._users: Set[int] = set()  # those of them that are open; weak references are gone when garbage is finalised
        self._waits = False  # is closed by the last of its users
        self._uses: List[Handle] = []  # of which it is a user
        self._keep: Dict[str, List[Any]] = {}  # what the library points to, by what it is for
        self._calls: List[None] = []  # one for each call that is under way; a list, as its changes are atomic
        if parent is not None:
            parent._adopt(self)

    def _adopt(self, child: 'Handle') -> None:
        self._children.add(child)
        self._users.add(id(child))
        child._uses.append(self)

    def _leave(self) -> None:
        """It is closed: those whose child it was may be."""
        for parent in self._uses:
            parent._users.discard(id(self))
            if parent._waits and not parent._users:
                parent.close()
        self._uses.clear()

    @property
    def pointer(self) -> Any:
        """For functions of qcbm.lib."""
        if self._pointer is None:
            raise ValueError('it is closed')
        return self._pointer

    @contextlib.contextmanager
    def used(self) -> Iterator[Any]:
        """Its pointer for one call: meanwhile close() raises, whoever calls it, a callback or another thread."""
        self._calls.append(None)
        try:
            yield self.pointer
        finally:
            self._calls.pop()

    def _in_use(self) -> bool:
        return bool(self._calls) or any(child._in_use() for child in list(self._children))

    def close(self) -> None:
        """What was opened by it is closed first. Twice is fine. ValueError while a call with any of it is under way."""
        if self._pointer is not None and self._in_use():
            raise ValueError('it is in use by a call that has not returned')
        for child in list(self._children):
            child._lost = child._lost or child._pointer is not None
            child.close()
        self._waits = bool(self._users)
        if self._waits:  # garbage as this is, and finalised after it
            return
        pointer, self._pointer = self._pointer, None
        if pointer is not None and self._owned:
            _function(self._close)(pointer)
        self._leave()
        for handle in self._keep.pop('owned', []):  # what nobody else has
            handle.close()

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, kind: Any, *what: Any) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, '_pointer', None) is not None:
            self.close()


class OpenStorage(Handle):
    """Storage of the library's own, which is open before what reads it, and afterwards."""

    @property
    def ops(self) -> Any:
        """Of struct qcbm_io_ops, with .pointer for "self"."""
        raise NotImplementedError

    def lend(self, handle: Handle) -> None:
        """To @handle, which reads it from now on, and is closed with it."""
        self._adopt(handle)
        handle._keep.setdefault('storage', []).append(self)


class Call:
    """One call: what must live until it returns, and what its callbacks raised."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.keep: List[Any] = []
        self.handles = contextlib.ExitStack()
        self.raised: Optional[BaseException] = None

    def new(self, ctype: Any, *init: Any) -> Any:
        self.keep.append(ffi.new(ctype, *init))
        return self.keep[-1]

    def use(self, handle: Handle) -> Any:
        """The pointer of something open, which cannot be closed until the call returns."""
        return self.handles.enter_context(handle.used())

    def text(self, value: Any) -> Any:
        return ffi.NULL if value is _NOTHING else self.new('char[]', encode(value))

    def texts(self, values: Iterable[Any]) -> Tuple[Any, int]:
        if isinstance(values, (str, bytes)):  # which would be a name for each letter
            raise TypeError(f'{self.name}() takes several names there')
        items = [self.text(v) for v in values]
        return self.new('char *[]', items), len(items)

    def callback(self, ctype: Any, fn: Any) -> Any:
        """A callback stops its call by raising; what it raised comes out of the call."""
        if fn is _NOTHING:
            return ffi.NULL
        if not callable(fn):
            raise TypeError(f'{self.name}() takes a function there, and got {type(fn).__name__}')
        given, result = fn, ctype.result.cname

        def run(_opaque: Any, *args: Any) -> Any:
            try:
                return self._run(given, ctype.args[1:], args, result)
            except BaseException as e:  # goes on in finish()
                self.raised = e
                return -1

        def lost(_kind: Any, e: Any, _trace: Any) -> None:
            self.raised = e

        if result == 'void':
            self.keep.append(ffi.callback(ctype, lambda *a: run(*a) and None, onerror=lost))
        else:
            self.keep.append(ffi.callback(ctype, run, error=-1, onerror=lost))
        return self.keep[-1]

    @staticmethod
    def _run(fn: Callable[..., Any], ctypes: Any, args: Any, result: str) -> int:
        if result == 'int64_t':  # it fills a buffer
            data = fn(args[1])
            if len(data) > args[1]:
                raise ValueError(f'{len(data)} bytes, and {args[1]} were asked for')
            ffi.memmove(args[0], data, len(data))
            return len(data)
        if len(args) == 2 and ctypes[0].cname == 'void *':
            fn(bytes(ffi.buffer(args[0], args[1])))
        else:
            fn(*(decode(a) if t.cname == 'char *' else record(a[0], t.item) if _struct_name(t) else a
                 for t, a in zip(ctypes, args)))
        return 0

    def progress(self, fn: Optional[Callable[[int, int], Any]]) -> Any:
        if fn is None:
            return ffi.NULL
        ctype = dict(ffi.typeof('struct qcbm_progress').fields)['fn'].type
        return self.new('struct qcbm_progress *', {'fn': self.callback(ctype, fn)})

    def array(self, ctype: Any, values: Iterable[Any]) -> Tuple[Any, int]:
        """Structs that the caller fills, from dataclasses or tuples of their fields."""
        names = [(n, f.type) for n, f in ctype.fields]
        rows = []
        for value in values:
            fields = [getattr(value, n) for n, _ in names] if hasattr(value, '__dataclass_fields__') else list(value)
            rows.append({n: self.text(v) if t.cname == 'char *' else v
                         for (n, t), v in zip(names, fields) if v is not None})
        return self.new(ffi.getctype(ctype, '[]'), rows), len(rows)

    def options(self, name: str, given: Dict[str, Any]) -> Any:
        """A struct of options; without any, NULL."""
        if not given:
            return ffi.NULL
        struct = self.new(f'struct {name} *')
        struct.struct_size = ffi.sizeof(struct[0])
        fields = dict(ffi.typeof(struct[0]).fields)
        for field, value in {**_types.DEFAULTS[name], **given}.items():
            if field not in fields or field in ('struct_size', 'opaque'):
                raise TypeError(f'{self.name}() has no option {field!r}; it has {", ".join(_settable(fields))}')
            if value is not None:
                self._set(struct, field, fields[field].type, value)
        return struct

    def _set(self, struct: Any, field: str, ctype: Any, value: Any) -> None:
        if ctype.kind == 'array':
            ffi.memmove(getattr(struct, field), value, ctype.length)
        elif ctype.kind == 'function':
            setattr(struct, field, self.callback(ctype, value))
        elif ctype.kind != 'pointer':
            setattr(struct, field, value)
        elif ctype.cname == 'char *':
            setattr(struct, field, self.text(value))
        elif _struct_name(ctype) == 'qcbm_progress':
            setattr(struct, field, self.progress(value))
        elif _struct_name(ctype) == 'qcbm_io_ops':  # an object that is storage, or of the library
            if isinstance(value, OpenStorage):
                setattr(struct, field.removesuffix('ops') + 'self', self.use(value))
                value = value.ops
            elif not isinstance(value, ffi.CData):
                self.keep.append(Backend(value, stays=True))
                value = self.keep[-1].ops
            setattr(struct, field, value)
        elif ctype.item.kind == 'pointer':  # several texts, or several of what is open
            if ctype.item.cname == 'char *':
                pointers, n = self.texts(value)
            else:
                pointers, n = self.new(ffi.getctype(ctype.item, '[]'), [self.use(v) for v in value]), len(value)
            setattr(struct, field, pointers)
            setattr(struct, 'n_' + field, n)
        else:
            setattr(struct, field, value)

    def finish(self, code: int, err: Any) -> None:
        below, in_storage.raised = getattr(in_storage, 'raised', None), None
        if self.raised is not None:
            raise self.raised
        if below is not None and not isinstance(below, Exception):  # KeyboardInterrupt and the like
            raise below
        if code < 0:
            raise error_of(self.name, code, err) from below


class _Arguments:
    """The C arguments of a call, parameter by parameter, and what comes back in them."""

    def __init__(self, call: Call, ctypes: Any, given: Tuple[Any, ...], options: Dict[str, Any]) -> None:
        self.call, self.ctypes, self.given, self.options = call, ctypes, list(given), options
        self.c: List[Any] = []
        self.outputs: List[Callable[[], Any]] = []
        self.err: Any = None

    def next(self) -> Any:
        if not self.given:
            raise TypeError(f'{self.call.name}(): an argument is missing')
        return self.given.pop(0)

    def follows(self, at: int, *cnames: str) -> bool:
        return tuple(t.cname for t in self.ctypes[at + 1:at + 1 + len(cnames)]) == cnames

    def take(self, at: int) -> int:
        """One parameter, with those behind it that belong to it. Returns how many they are."""
        ctype = self.ctypes[at]
        name = _struct_name(ctype)
        if name == 'qcbm_error' and at == len(self.ctypes) - 1:
            self.err = self.call.new('struct qcbm_error *')
            return self.put(self.err)
        if name in _types.DEFAULTS:
            given, self.options = self.options, {}
            return self.put(self.call.options(name, given))
        if name == 'qcbm_progress':
            return self.put(self.call.progress(self.options.pop('progress', None)))
        if ctype.kind == 'function':
            return self.put(self.call.callback(ctype, self.next()), ffi.NULL)
        if name in _types.RECORDS and self.follows(at, 'size_t', 'size_t'):
            array, n = self.call.array(ctype.item, self.next())
            return self.put(array, ffi.sizeof(ctype.item), n)
        if name in _types.RECORDS and self.follows(at, 'size_t'):
            out = self.call.new(ctype)
            self.outputs.append(lambda: record(out[0]))
            return self.put(out, ffi.sizeof(ctype.item))
        if ctype.cname == 'char * *' and self.follows(at, 'size_t'):
            return self.put(*self.call.texts(self.next()))
        if ctype.cname == 'void *' and self.follows(at, 'size_t'):
            data = bytes(memoryview(self.next()))  # bytes(), of a number, would be so many zeros
            return self.put(self.call.new('char[]', data), len(data))
        return self.put(self._single(ctype))

    def _single(self, ctype: Any) -> Any:
        if ctype.cname == 'char *':
            return self.call.text(self.next())
        if ctype.kind == 'pointer' and ctype.item.kind in ('pointer', 'primitive'):
            out = self.call.new(ctype)
            text = ctype.cname == 'char * *'
            self.outputs.append(lambda: decode(out[0]) if text else out[0])
            return out
        value = self.next()
        if isinstance(value, Handle):
            return self.call.use(value)
        return ffi.NULL if value is _NOTHING else value

    def put(self, *values: Any) -> int:
        self.c.extend(values)
        return len(values)


def call(name: str, /, *given: Any, **options: Any) -> Any:
    """Call function @name of the library, or of libqcbm-nbd, of any of their headers. Given are its parameters in their
    order, but for those that Python has no use for: sizes, "opaque", what is filled, options and progress, which are
    keywords, and the error, which is raised. What is filled comes back: one thing, or a tuple of several."""
    function = _function(name)
    ctype = ffi.typeof(function)
    frame = Call(name)
    arguments = _Arguments(frame, ctype.args, given, options)
    with frame.handles:
        at = 0
        while at < len(ctype.args):
            at += arguments.take(at)
        if arguments.given or arguments.options:
            raise TypeError(f'{name}() does not take {list(arguments.options) or "so many arguments"}')
        result = function(*arguments.c)
        return _answer(frame, arguments, ctype, result)


def _answer(frame: Call, arguments: _Arguments, ctype: Any, result: Any) -> Any:
    if ctype.result.cname in ('int', 'void'):
        frame.finish(result or 0, arguments.err)
        outputs = [output() for output in arguments.outputs]
        return outputs[0] if len(outputs) == 1 else tuple(outputs) or None
    if ctype.result.cname == 'char *':
        return decode(result)
    if _struct_name(ctype.result) in _types.RECORDS:
        return record(result[0]) if result != ffi.NULL else None
    return result
