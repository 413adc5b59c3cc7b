//! `docs/tour.md` tells the truth: its commands are run, and print what stands below them.
//!
//! With `OCI_STORE_TOUR=write` in the environment, what they print is put there.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{World, over_each_index};

over_each_index!(the_tour_is_as_it_is_told);

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/tour.md")
}

const BEGIN: &str = "```console";
const END: &str = "```";

fn the_tour_is_as_it_is_told(world: &World) {
    let told = std::fs::read_to_string(file()).unwrap();
    std::os::unix::fs::symlink(file().parent().unwrap().join("../tests"), world.path("tests")).unwrap();
    let done = again(world, &told);
    if std::env::var("OCI_STORE_TOUR").is_ok_and(|what| what == "write") {
        std::fs::write(file(), done).unwrap();
        return;
    }
    let (told, done): (Vec<String>, Vec<String>) =
        (told.lines().map(compared).collect(), done.lines().map(compared).collect());
    for (n, (told, done)) in told.iter().zip(&done).enumerate() {
        assert_eq!(told, done, "docs/tour.md:{}: OCI_STORE_TOUR=write mends it", n + 1);
    }
    assert_eq!(told.len(), done.len());
}

/// The text, with what its commands print now.
fn again(world: &World, text: &str) -> String {
    let mut printed = run(world, &commands(text)).into_iter();
    let mut done = String::new();
    let mut inside = false;
    for line in text.lines() {
        inside = if inside { line != END } else { line == BEGIN };
        let is_command = inside && line.starts_with("$ ");
        if is_command || !inside || line == BEGIN {
            done += &format!("{line}\n");
        }
        if is_command {
            done += &printed.next().unwrap().lines().map(|line| settled(line) + "\n").collect::<String>();
        }
    }
    done
}

fn commands(text: &str) -> Vec<&str> {
    let mut inside = false;
    let mut commands = Vec::new();
    for line in text.lines() {
        inside = if inside { line != END } else { line == BEGIN };
        commands.extend(line.strip_prefix("$ ").filter(|_| inside));
    }
    commands
}

/// Runs them in one shell; returns what each printed.
fn run(world: &World, commands: &[&str]) -> Vec<String> {
    let script: String =
        commands.iter().map(|command| format!("{command}\ns=$?; printf '\\000'; (exit $s)\n")).collect();
    let bin = Path::new(env!("CARGO_BIN_EXE_oci-store")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec 2>&1\n{script}")]).current_dir(world.root());
    shell.env("PATH", path).env("HOME", world.root()).env("LC_ALL", "C").env_remove("RUST_LOG");
    let output = shell.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut printed: Vec<String> = printed.split('\0').map(str::to_owned).collect();
    assert_eq!(printed.pop().as_deref(), Some(""));
    assert_eq!(printed.len(), commands.len());
    printed
}

/// Without what is another each time: ages and times.
fn settled(line: &str) -> String {
    let mut words: Vec<&str> = line.split(' ').collect();
    for at in 1..words.len() {
        if matches!(words[at], "second" | "seconds") && words[at - 1].bytes().all(|byte| byte.is_ascii_digit()) {
            (words[at - 1], words[at]) = ("2", "seconds");
        }
    }
    let line = words.join(" ");
    match line.split_once("\"updated\":") {
        Some((head, tail)) => {
            format!("{head}\"updated\":1767225600{}", tail.trim_start_matches(|c: char| c.is_ascii_digit()))
        }
        None => line,
    }
}

/// What is the same over each index, however wide a column is.
fn compared(line: &str) -> String {
    let line = if line.starts_with("index  ") { "index" } else { line };
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What the page on backends ends in is the example that is compiled and run.
#[test]
fn the_page_on_backends_shows_the_example() {
    let of =
        |path: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap();
    let (page, example) = (of("docs/writing-a-backend.md"), of("crates/oci-store/examples/own_backend.rs"));
    assert!(
        page.ends_with(&format!("```rust,ignore\n{example}```\n")),
        "docs/writing-a-backend.md: copy the example anew"
    );
}
