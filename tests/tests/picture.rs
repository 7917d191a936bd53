//! What a viewer sees of a call's picture on bad links, in virtual time: nothing here depends on the machine's speed.

use twocan_tests::picture::{Conditions, Outcome, simulate};

/// Means over three seeds: PSNR, longest freeze of all in milliseconds, and what was counted.
fn seeds(conditions: &Conditions) -> anyhow::Result<(f64, f64, Vec<Outcome>)> {
    let outcomes = (1..=3)
        .map(|seed| simulate(&Conditions { seed, ..conditions.clone() }))
        .collect::<anyhow::Result<Vec<Outcome>>>()?;
    let mean = outcomes.iter().map(|outcome| outcome.viewed.psnr_db).sum::<f64>() / outcomes.len() as f64;
    let freeze = outcomes.iter().map(|outcome| outcome.viewed.longest_freeze_ms).fold(0.0, f64::max);
    let sum = |pick: fn(&Outcome) -> u64| outcomes.iter().map(pick).sum::<u64>();
    println!(
        "loss {:>2.0} %, runs of {:.0}, round trip {:>3} ms, jitter {:>2} ms: {mean:.2} dB, longest freeze {freeze:>3.0} ms, \
         {} packets, {} again, {} asked, {} passed over, {} key frames",
        conditions.loss * 100.0,
        conditions.burst,
        conditions.round_trip_ms,
        conditions.jitter_ms,
        sum(|o| o.sent),
        sum(|o| o.again),
        sum(|o| o.counts.asked),
        sum(|o| o.counts.skipped),
        sum(|o| o.keys),
    );
    Ok((mean, freeze, outcomes))
}

#[test]
fn loss_costs_the_picture_little_and_freezes_nothing() {
    let (clean, freeze, _) = seeds(&Conditions::default()).unwrap();
    assert!(freeze < 1.0, "{freeze}");
    for (loss, least) in [(0.02, 0.5), (0.05, 1.0), (0.1, 2.0)] {
        let (psnr, freeze, outcomes) = seeds(&Conditions { loss, ..Conditions::default() }).unwrap();
        assert!(psnr >= clean - least, "{loss}: {psnr:.2} of {clean:.2} dB");
        assert!(freeze <= 300.0, "{loss}: {freeze} ms");
        for outcome in outcomes {
            let lost = outcome.sent as f64 * loss;
            assert!((outcome.again as f64) < 2.0 * lost, "a storm of repairs: {outcome:?}");
            assert_eq!(outcome.refused, 0, "nothing that cannot be decoded is handed on");
        }
    }
}

#[test]
fn runs_of_lost_packets_and_long_paths_freeze_the_picture_only_shortly() {
    for (loss, burst, round_trip_ms) in [(0.05, 4.0, 20), (0.02, 1.0, 150), (0.05, 1.0, 150), (0.3, 1.0, 20)] {
        let conditions =
            Conditions { loss, burst, round_trip_ms, shown_after_ms: 70 + round_trip_ms / 2, ..Conditions::default() };
        let (psnr, freeze, outcomes) = seeds(&conditions).unwrap();
        assert!(psnr > 25.0 && freeze < 1500.0, "{psnr:.1} dB, {freeze:.0} ms");
        assert!(outcomes.iter().all(|outcome| outcome.keys <= 21), "at most one key frame a second");
    }
}

#[test]
fn packets_that_overtake_each_other_are_hardly_asked_for() {
    let conditions = Conditions { jitter_ms: 30, shown_after_ms: 110, ..Conditions::default() };
    let (_, freeze, outcomes) = seeds(&conditions).unwrap();
    assert!(freeze < 60.0, "{freeze}");
    for outcome in outcomes {
        assert!(outcome.again * 10 < outcome.sent, "{outcome:?}");
    }
}

#[test]
fn a_weak_receiver_gets_half_of_the_frames_and_every_one_of_them_whole() {
    let (_, _, outcomes) = seeds(&Conditions { base_only: true, loss: 0.05, ..Conditions::default() }).unwrap();
    for outcome in outcomes {
        assert_eq!((outcome.refused, outcome.counts.layers[1], outcome.counts.skipped), (0, 0, 0));
        assert!(outcome.counts.layers[0] >= 299 && outcome.viewed.longest_freeze_ms < 300.0, "{outcome:?}");
    }
}
