//! libqcbm as C has it. Crate qcbm is on top of this.
//!
//! SPDX-License-Identifier: MIT
#![allow(non_camel_case_types, non_snake_case, non_upper_case_globals, clippy::all)]

include!(concat!(env!("OUT_DIR"), "/qcbm.rs"));
