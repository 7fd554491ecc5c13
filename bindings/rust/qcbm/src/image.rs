//! Open images.
//!
//! SPDX-License-Identifier: MIT
use crate::error::{bare, c, call, text, zeroed, Result};
use crate::sys;
use std::mem::size_of;
use std::ptr;

/// An open qcow2 image, locked until it is dropped. It belongs to one thread at a time.
#[derive(Debug)]
pub struct Image {
    pub(crate) p: *mut sys::qcbm_image,
}

// The library keeps no state of threads; what is open may go to another one.
unsafe impl Send for Image {}

#[derive(Debug)]
pub struct Info {
    pub version: u32,
    pub virtual_size: u64,
    pub file_size: u64,
    pub cluster_size: u32,
    pub refcount_bits: u32,
    pub bitmap_count: u32,
    pub snapshot_count: u32,
    pub backing_file: Option<String>,
}

#[derive(Debug)]
pub struct Bitmap {
    pub name: String,
    pub granularity: u64,
    pub enabled: bool,
    pub in_use: bool,
    pub usable: bool,
}

/// Of a check.
#[derive(Debug)]
pub struct Totals {
    pub corruptions: u64,
    pub leaks: u64,
    pub errors: u64,
    pub allocated_clusters: u64,
    pub total_clusters: u64,
}

impl Image {
    /// `flags`: `sys::QCBM_OPEN_WRITE` and others.
    pub fn open(path: &str, flags: u32) -> Result<Image> {
        let (path, mut p) = (c(path)?, ptr::null_mut());
        call(|err| unsafe { sys::qcbm_open(path.as_ptr(), flags, &mut p, err) })?;
        Ok(Image { p })
    }

    pub fn info(&self) -> Result<Info> {
        let mut i: sys::qcbm_image_info = zeroed();
        bare("info", unsafe { sys::qcbm_image_get_info(self.p, &mut i, size_of::<sys::qcbm_image_info>() as _) })?;
        Ok(Info {
            version: i.version,
            virtual_size: i.virtual_size,
            file_size: i.file_size,
            cluster_size: i.cluster_size,
            refcount_bits: i.refcount_bits,
            bitmap_count: i.bitmap_count,
            snapshot_count: i.snapshot_count,
            backing_file: if i.backing_file.is_null() { None } else { Some(text(i.backing_file)) },
        })
    }

    pub fn bitmaps(&self) -> Result<Vec<Bitmap>> {
        (0..self.info()?.bitmap_count).map(|index| self.bitmap(index)).collect()
    }

    fn bitmap(&self, index: u32) -> Result<Bitmap> {
        let mut b: sys::qcbm_bitmap_info = zeroed();
        bare("bitmap", unsafe { sys::qcbm_bitmap_get(self.p, index, &mut b, size_of::<sys::qcbm_bitmap_info>() as _) })?;
        Ok(Bitmap {
            name: text(b.name),
            granularity: b.granularity,
            enabled: b.enabled,
            in_use: b.in_use,
            usable: b.usable,
        })
    }

    /// Of the bitmap at `index` of `bitmaps()`.
    pub fn dirty_bytes(&mut self, index: u32) -> Result<u64> {
        let mut u: sys::qcbm_bitmap_usage = zeroed();
        let size = size_of::<sys::qcbm_bitmap_usage>() as _;
        call(|err| unsafe { sys::qcbm_bitmap_usage(self.p, index, &mut u, size, ptr::null(), err) })?;
        Ok(u.dirty_bytes)
    }

    pub fn check(&mut self) -> Result<Totals> {
        let mut r: sys::qcbm_check_result = zeroed();
        let size = size_of::<sys::qcbm_check_result>() as _;
        call(|err| unsafe { sys::qcbm_check(self.p, ptr::null(), &mut r, size, err) })?;
        Ok(Totals {
            corruptions: r.corruptions,
            leaks: r.leaks,
            errors: r.check_errors,
            allocated_clusters: r.allocated_clusters,
            total_clusters: r.total_clusters,
        })
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        unsafe { sys::qcbm_close(self.p) }
    }
}
