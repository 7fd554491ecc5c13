"""Work on files by name: checkpoints over several disks, deltas, raw disks, undo, rescue, fields by hand

SPDX-License-Identifier: MIT
"""
from typing import Any, Callable, Iterable, List, Optional, Sequence, Tuple, Union

from . import _types as t
from ._call import Call, Handle, call, maybe
from ._abi import ffi
from ._call import lib, record
from ._error import Error
from .image import Path

Disk = Union[t.CheckpointDisk, Tuple[str, Path], Tuple[str, Path, Optional[Path]]]


def create_checkpoint(name: str, disks: Iterable[Disk], **options: Any) -> t.CheckpointResult:
    result: t.CheckpointResult = call('qcbm_checkpoint_create', name, disks, **options)
    return result


def recover_checkpoint(journal: Path, **options: Any) -> t.RecoverResult:
    result: t.RecoverResult = call('qcbm_checkpoint_recover', journal, **options)
    return result


class CheckpointReport:
    """What libvirt would say of checkpoints."""

    def __init__(self, pointer: Any) -> None:
        try:
            self.summary: t.CheckpointSummary = call('qcbm_checkpoint_report_summary', pointer)
            self.rows: List[t.CheckpointRow] = [call('qcbm_checkpoint_report_row', pointer, i)
                                                for i in range(self.summary.rows)]
            self.remarks: List[t.CheckpointRemark] = [call('qcbm_checkpoint_report_remark', pointer, i)
                                                      for i in range(self.summary.remarks)]
        finally:
            lib.qcbm_checkpoint_report_free(pointer)


def verify_checkpoints(disks: Iterable[Disk], **options: Any) -> CheckpointReport:
    return CheckpointReport(call('qcbm_checkpoint_verify', disks, **options))


def mend_checkpoint(disks: Iterable[Disk], name: str, **options: Any) -> None:
    call('qcbm_checkpoint_mend', disks, name, **options)


def reclaim_checkpoints(disks: Iterable[Disk], keep: Iterable[str], **options: Any) -> None:
    call('qcbm_checkpoint_reclaim', disks, keep=list(keep), **options)


class CheckpointXml(Handle):
    """libvirt's XML of a checkpoint."""
    _close = 'qcbm_checkpoint_xml_free'

    def __init__(self, text: Union[str, bytes]) -> None:
        super().__init__(call('qcbm_checkpoint_xml_read', text.encode() if isinstance(text, str) else text))

    @property
    def info(self) -> t.CheckpointXmlInfo:
        result: t.CheckpointXmlInfo = call('qcbm_checkpoint_xml_get_info', self)
        return result

    @property
    def disks(self) -> List[t.CheckpointXmlDisk]:
        return [call('qcbm_checkpoint_xml_get_disk', self, i) for i in range(self.info.disks)]

    @staticmethod
    def write(fn: Callable[[bytes], Any], **content: Any) -> None:
        """@content: the fields of struct qcbm_checkpoint_xml_content."""
        call('qcbm_checkpoint_xml_write', fn, **content)


class DomainXml(Handle):
    """libvirt's XML of a domain."""
    _close = 'qcbm_domain_xml_free'

    def __init__(self, text: Union[str, bytes]) -> None:
        super().__init__(call('qcbm_domain_xml_read', text.encode() if isinstance(text, str) else text))

    @property
    def info(self) -> t.DomainXmlInfo:
        result: t.DomainXmlInfo = call('qcbm_domain_xml_get_info', self)
        return result

    @property
    def disks(self) -> List[t.DomainXmlDisk]:
        return [call('qcbm_domain_xml_get_disk', self, i) for i in range(self.info.disks)]


def delta_info(path: Path, flags: int = 0, **options: Any) -> t.DeltaInfo:
    result: t.DeltaInfo = call('qcbm_delta_get_info', path, flags, **options)
    return result


def merge_deltas(deltas: Sequence[Path], path: Optional[Path], fd: int = -1, **options: Any) -> t.DeltaMergeResult:
    result: t.DeltaMergeResult = call('qcbm_delta_merge', deltas, maybe(path), fd, **options)
    return result


def apply(base: Path, deltas: Sequence[Path], **options: Any) -> t.ApplyResult:
    """Apply deltas to a disk, in place or with new_path into a new file."""
    result: t.ApplyResult = call('qcbm_apply', base, deltas, **options)
    return result


def check_applied(path: Path) -> None:
    """Raises qcbm.Unsafe if a delta has been applied to that disk in part."""
    call('qcbm_apply_check_finished', path)


def load_digest(digest: t.Digest) -> None:
    call('qcbm_digest_load', int(digest))


def attach(data: Path, path: Path, **options: Any) -> t.AttachResult:
    """A metadata image of a raw disk."""
    result: t.AttachResult = call('qcbm_attach', data, path, **options)
    return result


def measure_attached(size: int, cluster_size: int, extended_l2: bool = False) -> int:
    return int(call('qcbm_attach_measure', size, cluster_size, extended_l2))


def measure_bitmap(size: int, cluster_size: int, granularity: int) -> t.BitmapMeasure:
    result: t.BitmapMeasure = call('qcbm_bitmap_measure', size, cluster_size, granularity)
    return result


def measure_new(size: int, **options: Any) -> t.Measure:
    """How large a new image for a disk of @size bytes would be."""
    result: t.Measure = call('qcbm_measure', maybe(None), size, **options)
    return result


def undo(image: Path, path: Path, flags: int = t.OpenFlag.WRITE, **options: Any) -> t.UndoResult:
    """Of an image that need not open."""
    result: t.UndoResult = call('qcbm_undo_path', image, flags, path, **options)
    return result


def rescue(path: Path, new_path: Optional[Path], **options: Any) -> t.RescueResult:
    result: t.RescueResult = call('qcbm_rescue', path, maybe(new_path), **options)
    return result


def edit_fields(path: Path, edits: Sequence[str], flags: int = t.OpenFlag.WRITE, **options: Any) -> t.EditFieldsResult:
    result: t.EditFieldsResult = call('qcbm_edit_fields', path, flags, edits, **options)
    return result


def verdict_refused(why: Error, **options: Any) -> t.Verdict:
    """The verdict on an image that was not opened because of @why."""
    frame, out, err = Call('qcbm_verdict_refused'), ffi.new('struct qcbm_verdict *'), ffi.new('struct qcbm_error *')
    reason = ffi.new('struct qcbm_error *', {
        'code': int(why.code), 'sys_errno': why.errno, 'message': why.message.encode()[:511],
        'offset': t.NO_OFFSET if why.offset is None else why.offset})
    given = frame.options('qcbm_verdict_options', options)
    frame.finish(lib.qcbm_verdict_refused(reason, given, out, ffi.sizeof(out[0]), err), err)
    result: t.Verdict = record(out[0])
    return result


def probe(path: Path) -> str:
    """The format that the first bytes of a file show."""
    return str(call('qcbm_probe', path))


def same_file(a: Path, b: Path) -> bool:
    return bool(call('qcbm_same_file', a, b))


def local_name(name: str) -> Optional[str]:
    result: Optional[str] = call('qcbm_local_name', name)
    return result


def set_manners(flags: int = 0, max_read_bytes: int = 0) -> None:
    """How this process reads files from now on; @flags: qcbm.MannersFlag, bytes a second, 0 for no bound."""
    call('qcbm_set_manners', flags, max_read_bytes)


def problems() -> List[t.Problem]:
    """The table of all that can be wrong with an image."""
    found: List[t.Problem] = []
    while (problem := call('qcbm_problem_get', len(found))) is not None:
        found.append(problem)
    return found


def code_name(code: int) -> str:
    return str(call('qcbm_code_name', code))


def reason_name(reason: t.CheckpointReason) -> str:
    return str(call('qcbm_checkpoint_reason_name', int(reason)))


def way_name(way: t.MendedWay) -> str:
    return str(call('qcbm_mended_way_name', int(way)))


def version() -> str:
    """Of the library that is loaded."""
    return str(call('qcbm_version'))
