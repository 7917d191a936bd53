//! What is promised of a call over a narrow, long, lossy or shared path.

use super::*;

const SEEDS: [u64; 3] = [1, 2, 3];

/// One call over one path.
fn alone(path: Path, most: f64, seed: u64, until: f64) -> World {
    let mut world = World::new(path, seed);
    world.call(0.0, most);
    world.run(until);
    world
}

#[test]
fn a_step_down_and_up_is_followed_and_the_voice_hardly_notices() {
    for seed in SEEDS {
        let mut world = alone(Path::new(4e6), 6e6, seed, 15.0);
        world.link.set(Path::new(700e3));
        world.run(35.0);
        world.link.set(Path::new(4e6));
        world.run(55.0);
        let log = &world.calls[0].log;
        assert!(log.rate(5.0, 15.0) > 0.85 * 4e6, "{}", log.rate(5.0, 15.0));
        let delay = log.delay(16.0, 35.0, 0.95);
        assert!(delay < 0.15, "after the first second the voice is late by {delay} s");
        assert!(log.rate(17.0, 35.0) > 0.85 * 700e3, "{}", log.rate(17.0, 35.0));
        let (low, high) = log.target(18.0, 35.0);
        assert!(low > 0.75 * 700e3 && high < 1.25 * 700e3, "the target swings: {low} to {high}");
        let back = log.reaches(35.0, 0.8 * 4e6);
        assert!(back < 10.0, "{back} s");
        assert!(log.stopped.is_empty(), "the picture never stops: {:?}", log.stopped);
        assert!(log.voice_lost.len() < 20, "{} voice packets lost", log.voice_lost.len());
    }
}

#[test]
fn narrow_paths_are_used_and_their_queue_stays_short() {
    for (rate, queue) in [(150e3, 0.3), (300e3, 0.3), (700e3, 0.1), (1e6, 0.3), (2e6, 1.5)] {
        for seed in SEEDS {
            let world = alone(Path { queue, ..Path::new(rate) }, 4e6, seed, 40.0);
            let log = &world.calls[0].log;
            assert!(log.rate(10.0, 40.0) > 0.8 * rate, "{rate}: {}", log.rate(10.0, 40.0));
            assert!(log.delay(10.0, 40.0, 0.95) < 0.2, "{rate}: {} s", log.delay(10.0, 40.0, 0.95));
            let lost = log.voice_lost.iter().filter(|at| **at > 5.0).count();
            assert!(lost < 5, "{rate}: {lost} of 1750 voice packets lost");
        }
    }
}

#[test]
fn where_only_the_voice_fits_the_picture_stops_by_itself_and_stays_off() {
    for seed in SEEDS {
        let world = alone(Path::new(64e3), 2e6, seed, 60.0);
        let log = &world.calls[0].log;
        assert_eq!(log.stopped.len(), 1, "{:?}", log.stopped);
        assert!(log.stopped[0].1 && log.stopped[0].0 < 2.0, "{:?}", log.stopped);
        assert!(log.delay(4.0, 60.0, 0.95) < 0.12, "{} s", log.delay(4.0, 60.0, 0.95));
        assert!(log.voice_lost.iter().all(|at| *at < 2.0), "{:?}", log.voice_lost);
        // The voice has what Opus needs to sound well.
        assert!(world.calls[0].shares.audio > 16_000, "{}", world.calls[0].shares.audio);
    }
}

#[test]
fn the_picture_returns_when_there_is_room_again() {
    for seed in SEEDS {
        let mut world = alone(Path::new(64e3), 2e6, seed, 20.0);
        world.link.set(Path::new(4e6));
        world.run(60.0);
        let log = &world.calls[0].log;
        assert_eq!(log.switches(20.0), 1, "{:?}", log.stopped);
        let back = log.reaches(20.0, 0.8 * 2e6);
        assert!(back < 10.0, "{back} s");
    }
}

#[test]
fn random_loss_does_not_strangle_the_picture() {
    for (loss, share) in [(0.05, 0.8), (0.1, 0.8), (0.2, 0.7), (0.3, 0.6)] {
        for seed in SEEDS {
            let world = alone(Path { loss, ..Path::new(20e6) }, 2.5e6, seed, 40.0);
            let log = &world.calls[0].log;
            let rate = log.rate(10.0, 40.0) / (1.0 - loss);
            assert!(rate > share * 2.5e6, "{loss}: {rate}");
            assert!((log_loss(&world) - loss).abs() < 0.08, "{loss}: told {}", log_loss(&world));
        }
    }
}

fn log_loss(world: &World) -> f64 {
    world.calls[0].rate.loss().share()
}

#[test]
fn a_voice_alone_keeps_its_room_whatever_is_lost() {
    for loss in [0.1, 0.2, 0.3] {
        for seed in SEEDS {
            let world = alone(Path { loss, ..Path::new(20e6) }, 0.0, seed, 40.0);
            let (low, _) = world.calls[0].log.target(5.0, 40.0);
            assert!(low > 150e3, "{loss}: {low}");
        }
    }
}

#[test]
fn loss_that_comes_from_the_rate_lowers_it() {
    for seed in SEEDS {
        // A policer: hardly any queue, so that nothing but loss tells.
        let world = alone(Path { queue: 0.02, ..Path::new(1e6) }, 4e6, seed, 40.0);
        let log = &world.calls[0].log;
        assert!(log.rate(10.0, 40.0) > 0.8e6, "{}", log.rate(10.0, 40.0));
        let lost = log.voice_lost.iter().filter(|at| **at > 10.0).count();
        assert!(lost < 100, "{lost} of 1500 voice packets lost");
        // Both at once.
        let world = alone(Path { loss: 0.1, ..Path::new(1e6) }, 4e6, seed, 40.0);
        let log = &world.calls[0].log;
        assert!(log.rate(10.0, 40.0) > 0.65e6, "{}", log.rate(10.0, 40.0));
        assert!(log.delay(10.0, 40.0, 0.95) < 0.15, "{}", log.delay(10.0, 40.0, 0.95));
    }
}

#[test]
fn jitter_is_not_taken_for_a_queue() {
    for (jitter, rate, share) in [(0.03, 1e6, 0.8), (0.1, 1e6, 0.3), (0.03, 20e6, 0.1), (0.1, 20e6, 0.1)] {
        for seed in SEEDS {
            // A voice alone tells little through 100 ms of jitter: a picture that was stopped is tried after 8 s.
            let world = alone(Path { jitter, ..Path::new(rate) }, 2.5e6, seed, 50.0);
            let log = &world.calls[0].log;
            assert!(log.rate(25.0, 50.0) > share * rate, "{jitter} {rate}: {}", log.rate(25.0, 50.0));
            assert!(log.delay(25.0, 50.0, 0.95) < jitter + 0.15, "{jitter} {rate}");
        }
    }
}

#[test]
fn long_round_trips_are_borne() {
    for round_trip in [0.15, 0.4] {
        for seed in SEEDS {
            let path = |rate| Path { round_trip, ..Path::new(rate) };
            let mut world = alone(path(2e6), 4e6, seed, 20.0);
            world.link.set(path(700e3));
            world.run(40.0);
            world.link.set(path(2e6));
            world.run(60.0);
            let log = &world.calls[0].log;
            assert!(log.rate(23.0, 40.0) > 0.8 * 700e3, "{round_trip}: {}", log.rate(23.0, 40.0));
            let queue = log.delay(22.0, 40.0, 0.95) - round_trip / 2.0;
            assert!(queue < 0.2, "{round_trip}: {queue}");
            let back = log.reaches(40.0, 0.8 * 2e6);
            assert!(back < 10.0, "{round_trip}: {back}");
        }
    }
}

#[test]
fn two_calls_share_a_link() {
    for seed in SEEDS {
        let mut world = World::new(Path::new(2e6), seed);
        world.call(0.0, 4e6);
        world.call(15.0, 4e6);
        world.run(75.0);
        let (one, two) = (world.calls[0].log.rate(45.0, 75.0), world.calls[1].log.rate(45.0, 75.0));
        assert!(one + two > 0.85 * 2e6, "{one} {two}");
        assert!((0.45..2.2).contains(&(one / two)), "{one} {two}");
        for call in &world.calls {
            assert!(call.log.delay(20.0, 75.0, 0.95) < 0.15, "{}", call.log.delay(20.0, 75.0, 0.95));
        }
    }
}

#[test]
fn a_download_does_not_starve_a_call() {
    for seed in SEEDS {
        let mut world = World::new(Path::new(3e6), seed);
        world.call(0.0, 4e6);
        world.rivals.push(Reno::new(1, 10.0, 50.0));
        world.run(70.0);
        let log = &world.calls[0].log;
        assert!(log.rate(15.0, 50.0) > 0.1 * 3e6, "{}", log.rate(15.0, 50.0));
        assert!(world.rivals[0].delivered as f64 * 8.0 / 40.0 > 0.3 * 3e6, "nor the call the download");
        assert!(log.stopped.is_empty(), "{:?}", log.stopped);
        let back = log.reaches(50.0, 0.8 * 3e6);
        assert!(back < 10.0, "{back} s");
    }
}

#[test]
fn a_path_that_becomes_longer_is_not_taken_for_a_queue_for_ever() {
    for seed in SEEDS {
        let mut world = alone(Path::new(2e6), 4e6, seed, 20.0);
        world.link.set(Path { round_trip: 0.3, ..Path::new(2e6) });
        world.run(60.0);
        let log = &world.calls[0].log;
        let back = log.reaches(21.0, 0.8 * 2e6);
        assert!(back < 16.0, "{back} s");
    }
}
