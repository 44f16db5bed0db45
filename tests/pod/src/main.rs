//! The one program of the cluster lab's image. Without arguments it is what keeps a sandbox: it waits for its end and reaps.
//!
//! `sleep`: the same. `serve [NAME]`: that and [`egress_test_pod::serve`]. `get ADDRESS [TIMES]` and `ask ADDRESS [TIMES]`: a line per answer.
//! `connect ADDRESS PORT`: whether somebody listens.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::thread;

use anyhow::{Context as _, Result, bail};
use egress_test_pod::{ECHO, HTTP, ask, connect, get, serve};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<()> {
    match words {
        [] | ["sleep"] => stay(),
        ["serve", name @ ..] => {
            let host = std::env::var("HOSTNAME").unwrap_or_default();
            let name = name.first().map_or(host, ToString::to_string);
            // Before the thread, so that it does not get the signals.
            let signals = blocked()?;
            thread::spawn(move || {
                if let Err(error) = serve(HTTP, &name) {
                    eprintln!("{error:#}");
                    std::process::exit(1);
                }
            });
            wait(&signals)
        }
        [what @ ("get" | "ask"), server, times @ ..] => {
            let times = times.first().map_or(Ok(1), |times| times.parse()).context("how often?")?;
            let ip: IpAddr = server.parse().with_context(|| format!("`{server}` is no address"))?;
            for _ in 0..times {
                let answer =
                    if *what == "get" { get(SocketAddr::new(ip, HTTP)) } else { ask(SocketAddr::new(ip, ECHO)) };
                println!("{}", answer?);
            }
            Ok(())
        }
        ["connect", server, port] => {
            let ip: IpAddr = server.parse().with_context(|| format!("`{server}` is no address"))?;
            connect(SocketAddr::new(ip, port.parse().with_context(|| format!("`{port}` is no port"))?))?;
            println!("connected");
            Ok(())
        }
        _ => bail!("one of: sleep, serve [NAME], get ADDRESS [TIMES], ask ADDRESS [TIMES], connect ADDRESS PORT"),
    }
}

fn stay() -> Result<()> {
    wait(&blocked()?)
}

/// A process 1 gets no signal that it has not asked for.
fn blocked() -> Result<SigSet> {
    let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD].into_iter().collect();
    signals.thread_block().context("block signals")?;
    Ok(signals)
}

fn wait(signals: &SigSet) -> Result<()> {
    while signals.wait().context("wait for a signal")? == Signal::SIGCHLD {
        while waitpid(None, Some(WaitPidFlag::WNOHANG)).is_ok_and(|status| status != WaitStatus::StillAlive) {}
    }
    Ok(())
}
