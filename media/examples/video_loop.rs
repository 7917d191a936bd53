//! Sends a picture from source to sink through the real codec, without a network, and says what it cost.
//!
//! `cargo run --release -p twocan-media --example video_loop -- [moving|FILE|camera] [window|none|FILE.y4m|FILE.png] [seconds]`

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use twocan_media::session::Outgoing;
use twocan_media::video::codec::PictureCodec;
use twocan_media::video::measure::Meter;
use twocan_media::video::{Receiver, Sender, Settings, Tap, VideoSink, VideoSource};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let source = match args.next().as_deref() {
        None | Some("moving") => VideoSource::Moving { seed: 1 },
        Some("camera") => VideoSource::Camera(None),
        Some(file) => VideoSource::file(file.as_ref())?,
    };
    let sink = match args.next().as_deref() {
        None | Some("none") => VideoSink::Null,
        Some("window") => VideoSink::Window { title: "twocan: video_loop".into() },
        Some(file) => VideoSink::file(file.as_ref()),
    };
    let seconds: u64 = args.next().map_or(Ok(10), |text| text.parse())?;

    let meter = Meter::new(640, 360, 1)?;
    let measured = Arc::new(Mutex::new((Vec::new(), Vec::new())));
    let (results, count) = (Arc::clone(&measured), AtomicU64::new(0));
    let tap = Tap::watched(move |picture, now| {
        // One picture a second is compared, so that measuring costs next to nothing.
        if count.fetch_add(1, Ordering::Relaxed) % 30 == 29
            && let (Some(m), Ok(mut results)) = (meter.measure(picture, now), results.lock())
        {
            results.0.push(m.psnr_db);
            results.1.push(m.delay_ms);
        }
    });
    let sink = VideoSink::All(vec![sink, VideoSink::Tap(tap)]);
    let receiver_out = Arc::new(|outgoing| println!("receiver: {outgoing:?}"));
    let receiver = Arc::new(Receiver::start(sink, Arc::new(|_, _| None), receiver_out)?);
    let to = Arc::clone(&receiver);
    let sender_out = Arc::new(move |outgoing| match outgoing {
        Outgoing::Frame(frame) => to.push(frame),
        other => println!("sender: {other:?}"),
    });
    let sender = Sender::start(source, Settings::default(), PictureCodec::default(), sender_out)?;
    let (started, used) = (twocan_media::now_ns(), processor_ms());
    sender.set_on(true);
    std::thread::sleep(Duration::from_secs(seconds));
    let used = processor_ms() - used;
    let stats = receiver.stats();
    println!("first picture shown after {:.1} ms", stats.first_shown_ns.saturating_sub(started) as f64 / 1e6);
    println!("{:?}\n{stats:?}", sender.stats());
    println!("{:.1} % of a core", used / seconds as f64 / 10.0);
    if let Ok(results) = measured.lock() {
        println!("PSNR-Y dB {:.1?}\ndelay ms {:?}", results.0, results.1);
    }
    Ok(())
}

/// Processor time of this process so far.
fn processor_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> = stat.rsplit(')').next().unwrap_or("").split(' ').filter_map(|f| f.parse().ok()).collect();
    // utime and stime are the 14th and 15th field of the whole, in ticks of 10 ms; the state is no number.
    fields.get(10..12).map_or(0.0, |times| (times[0] + times[1]) * 10.0)
}
