//! The cloud's clock goes its own way while the proxy runs: everything has ended, and nothing on this
//! machine tells.

use tokio::time::{Instant, sleep};

use super::local::Local;
use super::{Duration, RECOVERY};
use crate::harness::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_whose_clock_jumps_is_followed() {
    for hours in [8, -8] {
        let world = World::new().await;
        let _proxy = world.proxy(&[]).await;
        let local = Local::new(&world);
        assert!(local.works().await);
        let faults = world.emulator.faults();
        faults.update(|faults| faults.clock_offset_seconds = hours * 3_600);
        let began = Instant::now();
        while !local.works().await {
            assert!(began.elapsed() < RECOVERY, "no request works, {hours} h");
            sleep(Duration::from_millis(20)).await;
        }
    }
}
