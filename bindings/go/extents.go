// Dirty extents, page by page, and their synthesis.
//
// SPDX-License-Identifier: MIT

package qcbm

// #include <stdlib.h>
// #include <qcbm.h>
import "C"

import "unsafe"

// Extent is a run of equal state of a disk, in guest bytes.
type Extent struct {
	Offset, Length uint64
	Dirty, Zero    bool
}

// ExtentsZero has Zero filled; that opens the backing chain.
const ExtentsZero = uint(C.QCBM_EXTENTS_ZERO)

// Extents of a bitmap, or of what an image holds; closed with its image at the latest.
type Extents struct {
	img  *Image
	p    *C.struct_qcbm_extents
	next C.uint64_t
	page []C.struct_qcbm_extent
}

// Extents of a stored bitmap.
func (img *Image) Extents(bitmap string, flags uint) (*Extents, error) {
	if err := img.usable(bitmap); err != nil {
		return nil, err
	}
	return img.open(flags, func(a *arena, o *C.struct_qcbm_extents_options, out **C.struct_qcbm_extents,
		err *C.struct_qcbm_error) C.int {
		return C.qcbm_extents_open(img.p, a.text(bitmap), o, out, err)
	})
}

// Layers has dirty what the image holds, or with since, an image of its chain, all layers above that.
func (img *Image) Layers(since string, flags uint) (*Extents, error) {
	if err := img.usable(since); err != nil {
		return nil, err
	}
	return img.open(flags, func(a *arena, o *C.struct_qcbm_extents_options, out **C.struct_qcbm_extents,
		err *C.struct_qcbm_error) C.int {
		return C.qcbm_extents_open_layers(img.p, a.option(since), o, out, err)
	})
}

func (img *Image) open(flags uint, open func(*arena, *C.struct_qcbm_extents_options, **C.struct_qcbm_extents,
	*C.struct_qcbm_error) C.int) (*Extents, error) {
	var a arena
	defer a.free()
	var err C.struct_qcbm_error
	out := (**C.struct_qcbm_extents)(a.zeroed(C.size_t(unsafe.Sizeof(uintptr(0)))))
	o := C.struct_qcbm_extents_options{struct_size: C.sizeof_struct_qcbm_extents_options, flags: C.unsigned(flags),
		length: C.UINT64_MAX}
	ret := open(&a, &o, out, &err)
	if ret < 0 {
		return nil, failed(ret, &err)
	}
	e := &Extents{img: img, p: *out}
	img.extents[e] = struct{}{}
	return e, nil
}

// Seek has the next page begin at a guest offset.
func (e *Extents) Seek(offset uint64) { e.next = C.uint64_t(offset) }

// Read fills as much of into as there is, and says how much; 0 at the end.
func (e *Extents) Read(into []Extent) (int, error) {
	if e == nil || e.p == nil {
		return 0, ErrClosed
	}
	if len(into) == 0 {
		return 0, nil
	}
	if len(e.page) < len(into) {
		e.page = make([]C.struct_qcbm_extent, len(into))
	}
	var got C.size_t
	var err C.struct_qcbm_error
	ret := C.qcbm_extents_fill(e.p, e.next, &e.page[0], C.sizeof_struct_qcbm_extent, C.size_t(len(into)), &got, &e.next, &err)
	for i := range into[:got] {
		x := &e.page[i]
		into[i] = Extent{uint64(x.offset), uint64(x.length), bool(x.dirty), bool(x.zero)}
	}
	return int(got), failed(ret, &err)
}

// Close may come twice, and after that of the image.
func (e *Extents) Close() {
	if e == nil || e.p == nil {
		return
	}
	delete(e.img.extents, e)
	C.qcbm_extents_close(e.p)
	e.p = nil
}

// Flags of SynthOptions.
const (
	SynthDisabled   = uint(C.QCBM_SYNTH_DISABLED)
	SynthReplace    = uint(C.QCBM_SYNTH_REPLACE)
	SynthMerge      = uint(C.QCBM_SYNTH_MERGE)
	SynthForce      = uint(C.QCBM_SYNTH_FORCE)
	SynthForceShare = uint(C.QCBM_SYNTH_FORCE_SHARE)
)

// SynthOptions are those of struct qcbm_synth_options; zero values are defaults.
type SynthOptions struct {
	Granularity          uint64
	Since, SinceSnapshot string
	Flags                uint
}

// Synthesis is what Synth has made.
type Synthesis struct {
	Granularity, Granules, DirtyGranules, DirtyBytes uint64
	Layers, Notes                                    []string
}

// Synth writes a bitmap of what the image has allocated.
func (img *Image) Synth(name string, options SynthOptions) (Synthesis, error) {
	if err := img.usable(name, options.Since, options.SinceSnapshot); err != nil {
		return Synthesis{}, err
	}
	var a arena
	defer a.free()
	o := (*C.struct_qcbm_synth_options)(a.zeroed(C.sizeof_struct_qcbm_synth_options))
	o.struct_size = C.sizeof_struct_qcbm_synth_options
	o.granularity = C.uint64_t(options.Granularity)
	o.flags = C.unsigned(options.Flags)
	o.since = a.option(options.Since)
	o.since_snapshot = a.option(options.SinceSnapshot)
	out := (**C.struct_qcbm_synth_result)(a.zeroed(C.size_t(unsafe.Sizeof(uintptr(0)))))
	var err C.struct_qcbm_error
	if ret := C.qcbm_synth(img.p, a.text(name), o, out, &err); ret < 0 {
		return Synthesis{}, failed(ret, &err)
	}
	defer C.qcbm_synth_result_free(*out)
	return synthesis(*out)
}

func synthesis(r *C.struct_qcbm_synth_result) (Synthesis, error) {
	var s C.struct_qcbm_synth_summary
	if err := bare("synth", C.qcbm_synth_result_summary(r, &s, C.sizeof_struct_qcbm_synth_summary)); err != nil {
		return Synthesis{}, err
	}
	done := Synthesis{uint64(s.granularity), uint64(s.granules), uint64(s.dirty_granules), uint64(s.dirty_bytes), nil, nil}
	for i := C.uint32_t(0); i < s.layers; i++ {
		var layer C.struct_qcbm_synth_layer
		if err := bare("layer", C.qcbm_synth_result_layer(r, i, &layer, C.sizeof_struct_qcbm_synth_layer)); err != nil {
			return Synthesis{}, err
		}
		done.Layers = append(done.Layers, C.GoString(layer.filename))
	}
	for i := C.uint32_t(0); i < s.notes; i++ {
		done.Notes = append(done.Notes, C.GoString(C.qcbm_synth_result_note(r, i)))
	}
	return done, nil
}
