//! qcow2 images and their dirty bitmaps, offline: libqcbm for Rust.
//!
//! SPDX-License-Identifier: MIT
//!
//! The headers of the library say what each call does. What is open is closed when it is dropped; what was opened of an image
//! cannot outlive it. The rest of the library is in `qcbm::sys`.
#![deny(missing_debug_implementations)]
pub use qcbm_sys as sys;

mod checkpoint;
mod delta;
mod edit;
mod error;
mod extents;
mod image;

pub use checkpoint::{create_checkpoint, verify_checkpoints, Created, Disk, Row};
pub use delta::{apply, delta_info, merge_deltas, Applied, Delta, DeltaOptions};
pub use edit::{Edit, Plan};
pub use error::{version, Code, Error, Result};
pub use extents::{Extent, Extents, SynthOptions, Synthesis};
pub use image::{Bitmap, Image, Info, Totals};
