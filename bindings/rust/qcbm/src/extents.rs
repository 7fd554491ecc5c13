//! Dirty extents, page by page, and their synthesis.
//!
//! SPDX-License-Identifier: MIT
use crate::error::{bare, c, call, text, zeroed, Result, Texts};
use crate::image::Image;
use crate::sys;
use std::marker::PhantomData;
use std::mem::size_of;
use std::ptr;

/// A run of equal state of a disk, in guest bytes: offset, length, dirty, zero.
pub type Extent = sys::qcbm_extent;

/// Extents of a bitmap, or of what an image holds; `&mut` of the image, as a commit would make them void.
#[derive(Debug)]
pub struct Extents<'a> {
    p: *mut sys::qcbm_extents,
    next: u64,
    image: PhantomData<&'a mut Image>,
}

impl Extents<'_> {
    /// The next page begins at this guest offset.
    pub fn seek(&mut self, offset: u64) {
        self.next = offset;
    }

    /// Fills as much of `into` as there is, and says how much; 0 at the end.
    pub fn read(&mut self, into: &mut [Extent]) -> Result<usize> {
        let (mut got, mut next) = (0, 0);
        let (from, size, n) = (self.next, size_of::<Extent>() as _, into.len() as _);
        call(|err| unsafe {
            sys::qcbm_extents_fill(self.p, from, into.as_mut_ptr(), size, n, &mut got, &mut next, err)
        })?;
        self.next = next;
        Ok(got as usize)
    }

    /// Offset, length and zero of the dirty ones, from the begin on.
    pub fn dirty(&mut self, page: usize) -> Result<Vec<(u64, u64, bool)>> {
        let mut page = vec![Extent { offset: 0, length: 0, dirty: false, zero: false }; page.max(1)];
        let mut found = Vec::new();
        self.seek(0);
        loop {
            let n = self.read(&mut page)?;
            if n == 0 {
                return Ok(found);
            }
            found.extend(page[..n].iter().filter(|e| e.dirty).map(|e| (e.offset, e.length, e.zero)));
        }
    }
}

impl Drop for Extents<'_> {
    fn drop(&mut self) {
        unsafe { sys::qcbm_extents_close(self.p) }
    }
}

#[derive(Debug, Default)]
pub struct SynthOptions<'a> {
    /// 0: QEMU's default.
    pub granularity: u64,
    pub since: Option<&'a str>,
    pub since_snapshot: Option<&'a str>,
    /// `sys::QCBM_SYNTH_REPLACE` and others.
    pub flags: u32,
}

#[derive(Debug)]
pub struct Synthesis {
    pub granularity: u64,
    pub granules: u64,
    pub dirty_granules: u64,
    pub dirty_bytes: u64,
    pub layers: Vec<String>,
    pub notes: Vec<String>,
}

impl Image {
    /// Of a stored bitmap. `flags`: `sys::QCBM_EXTENTS_ZERO` and others.
    pub fn extents(&mut self, bitmap: &str, flags: u32) -> Result<Extents<'_>> {
        let bitmap = c(bitmap)?;
        self.extents_by(flags, |img, o, out, err| unsafe { sys::qcbm_extents_open(img, bitmap.as_ptr(), o, out, err) })
    }

    /// What the image holds, or all layers above `since`.
    pub fn layers(&mut self, since: Option<&str>, flags: u32) -> Result<Extents<'_>> {
        let mut texts = Texts::default();
        let since = texts.option(since)?;
        self.extents_by(flags, |img, o, out, err| unsafe { sys::qcbm_extents_open_layers(img, since, o, out, err) })
    }

    fn extents_by<F>(&mut self, flags: u32, open: F) -> Result<Extents<'_>>
    where
        F: FnOnce(
            *mut sys::qcbm_image,
            *const sys::qcbm_extents_options,
            *mut *mut sys::qcbm_extents,
            *mut sys::qcbm_error,
        ) -> i32,
    {
        let mut options: sys::qcbm_extents_options = zeroed();
        options.struct_size = size_of::<sys::qcbm_extents_options>() as _;
        options.flags = flags;
        options.length = u64::MAX;
        let mut p = ptr::null_mut();
        call(|err| open(self.p, &options, &mut p, err))?;
        Ok(Extents { p, next: 0, image: PhantomData })
    }

    /// Writes a bitmap of what the image has allocated.
    pub fn synth(&mut self, name: &str, options: &SynthOptions) -> Result<Synthesis> {
        let (name, mut texts, mut p) = (c(name)?, Texts::default(), ptr::null_mut());
        let mut o: sys::qcbm_synth_options = zeroed();
        o.struct_size = size_of::<sys::qcbm_synth_options>() as _;
        o.granularity = options.granularity;
        o.flags = options.flags;
        o.since = texts.option(options.since)?;
        o.since_snapshot = texts.option(options.since_snapshot)?;
        call(|err| unsafe { sys::qcbm_synth(self.p, name.as_ptr(), &o, &mut p, err) })?;
        let done = synthesis(p);
        unsafe { sys::qcbm_synth_result_free(p) };
        done
    }
}

fn synthesis(p: *const sys::qcbm_synth_result) -> Result<Synthesis> {
    let mut s: sys::qcbm_synth_summary = zeroed();
    bare("synth", unsafe { sys::qcbm_synth_result_summary(p, &mut s, size_of::<sys::qcbm_synth_summary>() as _) })?;
    let layer = |index| {
        let mut layer: sys::qcbm_synth_layer = zeroed();
        let size = size_of::<sys::qcbm_synth_layer>() as _;
        bare("layer", unsafe { sys::qcbm_synth_result_layer(p, index, &mut layer, size) })?;
        Ok(text(layer.filename))
    };
    Ok(Synthesis {
        granularity: s.granularity,
        granules: s.granules,
        dirty_granules: s.dirty_granules,
        dirty_bytes: s.dirty_bytes,
        layers: (0..s.layers).map(layer).collect::<Result<_>>()?,
        notes: (0..s.notes).map(|index| text(unsafe { sys::qcbm_synth_result_note(p, index) })).collect(),
    })
}
