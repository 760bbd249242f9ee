//! Running the machine's own tools, with a bound on the time and the tool's own words in the error.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Runs a command to its end and gives back its output; a failure carries its last lines.
pub fn output(program: &str, arguments: &[&str]) -> Result<String> {
    with_input(program, arguments, "")
}

/// The same with a text on standard input.
pub fn with_input(program: &str, arguments: &[&str], input: &str) -> Result<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {program}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // a tool that refuses early closes its input; its own message says why
        stdin.write_all(input.as_bytes()).ok();
    }
    let done = child.wait_with_output()?;
    if !done.status.success() {
        let words = String::from_utf8_lossy(&done.stderr);
        bail!("{program} {}: {} ({})", arguments.join(" "), words.trim(), done.status);
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Runs one slow step with its output in a log file, says how long it took, and stops it after `limit`.
pub fn step(label: &str, command: &mut Command, log: &Path, limit: Duration) -> Result<()> {
    let start = Instant::now();
    eprint!("  {label} ... ");
    let file = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()
        .with_context(|| format!("starting {:?}", command.get_program()))?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            bail!("{label}: no end after {} s; see {}", limit.as_secs(), log.display());
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    eprintln!("{:.1} s", start.elapsed().as_secs_f64());
    if !status.success() {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let tail: Vec<&str> = text.lines().rev().take(8).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        bail!("{label} failed ({status}); the end of {}:\n{}", log.display(), tail.join("\n"));
    }
    Ok(())
}
