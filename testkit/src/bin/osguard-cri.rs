//! Asks containerd for pods and containers as kubelet does, for tests in a virtual machine.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use osguard_testkit::cri::{CriClient, CriError, NewContainer};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return ExitCode::FAILURE };
    match runtime.block_on(run(&arguments)) {
        Ok(Some(code)) => code,
        Ok(None) => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns `None` for what is no command.
async fn run(arguments: &[String]) -> Result<Option<ExitCode>, CriError> {
    let mut words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // What stands behind the words is a command for the container.
    let command = match words.iter().position(|word| *word == "--") {
        Some(end) => {
            words.truncate(end);
            &arguments[end + 1..]
        }
        None => &[],
    };
    let mut cri = CriClient::connect(Path::new(SOCKET)).await?;
    match words[..] {
        ["version"] => println!("{}", cri.version().await?),
        ["pull", image] => println!("{}", cri.pull(image).await?),
        ["images"] => lines(&cri.images().await?),
        ["rmi", image] => cri.remove_image(image).await?,
        ["run-pod", name] => println!("{}", cri.run_pod(name, "").await?),
        ["run-pod", name, handler] => println!("{}", cri.run_pod(name, handler).await?),
        ["pods"] => lines(&cri.pods().await?),
        ["rm-pod", id] => cri.remove_pod(id).await?,
        ["create", pod_id, pod_name, name, image] => {
            let new = NewContainer { pod_name, name, image, command };
            println!("{}", cri.create(pod_id, &new).await?);
        }
        ["start", id] => cri.start(id).await?,
        ["wait", id] => {
            let code = cri.wait(id, LONGEST_WAIT).await?.and_then(|code| u8::try_from(code).ok());
            return Ok(Some(code.map_or(ExitCode::FAILURE, ExitCode::from)));
        }
        ["exec", id] => {
            let done = cri.exec(id, command).await?;
            // A closed pipe is nobody's loss here.
            let _ = std::io::stdout().write_all(&done.stdout);
            let _ = std::io::stderr().write_all(&done.stderr);
            return Ok(Some(
                u8::try_from(done.exit_code).map_or(ExitCode::FAILURE, ExitCode::from),
            ));
        }
        ["ps"] => lines(&cri.containers().await?),
        ["rm", id] => cri.remove(id).await?,
        _ => return Ok(None),
    }
    Ok(Some(ExitCode::SUCCESS))
}

fn lines(lines: &[String]) {
    for line in lines {
        println!("{line}");
    }
}

const SOCKET: &str = "/run/containerd/containerd.sock";

const LONGEST_WAIT: Duration = Duration::from_secs(120);

const USAGE: &str = "usage: osguard-cri COMMAND
  version | images | pods | ps
  pull IMAGE | rmi IMAGE
  run-pod NAME [HANDLER] | rm-pod ID
  create POD-ID POD-NAME NAME IMAGE [-- COMMAND…]
  start ID | wait ID | exec ID -- COMMAND… | rm ID";
