//! The certificates of a cluster, and the files that say who is who: kubeconfigs.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// A certificate authority.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    pub(super) fn new(name: &str) -> Result<Self> {
        let mut params = params(name, None, &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().context("key of an authority")?;
        let certificate = params.self_signed(&key).with_context(|| format!("certificate of {name}"))?.pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate })
    }

    /// Writes the authority's own certificate.
    pub(super) fn write(&self, file: &Path) -> Result<()> {
        fs::write(file, &self.certificate).with_context(|| format!("write {}", file.display()))
    }

    /// Writes `<name>.crt` and `<name>.key` for a client; `group` is what Kubernetes takes for one.
    pub(super) fn client(&self, folder: &Path, name: &str, user: &str, group: Option<&str>) -> Result<()> {
        self.leaf(folder, name, params(user, group, &[])?, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// Writes `<name>.crt` and `<name>.key` for a server with these names and addresses.
    pub(super) fn server(&self, folder: &Path, name: &str, user: &str, names: &[String]) -> Result<()> {
        self.leaf(folder, name, params(user, None, names)?, ExtendedKeyUsagePurpose::ServerAuth)
    }

    fn leaf(
        &self,
        folder: &Path,
        name: &str,
        mut params: CertificateParams,
        used: ExtendedKeyUsagePurpose,
    ) -> Result<()> {
        params.extended_key_usages = vec![used];
        let key = KeyPair::generate().context("key of a certificate")?;
        let certificate = params.signed_by(&key, &self.issuer).with_context(|| format!("certificate {name}"))?;
        fs::write(folder.join(format!("{name}.crt")), certificate.pem()).context("write a certificate")?;
        fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).context("write a key")
    }
}

/// `sa.key` to sign service accounts' tokens with, and `sa.pub` to check them.
pub(super) fn signing_key(folder: &Path) -> Result<()> {
    let key = KeyPair::generate().context("key for tokens")?;
    fs::write(folder.join("sa.key"), key.serialize_pem()).context("write sa.key")?;
    fs::write(folder.join("sa.pub"), key.public_key_pem()).context("write sa.pub")
}

fn params(user: &str, group: Option<&str>, names: &[String]) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(names).with_context(|| format!("names of {user}"))?;
    params.distinguished_name.remove(DnType::CommonName);
    if let Some(group) = group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params.distinguished_name.push(DnType::CommonName, user);
    Ok(params)
}

/// A kubeconfig that names the files of its certificates.
pub(super) fn kubeconfig(server: &str, folder: &Path, client: &str) -> String {
    let at = |name: &str| folder.join(name).display().to_string();
    let (ca, certificate, key) = (at("ca.crt"), at(&format!("{client}.crt")), at(&format!("{client}.key")));
    serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": {"server": server, "certificate-authority": ca}}],
        "users": [{"name": client, "user": {"client-certificate": certificate, "client-key": key}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": client}}],
        "current-context": "lab",
    })
    .to_string()
}
