//! The same outcome on one processor and on several, and an end whatever happens.

use std::io::{Read, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::tar::TarReader;
use crate::tar::test_archive::TestArchive;

/// Longer than all pieces that can be under way.
fn archive() -> Vec<u8> {
    let content: Vec<u8> = (0..1_500_000_u32).flat_map(|word| (word / 3).to_le_bytes()).collect();
    TestArchive::default().file("large", &content).file("small", b"small").ended()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn members(archive: &mut dyn BufRead) -> Result<u64, LayerError> {
    let mut tar = TarReader::new(archive);
    while tar.next_entry().map_err(LayerError::from_archive)?.is_some() {}
    io::copy(tar.stream(), &mut io::sink()).map_err(unwrap_or_read)?;
    Ok(tar.members())
}

/// Says all that is known after a blob was read.
fn outcome(processors: usize, blob: &[u8], expected: &ExpectedLayer) -> String {
    match stream_on(processors, blob, expected, 1 << 30, members) {
        Ok(layer) => format!(
            "{} {} {} {} {} {}",
            layer.layer_digest,
            layer.layer_size_bytes,
            layer.compression,
            layer.diff_id,
            layer.archive_size_bytes,
            layer.result
        ),
        Err(error) => format!("{error:?}"),
    }
}

#[test]
fn one_processor_finds_what_several_find() {
    let archive = archive();
    let blobs = [gzip(&archive), archive.clone(), zstd::encode_all(&archive[..], 1).unwrap()];
    let mut outcomes = Vec::new();
    for blob in &blobs {
        let known = ExpectedLayer {
            layer_digest: Some(Digest::of(blob)),
            size_bytes: Some(blob.len() as u64),
            diff_id: Some(Digest::of(&archive)),
            ..ExpectedLayer::default()
        };
        let middle = blob.len() / 2;
        let mut damaged = blob.clone();
        damaged[middle] ^= 1;
        let longer = [&blob[..], b"more"].concat();
        for found in [&blob[..], &blob[..middle], &blob[..blob.len() - 700], &damaged, &longer] {
            for expected in [&known, &ExpectedLayer::default()] {
                let alone = outcome(1, found, expected);
                assert_eq!(outcome(2, found, expected), alone);
                outcomes.push(alone);
            }
        }
    }
    outcomes.sort();
    outcomes.dedup();
    assert!(outcomes.len() > 15, "{outcomes:#?}");
}

#[test]
fn a_plain_archive_is_its_blob() {
    let archive = archive();
    for processors in [1, 2] {
        let expected = ExpectedLayer::default();
        let layer = stream_on(processors, &archive[..], &expected, 1 << 30, members).unwrap();
        assert_eq!(layer.layer_digest, Digest::of(&archive));
        assert_eq!(layer.diff_id, layer.layer_digest);
        assert_eq!(layer.archive_size_bytes, archive.len() as u64);
        assert_eq!(layer.result, 2);
    }
}

#[test]
fn a_plain_archive_beyond_the_limit_is_refused() {
    let archive = archive();
    for processors in [1, 2] {
        let expected = ExpectedLayer::default();
        let result = stream_on(processors, &archive[..], &expected, 1 << 20, members);
        assert!(matches!(result, Err(LayerError::TooLong { limit_bytes: 1_048_576 })));
    }
}

#[test]
fn a_panic_of_any_stage_ends_all_of_them() {
    struct Panics;
    impl Read for Panics {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            panic!("the blob")
        }
    }
    let archive = archive();
    let blob = gzip(&archive);
    for processors in [1, 2] {
        for length in [0, 100, blob.len()] {
            let panics = blob[..length].chain(Panics);
            let expected = ExpectedLayer::default();
            let read = || stream_on(processors, panics, &expected, 1 << 30, members).map(drop);
            let panic = catch_unwind(AssertUnwindSafe(read)).unwrap_err();
            assert_eq!(panic.downcast_ref(), Some(&"the blob"));
        }
        for read_bytes in [0, 1000, archive.len()] {
            let read = |archive: &mut dyn BufRead| -> Result<(), LayerError> {
                archive.read_exact(&mut vec![0; read_bytes]).unwrap();
                panic!("the archive")
            };
            let expected = ExpectedLayer::default();
            let read = || stream_on(processors, &blob[..], &expected, 1 << 30, read).map(drop);
            let panic = catch_unwind(AssertUnwindSafe(read)).unwrap_err();
            assert_eq!(panic.downcast_ref(), Some(&"the archive"));
        }
    }
}

#[test]
fn who_has_seen_enough_of_an_archive_does_not_wait_for_its_end() {
    let blob = gzip(&archive());
    for processors in [1, 2] {
        let read = |archive: &mut dyn BufRead| {
            archive.read_exact(&mut [0; 512]).map_err(|source| LayerError::Write { source })
        };
        let layer = stream_on(processors, &blob[..], &ExpectedLayer::default(), 1 << 30, read);
        assert_eq!(layer.unwrap().layer_digest, Digest::of(&blob), "the blob is read to its end");
    }
}
