//! Loading the object: maps that are pinned already are used again, programs are always new.

use std::path::Path;

use anyhow::{Context, Result, bail};
use aya::{
    Ebpf, EbpfLoader, include_bytes_aligned,
    maps::MapInfo,
    programs::{ProgramFd, SchedClassifier, TestRun, TestRunOptions, Xdp},
};

use super::{
    events, layout,
    pins::{Pins, unlink},
    tables::PINNED,
};

/// The BPF object, as `cargo xtask build-ebpf` left it.
pub static OBJECT: &[u8] = include_bytes_aligned!(env!("EGRESS_EBPF_OBJ"));

/// Programs of the object.
pub const PROGRAMS: [&str; 5] = ["egw_guard", "egw_in", "egw_out", "expire", "import"];

/// XDP programs of the object, loaded where they are asked for.
pub const XDP_PROGRAMS: [&str; 2] = ["egw_xdp_in", "egw_xdp_out"];

/// Last lines of the verifier's log that an error shows.
const LOG_LINES: usize = 30;

/// Loaded programs.
pub struct Programs {
    bpf: Ebpf,
    #[cfg(feature = "debug-log")]
    logger: Box<dyn FnMut() + Send>,
}

impl Programs {
    /// Loads the object with tables for `flows` flows of each family and a ring buffer of so many bytes; `file` instead of the
    /// embedded object, if given.
    pub fn load(pins: &Pins, flows: u32, ring: u32, file: Option<&Path>) -> Result<Self> {
        let object = match file {
            Some(path) => std::fs::read(path).with_context(|| format!("read {}", path.display()))?,
            None => OBJECT.to_vec(),
        };
        check_pinned(pins)?;
        events::make_room(pins, ring)?;
        let mut loader = EbpfLoader::new();
        for name in PINNED {
            loader.map_pin_path(name, pins.map(name));
        }
        for name in ["FLOWS4", "FLOWS6"] {
            loader.map_max_entries(name, 2 * flows);
        }
        loader.map_max_entries("EVENTS", ring);
        let mut bpf = loader.load(&object).with_context(|| format!("create the maps{}", lacking()))?;
        layout::pin(pins)?;
        for name in PROGRAMS {
            let program = program(&mut bpf, name)?;
            program.load().map_err(|error| verifier(name, &error))?;
            let pin = pins.program(name);
            unlink(&pin)?;
            program.pin(&pin).with_context(|| format!("pin {}", pin.display()))?;
        }
        Ok(Self {
            #[cfg(feature = "debug-log")]
            logger: {
                let mut logger = aya_log::EbpfLogger::init(&mut bpf).context("aya-log")?;
                Box::new(move || logger.flush())
            },
            bpf,
        })
    }

    /// Logs what the programs logged, if the object and the agent were built with `debug-log`.
    pub fn flush_log(&mut self) {
        #[cfg(feature = "debug-log")]
        (self.logger)();
    }

    /// A program by name.
    pub fn get(&mut self, name: &str) -> Result<&mut SchedClassifier> {
        program(&mut self.bpf, name)
    }

    /// An XDP program by name, loaded and pinned when it is asked for first.
    pub fn xdp(&mut self, name: &str, pins: &Pins) -> Result<&ProgramFd> {
        let program = self.bpf.program_mut(name).with_context(|| format!("the BPF object has no program {name}"))?;
        let program: &mut Xdp = program.try_into().with_context(|| format!("program {name} is not for XDP"))?;
        let pin = pins.program(name);
        if program.fd().is_err() {
            program.load().map_err(|error| verifier(name, &error))?;
            unlink(&pin)?;
        }
        // Where XDP was not wanted for a while, it was taken away.
        if !pin.exists() {
            program.pin(&pin).with_context(|| format!("pin {}", pin.display()))?;
        }
        program.fd().with_context(|| format!("program {name}"))
    }
}

fn program<'a>(bpf: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier> {
    let program = bpf.program_mut(name).with_context(|| format!("the BPF object has no program {name}"))?;
    program.try_into().with_context(|| format!("program {name} is not a TC program"))
}

/// aya opens whatever lies at a pin's path: a map of another size must not be taken for ours. The layout is in the path, so
/// only a damaged or foreign pin can differ.
fn check_pinned(pins: &Pins) -> Result<()> {
    use egress_common::abi::{
        config::Config,
        family::V4,
        flow::{FlowKey4, FlowValue},
    };
    for (name, key, value) in [
        ("FLOWS4", size_of::<FlowKey4>(), size_of::<FlowValue<V4>>()),
        ("CONFIG", size_of::<u32>(), size_of::<Config>()),
    ] {
        let path = pins.map(name);
        if !path.exists() {
            continue;
        }
        let info = MapInfo::from_pin(&path).with_context(|| format!("read {}", path.display()))?;
        if info.key_size() as usize != key || info.value_size() as usize != value {
            bail!("{} is not this program's map; remove it with `egress-agent detach`", path.display());
        }
    }
    Ok(())
}

/// Capabilities that the agent needs, by their numbers in linux/capability.h.
const NEEDED: [(u32, &str); 3] = [(12, "CAP_NET_ADMIN"), (38, "CAP_PERFMON"), (39, "CAP_BPF")];

/// What an error adds if the process lacks capabilities. The kernel's own answers differ: without CAP_PERFMON it is a
/// refusal by the verifier.
fn lacking() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(set) = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()) else { return String::new() };
    let lacks: Vec<&str> = NEEDED.iter().filter(|(number, _)| set & 1 << number == 0).map(|(_, name)| *name).collect();
    if lacks.is_empty() {
        return String::new();
    }
    format!(" (the process lacks {}; the agent needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON)", lacks.join(" and "))
}

fn verifier(name: &str, error: &aya::programs::ProgramError) -> anyhow::Error {
    if let aya::programs::ProgramError::LoadError { io_error, verifier_log } = error {
        let log = verifier_log.to_string();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
        let hint = lacking();
        return anyhow::anyhow!("load program {name}: {io_error}{hint}\n{tail}");
    }
    anyhow::anyhow!("load program {name}: {error}")
}

/// Runs `expire` or `import` with an order; what it returned. A number below zero is its complaint.
pub fn run_order(program: &SchedClassifier, order: &[u8]) -> Result<u32> {
    let options = TestRunOptions { data_in: Some(order), repeat: 1, ..TestRunOptions::new() };
    let result = program.test_run(options).context("run a program with an order")?;
    match i32::try_from(result.return_value) {
        Ok(_) => Ok(result.return_value),
        Err(_) => bail!("the program refuses the order: {}", result.return_value.cast_signed()),
    }
}
