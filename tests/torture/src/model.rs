//! The model of a run: from what was acknowledged follows what the logs must contain.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use torture_rooms::log::Row;

use crate::{
    faults::{History, VAULTS},
    players::{Act, Left, Outcome, Sent, Story, Visit},
};

/// The code with which the platform reports a lost connection.
const LOST: u64 = 1006;

/// The figures of a run.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Figures {
    /// The events and calls of clients that were acknowledged, and the Worker's events.
    pub(crate) acknowledged: u64,
    /// Acknowledged, and not in the log.
    pub(crate) lost: u64,
    /// In the log more than once.
    pub(crate) repeated: u64,
    /// Reported as lost in a crash: some had an effect, and some had none.
    pub(crate) unknown: u64,
    /// Refused because the state would be too large.
    pub(crate) overfilled: u64,
    /// The messages that clients heard.
    pub(crate) heard: u64,
    pub(crate) sessions: u64,
    pub(crate) resumed: u64,
    pub(crate) schedules: u64,
    /// The schedules that ran again after a crash.
    pub(crate) fired_again: u64,
    pub(crate) cancelled: u64,
    /// The durable calls that arrived, each once and in order.
    pub(crate) durable: u64,
    pub(crate) visitors: u64,
    pub(crate) closed: u64,
    pub(crate) lost_peers: u64,
    /// The number of times that a room was loaded into memory.
    pub(crate) starts: u64,
}

/// Returns the reason why the rooms still have something to do.
pub(crate) fn unsettled(history: &History, clients_play: bool) -> Option<String> {
    if clients_play {
        return Some("clients still wait".to_owned());
    }
    let mut forwarded = 0;
    for (room, (rows, _)) in &history.vaults {
        forwarded += of(rows, "forward").count();
        let fired: BTreeSet<_> = of(rows, "fired").map(|row| &row.who).collect();
        let mut planned: BTreeMap<&str, &String> = BTreeMap::new();
        for row in rows {
            match &*row.kind {
                "planned" => drop(planned.insert(key(&row.who), &row.who)),
                "cancelled" if row.n == 1 => drop(planned.remove(&*row.who)),
                _ => {}
            }
        }
        if let Some(id) = planned.values().find(|id| !fired.contains(**id)) {
            return Some(format!("the schedule {id} of {room} has not fired"));
        }
    }
    let received = of(&history.depot, "received").count();
    if received < forwarded {
        return Some(format!("{received} of {forwarded} durable calls have arrived"));
    }
    let mut present: BTreeMap<&str, i64> = BTreeMap::new();
    for row in &history.porch {
        match &*row.kind {
            "connect" => *present.entry(&row.who).or_default() += 1,
            "close" => *present.entry(&row.who).or_default() -= 1,
            _ => {}
        }
    }
    let mut left = present.into_iter().filter(|(_, count)| *count > 0).map(|(id, _)| id);
    // A crash in `on_close` before it stored anything leaves no row.
    left.find(|id| !may_miss_its_close(&history.visits, id)).map(|id| format!("{id} has no on_close"))
}

fn may_miss_its_close(visits: &[Visit], id: &str) -> bool {
    visits.iter().any(|visit| visit.id == id && visit.crash.is_some_and(|(at, waits)| at == "on_close" && !waits))
}

/// Checks the whole history.
pub(crate) fn check(history: &History) -> Result<Figures> {
    let mut figures = Figures::default();
    let mut forwarded = Vec::new();
    for room in VAULTS {
        let (rows, state) = history.vaults.get(room).with_context(|| format!("no log of {room}"))?;
        let entries: Vec<_> = of(rows, "entry").collect();
        figures.starts += of(rows, "start").count() as u64;
        ensure!(state.entries == entries.len() as u64, "{room}: state and log differ: {} entries", state.entries);
        let last: BTreeMap<_, _> = entries.iter().map(|row| (row.who.clone(), row.n)).collect();
        ensure!(state.last == last, "{room}: the last entries differ: {:?} and {last:?}", state.last);
        ensure!(state.ballast.is_empty(), "{room}: a state that is too large was stored");
        ensure!(of(rows, "undelivered").next().is_none(), "{room}: a durable call was given up");
        for story in history.stories.iter().filter(|story| story.room == room) {
            check_story(story, rows, &mut figures).with_context(|| format!("{} in {room}", story.who))?;
        }
        for sent in history.sent.iter().filter(|sent| sent.room == room) {
            check_sent(sent, rows, &mut figures).with_context(|| format!("{} in {room}", sent.who))?;
        }
        check_schedules(rows, &mut figures).with_context(|| format!("the schedules of {room}"))?;
        forwarded.push((room, of(rows, "forward").map(|row| (row.who.clone(), row.n)).collect::<Vec<_>>()));
    }
    for (room, forwarded) in forwarded {
        let from = format!("{room}/");
        let received: Vec<_> = of(&history.depot, "received")
            .filter_map(|row| Some((row.who.strip_prefix(&from)?.to_owned(), row.n)))
            .collect();
        ensure!(received == forwarded, "the durable calls of {room}: {} of {}", received.len(), forwarded.len());
        figures.durable += received.len() as u64;
    }
    check_visits(&history.visits, &history.porch, &mut figures).context("the porch")?;
    Ok(figures)
}

/// Checks that each number is there once and in order, with all those that were acknowledged.
fn check_numbers(
    rows: &[Row],
    kind: &str,
    who: &str,
    acknowledged: &[u64],
    allowed: &BTreeSet<u64>,
    figures: &mut Figures,
) -> Result<()> {
    let numbers: Vec<_> = of(rows, kind).filter(|row| row.who == who).map(|row| row.n).collect();
    let set: BTreeSet<_> = numbers.iter().copied().collect();
    figures.repeated += (numbers.len() - set.len()) as u64;
    ensure!(numbers.len() == set.len(), "{kind}: a number is there twice");
    ensure!(numbers.is_sorted(), "{kind}: the order differs");
    let missing: Vec<_> = acknowledged.iter().filter(|n| !set.contains(n)).collect();
    figures.lost += missing.len() as u64;
    ensure!(missing.is_empty(), "{kind}: acknowledged and not there: {missing:?}");
    let acknowledged: BTreeSet<_> = acknowledged.iter().copied().collect();
    let strange: Vec<_> = set.iter().filter(|n| !acknowledged.contains(n) && !allowed.contains(n)).collect();
    ensure!(strange.is_empty(), "{kind}: never sent, or reported as failed: {strange:?}");
    figures.acknowledged += acknowledged.len() as u64;
    Ok(())
}

fn check_story(story: &Story, rows: &[Row], figures: &mut Figures) -> Result<()> {
    let (mut entries, mut forwards, mut may_entries, mut may_forwards) =
        (Vec::new(), Vec::new(), BTreeSet::new(), BTreeSet::new());
    let planned: BTreeMap<_, _> = of(rows, "planned").map(|row| (&row.who, row)).collect();
    for (act, outcome) in &story.acts {
        match (act, outcome) {
            (Act::Add { n }, Outcome::Done(None)) => entries.push(*n),
            (Act::Call { n }, Outcome::Done(Some(seq))) => {
                entries.push(*n);
                let row = seq.checked_sub(1).and_then(|at| rows.get(at as usize)).context("an answer past the log")?;
                let is_right = (&*row.kind, &row.who, row.n) == ("entry", &story.who, *n);
                ensure!(is_right, "the call {n} was answered with {seq}, where the log has {row:?}");
            }
            (Act::Forward { n }, Outcome::Done(None)) => forwards.push(*n),
            (Act::Plan { id }, Outcome::Done(Some(due))) => {
                let row = planned.get(id).with_context(|| format!("{id} was planned, and is not in the log"))?;
                ensure!(row.n == *due, "{id} is due at {}, not at {due}", row.n);
                figures.acknowledged += 1;
            }
            (Act::Cancel, Outcome::Done(Some(_))) => figures.acknowledged += 1,
            (Act::Overfill, Outcome::Failed(code)) if code == "handler" => figures.overfilled += 1,
            (act, Outcome::Unknown) => {
                figures.unknown += 1;
                match act {
                    Act::Add { n } | Act::Call { n } => drop(may_entries.insert(*n)),
                    Act::Forward { n } => drop(may_forwards.insert(*n)),
                    _ => {}
                }
            }
            // The storage failed: the change is dropped, or it is there and only its report failed.
            (Act::Add { n } | Act::Call { n }, Outcome::Failed(code)) if code == "handler" => {
                figures.unknown += 1;
                may_entries.insert(*n);
            }
            (Act::Forward { n }, Outcome::Failed(code)) if code == "handler" => {
                figures.unknown += 1;
                may_forwards.insert(*n);
            }
            (Act::Plan { .. } | Act::Cancel, Outcome::Failed(code)) if code == "handler" => figures.unknown += 1,
            (act, outcome) => anyhow::bail!("{act:?} ended with {outcome:?}"),
        }
    }
    check_numbers(rows, "entry", &story.who, &entries, &may_entries, figures)?;
    check_numbers(rows, "forward", &story.who, &forwards, &may_forwards, figures)?;

    ensure!(story.gaps == 0, "{} gaps", story.gaps);
    ensure!(story.begun == 1, "the session was forgotten: {} begun", story.begun);
    let first = story.heard.first().context("no message was heard")?.0;
    let expected: Vec<_> = of(rows, "entry")
        .filter(|row| row.seq >= first)
        .map(|row| (row.seq, row.who.clone(), row.n))
        .take(story.heard.len())
        .collect();
    let differs = expected.iter().zip(&story.heard).position(|(expected, heard)| expected != heard);
    ensure!(
        story.heard == expected,
        "it heard {} messages, and the room sent {}; the first difference is at {differs:?}",
        story.heard.len(),
        expected.len()
    );
    let last = of(rows, "entry").last().map(|row| row.seq);
    ensure!(story.heard.last().map(|(seq, ..)| *seq) == last, "the last messages are missing");
    figures.heard += story.heard.len() as u64;
    figures.sessions += u64::from(story.begun);
    figures.resumed += u64::from(story.resumed);
    Ok(())
}

fn check_sent(sent: &Sent, rows: &[Row], figures: &mut Figures) -> Result<()> {
    // Without a key, an event that was not acknowledged may have been handled.
    let may = if sent.is_keyed { BTreeSet::new() } else { (1..=sent.count).collect() };
    figures.unknown += sent.count - sent.acknowledged.len() as u64;
    check_numbers(rows, "entry", &sent.who, &sent.acknowledged, &may, figures)
}

/// The key of a schedule, or its id if it has none.
fn key(id: &str) -> &str {
    id.split_once('#').map_or(id, |(key, _)| key)
}

/// Checks that each schedule fired when it was due, and that one key is one schedule.
fn check_schedules(rows: &[Row], figures: &mut Figures) -> Result<()> {
    let planned: BTreeMap<_, _> = of(rows, "planned").map(|row| (&row.who, row)).collect();
    let mut waiting: BTreeMap<&str, &str> = BTreeMap::new();
    let mut fired: BTreeMap<&str, u64> = BTreeMap::new();
    for row in rows {
        match &*row.kind {
            "planned" => {
                waiting.insert(key(&row.who), &row.who);
                figures.schedules += 1;
            }
            "cancelled" => {
                let was = waiting.remove(&*row.who);
                ensure!(was.is_some() == (row.n == 1), "{} was cancelled: {}, but {was:?}", row.who, row.n);
                figures.cancelled += row.n;
            }
            "fired" => {
                let plan = planned.get(&row.who).with_context(|| format!("{} fired and was never planned", row.who))?;
                ensure!(plan.seq < row.seq && plan.n == row.n, "{row:?} does not belong to {plan:?}");
                ensure!(row.at_ms >= row.n, "{} fired {} ms early", row.who, row.n - row.at_ms);
                let count = fired.entry(&row.who).or_default();
                *count += 1;
                if *count > 1 {
                    figures.fired_again += 1;
                } else {
                    let was = waiting.remove(key(&row.who));
                    ensure!(was == Some(&row.who), "{} fired, and its key belongs to {was:?}", row.who);
                }
            }
            _ => {}
        }
    }
    ensure!(waiting.is_empty(), "these never fired: {:?}", waiting.values());
    Ok(())
}

fn check_visits(visits: &[Visit], rows: &[Row], figures: &mut Figures) -> Result<()> {
    let mut logged: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        logged.entry(&row.who).or_default().push(row);
    }
    figures.starts += of(rows, "start").count() as u64;
    for visit in visits {
        let rows = logged.remove(&*visit.id).unwrap_or_default();
        let count = |kind: &str| rows.iter().filter(|row| row.kind == kind).count();
        let story: Vec<_> = rows.iter().map(|row| (&*row.kind, row.n)).collect();
        let (connects, closes) = (count("connect"), count("close"));
        let at = visit.crash.map(|(at, _)| at);
        ensure!(connects <= 1, "{} connected twice: {story:?}", visit.id);
        ensure!(connects == 1 || !visit.is_greeted, "{} was greeted without on_connect: {story:?}", visit.id);
        let is_right = closes == connects || (closes < connects && may_miss_its_close(visits, &visit.id));
        ensure!(is_right, "{}: {connects} on_connect and {closes} on_close: {story:?}", visit.id);
        // A crash in these two handlers can undo their row.
        if !matches!(at, Some("on_join" | "on_leave" | "on_close")) {
            ensure!(count("join") == count("leave"), "{}: joins and leaves differ: {story:?}", visit.id);
        }
        let code = rows.iter().find(|row| row.kind == "close").map(|row| row.n);
        match (visit.left, code) {
            // The process may be killed between the answer and `on_close`.
            (Left::Closed, Some(1000 | LOST)) | (Left::Lost, Some(LOST)) => {}
            // The close arrived, and its answer was lost.
            (Left::Lost, Some(1000)) => {}
            (_, None) => {}
            (left, Some(code)) => anyhow::bail!("{} {left:?}, and on_close says {code}: {story:?}", visit.id),
        }
        figures.visitors += connects as u64;
        figures.closed += u64::from(code.is_some_and(|code| code != LOST));
        figures.lost_peers += u64::from(code == Some(LOST));
    }
    logged.remove("");
    ensure!(logged.is_empty(), "these never came: {:?}", logged.keys());
    Ok(())
}

fn of<'a>(rows: &'a [Row], kind: &'a str) -> impl DoubleEndedIterator<Item = &'a Row> {
    rows.iter().filter(move |row| row.kind == kind)
}
