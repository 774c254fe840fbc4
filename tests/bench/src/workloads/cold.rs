//! The very first message: a new process, a new room.

use std::time::Instant;

use anyhow::{Context, Result};

use crate::{
    meter::{Cost, settle},
    peer::Place,
    protocol::{Answer, Event, check, text},
    session::Session,
    stats::order,
    usage,
    variants::Variant,
    workerd::Workerd,
};

const TEXT: usize = 64;

pub(crate) async fn run(session: &mut Session, workload: &str, variants: &[Variant], rounds: usize) -> Result<()> {
    let variants = session.options.variants(variants);
    for round in 0..rounds {
        for place in order(round, variants.len()) {
            let variant = variants[place];
            let (load, begun) = (usage::own_cpu(), Instant::now());
            let workerd = session.workerd_with(&[variant.worker()]).await?;
            let answered = workerd.explain(answer(&workerd, variant, workload).await);
            answered.with_context(|| format!("{workload} of {variant} failed"))?;
            let wall = begun.elapsed();
            let load = usage::own_cpu().saturating_sub(load);
            let cpu = settle(workerd.pid()).await?.total();
            let cost = Cost { cpu, wall, load, rss_kib: usage::rss(workerd.pid())? };
            session.findings.samples.push(cost.sample(workload, variant, round, 1));
            workerd.stop().await?;
        }
    }
    Ok(())
}

async fn answer(workerd: &Workerd, variant: Variant, name: &str) -> Result<()> {
    let place = Place { variant, address: workerd.address(variant.worker())? };
    let mut peer = place.room(name).peer("first").await?;
    let text = text(TEXT, 0);
    peer.send(Event::Echo { text: &text }.encode()?).await?;
    check(&peer.receive().await?, &Answer::Echo { user_id: peer.user().to_owned(), text })
}
