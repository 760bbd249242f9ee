//! Pipes and terminals.

use std::process::Command;

use unicode_width::UnicodeWidthStr;

use crate::cluster::{Cluster, Done};
use crate::lab::finish;

const COLUMNS: usize = 80;

/// Runs its arguments on a terminal of 80 columns and prints what that shows.
const TERMINAL: &str = r"
import fcntl, os, pty, struct, sys, termios
pid, fd = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack('HHHH', 40, 80, 0, 0))
    os.execvp(sys.argv[1], sys.argv[1:])
while True:
    try: data = os.read(fd, 65536)
    except OSError: break
    if not data: break
    os.write(1, data)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
";

/// What a command shows on a terminal, which must fit its width.
pub fn on_a_terminal(cluster: &Cluster<'_>, words: &[&str]) -> Done {
    let own = cluster.command(words);
    let mut command = Command::new("python3");
    command.args(["-c", TERMINAL]).arg(own.get_program()).args(own.get_args()).env("TERM", "xterm-256color");
    for (name, value) in own.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let done = Done::of(finish(&mut command));
    let wide: Vec<String> =
        without_escapes(&done.out).split(['\n', '\r']).filter(|line| !fits(line)).map(str::to_owned).collect();
    assert!(wide.is_empty(), "{words:?}: wider than 80 columns: {wide:#?}");
    done
}

/// A command to copy stays in one piece, and a single word that is longer than a line has to. Lines of progress are filled up to
/// the edge instead of ended, so that the next one, which is indented, begins there; no word may lie on the edge.
fn fits(line: &str) -> bool {
    if line.width() <= COLUMNS || line.trim_start().starts_with("kubewright ") || line.split_whitespace().count() == 1 {
        return true;
    }
    let columns: Vec<char> = line.chars().collect();
    let rows: Vec<&[char]> = columns.chunks(COLUMNS).collect();
    rows.windows(2).all(|pair| pair[0].last() == Some(&' ') || pair[1].first() == Some(&' '))
}

/// What is written to a pipe is plain.
pub fn assert_plain(done: &Done) {
    for text in [&done.out, &done.err] {
        let control: Vec<char> = text.chars().filter(|c| c.is_control() && *c != '\n').collect();
        assert!(control.is_empty(), "control characters {control:?} in\n{text}");
    }
}

/// The command's work goes on when nobody reads its result any more.
pub fn with_a_closed_pipe(cluster: &Cluster<'_>, words: &[&str]) -> Done {
    let own = cluster.command(words);
    let mut command = Command::new("bash");
    command.args(["-c", "\"$@\" | head -1; exit ${PIPESTATUS[0]}", "bash"]).arg(own.get_program()).args(own.get_args());
    command.current_dir(cluster.folder.path());
    let done = Done::of(finish(&mut command));
    assert!(done.out.lines().count() <= 1 && !done.err.contains("panicked"), "{done:?}");
    done
}

/// Sequences that set colours and move the cursor.
fn without_escapes(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '\u{1b}' {
            out.push(c);
        } else if rest.next_if_eq(&'[').is_some() {
            for c in rest.by_ref() {
                if ('@'..='~').contains(&c) {
                    break;
                }
            }
        }
    }
    out
}

/// Reading commands and a dry run, on a terminal and on a pipe.
pub fn looks(cluster: &Cluster<'_>, dry_run: &[&str]) {
    let name = cluster.name.as_str();
    let commands: [&[&str]; 6] = [
        &["get", "clusters"],
        &["get", "instances", name],
        &["get", "instance-groups", name],
        &["validate", name],
        &["lock", "status", name],
        dry_run,
    ];
    for words in commands {
        let shown = on_a_terminal(cluster, words).expect(0);
        assert!(!shown.out.trim().is_empty(), "{words:?}");
        assert_plain(&cluster.ok(words));
    }
    let plain = on_a_terminal(cluster, &[dry_run, &["--color", "never"]].concat()).expect(0);
    assert!(!plain.out.contains("\u{1b}[3") && !plain.out.contains("\u{1b}[1m"), "{plain:?}");
    assert_eq!(with_a_closed_pipe(cluster, &["get", "instances", name]).out.lines().count(), 1);
}
