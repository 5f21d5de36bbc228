//! Every example of `docs/policy-lints.md` does what the document says of it.

#![expect(clippy::unwrap_used, reason = "a document that is wrong ends the test")]

use std::collections::BTreeMap;

use osguard_policy::kernel_config::KernelConfig;
use osguard_policy::kernel_version::KernelVersion;
use osguard_policy::lint::{Lint, Linter};

const DOCUMENT: &str = include_str!("../../docs/policy-lints.md");

#[test]
fn every_lint_is_described_with_its_severity() {
    let headings: Vec<_> = DOCUMENT.lines().filter(|line| line.starts_with("## ")).collect();
    assert_eq!(headings.len(), Lint::ALL.len());
    for (heading, lint) in headings.iter().zip(Lint::ALL) {
        assert!(heading.starts_with(&format!("## {}: ", lint.code())), "{heading}");
        assert!(heading.ends_with(&format!("({})", lint.severity())), "{heading}");
    }
}

#[test]
fn bad_examples_are_found_and_good_ones_are_clean() {
    for section in DOCUMENT.split("\n## ").skip(1) {
        let code = section.split(':').next().unwrap();
        let examples = examples(section);
        let found = |quality: &str| {
            let (facts, text) = examples
                .iter()
                .find(|(info, _)| info.starts_with(&format!("policy {quality}")))
                .unwrap_or_else(|| panic!("{code} has no {quality} example"));
            let config =
                examples.get(&format!("config {quality}")).or_else(|| examples.get("config"));
            codes(facts, text, config)
        };
        assert_eq!(found("bad"), [code]);
        assert!(found("good").is_empty(), "{code}: {:?}", found("good"));
    }
}

/// Returns the examples of a section by what stands behind the three backquotes.
fn examples(section: &str) -> BTreeMap<String, String> {
    let mut blocks = section.split("\n```").skip(1);
    let mut examples = BTreeMap::new();
    while let (Some(block), Some(_)) = (blocks.next(), blocks.next()) {
        let (info, text) = block.split_once('\n').unwrap();
        assert!(examples.insert(info.to_owned(), format!("{text}\n")).is_none(), "{info}");
    }
    examples
}

/// Returns the lints that an example meets, each once.
fn codes(facts: &str, text: &str, config: Option<&String>) -> Vec<&'static str> {
    let value = |key| facts.split(' ').find_map(|fact| fact.strip_prefix(key));
    let mut text = text.replace('␀', "\0");
    if let Some(count) = value("repeat=") {
        let last = format!("{}\n", text.lines().last().unwrap());
        text += &last.repeat(count.parse::<usize>().unwrap() - 1);
    }
    let mut linter = Linter::new(KernelVersion::V6_12);
    if let Some(config) = config {
        linter = linter.config(KernelConfig::read(config.as_bytes()).unwrap());
    }
    if let Some(file) = value("file=") {
        linter = linter.blob(text.len() + 1000, file.strip_suffix(".p7b"));
    }
    let mut codes: Vec<_> = linter
        .lint(text.as_bytes())
        .iter()
        .map(|finding| finding.code.unwrap_or_else(|| panic!("{finding:?}")))
        .collect();
    codes.dedup();
    codes
}
