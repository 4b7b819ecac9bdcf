//! Playing the planned faults on the emulator.

use arc_emulator::emulator::Emulator;
use arc_emulator::faults::FaultSet;
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, sleep_until};

use super::Error;
use super::board::Board;
use super::kind::Kind;
use super::names::Names;
use super::plan::Planned;

/// A fault that is active.
struct Active {
    kind: Kind,
    choice: u64,
    ends: Instant,
    /// Its number on the board.
    number: usize,
}

/// Plays `plan`, and tells `over` of each fault that is over. When this returns, none is active.
/// Faults that take `names` are left out where there are none.
///
/// # Errors
///
/// When a part of the emulator does not come back.
pub(crate) async fn play(
    emulator: &Emulator,
    names: Option<&Names>,
    board: &Board,
    plan: Vec<Planned>,
    over: &mpsc::UnboundedSender<usize>,
) -> Result<(), Error> {
    let mut player = Player {
        emulator,
        names,
        board,
        over,
        base: emulator.faults().now(),
    };
    let began = Instant::now();
    let mut active: Vec<Active> = Vec::new();
    for fault in plan {
        let at = began + fault.at;
        player.end_until(&mut active, at).await?;
        sleep_until(at).await;
        if fault.kind == Kind::NamesGone && names.is_none() {
            continue;
        }
        player.begin(&mut active, &fault).await?;
    }
    let far = Instant::now() + Duration::from_hours(1);
    player.end_until(&mut active, far).await?;
    Ok(())
}

struct Player<'a> {
    emulator: &'a Emulator,
    names: Option<&'a Names>,
    board: &'a Board,
    over: &'a mpsc::UnboundedSender<usize>,
    /// What is in force without any fault.
    base: FaultSet,
}

impl Player<'_> {
    async fn begin(&mut self, active: &mut Vec<Active>, fault: &Planned) -> Result<(), Error> {
        let Planned { kind, choice, .. } = *fault;
        tracing::info!(number = fault.number, kind = kind.name(), length = ?fault.length, "fault");
        let number = self.board.begin(kind);
        active.push(Active {
            kind,
            choice,
            ends: Instant::now() + fault.length,
            number,
        });
        kind.change(&mut self.base, choice);
        self.put_in_force(active)?;
        kind.strike(self.emulator).await?;
        if fault.length.is_zero() {
            self.end_until(active, Instant::now()).await?;
        }
        Ok(())
    }

    /// Ends, each at its time, the faults whose time comes before `until`.
    async fn end_until(&self, active: &mut Vec<Active>, until: Instant) -> Result<(), Error> {
        loop {
            active.sort_by_key(|fault| std::cmp::Reverse(fault.ends));
            if active.last().is_none_or(|fault| fault.ends > until) {
                return Ok(());
            }
            let Some(fault) = active.pop() else {
                return Ok(());
            };
            sleep_until(fault.ends).await;
            self.put_in_force(active)?;
            fault.kind.lift(self.emulator).await?;
            self.board.end(fault.number);
            // Nobody probes any more once the load has ended.
            let _ = self.over.send(fault.number);
        }
    }

    fn put_in_force(&self, active: &[Active]) -> Result<(), Error> {
        let mut set = self.base.clone();
        for fault in active {
            fault.kind.set(&mut set, fault.choice);
        }
        self.emulator.faults().update(|now| now.clone_from(&set));
        if let Some(names) = self.names {
            names.set(active.iter().all(|fault| fault.kind != Kind::NamesGone))?;
        }
        Ok(())
    }
}
