//! Random lives, for the tests of this repository: sequences of steps that a seed decides, and that are shrunk if they fail.
//!
//! A life is a list of steps, and each step has a seed of its own, from which all its choices are drawn. So a life without some
//! of its steps makes the same choices in the others, and a shorter life that still fails is found by leaving steps out.
//!
//! `ROOM_SEED=7` repeats the life of one seed and tells it, `ROOM_STEPS=3,14` only these steps of it, and `ROOM_SEEDS=100000`
//! sets the number of seeds.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    env,
    fmt::{self, Write},
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    rc::Rc,
    sync::Once,
};

use super::World;
use crate::platform::memory::executor::Random;

/// The most lives that are tried to shrink one.
const MAX_TRIES: u32 = 2_000;

/// A generator whose numbers depend on its seed only.
#[derive(Debug)]
pub struct Dice(Random);

impl Dice {
    /// A generator with this seed.
    pub fn new(seed: u64) -> Self {
        Dice(Random::new(seed))
    }

    /// A number below `n`, which must not be 0.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0.next() % n
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// The random lives of one test.
#[derive(Debug)]
pub struct Lives {
    /// The command that runs the test.
    pub command: &'static str,
    /// The number of seeds, unless `ROOM_SEEDS` sets it.
    pub seeds: u64,
    /// The number of steps of each life.
    pub steps: usize,
}

/// One step of a life.
#[derive(Debug)]
pub struct Step {
    /// Its place in the list.
    pub number: usize,
    /// The source of all its choices.
    pub dice: Dice,
}

/// One run of a life.
#[derive(Clone, Debug)]
pub struct Run(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    seed: u64,
    steps: Vec<usize>,
    /// The step that runs; `None` before the first and after the last.
    step: Cell<Option<usize>>,
    /// The notes, if they are wanted.
    trace: Option<RefCell<String>>,
    /// True if each note is printed at once.
    is_told: bool,
    /// The worlds of the run. They outlive a panic, so that they do not print their logs for each life that is tried.
    worlds: RefCell<Vec<World>>,
}

impl Run {
    fn new(seed: u64, steps: Vec<usize>, is_traced: bool, is_told: bool) -> Self {
        let trace = is_traced.then(RefCell::default);
        Run(Rc::new(Inner { seed, steps, step: Cell::new(None), trace, is_told, worlds: RefCell::default() }))
    }

    /// The seed of the life.
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// Creates the world of the life. In each step, the seed of the step decides the order of the work that is ready.
    pub fn world(&self) -> World {
        let world = World::with_seed(self.0.seed);
        self.0.worlds.borrow_mut().push(world.clone());
        world
    }

    /// The steps of the life, in order.
    pub fn steps(&self) -> impl Iterator<Item = Step> + use<> {
        let run = self.clone();
        // Behind the last step the end begins, with an order of its own.
        let numbers: Vec<_> = self.0.steps.iter().copied().map(Some).chain([None]).collect();
        numbers.into_iter().map_while(move |number| {
            run.0.step.set(number);
            let place = number.map_or(u64::MAX, |number| number as u64);
            let mut random = Random::new(run.0.seed.rotate_left(32) ^ place);
            run.0.worlds.borrow().iter().for_each(|world| world.0.executor.seed(random.next()));
            Some(Step { number: number?, dice: Dice::new(random.next()) })
        })
    }

    /// Notes what happens, for the trace of the life.
    pub fn note(&self, what: impl FnOnce() -> String) {
        let Some(trace) = &self.0.trace else { return };
        let step = self.0.step.get().map_or_else(|| "-".to_owned(), |number| number.to_string());
        let line = format!("{step:>5}  {}\n", what());
        if self.0.is_told {
            eprint!("{line}");
        }
        trace.borrow_mut().push_str(&line);
    }

    /// The notes, and the log of the rooms.
    fn told(&self) -> String {
        let notes = self.0.trace.as_ref().map(|trace| trace.borrow().clone()).unwrap_or_default();
        let logs = self.0.worlds.borrow().iter().map(|world| world.0.journal()).collect::<String>();
        format!("{notes}{}", logs.trim_start())
    }
}

/// A life that breaks a promise.
#[derive(Debug)]
struct Broken {
    command: &'static str,
    seed: u64,
    error: String,
    all: usize,
    /// The steps that are left of the life, its error, and its trace.
    steps: Vec<usize>,
    shrunk_error: String,
    trace: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Broken { command, seed, error, all, steps, shrunk_error, trace } = self;
        writeln!(f, "seed {seed} breaks a promise: {error}")?;
        write!(f, "\n{} of its {all} steps are enough", steps.len())?;
        if shrunk_error != error {
            write!(f, ": {shrunk_error}")?;
        }
        write!(f, "\n{}\n", trace.trim_end())?;
        let list: Vec<_> = steps.iter().map(ToString::to_string).collect();
        writeln!(f, "\nto repeat it, and to repeat these steps only:")?;
        write!(f, "  ROOM_SEED={seed} {command}\n  ROOM_SEED={seed} ROOM_STEPS={} {command}", list.join(","))
    }
}

impl Lives {
    /// Runs the life of each seed. Returns false if `ROOM_SEED` has chosen a single one.
    ///
    /// # Panics
    /// Panics if a life panics. The message has the seed, the error, and the trace of a short life that fails too.
    pub fn run(&self, live: impl Fn(&Run)) -> bool {
        if let Some(seed) = variable("ROOM_SEED") {
            let steps = env::var("ROOM_STEPS").map_or_else(|_| (0..self.steps).collect(), |list| parse(&list));
            live(&Run::new(seed, steps, true, true));
            return false;
        }
        for seed in 0..variable("ROOM_SEEDS").unwrap_or(self.seeds) {
            if let Err(broken) = self.try_seed(seed, &live) {
                panic!("{broken}");
            }
        }
        true
    }

    fn try_seed(&self, seed: u64, live: &impl Fn(&Run)) -> Result<(), Box<Broken>> {
        let attempt = |steps: &[usize], is_traced| {
            let run = Run::new(seed, steps.to_vec(), is_traced, false);
            let error = quietly(|| live(&run)).err();
            (run, error)
        };
        let all: Vec<usize> = (0..self.steps).collect();
        let Some(error) = attempt(&all, false).1 else { return Ok(()) };
        // Another error would be the end of another story.
        let place = |error: &str| error.rsplit_once('\n').map(|(_, place)| place.to_owned());
        let steps = shrink(all, |steps| attempt(steps, false).1.is_some_and(|other| place(&other) == place(&error)));
        let (run, shrunk_error) = attempt(&steps, true);
        let shrunk_error = shrunk_error.unwrap_or_else(|| "a second run does not fail".to_owned());
        let (command, all, trace) = (self.command, self.steps, run.told());
        Err(Box::new(Broken { command, seed, error, all, steps, shrunk_error, trace }))
    }
}

fn variable(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

fn parse(list: &str) -> Vec<usize> {
    let number = |text: &str| text.trim().parse().unwrap_or_else(|_| panic!("ROOM_STEPS has a {text:?}"));
    list.split(',').filter(|text| !text.trim().is_empty()).map(number).collect()
}

/// Leaves out as many steps as possible: first halves, then quarters, and at last single ones until none can go.
///
/// It begins at the end, because what follows the failure is never needed.
fn shrink(mut steps: Vec<usize>, fails: impl Fn(&[usize]) -> bool) -> Vec<usize> {
    let mut tries = 0;
    let mut size = steps.len().div_ceil(2);
    while size > 0 {
        let mut end = steps.len();
        let before = end;
        while end > 0 && tries < MAX_TRIES {
            let start = end.saturating_sub(size);
            let fewer = [&steps[..start], &steps[end..]].concat();
            tries += 1;
            if fails(&fewer) {
                steps = fewer;
            }
            end = start;
        }
        let is_again = size == 1 && steps.len() < before && tries < MAX_TRIES;
        size = if is_again { 1 } else { size / 2 };
    }
    steps
}

thread_local! {
    /// The last panic of the life that this thread tries, while it tries one.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs a life without printing its panics, and returns the panic that ended it.
fn quietly(live: impl FnOnce()) -> Result<(), String> {
    static HOOK: Once = Once::new();

    // The hook is that of all threads, and other tests run meanwhile.
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            let text = panic.payload_as_str().unwrap_or("a panic without a text");
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            let is_watched = PANIC.with_borrow_mut(|last| {
                last.as_mut().map(|last| {
                    last.clear();
                    let _ = write!(last, "{text}\n  at {place}");
                })
            });
            if is_watched.is_none() {
                before(panic);
            }
        }));
    });
    PANIC.set(Some(String::new()));
    let ended: Result<(), Box<dyn Any + Send>> = catch_unwind(AssertUnwindSafe(live));
    let last = PANIC.take().unwrap_or_default();
    ended.map_err(|_| last)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVES: Lives = Lives { command: "cargo test -p x", seeds: 20, steps: 40 };

    /// Fails once a 7 was drawn after a 3.
    fn three_then_seven(run: &Run) {
        let mut has_three = false;
        for mut step in run.steps() {
            let drawn = step.dice.below(10);
            run.note(|| format!("draws {drawn}"));
            has_three |= drawn == 3;
            assert!(!has_three || drawn != 7, "7 after 3");
        }
        run.note(|| "the end".to_owned());
    }

    #[test]
    fn a_life_that_fails_is_shrunk_to_the_steps_that_matter() {
        let mut found = 0;
        for seed in 0..20 {
            let Err(broken) = LIVES.try_seed(seed, &three_then_seven) else { continue };
            found += 1;
            let Broken { steps, trace, .. } = &*broken;
            let [three, seven] = steps[..] else { panic!("{steps:?}") };
            assert_eq!(*trace, format!("{three:>5}  draws 3\n{seven:>5}  draws 7\n"));
            let (error, at) = broken.error.split_once('\n').expect("two lines");
            assert_eq!((error, &broken.shrunk_error), ("7 after 3", &broken.error));
            assert!(at.contains("lives.rs:"), "{at}");
            let text = broken.to_string();
            assert!(text.starts_with(&format!("seed {seed} breaks a promise: 7 after 3\n")), "{text}");
            assert!(
                text.ends_with(&format!("\n  ROOM_SEED={seed} ROOM_STEPS={three},{seven} cargo test -p x")),
                "{text}"
            );
        }
        assert!(found > 10, "{found} lives fail");
    }

    #[test]
    fn a_life_that_always_fails_is_shrunk_to_no_step_and_one_that_never_does_is_not_broken() {
        let broken = LIVES.try_seed(3, &|run| {
            run.steps().for_each(drop);
            run.note(|| "the end".to_owned());
            panic!("always");
        });
        let broken = broken.expect_err("it fails");
        assert_eq!((&broken.steps[..], &*broken.trace), (&[][..], "    -  the end\n"));
        assert!(LIVES.try_seed(3, &|run| run.steps().for_each(drop)).is_ok());
    }

    #[test]
    fn the_choices_of_a_step_do_not_depend_on_the_others() {
        let draw = |steps: Vec<usize>| -> Vec<(usize, u64)> {
            Run::new(5, steps, false, false).steps().map(|mut step| (step.number, step.dice.below(1_000_000))).collect()
        };
        let all = draw((0..40).collect());
        assert_eq!(draw(vec![4, 30]), [all[4], all[30]]);
        assert_eq!(parse("4, 30"), [4, 30]);
        assert_eq!(parse(""), [0; 0]);
    }

    #[test]
    fn the_log_of_the_rooms_is_a_part_of_the_trace() {
        let broken = LIVES.try_seed(1, &|run| {
            let room = run.world().room::<Echo>("r");
            let _ = room.send(&());
            panic!("it ends");
        });
        let trace = broken.expect_err("it fails").trace;
        assert!(trace.contains("on_event failed: no"), "{trace}");
    }

    enum Echo {}

    impl crate::Room for Echo {
        const NAME: &'static str = "echo";
        const BINDING: &'static str = "ECHO";
        const CLASS: &'static str = "EchoRoom";
        type State = ();
        type Connection = ();
        type Event = ();
        type Broadcast = ();
        type Alarm = ();
        type Services = ();

        fn init(_: &crate::RoomContext<Self>) -> Result<(), crate::Failure> {
            Ok(())
        }

        fn services(_: &worker::Env) -> Result<(), crate::Failure> {
            Ok(())
        }

        async fn on_event(_: &crate::RoomContext<Self>, (): ()) -> Result<(), crate::Failure> {
            Err(crate::Failure::msg("no"))
        }
    }
}
