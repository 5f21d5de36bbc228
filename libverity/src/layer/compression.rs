//! How the archive in a layer is compressed.

use std::fmt;
use std::io::{self, BufRead, Read};

use flate2::bufread::MultiGzDecoder;

use super::{LayerError, MAX_ZSTD_WINDOW_LOG};

/// Tells the compressions of layers apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// gzip, of one member or many (RFC 1952).
    Gzip,
    /// None.
    Plain,
    /// Zstandard, of one frame or many (RFC 8878).
    Zstd,
}

impl Compression {
    /// Returns the compression that a media type stands for, or `None` where the media type leaves
    /// that open, as Docker's for plain archives does in practice.
    ///
    /// # Errors
    ///
    /// Refuses media types of encrypted layers, of foreign layers, and of anything else that is no
    /// archive of a file system.
    ///
    /// Source: OCI image specification, `media-types.md`; containerd, `core/images/mediatypes.go`.
    pub fn of_media_type(media_type: &str) -> Result<Option<Self>, LayerError> {
        let media_type_owned = || media_type.to_owned();
        if media_type.ends_with("+encrypted") {
            return Err(LayerError::Encrypted { media_type: media_type_owned() });
        }
        if media_type.starts_with(OCI_FOREIGN) || media_type.starts_with(DOCKER_FOREIGN) {
            return Err(LayerError::Foreign { media_type: media_type_owned() });
        }
        match media_type {
            "application/vnd.oci.image.layer.v1.tar" => Ok(Some(Self::Plain)),
            "application/vnd.oci.image.layer.v1.tar+gzip"
            | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Ok(Some(Self::Gzip)),
            "application/vnd.oci.image.layer.v1.tar+zstd"
            | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Ok(Some(Self::Zstd)),
            "application/vnd.docker.image.rootfs.diff.tar" => Ok(None),
            _ => Err(LayerError::UnknownMediaType { media_type: media_type_owned() }),
        }
    }

    /// Returns the compression by the first bytes of a blob.
    pub(super) fn of_first_bytes(bytes: &[u8]) -> Self {
        match bytes {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // A frame, and a skippable frame, as pzstd puts before the others.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::Plain,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Gzip => "gzip",
            Self::Plain => "plain tar",
            Self::Zstd => "zstd",
        })
    }
}

/// Decompresses a blob while it is read.
///
/// All members or frames are read, to the end of the blob. Errors are [`LayerError`]s within
/// [`io::Error`]s.
pub(super) struct Inflate<B: BufRead> {
    decoder: Decoder<B>,
    inflated_bytes: u64,
}

impl<B: BufRead> Inflate<B> {
    /// Looks at the first bytes of `blob`, as far as they are in its buffer, for the compression.
    pub(super) fn new(mut blob: B) -> io::Result<Self> {
        let decoder = match Compression::of_first_bytes(blob.fill_buf()?) {
            Compression::Gzip => Decoder::Gzip(Box::new(MultiGzDecoder::new(blob))),
            Compression::Plain => Decoder::Plain(blob),
            Compression::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(blob)?;
                decoder.window_log_max(MAX_ZSTD_WINDOW_LOG)?;
                Decoder::Zstd(decoder)
            }
        };
        Ok(Self { decoder, inflated_bytes: 0 })
    }

    /// Returns how the blob is compressed.
    pub(super) const fn compression(&self) -> Compression {
        match self.decoder {
            Decoder::Gzip(_) => Compression::Gzip,
            Decoder::Plain(_) => Compression::Plain,
            Decoder::Zstd(_) => Compression::Zstd,
        }
    }

    /// Returns the blob, to be read behind what was inflated.
    pub(super) fn blob(&mut self) -> &mut B {
        match &mut self.decoder {
            Decoder::Gzip(decoder) => decoder.get_mut(),
            Decoder::Plain(blob) => blob,
            Decoder::Zstd(decoder) => decoder.get_mut(),
        }
    }

    /// Returns the blob.
    pub(super) fn into_blob(self) -> B {
        match self.decoder {
            Decoder::Gzip(decoder) => decoder.into_inner(),
            Decoder::Plain(blob) => blob,
            Decoder::Zstd(decoder) => decoder.finish(),
        }
    }
}

impl<B: BufRead> Read for Inflate<B> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = match &mut self.decoder {
            Decoder::Gzip(decoder) => decoder.read(buffer),
            Decoder::Plain(blob) => blob.read(buffer),
            Decoder::Zstd(decoder) => decoder.read(buffer),
        };
        match result {
            Ok(read) => {
                self.inflated_bytes += read as u64;
                Ok(read)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => Err(match error.downcast::<LayerError>() {
                Ok(error) => error.into(),
                Err(source) => LayerError::Inflate {
                    compression: self.compression(),
                    inflated_bytes: self.inflated_bytes,
                    source,
                }
                .into(),
            }),
        }
    }
}

enum Decoder<B: BufRead> {
    Gzip(Box<MultiGzDecoder<B>>),
    Plain(B),
    Zstd(zstd::Decoder<'static, B>),
}

const OCI_FOREIGN: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";
const DOCKER_FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar";

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(content: &[u8]) -> Vec<u8> {
        zstd::encode_all(content, 1).unwrap()
    }

    fn inflated(blob: &[u8]) -> Result<Vec<u8>, LayerError> {
        let mut content = Vec::new();
        match Inflate::new(blob).unwrap().read_to_end(&mut content) {
            Ok(_) => Ok(content),
            Err(error) => Err(error.downcast().unwrap()),
        }
    }

    #[test]
    fn media_types_stand_for_compressions() {
        for (media_type, compression) in [
            ("application/vnd.oci.image.layer.v1.tar", Some(Compression::Plain)),
            ("application/vnd.oci.image.layer.v1.tar+gzip", Some(Compression::Gzip)),
            ("application/vnd.oci.image.layer.v1.tar+zstd", Some(Compression::Zstd)),
            ("application/vnd.docker.image.rootfs.diff.tar", None),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", Some(Compression::Gzip)),
            ("application/vnd.docker.image.rootfs.diff.tar.zstd", Some(Compression::Zstd)),
        ] {
            assert_eq!(Compression::of_media_type(media_type).unwrap(), compression);
        }
    }

    #[test]
    fn other_media_types_are_refused_by_what_they_are() {
        let refused = |media_type| Compression::of_media_type(media_type).unwrap_err();
        for media_type in [
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        ] {
            assert!(matches!(refused(media_type), LayerError::Foreign { .. }));
        }
        assert!(matches!(
            refused("application/vnd.oci.image.layer.v1.tar+gzip+encrypted"),
            LayerError::Encrypted { .. }
        ));
        for media_type in ["application/vnd.in-toto+json", "application/vnd.erofs.layer.v1", ""] {
            assert!(matches!(refused(media_type), LayerError::UnknownMediaType { .. }));
        }
    }

    #[test]
    fn all_members_and_frames_are_read() {
        let skippable = b"\x50\x2a\x4d\x18\x04\0\0\0skip";
        for blob in [
            b"onetwo".to_vec(),
            gzip(b"onetwo"),
            [gzip(b"one"), gzip(b""), gzip(b"two")].concat(),
            zstd(b"onetwo"),
            [zstd(b"one"), skippable.to_vec(), zstd(b"two")].concat(),
            [skippable.to_vec(), zstd(b"onetwo")].concat(),
        ] {
            assert_eq!(inflated(&blob).unwrap(), b"onetwo");
        }
        assert_eq!(inflated(b"").unwrap(), b"");
    }

    #[test]
    fn every_truncation_is_refused() {
        let content: Vec<u8> = (0..2000_u32).flat_map(u32::to_le_bytes).collect();
        for blob in [gzip(&content), zstd(&content)] {
            let compression = Compression::of_first_bytes(&blob);
            for length in 4..blob.len() {
                let error = inflated(&blob[..length]).unwrap_err();
                let LayerError::Inflate { compression: found, .. } = error else { panic!() };
                assert_eq!(found, compression);
            }
        }
    }

    #[test]
    fn damage_is_refused() {
        let content = [7; 2000];
        for mut blob in
            [gzip(&content), gzip(&content), [gzip(&content), b"junk".to_vec()].concat()]
        {
            let last = blob.len() - 1;
            blob[last] ^= 1;
            assert!(matches!(inflated(&blob), Err(LayerError::Inflate { .. })));
        }
    }

    #[test]
    fn a_window_beyond_the_limit_is_refused() {
        let with_window = |log| {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(log).unwrap();
            encoder.write_all(b"content").unwrap();
            encoder.finish().unwrap()
        };
        assert_eq!(inflated(&with_window(MAX_ZSTD_WINDOW_LOG)).unwrap(), b"content");
        let beyond = inflated(&with_window(MAX_ZSTD_WINDOW_LOG + 1));
        assert!(matches!(beyond, Err(LayerError::Inflate { .. })));
    }
}
