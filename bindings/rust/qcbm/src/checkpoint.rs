//! Checkpoints over several disks.
//!
//! SPDX-License-Identifier: MIT
use crate::error::{c, call, text, zeroed, Result, Texts};
use crate::sys;
use std::mem::size_of;
use std::ptr;

/// Of a machine that does not run. An overlay is a new image on top of it.
#[derive(Debug)]
pub struct Disk<'a> {
    pub target: &'a str,
    pub image: &'a str,
    pub overlay: Option<&'a str>,
}

#[derive(Debug)]
pub struct Created {
    pub disks: u32,
    pub created: u32,
    pub there: u32,
}

/// A checkpoint on a disk.
#[derive(Debug)]
pub struct Row {
    pub checkpoint: String,
    pub disk: String,
    /// "valid", or why it is not.
    pub reason: String,
    pub layers: u32,
    pub dirty_bytes: Option<u64>,
}

fn list_of(disks: &[Disk], texts: &mut Texts) -> Result<Vec<sys::qcbm_checkpoint_disk>> {
    let mut list = Vec::new();
    for d in disks {
        list.push(sys::qcbm_checkpoint_disk {
            target: texts.option(Some(d.target))?,
            image: texts.option(Some(d.image))?,
            overlay: texts.option(d.overlay)?,
        });
    }
    Ok(list)
}

/// A clean bitmap on all disks, or on none.
pub fn create_checkpoint(name: &str, disks: &[Disk]) -> Result<Created> {
    let (name, mut texts) = (c(name)?, Texts::default());
    let list = list_of(disks, &mut texts)?;
    let mut r: sys::qcbm_checkpoint_result = zeroed();
    let (each, size) = (size_of::<sys::qcbm_checkpoint_disk>() as _, size_of::<sys::qcbm_checkpoint_result>() as _);
    let n = list.len() as _;
    call(|err| unsafe {
        sys::qcbm_checkpoint_create(name.as_ptr(), list.as_ptr(), each, n, ptr::null(), &mut r, size, err)
    })?;
    Ok(Created { disks: r.disks, created: r.created, there: r.there })
}

/// What libvirt would say of checkpoints; without names of all that are found.
pub fn verify_checkpoints(disks: &[Disk], names: &[&str]) -> Result<Vec<Row>> {
    let mut texts = Texts::default();
    let (list, names) = (list_of(disks, &mut texts)?, texts.all(names)?);
    let mut o: sys::qcbm_checkpoint_verify_options = zeroed();
    o.struct_size = size_of::<sys::qcbm_checkpoint_verify_options>() as _;
    o.names = names.as_ptr();
    o.n_names = names.len() as _;
    let (each, n, mut p) = (size_of::<sys::qcbm_checkpoint_disk>() as _, list.len() as _, ptr::null_mut());
    call(|err| unsafe { sys::qcbm_checkpoint_verify(list.as_ptr(), each, n, &o, &mut p, err) })?;
    let mut rows = Vec::new();
    let mut r: sys::qcbm_checkpoint_row = zeroed();
    let size = size_of::<sys::qcbm_checkpoint_row>() as _;
    while unsafe { sys::qcbm_checkpoint_report_row(p, rows.len() as u32, &mut r, size) } == 0 {
        rows.push(Row {
            checkpoint: text(r.checkpoint),
            disk: text(r.disk),
            reason: text(unsafe { sys::qcbm_checkpoint_reason_name(r.reason) }),
            layers: r.layers,
            dirty_bytes: if r.dirty_bytes == u64::MAX { None } else { Some(r.dirty_bytes) },
        });
    }
    unsafe { sys::qcbm_checkpoint_report_free(p) };
    Ok(rows)
}
