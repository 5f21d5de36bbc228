//! `trust.toml`: the example of the documentation, and every kind of mistake.

use std::time::SystemTime;

use insta::assert_snapshot;
use osguard_policy::trust::{Enforcement, Requirement, Revoked};

use crate::files::Files;

#[test]
fn the_example_of_the_documentation_is_read() {
    let guide = include_str!("../../../docs/trust.md");
    let example = guide.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let files = Files::new();
    for name in ["release.crt", "vendor/authority.crt", "auditors/one.crt"] {
        files.write(name, &std::fs::read(files.path("alice.crt")).unwrap());
    }
    files.write("dbx", &dbx(&[7; 48]));
    let configuration = files.read("trust.toml", example).unwrap();
    let judge = |repository: &str| {
        let repository = repository.parse().unwrap();
        configuration.judge(Some(&repository), SystemTime::now()).unwrap().scope().clone()
    };
    let production = judge("registry.example/shop/cart");
    assert_eq!(production.name, "production");
    assert_eq!(production.requirement, Requirement::All);
    assert_eq!(production.validity, Enforcement::Enforce);
    assert_eq!(production.stores.len(), 2);
    assert_eq!(judge("registry.example/shop/cart/tools").name, "everything else");
    assert_eq!(judge("other.example/a").validity, Enforcement::Log);
    assert_eq!(configuration.revocations.entries.len(), 5);
    let kinds = configuration.revocations.entries.iter().map(|entry| match entry.revoked {
        Revoked::Key(_) => 'k',
        Revoked::Certificate(_) => 'c',
        Revoked::Serial(..) => 's',
        Revoked::RootHash(_) => 'r',
        Revoked::SignedPart(_) => 'd',
    });
    assert_eq!(kinds.collect::<String>(), "kcsrd");
    assert_eq!(configuration.revocations.entries[0].reason.as_deref(), Some("laptop stolen"));
}

#[test]
fn mistakes_are_told_with_line_and_column() {
    let files = Files::new();
    files.write("empty/.keep", b"");
    std::fs::remove_file(files.path("empty/.keep")).unwrap();
    files.write("broken.crt", b"nothing");
    let told = |text: &str| {
        let start = "version = 1\nstores.a.certificates = [\"alice.crt\"]\n\
                     [[scopes]]\nrepositories = [\"h/*\"]\nstores = [\"a\"]\n";
        files.refusal("trust.toml", &text.replace("START\n", start))
    };
    let mistakes = [
        "",
        "version = 2\nnews = 1\n",
        "version = \"1\"\n",
        "version = 1\n",
        "version = 1\nstores = ",
        "version = 1\nstores = {}\nscopes = []\nscope = 1\n",
        "dbx = [\"absent\"]\nSTART\n",
        "dbx = [\"alice.crt\"]\nSTART\n",
        "START\nrequired = \"any\"\n",
        "START\nrequire = \"some\"\n",
        "START\nrequire = \"2 stores\"\n",
        "START\nvalidity = \"maybe\"\n",
        "START\n[[scopes]]\nrepositories = [\"h/*\"]\nstores = [\"a\"]\n",
        "START\n[[scopes]]\nname = \"again\"\nrepositories = [\"x/y\", \"h/*\"]\nstores = [\"a\"]\n",
        "START\n[[scopes]]\nrepositories = [\"h/a:v1\"]\nstores = [\"a\"]\n",
        "START\n[[scopes]]\nrepositories = []\nstores = [\"a\"]\n",
        "START\n[[scopes]]\nrepositories = [\"x/y\"]\nstores = []\n",
        "START\n[[scopes]]\nrepositories = [\"x/y\"]\nstores = [\"a\", \"a\"]\n",
        "START\n[[scopes]]\nrepositories = [\"x/y\"]\nstores = [\"b\"]\n",
        "START\n[[revoked]]\n",
        "START\n[[revoked]]\nkey = \"0g\"\n",
        "START\n[[revoked]]\nkey = \"00\"\nroot-hash = \"00\"\n",
        "START\n[[revoked]]\nkey = \"00\"\ncertificate = \"sha256:00\"\n",
        "START\n[[revoked]]\nissuer = \"CN=a\"\n",
        "START\n[[revoked]]\nissuer = \"a\"\nserial = \"01\"\n",
        "version = 1\nstores.a.certificates = [\"absent.crt\"]\nscopes = []\n",
        "version = 1\nstores.a.certificates = [\"broken.crt\"]\nscopes = []\n",
        "version = 1\nstores.a.certificates = [\"empty\"]\nscopes = []\n",
        "version = 1\nstores.a.certificates = []\nscopes = []\n",
        "version = 1\nscopes = []\n[stores.a]\ncertificates = [\"alice.crt\"]\nsubjects = [\"CN=a\", \"alice\"]\n",
        "version = 1\nscopes = []\n[stores.a]\ncertificate = \"alice.crt\"\n",
    ];
    assert_snapshot!(mistakes.map(told).join("\n"), @r#"
    trust.toml, line 1, column 1: missing field `version`
    trust.toml has the version 2, and 1 is known here
    trust.toml, line 1, column 11: invalid type: string "1", expected u32
    trust.toml, line 1, column 1: missing field `stores`
    trust.toml, line 2, column 10: string values must be quoted, expected literal string
    trust.toml, line 4, column 1: unknown field `scope`, expected one of `version`, `dbx`, `stores`, `scopes`, `revoked`
    cannot read absent
    alice.crt: the signature list at byte 0 is cut off
    trust.toml, line 6, column 1: unknown field `required`, expected one of `name`, `repositories`, `stores`, `require`, `validity`
    trust.toml, line 6, column 11: "some" says not how many signatures are needed: write any, all, 2 keys or 2 stores
    trust.toml, line 5, column 10: 2 stores are required, and 1 are named
    trust.toml, line 6, column 12: unknown variant `maybe`, expected one of `enforce`, `log`, `skip`
    trust.toml, line 6, column 1: a second scope is named "h/*"
    trust.toml, line 6, column 1: the scopes "h/*" and "again" both have "h/*"
    trust.toml, line 7, column 16: "h/a:v1" is no pattern of repositories: write HOST/REPOSITORY without a tag, `*` for one component, or `**` at the end for all below
    trust.toml, line 7, column 16: a scope needs a repository
    trust.toml, line 8, column 10: a scope needs a store
    trust.toml, line 8, column 16: the store "a" is named twice
    trust.toml, line 8, column 11: there is no [stores.b]
    trust.toml, line 6, column 1: one of key, certificate, root-hash, or issuer with serial is revoked at a time
    trust.toml, line 6, column 1: key has other than hexadecimal digits
    trust.toml, line 8, column 13: "00" is not a root hash: 40 to 128 hexadecimal digits are expected
    trust.toml, line 8, column 15: "sha256:00" is not `sha256:` followed by 64 lower-case hexadecimal digits
    trust.toml, line 6, column 1: one of key, certificate, root-hash, or issuer with serial is revoked at a time
    trust.toml, line 6, column 1: "a" is not an attribute of a name, such as CN=release or O=Example
    cannot read absent.crt
    broken.crt: it is not an X.509 certificate in DER: an element has the tag 0x6e where 0x30 is required
    the trust store "a" holds no certificate
    the trust store "a" holds no certificate
    trust.toml, line 5, column 21: "alice" is not an attribute of a name, such as CN=release or O=Example
    trust.toml, line 4, column 1: unknown field `certificate`, expected `certificates` or `subjects`
    "#);
}

#[test]
fn what_is_no_text_or_too_long_is_refused() {
    let files = Files::new();
    files.write("trust.toml", b"version = 1 # \xff");
    let error = osguard_policy::trust::TrustConfiguration::read(&files.path("trust.toml"));
    assert!(error.unwrap_err().to_string().ends_with("is not text in UTF-8"));
    let long = "#".repeat((1 << 20) + 1);
    assert_eq!(files.refusal("trust.toml", &long), "trust.toml is longer than 1048576 bytes");
}

/// Makes a firmware's `dbx` with one digest.
fn dbx(data: &[u8; 48]) -> Vec<u8> {
    let kind = *b"\x92\xa4\xd2\x3b\xc0\x96\x79\x40\xb4\x20\xfc\xf9\x8e\xf1\x03\xed";
    let sizes = [28 + 64, 0, 64_u32].map(u32::to_le_bytes).concat();
    [&kind[..], &sizes, &[0; 16], data].concat()
}
