//! Writes workerd's configuration.

use std::{fmt::Write, path::Path};

use crate::variants::Worker;

const COMPATIBILITY_DATE: &str = "2026-11-17";

/// Configures a worker and a socket for each of `workers`, and stores their objects in `data`. The workers' files are
/// next to the configuration, named `<worker>.js` and `<worker>.wasm`.
pub(crate) fn config(workers: &[Worker], data: &Path) -> String {
    let mut services = String::new();
    let mut sockets = String::new();
    let mut constants = String::new();
    for worker in workers {
        let (name, class) = (worker.name(), worker.class());
        let wasm = match worker.has_wasm() {
            true => format!(r#", (name = "index_bg.wasm", wasm = embed "{name}.wasm")"#),
            false => String::new(),
        };
        // Writing to a `String` cannot fail.
        let _ = writeln!(services, r#"    (name = "{name}", worker = .{name}),"#);
        let _ = writeln!(sockets, r#"    (name = "{name}", address = "127.0.0.1:0", http = (), service = "{name}"),"#);
        let _ = write!(
            constants,
            r#"
const {name} :Workerd.Worker = (
  modules = [(name = "index.js", esModule = embed "{name}.js"){wasm}],
  compatibilityDate = "{COMPATIBILITY_DATE}",
  durableObjectNamespaces = [(className = "{class}", uniqueKey = "{name}", enableSql = true)],
  durableObjectStorage = (localDisk = "disk"),
  bindings = [(name = "ROOM", durableObjectNamespace = "{class}")],
);
"#
        );
    }
    let data = data.display().to_string().replace('\\', r"\\").replace('"', r#"\""#);
    format!(
        r#"using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
{services}    (name = "disk", disk = (path = "{data}", writable = true)),
  ],
  sockets = [
{sockets}  ],
);
{constants}"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_without_wasm() {
        let expected = r#"using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "bare", worker = .bare),
    (name = "disk", disk = (path = "/tmp/a \"b\"", writable = true)),
  ],
  sockets = [
    (name = "bare", address = "127.0.0.1:0", http = (), service = "bare"),
  ],
);

const bare :Workerd.Worker = (
  modules = [(name = "index.js", esModule = embed "bare.js")],
  compatibilityDate = "2026-11-17",
  durableObjectNamespaces = [(className = "BareRoom", uniqueKey = "bare", enableSql = true)],
  durableObjectStorage = (localDisk = "disk"),
  bindings = [(name = "ROOM", durableObjectNamespace = "BareRoom")],
);
"#;
        assert_eq!(config(&[Worker::Bare], Path::new(r#"/tmp/a "b""#)), expected);
    }

    #[test]
    fn every_worker_has_its_modules() {
        let text = config(&Worker::ALL, Path::new("/tmp"));
        for worker in Worker::ALL {
            assert!(text.contains(&format!(r#"esModule = embed "{worker}.js""#)), "{worker}");
            assert_eq!(text.contains(&format!(r#"wasm = embed "{worker}.wasm""#)), worker.has_wasm(), "{worker}");
        }
    }
}
