//! OCI images without a builder: files in, an archive of an image layout out, the same bytes for the same files.

mod archive;
mod debian;
mod layer;
mod sbom;

pub use self::debian::{Package, add_program, packages};
pub use self::layer::Layer;
pub use self::sbom::{crates, document};

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// An image with one layer.
#[derive(Debug, Default)]
pub struct Image {
    /// `registry/repository:tag`, by which it is found after an import.
    pub name: String,
    /// What is in it.
    pub layer: Layer,
    /// The words that its container starts with.
    pub entrypoint: Vec<String>,
    /// OCI's annotation keys with their values; shown as labels, too.
    pub labels: Vec<(String, String)>,
}

/// Where programs of an image are found.
const PATH: &str = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";

impl Image {
    /// Writes the archive; the digest of the image's manifest, as `sha256:…`.
    pub fn write(&self, file: &Path) -> Result<String> {
        let layer = self.layer.tar()?;
        let labels: serde_json::Map<_, _> =
            self.labels.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        let mut blobs = Vec::new();
        let mut blob = |kind: &str, bytes: Vec<u8>| -> Value {
            let descriptor = json!({
                "mediaType": format!("application/vnd.oci.image.{kind}"),
                "digest": digest(&bytes),
                "size": bytes.len(),
            });
            blobs.push(bytes);
            descriptor
        };
        let layer = blob("layer.v1.tar", layer);
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": self.entrypoint, "Env": [PATH], "Labels": labels},
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        });
        let config = blob("config.v1+json", config.to_string().into_bytes());
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest =
            json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer], "annotations": labels});
        let mut manifest = blob("manifest.v1+json", manifest.to_string().into_bytes());
        let tag = self.name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        manifest["annotations"] =
            json!({"io.containerd.image.name": self.name, "org.opencontainers.image.ref.name": tag});
        let digest = manifest["digest"].as_str().unwrap_or_default().to_owned();
        let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [manifest]});
        let bytes = archive::layout(&index.to_string(), &blobs)?;
        // Under its name it is whole.
        let part = file.with_extension("part");
        fs::write(&part, bytes).with_context(|| format!("write {}", part.display()))?;
        fs::rename(&part, file).with_context(|| format!("rename to {}", file.display()))?;
        Ok(digest)
    }
}

/// As OCI writes it: `sha256:` and hexadecimal digits.
fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(folder: &Path) -> Image {
        let mut layer = Layer::default();
        layer.add_file("usr/bin/a", &folder.join("a")).unwrap();
        layer.add_link("bin", "usr/bin");
        layer.add_bytes("etc/b", b"two".to_vec());
        let labels = vec![("org.opencontainers.image.title".to_owned(), "a".to_owned())];
        Image { name: "egress.test/a:1".into(), layer, entrypoint: vec!["/usr/bin/a".into()], labels }
    }

    #[test]
    fn the_same_files_make_the_same_image_wherever_and_whenever_they_were_written() {
        let base = std::env::temp_dir().join(format!("egress-image-{}", std::process::id()));
        let mut made = Vec::new();
        for (name, content) in [("one", "same"), ("two", "same"), ("three", "other")] {
            let folder = base.join(name);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("a"), content).unwrap();
            let old = std::time::SystemTime::now() - std::time::Duration::from_secs(made.len() as u64 * 1000);
            fs::File::open(folder.join("a")).unwrap().set_modified(old).unwrap();
            let digest = image(&folder).write(&folder.join("image.tar")).unwrap();
            made.push((digest, fs::read(folder.join("image.tar")).unwrap()));
        }
        fs::remove_dir_all(&base).unwrap();
        assert_eq!(made[0], made[1]);
        assert_ne!(made[0].0, made[2].0);
    }

    #[test]
    fn digests_are_sha256() {
        assert_eq!(digest(b""), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
