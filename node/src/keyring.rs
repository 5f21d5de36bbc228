//! Kernel keyrings: `add_key(2)`, `keyctl(2)` and `/proc/keys`.

use std::ffi::{CString, NulError};
use std::io;
use std::marker::PhantomData;

/// Is a key of type `user` in the keyring of the calling thread; it is invalidated when the value is dropped.
///
/// dm-verity looks a signature up (`request_key`) in the keyrings of the very thread that loads the table, so the value
/// cannot be sent to another thread. No other thread or process ever sees the key.
///
/// Source: `drivers/md/dm-verity-verify-sig.c`, `verity_verify_get_sig_from_key`.
#[derive(Debug)]
pub struct ThreadKey {
    serial: i32,
    description: String,
    not_send: PhantomData<*const ()>,
}

impl ThreadKey {
    /// Adds `payload` under `description` to the keyring of the calling thread.
    ///
    /// # Errors
    ///
    /// Fails for a payload over [`PAYLOAD_LIMIT_BYTES`] or empty, and when the kernel refuses (quota, or no keyrings).
    pub fn add(description: &str, payload: &[u8]) -> Result<Self, KeyringError> {
        if payload.is_empty() || payload.len() > PAYLOAD_LIMIT_BYTES {
            return Err(KeyringError::Length {
                description: description.to_owned(),
                length_bytes: payload.len(),
            });
        }
        let name = CString::new(description).map_err(|source| KeyringError::Description {
            description: description.to_owned(),
            source,
        })?;
        let serial = add_key(c"user", &name, payload, KEY_SPEC_THREAD_KEYRING)
            .map_err(|source| KeyringError::Add { description: description.to_owned(), source })?;
        Ok(Self { serial, description: description.to_owned(), not_send: PhantomData })
    }

    /// Returns the description by which the key is looked up.
    pub fn description(&self) -> &str {
        &self.description
    }
}

impl Drop for ThreadKey {
    fn drop(&mut self) {
        // Nothing can be done about a failure here: the keyring dies with its thread in any case.
        if keyctl(KEYCTL_INVALIDATE, self.serial, 0).is_err() {
            let _ = keyctl(KEYCTL_UNLINK, self.serial, KEY_SPEC_THREAD_KEYRING);
        }
    }
}

/// Is one line of `/proc/keys`: a key that the reading process may view.
///
/// Source: `security/keys/proc.c`, `proc_keys_show`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedKey {
    /// The serial number.
    pub serial: u32,
    /// The type: `keyring`, `user`, `asymmetri` (cut to nine characters by the kernel).
    pub key_type: String,
    /// The description and, behind a colon, what the type adds: `.platform: 5`, `CN: subject: X509.rsa 8a3f []`.
    pub description: String,
}

/// Lists the keys that this process may view.
///
/// # Errors
///
/// Fails when `/proc/keys` cannot be read. Lines that do not parse are left out, and so are keys that are revoked or
/// invalidated and wait to be collected.
pub fn listed_keys() -> Result<Vec<ListedKey>, KeyringError> {
    let text =
        std::fs::read_to_string(PROC_KEYS).map_err(|source| KeyringError::List { source })?;
    Ok(text.lines().filter_map(parse_listed_key).collect())
}

/// Says what is wrong with a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// The kernel refused the key.
    #[error("the kernel does not accept the key {description:?}")]
    Add {
        /// The description of the key.
        description: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The description holds a NUL byte.
    #[error("{description:?} cannot describe a key")]
    Description {
        /// The description.
        description: String,
        /// Where the NUL byte is.
        source: NulError,
    },
    /// The payload is empty or longer than a key of type `user` may be.
    #[error(
        "the payload of the key {description:?} has {length_bytes} bytes; 1 to {PAYLOAD_LIMIT_BYTES} are allowed"
    )]
    Length {
        /// The description of the key.
        description: String,
        /// The length of the payload.
        length_bytes: usize,
    },
    /// The list of keys cannot be read.
    #[error("cannot read {PROC_KEYS}")]
    List {
        /// The kernel's answer.
        source: io::Error,
    },
}

/// The longest payload of a key of type `user` (`security/keys/user_defined.c`, `user_preparse`).
pub const PAYLOAD_LIMIT_BYTES: usize = 32767;

/// Parses `1f1b40d8 I------     1 perm 1f0b0000     0     0 keyring   .platform: 5`.
fn parse_listed_key(line: &str) -> Option<ListedKey> {
    let mut rest = line;
    let mut word = || {
        let trimmed = rest.trim_start();
        let (word, tail) = trimmed.split_once(char::is_whitespace)?;
        rest = tail;
        Some(word)
    };
    let serial = u32::from_str_radix(word()?, 16).ok()?;
    // Of the flags `IRDQUNi`, these mean revoked, dead and invalidated.
    if word()?.contains(['R', 'D', 'i']) {
        return None;
    }
    // Usage count, time to live, permissions, user and group.
    for _ in 0..5 {
        word()?;
    }
    let key_type = word()?.to_owned();
    Some(ListedKey { serial, key_type, description: rest.trim().to_owned() })
}

#[expect(unsafe_code, reason = "the system call has no safe wrapper")]
fn add_key(
    key_type: &std::ffi::CStr,
    description: &std::ffi::CStr,
    payload: &[u8],
    keyring: i32,
) -> io::Result<i32> {
    // SAFETY: both strings end with NUL, the payload is readable for the length that is passed, and all of them
    // outlive the call; the kernel copies them.
    let serial = unsafe {
        libc::syscall(
            libc::SYS_add_key,
            key_type.as_ptr(),
            description.as_ptr(),
            payload.as_ptr(),
            payload.len(),
            keyring,
        )
    };
    serial_or_error(serial)
}

#[expect(unsafe_code, reason = "the system call has no safe wrapper")]
fn keyctl(operation: libc::c_int, first: i32, second: i32) -> io::Result<i32> {
    // SAFETY: the operations used here take serial numbers only, no memory.
    let answer = unsafe { libc::syscall(libc::SYS_keyctl, operation, first, second) };
    serial_or_error(answer)
}

fn serial_or_error(answer: libc::c_long) -> io::Result<i32> {
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(answer).map_err(io::Error::other)
}

const PROC_KEYS: &str = "/proc/keys";
const KEY_SPEC_THREAD_KEYRING: i32 = -1;
const KEYCTL_UNLINK: libc::c_int = 9;
const KEYCTL_INVALIDATE: libc::c_int = 21;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc_keys_are_parsed() {
        let line = "1f1b40d8 I------     1 perm 1f0b0000     0     0 keyring   .platform: 5";
        assert_eq!(
            parse_listed_key(line),
            Some(ListedKey {
                serial: 0x1f1b_40d8,
                key_type: "keyring".to_owned(),
                description: ".platform: 5".to_owned(),
            })
        );
        let line =
            "02c1ca98 I------     1   2d 1f030000     0     0 asymmetri A B: 8a3f: X509.rsa 8a []";
        let key = parse_listed_key(line).unwrap();
        assert_eq!(key.key_type, "asymmetri");
        assert_eq!(key.description, "A B: 8a3f: X509.rsa 8a []");
        assert_eq!(parse_listed_key(&line.replace("I------", "I-----i")), None);
        assert_eq!(parse_listed_key("nonsense"), None);
    }

    #[test]
    fn key_lives_in_the_thread_until_it_is_dropped() {
        let description = format!("osguard-test:{}", std::process::id());
        let listed = || {
            let keys = listed_keys().unwrap();
            keys.iter().filter(|key| key.description.starts_with(&description)).count()
        };
        let key = match ThreadKey::add(&description, b"signature") {
            Ok(key) => key,
            Err(error) => return osguard_testkit::skip(&format!("kernel keyrings ({error})")),
        };
        assert_eq!(listed(), 1);
        assert_eq!(key.description(), description);
        drop(key);
        assert_eq!(listed(), 0);
    }

    #[test]
    fn payload_has_a_limit() {
        for length_bytes in [0, PAYLOAD_LIMIT_BYTES + 1] {
            let error = ThreadKey::add("osguard-test", &vec![0; length_bytes]).unwrap_err();
            assert!(matches!(error, KeyringError::Length { .. }), "{error}");
        }
    }
}
