//! Extension headers: what stands before the header of a member and replaces its fields.

use super::Refusal;
use super::header::Header;
use super::pax::PaxAttributes;

/// Holds what the extension headers before a member say about it.
#[derive(Default)]
pub(super) struct Extensions {
    /// What the PAX headers say.
    pub(super) pax: PaxAttributes,
    has_pax: bool,
    long_path: Option<Vec<u8>>,
    long_target: Option<Vec<u8>>,
}

impl Extensions {
    pub(super) const fn is_empty(&self) -> bool {
        !self.has_pax && self.long_path.is_none() && self.long_target.is_none()
    }

    /// Refuses a second header of a kind, a global one between those of a member, and any after
    /// a size, which would become that header's own.
    pub(super) fn check_order(&self, typeflag: u8) -> Result<(), Refusal> {
        let refused = match typeflag {
            b'g' => !self.is_empty(),
            b'x' => self.has_pax,
            b'L' => self.long_path.is_some(),
            _ => self.long_target.is_some(),
        };
        if refused || self.pax.size_bytes.is_some() {
            return Err(Refusal::ExtensionOrder { typeflag });
        }
        Ok(())
    }

    /// Adds the payload of an `x`, `L` or `K` header.
    pub(super) fn apply(&mut self, typeflag: u8, payload: Vec<u8>) -> Result<(), Refusal> {
        match typeflag {
            b'x' => {
                self.has_pax = true;
                return self.pax.apply(&payload);
            }
            b'L' => self.long_path = Some(until_trailing_nul(payload)?),
            _ => self.long_target = Some(until_trailing_nul(payload)?),
        }
        Ok(())
    }

    /// Returns the member's path where one of the headers gives it.
    pub(super) fn known_path(&self) -> Option<&[u8]> {
        self.long_path.as_deref().or(self.pax.path.as_deref())
    }

    /// Tells whether the path is a GNU long name alone.
    pub(super) fn is_path_of_gnu(&self) -> bool {
        self.long_path.is_some() && self.pax.path.is_none()
    }

    /// Returns the path that stands before the one in the header.
    pub(super) fn path(&self) -> Result<Option<&[u8]>, Refusal> {
        either(self.pax.path.as_deref(), self.long_path.as_deref(), b'L')
    }

    /// Returns the link target that stands before the one in the header.
    pub(super) fn link_target(&self) -> Result<Option<&[u8]>, Refusal> {
        either(self.pax.link_target.as_deref(), self.long_target.as_deref(), b'K')
    }

    /// Returns the size of the payload.
    ///
    /// A PAX header states it where the header's eleven octal digits do not suffice, and the
    /// header then holds nothing, zero, the same in base 256, or as many as the digits can say.
    pub(super) fn size_bytes(&self, header: &Header) -> Result<u64, Refusal> {
        let Some(pax_bytes) = self.pax.size_bytes else { return header.size_bytes() };
        let is_large = pax_bytes > MAX_OCTAL_SIZE_BYTES;
        if is_large && header.size_is_empty() {
            return Ok(pax_bytes);
        }
        let header_bytes = header.size_bytes()?;
        let is_placeholder = is_large && matches!(header_bytes, 0 | MAX_OCTAL_SIZE_BYTES);
        if header_bytes != pax_bytes && !is_placeholder {
            return Err(Refusal::SizeConflict { header_bytes, pax_bytes });
        }
        if i64::try_from(pax_bytes).is_err() {
            let found = pax_bytes.to_string().into_bytes();
            return Err(Refusal::PaxValue { keyword: b"size".to_vec(), value: found });
        }
        Ok(pax_bytes)
    }
}

/// Takes the one of PAX and GNU names that is there, or both where they agree.
fn either<'a>(
    pax: Option<&'a [u8]>,
    gnu: Option<&'a [u8]>,
    typeflag: u8,
) -> Result<Option<&'a [u8]>, Refusal> {
    match (pax, gnu) {
        (Some(pax), Some(gnu)) if pax != gnu => Err(Refusal::ExtensionOrder { typeflag }),
        _ => Ok(pax.or(gnu)),
    }
}

/// Cuts the NULs off the end of a GNU long name.
fn until_trailing_nul(mut name: Vec<u8>) -> Result<Vec<u8>, Refusal> {
    while name.ends_with(b"\0") {
        name.pop();
    }
    if name.contains(&0) { Err(Refusal::NameWithNul { name }) } else { Ok(name) }
}

/// Is the largest size that eleven octal digits can say: 8 GiB less one byte.
const MAX_OCTAL_SIZE_BYTES: u64 = (1 << 33) - 1;
