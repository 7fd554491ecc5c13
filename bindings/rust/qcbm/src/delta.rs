//! Deltas: made, looked at, merged and applied.
//!
//! SPDX-License-Identifier: MIT
use crate::error::{c, call, text, zeroed, Result, Texts};
use crate::image::Image;
use crate::sys;
use std::mem::size_of;
use std::ptr;

#[derive(Debug, Default)]
pub struct DeltaOptions<'a> {
    /// `sys::QCBM_DELTA_LAYER` and others.
    pub flags: u32,
    pub bitmap: Option<&'a str>,
    pub since: Option<&'a str>,
    pub since_snapshot: Option<&'a str>,
    pub form: Option<&'a str>,
    pub id: Option<&'a str>,
    pub parent_id: Option<&'a str>,
    pub note: Option<&'a str>,
    /// Seconds since 1970; 0: now.
    pub created: i64,
}

/// What a delta says of itself.
#[derive(Debug, Default)]
pub struct Delta {
    pub form: String,
    pub id: String,
    pub parent_id: String,
    pub digest: String,
    pub bitmap: String,
    pub note: String,
    pub size_after: u64,
    pub data_bytes: u64,
    pub zero_bytes: u64,
    pub records: u64,
}

#[derive(Debug)]
pub struct Applied {
    pub applied: u32,
    pub already: u32,
    pub data_bytes: u64,
    pub zero_bytes: u64,
    pub id: String,
}

impl Image {
    /// Writes what changed to the new file `path`.
    pub fn delta(&mut self, path: &str, options: &DeltaOptions) -> Result<Delta> {
        let (path, mut texts) = (c(path)?, Texts::default());
        let mut o: sys::qcbm_delta_options = zeroed();
        o.struct_size = size_of::<sys::qcbm_delta_options>() as _;
        o.flags = options.flags;
        o.bitmap = texts.option(options.bitmap)?;
        o.since = texts.option(options.since)?;
        o.since_snapshot = texts.option(options.since_snapshot)?;
        o.form = texts.option(options.form)?;
        o.id = texts.option(options.id)?;
        o.parent_id = texts.option(options.parent_id)?;
        o.note = texts.option(options.note)?;
        o.created = options.created;
        let mut r: sys::qcbm_delta_result = zeroed();
        let size = size_of::<sys::qcbm_delta_result>() as _;
        call(|err| unsafe { sys::qcbm_delta(self.p, path.as_ptr(), -1, &o, &mut r, size, err) })?;
        Ok(Delta {
            id: text(r.id.as_ptr()),
            parent_id: text(r.parent_id.as_ptr()),
            digest: text(r.digest.as_ptr()),
            size_after: r.size_after,
            data_bytes: r.data_bytes,
            zero_bytes: r.zero_bytes,
            ..Delta::default()
        })
    }
}

/// With `verify` all of it is read.
pub fn delta_info(path: &str, verify: bool) -> Result<Delta> {
    let (path, flags) = (c(path)?, if verify { sys::QCBM_DELTA_VERIFY } else { 0 });
    let mut i: sys::qcbm_delta_info = zeroed();
    let size = size_of::<sys::qcbm_delta_info>() as _;
    call(|err| unsafe { sys::qcbm_delta_get_info(path.as_ptr(), flags, ptr::null(), &mut i, size, err) })?;
    Ok(Delta {
        form: text(i.form),
        id: text(i.id.as_ptr()),
        parent_id: text(i.parent_id.as_ptr()),
        digest: text(i.digest.as_ptr()),
        bitmap: text(i.bitmap.as_ptr()),
        note: text(i.note.as_ptr()),
        size_after: i.size_after,
        data_bytes: i.data_bytes,
        zero_bytes: i.zero_bytes,
        records: i.records,
    })
}

/// Makes one of several, in their order.
pub fn merge_deltas(path: &str, deltas: &[&str]) -> Result<Delta> {
    let (path, mut texts) = (c(path)?, Texts::default());
    let list = texts.all(deltas)?;
    let mut r: sys::qcbm_delta_merge_result = zeroed();
    let size = size_of::<sys::qcbm_delta_merge_result>() as _;
    call(|err| unsafe {
        sys::qcbm_delta_merge(list.as_ptr(), list.len() as _, path.as_ptr(), -1, ptr::null(), &mut r, size, err)
    })?;
    Ok(Delta {
        form: text(r.form),
        id: text(r.id.as_ptr()),
        parent_id: text(r.parent_id.as_ptr()),
        digest: text(r.digest.as_ptr()),
        size_after: r.size_after,
        ..Delta::default()
    })
}

/// Applies deltas to the disk `base`, in place; without `format` that is found by its first bytes.
pub fn apply(base: &str, format: Option<&str>, deltas: &[&str]) -> Result<Applied> {
    let (base, mut texts) = (c(base)?, Texts::default());
    let list = texts.all(deltas)?;
    let mut o: sys::qcbm_apply_options = zeroed();
    o.struct_size = size_of::<sys::qcbm_apply_options>() as _;
    o.base_format = texts.option(format)?;
    let mut r: sys::qcbm_apply_result = zeroed();
    let size = size_of::<sys::qcbm_apply_result>() as _;
    call(|err| unsafe { sys::qcbm_apply(base.as_ptr(), list.as_ptr(), list.len() as _, &o, &mut r, size, err) })?;
    Ok(Applied {
        applied: r.applied,
        already: r.already,
        data_bytes: r.data_bytes,
        zero_bytes: r.zero_bytes,
        id: text(r.id.as_ptr()),
    })
}
