//! The voices: spoken by espeak-ng when the bench begins, so that nobody's recording has to be kept here.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Voices that differ in pitch and timbre; the two of a call are always different.
const VOICES: [&str; 6] = ["en-us+m3", "en-gb+f2", "en-us+f4", "en-gb+m7", "en-us+m1", "en-gb+f5"];

/// What they say: plain sentences with all kinds of sounds.
const SENTENCES: [&str; 30] = [
    "The small boat drifted slowly past the old wooden pier.",
    "She put three fresh apples and a loaf of bread in the basket.",
    "Heavy rain had washed most of the gravel from the road.",
    "A quick answer is worth more than a perfect one tomorrow.",
    "We heard the church bells ring across the quiet valley.",
    "Please check the figures twice before you send the report.",
    "The children built a castle of sand near the edge of the water.",
    "Thick smoke rose above the chimney of the brick house.",
    "He wrote his name in chalk on the side of the van.",
    "Six jars of honey stood in a row on the kitchen shelf.",
    "Cold wind from the north made the windows shake all night.",
    "They sold their piano and bought a green bicycle instead.",
    "The judge listened to both sides and then kept silent.",
    "Vivid colours and sharp shapes filled the whole canvas.",
    "Never leave your keys in the lock of the front door.",
    "The train to the coast leaves at twenty past eight.",
    "Fresh paint on the fence was still wet after lunch.",
    "My uncle used to fish for trout in that shallow stream.",
    "A dozen sheep were grazing behind the broken gate.",
    "The doctor told him to rest and drink plenty of tea.",
    "Most of the boxes were too heavy for one person to lift.",
    "Bright stars shone above us when the clouds had passed.",
    "The cook chopped garlic, mixed it with oil, and waited.",
    "Just a few of these questions have a simple answer.",
    "Our neighbour's dog barks at every passing stranger.",
    "The price of wheat went up again in the second week.",
    "You could hear a pin drop when the music stopped.",
    "Both wheels of the cart got stuck in soft mud.",
    "The younger sister laughed and threw the ball back.",
    "Whose gloves are these on the chair beside the lamp?",
];
/// Sentences in one file: about half a minute.
const IN_A_FILE: usize = 10;

/// Where espeak-ng is, or what to do about its absence.
///
/// # Errors
/// It is not installed.
pub fn check() -> Result<()> {
    let found = Command::new("espeak-ng").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        bail!("espeak-ng is missing, which speaks the voices: `tools/setup tests` installs it");
    }
    Ok(())
}

/// Speaks half a minute into a WAV file; another seed is another voice with other sentences.
///
/// # Errors
/// espeak-ng fails.
pub fn speak(seed: usize, folder: &Path) -> Result<PathBuf> {
    let path = folder.join(format!("voice-{seed}.wav"));
    if path.exists() {
        return Ok(path);
    }
    let words: Vec<&str> = (0..IN_A_FILE).map(|at| SENTENCES[(seed * 7 + at * 11) % SENTENCES.len()]).collect();
    let output = Command::new("espeak-ng")
        .args(["-v", VOICES[seed % VOICES.len()], "-s", "165", "-a", "75", "-w"])
        .arg(&path)
        .arg(words.join(" "))
        .output()
        .context("cannot run espeak-ng")?;
    if !output.status.success() {
        bail!("espeak-ng: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(path)
}
