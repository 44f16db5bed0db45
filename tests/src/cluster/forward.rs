//! The only way into a cluster's network from outside: a port of 127.0.0.1 whose connections go on to the API server.

use std::fs::File;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};

use super::layout::API_SERVICE;

/// Listens on the port here, connects from the network namespace of process `machine`; returns only with an error.
pub fn forward(port: u16, machine: u32) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| format!("listen on port {port}"))?;
    let namespace = File::open(format!("/proc/{machine}/ns/net")).context("open the machine's network namespace")?;
    // The listener stays where it was made; threads start where this one is then.
    setns(namespace, CloneFlags::CLONE_NEWNET).context("enter the machine's network namespace")?;
    for near in listener.incoming() {
        let near = near.context("accept a connection")?;
        thread::spawn(move || {
            // Before the API server listens a connection is closed, as it would be without us.
            if let Err(error) = join(&near) {
                println!("{error:#}");
            }
            let _ = io::stdout().flush();
        });
    }
    Ok(())
}

fn join(near: &TcpStream) -> Result<()> {
    let far = TcpStream::connect((API_SERVICE, 443)).context("connect to the API server")?;
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    thread::scope(|scope| {
        scope.spawn(|| pour(near, &far));
        pour(&far, near);
    });
    Ok(())
}

/// Until `from` says that no more will come; an error ends both directions.
fn pour(mut from: &TcpStream, mut to: &TcpStream) {
    let how = if io::copy(&mut from, &mut to).is_ok() { Shutdown::Write } else { Shutdown::Both };
    let _ = to.shutdown(how);
}
