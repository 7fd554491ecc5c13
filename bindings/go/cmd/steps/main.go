// Command steps does the steps of a file in Go; steps.c says what is printed.
//
// SPDX-License-Identifier: MIT
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"qcbm"
)

// Members of an object, name and value by turns, in their order.
type members []any

func (m members) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	for i := 0; i < len(m); i += 2 {
		value, err := plain(m[i+1])
		if err != nil {
			return nil, err
		}
		separator := ","
		if i == 0 {
			separator = "{"
		}
		fmt.Fprintf(&out, "%s%q:%s", separator, m[i], value)
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// Without the escapes that are for HTML.
func plain(value any) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	err := e.Encode(value)
	return bytes.TrimSpace(out.Bytes()), err
}

func number(word string) uint64 {
	n, _ := strconv.ParseUint(word, 10, 64)
	return n
}

func optional(word string) string {
	if word == "-" {
		return ""
	}
	return word
}

func orNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}

func with(path string, flags uint, fn func(*qcbm.Image) (any, error)) (any, error) {
	img, err := qcbm.Open(path, flags)
	if err != nil {
		return nil, err
	}
	defer img.Close()
	return fn(img)
}

func info(w []string) (any, error) {
	return with(w[0], 0, func(img *qcbm.Image) (any, error) {
		i, err := img.Info()
		return members{"version", i.Version, "virtual_size", i.VirtualSize, "cluster_size", i.ClusterSize, "refcount_bits",
			i.RefcountBits, "bitmaps", i.BitmapCount, "snapshots", i.SnapshotCount, "backing", orNull(i.BackingFile)}, err
	})
}

func list(w []string) (any, error) {
	return with(w[0], 0, func(img *qcbm.Image) (any, error) {
		bitmaps, err := img.Bitmaps()
		rows := []members{}
		for i, b := range bitmaps {
			var dirty uint64
			if dirty, err = img.DirtyBytes(i); err != nil {
				break
			}
			rows = append(rows, members{"name", b.Name, "granularity", b.Granularity, "enabled", b.Enabled, "in_use", b.InUse,
				"dirty", dirty})
		}
		return rows, err
	})
}

// Three at a time, so that there are several pages.
func dirty(e *qcbm.Extents, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	defer e.Close()
	rows := [][]any{}
	var page [3]qcbm.Extent
	for {
		n, err := e.Read(page[:])
		if err != nil || n == 0 {
			return rows, err
		}
		for _, x := range page[:n] {
			if x.Dirty {
				rows = append(rows, []any{x.Offset, x.Length, x.Zero})
			}
		}
	}
}

func extents(w []string) (any, error) {
	return with(w[0], 0, func(img *qcbm.Image) (any, error) { return dirty(img.Extents(w[1], uint(number(w[2])))) })
}

func layers(w []string) (any, error) {
	return with(w[0], 0, func(img *qcbm.Image) (any, error) { return dirty(img.Layers("", 0)) })
}

func synth(w []string) (any, error) {
	return with(w[0], qcbm.OpenWrite, func(img *qcbm.Image) (any, error) {
		r, err := img.Synth(w[1], qcbm.SynthOptions{Granularity: number(w[2]), Flags: uint(number(w[3])), Since: optional(w[4])})
		return members{"dirty", r.DirtyBytes, "granules", r.Granules, "dirty_granules", r.DirtyGranules, "granularity",
			r.Granularity, "layers", r.Layers, "notes", len(r.Notes)}, err
	})
}

func edit(w []string) (any, error) {
	return with(w[0], qcbm.OpenWrite, func(img *qcbm.Image) (any, error) {
		plan, err := img.Change(func(e *qcbm.Edit) error {
			switch name := w[2]; w[1] {
			case "add":
				return e.Add(name, number(w[3]), false)
			case "remove":
				return e.Remove(name)
			case "clear":
				return e.Clear(name)
			case "enable":
				return e.Enable(name)
			case "disable":
				return e.Disable(name)
			case "rename":
				return e.Rename(name, w[3])
			case "rotate":
				return e.Rotate(name, w[3])
			case "merge":
				return e.Merge(name, w[3])
			default:
				return e.SetRange(name, number(w[3]), number(w[4]))
			}
		})
		return members{"writes", plan.Writes, "flushes", plan.Flushes, "bytes", plan.Bytes}, err
	})
}

func check(w []string) (any, error) {
	return with(w[0], 0, func(img *qcbm.Image) (any, error) {
		t, err := img.Check()
		return members{"corruptions", t.Corruptions, "leaks", t.Leaks, "errors", t.Errors, "allocated", t.AllocatedClusters,
			"total", t.TotalClusters}, err
	})
}

func delta(w []string) (any, error) {
	return with(w[0], 0, func(img *qcbm.Image) (any, error) {
		d, err := img.Delta(w[1], qcbm.DeltaOptions{Bitmap: w[2], ID: w[3], ParentID: optional(w[4]), Created: 1})
		return members{"id", d.ID, "parent", d.ParentID, "size", d.SizeAfter, "data", d.DataBytes, "zero", d.ZeroBytes,
			"digest", d.Digest}, err
	})
}

func deltaInfo(w []string) (any, error) {
	d, err := qcbm.DeltaInfo(w[0], true)
	return members{"form", d.Form, "id", d.ID, "parent", d.ParentID, "digest", d.Digest, "records", d.Records, "data",
		d.DataBytes, "zero", d.ZeroBytes, "bitmap", d.Bitmap}, err
}

func merge(w []string) (any, error) {
	d, err := qcbm.MergeDeltas(w[0], w[1:]...)
	return members{"id", d.ID, "parent", d.ParentID, "digest", d.Digest}, err
}

func apply(w []string) (any, error) {
	a, err := qcbm.Apply(w[0], w[1], w[2:]...)
	return members{"applied", a.Applied, "already", a.Already, "data", a.DataBytes, "zero", a.ZeroBytes, "id", a.ID}, err
}

func disksOf(words []string) []qcbm.Disk {
	disks := []qcbm.Disk{}
	for _, word := range words {
		target, image, _ := strings.Cut(word, "=")
		disks = append(disks, qcbm.Disk{Target: target, Image: image})
	}
	return disks
}

func checkpoint(w []string) (any, error) {
	c, err := qcbm.CreateCheckpoint(w[0], disksOf(w[1:]))
	return members{"disks", c.Disks, "created", c.Created, "there", c.There}, err
}

func verify(w []string) (any, error) {
	found, err := qcbm.VerifyCheckpoints(disksOf(w[1:]), w[0])
	rows := []members{}
	for _, r := range found {
		bytes := any(r.DirtyBytes)
		if r.DirtyBytes == qcbm.Unknown {
			bytes = nil
		}
		rows = append(rows, members{"name", r.Checkpoint, "disk", r.Disk, "reason", r.Reason, "layers", r.Layers, "dirty", bytes})
	}
	return rows, err
}

var verbs = map[string]func([]string) (any, error){"info": info, "list": list, "extents": extents, "layers": layers,
	"synth": synth, "edit": edit, "check": check, "delta": delta, "delta-info": deltaInfo, "merge": merge, "apply": apply,
	"checkpoint": checkpoint, "verify": verify}

func step(line string) string {
	words := strings.Fields(line)
	result, err := verbs[words[0]](words[1:])
	said := members{"step", line, "result", result}
	var e *qcbm.Error
	if errors.As(err, &e) {
		offset := any(e.Offset)
		if e.Offset == qcbm.NoOffset {
			offset = nil
		}
		said = members{"step", line, "error", e.Code.String(), "offset", offset, "message", e.Message}
	} else if err != nil {
		panic(err)
	}
	out, err := plain(said)
	if err != nil {
		panic(err)
	}
	return string(out)
}

func main() {
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		panic(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		fmt.Println(step(line))
	}
}
