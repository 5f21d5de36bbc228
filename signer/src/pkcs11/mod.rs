//! Keys in tokens and HSMs, through PKCS#11.

mod error;
mod module;
mod token;
pub mod uri;

use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error as CryptokiError, RvError};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use libverity::certificate::{Certificate, PublicKey};
use libverity::signer::{SignError, SignatureAlgorithm, Signer};
use zeroize::Zeroizing;

pub use error::{CallError, Pkcs11Error};
use uri::Uri;

/// Asks for the PIN of the token with this label; called only where the token wants one.
pub type Pin<'a> = &'a mut dyn FnMut(&str) -> io::Result<Zeroizing<Vec<u8>>>;

/// Signs with a key in a token.
///
/// One session is open all the time, and one thread at a time signs in it. A session that the token
/// has given up, because it was unplugged or its server was started again, is opened once more with
/// the PIN, which therefore stays in memory until the signer is dropped.
#[derive(Debug)]
pub struct Pkcs11Signer {
    name: String,
    certificate: Certificate,
    intermediates: Vec<Certificate>,
    algorithm: SignatureAlgorithm,
    place: Place,
    connection: Mutex<Option<Connection>>,
}

/// Is where a session is opened, and as whom.
struct Place {
    module: Pkcs11,
    uri: Uri,
    pin: Option<AuthPin>,
}

/// Is an open session with the key in it.
#[derive(Debug)]
struct Connection {
    session: Session,
    key: ObjectHandle,
    /// Whether the token hashes by itself.
    token_hashes: bool,
}

impl Pkcs11Signer {
    /// Finds the key that `uri` names, with the certificates in `certificates`, the key's own first;
    /// where there are none, with the certificate that the token has for the key.
    ///
    /// # Errors
    ///
    /// Says which of module, token, PIN, key and certificate is missing, wrong or ambiguous, and
    /// what there is instead.
    pub fn open(
        uri: &Uri,
        certificates: &[Certificate],
        pin: Pin<'_>,
    ) -> Result<Self, Pkcs11Error> {
        let module = module::load(uri)?;
        let found = token::find(&module, &uri.token)?;
        let session = open_session(&module, found.slot)?;
        let pin = log_in_first(&module, &found, &session, uri, pin)?;
        let key = token::find_key(&session, uri, &found.label)?;
        let (certificate, others) = match certificates {
            [own, others @ ..] => (own.clone(), others),
            [] => (token::certificate_of(&session, key, &found.label)?, &[][..]),
        };
        let public = certificate.public_key();
        let algorithm = SignatureAlgorithm::for_key(public)
            .map_err(|source| Pkcs11Error::Unusable { token: found.label.clone(), source })?;
        check_key(&session, key, public, &found.label)?;
        let connection = connect(&module, found.slot, session, key, algorithm)?;
        Ok(Self {
            name: format!("the token {:?}", found.label),
            intermediates: certificate.intermediates_among(others),
            certificate,
            algorithm,
            place: Place { module, uri: uri.clone(), pin },
            connection: Mutex::new(Some(connection)),
        })
    }

    fn reconnect(&self) -> Result<Connection, Pkcs11Error> {
        let Place { module, uri, pin } = &self.place;
        let found = token::find(module, &uri.token)?;
        let session = open_session(module, found.slot)?;
        if found.login_required || pin.is_some() {
            log_in(module, &found, &session, pin.as_ref())?;
        }
        let key = token::find_key(&session, uri, &found.label)?;
        connect(module, found.slot, session, key, self.algorithm)
    }

    fn sign_once(
        &self,
        connection: &Connection,
        message: &[u8],
    ) -> cryptoki::error::Result<Vec<u8>> {
        let Connection { session, key, token_hashes } = connection;
        let (mechanism, data) = match (self.algorithm, token_hashes) {
            (SignatureAlgorithm::RsaPkcs1Sha256, true) => {
                (Mechanism::Sha256RsaPkcs, message.to_vec())
            }
            (SignatureAlgorithm::RsaPkcs1Sha256, false) => {
                (Mechanism::RsaPkcs, self.algorithm.digest_info(message))
            }
            _ => (Mechanism::Ecdsa, self.algorithm.digest(message)),
        };
        session.sign(&mechanism, *key, &data)
    }
}

impl Signer for Pkcs11Signer {
    fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let failed = |reason: String| SignError::Signer { signer: self.name.clone(), reason };
        // A thread that panicked in here has left no half of a session behind.
        let mut guard = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let first = guard.as_ref().map(|connection| self.sign_once(connection, message));
        let signature = match first {
            Some(Ok(signature)) => signature,
            Some(Err(error)) if !is_session_lost(&error) => {
                return Err(failed(CallError(error).to_string()));
            }
            Some(Err(_)) | None => {
                *guard = None;
                let connection = self.reconnect().map_err(|error| failed(error.to_string()))?;
                let signature = self.sign_once(&connection, message);
                *guard = Some(connection);
                signature.map_err(|error| failed(CallError(error).to_string()))?
            }
        };
        self.algorithm.normalize(&signature).map_err(|error| failed(error.to_string()))
    }

    fn intermediates(&self) -> &[Certificate] {
        &self.intermediates
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Place").field("uri", &self.uri).finish_non_exhaustive()
    }
}

fn open_session(module: &Pkcs11, slot: Slot) -> Result<Session, Pkcs11Error> {
    module.open_ro_session(slot).map_err(Pkcs11Error::call("open a session"))
}

fn connect(
    module: &Pkcs11,
    slot: Slot,
    session: Session,
    key: ObjectHandle,
    algorithm: SignatureAlgorithm,
) -> Result<Connection, Pkcs11Error> {
    let mechanisms =
        module.get_mechanism_list(slot).map_err(Pkcs11Error::call("list its mechanisms"))?;
    let (hashing, plain) = match algorithm {
        SignatureAlgorithm::RsaPkcs1Sha256 => {
            (Some(MechanismType::SHA256_RSA_PKCS), MechanismType::RSA_PKCS)
        }
        _ => (None, MechanismType::ECDSA),
    };
    let token_hashes = hashing.is_some_and(|mechanism| mechanisms.contains(&mechanism));
    if !token_hashes && !mechanisms.contains(&plain) {
        return Err(Pkcs11Error::Mechanism { algorithm });
    }
    Ok(Connection { session, key, token_hashes })
}

/// Logs in where the token wants it, and returns the PIN for another time.
fn log_in_first(
    module: &Pkcs11,
    found: &token::Found,
    session: &Session,
    uri: &Uri,
    ask: Pin<'_>,
) -> Result<Option<AuthPin>, Pkcs11Error> {
    if !found.login_required {
        return Ok(None);
    }
    // A token with keys of its own to type the PIN on.
    if found.protected_authentication_path {
        log_in(module, found, session, None)?;
        return Ok(None);
    }
    let missing = |source| Pkcs11Error::PinMissing { token: found.label.clone(), source };
    if found.pin_locked {
        return Err(Pkcs11Error::PinLocked { token: found.label.clone() });
    }
    let bytes = match &uri.pin_source {
        Some(path) => module::read_pin(path).map_err(missing)?,
        None => ask(&found.label).map_err(missing)?,
    };
    let text = std::str::from_utf8(&bytes);
    let text = text.map_err(|_| missing(io::Error::other("it is not UTF-8")))?;
    let pin = AuthPin::from(text);
    log_in(module, found, session, Some(&pin))?;
    Ok(Some(pin))
}

fn log_in(
    module: &Pkcs11,
    found: &token::Found,
    session: &Session,
    pin: Option<&AuthPin>,
) -> Result<(), Pkcs11Error> {
    let token = || found.label.clone();
    match session.login(UserType::User, pin) {
        Ok(()) | Err(CryptokiError::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(CryptokiError::Pkcs11(
            RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange,
            _,
        )) => {
            let after = module.get_token_info(found.slot).ok();
            let is_last_try = after.as_ref().is_some_and(|info| info.user_pin_final_try());
            if after.is_some_and(|info| info.user_pin_locked()) {
                return Err(Pkcs11Error::PinLocked { token: token() });
            }
            Err(Pkcs11Error::PinIncorrect { token: token(), is_last_try })
        }
        Err(CryptokiError::Pkcs11(RvError::PinLocked, _)) => {
            Err(Pkcs11Error::PinLocked { token: token() })
        }
        Err(CryptokiError::Pkcs11(RvError::UserPinNotInitialized, _)) => {
            Err(Pkcs11Error::PinNotSet { token: token() })
        }
        Err(error) => Err(Pkcs11Error::call("log in")(error)),
    }
}

/// Checks what the token tells of a private key against the certificate: its kind, and for RSA the
/// modulus. What it does not tell shows in the first signature.
fn check_key(
    session: &Session,
    key: ObjectHandle,
    public: &PublicKey,
    token: &str,
) -> Result<(), Pkcs11Error> {
    let other = || Err(Pkcs11Error::OtherKey { token: token.to_owned() });
    let wanted =
        [AttributeType::KeyType, AttributeType::Modulus, AttributeType::AlwaysAuthenticate];
    let attributes =
        session.get_attributes(key, &wanted).map_err(Pkcs11Error::call("read the key"))?;
    for attribute in attributes {
        match (attribute, public) {
            (Attribute::KeyType(KeyType::RSA), PublicKey::Rsa { .. })
            | (Attribute::KeyType(KeyType::EC), PublicKey::Ec { .. }) => {}
            (Attribute::KeyType(_), _) => return other(),
            (Attribute::Modulus(found), PublicKey::Rsa { modulus, .. }) => {
                let zeros = found.iter().take_while(|&&byte| byte == 0).count();
                if !found.is_empty() && found[zeros..] != modulus[..] {
                    return other();
                }
            }
            (Attribute::AlwaysAuthenticate(true), _) => {
                return Err(Pkcs11Error::PinEachTime { token: token.to_owned() });
            }
            _ => {}
        }
    }
    let point = token::ec_point(session, key);
    match (point, public) {
        (Some(found), PublicKey::Ec { point, .. }) if found != *point => other(),
        _ => Ok(()),
    }
}

/// Tells whether another session might do what this one did not.
fn is_session_lost(error: &CryptokiError) -> bool {
    matches!(
        error,
        CryptokiError::Pkcs11(
            RvError::SessionHandleInvalid
                | RvError::SessionClosed
                | RvError::UserNotLoggedIn
                | RvError::DeviceRemoved
                | RvError::TokenNotPresent
                | RvError::ObjectHandleInvalid
                | RvError::KeyHandleInvalid
                | RvError::DeviceError,
            _
        )
    )
}

/// Is the class of the objects that sign.
const PRIVATE_KEY: Attribute = Attribute::Class(ObjectClass::PRIVATE_KEY);
