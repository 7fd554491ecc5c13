// What is not in the steps: nothing is left behind, and errors compare.
//
// SPDX-License-Identifier: MIT

package qcbm

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func image(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "image.qcow2")
	if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", path, "4M").CombinedOutput(); err != nil {
		t.Fatal(string(out))
	}
	if out, err := exec.Command("qemu-io", "-f", "qcow2", "-c", "write 64k 4k", path).CombinedOutput(); err != nil {
		t.Fatal(string(out))
	}
	return path
}

func round(t *testing.T, path string) {
	img, err := Open(path, OpenWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	if _, err := Open(path, OpenWrite); !errors.Is(err, Locked) {
		t.Fatalf("not locked: %v", err)
	}
	done, err := img.Synth("b0", SynthOptions{Flags: SynthReplace})
	if err != nil || done.DirtyBytes != 65536 {
		t.Fatal(done, err)
	}
	extents, err := img.Extents("b0", ExtentsZero)
	if err != nil {
		t.Fatal(err)
	}
	defer extents.Close()
	page := make([]Extent, 16)
	if n, err := extents.Read(page); n != 3 || err != nil || page[1] != (Extent{65536, 65536, true, false}) {
		t.Fatal(n, err, page[:n])
	}
	extents.Seek(65536 + 512)
	if n, err := extents.Read(page[:1]); n != 1 || err != nil || page[0].Length != 65536-512 {
		t.Fatal(n, err, page[0])
	}
	_, err = img.Change(func(e *Edit) error { return e.Remove("nobody") })
	var e *Error
	if !errors.Is(err, NotFound) || !errors.As(err, &e) || e.Offset != NoOffset || e.Message == "" {
		t.Fatal(err)
	}
}

func resident(t *testing.T) int {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, _ := strconv.Atoi(strings.Fields(string(text))[1])
	return pages * os.Getpagesize()
}

func descriptors(t *testing.T) int {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

func TestNothingIsLeftBehind(t *testing.T) {
	path := image(t)
	for i := 0; i < 100; i++ {
		round(t, path)
	}
	open, memory := descriptors(t), resident(t)
	for i := 0; i < 400; i++ {
		round(t, path)
	}
	if now := descriptors(t); now != open {
		t.Fatalf("%d descriptors, and %d before", now, open)
	}
	if more := resident(t) - memory; more > 4<<20 { // 10 KiB a round would be seen
		t.Fatalf("%d bytes more", more)
	}
}

func TestWhatIsClosedSaysSo(t *testing.T) {
	path := image(t)
	img, err := Open(path, OpenWrite)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := img.Synth("b0", SynthOptions{}); err != nil {
		t.Fatal(err)
	}
	extents, err := img.Extents("b0", 0)
	if err != nil {
		t.Fatal(err)
	}
	var kept *Edit
	if _, err := img.Change(func(e *Edit) error { kept = e; return nil }); err != nil {
		t.Fatal(err)
	}
	if err := kept.Remove("b0"); err != ErrClosed {
		t.Fatal(err)
	}
	_, err = img.Change(func(e *Edit) error {
		img.Close()
		return e.Remove("b0")
	})
	if err != ErrClosed {
		t.Fatal(err)
	}
	page := make([]Extent, 1)
	if _, err := extents.Read(page); err != ErrClosed {
		t.Fatal(err)
	}
	extents.Close()
	for i, image := range []*Image{img, nil} {
		image.Close()
		_, infoErr := image.Info()
		_, listErr := image.Bitmaps()
		_, bytesErr := image.DirtyBytes(0)
		_, checkErr := image.Check()
		_, extentsErr := image.Extents("b0", 0)
		_, layersErr := image.Layers("", 0)
		_, synthErr := image.Synth("b1", SynthOptions{})
		_, changeErr := image.Change(func(*Edit) error { return nil })
		_, deltaErr := image.Delta(filepath.Join(t.TempDir(), "delta"), DeltaOptions{Flags: DeltaLayer})
		for j, err := range []error{infoErr, listErr, bytesErr, checkErr, extentsErr, layersErr, synthErr, changeErr, deltaErr} {
			if err != ErrClosed {
				t.Fatal(i, j, err)
			}
		}
	}
	img, err = Open(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	if list, err := img.Bitmaps(); err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	for _, index := range []int{-1, 1, 1 << 32} {
		if _, err := img.DirtyBytes(index); err == nil {
			t.Fatal(index)
		}
	}
}

// The name up to the NUL is there: it must not be taken for the whole.
func TestNoNameEndsAtNUL(t *testing.T) {
	path := image(t)
	if _, err := Open(path+"\x00.not", 0); err == nil {
		t.Fatal("opened")
	}
	img, err := Open(path, OpenWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	if _, err := img.Synth("b0", SynthOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := img.Change(func(e *Edit) error { return e.Remove("b0\x00") }); err == nil {
		t.Fatal("removed")
	}
	if _, err := img.Extents("b0\x00", 0); err == nil {
		t.Fatal("read")
	}
	if _, err := VerifyCheckpoints([]Disk{{"vda", path + "\x00", ""}}); err == nil {
		t.Fatal("verified")
	}
	delta := filepath.Join(t.TempDir(), "delta")
	if _, err := img.Delta(delta+"\x00", DeltaOptions{Flags: DeltaLayer}); err == nil {
		t.Fatal("written")
	}
	if _, err := os.Stat(delta); err == nil {
		t.Fatal("there")
	}
}

// As docs/bindings.md says: the module has no address, and who uses it says where it lies.
func TestAnotherModuleTakesItByReplace(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":  "module program\n\ngo 1.19\n\nrequire qcbm v0.0.0\n\nreplace qcbm => " + here + "\n",
		"main.go": "package main\n\nimport (\n\t\"os\"\n\t\"qcbm\"\n)\n\nfunc main() { os.Stdout.WriteString(qcbm.Version()) }\n",
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.Command("go", "run", ".")
	command.Dir = folder
	command.Stderr = os.Stderr
	if out, err := command.Output(); err != nil || string(out) != Version() {
		t.Fatal(string(out), err)
	}
}
