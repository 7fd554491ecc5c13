//! Changes of bitmaps, in one commit.
//!
//! SPDX-License-Identifier: MIT
use crate::error::{c, call, zeroed, Result};
use crate::image::Image;
use crate::sys;
use std::marker::PhantomData;
use std::mem::size_of;
use std::ptr;

/// Collects changes; dropped without a commit, it changes nothing.
#[derive(Debug)]
pub struct Edit<'a> {
    p: *mut sys::qcbm_edit,
    image: PhantomData<&'a mut Image>,
}

/// What a commit has written.
#[derive(Debug)]
pub struct Plan {
    pub bytes: u64,
    pub writes: u32,
    pub flushes: u32,
}

impl Image {
    pub fn edit(&mut self) -> Result<Edit<'_>> {
        let mut p = ptr::null_mut();
        call(|err| unsafe { sys::qcbm_edit_begin(self.p, &mut p, err) })?;
        Ok(Edit { p, image: PhantomData })
    }
}

impl Edit<'_> {
    pub fn commit(self) -> Result<Plan> {
        let mut s: sys::qcbm_plan_summary = zeroed();
        let size = size_of::<sys::qcbm_plan_summary>() as _;
        call(|err| unsafe { sys::qcbm_edit_commit(self.p, &mut s, size, err) })?;
        Ok(Plan { bytes: s.bytes_written, writes: s.writes, flushes: s.flushes })
    }

    /// `granularity` 0 is QEMU's default; `flags`: `sys::QCBM_BITMAP_DISABLED`.
    pub fn add(&mut self, name: &str, granularity: u64, flags: u32) -> Result<()> {
        let name = c(name)?;
        call(|err| unsafe { sys::qcbm_edit_add(self.p, name.as_ptr(), granularity, flags, err) }).map(drop)
    }

    pub fn remove(&mut self, name: &str) -> Result<()> {
        let name = c(name)?;
        call(|err| unsafe { sys::qcbm_edit_remove(self.p, name.as_ptr(), err) }).map(drop)
    }

    pub fn clear(&mut self, name: &str) -> Result<()> {
        let name = c(name)?;
        call(|err| unsafe { sys::qcbm_edit_clear(self.p, name.as_ptr(), err) }).map(drop)
    }

    pub fn enable(&mut self, name: &str) -> Result<()> {
        let name = c(name)?;
        call(|err| unsafe { sys::qcbm_edit_enable(self.p, name.as_ptr(), err) }).map(drop)
    }

    pub fn disable(&mut self, name: &str) -> Result<()> {
        let name = c(name)?;
        call(|err| unsafe { sys::qcbm_edit_disable(self.p, name.as_ptr(), err) }).map(drop)
    }

    pub fn rename(&mut self, name: &str, new_name: &str) -> Result<()> {
        let (name, new_name) = (c(name)?, c(new_name)?);
        call(|err| unsafe { sys::qcbm_edit_rename(self.p, name.as_ptr(), new_name.as_ptr(), err) }).map(drop)
    }

    pub fn rotate(&mut self, name: &str, new_name: &str) -> Result<()> {
        let (name, new_name) = (c(name)?, c(new_name)?);
        call(|err| unsafe { sys::qcbm_edit_rotate(self.p, name.as_ptr(), new_name.as_ptr(), err) }).map(drop)
    }

    /// Of bitmaps of the same image.
    pub fn merge(&mut self, name: &str, source: &str) -> Result<()> {
        let (name, source) = (c(name)?, c(source)?);
        call(|err| unsafe { sys::qcbm_edit_merge(self.p, name.as_ptr(), ptr::null_mut(), source.as_ptr(), err) }).map(drop)
    }

    pub fn set_range(&mut self, name: &str, offset: u64, length: u64) -> Result<()> {
        let name = c(name)?;
        call(|err| unsafe { sys::qcbm_edit_set_range(self.p, name.as_ptr(), offset, length, err) }).map(drop)
    }
}

impl Drop for Edit<'_> {
    fn drop(&mut self) {
        unsafe { sys::qcbm_edit_free(self.p) }
    }
}
