// Changes of bitmaps, in one commit.
//
// SPDX-License-Identifier: MIT

package qcbm

// #include <stdlib.h>
// #include <qcbm.h>
import "C"

// Edit collects changes of the bitmaps of an image, until Change returns.
type Edit struct{ p *C.struct_qcbm_edit }

// Plan is what a commit has written.
type Plan struct {
	Bytes           uint64
	Writes, Flushes uint32
}

// Change begins an edit, has fn make changes, and commits them; if fn fails nothing is changed.
func (img *Image) Change(fn func(*Edit) error) (Plan, error) {
	if err := img.usable(); err != nil {
		return Plan{}, err
	}
	var err C.struct_qcbm_error
	var e Edit
	if ret := C.qcbm_edit_begin(img.p, &e.p, &err); ret < 0 {
		return Plan{}, failed(ret, &err)
	}
	img.changing++
	defer img.changed(&e)
	if err := fn(&e); err != nil {
		return Plan{}, err
	}
	if err := img.usable(); err != nil {
		return Plan{}, err
	}
	var s C.struct_qcbm_plan_summary
	ret := C.qcbm_edit_commit(e.p, &s, C.sizeof_struct_qcbm_plan_summary, &err)
	return Plan{uint64(s.bytes_written), uint32(s.writes), uint32(s.flushes)}, failed(ret, &err)
}

func (img *Image) changed(e *Edit) {
	C.qcbm_edit_free(e.p)
	e.p = nil
	img.changing--
	if img.closing && img.changing == 0 {
		img.Close()
	}
}

func (e *Edit) named(name, other string, call func(a, b *C.char, err *C.struct_qcbm_error) C.int) error {
	if e == nil || e.p == nil {
		return ErrClosed
	}
	if err := named(name, other); err != nil {
		return err
	}
	var a arena
	defer a.free()
	var err C.struct_qcbm_error
	return failed(call(a.text(name), a.text(other), &err), &err)
}

// Add makes a clean bitmap; granularity 0 is QEMU's default.
func (e *Edit) Add(name string, granularity uint64, disabled bool) error {
	return e.named(name, "", func(a, _ *C.char, err *C.struct_qcbm_error) C.int {
		flags := C.unsigned(0)
		if disabled {
			flags = C.QCBM_BITMAP_DISABLED
		}
		return C.qcbm_edit_add(e.p, a, C.uint64_t(granularity), flags, err)
	})
}

// Remove also removes bitmaps that are in use or damaged.
func (e *Edit) Remove(name string) error {
	return e.named(name, "", func(a, _ *C.char, err *C.struct_qcbm_error) C.int { return C.qcbm_edit_remove(e.p, a, err) })
}

// Clear has nothing dirty any more.
func (e *Edit) Clear(name string) error {
	return e.named(name, "", func(a, _ *C.char, err *C.struct_qcbm_error) C.int { return C.qcbm_edit_clear(e.p, a, err) })
}

// Enable has it record.
func (e *Edit) Enable(name string) error {
	return e.named(name, "", func(a, _ *C.char, err *C.struct_qcbm_error) C.int { return C.qcbm_edit_enable(e.p, a, err) })
}

// Disable freezes it.
func (e *Edit) Disable(name string) error {
	return e.named(name, "", func(a, _ *C.char, err *C.struct_qcbm_error) C.int { return C.qcbm_edit_disable(e.p, a, err) })
}

// Rename keeps bits, state and place.
func (e *Edit) Rename(name, newName string) error {
	return e.named(name, newName, func(a, b *C.char, err *C.struct_qcbm_error) C.int { return C.qcbm_edit_rename(e.p, a, b, err) })
}

// Rotate freezes name, and adds newName, which records.
func (e *Edit) Rotate(name, newName string) error {
	return e.named(name, newName, func(a, b *C.char, err *C.struct_qcbm_error) C.int { return C.qcbm_edit_rotate(e.p, a, b, err) })
}

// Merge adds the bits of source, a bitmap of the same image.
func (e *Edit) Merge(name, source string) error {
	return e.named(name, source, func(a, b *C.char, err *C.struct_qcbm_error) C.int {
		return C.qcbm_edit_merge(e.p, a, nil, b, err)
	})
}

// SetRange marks guest bytes dirty.
func (e *Edit) SetRange(name string, offset, length uint64) error {
	return e.named(name, "", func(a, _ *C.char, err *C.struct_qcbm_error) C.int {
		return C.qcbm_edit_set_range(e.p, a, C.uint64_t(offset), C.uint64_t(length), err)
	})
}
