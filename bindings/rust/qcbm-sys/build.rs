//! Has the program bindgen make the declarations of the headers that pkg-config finds. No crate is needed for it.
//!
//! SPDX-License-Identifier: MIT
use std::env;
use std::path::PathBuf;
use std::process::Command;

fn output_of(program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program).args(arguments).output();
    let done = done.unwrap_or_else(|e| panic!("{}: {}", program, e));
    if !done.status.success() {
        panic!("{} {:?}: {}", program, arguments, String::from_utf8_lossy(&done.stderr));
    }
    String::from_utf8_lossy(&done.stdout).trim().to_string()
}

fn main() {
    let cflags = output_of("pkg-config", &["--cflags", "libqcbm"]);
    let out = PathBuf::from(env::var("OUT_DIR").unwrap()).join("qcbm.rs");
    let header = PathBuf::from(env::var("CARGO_MANIFEST_DIR").unwrap()).join("all.h");
    let mut command = Command::new("bindgen");
    command.arg(&header).arg("-o").arg(&out);
    command.args(["--allowlist-function", "qcbm_.*", "--allowlist-type", "qcbm_.*", "--allowlist-var", "QCBM_.*"]);
    command.args(["--no-layout-tests", "--default-enum-style", "consts", "--no-prepend-enum-name", "--no-doc-comments"]);
    command.arg("--").args(cflags.split_whitespace());
    let done = command.output().unwrap_or_else(|e| panic!("bindgen: {}", e));
    if !done.status.success() {
        panic!("bindgen: {}", String::from_utf8_lossy(&done.stderr));
    }
    for word in output_of("pkg-config", &["--libs", "libqcbm"]).split_whitespace() {
        if let Some(folder) = word.strip_prefix("-L") {
            println!("cargo:rustc-link-search=native={}", folder);
        } else if let Some(library) = word.strip_prefix("-l") {
            println!("cargo:rustc-link-lib={}", library);
        }
    }
    println!("cargo:rerun-if-changed=all.h");
    println!("cargo:rerun-if-env-changed=PKG_CONFIG_PATH");
}
