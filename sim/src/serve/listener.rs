//! The port of one broker: bound while the broker is up.

use std::{io, net::SocketAddr, time::Duration};

use switchyard::driver::Network;
use tokio::task::{JoinError, JoinSet};

use super::{Listening, SharedCluster, connection};

/// Pause before what the operating system refused is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Serves the clients of one broker until the cluster is stopped. `listener` is bound to `address`; it is given up
/// while the broker is down.
pub async fn serve_broker<N: Network>(
    network: N,
    address: SocketAddr,
    listener: N::Listener,
    cluster: SharedCluster,
    broker: i32,
) {
    let Some(mut listening) = cluster.listening(broker) else { return };
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        let wanted = *listening.borrow_and_update();
        match wanted {
            Listening::Up => {}
            Listening::Down => listener = None,
            Listening::Stopped => break,
        }
        let next = next_client(&network, address, &mut listener, wanted);
        tokio::select! {
            biased;
            changed = listening.changed() => {
                if changed.is_err() {
                    break;
                }
            }
            Some(ended) = connections.join_next() => report(broker, ended),
            accepted = next => match accepted {
                Ok((stream, peer)) => {
                    // A broker that went down this moment: the client sees its connection closed.
                    if let Some((connection, wake)) = cluster.open(broker, peer) {
                        connections.spawn(connection::run(stream, cluster.clone(), connection, wake));
                    }
                }
                Err(error) => {
                    tracing::warn!(broker, %address, %error, "cannot accept; trying again");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            },
        }
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        report(broker, ended);
    }
}

/// The next client, where there may be one.
async fn next_client<N: Network>(
    network: &N,
    address: SocketAddr,
    listener: &mut Option<N::Listener>,
    wanted: Listening,
) -> io::Result<(N::Stream, SocketAddr)> {
    if wanted != Listening::Up {
        return std::future::pending().await;
    }
    let bound = match listener {
        Some(bound) => bound,
        None => listener.insert(network.bind(address).await?),
    };
    network.accept(bound).await
}

fn report(broker: i32, ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(broker, %error, "a bug has ended a connection");
    }
}
