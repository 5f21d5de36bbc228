//! The records of real kernels, each with what is read from it.

use std::path::Path;

use insta::assert_snapshot;
use osguard_policy::audit::event::Assembler;
use osguard_policy::audit::reader::{Counts, Next, Reader};
use osguard_policy::audit::record::{Content, Record};

#[test]
fn linux_6_12() {
    let (records, counts) = read("linux-6.12.log");
    assert_eq!((counts.malformed, counts.too_long), (0, 0));
    assert_snapshot!("linux-6.12", records);
}

#[test]
fn linux_7_2() {
    let (records, counts) = read("linux-7.2.log");
    assert_eq!((counts.malformed, counts.too_long), (0, 0));
    assert_snapshot!("linux-7.2", records);
}

/// Whatever writes the records down, they say the same.
#[test]
fn all_spellings_say_the_same() {
    let log = text("linux-6.12.log");
    let records = |log: &str| -> Vec<Content> {
        let lines = log.lines().filter_map(|line| Record::of_line(line.as_bytes()).ok()?);
        lines.map(|record| record.content).collect()
    };
    let plain = records(&log);
    assert!(plain.len() > 20);
    let respelled = |spell: &dyn Fn(&str, &str, &str) -> String| -> Vec<Content> {
        let lines = log.lines().filter_map(|line| {
            let (_, rest) = line.split_once("audit: type=")?;
            let (number, rest) = rest.split_once(" audit(")?;
            let (id, body) = rest.split_once("): ")?;
            Some(spell(number, id, body) + "\n")
        });
        records(&lines.collect::<String>())
    };
    let name = |number: &str| match number {
        "1404" => "MAC_STATUS".to_owned(),
        "1420" => "IPE_ACCESS".to_owned(),
        "1421" => "IPE_CONFIG_CHANGE".to_owned(),
        "1422" => "IPE_POLICY_LOAD".to_owned(),
        other => format!("UNKNOWN[{other}]"),
    };
    assert_eq!(
        respelled(&|number, id, body| format!("5,1,1,-;audit: type={number} audit({id}): {body}")),
        plain
    );
    assert_eq!(
        respelled(&|number, id, body| format!("type=UNKNOWN[{number}] msg=audit({id}): {body}")),
        plain
    );
    assert_eq!(
        respelled(&|number, id, body| format!(
            "type={} msg=audit({id}): {body}\u{1d}A=\"b\"",
            name(number)
        )),
        plain
    );
    assert_eq!(
        respelled(&|number, _, body| format!("Nov 29 05:03:42 h audit[1]: AUDIT{number} {body}")),
        plain
    );
    let is_named = |number: &str| matches!(number, "1404" | "1420" | "1421" | "1422");
    let named = respelled(&|number, _, body| match is_named(number) {
        true => format!("Nov 29 05:03:42 h audit: {} {body}", name(number)),
        false => String::new(),
    });
    assert_eq!(named.len(), plain.len());
    assert_eq!(named, plain);
}

fn read(name: &str) -> (String, Counts) {
    let log = text(name);
    let mut reader = Reader::new(log.as_bytes());
    let mut assembler = Assembler::default();
    let mut events = Vec::new();
    loop {
        match reader.next_record().expect("a text can be read") {
            Next::Record(record) => events.extend(assembler.push(record)),
            Next::End => break,
            other => panic!("{other:?}"),
        }
    }
    events.extend(assembler.flush());
    let shown = events.iter().map(|event| format!("{event:#?}\n"));
    (shown.collect(), reader.counts())
}

fn text(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/audit").join(name);
    std::fs::read_to_string(path).expect("a log of the test data")
}
