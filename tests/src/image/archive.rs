//! The archive of an image layout: `oci-layout`, `index.json` and blobs by their digests.

use anyhow::{Context, Result};
use tar::{Builder, Header};

use super::digest;

pub(super) fn layout(index: &str, blobs: &[Vec<u8>]) -> Result<Vec<u8>> {
    let mut archive = Builder::new(Vec::new());
    let mut put = |path: &str, bytes: &[u8]| -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, path, bytes).with_context(|| format!("put {path} into the archive"))
    };
    put("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    put("index.json", index.as_bytes())?;
    for blob in blobs {
        put(&format!("blobs/{}", digest(blob).replace(':', "/")), blob)?;
    }
    archive.into_inner().context("end the archive")
}
