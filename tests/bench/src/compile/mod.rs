//! Measures the cost of compiling rooms, in comparison with the same objects written by hand.

mod crates;
mod profile;
mod report;

use std::{
    fs::File,
    path::PathBuf,
    process::Command,
    time::{Instant, SystemTime},
};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use wait4::{ResourceUsage, Wait4};

use self::{
    crates::{Crate, Workspace},
    profile::Expansions,
};
use crate::{
    files,
    machine::{self, Machine},
    output,
    stats::order,
    variants::Variant,
};

/// The numbers of rooms in the crates.
const ROOMS: &[usize] = &[1, 10, 50];
/// The numbers of rooms in a quick run, which only checks that the benchmark works.
const FEW_ROOMS: &[usize] = &[1, 2];

const VARIANTS: [Variant; 2] = [Variant::Plain, Variant::Ours];

#[derive(Debug, PartialEq)]
pub(crate) struct Options {
    pub(crate) rounds: usize,
    pub(crate) quick: bool,
    pub(crate) out: Option<PathBuf>,
}

/// A command of cargo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Step {
    /// `cargo check`.
    Check,
    /// A second `cargo check` without changes: the time of cargo itself.
    Nothing,
    /// `cargo build`, in the profile `dev`.
    Build,
}

impl Step {
    /// All steps, in the order in which they run.
    const ALL: [Step; 3] = [Step::Check, Step::Nothing, Step::Build];

    fn name(self) -> &'static str {
        match self {
            Step::Check => "check",
            Step::Nothing => "nothing to do",
            Step::Build => "build",
        }
    }

    fn command(self) -> &'static str {
        match self {
            Step::Check | Step::Nothing => "check",
            Step::Build => "build",
        }
    }
}

/// The cost of a compilation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Compilation {
    pub(crate) step: Step,
    pub(crate) variant: Variant,
    pub(crate) rooms: usize,
    pub(crate) round: usize,
    /// The CPU time, user and system, of cargo and all its child processes, in s.
    pub(crate) cpu: f64,
    /// The wall time, in s.
    pub(crate) wall: f64,
    /// The largest memory of one of its processes, in MiB.
    pub(crate) memory: f64,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Findings {
    pub(crate) compilations: Vec<Compilation>,
    pub(crate) expansions: Vec<Expansions>,
}

#[derive(Serialize)]
struct Results<'a> {
    machine: &'a Machine,
    rounds: usize,
    quick: bool,
    #[serde(flatten)]
    findings: &'a Findings,
}

/// Generates the crates, compiles their dependencies, and then each crate in turn.
pub(crate) fn run(Options { rounds, quick, out }: Options) -> Result<()> {
    let machine = Machine::look(Command::new("rustc").current_dir(files::repository()))?;
    machine::keep_to_one_core();
    let findings = measure(if quick { FEW_ROOMS } else { ROOMS }, rounds)?;
    let report = report::report(&findings, &machine);
    println!("{report}");
    if let Some(folder) = out {
        let results = Results { machine: &machine, rounds, quick, findings: &findings };
        output::save_results(&folder, "compile.json", &results)?;
        output::fill_document(&folder, output::COMPILE, &report)?;
    }
    Ok(())
}

fn measure(rooms: &[usize], rounds: usize) -> Result<Findings> {
    let pair = |rooms| VARIANTS.map(|variant| Crate { variant, rooms });
    let crates: Vec<_> = rooms.iter().copied().flat_map(pair).collect();
    let compiler = Compiler::new(&crates)?;
    eprintln!("compiling what the crates depend on");
    for &it in &crates {
        compiler.run(compiler.cargo(Step::Check.command(), it))?;
        compiler.run(compiler.cargo(Step::Build.command(), it))?;
    }

    let mut findings = Findings::default();
    for round in 0..rounds {
        let turns = order(round, VARIANTS.len());
        for &rooms in rooms {
            for step in Step::ALL {
                // Without changes, cargo's own time does not depend on the number of rooms.
                if step == Step::Nothing && rooms != 1 {
                    continue;
                }
                eprintln!("round {} of {rounds}: {}, {rooms} rooms", round + 1, step.name());
                for &place in &turns {
                    findings.compilations.push(compiler.measure(step, pair(rooms)[place], round)?);
                }
            }
        }
    }
    // Last, because the system counts our own memory as cargo's: a process starts as a copy of its parent.
    let Some(&most) = rooms.last() else { return Ok(findings) };
    for round in 0..rounds {
        eprintln!("round {} of {rounds}: expansions, {most} rooms", round + 1);
        for place in order(round, VARIANTS.len()) {
            findings.expansions.extend(compiler.profile(pair(most)[place], round)?);
        }
    }
    Ok(findings)
}

struct Compiler {
    workspace: Workspace,
    /// The crates for which a stable rustc accepts the profiling option. All compilations use the same value, because a
    /// build script that reads it runs again when it changes.
    profiled: String,
}

impl Compiler {
    fn new(crates: &[Crate]) -> Result<Compiler> {
        let workspace = Workspace::generate(files::target().join("bench/compile"), crates)?;
        let names: Vec<_> = crates.iter().map(|it| it.name().replace('-', "_")).collect();
        Ok(Compiler { workspace, profiled: names.join(",") })
    }

    fn cargo(&self, command: &str, it: Crate) -> Command {
        let mut cargo = Command::new("cargo");
        cargo.args([command, "--quiet", "--target", "wasm32-unknown-unknown", "--package", &it.name()]);
        cargo.current_dir(self.workspace.folder());
        cargo.env("CARGO_TARGET_DIR", self.workspace.folder().join("target"));
        // Incremental results depend on the kind of edit, so they are switched off.
        cargo.env("CARGO_INCREMENTAL", "0").env("RUSTC_BOOTSTRAP", &self.profiled);
        cargo
    }

    fn measure(&self, step: Step, it: Crate, round: usize) -> Result<Compilation> {
        if step != Step::Nothing {
            self.touch(it)?;
        }
        let begun = Instant::now();
        let used = self.run(self.cargo(step.command(), it))?;
        Ok(Compilation {
            step,
            variant: it.variant,
            rooms: it.rooms,
            round,
            cpu: (used.utime + used.stime).as_secs_f64(),
            wall: begun.elapsed().as_secs_f64(),
            memory: used.maxrss as f64 / (1 << 20) as f64,
        })
    }

    /// Checks a crate while rustc records a profile.
    fn profile(&self, it: Crate, round: usize) -> Result<Vec<Expansions>> {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        self.touch(it)?;
        let mut cargo = self.cargo("rustc", it);
        cargo.args(["--profile", "check", "--", "-Zself-profile-events=generic-activity,function-args"]);
        cargo.arg(format!("-Zself-profile={}", folder.path().display()));
        self.run(cargo)?;
        profile::read(folder.path(), it.variant, round)
    }

    /// Makes a source newer than its build, so that cargo compiles all of it.
    fn touch(&self, it: Crate) -> Result<()> {
        let source = self.workspace.source(it);
        let touched = File::options().append(true).open(&source).and_then(|file| file.set_modified(SystemTime::now()));
        touched.with_context(|| format!("cannot touch {}", source.display()))
    }

    /// Runs cargo to its end. The usage includes cargo's child processes, because cargo has waited for them.
    fn run(&self, mut cargo: Command) -> Result<ResourceUsage> {
        let mut child = cargo.spawn().context("cannot run cargo")?;
        let ended = child.wait4().context("cannot wait for cargo")?;
        if !ended.status.success() {
            bail!("{cargo:?} failed ({})", ended.status);
        }
        Ok(ended.rusage)
    }
}
