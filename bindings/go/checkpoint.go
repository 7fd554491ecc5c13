// Checkpoints over several disks.
//
// SPDX-License-Identifier: MIT

package qcbm

// #include <stdlib.h>
// #include <qcbm.h>
import "C"

import "unsafe"

// Disk of a machine that does not run. Overlay, if not empty, is a new image on top of it.
type Disk struct{ Target, Image, Overlay string }

func namesOf(disks []Disk, names ...string) []string {
	for _, d := range disks {
		names = append(names, d.Target, d.Image, d.Overlay)
	}
	return names
}

func (a *arena) disks(disks []Disk) (*C.struct_qcbm_checkpoint_disk, C.size_t) {
	p := (*C.struct_qcbm_checkpoint_disk)(a.zeroed(C.size_t(len(disks)+1) * C.sizeof_struct_qcbm_checkpoint_disk))
	for i, d := range disks {
		to := &unsafe.Slice(p, len(disks))[i]
		to.target, to.image, to.overlay = a.text(d.Target), a.text(d.Image), a.option(d.Overlay)
	}
	return p, C.size_t(len(disks))
}

// Created says on how many disks a checkpoint was made.
type Created struct{ Disks, Created, There uint32 }

// CreateCheckpoint makes a clean bitmap on all disks, or on none.
func CreateCheckpoint(name string, disks []Disk) (Created, error) {
	if err := named(namesOf(disks, name)...); err != nil {
		return Created{}, err
	}
	var a arena
	defer a.free()
	var r C.struct_qcbm_checkpoint_result
	var err C.struct_qcbm_error
	list, n := a.disks(disks)
	ret := C.qcbm_checkpoint_create(a.text(name), list, C.sizeof_struct_qcbm_checkpoint_disk, n, nil, &r,
		C.sizeof_struct_qcbm_checkpoint_result, &err)
	return Created{uint32(r.disks), uint32(r.created), uint32(r.there)}, failed(ret, &err)
}

// Row is a checkpoint on a disk.
type Row struct {
	Checkpoint, Disk, Reason string // "valid", or why it is not
	Layers                   uint32
	DirtyBytes               uint64 // or Unknown
}

// VerifyCheckpoints says what libvirt would say of checkpoints; without names of all that are found.
func VerifyCheckpoints(disks []Disk, names ...string) ([]Row, error) {
	if err := named(namesOf(disks, names...)...); err != nil {
		return nil, err
	}
	var a arena
	defer a.free()
	o := (*C.struct_qcbm_checkpoint_verify_options)(a.zeroed(C.sizeof_struct_qcbm_checkpoint_verify_options))
	o.struct_size = C.sizeof_struct_qcbm_checkpoint_verify_options
	o.names, o.n_names = a.texts(names)
	out := (**C.struct_qcbm_checkpoint_report)(a.zeroed(C.size_t(unsafe.Sizeof(uintptr(0)))))
	var err C.struct_qcbm_error
	list, n := a.disks(disks)
	ret := C.qcbm_checkpoint_verify(list, C.sizeof_struct_qcbm_checkpoint_disk, n, o, out, &err)
	if ret < 0 {
		return nil, failed(ret, &err)
	}
	defer C.qcbm_checkpoint_report_free(*out)
	var rows []Row
	for i := C.uint32_t(0); ; i++ {
		var r C.struct_qcbm_checkpoint_row
		if C.qcbm_checkpoint_report_row(*out, i, &r, C.sizeof_struct_qcbm_checkpoint_row) < 0 {
			return rows, nil
		}
		rows = append(rows, Row{C.GoString(r.checkpoint), C.GoString(r.disk), C.GoString(C.qcbm_checkpoint_reason_name(r.reason)),
			uint32(r.layers), uint64(r.dirty_bytes)})
	}
}
