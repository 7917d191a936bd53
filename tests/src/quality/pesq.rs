//! PESQ wideband (ITU-T P.862.2) by the Python package `pesq`, in a virtual environment of the bench's own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// What runs in the environment.
const SCRIPT: &str = include_str!("pesq.py");
/// What is installed there.
const PACKAGES: [&str; 2] = ["pesq==0.0.4", "numpy>=1.26"];
/// The score of what cannot be compared, because nothing was heard: the scale's lower end.
pub const WORST: f64 = 1.02;
/// Samples per second that PESQ wideband takes.
const RATE: usize = 16_000;
/// Taps of the filter before samples are left out, and its edge in hertz.
const TAPS: usize = 96;
const EDGE: f32 = 7_600.0;

/// The environment with the package.
#[derive(Clone, Debug)]
pub struct Pesq {
    python: PathBuf,
}

impl Pesq {
    /// Finds the environment beside this program (`target/tools/pesq`) or, for who may not write or read there, in the
    /// user's cache; or makes it: that needs Python 3 with venv, a C compiler, and the package index.
    ///
    /// # Errors
    /// It cannot be made; the error says what is missing.
    pub fn find() -> Result<Self> {
        let program = std::env::current_exe()?;
        let target = program.ancestors().nth(2).context("no folder for the environment")?;
        let folders: Vec<PathBuf> =
            [Some(target.join("tools").join("pesq")), cache().map(|cache| cache.join("twocan").join("pesq"))]
                .into_iter()
                .flatten()
                .collect();
        if let Some(found) = folders.iter().map(|folder| Self::of(folder)).find(Self::works) {
            return Ok(found);
        }
        let mut failed = None;
        for folder in &folders {
            match Self::make(folder) {
                Ok(made) => return Ok(made),
                // The first folder is where it belongs: what is wrong there is what is told.
                Err(error) => _ = failed.get_or_insert(error),
            }
        }
        Err(failed.context("no folder for the environment")?)
    }

    fn of(folder: &Path) -> Self {
        Self { python: folder.join("bin").join("python") }
    }

    fn works(&self) -> bool {
        let tried = Command::new(&self.python).args(["-c", "import pesq, numpy"]).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    }

    fn make(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        eprintln!("quality: making a Python environment with the package pesq in {} …", folder.display());
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder))
            .context("Python 3 with venv is needed: `tools/setup tests` installs it")?;
        let pip = folder.join("bin").join("pip");
        run(Command::new(pip).args(["install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES))
            .context("the Python package pesq cannot be installed")?;
        let made = Self::of(folder);
        if !made.works() {
            bail!("the Python environment in {} does not work", folder.display());
        }
        Ok(made)
    }

    /// The score of each (reference, degraded) pair of sound at 48 kHz: 1.02 to 4.64. [`WORST`] for what holds no speech.
    ///
    /// # Errors
    /// Python fails.
    pub fn score(&self, pairs: &[(&[f32], &[f32])]) -> Result<Vec<f64>> {
        let folder = tempfile::tempdir()?;
        let mut names = String::new();
        for (at, (reference, degraded)) in pairs.iter().enumerate() {
            let (one, other) = (folder.path().join(format!("{at}r")), folder.path().join(format!("{at}d")));
            std::fs::write(&one, raw(reference))?;
            std::fs::write(&other, raw(degraded))?;
            names += &format!("{}\t{}\n", one.display(), other.display());
        }
        let mut child = Command::new(&self.python)
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("Python does not start")?;
        child.stdin.take().context("no stdin")?.write_all(names.as_bytes())?;
        let output = child.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let scores: Vec<f64> = text.lines().map(|line| line.parse().unwrap_or(WORST)).collect();
        if scores.len() != pairs.len() {
            bail!("PESQ scored {} of {} pairs", scores.len(), pairs.len());
        }
        Ok(scores)
    }
}

/// The user's folder for what can be made again.
fn cache() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim().lines().last().unwrap_or("it failed").to_owned());
    }
    Ok(())
}

/// 48 kHz to raw 16 kHz s16le: a windowed sinc, then every third sample.
fn raw(sound: &[f32]) -> Vec<u8> {
    let step = crate::quality::score::RATE / RATE;
    let taps: Vec<f32> = (0..TAPS)
        .map(|at| {
            let x = at as f32 - (TAPS - 1) as f32 / 2.0;
            let cut = 2.0 * EDGE / crate::quality::score::RATE as f32;
            let sinc = (std::f32::consts::PI * cut * x).sin() / (std::f32::consts::PI * x);
            let window = 0.54 - 0.46 * (std::f32::consts::TAU * at as f32 / (TAPS - 1) as f32).cos();
            sinc * window
        })
        .collect();
    let mut out = Vec::with_capacity(sound.len() / step * 2);
    for start in (0..sound.len()).step_by(step) {
        let window = sound.get(start..(start + TAPS).min(sound.len())).unwrap_or_default();
        let value: f32 = window.iter().zip(&taps).map(|(x, tap)| x * tap).sum();
        out.extend_from_slice(&((value.clamp(-1.0, 1.0) * 32_767.0) as i16).to_le_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_keeps_its_level_and_what_would_fold_back_goes() {
        let level = |hertz: f32| {
            let sound: Vec<f32> =
                (0..48_000).map(|at| 0.5 * (std::f32::consts::TAU * hertz * at as f32 / 48_000.0).sin()).collect();
            let raw = raw(&sound);
            let samples: Vec<f32> =
                raw.chunks(2).map(|two| f32::from(i16::from_le_bytes([two[0], two[1]])) / 32_767.0).collect();
            assert_eq!(samples.len(), 16_000);
            let middle = &samples[1_000..15_000];
            (middle.iter().map(|x| x * x).sum::<f32>() / middle.len() as f32).sqrt()
        };
        assert!((level(1_000.0) - 0.3536).abs() < 0.01, "{}", level(1_000.0));
        assert!(level(11_000.0) < 0.002, "{}", level(11_000.0));
    }
}
