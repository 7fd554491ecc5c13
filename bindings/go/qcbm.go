// Package qcbm has qcow2 images and their dirty bitmaps, offline: libqcbm for Go, by cgo and pkg-config.
//
// SPDX-License-Identifier: MIT
//
// The headers of the library say what each call does. An image, and what was opened of it, is used by one goroutine at a
// time, and closed by its user. Errors of the library are *Error.
package qcbm

// #cgo pkg-config: libqcbm
// #include <stdlib.h>
// #include <string.h>
// #include <qcbm.h>
import "C"

import (
	"errors"
	"fmt"
	"strings"
	"unsafe"
)

// Flags of Open.
const (
	OpenWrite      = uint(C.QCBM_OPEN_WRITE)
	OpenForceShare = uint(C.QCBM_OPEN_FORCE_SHARE)
	OpenInfo       = uint(C.QCBM_OPEN_INFO)
	OpenNoLock     = uint(C.QCBM_OPEN_NO_LOCK)
)

// NoOffset is the Offset of an Error that has no place in the image file.
const NoOffset = uint64(C.QCBM_NO_OFFSET)

// Unknown is a figure that cannot be known.
const Unknown = uint64(C.QCBM_UNKNOWN)

// Code is what went wrong: enum qcbm_code.
type Code int

// The codes that programs ask for most; the others are in the header, and all have names.
const (
	NotFound = Code(C.QCBM_E_NOTFOUND)
	Exists   = Code(C.QCBM_E_EXISTS)
	InUse    = Code(C.QCBM_E_INUSE)
	Locked   = Code(C.QCBM_E_LOCKED)
	Corrupt  = Code(C.QCBM_E_CORRUPT)
	Unsafe   = Code(C.QCBM_E_UNSAFE)
)

func (c Code) String() string { return C.GoString(C.qcbm_code_name(C.int(c))) }

// Error is why a call failed. Code compares with errors.Is(err, qcbm.NotFound).
type Error struct {
	Code    Code
	Errno   int
	Offset  uint64 // where the bad bytes lie in the image file, or NoOffset
	Message string
}

func (e *Error) Error() string { return e.Message }

// Is tells whether target is the code of the error.
func (e *Error) Is(target error) bool {
	c, ok := target.(Code)
	return ok && c == e.Code
}

func (c Code) Error() string { return c.String() }

// ErrClosed is what comes of what is closed, and of an Edit when Change has returned.
var ErrClosed = errors.New("qcbm: it is closed")

// A string of C ends at a NUL character: what is behind it would not count, and the name be another one.
func named(names ...string) error {
	for _, name := range names {
		if strings.IndexByte(name, 0) >= 0 {
			return bare("a NUL character in a name", C.QCBM_E_ARG)
		}
	}
	return nil
}

// Version of the library that is loaded.
func Version() string { return C.GoString(C.qcbm_version()) }

func failed(ret C.int, err *C.struct_qcbm_error) error {
	if ret >= 0 {
		return nil
	}
	return &Error{Code(err.code), int(err.sys_errno), uint64(err.offset), C.GoString(&err.message[0])}
}

// Bare calls have no error object, and fail for an index that is out of range alone.
func bare(name string, ret C.int) error {
	if ret >= 0 {
		return nil
	}
	return &Error{Code(ret), 0, NoOffset, name + ": " + Code(ret).String()}
}

// A call's memory in C: what a struct of options points to must not be Go's.
type arena struct{ all []unsafe.Pointer }

func (a *arena) zeroed(size C.size_t) unsafe.Pointer {
	p := C.calloc(1, size)
	a.all = append(a.all, p)
	return p
}

// Option is NULL for an empty string.
func (a *arena) option(s string) *C.char {
	if s == "" {
		return nil
	}
	return a.text(s)
}

func (a *arena) text(s string) *C.char {
	p := C.CString(s)
	a.all = append(a.all, unsafe.Pointer(p))
	return p
}

func (a *arena) texts(s []string) (**C.char, C.size_t) {
	if len(s) == 0 {
		return nil, 0
	}
	p := (**C.char)(a.zeroed(C.size_t(len(s)) * C.size_t(unsafe.Sizeof(uintptr(0)))))
	for i, list := 0, unsafe.Slice(p, len(s)); i < len(s); i++ {
		list[i] = a.text(s[i])
	}
	return p, C.size_t(len(s))
}

func (a *arena) free() {
	for _, p := range a.all {
		C.free(p)
	}
}

// Image is an open qcow2 image.
type Image struct {
	p        *C.struct_qcbm_image
	extents  map[*Extents]struct{} // that are open
	changing int
	closing  bool // when it is changed
}

func (img *Image) usable(names ...string) error {
	if img == nil || img.p == nil || img.closing {
		return ErrClosed
	}
	return named(names...)
}

// Open opens the image path, which is locked until Close.
func Open(path string, flags uint) (*Image, error) {
	if err := named(path); err != nil {
		return nil, err
	}
	var a arena
	defer a.free()
	var err C.struct_qcbm_error
	img := Image{extents: map[*Extents]struct{}{}}
	ret := C.qcbm_open(a.text(path), C.unsigned(flags), &img.p, &err)
	if ret < 0 {
		return nil, failed(ret, &err)
	}
	return &img, nil
}

// Close drops the image and its locks, and closes what was opened of it. Within Change it is closed when that returns, and
// nothing is changed.
func (img *Image) Close() {
	if img == nil || img.p == nil {
		return
	}
	if img.changing > 0 {
		img.closing = true
		return
	}
	for e := range img.extents {
		e.Close()
	}
	C.qcbm_close(img.p)
	img.p = nil
}

// Info is what an image is.
type Info struct {
	Version, ClusterSize, RefcountBits uint32
	VirtualSize, FileSize              uint64
	SnapshotCount, BitmapCount         uint32
	BackingFile, BackingFormat         string // empty: none
}

// Info tells what was read when the image was opened.
func (img *Image) Info() (Info, error) {
	if err := img.usable(); err != nil {
		return Info{}, err
	}
	var i C.struct_qcbm_image_info
	if err := bare("info", C.qcbm_image_get_info(img.p, &i, C.sizeof_struct_qcbm_image_info)); err != nil {
		return Info{}, err
	}
	return Info{uint32(i.version), uint32(i.cluster_size), uint32(i.refcount_bits), uint64(i.virtual_size),
		uint64(i.file_size), uint32(i.snapshot_count), uint32(i.bitmap_count), C.GoString(i.backing_file),
		C.GoString(i.backing_format)}, nil
}

// Bitmap is one that is stored in an image.
type Bitmap struct {
	Name                   string
	Granularity            uint64
	InUse, Enabled, Usable bool
}

// Bitmaps lists them, in the order of the directory.
func (img *Image) Bitmaps() ([]Bitmap, error) {
	info, err := img.Info()
	if err != nil {
		return nil, err
	}
	list := make([]Bitmap, 0, info.BitmapCount)
	for i := uint32(0); i < info.BitmapCount; i++ {
		var b C.struct_qcbm_bitmap_info
		if err := bare("bitmap", C.qcbm_bitmap_get(img.p, C.uint32_t(i), &b, C.sizeof_struct_qcbm_bitmap_info)); err != nil {
			return nil, err
		}
		list = append(list, Bitmap{C.GoString(b.name), uint64(b.granularity), bool(b.in_use), bool(b.enabled), bool(b.usable)})
	}
	return list, nil
}

// DirtyBytes counts the bits of the bitmap that is at index in Bitmaps.
func (img *Image) DirtyBytes(index int) (uint64, error) {
	if err := img.usable(); err != nil {
		return 0, err
	}
	if index < 0 || uint64(index) > uint64(^uint32(0)) {
		return 0, bare("bitmap", C.QCBM_E_ARG)
	}
	var u C.struct_qcbm_bitmap_usage
	var err C.struct_qcbm_error
	ret := C.qcbm_bitmap_usage(img.p, C.uint32_t(index), &u, C.sizeof_struct_qcbm_bitmap_usage, nil, &err)
	return uint64(u.dirty_bytes), failed(ret, &err)
}

// Totals of a check.
type Totals struct{ Corruptions, Leaks, Errors, AllocatedClusters, TotalClusters uint64 }

// Check looks at the whole image.
func (img *Image) Check() (Totals, error) {
	if err := img.usable(); err != nil {
		return Totals{}, err
	}
	var r C.struct_qcbm_check_result
	var err C.struct_qcbm_error
	ret := C.qcbm_check(img.p, nil, &r, C.sizeof_struct_qcbm_check_result, &err)
	return Totals{uint64(r.corruptions), uint64(r.leaks), uint64(r.check_errors), uint64(r.allocated_clusters),
		uint64(r.total_clusters)}, failed(ret, &err)
}

func init() {
	var major, minor, patch int
	_, err := fmt.Sscanf(Version(), "%d.%d.%d", &major, &minor, &patch)
	built := C.QCBM_VERSION_MAJOR*1000000 + C.QCBM_VERSION_MINOR*1000 + C.QCBM_VERSION_PATCH
	if err != nil || major*1000000+minor*1000+patch < built {
		panic("qcbm: the library that is loaded, " + Version() + ", is older than the one this was built with")
	}
}
