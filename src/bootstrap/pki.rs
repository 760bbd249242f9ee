//! The cluster's own certificate authorities and service-account key, made before the first node boots.
//!
//! Names, lifetimes and usages are kubeadm's (`cmd/kubeadm/app/phases/certs`), so that kubeadm takes them for its own.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use serde_json::json;
use time::OffsetDateTime;
use x509_parser::pem::parse_x509_pem;

use super::Pki;
use crate::digest::sha256;
use crate::secret::Secret;

const CA_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Clocks of nodes may be behind; kubeadm dates back by as much.
const BACKDATED: Duration = Duration::from_secs(300);

/// File names of the store's secrets, in the order of [`Pki`]'s fields.
const FILES: [&str; 9] = [
    "ca.crt",
    "ca.key",
    "etcd-ca.crt",
    "etcd-ca.key",
    "front-proxy-ca.crt",
    "front-proxy-ca.key",
    "sa.pub",
    "sa.key",
    "encryption.key",
];

impl Pki {
    /// Fresh ECDSA P-256 authorities, valid for ten years from `now`, and a service-account key.
    pub fn generate(now: jiff::Timestamp) -> Result<Self, String> {
        let (ca_cert, ca_key) = authority("kubernetes", now)?;
        let (etcd_ca_cert, etcd_ca_key) = authority("etcd-ca", now)?;
        let (front_proxy_ca_cert, front_proxy_ca_key) = authority("front-proxy-ca", now)?;
        let account = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| error.to_string())?;
        Ok(Self {
            ca_cert,
            ca_key,
            etcd_ca_cert,
            etcd_ca_key,
            front_proxy_ca_cert,
            front_proxy_ca_key,
            sa_public: account.public_key_pem(),
            sa_key: Secret::new(account.serialize_pem()),
            encryption_key: random_key()?,
        })
    }

    /// Named PEM files for the store's `secrets/`.
    pub fn to_files(&self) -> Vec<(&'static str, Secret)> {
        let public = |text: &str| Secret::new(text);
        let contents = [
            public(&self.ca_cert),
            self.ca_key.clone(),
            public(&self.etcd_ca_cert),
            self.etcd_ca_key.clone(),
            public(&self.front_proxy_ca_cert),
            self.front_proxy_ca_key.clone(),
            public(&self.sa_public),
            self.sa_key.clone(),
            self.encryption_key.clone(),
        ];
        FILES.into_iter().zip(contents).collect()
    }

    /// Names of the files that [`Pki::from_files`] asks for.
    pub fn file_names() -> [&'static str; 9] {
        FILES
    }

    /// Reads what [`Pki::to_files`] gave; `read` returns a file's content. Says which file is missing or damaged.
    pub fn from_files(mut read: impl FnMut(&str) -> Option<Secret>) -> Result<Self, String> {
        let mut file = |name: &str| read(name).ok_or_else(|| format!("the secret {name} is missing"));
        let pki = Self {
            ca_cert: file("ca.crt")?.expose().into(),
            ca_key: file("ca.key")?,
            etcd_ca_cert: file("etcd-ca.crt")?.expose().into(),
            etcd_ca_key: file("etcd-ca.key")?,
            front_proxy_ca_cert: file("front-proxy-ca.crt")?.expose().into(),
            front_proxy_ca_key: file("front-proxy-ca.key")?,
            sa_public: file("sa.pub")?.expose().into(),
            sa_key: file("sa.key")?,
            encryption_key: file("encryption.key")?,
        };
        let pairs = [
            ("ca", &pki.ca_cert, &pki.ca_key),
            ("etcd-ca", &pki.etcd_ca_cert, &pki.etcd_ca_key),
            ("front-proxy-ca", &pki.front_proxy_ca_cert, &pki.front_proxy_ca_key),
        ];
        for (name, cert, key) in pairs {
            let of_cert = public_key(cert).map_err(|error| format!("the secret {name}.crt is damaged: {error}"))?;
            if key_pair(key).map_err(|error| format!("the secret {name}.key is damaged: {error}"))?.1 != of_cert {
                return Err(format!("the secrets {name}.crt and {name}.key do not belong together"));
            }
        }
        let account = KeyPair::from_pem(pki.sa_key.expose()).map_err(|error| format!("the secret sa.key is damaged: {error}"))?;
        if account.public_key_pem().trim() != pki.sa_public.trim() {
            return Err("the secrets sa.pub and sa.key do not belong together".into());
        }
        let key = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, pki.encryption_key.expose().trim());
        if key.is_err() || key.is_ok_and(|key| key.len() != 32) {
            return Err("the secret encryption.key is damaged: it is not 32 bytes in base64".into());
        }
        Ok(pki)
    }
}

/// `sha256:...` of a CA's public key (SubjectPublicKeyInfo), as kubeadm's `caCertHashes` wants it.
pub fn ca_cert_hash(ca_cert: &str) -> Result<String, String> {
    public_key(ca_cert).map(|key| format!("sha256:{}", sha256(key)))
}

/// A kubeconfig for administrators: `name` is the context (the cluster's name), `api_url` is `https://api.<name>:6443`.
///
/// The certificate is `CN=kubernetes-admin, O=kubeadm:cluster-admins`, as that of kubeadm's `admin.conf` since 1.29: the group gets its rights
/// by an ordinary ClusterRoleBinding, which can be taken away; `system:masters` is above RBAC and could not be revoked before it expires.
pub fn admin_kubeconfig(
    pki: &Pki,
    api_url: &str,
    name: &str,
    now: jiff::Timestamp,
    validity: Duration,
) -> Result<Secret, String> {
    let issuer =
        Issuer::from_ca_cert_pem(&pki.ca_cert, KeyPair::from_pem(pki.ca_key.expose()).map_err(|error| error.to_string())?)
            .map_err(|error| format!("the cluster's CA cannot be read: {error}"))?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, "kubeadm:cluster-admins");
    subject.push(DnType::CommonName, "kubernetes-admin");
    let mut params = dated(now, validity)?;
    params.distinguished_name = subject;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| error.to_string())?;
    let cert = params.signed_by(&key, &issuer).map_err(|error| error.to_string())?;
    let user = format!("kubernetes-admin@{name}");
    let encoded = |text: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": api_url, "certificate-authority-data": encoded(&pki.ca_cert)}}],
        "users": [{"name": user, "user": {
            "client-certificate-data": encoded(&cert.pem()),
            "client-key-data": encoded(&key.serialize_pem()),
        }}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
        "current-context": name,
    });
    serde_saphyr::to_string(&config).map(Secret::new).map_err(|error| error.to_string())
}

/// For the API server's `secretbox`.
fn random_key() -> Result<Secret, String> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| "the system gives no random bytes".to_string())?;
    Ok(Secret::new(base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes)))
}

fn authority(name: &str, now: jiff::Timestamp) -> Result<(String, Secret), String> {
    let mut params = dated(now, CA_LIFE)?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment, KeyUsagePurpose::KeyCertSign];
    params.subject_alt_names = vec![SanType::DnsName(name.try_into().map_err(|_| format!("`{name}` is no DNS name"))?)];
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| error.to_string())?;
    let cert = params.self_signed(&key).map_err(|error| error.to_string())?;
    Ok((cert.pem(), Secret::new(key.serialize_pem())))
}

fn dated(now: jiff::Timestamp, life: Duration) -> Result<CertificateParams, String> {
    let now = OffsetDateTime::from_unix_timestamp(now.as_second()).map_err(|error| error.to_string())?;
    let mut params = CertificateParams::default();
    params.not_before = now - BACKDATED;
    params.not_after = now + life;
    Ok(params)
}

/// The last moment at which a certificate is valid.
pub fn expiry(cert: &str) -> Result<jiff::Timestamp, String> {
    let (_, pem) = parse_x509_pem(cert.as_bytes()).map_err(|error| error.to_string())?;
    let cert = pem.parse_x509().map_err(|error| error.to_string())?;
    jiff::Timestamp::from_second(cert.validity().not_after.timestamp()).map_err(|error| error.to_string())
}

/// SubjectPublicKeyInfo (DER) of a certificate.
fn public_key(cert: &str) -> Result<Vec<u8>, String> {
    let (_, pem) = parse_x509_pem(cert.as_bytes()).map_err(|error| error.to_string())?;
    let cert = pem.parse_x509().map_err(|error| error.to_string())?;
    Ok(cert.public_key().raw.to_vec())
}

/// A private key with its SubjectPublicKeyInfo (DER).
fn key_pair(key: &Secret) -> Result<(KeyPair, Vec<u8>), String> {
    let key = KeyPair::from_pem(key.expose()).map_err(|error| error.to_string())?;
    let (_, pem) = x509_parser::pem::parse_x509_pem(key.public_key_pem().as_bytes()).map_err(|error| error.to_string())?;
    Ok((key, pem.contents))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use x509_parser::extensions::ParsedExtension;
    use x509_parser::prelude::X509Certificate;

    use super::*;

    fn with_cert<T>(pem: &str, look: impl FnOnce(&X509Certificate<'_>) -> T) -> T {
        let (_, pem) = parse_x509_pem(pem.as_bytes()).unwrap();
        look(&pem.parse_x509().unwrap())
    }

    /// Certificate and key of a kubeconfig's user, and its CA.
    fn parts(config: &Secret) -> [String; 3] {
        let config: serde_json::Value = serde_saphyr::from_str(config.expose()).unwrap();
        let paths = [
            "/users/0/user/client-certificate-data",
            "/users/0/user/client-key-data",
            "/clusters/0/cluster/certificate-authority-data",
        ];
        paths.map(|path| {
            let text = config.pointer(path).unwrap().as_str().unwrap();
            String::from_utf8(base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).unwrap()).unwrap()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn a_client_certificate_verifies_against_its_ca_at_any_time(
            second in 0i64..4_000_000_000, minutes in 1u64..1_000_000, name in "\\PC{1,40}",
        ) {
            let now = jiff::Timestamp::from_second(second).unwrap();
            let pki = Pki::generate(now).unwrap();
            let life = Duration::from_secs(minutes * 60);
            let [cert, key, ca] = parts(&admin_kubeconfig(&pki, "https://api.demo:6443", &name, now, life).unwrap());
            prop_assert_eq!(&ca, &pki.ca_cert);
            with_cert(&ca, |ca| with_cert(&cert, |cert| {
                cert.verify_signature(Some(ca.public_key())).unwrap();
                assert_eq!(cert.issuer(), ca.subject());
                assert_eq!(cert.subject().to_string(), "O=kubeadm:cluster-admins, CN=kubernetes-admin");
                assert!(cert.extended_key_usage().unwrap().unwrap().value.client_auth);
                assert!(!cert.is_ca());
                assert_eq!(cert.validity().not_before.timestamp(), second - 300);
                assert_eq!(cert.validity().not_after.timestamp(), second + i64::try_from(minutes * 60).unwrap());
            }));
            let pair = KeyPair::from_pem(&key).unwrap();
            let (_, public) = x509_parser::pem::parse_x509_pem(pair.public_key_pem().as_bytes()).unwrap();
            prop_assert_eq!(public.contents, public_key(&cert).unwrap());
        }
    }

    #[test]
    fn the_authorities_are_what_kubeadm_would_have_made() {
        let now = jiff::Timestamp::from_second(1_800_000_000).unwrap();
        let pki = Pki::generate(now).unwrap();
        for (pem, name) in
            [(&pki.ca_cert, "kubernetes"), (&pki.etcd_ca_cert, "etcd-ca"), (&pki.front_proxy_ca_cert, "front-proxy-ca")]
        {
            with_cert(pem, |cert| {
                assert_eq!(cert.subject().to_string(), format!("CN={name}"));
                cert.verify_signature(None).unwrap();
                assert!(cert.is_ca());
                let usage = cert.key_usage().unwrap().unwrap().value;
                assert!(usage.key_cert_sign() && usage.digital_signature() && usage.key_encipherment());
                let days = (cert.validity().not_after.timestamp() - cert.validity().not_before.timestamp()) / 86_400;
                assert_eq!((days, cert.validity().not_before.timestamp()), (3650, 1_800_000_000 - 300));
                let has = |found: &dyn Fn(&ParsedExtension<'_>) -> bool| {
                    cert.extensions().iter().any(|one| found(one.parsed_extension()))
                };
                assert!(has(&|one| matches!(one, ParsedExtension::SubjectKeyIdentifier(_))));
            });
        }
        assert!(
            pki.sa_key.expose().starts_with("-----BEGIN PRIVATE KEY-----")
                && pki.sa_public.starts_with("-----BEGIN PUBLIC KEY-----")
        );
    }

    #[test]
    fn the_ca_hash_is_the_one_that_openssl_computes() {
        let pki = Pki::generate(jiff::Timestamp::now()).unwrap();
        let script = "openssl x509 -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -r";
        let mut child = std::process::Command::new("sh")
            .args(["-c", script])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), pki.ca_cert.as_bytes()).unwrap();
        let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        assert_eq!(ca_cert_hash(&pki.ca_cert).unwrap(), format!("sha256:{}", said.split(' ').next().unwrap()));
    }

    #[test]
    fn files_come_back_as_they_went_and_damage_is_named() {
        let pki = Pki::generate(jiff::Timestamp::now()).unwrap();
        let files = pki.to_files();
        let read = |files: &[(&'static str, Secret)], name: &str| {
            files.iter().find(|(own, _)| *own == name).map(|(_, text)| text.clone())
        };
        let back = Pki::from_files(|name| read(&files, name)).unwrap();
        assert!(back.to_files().iter().zip(&files).all(|(a, b)| a == b) && files.len() == Pki::file_names().len());
        let stranger = Pki::generate(jiff::Timestamp::now()).unwrap().to_files();
        for (name, _) in &files {
            let missing = Pki::from_files(|asked| read(&files, asked).filter(|_| asked != *name)).err().unwrap();
            assert!(missing.contains(name), "{missing}");
            // Nothing else in the store tells what the encryption key of a cluster has to be.
            let foreign = read(&stranger, name).filter(|_| *name != "encryption.key");
            for other in foreign.into_iter().chain([Secret::new("garbage")]) {
                let error = Pki::from_files(|asked| if asked == *name { Some(other.clone()) } else { read(&files, asked) });
                let error = error.err().unwrap_or_else(|| panic!("{name}: accepted"));
                assert!(error.contains(name) && !error.contains("PRIVATE"), "{error}");
            }
        }
    }
}
