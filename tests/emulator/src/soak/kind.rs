//! The kinds of faults, and how each is played on the emulator.

use arc_emulator::emulator::Emulator;
use arc_emulator::faults::FaultSet;
use arc_emulator::relay::Cut;
use arc_emulator::serve::Break;

use super::random::Random;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// All tunnels end with a TCP reset.
    Reset,
    /// All tunnels end with a close frame of this code.
    Close(u16),
    /// One tunnel ends with a TCP reset.
    ResetOne,
    /// All tunnels end within a WebSocket frame.
    CutFrame,
    /// All tunnels end within a TLS record, with a TCP reset.
    CutRecord,
    /// All connections to kube-aad-proxy end within an HTTP/2 frame.
    CutHttp2,
    /// kube-aad-proxy breaks answers off within their bodies.
    CutBody,
    /// kube-aad-proxy sends a GOAWAY on all connections.
    GoAway,
    /// All tunnels stand still.
    Stall,
    /// All tunnels stay open and silent.
    BlackHole,
    /// One tunnel stays open and silent.
    BlackHoleOne,
    /// The same, and new dials are accepted and never answered.
    BlackHoleDials,
    /// All tunnels end, and dials are refused with this status.
    Refuse(u16),
    /// The agent leaves the relay, and all tunnels end.
    AgentAway,
    /// The agent is replaced by another.
    AgentRestart,
    /// The relay goes away and comes back.
    RelayRestart,
    /// All tunnels end, and no name of the emulator's resolves.
    NamesGone,
    /// The relay takes the credentials for ended, and ARM answers 429 with Retry-After.
    ArmThrottles,
    /// The same, and ARM answers 503.
    ArmDown,
    /// Entra answers 503.
    EntraDown,
    /// New credentials live for three seconds.
    ShortCredentials,
    /// New tunnels go over a slow link.
    SlowLink,
    /// The cloud's clock goes on by hours, and every credential has ended: as after a sleep.
    ClockJump,
}

/// How long a fault of a kind lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lasting {
    /// No time: it strikes, and is over.
    Instant,
    /// From 0.2 to 3 seconds, seldom longer.
    Some,
}

impl Kind {
    /// Every kind.
    pub(crate) const ALL: &[Self] = &[
        Self::Reset,
        Self::ResetOne,
        Self::Close(1000),
        Self::Close(1001),
        Self::Close(1008),
        Self::Close(1011),
        Self::CutFrame,
        Self::CutRecord,
        Self::CutHttp2,
        Self::CutBody,
        Self::GoAway,
        Self::Stall,
        Self::BlackHole,
        Self::BlackHoleOne,
        Self::BlackHoleDials,
        Self::Refuse(401),
        Self::Refuse(404),
        Self::Refuse(503),
        Self::AgentAway,
        Self::AgentRestart,
        Self::RelayRestart,
        Self::NamesGone,
        Self::ArmThrottles,
        Self::ArmDown,
        Self::EntraDown,
        Self::ShortCredentials,
        Self::SlowLink,
        Self::ClockJump,
    ];

    /// What the table calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Reset => "all tunnels reset",
            Self::Close(1000) => "close 1000",
            Self::Close(1001) => "close 1001",
            Self::Close(1008) => "close 1008",
            Self::Close(_) => "close 1011",
            Self::ResetOne => "one tunnel reset",
            Self::CutFrame => "cut in a frame",
            Self::CutRecord => "cut in a TLS record",
            Self::CutHttp2 => "cut in an HTTP/2 frame",
            Self::CutBody => "answers broken off",
            Self::GoAway => "GOAWAY",
            Self::Stall => "tunnels stand still",
            Self::BlackHole => "black hole, tunnels",
            Self::BlackHoleOne => "black hole, one tunnel",
            Self::BlackHoleDials => "black hole, dials",
            Self::Refuse(401) => "dials refused, 401",
            Self::Refuse(404) => "dials refused, 404",
            Self::Refuse(_) => "dials refused, 503",
            Self::AgentAway => "agent away",
            Self::AgentRestart => "agent restarts",
            Self::RelayRestart => "relay restarts",
            Self::NamesGone => "names do not resolve",
            Self::ArmThrottles => "ARM 429, dials 401",
            Self::ArmDown => "ARM 503, dials 401",
            Self::EntraDown => "Entra 503",
            Self::ShortCredentials => "credentials of 3 s",
            Self::SlowLink => "slow link",
            Self::ClockJump => "clock jump",
        }
    }

    /// Whether it comes less often than the others: machines do not sleep twice a minute.
    pub(crate) fn is_rare(self) -> bool {
        self == Self::ClockJump
    }

    /// How long one lasts.
    pub(crate) fn lasting(self) -> Lasting {
        match self {
            Self::CutBody
            | Self::Stall
            | Self::BlackHoleDials
            | Self::Refuse(_)
            | Self::AgentAway
            | Self::RelayRestart
            | Self::NamesGone
            | Self::ArmThrottles
            | Self::ArmDown
            | Self::EntraDown
            | Self::ShortCredentials
            | Self::SlowLink => Lasting::Some,
            _ => Lasting::Instant,
        }
    }

    /// Adds what this kind sets to the faults that are in force; `choice` tells one fault of the
    /// kind from another.
    pub(crate) fn set(self, set: &mut FaultSet, choice: u64) {
        let mut random = Random::new(choice, 0);
        match self {
            Self::CutBody => set.cut_body_after_bytes = Some(random.between(0, 100_000)),
            Self::Stall => set.stall_tunnels = true,
            Self::RelayRestart => set.relay_away = true,
            Self::BlackHoleDials => set.black_hole_dials = true,
            Self::Refuse(status) => set.refuse_dials = Some(status),
            Self::AgentAway => set.agent_away = true,
            Self::ArmThrottles => {
                set.refuse_dials = Some(401);
                set.arm.status = Some(429);
                set.arm.retry_after_seconds = Some(1);
            }
            Self::ArmDown => {
                set.refuse_dials = Some(401);
                set.arm.status = Some(503);
                set.arm.retry_after_seconds = random.once_in(2).then_some(1);
            }
            Self::EntraDown => set.entra.status = Some(503),
            Self::ShortCredentials => {
                set.relay_token_seconds = Some(3);
                set.access_token_seconds = Some(3);
            }
            Self::SlowLink => {
                set.rtt_ms = random.between(20, 400);
                set.bandwidth_bits = random.between(2_000_000, 50_000_000);
            }
            // The others are a matter of one moment.
            _ => {}
        }
    }

    /// What this kind changes for good.
    pub(crate) fn change(self, base: &mut FaultSet, choice: u64) {
        if self == Self::ClockJump {
            let hours = Random::new(choice, 0).between(1, 9);
            base.clock_offset_seconds += i64::try_from(hours * 3_600).unwrap_or_default();
        }
    }

    /// What happens at the moment that it begins, once it is in force.
    pub(crate) async fn strike(self, emulator: &Emulator) -> std::io::Result<()> {
        let (relay, aad_proxy) = (emulator.relay(), emulator.aad_proxy());
        match self {
            Self::Close(code) => relay.drop_tunnels(Cut::Close(code)),
            Self::ResetOne => relay.drop_tunnel(Cut::Reset),
            Self::CutFrame => relay.drop_tunnels(Cut::InFrame),
            Self::CutRecord => relay.drop_tunnels(Cut::InMessage),
            Self::CutHttp2 => aad_proxy.break_connections(Break::InFrame),
            Self::GoAway => aad_proxy.break_connections(Break::GoAway),
            Self::BlackHole | Self::BlackHoleDials => relay.drop_tunnels(Cut::BlackHole),
            Self::BlackHoleOne => relay.drop_tunnel(Cut::BlackHole),
            Self::Reset
            | Self::Refuse(_)
            | Self::AgentAway
            | Self::NamesGone
            | Self::ArmThrottles
            | Self::ArmDown
            | Self::SlowLink => relay.drop_tunnels(Cut::Reset),
            Self::AgentRestart => emulator.agent().restart().await?,
            Self::CutBody
            | Self::Stall
            | Self::RelayRestart
            | Self::EntraDown
            | Self::ShortCredentials
            | Self::ClockJump => {}
        }
        Ok(())
    }

    /// What happens at the moment that it ends, once it is no longer in force.
    pub(crate) async fn lift(self, emulator: &Emulator) -> std::io::Result<()> {
        match self {
            // A tunnel keeps the path over which it was opened.
            Self::SlowLink => emulator.relay().drop_tunnels(Cut::Reset),
            // An agent that waits a while before it tries again says nothing of the client.
            Self::RelayRestart => emulator.agent().restart().await?,
            _ => {}
        }
        Ok(())
    }
}
