//! Whole layers, good and bad; other tests compare with mkfs.erofs and veritysetup.

use std::collections::BTreeSet;
use std::io::{BufRead, Write as _};
use std::os::unix::fs::FileExt;

use super::*;
use crate::layer::{ImageFile, Part};
use crate::tar::test_archive::{HeaderBlock, TestArchive};
use crate::tar::{DivergenceKind, Refusal, TarError};
use crate::verity::{Superblock, TreeBuilder};

const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn archive() -> Vec<u8> {
    let content: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    TestArchive::default()
        .header(HeaderBlock::new("usr/", b'5'))
        .file("usr/large", &content)
        .file("usr/zeros", &[0; 50_000])
        .file("usr/small", b"small")
        .ended()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn expected(blob: &[u8]) -> ExpectedLayer {
    ExpectedLayer {
        media_type: Some(GZIP.to_owned()),
        layer_digest: Some(Digest::of(blob)),
        size_bytes: Some(blob.len() as u64),
        diff_id: None,
    }
}

fn converted(blob: &[u8], expected: &ExpectedLayer) -> Result<ConvertedLayer, LayerError> {
    convert(blob, expected, &Profile::ALL, &mut Discard)
}

#[track_caller]
fn refused(blob: &[u8], expected: &ExpectedLayer) -> LayerError {
    converted(blob, expected).unwrap_err()
}

#[test]
fn a_layer_is_described_by_what_streamed_by() {
    let archive = archive();
    let blob = gzip(&archive);
    let expected = ExpectedLayer { diff_id: Some(Digest::of(&archive)), ..expected(&blob) };
    let layer = converted(&blob, &expected).unwrap();
    assert_eq!(layer.layer_digest, Digest::of(&blob));
    assert_eq!(layer.layer_size_bytes, blob.len() as u64);
    assert_eq!(layer.compression, Compression::Gzip);
    assert_eq!(layer.diff_id, Digest::of(&archive));
    assert_eq!(layer.archive_size_bytes, archive.len() as u64);
    assert_eq!((layer.members, layer.inodes), (4, 5));
    assert!(layer.divergences.is_empty());
    let profiles: Vec<_> = layer.images.iter().map(|image| image.profile).collect();
    assert_eq!(profiles, Profile::ALL);
}

#[test]
fn the_image_and_its_hash_area_verify_from_the_file() {
    let blob = gzip(&archive());
    for first in [Profile::ContainerdFullV1, Profile::OsguardCiV1] {
        let mut profiles = Profile::ALL.to_vec();
        profiles.sort_by_key(|profile| *profile != first);
        let file = tempfile::tempfile().unwrap();
        let mut sink = ImageFile::new(&file, &std::env::temp_dir()).unwrap();
        let layer = convert(&blob[..], &expected(&blob), &profiles, &mut sink).unwrap();

        let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        let hash_offset_bytes = layer.images[0].image_size_bytes;
        let (image, hash_area) = bytes.split_at(usize::try_from(hash_offset_bytes).unwrap());
        let parameters = first.verity_parameters();
        let mut builder = TreeBuilder::new(&parameters);
        builder.update(image);
        let tree = builder.finish().unwrap();
        assert_eq!(*tree.root_hash(), layer.images[0].root_hash);
        let mut tree_bytes = Vec::new();
        tree.write_to(&mut tree_bytes).unwrap();
        assert!(hash_area.ends_with(&tree_bytes));
        let superblock = Superblock {
            uuid: layer.images[0].uuid,
            data_blocks: hash_offset_bytes / u64::from(parameters.data_block_size.bytes()),
            parameters,
        };
        assert!(hash_area.starts_with(&superblock.to_bytes()));
    }
}

#[test]
fn an_archive_of_any_length_lies_behind_its_index() {
    for junk_bytes in [0, 1, 511, 512, 10_000] {
        let archive = [archive(), vec![b'j'; junk_bytes]].concat();
        let file = tempfile::tempfile().unwrap();
        let mut sink = ImageFile::new(&file, &std::env::temp_dir()).unwrap();
        let profiles = [Profile::OsguardCiV1];
        let layer = convert(&archive[..], &ExpectedLayer::default(), &profiles, &mut sink).unwrap();
        let hash_offset_bytes = layer.images[0].image_size_bytes;
        let mut behind = vec![0; archive.len().next_multiple_of(512)];
        let start = hash_offset_bytes - behind.len() as u64;
        file.read_exact_at(&mut behind, start).unwrap();
        assert!(behind.starts_with(&archive), "{junk_bytes}");
        assert!(behind[archive.len()..].iter().all(|&byte| byte == 0));

        let opened = crate::layer::LayerFile::open(file).unwrap();
        assert_eq!(opened.hash_offset_bytes(), hash_offset_bytes, "{junk_bytes}");
        let hashed = opened.hash(&mut opened.data().unwrap()).unwrap();
        assert_eq!(hashed.root_hash, layer.images[0].root_hash);
        hashed.hash_area.unwrap();
        opened.image().check().unwrap();
    }
}

#[test]
fn profiles_together_are_what_each_is_alone() {
    let blob = gzip(&archive());
    let together = converted(&blob, &expected(&blob)).unwrap();
    for (index, profile) in Profile::ALL.into_iter().enumerate() {
        let alone = convert(&blob[..], &expected(&blob), &[profile], &mut Discard).unwrap();
        assert_eq!(alone.images, [together.images[index].clone()]);
    }
    let root_hashes: BTreeSet<_> =
        together.images.iter().map(|image| image.root_hash.to_string()).collect();
    assert_eq!(root_hashes.len(), Profile::ALL.len());
    let none = convert(&blob[..], &expected(&blob), &[], &mut Discard).unwrap();
    assert_eq!(none.images, []);
}

#[test]
fn the_diff_id_profile_outlives_another_compression() {
    let archive = archive();
    let blobs = [gzip(&archive), archive.clone(), zstd::encode_all(&archive[..], 3).unwrap()];
    let layers = blobs.map(|blob| converted(&blob, &ExpectedLayer::default()).unwrap());
    let compressions = layers.each_ref().map(|layer| layer.compression);
    assert_eq!(compressions, [Compression::Gzip, Compression::Plain, Compression::Zstd]);
    for layer in &layers[1..] {
        assert_eq!(layer.diff_id, layers[0].diff_id);
        assert_ne!(layer.images[0].root_hash, layers[0].images[0].root_hash);
        assert_eq!(layer.images[1], layers[0].images[1]);
        assert_ne!(layer.images[2].root_hash, layers[0].images[2].root_hash);
        assert_eq!(layer.images[3], layers[0].images[3], "its UUID is always the same");
    }
}

#[test]
fn bytes_behind_the_end_marker_belong_to_the_diff_id() {
    let padded = [archive(), vec![0; 8192]].concat();
    let layer = converted(&gzip(&padded), &ExpectedLayer::default()).unwrap();
    assert_eq!(layer.diff_id, Digest::of(&padded));
    assert_eq!(layer.archive_size_bytes, padded.len() as u64);
}

#[test]
fn another_blob_is_refused_by_its_digest() {
    let blob = gzip(&archive());
    let mut other = blob.clone();
    let last = other.len() - 1;
    other[last / 2] ^= 1;
    let LayerError::LayerDigest { expected: wanted, found } = refused(&other, &expected(&blob))
    else {
        panic!()
    };
    assert_eq!((wanted, found), (Digest::of(&blob), Digest::of(&other)));
}

#[test]
fn a_blob_of_another_length_is_refused_by_its_length() {
    let blob = gzip(&archive());
    let size_bytes = blob.len() as u64;
    for length in [0, 1, 10, blob.len() - 1] {
        let LayerError::BlobTooShort { expected_bytes, found_bytes } =
            refused(&blob[..length], &expected(&blob))
        else {
            panic!()
        };
        assert_eq!((expected_bytes, found_bytes), (size_bytes, length as u64));
    }
    let longer = [&blob[..], b"1"].concat();
    assert!(matches!(
        refused(&longer, &expected(&blob)),
        LayerError::BlobTooLong { expected_bytes } if expected_bytes == size_bytes
    ));
    let much_longer = [&blob[..], &vec![0; 1 << 20]].concat();
    assert!(matches!(refused(&much_longer, &expected(&blob)), LayerError::BlobTooLong { .. }));
}

#[test]
fn another_archive_is_refused_by_its_diff_id() {
    let blob = gzip(&archive());
    let diff_id = Digest::of(b"another archive");
    let expected = ExpectedLayer { diff_id: Some(diff_id), ..expected(&blob) };
    let LayerError::DiffId { expected: wanted, found } = refused(&blob, &expected) else {
        panic!()
    };
    assert_eq!((wanted, found), (diff_id, Digest::of(&archive())));
}

#[test]
fn a_truncated_stream_with_the_right_digest_is_refused() {
    let blob = gzip(&archive());
    for length in [5, 100, blob.len() / 2, blob.len() - 1] {
        let error = refused(&blob[..length], &expected(&blob[..length]));
        assert!(matches!(error, LayerError::Inflate { compression: Compression::Gzip, .. }));
    }
}

#[test]
fn a_layer_that_is_no_archive_is_refused() {
    let blob = gzip(b"#!/bin/sh\necho no archive\n");
    let error = refused(&blob, &expected(&blob));
    let LayerError::Tar { source: TarError::Refused { reason, .. } } = error else { panic!() };
    assert!(matches!(reason, Refusal::NotTar { .. }));
}

#[test]
fn an_archive_that_no_image_can_hold_is_refused() {
    let link = HeaderBlock::new("link", b'1').set(157, b"missing");
    let blob = gzip(&TestArchive::default().header(link).ended());
    assert!(matches!(refused(&blob, &expected(&blob)), LayerError::Erofs { .. }));
}

#[test]
fn a_truncated_archive_is_refused_with_its_member() {
    let whole = archive();
    let blob = gzip(&whole[..1024 + 300_000]);
    let error = refused(&blob, &expected(&blob));
    let LayerError::Tar { source: TarError::Refused { path, reason, .. } } = error else {
        panic!("{error:?}")
    };
    assert_eq!(path, b"usr/large");
    assert!(matches!(reason, Refusal::Truncated { missing_bytes: 100_000 }));
}

#[test]
fn the_media_type_must_fit_the_blob() {
    let archive = archive();
    let error = refused(&archive, &expected(&archive));
    assert!(matches!(
        error,
        LayerError::CompressionMismatch {
            expected: Compression::Gzip,
            found: Compression::Plain,
            ..
        }
    ));
    let docker = ExpectedLayer {
        media_type: Some("application/vnd.docker.image.rootfs.diff.tar".to_owned()),
        ..expected(&archive)
    };
    assert!(converted(&archive, &docker).is_ok());
}

#[test]
fn a_media_type_of_no_layer_is_refused_before_anything_is_read() {
    struct Untouchable;
    impl Read for Untouchable {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            panic!("the blob is read")
        }
    }
    let expected =
        ExpectedLayer { media_type: Some("text/plain".to_owned()), ..ExpectedLayer::default() };
    let error = convert(Untouchable, &expected, &Profile::ALL, &mut Discard).unwrap_err();
    assert!(matches!(error, LayerError::UnknownMediaType { .. }));
}

#[test]
fn a_blob_that_cannot_be_read_keeps_its_reason() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("unplugged"))
        }
    }
    let blob = gzip(&archive());
    for length in [0, 3, 100, blob.len()] {
        let failing = blob[..length].chain(Failing);
        let error = convert(failing, &expected(&blob), &Profile::ALL, &mut Discard).unwrap_err();
        let LayerError::Read { offset_bytes, source } = error else { panic!("{error:?}") };
        assert_eq!((offset_bytes, source.to_string().as_str()), (length as u64, "unplugged"));
    }
}

#[test]
fn a_sink_that_fails_is_told_from_a_bad_layer() {
    struct Full(u64);
    impl ImageSink for Full {
        fn set_aside(&mut self, _: Part, _: &[u8]) -> io::Result<()> {
            Ok(())
        }

        fn place(&mut self, _: Part, _: u64) -> io::Result<()> {
            Ok(())
        }

        fn write_at(&mut self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
            if offset_bytes + bytes.len() as u64 > self.0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(())
        }

        fn finish(&mut self, _: u64) -> io::Result<()> {
            Ok(())
        }
    }
    let blob = gzip(&archive());
    let layer = converted(&blob, &expected(&blob)).unwrap();
    let size_bytes = layer.images[0].image_size_bytes;
    for room_bytes in [4096, size_bytes - 1, size_bytes] {
        let sink = &mut Full(room_bytes);
        let error = convert(&blob[..], &expected(&blob), &Profile::ALL, sink).unwrap_err();
        let LayerError::Write { source } = error else { panic!("{error:?}") };
        assert_eq!(source.kind(), io::ErrorKind::StorageFull);
    }
}

#[test]
fn an_archive_that_cannot_be_kept_is_told_from_a_bad_layer() {
    struct Full;
    impl ImageSink for Full {
        fn set_aside(&mut self, _: Part, _: &[u8]) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn place(&mut self, _: Part, _: u64) -> io::Result<()> {
            Ok(())
        }

        fn write_at(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
            Ok(())
        }

        fn finish(&mut self, _: u64) -> io::Result<()> {
            Ok(())
        }
    }
    let blob = gzip(&archive());
    let profiles = [Profile::ContainerdIndexV1];
    let error = convert(&blob[..], &expected(&blob), &profiles, &mut Full).unwrap_err();
    let LayerError::Write { source } = error else { panic!("{error:?}") };
    assert_eq!(source.kind(), io::ErrorKind::StorageFull);
}

#[test]
fn an_archive_beyond_the_limit_is_refused() {
    // A terabyte in hexadecimal lies in the size field; the reader meets the limit first.
    let size_in_base_256 = b"\x80\0\0\0\0\0\x02\0\0\0\0\0";
    let header = HeaderBlock::new("bomb", b'0').set(124, size_in_base_256).block();
    let blob = header.chain(io::repeat(0).take(4 << 20));
    let read = |archive: &mut dyn BufRead| {
        let mut tar = TarReader::new(archive);
        read_members(&mut tar, Some(&mut FullImage::new()), None, &mut Discard)
    };
    let error = stream(blob, &ExpectedLayer::default(), 1 << 20, read).map(drop).unwrap_err();
    assert!(matches!(error, LayerError::TooLong { limit_bytes: 1_048_576 }));
}

#[test]
fn divergences_of_archive_and_image_come_together() {
    let archive = TestArchive::default()
        .pax(b'x', &[("mtime", b"1.5")])
        .file("a", b"")
        .header(HeaderBlock::new("a", b'1').set(157, b"a"))
        .ended();
    let layer = converted(&archive, &ExpectedLayer::default()).unwrap();
    let kinds: Vec<_> = layer.divergences.iter().map(|(first, _)| first.kind).collect();
    assert_eq!(kinds, [DivergenceKind::FractionalTime, DivergenceKind::LinkToItself]);
}
