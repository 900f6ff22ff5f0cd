//! Who may talk to the control plane, and how: tokens, kubeconfigs, certificates and keys. All of
//! it is made at run time and lives in the plane's directory; nothing is ever checked in.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use serde_json::json;

use super::process::random_hex;

/// The user as whom the controller manager makes its first requests; the bootstrap roles know it.
pub(crate) const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";

/// Every user of the token file and their groups.
const USERS: [(&str, &[&str]); 4] = [
    ("admin", &["system:masters"]),
    ("alice", &["team-a", "developers"]),
    ("bob", &["team-b", "developers"]),
    (CONTROLLER_MANAGER, &[]),
];

/// The files that servers and clients are pointed at.
#[derive(Clone)]
pub(crate) struct Credentials {
    dir: PathBuf,
    tokens: BTreeMap<&'static str, String>,
}

impl Credentials {
    /// Makes a certificate authority, the API server's certificate, the key that signs service
    /// account tokens and a token for each user, and writes them under `dir`.
    pub(crate) fn create(dir: &Path) -> anyhow::Result<Self> {
        let mut tokens = BTreeMap::new();
        for (user, _) in USERS {
            tokens.insert(user, random_hex(16)?);
        }
        let credentials = Self { dir: dir.to_owned(), tokens };
        credentials.write_certificates().context("failed to make the certificates")?;

        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("failed to make a key")?;
        credentials.write("service-account.key", &key.serialize_pem())?;
        credentials.write("service-account.pub", &key.public_key_pem())?;

        let mut table = String::new();
        for (user, groups) in USERS {
            let token = credentials.token(user);
            table.push_str(&format!("{token},{user},{user},\"{}\"\n", groups.join(",")));
        }
        credentials.write("tokens.csv", &table)?;
        Ok(credentials)
    }

    /// A file made by [`Credentials::create`].
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The bearer token of a user.
    pub(crate) fn token(&self, user: &str) -> &str {
        self.tokens.get(user).unwrap_or_else(|| panic!("no user {user}; there are {:?}", self.tokens.keys()))
    }

    /// Whose token it is.
    pub(crate) fn user(&self, token: &str) -> Option<&'static str> {
        self.tokens.iter().find(|(_, theirs)| *theirs == token).map(|(user, _)| *user)
    }

    /// The kubeconfig of a user.
    pub(crate) fn kubeconfig(&self, user: &str) -> PathBuf {
        assert!(self.tokens.contains_key(user), "no user {user}; there are {:?}", self.tokens.keys());
        self.dir.join(format!("{}.kubeconfig", user.replace(':', "-")))
    }

    /// The kubeconfig by which the admin reaches the API server itself, whoever is in front of it.
    pub(crate) fn direct_kubeconfig(&self) -> PathBuf {
        self.dir.join("direct.kubeconfig")
    }

    /// Writes a kubeconfig for each user of the API server at `url`, and one for the server itself.
    pub(crate) fn write_kubeconfigs(&self, url: &str, direct: &str) -> anyhow::Result<()> {
        for user in self.tokens.keys() {
            self.write_kubeconfig(&self.kubeconfig(user), user, url)?;
        }
        self.write_kubeconfig(&self.direct_kubeconfig(), "admin", direct)
    }

    fn write_kubeconfig(&self, path: &Path, user: &str, url: &str) -> anyhow::Result<()> {
        // JSON is YAML too, and both kubectl and kube read it.
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{
                "name": "plane",
                "cluster": { "server": url, "certificate-authority": self.path("ca.crt") },
            }],
            "users": [{ "name": user, "user": { "token": self.token(user) } }],
            "contexts": [{ "name": user, "context": { "cluster": "plane", "user": user } }],
            "current-context": user,
        });
        fs::write(path, format!("{config:#}\n")).context("failed to write a kubeconfig")
    }

    /// A certificate authority of its own rather than what kube-apiserver makes for itself: clients
    /// need the CA before the server is up, and rustls wants a CA that is not the leaf.
    fn write_certificates(&self) -> anyhow::Result<()> {
        let mut ca = CertificateParams::default();
        ca.distinguished_name.push(DnType::CommonName, "plimsoll test control plane");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        self.write("ca.crt", &ca.self_signed(&ca_key)?.pem())?;
        let issuer = Issuer::new(ca, ca_key);

        let names = ["localhost", "127.0.0.1", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
        let mut server = CertificateParams::new(names.map(str::to_owned))?;
        server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        server.use_authority_key_identifier_extension = true;
        let server_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        self.write("apiserver.crt", &server.signed_by(&server_key, &issuer)?.pem())?;
        self.write("apiserver.key", &server_key.serialize_pem())
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.path(name);
        fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))
    }
}
