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

/// Lists the serial numbers of what is linked into a keyring, to which the process must have the right to read.
///
/// # Errors
///
/// Fails without that right.
pub fn keyring_members(serial: u32) -> io::Result<Vec<u32>> {
    let mut bytes = vec![0_u8; MEMBER_LIMIT * size_of::<i32>()];
    let length = read_key(serial.cast_signed(), &mut bytes)?;
    // The kernel tells the whole length, and fills in what there is room for.
    let filled = bytes.get(..length).unwrap_or(&bytes);
    let members = filled.chunks_exact(size_of::<i32>());
    Ok(members
        .map(|member| u32::from_ne_bytes([member[0], member[1], member[2], member[3]]))
        .collect())
}

/// Tells whether a keyring takes no more keys, whoever adds them.
///
/// The kernel does not say. So a key is added that it cannot take: of type `logon`, and with a description that this type
/// refuses. It asks the keyring before the type (`security/keys/key.c`, `__key_create_or_update`), and nothing is changed
/// either way.
///
/// # Errors
///
/// Fails without the right to write to the keyring.
pub fn is_sealed(serial: u32) -> io::Result<bool> {
    match add_key(c"logon", c"osguard", b"-", serial.cast_signed()) {
        Err(error) => match error.raw_os_error() {
            Some(libc::EPERM) => Ok(true),
            Some(libc::EINVAL) => Ok(false),
            _ => Err(error),
        },
        Ok(_) => Err(io::Error::other("the kernel took a key that it should not have taken")),
    }
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
    let answer = unsafe { libc::syscall(libc::SYS_keyctl, operation, first, second, 0, 0) };
    serial_or_error(answer)
}

/// Reads the payload of a key into `bytes`, and returns its whole length.
#[expect(unsafe_code, reason = "the system call has no safe wrapper")]
fn read_key(serial: i32, bytes: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes at most as many bytes as it is told, into memory that is borrowed for the call.
    let answer = unsafe {
        libc::syscall(libc::SYS_keyctl, KEYCTL_READ, serial, bytes.as_mut_ptr(), bytes.len())
    };
    usize::try_from(answer).map_err(|_| io::Error::last_os_error())
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
const KEYCTL_READ: libc::c_int = 11;
const KEYCTL_INVALIDATE: libc::c_int = 21;

/// More keys than any of the kernel's keyrings is known to hold.
const MEMBER_LIMIT: usize = 4096;

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
    fn members_are_listed_and_the_seal_is_seen() {
        let key = match ThreadKey::add("osguard-test:member", b"x") {
            Ok(key) => key,
            Err(error) => return osguard_testkit::skip(&format!("kernel keyrings ({error})")),
        };
        // The special number of the thread's own keyring.
        let thread = KEY_SPEC_THREAD_KEYRING.cast_unsigned();
        assert_eq!(keyring_members(thread).unwrap(), [key.serial.cast_unsigned()]);
        assert!(!is_sealed(thread).unwrap());
        // Without a key, the restriction is that nothing more comes in.
        keyctl(KEYCTL_RESTRICT_KEYRING, KEY_SPEC_THREAD_KEYRING, 0).unwrap();
        assert!(is_sealed(thread).unwrap());
        assert_eq!(keyring_members(thread).unwrap().len(), 1);
    }

    const KEYCTL_RESTRICT_KEYRING: libc::c_int = 29;

    #[test]
    fn payload_has_a_limit() {
        for length_bytes in [0, PAYLOAD_LIMIT_BYTES + 1] {
            let error = ThreadKey::add("osguard-test", &vec![0; length_bytes]).unwrap_err();
            assert!(matches!(error, KeyringError::Length { .. }), "{error}");
        }
    }
}
