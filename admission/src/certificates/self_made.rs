//! Certificates that are made here, by an authority of our own.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use der::Decode as _;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::files::read;
use super::rotation::Rotation;
use super::{CertificateError, Current};

/// Makes certificates by the authority in a directory.
///
/// | file | holds |
/// |---|---|
/// | `ca.pem` | the authority's certificate and its private key (PKCS#8), both PEM; made if it is not there |
/// | `next.pem` | the authority that comes after it, made a year before that one expires |
/// | `ca.crt` | the certificates of all of them that are valid, for `caBundle`; written if that is possible |
///
/// The next authority takes over half a year after it was made: until then whoever believes the old one has to come to believe
/// it, and for the other half year the old one stays in `ca.crt`.
///
/// The directory may be a mounted secret that all replicas share: each makes its own certificate,
/// which is believed by whoever believes the authority, and nothing but the authority has to be kept.
#[derive(Debug)]
pub struct SelfMade {
    directory: PathBuf,
    names: Vec<String>,
    /// What the authority was the last time.
    authority: Vec<u8>,
    rotation: Rotation,
}

impl SelfMade {
    /// Names the directory, and the names and addresses by which the webhook is called.
    pub fn new(directory: PathBuf, names: Vec<String>) -> Self {
        let rotation = Rotation::new(&directory);
        Self { directory, names, authority: Vec::new(), rotation }
    }

    /// Makes a certificate, and the authority before that if there is none.
    pub(super) fn make(&mut self, now: SystemTime) -> Result<Current, CertificateError> {
        let path = self.directory.join(AUTHORITY);
        if !path.exists() {
            create(&path, &self.directory, now)?;
        }
        self.rotation.advance(now);
        let contents = read(&path)?;
        let current = self.issue(&path, &contents, now)?;
        self.authority = contents;
        Ok(current)
    }

    /// Makes a new certificate if two thirds of the old one's time are over, or if there is another
    /// authority.
    pub(super) fn make_if_due(
        &mut self,
        now: SystemTime,
        not_after: SystemTime,
    ) -> Result<Option<Current>, CertificateError> {
        self.rotation.advance(now);
        let is_due = now + LIFETIME / 3 > not_after;
        match is_due || read(&self.directory.join(AUTHORITY))? != self.authority {
            true => self.make(now).map(Some),
            false => Ok(None),
        }
    }

    fn issue(
        &self,
        path: &Path,
        contents: &[u8],
        now: SystemTime,
    ) -> Result<Current, CertificateError> {
        let unusable = |reason: String| CertificateError::Unusable {
            origin: path.display().to_string(),
            reason,
        };
        let make = |source| CertificateError::Make { source };
        let authority = CertificateDer::from_pem_slice(contents)
            .map_err(|_| unusable("it holds no certificate in PEM form".to_owned()))?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(contents)
            .map_err(|_| unusable("it holds no private key in PEM form".to_owned()))?;
        let key = PrivateKeyDer::from(key);
        let key = KeyPair::try_from(&key)
            .map_err(|_| unusable("its private key cannot be used".to_owned()))?;
        let parsed = x509_cert::Certificate::from_der(&authority)
            .map_err(|error| unusable(format!("it is no certificate: {error}")))?;
        let to_be_signed = parsed.tbs_certificate();
        let public = to_be_signed.subject_public_key_info().subject_public_key.raw_bytes();
        if public != key.public_key_raw() {
            return Err(unusable("its certificate is of another key".to_owned()));
        }
        let until = to_be_signed.validity().not_after.to_system_time();
        let mut wanted = CertificateParams::new(self.names.clone()).map_err(make)?;
        wanted.distinguished_name = name("osguard admission webhook");
        wanted.not_before = (now - CLOCK_SKEW).into();
        wanted.not_after = (now + LIFETIME).min(until).into();
        wanted.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        wanted.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        wanted.use_authority_key_identifier_extension = true;
        let own_key = KeyPair::generate().map_err(make)?;
        // What names the authority: its subject and, by its key, its identifier.
        let issuer = Issuer::new(authority_params(now), key);
        let certificate = wanted.signed_by(&own_key, &issuer).map_err(make)?;
        let own_key = PrivatePkcs8KeyDer::from(own_key.serialize_der());
        let chain = vec![certificate.der().clone(), authority];
        Current::new(chain, own_key.into(), &path.display())
    }
}

/// Makes an authority. Of several who do so at the same time one succeeds, and the others use its
/// authority.
pub(super) fn create(
    path: &Path,
    directory: &Path,
    now: SystemTime,
) -> Result<(), CertificateError> {
    let make = |source| CertificateError::Make { source };
    let write = |source| CertificateError::Write { path: path.to_owned(), source };
    let key = KeyPair::generate().map_err(make)?;
    let certificate = authority_params(now).self_signed(&key).map_err(make)?;
    std::fs::create_dir_all(directory).map_err(write)?;
    // Temporary files are made for their owner alone.
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(write)?;
    let both = certificate.pem() + &key.serialize_pem();
    file.write_all(both.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(write)?;
    match file.persist_noclobber(path) {
        // `ca.crt` comes with the first look at whether there is another to be made.
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(write(error.error)),
    }
}

fn authority_params(now: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name("osguard admission authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (now + AUTHORITY_LIFETIME).into();
    params
}

fn name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

pub(super) const AUTHORITY: &str = "ca.pem";

/// How long a certificate is valid; it is made anew after two thirds.
const LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

pub(super) const AUTHORITY_LIFETIME: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// How far the clock of an API server may be behind.
const CLOCK_SKEW: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use osguard_testkit::command::{command, run};
    use osguard_testkit::or_skip;

    use super::super::{ServingCertificate, Source};
    use super::*;

    fn open(directory: &Path) -> std::sync::Arc<ServingCertificate> {
        let names = vec!["osguard-admission.osguard.svc".to_owned(), "127.0.0.1".to_owned()];
        let maker = SelfMade::new(directory.to_owned(), names);
        ServingCertificate::open(Source::SelfMade(maker)).unwrap()
    }

    #[test]
    fn replicas_share_an_authority_which_openssl_believes() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let (one, two) = (open(directory.path()), open(directory.path()));
        let mode = std::fs::metadata(path("ca.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let Some(mut openssl) = or_skip(command("openssl")) else { return };
        openssl
            .args(["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile"])
            .arg(path("ca.crt"));
        openssl.args(["-verify_hostname", "osguard-admission.osguard.svc"]);
        for (number, certificate) in [one, two].iter().enumerate() {
            let file = path(&format!("{number}.der"));
            let own = certificate.current().key.end_entity_cert().unwrap().to_vec();
            std::fs::write(&file, own).unwrap();
            openssl.arg(file);
        }
        run(&mut openssl).unwrap();
    }

    #[test]
    fn certificates_are_made_anew_in_time() {
        let directory = tempfile::tempdir().unwrap();
        let certificate = open(directory.path());
        let (now, first) = (SystemTime::now(), certificate.current().not_after);
        assert!(!certificate.refresh(now).unwrap());
        assert!(!certificate.refresh(now + LIFETIME / 2).unwrap());
        let later = now + LIFETIME * 3 / 4;
        assert!(certificate.refresh(later).unwrap());
        assert!(certificate.current().not_after > first);
        assert_eq!(certificate.problem(later), None);
        assert!(certificate.problem(later + LIFETIME * 2).is_some());
        // Nothing outlives its authority.
        assert!(certificate.refresh(now + AUTHORITY_LIFETIME - LIFETIME / 2).unwrap());
        assert!(certificate.current().not_after <= now + AUTHORITY_LIFETIME);
    }

    #[test]
    fn another_authority_is_taken_and_a_broken_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let certificate = open(directory.path());
        let now = SystemTime::now();
        let other = tempfile::tempdir().unwrap();
        drop(open(other.path()));
        let path = directory.path().join("ca.pem");
        let (own, foreign) = (
            std::fs::read_to_string(&path).unwrap(),
            std::fs::read(other.path().join("ca.pem")).unwrap(),
        );
        std::fs::write(&path, &foreign).unwrap();
        assert!(certificate.refresh(now).unwrap());
        let foreign = String::from_utf8(foreign).unwrap();
        let key = foreign.find("-----BEGIN PRIVATE KEY").unwrap();
        let mixed = format!(
            "{}{}",
            own.split_at(own.find("-----BEGIN PRIVATE KEY").unwrap()).0,
            &foreign[key..]
        );
        for broken in [String::new(), "nonsense".to_owned(), foreign[..key].to_owned(), mixed] {
            std::fs::write(&path, broken).unwrap();
            assert!(certificate.refresh(now).is_err());
        }
    }
}
