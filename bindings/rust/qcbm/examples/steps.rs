//! The steps of steps.txt in Rust; steps.c says what is printed.
//!
//! SPDX-License-Identifier: MIT
use qcbm::{Disk, Image, Result};

fn number(word: &str) -> u64 {
    word.parse().unwrap_or(0)
}

fn optional(word: &str) -> Option<&str> {
    if word == "-" { None } else { Some(word) }
}

fn opened(path: &str, flags: u32) -> Result<Image> {
    Image::open(path, flags)
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text)
}

fn info(w: &[&str]) -> Result<String> {
    let i = opened(w[0], 0)?.info()?;
    let backing = i.backing_file.map_or("null".to_string(), |name| quoted(&name));
    Ok(format!(
        "{{\"version\":{},\"virtual_size\":{},\"cluster_size\":{},\"refcount_bits\":{},\"bitmaps\":{},\"snapshots\":{},\"backing\":{}}}",
        i.version, i.virtual_size, i.cluster_size, i.refcount_bits, i.bitmap_count, i.snapshot_count, backing
    ))
}

fn list(w: &[&str]) -> Result<String> {
    let mut image = opened(w[0], 0)?;
    let mut rows = Vec::new();
    for (index, b) in image.bitmaps()?.iter().enumerate() {
        rows.push(format!(
            "{{\"name\":\"{}\",\"granularity\":{},\"enabled\":{},\"in_use\":{},\"dirty\":{}}}",
            b.name, b.granularity, b.enabled, b.in_use, image.dirty_bytes(index as u32)?
        ));
    }
    Ok(format!("[{}]", rows.join(",")))
}

fn ranges(found: Vec<(u64, u64, bool)>) -> String {
    let rows: Vec<String> = found.iter().map(|(offset, length, zero)| format!("[{},{},{}]", offset, length, zero)).collect();
    format!("[{}]", rows.join(","))
}

fn extents(w: &[&str]) -> Result<String> {
    Ok(ranges(opened(w[0], 0)?.extents(w[1], number(w[2]) as u32)?.dirty(3)?))
}

fn layers(w: &[&str]) -> Result<String> {
    Ok(ranges(opened(w[0], 0)?.layers(None, 0)?.dirty(3)?))
}

fn synth(w: &[&str]) -> Result<String> {
    let options = qcbm::SynthOptions {
        granularity: number(w[2]),
        flags: number(w[3]) as u32,
        since: optional(w[4]),
        ..Default::default()
    };
    let r = opened(w[0], qcbm::sys::QCBM_OPEN_WRITE)?.synth(w[1], &options)?;
    let layers: Vec<String> = r.layers.iter().map(|name| quoted(name)).collect();
    Ok(format!(
        "{{\"dirty\":{},\"granules\":{},\"dirty_granules\":{},\"granularity\":{},\"layers\":[{}],\"notes\":{}}}",
        r.dirty_bytes, r.granules, r.dirty_granules, r.granularity, layers.join(","), r.notes.len()
    ))
}

fn edit(w: &[&str]) -> Result<String> {
    let mut image = opened(w[0], qcbm::sys::QCBM_OPEN_WRITE)?;
    let mut e = image.edit()?;
    match w[1] {
        "add" => e.add(w[2], number(w[3]), 0)?,
        "remove" => e.remove(w[2])?,
        "clear" => e.clear(w[2])?,
        "enable" => e.enable(w[2])?,
        "disable" => e.disable(w[2])?,
        "rename" => e.rename(w[2], w[3])?,
        "rotate" => e.rotate(w[2], w[3])?,
        "merge" => e.merge(w[2], w[3])?,
        _ => e.set_range(w[2], number(w[3]), number(w[4]))?,
    }
    let plan = e.commit()?;
    Ok(format!("{{\"writes\":{},\"flushes\":{},\"bytes\":{}}}", plan.writes, plan.flushes, plan.bytes))
}

fn check(w: &[&str]) -> Result<String> {
    let t = opened(w[0], 0)?.check()?;
    Ok(format!(
        "{{\"corruptions\":{},\"leaks\":{},\"errors\":{},\"allocated\":{},\"total\":{}}}",
        t.corruptions, t.leaks, t.errors, t.allocated_clusters, t.total_clusters
    ))
}

fn delta(w: &[&str]) -> Result<String> {
    let options = qcbm::DeltaOptions {
        bitmap: Some(w[2]),
        id: Some(w[3]),
        parent_id: optional(w[4]),
        created: 1,
        ..Default::default()
    };
    let d = opened(w[0], 0)?.delta(w[1], &options)?;
    Ok(format!(
        "{{\"id\":\"{}\",\"parent\":\"{}\",\"size\":{},\"data\":{},\"zero\":{},\"digest\":\"{}\"}}",
        d.id, d.parent_id, d.size_after, d.data_bytes, d.zero_bytes, d.digest
    ))
}

fn delta_info(w: &[&str]) -> Result<String> {
    let d = qcbm::delta_info(w[0], true)?;
    Ok(format!(
        "{{\"form\":\"{}\",\"id\":\"{}\",\"parent\":\"{}\",\"digest\":\"{}\",\"records\":{},\"data\":{},\"zero\":{},\"bitmap\":\"{}\"}}",
        d.form, d.id, d.parent_id, d.digest, d.records, d.data_bytes, d.zero_bytes, d.bitmap
    ))
}

fn merge(w: &[&str]) -> Result<String> {
    let d = qcbm::merge_deltas(w[0], &w[1..])?;
    Ok(format!("{{\"id\":\"{}\",\"parent\":\"{}\",\"digest\":\"{}\"}}", d.id, d.parent_id, d.digest))
}

fn apply(w: &[&str]) -> Result<String> {
    let a = qcbm::apply(w[0], Some(w[1]), &w[2..])?;
    Ok(format!(
        "{{\"applied\":{},\"already\":{},\"data\":{},\"zero\":{},\"id\":\"{}\"}}",
        a.applied, a.already, a.data_bytes, a.zero_bytes, a.id
    ))
}

fn disks_of<'a>(words: &[&'a str]) -> Vec<Disk<'a>> {
    let pairs = words.iter().filter_map(|word| word.split_once('='));
    pairs.map(|(target, image)| Disk { target, image, overlay: None }).collect()
}

fn checkpoint(w: &[&str]) -> Result<String> {
    let c = qcbm::create_checkpoint(w[0], &disks_of(&w[1..]))?;
    Ok(format!("{{\"disks\":{},\"created\":{},\"there\":{}}}", c.disks, c.created, c.there))
}

fn verify(w: &[&str]) -> Result<String> {
    let mut rows = Vec::new();
    for r in qcbm::verify_checkpoints(&disks_of(&w[1..]), &w[..1])? {
        let dirty = r.dirty_bytes.map_or("null".to_string(), |n| n.to_string());
        rows.push(format!(
            "{{\"name\":\"{}\",\"disk\":\"{}\",\"reason\":\"{}\",\"layers\":{},\"dirty\":{}}}",
            r.checkpoint, r.disk, r.reason, r.layers, dirty
        ));
    }
    Ok(format!("[{}]", rows.join(",")))
}

fn run(words: &[&str]) -> Result<String> {
    let verb = match words[0] {
        "info" => info,
        "list" => list,
        "extents" => extents,
        "layers" => layers,
        "synth" => synth,
        "edit" => edit,
        "check" => check,
        "delta" => delta,
        "delta-info" => delta_info,
        "merge" => merge,
        "apply" => apply,
        "checkpoint" => checkpoint,
        "verify" => verify,
        other => panic!("{}?", other),
    };
    verb(&words[1..])
}

fn main() {
    let path = std::env::args().nth(1).expect("a file of steps");
    for line in std::fs::read_to_string(path).expect("the steps").lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let rest = match run(&words) {
            Ok(result) => format!("\"result\":{}", result),
            Err(e) => format!(
                "\"error\":\"{}\",\"offset\":{},\"message\":\"{}\"",
                e.code, e.offset.map_or("null".to_string(), |o| o.to_string()), e.message
            ),
        };
        println!("{{\"step\":\"{}\",{}}}", line, rest);
    }
}
