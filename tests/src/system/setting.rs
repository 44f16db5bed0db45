//! Settings of the whole machine that processes raise for a while: the last one that needs it puts it back, however each of them ends.
//!
//! Each setting has a file in [`FOLDER`]. Who needs the setting raised holds the file's lock, shared; the file says what is to
//! be put back. What a process left that was killed, the next one puts back.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};

use super::cleanup::{at_exit, prepare};
use super::locked;

const FOLDER: &str = "/run/egw-settings";

static SHARES: Mutex<BTreeMap<u64, Share>> = Mutex::new(BTreeMap::new());

/// A raised setting; put back on drop or when a signal ends the process, if no other process needs it.
#[derive(Debug)]
pub struct Setting(Option<u64>);

impl Setting {
    /// Raises the number in `path` to at least `least`.
    pub fn raise(path: &str, least: u64) -> Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        prepare()?;
        // Held meanwhile: a signal in between puts back what is raised here.
        let mut shares = locked(&SHARES);
        let share = Share::join(Path::new(FOLDER), Path::new(path), least)?;
        let number = share.map(|share| {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            shares.insert(number, share);
            number
        });
        Ok(Self(number))
    }

    /// The same until the process ends.
    pub fn raise_for_good(path: &str, least: u64) -> Result<()> {
        at_exit(put_back);
        Self::raise(path, least).map(std::mem::forget)
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        let share = self.0.and_then(|number| locked(&SHARES).remove(&number));
        // There is nobody to tell.
        let _ = share.map(Share::leave);
    }
}

/// All that this process raised.
pub(super) fn put_back() {
    for (_, share) in std::mem::take(&mut *locked(&SHARES)) {
        let _ = share.leave();
    }
}

/// A part in a raised setting.
#[derive(Debug)]
struct Share {
    folder: PathBuf,
    setting: PathBuf,
    note: PathBuf,
    file: File,
}

impl Share {
    /// None: it is high enough, and nobody of us made it so.
    fn join(folder: &Path, setting: &Path, least: u64) -> Result<Option<Self>> {
        let _turn = turn(folder)?;
        let found = number(setting)?.with_context(|| format!("{}: not a number", setting.display()))?;
        let note = folder.join(setting.display().to_string().replace('/', "_"));
        let file = open(&note)?;
        if file.try_lock().is_ok() {
            let left = number(&note)?;
            if left.is_none() && found >= least {
                let _ = fs::remove_file(&note);
                return Ok(None);
            }
            let old = left.unwrap_or(found).min(found);
            fs::write(&note, old.to_string()).with_context(|| format!("write {}", note.display()))?;
        }
        file.lock_shared().with_context(|| format!("lock {}", note.display()))?;
        let share = Self { folder: folder.to_owned(), setting: setting.to_owned(), note, file };
        if found < least
            && let Err(error) = fs::write(setting, least.to_string())
        {
            let _ = share.end();
            return Err(error).with_context(|| format!("raise {} to {least}", setting.display()));
        }
        Ok(Some(share))
    }

    fn leave(self) -> Result<()> {
        let _turn = turn(&self.folder)?;
        self.end()
    }

    /// Puts it back if nobody else holds the lock; it is this one's turn.
    fn end(self) -> Result<()> {
        if self.file.try_lock().is_err() {
            return Ok(());
        }
        let old = number(&self.note)?;
        let _ = fs::remove_file(&self.note);
        match old {
            Some(old) if number(&self.setting)? != Some(old) => fs::write(&self.setting, old.to_string())
                .with_context(|| format!("put {} back to {old}", self.setting.display())),
            _ => Ok(()),
        }
    }
}

/// One at a time comes or goes.
fn turn(folder: &Path) -> Result<File> {
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let file = open(&folder.join("turn"))?;
    file.lock().with_context(|| format!("lock {}", folder.display()))?;
    Ok(file)
}

fn open(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true);
    options.open(path).with_context(|| format!("open {}", path.display()))
}

fn number(path: &Path) -> Result<Option<u64>> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    Ok(text.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder, and a file that stands for a setting of 5.
    fn place(name: &str) -> (PathBuf, PathBuf) {
        let folder = std::env::temp_dir().join(format!("setting-{name}-{}", std::process::id()));
        let setting = folder.join("most");
        fs::create_dir_all(&folder).unwrap();
        fs::write(&setting, "5\n").unwrap();
        (folder, setting)
    }

    fn now(setting: &Path) -> u64 {
        number(setting).unwrap().unwrap()
    }

    #[test]
    fn the_last_one_puts_it_back() {
        let (folder, setting) = place("last");
        let join = |least| Share::join(&folder, &setting, least).unwrap();
        let (one, two, three) = (join(10), join(10), join(20));
        assert_eq!(now(&setting), 20);
        for share in [one, three] {
            share.unwrap().leave().unwrap();
            assert_eq!(now(&setting), 20);
        }
        two.unwrap().leave().unwrap();
        assert_eq!(now(&setting), 5);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_high_enough_is_somebody_elses() {
        let (folder, setting) = place("high");
        assert!(Share::join(&folder, &setting, 5).unwrap().is_none());
        let one = Share::join(&folder, &setting, 6).unwrap().unwrap();
        fs::write(&setting, "7").unwrap();
        // It would be put back while it is needed.
        let two = Share::join(&folder, &setting, 7).unwrap().unwrap();
        one.leave().unwrap();
        assert_eq!(now(&setting), 7);
        two.leave().unwrap();
        assert_eq!(now(&setting), 5);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_a_killed_one_left_is_put_back() {
        let (folder, setting) = place("killed");
        drop(Share::join(&folder, &setting, 10).unwrap());
        assert_eq!(now(&setting), 10);
        Share::join(&folder, &setting, 8).unwrap().unwrap().leave().unwrap();
        assert_eq!(now(&setting), 5);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_may_not_be_raised_is_said_and_leaves_no_note() {
        let (folder, _) = place("not");
        let error = Share::join(&folder, Path::new("/proc/self/oom_score"), u64::MAX).unwrap_err();
        assert!(error.to_string().contains("/proc/self/oom_score"), "{error:#}");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "the setting and the turn");
        fs::remove_dir_all(folder).unwrap();
    }
}
