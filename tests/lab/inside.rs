//! Tests that speak to the emulated region or to machines themselves: a test binary runs itself once more inside the lab.

use std::process::Command;

/// Outside of the lab, runs one test of this binary inside of it and says that this was done; inside, the test may go on.
#[allow(dead_code, reason = "each test binary uses one of the two")]
pub fn ran(test: &str) -> bool {
    let Some(mut command) = door() else { return false };
    let done = command.args(["--exact", test, "--nocapture"]).output().expect("the lab's program");
    let said = [done.stdout, done.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(done.status.success(), "{said}");
    true
}

/// The same for a whole binary with its arguments; gives how that ended.
#[allow(dead_code, reason = "each test binary uses one of the two")]
pub fn ran_whole() -> Option<bool> {
    let status = door()?.args(std::env::args_os().skip(1)).status().expect("the lab's program");
    Some(status.success())
}

fn door() -> Option<Command> {
    if std::env::var_os("KUBEWRIGHT_LAB").is_some() {
        return None;
    }
    let of = |name| std::env::var_os(name).expect("there is no lab (KUBEWRIGHT_LAB_BIN, KUBEWRIGHT_LAB_DIR); run ./test");
    let mut command = Command::new(of("KUBEWRIGHT_LAB_BIN"));
    command.arg("--dir").arg(of("KUBEWRIGHT_LAB_DIR")).args(["exec", "--"]).arg(std::env::current_exe().expect("this binary"));
    Some(command)
}
