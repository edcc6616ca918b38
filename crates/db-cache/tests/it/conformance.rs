//! Every second tier passes the suite.

use db_cache::conformance;
use db_cache::simulation::SimulatedTier;

#[tokio::test(start_paused = true)]
async fn the_simulated_tier_passes_the_suite() {
    for seed in 0..20 {
        conformance::check(&SimulatedTier::seeded(seed)).await;
    }
}
