//! How many audit records a second are read, and in how much memory.

use std::error::Error;
use std::fmt::Write as _;
use std::hint::black_box;
use std::process::Command;
use std::time::Instant;

use osguard_policy::audit::event::Assembler;
use osguard_policy::audit::reader::{Next, Reader};

use crate::Bench;
use crate::measure::{Cost, head, median, row, run};

const RECORDS: u64 = 500_000;
const ROUNDS: usize = 5;

pub(crate) fn measure(bench: &Bench) -> Result<(), Box<dyn Error>> {
    println!("\n### {RECORDS} audit records, on one core, in the process\n");
    println!("| written by | records a second |\n|---|---|");
    for (name, log) in [("the kernel", kernel_log()), ("auditd, with system calls", auditd_log())] {
        let mut rates: Vec<_> = (0..ROUNDS).map(|_| rate(&log)).collect::<Result<_, _>>()?;
        rates.sort_by(f64::total_cmp);
        println!("| {name} | {:.0} |", rates[ROUNDS / 2]);
    }
    let log = bench.directory.path().join("audit.log");
    head(&format!("{RECORDS} audit records in a file"));
    let mut ours = None;
    for (title, text) in [("", kernel_log()), (", ten times as many", kernel_log().repeat(10))] {
        std::fs::write(&log, text)?;
        let mut command = Command::new(&bench.osguard);
        command.args(["audit", "suggest"]).arg(&log);
        let costs: Vec<Cost> = (0..ROUNDS).map(|_| run(&command)).collect::<Result<_, _>>()?;
        let cost = median(costs);
        row(&format!("osguard audit suggest{title}"), cost, *ours.get_or_insert(cost));
    }
    Ok(())
}

/// Reads and assembles all records; returns how many a second.
fn rate(log: &str) -> Result<f64, Box<dyn Error>> {
    let start = Instant::now();
    let mut reader = Reader::new(log.as_bytes());
    let mut assembler = Assembler::default();
    let mut count = 0_u64;
    loop {
        match reader.next_record()? {
            Next::End => break,
            Next::Record(record) => {
                count += assembler.push(record).map(black_box).count() as u64;
            }
            other => return Err(format!("{other:?}").into()),
        }
    }
    count += assembler.flush().map(black_box).count() as u64;
    if count != RECORDS {
        return Err(format!("{count} records were read instead of {RECORDS}").into());
    }
    Ok(RECORDS as f64 / start.elapsed().as_secs_f64())
}

fn access(number: u64) -> String {
    let digits = "A1".repeat(32);
    let path = number % 1000;
    format!(
        "ipe_op=EXECUTE ipe_hook=BPRM_CHECK enforcing=1 pid={number} comm=\"sh\" path=\"/usr/lib/app/{path}\" \
         dev=\"dm-7\" ino={number} rule=\"op=EXECUTE dmverity_roothash=\"sha256\":{digits} action=DENY\""
    )
}

fn kernel_log() -> String {
    let mut log = String::new();
    for number in 0..RECORDS {
        let access = access(number);
        let _ = writeln!(
            log,
            "[   12.345678] audit: type=1420 audit(1795425188.368:{number}): {access}"
        );
    }
    log
}

fn auditd_log() -> String {
    let mut log = String::new();
    for number in 0..RECORDS {
        let (access, id) = (access(number), format!("msg=audit(1795425188.368:{number})"));
        let _ = writeln!(log, "type=UNKNOWN[1420] {id}: {access}");
        let _ = writeln!(
            log,
            "type=SYSCALL {id}: arch=c000003e syscall=59 success=no exit=-13 a0=0 a1=0 a2=0 a3=0 items=1 ppid=1 \
             pid={number} auid=1000 uid=0 gid=0 tty=(none) ses=1 comm=\"sh\" exe=\"/usr/bin/sh\" key=(null)"
        );
        let _ = writeln!(log, "type=PROCTITLE {id}: proctitle=7368");
    }
    log
}
