"""Open images: what they are, what is in them, and what of them is dirty

SPDX-License-Identifier: MIT
"""
import os  # noqa: F401: in a type
import struct
from typing import Any, Callable, Iterable, Iterator, List, Optional, Tuple, Union

from . import _types as t
from ._abi import ffi
from ._backend import Backend
from ._call import Call, Handle, OpenStorage, call, lib, maybe, record
from ._error import Error, error_of

Path = Union[str, bytes, 'os.PathLike[str]']
_EXTENT = struct.Struct('=QQ??6x')  # struct qcbm_extent
assert _EXTENT.size == ffi.sizeof('struct qcbm_extent')


def _fill(name: str, handle: Handle, start: int, array: Any,
          take: Callable[[int], Any] = lambda got: None) -> Tuple[int, int]:
    """A page into @array: how many elements it got, and where the next page goes on. @take gets the number while what
    they point to is there."""
    frame, err = Call(name), ffi.new('struct qcbm_error *')
    got, after = ffi.new('size_t *'), ffi.new('uint64_t *')
    size = ffi.sizeof(ffi.typeof(array).item)
    with handle.used() as pointer:
        code = getattr(lib, name)(pointer, start, array, size, len(array), got, after, err)
        frame.finish(code, err)
        take(got[0])
    return got[0], after[0]


def _records(name: str, handle: Handle, ctype: str, start: int = 0, n: int = 256) -> Iterator[Any]:
    array = ffi.new(f'struct {ctype}[]', n)
    page: List[Any] = []
    while True:
        got, start = _fill(name, handle, start, array, lambda n: page.extend(record(array[i]) for i in range(n)))
        yield from page
        page.clear()
        if got == 0:
            return


class Extents(Handle):
    """Runs of equal state of a disk, in guest order, without gaps. Iterating gives qcbm.Extent, from the begin on."""
    _close = 'qcbm_extents_close'

    @property
    def size(self) -> int:
        return int(call('qcbm_extents_size', self))

    def batches(self, start: int = 0, n: int = 65536) -> Iterator[memoryview]:
        """Up to @n extents at a time, as the library has them, 24 bytes each: offset and length as 64-bit numbers,
        dirty and zero as a byte each, 6 bytes of nothing. A view holds its content until the next one is asked for. For
        numpy: frombuffer(view, dtype=[('offset', 'u8'), ('length', 'u8'), ('dirty', '?'), ('zero', '?'), ('', 'V6')])."""
        if n < 1:  # which would look like the end
            raise ValueError('a batch has at least one extent')
        array = ffi.new('struct qcbm_extent[]', n)
        whole = memoryview(ffi.buffer(array))
        while True:
            got, start = _fill('qcbm_extents_fill', self, start, array)
            if got == 0:
                return
            yield whole[:got * _EXTENT.size]

    def __iter__(self) -> Iterator[t.Extent]:
        for view in self.batches(n=4096):
            yield from map(t.Extent._make, _EXTENT.iter_unpack(view))

    def dirty(self) -> Iterator[Tuple[int, int, bool]]:
        """Offset, length and zero of the dirty ones; zeros are told with flags=qcbm.ExtentsFlag.ZERO alone."""
        for view in self.batches(n=4096):
            yield from ((e[0], e[1], e[3]) for e in _EXTENT.iter_unpack(view) if e[2])


class CheckReport(Handle):
    """The findings of one check; .result has the totals."""
    _close = 'qcbm_check_close'
    result: t.CheckResult

    def __iter__(self) -> Iterator[t.CheckFinding]:
        return _records('qcbm_check_fill', self, 'qcbm_check_finding')

    @property
    def left_out(self) -> int:
        return int(call('qcbm_check_left_out', self))


class Chain(Handle):
    """The layers of a disk, from the top down; .broken is why it ends too early, or None."""
    _close = 'qcbm_chain_close'
    broken: Optional[Error] = None

    @staticmethod
    def open_raw(path: Path, flags: int = 0) -> 'Chain':
        """Of one raw file."""
        return Chain(call('qcbm_chain_open_raw', path, flags))

    def __len__(self) -> int:
        return int(call('qcbm_chain_count', self))

    def __getitem__(self, index: int) -> t.ChainLayer:
        if not 0 <= index < len(self):
            raise IndexError(index)
        layer: t.ChainLayer = call('qcbm_chain_get', self, index)
        layer.image = Image._of(layer.image, self) if layer.image != ffi.NULL else None
        return layer

    def map(self, start: int = 0) -> Iterator[t.MapEntry]:
        return _records('qcbm_chain_map_fill', self, 'qcbm_map_entry', start)

    def map_into(self, fn: Callable[[t.MapEntry], Any], start: int = 0, length: int = 2**64 - 1) -> None:
        """As Image.map_into(), of a chain that is open."""
        call('qcbm_chain_map', self, start, length, fn)

    def measure(self, **options: Any) -> t.Measure:
        result: t.Measure = call('qcbm_chain_measure', self, **options)
        return result

    def write_manifest(self, fn: Callable[[bytes], Any], **options: Any) -> t.ManifestInfo:
        """Give the digests of the disk to @fn, piece by piece."""
        result: t.ManifestInfo = call('qcbm_manifest_write', self, fn, **options)
        return result


class Image(Handle):
    """An open image: Image(path), Image(path, qcbm.OpenFlag.WRITE). It is locked until it is closed."""
    _close = 'qcbm_close'

    def __init__(self, path: Path, flags: int = 0) -> None:
        super().__init__(call('qcbm_open', path, flags))

    @staticmethod
    def _of(pointer: Any, owner: Optional[Handle] = None) -> 'Image':
        """What the library has opened; it is the library's if there is an @owner."""
        image = Image.__new__(Image)
        Handle.__init__(image, pointer, owner, owner is None)
        return image

    @staticmethod
    def open_fd(fd: int, flags: int = 0) -> 'Image':
        """Of a descriptor, which the image takes over, also on failure."""
        return Image._of(call('qcbm_open_fd', fd, flags))

    # What it is.

    @property
    def info(self) -> t.ImageInfo:
        result: t.ImageInfo = call('qcbm_image_get_info', self)
        return result

    def usage(self, **options: Any) -> t.ImageUsage:
        result: t.ImageUsage = call('qcbm_image_usage', self, **options)
        return result

    def luks(self) -> t.LuksInfo:
        result: t.LuksInfo = call('qcbm_image_luks', self)
        return result

    @property
    def bitmaps(self) -> List[t.BitmapInfo]:
        return [call('qcbm_bitmap_get', self, i) for i in range(self.info.bitmap_count)]

    @property
    def stale_bitmaps(self) -> List[t.BitmapInfo]:
        return [call('qcbm_stale_bitmap_get', self, i) for i in range(self.info.stale_bitmap_count)]

    def bitmap_index(self, name: Union[str, int]) -> int:
        if isinstance(name, int):
            return name
        for i, bitmap in enumerate(self.bitmaps):
            if bitmap.name == name:
                return i
        raise LookupError(f'no bitmap {name!r}')

    def check_table(self, bitmap: Union[str, int]) -> None:
        call('qcbm_bitmap_check_table', self, self.bitmap_index(bitmap))

    def bitmap_usage(self, bitmap: Union[str, int], **options: Any) -> t.BitmapUsage:
        result: t.BitmapUsage = call('qcbm_bitmap_usage', self, self.bitmap_index(bitmap), **options)
        return result

    @property
    def snapshots(self) -> List[t.SnapshotInfo]:
        return [call('qcbm_snapshot_get', self, i) for i in range(call('qcbm_snapshots_load', self))]

    @property
    def findings(self) -> List[t.Finding]:
        return [call('qcbm_finding_get', self, i) for i in range(call('qcbm_finding_count', self))]

    def each_finding(self, start: int = 0) -> Iterator[t.Finding]:
        """The same page by page, from @start on."""
        return _records('qcbm_findings_fill', self, 'qcbm_finding', start)

    def set_threads(self, n: int) -> None:
        call('qcbm_set_threads', self, n)

    def set_name(self, name: Path) -> None:
        """What an image in storage of one's own is called in chains."""
        call('qcbm_set_name', self, name)

    def set_below(self, layers: Iterable[Union[Path, Tuple[Any, Path]]]) -> None:
        """What lies below it, from the next layer down, in place of the names in the images: paths, and pairs of storage
        of one's own, or of a server, which stays open, and what that is called."""
        rows: List[Any] = []
        backends: List[Any] = []
        for layer in layers:
            if not isinstance(layer, tuple):
                rows.append((layer, None, None))
                continue
            backends.append(layer[0] if isinstance(layer[0], OpenStorage) else Backend(layer[0], stays=True))
            rows.append((layer[1], backends[-1].ops, getattr(backends[-1], 'pointer', None)))
        call('qcbm_set_below', self, rows)
        for backend in backends:
            if isinstance(backend, OpenStorage):
                backend.lend(self)
        self._keep.setdefault('below', []).extend(backends)  # what is open yet reads by those before

    def set_trace(self, fn: Optional[Callable[[t.TraceEvent], Any]]) -> None:
        """Have @fn told what is done with the files. What it raises changes nothing."""
        frame = Call('qcbm_set_trace')
        lib.qcbm_set_trace(self.pointer, frame.callback(ffi.typeof(lib.qcbm_set_trace).args[1], maybe(fn)), ffi.NULL)
        self._keep['trace'] = frame.keep

    # What is dirty.

    def extents(self, bitmap: str, **options: Any) -> Extents:
        return Extents(call('qcbm_extents_open', self, bitmap, **options), self)

    def extents_of_layers(self, since: Optional[Path] = None, **options: Any) -> Extents:
        return Extents(call('qcbm_extents_open_layers', self, maybe(since), **options), self)

    def extents_of_snapshots(self, start: str, end: Optional[str] = None, **options: Any) -> Extents:
        return Extents(call('qcbm_extents_open_snapshots', self, start, maybe(end), **options), self)

    def extents_into(self, bitmap: str, fn: Callable[[t.Extent], Any], **options: Any) -> None:
        """Each extent to @fn. Slow: extents() does not call back."""
        if options.keys() - {'flags'}:
            call('qcbm_bitmap_extents_of', self, bitmap, fn, **options)
        else:
            call('qcbm_bitmap_extents', self, bitmap, options.get('flags', 0), fn)

    def synth(self, name: str, **options: Any) -> 'Synthesis':
        """Write a bitmap of what the image has allocated; see struct qcbm_synth_options."""
        return Synthesis(call('qcbm_synth', self, name, **options))

    # The disk.

    def chain(self, partial: bool = False) -> Chain:
        """All layers; with @partial those above the first that cannot be opened."""
        if not partial:
            return Chain(call('qcbm_chain_open', self), self)
        out, err = ffi.new('struct qcbm_chain **'), ffi.new('struct qcbm_error *')
        with self.used() as pointer:
            code = lib.qcbm_chain_open_partial(pointer, out, err)
        Call('qcbm_chain_open_partial').finish(code, err)
        chain = Chain(out[0], self)
        chain.broken = error_of('qcbm_chain_open_partial', err.code, err) if code == 1 else None
        return chain

    def read(self, offset: int, length: int, flags: int = 0) -> bytes:
        """What the guest reads there."""
        data = bytearray(length)
        self.read_into(offset, data, flags)
        return bytes(data)

    def read_into(self, offset: int, buffer: Any, flags: int = 0) -> None:
        err, data = ffi.new('struct qcbm_error *'), ffi.from_buffer(buffer, require_writable=True)
        with self.used() as pointer:
            code = lib.qcbm_read(pointer, offset, data, len(data), flags, err)
        Call('qcbm_read').finish(code, err)

    def map(self, start: int = 0) -> Iterator[t.MapEntry]:
        """As qemu-img map; opens the chain."""
        with self.chain() as chain:
            yield from chain.map(start)

    def map_into(self, fn: Callable[[t.MapEntry], Any], start: int = 0, length: int = 2**64 - 1,
                 flags: int = 0) -> None:
        """The same by a callback; damage that is met becomes a finding."""
        call('qcbm_map', self, start, length, flags, fn)

    def host_map(self, fn: Callable[[t.HostExtent], Any], **options: Any) -> None:
        """Each run of clusters to @fn, with what they are used for, in the order of the image file."""
        call('qcbm_host_map', self, fn, **options)

    def measure(self, **options: Any) -> t.Measure:
        result: t.Measure = call('qcbm_measure', self, 0, **options)
        return result

    # What is wrong.

    def check(self, **options: Any) -> t.CheckResult:
        result: t.CheckResult = call('qcbm_check', self, **options)
        return result

    def report(self, **options: Any) -> CheckReport:
        """A check whose findings are kept."""
        pointer, result = call('qcbm_check_open', self, **options)
        report = CheckReport(pointer)
        report.result = result
        return report

    def verdict(self, **options: Any) -> t.Verdict:
        result: t.Verdict = call('qcbm_verdict', self, **options)
        return result

    def repair(self, **options: Any) -> t.RepairResult:
        result: t.RepairResult = call('qcbm_repair', self, **options)
        return result

    def verify_attached(self, **options: Any) -> t.AttachVerifyResult:
        result: t.AttachVerifyResult = call('qcbm_attach_verify', self, **options)
        return result

    # What goes out, and what is changed.

    def delta(self, path: Optional[Path], fd: int = -1, **options: Any) -> t.DeltaResult:
        """Write what changed to the new file @path, or to @fd; see struct qcbm_delta_options."""
        result: t.DeltaResult = call('qcbm_delta', self, maybe(path), fd, **options)
        return result

    def export(self, bitmap: str, fn: Callable[[bytes], Any], format: int = t.TransferFormat.QCBM) -> None:
        call('qcbm_bitmap_export', self, bitmap, int(format), fn)

    def undo(self, path: Path, **options: Any) -> t.UndoResult:
        result: t.UndoResult = call('qcbm_undo', self, path, **options)
        return result

    def edit(self) -> 'Edit':
        """with image.edit() as edit: ... commits at its end, or changes nothing if anything is raised."""
        return Edit(call('qcbm_edit_begin', self), self)

    def mend(self, fn: Optional[Callable[[t.RepairRow], Any]] = None) -> 'Edit':
        """An edit of an image whose bitmaps are damaged."""
        return Edit(call('qcbm_edit_begin_mending', self, maybe(fn)), self)


class Synthesis:
    """What a synthesis did."""

    def __init__(self, pointer: Any) -> None:
        try:
            self.summary: t.SynthSummary = call('qcbm_synth_result_summary', pointer)
            self.layers: List[t.SynthLayer] = [call('qcbm_synth_result_layer', pointer, i)
                                               for i in range(self.summary.layers)]
            self.notes: List[str] = [call('qcbm_synth_result_note', pointer, i) for i in range(self.summary.notes)]
        finally:
            lib.qcbm_synth_result_free(pointer)


class Edit(Handle):
    """Changes of the bitmaps of one image, made in one commit at the end of a "with", or not at all."""
    _close = 'qcbm_edit_free'
    committed: Optional[t.PlanSummary] = None

    def __exit__(self, kind: Any, *what: Any) -> None:
        try:
            if kind is None and self._lost and self.committed is None:
                raise ValueError('the image was closed before the edit was committed: nothing is changed')
            if kind is None and self._pointer is not None and self.committed is None:
                self.commit()
        finally:
            self.close()

    def commit(self) -> t.PlanSummary:
        self.committed = call('qcbm_edit_commit', self)
        assert self.committed is not None
        return self.committed

    def plan(self, fn: Optional[Callable[[t.PlanStep], Any]] = None) -> t.PlanSummary:
        """What a commit would write. Afterwards it can only be committed or closed."""
        result: t.PlanSummary = call('qcbm_edit_plan', self, maybe(fn))
        return result

    def add(self, name: str, granularity: int = 0, flags: int = 0) -> None:
        call('qcbm_edit_add', self, name, granularity, flags)

    def remove(self, name: str) -> None:
        call('qcbm_edit_remove', self, name)

    def clear(self, name: str) -> None:
        call('qcbm_edit_clear', self, name)

    def enable(self, name: str) -> None:
        call('qcbm_edit_enable', self, name)

    def disable(self, name: str) -> None:
        call('qcbm_edit_disable', self, name)

    def merge(self, name: str, source: str, image: Optional[Image] = None) -> None:
        """@source is of @image, or of the edited one."""
        call('qcbm_edit_merge', self, name, maybe(image), source)

    def intersect(self, name: str, source: str, image: Optional[Image] = None) -> None:
        call('qcbm_edit_intersect', self, name, maybe(image), source)

    def subtract(self, name: str, source: str, image: Optional[Image] = None) -> None:
        call('qcbm_edit_subtract', self, name, maybe(image), source)

    def copy(self, name: str, source: str, image: Optional[Image] = None) -> None:
        call('qcbm_edit_copy', self, name, maybe(image), source)

    def merge_grown(self, name: str, source: str, image: Optional[Image] = None) -> None:
        call('qcbm_edit_merge_grown', self, name, maybe(image), source)

    def copy_grown(self, name: str, source: str, image: Optional[Image] = None) -> None:
        call('qcbm_edit_copy_grown', self, name, maybe(image), source)

    def rename(self, name: str, new_name: str) -> None:
        call('qcbm_edit_rename', self, name, new_name)

    def rotate(self, name: str, new_name: str) -> None:
        call('qcbm_edit_rotate', self, name, new_name)

    def regranularise(self, name: str, granularity: int = 0) -> None:
        call('qcbm_edit_regranularise', self, name, granularity)

    def set_range(self, name: str, offset: int, length: int) -> None:
        call('qcbm_edit_set_range', self, name, offset, length)

    def unset_range(self, name: str, offset: int, length: int) -> None:
        call('qcbm_edit_unset_range', self, name, offset, length)

    def set_tag(self, tag: Optional[str] = None) -> None:
        """None: a new one."""
        call('qcbm_edit_set_tag', self, maybe(tag))

    def remove_tag(self) -> None:
        call('qcbm_edit_remove_tag', self)

    def look(self, name: str) -> t.EditBitmapInfo:
        result: t.EditBitmapInfo = call('qcbm_edit_look', self, name)
        return result

    def synth(self, overlay: Image, name: str, **options: Any) -> Synthesis:
        return Synthesis(call('qcbm_edit_synth', self, overlay, name, **options))

    def revive(self, name: Optional[str] = None, flags: int = 0,
               fn: Optional[Callable[[t.Revived], Any]] = None) -> None:
        call('qcbm_edit_revive', self, maybe(name), flags, maybe(fn))

    def revive_against(self, name: str, against: Path, fn: Optional[Callable[[t.Revived], Any]] = None,
                       **options: Any) -> None:
        call('qcbm_edit_revive_against', self, name, against, maybe(fn), **options)

    def collect(self, name: str, new_name: Optional[str] = None,
                fn: Optional[Callable[[t.Collected], Any]] = None) -> None:
        call('qcbm_edit_collect', self, name, maybe(new_name), maybe(fn))

    def commit_bitmaps(self, top: Image, fn: Optional[Callable[[t.CommittedBitmap], Any]] = None) -> None:
        call('qcbm_edit_commit_bitmaps', self, top, maybe(fn))

    def import_(self, name: str, fn: Callable[[int], bytes], **options: Any) -> t.ImportResult:
        """@fn gives up to so many bytes, none at the end: .read of a file."""
        result: t.ImportResult = call('qcbm_edit_import', self, name, fn, **options)
        return result

    def check_copy(self, name: str, manifest: Path, seed: int = 0, **options: Any) -> t.CopyChecked:
        result: t.CopyChecked = call('qcbm_edit_check_copy', self, name, manifest, seed, **options)
        return result

    def reset_attached(self, data: Optional[Path] = None) -> t.AttachReset:
        result: t.AttachReset = call('qcbm_edit_attach_reset', self, maybe(data))
        return result

    def set_undo(self, path: Path) -> None:
        """The commit makes this file, from which undo() can take it back."""
        call('qcbm_edit_set_undo', self, path)

    def set_progress(self, fn: Callable[[int, int], Any]) -> None:
        """What it raises stops the call that it is about, with qcbm.Aborted."""
        frame = Call('qcbm_edit_set_progress')
        lib.qcbm_edit_set_progress(self.pointer, frame.progress(fn))
        self._keep['progress'] = frame.keep


class Manifest(Handle):
    """Digests of what a disk held."""
    _close = 'qcbm_manifest_close'

    def __init__(self, path: Any) -> None:
        super().__init__(path if isinstance(path, ffi.CData) else call('qcbm_manifest_open', path))

    @property
    def info(self) -> t.ManifestInfo:
        result: t.ManifestInfo = call('qcbm_manifest_get_info', self)
        return result

    def verify(self, disk: Chain, fn: Optional[Callable[[t.ManifestRange], Any]] = None,
               **options: Any) -> t.ManifestResult:
        result: t.ManifestResult = call('qcbm_manifest_verify', self, disk, maybe(fn), **options)
        return result

    def update(self, disk: Chain, image: Image, bitmap: str, fn: Callable[[bytes], Any],
               **options: Any) -> t.ManifestInfo:
        result: t.ManifestInfo = call('qcbm_manifest_update', self, disk, image, bitmap, fn, **options)
        return result


class Dump(Handle):
    """Structures of a file, whatever is wrong with it."""
    _close = 'qcbm_dump_close'

    def __init__(self, path: Any, flags: int = 0) -> None:
        super().__init__(path if isinstance(path, ffi.CData) else call('qcbm_dump_open', path, flags))

    def part(self, kind: int, first: int = 0, last: int = 2**64 - 1, **options: Any) -> List[t.DumpItem]:
        """@kind: qcbm.DumpKind. What was read before an error is not given."""
        items: List[t.DumpItem] = []
        call('qcbm_dump_part', self, int(kind), first, last, items.append, **options)
        return items


__all__ = ['Chain', 'CheckReport', 'Dump', 'Edit', 'Extents', 'Image', 'Manifest', 'Path', 'Synthesis']
