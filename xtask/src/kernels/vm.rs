//! One virtual machine: QEMU without acceleration, one CPU, its console into a file.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

use crate::debian::Kernel;
use crate::sh;

/// Far more than a run takes on a busy machine.
const SECONDS: &str = "900";
/// What is of no use here costs time: mitigations, randomised addresses, waiting for RCU.
const COMMAND_LINE: &str = "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off nokaslr no_timer_check tsc=reliable \
    rcupdate.rcu_expedited=1 random.trust_cpu=on";

/// How QEMU is started.
pub(crate) enum Qemu {
    /// This machine's.
    Installed,
    /// Unpacked below this folder.
    Unpacked(PathBuf),
}

impl Qemu {
    fn command(&self) -> Result<Command> {
        let mut command = Command::new("timeout");
        command.arg(SECONDS);
        match self {
            Self::Installed => {
                command.arg("qemu-system-x86_64");
            }
            Self::Unpacked(tree) => {
                let libraries = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|folder| tree.join(folder));
                let before = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
                let all =
                    libraries.into_iter().chain(env::split_paths(&before).filter(|path| !path.as_os_str().is_empty()));
                command.arg("env").arg(joined("LD_LIBRARY_PATH=", &env::join_paths(all)?));
                command.arg(tree.join("usr/bin/qemu-system-x86_64"));
                for data in ["usr/share/qemu", "usr/share/seabios"] {
                    command.arg("-L").arg(tree.join(data));
                }
            }
        }
        Ok(command)
    }

    /// Boots the kernel with the image and waits for its end; what it said on its console, which stays in `log`.
    pub(crate) fn boot(&self, kernel: &Kernel, image: &Path, log: &Path) -> Result<String> {
        let mut command = self.command()?;
        // "max": Rust for the host may have been built for more than QEMU's plain CPU has.
        command.args(["-accel", "tcg,tb-size=512", "-cpu", "max", "-M", "q35,hpet=off", "-smp", "1", "-m", "2048"]);
        command.args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-monitor",
            "none",
            "-serial",
            "stdio",
            "-no-reboot",
        ]);
        command.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(image).args(["-append", COMMAND_LINE]);
        let console = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        let errors = console.try_clone()?;
        let shown = sh::show(&command);
        let status = command.stdin(Stdio::null()).stdout(console).stderr(errors).status();
        let status = status.with_context(|| format!("starting `{shown}`"))?;
        let text = String::from_utf8_lossy(&fs::read(log)?).replace('\r', "");
        anyhow::ensure!(status.success(), "QEMU: {status}; see {}", log.display());
        Ok(text)
    }
}

fn joined(before: &str, value: &OsString) -> OsString {
    let mut whole = OsString::from(before);
    whole.push(value);
    whole
}
