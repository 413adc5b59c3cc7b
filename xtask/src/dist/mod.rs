//! `cargo xtask dist`: the program as it is given away: one file that needs no library, with its manual pages, completions,
//! licences and a list of what is in it.

mod sbom;

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use flate2::{Compression, GzBuilder};
use sha2::{Digest as _, Sha256};

use crate::workspace_root;

/// For which machine, and where to.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The target [default: this machine's with musl where rustup has that and a C compiler for it is installed, else
    /// with glibc]
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
    /// The folder of the archive and its checksum [default: target/dist]
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

/// Builds, tries, packs.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = workspace_root();
    let target = args.target.clone().map_or_else(default_target, Ok)?;
    let to = args.to.clone().unwrap_or_else(|| root.join("target/dist"));
    let metadata = cargo_metadata::MetadataCommand::new().manifest_path(root.join("Cargo.toml")).exec()?;
    let package = metadata.packages.iter().find(|package| package.name.as_str() == PACKAGE).context(PACKAGE)?;
    let name = format!("oci-store-{}-{target}", package.version);
    let program = build(&root, &target)?;
    let folder = to.join(&name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(folder.join("completions"))?;
    fs::copy(&program, folder.join("oci-store"))?;
    let own = |words: &[&str]| output(Command::new(folder.join("oci-store")).args(words));
    output(Command::new(folder.join("oci-store")).arg("man").arg(folder.join("man")))?;
    for (shell, file) in [("bash", "oci-store.bash"), ("zsh", "_oci-store"), ("fish", "oci-store.fish")] {
        fs::write(folder.join("completions").join(file), own(&["completion", shell])?)?;
    }
    for file in ["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"] {
        fs::copy(root.join(file), folder.join(file))?;
    }
    fs::write(folder.join("sbom.cdx.json"), sbom::of(&metadata, package, &target)?)?;
    println!("{}: {}", folder.join("oci-store").display(), try_alone(&folder)?);
    let archive = to.join(format!("{name}.tar.gz"));
    pack(&folder, &name, &archive)?;
    let sum: String = Sha256::digest(fs::read(&archive)?).iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(to.join(format!("{name}.tar.gz.sha256")), format!("{sum}  {name}.tar.gz\n"))?;
    println!("{}: {} bytes, sha256 {sum}", archive.display(), fs::metadata(&archive)?.len());
    Ok(())
}

const PACKAGE: &str = "oci-store-cli";

fn default_target() -> Result<String> {
    let said = output(Command::new("rustc").arg("-vV"))?;
    let said = String::from_utf8_lossy(&said).into_owned();
    let host = said.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc tells no host")?;
    let musl = host.replace("-gnu", "-musl");
    let installed = Command::new("rustup").args(["target", "list", "--installed"]).output();
    let has_musl =
        installed.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).lines().any(|line| line == musl));
    let compiles = Command::new("musl-gcc").arg("--version").output().is_ok_and(|output| output.status.success());
    Ok(if has_musl && compiles { musl } else { host.to_owned() })
}

/// Builds the program with both indexes and nothing to link with when it starts.
fn build(root: &Path, target: &str) -> Result<PathBuf> {
    let flags = format!("CARGO_TARGET_{}_RUSTFLAGS", target.replace('-', "_").to_uppercase());
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--release", "--locked", "-p", PACKAGE, "--features", "lmdb,sqlite", "--target", target]);
    // Paths of the machine on which it is built are nobody's business.
    let home = std::env::var("CARGO_HOME").or_else(|_| std::env::var("HOME").map(|home| format!("{home}/.cargo")));
    let remap = home.map(|home| format!(" --remap-path-prefix={home}=cargo")).unwrap_or_default();
    let remap = format!("{remap} --remap-path-prefix={}=oci-store", root.display());
    command.env(flags, format!("-C target-feature=+crt-static -C strip=symbols{remap}"));
    if !command.current_dir(root).stdin(Stdio::null()).status()?.success() {
        bail!("it does not build for {target}");
    }
    let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(folder.join(target).join("release/oci-store"))
}

/// Runs it where there is nothing else: in a root folder of its own, by the right of a user namespace.
fn try_alone(folder: &Path) -> Result<String> {
    let root = tempfile::tempdir()?;
    fs::copy(folder.join("oci-store"), root.path().join("oci-store"))?;
    fs::create_dir(root.path().join("tmp"))?;
    let hello = workspace_root().join("tests/images/hello");
    let copied = Command::new("cp").arg("-r").arg(hello).arg(root.path().join("hello")).status()?;
    if !copied.success() {
        bail!("the image to try it with can't be copied");
    }
    for index in ["lmdb", "sqlite"] {
        for words in ["import --all hello", "check --read-data", "gc"] {
            let mut command = Command::new("unshare");
            command.args(["--map-root-user", "--root"]).arg(root.path()).arg("/oci-store");
            command.args(["--index", index, "--store-path", &format!("/{index}")]).args(words.split(' '));
            if let Err(error) = output(&mut command) {
                // Some systems keep namespaces from users.
                if index == "lmdb" && words.starts_with("import") && error.to_string().contains("unshare") {
                    return Ok(format!("not tried alone: {error}"));
                }
                return Err(error);
            }
        }
    }
    Ok("runs in an empty root folder, over both indexes".to_owned())
}

/// The same bytes whenever it is packed, and by whom.
fn pack(folder: &Path, name: &str, archive: &Path) -> Result<()> {
    let mut files = Vec::new();
    list(folder, &mut files)?;
    files.sort();
    let gzip = GzBuilder::new().mtime(0).write(File::create(archive)?, Compression::best());
    let mut tar = tar::Builder::new(gzip);
    for path in files {
        let bytes = fs::read(&path)?;
        let is_program = fs::metadata(&path)?.permissions().mode() & 0o100 != 0;
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(if is_program { 0o755 } else { 0o644 });
        tar.append_data(&mut header, Path::new(name).join(path.strip_prefix(folder)?), bytes.as_slice())?;
    }
    tar.into_inner()?.finish()?.flush()?;
    Ok(())
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { list(&path, files)? } else { files.push(path) }
    }
    Ok(())
}

fn output(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}
