//! Signature lists, in which UEFI keeps certificates (`db`) and what revokes them (`dbx`).

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::Certificate;

/// Is an entry of a signature list.
///
/// # Format
///
/// Lists follow each other without gaps; numbers are little-endian.
///
/// | offset | bytes | field of a list |
/// |---|---|---|
/// | 0 | 16 | kind of its entries, a GUID |
/// | 16 | 4 | size of the list in bytes, these 28 included |
/// | 20 | 4 | size of its header in bytes: *h* |
/// | 24 | 4 | size of each entry in bytes: *e* |
/// | 28 | *h* | header, which no kind of today has |
/// | 28 + *h* | *e* each | entries: a GUID of who made it in 16 bytes, and the data |
///
/// Source: UEFI 2.10, section 32.4.1, `EFI_SIGNATURE_LIST`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignatureListEntry {
    /// A certificate (`EFI_CERT_X509_GUID`). Those that the kernel cannot read are left out.
    Certificate(Box<Certificate>),
    /// The SHA-256 of the signed part of a certificate (`EFI_CERT_X509_SHA256_GUID`): the data as they
    /// are, with the 16 bytes for the time of the revocation that UEFI wants behind the digest.
    CertificateDigest(Vec<u8>),
    /// Something about programs, or of a kind that the kernel does not know either.
    Other,
}

/// Reads signature lists: as they are, in a file of `efivarfs` (behind 4 bytes of attributes), or in
/// an update of a variable (behind a time and a signature, which is not checked).
///
/// # Errors
///
/// Fails where the sizes contradict each other or the bytes, and where there is no list at all.
pub fn read_signature_lists(
    contents: &[u8],
) -> Result<Vec<SignatureListEntry>, SignatureListError> {
    read_lists(contents).or_else(|error| {
        let variable = contents.get(ATTRIBUTES_BYTES..).and_then(|rest| read_lists(rest).ok());
        let update = || update_content(contents).and_then(|rest| read_lists(rest).ok());
        variable.or_else(update).ok_or(error)
    })
}

/// Says why something is not made of signature lists.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureListError {
    /// There is nothing.
    #[error("there is no signature list")]
    Empty,
    /// The sizes in a list contradict each other.
    #[error(
        "the signature list at byte {offset} has a size of {list_bytes} bytes, a header of {header_bytes} and entries of \
         {entry_bytes}, which do not go together"
    )]
    Sizes {
        /// Where the list starts, in bytes.
        offset: usize,
        /// The size of the list.
        list_bytes: u32,
        /// The size of its header.
        header_bytes: u32,
        /// The size of each entry.
        entry_bytes: u32,
    },
    /// The bytes end within a list.
    #[error("the signature list at byte {offset} is cut off")]
    Truncated {
        /// Where the list starts, in bytes.
        offset: usize,
    },
}

/// Source: `security/integrity/platform_certs/efi_parser.c`, `parse_efi_signature_list`.
fn read_lists(bytes: &[u8]) -> Result<Vec<SignatureListEntry>, SignatureListError> {
    if bytes.is_empty() {
        return Err(SignatureListError::Empty);
    }
    let mut entries = Vec::new();
    let mut offset = 0;
    while let Some(rest) = bytes.get(offset..).filter(|rest| !rest.is_empty()) {
        let truncated = SignatureListError::Truncated { offset };
        let Ok((raw, _)) = RawSignatureList::ref_from_prefix(rest) else {
            return Err(truncated);
        };
        let sizes = SignatureListError::Sizes {
            offset,
            list_bytes: raw.list_bytes.get(),
            header_bytes: raw.header_bytes.get(),
            entry_bytes: raw.entry_bytes.get(),
        };
        let [list_bytes, header_bytes, entry_bytes] =
            [raw.list_bytes, raw.header_bytes, raw.entry_bytes].map(|size| size.get() as usize);
        let list = rest.get(..list_bytes).ok_or(truncated)?;
        let start = size_of::<RawSignatureList>().saturating_add(header_bytes);
        let content = list.get(start..).ok_or_else(|| sizes.clone())?;
        if entry_bytes <= OWNER_BYTES || !content.len().is_multiple_of(entry_bytes) {
            return Err(sizes);
        }
        let data = content.chunks_exact(entry_bytes).map(|entry| &entry[OWNER_BYTES..]);
        entries.extend(data.filter_map(|data| entry(raw.kind, data)));
        offset += list_bytes;
    }
    Ok(entries)
}

fn entry(kind: [u8; 16], data: &[u8]) -> Option<SignatureListEntry> {
    match kind {
        X509 => Certificate::from_der(data)
            .ok()
            .map(|certificate| SignatureListEntry::Certificate(Box::new(certificate))),
        X509_SHA256 => Some(SignatureListEntry::CertificateDigest(data.to_vec())),
        _ => Some(SignatureListEntry::Other),
    }
}

/// Finds what an update of a variable brings.
///
/// Source: UEFI 2.10, section 8.2.2, `EFI_VARIABLE_AUTHENTICATION_2`.
fn update_content(bytes: &[u8]) -> Option<&[u8]> {
    let length = bytes.get(TIME_BYTES..TIME_BYTES + 4)?.try_into().ok()?;
    let length = usize::try_from(u32::from_le_bytes(length)).ok()?;
    bytes.get(TIME_BYTES.checked_add(length)?..)
}

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawSignatureList {
    kind: [u8; 16],
    list_bytes: U32,
    header_bytes: U32,
    entry_bytes: U32,
}

/// `EFI_CERT_X509_GUID`.
const X509: [u8; 16] = [
    0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72,
];

/// `EFI_CERT_X509_SHA256_GUID`.
const X509_SHA256: [u8; 16] = [
    0x92, 0xa4, 0xd2, 0x3b, 0xc0, 0x96, 0x79, 0x40, 0xb4, 0x20, 0xfc, 0xf9, 0x8e, 0xf1, 0x03, 0xed,
];

/// Names who made an entry.
const OWNER_BYTES: usize = 16;

/// In front of a variable in `efivarfs`.
const ATTRIBUTES_BYTES: usize = 4;

/// `EFI_TIME`.
const TIME_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn list(kind: [u8; 16], entries: &[&[u8]]) -> Vec<u8> {
        let entry_bytes = u32::try_from(OWNER_BYTES + entries[0].len()).unwrap();
        let count = u32::try_from(entries.len()).unwrap();
        let mut list = kind.to_vec();
        for number in [28 + count * entry_bytes, 0, entry_bytes] {
            list.extend(number.to_le_bytes());
        }
        for entry in entries {
            list.extend([0; OWNER_BYTES]);
            list.extend(*entry);
        }
        list
    }

    #[test]
    fn lists_are_read_in_each_place_where_they_are() {
        let lists = [list(X509_SHA256, &[&[1; 48], &[2; 48]]), list([7; 16], &[&[0; 32]])].concat();
        let expected = [
            SignatureListEntry::CertificateDigest(vec![1; 48]),
            SignatureListEntry::CertificateDigest(vec![2; 48]),
            SignatureListEntry::Other,
        ];
        assert_eq!(read_signature_lists(&lists).unwrap(), expected);
        let variable = [&[0x27, 0, 0, 0], &lists[..]].concat();
        assert_eq!(read_signature_lists(&variable).unwrap(), expected);
        let update = [&[0; 16], &24_u32.to_le_bytes()[..], &[9; 20], &lists[..]].concat();
        assert_eq!(read_signature_lists(&update).unwrap(), expected);
    }

    #[test]
    fn what_is_cut_off_or_contradicts_itself_is_refused() {
        let list = list(X509_SHA256, &[&[1; 48]]);
        assert_eq!(read_signature_lists(b""), Err(SignatureListError::Empty));
        for length in 1..list.len() {
            let error = read_signature_lists(&list[..length]).unwrap_err();
            assert_eq!(error, SignatureListError::Truncated { offset: 0 }, "{length}");
        }
        let mut behind = [&list[..], &list].concat();
        behind.pop();
        let error = read_signature_lists(&behind).unwrap_err();
        assert_eq!(error, SignatureListError::Truncated { offset: list.len() });
        for (place, value) in [(16, 27_u32), (20, 65), (24, 16), (24, 0), (24, 63), (20, u32::MAX)]
        {
            let mut broken = list.clone();
            broken[place..place + 4].copy_from_slice(&value.to_le_bytes());
            let error = read_signature_lists(&broken).unwrap_err();
            assert!(matches!(error, SignatureListError::Sizes { offset: 0, .. }), "{error}");
        }
    }

    #[test]
    fn certificates_that_are_none_are_left_out() {
        assert_eq!(read_signature_lists(&list(X509, &[b"none"])).unwrap(), []);
    }
}
