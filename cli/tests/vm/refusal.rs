//! What is refused before anything is mounted, and what fails when it is read.

use std::fmt::Write as _;

use libverity::signer::FileSigner;
use osguard_registry::artifact::Format;
use osguard_registry::image::Image;
use osguard_registry::network::Network;
use osguard_registry::place::{Place, open};
use osguard_registry::reference::Reference;
use osguard_registry::signing::{SignedImage, publish, sign};
use osguard_testkit::image::{Compression, LayerSource, LayoutMaker, TarMaker};
use osguard_testkit::vm::{Kernel, Outcome};
use osguard_testkit::{Result, or_skip};

use crate::host::Host;
use crate::{failed, succeeded};

#[test]
fn vm_6_12_refuses_what_was_changed() {
    refuses_what_was_changed(Kernel::V6_12);
}

#[test]
fn vm_7_2_refuses_what_was_changed() {
    refuses_what_was_changed(Kernel::V7_2);
}

fn refuses_what_was_changed(kernel: Kernel) {
    let Some(outcome) = or_skip(run(kernel)) else { return };
    for (step, code, message) in [
        ("foreign", 11, "ENOKEY"),
        ("other-root-hash", 11, "EKEYREJECTED"),
        ("truncated", 11, "EBADMSG"),
        ("claim", 12, "is not what was signed"),
    ] {
        failed(&outcome, step, code, message);
        nothing_is_left(&outcome, step);
    }
    flipped_bits_are_found(&outcome);
}

fn flipped_bits_are_found(outcome: &Outcome) {
    succeeded(outcome, "good");
    assert_eq!(outcome.step("good-read").stdout_text(), CONTENT.trim());

    succeeded(outcome, "data");
    let read = outcome.step("data-read");
    assert_eq!(read.exit_code, 1);
    assert!(read.stderr_text().contains("Input/output error"), "{}", read.stderr_text());
    assert!(outcome.kernel_log.contains("data block 1 is corrupted"), "{}", outcome.kernel_log);
    nothing_is_left(outcome, "data");

    for step in ["tree", "superblock"] {
        failed(outcome, step, 12, "the kernel refuses its first block");
        nothing_is_left(outcome, step);
    }
    // Nothing reads the superblock of dm-verity: the parameters are pinned.
    succeeded(outcome, "verity-superblock");
    assert_eq!(outcome.step("verity-superblock-read").stdout_text(), CONTENT.trim());
}

fn nothing_is_left(outcome: &Outcome, step: &str) {
    assert_eq!(outcome.step(&format!("{step}-left")).stdout_text(), "", "after {step}");
}

fn run(kernel: Kernel) -> Result<Outcome> {
    let host = Host::new()?;
    let mut images = LayoutMaker::new(host.path("images"))?;
    for tag in ["good", "foreign", "other-root-hash", "truncated", "claim"] {
        let tar = TarMaker::new().directory("./", 0o755).file("content", CONTENT.as_bytes());
        let layer = LayerSource::new(tar.file(tag, b"").finish(), Compression::Gzip)?;
        images.image(tag, &[layer])?;
    }
    host.osguard(&["sign", "oci:images:good", "--key", "trusted.key"]);
    host.osguard(&["sign", "oci:images:foreign", "--key", "foreign.key"]);
    forge(&host, "other-root-hash", |signed, other| {
        signed.artifact.signatures[0].signature = other.artifact.signatures[0].signature.clone();
    });
    forge(&host, "truncated", |signed, _| {
        signed.artifact.signatures[0].signature.pop();
    });
    forge(&host, "claim", |signed, other| {
        let layer_digest = signed.artifact.signatures[0].claim.layer_digest;
        signed.artifact.signatures = other.artifact.signatures.clone();
        signed.artifact.signatures[0].claim.layer_digest = layer_digest;
    });
    host.machine(kernel)?.script(script(&host)).run()
}

/// Signs an image with the trusted key and changes the result before it is published; `change` also
/// gets the signatures of the good image.
fn forge(host: &Host, tag: &str, change: impl Fn(&mut SignedImage, &SignedImage)) {
    let signer =
        FileSigner::open(&host.path("trusted.key"), &host.path("trusted.crt"), &mut || {
            unreachable!("the key is not encrypted")
        })
        .expect("the key");
    let signed = |tag: &str| {
        let reference = format!("oci:{}:{tag}", host.path("images").display());
        let reference: Reference = reference.parse().expect("a reference");
        let place = open(&reference, &Network::default()).expect("the layout");
        let descriptor = place.resolve(reference.selector()).expect("the tag");
        let image = Image::load(&*place, &descriptor).expect("the image");
        let profiles = [Default::default()];
        let signed = sign(&*place, &image, &profiles, &signer, &|_, blob| blob);
        (place, signed.expect("signatures"))
    };
    let (_, good) = signed("good");
    let (place, mut forged): (Box<dyn Place>, _) = signed(tag);
    change(&mut forged, &good);
    publish(&*place, &forged, Format::Standard, &signer).expect("the forged artifact is stored");
}

/// Writes the script: each step mounts, and is followed by a look at what is left.
fn script(host: &Host) -> String {
    let mut script = PRELUDE.to_owned();
    for tag in ["foreign", "other-root-hash", "truncated", "claim"] {
        let _ = writeln!(script, "attempt {tag} {tag}");
    }
    script += "attempt good good\ncp /node/store/layers/*.erofs /node/\n";
    script += "cd /node/store/layers\nfile=$(echo *.erofs)\n";
    for (step, offset_bytes, value) in flips(host) {
        let _ = writeln!(
            script,
            "cp /node/$file $file\n\
             printf '\\{value:03o}' | dd of=$file bs=1 seek={offset_bytes} conv=notrunc\n\
             attempt {step} good"
        );
    }
    script + "exit 0\n"
}

/// Returns places in the image of the good layer, each with its byte after one bit was flipped.
fn flips(host: &Host) -> [(&'static str, usize, u8); 4] {
    let manifest = std::fs::read_dir(host.path("images/blobs/sha256")).expect("the blobs");
    let gzip = manifest
        .map(|blob| blob.expect("a blob").path())
        .filter(|blob| std::fs::read(blob).expect("a blob").starts_with(&[0x1f, 0x8b]))
        .find(|blob| {
            let build = ["layer", "build", blob.to_str().expect("a path"), "good.erofs"];
            let described = host.command(&[&build[..], &["--output", "json"]].concat()).output();
            let described = String::from_utf8(described.expect("osguard").stdout).expect("text");
            host.root_hashes("good").iter().any(|root_hash| described.contains(root_hash))
        });
    gzip.expect("the layer of the good image");
    let image = std::fs::read(host.path("good.erofs")).expect("the image");
    let hash_offset = image.len() - 2 * BLOCK_BYTES;
    [
        ("data", BLOCK_BYTES),
        ("tree", hash_offset + BLOCK_BYTES),
        ("superblock", EROFS_SUPERBLOCK_BYTES),
        ("verity-superblock", hash_offset + VERITY_DATA_BLOCKS_BYTES),
    ]
    .map(|(step, offset_bytes)| (step, offset_bytes, image[offset_bytes] ^ 1))
}

const CONTENT: &str = "what the layer holds\n";

const BLOCK_BYTES: usize = 4096;

/// Where the superblock of EROFS starts.
const EROFS_SUPERBLOCK_BYTES: usize = 1024;

/// Where in the superblock of dm-verity the number of data blocks is.
const VERITY_DATA_BLOCKS_BYTES: usize = 72;

const PRELUDE: &str = r#"
mkdir -p /images /node /mnt
mount -t ext4 -o ro /dev/vda /images
mount -t ext4 /dev/vdb /node
export OSGUARD_STORE=/node/store
rm -f /node/store/layers/*
attempt() {
    step "$1" osguard node mount "oci:/images:$2" /mnt
    mounted=$?
    if [ $mounted = 0 ]; then
        step "$1-read" cat /mnt/content
        osguard node unmount /mnt
    fi
    step "$1-left" sh -c 'ls /sys/block | grep ^dm-; grep -l . /sys/block/loop*/loop/backing_file; grep -E "erofs|overlay|osguard" /proc/mounts'
    [ "$2" = good ] || rm -f /node/store/layers/*
}
"#;
