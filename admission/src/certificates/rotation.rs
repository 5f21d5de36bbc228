//! An authority that follows another one before that expires.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use der::pem::LineEnding;
use der::{Decode as _, EncodePem as _};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::CertificateError;
use super::files::read;
use super::self_made::{AUTHORITY, create};

/// Looks after the authority in a directory.
#[derive(Debug)]
pub(super) struct Rotation {
    directory: PathBuf,
    /// What went wrong the last time; it is said once.
    problem: String,
}

impl Rotation {
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), problem: String::new() }
    }

    /// Makes the next authority, has it take over, and keeps `ca.crt` up to date, each when it is time for that.
    ///
    /// What cannot be done is said in the log: the certificates that are shown go on to be made by the authority that there is.
    pub(super) fn advance(&mut self, now: SystemTime) {
        let problem = match self.try_to_advance(now) {
            Ok(()) => String::new(),
            Err(error) => crate::causes::with_causes(&error),
        };
        if problem != self.problem && !problem.is_empty() {
            tracing::warn!(
                problem,
                "the authority will expire, and cannot be followed by another one here"
            );
        }
        self.problem = problem;
    }

    fn try_to_advance(&self, now: SystemTime) -> Result<(), CertificateError> {
        let path = |name| self.directory.join(name);
        let (current, next) = (path(AUTHORITY), path(NEXT));
        let authority = first(&read(&current)?, &current)?;
        let is_due = now + RENEWAL > authority.not_after;
        if is_due && !next.exists() {
            create(&next, &self.directory, now)?;
            tracing::warn!(
                "the authority expires within a year, and ca.crt has the next one as well: put it into caBundle"
            );
        }
        if next.exists() {
            let coming = first(&read(&next)?, &next)?;
            if now > coming.not_before + SPREAD || now + LAST_MOMENT > authority.not_after {
                // Whoever has read both files before finds one of them changed.
                let moved = std::fs::rename(&next, &current);
                moved.map_err(|source| CertificateError::Write { path: current, source })?;
                tracing::warn!("the next authority has taken over");
                self.publish(&[coming, authority], now)
            } else {
                self.publish(&[authority, coming], now)
            }
        } else {
            match self.publish(&[authority], now) {
                // A mounted secret without `ca.crt`, as it should be.
                Err(CertificateError::Write { source, .. })
                    if matches!(
                        source.kind(),
                        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
                    ) =>
                {
                    Ok(())
                }
                published => published,
            }
        }
    }

    /// Writes `ca.crt`, unless it is right: these certificates, and those of others in it that are still valid.
    fn publish(&self, authorities: &[Known], now: SystemTime) -> Result<(), CertificateError> {
        let path = self.directory.join(PUBLIC);
        let before = match read(&path) {
            Ok(text) => text,
            Err(CertificateError::Read { source, .. })
                if source.kind() == io::ErrorKind::NotFound =>
            {
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        let mut certificates: Vec<Known> = authorities.to_vec();
        for der in CertificateDer::pem_slice_iter(&before).flatten() {
            let Ok(known) = Known::new(&der, &path) else { continue };
            let is_there = certificates.iter().any(|other| other.pem == known.pem);
            if !is_there && known.not_after > now && certificates.len() < MAX_CERTIFICATES {
                certificates.push(known);
            }
        }
        let text: String = certificates.iter().map(|known| known.pem.as_str()).collect();
        if text.as_bytes() == before {
            return Ok(());
        }
        let write = |source| CertificateError::Write { path: path.clone(), source };
        let mut file = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(&self.directory)
            .map_err(write)?;
        file.write_all(text.as_bytes()).map_err(write)?;
        file.persist(&path).map_err(|error| write(error.error))?;
        Ok(())
    }
}

/// Is the certificate of an authority.
#[derive(Clone, Debug)]
struct Known {
    pem: String,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Known {
    fn new(der: &[u8], path: &Path) -> Result<Self, CertificateError> {
        let unusable = |reason: String| CertificateError::Unusable {
            origin: path.display().to_string(),
            reason,
        };
        let parsed = x509_cert::Certificate::from_der(der)
            .map_err(|error| unusable(format!("it is no certificate: {error}")))?;
        let validity = *parsed.tbs_certificate().validity();
        Ok(Self {
            pem: parsed.to_pem(LineEnding::LF).map_err(|error| unusable(error.to_string()))?,
            not_before: validity.not_before.to_system_time(),
            not_after: validity.not_after.to_system_time(),
        })
    }
}

fn first(contents: &[u8], path: &Path) -> Result<Known, CertificateError> {
    let der = CertificateDer::from_pem_slice(contents).map_err(|_| CertificateError::Unusable {
        origin: path.display().to_string(),
        reason: "it holds no certificate in PEM form".to_owned(),
    })?;
    Known::new(&der, path)
}

const NEXT: &str = "next.pem";
const PUBLIC: &str = "ca.crt";

/// How long before its end an authority is followed by another one.
const RENEWAL: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How long it takes until everybody believes the next one.
const SPREAD: Duration = Duration::from_secs(182 * 24 * 60 * 60);

/// How long before the end of an authority the next one takes over in any case: when certificates by the old one would be
/// made for less time than it takes until there is another.
const LAST_MOMENT: Duration = Duration::from_secs(10 * 24 * 60 * 60);

/// How many authorities are in `ca.crt` at most.
const MAX_CERTIFICATES: usize = 4;

#[cfg(test)]
mod tests {
    use std::fs;

    use osguard_testkit::command::{command, run};
    use osguard_testkit::or_skip;

    use super::super::self_made::AUTHORITY_LIFETIME;
    use super::super::{SelfMade, ServingCertificate, Source};
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn open(directory: &Path) -> std::sync::Arc<ServingCertificate> {
        let maker = SelfMade::new(directory.to_owned(), vec!["webhook.example".to_owned()]);
        ServingCertificate::open(Source::SelfMade(maker)).unwrap()
    }

    fn count(directory: &Path) -> usize {
        fs::read_to_string(directory.join(PUBLIC)).unwrap().matches("BEGIN").count()
    }

    /// Asks OpenSSL, as somebody who believes `bundle` on the day `at`.
    fn is_believed(
        directory: &Path,
        bundle: &str,
        certificate: &ServingCertificate,
        at: SystemTime,
    ) -> bool {
        let file = directory.join("shown.der");
        fs::write(&file, certificate.current().key.end_entity_cert().unwrap()).unwrap();
        let authorities = directory.join("bundle");
        fs::write(&authorities, bundle).unwrap();
        let at = at.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs().to_string();
        let mut openssl = command("openssl").unwrap();
        openssl.args(["verify", "-x509_strict", "-attime", &at, "-CAfile"]).arg(authorities);
        run(openssl.arg(file)).is_ok()
    }

    #[test]
    fn the_next_authority_is_believed_before_it_takes_over() {
        let Some(_) = or_skip(command("openssl")) else { return };
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("authority");
        let certificate = open(&directory);
        let start = SystemTime::now();
        let end = start + AUTHORITY_LIFETIME;
        let bundle = || fs::read_to_string(directory.join(PUBLIC)).unwrap();
        let first = bundle();
        let authority = fs::read(directory.join(AUTHORITY)).unwrap();
        certificate.refresh(end - RENEWAL - 30 * DAY).unwrap();
        assert_eq!(count(&directory), 1);

        // A year before the end there is another one, and the old one goes on.
        let made = end - RENEWAL + DAY;
        certificate.refresh(made).unwrap();
        assert_eq!(count(&directory), 2);
        assert_eq!(fs::read(directory.join(AUTHORITY)).unwrap(), authority);
        assert!(is_believed(place.path(), &first, &certificate, made));
        let both = bundle();
        certificate.refresh(made + SPREAD - DAY).unwrap();
        assert!(is_believed(place.path(), &first, &certificate, made + SPREAD - DAY));

        // It takes over when everybody could come to know it; both are in the bundle.
        let over = made + SPREAD + DAY;
        certificate.refresh(over).unwrap();
        assert!(!directory.join(NEXT).exists());
        assert!(is_believed(place.path(), &both, &certificate, over));
        assert!(!is_believed(place.path(), &first, &certificate, over));
        assert_eq!(count(&directory), 2);
        certificate.refresh(end + DAY).unwrap();
        assert_eq!(count(&directory), 1);
        assert!(is_believed(place.path(), &bundle(), &certificate, end + DAY));
    }

    #[test]
    fn a_process_that_was_away_for_years_loses_no_day() {
        let place = tempfile::tempdir().unwrap();
        let certificate = open(place.path());
        // The process was away while the next one should have been made: it is not used at once.
        let late = SystemTime::now() + AUTHORITY_LIFETIME - 60 * DAY;
        let authority = fs::read(place.path().join(AUTHORITY)).unwrap();
        certificate.refresh(late).unwrap();
        assert_eq!(count(place.path()), 2);
        assert_eq!(fs::read(place.path().join(AUTHORITY)).unwrap(), authority);
        // It takes over before nothing is believed any more, also where nobody was there to make it in time.
        certificate.refresh(late + 55 * DAY).unwrap();
        assert_ne!(fs::read(place.path().join(AUTHORITY)).unwrap(), authority);
        let later = late + 400 * DAY;
        fs::copy(place.path().join(AUTHORITY), place.path().join("kept")).unwrap();
        fs::write(place.path().join(AUTHORITY), &authority).unwrap();
        certificate.refresh(later).unwrap();
        assert_eq!(certificate.problem(later), None);
    }

    /// A mounted secret can be read and no more.
    #[test]
    fn what_cannot_be_written_is_no_reason_to_show_nothing() {
        let place = tempfile::tempdir().unwrap();
        let certificate = open(place.path());
        // What is there in the place of the file, root could not overwrite either.
        fs::create_dir(place.path().join(NEXT)).unwrap();
        let late = SystemTime::now() + AUTHORITY_LIFETIME - 60 * DAY;
        assert!(certificate.refresh(late).unwrap());
        assert_eq!(certificate.problem(late), None);
    }

    #[test]
    fn a_broken_bundle_is_written_again() {
        let place = tempfile::tempdir().unwrap();
        let certificate = open(place.path());
        let good = fs::read(place.path().join(PUBLIC)).unwrap();
        for broken in [&b""[..], b"nonsense", &good[..good.len() / 2]] {
            fs::write(place.path().join(PUBLIC), broken).unwrap();
            certificate.refresh(SystemTime::now()).unwrap();
            assert_eq!(fs::read(place.path().join(PUBLIC)).unwrap(), good);
        }
    }
}
