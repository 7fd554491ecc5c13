// Deltas: made, looked at, merged and applied.
//
// SPDX-License-Identifier: MIT

package qcbm

// #include <stdlib.h>
// #include <qcbm.h>
import "C"

// DeltaLayer takes what the image itself has allocated.
const DeltaLayer = uint(C.QCBM_DELTA_LAYER)

// DeltaOptions are those of struct qcbm_delta_options; zero values are defaults.
type DeltaOptions struct {
	Flags                        uint
	Bitmap, Since, SinceSnapshot string
	Form, ID, ParentID, Note     string
	Created                      int64
}

// Delta is what a delta says of itself.
type Delta struct {
	Form, ID, ParentID, Digest, Bitmap, Note string
	SizeAfter, DataBytes, ZeroBytes, Records uint64
}

// Delta writes what changed to the new file path.
func (img *Image) Delta(path string, options DeltaOptions) (Delta, error) {
	if err := img.usable(path, options.Bitmap, options.Since, options.SinceSnapshot, options.Form, options.ID, options.ParentID,
		options.Note); err != nil {
		return Delta{}, err
	}
	var a arena
	defer a.free()
	o := (*C.struct_qcbm_delta_options)(a.zeroed(C.sizeof_struct_qcbm_delta_options))
	o.struct_size = C.sizeof_struct_qcbm_delta_options
	o.flags = C.unsigned(options.Flags)
	o.bitmap, o.since, o.since_snapshot = a.option(options.Bitmap), a.option(options.Since), a.option(options.SinceSnapshot)
	o.form, o.id, o.parent_id, o.note = a.option(options.Form), a.option(options.ID), a.option(options.ParentID), a.option(options.Note)
	o.created = C.int64_t(options.Created)
	var r C.struct_qcbm_delta_result
	var err C.struct_qcbm_error
	if ret := C.qcbm_delta(img.p, a.text(path), -1, o, &r, C.sizeof_struct_qcbm_delta_result, &err); ret < 0 {
		return Delta{}, failed(ret, &err)
	}
	return Delta{ID: C.GoString(&r.id[0]), ParentID: C.GoString(&r.parent_id[0]), Digest: C.GoString(&r.digest[0]),
		SizeAfter: uint64(r.size_after), DataBytes: uint64(r.data_bytes), ZeroBytes: uint64(r.zero_bytes)}, nil
}

// DeltaInfo looks at the delta path; with verify all of it is read.
func DeltaInfo(path string, verify bool) (Delta, error) {
	if err := named(path); err != nil {
		return Delta{}, err
	}
	var a arena
	defer a.free()
	var i C.struct_qcbm_delta_info
	var err C.struct_qcbm_error
	flags := C.unsigned(0)
	if verify {
		flags = C.QCBM_DELTA_VERIFY
	}
	if ret := C.qcbm_delta_get_info(a.text(path), flags, nil, &i, C.sizeof_struct_qcbm_delta_info, &err); ret < 0 {
		return Delta{}, failed(ret, &err)
	}
	return Delta{C.GoString(i.form), C.GoString(&i.id[0]), C.GoString(&i.parent_id[0]), C.GoString(&i.digest[0]),
		C.GoString(&i.bitmap[0]), C.GoString(&i.note[0]), uint64(i.size_after), uint64(i.data_bytes),
		uint64(i.zero_bytes), uint64(i.records)}, nil
}

// MergeDeltas makes one of several, in their order.
func MergeDeltas(path string, deltas ...string) (Delta, error) {
	if err := named(append([]string{path}, deltas...)...); err != nil {
		return Delta{}, err
	}
	var a arena
	defer a.free()
	var r C.struct_qcbm_delta_merge_result
	var err C.struct_qcbm_error
	list, n := a.texts(deltas)
	ret := C.qcbm_delta_merge(list, n, a.text(path), -1, nil, &r, C.sizeof_struct_qcbm_delta_merge_result, &err)
	if ret < 0 {
		return Delta{}, failed(ret, &err)
	}
	return Delta{Form: C.GoString(r.form), ID: C.GoString(&r.id[0]), ParentID: C.GoString(&r.parent_id[0]),
		Digest: C.GoString(&r.digest[0]), SizeAfter: uint64(r.size_after)}, nil
}

// Applied is what Apply has done.
type Applied struct {
	Applied, Already     uint32
	DataBytes, ZeroBytes uint64
	ID                   string
}

// Apply applies deltas to the disk base, in place; its format is "raw", "qcow2", or empty: by its first bytes.
func Apply(base, format string, deltas ...string) (Applied, error) {
	if err := named(append([]string{base, format}, deltas...)...); err != nil {
		return Applied{}, err
	}
	var a arena
	defer a.free()
	o := (*C.struct_qcbm_apply_options)(a.zeroed(C.sizeof_struct_qcbm_apply_options))
	o.struct_size = C.sizeof_struct_qcbm_apply_options
	o.base_format = a.option(format)
	var r C.struct_qcbm_apply_result
	var err C.struct_qcbm_error
	list, n := a.texts(deltas)
	ret := C.qcbm_apply(a.text(base), list, n, o, &r, C.sizeof_struct_qcbm_apply_result, &err)
	if ret < 0 {
		return Applied{}, failed(ret, &err)
	}
	return Applied{uint32(r.applied), uint32(r.already), uint64(r.data_bytes), uint64(r.zero_bytes), C.GoString(&r.id[0])}, nil
}
