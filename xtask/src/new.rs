//! `cargo xtask new`: copies the folder `starter` as a new crate.
//!
//! The folder is also a template for `cargo generate`. Its placeholders are Liquid expressions, of which [`Template`]
//! knows the few that the folder uses. Each other expression is an error, so that none is left in a new crate.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use heck::{ToShoutySnakeCase, ToUpperCamelCase};

use crate::cli::UsageError;
use crate::readme;
use crate::repo::Repo;

/// True once the crates and the npm package are published. Until then, a new crate depends on this clone.
const PUBLISHED: bool = false;

const STARTER: &str = "starter";

/// The settings of `cargo generate`, which are not part of the new crate.
const SETTINGS: &str = "cargo-generate.toml";

/// The folders that builds leave behind.
const SKIPPED: [&str; 5] = [".git", ".wrangler", "build", "node_modules", "target"];

/// The longest name. Cloudflare's limit for the name of a Worker is 63, of which an environment takes a part:
/// `counter-production`.
const MAX_NAME: usize = 50;

/// Names of the standard library and of dependencies, which another crate or module cannot have beside them.
const CRATES: &[&str] = &[
    "alloc",
    "core",
    "proc-macro",
    "room-client",
    "room-macros",
    "room-runtime",
    "std",
    "test",
    "wasm-bindgen",
    "worker",
];

/// Names of the starter's own modules and types.
const OWN: &[&str] = &["add-error", "broadcast", "connection", "event", "item", "room", "state", "tests"];

/// The reserved words of Rust. A crate or a module with such a name needs `r#`.
const RESERVED: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true",
    "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// Creates a crate, and prints how to go on.
pub(crate) fn run(repo: &Repo, path: &Path, name: Option<&str>) -> Result<()> {
    let target = absolute(path)?;
    let name = match name {
        Some(name) => name.to_owned(),
        None => name_of(path, &target)?,
    };
    check_name(&name)?;
    let folder = repo.path(STARTER);
    if target.starts_with(&folder) {
        return Err(UsageError(format!("{} is in the folder that is copied", path.display())).into());
    }
    let parent = check_target(path, &target)?;

    let template = Template::new(&name, &Dependencies::of(repo, &target)?);
    let mut files = template.read(&folder)?;
    let lock = repo.path("Cargo.lock");
    // The versions that the repository is tested with. Cargo drops those that the crate does not need.
    files.push(("Cargo.lock".into(), fs::read(&lock).with_context(|| format!("cannot read {}", lock.display()))?));

    write(&files, &target, parent).with_context(|| format!("{} was not created", path.display()))?;
    println!("{}", created(path, &name, &files)?);
    Ok(())
}

/// An absolute path without `.` and `..`, also of something that does not exist.
fn absolute(path: &Path) -> Result<PathBuf> {
    if path.as_os_str().is_empty() {
        return Err(UsageError("the path of the new crate is empty".to_owned()).into());
    }
    let path = std::path::absolute(path).context("the current folder cannot be found")?;
    let mut whole = PathBuf::new();
    for part in path.components() {
        match part {
            // `..` after a symbolic link leads to the parent of the link's target.
            Component::ParentDir => {
                whole = fs::canonicalize(&whole).with_context(|| format!("cannot find {}", whole.display()))?;
                whole.pop();
            }
            Component::CurDir => {}
            part => whole.push(part),
        }
    }
    Ok(whole)
}

fn name_of(path: &Path, target: &Path) -> Result<String> {
    match target.file_name().and_then(|name| name.to_str()) {
        Some(name) => Ok(name.to_owned()),
        None => Err(UsageError(format!("{} is no name for a crate; give one with `--name`", path.display())).into()),
    }
}

/// Checks that a name is one for a package of Cargo, a module, a class and a Worker.
fn check_name(name: &str) -> Result<()> {
    let wrong = |why: &str| Err(UsageError(format!("`{name}` cannot be the name of the new crate: {why}")).into());
    if name.is_empty() {
        return wrong("it is empty");
    }
    if let Some(character) = name.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
        let advice = suggestion(name).map(|other| format!("; take for example `--name {other}`")).unwrap_or_default();
        return wrong(&format!("it contains {character:?}, and may contain a-z, 0-9 and `-` only{advice}"));
    }
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        return wrong("it must begin with a letter");
    }
    if name.ends_with('-') || name.contains("--") {
        return wrong("each `-` must stand between letters or digits");
    }
    if name.len() > MAX_NAME {
        return wrong(&format!("it has {} characters, and may have {MAX_NAME}", name.len()));
    }
    if RESERVED.contains(&name) {
        return wrong("it is a reserved word of Rust");
    }
    if CRATES.contains(&name) {
        return wrong("another crate that it needs has this name");
    }
    if OWN.contains(&name) {
        return wrong("a part of the starter has this name");
    }
    Ok(())
}

/// The path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "-_./\\:~".contains(c);
    if text.chars().all(is_plain) { text } else { format!("\"{text}\"") }
}

/// A valid name that is similar to an invalid one, if there is one.
fn suggestion(name: &str) -> Option<String> {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let other = words.collect::<Vec<_>>().join("-").to_ascii_lowercase();
    check_name(&other).is_ok().then_some(other)
}

/// Checks that a folder can be created at the path, and returns its parent.
fn check_target<'a>(path: &Path, target: &'a Path) -> Result<&'a Path> {
    let used = |why: &str| Err(UsageError(format!("{} {why}; choose another path", path.display())).into());
    match fs::read_dir(target) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return used("is not empty");
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A link to nothing is not found, and cannot be replaced by a folder.
            if target.is_symlink() {
                return used("is a symbolic link to nothing");
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return used("is no folder"),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
    let Some(parent) = target.parent() else { return used("has no parent") };
    if !parent.is_dir() {
        return Err(UsageError(format!("there is no folder {}; create it first", parent.display())).into());
    }
    Ok(parent)
}

/// The values of a new crate's dependencies.
struct Dependencies {
    /// The inside of a table in TOML.
    room_runtime: String,
    /// The inside of a string in JSON.
    room_client: String,
}

impl Dependencies {
    fn of(repo: &Repo, target: &Path) -> Result<Self> {
        if PUBLISHED { Self::published(&version(repo)?) } else { Self::in_clone(repo.root(), target) }
    }

    fn published(version: &str) -> Result<Self> {
        Ok(Self { room_runtime: format!("version = \"{version}\""), room_client: version.to_owned() })
    }

    fn in_clone(clone: &Path, target: &Path) -> Result<Self> {
        let clone = fs::canonicalize(clone).unwrap_or_else(|_| clone.to_owned());
        // A crate beside the clone can be moved together with it, and shared with others who have both.
        let beside = target.parent().and_then(|parent| fs::canonicalize(parent).ok());
        let path = match (clone.parent(), clone.file_name()) {
            (Some(parent), Some(name)) if beside.as_deref() == Some(parent) => Path::new("..").join(name),
            _ => clone,
        };
        let path = path.to_str().context("the path of this clone is not UTF-8")?.replace('\\', "/");
        if path.contains(['"', '\n']) {
            bail!("the path of this clone, {path}, cannot be written into a Cargo.toml");
        }
        Ok(Self {
            room_runtime: format!("path = \"{path}/room-runtime\""),
            room_client: format!("file:{path}/clients/typescript"),
        })
    }
}

/// The version of the published crates.
fn version(repo: &Repo) -> Result<String> {
    let text = fs::read_to_string(repo.path("Cargo.toml")).context("cannot read Cargo.toml")?;
    let line = text.lines().find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'));
    line.map(str::to_owned).context("Cargo.toml has no version")
}

/// The values of the placeholders.
struct Template {
    values: [(&'static str, String); 6],
}

impl Template {
    fn new(name: &str, dependencies: &Dependencies) -> Self {
        let crate_name = name.replace('-', "_");
        Self {
            values: [
                ("project-name", name.to_owned()),
                // The same conversions as in `#[room]`, which makes the names of the binding and the class.
                ("crate_name | shouty_snake_case", crate_name.to_shouty_snake_case()),
                ("crate_name | pascal_case", crate_name.to_upper_camel_case()),
                ("crate_name", crate_name),
                ("room_runtime", dependencies.room_runtime.clone()),
                ("room_client", dependencies.room_client.clone()),
            ],
        }
    }

    /// Reads the files below a folder and replaces their placeholders.
    fn read(&self, root: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
        let mut files = Vec::new();
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            let failed = || format!("cannot read {}", root.join(&folder).display());
            for entry in fs::read_dir(root.join(&folder)).with_context(failed)? {
                let entry = entry.with_context(failed)?;
                let path = folder.join(entry.file_name());
                if entry.file_type().with_context(failed)?.is_dir() {
                    if !SKIPPED.iter().any(|skipped| entry.file_name() == *skipped) {
                        folders.push(path);
                    }
                } else if path != Path::new(SETTINGS) {
                    let failed = || format!("cannot read {}", entry.path().display());
                    let text = fs::read_to_string(entry.path()).with_context(failed)?;
                    let filled = self.fill(&text).with_context(|| entry.path().display().to_string())?;
                    files.push((path, filled.into_bytes()));
                }
            }
        }
        files.sort();
        Ok(files)
    }

    /// Replaces the placeholders of a text. An unknown one is an error.
    fn fill(&self, text: &str) -> Result<String> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find('{') {
            let (before, from) = rest.split_at(start);
            filled += before;
            let line = || text[..text.len() - from.len()].matches('\n').count() + 1;
            if let Some(expression) = from.strip_prefix("{{") {
                let Some((expression, after)) = expression.split_once("}}") else {
                    bail!("line {}: a placeholder without an end", line());
                };
                let wanted = expression.trim();
                let Some((_, value)) = self.values.iter().find(|(known, _)| *known == wanted) else {
                    bail!("line {}: there is no value for the placeholder `{{{{{expression}}}}}`", line());
                };
                filled += value;
                rest = after;
            } else if from.starts_with("{%") {
                bail!("line {}: `{{%` begins a tag of `cargo generate`, which is not supported here", line());
            } else {
                filled.push('{');
                rest = &from[1..];
            }
        }
        Ok(filled + rest)
    }
}

/// Writes the files into a folder beside the target and renames it, so that an error leaves nothing behind.
fn write(files: &[(PathBuf, Vec<u8>)], target: &Path, parent: &Path) -> Result<()> {
    let unfinished = parent.join(format!(".new-crate-{}", std::process::id()));
    fs::create_dir(&unfinished).with_context(|| format!("cannot create a folder in {}", parent.display()))?;
    let written = write_into(files, &unfinished).and_then(|()| {
        // Only Unix replaces an empty folder.
        if cfg!(not(unix)) && target.is_dir() {
            fs::remove_dir(target).with_context(|| format!("cannot replace {}", target.display()))?;
        }
        fs::rename(&unfinished, target).with_context(|| format!("cannot create {}", target.display()))
    });
    if written.is_err() {
        // The first error is the reason. This one would only follow from it.
        let _ = fs::remove_dir_all(&unfinished);
    }
    written
}

fn write_into(files: &[(PathBuf, Vec<u8>)], folder: &Path) -> Result<()> {
    for (path, content) in files {
        let path = folder.join(path);
        let failed = || format!("cannot write {}", path.display());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(failed)?;
        }
        fs::write(&path, content).with_context(failed)?;
    }
    Ok(())
}

/// The text that says how to go on: with the first commands of the new crate's README.
fn created(path: &Path, name: &str, files: &[(PathBuf, Vec<u8>)]) -> Result<String> {
    let readme = files.iter().find(|(path, _)| path == Path::new("README.md")).context("starter has no README.md")?;
    let readme = String::from_utf8_lossy(&readme.1);
    let commands = readme::block(&readme, "```sh\n").context("the starter's README has no commands")?;
    let commands: String = commands.lines().map(|line| format!("  {line}\n")).collect();
    Ok(format!("created the crate `{name}`. Go on with:\n\n  cd {}\n{}", quoted(path), commands.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools;

    fn template(name: &str) -> Template {
        let dependencies = Dependencies::published("0.1.0").expect("dependencies");
        Template::new(name, &dependencies)
    }

    fn reason(name: &str) -> String {
        let error = check_name(name).expect_err(name);
        assert!(error.is::<UsageError>(), "{error:?}");
        error.to_string()
    }

    /// An empty folder for one test.
    fn folder(test: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("rooms-new-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    fn entries(folder: &Path) -> usize {
        fs::read_dir(folder).expect("a folder").count()
    }

    #[test]
    fn the_command_that_is_shown_can_be_pasted() {
        assert_eq!(quoted(Path::new("../counter")), "../counter");
        assert_eq!(quoted(Path::new("my crates/counter")), "\"my crates/counter\"");
    }

    #[test]
    fn a_name_follows_the_rules_of_cargo_and_of_workers() {
        for name in ["counter", "a", "team-list", "v2", "a-1", &"x".repeat(50)] {
            check_name(name).expect(name);
        }
        for (name, why) in [
            ("", "it is empty"),
            ("Counter", "it contains 'C', and may contain a-z, 0-9 and `-` only; take for example `--name counter`"),
            ("my_list", "take for example `--name my-list`"),
            ("größe", "it contains 'ö'"),
            ("a/b", "it contains '/'"),
            ("_", "it contains '_', and may contain a-z, 0-9 and `-` only"),
            ("2048", "it must begin with a letter"),
            ("-a", "it must begin with a letter"),
            ("a-", "each `-` must stand between"),
            ("a--b", "each `-` must stand between"),
            (&"x".repeat(51), "it has 51 characters, and may have 50"),
            ("loop", "a reserved word of Rust"),
            ("worker", "another crate that it needs"),
            ("room-runtime", "another crate that it needs"),
            ("state", "a part of the starter"),
            ("room", "a part of the starter"),
        ] {
            let reason = reason(name);
            assert!(reason.contains(why), "{reason}");
            assert!(reason.starts_with(&format!("`{name}` cannot be the name of the new crate: ")), "{reason}");
        }
        assert!(!reason("_").contains("--name"), "there is no similar name");
    }

    #[test]
    fn each_placeholder_gets_its_value() {
        let text = "{{project-name}} {{crate_name}} {{ crate_name | pascal_case }}Room \
                    {{crate_name | shouty_snake_case}} {a} { {{room_runtime}} } {{room_client}}";
        let filled = template("team-list2").fill(text).expect("filled");
        assert_eq!(filled, "team-list2 team_list2 TeamList2Room TEAM_LIST2 {a} { version = \"0.1.0\" } 0.1.0");
    }

    #[test]
    fn a_placeholder_without_a_value_is_an_error_that_names_its_line() {
        for (text, why) in [
            ("a\n\nb {{author}}", "line 3: there is no value for the placeholder `{{author}}`"),
            ("{{crate_name | upcase}}", "line 1: there is no value for the placeholder `{{crate_name | upcase}}`"),
            ("a\n{{crate_name", "line 2: a placeholder without an end"),
            ("a\n{% if x %}", "line 2: `{%` begins a tag"),
            ("group: ${{ github.ref }}", "line 1: there is no value for the placeholder `{{ github.ref }}`"),
        ] {
            let error = template("counter").fill(text).expect_err(text).to_string();
            assert!(error.starts_with(why), "{error}");
        }
    }

    #[test]
    fn a_value_is_not_read_as_a_placeholder() {
        let mut template = template("counter");
        template.values[4].1 = "{{crate_name}}".to_owned();
        assert_eq!(template.fill("{{room_runtime}}").expect("filled"), "{{crate_name}}");
    }

    #[test]
    fn the_copy_has_the_names_and_the_dependencies() -> Result<()> {
        let repo = Repo::find()?;
        let folder = folder("copy");
        let target = folder.join("team-list");
        run(&repo, &target, None)?;
        let read = |path: &str| fs::read_to_string(target.join(path)).with_context(|| path.to_owned());
        let root = repo.root().canonicalize()?;
        let manifest = read("Cargo.toml")?;
        assert!(manifest.contains("name = \"team-list\"\n"), "{manifest}");
        assert!(manifest.contains(&format!("path = \"{}/room-runtime\"", root.display())), "{manifest}");
        assert!(read("package.json")?.contains(&format!("\"file:{}/clients/typescript\"", root.display())));
        let wrangler = read("wrangler.toml")?;
        for line in ["name = \"team-list\"", "name = \"TEAM_LIST\"", "class_name = \"TeamListRoom\""] {
            assert!(wrangler.lines().any(|found| found == line), "{line} in {wrangler}");
        }
        assert!(read("src/room.rs")?.contains("pub mod team_list {"));
        assert!(read("page/main.ts")?.contains("connect<TeamList>"));
        assert_eq!(read("Cargo.lock")?, fs::read_to_string(repo.path("Cargo.lock"))?);
        assert!(!target.join(SETTINGS).exists());
        // The settings are left out, and Cargo.lock is added.
        assert_eq!(entries(&target), entries(&repo.path(STARTER)));
        assert_eq!(entries(&folder), 1, "the unfinished folder is gone");
        fs::remove_dir_all(folder)?;
        Ok(())
    }

    #[test]
    fn a_name_can_differ_from_the_path_and_an_empty_folder_can_exist() -> Result<()> {
        let folder = folder("name");
        let target = folder.join("My Room");
        fs::create_dir(&target)?;
        run(&Repo::find()?, &target, Some("counter"))?;
        assert!(fs::read_to_string(target.join("Cargo.toml"))?.contains("name = \"counter\"\n"));
        fs::remove_dir_all(folder)?;
        Ok(())
    }

    #[test]
    fn a_path_that_cannot_be_used_changes_nothing() -> Result<()> {
        let repo = Repo::find()?;
        let folder = folder("refused");
        fs::create_dir(folder.join("full"))?;
        fs::write(folder.join("full/notes"), "mine")?;
        fs::write(folder.join("file"), "mine")?;
        let inside = repo.path(STARTER).join("copy");
        for (path, name, why) in [
            (folder.join("full"), None, "is not empty; choose another path"),
            (folder.join("file"), None, "is no folder; choose another path"),
            (folder.join("file/counter"), None, ""),
            (folder.join("a/counter"), None, "there is no folder"),
            (folder.join("Counter"), None, "`Counter` cannot be the name"),
            (folder.join("counter"), Some("Counter"), "`Counter` cannot be the name"),
            (inside.clone(), None, "is in the folder that is copied"),
            (PathBuf::from("/"), None, "is no name for a crate; give one with `--name`"),
            (PathBuf::new(), None, "the path of the new crate is empty"),
        ] {
            let error = run(&repo, &path, name).expect_err("a refusal");
            assert!(error.is::<UsageError>(), "{}: {error:?}", path.display());
            assert!(error.to_string().contains(why), "{error}");
        }
        assert_eq!((entries(&folder), entries(&folder.join("full"))), (2, 1));
        assert!(!inside.exists());
        fs::remove_dir_all(folder)?;
        Ok(())
    }

    #[test]
    fn a_failed_write_leaves_nothing_behind() -> Result<()> {
        let folder = folder("write");
        let target = folder.join("counter");
        // The second file needs a folder where the first one is.
        let files = [("a".into(), vec![]), ("a/b".into(), vec![])];
        let error = write(&files, &target, &folder).expect_err("a file is no folder");
        assert!(error.to_string().starts_with("cannot write "), "{error}");
        assert_eq!(entries(&folder), 0);
        fs::remove_dir_all(folder)?;
        Ok(())
    }

    #[test]
    fn a_crate_beside_the_clone_depends_on_it_by_a_relative_path() -> Result<()> {
        let folder = folder("beside");
        let clone = folder.join("rooms");
        fs::create_dir(&clone)?;
        let dependencies = Dependencies::in_clone(&clone, &folder.join("counter"))?;
        assert_eq!(dependencies.room_runtime, "path = \"../rooms/room-runtime\"");
        assert_eq!(dependencies.room_client, "file:../rooms/clients/typescript");
        // `cargo generate` has the same values as defaults.
        let settings = fs::read_to_string(Repo::find()?.path(STARTER).join(SETTINGS))?;
        let expected = if PUBLISHED { Dependencies::published(&version(&Repo::find()?)?)? } else { dependencies };
        assert!(settings.contains(&format!("default = '{}'\n", expected.room_runtime)), "{settings}");
        assert!(settings.contains(&format!("default = \"{}\"\n", expected.room_client)), "{settings}");
        assert!(Dependencies::in_clone(Path::new("/no/such\"clone"), &folder.join("counter")).is_err());
        fs::remove_dir_all(folder)?;
        Ok(())
    }

    #[test]
    fn published_crates_are_dependencies_by_their_version() -> Result<()> {
        let dependencies = Dependencies::published(&version(&Repo::find()?)?)?;
        assert_eq!(dependencies.room_runtime, format!("version = \"{}\"", dependencies.room_client));
        Ok(())
    }

    #[test]
    fn the_starter_has_the_toolchain_of_the_repository() -> Result<()> {
        let repo = Repo::find()?;
        let [own, starter] = ["rust-toolchain.toml", "starter/rust-toolchain.toml"].map(|path| repo.path(path));
        assert_eq!(fs::read_to_string(own)?, fs::read_to_string(starter)?);
        Ok(())
    }

    #[test]
    fn the_starter_has_the_versions_that_the_repository_is_tested_with() -> Result<()> {
        let repo = Repo::find()?;
        let read = |path: &str| fs::read_to_string(repo.path(path)).with_context(|| path.to_owned());
        let (package, own) = (read("starter/package.json")?, read("package.json")?);
        let tools = package.split_once("\"devDependencies\": {").and_then(|(_, rest)| rest.split_once('}'));
        let tools: Vec<_> = tools.context("no devDependencies")?.0.split(',').map(str::trim).collect();
        assert!(tools.len() >= 3, "{tools:?}");
        for tool in tools {
            assert!(own.contains(tool), "{tool}");
        }
        let build = format!("cargo install -q --locked worker-build@{} && worker-build --release", tools::WORKER_BUILD);
        assert!(package.contains(&build), "{package}");
        let (manifest, own) = (read("starter/Cargo.toml")?, read("Cargo.toml")?);
        let worker = manifest.lines().find(|line| line.starts_with("worker = ")).context("no worker")?;
        assert!(own.lines().any(|line| line == worker), "{worker}");
        let (wrangler, own) = (read("starter/wrangler.toml")?, read("examples/counter/wrangler.toml")?);
        let date = wrangler.lines().find(|line| line.starts_with("compatibility_date = ")).context("no date")?;
        assert!(own.lines().any(|line| line == date), "{date}");
        Ok(())
    }
}
