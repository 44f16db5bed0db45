//! The rtnetlink connection.

use futures_util::{StreamExt, TryStream, TryStreamExt};
use rtnetlink::{
    Handle,
    packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    packet_route::RouteNetlinkMessage,
};
use tokio::{runtime::Builder, task::JoinHandle};

use super::Error;

/// Does on this thread what needs a [`Netlink`], where no runtime runs.
///
/// # Errors
/// The runtime cannot be made.
pub fn block_on<F: Future>(work: F) -> Result<F::Output, Error> {
    let runtime = Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(|e| Error::new("starting the runtime", e))?.block_on(work))
}

/// A connection to rtnetlink in one network namespace. Ends with the value.
#[derive(Debug)]
pub struct Netlink {
    handle: Handle,
    task: JoinHandle<()>,
}

impl Netlink {
    /// Connect, in the network namespace of the calling thread; needs a running tokio runtime.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn open() -> Result<Self, Error> {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(|e| Error::new("opening an rtnetlink socket", e))?;
        Ok(Self { handle, task: tokio::spawn(connection) })
    }

    pub(super) const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Send one change and wait for the kernel's answer.
    pub(super) async fn change(&self, what: &str, message: RouteNetlinkMessage, flags: u16) -> Result<(), Error> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        let mut answers = self.handle.clone().request(request).map_err(|e| Error::netlink(what, e))?;
        while let Some(answer) = answers.next().await {
            if let NetlinkPayload::Error(e) = answer.payload {
                return Err(Error::new(what, e.to_io()));
            }
        }
        Ok(())
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Collect a dump.
pub(super) async fn collect<S>(what: &str, dump: S) -> Result<Vec<S::Ok>, Error>
where
    S: TryStream<Error = rtnetlink::Error>,
{
    dump.try_collect().await.map_err(|e| Error::netlink(what, e))
}
