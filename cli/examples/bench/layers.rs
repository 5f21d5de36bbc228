//! Converting a layer of 1 GiB of real files, beside mkfs.erofs with veritysetup and beside nothing but
//! inflating it; and an image of eight layers.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use osguard_testkit::command;
use osguard_testkit::image::TarMaker;
use osguard_testkit::pki::Signer;
use osguard_testkit::tools::ErofsUtils;

use crate::Bench;
use crate::image::{self, Layer};
use crate::measure::{Cost, head, median, row, run};

const LAYER_BYTES: u64 = 1 << 30;
const LAYERS: usize = 8;
const SMALL_FILES: u64 = 200_000;
const ROUNDS: usize = 5;
const UUID: &str = "11111111-2222-3333-4444-555555555555";

pub(crate) fn measure(bench: &Bench) -> Result<(), Box<dyn Error>> {
    let directory = memory_directory()?;
    let directory = directory.path();
    let files = system_files()?;
    let tar = directory.join("usr.tar");
    pack(&files, &tar)?;
    let gzip = compressed(&tar, "gz", &["gzip", "-6", "-n", "-c"])?;
    let zstd = compressed(&tar, "zst", &["zstd", "-3", "-q", "-c"])?;

    let mib = |path: &Path| Ok::<_, io::Error>(fs::metadata(path)?.len() >> 20);
    println!(
        "\nA layer: {} files of /usr, {} MiB; {} MiB by gzip -6, {} MiB by zstd -3. Everything lies in memory.",
        files.len(),
        mib(&tar)?,
        mib(&gzip)?,
        mib(&zstd)?
    );
    let veritysetup = "mkfs.erofs and veritysetup";
    let [ours, theirs] = beside_peer(bench, &tar, &[], directory)?;
    head("Converting it, plain");
    row("`osguard layer build`", ours, ours);
    row(veritysetup, theirs, ours);

    let [ours, theirs] = beside_peer(bench, &gzip, &["--gzip"], directory)?;
    head("Converting it, gzip");
    row("`osguard layer build`", ours, ours);
    row(veritysetup, theirs, ours);
    row("inflating alone, by the same decoder", inflating(&gzip, gunzip)?, ours);

    let ours = converting(bench, &zstd, directory)?;
    head("Converting it, zstd");
    row("`osguard layer build`", ours, ours);
    row("inflating alone, by the same decoder", inflating(&zstd, unzstd)?, ours);

    small_files(bench, directory)?;
    fs::remove_file(tar)?;
    eight_layers(bench, &files, directory)
}

/// Converts by us and by the peer, one after the other.
fn beside_peer(
    bench: &Bench,
    layer: &Path,
    options: &[&str],
    directory: &Path,
) -> Result<[Cost; 2], Box<dyn Error>> {
    let mut costs: [Vec<Cost>; 2] = Default::default();
    for _ in 0..ROUNDS {
        costs[0].push(build(bench, layer, directory)?);
        costs[1].push(peer(layer, options, directory)?);
    }
    Ok(costs.map(median))
}

fn converting(bench: &Bench, layer: &Path, directory: &Path) -> Result<Cost, Box<dyn Error>> {
    let costs: Result<Vec<_>, _> = (0..ROUNDS).map(|_| build(bench, layer, directory)).collect();
    Ok(median(costs?))
}

fn build(bench: &Bench, layer: &Path, directory: &Path) -> Result<Cost, Box<dyn Error>> {
    let image = directory.join("ours");
    let mut build = Command::new(&bench.osguard);
    build.args(["layer", "build", "--quiet"]).arg(layer).arg(&image);
    let cost = run(&build)?;
    fs::remove_file(image)?;
    Ok(cost)
}

/// Makes the same image with the reference tools, and appends the same hash tree.
fn peer(layer: &Path, options: &[&str], directory: &Path) -> Result<Cost, Box<dyn Error>> {
    let image = directory.join("theirs");
    let mut mkfs = ErofsUtils::V1_9.mkfs()?;
    mkfs.args(["--tar=f", "--aufs", "--quiet", "-Enoinline_data", "-b4096", "-T0", "--mkfs-time"]);
    mkfs.args(["--sort=none", "-U", UUID]).args(options).arg(&image).arg(layer);
    let made = run(&mkfs)?;
    let size_bytes = fs::metadata(&image)?.len();
    let mut format = command::command("veritysetup")?;
    format.arg("format").arg(format!("--hash-offset={size_bytes}"));
    format.arg(format!("--data-blocks={}", size_bytes / 4096));
    format.arg(format!("--salt={}", "00".repeat(32))).arg("--uuid").arg(UUID);
    let formatted = run(format.arg(&image).arg(&image))?;
    fs::remove_file(image)?;
    Ok(Cost {
        seconds: made.seconds + formatted.seconds,
        memory_kib: made.memory_kib.max(formatted.memory_kib),
        processor_seconds: made.processor_seconds + formatted.processor_seconds,
    })
}

/// Inflates a file with buffers as long as those of the conversion.
fn inflating(
    layer: &Path,
    inflate: impl Fn(BufReader<File>) -> io::Result<()>,
) -> Result<Cost, Box<dyn Error>> {
    let once = |_| {
        let file = BufReader::with_capacity(PIECE_BYTES, File::open(layer)?);
        let start = Instant::now();
        inflate(file)?;
        let seconds = start.elapsed().as_secs_f64();
        Ok::<_, io::Error>(Cost { seconds, memory_kib: 0, processor_seconds: seconds })
    };
    Ok(median((0..ROUNDS).map(once).collect::<Result<_, _>>()?))
}

fn gunzip(file: BufReader<File>) -> io::Result<()> {
    read_to_end(flate2::bufread::MultiGzDecoder::new(file))
}

fn unzstd(file: BufReader<File>) -> io::Result<()> {
    read_to_end(zstd::Decoder::with_buffer(file)?)
}

fn read_to_end(mut content: impl Read) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    while content.read(&mut piece)? > 0 {}
    Ok(())
}

/// Shows what each file of a layer takes in memory.
fn small_files(bench: &Bench, directory: &Path) -> Result<(), Box<dyn Error>> {
    let archive = |files: u64| -> Result<PathBuf, io::Error> {
        let mut tar = TarMaker::new();
        for file in 0..files {
            tar = tar.file(format!("usr/share/small/{:03}/{file}", file % 1000), b"");
        }
        let path = directory.join("small.tar");
        fs::write(&path, tar.finish())?;
        Ok(path)
    };
    let few = build(bench, &archive(1)?, directory)?.memory_kib;
    let path = archive(SMALL_FILES)?;
    let many = build(bench, &path, directory)?.memory_kib;
    fs::remove_file(path)?;
    let bytes = (many - few) * 1024 / SMALL_FILES;
    println!("\nA layer of {SMALL_FILES} empty files takes {bytes} bytes of memory for each.");
    Ok(())
}

fn eight_layers(
    bench: &Bench,
    files: &[SystemFile],
    directory: &Path,
) -> Result<(), Box<dyn Error>> {
    let layer = |number: usize| {
        let tar = directory.join(format!("{number}.tar"));
        let is_in =
            |file: &&SystemFile| file.offset_bytes * LAYERS as u64 / LAYER_BYTES == number as u64;
        pack(files.iter().filter(is_in), &tar)?;
        let blob = compressed(&tar, "gz", &["gzip", "-6", "-n", "-c"])?;
        let layer = Layer::of_gzip(&tar, blob)?;
        fs::remove_file(tar)?;
        Ok(layer)
    };
    let layout = directory.join("layout");
    image::layout_of(&layout, (0..LAYERS).map(layer))?;
    let signer = Signer::generate("bench")?;
    let mut costs = Vec::new();
    for _ in 0..ROUNDS {
        let mut sign = Command::new(&bench.osguard);
        sign.args(["sign", "--quiet", "--dry-run", &format!("oci:{}:v1", layout.display())]);
        sign.arg("--key").arg(signer.key_path()).arg("--cert").arg(signer.certificate_path());
        costs.push(run(&sign)?);
    }
    let cost = median(costs);
    let processors = std::thread::available_parallelism()?;
    println!(
        "\nSigning an image of {LAYERS} such layers with as many bytes together takes {:.2} s and {} MiB; \
         {processors} processors are busy for {:.0} % of it.",
        cost.seconds,
        cost.memory_kib / 1024,
        100.0 * cost.processor_seconds / cost.seconds / processors.get() as f64
    );
    Ok(())
}

/// Is a file of the machine, in a layer.
struct SystemFile {
    path: PathBuf,
    /// How long the files before it are together.
    offset_bytes: u64,
}

/// Returns the first files of /usr, in the order of their names, that are 1 GiB together.
fn system_files() -> Result<Vec<SystemFile>, Box<dyn Error>> {
    let mut files = Vec::new();
    let mut offset_bytes = 0;
    let mut waiting = vec![PathBuf::from("/usr")];
    while let Some(path) = waiting.pop() {
        let metadata = path.symlink_metadata()?;
        if offset_bytes >= LAYER_BYTES || metadata.file_type().is_socket() {
            continue;
        }
        if metadata.is_dir() {
            let mut names: Vec<_> =
                fs::read_dir(&path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
            names.sort_by(|one, other| other.cmp(one));
            waiting.extend(names);
        }
        files.push(SystemFile { path, offset_bytes });
        offset_bytes += 512 + if metadata.is_file() { metadata.len() } else { 0 };
    }
    Ok(files)
}

fn pack<'a>(
    files: impl IntoIterator<Item = &'a SystemFile>,
    tar: &Path,
) -> Result<(), Box<dyn Error>> {
    let mut command = command::command("tar")?;
    command.args(["--create", "--format=gnu", "--numeric-owner", "--directory=/"]);
    command.args(["--no-recursion", "--null", "--files-from=-", "--file"]).arg(tar);
    let mut packing = command.stdin(Stdio::piped()).spawn()?;
    let mut names = packing.stdin.take().ok_or("tar has no standard input")?;
    for file in files {
        names.write_all(file.path.strip_prefix("/")?.as_os_str().as_bytes())?;
        names.write_all(b"\0")?;
    }
    drop(names);
    match packing.wait()?.success() {
        true => Ok(()),
        false => Err("tar has failed".into()),
    }
}

fn compressed(tar: &Path, extension: &str, command: &[&str]) -> Result<PathBuf, Box<dyn Error>> {
    let blob = tar.with_extension(extension);
    let mut compress = command::command(command[0])?;
    compress.args(&command[1..]).arg(tar).stdout(File::create(&blob)?);
    match compress.status()?.success() {
        true => Ok(blob),
        false => Err(format!("{} has failed", command[0]).into()),
    }
}

/// Makes a directory in memory, so that no disk is measured.
fn memory_directory() -> io::Result<tempfile::TempDir> {
    match Path::new("/dev/shm").is_dir() {
        true => tempfile::tempdir_in("/dev/shm"),
        false => tempfile::tempdir(),
    }
}

/// Is as much as the conversion inflates at a time.
const PIECE_BYTES: usize = 256 << 10;
