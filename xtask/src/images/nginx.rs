//! `nginx`: a real image by real tools. Its bytes change with the packages of the distribution.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

const SUITE: &str = "bookworm";

/// Three layers: the base system, nginx with what it needs, and a page to serve.
pub(super) fn write(folder: &Path) -> Result<()> {
    ensure!(output("id", &["-u"])?.trim() == "0", "only root can make this image");
    for tool in ["mmdebstrap", "umoci", "tar"] {
        output(tool, &["--version"]).context("this image needs mmdebstrap, umoci and tar")?;
    }
    let scratch = folder.with_extension("unfinished");
    if scratch.exists() {
        fs::remove_dir_all(&scratch)?;
    }
    fs::create_dir_all(&scratch)?;
    let made = build(&scratch);
    if made.is_ok() {
        fs::rename(scratch.join("layout"), folder)?;
    }
    fs::remove_dir_all(&scratch)?;
    made
}

fn build(scratch: &Path) -> Result<()> {
    let layout = scratch.join("layout");
    let bundle = scratch.join("bundle");
    let rootfs = bundle.join("rootfs");
    let image = format!("{}:latest", layout.display());
    run("umoci", ["init".as_ref(), "--layout".as_ref(), layout.as_os_str()])?;
    run("umoci", ["new", "--image", &image])?;
    run("umoci", ["unpack".as_ref(), "--image".as_ref(), image.as_ref(), bundle.as_os_str()])?;

    debian(scratch, "base", None, &rootfs)?;
    repack(&image, &bundle, "base system")?;
    // The whole system once more, with nginx: umoci finds what differs.
    debian(scratch, "nginx", Some("nginx"), &rootfs)?;
    repack(&image, &bundle, "nginx")?;
    fs::write(rootfs.join("var/www/html/index.html"), "<h1>It works</h1>\n")?;
    repack(&image, &bundle, "page")?;

    run(
        "umoci",
        ["config", "--image", &image, "--config.entrypoint=nginx", "--config.cmd=-g", "--config.cmd=daemon off;"],
    )?;
    run("umoci", ["gc".as_ref(), "--layout".as_ref(), layout.as_os_str()])
}

fn debian(scratch: &Path, name: &str, include: Option<&str>, rootfs: &Path) -> Result<()> {
    let tar = scratch.join(name).with_extension("tar");
    let mut words = vec!["--quiet".to_owned(), "--variant=minbase".to_owned()];
    words.extend(include.map(|packages| format!("--include={packages}")));
    words.extend([SUITE.to_owned(), tar.display().to_string()]);
    run("mmdebstrap", &words)?;
    run("tar", ["-C".as_ref(), rootfs.as_os_str(), "--exclude=./dev/*".as_ref(), "-xf".as_ref(), tar.as_os_str()])?;
    Ok(fs::remove_file(tar)?)
}

fn repack(image: &str, bundle: &Path, what: &str) -> Result<()> {
    let note = format!("--history.created_by={what}");
    let words: [&OsStr; 6] = [
        "repack".as_ref(),
        "--refresh-bundle".as_ref(),
        note.as_ref(),
        "--image".as_ref(),
        image.as_ref(),
        bundle.as_os_str(),
    ];
    run("umoci", words)
}

fn run(tool: &str, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<()> {
    let status = command(tool).args(words).stdout(Stdio::null()).status().context(tool.to_owned())?;
    ensure!(status.success(), "{tool}: {status}");
    Ok(())
}

fn output(tool: &str, words: &[&str]) -> Result<String> {
    let output = command(tool).args(words).output().with_context(|| format!("{tool} does not start"))?;
    if !output.status.success() {
        bail!("{tool}: {}", output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The time of every file that the tools make up.
fn command(tool: &str) -> Command {
    let mut command = Command::new(tool);
    command.env("SOURCE_DATE_EPOCH", "1767225600").stdin(Stdio::null());
    command
}
