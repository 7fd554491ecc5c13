//! Errors, and what is needed to call C.
//!
//! SPDX-License-Identifier: MIT
use crate::sys;
use std::ffi::{CStr, CString};
use std::fmt;
use std::mem::MaybeUninit;
use std::os::raw::c_char;

/// What went wrong: enum qcbm_code, by the constants of `qcbm::sys`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub i32);

impl Code {
    pub const NOTFOUND: Code = Code(sys::QCBM_E_NOTFOUND);
    pub const EXISTS: Code = Code(sys::QCBM_E_EXISTS);
    pub const LOCKED: Code = Code(sys::QCBM_E_LOCKED);
    pub const CORRUPT: Code = Code(sys::QCBM_E_CORRUPT);
    pub const UNSAFE: Code = Code(sys::QCBM_E_UNSAFE);
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The names are static.
        f.write_str(&text(unsafe { sys::qcbm_code_name(self.0) }))
    }
}

/// Why a call failed.
#[derive(Clone, Debug)]
pub struct Error {
    pub code: Code,
    pub errno: i32,
    /// Where the bad bytes lie in the image file.
    pub offset: Option<u64>,
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

pub type Result<T> = std::result::Result<T, Error>;

/// Of the library that is loaded.
pub fn version() -> String {
    text(unsafe { sys::qcbm_version() })
}

/// An empty string for NULL.
pub(crate) fn text(p: *const c_char) -> String {
    if p.is_null() {
        return String::new();
    }
    // The library gives strings that end, and this copies at once.
    unsafe { CStr::from_ptr(p) }.to_string_lossy().into_owned()
}

/// What all zeros is for structs of C: no pointer, no number.
pub(crate) fn zeroed<T>() -> T {
    // Only for the structs of `sys`, of which all zeros are valid.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

pub(crate) fn refused(what: &str) -> Error {
    let code = Code(sys::QCBM_E_ARG);
    Error { code, errno: 0, offset: None, message: format!("{}: {}", what, code) }
}

/// A string as C has it; one with a NUL character in it is refused.
pub(crate) fn c(s: &str) -> Result<CString> {
    CString::new(s).map_err(|_| refused("a NUL character in a name"))
}

/// Calls @fn with an error object.
pub(crate) fn call<F: FnOnce(*mut sys::qcbm_error) -> i32>(function: F) -> Result<i32> {
    let mut err: sys::qcbm_error = zeroed();
    let ret = function(&mut err);
    if ret >= 0 {
        return Ok(ret);
    }
    let offset = if err.offset == u64::MAX { None } else { Some(err.offset) };
    Err(Error { code: Code(err.code), errno: err.sys_errno, offset, message: text(err.message.as_ptr()) })
}

/// Calls that have no error object, and fail for an index that is out of range alone.
pub(crate) fn bare(what: &str, ret: i32) -> Result<()> {
    if ret < 0 { Err(refused(what)) } else { Ok(()) }
}

/// Strings for a struct of options, which has pointers to them until it is dropped.
#[derive(Default)]
pub(crate) struct Texts(Vec<CString>);

impl Texts {
    pub fn option(&mut self, s: Option<&str>) -> Result<*const c_char> {
        match s {
            None => Ok(std::ptr::null()),
            Some(s) => {
                self.0.push(c(s)?); // what a CString points to stays where it is when that is moved
                Ok(self.0[self.0.len() - 1].as_ptr())
            }
        }
    }

    pub fn all(&mut self, list: &[&str]) -> Result<Vec<*const c_char>> {
        list.iter().map(|s| self.option(Some(s))).collect()
    }
}
