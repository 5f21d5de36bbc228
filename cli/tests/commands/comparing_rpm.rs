//! `osguard diff` of images with databases of rpm.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use insta::assert_snapshot;
use osguard_testkit::command::{command, run};
use osguard_testkit::image::{Compression, LayerSource, TarMaker};
use osguard_testkit::{Result, or_skip};

use crate::environment::Environment;
use crate::fixtures::{layer, layout};

/// Builds a package without files, by rpm's own tool.
fn package(environment: &Environment, name: &str, version: &str, more: &str) -> Result<PathBuf> {
    let top = environment.path("rpmbuild");
    let spec = format!(
        "Name: {name}\nVersion: {version}\nRelease: 1\nSummary: A package\nLicense: none\n\
         BuildArch: noarch\n{more}\n%description\nNothing.\n%files\n"
    );
    environment.write("package.spec", spec.as_bytes());
    let mut build = command("rpmbuild")?;
    build.args(["-bb", "--quiet", "--define"]).arg(format!("_topdir {}", top.display()));
    run(environment_of(&mut build, environment).arg(environment.path("package.spec")))?;
    Ok(top.join(format!("RPMS/noarch/{name}-{version}-1.noarch.rpm")))
}

/// Runs `rpm` on the database in `directory`.
fn rpm(environment: &Environment, directory: &Path, arguments: &[&str]) -> Result<Vec<u8>> {
    let mut rpm = command("rpm")?;
    rpm.arg("--dbpath").arg(directory).args(["--define", "_db_backend sqlite"]);
    rpm.args(arguments);
    run(environment_of(&mut rpm, environment))
}

fn environment_of<'a>(command: &'a mut Command, environment: &Environment) -> &'a mut Command {
    command.env("HOME", environment.path("home")).env("LC_ALL", "C")
}

/// Lists what is installed as rpm says it.
fn listed(environment: &Environment, directory: &Path) -> BTreeSet<String> {
    let query = ["-qa", "--qf", "%{NAME}:%{ARCH} %{EVR}\n"];
    let listed = rpm(environment, directory, &query).unwrap();
    String::from_utf8(listed).unwrap().lines().map(str::to_owned).collect()
}

/// Makes a layer with the files in `directory`, put below `at`.
fn with_files(directory: &Path, at: &str) -> LayerSource {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let archive = names.iter().fold(TarMaker::new(), |archive, name| {
        let contents = fs::read(directory.join(name)).unwrap();
        archive.file(format!("{at}/{}", name.to_str().unwrap()), &contents)
    });
    LayerSource::new(archive.finish(), Compression::Plain).unwrap()
}

/// Lists the packages that are in the image `new` alone.
fn added(environment: &Environment, old: &str, new: &str) -> BTreeSet<String> {
    let [old, new] = [old, new].map(|tag| format!("oci:image:{tag}"));
    let report = environment.run(["diff", &old, &new, "--output", "json"]).json();
    let image = &report["images"][0];
    assert_eq!(image["unread"], serde_json::json!([]), "{image:#}");
    let packages = image["packages"].as_array().unwrap().iter();
    let added = packages.map(|package| {
        assert_eq!((&package["manager"], &package["old"]), (&"rpm".into(), &().into()));
        let text = |field: &str| package[field].as_str().unwrap();
        format!("{}:{} {}", text("name"), text("architecture"), text("new"))
    });
    added.collect()
}

#[test]
fn packages_are_those_that_rpm_lists() {
    let environment = Environment::new();
    let make = |name, version, more| or_skip(package(&environment, name, version, more));
    let Some(hello) = make("hello", "1.0", "Epoch: 2") else { return };
    let newer = make("hello", "1.1~rc1", "Epoch: 2").unwrap();
    let gone = make("gone", "1", "").unwrap();
    let kernels = ["5", "6"].map(|version| make("kernel", version, "").unwrap());
    let [old, new] = ["old", "new"].map(|name| environment.path(format!("{name}-db")));
    for directory in [&old, &new] {
        fs::create_dir(directory).unwrap();
    }
    let install = |directory: &Path, how: &str, packages: &[&PathBuf]| {
        let paths: Vec<_> = packages.iter().map(|path| path.to_str().unwrap()).collect();
        // Debian's asks not to be used for packages of the machine itself.
        let options = [how, "--justdb", "--nodeps", "--force-debian"];
        rpm(&environment, directory, &[&options, &paths[..]].concat()).unwrap();
    };
    rpm(&environment, &old, &["--initdb"]).unwrap();
    install(&old, "-i", &[&hello, &gone, &kernels[0]]);
    for entry in fs::read_dir(&old).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), new.join(entry.file_name())).unwrap();
    }
    install(&new, "-U", &[&newer]);
    install(&new, "-i", &[&kernels[1]]);
    rpm(&environment, &new, &["-e", "--justdb", "gone"]).unwrap();

    let mut made = layout(&environment);
    let at = "var/lib/rpm";
    let base = layer("base");
    made.image("none", std::slice::from_ref(&base)).unwrap();
    made.image("old", &[base.clone(), with_files(&old, at)]).unwrap();
    made.image("new", &[base.clone(), with_files(&old, at), with_files(&new, at)]).unwrap();
    made.image("moved", &[base, with_files(&new, "usr/lib/sysimage/rpm")]).unwrap();
    assert_eq!(added(&environment, "none", "old"), listed(&environment, &old));
    for tag in ["new", "moved"] {
        assert_eq!(added(&environment, "none", tag), listed(&environment, &new), "{tag}");
    }
    let ran = environment.run(["diff", "oci:image:old", "oci:image:new"]).done();
    let packages: Vec<_> = ran.lines().filter(|line| line.starts_with("  package")).collect();
    assert_snapshot!(packages.join("\n"), @"
    package gone:noarch (rpm)  1-1 → none
    package hello:noarch (rpm)  2:1.0-1 → 2:1.1~rc1-1
    package kernel:noarch (rpm)  none → 6-1
    ");
}

/// That of Debian does not write this form.
#[test]
fn packages_are_read_from_ndb() {
    let environment = Environment::new();
    let database = include_bytes!("../../../testdata/rpm/Packages.db");
    fs::create_dir(environment.path("db")).unwrap();
    environment.write("db/Packages.db", database);
    let mut made = layout(&environment);
    let base = layer("base");
    made.image("none", std::slice::from_ref(&base)).unwrap();
    made.image("ndb", &[base, with_files(&environment.path("db"), "usr/lib/sysimage/rpm")])
        .unwrap();
    let listed = include_str!("../../../testdata/rpm/packages.txt");
    assert_eq!(added(&environment, "none", "ndb"), listed.lines().map(str::to_owned).collect());
}

#[test]
fn what_is_no_database_of_rpm_is_told() {
    let environment = Environment::new();
    let with = |path: &str, contents: &[u8]| {
        let archive = TarMaker::new().file(path, contents).finish();
        LayerSource::new(archive, Compression::Plain).unwrap()
    };
    let mut made = layout(&environment);
    made.image("none", &[layer("base")]).unwrap();
    let ndb = &include_bytes!("../../../testdata/rpm/Packages.db")[..5000];
    // One byte longer than is read.
    let long = vec![0; (64 << 20) + 1];
    let layers = [
        with("var/lib/rpm/Packages", b"of any form"),
        with("var/lib/rpm/Packages.db", ndb),
        with("var/lib/rpm/rpmdb.sqlite", &[0x5e; 4096]),
        with("usr/lib/sysimage/rpm/rpmdb.sqlite", &long),
    ];
    made.image("bad", &layers).unwrap();
    let ran = environment.run(["diff", "oci:image:none", "oci:image:bad"]).done();
    let told: Vec<_> =
        ran.lines().filter(|line| line.contains("package") || line.contains("not read")).collect();
    assert_snapshot!(told.join("\n"), @"
    not read: /usr/lib/sysimage/rpm/rpmdb.sqlite: it is longer than 67108864 bytes
    not read: /var/lib/rpm/Packages.db: it ends within a package
    not read: /var/lib/rpm/rpmdb.sqlite: SQLite cannot read it: file is not a database
    not read: /var/lib/rpm/Packages: databases of rpm in the form of Berkeley DB are not read
    ");
}
