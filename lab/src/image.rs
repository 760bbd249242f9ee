//! A container image of one program, as the archive that `docker save` writes and `ctr images import` reads.

use std::fs::File;
use std::path::Path;

use anyhow::Result;
use serde_json::json;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// Writes an image with `program` at `path` as its only file and its entry point.
pub fn write(out: &Path, names: &[&str], program: &[u8], path: &str) -> Result<()> {
    let mut layer = Builder::new(Vec::new());
    append(&mut layer, path.trim_start_matches('/'), 0o755, program)?;
    let layer = layer.into_inner()?;
    let configuration = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": [path], "Env": ["PATH=/"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex(&layer))]},
        "history": [{"created_by": "kubewright lab"}],
    })
    .to_string();
    let configuration_name = format!("{}.json", hex(configuration.as_bytes()));
    let manifest = json!([{"Config": configuration_name, "RepoTags": names, "Layers": ["layer/layer.tar"]}]).to_string();

    let mut archive = Builder::new(File::create(out)?);
    append(&mut archive, &configuration_name, 0o644, configuration.as_bytes())?;
    append(&mut archive, "layer/layer.tar", 0o644, &layer)?;
    append(&mut archive, "manifest.json", 0o644, manifest.as_bytes())?;
    archive.finish()?;
    Ok(())
}

fn append<W: std::io::Write>(archive: &mut Builder<W>, path: &str, mode: u32, bytes: &[u8]) -> Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_cksum();
    archive.append_data(&mut header, path, bytes)?;
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
