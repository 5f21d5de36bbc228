//! Images whose sums were taken from mkfs.erofs 1.9.4.
//!
//! testdata/erofs/golden.py makes the archives.

use std::io::Read as _;
use std::path::Path;

use libverity::digest::Digest;
use libverity::erofs::Writer;
use libverity::tar::TarReader;

use crate::archive::{Archive, Member, file_header};
use crate::convert::{UUID, full_image, index_image};

#[test]
fn full_images_are_those_of_mkfs_erofs() {
    for vector in VECTORS {
        let archive = vector.archive();
        let (image, _) = full_image(&archive[..]).unwrap();
        assert_eq!(Digest::of(&image).hex(), vector.full, "{}", vector.name);
    }
}

#[test]
fn index_images_are_those_of_mkfs_erofs() {
    for vector in VECTORS {
        let (image, _) = index_image(&vector.archive()[..]).unwrap();
        assert_eq!(Digest::of(&image).hex(), vector.index, "{}", vector.name);
    }
}

/// A small inode says at most 65,535 links: those of 65,533 directories and of the two dots. A
/// directory with more says 1; a file with more becomes a large inode.
#[test]
fn counts_of_links_beyond_16_bits_are_those_of_mkfs_erofs() {
    let directories = |count| (0..count).map(|number| member(format!("d/{number:05}/"), b'5'));
    let links = |count| {
        let link = |number| Member {
            link: b"f".into(),
            ..member(format!("{:02}/{:03}", number / 1000, number % 1000), b'1')
        };
        std::iter::once(member("f".to_owned(), b'0')).chain((0..count).map(link))
    };
    let vectors = [
        (
            archive(directories(65_533)),
            "05069125fc47705fb97d0a3b1f7427a4c32ca220430a90901ba41fdf235001cd",
        ),
        (
            archive(directories(65_534)),
            "14a45864f1514d6004d18b2f9f19d94ca8981caaf06257201407e59351046cfe",
        ),
        (
            archive(links(65_534)),
            "6f4bbb995bf457de654a0bf21146403d4bf269c5cab0036d37b002c83178588d",
        ),
        (
            archive(links(65_535)),
            "9ff330849775c3f0b6fa0f1d09754532e279852c154520f03aafde9b3d5e22d5",
        ),
    ];
    for (archive, sum) in vectors {
        let (image, _) = full_image(&archive[..]).unwrap();
        assert_eq!(Digest::of(&image).hex(), sum);
    }
}

/// A length of more than 32 bits needs a large inode. The content, which is zero, is left out of
/// the sum.
#[test]
fn files_beyond_4_gib_are_those_of_mkfs_erofs() {
    let size_bytes = (1_u64 << 32) + 5;
    let archive = || {
        let small = [&file_header("small", 5)[..], b"small", &[0; 507 + 1024]].concat();
        std::io::Cursor::new(file_header("large", size_bytes))
            .chain(std::io::repeat(0).take(size_bytes.next_multiple_of(512)))
            .chain(std::io::Cursor::new(small))
    };
    let end_block = 1 + size_bytes.div_ceil(4096);
    let mut behind = Vec::new();
    let mut sink = |first_block: u64, blocks: &[u8]| {
        let content_bytes = end_block.saturating_sub(first_block) * 4096;
        behind.extend_from_slice(blocks.get(content_bytes as usize..).unwrap_or_default());
        Ok(())
    };
    let mut members = TarReader::new(archive());
    let mut writer = Writer::new();
    while let Some(entry) = members.next_entry().unwrap() {
        writer.add(&entry, &mut members, &mut sink).unwrap();
    }
    let image = writer.finish(&mut sink).unwrap();
    let sum = Digest::of(&[image.superblock_block(UUID), behind].concat());
    assert_eq!(sum.hex(), "5060b36888f801b853abe0ac287d013dcbf48957b38cdce709400e4ab8185751");
    let (index, _) = index_image(archive()).unwrap();
    assert_eq!(
        Digest::of(&index).hex(),
        "16aa9457f4de24d563d4186e17bd1490877a19696fe986d2d618c542cc7400e8"
    );
}

fn archive(members: impl Iterator<Item = Member>) -> Vec<u8> {
    let mut archive = Archive::default();
    members.for_each(|member| archive.push(&member));
    archive.finish()
}

fn member(path: String, typeflag: u8) -> Member {
    Member { path: path.into(), typeflag, mode: 0o755, ..Member::default() }
}

pub(crate) struct Vector {
    pub(crate) name: &'static str,
    tar: &'static str,
    /// The sum of the image by `mkfs.erofs --tar=f --aufs --quiet -Enoinline_data -b4096 -T0
    /// --mkfs-time --sort=none -U 11111111-2222-3333-4444-555555555555`.
    full: &'static str,
    /// The sum of the image by `mkfs.erofs --tar=i --aufs --quiet -b4096 -T0 --mkfs-time --sort=none`
    /// with the same UUID.
    index: &'static str,
}

impl Vector {
    pub(crate) fn archive(&self) -> Vec<u8> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../testdata/erofs")
            .join(format!("{}.tar.zst", self.name));
        let compressed = std::fs::read(file).unwrap();
        let archive = zstd::decode_all(&compressed[..]).unwrap();
        assert_eq!(Digest::of(&archive).hex(), self.tar, "{}", self.name);
        archive
    }
}

pub(crate) const VECTORS: &[Vector] = &[
    Vector {
        name: "g01_empty",
        tar: "84ff92691f909a05b224e1c56abb4864f01b4f8e3c854e4bb4c7baf1d3f6d652",
        full: "306741869806e2005ad8dc375d6a811359ed232e18c88bb7a857542c06af0ac9",
        index: "8e305fc90d8df206cc42f0b63fe5c8d030a4a2a313bd23d1219f48e18645099a",
    },
    Vector {
        name: "g02_onefile",
        tar: "70e9981e63e185cd1ae8c397f948a032bfc51c7f4889e355c01fb301534801da",
        full: "881cb52cb6e9398141153b3fb33adfc046f1d90974e80de8d4d9ce6ab76e07ab",
        index: "62bcda5202b45119fc3b548e83247dd223e80112b90f44f5b71f0848a5078d91",
    },
    Vector {
        name: "g03_root_dir",
        tar: "77b07d2c98ba2f893cebd640fda2c11ade5a313c6e8b1270df12b982b1cc472e",
        full: "5c79bfcd4eaecc79ff925189fdea7e0c4305a601346c6833521c1dc68786822c",
        index: "93fea352a6282ca3160fc69c51d64f599b89efe4a2b58d8611a3d504ea67034b",
    },
    Vector {
        name: "g04_noparent",
        tar: "df743b9d14f4f818222535e77d9622d6471aecb9151eeabd2a9db0b2be2d6ccc",
        full: "04febbff8ee7726eac3d035b514f6e0227900b78c1656a801375201676f881e0",
        index: "f3a389dd17cee7260c057060a048d9205e241019da202083361cf0b79abf680d",
    },
    Vector {
        name: "g05_types",
        tar: "e736c0305a07cee9498e8e006450e276c35278cde285abb80de19ab3510ea399",
        full: "0a93740aa8769f8511882086236d067056ed37ad60bae69feb57b92b792b65c8",
        index: "c3ebffe4b8271ee9bd157249f386ed2dc7fd56fbec3dc2b4c69d5a6832506e35",
    },
    Vector {
        name: "g06_whiteout",
        tar: "cb745e29584bb13d1bbc3373caf9cd898288dbb9e51c4f224ac577e64a45e8f3",
        full: "5af7149114998df10b2cd3e8416b5df86220f932f370626d63b95be8004d6f6a",
        index: "fa2f52453a62b95094da4df8fd242454efa90c964b9e3bf331148f82116a5754",
    },
    Vector {
        name: "g07_xattr",
        tar: "b2c644b916f5e2711434f2b4171fde8c931f9a6263c2f16b60a15a72f90bbc8f",
        full: "9262cd723a959491d654c02274e602b6237cd0495caada8099e98ebcb128bca5",
        index: "ad648a76a56511ad834a7daea25eb479955ecc32b6ba48a71b1285b5207a48a5",
    },
    Vector {
        name: "g08_override",
        tar: "fe0613cf1f71bef9636b2d11260e5d782c7a15c6e0e257c5796aafb47568c3df",
        full: "daa155c2e3a0bb50ff6c74f838a0122c34ed1484628b11c8fc04a38cf8d6957a",
        index: "522e97485fbf7248fefbb17ea10a45d083549a435d3664a882a8cd98d6cc31e6",
    },
    Vector {
        name: "g09_bigdir",
        tar: "d9d758899d1406a0393316f6d2f231b8d58ee06d1b59419b5f6dd43ed6593269",
        full: "8f1ca711f20595f1d391f403fe324e897e7be8bd5bb3fa221938c44e24f1dce9",
        index: "e5eba62d2f9fc48f5daf14df63b6763cf292af4acd626b8ae9f2d69244f0dc01",
    },
    Vector {
        name: "g10_longlink",
        tar: "8b8aaf694db37cd41bf198434c34c8b36fe168c5b86c5343477ae5381e5f4f47",
        full: "c50b4395b8620e5a76e58548bd42df69fd78df5c7dde91e598d798e8b42ea7f9",
        index: "3864fe3769419b1a0d35fc03ea90b5123aa546cb70a721ccf6d34988d55ea9c4",
    },
    Vector {
        name: "g11_mtime",
        tar: "cc14f00b2be4be8c22710c79eec8ede33814aa1ec58d974c9bcd1dd8852a6f6c",
        full: "33e1e697f5f8010846a34d5fb8c40c7f7e9730a4707718d8a8a0992d1ad1a723",
        index: "3de3739400e72fc9dcfc1283a23873e338a3e660a5768eef4059ed26ffd3e46c",
    },
    Vector {
        name: "g12_bigroot",
        tar: "daf7e9e24f3cfc26f54adca725a7161e2ffd4c7452cad91c50cd1eb210720b00",
        full: "da02a12c15962c8d53d1862d1487d7b002a5c30dab8111bd3ae7cbdd3666ab7a",
        index: "35a430be6998f5583d08c2866debd895fd9fd94d725ff86bdc6d4a3ceb4d238b",
    },
    Vector {
        name: "g13_nested",
        tar: "f88cdea438784847f5f4ec97761f90c1c8eb5d065dccf562854ab9ccaf2f954d",
        full: "c38d52d1454a290655c824e6faf8d3d1abcb0589f45aa5c36e65729ef1313ffa",
        index: "7893020d4251bb3593006ddedd8ebc6e3484be265928eb81ae7bfb765bcf4089",
    },
    Vector {
        name: "g14_gnu_longname",
        tar: "0ade76c48a22401cc9461f7a3c3013eca1e25c45de2f2cce62940172ede525a9",
        full: "1dc3d8237e1d3fcb017d003ce4bdcbee8bf7c50b6c021135ebdd553d74d865aa",
        index: "b51e1673c7ccd3aed68e93d6ba086935e844606ddff3ef0cd559b4e2e6ee34df",
    },
    Vector {
        name: "g15_acl_xattr_many",
        tar: "0aaff5142725dc27cd1a6a86b304f3cb4be0b841eb3124405562027c7bd857eb",
        full: "a42769da7c875a11db59abf4ae35e68f4d8abda47e7b8430f4672b1feae705a5",
        index: "18803f6bf0cc794dc056b4c5808b3f97d05670b60c57767e521d2f101029c9a6",
    },
];
