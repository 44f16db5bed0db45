//! Debian's packages: looked up in a package list of our own, fetched into our cache and unpacked there. Nothing is installed.

mod version;

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, bail, ensure};

use self::version::Version;
use crate::sh;

/// The release that we are set up for: apt's mirrors are known by it.
const RELEASE: &str = "bookworm";
const SECURITY: &str = "bookworm-security";

/// Which packages there are to choose from.
#[derive(Clone, Copy)]
pub(crate) struct Source {
    /// At the mirror of the release.
    suites: &'static str,
    /// At the mirror of security updates.
    security: &'static str,
    /// The suite that is taken where several have a package.
    preferred: &'static str,
    /// Packages come with all that they need, as if nothing were installed; else with what this machine lacks.
    whole: bool,
}

/// The release that we are set up for, and those that have newer kernels.
pub(crate) const KERNELS: Source = Source {
    suites: "bookworm bookworm-updates bookworm-backports trixie-backports sid",
    security: "bookworm-security",
    preferred: RELEASE,
    whole: false,
};
/// A release of its own, for trees that need nothing of this machine.
pub(crate) const TREES: Source =
    Source { suites: "trixie trixie-updates", security: "trixie-security", preferred: "trixie", whole: true };
/// How old the package lists may be: "the newest kernel" is a matter of days.
const LISTS_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// Small, and with everything that a virtual machine's network namespaces need.
const FLAVOUR: &str = "-cloud-amd64";

/// Our folder for all of it.
pub(crate) struct Debian {
    cache: PathBuf,
    source: Source,
    options: Vec<String>,
}

/// A kernel on disk.
pub(crate) struct Kernel {
    /// As in the package's name: `6.12.117+deb12`.
    pub(crate) version: String,
    /// The compressed image.
    pub(crate) image: PathBuf,
    /// Folder of its modules.
    pub(crate) modules: PathBuf,
}

impl Debian {
    /// Makes the package list's folder, and fetches the lists if they are old.
    pub(crate) fn open(cache: PathBuf, source: &Source) -> Result<Self> {
        let apt = cache.join("apt");
        for folder in ["parts", "lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(apt.join(folder)).with_context(|| format!("creating {}/{folder}", apt.display()))?;
        }
        fs::write(apt.join("parts/debian.sources"), sources(source)?)?;
        let set = |key: &str, value: &str| ["-o".to_owned(), format!("{key}={value}")];
        let at = |folder: &str| apt.join(folder).display().to_string();
        let mut options = vec![
            set("Dir::Etc::SourceList", "/dev/null"),
            set("Dir::Etc::SourceParts", &at("parts")),
            set("Dir::State::Lists", &at("lists")),
            set("Dir::Cache", &at("cache")),
            set("Acquire::Languages", "none"),
            set("APT::Default-Release", source.preferred),
            // Our folder may be one that apt's own user cannot enter.
            set("APT::Sandbox::User", "root"),
        ];
        if source.whole {
            let status = apt.join("status");
            fs::write(&status, "")?;
            options.push(set("Dir::State::status", &status.display().to_string()));
        }
        let debian = Self { cache, source: *source, options: options.concat() };
        let stamp = apt.join("updated");
        let age = fs::metadata(&stamp)
            .and_then(|file| file.modified())
            .ok()
            .and_then(|then| SystemTime::now().duration_since(then).ok());
        if age.is_none_or(|age| age > LISTS_AGE) {
            sh::run(debian.apt("apt-get").args(["update", "-q"]))?;
            fs::write(stamp, "")?;
        }
        Ok(debian)
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(&self.options);
        command
    }

    /// Every kernel version there is.
    pub(crate) fn versions(&self) -> Result<Vec<Version>> {
        let names = sh::capture(self.apt("apt-cache").args(["pkgnames", "linux-image-"]))?;
        let version = |name: &str| version::parse(name.strip_prefix("linux-image-")?.strip_suffix(FLAVOUR)?);
        Ok(names.lines().filter_map(version).collect())
    }

    /// Fetches and unpacks a kernel; newer ones come in several packages.
    pub(crate) fn kernel(&self, version: &str) -> Result<Kernel> {
        let tree = self.cache.join("linux").join(version);
        if !tree.is_dir() {
            let named = |part: &str| format!("linux-{part}-{version}{FLAVOUR}");
            let mut packages = vec![named("image")];
            for part in ["binary", "modules"].map(named) {
                let known = sh::capture(self.apt("apt-cache").args(["pkgnames", &part]))?;
                packages.extend(known.lines().any(|name| name == part).then_some(part));
            }
            self.unpack(&tree, |folder| {
                sh::run(self.apt("apt-get").current_dir(folder).args(["download", "-q"]).args(&packages))
            })?;
        }
        let release = format!("{version}{FLAVOUR}");
        let first = |paths: [PathBuf; 2]| paths.into_iter().find(|path| path.exists());
        let modules = first([tree.join("lib/modules"), tree.join("usr/lib/modules")]).map(|path| path.join(&release));
        let modules = modules.with_context(|| format!("no modules in {}", tree.display()))?;
        let image = first([tree.join("boot").join(format!("vmlinuz-{release}")), modules.join("vmlinuz")]);
        Ok(Kernel { version: version.to_owned(), image: image.context("no image")?, modules })
    }

    /// A package with what it needs: the folder that they were unpacked to.
    pub(crate) fn package(&self, name: &str) -> Result<PathBuf> {
        self.fetched(self.cache.join(name), &[name])
    }

    /// Packages with what they need, in one tree, which lies at [`tree`]. Its folder `packages` lists the files of each.
    pub(crate) fn packages(&self, name: &str, names: &[&str]) -> Result<PathBuf> {
        self.fetched(tree(&self.cache, &self.source, name, names), names)
    }

    fn fetched(&self, tree: PathBuf, names: &[&str]) -> Result<PathBuf> {
        if !tree.is_dir() {
            self.unpack(&tree, |folder| {
                let mut apt = self.apt("apt-get");
                apt.args(["install", "-y", "-q", "--download-only", "--no-install-recommends"]);
                fs::create_dir_all(folder.join("partial"))?;
                sh::run(apt.arg("-o").arg(format!("Dir::Cache::Archives={}", folder.display())).args(names))
            })?;
        }
        Ok(tree)
    }

    /// Unpacks the packages that `fetch` leaves in a folder. The tree gets its name when it is complete.
    fn unpack(&self, tree: &Path, fetch: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let work = self.cache.join(format!("work-{}", std::process::id()));
        let (packages, unpacked) = (work.join("packages"), work.join("tree"));
        fs::create_dir_all(&packages)?;
        let result = fetch(&packages).and_then(|()| {
            for entry in fs::read_dir(&packages)? {
                let path = entry?.path();
                if path.extension().is_some_and(|extension| extension == "deb") {
                    let files = sh::output(Command::new("dpkg").arg("-X").arg(&path).arg(&unpacked))?;
                    fs::create_dir_all(unpacked.join("packages"))?;
                    fs::write(unpacked.join("packages").join(path.file_stem().unwrap_or_default()), files)?;
                }
            }
            ensure!(unpacked.is_dir(), "no packages came");
            fs::create_dir_all(tree.parent().context("no parent")?)?;
            Ok(fs::rename(&unpacked, tree)?)
        });
        fs::remove_dir_all(&work).with_context(|| format!("removing {}", work.display()))?;
        result
    }
}

/// Where a tree of packages lies below a cache, once it is complete: another list of packages has another tree, so that whoever uses
/// the old one keeps it.
pub(crate) fn tree(cache: &Path, source: &Source, name: &str, names: &[&str]) -> PathBuf {
    // FNV-1a: a number that stays the same with every compiler.
    let words = [source.suites, source.security].into_iter().chain(names.iter().copied());
    let bytes = words.flat_map(|word| word.bytes().chain([b'\n']));
    let key =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    cache.join(format!("{name}-{key:016x}"))
}

/// Our suites at the mirrors that this machine's apt uses.
fn sources(source: &Source) -> Result<String> {
    let mut text = fs::read_to_string("/etc/apt/sources.list").unwrap_or_default();
    if let Ok(folder) = fs::read_dir("/etc/apt/sources.list.d") {
        for entry in folder {
            text += "\n\n";
            text += &fs::read_to_string(entry?.path()).unwrap_or_default();
        }
    }
    let main =
        mirror(&text, RELEASE).context("apt has no mirror of Debian 12 (bookworm): packages are fetched from there")?;
    let mut stanzas = stanza(&main, source.suites);
    if let Some(security) = mirror(&text, SECURITY) {
        stanzas += &stanza(&security, source.security);
    }
    Ok(stanzas)
}

fn stanza(mirror: &str, suites: &str) -> String {
    let mut text = String::new();
    let _infallible = writeln!(
        text,
        "Types: deb\nURIs: {mirror}\nSuites: {suites}\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
    );
    text
}

/// Where apt gets a suite from, in either format of its files.
fn mirror(sources: &str, suite: &str) -> Option<String> {
    let one_line = sources.lines().filter(|line| line.starts_with("deb ")).find_map(|line| {
        let mut words = line.split_whitespace().skip(1).skip_while(|word| !word.contains("://"));
        let uri = words.next()?;
        (words.next()? == suite).then(|| uri.to_owned())
    });
    one_line.or_else(|| {
        sources.split("\n\n").find_map(|stanza| {
            let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name));
            let has = field("Suites:")?.split_whitespace().any(|word| word == suite);
            has.then(|| field("URIs:")?.split_whitespace().next().map(ToOwned::to_owned)).flatten()
        })
    })
}

/// The kernel series that are tested, and the newest there is; `None` where Debian has none.
pub(crate) fn choose(versions: &[Version], series: &[&str]) -> Result<Vec<(String, Option<String>)>> {
    let Some(newest) = versions.iter().max() else { bail!("no kernel in the package lists") };
    let of = |wanted: &str| versions.iter().filter(|version| version.is_of(wanted)).max();
    let mut chosen: Vec<_> =
        series.iter().map(|wanted| ((*wanted).to_owned(), of(wanted).map(|version| version.text.clone()))).collect();
    chosen.push(("newest".to_owned(), Some(newest.text.clone())));
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_found_in_both_formats() {
        let stanzas = "Types: deb\n# old\nURIs: http://m/debian\nSuites: bookworm bookworm-updates\n\nTypes: deb\nURIs: http://m/security\nSuites: bookworm-security\n";
        assert_eq!(mirror(stanzas, RELEASE).as_deref(), Some("http://m/debian"));
        assert_eq!(mirror(stanzas, SECURITY).as_deref(), Some("http://m/security"));
        let lines = "deb http://other/apt nodistro main\ndeb [signed-by=/k] http://m/debian bookworm main\n";
        assert_eq!(mirror(lines, RELEASE).as_deref(), Some("http://m/debian"));
        assert_eq!(mirror(lines, SECURITY), None);
    }

    #[test]
    fn another_list_of_packages_is_another_tree() {
        let of = |source: &Source, names: &[&str]| tree(Path::new("/cache"), source, "root", names);
        let known = of(&TREES, &["iproute2"]);
        assert!(known.to_string_lossy().starts_with("/cache/root-"), "{known:?}");
        assert_eq!(known, of(&TREES, &["iproute2"]));
        let others = [of(&TREES, &["iproute2", "mount"]), of(&TREES, &["iproute", "2"]), of(&KERNELS, &["iproute2"])];
        assert!(!others.contains(&known) && others[0] != others[1]);
    }

    #[test]
    fn the_latest_of_each_series_and_the_newest() {
        let versions: Vec<_> = ["6.1.0-9", "6.1.0-56", "6.12.9+deb12", "6.12.117+deb12", "7.3.4+deb13", "7.2.13+deb14"]
            .iter()
            .filter_map(|text| version::parse(text))
            .collect();
        let chosen = choose(&versions, &["6.1", "6.12", "6.18"]).unwrap();
        let names: Vec<_> = chosen.iter().map(|(_, version)| version.as_deref().unwrap_or("-")).collect();
        assert_eq!(names, ["6.1.0-56", "6.12.117+deb12", "-", "7.3.4+deb13"]);
    }
}
