//! `cargo xtask dev`: serves an example on a local workerd.
//!
//! wrangler serves and watches: the `[build]` section of the example's wrangler.toml lists what it builds and watches.
//! A plain `npx wrangler dev` in that folder therefore does the same.

use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};

use crate::cli::UsageError;
use crate::process::Interrupted;
use crate::repo::Repo;
use crate::{build, process, tools};

pub(crate) fn run(repo: &Repo, example: &str, port: u16) -> Result<()> {
    let folder = repo.example(example)?;
    check_port(port)?;
    tools::install(repo)?;
    // wrangler builds too, but it shows the compiler's output less well.
    build::build(repo, &folder)?;

    let mut wrangler = Command::new(repo.node_bin("wrangler"));
    wrangler
        .args(["dev", "--local", "--ip", "127.0.0.1", "--port", &port.to_string()])
        .args(["--inspector-port", "0", "--show-interactive-dev-session=false"])
        .current_dir(&folder)
        .stderr(Stdio::piped())
        .env("WRANGLER_SEND_METRICS", "false")
        .env("WRANGLER_SEND_ERROR_REPORTS", "false")
        // The banner makes a request for newer releases.
        .env("WRANGLER_HIDE_BANNER", "true")
        .env("WRANGLER_LOG_PATH", repo.path("target/wrangler/logs"))
        .env("CLOUDFLARE_CF_FETCH_ENABLED", "false");
    tools::environment(repo, &mut wrangler)?;
    if io::stderr().is_terminal() {
        wrangler.env("FORCE_COLOR", "1");
    }

    eprintln!("==> serving {example} on http://127.0.0.1:{port} (Ctrl-C ends it)");
    let ended = process::run_service(&mut wrangler, |child| {
        if let Some(stderr) = child.stderr.take() {
            thread::spawn(move || relay(stderr, io::stderr()));
        }
    });
    match ended {
        Ok(status) => bail!("wrangler ended unexpectedly ({status})"),
        Err(error) if error.is::<Interrupted>() => {
            eprintln!("==> stopped");
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn check_port(port: u16) -> Result<()> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let message = format!("port {port} is in use; choose another with `--port`");
            Err(UsageError(message).into())
        }
        Err(error) => Err(error).with_context(|| format!("cannot listen on 127.0.0.1:{port}")),
    }
}

/// Passes on wrangler's errors. After a failed build it drops wrangler's own report, which repeats the compiler's text
/// twice and adds wrangler's stack.
fn relay(from: impl Read, mut to: impl Write) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    let mut muted = false;
    while from.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&line);
        if text.contains("Error: Command failed with exit code") {
            muted = true;
        } else if muted && text.contains("Running custom build") {
            muted = false;
            let _ = writeln!(to, "==> the build failed; save a correction to build again");
        } else if !muted {
            // If the terminal is gone, reading must continue, or wrangler would block.
            let _ = to.write_all(&line);
        }
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_build_is_reported_once() {
        let wrangler = "before\n\
                        \u{1b}[31m✘ [ERROR] Error: Command failed with exit code 1: worker-build\n\
                        at makeError (cli.js:1:1)\n\
                        ✘ [ERROR] Running custom build `worker-build` failed.\n\
                        after\n";
        let mut shown = Vec::new();
        relay(wrangler.as_bytes(), &mut shown);
        let shown = String::from_utf8(shown).expect("text");
        assert_eq!(shown, "before\n==> the build failed; save a correction to build again\nafter\n");
    }
}
